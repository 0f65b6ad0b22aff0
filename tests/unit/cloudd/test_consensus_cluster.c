/* Three nodes, three replicas of each group: founding, failover, snapshots, lost folders, bad frames. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_alone.h"
#include "cloudd/jobs.h"
#include "cloudd/placement.h"
#include "common/clock.h"
#include "raft/raft.h"
#include "tests/unit/cloudd/consensus_kit.h"

#define SECOND (1000 / CONSENSUS_TICK_MS) /* in ticks */
#define RETRY_TICKS (CONSENSUS_RETRY_MS / CONSENSUS_TICK_MS + 1)

static void setup(void)
{
	kit_make(3, 3);
}

/* Founded, each group led by its first replica. */
static void setup_founded(void)
{
	kit_make(3, 3);
	kit_ticks(SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		ck_assert_uint_eq(kit_leader(g), topology_replica(kit.t, g, 0));
}

static void cut(uint32_t node, bool is_cut)
{
	for (uint32_t i = 0; i < kit.count; i++)
		kit.cut[node][i] = kit.cut[i][node] = is_cut;
}

/* So many entries, durable in the state of all nodes that are up. */
static uint64_t fill(uint32_t group, size_t n)
{
	uint64_t index = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t leader = kit_leader(group);
		index = kit_propose(leader, group);
		if (i % 500 == 499)
			kit_settle();
	}
	kit_settle();
	for (uint32_t i = 0; i < kit.count; i++) {
		if (kit.nodes[i].up && !kit.cut[i][(i + 1) % kit.count])
			kit_await(i, group, index);
	}
	for (uint32_t i = 0; i < kit.count; i++) {
		if (kit.nodes[i].up)
			kit_commit_state(i);
	}
	kit_settle();
	return index;
}

/* Large entries make that little is kept for followers. */
static uint64_t fill_bytes(uint32_t group, size_t bytes)
{
	const size_t each = 200 * 1024;
	uint64_t index = 0;
	for (size_t done = 0; done < bytes; done += each) {
		while (kit_try_propose(kit_leader(group), group, each, &index) == WEIR_EBUSY)
			kit_ticks(1);
		kit_settle();
	}
	for (uint32_t i = 0; i < kit.count; i++) {
		if (kit.nodes[i].up)
			kit_commit_state(i);
	}
	kit_settle();
	return index;
}

/* ---- founding ---------------------------------------------------------------------------------------------------- */

START_TEST(founding_waits_for_every_replica)
{
	kit_stop(2);
	kit_ticks(10 * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		struct group_status s = kit_status(0, g);
		ck_assert_int_eq(s.role, REPLICA_FORMING);
		ck_assert_str_eq(s.waits_for, "cloud-3");
		ck_assert_int_eq(s.leader, -1);
		ck_assert_uint_eq(kit_log_entries(0, g), 0);
	}
	kit_open(2);
	kit_ticks(SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_eq(kit_leader(g), topology_replica(kit.t, g, 0));
		for (uint32_t n = 0; n < 3; n++) {
			struct group_status s = kit_status(n, g);
			ck_assert_int_ne(s.role, REPLICA_FORMING);
			ck_assert(s.quorum);
			ck_assert_int_eq(s.leader, (int)topology_replica(kit.t, g, 0));
		}
		kit_expect_equal(g);
	}
}
END_TEST

START_TEST(only_the_first_replica_founds)
{
	kit_stop(1); /* the first of shard 1 (group 2) */
	kit_ticks(SECOND);
	kit_open(1);
	cut(1, true); /* and now nobody hears of it */
	kit_ticks(5 * SECOND);
	ck_assert_uint_eq(kit_log_entries(0, 2) + kit_log_entries(2, 2), 0);
	cut(1, false);
	kit_ticks(SECOND);
	ck_assert_uint_eq(kit_leader(2), 1);
}
END_TEST

START_TEST(unasked_facts_do_not_found)
{
	for (uint32_t from = 1; from < 3; from++) {
		struct msg_info info;
		kit_run(from);
		consensus_info(kit.nodes[from].c, &info);
		consensus_peer(kit.nodes[0].c, from, &info, from == 1, kit_time());
	}
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 0), 0);
	struct msg_info info;
	consensus_info(kit.nodes[2].c, &info);
	consensus_peer(kit.nodes[0].c, 2, &info, true, kit_time());
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 0), 1);
}
END_TEST

/* Questions and answers come by different connections: an old one may be read last. */
START_TEST(late_facts_do_not_found)
{
	struct msg_info info;
	uint8_t had[INFO_HAS_MAX], has[INFO_HAS_MAX] = {1};
	for (uint32_t from = 1; from < 3; from++) {
		kit_run(from);
		consensus_info(kit.nodes[from].c, &info);
		memcpy(had, info.has.p, info.has.n);
		info.has.p = from == 1 ? has : had;
		consensus_peer(kit.nodes[0].c, from, &info, true, kit_time());
		info.has.p = had;
		consensus_peer(kit.nodes[0].c, from, &info, false, kit_time());
	}
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 0), 0);
	ck_assert_uint_eq(kit_log_entries(0, 1), 1);
}
END_TEST

/* Each group on one node, by the file; shard 1 (group 2) on node 1. */
static void make_single(void)
{
	kit_free();
	kit_make(3, 1);
	ck_assert_uint_eq(topology_replica(kit.t, 2, 0), 1);
}

static void hear(uint32_t node, uint32_t from, uint64_t map_version, uint8_t has)
{
	struct msg_info info;
	uint8_t groups[INFO_HAS_MAX] = {has};
	kit_run(from);
	consensus_info(kit.nodes[from].c, &info);
	info.map_version = map_version;
	info.has.p = groups;
	consensus_peer(kit.nodes[node].c, from, &info, true, kit_time());
	kit_run(node);
}

/* Their file may place it on new nodes only, of a cluster that has it already. */
START_TEST(a_file_founds_nothing_before_all_have_answered)
{
	make_single();
	kit_run(1);
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	ck_assert_str_eq(kit_status(1, 2).waits_for, "cloud-1");
	hear(1, 0, 0, 0);
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	ck_assert_str_eq(kit_status(1, 2).waits_for, "cloud-3");
	hear(1, 2, 0, 0);
	ck_assert_uint_gt(kit_log_entries(1, 2), 0);
}
END_TEST

START_TEST(a_file_founds_nothing_of_a_cluster_that_is_there)
{
	make_single();
	hear(1, 0, 0, 0);
	hear(1, 2, 1, 0); /* has a map */
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	ck_assert_int_eq(kit_status(1, 2).role, REPLICA_FORMING);
	make_single();
	hear(1, 0, 0, 0);
	hear(1, 2, 0, 1 << 2); /* lost its map, and has the group where the file does not place it */
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
}
END_TEST

static void hear_file(uint32_t node, uint32_t from, uint64_t listed)
{
	struct msg_info info;
	consensus_info(kit.nodes[from].c, &info);
	info.listed = listed;
	consensus_peer(kit.nodes[node].c, from, &info, true, kit_time());
	kit_run(node);
}

/* By a list of another length a group begins on another node, and both could be told at the same time that nobody has it. */
START_TEST(files_that_list_other_nodes_found_nothing)
{
	make_single();
	for (uint32_t n = 0; n < 3; n++)
		kit_run(n);
	hear_file(1, 0, topology_listed(kit.t));
	hear_file(1, 2, topology_listed(kit.t) + 1);
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	ck_assert_str_eq(kit_status(1, 2).waits_for, "cloud-3");
	ck_assert(kit_status(1, 2).lists_others);
	hear_file(1, 2, topology_listed(kit.t)); /* begun again with the right one */
	ck_assert_uint_gt(kit_log_entries(1, 2), 0);
}
END_TEST

