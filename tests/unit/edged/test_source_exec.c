#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/keeper.h"
#include "edged/permit.h"
#include "tests/unit/edged/source_lib.h"

static struct sink k;
static struct source_conf conf;
static char *command[8];
static char *env[2];

static void setup(void)
{
	sink_open(&k);
	conf = (struct source_conf){.type = SOURCE_EXEC, .name = (char *)"exec-1"};
	conf.exec = (struct exec_conf){.grace_ns = 5 * NS_PER_SEC, .restart_min_ns = 20 * NS_PER_MS, .restart_max_ns = 100 * NS_PER_MS};
	conf.exec.command = (struct model_texts){command, 3};
	command[0] = (char *)"sh";
	command[1] = (char *)"-c";
}

static void teardown(void)
{
	sink_close(&k);
}

static void start(const char *script)
{
	command[2] = (char *)(uintptr_t)script;
	sink_start(&k, &conf, NULL);
}

static uint64_t metric(const char *name)
{
	struct buf b = {0};
	char head[128];
	sources_put_metrics(&k.source, &conf, 1, &b);
	snprintf(head, sizeof(head), "\n%s{source=\"exec-1\"} ", name);
	const char *at = strstr(buf_cstr(&b), head);
	ck_assert_msg(at, "no %s", name);
	uint64_t value = strtoull(at + strlen(head), NULL, 10);
	buf_free(&b);
	return value;
}

