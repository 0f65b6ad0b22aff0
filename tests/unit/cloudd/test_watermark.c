#include <check.h>
#include <stdlib.h>

#include "cloudd/fleet_time.h"
#include "cloudd/watermark.h"
#include "common/clock.h"

#define S NS_PER_SEC
#define MIN (60 * NS_PER_SEC)
#define EDGES 3

/* A stream of 1m windows with a small fleet, as the meta leader holds it. */
struct fleet {
	struct watermark_conf conf;
	struct watermark_committed edges[EDGES];
	struct watermark_heard heard[EDGES];
	size_t count;
	int64_t close_ns, final_ns, now_ns;
	struct watermark_bound bound; /* the fleet's clocks */
};

static void fleet_start(struct fleet *f, size_t count)
{
	*f = (struct fleet){.conf = {.partitioned_after_ns = MIN, .slice_ns = MIN, .size_ns = MIN, .lateness_ns = 30 * S},
	    .bound = {FLEET_TIME_UNKNOWN, 10 * MIN},
	    .count = count,
	    .close_ns = WATERMARK_NONE,
	    .final_ns = WATERMARK_NONE,
	    .now_ns = 1000 * S};
	for (size_t i = 0; i < count; i++) {
		f->edges[i] = (struct watermark_committed){EDGE_JOINING, WATERMARK_NONE, WATERMARK_NONE};
		watermark_start(&f->heard[i], f->now_ns);
	}
}

/* A leader of another node takes over what is committed, and hears everyone anew. */
static void fleet_change_leader(struct fleet *f)
{
	for (size_t i = 0; i < f->count; i++)
		watermark_start(&f->heard[i], f->now_ns);
}

static void fleet_evaluate(struct fleet *f)
{
	struct watermark_committed next[EDGES];
	for (size_t i = 0; i < f->count; i++) {
		watermark_edge(&f->conf, &f->edges[i], &f->heard[i], f->close_ns, f->now_ns, &next[i]);
		if (next[i].state == EDGE_JOINING && f->edges[i].state != EDGE_JOINING)
			f->heard[i].joining_ns = f->now_ns;
	}
	int64_t close_ns = f->close_ns, final_ns = f->final_ns;
	watermark_close(next, f->count, WATERMARK_NONE, &f->close_ns, &f->final_ns);
	ck_assert(f->close_ns >= close_ns && f->final_ns >= final_ns);
	ck_assert(f->final_ns <= f->close_ns);
	for (size_t i = 0; i < f->count; i++)
		f->edges[i] = next[i];
}

static void report(struct fleet *f, size_t edge, enum edge_phase phase, int64_t watermark_ns, int64_t flushed_ns,
    bool unsent)
{
	watermark_report(&f->heard[edge], &f->conf,
	    &(struct msg_report_stream){"speed", 1, phase, watermark_ns, flushed_ns, unsent, false, 0}, &f->bound, f->now_ns);
	fleet_evaluate(f);
}

static void live(struct fleet *f, size_t edge, int64_t watermark_ns)
{
	report(f, edge, PHASE_LIVE, watermark_ns, WATERMARK_NONE, false);
}

static void wait(struct fleet *f, int64_t ns)
{
	f->now_ns += ns;
	fleet_evaluate(f);
}

/* Time passes in seconds, and edge `edge` sends its heartbeats without anything new. */
static void wait_with_heartbeat(struct fleet *f, size_t edge, enum edge_phase phase, bool unsent, int64_t ns)
{
	for (int64_t t = 0; t < ns; t += S) {
		f->now_ns += S;
		report(f, edge, phase, f->heard[edge].watermark_ns, f->heard[edge].flushed_end_ns, unsent);
	}
}

START_TEST(close_is_the_minimum_over_live_edges)
{
	struct fleet f;
	fleet_start(&f, 3);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 12 * MIN);
	ck_assert(f.close_ns == WATERMARK_NONE); /* the third has not joined: [an edge that starts before another] */
	live(&f, 2, 11 * MIN);
	ck_assert(f.close_ns == 10 * MIN && f.final_ns == 10 * MIN);
	live(&f, 0, 13 * MIN);
	ck_assert(f.close_ns == 11 * MIN && f.final_ns == 11 * MIN);
}
END_TEST

