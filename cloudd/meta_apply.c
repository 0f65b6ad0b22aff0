#include "cloudd/meta_apply.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/completeness.h"
#include "cloudd/map_apply.h"
#include "common/err.h"
#include "common/window.h"

static void answer(struct apply_result *res, enum verdict verdict, const char *reason)
{
	res->verdict = verdict;
	res->reason = reason;
}

static int put(struct state *s, const struct state_key *k, struct buf *value)
{
	int rc = state_put(s, k, bytes_of(value->data, value->len));
	buf_free(value);
	return rc;
}

/* ---- CREATE ------------------------------------------------------------------------------------------------ */

static int apply_create(struct state *s, const struct entry *e, struct apply_result *res)
{
	struct state_key k;
	struct bytes old;
	state_key_start(&k, STATE_CLUSTER);
	int rc = state_get(s, &k, &old);
	if (rc == WEIR_ENOTFOUND)
		return state_put(s, &k, e->create.cluster_id);
	if (!rc)
		answer(res, VERDICT_REFUSED, "the cluster has its id already");
	return rc;
}

/* ---- CLAIM, READMIT ---------------------------------------------------------------------------------------- */

static void edge_key(struct state_key *k, struct bytes name)
{
	state_key_start(k, STATE_META_EDGE);
	state_key_bytes_of(k, name);
}

int meta_edge_decode(struct bytes value, struct meta_edge_record *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct meta_edge_record e = {.epoch = rd_u64(&r)};
	const uint8_t *claim = rd_raw(&r, CLAIM_BYTES), *first_claim = rd_raw(&r, CLAIM_BYTES);
	e.flags = rd_u8(&r);
	if (rd_finish(&r) || e.flags & ~(unsigned)META_EDGE_ALL_FLAGS)
		return WEIR_ECORRUPT;
	memcpy(e.claim, claim, CLAIM_BYTES);
	memcpy(e.first_claim, first_claim, CLAIM_BYTES);
	*ret = e;
	return 0;
}

