/* InfluxDB line protocol, the whole v2 grammar, parsed incrementally over any split of the input.
 *
 *   measurement[,tag=value...] field=value[,field=value...] [timestamp]
 *
 * Escapes (\, \  \= \\ as the v2 documentation defines them, per element), quoted string fields (with \" and \\, and raw
 * newlines inside quotes), integers (42i), unsigned (42u), floats (also 1e3, -.5), booleans (t T true True TRUE ...),
 * comments (#), blank lines, \r\n, optional timestamp. A bad line is reported with its number and a reason, skipped to
 * its newline, and its good neighbours are kept. One parser per connection or file; no global state.
 *
 * A newline within quotes is data only where the whole line turns out valid: in a refused line it ends the line, so a
 * quote that never closes costs one line, not its neighbours.
 *
 * Bounds: LINE_BYTES_MAX per line (newline not counted), LINE_TAGS_MAX, LINE_FIELDS_MAX. Memory: at most one partial
 * line is kept between calls. A callback must not feed, finish, reset or free its own parser. */
#ifndef WEIR_COMMON_LINE_H
#define WEIR_COMMON_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define LINE_BYTES_MAX (64 * 1024)
#define LINE_TAGS_MAX 64
#define LINE_FIELDS_MAX 256

enum line_value_type { LINE_FLOAT, LINE_INTEGER, LINE_UNSIGNED, LINE_BOOLEAN, LINE_STRING };

struct line_tag {
	struct bytes key, value; /* unescaped */
};

struct line_field {
	struct bytes key; /* unescaped */
	enum line_value_type type;
	double number;       /* of every type but string: booleans 0 and 1 */
	struct bytes string; /* LINE_STRING: unescaped */
};

/* Everything in it lives for the callback only. */
struct line {
	uint64_t number;          /* 1-based, where it starts, counting newlines since line_parser_init or _reset */
	struct bytes series;      /* the raw bytes of measurement and tags, as sent: a cache key */
	struct bytes measurement; /* unescaped */
	const struct line_tag *tags; /* in the order sent; a repeated key is an error */
	size_t tag_count;
	const struct line_field *fields;
	size_t field_count;
	bool has_time;
	int64_t time_ns;
	/* Where the parser is lazy, measurement and tags are empty: line_resolve_series(parser, line) gives them. */
	struct line_parser *parser;
};

/* Why a line was refused: stable labels for refused{reason}. */
enum line_error {
	LINE_OK,
	LINE_NO_MEASUREMENT,
	LINE_BAD_TAG,
	LINE_DUPLICATE_TAG,
	LINE_NO_FIELD,
	LINE_BAD_FIELD,
	LINE_BAD_NUMBER,   /* malformed, out of range, not finite */
	LINE_BAD_STRING,
	LINE_BAD_TIMESTAMP,
	LINE_TRAILING,     /* something after the timestamp */
	LINE_TOO_LONG,
	LINE_TOO_MANY,     /* tags or fields */
	LINE_BAD_UTF8_NUL, /* a NUL byte */
	LINE_ERRORS
};
const char *line_error_label(enum line_error e); /* "bad_field" ... */
const char *line_error_text(enum line_error e);  /* for people */

struct line_callbacks {
	void *arg;
	void (*line)(void *arg, const struct line *l);
	/* column: 1-based byte in the line; text: the start of the line, for the message (at most 80 bytes). */
	void (*error)(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text);
};

struct line_parser {
	struct line_callbacks cb;
	bool lazy;            /* leave measurement and tags to line_resolve_series() */
	uint64_t number;
	/* the rest is line.c's */
	struct line_state *state;
};

/* precision_ns: what one unit of a timestamp is. */
void line_parser_init(struct line_parser *p, const struct line_callbacks *cb, int64_t precision_ns, bool lazy);
void line_parser_free(struct line_parser *p);
/* Of the lines to come; while none is pending. */
void line_parser_set_precision(struct line_parser *p, int64_t precision_ns);
/* Any bytes, split anywhere. Calls back for each line that is complete. */
void line_parser_feed(struct line_parser *p, const void *data, size_t len);
/* The input has ended: a last line without newline is complete. */
void line_parser_finish(struct line_parser *p);
/* Bytes fed since init that are not yet part of a reported line: a file source's position is what it fed minus this.
 * Not for use within callbacks. A line that is too long is reported at its newline, and pending until then. */
size_t line_parser_pending(const struct line_parser *p);
/* Forgets a partial line, starts counting lines anew. */
void line_parser_reset(struct line_parser *p);

/* Splits and unescapes l->series into measurement and tags held in the parser until its next line. LINE_OK or why not
 * (then the line is refused as if the parser had). */
enum line_error line_resolve_series(struct line_parser *p, const struct line *l, struct bytes *ret_measurement,
    const struct line_tag **ret_tags, size_t *ret_tag_count);

/* Writes: appends text escaped for its place. For generators and tests. What the grammar cannot say becomes `_`: a NUL;
 * outside strings also a newline, a backslash at the end, a # at the start of a measurement. */
struct buf;
void line_put_measurement(struct buf *b, struct bytes text);
void line_put_key(struct buf *b, struct bytes text); /* tag key, tag value, field key */
void line_put_string(struct buf *b, struct bytes text); /* with its quotes */
/* The shortest text that parses back to the same double. */
void line_put_float(struct buf *b, double v);

#endif
