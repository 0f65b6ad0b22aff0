/* The uplink against a cloud that loses, repeats, refuses and lies; fencing, readmission, failover. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/uplink.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

/* n sensors, one reading each, in minute m; then event time passes it. */
static void feed_minute(struct rig *r, int minute, int sensors)
{
	char text[100];
	for (int i = 0; i < sensors; i++) {
		snprintf(text, sizeof(text), "load,sensor=s%d v=1 %%lld\n", i);
		rig_line_at(r, 0, text, minute * 60 + 1);
	}
	rig_line_at(r, 0, "other,x=y z=1 %lld\n", minute * 60 + 61);
	rig_line_at(r, 1, "other,x=y z=1 %lld\n", minute * 60 + 61);
}

static void finish(struct rig *r)
{
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
}

static void reopen(struct rig *r)
{
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
}

START_TEST(hello_open_batches_in_order_and_the_grant_before_all)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->now_ns += NS_PER_SEC;
	ck_assert_int_eq(pipeline_tick(r->p, rig_now(r)), 0);
	ck_assert_uint_eq(r->connects, 1);
	ck_assert_uint_eq(r->cloud.hellos, 1);
	ck_assert(r->cloud.last_hello_empty);
	ck_assert_uint_eq(r->cloud.last_hello_epoch, 0);
	rig_deliver(r);
	ck_assert_uint_eq(r->cloud.reports, 0); /* the grant is not stored yet */
	ck_assert(pipeline_wants_tick(r->p));
	rig_tick(r, 1);
	ck_assert_uint_ge(r->cloud.reports, 1);
	ck_assert_uint_eq(r->cloud.report_epoch, 1);
	feed_minute(r, 0, 20);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 20);
	ck_assert_uint_ge(r->cloud.opens, 2); /* the shards that got something */
	rig_free(r);
}
END_TEST

/* What an unanswered claim was granted is stored and not used: a copy of the spool may have been granted the same. */
START_TEST(an_unanswered_claim_is_asked_with_first_and_then_an_own_one)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.silent = true; /* grants, and the answer is lost */
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 1);
	uint8_t claim[CLAIM_BYTES];
	memcpy(claim, r->cloud.claim, CLAIM_BYTES);
	reopen(r);
	r->cloud.silent = false;
	uint64_t opens = r->cloud.opens;
	rig_deliver(r);
	ck_assert_uint_eq(r->cloud.opens, opens);
	rig_ticks(r, 5, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 2);
	ck_assert_int_ne(memcmp(claim, r->cloud.claim, CLAIM_BYTES), 0);
	memcpy(claim, r->cloud.claim, CLAIM_BYTES);
	ck_assert(!pipeline_fenced(r->p, NULL));
	ck_assert(rig_metric(r, "weir_edge_epoch") == 2);
	reopen(r); /* answered: nothing to be asked with it again */
	rig_ticks(r, 5, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 3);
	ck_assert_int_ne(memcmp(claim, r->cloud.claim, CLAIM_BYTES), 0);
	ck_assert(rig_metric(r, "weir_edge_epoch") == 3);
	rig_free(r);
}
END_TEST

START_TEST(of_two_copies_with_an_unanswered_claim_one_is_fenced)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 1);
	r->cloud.silent = true;
	reopen(r);
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 2);
	reopen(r);
	r->cloud.silent = false;
	/* The copy asked with the same claim, was granted the same, and went on with one of its own. */
	memset(r->cloud.claim, 0x77, CLAIM_BYTES);
	r->cloud.epoch++;
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	ck_assert_uint_eq(r->cloud.opens, 0);
	rig_free(r);
}
END_TEST

START_TEST(a_grant_is_not_used_before_it_is_durable)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->now_ns += NS_PER_SEC;
	ck_assert_int_eq(pipeline_tick(r->p, rig_now(r)), 0);
	rig_deliver(r);
	r->fail_commit = 0;
	r->fail_with = WEIR_EIO;
	ck_assert_int_eq(pipeline_tick(r->p, rig_now(r)), WEIR_EIO);
	ck_assert_uint_eq(r->cloud.reports, 0);
	reopen(r); /* the same claim, so the same grant; and then one of this start's own */
	feed_minute(r, 0, 5);
	finish(r);
	ck_assert_uint_eq(r->cloud.epoch, 2);
	ck_assert_uint_eq(rig_merged(r, "load"), 5);
	rig_free(r);
}
END_TEST

START_TEST(repeated_answers_change_nothing)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.repeat = 3;
	for (int i = 0; i < 10; i++) {
		feed_minute(r, i, 10);
		rig_tick(r, 1000);
	}
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 100);
	ck_assert_uint_eq(r->cloud.duplicates, 0);
	ck_assert_uint_eq(r->cloud.epoch, 1);
	rig_free(r);
}
END_TEST

START_TEST(lost_answers_are_asked_for_again_byte_for_byte)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	for (int i = 0; i < 12; i++) {
		r->cloud.lose_batch_replies = i % 3 != 0;
		feed_minute(r, i, 10);
		rig_ticks(r, 2, 1000);
		if (i % 5 == 4)
			reopen(r);
	}
	r->cloud.lose_batch_replies = false;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 120);
	ck_assert_uint_gt(r->cloud.duplicates, 0);
	ck_assert(!r->cloud.checksum_conflict);
	ck_assert(!pipeline_fenced(r->p, NULL));
	rig_free(r);
}
END_TEST

