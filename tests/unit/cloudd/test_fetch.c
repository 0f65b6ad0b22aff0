/* The asking side of snapshots: against a source of a script, and against real ones over a bad network. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "cloudd/fetch.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/copy.h"

#define GROUP 3
#define NODE 5
#define ID UINT64_C(0x3d5270db0ae850fd) /* a golden one: snapshot_id is part of the protocol */
#define SENT_MAX 4096
#define MS(n) ((int64_t)(n) * NS_PER_MS)

/* ---- a source of a script -------------------------------------------------------------------------------------- */

static struct {
	struct {
		uint32_t node;
		uint64_t id, chunk;
	} sent[SENT_MAX];
	size_t count, seen; /* seen: by expect_asked */
	bool down;
} net;
static struct fetch *f;
static int64_t now;

static bool net_send(void *arg, uint32_t node, struct msg *m)
{
	ck_assert_ptr_eq(arg, &net);
	ck_assert_int_eq(m->type, MSG_SNAPSHOT);
	ck_assert_uint_eq(m->snapshot.group, GROUP);
	if (net.down)
		return false;
	ck_assert_uint_lt(net.count, SENT_MAX);
	net.sent[net.count].node = node;
	net.sent[net.count].id = m->snapshot.id;
	net.sent[net.count++].chunk = m->snapshot.chunk;
	return true;
}

/* That, and nothing else, was asked since. */
static void expect_asked(size_t count, uint64_t id, uint64_t first)
{
	ck_assert_uint_eq(net.count - net.seen, count);
	for (size_t i = 0; i < count; i++, net.seen++)
		ck_assert(net.sent[net.seen].node == NODE && net.sent[net.seen].id == id && net.sent[net.seen].chunk == first + i);
}

static void setup(void)
{
	memset(&net, 0, sizeof(net));
	now = MS(1000);
	f = fetch_new(GROUP, net_send, &net);
	fetch_tick(f, now); /* not started: nothing */
	ck_assert_uint_eq(net.count, 0);
}

static void teardown(void)
{
	fetch_free(f);
	f = NULL;
}

static const uint8_t bytes[] = "some bytes that stand for records, cut somewhere for each chunk";

static struct msg answer(uint64_t chunk, uint64_t count)
{
	struct msg m = {.type = MSG_SNAPSHOT_REPLY};
	m.snapshot_reply.group = GROUP;
	m.snapshot_reply.id = ID;
	m.snapshot_reply.chunk = chunk;
	m.snapshot_reply.index = 100;
	m.snapshot_reply.term = 4;
	m.snapshot_reply.config = bytes_of("config", 6);
	m.snapshot_reply.digest_hi = 1;
	m.snapshot_reply.digest_lo = 2;
	m.snapshot_reply.meta_index = 3;
	m.snapshot_reply.skipped = 5;
	m.snapshot_reply.total_bytes = 10 * count;
	m.snapshot_reply.records = bytes_of(bytes + chunk % 50, 10);
	m.snapshot_reply.checksum = XXH3_64bits(m.snapshot_reply.records.p, 10);
	m.snapshot_reply.last = chunk + 1 == count;
	return m;
}

static struct msg refusal(uint64_t id, uint64_t chunk, enum verdict v)
{
	struct msg m = {.type = MSG_SNAPSHOT_REPLY};
	m.snapshot_reply.group = GROUP;
	m.snapshot_reply.verdict = v;
	m.snapshot_reply.id = id;
	m.snapshot_reply.chunk = chunk;
	m.snapshot_reply.reason = "no";
	return m;
}

static void reply(const struct msg *m)
{
	fetch_reply(f, NODE, m, now);
}

static void give(uint64_t chunk, uint64_t count)
{
	struct msg m = answer(chunk, count);
	reply(&m);
}

static void give_refusal(uint64_t id, uint64_t chunk, enum verdict v)
{
	struct msg m = refusal(id, chunk, v);
	reply(&m);
}

