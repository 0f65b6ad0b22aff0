/* What went wrong in other implementations of Raft, each as a test of this one. The numbers are those of the
 * design's list of bugs that others had. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/raft/bugs_rig.h"

static struct rig g;

static const uint64_t other_two[] = {2, 3};

static void teardown(void)
{
	rig_free(&g);
}

/* Member 1 of three is up; 2 and 3 are played by hand. Its log: the founders' entry, and `count` more of a
 * term. */
static struct raft *alone(uint32_t voters, uint64_t term, int count)
{
	struct raft_config c = rig_voters(voters);
	rig_make(&g);
	rig_found(&g, 1, &c);
	while (count-- > 0)
		rig_log(&g, 1, term, "x");
	return rig_start(&g, 1);
}

static struct raft_message result_of_append(void)
{
	rig_collect(&g, 1);
	struct raft_message m = {0};
	for (size_t i = 0; i < g.box_count; i++)
		if (g.box[i].kind == RAFT_APPEND_ENTRIES_RESULT)
			m = g.box[i];
	ck_assert_int_eq(m.kind, RAFT_APPEND_ENTRIES_RESULT);
	rig_drop_all(&g);
	return m;
}

static struct raft_message vote_request(
    uint64_t from, uint64_t term, uint64_t index, uint64_t log_term, bool force)
{
	return (struct raft_message){.kind = RAFT_REQUEST_VOTE,
	    .from = from,
	    .to = 1,
	    .term = term,
	    .index = index,
	    .log_term = log_term,
	    .force = force};
}

static struct raft_message heartbeat(uint64_t from, uint64_t term, uint64_t commit, uint64_t round)
{
	return (struct raft_message){
	    .kind = RAFT_HEARTBEAT, .from = from, .to = 1, .term = term, .commit = commit, .round = round};
}

/* ---- 1: entries of earlier terms ------------------------------------------------------------- */

/* D figure 3.7: entry 3 of term 2 on a majority is not committed in term 4, until one of term 4 is. */
START_TEST(bug1_entries_of_earlier_terms_are_not_committed_by_counting)
{
	static const uint64_t voters[] = {2, 3};
	struct raft_config c = rig_voters(5);
	rig_make(&g);
	rig_found(&g, 1, &c);
	rig_log(&g, 1, 1, "a");
	rig_log(&g, 1, 2, "b");
	g.m[1].term = 3;
	rig_start(&g, 1);
	rig_lead_alone(&g, 1, voters, 2);
	ck_assert_uint_eq(rig_status(&g, 1).leader_since, 4);
	rig_accept(&g, 2, 1, 4, 3);
	rig_accept(&g, 3, 1, 4, 3);
	rig_accept(&g, 4, 1, 4, 3);
	rig_accept(&g, 5, 1, 4, 3);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 0);
	rig_accept(&g, 2, 1, 4, 4);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 0);
	rig_accept(&g, 3, 1, 4, 4);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 4);
}
END_TEST

/* Followers hear of a commitment with the next message; here, a heartbeat. */
static void heartbeat_round(uint64_t leader)
{
	rig_tick(&g, leader, 2);
	rig_settle(&g);
}

/* So a leader has an entry of its own at once, without a client. */
START_TEST(bug1_a_leader_begins_with_an_entry_of_its_term)
{
	rig_group(&g, 3);
	rig_elect(&g, 2);
	heartbeat_round(2);
	struct raft_status s = rig_status(&g, 2);
	ck_assert_uint_eq(s.last, 2);
	ck_assert_uint_eq(raft_term_at(g.m[2].raft, 2), s.term);
	ck_assert_uint_eq(g.m[1].applied, 2);
	ck_assert_uint_eq(g.m[3].applied, 2);
}
END_TEST

/* ---- 2: verified, not last ------------------------------------------------------------------- */

START_TEST(bug2_a_result_names_what_the_message_verified)
{
	alone(3, 2, 5); /* 2..6 of term 2, which the leader of term 3 may not have */
	rig_append(&g, 2, 1, 3, 3, 2, 0, 0, 0);
	rig_write(&g, 1);
	struct raft_message m = result_of_append();
	ck_assert(!m.reject);
	ck_assert_uint_eq(m.index, 3);
	rig_append(&g, 2, 1, 3, 1, 1, 0, 2, 1);
	rig_write(&g, 1);
	ck_assert_uint_eq(result_of_append().index, 2);
}
END_TEST

START_TEST(bug2_a_follower_commits_what_was_verified_at_the_most)
{
	struct raft *r = alone(3, 2, 5);
	rig_append(&g, 2, 1, 3, 3, 2, 6, 0, 0);
	rig_write(&g, 1);
	ck_assert_uint_eq(raft_committed(r), 3);
}
END_TEST

START_TEST(bug2_a_leaders_heartbeat_commits_what_its_receiver_has)
{
	alone(3, 1, 3);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_drop_all(&g);
	rig_accept(&g, 2, 1, 2, 5);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 5);
	rig_tick(&g, 1, 2);
	rig_collect(&g, 1);
	struct raft_message to_2 = rig_take(&g, RAFT_HEARTBEAT, 1, 2),
			    to_3 = rig_take(&g, RAFT_HEARTBEAT, 1, 3);
	ck_assert_uint_eq(to_2.commit, 5);
	ck_assert_uint_eq(to_3.commit, 0);
}
END_TEST

/* A member that says it has more than there is knows something impossible; it is not believed. */
START_TEST(bug2_an_acknowledgement_beyond_the_log_counts_for_nothing)
{
	alone(3, 1, 3);
	rig_lead_alone(&g, 1, other_two, 2);
	ck_assert_int_eq(rig_accept(&g, 2, 1, 2, 500), RAFT_EINVAL);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 0);
}
END_TEST

/* ---- 3: what leaves before it is durable ----------------------------------------------------- */

START_TEST(bug3_a_vote_leaves_after_its_write)
{
	alone(3, 1, 0);
	rig_say(&g, vote_request(2, 5, 1, 1, false));
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2));
	ck_assert(rig_write_begin(&g, 1));
	ck_assert(g.m[1].write.hard_state);
	ck_assert_uint_eq(g.m[1].write.term, 5);
	ck_assert_uint_eq(g.m[1].write.vote, 2);
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2));
	rig_write_end(&g, 1);
	rig_collect(&g, 1);
	struct raft_message m = rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2);
	ck_assert(!m.reject);
	ck_assert_uint_eq(m.term, 5);
}
END_TEST

START_TEST(bug3_an_acknowledgement_leaves_after_its_write)
{
	alone(3, 1, 0);
	rig_append(&g, 2, 1, 1, 1, 1, 0, 1, 3);
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0);
	ck_assert(rig_write_begin(&g, 1));
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0);
	rig_write_end(&g, 1);
	ck_assert_uint_eq(result_of_append().index, 4);
}
END_TEST

START_TEST(bug3_a_candidate_asks_after_its_write_and_counts_itself_then)
{
	struct raft *r = alone(3, 1, 0);
	raft_campaign(r);
	rig_grant(&g, 2, 1, 2, true);
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE, 1, 2));
	rig_grant(&g, 2, 1, 2,
	    false); /* it cannot have been asked; with its own vote not durable this makes one of three */
	ck_assert(!raft_is_leader(r));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(rig_has(&g, RAFT_REQUEST_VOTE, 1, 3));
	ck_assert_uint_eq(g.m[1].vote, 1);
}
END_TEST

/* A leader's own entries leave at once: disks write in parallel. */
START_TEST(bug3_a_leaders_entries_do_not_wait)
{
	alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_accept(&g, 2, 1, 2, 2);
	rig_collect(&g, 1);
	rig_drop_all(&g);
	rig_propose(&g, 1, "now");
	rig_collect(&g, 1);
	struct raft_message m = rig_take(&g, RAFT_APPEND_ENTRIES, 1, 2);
	ck_assert_uint_eq(m.entry_count, 1);
	raft_message_clear(&m);
}
END_TEST

