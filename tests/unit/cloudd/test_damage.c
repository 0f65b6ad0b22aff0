/* Records that do not read: a replica's state is given up and had again from another one, never at the cost of the last that is
 * left; a log that has lost what may have been promised is another member's. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/digests.h"
#include "cloudd/jobs.h"
#include "cloudd/state.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/consensus_kit.h"

static void three(void)
{
	kit_make(3, 3);
	kit_ticks(40);
}

static void one(void)
{
	kit_make(1, 1);
	kit_run(0);
}

/* As a flipped bit does: the record's checksum is not that of its value. */
static void damage(struct kv *kv, unsigned db, struct bytes key)
{
	struct kv_txn *txn;
	uint8_t *room;
	ck_assert_int_eq(kv_begin(kv, true, &txn), 0);
	ck_assert_int_eq(kv->ops->put(txn, db, key, 20, false, &room), 0);
	memset(room, 1, 20);
	ck_assert_int_eq(kv_commit(txn), 0);
}

static void damage_edge(uint32_t node, uint32_t group)
{
	struct state_key k;
	kit_commit_state(node);
	state_key_start(&k, STATE_EDGE);
	state_key_bytes_of(&k, bytes_of("a", 1));
	damage(kit.nodes[node].disk.state, STATE_DB_GROUP(group), state_key_bytes(&k));
}

static void damage_entry(uint32_t node, uint32_t group, uint64_t index)
{
	struct buf key = {0};
	buf_be64(&key, index);
	damage(kit.nodes[node].disk.log, LOG_DB_GROUP(group), bytes_of(key.data, key.len));
	buf_free(&key);
}

static uint64_t given_up(uint32_t node)
{
	return consensus_counters(kit.nodes[node].c)->damaged;
}

static void await_mended(uint32_t node, uint32_t group)
{
	for (size_t i = 0; i < 2000; i++) {
		struct group_status s = kit_status(node, group);
		if (!s.damage && !s.fetching)
			return;
		kit_ticks(1);
		for (uint32_t n = 0; n < kit.count; n++)
			kit_commit_state(n);
	}
	ck_abort_msg("node %u is not mended", node);
}

START_TEST(a_follower_that_meets_a_bad_record_gets_the_state_again)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	kit_await(f, 1, kit_propose(leader, 1));
	damage_edge(f, 1);
	kit_restart(f);
	kit_ticks(5);
	uint64_t last = kit_propose(kit_leader(1), 1);
	kit_ticks(3);
	ck_assert_uint_eq(given_up(f), 1);
	await_mended(f, 1);
	kit_await(f, 1, last);
	kit_expect_equal(1);
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->snapshots_fetched, 1);
	kit_expect_equal(0);
	kit_expect_equal(2);
}
END_TEST

START_TEST(a_leader_hands_over_first)
{
	uint32_t leader = kit_leader(1);
	kit_propose(leader, 1);
	kit_ticks(4);
	consensus_damaged(kit.nodes[leader].c, 1, "a test");
	ck_assert(!kit.nodes[leader].leads[1]); /* at once: it serves no more */
	ck_assert_str_eq(kit_status(leader, 1).damage, "a test");
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(leader, 1, 0, &index), WEIR_ENOTLEADER);
	size_t ticks = kit.ticks;
	uint32_t next = kit_leader(1);
	ck_assert_uint_ne(next, leader);
	ck_assert_uint_lt(kit.ticks - ticks, CONSENSUS_ELECTION_TICKS); /* no election timeout was waited for */
	uint64_t last = kit_propose(next, 1);
	await_mended(leader, 1);
	kit_await(leader, 1, last);
	kit_expect_equal(1);
	ck_assert_uint_eq(given_up(leader), 1);
}
END_TEST

