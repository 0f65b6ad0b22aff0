/* The partial: the mergeable state of one (stream, group, slice), shared by edge and cloud.
 *
 * Merging partials gives what adding all their readings to one would have given: exactly for count, min, max, first,
 * last, quantile buckets and distinct registers; to rounding for sum (compensated, Neumaier 1974) and moments
 * (Welford 1962; merge by Chan, Golub, LeVeque 1979). Equal timestamps: first takes the smaller value, last the
 * larger; -0.0 is smaller than 0.0. Merging in a fixed order gives the same bits everywhere. Encodings are canonical:
 * equal content, equal bytes. Counts stick at UINT64_MAX. A sum or a sum of squares that leaves the range of doubles
 * sticks at infinity, and is no value (null) when asked for. Not thread-safe. */
#ifndef WEIR_COMMON_PARTIAL_H
#define WEIR_COMMON_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"
#include "common/sketch_quantile.h"

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

/* Whether partials of the two specs hold the same things. Who takes partials from outside asks before merging. */
static inline bool partial_spec_agrees(const struct partial_spec *a, const struct partial_spec *b)
{
	return a->parts == b->parts && a->distinct_count == b->distinct_count;
}

struct sketch_distinct;

struct partial {
	uint64_t count;
	double sum, sum_c; /* the value is sum + sum_c; sum is that value rounded */
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

/* A self-contained encoding for the spool's deltas, the cloud's state and query answers: at most PARTIAL_ENCODED_MAX
 * bytes while the sketch is capped. An empty partial is one byte. */
void partial_encode(const struct partial *p, const struct partial_spec *spec, struct buf *out);
/* Into an empty partial; consumes exactly what partial_encode wrote. 0, or an error with *ret left empty. Checks
 * all bounds and that numbers are possible (finite, min <= max, counts add up). A sketch of more than quantile_cap
 * buckets is taken as it is (up to SKETCH_QUANTILE_BUCKETS_MAX): the next merge collapses it. */
int partial_decode(struct rd *r, const struct partial_spec *spec, struct partial *ret);

/* A partial of which only the numbers are decoded: its sketches are checked and stay as they are encoded. Owns nothing;
 * a plain value that lives as long as the bytes it was read from, which must not change. */
struct partial_packed {
	struct partial numbers; /* without sketches */
	struct sketch_quantile_packed quantile;
	struct bytes distinct;  /* all of them */
	bool distinct_canonical;
};
/* partial_decode and its checks, for who only merges. *ret is as it was on error. */
int partial_skim(struct rd *r, const struct partial_spec *spec, struct partial_packed *ret);
/* Appends the very bytes that partial_merge of b into a (both decoded) and partial_encode give. a may be NULL: nothing to
 * merge into. */
void partial_merge_packed(const struct partial_packed *a, const struct partial_packed *b, const struct partial_spec *spec,
    struct buf *out);

/* One answer. *ret_null: no value (stddev below two readings, anything of an empty partial but count).
 * *ret_error: relative error bound of a quantile, standard error of a distinct; else 0. distinct_index: for
 * FN_DISTINCT, its place in the stream's list. */
void partial_eval(const struct partial *p, const struct partial_spec *spec, enum function fn, double q,
    uint32_t distinct_index, double *ret_value, double *ret_error, bool *ret_null);

/* For common/batch: the same encoding, spread over columns; but times, which need a context. */
enum partial_column {
	PARTIAL_COL_COUNT,
	PARTIAL_COL_KINDS,
	PARTIAL_COL_MIN,
	PARTIAL_COL_MAX,
	PARTIAL_COL_FIRST,
	PARTIAL_COL_LAST,
	PARTIAL_COL_SUM,
	PARTIAL_COL_SUM_C,
	PARTIAL_COL_MEAN,
	PARTIAL_COL_M2,
	PARTIAL_COL_QUANTILE,
	PARTIAL_COL_DISTINCT,
	PARTIAL_COLS
};
/* p is not empty. Columns may be one and the same buffer. */
void partial_put_columns(const struct partial *p, const struct partial_spec *spec, struct buf *const cols[PARTIAL_COLS]);
/* All but first_ns and last_ns, into an empty partial. An error of a column stays in its reader, too. */
int partial_get_columns(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec, struct partial *ret);
/* The same, with sketches left as they are. */
int partial_skim_columns(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec,
    struct partial_packed *ret);
/* 0, or WEIR_ECORRUPT where no readings can have given these numbers. */
int partial_check(const struct partial *p, const struct partial_spec *spec);
int partial_check_packed(const struct partial_packed *p, const struct partial_spec *spec);

/* The largest unit (1, 1e3, 1e6 or 1e9 ns) that divides a time, as its code 0..3. */
#define TIME_UNITS 4
uint8_t time_unit(int64_t ns);
int64_t time_unit_ns(uint8_t code);

#endif
