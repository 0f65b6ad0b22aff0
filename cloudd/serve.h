/* What a node answers from its own state: rows of a shard, of its outbox, how its groups are, and chunks of snapshots. Used by
 * this node's HTTP threads directly, and for other nodes by a few reader threads with a bounded queue.
 *
 * Each answer is made in one short read transaction. A linearizable one is made by the group's leader, after a read index
 * that was confirmed while the request waited is durable in its state; any other one by any replica whose state is whole. */
#ifndef WEIR_CLOUDD_SERVE_H
#define WEIR_CLOUDD_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/node.h"
#include "cloudd/outbox.h"
#include "cloudd/progress.h"
#include "cloudd/snapshot.h"
#include "common/codec.h"
#include "common/rows.h"
#include "common/stats.h"

#define SERVE_THREADS 4     /* for queries and outboxes; one more for status */
#define SERVE_SNAPSHOT_THREADS 2 /* one writes a copy, which may take minutes; one hands out chunks meanwhile, or says so */
#define SERVE_QUEUE_MAX 256 /* of each */
#define SERVE_WAIT_NS (4 * INT64_C(1000000000)) /* for a linearizable read; below what the asker waits */
#define SERVE_TIME_NS (4500 * INT64_C(1000000))  /* to make an answer, the wait included; below that too */

#define SERVE_EDGES_BYTES_MAX (128 * 1024) /* of one piece of the edges' list, unless a single edge takes more */
#define SERVE_WHAT_MAX 64                  /* with its NUL */
#define SERVE_SINKS "sinks"

/* The reason of an UNAVAILABLE that another replica, or this one in a while, would not give: ask the group's leader. */
extern const char serve_not_leader[];
/* The reason where what is asked for includes a record that does not read, and no other replica has it. */
extern const char serve_damaged[];

/* The reason where the shard goes by a later cluster map than the asker: which versions of a stream answer may be another
 * matter by then. Once the asker has that map it asks anew. */
extern const char serve_later_map[];
/* Where this node, or its topology, does not have the stream, or that version of it. */
extern const char serve_unknown_stream[], serve_unknown_version[];

struct serve;

struct serve_options {
	const struct topology *topology; /* at the start; from then on node_topology() */
	uint32_t self;
	struct kv *state;
	struct node *node;
	struct progress *progress;
	struct snapshots *snapshots; /* NULL: MSG_SNAPSHOT is answered UNAVAILABLE */
	/* Answers a frame; called on reader threads. */
	void *arg;
	void (*reply)(void *arg, struct bytes route, const void *frame, size_t len);
	/* A record of the group's state that does not read was met; any thread. May be NULL. */
	void (*damaged)(void *arg, uint32_t group);
	/* Appends what this node knows of its sinks (cloudd/sink_states.h); any thread. NULL: "sinks" is refused. */
	void (*sinks)(void *arg, struct buf *out);
	struct stats_cell *busy; /* requests refused because the queue was full, or dropped because their turn came too late */
};

struct serve *serve_new(const struct serve_options *o);
/* Ends the threads (progress_stop first); frees. What is queued is dropped. */
void serve_free(struct serve *s);

/* A frame of another node that asks for something (MSG_QUERY, MSG_OUTBOX, MSG_STATUS, MSG_SNAPSHOT): queued and answered by reply(),
 * or answered busy at once. Copies. */
void serve_frame(struct serve *s, struct bytes route, const void *frame, size_t len);

/* Local answers, on the caller's thread. Texts in *ret_reason are static. */

/* How old an answer is. */
struct serve_age {
	/* How far one that did not wait may be behind; zero where linearizable: */
	uint64_t behind_entries; /* known here to be committed, and not in the rows */
	int64_t age_ns;          /* since this replica heard from its leader; 0: it leads; or AGE_UNKNOWN */
	int64_t kept_ns;         /* of any: result_kept() */
};

