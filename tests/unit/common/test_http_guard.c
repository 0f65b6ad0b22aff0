/* Whom the guard lets in and puts out: no clock, no socket. */
#include <check.h>

#include "common/clock.h"
#include "common/http_guard.h"

#define A 1u
#define B 2u
#define C 3u
#define MS(n) ((n) * NS_PER_MS)

static struct http_guard *g;
static struct http_guard_conn *victim;
static bool reserve;

static void setup(void)
{
	struct http_guard_limits l = {.connections_max = 4, .reserve = 2, .per_address_max = 3, .head_ms = 10000, .idle_ms = 30000,
	    .stall_ms = 10000, .bytes_per_s = 1000};
	g = http_guard_new(&l);
}

static void teardown(void)
{
	http_guard_free(g);
}

static enum http_guard_why admit(uint32_t address, int64_t now_ns)
{
	return http_guard_admit(g, address, now_ns, &reserve, &victim);
}

/* One that is let in, in place of nobody. */
static struct http_guard_conn *enter(uint32_t address, int64_t now_ns)
{
	ck_assert_int_eq(admit(address, now_ns), HTTP_WHY_NONE);
	ck_assert_ptr_null(victim);
	return http_guard_add(g, 7, address, reserve, now_ns);
}

static struct http_guard_conn *enter_busy(uint32_t address, int64_t now_ns)
{
	struct http_guard_conn *c = enter(address, now_ns);
	http_guard_phase(c, HTTP_PHASE_ANSWER, 0, 0, now_ns);
	return c;
}

static enum http_guard_why watch(struct http_guard_conn *c, uint64_t bytes, bool unread, int64_t now_ns)
{
	struct http_guard_sample s = {bytes, bytes, unread, false};
	return http_guard_watch(g, c, &s, now_ns);
}

