/* Limits and damage: the disk limit, a full disk, compaction, flipped bits. Nothing may be lost unseen. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

#define SMALL "{memory: 64MiB, disk: 1MiB}"

/* One reading of each of n sensors in one hour. */
static void feed(struct rig *r, int second, int sensors)
{
	char text[100];
	for (int i = 0; i < sensors; i++) {
		unsigned mixed = ((unsigned)i * 2654435761u) ^ ((unsigned)second * 40503u); /* does not compress */
		snprintf(text, sizeof(text), "load,sensor=sensor-number-%d v=%.17g %%lld\n", i, (double)mixed / 7);
		rig_line_at(r, 0, text, second);
	}
}

/* The same, cut at once: each call adds a batch per shard. */
static void feed_flush(struct rig *r, int second, int sensors)
{
	feed(r, second, sensors);
	ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
}

static void finish(struct rig *r)
{
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
}

static void check_contiguous(struct rig *r)
{
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t low, high;
		size_t n;
		rig_seqs(r, i, &low, &high, &n);
		ck_assert(n == 0 || high - low + 1 == n);
	}
}

START_TEST(at_the_disk_limit_compaction_then_backpressure)
{
	struct rig *r = rig_new(CLUSTER EDGE(SMALL) BY_SENSOR_HOUR);
	r->cloud.deaf = true;
	uint64_t fed = 0;
	int flushes = 0;
	double most = 0;
	/* one slice, again and again: all of it fits once merged */
	for (; flushes < 150; flushes++) {
		feed_flush(r, flushes, 2000);
		fed += 2000;
		ck_assert_int_eq(rig_tick(r, 100), 0);
		double used = rig_metric(r, "weir_edge_spool_used_bytes");
		most = used > most ? used : most;
	}
	ck_assert(most < 1.5 * 1024 * 1024);
	ck_assert(rig_metric(r, "weir_edge_spool_batches") < 4 * 150 / 2);
	rig_ticks(r, 5, 100);
	check_contiguous(r);
	/* hour after hour: nothing to merge, so in the end sources are stopped */
	int hour = 1;
	for (; !r->paused && hour < 1000; hour++) {
		feed_flush(r, -hour * 3600, 2000);
		fed += 2000;
		ck_assert_int_eq(rig_tick(r, 100), 0);
	}
	ck_assert(r->paused);
	ck_assert_int_gt(hour, 3);
	ck_assert(rig_metric(r, "weir_edge_backpressured") == 1);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	rig_ticks(r, 60, 1000); /* longer than idle_after: a paused edge is not idle */
	r->cloud.deaf = false;
	bool said = false;
	for (int i = 0; i < 100 && r->paused; i++) {
		ck_assert_int_eq(rig_tick(r, 200), 0);
		said = said || (r->cloud.report_count && rig_report(r, "load")->phase == PHASE_BACKPRESSURED);
	}
	ck_assert(said);
	ck_assert(!r->paused);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), fed);
	ck_assert(!r->cloud.checksum_conflict);
	rig_free(r);
}
END_TEST

START_TEST(compaction_leaves_alone_what_may_have_been_sent)
{
	struct rig *r = rig_new(CLUSTER EDGE(SMALL) BY_SENSOR_HOUR);
	rig_ticks(r, 3, 1000);
	r->cloud.lose_batch_replies = true; /* merged, and not known to be */
	for (int i = 0; i < 5; i++) {
		feed_flush(r, i, 2000);
		rig_tick(r, 1000);
	}
	ck_assert_uint_eq(rig_merged(r, "load"), 10000);
	r->cloud.deaf = true;
	rig_ticks(r, 5, 1000);
	uint64_t fed = 10000;
	for (int i = 5; i < 100; i++) {
		feed_flush(r, i, 2000);
		fed += 2000;
		ck_assert_int_eq(rig_tick(r, 10), 0);
	}
	ck_assert(rig_metric(r, "weir_edge_spool_batches") < 4 * 60);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	r->cloud.deaf = r->cloud.lose_batch_replies = false;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), fed);
	ck_assert_uint_gt(r->cloud.duplicates, 0);
	ck_assert(!r->cloud.checksum_conflict);
	ck_assert(!pipeline_fenced(r->p, NULL));
	rig_free(r);
}
END_TEST

