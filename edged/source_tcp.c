/* Line protocol over TCP: a listener, and a parser for each connection.
 *
 * accept -> read, up to a share of SOURCE_TURN_BYTES a turn -> parser -> ... -> end of stream: a last line without newline counts.
 * A connection that breaks within a line: that piece is refused as truncated, for it may be half a number.
 * Backpressure is not reading: the sender's window fills. Out of descriptors: no accepting for ACCEPT_RETRY_MS; who
 * wants to connect waits in the backlog. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/log.h"
#include "edged/source_impl.h"

#define BACKLOG 128
#define ACCEPTS_PER_TURN 16
#define ACCEPT_RETRY_MS 1000

struct connection {
	struct tcp *tcp;
	int fd;
	struct loop_fd *watch;
	struct source_parser parser;
	struct connection *prev, *next;
};

struct tcp {
	struct source base;
	int fd; /* the listener; -1: not started */
	uint16_t port;
	struct loop_fd *watch;
	struct loop_timer *accept_again;
	struct connection *first;
	uint8_t *chunk; /* read into; parsers copy what they keep */
};

static struct tcp *tcp_of(struct source *s)
{
	return (struct tcp *)s;
}

static void watch_listener(struct tcp *t, bool on)
{
	loop_fd_watch(t->watch, on && !t->base.paused ? LOOP_READ : 0);
}

/* ---- connections ---------------------------------------------------------------------------------------------- */

static void connection_free(struct connection *c)
{
	struct tcp *t = c->tcp;
	if (c->prev)
		c->prev->next = c->next;
	else
		t->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	loop_fd_free(c->watch);
	close(c->fd);
	source_parser_free(&c->parser);
	free(c);
	t->base.counters.connections_open--;
}

static void end_of_stream(struct connection *c)
{
	line_parser_finish(&c->parser.lines);
	connection_free(c);
}

static void broken(struct connection *c, int error)
{
	struct source *s = &c->tcp->base;
	bool within_line = line_parser_pending(&c->parser.lines) > 0;
	if (within_line) {
		s->counters.refused++;
		s->io.refuse(s->io.arg, SOURCE_REFUSED_TRUNCATED);
	}
	if (source_may_log(s))
		log_warn("source", "connection broke%s: %s; source=%s peer=%s", within_line ? " within a line" : "",
		    strerror(error), s->conf->name, c->parser.peer);
	connection_free(c);
}

/* What came in a turn is bounded, however many send at once: limits are looked after between turns. */
static size_t share_of_turn(const struct tcp *t)
{
	size_t share = SOURCE_TURN_BYTES / (size_t)t->base.counters.connections_open;
	return share > SOURCE_TCP_SHARE_MIN_BYTES ? share : SOURCE_TCP_SHARE_MIN_BYTES;
}

static void on_readable(void *arg, unsigned events)
{
	(void)events;
	struct connection *c = arg;
	size_t share = share_of_turn(c->tcp), once = share < SOURCE_CHUNK_BYTES ? share : SOURCE_CHUNK_BYTES;
	for (size_t done = 0; done + once <= share;) {
		ssize_t n = read(c->fd, c->tcp->chunk, once);
		if (n == 0) {
			end_of_stream(c);
			return;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				broken(c, errno);
			return;
		}
		source_feed(&c->parser, c->tcp->chunk, (size_t)n);
		if ((size_t)n < once)
			return;
		done += (size_t)n;
	}
}

static void connection_new(struct tcp *t, int fd, const struct sockaddr_in *peer)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	char ip[INET_ADDRSTRLEN] = "?";
	c->tcp = t;
	c->fd = fd;
	if (loop_fd_new(t->base.loop, fd, on_readable, c, &c->watch)) {
		close(fd);
		free(c);
		return;
	}
	int on = 1;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	source_parser_init(&c->parser, &t->base);
	inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip));
	snprintf(c->parser.peer, sizeof(c->parser.peer), "%s:%u", ip, ntohs(peer->sin_port));
	c->next = t->first;
	if (c->next)
		c->next->prev = c;
	t->first = c;
	t->base.counters.connections_open++;
	t->base.counters.connections_total++;
	loop_fd_watch(c->watch, t->base.paused ? 0 : LOOP_READ);
}

/* ---- the listener --------------------------------------------------------------------------------------------- */

static void refuse_connection(struct tcp *t, int fd)
{
	close(fd);
	t->base.counters.connections_refused++;
	if (source_may_log(&t->base))
		log_warn("source", "connection refused: %d are open, which is the limit; source=%s", SOURCE_TCP_CONNECTIONS_MAX,
		    t->base.conf->name);
}

