/* Rows of window results, as query and watch get them, into table rows. The columns are those of the first row. */
#ifndef WEIR_CTL_ROWS_H
#define WEIR_CTL_ROWS_H

#include "ctl/ctl.h"

struct rows {
	struct table *table;
	bool csv, begun;
	const char **by;     /* names of columns, owned */
	const char **values;
	const char **errors; /* csv only */
	size_t by_count, value_count, error_count;
};

void rows_init(struct rows *r, bool csv);
void rows_free(struct rows *r);
/* Adds one row; false where it is no row (no object with start, end, group and values). */
bool rows_add(struct rows *r, const json_t *row);
/* Appends what came since the last flush; with the header at first, also where no row came (columns then: what every
 * row has). */
void rows_flush(struct rows *r, struct buf *out);

#endif
