/* Connections: a listener, and a reader for each of them.
 *
 * accept -> read, up to a share of SOURCE_TURN_BYTES a turn -> reader -> ... -> end of stream: a last line without newline counts.
 * A connection that breaks within a line: that piece is refused as truncated, for it may be half a number.
 * Backpressure is not reading: the sender's window fills. Out of descriptors: no accepting for ACCEPT_RETRY_MS; who
 * wants to connect waits in the backlog. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "edged/source_socket.h"

#define ACCEPTS_PER_TURN 16
#define ACCEPT_RETRY_MS 1000

struct source_connection {
	struct source_socket *socket;
	int fd;
	struct loop_fd *watch;
	struct source_parser *parser;
	struct source_connection *prev, *next;
};

static void watch_listener(struct source_socket *k, bool on)
{
	loop_fd_watch(k->watch, on && !k->source->paused ? LOOP_READ : 0);
}

/* ---- connections ---------------------------------------------------------------------------------------------- */

static void connection_free(struct source_connection *c)
{
	struct source_socket *k = c->socket;
	if (c->prev)
		c->prev->next = c->next;
	else
		k->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	loop_fd_free(c->watch);
	close(c->fd);
	source_reader_free(k, c->parser);
	free(c);
	k->source->counters.connections_open--;
}

static void end_of_stream(struct source_connection *c)
{
	c->socket->reader->finish(c->parser);
	connection_free(c);
}

/* The rest of a line will never come here. Whether one was begun. */
static bool refuse_rest(struct source_connection *c)
{
	struct source *s = c->socket->source;
	if (!c->socket->reader->pending(c->parser))
		return false;
	s->counters.refused++;
	s->io.refuse(s->io.arg, SOURCE_REFUSED_TRUNCATED);
	return true;
}

static void broken(struct source_connection *c, int error)
{
	struct source *s = c->socket->source;
	bool within_line = refuse_rest(c);
	if (source_may_log(s))
		log_warn("source", "connection broke%s: %s; source=%s%s%s", within_line ? " within a line" : "", strerror(error),
		    s->conf->name, c->parser->peer[0] ? " peer=" : "", c->parser->peer);
	connection_free(c);
}

static void watch_connections(struct source_socket *k)
{
	for (struct source_connection *c = k->first; c; c = c->next)
		loop_fd_watch(c->watch, k->source->paused || k->resting ? 0 : LOOP_READ);
}

/* Where few bytes may be many readings: none of the connections is read before the loop has seen to the rest. */
static bool rest_after_enough(struct source_socket *k)
{
	if (!k->reader->piece || k->source->counters.lines - k->rested_lines < SOURCE_TURN_LINES)
		return false;
	k->resting = true;
	watch_connections(k);
	loop_timer_start(k->again, SOURCE_PUMP_MS, 0);
	return true;
}

static void on_rested(void *arg)
{
	struct source_socket *k = arg;
	k->resting = false;
	k->rested_lines = k->source->counters.lines;
	watch_connections(k);
}

/* What came in a turn is bounded, however many send at once: limits are looked after between turns. */
static size_t share_of_turn(const struct source_socket *k)
{
	size_t share = SOURCE_TURN_BYTES / (size_t)k->source->counters.connections_open;
	return share > SOURCE_TCP_SHARE_MIN_BYTES ? share : SOURCE_TCP_SHARE_MIN_BYTES;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void on_readable(void *arg, unsigned events)
{
	(void)events;
	struct source_connection *c = arg;
	struct source_socket *k = c->socket;
	size_t share = share_of_turn(k), once = min_size(share, k->reader->piece ? k->reader->piece : SOURCE_CHUNK_BYTES);
	if (k->resting)
		return;
	for (size_t done = 0; done + once <= share;) {
		ssize_t n = read(c->fd, k->chunk, once);
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
		k->reader->feed(c->parser, k->chunk, (size_t)n);
		if ((size_t)n < once || rest_after_enough(k))
			return;
		done += (size_t)n;
	}
}

static void name_peer(struct source_connection *c, const struct sockaddr_in *peer)
{
	char ip[INET_ADDRSTRLEN] = "?";
	inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip));
	snprintf(c->parser->peer, sizeof(c->parser->peer), "%s:%u", ip, ntohs(peer->sin_port));
}

