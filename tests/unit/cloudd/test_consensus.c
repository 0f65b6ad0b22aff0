/* One node, groups of one replica: the log, the state, full disks, what is refused at the start. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/jobs.h"
#include "common/clock.h"
#include "tests/unit/cloudd/consensus_kit.h"

#define RETRY_NS (CONSENSUS_RETRY_MS * NS_PER_MS)
#define FIRST 2 /* entries before the first proposal: the configuration and the leader's first */

static struct kit_node *const w = &kit.nodes[0];

static void setup(void)
{
	kit_make(1, 1);
	kit_run(0);
}

static uint64_t propose(uint32_t group)
{
	return kit_propose(0, group);
}

static void commit_state(void)
{
	kit_commit_state(0);
}

static void later(int64_t ns)
{
	kit.now_ns += ns;
}

START_TEST(a_group_of_one_is_founded_and_served_at_once)
{
	for (uint32_t g = 0; g < KIT_GROUPS; g++) {
		ck_assert(w->leads[g]);
		ck_assert_uint_eq(w->applied[g], FIRST);
		struct group_status s = kit_status(0, g);
		ck_assert(s.serving && s.quorum && s.role == REPLICA_LEADER && s.leader == 0);
		ck_assert_int_eq(consensus_leader(w->c, g), 0);
	}
}
END_TEST

START_TEST(all_groups_commit_together_and_only_when_written)
{
	size_t jobs = w->log_jobs;
	ck_assert_uint_eq(propose(1), FIRST + 1);
	ck_assert_uint_eq(propose(2), FIRST + 1);
	ck_assert_uint_eq(propose(1), FIRST + 2);
	ck_assert_uint_eq(propose(0), FIRST + 1);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->log_jobs, jobs + 1);
	ck_assert_uint_eq(w->log_job->append_count, 4);
	ck_assert_uint_eq(propose(2), FIRST + 2); /* while it is written */
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->log_jobs, jobs + 1);
	ck_assert_ptr_null(w->apply_job);
	ck_assert_uint_eq(w->committed[1], FIRST);
	kit_run_log(0);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->committed[0], FIRST + 1);
	ck_assert_uint_eq(w->committed[1], FIRST + 2);
	ck_assert_uint_eq(w->committed[2], FIRST + 1);
	ck_assert_uint_eq(w->log_job->append_count, 1);
	ck_assert_uint_eq(apply_job_count(w->apply_job), 4);
	kit_run_apply(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 2);
	ck_assert_uint_eq(w->applied[2], FIRST + 1); /* not the one that is still being written */
	kit_run(0);
	ck_assert_uint_eq(w->applied[2], FIRST + 2);
}
END_TEST

START_TEST(committed_is_announced_at_the_start)
{
	propose(1);
	kit_run(0);
	commit_state();
	kit_restart(0);
	ck_assert_uint_eq(w->committed_calls, 0); /* no callback from open */
	ck_assert_uint_eq(w->role_calls, 0);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->committed_calls, KIT_GROUPS);
	ck_assert_uint_eq(w->committed[1], FIRST + 1);
}
END_TEST

START_TEST(what_the_state_lost_is_replayed_in_order)
{
	for (int i = 0; i < 10; i++)
		propose(1);
	propose(2);
	kit_run(0);
	commit_state();
	for (int i = 0; i < 5; i++)
		propose(1);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 15);
	uint64_t term = w->led_term[1];
	kit_restart(0); /* without a state commit of the last five */
	ck_assert_uint_eq(w->applied[1], FIRST + 10);
	ck_assert(kit_status(0, 1).replaying);
	ck_assert(!kit_status(0, 2).replaying);
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_ENOTLEADER); /* not yet */
	kit_run(0);
	ck_assert(!kit_status(0, 1).replaying);
	ck_assert_uint_gt(w->led_term[1], term);
	ck_assert_uint_eq(w->applied[1], FIRST + 16); /* the new term's first entry */
	ck_assert_uint_eq(consensus_counters(w->c)->replayed, 5);
	ck_assert_uint_eq(propose(1), FIRST + 17);
}
END_TEST

