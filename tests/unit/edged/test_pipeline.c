/* The way of a reading through the whole pure core: counted, stepped, cut, stored, sent, acknowledged, exactly once. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/progress.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

static const int64_t minute = 60 * NS_PER_SEC;

START_TEST(readings_are_matched_grouped_and_counted)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) SPEED);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=80,volume=3 %lld\n", 1);
	rig_line_at(r, 0, "traffic,sensor=6005,site=south speed=70i %lld\n", 2);
	rig_line_at(r, 0, "traffic,sensor=7005 speed=10 %lld\n", 3);
	rig_line_at(r, 0, "traffic,sensor=6006 speed=\"fast\" %lld\n", 4);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=t %lld\n", 5);
	rig_lines(r, 0, "traffic,sensor= speed=1\n");
	rig_drain(r);
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.accepted, 6);
	ck_assert_uint_eq(l.refused, 1);
	ck_assert_uint_eq(l.unmatched, 2);
	ck_assert_uint_eq(l.matched, 4);
	ck_assert_uint_eq(l.aggregated, 3);
	ck_assert_uint_eq(l.dropped, 1);
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"speed\",reason=\"not_numeric\"}") == 1);
	ck_assert_uint_eq(rig_merged(r, "speed"), 3);
	/* the reading's own tag wins over the edge's, and groups are in the order of `by` */
	ck_assert_uint_eq(r->cloud.row_count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct rig_row *row = &r->cloud.rows[i];
		bool south = row->group_len == 11 && memcmp(row->group, "\005south\0046005", 11) == 0;
		bool north = row->group_len == 11 && memcmp(row->group, "\005north\0046005", 11) == 0;
		ck_assert(south || north);
		ck_assert_uint_eq(row->count, south ? 1 : 2);
		ck_assert(row->sum == (south ? 70 : 81));
		ck_assert(row->slice_ns == rig_base_ns());
	}
	rig_free(r);
}
END_TEST

START_TEST(timestamps_out_of_bounds_are_refused)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_tick(r, 1000);
	rig_line_at(r, 0, "load,sensor=a v=1,w=2 %lld\n", 90000);
	rig_lines(r, 0, "load,sensor=a v=1 9000000000\n");
	rig_lines(r, 0, "load,sensor=a v=1 -9000000000\n");
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 86700);
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.accepted, 1);
	ck_assert_uint_eq(l.refused, 4);
	ck_assert(rig_metric(r, "weir_edge_readings_refused_total{reason=\"too_far_ahead\"}") == 2);
	ck_assert(rig_metric(r, "weir_edge_readings_refused_total{reason=\"bad_timestamp\"}") == 2);
	rig_free(r);
}
END_TEST

START_TEST(a_clock_before_the_last_commit_suspends_max_ahead)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	ck_assert(!r->cloud.clock_suspect);
	rig_crash(r);
	r->wall_offset_ns = -30 * 24 * 3600 * NS_PER_SEC; /* no battery, and a saved clock of last month */
	ck_assert_int_eq(rig_open(r), 0);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	ck_assert_uint_eq(rig_ledger(r).accepted, 1);
	rig_ticks(r, 3, 1000);
	ck_assert(r->cloud.clock_suspect);
	/* also after commits with the wrong clock */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 2);
	ck_assert_uint_eq(rig_ledger(r).accepted, 2);
	r->wall_offset_ns = 0;
	rig_ticks(r, 3, 1000);
	ck_assert(!r->cloud.clock_suspect);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 90000);
	ck_assert_uint_eq(rig_ledger(r).refused, 1);
	rig_free(r);
}
END_TEST

START_TEST(an_hour_back_refuses_nothing_that_is_right)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->wall_offset_ns = -3600 * NS_PER_SEC;
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 86400); /* before any tick has seen the step */
	ck_assert_uint_eq(rig_ledger(r).accepted, 1);
	rig_ticks(r, 3, 1000);
	ck_assert(r->cloud.clock_suspect);
	ck_assert(rig_metric(r, "weir_edge_clock_suspect") == 1);
	rig_ticks(r, 2 * 3600 / 60, 60000); /* longer than the step: the clock shows again what it showed before */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 86400 + 7200);
	ck_assert_uint_eq(rig_ledger(r).accepted, 2);
	r->wall_offset_ns = 0;
	rig_ticks(r, 3, 1000);
	ck_assert(!r->cloud.clock_suspect);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 86400 + 7200 + 3600);
	ck_assert_uint_eq(rig_ledger(r).refused, 1);
	rig_free(r);
}
END_TEST