START_TEST(a_node_that_does_not_say_what_it_lists_is_believed)
{
	make_single();
	for (uint32_t n = 0; n < 3; n++)
		kit_run(n);
	hear_file(1, 0, 0);
	hear_file(1, 2, 0);
	ck_assert_uint_gt(kit_log_entries(1, 2), 0);
}
END_TEST

/* All have begun, and the cluster has its first map; node 1 alone had shard 1, and its folder is lost. */
static void lose_the_only_one(void)
{
	make_single();
	kit_ticks(2 * SECOND);
	ck_assert_uint_gt(kit_log_entries(1, 2), 0);
	kit.t->map_version = 1;
	kit_wipe(1);
}

/* Not all nodes, but who leads the meta group. */
START_TEST(with_the_first_map_its_nodes_and_who_leads_the_meta_group_are_asked)
{
	lose_the_only_one();
	kit_stop(2);
	kit_stop(0);
	kit_open(1);
	kit_ticks(2 * SECOND);
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	kit_open(0);
	kit_ticks(2 * SECOND);
	ck_assert_uint_gt(kit_log_entries(1, 2), 0);
}
END_TEST

START_TEST(what_has_begun_and_was_lost_is_not_begun_again)
{
	lose_the_only_one();
	kit.begun[2] = true;
	kit_open(1);
	kit_ticks(3 * SECOND);
	ck_assert_uint_eq(kit_log_entries(1, 2), 0);
	struct group_status s = kit_status(1, 2);
	ck_assert_int_eq(s.role, REPLICA_FORMING);
	ck_assert_int_eq(s.leader, -1);
	ck_assert_str_eq(s.waits_for, "");
}
END_TEST

/* The first map is the meta group's. */
START_TEST(with_a_map_no_meta_group_is_begun)
{
	make_single();
	kit_ticks(2 * SECOND);
	kit.t->map_version = 1;
	kit_wipe(0);
	kit_open(0);
	kit_ticks(3 * SECOND);
	ck_assert_uint_eq(kit_log_entries(0, 0), 0);
}
END_TEST

START_TEST(a_founder_that_crashes_before_the_write_founds_again)
{
	kit.nodes[0].hold_log = true;
	kit_run(0);
	kit_ticks(SECOND);
	kit_restart(0);
	kit_ticks(2 * SECOND);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		kit_leader(g);
		kit_expect_equal(g);
	}
}
END_TEST

/* A node that lost its disk must not found again what the others still have. */
START_TEST(what_others_have_is_not_founded_again)
{
	uint64_t last = fill(1, 20);
	kit_stop(0);
	kit_wipe(0);
	kit_stop(1);
	kit_open(0);
	kit_ticks(10 * SECOND); /* one of the old members is up: no majority */
	ck_assert_int_eq(kit_status(0, 1).role, REPLICA_FORMING);
	ck_assert_uint_eq(kit_log_entries(0, 1), 0);
	kit_open(1);
	kit_await(0, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* ---- begun alone ---------------------------------------------------------------------------------------------------- */

/* The log of node 0 is moved away while it is down. */
static void lose_log(void)
{
	struct cloud_disk *d = &kit.nodes[0].disk;
	kit_stop(0);
	cloud_disk_close(d);
	cloud_disk_lose(d->log_path);
	cloud_disk_open(d);
	kit.nodes[0].starts++;
}

static int begin_alone(char **ret_why)
{
	static const uint8_t random[8] = {0, 0, 1, 2, 3, 4, 5, 6};
	*ret_why = NULL;
	return consensus_begin_alone(kit.t, 0, kit.nodes[0].disk.log, kit.nodes[0].disk.state, random, ret_why);
}

static void expect_refused(const char *word)
{
	char *why;
	ck_assert_int_eq(begin_alone(&why), WEIR_EINVAL);
	ck_assert_msg(why && strstr(why, word), "%s", why ? why : "no reason");
	free(why);
}

/* Two of three folders are lost. The third goes on with what it has, at once; the others come back empty and are members again. */
START_TEST(begun_alone_a_node_leads_all_and_the_others_join_it)
{
	uint64_t last[KIT_GROUPS];
	char *why;
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		last[g] = fill(g, 20);
		kit.begun[g] = true;
	}
	kit.t->map_version = 1;
	for (uint32_t node = 1; node < 3; node++)
		kit_wipe(node);
	lose_log();
	ck_assert_int_eq(begin_alone(&why), 0);
	kit_open(0);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_eq(kit_leader(g), 0);
		ck_assert_uint_ge(kit_status(0, g).applied, last[g]);
		last[g] = kit_propose(0, g);
		kit_await(0, g, last[g]);
	}
	kit_open(1);
	kit_open(2);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		kit_await(1, g, last[g]);
		kit_await(2, g, last[g]);
	}
	kit_ticks(10 * SECOND); /* promoted, one after the other */
	kit_stop(0); /* they have a majority without it */
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_ne(kit_leader(g), 0);
		kit_expect_equal(g);
	}
}
END_TEST

/* What must not be: the others come back with what they had, and go on. Then no entry of theirs passes for one of its: no term has two leaders
 * (on_role() of the kit), and nobody loses what it has committed. */
START_TEST(old_members_that_come_back_share_no_term_with_it)
{
	uint64_t last[KIT_GROUPS];
	char *why;
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		fill(g, 20);
		kit.begun[g] = true;
	}
	kit.t->map_version = 1;
	lose_log();
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		fill(g, 20); /* the others', in terms that it never heard of */
	kit_stop(1);
	kit_stop(2);
	ck_assert_int_eq(begin_alone(&why), 0);
	kit_open(0);
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert_uint_eq(kit_leader(g), 0);
		ck_assert_uint_gt(kit_status(0, g).term, UINT32_MAX);
		last[g] = kit_propose(0, g);
		kit_await(0, g, last[g]);
	}
	for (uint32_t old = 1; old < 3; old++) {
		kit_open(old);
		kit_ticks(20 * SECOND);
		for (uint32_t g = 0; g < KIT_GROUPS; g++)
			ck_assert_uint_ge(kit_status(0, g).applied, last[g]);
	}
}
END_TEST

/* With its log a node is a member already: a flag that was left on a command line founds nothing anew. */
START_TEST(with_a_log_nothing_is_begun_alone)
{
	fill(1, 5);
	kit_stop(0);
	expect_refused("there is a log");
	kit_open(0);
	kit_await(0, 1, fill(1, 5));
}
END_TEST

START_TEST(without_a_whole_state_of_each_group_nothing_is_begun_alone)
{
	char *why = NULL;
	struct apply *apply;
	fill(1, 5);
	lose_log();
	ck_assert_int_eq(apply_open(kit.t, kit.nodes[0].disk.state, &apply, &why), 0);
	ck_assert_int_eq(apply_void(apply, 2), 0);
	ck_assert_int_eq(apply_commit(apply), 0);
	apply_close(apply);
	expect_refused("shard 1 has no state");
	cloud_disk_close(&kit.nodes[0].disk);
	cloud_disk_lose(kit.nodes[0].disk.state_path);
	cloud_disk_open(&kit.nodes[0].disk);
	expect_refused("the meta group has no state");
}
END_TEST

