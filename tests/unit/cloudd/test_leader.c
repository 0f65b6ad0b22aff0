#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/leader.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define SHARD 1
#define PROPOSED_MAX 64

/* The leader of a shard; its log is a list, and the test says what apply answers. */
struct world {
	struct topology *t;
	struct leader *l;
	struct leader_counters counters;
	struct leader_time now;
	uint64_t index;
	int propose_rc;
	struct buf proposed[PROPOSED_MAX]; /* encoded, by index */
	struct {
		struct origin o;
		struct answer a;
	} answers[PROPOSED_MAX];
	size_t answer_count;
	struct buf bodies[PROPOSED_MAX];
	size_t body_count;
};
static struct world w;

static int on_propose(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index)
{
	(void)arg, (void)own;
	ck_assert_uint_eq(group, SHARD + 1);
	if (w.propose_rc)
		return w.propose_rc;
	*ret_index = ++w.index;
	entry_encode(e, &w.proposed[w.index % PROPOSED_MAX]);
	return 0;
}

static void on_answer(void *arg, const struct origin *o, const struct answer *a)
{
	(void)arg;
	ck_assert_uint_lt(w.answer_count, PROPOSED_MAX);
	w.answers[w.answer_count].o = *o;
	w.answers[w.answer_count++].a = *a;
}

static void new_leader(void)
{
	w.l = leader_new(w.t, SHARD, &(struct leader_io){NULL, on_propose, on_answer}, &w.counters);
	struct apply_result mapped = {.group = SHARD + 1, .kind = ENTRY_NOOP, .map_version = 1};
	leader_applied(w.l, &mapped, w.now);
	leader_lead(w.l, w.now);
}

static enum entry_kind proposed_kind(uint64_t index)
{
	struct entry e;
	ck_assert_int_eq(entry_decode(bytes_of(w.proposed[index].data, w.proposed[index].len), &e), 0);
	enum entry_kind kind = e.kind;
	entry_clear(&e);
	return kind;
}

/* Apply's answer to entry `index`. */
static void applied(uint64_t index, enum verdict v, uint64_t epoch, uint64_t last)
{
	struct apply_result r = {.group = SHARD + 1, .index = index, .kind = proposed_kind(index), .verdict = v,
	    .epoch = epoch, .last = last, .reason = v ? "reason" : NULL};
	leader_applied(w.l, &r, w.now);
}

static void setup(void)
{
	w = (struct world){.t = cloud_topology(1, 4), .now = {1, 1}};
	new_leader();
	leader_tick(w.l, w.now); /* the sweep of a start */
	ck_assert_int_eq(proposed_kind(1), ENTRY_SWEEP);
	applied(1, VERDICT_OK, 0, 0);
}

static void teardown(void)
{
	leader_free(w.l);
	for (size_t i = 0; i < PROPOSED_MAX; i++) {
		buf_free(&w.proposed[i]);
		buf_free(&w.bodies[i]);
	}
	topology_free(w.t);
}

static struct origin origin(enum msg_type type, uint64_t req_id)
{
	return (struct origin){.type = type, .req_id = req_id, .shard = SHARD};
}

static void open_edge(uint64_t req_id, uint64_t epoch, uint64_t low, uint64_t high)
{
	struct msg m = {.type = MSG_OPEN};
	struct origin o = origin(MSG_OPEN, req_id);
	m.open.epoch = epoch;
	m.open.shard = SHARD;
	m.open.low = low;
	m.open.high = high;
	leader_open(w.l, &o, &m, w.now);
}