/* Entry 2 of term 2 is being written when the leader of term 3 replaces it. */
START_TEST(bug3_a_late_completion_does_not_acknowledge_what_replaced_it)
{
	struct raft *r = alone(3, 1, 0);
	rig_append(&g, 2, 1, 2, 1, 1, 0, 2, 3);
	ck_assert(rig_write_begin(&g, 1));
	rig_append(&g, 3, 1, 3, 1, 1, 2, 3, 2);
	rig_write_end(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).durable, 1);
	ck_assert_uint_eq(raft_committed(r), 1); /* entry 2 of term 3 is committed, but not here yet */
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_APPEND_ENTRIES_RESULT, 1, 2));
	ck_assert(!rig_has(&g, RAFT_APPEND_ENTRIES_RESULT, 1, 3));
	ck_assert(rig_write_begin(&g, 1));
	ck_assert_uint_eq(g.m[1].write.truncate_from, 2);
	ck_assert_uint_eq(g.m[1].write.entry_count, 2);
	rig_write_end(&g, 1);
	struct raft_message m = result_of_append();
	ck_assert_uint_eq(m.to, 3);
	ck_assert_uint_eq(m.term, 3);
	ck_assert_uint_eq(m.index, 3);
	ck_assert_uint_eq(raft_committed(r), 2);
	ck_assert_uint_eq(g.m[1].log[3].term, 3);
}
END_TEST

/* The same with a new entry of the same index and a longer old write: nothing of the old one is left on the
 * disk. */
START_TEST(bug3_a_shorter_log_is_what_the_disk_has_in_the_end)
{
	alone(3, 1, 0);
	rig_append(&g, 2, 1, 2, 1, 1, 0, 2, 9);
	ck_assert(rig_write_begin(&g, 1));
	rig_append(&g, 3, 1, 3, 1, 1, 0, 3, 1);
	rig_write_end(&g, 1);
	ck_assert_uint_eq(g.m[1].last, 10);
	rig_write(&g, 1);
	ck_assert_uint_eq(g.m[1].last, 2);
	ck_assert_uint_eq(g.m[1].log[2].term, 3);
}
END_TEST

/* Its candidacy is being written when a later term comes. */
START_TEST(bug3_a_completion_of_an_earlier_term_makes_no_candidate)
{
	struct raft *r = alone(3, 1, 0);
	raft_campaign(r);
	rig_grant(&g, 2, 1, 2, true);
	ck_assert(rig_write_begin(&g, 1));
	rig_say(&g, heartbeat(3, 7, 0, 1));
	rig_write_end(&g, 1);
	rig_grant(&g, 2, 1, 2, false);
	rig_grant(&g, 3, 1, 2, false);
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE, 1, 2));
	ck_assert(!raft_is_leader(r));
	ck_assert_uint_eq(raft_term(r), 7);
	rig_write(&g, 1);
	ck_assert_uint_eq(g.m[1].term, 7);
	ck_assert_uint_eq(g.m[1].vote, RAFT_NOBODY);
}
END_TEST

START_TEST(bug3_a_waiting_vote_is_forgotten_with_its_term)
{
	alone(3, 1, 0);
	rig_say(&g, vote_request(2, 5, 1, 1, false));
	ck_assert(rig_write_begin(&g, 1));
	rig_say(&g, vote_request(3, 6, 1, 1, false));
	rig_write_end(&g, 1);
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2));
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	struct raft_message m = rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3);
	ck_assert(!m.reject);
	ck_assert_uint_eq(m.term, 6);
}
END_TEST

/* ---- 4: configurations ----------------------------------------------------------------------- */

static void append_config(
    uint64_t from, uint64_t term, uint64_t index, uint64_t log_term, const struct raft_config *c)
{
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	struct raft_entry e = {
	    index + 1, term, RAFT_ENTRY_CONFIG, raft_data_copy(bytes, raft_config_encode(c, bytes))};
	struct raft_message m = {.kind = RAFT_APPEND_ENTRIES,
	    .from = from,
	    .to = 1,
	    .term = term,
	    .index = index,
	    .log_term = log_term,
	    .entries = &e,
	    .entry_count = 1};
	ck_assert_int_eq(raft_step(g.m[1].raft, &m), 0);
	raft_data_release(e.data);
}

START_TEST(bug4_truncation_takes_a_configuration_back)
{
	struct raft_config four = rig_voters(4);
	alone(3, 1, 1);
	append_config(2, 2, 2, 1, &four);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 4); /* in force at once */
	ck_assert(rig_status(&g, 1).config_pending);
	rig_write(&g, 1);
	rig_append(&g, 3, 1, 3, 2, 1, 0, 3, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 3);
}
END_TEST

START_TEST(bug4_a_restart_knows_that_a_configuration_may_not_be_committed)
{
	struct raft_config four = rig_voters(4);
	alone(3, 1, 1);
	append_config(2, 2, 2, 1, &four);
	rig_write(&g, 1);
	rig_start(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 4);
	ck_assert(rig_status(&g, 1).config_pending);
	rig_append(&g, 3, 1, 3, 2, 1, 0, 3, 1);
	rig_write(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 3);
	rig_start(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 3);
}
END_TEST

/* Compaction below a change that is truncated later: the base is of the configuration as of its index. */
START_TEST(bug4_a_compacted_log_has_the_configuration_of_its_base)
{
	struct raft_config four = rig_voters(4);
	alone(3, 1, 1);
	append_config(2, 2, 2, 1, &four);
	rig_say(
	    &g, (struct raft_message){.kind = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 2, .commit = 2});
	rig_write(&g, 1);
	rig_apply(&g, 1);
	rig_compact(&g, 1, 2);
	ck_assert_uint_eq(rig_status(&g, 1).base, 2);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 4);
	rig_append(&g, 3, 1, 3, 2, 1, 0, 3, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 3);
}
END_TEST

START_TEST(bug4_a_snapshot_brings_the_configuration_of_its_index)
{
	struct raft_config four = rig_voters(4), five = rig_voters(5);
	struct raft *r = alone(3, 1, 1);
	append_config(2, 2, 2, 1, &four);
	rig_write(&g, 1);
	raft_snapshot_begin(r);
	ck_assert_int_eq(raft_snapshot_installed(r, 50, 2, &five), 0);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 5);
	ck_assert(!rig_status(&g, 1).config_pending);
	ck_assert(rig_write_begin(&g, 1));
	ck_assert(g.m[1].write.reset);
	ck_assert_uint_eq(g.m[1].write.base_index, 50);
	ck_assert_uint_eq(g.m[1].write.base_config.count, 5);
	rig_write_end(&g, 1);
	rig_start(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).config.count, 5);
}
END_TEST

/* The amendment of 2015 to D 4.1, and one at a time. */
START_TEST(bug4_a_change_waits_for_the_one_before_and_for_the_term)
{
	struct raft *r = alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	ck_assert_int_eq(raft_add_learner(r, 4), RAFT_EPENDING);
	rig_accept(&g, 2, 1, 2, 2);
	ck_assert_int_eq(raft_add_learner(r, 4), 0);
	ck_assert_int_eq(raft_add_learner(r, 5), RAFT_EPENDING);
	ck_assert_int_eq(raft_remove(r, 3), RAFT_EPENDING);
	rig_write(&g, 1);
	rig_accept(&g, 2, 1, 2, 3);
	ck_assert_int_eq(raft_remove(r, 3), 0);
}
END_TEST

/* The two do not stand in for each other: here the configuration is committed, the leader's first entry is
 * not. */
START_TEST(bug4_a_change_waits_for_the_term)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	rig_found(&g, 1, &c);
	g.m[1].applied = 1;
	struct raft *r = rig_start(&g, 1);
	rig_lead_alone(&g, 1, other_two, 2);
	ck_assert(!rig_status(&g, 1).config_pending);
	ck_assert_int_eq(raft_add_learner(r, 4), RAFT_EPENDING);
	ck_assert_int_eq(raft_remove(r, 3), RAFT_EPENDING);
	rig_accept(&g, 2, 1, 2, 2);
	ck_assert_int_eq(raft_remove(r, 3), 0);
}
END_TEST

/* ---- 5: two votes ---------------------------------------------------------------------------- */

START_TEST(bug5_one_vote_in_a_term_whatever_the_leader_wishes)
{
	alone(3, 1, 0);
	rig_say(&g, vote_request(2, 5, 1, 1, false));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	rig_drop_all(&g);
	rig_say(&g, vote_request(3, 5, 9, 4, true));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3).reject);
	rig_start(&g, 1);
	rig_say(&g, vote_request(3, 5, 9, 4, true));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3).reject);
	rig_say(&g, vote_request(2, 5, 1, 1, false)); /* the same again: its result may have been lost */
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(!rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2).reject);
}
END_TEST