START_TEST(what_was_not_written_is_lost_and_nothing_else)
{
	propose(1);
	kit_run(0);
	propose(1);
	consensus_flush(w->c, kit_time()); /* handed out, never run */
	kit_restart(0);
	ck_assert_uint_eq(kit_status(0, 1).last, FIRST + 1);
	kit_run(0);
	ck_assert_uint_eq(propose(1), FIRST + 3);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 3);
}
END_TEST

START_TEST(replay_goes_in_bounded_jobs)
{
	for (int i = 0; i < 3000; i++)
		propose(1);
	propose(2);
	kit_run(0);
	kit_restart(0);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 3001);
	ck_assert_uint_le(w->biggest_apply, APPLY_JOB_ENTRIES_MAX);
	ck_assert_uint_ge(w->apply_jobs, 3000 / APPLY_JOB_GROUP_ENTRIES_MAX);
}
END_TEST

START_TEST(the_log_is_truncated_below_what_the_state_holds_durably)
{
	for (int i = 0; i < 2 * CONSENSUS_TRUNCATE_MIN; i++)
		propose(1);
	kit_run(0);
	size_t all = 2 * CONSENSUS_TRUNCATE_MIN + FIRST;
	ck_assert_uint_eq(kit_log_entries(0, 1), all);
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 1), all); /* applied is not enough */
	commit_state();
	propose(1);
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 1), 1);
	kit_restart(0);
	ck_assert_uint_eq(kit_status(0, 1).last, all + 1);
	ck_assert_uint_eq(w->applied[1], all);
	kit_run(0);
	commit_state();
	kit_restart(0); /* nothing left to replay */
	ck_assert(!kit_status(0, 1).replaying);
	kit_run(0);
	ck_assert_uint_eq(propose(1), all + 4);
}
END_TEST

START_TEST(few_large_entries_are_truncated_too)
{
	uint64_t index;
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(kit_try_propose(0, 1, 200 * 1024, &index), 0);
	kit_run(0);
	commit_state();
	propose(1);
	kit_run(0);
	ck_assert_uint_eq(kit_log_entries(0, 1), 1);
}
END_TEST

START_TEST(proposals_over_the_quota_are_busy_until_applied)
{
	const size_t body = 200 * 1024;
	uint64_t index, n = 0;
	while (kit_try_propose(0, 1, body, &index) == 0)
		n++;
	ck_assert_uint_ge(n, CONSENSUS_GROUP_BYTES_MAX / 8 * 7 / (body + 20) - 1);
	ck_assert_uint_le(n, CONSENSUS_GROUP_BYTES_MAX / 8 * 7 / body);
	ck_assert_int_eq(kit_try_propose(0, 1, body, &index), WEIR_EBUSY);
	ck_assert_int_eq(kit_try_propose(0, 2, body, &index), 0); /* another group has its own */
	struct entry sweep = {.kind = ENTRY_SWEEP};
	ck_assert_int_eq(consensus_propose_own(w->c, 1, &sweep, &index), 0);
	ck_assert_uint_eq(index, FIRST + n + 1);
	kit_run(0);
	ck_assert_int_eq(kit_try_propose(0, 1, body, &index), 0);
	ck_assert_int_eq(kit_try_propose(0, 1, ENTRY_MAX, &index), WEIR_ETOOBIG);
}
END_TEST

START_TEST(a_full_log_disk_loses_nothing_and_is_tried_again)
{
	propose(1);
	consensus_flush(w->c, kit_time());
	kit_give_back_log(0, WEIR_EFULL);
	ck_assert(consensus_full(w->c));
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_EFULL); /* nothing new meanwhile */
	later(RETRY_NS - 1);
	consensus_flush(w->c, kit_time());
	ck_assert_ptr_null(w->log_job);
	ck_assert_uint_eq(w->committed[1], FIRST);
	later(1);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->log_job->append_count, 1);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 1);
	ck_assert(!consensus_full(w->c));
	propose(1);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 2);
}
END_TEST

