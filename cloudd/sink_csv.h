/* Rows of one stream as CSV (RFC 4180, but lines end in a newline only): the columns are the stream's tags and functions as they were
 * when they were set. Pure. */
#ifndef WEIR_CLOUDD_SINK_CSV_H
#define WEIR_CLOUDD_SINK_CSV_H

#include "cloudd/sink.h"

/* Zeroed: none are set. */
struct sink_csv {
	char **tags, **functions;
	size_t tag_count, function_count;
	struct buf header; /* with its newline */
};

void sink_csv_free(struct sink_csv *c); /* back to none */
void sink_csv_set(struct sink_csv *c, const struct stream_conf *s);
/* Whether the columns are that version's. */
bool sink_csv_is_of(const struct sink_csv *c, const struct stream_conf *s);
/* Appends a line. What the row's version has no value for is empty; what has no column is left out. */
void sink_csv_row(const struct sink_csv *c, const struct sink_row *r, struct buf *out);

#endif
