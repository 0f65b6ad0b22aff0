/* Emit alerts: the events of alerts that one sink has still to deliver, of the shards that this node leads. As cloudd/emit, which does so
 * with rows: where a shard is led anew the sink's place is read from the log's state, and moves when a batch is delivered. */
#ifndef WEIR_CLOUDD_EMIT_ALERTS_H
#define WEIR_CLOUDD_EMIT_ALERTS_H

#include "cloudd/emit.h"

struct emit_alerts;

struct emit_alerts *emit_alerts_new(const struct emit_options *o);
void emit_alerts_free(struct emit_alerts *e);
/* Events to deliver: at most SINK_BATCH_ALERTS. They live until the next call but of emit_alerts_measure(); emit_alerts_delivered() or
 * another collect, which gives the same again, follows. */
bool emit_alerts_collect(struct emit_alerts *e, struct sink_alerts *ret_batch);
void emit_alerts_delivered(struct emit_alerts *e);
/* Adds to what emit_measure() found. */
void emit_alerts_measure(const struct emit_alerts *e, int64_t wall_ns, struct emit_figures *f);

#endif
