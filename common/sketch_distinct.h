/* The distinct sketch: HyperLogLog with 4096 registers (p = 12, Flajolet et al. 2007), over XXH3-64 with a seed.
 *
 * The first 12 bits of a value's hash choose a register, the leading zeros of the other 52 (plus 1) are its rank; a
 * register keeps the highest. Few registers are kept as a sorted list, more than SKETCH_DISTINCT_SPARSE_MAX as an
 * array. The estimate is Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog
 * sketches", 2017, algorithm 6): no bias tables, no switch between ranges. Adding and merging commute and repeat
 * without effect: equal sets, equal bytes. Sketches of different seeds must not be merged. Not thread-safe; pure. */
#ifndef WEIR_COMMON_SKETCH_DISTINCT_H
#define WEIR_COMMON_SKETCH_DISTINCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define SKETCH_DISTINCT_REGISTERS 4096
#define SKETCH_DISTINCT_SPARSE_MAX 340
#define SKETCH_DISTINCT_ERROR 0.01625 /* standard error, relative: 1.04 / sqrt(4096) */
#define SKETCH_DISTINCT_ENCODED_MAX (2 + 4096 * 6 / 8)

struct sketch_distinct;

struct sketch_distinct *sketch_distinct_new(void);
void sketch_distinct_free(struct sketch_distinct *s); /* NULL is fine */
struct sketch_distinct *sketch_distinct_copy(const struct sketch_distinct *s);
void sketch_distinct_add(struct sketch_distinct *s, uint64_t seed, const void *value, size_t len);
void sketch_distinct_add_hash(struct sketch_distinct *s, uint64_t hash);
void sketch_distinct_merge(struct sketch_distinct *dst, const struct sketch_distinct *src);
/* The estimated number of distinct values: not rounded, 0 for an empty sketch. */
double sketch_distinct_eval(const struct sketch_distinct *s);
/* Bytes of memory, all of it. */
size_t sketch_distinct_memory(const struct sketch_distinct *s);

/* Canonical: equal content, equal bytes; at most SKETCH_DISTINCT_ENCODED_MAX. */
void sketch_distinct_encode(const struct sketch_distinct *s, struct buf *out);
/* Consumes exactly what encode wrote. 0, WEIR_ECORRUPT or WEIR_ETRUNCATED; *ret untouched on error. */
int sketch_distinct_decode(struct rd *r, struct sketch_distinct **ret_sketch);
/* Consumes and checks what decode does, without making a sketch. Clears *canonical where these are not the bytes that
 * encode would write (some number is written longer than needed); else leaves it. */
int sketch_distinct_skim(struct rd *r, bool *canonical);

#endif
