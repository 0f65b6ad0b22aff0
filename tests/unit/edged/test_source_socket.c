/* The sources that listen: udp, unix and statsd (tcp: test_source.c). */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/err.h"
#include "tests/unit/edged/source_lib.h"

static struct sink k;
static struct source_conf conf;
static int fd;
static char path[256];

static void setup(void)
{
	sink_open(&k);
	fd = -1;
	snprintf(path, sizeof(path), "%s", sink_path(&k, "in.sock"));
}

static void teardown(void)
{
	if (fd >= 0)
		close(fd);
	sink_close(&k);
}

static void udp(void)
{
	conf = (struct source_conf){.type = SOURCE_UDP, .name = (char *)"udp-1", .listen = (char *)"127.0.0.1:0",
	    .socket.buffer_bytes = 1024 * 1024};
}

static void unix_socket(bool stream)
{
	conf = (struct source_conf){.type = SOURCE_UNIX, .name = (char *)"unix-1", .path = path,
	    .socket = {.stream = stream, .mode = 0640}};
}

static void statsd(bool stream)
{
	conf = (struct source_conf){.type = SOURCE_STATSD, .name = (char *)"statsd-1", .listen = (char *)"127.0.0.1:0",
	    .socket = {.stream = stream, .buffer_bytes = 1024 * 1024}};
}