static int edge_read(struct state *s, struct bytes name, struct meta_edge_record *ret)
{
	struct state_key k;
	struct bytes value;
	*ret = (struct meta_edge_record){0};
	edge_key(&k, name);
	int rc = state_get(s, &k, &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	return meta_edge_decode(value, ret);
}

static int edge_write(struct state *s, struct bytes name, const struct meta_edge_record *e)
{
	struct state_key k;
	struct buf value = {0};
	edge_key(&k, name);
	buf_u64(&value, e->epoch);
	buf_put(&value, e->claim, CLAIM_BYTES);
	buf_put(&value, e->first_claim, CLAIM_BYTES);
	buf_u8(&value, (uint8_t)e->flags);
	return put(s, &k, &value);
}

/* Decides on a claim; true: edge holds a new grant. A spool without an epoch is a new one, unless its claim is that under
 * which the present spool was new: then it is a copy from that time, and what it holds may be counted already. */
static bool grant(struct meta_edge_record *edge, const struct entry *e)
{
	unsigned flags;
	if (edge->flags & META_EDGE_READMIT)
		flags = META_EDGE_RESUMED | META_EDGE_READMITTED; /* whatever epoch the spool has */
	else if (edge->epoch == e->claim.epoch)
		flags = 0;
	else if (e->claim.empty && !e->claim.epoch && memcmp(edge->first_claim, e->claim.claim.p, CLAIM_BYTES))
		flags = META_EDGE_RESUMED;
	else
		return false;
	edge->epoch = (edge->epoch > e->claim.epoch ? edge->epoch : e->claim.epoch) + 1;
	memcpy(edge->claim, e->claim.claim.p, CLAIM_BYTES);
	if (!e->claim.epoch)
		memcpy(edge->first_claim, e->claim.claim.p, CLAIM_BYTES);
	edge->flags = flags;
	return true;
}

/* A claim is answered once and for all: repeated, it gets the same grant, so that a lost answer does no harm. A
 * readmission comes first: an edge that is fenced may well repeat the claim it was once granted. */
static int apply_claim(struct state *s, const struct entry *e, struct apply_result *res)
{
	struct meta_edge_record edge;
	int rc = edge_read(s, e->claim.edge, &edge);
	if (rc)
		return rc;
	bool repeated = edge.epoch && !(edge.flags & META_EDGE_READMIT) && !memcmp(edge.claim, e->claim.claim.p, CLAIM_BYTES);
	memcpy(res->claim, e->claim.claim.p, CLAIM_BYTES);
	if (!repeated && (e->claim.epoch == UINT64_MAX || edge.epoch == UINT64_MAX))
		answer(res, VERDICT_REFUSED, "no epoch comes after this one");
	else if (!repeated && grant(&edge, e))
		rc = edge_write(s, e->claim.edge, &edge);
	else if (!repeated)
		answer(res, VERDICT_FENCED, "another holder of this edge's name was admitted after this spool was written");
	res->epoch = edge.epoch;
	if (res->verdict == VERDICT_OK) {
		res->resume = edge.flags & META_EDGE_RESUMED;
		res->readmitted = edge.flags & META_EDGE_READMITTED;
	}
	return rc;
}

/* It is for one who was fenced at an epoch: asked for again when that one has been granted the next, it would take away what that one
 * has read since. */
static int apply_readmit(struct state *s, const struct entry *e, struct apply_result *res)
{
	struct meta_edge_record edge;
	int rc = edge_read(s, e->readmit.edge, &edge);
	if (rc)
		return rc;
	res->epoch = edge.epoch;
	if (e->readmit.next && e->readmit.next != edge.epoch + 1) {
		answer(res, VERDICT_DUPLICATE, "it was let in since it was fenced: nothing was changed");
		return 0;
	}
	edge.flags |= META_EDGE_READMIT;
	return edge_write(s, e->readmit.edge, &edge);
}

int meta_remove_edge(struct state *s, const char *name, uint64_t *ret_epoch)
{
	struct bytes edge_name = bytes_of(name, strlen(name));
	struct meta_edge_record edge;
	int rc = edge_read(s, edge_name, &edge);
	*ret_epoch = rc ? 0 : edge.epoch;
	if (rc || !edge.epoch || edge.epoch == UINT64_MAX)
		return rc;
	*ret_epoch = ++edge.epoch;
	edge.flags = 0;
	for (size_t i = 0; i < CLAIM_BYTES; i++)
		edge.claim[i] = (uint8_t)~edge.claim[i]; /* nor does a claim that was granted get its grant again */
	return edge_write(s, edge_name, &edge);
}

/* ---- CLOSE ------------------------------------------------------------------------------------------------- */

/* STATE_CLOSE: meta index, close. Decoded: points into the value; the edges are owned. */
struct close_record {
	uint64_t meta_index; /* 0: none */
	struct entry_close close;
};

static int close_decode(struct bytes value, struct close_record *ret)
{
	struct rd r = rd_init(value.p, value.n);
	ret->meta_index = rd_varint(&r);
	int rc = r.err ? r.err : entry_close_decode(&r, &ret->close);
	if (rc)
		return WEIR_ECORRUPT;
	if (!rd_finish(&r) && ret->meta_index)
		return 0;
	free(ret->close.edges);
	return WEIR_ECORRUPT;
}

/* *ret_bytes holds what the record points into. */
static int close_read(struct state *s, const struct entry_close *c, struct buf *ret_bytes, struct close_record *ret)
{
	struct state_key k;
	struct bytes value;
	*ret = (struct close_record){.close = {.close_ns = WATERMARK_NONE, .final_ns = WATERMARK_NONE}};
	state_key_version(&k, STATE_CLOSE, c->stream, c->version);
	int rc = state_get(s, &k, &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	buf_put(ret_bytes, value.p, value.n);
	return close_decode(bytes_of(ret_bytes->data, ret_bytes->len), ret);
}

static int order(struct bytes a, struct bytes b)
{
	int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* since_ns keeps windows from being final; for those that are it comes too late. Shards, which may take this advance late or in the
 * place of several, say the same of a window, because it is decided here. */
static void decide_late(struct entry_edge *e, const struct entry_edge *was, int64_t final_ns)
{
	bool told = was && was->since_ns != WATERMARK_NONE;
	e->came_late = told ? was->came_late : e->since_ns != WATERMARK_NONE && final_ns != WATERMARK_NONE;
	e->final_ns = told ? was->final_ns : e->came_late ? final_ns : 0;
}

/* Neither close nor final nor an edge's watermark ever falls, whatever a leader that knows less proposes. */
static void temper(struct entry_close *c, const struct entry_close *before)
{
	c->close_ns = later(window_time(c->close_ns), before->close_ns);
	c->final_ns = later(window_time(c->final_ns), before->final_ns);
	if (c->final_ns > c->close_ns)
		c->final_ns = c->close_ns;
	uint32_t b = 0;
	for (uint32_t i = 0; i < c->edge_count; i++) {
		struct entry_edge *e = &c->edges[i];
		while (b < before->edge_count && order(before->edges[b].name, e->name) < 0)
			b++;
		const struct entry_edge *was = b < before->edge_count && !order(before->edges[b].name, e->name) ? &before->edges[b] : NULL;
		if (was) {
			e->watermark_ns = later(e->watermark_ns, was->watermark_ns);
			e->flushed_end_ns = later(e->flushed_end_ns, was->flushed_end_ns);
			e->since_ns = later(e->since_ns, was->since_ns);
		}
		decide_late(e, was, before->final_ns);
	}
}

static bool same_list(const struct entry_close *a, const struct entry_close *b)
{
	struct buf la = {0}, lb = {0};
	completeness_list(a, &la);
	completeness_list(b, &lb);
	bool same = la.len == lb.len && !memcmp(la.data, lb.data, la.len);
	buf_free(&la);
	buf_free(&lb);
	return same;
}

static void queue_key(struct state_key *k, uint64_t meta_index)
{
	state_key_start(k, STATE_QUEUE);
	state_key_u64(k, meta_index);
}

static int close_write(struct state *s, uint64_t meta_index, const struct entry_close *c)
{
	struct state_key k;
	struct buf value = {0};
	state_key_version(&k, STATE_CLOSE, c->stream, c->version);
	buf_varint(&value, meta_index);
	entry_close_encode(c, &value);
	return put(s, &k, &value);
}

static int queue_write(struct state *s, uint64_t meta_index, const struct entry_close *c)
{
	struct state_key k;
	struct buf value = {0};
	queue_key(&k, meta_index);
	entry_close_encode(c, &value);
	return put(s, &k, &value);
}

static int apply_one_close(struct state *s, uint64_t meta_index, struct entry_close *c)
{
	struct buf bytes = {0};
	struct close_record before;
	int rc = close_read(s, c, &bytes, &before);
	if (rc) {
		buf_free(&bytes);
		return rc;
	}
	temper(c, &before.close);
	if (before.meta_index && same_list(c, &before.close)) {
		struct state_key k;
		queue_key(&k, before.meta_index);
		rc = state_del(s, &k);
	}
	if (!rc)
		rc = close_write(s, meta_index, c);
	if (!rc)
		rc = queue_write(s, meta_index, c);
	free(before.close.edges);
	buf_free(&bytes);
	return rc;
}

/* A close begins with its stream's name, which is not empty. */
#define QUEUE_MAP 0

static bool is_map(struct bytes queued)
{
	return queued.n && queued.p[0] == QUEUE_MAP;
}

int meta_queue_map(struct state *s, uint64_t meta_index, struct bytes map)
{
	struct state_key k;
	struct buf value = {0};
	queue_key(&k, meta_index);
	buf_u8(&value, QUEUE_MAP);
	buf_put(&value, map.p, map.n);
	return put(s, &k, &value);
}

int meta_forget_close(struct state *s, const char *stream, uint32_t version)
{
	struct state_key k;
	state_key_version(&k, STATE_CLOSE, bytes_of(stream, strlen(stream)), version);
	return state_del(s, &k);
}

/* Whether the queued advance is its stream's last. */
static int is_latest(struct state *s, uint64_t meta_index, struct bytes value, bool *ret_latest)
{
	struct entry_close c;
	struct rd r = rd_init(value.p, value.n);
	struct buf bytes = {0};
	struct close_record last;
	if (is_map(value)) {
		*ret_latest = true;
		return 0;
	}
	if (entry_close_decode(&r, &c))
		return WEIR_ECORRUPT;
	int rc = close_read(s, &c, &bytes, &last);
	*ret_latest = !rc && last.meta_index == meta_index;
	free(c.edges);
	if (!rc)
		free(last.close.edges);
	buf_free(&bytes);
	return rc;
}

/* Deletes the oldest of the queue that a later one of its stream follows. */
static int queue_drop(struct state *s)
{
	struct state_key prefix, k;
	struct bytes key, value, rest;
	state_key_start(&prefix, STATE_QUEUE);
	k = prefix;
	for (;;) {
		int rc = state_first(s, &prefix, &k, &key, &value);
		if (rc)
			return rc == WEIR_ENOTFOUND ? 0 : rc;
		state_key_rest(key, &prefix, &rest);
		struct rd r = rd_init(rest.p, rest.n);
		uint64_t meta_index = rd_be64(&r);
		if (rd_finish(&r) || meta_index == UINT64_MAX)
			return WEIR_ECORRUPT;
		bool latest;
		rc = is_latest(s, meta_index, value, &latest);
		if (rc)
			return rc;
		queue_key(&k, meta_index);
		if (!latest)
			return state_del(s, &k);
		queue_key(&k, meta_index + 1);
	}
}

static int queue_length(struct state *s, uint64_t *ret_length)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(s->txn, s->db, &c);
	if (rc)
		return rc;
	struct state_key prefix;
	struct bytes key, value, rest;
	uint64_t n = 0;
	state_key_start(&prefix, STATE_QUEUE);
	rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &rest)) {
		n++;
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	*ret_length = n;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int apply_close_entry(struct state *s, struct entry *e, uint64_t index, struct apply_result *res)
{
	int rc = 0;
	for (uint32_t i = 0; i < e->closes.count && !rc; i++)
		rc = apply_one_close(s, META_INDEX(index, i), &e->closes.closes[i]);
	if (!rc)
		entry_encode(e, &res->closed);
	uint64_t length = 0;
	if (!rc)
		rc = queue_length(s, &length);
	for (; length > ADVANCE_QUEUE_MAX && !rc; length--)
		rc = queue_drop(s);
	return rc;
}

/* ---- TAKEN ------------------------------------------------------------------------------------------------- */

static void taken_key(struct state_key *k, uint32_t shard)
{
	state_key_start(k, STATE_TAKEN);
	state_key_u32(k, shard);
}

static int taken_read(struct state *s, uint32_t shard, uint64_t *ret)
{
	struct state_key k;
	struct bytes value;
	*ret = 0;
	taken_key(&k, shard);
	int rc = state_get(s, &k, &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	struct rd r = rd_init(value.p, value.n);
	*ret = rd_u64(&r);
	return rd_finish(&r) ? WEIR_ECORRUPT : 0;
}

/* Deletes from the queue what all shards have taken. */
static int queue_trim(struct state *s, uint64_t taken_by_all)
{
	struct state_key prefix, k;
	struct bytes key, value, rest;
	state_key_start(&prefix, STATE_QUEUE);
	for (;;) {
		int rc = state_first(s, &prefix, &prefix, &key, &value);
		if (rc)
			return rc == WEIR_ENOTFOUND ? 0 : rc;
		state_key_rest(key, &prefix, &rest);
		struct rd r = rd_init(rest.p, rest.n);
		uint64_t meta_index = rd_be64(&r);
		if (rd_finish(&r))
			return WEIR_ECORRUPT;
		if (meta_index > taken_by_all)
			return 0;
		queue_key(&k, meta_index);
		rc = state_del(s, &k);
		if (rc)
			return rc;
	}
}

static int apply_taken(struct state *s, const struct topology *t, const struct entry *e, struct apply_result *res)
{
	if (e->taken.shard >= t->shards) {
		answer(res, VERDICT_REFUSED, "no such shard");
		return 0;
	}
	uint64_t taken, least = UINT64_MAX;
	int rc = taken_read(s, e->taken.shard, &taken);
	if (rc || taken >= e->taken.meta_index)
		return rc;
	struct state_key k;
	struct buf value = {0};
	taken_key(&k, e->taken.shard);
	buf_u64(&value, e->taken.meta_index);
	rc = put(s, &k, &value);
	for (uint32_t i = 0; i < t->shards && !rc; i++) {
		rc = taken_read(s, i, &taken);
		least = taken < least ? taken : least;
	}
	return rc ? rc : queue_trim(s, least);
}

int meta_apply(struct state *s, const struct topology *t, struct entry *e, uint64_t index, struct apply_result *res)
{
	switch (e->kind) {
	case ENTRY_CREATE:
		return apply_create(s, e, res);
	case ENTRY_CLAIM:
		return apply_claim(s, e, res);
	case ENTRY_READMIT:
		return apply_readmit(s, e, res);
	case ENTRY_CLOSE:
		return apply_close_entry(s, e, index, res);
	case ENTRY_TAKEN:
		return apply_taken(s, t, e, res);
	case ENTRY_TOPOLOGY:
	case ENTRY_NODE:
	case ENTRY_CUT:
	case ENTRY_REVOKE:
		return map_apply(s, t, e, index, res);
	case ENTRY_OPEN:
	case ENTRY_BATCH:
	case ENTRY_ADVANCE:
	case ENTRY_SWEEP:
	case ENTRY_MAP:
	case ENTRY_SINK:
	case ENTRY_ALERT:
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		break;
	}
	answer(res, VERDICT_REFUSED, "not an entry of this group");
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static int read_cluster(struct kv_txn *txn, struct meta_state *m)
{
	struct state_key k;
	struct bytes value;
	state_key_start(&k, STATE_CLUSTER);
	int rc = kv_get(txn, STATE_DB_GROUP(0), state_key_bytes(&k), &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	if (value.n != CLUSTER_ID_BYTES)
		return WEIR_ECORRUPT;
	memcpy(m->cluster_id, value.p, CLUSTER_ID_BYTES);
	m->created = true;
	return 0;
}

static int add_edge(struct meta_state *m, struct bytes rest, struct bytes value)
{
	struct meta_edge_record r;
	if (meta_edge_decode(value, &r))
		return WEIR_ECORRUPT;
	m->edges = xrealloc(m->edges, (m->edge_count + 1) * sizeof(*m->edges));
	struct meta_edge *e = &m->edges[m->edge_count++];
	e->name = xstrndup((const char *)rest.p, rest.n);
	e->grant = (struct meta_grant){
	    .epoch = r.epoch, .readmit = r.flags & META_EDGE_READMIT, .readmitted = r.flags & META_EDGE_READMITTED};
	memcpy(e->grant.claim, r.claim, CLAIM_BYTES);
	return 0;
}

static int add_stream(struct meta_state *m, struct bytes rest, struct bytes value)
{
	struct close_record r;
	(void)rest; /* the name and version are in the value too */
	if (close_decode(value, &r))
		return WEIR_ECORRUPT;
	m->streams = xrealloc(m->streams, (m->stream_count + 1) * sizeof(*m->streams));
	struct meta_stream *s = &m->streams[m->stream_count++];
	*s = (struct meta_stream){.name = xstrndup((const char *)r.close.stream.p, r.close.stream.n),
	    .version = r.close.version, .close_ns = r.close.close_ns, .final_ns = r.close.final_ns,
	    .meta_index = r.meta_index};
	s->edges = xcalloc(r.close.edge_count, sizeof(*s->edges));
	s->edge_count = r.close.edge_count;
	for (uint32_t i = 0; i < r.close.edge_count; i++) {
		const struct entry_edge *e = &r.close.edges[i];
		s->edges[i] = (struct meta_stream_edge){xstrndup((const char *)e->name.p, e->name.n), e->state,
		    e->watermark_ns, e->flushed_end_ns, e->since_ns};
	}
	free(r.close.edges);
	return 0;
}

/* Calls add for each record of a table. */
static int read_table(struct kv_txn *txn, enum state_table table, struct meta_state *m,
    int (*add)(struct meta_state *m, struct bytes rest, struct bytes value))
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(txn, STATE_DB_GROUP(0), &c);
	if (rc)
		return rc;
	struct state_key prefix;
	struct bytes key, value, rest;
	state_key_start(&prefix, table);
	rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &rest)) {
		rc = add(m, rest, value);
		if (!rc)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static void note_newest(struct meta_state *m, uint64_t meta_index)
{
	m->newest = meta_index > m->newest ? meta_index : m->newest;
}

static int add_queued(struct meta_state *m, struct bytes rest, struct bytes value)
{
	struct rd r = rd_init(rest.p, rest.n);
	(void)value;
	note_newest(m, rd_be64(&r));
	return rd_finish(&r) ? WEIR_ECORRUPT : 0;
}

/* What all shards have taken is no longer queued. */
static int add_taken(struct meta_state *m, struct bytes rest, struct bytes value)
{
	struct rd r = rd_init(value.p, value.n), k = rd_init(rest.p, rest.n);
	note_newest(m, rd_u64(&r));
	m->took = xrealloc(m->took, (m->took_count + 1) * sizeof(*m->took));
	m->took[m->took_count++] = rd_be32(&k);
	return rd_finish(&r) || rd_finish(&k) ? WEIR_ECORRUPT : 0;
}

int meta_read(struct kv_txn *txn, struct meta_state *ret)
{
	struct meta_state m = {0};
	int rc = state_readable(txn, STATE_DB_GROUP(0));
	if (!rc)
		rc = read_cluster(txn, &m);
	if (!rc)
		rc = read_table(txn, STATE_META_EDGE, &m, add_edge);
	if (!rc)
		rc = read_table(txn, STATE_CLOSE, &m, add_stream);
	if (!rc)
		rc = read_table(txn, STATE_QUEUE, &m, add_queued);
	if (!rc)
		rc = read_table(txn, STATE_TAKEN, &m, add_taken);
	if (rc) {
		meta_state_clear(&m);
		return rc;
	}
	*ret = m;
	return 0;
}

void meta_state_clear(struct meta_state *m)
{
	for (size_t i = 0; i < m->edge_count; i++)
		free(m->edges[i].name);
	free(m->edges);
	for (size_t i = 0; i < m->stream_count; i++) {
		for (size_t j = 0; j < m->streams[i].edge_count; j++)
			free(m->streams[i].edges[j].name);
		free(m->streams[i].edges);
		free(m->streams[i].name);
	}
	free(m->streams);
	free(m->took);
	*m = (struct meta_state){0};
}

/* Encodes one queued advance or map as the shard's entry. */
static int queued_entry(uint64_t meta_index, uint64_t before, struct bytes value, struct buf *out)
{
	struct entry e = {.kind = ENTRY_ADVANCE, .advance = {.meta_index = meta_index, .after = before}};
	struct rd r = rd_init(value.p, value.n);
	if (is_map(value))
		e = (struct entry){.kind = ENTRY_MAP, .map = {meta_index, before, bytes_of(value.p + 1, value.n - 1)}};
	else if (entry_close_decode(&r, &e.advance.close))
		return WEIR_ECORRUPT;
	entry_encode(&e, out);
	entry_clear(&e);
	return 0;
}

/* The last of the queue that is at most `after`; 0: none. */
static int queue_before(struct kv_cursor *c, const struct state_key *prefix, const struct state_key *first,
    uint64_t *ret_before)
{
	struct bytes key, value, rest;
	*ret_before = 0;
	int rc = kv_cursor_seek(c, state_key_bytes(first), &key, &value);
	if (!rc)
		rc = kv_cursor_prev(c, &key, &value);
	else if (rc == WEIR_ENOTFOUND)
		rc = kv_cursor_last(c, &key, &value);
	if (rc || !state_key_rest(key, prefix, &rest))
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	struct rd r = rd_init(rest.p, rest.n);
	*ret_before = rd_be64(&r);
	return 0;
}

int meta_read_advances(struct kv_txn *txn, uint32_t shard, uint64_t after,
    bool (*each)(void *arg, uint64_t meta_index, struct bytes entry), void *arg)
{
	(void)shard; /* every shard takes every advance */
	struct kv_cursor *c;
	if (after == UINT64_MAX)
		return 0;
	int rc = state_readable(txn, STATE_DB_GROUP(0));
	if (!rc)
		rc = kv_cursor_open(txn, STATE_DB_GROUP(0), &c);
	if (rc)
		return rc;
	struct state_key prefix, first;
	struct bytes key, value, rest;
	struct buf entry = {0};
	uint64_t before;
	bool go_on = true;
	state_key_start(&prefix, STATE_QUEUE);
	queue_key(&first, after + 1);
	rc = queue_before(c, &prefix, &first, &before);
	if (!rc)
		rc = kv_cursor_seek(c, state_key_bytes(&first), &key, &value);
	while (!rc && go_on && state_key_rest(key, &prefix, &rest)) {
		struct rd r = rd_init(rest.p, rest.n);
		uint64_t meta_index = rd_be64(&r);
		buf_clear(&entry);
		rc = queued_entry(meta_index, before, value, &entry);
		go_on = !rc && each(arg, meta_index, bytes_of(entry.data, entry.len));
		before = meta_index;
		if (!rc)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	buf_free(&entry);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}
