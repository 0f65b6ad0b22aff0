/* Rewriting of batches that were never sent. Each step is one transaction of bounded size; what is left to do is in
 * the shard's numbers (spool.h), so a crash between two steps loses nothing and repeats nothing.
 *
 * Compaction (semantics.md 2) goes upwards: a run of batches is merged, partial by partial, into fewer, which get the
 * numbers from `hole` on.
 *
 *     low ... sent | ... final ... | hole ) gap ( hole_end ... old numbers ... next
 *
 * Moving, when the cloud's last is taken as it is (resume): downwards, so that every batch moves to a free number.
 *
 *     low ... old numbers ... hole ) gap ( hole_end ... final ... next                                          */
#ifndef WEIR_EDGED_REWRITE_H
#define WEIR_EDGED_REWRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "edged/spool.h"
#include "edged/stream.h"

#define REWRITE_BATCHES_MAX 32              /* of one step */
#define REWRITE_FRESH_SHARE 16              /* a pass is worth it when this part of what is unsent is new */
#define REWRITE_BYTES_MAX (4 * 1024 * 1024) /* of their bodies */

/* Whether a pass over the shard's unsent batches is under way, or would be more than going over compacted ones again. */
bool rewrite_worthwhile(const struct spool_shard *sh);
/* 1: did a step, there may be more; 0: nothing left to do; or the error of a transaction that changed nothing. */
int rewrite_compact(struct spool *sp, struct streams *streams, uint32_t shard);

/* Puts what is kept after `last`. One call decides (and does the first step); further steps by rewrite_move().
 * WEIR_EINVAL: last is below numbers that are in use. */
int rewrite_move_begin(struct spool *sp, uint32_t shard, uint64_t last);
int rewrite_move(struct spool *sp, uint32_t shard);

#endif
