#include "tests/sim/sim_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/line.h"
#include "common/topology.h"
#include "tests/sim/sim_change.h"
#include "tests/sim/sim_script.h"

const char *const sim_tag_keys[SIM_TAG_KEYS] = {"sensor", "site", "kind"};

static const char *const measurements[] = {"flow", "temp room", "ctr", "unmatched"};
enum { M_FLOW, M_TEMP, M_CTR, M_UNMATCHED };
static const char *const fields[] = {"v", "w x", "n"};
static const char *const sensors[] = {
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s 8", "s,9", "s=10", "s\303\25111", "12", "13", "x14", "x15"};
static const char *const sites[] = {"north", "south", "sou th"};
static const char *const kinds[] = {"a", "b"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FIRST_CLOUDS_MAX 5 /* of a cluster that begins */
#define SINKS_EVERY 4      /* so many seeds one has sinks */
#define ALERTS_EVERY 2     /* so many of these one has alerts */

/* ---- the topology's text ------------------------------------------------------------------------------------- */

static const char *pick_text(struct sim_rand *r, const char *const *list, size_t n)
{
	return list[sim_below(r, n)];
}

void sim_plan_put_source(unsigned edge, size_t source, struct buf *out)
{
	buf_printf(out, "      - {type: file, name: s%zu, path: source-%u-%zu.lp, follow: true}\n", source + 1, edge, source + 1);
}

void sim_plan_put_edge(const struct sim_plan *p, struct sim_rand *r, unsigned n, size_t sources, struct buf *out)
{
	buf_printf(out,
	    "  - name: edge-%u\n"
	    "    data: run/edge-%u\n"
	    "    tags: {gw: g%u, zone: z%u}\n"
	    "    sources:\n",
	    n, n, n, (n - 1) % 2);
	for (size_t s = 0; s < sources; s++)
		sim_plan_put_source(n, s, out);
	buf_printf(out,
	    "    heartbeat: %" PRId64 "ms\n    idle_after: %" PRId64 "s\n"
	    "    flush: %" PRId64 "ms\n    max_ahead: 20s\n",
	    p->failover ? 1000 : sim_range(r, 5, 20) * 100, sim_range(r, 4, 8),
	    p->failover ? 200 : sim_range(r, 5, 60) * 100);
}

static void put_edges(struct sim_plan *p, struct sim_rand *r, uint32_t edges)
{
	buf_printf(&p->yaml, "edges:\n");
	for (uint32_t e = 0; e < edges; e++) {
		p->source_count[e] = 1 + sim_below(r, sim_chance(r, 0.2) ? SIM_SOURCES_MAX : 2);
		sim_plan_put_edge(p, r, e + 1, p->source_count[e], &p->yaml);
	}
}

static void put_window(struct sim_rand *r, struct buf *out)
{
	static const struct {
		int size, every, offset;
	} windows[] = {{1, 1, 0}, {2, 2, 0}, {5, 5, 0}, {10, 10, 0}, {6, 2, 0}, {6, 4, 0}, {10, 5, 0}, {5, 1, 0},
	    {5, 5, 1}, {10, 5, 1}, {12, 3, 0}, {3, 3, 0}};
	size_t i = sim_below(r, COUNT(windows));
	if (windows[i].size == windows[i].every && !windows[i].offset) {
		buf_printf(out, "    window: %ds\n", windows[i].size);
		return;
	}
	buf_printf(out, "    window: {size: %ds, every: %ds", windows[i].size, windows[i].every);
	if (windows[i].offset)
		buf_printf(out, ", offset: %ds", windows[i].offset);
	buf_printf(out, "}\n");
}

static void put_steps(struct sim_rand *r, bool counter, struct buf *out)
{
	bool first = true;
	int kinds_left = sim_chance(r, 0.4) ? 0 : (int)sim_range(r, 1, 3);
	if (counter && !kinds_left && sim_chance(r, 0.7))
		kinds_left = 1;
	for (; kinds_left > 0; kinds_left--) {
		if (first)
			buf_printf(out, "    steps:\n");
		first = false;
		switch (counter ? 3 + sim_below(r, 2) : sim_below(r, 5)) {
		case 0:
			buf_printf(out, "      - range: {min: %" PRId64 ", max: %" PRId64 "}\n", sim_range(r, -50, 10),
			    sim_range(r, 60, 120));
			break;
		case 1:
			buf_printf(out, "      - scale: {by: 1.609344, add: %" PRId64 "}\n", sim_range(r, -3, 3));
			break;
		case 2:
			buf_printf(out, "      - where: {sensor: \"[sx]*\"}\n");
			break;
		case 3:
			buf_printf(out, "      - dedupe: {depth: %" PRId64 "}\n", sim_range(r, 1, 8));
			break;
		case 4:
			buf_printf(out, "      - rate: {per: %s}\n", sim_chance(r, 0.5) ? "1s" : "1m");
			break;
		}
	}
}

static void put_by(const struct sim_plan *p, struct sim_rand *r, struct buf *out)
{
	static const char *const by[] = {"[sensor]", "[site, sensor]", "[gw, sensor]", "[]", "[kind, site]", "[zone]",
	    "[sensor, kind, gw]", "[sensor, missing]"};
	buf_printf(out, "    by: %s\n", p->failover ? by[0] : pick_text(r, by, COUNT(by)));
}

static void put_compute(struct sim_rand *r, struct buf *out)
{
	static const char *const compute[] = {
	    "[count, sum, mean, min, max, stddev, first, last, p50, p95, p99]",
	    "[count, sum, first, last]",
	    "[count]",
	    "[mean, p0, p100, p99.9]",
	    "[count, sum, min, max, distinct(sensor)]",
	    "[stddev, distinct(sensor), distinct(kind), p50]",
	};
	buf_printf(out, "    compute: %s\n", pick_text(r, compute, COUNT(compute)));
}

void sim_plan_put_stream(const struct sim_plan *p, struct sim_rand *r, unsigned n, bool counter, uint32_t edges, struct buf *out)
{
	static const char *const froms[] = {"{measurement: flow, field: v}", "{measurement: \"*\", field: \"v\"}",
	    "{measurement: \"flow\", field: \"*\"}", "{measurement: \"temp room\", field: \"w*\"}",
	    "{measurement: flow, field: v, where: {sensor: \"s*\"}}",
	    "{measurement: \"[ft]*\", field: \"v\", where: {site: north}}"};
	buf_printf(out, "  - name: stream%u\n    from: %s\n", n,
	    counter ? "{measurement: ctr, field: n}" : p->failover ? froms[1] : pick_text(r, froms, COUNT(froms)));
	if (!p->failover)
		put_steps(r, counter, out);
	put_by(p, r, out);
	put_window(r, out);
	buf_printf(out, "    lateness: %" PRId64 "ms\n", sim_chance(r, 0.2) ? 0 : sim_range(r, 1, 8) * 500);
	put_compute(r, out);
	double u = sim_unit(r);
	if (u < 0.7)
		buf_printf(out, "    retain: forever\n");
	else if (u < 0.85)
		buf_printf(out, "    retain: %" PRId64 "s\n    rollup: [{every: 60s, retain: forever}]\n", sim_range(r, 2, 6) * 10);
	else
		buf_printf(out, "    retain: %" PRId64 "s\n", sim_range(r, 20, 60));
	if (edges > 1 && sim_chance(r, 0.15))
		buf_printf(out, "    edges: [edge-1, edge-%u]\n", edges);
	if (sim_chance(r, 0.15))
		buf_printf(out, "    max_groups: %" PRId64 "\n", sim_range(r, 4, 24));
}

/* ---- alerts: their own chance, so that what else a seed has does not change ------------------------------------- */

/* Such as are met about as often as not. */
static const struct {
	const char *needs, *when;
} conditions[] = {{"count", "count >= 3"}, {"count", "count < 3"}, {"count", "count > 1 and not count == 4"}, {"sum", "sum > 100"},
    {"sum", "sum / count < 45"}, {"min, max", "max - min > 40"}, {"mean", "mean > 45"}, {"p0,", "p10 > 30"}, {"p50", "p50 > 45"},
    {"distinct(sensor)", "distinct(sensor) > 1"}, {"stddev", "not stddev > 20"}};

static const char *pick_condition(struct sim_rand *r, const char *compute)
{
	char line[160];
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(compute, "\n"), compute);
	for (;;) { /* each list that a stream may have fits one */
		size_t i = sim_below(r, COUNT(conditions));
		if (strstr(line, conditions[i].needs))
			return conditions[i].when;
	}
}

static void put_alert(struct sim_rand *r, char letter, const char *stream, const char *compute, unsigned sinks, struct buf *out)
{
	static const char *const to[] = {"", ", to: all", ", to: final", ", to: [all, final]"};
	const char *when = pick_condition(r, compute);
	int64_t windows = sim_range(r, 1, 3);
	unsigned wanted = (unsigned)sim_range(r, 1, SIM_SINKS);
	buf_printf(out, "      - {name: %c-%s, when: \"%s\", for: %" PRId64 "%s}\n", letter, stream, when, windows, to[wanted & sinks]);
}

void sim_plan_put_alerts(const struct sim_plan *p, const char *stream, const char *compute, unsigned turn, unsigned sinks, struct buf *out)
{
	uint64_t name = sim_mix((uint64_t)stream[strlen(stream) - 1]);
	struct sim_rand r = {sim_mix(p->seed ^ UINT64_C(0xa1e27) ^ name) + (turn >> (name & 1))};
	uint64_t n = !turn || sim_chance(&r, 0.8) ? 1 + sim_below(&r, 2) : 0;
	if (!p->alerts || !n)
		return;
	buf_printf(out, "    alert:\n");
	for (uint64_t i = 0; i < n; i++)
		put_alert(&r, (char)('a' + i), stream, compute, sinks, out);
}

static void put_first_alerts(struct sim_plan *p, unsigned n, size_t text_at, unsigned sinks)
{
	char stream[SIM_NAME_MAX];
	struct buf alerts = {0};
	snprintf(stream, sizeof(stream), "stream%u", n);
	const char *compute = strstr(buf_cstr(&p->yaml) + text_at, "    compute: ");
	weir_assert(compute);
	sim_plan_put_alerts(p, stream, compute, 0, sinks, &alerts);
	buf_put(&p->yaml, alerts.data, alerts.len);
	buf_free(&alerts);
}

/* Mostly three clouds with three replicas; one replica as without replication; five, and replicas that do not lie on all. */
static void put_cluster_size(const struct sim_plan *p, struct sim_rand *r, uint32_t *ret_clouds, uint32_t *ret_replicas)
{
	double u = p->failover ? 0.5 : sim_unit(r);
	*ret_clouds = *ret_replicas = 3;
	if (u < 0.12) {
		*ret_clouds = (uint32_t)sim_range(r, 1, 4);
		*ret_replicas = 1;
	} else if (u >= 0.85) {
		*ret_clouds = (uint32_t)sim_range(r, 4, FIRST_CLOUDS_MAX);
		*ret_replicas = *ret_clouds == 5 && sim_chance(r, 0.4) ? 5 : 3;
	}
}

/* What the text is made of besides nodes comes first: their number must not change what else a seed has. */
static void put_topology(struct sim_plan *p, struct sim_rand *r, enum sim_script script, struct sim_text *t)
{
	uint32_t clouds;
	put_cluster_size(p, r, &clouds, &t->replicas);
	/* Idle groups cost as much as busy ones: most seeds have few. */
	uint32_t edges = p->failover ? 2 : (uint32_t)sim_range(r, 1, sim_chance(r, 0.8) ? 3 : SIM_EDGES_MAX);
	uint32_t shards = p->failover ? 3 : (uint32_t)sim_range(r, 1, sim_chance(r, 0.85) ? 3 : 6);
	uint32_t streams = (uint32_t)sim_range(r, 1, sim_chance(r, 0.7) ? 2 : 3);
	t->partitioned_after_s = sim_range(r, 4, 12);
	if (script != SCRIPT_NONE) { /* a node more costs more than an edge */
		edges = edges > 2 ? 2 : edges;
		shards = shards > 3 ? 3 : shards;
		streams = 1;
	}
	t->shards = shards;
	for (uint32_t c = 0; c < clouds; c++)
		t->has[c] = true;
	put_edges(p, r, edges);
	buf_printf(&p->yaml, "streams:\n");
	for (unsigned s = 0; s < streams; s++) {
		size_t at = p->yaml.len;
		sim_plan_put_stream(p, r, s + 1, !p->failover && sim_chance(r, 0.25), edges, &p->yaml);
		put_first_alerts(p, s + 1, at, t->sinks);
	}
	t->rest = p->yaml;
	p->yaml = (struct buf){0};
	if (script != SCRIPT_NONE) {
		struct sim_rand own = {sim_mix(p->seed ^ UINT64_C(0xc4a9e))};
		sim_script_begin(script, &own, t);
		sim_text_put(t, &p->yaml);
		sim_script_members(p, script, &own, t);
	} else {
		sim_text_put(t, &p->yaml);
		sim_change_plan(p, t);
	}
}

void sim_plan_tune(const struct sim_plan *p, struct topology *t)
{
	for (size_t i = 0; i < t->edge_count; i++) {
		struct edge_conf *c = &t->edges[i];
		int edge = sim_plan_edge(p, c->name);
		weir_assert(edge >= 0);
		struct sim_rand r = {sim_mix(p->seed + (uint64_t)edge)};
		c->tick_ns = p->failover ? 100 * NS_PER_MS : sim_range(&r, 1, 10) * 100 * NS_PER_MS;
		c->memory_bytes = sim_chance(&r, 0.3) ? 32 * 1024 : 1024 * 1024;
		c->disk_bytes = p->small_disk ? (uint64_t)sim_range(&r, 24, 96) * 1024 : 8 * 1024 * 1024;
	}
}

static int parse_text(const struct buf *yaml, struct topology **ret_topology, char **ret_why)
{
	struct buf errors = {0};
	int rc = topology_parse("sim.yaml", yaml->data, yaml->len, ret_topology, &errors);
	if (rc) {
		struct buf copy = {0};
		buf_put(&copy, yaml->data, yaml->len);
		*ret_why = xasprintf("%s%s", buf_cstr(&copy), buf_cstr(&errors));
		buf_free(&copy);
	}
	buf_free(&errors);
	return rc;
}

static void add_name(char (*names)[SIM_NAME_MAX], uint32_t *count, uint32_t max, const char *name)
{
	for (uint32_t i = 0; i < *count; i++)
		if (!strcmp(names[i], name))
			return;
	weir_assert(*count < max && strlen(name) < SIM_NAME_MAX);
	snprintf(names[(*count)++], SIM_NAME_MAX, "%s", name);
}

static void add_names(struct sim_plan *p, const struct topology *t)
{
	for (size_t i = 0; i < t->cloud_count; i++)
		add_name(p->clouds, &p->cloud_count, SIM_CLOUDS_MAX, t->clouds[i].name);
	for (size_t i = 0; i < t->edge_count; i++)
		add_name(p->edges, &p->edge_count, SIM_EDGES_MAX, t->edges[i].name);
}

static int load_topologies(struct sim_plan *p, char **ret_why)
{
	int rc = parse_text(&p->yaml, &p->topology, ret_why);
	if (!rc)
		add_names(p, p->topology);
	for (uint32_t i = 0; i < p->change_count && !rc; i++) {
		struct sim_change *c = &p->changes[i];
		if (c->deed != SIM_APPLY_TEXT || c->refused)
			continue;
		rc = parse_text(&c->yaml, &c->topology, ret_why);
		if (!rc)
			add_names(p, c->topology);
	}
	if (!rc)
		rc = sim_change_check(p, ret_why);
	if (rc)
		return rc;
	sim_plan_tune(p, p->topology);
	for (uint32_t i = 0; i < p->change_count; i++) {
		struct sim_change *c = &p->changes[i];
		char name[SIM_NAME_MAX];
		if (c->topology)
			sim_plan_tune(p, c->topology);
		snprintf(name, sizeof(name), "cloud-%u", c->cloud + 1);
		int cloud = c->deed == SIM_APPLY_TEXT ? 0 : sim_plan_cloud(p, name);
		weir_assert(cloud >= 0);
		c->cloud = (uint32_t)cloud;
	}
	return 0;
}

static int find_name(const char (*names)[SIM_NAME_MAX], uint32_t count, const char *name)
{
	for (uint32_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

int sim_plan_cloud(const struct sim_plan *p, const char *name)
{
	return find_name(p->clouds, p->cloud_count, name);
}

int sim_plan_edge(const struct sim_plan *p, const char *name)
{
	return find_name(p->edges, p->edge_count, name);
}

const struct edge_conf *sim_plan_edge_conf(const struct sim_plan *p, uint32_t edge)
{
	int i = topology_edge(p->topology, p->edges[edge]);
	const struct topology *t = p->topology;
	for (uint32_t k = 0; k < p->change_count && i < 0; k++) {
		t = p->changes[k].topology ? p->changes[k].topology : t;
		i = topology_edge(t, p->edges[edge]);
	}
	weir_assert(i >= 0);
	return &t->edges[i];
}

/* ---- readings ------------------------------------------------------------------------------------------------ */

struct source_gen {
	struct sim_rand rand;
	size_t sensors;
	int64_t every_ns;
	double late, bad, ahead, duplicate, untimed;
	uint64_t counters[COUNT(sensors)];
	int64_t previous_t;
	int64_t highest_t;
};

static double gen_value(struct sim_rand *r)
{
	switch (sim_below(r, 8)) {
	case 0:
		return (double)sim_range(r, -100, 200);
	case 1:
		return 0;
	case 2:
		return (sim_unit(r) - 0.5) * 1e-3;
	case 3:
		return sim_unit(r) * 1e9;
	default:
		return 20 + 60 * sim_unit(r);
	}
}

static void gen_field(struct source_gen *g, struct sim_field *f)
{
	struct sim_rand *r = &g->rand;
	f->value = gen_value(r);
	switch (sim_below(r, 12)) {
	case 0:
		f->type = SIM_INT;
		f->value = trunc(f->value);
		break;
	case 1:
		f->type = SIM_UINT;
		f->value = fabs(trunc(f->value));
		break;
	case 2:
		f->type = sim_chance(r, 0.5) ? SIM_BOOL : SIM_STRING;
		f->value = f->value > 40;
		break;
	default:
		f->type = SIM_FLOAT;
		break;
	}
}

static void gen_shape(struct source_gen *g, struct sim_line *l)
{
	struct sim_rand *r = &g->rand;
	size_t sensor = sim_below(r, g->sensors);
	size_t m = sim_chance(r, 0.05) ? M_UNMATCHED : sim_chance(r, 0.5) ? M_FLOW : sim_chance(r, 0.5) ? M_TEMP : M_CTR;
	l->measurement = measurements[m];
	l->tags[0] = sim_chance(r, 0.03) ? NULL : sensors[sensor];
	l->tags[1] = sim_chance(r, 0.05) ? NULL : sites[sensor % COUNT(sites)];
	l->tags[2] = sim_chance(r, 0.5) ? NULL : pick_text(r, kinds, COUNT(kinds));
	if (m == M_CTR) {
		uint64_t *c = &g->counters[sensor];
		*c = sim_chance(r, 0.03) ? sim_below(r, 10) : *c + sim_below(r, 100);
		l->field_count = 1;
		l->fields[0] = (struct sim_field){fields[2], SIM_UINT, (double)*c};
		return;
	}
	l->field_count = (uint32_t)sim_range(r, 1, 2);
	for (uint32_t i = 0; i < l->field_count; i++) {
		l->fields[i].name = fields[i];
		gen_field(g, &l->fields[i]);
	}
}

static void gen_time(struct source_gen *g, const struct sim_source *s, struct sim_line *l, int64_t at_ns)
{
	struct sim_rand *r = &g->rand;
	int64_t t = SIM_WALL_BASE_NS + at_ns;
	int64_t floor_t = g->highest_t - s->disorder_ns;
	t -= s->disorder_ns ? sim_range(r, 0, s->disorder_ns) : 0;
	if (t < floor_t)
		t = floor_t;
	if (sim_chance(r, g->duplicate) && g->previous_t && g->previous_t >= floor_t)
		t = g->previous_t;
	if (sim_chance(r, 0.3)) /* many readings of one instant, and instants on the borders of windows */
		t = time_floor(t, NS_PER_SEC, 0) < floor_t ? t : time_floor(t, NS_PER_SEC, 0);
	l->has_time = true;
	if (sim_chance(r, g->late)) {
		t -= sim_range(r, 0, 30 * NS_PER_SEC);
		l->late = true;
	}
	if (sim_chance(r, g->ahead)) {
		t += sim_range(r, 1000, 100000) * NS_PER_SEC;
		l->ahead = true;
	} else if (t > g->highest_t) {
		g->highest_t = t;
	}
	if (sim_chance(r, g->untimed))
		l->has_time = false;
	if (!l->ahead)
		g->previous_t = t;
	l->t_ns = t;
}

static void put_field_value(struct buf *b, const struct sim_field *f)
{
	switch (f->type) {
	case SIM_FLOAT:
		buf_printf(b, "%.17g", f->value);
		break;
	case SIM_INT:
		buf_printf(b, "%" PRId64 "i", (int64_t)f->value);
		break;
	case SIM_UINT:
		buf_printf(b, "%" PRIu64 "u", (uint64_t)f->value);
		break;
	case SIM_BOOL:
		buf_printf(b, "%s", f->value != 0 ? "true" : "f");
		break;
	case SIM_STRING:
		buf_printf(b, "\"some \\\"text\\\",\nof two lines\"");
		break;
	}
}

static void put_line(struct source_gen *g, struct buf *b, struct sim_line *l)
{
	struct sim_rand *r = &g->rand;
	if (sim_chance(r, 0.02))
		buf_printf(b, "# a comment\n\n");
	if (l->bad) {
		static const char *const bad[] = {"flow", "flow,sensor=s1 v=", "flow v=12x 1", ",a=b v=1 2", "flow v=1 2 3",
		    "flow v=\xff", "flow,sensor=a,sensor=b v=1", "flow v=1 99999999999999999999999"};
		buf_printf(b, "%s\n", pick_text(r, bad, COUNT(bad)));
		return;
	}
	line_put_measurement(b, bytes_of(l->measurement, strlen(l->measurement)));
	for (size_t i = 0; i < SIM_TAG_KEYS; i++) {
		if (!l->tags[i])
			continue;
		buf_u8(b, ',');
		line_put_key(b, bytes_of(sim_tag_keys[i], strlen(sim_tag_keys[i])));
		buf_u8(b, '=');
		line_put_key(b, bytes_of(l->tags[i], strlen(l->tags[i])));
	}
	for (uint32_t i = 0; i < l->field_count; i++) {
		buf_u8(b, i ? ',' : ' ');
		line_put_key(b, bytes_of(l->fields[i].name, strlen(l->fields[i].name)));
		buf_u8(b, '=');
		put_field_value(b, &l->fields[i]);
	}
	if (l->has_time)
		buf_printf(b, " %" PRId64, l->t_ns);
	buf_u8(b, '\n');
}

static void gen_source(struct sim_plan *p, struct sim_source *s, struct sim_rand *r, bool calm, int64_t begins_ns, int64_t idle_after_ns)
{
	struct source_gen g = {.rand = sim_fork(r)};
	g.sensors = (size_t)sim_range(&g.rand, 1, COUNT(sensors));
	g.every_ns = sim_range(&g.rand, 4, 40) * 10 * NS_PER_MS;
	if (p->failover) {
		g.sensors = COUNT(sensors);
		g.every_ns = 40 * NS_PER_MS;
	}
	bool clean = calm || sim_chance(&g.rand, 0.5);
	g.late = clean ? 0 : 0.02;
	g.ahead = clean ? 0 : 0.005;
	g.untimed = !clean && p->scenario == SIM_PLAIN && sim_chance(&g.rand, 0.2) ? 0.05 : 0;
	g.bad = 0.01;
	g.duplicate = sim_chance(&g.rand, 0.5) ? 0.2 : 0;
	s->has_late = !clean;
	s->disorder_ns = sim_chance(&g.rand, 0.3) ? 0 : sim_range(&g.rand, 0, 4) * 500 * NS_PER_MS;
	s->finishes = sim_chance(&g.rand, 0.4);
	s->steady = calm || sim_chance(&g.rand, 0.6);
	int64_t at = 0, end = SIM_FAULTS_NS + sim_range(&g.rand, -5, 10) * NS_PER_SEC;
	if (!s->steady && sim_chance(&g.rand, 0.3))
		at = sim_range(&g.rand, 0, 20) * NS_PER_SEC; /* joins late */
	if (sim_chance(&g.rand, 0.2))
		at -= sim_range(&g.rand, 1, 40) * NS_PER_SEC; /* a backlog from before the start */
	if (!s->steady && sim_chance(&g.rand, 0.2))
		end = sim_range(&g.rand, 5, 50) * NS_PER_SEC;
	if (begins_ns) {
		at = begins_ns;
		end = end > at + 5 * NS_PER_SEC ? end : at + 5 * NS_PER_SEC;
	}
	size_t cap = 0;
	g.highest_t = INT64_MIN / 2;
	while (at < end) {
		if (s->count == cap) {
			cap = cap ? 2 * cap : 256;
			s->lines = xrealloc(s->lines, cap * sizeof(*s->lines));
		}
		struct sim_line *l = &s->lines[s->count++];
		*l = (struct sim_line){.release_ns = at > 0 ? at : 0};
		gen_shape(&g, l);
		l->bad = sim_chance(&g.rand, g.bad);
		gen_time(&g, s, l, at);
		put_line(&g, &s->text, l);
		l->end = s->text.len;
		at += sim_range(&g.rand, g.every_ns / 2, g.every_ns * 3 / 2);
		if (!s->steady && sim_chance(&g.rand, 0.004))
			at += sim_range(&g.rand, 0, 3 * idle_after_ns);
	}
	p->line_total += s->count;
}

/* ---- the world ----------------------------------------------------------------------------------------------- */

static void gen_world(struct sim_plan *p, struct sim_rand *r)
{
	bool lan = sim_chance(r, 0.3) || p->failover;
	p->net.delay_min_ns = lan ? 200000 : sim_range(r, 1, 20) * NS_PER_MS;
	p->net.delay_max_ns = p->net.delay_min_ns + (lan ? NS_PER_MS : sim_range(r, 1, 200) * NS_PER_MS);
	p->net.slow = sim_chance(r, 0.5) ? 0.01 : 0;
	p->net.slow_max_ns = sim_range(r, 500, 20000) * NS_PER_MS; /* ten election timeouts and more */
	p->net.drop = sim_chance(r, 0.5) ? 0.05 * sim_unit(r) : 0;
	p->net.duplicate = sim_chance(r, 0.5) ? 0.05 * sim_unit(r) : 0;
	p->net.fifo = sim_chance(r, 0.5);
	p->edge_crash_ns = sim_chance(r, 0.7) ? sim_range(r, 3, 30) * NS_PER_SEC : 0;
	p->cloud_crash_ns = sim_chance(r, 0.7) ? sim_range(r, 2, sim_chance(r, 0.5) ? 10 : 30) * NS_PER_SEC : 0;
	p->partition_ns = sim_chance(r, 0.5) ? sim_range(r, 5, 30) * NS_PER_SEC : 0;
	p->disk_full_ns = sim_chance(r, 0.25) ? sim_range(r, 10, 30) * NS_PER_SEC : 0;
	p->clock_jump_ns = sim_chance(r, 0.3) ? sim_range(r, 10, 40) * NS_PER_SEC : 0;
	p->stall_ns = sim_chance(r, 0.2) ? sim_range(r, 10, 40) * NS_PER_SEC : 0;
	p->slow_disk_ns = sim_chance(r, 0.3) ? sim_range(r, 5, 30) * NS_PER_SEC : 0;
	p->skew_max_ns = sim_chance(r, 0.5) ? 2 * NS_PER_SEC : 0;
	p->small_disk = sim_chance(r, 0.25);
	p->no_clock_until_ns = sim_chance(r, 0.1) ? sim_range(r, 2, 40) * NS_PER_SEC : 0;
	p->split_ns = sim_chance(r, 0.4) ? sim_range(r, 2, 20) * NS_PER_SEC : 0;
	p->pause_ns = sim_chance(r, 0.4) ? sim_range(r, 3, 20) * NS_PER_SEC : 0;
	p->wipe_ns = sim_chance(r, 0.35) ? sim_range(r, 1, sim_chance(r, 0.5) ? 8 : 30) * NS_PER_SEC : 0;
	p->stays_down = sim_chance(r, 0.4) ? 0.15 : 0;
	p->keep_entries = (uint64_t)sim_range(r, 0, sim_chance(r, 0.6) ? 20 : 400);
	p->truncate_min = (uint64_t)sim_range(r, 1, sim_chance(r, 0.5) ? 8 : 64);
	p->bad_clock_ns = sim_chance(r, 0.3) ? sim_range(r, 4, 20) * NS_PER_SEC : 0;
	p->suspend_ns = sim_chance(r, 0.3) ? sim_range(r, 5, 30) * NS_PER_SEC : 0;
	p->damage_ns = sim_chance(r, 0.35) ? sim_range(r, 2, 20) * NS_PER_SEC : 0;
	double u = sim_unit(r);
	p->scenario = u < 0.77 ? SIM_PLAIN : u < 0.86 ? SIM_CLONE : u < 0.91 ? SIM_RESTORE : u < 0.95 ? SIM_EMPTY : SIM_READMIT;
}

/* Only clouds are killed, and everything else is well: how long until acknowledgements go on? */
static void gen_failover(struct sim_plan *p, struct sim_rand *r)
{
	struct sim_net_conf net = p->net;
	net.slow = net.drop = net.duplicate = 0;
	net.fifo = true;
	p->net = net;
	p->edge_crash_ns = p->partition_ns = p->disk_full_ns = p->clock_jump_ns = p->stall_ns = p->slow_disk_ns = 0;
	p->split_ns = p->pause_ns = p->wipe_ns = p->skew_max_ns = p->no_clock_until_ns = 0;
	p->bad_clock_ns = p->suspend_ns = p->damage_ns = 0;
	p->stays_down = 0;
	p->small_disk = false;
	p->keep_entries = 4096;
	p->truncate_min = 256;
	p->cloud_crash_ns = sim_range(r, 10, 14) * NS_PER_SEC;
	p->scenario = SIM_PLAIN;
}

/* Which changes a seed has, before anything else of it is known. */
static enum sim_script script_of(uint64_t seed)
{
	struct sim_rand r = {sim_mix(seed ^ UINT64_C(0x5c819))};
	return sim_script_pick(&r);
}

bool sim_plan_members(uint64_t seed)
{
	return script_of(seed) != SCRIPT_NONE;
}

/* They cost time: some seeds have them, and the others are what they were. */
static bool has_sinks(uint64_t seed)
{
	return sim_mix(seed ^ UINT64_C(0x51d45)) % SINKS_EVERY == 0;
}

bool sim_plan_alerts(uint64_t seed)
{
	return has_sinks(seed) && sim_mix(seed ^ UINT64_C(0xa1e275)) % ALERTS_EVERY == 0;
}

struct sim_plan *sim_plan_new(uint64_t seed, bool failover, char **ret_why)
{
	struct sim_plan *p = xcalloc(1, sizeof(*p));
	struct sim_rand r = {sim_mix(seed ^ UINT64_C(0x5eed))};
	struct sim_rand world = sim_fork(&r), text = sim_fork(&r), readings = sim_fork(&r);
	p->seed = seed;
	p->failover = failover;
	gen_world(p, &world);
	if (failover)
		gen_failover(p, &world);
	struct sim_text first = {.sinks = !failover && has_sinks(seed) ? SIM_SINKS : 0};
	p->alerts = !failover && sim_plan_alerts(seed);
	put_topology(p, &text, failover ? SCRIPT_NONE : script_of(seed), &first);
	buf_free(&first.rest);
	if (load_topologies(p, ret_why)) {
		sim_plan_free(p);
		return NULL;
	}
	bool calm = sim_chance(&readings, 0.3) || failover;
	for (uint32_t e = 0; e < p->edge_count; e++) {
		const struct edge_conf *conf = sim_plan_edge_conf(p, e);
		for (size_t s = 0; s < p->source_count[e]; s++)
			gen_source(p, &p->sources[e][s], &readings, calm, p->source_begins_ns[e][s], conf->idle_after_ns);
	}
	p->scenario_edge = (uint32_t)sim_below(&world, p->topology->edge_count);
	return p;
}

void sim_plan_free(struct sim_plan *p)
{
	if (!p)
		return;
	for (size_t e = 0; e < SIM_EDGES_MAX; e++) {
		for (size_t s = 0; s < SIM_SOURCES_MAX; s++) {
			buf_free(&p->sources[e][s].text);
			free(p->sources[e][s].lines);
		}
	}
	topology_free(p->topology);
	for (uint32_t i = 0; i < p->change_count; i++) {
		topology_free(p->changes[i].topology);
		buf_free(&p->changes[i].yaml);
	}
	buf_free(&p->yaml);
	free(p);
}

size_t sim_plan_source(const struct source_conf *s)
{
	size_t n = (size_t)(s->name[1] - '1');
	weir_assert(n < SIM_SOURCES_MAX);
	return n;
}

bool sim_plan_on_time(const struct sim_plan *p, const struct topology *t, const struct stream_conf *s)
{
	if (p->scenario != SIM_PLAIN || p->clock_jump_ns || p->bad_clock_ns || p->stall_ns || p->late_sources)
		return false;
	for (uint32_t i = 0; i < t->edge_count; i++) {
		const struct edge_conf *e = &t->edges[i];
		if (!e->gone && !stream_expects(s, i))
			return false; /* nobody waits for it */
		for (size_t k = 0; k < e->source_count; k++) {
			const struct sim_source *src = &p->sources[sim_plan_edge(p, e->name)][sim_plan_source(&e->sources[k])];
			if (src->has_late || !src->steady || src->disorder_ns > s->lateness_ns)
				return false;
		}
	}
	return true;
}
