#include <check.h>
#include <stdlib.h>

#include "cloudd/health.h"
#include "common/clock.h"

#define S NS_PER_SEC

START_TEST(alive_while_raft_ticks_and_writers_come_back)
{
	int64_t now = 1000 * S;
	struct health h = {.ticks = 7};
	ck_assert(health_is_alive(&h, 6, now));
	ck_assert(!health_is_alive(&h, 7, now)); /* the loop turns, Raft does not */
	h.log_busy_ns = h.state_busy_ns = now - HEALTH_JOB_MAX_NS;
	ck_assert(health_is_alive(&h, 6, now)); /* slow */
	h.log_busy_ns--;
	ck_assert(!health_is_alive(&h, 6, now));
	h.log_busy_ns = 0;
	ck_assert(health_is_alive(&h, 6, now));
	h.state_busy_ns--;
	ck_assert(!health_is_alive(&h, 6, now));
	h.state_busy_ns = 0;
	ck_assert(health_is_alive(&h, 6, now));
}
END_TEST

START_TEST(a_minute_without_progress_is_a_hang)
{
	int64_t now = 1000 * S;
	ck_assert(!health_hangs(now, now));
	ck_assert(!health_hangs(now - HEALTH_HANGS_NS + 1, now));
	ck_assert(health_hangs(now - HEALTH_HANGS_NS, now));
}
END_TEST

START_TEST(what_is_said)
{
	struct group_status groups[3] = {{.held = true, .serving = true}, {.held = true}, {.serving = true}};
	struct buf out = {0};
	health_text(groups, 3, NULL, &out);
	ck_assert_str_eq(buf_cstr(&out), "ready; leads 1 of 2 groups");
	buf_clear(&out);
	health_text(groups, 0, "shard 3 has no leader", &out);
	ck_assert_str_eq(buf_cstr(&out), "waits: shard 3 has no leader; leads 0 of 0 groups");
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd health");
	TCase *t = tcase_create("health");
	tcase_add_test(t, alive_while_raft_ticks_and_writers_come_back);
	tcase_add_test(t, a_minute_without_progress_is_a_hang);
	tcase_add_test(t, what_is_said);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
