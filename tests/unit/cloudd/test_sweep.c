/* What follows from an advance: outbox rows, revisions, rollup, deletion, in bounded pieces (semantics.md 3.6, 4). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/result.h"
#include "cloudd/sweep.h"
#include "common/err.h"
#include "tests/unit/cloudd/kit.h"

#define A kit_group(1, "a")
#define B kit_group(1, "b")
#define MIN (60 * SEC)

static const char streams[] =
    "  - {name: s, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s,\n"
    "     compute: [sum, first, last], retain: forever}\n"
    "  - {name: slide, from: {measurement: m, field: f}, by: [tag], window: {size: 30s, every: 10s}, lateness: 0s,\n"
    "     compute: [sum], retain: forever}\n"
    "  - {name: roll, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s, compute: [sum, first],\n"
    "     retain: 2m, rollup: [{every: 1m, retain: 10m}, {every: 5m, retain: 1h}]}\n"
    "  - {name: odd, from: {measurement: m, field: f}, by: [tag], window: {size: 90s, every: 30s}, lateness: 0s,\n"
    "     compute: [sum], retain: 2m, rollup: [{every: 1m, retain: 10m}]}\n"
    "  - {name: even, from: {measurement: m, field: f}, by: [tag], window: {size: 2m, every: 30s}, lateness: 0s,\n"
    "     compute: [sum], retain: 2m, rollup: [{every: 1m, retain: 10m}]}\n"
    "  - {name: brief, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s, compute: [sum],\n"
    "     retain: 2m, max_groups: 3}\n";

static struct kit k;
static uint64_t at_index;
static uint32_t at_n;

static void setup(void)
{
	kit_init(&k, 1, streams);
	at_index = at_n = 0;
}

static void teardown(void)
{
	struct buf dump = kit_dump(&k, 1); /* checks the digest after each test */
	buf_free(&dump);
	kit_close(&k);
}

static void put(const char *stream, struct bytes group, int64_t t_ns)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, stream, group, t_ns, 1);
	kit_send(&k, &b);
}

static struct apply_result advance(const char *stream, int64_t close_ns, int64_t final_ns)
{
	struct apply_result res = kit_advance(&k, stream, close_ns, final_ns, NULL, 0);
	kit_sweep_all(&k);
	return res;
}

/* New rows of the outbox as text: "start/group/revision/state ". NULL: whatever they are. */
static void check_news(const char *stream, const char *expected)
{
	struct buf out = {0};
	bool reset;
	struct kit_rows r = kit_outbox(&k, stream, &at_index, &at_n, 100000, &reset);
	ck_assert(!reset);
	for (size_t i = 0; i < r.count; i++)
		buf_printf(&out, "%d/%c/%d/%c ", (int)(r.rows[i].start_ns / SEC), r.rows[i].group.p[1],
		    (int)r.rows[i].revision, *window_state_text(r.rows[i].state));
	kit_rows_clear(&r);
	if (expected)
		ck_assert_str_eq(buf_cstr(&out), expected);
	buf_free(&out);
}

START_TEST(windows_close_once_per_group)
{
	put("s", A, 5 * SEC);
	put("s", B, 5 * SEC);
	put("s", A, 15 * SEC);
	advance("s", 9 * SEC, WATERMARK_NONE);
	check_news("s", "");
	advance("s", 10 * SEC, WATERMARK_NONE);
	check_news("s", "0/a/1/p 0/b/1/p ");
	advance("s", 11 * SEC, WATERMARK_NONE);
	check_news("s", "");
	advance("s", 40 * SEC, 20 * SEC); /* one row where a window closes and is final at once */
	check_news("s", "0/a/1/f 0/b/1/f 10/a/1/f ");
	advance("s", 50 * SEC, 50 * SEC);
	check_news("s", "");
}
END_TEST

START_TEST(provisional_windows_become_final_once)
{
	for (int i = 0; i < 6; i++)
		put("s", A, i * 10 * SEC);
	advance("s", 30 * SEC, 10 * SEC);
	check_news("s", "0/a/1/f 10/a/1/p 20/a/1/p ");
	advance("s", 60 * SEC, 50 * SEC);
	check_news("s", "10/a/1/f 20/a/1/f 30/a/1/f 40/a/1/f 50/a/1/p ");
	advance("s", 60 * SEC, 60 * SEC);
	check_news("s", "50/a/1/f ");
}
END_TEST