START_TEST(busy_is_backed_off_from_and_not_open_is_opened)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.batch_verdict = VERDICT_BUSY;
	feed_minute(r, 0, 1);
	for (int i = 0; i < 600; i++)
		rig_tick(r, 100);
	ck_assert_uint_ge(r->cloud.batches, 12); /* at most 5 s apart */
	ck_assert_uint_le(r->cloud.batches, 40); /* not at each tick */
	r->cloud.batch_verdict = VERDICT_OK;
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].open = false; /* its leader was restarted */
	rig_ticks(r, 12, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

START_TEST(out_of_sequence_rewinds)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	feed_minute(r, 0, 8);
	rig_ticks(r, 2, 100);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	feed_minute(r, 1, 8);
	r->cloud.deaf = true; /* these are lost on the way, what follows is out of sequence */
	rig_tick(r, 100);
	r->cloud.deaf = false;
	feed_minute(r, 2, 8);
	rig_ticks(r, 2, 100);
	ck_assert_uint_gt(r->cloud.out_of_sequence, 0);
	rig_ticks(r, 10, 100); /* well before the 5 s after which anything is sent again */
	ck_assert_uint_eq(rig_merged(r, "load"), 24);
	rig_free(r);
}
END_TEST

START_TEST(credit_bounds_what_is_in_flight)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.credit = 300; /* less than a few batches */
	r->cloud.deaf = true;
	for (int i = 0; i < 30; i++) {
		feed_minute(r, i, 10);
		rig_tick(r, 1000);
	}
	r->cloud.deaf = false;
	r->cloud.lose_batch_replies = true;
	rig_ticks(r, 8, 1000);
	ck_assert(rig_metric(r, "weir_edge_uplink_in_flight_bytes") > 0);
	ck_assert(rig_metric(r, "weir_edge_uplink_in_flight_bytes") <= 300);
	r->cloud.lose_batch_replies = false;
	r->cloud.credit = 1; /* less than one batch: one at a time all the same */
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 300);
	/* no credit: nothing leaves, and it is not forgotten */
	r->cloud.credit = 0;
	rig_ticks(r, 3, 1000);
	uint64_t batches = r->cloud.batches;
	pipeline_source_finished(r->p, 0, false);
	feed_minute(r, 50, 3);
	pipeline_source_finished(r->p, 0, true);
	rig_ticks(r, 20, 1000);
	ck_assert_uint_eq(r->cloud.batches, batches);
	r->cloud.credit = 1000;
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 303);
	rig_free(r);
}
END_TEST

/* Far more than the credit is merged and not known to be; the answer to the probe is BUSY at first. */
START_TEST(a_probe_that_is_put_off_is_sent_again)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.lose_batch_replies = true;
	for (int i = 0; i < 12; i++) {
		feed_minute(r, i, 10);
		rig_tick(r, 100);
	}
	reopen(r);
	r->cloud.lose_batch_replies = false;
	r->cloud.credit = 400;
	r->cloud.batch_verdict = VERDICT_BUSY;
	rig_ticks(r, 5, 1000);
	r->cloud.batch_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 120);
	ck_assert(!r->cloud.checksum_conflict);
	rig_free(r);
}
END_TEST

START_TEST(a_silent_cloud_is_left_for_the_next)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 10, 1000);
	ck_assert_uint_eq(r->connects, 1);
	ck_assert_uint_eq(r->connected, 0);
	r->cloud.deaf = true;
	rig_ticks(r, 5, 1000);
	ck_assert_uint_eq(r->connects, 2);
	ck_assert_uint_eq(r->connected, 1);
	uint64_t hellos = r->cloud.hellos;
	r->cloud.deaf = false;
	feed_minute(r, 0, 4);
	finish(r);
	ck_assert_uint_gt(r->cloud.hellos, hellos);
	ck_assert_uint_eq(r->cloud.epoch, 1); /* the same claim: the same grant */
	ck_assert_uint_eq(rig_merged(r, "load"), 4);
	/* also when the socket takes nothing */
	r->link_down = true;
	uint64_t connects = r->connects;
	rig_ticks(r, 10, 1000);
	ck_assert_uint_gt(r->connects, connects);
	rig_free(r);
}
END_TEST

/* Milliseconds between ticks, as the daemon lets them pass. */
static void retries(struct rig *r, bool can_send, unsigned ms)
{
	for (unsigned i = 0; i < ms; i += PIPELINE_RETRY_MS) {
		r->now_ns += PIPELINE_RETRY_MS * NS_PER_MS;
		pipeline_retry(r->p, can_send, rig_now(r));
		rig_deliver(r);
	}
}

/* A hello is sent once; what else comes meanwhile must not hide that its answer does not. */
START_TEST(a_lost_hello_is_noticed_whatever_else_is_heard)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.deaf = true;
	rig_ticks(r, 1, 1000);
	struct msg m = {.type = MSG_HELLO_REPLY, .from = "cloud-1"};
	uint8_t claim[CLAIM_BYTES] = {1};
	m.hello_reply.edge = "edge-1";
	m.hello_reply.verdict = VERDICT_OK;
	m.hello_reply.epoch = 1;
	m.hello_reply.claim = bytes_of(claim, CLAIM_BYTES);
	rig_send(r, &m);
	rig_ticks(r, 5, 1000);
	ck_assert_uint_eq(r->connects, 2);
	r->cloud.deaf = false;
	feed_minute(r, 0, 4);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 4);
	rig_free(r);
}
END_TEST