static uint64_t records_of(uint32_t node, uint32_t group)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	uint64_t n = 0;
	ck_assert_int_eq(kv_begin(kit.nodes[node].disk.state, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(group), &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		n++;
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

/* All replicas are told that they are damaged, as a mistake in the program would: nothing is thrown away. */
START_TEST(nothing_is_lost_that_nobody_else_has)
{
	uint32_t leader = kit_leader(1);
	uint64_t last = kit_propose(leader, 1), had[3];
	for (uint32_t n = 0; n < 3; n++) {
		kit_await(n, 1, last);
		kit_commit_state(n);
		had[n] = records_of(n, 1);
		ck_assert_uint_gt(had[n], 1);
	}
	for (uint32_t n = 0; n < 3; n++)
		consensus_damaged(kit.nodes[n].c, 1, "a test");
	for (int i = 0; i < 100; i++) {
		kit_ticks(5);
		for (uint32_t n = 0; n < 3; n++)
			kit_commit_state(n);
	}
	for (uint32_t n = 0; n < 3; n++) {
		ck_assert_uint_eq(records_of(n, 1), had[n]);
		ck_assert_uint_eq(given_up(n), 1); /* counted once */
	}
}
END_TEST

/* What is void stays so through a restart, is not read, and is mended then. */
START_TEST(a_state_that_was_given_up_is_not_read_after_a_restart)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t last = kit_propose(leader, 1);
	kit_await(f, 1, last);
	kit_commit_state(f);
	for (uint32_t n = 0; n < 3; n++)
		kit.cut[n][f] = kit.cut[f][n] = true;
	consensus_damaged(kit.nodes[f].c, 1, "a test");
	kit_ticks(2);
	kit_commit_state(f);
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(kit.nodes[f].disk.state, false, &txn), 0);
	ck_assert_int_eq(state_readable(txn, STATE_DB_GROUP(1)), WEIR_EBUSY);
	ck_assert_int_eq(state_readable(txn, STATE_DB_GROUP(2)), 0);
	kv_abort(txn);
	kit_restart(f);
	ck_assert(kit_status(f, 1).fetching);
	memset(kit.cut, 0, sizeof(kit.cut));
	await_mended(f, 1);
	kit_await(f, 1, last);
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_source_that_is_damaged_too_is_not_the_only_one)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3, third = (leader + 2) % 3;
	uint64_t last = kit_propose(leader, 1);
	for (uint32_t n = 0; n < 3; n++)
		kit_await(n, 1, last);
	damage_edge(leader, 1); /* which it finds out when it is asked for a snapshot, and nobody tells it */
	consensus_damaged(kit.nodes[f].c, 1, "a test");
	await_mended(f, 1);
	kit_await(f, 1, last);
	ck_assert_uint_eq(given_up(third), 0);
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------------------------------ */

/* The last index; `node` has applied them all, durably. */
static uint64_t propose_five(uint32_t leader, uint32_t node)
{
	uint64_t last = 0;
	for (int i = 0; i < 5; i++)
		last = kit_propose(leader, 1);
	kit_await(node, 1, last);
	kit_commit_state(node);
	return last;
}

START_TEST(a_bad_entry_that_is_applied_is_not_needed)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t last = propose_five(leader, f), member = consensus_member(kit.nodes[f].c);
	kit_propose(leader, 1);
	kit_ticks(3); /* one above what is durable */
	damage_entry(f, 1, last - 2);
	kit_restart(f);
	ck_assert_uint_eq(consensus_member(kit.nodes[f].c), member);
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->log_unread, 1);
	last = kit_propose(kit_leader(1), 1);
	kit_await(f, 1, last);
	kit_expect_equal(1);
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->snapshots_fetched, 0);
	kit_commit_state(f);
	kit_restart(f); /* it still lies there */
	last = kit_propose(kit_leader(1), 1);
	kit_await(f, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* The log begins behind the bad entry since the start. Before what lies there is removed its beginning must be written: else the next
 * start finds a gap. */
START_TEST(what_is_left_with_a_bad_entry_is_removed_together_with_the_old_beginning)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t last = propose_five(leader, f);
	damage_entry(f, 1, last - 2);
	kit_restart(f);
	kit.nodes[f].hold_log = true;
	last = kit_propose(kit_leader(1), 1);
	for (int i = 0; i < 100 && !kit.nodes[f].log_job; i++)
		kit_ticks(1);
	kit_give_back_log(f, WEIR_EFULL); /* all that can be removed is, then */
	kit.nodes[f].hold_log = false;
	kit_await(f, 1, last);
	ck_assert_uint_le(kit_log_entries(f, 1), 2);
	kit_restart(f); /* nothing was durable in the state meanwhile */
	last = kit_propose(kit_leader(1), 1);
	kit_await(f, 1, last);
	kit_expect_equal(1);
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->snapshots_fetched, 0);
}
END_TEST

