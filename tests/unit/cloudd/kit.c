#include "tests/unit/cloudd/kit.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloudd/result.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "tests/unit/cloudd/cloud_disk.h"

#define EDGE "e1"

static const char head[] =
    "version: 1\n"
    "cluster: {name: test, shards: %u, replicas: 1, security: none}\n"
    "cloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n"
    "edges:\n"
    "  - {name: e1, sources: [{type: stdin}]}\n"
    "  - {name: e2, sources: [{type: stdin}]}\n"
    "  - {name: e3, sources: [{type: stdin}]}\n"
    "streams:\n%s";

static void open_all(struct kit *k)
{
	const char **names = apply_db_names(k->t->shards);
	struct kv_lmdb_options o = {.path = k->folder, .dbs = names, .db_count = STATE_DBS(k->t->shards),
	    .map_bytes = 256 << 20};
	char *why = NULL;
	int rc = kv_lmdb_open(&o, &k->kv, &why);
	ck_assert_msg(!rc, "%s", why);
	rc = apply_open(k->t, k->kv, &k->a, &why);
	ck_assert_msg(!rc, "%s", why);
	free(names);
}

void kit_init(struct kit *k, unsigned shards, const char *streams)
{
	*k = (struct kit){.time_ns = 1000 * SEC};
	ck_assert(shards < KIT_GROUPS);
	char *text = xasprintf(head, shards, streams);
	struct buf errors = {0};
	int rc = topology_parse("test.yaml", text, strlen(text), &k->t, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	free(text);
	buf_free(&errors);
	k->folder = xasprintf("%s/weir-cloud-XXXXXX", cloud_disk_place());
	ck_assert_ptr_nonnull(mkdtemp(k->folder));
	open_all(k);
}

static void close_all(struct kit *k)
{
	apply_close(k->a);
	kv_close(k->kv);
}

void kit_reopen(struct kit *k)
{
	close_all(k);
	open_all(k);
}

void kit_close(struct kit *k)
{
	close_all(k);
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *path = xasprintf("%s/%s", k->folder, files[i]);
		unlink(path);
		free(path);
	}
	rmdir(k->folder);
	free(k->folder);
	topology_free(k->t);
}

void kit_commit(struct kit *k)
{
	ck_assert_int_eq(apply_commit(k->a), 0);
}

const struct stream_conf *kit_stream(const struct kit *k, const char *name)
{
	int i = topology_stream(k->t, name);
	ck_assert_int_ge(i, 0);
	return &k->t->streams[i];
}

struct apply_result kit_apply_raw(struct kit *k, uint32_t group, struct bytes raw)
{
	struct apply_result res;
	int rc = apply_entry(k->a, group, ++k->index[group], 1, raw, &res);
	ck_assert_msg(!rc, "%s", err_text(rc));
	ck_assert_uint_eq(res.group, group);
	ck_assert(res.index == k->index[group]);
	return res;
}

struct apply_result kit_apply(struct kit *k, uint32_t group, const struct entry *e)
{
	struct buf raw = {0};
	struct entry timed = *e;
	timed.time_ns = k->time_ns;
	entry_encode(&timed, &raw);
	struct apply_result res = kit_apply_raw(k, group, bytes_of(raw.data, raw.len));
	ck_assert_int_eq(res.kind, e->kind);
	buf_free(&raw);
	return res;
}

enum verdict kit_verdict(struct kit *k, uint32_t group, const struct entry *e)
{
	struct apply_result res = kit_apply(k, group, e);
	enum verdict v = res.verdict;
	if (v != VERDICT_OK && v != VERDICT_DUPLICATE)
		ck_assert_ptr_nonnull(res.reason);
	apply_result_clear(&res);
	return v;
}

struct bytes kit_group(int count, ...)
{
	static uint8_t rooms[16][GROUP_KEY_MAX];
	static unsigned next;
	uint8_t *room = rooms[next++ % 16];
	size_t n = 0;
	va_list ap;
	va_start(ap, count);
	for (int i = 0; i < count; i++) {
		const char *v = va_arg(ap, const char *);
		size_t len = strlen(v);
		room[n++] = (uint8_t)len;
		memcpy(room + n, v, len);
		n += len;
	}
	va_end(ap);
	return bytes_of(room, n);
}

/* ---- batches ----------------------------------------------------------------------------------------------- */

struct kit_batch kit_batch(struct kit *k)
{
	return (struct kit_batch){k, batch_writer_new(0)};
}

static struct partial_spec edge_spec(const struct kit *k, const struct stream_conf *s)
{
	struct partial_spec spec;
	partial_spec_of(s, topology_distinct_seed(k->t), PARTIAL_QUANTILE_CAP_EDGE, &spec);
	return spec;
}

static void kit_add_raw(struct kit_batch *b, const struct stream_conf *s, struct bytes group, int64_t slice_ns,
    const struct partial *p)
{
	struct partial_spec spec = edge_spec(b->k, s);
	ck_assert_int_eq(batch_writer_add(b->w, s, &spec, slice_ns, group, p), 0);
}

