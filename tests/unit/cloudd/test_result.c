/* Queries against an independent oracle: it keeps every reading, and knows nothing of slices, levels or cursors. Also
 * states, completeness, paging. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/completeness.h"
#include "cloudd/result.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/kit.h"

#define A kit_group(2, "a", "x")

static const char streams[] =
    "  - {name: s, from: {measurement: m, field: f}, by: [t, u], window: {size: 60s, every: 20s, offset: 10s},\n"
    "     lateness: 0s, compute: [sum, min, max, first, last, p50], retain: forever}\n"
    "  - {name: roll, from: {measurement: m, field: f}, by: [t, u], window: 10s, lateness: 0s,\n"
    "     compute: [sum, min, max, stddev, first, last, p50], retain: 5m, rollup: [{every: 1m, retain: forever}]}\n";

static struct kit k;

static void setup(void)
{
	kit_init(&k, 1, streams);
}

static void teardown(void)
{
	kit_close(&k);
}

/* ---- the oracle -------------------------------------------------------------------------------------------- */

#define READINGS_MAX 3000

struct reading {
	int64_t t_ns;
	int t, u; /* tags: names of one letter; u 0: missing */
	double value;
};

static struct reading readings[READINGS_MAX];
static size_t reading_count;
static uint64_t random_state;
static double divisor = 8; /* of values: with eighths sums are exact */