/* D 3.6.1: a later last term, or as long a log: else the candidate lacks what is committed. */
START_TEST(bug5_a_vote_is_for_a_log_that_is_up_to_date)
{
	alone(3, 2, 3); /* 4 of term 2 */
	rig_say(&g, vote_request(2, 5, 3, 2, false));
	rig_say(&g, vote_request(2, 6, 9, 1, false));
	rig_say(&g, vote_request(2, 7, 9, 1, true));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	for (int i = 0; i < 3; i++)
		ck_assert(rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2).reject);
	rig_say(&g, (struct raft_message){
			.kind = RAFT_PRE_VOTE, .from = 2, .to = 1, .term = 8, .index = 3, .log_term = 2});
	rig_collect(&g, 1);
	ck_assert(rig_take(&g, RAFT_PRE_VOTE_RESULT, 1, 2).reject);
	rig_say(&g, vote_request(2, 8, 4, 2, false));
	rig_write(&g, 1);
	rig_say(&g, vote_request(3, 9, 2, 3, false));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(!rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2).reject);
	ck_assert(!rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3).reject);
}
END_TEST

/* Who is told to take over has voted for itself, in a term of its own. */
START_TEST(bug5_a_transfers_target_votes_once)
{
	struct raft *r = alone(3, 1, 0);
	rig_say(&g, heartbeat(2, 4, 0, 1));
	rig_write(&g, 1);
	rig_say(&g, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = 4});
	ck_assert_uint_eq(raft_term(r), 5);
	rig_say(&g, vote_request(3, 5, 1, 1, true));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3).reject);
	ck_assert(rig_take(&g, RAFT_REQUEST_VOTE, 1, 3).force);
	ck_assert_uint_eq(g.m[1].vote, 1);
	/* The wish again, late and doubled: the term is over. */
	rig_say(&g, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = 4});
	ck_assert_uint_eq(raft_term(r), 5);
}
END_TEST

START_TEST(bug5_a_leader_hands_over_to_who_has_all)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 3, true);
	rig_propose(&g, 1, "a");
	rig_settle(&g);
	ck_assert_int_eq(raft_transfer(g.m[1].raft, 3), 0);
	uint64_t index;
	struct raft_data *d = rig_text("b");
	ck_assert_int_eq(raft_propose(g.m[1].raft, d, false, &index), RAFT_ENOTLEADER);
	raft_data_release(d);
	rig_collect(&g, 1);
	ck_assert(!rig_has(&g, RAFT_TIMEOUT_NOW, 1, 3)); /* it lags */
	rig_settle(&g);
	ck_assert(raft_is_leader(g.m[1].raft));
	rig_isolate(&g, 3, false);
	rig_tick(&g, 1, 2);
	rig_settle(&g);
	rig_tick(&g, 1, 2);
	rig_settle(&g);
	ck_assert(raft_is_leader(g.m[3].raft));
	ck_assert_uint_eq(raft_leader(g.m[2].raft), 3);
}
END_TEST

START_TEST(bug5_a_transfer_to_the_dead_ends)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 3, true);
	ck_assert_int_eq(raft_transfer(g.m[1].raft, 3), 0);
	ck_assert_int_eq(raft_transfer(g.m[1].raft, 2), RAFT_EPENDING);
	for (uint32_t i = 0; i < RIG_ELECTION_TICKS; i++) {
		rig_tick(&g, 1, 1);
		rig_settle(&g);
	}
	ck_assert_uint_eq(rig_status(&g, 1).transfer_to, RAFT_NOBODY);
	rig_propose(&g, 1, "goes on");
	rig_settle(&g);
	heartbeat_round(1);
	ck_assert_uint_eq(g.m[2].applied, 3);
}
END_TEST

/* ---- 6: pre-vote ----------------------------------------------------------------------------- */

/* Its log is the longest but its term is low; the voter's log is short but its term is high: who may be
 * elected learns the term from a refusal, or neither of two can be elected ever. */
START_TEST(bug6_a_refused_pre_vote_tells_the_higher_term)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	rig_found(&g, 1, &c);
	rig_log(&g, 1, 2, "long");
	rig_found(&g, 2, &c);
	g.m[2].term = 9;
	rig_start(&g, 1);
	rig_start(&g, 2);
	raft_campaign(g.m[1].raft);
	rig_settle(&g);
	ck_assert_uint_eq(raft_term(g.m[1].raft), 9);
	rig_elect(&g, 1);
	ck_assert_uint_eq(raft_term(g.m[1].raft), 10);
}
END_TEST

START_TEST(bug6_who_is_cut_off_keeps_its_term_and_disturbs_nobody)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	uint64_t term = raft_term(g.m[1].raft);
	rig_isolate(&g, 3, true);
	for (int i = 0; i < 200; i++) {
		rig_tick(&g, 1, 1);
		rig_tick(&g, 2, 1);
		rig_tick(&g, 3, 1);
		rig_settle(&g);
	}
	ck_assert_uint_eq(raft_term(g.m[3].raft), term);
	rig_isolate(&g, 3, false);
	raft_campaign(g.m[3].raft);
	rig_settle(&g);
	ck_assert(raft_is_leader(g.m[1].raft));
	ck_assert_uint_eq(raft_term(g.m[2].raft), term);
	rig_tick(&g, 1, 2);
	rig_settle(&g);
	ck_assert_uint_eq(raft_leader(g.m[3].raft), 1);
}
END_TEST

/* It does have a higher term (a candidacy whose RequestVotes were lost): the leader must not be ignored for
 * ever. */
START_TEST(bug6_a_member_with_a_higher_term_comes_back)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	raft_free(g.m[3].raft);
	g.m[3].raft = NULL;
	g.m[3].term = 20;
	g.m[3].vote = 3;
	rig_start(&g, 3);
	for (int i = 0; i < 100; i++) {
		rig_tick(&g, 1, 1);
		rig_tick(&g, 2, 1);
		rig_tick(&g, 3, 1);
		rig_settle(&g);
	}
	uint64_t leader = raft_leader(g.m[3].raft);
	ck_assert_uint_ne(leader, RAFT_NOBODY);
	ck_assert_uint_eq(raft_leader(g.m[1].raft), leader);
	ck_assert_uint_eq(raft_leader(g.m[2].raft), leader);
	ck_assert_uint_gt(raft_term(g.m[1].raft), 20);
	rig_propose(&g, leader, "all have it");
	rig_settle(&g);
	heartbeat_round(leader);
	ck_assert_uint_eq(g.m[3].applied, g.m[1].applied);
	ck_assert_uint_eq(g.m[3].applied, rig_status(&g, leader).last);
}
END_TEST

START_TEST(bug6_who_does_not_know_that_it_has_a_vote_votes)
{
	rig_make(&g);
	rig_start(&g, 1); /* a new member, of no group it knows of */
	rig_say(&g, (struct raft_message){
			.kind = RAFT_PRE_VOTE, .from = 2, .to = 1, .term = 4, .index = 9, .log_term = 3});
	rig_say(&g, vote_request(2, 4, 9, 3, false));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert(!rig_take(&g, RAFT_PRE_VOTE_RESULT, 1, 2).reject);
	ck_assert(!rig_take(&g, RAFT_REQUEST_VOTE_RESULT, 1, 2).reject);
	rig_tick(&g, 1, 200);
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0); /* but it does not campaign */
	ck_assert_uint_eq(raft_term(g.m[1].raft), 4);
}
END_TEST

/* Who hears the leader, and the leader, do not even look at the term: a removed member may have any. */
START_TEST(bug6_candidates_are_ignored_while_a_leader_is_heard)
{
	struct raft *r = alone(3, 1, 0);
	rig_say(&g, heartbeat(2, 3, 0, 1));
	rig_say(&g, vote_request(3, 50, 99, 49, false));
	rig_say(&g, (struct raft_message){
			.kind = RAFT_PRE_VOTE, .from = 7, .to = 1, .term = 50, .index = 99, .log_term = 49});
	rig_write(&g, 1);
	rig_collect(&g, 1);
	ck_assert_uint_eq(raft_term(r), 3);
	ck_assert(!rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3));
	ck_assert(!rig_has(&g, RAFT_PRE_VOTE_RESULT, 1, 7));
	rig_tick(&g, 1, RIG_ELECTION_TICKS);
	rig_say(&g, vote_request(3, 50, 99, 49, false));
	ck_assert_uint_eq(raft_term(r), 50);
}
END_TEST

/* D 4.2.2; found by raftsim, seed 58: of four, one lost, the leader that had appended its own removal
 * crashed. Its log is the longest, so it votes for nobody; it must ask for votes itself. */
