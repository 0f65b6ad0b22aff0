/* Signals while a daemon opens what it has. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/early_stop.h"

#define WENT_ON 7

/* What becomes of a process that gets that signal twice: its exit code. */
static int after(int number)
{
	int status = -1;
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		early_stop();
		raise(number);
		raise(number);
		_exit(WENT_ON);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "signal %d killed it", number);
	return WEXITSTATUS(status);
}

START_TEST(a_stop_is_a_clean_end)
{
	ck_assert_int_eq(after(SIGTERM), 0);
	ck_assert_int_eq(after(SIGINT), 0);
}
END_TEST

START_TEST(what_asks_for_the_configuration_does_not_end_it)
{
	ck_assert_int_eq(after(SIGHUP), WENT_ON);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/early_stop");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, a_stop_is_a_clean_end);
	tcase_add_test(tc, what_asks_for_the_configuration_does_not_end_it);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
