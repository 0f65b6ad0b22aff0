/* How far sinks have come: what apply keeps of ENTRY_SINK, what a new map forgets, what waits to be told. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/outbox.h"
#include "cloudd/shard.h"
#include "cloudd/sink_pace.h"
#include "cloudd/sink_places.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/cloudd/kit.h"

#define HEAD \
	"version: 1\n" \
	"cluster: {name: test, shards: 1, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"edges:\n  - {name: e1}\n"
#define S "  - {name: s, from: {measurement: m, field: f}, by: [t], window: 10s, lateness: 0s, compute: [count]}\n"
#define S2 "  - {name: s2, from: {measurement: m, field: f}, by: [t], window: 10s, lateness: 0s, compute: [count]}\n"
#define SINK(name) "  - {name: " name ", type: file, path: \"" name ".jsonl\"}\n"

static struct kit k;

static void setup(void)
{
	kit_init(&k, 1, S S2);
}

static void teardown(void)
{
	kit_close(&k);
}

static struct bytes text_bytes(const char *s)
{
	return bytes_of(s, strlen(s));
}

/* The map of a cluster's first text, or of one that it was changed to. */
static void take_map(const char *first, const char *next)
{
	struct cluster_map map, changed;
	struct map_changes told;
	struct topology *t;
	struct buf errors = {0}, bytes = {0};
	ck_assert_msg(!topology_parse("test.yaml", first, strlen(first), &t, &errors), "%s", buf_cstr(&errors));
	map_first(t, first, strlen(first), &map);
	topology_free(t);
	if (next) {
		ck_assert_msg(!map_change(&map, next, strlen(next), &changed, &told, &errors), "%s", buf_cstr(&errors));
		map_changes_clear(&told);
		map_clear(&map);
		map = changed;
	}
	ck_assert_int_eq(map_encode(&map, &bytes), 0);
	struct entry e = {.kind = ENTRY_MAP, .map = {k.meta_index + 1, k.meta_index, bytes_of(bytes.data, bytes.len)}};
	k.meta_index++;
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert_int_eq(res.kind, ENTRY_MAP);
	ck_assert_uint_eq(res.map_version, map.version);
	apply_result_clear(&res);
	map_clear(&map);
	buf_free(&bytes);
	buf_free(&errors);
}

static struct entry_place place(const char *sink, const char *stream, uint64_t index, uint32_t n)
{
	const struct stream_conf *s = kit_stream(&k, stream);
	return (struct entry_place){text_bytes(sink), text_bytes(stream), s->version, index, n};
}

static void tell(struct entry_place p)
{
	struct entry e = {.kind = ENTRY_SINK, .sink = {1, &p}};
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert_int_eq(res.kind, ENTRY_SINK);
	apply_result_clear(&res);
}

static int read_place(const char *sink, const char *stream, struct sink_place *ret)
{
	struct kv_txn *txn;
	uint32_t id;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	int rc = shard_read_id(txn, STATE_DB_GROUP(1), text_bytes(stream), kit_stream(&k, stream)->version, &id);
	if (!rc)
		rc = sink_place_read(txn, STATE_DB_GROUP(1), sink, id, ret);
	kv_abort(txn);
	return rc;
}

static void expect(const char *sink, const char *stream, uint64_t index, uint32_t n)
{
	struct sink_place p;
	ck_assert_int_eq(read_place(sink, stream, &p), 0);
	ck_assert_uint_eq(p.index, index);
	ck_assert_uint_eq(p.n, n);
}

static void expect_none(const char *sink, const char *stream)
{
	struct sink_place p;
	ck_assert_int_eq(read_place(sink, stream, &p), WEIR_ENOTFOUND);
}

/* Entries that do nothing, so that there are indexes to have come to. */
static void pass(uint64_t index)
{
	while (k.index[1] < index) {
		struct apply_result res = kit_sweep(&k);
		apply_result_clear(&res);
	}
}

START_TEST(places_move_ahead_only)
{
	take_map(HEAD "streams:\n" S S2 "sinks:\n" SINK("a") SINK("b"), NULL);
	pass(20);
	tell(place("a", "s", 0, 0)); /* before anything is delivered: where it begins */
	expect("a", "s", 0, 0);
	expect_none("b", "s");
	tell(place("a", "s", 7, 3));
	tell(place("a", "s", 7, 2));
	tell(place("a", "s", 6, 9));
	tell(place("a", "s", 0, 0));
	expect("a", "s", 7, 3);
	tell(place("a", "s", 7, 4));
	tell(place("b", "s", 2, 0));
	tell(place("a", "s2", 3, 1));
	expect("a", "s", 7, 4);
	expect("b", "s", 2, 0);
	expect("a", "s2", 3, 1);
	kit_reopen(&k);
	expect("a", "s", 7, 4);
	struct buf all = kit_dump(&k, 1); /* with the digest from scratch */
	buf_free(&all);
}
END_TEST