START_TEST(a_cloud_that_cannot_be_connected_to_is_left_at_once)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 10, 1000);
	retries(r, true, 900);
	ck_assert_uint_eq(r->connects, 1);
	r->link_down = true;
	retries(r, false, UPLINK_UNCONNECTED_MS);
	retries(r, true, 100); /* it was a hiccup */
	retries(r, false, UPLINK_UNCONNECTED_MS);
	ck_assert_uint_eq(r->connects, 1);
	retries(r, false, 100);
	ck_assert_uint_eq(r->connects, 2);
	ck_assert_uint_eq(r->connected, 1);
	/* The next one has more time: the link may be slow. */
	retries(r, false, 2 * UPLINK_UNCONNECTED_MS);
	ck_assert_uint_eq(r->connects, 2);
	r->link_down = false;
	uint64_t hellos = r->cloud.hellos;
	retries(r, true, 100); /* no tick is needed */
	ck_assert_uint_eq(r->cloud.hellos, hellos + 1);
	ck_assert_uint_eq(r->connects, 2);
	feed_minute(r, 0, 4);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 4);
	rig_free(r);
}
END_TEST

START_TEST(when_all_clouds_are_down_they_are_tried_slower_and_slower)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->link_down = true;
	retries(r, false, 60000);
	ck_assert_uint_ge(r->connects, 60 / 4);
	ck_assert_uint_le(r->connects, 60 / 3 + 4);
	rig_free(r);
}
END_TEST

START_TEST(a_shard_that_nobody_leads_is_asked_with_little_and_often)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.batch_verdict = VERDICT_UNAVAILABLE;
	feed_minute(r, 0, 1);
	rig_ticks(r, 2, 1000);
	uint64_t opens = r->cloud.opens;
	for (int i = 0; i < 300; i++)
		rig_tick(r, 100);
	ck_assert_uint_ge(r->cloud.opens - opens, 20); /* at most a second apart */
	ck_assert_uint_le(r->cloud.opens - opens, 40);
	r->cloud.batch_verdict = VERDICT_OK;
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

START_TEST(a_cloud_that_can_serve_nothing_is_left)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.batch_verdict = VERDICT_UNAVAILABLE;
	r->cloud.hello_verdict = VERDICT_UNAVAILABLE;
	r->cloud.report_verdict = VERDICT_UNAVAILABLE;
	r->cloud.open_verdict = VERDICT_UNAVAILABLE;
	feed_minute(r, 0, 1);
	uint64_t connects = r->connects;
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(r->connects, connects); /* an election takes so long */
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(r->connects, connects + 1);
	rig_ticks(r, 3, 1000); /* the next one has longer: there may be no majority anywhere */
	ck_assert_uint_eq(r->connects, connects + 1);
	rig_ticks(r, 100, 1000);
	ck_assert_uint_le(r->connects, connects + 6);
	r->cloud.batch_verdict = r->cloud.hello_verdict = r->cloud.report_verdict = r->cloud.open_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

START_TEST(an_election_of_three_seconds_makes_no_edge_leave)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	uint64_t connects = r->connects;
	for (int i = 0; i < 5; i++) {
		r->cloud.batch_verdict = r->cloud.report_verdict = r->cloud.open_verdict = VERDICT_UNAVAILABLE;
		for (size_t k = 0; k < 4; k++)
			r->cloud.shards[k].open = false;
		feed_minute(r, i, 1);
		rig_ticks(r, 29, 100);
		r->cloud.batch_verdict = r->cloud.report_verdict = r->cloud.open_verdict = VERDICT_OK;
		rig_ticks(r, 15, 100); /* the next questions come after a back-off */
	}
	ck_assert_uint_eq(r->connects, connects);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 5);
	rig_free(r);
}
END_TEST

START_TEST(a_shard_whose_leader_is_busy_keeps_no_edge_moving)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].open = false;
	uint64_t connects = r->connects;
	r->cloud.open_verdict = VERDICT_UNAVAILABLE;
	feed_minute(r, 0, 1);
	rig_ticks(r, 3, 1000);
	r->cloud.open_verdict = VERDICT_BUSY; /* another cloud would ask the same leader */
	rig_ticks(r, 30, 1000);
	ck_assert_uint_eq(r->connects, connects);
	r->cloud.open_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

START_TEST(a_cloud_that_cannot_reach_one_shard_is_left_slower_and_slower)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.open_verdict = VERDICT_UNAVAILABLE; /* reports are answered */
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].open = false;
	feed_minute(r, 0, 1);
	uint64_t connects = r->connects;
	rig_ticks(r, 4, 1000);
	ck_assert_uint_eq(r->connects, connects);
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(r->connects, connects + 1);
	rig_ticks(r, 6, 1000);
	ck_assert_uint_eq(r->connects, connects + 1);
	rig_ticks(r, 5, 1000);
	ck_assert_uint_eq(r->connects, connects + 2);
	rig_ticks(r, 600, 1000);
	ck_assert_uint_le(r->connects, connects + 10);
	r->cloud.open_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

/* It waits for the heartbeat, or for its turn: what was said before that is no proof that it is still so. */
START_TEST(what_nobody_was_asked_since_says_nothing)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].open = false;
	r->cloud.open_verdict = VERDICT_UNAVAILABLE;
	feed_minute(r, 0, 1);
	rig_ticks(r, 3, 1000);
	uint64_t connects = r->connects;
	r->cloud.silent = true; /* for less than a silent one may be */
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(r->connects, connects);
	r->cloud.silent = false;
	r->cloud.open_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(r->connects, connects);
	ck_assert_uint_eq(rig_merged(r, "load"), 1);
	rig_free(r);
}
END_TEST