/* The next step is this one, of this chunk; it stays under way. */
static void take(enum fetch_step step, uint64_t chunk)
{
	struct fetch_chunk c;
	ck_assert(fetch_take(f, &c));
	ck_assert_int_eq(c.step, step);
	ck_assert(c.head.index == 100 && c.head.term == 4 && c.head.meta_index == 3 && c.head.skipped == 5);
	ck_assert(c.head.digest_hi == 1 && c.head.digest_lo == 2 && c.head.config.n == 6);
	ck_assert(!memcmp(c.head.config.p, "config", 6));
	if (step == FETCH_RECORDS) {
		ck_assert(c.len == 10 && !memcmp(c.records, bytes + chunk % 50, 10));
		free(c.records);
	} else {
		ck_assert(!c.records && !c.len);
	}
	ck_assert(!fetch_take(f, &c)); /* one at a time */
}

static void apply(enum fetch_step step, uint64_t chunk)
{
	take(step, chunk);
	fetch_applied(f, true, now);
}

static void expect_no_step(void)
{
	struct fetch_chunk c;
	ck_assert(!fetch_take(f, &c));
}

/* From the start to chunk 0 applied, of many. */
static void start_filling(void)
{
	fetch_start(f, NODE, now);
	expect_asked(1, 0, 0);
	give(0, 9);
	expect_asked(1, ID, 1);
	apply(FETCH_BEGIN, 0);
	apply(FETCH_RECORDS, 0);
	expect_asked(1, ID, 2);
}

START_TEST(chunk_after_chunk)
{
	uint64_t got, total;
	fetch_start(f, NODE, now);
	expect_asked(1, 0, 0); /* before the first is there nothing else can be asked, nor begun */
	expect_no_step();
	fetch_progress(f, &got, &total);
	ck_assert(!got && !total);
	give(0, 4);
	expect_asked(1, ID, 1); /* no more than FETCH_AHEAD */
	give(1, 4);
	expect_asked(0, ID, 0);
	fetch_progress(f, &got, &total);
	ck_assert(got == 20 && total == 40);
	apply(FETCH_BEGIN, 0);
	expect_asked(0, ID, 0);
	apply(FETCH_RECORDS, 0);
	expect_asked(1, ID, 2);
	take(FETCH_RECORDS, 1);
	give(2, 4);
	fetch_applied(f, true, now);
	expect_asked(1, ID, 3);
	apply(FETCH_RECORDS, 2);
	expect_no_step();
	expect_asked(1, ID, 4); /* it is not known yet that there is none */
	give_refusal(ID, 4, VERDICT_REFUSED);
	give(3, 4);
	apply(FETCH_RECORDS, 3);
	ck_assert(!fetch_done(f));
	take(FETCH_END, 0);
	fetch_tick(f, now + MS(FETCH_RETRY_MS));
	ck_assert(!fetch_done(f));
	fetch_applied(f, true, now);
	ck_assert(fetch_done(f) && !fetch_stuck(f));
	fetch_tick(f, now + MS(1000 * FETCH_GIVE_UP_MS));
	ck_assert(fetch_done(f));
	expect_asked(0, 0, 0);
	fetch_progress(f, &got, &total);
	ck_assert(got == 40 && total == 40);
}
END_TEST

START_TEST(one_chunk_without_records)
{
	struct msg m = answer(0, 1);
	m.snapshot_reply.records.n = 0;
	m.snapshot_reply.total_bytes = 0;
	m.snapshot_reply.checksum = XXH3_64bits("", 0);
	fetch_start(f, NODE, now);
	expect_asked(1, 0, 0);
	reply(&m);
	expect_asked(0, 0, 0);
	struct fetch_chunk c;
	apply(FETCH_BEGIN, 0);
	ck_assert(fetch_take(f, &c) && c.step == FETCH_RECORDS && !c.len);
	free(c.records);
	fetch_applied(f, true, now);
	apply(FETCH_END, 0);
	ck_assert(fetch_done(f));
}
END_TEST

