#include <check.h>
#include <stdlib.h>

#include "raft/quorum.h"

static uint64_t value_of(const void *arg, uint64_t id)
{
	const uint64_t *values = arg;
	return values[id];
}

static struct raft_config voters(uint64_t count)
{
	struct raft_config c = {0};
	for (uint64_t id = 1; id <= count; id++)
		ck_assert(raft_config_add(&c, id, true));
	return c;
}

static uint64_t reached(const struct raft_config *c, const uint64_t *values)
{
	return raft_quorum_reached(c, value_of, values);
}

START_TEST(a_majority_has_reached_the_median)
{
	const uint64_t v[] = {0, 7, 3, 9, 1, 5, 2};
	static const uint64_t expected[] = {0, 7, 3, 7, 3, 5, 3}; /* of the first so many */
	for (uint64_t n = 1; n <= 6; n++) {
		struct raft_config c = voters(n);
		ck_assert_uint_eq(reached(&c, v), expected[n]);
	}
}
END_TEST

/* Against counting, for all values of up to five voters. */
START_TEST(it_is_the_highest_that_a_majority_counts)
{
	for (uint64_t n = 1; n <= 5; n++) {
		struct raft_config c = voters(n);
		for (uint64_t code = 0; code < 1024; code++) {
			uint64_t v[6] = {0}, best = 0;
			for (uint64_t i = 1, rest = code; i <= n; i++, rest /= 4)
				v[i] = rest % 4;
			for (uint64_t candidate = 1; candidate < 4; candidate++) {
				uint64_t have = 0;
				for (uint64_t i = 1; i <= n; i++)
					have += v[i] >= candidate;
				if (2 * have > n)
					best = candidate;
			}
			ck_assert_uint_eq(reached(&c, v), best);
		}
	}
}
END_TEST

START_TEST(learners_do_not_count)
{
	const uint64_t v[] = {0, 4, 0, 9, 9, 9};
	struct raft_config c = voters(2);
	for (uint64_t id = 3; id <= 5; id++)
		ck_assert(raft_config_add(&c, id, false));
	ck_assert_uint_eq(reached(&c, v), 0);
	ck_assert_uint_eq(raft_quorum_voters(&c), 2);
	ck_assert(raft_quorum_is_voter(&c, 2));
	ck_assert(!raft_quorum_is_voter(&c, 3));
	ck_assert(!raft_quorum_is_voter(&c, 6));
}
END_TEST

START_TEST(nobody_reaches_nothing)
{
	const uint64_t v[] = {0, 4};
	struct raft_config c = {0};
	ck_assert_uint_eq(reached(&c, v), 0);
	ck_assert(raft_config_add(&c, 1, false));
	ck_assert_uint_eq(reached(&c, v), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raft/quorum");
	TCase *t = tcase_create("quorum");
	tcase_add_test(t, a_majority_has_reached_the_median);
	tcase_add_test(t, it_is_the_highest_that_a_majority_counts);
	tcase_add_test(t, learners_do_not_count);
	tcase_add_test(t, nobody_reaches_nothing);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