/* Batches each second; the connections made. */
static uint64_t feed_seconds(struct rig *r, int *minute, int seconds)
{
	uint64_t before = r->connects;
	for (int i = 0; i < seconds; i++) {
		feed_minute(r, (*minute)++, 8);
		rig_ticks(r, 1, 1000);
	}
	return r->connects - before;
}

/* One link between two clouds is lost: each of them knows nobody who leads what the other one leads. The edge goes on to the third, by
 * way of the second, and stays there. */
START_TEST(half_connected_clouds_are_left_for_a_whole_one)
{
	struct rig *r = rig_new("version: 1\n"
				"cluster: {name: plant, shards: 4, replicas: 3, security: none}\n"
				"cloud:\n"
				"  - {name: cloud-1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
				"  - {name: cloud-2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: c2}\n"
				"  - {name: cloud-3, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\", data: c3}\n"
				"edges:\n" EDGE(BIG) BY_SENSOR);
	int minute = 0, seconds = 0;
	feed_seconds(r, &minute, 3);
	ck_assert_uint_eq(r->connected, 0);
	r->cloud.unled[0] = 3;
	r->cloud.unled[1] = 12;
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].open = false;
	for (; r->connected != 2; seconds++) {
		ck_assert_int_lt(seconds, 2 * 7);
		feed_seconds(r, &minute, 1);
		ck_assert(seconds > 3 || r->connected == 0);
	}
	ck_assert_uint_eq(feed_seconds(r, &minute, 100), 0);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), (uint64_t)minute * 8);
	rig_free(r);
}
END_TEST

START_TEST(a_cloud_that_takes_batches_and_no_reports_is_left)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	int minute = 0;
	rig_ticks(r, 3, 1000);
	r->cloud.report_verdict = VERDICT_UNAVAILABLE;
	ck_assert_uint_eq(feed_seconds(r, &minute, 4), 0);
	ck_assert_uint_eq(feed_seconds(r, &minute, 3), 1);
	ck_assert_uint_eq(feed_seconds(r, &minute, 6), 0); /* slower and slower */
	ck_assert_uint_eq(feed_seconds(r, &minute, 6), 1);
	r->cloud.report_verdict = VERDICT_OK;
	ck_assert_uint_eq(feed_seconds(r, &minute, 3), 0);
	r->cloud.report_verdict = VERDICT_UNAVAILABLE;
	ck_assert_uint_eq(feed_seconds(r, &minute, 7), 1); /* not slower than at first */
	r->cloud.report_verdict = VERDICT_OK;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), (uint64_t)minute * 8);
	rig_free(r);
}
END_TEST

START_TEST(rubbish_and_strangers_frames_are_counted_and_ignored)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	rig_ticks(r, 3, 1000);
	r->cloud.lose_batch_replies = true;
	feed_minute(r, 0, 8);
	rig_ticks(r, 2, 1000);
	uint8_t junk[300];
	uint32_t x = 12345;
	for (int i = 0; i < 3000; i++) {
		size_t n = (size_t)(i % 300);
		for (size_t k = 0; k < n; k++) {
			x = x * 1664525 + 1013904223;
			junk[k] = (uint8_t)(x >> 24);
		}
		rig_send_raw(r, junk, n);
	}
	ck_assert(rig_metric(r, "weir_edge_frames_refused_total{reason=\"bad\"}") > 2000);
	/* Well-formed answers that nothing asked for, of every kind. */
	uint8_t foreign[CLUSTER_ID_BYTES] = {9};
	for (int verdict = VERDICT_OK; verdict <= VERDICT_UNAVAILABLE; verdict++) {
		if (verdict == VERDICT_FENCED || verdict == VERDICT_REFUSED)
			continue;
		for (uint32_t shard = 0; shard < 6; shard++) {
			struct msg m = {.type = MSG_BATCH_REPLY, .from = "cloud-1", .req_id = 1};
			m.batch_reply.edge = "edge-1";
			m.batch_reply.shard = shard;
			m.batch_reply.verdict = (enum verdict)verdict;
			m.batch_reply.epoch = 1;
			m.batch_reply.credit_bytes = 1024;
			for (uint64_t seq = 0; seq < 6; seq++) {
				m.batch_reply.seq = seq == 5 ? UINT64_MAX : seq + 1000;
				rig_send(r, &m);
				m.batch_reply.last = UINT64_MAX;
				rig_send(r, &m);
				m.batch_reply.last = 0;
			}
			m.batch_reply.seq = 1;
			m.batch_reply.epoch = 99; /* of another epoch */
			rig_send(r, &m);
			m.batch_reply.epoch = 1;
			m.cluster_id = bytes_of(foreign, sizeof(foreign));
			rig_send(r, &m);
			struct msg o = {.type = MSG_OPEN_REPLY, .from = "cloud-1", .req_id = 77777};
			o.open_reply.edge = "edge-1";
			o.open_reply.shard = shard;
			o.open_reply.verdict = (enum verdict)verdict;
			o.open_reply.last = 1000;
			rig_send(r, &o);
			o.open_reply.edge = "edge-2";
			rig_send(r, &o);
		}
	}
	ck_assert(!pipeline_fenced(r->p, NULL));
	ck_assert(!pipeline_drained(r->p));
	struct msg other = {.type = MSG_HELLO, .from = "edge-9"};
	uint8_t claim[CLAIM_BYTES] = {1};
	other.hello.edge = "edge-1";
	other.hello.cluster = "plant";
	other.hello.claim = bytes_of(claim, sizeof(claim));
	rig_send(r, &other);
	r->cloud.lose_batch_replies = false;
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	ck_assert(rig_metric(r, "weir_edge_frames_refused_total{reason=\"foreign\"}") > 0);
	ck_assert(rig_metric(r, "weir_edge_frames_refused_total{reason=\"stale\"}") > 0);
	rig_free(r);
}
END_TEST