START_TEST(bug6_who_is_removed_by_an_uncommitted_entry_may_be_elected)
{
	struct raft_config four = rig_voters(4), without = {0};
	raft_config_add(&without, 2, true);
	raft_config_add(&without, 3, true);
	raft_config_add(&without, 4, true);
	rig_make(&g);
	for (uint64_t id = 1; id <= 3; id++) {
		rig_found(&g, id, &four);
		rig_log(&g, id, 2, "a");
	}
	rig_log_config(&g, 1, 2, &without);
	for (uint64_t id = 1; id <= 3; id++)
		rig_start(&g, id);
	raft_campaign(g.m[1].raft);
	rig_settle(&g);
	ck_assert_uint_ge(rig_status(&g, 1).commit, 3); /* by 2 and 3 */
	ck_assert(!raft_is_leader(g.m[1].raft));
	ck_assert_uint_eq(rig_status(&g, 2).config.count, 3);
	rig_tick(&g, 2, RIG_ELECTION_TICKS);
	rig_tick(&g, 3, RIG_ELECTION_TICKS);
	rig_elect(&g, 2);
}
END_TEST

/* ---- 7: a slow disk of the leader ------------------------------------------------------------ */

START_TEST(bug7_a_majority_commits_without_the_leaders_disk)
{
	struct raft *r = alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_accept(&g, 2, 1, 2, 2);
	uint64_t index = rig_propose(&g, 1, "a");
	rig_accept(&g, 2, 1, 2, index);
	ck_assert_uint_eq(rig_status(&g, 1).commit, index - 1); /* its own disk is not one of two */
	rig_accept(&g, 3, 1, 2, index);
	ck_assert_uint_eq(rig_status(&g, 1).commit, index);
	rig_collect(&g, 1);
	rig_drop_all(&g);
	ck_assert_uint_eq(raft_committed(r), index - 1); /* but its state must not be ahead of its log */
	rig_tick(&g, 1, 2);
	rig_collect(&g, 1);
	ck_assert_uint_eq(rig_take(&g, RAFT_HEARTBEAT, 1, 2).commit, index); /* the others go on */
	ck_assert(rig_write_begin(&g, 1));
	ck_assert_uint_eq(raft_committed(r), index - 1);
	rig_write_end(&g, 1);
	ck_assert_uint_eq(raft_committed(r), index);
}
END_TEST

START_TEST(bug7_a_follower_applies_what_is_durable_here)
{
	struct raft *r = alone(3, 1, 0);
	rig_append(&g, 2, 1, 1, 1, 1, 4, 1, 3);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 4);
	ck_assert_uint_eq(raft_committed(r), 1);
	rig_write(&g, 1);
	ck_assert_uint_eq(raft_committed(r), 4);
}
END_TEST

/* ---- 8: probing ------------------------------------------------------------------------------ */

/* 1 leads with terms 1 and 6; 2 has 150 entries of terms 2 to 5 in their place. */
START_TEST(bug8_probing_takes_a_round_trip_for_each_term)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	for (uint64_t id = 1; id <= 3; id++) {
		rig_found(&g, id, &c);
		for (int i = 0; i < 100; i++)
			rig_log(&g, id, 1, "common");
	}
	for (uint64_t i = 0; i < 200; i++) {
		rig_log(&g, 1, 6, "leader's");
		rig_log(&g, 3, 6, "leader's");
	}
	for (uint64_t term = 2; term <= 5; term++)
		for (int i = 0; i < 37; i++)
			rig_log(&g, 2, term, "lost");
	for (uint64_t id = 1; id <= 3; id++)
		rig_start(&g, id);
	rig_elect(&g, 1);
	struct raft_counters counters;
	raft_counters(g.m[2].raft, &counters);
	ck_assert_uint_le(counters.appends_refused, 6); /* as many as there are terms, at the most */
	ck_assert_uint_ge(counters.truncated, 148);
	ck_assert_uint_eq(g.m[2].applied, rig_status(&g, 1).last);
}
END_TEST

/* The other way round: the leader has many terms where the follower has one. */
START_TEST(bug8_probing_skips_the_leaders_terms_too)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	for (uint64_t id = 1; id <= 3; id++)
		rig_found(&g, id, &c);
	for (int i = 0; i < 300; i++)
		rig_log(&g, 2, 2, "lost");
	for (uint64_t term = 3; term <= 30; term++) {
		for (int i = 0; i < 5; i++) {
			rig_log(&g, 1, term, "leader's");
			rig_log(&g, 3, term, "leader's");
		}
	}
	for (uint64_t id = 1; id <= 3; id++)
		rig_start(&g, id);
	rig_elect(&g, 1);
	struct raft_counters counters;
	raft_counters(g.m[2].raft, &counters);
	ck_assert_uint_le(counters.appends_refused, 3);
	ck_assert_uint_eq(g.m[2].applied, rig_status(&g, 1).last);
}
END_TEST

/* ---- 9: snapshots ---------------------------------------------------------------------------- */

/* 1 leads and has no log before 40; 3 has nothing. */
static void far_behind(void)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	for (uint64_t id = 1; id <= 3; id++) {
		rig_found(&g, id, &c);
		rig_start(&g, id);
	}
	rig_isolate(&g, 3, true);
	rig_elect(&g, 1);
	while (rig_status(&g, 1).last < 45)
		rig_propose(&g, 1, "x");
	rig_settle(&g);
	rig_compact(&g, 1, 40);
	rig_isolate(&g, 3, false);
}

static void let_offer(void)
{
	for (uint32_t i = 0; i < 2 * RIG_ELECTION_TICKS + 2; i++) {
		rig_tick(&g, 1, 1);
		rig_settle(&g);
	}
}

START_TEST(bug9_a_snapshot_is_offered_again_and_again)
{
	uint64_t from, index;
	far_behind();
	let_offer();
	ck_assert(raft_snapshot_wanted(g.m[3].raft, &from, &index));
	ck_assert_uint_eq(from, 1);
	ck_assert_uint_eq(index, 40);
	raft_snapshot_failed(g.m[3].raft); /* busy */
	ck_assert(!raft_snapshot_wanted(g.m[3].raft, &from, &index));
	rig_settle(&g);
	let_offer();
	ck_assert(raft_snapshot_wanted(g.m[3].raft, &from, &index));
	/* An offer that is lost, or a follower that forgot it in a crash, is the same. */
	rig_start(&g, 3);
	ck_assert(!raft_snapshot_wanted(g.m[3].raft, &from, &index));
	let_offer();
	ck_assert(raft_snapshot_wanted(g.m[3].raft, &from, &index));
}
END_TEST

static void install(uint64_t index)
{
	struct raft_config c = rig_voters(3);
	g.m[3].applied = index;
	g.m[3].state_void = false;
	ck_assert_int_eq(
	    raft_snapshot_installed(g.m[3].raft, index, raft_term_at(g.m[1].raft, index), &c), 0);
}

START_TEST(bug9_an_installed_snapshot_is_told_when_the_log_begins_behind_it)
{
	far_behind();
	let_offer();
	raft_snapshot_begin(g.m[3].raft);
	install(43);
	rig_collect(&g, 3);
	ck_assert(!rig_has(&g, RAFT_INSTALL_SNAPSHOT_RESULT, 3, 1));
	ck_assert(rig_write_begin(&g, 3));
	rig_collect(&g, 3);
	ck_assert(!rig_has(&g, RAFT_INSTALL_SNAPSHOT_RESULT, 3, 1));
	rig_write_end(&g, 3);
	rig_collect(&g, 3);
	ck_assert(rig_has(&g, RAFT_INSTALL_SNAPSHOT_RESULT, 3, 1));
	rig_settle(&g);
	let_offer();
	ck_assert_uint_eq(g.m[3].applied, 45);
	uint64_t from, index;
	ck_assert(!raft_snapshot_wanted(g.m[3].raft, &from, &index));
}
END_TEST

/* The offer of before, doubled and late. */
START_TEST(bug9_an_old_offer_is_not_wanted)
{
	uint64_t from, index;
	far_behind();
	let_offer();
	raft_snapshot_begin(g.m[3].raft);
	install(45);
	rig_settle(&g);
	struct raft_message offer = {.kind = RAFT_INSTALL_SNAPSHOT,
	    .from = 1,
	    .to = 3,
	    .term = raft_term(g.m[1].raft),
	    .index = 40,
	    .log_term = raft_term(g.m[1].raft)};
	ck_assert_int_eq(rig_say(&g, offer), 0);
	ck_assert(!raft_snapshot_wanted(g.m[3].raft, &from, &index));
	ck_assert_uint_eq(rig_status(&g, 3).last, 45);
	rig_settle(&g);
	ck_assert_uint_eq(rig_status(&g, 1).progress[1].match, 45);
}
END_TEST

