/* An HTTP/1.1 server: routes, arguments, JSON errors, limits. libmicrohttpd beneath.
 *
 * Two ways to run: on a loop (struct http_options.loop set: handlers run there, one at a time, and must not block), or
 * with a thread for each connection (loop NULL: handlers may block, and run at the same time).
 *
 * A handler answers exactly once, with http_reply, http_reply_error or http_stream; one that returns without is
 * answered 500. A request lives until its handler returns, a stream until its end was called. Bodies over body_max, more than
 * HTTP_ARGS_MAX arguments, unknown paths and methods never reach a handler. HEAD runs the GET route. */
#ifndef WEIR_COMMON_HTTP_H
#define WEIR_COMMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/loop.h"

#define HTTP_ARGS_MAX 200
#define HTTP_ROUTES_MAX 64

struct http_server;
struct http_request;

typedef void http_handler_fn(void *arg, struct http_request *r);

struct http_route {
	const char *method; /* "GET", "POST" ... */
	const char *path;   /* whole path; with prefix: what it starts with */
	bool prefix;
	http_handler_fn *handler;
};

struct http_options {
	const char *listen;  /* HOST:PORT; port 0: any free one. Loopback only, until there is TLS: WEIR_EINVAL */
	struct loop *loop;   /* NULL: a thread for each connection */
	const struct http_route *routes; /* live as long as the server; the first match counts */
	size_t route_count;
	void *arg;           /* of the handlers */
	unsigned connections_max; /* 0: 100 */
	unsigned per_address_max; /* of one peer address; 0: connections_max */
	unsigned timeout_s;  /* a connection on which nothing moves; 0: 30 */
	size_t body_max;     /* bytes; 0: none is taken */
};

/* WEIR_EINVAL (address), WEIR_EBUSY (in use), WEIR_EIO; *ret_why is a text for people, the caller's to free. */
int http_open(const struct http_options *o, struct http_server **ret_server, char **ret_why);
/* From now on streams should end: their `fill` is called with http_stopping() true. Any thread. */
void http_stop(struct http_server *s);
bool http_stopping(const struct http_server *s);
/* Stops, closes all connections, waits for the handlers' threads. On the thread that opened it. */
void http_close(struct http_server *s);
uint16_t http_port(const struct http_server *s);

struct http_counters {
	uint64_t requests;
	uint64_t answered[6]; /* by hundreds: [2] is 2xx; [0] unused */
};
void http_counters(const struct http_server *s, struct http_counters *ret); /* any thread */

/* ---- of a request: all pointers live as long as it ------------------------------------------------------------- */

const char *http_path(const struct http_request *r);
/* What follows the route's prefix, percent-decoded. */
const char *http_path_tail(const struct http_request *r);
/* Query arguments, decoded, in their order; a value is "" where there is none. None holds a NUL. */
size_t http_arg_count(const struct http_request *r);
const char *http_arg_name(const struct http_request *r, size_t i);
const char *http_arg_value(const struct http_request *r, size_t i);
/* A request header, or NULL. */
const char *http_header(const struct http_request *r, const char *name);
struct bytes http_body(const struct http_request *r);
struct http_server *http_server_of(const struct http_request *r);

/* A header of the answer, before it is given. */
void http_add_header(struct http_request *r, const char *name, const char *value);
void http_reply(struct http_request *r, unsigned status, const char *content_type, const void *body, size_t len);
/* {"error": {"code": ..., "message": ...}} */
void http_reply_error(struct http_request *r, unsigned status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* An answer made while it is sent. fill() appends the next piece to the empty `out` and returns 1 (more to come), 0
 * (that was the last) or a negative error (the connection is cut, so that the client sees a broken answer, not a short
 * one). In the threaded way it may block; without bytes it is called again at once, so it should block then, and look at
 * http_stopping() at least each second. end() is called once, whatever happens; then arg is free. */
typedef int http_fill_fn(void *arg, struct buf *out);
void http_stream(struct http_request *r, unsigned status, const char *content_type, http_fill_fn *fill,
    void (*end)(void *arg), void *arg);

#define HTTP_JSON "application/json; charset=utf-8"
#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define HTTP_HTML "text/html; charset=utf-8"
#define HTTP_EVENTS "text/event-stream; charset=utf-8"

#endif