static void ten_durable(void)
{
	for (int i = 0; i < 10; i++)
		propose(1);
	kit_run(0);
	commit_state();
	propose(1);
	consensus_flush(w->c, kit_time());
}

START_TEST(a_full_log_disk_is_truncated_before_it_is_written)
{
	ten_durable();
	ck_assert_uint_eq(w->log_job->truncate_count, 0);
	kit_give_back_log(0, WEIR_EFULL);
	later(RETRY_NS);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->log_job->truncate_count, KIT_GROUPS);
	ck_assert_uint_eq(w->log_job->append_count, 0);
	kit_run_log(0);
	ck_assert_uint_eq(kit_log_entries(0, 1), 0);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 11);
	ck_assert_uint_eq(kit_log_entries(0, 1), 1);
	kit_restart(0);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], FIRST + 12);
}
END_TEST

/* Truncation needs room too: when it finds none it asks for less, and the entries are tried in turns with it. */
START_TEST(a_full_log_disk_without_room_to_truncate_is_tried_in_smaller_steps)
{
	ten_durable();
	uint64_t removed = 0;
	size_t appends = 0;
	for (int i = 0; i < 60; i++) {
		struct log_job *job = w->log_job;
		ck_assert_ptr_nonnull(job);
		ck_assert(!job->truncate_count || !job->append_count);
		appends += job->append_count;
		if (job->truncate_count) {
			removed = 0;
			for (size_t t = 0; t < job->truncate_count; t++)
				removed += job->truncates[t].upto - job->truncates[t].from + 1;
		}
		kit_give_back_log(0, WEIR_EFULL);
		later(RETRY_NS);
		consensus_flush(w->c, kit_time());
	}
	ck_assert_uint_eq(removed, 1);
	ck_assert_uint_ge(appends, 10);
	ck_assert_uint_eq(kit_log_entries(0, 1), FIRST + 10);
	kit_run_log(0);
	kit_restart(0); /* the base is ahead of what was removed */
	kit_run(0);
	for (int i = 0; i < 3; i++) {
		propose(1);
		kit_run(0);
	}
	ck_assert_uint_ge(w->applied[1], FIRST + 10 + 3 + 1);
	ck_assert(!consensus_full(w->c));
}
END_TEST

START_TEST(a_full_state_disk_is_replayed_and_told_once)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	kit_run(0);
	commit_state();
	for (int i = 0; i < 5; i++)
		propose(1);
	kit_run(0); /* applied, told, not durable */
	size_t before = w->applied_calls;
	propose(1);
	consensus_flush(w->c, kit_time());
	kit_run_log(0);
	consensus_flush(w->c, kit_time());
	struct apply_job *job = w->apply_job;
	w->apply_job = NULL;
	apply_abort(w->apply);
	consensus_job_applied(w->c, job, WEIR_EFULL, kit_time());
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_EFULL);
	later(RETRY_NS - 1);
	consensus_flush(w->c, kit_time());
	ck_assert_ptr_null(w->apply_job);
	later(1);
	consensus_flush(w->c, kit_time());
	ck_assert_uint_eq(w->apply_job->items[0].index, FIRST + 6);
	ck_assert_uint_eq(w->apply_job->count, 1); /* what found no room at once may find it one by one */
	kit_run(0);
	ck_assert_uint_eq(w->applied_calls, before + 1);
	ck_assert_uint_eq(w->applied[1], FIRST + 11);
	commit_state();
	ck_assert_uint_eq(consensus_durable(w->c, 1), FIRST + 11);
	/* nothing is counted twice against the quota */
	ck_assert_int_eq(kit_try_propose(0, 1, 1000, &index), 0);
}
END_TEST

START_TEST(a_state_commit_without_room_is_replayed_too)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	kit_run(0);
	size_t before = w->applied_calls;
	apply_abort(w->apply);
	consensus_state_aborted(w->c, kit_time());
	later(RETRY_NS);
	kit_run(0);
	ck_assert_uint_eq(w->applied_calls, before);
	commit_state();
	ck_assert_uint_eq(consensus_durable(w->c, 1), FIRST + 5);
}
END_TEST

