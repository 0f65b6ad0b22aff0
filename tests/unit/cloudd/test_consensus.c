#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus.h"
#include "common/clock.h"
#include "tests/unit/cloudd/cloud_disk.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define SHARDS 2
#define GROUPS (SHARDS + 1)
#define RETRY_NS (CONSENSUS_RETRY_MS * NS_PER_MS)

/* A node of one, its writers run by hand. */
struct world {
	struct topology *t;
	struct cloud_disk disk;
	struct apply *apply;
	struct consensus *c;
	struct log_job *log_job;
	struct apply_job *apply_job;
	uint64_t committed[GROUPS], applied[GROUPS];
	size_t committed_calls, applied_calls, log_jobs, apply_jobs, biggest_apply;
	bool spread; /* propose another entry from within the callback */
};
static struct world w;

static void on_log_write(void *arg, struct log_job *job)
{
	(void)arg;
	ck_assert_ptr_null(w.log_job);
	w.log_job = job;
	w.log_jobs++;
}

static void on_apply(void *arg, struct apply_job *job)
{
	(void)arg;
	ck_assert_ptr_null(w.apply_job);
	w.apply_job = job;
	w.apply_jobs++;
	if (apply_job_count(job) > w.biggest_apply)
		w.biggest_apply = apply_job_count(job);
}

static void on_committed(void *arg, uint32_t group, uint64_t index)
{
	(void)arg;
	ck_assert(index >= w.committed[group]);
	w.committed[group] = index;
	w.committed_calls++;
}

static void on_applied(void *arg, const struct apply_result *r, struct bytes entry)
{
	(void)arg;
	ck_assert_uint_eq(r->index, w.applied[r->group] + 1); /* in order, each once */
	ck_assert_uint_le(r->index, w.committed[r->group]);   /* never before it is committed */
	ck_assert_uint_gt(entry.n, 0);
	w.applied[r->group] = r->index;
	w.applied_calls++;
}

static int open_consensus(char **ret_why)
{
	struct consensus_io io = {NULL, on_log_write, on_apply, on_committed, on_applied};
	if (apply_open(w.t, w.disk.state, &w.apply, ret_why))
		return -1;
	return consensus_open(w.t, 0, w.disk.log, w.apply, &io, &w.c, ret_why);
}

static void open_fine(void)
{
	char *why = NULL;
	if (open_consensus(&why))
		ck_abort_msg("%s", why);
}

static void close_consensus(void)
{
	consensus_close(w.c);
	if (w.apply)
		apply_close(w.apply);
	w.c = NULL;
	w.apply = NULL;
	w.log_job = NULL;
	w.apply_job = NULL;
}

/* A start after a crash: what was not committed is gone. */
static void restart(void)
{
	close_consensus();
	cloud_disk_close(&w.disk);
	cloud_disk_open(&w.disk);
	memset(w.committed, 0, sizeof(w.committed));
	char *why = NULL;
	if (open_consensus(&why))
		ck_abort_msg("%s", why);
	for (uint32_t g = 0; g < GROUPS; g++)
		w.applied[g] = consensus_applied(w.c, g);
}

static void setup(void)
{
	w = (struct world){.t = cloud_topology(1, SHARDS)};
	cloud_disk_make(&w.disk, SHARDS);
	open_fine();
}

static void teardown(void)
{
	close_consensus();
	cloud_disk_remove(&w.disk);
	topology_free(w.t);
}

static uint64_t propose(uint32_t group)
{
	struct entry e = {.kind = group ? ENTRY_SWEEP : ENTRY_READMIT};
	if (!group)
		e.readmit.edge = bytes_of("a", 1);
	uint64_t index = 0;
	ck_assert_int_eq(consensus_propose(w.c, group, &e, &index), 0);
	return index;
}

static void run_log(int64_t mono_ns)
{
	struct log_job *job = w.log_job;
	ck_assert_ptr_nonnull(job);
	w.log_job = NULL;
	consensus_log_written(w.c, job, log_job_run(w.disk.log, job), mono_ns);
}

static void run_apply(int64_t mono_ns)
{
	struct apply_job *job = w.apply_job;
	ck_assert_ptr_nonnull(job);
	w.apply_job = NULL;
	consensus_job_applied(w.c, job, apply_job_run(w.apply, job), mono_ns);
}

