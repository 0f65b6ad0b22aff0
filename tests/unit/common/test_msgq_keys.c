/* CURVE links on loopback: who is let in, as whom, and for how long. zmq.h is included to be strangers. */
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <unistd.h>

#include <zmq.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/msgq.h"

static char folder[64];
static struct loop *loop;
static struct loop_timer *tick;
static struct keys *server_keys, *client_keys;
static struct msgq *server_q, *client_q;
static struct msgq_socket *server, *client;
static struct key_text pub[4], sec[4]; /* cloud, edge-1, edge-2, a stranger */
static unsigned got, got_from[3], refused, answers;
static uint8_t client_route[16]; /* of what edge-1 said last */
static void *ctx;

static void put(const char *file, const char *a, const char *b)
{
	char path[160], temp[160];
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	snprintf(temp, sizeof(temp), "%s/%s.new", folder, file);
	FILE *f = fopen(temp, "w");
	fprintf(f, "%s\n%s\n", a, b);
	fclose(f);
	chmod(temp, 0600);
	ck_assert_int_eq(rename(temp, path), 0);
}

static void drop(const char *file)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	unlink(path);
}

static void keep_route(struct bytes route)
{
	ck_assert_uint_le(route.n, sizeof(client_route));
	memset(client_route, 0, sizeof(client_route));
	memcpy(client_route, route.p, route.n);
}

static void on_server(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)arg;
	got++;
	if (!who) {
		ck_assert(!frame && !len);
		refused++;
		ck_assert_int_eq(msgq_reply(server, route, "no", 2), 0);
		return;
	}
	if (!strcmp(who, "edge-1"))
		keep_route(route);
	got_from[!strcmp(who, "edge-1") ? 1 : !strcmp(who, "edge-2") ? 2 : 0]++;
	msgq_reply(server, route, frame, len);
}

static void on_client(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)arg;
	(void)frame;
	(void)len;
	ck_assert_uint_eq(route.n, 0);
	ck_assert_str_eq(who, "cloud");
	answers++;
}

static void nothing(void *arg)
{
	(void)arg;
}

static struct keys *keys_as(const char *name)
{
	struct keys *k;
	char *why = NULL;
	struct keys_options o = {.dir = folder, .name = name};
	int rc = keys_open(&o, &k, &why);
	ck_assert_msg(!rc, "%s", why);
	return k;
}

static struct msgq *msgq_with(struct keys *k)
{
	struct msgq *m;
	ck_assert_int_eq(msgq_new(loop, &(struct msgq_options){.keys = k, .peers = 8}, &m), 0);
	return m;
}

static void setup(void)
{
	char *why = NULL;
	snprintf(folder, sizeof(folder), "/tmp/weir-links-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	for (int i = 0; i < 4; i++)
		key_make(&pub[i], &sec[i]);
	put("cloud.key", sec[0].text, "");
	put("cloud.pub", pub[0].text, "");
	put("edge-1.key", sec[1].text, "");
	put("edge-1.pub", pub[1].text, "");
	put("edge-2.pub", pub[2].text, "");
	ck_assert_int_eq(loop_new(&loop), 0);
	server_keys = keys_as("cloud");
	client_keys = keys_as("edge-1");
	server_q = msgq_with(server_keys);
	client_q = msgq_with(client_keys);
	ck_assert_msg(!msgq_bind(server_q, "tcp://127.0.0.1:0", on_server, NULL, &server, &why), "%s", why);
	ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(server), "cloud", on_client, NULL, &client, &why), 0);
	tick = loop_timer_new(loop, nothing, NULL);
	loop_timer_start(tick, 5, 5);
	ctx = zmq_ctx_new();
}

static void teardown(void)
{
	static const char *const files[] = {"cloud.key", "cloud.pub", "edge-1.key", "edge-1.pub", "edge-2.pub", "cloud-2.pub"};
	zmq_ctx_shutdown(ctx); /* not zmq_ctx_term(): after a refused handshake libzmq 4.3.4 may wait there for ever */
	msgq_free(client_q);
	msgq_free(server_q);
	loop_free(loop);
	keys_free(server_keys);
	keys_free(client_keys);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		drop(files[i]);
	ck_assert_int_eq(rmdir(folder), 0);
}

static struct msgq_counters counters(void)
{
	struct msgq_counters c;
	msgq_counters(server_q, &c);
	return c;
}

static void turn_until_refused(enum msgq_refusal r, uint64_t n)
{
	while (counters().handshakes_refused[r] < n)
		loop_turn(loop, true);
}