START_TEST(a_second_holder_fences_the_first)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	feed_minute(r, 0, 8);
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	/* Another process with a copy of the spool is granted the next epoch. */
	r->cloud.epoch = 2;
	memset(r->cloud.claim, 0x55, CLAIM_BYTES);
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].epoch = 2;
	feed_minute(r, 1, 8);
	rig_ticks(r, 3, 1000);
	const char *why = NULL;
	ck_assert(pipeline_fenced(r->p, &why));
	ck_assert_ptr_nonnull(why);
	ck_assert_uint_gt(strlen(why), 10);
	uint64_t batches = r->cloud.batches, reports = r->cloud.reports, opens = r->cloud.opens, hellos = r->cloud.hellos;
	for (int i = 2; i < 32; i++) { /* it goes on reading into its spool */
		feed_minute(r, i, 8);
		rig_ticks(r, 2, 1000);
	}
	ck_assert_uint_eq(r->cloud.batches, batches);
	ck_assert_uint_eq(r->cloud.reports, reports);
	ck_assert_uint_eq(r->cloud.opens, opens);
	ck_assert_uint_ge(r->cloud.hellos, hellos + 4); /* each 10 s */
	ck_assert_uint_le(r->cloud.hellos, hellos + 8);
	ck_assert(rig_metric(r, "weir_edge_spool_batches") > 8);
	ck_assert(!r->paused);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	rig_free(r);
}
END_TEST

START_TEST(readmission_drops_counts_and_goes_on_after_last)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	for (int i = 0; i < 3; i++) {
		feed_minute(r, i, 8);
		rig_ticks(r, 3, 1000);
	}
	ck_assert_uint_eq(rig_merged(r, "load"), 24);
	uint64_t last[4];
	for (size_t i = 0; i < 4; i++)
		last[i] = r->cloud.shards[i].last;
	r->cloud.epoch = 7;
	memset(r->cloud.claim, 0x55, CLAIM_BYTES);
	for (int i = 3; i < 6; i++) {
		feed_minute(r, i, 8);
		rig_ticks(r, 3, 1000);
	}
	rig_line_at(r, 0, "load,sensor=s1 v=1 %lld\n", 361); /* in an open slice */
	ck_assert(pipeline_fenced(r->p, NULL));
	r->cloud.readmit = true;
	rig_ticks(r, 11, 1000); /* without a restart */
	ck_assert(!pipeline_fenced(r->p, NULL));
	ck_assert_uint_eq(r->cloud.epoch, 8);
	ck_assert_uint_eq(r->skips, 1);
	uint64_t merged = rig_merged(r, "load");
	ck_assert_uint_le(merged, 32); /* at most until the next heartbeat told it */
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"load\",reason=\"readmitted\"}") ==
	    (double)(49 - merged));
	ck_assert_uint_eq(rig_ledger(r).aggregated, merged);
	ck_assert(r->position[0] >= 1000000); /* its mark is that of the end */
	feed_minute(r, 7, 8);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), merged + 8);
	for (size_t i = 0; i < 4; i++)
		ck_assert_uint_le(r->cloud.shards[i].last, last[i] + 2); /* numbers went on */
	ck_assert(!r->cloud.checksum_conflict);
	reopen(r);
	ck_assert_uint_gt(r->position[0], 1000000);
	ck_assert_uint_eq(rig_ledger(r).aggregated, merged + 8);
	feed_minute(r, 8, 8);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), merged + 16);
	ck_assert_uint_eq(r->skips, 1);
	rig_free(r);
}
END_TEST

START_TEST(readmission_survives_a_crash_at_each_of_its_commits)
{
	for (int at = 0; at < 6; at++) {
		for (int reached = 0; reached < 2; reached++) {
			struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
			feed_minute(r, 0, 8);
			rig_ticks(r, 3, 1000);
			r->cloud.epoch = 7;
			memset(r->cloud.claim, 0x55, CLAIM_BYTES);
			feed_minute(r, 1, 8);
			rig_ticks(r, 3, 1000);
			ck_assert(pipeline_fenced(r->p, NULL));
			r->cloud.readmit = true;
			r->fail_commit = at;
			r->fail_with = WEIR_EIO;
			r->fail_reached = reached;
			int rc = 0;
			for (int i = 0; i < 20 && rc == 0; i++)
				rc = rig_tick(r, 1000);
			r->fail_commit = -1;
			if (rc < 0)
				reopen(r);
			ck_assert_int_eq(rig_tick(r, 1000), 0); /* before sources deliver */
			rig_ticks(r, 14, 1000);
			ck_assert(!pipeline_fenced(r->p, NULL));
			ck_assert_uint_ge(r->skips, 1);
			ck_assert(r->position[0] >= 1000000);
			feed_minute(r, 9, 8);
			uint64_t merged = rig_merged(r, "load");
			finish(r);
			ck_assert_uint_eq(rig_merged(r, "load"), merged + 8);
			/* what was merged and its answer lost counts as dropped here: nobody can know */
			ck_assert_uint_eq(rig_ledger(r).matched, 24);
			ck_assert_uint_le(rig_ledger(r).aggregated, merged + 8);
			ck_assert_uint_ge(rig_ledger(r).aggregated, 16);
			rig_free(r);
		}
	}
}
END_TEST

