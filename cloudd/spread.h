/* Spread: brings the advances that the meta group has committed to every shard, in the order of their meta index, until
 * the shard has taken them.
 *
 * The queue itself is in the meta group's state (meta_read_advances). A shard that keeps up gets each advance as it is
 * applied; one that is behind (after a start, a lost frame, a node that was down, or too much at once) is fed from the
 * queue, a window at a time, until nothing is left there that it has not been sent. Replies are cumulative, and true whichever
 * replica of the shard they come from: each has applied what it says.
 * Pure but for reading the state; on the loop thread. */
#ifndef WEIR_CLOUDD_SPREAD_H
#define WEIR_CLOUDD_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"

#define SPREAD_WINDOW 32        /* sent to a shard and not taken */
#define SPREAD_RESEND_MS 1000
#define SPREAD_READ_EVERY_MS 100 /* a shard behind is fed this often, and at once when it takes something */

struct spread;

struct spread_io {
	void *arg;
	/* Sends an ADVANCE to the node that leads a shard; false: cannot now. The reply may come before it returns. */
	bool (*advance)(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry);
};

struct spread_counters {
	uint64_t sent, resends; /* advances sent; times that a shard was started over */
};

struct spread *spread_new(uint32_t shards, const struct spread_io *io);
void spread_free(struct spread *sp);
/* Begins anew, from the queue: nothing is known of any shard. */
void spread_start(struct spread *sp);
/* A new advance, the newest of all: goes to the shards that keep up. */
void spread_push(struct spread *sp, uint64_t meta_index, struct bytes entry, int64_t mono_ns);
/* The shard has taken everything up to meta_index; 0: it did not say. */
void spread_taken(struct spread *sp, uint32_t shard, uint64_t meta_index);
/* It refused, is busy or has a gap: starts over from what it has taken. */
void spread_refused(struct spread *sp, uint32_t shard);
/* Feeds those behind. complete: the state that a read transaction sees now holds every advance pushed so far. 0,
 * WEIR_ECORRUPT, WEIR_EIO, WEIR_EBUSY (too many readers). */
int spread_tick(struct spread *sp, struct kv *state, bool complete, int64_t mono_ns);

/* 0: not known yet. */
uint64_t spread_shard_taken(const struct spread *sp, uint32_t shard);
/* The lowest that some shard is known to have taken, or to lack (then one less); UINT64_MAX: nothing known. */
uint64_t spread_lowest(const struct spread *sp);
const struct spread_counters *spread_counters(const struct spread *sp);

#endif