static void say(const char *text)
{
	while (msgq_send(client, text, strlen(text)) == WEIR_EBUSY)
		loop_turn(loop, true);
}

static void say_and_hear(void)
{
	unsigned before = answers;
	say("hello");
	while (answers == before)
		loop_turn(loop, true);
}

/* public NULL: no CURVE at all. */
static void *stranger(const struct key_text *cloud, const struct key_text *public, const struct key_text *secret)
{
	void *s = zmq_socket(ctx, ZMQ_DEALER);
	int zero = 0;
	zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
	if (public) {
		zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, cloud->text, KEY_TEXT + 1);
		zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, public->text, KEY_TEXT + 1);
		zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, secret->text, KEY_TEXT + 1);
	}
	return s;
}

static void connect_and_say(void *s)
{
	ck_assert_int_eq(zmq_connect(s, msgq_endpoint(server)), 0);
	ck_assert_int_eq(zmq_send(s, "let me in", 9, 0), 9);
}

static bool readable(void *s)
{
	zmq_pollitem_t item = {.socket = s, .events = ZMQ_POLLIN};
	return zmq_poll(&item, 1, 0) > 0;
}

START_TEST(frames_come_with_the_name_of_their_key)
{
	say_and_hear();
	ck_assert_uint_eq(got_from[1], 1); /* the first frame too */
	void *b = stranger(&pub[0], &pub[2], &sec[2]);
	connect_and_say(b);
	while (!got_from[2] || counters().authenticated < 2) /* the monitor tells in its own time */
		loop_turn(loop, true);
	zmq_close(b);
	ck_assert_uint_eq(got, 2);
	ck_assert_uint_eq(counters().authenticated, 2);
	ck_assert_uint_eq(counters().keys, 3);
}
END_TEST

/* Who sees first that the two do not fit hangs up. A stranger that did so first was counted as one without a handshake, and does
 * not come again: then another one comes. */
static void strangers_until(enum msgq_refusal r, const struct key_text *cloud, const struct key_text *public,
    const struct key_text *secret)
{
	while (!counters().handshakes_refused[r]) {
		void *s = stranger(cloud, public, secret);
		uint64_t accepted = counters().accepted;
		connect_and_say(s);
		while (!counters().handshakes_refused[r] && (counters().accepted == accepted || counters().connections > 1))
			loop_turn(loop, true);
		zmq_close(s);
	}
}

START_TEST(strangers_are_refused_and_counted)
{
	say_and_hear();
	strangers_until(MSGQ_UNKNOWN_KEY, &pub[0], &pub[3], &sec[3]);
	strangers_until(MSGQ_NO_CURVE, NULL, NULL, NULL);
	strangers_until(MSGQ_WRONG_SERVER_KEY, &pub[2], &pub[1], &sec[1]);
	struct addr a;
	ck_assert_int_eq(addr_parse(msgq_endpoint(server), &a), 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, 4);
	while (!counters().handshakes_refused[MSGQ_NO_HANDSHAKE]) { /* an end may be taken for that of one before: then another counts */
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
		for (int i = 0; i < 20; i++)
			(void)!send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 28, MSG_NOSIGNAL);
		uint64_t accepted = counters().accepted;
		while (counters().connections > 1 || counters().accepted == accepted)
			loop_turn(loop, true);
		close(fd);
	}
	say_and_hear();
	ck_assert_uint_eq(got, 2);
	ck_assert_uint_eq(counters().received, 2);
}
END_TEST

START_TEST(silence_is_dropped_after_the_handshakes_time)
{
	struct addr a;
	ck_assert_int_eq(addr_parse(msgq_endpoint(server), &a), 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, 4);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	turn_until_refused(MSGQ_NO_HANDSHAKE, 1);
	close(fd);
}
END_TEST

/* A server with a limit that is soon reached, in place of the one that there is. */
static void limit_connections(unsigned max)
{
	struct rlimit was, few;
	char *why;
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = MSGQ_DESCRIPTORS_RESERVE + MSGQ_BACKLOG + max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	msgq_close(client);
	msgq_close(server);
	ck_assert_int_eq(msgq_bind(server_q, "tcp://127.0.0.1:0", on_server, NULL, &server, &why), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(server), "cloud", on_client, NULL, &client, &why), 0);
	ck_assert_uint_eq(counters().connections_max, max);
}