static void run_all(int64_t mono_ns)
{
	consensus_flush(w.c, mono_ns);
	while (w.log_job || w.apply_job) {
		if (w.log_job)
			run_log(mono_ns);
		if (w.apply_job)
			run_apply(mono_ns);
		consensus_flush(w.c, mono_ns);
	}
}

static void commit_state(void)
{
	ck_assert_int_eq(apply_commit(w.apply), 0);
	for (uint32_t g = 0; g < GROUPS; g++)
		consensus_state_durable(w.c, g, apply_applied(w.apply, g, NULL));
}

START_TEST(all_groups_commit_together_and_only_when_written)
{
	run_all(0); /* the hard states */
	size_t jobs = w.log_jobs;
	ck_assert_uint_eq(propose(1), 1);
	ck_assert_uint_eq(propose(2), 1);
	ck_assert_uint_eq(propose(1), 2);
	ck_assert_uint_eq(propose(0), 1);
	consensus_flush(w.c, 0);
	ck_assert_uint_eq(w.log_jobs, jobs + 1);
	ck_assert_uint_eq(w.log_job->append_count, 4);
	ck_assert_uint_eq(propose(2), 2); /* while it is written */
	consensus_flush(w.c, 0);
	ck_assert_uint_eq(w.log_jobs, jobs + 1);
	ck_assert_ptr_null(w.apply_job);
	ck_assert_uint_eq(consensus_committed(w.c, 1), 0);
	run_log(0);
	ck_assert_uint_eq(w.committed[0], 1);
	ck_assert_uint_eq(w.committed[1], 2);
	ck_assert_uint_eq(w.committed[2], 1);
	consensus_flush(w.c, 0);
	ck_assert_uint_eq(w.log_job->append_count, 1);
	ck_assert_uint_eq(apply_job_count(w.apply_job), 4);
	run_apply(0);
	ck_assert_uint_eq(w.applied[1], 2);
	ck_assert_uint_eq(w.applied[2], 1); /* not the one that is still being written */
	run_all(0);
	ck_assert_uint_eq(w.applied[2], 2);
}
END_TEST

START_TEST(committed_is_announced_at_the_start)
{
	propose(1);
	run_all(0);
	restart();
	w.committed_calls = 0;
	ck_assert_uint_eq(w.committed[1], 0); /* no callback from open */
	consensus_flush(w.c, 0);
	ck_assert_uint_eq(w.committed_calls, GROUPS);
	ck_assert_uint_eq(w.committed[1], 1);
}
END_TEST

START_TEST(what_the_state_lost_is_replayed_in_order)
{
	for (int i = 0; i < 10; i++)
		propose(1);
	propose(2);
	run_all(0);
	commit_state();
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0);
	ck_assert_uint_eq(w.applied[1], 15);
	uint64_t term = consensus_term(w.c, 1);
	restart(); /* without a state commit of the last five */
	ck_assert_uint_eq(w.applied[1], 10);
	ck_assert_uint_eq(consensus_committed(w.c, 1), 15);
	ck_assert_uint_eq(consensus_term(w.c, 1), term + 1);
	ck_assert(!consensus_replayed(w.c, 1));
	ck_assert(consensus_replayed(w.c, 2));
	ck_assert_uint_eq(propose(1), 16); /* may be proposed at once; comes after the rest */
	run_all(0);
	ck_assert(consensus_replayed(w.c, 1));
	ck_assert_uint_eq(w.applied[1], 16);
	ck_assert_uint_eq(consensus_counters(w.c)->replayed, 5);
}
END_TEST

START_TEST(what_was_not_written_is_lost_and_nothing_else)
{
	propose(1);
	run_all(0);
	propose(1);
	consensus_flush(w.c, 0); /* handed out, never run */
	restart();
	ck_assert_uint_eq(consensus_committed(w.c, 1), 1);
	ck_assert_uint_eq(propose(1), 2);
	run_all(0);
	ck_assert_uint_eq(w.applied[1], 2);
}
END_TEST

START_TEST(replay_goes_in_bounded_jobs)
{
	for (int i = 0; i < 3000; i++)
		propose(1);
	propose(2);
	run_all(0);
	restart();
	w.biggest_apply = 0;
	w.apply_jobs = 0;
	run_all(0);
	ck_assert_uint_eq(w.applied[1], 3000);
	ck_assert_uint_le(w.biggest_apply, APPLY_JOB_ENTRIES_MAX);
	ck_assert_uint_ge(w.apply_jobs, 3000 / APPLY_JOB_GROUP_ENTRIES_MAX);
}
END_TEST

