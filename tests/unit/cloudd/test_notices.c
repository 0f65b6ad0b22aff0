#include <check.h>
#include <string.h>

#include "cloudd/notices.h"
#include "common/clock.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define GROUPS 9 /* meta and eight shards */

static struct topology *t;
static struct notices *n;
static struct group_status groups[GROUPS];
static struct buf said;
static unsigned warnings;

static void say(void *arg, bool warn, const char *text)
{
	(void)arg;
	warnings += warn;
	buf_printf(&said, "%s\n", text);
}

static void setup(void)
{
	t = cloud_topology_of(3, 8, 3);
	n = notices_new(t, say, NULL);
	for (uint32_t g = 0; g < GROUPS; g++)
		groups[g] = (struct group_status){.held = true, .leader = -1};
	said = (struct buf){0};
	warnings = 0;
}

static void teardown(void)
{
	buf_free(&said);
	notices_free(n);
	topology_free(t);
}

static const char *look(int64_t s)
{
	buf_clear(&said);
	notices_look(n, groups, s * NS_PER_SEC);
	return buf_cstr(&said);
}

static void lead(uint32_t g, bool serving)
{
	groups[g].serving = serving;
	groups[g].leader = serving ? 0 : 1;
}

START_TEST(leadership_that_begins_or_ends_is_one_line)
{
	ck_assert_str_eq(look(1), ""); /* a start: nothing was led before */
	for (uint32_t g = 0; g < GROUPS; g++)
		lead(g, g != 4 && g != 5 && g != 8);
	ck_assert_str_eq(look(2), "this node begins to lead; shards=meta,0-2,5-6 count=6\n");
	ck_assert_str_eq(look(3), "");
	lead(0, false);
	lead(2, false);
	lead(5, true);
	ck_assert_str_eq(look(4), "this node begins to lead; shards=4 count=1\n"
	                          "this node no longer leads; shards=meta,1 count=2\n");
	ck_assert_uint_eq(warnings, 0);
}
END_TEST

START_TEST(a_group_that_loses_its_leader_is_a_warning)
{
	for (uint32_t g = 0; g < GROUPS; g++)
		lead(g, false);
	ck_assert_str_eq(look(1), "");
	groups[0].leader = groups[3].leader = groups[4].leader = -1;
	ck_assert_str_eq(look(2), "no leader: a majority of the replicas must be up and in touch; shards=meta,2-3 count=3\n");
	ck_assert_uint_eq(warnings, 1);
	ck_assert_str_eq(look(3), "");
	groups[0].leader = 2;
	ck_assert_str_eq(look(4), "led again; shards=meta count=1\n");
	groups[1].held = false;
	groups[1].leader = -1;
	ck_assert_str_eq(look(5), "");
}
END_TEST

START_TEST(an_entry_of_a_later_version_is_told_once)
{
	groups[2].outdated = (struct outdated){55, 1, 77};
	ck_assert_str_eq(look(1), "OUTDATED: nothing is applied here any more: this replica stands still before entry 55 (kind 77, format 1), which is of "
	                          "a later version of weir: upgrade cloudd on this node; shards=1 count=1\n");
	ck_assert_uint_eq(warnings, 1);
	ck_assert_str_eq(look(2), "");
}
END_TEST

START_TEST(a_fetch_says_bytes_and_seconds)
{
	groups[2].fetching = groups[3].fetching = true;
	groups[2].fetch_total_bytes = 1000;
	ck_assert_str_eq(look(10), "too far behind for the leader's log: fetches the state; shards=1-2 count=2\n");
	groups[3].fetched_bytes = 50;
	ck_assert_str_eq(look(11), "");
	groups[2].fetching = groups[3].fetching = false;
	ck_assert_str_eq(look(13), "fetched the state; shards=1-2 count=2 bytes=1050 seconds=3.0\n");
	ck_assert_str_eq(look(14), "");
}
END_TEST

static void member(uint32_t g, uint32_t i, uint32_t node, uint64_t replica, enum replica_role role)
{
	groups[g].replicas[i].node = node;
	groups[g].replicas[i].replica = replica;
	groups[g].replicas[i].role = role;
	groups[g].replica_count = i + 1;
}

START_TEST(a_replica_is_replaced_when_the_new_one_votes)
{
	lead(1, true);
	member(1, 0, 1, 11, REPLICA_FOLLOWER);
	member(1, 1, 2, 21, REPLICA_FOLLOWER);
	look(1);
	member(1, 2, 2, 22, REPLICA_LEARNER);
	ck_assert_str_eq(look(2), "");
	member(1, 0, 1, 11, REPLICA_FOLLOWER); /* the old one is removed */
	member(1, 1, 2, 22, REPLICA_LEARNER);
	ck_assert_str_eq(look(3), "");
	member(1, 1, 2, 22, REPLICA_FOLLOWER);
	ck_assert_str_eq(look(4), "a replica was replaced by a new one of the same node; node=cloud-3 shards=0\n");
	ck_assert_str_eq(look(5), "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/notices");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, leadership_that_begins_or_ends_is_one_line);
	tcase_add_test(tc, a_group_that_loses_its_leader_is_a_warning);
	tcase_add_test(tc, an_entry_of_a_later_version_is_told_once);
	tcase_add_test(tc, a_fetch_says_bytes_and_seconds);
	tcase_add_test(tc, a_replica_is_replaced_when_the_new_one_votes);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
