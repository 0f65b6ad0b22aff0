#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/cutover.h"
#include "common/clock.h"

#define MIN (60 * NS_PER_SEC)
#define NONE WATERMARK_NONE
#define EDGES 2
#define VERSIONS 3

static struct stream_conf confs[VERSIONS];
static struct cutover_edge edges[VERSIONS][EDGES];
static struct cutover_stream known[VERSIONS];
static struct topology t;
static struct cutover_step steps[VERSIONS];
static uint32_t numbers[EDGES] = {0, 1};
static char name[] = "speed", other[] = "load";

/* Version i in a phase, of windows of a minute, answering everything; nothing is known of any edge. */
static void version(unsigned i, enum stream_phase phase)
{
	confs[i] = (struct stream_conf){.name = name, .version = i + 1, .phase = phase, .from_ns = INT64_MIN,
	    .answers_until_ns = INT64_MAX, .until_ns = INT64_MAX, .size_ns = MIN, .advance_ns = MIN, .slice_ns = MIN,
	    .edges = numbers, .edge_count = EDGES};
	if (phase == STREAM_PENDING)
		confs[i].from_ns = INT64_MAX;
	for (unsigned e = 0; e < EDGES; e++)
		edges[i][e] = (struct cutover_edge){EDGE_LIVE, false, NONE, false, NONE, false};
	known[i] = (struct cutover_stream){NONE, NONE, NONE, NONE, edges[i]};
	t.streams = confs;
	t.stream_count = i + 1;
}

static void since(unsigned i, unsigned e, int64_t ns)
{
	edges[i][e].since_known = true;
	edges[i][e].since_ns = ns;
}

static size_t look(void)
{
	return cutover_steps(&t, known, steps);
}

static void setup(void)
{
	version(0, STREAM_CURRENT);
	version(1, STREAM_PENDING);
}

static void ck_cut(uint32_t stream, int64_t t_ns)
{
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(steps[0].stream, stream);
	ck_assert(!steps[0].retire);
	ck_assert_int_eq(steps[0].t_ns, t_ns);
}

START_TEST(all_edges_say_since_when_first)
{
	ck_assert_uint_eq(look(), 0);
	since(1, 0, 3 * MIN);
	ck_assert_uint_eq(look(), 0);
	edges[1][1].state = EDGE_IDLE; /* idle, joining, ... : it will say */
	ck_assert_uint_eq(look(), 0);
	since(1, 1, 4 * MIN + 1);
	ck_cut(1, 5 * MIN);
}
END_TEST

START_TEST(a_partitioned_edge_is_not_waited_for)
{
	since(1, 0, 3 * MIN);
	edges[1][1].state = EDGE_PARTITIONED;
	ck_cut(1, 3 * MIN);
	since(1, 1, 7 * MIN); /* but what it said counts */
	ck_cut(1, 7 * MIN);
}
END_TEST

START_TEST(what_an_edge_said_that_left_counts)
{
	since(1, 0, 3 * MIN);
	since(1, 1, 4 * MIN);
	known[1].left_since_ns = 6 * MIN;
	ck_cut(1, 6 * MIN);
	known[1].left_since_ns = 2 * MIN;
	ck_cut(1, 4 * MIN);
}
END_TEST

START_TEST(an_edge_that_never_read_takes_no_time)
{
	since(1, 0, 3 * MIN);
	since(1, 1, NONE);
	ck_cut(1, 3 * MIN);
	since(1, 0, NONE);
	ck_cut(1, NONE);
}
END_TEST

START_TEST(those_away_may_have_all_readings_there_are)
{
	since(1, 0, NONE);
	edges[1][1].state = EDGE_PARTITIONED;
	ck_assert_uint_eq(look(), 0);
	known[0].close_ns = 90 * NS_PER_SEC;
	ck_cut(1, 2 * MIN);
}
END_TEST

START_TEST(no_window_that_has_closed_is_taken_over)
{
	since(1, 0, 3 * MIN);
	since(1, 1, 3 * MIN);
	known[0].close_ns = 8 * MIN;
	ck_cut(1, 8 * MIN);
	known[0].close_ns = NONE;
	confs[0].from_ns = 6 * MIN; /* it took over itself */
	ck_cut(1, 6 * MIN);
}
END_TEST

START_TEST(the_cut_is_on_both_grids)
{
	since(1, 0, MIN + 1);
	since(1, 1, NONE);
	confs[1].size_ns = confs[1].advance_ns = confs[1].slice_ns = 90 * NS_PER_SEC;
	ck_cut(1, 3 * MIN);
}
END_TEST

