#include "raft/quota.h"

#include <stdlib.h>

#include "raft/base.h"

#define QUOTA_MIN 16

bool raft_quota_room(const struct raft_quota *q, size_t len, size_t count_max, size_t bytes_max)
{
	if (!q->count)
		return true;
	return q->count < count_max && q->bytes < bytes_max && len <= bytes_max - q->bytes;
}

static void quota_grow(struct raft_quota *q)
{
	size_t capacity = q->capacity ? q->capacity * 2 : QUOTA_MIN;
	size_t *grown = raft_alloc(capacity, sizeof(*grown));
	for (size_t i = 0; i < q->count; i++)
		grown[i] = q->len[(q->head + i) % q->capacity];
	free(q->len);
	q->len = grown;
	q->capacity = capacity;
	q->head = 0;
}

void raft_quota_add(struct raft_quota *q, uint64_t index, size_t len)
{
	if (!q->count)
		q->first = index;
	RAFT_ASSERT(index == q->first + q->count);
	if (q->count == q->capacity)
		quota_grow(q);
	q->len[(q->head + q->count++) % q->capacity] = len;
	q->bytes += len;
}

void raft_quota_applied(struct raft_quota *q, uint64_t index)
{
	while (q->count && q->first <= index) {
		q->bytes -= q->len[q->head];
		q->head = (q->head + 1) % q->capacity;
		q->count--;
		q->first++;
	}
	if (!q->count && q->capacity > QUOTA_MIN)
		raft_quota_free(q);
}

void raft_quota_free(struct raft_quota *q)
{
	free(q->len);
	*q = (struct raft_quota){0};
}
