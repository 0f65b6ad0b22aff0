/* One stream as one line of YAML, and back: how a definition is kept that topology.yaml no longer holds. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "common/topology_parts.h"

/* ---- scalars ---------------------------------------------------------------------------------------------- */

/* One character of UTF-8 at p: its code, and its length in *ret_len. The texts come from libyaml, which lets nothing
 * else through. */
static uint32_t utf8_char(const unsigned char *p, size_t *ret_len)
{
	size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
	uint32_t code = n == 1 ? *p : *p & (0x7fU >> n);
	for (size_t i = 1; i < n && p[i]; i++)
		code = code << 6 | (p[i] & 0x3fU);
	*ret_len = strnlen((const char *)p, n);
	return code;
}

/* In double quotes, plain ASCII: characters that YAML folds or refuses are written by their numbers. */
static void put_quoted(struct buf *out, const char *text)
{
	buf_u8(out, '"');
	for (size_t n; *text; text += n) {
		uint32_t code = utf8_char((const unsigned char *)text, &n);
		if (code == '"' || code == '\\')
			buf_printf(out, "\\%c", (char)code);
		else if (code >= 0x20 && code < 0x7f)
			buf_u8(out, (uint8_t)code);
		else if (code < 0x100)
			buf_printf(out, "\\x%02" PRIX32, code);
		else if (code < 0x10000)
			buf_printf(out, "\\u%04" PRIX32, code);
		else
			buf_printf(out, "\\U%08" PRIX32, code);
	}
	buf_u8(out, '"');
}

static void put_duration(struct buf *out, int64_t ns)
{
	char text[TIME_TEXT_MAX];
	duration_format(ns, text);
	buf_printf(out, "%s", ns == RETAIN_FOREVER ? "forever" : text);
}

/* ---- parts of a stream ------------------------------------------------------------------------------------ */

static void put_where(struct buf *out, const struct where_conf *where, size_t count)
{
	buf_u8(out, '{');
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%s", i ? ", " : "");
		put_quoted(out, where[i].tag);
		buf_printf(out, ": ");
		put_quoted(out, where[i].pattern);
	}
	buf_u8(out, '}');
}

static void put_from(const struct stream_conf *s, struct buf *out)
{
	buf_printf(out, "{measurement: ");
	put_quoted(out, s->measurement);
	buf_printf(out, ", field: ");
	put_quoted(out, s->field);
	if (s->where_count) {
		buf_printf(out, ", where: ");
		put_where(out, s->where, s->where_count);
	}
	buf_u8(out, '}');
}

static void put_range(const struct step_conf *s, struct buf *out)
{
	buf_printf(out, "{range: {");
	if (!isinf(s->min))
		buf_printf(out, "min: %.17g", s->min);
	if (!isinf(s->max))
		buf_printf(out, "%smax: %.17g", isinf(s->min) ? "" : ", ", s->max);
	buf_printf(out, "}}");
}

static void put_step(const struct step_conf *s, struct buf *out)
{
	switch (s->type) {
	case STEP_RANGE:
		put_range(s, out);
		return;
	case STEP_SCALE:
		buf_printf(out, "{scale: {by: %.17g, add: %.17g}}", s->by, s->add);
		return;
	case STEP_DEDUPE:
		buf_printf(out, "{dedupe: {depth: %u, max_series: %" PRIu64 "}}", s->depth, s->max_series);
		return;
	case STEP_RATE:
		buf_printf(out, "{rate: {per: ");
		put_duration(out, s->per_ns);
		buf_printf(out, ", max_series: %" PRIu64 "}}", s->max_series);
		return;
	case STEP_WHERE:
		buf_printf(out, "{where: ");
		put_where(out, s->where, s->where_count);
		buf_u8(out, '}');
		return;
	}
}

static void put_steps(const struct stream_conf *s, struct buf *out)
{
	for (size_t i = 0; i < s->step_count; i++) {
		buf_printf(out, i ? ", " : "[");
		put_step(&s->steps[i], out);
	}
	if (s->step_count)
		buf_u8(out, ']');
}

static void put_by(const struct stream_conf *s, struct buf *out)
{
	for (size_t i = 0; i < s->by_count; i++) {
		buf_printf(out, i ? ", " : "[");
		put_quoted(out, s->by[i]);
	}
	if (s->by_count)
		buf_u8(out, ']');
}

static void put_window(const struct stream_conf *s, struct buf *out)
{
	if (s->advance_ns == s->size_ns && !s->offset_ns) {
		put_duration(out, s->size_ns);
		return;
	}
	buf_printf(out, "{size: ");
	put_duration(out, s->size_ns);
	buf_printf(out, ", every: ");
	put_duration(out, s->advance_ns);
	buf_printf(out, ", offset: ");
	put_duration(out, s->offset_ns);
	buf_u8(out, '}');
}

static void put_compute(const struct stream_conf *s, struct buf *out)
{
	for (size_t i = 0; i < s->compute_count; i++) {
		buf_printf(out, i ? ", " : "[");
		put_quoted(out, s->compute[i].text);
	}
	buf_u8(out, ']');
}

static void put_rollups(const struct stream_conf *s, struct buf *out)
{
	for (size_t i = 0; i < s->rollup_count; i++) {
		buf_printf(out, i ? ", {every: " : "[{every: ");
		put_duration(out, s->rollups[i].every_ns);
		buf_printf(out, ", retain: ");
		put_duration(out, s->rollups[i].retain_ns);
		buf_u8(out, '}');
	}
	if (s->rollup_count)
		buf_u8(out, ']');
}

