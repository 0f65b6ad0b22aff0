/* ingress and route together: who is served, who is refused, what comes back to whom. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/ingress.h"
#include "cloudd/route.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/cloud_topology.h"

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = "0123456789abcde";
static const uint8_t foreign_id[CLUSTER_ID_BYTES] = "fedcba987654321";

struct world {
	struct topology *t;
	struct ingress *in;
	struct route *route;
	/* what was sent last */
	struct buf reply, to_node;
	struct msg last;   /* of reply, decoded */
	bool has_last, node_down;
	size_t replies, sends;
	uint32_t node;
	/* what route answered last */
	struct origin origin;
	struct answer answer;
	size_t answers;
};
static struct world w;

static void decode_last(void)
{
	if (w.has_last)
		msg_clear(&w.last);
	ck_assert_int_eq(msg_decode(w.reply.data, w.reply.len, &w.last), 0);
	w.has_last = true;
}

static bool on_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	(void)arg, (void)route;
	buf_clear(&w.reply);
	buf_put(&w.reply, frame, len);
	w.replies++;
	decode_last();
	return true;
}

static bool on_send(void *arg, uint32_t node, const void *frame, size_t len)
{
	(void)arg;
	if (w.node_down)
		return false;
	buf_clear(&w.to_node);
	buf_put(&w.to_node, frame, len);
	w.node = node;
	w.sends++;
	return true;
}

static void on_answered(void *arg, const struct origin *o, const struct answer *a)
{
	(void)arg;
	w.origin = *o;
	w.answer = *a;
	w.answers++;
	if (!o->local)
		ingress_answer(w.in, o, a);
}

static void setup(void)
{
	w = (struct world){.t = cloud_topology(3, 8)};
	w.in = ingress_new(w.t, "cloud-1", &(struct ingress_io){NULL, on_reply});
	w.route = route_new(w.t, "cloud-1", 1000, &(struct route_io){NULL, on_send, on_answered});
	ingress_set_cluster_id(w.in, cluster_id);
}

static void teardown(void)
{
	if (w.has_last)
		msg_clear(&w.last);
	buf_free(&w.reply);
	buf_free(&w.to_node);
	ingress_free(w.in);
	route_free(w.route);
	topology_free(w.t);
}

static struct bytes route_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

static struct msg batch_msg(const char *edge, const void *body, size_t len)
{
	struct msg m = {.type = MSG_BATCH, .req_id = 7, .from = edge, .cluster_id = bytes_of(cluster_id, sizeof(cluster_id))};
	m.batch.edge = edge;
	m.batch.epoch = 1;
	m.batch.shard = 2;
	m.batch.seq = 5;
	m.batch.body = bytes_of(body, len);
	return m;
}

START_TEST(a_known_edge_is_accepted_and_answered)
{
	struct origin o;
	struct msg m = batch_msg("a", "body", 4);
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_uint_eq(w.replies, 0);
	ck_assert_uint_eq(o.bytes, 4);
	ck_assert(!o.forwarded);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 4);
	ingress_answer(w.in, &o, &(struct answer){.verdict = VERDICT_OK, .epoch = 3, .last = 5});
	ck_assert_int_eq(w.last.type, MSG_BATCH_REPLY);
	ck_assert_uint_eq(w.last.req_id, 7);
	ck_assert_str_eq(w.last.from, "cloud-1");
	ck_assert_str_eq(w.last.batch_reply.edge, "a");
	ck_assert_uint_eq(w.last.batch_reply.shard, 2);
	ck_assert_uint_eq(w.last.batch_reply.seq, 5);
	ck_assert_uint_eq(w.last.batch_reply.epoch, 3);
	ck_assert_uint_eq(w.last.batch_reply.last, 5);
	ck_assert_uint_eq(w.last.batch_reply.credit_bytes, INGRESS_CREDIT_MAX);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
}
END_TEST

