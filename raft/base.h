/* raft/base: memory, assertions and chance for raft/. Internal. */
#ifndef RAFT_BASE_H
#define RAFT_BASE_H

#include <stddef.h>
#include <stdint.h>

#include "raft/raft.h"

/* What the programmer promises; stays on in release. Never for bytes of messages. */
#define RAFT_ASSERT(condition) ((condition) ? (void)0 : raft_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void raft_assert_failed(const char *condition, const char *file, int line);

/* Zeroed; abort when memory is out. raft_resize keeps what is there and zeroes nothing. */
void *raft_alloc(size_t count, size_t size);
void *raft_resize(void *p, size_t count, size_t size);
/* For an array that holds `used` of *capacity items and shall take one more: grows it by doubling. Returns
 * the array. */
void *raft_grow(void *array, size_t used, size_t *capacity, size_t size);

/* The next number of a seeded sequence (splitmix64: Steele, Lea, Flood 2014). */
uint64_t raft_random(uint64_t *state);

static inline uint64_t raft_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t raft_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline size_t raft_entry_len(const struct raft_entry *e)
{
	return e->data ? e->data->len : 0;
}

/* Each with a reference of its own to its data. */
void raft_entries_hold(struct raft_entry *entries, size_t count);
void raft_entries_release(struct raft_entry *entries, size_t count);

#endif