static size_t log_entries(uint32_t group)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(w.disk.log, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, LOG_DB_GROUP(group), &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		n++;
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

START_TEST(the_log_is_truncated_below_what_the_state_holds_durably)
{
	for (int i = 0; i < 2 * CONSENSUS_TRUNCATE_MIN; i++)
		propose(1);
	run_all(0);
	ck_assert_uint_eq(log_entries(1), 2 * CONSENSUS_TRUNCATE_MIN);
	run_all(0);
	ck_assert_uint_eq(log_entries(1), 2 * CONSENSUS_TRUNCATE_MIN); /* applied is not enough */
	commit_state();
	propose(1);
	run_all(0);
	ck_assert_uint_eq(log_entries(1), 1);
	restart();
	ck_assert_uint_eq(consensus_committed(w.c, 1), 2 * CONSENSUS_TRUNCATE_MIN + 1);
	ck_assert_uint_eq(w.applied[1], 2 * CONSENSUS_TRUNCATE_MIN);
	commit_state();
	run_all(0);
	commit_state();
	restart(); /* nothing left to replay */
	ck_assert(consensus_replayed(w.c, 1));
	ck_assert_uint_eq(propose(1), 2 * CONSENSUS_TRUNCATE_MIN + 2);
}
END_TEST

START_TEST(proposals_over_the_quota_are_busy_until_applied)
{
	struct entry e = {.kind = ENTRY_BATCH};
	static uint8_t body[200 * 1024];
	e.batch.edge = bytes_of("a", 1);
	e.batch.body = bytes_of(body, sizeof(body));
	uint64_t index;
	size_t n = 0;
	while (consensus_propose(w.c, 1, &e, &index) == 0)
		n++;
	ck_assert_uint_eq(n, (CONSENSUS_GROUP_BYTES_MAX - CONSENSUS_RESERVE_BYTES) / (sizeof(body) + 20));
	ck_assert_int_eq(consensus_propose(w.c, 1, &e, &index), WEIR_EBUSY);
	ck_assert_int_eq(consensus_propose(w.c, 2, &e, &index), 0); /* another group has its own */
	struct entry sweep = {.kind = ENTRY_SWEEP};
	ck_assert_int_eq(consensus_propose_own(w.c, 1, &sweep, &index), 0);
	ck_assert_uint_eq(index, n + 1);
	run_all(0);
	ck_assert_int_eq(consensus_propose(w.c, 1, &e, &index), 0);
	e.batch.body = bytes_of(body, sizeof(body));
	static uint8_t huge[ENTRY_MAX];
	e.batch.body = bytes_of(huge, sizeof(huge));
	ck_assert_int_eq(consensus_propose(w.c, 1, &e, &index), WEIR_ETOOBIG);
}
END_TEST

START_TEST(a_full_log_disk_loses_nothing_and_is_tried_again)
{
	run_all(0);
	propose(1);
	consensus_flush(w.c, 0);
	struct log_job *job = w.log_job;
	w.log_job = NULL;
	consensus_log_written(w.c, job, WEIR_EFULL, 0);
	ck_assert(consensus_full(w.c));
	propose(1);
	consensus_flush(w.c, RETRY_NS - 1);
	ck_assert_ptr_null(w.log_job);
	ck_assert_uint_eq(consensus_committed(w.c, 1), 0);
	consensus_flush(w.c, RETRY_NS);
	ck_assert_uint_eq(w.log_job->append_count, 2);
	run_all(RETRY_NS);
	ck_assert_uint_eq(w.applied[1], 2);
	ck_assert(!consensus_full(w.c));
}
END_TEST

START_TEST(a_full_log_disk_is_truncated_before_it_is_written)
{
	for (int i = 0; i < 10; i++)
		propose(1);
	run_all(0);
	commit_state();
	propose(1);
	consensus_flush(w.c, 0);
	ck_assert_uint_eq(w.log_job->truncate_count, 0);
	struct log_job *job = w.log_job;
	w.log_job = NULL;
	consensus_log_written(w.c, job, WEIR_EFULL, 0);
	consensus_flush(w.c, RETRY_NS);
	ck_assert_uint_eq(w.log_job->truncate_count, 1);
	ck_assert_uint_eq(w.log_job->append_count, 0);
	run_log(RETRY_NS);
	ck_assert_uint_eq(log_entries(1), 0);
	run_all(RETRY_NS);
	ck_assert_uint_eq(w.applied[1], 11);
	ck_assert_uint_eq(log_entries(1), 1);
}
END_TEST

/* Truncation needs room too: when it finds none it asks for less, and the entries are tried in turns with it. */
START_TEST(a_full_log_disk_without_room_to_truncate_is_tried_in_smaller_steps)
{
	for (int i = 0; i < 10; i++)
		propose(1);
	run_all(0);
	commit_state();
	propose(1);
	consensus_flush(w.c, 0);
	int64_t now_ns = 0;
	uint64_t removed = 10;
	size_t appends = 0;
	for (int i = 0; i < 40; i++) {
		struct log_job *job = w.log_job;
		ck_assert_ptr_nonnull(job);
		ck_assert(!job->truncate_count || !job->append_count);
		appends += job->append_count;
		if (job->truncate_count)
			removed = job->truncates[0].upto - job->truncates[0].from + 1;
		w.log_job = NULL;
		consensus_log_written(w.c, job, WEIR_EFULL, now_ns);
		now_ns += RETRY_NS;
		consensus_flush(w.c, now_ns);
	}
	ck_assert_uint_eq(removed, 1);
	ck_assert(appends >= 10 && appends < 40); /* the last ones of one entry */
	ck_assert_uint_eq(log_entries(1), 10);
	run_all(now_ns);
	for (int i = 0; i < 3; i++) {
		propose(1);
		run_all(now_ns);
	}
	ck_assert_uint_eq(w.applied[1], 14);
	ck_assert(!consensus_full(w.c));
}
END_TEST

START_TEST(a_full_state_disk_is_replayed_and_told_once)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0);
	commit_state();
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0); /* applied, told, not durable */
	ck_assert_uint_eq(w.applied_calls, 10);
	propose(1);
	consensus_flush(w.c, 0);
	run_log(0);
	consensus_flush(w.c, 0);
	struct apply_job *job = w.apply_job;
	w.apply_job = NULL;
	apply_abort(w.apply);
	consensus_job_applied(w.c, job, WEIR_EFULL, 0);
	propose(1);
	consensus_flush(w.c, RETRY_NS - 1);
	ck_assert_ptr_null(w.apply_job);
	run_log(0);
	consensus_flush(w.c, RETRY_NS);
	ck_assert_uint_eq(w.apply_job->items[0].index, 6);
	run_all(RETRY_NS);
	ck_assert_uint_eq(w.applied_calls, 12);
	ck_assert_uint_eq(w.applied[1], 12);
	commit_state();
	ck_assert_uint_eq(consensus_durable(w.c, 1), 12);
}
END_TEST

