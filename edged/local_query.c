#include "edged/local_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/answer_json.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"
#include "common/row_group.h"
#include "common/row_json.h"
#include "common/window.h"
#include "edged/cutter.h"
#include "edged/ledger.h"
#include "edged/pipeline.h"
#include "edged/spool.h"

#define NO_VERSION SIZE_MAX

/* One pass. */
struct pass {
	struct local_query *q;
	struct kv_txn *txn;
	const struct local_look *look;
	unsigned since_look;
	struct spool_numbers numbers; /* of the shard at hand */
	uint64_t found;               /* its batches so far */
	/* of the batch at hand */
	bool wanted;  /* it may have something for the rows */
	bool of_stream;
};

static int look(struct pass *p)
{
	if (++p->since_look < LOCAL_LOOK_RECORDS)
		return 0;
	p->since_look = 0;
	return p->look->look(p->look->arg);
}

void local_query_init(struct local_query *q, const struct topology *t, struct query_args *args)
{
	*q = (struct local_query){.topology = t, .args = *args};
	*args = (struct query_args){0};
	q->specs = xcalloc(q->args.version_count, sizeof(q->specs[0]));
	for (size_t i = 0; i < q->args.version_count; i++)
		partial_spec_of(q->args.versions[i].stream, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &q->specs[i]);
}

void local_query_clear(struct local_query *q)
{
	row_table_free(&q->table);
	query_args_clear(&q->args);
	free(q->specs);
	*q = (struct local_query){0};
}

/* ---- partials into rows ---------------------------------------------------------------------------------------- */

/* Its place among the versions asked for. */
static size_t version_of(const struct local_query *q, struct bytes name, uint32_t version)
{
	for (size_t i = 0; i < q->args.version_count; i++) {
		const struct stream_conf *s = q->args.versions[i].stream;
		if (s->version == version && strlen(s->name) == name.n && memcmp(s->name, name.p, name.n) == 0)
			return i;
	}
	return NO_VERSION;
}

/* The cursor lies in the first part, or before it. */
static bool is_before_cursor(const struct local_query *q, size_t version, int64_t start_ns, struct bytes group)
{
	const struct rows_spec *s = &q->args.versions[version].spec;
	if (!s->after || start_ns > s->after_start_ns)
		return false;
	return start_ns < s->after_start_ns || group_order(group, bytes_of(q->args.after_group, s->after_group.n)) <= 0;
}

/* Into one window. p is taken over if it is the last one that it goes into. */
static void merge_into(struct local_query *q, size_t version, int64_t start_ns, struct bytes group, bool last, struct partial *p)
{
	const struct partial_spec *spec = &q->specs[version];
	struct partial copy = {0};
	if (!last)
		partial_merge(&copy, p, spec);
	row_table_merge(&q->table, start_ns, group, (uint32_t)version, spec, last ? p : &copy);
}

/* Into all windows that hold the slice and were asked for. What is left of p stays the caller's. */
static void add_partial(struct local_query *q, size_t version, int64_t slice_ns, struct bytes stored, struct partial *p)
{
	const struct query_version *v = &q->args.versions[version];
	const struct rows_spec *s = &v->spec;
	const struct window_grid grid = {s->size_ns, s->advance_ns, s->offset_ns};
	uint8_t room[GROUP_KEY_MAX];
	struct bytes group;
	bool match;
	int64_t at_ns, last_ns;
	if (slice_ns < INT64_MIN / 2 || slice_ns > TIME_MAX_NS || row_group_of(s, v->stream->by_count, stored, room, &group, &match)) {
		q->held.unreadable++;
		return;
	}
	if (!match || !window_range(&grid, slice_ns, v->stream->slice_ns, &at_ns, &last_ns))
		return;
	for (; at_ns <= last_ns && at_ns < s->to_ns; at_ns += grid.advance_ns) {
		if (at_ns < s->from_ns || is_before_cursor(q, version, at_ns, group))
			continue;
		if (!row_table_takes(&q->table, at_ns, group))
			return; /* nor is a later one taken */
		merge_into(q, version, at_ns, group, at_ns == last_ns, p);
	}
}

