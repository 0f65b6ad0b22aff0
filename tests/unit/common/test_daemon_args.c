#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/daemon_args.h"

static const struct arg_option options[] = {
    DAEMON_OPTIONS_FIRST("which one"),
    {"allow-exec", 0, NULL, false, "run programs"},
    DAEMON_OPTIONS_LAST,
};
static const struct arg_variable variables[] = {DAEMON_VARIABLES};
static const struct arg_program program = {.name = "d", .summary = "a daemon", .usage = "Usage: d ...\n", .about = "About.\n",
    .options = {options, sizeof(options) / sizeof(options[0])}, .variables = variables,
    .variable_count = sizeof(variables) / sizeof(variables[0]), .notes = "Notes.\n", .examples = "  d\n"};

static void setup(void)
{
	unsetenv("WEIR_CONFIG");
	unsetenv("WEIR_NODE");
	unsetenv("WEIR_DATA");
}

/* The code of a command line, split at blanks. */
static int given(const char *line, struct daemon_args *ret)
{
	static char copy[256];
	char *argv[16] = {(char *)(uintptr_t)"d"}, *save = NULL;
	int argc = 1;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	return daemon_args_read(&program, "1.2.3", argc, argv, ret);
}

START_TEST(options_are_taken)
{
	struct daemon_args a;
	ck_assert_int_eq(given("--config f --node=n --data d --allow-exec --log-level error", &a), -1);
	ck_assert_str_eq(a.config, "f");
	ck_assert_str_eq(a.node, "n");
	ck_assert_str_eq(a.data, "d");
	ck_assert(a.allow_exec && !a.check);
	ck_assert_int_eq(given("--config f --check", &a), -1);
	ck_assert(a.check && !a.allow_exec && !a.node && !a.data);
}
END_TEST

START_TEST(variables_stand_in_for_options)
{
	struct daemon_args a;
	setenv("WEIR_CONFIG", "vf", 1);
	setenv("WEIR_NODE", "vn", 1);
	setenv("WEIR_DATA", "vd", 1);
	ck_assert_int_eq(given("", &a), -1);
	ck_assert_str_eq(a.config, "vf");
	ck_assert_str_eq(a.node, "vn");
	ck_assert_str_eq(a.data, "vd");
	ck_assert_int_eq(given("--config f --node n --data d", &a), -1);
	ck_assert_str_eq(a.config, "f");
	ck_assert_str_eq(a.node, "n");
	ck_assert_str_eq(a.data, "d");
	setenv("WEIR_NODE", "", 1);
	setenv("WEIR_DATA", "", 1);
	ck_assert_int_eq(given("", &a), -1);
	ck_assert(!a.node && !a.data);
}
END_TEST

START_TEST(bad_use_changes_nothing)
{
	static const char *const lines[] = {"", "--node n", "--config", "--config=", "--config f --node=", "--config f --data=", "--config f x",
	    "--config f --log-level loud", "--config f --confg g", "--config f --config g", "--config f --check=1", "--config f -h"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct daemon_args a = {.config = "untouched"};
		ck_assert_msg(given(lines[i], &a) == 2, "%s", lines[i]);
		ck_assert_str_eq(a.config, "untouched");
	}
}
END_TEST

START_TEST(help_and_version_end_it)
{
	struct daemon_args a;
	ck_assert_int_eq(given("--help", &a), 0);
	ck_assert_int_eq(given("--version", &a), 0);
	struct buf b = {0};
	args_help_program(&program, &b);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "d: a daemon\n\nUsage: d ...\n\nAbout.\n\nOptions:\n      --config FILE     the"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "\nEnvironment:\n  WEIR_CONFIG           as --config"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "\n\nNotes.\n\n  d\n"));
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/daemon_args");
	TCase *tc = tcase_create("daemon_args");
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, options_are_taken);
	tcase_add_test(tc, variables_stand_in_for_options);
	tcase_add_test(tc, bad_use_changes_nothing);
	tcase_add_test(tc, help_and_version_end_it);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
