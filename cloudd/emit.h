/* Emit: the rows that one sink has still to deliver, of the shards that this node leads, from their outboxes.
 *
 *     emit_collect --> batch of rows --> (somebody delivers it) --> emit_delivered: the places move, and go to the shards' logs
 *                                                              '-> emit_discard: the same rows come again
 *
 * Where a shard is led anew its places are read from the log's state, after a read index: so nothing that an earlier leader's sink told
 * the log is delivered again, and nothing is left out. Rows are those that serve_outbox() tells, as windows are now. A shard that nothing
 * new was applied to is not looked at again.
 *
 * One thread at a time; reads of shards may block for some seconds while their majority is away. */
#ifndef WEIR_CLOUDD_EMIT_H
#define WEIR_CLOUDD_EMIT_H

#include "cloudd/serve.h"
#include "cloudd/sink.h"

#define EMIT_LEFT_MAX 10000 /* rows of one outbox that are counted as backlog */

struct emit;

struct emit_options {
	const struct sink_conf *conf; /* outlives it, as all below */
	struct serve *serve;
	struct node *node;
	struct progress *progress;
	void *arg;
	/* Rows up to these places are delivered, or a version of a stream is followed from there on; any thread. */
	void (*places)(void *arg, uint32_t shard, const struct entry_place *places, size_t count);
	bool (*stopping)(void *arg);
};

struct emit *emit_new(const struct emit_options *o);
void emit_free(struct emit *e);

/* Rows to deliver, from where the last call ended: at most SINK_BATCH_ROWS. They live until emit_delivered() or emit_discard(), one of
 * which follows. False: there is nothing now (places of what the sink does not take have moved all the same). */
bool emit_collect(struct emit *e, struct sink_batch *ret_batch);
/* Of an emit_collect() that found nothing: it could look at all that is led here, so nothing waits here. */
bool emit_is_empty(const struct emit *e);
void emit_delivered(struct emit *e);
void emit_discard(struct emit *e);

struct emit_figures {
	uint64_t resets;  /* times that rows were deleted before they were delivered */
	uint64_t gone;    /* rows whose windows were beyond `retain` before they were delivered */
	uint64_t backlog; /* rows; EMIT_LEFT_MAX of an outbox at most */
	uint64_t alerts;  /* likewise, of their events (cloudd/emit_alerts) */
	int64_t lag_ns;   /* age of the oldest of them all */
};
/* wall_ns: now. Reads; as of this node's state. */
void emit_measure(struct emit *e, int64_t wall_ns, struct emit_figures *ret);

#endif
