/* What Prometheus asks and is told: expressions, matchers, names, messages and the blocks around them. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec_prometheus.h"
#include "common/err.h"
#include "common/prometheus_filter.h"
#include "common/prometheus_name.h"
#include "common/prometheus_row.h"
#include "common/regex.h"
#include "common/snappy_block.h"
#include "common/topology.h"
#include "proto/prometheus.pb-c.h"

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

static int matches(const char *pattern, const char *s)
{
	struct regex *r;
	const char *why;
	size_t at;
	uint64_t left = 1000000;
	if (regex_compile(pattern, strlen(pattern), &r, &why, &at))
		return -1;
	bool is = regex_match(r, s, strlen(s), &left);
	regex_free(r);
	return is;
}

START_TEST(expressions_match_whole_texts)
{
	static const struct {
		const char *pattern, *s;
		int is;
	} cases[] = {{"", "", 1}, {"", "a", 0}, {"a|b", "b", 1}, {"a|b", "ab", 0}, {"ab?c", "ac", 1}, {"(ab)+", "abab", 1}, {"a{2,3}", "a", 0},
	    {"a{2,3}", "aaa", 1}, {"a{2,3}", "aaaa", 0}, {"a{,3}", "a{,3}", 1}, {"[^a]", "b", 1}, {"[]a]", "]", 1}, {"[a-c-]", "-", 1},
	    {"\\d+\\.\\d", "10.5", 1}, {"(?i)NORTH", "nOrTh", 1}, {"(?i:a)b", "AB", 0}, {"a.c", "a\nc", 0}, {"(?s)a.c", "a\nc", 1}, {"(?s).", "\n", 1},
	    {".", "\xc3\xa9", 1}, {"\xc3\xa9", "\xc3\xa9", 1}, {"[[:alpha:]]+", "abc", 1}, {"\\x41\\x{42}", "AB", 1}, {"^a$", "a", 1},
	    {"a$b", "ab", 0}, {"(?P<n>a)|b", "a", 1}, {"(a*)*", "aaab", 0}, {"\\bx\\b", "x", 1}, {".+", "", 0}, {".*", "", 1},
	    {"a(|b|cc){2}d", "abccd", 1}, {"a*?", "aa", 1}, {"10\\.0\\.0\\.1", "10.0.0.1", 1}, {"10\\.0\\.0\\.1", "10a0.0.1", 0}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(matches(cases[i].pattern, cases[i].s) == cases[i].is, "%s of %s", cases[i].pattern, cases[i].s);
}
END_TEST

START_TEST(expressions_that_are_none_are_refused)
{
	static const char *const bad[] = {"(", ")", "[a", "*", "a**", "a|*", "\\1", "\\pN", "(?=a)", "(?m)a", "a{2000}", "a{3,2}", "[b-a]", "\\",
	    "[[:no:]]", "\\xg", "(?P<>a)", "\\Qa\\E", "((((a{1000}){1000}){1000}){1000})"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(matches(bad[i], "a") < 0, "%s", bad[i]);
	char deep[2 * REGEX_DEPTH_MAX + 2];
	memset(deep, '(', REGEX_DEPTH_MAX + 1);
	memset(deep + REGEX_DEPTH_MAX + 1, ')', REGEX_DEPTH_MAX);
	deep[2 * REGEX_DEPTH_MAX + 1] = 0;
	ck_assert_int_lt(matches(deep, ""), 0);
}
END_TEST

START_TEST(an_expression_ends_with_its_time)
{
	struct regex *r;
	const char *why;
	size_t at;
	char s[400];
	uint64_t left = 10000;
	memset(s, 'a', sizeof(s));
	ck_assert_int_eq(regex_compile("(a*){500}b", 10, &r, &why, &at), 0);
	ck_assert(!regex_match(r, s, sizeof(s), &left) && left == 0);
	regex_free(r);
}
END_TEST

/* Classes may begin at the very end of an expression. */
START_TEST(expressions_may_end_anywhere)
{
	static const char whole[] = "(?i:a[[:^alpha:]\\d-]{1,2}|(?P<n>\\x{41})*?)$";
	for (size_t n = 0; n <= strlen(whole); n++) {
		struct regex *r;
		const char *why = NULL;
		size_t at = SIZE_MAX;
		char *cut = malloc(n + 1); /* just so many: sanitizers see what reads further */
		memcpy(cut, whole, n);
		char *exact = realloc(cut, n ? n : 1);
		int rc = regex_compile(exact, n, &r, &why, &at);
		ck_assert(rc ? why && at <= n : regex_size(r) > 0);
		if (!rc)
			regex_free(r);
		free(exact);
	}
}
END_TEST

