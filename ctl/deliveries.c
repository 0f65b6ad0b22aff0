#include "ctl/deliveries.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/model.h"
#include "ctl/cluster.h"
#include "ctl/http_client.h"
#include "ctl/prom.h"

#define TYPE_MAX 32

/* ---- taken together ------------------------------------------------------------------------------------------------ */

/* What is summed over the nodes; of times the longest counts. */
static const struct {
	const char *metric, *key;
	bool longest;
} figures[] = {
	{"weir_cloud_sink_rows_total", "rows", false},
	{"weir_cloud_sink_alerts_total", "alerts", false},
	{"weir_cloud_sink_backlog_rows", "backlog_rows", false},
	{"weir_cloud_sink_backlog_alerts", "backlog_alerts", false},
	{"weir_cloud_sink_lag_seconds", "lag_s", true},
	{"weir_cloud_sink_failing_seconds", "failing_s", true},
};

static json_t *sink_of(json_t *sinks, const char *name, const char *type)
{
	size_t i;
	json_t *s;
	json_array_foreach(sinks, i, s) {
		if (!strcmp(ctl_text(s, "name"), name))
			return s;
	}
	s = json_pack("{s:s, s:s, s:s}", "name", name, "type", type, "state", "delivers");
	for (i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		json_object_set_new(s, figures[i].key, json_real(0));
	json_object_set_new(s, "failing_at", json_array());
	json_array_append_new(sinks, s);
	return s;
}

static void add_figure(json_t *sink, const char *key, double value, bool longest)
{
	double now = json_real_value(json_object_get(sink, key));
	json_object_set_new(sink, key, json_real(!longest ? now + value : value > now ? value : now));
}

static void note_failing(json_t *sink, const char *node)
{
	json_object_set_new(sink, "state", json_string("failing"));
	json_array_append_new(json_object_get(sink, "failing_at"), json_string(node));
}

void deliveries_take(json_t *sinks, const char *node, const char *metrics)
{
	struct prom_sample s;
	char name[NAME_MAX_BYTES + 1], type[TYPE_MAX];
	const char *at = metrics;
	while (prom_next(&at, &s)) {
		for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
			if (!prom_is(&s, figures[i].metric) || !prom_label(&s, "sink", name, sizeof(name)))
				continue;
			(void)prom_label(&s, "type", type, sizeof(type));
			json_t *sink = sink_of(sinks, name, type);
			add_figure(sink, figures[i].key, s.value, figures[i].longest);
			if (s.value > 0 && !strcmp(figures[i].key, "failing_s"))
				note_failing(sink, node);
		}
	}
}

/* ---- asked --------------------------------------------------------------------------------------------------------- */

static void ask_one(struct http_client *http, const char *node, json_t *sinks)
{
	struct http_answer answer;
	struct buf why = {0};
	if (!http_client_request(http, "GET", "/metrics", (struct bytes){0}, &answer, &why)) {
		if (answer.status == 200)
			deliveries_take(sinks, node, buf_cstr(&answer.body));
		buf_free(&answer.body);
	}
	buf_free(&why);
}

static void ask_other(struct ctl *ctl, const json_t *node, json_t *sinks)
{
	struct buf error = {0};
	char *address = cluster_http_address(node);
	struct http_client *http = *address ? http_client_other(ctl->http, address, &error) : NULL;
	if (http)
		ask_one(http, ctl_text(node, "name"), sinks);
	http_client_free(http);
	buf_free(&error);
	free(address);
}

/* Most clusters have none, and are asked no more than that. */
json_t *deliveries_ask(struct ctl *ctl, const json_t *cluster)
{
	json_t *sinks = json_array(), *node;
	const char *asked = ctl_text(cluster, "asked");
	size_t i;
	ask_one(ctl->http, asked, sinks);
	json_array_foreach(ctl_array(cluster, "nodes"), i, node) {
		if (json_array_size(sinks) && strcmp(ctl_text(node, "name"), asked) != 0 && !strcmp(ctl_text(node, "state"), "up"))
			ask_other(ctl, node, sinks);
	}
	return sinks;
}

/* ---- shown --------------------------------------------------------------------------------------------------------- */

static double figure(const json_t *sink, const char *key)
{
	return json_real_value(json_object_get(sink, key));
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
		buf_printf(&b, "%s%s", i ? ", " : "", json_string_value(node));
	table_cell(t, buf_cstr(&b));
	buf_free(&b);
}

void deliveries_put(const struct ctl *ctl, const json_t *sinks, struct buf *out)
{
	static const char *const columns[] = {"sink", "type", "state", "rows", "alerts", "waiting", "lag"};
	struct table *t = table_new(ctl->format == FORMAT_CSV);
	size_t i;
	json_t *sink;
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, columns[i], i >= 3);
	json_array_foreach(sinks, i, sink) {
		char lag[TIME_TEXT_MAX];
		table_cell(t, ctl_text(sink, "name"));
		table_cell(t, ctl_text(sink, "type"));
		put_state(sink, t);
		table_cellf(t, "%.0f", figure(sink, "rows"));
		table_cellf(t, "%.0f", figure(sink, "alerts"));
		table_cellf(t, "%.0f", figure(sink, "backlog_rows") + figure(sink, "backlog_alerts"));
		ctl_format_lag(duration_of(sink, "lag_s"), lag);
		table_cell(t, lag);
	}
	table_flush(t, out);
	table_free(t);
}
