/* A hash table of pointers: open addressing, linear probing, deletion by shifting back, at most 3/4 full.
 *
 * The items stay the caller's. Nothing can iterate it, so that no visible order ever comes from hashes: modules keep
 * their items in lists as well. Inline, so that the comparison is compiled into the loop. */
#ifndef WEIR_EDGED_TABLE_H
#define WEIR_EDGED_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/err.h"

struct table_slot {
	uint64_t hash;
	void *item; /* NULL: free */
};

/* A zeroed struct table is a valid empty one. */
struct table {
	struct table_slot *slots;
	size_t cap; /* a power of two, or 0 */
	size_t count;
};

static inline void table_free(struct table *t)
{
	free(t->slots);
	*t = (struct table){0};
}

static inline size_t table_bytes(const struct table *t)
{
	return t->cap * sizeof(struct table_slot);
}

/* The item with this hash for which same(item, key) holds, or NULL. */
static inline void *table_find(const struct table *t, uint64_t hash, bool (*same)(const void *item, const void *key),
    const void *key)
{
	if (!t->count)
		return NULL;
	for (size_t i = hash & (t->cap - 1); t->slots[i].item; i = (i + 1) & (t->cap - 1))
		if (t->slots[i].hash == hash && same(t->slots[i].item, key))
			return t->slots[i].item;
	return NULL;
}

static inline void table_place(struct table *t, uint64_t hash, void *item)
{
	size_t i = hash & (t->cap - 1);
	while (t->slots[i].item)
		i = (i + 1) & (t->cap - 1);
	t->slots[i] = (struct table_slot){hash, item};
}

/* item is not in the table yet. */
static inline void table_insert(struct table *t, uint64_t hash, void *item)
{
	if ((t->count + 1) * 4 > t->cap * 3) {
		struct table bigger = {0};
		bigger.cap = t->cap ? t->cap * 2 : 16;
		bigger.slots = xcalloc(bigger.cap, sizeof(bigger.slots[0]));
		for (size_t i = 0; i < t->cap; i++)
			if (t->slots[i].item)
				table_place(&bigger, t->slots[i].hash, t->slots[i].item);
		bigger.count = t->count;
		free(t->slots);
		*t = bigger;
	}
	table_place(t, hash, item);
	t->count++;
}

/* item is in the table, under this hash. */
static inline void table_remove(struct table *t, uint64_t hash, const void *item)
{
	size_t mask = t->cap - 1, hole = hash & mask;
	while (t->slots[hole].item != item) {
		weir_assert(t->slots[hole].item);
		hole = (hole + 1) & mask;
	}
	for (size_t i = (hole + 1) & mask; t->slots[i].item; i = (i + 1) & mask) {
		size_t home = t->slots[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) { /* it may move back to the hole */
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole].item = NULL;
	t->count--;
}

#endif
