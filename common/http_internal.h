/* What the files of the HTTP server share: http.c (requests and answers), http_access.c (who may), http_server.c
 * (libmicrohttpd's callbacks, connections, opening and closing), http_metrics.c. */
#ifndef WEIR_COMMON_HTTP_INTERNAL_H
#define WEIR_COMMON_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "common/http.h"
#include "common/http_auth.h"
#include "common/http_guard.h"

struct http_server {
	struct MHD_Daemon *daemon;
	const struct http_route *routes;
	size_t route_count;
	void *arg;
	size_t body_max, bodies_max;
	atomic_size_t bodies;   /* bytes that requests hold */
	uint16_t port;
	atomic_bool stopping;
	struct http_auth *auth; /* NULL: plain */
	void (*notice)(void *arg, bool bad, const char *text);
	atomic_uint_fast64_t requests, answered[6], denied[HTTP_DENIALS], ended[HTTP_WHYS], busy;
	pthread_mutex_t mutex;  /* over the guard and the connections */
	struct http_guard *guard;
	bool next_reserve;      /* of the connection that was let in just now, on the accepting thread */
	/* on a loop: */
	struct loop_fd *fd;
	struct loop_timer *timer, *sweep;
	struct http_request *deferred; /* a list; of the loop's thread */
	unsigned resumed;              /* answered, and not yet completed */
	bool woken;                    /* since libmicrohttpd's last turn began */
	/* with threads: */
	pthread_t sweeper;
	pthread_cond_t wake;
	bool has_sweeper;
};

/* A connection; user of its guard record. Fields under the server's mutex. */
struct http_conn {
	struct http_guard_conn *guard;
	bool authorised;    /* by this token, for this role, as long as the request lasts */
	uint8_t hash[TOKEN_HASH_BYTES];
	unsigned role;
};

struct http_arg {
	const char *name, *value; /* libmicrohttpd's, for as long as the request */
};

struct http_header {
	char *name, *value;
	struct http_header *next;
};

/* Found out at the request's head, told when its body has gone by. */
enum http_refusal {
	HTTP_FINE,
	HTTP_REFUSE_NOT_FOUND,
	HTTP_REFUSE_BUSY,
	HTTP_REFUSE_UNAUTHORISED,
	HTTP_REFUSE_THROTTLED,
	HTTP_REFUSE_ROLE,
	HTTP_REFUSE_CROSS_ORIGIN,
	HTTP_REFUSE_BODIES, /* while the body came */
};

/* A deferred request is suspended once its handler has returned: libmicrohttpd forgets its connection meanwhile. Its answer
 * waits in `response`, the connection is resumed, and on_request is called again, which queues it. */
enum http_waiting {
	HTTP_NOT_DEFERRED,
	HTTP_DEFERRED,  /* the handler may still run */
	HTTP_SUSPENDED, /* in the server's list */
	HTTP_RESUMED,   /* its response is there ... */
	HTTP_GONE,      /* ... or never will be */
};

struct http_request {
	struct http_server *server;
	struct MHD_Connection *connection;
	struct http_conn *conn;
	const struct http_route *route;
	const char *path, *method;
	enum http_refusal refusal;
	struct http_arg args[HTTP_ARGS_MAX];
	size_t arg_count;
	bool bad_args;
	struct buf body;
	size_t body_seen, body_max;
	struct http_header *headers;
	bool head;
	bool answered;
	enum MHD_Result result;
	enum http_waiting waiting;
	void (*gone)(void *arg, struct http_request *r);
	void *gone_arg;
	struct MHD_Response *response;
	unsigned status;
	struct http_request *prev, *next; /* HTTP_SUSPENDED */
};

/* On a loop: libmicrohttpd gets its turn, soon but not within this call. */
void http_server_wake(struct http_server *s);

/* The head is here: finds its route, and whether it will be refused. */
void http_request_begin(struct http_request *r);
/* A piece of the body. MHD_NO: cut the connection. */
enum MHD_Result http_request_take_body(struct http_request *r, const char *data, size_t *len);
/* All of it is here: answers. */
void http_request_finish(struct http_request *r);
void http_request_free(struct http_request *r);

/* Its handler has returned, and it is deferred: true where it waits from now on. */
bool http_request_suspend(struct http_request *r);
/* It was resumed: queues what there is, or MHD_NO. */
enum MHD_Result http_request_resumed(struct http_request *r);
/* The suspended request's connection is no more: tells its owner, and lets libmicrohttpd have it. */
void http_request_abandon(struct http_request *r);

/* May this request use its route? Pure but for the counters and the guard. */
enum http_refusal http_access_check(struct http_request *r);
void http_access_refuse(struct http_request *r);

#endif
