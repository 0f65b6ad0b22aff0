/* Requests and answers. */
#include "common/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/http_internal.h"
#include "common/json.h"

#define STREAM_PIECE_BYTES (32 * 1024)
#define MESSAGE_MAX 1024
/* A body over the limit is read and thrown away up to this, so that the client can read its answer; then it is cut. */
#define OVERLONG_BODY_MAX (4 * 1024 * 1024)
#define REFUSED_BODY_MAX (64 * 1024)

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
	struct http_header *h = xcalloc(1, sizeof(*h));
	h->name = xstrdup(name);
	h->value = xstrdup(value);
	h->next = r->headers;
	r->headers = h;
}

static void resume(struct http_request *r, enum http_waiting waiting)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		r->server->deferred = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->waiting = waiting;
	r->server->resumed += waiting == HTTP_RESUMED;
	MHD_resume_connection(r->connection);
	http_server_wake(r->server);
}

static void queue_now(struct http_request *r, unsigned status, struct MHD_Response *resp)
{
	r->result = MHD_queue_response(r->connection, status, resp);
	MHD_destroy_response(resp);
}

static bool has_header(const struct http_request *r, const char *name)
{
	const struct http_header *h = r->headers;
	while (h && strcmp(h->name, name))
		h = h->next;
	return h;
}

/* Takes the response. */
static void queue_response(struct http_request *r, unsigned status, const char *content_type, struct MHD_Response *resp)
{
	weir_assert(!r->answered && r->waiting != HTTP_GONE);
	weir_assert(resp);
	r->answered = true;
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	if (!has_header(r, MHD_HTTP_HEADER_CACHE_CONTROL))
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	for (const struct http_header *h = r->headers; h; h = h->next)
		MHD_add_response_header(resp, h->name, h->value);
	atomic_fetch_add_explicit(&r->server->answered[status / 100 % 6], 1, memory_order_relaxed);
	if (r->waiting == HTTP_SUSPENDED) {
		r->response = resp;
		r->status = status;
		resume(r, HTTP_RESUMED);
	} else {
		queue_now(r, status, resp);
	}
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

void http_defer(struct http_request *r, void (*gone)(void *arg, struct http_request *r), void *arg)
{
	weir_assert(r->server->fd && !r->answered && r->waiting == HTTP_NOT_DEFERRED);
	r->waiting = HTTP_DEFERRED;
	r->gone = gone;
	r->gone_arg = arg;
}

bool http_request_suspend(struct http_request *r)
{
	if (r->waiting != HTTP_DEFERRED || r->answered)
		return false;
	r->waiting = HTTP_SUSPENDED;
	r->next = r->server->deferred;
	if (r->next)
		r->next->prev = r;
	r->server->deferred = r;
	MHD_suspend_connection(r->connection);
	return true;
}

enum MHD_Result http_request_resumed(struct http_request *r)
{
	struct MHD_Response *resp = r->response;
	if (!resp)
		return MHD_NO;
	r->response = NULL;
	queue_now(r, r->status, resp);
	return r->result;
}

void http_request_abandon(struct http_request *r)
{
	resume(r, HTTP_GONE);
	r->gone(r->gone_arg, r);
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

void http_drop_body(struct http_request *r)
{
	atomic_fetch_sub_explicit(&r->server->bodies, r->body.len, memory_order_relaxed);
	buf_free(&r->body);
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
	r->args[r->arg_count++] = (struct http_arg){name, value ? value : ""};
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

static void run_route(struct http_request *r)
{
	MHD_get_connection_values_n(r->connection, MHD_GET_ARGUMENT_KIND, note_arg, r);
	if (r->bad_args) {
		http_reply_error(r, 400, "bad_request", "more than %d arguments, or a NUL byte in one", HTTP_ARGS_MAX);
		return;
	}
	r->route->handler(r->server->arg, r);
	if (!r->answered && !r->waiting)
		http_reply_error(r, 500, "internal", "the request was not answered");
}

/* ---- a request's life ------------------------------------------------------------------------------------------ */

void http_request_begin(struct http_request *r)
{
	r->head = !strcmp(r->method, "HEAD");
	const char *wanted = r->head ? "GET" : r->method;
	for (size_t i = 0; i < r->server->route_count && !r->route; i++) {
		const struct http_route *route = &r->server->routes[i];
		if (!strcmp(route->method, wanted) && path_matches(route, r->path))
			r->route = route;
	}
	r->refusal = http_access_check(r);
	r->body_max = r->route && r->route->body_max ? r->route->body_max : r->server->body_max;
}

/* Bodies grow on several threads: each counts its piece before it takes it. */
static bool has_room(struct http_server *s, size_t len)
{
	size_t before = atomic_fetch_add_explicit(&s->bodies, len, memory_order_relaxed);
	if (!s->bodies_max || (before <= s->bodies_max && len <= s->bodies_max - before))
		return true;
	atomic_fetch_sub_explicit(&s->bodies, len, memory_order_relaxed);
	return false;
}

static void keep_body(struct http_request *r, const char *data, size_t len)
{
	if (has_room(r->server, len)) {
		buf_put(&r->body, data, len);
	} else {
		r->refusal = HTTP_REFUSE_BODIES;
		atomic_fetch_add_explicit(&r->server->busy, 1, memory_order_relaxed);
		http_drop_body(r);
	}
}

enum MHD_Result http_request_take_body(struct http_request *r, const char *data, size_t *len)
{
	r->body_seen += *len;
	if (!r->refusal && r->body_seen <= r->body_max)
		keep_body(r, data, *len);
	*len = 0;
	bool wanted = !r->refusal || r->refusal == HTTP_REFUSE_BODIES;
	return r->body_seen <= (wanted ? r->body_max + OVERLONG_BODY_MAX : REFUSED_BODY_MAX) ? MHD_YES : MHD_NO;
}

void http_request_finish(struct http_request *r)
{
	if (r->refusal == HTTP_REFUSE_NOT_FOUND)
		refuse_method(r, r->method);
	else if (r->refusal)
		http_access_refuse(r);
	else if (r->server->fd && http_stopping(r->server))
		http_reply_error(r, 503, "unavailable", "this server is about to stop");
	else if (r->body_seen > r->body_max)
		http_reply_error(r, 413, "too_large", "the body is over the limit of %zu bytes", r->body_max);
	else
		run_route(r);
}

void http_request_free(struct http_request *r)
{
	for (struct http_header *h = r->headers, *next; h; h = next) {
		next = h->next;
		free(h->name);
		free(h->value);
		free(h);
	}
	if (r->response)
		MHD_destroy_response(r->response);
	if (r->waiting == HTTP_RESUMED) /* else maybe on a connection's own thread */
		r->server->resumed--;
	http_drop_body(r);
	free(r);
}
