/* Publishing to real subscribers on loopback: who keeps up gets all, who does not is waited for, and then misses rows, which are counted. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "cloudd/zmq_publisher.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/msgq.h"

#define PORT_TRIES 50
#define BATCH 500
#define BODY_BYTES 2000

static struct zmq_publisher *publisher;
static void *context;
static char address[64];

static bool stopping;

static bool is_stopping(void *arg)
{
	(void)arg;
	return stopping;
}

/* A port that is free now; another process may take it first, then the next one is tried. */
static void setup(void)
{
	char *why = NULL;
	context = zmq_ctx_new();
	for (int i = 0; i < PORT_TRIES && !publisher; i++) {
		void *s = zmq_socket(context, ZMQ_ROUTER);
		size_t n = sizeof(address);
		ck_assert(!zmq_bind(s, "tcp://127.0.0.1:*") && !zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, address, &n));
		ck_assert(!zmq_unbind(s, address) && !zmq_close(s));
		free(why);
		why = NULL;
		(void)zmq_publisher_open(&(struct zmq_publisher_options){.address = address, .node = "c1", .stopping = is_stopping}, &publisher, &why);
	}
	ck_assert_msg(publisher != NULL, "%s", why);
	free(why);
}

static void teardown(void)
{
	zmq_publisher_free(publisher);
	publisher = NULL;
	zmq_ctx_term(context);
}

static void *subscriber(const char *topic, int queue)
{
	void *s = zmq_socket(context, ZMQ_SUB);
	int none = 0, timeout_ms = 20000;
	zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof(none));
	zmq_setsockopt(s, ZMQ_SNDHWM, &none, sizeof(none)); /* of subscriptions: none is left out */
	zmq_setsockopt(s, ZMQ_RCVHWM, &queue, sizeof(queue));
	zmq_setsockopt(s, ZMQ_RCVTIMEO, &timeout_ms, sizeof(timeout_ms));
	zmq_setsockopt(s, ZMQ_SUBSCRIBE, topic, strlen(topic));
	ck_assert(!zmq_connect(s, address));
	return s;
}

static struct zmq_message message(const char *topic, const uint32_t *number, const void *body, size_t n)
{
	return (struct zmq_message){{bytes_of((const uint8_t *)topic, strlen(topic)), bytes_of((const uint8_t *)number, sizeof(*number)),
		bytes_of(body, n)}};
}

/* The number of the next message, but those of wait_subscribed(), which come in their own time; UINT32_MAX: none comes. */
static uint32_t next(void *s)
{
	char topic[16];
	uint32_t number = 0;
	static char body[BODY_BYTES];
	while (!number) {
		if (zmq_recv(s, topic, sizeof(topic), 0) < 0)
			return UINT32_MAX;
		ck_assert_int_eq(zmq_recv(s, &number, sizeof(number), 0), sizeof(number));
		ck_assert_int_ge(zmq_recv(s, body, sizeof(body), 0), 0);
	}
	return number;
}

/* Until the first of some messages, all 0, comes: the subscription is there. */
static void wait_subscribed(void *s, const char *topic)
{
	static const uint32_t zero = 0;
	struct zmq_message m = message(topic, &zero, "", 0);
	zmq_pollitem_t item = {s, 0, ZMQ_POLLIN, 0};
	do
		ck_assert_int_eq(zmq_publisher_send(publisher, &m, 1), 0);
	while (zmq_poll(&item, 1, 10) <= 0);
}

START_TEST(a_subscriber_gets_what_it_asked_for)
{
	void *s = subscriber("s/a/", 1000);
	const uint32_t numbers[] = {1, 2, 3, 4};
	wait_subscribed(s, "s/a/");
	struct zmq_message m[] = {message("s/a/", &numbers[0], "x", 1), message("s/ab/", &numbers[1], "x", 1), message("t/a/", &numbers[2], "x", 1),
		message("s/a/", &numbers[3], "", 0)};
	zmq_publisher_send(publisher, m, 4);
	ck_assert_uint_eq(next(s), 1);
	ck_assert_uint_eq(next(s), 4);
	struct zmq_publisher_counts c;
	zmq_publisher_counts(publisher, &c);
	ck_assert(c.subscribers == 1 && !c.left_behind && !c.refused);
	zmq_close(s);
}
END_TEST

struct reader {
	void *socket;
	uint32_t last;
	atomic_uint expected; /* the next one, and what came in its place */
	uint32_t got;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	while (r->expected <= r->last && (r->got = next(r->socket)) == r->expected)
		r->expected++;
	return NULL;
}

#define AHEAD_MAX 1000 /* with a batch, and what libzmq tells late (half a queue), under MSGQ_PUBLISH_QUEUE: this reader is never left behind */

static void send_numbered(struct reader *r)
{
	static char body[BODY_BYTES];
	struct zmq_message m[BATCH];
	uint32_t numbers[BATCH];
	for (uint32_t first = 1; first <= r->last; first += BATCH) {
		for (int i = 0; first > r->expected + AHEAD_MAX && i < 20000; i++)
			zmq_poll(NULL, 0, 1);
		for (uint32_t i = 0; i < BATCH; i++) {
			numbers[i] = first + i;
			m[i] = message("all", &numbers[i], body, sizeof(body));
		}
		zmq_publisher_send(publisher, m, BATCH);
	}
}