START_TEST(late_partials_raise_the_revision_once)
{
	put("s", A, 5 * SEC);
	advance("s", 20 * SEC, 20 * SEC);
	check_news("s", NULL);
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 6 * SEC, 1);
	struct apply_result res = kit_send(&k, &b);
	ck_assert(res.dirty && !res.more);
	put("s", A, 7 * SEC);
	put("s", B, 15 * SEC); /* a group that had nothing there */
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert(kit_row(&r, 0, A)->revision == 1 && kit_row(&r, 0, A)->partial.count == 3); /* merged, not yet told */
	kit_rows_clear(&r);
	res = kit_sweep(&k);
	ck_assert(!res.dirty && !res.more);
	check_news("s", "0/a/2/f 10/b/2/f ");
	kit_sweep_all(&k);
	check_news("s", "");
	put("s", A, 8 * SEC);
	advance("s", 30 * SEC, 30 * SEC);
	check_news("s", "0/a/3/f ");
	r = kit_query(&k, &spec);
	ck_assert(kit_row(&r, 0, A)->revision == 3 && kit_row(&r, 10 * SEC, B)->revision == 2);
	kit_rows_clear(&r);
	spec.own_window = false; /* the same windows, but not known to be the stream's own */
	r = kit_query(&k, &spec);
	ck_assert(kit_row(&r, 0, A)->revision == 0);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(open_windows_have_no_revision)
{
	put("s", A, 5 * SEC);
	advance("s", 9 * SEC, 9 * SEC);
	put("s", A, 6 * SEC);
	ck_assert(!kit_sweep(&k).dirty);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert(r.rows[0].revision == 0 && r.rows[0].state == WINDOW_OPEN);
	kit_rows_clear(&r);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_DIRTY), 0);
}
END_TEST

START_TEST(only_windows_that_had_closed_are_revised)
{
	put("slide", A, 25 * SEC); /* in the windows that start at 0, 10, 20 */
	advance("slide", 40 * SEC, 40 * SEC);
	check_news("slide", "0/a/1/f 10/a/1/f ");
	put("slide", A, 26 * SEC); /* late for two, on time for the third */
	advance("slide", 50 * SEC, 50 * SEC);
	check_news("slide", "20/a/1/f 0/a/2/f 10/a/2/f ");
	put("slide", A, 26 * SEC);
	put("slide", A, 15 * SEC); /* two slices, windows in common */
	advance("slide", 50 * SEC, 50 * SEC);
	check_news("slide", "-10/a/2/f 0/a/3/f 10/a/3/f 20/a/2/f ");
}
END_TEST

START_TEST(empty_stretches_cost_nothing)
{
	int64_t year = 365 * 24 * 3600 * SEC;
	put("s", A, 5 * SEC);
	put("s", A, 30 * year);
	put("s", A, 56 * year);
	struct apply_result res = kit_advance(&k, "s", 56 * year + 10 * SEC, 0, NULL, 0);
	ck_assert(!res.more); /* within the allowance of one entry: six million windows a year are empty */
	struct kit_rows r;
	bool reset;
	r = kit_outbox(&k, "s", &at_index, &at_n, 10, &reset);
	ck_assert_uint_eq(r.count, 3);
	kit_rows_clear(&r);
}
END_TEST

#define MANY 11000

static void put_many(const char *stream, int64_t t_ns, int count)
{
	char name[16];
	struct kit_batch b = kit_batch(&k);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "g%05d", i);
		kit_add(&b, stream, kit_group(1, name), t_ns, 1);
		if (i % 2000 == 1999) {
			kit_send(&k, &b);
			b = kit_batch(&k);
		}
	}
	kit_send(&k, &b);
}

START_TEST(an_entry_does_so_many_rows_and_no_more)
{
	put_many("s", 5 * SEC, MANY);
	struct apply_result res = kit_advance(&k, "s", 20 * SEC, WATERMARK_NONE, NULL, 0);
	ck_assert(res.more);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), ENTRY_ROWS_MAX);
	kit_reopen(&k); /* the cursor is durable */
	res = kit_sweep(&k);
	ck_assert(!res.more);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), MANY);
	/* Final comes while a pass is under way: each row still once more. */
	res = kit_advance(&k, "s", 20 * SEC, 20 * SEC, NULL, 0);
	ck_assert(res.more);
	res = kit_advance(&k, "s", 30 * SEC, 30 * SEC, NULL, 0);
	ck_assert(!res.more);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 2 * MANY);
	put_many("s", 5 * SEC, MANY);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_DIRTY), MANY);
	res = kit_sweep(&k);
	ck_assert(res.more && res.dirty);
	ck_assert_uint_eq(kit_sweep_all(&k) + 1, 3); /* a row for the revision, one for the mark */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_DIRTY), 0);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_REVISION), MANY);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 3 * MANY);
}
END_TEST

