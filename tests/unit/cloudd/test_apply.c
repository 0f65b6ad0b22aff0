/* OPEN, BATCH and what they count, level and mark: semantics.md 1.3, 1.4, 3.6, 5, 6. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/window.h"
#include "tests/unit/cloudd/kit.h"

#define TEXT(s) bytes_of((s), sizeof(s) - 1)
#define A kit_group(1, "a")
#define B kit_group(1, "b")

static const char streams[] =
    "  - {name: s, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s,\n"
    "     compute: [count, sum, min, max, stddev, first, last, p99], retain: 100s,\n"
    "     rollup: [{every: 1m, retain: 1000s}], max_groups: 3}\n"
    "  - {name: all, from: {measurement: m, field: f}, by: [], window: 10s, lateness: 0s, compute: [count],\n"
    "     retain: forever, max_groups: 1}\n";

static struct kit k;

static void setup(void)
{
	kit_init(&k, 1, streams);
}

static void teardown(void)
{
	kit_close(&k);
}

/* ---- OPEN -------------------------------------------------------------------------------------------------- */

static enum verdict open_with(uint64_t epoch, uint64_t low, uint64_t high, bool resume)
{
	struct entry e = {.kind = ENTRY_OPEN, .open = {TEXT("e1"), epoch, low, high, resume}};
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert_str_eq(res.edge, "e1");
	enum verdict v = res.verdict;
	ck_assert(v == VERDICT_OK || res.reason);
	apply_result_clear(&res);
	return v;
}

static struct apply_result send_seq(uint64_t epoch, uint64_t seq, double value)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 5 * SEC, value);
	struct buf body = kit_body(&b, seq);
	struct entry e = kit_batch_entry("e1", epoch, seq, &body);
	struct apply_result res = kit_apply(&k, 1, &e);
	buf_free(&body);
	ck_assert(res.seq == seq);
	free(res.edge);
	res.edge = NULL;
	return res;
}

START_TEST(open_returns_last_and_fences_lower_epochs)
{
	struct entry e = {.kind = ENTRY_OPEN, .open = {TEXT("e1"), 5, 1, 0, false}};
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert_int_eq(res.verdict, VERDICT_OK);
	ck_assert(res.epoch == 5 && res.last == 0);
	apply_result_clear(&res);
	ck_assert_int_eq(send_seq(5, 1, 1).verdict, VERDICT_OK);
	ck_assert_int_eq(open_with(4, 1, 1, false), VERDICT_FENCED);
	ck_assert_int_eq(open_with(4, 1, 1, true), VERDICT_FENCED);
	e.open.high = 1;
	res = kit_apply(&k, 1, &e); /* the same epoch again, after a reconnection */
	ck_assert_int_eq(res.verdict, VERDICT_OK);
	ck_assert(res.last == 1);
	apply_result_clear(&res);
	ck_assert_int_eq(open_with(6, 2, 1, false), VERDICT_OK);
	ck_assert_int_eq(send_seq(5, 2, 1).verdict, VERDICT_FENCED);
}
END_TEST

START_TEST(an_old_copy_of_the_spool_is_fenced)
{
	ck_assert_int_eq(open_with(1, 1, 0, false), VERDICT_OK);
	for (uint64_t seq = 1; seq <= 3; seq++)
		ck_assert_int_eq(send_seq(1, seq, 1).verdict, VERDICT_OK);
	ck_assert_int_eq(open_with(2, 1, 2, false), VERDICT_FENCED); /* high < last */
	ck_assert_int_eq(open_with(2, 5, 9, false), VERDICT_FENCED); /* low > last + 1 */
	ck_assert_int_eq(send_seq(1, 4, 1).verdict, VERDICT_OK);             /* the holder is not disturbed */
	ck_assert_int_eq(open_with(2, 5, 4, false), VERDICT_OK);     /* all acknowledged: low is high + 1 */
	ck_assert_int_eq(open_with(3, 9, 2, true), VERDICT_OK);      /* readmitted: last as it is */
	ck_assert_int_eq(send_seq(3, 5, 1).verdict, VERDICT_OK);
}
END_TEST

/* ---- BATCH ------------------------------------------------------------------------------------------------- */

