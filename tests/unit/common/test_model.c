#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/model.h"

static bool matches(const char *pattern, const char *text)
{
	return glob_match(pattern, text, strlen(text));
}

START_TEST(globs_match_whole_texts)
{
	ck_assert(matches("speed", "speed"));
	ck_assert(!matches("speed", "speeds"));
	ck_assert(!matches("speeds", "speed"));
	ck_assert(matches("", ""));
	ck_assert(!matches("", "a"));
	ck_assert(matches("*", ""));
	ck_assert(matches("6*", "6005"));
	ck_assert(!matches("6*", "7005"));
	ck_assert(matches("*a*b", "xxaxxabxb"));
	ck_assert(!matches("*a*b", "xxaxxabx"));
	ck_assert(matches("?00?", "6005"));
	ck_assert(!matches("?", ""));
	ck_assert(matches("a**", "a"));
	ck_assert(matches("*\xc3\xbc*", "s\xc3\xbc" "d"));
}
END_TEST

START_TEST(globs_know_classes_and_escapes)
{
	ck_assert(matches("[a-c]x", "bx"));
	ck_assert(!matches("[a-c]x", "dx"));
	ck_assert(matches("[!a-c]x", "dx"));
	ck_assert(!matches("[!a-c]x", "ax"));
	ck_assert(matches("[]]", "]"));
	ck_assert(!matches("[!]]", "]"));
	ck_assert(matches("[a\\]b]", "]"));
	ck_assert(matches("[\\a-\\c]", "b"));
	ck_assert(matches("[a-]", "-"));
	ck_assert(matches("\\*", "*"));
	ck_assert(!matches("\\*", "a"));
	ck_assert(matches("a\\", "a\\"));
	ck_assert(matches("[ab", "[ab"));
	ck_assert(matches("[", "["));
	ck_assert(matches("[!", "[!"));
	ck_assert(matches("[a\\", "[a\\"));
	ck_assert(glob_match("a?b", "a\0b", 3));
}
END_TEST

