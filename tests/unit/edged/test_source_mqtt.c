/* What the mqtt source remembers of messages that were acknowledged, and its mark. Brokers: tests/system/test_mqtt.py. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "edged/mqtt_acks.h"
#include "tests/unit/edged/source_lib.h"

static struct mqtt_acks acks;

static void open_acks(void)
{
	mqtt_acks_init(&acks);
	mqtt_acks_session(&acks, false);
}

static void close_acks(void)
{
	mqtt_acks_free(&acks);
}

static bool take(uint16_t id, uint64_t hash, enum mqtt_dup dup)
{
	return mqtt_acks_take(&acks, id, hash, dup);
}

START_TEST(known_only_when_sent_again)
{
	ck_assert(!take(1, 10, MQTT_DUP_NO));
	mqtt_acks_session(&acks, true);
	ck_assert(take(1, 10, MQTT_DUP_YES));
	ck_assert(!take(1, 10, MQTT_DUP_NO)); /* the id is used again, for the same text */
	ck_assert(take(1, 10, MQTT_DUP_YES)); /* within one connection */
	ck_assert(!take(1, 11, MQTT_DUP_YES));
	ck_assert(!take(2, 10, MQTT_DUP_YES));
	ck_assert_uint_eq(acks.live, 2);
}
END_TEST

START_TEST(without_the_flag_only_while_resending)
{
	take(1, 10, MQTT_DUP_NO);
	ck_assert(!take(1, 10, MQTT_DUP_UNKNOWN));
	mqtt_acks_session(&acks, true);
	ck_assert(take(1, 10, MQTT_DUP_UNKNOWN));
	ck_assert(!take(2, 20, MQTT_DUP_UNKNOWN));
	ck_assert(!take(1, 10, MQTT_DUP_UNKNOWN));
}
END_TEST

START_TEST(the_first_new_one_ends_the_old)
{
	for (uint16_t id = 1; id <= 5; id++)
		take(id, id, MQTT_DUP_NO);
	mqtt_acks_session(&acks, true);
	ck_assert_uint_eq(acks.live, 5);
	ck_assert(take(4, 4, MQTT_DUP_YES));
	ck_assert_uint_eq(acks.live, 5);
	ck_assert(!take(6, 6, MQTT_DUP_YES)); /* sent before, but it never came here */
	ck_assert_uint_eq(acks.live, 2);
	ck_assert(!take(5, 5, MQTT_DUP_YES));
	ck_assert(take(4, 4, MQTT_DUP_YES));
}
END_TEST

START_TEST(no_session_no_memory)
{
	take(1, 10, MQTT_DUP_NO);
	mqtt_acks_session(&acks, false);
	ck_assert_uint_eq(acks.live, 0);
	ck_assert(!take(1, 10, MQTT_DUP_YES));
}
END_TEST

START_TEST(a_barrier_proves_what_was_before_it)
{
	take(1, 1, MQTT_DUP_NO);
	take(2, 2, MQTT_DUP_NO);
	uint64_t barrier = mqtt_acks_barrier(&acks);
	take(3, 3, MQTT_DUP_NO);
	mqtt_acks_proven(&acks, barrier);
	ck_assert_uint_eq(acks.live, 1);
	ck_assert(!take(2, 2, MQTT_DUP_YES));
	ck_assert(take(3, 3, MQTT_DUP_YES));
}
END_TEST

/* What was acknowledged on another connection may still be sent again. */
START_TEST(a_barrier_proves_nothing_of_the_connection_before)
{
	take(1, 1, MQTT_DUP_NO);
	take(2, 2, MQTT_DUP_NO);
	mqtt_acks_session(&acks, true);
	ck_assert(take(1, 1, MQTT_DUP_YES));
	mqtt_acks_proven(&acks, mqtt_acks_barrier(&acks));
	ck_assert_uint_eq(acks.live, 1);
	ck_assert_uint_eq(acks.fresh, 0);
	ck_assert(take(2, 2, MQTT_DUP_YES));
}
END_TEST

START_TEST(full_until_proven)
{
	for (uint16_t id = 1; id < MQTT_ACKS_MAX; id++)
		take(id, id, MQTT_DUP_NO);
	ck_assert(!mqtt_acks_full(&acks));
	take(MQTT_ACKS_MAX, 1, MQTT_DUP_NO);
	ck_assert(mqtt_acks_full(&acks));
	mqtt_acks_session(&acks, true);
	ck_assert(!mqtt_acks_full(&acks)); /* or what is sent again could not be read */
	mqtt_acks_session(&acks, false);
	for (uint32_t i = 0; i < 10 * MQTT_IDS; i++)
		take((uint16_t)(i % (MQTT_IDS - 1) + 1), i, MQTT_DUP_NO);
	ck_assert_uint_eq(acks.live, MQTT_IDS - 1);
	ck_assert_uint_le(acks.cap, 4 * MQTT_IDS);
	mqtt_acks_proven(&acks, mqtt_acks_barrier(&acks));
	ck_assert(!mqtt_acks_full(&acks) && !acks.live);
}
END_TEST