static uint32_t any(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

static struct bytes group_of(const struct reading *r)
{
	char t[2] = {(char)r->t, 0}, u[2] = {(char)r->u, 0};
	return kit_group(2, t, u);
}

static void feed(const char *stream, size_t count, int64_t from_s, uint32_t span_s)
{
	while (count) {
		struct kit_batch b = kit_batch(&k);
		for (size_t n = 1 + any(80); n && count; n--, count--) {
			struct reading *r = &readings[reading_count++];
			ck_assert_uint_lt(reading_count, READINGS_MAX);
			*r = (struct reading){(from_s + any(span_s)) * SEC + any(1000), "abcde"[any(5)], any(4) ? "xyz"[any(3)] : 0,
			    (double)any(4096) / divisor};
			kit_add(&b, stream, group_of(r), r->t_ns, r->value);
		}
		kit_send(&k, &b);
	}
}

/* The group of a reading as a query with these tags would have it. */
static struct bytes projected(const struct rows_spec *spec, const struct reading *r)
{
	char tag[2][2] = {{(char)r->t, 0}, {(char)r->u, 0}};
	if (spec->by_count == 0)
		return kit_group(0);
	if (spec->by_count == 1)
		return kit_group(1, tag[spec->by[0]]);
	return kit_group(2, tag[spec->by[0]], tag[spec->by[1]]);
}

static bool wanted(const struct rows_spec *spec, const struct reading *r)
{
	char tag[2][2] = {{(char)r->t, 0}, {(char)r->u, 0}};
	bool match[2] = {true, true};
	for (uint32_t by = 0; by < 2; by++) {
		for (uint32_t i = 0; i < spec->where_count; i++) {
			if (spec->where[i].by == by)
				match[by] = false;
		}
		for (uint32_t i = 0; i < spec->where_count; i++) {
			if (spec->where[i].by == by && !strcmp(spec->where[i].value, tag[by]))
				match[by] = true;
		}
	}
	return match[0] && match[1];
}

static bool same(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

/* What the row must be, from the readings themselves. */
static void check_row(const struct rows_spec *spec, const struct row *row)
{
	uint64_t count = 0;
	double sum = 0, min = 0, max = 0, first = 0, last = 0;
	int64_t first_ns = INT64_MAX, last_ns = INT64_MIN;
	for (size_t i = 0; i < reading_count; i++) {
		const struct reading *r = &readings[i];
		if (r->t_ns < row->start_ns || r->t_ns >= row->end_ns || !wanted(spec, r) ||
		    !same(projected(spec, r), row->group))
			continue;
		min = count && min < r->value ? min : r->value;
		max = count && max > r->value ? max : r->value;
		sum += r->value; /* eighths: exact */
		if (r->t_ns < first_ns || (r->t_ns == first_ns && r->value < first)) {
			first_ns = r->t_ns;
			first = r->value;
		}
		if (r->t_ns > last_ns || (r->t_ns == last_ns && r->value > last)) {
			last_ns = r->t_ns;
			last = r->value;
		}
		count++;
	}
	ck_assert_uint_eq(row->partial.count, count);
	ck_assert(row->partial.sum + row->partial.sum_c == sum);
	ck_assert(row->partial.min == min && row->partial.max == max);
	ck_assert(row->partial.first == first && row->partial.last == last && row->partial.first_ns == first_ns);
}

static int order_of(const struct row *a, const struct row *b)
{
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	size_t n = a->group.n < b->group.n ? a->group.n : b->group.n;
	int c = n ? memcmp(a->group.p, b->group.p, n) : 0;
	return c ? c : (a->group.n > b->group.n) - (a->group.n < b->group.n);
}

/* Each row is right, in order, and none is missing: every reading is in as many windows as it must be. floor: windows
 * that start before cannot all be told. */
static void check_rows(const struct rows_spec *spec, const struct kit_rows *r, int64_t floor_ns)
{
	uint64_t told = 0, due = 0;
	for (size_t i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		ck_assert(row->end_ns - row->start_ns == spec->size_ns);
		ck_assert((row->start_ns - spec->offset_ns) % spec->advance_ns == 0);
		ck_assert(row->start_ns >= spec->from_ns && row->start_ns < spec->to_ns);
		ck_assert(!i || order_of(&r->rows[i - 1], row) < 0);
		check_row(spec, row);
		told += row->start_ns >= floor_ns ? row->partial.count : 0;
	}
	for (size_t i = 0; i < reading_count; i++) {
		const struct reading *x = &readings[i];
		int64_t last = time_floor(x->t_ns, spec->advance_ns, spec->offset_ns);
		for (int64_t w = last; w + spec->size_ns > x->t_ns; w -= spec->advance_ns)
			due += wanted(spec, x) && w >= spec->from_ns && w < spec->to_ns && w >= floor_ns;
	}
	ck_assert_uint_eq(told, due);
}

static struct kit_rows ask(const struct rows_spec *spec)
{
	struct kit_rows r = kit_query(&k, spec);
	check_rows(spec, &r, INT64_MIN);
	return r;
}

static void same_rows(const struct kit_rows *a, const struct kit_rows *b)
{
	ck_assert_uint_eq(a->count, b->count);
	struct buf x = {0}, y = {0};
	for (size_t i = 0; i < a->count; i++) {
		ck_assert(!order_of(&a->rows[i], &b->rows[i]));
		buf_clear(&x);
		buf_clear(&y);
		partial_encode(&a->rows[i].partial, &a->spec, &x);
		partial_encode(&b->rows[i].partial, &b->spec, &y);
		ck_assert_uint_eq(x.len, y.len);
		ck_assert_mem_eq(x.data, y.data, x.len);
	}
	buf_free(&x);
	buf_free(&y);
}

START_TEST(every_window_and_grouping_is_exact)
{
	random_state = (uint64_t)_i * 77 + 5;
	reading_count = 0;
	feed("s", 300, 1000, 500);
	feed("s", 200, 50000, 300); /* after a gap */
	feed("s", 50, -300, 290);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows own = ask(&spec), paged;
	ck_assert_uint_gt(own.count, 100);
	static const uint32_t limits[] = {1, 7, 64};
	for (size_t i = 0; i < 3; i++) {
		spec.limit = limits[i];
		paged = ask(&spec);
		same_rows(&own, &paged);
		ck_assert_uint_ge(paged.pages, own.count / limits[i]);
		kit_rows_clear(&paged);
	}
	spec.limit = 1000;
	spec.where_count = 2;
	spec.where[0] = (struct rows_where){0, "a"};
	spec.where[1] = (struct rows_where){0, "c"};
	struct kit_rows r = ask(&spec);
	ck_assert(r.count > 0 && r.count < own.count);
	kit_rows_clear(&r);
	spec.where[1] = (struct rows_where){1, ""}; /* the tag is missing */
	spec.limit = 5;
	r = ask(&spec);
	ck_assert_uint_gt(r.count, 0);
	kit_rows_clear(&r);
	spec.where[1] = (struct rows_where){UINT32_MAX, "what"};
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 0);
	kit_rows_clear(&r);
	kit_rows_clear(&own);
}
END_TEST

START_TEST(coarser_and_regrouped_windows_are_exact)
{
	random_state = (uint64_t)_i * 13 + 1;
	reading_count = 0;
	feed("s", 500, 1000, 1500);
	struct rows_spec spec = kit_spec(&k, "s");
	spec.own_window = spec.own_by = false;
	static const int64_t sizes[] = {10, 70, 600, 40000};
	for (size_t i = 0; i < 4; i++) {
		spec.size_ns = spec.advance_ns = sizes[i] * SEC;
		spec.offset_ns = i % 2 ? 10 * SEC : 0;
		spec.by_count = 0;
		spec.limit = 3;
		struct kit_rows r = ask(&spec);
		kit_rows_clear(&r);
		spec.by_count = 1;
		spec.by[0] = 1;
		r = ask(&spec);
		kit_rows_clear(&r);
		spec.by_count = 2;
		spec.by[1] = 0; /* both, turned round */
		r = ask(&spec);
		kit_rows_clear(&r);
		spec.by[0] = 0;
		spec.by[1] = 1;
		spec.own_by = true;
		r = ask(&spec);
		kit_rows_clear(&r);
		spec.own_by = false;
	}
	spec = kit_spec(&k, "s");
	spec.from_ns = 1300 * SEC;
	spec.to_ns = 1450 * SEC;
	struct kit_rows r = ask(&spec);
	ck_assert_uint_gt(r.count, 0);
	kit_rows_clear(&r);
	spec.from_ns = 1311 * SEC; /* not a boundary: rows with from <= start */
	spec.to_ns = 1331 * SEC;
	r = ask(&spec);
	kit_rows_clear(&r);
	spec.from_ns = INT64_MAX;
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 0);
	kit_rows_clear(&r);
}
END_TEST