/* Entries come while a state is being installed: they are appended, and those behind the snapshot stay. */
START_TEST(bug9_entries_that_race_an_install_stay)
{
	struct raft_config c = rig_voters(3);
	struct raft *r = alone(3, 1, 3);
	raft_snapshot_begin(r);
	rig_append(&g, 2, 1, 2, 4, 1, 6, 2, 4); /* 5..8 */
	rig_write(&g, 1);
	ck_assert_uint_eq(result_of_append().index, 8);
	ck_assert_uint_eq(raft_committed(r), 0); /* nothing to apply to */
	g.m[1].applied = 6;
	ck_assert_int_eq(raft_snapshot_installed(r, 6, 2, &c), 0);
	rig_write(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).last, 8); /* acknowledged: must not be lost */
	ck_assert_uint_eq(g.m[1].last, 8);
	ck_assert_uint_eq(raft_committed(r), 6);
	rig_append(&g, 2, 1, 2, 8, 2, 9, 2, 1);
	rig_write(&g, 1);
	rig_apply(&g, 1);
	ck_assert_uint_eq(g.m[1].applied, 9);
}
END_TEST

/* While entries 5..8 are still being written: all are on the disk in the end, and told only then. */
START_TEST(bug9_an_install_races_a_write)
{
	struct raft_config c = rig_voters(3);
	struct raft *r = alone(3, 1, 3);
	raft_snapshot_begin(r);
	rig_append(&g, 2, 1, 2, 4, 1, 6, 2, 4);
	ck_assert(rig_write_begin(&g, 1));
	g.m[1].applied = 6;
	ck_assert_int_eq(raft_snapshot_installed(r, 6, 2, &c), 0);
	rig_write_end(&g, 1);
	rig_write(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).durable, 8);
	ck_assert_uint_eq(g.m[1].last, 8);
	ck_assert_uint_eq(g.m[1].log[8].term, 2);
	ck_assert_uint_eq(result_of_append().index, 8);
}
END_TEST

/* A log that goes on differently behind the snapshot's index was never committed. */
START_TEST(bug9_a_log_that_contradicts_the_snapshot_goes)
{
	struct raft_config c = rig_voters(3);
	struct raft *r = alone(3, 1, 5);
	raft_snapshot_begin(r);
	ck_assert_int_eq(raft_snapshot_installed(r, 4, 3, &c), 0);
	rig_write(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).last, 4);
	ck_assert_uint_eq(raft_term_at(r, 4), 3);
	ck_assert_uint_eq(g.m[1].base_index, 4);
	ck_assert_uint_eq(g.m[1].last, 4);
	/* Found by raftsim: a log must not have a term to come. */
	ck_assert_uint_ge(raft_term(r), 3);
	ck_assert_uint_ge(g.m[1].term, 3);
}
END_TEST

START_TEST(bug9_a_snapshot_below_what_is_applied_is_refused)
{
	struct raft_config c = rig_voters(3);
	struct raft *r = alone(3, 1, 5);
	rig_append(&g, 2, 1, 1, 6, 1, 6, 1, 0);
	rig_write(&g, 1);
	rig_apply(&g, 1);
	ck_assert_int_eq(raft_snapshot_installed(r, 3, 1, &c), RAFT_EINVAL);
	rig_compact(&g, 1, 5);
	raft_snapshot_begin(r);
	ck_assert_int_eq(raft_snapshot_installed(r, 4, 1, &c), RAFT_EINVAL); /* the log would not follow it */
	ck_assert_int_eq(raft_snapshot_installed(r, 5, 1, &c), 0);
	ck_assert_uint_eq(rig_status(&g, 1).last, 6);
}
END_TEST

START_TEST(bug9_who_lost_its_state_neither_applies_nor_leads)
{
	struct raft_config c = rig_voters(3);
	rig_make(&g);
	rig_found(&g, 1, &c);
	for (int i = 0; i < 5; i++)
		rig_log(&g, 1, 1, "x");
	g.m[1].state_void = true;
	struct raft *r = rig_start(&g, 1);
	rig_tick(&g, 1, 100);
	raft_campaign(r);
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0);
	rig_say(&g, heartbeat(2, 2, 6, 1));
	rig_append(&g, 2, 1, 2, 6, 1, 6, 2, 1);
	rig_write(&g, 1);
	ck_assert_uint_eq(raft_committed(r), 0);
	uint64_t from, index;
	ck_assert(raft_snapshot_wanted(r, &from, &index)); /* though the leader's log has all */
	ck_assert_uint_eq(from, 2);
	ck_assert_int_eq(raft_snapshot_installed(r, 6, 1, &c), 0);
	ck_assert(!raft_snapshot_wanted(r, &from, &index));
	ck_assert_uint_eq(rig_status(&g, 1).last, 7);
}
END_TEST

/* Its log is the longest, so it votes for nobody, and without a state it does not lead: no leader will ever
 * offer it one. Any member's that its log goes on from mends it. Found by raftsim, seed 32158. */
START_TEST(bug9_who_lost_its_state_may_take_any_members)
{
	struct raft_config two = rig_voters(2);
	rig_make(&g);
	for (uint64_t id = 1; id <= 2; id++) {
		rig_found(&g, id, &two);
		rig_log(&g, id, 1, "committed");
	}
	rig_log(&g, 1, 1, "only here");
	g.m[1].state_void = true;
	rig_start(&g, 1);
	rig_start(&g, 2);
	raft_campaign(g.m[1].raft);
	raft_campaign(g.m[2].raft);
	rig_settle(&g);
	ck_assert(!raft_is_leader(g.m[1].raft) && !raft_is_leader(g.m[2].raft));
	g.m[1].state_void = false;
	g.m[1].applied = 2;
	ck_assert_int_eq(raft_snapshot_installed(g.m[1].raft, 2, 1, &two), 0);
	ck_assert_uint_eq(rig_status(&g, 1).last, 3);
	rig_elect(&g, 1);
	heartbeat_round(1);
	ck_assert_uint_eq(g.m[2].applied, 4);
}
END_TEST

/* Else it would ask that one for a state for ever. */
START_TEST(bug9_who_lost_its_state_forgets_a_leader_that_is_gone)
{
	uint64_t from, index;
	rig_group(&g, 3);
	rig_elect(&g, 1);
	g.m[2].state_void = true;
	raft_snapshot_begin(g.m[2].raft);
	ck_assert(raft_snapshot_wanted(g.m[2].raft, &from, &index) && from == 1);
	rig_tick(&g, 2, RIG_ELECTION_TICKS - 1);
	ck_assert_uint_eq(raft_leader(g.m[2].raft), 1);
	rig_tick(&g, 2, 2 * RIG_ELECTION_TICKS);
	ck_assert_uint_eq(raft_leader(g.m[2].raft), RAFT_NOBODY);
	ck_assert(!raft_snapshot_wanted(g.m[2].raft, &from, &index));
	ck_assert_uint_eq(rig_status(&g, 2).term, rig_status(&g, 1).term);
	heartbeat_round(1);
	ck_assert(raft_snapshot_wanted(g.m[2].raft, &from, &index) && from == 1);
}
END_TEST

static void expect_promotable(bool promotable)
{
	uint64_t last = rig_status(&g, 1).last;
	ck_assert_int_eq(raft_promote(g.m[1].raft, 4), promotable ? 0 : RAFT_EINVAL);
	ck_assert_uint_eq(rig_status(&g, 1).last, last + promotable);
}

