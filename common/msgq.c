/* Sockets and frames. Each option below is there for a trap that docs/ names: defaults of libzmq queue
 * without bound, drop silently and wait for ever. */
#include "common/msgq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zmq.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/msgq_parts.h"

#define LINGER_MS 200
#define HANDSHAKE_MS 3000
#define END_MS 3000 /* for libzmq's own threads, beyond the linger */
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
/* Sockets that libzmq counts beside ours: of ZAP and monitors, and closed ones that it has not let go yet. */
#define SOCKETS_BESIDE 256
/* The thread of DEALERs to host names: libzmq resolves them there, and frames of others do not wait for it. */
#define IO_THREADS 2
#define NAMES_THREAD 2 /* a mask */
#define OTHERS_THREAD 1

void msgq_set_int(void *zmq, int option, int value)
{
	weir_assert(zmq_setsockopt(zmq, option, &value, sizeof(value)) == 0);
}

/* Once a LOOK_MS. */
static void look(void *arg)
{
	struct msgq *m = arg;
	msgq_keys_look(m);
	for (struct msgq_socket *s = m->sockets; s; s = s->next) {
		if (s->bound)
			msgq_door_look(s);
	}
	m->looks++;
}

int msgq_new(struct loop *l, const struct msgq_options *o, struct msgq **ret_msgq)
{
	void *ctx = zmq_ctx_new();
	if (!ctx)
		return WEIR_EFULL;
	zmq_ctx_set(ctx, ZMQ_MAX_SOCKETS, MSGQ_SOCKETS_MAX + SOCKETS_BESIDE);
	zmq_ctx_set(ctx, ZMQ_IO_THREADS, o->keys ? IO_THREADS : 1);
	zmq_ctx_set(ctx, ZMQ_IPV6, 0);
	struct msgq *m = xcalloc(1, sizeof(*m));
	m->loop = l;
	m->ctx = ctx;
	m->keys = o->keys;
	m->peers = o->peers;
	m->linger_ms = o->linger_ms ? o->linger_ms : LINGER_MS;
	int rc = msgq_keys_open(m); /* before any other socket: who comes without being asked about is let in */
	if (rc) {
		msgq_free(m);
		return rc;
	}
	m->look = loop_timer_new(l, look, m);
	loop_timer_start(m->look, LOOK_MS, LOOK_MS);
	*ret_msgq = m;
	return 0;
}

/* libzmq 4.3.4 may wait for ever for the end of a connection whose handshake the other side does not go on with (a stopped
 * process, a network that is cut): then the context, its threads and what it holds are left behind. */
struct ending {
	void *ctx;
	pthread_mutex_t mutex;
	pthread_cond_t ended;
	bool done, left; /* the context has ended; nobody waits for it any more */
};

static void ending_free(struct ending *e)
{
	pthread_cond_destroy(&e->ended);
	pthread_mutex_destroy(&e->mutex);
	free(e);
}

static void *end_context(void *arg)
{
	struct ending *e = arg;
	while (zmq_ctx_term(e->ctx) && errno == EINTR)
		;
	pthread_mutex_lock(&e->mutex);
	e->done = true;
	bool left = e->left;
	pthread_cond_signal(&e->ended);
	pthread_mutex_unlock(&e->mutex);
	if (left)
		ending_free(e);
	return NULL;
}

static struct ending *ending_new(void *ctx)
{
	struct ending *e = xcalloc(1, sizeof(*e));
	pthread_condattr_t attr;
	e->ctx = ctx;
	pthread_mutex_init(&e->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->ended, &attr);
	pthread_condattr_destroy(&attr);
	return e;
}