START_TEST(strangers_are_refused_with_a_reason_and_counted)
{
	struct origin o;
	struct msg m = batch_msg("nobody", "body", 4);
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	ck_assert_str_eq(w.last.batch_reply.edge, "nobody");
	ck_assert_str_ne(w.last.batch_reply.reason, "");
	m = batch_msg("a", "body", 4);
	m.from = "b"; /* another edge's name */
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	ck_assert_uint_eq(ingress_counters(w.in)->refused_edge, 2);
	m = batch_msg("a", "body", 4);
	m.from = "cloud-9"; /* a node that one of the two does not know yet, or any more: the edge is not at fault */
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	m = batch_msg("a", "body", 4);
	m.cluster_id = bytes_of(foreign_id, sizeof(foreign_id));
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	m.cluster_id = (struct bytes){0}; /* only a hello may come without */
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	ck_assert_uint_eq(ingress_counters(w.in)->refused_cluster, 2);
	m = batch_msg("a", "body", 4);
	m.batch.shard = 8;
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
}
END_TEST

START_TEST(a_refusal_is_said_in_the_requests_own_words)
{
	struct msg m = batch_msg("a", "body", 4);
	m.from = "cloud-2"; /* which passes it on */
	ingress_refuse(w.in, route_of("r1"), &m, "no more");
	ck_assert_int_eq(w.last.type, MSG_BATCH_REPLY);
	ck_assert_uint_eq(w.last.req_id, 7);
	ck_assert_str_eq(w.last.batch_reply.edge, "a");
	ck_assert_uint_eq(w.last.batch_reply.shard, 2);
	ck_assert_uint_eq(w.last.batch_reply.seq, 5);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_REFUSED);
	ck_assert_str_eq(w.last.batch_reply.reason, "no more");
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 0);
	m = (struct msg){.type = MSG_REPORT, .from = "a", .req_id = 8};
	m.report.edge = "a";
	m.report.sent_mono_ns = 9;
	ingress_refuse(w.in, route_of("r1"), &m, "no more");
	ck_assert_int_eq(w.last.type, MSG_REPORT_REPLY);
	ck_assert_int_eq(w.last.report_reply.verdict, VERDICT_REFUSED);
	ck_assert_int_eq(w.last.report_reply.sent_mono_ns, 9);
}
END_TEST

START_TEST(a_hello_of_a_new_edge_has_no_cluster_id_but_the_name)
{
	struct origin o;
	uint8_t claim[CLAIM_BYTES] = "claim";
	struct msg m = {.type = MSG_HELLO, .from = "a"};
	m.hello.edge = "a";
	m.hello.cluster = "plant";
	m.hello.claim = bytes_of(claim, sizeof(claim));
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ingress_answer(w.in, &o, &(struct answer){.verdict = VERDICT_OK, .epoch = 1});
	ck_assert_mem_eq(w.last.hello_reply.claim.p, claim, CLAIM_BYTES);
	ck_assert_mem_eq(w.last.hello_reply.cluster_id.p, cluster_id, CLUSTER_ID_BYTES);
	m.hello.cluster = "works";
	ck_assert(!ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.hello_reply.verdict, VERDICT_REFUSED);
}
END_TEST

START_TEST(a_node_without_the_cluster_id_serves_nobody)
{
	struct origin o;
	struct ingress *in = ingress_new(w.t, "cloud-1", &(struct ingress_io){NULL, on_reply});
	struct msg m = batch_msg("a", "body", 4);
	ck_assert(!ingress_accept(in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	ingress_free(in);
}
END_TEST

START_TEST(what_is_over_the_credit_is_busy_and_costs_nothing)
{
	static uint8_t body[192 * 1024];
	struct origin o[64];
	struct msg m = batch_msg("a", body, sizeof(body));
	size_t taken = 0;
	while (taken < 64 && ingress_accept(w.in, route_of("r1"), &m, 0, &o[taken]))
		taken++;
	ck_assert_uint_eq(taken, 2 * INGRESS_CREDIT_MAX / sizeof(body));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_BUSY);
	/* another session is not concerned, and each answer makes room */
	struct origin other;
	ck_assert(ingress_accept(w.in, route_of("r2"), &m, 0, &other));
	ingress_answer(w.in, &o[0], &(struct answer){.verdict = VERDICT_OK});
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o[0]));
	for (size_t i = 0; i < taken; i++)
		ingress_drop(w.in, &o[i]);
	ingress_drop(w.in, &other);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
}
END_TEST