/* A new voter that has the log but no state could be in the way of every election. */
START_TEST(bug9_a_learner_without_a_state_is_not_promoted)
{
	struct raft_config three = rig_voters(3);
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_start(&g, 4);
	ck_assert_int_eq(raft_add_learner(g.m[1].raft, 4), 0);
	rig_isolate(&g, 4, true);
	heartbeat_round(1);
	expect_promotable(false); /* not heard */
	rig_isolate(&g, 4, false);
	for (int i = 0; i < 6; i++)
		heartbeat_round(1);
	ck_assert_uint_eq(g.m[4].applied, rig_status(&g, 1).last);
	g.m[4].state_void = true;
	raft_snapshot_begin(g.m[4].raft);
	heartbeat_round(1);
	expect_promotable(false); /* a whole log, but no state */
	rig_isolate(&g, 4, true);
	g.m[4].state_void = false;
	ck_assert_int_eq(raft_snapshot_installed(g.m[4].raft, g.m[4].applied, 2, &three), 0);
	heartbeat_round(1);
	expect_promotable(false); /* not known yet */
	rig_isolate(&g, 4, false);
	heartbeat_round(1);
	rig_isolate(&g, 4, true);
	for (int i = 0; i < RIG_ELECTION_TICKS; i++)
		heartbeat_round(1);
	expect_promotable(false); /* it had all, and is gone */
	rig_isolate(&g, 4, false);
	for (int i = 0; i < 6; i++)
		heartbeat_round(1);
	expect_promotable(true);
}
END_TEST

/* ---- 10: two leaders ------------------------------------------------------------------------- */

START_TEST(bug10_a_removed_leader_leads_until_that_is_committed)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 1, true);
	ck_assert_int_eq(raft_remove(g.m[1].raft, 1), 0);
	rig_settle(&g);
	ck_assert(raft_is_leader(g.m[1].raft));
	uint64_t term = raft_term(g.m[1].raft);
	/* It is not one of the two that are to commit it. */
	ck_assert_int_eq(rig_accept(&g, 2, 1, term, 3), 0);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 2);
	ck_assert_int_eq(rig_accept(&g, 3, 1, term, 3), 0);
	ck_assert(!raft_is_leader(g.m[1].raft));
	rig_tick(&g, 1, 300);
	raft_campaign(g.m[1].raft);
	rig_settle(&g);
	ck_assert_uint_eq(raft_term(g.m[1].raft), term);
}
END_TEST

START_TEST(bug10_a_leader_that_hears_no_majority_steps_down)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 1, true);
	for (uint32_t i = 0; i < 2 * RIG_ELECTION_TICKS; i++) {
		rig_tick(&g, 1, 1);
		rig_settle(&g);
	}
	ck_assert(!raft_is_leader(g.m[1].raft));
}
END_TEST

START_TEST(bug10_who_is_cut_off_answers_no_read)
{
	struct raft_read read;
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 1, true);
	ck_assert_int_eq(raft_read_index(g.m[1].raft, 77), 0);
	rig_settle(&g);
	ck_assert(!raft_pop_read(g.m[1].raft, &read));
	rig_tick(&g, 1, 2 * RIG_ELECTION_TICKS);
	rig_settle(&g);
	ck_assert(raft_pop_read(g.m[1].raft, &read));
	ck_assert_uint_eq(read.context, 77);
	ck_assert(!read.ok);
}
END_TEST

/* An answer to a round that began before the question confirms nothing. */
START_TEST(bug10_a_read_waits_for_a_round_of_its_own)
{
	struct raft_read read;
	alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_accept(&g, 2, 1, 2, 2);
	rig_tick(&g, 1, 2);
	rig_collect(&g, 1);
	struct raft_message before = {0};
	while (rig_has(&g, RAFT_HEARTBEAT, 1, 2))
		before = rig_take(&g, RAFT_HEARTBEAT, 1, 2);
	rig_drop_all(&g);
	ck_assert_int_eq(raft_read_index(g.m[1].raft, 5), 0);
	rig_collect(&g, 1);
	struct raft_message after = rig_take(&g, RAFT_HEARTBEAT, 1, 2); /* leaves at once */
	ck_assert_uint_gt(after.round, before.round);
	struct raft_message answer = {
	    .kind = RAFT_HEARTBEAT_RESULT, .from = 2, .to = 1, .term = 2, .round = before.round};
	rig_say(&g, answer);
	ck_assert(!raft_pop_read(g.m[1].raft, &read));
	answer.from = 9; /* no member */
	answer.round = after.round;
	rig_say(&g, answer);
	ck_assert(!raft_pop_read(g.m[1].raft, &read));
	answer.from = 2;
	answer.term = 1; /* of another leadership */
	rig_say(&g, answer);
	ck_assert(!raft_pop_read(g.m[1].raft, &read));
	answer.term = 2;
	rig_say(&g, answer);
	ck_assert(raft_pop_read(g.m[1].raft, &read));
	ck_assert(read.ok);
	ck_assert_uint_eq(read.index, 2);
}
END_TEST

/* A new leader does not know what is committed. */
START_TEST(bug10_a_read_waits_for_an_entry_of_the_term)
{
	struct raft_read read;
	alone(3, 1, 2);
	rig_lead_alone(&g, 1, other_two, 2);
	ck_assert_int_eq(raft_read_index(g.m[1].raft, 5), 0);
	rig_collect(&g, 1);
	struct raft_message answer = {.kind = RAFT_HEARTBEAT_RESULT, .from = 2, .to = 1, .term = 2};
	answer.round = 1;
	rig_say(&g, answer);
	ck_assert(!raft_pop_read(g.m[1].raft, &read));
	rig_accept(&g, 2, 1, 2, 4);
	rig_collect(&g, 1);
	answer.round = 2;
	rig_say(&g, answer);
	ck_assert(raft_pop_read(g.m[1].raft, &read));
	ck_assert(read.ok);
	ck_assert_uint_eq(read.index, 4);
}
END_TEST

/* ---- 11: the disk ---------------------------------------------------------------------------- */

START_TEST(bug11_a_write_that_was_not_done_is_offered_again)
{
	struct raft *r = alone(3, 1, 0);
	rig_append(&g, 2, 1, 1, 1, 1, 3, 1, 2);
	rig_say(&g, vote_request(3, 4, 9, 3, true));
	ck_assert(rig_write_begin(&g, 1));
	raft_write_undone(r);
	g.m[1].writing = false;
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0);
	ck_assert_uint_eq(raft_committed(r), 1);
	ck_assert(rig_write_begin(&g, 1));
	ck_assert_uint_eq(g.m[1].write.entry_count, 2);
	ck_assert_uint_eq(g.m[1].write.term, 4);
	ck_assert_uint_eq(g.m[1].write.vote, 3);
	rig_write_end(&g, 1);
	rig_collect(&g, 1);
	ck_assert(rig_has(&g, RAFT_REQUEST_VOTE_RESULT, 1, 3));
	ck_assert_uint_eq(raft_committed(r), 3);
}
END_TEST

START_TEST(bug11_a_storage_that_fails_ends_it)
{
	struct raft_entry out[4];
	size_t n;
	struct raft *r = alone(3, 1, 3);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_accept(&g, 2, 1, 2, 5);
	g.m[1].storage_broken = true;
	ck_assert_int_eq(raft_entries(r, 1, 4, 1000, out, 4, &n), RAFT_ESTORAGE);
	ck_assert_ptr_nonnull(raft_failed(r));
	ck_assert(!raft_is_leader(r));
	rig_drop_all(&g);
	rig_tick(&g, 1, 100);
	rig_collect(&g, 1);
	ck_assert_uint_eq(g.box_count, 0);
	ck_assert(!rig_write_begin(&g, 1));
	ck_assert_int_eq(rig_say(&g, heartbeat(2, 9, 0, 1)), RAFT_ESTORAGE);
}
END_TEST

/* ---- 12: old, doubled, foreign, impossible --------------------------------------------------- */

START_TEST(bug12_an_old_append_removes_nothing)
{
	alone(3, 1, 0);
	rig_append(&g, 2, 1, 2, 1, 1, 0, 2, 8);
	rig_write(&g, 1);
	ck_assert_uint_eq(result_of_append().index, 9);
	rig_append(&g, 2, 1, 2, 1, 1, 0, 2, 2); /* sent before, comes after */
	ck_assert(!rig_write_begin(&g, 1));
	ck_assert_uint_eq(rig_status(&g, 1).last, 9);
	ck_assert_uint_eq(result_of_append().index, 3);
}
END_TEST

START_TEST(bug12_an_old_leader_is_told)
{
	struct raft *r = alone(3, 1, 2);
	rig_say(&g, heartbeat(2, 8, 0, 1));
	rig_write(&g, 1);
	rig_collect(&g, 1);
	rig_drop_all(&g);
	rig_append(&g, 3, 1, 5, 1, 1, 3, 5, 2);
	rig_collect(&g, 1);
	ck_assert_uint_eq(rig_status(&g, 1).last, 3);
	ck_assert_uint_eq(raft_leader(r), 2);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 0);
	struct raft_message m = rig_take(&g, RAFT_APPEND_ENTRIES_RESULT, 1, 3);
	ck_assert(m.reject);
	ck_assert_uint_eq(m.term, 8);
}
END_TEST

