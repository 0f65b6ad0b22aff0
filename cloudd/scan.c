#include "cloudd/scan.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/state.h"
#include "common/err.h"

/* One slice or period: a cursor at its next record. */
struct source {
	struct kv_cursor *cursor;
	uint8_t level;
	int64_t start_ns;
	struct bytes group, value; /* of the record at the cursor; in the transaction's memory */
};

struct scan {
	struct kv_txn *txn;
	unsigned db;
	uint32_t id;
	struct source **heap; /* heap[0] has the smallest (group, level, start) */
	size_t count, cap;
	uint8_t group[GROUP_KEY_MAX]; /* the current one */
	size_t group_n;
	bool in_group;
};

static int order(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static bool before(const struct source *a, const struct source *b)
{
	int c = order(a->group, b->group);
	if (c)
		return c < 0;
	return a->level != b->level ? a->level < b->level : a->start_ns < b->start_ns;
}

static void heap_down(struct scan *s)
{
	size_t i = 0;
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;
		if (left < s->count && before(s->heap[left], s->heap[least]))
			least = left;
		if (right < s->count && before(s->heap[right], s->heap[least]))
			least = right;
		if (least == i)
			return;
		struct source *swap = s->heap[i];
		s->heap[i] = s->heap[least];
		s->heap[least] = swap;
		i = least;
	}
}

