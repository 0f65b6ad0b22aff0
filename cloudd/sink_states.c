#include "cloudd/sink_states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"

#define FIGURES_BYTES_MAX 1024 /* of a sink, encoded: those of a later version may be more */

_Static_assert(CLOUDS_MAX <= 64, "a node is a bit");

/* ---- what a node tells --------------------------------------------------------------------------------------------- */

void sink_figures_put(const char *name, const struct sink_figures *f, struct buf *out)
{
	struct buf b = {0};
	buf_str(&b, name);
	buf_varint(&b, f->rows);
	buf_varint(&b, f->alerts);
	buf_varint(&b, f->backlog_rows);
	buf_varint(&b, f->backlog_alerts);
	buf_varint(&b, (uint64_t)f->lag_ns);
	buf_varint(&b, (uint64_t)f->failing_ns);
	buf_str(&b, f->why);
	buf_bytes(out, b.data, b.len); /* in its own bytes, so that a later version may add to it */
	buf_free(&b);
}

static void read_text(struct rd *r, size_t max, char *ret)
{
	char *text = rd_str(r, max);
	snprintf(ret, max + 1, "%s", text ? text : "");
	free(text);
}

static int read_figures(struct rd *r, char name[NAME_MAX_BYTES + 1], struct sink_figures *f)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, FIGURES_BYTES_MAX, &n);
	if (!p)
		return r->err;
	struct rd in = rd_init(p, n);
	read_text(&in, NAME_MAX_BYTES, name);
	f->rows = rd_varint(&in);
	f->alerts = rd_varint(&in);
	f->backlog_rows = rd_varint(&in);
	f->backlog_alerts = rd_varint(&in);
	f->lag_ns = (int64_t)rd_varint_max(&in, INT64_MAX);
	f->failing_ns = (int64_t)rd_varint_max(&in, INT64_MAX);
	read_text(&in, SINK_WHY_MAX - 1, f->why);
	return in.err;
}

/* ---- taken together ------------------------------------------------------------------------------------------------ */

static void add(struct sink_state *s, const struct sink_figures *f, uint32_t node)
{
	struct sink_figures *sum = &s->sum;
	s->told_by |= UINT64_C(1) << node;
	sum->rows += f->rows;
	sum->alerts += f->alerts;
	sum->backlog_rows += f->backlog_rows;
	sum->backlog_alerts += f->backlog_alerts;
	sum->lag_ns = f->lag_ns > sum->lag_ns ? f->lag_ns : sum->lag_ns;
	if (!f->failing_ns)
		return;
	s->failing_at |= UINT64_C(1) << node;
	if (f->failing_ns <= sum->failing_ns)
		return;
	sum->failing_ns = f->failing_ns;
	memcpy(sum->why, f->why, sizeof(sum->why));
}

/* ret: one for each sink of the topology; told: which of them it tells of. */
static int decode(struct bytes raw, const struct topology *t, struct sink_figures *ret, bool *told)
{
	struct rd r = rd_init(raw.p, raw.n);
	uint64_t n = rd_varint_max(&r, SINKS_MAX);
	for (uint64_t i = 0; i < n; i++) {
		char name[NAME_MAX_BYTES + 1];
		struct sink_figures f;
		int rc = read_figures(&r, name, &f);
		if (rc)
			return rc;
		int at = topology_sink(t, name);
		if (at < 0)
			continue;
		if (told[at])
			return WEIR_ECORRUPT;
		told[at] = true;
		ret[at] = f;
	}
	return rd_finish(&r);
}

int sink_states_add(struct bytes raw, const struct topology *t, uint32_t node, struct sink_state *states)
{
	struct sink_figures *figures = xcalloc(SINKS_MAX, sizeof(*figures));
	bool told[SINKS_MAX] = {false};
	int rc = decode(raw, t, figures, told);
	for (size_t i = 0; i < t->sink_count && !rc; i++)
		if (told[i])
			add(&states[i], &figures[i], node);
	free(figures);
	return rc;
}

/* ---- as JSON ------------------------------------------------------------------------------------------------------- */

static void put_count(struct buf *out, const char *key, bool known, uint64_t value)
{
	if (known)
		buf_printf(out, ", \"%s\": %llu", key, (unsigned long long)value);
	else
		buf_printf(out, ", \"%s\": null", key);
}

static void put_seconds(struct buf *out, const char *key, bool known, int64_t ns)
{
	buf_printf(out, ", \"%s\": ", key);
	if (known)
		json_double(out, (double)(ns / NS_PER_MS) / 1000);
	else
		buf_printf(out, "null");
}

static void put_nodes(struct buf *out, const char *key, const struct topology *t, uint64_t nodes)
{
	const char *comma = "";
	buf_printf(out, ", \"%s\": [", key);
	for (uint32_t i = 0; i < t->cloud_count; i++) {
		if (!(nodes >> i & 1))
			continue;
		buf_printf(out, "%s", comma);
		json_text(out, t->clouds[i].name);
		comma = ", ";
	}
	buf_printf(out, "]");
}

static void put_sink(const struct topology *t, const struct sink_conf *conf, const struct sink_state *s, struct buf *out)
{
	bool known = s->told_by != 0;
	buf_printf(out, "{\"name\": ");
	json_text(out, conf->name);
	buf_printf(out, ", \"type\": \"%s\", \"state\": \"%s\"", sink_type_text(conf->type), !known ? "unknown" : s->failing_at ? "failing" : "delivers");
	put_count(out, "rows", known, s->sum.rows);
	put_count(out, "alerts", known, s->sum.alerts);
	put_count(out, "backlog_rows", known, s->sum.backlog_rows);
	put_count(out, "backlog_alerts", known, s->sum.backlog_alerts);
	put_seconds(out, "lag_s", known, s->sum.lag_ns);
	put_seconds(out, "failing_s", known, s->sum.failing_ns);
	put_nodes(out, "failing_at", t, s->failing_at);
	buf_printf(out, ", \"error\": ");
	if (s->failing_at)
		json_text(out, s->sum.why);
	else
		buf_printf(out, "null");
	buf_printf(out, "}");
}

void sink_states_json(const struct topology *t, const struct sink_state *states, uint64_t unanswered, struct buf *out)
{
	buf_printf(out, "{\"sinks\": [");
	for (size_t i = 0; i < t->sink_count; i++) {
		buf_printf(out, i ? ",\n  " : "\n  ");
		put_sink(t, &t->sinks[i], &states[i], out);
	}
	buf_printf(out, "]");
	put_nodes(out, "unanswered", t, unanswered);
	buf_printf(out, "}\n");
}