START_TEST(verdicts_by_epoch_and_number)
{
	ck_assert_int_eq(send_seq(1, 1, 1).verdict, VERDICT_NOT_OPEN);
	kit_open(&k, "e1", 2);
	ck_assert_int_eq(send_seq(1, 1, 1).verdict, VERDICT_FENCED);
	ck_assert_int_eq(send_seq(3, 1, 1).verdict, VERDICT_NOT_OPEN);
	ck_assert_int_eq(send_seq(2, 0, 1).verdict, VERDICT_REFUSED);
	ck_assert_int_eq(send_seq(2, 1, 1).verdict, VERDICT_OK);
	ck_assert_int_eq(send_seq(2, 2, 2).verdict, VERDICT_OK);
	struct apply_result res = send_seq(2, 2, 2); /* the last one, again */
	ck_assert_int_eq(res.verdict, VERDICT_DUPLICATE);
	ck_assert(res.last == 2 && res.epoch == 2);
	ck_assert_int_eq(send_seq(2, 2, 3).verdict, VERDICT_FENCED); /* its number, another content */
	ck_assert_int_eq(send_seq(2, 1, 9).verdict, VERDICT_DUPLICATE);
	res = send_seq(2, 4, 1);
	ck_assert_int_eq(res.verdict, VERDICT_OUT_OF_SEQUENCE);
	ck_assert(res.last == 2);
	/* only the two were merged */
	struct shard_stream_counts c = kit_counts(&k, "s");
	ck_assert(c.received == 2 && c.merged == 2 && c.partials == 2);
}
END_TEST

START_TEST(a_batch_is_merged_once_into_its_windows)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 11 * SEC, 1);
	kit_add(&b, "s", A, 12 * SEC, 2);
	kit_add(&b, "s", B, 25 * SEC, 4);
	kit_add(&b, "all", kit_group(0), 11 * SEC, 1);
	kit_send(&k, &b);
	b = kit_batch(&k);
	kit_add(&b, "s", A, 13 * SEC, 3);
	kit_send(&k, &b);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 2);
	const struct row *row = kit_row(&r, 10 * SEC, A);
	ck_assert_ptr_nonnull(row);
	ck_assert(row->end_ns == 20 * SEC && row->partial.count == 3 && row->partial.sum == 6);
	ck_assert(row->partial.first == 1 && row->partial.last == 3);
	ck_assert(kit_row(&r, 20 * SEC, B)->partial.count == 1);
	kit_rows_clear(&r);
	spec = kit_spec(&k, "all");
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 1);
	ck_assert(r.rows[0].partial.count == 1 && r.rows[0].group.n == 0);
	kit_rows_clear(&r);
}
END_TEST

static enum verdict send_body(uint64_t seq, struct buf *body)
{
	struct entry e = kit_batch_entry("e1", 1, seq, body);
	enum verdict v = kit_verdict(&k, 1, &e);
	buf_free(body);
	return v;
}

START_TEST(what_cannot_be_decoded_is_refused_whole)
{
	kit_open(&k, "e1", 1);
	struct buf before = kit_dump(&k, 1);
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 11 * SEC, 1);
	struct buf good = kit_body(&b, 1);
	for (size_t i = 0; i < good.len; i++) { /* any byte broken, under a checksum that fits */
		struct buf bad = {0};
		buf_put(&bad, good.data, good.len);
		bad.data[i] ^= 0xff;
		struct entry e = kit_batch_entry("e1", 1, 1, &bad);
		struct apply_result res = kit_apply(&k, 1, &e);
		ck_assert(res.verdict == VERDICT_REFUSED || res.verdict == VERDICT_OK);
		bool merged = res.verdict == VERDICT_OK;
		apply_result_clear(&res);
		buf_free(&bad);
		if (merged) { /* the flip made another valid batch: not what this is about */
			apply_abort(k.a);
			k.index[1] = apply_applied(k.a, 1, NULL);
		}
		kit_commit(&k);
	}
	struct buf after = kit_dump(&k, 1);
	/* nothing but the applied index moved, which is the first record */
	ck_assert_uint_eq(before.len, after.len);
	size_t head = 2 + 1 + 48;
	ck_assert_mem_eq(before.data + head, after.data + head, before.len - head);
	struct entry e = kit_batch_entry("e1", 1, 1, &good);
	e.batch.checksum++;
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_REFUSED);
	b = kit_batch(&k);
	kit_add(&b, "s", A, 11 * SEC, 1);
	struct buf other = kit_body(&b, 2);
	ck_assert_int_eq(send_body(1, &other), VERDICT_REFUSED); /* its own number says 2 */
	ck_assert_int_eq(send_body(1, &good), VERDICT_OK);
	buf_free(&before);
	buf_free(&after);
}
END_TEST

