/* Datagrams: received in batches, each complete in itself.
 *
 * recvmmsg -> truncated? -> reader, finished -> ... until nothing is left, or the turn has had its share: the rest of the batch,
 * and of the datagram, is for the next turn then.
 * What the kernel drops because its buffer is full is asked of it (SO_MEMINFO: also when nothing came after the drop, other
 * than the count that SO_RXQ_OVFL puts beside a datagram). */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "edged/source_socket.h"

struct source_batch {
	struct mmsghdr messages[SOURCE_DATAGRAM_BATCH];
	struct iovec parts[SOURCE_DATAGRAM_BATCH];
	struct sockaddr_in peers[SOURCE_DATAGRAM_BATCH];
	size_t count, next, at;   /* received; of these the one at hand, and how much of it was taken */
	struct sockaddr_in named; /* whom the parser's peer names */
	uint8_t *bytes;           /* pages of it that no datagram was long enough for are never touched */
};

/* ---- what the kernel says --------------------------------------------------------------------------------------------- */

static uint32_t kernel_dropped(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(info);
	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) ? 0 : info[SK_MEMINFO_DROPS];
}

/* The kernel's count is of 32 bits: it goes round. */
uint64_t source_datagram_dropped(const struct source_socket *k)
{
	if (!k->batch)
		return k->dropped;
	return k->dropped + (uint32_t)(kernel_dropped(k->fd) - k->kernel_dropped);
}

void source_datagram_look(struct source_socket *k)
{
	uint32_t now = kernel_dropped(k->fd), more = now - k->kernel_dropped;
	if (!more)
		return;
	k->dropped += more;
	k->kernel_dropped = now;
	if (source_may_log(k->source))
		log_warn("source", "the kernel dropped datagrams, as they came faster than they were read; source=%s dropped=%" PRIu32
		                   " receive_buffer_bytes=%" PRIu64,
		    k->source->conf->name, more, k->buffer_bytes);
}

/* Of a unix socket the senders' buffers count. The kernel doubles what it is asked for, for what it needs beside, and says so. */
static void ask_for_room(struct source_socket *k)
{
	const struct source_conf *c = k->source->conf;
	int wanted = (int)c->socket.buffer_bytes, granted = 0;
	socklen_t len = sizeof(granted);
	if (k->path)
		return;
	if (setsockopt(k->fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)))
		setsockopt(k->fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted));
	if (!getsockopt(k->fd, SOL_SOCKET, SO_RCVBUF, &granted, &len))
		k->buffer_bytes = (uint64_t)granted / 2;
	if (k->buffer_bytes < c->socket.buffer_bytes)
		log_warn("source", "the kernel grants a smaller receive buffer than `buffer` asks for (sysctl net.core.rmem_max); source=%s "
		                   "receive_buffer_bytes=%" PRIu64 " buffer_bytes=%" PRIu64,
		    c->name, k->buffer_bytes, c->socket.buffer_bytes);
	else
		log_info("source", "receiving datagrams; source=%s receive_buffer_bytes=%" PRIu64, c->name, k->buffer_bytes);
}

/* ---- receiving ---------------------------------------------------------------------------------------------------------- */

static struct source_batch *batch_new(void)
{
	struct source_batch *b = xcalloc(1, sizeof(*b));
	b->bytes = xmalloc((size_t)SOURCE_DATAGRAM_BATCH * SOURCE_DATAGRAM_BYTES);
	for (size_t i = 0; i < SOURCE_DATAGRAM_BATCH; i++) {
		b->parts[i] = (struct iovec){b->bytes + i * SOURCE_DATAGRAM_BYTES, SOURCE_DATAGRAM_BYTES};
		b->messages[i].msg_hdr = (struct msghdr){.msg_name = &b->peers[i], .msg_iov = &b->parts[i], .msg_iovlen = 1};
	}
	return b;
}

/* How many came; 0: none for now. */
static size_t receive(struct source_socket *k)
{
	struct source_batch *b = k->batch;
	for (;;) {
		for (size_t i = 0; i < SOURCE_DATAGRAM_BATCH; i++)
			b->messages[i].msg_hdr.msg_namelen = k->path ? 0 : sizeof(b->peers[i]);
		int n = recvmmsg(k->fd, b->messages, SOURCE_DATAGRAM_BATCH, MSG_DONTWAIT, NULL);
		if (n >= 0)
			return (size_t)n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK && source_may_log(k->source))
			log_warn("source", "cannot receive datagrams: %s; source=%s", strerror(errno), k->source->conf->name);
		return 0;
	}
}

