#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/loop.h"

static struct loop *loop;
static int calls;

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop), 0);
	calls = 0;
}

static void teardown(void)
{
	loop_free(loop);
}

static void count_call(void *arg)
{
	(void)arg;
	calls++;
}

static void stop_loop(void *arg)
{
	(void)arg;
	calls++;
	loop_stop(loop);
}

START_TEST(timers_run_once_or_again)
{
	struct loop_timer *again = loop_timer_new(loop, count_call, NULL);
	loop_timer_start(again, 1, 1);
	struct loop_timer *never = loop_timer_new(loop, count_call, NULL);
	loop_timer_start(never, 1, 1);
	loop_timer_stop(never);
	while (calls < 3)
		loop_turn(loop, true);
	loop_timer_free(again);
	loop_timer_free(never);
	loop_turn(loop, false);
	int before = calls;
	struct loop_timer *once = loop_timer_new(loop, stop_loop, NULL);
	loop_timer_start(once, 0, 0);
	loop_run(loop);
	ck_assert_int_eq(calls, before + 1);
}
END_TEST

/* Work that goes on by a timer of its own, and takes longer than the timer waits. */
struct pump {
	struct loop_timer *timer;
	unsigned after_ms, busy_ms, runs;
};
static unsigned turns;

static void on_pump(void *arg)
{
	struct pump *p = arg;
	int64_t until_ns = clock_mono_ns() + p->busy_ms * NS_PER_MS;
	while (clock_mono_ns() < until_ns) {
	}
	loop_timer_start(p->timer, p->after_ms, 0);
	if (++p->runs == 20)
		loop_stop(loop);
}

static void count_turn(void *arg)
{
	(void)arg;
	turns++;
}

/* Else descriptors, drains and the end of the turn would wait for all of that work. */
static void each_turn_once(struct pump *pumps, size_t count)
{
	turns = 0;
	loop_on_turn_end(loop, count_turn, NULL);
	for (size_t i = 0; i < count; i++) {
		pumps[i].timer = loop_timer_new(loop, on_pump, &pumps[i]);
		loop_timer_start(pumps[i].timer, pumps[i].after_ms, 0);
	}
	loop_run(loop);
	for (size_t i = 0; i < count; i++)
		ck_assert_uint_le(pumps[i].runs, turns + 1);
	for (size_t i = 0; i < count; i++)
		loop_timer_free(pumps[i].timer);
}

START_TEST(timers_that_begin_again_leave_turns_to_others)
{
	each_turn_once((struct pump[]){{NULL, 1, 3, 0}, {NULL, 1, 3, 0}}, 2);
}
END_TEST

START_TEST(a_timer_of_zero_leaves_turns_to_others)
{
	each_turn_once((struct pump[]){{NULL, 0, 0, 0}}, 1);
	each_turn_once((struct pump[]){{NULL, 0, 2, 0}, {NULL, 1, 2, 0}}, 2);
}
END_TEST

static void waited(void *arg)
{
	*(int64_t *)arg = clock_mono_ns();
	loop_stop(loop);
}

static void start_behind_work(void *arg)
{
	struct pump *p = arg;
	int64_t until_ns = clock_mono_ns() + p->busy_ms * NS_PER_MS;
	while (clock_mono_ns() < until_ns) {
	}
	loop_timer_start(p->timer, p->after_ms, 0);
}

/* From when it was started, however long the callback took that did it. */
START_TEST(a_long_callback_does_not_shorten_the_wait)
{
	int64_t done_ns = 0;
	struct pump p = {loop_timer_new(loop, waited, &done_ns), 50, 100, 0};
	struct loop_timer *first = loop_timer_new(loop, start_behind_work, &p);
	int64_t began_ns = clock_mono_ns();
	loop_timer_start(first, 0, 0);
	loop_run(loop);
	ck_assert_int_ge(done_ns - began_ns, 140 * NS_PER_MS); /* the clocks of timers are coarse */
}
END_TEST

static void *send_async(void *arg)
{
	loop_async_send(arg);
	return NULL;
}

START_TEST(another_thread_wakes_it)
{
	struct loop_async *a = loop_async_new(loop, stop_loop, NULL);
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, send_async, a), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
	ck_assert_int_eq(calls, 1);
	loop_async_free(a);
}
END_TEST

static struct loop_async *again;

static void send_once_more(void *arg)
{
	(void)arg;
	if (++calls < 3)
		loop_async_send(again);
}