/* Nothing of it is applied, nor is it passed over: replicas that know it do something. */
START_TEST(an_entry_of_a_later_program_is_not_skipped)
{
	static const char *const later[] = {"\x01\x63 what", "\x02\x02 what"};
	kit_open(&k, "e1", 1);
	kit_commit(&k);
	for (size_t i = 0; i < 2; i++) {
		struct apply_result res;
		uint64_t term;
		ck_assert_int_eq(apply_entry(k.a, i ? 1 : 0, k.index[i ? 1 : 0] + 1, 1, bytes_of(later[i], strlen(later[i])), &res), WEIR_EVERSION);
		apply_abort(k.a);
		ck_assert_uint_eq(apply_applied(k.a, 1, &term), k.index[1]);
	}
	kit_open(&k, "e1", 2); /* by a program that knows it, say */
}
END_TEST

START_TEST(entries_that_cannot_be_read_are_skipped)
{
	struct apply_result res = kit_apply_raw(&k, 1, TEXT("\x01\x02 what"));
	ck_assert_int_eq(res.kind, 0);
	ck_assert_ptr_nonnull(res.reason);
	struct entry e = {.kind = ENTRY_READMIT, .readmit = {TEXT("e1"), 0}};
	struct buf raw = {0};
	entry_encode(&e, &raw);
	res = kit_apply_raw(&k, 1, bytes_of(raw.data, raw.len)); /* of the meta group */
	ck_assert_int_eq(res.kind, 0);
	buf_free(&raw);
	kit_commit(&k);
	struct kv_txn *txn;
	struct apply_group_info info;
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, 1, &info), 0);
	ck_assert(info.applied == 2 && info.term == 1 && info.skipped == 2);
	kv_abort(txn);
}
END_TEST

/* ---- the ledger -------------------------------------------------------------------------------------------- */

START_TEST(unknown_streams_are_counted_and_acknowledged)
{
	struct stream_conf other = *kit_stream(&k, "s");
	other.version++;
	struct kit_batch b = kit_batch(&k);
	kit_add_as(&b, &other, A, 0, 7);
	kit_add(&b, "s", A, 0, 1);
	kit_add(&b, "all", kit_group(0), 0, 1);
	kit_send(&k, &b);
	kit_commit(&k);
	kit_reopen(&k); /* ids given before are not given again */
	other.name = (char *)(uintptr_t) "nobody";
	b = kit_batch(&k);
	kit_add_as(&b, &other, A, 0, 7);
	kit_send(&k, &b);
	struct shard_stream_counts c = kit_counts(&k, "nobody");
	ck_assert(c.received == 7 && c.dropped_unknown_stream == 7 && c.merged == 0);
	c = kit_counts(&k, "s");
	ck_assert(c.version != other.version || c.dropped_unknown_stream == 7);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 2);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_STREAM), 4);
	ck_assert(kit_counts(&k, "all").received == 1);
}
END_TEST

START_TEST(other_parts_slices_and_groups_are_invalid)
{
	struct stream_conf other = *kit_stream(&k, "s");
	other.compute_count = 1; /* count only */
	struct kit_batch b = kit_batch(&k);
	kit_add_as(&b, &other, A, 0, 3);
	kit_send(&k, &b);
	other = *kit_stream(&k, "all");
	b = kit_batch(&k);
	kit_add_as(&b, &other, kit_group(1, "too"), 0, 3); /* a value more than there are tags */
	kit_add_as(&b, &other, kit_group(0), 20 * SEC, 3);
	kit_send(&k, &b);
	other.slice_ns = 5 * SEC;
	b = kit_batch(&k);
	kit_add_as(&b, &other, kit_group(0), 0, 3);
	kit_send(&k, &b);
	struct shard_stream_counts c = kit_counts(&k, "s");
	ck_assert(c.received == 3 && c.dropped_invalid == 3);
	c = kit_counts(&k, "all");
	ck_assert(c.received == 9 && c.dropped_invalid == 6 && c.merged == 3);
}
END_TEST

