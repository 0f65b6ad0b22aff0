#include "raft/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void raft_assert_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: raft: assertion failed: %s\n", file, line, condition);
	abort();
}

void *raft_alloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);
	if (!p)
		abort();
	return p;
}

void *raft_resize(void *p, size_t count, size_t size)
{
	if (count > SIZE_MAX / size)
		abort();
	p = realloc(p, count * size);
	if (!p)
		abort();
	return p;
}

void *raft_grow(void *array, size_t used, size_t *capacity, size_t size)
{
	if (used < *capacity)
		return array;
	*capacity = *capacity ? *capacity * 2 : 4;
	return raft_resize(array, *capacity, size);
}

uint64_t raft_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void raft_entries_hold(struct raft_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		raft_data_hold(entries[i].data);
}

void raft_entries_release(struct raft_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		raft_data_release(entries[i].data);
}

/* ---- what raft.h gives to its users ----------------------------------------------------------- */

struct raft_data *raft_data_take(uint8_t *bytes, size_t len)
{
	struct raft_data *d = raft_alloc(1, sizeof(*d));
	*d = (struct raft_data){.references = 1, .len = len, .bytes = bytes};
	return d;
}

struct raft_data *raft_data_copy(const void *bytes, size_t len)
{
	uint8_t *copy = raft_alloc(len, 1);
	if (len)
		memcpy(copy, bytes, len);
	return raft_data_take(copy, len);
}

struct raft_data *raft_data_hold(struct raft_data *d)
{
	if (d) {
		RAFT_ASSERT(d->references && d->references < UINT32_MAX);
		d->references++;
	}
	return d;
}

void raft_data_release(struct raft_data *d)
{
	if (!d)
		return;
	RAFT_ASSERT(d->references);
	if (--d->references)
		return;
	free(d->bytes);
	free(d);
}

void raft_message_clear(struct raft_message *m)
{
	raft_entries_release(m->entries, m->entry_count);
	free(m->entries);
	m->entries = NULL;
	m->entry_count = 0;
}

const char *raft_error_text(int code)
{
	switch (code) {
	case 0:
		return "fine";
	case RAFT_EINVAL:
		return "impossible argument";
	case RAFT_ENOTLEADER:
		return "not the leader";
	case RAFT_EBUSY:
		return "over a quota";
	case RAFT_ETOOBIG:
		return "entry too big";
	case RAFT_EPENDING:
		return "another change is pending";
	case RAFT_ESTORAGE:
		return "storage failed";
	}
	return "unknown error";
}
