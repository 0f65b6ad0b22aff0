/* Real sockets on loopback. zmq.h is included to be a badly behaved peer. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <zmq.h>

#include "common/addr.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/msgq.h"

#define ROUTE_TEST_MAX 255

static struct loop *loop;
static struct msgq *m;
static struct msgq_socket *server, *client;
static char *why;
static struct loop_timer *tick; /* so that a turn ends although nothing comes */

static unsigned got_server, got_client;
static size_t last_len;
static uint8_t route[255];
static size_t route_len;
static bool echo, close_in_callback;

static void on_server(void *arg, struct bytes from, const char *who, const void *frame, size_t len)
{
	ck_assert_ptr_eq(arg, &got_server);
	ck_assert_str_eq(who, "");
	got_server++;
	last_len = len;
	memcpy(route, from.p, from.n);
	route_len = from.n;
	if (echo)
		ck_assert_int_eq(msgq_reply(server, from, frame, len), 0);
	if (close_in_callback) {
		msgq_close(server);
		server = NULL;
	}
}

static void on_client(void *arg, struct bytes from, const char *who, const void *frame, size_t len)
{
	(void)arg;
	(void)who;
	(void)frame;
	ck_assert_uint_eq(from.n, 0);
	got_client++;
	last_len = len;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void setup(void)
{
	struct msgq_options o = {0};
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(msgq_new(loop, &o, &m), 0);
	int rc = msgq_bind(m, "tcp://127.0.0.1:0", on_server, &got_server, &server, &why);
	ck_assert_msg(!rc, "%s", why);
	ck_assert_int_eq(msgq_connect(m, msgq_endpoint(server), "s", on_client, NULL, &client, &why), 0);
	tick = loop_timer_new(loop, nothing, NULL);
	loop_timer_start(tick, 5, 5);
}

static void teardown(void)
{
	msgq_free(m);
	loop_free(loop);
}

static void send_when_connected(const void *p, size_t n)
{
	while (msgq_send(client, p, n) == WEIR_EBUSY)
		loop_turn(loop, true);
}

START_TEST(frames_go_there_and_back)
{
	echo = true;
	uint8_t *big = xcalloc(1, MSGQ_FRAME_MAX + 1);
	send_when_connected("hello", 5);
	while (!got_client)
		loop_turn(loop, true);
	ck_assert_uint_eq(last_len, 5);
	ck_assert_int_eq(msgq_send(client, big, MSGQ_FRAME_MAX), 0);
	while (got_client < 2)
		loop_turn(loop, true);
	ck_assert_uint_eq(last_len, MSGQ_FRAME_MAX);
	ck_assert_int_eq(msgq_send(client, big, MSGQ_FRAME_MAX + 1), WEIR_ETOOBIG);
	ck_assert_int_eq(msgq_send(client, big, 0), WEIR_EINVAL);
	struct msgq_counters c;
	msgq_counters(m, &c);
	ck_assert_uint_eq(c.received, 4);
	ck_assert_uint_eq(c.sent, 4);
	ck_assert_uint_eq(c.sent_bytes, 2 * (5 + MSGQ_FRAME_MAX));
	free(big);
}
END_TEST

/* The edge-triggered descriptor: nothing may stay behind, however many come at once. */
START_TEST(a_burst_arrives_whole)
{
	unsigned sent = 0;
	echo = true;
	send_when_connected("x", 1);
	sent++;
	while (got_client < 5000) {
		while (sent < 5000 && sent - got_client < 100 && msgq_send(client, "x", 1) == 0)
			sent++;
		loop_turn(loop, true);
	}
	ck_assert_uint_eq(got_server, 5000);
}
END_TEST

static unsigned seen, round_number, sent_beside;

/* Behind the answer of the server, and before the loop looks at descriptors. */
static void swallow(void *arg)
{
	(void)arg;
	if (got_server == seen)
		return;
	seen = got_server;
	struct msgq_counters c;
	for (unsigned i = 0; echo && i < 400000; i++) { /* time for the answer to come */
		msgq_counters(m, &c);
		if (i % 40000 != 39999) /* not all sends take in events, but those do that come after a while */
			continue;
		if (round_number % 2)
			sent_beside += !msgq_send(client, "y", 1);
		else
			(void)msgq_can_send(client);
	}
	echo = false;
}

/* Sending, and asking whether one could, take in the descriptor's event for what has come meanwhile. */
START_TEST(what_came_while_we_sent_is_received)
{
	loop_on_turn_end(loop, swallow, NULL);
	for (round_number = 0; round_number < 10; round_number++) {
		echo = true;
		send_when_connected("x", 1);
		while (got_client == round_number)
			loop_turn(loop, true);
		while (got_server < round_number + 1 + sent_beside) /* what was sent meanwhile: the next round would answer it */
			loop_turn(loop, true);
		ck_assert_uint_eq(got_client, round_number + 1);
	}
}
END_TEST

START_TEST(nobody_there_is_said_at_once)
{
	struct msgq_socket *lonely;
	ck_assert_int_eq(msgq_connect(m, "tcp://127.0.0.1:1", "s", on_client, NULL, &lonely, &why), 0);
	ck_assert_int_eq(msgq_send(lonely, "x", 1), WEIR_EBUSY);
	ck_assert(!msgq_can_send(lonely));
	ck_assert_int_eq(msgq_reply(server, bytes_of("nobody", 6), "x", 1), WEIR_ENOTFOUND);
	ck_assert_int_eq(msgq_reply(server, bytes_of("", 0), "x", 1), WEIR_ENOTFOUND);
	struct msgq_counters c;
	msgq_counters(m, &c);
	ck_assert_uint_eq(c.refused_busy, 1);
	ck_assert_uint_eq(c.refused_gone, 1);
	/* A peer that left. */
	send_when_connected("x", 1);
	ck_assert(msgq_can_send(client));
	while (!got_server)
		loop_turn(loop, true);
	msgq_close(client);
	while (msgq_reply(server, bytes_of(route, route_len), "x", 1) != WEIR_ENOTFOUND)
		loop_turn(loop, true);
}
END_TEST

START_TEST(a_connection_that_is_lost_takes_nothing)
{
	send_when_connected("x", 1);
	ck_assert(msgq_can_send(client));
	msgq_close(server);
	while (msgq_can_send(client)) /* known as soon as the kernel says so */
		loop_turn(loop, false);
}
END_TEST

START_TEST(a_silent_reader_fills_up_and_is_refused)
{
	send_when_connected("x", 1);
	while (!got_server)
		loop_turn(loop, true);
	void *ctx = zmq_ctx_new(), *deaf = zmq_socket(ctx, ZMQ_DEALER);
	int one = 1, zero = 0;
	zmq_setsockopt(deaf, ZMQ_RCVHWM, &one, sizeof(one));
	zmq_setsockopt(deaf, ZMQ_LINGER, &zero, sizeof(zero));
	ck_assert_int_eq(zmq_connect(deaf, msgq_endpoint(server)), 0);
	ck_assert_int_eq(zmq_send(deaf, "y", 1, 0), 1);
	while (got_server < 2)
		loop_turn(loop, true);
	uint8_t *big = xcalloc(1, MSGQ_FRAME_MAX);
	int rc = 0;
	for (unsigned i = 0; i < 2000 && !rc; i++)
		rc = msgq_reply(server, bytes_of(route, route_len), big, MSGQ_FRAME_MAX);
	ck_assert_int_eq(rc, WEIR_EBUSY);
	free(big);
	zmq_close(deaf);
	zmq_ctx_term(ctx);
}
END_TEST

START_TEST(other_shapes_are_dropped_whole)
{
	void *ctx = zmq_ctx_new(), *bad = zmq_socket(ctx, ZMQ_DEALER);
	int linger = 1000;
	zmq_setsockopt(bad, ZMQ_LINGER, &linger, sizeof(linger));
	ck_assert_int_eq(zmq_connect(bad, msgq_endpoint(server)), 0);
	zmq_send(bad, "a", 1, ZMQ_SNDMORE);
	zmq_send(bad, "b", 1, 0);
	zmq_send(bad, "", 0, 0);
	for (int i = 0; i < 50; i++)
		zmq_send(bad, "z", 1, ZMQ_SNDMORE);
	zmq_send(bad, "z", 1, 0);
	zmq_send(bad, "good", 4, 0);
	while (!got_server)
		loop_turn(loop, true);
	ck_assert_uint_eq(got_server, 1);
	ck_assert_uint_eq(last_len, 4);
	struct msgq_counters c;
	msgq_counters(m, &c);
	ck_assert_uint_eq(c.bad_shape, 3);
	zmq_close(bad);
	zmq_ctx_term(ctx);
}
END_TEST

START_TEST(garbage_and_oversize_do_not_reach_us)
{
	struct addr a;
	ck_assert_int_eq(addr_parse(msgq_endpoint(server), &a), 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, 4);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_gt(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 0);
	void *ctx = zmq_ctx_new(), *bad = zmq_socket(ctx, ZMQ_DEALER);
	int linger = 0;
	zmq_setsockopt(bad, ZMQ_LINGER, &linger, sizeof(linger));
	ck_assert_int_eq(zmq_connect(bad, msgq_endpoint(server)), 0);
	uint8_t *big = xcalloc(1, MSGQ_FRAME_MAX + 1);
	ck_assert_int_gt(zmq_send(bad, big, MSGQ_FRAME_MAX + 1, 0), 0);
	echo = true;
	send_when_connected("fine", 4);
	while (!got_client)
		loop_turn(loop, true);
	ck_assert_uint_eq(got_server, 1);
	free(big);
	zmq_close(bad);
	zmq_ctx_term(ctx);
	close(fd);
}
END_TEST

/* A peer that speaks ZMTP 3 (NULL) by hand: connected, and past the handshake. */
static int by_hand(const char *identity, size_t identity_len)
{
	struct addr a;
	ck_assert_int_eq(addr_parse(msgq_endpoint(server), &a), 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, 4);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
	ck_assert_int_eq(send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL), sizeof(greeting));
	struct buf ready = {0};
	buf_put(&ready, "\5READY\13Socket-Type\0\0\0\6DEALER", 28);
	buf_put(&ready, "\10Identity\0\0\0", 12);
	buf_u8(&ready, (uint8_t)identity_len);
	buf_put(&ready, identity, identity_len);
	uint8_t head[2] = {4, (uint8_t)ready.len};
	ck_assert_int_eq(send(fd, head, 2, MSG_NOSIGNAL), 2);
	ck_assert_int_eq(send(fd, ready.data, ready.len, MSG_NOSIGNAL), (ssize_t)ready.len);
	buf_free(&ready);
	uint8_t theirs[64 + 43]; /* libzmq takes no frame before it has said this */
	ck_assert_int_eq(recv(fd, theirs, sizeof(theirs), MSG_WAITALL), sizeof(theirs));
	return fd;
}