/* What is committed and cannot be applied nobody was told of: reads need not wait for it. What was told of they do wait for. */
START_TEST(reads_go_on_without_room_and_need_what_was_told_of)
{
	uint64_t told = propose(1), later_index;
	kit_run(0);
	w->hold_apply = true;
	propose(1);
	kit_run(0);
	consensus_state_low(w->c, true);
	ck_assert(consensus_full(w->c));
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &later_index), WEIR_EFULL);
	ck_assert_int_eq(kit_try_propose(0, 0, 0, &later_index), WEIR_EFULL); /* of the meta group, too */
	ck_assert_uint_eq(consensus_counters(w->c)->no_room, 2);
	ck_assert_uint_eq(w->committed[1], told + 1);
	consensus_read(w->c, 1, 42);
	kit_run(0);
	ck_assert(w->reads == 1 && w->read_ok);
	ck_assert_uint_eq(w->read_index, told);
	w->hold_apply = false;
	kit_run(0); /* what has come already is still applied */
	ck_assert_uint_eq(w->applied[1], told + 1);
	consensus_read(w->c, 1, 43);
	kit_run(0);
	ck_assert_uint_eq(w->read_index, told + 1);
	struct entry sweep = {.kind = ENTRY_SWEEP};
	ck_assert_int_eq(consensus_propose_own(w->c, 1, &sweep, &later_index), 0); /* it may make room */
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], told + 2);
	consensus_state_low(w->c, false);
	ck_assert(!consensus_full(w->c));
	propose(1);
	kit_run(0);
	ck_assert_uint_eq(w->applied[1], told + 3);
}
END_TEST

START_TEST(another_error_stops_everything)
{
	propose(1);
	consensus_flush(w->c, kit_time());
	kit_give_back_log(0, WEIR_ECORRUPT);
	ck_assert_ptr_nonnull(consensus_failed(w->c));
	uint64_t index;
	ck_assert_int_eq(kit_try_propose(0, 1, 0, &index), WEIR_ECLOSED);
	later(10 * RETRY_NS);
	consensus_flush(w->c, kit_time());
	ck_assert_ptr_null(w->log_job);
	consensus_read(w->c, 1, 7);
	ck_assert_uint_eq(w->reads, 1);
	ck_assert(!w->read_ok);
}
END_TEST

START_TEST(a_read_answers_with_what_was_told_of)
{
	uint64_t index = propose(1);
	kit_run(0);
	consensus_read(w->c, 1, 42);
	kit_run(0);
	ck_assert_uint_eq(w->reads, 1);
	ck_assert(w->read_ok);
	ck_assert_uint_eq(w->read_context, 42);
	ck_assert_uint_eq(w->read_index, index);
	consensus_read(w->c, KIT_GROUPS, 43); /* no such group */
	ck_assert_uint_eq(w->reads, 2);
	ck_assert(!w->read_ok);
	kit_restart(0);
	consensus_read(w->c, 1, 44); /* not serving yet */
	ck_assert(w->reads == 1 && !w->read_ok);
}
END_TEST

/* ---- what the start refuses -------------------------------------------------------------------------------------- */

static void put(uint32_t db, struct bytes key, const void *value, size_t len)
{
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(w->disk.log, true, &txn), 0);
	if (value)
		ck_assert_int_eq(kv_put(txn, db, key, bytes_of(value, len)), 0);
	else
		ck_assert_int_eq(kv_del(txn, db, key), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
}

static void put_entry(uint64_t index, const void *value, size_t len)
{
	struct buf key = {0};
	buf_be64(&key, index);
	put(LOG_DB_GROUP(1), bytes_of(key.data, key.len), value, len);
	buf_free(&key);
}

static void expect_refusal(int code, const char *part)
{
	char *why = NULL;
	int rc = kit_try_open(0, &why);
	ck_assert_int_eq(rc, code);
	ck_assert_msg(strstr(why, part), "%s", why);
	free(why);
	w->c = NULL;
}

