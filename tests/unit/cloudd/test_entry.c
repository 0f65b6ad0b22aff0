#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/entry.h"
#include "common/err.h"

#define TEXT(s) bytes_of((s), sizeof(s) - 1)

static const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static struct entry_edge edges[] = {
	{{(const uint8_t *)"a", 1}, EDGE_LIVE, 1000, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	{{(const uint8_t *)"b", 1}, EDGE_IDLE, WATERMARK_NONE, INT64_MAX, 12, true, -7},
	{{(const uint8_t *)"b2", 2}, EDGE_PARTITIONED, INT64_MIN + 1, 7, INT64_MAX, true, INT64_MAX},
};

static struct entry_place places[] = {
	{{(const uint8_t *)"out", 3}, {(const uint8_t *)"speed", 5}, UINT32_MAX, UINT64_MAX, UINT32_MAX},
	{{(const uint8_t *)"z", 1}, {(const uint8_t *)"s", 1}, 1, 0, 0},
};

static struct entry_alert_group alert_groups[] = {
	{ALERT_PENDING, ALERT_NOT_MET, 1, -5, INT64_MAX, {(const uint8_t *)"g", 1}, {(const uint8_t *)"{\"max\": 1}", 10}},
	{ALERT_FIRING, ALERT_NOT_MET, UINT32_MAX, 0, 1, {NULL, 0}, {NULL, 0}},
	{ALERT_RESOLVED, ALERT_REMOVED, 0, 7, INT64_MIN, {(const uint8_t *)"h", 1}, {NULL, 0}},
};
static struct entry_alert alerts[] = {
	{ALERT_JUDGE, 1, UINT64_MAX, UINT32_MAX, WATERMARK_NONE, true, INT64_MAX, {(const uint8_t *)"g", 1}, false, 3, alert_groups},
	{ALERT_JUDGE, 2, 1, 9, 1000, false, 0, {NULL, 0}, false, 0, NULL},
	{ALERT_END, UINT32_MAX, 3, 0, 5, false, 0, {NULL, 0}, true, 1, alert_groups + 2},
	{ALERT_RENEW, 4, 0, 0, INT64_MAX, false, 0, {NULL, 0}, false, 0, NULL},
};

static const struct entry samples[] = {
	{.kind = ENTRY_OPEN, .time_ns = -5, .open = {{(const uint8_t *)"e-1", 3}, 7, 1, UINT64_MAX, true}},
	{.kind = ENTRY_BATCH, .time_ns = 1, .batch = {{(const uint8_t *)"e-1", 3}, 7, 9, 0xfeedfacecafebeef, {id, 16}}},
	{.kind = ENTRY_ADVANCE, .time_ns = INT64_MAX,
	    .advance = {META_INDEX(12, 3), META_INDEX(12, 2), {{(const uint8_t *)"speed", 5}, 77, 900, 800, 3, 3, edges}}},
	{.kind = ENTRY_SWEEP, .time_ns = 3},
	{.kind = ENTRY_CREATE, .create = {{id, 16}}},
	{.kind = ENTRY_CLAIM, .claim = {{(const uint8_t *)"e-1", 3}, 4, {id, 16}, true}},
	{.kind = ENTRY_READMIT, .readmit = {{(const uint8_t *)"e-1", 3}, 0}},
	{.kind = ENTRY_TAKEN, .taken = {255, 12345678901}},
	{.kind = ENTRY_MAP, .time_ns = 9, .map = {META_INDEX(13, 0), META_INDEX(12, 3), {id, 16}}},
	{.kind = ENTRY_SINK, .time_ns = 4, .sink = {2, places}},
	{.kind = ENTRY_SINK},
	{.kind = ENTRY_ALERT, .time_ns = 4, .alert = {4, alerts}},
	{.kind = ENTRY_ALERT},
	{.kind = ENTRY_TOPOLOGY, .topology = {ENTRY_BASE_FIRST, TOPOLOGY_TEXT_MAX, {id, 16}}},
	{.kind = ENTRY_NODE, .node = {63, 2}},
	{.kind = ENTRY_CUT, .cut = {{(const uint8_t *)"speed", 5}, UINT32_MAX, false, -60, 0}},
	{.kind = ENTRY_CUT, .cut = {{(const uint8_t *)"speed", 5}, 1, true, WATERMARK_NONE, 0}},
	{.kind = ENTRY_REVOKE, .revoke = {{(const uint8_t *)"e-1", 3}, true}},
	{.kind = ENTRY_REVOKE, .revoke = {{(const uint8_t *)"e-1", 3}, false}},
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* Encoding what was decoded gives the bytes again: so nothing was lost. */
static void check_round_trip(const struct entry *e)
{
	struct buf a = {0}, b = {0};
	entry_encode(e, &a);
	struct entry back;
	ck_assert_int_eq(entry_decode(bytes_of(a.data, a.len), &back), 0);
	ck_assert_int_eq(back.kind, e->kind);
	ck_assert(back.time_ns == e->time_ns);
	entry_encode(&back, &b);
	ck_assert_uint_eq(a.len, b.len);
	ck_assert_int_eq(memcmp(a.data, b.data, a.len), 0);
	entry_clear(&back);

	for (size_t n = 0; n < a.len; n++) {
		uint8_t *cut = malloc(n ? n : 1); /* exactly n bytes: the sanitizer sees a read beyond */
		memcpy(cut, a.data, n);
		ck_assert_int_ne(entry_decode(bytes_of(cut, n), &back), 0);
		free(cut);
	}
	buf_u8(&a, 0);
	ck_assert_int_eq(entry_decode(bytes_of(a.data, a.len), &back), WEIR_ECORRUPT);
	buf_free(&a);
	buf_free(&b);
}

START_TEST(entries_round_trip_and_refuse_cuts)
{
	for (size_t i = 0; i < SAMPLES; i++)
		check_round_trip(&samples[i]);
	struct entry_close closes[2] = {samples[2].advance.close, samples[2].advance.close};
	closes[1].close_ns = closes[1].final_ns = WATERMARK_NONE;
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {2, closes}};
	check_round_trip(&e);
}
END_TEST

START_TEST(an_advance_keeps_its_fields)
{
	struct buf b = {0};
	entry_encode(&samples[2], &b);
	struct entry e;
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &e), 0);
	const struct entry_close *c = &e.advance.close;
	ck_assert(e.advance.meta_index == META_INDEX(12, 3) && e.advance.after == META_INDEX(12, 2));
	ck_assert(c->close_ns == 900 && c->final_ns == 800 && c->expected == 3 && c->edge_count == 3);
	for (int i = 0; i < 3; i++) {
		ck_assert(c->edges[i].state == edges[i].state);
		ck_assert(c->edges[i].watermark_ns == edges[i].watermark_ns);
		ck_assert(c->edges[i].flushed_end_ns == edges[i].flushed_end_ns);
		ck_assert(c->edges[i].since_ns == edges[i].since_ns);
		ck_assert(c->edges[i].came_late == edges[i].came_late && c->edges[i].final_ns == edges[i].final_ns);
	}
	entry_clear(&e);
	buf_free(&b);
}
END_TEST