START_TEST(a_restored_backup_is_fenced_and_takes_nothing_for_acknowledged)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	feed_minute(r, 0, 8);
	rig_ticks(r, 3, 1000);
	rig_crash(r);
	rig_backup(r);
	ck_assert_int_eq(rig_open(r), 0);
	feed_minute(r, 1, 8);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 16);
	rig_crash(r);
	rig_restore(r);
	ck_assert_int_eq(rig_open(r), 0);
	feed_minute(r, 2, 8);
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	ck_assert_uint_eq(rig_merged(r, "load"), 16);
	ck_assert(!pipeline_drained(r->p));
	rig_free(r);
}
END_TEST

/* The same, but the epoch gives nothing away: the holder ran on without a restart after the backup was taken. */
START_TEST(a_restored_backup_of_the_same_epoch_is_found_out_by_its_numbers)
{
	for (int more = 1; more < 6; more++) {
		struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
		feed_minute(r, 0, 8);
		rig_ticks(r, 3, 1000);
		uint64_t epoch = r->cloud.epoch;
		rig_crash(r);
		rig_backup(r);
		ck_assert_int_eq(rig_open(r), 0);
		for (int i = 1; i < 3; i++) {
			feed_minute(r, i, 8);
			rig_ticks(r, 3, 1000);
		}
		ck_assert_uint_eq(rig_merged(r, "load"), 24);
		rig_crash(r);
		rig_restore(r);
		r->cloud.epoch = epoch; /* as if it had been one process all the time */
		for (size_t i = 0; i < 4; i++)
			r->cloud.shards[i].epoch = epoch;
		ck_assert_int_eq(rig_open(r), 0);
		r->cloud.deaf = true; /* makes as many batches as the lost copy, or more, before it can connect */
		for (int i = 0; i < more; i++) {
			feed_minute(r, 10 + i, 8);
			rig_ticks(r, 1, 1000);
		}
		r->cloud.deaf = false;
		for (int i = 0; i < 12 && !pipeline_fenced(r->p, NULL); i++)
			rig_tick(r, 1000);
		ck_assert(pipeline_fenced(r->p, NULL));
		rig_ticks(r, 2, 1000);
		ck_assert(r->cloud.last_hello_fenced); /* the meta group has granted its epoch, and knows of nothing */
		uint64_t hellos = r->cloud.hellos;
		rig_ticks(r, UPLINK_FENCED_RETRY_MS / 1000 - 3, 1000);
		ck_assert_uint_eq(r->cloud.hellos, hellos);
		rig_ticks(r, 3, 1000);
		ck_assert_uint_eq(r->cloud.hellos, hellos + 1);
		ck_assert_uint_eq(rig_ledger(r).dropped, 0);
		uint64_t held = rig_ledger(r).aggregated - 8;
		ck_assert_uint_eq(held, 8 * (uint64_t)more); /* all of it still here: 8 were acknowledged before the backup */
		ck_assert_uint_eq(rig_merged(r, "load"), 24);
		ck_assert(rig_metric(r, "weir_edge_stream_acknowledged_total{stream=\"load\"}") == 8);
		rig_free(r);
	}
}
END_TEST

START_TEST(a_cloud_that_lost_data_fences)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	for (int i = 0; i < 3; i++) {
		feed_minute(r, i, 8);
		rig_ticks(r, 3, 1000);
	}
	rig_crash(r);
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].last = r->cloud.shards[i].last ? 1 : 0;
	ck_assert_int_eq(rig_open(r), 0);
	feed_minute(r, 3, 8);
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	rig_free(r);
}
END_TEST

START_TEST(an_empty_spool_under_a_known_name_renumbers_what_it_cut_before)
{
	/* the spool was lost; the shards know this edge well */
	for (int before = 0; before < 3; before++) {
		struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
		r->cloud.epoch = 5;
		r->cloud.granted = true;
		for (size_t i = 0; i < 4; i++)
			r->cloud.shards[i] = (struct rig_shard){.epoch = 5, .last = i == 3 ? 0 : 2 + i, .checksum = 1};
		r->cloud.hello_verdict = VERDICT_BUSY; /* until the old holder is known to be silent */
		for (int i = 0; i < before * 50; i++) {
			feed_minute(r, i, 40);
			rig_tick(r, 1000);
		}
		if (before == 2)
			reopen(r);
		r->cloud.hello_verdict = VERDICT_OK;
		rig_ticks(r, 8, 1000);
		feed_minute(r, 200, 40);
		finish(r);
		ck_assert_uint_eq(rig_merged(r, "load"), 40 * (uint64_t)(before * 50 + 1));
		ck_assert_uint_eq(r->cloud.epoch, before == 2 ? 7 : 6); /* an earlier start's claim, and then its own */
		ck_assert(!pipeline_fenced(r->p, NULL));
		ck_assert_uint_eq(rig_ledger(r).dropped, 0);
		for (size_t i = 0; i < 4; i++)
			ck_assert_uint_eq(r->cloud.shards[i].last, (i == 3 ? 0 : 2 + i) + (uint64_t)before * 50 + 1);
		rig_free(r);
	}
}
END_TEST