START_TEST(credits_are_shares_of_the_whole_and_sessions_end)
{
	static struct origin o[1024];
	char route[16];
	struct msg m = batch_msg("a", "body", 4);
	for (int i = 0; i < 1024; i++) {
		snprintf(route, sizeof(route), "r%d", i);
		ck_assert(ingress_accept(w.in, route_of(route), &m, 0, &o[i]));
	}
	ingress_answer(w.in, &o[0], &(struct answer){.verdict = VERDICT_OK});
	/* that session ended with its last batch: the edge talks through others by now */
	ck_assert_uint_eq(w.last.batch_reply.credit_bytes, INGRESS_BYTES_MAX / 1023);
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 1023);
	for (int i = 1; i < 1023; i++)
		ingress_answer(w.in, &o[i], &(struct answer){.verdict = VERDICT_OK});
	ingress_tick(w.in, INGRESS_IDLE_MS * NS_PER_MS);
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 1); /* with something in flight it is kept */
	ingress_answer(w.in, &o[1023], &(struct answer){.verdict = VERDICT_OK});
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 1); /* and the edge's last one while it is heard */
	ingress_tick(w.in, 2 * INGRESS_IDLE_MS * NS_PER_MS);
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 0);
}
END_TEST

START_TEST(an_edge_that_reconnects_leaves_no_session_behind)
{
	struct origin o;
	char route[16];
	struct msg m = batch_msg("a", "body", 4);
	for (int i = 0; i < 100; i++) {
		snprintf(route, sizeof(route), "r%d", i);
		ck_assert(ingress_accept(w.in, route_of(route), &m, 0, &o));
		ingress_answer(w.in, &o, &(struct answer){.verdict = VERDICT_OK});
		ck_assert_uint_eq(ingress_counters(w.in)->sessions, 1);
	}
	struct msg b = batch_msg("b", "body", 4);
	ck_assert(ingress_accept(w.in, route_of("r99"), &b, 0, &o)); /* another edge behind the same route */
	ck_assert_uint_eq(ingress_counters(w.in)->sessions, 1);
	struct origin other;
	ck_assert(!ingress_accept(w.in, route_of("r99"), &m, 0, &other)); /* but not both at once */
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_BUSY);
	ingress_drop(w.in, &o);
}
END_TEST

START_TEST(sessions_are_bounded)
{
	static struct origin o[INGRESS_SESSIONS_MAX];
	struct origin one_more;
	char route[16];
	struct msg m = batch_msg("a", "", 0);
	for (int i = 0; i < INGRESS_SESSIONS_MAX; i++) {
		snprintf(route, sizeof(route), "r%d", i);
		ck_assert(ingress_accept(w.in, route_of(route), &m, 0, &o[i]));
	}
	ck_assert(!ingress_accept(w.in, route_of("one more"), &m, 0, &one_more));
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_BUSY);
	ingress_drop(w.in, &o[5]);
	ck_assert(ingress_accept(w.in, route_of("one more"), &m, 0, &one_more));
	char longest[ORIGIN_ROUTE_MAX + 1];
	memset(longest, 'x', sizeof(longest));
	ck_assert(!ingress_accept(w.in, bytes_of(longest, sizeof(longest)), &m, 0, &one_more));
	ck_assert_uint_eq(ingress_counters(w.in)->refused_route, 1);
}
END_TEST

/* What node 2 would answer to what was forwarded last. */
static void node_replies(uint32_t node, enum verdict v, uint64_t last)
{
	struct msg sent, r = {.type = MSG_BATCH_REPLY, .from = "cloud-3"};
	ck_assert_int_eq(msg_decode(w.to_node.data, w.to_node.len, &sent), 0);
	r.req_id = sent.req_id;
	r.batch_reply.verdict = v;
	r.batch_reply.last = last;
	route_reply(w.route, node, &r);
	msg_clear(&sent);
}

