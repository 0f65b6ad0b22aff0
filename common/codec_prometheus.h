/* Messages of Prometheus' remote read and remote write, version 1: what proto/prometheus.proto has, between plain structs and bytes. What
 * snappy wraps around them is common/snappy_block. Any thread. */
#ifndef WEIR_COMMON_CODEC_PROMETHEUS_H
#define WEIR_COMMON_CODEC_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/sketch_quantile.h"

#define PROMETHEUS_READ_MAX (256 * 1024)         /* bytes of a ReadRequest */
#define PROMETHEUS_DECODED_MAX (4 * 1024 * 1024) /* bytes of memory that one may become */
#define PROMETHEUS_QUERIES_MAX 16                /* of one */
#define PROMETHEUS_MATCHERS_MAX 64               /* of one query */

enum prometheus_match { PROMETHEUS_EQ, PROMETHEUS_NEQ, PROMETHEUS_RE, PROMETHEUS_NRE };

struct prometheus_matcher {
	enum prometheus_match type;
	struct bytes name, value; /* any bytes */
};

/* What is asked of series whose labels match all of them: samples of [start, end], both included. */
struct prometheus_query {
	int64_t start_ms, end_ms;
	struct prometheus_matcher *matchers;
	size_t matcher_count;
};

struct prometheus_read {
	struct prometheus_query *queries;
	size_t query_count;
	bool samples;  /* the asker takes an answer of samples, not chunks only */
	void *decoded; /* the memory of all of this, where it was decoded */
};

/* A ReadRequest. WEIR_ETOOBIG: over one of the limits; WEIR_ECORRUPT: no such message, or a kind of matcher that is none. On success the caller
 * clears. */
int prometheus_read_decode(struct bytes raw, struct prometheus_read *ret);
void prometheus_read_clear(struct prometheus_read *r);
void prometheus_read_encode(const struct prometheus_read *r, struct buf *out); /* appends */

struct prometheus_label {
	struct bytes name, value;
};

struct prometheus_sample {
	int64_t t_ms;
	double value;
};

/* A native histogram, whose buckets are those of a quantile sketch: the schema is the sketch's scale. */
struct prometheus_histogram {
	int64_t t_ms;
	int schema; /* -4 to 8 */
	uint64_t count, zero_count;
	double sum; /* NaN: not known */
	const struct sketch_bucket *positive, *negative; /* ascending by index */
	size_t positive_count, negative_count;
};

/* Appends a histogram that stands for itself (hint GAUGE: it is not the one before and what came since). */
void prometheus_histogram_encode(const struct prometheus_histogram *h, struct buf *out);

/* Labels ascending by name; samples and histograms, each of them as prometheus_histogram_encode() made it, ascending by time. */
struct prometheus_series {
	const struct prometheus_label *labels;
	size_t label_count;
	const struct prometheus_sample *samples;
	size_t sample_count;
	const struct bytes *histograms;
	size_t histogram_count;
};

/* Appends a series as one element of a QueryResult, and of a WriteRequest, which are nothing but such elements. */
void prometheus_series_put(const struct prometheus_series *s, struct buf *out);
/* Appends such a QueryResult as one element of a ReadResponse, which is nothing but such elements: one for each query, in order. */
void prometheus_result_put(struct bytes result, struct buf *out);

#endif