START_TEST(what_closes_during_a_pass_closes_once)
{
	put_many("s", 5 * SEC, MANY);
	put("s", kit_group(1, "zz"), 15 * SEC);
	struct apply_result res = kit_advance(&k, "s", 10 * SEC, WATERMARK_NONE, NULL, 0);
	ck_assert(res.more);
	res = kit_advance(&k, "s", 20 * SEC, 20 * SEC, NULL, 0); /* goes on, then closes the rest and makes final */
	ck_assert(res.more);
	kit_sweep_all(&k);
	/* first: MANY provisional, later MANY final; second: one, final at once */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 2 * MANY + 1);
}
END_TEST

/* ---- rollup and deletion ----------------------------------------------------------------------------------- */

static uint64_t count_of(const char *stream, int64_t window_ns, int64_t start_ns)
{
	struct rows_spec spec = kit_spec(&k, stream);
	spec.size_ns = spec.advance_ns = window_ns;
	spec.own_window = window_ns == kit_stream(&k, stream)->size_ns;
	struct kit_rows r = kit_query(&k, &spec);
	const struct row *row = kit_row(&r, start_ns, A);
	uint64_t n = row ? row->partial.count : 0;
	kit_rows_clear(&r);
	return n;
}

START_TEST(old_slices_are_rolled_up_then_deleted)
{
	for (int i = 0; i < 60; i++)
		put("roll", A, i * 10 * SEC);
	advance("roll", 10 * MIN, 10 * MIN);
	/* level 0 from 8 minutes on: 12 slices; level 1: 8 periods of a minute */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 12 + 8);
	ck_assert_uint_eq(count_of("roll", MIN, 3 * MIN), 6);
	ck_assert_uint_eq(count_of("roll", MIN, 9 * MIN), 6);
	ck_assert_uint_eq(count_of("roll", 10 * SEC, 9 * MIN), 1);
	ck_assert_uint_eq(count_of("roll", 10 * SEC, 3 * MIN), 0); /* a part of a minute is not told */
	ck_assert_uint_eq(count_of("roll", 5 * MIN, 5 * MIN), 30); /* across both levels */
	advance("roll", 21 * MIN, 21 * MIN);
	/* level 1 from floor(11, 5) = 10 minutes on: all is in two periods of level 2 now */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 2);
	ck_assert_uint_eq(count_of("roll", 5 * MIN, 5 * MIN), 30);
	ck_assert_uint_eq(count_of("roll", MIN, 3 * MIN), 0);
	ck_assert_uint_eq(count_of("roll", 10 * MIN, 0), 60);
	put("roll", A, 7 * MIN); /* late: revises the coarse level only */
	ck_assert_uint_eq(count_of("roll", 5 * MIN, 5 * MIN), 31);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 2);
	advance("roll", 66 * MIN, 66 * MIN);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 1);
	advance("roll", 70 * MIN, 70 * MIN);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 0);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_GROUP), 0);
	struct shard_stream_counts c = kit_counts(&k, "roll");
	ck_assert(c.groups == 0 && c.merged == 61);
	put("roll", A, 7 * MIN);
	c = kit_counts(&k, "roll");
	ck_assert(c.merged == 61 && c.dropped_beyond_retain == 1);
}
END_TEST

START_TEST(rollup_adds_up_exactly)
{
	struct rows_spec spec = kit_spec(&k, "roll");
	struct kit_batch b = kit_batch(&k);
	for (int i = 0; i < 30; i++)
		kit_add(&b, "roll", A, i * 10 * SEC + i, 0.1 * i);
	kit_send(&k, &b);
	spec.size_ns = spec.advance_ns = 5 * MIN;
	spec.own_window = false;
	struct kit_rows before = kit_query(&k, &spec);
	advance("roll", 30 * MIN, 30 * MIN);
	struct kit_rows after = kit_query(&k, &spec);
	ck_assert(before.count == 1 && after.count == 1);
	const struct partial *p = &before.rows[0].partial, *q = &after.rows[0].partial;
	ck_assert(p->count == q->count && p->first == q->first && p->first_ns == q->first_ns);
	ck_assert_double_eq_tol(p->sum + p->sum_c, q->sum + q->sum_c, 1e-12);
	kit_rows_clear(&before);
	kit_rows_clear(&after);
}
END_TEST

