/* Real requests on loopback, each of a thread of its own, to a server on a loop and to one with threads. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/http.h"

static struct loop *loop;
static struct http_server *server;
static struct loop_async *done;
static bool on_loop;
static int streams_open;

static void echo(void *arg, struct http_request *r)
{
	ck_assert_ptr_eq(arg, &server);
	struct buf b = {0};
	for (size_t i = 0; i < http_arg_count(r); i++)
		buf_printf(&b, "[%s=%s]", http_arg_name(r, i), http_arg_value(r, i));
	struct bytes body = http_body(r);
	buf_printf(&b, "(%.*s)", (int)body.n, (const char *)body.p);
	const char *h = http_header(r, "X-Test");
	buf_printf(&b, "<%s>", h ? h : "none");
	http_add_header(r, "X-More", "yes");
	http_reply(r, 200, HTTP_TEXT, b.data, b.len);
	buf_free(&b);
}

static void tail(void *arg, struct http_request *r)
{
	(void)arg;
	http_reply_error(r, 404, "unknown_edge", "no edge \"%s\"", http_path_tail(r));
}

static void silent(void *arg, struct http_request *r)
{
	(void)arg;
	(void)r;
}

static int fill_count(void *arg, struct buf *out)
{
	int *n = arg;
	buf_printf(out, "%d\n", *n);
	if (*n == -1)
		return WEIR_EIO;
	return ++*n < 5;
}

static void end_count(void *arg)
{
	free(arg);
	__atomic_fetch_sub(&streams_open, 1, __ATOMIC_SEQ_CST);
}

static void count_up(void *arg, struct http_request *r)
{
	(void)arg;
	int *n = xcalloc(1, sizeof(*n));
	*n = http_arg_count(r) ? -1 : 0;
	__atomic_fetch_add(&streams_open, 1, __ATOMIC_SEQ_CST);
	http_stream(r, 200, HTTP_EVENTS, fill_count, end_count, n);
}

static const struct http_route routes[] = {
    {"GET", "/echo", false, echo, HTTP_OPEN, true, 0},
    {"POST", "/echo", false, echo, HTTP_OPEN, true, 0},
    {"POST", "/tail/", true, tail, HTTP_OPEN, true, 0},
    {"GET", "/silent", false, silent, HTTP_OPEN, true, 0},
    {"GET", "/stream", false, count_up, HTTP_OPEN, true, 0},
};

static void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void setup(bool with_loop)
{
	on_loop = with_loop;
	ck_assert_int_eq(loop_new(&loop), 0);
	done = loop_async_new(loop, stop_loop, NULL);
	struct http_options o = {.listen = "127.0.0.1:0", .loop = on_loop ? loop : NULL, .routes = routes,
	    .route_count = sizeof(routes) / sizeof(routes[0]), .arg = &server, .body_max = 100, .connections_max = 3};
	char *why;
	int rc = http_open(&o, &server, &why);
	ck_assert_msg(!rc, "%s", why);
}

static void setup_loop(void)
{
	setup(true);
}

static void setup_threads(void)
{
	setup(false);
}

static void teardown(void)
{
	http_close(server);
	loop_free(loop);
	ck_assert_int_eq(streams_open, 0);
}

static int dial(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(http_port(server))};
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

struct exchange {
	const char *request;
	size_t len;
	struct buf answer;
};

static void *exchange_run(void *arg)
{
	struct exchange *x = arg;
	int fd = dial();
	ssize_t n = send(fd, x->request, x->len, MSG_NOSIGNAL);
	(void)n; /* a server that refuses may close before it has read all */
	char piece[1000];
	while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_put(&x->answer, piece, (size_t)n);
	close(fd);
	loop_async_send(done);
	return NULL;
}

/* The whole answer; lives until the next one. */
static const char *ask_raw(const char *request, size_t len)
{
	static struct buf last;
	struct exchange x = {request, len, {0}};
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, exchange_run, &x), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
	buf_free(&last);
	last = x.answer;
	return buf_cstr(&last);
}

static const char *ask(const char *line, const char *rest)
{
	char *request = xasprintf("%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", line, rest);
	const char *answer = ask_raw(request, strlen(request));
	free(request);
	return answer;
}

static void expect(const char *answer, const char *status, const char *within)
{
	ck_assert_msg(!strncmp(answer, "HTTP/1.1 ", 9) && !strncmp(answer + 9, status, 3), "%s", answer);
	ck_assert_msg(strstr(answer, within) != NULL, "no \"%s\" in: %s", within, answer);
}

START_TEST(arguments_headers_and_bodies_arrive)
{
	expect(ask("GET /echo?a=1&b=%41+%C3%A9&c=&d&a=2", "X-Test: t\r\n\r\n"), "200",
	    "\r\n\r\n[a=1][b=A \xc3\xa9][c=][d=][a=2]()<t>");
	expect(ask("GET /echo", "\r\n"), "200", "X-More: yes");
	expect(ask("POST /echo", "Content-Length: 4\r\n\r\nbody"), "200", "(body)<none>");
	expect(ask("GET /echo?a=%00x", "\r\n"), "400", "\"bad_request\"");
}
END_TEST

