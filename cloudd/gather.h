/* Asking shards and nodes, wherever they are: this node's own on the calling thread, others' through rpc. For threads that
 * may block.
 *
 * Linearizable pages are asked of the shard's leader. Where there is none, or it no longer leads, or another one is known
 * while it has not answered, the page is asked of the next leader, until GATHER_TIMEOUT_NS after it was begun; or until it is known
 * that there will be none soon: none has been, that answers this node, for GATHER_UNLED_NS, which is longer than an election with
 * one split vote; or for GATHER_CUT_OFF_NS where most of the group's nodes do not answer either, each for PEERS_REACHABLE_MS. Pages that
 * may be stale are asked of this node if it holds the shard, else of the leader if one is known, else of the other
 * replicas by rank; each once. */
#ifndef WEIR_CLOUDD_GATHER_H
#define WEIR_CLOUDD_GATHER_H

#include "cloudd/query.h"
#include "cloudd/rpc.h"
#include "cloudd/serve.h"
#include "cloudd/sink_states.h"

#define GATHER_TIMEOUT_NS (5 * INT64_C(1000000000)) /* until a shard counts as out of reach */
#define GATHER_UNLED_NS (4 * INT64_C(1000000000))
#define GATHER_CUT_OFF_NS (1 * INT64_C(1000000000))
#define GATHER_TRY_NS (2 * INT64_C(1000000000))     /* for one of several replicas that may answer */
#define GATHER_LOOK_NS (20 * INT64_C(1000000))      /* between two looks at who leads */
#define GATHER_STATUS_TIMEOUT_NS (1500 * INT64_C(1000000))  /* until a node does, for an overview ... */
#define GATHER_STATUS_AWAY_NS (300 * INT64_C(1000000))      /* ... and one that there is no connection with */

struct gather {
	const struct topology *topology; /* held, in a copy made by gather_pin() */
	uint32_t self;
	struct serve *serve;
	struct rpc *rpc;
	struct node *node;
	struct progress *progress;
	uint64_t map_version; /* linearizable pages are refused (WEIR_EVERSION) where the shard goes by a later map; 0: they are not */
};

/* A copy for one request: it holds the topology in force, so that all parts of the answer go by the same one. Given back with
 * gather_unpin(). */
struct gather gather_pin(const struct gather *g);
void gather_unpin(struct gather *g);

/* It is known that nobody leads the group, and that nobody will soon. */
bool gather_is_hopeless(const struct gather *g, uint32_t group);

/* The struct query_source of a gather, which outlives it. */
struct query_source gather_source(struct gather *g);

/* Rows of a shard's outbox of a stream's version (0: the one in force) after the cursor, which is moved. At its leader only, once: a replica that is behind would tell of a
 * window as it was. 0, or an error with the reason written; WEIR_ENOTLEADER: none is known, or it no longer leads. *ret_node: who
 * was asked, -1: nobody; also on error. */
int gather_outbox(struct gather *g, uint32_t shard, const char *stream, uint32_t version, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, int *ret_node, char reason[QUERY_REASON_MAX]);
/* The place of the outbox's last row: the leader's; where none answers within timeout_ns, any replica's, which may be further
 * back (a place is the same on all replicas). */
int gather_outbox_end(struct gather *g, uint32_t shard, const char *stream, uint32_t version, int64_t timeout_ns, uint64_t *index,
    uint32_t *n, char reason[QUERY_REASON_MAX]);

/* MSG_STATUS "groups" of every node, asked all at once. */
struct gather_status {
	uint32_t node;
	int rc;       /* not 0: no answer */
	bool refused; /* it answers, but not to us: of another cluster */
	struct msg_group_status *groups; /* with copies of all that they point to */
	size_t group_count;
	struct buf body; /* what = edges, streams */
	char reason[QUERY_REASON_MAX];
};
/* One element per node of the topology. */
struct gather_status *gather_status_all(struct gather *g);
void gather_status_free(struct gather *g, struct gather_status *all);
/* The group's status on a node; NULL: no answer, or it does not hold the group. */
const struct msg_group_status *gather_group(const struct gather_status *s, uint32_t group);

/* The objects of the meta leader's list of edges, with commas between them. 0, or an error with the reason written. */
int gather_edges(struct gather *g, struct buf *out, char reason[QUERY_REASON_MAX]);
/* A piece of the groups of a shard's alerts, of its leader: serve_alert_groups. */
int gather_alerts(struct gather *g, uint32_t shard, uint64_t place, struct buf *out, char reason[QUERY_REASON_MAX]);
/* Adds up the streams' counts: every shard's once, of the replica that has come furthest. streams: one for each of the
 * topology, zero, times WATERMARK_NONE. */
int gather_streams(struct gather *g, struct serve_stream *streams, char reason[QUERY_REASON_MAX]);
/* Takes together what all nodes say of their sinks. states: one for each sink of the topology, zero. Nodes that did not answer, or not to
 * that: a bit each. Where there are no sinks nobody is asked. */
uint64_t gather_sinks(struct gather *g, struct sink_state *states);

#endif