START_TEST(groups_make_room_when_their_data_are_gone)
{
	static const char *const names[] = {"a", "b", "c"};
	for (int i = 0; i < 3; i++)
		put("brief", kit_group(1, names[i]), i * 10 * SEC);
	put("brief", kit_group(1, "d"), 30 * SEC);
	ck_assert(kit_counts(&k, "brief").overflowed == 1);
	put("brief", kit_group(1, "c"), 200 * SEC);
	advance("brief", 210 * SEC, 210 * SEC);
	struct shard_stream_counts c = kit_counts(&k, "brief");
	ck_assert(c.groups == 1);
	put("brief", kit_group(1, "d"), 205 * SEC);
	c = kit_counts(&k, "brief");
	ck_assert(c.groups == 2 && c.overflowed == 1);
}
END_TEST

START_TEST(revisions_and_intervals_go_with_their_windows)
{
	struct entry_edge idle = {bytes_of("e1", 2), EDGE_IDLE, WATERMARK_NONE, WATERMARK_NONE, WATERMARK_NONE, false, 0};
	put("brief", A, 5 * SEC);
	kit_advance(&k, "brief", 20 * SEC, 20 * SEC, NULL, 0);
	kit_advance(&k, "brief", 30 * SEC, 30 * SEC, &idle, 1);
	put("brief", A, 6 * SEC);
	kit_sweep_all(&k);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_REVISION), 1);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_INTERVAL), 2);
	advance("brief", 1000 * SEC, 1000 * SEC);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_REVISION), 0);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_INTERVAL), 1);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 0);
}
END_TEST

START_TEST(a_revision_stays_while_its_window_can_be_told)
{
	static const struct {
		const char *stream;
		int64_t minutes; /* close: level 0 is kept from two minutes before */
	} cases[] = {{"odd", 3}, {"even", 4}, {"even", 9}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *stream = cases[i].stream;
		struct rows_spec spec = kit_spec(&k, stream);
		if (kit_counts(&k, stream).merged == 0) {
			put(stream, A, 5 * SEC);
			advance(stream, 2 * MIN, 2 * MIN);
			put(stream, A, 6 * SEC); /* late: revises [0, ..), which starts in level 1 from now on */
			kit_sweep_all(&k);
		}
		advance(stream, cases[i].minutes * MIN, cases[i].minutes * MIN);
		struct kit_rows r = kit_query(&k, &spec);
		const struct row *row = kit_row(&r, 0, A);
		ck_assert_ptr_nonnull(row);
		ck_assert_uint_eq(row->partial.count, 2);
		ck_assert_uint_eq(row->revision, 2);
		kit_rows_clear(&r);
	}
	advance("odd", 5 * MIN, 5 * MIN);
	advance("even", 14 * MIN, 14 * MIN);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_REVISION), 0);
}
END_TEST

START_TEST(deletion_is_bounded_too)
{
	put_many("brief", 5 * SEC, 10);
	for (int i = 0; i < 40; i++)
		put_many("roll", i * 10 * SEC, 400);
	struct apply_result res = kit_advance(&k, "roll", 24 * 3600 * SEC, 24 * 3600 * SEC, NULL, 0);
	ck_assert(res.more); /* 16,000 records; their windows are beyond retain, so nothing is told of them */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 0);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 16000 + 4 - ENTRY_ROWS_MAX);
	kit_sweep_all(&k);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 4);
	ck_assert(kit_counts(&k, "roll").groups == 0);
}
END_TEST

/* ---- advances ---------------------------------------------------------------------------------------------- */

static uint64_t raw_advance(uint64_t meta_index, uint64_t after, int64_t close_ns)
{
	const struct stream_conf *s = kit_stream(&k, "s");
	struct entry e = {.kind = ENTRY_ADVANCE,
	    .advance = {meta_index, after, {bytes_of("s", 1), s->version, close_ns, close_ns, 0, 0, NULL}}};
	return kit_apply(&k, 1, &e).meta_index;
}

