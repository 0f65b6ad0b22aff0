/* Calls from a blocking thread, answered by a socket on the same loop. */
#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/rpc.h"
#include "common/clock.h"
#include "common/err.h"

#define LONG_NS (60 * NS_PER_SEC)
#define CALLS 50

static const struct stats_family families[] = {{"weir_test_total", "t", STATS_COUNTER, {NULL}}};
static const uint8_t cluster[CLUSTER_ID_BYTES] = {1, 2, 3};

static struct loop *loop;
static struct loop_async *done;
static struct msgq *m;
static struct msgq_socket *other;
static struct rpc *rpc;
static struct stats *stats;
static struct cloud_conf clouds[3];
static struct topology t;
static bool silent;
static sem_t asked; /* one for each request */

/* The other node: answers "groups" with its req_id as a group's term; twice, and once to a call that nobody made. */
static void on_request(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)arg;
	(void)who;
	struct msg q;
	struct buf out = {0};
	ck_assert_int_eq(msg_decode(frame, len, &q), 0);
	ck_assert_int_eq(q.type, MSG_STATUS);
	ck_assert_str_eq(q.from, "c0");
	ck_assert(q.cluster_id.n == CLUSTER_ID_BYTES && !memcmp(q.cluster_id.p, cluster, CLUSTER_ID_BYTES));
	struct msg_group_status group = {.term = q.req_id, .node = "c1"};
	struct msg a = {.type = MSG_STATUS_REPLY, .req_id = q.req_id, .from = "c1"};
	a.status_reply.group_count = 1;
	a.status_reply.groups = &group;
	sem_post(&asked);
	for (int i = 0; i < 3 && !silent; i++) {
		a.req_id = i ? q.req_id : q.req_id + 1000000;
		buf_clear(&out);
		ck_assert_int_eq(msg_encode(&a, &out), 0);
		ck_assert_int_eq(msgq_reply(other, route, out.data, out.len), 0);
	}
	buf_free(&out);
	msg_clear(&q);
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static bool cluster_id(void *arg, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	(void)arg;
	memcpy(ret_id, cluster, CLUSTER_ID_BYTES);
	return true;
}

static void setup(void)
{
	char *why;
	struct msgq_options o = {0};
	sem_init(&asked, 0, 0);
	ck_assert_int_eq(loop_new(&loop), 0);
	done = loop_async_new(loop, stop, NULL);
	ck_assert_int_eq(msgq_new(loop, &o, &m), 0);
	ck_assert_int_eq(msgq_bind(m, "tcp://127.0.0.1:0", on_request, NULL, &other, &why), 0);
	static char c0[] = "c0", c1[] = "c1", c2[] = "c2", nobody[] = "tcp://127.0.0.1:1";
	clouds[0] = (struct cloud_conf){.name = c0, .listen = nobody};
	clouds[1] = (struct cloud_conf){.name = c1, .listen = xstrdup(msgq_endpoint(other))};
	clouds[2] = (struct cloud_conf){.name = c2, .listen = nobody};
	t.clouds = clouds;
	t.cloud_count = 3;
	stats = stats_new(families, 1);
	struct rpc_options r = {loop, m, &t, 0, 42, stats_cell(stats, 0, NULL), cluster_id, NULL};
	ck_assert_int_eq(rpc_new(&r, &rpc, &why), 0);
}

static void teardown(void)
{
	rpc_stop(rpc);
	rpc_free(rpc);
	msgq_free(m);
	loop_free(loop);
	stats_free(stats);
	free(clouds[1].listen);
}

static void run_beside_loop(void *(*fn)(void *arg))
{
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, fn, NULL), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
}

static struct rpc_call *ask(uint32_t node, int64_t timeout_ns)
{
	struct msg q = {.type = MSG_STATUS};
	q.status.what = "groups";
	return rpc_start(rpc, node, &q, timeout_ns);
}