START_TEST(an_edge_that_never_says_hello_is_partitioned_in_time)
{
	struct fleet f;
	fleet_start(&f, 2);
	for (int i = 0; i < 59; i++) {
		f.now_ns += S;
		live(&f, 0, 10 * MIN + i * S);
		ck_assert(f.edges[1].state == EDGE_JOINING && f.close_ns == WATERMARK_NONE);
	}
	f.now_ns += S;
	live(&f, 0, 11 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 11 * MIN); /* provisional: the fleet goes on */
	ck_assert(f.final_ns == WATERMARK_NONE); /* but nothing is final without it */
}
END_TEST

START_TEST(old_data_replayed_by_a_joining_edge_does_not_move_close_back)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 100 * MIN);
	wait(&f, MIN);
	live(&f, 0, 101 * MIN);
	ck_assert(f.close_ns == 101 * MIN);
	live(&f, 1, 3 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	live(&f, 0, 102 * MIN);
	ck_assert(f.close_ns == 102 * MIN);
	ck_assert(f.final_ns == 3 * MIN);
	live(&f, 1, 50 * MIN);
	ck_assert(f.close_ns == 102 * MIN && f.final_ns == 50 * MIN);
	live(&f, 1, 102 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.final_ns == 102 * MIN);
}
END_TEST

START_TEST(a_returner_with_a_backlog_does_not_freeze_the_fleet)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 10 * MIN);
	for (int i = 1; i <= 120; i++) { /* edge 1 loses its link for two hours */
		wait(&f, MIN / 2);
		live(&f, 0, 10 * MIN + i * MIN);
	}
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 130 * MIN && f.final_ns == 10 * MIN);
	for (int i = 1; i <= 120; i++) { /* it is back, and drains */
		f.now_ns += S;
		report(&f, 1, PHASE_LIVE, 10 * MIN + i * MIN, WATERMARK_NONE, true);
		live(&f, 0, 130 * MIN + i * S);
		ck_assert(f.close_ns >= 130 * MIN + (i - 1) * S);
		if (i < 120)
			ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	}
	/* 130m is the last window's end at or below close: it has caught up, two minutes of lag or not */
	f.now_ns += S;
	live(&f, 1, 132 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.final_ns == f.close_ns);
}
END_TEST

START_TEST(an_edge_a_second_behind_the_others_does_not_chase_close_for_ever)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	wait(&f, MIN);
	live(&f, 0, 10 * MIN + 30 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	live(&f, 1, 10 * MIN + 28 * S); /* below close, but no window ends between */
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	live(&f, 0, 11 * MIN + 10 * S);
	ck_assert(f.close_ns == 10 * MIN + 30 * S); /* it counts: the window that ends at 11m waits for it */
	live(&f, 1, 11 * MIN + 8 * S);
	ck_assert(f.close_ns == 11 * MIN + 8 * S && f.final_ns == f.close_ns);
}
END_TEST

START_TEST(a_window_end_between_watermark_and_close_is_not_caught_up)
{
	struct fleet f;
	fleet_start(&f, 2);
	f.conf.offset_ns = 20 * S; /* windows end at 20 s past */
	live(&f, 0, 10 * MIN + 25 * S);
	wait(&f, MIN);
	live(&f, 0, 10 * MIN + 25 * S);
	live(&f, 1, 10 * MIN + 19 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	live(&f, 1, 10 * MIN + 20 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
}
END_TEST

START_TEST(unheard_edges_are_partitioned_and_hold_final_only)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 11 * MIN);
	f.now_ns += MIN - 1;
	live(&f, 0, 12 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.close_ns == 11 * MIN);
	wait(&f, 1);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 12 * MIN && f.final_ns == 11 * MIN);
}
END_TEST