static struct buf answer_to(const struct rows_spec *spec)
{
	struct buf out = {0};
	struct kv_txn *txn;
	bool more;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_query(k.t, txn, 0, kit_stream(&k, spec->stream), spec, INT64_MAX, &out, &more), 0);
	ck_assert(!more);
	kv_abort(txn);
	return out;
}

START_TEST(both_ways_through_a_window_give_the_same_bits)
{
	random_state = 9;
	reading_count = 0;
	divisor = 7; /* moments that round, so that the order of merging shows */
	feed("roll", 800, 0, 2000);
	divisor = 8;
	kit_advance(&k, "roll", 1200 * SEC, 1200 * SEC, NULL, 0);
	kit_sweep_all(&k);
	struct rows_spec spec = kit_spec(&k, "roll");
	spec.size_ns = spec.advance_ns = 600 * SEC;
	spec.own_window = false;
	struct buf scanned = answer_to(&spec);
	spec.own_by = false; /* the same tags, and yet through the table */
	struct buf table = answer_to(&spec);
	ck_assert_uint_gt(scanned.len, 1000);
	ck_assert_uint_eq(scanned.len, table.len);
	ck_assert_mem_eq(scanned.data, table.data, table.len);
	buf_free(&scanned);
	buf_free(&table);
	reading_count = 0;
	kit_close(&k);
	kit_init(&k, 1, streams);
	feed("s", 800, 1000, 25000);
	spec = kit_spec(&k, "s");
	spec.size_ns = spec.advance_ns = 30000 * SEC; /* 3,000 slices: too many cursors, so a table */
	spec.own_window = false;
	struct kit_rows r = ask(&spec);
	ck_assert_uint_gt(r.count, 0);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(rolled_up_windows_are_exact_where_they_are_told)
{
	random_state = (uint64_t)_i + 40;
	reading_count = 0;
	feed("roll", 600, 0, 1200);
	kit_advance(&k, "roll", 1200 * SEC, 1200 * SEC, NULL, 0);
	struct rows_spec spec = kit_spec(&k, "roll");
	struct kit_rows r;
	/* Before the sweep has worked it off and after: the same windows are told. */
	for (int round = 0; round < 2; round++) {
		spec = kit_spec(&k, "roll");
		r = kit_query(&k, &spec);
		check_rows(&spec, &r, 900 * SEC);
		ck_assert(r.count && r.rows[0].start_ns >= 900 * SEC);
		kit_rows_clear(&r);
		spec.size_ns = spec.advance_ns = 60 * SEC;
		spec.own_window = false;
		r = ask(&spec);
		kit_rows_clear(&r);
		spec.size_ns = spec.advance_ns = 300 * SEC;
		spec.own_by = false;
		spec.by_count = 1;
		r = ask(&spec);
		kit_rows_clear(&r);
		spec.size_ns = spec.advance_ns = 90 * SEC; /* cuts periods of a minute */
		r = kit_query(&k, &spec);
		check_rows(&spec, &r, 900 * SEC);
		for (size_t i = 0; i < r.count; i++)
			ck_assert(r.rows[i].start_ns % (60 * SEC) == 0 || r.rows[i].start_ns >= 900 * SEC);
		kit_rows_clear(&r);
		kit_sweep_all(&k);
		feed("roll", 200, 0, 1200); /* late ones */
		kit_sweep_all(&k);
	}
}
END_TEST

/* ---- states and completeness ------------------------------------------------------------------------------- */

static void put(int64_t t_ns)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "roll", A, t_ns, 1);
	kit_send(&k, &b);
}

