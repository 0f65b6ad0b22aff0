/* The only file that includes microhttpd.h. */
#include "common/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/json.h"

#define CONNECTIONS_MAX 100
#define TIMEOUT_S 30
#define BACKLOG 128
#define CONNECTION_MEMORY_BYTES (32 * 1024) /* bounds the request's head */
/* Handlers keep their data on the heap; address sanitizing needs more room than they do. */
#define THREAD_STACK_BYTES (1024 * 1024)
#define STREAM_PIECE_BYTES (32 * 1024)
#define MESSAGE_MAX 1024
/* A body over the limit is read and thrown away up to this, so that the client can read its 413; then it is cut. */
#define OVERLONG_BODY_MAX (4 * 1024 * 1024)

struct http_server {
	struct MHD_Daemon *daemon;
	const struct http_route *routes;
	size_t route_count;
	void *arg;
	size_t body_max;
	uint16_t port;
	atomic_bool stopping;
	atomic_uint_fast64_t requests, answered[6];
	/* on a loop: */
	struct loop_fd *fd;
	struct loop_timer *timer;
};

struct arg {
	const char *name, *value; /* libmicrohttpd's, for as long as the request */
};

struct header {
	char *name, *value;
	struct header *next;
};

struct http_request {
	struct http_server *server;
	struct MHD_Connection *connection;
	const struct http_route *route;
	const char *path;
	struct arg args[HTTP_ARGS_MAX];
	size_t arg_count;
	bool bad_args;
	struct buf body;
	size_t body_seen;
	struct header *headers;
	bool head;
	bool answered;
	enum MHD_Result result;
};

struct stream {
	http_fill_fn *fill;
	void (*end)(void *arg);
	void *arg;
	struct buf piece;
	size_t at; /* what of it is sent */
	int rc;    /* of the last fill */
};

/* ---- answering ----------------------------------------------------------------------------------------------- */

void http_add_header(struct http_request *r, const char *name, const char *value)
{
	struct header *h = xcalloc(1, sizeof(*h));
	h->name = xstrdup(name);
	h->value = xstrdup(value);
	h->next = r->headers;
	r->headers = h;
}

/* Takes the response. */
static void queue_response(struct http_request *r, unsigned status, const char *content_type, struct MHD_Response *resp)
{
	weir_assert(!r->answered);
	weir_assert(resp);
	r->answered = true;
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	for (const struct header *h = r->headers; h; h = h->next)
		MHD_add_response_header(resp, h->name, h->value);
	r->result = MHD_queue_response(r->connection, status, resp);
	MHD_destroy_response(resp);
	atomic_fetch_add_explicit(&r->server->answered[status / 100 % 6], 1, memory_order_relaxed);
}

void http_reply(struct http_request *r, unsigned status, const char *content_type, const void *body, size_t len)
{
	struct MHD_Response *resp =
	    MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	queue_response(r, status, content_type, resp);
}

void http_reply_error(struct http_request *r, unsigned status, const char *code, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	struct buf b = {0};
	buf_printf(&b, "{\"error\": {\"code\": ");
	json_text(&b, code);
	buf_printf(&b, ", \"message\": ");
	json_text(&b, text);
	buf_printf(&b, "}}\n");
	http_reply(r, status, HTTP_JSON, b.data, b.len);
	buf_free(&b);
}

