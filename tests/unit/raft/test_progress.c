#include <check.h>
#include <stdlib.h>

#include "raft/progress.h"

static const struct raft_window window = {.messages_max = 3, .bytes_max = 100};
static struct raft_progress p;

static void setup(void)
{
	raft_progress_init(&p, 2, 11, 0);
}

static void teardown(void)
{
	raft_progress_free(&p);
}

static void send(uint64_t last, size_t bytes)
{
	ck_assert(raft_progress_may_send(&p, &window));
	raft_progress_sent(&p, last, bytes, &window);
}

static void stream_from(uint64_t match)
{
	raft_progress_accepted(&p, match, 0);
	ck_assert_int_eq(p.state, RAFT_REPLICATE);
}

START_TEST(a_probe_waits_for_its_answer_or_a_heartbeat)
{
	send(12, 5);
	ck_assert_uint_eq(p.next, 11);
	ck_assert(!raft_progress_may_send(&p, &window));
	ck_assert(!p.bare);
	raft_progress_alive(&p, &window);
	ck_assert(p.bare); /* without entries now */
	send(10, 0);
	ck_assert(!raft_progress_may_send(&p, &window));
	raft_progress_accepted(&p, 12, 0);
	ck_assert(!p.bare);
	ck_assert_int_eq(p.state, RAFT_REPLICATE);
	ck_assert_uint_eq(p.match, 12);
	ck_assert_uint_eq(p.next, 13);
}
END_TEST

START_TEST(a_refusal_goes_back_to_the_guess)
{
	send(12, 5);
	ck_assert(raft_progress_refused(&p, 10, 4));
	ck_assert_uint_eq(p.next, 5);
	ck_assert(raft_progress_may_send(&p, &window));
	send(6, 1);
	ck_assert(!raft_progress_refused(&p, 10, 2)); /* the first one's, again */
	ck_assert_uint_eq(p.next, 5);
	ck_assert(raft_progress_refused(&p, 4, 30)); /* no guess is worth more than the refusal itself */
	ck_assert_uint_eq(p.next, 4);
}
END_TEST

START_TEST(what_matched_is_never_probed_again)
{
	stream_from(10);
	send(15, 1);
	ck_assert(!raft_progress_refused(&p, 10, 3));
	ck_assert(p.bare); /* but it is asked, whether it has what was sent since */
	ck_assert(raft_progress_refused(&p, 15, 3));
	ck_assert(!p.bare);
	ck_assert_int_eq(p.state, RAFT_PROBE);
	ck_assert_uint_eq(p.match, 10);
	ck_assert_uint_eq(p.next, 11);
	ck_assert_uint_eq(p.inflight_count, 0);
	ck_assert_uint_eq(p.inflight_bytes, 0);
}
END_TEST

START_TEST(the_window_is_of_messages_and_bytes)
{
	stream_from(10);
	send(11, 40);
	send(12, 40);
	send(13, 10);
	ck_assert_uint_eq(p.next, 14);
	ck_assert(!raft_progress_may_send(&p, &window)); /* three messages */
	raft_progress_accepted(&p, 12, 0);
	ck_assert_uint_eq(p.inflight_count, 1);
	ck_assert_uint_eq(p.inflight_bytes, 10);
	send(14, 95);
	ck_assert(!raft_progress_may_send(&p, &window)); /* 105 bytes */
	raft_progress_accepted(&p, 14, 0);
	ck_assert_uint_eq(p.inflight_count, 0);
	ck_assert_uint_eq(p.inflight_bytes, 0);
	ck_assert_uint_eq(p.next, 15);
}
END_TEST

START_TEST(a_window_of_many_messages_grows_and_empties)
{
	const struct raft_window wide = {.messages_max = 100, .bytes_max = 1000000};
	stream_from(10);
	for (uint64_t round = 0; round < 3; round++) {
		uint64_t from = p.next;
		for (uint64_t i = from; i < from + 60; i++)
			raft_progress_sent(&p, i, 7, &wide);
		for (uint64_t i = from; i < from + 60; i += 4) {
			raft_progress_accepted(&p, i, 0);
			ck_assert_uint_eq(p.inflight_count, from + 59 - i);
			ck_assert_uint_eq(p.inflight_bytes, 7 * (from + 59 - i));
		}
		raft_progress_accepted(&p, from + 59, 0);
		ck_assert_uint_eq(p.inflight_count, 0);
	}
}
END_TEST

