/* Records whose checksums fit and whose content no apply can have written: found by tests/fuzz. They are errors, not loops or
 * overflows. */
#include <check.h>
#include <stdlib.h>

#include "cloudd/shard.h"
#include "cloudd/sweep.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/kit.h"

static const char streams[] =
    "  - {name: s, from: {measurement: m, field: f}, by: [g], window: 1m, lateness: 0s, compute: [count], retain: 1h}\n";

static void put(struct kit *k, uint32_t group, struct bytes key, const struct buf *value)
{
	struct kv_txn *txn;
	kit_commit(k);
	ck_assert_int_eq(kv_begin(k->kv, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(group), key, bytes_of(value->data, value->len)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
}

static int apply(struct kit *k, uint32_t group, const struct entry *e)
{
	struct buf raw = {0};
	struct apply_result res = {0};
	entry_encode(e, &raw);
	int rc = apply_entry(k->a, group, ++k->index[group], 1, bytes_of(raw.data, raw.len), &res);
	if (rc)
		apply_abort(k->a);
	else
		apply_result_clear(&res);
	buf_free(&raw);
	return rc;
}

/* A window of one reading, closed. */
static void fill(struct kit *k)
{
	struct kit_batch b = kit_batch(k);
	kit_add(&b, "s", kit_group(1, "x"), 100000 * SEC, 1);
	struct apply_result res = kit_send(k, &b);
	apply_result_clear(&res);
}

static int advance(struct kit *k, int64_t close_ns)
{
	struct entry_edge edge = {bytes_of("e1", 2), EDGE_LIVE, close_ns, WATERMARK_NONE, WATERMARK_NONE, false, 0};
	struct entry e = {.kind = ENTRY_ADVANCE, .advance = {.meta_index = k->meta_index + 1000, .after = k->meta_index,
	    .close = {bytes_of("s", 1), kit_stream(k, "s")->version, close_ns, close_ns, 1, 1, &edge}}};
	return apply(k, 1, &e);
}

START_TEST(a_place_is_at_a_possible_time)
{
	const int64_t bad[] = {INT64_MIN, STATE_TIME_MIN_NS - 1, STATE_TIME_MAX_NS + 1, INT64_MAX};
	struct state_key key;
	struct state_place place;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		state_key_place(&key, STATE_PARTIAL, 1, 0, bad[i], bytes_of("g", 1));
		ck_assert(!state_place_of(state_key_bytes(&key), STATE_PARTIAL, 1, &place));
	}
	state_key_place(&key, STATE_PARTIAL, 1, 0, TIME_MIN_NS, bytes_of("g", 1));
	ck_assert(state_place_of(state_key_bytes(&key), STATE_PARTIAL, 1, &place));
}
END_TEST

START_TEST(an_outbox_row_is_of_a_possible_window)
{
	struct buf value = {0};
	struct outbox_row row;
	buf_bei64(&value, 60 * SEC);
	buf_bei64(&value, 70 * SEC);
	ck_assert_int_eq(outbox_row_decode(bytes_of(value.data, value.len), &row), 0); /* of a build that kept no size */
	ck_assert_int_eq(row.time_ns, 70 * SEC);
	ck_assert_int_eq(row.size_ns, 0);
	buf_clear(&value);
	buf_bei64(&value, 60 * SEC);
	buf_bei64(&value, ~(70 * SEC));
	ck_assert_int_eq(outbox_row_decode(bytes_of(value.data, value.len), &row), WEIR_ECORRUPT);
	buf_bei64(&value, 20 * SEC);
	ck_assert_int_eq(outbox_row_decode(bytes_of(value.data, value.len), &row), 0);
	ck_assert_int_eq(row.time_ns, 70 * SEC);
	ck_assert_int_eq(row.size_ns, 20 * SEC);
	ck_assert_uint_eq(row.group.n, 0);
	buf_clear(&value);
	buf_bei64(&value, 60 * SEC);
	buf_bei64(&value, INT64_MIN);
	buf_bei64(&value, 0);
	ck_assert_int_eq(outbox_row_decode(bytes_of(value.data, value.len), &row), WEIR_ECORRUPT);
	buf_clear(&value);
	buf_bei64(&value, INT64_MIN);
	buf_bei64(&value, 0);
	ck_assert_int_eq(outbox_row_decode(bytes_of(value.data, value.len), &row), WEIR_ECORRUPT);
	buf_free(&value);
}
END_TEST

START_TEST(a_queue_key_that_is_not_whole_ends_the_trimming)
{
	struct kit k;
	struct buf value = {0};
	kit_init(&k, 1, streams);
	put(&k, 0, bytes_of("Q\0\0", 3), &value);
	struct entry e = {.kind = ENTRY_TAKEN, .taken = {0, 1000}};
	ck_assert_int_eq(apply(&k, 0, &e), WEIR_ECORRUPT);
	kit_close(&k);
}
END_TEST

START_TEST(a_group_of_no_possible_time_stops_the_sweep)
{
	struct kit k;
	struct buf value = {0};
	struct state_key key;
	kit_init(&k, 1, streams);
	fill(&k);
	state_key_id(&key, STATE_GROUP, 1);
	state_key_bytes_of(&key, kit_group(1, "a"));
	buf_bei64(&value, INT64_MIN);
	put(&k, 1, state_key_bytes(&key), &value);
	ck_assert_int_eq(advance(&k, 200000 * SEC), WEIR_ECORRUPT);
	buf_free(&value);
	kit_close(&k);
}
END_TEST

START_TEST(an_outbox_key_that_is_not_whole_stops_the_sweep)
{
	struct kit k;
	struct buf value = {0};
	struct state_key key;
	kit_init(&k, 1, streams);
	fill(&k);
	state_key_id(&key, STATE_OUTBOX, 1);
	state_key_u32(&key, 0);
	buf_bei64(&value, 60 * SEC);
	buf_bei64(&value, 1); /* old */
	put(&k, 1, state_key_bytes(&key), &value);
	struct entry e = {.kind = ENTRY_SWEEP, .time_ns = 1000000 * SEC};
	int rc = advance(&k, 100100 * SEC);
	for (int i = 0; !rc && i < 4; i++)
		rc = apply(&k, 1, &e);
	ck_assert_int_eq(rc, WEIR_ECORRUPT);
	buf_free(&value);
	kit_close(&k);
}
END_TEST

static int sweep_with(int64_t window_ns)
{
	struct kit k;
	struct kv_txn *txn;
	struct bytes old;
	struct shard_sweep sweep;
	struct state_key key;
	struct buf value = {0};
	kit_init(&k, 1, streams);
	fill(&k);
	ck_assert_int_eq(advance(&k, 100100 * SEC), 0);
	kit_commit(&k);
	state_key_id(&key, STATE_ADVANCE, 1);
	state_key_u8(&key, 1);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(shard_read_sweep(txn, STATE_DB_GROUP(1), 1, &sweep), 0);
	ck_assert_int_eq(kv_get(txn, STATE_DB_GROUP(1), state_key_bytes(&key), &old), 0);
	struct rd r = rd_init(old.p, old.n);
	(void)rd_svarint(&r); /* close_ns, the first field */
	buf_svarint(&value, window_ns);
	buf_put(&value, r.p, rd_left(&r));
	kv_abort(txn);
	put(&k, 1, state_key_bytes(&key), &value);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	int rc = shard_read_sweep(txn, STATE_DB_GROUP(1), 1, &sweep);
	kv_abort(txn);
	buf_free(&value);
	kit_close(&k);
	return rc;
}

START_TEST(cursors_are_at_possible_times)
{
	ck_assert_int_eq(sweep_with(100000 * SEC), 0);
	ck_assert_int_eq(sweep_with(WATERMARK_NONE), 0);
	ck_assert_int_eq(sweep_with(INT64_MIN + 1), WEIR_ECORRUPT);
	ck_assert_int_eq(sweep_with(INT64_MAX), WEIR_ECORRUPT);
}
END_TEST

START_TEST(an_advance_is_at_possible_times)
{
	struct entry_close c = {.stream = bytes_of("s", 1), .version = 1, .close_ns = 5, .final_ns = WATERMARK_NONE};
	struct shard_advance a;
	for (int i = 0; i < 2; i++) {
		struct buf value = {0};
		c.close_ns = i ? INT64_MIN + 1 : 5;
		buf_varint(&value, 7);
		entry_close_encode(&c, &value);
		ck_assert_int_eq(shard_advance_decode(bytes_of(value.data, value.len), &a), i ? WEIR_ECORRUPT : 0);
		if (!i)
			shard_advance_clear(&a);
		buf_free(&value);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bad records");
	TCase *c = tcase_create("bad records");
	tcase_add_test(c, a_place_is_at_a_possible_time);
	tcase_add_test(c, an_outbox_row_is_of_a_possible_window);
	tcase_add_test(c, a_queue_key_that_is_not_whole_ends_the_trimming);
	tcase_add_test(c, a_group_of_no_possible_time_stops_the_sweep);
	tcase_add_test(c, an_outbox_key_that_is_not_whole_stops_the_sweep);
	tcase_add_test(c, cursors_are_at_possible_times);
	tcase_add_test(c, an_advance_is_at_possible_times);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
