/* The oracle: what every answer must be, computed from the readings themselves, in the most straightforward way.
 *
 * It shares no code with the product beyond the topology's plain structs: it matches, transforms, groups and windows
 * the accepted readings one by one, keeps them all, and works each window out at the end. */
#ifndef WEIR_SIM_ORACLE_H
#define WEIR_SIM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "tests/sim/sim_plan.h"

/* One line that an edge took from a source, in the order taken. */
struct sim_delivery {
	uint8_t source;
	bool accepted;   /* its readings were accepted; else refused */
	bool certain;    /* must count; else it may (an edge's copy or backup was in play, or it was readmitted) */
	uint32_t line;
	int64_t wall_ns; /* of the edge, then */
};

struct sim_oracle;

struct sim_oracle *sim_oracle_new(const struct sim_plan *plan);
void sim_oracle_free(struct sim_oracle *o);
/* The whole history of one edge, each line at most once. */
void sim_oracle_edge(struct sim_oracle *o, uint32_t edge, const struct sim_delivery *d, size_t n);

/* Totals per stream over all edges: matched = passed + dropped. */
struct sim_totals {
	uint64_t matched, passed;
};
struct sim_totals sim_oracle_totals(const struct sim_oracle *o, size_t stream);

struct sim_query {
	size_t stream;
	int64_t size_ns, advance_ns, offset_ns;
	uint32_t by[BY_MAX]; /* indexes into the stream's by */
	uint32_t by_count;
	/* at most one condition: */
	bool where;
	uint32_t where_by;
	const char *where_value;
};

/* One window of one group. */
struct sim_cell {
	int64_t start_ns;
	struct bytes group; /* encoded: for each tag, one byte of length, and the value */
	uint64_t count, certain;
	double min, max, first, last, sum, magnitude, mean, stddev; /* magnitude: sum of |value| */
	const double *values; /* ascending, count of them */
	uint32_t distinct[DISTINCTS_MAX];
};

struct sim_cells {
	struct sim_cell *cells; /* by (start, group bytes) */
	size_t count;
	struct buf groups;
	double *values;
};
void sim_oracle_cells(const struct sim_oracle *o, const struct sim_query *q, struct sim_cells *ret);
void sim_cells_free(struct sim_cells *c);

#endif