START_TEST(a_change_of_leader_hears_everyone_anew)
{
	struct fleet f;
	fleet_start(&f, 3);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 11 * MIN);
	report(&f, 2, PHASE_IDLE, 5 * MIN, 6 * MIN, false);
	ck_assert(f.close_ns == 10 * MIN);
	f.now_ns += 30 * S;
	fleet_change_leader(&f);
	fleet_evaluate(&f);
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE);
	ck_assert_int_eq(f.edges[2].state, EDGE_IDLE);
	f.now_ns += 30 * S; /* a minute after the last report, but only half after the change */
	live(&f, 0, 20 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.close_ns == 11 * MIN);
	f.now_ns += 30 * S;
	live(&f, 0, 20 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert_int_eq(f.edges[2].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 20 * MIN);
	ck_assert(f.final_ns == 11 * MIN); /* as it was before: never falls, though the idle one's watermark is lower */
}
END_TEST

START_TEST(all_idle_closes_what_they_flushed_and_no_more)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 9 * MIN + 30 * S);
	live(&f, 1, 7 * MIN);
	report(&f, 0, PHASE_IDLE, 9 * MIN + 30 * S, 10 * MIN, false); /* a finished source counts at once */
	ck_assert_int_eq(f.edges[0].state, EDGE_IDLE);
	ck_assert(f.close_ns == 7 * MIN); /* the live one holds close */
	report(&f, 1, PHASE_IDLE, 7 * MIN, 8 * MIN, false);
	ck_assert(f.close_ns == 10 * MIN && f.final_ns == 10 * MIN);
	wait_with_heartbeat(&f, 0, PHASE_IDLE, false, 3600 * S);
	ck_assert(f.close_ns == 10 * MIN); /* never the wall clock */
}
END_TEST

START_TEST(an_idle_edge_that_never_read_anything_holds_nothing_up)
{
	struct fleet f;
	fleet_start(&f, 2);
	report(&f, 0, PHASE_IDLE, WATERMARK_NONE, WATERMARK_NONE, false);
	ck_assert(f.close_ns == WATERMARK_NONE);
	live(&f, 1, 10 * MIN);
	ck_assert(f.close_ns == 10 * MIN && f.final_ns == 10 * MIN);
}
END_TEST

START_TEST(an_idle_edge_that_resumes_below_close_catches_up)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	report(&f, 1, PHASE_IDLE, 5 * MIN, 6 * MIN, false);
	ck_assert(f.close_ns == 10 * MIN && f.final_ns == 10 * MIN);
	live(&f, 1, 8 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	live(&f, 0, 12 * MIN);
	ck_assert(f.close_ns == 12 * MIN && f.final_ns == 10 * MIN);
	live(&f, 1, 12 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.final_ns == 12 * MIN);
}
END_TEST

START_TEST(backpressure_holds_close_until_it_is_stuck)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	report(&f, 1, PHASE_BACKPRESSURED, 10 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[1].state, EDGE_BACKPRESSURED);
	live(&f, 0, 15 * MIN);
	ck_assert(f.close_ns == 10 * MIN);
	wait_with_heartbeat(&f, 1, PHASE_BACKPRESSURED, true, 110 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_BACKPRESSURED); /* partitioned_after and a slice: not yet */
	wait_with_heartbeat(&f, 1, PHASE_BACKPRESSURED, true, 10 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	live(&f, 0, 16 * MIN);
	ck_assert(f.close_ns == 16 * MIN && f.final_ns == 10 * MIN);
	report(&f, 1, PHASE_LIVE, 12 * MIN, WATERMARK_NONE, true); /* it moves again */
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
}
END_TEST

START_TEST(not_advancing_with_nothing_unsent_is_no_partition)
{
	struct fleet f;
	fleet_start(&f, 1);
	live(&f, 0, 10 * MIN);
	wait_with_heartbeat(&f, 0, PHASE_LIVE, false, 3600 * S);
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE);
}
END_TEST

START_TEST(a_healthy_edge_with_long_windows_is_not_stuck)
{
	struct fleet f;
	fleet_start(&f, 1);
	f.conf.slice_ns = 60 * MIN;
	/* its watermark stands at the start of the open slice for an hour, while it holds data of it */
	report(&f, 0, PHASE_LIVE, 60 * MIN, WATERMARK_NONE, true);
	wait_with_heartbeat(&f, 0, PHASE_LIVE, true, 3600 * S);
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE);
	wait_with_heartbeat(&f, 0, PHASE_LIVE, true, 60 * S);
	ck_assert_int_eq(f.edges[0].state, EDGE_PARTITIONED);
}
END_TEST

