/* The only file that includes zmq.h. Each option below is there for a trap that docs/ names: defaults of libzmq queue
 * without bound, drop silently and wait for ever. */
#include "common/msgq.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "common/addr.h"
#include "common/err.h"

#define LINGER_MS 200
#define HANDSHAKE_MS 3000
#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 2000
#define PING_MS 2000
#define PING_TIMEOUT_MS 6000
/* Frames of up to 256 KiB: enough to keep a link busy, little enough to hold in memory for each peer. */
/* libzmq 4.3.4 aborts (stream_engine_base.cpp, !_io_error) when a connection breaks whose input it has stopped because this mark was
 * reached: seen after SIGSTOP of a minute, when peers have given up what had filled it. A minute of heartbeats stays below. */
#define ROUTER_RCVHWM 1024
#define ROUTER_SNDHWM 256
#define DEALER_RCVHWM 1024
#define DEALER_SNDHWM 128
#define ROUTE_MAX 255
/* One socket's share of a turn. */
#define TURN_FRAMES_MAX 256
#define TURN_BYTES_MAX (8 * 1024 * 1024)
#define ENDPOINT_MAX 64

struct msgq {
	struct loop *loop;
	void *ctx;
	int linger_ms;
	struct msgq_socket *sockets;
	unsigned socket_count;
	atomic_uint_fast64_t received, received_bytes, sent, sent_bytes, bad_shape, refused_busy, refused_gone;
};

struct msgq_socket {
	struct msgq *m;
	struct msgq_socket *next;
	void *zmq;
	bool router;
	bool receiving, closed;
	bool used; /* since it was last found empty: that may have swallowed its descriptor's event */
	struct loop_drain *drain;
	msgq_frame_fn *fn;
	void *arg;
	char endpoint[ENDPOINT_MAX];
};

