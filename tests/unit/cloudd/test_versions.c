/* Maps in shards and in the meta group: versions of streams, what a change of configuration leaves as it is, edges that go; and
 * answers that span versions. The sweep works in very small pieces. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/map_apply.h"
#include "cloudd/placement.h"
#include "cloudd/query.h"
#include "cloudd/result.h"
#include "common/err.h"
#include "common/map.h"
#include "common/row_json.h"
#include "common/topology.h"
#include "tests/unit/cloudd/copy.h"
#include "tests/unit/cloudd/kit.h"

#define OLDS_MAX 64

static struct kit k;
static struct cluster_map map;
static char *text_of_first;
static struct topology *olds[OLDS_MAX];
static size_t old_count;

#define HEAD(edges) \
	"version: 1\n" \
	"cluster: {name: test, shards: 1, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"edges:\n" edges "streams:\n"
#define E123 "  - {name: e1}\n  - {name: e2}\n  - {name: e3}\n"
#define S(rest) "  - {name: s, from: {measurement: m, field: f}, lateness: 0s, " rest "}\n"
#define S1 S("by: [t], window: 10s, compute: [count, sum], retain: 5m, max_groups: 2")
#define S2 S("by: [u, t], window: 20s, compute: [count, max], retain: 5m")

static void setup(void)
{
	kit_init(&k, 1, S1);
	text_of_first = xasprintf("%s%s", HEAD(E123), S1);
	struct topology *t;
	struct buf errors = {0};
	ck_assert_int_eq(topology_parse("test.yaml", text_of_first, strlen(text_of_first), &t, &errors), 0);
	map_first(t, text_of_first, strlen(text_of_first), &map);
	topology_free(t);
	old_count = 0;
}

static void teardown(void)
{
	kit_close(&k);
	for (size_t i = 0; i < old_count; i++)
		topology_free(olds[i]);
	map_clear(&map);
	free(text_of_first);
}

/* ---- maps of a shard --------------------------------------------------------------------------------------- */

static struct buf map_entry(uint64_t meta_index, uint64_t after)
{
	struct buf bytes = {0}, raw = {0};
	ck_assert_int_eq(map_encode(&map, &bytes), 0);
	struct entry e = {.kind = ENTRY_MAP, .map = {meta_index, after, bytes_of(bytes.data, bytes.len)}};
	entry_encode(&e, &raw);
	buf_free(&bytes);
	return raw;
}

/* What the kit asks by from now on. */
static void go_by(void)
{
	struct buf errors = {0};
	struct topology *t;
	ck_assert_msg(!map_topology(&map, "test.yaml", k.t, &t, &errors), "%s", buf_cstr(&errors));
	ck_assert_uint_lt(old_count, OLDS_MAX);
	olds[old_count++] = k.t; /* the first is apply's */
	k.t = t;
}

/* The shard takes the map as it is now. */
static void take_map(void)
{
	struct buf raw = map_entry(k.meta_index + 1, k.meta_index);
	struct apply_result res = kit_apply_raw(&k, 1, bytes_of(raw.data, raw.len));
	k.meta_index++;
	ck_assert_int_eq(res.kind, ENTRY_MAP);
	ck_assert_int_eq(res.verdict, VERDICT_OK);
	ck_assert_uint_eq(res.map_version, map.version);
	ck_assert_uint_eq(res.meta_index, k.meta_index);
	buf_free(&raw);
	go_by();
}

static void change_to(const char *text)
{
	struct cluster_map next;
	struct map_changes told;
	struct buf errors = {0};
	ck_assert_int_eq(map_change(&map, text, strlen(text), &next, &told, &errors), 0);
	map_changes_clear(&told);
	map_clear(&map);
	map = next;
	take_map();
}

static void cut_at(int64_t t_s)
{
	ck_assert_int_eq(map_cut(&map, "s", map.streams[map.stream_count - 1].version, t_s * SEC), 0);
	take_map();
}

static const struct stream_conf *version(size_t i)
{
	return &k.t->streams[i];
}

/* Readings of one second each, one per slice start given, for version i. */
static void feed(size_t i, struct bytes group, int64_t from_s, int64_t to_s)
{
	struct kit_batch b = kit_batch(&k);
	for (int64_t t = from_s; t < to_s; t += version(i)->slice_ns / SEC)
		kit_add_as(&b, version(i), group, t * SEC, 1);
	kit_send(&k, &b);
}

static struct apply_result advance_to(size_t i, int64_t close_s, int64_t final_ns, const struct entry_edge *edges, uint32_t count)
{
	const struct stream_conf *s = version(i);
	struct entry_edge copy[4];
	if (count)
		memcpy(copy, edges, count * sizeof(*copy));
	struct entry e = {.kind = ENTRY_ADVANCE, .advance = {k.meta_index + 1, k.meta_index,
	    {bytes_of(s->name, strlen(s->name)), s->version, close_s * SEC, final_ns, count, count, copy}}};
	k.meta_index++;
	return kit_apply(&k, 1, &e);
}

static struct apply_result advance_by(size_t i, int64_t close_s, const struct entry_edge *edges, uint32_t count)
{
	return advance_to(i, close_s, close_s * SEC, edges, count);
}

static void close_to(size_t i, int64_t close_s)
{
	(void)advance_by(i, close_s, NULL, 0);
	kit_sweep_all(&k);
}

/* Starts of the outbox rows of version i that came after the last look, in seconds: "10 20 ". */
static struct buf told;
static uint64_t told_index[4];
static uint32_t told_n[4];

static const char *tell_as(size_t i, bool ends)
{
	struct kv_txn *txn;
	struct buf rows = {0};
	bool reset;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_outbox(k.t, txn, 0, version(i), &told_index[i], &told_n[i], 1000, &rows, &reset, NULL), 0);
	kv_abort(txn);
	struct partial_spec spec;
	partial_spec_of(version(i), topology_distinct_seed(k.t), PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	struct rows_reader *r;
	struct row *row;
	ck_assert_int_eq(rows_reader_open(bytes_of(rows.data, rows.len), &spec, &r), 0);
	buf_clear(&told);
	while (rows_reader_next(r, &row) > 0) {
		buf_printf(&told, "%lld", (long long)(row->start_ns / SEC));
		if (ends)
			buf_printf(&told, "-%lld", (long long)(row->end_ns / SEC));
		buf_printf(&told, " ");
	}
	rows_reader_close(r);
	buf_free(&rows);
	return buf_cstr(&told);
}

static const char *tell(size_t i)
{
	return tell_as(i, false);
}

static void told_setup(void)
{
	memset(told_index, 0, sizeof(told_index));
	memset(told_n, 0, sizeof(told_n));
}

#define A kit_group(1, "a")
#define XA kit_group(2, "x", "a")