START_TEST(groups_over_the_limit_go_to_other)
{
	struct kit_batch b = kit_batch(&k);
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	for (size_t i = 0; i < 5; i++)
		kit_add(&b, "s", kit_group(1, names[i]), 0, 1);
	kit_add(&b, "s", kit_group(1, "a"), 10 * SEC, 1);
	kit_add(&b, "s", kit_group(1, "e"), 10 * SEC, 1);
	kit_add(&b, "all", kit_group(0), 0, 1);
	kit_add(&b, "all", kit_group(0), 10 * SEC, 1);
	kit_send(&k, &b);
	b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, "d"), 0, 1);
	kit_add(&b, "s", kit_group(1, GROUP_OTHER), 0, 1);
	kit_send(&k, &b);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 6);
	ck_assert(kit_row(&r, 0, kit_group(1, GROUP_OTHER))->partial.count == 4);
	ck_assert(kit_row(&r, 10 * SEC, kit_group(1, GROUP_OTHER))->partial.count == 1);
	ck_assert_ptr_null(kit_row(&r, 0, kit_group(1, "d")));
	kit_rows_clear(&r);
	struct shard_stream_counts c = kit_counts(&k, "s");
	ck_assert(c.received == 9 && c.merged == 9 && c.groups == 3 && c.overflowed == 4);
	c = kit_counts(&k, "all");
	ck_assert(c.merged == 2 && c.overflowed == 0);
}
END_TEST

START_TEST(late_data_go_to_the_level_that_keeps_their_time)
{
	struct apply_result res = kit_advance(&k, "s", 2000 * SEC, 2000 * SEC, NULL, 0);
	apply_result_clear(&res);
	/* level 0 from floor(1900, 60) = 1860 on, level 1 from floor(1000, 60) = 960 on */
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 1860 * SEC, 1);
	kit_add(&b, "s", A, 1850 * SEC, 1);
	kit_add(&b, "s", A, 1805 * SEC, 1);
	kit_add(&b, "s", A, 960 * SEC, 1);
	kit_add(&b, "s", A, 955 * SEC, 1);
	kit_send(&k, &b);
	struct shard_stream_counts c = kit_counts(&k, "s");
	ck_assert(c.received == 5 && c.merged == 4 && c.dropped_beyond_retain == 1);
	struct rows_spec spec = kit_spec(&k, "s");
	struct kit_rows r = kit_query(&k, &spec); /* its own windows are of 10 s: only level 0 can tell */
	ck_assert_uint_eq(r.count, 1);
	ck_assert(r.rows[0].start_ns == 1860 * SEC);
	kit_rows_clear(&r);
	spec.size_ns = spec.advance_ns = 60 * SEC;
	spec.own_window = false;
	r = kit_query(&k, &spec);
	ck_assert_uint_eq(r.count, 3);
	ck_assert(kit_row(&r, 1800 * SEC, A)->partial.count == 2);
	ck_assert(kit_row(&r, 1860 * SEC, A)->partial.count == 1);
	ck_assert(kit_row(&r, 960 * SEC, A)->partial.count == 1);
	kit_rows_clear(&r);
}
END_TEST

START_TEST(slices_out_of_range_are_invalid)
{
	const struct stream_conf *s = kit_stream(&k, "all");
	static const int64_t starts[] = {INT64_MIN / 1000000000 * SEC, TIME_MAX_NS / 10000000000 * 10 * SEC + 10 * SEC, 5};
	for (size_t i = 0; i < 3; i++) {
		struct kit_batch b = kit_batch(&k);
		kit_add_as(&b, s, kit_group(0), starts[i], 1);
		struct buf body = kit_body(&b, k.seq + 1);
		if (!k.seq)
			kit_open(&k, "e1", 1);
		struct entry e = kit_batch_entry("e1", 1, ++k.seq, &body);
		enum verdict v = kit_verdict(&k, 1, &e);
		ck_assert(v == VERDICT_OK || v == VERDICT_REFUSED); /* the reader may know better than we */
		if (v == VERDICT_REFUSED)
			k.seq--;
		buf_free(&body);
	}
	ck_assert_uint_eq(kit_count(&k, 1, STATE_PARTIAL), 0);
}
END_TEST

/* ---- transactions ------------------------------------------------------------------------------------------ */

