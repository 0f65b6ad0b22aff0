/* Five nodes, groups of three: members follow the map while entries are proposed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "raft/raft.h"
#include "tests/unit/cloudd/consensus_kit.h"

#define SECOND (1000 / CONSENSUS_TICK_MS) /* in ticks */
#define MAPS_MAX 32

static struct topology *maps[MAPS_MAX]; /* copies of kit.t but for the places */
static size_t map_count;
static uint64_t last[KIT_GROUPS];

static struct topology *next_map(void)
{
	struct topology *t = xmalloc(sizeof(*t));
	const struct topology *before = map_count ? maps[map_count - 1] : kit.t;
	ck_assert_uint_lt(map_count, MAPS_MAX);
	*t = *before;
	t->map_version = before->map_version + 1;
	t->places = xcalloc(KIT_GROUPS, sizeof(*t->places));
	memcpy(t->places, before->places, KIT_GROUPS * sizeof(*t->places));
	t->clouds = xcalloc(kit.t->cloud_count, sizeof(*t->clouds));
	memcpy(t->clouds, before->clouds, kit.t->cloud_count * sizeof(*t->clouds));
	maps[map_count++] = t;
	return t;
}

static void place(struct topology *t, uint32_t group, const char *nodes)
{
	t->places[group] = (struct group_place){.count = (uint8_t)strlen(nodes)};
	for (uint32_t r = 0; nodes[r]; r++)
		t->places[group].nodes[r] = (uint8_t)(nodes[r] - '0');
}

static struct topology *place_all(const char *nodes)
{
	struct topology *t = next_map();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		place(t, g, nodes);
	return t;
}

static const struct topology *now_map(void)
{
	return maps[map_count - 1];
}

static void tell(uint32_t node)
{
	if (kit.nodes[node].up)
		consensus_set_topology(kit.nodes[node].c, now_map());
}

static void tell_all(void)
{
	for (uint32_t n = 0; n < kit.count; n++)
		tell(n);
}

/* A node that starts goes by the map that it kept. */
static void start_by_map(uint32_t node)
{
	struct topology *first = kit.t;
	kit.t = maps[map_count - 1];
	kit_open(node);
	kit.t = first;
}

static void setup(void)
{
	kit_make(5, 3);
	for (uint32_t n = 0; n < 5; n++)
		kit_stop(n);
	map_count = 0;
	struct topology *t = place_all("012");
	ck_assert_uint_eq(t->map_version, 1);
	t->map_version = 0; /* as by a file: the meta group begins before there is a map */
	for (uint32_t n = 0; n < 5; n++)
		start_by_map(n);
	kit_ticks(SECOND);
	t->map_version = 1;
	tell_all();
	kit_ticks(SECOND);
	memset(last, 0, sizeof(last));
}

static void teardown(void)
{
	struct topology *t[MAPS_MAX];
	size_t count = map_count;
	memcpy(t, maps, sizeof(t));
	kit_free();
	for (size_t i = 0; i < count; i++) {
		free(t[i]->places);
		free(t[i]->clouds);
		free(t[i]);
	}
}

/* What a leader takes is never lost: it is applied by all in the end, once. */
static void propose_all(void)
{
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		for (uint32_t n = 0; n < kit.count; n++) {
			if (kit.nodes[n].up && kit.nodes[n].leads[g])
				(void)kit_try_propose(n, g, 0, &last[g]);
		}
	}
}

static void work(size_t ticks)
{
	for (size_t i = 0; i < ticks; i++) {
		propose_all();
		kit_ticks(1);
		for (uint32_t n = 0; i % 4 == 0 && n < kit.count; n++) {
			if (kit.nodes[n].up)
				kit_commit_state(n);
		}
	}
}

static bool is_settled(uint32_t group)
{
	for (uint32_t n = 0; n < kit.count; n++) {
		if (kit.nodes[n].up && kit.nodes[n].leads[group] &&
		    consensus_settled(kit.nodes[n].c, group) == now_map()->map_version)
			return true;
	}
	return false;
}

static bool all_settled(void)
{
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		if (!is_settled(g))
			return false;
	}
	return true;
}

