#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "edged/statsd.h"
#include "edged/statsd_number.h"

static struct statsd_gauges gauges;
static struct buf out, series;

static void setup(void)
{
	gauges = (struct statsd_gauges){0};
	out = series = (struct buf){0};
}

static void teardown(void)
{
	statsd_gauges_free(&gauges);
	buf_free(&out);
	buf_free(&series);
}

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

/* The readings of a line; refusals as "!LABEL\n". */
static const char *readings(const char *line)
{
	struct statsd_metric m;
	struct bytes value;
	char *copy = strdup(line); /* of just its length, so that reading beyond it is seen */
	buf_clear(&out);
	enum statsd_error e = statsd_parse(text_of(copy), &m);
	if (e)
		buf_printf(&out, "!%s\n", statsd_error_label(e));
	while (!e && statsd_next(&m, &value)) {
		size_t from = out.len;
		enum statsd_error v = statsd_put(&m, value, &gauges, &series, &out);
		size_t n = out.len - from;
		for (unsigned i = 1; !v && i < statsd_weight(&m); i++) {
			buf_reserve(&out, n);
			buf_put(&out, out.data + from, n);
		}
		if (v)
			buf_printf(&out, "!%s\n", statsd_error_label(v));
	}
	free(copy);
	return buf_cstr(&out);
}

struct example {
	const char *line, *readings;
};

#define EACH(examples) \
	for (size_t i = 0; i < sizeof(examples) / sizeof((examples)[0]); i++) \
		ck_assert_str_eq(readings((examples)[i].line), (examples)[i].readings)

START_TEST(each_type_has_its_field)
{
	static const struct example examples[] = {
		{"a.b:1|c", "a.b,metric=a.b counter=1\n"},
		{"a:-2.5|c", "a,metric=a counter=-2.5\n"},
		{"a:+2|c", "a,metric=a counter=2\n"},
		{"a:7|g", "a,metric=a gauge=7\n"},
		{"a:320|ms", "a,metric=a timer=320\n"},
		{"a:0.123456|ms", "a,metric=a timer=0.123456\n"},
		{"a:1e3|h", "a,metric=a histogram=1000\n"},
		{"a:.5|d", "a,metric=a distribution=0.5\n"},
		{"a:765|s", "a,metric=a,member=765 set=1\n"},
		{"a:user@example.org|s", "a,metric=a,member=user@example.org set=1\n"},
		{"a:1:2|s", "a,metric=a,member=1:2 set=1\n"},
		{"a b,c=d:1|c", "a\\ b\\,c=d,metric=a\\ b\\,c\\=d counter=1\n"},
	};
	EACH(examples);
}
END_TEST