START_TEST(a_forwarded_request_comes_back_to_who_asked)
{
	struct origin o, at_holder;
	struct msg m = batch_msg("a", "body", 4), sent;
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
	ck_assert_uint_eq(w.node, 2);
	ck_assert_int_eq(msg_decode(w.to_node.data, w.to_node.len, &sent), 0);
	ck_assert_str_eq(sent.from, "cloud-1");
	ck_assert_str_eq(sent.batch.edge, "a");
	ck_assert_mem_eq(sent.batch.body.p, "body", 4);
	/* the holder sees that it was forwarded, and gives no session to it */
	struct ingress *holder = ingress_new(w.t, "cloud-3", &(struct ingress_io){NULL, on_reply});
	ingress_set_cluster_id(holder, cluster_id);
	ck_assert(ingress_accept(holder, route_of("cloud-1"), &sent, 0, &at_holder));
	ck_assert(at_holder.forwarded);
	ck_assert_uint_eq(at_holder.bytes, 0);
	ck_assert_uint_eq(ingress_counters(holder)->sessions, 0);
	ingress_answer(holder, &at_holder, &(struct answer){.verdict = VERDICT_OK, .last = 5});
	ck_assert_uint_eq(w.last.batch_reply.credit_bytes, 0);
	ck_assert_uint_eq(w.last.req_id, sent.req_id);
	route_reply(w.route, 2, &w.last);
	ck_assert_int_eq(w.last.type, MSG_BATCH_REPLY);
	ck_assert_uint_eq(w.last.req_id, 7);
	ck_assert_uint_eq(w.last.batch_reply.last, 5);
	ck_assert_uint_eq(w.last.batch_reply.credit_bytes, INGRESS_CREDIT_MAX);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
	msg_clear(&sent);
	ingress_free(holder);
}
END_TEST

START_TEST(doubled_foreign_and_late_replies_match_nothing)
{
	struct origin o;
	struct msg m = batch_msg("a", "body", 4);
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
	node_replies(1, VERDICT_OK, 5); /* not the node that was asked */
	ck_assert_uint_eq(w.answers, 0);
	node_replies(2, VERDICT_OK, 5);
	node_replies(2, VERDICT_OK, 5);
	ck_assert_uint_eq(w.answers, 1);
	ck_assert_uint_eq(route_counters(w.route)->unmatched, 2);
	struct msg early = {.type = MSG_BATCH_REPLY, .req_id = 3}; /* of an earlier start */
	route_reply(w.route, 2, &early);
	early.req_id = UINT64_MAX;
	route_reply(w.route, 2, &early);
	ck_assert_uint_eq(w.answers, 1);
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
	struct msg wrong = {.type = MSG_OPEN_REPLY, .req_id = 1001};
	route_reply(w.route, 2, &wrong);
	ck_assert_uint_eq(w.answers, 1);
	node_replies(2, VERDICT_OK, 6);
	ck_assert_uint_eq(w.answers, 2);
}
END_TEST

START_TEST(silence_is_unavailable_in_time_and_a_late_reply_is_dropped)
{
	struct origin o;
	struct msg m = batch_msg("a", "body", 4);
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
	route_tick(w.route, ROUTE_TIMEOUT_MS * NS_PER_MS - 1);
	ck_assert_uint_eq(w.answers, 0);
	route_tick(w.route, ROUTE_TIMEOUT_MS * NS_PER_MS);
	ck_assert_uint_eq(w.answers, 1);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
	node_replies(2, VERDICT_OK, 5);
	ck_assert_uint_eq(w.answers, 1);
}
END_TEST

START_TEST(replies_out_of_order_reach_their_own_askers)
{
	struct origin o;
	struct msg m = batch_msg("a", "body", 4), r = {.type = MSG_BATCH_REPLY};
	for (uint64_t i = 0; i < 100; i++) {
		m.req_id = i;
		ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
		ck_assert_int_eq(route_forward(w.route, 2, &m, &o, (int64_t)i), 0);
	}
	for (uint64_t i = 100; i-- > 50;) {
		r.req_id = 1000 + i;
		r.batch_reply.last = i;
		route_reply(w.route, 2, &r);
		ck_assert_uint_eq(w.last.req_id, i);
		ck_assert_uint_eq(w.last.batch_reply.last, i);
	}
	route_tick(w.route, INT64_MAX);
	ck_assert_uint_eq(route_counters(w.route)->timeouts, 50);
	ck_assert_uint_eq(route_counters(w.route)->waiting, 0);
	ck_assert_uint_eq(ingress_counters(w.in)->in_flight_bytes, 0);
}
END_TEST

