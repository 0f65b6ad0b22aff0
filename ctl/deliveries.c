#include "ctl/deliveries.h"

#include <stdlib.h>

#include "common/clock.h"
#include "ctl/printable.h"

static double figure(const json_t *sink, const char *key)
{
	return json_number_value(json_object_get(sink, key));
}

static bool is_known(const json_t *sink)
{
	return json_is_number(json_object_get(sink, "rows"));
}

/* In whole seconds; a daemon may say anything. */
static int64_t duration_of(const json_t *sink, const char *key)
{
	double s = figure(sink, key), most_s = (double)(INT64_MAX / NS_PER_SEC);
	return s > 0 ? (int64_t)(s < most_s ? s : most_s) * NS_PER_SEC : 0;
}

static void put_state(const json_t *sink, struct table *t)
{
	char since[TIME_TEXT_MAX];
	const json_t *at = json_object_get(sink, "failing_at");
	struct buf b = {0};
	size_t i;
	json_t *node;
	buf_printf(&b, "%s", ctl_text(sink, "state"));
	if (json_array_size(at)) {
		ctl_format_lag(duration_of(sink, "failing_s"), since);
		buf_printf(&b, " for %s at ", since);
	}
	json_array_foreach(at, i, node)
		buf_printf(&b, "%s%s", i ? ", " : "", json_is_string(node) ? json_string_value(node) : "?");
	table_cell(t, buf_cstr(&b));
	buf_free(&b);
}

static void put_figures(const struct ctl *ctl, const json_t *sink, struct table *t)
{
	char lag[TIME_TEXT_MAX];
	if (!is_known(sink)) {
		for (int i = 0; i < 4; i++)
			table_cell(t, ctl->format == FORMAT_CSV ? "" : "-");
		return;
	}
	table_cellf(t, "%.0f", figure(sink, "rows"));
	table_cellf(t, "%.0f", figure(sink, "alerts"));
	table_cellf(t, "%.0f", figure(sink, "backlog_rows") + figure(sink, "backlog_alerts"));
	ctl_format_lag(duration_of(sink, "lag_s"), lag);
	table_cell(t, lag);
}

/* Numbers without a node's are too small, which nothing else would show. */
static void put_unanswered(const json_t *nodes, struct buf *out)
{
	size_t i;
	json_t *node;
	if (!json_array_size(nodes))
		return;
	buf_printf(out, "without what ");
	json_array_foreach(nodes, i, node) {
		char *name = printable(json_is_string(node) ? json_string_value(node) : "?");
		buf_printf(out, "%s%s", i ? ", " : "", name);
		free(name);
	}
	buf_printf(out, " %s: no answer\n", i > 1 ? "deliver" : "delivers");
}

void deliveries_put(const struct ctl *ctl, const json_t *answer, struct buf *out)
{
	static const char *const columns[] = {"sink", "type", "state", "rows", "alerts", "waiting", "lag"};
	struct table *t = table_new(ctl->format == FORMAT_CSV);
	size_t i;
	json_t *sink;
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, columns[i], i >= 3);
	json_array_foreach(ctl_array(answer, "sinks"), i, sink) {
		table_cell(t, ctl_text(sink, "name"));
		table_cell(t, ctl_text(sink, "type"));
		put_state(sink, t);
		put_figures(ctl, sink, t);
	}
	table_flush(t, out);
	table_free(t);
	put_unanswered(ctl_array(answer, "unanswered"), out);
}