static void count(atomic_uint_fast64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

int msgq_new(struct loop *l, const struct msgq_options *o, struct msgq **ret_msgq)
{
	if (o->keys)
		return WEIR_EINVAL;
	void *ctx = zmq_ctx_new();
	if (!ctx)
		return WEIR_EFULL;
	zmq_ctx_set(ctx, ZMQ_MAX_SOCKETS, MSGQ_SOCKETS_MAX);
	zmq_ctx_set(ctx, ZMQ_IPV6, 0);
	struct msgq *m = xcalloc(1, sizeof(*m));
	m->loop = l;
	m->ctx = ctx;
	m->linger_ms = o->linger_ms ? o->linger_ms : LINGER_MS;
	*ret_msgq = m;
	return 0;
}

void msgq_free(struct msgq *m)
{
	if (!m)
		return;
	while (m->sockets)
		msgq_close(m->sockets);
	while (zmq_ctx_term(m->ctx) && errno == EINTR)
		;
	free(m);
}

/* ---- sockets ------------------------------------------------------------------------------------------------- */

static void set_int(void *zmq, int option, int value)
{
	weir_assert(zmq_setsockopt(zmq, option, &value, sizeof(value)) == 0);
}

static void set_options(struct msgq_socket *s)
{
	int64_t max = MSGQ_FRAME_MAX;
	weir_assert(zmq_setsockopt(s->zmq, ZMQ_MAXMSGSIZE, &max, sizeof(max)) == 0);
	set_int(s->zmq, ZMQ_IPV6, 0);
	set_int(s->zmq, ZMQ_LINGER, s->m->linger_ms);
	set_int(s->zmq, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
	set_int(s->zmq, ZMQ_HEARTBEAT_IVL, PING_MS);
	set_int(s->zmq, ZMQ_HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS);
	set_int(s->zmq, ZMQ_HEARTBEAT_TTL, PING_TIMEOUT_MS);
	set_int(s->zmq, ZMQ_RCVHWM, s->router ? ROUTER_RCVHWM : DEALER_RCVHWM);
	set_int(s->zmq, ZMQ_SNDHWM, s->router ? ROUTER_SNDHWM : DEALER_SNDHWM);
	if (s->router) {
		set_int(s->zmq, ZMQ_ROUTER_MANDATORY, 1);
	} else {
		set_int(s->zmq, ZMQ_IMMEDIATE, 1);
		set_int(s->zmq, ZMQ_RECONNECT_IVL, RECONNECT_MS);
		set_int(s->zmq, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
	}
}

static int check_address(const char *address, char **ret_why)
{
	struct addr a;
	if (strncmp(address, "tcp://", 6) || addr_parse(address, &a)) {
		*ret_why = xasprintf("%s is not of the form tcp://ADDRESS:PORT", address);
		return WEIR_EINVAL;
	}
	if (!addr_is_loopback(&a)) {
		*ret_why = xasprintf("%s is not a loopback address, and there are no keys yet", address);
		return WEIR_EINVAL;
	}
	return 0;
}

/* The socket's place in memory once nothing uses it any more. */
static void socket_end(struct msgq_socket *s)
{
	if (s->drain)
		loop_drain_free(s->drain);
	zmq_close(s->zmq);
	free(s);
}

static bool socket_drain(void *arg);
static bool socket_pending(void *arg);

static int socket_new(struct msgq *m, bool router, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket)
{
	if (m->socket_count >= MSGQ_SOCKETS_MAX)
		return WEIR_EFULL;
	void *zmq = zmq_socket(m->ctx, router ? ZMQ_ROUTER : ZMQ_DEALER);
	if (!zmq)
		return WEIR_EFULL;
	struct msgq_socket *s = xcalloc(1, sizeof(*s));
	s->m = m;
	s->zmq = zmq;
	s->router = router;
	s->fn = fn;
	s->arg = arg;
	set_options(s);
	*ret_socket = s;
	return 0;
}

static int socket_watch(struct msgq_socket *s)
{
	int fd;
	size_t n = sizeof(fd);
	weir_assert(zmq_getsockopt(s->zmq, ZMQ_FD, &fd, &n) == 0);
	int rc = loop_drain_new(s->m->loop, fd, socket_drain, socket_pending, s, &s->drain);
	if (rc)
		return rc;
	s->next = s->m->sockets;
	s->m->sockets = s;
	s->m->socket_count++;
	return 0;
}

static int open_socket(struct msgq *m, const char *address, bool router, msgq_frame_fn *fn, void *arg,
    struct msgq_socket **ret_socket, char **ret_why)
{
	int rc = check_address(address, ret_why);
	if (rc)
		return rc;
	struct msgq_socket *s;
	rc = socket_new(m, router, fn, arg, &s);
	if (rc) {
		*ret_why = xasprintf("%s: no socket: %s", address, err_text(rc));
		return rc;
	}
	if (router ? zmq_bind(s->zmq, address) : zmq_connect(s->zmq, address)) {
		int err = errno;
		rc = err == EADDRINUSE ? WEIR_EBUSY : err == EINVAL || err == EADDRNOTAVAIL ? WEIR_EINVAL : WEIR_EIO;
		*ret_why = xasprintf("%s: %s", address, zmq_strerror(err));
		socket_end(s);
		return rc;
	}
	size_t n = sizeof(s->endpoint);
	if (zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, s->endpoint, &n))
		s->endpoint[0] = 0;
	rc = socket_watch(s);
	if (rc) {
		*ret_why = xasprintf("%s: %s", address, err_text(rc));
		socket_end(s);
		return rc;
	}
	*ret_socket = s;
	return 0;
}

int msgq_bind(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why)
{
	return open_socket(m, address, true, fn, arg, ret_socket, ret_why);
}

int msgq_connect(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why)
{
	return open_socket(m, address, false, fn, arg, ret_socket, ret_why);
}

void msgq_close(struct msgq_socket *s)
{
	if (!s || s->closed)
		return;
	struct msgq_socket **at = &s->m->sockets;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->m->socket_count--;
	s->closed = true;
	if (!s->receiving)
		socket_end(s);
}

const char *msgq_endpoint(const struct msgq_socket *s)
{
	return s->endpoint;
}

/* ---- receiving ----------------------------------------------------------------------------------------------- */

/* Receives one part into msg (initialised). False: nothing there now. */
static bool receive_part(struct msgq_socket *s, zmq_msg_t *msg)
{
	int rc;
	do
		rc = zmq_msg_recv(msg, s->zmq, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	return rc >= 0;
}

/* The parts of one message are there all at once: libzmq delivers whole messages. */
static void skip_parts(struct msgq_socket *s)
{
	zmq_msg_t part;
	bool more = true;
	while (more) {
		zmq_msg_init(&part);
		more = receive_part(s, &part) && zmq_msg_more(&part);
		zmq_msg_close(&part);
	}
}

/* The frame behind a route, or alone. Adds its bytes to *bytes. */
static void receive_frame(struct msgq_socket *s, struct bytes route, zmq_msg_t *frame, size_t *bytes)
{
	size_t n = zmq_msg_size(frame);
	*bytes += n;
	if (zmq_msg_more(frame) || !n) {
		if (zmq_msg_more(frame))
			skip_parts(s);
		count(&s->m->bad_shape, 1);
		return;
	}
	count(&s->m->received, 1);
	count(&s->m->received_bytes, n);
	s->fn(s->arg, route, zmq_msg_data(frame), n);
}

/* False: nothing there now. */
static bool receive_one(struct msgq_socket *s, size_t *bytes)
{
	zmq_msg_t frame;
	uint8_t route[ROUTE_MAX];
	size_t route_len = 0;
	zmq_msg_init(&frame);
	bool got = receive_part(s, &frame);
	if (got && s->router) {
		route_len = zmq_msg_size(&frame);
		if (!zmq_msg_more(&frame) || route_len > sizeof(route) || !route_len) {
			if (zmq_msg_more(&frame))
				skip_parts(s);
			count(&s->m->bad_shape, 1);
			zmq_msg_close(&frame);
			return true;
		}
		memcpy(route, zmq_msg_data(&frame), route_len);
		zmq_msg_close(&frame);
		zmq_msg_init(&frame);
		got = receive_part(s, &frame);
	}
	if (got)
		receive_frame(s, bytes_of(route, route_len), &frame, bytes);
	zmq_msg_close(&frame);
	return got;
}

/* Asking, like sending, takes in what the descriptor's event was for. */
static bool ready_for(const struct msgq_socket *s, int wanted)
{
	int events = 0;
	size_t n = sizeof(events);
	return !zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &n) && (events & wanted);
}

/* Asking costs a system call or two: that is not done where nothing can have come. */
static bool readable(struct msgq_socket *s)
{
	if (!loop_drain_was_readable(s->drain) && !s->used)
		return false;
	s->used = ready_for(s, ZMQ_POLLIN);
	return s->used;
}

bool msgq_can_send(struct msgq_socket *s)
{
	weir_assert(!s->router && !s->closed);
	s->used = true;
	return ready_for(s, ZMQ_POLLOUT);
}

static bool socket_drain(void *arg)
{
	struct msgq_socket *s = arg;
	if (!readable(s))
		return false;
	size_t bytes = 0;
	bool more = true;
	s->receiving = true;
	for (unsigned i = 0; i < TURN_FRAMES_MAX && bytes < TURN_BYTES_MAX && more && !s->closed; i++)
		more = receive_one(s, &bytes);
	s->used = more;
	s->receiving = false;
	if (s->closed) {
		socket_end(s);
		return false;
	}
	return more;
}

/* A send of the end of the turn may have swallowed the descriptor's event. */
static bool socket_pending(void *arg)
{
	struct msgq_socket *s = arg;
	return readable(s);
}

/* ---- sending ------------------------------------------------------------------------------------------------- */

static int send_part(struct msgq_socket *s, const void *p, size_t n, int flags)
{
	int rc;
	s->used = true;
	do
		rc = zmq_send(s->zmq, p, n, ZMQ_DONTWAIT | flags);
	while (rc < 0 && errno == EINTR);
	if (rc >= 0)
		return 0;
	if (errno == EHOSTUNREACH) {
		count(&s->m->refused_gone, 1);
		return WEIR_ENOTFOUND;
	}
	count(&s->m->refused_busy, 1);
	return WEIR_EBUSY;
}

static int check_frame(const struct msgq_socket *s, size_t len)
{
	weir_assert(!s->closed);
	return !len ? WEIR_EINVAL : len > MSGQ_FRAME_MAX ? WEIR_ETOOBIG : 0;
}

static int count_sent(struct msgq_socket *s, size_t len, int rc)
{
	if (!rc) {
		count(&s->m->sent, 1);
		count(&s->m->sent_bytes, len);
	}
	return rc;
}

int msgq_send(struct msgq_socket *s, const void *frame, size_t len)
{
	weir_assert(!s->router);
	int rc = check_frame(s, len);
	return rc ? rc : count_sent(s, len, send_part(s, frame, len, 0));
}

int msgq_reply(struct msgq_socket *s, struct bytes route, const void *frame, size_t len)
{
	weir_assert(s->router);
	int rc = check_frame(s, len);
	if (rc)
		return rc;
	if (!route.n || route.n > ROUTE_MAX)
		return WEIR_ENOTFOUND;
	/* With MANDATORY the first part finds the peer and its room: the second is then always taken. */
	rc = send_part(s, route.p, route.n, ZMQ_SNDMORE);
	return rc ? rc : count_sent(s, len, send_part(s, frame, len, 0));
}

void msgq_counters(const struct msgq *m, struct msgq_counters *ret)
{
	*ret = (struct msgq_counters){
	    .received = atomic_load_explicit(&m->received, memory_order_relaxed),
	    .received_bytes = atomic_load_explicit(&m->received_bytes, memory_order_relaxed),
	    .sent = atomic_load_explicit(&m->sent, memory_order_relaxed),
	    .sent_bytes = atomic_load_explicit(&m->sent_bytes, memory_order_relaxed),
	    .bad_shape = atomic_load_explicit(&m->bad_shape, memory_order_relaxed),
	    .refused_busy = atomic_load_explicit(&m->refused_busy, memory_order_relaxed),
	    .refused_gone = atomic_load_explicit(&m->refused_gone, memory_order_relaxed),
	};
}
