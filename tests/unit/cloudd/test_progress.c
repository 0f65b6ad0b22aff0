#include <check.h>
#include <pthread.h>
#include <sched.h>

#include "cloudd/progress.h"
#include "common/clock.h"
#include "common/err.h"

#define LONG_NS (60 * NS_PER_SEC)

static struct progress *p;

/* What the state writer does when a reader waits: commits. */
static void commit_on_wake(void *arg)
{
	(void)arg;
	ck_assert(progress_wanted(p, 1, 10));
	ck_assert(!progress_wanted(p, 1, 9)); /* not applied yet: a commit would not help */
	ck_assert(!progress_wanted(p, 0, 10));
	progress_set_durable(p, 1, 10);
}

static void never(void *arg)
{
	(void)arg;
	ck_abort_msg("woken for nothing");
}

static void nothing(void *arg)
{
	(void)arg;
}

START_TEST(a_reader_waits_for_what_is_not_durable)
{
	p = progress_new(2, commit_on_wake, NULL);
	progress_set_committed(p, 1, 10);
	ck_assert_int_eq(progress_wait(p, 1, progress_committed(p, 1), LONG_NS), 0);
	ck_assert(progress_durable(p, 1) == 10);
	ck_assert(!progress_wanted(p, 1, 20));
	progress_free(p);
}
END_TEST

START_TEST(what_is_durable_is_not_waited_for)
{
	p = progress_new(1, never, NULL);
	progress_set_durable(p, 0, 5);
	progress_set_durable(p, 0, 3); /* never falls */
	progress_set_committed(p, 0, 5);
	progress_set_committed(p, 0, 4);
	ck_assert(progress_committed(p, 0) == 5);
	ck_assert_int_eq(progress_wait(p, 0, 5, LONG_NS), 0);
	ck_assert_int_eq(progress_wait(p, 0, 0, LONG_NS), 0);
	progress_free(p);
}
END_TEST

START_TEST(waiting_ends)
{
	p = progress_new(1, nothing, NULL);
	ck_assert_int_eq(progress_wait(p, 0, 1, 1000), WEIR_ETIMEOUT);
	progress_stop(p);
	ck_assert_int_eq(progress_wait(p, 0, 1, LONG_NS), WEIR_ECLOSED);
	progress_free(p);
}
END_TEST

static void *wait_long(void *arg)
{
	*(int *)arg = progress_wait(p, 0, 7, LONG_NS);
	return NULL;
}

static pthread_mutex_t woken_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static int wakes;

static void count_wake(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&woken_mutex);
	wakes++;
	pthread_cond_signal(&woken);
	pthread_mutex_unlock(&woken_mutex);
}

START_TEST(many_wait_and_stopping_frees_them)
{
	pthread_t threads[3];
	int rc[3] = {1, 1, 1};
	p = progress_new(1, count_wake, NULL);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_long, &rc[i]), 0);
	pthread_mutex_lock(&woken_mutex);
	while (wakes < 3)
		pthread_cond_wait(&woken, &woken_mutex);
	pthread_mutex_unlock(&woken_mutex);
	progress_set_durable(p, 0, 6); /* not far enough */
	progress_stop(p);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(rc[i], WEIR_ECLOSED);
	}
	progress_free(p);
}
END_TEST

START_TEST(a_pause_ends_by_itself_or_when_stopped)
{
	p = progress_new(1, never, NULL);
	ck_assert_int_eq(progress_pause(p, 1000), 0);
	progress_stop(p);
	ck_assert_int_eq(progress_pause(p, LONG_NS), WEIR_ECLOSED);
	progress_free(p);
}
END_TEST

/* ---- read indexes ------------------------------------------------------------------------------------------------ */

struct reader {
	pthread_t thread;
	int rc;
	uint64_t index;
};

static void *read_index(void *arg)
{
	struct reader *r = arg;
	r->rc = progress_read_index(p, 1, LONG_NS, &r->index);
	return NULL;
}

static void start_reader(struct reader *r)
{
	*r = (struct reader){.rc = 1};
	ck_assert_int_eq(pthread_create(&r->thread, NULL, read_index, r), 0);
}

static void expect_read(struct reader *r, int rc, uint64_t index)
{
	pthread_join(r->thread, NULL);
	ck_assert_int_eq(r->rc, rc);
	ck_assert_uint_eq(r->index, index);
}

/* Until the loop has been woken so often. */
static void await_wakes(int n)
{
	pthread_mutex_lock(&woken_mutex);
	while (wakes < n)
		pthread_cond_wait(&woken, &woken_mutex);
	pthread_mutex_unlock(&woken_mutex);
}

START_TEST(a_reader_gets_what_was_confirmed)
{
	struct reader r;
	uint64_t ticket;
	p = progress_new(2, count_wake, NULL);
	ck_assert(!progress_read_begin(p, 1, &ticket)); /* nobody asks */
	start_reader(&r);
	await_wakes(1);
	ck_assert(!progress_read_begin(p, 0, &ticket)); /* not of that group */
	ck_assert(progress_read_begin(p, 1, &ticket));
	uint64_t again;
	ck_assert(!progress_read_begin(p, 1, &again)); /* once */
	progress_read_done(p, 1, ticket, true, 17);
	expect_read(&r, 0, 17);
	start_reader(&r);
	await_wakes(2);
	ck_assert(progress_read_begin(p, 1, &ticket));
	progress_read_done(p, 1, ticket, false, 0);
	expect_read(&r, WEIR_ENOTLEADER, 0);
	struct progress_reads counts;
	progress_reads(p, &counts);
	ck_assert(counts.begun == 2 && counts.ok == 1 && counts.refused == 1 && counts.timeouts == 0);
	progress_free(p);
}
END_TEST