/* Errors that concern only the connection that could not be accepted (accept(2)). */
static bool passes_by_itself(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == ENETDOWN || error == EHOSTDOWN ||
	    error == ENETUNREACH || error == EHOSTUNREACH || error == ENONET || error == EPERM;
}

static void accept_failed(struct tcp *t, int error)
{
	if (passes_by_itself(error))
		return;
	watch_listener(t, false);
	loop_timer_start(t->accept_again, ACCEPT_RETRY_MS, 0);
	if (source_may_log(&t->base))
		log_warn("source", "cannot accept connections: %s; source=%s open=%llu", strerror(error), t->base.conf->name,
		    (unsigned long long)t->base.counters.connections_open);
}

static void on_acceptable(void *arg, unsigned events)
{
	(void)events;
	struct tcp *t = arg;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_in peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(t->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				accept_failed(t, errno);
			return;
		}
		if (t->base.counters.connections_open >= SOURCE_TCP_CONNECTIONS_MAX)
			refuse_connection(t, fd);
		else
			connection_new(t, fd, &peer);
	}
}

static void on_accept_again(void *arg)
{
	watch_listener(arg, true);
}

static int listen_on(struct tcp *t, const struct addr *a)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a->port)};
	socklen_t len = sizeof(sin);
	int on = 1;
	memcpy(&sin.sin_addr, a->ip, sizeof(a->ip));
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd < 0)
		return -1;
	setsockopt(t->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(t->fd, (struct sockaddr *)&sin, sizeof(sin)) || listen(t->fd, BACKLOG) ||
	    getsockname(t->fd, (struct sockaddr *)&sin, &len))
		return -1;
	t->port = ntohs(sin.sin_port);
	return loop_fd_new(t->base.loop, t->fd, on_acceptable, t, &t->watch);
}

static int tcp_start(struct source *s, char **ret_why)
{
	struct tcp *t = tcp_of(s);
	struct addr a;
	t->fd = -1;
	if (addr_parse(s->conf->listen, &a)) {
		*ret_why = xasprintf("source %s: `%s` is not HOST:PORT with an IPv4 address", s->conf->name, s->conf->listen);
		return WEIR_EINVAL;
	}
	if (!addr_is_loopback(&a)) {
		*ret_why = xasprintf("source %s: %s is not a loopback address: line protocol over TCP has no encryption, so it is "
		                     "taken on 127.0.0.1 only",
		    s->conf->name, s->conf->listen);
		return WEIR_EINVAL;
	}
	if (listen_on(t, &a)) {
		int error = errno;
		*ret_why = xasprintf("source %s: cannot listen on %s: %s", s->conf->name, s->conf->listen, strerror(error));
		return error == EADDRINUSE ? WEIR_EBUSY : WEIR_EIO;
	}
	t->accept_again = loop_timer_new(s->loop, on_accept_again, t);
	t->chunk = xmalloc(SOURCE_CHUNK_BYTES);
	watch_listener(t, true);
	return 0;
}

static void tcp_pause(struct source *s)
{
	struct tcp *t = tcp_of(s);
	if (!t->watch)
		return;
	watch_listener(t, true);
	for (struct connection *c = t->first; c; c = c->next)
		loop_fd_watch(c->watch, s->paused ? 0 : LOOP_READ);
}

/* The rest of a line will never come here. */
static void cut_off(struct connection *c)
{
	struct source *s = &c->tcp->base;
	if (line_parser_pending(&c->parser.lines)) {
		s->counters.refused++;
		s->io.refuse(s->io.arg, SOURCE_REFUSED_TRUNCATED);
	}
	connection_free(c);
}

static void tcp_free(struct source *s)
{
	struct tcp *t = tcp_of(s);
	while (t->first)
		cut_off(t->first);
	if (t->watch)
		loop_fd_free(t->watch);
	if (t->accept_again)
		loop_timer_free(t->accept_again);
	if (t->fd > 0)
		close(t->fd);
	free(t->chunk);
}

uint16_t source_tcp_port(const struct source *s)
{
	return s->conf->type == SOURCE_TCP ? ((const struct tcp *)s)->port : 0;
}

const struct source_ops source_tcp_ops = {
	.size = sizeof(struct tcp),
	.start = tcp_start,
	.pause = tcp_pause,
	.free = tcp_free,
};
