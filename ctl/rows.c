#include "ctl/rows.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define TABLE_DIGITS 10 /* significant digits in text; csv and json are exact */

void rows_init(struct rows *r, bool csv)
{
	*r = (struct rows){.table = table_new(csv), .csv = csv};
}

static void free_names(const char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((char *)(uintptr_t)names[i]);
	free(names);
}

void rows_free(struct rows *r)
{
	table_free(r->table);
	free_names(r->by, r->by_count);
	free_names(r->values, r->value_count);
	free_names(r->errors, r->error_count);
	*r = (struct rows){0};
}

/* The keys of an object become columns, in their order. */
static void take_names(struct rows *r, const json_t *object, bool right, const char *suffix, const char ***names,
    size_t *count)
{
	const char *key;
	json_t *value;
	*names = xcalloc(json_object_size(object), sizeof(**names));
	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		char *header = xasprintf("%s%s", key, suffix);
		table_column(r->table, header, right);
		free(header);
		(*names)[(*count)++] = xstrdup(key);
	}
}

static void begin(struct rows *r, const json_t *row)
{
	static const char *const csv_columns[] = {"state", "revision", "expected", "contributed", "idle", "partitioned",
		"missing"};
	static const char *const text_columns[] = {"state", "rev", "edges", "missing"};
	r->begun = true;
	table_column(r->table, "start", false);
	table_column(r->table, "end", false);
	take_names(r, json_object_get(row, "group"), false, "", &r->by, &r->by_count);
	take_names(r, json_object_get(row, "values"), true, "", &r->values, &r->value_count);
	if (r->csv) {
		take_names(r, json_object_get(row, "error"), true, "_error", &r->errors, &r->error_count);
		for (size_t i = 0; i < sizeof(csv_columns) / sizeof(csv_columns[0]); i++)
			table_column(r->table, csv_columns[i], false);
		return;
	}
	for (size_t i = 0; i < sizeof(text_columns) / sizeof(text_columns[0]); i++)
		table_column(r->table, text_columns[i], false);
}

static void add_cells(struct rows *r, const json_t *object, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ctl_cell(r->table, json_object_get(object, names[i]), r->csv ? 0 : TABLE_DIGITS, r->csv ? "" : "-");
}

/* Who is in the window: all of 3 edges, or how many of them. */
static void add_edges(struct rows *r, const json_t *edges)
{
	static const char *const names[] = {"expected", "contributed", "idle", "partitioned"};
	if (r->csv) {
		add_cells(r, edges, names, sizeof(names) / sizeof(names[0]));
	} else {
		long long expected = json_integer_value(json_object_get(edges, "expected"));
		long long partitioned = json_integer_value(json_object_get(edges, "partitioned"));
		long long contributed = json_integer_value(json_object_get(edges, "contributed"));
		long long idle = json_integer_value(json_object_get(edges, "idle"));
		if (!edges)
			table_cell(r->table, "-");
		else if (idle || partitioned)
			table_cellf(r->table, "%lld/%lld%s", contributed, expected, partitioned ? " partitioned" : " idle");
		else
			table_cellf(r->table, "%lld/%lld", contributed, expected);
	}
	ctl_cell(r->table, json_object_get(edges, "missing"), 0, "");
}

bool rows_add(struct rows *r, const json_t *row)
{
	const json_t *group = json_object_get(row, "group"), *values = json_object_get(row, "values");
	if (!json_is_object(group) || !json_is_object(values) || !*ctl_text(row, "start"))
		return false;
	if (!r->begun)
		begin(r, row);
	table_cell(r->table, ctl_text(row, "start"));
	table_cell(r->table, ctl_text(row, "end"));
	add_cells(r, group, r->by, r->by_count);
	add_cells(r, values, r->values, r->value_count);
	add_cells(r, json_object_get(row, "error"), r->errors, r->error_count);
	table_cell(r->table, ctl_text(row, "state"));
	ctl_cell(r->table, json_object_get(row, "revision"), 0, r->csv ? "" : "-");
	add_edges(r, json_object_get(row, "edges"));
	table_end_row(r->table);
	return true;
}

void rows_flush(struct rows *r, struct buf *out)
{
	if (!r->begun)
		begin(r, NULL);
	table_flush(r->table, out);
}
