/* The shapes of what agents send and look for: InfluxDB's and collectd's. What is said over HTTP: test_source_http.c. */
#include <check.h>
#include <string.h>

#include "common/err.h"
#include "edged/collectd.h"
#include "edged/influx.h"

START_TEST(units_of_time)
{
	static const struct {
		const char *text;
		int64_t v1, v2; /* 0: no unit of it */
	} units[] = {{NULL, 1, 1}, {"", 1, 1}, {"n", 1, 0}, {"ns", 1, 1}, {"u", 1000, 0}, {"us", 1000, 1000}, {"ms", 1000000, 1000000},
	    {"s", 1000000000, 1000000000}, {"m", 60000000000, 0}, {"h", 3600000000000, 0}, {"d", 0, 0}, {"S", 0, 0}};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		int64_t ns = 0;
		ck_assert_int_eq(influx_precision(INFLUX_1, units[i].text, &ns), units[i].v1 ? 0 : WEIR_EINVAL);
		ck_assert_int_eq(ns, units[i].v1);
		ns = 0;
		ck_assert_int_eq(influx_precision(INFLUX_2, units[i].text, &ns), units[i].v2 ? 0 : WEIR_EINVAL);
		ck_assert_int_eq(ns, units[i].v2);
	}
}
END_TEST

/* Telegraf drops what it sent, rather than sending it again for ever, where an answer has these words. */
START_TEST(refusals_are_told_as_agents_expect)
{
	struct influx_refusals f = {0};
	struct buf out = {0};
	influx_refuse(&f, 3, "bad_field", bytes_of("cpu\x01 x", 6));
	influx_put_refusals(&f, true, &out);
	ck_assert_str_eq(buf_cstr(&out), "partial write: line 3: unable to parse 'cpu? x': bad_field dropped=1");
	for (int i = 0; i < 20; i++)
		influx_refuse(&f, 100, "bad_tag", bytes_of("y", 1));
	buf_clear(&out);
	influx_put_refusals(&f, false, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "'y': bad_tag; and 11 more dropped=21"));
	ck_assert_ptr_null(strstr(buf_cstr(&out), "partial write"));
	ck_assert_uint_eq(f.first_line, 3);
	influx_refusals_clear(&f);
	buf_free(&out);
}
END_TEST

/* ---- collectd --------------------------------------------------------------------------------------------------- */

static struct buf lines, why;
static struct influx_refusals refused;
static struct collectd_counts counts;

static int convert(const char *text)
{
	buf_clear(&lines);
	buf_clear(&why);
	influx_refusals_clear(&refused);
	return collectd_put_lines(bytes_of(text, strlen(text)), &lines, &refused, &counts, &why);
}

static void free_all(void)
{
	buf_free(&lines);
	buf_free(&why);
	influx_refusals_clear(&refused);
}

START_TEST(value_lists_become_lines)
{
	ck_assert_int_eq(convert("[{\"values\":[0.25,0.5,1],\"dstypes\":[\"gauge\",\"gauge\",\"gauge\"],\"dsnames\":[\"shortterm\","
				 "\"midterm\",\"longterm\"],\"time\":1251533299.265,\"interval\":10.000,\"host\":\"leeloo, lan\",\"plugin\":\"load\","
				 "\"plugin_instance\":\"\",\"type\":\"load\",\"type_instance\":\"\"},"
				 "{\"values\":[1901474177],\"dstypes\":[\"counter\"],\"dsnames\":[\"value\"],\"time\":1280959128,"
				 "\"host\":\"h\",\"plugin\":\"cpu\",\"plugin_instance\":\"0\",\"type\":\"cpu\",\"type_instance\":\"idle\","
				 "\"meta\":{\"network:received\":true}}]"),
	    0);
	ck_assert_str_eq(buf_cstr(&lines),
	    "load,host=leeloo\\,\\ lan,type=load shortterm=0.25,midterm=0.5,longterm=1 1251533299265000000\n"
	    "cpu,host=h,plugin_instance=0,type=cpu,type_instance=idle value=1901474177 1280959128000000000\n");
	ck_assert_uint_eq(counts.lists, 2);
	ck_assert_uint_eq(refused.count, 0);
	free_all();
}
END_TEST

#define HEAD "[{\"plugin\":\"p\",\"time\":1,"

START_TEST(what_is_no_number_is_left_out)
{
	ck_assert_int_eq(convert(HEAD "\"dsnames\":[\"rx\",\"tx\"],\"values\":[null,7]}]"), 0);
	ck_assert_str_eq(buf_cstr(&lines), "p tx=7 1000000000\n");
	ck_assert_int_eq(convert(HEAD "\"dsnames\":[\"rx\",\"tx\"],\"values\":[null,null]}]"), 0);
	ck_assert_str_eq(buf_cstr(&lines), "");
	ck_assert_uint_eq(counts.empty, 1);
	ck_assert_int_eq(convert("[]"), 0);
	free_all();
}
END_TEST

START_TEST(faults_are_told_and_neighbours_kept)
{
	static const char *const bad[] = {"7", "null", "{}", "{\"plugin\":1,\"time\":1,\"dsnames\":[],\"values\":[]}",
	    "{\"plugin\":\"p\",\"time\":-1,\"dsnames\":[\"a\"],\"values\":[1]}",
	    "{\"plugin\":\"p\",\"time\":1e12,\"dsnames\":[\"a\"],\"values\":[1]}",
	    "{\"plugin\":\"p\",\"time\":1,\"dsnames\":[\"a\"],\"values\":[1,2]}",
	    "{\"plugin\":\"p\",\"time\":1,\"dsnames\":[7],\"values\":[1]}",
	    "{\"plugin\":\"p\",\"time\":1,\"dsnames\":[\"\"],\"values\":[1]}",
	    "{\"plugin\":\"p\",\"time\":1,\"dsnames\":[\"a\"],\"values\":[\"1\"]}",
	    "{\"plugin\":\"p\",\"time\":1,\"dsnames\":\"a\",\"values\":[1]}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct buf text = {0};
		buf_printf(&text, "[%s,{\"plugin\":\"p\",\"time\":2,\"dsnames\":[\"a\"],\"values\":[1]}]", bad[i]);
		ck_assert_int_eq(convert(buf_cstr(&text)), 0);
		ck_assert_msg(refused.count == 1 && refused.first_line == 1, "%s", bad[i]);
		ck_assert_str_eq(buf_cstr(&lines), "p a=1 2000000000\n");
		buf_free(&text);
	}
	ck_assert_int_eq(convert("{\"plugin\":\"p\"}"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&why), "Format"));
	ck_assert_int_eq(convert("[{\"plugin\":"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&why), "line 1, column"));
	ck_assert_int_eq(convert("PUTVAL x interval=10 1:2"), WEIR_EINVAL);
	free_all();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/influx");
	TCase *tc = tcase_create("influx");
	tcase_add_test(tc, units_of_time);
	tcase_add_test(tc, refusals_are_told_as_agents_expect);
	tcase_add_test(tc, value_lists_become_lines);
	tcase_add_test(tc, what_is_no_number_is_left_out);
	tcase_add_test(tc, faults_are_told_and_neighbours_kept);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