/* Where there are more nodes than replicas no node has all. */
START_TEST(without_a_place_in_each_group_nothing_is_begun_alone)
{
	fill(1, 5);
	lose_log();
	kit.t->replicas = 1;
	topology_place(kit.t);
	expect_refused("has no place on this node");
}
END_TEST

START_TEST(what_others_say_to_have_is_not_founded)
{
	kit_stop(0);
	kit_wipe(0);
	kit_open(0);
	for (uint32_t from = 1; from < 3; from++) { /* both answer; no leader speaks to it yet */
		struct msg_info info;
		consensus_info(kit.nodes[from].c, &info);
		consensus_peer(kit.nodes[0].c, from, &info, true, kit_time());
	}
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 1), 0);
	ck_assert_str_eq(kit_status(0, 1).waits_for, "");
}
END_TEST

/* ---- replication ------------------------------------------------------------------------------------------------- */

START_TEST(entries_are_applied_on_all)
{
	uint64_t last = 0;
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		last = fill(g, 100);
		for (uint32_t n = 0; n < 3; n++)
			ck_assert_uint_ge(kit.nodes[n].applied[g], last);
		kit_expect_equal(g);
	}
}
END_TEST

START_TEST(only_a_leaders_apply_jobs_are_waited_for)
{
	uint32_t leader = kit_leader(1);
	for (uint32_t i = 0; i < kit.count; i++)
		kit.nodes[i].hold_apply = true;
	kit_propose(leader, 1);
	kit_ticks(2 * CONSENSUS_HEARTBEAT_TICKS); /* by then followers know that it is committed */
	for (uint32_t i = 0; i < kit.count; i++) {
		ck_assert_ptr_nonnull(kit.nodes[i].apply_job);
		ck_assert(kit.nodes[i].apply_job->quiet == (i != leader));
	}
}
END_TEST

START_TEST(groups_share_frames)
{
	kit_ticks(SECOND);
	size_t before = kit.frames;
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		uint32_t leader = kit_leader(g);
		for (int i = 0; i < 200; i++)
			kit_propose(leader, g);
	}
	kit_settle();
	ck_assert_uint_lt(kit.frames - before, 60);
	ck_assert_uint_le(kit.biggest_frame, FRAME_MAX);
}
END_TEST

START_TEST(the_largest_entries_pass)
{
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(kit_leader(1), 1, ENTRY_MAX - 64, &index), 0);
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(kit_try_propose(kit_leader(1), 1, 100 * 1024, &index), 0);
	kit_await(0, 1, index);
	kit_await(1, 1, index);
	kit_await(2, 1, index);
	ck_assert_uint_le(kit.biggest_frame, FRAME_MAX);
	kit_expect_equal(1);
}
END_TEST

/* As many entries as a message takes, of a size that fills it too. */
START_TEST(the_longest_messages_pass)
{
	uint64_t index = 0;
	cut(2, true);
	for (size_t i = 0; i < 3 * RAFT_MESSAGE_ENTRIES_MAX; i++) {
		while (kit_try_propose(kit_leader(1), 1, 160 + i % 60, &index) == WEIR_EBUSY)
			kit_settle();
	}
	kit_await(0, 1, index);
	cut(2, false);
	kit_await(2, 1, index);
	kit_restart(1); /* and out of the log */
	cut(2, true);
	kit_ticks(3 * SECOND);
	cut(2, false);
	kit_await(2, 1, index);
	ck_assert_uint_le(kit.biggest_frame, FRAME_MAX);
	ck_assert_uint_gt(kit.biggest_frame, 190 * 1024);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_follower_refuses_proposals)
{
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(1, 1, 0, &index), WEIR_ENOTLEADER);
	consensus_read(kit.nodes[1].c, 1, 5);
	ck_assert(kit.nodes[1].reads == 1 && !kit.nodes[1].read_ok);
}
END_TEST

START_TEST(a_read_needs_a_majority)
{
	consensus_read(kit.nodes[0].c, 1, 5);
	ck_assert_uint_eq(kit.nodes[0].reads, 0);
	kit_settle();
	ck_assert(kit.nodes[0].reads == 1 && kit.nodes[0].read_ok);
	ck_assert_uint_eq(kit.nodes[0].read_index, kit.nodes[0].committed[1]);
	cut(0, true);
	consensus_read(kit.nodes[0].c, 1, 6);
	kit_settle();
	ck_assert_uint_eq(kit.nodes[0].reads, 1);
	kit_ticks(5 * SECOND); /* it no longer leads */
	ck_assert_uint_eq(kit.nodes[0].reads, 2);
	ck_assert(!kit.nodes[0].read_ok && kit.nodes[0].read_context == 6);
}
END_TEST

/* ---- failover ------------------------------------------------------------------------------------------------------ */

START_TEST(another_leads_when_the_leader_is_gone)
{
	uint64_t last = fill(1, 20);
	kit_stop(0);
	ck_assert(!kit.nodes[0].up);
	uint32_t next = kit_leader(1);
	ck_assert_uint_ne(next, 0);
	ck_assert_uint_ge(kit.nodes[next].applied[1], last);
	uint64_t index = kit_propose(next, 1);
	kit_await(next, 1, index);
	kit_open(0);
	kit_await(0, 1, index);
	kit_expect_equal(1);
	kit_ticks(15 * SECOND); /* and leadership comes back to the first */
	ck_assert(kit.nodes[0].leads[1]);
	ck_assert_uint_gt(consensus_counters(kit.nodes[next].c)->transfers, 0);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		ck_assert_uint_eq(kit_leader(g), topology_replica(kit.t, g, 0));
}
END_TEST

static struct log_group hard_state(uint32_t node, uint32_t group)
{
	struct log_group state;
	struct bytes value;
	struct kv_txn *txn;
	uint8_t key[5] = {LOG_KEY_GROUP, 0, 0, 0, (uint8_t)group};
	ck_assert_int_eq(kv_begin(kit.nodes[node].disk.log, false, &txn), 0);
	ck_assert_int_eq(kv_get(txn, LOG_DB_NODE, bytes_of(key, sizeof(key)), &value), 0);
	ck_assert_int_eq(log_group_decode(value, &state), 0);
	kv_abort(txn);
	return state;
}

START_TEST(votes_are_durable)
{
	kit_stop(0);
	uint32_t leader = kit_leader(1);
	for (uint32_t n = 1; n < 3; n++) {
		struct log_group state = hard_state(n, 1);
		ck_assert_uint_eq(state.term, kit_status(n, 1).term);
		ck_assert_uint_eq(state.vote, consensus_member(kit.nodes[leader].c));
	}
}
END_TEST

START_TEST(a_leader_that_is_cut_off_ceases_to_serve)
{
	cut(0, true);
	uint64_t lost = kit_propose(0, 1);
	kit_ticks(5 * SECOND);
	ck_assert(!kit.nodes[0].leads[1]);
	ck_assert_int_eq(consensus_leader(kit.nodes[0].c, 1), -1);
	ck_assert(!kit_status(0, 1).quorum);
	uint32_t next = kit_leader(1);
	uint64_t index = 0;
	for (int i = 0; i < 5; i++)
		index = kit_propose(next, 1);
	kit_await(next, 1, index);
	ck_assert_uint_ge(index, lost); /* another entry is at its index */
	cut(0, false);
	kit_await(0, 1, index);
	kit_expect_equal(1);
}
END_TEST