static void end_within(void *ctx, int ms)
{
	struct ending *e = ending_new(ctx);
	int64_t until_ns = clock_mono_ns() + ms * NS_PER_MS;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_t thread;
	int waited = pthread_create(&thread, NULL, end_context, e);
	if (waited) {
		end_context(e);
		ending_free(e);
		return;
	}
	pthread_mutex_lock(&e->mutex);
	while (!e->done && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&e->ended, &e->mutex, &ts);
	bool done = e->done;
	e->left = !done;
	pthread_mutex_unlock(&e->mutex);
	if (!done) {
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	ending_free(e);
}

void msgq_free(struct msgq *m)
{
	if (!m)
		return;
	while (m->sockets)
		msgq_close(m->sockets);
	if (m->look)
		loop_timer_free(m->look);
	msgq_keys_close(m);
	end_within(m->ctx, m->linger_ms + END_MS);
	free(m);
}

void msgq_expect(struct msgq *m, unsigned peers)
{
	if (peers <= m->peers)
		return;
	m->peers = peers;
	for (struct msgq_socket *s = m->sockets; s; s = s->next) {
		if (s->bound)
			msgq_door_expect(s);
	}
}

/* ---- sockets ------------------------------------------------------------------------------------------------- */

static void set_options(struct msgq_socket *s)
{
	int64_t max = MSGQ_FRAME_MAX;
	weir_assert(zmq_setsockopt(s->zmq, ZMQ_MAXMSGSIZE, &max, sizeof(max)) == 0);
	msgq_set_int(s->zmq, ZMQ_LINGER, s->m->linger_ms);
	msgq_set_int(s->zmq, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
	msgq_set_int(s->zmq, ZMQ_HEARTBEAT_IVL, PING_MS);
	msgq_set_int(s->zmq, ZMQ_HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS);
	msgq_set_int(s->zmq, ZMQ_HEARTBEAT_TTL, PING_TIMEOUT_MS);
	msgq_set_int(s->zmq, ZMQ_RCVHWM, s->bound ? ROUTER_RCVHWM : DEALER_RCVHWM);
	msgq_set_int(s->zmq, ZMQ_SNDHWM, s->bound ? ROUTER_SNDHWM : DEALER_SNDHWM);
	if (s->bound)
		msgq_set_int(s->zmq, ZMQ_BACKLOG, MSGQ_BACKLOG);
	if (s->publisher) {
		msgq_pub_options(s);
	} else if (s->bound) {
		msgq_set_int(s->zmq, ZMQ_ROUTER_MANDATORY, 1);
		msgq_set_int(s->zmq, ZMQ_ROUTER_HANDOVER, 0);
	} else {
		msgq_set_int(s->zmq, ZMQ_IMMEDIATE, 1);
		msgq_set_int(s->zmq, ZMQ_RECONNECT_IVL, RECONNECT_MS);
		msgq_set_int(s->zmq, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
	}
}

int msgq_check_address(const char *address, bool keys, char **ret_why)
{
	struct addr_host h;
	if (strncmp(address, "tcp://", 6) || addr_parse_host(address, &h)) {
		*ret_why = xasprintf("%s is not of the form tcp://HOST:PORT", address);
		return WEIR_EINVAL;
	}
	if (!keys && !h.loopback) {
		*ret_why = xasprintf("%s is not a loopback address, and with `security: none` everything stays on this machine", address);
		return WEIR_EINVAL;
	}
	return 0;
}

/* The socket's place in memory once nothing uses it any more. */
static void socket_end(struct msgq_socket *s)
{
	if (s->bound)
		msgq_door_close(s);
	msgq_dealer_close(s);
	free(s->address);
	free(s->peer);
	free(s);
}

static bool socket_drain(void *arg);
static bool socket_pending(void *arg);

static struct msgq_socket *socket_new(struct msgq *m, const char *address, bool bound, msgq_frame_fn *fn, void *arg)
{
	struct msgq_socket *s = xcalloc(1, sizeof(*s));
	s->m = m;
	s->bound = bound;
	s->fn = fn;
	s->arg = arg;
	s->address = xstrdup(address);
	s->door.fd = -1;
	return s;
}

static int socket_make(struct msgq_socket *s)
{
	s->zmq = zmq_socket(s->m->ctx, s->publisher ? ZMQ_XPUB : s->bound ? ZMQ_ROUTER : ZMQ_DEALER);
	if (!s->zmq)
		return WEIR_EFULL;
	set_options(s);
	msgq_keys_set(s);
	return 0;
}

static int socket_watch(struct msgq_socket *s)
{
	int fd;
	size_t n = sizeof(fd);
	weir_assert(zmq_getsockopt(s->zmq, ZMQ_FD, &fd, &n) == 0);
	s->used = true;
	return loop_drain_new(s->m->loop, fd, socket_drain, socket_pending, s, &s->drain);
}

static int zmq_code(int err)
{
	return err == EADDRINUSE ? WEIR_EBUSY : err == EINVAL || err == EADDRNOTAVAIL ? WEIR_EINVAL : WEIR_EIO;
}

int msgq_dealer_open(struct msgq_socket *s)
{
	struct addr_host h;
	weir_assert(!s->zmq && addr_parse_host(s->address, &h) == 0);
	int rc = socket_make(s);
	if (rc)
		return rc;
	if (s->m->keys) {
		uint64_t thread = h.kind == ADDR_NAME ? NAMES_THREAD : OTHERS_THREAD;
		weir_assert(zmq_setsockopt(s->zmq, ZMQ_AFFINITY, &thread, sizeof(thread)) == 0);
	}
	msgq_set_int(s->zmq, ZMQ_IPV6, h.kind != ADDR_IPV4);
	char *address = h.kind == ADDR_IPV6 ? xasprintf("tcp://[%s]:%u", h.host, h.port) : xasprintf("tcp://%s:%u", h.host, h.port);
	if (zmq_connect(s->zmq, address))
		rc = zmq_code(errno);
	free(address);
	if (!rc)
		rc = socket_watch(s);
	if (rc)
		msgq_dealer_close(s);
	return rc;
}

void msgq_dealer_close(struct msgq_socket *s)
{
	if (s->drain)
		loop_drain_free(s->drain);
	if (s->zmq)
		zmq_close(s->zmq);
	s->drain = NULL;
	s->zmq = NULL;
}

/* The socket is open, or is told why not and ends. */
static int finish_open(struct msgq_socket *s, int rc, struct msgq_socket **ret_socket, char **ret_why)
{
	struct msgq *m = s->m;
	if (rc) {
		char *why = *ret_why;
		*ret_why = xasprintf("%s: %s", s->address, why ? why : err_text(rc));
		free(why);
		socket_end(s);
		return rc;
	}
	s->next = m->sockets;
	m->sockets = s;
	m->socket_count++;
	*ret_socket = s;
	return 0;
}

static int check_open(const struct msgq *m, const char *address, char **ret_why)
{
	*ret_why = NULL;
	int rc = msgq_check_address(address, m->keys, ret_why);
	if (!rc && m->socket_count >= MSGQ_SOCKETS_MAX) {
		rc = WEIR_EFULL;
		*ret_why = xasprintf("%s: more than %d sockets", address, MSGQ_SOCKETS_MAX);
	}
	return rc;
}

static int bind_socket(struct msgq *m, const char *address, bool publisher, msgq_frame_fn *fn, void *arg,
    struct msgq_socket **ret_socket, char **ret_why)
{
	int rc = check_open(m, address, ret_why);
	if (rc)
		return rc;
	struct msgq_socket *s = socket_new(m, address, true, fn, arg);
	s->publisher = publisher;
	rc = socket_make(s);
	if (!rc)
		rc = msgq_door_open(s, ret_why);
	if (!rc)
		rc = socket_watch(s);
	return finish_open(s, rc, ret_socket, ret_why);
}

int msgq_bind(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why)
{
	return bind_socket(m, address, false, fn, arg, ret_socket, ret_why);
}

static void hear_nothing(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)arg, (void)route, (void)who, (void)frame, (void)len;
}

int msgq_bind_publisher(struct msgq *m, const char *address, struct msgq_socket **ret_socket, char **ret_why)
{
	return bind_socket(m, address, true, hear_nothing, NULL, ret_socket, ret_why);
}

int msgq_connect(struct msgq *m, const char *address, const char *peer, msgq_frame_fn *fn, void *arg,
    struct msgq_socket **ret_socket, char **ret_why)
{
	int rc = check_open(m, address, ret_why);
	if (rc)
		return rc;
	struct msgq_socket *s = socket_new(m, address, false, fn, arg);
	s->peer = xstrdup(peer);
	if (!m->keys || msgq_keys_pick(s))
		rc = msgq_dealer_open(s);
	else
		snprintf(s->endpoint, sizeof(s->endpoint), "%s", address);
	return finish_open(s, rc, ret_socket, ret_why);
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

/* Whose frame it is, by the key that its connection was authenticated with: "" without keys, NULL where the key is nobody's any
 * more. The identity frame of a ROUTER would not do: the first one after a look at ZMQ_EVENTS has no properties. */
static const char *sender_of(struct msgq_socket *s, int fd, zmq_msg_t *frame)
{
	if (!s->m->keys)
		return "";
	if (!s->bound)
		return s->peer; /* the handshake has shown it */
	const char *user = zmq_msg_gets(frame, "User-Id"), *key = zmq_msg_gets(frame, "Weir-Key");
	if (!user || !key || !keys_owns(s->m->keys, user, key))
		return NULL;
	msgq_door_knows(s, fd, user, key);
	return user;
}

/* The frame behind a route, or alone. Adds its bytes to *bytes. */
static void receive_frame(struct msgq_socket *s, struct bytes route, zmq_msg_t *frame, size_t *bytes)
{
	size_t n = zmq_msg_size(frame);
	*bytes += n;
	int fd = s->bound ? zmq_msg_get(frame, ZMQ_SRCFD) : -1;
	bool late = s->bound && !msgq_door_heard(s, fd, route); /* what it sent before it was cut comes after its end */
	s->answered = s->heard = true;
	if (zmq_msg_more(frame) || !n) {
		if (zmq_msg_more(frame))
			skip_parts(s);
		msgq_count(&s->m->bad_shape, 1);
		return;
	}
	if (s->bound && (route.n != ROUTE_BYTES || route.p[0] != 0)) {
		msgq_count(&s->m->refused_route, 1);
		return;
	}
	const char *who = sender_of(s, late ? -1 : fd, frame);
	if (!who) {
		msgq_count(&s->m->refused_key, 1);
		if (!late && msgq_door_dooms(s, fd))
			s->fn(s->arg, route, NULL, NULL, 0);
		return;
	}
	msgq_count(&s->m->received, 1);
	msgq_count(&s->m->received_bytes, n);
	s->fn(s->arg, route, who, zmq_msg_data(frame), n);
}

/* False: nothing there now. */
static bool receive_one(struct msgq_socket *s, size_t *bytes)
{
	zmq_msg_t frame;
	uint8_t route[ROUTE_MAX];
	size_t route_len = 0;
	zmq_msg_init(&frame);
	bool got = receive_part(s, &frame);
	if (got && s->bound) {
		route_len = zmq_msg_size(&frame);
		if (!zmq_msg_more(&frame) || route_len > sizeof(route) || !route_len) {
			if (zmq_msg_more(&frame))
				skip_parts(s);
			msgq_count(&s->m->bad_shape, 1);
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
	else
		s->emptied = true;
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
	if (loop_drain_was_readable(s->drain) || s->used)
		s->used = ready_for(s, ZMQ_POLLIN);
	s->emptied = s->emptied || !s->used;
	return s->used;
}

bool msgq_can_send(struct msgq_socket *s)
{
	weir_assert(!s->bound && !s->closed);
	if (!s->zmq)
		return false;
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
		more = s->publisher ? msgq_pub_receive(s, &bytes) : receive_one(s, &bytes);
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
		msgq_count(&s->m->refused_gone, 1);
		return WEIR_ENOTFOUND;
	}
	msgq_count(&s->m->refused_busy, 1);
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
		msgq_count(&s->m->sent, 1);
		msgq_count(&s->m->sent_bytes, len);
	}
	return rc;
}

int msgq_send(struct msgq_socket *s, const void *frame, size_t len)
{
	weir_assert(!s->bound);
	int rc = check_frame(s, len);
	if (!rc && !s->zmq) { /* its peer has no key yet */
		msgq_count(&s->m->refused_busy, 1);
		return WEIR_EBUSY;
	}
	return rc ? rc : count_sent(s, len, send_part(s, frame, len, 0));
}

int msgq_reply(struct msgq_socket *s, struct bytes route, const void *frame, size_t len)
{
	weir_assert(s->bound && !s->publisher);
	int rc = check_frame(s, len);
	if (rc)
		return rc;
	if (!route.n || route.n > ROUTE_MAX)
		return WEIR_ENOTFOUND;
	/* With MANDATORY the first part finds the peer and its room: the second is then always taken. */
	rc = send_part(s, route.p, route.n, ZMQ_SNDMORE);
	return rc ? rc : count_sent(s, len, send_part(s, frame, len, 0));
}

static uint64_t get(const msgq_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void msgq_counters(const struct msgq *m, struct msgq_counters *ret)
{
	*ret = (struct msgq_counters){
	    .received = get(&m->received),
	    .received_bytes = get(&m->received_bytes),
	    .sent = get(&m->sent),
	    .sent_bytes = get(&m->sent_bytes),
	    .bad_shape = get(&m->bad_shape),
	    .refused_busy = get(&m->refused_busy),
	    .refused_gone = get(&m->refused_gone),
	    .refused_key = get(&m->refused_key),
	    .greedy = get(&m->greedy),
	    .refused_route = get(&m->refused_route),
	    .accepted = get(&m->accepted),
	    .authenticated = get(&m->authenticated),
	    .unfinished = get(&m->unfinished),
	    .ended = get(&m->ended),
	    .accept_failed = get(&m->accept_failed),
	    .shut = get(&m->shut),
	    .connections = get(&m->connections),
	    .connections_max = get(&m->connections_max),
	    .keys = get(&m->keys_allowed),
	    .keys_broken = get(&m->keys_broken),
	};
	for (size_t i = 0; i < MSGQ_REFUSALS; i++)
		ret->handshakes_refused[i] = get(&m->handshakes_refused[i]);
}