START_TEST(what_cannot_be_is_passed_over)
{
	struct entry_place p = place("a", "s", 1, 0);
	tell(p); /* no map yet */
	expect_none("a", "s");
	take_map(HEAD "streams:\n" S S2 "sinks:\n" SINK("a"), NULL);
	tell(place("c", "s", 1, 0));
	p.version++;
	tell(p);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_SINK), 0);
	tell(place("a", "s", k.index[1] + 1, 0)); /* its own index: no row can have it yet */
	expect_none("a", "s");
	tell(place("a", "s", k.index[1], 0));
	expect("a", "s", k.index[1] - 1, 0);
}
END_TEST

START_TEST(a_map_forgets_sinks_and_versions_that_it_does_not_have)
{
	const char *first = HEAD "streams:\n" S S2 "sinks:\n" SINK("a") SINK("ab") SINK("b");
	take_map(first, NULL);
	pass(20);
	static const char *const sinks[] = {"a", "ab", "b"};
	for (size_t i = 0; i < 3; i++) {
		tell(place(sinks[i], "s", 5 + i, 0));
		tell(place(sinks[i], "s2", 8 + i, 0));
	}
	take_map(first, HEAD "streams:\n" S S2 "sinks:\n" SINK("b") SINK("a"));
	expect("a", "s", 5, 0);
	expect("a", "s2", 8, 0);
	expect("b", "s", 7, 0);
	expect("b", "s2", 10, 0);
	expect_none("ab", "s");
	ck_assert_uint_eq(kit_count(&k, 1, STATE_SINK), 4);
	tell(place("ab", "s", 5, 0));
	expect_none("ab", "s");
	take_map(HEAD "streams:\n" S S2, HEAD "streams:\n" S S2 "sinks:\n" SINK("ab")); /* a new one under that name begins anew */
	ck_assert_uint_eq(kit_count(&k, 1, STATE_SINK), 0);
	take_map(HEAD "streams:\n" S "sinks:\n" SINK("ab"), NULL); /* as if s2 had been dropped from it */
	tell(place("ab", "s", 1, 0));
	expect("ab", "s", 1, 0);
	tell(place("ab", "s2", 1, 0));
	ck_assert_uint_eq(kit_count(&k, 1, STATE_SINK), 1);
}
END_TEST

/* ---- the outbox --------------------------------------------------------------------------------------------- */

START_TEST(what_is_left_is_counted_from_a_place)
{
	struct outbox_left left;
	struct kv_txn *txn;
	struct sink_place first = {9, 9};
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, "x"), 1 * SEC, 1);
	kit_add(&b, "s", kit_group(1, "y"), 1 * SEC, 1);
	kit_add(&b, "s", kit_group(1, "x"), 11 * SEC, 1);
	k.time_ns = 100 * SEC;
	kit_send(&k, &b);
	struct apply_result res = kit_advance(&k, "s", 20 * SEC, 20 * SEC, NULL, 0);
	apply_result_clear(&res);
	kit_sweep_all(&k);
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(outbox_first(txn, 0, kit_stream(&k, "s"), &first), 0);
	ck_assert(!first.index && !first.n);
	ck_assert_int_eq(outbox_left(txn, 0, kit_stream(&k, "s"), first, 100, &left), 0);
	ck_assert_uint_eq(left.rows, 3);
	ck_assert_int_eq(outbox_left(txn, 0, kit_stream(&k, "s"), first, 2, &left), 0);
	ck_assert_uint_eq(left.rows, 2);
	ck_assert_int_eq(outbox_left(txn, 0, kit_stream(&k, "s"), (struct sink_place){k.index[1], 9}, 100, &left), 0);
	ck_assert_uint_eq(left.rows, 0);
	ck_assert_int_eq(outbox_left(txn, 0, kit_stream(&k, "s2"), first, 100, &left), 0);
	ck_assert_uint_eq(left.rows, 0);
	kv_abort(txn);
}
END_TEST

/* ---- what waits to be told ------------------------------------------------------------------------------------ */

