/* raftsim: the consensus core alone under a seeded clock, network and disk.
 *
 *   plan      what a seed is: how many nodes and groups, the limits, which faults how often raftsim_plan.c
 *   queue     the events to come, by virtual time raftsim_queue.c node      a machine: ticks, crashes,
 * restarts; its replicas' turns                          raftsim_node.c disk      what survives a crash: log,
 * hard state, applied state                             raftsim_disk.c snapshot  flush, compaction, and the
 * fetch of a state that the log no longer holds          raftsim_snapshot.c net       messages: lost, double,
 * late, cut off                                             raftsim_net.c client    proposals, reads, an
 * operator who changes memberships                             raftsim_client.c fault     what goes wrong,
 * and when                                                         raftsim_fault.c heal      the second half:
 * it must recover, and then stay calm                              raftsim_heal.c oracle    what must hold at
 * every step                                                      raftsim_oracle.c
 *
 * One world at a time in a process; all that happens follows from the seed. */
#ifndef WEIR_RAFTSIM_H
#define WEIR_RAFTSIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/raft.h"
#include "tests/sim/sim_rand.h"

#define RS_NODES_MAX 12 /* ever; a lost one counts */
#define RS_GROUPS_MAX 3
#define RS_REPLICAS_MAX (RS_NODES_MAX * RS_GROUPS_MAX)
#define RS_MS UINT64_C(1000) /* times are microseconds */
#define RS_S UINT64_C(1000000)
#define RS_TICK (50 * RS_MS)
#define RS_ELECTION_TICKS 20
#define RS_HEARTBEAT_TICKS 4
#define RS_FAULTS_END (60 * RS_S)
#define RS_RECOVERY_MAX (20 * RS_S) /* healed: everything is well again by then */
#define RS_END_MAX (135 * RS_S)
#define RS_PROPOSALS_MAX 256
#define RS_READS_MAX 64
#define RS_CHANGES_MAX 64
#define RS_TERM_SANE 4096 /* more elections than that in two minutes: nothing holds them back */
#define RS_FAILOVERS_MAX 8

/* ---- a seed's plan --------------------------------------------------------------------------- */

enum rs_fault {
	RS_CRASH,
	RS_CRASH_LEADER,
	RS_CRASH_ALL,
	RS_CRASH_AT_WRITE,
	RS_SPLIT,
	RS_ISOLATE,
	RS_ISOLATE_LEADER,
	RS_ONE_WAY,
	RS_CUT_PAIRS,
	RS_WEATHER,
	RS_PAUSE,
	RS_PAUSE_LEADER,
	RS_SLOW_DISK,
	RS_SLOW_LEADER_DISK,
	RS_FULL_DISK,
	RS_LOSE_DISK,
	RS_LOSE_STATE,
	RS_TRANSFER,
	RS_CAMPAIGN,
	RS_UNREACHABLE,
	RS_BURST,
	RS_LAST_WORDS, /* a leader cut off with entries that only it has; nodes crash around it */
	RS_FAULTS
};

struct rs_plan {
	uint32_t nodes, groups;
	uint32_t weight[RS_FAULTS];
	uint64_t fault_gap;  /* mean time between two */
	uint64_t client_gap; /* of one group's client */
	uint64_t operator_gap;
	bool rotate;			 /* the operator changes memberships all the time */
	uint64_t latency_lo, latency_hi; /* of a message */
	double loss, twice, late;	 /* always, while there are faults */
	double retell; /* chance that a new leader also sends what it might send, but does not */
	double told;   /* chance that the sender is told of a loss */
	uint64_t late_max;
	double very_late;	   /* of the late ones: chance to be late by up to late_max */
	uint64_t disk_lo, disk_hi; /* of a write */
	uint64_t turn_max;	   /* a replica lets input wait so long at most */
	double lazy_apply;	   /* chance that a turn applies nothing */
	uint32_t compact_every, compact_keep;
	double install_fails;
	uint64_t install_max;
	size_t write_bytes_max, write_entries_max;
	size_t value_max;
	bool drift;		    /* clocks run unequally */
	struct raft_options limits; /* without id, seed, storage */
};
void rs_plan_make(struct rs_plan *p, uint64_t seed);
const char *rs_fault_name(enum rs_fault f);