START_TEST(renumbering_survives_a_crash_at_each_commit)
{
	for (int at = 0; at < 16; at++) {
		struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
		r->cloud.epoch = 5;
		r->cloud.granted = true;
		for (size_t i = 0; i < 4; i++)
			r->cloud.shards[i] = (struct rig_shard){.epoch = 5, .last = 10, .checksum = 1};
		r->cloud.deaf = true;
		for (int i = 0; i < 70; i++) {
			feed_minute(r, i, 40);
			rig_tick(r, 1000);
		}
		r->cloud.deaf = false;
		r->fail_commit = at;
		r->fail_with = WEIR_EIO;
		r->fail_reached = at % 2;
		int rc = 0;
		for (int i = 0; i < 20 && rc == 0; i++)
			rc = rig_tick(r, 1000);
		r->fail_commit = -1;
		if (rc < 0)
			reopen(r);
		feed_minute(r, 100, 40);
		finish(r);
		ck_assert_uint_eq(rig_merged(r, "load"), 40 * 71);
		ck_assert(!r->cloud.checksum_conflict);
		for (size_t i = 0; i < 4; i++)
			ck_assert_uint_eq(r->cloud.shards[i].last, 10 + 71);
		rig_free(r);
	}
}
END_TEST

START_TEST(a_foreign_cluster_is_not_served)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	feed_minute(r, 0, 8);
	rig_ticks(r, 3, 1000);
	memset(r->cloud.id, 8, sizeof(r->cloud.id));
	reopen(r);
	feed_minute(r, 1, 8);
	rig_ticks(r, 5, 1000);
	const char *why = NULL;
	ck_assert(pipeline_fenced(r->p, &why));
	ck_assert_ptr_nonnull(strstr(why, "cluster"));
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	/* the right one answers again */
	memset(r->cloud.id, 7, sizeof(r->cloud.id));
	rig_ticks(r, 25, 1000);
	ck_assert(!pipeline_fenced(r->p, NULL));
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 16);
	rig_free(r);
}
END_TEST

START_TEST(refused_is_said_and_tried_again)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.hello_verdict = VERDICT_REFUSED;
	feed_minute(r, 0, 8);
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	r->cloud.hello_verdict = VERDICT_OK; /* the topology has it now */
	rig_ticks(r, 12, 1000);
	ck_assert(!pipeline_fenced(r->p, NULL));
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	rig_free(r);
}
END_TEST

START_TEST(a_cloud_that_refuses_is_not_the_cluster)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.refused_by = 1; /* of another cluster, say: the edge's first choice */
	r->cloud.repeat = 1;     /* one refusal counts once */
	feed_minute(r, 0, 8);
	for (int i = 0; i < 5; i++) {
		rig_tick(r, 1000);
		ck_assert(!pipeline_fenced(r->p, NULL));
	}
	ck_assert_uint_eq(r->connected, 1);
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	/* now it refuses, and the other one does not */
	r->cloud.refused_by = 2;
	r->cloud.deaf = true;
	rig_ticks(r, 5, 1000);
	r->cloud.deaf = false;
	feed_minute(r, 1, 8);
	finish(r);
	ck_assert_uint_eq(r->connected, 0);
	ck_assert_uint_eq(rig_merged(r, "load"), 16);
	rig_free(r);
}
END_TEST

START_TEST(when_every_cloud_refuses_they_are_asked_seldom)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.refused_by = UINT32_MAX;
	feed_minute(r, 0, 8);
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	uint64_t hellos = r->cloud.hellos;
	rig_ticks(r, 100, 1000);
	ck_assert_uint_ge(r->cloud.hellos - hellos, 9);
	ck_assert_uint_le(r->cloud.hellos - hellos, 11);
	uint32_t other = 1 - r->connected;
	r->cloud.refused_by = ~(1u << other); /* it alone is mended */
	rig_ticks(r, 12, 1000);
	ck_assert(!pipeline_fenced(r->p, NULL));
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 8);
	rig_free(r);
}
END_TEST

/* A batch that was under way when the edge was fenced and readmitted. */
START_TEST(a_late_answer_to_an_earlier_epoch_does_not_fence)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	feed_minute(r, 0, 8);
	finish(r);
	r->cloud.readmit = true;
	r->cloud.deaf = true;
	rig_ticks(r, 5, 1000);
	r->cloud.deaf = false;
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(r->cloud.epoch, 2);
	feed_minute(r, 5, 8);
	rig_ticks(r, 3, 1000);
	r->cloud.lose_batch_replies = true;
	feed_minute(r, 6, 8);
	rig_ticks(r, 2, 1000);
	for (uint32_t shard = 0; shard < 4; shard++) {
		struct msg m = {.type = MSG_BATCH_REPLY, .from = "cloud-1", .req_id = 1};
		m.batch_reply.edge = "edge-1";
		m.batch_reply.shard = shard;
		m.batch_reply.verdict = VERDICT_FENCED;
		m.batch_reply.epoch = 2;
		m.batch_reply.last = r->cloud.shards[shard].last;
		for (m.batch_reply.seq = 1; m.batch_reply.seq <= m.batch_reply.last; m.batch_reply.seq++)
			rig_send(r, &m);
	}
	ck_assert(!pipeline_fenced(r->p, NULL));
	r->cloud.lose_batch_replies = false;
	finish(r);
	rig_free(r);
}
END_TEST

static bool shows(struct rig *r, const char *text)
{
	struct buf b = {0};
	pipeline_metrics(r->p, &b);
	bool there = strstr(buf_cstr(&b), text) != NULL;
	buf_free(&b);
	return there;
}

