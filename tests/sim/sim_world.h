/* One seed's world: processes (the product's pure cores on simulated disks), the network between them, faults, checks.
 *
 * Time is virtual: sim_world_run() takes one event after the other. All chance comes from the seed. The parts:
 * sim_edge (an edged), sim_cloud (a cloudd with its two writer threads), sim_net, sim_fault, sim_check, sim_group (what the
 * groups have committed, for all replicas), sim_read (linearizable readers). */
#ifndef WEIR_SIM_WORLD_H
#define WEIR_SIM_WORLD_H

#include "cloudd/node.h"
#include "cloudd/snapshot.h"
#include "common/codec.h"
#include "edged/pipeline.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_oracle.h"
#include "tests/sim/sim_plan.h"
#include "tests/sim/sim_queue.h"

#define SIM_PROCS_MAX (SIM_CLOUDS_MAX + SIM_EDGES_MAX + 1) /* clouds, edges, one clone */
#define SIM_LINK_FRAMES_MAX 512 /* under way from one process to another; more: cannot send now */
#define SIM_JOBS_MAX 4096
#define SIM_REASON_MAX 400
#define SIM_SHARDS_MAX 8
#define SIM_GROUPS_MAX (SIM_SHARDS_MAX + 1)
#define SIM_READS_MAX 64        /* linearizable reads under way */
#define SIM_LOST_MAX 64         /* folders lost in a run */
#define SIM_FAILOVERS_MAX 128   /* measured in a run */
#define SIM_VERSIONS_MAX 32      /* of all streams, in a run */

/* A rule of the product that the harness breaks, to show that the simulator would notice. */
enum sim_mutant {
	MUTANT_NONE,
	MUTANT_EARLY_ACK,     /* batches are acknowledged by the network, and some never arrive */
	MUTANT_LYING_SPOOL,   /* the edges' commits are lost by crashes */
	MUTANT_LYING_LOG,     /* the clouds' log commits are lost by crashes */
	MUTANT_LYING_STATE,   /* the clouds' state commits are lost by crashes */
	MUTANT_LOST_MARK,     /* a restarted edge reads its sources from the start */
	MUTANT_LOST_DELTAS,   /* a restarted edge has no open slices */
	MUTANT_LOST_STEPS,    /* a restarted edge has forgotten its steps' state */
	MUTANT_IGNORE_EPOCH,  /* every OPEN and BATCH carries the newest epoch */
	MUTANT_EAGER_REPORT,  /* reported watermarks are ahead of the truth */
	MUTANT_DOUBLE_LINE,   /* the source repeats a line it has committed */
	/* replication */
	MUTANT_DISK_ACK,      /* a leader acknowledges what is on its own disk only */
	MUTANT_VOUCH,         /* followers say that they have entries that never reached them */
	MUTANT_LOST_VOTE,     /* a restarted replica has forgotten its term and vote */
	MUTANT_NO_READ_INDEX, /* who believes to lead answers readers at once */
	MUTANT_OLD_NUMBER,    /* a lost folder comes back under its old member number */
	MUTANT_EARLY_TRUNCATE, /* the log is told that the state is durable before it is */
	MUTANT_EAGER_READ,    /* a new leader answers readers before its first entry is applied */
	MUTANT_SNAPSHOT_AHEAD, /* a snapshot's head says an index above its records' */
	MUTANT_LOST_ADVANCE,  /* shards that did not take an advance say that they did */
	/* clocks */
	MUTANT_LOST_CLOCK,    /* a restarted edge has forgotten when it committed last */
	MUTANT_PROUD_CLOCK,   /* an edge keeps the latest time that any clock ever showed */
	MUTANT_VAIN_CLOCK,    /* whatever is reported is not beyond the fleet's time */
	MUTANT_OUTBOX_CLOCK,  /* the outbox ages by the wall clocks of whoever leads */
	/* damage */
	MUTANT_NO_CHECKSUM,   /* a record of a state that comes to say something else is believed */
	/* topologies */
	MUTANT_EARLY_SINCE,   /* edges say that a new version has had all readings from the beginning */
	MUTANT_COLD_STEPS,    /* an edge that goes over to another topology forgets what its steps remember */
	MUTANT_ENDLESS,       /* edges feed a version beyond its last window */
	MUTANT_REREAD,        /* an edge that goes over reads its sources from the start */
	/* membership */
	MUTANT_NO_REOPEN,     /* a node that is listed at another place goes on where it is */
	MUTANT_DEAF_EDGE,     /* edges take no map */
	MUTANT_EAGER_SETTLED, /* leaders say that their group's members are the places before they are */
	/* sinks */
	MUTANT_SINK_FAILED, /* what could not be delivered counts as delivered */
	MUTANT_SINK_AHEAD,  /* the log is told that a sink has come to whatever was applied meanwhile */
	/* alerts */
	MUTANT_ALERT_STALE, /* what was found of alerts counts, though the log was told of it before */
	MUTANT_ALERT_AGAIN, /* who leads anew judges all windows again */
	MUTANT_ALERT_EARLY, /* windows are judged before they have closed */
	MUTANTS
};
const char *sim_mutant_name(enum sim_mutant m);