static void work_until_settled(void)
{
	for (size_t i = 0; !all_settled(); i++) {
		ck_assert_msg(i < 60 * SECOND, "map %llu: not settled", (unsigned long long)now_map()->map_version);
		work(1);
	}
}

/* Members are the places; each of them has all, and the same. */
static void expect_members(uint32_t group)
{
	uint32_t leader = kit_leader(group);
	struct group_status s = kit_status(leader, group);
	ck_assert_uint_eq(s.replica_count + 1, topology_replicas(now_map(), group));
	for (uint32_t i = 0; i < s.replica_count; i++) {
		ck_assert_int_eq(s.replicas[i].role, REPLICA_FOLLOWER);
		ck_assert_int_ge(topology_rank(now_map(), group, s.replicas[i].node), 0);
	}
	uint64_t index = kit_propose(leader, group);
	for (uint32_t r = 0; r < topology_replicas(now_map(), group); r++) {
		uint32_t n = topology_replica(now_map(), group, r);
		if (kit.nodes[n].up)
			kit_await(n, group, index);
	}
}

static void expect_dropped(uint32_t node)
{
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert(!consensus_holds(kit.nodes[node].c, g));
		ck_assert(!kit_status(node, g).held);
	}
	ck_assert_uint_ge(consensus_counters(kit.nodes[node].c)->dropped, KIT_GROUPS);
}

START_TEST(three_to_five_and_back_under_proposals)
{
	static const char *const steps[] = {"013", "134", "340", "012", "0123", "24", "3", "210"};
	work(SECOND);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct topology *t = next_map();
		for (uint32_t g = 0; g < KIT_GROUPS; g++)
			place(t, g, steps[(i + g) % (sizeof(steps) / sizeof(steps[0]))]);
		tell_all();
		work_until_settled();
		for (uint32_t g = 0; g < KIT_GROUPS; g++)
			expect_members(g);
		work(3 * SECOND);
	}
	place_all("012");
	tell_all();
	work_until_settled();
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(3);
	expect_dropped(4);
	for (uint32_t n = 3; n < 5; n++)
		kit_stop(n); /* or they would be looked at, too */
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_eq(kit_leader(g), 0); /* leadership is where it belongs, too */
		kit_expect_equal(g);
	}
}
END_TEST

/* {0,1,2} with 2 dead to {0,3,4}: each step has a majority of who is there. */
START_TEST(a_dead_voter_and_others_are_replaced)
{
	kit_stop(2);
	work(SECOND);
	place_all("034");
	tell_all();
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
	/* It comes back with what it had: it disturbs nobody, learns that it has no place, and drops it. */
	uint64_t term = kit_status(0, 1).term;
	start_by_map(2);
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(2);
	ck_assert_uint_eq(kit_status(0, 1).term, term);
}
END_TEST

static void cut_off(uint32_t node, bool cut)
{
	for (uint32_t n = 0; n < kit.count; n++)
		kit.cut[n][node] = kit.cut[node][n] = cut;
}

static void lose_folder(uint32_t node)
{
	kit_stop(node);
	kit_wipe(node);
}

/* The others are a majority, and whoever comes instead is taken in. */
static void expect_two_go_on(uint32_t lost)
{
	work(4 * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		uint64_t index = kit_propose(kit_leader(g), g);
		for (uint32_t n = 0; n < 3; n++) {
			if (n != lost)
				kit_await(n, g, index);
		}
	}
	start_by_map(lost);
	work(SECOND); /* it is heard */
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
}

/* What the leader has of the present member of a node. */
static bool has_role(uint32_t node, uint32_t group, enum replica_role role)
{
	struct group_status s = kit_status(kit_leader(group), group);
	for (uint32_t i = 0; i < s.replica_count; i++) {
		if (s.replicas[i].replica == consensus_member(kit.nodes[node].c))
			return s.replicas[i].role == role;
	}
	return false;
}

static void work_until(uint32_t node, uint32_t group, enum replica_role role)
{
	for (size_t i = 0; !has_role(node, group, role); i++) {
		ck_assert_uint_lt(i, 20 * SECOND);
		work(1);
	}
}