/* As of an edge that is revoked: reports alone tell one that has nothing to send. What comes meanwhile is kept, and counts once. */
START_TEST(a_refused_report_stops_an_edge_which_goes_on_measuring)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	const char *why = NULL;
	feed_minute(r, 0, 8);
	finish(r);
	ck_assert(!shows(r, "weir_edge_uplink_fenced{"));
	r->cloud.report_verdict = r->cloud.hello_verdict = VERDICT_REFUSED;
	rig_ticks(r, 3, 1000);
	ck_assert(pipeline_fenced(r->p, &why) && pipeline_refused(r->p));
	ck_assert_ptr_nonnull(strstr(why, "the cloud refuses this edge"));
	ck_assert_ptr_null(strstr(why, "readmit"));
	ck_assert(shows(r, "weir_edge_uplink_fenced{reason=\"the cloud refuses this edge"));
	uint64_t batches = r->cloud.batches, hellos = r->cloud.hellos;
	feed_minute(r, 1, 8);
	rig_ticks(r, 100, 1000);
	ck_assert_uint_eq(r->cloud.batches, batches);
	ck_assert_uint_ge(r->cloud.hellos - hellos, 9);
	ck_assert_uint_le(r->cloud.hellos - hellos, 11);
	feed_minute(r, 4, 8);
	r->cloud.report_verdict = r->cloud.hello_verdict = VERDICT_OK;
	rig_ticks(r, 12, 1000);
	ck_assert(!pipeline_fenced(r->p, NULL) && !pipeline_refused(r->p));
	ck_assert_uint_eq(r->cloud.epoch, 1); /* the grant is the same */
	finish(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 24);
	rig_free(r);
}
END_TEST

/* What its shards say of a spool is not lifted by one cloud's refusal. */
START_TEST(a_refusal_does_not_lift_a_fence)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) BY_SENSOR);
	feed_minute(r, 0, 8);
	finish(r);
	for (size_t i = 0; i < 4; i++)
		r->cloud.shards[i].last = 1000000; /* of a copy */
	r->cloud.deaf = true;
	rig_ticks(r, 5, 1000);
	r->cloud.deaf = false;
	feed_minute(r, 1, 8);
	rig_ticks(r, 5, 1000);
	ck_assert(pipeline_fenced(r->p, NULL) && !pipeline_refused(r->p));
	uint64_t opens = r->cloud.opens;
	r->cloud.refused_by = UINT32_MAX;
	rig_ticks(r, 25, 1000);
	r->cloud.refused_by = 0;
	rig_ticks(r, 25, 1000);
	ck_assert(pipeline_fenced(r->p, NULL));
	ck_assert_uint_eq(r->cloud.opens, opens);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/uplink");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, hello_open_batches_in_order_and_the_grant_before_all);
	tcase_add_test(tc, an_unanswered_claim_is_asked_with_first_and_then_an_own_one);
	tcase_add_test(tc, of_two_copies_with_an_unanswered_claim_one_is_fenced);
	tcase_add_test(tc, a_grant_is_not_used_before_it_is_durable);
	tcase_add_test(tc, repeated_answers_change_nothing);
	tcase_add_test(tc, lost_answers_are_asked_for_again_byte_for_byte);
	tcase_add_test(tc, busy_is_backed_off_from_and_not_open_is_opened);
	tcase_add_test(tc, out_of_sequence_rewinds);
	tcase_add_test(tc, credit_bounds_what_is_in_flight);
	tcase_add_test(tc, a_probe_that_is_put_off_is_sent_again);
	tcase_add_test(tc, a_silent_cloud_is_left_for_the_next);
	tcase_add_test(tc, a_lost_hello_is_noticed_whatever_else_is_heard);
	tcase_add_test(tc, a_cloud_that_cannot_be_connected_to_is_left_at_once);
	tcase_add_test(tc, when_all_clouds_are_down_they_are_tried_slower_and_slower);
	tcase_add_test(tc, a_shard_that_nobody_leads_is_asked_with_little_and_often);
	tcase_add_test(tc, a_cloud_that_can_serve_nothing_is_left);
	tcase_add_test(tc, an_election_of_three_seconds_makes_no_edge_leave);
	tcase_add_test(tc, a_shard_whose_leader_is_busy_keeps_no_edge_moving);
	tcase_add_test(tc, a_cloud_that_cannot_reach_one_shard_is_left_slower_and_slower);
	tcase_add_test(tc, what_nobody_was_asked_since_says_nothing);
	tcase_add_test(tc, half_connected_clouds_are_left_for_a_whole_one);
	tcase_add_test(tc, a_cloud_that_takes_batches_and_no_reports_is_left);
	tcase_add_test(tc, rubbish_and_strangers_frames_are_counted_and_ignored);
	tcase_add_test(tc, a_second_holder_fences_the_first);
	tcase_add_test(tc, readmission_drops_counts_and_goes_on_after_last);
	tcase_add_test(tc, readmission_survives_a_crash_at_each_of_its_commits);
	tcase_add_test(tc, a_restored_backup_is_fenced_and_takes_nothing_for_acknowledged);
	tcase_add_test(tc, a_restored_backup_of_the_same_epoch_is_found_out_by_its_numbers);
	tcase_add_test(tc, a_cloud_that_lost_data_fences);
	tcase_add_test(tc, an_empty_spool_under_a_known_name_renumbers_what_it_cut_before);
	tcase_add_test(tc, renumbering_survives_a_crash_at_each_commit);
	tcase_add_test(tc, a_foreign_cluster_is_not_served);
	tcase_add_test(tc, refused_is_said_and_tried_again);
	tcase_add_test(tc, a_cloud_that_refuses_is_not_the_cluster);
	tcase_add_test(tc, when_every_cloud_refuses_they_are_asked_seldom);
	tcase_add_test(tc, a_refused_report_stops_an_edge_which_goes_on_measuring);
	tcase_add_test(tc, a_refusal_does_not_lift_a_fence);
	tcase_add_test(tc, a_late_answer_to_an_earlier_epoch_does_not_fence);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
