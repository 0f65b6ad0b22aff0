/* The golden files of every version: tests/golden/README.md. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/golden/golden.h"

/* tests/golden of the source tree. Static. */
static const char *golden_folder(void)
{
	static char path[4096];
	const char *top = getenv("srcdir");
	snprintf(path, sizeof(path), "%s/tests/golden", top ? top : ".");
	return path;
}

static bool is_version(const char *name)
{
	return strspn(name, "0123456789") == strlen(name);
}

/* Calls check() with the folder of each version; returns how many there are. */
static int each_version(bool (*check)(const char *folder, struct buf *wrong), bool newest_only)
{
	size_t count;
	char **names = golden_names(golden_folder(), &count);
	struct buf wrong = {0};
	int versions = 0, newest = 0;
	for (size_t i = 0; i < count; i++)
		if (is_version(names[i]) && (int)strtol(names[i], NULL, 10) > newest)
			newest = (int)strtol(names[i], NULL, 10);
	for (size_t i = 0; i < count; i++) {
		if (is_version(names[i]) && (!newest_only || (int)strtol(names[i], NULL, 10) == newest)) {
			char *folder = xasprintf("%s/%s", golden_folder(), names[i]);
			check(folder, &wrong);
			versions++;
			free(folder);
		}
		free(names[i]);
	}
	free(names);
	ck_assert_msg(!wrong.len, "%s(tests/golden/README.md says when ./dev golden is right, and when it is not)", buf_cstr(&wrong));
	buf_free(&wrong);
	return versions;
}

START_TEST(frames_of_every_version_say_what_they_said)
{
	ck_assert_int_ge(each_version(golden_check_frames, false), 1);
}
END_TEST

START_TEST(databases_of_every_version_give_the_same_answers)
{
	ck_assert_int_ge(each_version(golden_check_databases, false), 1);
}
END_TEST

START_TEST(frames_with_fields_of_a_later_version_say_the_same)
{
	ck_assert_int_ge(each_version(golden_check_later, false), 1);
}
END_TEST

#ifndef WEIR_TEST_NEXT /* which says it with another number */
START_TEST(the_newest_version_is_this_one)
{
	ck_assert_int_eq(each_version(golden_check_newest, true), 1);
}
END_TEST

START_TEST(the_newest_version_has_entries_of_each_kind)
{
	ck_assert_int_eq(each_version(golden_check_kinds, true), 1);
}
END_TEST
#endif

START_TEST(released_versions_do_not_change)
{
	struct buf wrong = {0};
	ck_assert_msg(golden_check_released(golden_folder(), &wrong), "%s", buf_cstr(&wrong));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("golden");
	TCase *c = tcase_create("golden");
	tcase_add_test(c, frames_of_every_version_say_what_they_said);
	tcase_add_test(c, databases_of_every_version_give_the_same_answers);
	tcase_add_test(c, frames_with_fields_of_a_later_version_say_the_same);
#ifndef WEIR_TEST_NEXT
	tcase_add_test(c, the_newest_version_is_this_one);
	tcase_add_test(c, the_newest_version_has_entries_of_each_kind);
#endif
	tcase_add_test(c, released_versions_do_not_change);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
