#include "edged/payload.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

static void on_refused(void *arg, const char *reason, const char *detail)
{
	ck_assert_ptr_nonnull(detail);
	buf_printf(arg, "!%s\n", reason);
}

/* The lines, and refusals as !REASON in their place. */
static const char *read_bytes(const struct payload_conf *conf, const void *payload, size_t len)
{
	static struct buf out;
	struct payload_reader *r = payload_reader_new(conf);
	buf_clear(&out);
	payload_read(r, bytes_of(payload, len), &out, on_refused, &out);
	payload_reader_free(r);
	return buf_cstr(&out);
}

static const char *read_text(const struct payload_conf *conf, const char *payload)
{
	return read_bytes(conf, payload, strlen(payload));
}

static const struct payload_conf number = {.format = PAYLOAD_NUMBER, .measurement = "m x", .field = "f"};
static const struct payload_conf collectd = {.format = PAYLOAD_COLLECTD, .measurement = "m", .field = "v"};

START_TEST(plain_numbers)
{
	ck_assert_str_eq(read_text(&number, "71.5"), "m\\ x f=71.5\n");
	ck_assert_str_eq(read_text(&number, " -1e3\r\n"), "m\\ x f=-1e3\n");
	ck_assert_str_eq(read_bytes(&number, "5\0", 2), "m\\ x f=5\n");
	ck_assert_str_eq(read_text(&number, ".5"), "m\\ x f=.5\n");
	ck_assert_str_eq(read_text(&number, "5."), "m\\ x f=5.\n");
	ck_assert_str_eq(read_text(&number, "ON"), "m\\ x f=t\n");
	ck_assert_str_eq(read_text(&number, "false"), "m\\ x f=f\n");
	static const char *const bad[] = {"", " ", "x", "1 2", "1,b=2", "1\n2", "0x10", "nan", "inf", "..", "--", "1;2", ".", "e5", "1e", "1e+", "1.2.3", "1-2", "-"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!strcmp(read_text(&number, bad[i]), "!bad_payload\n"), "%s", bad[i]);
	ck_assert_str_eq(read_bytes(&number, "1\0002", 3), "!bad_payload\n");
}
END_TEST

START_TEST(what_collectd_sends)
{
	ck_assert_str_eq(read_bytes(&collectd, "1700000000.123:42.5", 20), "m v=42.5 1700000000123000000\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000.5:1:nan:-3"), "m v_0=1,v_2=-3 1700000000500000000\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000:1"), "m v=1 1700000000000000000\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000.1234567899:1"), "m v=1 1700000000123456789\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000:nan"), "!no_value\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000:x"), "!bad_number\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000:"), "!bad_number\n");
	ck_assert_str_eq(read_text(&collectd, "N:1"), "!bad_timestamp\n");
	ck_assert_str_eq(read_text(&collectd, "17000000000:1"), "!bad_timestamp\n");
	ck_assert_str_eq(read_text(&collectd, "1700000000"), "!bad_payload\n");
	ck_assert_str_eq(read_text(&collectd, ""), "!bad_payload\n");
	char many[PAYLOAD_VALUES_MAX * 2 + 8] = "1";
	for (size_t i = 0; i <= PAYLOAD_VALUES_MAX; i++)
		memcpy(many + 1 + 2 * i, ":1", 3);
	ck_assert_str_eq(read_text(&collectd, many), "!bad_payload\n");
	many[1 + 2 * PAYLOAD_VALUES_MAX] = 0;
	ck_assert_int_ne(*read_text(&collectd, many), '!');
}
END_TEST

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static const struct payload_conf one = {.format = PAYLOAD_JSON, .measurement = "m", .field = "f", .value = "a.b[1]"};