static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
	(void)pos;
	struct stream *s = arg;
	if (s->at == s->piece.len) {
		buf_clear(&s->piece);
		s->at = 0;
		while (!s->piece.len && s->rc > 0)
			s->rc = s->fill(s->arg, &s->piece);
	}
	size_t n = s->piece.len - s->at;
	if (!n || s->rc < 0)
		return s->rc < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
	n = n < max ? n : max;
	memcpy(out, s->piece.data + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static void stream_end(void *arg)
{
	struct stream *s = arg;
	s->end(s->arg);
	buf_free(&s->piece);
	free(s);
}

void http_stream(struct http_request *r, unsigned status, const char *content_type, http_fill_fn *fill,
    void (*end)(void *arg), void *arg)
{
	if (r->head) { /* libmicrohttpd would end the body that is not there with a chunk of zero */
		end(arg);
		http_reply(r, status, content_type, "", 0);
		return;
	}
	struct stream *s = xcalloc(1, sizeof(*s));
	s->fill = fill;
	s->end = end;
	s->arg = arg;
	s->rc = 1;
	struct MHD_Response *resp = MHD_create_response_from_callback(
	    MHD_SIZE_UNKNOWN, STREAM_PIECE_BYTES, stream_read, s, stream_end);
	queue_response(r, status, content_type, resp);
}

/* ---- what was asked ------------------------------------------------------------------------------------------ */

const char *http_path(const struct http_request *r)
{
	return r->path;
}

const char *http_path_tail(const struct http_request *r)
{
	return r->path + strlen(r->route->path);
}

size_t http_arg_count(const struct http_request *r)
{
	return r->arg_count;
}

const char *http_arg_name(const struct http_request *r, size_t i)
{
	return r->args[i].name;
}

const char *http_arg_value(const struct http_request *r, size_t i)
{
	return r->args[i].value;
}

const char *http_header(const struct http_request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

struct bytes http_body(const struct http_request *r)
{
	return bytes_of(r->body.data, r->body.len);
}

struct http_server *http_server_of(const struct http_request *r)
{
	return r->server;
}

static enum MHD_Result note_arg(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value,
    size_t value_len)
{
	(void)kind;
	struct http_request *r = cls;
	if (r->arg_count == HTTP_ARGS_MAX || strlen(name) != name_len || (value && strlen(value) != value_len)) {
		r->bad_args = true;
		return MHD_NO;
	}
	r->args[r->arg_count++] = (struct arg){name, value ? value : ""};
	return MHD_YES;
}

/* ---- routes -------------------------------------------------------------------------------------------------- */

static bool path_matches(const struct http_route *route, const char *path)
{
	return route->prefix ? !strncmp(path, route->path, strlen(route->path)) : !strcmp(path, route->path);
}

static void refuse_method(struct http_request *r, const char *method)
{
	struct buf allow = {0};
	for (size_t i = 0; i < r->server->route_count; i++) {
		const struct http_route *route = &r->server->routes[i];
		if (path_matches(route, r->path))
			buf_printf(&allow, "%s%s%s", allow.len ? ", " : "", route->method,
			    strcmp(route->method, "GET") ? "" : ", HEAD");
	}
	if (allow.len) {
		http_add_header(r, MHD_HTTP_HEADER_ALLOW, buf_cstr(&allow));
		http_reply_error(r, 405, "method_not_allowed", "%s is not served here; served: %s", method,
		    buf_cstr(&allow));
	} else {
		http_reply_error(r, 404, "not_found", "there is nothing at %s", r->path);
	}
	buf_free(&allow);
}

static void run_route(struct http_request *r, const char *method)
{
	r->head = !strcmp(method, "HEAD");
	const char *wanted = r->head ? "GET" : method;
	for (size_t i = 0; i < r->server->route_count && !r->route; i++) {
		const struct http_route *route = &r->server->routes[i];
		if (!strcmp(route->method, wanted) && path_matches(route, r->path))
			r->route = route;
	}
	if (!r->route) {
		refuse_method(r, method);
		return;
	}
	MHD_get_connection_values_n(r->connection, MHD_GET_ARGUMENT_KIND, note_arg, r);
	if (r->bad_args) {
		http_reply_error(r, 400, "bad_request", "more than %d arguments, or a NUL byte in one", HTTP_ARGS_MAX);
		return;
	}
	r->route->handler(r->server->arg, r);
	if (!r->answered)
		http_reply_error(r, 500, "internal", "the request was not answered");
}

/* ---- the library's callbacks ----------------------------------------------------------------------------------- */

static enum MHD_Result take_body(struct http_request *r, const char *data, size_t *len)
{
	r->body_seen += *len;
	if (r->body_seen <= r->server->body_max)
		buf_put(&r->body, data, *len);
	*len = 0;
	return r->body_seen <= r->server->body_max + OVERLONG_BODY_MAX ? MHD_YES : MHD_NO;
}

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
		*con_cls = r;
		return MHD_YES;
	}
	if (*data_len)
		return take_body(r, data, data_len);
	if (r->answered)
		return MHD_YES;
	r->path = url;
	atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
	if (r->body_seen > s->body_max)
		http_reply_error(r, 413, "too_large", "the body is over the limit of %zu bytes", s->body_max);
	else
		run_route(r, method);
	return r->result;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
    enum MHD_RequestTerminationCode code)
{
	(void)cls;
	(void)connection;
	(void)code;
	struct http_request *r = *con_cls;
	if (!r)
		return;
	for (struct header *h = r->headers, *next; h; h = next) {
		next = h->next;
		free(h->name);
		free(h->value);
		free(h);
	}
	buf_free(&r->body);
	free(r);
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

static void server_work(struct http_server *s)
{
	MHD_run(s->daemon);
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	if (MHD_get_timeout(s->daemon, &timeout_ms) == MHD_YES)
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

static int join_loop(struct http_server *s, struct loop *l)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || loop_fd_new(l, info->epoll_fd, on_readable, s, &s->fd))
		return WEIR_EIO;
	s->timer = loop_timer_new(l, on_timeout, s);
	loop_fd_watch(s->fd, LOOP_READ);
	return 0;
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static int listen_on(const char *address, int *ret_fd, uint16_t *ret_port, char **ret_why)
{
	struct addr a;
	if (addr_parse(address, &a)) {
		*ret_why = xasprintf("%s is not of the form ADDRESS:PORT", address);
		return WEIR_EINVAL;
	}
	if (!addr_is_loopback(&a)) {
		*ret_why = xasprintf("%s is not a loopback address, and there is no TLS yet", address);
		return WEIR_EINVAL;
	}
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&sin.sin_addr, a.ip, sizeof(a.ip));
	int one = 1;
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
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
	return err == EADDRINUSE ? WEIR_EBUSY : err == EADDRNOTAVAIL ? WEIR_EINVAL : WEIR_EIO;
}