static void *many_calls(void *arg)
{
	(void)arg;
	struct rpc_call *calls[CALLS];
	uint64_t last = 0;
	for (int i = 0; i < CALLS; i++)
		calls[i] = ask(1, LONG_NS);
	rpc_cancel(rpc, calls[7]);
	for (int i = 0; i < CALLS; i++) {
		struct msg a;
		if (i == 7)
			continue;
		ck_assert_int_eq(rpc_wait(rpc, calls[i], LONG_NS), 0);
		ck_assert_int_eq(rpc_finish(rpc, calls[i], &a), 0);
		ck_assert_int_eq(a.type, MSG_STATUS_REPLY);
		ck_assert(a.status_reply.groups[0].term == a.req_id && a.req_id > last); /* each its own answer */
		last = a.req_id;
		msg_clear(&a);
	}
	loop_async_send(done);
	return NULL;
}

START_TEST(each_call_gets_its_own_answer)
{
	run_beside_loop(many_calls);
}
END_TEST

static void *nobody_answers(void *arg)
{
	(void)arg;
	struct msg a;
	ck_assert_int_eq(rpc_finish(rpc, ask(2, 20 * NS_PER_MS), &a), WEIR_ETIMEOUT); /* not there */
	ck_assert_int_eq(rpc_finish(rpc, ask(1, 20 * NS_PER_MS), &a), WEIR_ETIMEOUT); /* silent */
	struct msg q = {.type = MSG_STATUS};
	q.status.what = "groups";
	struct rpc_call *away = rpc_start_if_there(rpc, 2, &q, LONG_NS, 20 * NS_PER_MS);
	ck_assert_int_eq(rpc_finish(rpc, away, &a), WEIR_ETIMEOUT);
	struct rpc_call *c = ask(2, LONG_NS);
	ck_assert_int_eq(rpc_wait(rpc, c, NS_PER_MS), WEIR_ETIMEOUT); /* a look; the call goes on */
	struct rpc_call *brief = ask(2, NS_PER_MS);
	ck_assert_int_eq(rpc_wait(rpc, brief, LONG_NS), 0); /* no longer than the call's own time */
	rpc_cancel(rpc, brief);
	rpc_stop(rpc);
	ck_assert_int_eq(rpc_wait(rpc, c, LONG_NS), 0);
	ck_assert_int_eq(rpc_finish(rpc, c, &a), WEIR_ECLOSED);
	ck_assert_int_eq(rpc_finish(rpc, ask(1, LONG_NS), &a), WEIR_ECLOSED);
	loop_async_send(done);
	return NULL;
}

START_TEST(no_answer_is_told)
{
	silent = true;
	run_beside_loop(nobody_answers);
	struct buf b = {0};
	stats_render(stats, &b);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "weir_test_total 3\n"));
	buf_free(&b);
}
END_TEST

static void *there_but_slow(void *arg)
{
	(void)arg;
	struct msg q = {.type = MSG_STATUS};
	q.status.what = "groups";
	struct rpc_call *c = rpc_start_if_there(rpc, 1, &q, LONG_NS, 1);
	while (sem_wait(&asked))
		;
	ck_assert_int_eq(rpc_wait(rpc, c, NS_PER_MS), WEIR_ETIMEOUT); /* the other node has it: the call goes on */
	rpc_cancel(rpc, c);
	loop_async_send(done);
	return NULL;
}

START_TEST(who_is_there_may_take_the_whole_time)
{
	silent = true;
	run_beside_loop(there_but_slow);
}
END_TEST

static void *too_many(void *arg)
{
	(void)arg;
	static struct rpc_call *calls[RPC_CALLS_MAX];
	struct msg a;
	for (int i = 0; i < RPC_CALLS_MAX; i++)
		calls[i] = ask(2, LONG_NS);
	ck_assert_int_eq(rpc_finish(rpc, ask(2, LONG_NS), &a), WEIR_EBUSY);
	for (int i = 0; i < RPC_CALLS_MAX; i++)
		rpc_cancel(rpc, calls[i]);
	loop_async_send(done);
	return NULL;
}

START_TEST(calls_are_bounded)
{
	run_beside_loop(too_many);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/rpc");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_call_gets_its_own_answer);
	tcase_add_test(tc, no_answer_is_told);
	tcase_add_test(tc, who_is_there_may_take_the_whole_time);
	tcase_add_test(tc, calls_are_bounded);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