static void remove_entry(uint32_t node, uint32_t group, uint64_t index)
{
	struct kv_txn *txn;
	struct buf key = {0};
	buf_be64(&key, index);
	ck_assert_int_eq(kv_begin(kit.nodes[node].disk.log, true, &txn), 0);
	ck_assert_int_eq(kv_del(txn, LOG_DB_GROUP(group), bytes_of(key.data, key.len)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	buf_free(&key);
}

/* A snapshot was installed, and the log was to be emptied next: that an entry of it does not read is no reason for another number. */
START_TEST(a_bad_entry_of_a_log_that_ends_before_the_state_is_not_needed)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t last = propose_five(leader, f), member = consensus_member(kit.nodes[f].c);
	kit_stop(f);
	remove_entry(f, 1, last);
	damage_entry(f, 1, last - 2);
	kit_open(f);
	ck_assert_uint_eq(consensus_member(kit.nodes[f].c), member);
	kit_await(f, 1, kit_propose(kit_leader(1), 1));
	kit_restart(f);
	kit_await(f, 1, kit_propose(kit_leader(1), 1));
	kit_expect_equal(1);
}
END_TEST

static void reopen_with_another_log(uint32_t node)
{
	struct kit_node *n = &kit.nodes[node];
	char *why = NULL;
	ck_assert_int_eq(kit_try_open(node, &why), WEIR_ECORRUPT);
	ck_assert_ptr_nonnull(why);
	free(why);
	n->c = NULL;
	apply_close(n->apply);
	n->apply = NULL;
	cloud_disk_close(&n->disk);
	cloud_disk_lose(n->disk.log_path);
	cloud_disk_open(&n->disk);
	n->starts++;
	kit_open(node);
}

START_TEST(a_log_with_a_hole_is_another_members_with_the_same_state)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t last = 0, member = consensus_member(kit.nodes[f].c);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		last = kit_propose(kit_leader(g), g);
	kit_ticks(5);
	kit_commit_state(f);
	uint64_t durable = kit_status(f, 1).durable;
	last = kit_propose(leader, 1);
	kit_ticks(5);
	ck_assert_uint_lt(durable, last);
	kit_stop(f);
	damage_entry(f, 1, last);
	reopen_with_another_log(f);
	ck_assert_uint_ne(consensus_member(kit.nodes[f].c), member);
	ck_assert_uint_eq(kit_status(f, 1).applied, durable);
	for (int i = 0; i < 400 && kit_status(f, 1).role != REPLICA_FOLLOWER; i++) {
		kit_ticks(5);
		for (uint32_t n = 0; n < 3; n++)
			kit_commit_state(n);
	}
	kit_ticks(100); /* all of its groups; the number that is no more is removed */
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		kit_await(f, g, kit_propose(kit_leader(g), g));
		kit_expect_equal(g);
	}
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->snapshots_fetched, 0); /* its states were there */
	kit_restart(f);
	kit_await(f, 1, kit_propose(kit_leader(1), 1));
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_bad_term_or_vote_is_another_members)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	uint64_t member = consensus_member(kit.nodes[f].c);
	kit_await(f, 1, kit_propose(leader, 1));
	kit_commit_state(f);
	kit_stop(f);
	const uint8_t key[] = {LOG_KEY_GROUP, 0, 0, 0, 1};
	damage(kit.nodes[f].disk.log, LOG_DB_NODE, bytes_of(key, sizeof(key)));
	reopen_with_another_log(f);
	ck_assert_uint_ne(consensus_member(kit.nodes[f].c), member);
	kit_ticks(200);
	kit_await(f, 1, kit_propose(kit_leader(1), 1));
	kit_expect_equal(1);
}
END_TEST