/* ---- matchers ---------------------------------------------------------------------------------------------------- */

START_TEST(matchers_take_what_they_say)
{
	struct prometheus_matcher all[] = {{PROMETHEUS_EQ, text("site"), text("north")}, {PROMETHEUS_NEQ, text("k"), text("a")},
	    {PROMETHEUS_RE, text("k"), text("a|b")}, {PROMETHEUS_NRE, text("job"), text("x.*")}};
	struct prometheus_query q = {0, 1, all, 4};
	struct prometheus_filter *f;
	uint64_t left = PROMETHEUS_STEPS_MAX;
	char why[PROMETHEUS_WHY_MAX];
	struct bytes labels[] = {text("site"), text("k")}, value;
	ck_assert_int_eq(prometheus_filter_new(&q, &left, &f, why), 0);
	ck_assert(prometheus_filter_takes(f, text("site"), text("north")) && !prometheus_filter_takes(f, text("site"), text("")));
	ck_assert(prometheus_filter_takes(f, text("k"), text("b")) && !prometheus_filter_takes(f, text("k"), text("a")));
	ck_assert(prometheus_filter_takes(f, text("other"), text("a")));
	ck_assert(prometheus_filter_takes_none(f, labels, 2) && !prometheus_filter_takes_none(f, labels, 1));
	ck_assert(prometheus_filter_equals(f, text("site"), &value) && value.n == 5 && !prometheus_filter_equals(f, text("k"), &value));
	ck_assert(!prometheus_filter_spent(f));
	prometheus_filter_free(f);
	/* what they may take together, in time and in room */
	left = 0;
	ck_assert_int_eq(prometheus_filter_new(&q, &left, &f, why), 0);
	ck_assert(prometheus_filter_spent(f) && !prometheus_filter_takes(f, text("k"), text("b")));
	prometheus_filter_free(f);
	all[0] = all[3] = all[2] = (struct prometheus_matcher){PROMETHEUS_RE, text("k"), text("(a{1000}){25}")};
	ck_assert_int_eq(prometheus_filter_new(&q, &left, &f, why), WEIR_EINVAL);
	ck_assert_msg(strstr(why, "label k, at byte 0: it and those before it are too large together"), "%s", why);
	all[0].value = text("a");
	ck_assert_int_eq(prometheus_filter_new(&q, &left, &f, why), 0);
	prometheus_filter_free(f);
	all[2].value = text("(");
	ck_assert_int_eq(prometheus_filter_new(&q, &left, &f, why), WEIR_EINVAL);
	ck_assert(strstr(why, "label k, at byte 1"));
}
END_TEST

/* ---- names ------------------------------------------------------------------------------------------------------- */

static const char *metric(const char *stream, const char *function)
{
	static struct buf b;
	buf_clear(&b);
	prometheus_metric_name(stream, function, &b);
	return buf_cstr(&b);
}

static const char *label(const char *tag)
{
	static struct buf b;
	buf_clear(&b);
	prometheus_label_name(tag, &b);
	return buf_cstr(&b);
}

START_TEST(names_are_as_documented)
{
	char quantile[16];
	size_t a, b;
	char *tags[] = {"a-b", "c", "a.b"};
	ck_assert_str_eq(metric("speed", "mean"), "weir:speed:mean");
	ck_assert_str_eq(metric("speed.x-1", "p99.9"), "weir:speed_x_1:p99_9");
	ck_assert_str_eq(metric("s", "distinct(site)"), "weir:s:distinct_site");
	ck_assert_str_eq(metric("s", NULL), "weir:s");
	ck_assert_str_eq(label("site"), "site");
	ck_assert_str_eq(label("6th"), "_6th");
	ck_assert_str_eq(label("__name__"), "tag__name__");
	ck_assert_str_eq(label("a b"), "a_b");
	ck_assert(prometheus_quantile_of(text("weir:s:p99_9"), "s", quantile));
	ck_assert_str_eq(quantile, "p99.9");
	ck_assert(!prometheus_quantile_of(text("weir:s:p"), "s", quantile) && !prometheus_quantile_of(text("weir:t:p9"), "s", quantile));
	ck_assert(prometheus_labels_collide(tags, 3, &a, &b) && a == 0 && b == 2 && !prometheus_labels_collide(tags, 2, &a, &b));
	ck_assert(prometheus_ms(1999999) == 1 && prometheus_ms(-1) == -1);
}
END_TEST