START_TEST(one_value_at_a_path)
{
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, 2.5]}}"), "m f=2.5\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, \"-3e2\"]}}"), "m f=-3e2\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, true]}}"), "m f=t\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, 9007199254740993]}}"), "m f=9007199254740993\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, null]}}"), "!no_value\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1]}}"), "!no_value\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": 5}"), "!no_value\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, \"x\"]}}"), "!bad_number\n");
	ck_assert_str_eq(read_text(&one, "{\"a\": {\"b\": [1, []]}}"), "!bad_number\n");
	ck_assert_str_eq(read_text(&one, "{"), "!bad_payload\n");
	ck_assert_str_eq(read_text(&one, ""), "!bad_payload\n");
	ck_assert_str_eq(read_text(&one, "{} x"), "!bad_payload\n");
	ck_assert_str_eq(read_bytes(&one, "{\"a\": {\"b\": [1, 2]}}\0", 21), "m f=2\n");
	struct payload_conf itself = one;
	itself.value = (char *)(uintptr_t)"@";
	ck_assert_str_eq(read_text(&itself, "[1, 2]"), "m f=1\nm f=2\n");
}
END_TEST

START_TEST(arrays_of_readings_with_tags_and_times)
{
	struct model_tag fields[] = {{"p", "p"}, {"q r", "q"}}, tags[] = {{"id", "id"}, {"plant", "$.plant"}};
	struct payload_conf c = {.format = PAYLOAD_JSON, .measurement = "m", .field = "f", .readings = "data", .fields = fields,
		.field_count = 2, .tags = tags, .tag_count = 2, .time = "t"};
	const char *payload = "{\"plant\": \"a b\", \"data\": ["
			      "{\"id\": 1, \"p\": 1, \"q\": 2, \"t\": 1700000000},"
			      "{\"id\": null, \"p\": 3, \"t\": \"2023-11-14T22:13:20.5Z\"},"
			      "{\"id\": \"\", \"q\": 4, \"t\": 1700000000.25},"
			      "{\"id\": [], \"p\": 1, \"t\": 1}, {\"p\": 1}, {\"p\": 1, \"t\": \"now\"}, {\"p\": 1, \"t\": 1e300}, {\"t\": 1}, 7]}";
	ck_assert_str_eq(read_text(&c, payload), "m,id=1,plant=a\\ b p=1,q\\ r=2 1700000000000000000\n"
						 "m,plant=a\\ b p=3 1700000000500000000\n"
						 "m,plant=a\\ b q\\ r=4 1700000000250000000\n"
						 "!bad_payload\n!bad_timestamp\n!bad_timestamp\n!bad_timestamp\n!no_value\n!no_value\n");
	ck_assert_str_eq(read_text(&c, "{\"data\": {\"p\": 1, \"t\": 2}}"), "m p=1 2000000000\n");
	ck_assert_str_eq(read_text(&c, "{}"), "!no_value\n");
	c.unit_ns = NS_PER_MS;
	ck_assert_str_eq(read_text(&c, "{\"data\": {\"p\": 1, \"t\": 1700000000123}}"), "m p=1 1700000000123000000\n");
	ck_assert_str_eq(read_text(&c, "{\"data\": {\"p\": 1, \"t\": \"1700000000123.5\"}}"), "m p=1 1700000000123500000\n");
	c.unit_ns = 1;
	ck_assert_str_eq(read_text(&c, "{\"data\": {\"p\": 1, \"t\": 1700000000123456789}}"), "m p=1 1700000000123456789\n");
	c.unit_ns = NS_PER_SEC;
	ck_assert_str_eq(read_text(&c, "{\"data\": {\"p\": 1, \"t\": 9223372036854775807}}"), "!bad_timestamp\n");
}
END_TEST