static void heap_add(struct scan *s, struct source *src)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 8;
		s->heap = xrealloc(s->heap, s->cap * sizeof(*s->heap));
	}
	size_t i = s->count++;
	for (; i && before(src, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = src;
}

static void source_free(struct source *src)
{
	kv_cursor_close(src->cursor);
	free(src);
}

/* Takes what the cursor answered. 1: a record of this slice; 0: the slice is done. *ret_next: the start of the record,
 * of this slice or behind it; INT64_MAX: nothing more of this level. */
static int source_take(struct scan *s, struct source *src, int rc, struct bytes key, struct bytes value,
    int64_t *ret_next)
{
	*ret_next = INT64_MAX;
	if (rc == WEIR_ENOTFOUND)
		return 0;
	if (rc == WEIR_EIO)
		return rc;
	struct state_place place;
	if (!state_place_of(key, STATE_PARTIAL, s->id, &place) || place.level != src->level)
		return 0;
	*ret_next = place.start_ns;
	if (place.start_ns != src->start_ns)
		return 0;
	if (rc)
		return rc; /* a bad record of ours */
	src->group = place.group;
	src->value = value;
	return 1;
}

/* Opens the slice's cursor behind `after`. As source_take. */
static int source_open(struct scan *s, uint8_t level, int64_t start_ns, const struct bytes *after, uint64_t *examined,
    int64_t *ret_next)
{
	struct source *src = xcalloc(1, sizeof(*src));
	src->level = level;
	src->start_ns = start_ns;
	int rc = kv_cursor_open(s->txn, s->db, &src->cursor);
	if (rc) {
		free(src);
		return rc;
	}
	struct state_key k;
	struct bytes key, value;
	state_key_place(&k, STATE_PARTIAL, s->id, level, start_ns, after ? *after : bytes_of(NULL, 0));
	rc = kv_cursor_seek(src->cursor, state_key_bytes(&k), &key, &value);
	++*examined;
	if (after && !rc && key.n == k.n && !memcmp(key.p, k.b, k.n)) {
		rc = kv_cursor_next(src->cursor, &key, &value);
		++*examined;
	}
	rc = source_take(s, src, rc, key, value, ret_next);
	if (rc == 1)
		heap_add(s, src);
	else
		source_free(src);
	return rc < 0 ? rc : 0;
}

/* Opens all that a level has in [start, end), stepping over what is empty. */
static int level_open(struct scan *s, const struct window_levels *l, unsigned level, int64_t start_ns, int64_t end_ns,
    const struct bytes *after, uint64_t *examined)
{
	int64_t every = l->every_ns[level];
	int64_t at = level ? window_period(l, level, start_ns) : start_ns;
	if (at < start_ns)
		at += every;
	while (at + every <= end_ns) {
		int64_t next;
		int rc = source_open(s, (uint8_t)level, at, after, examined, &next);
		if (rc)
			return rc;
		if (next >= end_ns)
			return 0;
		at = next > at ? next : at + every;
	}
	return 0;
}

int scan_open(struct kv_txn *txn, unsigned db, uint32_t id, const struct window_levels *levels, int64_t start_ns,
    int64_t end_ns, const struct bytes *after, uint64_t *examined, struct scan **ret_scan)
{
	struct scan *s = xcalloc(1, sizeof(*s));
	s->txn = txn;
	s->db = db;
	s->id = id;
	for (unsigned i = 0; i < levels->count; i++) {
		int rc = level_open(s, levels, i, start_ns, end_ns, after, examined);
		if (rc) {
			scan_close(s);
			return rc;
		}
	}
	*ret_scan = s;
	return 0;
}

void scan_close(struct scan *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		source_free(s->heap[i]);
	free(s->heap);
	free(s);
}

/* Steps the source at the top of the heap. */
static int step(struct scan *s, uint64_t *examined)
{
	struct source *src = s->heap[0];
	struct bytes key = {0}, value = {0};
	int64_t next;
	int rc = kv_cursor_next(src->cursor, &key, &value);
	++*examined;
	rc = source_take(s, src, rc, key, value, &next);
	if (rc < 0)
		return rc;
	if (!rc) {
		source_free(src);
		s->heap[0] = s->heap[--s->count];
	}
	heap_down(s);
	return 0;
}

static bool top_is_current(const struct scan *s)
{
	return s->count && s->in_group && !order(s->heap[0]->group, bytes_of(s->group, s->group_n));
}

int scan_group(struct scan *s, uint64_t *examined, struct bytes *ret_group)
{
	while (top_is_current(s)) {
		int rc = step(s, examined);
		if (rc)
			return rc;
	}
	s->in_group = false;
	if (!s->count)
		return 0;
	struct bytes group = s->heap[0]->group;
	if (group.n > sizeof(s->group))
		return WEIR_ECORRUPT;
	if (group.n)
		memcpy(s->group, group.p, group.n);
	s->group_n = group.n;
	s->in_group = true;
	*ret_group = bytes_of(s->group, s->group_n);
	return 1;
}

int scan_partial(struct scan *s, uint64_t *examined, struct bytes *ret_value)
{
	if (!top_is_current(s))
		return 0;
	struct bytes value = s->heap[0]->value;
	int rc = step(s, examined); /* the value stays: nothing writes */
	if (rc)
		return rc;
	*ret_value = value;
	return 1;
}

int scan_first(struct kv_txn *txn, unsigned db, uint32_t id, const struct window_levels *levels, int64_t from_ns,
    uint64_t *examined, int64_t *ret_start_ns)
{
	const struct state s = {.txn = txn, .db = db};
	int64_t first = INT64_MAX;
	bool found = false;
	for (unsigned i = 0; i < levels->count; i++) {
		struct state_key prefix, from;
		struct bytes key, value;
		struct state_place place;
		state_key_id(&prefix, STATE_PARTIAL, id);
		state_key_u8(&prefix, (uint8_t)i);
		from = prefix;
		state_key_i64(&from, from_ns);
		int rc = state_first(&s, &prefix, &from, &key, &value);
		++*examined;
		if (rc == WEIR_ENOTFOUND)
			continue;
		if (rc)
			return rc;
		if (!state_place_of(key, STATE_PARTIAL, id, &place))
			return WEIR_ECORRUPT;
		if (!found || place.start_ns < first)
			first = place.start_ns;
		found = true;
	}
	if (!found)
		return WEIR_ENOTFOUND;
	*ret_start_ns = first;
	return 0;
}