START_TEST(labels_are_in_order_and_of_text)
{
	struct prometheus_labels l = {0};
	char *tags[] = {"site", "Zone", "none"};
	const struct bytes values[] = {bytes_of("n\xffx", 3), text("z"), text("")};
	prometheus_labels_make(text("weir:s:sum"), tags, values, 3, &l);
	ck_assert_uint_eq(l.count, 3);
	ck_assert(!memcmp(l.all[0].name.p, "Zone", 4) && !memcmp(l.all[1].name.p, "__name__", 8) && !memcmp(l.all[2].name.p, "site", 4));
	ck_assert(l.all[2].value.n == 5 && !memcmp(l.all[2].value.p, "n\xef\xbf\xbdx", 5));
	buf_free(&l.text);
}
END_TEST

/* ---- messages ---------------------------------------------------------------------------------------------------- */

START_TEST(questions_survive_the_wire)
{
	struct prometheus_matcher m[] = {{PROMETHEUS_RE, text("k"), text("a|b")}, {PROMETHEUS_EQ, text("__name__"), text("weir:s:sum")}};
	struct prometheus_query q[] = {{-5, 7, m, 2}, {1, 2, NULL, 0}};
	struct prometheus_read read = {.queries = q, .query_count = 2, .samples = true}, back;
	struct buf raw = {0}, block = {0}, again = {0};
	prometheus_read_encode(&read, &raw);
	snappy_block_pack(bytes_of(raw.data, raw.len), &block);
	ck_assert_int_eq(snappy_block_unpack(bytes_of(block.data, block.len), raw.len - 1, &again), WEIR_ETOOBIG);
	ck_assert_int_eq(snappy_block_unpack(bytes_of(block.data, block.len), raw.len, &again), 0);
	ck_assert_int_eq(prometheus_read_decode(bytes_of(again.data, again.len), &back), 0);
	ck_assert(back.query_count == 2 && back.samples && back.queries[0].start_ms == -5 && back.queries[0].matcher_count == 2);
	ck_assert(back.queries[0].matchers[0].type == PROMETHEUS_RE && !memcmp(back.queries[0].matchers[1].value.p, "weir:s:sum", 10));
	prometheus_read_clear(&back);
	for (size_t i = 0; i < raw.len; i++) {
		raw.data[i] ^= 0x55;
		if (!prometheus_read_decode(bytes_of(raw.data, raw.len), &back))
			prometheus_read_clear(&back);
		raw.data[i] ^= 0x55;
	}
	for (size_t i = 0; i < block.len; i++) {
		block.data[i] ^= 0x81;
		buf_clear(&again);
		(void)snappy_block_unpack(bytes_of(block.data, block.len), PROMETHEUS_READ_MAX, &again);
		block.data[i] ^= 0x81;
	}
	buf_free(&raw);
	buf_free(&block);
	buf_free(&again);
}
END_TEST