START_TEST(sends_before_the_call_are_one_and_those_within_it_another)
{
	again = loop_async_new(loop, send_once_more, NULL);
	loop_turn(loop, false);
	ck_assert_int_eq(calls, 0);
	loop_async_send(again);
	loop_async_send(again);
	for (int i = 0; i < 10; i++)
		loop_turn(loop, false);
	ck_assert_int_eq(calls, 3); /* each but the last asked for one more */
	loop_async_send(again);
	loop_async_free(again);
	loop_turn(loop, false);
	ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(signals_come_on_the_loop)
{
	struct loop_signal *s, *bad;
	ck_assert_int_eq(loop_signal_new(loop, SIGUSR1, stop_loop, NULL, &s), 0);
	ck_assert_int_eq(loop_signal_new(loop, SIGKILL, stop_loop, NULL, &bad), WEIR_EINVAL);
	raise(SIGUSR1);
	loop_run(loop);
	ck_assert_int_eq(calls, 1);
	loop_signal_free(s);
}
END_TEST

static void read_byte(void *arg, unsigned events)
{
	char c;
	ck_assert_uint_eq(events, LOOP_READ);
	ck_assert_int_eq(read(*(int *)arg, &c, 1), 1);
	stop_loop(NULL);
}

START_TEST(descriptors_are_watched)
{
	int ends[2];
	struct loop_fd *f;
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(loop_fd_new(loop, ends[0], read_byte, &ends[0], &f), 0);
	loop_fd_watch(f, LOOP_READ);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	loop_run(loop);
	ck_assert_int_eq(calls, 1);
	loop_fd_free(f);
	loop_turn(loop, false);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* A source in the manner of ZeroMQ: its descriptor says nothing, only asking tells. */
struct silent {
	int fd, work, drained, ends;
	bool add_at_end;
	struct loop_drain *drain;
};

static bool silent_drain(void *arg)
{
	struct silent *s = arg;
	if (s->work) {
		s->work--;
		s->drained++;
	}
	return s->work > 0;
}

static bool silent_pending(void *arg)
{
	return ((struct silent *)arg)->work > 0;
}

static void silent_end(void *arg)
{
	struct silent *s = arg;
	s->ends++;
	if (s->add_at_end && s->drained == 5) {
		s->add_at_end = false;
		s->work = 1;
	}
	if (s->drained == 6)
		loop_stop(loop);
}

START_TEST(drains_are_asked_until_empty_without_events)
{
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	struct silent s = {.fd = ends[0], .work = 5, .add_at_end = true};
	ck_assert_int_eq(loop_drain_new(loop, ends[0], silent_drain, silent_pending, &s, &s.drain), 0);
	loop_on_turn_end(loop, silent_end, &s);
	loop_run(loop); /* would hang, were the work of the end of turn not seen */
	ck_assert_int_eq(s.drained, 6);
	ck_assert_int_ge(s.ends, 6);
	loop_drain_free(s.drain);
	loop_on_turn_end(loop, NULL, NULL);
	loop_turn(loop, false);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static bool never(void *arg)
{
	(void)arg;
	return false;
}

START_TEST(a_drain_knows_whether_its_descriptor_was_readable)
{
	int ends[2];
	char c;
	struct loop_drain *d;
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(loop_drain_new(loop, ends[0], never, NULL, NULL, &d), 0);
	ck_assert(loop_drain_was_readable(d)); /* nobody knows what was before */
	loop_turn(loop, false);
	ck_assert(!loop_drain_was_readable(d));
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	loop_turn(loop, true);
	ck_assert_int_eq(read(ends[0], &c, 1), 1);
	loop_turn(loop, false);
	ck_assert(loop_drain_was_readable(d)); /* since it was last asked, though no longer */
	ck_assert(!loop_drain_was_readable(d));
	loop_drain_free(d);
	loop_turn(loop, false);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static bool free_itself(void *arg)
{
	struct silent *s = arg;
	s->drained++;
	loop_drain_free(s->drain);
	return true;
}

START_TEST(a_drain_may_free_itself)
{
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	struct silent s = {.fd = ends[0]};
	ck_assert_int_eq(loop_drain_new(loop, ends[0], free_itself, NULL, &s, &s.drain), 0);
	for (int i = 0; i < 3; i++)
		loop_turn(loop, false);
	ck_assert_int_eq(s.drained, 1);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/loop");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, timers_run_once_or_again);
	tcase_add_test(tc, timers_that_begin_again_leave_turns_to_others);
	tcase_add_test(tc, a_timer_of_zero_leaves_turns_to_others);
	tcase_add_test(tc, a_long_callback_does_not_shorten_the_wait);
	tcase_add_test(tc, another_thread_wakes_it);
	tcase_add_test(tc, sends_before_the_call_are_one_and_those_within_it_another);
	tcase_add_test(tc, signals_come_on_the_loop);
	tcase_add_test(tc, descriptors_are_watched);
	tcase_add_test(tc, drains_are_asked_until_empty_without_events);
	tcase_add_test(tc, a_drain_knows_whether_its_descriptor_was_readable);
	tcase_add_test(tc, a_drain_may_free_itself);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
