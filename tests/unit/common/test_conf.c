#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/err.h"

struct inner {
	uint32_t depth;
};

struct outer {
	char *text, *name, *path;
	bool flag;
	uint32_t small;
	uint64_t large, size;
	double number, share;
	int64_t wait;
	struct inner inner;
	struct inner *items;
	size_t item_count;
};

static const struct conf_field inner_fields[] = {
	{.key = "depth", .kind = CONF_KIND_U32, .required = true, .offset = offsetof(struct inner, depth), .max = 9},
};
static const struct conf_schema inner_schema = {sizeof(struct inner), inner_fields, 1, NULL, NULL, NULL};
static const struct conf_field outer_fields[] = {
	{.key = "text", .kind = CONF_KIND_TEXT, .offset = offsetof(struct outer, text), .max = 10},
	{.key = "name", .kind = CONF_KIND_NAME, .offset = offsetof(struct outer, name)},
	{.key = "path", .kind = CONF_KIND_PATH, .offset = offsetof(struct outer, path)},
	{.key = "flag", .kind = CONF_KIND_BOOL, .offset = offsetof(struct outer, flag)},
	{.key = "small", .kind = CONF_KIND_U32, .offset = offsetof(struct outer, small), .min = 1, .max = 100},
	{.key = "large", .kind = CONF_KIND_U64, .offset = offsetof(struct outer, large), .max = INT64_MAX},
	{.key = "size", .kind = CONF_KIND_SIZE, .offset = offsetof(struct outer, size), .min = 1024, .max = 1 << 30},
	{.key = "number", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct outer, number)},
	{.key = "share", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct outer, share), .double_max = 1},
	{.key = "wait", .kind = CONF_KIND_DURATION, .offset = offsetof(struct outer, wait), .min = NS_PER_MS,
	    .max = 3600 * NS_PER_SEC},
	{.key = "inner", .kind = CONF_KIND_MAP, .offset = offsetof(struct outer, inner), .schema = &inner_schema},
	{.key = "items", .kind = CONF_KIND_LIST, .offset = offsetof(struct outer, items),
	    .count_offset = offsetof(struct outer, item_count), .schema = &inner_schema, .min = 1, .max = 3},
};
static const struct conf_schema outer_schema = {sizeof(struct outer), outer_fields,
	sizeof(outer_fields) / sizeof(outer_fields[0]), NULL, NULL, NULL};

static void outer_clear(struct outer *o)
{
	conf_clear(&outer_schema, o);
}

/* Reads text by the outer table and compares all that is said of it. */
static void expect(const char *text, const char *errors)
{
	struct conf *c = conf_new("f");
	struct outer o = {0};
	int err = conf_parse(c, text, strlen(text));
	if (conf_root(c))
		conf_read(c, conf_root(c), &outer_schema, &o);
	else
		ck_assert_int_eq(err, WEIR_EINVAL);
	struct buf b = {0};
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), errors);
	buf_free(&b);
	conf_free(c);
	outer_clear(&o);
}

START_TEST(values_arrive)
{
	static const char text[] = "text: a b\nname: n.1\nflag: true\nsmall: 100\nlarge: 9223372036854775807\n"
				   "size: 64KiB\nnumber: -1.5e3\nshare: .5\nwait: 1m\ninner: {depth: 7}\n"
				   "items:\n  - depth: 1\n  - {depth: 2}\n";
	struct conf *c = conf_new("f");
	struct outer o = {0};
	ck_assert_int_eq(conf_parse(c, text, strlen(text)), 0);
	conf_read(c, conf_root(c), &outer_schema, &o);
	ck_assert_uint_eq(conf_error_count(c), 0);
	ck_assert_str_eq(o.text, "a b");
	ck_assert_str_eq(o.name, "n.1");
	ck_assert(o.flag);
	ck_assert_uint_eq(o.small, 100);
	ck_assert(o.large == INT64_MAX);
	ck_assert_uint_eq(o.size, 65536);
	ck_assert(o.number == -1500);
	ck_assert(o.share == 0.5);
	ck_assert_int_eq(o.wait, 60 * NS_PER_SEC);
	ck_assert_uint_eq(o.inner.depth, 7);
	ck_assert_uint_eq(o.item_count, 2);
	ck_assert_uint_eq(o.items[1].depth, 2);
	conf_free(c);
	outer_clear(&o);
}
END_TEST

static struct outer read_at(const char *file, const char *text)
{
	struct conf *c = conf_new(file);
	struct outer o = {0};
	ck_assert_int_eq(conf_parse(c, text, strlen(text)), 0);
	conf_read(c, conf_root(c), &outer_schema, &o);
	ck_assert_uint_eq(conf_error_count(c), 0);
	conf_free(c);
	return o;
}