START_TEST(a_state_commit_without_room_is_replayed_too)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0);
	apply_abort(w.apply);
	consensus_state_aborted(w.c, 0);
	run_all(RETRY_NS);
	ck_assert_uint_eq(w.applied_calls, 5);
	commit_state();
	ck_assert_uint_eq(consensus_durable(w.c, 1), 5);
}
END_TEST

START_TEST(another_error_stops_everything)
{
	run_all(0);
	propose(1);
	consensus_flush(w.c, 0);
	struct log_job *job = w.log_job;
	w.log_job = NULL;
	consensus_log_written(w.c, job, WEIR_ECORRUPT, 0);
	ck_assert_ptr_nonnull(consensus_failed(w.c));
	struct entry e = {.kind = ENTRY_SWEEP};
	uint64_t index;
	ck_assert_int_eq(consensus_propose(w.c, 1, &e, &index), WEIR_ECLOSED);
	consensus_flush(w.c, 10 * RETRY_NS);
	ck_assert_ptr_null(w.log_job);
}
END_TEST

static void edit_log(uint32_t db, uint64_t index, const char *value)
{
	struct kv_txn *txn;
	struct buf key = {0};
	ck_assert_int_eq(kv_begin(w.disk.log, true, &txn), 0);
	buf_be64(&key, index);
	if (value)
		ck_assert_int_eq(kv_put(txn, db, bytes_of(key.data, key.len), bytes_of(value, strlen(value))), 0);
	else
		ck_assert_int_eq(kv_del(txn, db, bytes_of(key.data, key.len)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	buf_free(&key);
}

static void expect_refusal(const char *part)
{
	char *why = NULL;
	close_consensus();
	int rc = open_consensus(&why);
	ck_assert_int_ne(rc, 0);
	ck_assert_msg(strstr(why, part), "%s", why);
	free(why);
	w.c = NULL;
}

START_TEST(a_gap_in_the_log_is_told)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0);
	edit_log(LOG_DB_GROUP(1), 3, NULL);
	expect_refusal("shard 0 has a gap");
}
END_TEST