/* A body of one partial whose value makes it differ from others of the same number. */
static struct bytes body(uint32_t shard, uint64_t seq, double value)
{
	const struct stream_conf *s = &w.t->streams[0];
	struct partial_spec spec;
	struct partial p = {0};
	partial_spec_of(s, 1, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	partial_add(&p, &spec, 1, value);
	struct batch_writer *bw = batch_writer_new(shard);
	uint8_t group[] = {1, 'x'};
	ck_assert_int_eq(batch_writer_add(bw, s, &spec, 0, bytes_of(group, sizeof(group)), &p), 0);
	struct buf *b = &w.bodies[w.body_count++];
	batch_writer_finish(bw, seq, b);
	batch_writer_free(bw);
	partial_clear(&p, &spec);
	return bytes_of(b->data, b->len);
}

static uint64_t edge_map_version;

static void batch_of(uint64_t req_id, uint64_t epoch, uint64_t seq, struct bytes bytes)
{
	struct msg m = {.type = MSG_BATCH};
	struct origin o = origin(MSG_BATCH, req_id);
	o.seq = seq;
	m.batch.epoch = epoch;
	m.batch.shard = SHARD;
	m.batch.seq = seq;
	m.batch.body = bytes;
	m.batch.map_version = edge_map_version;
	leader_batch(w.l, &o, &m, w.now);
}

static void batch(uint64_t req_id, uint64_t epoch, uint64_t seq)
{
	batch_of(req_id, epoch, seq, body(SHARD, seq, 1));
}

static void expect_answer(size_t i, uint64_t req_id, enum verdict v)
{
	ck_assert_uint_gt(w.answer_count, i);
	ck_assert_uint_eq(w.answers[i].o.req_id, req_id);
	ck_assert_int_eq(w.answers[i].a.verdict, v);
}

/* Opened at epoch 1 with nothing merged yet: entry 2 is the OPEN. */
static void opened(void)
{
	open_edge(100, 1, 1, 9);
	applied(2, VERDICT_OK, 1, 0);
	expect_answer(0, 100, VERDICT_OK);
}

START_TEST(an_answer_comes_with_apply_and_never_before)
{
	open_edge(1, 1, 1, 2);
	ck_assert_uint_eq(w.answer_count, 0);
	ck_assert_int_eq(proposed_kind(2), ENTRY_OPEN);
	batch(2, 1, 1); /* the OPEN is not applied: what the shard has is not known */
	expect_answer(0, 2, VERDICT_NOT_OPEN);
	applied(2, VERDICT_OK, 1, 0);
	expect_answer(1, 1, VERDICT_OK);
	batch(3, 1, 1);
	batch(4, 1, 2); /* proposed while the first is in flight */
	ck_assert_uint_eq(w.index, 4);
	ck_assert_uint_eq(w.answer_count, 2);
	applied(3, VERDICT_OK, 1, 1);
	expect_answer(2, 3, VERDICT_OK);
	applied(4, VERDICT_OK, 1, 2);
	expect_answer(3, 4, VERDICT_OK);
	ck_assert_uint_eq(w.answers[3].a.last, 2);
	ck_assert_uint_eq(w.counters.merged, 2);
}
END_TEST

/* It may hold streams that the shard would count as unknown, and drop. */
START_TEST(a_batch_of_a_map_that_the_shard_lacks_waits_for_it)
{
	open_edge(1, 5, 1, 0);
	applied(2, VERDICT_OK, 5, 0);
	struct bytes b = body(SHARD, 1, 1);
	edge_map_version = 2;
	batch_of(2, 5, 1, b);
	expect_answer(1, 2, VERDICT_BUSY);
	ck_assert_uint_eq(w.index, 2);
	struct apply_result r = {.group = SHARD + 1, .index = 3, .kind = ENTRY_MAP, .map_version = 2};
	leader_applied(w.l, &r, w.now);
	batch_of(3, 5, 1, b);
	ck_assert_uint_eq(w.index, 3);
	edge_map_version = 0;
}
END_TEST

START_TEST(a_batch_in_flight_is_never_proposed_twice)
{
	opened();
	batch(1, 1, 1);
	batch(2, 1, 1);
	batch(3, 1, 1);
	ck_assert_uint_eq(w.index, 3);
	batch(4, 1, 1); /* the oldest waiter is given up */
	expect_answer(1, 1, VERDICT_BUSY);
	applied(3, VERDICT_OK, 1, 1);
	expect_answer(2, 2, VERDICT_OK);
	expect_answer(3, 3, VERDICT_OK);
	expect_answer(4, 4, VERDICT_OK);
	batch(5, 1, 1); /* and after it, without the log */
	expect_answer(5, 5, VERDICT_DUPLICATE);
	ck_assert_uint_eq(w.index, 3);
}
END_TEST

START_TEST(gaps_are_out_of_sequence_against_what_was_proposed)
{
	opened();
	batch(1, 1, 1);
	batch(2, 1, 3);
	expect_answer(1, 2, VERDICT_OUT_OF_SEQUENCE);
	ck_assert_uint_eq(w.answers[1].a.last, 1); /* not acknowledged: rewind to 2 */
	batch(3, 1, 2);
	ck_assert_uint_eq(w.index, 4);
	batch(4, 1, 0);
	expect_answer(2, 4, VERDICT_OUT_OF_SEQUENCE);
}
END_TEST

START_TEST(another_batch_under_the_same_number_is_fenced)
{
	opened();
	batch_of(1, 1, 1, body(SHARD, 1, 1));
	batch_of(2, 1, 1, body(SHARD, 1, 2)); /* in flight */
	expect_answer(1, 2, VERDICT_FENCED);
	applied(3, VERDICT_OK, 1, 1);
	batch_of(3, 1, 1, body(SHARD, 1, 2)); /* applied */
	expect_answer(3, 3, VERDICT_FENCED);
	ck_assert_uint_eq(w.index, 3);
}
END_TEST

START_TEST(a_lower_epoch_is_fenced_from_the_moment_a_higher_one_is_proposed)
{
	opened();
	batch(1, 1, 1);
	open_edge(2, 2, 1, 1);
	batch(3, 1, 2);
	expect_answer(1, 3, VERDICT_FENCED);
	ck_assert_uint_eq(w.answers[1].a.epoch, 2);
	open_edge(4, 1, 1, 9);
	expect_answer(2, 4, VERDICT_FENCED);
	applied(3, VERDICT_OK, 1, 1); /* it was in the log before */
	expect_answer(3, 1, VERDICT_OK);
	applied(4, VERDICT_OK, 2, 1);
	expect_answer(4, 2, VERDICT_OK);
	ck_assert_uint_eq(w.answers[4].a.last, 1);
	batch(5, 2, 2);
	ck_assert_uint_eq(w.index, 5);
}
END_TEST

START_TEST(a_higher_epoch_must_open_first)
{
	opened();
	batch(1, 2, 1);
	expect_answer(1, 1, VERDICT_NOT_OPEN);
	ck_assert_uint_eq(w.index, 2);
}
END_TEST

START_TEST(an_old_copy_is_fenced_by_apply_and_stays_out)
{
	open_edge(1, 3, 1, 4);
	applied(2, VERDICT_FENCED, 2, 7); /* high < last; the shard kept its epoch */
	expect_answer(0, 1, VERDICT_FENCED);
	ck_assert_uint_eq(w.answers[0].a.epoch, 3); /* the one that asked: it is no old news to it */
	batch(2, 3, 8);
	expect_answer(1, 2, VERDICT_NOT_OPEN);
}
END_TEST

START_TEST(an_open_sent_twice_is_one_entry_and_a_late_one_changes_nothing)
{
	open_edge(1, 1, 1, 2);
	open_edge(2, 1, 1, 2);
	ck_assert_uint_eq(w.index, 2);
	open_edge(3, 1, 1, 3);
	expect_answer(0, 3, VERDICT_BUSY);
	applied(2, VERDICT_OK, 1, 0);
	expect_answer(1, 1, VERDICT_OK);
	expect_answer(2, 2, VERDICT_OK);
	batch(4, 1, 1);
	batch(5, 1, 2);
	open_edge(6, 1, 1, 1); /* of before, delayed: apply sees high < last */
	batch(7, 1, 3);        /* goes on all the same */
	ck_assert_uint_eq(w.index, 6);
	applied(3, VERDICT_OK, 1, 1);
	applied(4, VERDICT_OK, 1, 2);
	applied(5, VERDICT_FENCED, 1, 2);
	applied(6, VERDICT_OK, 1, 3);
	batch(8, 1, 4);
	ck_assert_uint_eq(w.index, 7);
}
END_TEST

START_TEST(impossible_opens_are_refused)
{
	open_edge(1, 0, 1, 2);
	expect_answer(0, 1, VERDICT_REFUSED);
	open_edge(2, 1, 0, 2);
	expect_answer(1, 2, VERDICT_REFUSED);
	open_edge(3, 1, 5, 3);
	expect_answer(2, 3, VERDICT_REFUSED);
	open_edge(4, 1, 1, UINT64_MAX);
	expect_answer(3, 4, VERDICT_REFUSED);
	open_edge(5, 1, 6, 5); /* nothing kept */
	ck_assert_uint_eq(w.index, 2);
}
END_TEST

START_TEST(after_a_start_the_next_open_tells_what_the_shard_has)
{
	opened();
	batch(1, 1, 1);
	leader_free(w.l);
	new_leader();
	w.answer_count = 0;
	/* what was in flight at the stop comes out of the log, for nobody */
	applied(3, VERDICT_OK, 1, 1);
	ck_assert_uint_eq(w.answer_count, 0);
	batch(2, 1, 2);
	expect_answer(0, 2, VERDICT_NOT_OPEN);
	leader_tick(w.l, w.now);
	applied(4, VERDICT_OK, 0, 0);
	open_edge(3, 1, 1, 9);
	applied(5, VERDICT_OK, 1, 1);
	expect_answer(1, 3, VERDICT_OK);
	/* the last batch again: its checksum is not known here, so apply decides */
	batch_of(4, 1, 1, body(SHARD, 1, 2));
	ck_assert_int_eq(proposed_kind(6), ENTRY_BATCH);
	batch(5, 1, 2);
	ck_assert_uint_eq(w.index, 7);
	applied(6, VERDICT_FENCED, 1, 1);
	expect_answer(2, 4, VERDICT_FENCED);
	applied(7, VERDICT_OK, 1, 2);
	expect_answer(3, 5, VERDICT_OK); /* the true holder is not disturbed */
	batch(6, 1, 1);
	expect_answer(4, 6, VERDICT_DUPLICATE);
}
END_TEST

START_TEST(what_apply_does_not_take_must_be_opened_anew)
{
	opened();
	batch(1, 1, 1);
	batch(2, 1, 2);
	applied(3, VERDICT_REFUSED, 1, 0);
	expect_answer(1, 1, VERDICT_REFUSED);
	batch(3, 1, 3);
	expect_answer(2, 3, VERDICT_NOT_OPEN);
}
END_TEST

START_TEST(bodies_that_lie_or_do_not_decode_are_refused)
{
	opened();
	uint8_t garbage[100];
	memset(garbage, 0xa5, sizeof(garbage));
	batch_of(1, 1, 1, bytes_of(garbage, sizeof(garbage)));
	expect_answer(1, 1, VERDICT_REFUSED);
	batch_of(2, 1, 1, bytes_of(NULL, 0));
	expect_answer(2, 2, VERDICT_REFUSED);
	batch_of(3, 1, 1, body(SHARD + 1, 1, 1));
	expect_answer(3, 3, VERDICT_REFUSED);
	batch_of(4, 1, 1, body(SHARD, 2, 1));
	expect_answer(4, 4, VERDICT_REFUSED);
	struct bytes cut = body(SHARD, 1, 1);
	cut.n--;
	batch_of(5, 1, 1, cut);
	expect_answer(5, 5, VERDICT_REFUSED);
	ck_assert_uint_eq(w.index, 2);
	ck_assert_uint_eq(w.counters.refused, 5);
	batch(6, 1, 1); /* the good one under the same number still passes */
	ck_assert_uint_eq(w.index, 3);
}
END_TEST

START_TEST(a_busy_log_is_said_and_forgets_nothing)
{
	opened();
	w.propose_rc = WEIR_EBUSY;
	batch(1, 1, 1);
	expect_answer(1, 1, VERDICT_BUSY);
	open_edge(2, 2, 1, 2);
	expect_answer(2, 2, VERDICT_BUSY);
	w.propose_rc = WEIR_ECLOSED;
	batch(3, 1, 1);
	expect_answer(3, 3, VERDICT_UNAVAILABLE);
	w.propose_rc = 0;
	batch(4, 1, 1); /* the epoch that could not be opened fences nobody */
	ck_assert_uint_eq(w.index, 3);
}
END_TEST

/* ---- sweeps -------------------------------------------------------------------------------------------------- */

static void swept(uint64_t index, bool more, bool dirty)
{
	struct apply_result r = {.group = SHARD + 1, .index = index, .kind = ENTRY_SWEEP, .more = more, .dirty = dirty};
	leader_applied(w.l, &r, w.now);
}

START_TEST(sweeps_follow_at_once_on_more_and_within_a_second_on_dirty)
{
	ck_assert(leader_due_ns(w.l) == INT64_MAX);
	opened();
	batch(1, 1, 1);
	struct apply_result r = {.group = SHARD + 1, .index = 3, .kind = ENTRY_BATCH, .epoch = 1, .last = 1, .dirty = true};
	leader_applied(w.l, &r, w.now);
	int64_t due_ns = w.now.mono_ns + LEADER_DIRTY_SWEEP_MS * NS_PER_MS;
	ck_assert(leader_due_ns(w.l) == due_ns);
	w.now.mono_ns = due_ns - 1;
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, 3);
	w.now.mono_ns = due_ns;
	leader_tick(w.l, w.now);
	ck_assert_int_eq(proposed_kind(4), ENTRY_SWEEP);
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, 4); /* one at a time */
	swept(4, true, true);
	ck_assert_int_eq(proposed_kind(5), ENTRY_SWEEP);
	w.propose_rc = WEIR_EBUSY;
	swept(5, true, false);
	w.propose_rc = 0;
	w.now.mono_ns += LEADER_RETRY_MS * NS_PER_MS;
	leader_tick(w.l, w.now);
	ck_assert_int_eq(proposed_kind(6), ENTRY_SWEEP);
	swept(6, false, false);
	ck_assert(leader_due_ns(w.l) == INT64_MAX);
}
END_TEST

