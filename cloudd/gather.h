/* Asking shards and nodes, wherever they are: this node's own on the calling thread, others' through rpc. For threads that
 * may block. */
#ifndef WEIR_CLOUDD_GATHER_H
#define WEIR_CLOUDD_GATHER_H

#include "cloudd/query.h"
#include "cloudd/rpc.h"
#include "cloudd/serve.h"

#define GATHER_TIMEOUT_NS (5 * INT64_C(1000000000)) /* until a shard counts as out of reach */
#define GATHER_STATUS_TIMEOUT_NS (1500 * INT64_C(1000000))  /* until a node does, for an overview */

struct gather {
	const struct topology *topology;
	uint32_t self;
	struct serve *serve;
	struct rpc *rpc;
};

/* The struct query_source of a gather, which outlives it. */
struct query_source gather_source(struct gather *g);

/* Rows of a shard's outbox after the cursor, which is moved. 0, or an error with the reason written. */
int gather_outbox(struct gather *g, uint32_t shard, const char *stream, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, char reason[QUERY_REASON_MAX]);

/* MSG_STATUS of every node, asked all at once. `reply` is the caller's to free with gather_status_free. */
struct gather_status {
	uint32_t node;
	int rc; /* not 0: no answer */
	struct msg_group_status *groups; /* what = groups */
	size_t group_count;
	struct buf body; /* what = edges, streams */
	char reason[QUERY_REASON_MAX];
};
/* One element per node of the topology. */
struct gather_status *gather_status_all(struct gather *g, const char *what);
/* Of one node. */
struct gather_status *gather_status_one(struct gather *g, uint32_t node, const char *what);
void gather_status_free(struct gather *g, struct gather_status *all); /* of gather_status_all */
void gather_status_free_one(struct gather_status *one);

#endif