START_TEST(a_bad_record_in_the_log_is_told)
{
	for (int i = 0; i < 5; i++)
		propose(1);
	run_all(0);
	edit_log(LOG_DB_GROUP(1), 3, "short");
	expect_refusal("shard 0");
}
END_TEST

START_TEST(a_lost_state_is_told)
{
	for (int i = 0; i < 2 * CONSENSUS_TRUNCATE_MIN; i++)
		propose(1);
	run_all(0);
	commit_state();
	run_all(0);
	close_consensus();
	cloud_disk_close(&w.disk);
	cloud_disk_lose(w.disk.state_path);
	cloud_disk_open(&w.disk);
	expect_refusal("do not belong together");
}
END_TEST

START_TEST(a_lost_log_is_told)
{
	propose(1);
	run_all(0);
	commit_state();
	close_consensus();
	cloud_disk_close(&w.disk);
	cloud_disk_lose(w.disk.log_path);
	cloud_disk_open(&w.disk);
	expect_refusal("do not belong together");
}
END_TEST

START_TEST(another_nodes_log_is_told)
{
	run_all(0);
	free(w.t->clouds[0].name);
	w.t->clouds[0].name = strdup("cloud-9");
	expect_refusal("belongs to node cloud-1");
}
END_TEST

START_TEST(a_shard_that_the_topology_moved_away_is_told)
{
	propose(2);
	run_all(0);
	commit_state();
	close_consensus();
	struct topology *two = cloud_topology(2, SHARDS); /* shard 1 would be on cloud-2 */
	topology_free(w.t);
	w.t = two;
	expect_refusal("shard 1, which the topology places on another node");
}
END_TEST

START_TEST(the_cluster_id_is_kept_once_it_is_durable)
{
	uint8_t id[CLUSTER_ID_BYTES] = "an id of sixteen", got[CLUSTER_ID_BYTES];
	ck_assert(!consensus_cluster_id(w.c, got));
	consensus_keep_cluster_id(w.c, id);
	ck_assert(!consensus_cluster_id(w.c, got));
	run_all(0);
	ck_assert(consensus_cluster_id(w.c, got));
	restart();
	ck_assert(consensus_cluster_id(w.c, got));
	ck_assert_mem_eq(got, id, sizeof(id));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/consensus");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, all_groups_commit_together_and_only_when_written);
	tcase_add_test(tc, committed_is_announced_at_the_start);
	tcase_add_test(tc, what_the_state_lost_is_replayed_in_order);
	tcase_add_test(tc, what_was_not_written_is_lost_and_nothing_else);
	tcase_add_test(tc, replay_goes_in_bounded_jobs);
	tcase_add_test(tc, the_log_is_truncated_below_what_the_state_holds_durably);
	tcase_add_test(tc, proposals_over_the_quota_are_busy_until_applied);
	tcase_add_test(tc, a_full_log_disk_loses_nothing_and_is_tried_again);
	tcase_add_test(tc, a_full_log_disk_is_truncated_before_it_is_written);
	tcase_add_test(tc, a_full_log_disk_without_room_to_truncate_is_tried_in_smaller_steps);
	tcase_add_test(tc, a_full_state_disk_is_replayed_and_told_once);
	tcase_add_test(tc, a_state_commit_without_room_is_replayed_too);
	tcase_add_test(tc, another_error_stops_everything);
	tcase_add_test(tc, a_gap_in_the_log_is_told);
	tcase_add_test(tc, a_bad_record_in_the_log_is_told);
	tcase_add_test(tc, a_lost_state_is_told);
	tcase_add_test(tc, a_lost_log_is_told);
	tcase_add_test(tc, another_nodes_log_is_told);
	tcase_add_test(tc, a_shard_that_the_topology_moved_away_is_told);
	tcase_add_test(tc, the_cluster_id_is_kept_once_it_is_durable);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
