/* libmicrohttpd's side: connections and their limits, callbacks, opening and closing.
 *
 * A connection is in the guard's table from its acceptance until libmicrohttpd is about to close its descriptor, all under
 * the mutex; so whoever finds it there may shut its socket down, which makes libmicrohttpd give it up. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/http_internal.h"

#define CONNECTIONS_MAX 100
#define HEAD_MS 10000
#define IDLE_MS 30000
#define STALL_MS 10000
#define SWEEP_MS 500
#define FLUSH_TURNS 16
#define TURN_NS (5 * NS_PER_MS) /* about what a source takes */
#define TCP_CLOSE_STATE 7 /* the kernel's; its headers and libc's do not go together */
#define TCP_CLOSE_WAIT_STATE 8
#define BACKLOG 128
#define SOCKET_BUFFER_BYTES (256 * 1024) /* each way: what the kernel holds for one peer */
#define CUT_SLACK 64 /* connections that are cut, and whose threads end just now */
#define CONNECTION_MEMORY_BYTES (32 * 1024) /* bounds the request's head */
/* Handlers keep their data on the heap; address sanitizing needs more room than they do. */
#define THREAD_STACK_BYTES (1024 * 1024)

/* ---- connections ---------------------------------------------------------------------------------------------- */

static struct http_guard_sample sample(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	int queued = 0;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) || ioctl(fd, SIOCOUTQ, &queued))
		return (struct http_guard_sample){0};
	return (struct http_guard_sample){info.tcpi_bytes_received, info.tcpi_bytes_acked, queued > 0,
	    info.tcpi_state == TCP_CLOSE_WAIT_STATE};
}

static void count(struct http_server *s, enum http_guard_why why)
{
	atomic_fetch_add_explicit(&s->ended[why], 1, memory_order_relaxed);
}

/* Under the mutex. The kernel forgets what it still had to send. */
static void end_connection(struct http_server *s, const struct http_guard_conn *c, enum http_guard_why why)
{
	struct linger now = {1, 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	shutdown(c->fd, SHUT_RDWR);
	count(s, why);
}

static uint32_t address_of(const struct sockaddr *a)
{
	struct sockaddr_in sin = {0};
	if (a && a->sa_family == AF_INET)
		memcpy(&sin, a, sizeof(sin));
	return sin.sin_addr.s_addr;
}

/* On the accepting thread; on_connection follows for those let in. */
static enum MHD_Result on_accept(void *cls, const struct sockaddr *address, socklen_t len)
{
	(void)len;
	struct http_server *s = cls;
	struct http_guard_conn *victim;
	pthread_mutex_lock(&s->mutex);
	enum http_guard_why why =
	    http_guard_admit(s->guard, address_of(address), clock_mono_ns(), &s->next_reserve, &victim);
	if (!why && victim)
		end_connection(s, victim, HTTP_WHY_REPLACED);
	pthread_mutex_unlock(&s->mutex);
	if (why)
		count(s, why);
	return why ? MHD_NO : MHD_YES;
}

static void connection_begins(struct http_server *s, struct MHD_Connection *connection, void **socket_context)
{
	const union MHD_ConnectionInfo *peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const union MHD_ConnectionInfo *socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct http_conn *c = xcalloc(1, sizeof(*c));
	uint32_t address = address_of(peer ? peer->client_addr : NULL);
	pthread_mutex_lock(&s->mutex);
	c->guard = http_guard_add(s->guard, socket->connect_fd, address, s->next_reserve, clock_mono_ns());
	c->guard->user = c;
	pthread_mutex_unlock(&s->mutex);
	if (s->auth)
		tls_server_bind(http_auth_tls(s->auth), c->guard->fd);
	*socket_context = c;
}

static void connection_ends(struct http_server *s, struct http_conn *c)
{
	struct http_guard_conn *g = c->guard;
	bool received = sample(g->fd).received > 0;
	tls_server_unbind(g->fd);
	pthread_mutex_lock(&s->mutex);
	if (!g->kept && !g->cut && received)
		count(s, HTTP_WHY_MALFORMED);
	http_guard_remove(s->guard, g);
	pthread_mutex_unlock(&s->mutex);
	free(c);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
    enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		connection_begins(cls, connection, socket_context);
	} else if (*socket_context) {
		connection_ends(cls, *socket_context);
		*socket_context = NULL;
	}
}

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info->socket_context;
}

