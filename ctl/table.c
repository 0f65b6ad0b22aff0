#include "ctl/table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/printable.h"

#define GAP 2 /* spaces between columns */

struct column {
	char *header;
	bool right;
	size_t width; /* on a terminal */
};

struct table {
	bool csv;
	bool headed;
	struct column columns[TABLE_COLUMNS_MAX];
	size_t column_count;
	char **cells; /* row by row */
	size_t cell_count, cell_cap;
};

struct table *table_new(bool csv)
{
	struct table *t = xcalloc(1, sizeof(*t));
	t->csv = csv;
	return t;
}

static void drop_cells(struct table *t)
{
	for (size_t i = 0; i < t->cell_count; i++)
		free(t->cells[i]);
	t->cell_count = 0;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	drop_cells(t);
	free(t->cells);
	for (size_t i = 0; i < t->column_count; i++)
		free(t->columns[i].header);
	free(t);
}

void table_column(struct table *t, const char *header, bool right)
{
	if (t->column_count == TABLE_COLUMNS_MAX || t->cell_count)
		return;
	char *copy = t->csv ? xstrdup(header) : printable(header);
	for (char *p = copy; !t->csv && *p; p++)
		*p = (char)toupper((unsigned char)*p);
	t->columns[t->column_count++] = (struct column){copy, right, printable_width(copy)};
}

size_t table_columns(const struct table *t)
{
	return t->column_count;
}

void table_cell(struct table *t, const char *text)
{
	if (!t->column_count)
		return;
	if (t->cell_count == t->cell_cap) {
		t->cell_cap = t->cell_cap ? t->cell_cap * 2 : 256;
		t->cells = xrealloc(t->cells, t->cell_cap * sizeof(*t->cells));
	}
	struct column *c = &t->columns[t->cell_count % t->column_count];
	char *copy = t->csv ? xstrdup(text) : printable(text);
	size_t width = printable_width(copy);
	if (width > c->width)
		c->width = width;
	t->cells[t->cell_count++] = copy;
}

void table_cellf(struct table *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_cell(t, text);
}

void table_end_row(struct table *t)
{
	while (t->column_count && t->cell_count % t->column_count)
		table_cell(t, "");
}

static void put_csv(const char *text, struct buf *out)
{
	if (!text[strcspn(text, ",\"\r\n")]) {
		buf_put(out, text, strlen(text));
		return;
	}
	buf_u8(out, '"');
	for (; *text; text++) {
		if (*text == '"')
			buf_u8(out, '"');
		buf_u8(out, (uint8_t)*text);
	}
	buf_u8(out, '"');
}

static void put_padding(size_t n, struct buf *out)
{
	while (n--)
		buf_u8(out, ' ');
}

static void put_cell(const struct table *t, size_t i, const char *text, struct buf *out)
{
	const struct column *c = &t->columns[i];
	bool last = i + 1 == t->column_count;
	if (t->csv) {
		put_csv(text, out);
		buf_u8(out, last ? '\n' : ',');
		return;
	}
	size_t pad = c->width - printable_width(text);
	if (c->right)
		put_padding(pad, out);
	buf_put(out, text, strlen(text));
	if (!last) {
		put_padding(GAP + (c->right ? 0 : pad), out);
		return;
	}
	while (out->len && out->data[out->len - 1] == ' ')
		out->len--;
	buf_u8(out, '\n');
}

void table_flush(struct table *t, struct buf *out)
{
	table_end_row(t);
	if (!t->headed) {
		for (size_t i = 0; i < t->column_count; i++)
			put_cell(t, i, t->columns[i].header, out);
		t->headed = true;
	}
	for (size_t i = 0; i < t->cell_count; i++)
		put_cell(t, i % t->column_count, t->cells[i], out);
	drop_cells(t);
}
