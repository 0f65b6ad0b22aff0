#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/newest.h"
#include "common/err.h"

static struct newest *n;

static bool take(const char *topic, int64_t start_ns)
{
	return newest_take(n, bytes_of((const uint8_t *)topic, strlen(topic)), start_ns);
}

START_TEST(an_older_window_is_told_apart)
{
	n = xcalloc(1, sizeof(*n));
	ck_assert(take("a", -5) && take("b", 10) && take("a", -5) && take("a", 10));
	ck_assert(!take("a", 9) && !take("a", -5) && take("a", 10) && take("b", 11));
	free(n);
}
END_TEST

START_TEST(more_topics_than_it_remembers)
{
	char topic[32];
	n = xcalloc(1, sizeof(*n));
	for (int i = 0; i < NEWEST_MAX; i++) {
		snprintf(topic, sizeof(topic), "topic/%d", i);
		ck_assert(take(topic, 10));
	}
	ck_assert(!take("topic/0", 5) && !take(topic, 5));
	ck_assert(take("one more", 10)); /* all others are forgotten */
	ck_assert(n->count == 1 && take("topic/0", 5) && !take("topic/0", 4) && !take("one more", 4));
	free(n);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("newest");
	TCase *t = tcase_create("newest");
	tcase_add_test(t, an_older_window_is_told_apart);
	tcase_add_test(t, more_topics_than_it_remembers);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