/* ---- sinks ----------------------------------------------------------------------------------------------------- */

static void delivered(const char *sink, uint64_t index)
{
	struct entry_place p = {bytes_of(sink, strlen(sink)), bytes_of("speed", 5), 1, index, 0};
	leader_sinks(w.l, &p, 1);
	leader_tick(w.l, w.now);
}

static uint64_t place_in(uint64_t index, const char *sink)
{
	struct entry e;
	uint64_t place = 0;
	ck_assert_int_eq(entry_decode(bytes_of(w.proposed[index].data, w.proposed[index].len), &e), 0);
	ck_assert_int_eq(e.kind, ENTRY_SINK);
	for (uint32_t i = 0; i < e.sink.count; i++) {
		if (e.sink.places[i].sink.n == strlen(sink) && !memcmp(e.sink.places[i].sink.p, sink, strlen(sink)))
			place = e.sink.places[i].index;
	}
	entry_clear(&e);
	return place;
}

START_TEST(what_sinks_delivered_is_one_entry_a_second)
{
	swept(++w.index, false, false);
	delivered("a", 5);
	uint64_t first = w.index;
	ck_assert_uint_eq(place_in(first, "a"), 5);
	delivered("a", 6);
	delivered("b", 3);
	delivered("a", 7);
	ck_assert_uint_eq(w.index, first);
	applied(first, VERDICT_OK, 0, 0);
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, first);
	w.now.mono_ns = leader_due_ns(w.l);
	w.propose_rc = WEIR_EBUSY;
	leader_tick(w.l, w.now);
	w.propose_rc = 0;
	ck_assert_uint_eq(w.index, first);
	w.now.mono_ns = leader_due_ns(w.l);
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, first + 1);
	ck_assert_uint_eq(place_in(first + 1, "a"), 7);
	ck_assert_uint_eq(place_in(first + 1, "b"), 3);
	delivered("a", 8);
	w.now.mono_ns += 10 * NS_PER_SEC;
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, first + 1); /* one in flight at a time */
	leader_stop(w.l);
	leader_lead(w.l, w.now);
	delivered("b", 4);
	ck_assert_uint_eq(place_in(w.index, "b"), 4);
	ck_assert_uint_eq(place_in(w.index, "a"), 0); /* gone with the leadership: delivered again */
	leader_stop(w.l);
	uint64_t last = w.index;
	delivered("b", 9);
	w.now.mono_ns += 10 * NS_PER_SEC;
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, last);
}
END_TEST

