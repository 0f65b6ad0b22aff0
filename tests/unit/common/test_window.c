#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/window.h"

#define S INT64_C(1000000000)

START_TEST(windows_of_a_slice)
{
	struct window_grid tumbling = {60 * S, 60 * S, 0}, sliding = {5 * S, 1 * S, 0}, offset = {10 * S, 10 * S, 3 * S};
	int64_t first, last;
	ck_assert(window_range(&tumbling, 65 * S, S, &first, &last));
	ck_assert(first == 60 * S && last == 60 * S);
	ck_assert(window_range(&sliding, 7 * S, S, &first, &last));
	ck_assert(first == 3 * S && last == 7 * S);
	ck_assert(window_range(&sliding, -2 * S, S, &first, &last));
	ck_assert(first == -6 * S && last == -2 * S);
	ck_assert(window_range(&offset, 2 * S, S, &first, &last));
	ck_assert(first == -7 * S && last == -7 * S);
	/* a period longer than the window is in none, one as long in one */
	ck_assert(!window_range(&tumbling, 0, 120 * S, &first, &last));
	ck_assert(window_range(&tumbling, 60 * S, 60 * S, &first, &last));
	ck_assert(!window_range(&tumbling, 90 * S, 60 * S, &first, &last));
}
END_TEST

START_TEST(the_first_window_that_ends_later)
{
	struct window_grid g = {5 * S, 1 * S, 0};
	ck_assert(window_ending_after(&g, 10 * S) == 6 * S);
	ck_assert(window_ending_after(&g, 10 * S - 1) == 5 * S);
	ck_assert(window_ceil(&g, 1) == S && window_ceil(&g, S) == S && window_ceil(&g, -1) == 0);
}
END_TEST

static struct stream_conf rolled(struct rollup_conf rollups[2])
{
	rollups[0] = (struct rollup_conf){60 * S, 1000 * S};
	rollups[1] = (struct rollup_conf){600 * S, RETAIN_FOREVER};
	return (struct stream_conf){.size_ns = 10 * S, .advance_ns = 10 * S, .slice_ns = 10 * S, .retain_ns = 100 * S,
	    .rollups = rollups, .rollup_count = 2};
}

START_TEST(levels_are_judged_against_close)
{
	struct rollup_conf rollups[2];
	struct stream_conf s = rolled(rollups);
	struct window_levels l;
	int64_t period;
	window_levels_at(&s, WATERMARK_NONE, &l);
	ck_assert_int_eq(window_level(&l, 0, TIME_MIN_NS, &period), 0);
	window_levels_at(&s, 3000 * S, &l);
	/* level 0 ends at a boundary of level 1: floor(2900, 60) */
	ck_assert(l.floor_ns[0] == 2880 * S && l.floor_ns[1] == 1800 * S && l.floor_ns[2] == INT64_MIN);
	ck_assert(l.horizon_ns == INT64_MIN);
	ck_assert_int_eq(window_level(&l, 0, 2880 * S, &period), 0);
	ck_assert(period == 2880 * S);
	ck_assert_int_eq(window_level(&l, 0, 2870 * S, &period), 1);
	ck_assert(period == 2820 * S);
	ck_assert_int_eq(window_level(&l, 0, 1800 * S, &period), 1);
	ck_assert_int_eq(window_level(&l, 0, 1790 * S, &period), 2);
	ck_assert(period == 1200 * S);
	s.rollup_count = 1;
	window_levels_at(&s, 3000 * S, &l);
	ck_assert(l.floor_ns[1] == 1980 * S); /* the last level ends at its own boundary: floor(2000, 60) */
	ck_assert(l.horizon_ns == 1980 * S);
	ck_assert_int_eq(window_level(&l, 0, 1979 * S, &period), -1);
	s.rollup_count = 0;
	s.retain_ns = RETAIN_FOREVER;
	window_levels_at(&s, 3000 * S, &l);
	ck_assert_int_eq(window_level(&l, 0, TIME_MIN_NS, &period), 0);
}
END_TEST

START_TEST(windows_that_would_need_a_part_are_not_answered)
{
	struct rollup_conf rollups[2];
	struct stream_conf s = rolled(rollups);
	struct window_levels l;
	s.rollup_count = 1;
	window_levels_at(&s, 3000 * S, &l);
	ck_assert(window_answerable(&l, 2880 * S, 2890 * S));
	ck_assert(!window_answerable(&l, 2870 * S, 2880 * S)); /* its slice is in a period of a minute */
	ck_assert(window_answerable(&l, 2820 * S, 2880 * S));
	ck_assert(window_answerable(&l, 2820 * S, 2900 * S));  /* a period and two slices */
	ck_assert(!window_answerable(&l, 2830 * S, 2890 * S));
	ck_assert(!window_answerable(&l, 2800 * S, 2850 * S));
	ck_assert(window_answerable(&l, 1980 * S, 2040 * S));
	ck_assert(!window_answerable(&l, 1920 * S, 2040 * S)); /* half of it is deleted */
	ck_assert(window_answerable(&l, 5000 * S, 5010 * S));  /* open */
}
END_TEST

START_TEST(times_stay_in_range)
{
	ck_assert(window_time(WATERMARK_NONE) == WATERMARK_NONE);
	ck_assert(window_time(INT64_MAX) == TIME_MAX_NS);
	ck_assert(window_time(INT64_MIN + 1) == TIME_MIN_NS);
	ck_assert(window_time(5) == 5);
}
END_TEST

START_TEST(groups_are_taken_apart)
{
	struct group_value v[BY_MAX];
	uint8_t room[GROUP_KEY_MAX];
	ck_assert(group_split(bytes_of("\x01" "a" "\x00", 3), 2, v));
	ck_assert(v[0].text.n == 1 && *v[0].text.p == 'a' && v[1].text.n == 0 && v[1].encoded.n == 1);
	ck_assert(!group_split(bytes_of("\x01" "a", 2), 2, v));
	ck_assert(!group_split(bytes_of("\x01" "a\x00\x00", 4), 2, v));
	ck_assert(!group_split(bytes_of("\x81\x00" "a", 3), 1, v)); /* a length written the long way */
	ck_assert(group_split(bytes_of(NULL, 0), 0, v));
	struct bytes other = group_other(2, room);
	ck_assert(group_split(other, 2, v));
	ck_assert(v[1].text.n == strlen(GROUP_OTHER) && !memcmp(v[1].text.p, GROUP_OTHER, v[1].text.n));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/window");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, windows_of_a_slice);
	tcase_add_test(tc, the_first_window_that_ends_later);
	tcase_add_test(tc, levels_are_judged_against_close);
	tcase_add_test(tc, windows_that_would_need_a_part_are_not_answered);
	tcase_add_test(tc, times_stay_in_range);
	tcase_add_test(tc, groups_are_taken_apart);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