START_TEST(a_stream_that_comes_back_follows_what_it_was)
{
	version(0, STREAM_RETIRED);
	version(1, STREAM_RETIRED); /* given up: never answered */
	confs[1].from_ns = confs[1].answers_until_ns = confs[1].until_ns = INT64_MIN;
	known[1].close_ns = 100 * MIN;
	version(2, STREAM_PENDING);
	known[0].close_ns = known[0].final_ns = 4 * MIN;
	since(2, 0, MIN);
	since(2, 1, NONE);
	ck_cut(2, 4 * MIN);
	/* an earlier cut bounds what the first has told of */
	confs[0].answers_until_ns = 3 * MIN;
	ck_cut(2, 3 * MIN);
}
END_TEST

START_TEST(other_streams_do_not_matter)
{
	confs[0].name = other;
	known[0].close_ns = 9 * MIN;
	since(1, 0, NONE);
	since(1, 1, NONE);
	ck_cut(1, NONE);
	edges[1][1] = (struct cutover_edge){EDGE_PARTITIONED, false, NONE, false, NONE, false};
	ck_cut(1, NONE); /* nothing is before it that anybody could have fed */
}
END_TEST

START_TEST(a_version_without_edges_is_cut_at_once)
{
	confs[1].edge_count = 0;
	ck_cut(1, NONE);
}
END_TEST

static void ck_retired(uint32_t stream)
{
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(steps[0].stream, stream);
	ck_assert(steps[0].retire);
}

START_TEST(closing_ends_when_final_has_passed)
{
	version(0, STREAM_CLOSING);
	confs[0].answers_until_ns = confs[0].until_ns = 5 * MIN;
	ck_assert_uint_eq(look(), 0);
	known[0].close_ns = 9 * MIN;
	known[0].final_ns = 5 * MIN - 1;
	ck_assert_uint_eq(look(), 0);
	known[0].final_ns = 5 * MIN;
	ck_retired(0);
	known[0].final_ns = NONE;
	confs[0].edge_count = 0;
	ck_retired(0);
	known[0].left_end_ns = 4 * MIN; /* by edges that have left */
	ck_assert_uint_eq(look(), 0);
	known[0].final_ns = 4 * MIN;
	ck_retired(0);
	version(0, STREAM_CLOSING);
	confs[0].answers_until_ns = confs[0].until_ns = INT64_MIN;
	ck_retired(0);
}
END_TEST

START_TEST(an_ended_stream_is_done_when_all_is_delivered)
{
	version(0, STREAM_ENDED);
	ck_assert_uint_eq(look(), 0);
	edges[0][0].state = EDGE_IDLE;
	edges[0][0].flushed_end_ns = 3 * MIN;
	edges[0][1].never_read = true;
	edges[0][0].ended = edges[0][1].ended = true;
	ck_assert_uint_eq(look(), 0); /* not final yet */
	known[0].final_ns = 3 * MIN;
	ck_retired(0);
	edges[0][1].flushed_end_ns = 4 * MIN; /* of an edge that left */
	ck_assert_uint_eq(look(), 0);
	known[0].final_ns = 4 * MIN;
	ck_retired(0);
	edges[0][1] = (struct cutover_edge){EDGE_PARTITIONED, false, NONE, false, NONE, true};
	ck_assert_uint_eq(look(), 0); /* it may have some */
	edges[0][1].state = EDGE_IDLE;
	ck_retired(0);
	edges[0][1].ended = false; /* idle as far as is known: it may not have heard that the stream is gone, and go on */
	ck_assert_uint_eq(look(), 0);
}
END_TEST

START_TEST(several_steps_at_once)
{
	version(0, STREAM_CLOSING);
	confs[0].answers_until_ns = confs[0].until_ns = 5 * MIN;
	known[0].final_ns = 5 * MIN;
	version(1, STREAM_CURRENT);
	confs[1].from_ns = 5 * MIN;
	version(2, STREAM_PENDING);
	since(2, 0, 6 * MIN);
	since(2, 1, 6 * MIN);
	ck_assert_uint_eq(look(), 2);
	ck_assert(steps[0].retire && steps[0].stream == 0);
	ck_assert(!steps[1].retire && steps[1].stream == 2 && steps[1].t_ns == 6 * MIN);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cutover");
	TCase *c = tcase_create("cutover");
	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, all_edges_say_since_when_first);
	tcase_add_test(c, a_partitioned_edge_is_not_waited_for);
	tcase_add_test(c, what_an_edge_said_that_left_counts);
	tcase_add_test(c, an_edge_that_never_read_takes_no_time);
	tcase_add_test(c, those_away_may_have_all_readings_there_are);
	tcase_add_test(c, no_window_that_has_closed_is_taken_over);
	tcase_add_test(c, the_cut_is_on_both_grids);
	tcase_add_test(c, a_stream_that_comes_back_follows_what_it_was);
	tcase_add_test(c, other_streams_do_not_matter);
	tcase_add_test(c, a_version_without_edges_is_cut_at_once);
	tcase_add_test(c, closing_ends_when_final_has_passed);
	tcase_add_test(c, an_ended_stream_is_done_when_all_is_delivered);
	tcase_add_test(c, several_steps_at_once);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
