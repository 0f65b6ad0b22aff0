/* The meta group: claims (semantics.md 1.2, 1.3), close and final (3.3, 3.4), the advance queue. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/meta_apply.h"
#include "common/err.h"
#include "common/map.h"
#include "tests/unit/cloudd/kit.h"

#define TEXT(s) bytes_of((s), sizeof(s) - 1)

static struct kit k;

static void setup(void)
{
	kit_init(&k, 2,
	    "  - {name: s, from: {measurement: m, field: f}, by: [x], window: 10s, compute: [sum]}\n"
	    "  - {name: t, from: {measurement: m, field: f}, by: [x], window: 10s, compute: [sum]}\n");
}

static void teardown(void)
{
	struct buf dump = kit_dump(&k, 0); /* checks the digest after each test */
	buf_free(&dump);
	kit_close(&k);
}

static struct meta_state read_meta(void)
{
	struct kv_txn *txn;
	struct meta_state m;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(meta_read(txn, &m), 0);
	kv_abort(txn);
	return m;
}

/* ---- claims ------------------------------------------------------------------------------------------------ */

struct grant {
	enum verdict verdict;
	uint64_t epoch;
	bool resume, readmitted;
};

static struct grant claim(uint64_t epoch, uint8_t claim_byte, bool empty)
{
	uint8_t bytes[CLAIM_BYTES];
	memset(bytes, claim_byte, sizeof(bytes));
	struct entry e = {.kind = ENTRY_CLAIM, .claim = {TEXT("e1"), epoch, {bytes, CLAIM_BYTES}, empty}};
	struct apply_result res = kit_apply(&k, 0, &e);
	ck_assert_str_eq(res.edge, "e1");
	ck_assert_mem_eq(res.claim, bytes, CLAIM_BYTES);
	struct grant g = {res.verdict, res.epoch, res.resume, res.readmitted};
	ck_assert(g.verdict == VERDICT_OK || res.reason);
	apply_result_clear(&res);
	return g;
}

#define CHECK_GRANT(g, v, e, res, readm)                                                                       \
	do {                                                                                                   \
		struct grant g_ = (g);                                                                         \
		ck_assert_int_eq(g_.verdict, v);                                                               \
		ck_assert_uint_eq(g_.epoch, e);                                                                \
		ck_assert(g_.resume == (res) && g_.readmitted == (readm));                                     \
	} while (0)

static enum verdict readmit_at(uint64_t epoch)
{
	struct entry e = {.kind = ENTRY_READMIT, .readmit = {TEXT("e1"), epoch + 1}};
	return kit_verdict(&k, 0, &e);
}

