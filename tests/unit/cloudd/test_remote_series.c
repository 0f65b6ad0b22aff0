/* Rows gathered into what Prometheus is told: series, their times, versions of a stream, names that become one, and limits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/remote_series.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "proto/prometheus.pb-c.h"

static const char yaml[] = "version: 1\n"
			   "cluster: {name: plant, shards: 1, replicas: 1, security: none}\n"
			   "cloud:\n"
			   "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
			   "edges:\n"
			   "  - {name: e1, data: e1}\n"
			   "streams:\n"
			   "  - {name: speed, from: {measurement: m, field: f}, by: [site], window: 20s, compute: [count, stddev, p99]}\n"
			   "  - {name: later, from: {measurement: m, field: f}, by: [unit, site], window: 10s, compute: [count, p99]}\n"
			   "  - {name: twins, from: {measurement: m, field: f}, by: [a-b, a.b], window: 10s, compute: [count]}\n";

#define T0_S INT64_C(1700000000)
#define LATEST_MS INT64_C(9000000000000)

static struct topology *t;
static struct query_args args;
static struct partial_spec spec;
static struct prometheus_matcher matchers[4];
static struct prometheus_query question;
static struct prometheus_filter *filter;
static struct remote_series *series;
static uint64_t steps;
static size_t bytes;

static const struct remote_metric three[] = {
    {(char *)(uintptr_t)"weir:speed:count", (char *)(uintptr_t)"count"},
    {(char *)(uintptr_t)"weir:speed:stddev", (char *)(uintptr_t)"stddev"},
    {(char *)(uintptr_t)"weir:speed", NULL},
};

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void parse(const char *stream, struct query_args *ret)
{
	struct query_error e;
	const struct query_arg wanted[] = {{"stream", stream}};
	ck_assert_int_eq(query_args_parse(t, wanted, 1, 0, ret, &e), 0);
}

static void ask(const char *stream, const struct remote_metric *metrics, size_t count, int64_t start_ms, int64_t end_ms)
{
	char why[PROMETHEUS_WHY_MAX];
	parse(stream, &args);
	partial_spec_of(args.stream, 1, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	question.matchers = matchers;
	ck_assert_int_eq(prometheus_filter_new(&question, &steps, &filter, why), 0);
	const struct remote_series_options o = {filter, metrics, count, start_ms, end_ms, &bytes};
	series = remote_series_new(&o);
}

static void setup(void)
{
	struct buf errors = {0};
	ck_assert_msg(!topology_parse("t.yaml", yaml, strlen(yaml), &t, &errors), "%s", buf_cstr(&errors));
	steps = PROMETHEUS_STEPS_MAX;
	bytes = 0;
	question = (struct prometheus_query){0};
}

static void teardown(void)
{
	remote_series_free(series);
	series = NULL;
	prometheus_filter_free(filter);
	query_args_clear(&args);
	topology_free(t);
}

/* A window that ends so many ms after T0, with values 1 to `readings`; another tag: NULL, or what is in the group before the site. */
static int add_row(int64_t end_ms, const char *first, const char *site, int readings, enum window_state state)
{
	struct buf group = {0};
	struct row row = {.state = state, .end_ns = (T0_S * 1000 + end_ms) * NS_PER_MS};
	row.start_ns = row.end_ns - args.stream->size_ns;
	if (first)
		buf_str(&group, first);
	buf_str(&group, site);
	row.group = bytes_of(group.data, group.len);
	for (int i = 1; i <= readings; i++)
		partial_add(&row.partial, &spec, row.start_ns + i, i);
	int rc = remote_series_add(series, &args, &spec, &row);
	partial_clear(&row.partial, &spec);
	buf_free(&group);
	return rc;
}

static int add(int64_t end_ms, const char *site, int readings)
{
	return add_row(end_ms, NULL, site, readings, WINDOW_FINAL);
}

/* What is told, as text: "name{label=value} time=value ..." for each series, times from T0 on. */
static void put_labels(const Prometheus__TimeSeries *x, struct buf *out)
{
	const char *comma = "";
	for (size_t i = 0; i < x->n_labels; i++) {
		buf_printf(out, "%s%.*s=%.*s", comma, (int)x->labels[i]->name.len, (const char *)x->labels[i]->name.data,
		    (int)x->labels[i]->value.len, (const char *)x->labels[i]->value.data);
		comma = ",";
	}
}

static void put_told(const Prometheus__TimeSeries *x, struct buf *out)
{
	put_labels(x, out);
	for (size_t i = 0; i < x->n_samples; i++)
		buf_printf(out, " %lld=%g", (long long)(x->samples[i]->timestamp - T0_S * 1000), x->samples[i]->value);
	for (size_t i = 0; i < x->n_histograms; i++) {
		Prometheus__Histogram *h = prometheus__histogram__unpack(NULL, x->histograms[i].len, x->histograms[i].data);
		ck_assert_ptr_nonnull(h);
		buf_printf(out, " %lld=(%llu)", (long long)(h->timestamp - T0_S * 1000), (unsigned long long)h->count_int);
		prometheus__histogram__free_unpacked(h, NULL);
	}
	buf_printf(out, "\n");
}