/* The same folder lost twice, so soon that it was heard a moment ago: two that are dead are never voters beside the others. */
START_TEST(a_folder_is_lost_twice)
{
	work(SECOND + (size_t)_i);
	lose_folder(2);
	start_by_map(2);
	kit.nodes[2].hold_apply = true;
	work_until(2, 1, REPLICA_LEARNER);
	kit.nodes[1].hold_log = true; /* what comes now is not committed at once */
	kit.nodes[2].hold_apply = false;
	work(4);
	lose_folder(2);
	kit.nodes[1].hold_log = false;
	expect_two_go_on(2);
}
END_TEST

/* The same while the other follower is away for a while: the leader still leads, and can commit nothing. */
START_TEST(a_folder_is_lost_twice_and_another_one_was_away)
{
	work(SECOND);
	lose_folder(2);
	start_by_map(2);
	kit.nodes[2].hold_apply = true;
	work_until(2, 1, REPLICA_LEARNER);
	work(2 * SECOND); /* the lost one is known not to be there */
	cut_off(1, true);
	work((size_t)_i);
	kit.nodes[2].hold_apply = false; /* it has caught up now */
	work(2 * SECOND);
	lose_folder(2);
	cut_off(1, false);
	expect_two_go_on(2);
}
END_TEST

/* A leader that does not know yet which of a node's two members is the lost one: it has not heard what the node says of itself. */
START_TEST(a_new_leader_knows_no_number)
{
	work(SECOND);
	lose_folder(2);
	start_by_map(2);
	work((size_t)_i);
	kit_stop(0);
	start_by_map(0);
	kit.silent[2][1] = kit.silent[2][0] = true;
	work(4 * SECOND);
	lose_folder(2);
	kit.silent[2][1] = kit.silent[2][0] = false;
	expect_two_go_on(2);
}
END_TEST

/* Node 0 begins to lead, and does not know that node 2 has lost its folder. */
static void lead_beside_a_lost_folder(void)
{
	work(SECOND);
	lose_folder(2);
	kit_stop(0);
	start_by_map(0);
	for (size_t i = 0; !kit.nodes[0].leads[1]; i++) {
		ck_assert_uint_lt(i, 20 * SECOND);
		work(1);
	}
}

/* Node 1 is to go; then node 2 is back, as another member. */
static void expect_it_to_wait_for_the_lost_one(void)
{
	place_all("02");
	tell_all();
	work(3 * SECOND);
	start_by_map(2);
	work(SECOND);
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
}

/* Who begins to lead has heard of nobody yet: a voter that is lost is none to rely on when another one is to go. */
START_TEST(a_new_leader_counts_on_nobody_who_has_not_answered)
{
	lead_beside_a_lost_folder();
	expect_it_to_wait_for_the_lost_one();
}
END_TEST

/* Nor of what is to be sent to it: the log goes on so fast that a state is, before the leader can know that it is not there. */
START_TEST(a_new_leader_counts_on_nobody_who_is_only_sent_a_state)
{
	uint64_t index;
	lead_beside_a_lost_folder();
	uint64_t led = kit_status(0, 1).last;
	for (size_t i = 0; i < 100; i++) {
		ck_assert_int_eq(kit_try_propose(0, 1, 200 * 1024, &index), 0);
		kit_settle();
		if (i % 4 == 3)
			kit_commit_state(0);
	}
	kit_settle();
	ck_assert_uint_gt(kit_status(0, 1).last, kit_log_entries(0, 1) + led); /* where node 2 might have been is gone */
	expect_it_to_wait_for_the_lost_one();
}
END_TEST

/* Its place is taken by others, and the first of them is full: the next one it is. */
START_TEST(who_has_no_place_hands_over_to_one_with_room)
{
	uint64_t before[KIT_GROUPS];
	work(SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert(kit.nodes[0].leads[g]);
		before[g] = kit.nodes[1].led_term[g];
	}
	consensus_state_low(kit.nodes[1].c, true);
	kit_infos();
	place_all("123");
	tell_all();
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_eq(kit.nodes[1].led_term[g], before[g]);
		expect_members(g);
	}
}
END_TEST

/* It went by the map in which it had a place when it went away: it hears of the later one only afterwards. */
START_TEST(who_was_away_drops_nothing_before_it_knows_the_map)
{
	kit_stop(2);
	place_all("013");
	tell_all();
	work_until_settled();
	struct topology *later = maps[--map_count];
	start_by_map(2);
	maps[map_count++] = later;
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		ck_assert(consensus_holds(kit.nodes[2].c, g));
	tell(2);
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(2);
}
END_TEST

