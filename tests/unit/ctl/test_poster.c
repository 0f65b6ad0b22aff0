/* weirctl load over HTTP: what is sent once, what is sent again, and what is said of it. The other side is a plain socket that does as it is
 * told, connection by connection. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/gzip.h"
#include "ctl/poster.h"

#define REQUESTS_MAX 8

/* What it answers to each request in turn; "": it closes the connection; NULL: the end. */
static struct {
	int listener;
	uint16_t port;
	pthread_t thread;
	const char *answers[REQUESTS_MAX];
	struct buf heads[REQUESTS_MAX], bodies[REQUESTS_MAX];
	atomic_uint requests, connections;
} server;

static struct poster poster;
static struct buf told, error;
static volatile sig_atomic_t stop;
static unsigned waits;

/* False: the peer is gone. */
static bool read_request(int fd, struct buf *head, struct buf *body)
{
	char c;
	size_t left = 0;
	while (head->len < 4 || memcmp(head->data + head->len - 4, "\r\n\r\n", 4)) {
		if (read(fd, &c, 1) != 1)
			return false;
		buf_u8(head, (uint8_t)c);
	}
	const char *at = strstr(buf_cstr(head), "Content-Length: ");
	left = at ? strtoul(at + 16, NULL, 10) : 0;
	if (strstr(buf_cstr(head), "Expect: 100-continue") && write(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25) != 25)
		return false;
	while (left) {
		ssize_t n = read(fd, buf_reserve(body, left), left);
		if (n <= 0)
			return false;
		body->len += (size_t)n;
		left -= (size_t)n;
	}
	return true;
}

static void serve(int fd)
{
	for (;;) {
		unsigned i = atomic_load(&server.requests);
		struct buf head = {0}, body = {0};
		bool fine = read_request(fd, &head, &body);
		if (fine && i < REQUESTS_MAX) {
			server.heads[i] = head;
			server.bodies[i] = body;
			atomic_fetch_add(&server.requests, 1);
		} else {
			buf_free(&head);
			buf_free(&body);
		}
		const char *answer = fine && i < REQUESTS_MAX ? server.answers[i] : NULL;
		if (!answer || !*answer || write(fd, answer, strlen(answer)) != (ssize_t)strlen(answer))
			break;
	}
	close(fd);
}

static void *run_server(void *arg)
{
	(void)arg;
	for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0;) {
		atomic_fetch_add(&server.connections, 1);
		serve(fd);
	}
	return NULL;
}

static void on_waiting(void *arg)
{
	(void)arg;
	waits++;
}

static void setup(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	char url[64];
	memset(&server, 0, sizeof(server));
	told = error = (struct buf){0};
	stop = 0;
	waits = 0;
	server.listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(server.listener, 4), 0);
	ck_assert_int_eq(getsockname(server.listener, (struct sockaddr *)&in, &len), 0);
	server.port = ntohs(in.sin_port);
	ck_assert_int_eq(pthread_create(&server.thread, NULL, run_server, NULL), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", server.port);
	poster = (struct poster){.http = http_client_new(url, NULL, NULL, false, &error), .stop = &stop, .waiting = on_waiting};
	ck_assert_ptr_nonnull(poster.http);
}

static void stop_server(void)
{
	http_client_free(poster.http); /* and with it the connection that it keeps */
	poster.http = NULL;
	shutdown(server.listener, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.listener);
}

static void teardown(void)
{
	if (poster.http)
		stop_server();
	poster_free(&poster);
	for (size_t i = 0; i < REQUESTS_MAX; i++) {
		buf_free(&server.heads[i]);
		buf_free(&server.bodies[i]);
	}
	buf_free(&told);
	buf_free(&error);
}

static int send_text(const char *text)
{
	buf_clear(&error);
	buf_clear(&told);
	return poster_send(&poster, text, strlen(text), &told, &error);
}

#define DONE "HTTP/1.1 204 No Content\r\n\r\n"

START_TEST(a_piece_is_sent_as_it_is_or_packed)
{
	server.answers[0] = server.answers[1] = DONE;
	ck_assert_int_eq(send_text("m v=1\nm v=2\n"), 0);
	ck_assert_str_eq(buf_cstr(&server.bodies[0]), "m v=1\nm v=2\n");
	ck_assert(!strncmp(buf_cstr(&server.heads[0]), "POST /api/v2/write?precision=ns HTTP/1.1\r\n", 42));
	ck_assert_ptr_null(strstr(buf_cstr(&server.heads[0]), "Content-Encoding"));
	poster.gzip = true;
	ck_assert_int_eq(send_text("m v=3\n"), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&server.heads[1]), "Content-Encoding: gzip\r\n"));
	struct gzip_reader *g = gzip_reader_new();
	char text[64] = "";
	size_t n = 0;
	gzip_begin(g, bytes_of(server.bodies[1].data, server.bodies[1].len));
	ck_assert_int_eq(gzip_read(g, text, sizeof(text), &n), 0);
	ck_assert_str_eq(text, "m v=3\n");
	gzip_reader_free(g);
	ck_assert_uint_eq(poster.refused, 0);
}
END_TEST

