#include <check.h>

#include "cloudd/peers.h"
#include "common/clock.h"
#include "tests/unit/cloudd/cloud_topology.h"

static struct topology *t;
static struct peers *p;

static void setup(void)
{
	t = cloud_topology(3, 4);
	p = peers_new(t, 1);
}

static void teardown(void)
{
	peers_free(p);
	topology_free(t);
}

START_TEST(a_node_can_be_reached_while_it_answered_lately)
{
	int64_t limit_ns = PEERS_REACHABLE_MS * NS_PER_MS;
	ck_assert(peers_reachable(p, 1, 0)); /* ourselves */
	ck_assert(!peers_reachable(p, 0, 0));
	peers_replied(p, 0, 4); /* it may be one of an earlier start of this node */
	ck_assert(!peers_reachable(p, 0, 4));
	peers_answered(p, 0, 5);
	ck_assert(peers_reachable(p, 0, limit_ns + 4));
	ck_assert(!peers_reachable(p, 0, limit_ns + 5));
	peers_replied(p, 0, 6);
	ck_assert(peers_reachable(p, 0, limit_ns + 5));
	ck_assert(!peers_reachable(p, 0, limit_ns + 6));
	ck_assert(!peers_reachable(p, 2, 5));
}
END_TEST

START_TEST(another_id_in_its_questions_is_a_restart)
{
	ck_assert(!peers_asked(p, 2, 70));
	ck_assert(!peers_asked(p, 2, 70));
	ck_assert(peers_asked(p, 2, 60)); /* its clock went back */
	ck_assert(!peers_asked(p, 2, 60));
	ck_assert(!peers_asked(p, 0, 61));
}
END_TEST

START_TEST(all_others_have_answered)
{
	peers_answered(p, 0, 0);
	ck_assert(!peers_all_answered(p));
	peers_answered(p, 2, 0);
	ck_assert(peers_all_answered(p));
}
END_TEST

START_TEST(one_node_of_the_same_cluster_proves_that_the_other_is_the_stranger)
{
	ck_assert_int_eq(peers_foreign(p), -1);
	peers_cluster(p, 2, PEER_CLUSTER_OTHER);
	ck_assert_int_eq(peers_foreign(p), 2);
	ck_assert(peers_is_other(p, 2) && !peers_is_other(p, 0));
	peers_cluster(p, 0, PEER_CLUSTER_SAME);
	ck_assert(peers_is_other(p, 2) && !peers_is_other(p, 0));
	ck_assert_int_eq(peers_foreign(p), -1);
	peers_cluster(p, 0, PEER_CLUSTER_OTHER);
	ck_assert_int_eq(peers_foreign(p), 0);
	peers_cluster(p, 0, PEER_CLUSTER_UNKNOWN);
	peers_cluster(p, 2, PEER_CLUSTER_UNKNOWN); /* it has an empty folder now */
	ck_assert_int_eq(peers_foreign(p), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/peers");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_node_can_be_reached_while_it_answered_lately);
	tcase_add_test(tc, another_id_in_its_questions_is_a_restart);
	tcase_add_test(tc, all_others_have_answered);
	tcase_add_test(tc, one_node_of_the_same_cluster_proves_that_the_other_is_the_stranger);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
