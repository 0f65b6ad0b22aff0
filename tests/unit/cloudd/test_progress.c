#include <check.h>
#include <pthread.h>

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

int main(void)
{
	Suite *s = suite_create("cloudd/progress");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, a_reader_waits_for_what_is_not_durable);
	tcase_add_test(tc, what_is_durable_is_not_waited_for);
	tcase_add_test(tc, waiting_ends);
	tcase_add_test(tc, many_wait_and_stopping_frees_them);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