START_TEST(paths_are_relative_to_the_file)
{
	static const char *const cases[][3] = {
		{"/etc/weir/f", "path: a/b", "/etc/weir/a/b"},
		{"/etc/weir/f", "path: /a", "/a"},
		{"f", "path: a", "a"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct outer o = read_at(cases[i][0], cases[i][1]);
		ck_assert_str_eq(o.path, cases[i][2]);
		outer_clear(&o);
		ck_assert_ptr_null(o.path);
	}
}
END_TEST

START_TEST(objects_are_the_same_if_all_their_fields_are)
{
	static const char full[] = "{text: a, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
				   "wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}";
	static const char *const others[] = {
		"{text: b, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, path: p, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, path: p, flag: true, small: 4, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.25, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 4}, items: [{depth: 1}, {depth: 2}]}",
		"{text: a, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}, {depth: 5}]}",
		"{text: a, name: n, path: p, flag: true, small: 5, large: 6, size: 2KiB, number: 1.5, share: 0.5, "
		"wait: 1m, inner: {depth: 3}, items: [{depth: 1}]}",
	};
	struct outer a = read_at("f", full), b = read_at("f", full);
	ck_assert(conf_same(&outer_schema, &a, &b));
	outer_clear(&b);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		b = read_at("f", others[i]);
		ck_assert_msg(!conf_same(&outer_schema, &a, &b), "case %zu", i);
		outer_clear(&b);
	}
	outer_clear(&a);
}
END_TEST

