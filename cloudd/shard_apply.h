/* A shard's entries: OPEN, BATCH, ADVANCE (its bookkeeping; the work that follows is cloudd/sweep's).
 *
 * Rules: semantics.md 1.3, 1.4, 3.6, 4, 5. `res` is filled but for group, index and kind. 0, or an error of kv; a wrong
 * entry is a verdict. Internal to cloudd/apply. */
#ifndef WEIR_CLOUDD_SHARD_APPLY_H
#define WEIR_CLOUDD_SHARD_APPLY_H

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/shard.h"

/* The edge is not in the topology any more: its epoch rises, its record stays (semantics.md 1.4). */
int shard_fence_edge(struct shard *sh, const char *name);
int shard_apply_open(struct shard *sh, const struct entry *e, struct apply_result *res);
/* All of the batch or nothing of it: what cannot be decoded is refused, and the sequence does not move. */
int shard_apply_batch(struct shard *sh, const struct entry *e, uint64_t index, struct apply_result *res);
/* *ret_stream: the stream whose close or final may have moved; NULL: ignored, or not of this topology. */
int shard_apply_advance(struct shard *sh, const struct entry *e, struct apply_result *res,
    struct shard_stream **ret_stream);

/* Where one partial goes. */
struct shard_target {
	uint8_t level;
	int64_t start_ns;
	struct bytes group;
};
/* Merges into the record there, or makes it; knows nothing of the group registry. p has the stream's spec. */
int shard_merge(struct shard *sh, struct shard_stream *s, const struct shard_target *to, const struct partial_packed *p);

#endif