/* More than the limit, all silent: who is connected goes on, and all of them are worked off. Where it takes long, the first of them have
 * been dropped before there are enough: then others come in their place. */
START_TEST(idle_strangers_wait_at_the_limit)
{
	const unsigned max = 100;
	limit_connections(max);
	say_and_hear();
	struct addr a;
	ck_assert_int_eq(addr_parse(msgq_endpoint(server), &a), 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, 4);
	int fds[400];
	const size_t all = sizeof(fds) / sizeof(fds[0]);
	for (size_t i = 0; i < all || !counters().shut; i++) {
		if (i >= all)
			close(fds[i % all]);
		fds[i % all] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fds[i % all], 0);
		(void)!connect(fds[i % all], (struct sockaddr *)&sin, sizeof(sin));
		loop_turn(loop, false);
	}
	say_and_hear();
	ck_assert_uint_le(counters().connections, max + MSGQ_BACKLOG + 1);
	ck_assert_uint_eq(counters().accept_failed, 0);
	while (counters().connections >= max / 2) /* dropped after their handshakes' time */
		loop_turn(loop, true);
	void *b = stranger(&pub[0], &pub[2], &sec[2]);
	connect_and_say(b);
	while (!got_from[2])
		loop_turn(loop, true);
	zmq_close(b);
	for (size_t i = 0; i < all; i++)
		close(fds[i]);
}
END_TEST

/* Sends without end until the key is known to be gone. */
static void talk_until_refused(void)
{
	while (!refused) {
		(void)msgq_send(client, "still here", 10);
		loop_turn(loop, true);
	}
}

START_TEST(a_removed_key_is_refused_on_a_session_that_stands)
{
	say_and_hear();
	drop("edge-1.pub");
	talk_until_refused();
	uint64_t received = counters().received, then = got_from[1];
	while (!counters().ended) {
		(void)msgq_send(client, "still here", 10);
		loop_turn(loop, true);
	}
	ck_assert_uint_eq(counters().received, received);
	ck_assert_uint_eq(got_from[1], then);
}
END_TEST

/* What is sent into a connection that is being cut is lost. */
static void say_until_heard(struct msgq_socket *s)
{
	unsigned before = answers;
	while (answers == before) {
		(void)msgq_send(s, "hello", 5);
		loop_turn(loop, true);
	}
}

/* It is told why, though it says nothing; those whose keys stand notice nothing. */
START_TEST(a_connection_whose_key_is_removed_is_cut)
{
	void *b = stranger(&pub[0], &pub[2], &sec[2]);
	say_and_hear();
	connect_and_say(b);
	while (!got_from[2] || !readable(b))
		loop_turn(loop, true);
	ck_assert_uint_eq(counters().connections, 2);
	unsigned before = answers;
	drop("edge-1.pub");
	while (counters().connections != 1)
		loop_turn(loop, true);
	ck_assert_uint_eq(refused, 1);
	ck_assert_uint_eq(answers, before + 1);
	ck_assert_uint_eq(counters().ended, 1);
	uint64_t then = got_from[2];
	ck_assert_int_eq(zmq_send(b, "fine", 4, 0), 4);
	while (got_from[2] == then)
		loop_turn(loop, true);
	turn_until_refused(MSGQ_UNKNOWN_KEY, 1); /* it tried again */
	put("edge-1.pub", pub[1].text, ""); /* and is let in again, by itself */
	say_until_heard(client);
	zmq_close(b);
}
END_TEST

static atomic_bool flooding;

static void *flood(void *arg)
{
	static char frame[8192];
	while (atomic_load(&flooding)) {
		if (zmq_send(arg, frame, sizeof(frame), ZMQ_DONTWAIT) < 0)
			usleep(1000);
	}
	return NULL;
}

/* Who floods is let in, and then his key is removed. How many frames of him were refused. */
static uint64_t flood_until_cut(unsigned pause_us)
{
	void *b = stranger(&pub[0], &pub[2], &sec[2]);
	pthread_t thread;
	unsigned heard = got_from[2], told = refused;
	uint64_t before = counters().refused_key;
	put("edge-2.pub", pub[2].text, "");
	while (counters().keys != 3)
		loop_turn(loop, true);
	connect_and_say(b);
	while (got_from[2] == heard)
		loop_turn(loop, true);
	drop("edge-2.pub");
	while (refused == told)
		loop_turn(loop, true);
	atomic_store(&flooding, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, flood, b), 0);
	while (counters().connections != 1) {
		usleep(pause_us);
		loop_turn(loop, true);
	}
	atomic_store(&flooding, false);
	pthread_join(thread, NULL);
	zmq_close(b);
	return counters().refused_key - before;
}

