#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/simulate.h"
#include "tests/unit/edged/source_lib.h"

static struct sink k;
static struct source_conf conf;

static void setup(void)
{
	sink_open(&k);
	conf = (struct source_conf){.type = SOURCE_TCP, .name = (char *)"tcp-1", .listen = (char *)"127.0.0.1:0"};
}

static void teardown(void)
{
	sink_close(&k);
}

static bool is_finished(struct sink *s)
{
	return s->finished;
}

/* ---- tcp -------------------------------------------------------------------------------------------------------- */

static int dial(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(source_port(k.source))};
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static uint64_t open_connections(void)
{
	struct source_counters c;
	source_counters(k.source, &c);
	return c.connections_open;
}

static bool none_open(struct sink *s)
{
	(void)s;
	return open_connections() == 0;
}

START_TEST(connections_do_not_mix)
{
	sink_start(&k, &conf, NULL);
	int a = dial(), b = dial();
	say(a, "a v=");
	sink_settle(&k);
	say(b, "b v=2\nbad line\n");
	sink_expect(&k, "b v=2\n!bad_field\n");
	say(a, "1\nlast v=3");
	sink_expect(&k, "a v=1\n");
	ck_assert_uint_eq(open_connections(), 2);
	close(a);
	sink_expect(&k, "last v=3\n"); /* the end of the stream ends the line */
	close(b);
	sink_until(&k, none_open);
	ck_assert(!k.finished);
}
END_TEST

START_TEST(a_connection_that_breaks_within_a_line)
{
	sink_start(&k, &conf, NULL);
	int fd = dial();
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	say(fd, "a v=1\nb v=12");
	sink_expect(&k, "a v=1\n");
	close(fd); /* resets */
	sink_expect(&k, "!truncated\n");
	ck_assert_uint_eq(open_connections(), 0);
}
END_TEST

START_TEST(paused_it_neither_reads_nor_accepts)
{
	sink_start(&k, &conf, NULL);
	int a = dial();
	say(a, "a v=1\n");
	sink_expect(&k, "a v=1\n");
	source_pause(k.source, true);
	int b = dial();
	say(a, "a v=2\n");
	say(b, "b v=3\n");
	sink_settle(&k);
	sink_expect(&k, "");
	ck_assert_uint_eq(open_connections(), 1);
	source_pause(k.source, false);
	sink_expect(&k, "a v=2\nb v=3\n");
	close(a);
	close(b);
}
END_TEST

START_TEST(off_loopback_is_refused)
{
	static const char *const listens[] = {"0.0.0.0:0", "192.0.2.1:7000", "127.0.0.1", "nowhere:1", "127.0.0.1:99999"};
	for (size_t i = 0; i < sizeof(listens) / sizeof(listens[0]); i++) {
		struct source_io io = {0};
		char *why = NULL;
		conf.listen = (char *)(uintptr_t)listens[i];
		struct source *s = source_new(k.loop, &conf, &io);
		ck_assert_int_eq(source_start(s, &why), WEIR_EINVAL);
		ck_assert_ptr_nonnull(strstr(why, "tcp-1"));
		free(why);
		source_free(s);
	}
}
END_TEST

START_TEST(an_address_in_use_is_told)
{
	char listen[32];
	char *why = NULL;
	struct source_io io = {0};
	sink_start(&k, &conf, NULL);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", source_port(k.source));
	conf.listen = listen;
	struct source *s = source_new(k.loop, &conf, &io);
	ck_assert_int_eq(source_start(s, &why), WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why, listen));
	free(why);
	source_free(s);
}
END_TEST

static uint64_t refused_connections(void)
{
	struct source_counters c;
	source_counters(k.source, &c);
	return c.connections_refused;
}

static bool three_refused(struct sink *s)
{
	(void)s;
	return refused_connections() == 3;
}

START_TEST(connections_are_limited)
{
	static int fds[SOURCE_TCP_CONNECTIONS_MAX + 3];
	struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	sink_start(&k, &conf, NULL);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		fds[i] = dial();
		sink_settle(&k);
	}
	sink_until(&k, three_refused);
	ck_assert_uint_eq(open_connections(), SOURCE_TCP_CONNECTIONS_MAX);
	char c;
	ck_assert_int_eq(recv(fds[SOURCE_TCP_CONNECTIONS_MAX], &c, 1, 0), 0);
	say(fds[0], "a v=1\n");
	sink_expect(&k, "a v=1\n");
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		close(fds[i]);
	sink_until(&k, none_open);
}
END_TEST