START_TEST(a_shard_goes_by_the_map_at_its_index)
{
	feed(0, A, 0, 30); /* by the file's topology: it has no map yet */
	take_map();
	change_to(HEAD(E123) S2);
	ck_assert_int_eq(version(1)->phase, STREAM_PENDING);
	feed(1, XA, 40, 80);
	kit_commit(&k);
	kit_reopen(&k); /* goes by what the state has */
	feed(1, XA, 80, 100);
	struct kv_txn *txn;
	struct buf bytes = {0}, want = {0};
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_map(txn, 1, &bytes), 0);
	ck_assert_int_eq(apply_read_map(txn, 0, &want), WEIR_ENOTFOUND);
	kv_abort(txn);
	ck_assert_int_eq(map_encode(&map, &want), 0);
	ck_assert_uint_eq(bytes.len, want.len);
	ck_assert_mem_eq(bytes.data, want.data, want.len);
	buf_free(&bytes);
	buf_free(&want);
	struct rows_spec spec = {.stream = "s", .version = version(1)->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = 20 * SEC, .advance_ns = 20 * SEC, .own_window = true, .by = {0, 1}, .by_count = 2, .own_by = true, .limit = 100};
	struct buf rows = {0};
	bool more;
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_query(k.t, txn, 0, version(1), &spec, INT64_MAX, &rows, &more), 0);
	kv_abort(txn);
	struct partial_spec ps;
	struct rows_reader *r;
	struct row *row;
	int n = 0;
	partial_spec_of(version(1), topology_distinct_seed(k.t), PARTIAL_QUANTILE_CAP_CLOUD, &ps);
	ck_assert_int_eq(rows_reader_open(bytes_of(rows.data, rows.len), &ps, &r), 0);
	while (rows_reader_next(r, &row) > 0)
		n++;
	ck_assert_int_eq(n, 3);
	rows_reader_close(r);
	buf_free(&rows);
}
END_TEST

START_TEST(maps_are_taken_in_the_order_of_the_queue)
{
	take_map();
	struct buf raw = map_entry(k.meta_index, 0); /* an older one */
	struct apply_result res = kit_apply_raw(&k, 1, bytes_of(raw.data, raw.len));
	ck_assert_uint_eq(res.meta_index, k.meta_index);
	buf_free(&raw);
	map.version = 9;
	raw = map_entry(k.meta_index + 2, k.meta_index + 1); /* one that leaves a gap */
	res = kit_apply_raw(&k, 1, bytes_of(raw.data, raw.len));
	ck_assert_uint_eq(res.meta_index, k.meta_index);
	ck_assert_uint_eq(res.map_version, 1);
	buf_free(&raw);
	struct entry e = {.kind = ENTRY_MAP, .map = {k.meta_index + 1, k.meta_index, bytes_of("\1nonsense", 9)}};
	struct buf bad = {0};
	entry_encode(&e, &bad);
	res = kit_apply_raw(&k, 1, bytes_of(bad.data, bad.len));
	ck_assert_int_eq(res.kind, 0);
	ck_assert_int_eq(res.verdict, VERDICT_REFUSED);
	buf_free(&bad);
}
END_TEST

START_TEST(each_window_is_told_of_by_one_version)
{
	take_map();
	feed(0, A, 0, 60);
	close_to(0, 20);
	ck_assert_str_eq(tell(0), "0 10 ");
	change_to(HEAD(E123) S2);
	feed(1, XA, 20, 60); /* both are fed */
	(void)advance_by(1, 60, NULL, 0);
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(1), ""); /* it has closed, but nothing of it is answered yet */
	close_to(0, 30);
	ck_assert_str_eq(tell(0), "20 ");
	cut_at(40);
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(1), "40 ");
	ck_assert_int_eq(version(0)->until_ns, 40 * SEC);
	close_to(0, 60);
	ck_assert_str_eq(tell(0), "30 "); /* not 40 and 50 */
	ck_assert_int_eq(map_retire(&map, "s", version(0)->version), 0);
	take_map();
	feed(0, A, 30, 40); /* late, to a version that is retired: merged, and its window revised */
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(0), "30 ");
	feed(0, A, 50, 60); /* of a window that is the other's */
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(0), "");
}
END_TEST

START_TEST(a_window_that_changes_is_neither_told_twice_nor_left_out)
{
	take_map();
	feed(0, A, 0, 100);
	close_to(0, 30);
	ck_assert_str_eq(tell(0), "0 10 20 ");
	change_to(HEAD(E123) S("by: [t], window: {size: 20s, every: 10s}, compute: [count, sum], retain: 5m, max_groups: 2"));
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(0), "");
	close_to(0, 50);
	ck_assert_str_eq(tell(0), "20 30 "); /* those that end in (30, 50] */
	change_to(HEAD(E123) S1);
	close_to(0, 70);
	ck_assert_str_eq(tell(0), "50 60 ");
	ck_assert_uint_eq(k.t->stream_count, 1);
}
END_TEST

_Static_assert(ENTRY_ROWS_MAX == 7, "passes are left in the middle");

START_TEST(a_window_that_changes_in_the_middle_of_a_pass)
{
	take_map();
	feed(0, A, 0, 100);
	feed(0, kit_group(1, "b"), 0, 100);
	(void)advance_by(0, 60, NULL, 0);
	ck_assert_str_eq(tell(0), "0 0 10 10 20 20 30 "); /* the pass stands within 30 */
	change_to(HEAD(E123) S("by: [t], window: {size: 20s, every: 10s}, compute: [count, sum], retain: 5m, max_groups: 2"));
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(0), "20 20 30 30 40 40 "); /* what ends after 30, where all was told, up to 60 */
	(void)advance_by(0, 90, NULL, 0);
	ck_assert_str_eq(tell(0), "50 50 60 60 70 70 ");
	kit_sweep_all(&k);
	ck_assert_str_eq(tell(0), "");
}
END_TEST

/* A watcher that lags behind a change of the window's size is told of the windows that had closed. */
START_TEST(what_was_told_of_keeps_its_size)
{
	take_map();
	feed(0, A, 0, 100);
	close_to(0, 30);
	change_to(HEAD(E123) S("by: [t], window: {size: 20s, every: 10s}, compute: [count, sum], retain: 5m, max_groups: 2"));
	close_to(0, 50);
	ck_assert_str_eq(tell_as(0, true), "0-10 10-20 20-30 20-40 30-50 ");
}
END_TEST

START_TEST(groups_over_a_lowered_maximum_stay)
{
	take_map();
	feed(0, A, 0, 10);
	feed(0, kit_group(1, "b"), 0, 10);
	change_to(HEAD(E123) S("by: [t], window: 10s, compute: [count, sum], retain: 5m, max_groups: 1"));
	feed(0, A, 10, 20);
	feed(0, kit_group(1, "b"), 10, 20);
	feed(0, kit_group(1, "c"), 10, 20);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_ptr_nonnull(kit_row(&r, 10 * SEC, A));
	ck_assert_ptr_nonnull(kit_row(&r, 10 * SEC, kit_group(1, "b")));
	ck_assert_ptr_null(kit_row(&r, 10 * SEC, kit_group(1, "c")));
	ck_assert_ptr_nonnull(kit_row(&r, 10 * SEC, kit_group(1, "__other__")));
	kit_rows_clear(&r);
}
END_TEST

static uint64_t beyond_retain;

static void note_counts(void *arg, const struct shard_stream_counts *c)
{
	(void)arg;
	beyond_retain = c->dropped_beyond_retain;
}

static uint64_t dropped(void)
{
	struct kv_txn *txn;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, 1, note_counts, NULL), 0);
	kv_abort(txn);
	return beyond_retain;
}

START_TEST(what_was_deleted_stays_so_when_more_is_to_be_kept)
{
	take_map();
	feed(0, A, 0, 100);
	close_to(0, 400); /* retain 300 s: before 100 all is gone */
	change_to(HEAD(E123) S("by: [t], window: 10s, compute: [count, sum], retain: 10m, max_groups: 2"));
	kit_sweep_all(&k);
	feed(0, A, 90, 110); /* one slice of it is of what was deleted */
	ck_assert_uint_eq(dropped(), 1);
	kit_reopen(&k);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert_int_eq(r.rows[0].start_ns, 100 * SEC);
	kit_rows_clear(&r);
	close_to(0, 690); /* 10 m before: 90 s. Nothing is claimed of it */
	feed(0, A, 90, 100);
	ck_assert_uint_eq(dropped(), 2);
	close_to(0, 730); /* and now it is by the new retain */
	feed(0, A, 120, 130);
	ck_assert_uint_eq(dropped(), 3);
}
END_TEST