/* What a read that does not wait says of its age. Ticks do not pass while a process is stopped, time does. */
START_TEST(how_long_ago_the_leader_was_heard)
{
	const uint64_t minute_ns = UINT64_C(60) * NS_PER_SEC, tick_ns = CONSENSUS_TICK_MS * NS_PER_MS;
	kit_ticks(SECOND);
	ck_assert_uint_eq(kit_status(0, 1).heard_ns, 0);
	ck_assert_uint_le(kit_status(1, 1).heard_ns, CONSENSUS_HEARTBEAT_TICKS * tick_ns);
	for (uint32_t n = 0; n < 3; n++)
		cut(n, true);
	kit.now_ns += (int64_t)minute_ns; /* all are stopped */
	kit_ticks(1);
	for (uint32_t n = 0; n < 3; n++)
		ck_assert_uint_ge(kit_status(n, 1).heard_ns, minute_ns);
	ck_assert(kit_status(0, 1).role == REPLICA_LEADER); /* it cannot know */
	kit_ticks(3 * SECOND);
	ck_assert(kit_status(0, 1).role != REPLICA_LEADER);
	for (uint32_t n = 0; n < 3; n++)
		ck_assert_uint_ge(kit_status(n, 1).heard_ns, minute_ns + 3 * NS_PER_SEC);
	kit_restart(1);
	kit_ticks(SECOND);
	ck_assert(kit_status(1, 1).heard_ns == CONSENSUS_UNHEARD); /* however long it was down */
	for (uint32_t n = 0; n < 3; n++)
		cut(n, false);
	uint32_t leader = kit_leader(1);
	kit_ticks(SECOND);
	for (uint32_t n = 0; n < 3; n++)
		ck_assert_uint_le(kit_status(n, 1).heard_ns, n == leader ? 0 : CONSENSUS_HEARTBEAT_TICKS * tick_ns);
}
END_TEST

/* Each node in turn crashes at each step of the way: with a log job not run, run and not told, applied and not durable. */
START_TEST(crashes_lose_nothing_that_was_applied)
{
	uint64_t applied = 0;
	for (uint32_t round = 0; round < 12; round++) {
		uint32_t node = round % 3, leader = kit_leader(1);
		for (int i = 0; i < 10; i++)
			kit_propose(leader, 1);
		if (round / 3 == 0) {
			kit.nodes[node].hold_log = true;
		} else if (round / 3 == 1) {
			consensus_flush(kit.nodes[node].c, kit_time());
			if (kit.nodes[node].log_job)
				ck_assert_int_eq(log_job_run(kit.nodes[node].disk.log, kit.nodes[node].log_job), 0);
			kit.nodes[node].hold_log = true;
		} else if (round / 3 == 2) {
			kit.nodes[node].hold_apply = true;
		}
		kit_settle();
		for (uint32_t i = 0; i < 3; i++)
			applied = kit.nodes[i].applied[1] > applied ? kit.nodes[i].applied[1] : applied;
		kit_restart(node);
		kit_ticks(4 * SECOND);
		ck_assert_uint_ge(kit.nodes[kit_leader(1)].applied[1], applied);
		if (round % 4 == 3)
			kit_expect_equal(1);
	}
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_whole_cluster_starts_again)
{
	uint64_t last = fill(2, 50);
	for (uint32_t i = 0; i < 3; i++)
		kit_stop(i);
	for (uint32_t i = 0; i < 3; i++)
		kit_open(i);
	uint32_t leader = kit_leader(2);
	ck_assert_uint_gt(kit.nodes[leader].applied[2], last);
	kit_expect_equal(2);
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------------------------------- */

START_TEST(entries_are_kept_for_followers_but_not_for_ever)
{
	fill(1, 2 * CONSENSUS_TRUNCATE_MIN);
	ck_assert_uint_ge(kit_log_entries(0, 1), 2 * CONSENSUS_TRUNCATE_MIN);
	fill(1, CONSENSUS_KEEP_ENTRIES + CONSENSUS_TRUNCATE_MIN);
	ck_assert_uint_lt(kit_log_entries(0, 1), CONSENSUS_KEEP_ENTRIES + CONSENSUS_TRUNCATE_MIN);
	ck_assert_uint_ge(kit_log_entries(0, 1), CONSENSUS_KEEP_ENTRIES);
	kit_restart(0);
	kit_await(0, 1, fill(1, 1));
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_follower_that_was_away_shortly_gets_entries)
{
	kit_stop(2);
	fill(1, 500);
	kit_open(2);
	kit_expect_equal(1);
	ck_assert_uint_eq(kit.bulk_frames, 0);
}
END_TEST

START_TEST(a_full_log_of_one_node_does_not_stop_the_others)
{
	uint64_t last = fill(1, 10);
	kit.nodes[2].hold_log = true;
	for (int i = 0; i < 10; i++)
		last = kit_propose(0, 1);
	kit_settle();
	kit_give_back_log(2, WEIR_EFULL);
	kit_await(0, 1, last);
	kit_await(1, 1, last);
	ck_assert(consensus_full(kit.nodes[2].c));
	kit_settle();
	if (kit.nodes[2].log_job)
		kit_give_back_log(2, WEIR_EFULL);
	kit.nodes[2].hold_log = false;
	kit_ticks(3 * RETRY_TICKS);
	ck_assert(!consensus_full(kit.nodes[2].c));
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* Whatever node 0 wants to write there is no room for. */
static void ticks_with_a_full_log(size_t n)
{
	kit.nodes[0].hold_log = true;
	for (; n; n--) {
		kit_ticks(1);
		if (kit.nodes[0].log_job)
			kit_give_back_log(0, WEIR_EFULL);
	}
}

START_TEST(a_leader_with_a_full_disk_hands_over)
{
	fill(1, 10);
	uint64_t last = kit_propose(0, 1);
	ticks_with_a_full_log(SECOND);
	ck_assert(kit.nodes[0].leads[1]);
	ck_assert_uint_ge(kit_status(0, 1).committed, last); /* by the others, and it cannot say so */
	ck_assert_uint_lt(kit.nodes[0].applied[1], last);
	ticks_with_a_full_log(5 * SECOND);
	uint32_t next = kit_leader(1);
	ck_assert_uint_ne(next, 0);
	kit_await(next, 1, last);
	last = kit_propose(next, 1);
	kit_await(next, 1, last);
	uint64_t term = kit_status(next, 1).term;
	ticks_with_a_full_log(20 * SECOND); /* and it is not given back */
	ck_assert(kit.nodes[next].leads[1]);
	ck_assert_uint_eq(kit_status(next, 1).term, term);
	kit.nodes[0].hold_log = false;
	kit_ticks(15 * SECOND);
	ck_assert(kit.nodes[0].leads[1]);
	ck_assert_uint_ge(kit.nodes[0].applied[1], last);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_leader_with_a_full_state_disk_hands_over)
{
	fill(1, 10);
	uint64_t last = kit_propose(0, 1);
	kit.nodes[0].hold_apply = true;
	for (size_t i = 0; i < 6 * SECOND; i++) {
		kit_ticks(1);
		struct apply_job *job = kit.nodes[0].apply_job;
		if (!job)
			continue;
		kit.nodes[0].apply_job = NULL;
		apply_abort(kit.nodes[0].apply);
		consensus_job_applied(kit.nodes[0].c, job, WEIR_EFULL, kit_time());
	}
	uint32_t next = kit_leader(1);
	ck_assert_uint_ne(next, 0);
	kit_await(next, 1, last);
	kit.nodes[0].hold_apply = false;
	kit_await(0, 1, last);
	kit_expect_equal(1);
}
END_TEST

static void lead_without_room(uint32_t node, bool low)
{
	consensus_state_low(kit.nodes[node].c, low);
	kit_infos(); /* at once, as node.c does */
}

START_TEST(a_leader_whose_state_is_short_of_room_hands_over_to_one_that_has_it)
{
	uint64_t index, last = fill(1, 10);
	ck_assert(kit.nodes[0].leads[1]);
	lead_without_room(1, true); /* the next by rank: not that one */
	lead_without_room(0, true);
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_EFULL);
	kit_ticks(2 * SECOND);
	ck_assert(kit.nodes[2].leads[1]);
	kit_await(2, 1, last);
	/* Two of three are short of room now: what two of them cannot apply is not taken. */
	ck_assert_int_eq(kit_try_propose(2, 1, 0, &index), WEIR_EFULL);
	lead_without_room(1, false);
	last = kit_propose(2, 1);
	kit_await(2, 1, last);
	kit_ticks(20 * SECOND); /* and it is not given back to who is full, but to the first that is not */
	ck_assert(kit.nodes[1].leads[1]);
	lead_without_room(0, false);
	kit_ticks(15 * SECOND);
	ck_assert(kit.nodes[0].leads[1]);
	kit_await(0, 1, last);
	kit_expect_equal(1);
}
END_TEST

START_TEST(where_all_are_full_leadership_stays_and_reads_go_on)
{
	uint64_t index, last = fill(1, 10);
	uint64_t term = kit_status(0, 1).term;
	for (uint32_t i = 0; i < 3; i++)
		consensus_state_low(kit.nodes[i].c, true);
	kit_infos();
	for (size_t i = 0; i < 20; i++) {
		kit_ticks(SECOND);
		ck_assert(kit.nodes[0].leads[1]);
		ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_EFULL);
		size_t reads = kit.nodes[0].reads;
		consensus_read(kit.nodes[0].c, 1, 7);
		kit_settle();
		ck_assert_uint_eq(kit.nodes[0].reads, reads + 1);
		ck_assert(kit.nodes[0].read_ok);
		ck_assert_uint_eq(kit.nodes[0].read_index, last);
	}
	ck_assert_uint_eq(kit_status(0, 1).term, term);
	for (uint32_t i = 0; i < 3; i++)
		consensus_state_low(kit.nodes[i].c, false);
	kit_infos();
	last = kit_propose(0, 1);
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* One that is away, full or not, is none that has room, and none that lacks it: that is for Raft to find out. */
START_TEST(who_is_away_counts_with_those_who_are_full)
{
	uint64_t index;
	fill(1, 10);
	lead_without_room(1, true);
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), 0);
	kit_stop(2);
	kit_ticks(4 * SECOND);
	ck_assert(kit.nodes[0].leads[1]);
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_EFULL);
	/* But that it is dead: who comes instead may have room. */
	struct entry dead = {.kind = ENTRY_NODE, .node = {.event = NODE_EVENT_DEAD}};
	ck_assert_uint_eq(kit_leader(0), 0);
	ck_assert_int_eq(kit_try_propose(0, 0, 0, &index), WEIR_EFULL);
	ck_assert_int_eq(consensus_propose_own(kit.nodes[0].c, 0, &dead, &index), 0);
	kit_await(0, 0, index);
	lead_without_room(1, false);
	index = kit_propose(0, 1);
	kit_await(0, 1, index);
}
END_TEST