/* Without the epoch it is what earlier versions say. */
START_TEST(a_readmission_may_name_an_epoch)
{
	struct buf b = {0};
	struct entry e = {.kind = ENTRY_READMIT, .readmit = {TEXT("e-1"), UINT64_MAX}}, back;
	entry_encode(&e, &b);
	for (size_t n = b.len; n-- > 0;) {
		bool whole = n == b.len - 10; /* a varint of 64 bits */
		ck_assert((entry_decode(bytes_of(b.data, n), &back) == 0) == whole);
		ck_assert(!whole || back.readmit.next == 0);
	}
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &back), 0);
	ck_assert(back.readmit.next == UINT64_MAX && back.readmit.edge.n == 3);
	buf_u8(&b, 0);
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &back), WEIR_ECORRUPT);
	buf_free(&b);
}
END_TEST

/* Likewise. */
START_TEST(a_cut_may_name_a_map)
{
	struct buf b = {0};
	struct entry e = {.kind = ENTRY_CUT, .cut = {TEXT("speed"), 7, false, 60, UINT64_MAX}}, back;
	entry_encode(&e, &b);
	for (size_t n = b.len; n-- > 0;) {
		bool whole = n == b.len - 10;
		ck_assert((entry_decode(bytes_of(b.data, n), &back) == 0) == whole);
		ck_assert(!whole || back.cut.map_version == 0);
	}
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &back), 0);
	ck_assert(back.cut.map_version == UINT64_MAX && back.cut.t_ns == 60 && back.cut.version == 7);
	buf_u8(&b, 0);
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &back), WEIR_ECORRUPT);
	buf_clear(&b);
	e.cut.map_version = 0;
	entry_encode(&e, &b);
	buf_u8(&b, 0); /* a map is numbered from 1 */
	ck_assert_int_eq(entry_decode(bytes_of(b.data, b.len), &back), WEIR_ECORRUPT);
	buf_free(&b);
}
END_TEST

