/* The pure part of a cloudd: ingress -> route -> shard (Raft log) -> apply, and the meta group; each led here or elsewhere.
 *
 * No clock, no randomness of its own, no sockets, no threads: cloudd/cloudd.c joins it to ZeroMQ, timers and the two
 * writer threads; tests/sim runs several under a seeded clock, network and disk. All calls on one thread (the loop),
 * except where said. Time comes in as arguments.
 *
 * Frames. Every cloudd binds one ROUTER; edges and other clouds connect DEALERs to it. node_frame() takes what the
 * ROUTER received, with the route to answer it; node_peer_frame() takes what came back on our own DEALERs to a node (the one
 * of send_node, the one of send_bulk). node_flush() at the end of a turn of the loop, not after each frame: what goes to a
 * node leaves in one frame.
 *
 * Disk. The node hands out jobs: log_write() (append and truncate entries of all groups in one durable transaction of
 * the log environment) and apply() (committed entries for the state machines). Both are executed elsewhere, in the
 * order given, one at a time of each kind, by log_job_run() and apply_job_run(); completion comes back through
 * node_log_written() and node_applied(). The node has at most one job of each kind under way. Completions and
 * node_state_durable() must come in the order in which things happened.
 *
 * Full disks are waited for: a job that returned WEIR_EFULL is given back like any other, and the node hands out
 * another one after CONSENSUS_RETRY_MS. After WEIR_EFULL from apply_job_run() or apply_commit() the state writer calls
 * apply_abort() first, and the node reads back from the log what was not durable. A commit that failed is told by
 * node_state_aborted(); the next job that the writer gets after it is given back with WEIR_EFULL without being run, as
 * it may have been handed out before the node knew.
 *
 * Callbacks come from within calls below, never from node_open(), and hold no lock. */
#ifndef WEIR_CLOUDD_NODE_H
#define WEIR_CLOUDD_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/consensus.h"
#include "common/kv.h"
#include "common/model.h"

/* The log environment's databases: one for the node, one for each group: entries by index. */
#define LOG_DB_NODE 0
#define LOG_DB_GROUP(group) (1 + (group))
#define LOG_DBS(shards) (2 + (shards))

struct node;
struct log_job;
struct apply_job;

struct node_time {
	int64_t wall_ns;
	int64_t mono_ns;
};

struct node_io {
	void *arg;
	/* Answers a frame that came through the ROUTER. False: the peer is gone or slow (dropped, counted). */
	bool (*reply)(void *arg, struct bytes route, const void *frame, size_t len);
	/* Sends on our DEALER to another node. False: cannot now. */
	bool (*send_node)(void *arg, uint32_t node, const void *frame, size_t len);
	/* The job stays the node's; it must not be touched until it is run and given back. */
	void (*log_write)(void *arg, struct log_job *job);
	void (*apply)(void *arg, struct apply_job *job);
	/* MSG_QUERY, MSG_OUTBOX, MSG_STATUS, MSG_SNAPSHOT from another node (already checked to decode): to be served on a reader
	 * thread and answered with reply(). The frame lives for the call only. */
	void (*serve)(void *arg, struct bytes route, const void *frame, size_t len);
	/* Sends to another node on the socket of bulk transfers (snapshots). False: cannot now. */
	bool (*send_bulk)(void *arg, uint32_t node, const void *frame, size_t len);
	/* Group `group` is committed up to `index`, as far as is known here. */
	void (*committed)(void *arg, uint32_t group, uint64_t index);
	/* What came of node_read: reads that have seen what is applied up to `index` are linearizable. */
	void (*read)(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index);
	/* A later map is in force, durable wherever this node learnt it from; t holds as long as the node. NULL: the map has other
	 * places for nodes, maybe for this one, than the file that it was opened with: to be opened again by the map; it is told so
	 * again until it is. May come from node_open(). To be kept for the next start: losing it costs a question. */
	void (*mapped)(void *arg, const struct topology *t, struct bytes map);
};

/* Loads both environments (which stay the caller's) and replays what is in the log and not in the state as apply jobs.
 * `apply` must be open on `state`. random: for the cluster id, should this node create it, and
 * consensus_open. */
int node_open(const struct topology *t, uint32_t self, struct kv *log, struct apply *apply, struct kv *state,
    const struct node_io *io, const uint8_t random[16], struct node_time now, struct node **ret_node, char **ret_why);
void node_close(struct node *n);
/* The map that the topology of node_open() was made from, if it was. Nothing where the node's own state had a later one. */
void node_keep_map(struct node *n, struct bytes map);

/* who: whose key the connection has; "" without keys; NULL (and no frame): a key that is not allowed any more. */
void node_frame(struct node *n, struct bytes route, const char *who, const void *frame, size_t len, struct node_time now);
void node_peer_frame(struct node *n, uint32_t peer, const void *frame, size_t len, struct node_time now);
/* Asks for a read index of a group; io.read() is called once, maybe within the call. */
void node_read(struct node *n, uint32_t group, uint64_t context, struct node_time now);
/* Every NODE_TICK_MS: Raft's tick, timeouts, sweeps, watermarks. */
#define NODE_TICK_MS 50
void node_tick(struct node *n, struct node_time now);
/* Hands gathered proposals to the log writer if it is free; call at the end of each loop turn. */
void node_flush(struct node *n, struct node_time now);

