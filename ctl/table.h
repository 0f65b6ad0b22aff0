/* Rows of cells as aligned text or as CSV (RFC 4180), made piece by piece. Pure.
 *
 * Text: columns are as wide as the widest cell so far; flushing now and then keeps memory bounded, at the price that
 * later rows may be wider than earlier ones. Control characters become ?, so no cell can steer a terminal. */
#ifndef WEIR_CTL_TABLE_H
#define WEIR_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define TABLE_COLUMNS_MAX 256

struct table;

struct table *table_new(bool csv);
void table_free(struct table *t); /* NULL is fine */
/* Before the first cell. The header is copied; text shows it in capitals. Past TABLE_COLUMNS_MAX: ignored. */
void table_column(struct table *t, const char *header, bool right);
size_t table_columns(const struct table *t);
/* The next cell of the current row; after the last column the next row begins. Copied. */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Fills the rest of the current row with empty cells. */
void table_end_row(struct table *t);
/* Appends the rows since the last flush, at first with the header. */
void table_flush(struct table *t, struct buf *out);

#endif