/* ---- advances ------------------------------------------------------------------------------------------------- */

static void advance(uint64_t req_id, uint64_t meta_index, uint64_t after)
{
	struct entry e = {.kind = ENTRY_ADVANCE};
	struct buf raw = {0};
	struct msg m = {.type = MSG_ADVANCE};
	struct origin o = origin(MSG_ADVANCE, req_id);
	e.advance.meta_index = meta_index;
	e.advance.after = after;
	e.advance.close.stream = bytes_of("speed", 5);
	e.advance.close.version = 1;
	entry_encode(&e, &raw);
	m.advance.shard = SHARD;
	m.advance.meta_index = meta_index;
	m.advance.entry = bytes_of(raw.data, raw.len);
	leader_advance(w.l, &o, &m, w.now);
	buf_free(&raw);
}

static void advanced(uint64_t index, uint64_t meta_index)
{
	struct apply_result r = {.group = SHARD + 1, .index = index, .kind = ENTRY_ADVANCE, .meta_index = meta_index};
	leader_applied(w.l, &r, w.now);
}

START_TEST(advances_are_proposed_once_in_order_and_answered_when_applied)
{
	advance(1, 256, 0);
	advance(2, 512, 256);
	advance(3, 512, 256); /* sent again */
	ck_assert_uint_eq(w.index, 3);
	advance(4, 1024, 768); /* one before it was lost */
	expect_answer(0, 4, VERDICT_OUT_OF_SEQUENCE);
	ck_assert_uint_eq(w.answers[0].a.meta_index, 0);
	advanced(2, 256);
	expect_answer(1, 1, VERDICT_OK);
	ck_assert_uint_eq(w.answers[1].a.meta_index, 256);
	advanced(3, 512);
	expect_answer(2, 2, VERDICT_OK);
	expect_answer(3, 3, VERDICT_OK);
	advance(5, 256, 0);
	expect_answer(4, 5, VERDICT_OK);
	ck_assert_uint_eq(w.answers[4].a.meta_index, 512);
	advance(6, 768, 512);
	ck_assert_uint_eq(w.index, 4);
	advanced(4, 512); /* apply would not take it */
	advance(7, 1024, 768);
	expect_answer(6, 7, VERDICT_OUT_OF_SEQUENCE);
}
END_TEST