static struct entry_edge edge(const char *name, enum edge_state state, int64_t watermark_s)
{
	return (struct entry_edge){bytes_of(name, 2), state, watermark_s < 0 ? WATERMARK_NONE : watermark_s * SEC,
	    WATERMARK_NONE, WATERMARK_NONE, false, 0};
}

static void move_close(int64_t close_s, int64_t final_s, struct entry_edge e1, struct entry_edge e2,
    struct entry_edge e3)
{
	struct entry_edge edges[] = {e1, e2, e3};
	kit_advance(&k, "roll", close_s * SEC, final_s * SEC, edges, 3);
	kit_sweep_all(&k);
}

static void check_edges(int64_t start_s, enum window_state state, uint32_t contributed, uint32_t idle,
    uint32_t partitioned, const char *missing)
{
	struct rows_spec spec = kit_spec(&k, "roll");
	struct kit_rows r = kit_query(&k, &spec);
	const struct row *row = kit_row(&r, start_s * SEC, A);
	ck_assert_ptr_nonnull(row);
	ck_assert_int_eq(row->state, state);
	ck_assert_uint_eq(row->edges.expected, 3);
	ck_assert_uint_eq(row->edges.contributed, contributed);
	ck_assert_uint_eq(row->edges.idle, idle);
	ck_assert_uint_eq(row->edges.partitioned, partitioned);
	struct buf names = {0};
	for (uint32_t i = 0; i < row->edges.missing_count; i++)
		buf_printf(&names, "%.*s ", (int)row->edges.missing[i].n, (const char *)row->edges.missing[i].p);
	ck_assert_str_eq(buf_cstr(&names), missing);
	buf_free(&names);
	kit_rows_clear(&r);
}

