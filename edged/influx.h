/* What InfluxDB's HTTP interfaces (1.x: /write, /query, /ping; 2.x: /api/v2/write, /health) look like to those who speak them:
 * units of time, the shapes of errors, and what agents ask before they write. Facts are of InfluxDB's API reference, and of
 * what its own client and Telegraf's outputs send and look for in answers. No state. */
#ifndef WEIR_EDGED_INFLUX_H
#define WEIR_EDGED_INFLUX_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/http.h"

#define INFLUX_VERSION "1.8.10-weir" /* clients look at the number before they choose how to speak */
#define INFLUX_LINES_TOLD_MAX 10     /* bad lines named in one answer */
#define INFLUX_TEXT_MAX 80           /* bytes of each */

enum influx_kind { INFLUX_1, INFLUX_2 };

/* What one unit of a timestamp is; NULL or "": nanoseconds. WEIR_EINVAL: no unit of that interface. */
int influx_precision(enum influx_kind kind, const char *text, int64_t *ret_ns);

/* What of a body does not count. */
struct influx_refusals {
	uint64_t count;
	uint64_t first_line; /* its number */
	struct buf text;     /* of the first few */
};
void influx_refuse(struct influx_refusals *f, uint64_t number, const char *why, struct bytes text);
void influx_refusals_clear(struct influx_refusals *f);
/* As a sentence. It has the words by which Telegraf knows that sending all of it again is of no use. */
void influx_put_refusals(const struct influx_refusals *f, bool some_counted, struct buf *out);

/* An error in the shape of that interface: {"error": ...}, or {"code": ..., "message": ...} with the line where there is
 * one. */
void influx_reply_error(enum influx_kind kind, struct http_request *r, unsigned status, const char *code, const char *text,
    uint64_t line);
void influx_reply_written(struct http_request *r); /* 204 */

void influx_handle_ping(struct http_request *r);
/* why NULL: it takes writes. */
void influx_handle_health(struct http_request *r, const char *why);
/* CREATE DATABASE and SHOW DATABASES, which clients ask before they write: there is one, whatever it is called. Anything else: 400. */
void influx_handle_query(struct http_request *r);

#endif
