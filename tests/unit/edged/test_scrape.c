#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "edged/schedule.h"
#include "edged/scrape.h"

static struct scrape_conf conf;
static struct scrape scrape;
static struct buf out;

static void setup(void)
{
	conf = (struct scrape_conf){.honor_timestamps = true};
	scrape = (struct scrape){.conf = &conf, .job = "node", .instance = "127.0.0.1:9100", .time_ns = 5};
	out = (struct buf){0};
}

static void teardown(void)
{
	scrape_free(&scrape);
	buf_free(&out);
}

/* What each sample of a text becomes; refusals as "!REASON". */
static void expect(const char *text, const char *lines)
{
	struct prom_text t;
	struct prom_sample s;
	enum prom_error e;
	buf_clear(&out);
	prom_text_init(&t, bytes_of(text, strlen(text)), false);
	while (prom_text_next(&t, &s, &e)) {
		const char *reason = e == PROM_FINE ? scrape_put(&scrape, &s, &out) : scrape_refusal(e);
		if (reason)
			buf_printf(&out, "!%s\n", reason);
	}
	ck_assert_str_eq(buf_cstr(&out), lines);
}

#define OWN ",instance=127.0.0.1:9100,job=node"

START_TEST(a_sample_is_a_reading)
{
	expect("up 1\n", "up" OWN " value=1 5\n");
	expect("h_bucket{le=\"+Inf\"} 3\nh_sum 1.5\nq{quantile=\"0.99\"} 2e-5\n",
	    "h_bucket,le=+Inf" OWN " value=3 5\nh_sum" OWN " value=1.5 5\nq,quantile=0.99" OWN " value=2e-05 5\n");
	expect("a{path=\"/a b,c=d\",empty=\"\",nl=\"x\\ny\"} 1\n", "a,path=/a\\ b\\,c\\=d,nl=x_y" OWN " value=1 5\n");
}
END_TEST

START_TEST(not_finite_and_bad_lines_are_refused)
{
	expect("a NaN\nb +Inf\nc 1\n", "!not_finite\n!not_finite\nc" OWN " value=1 5\n");
	expect("a{x} 1\na x\na 1 x\na 1 2 3\n1 1\na 1", "!bad_tag\n!bad_number\n!bad_timestamp\n!trailing\n!no_measurement\n!truncated\n");
	expect("a 1 8999999999999999\n", "!bad_timestamp\n");
}
END_TEST

START_TEST(the_exporters_own_labels)
{
	expect("a{job=\"j\",instance=\"i\"} 1\n", "a,exported_job=j,exported_instance=i" OWN " value=1 5\n");
	/* As of a federation, whose server has called some so already. */
	expect("a{exported_job=\"x\",job=\"j\"} 1\na{job=\"j\",exported_job=\"x\",exported_exported_job=\"y\"} 1\na{exported_job=\"\",job=\"j\"} 1\n",
	    "a,exported_job=x,exported_exported_job=j" OWN " value=1 5\n"
	    "a,exported_exported_exported_job=j,exported_job=x,exported_exported_job=y" OWN " value=1 5\n"
	    "a,exported_job=j" OWN " value=1 5\n");
	conf.honor_labels = true;
	expect("a{job=\"j\",instance=\"i\"} 1\na{job=\"j\"} 2\na{job=\"\"} 3\n",
	    "a,job=j,instance=i value=1 5\na,job=j,instance=127.0.0.1:9100 value=2 5\na" OWN " value=3 5\n");
}
END_TEST

START_TEST(the_exporters_own_times)
{
	expect("a 1 1700000000123\n", "a" OWN " value=1 1700000000123000000\n");
	conf.honor_timestamps = false;
	expect("a 1 1700000000123\n", "a" OWN " value=1 5\n");
}
END_TEST

static bool wants(const char *name)
{
	return scrape_wants(&conf, bytes_of(name, strlen(name)));
}