START_TEST(limits)
{
	struct buf many = {0};
	struct payload_conf itself = one;
	itself.value = (char *)(uintptr_t)"@";
	buf_printf(&many, "[1");
	for (size_t i = 1; i < PAYLOAD_READINGS_MAX; i++)
		buf_printf(&many, ",1");
	buf_printf(&many, "]");
	ck_assert_int_ne(*read_bytes(&itself, many.data, many.len), '!');
	many.len--;
	buf_printf(&many, ",1]");
	ck_assert_str_eq(read_bytes(&itself, many.data, many.len), "!too_many\n");
	ck_assert_str_eq(read_bytes(&number, NULL, 0), "!bad_payload\n");
	ck_assert_str_eq(read_bytes(&collectd, NULL, 0), "!bad_payload\n");
	ck_assert_str_eq(read_bytes(&one, NULL, 0), "!bad_payload\n");
	buf_clear(&many);
	memset(buf_reserve(&many, PAYLOAD_BYTES_MAX + 1), ' ', PAYLOAD_BYTES_MAX + 1);
	ck_assert_str_eq(read_bytes(&number, many.data, PAYLOAD_BYTES_MAX + 1), "!too_long\n");
	ck_assert_str_eq(read_bytes(&number, many.data, PAYLOAD_BYTES_MAX), "!bad_payload\n");
	memset(many.data, '[', PAYLOAD_BYTES_MAX);
	ck_assert_str_eq(read_bytes(&one, many.data, PAYLOAD_BYTES_MAX), "!bad_payload\n");
	buf_free(&many);
}
END_TEST

static size_t count_of(const char *text, const char *what)
{
	size_t n = 0;
	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		n++;
	return n;
}

/* One long text, and thousands of readings that all want it as their tag: refused by its length, by the line's, by that of all. */
static const char *read_shared(size_t tag_len, unsigned tag_count, const char *value, size_t readings)
{
	struct model_tag tags[] = {{"a", "$.tag"}, {"b", "$.tag"}};
	struct payload_conf c = {.format = PAYLOAD_JSON, .measurement = "m", .field = "f", .readings = "d", .value = "v", .tags = tags,
		.tag_count = tag_count};
	struct buf text = {0};
	buf_printf(&text, "{\"tag\": \"");
	memset(buf_reserve(&text, tag_len), 'x', tag_len);
	text.len += tag_len;
	buf_printf(&text, "\", \"d\": [{%s}", value);
	for (size_t i = 1; i < readings; i++)
		buf_printf(&text, ",{%s}", value);
	buf_printf(&text, "]}");
	const char *out = read_bytes(&c, text.data, text.len);
	buf_free(&text);
	return out;
}

START_TEST(a_text_that_all_readings_share_stays_bounded)
{
	const size_t readings = 5000, len = 60000;
	const char *out = read_shared(len, 1, "\"v\": 1", readings);
	size_t good = count_of(out, "m,a=");
	ck_assert_uint_ge(good, PAYLOAD_TEXT_MAX / (len + 16));
	ck_assert_uint_le(strlen(out), PAYLOAD_TEXT_MAX + 2 * len + readings * strlen("!too_long\n"));
	ck_assert_uint_eq(good + count_of(out, "!too_long"), readings);
	out = read_shared(len, 1, "\"w\": 1", readings); /* also of those that do not come about */
	ck_assert_uint_eq(count_of(out, "!no_value") + count_of(out, "!too_long"), readings);
	ck_assert_uint_le(count_of(out, "!no_value"), PAYLOAD_TEXT_MAX / len + 1);
	ck_assert_str_eq(read_shared(len, 2, "\"v\": 1", 1), "!too_long\n");
	ck_assert_str_eq(read_shared(100000, 1, "\"v\": 1", 2), "!too_long\n!too_long\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("payload");
	TCase *t = tcase_create("payload");
	tcase_add_test(t, plain_numbers);
	tcase_add_test(t, what_collectd_sends);
	tcase_add_test(t, one_value_at_a_path);
	tcase_add_test(t, arrays_of_readings_with_tags_and_times);
	tcase_add_test(t, limits);
	tcase_add_test(t, a_text_that_all_readings_share_stays_bounded);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