/* Mostly it is the one of before. */
static void name_peer(struct source_socket *k, const struct sockaddr_in *peer)
{
	struct source_batch *b = k->batch;
	char ip[INET_ADDRSTRLEN] = "?";
	if (k->path || !memcmp(&b->named, peer, sizeof(*peer)))
		return;
	b->named = *peer;
	inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip));
	snprintf(k->parser->peer, sizeof(k->parser->peer), "%s:%u", ip, ntohs(peer->sin_port));
}

/* Where a datagram that was cut ends nobody knows, so none of its lines counts. */
static void refuse_truncated(struct source_socket *k)
{
	k->truncated++;
	source_refuse(k->parser, SOURCE_REFUSED_TRUNCATED, "a datagram of more than 64 KiB", bytes_of(NULL, 0));
}

/* Whether it is taken, to its end. */
static bool take_bytes(struct source_socket *k, size_t len, uint64_t lines_end)
{
	struct source_batch *b = k->batch;
	size_t piece = k->reader->piece ? k->reader->piece : SOURCE_DATAGRAM_BYTES;
	const uint8_t *bytes = b->parts[b->next].iov_base;
	while (b->at < len) {
		size_t n = len - b->at < piece ? len - b->at : piece;
		k->reader->feed(k->parser, bytes + b->at, n);
		b->at += n;
		if (b->at < len && k->source->counters.lines >= lines_end)
			return false;
	}
	k->reader->finish(k->parser);
	b->at = 0;
	return true;
}

/* Of the one at hand likewise. */
static bool take(struct source_socket *k, uint64_t lines_end)
{
	struct source_batch *b = k->batch;
	const struct mmsghdr *m = &b->messages[b->next];
	if (b->at)
		return take_bytes(k, m->msg_len, lines_end);
	k->datagrams++;
	name_peer(k, &b->peers[b->next]);
	if (!(m->msg_hdr.msg_flags & MSG_TRUNC))
		return take_bytes(k, m->msg_len, lines_end);
	refuse_truncated(k);
	return true;
}

static bool is_left(const struct source_batch *b)
{
	return b->next < b->count;
}

/* False: some of it is left for another turn. */
static bool take_batch(struct source_socket *k, uint64_t lines_end)
{
	struct source_batch *b = k->batch;
	while (is_left(b)) {
		if (!take(k, lines_end))
			return false;
		b->next++;
		if (is_left(b) && k->source->counters.lines >= lines_end)
			return false;
	}
	return true;
}

/* A turn. Whether there may be more. */
static bool take_turn(struct source_socket *k)
{
	struct source_batch *b = k->batch;
	const struct source_counters *c = &k->source->counters;
	uint64_t bytes = c->bytes + SOURCE_TURN_BYTES, lines = c->lines + SOURCE_TURN_LINES, all = k->datagrams + SOURCE_TURN_DATAGRAMS;
	if (!take_batch(k, lines))
		return true;
	while (c->bytes < bytes && c->lines < lines && k->datagrams < all) {
		b->next = 0;
		b->count = receive(k);
		if (!take_batch(k, lines))
			return true;
		if (b->count < SOURCE_DATAGRAM_BATCH)
			return false;
	}
	return true;
}

/* Of what the kernel holds it tells by itself. */
static void go_on_with_batch(struct source_socket *k)
{
	if (is_left(k->batch) && !k->source->paused)
		loop_timer_start(k->again, SOURCE_PUMP_MS, 0);
}

static void on_datagrams(void *arg, unsigned events)
{
	(void)events;
	struct source_socket *k = arg;
	take_turn(k);
	go_on_with_batch(k);
}

static void on_again(void *arg)
{
	struct source_socket *k = arg;
	if (!k->source->paused)
		on_datagrams(k, 0);
}

void source_datagram_pause(struct source_socket *k)
{
	if (k->batch)
		go_on_with_batch(k);
}

bool source_datagram_drain(struct source_socket *k)
{
	return take_turn(k);
}

/* ---- the socket --------------------------------------------------------------------------------------------------------- */

int source_datagram_open(struct source_socket *k)
{
	ask_for_room(k);
	k->batch = batch_new();
	k->parser = source_reader_new(k);
	k->kernel_dropped = kernel_dropped(k->fd);
	k->again = loop_timer_new(k->source->loop, on_again, k);
	return loop_fd_new(k->source->loop, k->fd, on_datagrams, k, &k->watch);
}

void source_datagram_close(struct source_socket *k)
{
	if (!k->batch)
		return;
	source_datagram_look(k);
	source_reader_free(k, k->parser);
	free(k->batch->bytes);
	free(k->batch);
	k->batch = NULL;
	k->parser = NULL;
}
