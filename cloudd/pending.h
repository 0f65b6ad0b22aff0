/* The proposals of one group that are not applied yet, in the order of their index, and who waits for each.
 *
 * Every entry that a group's leader proposes has an item; indexes rise, with gaps where consensus has entries of its own.
 * Not thread-safe: the loop's. */
#ifndef WEIR_CLOUDD_PENDING_H
#define WEIR_CLOUDD_PENDING_H

#include <stddef.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "cloudd/origin.h"

/* A request that is sent again while its entry is in flight waits with the first; more than this many: the oldest
 * waiter is given up (its sender asks again). */
#define PENDING_WAITERS_MAX 3

struct pending_item {
	uint64_t index;
	enum entry_kind kind;
	uint32_t edge;               /* OPEN, BATCH, CLAIM, READMIT; else ORIGIN_NO_EDGE */
	uint64_t epoch;              /* OPEN, BATCH, CLAIM: as asked */
	uint64_t seq, checksum;      /* BATCH */
	uint64_t low, high;          /* OPEN */
	bool resume;                 /* OPEN */
	uint64_t meta_index;         /* ADVANCE, TAKEN */
	uint8_t claim[CLAIM_BYTES];  /* CLAIM */
	uint32_t waiter_count;
	struct origin waiters[PENDING_WAITERS_MAX]; /* in the order they came */
};

/* A zeroed struct is an empty queue. */
struct pending {
	struct pending_item *items; /* a ring */
	size_t cap, head, count;
};

void pending_free(struct pending *p);
/* A new last item, zeroed but for index; valid until the next push. index: above the last item's. */
struct pending_item *pending_push(struct pending *p, uint64_t index);
/* Items in order: 0 is the oldest; NULL beyond the last. */
struct pending_item *pending_at(const struct pending *p, size_t i);
/* The oldest item if its index is at most `index`, else NULL; pending_pop removes it. */
struct pending_item *pending_first(const struct pending *p, uint64_t index);
void pending_pop(struct pending *p);
/* Returns false when an older waiter was given up for this one, which is copied to *ret_dropped. */
bool pending_wait(struct pending_item *item, const struct origin *o, struct origin *ret_dropped);

#endif