START_TEST(a_bad_cluster_id_is_learnt_again)
{
	uint8_t id[CLUSTER_ID_BYTES] = "an id of sixteen", got[CLUSTER_ID_BYTES];
	consensus_keep_cluster_id(kit.nodes[0].c, id);
	kit_ticks(2);
	ck_assert(consensus_cluster_id(kit.nodes[0].c, got));
	kit_stop(0);
	damage(kit.nodes[0].disk.log, LOG_DB_NODE, bytes_of(LOG_KEY_CLUSTER, 1));
	kit_open(0);
	ck_assert(!consensus_cluster_id(kit.nodes[0].c, got));
	consensus_keep_cluster_id(kit.nodes[0].c, id);
	kit_ticks(2);
	ck_assert(consensus_cluster_id(kit.nodes[0].c, got));
}
END_TEST

/* A void state and a new log: nothing is left but the leader's. */
START_TEST(both_may_be_lost)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3;
	kit_await(f, 1, kit_propose(leader, 1));
	consensus_damaged(kit.nodes[f].c, 1, "a test");
	for (uint32_t n = 0; n < 3; n++)
		kit.cut[n][f] = kit.cut[f][n] = true;
	kit_ticks(2);
	kit_commit_state(f);
	uint64_t last = kit_propose(kit_leader(1), 1);
	kit_ticks(2);
	kit_stop(f);
	damage(kit.nodes[f].disk.log, LOG_DB_NODE, bytes_of(LOG_KEY_NODE, 1));
	reopen_with_another_log(f);
	memset(kit.cut, 0, sizeof(kit.cut));
	await_mended(f, 1);
	kit_ticks(200);
	kit_await(f, 1, last);
	kit_expect_equal(1);
}
END_TEST

/* ---- one replica ---------------------------------------------------------------------------------------------------- */

START_TEST(with_nobody_to_ask_an_entry_is_passed_over)
{
	kit_propose(0, 1);
	kit_run(0);
	damage_edge(0, 1);
	kit_restart(0);
	kit_run(0);
	ck_assert(kit.nodes[0].leads[1]);
	ck_assert_uint_eq(consensus_counters(kit.nodes[0].c)->passed_over, 0);
	kit_propose(0, 1);
	kit_propose(0, 2);
	kit.nodes[0].hold_apply = true;
	kit_run(0);
	consensus_flush(kit.nodes[0].c, kit_time());
	kit.nodes[0].hold_apply = false;
	struct apply_job *job = kit.nodes[0].apply_job;
	ck_assert_ptr_nonnull(job);
	kit_run_apply(0);
	consensus_flush(kit.nodes[0].c, kit_time());
	job = kit.nodes[0].apply_job;
	ck_assert_ptr_nonnull(job);
	bool skips = false, applies = false;
	for (size_t i = 0; i < job->count; i++) {
		skips |= job->items[i].group == 1 && job->items[i].step == APPLY_SKIP;
		applies |= job->items[i].group == 2 && job->items[i].step == APPLY_ENTRY;
	}
	ck_assert(skips && applies);
}
END_TEST

/* ---- entries of a later program ------------------------------------------------------------------------------------- */

static uint64_t propose_later(uint32_t node, uint32_t group)
{
	uint64_t index;
	struct entry e = {.kind = (enum entry_kind)KIT_LATER_KIND};
	ck_assert_int_eq(consensus_propose(kit.nodes[node].c, group, &e, &index), 0);
	kit_settle();
	return index;
}