START_TEST(a_rollup_that_is_added_begins_with_a_whole_period)
{
	take_map();
	feed(0, A, 0, 200);
	close_to(0, 400); /* before 100 all is gone */
	change_to(HEAD(E123) S("by: [t], window: 10s, compute: [count, sum], retain: 5m, rollup: [{every: 1m, retain: 1h}], max_groups: 2"));
	close_to(0, 500); /* level 0 would keep from 180 on */
	struct rows_spec spec = kit_spec(&k, "s");
	spec.size_ns = spec.advance_ns = 60 * SEC;
	spec.own_window = false;
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 2); /* [60, 120) was half gone: it is not answered */
	ck_assert_int_eq(r.rows[0].start_ns, 120 * SEC);
	ck_assert_uint_eq(r.rows[0].partial.count, 6);
	ck_assert_int_eq(r.rows[1].start_ns, 180 * SEC);
	kit_rows_clear(&r);
	feed(0, A, 100, 110);
	ck_assert_uint_eq(dropped(), 1);
	feed(0, A, 130, 140); /* into the coarser level */
	ck_assert_uint_eq(dropped(), 1);
}
END_TEST

/* ---- retention of what is not in force ---------------------------------------------------------------------- */

static const enum state_table left[] = {STATE_PARTIAL, STATE_GROUP, STATE_DIRTY, STATE_REVISION, STATE_INTERVAL, STATE_ADVANCE};

static uint64_t records(uint32_t id, enum state_table table)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value, rest;
	uint64_t n = 0;
	kit_commit(&k);
	state_key_id(&prefix, table, id);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(1), &c), 0);
	int rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	for (; !rc && state_key_rest(key, &prefix, &rest); rc = kv_cursor_next(c, &key, &value))
		n++;
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

static struct shard_stream_counts sums;

static void add_counts(void *arg, const struct shard_stream_counts *c)
{
	(void)arg;
	sums.received += c->received;
	sums.merged += c->merged;
	sums.groups += c->groups;
	sums.dropped_beyond_retain += c->dropped_beyond_retain;
}

static void sum_counts(void)
{
	struct kv_txn *txn;
	kit_commit(&k);
	sums = (struct shard_stream_counts){0};
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, 1, add_counts, NULL), 0);
	kv_abort(txn);
}

/* Version 0 is retired, and has slices of 10 s in [0, 60), of two groups; version 1 is in force from 40 on. */
static void retire_the_first(void)
{
	take_map();
	feed(0, A, 0, 60);
	feed(0, kit_group(1, "b"), 0, 60);
	close_to(0, 20);
	change_to(HEAD(E123) S2);
	feed(1, XA, 20, 60);
	cut_at(40);
	close_to(0, 60);
	close_to(1, 60);
	feed(0, A, 0, 20); /* late: revisions */
	kit_sweep_all(&k);
	ck_assert_int_eq(map_retire(&map, "s", version(0)->version), 0);
	take_map();
	kit_sweep_all(&k);
	ck_assert_int_eq(version(0)->phase, STREAM_RETIRED);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 12);
}

START_TEST(what_a_retired_version_has_is_kept_for_retain_behind_the_stream)
{
	retire_the_first();
	close_to(1, 300); /* retain is 5 m */
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 12);
	close_to(1, 320);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 8);
	sum_counts();
	uint64_t before = sums.dropped_beyond_retain;
	feed(0, A, 10, 30); /* one slice beyond, one within */
	sum_counts();
	ck_assert_uint_eq(sums.dropped_beyond_retain, before + 1);
	close_to(1, 325); /* a slice is the least step */
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 8);
	kit_reopen(&k);
	close_to(1, 330);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 6);
	close_to(1, 1000);
	kit_sweep_all(&k);
	for (size_t i = 0; i + 1 < sizeof(left) / sizeof(left[0]); i++)
		ck_assert_msg(!records(1, left[i]), "%c", left[i]);
}
END_TEST

/* It may have read what the stream never had: another field, of another time. */
START_TEST(a_version_that_never_answers_makes_nothing_older)
{
	retire_the_first();
	change_to(HEAD(E123) S("by: [t], window: 30s, compute: [count, sum], retain: 5m"));
	ck_assert_int_eq(version(2)->phase, STREAM_PENDING);
	close_to(2, 5000);
	close_to(1, 200);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 12);
	change_to(HEAD(E123) S2); /* given up */
	ck_assert_int_eq(version(2)->phase, STREAM_RETIRED);
	close_to(1, 250);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 12);
}
END_TEST

/* What a reader says is kept is what the shard keeps. */
START_TEST(a_query_goes_by_the_age_of_a_retired_version)
{
	retire_the_first();
	close_to(1, 320);
	struct rows_spec spec = kit_spec(&k, "s");
	spec.version = version(0)->version;
	spec.size_ns = spec.advance_ns = 10 * SEC;
	spec.by_count = 1;
	spec.by[0] = 0;
	struct kv_txn *txn;
	struct buf rows = {0};
	struct rows_reader *r;
	struct row *row;
	struct partial_spec ps;
	bool more;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(result_query(k.t, txn, 0, version(0), &spec, INT64_MAX, &rows, &more), 0);
	int64_t retired_ns, current_ns; /* whom its rows are merged with must know: its close stands still */
	ck_assert_int_eq(result_kept(k.t, txn, 0, version(0), &retired_ns), 0);
	ck_assert_int_eq(result_kept(k.t, txn, 0, version(1), &current_ns), 0);
	ck_assert(retired_ns == 320 * SEC && current_ns == 320 * SEC);
	kv_abort(txn);
	partial_spec_of(version(0), topology_distinct_seed(k.t), PARTIAL_QUANTILE_CAP_CLOUD, &ps);
	ck_assert_int_eq(rows_reader_open(bytes_of(rows.data, rows.len), &ps, &r), 0);
	ck_assert_int_eq(rows_reader_next(r, &row), 1);
	ck_assert_int_eq(row->start_ns, 20 * SEC);
	rows_reader_close(r);
	buf_free(&rows);
}
END_TEST

/* An advance of the other stream, so much later by its proposer's clock. */
static void pass(int64_t *now_s, int64_t seconds)
{
	size_t other = k.t->stream_count - 1;
	*now_s += seconds;
	k.time_ns = *now_s * SEC;
	ck_assert_str_eq(version(other)->name, "other");
	const struct stream_conf *s = version(other);
	struct entry e = {.kind = ENTRY_ADVANCE, .time_ns = k.time_ns, .advance = {k.meta_index + 1, k.meta_index,
	    {bytes_of(s->name, strlen(s->name)), s->version, *now_s * SEC, *now_s * SEC, 0, 0, NULL}}};
	k.meta_index++;
	(void)kit_apply(&k, 1, &e);
	kit_sweep_all(&k);
}

#define OTHER "  - {name: other, from: {measurement: m, field: g}, lateness: 0s, by: [t], window: 10s, compute: [count], retain: 1h}\n"