/* A broker that keeps what is not acknowledged, a link that breaks anywhere, an edge that is killed anywhere: by chance, from a seed. */
#define WINDOW 7
struct world {
	uint64_t random;
	uint64_t next, first;           /* messages [first, next) have been sent, and are not acknowledged at the broker */
	uint64_t sent_here;             /* the next of them that this connection gets */
	uint64_t acked[4 * WINDOW];     /* in flight to the broker: UINT64_MAX is a barrier */
	size_t acked_count;
	uint64_t counted, durable;      /* messages counted in memory, in the checkpoint: 0 .. */
	struct buf checkpoint;
	uint64_t barrier;
};

static uint64_t dice(struct world *w, uint64_t n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (w->random >> 33) % n;
}

static uint16_t id_of(uint64_t n)
{
	return (uint16_t)(n % (2 * WINDOW) + 1); /* as soon again as a broker may */
}

static void receive(struct world *w)
{
	bool dup = w->sent_here < w->next;
	if (!dup && w->next - w->first >= WINDOW)
		return;
	uint64_t n = w->sent_here++;
	if (!dup)
		w->next++;
	bool known = take(id_of(n), n, dup ? MQTT_DUP_YES : MQTT_DUP_NO);
	ck_assert_msg(known == (n < w->counted), "message %llu", (unsigned long long)n);
	if (!known)
		w->counted = n + 1;
}

/* Acknowledges all that came here, and a barrier behind it. */
static void commit(struct world *w)
{
	buf_clear(&w->checkpoint);
	mqtt_acks_put(&acks, &w->checkpoint);
	w->durable = w->counted;
	uint64_t from = w->acked_count ? w->sent_here : w->first;
	if (w->acked_count)
		return;
	for (uint64_t n = from; n < w->sent_here; n++)
		w->acked[w->acked_count++] = n;
	w->acked[w->acked_count++] = UINT64_MAX;
	w->barrier = mqtt_acks_barrier(&acks);
}

static void arrive(struct world *w)
{
	if (!w->acked_count)
		return;
	if (w->acked[0] == UINT64_MAX)
		mqtt_acks_proven(&acks, w->barrier);
	else
		w->first = w->acked[0] + 1;
	memmove(w->acked, w->acked + 1, --w->acked_count * sizeof(w->acked[0]));
}

static void cut(struct world *w, bool killed)
{
	if (killed) {
		struct rd r = rd_init(w->checkpoint.data, w->checkpoint.len);
		mqtt_acks_clear(&acks);
		mqtt_acks_read(&acks, &r);
		ck_assert_int_eq(rd_finish(&r), 0);
		w->counted = w->durable;
	}
	w->acked_count = 0;
	w->sent_here = w->first;
	mqtt_acks_session(&acks, true);
}

START_TEST(every_message_counts_once)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct world w = {.random = seed};
		mqtt_acks_clear(&acks);
		mqtt_acks_session(&acks, false);
		commit(&w);
		for (int step = 0; step < 1000; step++) {
			uint64_t what = dice(&w, 100);
			if (what < 50)
				receive(&w);
			else if (what < 70)
				commit(&w);
			else if (what < 97)
				arrive(&w);
			else
				cut(&w, what == 99);
		}
		ck_assert_uint_gt(w.counted, 50);
		buf_free(&w.checkpoint);
	}
}
END_TEST

