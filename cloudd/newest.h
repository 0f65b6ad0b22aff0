/* Which window of a topic is the newest that was seen: so that a revision of an older one does not take its place where only one is kept.
 * Remembers up to NEWEST_MAX topics by a hash of each; when there are more it forgets all and begins anew. Pure. */
#ifndef WEIR_CLOUDD_NEWEST_H
#define WEIR_CLOUDD_NEWEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define NEWEST_SLOTS (1 << 18)
#define NEWEST_MAX (NEWEST_SLOTS / 4 * 3)

/* A zeroed struct is empty; memory is used as topics come. */
struct newest {
	size_t count;
	struct newest_slot {
		uint64_t hash; /* 0: free */
		int64_t start_ns;
	} slots[NEWEST_SLOTS];
};

/* True: no window of the topic that begins later was seen; it is the newest now. */
bool newest_take(struct newest *n, struct bytes topic, int64_t start_ns);

#endif