START_TEST(what_a_removed_stream_has_is_kept_for_retain_of_the_logs_time)
{
	int64_t now_s = 1400000000; /* years from what the stream's readings say */
	take_map();
	change_to(HEAD(E123) S1 OTHER);
	feed(0, A, 0, 60);
	close_to(0, 60);
	change_to(HEAD(E123) OTHER);
	ck_assert_int_eq(version(0)->phase, STREAM_ENDED);
	pass(&now_s, 1);
	pass(&now_s, 1000000); /* it may have late readings still */
	ck_assert_int_eq(map_retire(&map, "s", version(0)->version), 0);
	take_map();
	pass(&now_s, 1000000); /* begins */
	for (int i = 0; i < 4; i++)
		pass(&now_s, 60);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 6); /* 240 s of 300 */
	pass(&now_s, 59); /* not yet worth a step */
	kit_commit(&k);
	kit_reopen(&k);
	pass(&now_s, -5000); /* another leader's clock, which is slow; and is set right */
	pass(&now_s, 10);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 6);
	pass(&now_s, 1000000); /* a jump is a step of 120 s at most: 360 s */
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 0);
	ck_assert_uint_eq(records(1, STATE_GROUP), 0);
}
END_TEST

START_TEST(a_removed_stream_that_never_closed_goes_by_what_it_has)
{
	int64_t now_s = 1400000000;
	take_map();
	change_to(HEAD(E123) S1 OTHER);
	feed(0, A, 1000, 1060);
	change_to(HEAD(E123) OTHER);
	ck_assert_int_eq(map_retire(&map, "s", version(0)->version), 0);
	take_map();
	for (int i = 0; i < 5; i++)
		pass(&now_s, 60);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 6);
	pass(&now_s, 60); /* 300 s after the end of its latest slice */
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 0);
	kit_reopen(&k);
}
END_TEST

/* As the map does at MAP_VERSIONS_MAX. */
static void drop_from_map(size_t at)
{
	free(map.streams[at].name);
	free(map.streams[at].definition);
	map.stream_count--;
	memmove(&map.streams[at], &map.streams[at + 1], (map.stream_count - at) * sizeof(*map.streams));
	map.version++;
}

START_TEST(of_a_version_that_the_map_drops_only_its_counts_stay)
{
	retire_the_first();
	uint32_t number = version(0)->version;
	sum_counts();
	uint64_t received = sums.received, groups = sums.groups;
	drop_from_map(0);
	take_map();
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 12); /* not in the map's own entry */
	(void)kit_sweep(&k);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 5); /* in pieces */
	kit_commit(&k);
	kit_reopen(&k);
	struct apply_result res;
	ck_assert_int_eq(apply_noop(k.a, 1, ++k.index[1], 1, &res), 0);
	ck_assert(res.more); /* a new leader goes on */
	kit_sweep_all(&k);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
		ck_assert_msg(!records(1, left[i]), "%c", left[i]);
	ck_assert_uint_eq(records(1, STATE_STREAM), 1);
	ck_assert_uint_eq(records(2, STATE_PARTIAL), 2); /* the others' are as they were */
	sum_counts();
	ck_assert_uint_eq(sums.received, received);
	ck_assert_uint_eq(sums.groups, groups - 2);
	/* Its number comes back: another id, and nothing of what was. */
	change_to(HEAD(E123) S1);
	ck_assert_uint_eq(version(0)->version, number);
	ck_assert_int_eq(version(0)->phase, STREAM_PENDING);
	feed(0, A, 60, 70);
	ck_assert_uint_eq(records(1, STATE_PARTIAL), 0);
	ck_assert_uint_eq(records(3, STATE_PARTIAL), 1);
	sum_counts();
	ck_assert_uint_eq(sums.received, received + 1);
}
END_TEST

START_TEST(an_edge_that_is_removed_is_fenced_and_may_come_back)
{
	take_map();
	kit_open(&k, "e2", 5);
	change_to(HEAD("  - {name: e1}\n  - {name: e3}\n") S1);
	struct entry e = {.kind = ENTRY_OPEN, .open = {bytes_of("e2", 2), 5, 1, 0, false}};
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_UNAVAILABLE);
	struct kit_batch b = kit_batch(&k);
	kit_add_as(&b, version(0), A, 0, 1);
	struct buf body = kit_body(&b, 1);
	e = kit_batch_entry("e2", 5, 1, &body);
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_FENCED);
	buf_free(&body);
	change_to(HEAD(E123) S1);
	e = (struct entry){.kind = ENTRY_OPEN, .open = {bytes_of("e2", 2), 5, 1, 0, false}};
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_FENCED);
	e.open.epoch = 7; /* as the meta group grants it */
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_OK);
}
END_TEST

/* Replicas may have begun with files that list other edges: what the first map says of them is the same for all. */
START_TEST(the_first_map_fences_no_edge_by_a_nodes_own_file)
{
	kit_open(&k, "e2", 5); /* in an earlier build: without a map edges are told to wait */
	const char *text = HEAD("  - {name: e1}\n  - {name: e3}\n") S1;
	struct topology *t;
	struct buf errors = {0};
	ck_assert_int_eq(topology_parse("test.yaml", text, strlen(text), &t, &errors), 0);
	map_clear(&map);
	map_first(t, text, strlen(text), &map);
	topology_free(t);
	take_map();
	change_to(HEAD(E123) S1);
	struct entry e = {.kind = ENTRY_OPEN, .open = {bytes_of("e2", 2), 5, 1, 0, false}};
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_OK);
}
END_TEST