/* As an earlier version says it. */
static void readmit(void)
{
	struct entry e = {.kind = ENTRY_READMIT, .readmit = {TEXT("e1"), 0}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
}

START_TEST(a_claim_is_granted_once)
{
	CHECK_GRANT(claim(0, 1, true), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(0, 1, true), VERDICT_OK, 1, false, false); /* the answer was lost */
	CHECK_GRANT(claim(0, 2, false), VERDICT_FENCED, 1, false, false); /* another with the same image */
	CHECK_GRANT(claim(1, 3, false), VERDICT_OK, 2, false, false);
	CHECK_GRANT(claim(0, 2, false), VERDICT_FENCED, 2, false, false);
}
END_TEST

START_TEST(a_copy_from_before_the_first_grant_is_fenced)
{
	CHECK_GRANT(claim(0, 1, true), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(1, 2, false), VERDICT_OK, 2, false, false);
	CHECK_GRANT(claim(0, 1, true), VERDICT_FENCED, 2, false, false); /* what it holds came already */
	CHECK_GRANT(claim(0, 3, true), VERDICT_OK, 3, true, false);      /* a new disk */
	CHECK_GRANT(claim(3, 4, false), VERDICT_OK, 4, false, false);
	CHECK_GRANT(claim(0, 3, true), VERDICT_FENCED, 4, false, false); /* the same of the new one */
}
END_TEST

START_TEST(another_claim_is_fenced_unless_its_epoch_is_the_last)
{
	CHECK_GRANT(claim(0, 1, false), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(1, 2, false), VERDICT_OK, 2, false, false);
	CHECK_GRANT(claim(1, 3, false), VERDICT_FENCED, 2, false, false);
	CHECK_GRANT(claim(3, 3, false), VERDICT_FENCED, 2, false, false); /* the cloud lost its data */
	CHECK_GRANT(claim(1, 3, true), VERDICT_FENCED, 2, false, false);  /* empty, yet with an epoch: not so */
	CHECK_GRANT(claim(2, 2, false), VERDICT_OK, 2, false, false);     /* the same claim: the same grant */
	struct meta_state m = read_meta();
	ck_assert_uint_eq(m.edge_count, 1);
	ck_assert_str_eq(m.edges[0].name, "e1");
	ck_assert(m.edges[0].grant.epoch == 2 && m.edges[0].grant.claim[0] == 2 && !m.edges[0].grant.readmit);
	meta_state_clear(&m);
	CHECK_GRANT(claim(UINT64_MAX, 9, false), VERDICT_REFUSED, 2, false, false);
}
END_TEST

START_TEST(an_empty_spool_resumes)
{
	CHECK_GRANT(claim(0, 1, false), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(0, 2, true), VERDICT_OK, 2, true, false);
	CHECK_GRANT(claim(0, 2, true), VERDICT_OK, 2, true, false); /* repeated: the same flags */
	CHECK_GRANT(claim(2, 3, false), VERDICT_OK, 3, false, false);
}
END_TEST

START_TEST(a_readmission_is_taken_once)
{
	CHECK_GRANT(claim(0, 1, false), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(7, 2, false), VERDICT_FENCED, 1, false, false);
	readmit();
	struct meta_state m = read_meta();
	ck_assert(m.edges[0].grant.readmit);
	meta_state_clear(&m);
	CHECK_GRANT(claim(7, 2, false), VERDICT_OK, 8, true, true); /* above both epochs */
	CHECK_GRANT(claim(7, 2, false), VERDICT_OK, 8, true, true); /* repeated: the same flags */
	m = read_meta();
	ck_assert(!m.edges[0].grant.readmit);
	meta_state_clear(&m);
	CHECK_GRANT(claim(7, 3, false), VERDICT_FENCED, 8, false, false);
	CHECK_GRANT(claim(8, 4, false), VERDICT_OK, 9, false, false);
	readmit(); /* one that was fenced by a shard, not here, repeats its last claim */
	CHECK_GRANT(claim(8, 4, false), VERDICT_OK, 10, true, true);
}
END_TEST

START_TEST(a_readmission_is_of_the_epoch_at_which_the_edge_was_fenced)
{
	CHECK_GRANT(claim(0, 1, false), VERDICT_OK, 1, false, false);
	CHECK_GRANT(claim(7, 2, false), VERDICT_FENCED, 1, false, false);
	ck_assert_int_eq(readmit_at(0), VERDICT_DUPLICATE);
	CHECK_GRANT(claim(7, 2, false), VERDICT_FENCED, 1, false, false);
	ck_assert_int_eq(readmit_at(1), VERDICT_OK);
	ck_assert_int_eq(readmit_at(1), VERDICT_OK); /* not taken yet: the answer was lost */
	CHECK_GRANT(claim(7, 2, false), VERDICT_OK, 8, true, true);
	ck_assert_int_eq(readmit_at(1), VERDICT_DUPLICATE);
	struct meta_state m = read_meta();
	ck_assert(!m.edges[0].grant.readmit && m.edges[0].grant.readmitted);
	meta_state_clear(&m);
	CHECK_GRANT(claim(8, 3, false), VERDICT_OK, 9, false, false); /* it goes on, and loses nothing */
	ck_assert_int_eq(readmit_at(1), VERDICT_DUPLICATE);
	CHECK_GRANT(claim(9, 4, false), VERDICT_OK, 10, false, false);
	m = read_meta();
	ck_assert(!m.edges[0].grant.readmit && !m.edges[0].grant.readmitted);
	meta_state_clear(&m);
}
END_TEST

START_TEST(an_edge_the_cloud_forgot_can_be_readmitted)
{
	CHECK_GRANT(claim(5, 1, false), VERDICT_FENCED, 0, false, false);
	ck_assert_int_eq(readmit_at(0), VERDICT_OK);
	CHECK_GRANT(claim(5, 1, false), VERDICT_OK, 6, true, true);
	ck_assert_int_eq(readmit_at(0), VERDICT_DUPLICATE);
}
END_TEST

/* A spool may say anything: the epoch is not begun anew, for who has it to be admitted with any spool. */
START_TEST(no_epoch_comes_after_the_last)
{
	CHECK_GRANT(claim(0, 1, true), VERDICT_OK, 1, false, false);
	readmit();
	CHECK_GRANT(claim(UINT64_MAX - 1, 2, false), VERDICT_OK, UINT64_MAX, true, true);
	readmit();
	CHECK_GRANT(claim(7, 3, false), VERDICT_REFUSED, UINT64_MAX, false, false);
	CHECK_GRANT(claim(UINT64_MAX, 3, false), VERDICT_REFUSED, UINT64_MAX, false, false);
}
END_TEST

START_TEST(the_cluster_is_created_once)
{
	uint8_t id[2][CLUSTER_ID_BYTES] = {{1}, {2}};
	struct meta_state m = read_meta();
	ck_assert(!m.created);
	meta_state_clear(&m);
	for (int i = 0; i < 2; i++) {
		struct entry e = {.kind = ENTRY_CREATE, .create = {{id[i], CLUSTER_ID_BYTES}}};
		ck_assert_int_eq(kit_verdict(&k, 0, &e), i ? VERDICT_REFUSED : VERDICT_OK);
	}
	m = read_meta();
	ck_assert(m.created);
	ck_assert_mem_eq(m.cluster_id, id[0], CLUSTER_ID_BYTES);
	meta_state_clear(&m);
}
END_TEST

/* ---- close and the queue ----------------------------------------------------------------------------------- */

static struct entry_edge edge(const char *name, enum edge_state state, int64_t watermark_ns)
{
	return (struct entry_edge){bytes_of(name, 2), state, watermark_ns, WATERMARK_NONE, WATERMARK_NONE, false, 0};
}

static struct entry_close close_of(const char *stream, int64_t close_ns, int64_t final_ns, struct entry_edge *edges,
    uint32_t count)
{
	return (struct entry_close){bytes_of(stream, 1), kit_stream(&k, stream)->version, close_ns, final_ns, count,
	    count, edges};
}

static uint64_t close_one(const char *stream, int64_t close_ns, int64_t final_ns, enum edge_state second)
{
	struct entry_edge edges[] = {edge("e1", EDGE_LIVE, close_ns), edge("e2", second, final_ns)};
	struct entry_close c = close_of(stream, close_ns, final_ns, edges, 2);
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {1, &c}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	return META_INDEX(k.index[0], 0);
}

struct advances {
	size_t count, max;
	uint64_t meta_index[64], after[64];
	int64_t close_ns[64], late_ns[64]; /* late: final_ns of the edge that came late, or -1 */
	char stream[64];
};

static bool take_advance(void *arg, uint64_t meta_index, struct bytes raw)
{
	struct advances *a = arg;
	struct entry e;
	ck_assert_int_eq(entry_decode(raw, &e), 0);
	ck_assert_int_eq(e.kind, ENTRY_ADVANCE);
	ck_assert(e.advance.meta_index == meta_index && e.time_ns == 0);
	a->meta_index[a->count] = meta_index;
	a->after[a->count] = e.advance.after;
	a->close_ns[a->count] = e.advance.close.close_ns;
	a->late_ns[a->count] = -1;
	for (uint32_t i = 0; i < e.advance.close.edge_count; i++)
		a->late_ns[a->count] = e.advance.close.edges[i].came_late ? e.advance.close.edges[i].final_ns : a->late_ns[a->count];
	a->stream[a->count++] = (char)e.advance.close.stream.p[0];
	entry_clear(&e);
	return a->count < a->max;
}

static struct advances queued(uint64_t after)
{
	struct advances a = {.max = 64};
	struct kv_txn *txn;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(meta_read_advances(txn, 0, after, take_advance, &a), 0);
	kv_abort(txn);
	return a;
}

static void taken(uint32_t shard, uint64_t meta_index)
{
	struct entry e = {.kind = ENTRY_TAKEN, .taken = {shard, meta_index}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
}

START_TEST(close_final_and_watermarks_never_fall)
{
	close_one("s", 100, 50, EDGE_PARTITIONED);
	close_one("s", 90, 40, EDGE_PARTITIONED);
	struct meta_state m = read_meta();
	ck_assert_uint_eq(m.stream_count, 1);
	ck_assert(m.streams[0].close_ns == 100 && m.streams[0].final_ns == 50);
	ck_assert_uint_eq(m.streams[0].edge_count, 2);
	ck_assert_str_eq(m.streams[0].edges[1].name, "e2");
	ck_assert_int_eq(m.streams[0].edges[1].state, EDGE_PARTITIONED);
	ck_assert(m.streams[0].edges[0].watermark_ns == 100 && m.streams[0].edges[1].watermark_ns == 50);
	meta_state_clear(&m);
	close_one("s", 110, 120, EDGE_LIVE); /* final is never above close */
	m = read_meta();
	ck_assert(m.streams[0].close_ns == 110 && m.streams[0].final_ns == 110);
	meta_state_clear(&m);
}
END_TEST

START_TEST(each_stream_of_a_close_is_an_advance_of_its_own)
{
	struct entry_edge edges[] = {edge("e1", EDGE_LIVE, 5)};
	struct entry_close c[] = {close_of("s", 100, 50, edges, 1), close_of("t", 7, 7, edges, 1)};
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {2, c}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	struct advances a = queued(0);
	ck_assert_uint_eq(a.count, 2);
	ck_assert(a.meta_index[0] < a.meta_index[1] && a.after[0] == 0 && a.after[1] == a.meta_index[0]);
	ck_assert(a.stream[0] == 's' && a.stream[1] == 't' && a.close_ns[0] == 100);
	a = queued(a.meta_index[0]);
	ck_assert_uint_eq(a.count, 1);
	ck_assert(a.stream[0] == 't' && a.after[0] != 0);
}
END_TEST

START_TEST(the_queue_waits_for_every_shard)
{
	uint64_t first = close_one("s", 100, 50, EDGE_PARTITIONED), second = close_one("s", 110, 60, EDGE_LIVE);
	taken(0, second);
	ck_assert_uint_eq(queued(0).count, 2);
	taken(1, first);
	struct advances a = queued(0);
	ck_assert_uint_eq(a.count, 1);
	ck_assert(a.meta_index[0] == second && a.after[0] == 0);
	taken(1, first - 1); /* an older one changes nothing */
	taken(1, second);
	ck_assert_uint_eq(queued(0).count, 0);
	struct entry e = {.kind = ENTRY_TAKEN, .taken = {2, 1}};
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_REFUSED); /* there are two shards */
}
END_TEST

START_TEST(advances_of_one_list_are_one)
{
	close_one("s", 100, 50, EDGE_PARTITIONED);
	uint64_t t = close_one("t", 5, 5, EDGE_LIVE);
	uint64_t s = close_one("s", 110, 60, EDGE_PARTITIONED);
	struct advances a = queued(0);
	ck_assert_uint_eq(a.count, 2);
	ck_assert(a.meta_index[0] == t && a.meta_index[1] == s && a.after[1] == t && a.close_ns[1] == 110);
	close_one("s", 120, 60, EDGE_CATCHING_UP); /* counts as partitioned: the same list */
	ck_assert_uint_eq(queued(0).count, 2);
	close_one("s", 130, 60, EDGE_IDLE);
	ck_assert_uint_eq(queued(0).count, 3);
	close_one("s", 140, 60, EDGE_LIVE);
	close_one("s", 150, 60, EDGE_JOINING); /* neither is listed */
	ck_assert_uint_eq(queued(0).count, 4);
}
END_TEST

/* There is one advance: it has taken the places of those before. */
static void ck_late(struct entry_close *c, int64_t close_ns, int64_t late_ns)
{
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {1, c}};
	c->close_ns = c->final_ns = close_ns;
	ck_assert_int_eq(kit_verdict(&k, 0, &e), VERDICT_OK);
	struct advances a = queued(0);
	ck_assert_uint_eq(a.count, 1);
	ck_assert_int_eq(a.close_ns[0], close_ns);
	ck_assert_int_eq(a.late_ns[0], late_ns);
}

