#include "cloudd/completeness.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* STATE_INTERVAL: id, end -> [start svarint][list]. */

struct listed {
	struct bytes name;
	bool partitioned;
	bool elsewhere; /* what it has of the window is in another version; not encoded */
};

struct interval {
	int64_t start_ns, end_ns;
	struct bytes list; /* encoded */
};

static bool is_listed(enum edge_state s)
{
	return s == EDGE_IDLE || s == EDGE_PARTITIONED || s == EDGE_CATCHING_UP;
}

static void put_listed(struct buf *out, struct bytes name, bool partitioned)
{
	buf_bytes(out, name.p, name.n);
	buf_u8(out, partitioned);
}

void completeness_list(const struct entry_close *c, struct buf *out)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < c->edge_count; i++)
		count += is_listed(c->edges[i].state);
	buf_varint(out, c->expected);
	buf_varint(out, count);
	for (uint32_t i = 0; i < c->edge_count; i++) {
		if (is_listed(c->edges[i].state))
			put_listed(out, c->edges[i].name, c->edges[i].state != EDGE_IDLE);
	}
}

/* ---- reading lists ----------------------------------------------------------------------------------------- */

struct list_reader {
	struct rd r;
	uint32_t expected, left;
};

static struct list_reader list_open(struct bytes list)
{
	struct list_reader l = {.r = rd_init(list.p, list.n)};
	l.expected = (uint32_t)rd_varint_max(&l.r, EDGES_MAX);
	l.left = (uint32_t)rd_varint_max(&l.r, EDGES_MAX);
	return l;
}

/* 1: an edge; 0: the end; else WEIR_ECORRUPT. */
static int list_next(struct list_reader *l, struct listed *ret)
{
	if (!l->r.err && !l->left)
		return rd_finish(&l->r) ? WEIR_ECORRUPT : 0;
	l->left--;
	ret->name.p = rd_bytes(&l->r, NAME_MAX_BYTES, &ret->name.n);
	ret->partitioned = rd_u8(&l->r);
	ret->elsewhere = false;
	return l->r.err ? WEIR_ECORRUPT : 1;
}