/* What was begun before a reader came says nothing about what was committed when it came. */
START_TEST(who_comes_later_waits_for_the_next_round)
{
	struct reader early, late[3];
	uint64_t first, second;
	p = progress_new(2, count_wake, NULL);
	start_reader(&early);
	await_wakes(1);
	ck_assert(progress_read_begin(p, 1, &first));
	for (int i = 0; i < 3; i++)
		start_reader(&late[i]);
	/* They are told of by the round's end, and not before: one is under way. */
	struct progress_reads counts = {0};
	for (; counts.waiting < 4; progress_reads(p, &counts))
		sched_yield();
	ck_assert(!progress_read_begin(p, 1, &second));
	ck_assert_int_eq(wakes, 1);
	progress_read_done(p, 1, first, true, 5);
	expect_read(&early, 0, 5);
	await_wakes(2);
	progress_read_done(p, 1, first, true, 6); /* twice: of no round that is under way */
	ck_assert(progress_read_begin(p, 1, &second));
	ck_assert(second != first);
	progress_read_done(p, 1, first, true, 7);
	progress_read_done(p, 1, second, true, 9);
	for (int i = 0; i < 3; i++)
		expect_read(&late[i], 0, 9); /* all of one round */
	progress_free(p);
}
END_TEST

START_TEST(a_reader_that_gave_up_is_not_asked_for)
{
	uint64_t ticket, index = 3;
	p = progress_new(2, nothing, NULL);
	ck_assert_int_eq(progress_read_index(p, 1, 1000, &index), WEIR_ETIMEOUT);
	ck_assert_uint_eq(index, 3);
	ck_assert(!progress_read_begin(p, 1, &ticket));
	progress_free(p);
}
END_TEST

START_TEST(stopping_frees_readers_of_an_index)
{
	struct reader waits, begun;
	uint64_t ticket;
	p = progress_new(2, count_wake, NULL);
	start_reader(&begun);
	await_wakes(1);
	ck_assert(progress_read_begin(p, 1, &ticket));
	start_reader(&waits);
	progress_stop(p);
	expect_read(&begun, WEIR_ECLOSED, 0);
	expect_read(&waits, WEIR_ECLOSED, 0);
	progress_read_done(p, 1, ticket, true, 4);
	ck_assert(!progress_read_begin(p, 1, &ticket));
	progress_free(p);
}
END_TEST

#define CROWD 8
#define CROWD_READS 200

static uint64_t committed_now; /* under woken_mutex */

static uint64_t commit_one(void)
{
	pthread_mutex_lock(&woken_mutex);
	uint64_t index = ++committed_now;
	pthread_mutex_unlock(&woken_mutex);
	return index;
}

/* Writes, then reads: what is read covers what was written before the reader asked. */
static void *write_and_read(void *arg)
{
	bool *ok = arg;
	*ok = true;
	for (int i = 0; i < CROWD_READS && *ok; i++) {
		uint64_t written = commit_one(), index = 0;
		*ok = !progress_read_index(p, 1, LONG_NS, &index) && index >= written;
	}
	return NULL;
}

static bool loop_ends; /* under woken_mutex */

/* What the daemon's loop does, with the index as of each round's end. */
static void *run_loop(void *arg)
{
	(void)arg;
	int seen = 0;
	pthread_mutex_lock(&woken_mutex);
	while (!loop_ends) {
		if (wakes == seen) {
			pthread_cond_wait(&woken, &woken_mutex);
			continue;
		}
		seen = wakes;
		pthread_mutex_unlock(&woken_mutex);
		uint64_t ticket;
		bool begun = progress_read_begin(p, 1, &ticket);
		pthread_mutex_lock(&woken_mutex);
		uint64_t index = committed_now;
		pthread_mutex_unlock(&woken_mutex);
		if (begun)
			progress_read_done(p, 1, ticket, true, index);
		pthread_mutex_lock(&woken_mutex);
	}
	pthread_mutex_unlock(&woken_mutex);
	return NULL;
}

START_TEST(no_reader_misses_what_was_committed_before_it)
{
	pthread_t threads[CROWD], loop;
	bool ok[CROWD];
	struct progress_reads counts;
	p = progress_new(2, count_wake, NULL);
	ck_assert_int_eq(pthread_create(&loop, NULL, run_loop, NULL), 0);
	for (int i = 0; i < CROWD; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_and_read, &ok[i]), 0);
	for (int i = 0; i < CROWD; i++) {
		pthread_join(threads[i], NULL);
		ck_assert(ok[i]);
	}
	pthread_mutex_lock(&woken_mutex);
	loop_ends = true;
	pthread_cond_broadcast(&woken);
	pthread_mutex_unlock(&woken_mutex);
	pthread_join(loop, NULL);
	progress_reads(p, &counts);
	ck_assert(counts.ok == CROWD * CROWD_READS && !counts.waiting && !counts.refused && !counts.timeouts);
	progress_free(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/progress");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, a_reader_waits_for_what_is_not_durable);
	tcase_add_test(tc, what_is_durable_is_not_waited_for);
	tcase_add_test(tc, waiting_ends);
	tcase_add_test(tc, many_wait_and_stopping_frees_them);
	tcase_add_test(tc, a_pause_ends_by_itself_or_when_stopped);
	tcase_add_test(tc, a_reader_gets_what_was_confirmed);
	tcase_add_test(tc, who_comes_later_waits_for_the_next_round);
	tcase_add_test(tc, a_reader_that_gave_up_is_not_asked_for);
	tcase_add_test(tc, stopping_frees_readers_of_an_index);
	tcase_add_test(tc, no_reader_misses_what_was_committed_before_it);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