/* Shards must not have to know what was final when it was first heard of; nor does who proposes. */
START_TEST(who_came_late_is_decided_once)
{
	struct entry_edge edges[] = {edge("e1", EDGE_LIVE, 100), edge("e2", EDGE_IDLE, WATERMARK_NONE)};
	struct entry_close c = close_of("s", 100, 90, edges, 2);
	edges[0].since_ns = 50; /* from the first close on: nothing was final */
	edges[0].came_late = edges[1].came_late = true;
	edges[0].final_ns = edges[1].final_ns = 7;
	ck_late(&c, 90, -1);
	edges[1].since_ns = 200;
	ck_late(&c, 110, 90);
	ck_late(&c, 120, 90);
	edges[1].came_late = false;
	ck_late(&c, 130, 90);
}
END_TEST

/* Read from any place, each names the one before it: also where the place itself is no longer, or not yet, queued. */
START_TEST(the_queue_is_read_from_any_place)
{
	uint64_t at[6];
	for (int i = 0; i < 6; i++)
		at[i] = close_one("s", 100 + i, 50, i % 2 ? EDGE_IDLE : EDGE_LIVE);
	for (int i = 0; i < 6; i++) {
		for (uint64_t after = at[i]; after < (i < 5 ? at[i + 1] : at[i] + 2); after++) {
			struct advances a = queued(after);
			ck_assert_uint_eq(a.count, (size_t)(5 - i));
			ck_assert(!a.count || (a.meta_index[0] == at[i + 1] && a.after[0] == at[i]));
		}
	}
	struct advances a = queued(at[0] - 1);
	ck_assert(a.count == 6 && a.meta_index[0] == at[0] && a.after[0] == 0);
	ck_assert_uint_eq(queued(UINT64_MAX).count, 0);
}
END_TEST