START_TEST(each_wrong_value_is_told_with_its_place)
{
	static const struct {
		const char *text, *errors;
	} cases[] = {
		{"text: \"\"", "f:1:7: text: must not be empty\n"},
		{"text: 12345678901", "f:1:7: text: longer than 10 bytes\n"},
		{"text:", "f:1:6: text: expected a text, found nothing\n"},
		{"text: ~", "f:1:7: text: expected a text, found nothing\n"},
		{"text: [a]", "f:1:7: text: expected a text, found a list\n"},
		{"name: a/b", "f:1:7: name: `a/b` is not a name: only letters, digits and _ . - are allowed\n"},
		{"flag: yes", "f:1:7: flag: expected true or false, found `yes`\n"},
		{"flag: \"true\"", "f:1:7: flag: expected true or false, found `true` in quotes\n"},
		{"small: 0", "f:1:8: small: `0` is out of range: 1 to 100\n"},
		{"small: 101", "f:1:8: small: `101` is out of range: 1 to 100\n"},
		{"small: -5", "f:1:8: small: `-5` is out of range: 1 to 100\n"},
		{"small: 1.5", "f:1:8: small: expected a whole number, found `1.5`\n"},
		{"small: \"5\"", "f:1:8: small: expected a whole number, found `5` in quotes\n"},
		{"small: 0x10", "f:1:8: small: expected a whole number, found `0x10`\n"},
		{"large: 99999999999999999999999",
		    "f:1:8: large: `99999999999999999999999` is out of range: 0 to 9223372036854775807\n"},
		{"number: .inf", "f:1:9: number: expected a number, found `.inf`\n"},
		{"number: nan", "f:1:9: number: expected a number, found `nan`\n"},
		{"number: 0x1p3", "f:1:9: number: expected a number, found `0x1p3`\n"},
		{"number: 1e999", "f:1:9: number: `1e999` is out of range\n"},
		{"share: 1.01", "f:1:8: share: `1.01` is out of range: 0 to 1\n"},
		{"wait: 5", "f:1:7: wait: `5` is not a duration (250ms, 10s, 5m, 2h, 7d)\n"},
		{"wait: 2h", "f:1:7: wait: `2h` is out of range: 1ms to 1h\n"},
		{"wait: 99999999999d", "f:1:7: wait: `99999999999d` is out of range: 1ms to 1h\n"},
		{"size: 5", "f:1:7: size: `5` is not a size (512KiB, 64MiB, 1GiB)\n"},
		{"size: 64MB", "f:1:7: size: `64MB` is not a size (512KiB, 64MiB, 1GiB)\n"},
		{"size: 1B", "f:1:7: size: `1B` is out of range: 1KiB to 1GiB\n"},
		{"size: 99999999999TiB", "f:1:7: size: `99999999999TiB` is out of range: 1KiB to 1GiB\n"},
		{"inner: 5", "f:1:8: inner: expected a map, found a single value\n"},
		{"inner: {}", "f:1:8: inner: `depth` is missing\n"},
		{"inner: {depth: 10}", "f:1:16: inner.depth: `10` is out of range: 0 to 9\n"},
		{"items: {depth: 1}", "f:1:8: items: expected a list, found a map\n"},
		{"items: []", "f:1:8: items: 0 items; at least 1\n"},
		{"items: [1, 2, 3, 4]", "f:1:8: items: 4 items; at most 3\n"},
		{"items: [{depth: 1}, 5, {dept: 3}]",
		    "f:1:21: items[1]: expected a map, found a single value\n"
		    "f:1:25: items[2].dept: unknown key; did you mean `depth`?\n"},
		{"[a]", "f:1:1: expected a map, found a list\n"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(cases[i].text, cases[i].errors);
}
END_TEST

START_TEST(keys_are_told_when_unknown_or_doubled)
{
	expect("colour: red", "f:1:1: colour: unknown key\n");
	expect("txet: a", "f:1:1: txet: unknown key; did you mean `text`?\n");
	expect("nam: a", "f:1:1: nam: unknown key; did you mean `name`?\n");
	expect("\"a\\nb\": 1", "f:1:1: a?b: unknown key\n");
	expect("small: 1\ntext: b\nsmall: 2\n\nsmall: x\n",
	    "f:3:1: small: duplicate key; the first is on line 1\n"
	    "f:5:1: small: duplicate key; the first is on line 1\n");
	expect("text: a\ntext: b\n", "f:2:1: text: duplicate key; the first is on line 1\n");
	expect("<<: {small: 1}", "f:1:1: <<: unknown key\n");
	expect("\xc3\xbc: 1\nn\xc3\xbcm: {\xc3\xa4: 1, \xc3\xb6: 1}\n",
	    "f:1:1: \xc3\xbc: unknown key\nf:2:1: n\xc3\xbcm: unknown key\n");
}
END_TEST

START_TEST(what_makes_yaml_ambiguous_is_refused)
{
	expect("inner: &a {depth: 1}\ntext: b", "f:1:8: anchors (&`a`) are not allowed: write the value out\n");
	expect("inner: *a\nsmall: 0", "f:1:8: aliases (*`a`) are not allowed: write the value out\n"
				      "f:2:8: small: `0` is out of range: 1 to 100\n");
	expect("text: !!str a", "f:1:7: tags (`tag:yaml.org,2002:str`) are not allowed\n");
	expect("text: ! a", "f:1:7: tags (`!`) are not allowed\n");
	expect("text: a\n---\ntext: b\n", "f:2:1: a second document: one file holds one\n");
	expect("text: a\n...\n", "");
	expect("---\ntext: a\n", "");
	expect("[a]: b", "f:1:1: a key must be a text\n");
	expect("? {a: b}\n: c", "f:1:3: a key must be a text\n");
	expect("text: \"a\\0b\"", "f:1:7: a NUL character is not allowed\n");
	expect("", "f:1:1: the file is empty\n");
	expect("# nothing\n", "f:1:1: the file is empty\n");
	expect("text: \"a", "f:1:9: not YAML: found unexpected end of stream while scanning a quoted scalar\n");
	expect("text: a\n b: c\n", "f:2:3: not YAML: mapping values are not allowed in this context\n");
	expect("text: a\nname: \xff\n", "f:2:7: not YAML: invalid leading UTF-8 octet\n");
	expect("text: a\n\tname: b\n",
	    "f:2:1: not YAML: found a tab character that violates indentation while scanning a plain scalar\n");
	expect("text: @a\n",
	    "f:1:7: not YAML: found character that cannot start any token while scanning for the next token\n");
}
END_TEST

START_TEST(texts_in_messages_are_short_and_on_one_line)
{
	struct conf *c = conf_new("f");
	ck_assert_str_eq(conf_quote(c, "a\nb\x1b"), "`a?b?`");
	char text[200];
	memset(text, 'x', 199);
	text[199] = 0;
	ck_assert_uint_eq(strlen(conf_quote(c, text)), 48 + 3 + 2);
	text[47] = '\xc3';
	text[48] = '\xbc';
	ck_assert_uint_eq(strlen(conf_quote(c, text)), 47 + 3 + 2);
	conf_free(c);
}
END_TEST

START_TEST(suggestions_are_near)
{
	static const char *const keys[] = {"window", "lateness", "retain", "by"};
	ck_assert_str_eq(conf_suggest("windw", keys, 4), "window");
	ck_assert_str_eq(conf_suggest("wnidow", keys, 4), "window");
	ck_assert_str_eq(conf_suggest("latness", keys, 4), "lateness");
	ck_assert_ptr_null(conf_suggest("colour", keys, 4));
	ck_assert_ptr_null(conf_suggest("", keys, 4));
	char text[2000];
	memset(text, 'x', 1999);
	text[1999] = 0;
	ck_assert_ptr_null(conf_suggest(text, keys, 4));
}
END_TEST

/* Each of these took seconds, memory or the stack of a careless reader; the test's own time limit holds them. */
START_TEST(hostile_files_end_soon)
{
	static char text[CONF_BYTES_MAX + 2];
	struct buf b = {0};
	struct conf *c = conf_new("f");
	memset(text, '[', 100 * 1024);
	ck_assert_int_eq(conf_parse(c, text, 100 * 1024), WEIR_EINVAL);
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), "f:1:33: nested more than 32 deep\n");
	conf_free(c);

	c = conf_new("f");
	memset(text, '{', CONF_BYTES_MAX);
	ck_assert_int_eq(conf_parse(c, text, CONF_BYTES_MAX), WEIR_EINVAL);
	conf_free(c);

	c = conf_new("f");
	for (size_t i = 0; i + 2 <= CONF_BYTES_MAX; i += 2)
		memcpy(text + i, "- ", 2);
	ck_assert_int_eq(conf_parse(c, text, CONF_BYTES_MAX), WEIR_EINVAL);
	conf_free(c);

	c = conf_new("f");
	for (size_t i = 0; i + 2 <= CONF_BYTES_MAX; i += 2)
		memcpy(text + i, i ? "a," : "[ ", 2);
	buf_clear(&b);
	ck_assert_int_eq(conf_parse(c, text, CONF_BYTES_MAX), WEIR_EINVAL);
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), "f:1:500001: more than 250000 values and keys\n");
	conf_free(c);

	c = conf_new("f");
	buf_clear(&b);
	for (int i = 0; b.len < CONF_BYTES_MAX - 20; i++)
		buf_printf(&b, "k%d: &a%d 1\n", i % 70000, i);
	struct outer o = {0};
	ck_assert_int_eq(conf_parse(c, b.data, b.len), WEIR_EINVAL);
	conf_read(c, conf_root(c), &outer_schema, &o);
	buf_clear(&b);
	conf_errors(c, &b);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "\nf: and "));
	size_t lines = 0;
	for (size_t i = 0; i < b.len; i++)
		lines += b.data[i] == '\n';
	ck_assert_uint_eq(lines, CONF_ERRORS_MAX + 1);
	conf_free(c);

	c = conf_new("f");
	buf_clear(&b);
	ck_assert_int_eq(conf_parse(c, text, CONF_BYTES_MAX + 1), WEIR_EINVAL);
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), "f: larger than 1024 KiB\n");
	conf_free(c);
	buf_free(&b);
}
END_TEST