/* ---- events ---------------------------------------------------------------------------------- */

enum rs_event_kind {
	RS_EV_TICK,	 /* node */
	RS_EV_RESTART,	 /* node */
	RS_EV_RETELL,	 /* replica */
	RS_EV_LOST,	 /* replica * RS_NODES_MAX + to: it is told that a message was lost */
	RS_EV_MESSAGE,	 /* message slot */
	RS_EV_WRITTEN,	 /* replica */
	RS_EV_TURN,	 /* replica */
	RS_EV_FLUSHED,	 /* replica */
	RS_EV_FETCHED,	 /* replica */
	RS_EV_INSTALLED, /* replica */
	RS_EV_CLIENT,	 /* group */
	RS_EV_OPERATOR,	 /* group */
	RS_EV_FAULT,
	RS_EV_HEAL
};
struct rs_event {
	uint64_t at, order;
	uint32_t kind, which;
	uint32_t life; /* of the node, where it matters */
};
struct rs_queue {
	struct rs_event *heap;
	size_t count, room;
	uint64_t order;
};
void rs_queue_put(struct rs_queue *q, uint64_t at, enum rs_event_kind kind, uint32_t which, uint32_t life);
bool rs_queue_take(struct rs_queue *q, struct rs_event *ret_event);

/* ---- what survives --------------------------------------------------------------------------- */

struct rs_state { /* of the state machine */
	uint64_t index, term;
	uint64_t hash; /* over all that was applied */
	struct raft_config config;
};