/* ---- snapshots ------------------------------------------------------------------------------------------------------- */

static void ticks_until_fetching(void)
{
	for (int i = 0; i < 400 && !kit.bulk_frames; i++)
		kit_ticks(1);
	ck_assert_uint_gt(kit.bulk_frames, 0);
}

/* Node 2 starts, far behind, and has given its state up for a snapshot, of which it applies nothing while it is held. */
static void begin_fetching(void)
{
	kit_open(2);
	kit.nodes[2].hold_apply = true;
	ticks_until_fetching();
	kit_ticks(4);
	ck_assert_ptr_nonnull(kit.nodes[2].apply_job);
	kit_run_apply(2); /* BEGIN */
}

/* All of it is applied, and nothing of it durable. */
static void ticks_until_fetched(void)
{
	ticks_until_fetching();
	kit_ticks(2 * SECOND);
	struct group_status s = kit_status(2, 1);
	ck_assert(s.fetching && s.fetched_bytes && s.fetched_bytes == s.fetch_total_bytes);
	ck_assert_uint_eq(consensus_counters(kit.nodes[2].c)->snapshots_fetched, 0);
}

static uint64_t fall_further(void)
{
	return fill_bytes(1, CONSENSUS_KEEP_BYTES + 2 * CONSENSUS_TRUNCATE_BYTES);
}

/* Node 2 is so far behind that the log of group 1 does not reach back to it. */
static uint64_t fall_behind(void)
{
	fill(1, 50);
	kit_stop(2);
	fall_further();
	fill(1, 200); /* smaller ones alter what an entry is thought to be worth */
	uint64_t last = fall_further();
	kit_ticks(2);
	ck_assert_uint_gt(kit_status(0, 1).last, kit_log_entries(0, 1) + 60);
	return last;
}