START_TEST(acks_through_the_checkpoint)
{
	struct buf first = {0}, second = {0};
	for (uint16_t id = 1; id <= 9; id++)
		take(id, id * 1000u, MQTT_DUP_NO);
	take(3, 77, MQTT_DUP_NO);
	mqtt_acks_put(&acks, &first);
	mqtt_acks_clear(&acks);
	struct rd r = rd_init(first.data, first.len);
	mqtt_acks_read(&acks, &r);
	ck_assert_int_eq(rd_finish(&r), 0);
	mqtt_acks_put(&acks, &second);
	ck_assert_uint_eq(first.len, second.len);
	ck_assert_mem_eq(first.data, second.data, first.len);
	for (size_t n = 0; n < first.len; n++) {
		mqtt_acks_clear(&acks);
		r = rd_init(first.data, n);
		mqtt_acks_read(&acks, &r);
		ck_assert_int_ne(rd_finish(&r), 0);
	}
	const uint8_t twice[] = {2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8}, zero[] = {1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
	mqtt_acks_clear(&acks);
	r = rd_init(twice, sizeof(twice));
	mqtt_acks_read(&acks, &r);
	ck_assert_int_eq(rd_finish(&r), WEIR_ECORRUPT);
	ck_assert_uint_eq(acks.live, 0);
	r = rd_init(zero, sizeof(zero));
	mqtt_acks_read(&acks, &r);
	ck_assert_int_eq(rd_finish(&r), WEIR_ECORRUPT);
	buf_free(&first);
	buf_free(&second);
}
END_TEST

/* ---- the source ---------------------------------------------------------------------------------------------------- */

static struct mqtt_topic_conf topics[] = {{.filter = (char *)(uintptr_t) "a/+b",
    .payload = {.format = PAYLOAD_NUMBER, .measurement = (char *)(uintptr_t) "m", .field = (char *)(uintptr_t) "f"}}};

/* Nobody listens at port 1. */
static struct source_conf conf_of(const char *client_id)
{
	return (struct source_conf){.type = SOURCE_MQTT, .name = (char *)(uintptr_t) "s",
		.mqtt = {.broker = {.address = (char *)(uintptr_t) "mqtt://127.0.0.1:1", .version = 5, .keepalive_ns = 60000000000}, .qos = 1,
			.client_id = (char *)(uintptr_t)client_id, .topics = topics, .topic_count = 1}};
}

static const uint8_t mark[] = {SOURCE_MQTT, 1, 1, 2, 'i', 'd', 1, 3, 'a', '/', '+', 1, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8};

static int restored(struct source *s, size_t len)
{
	return source_restore(s, bytes_of(mark, len));
}

START_TEST(marks_come_out_as_they_went_in)
{
	struct sink k;
	struct source_conf conf = conf_of("id"), other = conf_of("other");
	struct source_io io = {0};
	struct buf out = {0};
	sink_open(&k);
	struct source *s = source_new(k.loop, &conf, &io);
	ck_assert_int_eq(restored(s, sizeof(mark)), 0);
	source_mark(s, &out);
	ck_assert_uint_eq(out.len, sizeof(mark));
	ck_assert_mem_eq(out.data, mark, sizeof(mark));
	source_free(s);
	for (size_t n = 2; n < sizeof(mark); n++) {
		s = source_new(k.loop, &conf, &io);
		ck_assert_int_ne(restored(s, n), 0);
		source_free(s);
	}
	s = source_new(k.loop, &other, &io); /* another session: nothing is known of it */
	ck_assert_int_eq(restored(s, sizeof(mark)), 0);
	buf_clear(&out);
	source_mark(s, &out);
	ck_assert_uint_eq(out.len, 1 + 2 + 1 + strlen("other") + 1 + 1);
	source_free(s);
	buf_free(&out);
	sink_close(&k);
}
END_TEST

/* Whether it takes a subscription of the mark, made with one qos, for its own. */
static bool stays_subscribed(uint8_t flags, unsigned qos)
{
	struct sink k;
	struct source_conf conf = conf_of("id");
	struct buf before = {0}, after = {0};
	conf.mqtt.qos = qos;
	buf_put(&before, mark, sizeof(mark));
	before.data[2] = flags;
	sink_open(&k);
	sink_start(&k, &conf, &before);
	source_mark(k.source, &after);
	sink_close(&k);
	ck_assert_uint_eq(after.data[2], qos ? 0 : 2);
	bool stays = after.data[6] == 1;
	buf_free(&before);
	buf_free(&after);
	return stays;
}

START_TEST(another_qos_is_subscribed_anew)
{
	ck_assert(stays_subscribed(0, 1) && stays_subscribed(0, 2) && stays_subscribed(2, 0));
	ck_assert(!stays_subscribed(0, 0) && !stays_subscribed(2, 1));
}
END_TEST

static double metric(struct sink *k, const char *name)
{
	struct buf out = {0};
	sources_put_metrics(&k->source, source_conf_of(k->source), 1, &out);
	char *head = xasprintf("\n%s{source=\"s\"} ", name);
	const char *at = strstr(buf_cstr(&out), head);
	ck_assert_ptr_nonnull(at);
	double v = strtod(at + strlen(head), NULL);
	free(head);
	buf_free(&out);
	return v;
}

static bool has_failed(struct sink *k)
{
	return metric(k, "weir_edge_source_mqtt_failures_total") > 0;
}

START_TEST(a_broker_that_is_not_there_is_waited_for)
{
	struct sink k;
	struct source_conf conf = conf_of("id");
	sink_open(&k);
	sink_start(&k, &conf, NULL);
	sink_until(&k, has_failed);
	ck_assert(metric(&k, "weir_edge_source_mqtt_connected") == 0);
	source_pause(k.source, true);
	source_skip_to_end(k.source);
	source_committed(k.source);
	sink_close(&k);
}
END_TEST

/* While the thread still connects. */
START_TEST(can_be_freed_at_any_time)
{
	for (int turns = 0; turns < 5; turns++) {
		struct sink k;
		struct source_conf conf = conf_of("id");
		sink_open(&k);
		sink_start(&k, &conf, NULL);
		for (int i = 0; i < turns; i++)
			loop_turn(k.loop, false);
		sink_close(&k);
	}
}
END_TEST

START_TEST(files_that_cannot_be_read_are_told_and_tried_again)
{
	struct sink k;
	struct source_conf conf = conf_of("id");
	conf.mqtt.broker.user = (char *)(uintptr_t) "u";
	conf.mqtt.broker.password_file = (char *)(uintptr_t) "/nonexistent/password";
	sink_open(&k);
	sink_start(&k, &conf, NULL);
	sink_until(&k, has_failed);
	sink_close(&k);
}
END_TEST

/* A connection needs some; a daemon whose other sources have taken all goes on. */
START_TEST(without_descriptors_it_is_tried_again)
{
	struct sink k;
	struct source_conf conf = conf_of("id");
	struct rlimit before, none;
	sink_open(&k);
	sink_start(&k, &conf, NULL);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){3, before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	sink_until(&k, has_failed);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	sink_close(&k);
}
END_TEST

/* A broker of our own: a socket that somebody listens on. */
static int listen_as_broker(char address[32])
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&sin, sizeof(sin)) && !listen(fd, 8));
	ck_assert(!getsockname(fd, (struct sockaddr *)&sin, &len));
	snprintf(address, 32, "mqtt://127.0.0.1:%u", ntohs(sin.sin_port));
	return fd;
}