START_TEST(a_sketch_is_a_histogram)
{
	struct sketch_quantile *s = sketch_quantile_new();
	struct sketch_bucket b[64];
	struct buf raw = {0};
	static const double values[] = {1, 1, 2, 2.01, 100, 0, -3, -3, -3.1};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		sketch_quantile_add(s, values[i], 100);
	struct prometheus_histogram h = {.t_ms = 5, .schema = sketch_quantile_scale(s), .count = 9, .zero_count = sketch_quantile_zeros(s), .sum = 1};
	h.positive = b;
	h.positive_count = sketch_quantile_list(s, false, b);
	h.negative = b + h.positive_count;
	h.negative_count = sketch_quantile_list(s, true, b + h.positive_count);
	ck_assert(h.positive_count == 4 && h.negative_count == 2 && h.zero_count == 1 && b[0].index == 0 && b[0].count == 2);
	prometheus_histogram_encode(&h, &raw);
	Prometheus__Histogram *pb = prometheus__histogram__unpack(NULL, raw.len, raw.data);
	ck_assert(pb && pb->schema == 6 && pb->reset_hint == PROMETHEUS__RESET_HINT__GAUGE && pb->timestamp == 5);
	ck_assert(pb->n_positive_spans == 3 && pb->positive_spans[0]->offset == 0 && pb->positive_spans[1]->offset == 63);
	ck_assert(pb->positive_spans[1]->length == 2 && pb->n_positive_deltas == 4 && pb->positive_deltas[1] == -1 && pb->positive_deltas[2] == 0);
	ck_assert(pb->n_negative_deltas == 2 && pb->negative_deltas[0] == 2 && pb->negative_deltas[1] == -1);
	prometheus__histogram__free_unpacked(pb, NULL);
	sketch_quantile_free(s);
	buf_free(&raw);
}
END_TEST

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static const char streams[] = "version: 1\n"
			      "cluster: {name: plant, shards: 1, replicas: 1, security: none}\n"
			      "cloud:\n"
			      "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
			      "edges:\n"
			      "  - {name: e1, data: e1}\n"
			      "streams:\n"
			      "  - {name: a, from: {measurement: m, field: f}, window: 1s, compute: [p99, sum]}\n"
			      "  - {name: b, from: {measurement: m, field: f}, window: 1s, compute: [p99, mean]}\n"
			      "  - {name: c, from: {measurement: m, field: f}, window: 1s, compute: [p99, count]}\n"
			      "  - {name: d, from: {measurement: m, field: f}, window: 1s, compute: [sum, distinct(k)]}\n";

static void histogram_of(const struct stream_conf *s, double sum, bool has)
{
	struct partial_spec spec;
	struct row row = {.end_ns = 1999999};
	struct buf raw = {0};
	partial_spec_of(s, 1, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	for (int i = 1; i <= 3; i++)
		partial_add(&row.partial, &spec, i, i);
	ck_assert_int_eq(prometheus_row_histogram(&spec, &row, &raw), has);
	if (has) {
		Prometheus__Histogram *pb = prometheus__histogram__unpack(NULL, raw.len, raw.data);
		ck_assert(pb && pb->count_int == 3 && pb->timestamp == 1);
		ck_assert(isnan(sum) ? isnan(pb->sum) : fabs(pb->sum - sum) < 1e-9);
		prometheus__histogram__free_unpacked(pb, NULL);
	}
	partial_clear(&row.partial, &spec);
	buf_free(&raw);
}

START_TEST(rows_are_samples_and_histograms)
{
	struct topology *t;
	struct buf errors = {0};
	struct partial_spec spec;
	struct row row = {.end_ns = -1};
	struct prometheus_sample sample;
	ck_assert_msg(!topology_parse("t.yaml", streams, strlen(streams), &t, &errors), "%s", buf_cstr(&errors));
	histogram_of(&t->streams[0], 6, true);
	histogram_of(&t->streams[1], 6, true);
	histogram_of(&t->streams[2], (double)NAN, true); /* rather than a wrong one */
	histogram_of(&t->streams[3], 0, false);
	const struct stream_conf *d = &t->streams[3];
	partial_spec_of(d, 1, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	partial_add(&row.partial, &spec, 0, 7);
	ck_assert(prometheus_row_sample(d, &spec, &row, &d->compute[0], &sample) && sample.value == 7 && sample.t_ms == -1);
	ck_assert(prometheus_row_sample(d, &spec, &row, &d->compute[1], &sample) && sample.value == 0);
	/* what another version of the stream computes is no sample of this one */
	ck_assert(!prometheus_row_sample(d, &spec, &row, &t->streams[0].compute[0], &sample));
	partial_clear(&row.partial, &spec);
	topology_free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/prometheus");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, expressions_match_whole_texts);
	tcase_add_test(tc, expressions_that_are_none_are_refused);
	tcase_add_test(tc, an_expression_ends_with_its_time);
	tcase_add_test(tc, expressions_may_end_anywhere);
	tcase_add_test(tc, matchers_take_what_they_say);
	tcase_add_test(tc, names_are_as_documented);
	tcase_add_test(tc, labels_are_in_order_and_of_text);
	tcase_add_test(tc, questions_survive_the_wire);
	tcase_add_test(tc, a_sketch_is_a_histogram);
	tcase_add_test(tc, rows_are_samples_and_histograms);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
