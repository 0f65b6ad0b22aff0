/* What a message from outside says, as lines of line protocol: how MQTT payloads (and whatever else comes as one document at a time) get
 * into an edge. Formats and their options: struct payload_conf.
 *
 *     number     71.5                              ->  MEASUREMENT FIELD=71.5
 *     collectd   1700000000.123:42.5               ->  MEASUREMENT FIELD=42.5 1700000000123000000
 *                1700000000:1:nan:3                ->  MEASUREMENT FIELD_0=1,FIELD_2=3 1700000000000000000
 *     json       {"t": 71.5, "at": 1700000000}     ->  MEASUREMENT FIELD=71.5 1700000000000000000
 *
 * Line protocol is its own reader's (line.h): it does not pass through here. Pure, but for jansson's memory. */
#ifndef WEIR_EDGED_PAYLOAD_H
#define WEIR_EDGED_PAYLOAD_H

#include "common/buf.h"
#include "common/model.h"

#define PAYLOAD_BYTES_MAX (1024 * 1024)
#define PAYLOAD_READINGS_MAX 10000 /* of one document */
#define PAYLOAD_VALUES_MAX 64      /* of one collectd message */
/* Of the text made of one document, also for readings that are refused in the end: paths from the document may put the same long tag into
 * each reading. */
#define PAYLOAD_TEXT_MAX (16 * 1024 * 1024)

/* Why a payload, or one of its readings, was refused: labels of refused{reason}. */
#define PAYLOAD_BAD "bad_payload"         /* not of the format */
#define PAYLOAD_NO_VALUE "no_value"       /* none where the path says; only NaN */
#define PAYLOAD_BAD_NUMBER "bad_number"   /* something else than a number where the value should be */
#define PAYLOAD_BAD_TIME "bad_timestamp"  /* none, or no time, where it should be */
#define PAYLOAD_TOO_BIG "too_long"
#define PAYLOAD_TOO_MANY "too_many"

struct payload_reader;

/* conf is checked (topology), not PAYLOAD_LINE, and outlives the reader. */
struct payload_reader *payload_reader_new(const struct payload_conf *conf);
void payload_reader_free(struct payload_reader *r); /* NULL is fine */

/* Called once for what is refused: a reading, or the whole payload. detail: for people, lives for the call. */
typedef void payload_refuse_fn(void *arg, const char *reason, const char *detail);
/* Appends a line for each good reading, each with its newline. */
void payload_read(struct payload_reader *r, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg);

#endif