START_TEST(what_is_lost_is_asked_again)
{
	fetch_start(f, NODE, now);
	expect_asked(1, 0, 0);
	fetch_tick(f, now + MS(FETCH_RETRY_MS) - 1);
	expect_asked(0, 0, 0);
	now += MS(FETCH_RETRY_MS);
	fetch_tick(f, now);
	expect_asked(1, 0, 0);
	give(0, 9);
	expect_asked(1, ID, 1);
	now += MS(FETCH_RETRY_MS);
	fetch_tick(f, now);
	expect_asked(1, ID, 1);
	net.down = true; /* cannot be sent: with the next tick */
	apply(FETCH_BEGIN, 0);
	apply(FETCH_RECORDS, 0);
	expect_asked(0, 0, 0);
	net.down = false;
	fetch_tick(f, now);
	expect_asked(1, ID, 2);
	give(2, 9); /* the other way round */
	expect_no_step();
	give(1, 9);
	apply(FETCH_RECORDS, 1);
	apply(FETCH_RECORDS, 2);
}
END_TEST

START_TEST(damaged_foreign_double_and_late_answers_are_as_if_they_had_not_come)
{
	start_filling();
	struct msg m = answer(1, 9);
	m.snapshot_reply.checksum++;
	reply(&m);
	m = answer(1, 9);
	m.snapshot_reply.group++;
	reply(&m);
	m = answer(1, 9);
	fetch_reply(f, NODE + 1, &m, now);
	m.snapshot_reply.id++;
	reply(&m);
	m = answer(1, 9);
	m.type = MSG_SNAPSHOT;
	reply(&m);
	uint8_t *big = calloc(1, SNAPSHOT_CHUNK_MAX + 1);
	m = answer(1, 9);
	m.snapshot_reply.records = bytes_of(big, SNAPSHOT_CHUNK_MAX + 1);
	m.snapshot_reply.checksum = XXH3_64bits(big, SNAPSHOT_CHUNK_MAX + 1);
	reply(&m);
	free(big);
	give(0, 9);  /* applied long ago */
	give(3, 9);  /* not asked for */
	give(UINT64_MAX, 9);
	expect_no_step();
	expect_asked(0, 0, 0);
	give(1, 9);
	m = answer(1, 9); /* double, and of another content: the first counts */
	m.snapshot_reply.records = bytes_of("other bytes", 10);
	m.snapshot_reply.checksum = XXH3_64bits("other bytes", 10);
	reply(&m);
	uint64_t got, total;
	fetch_progress(f, &got, &total);
	ck_assert_uint_eq(got, 20);
	apply(FETCH_RECORDS, 1);
	give(1, 9);
	expect_no_step();
}
END_TEST

START_TEST(a_first_answer_must_be_the_first_chunk_of_something)
{
	fetch_start(f, NODE, now);
	give(1, 9);
	struct msg m = answer(0, 9);
	m.snapshot_reply.id = 0;
	reply(&m);
	m = answer(0, 9);
	m.snapshot_reply.index = 0;
	struct snapshot_head head = copy_head(&m);
	m.snapshot_reply.id = snapshot_id(GROUP, &head);
	reply(&m);
	expect_no_step();
	expect_asked(1, 0, 0);
	give(0, 9);
	apply(FETCH_BEGIN, 0);
}
END_TEST

START_TEST(a_source_that_forgot)
{
	start_filling();
	give_refusal(ID, 2, VERDICT_REFUSED); /* may not exist; only the first that is missing tells */
	give_refusal(ID - 1, 1, VERDICT_REFUSED); /* of an earlier one */
	expect_asked(0, 0, 0);
	give(1, 9);
	take(FETCH_RECORDS, 1);
	give_refusal(ID, 2, VERDICT_REFUSED);
	fetch_tick(f, now);
	expect_asked(0, 0, 0); /* after a pause */
	fetch_applied(f, true, now); /* was overtaken */
	expect_no_step();
	now += MS(FETCH_RETRY_MS);
	fetch_tick(f, now);
	expect_asked(1, 0, 0);
	give(2, 9); /* late */
	expect_no_step();
	give(0, 1);
	apply(FETCH_BEGIN, 0);
	apply(FETCH_RECORDS, 0);
	apply(FETCH_END, 0);
	ck_assert(fetch_done(f));
}
END_TEST