START_TEST(maps_are_of_the_same_queue)
{
	struct entry e = {.kind = ENTRY_MAP, .map = {512, 256, bytes_of("map", 3)}};
	struct buf raw = {0};
	struct msg m = {.type = MSG_ADVANCE};
	struct origin o = origin(MSG_ADVANCE, 2);
	entry_encode(&e, &raw);
	m.advance.shard = SHARD;
	m.advance.meta_index = 512;
	m.advance.entry = bytes_of(raw.data, raw.len);
	advance(1, 256, 0);
	leader_advance(w.l, &o, &m, w.now);
	ck_assert_int_eq(proposed_kind(3), ENTRY_MAP);
	advance(3, 1024, 768); /* one between them was lost */
	expect_answer(0, 3, VERDICT_OUT_OF_SEQUENCE);
	advance(4, 768, 512);
	ck_assert_uint_eq(w.index, 4);
	m.advance.meta_index = 513;
	o.req_id = 5;
	leader_advance(w.l, &o, &m, w.now);
	expect_answer(1, 5, VERDICT_REFUSED);
	buf_free(&raw);
}
END_TEST

START_TEST(advances_that_lie_or_do_not_decode_are_refused)
{
	struct msg m = {.type = MSG_ADVANCE};
	struct origin o = origin(MSG_ADVANCE, 1);
	m.advance.shard = SHARD;
	m.advance.meta_index = 256;
	m.advance.entry = bytes_of("xyz", 3);
	leader_advance(w.l, &o, &m, w.now);
	expect_answer(0, 1, VERDICT_REFUSED);
	struct buf raw = {0};
	entry_encode(&(struct entry){.kind = ENTRY_SWEEP}, &raw);
	m.advance.entry = bytes_of(raw.data, raw.len);
	leader_advance(w.l, &o, &m, w.now);
	expect_answer(1, 1, VERDICT_REFUSED);
	buf_free(&raw);
	ck_assert_uint_eq(w.index, 1);
}
END_TEST