static int dial_inet(int type)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(source_port(k.source))};
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, type, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static int dial_path(int type)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", path);
	fd = socket(AF_UNIX, type, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void say(const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static uint64_t metric(const char *name)
{
	struct buf text = {0};
	char key[128];
	unsigned long long value = 0;
	sources_put_metrics(&k.source, &conf, 1, &text);
	snprintf(key, sizeof(key), "\n%s{source=\"%s\"} ", name, conf.name);
	const char *at = strstr(buf_cstr(&text), key);
	ck_assert_msg(at != NULL, "no %s in\n%s", name, buf_cstr(&text));
	sscanf(at + strlen(key), "%llu", &value);
	buf_free(&text);
	return value;
}

static char *refused_start(int result)
{
	struct source_io io = {0};
	char *why = NULL;
	struct source *s = source_new(k.loop, &conf, &io);
	ck_assert_int_eq(source_start(s, &why), result);
	ck_assert_ptr_nonnull(strstr(why, conf.name));
	source_free(s);
	return why;
}

/* ---- udp --------------------------------------------------------------------------------------------------------- */

START_TEST(a_datagram_is_complete_in_itself)
{
	udp();
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	say("a v=1\nb v=2");
	say("");
	say("c v=");
	say("3\nd v=4\n");
	say("\n\n");
	sink_expect(&k, "a v=1\nb v=2\n!bad_field\n!no_field\nd v=4\n");
	ck_assert_uint_eq(metric("weir_edge_source_datagrams_total"), 5);
	ck_assert_uint_eq(metric("weir_edge_source_lines_total"), 3);
	ck_assert_uint_eq(metric("weir_edge_source_bad_lines_total"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_dropped_datagrams_total"), 0);
}
END_TEST

START_TEST(the_largest_datagram_is_taken)
{
	struct buf lines = {0};
	udp();
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	while (lines.len + 6 <= 65507)
		buf_printf(&lines, "a v=1\n");
	ck_assert_int_eq(send(fd, lines.data, lines.len, 0), (ssize_t)lines.len);
	while (k.lines < lines.len / 6)
		loop_turn(k.loop, true);
	ck_assert_uint_eq(metric("weir_edge_source_read_bytes_total"), lines.len);
	buf_free(&lines);
}
END_TEST

START_TEST(what_the_kernel_drops_is_counted)
{
	enum { SENT = 2000 };
	udp();
	conf.socket.buffer_bytes = 4096;
	sink_start(&k, &conf, NULL);
	ck_assert_uint_ge(metric("weir_edge_source_receive_buffer_bytes"), 2048);
	ck_assert_uint_lt(metric("weir_edge_source_receive_buffer_bytes"), 65536);
	dial_inet(SOCK_DGRAM);
	source_pause(k.source, true);
	for (int i = 0; i < SENT; i++)
		say("a v=1\n");
	sink_settle(&k);
	sink_expect(&k, "");
	uint64_t dropped = metric("weir_edge_source_dropped_datagrams_total");
	ck_assert_uint_gt(dropped, SENT / 2); /* told though nothing came after it */
	source_committed(k.source);
	ck_assert_uint_eq(metric("weir_edge_source_dropped_datagrams_total"), dropped);
	source_pause(k.source, false);
	while (k.lines < SENT - dropped)
		loop_turn(k.loop, true);
	sink_settle(&k);
	ck_assert_uint_eq(k.lines + metric("weir_edge_source_dropped_datagrams_total"), SENT);
	ck_assert_uint_eq(metric("weir_edge_source_datagrams_total"), k.lines);
}
END_TEST

START_TEST(a_turn_takes_no_more_than_its_share)
{
	enum { SENT = 3 * 1024 };
	udp();
	conf.socket.buffer_bytes = 64 * 1024 * 1024;
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	for (int i = 0; i < SENT; i++)
		say("a v=1\n");
	uint64_t sent = SENT - metric("weir_edge_source_dropped_datagrams_total"), before = 0, most = 0;
	while (before < sent) {
		loop_turn(k.loop, true);
		most = k.lines - before > most ? k.lines - before : most;
		before = k.lines;
	}
	ck_assert_uint_le(most, 1024);
}
END_TEST

START_TEST(precision_is_that_of_the_configuration)
{
	udp();
	conf.socket.precision_ns = 1000000;
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	say("a v=1 1700000000000\na v=2 1700000000000000000\n"); /* the second is far beyond what nanoseconds can say */
	sink_expect(&k, "a v=1\n!bad_timestamp\n");
}
END_TEST

START_TEST(a_port_in_use_and_places_off_loopback)
{
	char listen[32];
	udp();
	sink_start(&k, &conf, NULL);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", source_port(k.source));
	conf.listen = listen;
	free(refused_start(WEIR_EBUSY));
	conf.listen = (char *)"0.0.0.0:0";
	char *why = refused_start(WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "UDP"));
	free(why);
	conf.listen = (char *)"127.0.0.1:0";
}
END_TEST

/* ---- unix --------------------------------------------------------------------------------------------------------- */

START_TEST(a_unix_stream)
{
	struct stat st;
	mode_t was = umask(077);
	unix_socket(true);
	sink_start(&k, &conf, NULL);
	umask(was);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	dial_path(SOCK_STREAM);
	say("a v=1\nb v=");
	sink_expect(&k, "a v=1\n");
	say("2\nc v=3");
	close(fd);
	fd = -1;
	sink_expect(&k, "b v=2\nc v=3\n");
	ck_assert_uint_eq(metric("weir_edge_source_connections_total"), 1);
	source_free(k.source);
	k.source = NULL;
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(unix_datagrams)
{
	struct buf lines = {0};
	unix_socket(false);
	sink_start(&k, &conf, NULL);
	dial_path(SOCK_DGRAM);
	say("a v=1\nb v=2");
	say("c v=3\n");
	sink_expect(&k, "a v=1\nb v=2\nc v=3\n");
	while (lines.len <= 64 * 1024)
		buf_printf(&lines, "a v=1\n");
	ck_assert_int_eq(send(fd, lines.data, lines.len, 0), (ssize_t)lines.len); /* none of it counts: it was cut somewhere */
	say("d v=4");
	sink_expect(&k, "!truncated\nd v=4\n");
	ck_assert_uint_eq(metric("weir_edge_source_truncated_datagrams_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_datagrams_total"), 4);
	buf_free(&lines);
}
END_TEST

/* Holds a sender up rather than losing anything. */
START_TEST(paused_unix_datagrams_wait)
{
	int sent = 0;
	unix_socket(false);
	sink_start(&k, &conf, NULL);
	dial_path(SOCK_DGRAM);
	source_pause(k.source, true);
	while (send(fd, "a v=1", 5, MSG_DONTWAIT) == 5)
		sent++;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_gt(sent, 0);
	source_pause(k.source, false);
	while (k.lines < (size_t)sent)
		loop_turn(k.loop, true);
}
END_TEST

/* As a program leaves it that is killed. */
static void leave_a_socket(int type, bool listening, int *ret_fd)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", path);
	*ret_fd = socket(AF_UNIX, type, 0);
	ck_assert_int_eq(bind(*ret_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	if (listening)
		ck_assert_int_eq(listen(*ret_fd, 1), 0);
}

START_TEST(what_a_killed_one_left_is_replaced)
{
	int other;
	leave_a_socket(_i ? SOCK_STREAM : SOCK_DGRAM, _i, &other);
	close(other);
	unix_socket(_i);
	sink_start(&k, &conf, NULL);
	dial_path(_i ? SOCK_STREAM : SOCK_DGRAM);
	say("a v=1\n");
	sink_expect(&k, "a v=1\n");
}
END_TEST

START_TEST(what_another_program_listens_on_is_not_taken)
{
	int other;
	leave_a_socket(_i & 1 ? SOCK_STREAM : SOCK_DGRAM, _i & 1, &other);
	unix_socket(_i & 2);
	char *why = refused_start(WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why, path));
	free(why);
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	close(other);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	struct stat st;
	sink_write(&k, "in.sock", "precious");
	unix_socket(true);
	free(refused_start(WEIR_EBUSY));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 8);
}
END_TEST

/* Its file was taken by the next holder while it was still there: that is not its to remove. */
START_TEST(a_successors_file_is_not_removed)
{
	int other;
	struct stat st;
	unix_socket(true);
	sink_start(&k, &conf, NULL);
	unlink(path);
	leave_a_socket(SOCK_STREAM, true, &other);
	source_free(k.source);
	k.source = NULL;
	ck_assert_int_eq(stat(path, &st), 0);
	close(other);
}
END_TEST

START_TEST(a_path_that_is_too_long)
{
	unix_socket(true);
	memset(path, 'x', 108);
	path[108] = 0;
	free(refused_start(WEIR_EINVAL));
	snprintf(path, sizeof(path), "%s", sink_path(&k, "no-folder/in.sock"));
	free(refused_start(WEIR_EIO));
}
END_TEST

/* ---- statsd -------------------------------------------------------------------------------------------------------- */

START_TEST(statsd_by_datagrams)
{
	statsd(false);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	say("a:1|c\nb:5|ms|@0.5\n\nc:7|g\r\nd:x|g");
	say("_e{1,1}:a|b\nu:1:2|h|#k:v\ns:me|s\nt:3|d\na:+1|g");
	sink_expect(&k, "a,metric=a counter=1\nb,metric=b timer=5\nb,metric=b timer=5\nc,metric=c gauge=7\n!bad_value\n!event\n"
	                "u,metric=u,k=v histogram=1\nu,metric=u,k=v histogram=2\ns,metric=s,member=me set=1\n"
	                "t,metric=t distribution=3\na,metric=a gauge=1\n");
	ck_assert_uint_eq(metric("weir_edge_source_statsd_counters_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_timers_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_gauges_total"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_histograms_total"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_distributions_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_sets_total"), 1);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_gauges_known"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_bad_lines_total"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_lines_total"), 9);
}
END_TEST

START_TEST(statsd_by_connections)
{
	struct buf longer = {0};
	statsd(true);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_STREAM);
	say("a:1|c\nb:");
	sink_expect(&k, "a,metric=a counter=1\n");
	say("2|c\n");
	sink_expect(&k, "b,metric=b counter=2\n");
	while (longer.len < 30000)
		buf_printf(&longer, "x:1|c|#");
	buf_printf(&longer, "\nc:3|c");
	for (size_t at = 0; at < longer.len; at += 1000) { /* it comes in pieces, and is refused once */
		size_t n = longer.len - at < 1000 ? longer.len - at : 1000;
		ck_assert_int_eq(send(fd, longer.data + at, n, MSG_NOSIGNAL), (ssize_t)n);
		sink_settle(&k);
	}
	close(fd);
	fd = -1;
	sink_expect(&k, "!too_long\nc,metric=c counter=3\n");
	dial_inet(SOCK_STREAM);
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	say("d:1|c\ne:12");
	sink_expect(&k, "d,metric=d counter=1\n");
	close(fd); /* resets */
	fd = -1;
	sink_expect(&k, "!truncated\n");
	buf_free(&longer);
}
END_TEST

/* The most that came in one turn of the loop. */
static size_t most_in_a_turn(size_t all)
{
	size_t most = 0;
	for (size_t before = k.lines; before < all; before = k.lines) {
		buf_clear(&k.out);
		loop_turn(k.loop, true);
		most = k.lines - before > most ? k.lines - before : most;
	}
	return most;
}

#define SAMPLED "a:1|ms|@0.001\n"
#define SAMPLED_IN_A_TURN_MAX (64 * 1024 + 2 * 1000 * (1024 / strlen(SAMPLED) + 2))

START_TEST(few_bytes_that_stand_for_many_readings)
{
	struct buf lines = {0};
	size_t all = 0;
	statsd(false);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	for (; lines.len + strlen(SAMPLED) < 16000; all += 1000)
		buf_printf(&lines, SAMPLED);
	say(buf_cstr(&lines));
	say(SAMPLED);
	ck_assert_uint_le(most_in_a_turn(all + 1000), SAMPLED_IN_A_TURN_MAX);
	buf_clear(&k.out);
	sink_settle(&k);
	ck_assert_uint_eq(k.lines, all + 1000);
	ck_assert_uint_eq(metric("weir_edge_source_datagrams_total"), 2);
	ck_assert_uint_eq(metric("weir_edge_source_bad_lines_total"), 0);
	buf_free(&lines);
}
END_TEST

START_TEST(many_readings_wait_while_it_is_paused)
{
	struct buf lines = {0};
	size_t all = 0;
	statsd(false);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	for (; lines.len < 8000; all += 1000)
		buf_printf(&lines, SAMPLED);
	say(buf_cstr(&lines));
	while (!k.lines)
		loop_turn(k.loop, true);
	source_pause(k.source, true);
	size_t lines_then = k.lines;
	ck_assert_uint_lt(lines_then, all);
	sink_settle(&k);
	ck_assert_uint_eq(k.lines, lines_then);
	source_pause(k.source, false);
	most_in_a_turn(all);
	ck_assert_uint_eq(k.lines, all);
	buf_free(&lines);
}
END_TEST

START_TEST(connections_share_what_a_turn_takes)
{
	enum { CONNECTIONS = 4 };
	int fds[CONNECTIONS];
	struct buf lines = {0};
	size_t all = 0;
	statsd(true);
	sink_start(&k, &conf, NULL);
	for (; lines.len < 1200; all += 1000 * CONNECTIONS)
		buf_printf(&lines, SAMPLED);
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = dial_inet(SOCK_STREAM);
		say(buf_cstr(&lines));
	}
	ck_assert_uint_le(most_in_a_turn(all), SAMPLED_IN_A_TURN_MAX);
	ck_assert_uint_eq(k.lines, all);
	for (int i = 0; i < CONNECTIONS; i++)
		close(fds[i]);
	fd = -1;
	buf_free(&lines);
}
END_TEST

START_TEST(a_line_stands_for_a_bounded_number_of_readings)
{
	struct buf line = {0};
	enum { VALUES = 70, TAKEN = 65 };
	statsd(false);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	buf_printf(&line, "a");
	for (int i = 0; i < VALUES; i++)
		buf_printf(&line, ":1");
	buf_printf(&line, "|ms|@0.001\nb:1|c");
	say(buf_cstr(&line));
	most_in_a_turn(TAKEN * 1000 + 1);
	ck_assert_uint_eq(k.lines, TAKEN * 1000 + 1);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&k.out), "!too_many_readings\n"));
	ck_assert_uint_eq(metric("weir_edge_source_bad_lines_total"), VALUES - TAKEN);
	ck_assert_uint_eq(metric("weir_edge_source_statsd_timers_total"), TAKEN);
	buf_free(&line);
}
END_TEST