static int decode_changed(const struct entry *e, size_t at, uint8_t value)
{
	struct buf b = {0};
	entry_encode(e, &b);
	b.data[at] = value;
	struct entry back;
	int rc = entry_decode(bytes_of(b.data, b.len), &back);
	if (!rc)
		entry_clear(&back);
	buf_free(&b);
	return rc;
}

START_TEST(what_is_not_ours_is_refused)
{
	ck_assert_int_eq(decode_changed(&samples[0], 0, 2), WEIR_EVERSION);
	ck_assert_int_eq(decode_changed(&samples[3], 1, 77), WEIR_EVERSION);
	ck_assert_int_eq(decode_changed(&samples[3], 1, ENTRY_NOOP), WEIR_ECORRUPT); /* no version writes these */
	ck_assert_int_eq(decode_changed(&samples[3], 1, ENTRY_CONFIG), WEIR_ECORRUPT);
	struct entry e = samples[6];
	e.readmit.edge = TEXT("");
	ck_assert_int_eq(decode_changed(&e, 0, ENTRY_FORMAT), WEIR_ECORRUPT);
	e.readmit.edge = TEXT("no/slash");
	ck_assert_int_eq(decode_changed(&e, 0, ENTRY_FORMAT), WEIR_ECORRUPT);
	e = samples[5];
	e.claim.claim.n = 15;
	ck_assert_int_eq(decode_changed(&e, 0, ENTRY_FORMAT), WEIR_ECORRUPT);
	e = samples[7];
	e.taken.shard = 256;
	ck_assert_int_eq(decode_changed(&e, 0, ENTRY_FORMAT), WEIR_ECORRUPT);
	/* edges out of order */
	struct entry_edge wrong[] = {edges[1], edges[0]};
	e = samples[2];
	e.advance.close.edges = wrong;
	e.advance.close.edge_count = 2;
	ck_assert_int_eq(decode_changed(&e, 0, ENTRY_FORMAT), WEIR_ECORRUPT);
	uint8_t *big = calloc(1, ENTRY_MAX + 1);
	struct entry back;
	ck_assert_int_eq(entry_decode(bytes_of(big, ENTRY_MAX + 1), &back), WEIR_ETOOBIG);
	free(big);
}
END_TEST

/* Any one byte changed: decodes or fails, and frees what it took. */
START_TEST(no_byte_can_harm)
{
	for (size_t s = 0; s < SAMPLES; s++) {
		struct buf b = {0};
		entry_encode(&samples[s], &b);
		for (size_t i = 0; i < b.len; i++) {
			for (unsigned v = 0; v < 256; v += 5)
				(void)decode_changed(&samples[s], i, (uint8_t)v);
		}
		buf_free(&b);
	}
}
END_TEST

START_TEST(bytes_are_fixed)
{
	static const uint8_t golden[] = {1, 1, 9, 3, 'e', '-', '1', 7, 1, 3, 1};
	struct entry e = {.kind = ENTRY_OPEN, .time_ns = -5, .open = {TEXT("e-1"), 7, 1, 3, true}};
	struct buf b = {0};
	entry_encode(&e, &b);
	ck_assert_uint_eq(b.len, sizeof(golden));
	ck_assert_mem_eq(b.data, golden, sizeof(golden));
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/entry");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, entries_round_trip_and_refuse_cuts);
	tcase_add_test(tc, an_advance_keeps_its_fields);
	tcase_add_test(tc, a_readmission_may_name_an_epoch);
	tcase_add_test(tc, a_cut_may_name_a_map);
	tcase_add_test(tc, what_is_not_ours_is_refused);
	tcase_add_test(tc, no_byte_can_harm);
	tcase_add_test(tc, bytes_are_fixed);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
