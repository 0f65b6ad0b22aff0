#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/edged/source_lib.h"

#define ANSWER "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n"

static struct sink k;
static struct source_conf conf;
static char url[64], *urls[1] = {url};

/* An exporter on the same loop, which answers each connection with ANSWER and this. */
static const char *metrics;
static int listener;
static struct loop_fd *watch;
static unsigned asked;
static char last_request[4096];

struct connection {
	int fd;
	struct loop_fd *watch;
	size_t written;
};

/* The request has come, or there is room for more of the answer. */
static void on_ready(void *arg, unsigned events)
{
	struct connection *c = arg;
	char request[sizeof(last_request)];
	ssize_t got = events & LOOP_READ ? recv(c->fd, request, sizeof(request) - 1, MSG_DONTWAIT) : 0;
	if (got > 0 && !c->written++) {
		asked++;
		snprintf(last_request, sizeof(last_request), "%.*s", (int)got, request);
		ck_assert_int_eq(send(c->fd, ANSWER, strlen(ANSWER), MSG_NOSIGNAL), (ssize_t)strlen(ANSWER));
	}
	size_t done = c->written - 1, left = strlen(metrics) - done;
	ssize_t n = left ? send(c->fd, metrics + done, left, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	c->written += n > 0 ? (size_t)n : 0;
	loop_fd_watch(c->watch, LOOP_WRITE);
	if ((n < 0 && errno != EAGAIN) || n == (ssize_t)left) {
		loop_fd_free(c->watch);
		close(c->fd);
		free(c);
	}
}

static void on_connection(void *arg, unsigned events)
{
	(void)arg;
	(void)events;
	struct connection *c = xcalloc(1, sizeof(*c));
	c->fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(c->fd, 0);
	ck_assert_int_eq(loop_fd_new(k.loop, c->fd, on_ready, c, &c->watch), 0);
	loop_fd_watch(c->watch, LOOP_READ);
}

static void setup(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	sink_open(&k);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(!bind(listener, (struct sockaddr *)&sin, len) && !listen(listener, 16) &&
	    !getsockname(listener, (struct sockaddr *)&sin, &len));
	ck_assert_int_eq(loop_fd_new(k.loop, listener, on_connection, NULL, &watch), 0);
	loop_fd_watch(watch, LOOP_READ);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", ntohs(sin.sin_port));
	conf = (struct source_conf){.type = SOURCE_PROMETHEUS, .name = (char *)"p"};
	conf.scrape = (struct scrape_conf){.urls = {urls, 1}, .every_ns = 50 * NS_PER_MS, .timeout_ns = 10 * NS_PER_SEC,
	    .body_bytes = 1 << 20};
	metrics = "a 1\n";
	asked = 0;
}

static void teardown(void)
{
	sink_close(&k);
	close(listener);
}

static uint64_t metric(const char *name)
{
	struct buf b = {0};
	char head[128];
	sources_put_metrics(&k.source, &conf, 1, &b);
	snprintf(head, sizeof(head), "\n%s{source=\"p\"} ", name);
	const char *at = strstr(buf_cstr(&b), head);
	ck_assert_msg(at != NULL, "no %s", name);
	uint64_t value = strtoull(at + strlen(head), NULL, 10);
	buf_free(&b);
	return value;
}

static bool has_lines(struct sink *s)
{
	return s->lines >= 8;
}

static bool has_skipped(struct sink *s)
{
	(void)s;
	return metric("weir_edge_source_scrapes_skipped_total") >= 3;
}

START_TEST(scrapes_come_at_the_interval)
{
	sink_start(&k, &conf, NULL);
	sink_until(&k, has_lines);
	ck_assert_uint_ge(asked, 2);
	ck_assert_uint_eq(metric("weir_edge_source_scrape_targets_up"), 1);
	const char *out = buf_cstr(&k.out), *a = strstr(out, "a,instance=127.0.0.1:"), *up = strstr(out, "up,instance=127.0.0.1:");
	ck_assert(a == out && up > a && strstr(out, ",job=p value=1\n") && strstr(out, "\nscrape_samples_scraped,"));
}
END_TEST

START_TEST(paused_it_does_not_scrape)
{
	sink_start(&k, &conf, NULL);
	source_pause(k.source, true);
	sink_until(&k, has_skipped);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(k.lines, 0);
	source_pause(k.source, false);
	sink_until(&k, has_lines);
}
END_TEST

static bool was_asked(struct sink *s)
{
	(void)s;
	return asked > 0;
}

START_TEST(an_answer_that_comes_while_paused_waits)
{
	sink_start(&k, &conf, NULL);
	sink_until(&k, was_asked);
	source_pause(k.source, true); /* before the answer was read */
	sink_until(&k, has_skipped);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(k.lines, 0);
	source_pause(k.source, false);
	sink_until(&k, has_lines);
}
END_TEST

/* More than a turn reads, and it is freed in the middle of it. */
START_TEST(a_large_answer_is_read_in_pieces)
{
	struct buf b = {0};
	for (int i = 0; i < 20000; i++)
		buf_printf(&b, "large{i=\"%d\"} %d\n", i, i);
	metrics = buf_cstr(&b);
	sink_start(&k, &conf, NULL);
	while (!k.lines)
		loop_turn(k.loop, true);
	ck_assert_uint_lt(k.lines, 20000);
	source_free(k.source);
	k.source = NULL;
	buf_free(&b);
}
END_TEST

static bool has_failed_twice(struct sink *s)
{
	(void)s;
	return metric("weir_edge_source_scrapes_failed_total") >= 2;
}

static bool is_up(struct sink *s)
{
	(void)s;
	return metric("weir_edge_source_scrape_targets_up") == 1;
}

START_TEST(a_secret_that_comes_later_is_taken)
{
	char *path = xstrdup(sink_path(&k, "token"));
	conf.scrape.token_file = path;
	sink_start(&k, &conf, NULL);
	sink_until(&k, has_failed_twice);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(metric("weir_edge_source_scrape_targets_up"), 0);
	ck_assert(strstr(buf_cstr(&k.out), "up,instance=127.0.0.1:") && strstr(buf_cstr(&k.out), "job=p value=0"));
	sink_write(&k, "token", "s3cret\n");
	ck_assert_int_eq(chmod(path, 0600), 0);
	sink_until(&k, is_up);
	ck_assert_uint_ge(asked, 1);
	ck_assert_ptr_nonnull(strstr(last_request, "\r\nAuthorization: Bearer s3cret\r\n"));
	source_free(k.source); /* before the path of its configuration */
	k.source = NULL;
	free(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("source_prometheus");
	TCase *t = tcase_create("prometheus");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, scrapes_come_at_the_interval);
	tcase_add_test(t, paused_it_does_not_scrape);
	tcase_add_test(t, an_answer_that_comes_while_paused_waits);
	tcase_add_test(t, a_large_answer_is_read_in_pieces);
	tcase_add_test(t, a_secret_that_comes_later_is_taken);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