START_TEST(states_follow_from_close_and_final)
{
	for (int i = 0; i < 4; i++)
		put(i * 10 * SEC);
	check_edges(0, WINDOW_OPEN, 0, 0, 0, "e1 e2 e3 "); /* nothing is known yet */
	move_close(25, 10, edge("e1", EDGE_LIVE, 25), edge("e2", EDGE_PARTITIONED, 10), edge("e3", EDGE_IDLE, -1));
	check_edges(0, WINDOW_FINAL, 2, 1, 0, "");
	check_edges(10, WINDOW_PROVISIONAL, 1, 1, 1, "e2 ");
	check_edges(20, WINDOW_OPEN, 0, 1, 1, "e1 e2 ");
	struct rows_spec spec = kit_spec(&k, "roll");
	spec.only_final = true;
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert(r.close_ns == 25 * SEC && r.final_ns == 10 * SEC);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(completeness_is_that_of_the_closing_until_an_edge_comes_back)
{
	for (int i = 0; i < 4; i++)
		put(i * 10 * SEC);
	move_close(10, 10, edge("e1", EDGE_LIVE, 10), edge("e2", EDGE_LIVE, 10), edge("e3", EDGE_LIVE, 12));
	move_close(20, 10, edge("e1", EDGE_LIVE, 20), edge("e2", EDGE_PARTITIONED, 10), edge("e3", EDGE_LIVE, 20));
	move_close(30, 10, edge("e1", EDGE_LIVE, 30), edge("e2", EDGE_CATCHING_UP, 10), edge("e3", EDGE_IDLE, 20));
	check_edges(0, WINDOW_FINAL, 3, 0, 0, "");
	check_edges(10, WINDOW_PROVISIONAL, 2, 0, 1, "e2 ");
	check_edges(20, WINDOW_PROVISIONAL, 1, 1, 1, "e2 ");
	move_close(30, 20, edge("e1", EDGE_LIVE, 30), edge("e2", EDGE_CATCHING_UP, 20), edge("e3", EDGE_IDLE, 20));
	check_edges(10, WINDOW_FINAL, 3, 0, 0, "");
	check_edges(20, WINDOW_PROVISIONAL, 1, 1, 1, "e2 ");
	move_close(40, 40, edge("e1", EDGE_LIVE, 40), edge("e2", EDGE_LIVE, 40), edge("e3", EDGE_LIVE, 45));
	check_edges(20, WINDOW_FINAL, 3, 0, 0, "");
	check_edges(30, WINDOW_FINAL, 3, 0, 0, "");
}
END_TEST

START_TEST(coarser_windows_tell_the_worst_of_their_parts)
{
	for (int i = 0; i < 6; i++)
		put(i * 10 * SEC);
	move_close(20, 0, edge("e1", EDGE_LIVE, 20), edge("e2", EDGE_PARTITIONED, -1), edge("e3", EDGE_LIVE, 20));
	move_close(60, 0, edge("e1", EDGE_LIVE, 60), edge("e2", EDGE_IDLE, -1), edge("e3", EDGE_LIVE, 60));
	check_edges(10, WINDOW_PROVISIONAL, 2, 0, 1, "e2 ");
	check_edges(50, WINDOW_PROVISIONAL, 2, 1, 0, "");
	struct rows_spec spec = kit_spec(&k, "roll");
	spec.size_ns = spec.advance_ns = 60 * SEC;
	spec.own_window = false;
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert(r.rows[0].edges.partitioned == 1 && r.rows[0].edges.idle == 0 && r.rows[0].revision == 0);
	ck_assert(r.rows[0].state == WINDOW_PROVISIONAL);
	kit_rows_clear(&r);
	/* Final: nobody is missing. Who was, came back and is idle. */
	move_close(60, 60, edge("e1", EDGE_LIVE, 60), edge("e2", EDGE_IDLE, -1), edge("e3", EDGE_LIVE, 60));
	check_edges(10, WINDOW_FINAL, 2, 1, 0, "");
	r = kit_query(&k, &spec);
	ck_assert(r.count == 1 && r.rows[0].edges.partitioned == 0 && r.rows[0].edges.idle == 1);
	ck_assert(r.rows[0].state == WINDOW_FINAL);
	kit_rows_clear(&r);
	/* Back, and past the part that it was missing from; the later parts never missed it. */
	move_close(60, 60, edge("e1", EDGE_LIVE, 60), edge("e2", EDGE_CATCHING_UP, 25), edge("e3", EDGE_LIVE, 60));
	r = kit_query(&k, &spec);
	ck_assert(r.rows[0].edges.partitioned == 0 && r.rows[0].edges.idle == 1 && r.rows[0].edges.contributed == 2);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(intervals_of_one_list_are_one)
{
	for (int i = 1; i < 20; i++)
		move_close(i * 10, 0, edge("e1", EDGE_LIVE, i * 10), edge("e2", EDGE_PARTITIONED, 0), edge("e3", EDGE_LIVE, i * 10));
	ck_assert_uint_eq(kit_count(&k, 1, STATE_INTERVAL), 1);
	move_close(200, 0, edge("e1", EDGE_LIVE, 200), edge("e2", EDGE_IDLE, 0), edge("e3", EDGE_LIVE, 200));
	ck_assert_uint_eq(kit_count(&k, 1, STATE_INTERVAL), 2);
	move_close(210, 0, edge("e1", EDGE_LIVE, 210), edge("e2", EDGE_PARTITIONED, 0), edge("e3", EDGE_LIVE, 210));
	move_close(210, 0, edge("e1", EDGE_LIVE, 210), edge("e2", EDGE_LIVE, 0), edge("e3", EDGE_LIVE, 210));
	ck_assert_uint_eq(kit_count(&k, 1, STATE_INTERVAL), 3); /* close did not move: no interval */
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------------------------ */

START_TEST(a_bad_record_is_never_told)
{
	put(5 * SEC);
	kit_commit(&k);
	/* A partial that the checksum of records cannot tell from a good one. */
	struct kv_txn *txn;
	struct state_key key;
	struct buf out = {0};
	bool more;
	state_key_place(&key, STATE_PARTIAL, 1, 0, 0, A);
	ck_assert_int_eq(kv_begin(k.kv, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(1), state_key_bytes(&key), bytes_of("\x01\x02\x03", 3)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	struct rows_spec spec = kit_spec(&k, "roll");
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_query(k.t, txn, 0, kit_stream(&k, "roll"), &spec, INT64_MAX, &out, &more), WEIR_ECORRUPT);
	spec.own_by = false;
	spec.by_count = 0;
	ck_assert_int_eq(result_query(k.t, txn, 0, kit_stream(&k, "roll"), &spec, INT64_MAX, &out, &more), WEIR_ECORRUPT);
	ck_assert_uint_eq(out.len, 0);
	kv_abort(txn);
}
END_TEST

START_TEST(pages_are_bounded_in_bytes)
{
	char name[120];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	for (int i = 0; i < 20; i++) {
		struct kit_batch b = kit_batch(&k);
		for (int j = 0; j < 100; j++) {
			name[0] = (char)('a' + i);
			name[1] = (char)(' ' + j % 90);
			name[2] = (char)('0' + j / 90);
			kit_add(&b, "s", kit_group(2, name, ""), 5 * SEC, 1);
		}
		kit_send(&k, &b);
	}
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 2000 * 3);
	ck_assert_uint_gt(r.pages, 3);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(a_table_holds_so_many_groups_and_all_are_told)
{
	char name[8];
	for (int pass = 0; pass < 2; pass++) {
		struct kit_batch b = kit_batch(&k);
		for (int i = 0; i < 700; i++) {
			snprintf(name, sizeof(name), "%d", pass ? i : 699 - i);
			kit_add(&b, "s", kit_group(2, "t", name), (5 + 10 * pass) * SEC, i);
		}
		kit_send(&k, &b);
	}
	struct rows_spec spec = kit_spec(&k, "s");
	spec.own_by = false;
	spec.by[0] = 1;
	spec.by[1] = 0;
	spec.limit = 7;
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 700 * 4); /* [-50, 10) holds the first reading only, [10, 70) the second */
	ck_assert_uint_ge(r.pages, 400);
	for (size_t i = 0; i < r.count; i++) {
		bool alone = r.rows[i].end_ns == 10 * SEC || r.rows[i].start_ns == 10 * SEC;
		ck_assert_uint_eq(r.rows[i].partial.count, alone ? 1 : 2);
	}
	kit_rows_clear(&r);
}
END_TEST

START_TEST(a_reply_takes_no_longer_than_it_may)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 5 * SEC, 1);
	kit_send(&k, &b);
	kit_commit(&k);
	struct rows_spec spec = kit_spec(&k, "s");
	for (int table = 0; table < 2; table++) {
		struct buf out = {0};
		struct kv_txn *txn;
		bool more;
		spec.own_by = !table;
		ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
		ck_assert_int_eq(result_query(k.t, txn, 0, kit_stream(&k, "s"), &spec, 1, &out, &more), WEIR_ETIMEOUT);
		ck_assert_uint_eq(out.len, 0);
		kv_abort(txn);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/result");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, every_window_and_grouping_is_exact, 0, 3);
	tcase_add_loop_test(tc, coarser_and_regrouped_windows_are_exact, 0, 2);
	tcase_add_test(tc, both_ways_through_a_window_give_the_same_bits);
	tcase_add_loop_test(tc, rolled_up_windows_are_exact_where_they_are_told, 0, 3);
	tcase_add_test(tc, states_follow_from_close_and_final);
	tcase_add_test(tc, completeness_is_that_of_the_closing_until_an_edge_comes_back);
	tcase_add_test(tc, coarser_windows_tell_the_worst_of_their_parts);
	tcase_add_test(tc, intervals_of_one_list_are_one);
	tcase_add_test(tc, a_bad_record_is_never_told);
	tcase_add_test(tc, pages_are_bounded_in_bytes);
	tcase_add_test(tc, a_table_holds_so_many_groups_and_all_are_told);
	tcase_add_test(tc, a_reply_takes_no_longer_than_it_may);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
