#include <check.h>
#include <stdlib.h>
#include <string.h>

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
	ck_assert_int_eq(peers_heard_ns(p, 0), 5); /* of itself it has said nothing since */
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

static void rename_cloud(struct topology *in, uint32_t cloud, const char *name, enum cloud_state state)
{
	free(in->clouds[cloud].name);
	in->clouds[cloud].name = strdup(name);
	in->clouds[cloud].state = state;
}

START_TEST(nobody_waits_for_who_is_gone)
{
	struct topology *next = cloud_topology(4, 4);
	rename_cloud(next, 2, "", CLOUD_GONE);
	struct peers *late = peers_new(next, 1); /* a start by a map that has lost nodes */
	peers_answered(late, 0, 5);
	peers_answered(late, 3, 5);
	ck_assert(peers_all_answered(late));
	peers_free(late);
	peers_answered(p, 0, 5);
	peers_set_topology(p, next);
	ck_assert(!peers_all_answered(p)); /* a new one */
	peers_answered(p, 3, 5);
	ck_assert(peers_all_answered(p));
	topology_free(next);
}
END_TEST

START_TEST(what_was_known_of_a_node_is_not_of_who_has_its_place_now)
{
	struct topology *next = cloud_topology(3, 4);
	for (uint32_t i = 0; i < 3; i += 2) {
		peers_asked(p, i, 70);
		peers_answered(p, i, 5);
		peers_cluster(p, i, PEER_CLUSTER_OTHER);
	}
	rename_cloud(next, 0, "", CLOUD_GONE);
	rename_cloud(next, 2, "cloud-9", CLOUD_MEMBER); /* the map between was never seen */
	peers_set_topology(p, next);
	ck_assert(!peers_is_other(p, 0) && !peers_is_other(p, 2));
	ck_assert(!peers_all_answered(p));
	ck_assert_int_eq(peers_heard_ns(p, 2), 0);
	ck_assert(!peers_reachable(p, 2, 6));
	ck_assert(!peers_asked(p, 2, 71));
	peers_answered(p, 2, 7);
	rename_cloud(next, 0, "cloud-7", CLOUD_MEMBER);
	peers_set_topology(p, next);
	ck_assert(!peers_all_answered(p));
	ck_assert(peers_reachable(p, 2, 8)); /* as before */
	topology_free(next);
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
	tcase_add_test(tc, nobody_waits_for_who_is_gone);
	tcase_add_test(tc, what_was_known_of_a_node_is_not_of_who_has_its_place_now);
	tcase_add_test(tc, one_node_of_the_same_cluster_proves_that_the_other_is_the_stranger);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