struct rs_disk {
	uint64_t term, vote;
	uint64_t base_index, base_term;
	struct raft_config base_config;
	struct raft_entry *log; /* base_index + 1 ... */
	size_t count, room;
	struct rs_state state;
	bool state_void;
	bool state_lost; /* it is void, and no snapshot was the reason */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

struct rs_proposal {
	uint64_t index, term, value;
	size_t len;
};
struct rs_read {
	uint64_t context, needed, at;
};
enum rs_install { RS_NO_INSTALL, RS_FETCHING, RS_INSTALLING };

struct rs_world;

struct rs_replica {
	struct rs_world *w;
	uint32_t node, group;
	struct rs_disk disk;
	/* All below is gone with a crash. */
	struct raft *raft; /* NULL: down */
	struct rs_state state;
	bool writing, turning, flushing;
	struct raft_write write;
	uint64_t write_after; /* a full disk is not asked again before */
	struct rs_state flush;
	enum rs_install install;
	uint64_t fetch_from, fetch_index;
	bool fetch_unasked; /* there is no leader to want it from */
	struct rs_state incoming;
	uint64_t committed_seen; /* raft_committed */
	uint64_t counted;	 /* what the core took for durable */
	uint64_t led_term, led_commit;
	uint32_t alone;			     /* leader: ticks without a majority */
	uint64_t led_members;		     /* bit id - 1; a new one has an election timeout to be heard */
	uint64_t ticks, heard[RS_NODES_MAX]; /* in own ticks: a message of its term came from */
	struct rs_proposal proposals[RS_PROPOSALS_MAX];
	uint32_t proposal_first, proposal_count;
	struct rs_read reads[RS_READS_MAX];
	uint32_t read_count;
};

struct rs_node {
	bool exists, up, lost; /* lost: its disk is gone, and so is its number */
	uint32_t life;
	uint64_t tick_period;
	uint64_t paused_until;
	uint64_t slow_until, slow_lo, slow_hi;
	uint64_t full_until;
	uint32_t crash_at_write; /* 0: no; counts down */
};

/* ---- oracle ---------------------------------------------------------------------------------- */

struct rs_truth { /* of one committed index */
	uint64_t term, commit_term;
	uint64_t content;
	uint64_t hash; /* of the state behind it; 0: nobody applied it yet */
};
struct rs_known {	      /* an entry that was somewhere */
	uint64_t index, term; /* index 0: a free place */
	uint64_t content, prev_term;
};
struct rs_oracle {
	struct rs_truth *truth; /* by index */
	size_t room;
	uint64_t commit; /* the highest that a leader committed */
	struct rs_known *known;
	size_t known_count, known_room;
	uint32_t *leaders;	  /* by term: node + 1 */
	uint64_t acknowledged;	  /* writes */
	uint64_t acknowledged_at; /* the last one */
	uint64_t max_term;
};

/* ---- the world ------------------------------------------------------------------------------- */

struct rs_slot {
	struct raft_message m;
	uint32_t group;
	int32_t next_free;
};

enum rs_calm {
	RS_RECOVERING,
	RS_STEADY,
	RS_CUT,
	RS_BACK,
	RS_DEAF,
	RS_HEARS,
	RS_DOWN,
	RS_UP,
	RS_HANDOVER,
	RS_QUIET,
	RS_DONE
};

struct rs_change {
	uint64_t index;
	struct raft_config config;
};

struct rs_group {
	uint32_t goal; /* voters wanted */
	uint64_t next_context;
	struct raft_config config; /* the last that somebody applied */
	uint64_t config_index;
	struct rs_change
	    changes[RS_CHANGES_MAX]; /* begun, above config_index: any of them may yet be committed */
	uint32_t change_count;
	struct rs_oracle oracle;
	/* healing */
	uint64_t mark, mark_at;
	uint64_t calm_leader, calm_term;
	uint64_t acked_before;
	uint64_t crashed_at; /* its leader; 0: no */
};

struct rs_outcome {
	bool failed;
	char reason[240];
	uint64_t trace, events, messages, writes, crashes, acknowledged, reads, snapshots, changes, elections,
	    virtual_us;
	uint64_t busy, truncated;
	uint64_t recovery_us;
	uint32_t failovers;
	uint32_t failover_ms[RS_FAILOVERS_MAX];
};

struct rs_world {
	uint64_t seed, now;
	bool verbose;
	struct rs_plan plan;
	struct rs_queue queue;
	struct sim_rand net_rand, disk_rand, client_rand, fault_rand, node_rand;
	uint32_t node_count; /* ever; the node number n is member n + 1 */
	struct rs_node nodes[RS_NODES_MAX];
	struct rs_replica replicas[RS_REPLICAS_MAX]; /* node * RS_GROUPS_MAX + group */
	struct rs_group groups[RS_GROUPS_MAX];
	uint64_t late_until;				/* the last of the late messages comes by then */
	uint64_t cut_until[RS_NODES_MAX][RS_NODES_MAX]; /* from, to */
	uint64_t weather_until;
	double weather_loss, weather_twice, weather_late;
	uint64_t burst_until;
	struct rs_slot *slots;
	size_t slot_count;
	int32_t slot_free;
	uint64_t next_value;
	bool healing, clients_stopped, reads_only;
	enum rs_calm calm;
	uint64_t calm_since;
	uint32_t calm_node;
	struct rs_outcome *out;
};

/* Runs one seed. */
void rs_world_run(uint64_t seed, bool verbose, struct rs_outcome *ret_outcome);
/* The first failure is kept, the run ends. */
__attribute__((format(printf, 2, 3))) void rs_fail(struct rs_world *w, const char *format, ...);
/* What is wrong, but has not harmed anybody yet: no failure when only consequences count (--blind). */
extern bool rs_blind;
#define rs_suspect(w, ...)                                                                                   \
	do {                                                                                                 \
		if (!rs_blind)                                                                               \
			rs_fail(w, __VA_ARGS__);                                                             \
	} while (0)
__attribute__((format(printf, 2, 3))) void rs_say(struct rs_world *w, const char *format, ...);
static inline void rs_trace(struct rs_world *w, uint64_t x)
{
	w->out->trace = sim_mix(w->out->trace + x + UINT64_C(0x9e3779b97f4a7c15));
}
static inline struct rs_replica *rs_replica(struct rs_world *w, uint32_t node, uint32_t group)
{
	return &w->replicas[node * RS_GROUPS_MAX + group];
}
static inline uint32_t rs_replica_number(const struct rs_replica *r)
{
	return r->node * RS_GROUPS_MAX + r->group;
}
static inline uint64_t rs_between(struct sim_rand *r, uint64_t lo, uint64_t hi)
{
	return lo + sim_u64(r) % (hi - lo + 1);
}

/* raftsim_node.c */
uint32_t rs_node_new(struct rs_world *w); /* with an empty disk; not started */
void rs_node_start(struct rs_world *w, uint32_t node);
void rs_node_crash(struct rs_world *w, uint32_t node, uint64_t restart_at);
void rs_node_lose_disk(struct rs_world *w, uint32_t node);
void rs_node_tick(struct rs_world *w, uint32_t node);
/* After any input: the replica's turn comes now or a little later. */
void rs_replica_input(struct rs_replica *r);
void rs_replica_turn(struct rs_replica *r);
void rs_replica_written(struct rs_replica *r);
/* NULL, or the one of the highest term that is up and believes it leads. */
struct rs_replica *rs_leader(struct rs_world *w, uint32_t group);

/* raftsim_disk.c */
void rs_disk_clear(struct rs_disk *d);
void rs_disk_found(struct rs_disk *d, const struct raft_config *config); /* a founder's */
uint64_t rs_disk_last(const struct rs_disk *d);
uint64_t rs_disk_term_at(const struct rs_disk *d, uint64_t index); /* 0: not there */
void rs_disk_apply(struct rs_replica *r, const struct raft_write *write);
void rs_disk_compact(struct rs_disk *d, uint64_t index);
struct raft *rs_disk_open(struct rs_replica *r);
/* The configuration in force by what is on the disk. */
void rs_disk_config(const struct rs_disk *d, struct raft_config *ret_config);

/* raftsim_snapshot.c */
void rs_snapshot_turn(struct rs_replica *r);
void rs_snapshot_flushed(struct rs_replica *r);
void rs_snapshot_fetched(struct rs_replica *r);
void rs_snapshot_installed(struct rs_replica *r);

/* raftsim_net.c */
void rs_net_send(struct rs_world *w, uint32_t group, struct raft_message *m); /* takes over m */
void rs_net_deliver(struct rs_world *w, uint32_t slot);
bool rs_net_cut(const struct rs_world *w, uint32_t from, uint32_t to);
void rs_net_clear(struct rs_world *w);

/* An AppendEntries of any piece of the leader's log: D 3.5 allows it at any time. */
void rs_net_retell(struct rs_replica *leader);

/* raftsim_client.c */
void rs_client_turn(struct rs_world *w, uint32_t group);
void rs_client_extra(struct rs_world *w, uint32_t group); /* a turn out of turn */
void rs_client_applied(struct rs_replica *r, const struct raft_entry *e, uint64_t value);
void rs_client_reads(struct rs_replica *r);
void rs_operator_turn(struct rs_world *w, uint32_t group);
/* Without that one, would each configuration that may be in force keep a majority with disks and states? */
bool rs_operator_may_lose(struct rs_world *w, uint32_t group, uint32_t node);

/* raftsim_fault.c */
void rs_fault_turn(struct rs_world *w);
void rs_fault_end(struct rs_world *w);
uint32_t rs_random_node(struct rs_world *w); /* one that is up, or any */

/* raftsim_heal.c */
void rs_heal_turn(struct rs_world *w);
void rs_heal_acknowledged(struct rs_world *w, uint32_t group);

/* raftsim_oracle.c */
void rs_oracle_reset(struct rs_oracle *o);
void rs_oracle_free(struct rs_oracle *o);
uint64_t rs_content(const struct raft_entry *e, uint64_t *ret_value);
/* After each input to a replica. */
void rs_oracle_step(struct rs_replica *r);
void rs_oracle_tick(struct rs_replica *r);
void rs_oracle_message(struct rs_replica *r, const struct raft_message *m); /* about to leave */
void rs_oracle_written(
    struct rs_replica *r); /* what was just written is on the disk, raft_written() was given */
void rs_oracle_entry(struct rs_replica *r, const struct raft_entry *e, uint64_t prev_term);
void rs_oracle_dropped(
    struct rs_replica *r, const struct raft_entry *e); /* from the disk, behind the applied */
void rs_oracle_applied(struct rs_replica *r, const struct raft_entry *e, uint64_t content);
void rs_oracle_state(struct rs_replica *r, const struct rs_state *s); /* a snapshot's, a restart's */

#endif
