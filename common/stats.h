/* Counters and gauges for /metrics: a daemon declares one table of families; whoever counts asks once for its cell and
 * then adds to it without locks.
 *
 * Making and rendering cells takes a mutex; stats_add, stats_set and stats_observe are relaxed atomics on any thread.
 * A cell lives as long as its stats. A family has at most STATS_CELLS_MAX cells: values after that share one whose
 * labels all say "other", so that no label value from outside can eat the memory. */
#ifndef WEIR_COMMON_STATS_H
#define WEIR_COMMON_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define STATS_LABELS_MAX 4
#define STATS_CELLS_MAX 1000
#define STATS_VALUE_MAX 128 /* bytes of a label value; longer ones are cut */
#define STATS_BUCKETS 11

enum stats_type {
	STATS_COUNTER,  /* never falls; name ends in _total */
	STATS_GAUGE,
	STATS_DURATION, /* histogram of seconds; name ends in _seconds */
};

struct stats_family {
	const char *name; /* weir_..., units last */
	const char *help;
	enum stats_type type;
	const char *labels[STATS_LABELS_MAX]; /* names; NULL after the last */
};

struct stats;
struct stats_cell;

/* The table lives as long as the stats; families are addressed by their place in it. */
struct stats *stats_new(const struct stats_family *table, size_t count);
void stats_free(struct stats *s);
/* The cell of these label values (as many as the family has labels; NULL where it has none). */
struct stats_cell *stats_cell(struct stats *s, size_t family, const char *const *values);

void stats_add(struct stats_cell *c, uint64_t n);      /* counter */
void stats_set(struct stats_cell *c, double v);        /* gauge */
void stats_set_counter(struct stats_cell *c, uint64_t n); /* a counter kept elsewhere */
void stats_observe(struct stats_cell *c, int64_t ns);  /* duration; a negative one counts as 0 */

/* Prometheus text format 0.0.4: families in table order, cells in the order they were made. Families without a cell
 * are left out; those without labels always have theirs. */
void stats_render(struct stats *s, struct buf *out);

/* The same text for those who keep their numbers themselves: the HELP and TYPE lines, then one line per sample. */
void stats_write_head(struct buf *out, const struct stats_family *f);
void stats_write(struct buf *out, const struct stats_family *f, const char *const *values, double v);
void stats_write_u64(struct buf *out, const struct stats_family *f, const char *const *values, uint64_t v);

#endif