START_TEST(files_that_cannot_be_read_are_told)
{
	struct buf b = {0};
	struct conf *c = conf_new("/nonexistent/f");
	ck_assert_int_eq(conf_load(c), WEIR_EINVAL);
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), "/nonexistent/f: cannot open: No such file or directory\n");
	conf_free(c);
	buf_clear(&b);
	c = conf_new("/");
	ck_assert_int_eq(conf_load(c), WEIR_EINVAL);
	conf_errors(c, &b);
	ck_assert_str_eq(buf_cstr(&b), "/: cannot read: Is a directory\n");
	conf_free(c);

	char path[] = "/tmp/weir-conf-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "a: b\n", 5), 5);
	close(fd);
	c = conf_new(path);
	ck_assert_int_eq(conf_load(c), 0);
	ck_assert_str_eq(conf_get(conf_root(c), "a")->text, "b");
	ck_assert_ptr_null(conf_get(conf_root(c), "b"));
	conf_free(c);
	unlink(path);
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/conf");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, values_arrive);
	tcase_add_test(tc, paths_are_relative_to_the_file);
	tcase_add_test(tc, objects_are_the_same_if_all_their_fields_are);
	tcase_add_test(tc, each_wrong_value_is_told_with_its_place);
	tcase_add_test(tc, keys_are_told_when_unknown_or_doubled);
	tcase_add_test(tc, what_makes_yaml_ambiguous_is_refused);
	tcase_add_test(tc, texts_in_messages_are_short_and_on_one_line);
	tcase_add_test(tc, suggestions_are_near);
	tcase_add_test(tc, hostile_files_end_soon);
	tcase_add_test(tc, files_that_cannot_be_read_are_told);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