START_TEST(bug12_doubled_and_old_results_change_nothing)
{
	struct raft *r = alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	uint64_t last = rig_propose(&g, 1, "a");
	rig_write(&g, 1);
	rig_accept(&g, 2, 1, 2, last);
	ck_assert_uint_eq(raft_committed(r), last);
	rig_accept(&g, 2, 1, 2, 1);
	rig_accept(&g, 2, 1, 2, last);
	struct raft_status s = rig_status(&g, 1);
	ck_assert_uint_eq(s.progress[0].match, last);
	ck_assert_uint_eq(s.commit, last);
	last = rig_propose(&g, 1, "b");
	rig_write(&g, 1);
	rig_accept(&g, 2, 1, 1, last); /* of an earlier term */
	ck_assert_uint_eq(rig_status(&g, 1).commit, last - 1);
	rig_grant(&g, 3, 1, 2, false); /* votes after the election */
	rig_grant(&g, 3, 1, 1, false);
	ck_assert(raft_is_leader(r));
}
END_TEST

START_TEST(bug12_votes_of_earlier_terms_do_not_count)
{
	struct raft *r = alone(5, 1, 0);
	for (int i = 0; i < 2; i++) { /* two campaigns */
		raft_campaign(r);
		rig_grant(&g, 2, 1, raft_term(r) + 1, true);
		rig_grant(&g, 3, 1, raft_term(r) + 1, true);
		rig_write(&g, 1);
	}
	ck_assert_uint_eq(raft_term(r), 3);
	rig_grant(&g, 2, 1, 2, false);
	rig_grant(&g, 3, 1, 2, false);
	rig_grant(&g, 4, 1, 2, false);
	ck_assert(!raft_is_leader(r));
	rig_grant(&g, 2, 1, 3, false);
	rig_grant(&g, 2, 1, 3, false); /* doubled */
	ck_assert(!raft_is_leader(r));
	rig_grant(&g, 9, 1, 3, false); /* no member */
	ck_assert(!raft_is_leader(r));
	rig_grant(&g, 3, 1, 3, false);
	ck_assert(raft_is_leader(r));
}
END_TEST

START_TEST(bug12_who_is_no_member_counts_for_nothing)
{
	struct raft *r = alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	rig_drop_all(&g);
	ck_assert_int_eq(rig_accept(&g, 7, 1, 2, 2), 0);
	ck_assert_int_eq(rig_accept(&g, 8, 1, 2, 2), 0);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 0);
	rig_say(&g, vote_request(7, 90, 99, 89, false));
	rig_collect(&g, 1);
	ck_assert(raft_is_leader(r));
	ck_assert_uint_eq(raft_term(r), 2);
}
END_TEST

/* One that was removed while it was down goes on asking, and is not heard. */
START_TEST(bug12_a_removed_member_disturbs_nobody)
{
	rig_group(&g, 4);
	rig_elect(&g, 1);
	rig_isolate(&g, 4, true);
	ck_assert_int_eq(raft_remove(g.m[1].raft, 4), 0);
	rig_settle(&g);
	rig_isolate(&g, 4, false);
	uint64_t term = raft_term(g.m[1].raft);
	for (int i = 0; i < 100; i++) {
		for (uint64_t id = 1; id <= 4; id++)
			rig_tick(&g, id, 1);
		rig_settle(&g);
	}
	ck_assert(raft_is_leader(g.m[1].raft));
	ck_assert_uint_eq(raft_term(g.m[1].raft), term);
}
END_TEST

static const uint64_t too_much[] = {RAFT_TERM_MAX, RAFT_TERM_MAX + 1, UINT64_MAX - 1, UINT64_MAX};

START_TEST(bug12_numbers_at_their_limits_are_refused)
{
	struct raft *r = alone(3, 1, 2);
	struct raft_status before = rig_status(&g, 1);
	uint64_t x = too_much[_i];
	for (int kind = RAFT_PRE_VOTE; kind <= RAFT_TIMEOUT_NOW; kind++) {
		const struct raft_message fields[] = {{.term = x}, {.term = 5, .index = x, .log_term = 1},
		    {.term = 5, .index = 1, .log_term = x},
		    {.term = 5, .index = 1, .log_term = 1, .commit = x},
		    {.term = 5, .index = 1, .log_term = 1, .hint_index = x},
		    {.term = 5, .index = 1, .log_term = 1, .hint_term = x},
		    {.term = 5, .index = 1, .log_term = 1, .round = x}};
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			struct raft_message m = fields[i];
			m.kind = (enum raft_message_kind)kind;
			m.from = 2;
			m.to = 1;
			ck_assert_int_eq(raft_step(r, &m), RAFT_EINVAL);
		}
	}
	struct raft_status after = rig_status(&g, 1);
	ck_assert_uint_eq(after.term, before.term);
	ck_assert_uint_eq(after.last, before.last);
	ck_assert_uint_eq(after.commit, before.commit);
	ck_assert(!rig_write_begin(&g, 1));
	struct raft_counters c;
	raft_counters(r, &c);
	ck_assert_uint_eq(c.messages_invalid, 77);
}
END_TEST

START_TEST(bug12_the_highest_term_is_not_passed)
{
	struct raft *r = alone(3, 1, 0);
	ck_assert_int_eq(rig_say(&g, heartbeat(2, RAFT_TERM_MAX - 1, 0, 1)), 0);
	rig_write(&g, 1);
	ck_assert_uint_eq(raft_term(r), RAFT_TERM_MAX - 1);
	rig_collect(&g, 1);
	rig_drop_all(&g);
	rig_tick(&g, 1, 1000);
	raft_campaign(r);
	rig_say(&g,
	    (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = RAFT_TERM_MAX - 1});
	rig_write(&g, 1);
	rig_collect(&g, 1);
	for (size_t i = 0; i < g.box_count; i++)
		ck_assert_uint_lt(g.box[i].term, RAFT_TERM_MAX);
	ck_assert_uint_eq(raft_term(r), RAFT_TERM_MAX - 1);
}
END_TEST

static int step_entry(struct raft_entry e, uint64_t term, uint64_t index, uint64_t log_term)
{
	struct raft_message m = {.kind = RAFT_APPEND_ENTRIES,
	    .from = 2,
	    .to = 1,
	    .term = term,
	    .index = index,
	    .log_term = log_term,
	    .entries = &e,
	    .entry_count = 1};
	return raft_step(g.m[1].raft, &m);
}

START_TEST(bug12_impossible_entries_are_refused)
{
	alone(3, 1, 2);
	rig_say(&g, (struct raft_message){.kind = RAFT_APPEND_ENTRIES,
			.from = 2,
			.to = 1,
			.term = 2,
			.index = 3,
			.log_term = 1,
			.commit = 3});
	rig_write(&g, 1);
	ck_assert_int_eq(
	    step_entry((struct raft_entry){5, 2, RAFT_ENTRY_NOOP, NULL}, 2, 3, 1), RAFT_EINVAL); /* a gap */
	ck_assert_int_eq(
	    step_entry((struct raft_entry){4, 3, RAFT_ENTRY_NOOP, NULL}, 2, 3, 1), RAFT_EINVAL); /* to come */
	ck_assert_int_eq(
	    step_entry((struct raft_entry){4, 1, RAFT_ENTRY_NOOP, NULL}, 3, 3, 2), RAFT_EINVAL); /* falls */
	ck_assert_int_eq(
	    step_entry((struct raft_entry){4, 2, RAFT_ENTRY_CONFIG, NULL}, 2, 3, 1), RAFT_EINVAL);
	ck_assert_int_eq(
	    step_entry((struct raft_entry){4, 2, (enum raft_entry_kind)9, NULL}, 2, 3, 1), RAFT_EINVAL);
	ck_assert_int_eq(step_entry((struct raft_entry){2, 2, RAFT_ENTRY_NOOP, NULL}, 2, 1, 1),
	    RAFT_EINVAL); /* committed */
	ck_assert_uint_eq(rig_status(&g, 1).last, 3);
	ck_assert_int_eq(step_entry((struct raft_entry){4, 2, RAFT_ENTRY_NOOP, NULL}, 2, 3, 1), 0);
	struct raft_message m = heartbeat(2, 2, 0, 1);
	m.to = 2;
	ck_assert_int_eq(raft_step(g.m[1].raft, &m), RAFT_EINVAL); /* not for it */
	m.to = 1;
	m.from = 1;
	ck_assert_int_eq(raft_step(g.m[1].raft, &m), RAFT_EINVAL); /* from itself */
	m.from = RAFT_NOBODY;
	ck_assert_int_eq(raft_step(g.m[1].raft, &m), RAFT_EINVAL);
}
END_TEST

