/* The quantile sketch: counts of values in exponential buckets.
 *
 * Bucket i holds (base^(i-1), base^i], base = 2^(2^-scale); negative values are mirrored magnitudes in a store of
 * their own; zeros are counted apart. Scale starts at 6 (base 1.0109, relative error 0.54 %); when more than `cap`
 * buckets of both stores together are non-empty, neighbours are joined: i -> (i + 1) >> 1, scale - 1, down to -4
 * (UDDSketch: Epicoco et al. 2020; the mapping is that of Prometheus native histograms, and OpenTelemetry's plus 1).
 *
 * Merging: the scale of a sketch is the largest at which its values fill at most `cap` buckets, which depends on the
 * values only. So with one cap any order of adds and merges gives the same sketch, and the same bytes; with several
 * caps (edge, cloud) the smallest scale that came in remains, which is as independent of the order.
 *
 * Counts stick at UINT64_MAX. Indexes and estimates use constant tables and exact arithmetic, no libm, so they are
 * the same on each machine. Not thread-safe; pure. */
#ifndef WEIR_COMMON_SKETCH_QUANTILE_H
#define WEIR_COMMON_SKETCH_QUANTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

#define SKETCH_QUANTILE_SCALE_MAX 6
#define SKETCH_QUANTILE_SCALE_MIN (-4)
#define SKETCH_QUANTILE_BUCKETS_MAX 2048 /* non-empty buckets of a sketch that is decoded; the largest cap */

struct sketch_quantile;

struct sketch_quantile *sketch_quantile_new(void);
void sketch_quantile_free(struct sketch_quantile *s); /* NULL is fine */
struct sketch_quantile *sketch_quantile_copy(const struct sketch_quantile *s);
/* Value is finite; cap is 1..SKETCH_QUANTILE_BUCKETS_MAX. At the last scale the cap is not enforced: there are at
 * most 264 buckets. */
void sketch_quantile_add(struct sketch_quantile *s, double value, uint32_t cap);
void sketch_quantile_merge(struct sketch_quantile *dst, const struct sketch_quantile *src, uint32_t cap);

uint64_t sketch_quantile_count(const struct sketch_quantile *s); /* values added */
int sketch_quantile_scale(const struct sketch_quantile *s);
uint32_t sketch_quantile_buckets(const struct sketch_quantile *s); /* non-empty ones */
uint64_t sketch_quantile_zeros(const struct sketch_quantile *s);   /* values that were 0 */
struct sketch_bucket {
	int32_t index;
	uint64_t count;
};
/* Writes the non-empty buckets of positive values, or those of negative ones by their magnitudes, ascending by index, and returns how many;
 * ret has room for sketch_quantile_buckets(). */
uint32_t sketch_quantile_list(const struct sketch_quantile *s, bool negative, struct sketch_bucket *ret);
/* (base - 1) / (base + 1): the relative error that no estimate exceeds. */
double sketch_quantile_error(const struct sketch_quantile *s);
/* The value of nearest rank ceil(q n), at least 1: 2 base^i / (base + 1) of its bucket, clamped to [min, max]. A product
 * q n that is within rounding of a whole number counts as that number (99.9 / 100 is a little more than 0.999).
 * 0 <= q <= 1; the sketch is not empty. */
double sketch_quantile_eval(const struct sketch_quantile *s, double q, double min, double max);
/* Bytes of memory, all of it. */
size_t sketch_quantile_memory(const struct sketch_quantile *s);

/* Canonical: equal content, equal bytes. At most SKETCH_QUANTILE_ENCODED_MAX bytes for capped sketches. */
#define SKETCH_QUANTILE_ENCODED_MAX (32 + SKETCH_QUANTILE_BUCKETS_MAX * 14)
void sketch_quantile_encode(const struct sketch_quantile *s, struct buf *out);
/* Consumes exactly what encode wrote. 0, WEIR_ECORRUPT or WEIR_ETRUNCATED; *ret untouched on error. */
int sketch_quantile_decode(struct rd *r, struct sketch_quantile **ret_sketch);

/* A sketch that stays in its encoding: checked, and with what is asked about it. */
struct sketch_quantile_packed {
	struct bytes bytes; /* within what was read, and living as long; empty: no sketch */
	uint64_t count;     /* as sketch_quantile_count */
	uint32_t buckets;
	int8_t scale;
	bool canonical;     /* these are the bytes that encode would write; false: some number is written longer than needed */
};
/* Consumes and checks what decode does, without making a sketch: errors and their occasions are the same, but where
 * several things are wrong. */
int sketch_quantile_skim(struct rd *r, struct sketch_quantile_packed *ret);
/* Appends what decoding both, merging b into a under cap, and encoding would give. a may be NULL: merges into nothing. */
void sketch_quantile_merge_packed(const struct sketch_quantile_packed *a, const struct sketch_quantile_packed *b,
    uint32_t cap, struct buf *out);

/* For tests: the index of a finite value's magnitude (not 0) at scale 6. */
int32_t sketch_quantile_index(double value);

#endif