static void connection_new(struct source_socket *k, int fd, const struct sockaddr_in *peer)
{
	struct source_connection *c = xcalloc(1, sizeof(*c));
	struct source *s = k->source;
	c->socket = k;
	c->fd = fd;
	if (loop_fd_new(s->loop, fd, on_readable, c, &c->watch)) {
		close(fd);
		free(c);
		return;
	}
	int on = 1;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	c->parser = source_reader_new(k);
	if (!k->path)
		name_peer(c, peer);
	c->next = k->first;
	if (c->next)
		c->next->prev = c;
	k->first = c;
	s->counters.connections_open++;
	s->counters.connections_total++;
	loop_fd_watch(c->watch, s->paused || k->resting ? 0 : LOOP_READ);
}

/* ---- the listener --------------------------------------------------------------------------------------------- */

static void refuse_connection(struct source_socket *k, int fd)
{
	close(fd);
	k->source->counters.connections_refused++;
	if (source_may_log(k->source))
		log_warn("source", "connection refused: %d are open, which is the limit; source=%s", SOURCE_TCP_CONNECTIONS_MAX,
		    k->source->conf->name);
}

/* Errors that concern only the connection that could not be accepted (accept(2)). */
static bool passes_by_itself(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == ENETDOWN || error == EHOSTDOWN ||
	    error == ENETUNREACH || error == EHOSTUNREACH || error == ENONET || error == EPERM;
}

static void accept_failed(struct source_socket *k, int error)
{
	if (passes_by_itself(error))
		return;
	watch_listener(k, false);
	loop_timer_start(k->accept_again, ACCEPT_RETRY_MS, 0);
	if (source_may_log(k->source))
		log_warn("source", "cannot accept connections: %s; source=%s open=%llu", strerror(error), k->source->conf->name,
		    (unsigned long long)k->source->counters.connections_open);
}

static void on_acceptable(void *arg, unsigned events)
{
	(void)events;
	struct source_socket *k = arg;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_in peer = {0}; /* of a unix socket's peer nothing is asked: what is longer is cut */
		socklen_t len = sizeof(peer);
		int fd = accept4(k->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				accept_failed(k, errno);
			return;
		}
		if (k->source->counters.connections_open >= SOURCE_TCP_CONNECTIONS_MAX)
			refuse_connection(k, fd);
		else
			connection_new(k, fd, &peer);
	}
}

static void on_accept_again(void *arg)
{
	watch_listener(arg, true);
}

int source_stream_open(struct source_socket *k)
{
	int rc = loop_fd_new(k->source->loop, k->fd, on_acceptable, k, &k->watch);
	if (rc)
		return rc;
	k->accept_again = loop_timer_new(k->source->loop, on_accept_again, k);
	k->again = loop_timer_new(k->source->loop, on_rested, k);
	k->chunk = xmalloc(SOURCE_CHUNK_BYTES);
	return 0;
}

void source_stream_pause(struct source_socket *k)
{
	watch_connections(k);
}

/* Connections that nobody has accepted yet stay where they are. */
bool source_stream_drain(struct source_socket *k)
{
	uint64_t before = k->source->counters.bytes;
	on_rested(k);
	for (struct source_connection *c = k->first, *next; c; c = next) {
		next = c->next;
		on_readable(c, LOOP_READ);
	}
	return k->source->counters.bytes != before;
}

void source_stream_close(struct source_socket *k)
{
	while (k->first) {
		refuse_rest(k->first);
		connection_free(k->first);
	}
	if (k->accept_again)
		loop_timer_free(k->accept_again);
	k->accept_again = NULL;
	free(k->chunk);
	k->chunk = NULL;
}