START_TEST(an_abort_forgets_and_a_replay_is_exact)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 11 * SEC, 1);
	kit_send(&k, &b);
	kit_commit(&k);
	uint64_t term;
	ck_assert(apply_applied(k.a, 1, &term) == 2 && term == 1);
	b = kit_batch(&k);
	kit_add(&b, "s", A, 11 * SEC, 1);
	kit_add(&b, "s", B, 11 * SEC, 1);
	struct buf body = kit_body(&b, 2);
	struct entry e = kit_batch_entry("e1", 1, 2, &body);
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_OK);
	ck_assert(apply_uncommitted(k.a));
	ck_assert(apply_applied(k.a, 1, NULL) == 2); /* durable only */
	apply_abort(k.a);
	ck_assert(!apply_uncommitted(k.a));
	k.index[1] = 2;
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_OK); /* not a duplicate: it was forgotten */
	kit_reopen(&k);                                       /* and a crash forgets as well */
	ck_assert(apply_applied(k.a, 1, NULL) == 2);
	k.index[1] = 2;
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_OK);
	kit_commit(&k);
	kit_reopen(&k);
	ck_assert_int_eq(kit_verdict(&k, 1, &e), VERDICT_DUPLICATE);
	struct shard_stream_counts c = kit_counts(&k, "s");
	ck_assert(c.received == 3 && c.groups == 2);
	buf_free(&body);
}
END_TEST

START_TEST(the_state_knows_its_cluster)
{
	struct apply *a;
	char *why = NULL;
	struct topology t = *k.t;
	t.shards = 2;
	ck_assert_int_eq(apply_open(&t, k.kv, &a, &why), WEIR_EVERSION);
	ck_assert_ptr_nonnull(strstr(why, "shards"));
	free(why);
	t = *k.t;
	t.cluster = (char *)(uintptr_t) "elsewhere";
	ck_assert_int_eq(apply_open(&t, k.kv, &a, &why), WEIR_EVERSION);
	free(why);
	struct kv_txn *txn; /* a format before this one */
	ck_assert_int_eq(kv_begin(k.kv, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_NODE, TEXT("layout"), TEXT("\x01\x01\0\0\0\x04test")), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	ck_assert_int_eq(apply_open(k.t, k.kv, &a, &why), WEIR_EVERSION);
	ck_assert_ptr_nonnull(strstr(why, "format 1"));
	free(why);
}
END_TEST

/* ---- consensus' own entries -------------------------------------------------------------------------------- */

static struct bytes config_of(uint32_t group, bool durable)
{
	static struct apply_group_info info;
	struct bytes config;
	bool is_void;
	struct kv_txn *txn;
	apply_group_start(k.a, group, &config, &is_void);
	ck_assert(!is_void);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, group, &info), 0);
	kv_abort(txn);
	ck_assert(!info.is_void && info.config_len == config.n && !memcmp(info.config, config.p, config.n));
	ck_assert(info.applied == apply_applied(k.a, group, NULL) && (!durable || info.applied == k.index[group]));
	return config;
}

static struct apply_result apply_a_config(uint32_t group, size_t len)
{
	uint8_t bytes[SNAPSHOT_CONFIG_MAX + 1];
	struct apply_result res;
	memset(bytes, (int)len, sizeof(bytes));
	ck_assert_int_eq(apply_config(k.a, group, ++k.index[group], 3, bytes_of(bytes, len), &res), 0);
	ck_assert(res.group == group && res.index == k.index[group] && !res.edge);
	return res;
}

START_TEST(configurations_are_kept_in_the_head)
{
	for (uint32_t group = 0; group <= 1; group++) {
		ck_assert_uint_eq(config_of(group, true).n, 0);
		ck_assert_int_eq(apply_a_config(group, 7).kind, ENTRY_CONFIG);
		ck_assert_uint_eq(config_of(group, false).n, 0); /* not durable yet */
		apply_abort(k.a);
		k.index[group]--;
		ck_assert_uint_eq(config_of(group, true).n, 0);
		apply_a_config(group, 8);
		ck_assert_int_eq(apply_a_config(group, SNAPSHOT_CONFIG_MAX).verdict, VERDICT_OK);
		kit_commit(&k);
		kit_reopen(&k);
		struct bytes config = config_of(group, true);
		ck_assert(config.n == SNAPSHOT_CONFIG_MAX && config.p[0] == 0 && config.p[config.n - 1] == 0);
		struct apply_result res = apply_a_config(group, SNAPSHOT_CONFIG_MAX + 1); /* skipped, not fatal */
		ck_assert(res.kind == 0 && res.verdict == VERDICT_REFUSED && res.reason);
		ck_assert_int_eq(apply_a_config(group, 0).kind, 0);
		kit_commit(&k);
		ck_assert_uint_eq(config_of(group, true).n, SNAPSHOT_CONFIG_MAX);
		uint64_t term;
		ck_assert(apply_applied(k.a, group, &term) == k.index[group] && term == 3);
		struct buf dump = kit_dump(&k, group); /* the digest does not count it */
		buf_free(&dump);
	}
}
END_TEST

