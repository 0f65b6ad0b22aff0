#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/stats.h"

enum { LINES, DEPTH, COMMIT };
static const struct stats_family table[] = {
    [LINES] = {"weir_lines_total", "lines \\ read\nby source", STATS_COUNTER, {"source", "reason"}},
    [DEPTH] = {"weir_queue_depth", "entries waiting", STATS_GAUGE, {NULL}},
    [COMMIT] = {"weir_commit_seconds", "time of a commit", STATS_DURATION, {"env"}},
};

START_TEST(text_is_what_prometheus_reads)
{
	struct stats *s = stats_new(table, 3);
	struct stats_cell *c = stats_cell(s, LINES, (const char *const[]){"a\"b\\c\nd", "ok"});
	stats_add(c, 3);
	stats_add(stats_cell(s, LINES, (const char *const[]){"a\"b\\c\nd", "ok"}), 4);
	stats_set(stats_cell(s, DEPTH, NULL), -2.5);
	struct stats_cell *d = stats_cell(s, COMMIT, (const char *const[]){"log"});
	stats_observe(d, 200000);
	stats_observe(d, 1500000000);
	stats_observe(d, 99000000000);
	struct buf b = {0};
	stats_render(s, &b);
	ck_assert_str_eq(buf_cstr(&b),
	    "# HELP weir_lines_total lines \\\\ read\\nby source\n"
	    "# TYPE weir_lines_total counter\n"
	    "weir_lines_total{source=\"a\\\"b\\\\c\\nd\",reason=\"ok\"} 7\n"
	    "# HELP weir_queue_depth entries waiting\n"
	    "# TYPE weir_queue_depth gauge\n"
	    "weir_queue_depth -2.5\n"
	    "# HELP weir_commit_seconds time of a commit\n"
	    "# TYPE weir_commit_seconds histogram\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.0001\"} 0\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.00025\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.001\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.0025\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.01\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.025\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.1\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"0.25\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"1\"} 1\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"2.5\"} 2\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"10\"} 2\n"
	    "weir_commit_seconds_bucket{env=\"log\",le=\"+Inf\"} 3\n"
	    "weir_commit_seconds_sum{env=\"log\"} 100.500200000\n"
	    "weir_commit_seconds_count{env=\"log\"} 3\n");
	buf_free(&b);
	stats_free(s);
}
END_TEST

START_TEST(cells_are_bounded)
{
	struct stats *s = stats_new(table, 3);
	char value[32];
	for (int i = 0; i < STATS_CELLS_MAX + 500; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		stats_add(stats_cell(s, LINES, (const char *const[]){value, "x"}), 1);
	}
	struct buf b = {0};
	stats_render(s, &b);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "{source=\"other\",reason=\"other\"} 500\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "{source=\"v999\",reason=\"x\"} 1\n"));
	ck_assert_ptr_null(strstr(buf_cstr(&b), "v1000"));
	char *wide = malloc(1000);
	memset(wide, 'w', 999);
	wide[999] = 0;
	stats_add(stats_cell(s, COMMIT, (const char *const[]){wide}), 0);
	ck_assert_ptr_eq(stats_cell(s, COMMIT, (const char *const[]){wide}),
	    stats_cell(s, COMMIT, (const char *const[]){wide}));
	free(wide);
	buf_free(&b);
	stats_free(s);
}
END_TEST

static void expect_json(const char *s, size_t n, const char *want)
{
	struct buf b = {0};
	json_bytes(&b, s, n);
	ck_assert_str_eq(buf_cstr(&b), want);
	buf_free(&b);
}

START_TEST(json_strings_are_always_valid)
{
	expect_json("a\"b\\c/\n\t\x01", 9, "\"a\\\"b\\\\c/\\n\\t\\u0001\"");
	expect_json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	expect_json("\xff\xc0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	expect_json("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	expect_json("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
	expect_json("a\0b", 3, "\"a\\u0000b\"");
}
END_TEST

START_TEST(json_doubles_are_short_and_exact)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {{88.25, "88.25"}, {0.1, "0.1"}, {12, "12"}, {-0.0, "-0"}, {1e300, "1e+300"},
	    {0.30000000000000004, "0.30000000000000004"}, {NAN, "null"}, {INFINITY, "null"}, {5e-324, "4.94065645841247e-324"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = {0};
		json_double(&b, cases[i].v);
		ck_assert_str_eq(buf_cstr(&b), cases[i].text);
		buf_free(&b);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/stats");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, text_is_what_prometheus_reads);
	tcase_add_test(tc, cells_are_bounded);
	tcase_add_test(tc, json_strings_are_always_valid);
	tcase_add_test(tc, json_doubles_are_short_and_exact);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