static void ck_told(const char *want, uint64_t samples)
{
	struct buf raw = {0}, got = {0};
	ck_assert_uint_eq(remote_series_put(series, &raw), samples);
	struct rd r = rd_init(raw.data, raw.len);
	while (rd_left(&r)) {
		size_t n;
		ck_assert_uint_eq(rd_u8(&r), 0x0a);
		const uint8_t *p = rd_bytes(&r, SIZE_MAX, &n);
		Prometheus__TimeSeries *x = prometheus__time_series__unpack(NULL, n, p);
		ck_assert_ptr_nonnull(x);
		put_told(x, &got);
		prometheus__time_series__free_unpacked(x, NULL);
	}
	ck_assert(!rd_finish(&r));
	ck_assert_str_eq(buf_cstr(&got), want);
	buf_free(&raw);
	buf_free(&got);
}

START_TEST(rows_by_windows_become_series)
{
	ask("speed", three, 3, T0_S * 1000, LATEST_MS);
	ck_assert_int_eq(add(0, "a", 2), 0);
	ck_assert_int_eq(add(0, "b", 1), 0);
	ck_assert_int_eq(add(20000, "a", 3), 0);
	/* one reading has no stddev: no sample, rather than one that is no number; without a value no label */
	ck_assert_int_eq(add(20000, "", 1), 0);
	ck_told("__name__=weir:speed:count,site=a 0=2 20000=3\n"
		"__name__=weir:speed:stddev,site=a 0=0.707107 20000=1\n"
		"__name__=weir:speed,site=a 0=(2) 20000=(3)\n"
		"__name__=weir:speed:count,site=b 0=1\n"
		"__name__=weir:speed,site=b 0=(1)\n"
		"__name__=weir:speed:count 20000=1\n"
		"__name__=weir:speed 20000=(1)\n",
	    10);
}
END_TEST

START_TEST(windows_that_are_open_or_out_of_time_are_not_told)
{
	ask("speed", three, 1, T0_S * 1000, T0_S * 1000 + 20000);
	ck_assert_int_eq(add(-20000, "a", 2), 0);
	ck_assert_int_eq(add(0, "a", 3), 0);
	ck_assert_int_eq(add_row(20000, NULL, "a", 4, WINDOW_PROVISIONAL), 0);
	ck_assert_int_eq(add_row(20000, NULL, "b", 4, WINDOW_OPEN), 0);
	ck_assert_int_eq(add(40000, "a", 5), 0);
	ck_told("__name__=weir:speed:count,site=a 0=3 20000=4\n", 2);
}
END_TEST

START_TEST(only_what_the_matchers_take_is_told)
{
	matchers[0] = (struct prometheus_matcher){PROMETHEUS_RE, text("site"), text("a|c.*")};
	matchers[1] = (struct prometheus_matcher){PROMETHEUS_NEQ, text("site"), text("cx")};
	question.matcher_count = 2;
	ask("speed", three, 1, 0, LATEST_MS);
	static const char *const sites[] = {"a", "b", "cx", "cy", ""};
	for (size_t i = 0; i < 5; i++)
		ck_assert_int_eq(add(0, sites[i], 1), 0);
	ck_told("__name__=weir:speed:count,site=a 0=1\n__name__=weir:speed:count,site=cy 0=1\n", 2);
}
END_TEST