START_TEST(places_that_wait_are_one_for_each_sink_and_version)
{
	struct sink_pace p = {0};
	struct entry_place out[ENTRY_PLACES_MAX];
	struct entry_place a = {text_bytes("a"), text_bytes("s"), 1, 5, 1};
	sink_pace_add(&p, &(struct entry_place){text_bytes("b"), text_bytes("s"), 1, 1, 1});
	sink_pace_add(&p, &a);
	sink_pace_add(&p, &(struct entry_place){text_bytes("a"), text_bytes("s"), 1, 4, 9});
	sink_pace_add(&p, &(struct entry_place){text_bytes("a"), text_bytes("s"), 2, 3, 0});
	sink_pace_add(&p, &(struct entry_place){text_bytes("ab"), text_bytes("s"), 1, 2, 0});
	ck_assert_uint_eq(sink_pace_first(&p, out), 4);
	ck_assert(out[0].index == 5 && out[0].n == 1 && out[0].version == 1);
	ck_assert(out[1].version == 2 && out[1].index == 3);
	ck_assert(out[2].sink.n == 2 && out[3].index == 1);
	sink_pace_taken(&p, 3);
	ck_assert_uint_eq(sink_pace_first(&p, out), 1);
	ck_assert(out[0].sink.p[0] == 'b');
	a.index = 5;
	a.n = 2;
	sink_pace_add(&p, &a);
	ck_assert_uint_eq(sink_pace_first(&p, out), 2);
	sink_pace_free(&p);
	ck_assert_uint_eq(sink_pace_first(&p, out), 0);
}
END_TEST

START_TEST(an_entry_holds_no_more_places_than_fit)
{
	struct sink_pace p = {0};
	struct entry_place *out = calloc(ENTRY_PLACES_MAX, sizeof(*out));
	char name[NAME_MAX_BYTES + 1];
	memset(name, 'x', NAME_MAX_BYTES);
	name[NAME_MAX_BYTES] = 0;
	for (uint32_t v = 1; v <= ENTRY_PLACES_MAX + 5; v++)
		sink_pace_add(&p, &(struct entry_place){text_bytes(name), text_bytes(name), v, UINT64_MAX, UINT32_MAX});
	uint32_t count = sink_pace_first(&p, out);
	ck_assert_uint_eq(count, ENTRY_PLACES_MAX);
	struct buf raw = {0};
	struct entry e = {.kind = ENTRY_SINK, .sink = {count, out}}, back;
	entry_encode(&e, &raw);
	ck_assert_uint_le(raw.len, ENTRY_MAX);
	ck_assert_int_eq(entry_decode(bytes_of(raw.data, raw.len), &back), 0);
	ck_assert_uint_eq(back.sink.count, count);
	entry_clear(&back);
	buf_free(&raw);
	sink_pace_taken(&p, count);
	ck_assert_uint_eq(sink_pace_first(&p, out), 5);
	sink_pace_free(&p);
	free(out);
}
END_TEST

/* More places move each second than an entry holds: none waits for ever. */
START_TEST(every_place_has_its_turn)
{
	enum { PLACES = 3 * ENTRY_PLACES_MAX };
	struct sink_pace p = {0};
	struct entry_place *out = calloc(ENTRY_PLACES_MAX, sizeof(*out));
	bool *told = calloc(PLACES, sizeof(*told));
	for (uint64_t second = 1; second <= 4; second++) {
		for (uint32_t v = 0; v < PLACES; v++)
			sink_pace_add(&p, &(struct entry_place){text_bytes("a"), text_bytes("s"), v, second, 0});
		uint32_t count = sink_pace_first(&p, out);
		for (uint32_t i = 0; i < count; i++) {
			ck_assert_uint_eq(out[i].index, second);
			told[out[i].version] = true;
		}
		sink_pace_taken(&p, count);
	}
	for (uint32_t v = 0; v < PLACES; v++)
		ck_assert_msg(told[v], "place %u has never been told of", v);
	sink_pace_free(&p);
	free(told);
	free(out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sink_places");
	TCase *c = tcase_create("places");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, places_move_ahead_only);
	tcase_add_test(c, what_cannot_be_is_passed_over);
	tcase_add_test(c, a_map_forgets_sinks_and_versions_that_it_does_not_have);
	tcase_add_test(c, what_is_left_is_counted_from_a_place);
	suite_add_tcase(s, c);
	TCase *p = tcase_create("pace");
	tcase_add_test(p, places_that_wait_are_one_for_each_sink_and_version);
	tcase_add_test(p, an_entry_holds_no_more_places_than_fit);
	tcase_add_test(p, every_place_has_its_turn);
	suite_add_tcase(s, p);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