/* ---- before the end -------------------------------------------------------------------------------------------------- */

static void drain(void)
{
	for (int i = 0; source_drain(k.source); i++)
		ck_assert_int_lt(i, 100);
}

START_TEST(what_came_before_the_end_is_read)
{
	udp();
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	for (int i = 0; i < 100; i++)
		say("a v=1\n");
	source_pause(k.source, true);
	drain();
	ck_assert_uint_eq(k.lines, 0); /* there is no room for it */
	source_pause(k.source, false);
	drain();
	ck_assert_uint_eq(k.lines, 100);
}
END_TEST

START_TEST(what_connections_sent_before_the_end_is_read)
{
	unix_socket(true);
	sink_start(&k, &conf, NULL);
	dial_path(SOCK_STREAM);
	say("a v=1\n");
	sink_expect(&k, "a v=1\n");
	say("b v=2\nc v=");
	drain();
	ck_assert_str_eq(buf_cstr(&k.out), "b v=2\n");
	source_free(k.source);
	k.source = NULL;
	ck_assert_str_eq(buf_cstr(&k.out), "b v=2\n!truncated\n");
}
END_TEST

START_TEST(what_gauges_stand_at_outlives_a_crash)
{
	struct buf mark = {0};
	statsd(false);
	sink_start(&k, &conf, NULL);
	dial_inet(SOCK_DGRAM);
	say("a:10|g\na:+1|g");
	sink_expect(&k, "a,metric=a gauge=10\na,metric=a gauge=11\n");
	source_mark(k.source, &mark);
	say("a:+100|g"); /* after the checkpoint: lost with the process, as its reading is */
	sink_expect(&k, "a,metric=a gauge=111\n");
	sink_crash(&k);
	close(fd);
	sink_start(&k, &conf, &mark);
	dial_inet(SOCK_DGRAM);
	say("a:-2|g");
	sink_expect(&k, "a,metric=a gauge=9\n");
	buf_free(&mark);
}
END_TEST