START_TEST(consensus_entries_say_what_any_entry_says)
{
	struct apply_result res;
	ck_assert_int_eq(apply_noop(k.a, 0, ++k.index[0], 2, &res), 0);
	ck_assert(res.kind == ENTRY_NOOP && !res.more && !res.dirty && !res.meta_index && res.verdict == VERDICT_OK);
	ck_assert_int_eq(apply_noop(k.a, 1, ++k.index[1], 2, &res), 0);
	ck_assert(res.kind == ENTRY_NOOP && res.group == 1 && res.index == 1 && !res.more && !res.dirty);
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", A, 5 * SEC, 1);
	kit_send(&k, &b);
	const struct entry_edge edges[] = {{TEXT("e1"), EDGE_LIVE, 20 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0}};
	kit_advance(&k, "s", 20 * SEC, 20 * SEC, edges, 1);
	kit_sweep_all(&k);
	ck_assert_int_eq(apply_noop(k.a, 1, ++k.index[1], 2, &res), 0);
	ck_assert(res.meta_index == k.meta_index && !res.more && !res.dirty);
	b = kit_batch(&k);
	kit_add(&b, "s", A, 6 * SEC, 1); /* late */
	kit_send(&k, &b);
	kit_commit(&k);
	kit_reopen(&k); /* the mirror is loaded for it */
	ck_assert_int_eq(apply_noop(k.a, 1, ++k.index[1], 2, &res), 0);
	ck_assert(res.dirty && res.meta_index == k.meta_index);
	res = apply_a_config(1, 3);
	ck_assert(res.dirty && res.meta_index == k.meta_index);
	kit_sweep_all(&k);
	ck_assert(!apply_a_config(1, 3).dirty);
	static const uint8_t raw[][3] = {{ENTRY_FORMAT, ENTRY_NOOP, 0}, {ENTRY_FORMAT, ENTRY_CONFIG, 0}};
	for (size_t i = 0; i < 2; i++) { /* never as an entry's bytes */
		res = kit_apply_raw(&k, (uint32_t)i, bytes_of(raw[i], 3));
		ck_assert_int_eq(res.kind, 0);
	}
}
END_TEST

/* ---- determinism ------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t any(uint32_t n) /* a small generator: the same everywhere */
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

#define STEPS 300

/* A history of entries; each applied to the kit by step number, so that it can be replayed. */
static void make_history(struct buf entries[STEPS])
{
	uint64_t seq = 0, meta = 0;
	int64_t close = 0;
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	static const char *const edge_names[] = {"e1", "e2", "e3"};
	for (size_t i = 0; i < STEPS; i++) {
		struct entry e = {0};
		struct buf body = {0};
		struct entry_edge edges[3];
		uint32_t what = i ? any(10) : 9;
		if (what < 6) {
			struct kit_batch b = kit_batch(&k);
			for (uint32_t n = 1 + any(12); n; n--) {
				int64_t t = close - 1500 * SEC + (int64_t)any(2000) * SEC;
				if (t < 0)
					t = (int64_t)any(60) * SEC;
				kit_add(&b, "s", kit_group(1, names[any(6)]), t + any(1000), (double)any(1000) / 7);
			}
			kit_add(&b, "all", kit_group(0), close + (int64_t)any(100) * SEC, 1);
			body = kit_body(&b, ++seq);
			e = kit_batch_entry("e1", 1, seq, &body);
		} else if (what < 8) {
			close += (int64_t)any(200) * SEC;
			const struct stream_conf *s = kit_stream(&k, any(3) ? "s" : "all");
			for (uint32_t j = 0; j < 3; j++)
				edges[j] = (struct entry_edge){bytes_of(edge_names[j], 2), (enum edge_state)any(6),
				    close + (int64_t)any(50) * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0};
			e = (struct entry){.kind = ENTRY_ADVANCE, .advance = {meta + 1, meta,
			    {bytes_of(s->name, strlen(s->name)), s->version, close, close - (int64_t)any(300) * SEC, 3, 3, edges}}};
			meta++;
		} else if (what < 9) {
			e.kind = ENTRY_SWEEP;
		} else {
			e = (struct entry){.kind = ENTRY_OPEN, .open = {TEXT("e1"), 1, 1, seq, true}};
		}
		e.time_ns = (int64_t)i * 60 * SEC;
		entry_encode(&e, &entries[i]);
		buf_free(&body);
	}
}