START_TEST(an_edge_that_fed_another_version_is_missing_for_good)
{
	take_map();
	feed(0, A, 0, 40);
	struct entry_edge edges[] = {
	    {bytes_of("e1", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	    {bytes_of("e2", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, 15 * SEC, false, 0}};
	(void)advance_by(0, 30, edges, 2);
	kit_sweep_all(&k);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 4);
	for (size_t i = 0; i < 4; i++) {
		const struct row *row = &r.rows[i];
		bool elsewhere = i < 2;
		ck_assert_int_eq(row->state, elsewhere ? WINDOW_PROVISIONAL : i < 3 ? WINDOW_FINAL : WINDOW_OPEN);
		ck_assert_uint_eq(row->edges.missing_count, elsewhere);
		ck_assert_uint_eq(row->edges.partitioned, elsewhere);
		ck_assert_uint_eq(row->edges.contributed, elsewhere ? 1 : 2);
		if (elsewhere)
			ck_assert_mem_eq(row->edges.missing[0].p, "e2", 2);
	}
	kit_rows_clear(&r);
	spec.only_final = true;
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert_int_eq(r.rows[0].start_ns, 20 * SEC);
	kit_rows_clear(&r);
}
END_TEST

/* Of an edge that was not expected when the window closed: it counts among those who are. */
START_TEST(an_edge_that_came_after_the_close_is_expected_where_it_is_missing)
{
	take_map();
	feed(0, A, 0, 40);
	struct entry_edge edges[] = {
	    {bytes_of("e1", 2), EDGE_PARTITIONED, WATERMARK_NONE, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	    {bytes_of("e2", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	    {bytes_of("e3", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, 30 * SEC, false, 0}};
	(void)advance_to(0, 10, WATERMARK_NONE, edges, 1);
	(void)advance_to(0, 30, WATERMARK_NONE, edges, 3);
	kit_sweep_all(&k);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 4);
	ck_assert_uint_eq(r.rows[0].edges.missing_count, 2);
	ck_assert_uint_eq(r.rows[0].edges.partitioned, 2);
	ck_assert_uint_eq(r.rows[0].edges.expected, 3);
	ck_assert_uint_eq(r.rows[0].edges.contributed, 1);
	kit_rows_clear(&r);
	spec.own_window = false; /* its parts closed under other lists */
	spec.size_ns = spec.advance_ns = 20 * SEC;
	r = kit_query(&k, &spec);
	for (size_t i = 0; i < r.count; i++) {
		const struct rows_edges *e = &r.rows[i].edges;
		ck_assert_uint_eq(e->expected, e->contributed + e->idle + e->partitioned);
	}
	kit_rows_clear(&r);
}
END_TEST

/* A longer window is as final as its parts. */
START_TEST(parts_that_were_final_before_an_edge_came_do_not_matter)
{
	for (int since = 10; since <= 30; since += 20) {
		teardown();
		setup();
		take_map();
		feed(0, A, 0, 40);
		struct entry_edge edges[] = {
		    {bytes_of("e1", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0},
		    {bytes_of("e2", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, since * SEC, true, 20 * SEC}};
		(void)advance_by(0, 20, edges, 1);
		(void)advance_by(0, 40, edges, 2);
		kit_sweep_all(&k);
		struct rows_spec spec = kit_spec(&k, "s");
		spec.own_window = false;
		spec.size_ns = spec.advance_ns = 40 * SEC;
		for (int only_final = 0; only_final < 2; only_final++) {
			spec.only_final = only_final;
			struct kit_rows r = kit_query(&k, &spec);
			ck_assert_uint_eq(r.count, since == 10 || !only_final);
			if (r.count)
				ck_assert_int_eq(r.rows[0].state, since == 10 ? WINDOW_FINAL : WINDOW_PROVISIONAL);
			kit_rows_clear(&r);
		}
	}
}
END_TEST

START_TEST(windows_that_were_final_before_an_edge_came_stay_so)
{
	take_map();
	feed(0, A, 0, 40);
	struct entry_edge edges[] = {
	    {bytes_of("e1", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	    {bytes_of("e2", 2), EDGE_LIVE, 40 * SEC, WATERMARK_NONE, 25 * SEC, true, 10 * SEC}};
	(void)advance_by(0, 10, edges, 1);
	(void)advance_by(0, 20, edges, 2);
	(void)advance_by(0, 30, edges, 2);
	kit_sweep_all(&k);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 4);
	ck_assert_int_eq(r.rows[0].state, WINDOW_FINAL);
	ck_assert_uint_eq(r.rows[0].edges.missing_count, 0);
	ck_assert_int_eq(r.rows[1].state, WINDOW_PROVISIONAL);
	ck_assert_int_eq(r.rows[2].state, WINDOW_PROVISIONAL);
	ck_assert_uint_eq(r.rows[2].edges.missing_count, 1);
	kit_rows_clear(&r);
	spec.only_final = true;
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert_int_eq(r.rows[0].start_ns, 0);
	kit_rows_clear(&r);
}
END_TEST

/* ---- answers over versions --------------------------------------------------------------------------------- */

static void *start_page(void *arg, uint32_t shard, const struct rows_spec *spec, bool linearizable)
{
	(void)arg;
	(void)shard;
	(void)linearizable;
	struct buf *raw = xcalloc(1, sizeof(*raw));
	rows_spec_encode(spec, raw);
	return raw;
}

static int finish_page(void *arg, void *handle, struct query_page *page, char reason[QUERY_REASON_MAX])
{
	(void)arg;
	(void)reason;
	struct buf *raw = handle;
	struct rows_spec spec;
	const struct stream_conf *stream;
	struct kv_txn *txn;
	int rc = rows_spec_decode(bytes_of(raw->data, raw->len), k.t, &spec, &stream);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	rc = result_query(k.t, txn, 0, stream, &spec, INT64_MAX, &page->rows, &page->more);
	kv_abort(txn);
	buf_free(raw);
	free(raw);
	return rc;
}

static void cancel_page(void *arg, void *handle)
{
	(void)arg;
	buf_free(handle);
	free(handle);
}

static json_t *ask_or(struct query_error *e, const struct query_arg *args, size_t count)
{
	struct query_args parsed;
	struct query *q;
	struct query_source source = {NULL, start_page, finish_page, cancel_page, NULL};
	kit_commit(&k);
	if (query_args_parse(k.t, args, count, 0, &parsed, e))
		return NULL;
	ck_assert_int_eq(query_open(k.t, &source, &parsed, &q, e), 0);
	struct buf out = {0};
	int rc;
	while ((rc = query_fill(q, &out)) > 0)
		;
	ck_assert_int_eq(rc, 0);
	query_close(q);
	json_error_t je;
	json_t *j = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &je);
	ck_assert_msg(j != NULL, "%s in %s", je.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

static json_t *ask(const struct query_arg *args, size_t count)
{
	struct query_error e;
	json_t *j = ask_or(&e, args, count);
	ck_assert_msg(j != NULL, "%s", j ? "" : e.message);
	return j;
}

#define ASK(...) ask((const struct query_arg[]){{"stream", "s"}, __VA_ARGS__}, \
    1 + sizeof((const struct query_arg[]){__VA_ARGS__}) / sizeof(struct query_arg))

/* "0 10 40 ": starts of the rows, in seconds after 1970. */
static const char *starts(const json_t *j)
{
	size_t i;
	json_t *row;
	buf_clear(&told);
	json_array_foreach(json_object_get(j, "rows"), i, row) {
		int minute, second;
		ck_assert_int_eq(sscanf(json_string_value(json_object_get(row, "start")), "1970-01-01T00:%d:%dZ", &minute, &second), 2);
		buf_printf(&told, "%d ", minute * 60 + second);
	}
	return buf_cstr(&told);
}

static void two_versions(void)
{
	take_map();
	feed(0, A, 0, 60);
	change_to(HEAD(E123) S2);
	feed(1, XA, 20, 100);
	cut_at(40);
	close_to(0, 40);
	close_to(1, 80);
}

START_TEST(an_answer_goes_over_versions)
{
	two_versions();
	json_t *j = ASK({"limit", "100"});
	ck_assert_str_eq(starts(j), "0 10 20 30 40 60 80 ");
	const json_t *rows = json_object_get(j, "rows"), *first = json_array_get(rows, 0), *last = json_array_get(rows, 6);
	const json_t *group = json_object_get(first, "group");
	ck_assert_str_eq(json_string_value(json_object_get(group, "u")), "");
	ck_assert_str_eq(json_string_value(json_object_get(group, "t")), "a");
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(last, "group"), "u")), "x");
	ck_assert(json_is_null(json_object_get(json_object_get(first, "values"), "max"))); /* it did not compute that */
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(first, "values"), "count")), 1);
	ck_assert(json_is_number(json_object_get(json_object_get(last, "values"), "max")));
	const json_t *versions = json_object_get(j, "versions");
	ck_assert_uint_eq(json_array_size(versions), 2);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(versions, 0), "phase")), "closing");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(versions, 0), "until")), "1970-01-01T00:00:40Z");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(versions, 1), "from")), "1970-01-01T00:00:40Z");
	ck_assert(json_is_null(json_object_get(json_array_get(versions, 1), "until")));
	ck_assert_str_eq(json_string_value(json_object_get(j, "watermark")), "1970-01-01T00:01:20Z");
	ck_assert_str_eq(json_string_value(json_object_get(j, "window")), "20s");
	json_decref(j);
	j = ASK({"to", "30"}); /* one of them only */
	ck_assert_str_eq(starts(j), "0 10 20 ");
	ck_assert_ptr_null(json_object_get(j, "versions"));
	json_decref(j);
	j = ASK({"select", "sum"}, {"by", "t"});
	ck_assert_str_eq(starts(j), "0 10 20 30 40 60 80 ");
	json_decref(j);
	j = ASK({"where", "u=x"});
	ck_assert_str_eq(starts(j), "40 60 80 ");
	json_decref(j);
	j = ASK({"where", "u="});
	ck_assert_str_eq(starts(j), "0 10 20 30 ");
	json_decref(j);
}
END_TEST