START_TEST(the_head_must_be_what_the_id_says)
{
	start_filling();
	for (int field = 0; field < 7; field++) {
		struct msg m = answer(1, 9);
		m.snapshot_reply.index += field == 0;
		m.snapshot_reply.term += field == 1;
		m.snapshot_reply.digest_hi += field == 2;
		m.snapshot_reply.digest_lo += field == 3;
		m.snapshot_reply.meta_index += field == 4;
		m.snapshot_reply.skipped += field == 5;
		if (field == 6)
			m.snapshot_reply.config = bytes_of("Config", 6);
		reply(&m);
		expect_no_step();
		struct snapshot_head head = copy_head(&m); /* with its own id it is another snapshot's */
		m.snapshot_reply.id = snapshot_id(GROUP, &head);
		ck_assert(m.snapshot_reply.id != ID);
		reply(&m);
		expect_no_step();
	}
	give(1, 9);
	apply(FETCH_RECORDS, 1);
}
END_TEST

START_TEST(wrong_bytes_start_over_and_at_last_give_up)
{
	fetch_start(f, NODE, now);
	for (int i = 0; i <= FETCH_RESTARTS_MAX; i++) {
		expect_asked(1, 0, 0);
		ck_assert(!fetch_stuck(f));
		give(0, 1);
		apply(FETCH_BEGIN, 0);
		apply(FETCH_RECORDS, 0);
		take(FETCH_END, 0);
		fetch_applied(f, false, now);
		expect_no_step();
		now += MS(FETCH_RETRY_MS);
		fetch_tick(f, now);
	}
	ck_assert(fetch_stuck(f) && !fetch_done(f));
	expect_asked(0, 0, 0);
	give(0, 1);
	expect_no_step();
	start_filling(); /* another try */
	ck_assert(!fetch_stuck(f));
}
END_TEST

START_TEST(a_silent_source_is_given_up)
{
	start_filling();
	for (int64_t t = 0; t < FETCH_GIVE_UP_MS; t += 500) {
		fetch_tick(f, now + MS(t));
		ck_assert(!fetch_stuck(f));
	}
	net.seen = net.count;
	fetch_tick(f, now + MS(FETCH_GIVE_UP_MS));
	ck_assert(fetch_stuck(f));
	expect_asked(0, 0, 0);

	start_filling(); /* UNAVAILABLE is no better */
	for (int64_t t = 0; t < FETCH_GIVE_UP_MS; t += 500, now += MS(500)) {
		fetch_tick(f, now);
		give_refusal(ID, 1, VERDICT_UNAVAILABLE);
		ck_assert(!fetch_stuck(f));
	}
	fetch_tick(f, now);
	ck_assert(fetch_stuck(f));
}
END_TEST

START_TEST(a_busy_source_is_waited_for_longer)
{
	fetch_start(f, NODE, now);
	for (int64_t t = 0; t < FETCH_BUSY_MS; t += 500, now += MS(500)) {
		fetch_tick(f, now);
		give_refusal(0, 0, VERDICT_BUSY);
		ck_assert(!fetch_stuck(f));
	}
	fetch_tick(f, now);
	ck_assert(fetch_stuck(f));
}
END_TEST

START_TEST(a_slow_disk_is_not_the_sources_fault)
{
	start_filling();
	give(1, 9);
	take(FETCH_RECORDS, 1);
	for (int i = 0; i < 10; i++) {
		now += MS(FETCH_GIVE_UP_MS);
		fetch_tick(f, now);
	}
	ck_assert(!fetch_stuck(f));
	fetch_applied(f, true, now);
	give(2, 9); /* one that nobody takes yet */
	for (int i = 0; i < 10; i++) {
		now += MS(FETCH_GIVE_UP_MS);
		fetch_tick(f, now);
	}
	ck_assert(!fetch_stuck(f));
	apply(FETCH_RECORDS, 2);
}
END_TEST

START_TEST(a_new_start_overtakes_a_step_under_way)
{
	start_filling();
	give(1, 9);
	take(FETCH_RECORDS, 1);
	fetch_start(f, NODE, now);
	expect_asked(1, 0, 0);
	give(0, 9);
	expect_asked(1, ID, 1);
	expect_no_step();            /* until that is done */
	fetch_applied(f, false, now); /* whatever became of it */
	apply(FETCH_BEGIN, 0);
	apply(FETCH_RECORDS, 0);
	give(1, 9);
	take(FETCH_RECORDS, 1); /* and freed with one under way and others waiting: the sanitizer looks */
	give(2, 9);
}
END_TEST