/* Two leaders of one term cannot be; whoever says so is not believed. */
START_TEST(bug12_a_leader_does_not_follow_another_of_its_term)
{
	struct raft *r = alone(3, 1, 0);
	rig_lead_alone(&g, 1, other_two, 2);
	ck_assert_int_eq(rig_say(&g, heartbeat(2, 2, 0, 1)), RAFT_EINVAL);
	ck_assert_int_eq(rig_append(&g, 3, 1, 2, 1, 1, 0, 2, 1), RAFT_EINVAL);
	ck_assert(raft_is_leader(r));
	ck_assert_uint_eq(rig_status(&g, 1).last, 2);
}
END_TEST

/* Found by raftsim: the last of a stream comes before the one in front of it, or is lost; its sender must not
 * wait for an election timeout to notice. */
START_TEST(bug12_what_was_overtaken_is_sent_again_soon)
{
	rig_group(&g, 3);
	rig_elect(&g, 1);
	rig_isolate(&g, 3, true);
	rig_propose(&g, 1, "a");
	rig_collect(&g, 1);
	struct raft_message first = rig_take(&g, RAFT_APPEND_ENTRIES, 1, 2);
	rig_propose(&g, 1, "b");
	rig_collect(&g, 1);
	struct raft_message second = rig_take(&g, RAFT_APPEND_ENTRIES, 1, 2);
	rig_drop_all(&g);
	rig_deliver(&g, &second);
	rig_deliver(&g, &first);
	rig_write(&g, 2);
	rig_collect(&g, 2);
	/* The acceptance overtakes the refusal. */
	struct raft_message refusal = rig_take(&g, RAFT_APPEND_ENTRIES_RESULT, 2, 1);
	struct raft_message acceptance = rig_take(&g, RAFT_APPEND_ENTRIES_RESULT, 2, 1);
	ck_assert(refusal.reject && !acceptance.reject);
	rig_deliver(&g, &acceptance);
	rig_deliver(&g, &refusal);
	for (int i = 0; i < 3; i++) { /* heartbeats */
		rig_settle(&g);
		rig_tick(&g, 1, 2);
	}
	rig_settle(&g);
	ck_assert_uint_eq(g.m[2].last, 4);
	ck_assert_uint_eq(rig_status(&g, 1).commit, 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raft/bugs");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, bug1_entries_of_earlier_terms_are_not_committed_by_counting);
	tcase_add_test(tc, bug1_a_leader_begins_with_an_entry_of_its_term);
	tcase_add_test(tc, bug2_a_result_names_what_the_message_verified);
	tcase_add_test(tc, bug2_a_follower_commits_what_was_verified_at_the_most);
	tcase_add_test(tc, bug2_a_leaders_heartbeat_commits_what_its_receiver_has);
	tcase_add_test(tc, bug2_an_acknowledgement_beyond_the_log_counts_for_nothing);
	tcase_add_test(tc, bug3_a_vote_leaves_after_its_write);
	tcase_add_test(tc, bug3_an_acknowledgement_leaves_after_its_write);
	tcase_add_test(tc, bug3_a_candidate_asks_after_its_write_and_counts_itself_then);
	tcase_add_test(tc, bug3_a_leaders_entries_do_not_wait);
	tcase_add_test(tc, bug3_a_late_completion_does_not_acknowledge_what_replaced_it);
	tcase_add_test(tc, bug3_a_shorter_log_is_what_the_disk_has_in_the_end);
	tcase_add_test(tc, bug3_a_completion_of_an_earlier_term_makes_no_candidate);
	tcase_add_test(tc, bug3_a_waiting_vote_is_forgotten_with_its_term);
	tcase_add_test(tc, bug4_truncation_takes_a_configuration_back);
	tcase_add_test(tc, bug4_a_restart_knows_that_a_configuration_may_not_be_committed);
	tcase_add_test(tc, bug4_a_compacted_log_has_the_configuration_of_its_base);
	tcase_add_test(tc, bug4_a_snapshot_brings_the_configuration_of_its_index);
	tcase_add_test(tc, bug4_a_change_waits_for_the_one_before_and_for_the_term);
	tcase_add_test(tc, bug4_a_change_waits_for_the_term);
	tcase_add_test(tc, bug5_one_vote_in_a_term_whatever_the_leader_wishes);
	tcase_add_test(tc, bug5_a_vote_is_for_a_log_that_is_up_to_date);
	tcase_add_test(tc, bug5_a_transfers_target_votes_once);
	tcase_add_test(tc, bug5_a_leader_hands_over_to_who_has_all);
	tcase_add_test(tc, bug5_a_transfer_to_the_dead_ends);
	tcase_add_test(tc, bug6_a_refused_pre_vote_tells_the_higher_term);
	tcase_add_test(tc, bug6_who_is_cut_off_keeps_its_term_and_disturbs_nobody);
	tcase_add_test(tc, bug6_a_member_with_a_higher_term_comes_back);
	tcase_add_test(tc, bug6_who_does_not_know_that_it_has_a_vote_votes);
	tcase_add_test(tc, bug6_candidates_are_ignored_while_a_leader_is_heard);
	tcase_add_test(tc, bug6_who_is_removed_by_an_uncommitted_entry_may_be_elected);
	tcase_add_test(tc, bug7_a_majority_commits_without_the_leaders_disk);
	tcase_add_test(tc, bug7_a_follower_applies_what_is_durable_here);
	tcase_add_test(tc, bug8_probing_takes_a_round_trip_for_each_term);
	tcase_add_test(tc, bug8_probing_skips_the_leaders_terms_too);
	tcase_add_test(tc, bug9_a_snapshot_is_offered_again_and_again);
	tcase_add_test(tc, bug9_an_installed_snapshot_is_told_when_the_log_begins_behind_it);
	tcase_add_test(tc, bug9_an_old_offer_is_not_wanted);
	tcase_add_test(tc, bug9_entries_that_race_an_install_stay);
	tcase_add_test(tc, bug9_an_install_races_a_write);
	tcase_add_test(tc, bug9_a_log_that_contradicts_the_snapshot_goes);
	tcase_add_test(tc, bug9_a_snapshot_below_what_is_applied_is_refused);
	tcase_add_test(tc, bug9_who_lost_its_state_neither_applies_nor_leads);
	tcase_add_test(tc, bug9_who_lost_its_state_may_take_any_members);
	tcase_add_test(tc, bug9_who_lost_its_state_forgets_a_leader_that_is_gone);
	tcase_add_test(tc, bug9_a_learner_without_a_state_is_not_promoted);
	tcase_add_test(tc, bug10_a_removed_leader_leads_until_that_is_committed);
	tcase_add_test(tc, bug10_a_leader_that_hears_no_majority_steps_down);
	tcase_add_test(tc, bug10_who_is_cut_off_answers_no_read);
	tcase_add_test(tc, bug10_a_read_waits_for_a_round_of_its_own);
	tcase_add_test(tc, bug10_a_read_waits_for_an_entry_of_the_term);
	tcase_add_test(tc, bug11_a_write_that_was_not_done_is_offered_again);
	tcase_add_test(tc, bug11_a_storage_that_fails_ends_it);
	tcase_add_test(tc, bug12_an_old_append_removes_nothing);
	tcase_add_test(tc, bug12_an_old_leader_is_told);
	tcase_add_test(tc, bug12_doubled_and_old_results_change_nothing);
	tcase_add_test(tc, bug12_votes_of_earlier_terms_do_not_count);
	tcase_add_test(tc, bug12_who_is_no_member_counts_for_nothing);
	tcase_add_test(tc, bug12_a_removed_member_disturbs_nobody);
	tcase_add_loop_test(
	    tc, bug12_numbers_at_their_limits_are_refused, 0, sizeof(too_much) / sizeof(too_much[0]));
	tcase_add_test(tc, bug12_the_highest_term_is_not_passed);
	tcase_add_test(tc, bug12_impossible_entries_are_refused);
	tcase_add_test(tc, bug12_a_leader_does_not_follow_another_of_its_term);
	tcase_add_test(tc, bug12_what_was_overtaken_is_sent_again_soon);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