struct sim_world;
struct sim_rows; /* sim_answer.h */
struct sim_sinks;     /* sim_sink.c, as the next */
struct sim_receivers;
struct sim_alerts; /* sim_alert.c */
struct sim_alert_world; /* sim_alert.h */

/* A machine that was suspended, or a process that was stopped: nothing runs, and in a suspend CLOCK_MONOTONIC stands still. */
struct sim_sleep {
	int64_t paused_until_ns;
	int64_t from_ns, until_ns; /* the last suspend */
	int64_t lost_ns;           /* in those before */
};

struct sim_conn {
	uint64_t id;      /* 0: none */
	uint32_t dealer, router; /* processes */
	uint64_t dealer_life, router_life;
};

struct sim_feed {
	struct line_parser parser;
	bool parser_made;
	size_t fed;       /* offset up to which the parser was given the text */
	size_t next_line; /* the next line that it will call back */
	size_t skip_to;   /* after a readmission: lines before are not read */
	bool finished;
};

struct sim_edge {
	struct sim_world *w;
	uint32_t pid, edge; /* edge: number in the plan */
	bool exists;      /* the clone only from its scenario on, an added one from its change on */
	bool up, paused, tick_planned;
	uint64_t life;
	struct sim_disk *disk;
	struct kv *kv;
	const struct topology *file;     /* the plan's: that it was begun with */
	const struct topology *topology; /* held: that it goes by, or went by last */
	uint32_t number;                 /* its own there */
	const struct topology *next;     /* held: taken, and not in the spool yet; NULL: none */
	struct sim_adoption *adoptions;  /* by the history that the pipeline believes in; their topologies are held */
	size_t adoption_count;
	struct buf next_map;
	struct pipeline *pipeline;
	uint32_t cloud;   /* connected to: process */
	bool connected;
	uint64_t conn;
	int64_t skew_ns;
	struct sim_sleep sleep;
	bool clock_kept;       /* a commit was made while the clock was right, and had been at every start */
	bool clock_ever_wrong; /* at a start */
	int64_t committed_wall_ns; /* what its clock showed at the last commit */
	int64_t stalled_until_ns;
	struct sim_feed feeds[SIM_SOURCES_MAX];
	/* the history that the pipeline believes in */
	struct sim_delivery *log;
	size_t log_count, log_cap;
	size_t log_whole; /* while it settles: log_count as it was */
	size_t cut_pending, cut_durable; /* log_count at the last checkpoint begun, and at the last durable one */
	size_t delivered; /* so much of the log the cloud has acknowledged for certain */
	/* counted from the log */
	uint64_t accepted, refused;
	bool crash_committed; /* the crash hit a commit that is on the disk all the same */
	/* histories given up by a restored backup, an emptied disk or a readmission: may count, must not */
	struct sim_delivery *old;
	size_t old_count, old_cap;
	/* SIM_RESTORE */
	struct sim_disk *backup;
	size_t backup_cut;
	bool readmit_asked;
	bool was_fenced;
};

struct sim_closed {
	int64_t close_ns, final_ns;
};

/* What a group has committed: the first replica that says so fixes it for all. */
struct sim_log_entry {
	uint64_t term;
	uint8_t kind; /* enum raft_entry_kind */
	struct buf raw;
	bool digest_known; /* of the state after it, by the first replica that was there */
	uint64_t digest_hi, digest_lo;
};

struct sim_leader {
	uint64_t term, member;
};

struct sim_config {
	uint64_t index;
	struct buf raw;
};