static int64_t close_now(void)
{
	return kit_counts(&k, "s").close_ns;
}

START_TEST(older_advances_and_gaps_are_not_taken)
{
	ck_assert_uint_eq(raw_advance(5, 0, 100), 5);
	ck_assert_uint_eq(raw_advance(4, 0, 200), 5);
	ck_assert_uint_eq(raw_advance(5, 0, 200), 5);
	ck_assert(close_now() == 100);
	ck_assert_uint_eq(raw_advance(9, 7, 200), 5); /* 7 got lost on the way */
	ck_assert(close_now() == 100);
	ck_assert_uint_eq(raw_advance(9, 5, 200), 9);
	ck_assert(close_now() == 200);
	ck_assert_uint_eq(raw_advance(10, 9, 150), 10); /* taken, and close does not fall */
	ck_assert(close_now() == 200);
	kit_commit(&k);
	kit_reopen(&k);
	ck_assert_uint_eq(raw_advance(10, 9, 300), 10);
	ck_assert(close_now() == 200);
	/* a stream that the topology does not know is taken all the same */
	struct entry e = {.kind = ENTRY_ADVANCE,
	    .advance = {11, 10, {bytes_of("nobody", 6), 1, 5, 5, 0, 0, NULL}}};
	ck_assert_uint_eq(kit_apply(&k, 1, &e).meta_index, 11);
}
END_TEST

/* ---- the outbox -------------------------------------------------------------------------------------------- */

static void pass_time(int64_t seconds)
{
	for (int64_t t = 0; t < seconds; t += 30) {
		k.time_ns += 30 * SEC;
		kit_sweep_all(&k);
	}
}

START_TEST(no_jump_of_a_leaders_clock_empties_the_outbox)
{
	static const int64_t jumps[] = {240 * 3600, -240 * 3600, -3600, 3600, -1700000000, 1700000000};
	put("s", A, 5 * SEC);
	advance("s", 10 * SEC, 10 * SEC);
	k.time_ns = 1800000000 * SEC;
	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		k.time_ns += jumps[i] * SEC;
		pass_time(60);
		ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 1);
	}
	kit_commit(&k);
	kit_reopen(&k);
	k.time_ns = INT64_MAX;
	kit_sweep_all(&k);
	k.time_ns = INT64_MIN;
	kit_sweep_all(&k);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 1);
	k.time_ns = 100 * 3600 * SEC; /* whatever it shows, while it runs rows grow old by it */
	pass_time(3600);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 0);
}
END_TEST

START_TEST(old_rows_leave_the_outbox)
{
	bool reset;
	put("s", A, 5 * SEC);
	advance("s", 10 * SEC, 10 * SEC);
	put("s", B, 15 * SEC);
	pass_time(3600);
	advance("s", 20 * SEC, 20 * SEC); /* the first row is an hour old: not more */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 2);
	k.time_ns += SEC;
	kit_sweep_all(&k);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_OUTBOX), 1);
	uint64_t index = 0;
	uint32_t n = 0;
	struct kit_rows r = kit_outbox(&k, "s", &index, &n, 10, &reset);
	ck_assert(reset && r.count == 1 && r.rows[0].start_ns == 10 * SEC);
	ck_assert(r.rows[0].outbox_index == index && r.rows[0].outbox_n == n);
	kit_rows_clear(&r);
	r = kit_outbox(&k, "s", &index, &n, 10, &reset);
	ck_assert(!reset && r.count == 0);
	kit_rows_clear(&r);
}
END_TEST

/* All rows that are kept: how many are told, and how many no more. */
static void check_gone(const char *stream, uint64_t told, uint64_t gone)
{
	struct kv_txn *txn;
	struct buf out = {0};
	struct rows_reader *reader;
	struct row *row;
	uint64_t index = 0, no_more, rows = 0;
	uint32_t n = 0;
	bool reset;
	struct partial_spec spec;
	kit_commit(&k);
	partial_spec_of(kit_stream(&k, stream), topology_distinct_seed(k.t), PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_outbox(k.t, txn, 0, kit_stream(&k, stream), &index, &n, 100, &out, &reset, &no_more), 0);
	kv_abort(txn);
	ck_assert_int_eq(rows_reader_open(bytes_of(out.data, out.len), &spec, &reader), 0);
	while (rows_reader_next(reader, &row) > 0)
		rows++;
	rows_reader_close(reader);
	buf_free(&out);
	ck_assert_uint_eq(rows, told);
	ck_assert_uint_eq(no_more, gone);
}

