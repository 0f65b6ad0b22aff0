/* What a node answers from its own state: rows of a shard, of its outbox, and how its groups are. Used by this node's
 * HTTP threads directly, and for other nodes by a few reader threads with a bounded queue.
 *
 * Each answer is made in one short read transaction. */
#ifndef WEIR_CLOUDD_SERVE_H
#define WEIR_CLOUDD_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/node.h"
#include "cloudd/progress.h"
#include "cloudd/rows.h"
#include "common/codec.h"
#include "common/stats.h"

#define SERVE_THREADS 4
#define SERVE_QUEUE_MAX 256
#define SERVE_WAIT_NS (4 * INT64_C(1000000000)) /* for a linearizable read; below what the asker waits */
#define SERVE_TIME_NS (4500 * INT64_C(1000000))  /* to make an answer, the wait included; below that too */

struct serve;

struct serve_options {
	const struct topology *topology;
	uint32_t self;
	struct kv *state;
	struct node *node;
	struct progress *progress;
	/* Answers a frame; called on reader threads. */
	void *arg;
	void (*reply)(void *arg, struct bytes route, const void *frame, size_t len);
	struct stats_cell *busy; /* requests refused because the queue was full, or dropped because their turn came too late */
};

struct serve *serve_new(const struct serve_options *o);
/* Ends the threads (progress_stop first); frees. What is queued is dropped. */
void serve_free(struct serve *s);

/* A frame of another node that asks for something (MSG_QUERY, MSG_OUTBOX, MSG_STATUS): queued and answered by reply(),
 * or answered busy at once. Copies. */
void serve_frame(struct serve *s, struct bytes route, const void *frame, size_t len);

/* Local answers, on the caller's thread. Texts in *ret_reason are static. */

/* Appends encoded rows. VERDICT_OK, or why not: UNAVAILABLE (not held here, the state cannot follow), REFUSED (bad spec).
 * *ret_behind: entries committed when the call began that the rows lack; 0 where linearizable. */
enum verdict serve_query(struct serve *s, uint32_t shard, bool linearizable, struct bytes spec, struct buf *rows,
    bool *ret_more, uint64_t *ret_behind, const char **ret_reason);
enum verdict serve_outbox(struct serve *s, uint32_t shard, const char *stream, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, const char **ret_reason);
/* Groups held here, with digests. At most GROUPS_PER_STATUS_MAX; `node` points into the topology. */
size_t serve_groups(struct serve *s, struct msg_group_status *out);
/* what = "edges": JSON objects; "streams": encoded streams, see serve_stream. REFUSED for anything else. */
enum verdict serve_status(struct serve *s, const char *what, struct buf *out, const char **ret_reason);

/* One stream as one node sees it: its shards' counts, and on the meta node close and final. */
struct serve_stream {
	uint32_t stream; /* place in the topology */
	int64_t close_ns, final_ns;
	uint64_t received, merged, beyond_retain, unknown_stream, invalid, groups, overflowed;
};
/* Decodes what serve_status("streams") appended, adding to `streams` (one per stream of the topology, in its order; times
 * are set where they are higher). */
int serve_streams_add(struct bytes raw, const struct topology *t, struct serve_stream *streams);

#endif
