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

/* ---- deferred: answered when as many wait as the test wants, latest first -------------------------------------- */

static struct http_request *waiting[8];
static size_t waiting_count, waiting_goal = 1;
static int gone_count;
static struct loop_timer *answer_timer;

static void on_gone(void *arg, struct http_request *r)
{
	ck_assert_ptr_eq(arg, waiting);
	size_t i = 0;
	while (waiting[i] != r) {
		ck_assert_uint_lt(i, waiting_count);
		i++;
	}
	waiting[i] = waiting[--waiting_count];
	ck_assert_ptr_nonnull(http_path(r));
	if (++gone_count == 1)
		loop_stop(loop);
}

static void answer_waiting(void *arg)
{
	(void)arg;
	while (waiting_count) {
		struct http_request *r = waiting[--waiting_count];
		struct buf b = {0};
		struct bytes body = http_body(r);
		buf_printf(&b, "later(%.*s)%s", (int)body.n, (const char *)body.p, http_arg_count(r) ? http_arg_value(r, 0) : "");
		http_drop_body(r);
		http_add_header(r, "X-More", "yes");
		if (http_header(r, "X-Fail"))
			http_reply_error(r, 503, "later", "%s", buf_cstr(&b));
		else
			http_reply(r, 200, HTTP_TEXT, b.data, b.len);
		buf_free(&b);
	}
}

static void defer(void *arg, struct http_request *r)
{
	(void)arg;
	http_defer(r, on_gone, waiting);
	waiting[waiting_count++] = r;
	if (http_header(r, "X-Now"))
		answer_waiting(NULL);
	else if (waiting_count == waiting_goal)
		loop_timer_start(answer_timer, 1, 0);
}

static void defer_and_keep(void *arg, struct http_request *r)
{
	(void)arg;
	http_defer(r, on_gone, waiting);
	waiting[waiting_count++] = r;
	loop_stop(loop);
}

static const struct http_route routes[] = {
    {"POST", "/later", false, defer, HTTP_OPEN, false, 1000},
    {"GET", "/never", false, defer_and_keep, HTTP_OPEN, false, 0},
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
	    .route_count = sizeof(routes) / sizeof(routes[0]), .arg = &server, .body_max = 100, .bodies_max = 1500, .connections_max = 3,
	    .stall_ms = 1000, .idle_ms = 1000, .head_ms = 1000};
	waiting_count = 0;
	waiting_goal = 1;
	gone_count = 0;
	answer_timer = loop_timer_new(loop, answer_waiting, NULL);
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

static void send_text(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
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

START_TEST(a_deferred_request_is_answered_later)
{
	const char *a = ask("POST /later?a=x", "Content-Length: 4\r\n\r\nbody");
	expect(a, "200", "later(body)x");
	expect(a, "200", "X-More: yes");
	expect(ask("POST /later", "X-Fail: 1\r\nContent-Length: 4\r\n\r\nbody"), "503", "{\"error\": {\"code\": \"later\"");
	expect(ask("POST /later", "X-Now: 1\r\nContent-Length: 1\r\n\r\nb"), "200", "later(b)");
	const char *two = "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
			  "POST /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n2";
	a = ask_raw(two, strlen(two));
	expect(a, "200", "later(1)");
	expect(a, "200", "later(2)");
	struct http_counters c;
	http_counters(server, &c);
	ck_assert_uint_eq(c.answered[2], 4);
	ck_assert_int_eq(gone_count, 0);
}
END_TEST

static void *ask_later(void *arg)
{
	char text[200], piece[1000];
	int n = snprintf(text, sizeof(text), "POST /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n%s",
	    (const char *)arg);
	int fd = dial();
	ck_assert_int_eq(send(fd, text, (size_t)n, 0), n);
	struct buf answer = {0};
	for (ssize_t got; (got = recv(fd, piece, sizeof(piece), 0)) > 0;)
		buf_put(&answer, piece, (size_t)got);
	close(fd);
	loop_async_send(done);
	char *ret = xstrdup(buf_cstr(&answer));
	buf_free(&answer);
	return ret;
}

START_TEST(deferred_requests_wait_side_by_side)
{
	pthread_t threads[3];
	const char *const names[3] = {"a", "b", "c"};
	waiting_goal = 3;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_later, (void *)(uintptr_t)names[i]), 0);
	for (int i = 0; i < 3; i++) { /* each end stops the loop, two ends may do so at once */
		void *answer;
		struct loop_timer *t = loop_timer_new(loop, stop_loop, NULL);
		while (pthread_tryjoin_np(threads[i], &answer)) {
			loop_timer_start(t, 10, 0);
			loop_run(loop);
		}
		loop_timer_free(t);
		char *within = xasprintf("later(%s)", names[i]);
		expect(answer, "200", within);
		free(within);
		free(answer);
	}
}
END_TEST