/* A watch tells of windows as they are stored: with the version's own tags and functions, whatever the latest one has. */
START_TEST(a_watch_tells_of_each_version_in_its_own_terms)
{
	two_versions();
	struct query_args args;
	struct query_error error;
	const struct query_arg arg = {"stream", "s"};
	ck_assert_int_eq(query_args_parse_watch(k.t, &arg, 1, &args, &error), 0);
	ck_assert_uint_eq(args.version_count, 2);
	static const char *const groups[] = {"\"group\": {\"t\": \"a\"}", "\"group\": {\"u\": \"x\", \"t\": \"a\"}"};
	static const char *const values[] = {"\"values\": {\"count\": 0, \"sum\": ", "\"values\": {\"count\": 0, \"max\": "};
	for (size_t i = 0; i < 2; i++) {
		struct row row = {.group = i ? XA : A};
		struct partial_spec spec;
		struct buf out = {0};
		query_args_select(&args, i);
		partial_spec_of(args.stream, 0, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
		row_json_put(&args, &spec, &row, &out);
		ck_assert_msg(strstr(buf_cstr(&out), groups[i]) && strstr(buf_cstr(&out), values[i]), "%s", buf_cstr(&out));
		buf_free(&out);
	}
	query_args_clear(&args);
}
END_TEST

START_TEST(pages_go_over_versions)
{
	two_versions();
	struct buf all = {0};
	char *cursor = NULL;
	for (int pages = 0; pages < 20; pages++) {
		json_t *j = cursor ? ASK({"limit", "1"}, {"cursor", cursor}) : ASK({"limit", "1"});
		buf_printf(&all, "%s", starts(j));
		free(cursor);
		const char *next = json_string_value(json_object_get(j, "next"));
		cursor = next ? xstrdup(next) : NULL;
		json_decref(j);
		if (!cursor)
			break;
	}
	free(cursor);
	ck_assert_str_eq(buf_cstr(&all), "0 10 20 30 40 60 80 ");
	buf_free(&all);
}
END_TEST

START_TEST(one_version_may_be_asked_for)
{
	two_versions();
	char number[16];
	snprintf(number, sizeof(number), "%u", version(0)->version);
	json_t *j = ASK({"version", number});
	ck_assert_str_eq(starts(j), "0 10 20 30 40 50 "); /* all that it holds */
	ck_assert_ptr_null(json_object_get(j, "versions"));
	json_decref(j);
	struct query_error e;
	const struct query_arg args[] = {{"stream", "s"}, {"version", "12"}};
	ck_assert_ptr_null(ask_or(&e, args, 2));
	ck_assert_uint_eq(e.status, 404);
}
END_TEST

START_TEST(a_window_must_suit_the_versions_asked_for)
{
	two_versions();
	struct query_error e;
	const struct query_arg args[] = {{"stream", "s"}, {"window", "30s"}};
	ck_assert_ptr_null(ask_or(&e, args, 2));
	ck_assert_uint_eq(e.status, 400);
	char number[16];
	snprintf(number, sizeof(number), "%u", version(1)->version);
	ck_assert_ptr_nonnull(strstr(e.message, number));
	ck_assert_ptr_nonnull(strstr(e.message, "1970-01-01T00:00:40Z"));
	json_t *j = ASK({"window", "30s"}, {"to", "40"});
	ck_assert_str_eq(starts(j), "0 "); /* [30, 60) reaches over the cut: nobody has all of it */
	json_decref(j);
	j = ASK({"window", "40s"});
	ck_assert_str_eq(starts(j), "0 40 80 ");
	json_decref(j);
}
END_TEST

/* ---- the meta group ---------------------------------------------------------------------------------------- */

static struct apply_result propose_text(uint64_t base, const char *text)
{
	struct buf packed = {0};
	map_text_pack(text, strlen(text), &packed);
	struct entry e = {.kind = ENTRY_TOPOLOGY,
	    .topology = {base, (uint32_t)strlen(text), bytes_of(packed.data, packed.len)}};
	struct apply_result res = kit_apply(&k, 0, &e);
	buf_free(&packed);
	return res;
}

static void ck_text(uint64_t base, const char *text, enum verdict verdict, uint64_t map_version)
{
	struct apply_result res = propose_text(base, text);
	ck_assert_msg(res.verdict == verdict, "%s", res.reason ? res.reason : "no reason");
	ck_assert_uint_eq(res.map_version, map_version);
	ck_assert(verdict == VERDICT_OK || res.reason);
	apply_result_clear(&res);
}

/* Whoever proposed it can read it: another program's map has it. */
static void ck_stands_still(uint64_t base, const char *text)
{
	struct buf packed = {0}, raw = {0};
	struct apply_result res;
	map_text_pack(text, strlen(text), &packed);
	struct entry e = {.kind = ENTRY_TOPOLOGY,
	    .topology = {base, (uint32_t)strlen(text), bytes_of(packed.data, packed.len)}};
	entry_encode(&e, &raw);
	kit_commit(&k);
	ck_assert_int_eq(apply_entry(k.a, 0, k.index[0] + 1, 1, bytes_of(raw.data, raw.len), &res), WEIR_EVERSION);
	apply_abort(k.a);
	buf_free(&packed);
	buf_free(&raw);
}

static struct cluster_map meta_map(void)
{
	struct kv_txn *txn;
	struct buf bytes = {0};
	struct cluster_map m;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_map(txn, 0, &bytes), 0);
	kv_abort(txn);
	ck_assert_int_eq(map_decode(bytes_of(bytes.data, bytes.len), &m), 0);
	buf_free(&bytes);
	return m;
}

START_TEST(the_first_text_begins_the_map)
{
	ck_text(3, text_of_first, VERDICT_REFUSED, 0); /* there is no version 3 */
	ck_text(ENTRY_BASE_FIRST, text_of_first, VERDICT_OK, 1);
	struct cluster_map m = meta_map();
	struct buf a = {0}, b = {0};
	ck_assert_int_eq(map_encode(&m, &a), 0);
	ck_assert_int_eq(map_encode(&map, &b), 0);
	ck_assert_uint_eq(a.len, b.len);
	ck_assert_mem_eq(a.data, b.data, a.len);
	buf_free(&a);
	buf_free(&b);
	map_clear(&m);
	ck_text(ENTRY_BASE_FIRST, HEAD(E123) S2, VERDICT_REFUSED, 1); /* another leader was first */
	ck_text(0, text_of_first, VERDICT_OK, 1);                    /* an equal one changes nothing */
}
END_TEST

START_TEST(a_topology_of_a_later_program_is_not_passed_over)
{
	ck_stands_still(0, "version: 1\n");
	ck_stands_still(ENTRY_BASE_FIRST, HEAD(E123) S1 "later: true\n");
	ck_text(0, text_of_first, VERDICT_OK, 1);
	ck_stands_still(0, HEAD(E123) S("by: [t], window: 10s, compute: [count, sum], later: true"));
	ck_text(7, HEAD(E123) S("later: true"), VERDICT_REFUSED, 1); /* by any program */
	ck_text(1, HEAD(E123) S2, VERDICT_OK, 2);
}
END_TEST

START_TEST(a_text_for_another_cluster_begins_nothing)
{
	ck_text(0, "version: 1\ncluster: {name: test, shards: 2, replicas: 1}\ncloud:\n"
		   "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n", VERDICT_REFUSED, 0);
	struct entry e = {.kind = ENTRY_NODE, .node = {0, NODE_EVENT_DEAD}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED); /* no map yet */
}
END_TEST

