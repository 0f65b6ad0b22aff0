/* A shard's outbox of one version of a stream, as those see it who follow it: where it begins, and what is behind a place. In any read
 * transaction; errors are those of common/kv. */
#ifndef WEIR_CLOUDD_OUTBOX_H
#define WEIR_CLOUDD_OUTBOX_H

#include "cloudd/sink_places.h"
#include "cloudd/state.h"
#include "common/kv.h"
#include "common/model.h"

/* The place before the oldest row kept: {0, 0} where none was deleted. */
int outbox_first(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, struct sink_place *ret);

/* The place that a key below prefix (table, stream) names; false: it is no such key. */
bool outbox_place_of(struct bytes key, const struct state_key *prefix, struct sink_place *ret);

struct outbox_left {
	uint64_t rows;   /* behind the place; `max`: maybe more */
	int64_t age_ns;  /* of the oldest of them, when the outbox's clock last moved; 0 without rows */
	int64_t as_of_ns; /* wall time at which it did; 0: not known */
};
/* At most `max` rows are looked at. */
int outbox_left(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, struct sink_place place, uint64_t max,
    struct outbox_left *ret);

#endif