void kit_add_as(struct kit_batch *b, const struct stream_conf *s, struct bytes group, int64_t slice_ns,
    unsigned readings)
{
	struct partial_spec spec = edge_spec(b->k, s);
	struct partial p = {0};
	for (unsigned i = 0; i < readings; i++)
		partial_add(&p, &spec, slice_ns, (double)i);
	kit_add_raw(b, s, group, slice_ns, &p);
	partial_clear(&p, &spec);
}

void kit_add(struct kit_batch *b, const char *stream, struct bytes group, int64_t t_ns, double value)
{
	const struct stream_conf *s = kit_stream(b->k, stream);
	struct partial_spec spec = edge_spec(b->k, s);
	struct partial p = {0};
	partial_add(&p, &spec, t_ns, value);
	kit_add_raw(b, s, group, time_floor(t_ns, s->slice_ns, 0), &p);
	partial_clear(&p, &spec);
}

struct buf kit_body(struct kit_batch *b, uint64_t seq)
{
	struct buf body = {0};
	batch_writer_finish(b->w, seq, &body);
	batch_writer_free(b->w);
	b->w = NULL;
	return body;
}

struct entry kit_batch_entry(const char *edge, uint64_t epoch, uint64_t seq, const struct buf *body)
{
	return (struct entry){.kind = ENTRY_BATCH,
	    .batch = {bytes_of(edge, strlen(edge)), epoch, seq, batch_checksum(body->data, body->len),
		bytes_of(body->data, body->len)}};
}

void kit_open(struct kit *k, const char *edge, uint64_t epoch)
{
	struct entry e = {.kind = ENTRY_OPEN, .open = {bytes_of(edge, strlen(edge)), epoch, 1, 0, true}};
	ck_assert_int_eq(kit_verdict(k, 1, &e), VERDICT_OK);
}

struct apply_result kit_send(struct kit *k, struct kit_batch *b)
{
	if (!k->seq)
		kit_open(k, EDGE, 1);
	struct buf body = kit_body(b, ++k->seq);
	struct entry e = kit_batch_entry(EDGE, 1, k->seq, &body);
	struct apply_result res = kit_apply(k, 1, &e);
	ck_assert_msg(res.verdict == VERDICT_OK, "%s", res.reason ? res.reason : "");
	buf_free(&body);
	free(res.edge);
	res.edge = NULL;
	return res;
}

/* ---- advances ---------------------------------------------------------------------------------------------- */

struct apply_result kit_advance(struct kit *k, const char *stream, int64_t close_ns, int64_t final_ns,
    const struct entry_edge *edges, uint32_t count)
{
	const struct stream_conf *s = kit_stream(k, stream);
	struct entry_edge copy[16];
	memcpy(copy, edges ? edges : copy, count * sizeof(*copy));
	struct entry e = {.kind = ENTRY_ADVANCE,
	    .advance = {k->meta_index + 1, k->meta_index,
		{bytes_of(s->name, strlen(s->name)), s->version, close_ns, final_ns, count, count, copy}}};
	k->meta_index++;
	struct apply_result res = kit_apply(k, 1, &e);
	ck_assert(res.meta_index == k->meta_index);
	return res;
}

struct apply_result kit_sweep(struct kit *k)
{
	struct entry e = {.kind = ENTRY_SWEEP};
	return kit_apply(k, 1, &e);
}