/* The map moves on to what a group's leader has not done yet: who is still its member keeps what it has. */
START_TEST(a_member_drops_nothing_before_its_leader_is_settled)
{
	kit_stop(3);
	work(SECOND);
	place_all("013");
	tell_all(); /* node 3 cannot be added: node 2 stays */
	work((CONSENSUS_DROP_MS / 1000 + 10) * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert(consensus_holds(kit.nodes[2].c, g));
		ck_assert_int_eq(kit_status(2, g).role, REPLICA_FOLLOWER);
		ck_assert(!is_settled(g));
		kit_await(2, g, last[g]);
	}
	start_by_map(3);
	work_until_settled();
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(2);
}
END_TEST

/* Dropped, and back under the same member number: what it promised as a voter is not forgotten, and it is whole again. */
START_TEST(a_dropped_group_comes_back)
{
	uint64_t member = consensus_member(kit.nodes[2].c);
	work(2 * SECOND);
	place_all("013");
	tell_all();
	work_until_settled();
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(2);
	struct msg_info info;
	consensus_info(kit.nodes[2].c, &info);
	ck_assert_uint_eq(info.has.p[0], 7); /* term and vote are still there: it would found nothing */
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		ck_assert_uint_le(kit_log_entries(2, g), 8); /* what it never knew to be committed */
	place_all("012");
	tell_all();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		ck_assert(consensus_holds(kit.nodes[2].c, g));
	work_until_settled();
	ck_assert_uint_eq(consensus_member(kit.nodes[2].c), member);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		expect_members(g);
		ck_assert_uint_gt(kit.nodes[2].reloaded[g], 0);
	}
	kit_stop(3);
	kit_stop(4);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		kit_expect_equal(g);
}
END_TEST

/* At every moment of a drop the node may crash; what is left is dropped, or comes back whole. */
START_TEST(a_crash_in_the_middle_of_a_drop)
{
	work(SECOND);
	place_all("013");
	tell_all();
	work_until_settled();
	work((size_t)(CONSENSUS_DROP_MS / CONSENSUS_TICK_MS / 2 + _i * 4));
	kit_stop(2);
	start_by_map(2);
	if (_i % 2) {
		work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
		for (uint32_t g = 0; g < KIT_GROUPS; g++)
			ck_assert(!consensus_holds(kit.nodes[2].c, g));
	}
	place_all("012");
	tell_all();
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
}
END_TEST

/* Emptied states, and one that is not dropped yet, of groups whose log is gone: none is taken for a group that begins. */
START_TEST(what_a_lost_log_leaves_behind_is_dropped)
{
	struct cloud_disk *disk = &kit.nodes[2].disk;
	place_all("013");
	tell_all();
	work_until_settled();
	if (_i) {
		work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
		expect_dropped(2);
	}
	kit_commit_state(2);
	kit_stop(2);
	cloud_disk_close(disk);
	cloud_disk_lose(disk->log_path);
	cloud_disk_open(disk);
	kit.nodes[2].starts++; /* another number */
	start_by_map(2);
	work((CONSENSUS_DROP_MS / 1000 + 6) * SECOND);
	expect_dropped(2);
	place_all("012");
	tell_all();
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
}
END_TEST

/* Who is gone in the map serves nothing, asks nobody. */
START_TEST(who_is_gone_drops_all_at_once)
{
	place_all("013");
	tell_all();
	work_until_settled();
	struct topology *t = place_all("013");
	t->clouds[2].state = CLOUD_GONE;
	tell_all();
	work(2 * SECOND);
	expect_dropped(2);
	work_until_settled(); /* it is no stranger's number that they wait for */
}
END_TEST

/* Another node at the same slot: another folder, another number. */
START_TEST(a_slot_is_used_again)
{
	uint64_t before = consensus_member(kit.nodes[2].c);
	place_all("013");
	tell_all();
	work_until_settled();
	place_all("013")->clouds[2].state = CLOUD_GONE;
	tell_all();
	kit_stop(2);
	kit_wipe(2);
	struct topology *t = place_all("012");
	t->clouds[2].state = CLOUD_MEMBER;
	t->clouds[2].name = (char[]){"cloud-x"};
	start_by_map(2);
	tell_all();
	ck_assert_uint_ne(consensus_member(kit.nodes[2].c), before);
	work_until_settled();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		expect_members(g);
}
END_TEST