START_TEST(filters)
{
	char *include[] = {(char *)"node_*", (char *)"up"}, *exclude[] = {(char *)"*_total"};
	ck_assert(wants("anything"));
	conf.exclude = (struct model_texts){exclude, 1};
	ck_assert(wants("node_load1") && !wants("node_cpu_total"));
	conf.include = (struct model_texts){include, 2};
	ck_assert(wants("node_load1") && wants("up") && !wants("upper") && !wants("go_threads") && !wants("node_cpu_total"));
}
END_TEST

START_TEST(what_a_scrape_says_of_itself)
{
	scrape_put_own(&scrape, true, 0.25, 17, &out);
	ck_assert_str_eq(buf_cstr(&out), "up" OWN " value=1 5\nscrape_duration_seconds" OWN " value=0.25 5\n"
					 "scrape_samples_scraped" OWN " value=17 5\n");
}
END_TEST

START_TEST(instances)
{
	static const char *const cases[][2] = {{"http://127.0.0.1:9100/metrics", "127.0.0.1:9100"}, {"http://host/m", "host:80"},
	    {"https://host?x=1:2", "host:443"}, {"http://[::1]:9/", "[::1]:9"}, {"http://[::1]", "[::1]:80"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *instance = scrape_instance(cases[i][0]);
		ck_assert_str_eq(instance, cases[i][1]);
		free(instance);
	}
}
END_TEST

/* ---- when ------------------------------------------------------------------------------------------------- */

START_TEST(times_are_aligned_and_spread)
{
	struct schedule s;
	int64_t every = 15 * NS_PER_SEC, wall = 1700000000 * NS_PER_SEC, lowest = every, highest = 0;
	for (int i = 0; i < 200; i++) {
		char edge[32];
		snprintf(edge, sizeof(edge), "edge-%d", i);
		int64_t offset = schedule_offset_ns(every, edge, "node", "http://127.0.0.1:9100/metrics");
		ck_assert(offset >= 0 && offset < every);
		lowest = offset < lowest ? offset : lowest;
		highest = offset > highest ? offset : highest;
		schedule_init(&s, every, offset, wall, 77);
		int64_t first = wall + (s.due_ns - 77);
		ck_assert(first > wall && first <= wall + every);
		ck_assert_int_eq((first - offset) % every, 0);
	}
	ck_assert(lowest < every / 20 && highest > every / 20 * 19);
	ck_assert_int_eq(schedule_offset_ns(every, "a", NULL, "b"), schedule_offset_ns(every, "a", "", "b"));
	ck_assert_int_ne(schedule_offset_ns(every, "a", "b", ""), schedule_offset_ns(every, "b", "a", ""));
}
END_TEST

START_TEST(what_comes_too_late_is_missed)
{
	struct schedule s;
	uint64_t missed = 99;
	schedule_init(&s, 10, 0, 1000, 0);
	ck_assert_int_eq(s.due_ns, 10);
	ck_assert(!schedule_due(&s, 9, &missed));
	ck_assert_uint_eq(missed, 99);
	ck_assert(schedule_due(&s, 10, &missed) && missed == 0 && s.due_ns == 20);
	ck_assert(schedule_due(&s, 29, &missed) && missed == 0 && s.due_ns == 30);
	ck_assert(schedule_due(&s, 65, &missed) && missed == 3 && s.due_ns == 70);
	s.due_ns = 5 * NS_PER_MS;
	ck_assert_uint_eq(schedule_wait_ms(&s, 0), 5);
	ck_assert_uint_eq(schedule_wait_ms(&s, 1), 5);
	ck_assert_uint_eq(schedule_wait_ms(&s, 5 * NS_PER_MS), 1);
	ck_assert_uint_eq(schedule_wait_ms(&s, 9 * NS_PER_MS), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scrape");
	TCase *t = tcase_create("scrape");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_sample_is_a_reading);
	tcase_add_test(t, not_finite_and_bad_lines_are_refused);
	tcase_add_test(t, the_exporters_own_labels);
	tcase_add_test(t, the_exporters_own_times);
	tcase_add_test(t, filters);
	tcase_add_test(t, what_a_scrape_says_of_itself);
	tcase_add_test(t, instances);
	tcase_add_test(t, times_are_aligned_and_spread);
	tcase_add_test(t, what_comes_too_late_is_missed);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