START_TEST(what_is_sampled_counts_as_what_it_stands_for)
{
	static const struct example examples[] = {
		{"a:1|c|@0.1", "a,metric=a counter=10\n"},
		{"a:3|c|@0.25", "a,metric=a counter=12\n"},
		{"a:5|ms|@0.5", "a,metric=a timer=5\na,metric=a timer=5\n"},
		{"a:5|h|@.3", "a,metric=a histogram=5\na,metric=a histogram=5\na,metric=a histogram=5\n"},
		{"a:5|d|@0.9", "a,metric=a distribution=5\n"},
		{"a:5|g|@0.1", "a,metric=a gauge=5\n"},
		{"a:5|s|@0.1", "a,metric=a,member=5 set=1\n"},
		{"a:5|c|@0.00001", "a,metric=a counter=500000\n"},
		{"a:5|ms|@0.0009", "!bad_rate\n"},
		{"a:5|c|@0", "!bad_rate\n"},
		{"a:5|c|@1.5", "!bad_rate\n"},
		{"a:5|c|@-1", "!bad_rate\n"},
		{"a:5|c|@x", "!bad_rate\n"},
		{"a:5|c|@", "!bad_rate\n"},
	};
	EACH(examples);
	size_t lines = 0;
	for (const char *p = readings("a:5|ms|@0.001"); *p; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(lines, STATSD_WEIGHT_MAX);
}
END_TEST

/* Its text is made, and taken apart, once: with a long name the copies of one datagram would be gigabytes. */
START_TEST(what_is_sampled_is_one_line)
{
	struct statsd_metric m;
	struct bytes value;
	ck_assert_int_eq(statsd_parse(text_of("a:5|ms|@0.001"), &m), STATSD_OK);
	ck_assert(statsd_next(&m, &value));
	ck_assert_int_eq(statsd_put(&m, value, &gauges, &series, &out), STATSD_OK);
	ck_assert_str_eq(buf_cstr(&out), "a,metric=a timer=5\n");
	ck_assert_uint_eq(statsd_weight(&m), STATSD_WEIGHT_MAX);
}
END_TEST

START_TEST(tags_and_what_else_dogstatsd_adds)
{
	static const struct example examples[] = {
		{"a:1|c|#k:v", "a,metric=a,k=v counter=1\n"},
		{"a:1|c|#z:1,b:2,urgent", "a,metric=a,b=2,urgent=true,z=1 counter=1\n"},
		{"a:1|c|#k:1,k:2", "a,metric=a,k=2 counter=1\n"},
		{"a:1|c|#k:,,b:x", "a,metric=a,b=x counter=1\n"},
		{"a:1|c|#url:http://h/x=y z", "a,metric=a,url=http://h/x\\=y\\ z counter=1\n"},
		{"a:1|c|#metric:own", "a,metric=own counter=1\n"},
		{"a:1|s|#member:own", "a,metric=a,member=1 set=1\n"},
		{"a:1|c|#member:own", "a,metric=a,member=own counter=1\n"},
		{"a:1|c|#:v", "!bad_tag\n"},
		{"a:1:2:x:3|ms|#k:v", "a,metric=a,k=v timer=1\na,metric=a,k=v timer=2\n!bad_value\na,metric=a,k=v timer=3\n"},
		{"a:1:|ms", "a,metric=a timer=1\n!bad_value\n"},
		{"a:1|c|T1656581400", "a,metric=a counter=1 1656581400000000000\n"},
		{"a:1|g|#k:v|c:83c0a99c0a54c0c1|T1|e:in-abc|card:low|", "a,metric=a,k=v gauge=1 1000000000\n"},
		{"a:1|c|T", "!bad_timestamp\n"},
		{"a:1|c|T12x", "!bad_timestamp\n"},
		{"a:1|c|T99999999999", "!bad_timestamp\n"},
		{"a:1|c|T99999999999999999999999999", "!bad_timestamp\n"},
	};
	EACH(examples);
}
END_TEST

START_TEST(what_is_no_metric_is_refused)
{
	static const struct example examples[] = {
		{"_e{5,4}:title|text|t:warning", "!event\n"},
		{"_sc|Redis connection|2|#env:dev|m:down", "!event\n"},
		{"", "!bad_metric\n"},
		{"a", "!bad_metric\n"},
		{"a:1", "!bad_metric\n"},
		{"a|c", "!bad_metric\n"},
		{":1|c", "!bad_metric\n"},
		{"a:|c", "!bad_metric\n"},
		{"a:1|", "!bad_metric\n"},
		{"a:1|k", "!bad_type\n"},
		{"a:1|C", "!bad_type\n"},
		{"a:1|c:2|c", "!bad_type\n"},
		{"a:x|c", "!bad_value\n"},
		{"a:1x|g", "!bad_value\n"},
		{"a:1,b=2|g", "!bad_value\n"},
		{"a:nan|g", "!bad_value\n"},
		{"a:inf|g", "!bad_value\n"},
		{"a:0x10|g", "!bad_value\n"},
		{"a:1e999|g", "!bad_value\n"},
		{"a:1e308|c|@0.001", "!bad_value\n"},
		{"a:-|g", "!bad_value\n"},
		{"a:.|g", "!bad_value\n"},
		{"a:1e|g", "!bad_value\n"},
		{"a: 1|g", "!bad_value\n"},
	};
	EACH(examples);
}
END_TEST

START_TEST(bounds)
{
	struct buf line = {0};
	struct statsd_metric m;
	buf_printf(&line, "a:1|c|#");
	for (int i = 0; i < STATSD_TAGS_MAX; i++)
		buf_printf(&line, "k%d:v,", i);
	ck_assert_int_eq(statsd_parse(bytes_of(line.data, line.len), &m), STATSD_OK);
	ck_assert_uint_eq(m.tag_count, STATSD_TAGS_MAX);
	buf_printf(&line, "k0:w");
	ck_assert_int_eq(statsd_parse(bytes_of(line.data, line.len), &m), STATSD_OK);
	buf_printf(&line, ",one:more");
	ck_assert_int_eq(statsd_parse(bytes_of(line.data, line.len), &m), STATSD_TOO_MANY);
	buf_clear(&line);
	buf_printf(&line, "a:1|c|c:");
	while (line.len < STATSD_LINE_BYTES_MAX)
		buf_u8(&line, 'x');
	ck_assert_int_eq(statsd_parse(bytes_of(line.data, line.len), &m), STATSD_OK);
	buf_u8(&line, 'x');
	ck_assert_int_eq(statsd_parse(bytes_of(line.data, line.len), &m), STATSD_TOO_LONG);
	buf_free(&line);
}
END_TEST

START_TEST(numbers_are_the_nearest_doubles)
{
	static const char *const texts[] = {"0", "-0", "1", "007", "0.1", "3.14159265358979", "123456789012345", "1234567890123456789",
		"0.30000000000000004", "1e-7", "-2.5E+10", "99999999999999999999.5", "0.0000000000000000000000012", "5.", "1.7976931348623157e308",
		"4.9e-324"};
	double v;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		ck_assert_msg(statsd_number(text_of(texts[i]), &v), "%s", texts[i]);
		ck_assert_msg(v == strtod(texts[i], NULL), "%s: %.17g", texts[i], v);
	}
	char digits[STATSD_NUMBER_BYTES_MAX + 2] = {0};
	memset(digits, '1', STATSD_NUMBER_BYTES_MAX);
	ck_assert(statsd_number(text_of(digits), &v));
	digits[STATSD_NUMBER_BYTES_MAX] = '1';
	ck_assert(!statsd_number(text_of(digits), &v));
}
END_TEST

