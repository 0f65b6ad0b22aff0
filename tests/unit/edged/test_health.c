#include <check.h>
#include <stdlib.h>

#include "common/clock.h"
#include "edged/health.h"

#define S NS_PER_SEC

START_TEST(alive_while_checkpoints_come)
{
	int64_t tick = S, at = 1000 * S;
	ck_assert(health_is_alive(at, at, tick));
	ck_assert(health_is_alive(at, at + tick, tick));
	ck_assert(health_is_alive(at, at + 2 * tick + HEALTH_GRACE_NS - 1, tick));
	ck_assert(!health_is_alive(at, at + 2 * tick + HEALTH_GRACE_NS, tick));
	ck_assert(!health_is_alive(at, at + 3600 * S, tick));
}
END_TEST

START_TEST(a_long_tick_is_waited_for)
{
	int64_t tick = 300 * S, at = 1000 * S;
	ck_assert(health_is_alive(at, at + 2 * tick, tick));
	ck_assert(!health_is_alive(at, at + 3 * tick, tick));
}
END_TEST

static void is_text(const struct health *h, const char *text)
{
	struct buf out = {0};
	health_text(h, &out);
	ck_assert_str_eq(buf_cstr(&out), text);
	buf_free(&out);
}

START_TEST(what_is_said)
{
	struct health h = {.spool_bytes = 1023};
	is_text(&h, "measuring; spool 1023B; no cloud yet");
	h.cloud = "cloud-1";
	h.spool_bytes = 1024 * 1024 * 3 / 2;
	is_text(&h, "measuring; spool 1.5MiB; cloud-1 does not answer yet");
	h.answered = true;
	h.spool_bytes = UINT64_MAX;
	is_text(&h, "measuring; spool 16777216TiB; cloud-1 answers");
	h.closed = 2;
	is_text(&h, "measuring; 2 of its sources cannot be opened; spool 16777216TiB; cloud-1 answers");
	h.closed = 0;
	h.spool_bytes = 0;
	h.paused = true;
	is_text(&h, "no room in the spool: sources wait; spool 0B; cloud-1 answers");
	h.fenced = true;
	is_text(&h, "fenced: sends nothing; spool 0B; cloud-1 answers");
	h.removed = true;
	is_text(&h, "not in the cluster's topology: reads nothing; spool 0B; cloud-1 answers");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged health");
	TCase *t = tcase_create("health");
	tcase_add_test(t, alive_while_checkpoints_come);
	tcase_add_test(t, a_long_tick_is_waited_for);
	tcase_add_test(t, what_is_said);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