/* The guard's times are a second here: waiting for us is not being slow. */
START_TEST(a_deferred_request_is_not_put_out)
{
	int fd = dial();
	send_text(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	loop_run(loop);
	struct loop_timer *t = loop_timer_new(loop, stop_loop, NULL);
	loop_timer_start(t, 2600, 0);
	loop_run(loop);
	ck_assert_uint_eq(waiting_count, 1);
	ck_assert_int_eq(gone_count, 0);
	answer_waiting(NULL);
	loop_timer_start(t, 50, 0);
	loop_run(loop);
	char answer[1000];
	ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);
	ck_assert_int_gt(n, 0);
	answer[n] = 0;
	expect(answer, "200", "later()");
	close(fd);
}
END_TEST

START_TEST(whoever_deferred_hears_that_the_client_is_gone)
{
	struct linger now = {_i, 0}; /* reset, or ended */
	int fd = dial();
	send_text(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	loop_run(loop);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	loop_run(loop); /* until on_gone */
	ck_assert_int_eq(gone_count, 1);
	ck_assert_uint_eq(waiting_count, 0);
	expect(ask("GET /echo", "\r\n"), "200", "()");
}
END_TEST

START_TEST(closing_tells_of_what_waits_and_sends_what_was_answered)
{
	int left = dial(), answered = dial();
	send_text(answered, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	loop_run(loop);
	ck_assert_uint_eq(waiting_count, 1);
	struct http_request *r = waiting[0];
	send_text(left, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	loop_run(loop);
	ck_assert_uint_eq(waiting_count, 2);
	waiting[0] = waiting[1];
	waiting_count = 1;
	http_reply(r, 200, HTTP_TEXT, "last", 4);
	http_close(server);
	server = NULL;
	ck_assert_int_eq(gone_count, 1);
	char answer[1000];
	ssize_t n = recv(answered, answer, sizeof(answer) - 1, 0);
	ck_assert_int_gt(n, 0);
	answer[n] = 0;
	expect(answer, "200", "last");
	ck_assert_int_le(recv(left, answer, 1, 0), 0);
	close(left);
	close(answered);
}
END_TEST

START_TEST(bodies_of_all_requests_have_a_limit)
{
	char *body = xasprintf("Content-Length: 1000\r\n\r\n%01000d", 0);
	char *first = xasprintf("POST /later HTTP/1.1\r\nHost: x\r\n%s", body);
	int fd = dial();
	waiting_goal = 2; /* nobody answers it */
	send_text(fd, first);
	while (!waiting_count)
		loop_turn(loop, true);
	const char *a = ask("POST /later", body);
	expect(a, "503", "\"unavailable\"");
	expect(a, "503", "Retry-After: 1");
	answer_waiting(NULL);
	waiting_goal = 1;
	expect(ask("POST /later", body), "200", "later(0");
	close(fd);
	free(first);
	free(body);
}
END_TEST

static void add_deferred(Suite *s)
{
	TCase *tc = tcase_create("deferred");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_loop, teardown);
	tcase_add_test(tc, a_deferred_request_is_answered_later);
	tcase_add_test(tc, deferred_requests_wait_side_by_side);
	tcase_add_test(tc, a_deferred_request_is_not_put_out);
	tcase_add_loop_test(tc, whoever_deferred_hears_that_the_client_is_gone, 0, 2);
	tcase_add_test(tc, closing_tells_of_what_waits_and_sends_what_was_answered);
	tcase_add_test(tc, bodies_of_all_requests_have_a_limit);
	suite_add_tcase(s, tc);
}

static void add_all(Suite *s, const char *name, void (*fixture)(void))
{
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 120);
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
	add_deferred(s);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
