/* An HTTP/1.1 server: routes, arguments, JSON errors, TLS and tokens, limits. libmicrohttpd beneath.
 *
 * Two ways to run: on a loop (struct http_options.loop set: handlers run there, one at a time, and must not block), or
 * with a thread for each connection (loop NULL: handlers may block, and run at the same time).
 *
 * A handler answers exactly once, with http_reply, http_reply_error or http_stream; one that returns without is
 * answered 500, unless it has said http_defer: then it is answered later. A request lives until its handler returns or, deferred,
 * until it was answered or is gone; a stream until its end was called. Bodies over body_max, more than
 * HTTP_ARGS_MAX arguments, unknown paths and methods never reach a handler. HEAD runs the GET route.
 *
 * Without keys a server is for its own machine: plain, on a loopback address, everyone may everything. With keys it speaks
 * TLS only and asks for tokens, wherever it listens (common/http_auth); who may what is each route's access. Either way it
 * refuses what a web page of another site makes a browser send, and puts out those who hold connections without using
 * them (common/http_guard). */
#ifndef WEIR_COMMON_HTTP_H
#define WEIR_COMMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/http_guard.h"
#include "common/kv.h"
#include "common/loop.h"

#define HTTP_ARGS_MAX 200
#define HTTP_ROUTES_MAX 64

struct http_server;
struct http_request;

typedef void http_handler_fn(void *arg, struct http_request *r);

/* Who may use a route, where there are tokens; a route that says nothing is for admins. */
enum http_access {
	HTTP_ADMIN,
	HTTP_WRITE,
	HTTP_READ,
	HTTP_OPEN,
	HTTP_WRITE_ARG, /* as HTTP_WRITE; without a header the token may be the argument `p`, as InfluxDB 1 clients send it */
};

struct http_route {
	const char *method; /* "GET", "POST" ... */
	const char *path;   /* whole path; with prefix: what it starts with */
	bool prefix;
	http_handler_fn *handler;
	enum http_access access;
	bool vital;         /* answered also when all ordinary connections are in use: must be quick */
	size_t body_max;    /* bytes; 0: what the options say */
};

struct http_options {
	const char *listen;  /* HOST:PORT; port 0: any free one. Without keys a loopback address, else WEIR_EINVAL */
	const char *keys_dir; /* TLS and tokens: its files NAME.tls.crt, NAME.tls.key, tokens; NULL: plain */
	const char *name;    /* NAME, with keys_dir */
	struct loop *loop;   /* NULL: a thread for each connection */
	const struct http_route *routes; /* live as long as the server; the first match counts */
	size_t route_count;
	void *arg;           /* of the handlers */
	unsigned connections_max; /* 0: 100 */
	unsigned reserve;    /* more, on which only vital routes are answered */
	unsigned per_address_max; /* of one peer address; 0: connections_max */
	unsigned head_ms;    /* until the first request is there, handshake included; 0: 10,000 */
	unsigned idle_ms;    /* until the next one is; 0: 30,000 */
	unsigned stall_ms;   /* a peer that sends or takes less than HTTP_PACE_BYTES_PER_S for so long is cut; 0: 10,000 */
	size_t body_max;     /* bytes; 0: none is taken */
	size_t bodies_max;   /* bytes of all bodies there are; what does not fit is told that the server is busy; 0: no limit */
	/* Something to tell an operator: files were read again, or cannot be. On a thread of the server. NULL: not told. */
	void (*notice)(void *arg, bool bad, const char *text);
};
#define HTTP_PACE_BYTES_PER_S 1024

/* What http_open would say of the address and (name not NULL) the files, without opening. 0 or its errors. */
int http_check(const char *listen, const char *keys_dir, const char *name, char **ret_why);

/* WEIR_EINVAL (address), WEIR_EBUSY (in use), WEIR_EIO (also an address that this machine does not have now); *ret_why is a text for
 * people, the caller's to free. */
int http_open(const struct http_options *o, struct http_server **ret_server, char **ret_why);
/* From now on streams should end: their `fill` is called with http_stopping() true. Any thread. */
void http_stop(struct http_server *s);
bool http_stopping(const struct http_server *s);
/* Stops, closes all connections, waits for the handlers' threads; what deferred requests were answered is still sent, as far
 * as their clients take it at once. On the thread that opened it. */
void http_close(struct http_server *s);
uint16_t http_port(const struct http_server *s);

/* Why a request was not authorised; their order is that of the label values. */
enum http_denial { HTTP_NO_TOKEN, HTTP_BAD_TOKEN, HTTP_THROTTLED, HTTP_ROLE, HTTP_CROSS_ORIGIN, HTTP_DENIALS };

struct http_counters {
	uint64_t requests;
	uint64_t answered[6]; /* by hundreds: [2] is 2xx; [0] unused */
	uint64_t denied[HTTP_DENIALS];
	uint64_t ended[HTTP_WHYS]; /* connections not let in or put out, by enum http_guard_why */
	uint64_t busy;             /* answered 503 on the reserve */
	unsigned open;             /* connections now */
	unsigned open_max;         /* the limit: more than so many are told that the server is busy */
};
void http_counters(const struct http_server *s, struct http_counters *ret); /* any thread */
/* All of them as Prometheus text, PREFIX_http_...: "weir_cloud". Any thread. */
void http_put_metrics(struct http_server *s, const char *prefix, struct buf *out);

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

/* A header of the answer, before it is given. Answers are "Cache-Control: no-store" where none says otherwise. */
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

/* On a loop only, by a handler: the answer comes later, from the loop's thread, by the same functions; from then on r is not to
 * be touched any more, as after a handler's return. Until then r and all that it gave stay as they are, for as long as it
 * takes. gone() tells that nobody can be answered any more, because the client has ended (seen within about a second)
 * or the server closes: r is valid during that call, which is the last that is heard of it. It is called once at most,
 * from the loop or from within http_close, never from within http_defer or an answer; it may answer other requests, but
 * not open or close this server. There are never more of them than connections. */
void http_defer(struct http_request *r, void (*gone)(void *arg, struct http_request *r), void *arg);
/* The body is not needed any more: its memory is free before the answer. */
void http_drop_body(struct http_request *r);

#define HTTP_JSON "application/json; charset=utf-8"
#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define HTTP_HTML "text/html; charset=utf-8"
#define HTTP_EVENTS "text/event-stream; charset=utf-8"

#endif