START_TEST(ten_days_forward_and_back_leaves_the_rule_as_it_was)
{
	static const long long day = 86400;
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->wall_offset_ns = 10 * day * NS_PER_SEC;
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", day);
	rig_lines(r, 0, "load,sensor=a v=1\n"); /* stamped by the wrong clock */
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(rig_ledger(r).accepted, 2);
	r->wall_offset_ns = 0;
	rig_ticks(r, 3, 1000);
	ck_assert(!r->cloud.clock_suspect);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 2 * day);
	ck_assert_uint_eq(rig_ledger(r).refused, 1);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", day + 5);
	rig_lines(r, 0, "load,sensor=a v=1\n");
	ck_assert_uint_eq(rig_ledger(r).accepted, 4);
	rig_crash(r); /* nor does it outlive the process */
	ck_assert_int_eq(rig_open(r), 0);
	rig_ticks(r, 3, 1000);
	ck_assert(!r->cloud.clock_suspect);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), rig_ledger(r).accepted);
	rig_free(r);
}
END_TEST

START_TEST(slices_leave_when_event_time_has_passed_them)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) SPEED);
	rig_ticks(r, 2, 1000);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=1 %lld\n", 1);
	rig_line_at(r, 1, "traffic,sensor=6005 speed=2 %lld\n", 2);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=3 %lld\n", 71); /* the other source holds event time back */
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_merged(r, "speed"), 0);
	rig_line_at(r, 1, "traffic,sensor=6005 speed=4 %lld\n", 69);
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_merged(r, "speed"), 0);
	rig_line_at(r, 1, "traffic,sensor=6005 speed=5 %lld\n", 70);
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_merged(r, "speed"), 2);
	rig_ticks(r, 2, 1000);
	const struct msg_report_stream *s = rig_report(r, "speed");
	ck_assert_int_eq(s->phase, PHASE_LIVE);
	ck_assert(s->watermark_ns == rig_base_ns() + minute);
	ck_assert(s->unsent);
	rig_free(r);
}
END_TEST

START_TEST(the_watermark_waits_for_acknowledgements_and_never_falls)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.lose_batch_replies = true;
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 1, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 65);
	rig_line_at(r, 1, "load,sensor=a v=1 %lld\n", 65);
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 2); /* merged, but the edge does not know */
	ck_assert(rig_report(r, "load")->watermark_ns == rig_base_ns());
	r->cloud.lose_batch_replies = false;
	rig_ticks(r, 8, 1000);
	ck_assert(r->cloud.duplicates > 0);
	ck_assert(rig_report(r, "load")->watermark_ns == rig_base_ns() + minute);
	/* a late reading does not take it back, nor does a restart */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", -500);
	rig_tick(r, 1000);
	rig_ticks(r, 2, 1000);
	ck_assert(rig_report(r, "load")->watermark_ns == rig_base_ns() + minute);
	rig_crash(r);
	r->cloud.report_count = 0;
	ck_assert_int_eq(rig_open(r), 0);
	rig_ticks(r, 3, 1000);
	ck_assert(rig_report(r, "load")->watermark_ns == rig_base_ns() + minute);
	ck_assert_uint_eq(rig_merged(r, "load"), 3);
	rig_free(r);
}
END_TEST

START_TEST(idle_edges_flush_and_say_what_they_have_flushed)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 5, 1000);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_JOINING);
	ck_assert(rig_report(r, "load")->watermark_ns == WATERMARK_NONE);
	rig_ticks(r, 30, 1000);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_IDLE);
	ck_assert(rig_report(r, "load")->flushed_end_ns == WATERMARK_NONE);
	ck_assert_uint_eq(pipeline_spool_bytes(r->p), 0); /* an empty database takes some, but nothing waits in it */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 61);
	rig_ticks(r, 2, 1000);
	ck_assert_uint_gt(pipeline_spool_bytes(r->p), 0);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_LIVE);
	ck_assert(rig_report(r, "load")->unsent);
	pipeline_source_finished(r->p, 0, true); /* counts at once */
	rig_ticks(r, 3, 1000);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_IDLE);
	ck_assert(!rig_report(r, "load")->unsent);
	ck_assert_uint_eq(pipeline_spool_bytes(r->p), 0);
	ck_assert(rig_report(r, "load")->flushed_end_ns == rig_base_ns() + 2 * minute);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	/* kept through a restart */
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_ticks(r, 3, 1000);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_IDLE);
	ck_assert(rig_report(r, "load")->flushed_end_ns == rig_base_ns() + 2 * minute);
	rig_free(r);
}
END_TEST

