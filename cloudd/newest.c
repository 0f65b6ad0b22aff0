#include "cloudd/newest.h"

#include <string.h>
#include <xxhash.h>

/* The topic's slot, or the free one where it belongs: there is always one. */
static struct newest_slot *slot_of(struct newest *n, uint64_t hash)
{
	size_t at = hash % NEWEST_SLOTS;
	while (n->slots[at].hash && n->slots[at].hash != hash)
		at = (at + 1) % NEWEST_SLOTS;
	return &n->slots[at];
}

bool newest_take(struct newest *n, struct bytes topic, int64_t start_ns)
{
	uint64_t hash = XXH3_64bits(topic.p, topic.n);
	hash += !hash;
	struct newest_slot *s = slot_of(n, hash);
	if (!s->hash && n->count == NEWEST_MAX) {
		memset(n, 0, sizeof(*n));
		s = slot_of(n, hash);
	}
	if (s->hash && s->start_ns > start_ns)
		return false;
	n->count += !s->hash;
	*s = (struct newest_slot){hash, start_ns};
	return true;
}
