/* raft/quota: what a leader appended and has not applied, so that proposals can be refused in time. Internal. */
#ifndef RAFT_QUOTA_H
#define RAFT_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raft_quota {
	size_t *len; /* of entry first + i, at (head + i) modulo capacity */
	size_t capacity, head, count, bytes;
	uint64_t first;
};

/* The limits are of the caller; an empty quota always has room for one. */
bool raft_quota_room(const struct raft_quota *q, size_t len, size_t count_max, size_t bytes_max);
void raft_quota_add(struct raft_quota *q, uint64_t index, size_t len); /* indexes follow each other */
void raft_quota_applied(struct raft_quota *q, uint64_t index);
void raft_quota_free(struct raft_quota *q);

#endif