START_TEST(what_closes_a_window_is_reported_at_once)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	for (uint32_t source = 0; source < 2; source++) {
		rig_line_at(r, source, "load,sensor=a v=1 %lld\n", 1);
		rig_line_at(r, source, "load,sensor=b v=1 %lld\n", 65);
	}
	uint64_t reports = r->cloud.reports;
	rig_tick(r, 1000); /* cut, sent, acknowledged, committed, told */
	ck_assert(rig_report(r, "load")->watermark_ns == rig_base_ns() + minute);
	ck_assert_uint_eq(r->cloud.reports, reports + 2); /* the heartbeat was before the acknowledgement */
	/* no window ends: the heartbeat is soon enough */
	rig_line_at(r, 0, "load,sensor=b v=1 %lld\n", 70);
	rig_ticks(r, 4, 200);
	ck_assert_uint_eq(r->cloud.reports, reports + 2);
	/* window after window: five a second, and the heartbeat */
	reports = r->cloud.reports;
	for (int i = 1; i <= 100; i++) {
		for (uint32_t source = 0; source < 2; source++)
			rig_line_at(r, source, "load,sensor=a v=1 %lld\n", 65 + i * 60);
		rig_tick(r, 20);
	}
	ck_assert_uint_ge(r->cloud.reports, reports + 10);
	ck_assert_uint_le(r->cloud.reports, reports + 13);
	rig_free(r);
}
END_TEST

START_TEST(an_edge_that_becomes_idle_says_so_at_once)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_tick(r, 1000);
	ck_assert_int_ne(rig_report(r, "load")->phase, PHASE_IDLE);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_tick(r, 300);
	ck_assert_int_eq(rig_report(r, "load")->phase, PHASE_IDLE);
	ck_assert(rig_report(r, "load")->flushed_end_ns == rig_base_ns() + minute);
	ck_assert(!rig_report(r, "load")->unsent);
	rig_free(r);
}
END_TEST

START_TEST(a_stopped_process_is_not_an_idle_one)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_ticks(r, 3, 1000);
	rig_tick(r, 120000); /* suspended */
	rig_tick(r, 1000);
	ck_assert_int_ne(rig_report(r, "load")->phase, PHASE_IDLE);
	rig_free(r);
}
END_TEST

START_TEST(a_stop_is_known_by_what_counts_as_idle)
{
	struct progress p;
	int64_t event_ns;
	progress_init(&p, 1, 4 * NS_PER_SEC, NS_PER_SEC, 0);
	progress_reading(&p, 0, 1, 0);
	progress_update(&p, false, NS_PER_SEC);
	progress_update(&p, false, 7 * NS_PER_SEC); /* stopped for longer than idle_after, not for 10 s */
	ck_assert_int_eq(progress_event_time(&p, &event_ns), PROGRESS_AT);
	for (int64_t t = 8; t < 11; t++)
		progress_update(&p, false, t * NS_PER_SEC);
	ck_assert_int_eq(progress_event_time(&p, &event_ns), PROGRESS_IDLE);
	progress_free(&p);
}
END_TEST

START_TEST(long_slices_are_flushed_before_they_end)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG)
	    "  - {name: day, from: {measurement: load, field: v}, by: [sensor], window: 24h, lateness: 0s, compute: [count]}\n");
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 6; k++) {
			rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", i);
			rig_line_at(r, 1, "load,sensor=a v=1 %lld\n", i);
			rig_ticks(r, k < 5 ? 10 : 9, 1000);
			ck_assert_uint_eq(rig_merged(r, "day"), 12 * (uint64_t)i);
		}
		rig_ticks(r, 2, 1000);
		ck_assert_uint_eq(rig_merged(r, "day"), 12 * (uint64_t)i + 12);
	}
	ck_assert_uint_eq(r->cloud.row_count, 1);
	rig_free(r);
}
END_TEST

