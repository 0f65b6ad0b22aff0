/* Rows as samples for Prometheus' remote write, version 1: of each row the value of each function, and the quantile sketch as a native
 * histogram; the names of common/prometheus_name, the time the window's end. Pure.
 *
 * They stand in the order of time (then of rows and functions), and a series has one sample for a time: of several rows of one window the
 * last one's. For Prometheus looks at whether a sample is behind its series' last one as it stood before the request: what is out of
 * order within one request it drops, and answers as if it had taken it (tsdb/head_append.go). */
#ifndef WEIR_CLOUDD_REMOTE_WRITE_H
#define WEIR_CLOUDD_REMOTE_WRITE_H

#include "cloudd/sink.h"

struct remote_write;

struct remote_write_options {
	const struct model_tag *labels; /* added to each series; outlive it */
	size_t label_count;
	bool histograms;
};

struct remote_write_sample {
	size_t row;         /* of the batch: whose it is */
	size_t function;    /* of its stream's; compute_count: the sketch */
	int64_t t_ms;
	uint64_t id;        /* of its series, time and value: a hash of all its bytes */
	uint64_t place;     /* a hash of its series and time */
	size_t at, bytes;   /* of the encoded element */
};

/* What arrived last of each series and time; the oldest are forgotten. A zeroed struct is empty. */
#define REMOTE_WRITE_SETS 8192 /* a power of two */
#define REMOTE_WRITE_WAYS 8
struct remote_write_arrived {
	struct remote_write_arrival {
		uint64_t place, id;
	} sets[REMOTE_WRITE_SETS][REMOTE_WRITE_WAYS]; /* by place, the newest first of each set */
};
void remote_write_note(struct remote_write_arrived *a, const struct remote_write_sample *s);

struct remote_write *remote_write_new(const struct remote_write_options *o);
void remote_write_free(struct remote_write *w); /* NULL is fine */

/* Makes the samples of a batch, in place of those before; the batch outlives them. Those that arrived (NULL: none) are left out: delivered
 * again they would be refused, as later ones are there. */
void remote_write_make(struct remote_write *w, const struct sink_batch *b, const struct remote_write_arrived *arrived);
size_t remote_write_count(const struct remote_write *w);
/* Rows that have no sample there as another group's row of the same window became the same series: tags that differ only in what is no
 * UTF-8. */
size_t remote_write_lost(const struct remote_write *w);
const struct remote_write_sample *remote_write_at(const struct remote_write *w, size_t i);
/* A WriteRequest of the samples from `first` on, of max at most and no more bytes than bytes_max, unless the first alone has more; in place
 * of what out holds. Returns how many they are. */
size_t remote_write_request(const struct remote_write *w, size_t first, size_t max, size_t bytes_max, struct buf *out);
/* Appends a sample's series and time, for people: weir:speed:mean{site="north"} at 2023-11-14T22:14:00Z. */
void remote_write_describe(struct remote_write *w, size_t i, struct buf *out);

#endif