/* It is told once, and not read for ever: neither because frames of it always wait, nor while libzmq has stopped its input. In the second
 * round we are slow: what is left of it comes when its descriptor is already that of the connection by which it tries again. */
START_TEST(who_floods_with_a_removed_key_is_cut)
{
	uint64_t frames = 0;
	say_and_hear();
	for (unsigned floods = 1; frames <= 256; floods++) { /* one that was so slow was none */
		frames = flood_until_cut(_i ? 300000 : 30000);
		ck_assert_uint_eq(counters().ended, floods);
		ck_assert_uint_eq(refused, floods);
	}
	say_and_hear();
}
END_TEST

/* Of who has not said a word nobody knows the key. */
START_TEST(a_silent_connection_is_cut_when_keys_change)
{
	while (!msgq_can_send(client) || counters().authenticated != 1)
		loop_turn(loop, true);
	drop("edge-2.pub");
	while (counters().ended != 1)
		loop_turn(loop, true);
	say_until_heard(client);
	ck_assert_uint_eq(refused, 0);
}
END_TEST

/* libzmq itself does not try again after that. */
START_TEST(who_was_refused_comes_again)
{
	drop("edge-1.pub");
	while (counters().keys != 2)
		loop_turn(loop, true);
	char *why;
	struct msgq_socket *s;
	ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(server), "cloud", on_client, NULL, &s, &why), 0);
	turn_until_refused(MSGQ_UNKNOWN_KEY, 2); /* this one, and the other that was connected */
	put("edge-1.pub", pub[1].text, "");
	say_until_heard(s);
	say_until_heard(client);
}
END_TEST