START_TEST(works_without_a_cloud_and_catches_up)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.deaf = true;
	for (int i = 0; i < 20; i++) {
		char text[100];
		snprintf(text, sizeof(text), "load,sensor=s%d v=1 %%lld\n", i % 5);
		rig_line_at(r, 0, text, i * 60);
		rig_line_at(r, 1, text, i * 60);
		r->now_ns += 58 * NS_PER_SEC;
		rig_tick(r, 1000);
		rig_tick(r, 1000);
	}
	ck_assert_uint_gt(r->connects, 2); /* it tries all clouds */
	ck_assert_uint_eq(rig_merged(r, "load"), 0);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	r->cloud.deaf = false;
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 40);
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH), 0);
	ck_assert_uint_eq(rig_records(r, SPOOL_DELTA), 0);
	ck_assert(r->cloud.epoch == 1 || r->cloud.epoch == 2);
	rig_free(r);
}
END_TEST

START_TEST(a_batch_is_never_sent_before_it_and_its_sent_mark_are_durable)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 1, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 61);
	rig_line_at(r, 1, "load,sensor=a v=1 %lld\n", 61);
	uint64_t batches = r->cloud.batches;
	r->fail_commit = 0;
	r->fail_with = WEIR_EFULL;
	r->now_ns += NS_PER_SEC;
	ck_assert_int_eq(pipeline_tick(r->p, rig_now(r)), 0);
	rig_deliver(r);
	ck_assert_uint_eq(r->cloud.batches, batches);
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH), 0);
	rig_check_ledger(r);
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	rig_free(r);
}
END_TEST

/* One deterministic run of readings with a crash at commit number `at`; sources give again what was not committed. */
static bool run_with_crash(int64_t at, bool reached, const char *yaml, const char *stream)
{
	enum { LINES = 60 };
	struct rig *r = rig_new(yaml);
	r->fail_commit = at;
	r->fail_with = WEIR_EIO;
	r->fail_reached = reached;
	bool crashed = false;
	for (int step = 0; step < 200; step++) {
		int rc = 0;
		for (int n = 0; n < 3 && r->position[0] < LINES && rc == 0; n++) {
			char text[200];
			long long second = (long long)(rig_base_ns() / NS_PER_SEC) + (long long)r->position[0] * 7;
			snprintf(text, sizeof(text), "load,sensor=s%d v=%d %lld\n", (int)(r->position[0] % 7),
			    (int)r->position[0], second);
			rig_lines(r, 0, text);
		}
		if (r->position[0] == LINES)
			pipeline_source_finished(r->p, 0, true);
		pipeline_source_finished(r->p, 1, true);
		rc = rig_tick(r, 1000);
		if (rc < 0) {
			ck_assert_int_eq(rc, WEIR_EIO);
			ck_assert(!crashed);
			crashed = true;
			rig_crash(r);
			ck_assert_int_eq(rig_open(r), 0);
			rig_check_ledger(r);
			struct pipeline_ledger l = rig_ledger(r);
			ck_assert_uint_eq(l.accepted, r->position[0]); /* what the marks say */
			ck_assert_uint_eq(l.dropped, 0);
		}
	}
	ck_assert(pipeline_drained(r->p));
	ck_assert_uint_eq(rig_ledger(r).accepted, LINES);
	ck_assert_uint_eq(rig_merged(r, stream), LINES);
	ck_assert(!r->cloud.checksum_conflict);
	double sum = 0;
	for (size_t i = 0; i < r->cloud.row_count; i++)
		sum += r->cloud.rows[i].sum;
	ck_assert(sum == LINES * (LINES - 1) / 2);
	rig_free(r);
	return crashed;
}

START_TEST(exactly_once_with_a_crash_at_each_commit)
{
	int64_t at = 0;
	while (run_with_crash(at, false, CLUSTER EDGE(BIG) BY_SENSOR, "load") &&
	    run_with_crash(at, true, CLUSTER EDGE(BIG) BY_SENSOR, "load"))
		at++;
	ck_assert_int_gt(at, 15);
}
END_TEST