START_TEST(an_entry_of_a_later_program_ends_what_is_applied_here)
{
	uint32_t leader = kit_leader(1), f = (leader + 1) % 3, other = (leader + 2) % 3;
	kit.nodes[leader].newer = kit.nodes[other].newer = true;
	uint64_t before = kit_propose(leader, 1), index = propose_later(leader, 1), last = kit_propose(leader, 1);
	kit_await(leader, 1, last);
	kit_ticks(5);
	struct group_status s = kit_status(f, 1);
	ck_assert_uint_eq(index, before + 1);
	ck_assert_uint_eq(s.outdated.index, index);
	ck_assert_uint_eq(s.outdated.kind, KIT_LATER_KIND);
	ck_assert_uint_eq(s.outdated.format, ENTRY_FORMAT);
	ck_assert_uint_eq(s.applied, before); /* all that is before it, and nothing behind */
	ck_assert_uint_eq(kit.nodes[f].applied[1], before);
	ck_assert_uint_eq(s.last, last);
	ck_assert_ptr_null(consensus_failed(kit.nodes[f].c));
	kit_await(f, 2, kit_propose(kit_leader(2), 2)); /* other groups go on */
	/* Its log counts: with it there is a majority. */
	kit_stop(other);
	last = kit_propose(leader, 1);
	kit_await(leader, 1, last);
	kit_open(other);
	kit_commit_state(f);
	kit_restart(f); /* the same program */
	kit_ticks(60);
	ck_assert_uint_eq(kit_status(f, 1).outdated.index, index);
	ck_assert_uint_eq(kit_status(f, 1).applied, before);
	ck_assert(!kit.nodes[f].leads[1]);
	kit.nodes[f].newer = true;
	kit_restart(f);
	kit_await(f, 1, last);
	ck_assert_uint_eq(kit_status(f, 1).outdated.index, 0);
	kit_ticks(20);
	kit_expect_equal(1);
	ck_assert_uint_eq(consensus_counters(kit.nodes[f].c)->snapshots_fetched, 0);
}
END_TEST

/* An older program leads what a newer one had led before. */
START_TEST(who_does_not_know_an_entry_leads_no_more)
{
	uint32_t leader = kit_leader(1);
	for (uint32_t i = 0; i < 3; i++)
		kit.nodes[i].newer = i != leader;
	uint64_t index = propose_later(leader, 1);
	kit_ticks(2);
	ck_assert(!kit.nodes[leader].leads[1]);
	size_t ticks = kit.ticks;
	uint32_t next = kit_leader(1);
	ck_assert_uint_ne(next, leader);
	ck_assert_uint_lt(kit.ticks - ticks, 2 * CONSENSUS_ELECTION_TICKS);
	uint64_t last = kit_propose(next, 1);
	kit_await(next, 1, last);
	kit_ticks(400); /* it is the preferred one, maybe: it is not handed back to */
	ck_assert(!kit.nodes[leader].leads[1]);
	ck_assert_uint_eq(kit_status(leader, 1).applied, index - 1);
}
END_TEST

START_TEST(nobody_serves_what_nobody_knows)
{
	uint32_t leader = kit_leader(1);
	uint64_t index = propose_later(leader, 1);
	kit_ticks(100);
	uint64_t transfers = 0;
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert(!kit.nodes[i].leads[1]);
		ck_assert_uint_eq(kit_status(i, 1).outdated.index, index);
		transfers += consensus_counters(kit.nodes[i].c)->transfers;
	}
	ck_assert_uint_eq(transfers, 0); /* nobody is better */
	uint32_t newer = (leader + 1) % 3;
	kit.nodes[newer].newer = true;
	kit_restart(newer);
	ck_assert_uint_eq(kit_leader(1), newer);
	kit_await(newer, 1, kit_propose(newer, 1));
}
END_TEST

/* ---- digests ---------------------------------------------------------------------------------------------------------- */

#define E APPLY_DIGEST_EVERY

static void hear(struct digests *d, uint32_t node, uint64_t index, uint64_t value)
{
	digests_heard(d, node, &(struct msg_digest){1, index, value});
}

START_TEST(the_odd_one_out_is_divergent)
{
	struct digests *d = digests_new(2);
	uint64_t index;
	uint32_t node;
	digests_note(d, 1, E, 5);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_FINE);
	hear(d, 1, E, 6);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_DIFFER); /* who is wrong? */
	ck_assert_uint_eq(node, 1);
	ck_assert_uint_eq(index, E);
	hear(d, 2, E, 5);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_DIFFER); /* the other one is */
	hear(d, 2, E, 6);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_DIVERGENT);
	ck_assert_int_eq(digests_look(d, 1, 5, &index, &node), DIGESTS_DIFFER); /* two of five are no majority */
	ck_assert_int_eq(digests_look(d, 0, 3, &index, &node), DIGESTS_FINE);
	digests_forget(d, 1);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_FINE);
	digests_free(d);
}
END_TEST