/* Windows of both versions end at one time; the later version's come after all of the earlier one's, though they end before some of them. */
START_TEST(of_two_versions_the_later_one_counts)
{
	struct query_args other;
	ask("speed", three, 1, 0, LATEST_MS);
	parse("later", &other);
	/* as one question has them: tags of the last version, which the first one lacks in part */
	struct query_version *versions = calloc(2, sizeof(*versions));
	versions[0] = args.versions[0];
	versions[1] = other.versions[0];
	for (uint32_t i = 0; i < 2; i++)
		versions[0].column[i] = i ? 0 : UINT32_MAX;
	free(args.versions);
	args.versions = versions;
	args.version_count = 2;
	free(args.by[0]);
	args.by_count = 2;
	args.by[0] = strdup("unit");
	args.by[1] = strdup("site");
	query_args_select(&args, 0);
	ck_assert_int_eq(add(0, "a", 1), 0);
	ck_assert_int_eq(add(20000, "a", 2), 0);
	ck_assert_int_eq(add(40000, "a", 3), 0);
	query_args_select(&args, 1);
	partial_spec_of(args.stream, 1, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	ck_assert_int_eq(add_row(10000, "", "a", 4, WINDOW_FINAL), 0);
	ck_assert_int_eq(add_row(20000, "", "a", 5, WINDOW_FINAL), 0);
	ck_assert_int_eq(add_row(20000, "u", "a", 6, WINDOW_FINAL), 0);
	ck_told("__name__=weir:speed:count,site=a 0=1 10000=4 20000=5 40000=3\n"
		"__name__=weir:speed:count,site=a,unit=u 20000=6\n",
	    5);
	query_args_clear(&other);
}
END_TEST

START_TEST(what_cannot_be_told_apart_is_refused)
{
	ask("speed", three, 1, 0, LATEST_MS);
	ck_assert_int_eq(add(0, "a\xff", 1), 0);
	ck_assert_int_eq(add(0, "a\xfe", 1), WEIR_ETOOBIG);
	ck_assert(strstr(remote_series_why(series), "one series in Prometheus"));
}
END_TEST

START_TEST(tags_that_become_one_label_are_refused)
{
	ask("twins", three, 1, 0, LATEST_MS);
	ck_assert_int_eq(add_row(0, "x", "y", 1, WINDOW_FINAL), WEIR_EINVAL);
	ck_assert(strstr(remote_series_why(series), "\"a-b\" and \"a.b\" become one label"));
}
END_TEST

/* What is gathered may be so much, and what the answer will be is counted with it: labels stand in it once for each metric. */
START_TEST(an_answer_has_a_limit)
{
	ask("speed", three, 3, 0, LATEST_MS);
	char site[380];
	memset(site, 0xff, sizeof(site)); /* three bytes each, as text */
	size_t rows = 0;
	int rc = 0;
	for (; !rc && rows < 1000000; rows++) {
		snprintf(site + 360, sizeof(site) - 360, "%zu", rows);
		rc = add(0, site, 1);
	}
	ck_assert_int_eq(rc, WEIR_ETOOBIG);
	ck_assert(strstr(remote_series_why(series), "over 64 MiB"));
	struct buf raw = {0};
	remote_series_put(series, &raw);
	ck_assert_uint_le(raw.len, REMOTE_BYTES_MAX);
	ck_assert_uint_gt(raw.len, REMOTE_BYTES_MAX / 8);
	buf_free(&raw);
}
END_TEST

START_TEST(expressions_have_a_limit_over_all_series)
{
	matchers[0] = (struct prometheus_matcher){PROMETHEUS_RE, text("site"), text("(a*)*b|.*")};
	question.matcher_count = 1;
	steps = 5000;
	ask("speed", three, 1, 0, LATEST_MS);
	char site[101];
	memset(site, 'a', sizeof(site));
	size_t rows = 0;
	int rc = 0;
	for (; !rc && rows < 100; rows++) {
		snprintf(site + 90, sizeof(site) - 90, "%zu", rows);
		rc = add(0, site, 1);
	}
	ck_assert_int_eq(rc, WEIR_ETOOBIG);
	ck_assert(rows > 1 && rows < 50);
	ck_assert(strstr(remote_series_why(series), "take too long"));
}
END_TEST

START_TEST(streams_that_cannot_have_a_series_are_not_asked)
{
	char *const tags[] = {(char *)(uintptr_t)"site", (char *)(uintptr_t)"6th"};
	matchers[0] = (struct prometheus_matcher){PROMETHEUS_EQ, text("site"), text("x")};
	matchers[1] = (struct prometheus_matcher){PROMETHEUS_RE, text("_6th"), text("x")};
	matchers[2] = (struct prometheus_matcher){PROMETHEUS_NEQ, text("job"), text("x")};
	matchers[3] = (struct prometheus_matcher){PROMETHEUS_EQ, text("job"), text("x")};
	for (size_t n = 0; n <= 4; n++) {
		question.matcher_count = n;
		ask("speed", three, 1, 0, LATEST_MS);
		ck_assert_int_eq(remote_series_possible(filter, tags, 2), n < 4);
		ck_assert_int_eq(remote_series_possible(filter, tags, 1), n < 2);
		remote_series_free(series);
		series = NULL;
		prometheus_filter_free(filter);
		filter = NULL;
		query_args_clear(&args);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/remote_series");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rows_by_windows_become_series);
	tcase_add_test(tc, windows_that_are_open_or_out_of_time_are_not_told);
	tcase_add_test(tc, only_what_the_matchers_take_is_told);
	tcase_add_test(tc, of_two_versions_the_later_one_counts);
	tcase_add_test(tc, what_cannot_be_told_apart_is_refused);
	tcase_add_test(tc, tags_that_become_one_label_are_refused);
	tcase_add_test(tc, an_answer_has_a_limit);
	tcase_add_test(tc, expressions_have_a_limit_over_all_series);
	tcase_add_test(tc, streams_that_cannot_have_a_series_are_not_asked);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