/* The number in a file that the script wrote. */
static pid_t pid_in(const char *name)
{
	FILE *f = fopen(sink_path(&k, name), "r");
	int pid = 0;
	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

/* A zombie is gone: its parent (init of a container) may take its time. */
static bool is_gone(pid_t pid)
{
	char path[64], state = 'Z';
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	if (f)
		fclose(f);
	return state == 'Z';
}

static void wait_gone(pid_t pid)
{
	int64_t end = clock_mono_ns() + 20 * NS_PER_SEC;
	while (!is_gone(pid)) {
		ck_assert_msg(clock_mono_ns() < end, "process %d is still there", pid);
		loop_turn(k.loop, true);
	}
}

START_TEST(lines_come_and_it_is_started_again)
{
	start("echo m,k=a v=1; printf 'm,k=b v=2'");
	sink_expect_next(&k, "m,k=a v=1\nm,k=b v=2\n"); /* 0: the last line counts as it is */
	sink_expect_next(&k, "m,k=a v=1\nm,k=b v=2\n");
	ck_assert_uint_eq(metric("weir_edge_source_failures_total"), 0);
	ck_assert_uint_eq(metric("weir_edge_source_failing"), 0);
	ck_assert_uint_ge(metric("weir_edge_source_starts_total"), 2);
}
END_TEST

START_TEST(a_last_line_of_what_failed_is_refused)
{
	conf.exec.restart_min_ns = conf.exec.restart_max_ns = 3600 * NS_PER_SEC; /* once is enough */
	start("printf 'm v=1\\nm v=22'; exit 3");
	sink_expect(&k, "m v=1\n!truncated\n");
	ck_assert_uint_eq(metric("weir_edge_source_failures_total"), 1);
	source_free(k.source);
	k.source = NULL;
	buf_clear(&k.out);
	start("printf 'm v=22'; kill -9 $$");
	sink_expect(&k, "!truncated\n");
}
END_TEST

START_TEST(what_it_is_given)
{
	conf.exec.every_ns = conf.exec.timeout_ns = 3600 * NS_PER_SEC;
	conf.exec.env = (struct model_texts){env, 2};
	env[0] = (char *)"WEIR_X=x y";
	env[1] = (char *)"PATH=/usr/bin:/bin:/nowhere";
	start("test \"$WEIR_X\" = 'x y' && test \"$PATH\" = /usr/bin:/bin:/nowhere && ! read x && "
	      "echo m,fds=$(ls /proc/self/fd | wc -l) v=1");
	sink_expect(&k, "m,fds=4 v=1\n"); /* 0, 1, 2, and the folder that ls reads */
}
END_TEST

START_TEST(what_cannot_be_run)
{
	command[0] = (char *)"/nowhere/at-all";
	start("");
	while (metric("weir_edge_source_failures_total") < 2 || metric("weir_edge_source_running")) /* 1 while its keeper tries */
		loop_turn(k.loop, true);
	ck_assert_uint_eq(metric("weir_edge_source_failing"), 1);
	sink_expect(&k, "");
	ck_assert_uint_eq(metric("weir_edge_source_open"), 1);
}
END_TEST

START_TEST(paused_the_pipe_is_not_read)
{
	start("yes m v=1 | head -c 3000000");
	source_pause(k.source, true);
	for (int i = 0; i < 50; i++)
		loop_turn(k.loop, true);
	ck_assert_uint_eq(k.out.len, 0);
	source_pause(k.source, false);
	while (k.lines < 500000)
		loop_turn(k.loop, true);
}
END_TEST

START_TEST(the_end_of_the_source_ends_the_group)
{
	char script[256];
	snprintf(script, sizeof(script), "cd %s; sleep 1000 & echo $! > child; echo $$ > shell; printf 'm v=1\\nm v='; wait",
		 k.folder); /* one write: who has the line has what follows it */
	start(script);
	sink_expect(&k, "m v=1\n");
	pid_t child = pid_in("child"), shell = pid_in("shell");
	ck_assert(child > 0 && shell > 0 && !is_gone(child) && !is_gone(shell));
	sink_settle(&k);
	source_free(k.source);
	k.source = NULL;
	ck_assert_str_eq(buf_cstr(&k.out), "!truncated\n");
	wait_gone(child);
	wait_gone(shell);
}
END_TEST

START_TEST(what_a_program_leaves_behind_ends_with_it)
{
	char script[256];
	snprintf(script, sizeof(script), "cd %s; sleep 1000 & echo $! > child; echo m v=1", k.folder);
	conf.exec.every_ns = conf.exec.timeout_ns = 3600 * NS_PER_SEC;
	start(script);
	sink_expect(&k, "m v=1\n");
	wait_gone(pid_in("child"));
}
END_TEST

/* On a slow machine it may end before the program has said a word: then it is given longer. */
START_TEST(a_timeout)
{
	conf.exec.every_ns = 3600 * NS_PER_SEC;
	for (conf.exec.timeout_ns = 300 * NS_PER_MS; !k.out.len; conf.exec.timeout_ns *= 2) {
		source_free(k.source);
		start("printf 'm v=1\\nm v=2'; exec sleep 1000");
		while (!metric("weir_edge_source_failures_total"))
			loop_turn(k.loop, true);
	}
	sink_expect(&k, "m v=1\n!truncated\n");
	ck_assert_uint_eq(metric("weir_edge_source_failures_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_running"), 0);
	ck_assert_uint_eq(metric("weir_edge_source_failing"), 1); /* until the next one, in an hour */
}
END_TEST

START_TEST(an_interval)
{
	conf.exec.every_ns = 100 * NS_PER_MS;
	start("echo m v=1");
	sink_expect_next(&k, "m v=1\nm v=1\nm v=1\n");
	source_pause(k.source, true);
	uint64_t starts = metric("weir_edge_source_starts_total");
	while (metric("weir_edge_source_runs_skipped_total") < 3)
		loop_turn(k.loop, true);
	ck_assert_uint_eq(metric("weir_edge_source_starts_total"), starts);
}
END_TEST

START_TEST(only_what_this_machine_names_is_run)
{
	struct source_conf mine = conf;
	struct edge_conf edge = {.sources = &mine, .source_count = 1};
	struct topology local = {.edges = &edge, .edge_count = 1};
	char *other[] = {(char *)"sh", (char *)"-c", (char *)"rm everything"}, *why = NULL;
	command[2] = (char *)"echo";
	ck_assert_int_eq(permit_source(&conf, &local, &why), 0);
	conf.exec.env = (struct model_texts){env, 1};
	env[0] = (char *)"LD_PRELOAD=x";
	ck_assert_int_eq(permit_source(&conf, &local, &why), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "--allow-exec"));
	free(why);
	conf.exec.env.count = 0;
	conf.exec.command.items = other;
	ck_assert_int_eq(permit_source(&conf, &local, &why), WEIR_EINVAL);
	free(why);
	conf.exec.command.items = command;
	ck_assert_int_eq(permit_source(&conf, NULL, &why), WEIR_EINVAL);
	free(why);
	conf.type = SOURCE_TCP;
	ck_assert_int_eq(permit_source(&conf, NULL, &why), 0);
}
END_TEST

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], KEEPER_ARGUMENT))
		keeper_main(argc - 2, argv + 2);
	Suite *s = suite_create("source_exec");
	TCase *t = tcase_create("exec");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, lines_come_and_it_is_started_again);
	tcase_add_test(t, a_last_line_of_what_failed_is_refused);
	tcase_add_test(t, what_it_is_given);
	tcase_add_test(t, what_cannot_be_run);
	tcase_add_test(t, paused_the_pipe_is_not_read);
	tcase_add_test(t, the_end_of_the_source_ends_the_group);
	tcase_add_test(t, what_a_program_leaves_behind_ends_with_it);
	tcase_add_test(t, a_timeout);
	tcase_add_test(t, an_interval);
	tcase_add_test(t, only_what_this_machine_names_is_run);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