/* A folder that is empty in a cluster whose map has moved on founds nothing, whatever it hears. */
START_TEST(a_later_map_founds_nothing)
{
	place_all("012");
	place_all("432");
	for (uint32_t n = 0; n < 5; n++) {
		kit_stop(n);
		kit_wipe(n);
	}
	for (uint32_t n = 0; n < 5; n++)
		start_by_map(n);
	kit_ticks(10 * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		for (uint32_t n = 0; n < 5; n++)
			ck_assert_uint_eq(kit_log_entries(n, g), 0);
	}
}
END_TEST

/* Nor does who goes by a file, or the first map, while any node says that there is a later one. */
START_TEST(an_old_file_founds_nothing)
{
	place_all("340");
	for (uint32_t n = 0; n < 3; n++) {
		kit_stop(n);
		kit_wipe(n);
	}
	tell_all(); /* nodes 3 and 4 hold nothing, but know the map */
	struct topology *later = maps[--map_count];
	for (uint32_t n = 0; n < 3; n++)
		start_by_map(n);
	maps[map_count++] = later;
	kit_ticks(10 * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		for (uint32_t n = 0; n < 5; n++)
			ck_assert_uint_eq(kit_log_entries(n, g), 0);
	}
}
END_TEST

/* No more than so many are copied at a time, however many there are to be. */
START_TEST(few_groups_move_at_a_time)
{
	uint32_t most = 0;
	work(SECOND);
	place_all("034");
	tell_all();
	for (size_t i = 0; !all_settled() && i < 60 * SECOND; i++) {
		work(1);
		for (uint32_t n = 0; n < 5; n++) {
			uint32_t fetching = 0, learners = 0;
			for (uint32_t g = 0; g < KIT_GROUPS; g++) {
				struct group_status s = kit_status(n, g);
				fetching += s.fetching;
				for (uint32_t r = 0; kit.nodes[n].leads[g] && r < s.replica_count; r++)
					learners += s.replicas[r].role == REPLICA_LEARNER;
			}
			ck_assert_uint_le(learners, CONSENSUS_MOVES_MAX);
			ck_assert_uint_le(fetching, CONSENSUS_MOVES_MAX);
			most = learners > most ? learners : most;
		}
	}
	ck_assert(all_settled());
	ck_assert_uint_gt(most, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/consensus, moves");
	TCase *tc = tcase_create("moves");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, three_to_five_and_back_under_proposals);
	tcase_add_test(tc, a_dead_voter_and_others_are_replaced);
	tcase_add_loop_test(tc, a_folder_is_lost_twice, 0, 20);
	tcase_add_loop_test(tc, a_folder_is_lost_twice_and_another_one_was_away, 0, 40);
	tcase_add_loop_test(tc, a_new_leader_knows_no_number, 1, 24);
	tcase_add_test(tc, a_new_leader_counts_on_nobody_who_has_not_answered);
	tcase_add_test(tc, a_new_leader_counts_on_nobody_who_is_only_sent_a_state);
	tcase_add_test(tc, who_has_no_place_hands_over_to_one_with_room);
	tcase_add_test(tc, who_was_away_drops_nothing_before_it_knows_the_map);
	tcase_add_test(tc, a_member_drops_nothing_before_its_leader_is_settled);
	tcase_add_test(tc, a_dropped_group_comes_back);
	tcase_add_loop_test(tc, a_crash_in_the_middle_of_a_drop, 0, 24);
	tcase_add_loop_test(tc, what_a_lost_log_leaves_behind_is_dropped, 0, 2);
	tcase_add_test(tc, who_is_gone_drops_all_at_once);
	tcase_add_test(tc, a_slot_is_used_again);
	tcase_add_test(tc, a_later_map_founds_nothing);
	tcase_add_test(tc, an_old_file_founds_nothing);
	tcase_add_test(tc, few_groups_move_at_a_time);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