static void enter_phase(struct http_server *s, struct http_conn *c, enum http_phase phase)
{
	struct http_guard_sample now = sample(c->guard->fd);
	pthread_mutex_lock(&s->mutex);
	http_guard_phase(c->guard, phase, now.received, now.acked, clock_mono_ns());
	if (phase == HTTP_PHASE_HEAD)
		c->authorised = false;
	pthread_mutex_unlock(&s->mutex);
}

/* ---- the watch over them ----------------------------------------------------------------------------------------- */

/* Whether the token of a request that is being answered was taken back meanwhile. */
static bool is_revoked(struct http_server *s, const struct http_conn *c)
{
	return c->authorised && http_auth_role(s->auth, c->hash) < c->role;
}

static void sweep(struct http_server *s)
{
	bool tokens_changed = false, bad = false;
	char *notice = NULL;
	if (s->auth)
		tokens_changed = http_auth_poll(s->auth, &notice, &bad);
	if (notice && s->notice)
		s->notice(s->arg, bad, notice);
	free(notice);
	pthread_mutex_lock(&s->mutex);
	int64_t now_ns = clock_mono_ns();
	for (struct http_guard_conn *c = http_guard_first(s->guard); c; c = c->next) {
		if (c->cut)
			continue;
		struct http_guard_sample x = sample(c->fd);
		enum http_guard_why why = http_guard_watch(s->guard, c, &x, now_ns);
		if (!why && tokens_changed && is_revoked(s, c->user)) {
			why = HTTP_WHY_REVOKED;
			http_guard_cut(s->guard, c);
		}
		if (why)
			end_connection(s, c, why);
	}
	pthread_mutex_unlock(&s->mutex);
}

/* libmicrohttpd does not look at connections that are suspended; one whose peer has ended its side it would not answer. */
static bool is_gone(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) &&
	    (info.tcpi_state == TCP_CLOSE_STATE || info.tcpi_state == TCP_CLOSE_WAIT_STATE);
}

/* Deferred requests belong to the loop's thread, as does whatever cuts connections there. */
static struct http_request *find_gone(const struct http_server *s)
{
	struct http_request *r = s->deferred;
	while (r && !r->conn->guard->cut && !is_gone(r->conn->guard->fd))
		r = r->next;
	return r;
}

static void abandon_gone(struct http_server *s)
{
	for (struct http_request *r; (r = find_gone(s));)
		http_request_abandon(r);
}

static void *run_sweeper(void *arg)
{
	struct http_server *s = arg;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	pthread_mutex_lock(&s->mutex);
	while (!atomic_load(&s->stopping)) {
		t.tv_nsec += SWEEP_MS * NS_PER_MS;
		t.tv_sec += t.tv_nsec / NS_PER_SEC;
		t.tv_nsec %= NS_PER_SEC;
		while (!atomic_load(&s->stopping) && !pthread_cond_timedwait(&s->wake, &s->mutex, &t)) {
		}
		pthread_mutex_unlock(&s->mutex);
		sweep(s);
		clock_gettime(CLOCK_MONOTONIC, &t);
		pthread_mutex_lock(&s->mutex);
	}
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

/* ---- the library's callbacks ----------------------------------------------------------------------------------- */

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *data, size_t *data_len, void **con_cls)
{
	(void)version;
	struct http_server *s = cls;
	struct http_request *r = *con_cls;
	if (!r) { /* the head is here; the body comes in later calls */
		r = xcalloc(1, sizeof(*r));
		r->server = s;
		r->connection = connection;
		r->conn = conn_of(connection);
		r->path = url;
		r->method = method;
		*con_cls = r;
		atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
		enter_phase(s, r->conn, HTTP_PHASE_BODY);
		http_request_begin(r);
		return MHD_YES;
	}
	if (*data_len)
		return http_request_take_body(r, data, data_len);
	if (r->waiting == HTTP_RESUMED || r->waiting == HTTP_GONE)
		return http_request_resumed(r);
	if (r->answered)
		return MHD_YES;
	enter_phase(s, r->conn, HTTP_PHASE_ANSWER);
	r->path = url;
	r->method = method;
	http_request_finish(r);
	return http_request_suspend(r) ? MHD_YES : r->result;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
    enum MHD_RequestTerminationCode code)
{
	(void)connection;
	(void)code;
	struct http_request *r = *con_cls;
	if (!r)
		return;
	enter_phase(cls, r->conn, HTTP_PHASE_HEAD);
	http_request_free(r);
	*con_cls = NULL;
}