/* ---- gauges ------------------------------------------------------------------------------------------------------------- */

START_TEST(steps_of_a_gauge_go_on_from_where_it_stands)
{
	static const struct example examples[] = {
		{"a:10|g", "a,metric=a gauge=10\n"},
		{"a:-3|g", "a,metric=a gauge=7\n"},
		{"a:+0.5|g", "a,metric=a gauge=7.5\n"},
		{"a:+1|g|#k:v", "a,metric=a,k=v gauge=1\n"}, /* another one, of which nothing is known */
		{"a:+1:+1|g|#k:v", "a,metric=a,k=v gauge=2\na,metric=a,k=v gauge=3\n"},
		{"a:+1|g", "a,metric=a gauge=8.5\n"},
		{"b:+1|g|#x:1,y:2", "b,metric=b,x=1,y=2 gauge=1\n"},
		{"b:+1|g|#y:2,x:1", "b,metric=b,x=1,y=2 gauge=2\n"},
		{"c:1e308|g", "c,metric=c gauge=1e+308\n"},
		{"c:+1e308|g", "!bad_value\n"},
		{"c:-1e308|g", "c,metric=c gauge=0\n"},
		{"d:0|g", "d,metric=d gauge=0\n"}, /* how a client says -5 */
		{"d:-5|g", "d,metric=d gauge=-5\n"},
	};
	EACH(examples);
}
END_TEST

START_TEST(gauges_are_bounded)
{
	char line[1024];
	for (int i = 0; i < STATSD_GAUGES_MAX + 10; i++) {
		snprintf(line, sizeof(line), "g%d:5|g", i);
		ck_assert_ptr_null(strchr(readings(line), '!'));
	}
	ck_assert_uint_eq(gauges.count, STATSD_GAUGES_MAX);
	ck_assert_str_eq(readings("g0:+1|g"), "g0,metric=g0 gauge=6\n");
	snprintf(line, sizeof(line), "g%d:+1|g", STATSD_GAUGES_MAX);
	ck_assert_str_eq(readings(line), "!gauge_limit\n");
	statsd_gauges_free(&gauges);
	int n = snprintf(line, sizeof(line), "%0*d:+1|g", STATSD_GAUGE_KEY_MAX, 7);
	ck_assert_int_gt(n, STATSD_GAUGE_KEY_MAX);
	ck_assert_str_eq(readings(line), "!gauge_limit\n");
}
END_TEST

START_TEST(gauges_are_in_the_checkpoint_once_there_was_a_step)
{
	struct buf mark = {0}, again = {0};
	readings("a:10|g|#k:v");
	statsd_gauges_encode(&gauges, &mark);
	ck_assert_uint_eq(mark.len, 0);
	readings("b:-2.5|g");
	statsd_gauges_encode(&gauges, &mark);
	statsd_gauges_free(&gauges);
	ck_assert_int_eq(statsd_gauges_decode(&gauges, bytes_of(mark.data, mark.len)), 0);
	statsd_gauges_encode(&gauges, &again);
	ck_assert(again.len == mark.len && !memcmp(again.data, mark.data, mark.len));
	ck_assert_str_eq(readings("a:+1|g|#k:v"), "a,metric=a,k=v gauge=11\n");
	ck_assert_str_eq(readings("b:-1|g"), "b,metric=b gauge=-3.5\n");
	for (size_t n = 1; n < mark.len; n++) {
		struct statsd_gauges cut = {0};
		ck_assert_int_ne(statsd_gauges_decode(&cut, bytes_of(mark.data, n)), 0);
		ck_assert_uint_eq(cut.count, 0);
	}
	mark.data[0] = 99;
	struct statsd_gauges later = {0};
	ck_assert_int_eq(statsd_gauges_decode(&later, bytes_of(mark.data, mark.len)), WEIR_EVERSION);
	buf_free(&mark);
	buf_free(&again);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/statsd");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_type_has_its_field);
	tcase_add_test(tc, what_is_sampled_counts_as_what_it_stands_for);
	tcase_add_test(tc, what_is_sampled_is_one_line);
	tcase_add_test(tc, tags_and_what_else_dogstatsd_adds);
	tcase_add_test(tc, what_is_no_metric_is_refused);
	tcase_add_test(tc, bounds);
	tcase_add_test(tc, numbers_are_the_nearest_doubles);
	tcase_add_test(tc, steps_of_a_gauge_go_on_from_where_it_stands);
	tcase_add_test(tc, gauges_are_bounded);
	tcase_add_test(tc, gauges_are_in_the_checkpoint_once_there_was_a_step);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
