#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/json_path.h"
#include "common/topic.h"

static struct topic_filter parsed(const char *text)
{
	struct topic_filter f;
	const char *why = "";
	ck_assert_msg(topic_filter_parse(text, &f, &why) == 0, "%s: %s", text, why);
	return f;
}

/* "no", or the tags. */
static const char *match(const char *filter, const char *topic)
{
	static struct buf out;
	struct topic_filter f = parsed(filter);
	struct topic_tag tags[TOPIC_LEVELS_MAX];
	size_t count;
	buf_clear(&out);
	if (!topic_filter_match(&f, bytes_of((const uint8_t *)topic, strlen(topic)), tags, &count))
		buf_printf(&out, "no");
	else
		for (size_t i = 0; i < count; i++)
			buf_printf(&out, "%s=%.*s ", tags[i].key, (int)tags[i].value.n, (const char *)tags[i].value.p);
	topic_filter_clear(&f);
	return buf_cstr(&out);
}

START_TEST(levels_become_tags)
{
	ck_assert_str_eq(match("site/+site/machine/+machine/temp", "site/n/machine/7/temp"), "site=n machine=7 ");
	ck_assert_str_eq(match("+a/+/+b", "x/y/z"), "a=x b=z ");
	ck_assert_str_eq(match("+a/+b", "x/"), "a=x ");
	ck_assert_str_eq(match("site/+s/#", "site/n/a/b/c"), "s=n ");
	ck_assert_str_eq(match("site/+s/#", "site/n"), "s=n ");
	ck_assert_str_eq(match("#", "a"), "");
	ck_assert_str_eq(match("/+a", "/x"), "a=x ");
}
END_TEST

START_TEST(other_topics_do_not_match)
{
	ck_assert_str_eq(match("site/+s/temp", "site/n/tempo"), "no");
	ck_assert_str_eq(match("site/+s/temp", "site/n/tem"), "no");
	ck_assert_str_eq(match("site/+s/temp", "site/n/temp/x"), "no");
	ck_assert_str_eq(match("site/+s/temp", "site/n/temp/"), "no");
	ck_assert_str_eq(match("site/+s/temp", "site/n"), "no");
	ck_assert_str_eq(match("site/+s/#", "site"), "no");
	ck_assert_str_eq(match("a", ""), "no");
	ck_assert_str_eq(match("#", "$SYS/load"), "no"); /* the broker's own (MQTT 4.7.2) */
	ck_assert_str_eq(match("+a/load", "$SYS/load"), "no");
	ck_assert_str_eq(match("$SYS/+a", "$SYS/load"), "a=load ");
}
END_TEST

START_TEST(brokers_are_asked_without_names)
{
	struct topic_filter f = parsed("+site/x/+/#");
	ck_assert_str_eq(f.subscribe, "+/x/+/#");
	topic_filter_clear(&f);
}
END_TEST

START_TEST(bad_filters_are_refused)
{
	static const char *const bad[] = {"", "a/#/b", "a#", "#x", "a+", "a/b+c", "+a b/c", "+a/+a", "$share/g/a", "weir-barrier/x",
		"1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct topic_filter f;
		const char *why = NULL;
		ck_assert_msg(topic_filter_parse(bad[i], &f, &why) == WEIR_EINVAL, "%s", bad[i]);
		ck_assert_ptr_nonnull(why);
		topic_filter_clear(&f);
	}
	char *longest = xmalloc(TOPIC_FILTER_BYTES_MAX + 2);
	memset(longest, 'a', TOPIC_FILTER_BYTES_MAX + 1);
	longest[TOPIC_FILTER_BYTES_MAX + 1] = 0;
	struct topic_filter f;
	const char *why;
	ck_assert_int_eq(topic_filter_parse(longest, &f, &why), WEIR_EINVAL);
	ck_assert_int_eq(topic_filter_parse(longest + 1, &f, &why), 0);
	topic_filter_clear(&f);
	free(longest);
}
END_TEST

static bool overlap(const char *a, const char *b)
{
	struct topic_filter x = parsed(a), y = parsed(b);
	bool one = topic_filters_overlap(&x, &y), other = topic_filters_overlap(&y, &x);
	ck_assert_int_eq(one, other);
	topic_filter_clear(&x);
	topic_filter_clear(&y);
	return one;
}

START_TEST(overlaps_are_found)
{
	ck_assert(overlap("a/b", "a/b"));
	ck_assert(overlap("a/+", "a/b"));
	ck_assert(overlap("a/+x", "+y/b"));
	ck_assert(overlap("a/#", "a"));
	ck_assert(overlap("a/#", "a/b/c"));
	ck_assert(overlap("#", "a/b/c"));
	ck_assert(overlap("a/+/#", "a/b"));
	ck_assert(!overlap("#", "$SYS/#"));
	ck_assert(!overlap("+/load", "$SYS/load"));
	ck_assert(overlap("$SYS/#", "$SYS/load"));
	ck_assert(!overlap("a/b", "a/c"));
	ck_assert(!overlap("a/+", "a"));
	ck_assert(!overlap("a/+/c", "a/+/d"));
	ck_assert(!overlap("a/+", "a/b/c"));
	ck_assert(!overlap("a/b/#", "a"));
}
END_TEST

/* ---- paths into JSON --------------------------------------------------------------------------------------------- */

static const char *path(const char *text)
{
	static struct buf out;
	struct json_path p;
	const char *why = NULL;
	buf_clear(&out);
	if (json_path_parse(text, &p, &why)) {
		ck_assert_ptr_nonnull(why);
		return "bad";
	}
	buf_printf(&out, "%s", p.from_document ? "$" : "@");
	for (size_t i = 0; i < p.count; i++) {
		if (p.steps[i].key)
			buf_printf(&out, " %s", p.steps[i].key);
		else
			buf_printf(&out, " %u", p.steps[i].index);
	}
	json_path_clear(&p);
	return buf_cstr(&out);
}

START_TEST(paths_are_read)
{
	ck_assert_str_eq(path("a"), "@ a");
	ck_assert_str_eq(path("a.b[0].c"), "@ a b 0 c");
	ck_assert_str_eq(path("[3][\"a.b [x\"].c"), "@ 3 a.b [x c");
	ck_assert_str_eq(path("$.a"), "$ a");
	ck_assert_str_eq(path("$[1]"), "$ 1");
	ck_assert_str_eq(path("@"), "@");
	ck_assert_str_eq(path("@.a"), "@ a");
	ck_assert_str_eq(path("$"), "$");
}
END_TEST

START_TEST(bad_paths_are_refused)
{
	static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[1", "a[1]b", "a[1000001]", "[\"a",
		"a]", "$a", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "a[99999999999999999999999]"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!strcmp(path(bad[i]), "bad"), "%s: %s", bad[i], path(bad[i]));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("topic");
	TCase *t = tcase_create("topic");
	tcase_add_test(t, levels_become_tags);
	tcase_add_test(t, other_topics_do_not_match);
	tcase_add_test(t, brokers_are_asked_without_names);
	tcase_add_test(t, bad_filters_are_refused);
	tcase_add_test(t, overlaps_are_found);
	tcase_add_test(t, paths_are_read);
	tcase_add_test(t, bad_paths_are_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