/* The library's own messages are about clients that misbehave: the counters tell of them. */
static void on_log(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	(void)fmt;
	(void)ap;
}

/* ---- on a loop ----------------------------------------------------------------------------------------------- */

/* Not driven from outside, libmicrohttpd would wake itself. */
void http_server_wake(struct http_server *s)
{
	s->woken = true;
	loop_timer_start(s->timer, 0, 0);
}

/* Until there is nothing to do at once, which *ret_ms says, or it has had its share of the loop's turn: a connection gives some kilobytes
 * each time. False: nothing is due. */
static bool run_for_a_turn(struct http_server *s, MHD_UNSIGNED_LONG_LONG *ret_ms)
{
	int64_t until_ns = clock_mono_ns() + TURN_NS;
	bool due;
	do {
		s->woken = false;
		MHD_run(s->daemon);
		*ret_ms = 0;
		due = s->woken || MHD_get_timeout(s->daemon, ret_ms) == MHD_YES;
	} while (due && !*ret_ms && clock_mono_ns() < until_ns);
	return due;
}

static void server_work(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	if (run_for_a_turn(s, &timeout_ms))
		loop_timer_start(s->timer, timeout_ms, 0);
	else
		loop_timer_stop(s->timer);
}

static void on_readable(void *arg, unsigned events)
{
	(void)events;
	server_work(arg);
}

static void on_timeout(void *arg)
{
	server_work(arg);
}

static void on_sweep(void *arg)
{
	sweep(arg);
	abandon_gone(arg);
}

static int join_loop(struct http_server *s, struct loop *l)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || loop_fd_new(l, info->epoll_fd, on_readable, s, &s->fd))
		return WEIR_EIO;
	s->timer = loop_timer_new(l, on_timeout, s);
	s->sweep = loop_timer_new(l, on_sweep, s);
	loop_timer_start(s->sweep, SWEEP_MS, SWEEP_MS);
	loop_fd_watch(s->fd, LOOP_READ);
	return 0;
}

static int start_sweeper(struct http_server *s)
{
	s->has_sweeper = !pthread_create(&s->sweeper, NULL, run_sweeper, s);
	return s->has_sweeper ? 0 : WEIR_EIO;
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static int check_address(const char *address, bool keys, struct addr *ret_addr, char **ret_why)
{
	if (addr_parse(address, ret_addr)) {
		*ret_why = xasprintf("%s is not of the form ADDRESS:PORT", address);
		return WEIR_EINVAL;
	}
	if (!keys && !addr_is_loopback(ret_addr)) {
		*ret_why = xasprintf("%s is not a loopback address, and HTTP off loopback needs TLS and tokens: set "
				     "`cluster.security: {keys: DIR}`, and let `weirctl keygen` make what goes there",
		    address);
		return WEIR_EINVAL;
	}
	return 0;
}

int http_check(const char *listen_on, const char *keys_dir, const char *name, char **ret_why)
{
	struct addr a;
	struct http_auth *auth = NULL;
	int rc = check_address(listen_on, keys_dir, &a, ret_why);
	if (!rc && keys_dir && name)
		rc = http_auth_open(keys_dir, name, &auth, ret_why);
	http_auth_close(auth);
	return rc;
}

static int listen_on(const char *address, bool keys, int *ret_fd, uint16_t *ret_port, char **ret_why)
{
	struct addr a;
	int rc = check_address(address, keys, &a, ret_why);
	if (rc)
		return rc;
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, sizeof(a.ip));
	int one = 1, room = SOCKET_BUFFER_BYTES;
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) && /* both are inherited by connections */
	    !bind(fd, (struct sockaddr *)&sin, sizeof(sin)) && !listen(fd, BACKLOG) &&
	    !getsockname(fd, (struct sockaddr *)&sin, &len)) {
		*ret_fd = fd;
		*ret_port = ntohs(sin.sin_port);
		return 0;
	}
	int err = errno;
	if (fd >= 0)
		close(fd);
	*ret_why = xasprintf("%s: %s", address, strerror(err));
	return err == EADDRINUSE ? WEIR_EBUSY : err == EACCES ? WEIR_EINVAL : WEIR_EIO;
}