/* libzmq holds the parts of a message until it is whole, however many: who never ends one is cut off. */
START_TEST(a_message_without_end_is_cut)
{
	static uint8_t part[9 + 200 * 1024] = {3, 0, 0, 0, 0, 0, 3, 0x20, 0}; /* more to come, and its size */
	int fd = by_hand("", 0);
	ck_assert_int_eq(send(fd, "\0\4good", 6, MSG_NOSIGNAL), 6);
	while (!got_server)
		loop_turn(loop, true);
	struct msgq_counters c = {0};
	size_t at = 0;
	for (; !c.unfinished; msgq_counters(m, &c)) {
		ssize_t n = send(fd, part + at, sizeof(part) - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		at = n > 0 ? (at + (size_t)n) % sizeof(part) : at;
		loop_turn(loop, true);
	}
	uint8_t byte;
	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0) /* its part of the handshake */
		;
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0); /* closed */
	close(fd);
	send_when_connected("fine", 4);
	while (got_server < 2)
		loop_turn(loop, true);
	ck_assert_uint_eq(c.unfinished, 1);
}
END_TEST

/* libzmq's own sockets may not claim a route that begins with zero, as the ROUTER's own do; a peer made by hand may. */
START_TEST(a_route_that_is_in_use_cannot_be_claimed)
{
	send_when_connected("x", 1);
	while (!got_server)
		loop_turn(loop, true);
	char theirs[ROUTE_TEST_MAX];
	size_t n = route_len;
	memcpy(theirs, route, n);
	int fd = by_hand(theirs, n);
	ck_assert_int_eq(send(fd, "\0\6thief!", 8, MSG_NOSIGNAL), 8);
	struct msgq_counters c = {0};
	for (int i = 0; i < 50; i++) { /* its frame is not taken: there is nothing to wait for */
		loop_turn(loop, true);
		ck_assert_int_eq(msgq_reply(server, bytes_of(theirs, n), "for the first", 13), 0);
	}
	while (got_client < 50)
		loop_turn(loop, true);
	msgq_counters(m, &c);
	ck_assert_uint_eq(got_server, 1);
	close(fd);
}
END_TEST