static void note_oldest(struct local_held *h, int64_t slice_ns)
{
	h->oldest_ns = slice_ns < h->oldest_ns ? slice_ns : h->oldest_ns;
}

/* ---- open slices ----------------------------------------------------------------------------------------------- */

static void add_delta(struct pass *p, size_t version, int64_t slice_ns, struct bytes group, struct bytes value)
{
	struct local_query *q = p->q;
	const struct stream_conf *s = q->args.versions[version].stream;
	const struct partial_spec *spec = &q->specs[version];
	struct rd r = rd_init(value.p, value.n);
	struct partial partial = {0};
	bool agrees = rd_svarint(&r) == s->slice_ns;
	agrees &= rd_varint(&r) == spec->parts;
	agrees &= rd_varint(&r) == spec->distinct_count;
	if (r.err || !agrees || partial_decode(&r, spec, &partial)) {
		q->held.unreadable++;
		return;
	}
	if (rd_finish(&r)) {
		q->held.unreadable++;
	} else {
		q->held.slices++;
		note_oldest(&q->held, slice_ns);
		add_partial(q, version, slice_ns, group, &partial);
	}
	partial_clear(&partial, spec);
}

static int add_deltas(struct pass *p, size_t version)
{
	struct buf prefix = {0};
	struct kv_cursor *c;
	struct bytes key = bytes_of(NULL, 0), value;
	int rc = kv_cursor_open(p->txn, SPOOL_DELTA, &c);
	if (rc)
		return rc;
	spool_delta_prefix(&prefix, p->q->args.versions[version].stream);
	rc = kv_cursor_seek(c, bytes_of(prefix.data, prefix.len), &key, &value);
	while ((!rc || (rc == WEIR_ECORRUPT && key.n)) && key.n >= prefix.len && !memcmp(key.p, prefix.data, prefix.len)) {
		struct rd r = rd_init(key.p + prefix.len, key.n - prefix.len);
		int64_t slice_ns = rd_bei64(&r);
		if (rc || r.err)
			p->q->held.unreadable++;
		else
			add_delta(p, version, slice_ns, bytes_of(r.p, rd_left(&r)), value);
		rc = look(p);
		if (rc)
			break;
		key = bytes_of(NULL, 0);
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	buf_free(&prefix);
	return rc == WEIR_ENOTFOUND || (rc == WEIR_ECORRUPT && key.n) ? 0 : rc;
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

/* Whether slices from there on can be in a window that is asked for. */
static bool may_concern(const struct rows_spec *s, int64_t min_slice_ns)
{
	int64_t end_ns;
	return __builtin_add_overflow(s->to_ns, s->size_ns, &end_ns) || min_slice_ns < end_ns;
}

static void see_stream(void *arg, struct bytes name, uint32_t version, int64_t min_slice_ns)
{
	struct pass *p = arg;
	size_t at = version_of(p->q, name, version);
	if (at == NO_VERSION)
		return;
	p->of_stream = true;
	note_oldest(&p->q->held, min_slice_ns);
	p->wanted |= may_concern(&p->q->args.versions[at].spec, min_slice_ns);
}

static bool describes_same(const struct local_query *q, size_t version, const struct batch_stream *s)
{
	return version == NO_VERSION ||
	    (s->slice_ns == q->args.versions[version].stream->slice_ns && partial_spec_agrees(&s->spec, &q->specs[version]));
}

static int add_items(struct pass *p, struct batch_reader *r)
{
	struct local_query *q = p->q;
	size_t at[BATCH_STREAMS_MAX], n = batch_reader_stream_count(r);
	struct batch_item *item;
	int rc;
	for (size_t i = 0; i < n; i++) {
		const struct batch_stream *s = batch_reader_stream(r, i);
		at[i] = version_of(q, bytes_of(s->name, strlen(s->name)), s->version);
		if (!describes_same(q, at[i], s)) {
			q->held.unreadable++;
			at[i] = NO_VERSION;
		}
	}
	while ((rc = batch_reader_next(r, &item)) > 0) {
		if (at[item->stream] != NO_VERSION)
			add_partial(q, at[item->stream], item->slice_start_ns, item->group, &item->partial);
		rc = look(p);
		if (rc)
			return rc;
	}
	q->held.unreadable += rc < 0;
	return 0;
}

static int add_batch(struct pass *p, struct bytes value)
{
	struct batch_reader *r;
	struct bytes body;
	p->wanted = p->of_stream = false;
	if (batch_value_peek(value, see_stream, p, &body)) {
		p->q->held.unreadable++;
		return 0;
	}
	p->q->held.batches += p->of_stream;
	if (!p->wanted)
		return look(p);
	if (batch_reader_open(body.p, body.n, &r)) {
		p->q->held.unreadable++;
		return 0;
	}
	int rc = add_items(p, r);
	batch_reader_close(r);
	return rc;
}

static int read_numbers(struct pass *p, uint32_t shard)
{
	char key[32];
	struct bytes raw;
	snprintf(key, sizeof(key), "shard/%u", shard);
	p->numbers = (struct spool_numbers){.low = 1, .next = 1};
	int rc = spool_read_mark(p->txn, key, &raw);
	if (!rc)
		rc = spool_numbers_decode(raw, &p->numbers);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static bool is_kept(const struct spool_numbers *n, uint64_t seq)
{
	if (n->rewrite != REWRITE_NONE && seq >= n->hole && seq < n->hole_end)
		return false;
	return seq >= n->low && seq < n->next;
}

/* How many there should be. */
static uint64_t kept_count(const struct spool_numbers *n)
{
	return n->next - n->low - (n->rewrite != REWRITE_NONE ? n->hole_end - n->hole : 0);
}

/* 1: one of the shard's, it was dealt with; 0: the shard has no more. */
static int take_record(struct pass *p, uint32_t shard, struct bytes key, struct bytes value, bool reads)
{
	struct rd r = rd_init(key.p, key.n);
	uint32_t of_shard = rd_be16(&r);
	uint64_t seq = rd_be64(&r);
	if (rd_finish(&r) || of_shard != shard)
		return 0;
	if (!is_kept(&p->numbers, seq))
		return 1;
	p->found++;
	p->q->held.unreadable += !reads;
	int rc = reads ? add_batch(p, value) : 0;
	return rc ? rc : 1;
}

static int add_batches(struct pass *p, uint32_t shard)
{
	struct buf from = {0};
	struct kv_cursor *c;
	struct bytes key = bytes_of(NULL, 0), value = bytes_of(NULL, 0);
	int rc = read_numbers(p, shard);
	if (!rc)
		rc = kv_cursor_open(p->txn, SPOOL_BATCH, &c);
	if (rc)
		return rc;
	p->found = 0;
	spool_batch_key(&from, shard, p->numbers.low);
	rc = kv_cursor_seek(c, bytes_of(from.data, from.len), &key, &value);
	while (!rc || (rc == WEIR_ECORRUPT && key.n)) {
		int took = take_record(p, shard, key, value, !rc);
		if (took <= 0) {
			rc = took;
			break;
		}
		key = bytes_of(NULL, 0);
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	buf_free(&from);
	uint64_t expected = kept_count(&p->numbers);
	p->q->held.unreadable += expected > p->found ? expected - p->found : 0;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static int read_ledger(struct pass *p)
{
	char key[NAME_MAX_BYTES + 16];
	struct bytes raw;
	struct ledger_stream s = {0};
	snprintf(key, sizeof(key), "ledger/%s", p->q->args.stream->name);
	int rc = spool_read_mark(p->txn, key, &raw);
	if (!rc)
		rc = ledger_stream_decode(&s, raw);
	p->q->taken = s.aggregated;
	p->q->held.acknowledged = s.acked;
	p->q->held.readings = s.aggregated - s.acked;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static void reset(struct local_query *q)
{
	size_t rows = q->args.limit < LOCAL_ROWS_MAX ? q->args.limit : LOCAL_ROWS_MAX;
	row_table_free(&q->table);
	q->table = (struct row_table){.keep = rows, .bytes_max = LOCAL_TABLE_BYTES_MAX};
	q->held = (struct local_held){.oldest_ns = INT64_MAX};
	q->taken = 0;
}

int local_query_run(struct local_query *q, struct kv_txn *txn, const struct local_look *l)
{
	struct pass p = {.q = q, .txn = txn, .look = l};
	reset(q);
	int rc = read_ledger(&p);
	for (uint32_t i = 0; i < q->topology->shards && !rc; i++)
		rc = add_batches(&p, i);
	for (size_t i = 0; i < q->args.version_count && !rc; i++)
		rc = add_deltas(&p, i);
	return rc;
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

static void put_held(const struct local_query *q, const struct local_view *view, struct buf *out)
{
	const struct local_held *h = &q->held;
	uint64_t uncommitted = view->aggregated > q->taken ? view->aggregated - q->taken : 0;
	buf_printf(out, ",\n \"scope\": \"local\", \"edge\": ");
	json_text(out, view->edge);
	buf_printf(out, ",\n \"held\": {\"readings\": %llu, \"acknowledged\": %llu, \"uncommitted\": %llu, \"batches\": %llu, \"slices\": %llu, "
			"\"unreadable\": %llu, \"oldest\": ",
	    (unsigned long long)h->readings, (unsigned long long)h->acknowledged, (unsigned long long)uncommitted,
	    (unsigned long long)h->batches, (unsigned long long)h->slices, (unsigned long long)h->unreadable);
	answer_json_time(out, h->oldest_ns);
	buf_printf(out, "}");
}

static void put_row(struct local_query *q, const struct local_view *view, const struct row_cell *c, struct buf *out)
{
	query_args_select(&q->args, c->part);
	struct row row = {.start_ns = c->start_ns, .end_ns = c->start_ns + q->args.spec.size_ns,
	    .group = bytes_of(c->group, c->group_n), .partial = c->partial /* stays the table's */, .edges = {.expected = 1}};
	bool done = row.end_ns <= view->watermark_ns[c->part];
	row.state = done ? WINDOW_PROVISIONAL : WINDOW_OPEN;
	row.edges.contributed = done;
	row.edges.idle = !done && view->idle;
	row.edges.missing_count = !done && !view->idle;
	row.edges.missing[0] = bytes_of(view->edge, strlen(view->edge));
	row_json_put(&q->args, &q->specs[c->part], &row, out);
}

void local_query_put(struct local_query *q, const struct local_view *view, struct buf *out)
{
	size_t rows = q->args.limit < LOCAL_ROWS_MAX ? q->args.limit : LOCAL_ROWS_MAX, n = 0;
	row_table_sort(&q->table);
	rows = q->table.count < rows ? q->table.count : rows;
	query_args_select(&q->args, 0);
	answer_json_head(&q->args, view->watermark_ns[q->args.version_count - 1], out);
	put_held(q, view, out);
	answer_json_rows(out);
	for (; n < rows && (!n || out->len < LOCAL_ANSWER_BYTES_MAX); n++) {
		answer_json_comma((uint32_t)n, out);
		put_row(q, view, q->table.cells[n], out);
	}
	bool more = n && (n < q->table.count || q->table.bounded);
	const struct row_cell *last = n ? q->table.cells[n - 1] : NULL;
	answer_json_tail(&q->args, more, last ? last->start_ns : 0, last ? bytes_of(last->group, last->group_n) : bytes_of(NULL, 0), out);
}