START_TEST(an_acknowledged_batch_is_deleted_and_not_resent)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	pipeline_source_finished(r->p, 1, true);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 61);
	rig_ticks(r, 3, 1000);
	uint64_t batches = r->cloud.batches;
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	ck_assert_uint_eq(rig_records(r, SPOOL_BATCH), 0);
	rig_ticks(r, 20, 1000);
	ck_assert_uint_eq(r->cloud.batches, batches);
	ck_assert_uint_eq(r->cloud.duplicates, 0);
	/* numbering goes on after a restart although no batch is left */
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	const char *why;
	ck_assert(!pipeline_fenced(r->p, &why));
	rig_free(r);
}
END_TEST

START_TEST(memory_limit_cuts_the_largest_slices_at_once)
{
	struct rig *r = rig_new(CLUSTER EDGE("{memory: 1MiB, disk: 256MiB}") BY_SENSOR);
	rig_ticks(r, 3, 1000);
	char text[100];
	int n = 0;
	while (!pipeline_wants_tick(r->p) && n < 100000) {
		snprintf(text, sizeof(text), "load,sensor=s%d v=1 %%lld\n", n);
		rig_line_at(r, 0, text, n++ % 2 ? 1 : 61);
	}
	ck_assert_int_lt(n, 10000);
	ck_assert(rig_metric(r, "weir_edge_open_partials_bytes") > 500 * 1024);
	rig_tick(r, 0);
	ck_assert(rig_metric(r, "weir_edge_open_partials_bytes") <= 260 * 1024);
	ck_assert(rig_metric(r, "weir_edge_series_cached_bytes") < 512 * 1024);
	rig_ticks(r, 10, 1000);
	ck_assert(rig_merged(r, "load") > 0);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), (uint64_t)n);
	rig_free(r);
}
END_TEST

START_TEST(the_series_cache_is_bounded_and_forgets_nothing_that_counts)
{
	struct rig *r = rig_new(CLUSTER EDGE("{memory: 1MiB, disk: 256MiB}")
	    "  - {name: load, from: {measurement: load, field: \"v*\"}, by: [], window: 1m, lateness: 0s, compute: [count]}\n");
	char text[200];
	for (int round = 0; round < 2; round++) {
		for (int n = 0; n < 5000; n++) {
			snprintf(text, sizeof(text), "load,sensor=s%d v%d=1 %%lld\n", n, n % 3);
			rig_line_at(r, 0, text, 1);
		}
		for (int n = 0; n < 2000; n++) { /* one series with ever new fields */
			snprintf(text, sizeof(text), "load,sensor=x v%d=1 %%lld\n", n);
			rig_line_at(r, 0, text, 1);
		}
	}
	ck_assert(rig_metric(r, "weir_edge_series_cached") < 5001);
	ck_assert(rig_metric(r, "weir_edge_series_cached_bytes") < 512 * 1024);
	ck_assert_uint_eq(rig_ledger(r).matched, 14000);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 14000);
	ck_assert_uint_eq(r->cloud.row_count, 1);
	rig_free(r);
}
END_TEST

START_TEST(new_fields_of_known_series_are_bounded_too)
{
	struct rig *r = rig_new(CLUSTER EDGE("{memory: 1MiB, disk: 256MiB}")
	    "  - {name: load, from: {measurement: load, field: \"v*\"}, by: [], window: 1m, lateness: 0s, compute: [count]}\n");
	char text[200];
	for (int field = 0; field < 100; field++) {
		for (int n = 0; n < 200; n++) { /* few enough to be known all at once */
			snprintf(text, sizeof(text), "load,sensor=s%d v%d=1 %%lld\n", n, field);
			rig_line_at(r, 0, text, 1);
		}
	}
	ck_assert(rig_metric(r, "weir_edge_series_cached") > 1);
	ck_assert(rig_metric(r, "weir_edge_series_cached_bytes") < 512 * 1024);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 20000);
	rig_free(r);
}
END_TEST

START_TEST(open_slices_survive_a_crash)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) SPEED);
	for (int i = 0; i < 100; i++)
		rig_line_at(r, 0, "traffic,sensor=6005 speed=5 %lld\n", 1);
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_records(r, SPOOL_DELTA), 1);
	for (int i = 0; i < 10; i++)
		rig_line_at(r, 0, "traffic,sensor=6005 speed=5 %lld\n", 1); /* lost: a tcp source cannot give them again */
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 100);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=7 %lld\n", 2);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(r->cloud.row_count, 1);
	ck_assert_uint_eq(r->cloud.rows[0].count, 101);
	ck_assert(r->cloud.rows[0].max == 7 && r->cloud.rows[0].min == 5 && r->cloud.rows[0].sum == 507);
	rig_free(r);
}
END_TEST