static size_t turns;

static void count_turn(void *arg)
{
	(void)arg;
	turns++;
}

START_TEST(out_of_descriptors_it_waits_and_does_not_spin)
{
	sink_start(&k, &conf, NULL);
	loop_timer_stop(k.tick);
	int fd = dial();
	struct rlimit was, tight;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	int next = dup(0);
	close(next);
	tight = was;
	tight.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	loop_on_turn_end(k.loop, count_turn, NULL);
	say(fd, "a v=1\n");
	loop_turn(k.loop, true);
	ck_assert_uint_eq(open_connections(), 0);
	turns = 0;
	loop_turn(k.loop, true); /* waits for the second try, a second later */
	ck_assert_uint_le(turns, 2);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	loop_timer_start(k.tick, 5, 5);
	sink_expect(&k, "a v=1\n");
	close(fd);
}
END_TEST

START_TEST(many_that_send_at_once_share_a_turn)
{
	enum { SENDERS = 100 };
	int fds[SENDERS];
	struct buf lines = {0};
	struct source_counters c;
	while (lines.len < 40000)
		buf_printf(&lines, "a v=1\n");
	sink_start(&k, &conf, NULL);
	for (int i = 0; i < SENDERS; i++)
		fds[i] = dial();
	sink_settle(&k);
	ck_assert_uint_eq(open_connections(), SENDERS);
	for (int i = 0; i < SENDERS; i++)
		ck_assert_int_eq(write(fds[i], lines.data, lines.len), (ssize_t)lines.len);
	uint64_t before = 0, most = 0;
	for (int turn = 0; turn < 1000 && before < SENDERS * lines.len; turn++) {
		loop_turn(k.loop, true);
		source_counters(k.source, &c);
		most = c.bytes - before > most ? c.bytes - before : most;
		before = c.bytes;
	}
	ck_assert_uint_eq(before, SENDERS * lines.len);
	ck_assert_uint_le(most, SENDERS * SOURCE_TCP_SHARE_MIN_BYTES);
	for (int i = 0; i < SENDERS; i++)
		close(fds[i]);
	buf_free(&lines);
}
END_TEST

START_TEST(garbage_is_refused_and_counted)
{
	sink_start(&k, &conf, NULL);
	int fd = dial();
	char junk[4096];
	uint64_t x = 88172645463325252u;
	for (size_t i = 0; i < sizeof(junk); i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		junk[i] = (char)(x >> 32);
	}
	junk[sizeof(junk) - 1] = '\n';
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(send(fd, junk, sizeof(junk), MSG_NOSIGNAL), (ssize_t)sizeof(junk));
		sink_settle(&k);
	}
	buf_clear(&k.out);
	say(fd, "good v=1\n");
	sink_expect(&k, "good v=1\n");
	struct source_counters c;
	source_counters(k.source, &c);
	ck_assert_uint_ge(c.refused, 50);
	ck_assert_uint_eq(c.bytes, 50 * sizeof(junk) + 9);
	close(fd);
}
END_TEST

/* ---- stdin ------------------------------------------------------------------------------------------------------ */

START_TEST(stdin_as_a_pipe)
{
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	conf = (struct source_conf){.type = SOURCE_STDIN, .name = (char *)"stdin-1"};
	sink_start(&k, &conf, NULL);
	ck_assert_int_eq(write(ends[1], "a v=1\nb v=", 10), 10);
	sink_expect(&k, "a v=1\n");
	source_pause(k.source, true);
	ck_assert_int_eq(write(ends[1], "2\n", 2), 2);
	sink_settle(&k);
	sink_expect(&k, "");
	source_pause(k.source, false);
	ck_assert_int_eq(write(ends[1], "c v=3", 5), 5);
	close(ends[1]);
	sink_until(&k, is_finished);
	sink_expect(&k, "b v=2\nc v=3\n");
}
END_TEST

START_TEST(stdin_as_a_file)
{
	sink_write(&k, "in", "a v=1\nb v=2\n");
	int fd = open(sink_path(&k, "in"), O_RDONLY);
	dup2(fd, STDIN_FILENO);
	close(fd);
	conf = (struct source_conf){.type = SOURCE_STDIN, .name = (char *)"stdin-1"};
	sink_start(&k, &conf, NULL);
	sink_until(&k, is_finished);
	sink_expect(&k, "a v=1\nb v=2\n");
}
END_TEST