struct sim_group {
	struct sim_log_entry *at; /* by index - 1 */
	size_t count, cap;
	struct sim_leader *leaders; /* a hash table by term */
	size_t leader_count, leader_cap;
	struct sim_config *configs; /* each that was written to any log, committed or not */
	size_t config_count;
	uint64_t config_written; /* the highest index of these */
};

/* What was written to any log, by (group, index, term): equal on all. */
struct sim_written {
	uint64_t key, hash; /* key 0: free */
};

/* A linearizable read of one shard. */
struct sim_read {
	bool used, sweeps, granted;
	uint32_t shard, cloud;
	uint64_t life, context;
	uint64_t floor; /* index that somebody had been told of before it began */
	uint64_t index; /* granted: to be waited for */
	int64_t begun_ns, asked_ns; /* asked: by the node; 0: not yet */
};

/* A reader of everything: of each shard once, then all is looked at together. */
struct sim_sweep {
	bool under_way;
	int64_t ended_ns;
	bool asked[SIM_SHARDS_MAX], done[SIM_SHARDS_MAX];
	struct sim_rows *rows; /* per stream */
};

/* From the kill of a shard's leader to the next acknowledgement. */
struct sim_failover {
	int64_t killed_ns[SIM_SHARDS_MAX]; /* 0: not waited for */
	uint32_t ms[SIM_FAILOVERS_MAX];
	size_t count;
};

struct sim_cloud {
	struct sim_world *w;
	uint32_t pid;
	bool up;
	bool damaged; /* its disk was, and it may still lack what it had there */
	uint64_t life;
	struct sim_disk *log_disk, *state_disk;
	bool wanted;                     /* it is to run: its operator starts it again */
	const struct topology *file;     /* the plan's: that it is started with; NULL: none yet */
	const struct topology *topology; /* held: that it goes by, or went by last */
	uint32_t slot;                   /* its place there */
	struct buf map;                  /* kept for the next start; empty: none */
	bool reopens;                    /* the map has another place for it than it was opened at */
	int64_t removed_ns;              /* since when the map that it goes by has it at another place; 0: it does not */
	struct kv *log, *state;
	struct apply *apply;
	struct node *node;
	int64_t skew_ns;
	int64_t slow_until_ns;
	struct log_job *log_jobs[SIM_JOBS_MAX];
	size_t log_first, log_count;
	bool log_busy;
	struct apply_job *apply_jobs[SIM_JOBS_MAX];
	size_t apply_first, apply_count;
	bool apply_busy, commit_planned;
	uint64_t peer_conn[SIM_CLOUDS_MAX], bulk_conn[SIM_CLOUDS_MAX]; /* by process */
	struct snapshots *snapshots;
	uint64_t false_id, true_id; /* of a snapshot that a mutant's head lies about */
	struct sim_sleep sleep;
	uint64_t member;         /* of its folder; 0: not written yet */
	uint64_t seen[SIM_GROUPS_MAX];    /* committed entries of this start that were compared */
	uint64_t durable[SIM_GROUPS_MAX]; /* as told to the node */
	uint64_t applied[SIM_GROUPS_MAX]; /* by jobs of this start */
	uint64_t state_at[SIM_GROUPS_MAX]; /* the durable state's index: never falls while the folder lasts */
	struct sim_closed closed[SIM_GROUPS_MAX][SIM_VERSIONS_MAX]; /* nor do these; of group 0: meta's */
	bool serves[SIM_GROUPS_MAX];      /* leads it, as of the last tick */
	bool refuse_next; /* a state commit found no room: the next job may rest on what was lost with it */
	bool low;         /* the state is short of room, as its writer finds */
	int64_t told_ns;  /* when the state writer's last message arrives */
	struct sim_sinks *sinks; /* while it is up; NULL: the world has none */
	struct sim_alerts *alerts; /* likewise */
};

struct sim_batch_note {
	uint64_t checksum;
	bool sent, acked;
	uint64_t index; /* of the first entry of its shard that commits it; 0: none yet */
};

/* What was seen of one (edge, shard). */
struct sim_lane {
	struct sim_batch_note *at; /* by seq - 1 */
	size_t count;
	uint64_t acked_high;
};

struct sim_grant {
	uint32_t edge;
	uint64_t epoch;
	uint8_t claim[CLAIM_BYTES];
};