static void put_edges(const struct topology *t, const struct stream_conf *s, struct buf *out)
{
	if (!s->lists_edges)
		return;
	for (size_t i = 0; i < s->edge_count; i++) {
		buf_printf(out, i ? ", " : "[");
		put_quoted(out, t->edges[s->edges[i]].name);
	}
	if (s->edge_count)
		buf_u8(out, ']');
	else
		buf_printf(out, "[]");
}

static void put_text(struct buf *out, const char *key, const char *text)
{
	if (!text)
		return;
	buf_printf(out, ", %s: ", key);
	put_quoted(out, text);
}

static void put_alert(const struct alert_conf *a, struct buf *out)
{
	buf_printf(out, "{name: ");
	put_quoted(out, a->name);
	put_text(out, "when", a->when);
	buf_printf(out, ", for: %u, to: [", a->for_windows);
	for (size_t i = 0; i < a->to.count; i++) {
		buf_printf(out, i ? ", " : "");
		put_quoted(out, a->to.items[i]);
	}
	buf_u8(out, ']');
	put_text(out, "severity", a->severity);
	put_text(out, "summary", a->summary);
	buf_u8(out, '}');
}

static void put_alerts(const struct stream_conf *s, struct buf *out)
{
	for (size_t i = 0; i < s->alert_count; i++) {
		buf_printf(out, i ? ", " : "[");
		put_alert(&s->alerts[i], out);
	}
	if (s->alert_count)
		buf_u8(out, ']');
}

const char *const topology_stream_keys[STREAM_PARTS] = {"from", "steps", "by", "window", "lateness", "compute", "retain",
	"rollup", "edges", "max_groups", "alert"};

void topology_stream_part(const struct topology *t, const struct stream_conf *s, enum stream_part part, struct buf *out)
{
	switch (part) {
	case STREAM_FROM:
		put_from(s, out);
		return;
	case STREAM_STEPS:
		put_steps(s, out);
		return;
	case STREAM_BY:
		put_by(s, out);
		return;
	case STREAM_WINDOW:
		put_window(s, out);
		return;
	case STREAM_LATENESS:
		put_duration(out, s->lateness_ns);
		return;
	case STREAM_COMPUTE:
		put_compute(s, out);
		return;
	case STREAM_RETAIN:
		put_duration(out, s->retain_ns);
		return;
	case STREAM_ROLLUP:
		put_rollups(s, out);
		return;
	case STREAM_EDGES:
		put_edges(t, s, out);
		return;
	case STREAM_MAX_GROUPS:
		buf_printf(out, "%" PRIu64, s->max_groups);
		return;
	case STREAM_ALERT:
		put_alerts(s, out);
		return;
	case STREAM_PARTS:
		return;
	}
}

void topology_stream_text(const struct topology *t, const struct stream_conf *s, struct buf *out)
{
	buf_printf(out, "{name: ");
	put_quoted(out, s->name);
	for (int part = 0; part < STREAM_ALERT; part++) {
		struct buf value = {0};
		topology_stream_part(t, s, (enum stream_part)part, &value);
		if (value.len)
			buf_printf(out, ", %s: %s", topology_stream_keys[part], buf_cstr(&value));
		buf_free(&value);
	}
	buf_u8(out, '}');
}

/* ---- and back --------------------------------------------------------------------------------------------- */

static void add_edge(struct stream_conf *s, uint32_t edge)
{
	for (size_t i = 0; i < s->edge_count; i++) {
		if (s->edges[i] == edge)
			return;
	}
	s->edges[s->edge_count++] = edge;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

void topology_expect_all(const struct topology *t, struct stream_conf *s)
{
	free(s->edges);
	s->edges = xcalloc(t->edge_count, sizeof(*s->edges));
	s->edge_count = 0;
	for (size_t i = 0; i < t->edge_count; i++) {
		if (!t->edges[i].gone)
			s->edges[s->edge_count++] = (uint32_t)i;
	}
}

static void read_edges(struct conf *c, const struct conf_node *list, const struct topology *t, struct stream_conf *s)
{
	s->lists_edges = true;
	if (!conf_expect(c, list, CONF_LIST))
		return;
	s->edges = xcalloc(list->count, sizeof(*s->edges));
	for (const struct conf_node *v = list->first; v; v = v->next) {
		const char *name;
		if (!conf_name(c, v, &name))
			continue;
		int edge = topology_edge(t, name);
		if (edge >= 0)
			add_edge(s, (uint32_t)edge);
	}
	if (s->edge_count)
		qsort(s->edges, s->edge_count, sizeof(*s->edges), compare_u32);
}

int topology_stream_parse(const struct topology *t, const char *text, struct stream_conf *ret, struct buf *errors)
{
	struct conf *c = conf_new("stream");
	struct stream_conf s = {0};
	conf_parse(c, text, strlen(text));
	const struct conf_node *root = conf_root(c);
	if (root && conf_expect(c, root, CONF_MAP)) {
		const struct conf_node *edges = conf_get(root, "edges");
		conf_read(c, root, &topology_stream_schema, &s);
		if (edges)
			read_edges(c, edges, t, &s);
		else
			topology_expect_all(t, &s);
	}
	int err = conf_error_count(c) || !root ? WEIR_EINVAL : 0;
	if (err) {
		conf_errors(c, errors);
		stream_conf_clear(&s);
	} else {
		s.version = topology_stream_version(&s);
		*ret = s;
	}
	conf_free(c);
	return err;
}