/* ---- real ones over a bad network -------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t any(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

#define FLIGHT_MAX 64

/* Frames on their way, delivered in any order. */
static struct {
	struct buf frames[FLIGHT_MAX];
	size_t count;
} flight;

static void fly(const struct msg *m)
{
	if (flight.count == FLIGHT_MAX || any(8) == 0)
		return; /* lost */
	for (unsigned copies = any(8) ? 1 : 2; copies && flight.count < FLIGHT_MAX; copies--) {
		struct buf *b = &flight.frames[flight.count++];
		*b = (struct buf){0};
		ck_assert_int_eq(msg_encode(m, b), 0);
		if (any(12) == 0)
			b->data[b->len - 1 - any((uint32_t)(b->len < 200 ? b->len : 200))] ^= 4;
	}
}

static bool fly_request(void *arg, uint32_t node, struct msg *m)
{
	(void)arg;
	(void)node;
	if (any(10) == 0)
		return false;
	fly(m);
	return true;
}

struct world {
	struct kit from, to;
	struct copy_files files;
	struct snapshots *ss;
	struct fetch *fetch;
	uint32_t group;
	unsigned round;     /* of fills of the source */
	unsigned installed; /* how many fills the snapshot has seen: by index */
	uint64_t indexes[64];
	int64_t mono_ns;
	struct fetch_chunk step; /* taken, not applied yet */
	bool under_way;
};

static void source_goes_on(struct world *w)
{
	if (w->round >= 12)
		return;
	if (w->group)
		copy_fill_shard(&w->from, w->round, w->round ? 20 : 9000);
	else
		copy_fill_meta(&w->from, w->round, w->round ? 20 : 5000);
	kit_commit(&w->from);
	w->indexes[w->round++] = w->from.index[w->group];
}

static void new_source(struct world *w)
{
	struct snapshot_files files = copy_files(&w->files);
	snapshots_free(w->ss);
	w->ss = snapshots_new(w->from.kv, &files);
}

static void new_fetch(struct world *w)
{
	if (w->under_way)
		free(w->step.records);
	w->under_way = false;
	fetch_free(w->fetch);
	w->fetch = fetch_new(w->group, fly_request, w);
	fetch_start(w->fetch, NODE, w->mono_ns);
}

static void deliver(struct world *w)
{
	if (!flight.count)
		return;
	size_t i = any((uint32_t)flight.count);
	struct buf b = flight.frames[i], body = {0};
	flight.frames[i] = flight.frames[--flight.count];
	struct msg m, r = {0};
	if (!msg_decode(b.data, b.len, &m)) {
		if (m.type == MSG_SNAPSHOT) {
			snapshots_serve(w->ss, &m, w->mono_ns, &body, &r);
			fly(&r);
		} else {
			fetch_reply(w->fetch, NODE, &m, w->mono_ns);
		}
		msg_clear(&m);
	}
	buf_free(&body);
	buf_free(&b);
}

static void apply_step(struct world *w)
{
	if (!w->under_way) {
		w->under_way = fetch_take(w->fetch, &w->step);
		return;
	}
	const struct fetch_chunk *c = &w->step;
	int rc;
	if (c->step == FETCH_BEGIN)
		rc = apply_snapshot_begin(w->to.a, w->group);
	else if (c->step == FETCH_RECORDS)
		rc = apply_snapshot_records(w->to.a, w->group, bytes_of(c->records, c->len));
	else
		rc = apply_snapshot_end(w->to.a, w->group, &c->head);
	ck_assert(!rc || rc == WEIR_ECORRUPT);
	if (!rc && c->step == FETCH_END)
		w->to.index[w->group] = c->head.index;
	free(c->records);
	w->under_way = false;
	fetch_applied(w->fetch, !rc, w->mono_ns);
}