static struct MHD_Daemon *start(struct http_server *s, const struct http_options *o, int fd)
{
	unsigned flags = MHD_USE_ERROR_LOG | (o->loop ? MHD_USE_EPOLL
						      : MHD_USE_INTERNAL_POLLING_THREAD |
							    MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL);
	unsigned connections = o->connections_max ? o->connections_max : CONNECTIONS_MAX;
	struct MHD_OptionItem ops[] = {
	    {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, NULL},
	    {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
	    {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)connections, NULL},
	    {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)(o->per_address_max ? o->per_address_max : connections), NULL},
	    {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)(o->timeout_s ? o->timeout_s : TIMEOUT_S), NULL},
	    {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, NULL},
	    {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, NULL},
	    {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
	    {o->loop ? MHD_OPTION_END : MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK_BYTES, NULL},
	    {MHD_OPTION_END, 0, NULL},
	};
	return MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_ARRAY, ops, MHD_OPTION_END);
}

int http_open(const struct http_options *o, struct http_server **ret_server, char **ret_why)
{
	weir_assert(o->route_count <= HTTP_ROUTES_MAX);
	int fd;
	uint16_t port;
	int rc = listen_on(o->listen, &fd, &port, ret_why);
	if (rc)
		return rc;
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->routes = o->routes;
	s->route_count = o->route_count;
	s->arg = o->arg;
	s->body_max = o->body_max;
	s->port = port;
	s->daemon = start(s, o, fd);
	if (!s->daemon || (o->loop && join_loop(s, o->loop))) {
		*ret_why = xasprintf("%s: the HTTP server does not start: %s", o->listen, strerror(errno));
		if (s->daemon)
			MHD_stop_daemon(s->daemon);
		else
			close(fd);
		free(s);
		return WEIR_EIO;
	}
	*ret_server = s;
	return 0;
}

void http_stop(struct http_server *s)
{
	atomic_store(&s->stopping, true);
}

bool http_stopping(const struct http_server *s)
{
	return atomic_load(&s->stopping);
}

void http_close(struct http_server *s)
{
	if (!s)
		return;
	http_stop(s);
	loop_fd_free(s->fd);
	loop_timer_free(s->timer);
	MHD_stop_daemon(s->daemon);
	free(s);
}

uint16_t http_port(const struct http_server *s)
{
	return s->port;
}

void http_counters(const struct http_server *s, struct http_counters *ret)
{
	ret->requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
	for (size_t i = 0; i < 6; i++)
		ret->answered[i] = atomic_load_explicit(&s->answered[i], memory_order_relaxed);
}