#define SILENT_NS (6 * NS_PER_SEC) /* who does not read does not answer libzmq's heartbeats either, and is dropped, to come again */

/* 40 MB: far more than all buffers on the way. */
START_TEST(who_does_not_read_misses_what_others_get)
{
	pthread_t thread;
	int64_t began_ns = clock_mono_ns();
	struct reader r = {.socket = subscriber("all", 1000), .last = 20000, .expected = 1};
	void *stuck = subscriber("all", 1);
	wait_subscribed(r.socket, "all");
	wait_subscribed(stuck, "all");
	ck_assert(!pthread_create(&thread, NULL, read_all, &r));
	int64_t from_ns = clock_mono_ns();
	send_numbered(&r);
	int64_t took_ns = clock_mono_ns() - from_ns;
	pthread_join(thread, NULL);
	struct zmq_publisher_counts c;
	zmq_publisher_counts(publisher, &c);
	bool dropped = clock_mono_ns() - began_ns >= SILENT_NS;
	ck_assert_msg(r.expected > r.last, "%u, not %u; left behind %llu", r.got, r.expected, (unsigned long long)c.left_behind);
	ck_assert_msg(c.left_behind == 1 || (c.left_behind && dropped), "%llu", (unsigned long long)c.left_behind);
	ck_assert_msg(c.subscribers == 2 || dropped, "%llu", (unsigned long long)c.subscribers);
	ck_assert_int_ge(took_ns, ZMQ_PUBLISHER_PATIENCE_NS); /* it was waited for */
	zmq_close(r.socket);
	zmq_close(stuck);
}
END_TEST

/* libzmq would keep whatever it is asked for. */
START_TEST(who_subscribes_to_too_much_is_cut_off)
{
	static const uint32_t one = 1;
	char topic[1024];
	struct zmq_publisher_counts c = {0};
	void *s = subscriber("s/a/", 1000), *greedy = subscriber("s/b/", 1000);
	wait_subscribed(s, "s/a/");
	wait_subscribed(greedy, "s/b/");
	memset(topic, 'x', sizeof(topic));
	for (unsigned i = 0; i < 3 * MSGQ_TOPICS_BYTES_MAX / sizeof(topic); i++) { /* one at a time: their ends are counted, too */
		ck_assert(!zmq_setsockopt(s, ZMQ_SUBSCRIBE, topic, sizeof(topic)));
		ck_assert(!zmq_setsockopt(s, ZMQ_UNSUBSCRIBE, topic, sizeof(topic)));
	}
	ck_assert(!zmq_setsockopt(s, ZMQ_SUBSCRIBE, "s/c/", 4));
	wait_subscribed(s, "s/c/"); /* what was before it has come */
	zmq_publisher_counts(publisher, &c);
	ck_assert_uint_eq(c.refused, 0);
	for (unsigned i = 0; i <= MSGQ_TOPICS_BYTES_MAX / sizeof(topic); i++) {
		memcpy(topic, &i, sizeof(i));
		ck_assert(!zmq_setsockopt(greedy, ZMQ_SUBSCRIBE, topic, sizeof(topic)));
	}
	for (int64_t from_ns = clock_mono_ns(); !c.refused && clock_mono_ns() - from_ns < 20 * NS_PER_SEC;) {
		zmq_poll(NULL, 0, 10);
		zmq_publisher_counts(publisher, &c);
	}
	ck_assert_uint_ge(c.refused, 1);
	zmq_close(greedy);
	struct zmq_message m = message("s/a/", &one, "", 0);
	zmq_publisher_send(publisher, &m, 1);
	ck_assert_uint_eq(next(s), 1);
	zmq_close(s);
}
END_TEST

START_TEST(it_waits_no_longer_than_until_it_is_to_stop)
{
	static const uint32_t zero = 0;
	void *stuck = subscriber("all", 1);
	wait_subscribed(stuck, "all");
	stopping = true;
	struct zmq_message m = message("all", &zero, "", 0);
	int64_t from_ns = clock_mono_ns();
	int rc = 0;
	for (int i = 0; i < 1000000 && !rc; i++)
		rc = zmq_publisher_send(publisher, &m, 1);
	ck_assert_int_eq(rc, WEIR_ECLOSED);
	ck_assert_int_lt(clock_mono_ns() - from_ns, 10 * NS_PER_SEC);
	stopping = false;
	zmq_close(stuck);
}
END_TEST

START_TEST(a_port_that_is_taken_is_told)
{
	struct zmq_publisher *second;
	char *why = NULL;
	ck_assert_int_eq(zmq_publisher_open(&(struct zmq_publisher_options){.address = address, .node = "c1", .stopping = is_stopping}, &second, &why), WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "already in use"));
	free(why);
	ck_assert_int_eq(zmq_publisher_open(&(struct zmq_publisher_options){.address = "tcp://192.0.2.1:5600", .node = "c1", .stopping = is_stopping}, &second, &why),
	    WEIR_EINVAL);
	free(why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("zmq_publisher");
	TCase *t = tcase_create("zmq_publisher");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_subscriber_gets_what_it_asked_for);
	tcase_add_test(t, who_does_not_read_misses_what_others_get);
	tcase_add_test(t, who_subscribes_to_too_much_is_cut_off);
	tcase_add_test(t, it_waits_no_longer_than_until_it_is_to_stop);
	tcase_add_test(t, a_port_that_is_taken_is_told);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