static int broker, client;

static bool has_asked(struct sink *k)
{
	uint8_t connect;
	(void)k;
	if (client < 0)
		client = accept4(broker, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return client >= 0 && recv(client, &connect, 1, MSG_PEEK) == 1;
}

/* What it sends is still read by the other side, which finds the connection broken when it writes. */
static void answer_and_die(void)
{
	static const uint8_t connack[] = {0x20, 3, 0, 0, 0};
	struct linger now = {1, 0};
	ck_assert_int_eq(send(client, connack, sizeof(connack), 0), sizeof(connack));
	ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(client);
}

START_TEST(a_broker_that_dies_with_its_answer)
{
	struct sink k;
	struct source_conf conf = conf_of("id");
	char address[32];
	broker = listen_as_broker(address);
	client = -1;
	conf.mqtt.broker.address = address;
	sink_open(&k);
	sink_start(&k, &conf, NULL);
	sink_until(&k, has_asked);
	answer_and_die();
	sink_until(&k, has_failed);
	ck_assert(metric(&k, "weir_edge_source_mqtt_connected") == 0);
	sink_close(&k);
	close(broker);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("source_mqtt");
	TCase *a = tcase_create("acks"), *t = tcase_create("source");
	tcase_add_checked_fixture(a, open_acks, close_acks);
	tcase_add_test(a, known_only_when_sent_again);
	tcase_add_test(a, without_the_flag_only_while_resending);
	tcase_add_test(a, the_first_new_one_ends_the_old);
	tcase_add_test(a, no_session_no_memory);
	tcase_add_test(a, a_barrier_proves_what_was_before_it);
	tcase_add_test(a, a_barrier_proves_nothing_of_the_connection_before);
	tcase_add_test(a, full_until_proven);
	tcase_add_test(a, every_message_counts_once);
	tcase_add_test(a, acks_through_the_checkpoint);
	tcase_add_test(t, marks_come_out_as_they_went_in);
	tcase_add_test(t, another_qos_is_subscribed_anew);
	tcase_add_test(t, a_broker_that_is_not_there_is_waited_for);
	tcase_add_test(t, can_be_freed_at_any_time);
	tcase_add_test(t, files_that_cannot_be_read_are_told_and_tried_again);
	tcase_add_test(t, without_descriptors_it_is_tried_again);
	tcase_add_test(t, a_broker_that_dies_with_its_answer);
	suite_add_tcase(s, a);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