START_TEST(joining_for_too_long_is_partitioned_until_it_has_something_to_say)
{
	struct fleet f;
	fleet_start(&f, 2);
	for (int i = 0; i < 60; i++) {
		f.now_ns += S;
		live(&f, 0, 10 * MIN);
		report(&f, 1, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false);
	}
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 10 * MIN);
	wait_with_heartbeat(&f, 1, PHASE_JOINING, false, 600 * S); /* does not go back to joining */
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	live(&f, 1, 10 * MIN + 5 * S);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
}
END_TEST

START_TEST(a_flapping_edge_that_never_reads_does_not_freeze_the_fleet)
{
	struct fleet f;
	fleet_start(&f, 2);
	/* It restarts every 40 s and says each time that it is joining. */
	for (int round = 0; round < 10; round++) {
		report(&f, 1, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false);
		for (int i = 0; i < 40; i++) {
			f.now_ns += S;
			live(&f, 0, (10 + round) * MIN);
		}
	}
	ck_assert(f.close_ns == 19 * MIN);
}
END_TEST

START_TEST(a_silent_edge_that_returns_is_given_time_to_advance)
{
	struct fleet f;
	fleet_start(&f, 1);
	report(&f, 0, PHASE_LIVE, 10 * MIN, WATERMARK_NONE, true);
	wait(&f, 100 * MIN);
	ck_assert_int_eq(f.edges[0].state, EDGE_PARTITIONED);
	report(&f, 0, PHASE_LIVE, 10 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE); /* not below close: nothing moved on without it */
}
END_TEST

START_TEST(impossible_times_are_no_times)
{
	struct fleet f;
	fleet_start(&f, 1);
	live(&f, 0, INT64_MAX);
	ck_assert(f.close_ns == WATERMARK_NONE);
	live(&f, 0, 10 * MIN);
	ck_assert(f.close_ns == 10 * MIN);
	live(&f, 0, INT64_MIN + 1);
	ck_assert(f.close_ns == 10 * MIN && f.edges[0].watermark_ns == 10 * MIN);
}
END_TEST

START_TEST(one_clock_ahead_moves_nothing)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 10 * MIN);
	live(&f, 1, 100000 * MIN);
	ck_assert(f.close_ns == 10 * MIN);
}
END_TEST

#define DAY (24 * 60 * MIN)

START_TEST(a_bad_clock_moves_nothing_where_nobody_else_holds_close)
{
	struct fleet f;
	fleet_start(&f, 3);
	f.bound.fleet_ns = 20 * MIN;
	live(&f, 0, 10 * MIN);
	live(&f, 1, 10 * MIN);
	live(&f, 2, 10 * DAY);
	ck_assert(f.close_ns == 10 * MIN);
	report(&f, 0, PHASE_IDLE, 10 * MIN, 11 * MIN, false); /* at night */
	report(&f, 1, PHASE_IDLE, 10 * MIN, 11 * MIN, false);
	ck_assert(f.close_ns == 20 * MIN - 30 * S); /* as if its clock were right, and its readings came in time */
	f.bound.fleet_ns = 21 * MIN;
	live(&f, 2, 10 * DAY);
	ck_assert(f.close_ns == 21 * MIN - 30 * S);
	report(&f, 0, PHASE_LIVE, 25 * MIN, 11 * MIN, false); /* within max_ahead of the others' time */
	ck_assert(f.edges[0].watermark_ns == 25 * MIN);
	wait(&f, MIN);
	live(&f, 2, 10 * DAY); /* the others are gone */
	ck_assert_int_eq(f.edges[0].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 21 * MIN - 30 * S);
}
END_TEST

/* The bound's time and the leader's. */
static void fleet_goes_on(struct fleet *f, int64_t ns)
{
	f->bound.fleet_ns += ns;
	f->now_ns += ns;
}