START_TEST(stdin_that_is_closed)
{
	close(STDIN_FILENO);
	conf = (struct source_conf){.type = SOURCE_STDIN, .name = (char *)"stdin-1"};
	sink_start(&k, &conf, NULL);
	sink_until(&k, is_finished);
	sink_expect(&k, "");
}
END_TEST

/* ---- simulate --------------------------------------------------------------------------------------------------- */

static void simulated(void)
{
	conf = (struct source_conf){.type = SOURCE_SIMULATE, .name = (char *)"simulate-1", .sensors = 3,
	    .every_ns = NS_PER_SEC, .seed = 1, .count = 20000, .measurement = (char *)"m", .field = (char *)"v",
	    .mean = 20, .noise = 1, .start_ns = 0, .fast = true, .duplicates = 0.1, .gaps = 0.1};
}

START_TEST(a_fast_simulation_goes_on_exactly)
{
	struct buf whole = {0}, mark = {0}, none = {0};
	simulated();
	sink_start(&k, &conf, NULL);
	sink_until(&k, is_finished);
	buf_put(&whole, k.out.data, k.out.len);
	buf_clear(&k.out);
	sink_crash(&k);
	for (int restarts = 0;; restarts++) {
		sink_start(&k, &conf, restarts ? &mark : &none);
		for (size_t before = k.out.len; k.out.len == before && !k.finished;)
			loop_turn(k.loop, true);
		buf_clear(&mark);
		source_mark(k.source, &mark);
		bool end = k.finished;
		sink_crash(&k);
		if (end)
			break;
		ck_assert_int_lt(restarts, 10000);
	}
	ck_assert(k.out.len == whole.len && !memcmp(k.out.data, whole.data, whole.len));
	buf_free(&whole);
	buf_free(&mark);
}
END_TEST

static bool ten_lines(struct sink *s)
{
	return s->lines >= 10;
}

START_TEST(in_real_time_it_goes_on_at_now)
{
	struct buf mark = {0};
	simulated();
	conf.fast = false;
	conf.count = 0;
	conf.sensors = 1;
	conf.duplicates = conf.gaps = 0;
	conf.every_ns = NS_PER_MS;
	conf.start_ns = INT64_MIN;
	sink_start(&k, &conf, NULL);
	sink_until(&k, ten_lines);
	source_pause(k.source, true);
	sink_settle(&k);
	size_t lines = k.lines;
	sink_settle(&k);
	ck_assert_uint_eq(k.lines, lines);
	source_mark(k.source, &mark);
	sink_crash(&k);
	/* As if it had been down for an hour: the mark's start an hour ago. */
	struct rd r = rd_init(mark.data, mark.len);
	uint8_t type = rd_u8(&r), version = rd_u8(&r);
	int64_t start = rd_svarint(&r);
	struct buf old = {0};
	buf_u8(&old, type);
	buf_u8(&old, version);
	buf_svarint(&old, start - 3600 * NS_PER_SEC);
	buf_put(&old, r.p, rd_left(&r));
	k.lines = 0;
	sink_start(&k, &conf, &old);
	sink_until(&k, ten_lines);
	ck_assert_uint_lt(k.lines, 100000); /* not the hour's 3.6 million */
	buf_free(&mark);
	buf_free(&old);
}
END_TEST

START_TEST(a_simulation_skips_to_its_end)
{
	simulated();
	sink_start(&k, &conf, NULL);
	loop_turn(k.loop, false);
	source_skip_to_end(k.source);
	sink_settle(&k);
	ck_assert(k.finished);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/source");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, connections_do_not_mix);
	tcase_add_test(tc, a_connection_that_breaks_within_a_line);
	tcase_add_test(tc, paused_it_neither_reads_nor_accepts);
	tcase_add_test(tc, off_loopback_is_refused);
	tcase_add_test(tc, an_address_in_use_is_told);
	tcase_add_test(tc, connections_are_limited);
	tcase_add_test(tc, out_of_descriptors_it_waits_and_does_not_spin);
	tcase_add_test(tc, many_that_send_at_once_share_a_turn);
	tcase_add_test(tc, garbage_is_refused_and_counted);
	tcase_add_test(tc, stdin_as_a_pipe);
	tcase_add_test(tc, stdin_as_a_file);
	tcase_add_test(tc, stdin_that_is_closed);
	tcase_add_test(tc, a_fast_simulation_goes_on_exactly);
	tcase_add_test(tc, in_real_time_it_goes_on_at_now);
	tcase_add_test(tc, a_simulation_skips_to_its_end);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