static void five_entries(void)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	kit_run(0);
	kit_stop(0);
}

START_TEST(a_gap_in_the_log_is_told)
{
	five_entries();
	put_entry(FIRST + 3, NULL, 0);
	expect_refusal(WEIR_ECORRUPT, "shard 0 has a gap");
}
END_TEST

START_TEST(a_log_without_its_beginning_is_told)
{
	five_entries();
	put_entry(1, NULL, 0);
	expect_refusal(WEIR_ECORRUPT, "shard 0 has a gap");
}
END_TEST

START_TEST(a_bad_record_in_the_log_is_told)
{
	five_entries();
	put_entry(FIRST + 3, "short", 5);
	expect_refusal(WEIR_ECORRUPT, "shard 0");
}
END_TEST

START_TEST(a_term_above_the_hard_state_is_told)
{
	five_entries();
	uint8_t value[LOG_ENTRY_HEAD + 1] = {7, 0, 0, 0, 0, 0, 0, 0, 1, 1};
	put_entry(FIRST + 5, value, sizeof(value));
	expect_refusal(WEIR_ECORRUPT, "out of order");
}
END_TEST

START_TEST(an_entry_of_no_kind_is_told)
{
	five_entries();
	uint8_t value[LOG_ENTRY_HEAD + 1] = {2, 0, 0, 0, 0, 0, 0, 0, 9, 1};
	put_entry(FIRST + 5, value, sizeof(value));
	expect_refusal(WEIR_ECORRUPT, "not understood");
}
END_TEST

START_TEST(a_lost_state_is_void)
{
	for (int i = 0; i < 2 * CONSENSUS_TRUNCATE_MIN; i++)
		propose(1);
	kit_run(0);
	commit_state();
	kit_run(0);
	kit_stop(0);
	cloud_disk_close(&w->disk);
	cloud_disk_lose(w->disk.state_path);
	cloud_disk_open(&w->disk);
	kit_open(0);
	ck_assert(kit_status(0, 1).fetching);
	struct apply_group_info info;
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(w->disk.state, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, 1, &info), 0);
	ck_assert(info.is_void); /* nobody takes it for an empty one */
	ck_assert_int_eq(apply_read_group(txn, 2, &info), 0);
	ck_assert(!info.is_void); /* its log still has all */
	kv_abort(txn);
	kit_run(0);
	ck_assert(!w->leads[1] && w->leads[2]);
}
END_TEST

START_TEST(a_lost_log_is_begun_behind_the_state)
{
	propose(1);
	kit_run(0);
	commit_state();
	uint64_t member = consensus_member(w->c);
	kit_stop(0);
	w->starts++;
	cloud_disk_close(&w->disk);
	cloud_disk_lose(w->disk.log_path);
	cloud_disk_open(&w->disk);
	kit_open(0);
	ck_assert_uint_ne(consensus_member(w->c), member);
	ck_assert_uint_eq(kit_status(0, 1).applied, FIRST + 1);
	kit_run(0);
	ck_assert(w->leads[1]); /* there is nobody else */
	uint64_t last = propose(1);
	ck_assert_uint_gt(last, FIRST + 1);
	kit_run(0);
	commit_state();
	ck_assert_uint_eq(w->applied[1], last);
	kit_restart(0);
	kit_run(0);
	ck_assert(w->leads[1]);
}
END_TEST

START_TEST(another_nodes_log_is_told)
{
	kit_stop(0);
	free(kit.t->clouds[0].name);
	kit.t->clouds[0].name = strdup("cloud-9");
	expect_refusal(WEIR_EINVAL, "belongs to node cloud-1");
}
END_TEST

START_TEST(an_older_versions_log_is_told)
{
	kit_stop(0);
	struct buf old = {0};
	buf_u8(&old, 1);
	buf_str(&old, "cloud-1");
	buf_varint(&old, KIT_SHARDS);
	put(LOG_DB_NODE, bytes_of(LOG_KEY_NODE, 1), old.data, old.len);
	buf_free(&old);
	expect_refusal(WEIR_EVERSION, "another version of weir");
}
END_TEST