START_TEST(a_socket_may_close_in_its_callback)
{
	close_in_callback = true;
	send_when_connected("x", 1);
	msgq_send(client, "x", 1);
	while (!got_server)
		loop_turn(loop, true);
	for (int i = 0; i < 5; i++)
		loop_turn(loop, true);
	ck_assert_uint_eq(got_server, 1);
}
END_TEST

START_TEST(addresses_are_loopback_tcp_only)
{
	static const char *const bad[] = {"tcp://0.0.0.0:7101", "tcp://*:7101", "tcp://192.168.1.1:1", "ipc:///tmp/x",
	    "pgm://127.0.0.1:1", "127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", "tcp://h:1"};
	struct msgq_socket *s;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = NULL;
		ck_assert_int_eq(msgq_bind(m, bad[i], on_client, NULL, &s, &why), WEIR_EINVAL);
		ck_assert_ptr_nonnull(why);
		free(why);
		ck_assert_int_eq(msgq_connect(m, bad[i], "s", on_client, NULL, &s, &why), WEIR_EINVAL);
		free(why);
	}
	ck_assert_int_eq(msgq_bind(m, msgq_endpoint(server), on_client, NULL, &s, &why), WEIR_EBUSY);
	free(why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/msgq");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, frames_go_there_and_back);
	tcase_add_test(tc, a_burst_arrives_whole);
	tcase_add_test(tc, what_came_while_we_sent_is_received);
	tcase_add_test(tc, nobody_there_is_said_at_once);
	tcase_add_test(tc, a_connection_that_is_lost_takes_nothing);
	tcase_add_test(tc, a_silent_reader_fills_up_and_is_refused);
	tcase_add_test(tc, other_shapes_are_dropped_whole);
	tcase_add_test(tc, garbage_and_oversize_do_not_reach_us);
	tcase_add_test(tc, a_message_without_end_is_cut);
	tcase_add_test(tc, a_route_that_is_in_use_cannot_be_claimed);
	tcase_add_test(tc, a_socket_may_close_in_its_callback);
	tcase_add_test(tc, addresses_are_loopback_tcp_only);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
