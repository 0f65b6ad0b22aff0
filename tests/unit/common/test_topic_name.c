/* Topics made of groups: what may stand in them, and that no two groups share one. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topic_name.h"

static const char *level(const char *value, size_t n)
{
	static struct buf out;
	buf_clear(&out);
	topic_name_level(&out, bytes_of((const uint8_t *)value, n));
	return buf_cstr(&out);
}

static struct bytes group_of(const char *const *values, size_t count)
{
	static struct buf out;
	buf_clear(&out);
	for (size_t i = 0; i < count; i++)
		buf_bytes(&out, values[i], strlen(values[i]));
	return bytes_of(out.data, out.len);
}

static int put(const char *template, size_t tag_count, struct bytes group, struct buf *out)
{
	struct topic_name n = {.stream = bytes_of("speed", 5), .alert = bytes_of("hot", 3), .tag_count = tag_count, .group = group};
	return topic_name_put(template, &n, out);
}

static const char *topic(const char *template, const char *const *values, size_t count)
{
	static struct buf out;
	const char *why;
	ck_assert_msg(!topic_name_check(template, &why), "%s: %s", template, why);
	buf_clear(&out);
	ck_assert_int_eq(put(template, count, group_of(values, count), &out), 0);
	return buf_cstr(&out);
}

START_TEST(groups_become_levels)
{
	const char *const two[] = {"north", "6/7+#"};
	const char *const none[] = {"", ""};
	ck_assert_str_eq(topic("weir/{stream}/{group}", two, 2), "weir/speed/north/6%2F7%2B%23");
	ck_assert_str_eq(topic("{group}/x-{stream}", two, 2), "north/6%2F7%2B%23/x-speed");
	ck_assert_str_eq(topic("weir/{stream}/{group}", none, 2), "weir/speed/%/%");
	ck_assert_str_eq(topic("weir/{stream}/{group}", none, 0), "weir/speed");
	ck_assert_str_eq(topic("{group}/{stream}", none, 0), "speed");
	ck_assert_str_eq(topic("a/{group}/{stream}", none, 0), "a/speed");
	ck_assert_str_eq(topic("weir/all", two, 2), "weir/all");
}
END_TEST

/* A broker keeps one message of each topic. */
START_TEST(parts_of_a_group_have_topics_of_their_own)
{
	const char *const other[] = {"__other__", "__other__"};
	struct buf out = {0};
	struct topic_name n = {.stream = bytes_of("s", 1), .tag_count = 2, .group = group_of(other, 2), .is_part = true, .shard = 13};
	ck_assert_int_eq(topic_name_put("weir/{stream}/{group}/x", &n, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "weir/s/__other__/__other__$13/x");
	buf_clear(&out);
	ck_assert_int_eq(topic_name_put("weir/{stream}", &n, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "weir/s");
	n.tag_count = 1;
	ck_assert_int_eq(topic_name_put("{stream}/{group}", &n, &out), WEIR_ECORRUPT);
	buf_free(&out);
}
END_TEST

static const char *topic_of_alert(const char *template, const char *const *values, size_t count)
{
	static struct buf out;
	const char *why;
	ck_assert_msg(!topic_name_check_alerts(template, &why), "%s: %s", template, why);
	buf_clear(&out);
	ck_assert_int_eq(put(template, count, group_of(values, count), &out), 0);
	return buf_cstr(&out);
}

START_TEST(alerts_have_a_name)
{
	const char *const two[] = {"north", "{alert}"};
	const char *why;
	ck_assert_str_eq(topic_of_alert("a/{alert}/{group}", two, 2), "a/hot/north/{alert}");
	ck_assert_str_eq(topic_of_alert("{group}/{stream}-{alert}", two, 0), "speed-hot");
	ck_assert_str_eq(topic_of_alert("alarms", two, 2), "alarms");
	ck_assert_int_eq(topic_name_check("a/{alert}", &why), WEIR_EINVAL);
	ck_assert_int_eq(topic_name_check_alerts("{alert}/{alert}", &why), WEIR_EINVAL);
	ck_assert_int_eq(topic_name_check_alerts("{alerts}", &why), WEIR_EINVAL);
}
END_TEST

START_TEST(what_no_topic_may_hold_is_escaped)
{
	ck_assert_str_eq(level("Zürich 7 {x}", 13), "Zürich 7 {x}");
	ck_assert_str_eq(level("$SYS", 4), "%24SYS");
	ck_assert_str_eq(level("%", 1), "%25");
	ck_assert_str_eq(level("", 0), "%");
	ck_assert_str_eq(level("a\0b", 3), "a%00b");
	ck_assert_str_eq(level("\n\x7f", 2), "%0A%7F");
	ck_assert_str_eq(level("\xff\xc3", 2), "%FF%C3");
	ck_assert_str_eq(level("\xed\xa0\x80", 3), "%ED%A0%80"); /* half a surrogate */
	ck_assert_str_eq(level("\xc2\x85", 2), "%C2%85");         /* a control character */
	ck_assert_str_eq(level("\xef\xbf\xbf", 3), "%EF%BF%BF");  /* no character */
	ck_assert_str_eq(level("\xef\xb7\x90", 3), "%EF%B7%90");
	ck_assert_str_eq(level("\xf0\x9f\x98\x80", 4), "\xf0\x9f\x98\x80");
}
END_TEST

static int hex(char ch)
{
	const char *at = memchr("0123456789ABCDEF", ch, 16);
	ck_assert_ptr_nonnull(at);
	return (int)(at - "0123456789ABCDEF");
}

/* Back again: so no two values have one text. */
START_TEST(each_value_can_be_had_back)
{
	for (unsigned first = 0; first < 256; first++) {
		for (unsigned second = 0; second < 256; second++) {
			const char value[] = {(char)first, (char)second, 'x'};
			const char *text = level(value, 3);
			ck_assert(!strpbrk(text, "/+#$"));
			char back[3];
			size_t n = 0;
			for (const char *s = text; *s; s++) {
				ck_assert_uint_lt(n, 3);
				back[n++] = *s == '%' ? (char)(hex(s[1]) * 16 + hex(s[2])) : *s;
				s += *s == '%' ? 2 : 0;
			}
			ck_assert(n == 3 && !memcmp(back, value, 3));
		}
	}
}
END_TEST

START_TEST(bad_templates_are_refused)
{
	char long_one[TOPIC_NAME_TEMPLATE_MAX + 2];
	const char *why = NULL;
	memset(long_one, 'x', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = 0;
	const char *const bad[] = {"", "a/+/{stream}", "#", "$SYS/{stream}", "{group}", "x{group}/{stream}", "{stream}/{group}x", "{stream", "}", "{node}",
		"{stream}/{stream}", "{stream}/{group}/{group}", "{streams}", "a\nb", "\xff{stream}", long_one};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(topic_name_check(bad[i], &why) == WEIR_EINVAL && why, "%s", bad[i]);
	ck_assert_int_eq(topic_name_check(long_one + 1, &why), 0);
}
END_TEST

START_TEST(a_group_of_another_number_of_tags_is_told)
{
	const char *const two[] = {"a", "b"};
	struct buf out = {0};
	ck_assert_int_eq(put("{stream}/{group}", 1, group_of(two, 2), &out), WEIR_ECORRUPT);
	ck_assert_int_eq(put("{stream}/{group}", 3, group_of(two, 2), &out), WEIR_ECORRUPT);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("topic_name");
	TCase *t = tcase_create("topic_name");
	tcase_add_test(t, groups_become_levels);
	tcase_add_test(t, parts_of_a_group_have_topics_of_their_own);
	tcase_add_test(t, alerts_have_a_name);
	tcase_add_test(t, what_no_topic_may_hold_is_escaped);
	tcase_add_test(t, each_value_can_be_had_back);
	tcase_add_test(t, bad_templates_are_refused);
	tcase_add_test(t, a_group_of_another_number_of_tags_is_told);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