START_TEST(a_node_that_cannot_be_reached_or_has_too_much_is_said_at_once)
{
	struct origin o;
	struct msg m = batch_msg("a", "", 0);
	ck_assert(ingress_accept(w.in, route_of("r1"), &m, 0, &o));
	w.node_down = true;
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), WEIR_ECLOSED);
	w.node_down = false;
	ingress_drop(w.in, &o);
	o.counted = false;
	for (int i = 0; i < ROUTE_WAITING_MAX; i++)
		ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), WEIR_EBUSY);
	route_tick(w.route, INT64_MAX);
	ck_assert_int_eq(route_forward(w.route, 2, &m, &o, 0), 0);
}
END_TEST

static void forward_to(uint32_t node, uint32_t shard, enum msg_type type)
{
	struct msg m = {.type = type};
	struct origin o = {.type = type, .shard = shard, .local = true, .edge = 0};
	m.open.edge = m.batch.edge = "a";
	m.open.shard = m.batch.shard = shard;
	if (type == MSG_HELLO)
		m = (struct msg){.type = MSG_HELLO,
		    .hello = {.edge = "a", .cluster = "plant", .claim = bytes_of(cluster_id, CLAIM_BYTES), .software = ""}};
	ck_assert_int_eq(route_forward(w.route, node, &m, &o, 0), 0);
}

START_TEST(a_change_of_leader_answers_at_once_what_waits_elsewhere)
{
	forward_to(1, 2, MSG_OPEN);
	forward_to(2, 2, MSG_OPEN);
	forward_to(1, 3, MSG_OPEN);
	forward_to(1, 0, MSG_HELLO);
	route_group_led(w.route, 3, 2); /* shard 2: what waits at node 2 is where it belongs */
	ck_assert_uint_eq(w.answers, 1);
	ck_assert_int_eq(w.answer.verdict, VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(w.origin.shard, 2);
	route_group_led(w.route, 0, -1); /* the meta group has no leader: hellos */
	ck_assert_uint_eq(w.answers, 2);
	ck_assert_int_eq(w.origin.type, MSG_HELLO);
	ck_assert_uint_eq(route_counters(w.route)->moved, 2);
	ck_assert_uint_eq(route_counters(w.route)->waiting, 2);
	node_replies(1, VERDICT_OK, 5); /* the last frame: of the hello, given up */
	ck_assert_uint_eq(w.answers, 2);
}
END_TEST

START_TEST(a_node_that_restarted_will_not_answer)
{
	forward_to(1, 2, MSG_OPEN);
	forward_to(2, 3, MSG_OPEN);
	forward_to(1, 4, MSG_OPEN);
	route_node_restarted(w.route, 1);
	ck_assert_uint_eq(w.answers, 2);
	ck_assert_int_eq(w.answer.verdict, VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(route_counters(w.route)->waiting, 1);
	route_tick(w.route, INT64_MAX);
	ck_assert_uint_eq(w.answers, 3);
	ck_assert_uint_eq(route_counters(w.route)->timeouts, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/ingress");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_known_edge_is_accepted_and_answered);
	tcase_add_test(tc, strangers_are_refused_with_a_reason_and_counted);
	tcase_add_test(tc, a_refusal_is_said_in_the_requests_own_words);
	tcase_add_test(tc, a_hello_of_a_new_edge_has_no_cluster_id_but_the_name);
	tcase_add_test(tc, a_node_without_the_cluster_id_serves_nobody);
	tcase_add_test(tc, what_is_over_the_credit_is_busy_and_costs_nothing);
	tcase_add_test(tc, credits_are_shares_of_the_whole_and_sessions_end);
	tcase_add_test(tc, an_edge_that_reconnects_leaves_no_session_behind);
	tcase_add_test(tc, sessions_are_bounded);
	tcase_add_test(tc, a_forwarded_request_comes_back_to_who_asked);
	tcase_add_test(tc, doubled_foreign_and_late_replies_match_nothing);
	tcase_add_test(tc, silence_is_unavailable_in_time_and_a_late_reply_is_dropped);
	tcase_add_test(tc, replies_out_of_order_reach_their_own_askers);
	tcase_add_test(tc, a_node_that_cannot_be_reached_or_has_too_much_is_said_at_once);
	tcase_add_test(tc, a_change_of_leader_answers_at_once_what_waits_elsewhere);
	tcase_add_test(tc, a_node_that_restarted_will_not_answer);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