START_TEST(a_heartbeat_frees_one_of_a_full_window_only)
{
	stream_from(10);
	send(11, 1);
	raft_progress_alive(&p, &window);
	ck_assert_uint_eq(p.inflight_count, 1);
	send(12, 1);
	send(13, 1);
	raft_progress_alive(&p, &window);
	ck_assert_uint_eq(p.inflight_count, 2);
	ck_assert_uint_eq(p.inflight_bytes, 2);
	ck_assert(raft_progress_may_send(&p, &window));
}
END_TEST

START_TEST(a_stream_that_is_quiet_is_asked)
{
	stream_from(10);
	send(12, 1);
	raft_progress_alive(&p, &window);
	ck_assert(!p.bare); /* perhaps it was sent just now */
	raft_progress_accepted(&p, 11, 0);
	raft_progress_alive(&p, &window);
	ck_assert(!p.bare);
	raft_progress_alive(&p, &window);
	ck_assert(p.bare);
	send(12, 0); /* asks for what is at `next` - 1 */
	ck_assert(!p.bare);
	ck_assert_uint_eq(p.next, 13);
	ck_assert_uint_eq(p.inflight_count, 1);
	raft_progress_accepted(&p, 12, 0);
	raft_progress_alive(&p, &window);
	raft_progress_alive(&p, &window);
	ck_assert(!p.bare); /* nothing is out */
}
END_TEST

START_TEST(an_old_result_takes_nothing_back)
{
	stream_from(10);
	send(12, 1);
	raft_progress_accepted(&p, 12, 0);
	send(14, 1);
	raft_progress_accepted(&p, 11, 0);
	ck_assert_uint_eq(p.match, 12);
	ck_assert_uint_eq(p.next, 15);
	ck_assert_uint_eq(p.inflight_count, 1);
}
END_TEST

START_TEST(a_stream_without_acknowledgement_is_given_up)
{
	stream_from(10);
	raft_progress_check(&p);
	raft_progress_check(&p);
	ck_assert_int_eq(p.state, RAFT_REPLICATE); /* nothing is out */
	send(12, 1);
	raft_progress_check(&p);
	raft_progress_accepted(&p, 12, 0);
	send(13, 1);
	raft_progress_check(&p);
	ck_assert_int_eq(p.state, RAFT_REPLICATE);
	raft_progress_accepted(&p, 12, 0); /* old: no sign of life of the stream */
	raft_progress_check(&p);
	ck_assert_int_eq(p.state, RAFT_PROBE);
	ck_assert_uint_eq(p.next, 13);
}
END_TEST

START_TEST(a_snapshot_is_offered_until_the_base_is_there)
{
	raft_progress_snapshot(&p);
	ck_assert(p.offer_due);
	p.offer_due = false;
	ck_assert(!raft_progress_may_send(&p, &window));
	raft_progress_alive(&p, &window);
	ck_assert(!raft_progress_may_send(&p, &window));
	ck_assert(!raft_progress_refused(&p, 10, 3));
	raft_progress_accepted(&p, 19, 20);
	ck_assert_int_eq(p.state, RAFT_SNAPSHOT);
	ck_assert(p.offer_due); /* it got one, but needs a later one by now */
	p.offer_due = false;
	raft_progress_accepted(&p, 19, 20);
	ck_assert(!p.offer_due);
	raft_progress_check(&p);
	ck_assert(p.offer_due);
	raft_progress_accepted(&p, 25, 20);
	ck_assert_int_eq(p.state, RAFT_REPLICATE);
	ck_assert(!p.offer_due);
	ck_assert_uint_eq(p.next, 26);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raft/progress");
	TCase *t = tcase_create("progress");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_probe_waits_for_its_answer_or_a_heartbeat);
	tcase_add_test(t, a_refusal_goes_back_to_the_guess);
	tcase_add_test(t, what_matched_is_never_probed_again);
	tcase_add_test(t, the_window_is_of_messages_and_bytes);
	tcase_add_test(t, a_window_of_many_messages_grows_and_empties);
	tcase_add_test(t, a_heartbeat_frees_one_of_a_full_window_only);
	tcase_add_test(t, a_stream_that_is_quiet_is_asked);
	tcase_add_test(t, an_old_result_takes_nothing_back);
	tcase_add_test(t, a_stream_without_acknowledgement_is_given_up);
	tcase_add_test(t, a_snapshot_is_offered_until_the_base_is_there);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