/* A row once seen final. */
struct sim_final {
	bool used, changed;
	bool given_up; /* seen when the version had other windows, or did not answer yet */
	uint32_t stream;
	int64_t start_ns;
	uint8_t group_len;
	uint8_t group[128];
	uint64_t count;
	uint64_t digest;
	uint64_t revision;
	int64_t seen_at;
};

struct sim_cursor_at {
	uint64_t index;
	uint32_t n;
};

/* What the operator is at: sim_operator.c. */
struct sim_operator {
	uint32_t next;  /* change */
	bool prepared;  /* what it adds was started */
	bool asked;     /* a node was, and has not answered yet */
	uint32_t asked_for; /* change */
	bool refused;   /* by the cluster */
	bool same;      /* the cluster has it so already, in other words */
};

struct sim_told;

/* What a watcher of everything was told last. */
struct sim_watch {
	struct sim_told *at; /* a hash table */
	size_t count, cap;
	struct sim_cursor_at cursors[SIM_SHARDS_MAX][SIM_VERSIONS_MAX];
	bool other_windows[SIM_VERSIONS_MAX]; /* a version's windows were changed: some were told of by others than it has now */
};

struct sim_world {
	const struct sim_plan *plan;
	const struct topology *topology; /* that it began with: clouds are at their process' numbers, as far as it has them */
	const struct topology *newest;   /* held: of the latest map that any node goes by; NULL: none yet */
	const struct topology *known;    /* all versions of streams and all edges that any map had, each at one place for ever: of the latest map */
	const struct topology **known_all; /* held: those before it, too */
	size_t known_count;
	struct sim_operator operator;
	enum sim_mutant mutant;
	bool verbose;
	bool no_faults; /* healed */
	uint32_t bad_clock; /* the process whose machine's clock is the one that cannot be trusted */
	bool time_lost;     /* every machine's clock was wrong at some time */
	int64_t now_ns;
	uint64_t events;
	uint64_t trace;   /* running hash of all that happened */
	struct sim_queue queue;
	struct sim_rand net_rand, fault_rand, disk_rand, proc_rand;
	uint32_t cloud_count, edge_count; /* edges: with the clone's place last */
	struct sim_cloud clouds[SIM_CLOUDS_MAX];
	struct sim_edge edges[SIM_EDGES_MAX + 1];
	/* network */
	struct sim_conn *conns;
	size_t conn_count, conn_cap;
	bool blocked[SIM_PROCS_MAX][SIM_PROCS_MAX]; /* [from][to] */
	uint32_t under_way[SIM_PROCS_MAX][SIM_PROCS_MAX];
	int64_t last_arrival_ns[SIM_PROCS_MAX][SIM_PROCS_MAX];
	double slow_link[SIM_PROCS_MAX];
	/* checks */
	struct sim_lane lanes[SIM_EDGES_MAX][SHARDS_MAX];
	struct sim_grant *grants;
	size_t grant_count;
	struct sim_group groups[SIM_GROUPS_MAX];
	struct sim_written *written;
	size_t written_count, written_cap;
	uint64_t lost[SIM_LOST_MAX]; /* member numbers of folders that are gone */
	size_t lost_count;
	uint32_t last_wiped;
	struct sim_read reads[SIM_READS_MAX];
	uint64_t next_context;
	uint64_t read_floor[SIM_SHARDS_MAX]; /* index that an acknowledgement or an answer has told of */
	struct sim_sweep sweep;
	char rest_why[SIM_REASON_MAX];
	struct sim_failover failover;
	struct sim_final *finals;
	size_t final_count, final_cap;
	int64_t final_seen[STREAMS_MAX]; /* at the last check, of all shards */
	int64_t since_seen[STREAMS_MAX]; /* the latest time from which any edge had its readings in that version, of all that ever said so */
	struct sim_watch watch;
	struct sim_receivers *receivers; /* of sinks */
	struct sim_alert_world *alerts;
	unsigned checks_at_rest;
	bool done;
	/* figures */
	uint64_t maps, cuts; /* of versions of streams */
	uint64_t crashes, frames, frames_lost, batches, acks, rows_checked, answered, snapshots, leaders, wipes, delivered, alerted, alert_groups;
	bool failed;
	char reason[SIM_REASON_MAX];
};

