/* What one seed stands for: a topology, the readings that its sources will hold, and how bad its world is.
 *
 * Made from the seed alone, before anything runs; read-only afterwards. The lines are kept beside their text as the
 * numbers that they were written from, so that the oracle never looks at what the parser made of them. */
#ifndef WEIR_SIM_PLAN_H
#define WEIR_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/model.h"
#include "tests/sim/sim_rand.h"

#define SIM_TAG_KEYS 3   /* sensor, site, kind */
#define SIM_FIELDS_MAX 3
#define SIM_SOURCES_MAX 3
#define SIM_EDGES_MAX 5
#define SIM_CLOUDS_MAX 7 /* ever, in one run */
#define SIM_NAME_MAX 16
#define SIM_CHANGES_MAX 8
#define SIM_STREAMS_MAX 3  /* of one topology */
#define SIM_WALL_BASE_NS (INT64_C(2208988800) * NS_PER_SEC) /* 2040-01-01: later than any build */
#define SIM_FAULTS_NS (60 * NS_PER_SEC)
#define SIM_HEAL_MAX_NS (180 * NS_PER_SEC) /* after healing all must have come to rest within this */

extern const char *const sim_tag_keys[SIM_TAG_KEYS];

enum sim_value { SIM_FLOAT, SIM_INT, SIM_UINT, SIM_BOOL, SIM_STRING };

struct sim_field {
	const char *name; /* static */
	enum sim_value type;
	double value;
};

struct sim_line {
	size_t end;           /* offset in the source's text behind its newline */
	int64_t release_ns;   /* mono time from which it is there to be read */
	bool bad;             /* not line protocol: refused, one reading */
	bool ahead;           /* far beyond any wall clock: refused, unless the clock is suspect */
	bool late;            /* made late on purpose */
	const char *measurement; /* static */
	const char *tags[SIM_TAG_KEYS]; /* static; NULL: missing */
	struct sim_field fields[SIM_FIELDS_MAX];
	uint32_t field_count;
	bool has_time;
	int64_t t_ns;
};

struct sim_source {
	struct buf text;
	struct sim_line *lines;
	size_t count;
	bool finishes;       /* tells so after its last line */
	bool steady;         /* never silent for so long that it could count as idle */
	int64_t disorder_ns; /* how far behind its highest timestamp a line can be, if not late */
	bool has_late;       /* or untimed lines: anything that may be out of bounds */
};

struct sim_net_conf {
	int64_t delay_min_ns, delay_max_ns;
	double slow;      /* chance of a delay of up to slow_max_ns */
	int64_t slow_max_ns;
	double drop, duplicate;
	bool fifo;        /* as TCP: no reordering within a link */
};

enum sim_scenario { SIM_PLAIN, SIM_CLONE, SIM_RESTORE, SIM_EMPTY, SIM_READMIT };

/* What an operator does: one after the other, each when its time has come and the one before is done. */
enum sim_deed {
	SIM_APPLY_TEXT,   /* makes a topology file the cluster's, asking until it is in force; starts the nodes and edges that it adds */
	SIM_STOP_CLOUD,   /* stops a node until the world heals */
	SIM_LOSE_CLOUD,   /* a node is gone for good, with its folder */
	SIM_RETIRE_CLOUD, /* waits until a removed node is out of the cluster, and stops it */
	SIM_START_CLOUD   /* starts a node that was retired, with the folder that it has, though the cluster does not list it */
};

struct sim_change {
	int64_t at_ns;
	enum sim_deed deed;
	uint32_t cloud;            /* process; all but APPLY_TEXT */
	struct buf yaml;           /* APPLY_TEXT */
	struct topology *topology; /* owned: as the text alone has it, places of nodes included; else NULL */
	bool empties;              /* APPLY_TEXT: folders of nodes that are added again are emptied first */
	bool refused;              /* APPLY_TEXT: no cluster may take it; no topology then */
};