START_TEST(an_idle_fleet_that_was_measured_by_a_slow_clock_closes_once_it_is_right)
{
	struct fleet f;
	fleet_start(&f, 1);
	f.bound.fleet_ns = 20 * MIN - DAY;
	report(&f, 0, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns < 0);
	f.now_ns += 10 * S;
	f.bound.fleet_ns = 20 * MIN + 10 * S;
	report(&f, 0, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns == 20 * MIN - 20 * S);
	fleet_goes_on(&f, 10 * MIN);
	report(&f, 0, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns == 21 * MIN);
}
END_TEST

START_TEST(a_bad_clock_does_not_close_the_future_of_an_idle_fleet)
{
	struct fleet f;
	fleet_start(&f, 2);
	f.bound.fleet_ns = 20 * MIN;
	report(&f, 0, PHASE_IDLE, 10 * MIN, 11 * MIN, false);
	report(&f, 1, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns == 20 * MIN - 30 * S && f.final_ns == f.close_ns);
	fleet_goes_on(&f, MIN + 30 * S); /* what it had before can be closed a window's size later; then close stands still */
	report(&f, 0, PHASE_IDLE, 10 * MIN, 11 * MIN, false);
	report(&f, 1, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns == 21 * MIN);
	fleet_goes_on(&f, 30 * MIN);
	report(&f, 0, PHASE_IDLE, 10 * MIN, 11 * MIN, false);
	report(&f, 1, PHASE_IDLE, 10 * DAY, 10 * DAY + MIN, false);
	ck_assert(f.close_ns == 21 * MIN);
	live(&f, 0, 22 * MIN);
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE); /* resumes in time */
	/* A window may end later than its readings' time: that is closed, as ever. */
	fleet_start(&f, 1);
	f.conf.size_ns = DAY;
	f.bound.fleet_ns = 20 * MIN;
	report(&f, 0, PHASE_IDLE, 19 * MIN, DAY, false);
	ck_assert(f.close_ns == DAY);
}
END_TEST

START_TEST(a_clock_put_right_contributes_again)
{
	struct fleet f;
	fleet_start(&f, 2);
	f.bound.fleet_ns = 20 * MIN;
	live(&f, 0, 19 * MIN);
	live(&f, 1, 10 * DAY); /* and its clock is set right now; what it committed stays */
	ck_assert(f.edges[1].watermark_ns == 20 * MIN - 30 * S);
	f.bound.fleet_ns = 30 * MIN;
	live(&f, 1, 10 * DAY);
	live(&f, 0, 29 * MIN);
	ck_assert(f.close_ns == 29 * MIN); /* the other one holds close */
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	/* Unheard, it does not go on by the fleet's time. */
	f.bound.fleet_ns = 60 * MIN;
	wait(&f, MIN);
	live(&f, 0, 59 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 59 * MIN && f.final_ns == 30 * MIN - 30 * S);
}
END_TEST

START_TEST(ten_days_of_backlog_freeze_nobody)
{
	struct fleet f;
	fleet_start(&f, 3);
	for (size_t i = 0; i < 3; i++)
		live(&f, i, 10 * MIN);
	for (int64_t hour = 1; hour <= 240; hour++) {
		wait(&f, 60 * MIN);
		live(&f, 0, 10 * MIN + hour * 60 * MIN);
		live(&f, 1, 10 * MIN + hour * 60 * MIN);
	}
	ck_assert_int_eq(f.edges[2].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 10 * DAY + 10 * MIN && f.final_ns == 10 * MIN);
	for (int64_t s = 0; s < 480; s++) { /* half an hour of it in a second: the others' windows go on closing */
		f.now_ns += S;
		live(&f, 0, 10 * DAY + 10 * MIN + s * S);
		live(&f, 1, 10 * DAY + 10 * MIN + s * S);
		int64_t behind_ns = 10 * MIN + s * 30 * MIN;
		report(&f, 2, PHASE_LIVE, behind_ns, WATERMARK_NONE, true);
		ck_assert_int_eq(f.edges[2].state, EDGE_CATCHING_UP);
		ck_assert(f.close_ns == 10 * DAY + 10 * MIN + s * S && f.final_ns == behind_ns);
		if (s == 200)
			fleet_change_leader(&f); /* in the middle of it */
	}
	live(&f, 2, 10 * DAY + 20 * MIN);
	ck_assert_int_eq(f.edges[2].state, EDGE_LIVE);
	ck_assert(f.final_ns == f.close_ns);
}
END_TEST

