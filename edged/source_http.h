/* Readings over HTTP: InfluxDB's writes (1.x and 2.x), and collectd's write_http.
 *
 *   POST -> deferred -> queue -> (gzip: checked whole) -> parser, up to SOURCE_TURN_BYTES a turn -> ... -> committed -> 204
 *                                                                   bad lines: the others count, and the answer is 400
 *
 * Each edge with `http` has one without an address of its own, whose requests come by the edge's HTTP server; one with `listen` has
 * a server of its own. All on the loop's thread.
 *
 * What was answered 204 is durable, each line once. What was not answered may count or not, as far as it had come: who sends
 * it again sends other readings. Until the first good line the source is finished: it holds no window open. */
#ifndef WEIR_EDGED_SOURCE_HTTP_H
#define WEIR_EDGED_SOURCE_HTTP_H

#include "common/http.h"
#include "edged/collectd.h"
#include "edged/source.h"

#define SOURCE_HTTP_BODY_MAX (8 * 1024 * 1024)      /* bytes of a body, as sent */
#define SOURCE_HTTP_BODIES_MAX (16 * 1024 * 1024)   /* of all that wait, of one server */
#define SOURCE_HTTP_UNPACKED_MAX (32 * 1024 * 1024) /* of a body once unpacked */
#define SOURCE_HTTP_RETRY_S "1"

/* For the table of a server; handler passes its request on to source_http_handle. */
#define SOURCE_HTTP_ROUTES(handler) \
	{"POST", "/write", false, handler, HTTP_WRITE_ARG, false, SOURCE_HTTP_BODY_MAX}, \
	{"POST", "/api/v2/write", false, handler, HTTP_WRITE, false, SOURCE_HTTP_BODY_MAX}, \
	{"POST", "/collectd", false, handler, HTTP_WRITE, false, COLLECTD_BODY_MAX}, \
	{"GET", "/query", false, handler, HTTP_WRITE_ARG, false, 0}, \
	{"POST", "/query", false, handler, HTTP_WRITE_ARG, false, 4096}, \
	{"GET", "/ping", false, handler, HTTP_OPEN, true, 0}, \
	{"GET", "/health", false, handler, HTTP_OPEN, true, 0}

/* A request of one of these routes. s NULL: there is no such source now, which writes are told. */
void source_http_handle(struct source *s, struct http_request *r);
/* The port of its own server, after source_start; 0: it has none. */
uint16_t source_http_port(const struct source *s);

#endif
