#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/process.h"

static double value_of(const char *text, const char *name)
{
	char line[128];
	double v = -1;
	snprintf(line, sizeof(line), "\n%s ", name);
	const char *at = strstr(text, line);
	ck_assert_msg(at, "no %s in: %s", name, text);
	ck_assert_int_eq(sscanf(at + strlen(line), "%lf", &v), 1);
	return v;
}

START_TEST(the_process_is_as_it_is)
{
	struct buf b = {0};
	struct rlimit limit;
	int pair[2];
	process_put_metrics(&b);
	double start_s = value_of(buf_cstr(&b), "process_start_time_seconds"), now_s = (double)clock_wall_ns() / NS_PER_SEC;
	ck_assert_double_le(start_s, now_s + 0.1);
	ck_assert_double_ge(start_s, now_s - 600); /* this test is younger */
	ck_assert_double_ge(value_of(buf_cstr(&b), "process_cpu_seconds_total"), 0);
	ck_assert_double_ge(value_of(buf_cstr(&b), "process_resident_memory_bytes"), 65536);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_double_eq(value_of(buf_cstr(&b), "process_max_fds"), (double)limit.rlim_cur);
	double fds = value_of(buf_cstr(&b), "process_open_fds");
	ck_assert_int_eq(pipe(pair), 0);
	buf_clear(&b);
	process_put_metrics(&b);
	ck_assert_double_eq(value_of(buf_cstr(&b), "process_open_fds"), fds + 2);
	ck_assert_double_eq(value_of(buf_cstr(&b), "process_start_time_seconds"), start_s); /* to the last digit: a restart is another number */
	close(pair[0]);
	close(pair[1]);
	buf_free(&b);
}
END_TEST

START_TEST(the_build_is_a_label)
{
	struct buf b = {0};
	process_put_build("weir_x_build_info", "1.2.3~\"a\"", &b);
	ck_assert_str_eq(buf_cstr(&b), "# HELP weir_x_build_info Always 1; the version is a label\n# TYPE weir_x_build_info gauge\n"
				       "weir_x_build_info{version=\"1.2.3~\\\"a\\\"\"} 1\n");
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("process");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, the_process_is_as_it_is);
	tcase_add_test(tc, the_build_is_a_label);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