START_TEST(errors_are_json)
{
	expect(ask("GET /nothing", "\r\n"), "404", "{\"error\": {\"code\": \"not_found\"");
	expect(ask("DELETE /echo", "\r\n"), "405", "Allow: GET, HEAD, POST");
	expect(ask("GET /tail/x", "\r\n"), "405", "Allow: POST");
	expect(ask("POST /tail/a%22b", "Content-Length: 0\r\n\r\n"), "404",
	    "{\"error\": {\"code\": \"unknown_edge\", \"message\": \"no edge \\\"a\\\"b\\\"\"}}");
	expect(ask("GET /silent", "\r\n"), "500", "\"internal\"");
	struct http_counters c;
	http_counters(server, &c);
	ck_assert_uint_eq(c.requests, 5);
	ck_assert_uint_eq(c.answered[4], 4);
	ck_assert_uint_eq(c.answered[5], 1);
	ck_assert_uint_ge(c.open_max, 1);
	struct buf metrics = {0};
	http_put_metrics(server, "weir_test", &metrics);
	char *line = xasprintf("\nweir_test_http_connections_max %u\n", c.open_max);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&metrics), line));
	free(line);
	buf_free(&metrics);
}
END_TEST

START_TEST(bodies_are_capped)
{
	char *big = xasprintf("Content-Length: 200\r\n\r\n%0200d", 0);
	expect(ask("POST /echo", big), "413", "too_large");
	free(big);
}
END_TEST

START_TEST(head_has_no_body)
{
	const char *a = ask("HEAD /echo?a=1", "\r\n");
	expect(a, "200", "Content-Length: 13\r\n");
	ck_assert_str_eq(strstr(a, "\r\n\r\n"), "\r\n\r\n");
	a = ask("HEAD /stream", "\r\n");
	expect(a, "200", "text/event-stream");
	ck_assert_str_eq(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}
END_TEST

START_TEST(streams_come_in_pieces_and_break_visibly)
{
	const char *a = ask("GET /stream", "\r\n");
	expect(a, "200", "chunked");
	for (int i = 0; i < 5; i++) {
		char line[16];
		snprintf(line, sizeof(line), "\n%d\n", i);
		ck_assert_msg(strstr(a, line) != NULL, "%s", a);
	}
	ck_assert_msg(strstr(a, "\r\n0\r\n") != NULL, "%s", a);
	a = ask("GET /stream?broken=1", "\r\n");
	ck_assert_msg(strstr(a, "\r\n0\r\n") == NULL, "%s", a);
}
END_TEST

START_TEST(garbage_is_no_request)
{
	ask_raw("\x16\x03\x01 not http\r\n\r\n", 17);
	char *endless = xmalloc(100000);
	memset(endless, 'h', 100000);
	memcpy(endless, "GET /", 5);
	const char *a = ask_raw(endless, 100000);
	ck_assert(!*a || !strncmp(a, "HTTP/1.1 4", 10));
	free(endless);
	expect(ask("GET /echo", "\r\n"), "200", "()");
}
END_TEST

START_TEST(only_loopback_and_free_ports)
{
	struct http_server *s;
	char *why;
	struct http_options o = {.listen = "0.0.0.0:0"};
	ck_assert_int_eq(http_open(&o, &s, &why), WEIR_EINVAL);
	free(why);
	o.listen = "nonsense";
	ck_assert_int_eq(http_open(&o, &s, &why), WEIR_EINVAL);
	free(why);
	char *taken = xasprintf("127.0.0.1:%u", http_port(server));
	o.listen = taken;
	ck_assert_int_eq(http_open(&o, &s, &why), WEIR_EBUSY);
	free(why);
	free(taken);
}
END_TEST

START_TEST(closing_does_not_wait_for_idle_connections)
{
	int fd = dial();
	ck_assert_int_gt(send(fd, "GET /ec", 7, 0), 0);
	http_close(server);
	char c;
	ck_assert_int_le(recv(fd, &c, 1, 0), 0);
	close(fd);
	server = NULL;
}
END_TEST

static void add_all(Suite *s, const char *name, void (*fixture)(void))
{
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 20);
	tcase_add_checked_fixture(tc, fixture, teardown);
	tcase_add_test(tc, arguments_headers_and_bodies_arrive);
	tcase_add_test(tc, errors_are_json);
	tcase_add_test(tc, bodies_are_capped);
	tcase_add_test(tc, head_has_no_body);
	tcase_add_test(tc, streams_come_in_pieces_and_break_visibly);
	tcase_add_test(tc, garbage_is_no_request);
	tcase_add_test(tc, only_loopback_and_free_ports);
	tcase_add_test(tc, closing_does_not_wait_for_idle_connections);
	suite_add_tcase(s, tc);
}

int main(void)
{
	Suite *s = suite_create("common/http");
	add_all(s, "loop", setup_loop);
	add_all(s, "threads", setup_threads);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