START_TEST(at_the_end_of_leadership_all_that_waits_is_answered)
{
	opened();
	batch(1, 1, 1);
	batch(2, 1, 1); /* waits with it */
	open_edge(3, 2, 1, 9);
	advance(4, 256, 0);
	ck_assert_uint_eq(w.answer_count, 1);
	leader_stop(w.l);
	ck_assert_uint_eq(w.answer_count, 5);
	for (size_t i = 1; i < 5; i++)
		expect_answer(i, i, VERDICT_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(w.answers[1].a.reason, "leader changed"));
	leader_stop(w.l);
	ck_assert_uint_eq(w.answer_count, 5);
	/* Whatever becomes of them, nobody is answered twice, and others' entries under their indexes mean nothing. */
	applied(3, VERDICT_OK, 1, 1);
	ck_assert_uint_eq(w.answer_count, 5);
}
END_TEST

START_TEST(who_does_not_lead_answers_at_once_and_proposes_nothing)
{
	opened();
	leader_stop(w.l);
	uint64_t before = w.index;
	batch(1, 1, 1);
	open_edge(2, 1, 1, 9);
	advance(3, 256, 0);
	for (size_t i = 1; i < 4; i++)
		expect_answer(i, i, VERDICT_UNAVAILABLE);
	struct apply_result r = {.group = SHARD + 1, .index = 50, .kind = ENTRY_BATCH, .more = true, .dirty = true};
	leader_applied(w.l, &r, w.now);
	w.now.mono_ns += 10 * NS_PER_SEC;
	leader_tick(w.l, w.now);
	ck_assert_uint_eq(w.index, before);
	ck_assert_int_eq(leader_due_ns(w.l), INT64_MAX);
}
END_TEST