static int order(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static void interval_key(struct state_key *k, uint32_t id, int64_t end_ns)
{
	state_key_id(k, STATE_INTERVAL, id);
	state_key_i64(k, end_ns);
}

static int interval_of(struct bytes rest, struct bytes value, struct interval *ret)
{
	struct rd key = rd_init(rest.p, rest.n), r = rd_init(value.p, value.n);
	ret->end_ns = rd_bei64(&key);
	ret->start_ns = rd_svarint(&r);
	if (rd_finish(&key) || r.err)
		return WEIR_ECORRUPT;
	ret->list = bytes_of(r.p, rd_left(&r));
	return 0;
}

static int interval_first(const struct state *s, uint32_t id, struct interval *ret)
{
	struct state_key prefix;
	struct bytes key, value, rest;
	state_key_id(&prefix, STATE_INTERVAL, id);
	int rc = state_first(s, &prefix, &prefix, &key, &value);
	if (rc)
		return rc;
	state_key_rest(key, &prefix, &rest);
	return interval_of(rest, value, ret);
}

static int interval_put(struct state *s, uint32_t id, int64_t start_ns, int64_t end_ns, struct bytes list)
{
	struct buf b = {0};
	struct state_key k;
	interval_key(&k, id, end_ns);
	buf_svarint(&b, start_ns);
	buf_put(&b, list.p, list.n);
	int rc = state_put(s, &k, bytes_of(b.data, b.len));
	buf_free(&b);
	return rc;
}

static int interval_del(struct state *s, uint32_t id, int64_t end_ns, uint64_t *intervals)
{
	struct state_key k;
	interval_key(&k, id, end_ns);
	int rc = state_del(s, &k);
	if (!rc)
		(*intervals)--;
	return rc;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

/* Both lists as one, the worse of each edge. */
static int lists_worse(struct bytes a, struct bytes b, struct buf *out)
{
	struct list_reader ra = list_open(a), rb = list_open(b);
	struct buf body = {0};
	struct listed ea, eb;
	uint32_t count = 0, expected = ra.expected > rb.expected ? ra.expected : rb.expected;
	int na = list_next(&ra, &ea), nb = list_next(&rb, &eb);
	while (na >= 0 && nb >= 0 && (na || nb)) {
		int c = !na ? 1 : !nb ? -1 : order(ea.name, eb.name);
		put_listed(&body, c <= 0 ? ea.name : eb.name, (c <= 0 && ea.partitioned) || (c >= 0 && eb.partitioned));
		count++;
		if (c <= 0)
			na = list_next(&ra, &ea);
		if (c >= 0)
			nb = list_next(&rb, &eb);
	}
	if (na >= 0 && nb >= 0) {
		buf_varint(out, expected);
		buf_varint(out, count);
		buf_put(out, body.data, body.len);
	}
	buf_free(&body);
	return na < 0 || nb < 0 ? WEIR_ECORRUPT : 0;
}

/* The oldest two become one. */
static int join_oldest(struct state *s, uint32_t id, uint64_t *intervals)
{
	struct interval a, b;
	struct buf first = {0}, joined = {0};
	int rc = interval_first(s, id, &a);
	if (rc)
		return rc;
	buf_put(&first, a.list.p, a.list.n); /* the delete moves it */
	rc = interval_del(s, id, a.end_ns, intervals);
	if (!rc)
		rc = interval_first(s, id, &b);
	if (!rc)
		rc = lists_worse(bytes_of(first.data, first.len), b.list, &joined);
	if (!rc)
		rc = interval_put(s, id, a.start_ns, b.end_ns, bytes_of(joined.data, joined.len));
	buf_free(&first);
	buf_free(&joined);
	return rc;
}

int completeness_add(struct state *s, uint32_t id, int64_t c0, const struct entry_close *c, uint64_t *intervals)
{
	struct buf list = {0};
	completeness_list(c, &list);
	int64_t start = c0;
	struct state_key k;
	struct bytes value;
	interval_key(&k, id, c0);
	int rc = state_get(s, &k, &value);
	if (!rc) {
		struct rd r = rd_init(value.p, value.n);
		int64_t before = rd_svarint(&r);
		if (rd_left(&r) == list.len && !memcmp(r.p, list.data, list.len)) {
			start = before;
			rc = interval_del(s, id, c0, intervals);
		}
	} else if (rc == WEIR_ENOTFOUND) {
		rc = 0;
	}
	if (!rc)
		rc = interval_put(s, id, start, c->close_ns, bytes_of(list.data, list.len));
	if (!rc && ++*intervals > COMPLETENESS_INTERVALS_MAX)
		rc = join_oldest(s, id, intervals);
	buf_free(&list);
	return rc;
}

int completeness_trim(struct state *s, uint32_t id, int64_t horizon_ns, uint64_t max, uint64_t *intervals,
    uint64_t *ret_deleted)
{
	*ret_deleted = 0;
	while (*ret_deleted < max) {
		struct interval i;
		int rc = interval_first(s, id, &i);
		if (rc == WEIR_ENOTFOUND || (!rc && i.end_ns > horizon_ns))
			return 0;
		if (!rc)
			rc = interval_del(s, id, i.end_ns, intervals);
		if (rc)
			return rc;
		++*ret_deleted;
	}
	return 0;
}

/* ---- answering --------------------------------------------------------------------------------------------- */

static const struct entry_edge *edge_of(const struct entry_close *now, struct bytes name)
{
	uint32_t low = 0, high = now->edge_count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int c = order(now->edges[mid].name, name);
		if (!c)
			return &now->edges[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static void miss(struct rows_edges *e, struct bytes name)
{
	if (e->missing_count < ROWS_MISSING_MAX)
		e->missing[e->missing_count++] = name;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Nothing is known of any edge yet. */
static void edges_unheard(const struct topology *t, const struct stream_conf *stream, struct rows_edges *ret)
{
	const char **names = xcalloc(stream->edge_count, sizeof(*names));
	for (size_t i = 0; i < stream->edge_count; i++)
		names[i] = t->edges[stream->edges[i]].name;
	qsort(names, stream->edge_count, sizeof(*names), by_name);
	ret->expected = (uint32_t)stream->edge_count;
	for (size_t i = 0; i < stream->edge_count; i++)
		miss(ret, bytes_of(names[i], strlen(names[i])));
	free(names);
}

/* Of a window that is not the stream's own each part, a slice, counts by itself. */
static bool is_elsewhere(const struct entry_edge *e, bool own, int64_t start_ns, int64_t end_ns)
{
	if (e->since_ns == WATERMARK_NONE || e->since_ns <= start_ns)
		return false;
	return !e->came_late || (end_ns > e->final_ns && (own || e->since_ns > e->final_ns));
}

bool completeness_elsewhere(const struct entry_close *now, bool own, int64_t start_ns, int64_t end_ns)
{
	for (uint32_t i = 0; i < now->edge_count; i++) {
		if (is_elsewhere(&now->edges[i], own, start_ns, end_ns))
			return true;
	}
	return false;
}

/* A window that is open yet, judged by the last advance. */
static void edges_open(const struct entry_close *now, bool own, int64_t start_ns, int64_t end_ns, struct rows_edges *ret)
{
	ret->expected = now->expected;
	for (uint32_t i = 0; i < now->edge_count; i++) {
		const struct entry_edge *e = &now->edges[i];
		if (is_elsewhere(e, own, start_ns, end_ns)) {
			ret->partitioned++;
			miss(ret, e->name);
		} else if (e->watermark_ns != WATERMARK_NONE && e->watermark_ns >= end_ns) {
			ret->contributed++;
		} else if (e->state == EDGE_IDLE) {
			ret->idle++;
		} else {
			ret->partitioned += is_listed(e->state);
			miss(ret, e->name);
		}
	}
}

/* The edges that have not contributed to parts of a closed window: a list by name, the worse class of each. */
struct absent {
	struct listed *edges;
	size_t count, cap;
	uint32_t expected;
};

/* Inserts by name, or makes worse. */
static void absent_note(struct absent *a, struct listed e)
{
	size_t low = 0, high = a->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = order(a->edges[mid].name, e.name);
		if (!c) {
			a->edges[mid].partitioned |= e.partitioned;
			a->edges[mid].elsewhere |= e.elsewhere;
			return;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (a->count == a->cap) {
		a->cap = a->cap ? 2 * a->cap : 16;
		a->edges = xrealloc(a->edges, a->cap * sizeof(*a->edges));
	}
	memmove(&a->edges[low + 1], &a->edges[low], (a->count - low) * sizeof(*a->edges));
	a->edges[low] = e;
	a->count++;
}

static int absent_add(struct absent *a, const struct interval *i, const struct entry_close *now, int64_t end_ns)
{
	int64_t part_end = i->end_ns < end_ns ? i->end_ns : end_ns;
	struct list_reader l = list_open(i->list);
	struct listed e;
	int more;
	if (l.expected > a->expected)
		a->expected = l.expected;
	while ((more = list_next(&l, &e)) > 0) {
		const struct entry_edge *latest = edge_of(now, e.name);
		bool contributed = latest && latest->watermark_ns != WATERMARK_NONE && latest->watermark_ns >= part_end;
		if (!contributed)
			absent_note(a, e);
	}
	return more;
}

/* Goes through the intervals that hold the ends of the window's parts: (start, end], or just end of an own window. */
static int absent_scan(struct kv_txn *txn, unsigned db, uint32_t id, const struct entry_close *now, int64_t from_ns,
    int64_t end_ns, struct absent *a)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	struct state_key prefix, k;
	struct bytes key, value, rest;
	state_key_id(&prefix, STATE_INTERVAL, id);
	interval_key(&k, id, from_ns);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &rest)) {
		struct interval i;
		rc = interval_of(rest, value, &i);
		if (rc || i.start_ns >= end_ns)
			break;
		rc = absent_add(a, &i, now, end_ns);
		if (rc || i.end_ns >= end_ns)
			break;
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int completeness_of(struct kv_txn *txn, unsigned db, uint32_t id, const struct topology *t,
    const struct stream_conf *stream, const struct entry_close *now, bool own, int64_t start_ns, int64_t end_ns,
    struct rows_edges *ret)
{
	*ret = (struct rows_edges){0};
	if (!now) {
		edges_unheard(t, stream, ret);
		return 0;
	}
	ret->elsewhere = completeness_elsewhere(now, own, start_ns, end_ns);
	if (now->close_ns == WATERMARK_NONE || end_ns > now->close_ns) {
		edges_open(now, own, start_ns, end_ns, ret);
		return 0;
	}
	struct absent a = {0};
	int rc = absent_scan(txn, db, id, now, own ? end_ns : start_ns + 1, end_ns, &a);
	if (!a.expected)
		a.expected = now->expected;
	ret->expected = ret->elsewhere && now->expected > a.expected ? now->expected : a.expected;
	for (uint32_t i = 0; i < now->edge_count && ret->elsewhere && !rc; i++) {
		if (is_elsewhere(&now->edges[i], own, start_ns, end_ns))
			absent_note(&a, (struct listed){now->edges[i].name, true, true});
	}
	for (size_t i = 0; i < a.count && !rc; i++) {
		/* Final has passed the window: nothing is awaited from anybody. Who was partitioned when it closed and has no later
		 * watermark came back since, delivered what it had, and fell silent. */
		if (a.edges[i].elsewhere || (a.edges[i].partitioned && end_ns > now->final_ns)) {
			ret->partitioned++;
			miss(ret, a.edges[i].name);
		} else {
			ret->idle++;
		}
	}
	/* Parts were closed under different lists of edges: who is absent from one may not have been expected in another. */
	uint32_t absent = ret->idle + ret->partitioned;
	ret->expected = ret->expected > absent ? ret->expected : absent;
	ret->contributed = ret->expected - absent;
	free(a.edges);
	return rc;
}
