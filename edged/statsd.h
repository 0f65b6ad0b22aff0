/* StatsD's metrics, in the form that statsd and DogStatsD (protocol 1.3) give them, and the readings that they become. Pure.
 *
 *   NAME:VALUE[:VALUE...]|TYPE[|@RATE][|#TAG:TEXT,...][|TSECONDS][|c:...]
 *
 * Each value is a sample, and each sample is readings, written as line protocol:
 *
 *   NAME,metric=NAME,TAG=TEXT... FIELD=VALUE [SECONDS]
 *
 *   c   field counter       VALUE / RATE: their sum is the count
 *   g   field gauge         VALUE; with a sign, what the gauge stands at after that step (statsd_gauges.h)
 *   ms  field timer         VALUE, 1 / RATE times (rounded, at most STATSD_WEIGHT_MAX), as it stands for that many
 *   h   field histogram     likewise
 *   d   field distribution  likewise
 *   s   field set           1, with the tag member=VALUE: distinct(member) counts them
 *
 * Of equal tags the last counts; a tag without text has the text "true"; one whose text is empty (`tag:`) is none. The tags
 * metric and, of a set, member are ours, but for a `metric` that the sender has already. Fields of later protocols are passed
 * over. */
#ifndef WEIR_EDGED_STATSD_H
#define WEIR_EDGED_STATSD_H

#include "common/buf.h"
#include "common/clock.h"
#include "common/line.h"
#include "edged/statsd_gauges.h"

#define STATSD_LINE_BYTES_MAX 8192
#define STATSD_TAGS_MAX (LINE_TAGS_MAX - 2)
#define STATSD_WEIGHT_MAX 1000
#define STATSD_LINE_READINGS_MAX (64 * 1024) /* that the values of one line stand for; further ones are refused */
#define STATSD_SECONDS_MAX (TIME_MAX_NS / NS_PER_SEC) /* of a timestamp */

enum statsd_type {
	STATSD_COUNTER,
	STATSD_GAUGE,
	STATSD_TIMER,
	STATSD_HISTOGRAM,
	STATSD_DISTRIBUTION,
	STATSD_SET,
	STATSD_TYPES
};

/* Why a metric, or one of its values, is refused: X(CONSTANT, label, text for people). */
#define STATSD_ERRORS(X) \
	X(EVENT, "event", "events and service checks are not taken, only metrics") \
	X(BAD_METRIC, "bad_metric", "this is no NAME:VALUE|TYPE") \
	X(BAD_TYPE, "bad_type", "the type is none of c, g, ms, h, d, s") \
	X(BAD_VALUE, "bad_value", "the value is no number that can be counted with") \
	X(BAD_RATE, "bad_rate", "the sample rate must be above 0 and at most 1, and of ms, h and d not below 0.001") \
	X(BAD_TAG, "bad_tag", "a tag has no name") \
	X(BAD_TIME, "bad_timestamp", "the time is no number of seconds since 1970") \
	X(TOO_MANY, "too_many", "it has too many tags") \
	X(TOO_LONG, "too_long", "it is longer than 8 KiB") \
	X(TOO_MUCH, "too_many_readings", "the values of its line stand for more than 65,536 readings") \
	X(GAUGE_LIMIT, "gauge_limit", "what this gauge stands at is not known: too many are remembered already, or its name is too long")
enum statsd_error {
	STATSD_OK,
#define STATSD_CONSTANT(constant, label, text) STATSD_##constant,
	STATSD_ERRORS(STATSD_CONSTANT)
#undef STATSD_CONSTANT
};
const char *statsd_error_label(enum statsd_error e);
const char *statsd_error_text(enum statsd_error e);

/* Points into the line that it was read from. */
struct statsd_metric {
	struct bytes name;
	struct bytes values; /* as sent; statsd_next() takes them */
	enum statsd_type type;
	double rate;         /* above 0, at most 1 */
	struct line_tag tags[STATSD_TAGS_MAX]; /* ascending by key, each once, none empty */
	size_t tag_count;
	bool has_time;
	int64_t time_ns;
};

/* One line, without its newline, of at most STATSD_LINE_BYTES_MAX. *ret is written to also on failure. */
enum statsd_error statsd_parse(struct bytes line, struct statsd_metric *ret);
/* The next value of m, taken out of m->values: there is at least one. False: there are no more. */
bool statsd_next(struct statsd_metric *m, struct bytes *ret_value);

/* How many readings each value of m stands for. */
unsigned statsd_weight(const struct statsd_metric *m);
/* Appends the reading that a value of m stands for, so many times, as one line with its newline; series is scratch. On failure
 * nothing. */
enum statsd_error statsd_put(const struct statsd_metric *m, struct bytes value, struct statsd_gauges *gauges, struct buf *series,
    struct buf *out);

#endif