static char *answer_of(const char *status, const char *body)
{
	return xasprintf("HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
}

START_TEST(refused_lines_are_counted_and_told)
{
	/* A line may quote what looks like the count. */
	char *part = answer_of("400 Bad", "{\"code\":\"invalid\",\"message\":\"partial write: line 2: unable to parse 'm x dropped=9': bad dropped=3\","
					  "\"line\":2}");
	char *none = answer_of("400 Bad", "{\"code\":\"invalid\",\"message\":\"unable to parse the body\"}");
	char *denied = answer_of("401 No", "{\"error\": {\"code\": \"unauthorized\", \"message\": \"a token is needed\"}}");
	server.answers[0] = part;
	server.answers[1] = none;
	server.answers[2] = denied;
	ck_assert_int_eq(send_text("a\n"), 0);
	ck_assert_uint_eq(poster.refused, 3);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&told), "line 2: unable to parse"));
	ck_assert_uint_eq(error.len, 0);
	ck_assert_int_eq(send_text("b\n"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&error), "unable to parse the body"));
	ck_assert_int_eq(send_text("c\n"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&error), "a token is needed"));
	ck_assert_uint_eq(poster.refused, 3);
	ck_assert_uint_eq(server.requests, 3);
	stop_server(); /* its thread is not behind the last write as soon as that is read here */
	free(part);
	free(none);
	free(denied);
}
END_TEST

START_TEST(room_is_waited_for)
{
	server.answers[0] = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
	server.answers[1] = DONE;
	ck_assert_int_eq(send_text("m v=1\n"), 0);
	ck_assert_uint_eq(server.requests, 2);
	ck_assert_str_eq(buf_cstr(&server.bodies[1]), "m v=1\n");
	ck_assert_uint_gt(waits, 0);
	ck_assert_uint_eq(error.len, 0);
}
END_TEST

static void on_waiting_stop(void *arg)
{
	(void)arg;
	stop = 1;
}

START_TEST(waiting_can_be_stopped)
{
	server.answers[0] = "HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
	poster.waiting = on_waiting_stop;
	ck_assert_int_eq(send_text("m v=1\n"), WEIR_EBUSY);
	ck_assert_uint_eq(server.requests, 1);
}
END_TEST

/* libcurl would send it again over a new connection, where the one that it kept ends: the piece may have counted. */
START_TEST(a_piece_without_an_answer_is_not_sent_again)
{
	server.answers[0] = DONE;
	server.answers[1] = "";
	server.answers[2] = DONE;
	ck_assert_int_eq(send_text("m v=1\n"), 0);
	ck_assert_int_eq(send_text("m v=2\n"), WEIR_EIO);
	ck_assert_uint_eq(server.requests, 2);
	ck_assert_str_eq(buf_cstr(&server.bodies[1]), "m v=2\n");
}
END_TEST

START_TEST(an_answer_that_leaves_it_open_says_so)
{
	server.answers[0] = "HTTP/1.1 500 Torn\r\nContent-Length: 0\r\n\r\n";
	ck_assert_int_eq(send_text("m v=1\n"), WEIR_EIO);
	ck_assert_uint_gt(error.len, 0);
	ck_assert_uint_eq(server.requests, 1);
}
END_TEST

START_TEST(nobody_there)
{
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", server.port);
	stop_server();
	poster.http = http_client_new(url, NULL, NULL, false, &error);
	ck_assert_int_eq(send_text("m v=1\n"), WEIR_EIO);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&error), url));
	http_client_free(poster.http);
	poster.http = NULL;
	ck_assert(poster_takes("http://x:1") && poster_takes("https://x:1") && !poster_takes("127.0.0.1:7201"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poster");
	TCase *tc = tcase_create("poster");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_piece_is_sent_as_it_is_or_packed);
	tcase_add_test(tc, refused_lines_are_counted_and_told);
	tcase_add_test(tc, room_is_waited_for);
	tcase_add_test(tc, waiting_can_be_stopped);
	tcase_add_test(tc, a_piece_without_an_answer_is_not_sent_again);
	tcase_add_test(tc, an_answer_that_leaves_it_open_says_so);
	tcase_add_test(tc, nobody_there);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
