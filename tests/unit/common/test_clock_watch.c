#include <check.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/clock_watch.h"

#define S NS_PER_SEC
#define MIN (60 * S)
#define H (60 * MIN)
#define DAY (24 * H)
#define NOON (CLOCK_RELEASE_NS + 100 * DAY + 12 * H)

/* A process that started at monotonic time 0, and looks at its clock once a second. */
static struct clock_watch w;
static int64_t true_ns, mono_ns, wrong_ns;

static void start_at(int64_t at_ns, int64_t floor_ns)
{
	true_ns = at_ns;
	mono_ns = 5 * S;
	wrong_ns = 0;
	clock_watch_init(&w, floor_ns, 5 * MIN);
}

static bool suspect(void)
{
	return clock_watch_suspect(&w, true_ns + wrong_ns, mono_ns);
}

static void run(int64_t ns)
{
	for (int64_t t = 0; t < ns; t += S) {
		true_ns += S;
		mono_ns += S;
		clock_watch_update(&w, true_ns + wrong_ns, mono_ns);
	}
}

START_TEST(a_clock_that_runs_is_right)
{
	start_at(NOON, 0);
	run(10 * S);
	ck_assert(!suspect());
	ck_assert(clock_watch_kept(&w) == true_ns);
	wrong_ns = -30 * S; /* set by a little, either way */
	run(10 * S);
	ck_assert(!suspect());
	wrong_ns = 30 * S;
	run(10 * S);
	ck_assert(!suspect());
}
END_TEST

START_TEST(what_it_would_show_is_known_when_it_is_wrong)
{
	start_at(NOON, 0);
	ck_assert(clock_watch_time(&w, mono_ns) == INT64_MAX);
	wrong_ns = -NOON;
	run(MIN);
	ck_assert(clock_watch_time(&w, mono_ns) == INT64_MAX); /* it never was right */
	wrong_ns = 0;
	run(MIN);
	ck_assert(clock_watch_time(&w, mono_ns) == true_ns);
	wrong_ns = -NOON;
	run(MIN);
	ck_assert(clock_watch_time(&w, mono_ns) == true_ns);
}
END_TEST

START_TEST(before_the_release_or_what_was_kept_it_is_wrong)
{
	start_at(NOON, 0);
	wrong_ns = 10 * S - NOON; /* 1970 */
	ck_assert(suspect());
	run(MIN);
	ck_assert(suspect());
	ck_assert(clock_watch_kept(&w) == CLOCK_RELEASE_NS);
	wrong_ns = 0; /* set right: believed at once */
	ck_assert(!suspect());
	run(MIN);
	ck_assert(!suspect());
	ck_assert(clock_watch_kept(&w) == true_ns);
	start_at(NOON, NOON + DAY);
	run(MIN);
	ck_assert(suspect());
	ck_assert(clock_watch_kept(&w) == NOON + DAY);
	wrong_ns = DAY;
	run(S);
	ck_assert(!suspect());
}
END_TEST

START_TEST(a_step_back_is_suspect_for_as_long_as_it_lasts)
{
	start_at(NOON, 0);
	run(MIN);
	int64_t before_ns = true_ns;
	wrong_ns = -H;
	ck_assert(suspect()); /* before any update */
	run(2 * H); /* also when the clock shows again what it showed before */
	ck_assert(suspect());
	ck_assert(clock_watch_kept(&w) == before_ns);
	wrong_ns = 0;
	ck_assert(!suspect());
	run(MIN);
	ck_assert(!suspect() && clock_watch_kept(&w) == true_ns);
}
END_TEST

START_TEST(who_comes_back_from_a_step_forward_comes_back_right)
{
	start_at(NOON, 0);
	run(MIN);
	wrong_ns = 10 * DAY;
	run(30 * MIN);
	ck_assert(!suspect());
	ck_assert(clock_watch_kept(&w) == true_ns); /* not what it shows */
	wrong_ns = 0;
	ck_assert(!suspect());
	run(MIN);
	ck_assert(!suspect() && clock_watch_kept(&w) == true_ns);
	wrong_ns = -H; /* and what it showed before counts */
	ck_assert(suspect());
}
END_TEST

START_TEST(a_step_forward_is_believed_in_time)
{
	start_at(NOON, 0);
	run(MIN);
	true_ns += 8 * H; /* a resume: the monotonic clock stood still */
	run(30 * MIN);
	ck_assert(!suspect());
	run(31 * MIN);
	ck_assert(!suspect() && clock_watch_kept(&w) == true_ns);
	wrong_ns = -H;
	ck_assert(suspect());
}
END_TEST

START_TEST(a_clock_that_runs_steadily_for_a_day_is_believed)
{
	start_at(NOON, NOON + 10 * DAY); /* what was kept came from a clock that was ahead */
	run(DAY - MIN);
	ck_assert(suspect());
	run(2 * MIN);
	ck_assert(!suspect());
	ck_assert(clock_watch_kept(&w) == true_ns);
	wrong_ns = -H;
	ck_assert(suspect());
	run(DAY - MIN);
	ck_assert(suspect());
	run(2 * MIN);
	ck_assert(!suspect());
	ck_assert(clock_watch_kept(&w) == true_ns - H);
	start_at(NOON, 0);
	wrong_ns = -NOON;
	run(2 * DAY); /* but never one before the release */
	ck_assert(suspect());
}
END_TEST

int main(void)
{
	Suite *s = suite_create("clock_watch");
	TCase *tc = tcase_create("clock_watch");
	tcase_add_test(tc, a_clock_that_runs_is_right);
	tcase_add_test(tc, what_it_would_show_is_known_when_it_is_wrong);
	tcase_add_test(tc, before_the_release_or_what_was_kept_it_is_wrong);
	tcase_add_test(tc, a_step_back_is_suspect_for_as_long_as_it_lasts);
	tcase_add_test(tc, who_comes_back_from_a_step_forward_comes_back_right);
	tcase_add_test(tc, a_step_forward_is_believed_in_time);
	tcase_add_test(tc, a_clock_that_runs_steadily_for_a_day_is_believed);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
