/* The partial: the mergeable state of one (stream, group, slice), shared by edge and cloud.
 *
 * Merging partials gives what adding all their readings to one would have given: exactly for count, min, max, first,
 * last, quantile buckets and distinct registers; to rounding for sum (compensated, Neumaier 1974) and moments
 * (Welford 1962; merge by Chan, Golub, LeVeque 1979). Equal timestamps: first takes the smaller value, last the
 * larger. Merging in a fixed order gives the same bits everywhere. Encodings are canonical: equal content, equal
 * bytes. Not thread-safe. */
#ifndef WEIR_COMMON_PARTIAL_H
#define WEIR_COMMON_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"

#define PARTIAL_QUANTILE_CAP_EDGE 512
#define PARTIAL_QUANTILE_CAP_CLOUD 2048
#define PARTIAL_ENCODED_MAX (64 * 1024) /* bytes of one encoded partial at the most */

enum partial_part {
	PARTIAL_SUM = 1 << 0,
	PARTIAL_MINMAX = 1 << 1,
	PARTIAL_MOMENTS = 1 << 2,
	PARTIAL_FIRSTLAST = 1 << 3,
	PARTIAL_QUANTILE = 1 << 4,
};
#define PARTIAL_PARTS_ALL 31u

/* What a stream's partials hold; count is always there. A plain value: copy it. */
struct partial_spec {
	uint32_t parts;           /* of enum partial_part; FN_MEAN needs SUM, FN_QUANTILE needs MINMAX (for its clamp) */
	uint32_t distinct_count;  /* 0..DISTINCTS_MAX */
	uint32_t quantile_cap;    /* non-empty buckets before the resolution is halved */
	uint64_t distinct_seed;
};

struct sketch_quantile;
struct sketch_distinct;

struct partial {
	uint64_t count;
	double sum, sum_c; /* Neumaier: the value is sum + sum_c */
	double min, max;
	double mean, m2;
	int64_t first_ns, last_ns;
	double first, last;
	struct sketch_quantile *quantile;  /* NULL until needed */
	struct sketch_distinct **distinct; /* distinct_count of them, or NULL until needed */
};

void partial_spec_of(const struct stream_conf *s, uint64_t distinct_seed, uint32_t quantile_cap,
    struct partial_spec *ret_spec);
static inline bool partial_is_empty(const struct partial *p)
{
	return p->count == 0;
}
/* A zeroed struct partial is a valid empty one. Frees what it owns and leaves it empty. */
void partial_clear(struct partial *p, const struct partial_spec *spec);
/* Value is finite. */
void partial_add(struct partial *p, const struct partial_spec *spec, int64_t t_ns, double value);
/* Notes one value of distinct tag i (0-based); call beside partial_add, only where the tag is not empty. */
void partial_add_distinct(struct partial *p, const struct partial_spec *spec, uint32_t i, const void *value, size_t len);
void partial_merge(struct partial *dst, const struct partial *src, const struct partial_spec *spec);
/* Bytes of memory it owns beyond the struct. */
size_t partial_memory(const struct partial *p, const struct partial_spec *spec);

/* A self-contained encoding for the spool's deltas, the cloud's state and query answers. */
void partial_encode(const struct partial *p, const struct partial_spec *spec, struct buf *out);
/* Into an empty partial; consumes exactly what partial_encode wrote. 0, or an error with *ret left empty. Checks
 * all bounds and that numbers are possible (finite, min <= max, counts add up). */
int partial_decode(struct rd *r, const struct partial_spec *spec, struct partial *ret);

/* One answer. *ret_null: no value (stddev below two readings, anything of an empty partial but count).
 * *ret_error: relative error bound of a quantile, standard error of a distinct; else 0. distinct_index: for
 * FN_DISTINCT, its place in the stream's list. */
void partial_eval(const struct partial *p, const struct partial_spec *spec, enum function fn, double q,
    uint32_t distinct_index, double *ret_value, double *ret_error, bool *ret_null);

#endif