/* Applies all with commits, aborts and reopenings at random places; the state afterwards. */
static struct buf play(const struct buf entries[STEPS], unsigned seed, unsigned commit_one_in, unsigned upset_one_in)
{
	kit_close(&k);
	kit_init(&k, 1, streams);
	random_state = seed;
	uint64_t committed = 0;
	while (k.index[1] < STEPS) {
		struct apply_result res = kit_apply_raw(&k, 1, bytes_of(entries[k.index[1]].data, entries[k.index[1]].len));
		ck_assert_int_ne(res.kind, 0);
		ck_assert(res.kind != ENTRY_BATCH || res.verdict == VERDICT_OK);
		apply_result_clear(&res);
		if (any(commit_one_in) == 0) {
			kit_commit(&k);
			committed = k.index[1];
		}
		if (upset_one_in && any(upset_one_in) == 0) {
			if (any(2))
				apply_abort(k.a);
			else
				kit_reopen(&k);
			k.index[1] = committed;
			ck_assert(apply_applied(k.a, 1, NULL) == committed);
		}
	}
	return kit_dump(&k, 1); /* which checks the digest against one from scratch */
}

START_TEST(the_same_entries_give_the_same_bytes)
{
	static struct buf entries[STEPS];
	random_state = (uint64_t)_i + 1;
	make_history(entries);
	struct buf once = play(entries, 1, UINT32_MAX, 0), each = play(entries, 2, 1, 0), some = play(entries, 3, 9, 23);
	ck_assert_uint_eq(once.len, each.len);
	ck_assert_mem_eq(once.data, each.data, once.len);
	ck_assert_uint_eq(once.len, some.len);
	ck_assert_mem_eq(once.data, some.data, once.len);
	ck_assert_uint_gt(kit_count(&k, 1, STATE_OUTBOX), 10);
	ck_assert_uint_gt(kit_count(&k, 1, STATE_PARTIAL), 10);
	kit_counts(&k, "s"); /* the ledger holds */
	buf_free(&once);
	buf_free(&each);
	buf_free(&some);
	for (size_t i = 0; i < STEPS; i++)
		buf_free(&entries[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/apply");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, open_returns_last_and_fences_lower_epochs);
	tcase_add_test(tc, an_old_copy_of_the_spool_is_fenced);
	tcase_add_test(tc, verdicts_by_epoch_and_number);
	tcase_add_test(tc, a_batch_is_merged_once_into_its_windows);
	tcase_add_test(tc, what_cannot_be_decoded_is_refused_whole);
	tcase_add_test(tc, an_entry_of_a_later_program_is_not_skipped);
	tcase_add_test(tc, entries_that_cannot_be_read_are_skipped);
	tcase_add_test(tc, unknown_streams_are_counted_and_acknowledged);
	tcase_add_test(tc, other_parts_slices_and_groups_are_invalid);
	tcase_add_test(tc, groups_over_the_limit_go_to_other);
	tcase_add_test(tc, late_data_go_to_the_level_that_keeps_their_time);
	tcase_add_test(tc, slices_out_of_range_are_invalid);
	tcase_add_test(tc, an_abort_forgets_and_a_replay_is_exact);
	tcase_add_test(tc, the_state_knows_its_cluster);
	tcase_add_test(tc, configurations_are_kept_in_the_head);
	tcase_add_test(tc, consensus_entries_say_what_any_entry_says);
	tcase_add_loop_test(tc, the_same_entries_give_the_same_bytes, 0, 6);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