START_TEST(a_new_leadership_remembers_no_edge_and_what_shards_took)
{
	opened();
	batch(1, 1, 1);
	advance(2, 256, 0);
	leader_stop(w.l);
	/* Another replica led: it took an advance, and the batch. */
	struct apply_result r = {.group = SHARD + 1, .index = 9, .kind = ENTRY_NOOP, .meta_index = 512};
	leader_applied(w.l, &r, w.now);
	w.index = 9;
	leader_lead(w.l, w.now);
	leader_tick(w.l, w.now);
	ck_assert_int_eq(proposed_kind(10), ENTRY_SWEEP);
	batch(3, 1, 2);
	expect_answer(3, 3, VERDICT_NOT_OPEN);
	advance(4, 512, 256);
	expect_answer(4, 4, VERDICT_OK);
	ck_assert_uint_eq(w.answers[4].a.meta_index, 512);
	advance(5, 1024, 768); /* leaves a gap */
	expect_answer(5, 5, VERDICT_OUT_OF_SEQUENCE);
	open_edge(6, 1, 1, 9);
	applied(10, VERDICT_OK, 0, 0);
	applied(11, VERDICT_OK, 1, 1);
	expect_answer(6, 6, VERDICT_OK);
	ck_assert_uint_eq(w.answers[6].a.last, 1);
	batch(7, 1, 2);
	ck_assert_uint_eq(w.index, 12);
}
END_TEST

