#include <check.h>
#include <stdio.h>

#include "cloudd/pace.h"
#include "common/clock.h"

#define S NS_PER_SEC
#define MIB (1024 * 1024)

static struct pace *p;

static void setup(void)
{
	p = pace_new();
}

static void teardown(void)
{
	pace_free(p);
}

START_TEST(each_asker_waits_for_itself)
{
	ck_assert(pace_may(p, "a", 7, 1000, 0));
	ck_assert(!pace_may(p, "a", 7, 1000, PACE_EVERY_MS * NS_PER_MS - 1));
	ck_assert(pace_may(p, "b", 7, 1000, 1));
	ck_assert(pace_may(p, "a", 7, 1000, PACE_EVERY_MS * NS_PER_MS)); /* what was refused does not count */
	ck_assert(!pace_may(p, "a", 7, 0, PACE_EVERY_MS * NS_PER_MS));
	ck_assert(pace_may(p, "a", 8, 1000, PACE_EVERY_MS * NS_PER_MS)); /* another map: at once */
}
END_TEST

/* How many of a fleet that asks without end are given a MiB each, in so many ms. */
static unsigned given(int64_t from_ms, int64_t to_ms)
{
	unsigned n = 0;
	for (int64_t ms = from_ms; ms < to_ms; ms++) {
		char who[16];
		snprintf(who, sizeof(who), "edge-%d", (int)(ms % 1000));
		n += pace_may(p, who, 7, MIB, ms * NS_PER_MS);
	}
	return n;
}

START_TEST(all_together_have_their_share)
{
	unsigned first = given(1000, 2000), later = given(2000, 12000);
	ck_assert_uint_ge(first, 64);
	ck_assert_uint_le(first, 129); /* what had gathered, and a second's */
	ck_assert_uint_ge(later, 600);
	ck_assert_uint_le(later, 641);
	ck_assert(pace_may(p, "cloud-2", 7, 0, 12000 * NS_PER_MS)); /* which is not counted */
	unsigned again = given(1000 * 1000, 1000 * 1000 + 10);
	ck_assert_uint_eq(again, 10); /* time that passed gives one second's room, not more */
	ck_assert_uint_le(given(1000 * 1000 + 10, 1001 * 1000), 129);
}
END_TEST

START_TEST(one_that_is_larger_than_all_have_passes_alone)
{
	ck_assert(pace_may(p, "a", 7, 2 * (size_t)PACE_BYTES_PER_S, 0));
	ck_assert(!pace_may(p, "b", 7, 1, S / 2));
	ck_assert(pace_may(p, "b", 7, 1, 3 * S));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/pace");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_asker_waits_for_itself);
	tcase_add_test(tc, all_together_have_their_share);
	tcase_add_test(tc, one_that_is_larger_than_all_have_passes_alone);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