START_TEST(a_change_is_made_against_a_version)
{
	ck_text(0, text_of_first, VERDICT_OK, 1);
	ck_text(1, HEAD(E123) S2, VERDICT_OK, 2);
	ck_text(1, HEAD(E123) S1, VERDICT_REFUSED, 2);
	ck_text(2, "version: 1\ncluster: {name: other, shards: 1, replicas: 1}\ncloud:\n"
		   "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n", VERDICT_REFUSED, 2);
	struct cluster_map m = meta_map();
	ck_assert_uint_eq(m.version, 2);
	ck_assert_uint_eq(m.stream_count, 2);
	struct entry e = {.kind = ENTRY_CUT, .cut = {bytes_of("s", 1), m.streams[0].version, false, 40 * SEC, 0}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED);
	e.cut.version = m.streams[1].version;
	e.cut.map_version = 1; /* worked out before the change: that time may be in the middle of a window */
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED);
	e.cut.map_version = 2;
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	e.cut.version = m.streams[0].version;
	e.cut.retire = true;
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED);
	map_clear(&m);
	m = meta_map();
	ck_assert_uint_eq(m.version, 4);
	ck_assert_int_eq(m.streams[0].phase, STREAM_RETIRED);
	ck_assert_int_eq(m.streams[1].from_ns, 40 * SEC);
	map_clear(&m);
	e = (struct entry){.kind = ENTRY_NODE, .node = {9, NODE_EVENT_DEAD}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED);
	e.node.slot = 0;
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	m = meta_map();
	ck_assert_uint_eq(m.version, 5);
	ck_assert_int_eq(m.nodes[0].state, CLOUD_DEAD);
	map_clear(&m);
	ck_text(1, HEAD(E123) S1, VERDICT_REFUSED, 5);
	ck_text(6, HEAD(E123) S1, VERDICT_REFUSED, 5); /* there is no such version yet */
	ck_text(2, HEAD(E123) S1, VERDICT_OK, 6); /* cuts and nodes changed since, the text did not */
	ck_text(5, HEAD(E123) S2, VERDICT_REFUSED, 6);
}
END_TEST

static enum verdict claim(uint64_t epoch, char c, bool empty, uint64_t *ret_epoch)
{
	uint8_t bytes[CLAIM_BYTES];
	memset(bytes, c, sizeof(bytes));
	struct entry e = {.kind = ENTRY_CLAIM, .claim = {bytes_of("e2", 2), epoch, bytes_of(bytes, sizeof(bytes)), empty}};
	struct apply_result res = kit_apply(&k, 0, &e);
	enum verdict v = res.verdict;
	*ret_epoch = res.epoch;
	apply_result_clear(&res);
	return v;
}

START_TEST(an_edge_that_is_removed_is_admitted_anew_only)
{
	uint64_t epoch;
	ck_text(0, text_of_first, VERDICT_OK, 1);
	ck_assert_int_eq(claim(0, 'a', true, &epoch), VERDICT_OK);
	ck_assert_uint_eq(epoch, 1);
	ck_text(1, HEAD("  - {name: e1}\n  - {name: e3}\n") S1, VERDICT_OK, 2);
	ck_assert_int_eq(claim(0, 'a', true, &epoch), VERDICT_FENCED); /* the claim that was granted */
	ck_assert_uint_eq(epoch, 2);
	ck_text(2, text_of_first, VERDICT_OK, 3);
	ck_assert_int_eq(claim(1, 'b', false, &epoch), VERDICT_FENCED);
	ck_assert_int_eq(claim(0, 'c', true, &epoch), VERDICT_OK);
	ck_assert_uint_eq(epoch, 3);
}
END_TEST

static enum entry_kind kinds[16];
static uint64_t afters[16], indexes[16];
static size_t kind_count;

static bool note_kind(void *arg, uint64_t meta_index, struct bytes raw)
{
	(void)arg;
	struct entry e;
	ck_assert_int_eq(entry_decode(raw, &e), 0);
	kinds[kind_count] = e.kind;
	indexes[kind_count] = meta_index;
	afters[kind_count++] = e.kind == ENTRY_MAP ? e.map.after : e.advance.after;
	entry_clear(&e);
	return true;
}

START_TEST(maps_and_advances_are_one_queue)
{
	ck_text(0, text_of_first, VERDICT_OK, 1);
	struct entry_close c = {bytes_of("s", 1), kit_stream(&k, "s")->version, 10 * SEC, 10 * SEC, 0, 0, NULL};
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {1, &c}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	ck_text(1, HEAD(E123) S2, VERDICT_OK, 2);
	ck_text(0, HEAD(E123) S1, VERDICT_OK, 3); /* none of them replaces another */
	kit_commit(&k);
	struct kv_txn *txn;
	kind_count = 0;
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(meta_read_advances(txn, 0, 0, note_kind, NULL), 0);
	kv_abort(txn);
	static const enum entry_kind want[] = {ENTRY_MAP, ENTRY_ADVANCE, ENTRY_MAP, ENTRY_MAP};
	ck_assert_uint_eq(kind_count, 4);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(kinds[i], want[i]);
		ck_assert_uint_eq(indexes[i], META_INDEX(i + 1, 0));
		ck_assert_uint_eq(afters[i], i ? indexes[i - 1] : 0);
	}
}
END_TEST

/* ---- replicas ---------------------------------------------------------------------------------------------- */

#define SCRIPT 300

static struct buf script[SCRIPT];
static uint64_t random_state;

static uint32_t any(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

static void put_batch(struct buf *out, uint64_t seq, int64_t base_s)
{
	struct kit_batch b = kit_batch(&k);
	size_t i = any((uint32_t)k.t->stream_count);
	for (int j = 0; j < 4; j++) {
		int64_t t = base_s + (int64_t)any(40) * 10 - 100;
		char name[2] = {(char)('a' + any(4)), 0};
		struct bytes group = version(i)->by_count == 1 ? kit_group(1, name) : kit_group(2, name, "z");
		int64_t slice = version(i)->slice_ns;
		kit_add_as(&b, version(i), group, t * SEC / slice * slice - (t < 0 ? slice : 0), 1 + any(3));
	}
	struct buf body = kit_body(&b, seq);
	struct entry e = kit_batch_entry("e1", 1, seq, &body);
	entry_encode(&e, out);
	buf_free(&body);
}

static void put_advance(struct buf *out, uint64_t meta_index, int64_t close_s)
{
	const struct stream_conf *s = version(any((uint32_t)k.t->stream_count));
	struct entry e = {.kind = ENTRY_ADVANCE, .time_ns = close_s * SEC, .advance = {meta_index, meta_index - 1,
	    {bytes_of("s", 1), s->version, close_s * SEC, (close_s - any(100)) * SEC, 0, 0, NULL}}};
	entry_encode(&e, out);
}

/* The next map: another text, or a cut. */
static void next_map(int64_t now_s)
{
	static const char *const texts[] = {HEAD(E123) S1, HEAD(E123) S2,
	    HEAD("  - {name: e1}\n") S("by: [t], window: {size: 30s, every: 10s}, compute: [count, sum], retain: 9m"),
	    HEAD(E123) S("by: [t], window: 10s, compute: [count, sum], retain: 2m, rollup: [{every: 1m, retain: 20m}]")};
	const struct map_stream *last = &map.streams[map.stream_count - 1];
	struct map_changes changes = {0};
	struct buf errors = {0};
	struct cluster_map next;
	const char *text = texts[any(4)];
	for (size_t i = 0; i < map.stream_count; i++) {
		if (map.streams[i].phase != STREAM_CLOSING || any(3))
			continue;
		ck_assert_int_eq(map_retire(&map, "s", map.streams[i].version), 0);
		go_by();
		return;
	}
	if (map.streams[0].phase == STREAM_RETIRED && !any(3)) {
		drop_from_map(0);
		go_by();
		return;
	}
	if (last->phase == STREAM_PENDING && any(2)) {
		ck_assert_int_eq(map_cut(&map, "s", last->version, now_s / 60 * 60 * SEC), 0);
	} else if (!map_change(&map, text, strlen(text), &next, &changes, &errors)) {
		map_clear(&map);
		map = next;
	}
	map_changes_clear(&changes);
	buf_free(&errors);
	go_by();
}

static void write_script(void)
{
	uint64_t seq = 0, meta_index = 0;
	int64_t now_s = 1000;
	unsigned maps = 0;
	struct entry open = {.kind = ENTRY_OPEN, .open = {bytes_of("e1", 2), 1, 1, 0, true}};
	entry_encode(&open, &script[0]);
	for (size_t i = 1; i < SCRIPT; i++) {
		uint32_t what = any(20);
		if (what < 9) {
			put_batch(&script[i], ++seq, now_s);
		} else if (what < 14) {
			now_s += any(120);
			put_advance(&script[i], ++meta_index, now_s);
		} else if (what < 16 && maps < OLDS_MAX - 4) {
			if (maps++)
				next_map(now_s);
			meta_index++;
			script[i] = map_entry(meta_index, meta_index - 1);
		} else {
			struct entry sweep = {.kind = ENTRY_SWEEP, .time_ns = now_s * SEC};
			entry_encode(&sweep, &script[i]);
		}
	}
}

/* Applies the script; where `rough`, with commits, aborts and restarts in between. */
static struct apply_group_info run_script(bool rough)
{
	uint64_t done = 0;
	while (done < SCRIPT) {
		struct apply_result res;
		int rc = apply_entry(k.a, 1, done + 1, 1, bytes_of(script[done].data, script[done].len), &res);
		ck_assert_msg(!rc, "%s", err_text(rc));
		apply_result_clear(&res);
		done++;
		uint32_t what = rough ? any(12) : 11;
		if (what < 3)
			kit_commit(&k);
		else if (what == 3)
			apply_abort(k.a);
		else if (what == 4)
			kit_reopen(&k);
		if (what == 3 || what == 4)
			done = apply_applied(k.a, 1, NULL);
	}
	kit_commit(&k);
	struct kv_txn *txn;
	struct apply_group_info info;
	struct digest fresh;
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, 1, &info), 0);
	ck_assert_int_eq(state_digest(txn, STATE_DB_GROUP(1), &fresh), 0);
	ck_assert(fresh.hi == info.digest_hi && fresh.lo == info.digest_lo);
	kv_abort(txn);
	return info;
}