START_TEST(an_address_at_its_limit_gives_up_its_own_oldest)
{
	struct http_guard_conn *first = enter(A, 0);
	enter(A, MS(1));
	enter(A, MS(2));
	struct http_guard_conn *other = enter(B, 0);
	ck_assert_int_eq(admit(A, MS(1000)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, first);
	ck_assert(first->cut && !other->cut && !reserve);
	ck_assert_uint_eq(http_guard_open(g), 3);
	http_guard_add(g, 8, A, reserve, MS(1000));
	http_guard_remove(g, first); /* its thread has ended: it was not counted any more */
	ck_assert_uint_eq(http_guard_open(g), 4);
}
END_TEST

START_TEST(a_full_server_gives_up_the_one_waited_for_longest)
{
	struct http_guard_conn *busy = enter_busy(A, 0), *idle = enter_busy(B, 0), *old = enter(B, MS(1)), *young = enter(C, MS(900));
	http_guard_phase(idle, HTTP_PHASE_HEAD, 10, 10, MS(2));
	ck_assert_int_eq(admit(C, MS(1000)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, old); /* no request at all yet; one that has made some comes after it */
	http_guard_add(g, 8, C, reserve, MS(1000));
	http_guard_remove(g, old);
	ck_assert_int_eq(admit(A, MS(1001)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, idle);
	ck_assert(!busy->cut && !young->cut);
}
END_TEST

START_TEST(the_reserve_is_for_when_nobody_can_be_put_out)
{
	for (uint32_t i = 0; i < 4; i++)
		ck_assert(!enter_busy(10 + i, 0)->reserve);
	ck_assert(enter_busy(A, MS(1))->reserve);
	struct http_guard_conn *last = enter(A, MS(2));
	ck_assert(last->reserve);
	ck_assert_int_eq(admit(B, MS(3)), HTTP_WHY_LIMIT); /* last is too young yet */
	ck_assert_int_eq(admit(B, MS(2 + HTTP_GUARD_YOUNG_MS)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, last);
	ck_assert(reserve); /* its place */
}
END_TEST

START_TEST(a_newcomer_gets_an_ordinary_place_where_one_can_be_had)
{
	struct http_guard_conn *slow = enter_busy(10, 0);
	for (uint32_t i = 0; i < 3; i++)
		enter_busy(11 + i, MS(1900));
	struct http_guard_conn *stranger = enter(A, MS(1));
	ck_assert(stranger->reserve);
	ck_assert_int_eq(admit(B, MS(2000)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, slow);
	ck_assert(!reserve && !stranger->cut);
}
END_TEST

START_TEST(an_address_cannot_go_round_its_limit_by_the_reserve)
{
	for (int i = 0; i < 3; i++)
		enter_busy(A, 0);
	ck_assert(enter_busy(A, 0)->reserve);
	ck_assert(enter_busy(A, 0)->reserve);
	ck_assert_int_eq(admit(A, MS(1)), HTTP_WHY_ADDRESS_LIMIT);
	ck_assert(!enter(B, MS(1))->reserve);
}
END_TEST

START_TEST(slow_readers_make_place_after_two_seconds)
{
	struct http_guard_conn *slow = enter_busy(A, 0), *quick = enter_busy(A, 0), *waits = enter_busy(A, 0);
	ck_assert_int_eq(watch(slow, 10, true, MS(1000)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(quick, 20000, true, MS(1000)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(waits, 0, false, MS(1000)), HTTP_WHY_NONE);
	ck_assert_int_eq(admit(A, MS(1900)), HTTP_WHY_NONE);
	ck_assert_ptr_null(victim);
	ck_assert(reserve);
	ck_assert_int_eq(admit(A, MS(2000)), HTTP_WHY_NONE);
	ck_assert_ptr_eq(victim, slow);
}
END_TEST

START_TEST(heads_have_their_time)
{
	struct http_guard_conn *c = enter(A, MS(5));
	ck_assert_int_eq(watch(c, 0, false, MS(10004)), HTTP_WHY_NONE);
	struct http_guard_conn *kept = enter(A, 0);
	http_guard_phase(kept, HTTP_PHASE_BODY, 9, 0, MS(1));
	http_guard_phase(kept, HTTP_PHASE_ANSWER, 9, 0, MS(2));
	http_guard_phase(kept, HTTP_PHASE_HEAD, 9, 9, MS(3));
	ck_assert_int_eq(watch(c, 0, false, MS(10005)), HTTP_WHY_SLOW_HEAD);
	ck_assert(c->cut);
	ck_assert_int_eq(watch(c, 0, false, MS(10006)), HTTP_WHY_NONE); /* told once */
	ck_assert_int_eq(watch(kept, 9, false, MS(30002)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(kept, 9, false, MS(30003)), HTTP_WHY_IDLE);
}
END_TEST

START_TEST(who_has_left_is_let_go)
{
	struct http_guard_sample s = {10, 0, false, true};
	struct http_guard_conn *head = enter(A, 0), *body = enter(A, 0), *answer = enter_busy(A, 0);
	http_guard_phase(body, HTTP_PHASE_BODY, 10, 0, 0);
	for (int i = 0; i < 2; i++) {
		int64_t now_ns = MS(500) + i * (MS(HTTP_GUARD_ENDED_MS) - 1);
		ck_assert_int_eq(http_guard_watch(g, head, &s, now_ns), HTTP_WHY_NONE);
		ck_assert_int_eq(http_guard_watch(g, body, &s, now_ns), HTTP_WHY_NONE);
	}
	ck_assert_int_eq(http_guard_watch(g, head, &s, MS(500 + HTTP_GUARD_ENDED_MS)), HTTP_WHY_MALFORMED);
	ck_assert_int_eq(http_guard_watch(g, body, &s, MS(500 + HTTP_GUARD_ENDED_MS)), HTTP_WHY_MALFORMED);
	for (int i = 0; i < 100; i++) /* it waits for its answer, which takes its time */
		ck_assert_int_eq(http_guard_watch(g, answer, &s, MS(500 + i * 1000)), HTTP_WHY_NONE);
}
END_TEST

START_TEST(bodies_keep_the_pace)
{
	struct http_guard_conn *c = enter(A, 0);
	http_guard_phase(c, HTTP_PHASE_BODY, 100, 0, 0);
	ck_assert_int_eq(watch(c, 100 + 9999, false, MS(9999)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(c, 100 + 10000, false, MS(9999)), HTTP_WHY_NONE); /* a new stretch */
	ck_assert_int_eq(watch(c, 100 + 10001, false, MS(19998)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(c, 100 + 19999, false, MS(19999)), HTTP_WHY_SLOW_BODY);
}
END_TEST

START_TEST(readers_keep_the_pace_while_there_is_something_to_read)
{
	struct http_guard_conn *c = enter_busy(A, 0);
	for (int s = 1; s < 100; s++) /* a watch without news */
		ck_assert_int_eq(watch(c, 50, false, MS(s * 1000)), HTTP_WHY_NONE);
	for (int s = 100; s < 109; s++)
		ck_assert_int_eq(watch(c, 50 + (uint64_t)s, true, MS(s * 1000)), HTTP_WHY_NONE);
	ck_assert_int_eq(watch(c, 1000, true, MS(109 * 1000)), HTTP_WHY_SLOW_READER);
}
END_TEST

START_TEST(guesses_are_counted_by_address)
{
	for (int i = 0; i < HTTP_GUARD_FAILURES; i++)
		ck_assert(http_guard_failed(g, A, 0));
	ck_assert(!http_guard_failed(g, A, 0));
	ck_assert(http_guard_failed(g, B, 0));
	ck_assert(!http_guard_failed(g, A, MS(HTTP_GUARD_FAILURE_MS - 1)));
	ck_assert(http_guard_failed(g, A, MS(HTTP_GUARD_FAILURE_MS)));
	ck_assert(!http_guard_failed(g, A, MS(HTTP_GUARD_FAILURE_MS)));
	for (uint32_t i = 0; i < 10 * HTTP_GUARD_FAILERS_MAX; i++) /* strangers of many addresses do not wipe out the eager one */
		ck_assert(http_guard_failed(g, 1000 + i, MS(HTTP_GUARD_FAILURE_MS)));
	ck_assert(!http_guard_failed(g, A, MS(HTTP_GUARD_FAILURE_MS)));
	for (int i = 0; i < HTTP_GUARD_FAILURES; i++)
		ck_assert(http_guard_failed(g, A, MS(1000 * 1000)));
	ck_assert(!http_guard_failed(g, A, MS(1000 * 1000)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/http_guard");
	TCase *tc = tcase_create("guard");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_address_at_its_limit_gives_up_its_own_oldest);
	tcase_add_test(tc, a_full_server_gives_up_the_one_waited_for_longest);
	tcase_add_test(tc, the_reserve_is_for_when_nobody_can_be_put_out);
	tcase_add_test(tc, a_newcomer_gets_an_ordinary_place_where_one_can_be_had);
	tcase_add_test(tc, an_address_cannot_go_round_its_limit_by_the_reserve);
	tcase_add_test(tc, slow_readers_make_place_after_two_seconds);
	tcase_add_test(tc, heads_have_their_time);
	tcase_add_test(tc, who_has_left_is_let_go);
	tcase_add_test(tc, bodies_keep_the_pace);
	tcase_add_test(tc, readers_keep_the_pace_while_there_is_something_to_read);
	tcase_add_test(tc, guesses_are_counted_by_address);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