unsigned kit_sweep_all(struct kit *k)
{
	unsigned n = 1;
	while (kit_sweep(k).more) {
		n++;
		ck_assert_uint_lt(n, 10000);
	}
	return n;
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

struct rows_spec kit_spec(const struct kit *k, const char *stream)
{
	const struct stream_conf *s = kit_stream(k, stream);
	struct rows_spec spec = {.stream = s->name, .version = s->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = s->size_ns, .advance_ns = s->advance_ns, .offset_ns = s->offset_ns, .own_window = true,
	    .by_count = (uint32_t)s->by_count, .own_by = true, .limit = 100000};
	for (uint32_t i = 0; i < spec.by_count; i++)
		spec.by[i] = i;
	return spec;
}

/* Copies a page's rows behind those before it. */
static void take_rows(struct kit_rows *out, struct bytes raw)
{
	out->room = xrealloc(out->room, (out->pages + 1) * sizeof(*out->room));
	struct buf *room = &out->room[out->pages++];
	*room = (struct buf){0};
	buf_reserve(room, raw.n + 1);
	struct rows_reader *r;
	struct row *row;
	ck_assert_int_eq(rows_reader_open(raw, &out->spec, &r), 0);
	out->close_ns = rows_reader_close_ns(r);
	out->final_ns = rows_reader_final_ns(r);
	int more;
	while ((more = rows_reader_next(r, &row)) > 0) {
		out->rows = xrealloc(out->rows, (out->count + 1) * sizeof(*out->rows));
		struct row *copy = &out->rows[out->count++];
		*copy = *row;
		copy->group.p = room->data + room->len;
		buf_put(room, row->group.p, row->group.n);
		row->partial = (struct partial){0}; /* handed over */
		for (uint32_t i = 0; i < copy->edges.missing_count; i++)
			copy->edges.missing[i].p = (const uint8_t *)xstrndup((const char *)row->edges.missing[i].p,
			    row->edges.missing[i].n);
	}
	ck_assert_int_eq(more, 0);
	rows_reader_close(r);
}

static struct kit_rows rows_of(const struct kit *k, const char *stream)
{
	struct kit_rows out = {0};
	partial_spec_of(kit_stream(k, stream), topology_distinct_seed(k->t), PARTIAL_QUANTILE_CAP_CLOUD, &out.spec);
	return out;
}

struct kit_rows kit_query(struct kit *k, const struct rows_spec *asked)
{
	struct kit_rows out = rows_of(k, asked->stream);
	struct rows_spec spec = *asked;
	struct kv_txn *txn;
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	for (bool more = true; more;) {
		struct buf wire = {0}, page = {0};
		struct rows_spec back;
		const struct stream_conf *s;
		rows_spec_encode(&spec, &wire);
		ck_assert_int_eq(rows_spec_decode(bytes_of(wire.data, wire.len), k->t, &back, &s), 0);
		ck_assert_int_eq(result_query(k->t, txn, 0, s, &back, INT64_MAX, &page, &more), 0);
		size_t before = out.count;
		take_rows(&out, bytes_of(page.data, page.len));
		ck_assert(!more || out.count > before);
		if (more) {
			spec.after = true;
			spec.after_start_ns = out.rows[out.count - 1].start_ns;
			spec.after_group = out.rows[out.count - 1].group;
		}
		buf_free(&wire);
		buf_free(&page);
	}
	kv_abort(txn);
	return out;
}

struct kit_rows kit_outbox(struct kit *k, const char *stream, uint64_t *index, uint32_t *n, uint32_t limit,
    bool *ret_reset)
{
	struct kit_rows out = rows_of(k, stream);
	struct kv_txn *txn;
	struct buf page = {0};
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	ck_assert_int_eq(result_outbox(k->t, txn, 0, kit_stream(k, stream), index, n, limit, &page, ret_reset, NULL), 0);
	kv_abort(txn);
	take_rows(&out, bytes_of(page.data, page.len));
	buf_free(&page);
	return out;
}

void kit_rows_clear(struct kit_rows *r)
{
	for (size_t i = 0; i < r->count; i++) {
		partial_clear(&r->rows[i].partial, &r->spec);
		for (uint32_t j = 0; j < r->rows[i].edges.missing_count; j++)
			free((void *)(uintptr_t)r->rows[i].edges.missing[j].p);
	}
	for (size_t i = 0; i < r->pages; i++)
		buf_free(&r->room[i]);
	free(r->room);
	free(r->rows);
	*r = (struct kit_rows){0};
}

const struct row *kit_row(const struct kit_rows *r, int64_t start_ns, struct bytes group)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		if (row->start_ns == start_ns && row->group.n == group.n && !memcmp(row->group.p, group.p, group.n))
			return row;
	}
	return NULL;
}

/* ---- the whole state --------------------------------------------------------------------------------------- */

struct buf kit_dump(struct kit *k, uint32_t group)
{
	struct buf out = {0};
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(group), &c), 0);
	int rc = kv_cursor_first(c, &key, &value);
	for (; !rc; rc = kv_cursor_next(c, &key, &value)) {
		buf_bytes(&out, key.p, key.n);
		buf_bytes(&out, value.p, value.n);
	}
	ck_assert_int_eq(rc, WEIR_ENOTFOUND);
	kv_cursor_close(c);
	struct digest d;
	struct apply_group_info info;
	ck_assert_int_eq(state_digest(txn, STATE_DB_GROUP(group), &d), 0);
	ck_assert_int_eq(apply_read_group(txn, group, &info), 0);
	ck_assert(info.digest_hi == d.hi && info.digest_lo == d.lo);
	ck_assert(info.applied == k->index[group]);
	kv_abort(txn);
	return out;
}

uint64_t kit_count(struct kit *k, uint32_t group, enum state_table table)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	uint64_t n = 0;
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(group), &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		n += key.p[0] == (uint8_t)table;
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

struct wanted {
	const char *stream;
	struct shard_stream_counts counts;
};

static void take_counts(void *arg, const struct shard_stream_counts *c)
{
	struct wanted *w = arg;
	ck_assert(c->received == c->merged + c->dropped_beyond_retain + c->dropped_unknown_stream + c->dropped_invalid);
	if (!strcmp(c->stream, w->stream))
		w->counts = *c;
}

struct shard_stream_counts kit_counts(struct kit *k, const char *stream)
{
	struct wanted w = {.stream = stream};
	struct kv_txn *txn;
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, 1, take_counts, &w), 0);
	kv_abort(txn);
	w.counts.stream = stream;
	return w.counts;
}