START_TEST(a_glob_of_many_stars_ends_soon)
{
	char text[20000];
	memset(text, 'a', sizeof(text));
	ck_assert(!glob_match("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text, sizeof(text)));
}
END_TEST

START_TEST(functions_parse)
{
	static const struct {
		const char *text;
		enum function fn;
		double q;
		const char *tag;
	} good[] = {
		{"count", FN_COUNT, 0, NULL}, {"sum", FN_SUM, 0, NULL}, {"mean", FN_MEAN, 0, NULL},
		{"min", FN_MIN, 0, NULL}, {"max", FN_MAX, 0, NULL}, {"stddev", FN_STDDEV, 0, NULL},
		{"first", FN_FIRST, 0, NULL}, {"last", FN_LAST, 0, NULL}, {"p0", FN_QUANTILE, 0, NULL},
		{"p50", FN_QUANTILE, 0.5, NULL}, {"p100", FN_QUANTILE, 1, NULL}, {"p99.9", FN_QUANTILE, 0.999, NULL},
		{"p100.00", FN_QUANTILE, 1, NULL}, {"p99.999999", FN_QUANTILE, 0.99999999, NULL},
		{"distinct(site)", FN_DISTINCT, 0, "site"}, {"distinct(a(b))", FN_DISTINCT, 0, "a(b)"},
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct function_conf fn;
		ck_assert_int_eq(function_parse(good[i].text, &fn), 0);
		ck_assert_int_eq(fn.fn, good[i].fn);
		ck_assert(fn.q == good[i].q);
		ck_assert_str_eq(fn.text, good[i].text);
		ck_assert(good[i].tag ? !strcmp(fn.tag, good[i].tag) : !fn.tag);
		function_clear(&fn);
		ck_assert_ptr_null(fn.text);
	}
	static const char *const bad[] = {"", "p", "p101", "p100.1", "p1000", "p.5", "p5.", "p-1", "p99.9999999", "P50",
		"p50 ", "average", "distinct", "distinct()", "distinct(a", "counts", "p18446744073709551616"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct function_conf fn = {.text = (char *)"untouched"};
		ck_assert_int_eq(function_parse(bad[i], &fn), WEIR_EINVAL);
		ck_assert_str_eq(fn.text, "untouched");
	}
}
END_TEST

START_TEST(a_stream_answers_what_it_computes)
{
	struct function_conf compute[3], fn;
	ck_assert_int_eq(function_parse("count", &compute[0]), 0);
	ck_assert_int_eq(function_parse("p50", &compute[1]), 0);
	ck_assert_int_eq(function_parse("distinct(site)", &compute[2]), 0);
	struct stream_conf s = {.compute = compute, .compute_count = 3};
	static const struct {
		const char *text;
		bool computed;
	} cases[] = {{"count", true}, {"p99.9", true}, {"distinct(site)", true}, {"distinct(room)", false},
		{"sum", false}, {"min", false}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(function_parse(cases[i].text, &fn), 0);
		ck_assert(stream_computes(&s, &fn) == cases[i].computed);
		function_clear(&fn);
	}
	for (size_t i = 0; i < 3; i++)
		function_clear(&compute[i]);
}
END_TEST

START_TEST(names_are_found_with_and_without_an_index)
{
	struct edge_conf edges[] = {{.name = (char *)"b"}, {.name = (char *)"c"}, {.name = (char *)"a"}};
	struct cloud_conf clouds[] = {{.name = (char *)"x"}, {.name = (char *)"y"}};
	struct stream_conf streams[] = {{.name = (char *)"speed"}};
	uint32_t order[] = {2, 0, 1};
	struct topology t = {.edges = edges, .edge_count = 3, .clouds = clouds, .cloud_count = 2, .streams = streams,
		.stream_count = 1};
	for (int round = 0; round < 2; round++) {
		ck_assert_int_eq(topology_edge(&t, "a"), 2);
		ck_assert_int_eq(topology_edge(&t, "b"), 0);
		ck_assert_int_eq(topology_edge(&t, "c"), 1);
		ck_assert_int_eq(topology_edge(&t, "d"), -1);
		ck_assert_int_eq(topology_edge(&t, ""), -1);
		t.edges_by_name = order;
	}
	ck_assert_int_eq(topology_cloud(&t, "y"), 1);
	ck_assert_int_eq(topology_cloud(&t, "z"), -1);
	ck_assert_int_eq(topology_stream(&t, "speed"), 0);
	ck_assert_int_eq(topology_stream(&t, "spee"), -1);

	uint32_t expected[] = {1, 4, 9};
	struct stream_conf s = {.edges = expected, .edge_count = 3};
	for (uint32_t i = 0; i < 12; i++)
		ck_assert(stream_expects(&s, i) == (i == 1 || i == 4 || i == 9));
}
END_TEST

/* The numbers are on disk and on the wire: they must never change. */
START_TEST(shards_and_seeds_are_stable)
{
	struct topology t = {.shards = 256, .cluster = (char *)"plant"};
	static const uint8_t group[] = {5, 'n', 'o', 'r', 't', 'h', 4, '6', '0', '0', '5'};
	uint32_t shard = stream_shard(&t, "speed", (struct bytes){group, sizeof(group)});
	uint32_t none = stream_shard(&t, "speed", (struct bytes){NULL, 0});
	ck_assert_uint_eq(shard, 101);
	ck_assert_uint_eq(none, 180);
	t.shards = 8;
	ck_assert_uint_eq(stream_shard(&t, "speed", (struct bytes){group, sizeof(group)}), shard % 8);
	uint8_t large[4096] = {0};
	ck_assert_uint_lt(stream_shard(&t, "speed", (struct bytes){large, sizeof(large)}), 8);
	ck_assert(topology_distinct_seed(&t) == UINT64_C(0x54ad96a8eff7788b));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/model");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, globs_match_whole_texts);
	tcase_add_test(tc, globs_know_classes_and_escapes);
	tcase_add_test(tc, a_glob_of_many_stars_ends_soon);
	tcase_add_test(tc, functions_parse);
	tcase_add_test(tc, a_stream_answers_what_it_computes);
	tcase_add_test(tc, names_are_found_with_and_without_an_index);
	tcase_add_test(tc, shards_and_seeds_are_stable);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