START_TEST(who_is_away_stays_away_through_a_change_of_leader)
{
	struct fleet f;
	fleet_start(&f, 3);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 10 * MIN);
	live(&f, 2, 10 * MIN);
	wait(&f, MIN);
	live(&f, 0, 20 * MIN);
	report(&f, 1, PHASE_LIVE, 15 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	ck_assert_int_eq(f.edges[2].state, EDGE_PARTITIONED);
	fleet_change_leader(&f);
	fleet_evaluate(&f);
	/* The new one has heard nobody: nobody comes back by that, and nobody is gone either. */
	ck_assert_int_eq(f.edges[0].state, EDGE_LIVE);
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	ck_assert_int_eq(f.edges[2].state, EDGE_PARTITIONED);
	live(&f, 0, 21 * MIN);
	ck_assert(f.close_ns == 21 * MIN && f.final_ns == 10 * MIN);
	report(&f, 2, PHASE_LIVE, 11 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[2].state, EDGE_CATCHING_UP);
	fleet_change_leader(&f); /* while it catches up, and is cut off again */
	for (int i = 0; i < 60; i++) {
		f.now_ns += S;
		live(&f, 0, 22 * MIN);
		live(&f, 1, 22 * MIN);
	}
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert_int_eq(f.edges[2].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 22 * MIN && f.final_ns == 11 * MIN);
}
END_TEST

START_TEST(joining_goes_on_under_a_new_leader_and_ends)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	f.now_ns += 50 * S;
	report(&f, 1, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false);
	fleet_change_leader(&f);
	for (int i = 0; i < 59; i++) {
		f.now_ns += S;
		live(&f, 0, 11 * MIN);
		report(&f, 1, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false);
		ck_assert_int_eq(f.edges[1].state, EDGE_JOINING);
		ck_assert(f.close_ns == WATERMARK_NONE);
	}
	f.now_ns += S;
	live(&f, 0, 11 * MIN);
	report(&f, 1, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	live(&f, 0, 12 * MIN);
	ck_assert(f.close_ns == 12 * MIN && f.final_ns == WATERMARK_NONE);
}
END_TEST

START_TEST(cut_off_while_backpressured_it_comes_back_behind)
{
	struct fleet f;
	fleet_start(&f, 2);
	live(&f, 0, 10 * MIN);
	live(&f, 1, 10 * MIN);
	report(&f, 1, PHASE_BACKPRESSURED, 10 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[1].state, EDGE_BACKPRESSURED);
	live(&f, 0, 11 * MIN);
	ck_assert(f.close_ns == 10 * MIN); /* it holds close: it may drain at any moment */
	wait(&f, MIN);
	live(&f, 0, 12 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_PARTITIONED);
	ck_assert(f.close_ns == 12 * MIN && f.final_ns == 10 * MIN);
	f.now_ns += S;
	report(&f, 1, PHASE_BACKPRESSURED, 10 * MIN, WATERMARK_NONE, true); /* back, its sources still paused */
	ck_assert_int_eq(f.edges[1].state, EDGE_CATCHING_UP);
	live(&f, 0, 13 * MIN);
	ck_assert(f.close_ns == 13 * MIN && f.final_ns == 10 * MIN);
	report(&f, 1, PHASE_BACKPRESSURED, 13 * MIN, WATERMARK_NONE, true);
	ck_assert_int_eq(f.edges[1].state, EDGE_BACKPRESSURED);
	live(&f, 1, 13 * MIN);
	ck_assert_int_eq(f.edges[1].state, EDGE_LIVE);
	ck_assert(f.final_ns == 13 * MIN);
}
END_TEST