/* ---- several ------------------------------------------------------------------------------------------------------- */

/* A family stands in one place of /metrics, whatever types have it. */
START_TEST(a_family_of_several_types_stands_once)
{
	struct source_conf confs[2];
	struct source *none[2] = {NULL, NULL};
	struct buf text = {0};
	udp();
	confs[0] = conf;
	statsd(false);
	confs[1] = conf;
	sources_put_metrics(none, confs, 2, &text);
	const char *head = strstr(buf_cstr(&text), "# TYPE weir_edge_source_datagrams_total");
	ck_assert_ptr_nonnull(head);
	ck_assert_ptr_null(strstr(head + 1, "# TYPE weir_edge_source_datagrams_total"));
	ck_assert_ptr_nonnull(strstr(head, "counter\nweir_edge_source_datagrams_total{source=\"udp-1\"} 0\n"
	                                   "weir_edge_source_datagrams_total{source=\"statsd-1\"} 0\n# HELP"));
	buf_free(&text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/source_socket");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_datagram_is_complete_in_itself);
	tcase_add_test(tc, the_largest_datagram_is_taken);
	tcase_add_test(tc, what_the_kernel_drops_is_counted);
	tcase_add_test(tc, a_turn_takes_no_more_than_its_share);
	tcase_add_test(tc, precision_is_that_of_the_configuration);
	tcase_add_test(tc, a_port_in_use_and_places_off_loopback);
	tcase_add_test(tc, a_unix_stream);
	tcase_add_test(tc, unix_datagrams);
	tcase_add_test(tc, paused_unix_datagrams_wait);
	tcase_add_loop_test(tc, what_a_killed_one_left_is_replaced, 0, 2);
	tcase_add_loop_test(tc, what_another_program_listens_on_is_not_taken, 0, 4);
	tcase_add_test(tc, a_file_that_is_no_socket_is_left_alone);
	tcase_add_test(tc, a_successors_file_is_not_removed);
	tcase_add_test(tc, a_path_that_is_too_long);
	tcase_add_test(tc, statsd_by_datagrams);
	tcase_add_test(tc, statsd_by_connections);
	tcase_add_test(tc, few_bytes_that_stand_for_many_readings);
	tcase_add_test(tc, many_readings_wait_while_it_is_paused);
	tcase_add_test(tc, connections_share_what_a_turn_takes);
	tcase_add_test(tc, a_line_stands_for_a_bounded_number_of_readings);
	tcase_add_test(tc, what_came_before_the_end_is_read);
	tcase_add_test(tc, what_connections_sent_before_the_end_is_read);
	tcase_add_test(tc, what_gauges_stand_at_outlives_a_crash);
	tcase_add_test(tc, a_family_of_several_types_stands_once);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