static void something_happens(struct world *w)
{
	w->mono_ns += MS(any(100));
	switch (any(16)) {
	case 0:
		kit_commit(&w->to);
		break;
	case 1:
		if (any(8) == 0)
			source_goes_on(w);
		break;
	case 2:
		if (any(30) == 0)
			new_source(w); /* it restarted */
		snapshots_tick(w->ss, w->mono_ns);
		break;
	case 3:
		if (any(30) == 0) { /* the replica crashed */
			kit_reopen(&w->to);
			new_fetch(w);
		}
		break;
	case 4:
		if (any(20) == 0)
			apply_abort(w->to.a); /* as after a full disk: the end finds out */
		break;
	case 5:
	case 6:
		fetch_tick(w->fetch, w->mono_ns);
		break;
	case 7:
	case 8:
	case 9:
		apply_step(w);
		break;
	default:
		deliver(w);
	}
	if (fetch_stuck(w->fetch))
		fetch_start(w->fetch, NODE, w->mono_ns);
}

/* What the source has beyond the snapshot, again. */
static void catch_up(struct world *w)
{
	unsigned seen = 0;
	while (w->indexes[seen] != w->to.index[w->group])
		ck_assert_uint_lt(++seen, w->round);
	struct kit before = w->from; /* numbers of batches and advances are as they were: three batches of each group */
	w->to.seq = w->to.meta_index = 0;
	struct kit plain;
	kit_init(&plain, 2, COPY_STREAMS);
	for (unsigned i = 0; i < w->round; i++) {
		struct kit *k = i <= seen ? &plain : &w->to;
		if (i == seen + 1) {
			w->to.seq = plain.seq;
			w->to.meta_index = plain.meta_index;
		}
		if (w->group)
			copy_fill_shard(k, i, i ? 20 : 9000);
		else
			copy_fill_meta(k, i, i ? 20 : 5000);
	}
	ck_assert(before.index[w->group] == (seen + 1 == w->round ? plain : w->to).index[w->group]);
	kit_close(&plain);
}

START_TEST(whole_over_a_bad_network)
{
	struct world w = {.group = (uint32_t)_i % 2 ? COPY_SHARD : 0, .mono_ns = MS(1000)};
	random_state = (uint64_t)_i;
	flight.count = 0;
	kit_init(&w.from, 2, COPY_STREAMS);
	kit_init(&w.to, 2, COPY_STREAMS);
	new_source(&w);
	if (_i % 4 < 2) { /* it had something else before */
		copy_fill_shard(&w.to, 7, 5);
		copy_fill_meta(&w.to, 7, 5);
		kit_commit(&w.to);
	}
	source_goes_on(&w);
	source_goes_on(&w);
	new_fetch(&w);
	for (unsigned i = 0; !fetch_done(w.fetch); i++) {
		ck_assert_uint_lt(i, 200000);
		something_happens(&w);
	}
	kit_commit(&w.to);
	catch_up(&w);
	copy_check_same(&w.from, &w.to, w.group);
	fetch_free(w.fetch);
	snapshots_free(w.ss);
	while (flight.count)
		buf_free(&flight.frames[--flight.count]);
	kit_close(&w.from);
	kit_close(&w.to);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/fetch");
	TCase *tc = tcase_create("machine");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, chunk_after_chunk);
	tcase_add_test(tc, one_chunk_without_records);
	tcase_add_test(tc, what_is_lost_is_asked_again);
	tcase_add_test(tc, damaged_foreign_double_and_late_answers_are_as_if_they_had_not_come);
	tcase_add_test(tc, a_first_answer_must_be_the_first_chunk_of_something);
	tcase_add_test(tc, a_source_that_forgot);
	tcase_add_test(tc, the_head_must_be_what_the_id_says);
	tcase_add_test(tc, wrong_bytes_start_over_and_at_last_give_up);
	tcase_add_test(tc, a_silent_source_is_given_up);
	tcase_add_test(tc, a_busy_source_is_waited_for_longer);
	tcase_add_test(tc, a_slow_disk_is_not_the_sources_fault);
	tcase_add_test(tc, a_new_start_overtakes_a_step_under_way);
	suite_add_tcase(s, tc);
	tc = tcase_create("whole");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, whole_over_a_bad_network, 0, 12);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