START_TEST(compaction_survives_a_crash_at_each_commit)
{
	int crashes = 0;
	for (int at = 0; at < 10; at++) {
		struct rig *r = rig_new(CLUSTER EDGE(SMALL) BY_SENSOR_HOUR);
		r->cloud.deaf = true;
		int i = 0;
		while (rig_metric(r, "weir_edge_spool_used_bytes") < 1000 * 1024) {
			feed_flush(r, i++, 2000);
			ck_assert_int_lt(i, 100);
		}
		uint64_t batches = rig_records(r, SPOOL_BATCH);
		r->fail_commit = at;
		r->fail_with = WEIR_EIO;
		r->fail_reached = at % 2;
		int rc = 0;
		for (int k = 0; k < 6 && rc == 0; k++) {
			feed(r, i++, 2000);
			rc = pipeline_checkpoint(r->p, true, rig_now(r));
		}
		r->fail_commit = -1;
		if (rc < 0) {
			crashes++;
			rig_crash(r);
			ck_assert_int_eq(rig_open(r), 0);
			ck_assert_uint_eq(rig_ledger(r).aggregated, r->position[0]);
			ck_assert_uint_eq(rig_ledger(r).dropped, 0);
		}
		ck_assert_int_eq(rig_ticks(r, 10, 100), 0); /* what was begun is brought to its end */
		check_contiguous(r);
		if (!rc)
			ck_assert_uint_lt(rig_records(r, SPOOL_BATCH), batches);
		r->cloud.deaf = false;
		finish(r);
		ck_assert_uint_eq(rig_merged(r, "load"), r->position[0]);
		rig_free(r);
	}
	ck_assert_int_ge(crashes, 6);
}
END_TEST

START_TEST(a_full_disk_stops_sources_and_loses_nothing)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	rig_ticks(r, 3, 1000);
	r->cloud.lose_batch_replies = true;
	feed_flush(r, 1, 100);
	rig_tick(r, 1000);
	r->disk_full = true;
	rig_line_at(r, 0, "load,sensor=x v=1 %lld\n", 5);
	uint64_t told = r->commits_told;
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	ck_assert(r->paused);
	ck_assert_uint_eq(r->commits_told, told);
	ck_assert(!pipeline_wants_tick(r->p)); /* no busy loop */
	ck_assert_int_eq(pipeline_checkpoint(r->p, false, rig_now(r)), WEIR_EFULL);
	rig_check_ledger(r);
	/* what is acknowledged meanwhile is deleted all the same, and the ledger on disk stays that of the disk */
	r->cloud.lose_batch_replies = false;
	rig_ticks(r, 8, 1000);
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH), 0);
	rig_crash(r);
	r->disk_full = false;
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 100);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	ck_assert_uint_eq(rig_ledger(r).accepted, 100);
	ck_assert_uint_eq(r->position[0], 100); /* the source gives the last one again */
	rig_line_at(r, 0, "load,sensor=x v=1 %lld\n", 5);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 101);
	rig_free(r);
}
END_TEST

START_TEST(a_full_disk_that_gets_room_goes_on)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	rig_ticks(r, 3, 1000);
	for (int i = 0; i < 50; i++) {
		rig_line_at(r, 0, "load,sensor=x v=1 %lld\n", i);
		r->disk_full = i % 10 > 4;
		ck_assert_int_eq(rig_tick(r, 1000), 0);
		ck_assert(r->paused == r->disk_full);
	}
	r->disk_full = false;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 50);
	rig_free(r);
}
END_TEST

START_TEST(a_damaged_delta_is_counted_and_the_rest_lives)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	for (int i = 0; i < 10; i++)
		rig_line_at(r, 0, i < 3 ? "load,sensor=a v=1 %lld\n" : "load,sensor=b v=1 %lld\n", i);
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	rig_crash(r);
	rig_damage(r, SPOOL_DELTA, 0);
	ck_assert_int_eq(rig_open(r), 0);
	rig_check_ledger(r);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 7);
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"load\",reason=\"corrupt\"}") == 3);
	ck_assert(rig_metric(r, "weir_edge_spool_damaged_records") == 1);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 7);
	ck_assert_uint_eq(rig_records(r, SPOOL_DELTA), 0);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 7);
	ck_assert_uint_eq(rig_ledger(r).dropped, 3);
	rig_free(r);
}
END_TEST

/* Which of the batches of shard 0 .. 3 it is does not matter: an empty one takes its number. */
static void run_damaged_batch(bool while_running, size_t which)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	r->cloud.deaf = true;
	for (int i = 0; i < 3; i++)
		feed_flush(r, i, 40);
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH), 12);
	if (!while_running)
		rig_crash(r);
	rig_damage(r, SPOOL_BATCH, which);
	if (!while_running)
		ck_assert_int_eq(rig_open(r), 0);
	r->cloud.deaf = false;
	finish(r);
	ck_assert(!pipeline_fenced(r->p, NULL));
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.matched, 120);
	ck_assert_uint_gt(l.dropped, 0);
	ck_assert_uint_eq(rig_merged(r, "load"), l.aggregated);
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"load\",reason=\"corrupt\"}") == (double)l.dropped);
	feed_flush(r, 10, 40);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), l.aggregated + 40);
	rig_free(r);
}