struct sim_outcome {
	bool failed;
	char reason[SIM_REASON_MAX];
	uint64_t trace;
	uint64_t events, crashes, frames, batches, lines, rows, reads, snapshots, leaders, wipes, maps, cuts, delivered, alerted, alert_groups;
	uint32_t failover_ms[SIM_FAILOVERS_MAX];
	size_t failovers;
	int64_t virtual_ns;
};

/* Runs a seed to its end. */
void sim_world_run(uint64_t seed, enum sim_mutant mutant, bool failover, bool verbose, struct sim_outcome *ret);

/* ---- within the world ---------------------------------------------------------------------------------------- */

/* Notes the first violation; the run ends after the present event. */
void sim_fail(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_plan_event(struct sim_world *w, enum sim_event_type type, int64_t in_ns, uint32_t who, uint64_t life);
void sim_hash(struct sim_world *w, uint64_t v);
uint64_t sim_hash_bytes(const void *p, size_t n);
/* An event time, for people: seconds since the world began. */
static inline long long sim_seconds(int64_t t_ns)
{
	return (long long)((t_ns - SIM_WALL_BASE_NS) / NS_PER_SEC);
}

/* CLOCK_MONOTONIC of a machine. */
int64_t sim_mono_ns(const struct sim_world *w, const struct sim_sleep *s);
void sim_wake(const struct sim_world *w, struct sim_sleep *s); /* what is started now is not stopped */
static inline int64_t sim_wall_ns(const struct sim_world *w)
{
	return SIM_WALL_BASE_NS + w->now_ns;
}

/* sim_net.c: processes are numbered: clouds, then edges. */
uint64_t sim_net_connect(struct sim_world *w, uint32_t dealer, uint32_t router);
bool sim_net_up(const struct sim_world *w, uint32_t pid, uint64_t *ret_life);
/* Sends on a dealer's connection; reconnects it where the router was restarted. */
bool sim_net_to_router(struct sim_world *w, uint64_t *conn, const void *frame, size_t len);
bool sim_net_to_dealer(struct sim_world *w, uint32_t router, struct bytes route, const void *frame, size_t len);
void sim_net_deliver(struct sim_world *w, void *frame); /* the SIM_FRAME event's */
void sim_net_free_frame(void *frame);
/* What a mutant's network makes up: a frame of one cloud that reaches another. */
void sim_net_forge(struct sim_world *w, uint32_t from, uint32_t to, const void *frame, size_t len);

/* sim_place.c: nodes have a place in each topology, and one number as processes. */
const struct topology *sim_topology(const struct sim_world *w); /* the latest, or the first */
/* A node's process; -1: nobody has that place. */
int sim_pid_at(const struct sim_world *w, const struct topology *t, uint32_t slot);
/* The place of a process; -1: none. */
int sim_slot_of(const struct sim_world *w, const struct topology *t, uint32_t pid);
/* As topology_replicas, topology_replica, topology_rank, of the latest topology and processes. */
uint32_t sim_replicas(const struct sim_world *w, uint32_t group);
uint32_t sim_replica(const struct sim_world *w, uint32_t group, uint32_t rank);
bool sim_placed(const struct sim_world *w, uint32_t group, uint32_t pid);
void sim_map_seen(struct sim_world *w, const struct topology *t);
/* A topology of a map, as a process makes it; NULL: it is none, which fails the run. before: may be NULL. */
struct topology *sim_map_topology(struct sim_world *w, struct bytes map, const struct topology *before);

/* sim_operator.c: the plan's changes. */
void sim_operator_plan(struct sim_world *w);
void sim_operator_run(struct sim_world *w); /* the SIM_OPERATE event's */
bool sim_operator_done(const struct sim_world *w);
const char *sim_deed_text(enum sim_deed d);

/* sim_versions.c: versions of streams, by their place in sim_world.known. */
void sim_versions_begin(struct sim_world *w);
void sim_versions_free(struct sim_world *w);
void sim_versions_seen(struct sim_world *w, struct bytes map, uint64_t version); /* some node has it */
int64_t sim_versions_least_retain(const struct sim_world *w, uint32_t stream);   /* by which anything of it may have been deleted */
bool sim_versions_always_kept(const struct sim_world *w, uint32_t stream);       /* nothing of it was, rollups included */
bool sim_versions_on_time(const struct sim_world *w, uint32_t stream);           /* sim_plan_on_time, in all maps */
bool sim_versions_was_ended(const struct sim_world *w, uint32_t stream);         /* the stream was removed while it was in force */
bool sim_versions_was_removed(const struct sim_world *w, const char *name);      /* ... any version of that name */
bool sim_versions_lost_edge(const struct sim_world *w);                          /* one was removed */

/* sim_adopt.c: an edge's topology. */
void sim_adopt_start(struct sim_edge *e); /* its kept map, or its file; the spool is open */
void sim_adopt_turn(struct sim_edge *e);  /* after a tick */
bool sim_adopt_at_rest(const struct sim_edge *e);
void sim_adopt_settle(struct sim_edge *e); /* its log is that of the spool again */
bool sim_edge_is_gone(const struct sim_edge *e); /* the cluster does not list it any more */
const struct edge_conf *sim_edge_conf(const struct sim_edge *e);

/* sim_edge.c */
const struct pipeline_io *sim_edge_io(void);
void sim_edge_init(struct sim_world *w, struct sim_edge *e, uint32_t pid, uint32_t edge);
void sim_edge_start(struct sim_edge *e);
void sim_edge_crash(struct sim_edge *e);   /* as kill -9 */
void sim_edge_stop(struct sim_edge *e);    /* as SIGTERM */
void sim_edge_tick(struct sim_edge *e);
void sim_edge_feed(struct sim_edge *e);
void sim_edge_frame(struct sim_edge *e, const void *frame, size_t len);
void sim_edge_free(struct sim_edge *e);
void sim_edge_clear_spool(struct sim_edge *e, unsigned db); /* a mutant's */
/* Sources of its topology that it did not have before: from their positions in the spool. from: as for pipeline_reopen. */
void sim_edge_open_sources(struct sim_edge *e, const uint32_t *from);
bool sim_edge_all_read(const struct sim_edge *e);
/* Gives up the present history from `from` on: it may count, but need not. */
void sim_edge_disown(struct sim_edge *e, size_t from);
struct pipeline_time sim_edge_time(const struct sim_edge *e);

/* sim_cloud.c */
void sim_cloud_init(struct sim_world *w, struct sim_cloud *c, uint32_t pid);
void sim_cloud_start(struct sim_cloud *c);
void sim_cloud_crash(struct sim_cloud *c);
void sim_cloud_tick(struct sim_cloud *c);
void sim_cloud_log_run(struct sim_cloud *c);
void sim_cloud_log_done(struct sim_cloud *c, void *job, int rc);
void sim_cloud_apply_run(struct sim_cloud *c);
void sim_cloud_apply_done(struct sim_cloud *c, void *job, int rc);
void sim_cloud_state_commit(struct sim_cloud *c);
void sim_cloud_state_told(struct sim_cloud *c, bool aborted, const uint64_t *durable);
void sim_cloud_low_told(struct sim_cloud *c, bool low);
void sim_cloud_frame(struct sim_cloud *c, uint64_t conn, uint32_t from, bool peer, const void *frame, size_t len);
void sim_cloud_free(struct sim_cloud *c);
void sim_cloud_read(struct sim_cloud *c, uint64_t context);
void sim_cloud_turn(struct sim_cloud *c);  /* after it was asked something */
void sim_cloud_wipe(struct sim_cloud *c);  /* of one that is down: its folder is lost */
/* Its state of the group starts anew: what is compared with what was there before. */
void sim_cloud_forget(struct sim_cloud *c, uint32_t group);
struct node_time sim_cloud_time(const struct sim_cloud *c);

/* sim_fault.c */
void sim_fault_plan(struct sim_world *w);
void sim_fault_event(struct sim_world *w, const struct sim_event *e);
void sim_fault_heal(struct sim_world *w);
void sim_fault_crash(struct sim_world *w, uint32_t cloud, int64_t in_ns); /* it comes back soon */

/* sim_check.c */
void sim_check_edge(struct sim_edge *e);                    /* the ledger */
void sim_check_sent(struct sim_edge *e, const struct msg *m);     /* a frame that leaves an edge */
void sim_check_received(struct sim_edge *e, const struct msg *m); /* a frame that reaches an edge */
void sim_check_state(struct sim_cloud *c);                  /* after a state commit */
void sim_check_finals(struct sim_world *w, struct sim_rows *rows); /* of all streams */
void sim_check_forget_finals(struct sim_world *w, uint32_t stream);
bool sim_check_at_rest(struct sim_world *w, const struct sim_rows *rows, char *why, size_t why_size);
void sim_check_end(struct sim_world *w);

/* sim_group.c */
void sim_group_written(struct sim_cloud *c, unsigned db, struct bytes key, struct bytes value); /* a durable record of the log */
void sim_group_committed(struct sim_cloud *c, uint32_t group, uint64_t index);
void sim_group_applies(struct sim_cloud *c, const struct apply_job *job);
void sim_group_state(struct sim_cloud *c, struct kv_txn *txn, uint32_t group); /* a durable state */
void sim_group_sent(struct sim_cloud *c, uint32_t node, const struct msg *m); /* MSG_RAFT */
/* One record of databases first .. first + dbs - 1 of a disk that is not open has a bit flipped; unseen: with the checksum that goes with
 * it. False: there is none, or no room. */
bool sim_damage(struct sim_disk *d, struct sim_rand *r, unsigned first, unsigned dbs, bool unseen);
bool sim_cloud_damage_log(struct sim_cloud *c);
/* Makes the groups void whose state is not whole. Before the node is opened. */
int sim_damage_void(struct sim_cloud *c);
/* Another cloud's disk was damaged, and that is not repaired yet. */
bool sim_damage_heals(struct sim_world *w, const struct sim_cloud *but);
/* The configuration that is committed last; false: none is. */
struct raft_config;
bool sim_group_config(const struct sim_world *w, uint32_t group, struct raft_config *ret);
/* No group has its member number, or may come to have it by what is written. */
bool sim_group_is_out(const struct sim_cloud *c);
bool sim_group_may_wipe(const struct sim_world *w, const struct sim_cloud *c);
void sim_group_replay(struct sim_world *w); /* at the end */
void sim_group_free(struct sim_world *w);

/* sim_read.c */
void sim_read_tick(struct sim_world *w);
void sim_read_asked(struct sim_cloud *c, uint64_t context); /* the SIM_READ_ASK event's */
void sim_read_told(struct sim_cloud *c, uint32_t group, uint64_t context, bool ok, uint64_t index);
void sim_read_run(struct sim_cloud *c, uint64_t context);
void sim_read_durable(struct sim_cloud *c);
void sim_read_again(struct sim_world *w);
void sim_read_free(struct sim_world *w);

/* sim_sink.c */
void sim_sink_begin(struct sim_world *w);
void sim_sink_free(struct sim_world *w);
void sim_sink_start(struct sim_cloud *c); /* its node is open */
void sim_sink_stop(struct sim_cloud *c);  /* and is closed afterwards */
void sim_sink_turn(struct sim_cloud *c, uint64_t arg); /* events */
void sim_sink_done(struct sim_cloud *c, uint64_t arg);
void sim_sink_arrive(struct sim_world *w, void *delivery);
/* False: the read was another's. */
bool sim_sink_told(struct sim_cloud *c, uint32_t group, uint64_t context, bool ok, uint64_t index);
/* All is delivered, as it is. */
bool sim_sink_at_rest(struct sim_world *w, char *why, size_t size);

/* sim_alert.c */
void sim_alert_begin(struct sim_world *w);
void sim_alert_free(struct sim_world *w);
void sim_alert_start(struct sim_cloud *c); /* as sim_sink's */
void sim_alert_stop(struct sim_cloud *c);
void sim_alert_turn(struct sim_cloud *c); /* events */
void sim_alert_propose(struct sim_cloud *c, void *found); /* its memory is the caller's, as the next one's */
void sim_alert_arrive(struct sim_world *w, const void *delivery);

/* sim_alert_check.c */
/* All windows that have closed are judged, and all events delivered. */
bool sim_alert_at_rest(struct sim_world *w, char *why, size_t size);
void sim_alert_check(struct sim_world *w); /* at the end */
/* An entry of a shard's log was applied again, and is committed to that state. */
bool sim_alert_wants(const struct sim_world *w, uint32_t group, struct bytes raw);
void sim_alert_replayed(struct sim_world *w, struct kv *kv, uint32_t group);

/* sim_watch.c */
void sim_watch_follow(struct sim_world *w, struct sim_cloud *c, uint32_t shard);
void sim_watch_check(struct sim_world *w);

#endif