START_TEST(a_shard_that_the_topology_moved_away_is_told)
{
	propose(2);
	kit_run(0);
	commit_state();
	kit_stop(0);
	struct topology *two = cloud_topology(2, KIT_SHARDS); /* shard 1 would be on cloud-2 */
	topology_free(kit.t);
	kit.t = two;
	expect_refusal(WEIR_EINVAL, "shard 1, which the topology places on another node");
}
END_TEST

START_TEST(the_cluster_id_is_kept_once_it_is_durable)
{
	uint8_t id[CLUSTER_ID_BYTES] = "an id of sixteen", got[CLUSTER_ID_BYTES];
	ck_assert(!consensus_cluster_id(w->c, got));
	consensus_keep_cluster_id(w->c, id);
	ck_assert(!consensus_cluster_id(w->c, got));
	kit_run(0);
	ck_assert(consensus_cluster_id(w->c, got));
	kit_restart(0);
	ck_assert(consensus_cluster_id(w->c, got));
	ck_assert_mem_eq(got, id, sizeof(id));
}
END_TEST

START_TEST(the_member_number_is_the_folders)
{
	uint64_t member = consensus_member(w->c);
	struct msg_info info;
	consensus_info(w->c, &info);
	ck_assert_uint_eq(info.replica, member);
	kit_restart(0);
	ck_assert_uint_eq(consensus_member(w->c), member);
	kit_stop(0);
	kit_wipe(0);
	kit_open(0);
	ck_assert_uint_ne(consensus_member(w->c), member);
	ck_assert_uint_eq(consensus_member(w->c) & 0xffff, 0);
	consensus_info(w->c, &info);
	ck_assert_uint_eq(info.replica, 0); /* not durable yet */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/consensus");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, kit_free);
	tcase_add_test(tc, a_group_of_one_is_founded_and_served_at_once);
	tcase_add_test(tc, all_groups_commit_together_and_only_when_written);
	tcase_add_test(tc, committed_is_announced_at_the_start);
	tcase_add_test(tc, what_the_state_lost_is_replayed_in_order);
	tcase_add_test(tc, what_was_not_written_is_lost_and_nothing_else);
	tcase_add_test(tc, replay_goes_in_bounded_jobs);
	tcase_add_test(tc, the_log_is_truncated_below_what_the_state_holds_durably);
	tcase_add_test(tc, few_large_entries_are_truncated_too);
	tcase_add_test(tc, proposals_over_the_quota_are_busy_until_applied);
	tcase_add_test(tc, a_full_log_disk_loses_nothing_and_is_tried_again);
	tcase_add_test(tc, a_full_log_disk_is_truncated_before_it_is_written);
	tcase_add_test(tc, a_full_log_disk_without_room_to_truncate_is_tried_in_smaller_steps);
	tcase_add_test(tc, a_full_state_disk_is_replayed_and_told_once);
	tcase_add_test(tc, a_state_commit_without_room_is_replayed_too);
	tcase_add_test(tc, reads_go_on_without_room_and_need_what_was_told_of);
	tcase_add_test(tc, another_error_stops_everything);
	tcase_add_test(tc, a_read_answers_with_what_was_told_of);
	tcase_add_test(tc, a_gap_in_the_log_is_told);
	tcase_add_test(tc, a_log_without_its_beginning_is_told);
	tcase_add_test(tc, a_bad_record_in_the_log_is_told);
	tcase_add_test(tc, a_term_above_the_hard_state_is_told);
	tcase_add_test(tc, an_entry_of_no_kind_is_told);
	tcase_add_test(tc, a_lost_state_is_void);
	tcase_add_test(tc, a_lost_log_is_begun_behind_the_state);
	tcase_add_test(tc, another_nodes_log_is_told);
	tcase_add_test(tc, an_older_versions_log_is_told);
	tcase_add_test(tc, a_shard_that_the_topology_moved_away_is_told);
	tcase_add_test(tc, the_cluster_id_is_kept_once_it_is_durable);
	tcase_add_test(tc, the_member_number_is_the_folders);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
