#include "common/row_json.h"

#include <math.h>

#include "common/json.h"
#include "common/row_value.h"

static void put_group(const struct query_args *q, const struct row *row, struct buf *out)
{
	struct bytes values[BY_MAX];
	size_t count = q->own ? q->stream->by_count : q->by_count;
	row_tags(q, row, values);
	buf_printf(out, "{");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, i ? ", " : "");
		json_text(out, q->own ? q->stream->by[i] : q->by[i]);
		buf_printf(out, ": ");
		json_bytes(out, (const char *)values[i].p, values[i].n);
	}
	buf_printf(out, "}");
}

struct functions {
	const struct function_conf *all;
	size_t count;
};

static struct functions functions_of(const struct query_args *q)
{
	return q->own ? (struct functions){q->stream->compute, q->stream->compute_count} : (struct functions){q->select, q->select_count};
}

static void put_value(const struct row_value *x, const struct function_conf *fn, const struct row *row, struct buf *out)
{
	if (fn->fn == FN_COUNT)
		buf_printf(out, "%llu", (unsigned long long)row->partial.count);
	else if (fn->fn == FN_DISTINCT)
		buf_printf(out, "%.0f", round(x->v));
	else
		json_double(out, x->v);
}

bool row_value_put(const struct stream_conf *stream, const struct partial_spec *partial, const struct row *row,
    const struct function_conf *fn, struct buf *out)
{
	struct row_value x = row_value(stream, partial, row, fn);
	if (!x.null)
		put_value(&x, fn, row, out);
	return !x.null;
}

static void put_values(const struct query_args *q, const struct partial_spec *spec, const struct row *row, struct buf *out)
{
	const struct functions fns = functions_of(q);
	buf_printf(out, "{");
	for (size_t i = 0; i < fns.count; i++) {
		const struct function_conf *fn = &fns.all[i];
		struct row_value x = row_value(q->stream, spec, row, fn);
		buf_printf(out, i ? ", " : "");
		json_text(out, fn->text);
		buf_printf(out, ": ");
		if (x.null)
			buf_printf(out, "null");
		else
			put_value(&x, fn, row, out);
	}
	buf_printf(out, "}");
}

static void put_errors(const struct query_args *q, const struct partial_spec *spec, const struct row *row, struct buf *out)
{
	const struct functions fns = functions_of(q);
	bool first = true;
	buf_printf(out, "{");
	for (size_t i = 0; i < fns.count; i++) {
		const struct function_conf *fn = &fns.all[i];
		if (fn->fn != FN_QUANTILE && fn->fn != FN_DISTINCT)
			continue;
		struct row_value x = row_value(q->stream, spec, row, fn);
		if (x.null)
			continue;
		buf_printf(out, first ? "" : ", ");
		json_text(out, fn->text);
		buf_printf(out, ": ");
		json_double(out, x.error);
		first = false;
	}
	buf_printf(out, "}");
}

static void put_edges(const struct rows_edges *e, struct buf *out)
{
	buf_printf(out, "{\"expected\": %u, \"contributed\": %u, \"idle\": %u, \"partitioned\": %u, \"missing\": [",
	    e->expected, e->contributed, e->idle, e->partitioned);
	for (uint32_t i = 0; i < e->missing_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_bytes(out, (const char *)e->missing[i].p, e->missing[i].n);
	}
	buf_printf(out, "]}");
}

void row_json_put(const struct query_args *q, const struct partial_spec *partial, const struct row *row, struct buf *out)
{
	buf_printf(out, "{\"start\": ");
	json_time(out, row->start_ns);
	buf_printf(out, ", \"end\": ");
	json_time(out, row->end_ns);
	buf_printf(out, ", \"group\": ");
	put_group(q, row, out);
	buf_printf(out, ", \"values\": ");
	put_values(q, partial, row, out);
	buf_printf(out, ", \"error\": ");
	put_errors(q, partial, row, out);
	buf_printf(out, ", \"state\": \"%s\", \"revision\": ", window_state_text(row->state));
	if (row->revision)
		buf_printf(out, "%llu", (unsigned long long)row->revision);
	else
		buf_printf(out, "null");
	buf_printf(out, ", \"edges\": ");
	put_edges(&row->edges, out);
	buf_printf(out, "}");
}
