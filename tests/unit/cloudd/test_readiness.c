#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cloudd/readiness.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define GROUPS 5 /* meta and four shards */

static struct topology *t;
static struct group_status groups[GROUPS];
static bool reachable[3];
static struct buf text;

static void setup(void)
{
	t = cloud_topology_of(3, 4, 3);
	memset(groups, 0, sizeof(groups));
	for (uint32_t g = 0; g < GROUPS; g++)
		groups[g] = (struct group_status){.held = true, .placed = true, .role = REPLICA_FOLLOWER, .leader = 0, .quorum = true};
	groups[1] = (struct group_status){.held = true, .placed = true, .role = REPLICA_LEADER, .leader = 0, .serving = true, .quorum = true};
	reachable[0] = reachable[1] = reachable[2] = true;
	text = (struct buf){0};
}

static void teardown(void)
{
	buf_free(&text);
	topology_free(t);
}

static const char *why(void)
{
	buf_clear(&text);
	readiness_text(t, groups, reachable, &text);
	return buf_cstr(&text);
}

START_TEST(ready_when_every_group_held_here_is_led)
{
	ck_assert_str_eq(why(), "");
	groups[2] = (struct group_status){.held = false, .leader = -1};
	ck_assert_str_eq(why(), "");
}
END_TEST

START_TEST(what_is_being_moved_away_does_not_count)
{
	groups[2] = (struct group_status){.held = true, .leader = -1};
	ck_assert_str_eq(why(), "");
}
END_TEST

START_TEST(a_group_without_leader_says_how_many_replicas_are_there)
{
	groups[4].leader = -1;
	groups[4].quorum = false;
	ck_assert_str_eq(why(), "shard 3 has no leader: its replicas elect one");
	reachable[1] = reachable[2] = false;
	ck_assert_str_eq(why(), "shard 3 has no leader: only 1 of 3 replicas can be reached");
	groups[0].leader = -1;
	ck_assert_str_eq(why(),
	    "the meta group has no leader: only 1 of 3 replicas can be reached (2 of the 5 groups here are not ready)");
}
END_TEST

START_TEST(a_leader_that_is_not_heard_or_has_no_majority_is_said)
{
	groups[3].quorum = false;
	ck_assert_str_eq(why(), "shard 2 does not hear its leader");
	groups[3].quorum = true;
	groups[1].quorum = false;
	reachable[1] = reachable[2] = false;
	ck_assert_str_eq(why(), "shard 0 has lost its quorum: only 1 of 3 replicas can be reached");
	groups[1].quorum = true;
	groups[1].serving = false;
	groups[1].leader = -1; /* as consensus says it */
	ck_assert_str_eq(why(), "shard 0 begins to be led here");
}
END_TEST

START_TEST(a_leader_that_does_not_answer_is_said)
{
	groups[0].leader = 1;
	ck_assert_str_eq(why(), "");
	reachable[1] = false;
	ck_assert_str_eq(why(), "the meta group is led by cloud-2, which does not answer this node");
}
END_TEST

START_TEST(the_least_ready_comes_first)
{
	groups[1].leader = -1;
	groups[2].replaying = true;
	ck_assert_str_eq(why(), "replaying the log of shard 1 (2 of the 5 groups here are not ready)");
	groups[3].fetching = true;
	groups[3].fetched_bytes = 5;
	ck_assert_str_eq(why(),
	    "shard 2 is being fetched from another replica: 5 bytes (3 of the 5 groups here are not ready)");
	groups[3].fetch_total_bytes = 70;
	ck_assert_str_eq(why(),
	    "shard 2 is being fetched from another replica: 5 of 70 bytes (3 of the 5 groups here are not ready)");
	groups[4].role = REPLICA_FORMING;
	ck_assert_str_eq(why(),
	    "shard 3 is empty here and waits until its leader adds this replica (4 of the 5 groups here are not ready)");
	groups[4].leader = -1;
	ck_assert_str_eq(why(),
	    "shard 3 is empty here, and no node is known that leads it and could add this replica: it goes on when a majority of "
	    "those who had it is there with the data that they had (4 of the 5 groups here are not ready)");
	groups[0].role = REPLICA_FORMING;
	snprintf(groups[0].waits_for, sizeof(groups[0].waits_for), "cloud-3");
	ck_assert_str_eq(why(),
	    "forming: waits for cloud-3; a new cluster needs every node of its topology once (5 of the 5 groups here are not "
	    "ready)");
	groups[0].lists_others = true;
	ck_assert_str_eq(why(),
	    "forming: the file of cloud-3 lists other nodes, or other shards, than the file of this node; a new cluster begins "
	    "when all have the same (5 of the 5 groups here are not ready)");
}
END_TEST

START_TEST(an_entry_of_a_later_version_is_said_with_what_to_do)
{
	groups[3].fetching = true;
	groups[2].replaying = true; /* it never ends */
	groups[2].outdated = (struct outdated){123, 1, 77};
	ck_assert_str_eq(why(), "shard 1 stands still here before entry 123 (kind 77, format 1), which is of a later version of weir: "
	                        "upgrade cloudd on this node (2 of the 5 groups here are not ready)");
	groups[3].fetching = false;
	groups[2].outdated = (struct outdated){123, 0, 0};
	ck_assert_str_eq(why(), "shard 1 stands still here before entry 123, which is of a later version of weir: upgrade cloudd on this node");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/readiness");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ready_when_every_group_held_here_is_led);
	tcase_add_test(tc, what_is_being_moved_away_does_not_count);
	tcase_add_test(tc, a_group_without_leader_says_how_many_replicas_are_there);
	tcase_add_test(tc, a_leader_that_is_not_heard_or_has_no_majority_is_said);
	tcase_add_test(tc, a_leader_that_does_not_answer_is_said);
	tcase_add_test(tc, the_least_ready_comes_first);
	tcase_add_test(tc, an_entry_of_a_later_version_is_said_with_what_to_do);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
