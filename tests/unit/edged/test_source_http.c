/* Writes over real connections, to a source with an address of its own; commits are made by hand. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/gzip.h"
#include "edged/source_http.h"
#include "tests/unit/edged/source_lib.h"

static struct sink k;
static struct source_conf conf;
static struct buf answer;
static uint16_t port;

static void setup(void)
{
	sink_open(&k);
	conf = (struct source_conf){.type = SOURCE_HTTP, .name = (char *)"http-1", .listen = (char *)"127.0.0.1:0"};
	sink_start(&k, &conf, NULL);
	port = source_http_port(k.source);
	answer = (struct buf){0};
}

static void teardown(void)
{
	sink_close(&k);
	buf_free(&answer);
}

/* Sends all while the loop turns; returns the connection. */
static int begin(const char *method, const char *target, const char *headers, const void *body, size_t len)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	struct buf b = {0};
	buf_printf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", method, target, headers, len);
	buf_put(&b, body, len);
	for (size_t at = 0; at < b.len;) {
		ssize_t n = send(fd, b.data + at, b.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		ck_assert(n > 0 || errno == EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		loop_turn(k.loop, true);
	}
	buf_free(&b);
	return fd;
}

static int post(const char *target, const char *body)
{
	return begin("POST", target, "", body, strlen(body));
}

static bool whole(void)
{
	const char *text = buf_cstr(&answer), *body = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
	if (!body)
		return false;
	return !length || strlen(body + 4) >= strtoul(length + 16, NULL, 10);
}

/* Nothing has been answered so far. */
static void expect_none(int fd)
{
	char c;
	sink_settle(&k);
	ck_assert_int_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* Waits for it, and closes. */
static void expect(int fd, const char *status, const char *within)
{
	int64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	char piece[4096];
	buf_clear(&answer);
	while (!whole()) {
		ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		ck_assert_msg(n > 0 || (n < 0 && errno == EAGAIN && clock_mono_ns() < end), "no answer: %s", buf_cstr(&answer));
		if (n > 0)
			buf_put(&answer, piece, (size_t)n);
		loop_turn(k.loop, true);
	}
	close(fd);
	ck_assert_msg(!strncmp(buf_cstr(&answer) + 9, status, 3), "%s", buf_cstr(&answer));
	ck_assert_msg(strstr(buf_cstr(&answer), within) != NULL, "no \"%s\" in: %s", within, buf_cstr(&answer));
}

static bool commit_wanted(struct sink *s)
{
	return s->commits_wanted > 0;
}

/* Until its lines were given out; then a commit. */
static void commit(void)
{
	sink_until(&k, commit_wanted);
	k.commits_wanted = 0;
	sink_commit(&k);
}

static double metric(const char *name)
{
	struct buf out = {0};
	char *head = xasprintf("\n%s{source=\"http-1\"} ", name);
	sources_put_metrics(&k.source, &conf, 1, &out);
	const char *at = strstr(buf_cstr(&out), head);
	ck_assert_ptr_nonnull(at);
	double v = strtod(at + strlen(head), NULL);
	buf_free(&out);
	free(head);
	return v;
}

START_TEST(written_is_answered_when_it_is_durable)
{
	struct buf mark = {0};
	int a = post("/write?db=x", "m v=1 5\nm v=2 6");
	sink_expect(&k, "m v=1\nm v=2\n");
	ck_assert_int_eq(k.time_ns, 6);
	ck_assert_uint_eq(k.commits_wanted, 1);
	expect_none(a);
	source_mark(k.source, &mark);
	int b = post("/api/v2/write?org=o&bucket=b&precision=ms", "m v=3 7\n");
	sink_expect(&k, "m v=3\n");
	ck_assert_int_eq(k.time_ns, 7 * NS_PER_MS);
	source_committed(k.source);
	expect(a, "204", "X-Influxdb-Version: 1.");
	expect_none(b); /* came behind the mark that was committed */
	ck_assert_int_eq((int)metric("weir_edge_source_http_waiting"), 1);
	sink_commit(&k);
	expect(b, "204", "");
	ck_assert_int_eq((int)metric("weir_edge_source_http_stored_total"), 2);
	ck_assert_int_eq((int)metric("weir_edge_source_http_waiting"), 0);
	buf_free(&mark);
}
END_TEST

START_TEST(precision_is_that_of_the_request)
{
	int fd = post("/write?precision=h", "m v=1 2");
	sink_expect(&k, "m v=1\n");
	ck_assert_int_eq(k.time_ns, 2 * 3600 * NS_PER_SEC);
	sink_commit(&k);
	expect(fd, "204", "");
	fd = post("/write", "m v=1 2");
	sink_expect(&k, "m v=1\n");
	ck_assert_int_eq(k.time_ns, 2);
	sink_commit(&k);
	expect(fd, "204", "");
	expect(post("/write?precision=d", "m v=1 2"), "400", "{\"error\":\"invalid precision");
	expect(post("/api/v2/write?precision=h", "m v=1 2"), "400", "{\"code\":\"invalid\",\"message\":\"invalid precision");
	sink_expect(&k, "");
}
END_TEST

START_TEST(bad_lines_are_told_and_their_neighbours_count)
{
	int fd = post("/write", "m v=1\nm v=\n# no line\n\nm v=2\nm\n");
	sink_expect(&k, "m v=1\n!bad_field\nm v=2\n!no_field\n");
	expect_none(fd);
	commit();
	expect(fd, "400", "{\"error\":\"partial write: line 2: unable to parse 'm v=': bad_field; line 6: unable to parse 'm': no_field dropped=2\"}");
	fd = post("/api/v2/write", "m v=1\nm\n");
	commit();
	expect(fd, "400", "{\"code\":\"invalid\",\"message\":\"partial write: line 2: unable to parse 'm': no_field dropped=1\",\"line\":2}");
	ck_assert_int_eq((int)metric("weir_edge_source_http_partial_total"), 2);
	ck_assert_int_eq((int)metric("weir_edge_source_bad_lines_total"), 3);
}
END_TEST

START_TEST(where_nothing_counts_nothing_is_waited_for)
{
	expect(post("/write", "m\n"), "400", "{\"error\":\"line 1: unable to parse 'm': no_field dropped=1\"}");
	expect(post("/write", ""), "204", "");
	ck_assert(k.finished);
	ck_assert_uint_eq(k.commits_wanted, 0);
	ck_assert_int_eq((int)metric("weir_edge_source_http_bad_total"), 1);
}
END_TEST

/* The pipeline refuses what lies too far in the future. */
START_TEST(lines_that_are_not_taken_are_told)
{
	k.refusal = "too_far_ahead";
	expect(post("/write", "m v=1 9\n"), "400", "{\"error\":\"line 1: unable to parse 'm': too_far_ahead dropped=1\"}");
	ck_assert(k.finished);
}
END_TEST

START_TEST(it_takes_part_from_the_first_good_line_on)
{
	ck_assert(k.finished);
	int fd = post("/write", "m\nm v=1\n");
	commit();
	ck_assert(!k.finished);
	expect(fd, "400", "");
}
END_TEST

/* ---- gzip ------------------------------------------------------------------------------------------------------- */

static int post_packed(const struct buf *b, size_t len)
{
	return begin("POST", "/write", "Content-Encoding: gzip\r\n", b->data, len);
}

START_TEST(packed_bodies_are_taken_whole_or_not_at_all)
{
	struct buf b = {0};
	gzip_pack("m v=1\n", 6, &b);
	gzip_pack("m v=2\n", 6, &b);
	int fd = post_packed(&b, b.len);
	sink_expect(&k, "m v=1\nm v=2\n");
	sink_commit(&k);
	expect(fd, "204", "");
	expect(post_packed(&b, b.len - 1), "400", "unable to parse the body");
	expect(begin("POST", "/write", "Content-Encoding: br\r\n", b.data, b.len), "400", "unable to parse the body");
	sink_expect(&k, "");
	buf_free(&b);
}
END_TEST

START_TEST(a_bomb_is_refused)
{
	struct buf b = {0};
	size_t n = 12 << 20;
	char *comment = xmalloc(n);
	memset(comment, '\n', n);
	memcpy(comment, "m v=1\n", 6);
	for (int i = 0; i < 3; i++)
		gzip_pack(comment, n, &b);
	expect(post_packed(&b, b.len), "413", "{\"error\":\"the body unpacks to more than 32 MiB\"}");
	sink_expect(&k, "");
	free(comment);
	buf_free(&b);
}
END_TEST

START_TEST(a_large_body_leaves_turns_to_others)
{
	struct buf b = {0};
	while (b.len < 3 << 20)
		buf_printf(&b, "m,k=%zu v=%zu %zu\n", b.len % 10, b.len, b.len);
	int fd = begin("POST", "/write", "", b.data, b.len), turns = 0;
	while (!k.commits_wanted) {
		size_t before = k.out.len;
		loop_turn(k.loop, true);
		ck_assert_uint_le(k.out.len - before, 2 * (SOURCE_TURN_BYTES + SOURCE_CHUNK_BYTES));
		turns += k.out.len > before;
	}
	ck_assert_int_ge(turns, 3 * 1024 * 1024 / (SOURCE_TURN_BYTES + SOURCE_CHUNK_BYTES));
	commit();
	expect(fd, "204", "");
	buf_free(&b);
}
END_TEST

/* ---- when it cannot ---------------------------------------------------------------------------------------------- */

START_TEST(paused_it_says_so)
{
	int fd = post("/write", "m v=1\n");
	sink_expect(&k, "m v=1\n");
	source_pause(k.source, true);
	expect(post("/write", "m v=2\n"), "503", "Retry-After: 5");
	expect(post("/api/v2/write", "m v=2\n"), "503", "{\"code\":\"unavailable\"");
	expect(begin("GET", "/health", "", "", 0), "503", "\"status\":\"fail\"");
	expect_none(fd); /* what was given out already waits for its commit */
	sink_commit(&k);
	expect(fd, "204", "");
	source_pause(k.source, false);
	expect(begin("GET", "/health", "", "", 0), "200", "\"status\":\"pass\"");
	ck_assert_int_eq((int)metric("weir_edge_source_http_busy_total"), 2);
}
END_TEST

START_TEST(a_client_that_does_not_wait_is_forgotten)
{
	close(post("/write", "m v=1\n"));
	sink_expect(&k, "m v=1\n");
	int64_t end = clock_mono_ns() + 20 * NS_PER_SEC;
	while ((int)metric("weir_edge_source_http_gone_total") == 0 && clock_mono_ns() < end)
		loop_turn(k.loop, true);
	ck_assert_int_eq((int)metric("weir_edge_source_http_gone_total"), 1);
	sink_commit(&k);
	int fd = post("/write", "m v=2\n");
	sink_expect(&k, "m v=2\n");
	sink_commit(&k);
	expect(fd, "204", "");
}
END_TEST

START_TEST(closing_does_not_answer_what_is_not_durable)
{
	char c;
	int fd = post("/write", "m v=1\n");
	sink_expect(&k, "m v=1\n");
	sink_crash(&k);
	ck_assert_int_le(recv(fd, &c, 1, 0), 0);
	close(fd);
}
END_TEST

/* Where it is about to be closed, half a write would be one that is sent again in part. */
START_TEST(a_write_that_was_begun_is_drained)
{
	struct buf b = {0};
	uint64_t count = 0;
	for (; b.len < 3 << 20; count++)
		buf_printf(&b, "m,k=%zu v=%zu %zu\n", b.len % 10, b.len, b.len);
	int begun = begin("POST", "/write", "", b.data, b.len), turns = 1;
	while (!k.lines)
		loop_turn(k.loop, true);
	ck_assert_uint_lt(k.lines, count);
	while (source_drain(k.source))
		turns++;
	ck_assert_int_gt(turns, 4);
	ck_assert_uint_eq(k.lines, count);
	commit();
	expect(begun, "204", "");
	int queued = post("/write", "m v=1\n");
	ck_assert(!source_drain(k.source));
	commit();
	expect(queued, "204", "");
	buf_free(&b);
}
END_TEST

static void on_shared(void *arg, struct http_request *r)
{
	struct sink *sink = arg;
	source_http_handle(sink->source, r);
}

/* As at an edge's own address: the server stays where the source goes. What was begun may count; what was not has not. */
START_TEST(only_what_has_not_counted_is_to_be_sent_again)
{
	static const struct http_route routes[] = {SOURCE_HTTP_ROUTES(on_shared)};
	struct http_options o = {.listen = "127.0.0.1:0", .loop = k.loop, .routes = routes, .arg = &k,
		.route_count = sizeof(routes) / sizeof(routes[0])};
	struct http_server *server;
	struct buf b = {0};
	char *why = NULL;
	sink_crash(&k);
	conf.listen = NULL;
	sink_start(&k, &conf, NULL);
	ck_assert_int_eq(http_open(&o, &server, &why), 0);
	port = http_port(server);
	while (b.len < 3 << 20)
		buf_printf(&b, "m,k=%zu v=%zu %zu\n", b.len % 10, b.len, b.len);
	int begun = begin("POST", "/api/v2/write", "", b.data, b.len);
	while (!k.lines)
		loop_turn(k.loop, true);
	ck_assert_uint_eq(k.commits_wanted, 0);
	int queued = post("/api/v2/write", "m v=1\n");
	double waiting = metric("weir_edge_source_http_waiting");
	ck_assert_uint_eq(k.commits_wanted, 0);
	sink_crash(&k);
	expect(begun, "500", "{\"code\":\"internal error\",\"message\":\"this edge went over to another configuration");
	if (waiting == 2)
		expect(queued, "503", "Retry-After: 1");
	else /* it came afterwards */
		expect(queued, "503", "Retry-After: 5");
	http_close(server);
	buf_free(&b);
}
END_TEST

START_TEST(an_address_in_use_is_told)
{
	char *why = NULL, *taken = xasprintf("127.0.0.1:%u", source_http_port(k.source));
	struct source_conf other = {.type = SOURCE_HTTP, .name = (char *)"http-2", .listen = taken};
	struct source_io io = {0};
	struct source *s = source_new(k.loop, &other, &io);
	ck_assert_int_eq(source_start(s, &why), WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "source http-2: "));
	source_free(s);
	free(why);
	free(taken);
}
END_TEST

/* ---- others ------------------------------------------------------------------------------------------------------ */

START_TEST(collectd_is_understood)
{
	int fd = post("/collectd", "[{\"plugin\":\"load\",\"host\":\"h\",\"type\":\"load\",\"time\":3.5,\"dsnames\":[\"s\"],\"values\":[0.5]}]");
	sink_expect(&k, "load,host=h,type=load s=0.5\n");
	ck_assert_int_eq(k.time_ns, 3500 * NS_PER_MS);
	sink_commit(&k);
	expect(fd, "200", "{}");
	expect(post("/collectd", "[7]"), "400", "{\"error\": {\"code\": \"invalid\", \"message\": \"line 1: unable to parse '': not a value list");
	sink_expect(&k, "!bad_field\n");
	expect(post("/collectd", "nonsense"), "400", "not JSON");
	expect(post("/collectd", "[{\"plugin\":\"cpu\",\"time\":3.5,\"dsnames\":[\"s\"],\"values\":[null]}]"), "200", "{}");
	ck_assert_int_eq((int)metric("weir_edge_source_http_collectd_empty_total"), 1);
}
END_TEST

START_TEST(agents_get_the_answers_they_ask_for_first)
{
	expect(begin("GET", "/ping", "", "", 0), "204", "X-Influxdb-Version: 1.");
	expect(begin("HEAD", "/ping", "Connection: close\r\n", "", 0), "204", "X-Influxdb-Version: 1.");
	expect(begin("GET", "/ping?verbose=true", "", "", 0), "200", "{\"version\":\"1.");
	expect(begin("GET", "/health", "", "", 0), "200", "\"message\":\"ready for writes\",\"status\":\"pass\",\"checks\":[]");
	expect(begin("POST", "/query?q=create++database%20x%3B", "", "", 0), "200", "{\"results\":[{\"statement_id\":0}]}");
	expect(post("/query?db=", "db=a&q=CREATE+DATABASE+%22telegraf%22"), "200", "{\"results\":[{\"statement_id\":0}]}");
	expect(begin("GET", "/query?q=SHOW%20DATABASES", "", "", 0), "200", "\"values\":[[\"weir\"]]");
	expect(begin("GET", "/query?q=SELECT+1", "", "", 0), "400", "{\"error\":\"this edge takes writes");
	expect(begin("GET", "/query?q=CREATE", "", "", 0), "400", "{\"error\":");
	expect(begin("GET", "/query", "", "", 0), "400", "{\"error\":");
	expect(begin("GET", "/write", "", "", 0), "405", "Allow: POST");
	ck_assert_int_eq((int)metric("weir_edge_source_http_requests_total"), 11);
	ck_assert_int_eq((int)metric("weir_edge_source_http_denied_total"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/source_http");
	TCase *tc = tcase_create("http");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, written_is_answered_when_it_is_durable);
	tcase_add_test(tc, precision_is_that_of_the_request);
	tcase_add_test(tc, bad_lines_are_told_and_their_neighbours_count);
	tcase_add_test(tc, where_nothing_counts_nothing_is_waited_for);
	tcase_add_test(tc, lines_that_are_not_taken_are_told);
	tcase_add_test(tc, it_takes_part_from_the_first_good_line_on);
	tcase_add_test(tc, packed_bodies_are_taken_whole_or_not_at_all);
	tcase_add_test(tc, a_bomb_is_refused);
	tcase_add_test(tc, a_large_body_leaves_turns_to_others);
	tcase_add_test(tc, paused_it_says_so);
	tcase_add_test(tc, a_client_that_does_not_wait_is_forgotten);
	tcase_add_test(tc, closing_does_not_answer_what_is_not_durable);
	tcase_add_test(tc, a_write_that_was_begun_is_drained);
	tcase_add_test(tc, only_what_has_not_counted_is_to_be_sent_again);
	tcase_add_test(tc, an_address_in_use_is_told);
	tcase_add_test(tc, collectd_is_understood);
	tcase_add_test(tc, agents_get_the_answers_they_ask_for_first);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