START_TEST(the_queue_is_bounded)
{
	uint64_t t = close_one("t", 5, 5, EDGE_LIVE), last = 0;
	for (int i = 0; i < ADVANCE_QUEUE_MAX + 50; i++)
		last = close_one("s", i, 0, i % 2 ? EDGE_IDLE : EDGE_LIVE);
	ck_assert_uint_eq(kit_count(&k, 0, STATE_QUEUE), ADVANCE_QUEUE_MAX);
	struct advances a = queued(0);
	ck_assert(a.meta_index[0] == t); /* the only one of its stream stays */
	a = queued(last - 1);
	ck_assert(a.count == 1 && a.meta_index[0] == last);
}
END_TEST
/* ---- revoked edges ----------------------------------------------------------------------------------------- */

static enum verdict apply_text(const char *text, uint64_t base)
{
	struct buf packed = {0};
	map_text_pack(text, strlen(text), &packed);
	struct entry e = {.kind = ENTRY_TOPOLOGY};
	e.topology.base_version = base;
	e.topology.text_bytes = (uint32_t)strlen(text);
	e.topology.text = bytes_of(packed.data, packed.len);
	enum verdict v = kit_verdict(&k, 0, &e);
	buf_free(&packed);
	return v;
}

/* ret_map: where the entry made one. */
static enum verdict revoke_edge(const char *edge, bool revoked, uint64_t *ret_version, struct cluster_map *ret_map)
{
	struct entry e = {.kind = ENTRY_REVOKE};
	e.revoke.edge = bytes_of(edge, strlen(edge));
	e.revoke.revoked = revoked;
	struct apply_result res = kit_apply(&k, 0, &e);
	enum verdict v = res.verdict;
	ck_assert_str_eq(res.edge, edge);
	ck_assert(v == VERDICT_OK || *res.reason);
	*ret_version = res.map_version;
	*ret_map = (struct cluster_map){0};
	if (res.map.len)
		ck_assert_int_eq(map_decode(bytes_of(res.map.data, res.map.len), ret_map), 0);
	apply_result_clear(&res);
	return v;
}