START_TEST(a_damaged_batch_is_counted_and_its_number_kept)
{
	for (size_t which = 0; which < 12; which += 2) {
		run_damaged_batch(false, which);
		run_damaged_batch(true, which + 1);
	}
}
END_TEST

/* The number that a damaged batch had is given to what compaction makes of its neighbours. */
START_TEST(compaction_passes_over_a_damaged_batch)
{
	for (int round = 0; round < 4; round++) {
		struct rig *r = rig_new(CLUSTER EDGE(SMALL) BY_SENSOR_HOUR);
		r->cloud.deaf = true;
		feed_flush(r, 0, 2000);
		feed_flush(r, 1, 2000);
		rig_damage(r, SPOOL_BATCH, (size_t)round % 2); /* both of the shard that is compacted first */
		double before = 0;
		bool compacted = false;
		for (int i = 2; i < 100 && !compacted; i++) {
			feed_flush(r, i, 2000);
			ck_assert_int_eq(rig_tick(r, 100), 0);
			double batches = rig_metric(r, "weir_edge_spool_batches");
			compacted = batches < before;
			before = batches;
		}
		ck_assert(compacted);
		ck_assert_uint_gt(rig_ledger(r).dropped, 0);
		if (round >= 2) {
			rig_crash(r);
			ck_assert_int_eq(rig_open(r), 0);
			ck_assert(rig_metric(r, "weir_edge_spool_damaged_records") == 0);
		}
		uint64_t aggregated = rig_ledger(r).aggregated;
		r->cloud.deaf = false;
		finish(r);
		ck_assert(!pipeline_fenced(r->p, NULL));
		ck_assert_uint_eq(rig_merged(r, "load"), aggregated);
		ck_assert_uint_eq(rig_ledger(r).aggregated, aggregated);
		rig_free(r);
	}
}
END_TEST

START_TEST(a_damaged_batch_found_on_a_full_disk_is_replaced_later)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR_HOUR);
	r->cloud.deaf = true;
	for (int i = 0; i < 3; i++)
		feed_flush(r, i, 40);
	rig_damage(r, SPOOL_BATCH, 1);
	r->cloud.deaf = false;
	r->disk_full = true;
	feed(r, 3, 1); /* so that there is something that does not fit */
	ck_assert_int_eq(rig_ticks(r, 20, 1000), 0);
	ck_assert_uint_gt(rig_ledger(r).dropped, 0);
	r->disk_full = false;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), rig_ledger(r).aggregated);
	rig_free(r);
}
END_TEST

START_TEST(a_damaged_step_is_forgotten)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG)
	    "  - name: load\n"
	    "    from: {measurement: load, field: v}\n"
	    "    steps: [{dedupe: {depth: 4}}]\n"
	    "    by: [sensor]\n"
	    "    window: 1h\n"
	    "    lateness: 0s\n"
	    "    compute: [count, sum]\n");
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	ck_assert_uint_eq(rig_records(r, SPOOL_STEP), 1);
	rig_crash(r);
	rig_damage(r, SPOOL_STEP, 0);
	ck_assert_int_eq(rig_open(r), 0);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 2);
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	ck_assert_uint_eq(rig_records(r, SPOOL_STEP), 1);
	rig_free(r);
}
END_TEST

START_TEST(many_groups_make_several_batches_of_one_tick)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG)
	    "  - name: load\n"
	    "    from: {measurement: load, field: v}\n"
	    "    by: [sensor]\n"
	    "    window: 1h\n"
	    "    lateness: 0s\n"
	    "    compute: [count, sum, min, max, stddev, first, last, p50]\n");
	rig_ticks(r, 3, 1000);
	feed_flush(r, 1, 30000);
	rig_tick(r, 1000);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 30000);
	ck_assert_uint_eq(r->cloud.row_count, 30000);
	ck_assert_uint_gt(r->cloud.merged, 4);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/spool");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, at_the_disk_limit_compaction_then_backpressure);
	tcase_add_test(tc, compaction_leaves_alone_what_may_have_been_sent);
	tcase_add_test(tc, compaction_survives_a_crash_at_each_commit);
	tcase_add_test(tc, a_full_disk_stops_sources_and_loses_nothing);
	tcase_add_test(tc, a_full_disk_that_gets_room_goes_on);
	tcase_add_test(tc, a_damaged_delta_is_counted_and_the_rest_lives);
	tcase_add_test(tc, a_damaged_batch_is_counted_and_its_number_kept);
	tcase_add_test(tc, compaction_passes_over_a_damaged_batch);
	tcase_add_test(tc, a_damaged_batch_found_on_a_full_disk_is_replaced_later);
	tcase_add_test(tc, a_damaged_step_is_forgotten);
	tcase_add_test(tc, many_groups_make_several_batches_of_one_tick);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
