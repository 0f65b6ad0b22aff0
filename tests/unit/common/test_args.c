#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"

static const struct arg_option global_options[] = {
	{"url", 0, "URL", false, "where"},
	{"output", 'o', "FORMAT", false, "how"},
	{"verbose", 'v', NULL, false, "more"},
};
static const struct arg_option own_options[] = {
	{"from", 0, "TIME", false, "since"},
	{"where", 0, "TAG=VALUE", true, "which"},
};
static const struct arg_table tables[] = {{global_options, 3}, {own_options, 2}};

static int parse(struct args *a, struct buf *error, bool stop_at_word, int argc, const char **argv)
{
	return args_parse(tables, 2, argc, (char **)(uintptr_t)argv, 0, stop_at_word, a, error);
}

START_TEST(arguments_are_understood)
{
	const char *argv[] = {"speed", "--from", "-1h", "--where=a=b", "-ojson", "--where", "c=d", "-v", "-", "--", "--x"};
	struct args a = {0};
	struct buf error = {0};
	ck_assert_int_eq(parse(&a, &error, false, 11, argv), 11);
	ck_assert_uint_eq(a.word_count, 3);
	ck_assert_str_eq(a.words[0], "speed");
	ck_assert_str_eq(a.words[1], "-");
	ck_assert_str_eq(a.words[2], "--x");
	ck_assert_str_eq(args_get(&a, "from"), "-1h");
	ck_assert_str_eq(args_get(&a, "output"), "json");
	ck_assert_str_eq(args_get(&a, "verbose"), "");
	ck_assert_str_eq(args_nth(&a, "where", 0), "a=b");
	ck_assert_str_eq(args_nth(&a, "where", 1), "c=d");
	ck_assert_ptr_null(args_nth(&a, "where", 2));
	ck_assert_ptr_null(args_get(&a, "url"));
	args_free(&a);

	ck_assert_int_eq(parse(&a, &error, true, 8, (const char *[]){"-v", "--url", "u", "query", "-o", "x", "y", "z"}), 3);
	ck_assert_uint_eq(a.word_count, 0);
	args_free(&a);
	buf_free(&error);
}
END_TEST

START_TEST(wrong_arguments_are_told)
{
	static const struct {
		const char *argv[3];
		int argc;
		const char *error;
	} cases[] = {
		{{"--form", "x"}, 2, "unknown option --form; did you mean --from?"},
		{{"--wher=a"}, 1, "unknown option --wher; did you mean --where?"},
		{{"-x"}, 1, "unknown option -x"},
		{{"--from"}, 1, "--from needs a value: --from TIME"},
		{{"-o"}, 1, "--output needs a value: --output FORMAT"},
		{{"--verbose=1"}, 1, "--verbose takes no value"},
		{{"-v", "-v"}, 2, "--verbose is given twice"},
		{{"--from=", "--from", "b"}, 3, "--from is given twice"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct args a = {0};
		struct buf error = {0};
		ck_assert_int_eq(parse(&a, &error, false, cases[i].argc, (const char **)(uintptr_t)cases[i].argv), -1);
		ck_assert_str_eq(buf_cstr(&error), cases[i].error);
		args_free(&a);
		buf_free(&error);
	}
}
END_TEST

/* ---- help ------------------------------------------------------------------------------------------------- */

START_TEST(help_is_in_columns)
{
	static const struct arg_option options[] = {
	    {"all", 'a', NULL, false, "everything"},
	    {"a-long-name", 0, "A-LONG-VALUE", false, "begins on a line of its own"},
	    {"words", 0, "N", true, "what takes more than the eighty columns that a line has goes on below, in its column, word by word"},
	};
	struct buf b = {0};
	args_help(&(struct arg_table){options, 3}, &b);
	ck_assert_str_eq(buf_cstr(&b), "  -a, --all             everything\n"
				       "      --a-long-name A-LONG-VALUE\n"
				       "                        begins on a line of its own\n"
				       "      --words N         what takes more than the eighty columns that a line has\n"
				       "                        goes on below, in its column, word by word\n");
	buf_free(&b);
}
END_TEST

START_TEST(texts_are_filled_and_examples_are_not)
{
	static const struct {
		const char *text, *filled;
	} cases[] = {
	    {"", ""},
	    {"one", "one\n"},
	    {"one\ntwo\n", "one two\n"},
	    {"one\n\ntwo\n  as   it is\n  too\nthree\nfour", "one\n\ntwo\n  as   it is\n  too\nthree four\n"},
	    {"\n\n  x", "\n\n  x"},
	    {"a word 2345678901234567890123456789012345678901234567890123456789012345678901234 b\n",
	     "a word 2345678901234567890123456789012345678901234567890123456789012345678901234\nb\n"},
	    {"12345678901234567890123456789012345678901234567890123456789012345678901234567890123 longer than a line\n",
	     "12345678901234567890123456789012345678901234567890123456789012345678901234567890123\nlonger than a line\n"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = {0};
		args_put_text(cases[i].text, &b);
		ck_assert_str_eq(buf_cstr(&b), cases[i].filled);
		buf_free(&b);
	}
}
END_TEST

START_TEST(what_is_given_goes_before_the_environment)
{
	unsetenv("WEIR_TEST");
	ck_assert_ptr_null(args_or_variable(NULL, "WEIR_TEST"));
	setenv("WEIR_TEST", "", 1);
	ck_assert_ptr_null(args_or_variable(NULL, "WEIR_TEST"));
	setenv("WEIR_TEST", "x", 1);
	ck_assert_str_eq(args_or_variable(NULL, "WEIR_TEST"), "x");
	ck_assert_str_eq(args_or_variable("y", "WEIR_TEST"), "y");
	ck_assert_str_eq(args_or_variable("", "WEIR_TEST"), ""); /* to be refused by who knows what it is for */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/args");
	TCase *tc = tcase_create("args");
	tcase_add_test(tc, arguments_are_understood);
	tcase_add_test(tc, wrong_arguments_are_told);
	tcase_add_test(tc, help_is_in_columns);
	tcase_add_test(tc, texts_are_filled_and_examples_are_not);
	tcase_add_test(tc, what_is_given_goes_before_the_environment);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