struct sim_plan {
	uint64_t seed;
	struct topology *topology; /* owned: that the world begins with */
	struct buf yaml;
	/* All that ever take part, by number: a process has one for ever, whatever place each topology gives it. Names as in the
	 * topologies. */
	char clouds[SIM_CLOUDS_MAX][SIM_NAME_MAX], edges[SIM_EDGES_MAX][SIM_NAME_MAX];
	uint32_t cloud_count, edge_count;
	struct sim_change changes[SIM_CHANGES_MAX];
	uint32_t change_count;
	const char *change_name; /* static: what kind of changes; NULL: none */
	/* Of each edge, all that it ever has, by number: of source sN it is N - 1. */
	struct sim_source sources[SIM_EDGES_MAX][SIM_SOURCES_MAX];
	size_t source_count[SIM_EDGES_MAX];
	int64_t source_begins_ns[SIM_EDGES_MAX][SIM_SOURCES_MAX];
	bool late_sources;         /* some begin while others have gone far: what they have to say may be late */
	struct sim_net_conf net;
	enum sim_scenario scenario;
	uint32_t scenario_edge;
	/* Mean time between faults of a kind over the whole world; 0: never. */
	int64_t edge_crash_ns, cloud_crash_ns, partition_ns, disk_full_ns, clock_jump_ns, stall_ns, slow_disk_ns;
	int64_t split_ns, pause_ns, wipe_ns; /* links between clouds cut; a cloud stopped, as by SIGSTOP; its folder lost */
	int64_t bad_clock_ns; /* one machine's clock jumps: an hour back, ten days ahead, to 1970, and comes back */
	int64_t damage_ns;    /* a bit flips on the disk of a cloud or an edge that is down */
	int64_t suspend_ns;   /* a machine is suspended, or an edge is stopped, as by SIGSTOP */
	double stays_down;    /* chance that a crashed cloud comes back only when the world heals */
	int64_t skew_max_ns;
	int64_t no_clock_until_ns; /* one edge has no clock: it wakes up in 1970 and is set right then */
	bool failover;
	uint64_t keep_entries, truncate_min; /* of the clouds' logs: sim_limits.h */
	bool alerts;          /* its streams have alerts, and it has sinks */
	bool small_disk;      /* the edges' disk limit is so low that it is reached */
	size_t line_total;
};

/* NULL and *ret_why (the caller's to free) where the topology does not load: a bug of the plan or of the loader.
 * failover: a world for figures: three healthy clouds, one of them killed now and then, and sources that never rest. */
struct sim_plan *sim_plan_new(uint64_t seed, bool failover, char **ret_why);
void sim_plan_free(struct sim_plan *p);
/* Whether nodes come and go in a seed. */
bool sim_plan_members(uint64_t seed);
bool sim_plan_alerts(uint64_t seed); /* whether it has alerts */
/* Process numbers; -1: none. */
int sim_plan_cloud(const struct sim_plan *p, const char *name);
int sim_plan_edge(const struct sim_plan *p, const char *name);
/* Of the first topology that has the edge. */
const struct edge_conf *sim_plan_edge_conf(const struct sim_plan *p, uint32_t edge);
/* Number of a source of a topology. */
size_t sim_plan_source(const struct source_conf *s);
/* Blocks of a topology's text, at random: stream N (of what counters count, or of other readings); edge N (from 1) with so many sources. */
void sim_plan_put_stream(const struct sim_plan *p, struct sim_rand *r, unsigned n, bool counter, uint32_t edges, struct buf *out);
/* The alerts of a stream whose text has such a line of `compute` (what follows it is not looked at), to sinks that are there
 * (SIM_SINK_); by the seed and `turn`, so that a change may bring others, or none. A world without: nothing. */
void sim_plan_put_alerts(const struct sim_plan *p, const char *stream, const char *compute, unsigned turn, unsigned sinks, struct buf *out);
void sim_plan_put_edge(const struct sim_plan *p, struct sim_rand *r, unsigned n, size_t sources, struct buf *out);
void sim_plan_put_source(unsigned edge, size_t source, struct buf *out);
/* What a topology's text cannot say of the edges: small limits, short ticks. Of any topology of this world. */
void sim_plan_tune(const struct sim_plan *p, struct topology *t);
/* Whether no reading can come late to this stream of the topology: then a final window must never change. */
bool sim_plan_on_time(const struct sim_plan *p, const struct topology *t, const struct stream_conf *s);

#endif