/* Who is connected, and has a key, and a queue that has been full for longer than another key would be tried. */
START_TEST(a_link_that_is_slow_stays)
{
	static char frame[65536];
	void *cloud = zmq_socket(ctx, ZMQ_ROUTER);
	int one = 1, zero = 0;
	char endpoint[64], route[16], *why;
	size_t n = sizeof(endpoint);
	unsigned said = 0;
	zmq_setsockopt(cloud, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(cloud, ZMQ_RCVHWM, &one, sizeof(one));
	zmq_setsockopt(cloud, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
	zmq_setsockopt(cloud, ZMQ_CURVE_SERVER, &one, sizeof(one));
	zmq_setsockopt(cloud, ZMQ_CURVE_SECRETKEY, sec[0].text, KEY_TEXT + 1);
	ck_assert_int_eq(zmq_bind(cloud, "tcp://127.0.0.1:*"), 0);
	ck_assert_int_eq(zmq_getsockopt(cloud, ZMQ_LAST_ENDPOINT, endpoint, &n), 0);
	struct msgq_socket *s;
	ck_assert_int_eq(msgq_connect(client_q, endpoint, "cloud", on_client, NULL, &s, &why), 0);
	while (msgq_send(s, "hello", 5))
		loop_turn(loop, true);
	int len = zmq_recv(cloud, route, sizeof(route), 0);
	ck_assert_int_gt(len, 0);
	while (!msgq_send(s, frame, sizeof(frame)))
		;
	for (int64_t began_ns = clock_mono_ns(), full_ns = began_ns; full_ns - began_ns < 10 * NS_PER_SEC;) {
		ck_assert_int_eq(zmq_send(cloud, route, (size_t)len, ZMQ_SNDMORE | ZMQ_DONTWAIT), len);
		ck_assert_int_eq(zmq_send(cloud, "yes", 3, ZMQ_DONTWAIT), 3);
		said++;
		for (int64_t until_ns = clock_mono_ns() + NS_PER_SEC / 5; (full_ns = clock_mono_ns()) < until_ns;) {
			loop_turn(loop, true);
			while (!msgq_send(s, frame, sizeof(frame)))
				;
		}
	}
	while (answers < said) /* all came by the same connection */
		loop_turn(loop, true);
	zmq_close(cloud);
}
END_TEST

START_TEST(a_client_rotates_its_key)
{
	say_and_hear();
	put("edge-1.pub", pub[3].text, pub[1].text);
	put("edge-1.key", sec[3].text, "");
	uint64_t before = counters().authenticated;
	while (counters().authenticated == before)
		loop_turn(loop, true);
	say_and_hear();
	put("edge-1.pub", pub[3].text, ""); /* retired */
	while (counters().keys != 3)
		loop_turn(loop, true);
	say_and_hear();
	ck_assert_uint_eq(refused, 0);
}
END_TEST

START_TEST(a_server_rotates_its_key)
{
	say_and_hear();
	put("cloud.pub", pub[3].text, pub[0].text);
	put("cloud.key", sec[3].text, "");
	while (strcmp(keys_public(server_keys)->text, pub[3].text) != 0)
		loop_turn(loop, true);
	uint64_t before = counters().authenticated;
	while (counters().authenticated == before) /* with the other one of its two keys */
		loop_turn(loop, true);
	say_and_hear();
	put("cloud.pub", pub[3].text, "");
	while (counters().keys != 3)
		loop_turn(loop, true);
	say_and_hear();
}
END_TEST

/* libzmq tells of no end of those that it cuts off with the old key. What is forgotten is no other's that has its descriptor now. */
START_TEST(connections_of_before_a_rotation_are_forgotten)
{
	void *b[8];
	say_and_hear();
	for (size_t i = 0; i < 8; i++) {
		b[i] = stranger(&pub[0], &pub[2], &sec[2]);
		connect_and_say(b[i]);
	}
	while (got_from[2] < 8)
		loop_turn(loop, true);
	ck_assert_uint_eq(counters().connections, 9);
	put("cloud.pub", pub[3].text, pub[0].text);
	put("cloud.key", sec[3].text, "");
	while (strcmp(keys_public(server_keys)->text, pub[3].text) != 0)
		loop_turn(loop, true);
	for (size_t i = 0; i < 8; i++)
		zmq_close(b[i]);
	uint8_t route[sizeof(client_route)];
	memcpy(route, client_route, sizeof(route));
	while (!memcmp(client_route, route, sizeof(route))) /* the old connection may have carried something still */
		say_until_heard(client);
	while (counters().connections != 1)
		loop_turn(loop, true);
	memcpy(route, client_route, sizeof(route));
	drop("edge-2.pub");
	while (counters().keys != 3)
		loop_turn(loop, true);
	for (int i = 0; i < 1000 / 5; i++)
		loop_turn(loop, true);
	say_and_hear();
	ck_assert_uint_eq(counters().ended, 0);
	ck_assert_mem_eq(client_route, route, sizeof(route)); /* not cut: a connection has its own */
}
END_TEST

/* Of two keys the newest is not in use yet: the other one is tried. */
START_TEST(all_keys_of_a_peer_are_tried)
{
	char *why;
	put("cloud.pub", pub[3].text, pub[0].text);
	struct keys *k = keys_as("edge-1");
	struct msgq *q = msgq_with(k);
	struct msgq_socket *s;
	ck_assert_int_eq(msgq_connect(q, msgq_endpoint(server), "cloud", on_client, NULL, &s, &why), 0);
	while (msgq_send(s, "x", 1))
		loop_turn(loop, true);
	while (!answers)
		loop_turn(loop, true);
	ck_assert_uint_ge(counters().handshakes_refused[MSGQ_WRONG_SERVER_KEY], 1);
	msgq_free(q);
	keys_free(k);
}
END_TEST

START_TEST(a_peer_without_a_key_is_waited_for)
{
	char *why;
	struct msgq_socket *s;
	ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(server), "cloud-2", on_client, NULL, &s, &why), 0);
	ck_assert(!msgq_can_send(s));
	ck_assert_int_eq(msgq_send(s, "x", 1), WEIR_EBUSY);
	msgq_close(s);
	ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(server), "cloud-2", on_client, NULL, &s, &why), 0);
	put("cloud-2.pub", pub[3].text, ""); /* it is not who has this key */
	turn_until_refused(MSGQ_WRONG_SERVER_KEY, 1);
	ck_assert(!msgq_can_send(s));
}
END_TEST

/* B, with a good key, takes the route that A asked for: neither hears of the other. */
START_TEST(nobody_chooses_a_route)
{
	void *a = stranger(&pub[0], &pub[1], &sec[1]), *b = stranger(&pub[0], &pub[2], &sec[2]);
	ck_assert_int_eq(zmq_setsockopt(b, ZMQ_ROUTING_ID, "edge-1", 6), 0);
	connect_and_say(b);
	while (!counters().refused_route)
		loop_turn(loop, true);
	connect_and_say(a);
	while (!got_from[1] || !readable(a))
		loop_turn(loop, true);
	ck_assert(!readable(b));
	ck_assert_uint_eq(got_from[2], 0);
	say_and_hear();
	zmq_close(a);
	zmq_close(b);
}
END_TEST