START_TEST(a_stream_that_is_gone_or_new_loses_nothing)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) SPEED BY_SENSOR);
	r->cloud.deaf = true;
	rig_line_at(r, 0, "traffic,sensor=6005 speed=5 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=5 %lld\n", 1);
	ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
	rig_line_at(r, 0, "traffic,sensor=6005 speed=6 %lld\n", 1);
	rig_line_at(r, 0, "load,sensor=a v=6 %lld\n", 1);
	ck_assert_int_eq(rig_tick(r, 1000), 0);
	rig_crash(r);
	rig_topology(r, CLUSTER EDGE(BIG) BY_SENSOR); /* speed is gone: both its batch and its delta are still sent */
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 4);
	r->cloud.deaf = false;
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "speed"), 2);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	ck_assert_uint_eq(rig_records(r, SPOOL_DELTA), 0);
	rig_free(r);
}
END_TEST

START_TEST(a_spool_of_another_edge_or_cluster_is_refused)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_tick(r, 1000);
	rig_crash(r);
	rig_topology(r, "version: 1\n"
			"cluster: {name: plant, shards: 8, replicas: 1, security: none}\n"
			"cloud:\n"
			"  - {name: cloud-1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
			"edges:\n" EDGE(BIG) BY_SENSOR);
	ck_assert_int_eq(rig_open(r), WEIR_EINVAL);
	rig_topology(r, CLUSTER EDGE(BIG) BY_SENSOR);
	ck_assert_int_eq(rig_open(r), 0);
	rig_free(r);
}
END_TEST

START_TEST(steps_run_in_order_and_their_state_survives)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG)
	    "  - name: flow\n"
	    "    from: {measurement: meter, field: total}\n"
	    "    steps:\n"
	    "      - dedupe: {depth: 4}\n"
	    "      - where: {kind: \"wat*\"}\n"
	    "      - rate: {per: 1s}\n"
	    "      - range: {min: 0, max: 100}\n"
	    "      - scale: {by: 2, add: 1}\n"
	    "    by: [id]\n"
	    "    window: 1m\n"
	    "    lateness: 0s\n"
	    "    compute: [count, sum, min, max]\n");
	rig_line_at(r, 0, "meter,id=a,kind=water total=10 %lld\n", 0); /* first */
	rig_line_at(r, 0, "meter,id=a,kind=gas total=10 %lld\n", 0);   /* where */
	rig_line_at(r, 0, "meter,kind=water,id=a total=30 %lld\n", 10); /* 2/s; tags in another order: the same series */
	rig_tick(r, 1000);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	rig_line_at(r, 0, "meter,id=a,kind=water total=30 %lld\n", 10); /* duplicate */
	rig_line_at(r, 0, "meter,id=a,kind=water total=30 %lld\n", 5);  /* out of order */
	rig_line_at(r, 0, "meter,id=a,kind=water total=60 %lld\n", 20); /* 3/s */
	rig_line_at(r, 0, "meter,id=a,kind=water total=40 %lld\n", 30); /* reset: 4/s */
	rig_line_at(r, 0, "meter,id=a,kind=water total=9999 %lld\n", 31); /* range */
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	static const char *const reasons[] = {"rate_first", "where", "duplicate", "out_of_order", "range"};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		char sample[200];
		snprintf(sample, sizeof(sample), "weir_edge_stream_dropped_total{stream=\"flow\",reason=\"%s\"}", reasons[i]);
		ck_assert_msg(rig_metric(r, sample) == 1, "%s", reasons[i]);
	}
	const struct rig_row *row = rig_row(r, "flow", rig_base_ns(), "a");
	ck_assert_ptr_nonnull(row);
	ck_assert_uint_eq(row->count, 3);
	ck_assert(row->sum == 5 + 7 + 9);
	rig_free(r);
}
END_TEST

