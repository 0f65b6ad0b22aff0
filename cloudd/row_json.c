#include "cloudd/row_json.h"

#include <math.h>
#include <string.h>

#include "common/json.h"

static uint32_t distinct_index(const struct stream_conf *s, const char *tag)
{
	uint32_t i = 0;
	while (i < s->distinct_count && strcmp(s->distinct[i], tag))
		i++;
	return i;
}

struct value {
	double v, error;
	bool null;
};

static struct value eval(const struct query_args *q, const struct partial_spec *spec, const struct row *row,
    const struct function_conf *fn)
{
	struct value x = {.null = true};
	if (!stream_computes(q->stream, fn))
		return x; /* another version does */
	uint32_t at = fn->fn == FN_DISTINCT ? distinct_index(q->stream, fn->tag) : 0;
	partial_eval(&row->partial, spec, fn->fn, fn->q, at, &x.v, &x.error, &x.null);
	return x;
}

static void put_tag(const char *tag, const uint8_t *value, size_t n, const char *comma, struct buf *out)
{
	buf_printf(out, "%s", comma);
	json_text(out, tag);
	buf_printf(out, ": ");
	json_bytes(out, value ? (const char *)value : "", n);
}

/* The group as the version stores it. */
static void put_own_group(const struct query_args *q, const struct row *row, struct buf *out)
{
	struct rd r = rd_init(row->group.p, row->group.n);
	buf_printf(out, "{");
	for (size_t i = 0; i < q->stream->by_count; i++) {
		size_t n = 0;
		const uint8_t *v = rd_bytes(&r, GROUP_KEY_MAX, &n);
		put_tag(q->stream->by[i], v, n, i ? ", " : "", out);
	}
	buf_printf(out, "}");
}

static void put_group(const struct query_args *q, const struct row *row, struct buf *out)
{
	const struct query_version *version = &q->versions[q->at];
	struct rd r = rd_init(row->group.p, row->group.n);
	buf_printf(out, "{");
	for (uint32_t i = 0; i < q->by_count; i++) {
		size_t n = 0;
		const uint8_t *v = version->column[i] == UINT32_MAX ? NULL : rd_bytes(&r, GROUP_KEY_MAX, &n);
		put_tag(q->by[i], v, n, i ? ", " : "", out);
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

static void put_values(const struct query_args *q, const struct partial_spec *spec, const struct row *row, struct buf *out)
{
	const struct functions fns = functions_of(q);
	buf_printf(out, "{");
	for (size_t i = 0; i < fns.count; i++) {
		const struct function_conf *fn = &fns.all[i];
		struct value x = eval(q, spec, row, fn);
		buf_printf(out, i ? ", " : "");
		json_text(out, fn->text);
		buf_printf(out, ": ");
		if (x.null)
			buf_printf(out, "null");
		else if (fn->fn == FN_COUNT)
			buf_printf(out, "%llu", (unsigned long long)row->partial.count);
		else if (fn->fn == FN_DISTINCT)
			buf_printf(out, "%.0f", round(x.v));
		else
			json_double(out, x.v);
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
		struct value x = eval(q, spec, row, fn);
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
	if (q->own)
		put_own_group(q, row, out);
	else
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