static struct http_guard *new_guard(const struct http_options *o)
{
	unsigned connections = o->connections_max ? o->connections_max : CONNECTIONS_MAX;
	struct http_guard_limits l = {.connections_max = connections,
	    .reserve = o->reserve,
	    .per_address_max = o->per_address_max ? o->per_address_max : connections,
	    .head_ms = o->head_ms ? o->head_ms : HEAD_MS,
	    .idle_ms = o->idle_ms ? o->idle_ms : IDLE_MS,
	    .stall_ms = o->stall_ms ? o->stall_ms : STALL_MS,
	    .bytes_per_s = HTTP_PACE_BYTES_PER_S};
	return http_guard_new(&l);
}

static struct MHD_Daemon *start(struct http_server *s, const struct http_options *o, int fd)
{
	unsigned flags = MHD_USE_ERROR_LOG | (o->loop ? MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME
						      : MHD_USE_INTERNAL_POLLING_THREAD |
							    MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL);
	unsigned connections = (o->connections_max ? o->connections_max : CONNECTIONS_MAX) + o->reserve + CUT_SLACK;
	struct MHD_OptionItem ops[] = {
	    {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, NULL},
	    {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
	    {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)connections, NULL},
	    {MHD_OPTION_CONNECTION_TIMEOUT, 0, NULL}, /* the guard's times are stricter */
	    {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, NULL},
	    {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
	    {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
	    {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
	    {MHD_OPTION_END, 0, NULL}, /* room for the three below */
	    {MHD_OPTION_END, 0, NULL},
	    {MHD_OPTION_END, 0, NULL},
	    {MHD_OPTION_END, 0, NULL},
	};
	size_t at = sizeof(ops) / sizeof(ops[0]) - 4;
	if (!o->loop)
		ops[at++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK_BYTES, NULL};
	if (s->auth) {
		flags |= MHD_USE_TLS;
		ops[at++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_server_callback()};
		ops[at++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES};
	}
	return MHD_start_daemon(flags, 0, on_accept, s, on_request, s, MHD_OPTION_ARRAY, ops, MHD_OPTION_END);
}

static struct http_server *new_server(const struct http_options *o, struct http_auth *auth, uint16_t port)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&s->mutex, NULL);
	s->routes = o->routes;
	s->route_count = o->route_count;
	s->arg = o->arg;
	s->body_max = o->body_max;
	s->bodies_max = o->bodies_max;
	s->notice = o->notice;
	s->port = port;
	s->auth = auth;
	s->guard = new_guard(o);
	return s;
}

int http_open(const struct http_options *o, struct http_server **ret_server, char **ret_why)
{
	weir_assert(o->route_count <= HTTP_ROUTES_MAX);
	int fd;
	uint16_t port;
	struct http_auth *auth = NULL;
	int rc = listen_on(o->listen, o->keys_dir, &fd, &port, ret_why);
	if (rc)
		return rc;
	if (o->keys_dir)
		rc = http_auth_open(o->keys_dir, o->name, &auth, ret_why);
	if (rc) {
		close(fd);
		return rc;
	}
	struct http_server *s = new_server(o, auth, port);
	s->daemon = start(s, o, fd);
	if (!s->daemon || (o->loop ? join_loop(s, o->loop) : start_sweeper(s))) {
		*ret_why = xasprintf("%s: the HTTP server does not start: %s", o->listen, strerror(errno));
		if (!s->daemon)
			close(fd);
		http_close(s);
		return WEIR_EIO;
	}
	*ret_server = s;
	return 0;
}

void http_stop(struct http_server *s)
{
	pthread_mutex_lock(&s->mutex);
	atomic_store(&s->stopping, true);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->mutex);
}

bool http_stopping(const struct http_server *s)
{
	return atomic_load(&s->stopping);
}

/* What was answered just before it closes: as far as the kernel takes it, nobody has to ask again. */
static void flush_answers(struct http_server *s)
{
	for (int i = 0; i < FLUSH_TURNS && s->fd && s->resumed; i++)
		MHD_run(s->daemon);
}

void http_close(struct http_server *s)
{
	if (!s)
		return;
	http_stop(s);
	if (s->has_sweeper)
		pthread_join(s->sweeper, NULL);
	flush_answers(s);
	while (s->deferred)
		http_request_abandon(s->deferred);
	loop_fd_free(s->fd);
	loop_timer_free(s->timer);
	loop_timer_free(s->sweep);
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	http_guard_free(s->guard);
	http_auth_close(s->auth);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

uint16_t http_port(const struct http_server *s)
{
	return s->port;
}