START_TEST(an_edge_that_is_not_expected_still_counts)
{
	struct rig *r = rig_new(CLUSTER
	    "  - {name: edge-1, data: e1, sources: [{type: tcp, listen: \"127.0.0.1:7201\"}]}\n"
	    "  - {name: edge-2, data: e2, sources: [{type: tcp, listen: \"127.0.0.1:7202\"}]}\n"
	    "streams:\n" BY_SENSOR "    edges: [edge-2]\n" SPEED);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 1);
	rig_ticks(r, 3, 1000);
	ck_assert_ptr_null(rig_report(r, "load"));
	ck_assert_ptr_nonnull(rig_report(r, "speed"));
	pipeline_source_finished(r->p, 0, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

START_TEST(groups_that_are_too_long_are_dropped_and_distinct_values_kept)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG)
	    "  - name: load\n"
	    "    from: {measurement: \"*\", field: \"*\"}\n"
	    "    by: [sensor, missing]\n"
	    "    window: 1m\n"
	    "    lateness: 0s\n"
	    "    compute: [count, distinct(user)]\n");
	char text[700], name[500];
	memset(name, 'x', sizeof(name));
	for (size_t n = 390; n < 410; n++) { /* two lengths: 2 + 1 bytes */
		snprintf(text, sizeof(text), "load,sensor=%.*s,user=u%d v=1 %%lld\n", (int)n, name, (int)n % 3);
		char line[800];
		snprintf(line, sizeof(line), text, (long long)(rig_base_ns() / NS_PER_SEC));
		rig_lines(r, 0, line);
	}
	ck_assert_uint_eq(rig_ledger(r).matched, 20);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 8); /* 390 .. 397 */
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"load\",reason=\"group_too_long\"}") == 12);
	rig_tick(r, 1000);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(rig_ledger(r).aggregated, 8);
	rig_free(r);
}
END_TEST

START_TEST(nothing_new_is_nothing_written)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 40, 1000);
	uint64_t commits = r->commits, told = r->commits_told;
	rig_ticks(r, 20, 1000);
	ck_assert_uint_eq(r->commits, commits);
	ck_assert_uint_ge(r->commits_told, told + 20);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/pipeline");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, readings_are_matched_grouped_and_counted);
	tcase_add_test(tc, timestamps_out_of_bounds_are_refused);
	tcase_add_test(tc, a_clock_before_the_last_commit_suspends_max_ahead);
	tcase_add_test(tc, an_hour_back_refuses_nothing_that_is_right);
	tcase_add_test(tc, ten_days_forward_and_back_leaves_the_rule_as_it_was);
	tcase_add_test(tc, slices_leave_when_event_time_has_passed_them);
	tcase_add_test(tc, the_watermark_waits_for_acknowledgements_and_never_falls);
	tcase_add_test(tc, idle_edges_flush_and_say_what_they_have_flushed);
	tcase_add_test(tc, what_closes_a_window_is_reported_at_once);
	tcase_add_test(tc, an_edge_that_becomes_idle_says_so_at_once);
	tcase_add_test(tc, a_stopped_process_is_not_an_idle_one);
	tcase_add_test(tc, a_stop_is_known_by_what_counts_as_idle);
	tcase_add_test(tc, long_slices_are_flushed_before_they_end);
	tcase_add_test(tc, works_without_a_cloud_and_catches_up);
	tcase_add_test(tc, a_batch_is_never_sent_before_it_and_its_sent_mark_are_durable);
	tcase_add_test(tc, exactly_once_with_a_crash_at_each_commit);
	tcase_add_test(tc, an_acknowledged_batch_is_deleted_and_not_resent);
	tcase_add_test(tc, memory_limit_cuts_the_largest_slices_at_once);
	tcase_add_test(tc, the_series_cache_is_bounded_and_forgets_nothing_that_counts);
	tcase_add_test(tc, new_fields_of_known_series_are_bounded_too);
	tcase_add_test(tc, open_slices_survive_a_crash);
	tcase_add_test(tc, a_stream_that_is_gone_or_new_loses_nothing);
	tcase_add_test(tc, a_spool_of_another_edge_or_cluster_is_refused);
	tcase_add_test(tc, steps_run_in_order_and_their_state_survives);
	tcase_add_test(tc, an_edge_that_is_not_expected_still_counts);
	tcase_add_test(tc, groups_that_are_too_long_are_dropped_and_distinct_values_kept);
	tcase_add_test(tc, nothing_new_is_nothing_written);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