/* Appends encoded rows. map_version: 0, or by which map the spec was made. VERDICT_OK, or why not: UNAVAILABLE (serve_not_leader, also
 * while this node's map is behind the shard's; serve_later_map; not held here, the state cannot follow), REFUSED (bad spec, serve_unknown_stream, serve_unknown_version). */
enum verdict serve_query(struct serve *s, uint32_t shard, bool linearizable, struct bytes spec, uint64_t map_version, struct buf *rows,
    bool *ret_more, struct serve_age *ret_age, const char **ret_reason);
/* version 0: the one in force. Cursors are the same on all replicas. Only a leader tells rows, or calls a cursor beyond its state foreign (reset); and only
 * after a read index of this request is durable in its state: so it has all that an earlier leader told of, none later has told
 * of anything, and no window is told of again as it was before. Where there is nothing to tell no read index is asked for. A
 * replica that does not lead only moves the cursor to its end (*index = UINT64_MAX); for rows it is UNAVAILABLE
 * (serve_not_leader), and so is one whose node's map is behind the shard's: it cannot tell yet which windows are whose.
 * *ret_gone (NULL: nobody asks): as result_outbox(). */
enum verdict serve_outbox(struct serve *s, uint32_t shard, const char *stream, uint32_t version, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, uint64_t *ret_gone, const char **ret_reason);
/* Where a sink goes on in a shard that is led here, for each stream of t; linearizable: it has what an earlier leader's sink told the log.
 * UNAVAILABLE as serve_outbox, and where the shard goes by another map than t: what a new sink tells it would be passed over. */
struct serve_place {
	struct sink_place place;
	bool stored; /* in the log; else the sink is new to this version: before the oldest row kept */
};
enum verdict serve_places(struct serve *s, const struct topology *t, uint32_t shard, const char *sink, struct serve_place *ret_places,
    const char **ret_reason);
/* outbox_left() of this node's state as it is. Errors of kv; WEIR_ECLOSED: it is not whole. */
int serve_left(struct serve *s, uint32_t shard, const struct stream_conf *stream, struct sink_place place, uint64_t max,
    struct outbox_left *ret);

/* Groups held here, with digests (zero, at index 0, while the state is not whole). At most GROUPS_PER_STATUS_MAX; names are
 * the topology's. Cleared by serve_groups_clear. */
size_t serve_groups(struct serve *s, struct msg_group_status *out);
void serve_groups_clear(struct msg_group_status *groups, size_t count);

/* what = "edges.N": varint: the place to go on at, 0: the end; then JSON objects with commas between them, from place N of
 * the meta leader's list. UNAVAILABLE (serve_not_leader) elsewhere.
 * what = "streams.GROUPS": encoded streams (serve_stream) of these groups (serve_what_streams). UNAVAILABLE where one is not
 * whole here.
 * what = SERVE_SINKS: what the node knows of its sinks (cloudd/sink_states.h).
 * REFUSED for anything else: so is by a node of an earlier version what that does not know. */
enum verdict serve_status(struct serve *s, const char *what, struct buf *out, const char **ret_reason);
void serve_what_edges(uint64_t place, char out[SERVE_WHAT_MAX]);
/* groups: one flag for each of topology_groups. */
void serve_what_streams(const bool *groups, uint32_t count, char out[SERVE_WHAT_MAX]);

/* One stream: counts of shards, and of group 0 close and final. */
struct serve_stream {
	uint32_t stream; /* place in the topology */
	int64_t close_ns, final_ns;
	uint64_t received, merged, beyond_retain, unknown_stream, invalid, groups, overflowed;
};
/* Decodes what serve_status("streams.GROUPS") appended, adding to `streams` (one per stream of the topology, in its order; times
 * are set where they are higher). */
int serve_streams_add(struct bytes raw, const struct topology *t, struct serve_stream *streams);

/* Prometheus text: reads of leaders, snapshots served. */
void serve_metrics(struct serve *s, struct buf *out);

#endif