START_TEST(indexes_rise_with_gaps)
{
	opened();
	batch(1, 1, 1);
	w.index += 5; /* a configuration, say */
	batch(2, 1, 2);
	applied(3, VERDICT_OK, 1, 1);
	expect_answer(1, 1, VERDICT_OK);
	struct apply_result r = {.group = SHARD + 1, .index = 5, .kind = ENTRY_CONFIG};
	leader_applied(w.l, &r, w.now);
	ck_assert_uint_eq(w.answer_count, 2);
	applied(9, VERDICT_OK, 1, 2);
	expect_answer(2, 2, VERDICT_OK);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/leader");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_answer_comes_with_apply_and_never_before);
	tcase_add_test(tc, a_batch_of_a_map_that_the_shard_lacks_waits_for_it);
	tcase_add_test(tc, maps_are_of_the_same_queue);
	tcase_add_test(tc, a_batch_in_flight_is_never_proposed_twice);
	tcase_add_test(tc, gaps_are_out_of_sequence_against_what_was_proposed);
	tcase_add_test(tc, another_batch_under_the_same_number_is_fenced);
	tcase_add_test(tc, a_lower_epoch_is_fenced_from_the_moment_a_higher_one_is_proposed);
	tcase_add_test(tc, a_higher_epoch_must_open_first);
	tcase_add_test(tc, an_old_copy_is_fenced_by_apply_and_stays_out);
	tcase_add_test(tc, an_open_sent_twice_is_one_entry_and_a_late_one_changes_nothing);
	tcase_add_test(tc, impossible_opens_are_refused);
	tcase_add_test(tc, after_a_start_the_next_open_tells_what_the_shard_has);
	tcase_add_test(tc, what_apply_does_not_take_must_be_opened_anew);
	tcase_add_test(tc, bodies_that_lie_or_do_not_decode_are_refused);
	tcase_add_test(tc, a_busy_log_is_said_and_forgets_nothing);
	tcase_add_test(tc, sweeps_follow_at_once_on_more_and_within_a_second_on_dirty);
	tcase_add_test(tc, what_sinks_delivered_is_one_entry_a_second);
	tcase_add_test(tc, advances_are_proposed_once_in_order_and_answered_when_applied);
	tcase_add_test(tc, advances_that_lie_or_do_not_decode_are_refused);
	tcase_add_test(tc, at_the_end_of_leadership_all_that_waits_is_answered);
	tcase_add_test(tc, who_does_not_lead_answers_at_once_and_proposes_nothing);
	tcase_add_test(tc, a_new_leadership_remembers_no_edge_and_what_shards_took);
	tcase_add_test(tc, indexes_rise_with_gaps);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