START_TEST(replicas_are_equal_whatever_happens_between_entries)
{
	random_state = (uint64_t)_i * 77 + 5;
	write_script();
	struct apply_group_info a = run_script(false);
	struct kit first = k;
	kit_init(&k, 1, S1);
	struct apply_group_info b = run_script(true);
	ck_assert(a.digest_hi == b.digest_hi && a.digest_lo == b.digest_lo);
	ck_assert_uint_eq(a.meta_index, b.meta_index);
	kit_close(&k);
	k = first;
	for (size_t i = 0; i < SCRIPT; i++)
		buf_free(&script[i]);
}
END_TEST

static void apply_script(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		struct apply_result res;
		ck_assert_int_eq(apply_entry(k.a, 1, i + 1, 1, bytes_of(script[i].data, script[i].len), &res), 0);
		apply_result_clear(&res);
	}
	k.index[1] = to;
	kit_commit(&k);
}

/* A replica that begins with another's state goes by the map that is in it. */
START_TEST(a_snapshot_carries_the_map)
{
	random_state = 4711 + (uint64_t)_i;
	write_script();
	apply_script(0, SCRIPT / 2);
	struct copy_files files = {0};
	struct snapshot_files f = copy_files(&files);
	struct snapshots *ss = snapshots_new(k.kv, &f);
	struct buf chunks[64] = {{0}}, config = {0};
	struct snapshot_head head;
	size_t count = copy_all(ss, 1, chunks, &config, &head);
	struct kit first = k;
	kit_init(&k, 1, S1);
	ck_assert_int_eq(apply_snapshot_begin(k.a, 1), 0);
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(apply_snapshot_records(k.a, 1, bytes_of(chunks[i].data, chunks[i].len)), 0);
		buf_free(&chunks[i]);
	}
	ck_assert_int_eq(apply_snapshot_end(k.a, 1, &head), 0);
	kit_commit(&k);
	buf_free(&config);
	snapshots_free(ss);
	apply_script(SCRIPT / 2, SCRIPT);
	struct kit copy = k;
	k = first;
	apply_script(SCRIPT / 2, SCRIPT);
	copy_check_same(&k, &copy, 1);
	kit_close(&copy);
	for (size_t i = 0; i < SCRIPT; i++)
		buf_free(&script[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("versions");
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_checked_fixture(c, told_setup, NULL);
	tcase_add_test(c, a_shard_goes_by_the_map_at_its_index);
	tcase_add_test(c, maps_are_taken_in_the_order_of_the_queue);
	tcase_add_test(c, each_window_is_told_of_by_one_version);
	tcase_add_test(c, a_window_that_changes_is_neither_told_twice_nor_left_out);
	tcase_add_test(c, a_window_that_changes_in_the_middle_of_a_pass);
	tcase_add_test(c, what_was_told_of_keeps_its_size);
	tcase_add_test(c, groups_over_a_lowered_maximum_stay);
	tcase_add_test(c, what_was_deleted_stays_so_when_more_is_to_be_kept);
	tcase_add_test(c, a_rollup_that_is_added_begins_with_a_whole_period);
	tcase_add_test(c, what_a_retired_version_has_is_kept_for_retain_behind_the_stream);
	tcase_add_test(c, a_version_that_never_answers_makes_nothing_older);
	tcase_add_test(c, a_query_goes_by_the_age_of_a_retired_version);
	tcase_add_test(c, what_a_removed_stream_has_is_kept_for_retain_of_the_logs_time);
	tcase_add_test(c, a_removed_stream_that_never_closed_goes_by_what_it_has);
	tcase_add_test(c, of_a_version_that_the_map_drops_only_its_counts_stay);
	tcase_add_test(c, an_edge_that_is_removed_is_fenced_and_may_come_back);
	tcase_add_test(c, the_first_map_fences_no_edge_by_a_nodes_own_file);
	tcase_add_test(c, an_edge_that_fed_another_version_is_missing_for_good);
	tcase_add_test(c, an_edge_that_came_after_the_close_is_expected_where_it_is_missing);
	tcase_add_test(c, parts_that_were_final_before_an_edge_came_do_not_matter);
	tcase_add_test(c, windows_that_were_final_before_an_edge_came_stay_so);
	tcase_add_test(c, an_answer_goes_over_versions);
	tcase_add_test(c, a_watch_tells_of_each_version_in_its_own_terms);
	tcase_add_test(c, pages_go_over_versions);
	tcase_add_test(c, one_version_may_be_asked_for);
	tcase_add_test(c, a_window_must_suit_the_versions_asked_for);
	tcase_add_test(c, the_first_text_begins_the_map);
	tcase_add_test(c, a_topology_of_a_later_program_is_not_passed_over);
	tcase_add_test(c, a_text_for_another_cluster_begins_nothing);
	tcase_add_test(c, a_change_is_made_against_a_version);
	tcase_add_test(c, an_edge_that_is_removed_is_admitted_anew_only);
	tcase_add_test(c, maps_and_advances_are_one_queue);
	tcase_add_loop_test(c, replicas_are_equal_whatever_happens_between_entries, 0, 8);
	tcase_add_loop_test(c, a_snapshot_carries_the_map, 0, 3);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