START_TEST(rows_whose_windows_are_gone_are_counted)
{
	for (int i = 0; i < 3; i++)
		put("brief", A, i * 10 * SEC);
	advance("brief", 30 * SEC, 30 * SEC);
	check_gone("brief", 3, 0);
	put("brief", A, 2 * MIN);
	advance("brief", 2 * MIN + 20 * SEC, 2 * MIN + 20 * SEC); /* the first two are behind 20 s */
	check_gone("brief", 2, 2);
	put("roll", A, 0);
	put("roll", A, 3 * MIN);
	advance("roll", 4 * MIN, 4 * MIN); /* its first window is a part of a minute now */
	check_gone("roll", 1, 1);
}
END_TEST

START_TEST(the_outbox_is_read_in_pieces_from_anywhere)
{
	bool reset;
	uint64_t index = UINT64_MAX;
	uint32_t n = 0;
	struct kit_rows r = kit_outbox(&k, "s", &index, &n, 10, &reset); /* before anything is known of the stream */
	ck_assert(r.count == 0 && index == 0 && !reset);
	kit_rows_clear(&r);
	for (int i = 0; i < 7; i++)
		put("s", A, i * 10 * SEC);
	advance("s", 30 * SEC, 30 * SEC);
	uint64_t end = UINT64_MAX;
	uint32_t end_n = 0;
	r = kit_outbox(&k, "s", &end, &end_n, 10, &reset);
	ck_assert(r.count == 0 && end != UINT64_MAX && end_n == 2);
	kit_rows_clear(&r);
	advance("s", 70 * SEC, 70 * SEC);
	size_t count = 0;
	do {
		r = kit_outbox(&k, "s", &index, &n, 2, &reset);
		ck_assert_uint_le(r.count, 2);
		for (size_t i = 0; i < r.count; i++)
			ck_assert(r.rows[i].start_ns == (int64_t)(count + i) * 10 * SEC);
		count += r.count;
		kit_rows_clear(&r);
	} while (count < 7);
	r = kit_outbox(&k, "s", &end, &end_n, 10, &reset);
	ck_assert(r.count == 4 && r.rows[0].start_ns == 30 * SEC && end == index && end_n == n);
	kit_rows_clear(&r);
	index = k.index[1]; /* the last entry: nothing was told of it, and yet it may be where someone stands */
	r = kit_outbox(&k, "s", &index, &n, 10, &reset);
	ck_assert(!reset && r.count == 0);
	kit_rows_clear(&r);
	index = k.index[1] + 1; /* nobody was ever given this place here */
	r = kit_outbox(&k, "s", &index, &n, 10, &reset);
	ck_assert(reset && r.count == 7 && index == end && n == end_n);
	kit_rows_clear(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/sweep");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, windows_close_once_per_group);
	tcase_add_test(tc, provisional_windows_become_final_once);
	tcase_add_test(tc, late_partials_raise_the_revision_once);
	tcase_add_test(tc, open_windows_have_no_revision);
	tcase_add_test(tc, only_windows_that_had_closed_are_revised);
	tcase_add_test(tc, empty_stretches_cost_nothing);
	tcase_add_test(tc, an_entry_does_so_many_rows_and_no_more);
	tcase_add_test(tc, what_closes_during_a_pass_closes_once);
	tcase_add_test(tc, old_slices_are_rolled_up_then_deleted);
	tcase_add_test(tc, rollup_adds_up_exactly);
	tcase_add_test(tc, groups_make_room_when_their_data_are_gone);
	tcase_add_test(tc, revisions_and_intervals_go_with_their_windows);
	tcase_add_test(tc, a_revision_stays_while_its_window_can_be_told);
	tcase_add_test(tc, deletion_is_bounded_too);
	tcase_add_test(tc, older_advances_and_gaps_are_not_taken);
	tcase_add_test(tc, no_jump_of_a_leaders_clock_empties_the_outbox);
	tcase_add_test(tc, old_rows_leave_the_outbox);
	tcase_add_test(tc, rows_whose_windows_are_gone_are_counted);
	tcase_add_test(tc, the_outbox_is_read_in_pieces_from_anywhere);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