START_TEST(an_edge_is_revoked_and_allowed_again)
{
	struct cluster_map m;
	uint64_t version;
	ck_assert_int_eq(revoke_edge("e1", true, &version, &m), VERDICT_REFUSED); /* there is no map yet */
	ck_assert_int_eq(apply_text(k.t->text, ENTRY_BASE_FIRST), VERDICT_OK);
	ck_assert_int_eq(revoke_edge("nobody", true, &version, &m), VERDICT_REFUSED);
	ck_assert_int_eq(revoke_edge("nobody", false, &version, &m), VERDICT_REFUSED);
	ck_assert_uint_eq(version, 1);
	ck_assert_int_eq(revoke_edge("e1", true, &version, &m), VERDICT_OK);
	ck_assert(version == 2 && m.version == 2 && m.revoked_count == 1 && !strcmp(m.revoked[0], "e1"));
	map_clear(&m);
	ck_assert_int_eq(revoke_edge("e1", true, &version, &m), VERDICT_OK); /* once more is nothing new */
	ck_assert(version == 2 && !m.version);
	kit_reopen(&k); /* not committed: it is again as it was */
	ck_assert_int_eq(apply_text(k.t->text, ENTRY_BASE_FIRST), VERDICT_OK);
	ck_assert_int_eq(revoke_edge("e1", true, &version, &m), VERDICT_OK);
	map_clear(&m);
	kit_commit(&k);
	kit_reopen(&k);
	/* gone with its name on the list, which it can be taken off */
	char *without = xstrndup(k.t->text, k.t->text_len), *e1 = strstr(without, "e1");
	ck_assert_ptr_nonnull(e1);
	e1[1] = '7';
	ck_assert_int_eq(apply_text(without, 0), VERDICT_OK);
	ck_assert_int_eq(revoke_edge("e1", true, &version, &m), VERDICT_REFUSED);
	ck_assert_int_eq(apply_text(k.t->text, 0), VERDICT_OK);
	ck_assert_int_eq(revoke_edge("e7", false, &version, &m), VERDICT_REFUSED);
	ck_assert_int_eq(apply_text(without, 0), VERDICT_OK);
	ck_assert_int_eq(revoke_edge("e1", false, &version, &m), VERDICT_OK);
	ck_assert(version == 6 && m.revoked_count == 0);
	map_clear(&m);
	free(without);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/meta_apply");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_claim_is_granted_once);
	tcase_add_test(tc, a_copy_from_before_the_first_grant_is_fenced);
	tcase_add_test(tc, another_claim_is_fenced_unless_its_epoch_is_the_last);
	tcase_add_test(tc, an_empty_spool_resumes);
	tcase_add_test(tc, a_readmission_is_taken_once);
	tcase_add_test(tc, a_readmission_is_of_the_epoch_at_which_the_edge_was_fenced);
	tcase_add_test(tc, an_edge_the_cloud_forgot_can_be_readmitted);
	tcase_add_test(tc, no_epoch_comes_after_the_last);
	tcase_add_test(tc, the_cluster_is_created_once);
	tcase_add_test(tc, close_final_and_watermarks_never_fall);
	tcase_add_test(tc, each_stream_of_a_close_is_an_advance_of_its_own);
	tcase_add_test(tc, the_queue_waits_for_every_shard);
	tcase_add_test(tc, advances_of_one_list_are_one);
	tcase_add_test(tc, who_came_late_is_decided_once);
	tcase_add_test(tc, the_queue_is_read_from_any_place);
	tcase_add_test(tc, the_queue_is_bounded);
	tcase_add_test(tc, an_edge_is_revoked_and_allowed_again);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