START_TEST(any_address_will_do)
{
	static const char *const good[] = {"tcp://127.0.0.2:0", "tcp://[::1]:0", "tcp://localhost:0", "tcp://0.0.0.0:0"};
	static const char *const bad[] = {"ipc:///tmp/x", "tcp://*:1", "127.0.0.1:1", "tcp://[::1:1", "tcp://1.2.3:4"};
	struct msgq_socket *s, *c;
	char *why = NULL;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int rc = msgq_bind(server_q, good[i], on_server, NULL, &s, &why);
		if (rc && strstr(good[i], "::1")) { /* no IPv6 on this machine */
			free(why);
			continue;
		}
		ck_assert_msg(!rc, "%s", why);
		if (strstr(good[i], "0.0.0.0"))
			continue;
		unsigned before = got_from[1];
		ck_assert_int_eq(msgq_connect(client_q, msgq_endpoint(s), "cloud", on_client, NULL, &c, &why), 0);
		while (msgq_send(c, "x", 1))
			loop_turn(loop, true);
		struct msgq_socket *was = server;
		server = s;
		while (got_from[1] == before)
			loop_turn(loop, true);
		server = was;
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(msgq_bind(server_q, bad[i], on_server, NULL, &s, &why), WEIR_EINVAL);
		free(why);
	}
}
END_TEST

START_TEST(more_peers_may_be_expected)
{
	struct rlimit was, few;
	ck_assert_uint_eq(counters().connections_max, 2 * 8 + MSGQ_STRANGERS_MAX);
	msgq_expect(server_q, 100);
	ck_assert_uint_eq(counters().connections_max, 2 * 100 + MSGQ_STRANGERS_MAX);
	msgq_expect(server_q, 9);
	ck_assert_uint_eq(counters().connections_max, 2 * 100 + MSGQ_STRANGERS_MAX);
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = MSGQ_DESCRIPTORS_RESERVE + MSGQ_BACKLOG + 900;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	msgq_expect(server_q, 1000);
	ck_assert_uint_eq(counters().connections_max, 900);
	setrlimit(RLIMIT_NOFILE, &was);
	say_and_hear();
}
END_TEST

START_TEST(too_few_descriptors_are_told)
{
	struct rlimit was, few;
	struct msgq_socket *s;
	char *why = NULL;
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = MSGQ_DESCRIPTORS_RESERVE + MSGQ_BACKLOG + 7;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(msgq_bind(server_q, "tcp://127.0.0.1:0", on_server, NULL, &s, &why), WEIR_EFULL);
	ck_assert_ptr_nonnull(strstr(why, "LimitNOFILE"));
	free(why);
	few.rlim_cur++;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(msgq_bind(server_q, "tcp://127.0.0.1:0", on_server, NULL, &s, &why), 0);
	ck_assert_uint_eq(counters().connections_max, 8);
	setrlimit(RLIMIT_NOFILE, &was);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/msgq keys");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, frames_come_with_the_name_of_their_key);
	tcase_add_test(tc, strangers_are_refused_and_counted);
	tcase_add_test(tc, silence_is_dropped_after_the_handshakes_time);
	tcase_add_test(tc, idle_strangers_wait_at_the_limit);
	tcase_add_test(tc, a_removed_key_is_refused_on_a_session_that_stands);
	tcase_add_test(tc, a_connection_whose_key_is_removed_is_cut);
	tcase_add_loop_test(tc, who_floods_with_a_removed_key_is_cut, 0, 2);
	tcase_add_test(tc, a_silent_connection_is_cut_when_keys_change);
	tcase_add_test(tc, who_was_refused_comes_again);
	tcase_add_test(tc, a_link_that_is_slow_stays);
	tcase_add_test(tc, a_client_rotates_its_key);
	tcase_add_test(tc, a_server_rotates_its_key);
	tcase_add_test(tc, connections_of_before_a_rotation_are_forgotten);
	tcase_add_test(tc, all_keys_of_a_peer_are_tried);
	tcase_add_test(tc, a_peer_without_a_key_is_waited_for);
	tcase_add_test(tc, nobody_chooses_a_route);
	tcase_add_test(tc, any_address_will_do);
	tcase_add_test(tc, more_peers_may_be_expected);
	tcase_add_test(tc, too_few_descriptors_are_told);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