START_TEST(who_is_far_behind_gets_a_snapshot)
{
	uint64_t last = fall_behind();
	kit_open(2);
	kit_await(2, 1, last);
	ck_assert_uint_ge(kit.nodes[2].reloaded[1], 1);
	ck_assert_uint_eq(consensus_counters(kit.nodes[2].c)->snapshots_fetched, 1);
	kit_ticks(2);
	ck_assert_uint_eq(kit_log_entries(2, 1), 0); /* it begins behind the snapshot */
	kit_expect_equal(1);
	last = fill(1, 10);
	ck_assert_uint_eq(kit_log_entries(2, 1), 10);
	kit_restart(2);
	ck_assert_uint_ge(kit.nodes[2].applied[1], last);
	kit_expect_equal(1);
	last = fill(1, 10);
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* As much as would be removed, were nobody fetching: what is fetched would never lead to the log. */
START_TEST(what_is_written_while_one_fetches_is_kept_for_it)
{
	fall_behind();
	begin_fetching();
	kit_ticks(2);
	ck_assert_uint_eq(kit_status(2, 1).durable, 0); /* begun: what is fetched is what will be installed */
	fall_further();
	uint64_t last = fall_further();
	kit.nodes[2].hold_apply = false;
	kit_await(2, 1, last);
	ck_assert_uint_eq(consensus_counters(kit.nodes[2].c)->snapshots_fetched, 1);
	kit_expect_equal(1);
	fall_further(); /* it is removed when that is over */
	ck_assert_uint_gt(kit_status(0, 1).last, kit_log_entries(0, 1) + 60);
}
END_TEST

START_TEST(a_crash_in_the_middle_of_a_snapshot_fetches_it_again)
{
	uint64_t last = fall_behind();
	begin_fetching();
	kit_commit_state(2);
	ck_assert(kit_status(2, 1).fetching);
	ck_assert_uint_eq(consensus_durable(kit.nodes[2].c, 1), 0);
	kit_restart(2);
	ck_assert(kit_status(2, 1).fetching);
	kit_await(2, 1, last);
	ck_assert_uint_gt(kit.nodes[2].reloaded[1], 0);
	kit_expect_equal(1);
}
END_TEST

/* The state is the snapshot's, durably; the log does not know it yet. */
START_TEST(a_crash_between_the_states_commit_and_the_logs_is_mended)
{
	uint64_t last = fall_behind();
	kit_open(2);
	ticks_until_fetched();
	kit.nodes[2].hold_log = true;
	ck_assert_int_eq(apply_commit(kit.nodes[2].apply), 0); /* and nobody is told */
	kit_restart(2);
	ck_assert_uint_gt(kit.nodes[2].applied[1], 60);
	kit_await(2, 1, last);
	kit_expect_equal(1);
	kit_restart(2);
	kit_expect_equal(1);
}
END_TEST

/* Node 0 wrote more than the others committed since, and gets a snapshot; its disk is too full to empty the log, but not to
 * shorten it. What is left must not pass for what follows the snapshot. */
START_TEST(a_log_that_contradicts_a_snapshot_is_not_shortened_up_to_it)
{
	fill(1, 50);
	cut(0, true);
	for (int i = 0; i < 1000; i++)
		kit_propose(0, 1);
	kit_settle();
	kit_ticks(5 * SECOND);
	ck_assert_uint_ne(kit_leader(1), 0);
	fill_bytes(1, CONSENSUS_KEEP_BYTES + 2 * CONSENSUS_TRUNCATE_BYTES);
	fill(1, 200);
	uint64_t last = fill_bytes(1, CONSENSUS_KEEP_BYTES + 2 * CONSENSUS_TRUNCATE_BYTES);
	kit_ticks(2);
	ck_assert_uint_lt(last, 1000);
	kit.nodes[0].hold_log = true;
	cut(0, false);
	ticks_until_fetching();
	kit_ticks(2 * SECOND);
	kit_commit_state(0);
	ck_assert_uint_gt(kit.nodes[0].reloaded[1], 50);
	kit_give_back_log(0, WEIR_EFULL);
	kit_ticks(RETRY_TICKS);
	kit_run_log(0);
	kit_restart(0);
	kit_await(0, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* The state that is there can be read; another one would find no room. */
START_TEST(without_room_no_state_is_fetched)
{
	uint64_t last = fall_behind();
	kit_open(2);
	consensus_state_low(kit.nodes[2].c, true);
	kit_ticks(10 * SECOND);
	ck_assert_uint_eq(kit.bulk_frames, 0);
	ck_assert(!kit_status(2, 1).fetching);
	/* nor where it was asked for while there was room */
	kit.chunks_max = 0;
	consensus_state_low(kit.nodes[2].c, false);
	ticks_until_fetching();
	consensus_state_low(kit.nodes[2].c, true);
	kit.chunks_max = SIZE_MAX;
	kit_ticks(10 * SECOND);
	ck_assert(!kit_status(2, 1).fetching);
	ck_assert_uint_gt(consensus_durable(kit.nodes[2].c, 1), 0);
	consensus_state_low(kit.nodes[2].c, false);
	kit_await(2, 1, last);
	ck_assert_uint_ge(kit.nodes[2].reloaded[1], 1);
}
END_TEST

/* Nobody knows when it will: what is kept for those who fetch would fill the leader's disk, too. */
START_TEST(nothing_is_kept_for_who_has_no_room_to_fetch)
{
	fall_behind();
	kit_open(2);
	consensus_state_low(kit.nodes[2].c, true);
	kit_ticks(10 * SECOND);
	fall_further();
	uint64_t last = fall_further();
	kit_ticks(2);
	ck_assert_uint_gt(kit_status(0, 1).last, kit_log_entries(0, 1) + 120);
	consensus_state_low(kit.nodes[2].c, false);
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_full_state_disk_in_the_middle_of_a_snapshot_starts_it_over)
{
	uint64_t last = fall_behind();
	begin_fetching();
	kit_ticks(2);
	ck_assert_ptr_nonnull(kit.nodes[2].apply_job);
	struct apply_job *job = kit.nodes[2].apply_job;
	kit.nodes[2].apply_job = NULL;
	apply_abort(kit.nodes[2].apply);
	consensus_job_applied(kit.nodes[2].c, job, WEIR_EFULL, kit_time());
	ck_assert(consensus_full(kit.nodes[2].c));
	kit.nodes[2].hold_apply = false;
	kit_ticks(RETRY_TICKS);
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_state_commit_without_room_at_the_end_of_a_snapshot_starts_it_over)
{
	uint64_t last = fall_behind();
	kit_open(2);
	ticks_until_fetched();
	ck_assert_uint_eq(kit.nodes[2].reloaded[1], 0);
	apply_abort(kit.nodes[2].apply);
	consensus_state_aborted(kit.nodes[2].c, kit_time());
	kit_ticks(RETRY_TICKS);
	kit_await(2, 1, last);
	ck_assert_uint_gt(kit.nodes[2].reloaded[1], 0);
	kit_expect_equal(1);
}
END_TEST

/* The state of node 2 is void, and durably so. */
static void lose_state(uint32_t group)
{
	ck_assert_int_eq(apply_snapshot_begin(kit.nodes[2].apply, group), 0);
	ck_assert_int_eq(apply_commit(kit.nodes[2].apply), 0);
}

/* The leader is gone; the other one lacks what node 2 acknowledged, and node 2 may not lead without a state. */
static uint64_t leave_the_longest_log_without_a_state(void)
{
	fill(1, 20);
	cut(1, true);
	uint64_t last = 0;
	for (int i = 0; i < 20; i++)
		last = kit_propose(0, 1);
	kit_await(2, 1, last);
	lose_state(1);
	kit_restart(2);
	ck_assert(kit_status(2, 1).fetching);
	kit_stop(0);
	cut(1, false);
	return last;
}

START_TEST(who_lost_its_state_and_has_the_longest_log_gets_a_state_without_a_leader)
{
	uint64_t last = leave_the_longest_log_without_a_state();
	kit_await(2, 1, last + 1);
	ck_assert_uint_eq(kit_leader(1), 2);
	kit_expect_equal(1);
	kit_open(0);
	kit_expect_equal(1);
}
END_TEST

/* It has begun with a snapshot of a leader that is gone. */
START_TEST(who_lost_its_leader_in_the_middle_of_a_snapshot_asks_another)
{
	uint64_t last = fall_behind();
	begin_fetching();
	kit_stop(0);
	cut(1, true);
	kit.nodes[2].hold_apply = false;
	kit_ticks(30 * SECOND);
	ck_assert(kit_status(2, 1).fetching);
	ck_assert_int_eq(kit_status(2, 1).leader, -1);
	cut(1, false);
	kit.cut[1][2] = true; /* it hears of no election */
	kit_ticks(2 * SECOND);
	kit.cut[1][2] = false;
	kit_await(2, 1, last + 1);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_source_that_falls_silent_is_given_up)
{
	uint64_t last = fall_behind();
	kit.chunks_max = 0;
	kit_open(2);
	ticks_until_fetching();
	kit_ticks(40 * SECOND);
	ck_assert_uint_gt(consensus_counters(kit.nodes[2].c)->snapshots_failed, 0);
	ck_assert_uint_eq(consensus_counters(kit.nodes[2].c)->snapshots_fetched, 0);
	kit.chunks_max = SIZE_MAX;
	kit_await(2, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* It has begun to install, and there is no other to ask: as where a group of one replica moves. */
START_TEST(a_source_that_fell_silent_is_asked_again_where_nobody_else_is)
{
	uint64_t last = fall_behind();
	kit_stop(1);
	begin_fetching();
	kit_commit_state(2);
	kit.chunks_max = 0;
	kit_restart(2);
	kit.nodes[2].hold_apply = false;
	kit_ticks(60 * SECOND);
	ck_assert_uint_gt(consensus_counters(kit.nodes[2].c)->snapshots_failed, 0);
	kit.chunks_max = SIZE_MAX;
	kit_await(2, 1, last);
	kit_open(1);
	kit_expect_equal(1);
}
END_TEST

/* ---- lost folders ------------------------------------------------------------------------------------------------------ */

static void expect_replaced(uint32_t node, uint32_t group)
{
	uint32_t leader = kit_leader(group);
	struct group_status s = kit_status(leader, group);
	ck_assert_uint_eq(s.replica_count, 2);
	for (uint32_t i = 0; i < s.replica_count; i++) {
		ck_assert_int_eq(s.replicas[i].role, REPLICA_FOLLOWER);
		ck_assert(s.replicas[i].active);
		ck_assert_uint_eq(s.replicas[i].replica, consensus_member(kit.nodes[s.replicas[i].node].c));
	}
	ck_assert_int_ne(kit_status(node, group).role, REPLICA_LEARNER);
	kit_expect_equal(group);
}

START_TEST(a_lost_folder_becomes_a_new_member)
{
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		fill(g, 100);
	for (uint32_t node = 0; node < 3; node++) {
		uint64_t old = consensus_member(kit.nodes[node].c);
		kit_stop(node);
		kit_wipe(node);
		kit_open(node);
		ck_assert_uint_ne(consensus_member(kit.nodes[node].c), old);
		kit_ticks(12 * SECOND);
		for (uint32_t g = 0; g < KIT_GROUPS; g++) {
			fill(g, 10);
			expect_replaced(node, g);
		}
	}
}
END_TEST

START_TEST(a_lost_folder_behind_a_removed_log_gets_a_snapshot)
{
	uint64_t last = fall_behind();
	kit_wipe(2);
	kit_open(2);
	kit_await(2, 1, last);
	ck_assert_uint_gt(kit.nodes[2].reloaded[1], 0);
	kit_ticks(5 * SECOND);
	expect_replaced(2, 1);
	/* and it counts: */
	kit_stop(1);
	uint64_t index = kit_propose(kit_leader(1), 1);
	kit_await(2, 1, index);
}
END_TEST

/* One that lost its folder, came back, and is gone again does not keep others from being replaced. */
START_TEST(folders_lost_one_after_another_are_replaced)
{
	kit_free();
	kit_make(5, 5);
	kit_ticks(SECOND);
	fill(1, 20);
	kit_stop(1);
	kit_wipe(1);
	kit.cut[0][1] = kit.cut[2][1] = kit.cut[3][1] = kit.cut[4][1] = true; /* it is heard of, and hears nothing */
	kit_open(1);
	kit_ticks(2 * SECOND);
	kit_stop(1);
	kit_ticks(2 * SECOND);
	kit_stop(3);
	kit_wipe(3);
	kit_open(3);
	kit_ticks(5 * SECOND);
	ck_assert_int_eq(kit_status(3, 1).role, REPLICA_FOLLOWER);
	struct group_status s = kit_status(kit_leader(1), 1);
	ck_assert_uint_eq(s.replica_count, 5); /* node 1 twice: the voter that is gone, and the learner */
	cut(1, false);
	kit_open(1);
	kit_ticks(5 * SECOND);
	ck_assert_int_eq(kit_status(1, 1).role, REPLICA_FOLLOWER);
	ck_assert_uint_eq(kit_status(kit_leader(1), 1).replica_count, 4);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_folder_lost_twice_leaves_no_learner_behind)
{
	fill(1, 20);
	kit_stop(2);
	kit_wipe(2);
	kit_open(2);
	kit.nodes[2].hold_apply = kit.nodes[2].hold_log = false;
	cut(2, false);
	kit_run(2);
	kit_infos(); /* the leader adds that number */
	for (uint32_t i = 0; i < 2; i++)
		kit.cut[i][2] = true; /* and cannot reach it */
	kit_ticks(2 * SECOND);
	kit_stop(2);
	kit_wipe(2);
	cut(2, false);
	kit_open(2);
	kit_ticks(12 * SECOND);
	expect_replaced(2, 1);
}
END_TEST

/* Nodes 0 and 1 change places: each goes on with its own folder. */
static void swap_places(void)
{
	kit_stop(0);
	kit_stop(1);
	struct cloud_disk disk = kit.nodes[0].disk;
	kit.nodes[0].disk = kit.nodes[1].disk;
	kit.nodes[1].disk = disk;
	char *name = kit.t->clouds[0].name;
	kit.t->clouds[0].name = kit.t->clouds[1].name;
	kit.t->clouds[1].name = name;
}

START_TEST(a_folder_without_data_takes_another_place)
{
	kit_free();
	kit_make(3, 3);
	kit_settle();
	uint64_t was = consensus_member(kit.nodes[0].c);
	swap_places();
	kit_open(0);
	kit_open(1);
	ck_assert_uint_eq(consensus_member(kit.nodes[1].c) & 0xffff, 1);
	ck_assert_uint_ne(consensus_member(kit.nodes[1].c), was);
	kit_ticks(SECOND);
	fill(1, 10);
	swap_places();
	char *why = NULL;
	ck_assert_int_eq(kit_try_open(0, &why), WEIR_EINVAL);
	ck_assert(strstr(why, "another place"));
	free(why);
}
END_TEST

/* ---- bad frames ------------------------------------------------------------------------------------------------------------ */

static struct msg frame_of(uint32_t from, uint32_t to, struct msg_raft *m)
{
	struct msg f = {.type = MSG_RAFT};
	f.raft.from = consensus_member(kit.nodes[from].c);
	f.raft.to = consensus_member(kit.nodes[to].c);
	f.raft.message_count = 1;
	f.raft.messages = m;
	return f;
}

START_TEST(foreign_frames_are_refused_and_counted)
{
	const struct consensus_counters *counters = consensus_counters(kit.nodes[1].c);
	struct msg_raft m = {.group = 1, .kind = RAFT_HEARTBEAT, .term = 1000};
	struct msg f = frame_of(0, 1, &m);
	uint64_t term = kit_status(1, 1).term;
	f.raft.to++;
	kit_deliver(0, 1, &f);
	f = frame_of(0, 1, &m);
	kit_deliver(2, 1, &f); /* another node's number */
	f.raft.from = 0;
	kit_deliver(0, 1, &f);
	f = frame_of(0, 1, &m);
	m.group = KIT_GROUPS;
	kit_deliver(0, 1, &f);
	ck_assert_uint_eq(counters->frames_foreign, 4);
	ck_assert_uint_eq(kit_status(1, 1).term, term);
	m.group = 1;
	kit_deliver(0, 1, &f);
	ck_assert_uint_eq(kit_status(1, 1).term, 1000);
}
END_TEST

START_TEST(impossible_messages_are_refused_and_counted)
{
	const struct consensus_counters *counters = consensus_counters(kit.nodes[1].c);
	uint64_t before = counters->messages_bad, last = kit_status(1, 1).last, term = kit_status(1, 1).term;
	struct msg_raft_entry e = {.term = term, .kind = RAFT_ENTRY_DATA, .data = bytes_of("x", 1)};
	struct msg_raft good = {.group = 1, .kind = RAFT_APPEND_ENTRIES, .term = term, .index = last, .log_term = term,
	    .entry_count = 1, .entries = &e};
	struct msg_raft bad[6] = {good, good, good, good, good, good};
	bad[0].kind = 0;
	bad[1].kind = RAFT_TIMEOUT_NOW + 1;
	bad[2].kind = RAFT_HEARTBEAT; /* with entries */
	bad[3].index = UINT64_MAX;
	bad[4].term = UINT64_MAX;
	bad[5].entry_count = RAFT_MESSAGE_ENTRIES_MAX + 1;
	for (size_t i = 0; i < 6; i++) {
		struct msg f = frame_of(0, 1, &bad[i]);
		kit_deliver(0, 1, &f);
		ck_assert_uint_eq(counters->messages_bad, before + i + 1);
	}
	struct msg_raft_entry wrong[4] = {e, e, e, e};
	wrong[0].kind = 9;
	wrong[1].kind = RAFT_ENTRY_NOOP; /* with data */
	wrong[2].kind = RAFT_ENTRY_CONFIG; /* not one */
	wrong[3].term = UINT64_MAX;
	for (size_t i = 0; i < 4; i++) {
		struct msg_raft m = good;
		m.entries = &wrong[i];
		struct msg f = frame_of(0, 1, &m);
		kit_deliver(0, 1, &f);
		ck_assert_uint_eq(counters->messages_bad, before + 6 + i + 1);
	}
	ck_assert_uint_eq(kit_status(1, 1).last, last);
	fill(1, 3);
	kit_expect_equal(1);
}
END_TEST

START_TEST(who_leads_is_known_where_nothing_is_held)
{
	kit.t->replicas = 1; /* a second world: each group on one node */
	topology_place(kit.t);
	kit_free();
	kit_make(3, 1);
	kit_ticks(2 * SECOND);
	for (uint32_t n = 0; n < 3; n++) {
		for (uint32_t g = 0; g < KIT_GROUPS; g++)
			ck_assert_int_eq(consensus_leader(kit.nodes[n].c, g), (int)topology_replica(kit.t, g, 0));
	}
	ck_assert(!consensus_holds(kit.nodes[2].c, 1));
	ck_assert(!kit_status(2, 1).held);
	ck_assert_int_eq(kit_status(2, 1).leader, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/consensus, three nodes");
	TCase *tc = tcase_create("founding");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, kit_free);
	tcase_add_test(tc, founding_waits_for_every_replica);
	tcase_add_test(tc, only_the_first_replica_founds);
	tcase_add_test(tc, unasked_facts_do_not_found);
	tcase_add_test(tc, late_facts_do_not_found);
	tcase_add_test(tc, a_file_founds_nothing_before_all_have_answered);
	tcase_add_test(tc, a_file_founds_nothing_of_a_cluster_that_is_there);
	tcase_add_test(tc, files_that_list_other_nodes_found_nothing);
	tcase_add_test(tc, a_node_that_does_not_say_what_it_lists_is_believed);
	tcase_add_test(tc, with_the_first_map_its_nodes_and_who_leads_the_meta_group_are_asked);
	tcase_add_test(tc, what_has_begun_and_was_lost_is_not_begun_again);
	tcase_add_test(tc, with_a_map_no_meta_group_is_begun);
	tcase_add_test(tc, a_founder_that_crashes_before_the_write_founds_again);
	suite_add_tcase(s, tc);
	tc = tcase_create("founded");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup_founded, kit_free);
	tcase_add_test(tc, what_others_have_is_not_founded_again);
	tcase_add_test(tc, begun_alone_a_node_leads_all_and_the_others_join_it);
	tcase_add_test(tc, old_members_that_come_back_share_no_term_with_it);
	tcase_add_test(tc, with_a_log_nothing_is_begun_alone);
	tcase_add_test(tc, without_a_whole_state_of_each_group_nothing_is_begun_alone);
	tcase_add_test(tc, without_a_place_in_each_group_nothing_is_begun_alone);
	tcase_add_test(tc, what_others_say_to_have_is_not_founded);
	tcase_add_test(tc, votes_are_durable);
	tcase_add_test(tc, entries_are_applied_on_all);
	tcase_add_test(tc, only_a_leaders_apply_jobs_are_waited_for);
	tcase_add_test(tc, groups_share_frames);
	tcase_add_test(tc, the_largest_entries_pass);
	tcase_add_test(tc, the_longest_messages_pass);
	tcase_add_test(tc, a_follower_refuses_proposals);
	tcase_add_test(tc, a_read_needs_a_majority);
	tcase_add_test(tc, another_leads_when_the_leader_is_gone);
	tcase_add_test(tc, a_leader_that_is_cut_off_ceases_to_serve);
	tcase_add_test(tc, how_long_ago_the_leader_was_heard);
	tcase_add_test(tc, crashes_lose_nothing_that_was_applied);
	tcase_add_test(tc, a_whole_cluster_starts_again);
	tcase_add_test(tc, entries_are_kept_for_followers_but_not_for_ever);
	tcase_add_test(tc, a_follower_that_was_away_shortly_gets_entries);
	tcase_add_test(tc, a_full_log_of_one_node_does_not_stop_the_others);
	tcase_add_test(tc, a_leader_with_a_full_disk_hands_over);
	tcase_add_test(tc, a_leader_with_a_full_state_disk_hands_over);
	tcase_add_test(tc, a_leader_whose_state_is_short_of_room_hands_over_to_one_that_has_it);
	tcase_add_test(tc, where_all_are_full_leadership_stays_and_reads_go_on);
	tcase_add_test(tc, who_is_away_counts_with_those_who_are_full);
	tcase_add_test(tc, who_is_far_behind_gets_a_snapshot);
	tcase_add_test(tc, what_is_written_while_one_fetches_is_kept_for_it);
	tcase_add_test(tc, a_crash_in_the_middle_of_a_snapshot_fetches_it_again);
	tcase_add_test(tc, a_crash_between_the_states_commit_and_the_logs_is_mended);
	tcase_add_test(tc, a_log_that_contradicts_a_snapshot_is_not_shortened_up_to_it);
	tcase_add_test(tc, without_room_no_state_is_fetched);
	tcase_add_test(tc, nothing_is_kept_for_who_has_no_room_to_fetch);
	tcase_add_test(tc, a_full_state_disk_in_the_middle_of_a_snapshot_starts_it_over);
	tcase_add_test(tc, a_state_commit_without_room_at_the_end_of_a_snapshot_starts_it_over);
	tcase_add_test(tc, who_lost_its_state_and_has_the_longest_log_gets_a_state_without_a_leader);
	tcase_add_test(tc, who_lost_its_leader_in_the_middle_of_a_snapshot_asks_another);
	tcase_add_test(tc, a_source_that_falls_silent_is_given_up);
	tcase_add_test(tc, a_source_that_fell_silent_is_asked_again_where_nobody_else_is);
	tcase_add_test(tc, a_lost_folder_becomes_a_new_member);
	tcase_add_test(tc, a_lost_folder_behind_a_removed_log_gets_a_snapshot);
	tcase_add_test(tc, folders_lost_one_after_another_are_replaced);
	tcase_add_test(tc, a_folder_lost_twice_leaves_no_learner_behind);
	tcase_add_test(tc, a_folder_without_data_takes_another_place);
	tcase_add_test(tc, foreign_frames_are_refused_and_counted);
	tcase_add_test(tc, impossible_messages_are_refused_and_counted);
	tcase_add_test(tc, who_leads_is_known_where_nothing_is_held);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
