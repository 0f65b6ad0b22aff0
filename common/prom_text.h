/* Reads the text formats of /metrics: Prometheus 0.0.4, and of OpenMetrics 1.0 what it has beside (times in seconds, exemplars,
 * # EOF). Sample by sample; comments and blank lines are passed over; a line that is none is told with the reason, and what follows
 * it is read on. A last line without newline is a broken one: half a number is a number too. Pure; nothing is copied.
 *
 * The formats: prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics specification 1.0. */
#ifndef WEIR_COMMON_PROM_TEXT_H
#define WEIR_COMMON_PROM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

#define PROM_NUMBER_BYTES_MAX 63

/* Points into the text. */
struct prom_sample {
	struct bytes name;
	struct bytes labels; /* what is between the braces, checked: prom_next_label() */
	double value;        /* also NaN, +Inf, -Inf */
	bool has_time;
	int64_t time_ms;
};

enum prom_error {
	PROM_FINE,
	PROM_BAD_NAME,
	PROM_BAD_LABEL,
	PROM_BAD_VALUE,
	PROM_BAD_TIME,
	PROM_TRAILING,  /* something behind the sample */
	PROM_TRUNCATED, /* no newline behind the last line */
};
const char *prom_error_text(enum prom_error e); /* for people */

struct prom_text {
	const uint8_t *at, *end;
	bool openmetrics;   /* the caller's: what the answer's Content-Type says */
	bool ended;         /* # EOF was there, and nothing is read behind it */
	uint64_t line;      /* 1-based, of what was read last */
	struct bytes text;  /* that line, without its newline */
};

void prom_text_init(struct prom_text *t, struct bytes text, bool openmetrics);
/* The next sample, or the next line that is none (*ret_error is not PROM_FINE then, and *ret undefined). false: the end. */
bool prom_text_next(struct prom_text *t, struct prom_sample *ret, enum prom_error *ret_error);
/* The next label of those between the braces, which *labels moves behind; the value is still escaped. false: the end. */
bool prom_next_label(struct bytes *labels, struct bytes *ret_key, struct bytes *ret_escaped);
/* Appends the value without its escapes: \\, \" and \n; others are kept as they are. */
void prom_put_value(struct bytes escaped, struct buf *out);

#endif