START_TEST(the_fleets_time_is_no_single_clocks)
{
	int64_t none[1], one[] = {7}, two[] = {100, 50}, three[] = {1000, 10, 11}, slow[] = {-500, 10, 11},
	    four[] = {10, -500, 11, -400}, five[] = {12, 1000, 10, 2000, 11};
	ck_assert(fleet_time(none, 0) == FLEET_TIME_UNKNOWN);
	ck_assert(fleet_time(one, 1) == 7);
	ck_assert(fleet_time(two, 2) == 50);
	ck_assert(fleet_time(three, 3) == 11);
	ck_assert(fleet_time(slow, 3) == 10);
	ck_assert(fleet_time(four, 4) == 10);
	ck_assert(fleet_time(five, 5) == 12);
}
END_TEST

START_TEST(no_edges_expected_close_nothing)
{
	int64_t close_ns = WATERMARK_NONE, final_ns = WATERMARK_NONE;
	watermark_close(NULL, 0, WATERMARK_NONE, &close_ns, &final_ns);
	ck_assert(close_ns == WATERMARK_NONE && final_ns == WATERMARK_NONE);
	watermark_close(NULL, 0, 7, &close_ns, &final_ns); /* but what those who left had flushed */
	ck_assert(close_ns == 7 && final_ns == 7);
	struct watermark_committed live = {EDGE_LIVE, 8, WATERMARK_NONE}, idle = {EDGE_IDLE, 1, 6};
	watermark_close(&idle, 1, 9, &close_ns, &final_ns);
	ck_assert(close_ns == 9 && final_ns == 9);
	watermark_close(&live, 1, 20, &close_ns, &final_ns);
	ck_assert(close_ns == 9 && final_ns == 9);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/watermark");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, close_is_the_minimum_over_live_edges);
	tcase_add_test(tc, an_edge_that_never_says_hello_is_partitioned_in_time);
	tcase_add_test(tc, old_data_replayed_by_a_joining_edge_does_not_move_close_back);
	tcase_add_test(tc, a_returner_with_a_backlog_does_not_freeze_the_fleet);
	tcase_add_test(tc, an_edge_a_second_behind_the_others_does_not_chase_close_for_ever);
	tcase_add_test(tc, a_window_end_between_watermark_and_close_is_not_caught_up);
	tcase_add_test(tc, unheard_edges_are_partitioned_and_hold_final_only);
	tcase_add_test(tc, a_change_of_leader_hears_everyone_anew);
	tcase_add_test(tc, all_idle_closes_what_they_flushed_and_no_more);
	tcase_add_test(tc, an_idle_edge_that_never_read_anything_holds_nothing_up);
	tcase_add_test(tc, an_idle_edge_that_resumes_below_close_catches_up);
	tcase_add_test(tc, backpressure_holds_close_until_it_is_stuck);
	tcase_add_test(tc, not_advancing_with_nothing_unsent_is_no_partition);
	tcase_add_test(tc, a_healthy_edge_with_long_windows_is_not_stuck);
	tcase_add_test(tc, joining_for_too_long_is_partitioned_until_it_has_something_to_say);
	tcase_add_test(tc, a_flapping_edge_that_never_reads_does_not_freeze_the_fleet);
	tcase_add_test(tc, a_silent_edge_that_returns_is_given_time_to_advance);
	tcase_add_test(tc, impossible_times_are_no_times);
	tcase_add_test(tc, one_clock_ahead_moves_nothing);
	tcase_add_test(tc, a_bad_clock_moves_nothing_where_nobody_else_holds_close);
	tcase_add_test(tc, a_bad_clock_does_not_close_the_future_of_an_idle_fleet);
	tcase_add_test(tc, an_idle_fleet_that_was_measured_by_a_slow_clock_closes_once_it_is_right);
	tcase_add_test(tc, a_clock_put_right_contributes_again);
	tcase_add_test(tc, ten_days_of_backlog_freeze_nobody);
	tcase_add_test(tc, who_is_away_stays_away_through_a_change_of_leader);
	tcase_add_test(tc, joining_goes_on_under_a_new_leader_and_ends);
	tcase_add_test(tc, cut_off_while_backpressured_it_comes_back_behind);
	tcase_add_test(tc, the_fleets_time_is_no_single_clocks);
	tcase_add_test(tc, no_edges_expected_close_nothing);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