START_TEST(the_same_entries_are_compared_and_the_latest_of_them)
{
	struct digests *d = digests_new(2);
	uint64_t index;
	uint32_t node;
	hear(d, 1, E, 6); /* before this replica is there */
	hear(d, 2, E, 6);
	hear(d, 1, 2 * E, 7);
	hear(d, 2, 3 * E, 8);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_FINE);
	digests_note(d, 1, E, 6);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_FINE);
	digests_note(d, 1, 3 * E, 9);
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_DIFFER);
	ck_assert_uint_eq(node, 2);
	for (uint64_t i = 4; i < 100; i++) { /* the other one was mended */
		digests_note(d, 1, i * E, i);
		hear(d, 2, i * E, i);
		hear(d, 1, i * E, i);
	}
	ck_assert_int_eq(digests_look(d, 1, 3, &index, &node), DIGESTS_FINE);
	digests_heard(d, CLOUDS_MAX, &(struct msg_digest){1, E, 1}); /* strangers */
	digests_heard(d, 1, &(struct msg_digest){2, E, 1});
	digests_free(d);
}
END_TEST

START_TEST(two_are_told_of_each_group_that_all_keep_for_a_while)
{
	struct digests *d = digests_new(2);
	struct msg_digest told[4];
	ck_assert_uint_eq(digests_tell(d, told), 0);
	for (uint64_t i = 1; i <= 39; i++)
		digests_note(d, 1, i * E, i);
	digests_note(d, 0, E, 9);
	ck_assert_uint_eq(digests_tell(d, told), 3);
	ck_assert(told[0].group == 0 && told[0].index == E && told[0].value == 9);
	ck_assert(told[1].group == 1 && told[1].index == 39 * E && told[1].value == 39);
	ck_assert(told[2].group == 1 && told[2].index == 32 * E && told[2].value == 32);
	digests_free(d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/damage");
	TCase *tc = tcase_create("three");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, three, kit_free);
	tcase_add_test(tc, a_follower_that_meets_a_bad_record_gets_the_state_again);
	tcase_add_test(tc, a_leader_hands_over_first);
	tcase_add_test(tc, nothing_is_lost_that_nobody_else_has);
	tcase_add_test(tc, a_state_that_was_given_up_is_not_read_after_a_restart);
	tcase_add_test(tc, a_source_that_is_damaged_too_is_not_the_only_one);
	tcase_add_test(tc, a_bad_entry_that_is_applied_is_not_needed);
	tcase_add_test(tc, what_is_left_with_a_bad_entry_is_removed_together_with_the_old_beginning);
	tcase_add_test(tc, a_bad_entry_of_a_log_that_ends_before_the_state_is_not_needed);
	tcase_add_test(tc, a_log_with_a_hole_is_another_members_with_the_same_state);
	tcase_add_test(tc, a_bad_term_or_vote_is_another_members);
	tcase_add_test(tc, a_bad_cluster_id_is_learnt_again);
	tcase_add_test(tc, both_may_be_lost);
	tcase_add_test(tc, an_entry_of_a_later_program_ends_what_is_applied_here);
	tcase_add_test(tc, who_does_not_know_an_entry_leads_no_more);
	tcase_add_test(tc, nobody_serves_what_nobody_knows);
	suite_add_tcase(s, tc);
	tc = tcase_create("one");
	tcase_add_checked_fixture(tc, one, kit_free);
	tcase_add_test(tc, with_nobody_to_ask_an_entry_is_passed_over);
	suite_add_tcase(s, tc);
	tc = tcase_create("digests");
	tcase_add_test(tc, the_odd_one_out_is_divergent);
	tcase_add_test(tc, the_same_entries_are_compared_and_the_latest_of_them);
	tcase_add_test(tc, two_are_told_of_each_group_that_all_keep_for_a_while);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