/* A job came back, and is freed. rc: what its run returned. WEIR_EIO must have ended the process before; after any other
 * error than WEIR_EFULL nothing is written any more, and node_ready() says why. Hands out the next jobs. */
void node_log_written(struct node *n, struct log_job *job, int rc, struct node_time now);
void node_applied(struct node *n, struct apply_job *job, int rc, struct node_time now);
/* A state transaction was committed: the log may be truncated below what it holds. index: apply_applied(). */
void node_state_durable(struct node *n, uint32_t group, uint64_t index);
/* A state transaction was aborted outside of a job (apply_commit() found no room): see above. */
void node_state_aborted(struct node *n, struct node_time now);
/* The state writer is short of room, or no longer (cloudd/writers.h): nothing new is taken meanwhile, and the other nodes are told. */
void node_state_low(struct node *n, bool low, struct node_time now);
/* A reader met a record of the group's state that does not read. what: static text, for people. */
void node_damaged(struct node *n, uint32_t group, const char *what, struct node_time now);

/* Run by the writer threads: any thread, one job of a kind at a time. */
int log_job_run(struct kv *log, struct log_job *job);
/* Applies the job's entries into the open transaction of `a` (does not commit). After an error the caller aborts the
 * transaction and gives the job back. */
int apply_job_run(struct apply *a, struct apply_job *job);
size_t apply_job_count(const struct apply_job *job);

/* Asks the meta group for something on somebody's behalf: MSG_READMIT, MSG_TOPOLOGY, MSG_REVOKE (type and body of m). done() is called once, on the
 * loop, maybe within the call, within NODE_ASK_TIMEOUT_MS, or by node_close(). map_version: of the map that has it. */
#define NODE_ASK_TIMEOUT_MS 10000
typedef void node_done_fn(void *arg, enum verdict verdict, uint64_t map_version, const char *reason);
void node_ask_meta(struct node *n, const struct msg *m, struct node_time now, node_done_fn *done, void *arg);

/* Sinks of this node have delivered rows of a shard (leader_sinks). Nothing where it is not led here. */
void node_sinks(struct node *n, uint32_t shard, const struct entry_place *places, size_t count);
/* What was found of a shard's alerts: ENTRY_ALERT (leader_alerts). Likewise. */
void node_alerts(struct node *n, uint32_t shard, const struct entry *e, struct node_time now);

/* ---- for HTTP and other reader threads: thread-safe -------------------------------------------------------- */

/* The topology in force, held: the caller gives it back with topology_free(). */
const struct topology *node_topology(struct node *n);
/* Waits until this map, or a later one, is in force here, but no longer than ns. */
void node_wait_map(struct node *n, uint64_t map_version, int64_t ns);
/* The map in force, as bytes, appended; nothing: none is known yet. */
void node_map(struct node *n, struct buf *out);
/* Consensus as of the last tick. The node that leads a group and serves it; -1: none known. */
int node_leader(struct node *n, uint32_t group);
/* For how long no leader has been known that answers this node; 0: one is. *ret_cut_off: most of the nodes on which the map has the
 * group do not answer either. */
int64_t node_unled_ns(struct node *n, uint32_t group, bool *ret_cut_off);
/* This node leads it and serves. */
bool node_serves(struct node *n, uint32_t group);
/* Of every group (topology_groups), by number. */
void node_group_statuses(struct node *n, struct group_status *out);
void node_group_status(struct node *n, uint32_t group, struct group_status *ret_status);
/* Every group this node holds has a leader it can reach, and the cluster id is known. ret_why: what is wrong, the caller's to free. */
bool node_ready(struct node *n, char **ret_why);
void node_notes(struct node *n, struct buf *out); /* view_notes */
/* Group status of the groups this node holds; at most GROUPS_PER_STATUS_MAX; returns the count. Digests come from a
 * read transaction (apply_read_group). */
size_t node_groups(struct node *n, struct msg_group_status *out);
/* What edges reported last, as the meta leader sees it (elsewhere false, and nothing): appends the "edges"
 * array's objects, with commas between them, as interfaces.md names them:
 *   {"name","state","epoch","spool_bytes","accepted","refused":{REASON:n},"heard_ms_ago":n|null,"clock_suspect":bool,
 *    "clock_ahead_ms":n|null,"readmit":bool,"revoked":bool,"map_version":n,"streams":[{"name","state","watermark":"RFC 3339"|null}]}
 * state: the worst of its streams. clock_suspect: the edge says so, or its wall clock or what it reports is further from the
 * time of the fleet's clocks (cloudd/fleet_time.h) than max_ahead; clock_ahead_ms: by how much it is ahead of that, as of its last
 * report. */
bool node_edges_json(struct node *n, struct buf *out);
/* Prometheus text (names weir_cloud_...) of this node. */
void node_metrics(struct node *n, struct kv_txn *txn, struct buf *out);
/* The cluster id, once known. */
bool node_cluster_id(struct node *n, uint8_t ret_id[CLUSTER_ID_BYTES]);

#endif
