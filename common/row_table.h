/* Rows while they are merged: a table of (window start, group) -> partial that is bounded, so that any number of records can go
 * through it. Where there are more rows than it keeps, those first in (start, group) order stay; the rest are behind its bound, and come
 * when the question is asked again after the last row given.
 *
 * Merges in the order in which it is given partials. Pure; one thread. */
#ifndef WEIR_COMMON_ROW_TABLE_H
#define WEIR_COMMON_ROW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/model.h"
#include "common/partial.h"

struct row_cell {
	int64_t start_ns;
	const struct partial_spec *spec; /* of the partial; the caller's */
	struct partial partial;
	uint32_t part;                   /* as given with the first of its partials */
	size_t group_n;
	uint8_t group[];
};

/* Zeroed but for keep and bytes_max it is an empty one. */
struct row_table {
	size_t keep;       /* rows; up to twice as many are in it meanwhile. Falls where they take too much memory */
	size_t bytes_max;  /* of memory, unless a single row takes more */
	struct row_cell **cells; /* open addressing; after row_table_sort() the first `count` of them are the rows in order */
	size_t size, count, bytes;
	bool bounded;      /* some rows were left out: those from the bound on */
	int64_t bound_start_ns;
	size_t bound_n;
	uint8_t bound[GROUP_KEY_MAX];
};

/* Whether the row is before the bound. */
bool row_table_takes(const struct row_table *t, int64_t start_ns, struct bytes group);
/* Merges p, which it takes over, into the row, which the table takes. The group is at most GROUP_KEY_MAX bytes; spec outlives the
 * table. */
void row_table_merge(struct row_table *t, int64_t start_ns, struct bytes group, uint32_t part, const struct partial_spec *spec,
    struct partial *p);
/* Moves the rows to the front, in order, all those before the bound: twice `keep` at most. Nothing can be merged into it any more. */
void row_table_sort(struct row_table *t);
void row_table_free(struct row_table *t);

#endif
