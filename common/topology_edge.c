/* The tables of edges and their sources. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topology_parts.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

/* ---- sources ---------------------------------------------------------------------------------------------- */

static void read_note(struct conf *c, const struct conf_node *value, void *object)
{
	(void)c;
	((struct source_conf *)object)->line = value->parent->line;
}

static void read_start(struct conf *c, const struct conf_node *value, void *object)
{
	struct source_conf *s = object;
	const char *text;
	int64_t t;
	if (!conf_text(c, value, TIME_TEXT_MAX, &text) || !strcmp(text, "now"))
		return;
	if (strspn(text, "0123456789") != 4 || text[4] != '-' || time_parse(text, 0, &t))
		conf_error(c, value, "%s is not a time: expected now or 2015-09-01T11:25:00Z", conf_quote(c, text));
	else
		s->start_ns = t;
}

#define SOURCE_FIELDS \
	{.key = "type", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_note}, \
	{.key = "name", .kind = CONF_KIND_NAME, .offset = offsetof(struct source_conf, name)}
#define PROBABILITY(field) \
	{.key = #field, .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, field), .double_max = 1}

static const struct conf_field tcp_fields[] = {
	SOURCE_FIELDS,
	{.key = "listen", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct source_conf, listen)},
};
static const struct conf_field file_fields[] = {
	SOURCE_FIELDS,
	{.key = "path", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct source_conf, path)},
	{.key = "follow", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, follow)},
};
static const struct conf_field stdin_fields[] = {
	SOURCE_FIELDS,
};
static const struct conf_field simulate_fields[] = {
	SOURCE_FIELDS,
	{.key = "sensors", .kind = CONF_KIND_U32, .offset = offsetof(struct source_conf, sensors), .min = 1,
	    .max = SIMULATE_SENSORS_MAX},
	{.key = "every", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, every_ns), .min = 1,
	    .max = DURATION_MAX_NS},
	{.key = "seed", .kind = CONF_KIND_U64, .offset = offsetof(struct source_conf, seed), .max = INT64_MAX},
	{.key = "count", .kind = CONF_KIND_U64, .offset = offsetof(struct source_conf, count), .max = INT64_MAX},
	{.key = "measurement", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, measurement),
	    .max = TAG_BYTES_MAX},
	{.key = "field", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, field), .max = TAG_BYTES_MAX},
	{.key = "mean", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, mean)},
	{.key = "noise", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, noise), .double_max = 1e300},
	{.key = "drift", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, drift)},
	PROBABILITY(spikes),
	PROBABILITY(gaps),
	PROBABILITY(late),
	PROBABILITY(duplicates),
	{.key = "late_by", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, late_by_ns),
	    .max = DURATION_MAX_NS},
	{.key = "start", .kind = CONF_KIND_CUSTOM, .read = read_start},
	{.key = "fast", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, fast)},
};

/* In the order of enum source_type. */
static const char *const source_types[] = {"tcp", "file", "stdin", "simulate"};
#define SOURCE_TYPES (sizeof(source_types) / sizeof(source_types[0]))
static const struct conf_schema source_schemas[SOURCE_TYPES] = {
	{sizeof(struct source_conf), FIELDS(tcp_fields), NULL, NULL, NULL},
	{sizeof(struct source_conf), FIELDS(file_fields), NULL, NULL, NULL},
	{sizeof(struct source_conf), FIELDS(stdin_fields), NULL, NULL, NULL},
	{sizeof(struct source_conf), FIELDS(simulate_fields), NULL, NULL, NULL},
};

/* Index of a source's type, or SOURCE_TYPES. */
static size_t type_of(const struct conf_node *source)
{
	const struct conf_node *type = conf_get(source, "type");
	size_t i = 0;
	while (i < SOURCE_TYPES && (!type || strcmp(type->text, source_types[i])))
		i++;
	return i;
}

static const struct conf_schema *select_source(struct conf *c, const struct conf_node *map)
{
	size_t type = type_of(map);
	if (type < SOURCE_TYPES)
		return &source_schemas[type];
	const struct conf_node *node = conf_get(map, "type");
	const char *text;
	if (!node) {
		conf_error(c, map, "`type` is missing: tcp, file, stdin or simulate");
	} else if (conf_text(c, node, TAG_BYTES_MAX, &text)) {
		const char *meant = conf_suggest(text, source_types, SOURCE_TYPES);
		if (meant)
			conf_error(c, node, "no source type %s; did you mean `%s`?", conf_quote(c, text), meant);
		else
			conf_error(c, node, "no source type %s: tcp, file, stdin or simulate", conf_quote(c, text));
	}
	return NULL;
}

static void source_defaults(void *object)
{
	struct source_conf *s = object;
	s->sensors = 10;
	s->every_ns = NS_PER_SEC;
	s->seed = 1;
	s->mean = 20;
	s->noise = 1;
	s->drift = 5;
	s->late_by_ns = 10 * NS_PER_SEC;
	s->start_ns = INT64_MIN;
}

static void check_simulate(struct conf *c, const struct conf_node *map, struct source_conf *s)
{
	const struct conf_node *fast = conf_get(map, "fast"), *late = conf_get(map, "late");
	if (!s->measurement)
		s->measurement = xstrdup("sensors");
	if (!s->field)
		s->field = xstrdup("value");
	if (s->fast && s->start_ns == INT64_MIN)
		conf_error(c, fast, "needs `start`: a time in the past to begin at");
	if (s->fast && !s->count)
		conf_error(c, fast, "needs `count`: without an end it would run ahead of the clock");
	if (late && s->late > 0 && s->late_by_ns == 0)
		conf_error(c, late, "needs a `late_by` above 0");
}

static void check_source(struct conf *c, const struct conf_node *map, void *object)
{
	struct source_conf *s = object;
	s->type = (enum source_type)type_of(map);
	if (s->type == SOURCE_SIMULATE)
		check_simulate(c, map, s);
}

static const struct conf_schema source_schema = {sizeof(struct source_conf), NULL, 0, source_defaults, check_source,
	select_source};

/* ---- edges ------------------------------------------------------------------------------------------------ */

static int compare_tags(const void *a, const void *b)
{
	return strcmp(((const struct model_tag *)a)->key, ((const struct model_tag *)b)->key);
}

static void read_tags(struct conf *c, const struct conf_node *value, void *object)
{
	struct edge_conf *e = object;
	if (!conf_expect(c, value, CONF_MAP))
		return;
	if (value->count > EDGE_TAGS_MAX) {
		conf_error(c, value, "%zu tags; at most %d", value->count, EDGE_TAGS_MAX);
		return;
	}
	e->tags = xcalloc(value->count, sizeof(*e->tags));
	for (const struct conf_node *v = value->first; v; v = v->next) {
		const char *key, *text;
		if (!conf_text(c, v->key, TAG_BYTES_MAX, &key) || !conf_text(c, v, TAG_BYTES_MAX, &text))
			continue;
		e->tags[e->tag_count++] = (struct model_tag){xstrdup(key), xstrdup(text)};
	}
	qsort(e->tags, e->tag_count, sizeof(*e->tags), compare_tags);
}

/* TYPE-N, counted by type: so a new source of another type does not rename (and restart) the ones below it. */
static void name_sources(struct edge_conf *e)
{
	unsigned numbers[SOURCE_TYPES] = {0};
	for (size_t i = 0; i < e->source_count; i++) {
		struct source_conf *s = &e->sources[i];
		unsigned number = ++numbers[s->type];
		if (!s->name)
			s->name = xasprintf("%s-%u", source_types[s->type], number);
	}
}

static void check_source_names(struct conf *c, const struct conf_node *sources, struct edge_conf *e)
{
	const struct conf_node *node = sources ? sources->first : NULL;
	const struct conf_node *first_stdin = NULL;
	for (size_t i = 0; i < e->source_count; i++, node = node->next) {
		size_t same = 0;
		while (same < i && strcmp(e->sources[same].name, e->sources[i].name))
			same++;
		if (type_of(node) == SOURCE_TYPES)
			continue;
		if (same < i)
			conf_error(c, conf_get(node, "name") ? conf_get(node, "name") : node,
			    "a second source called %s; the first is on line %u", conf_quote(c, e->sources[i].name),
			    e->sources[same].line);
		if (e->sources[i].type != SOURCE_STDIN)
			continue;
		if (first_stdin)
			conf_error(c, node, "a second stdin source; the first is on line %u", first_stdin->line);
		else
			first_stdin = node;
	}
}

static void edge_defaults(void *object)
{
	struct edge_conf *e = object;
	e->heartbeat_ns = NS_PER_SEC;
	e->idle_after_ns = 30 * NS_PER_SEC;
	e->flush_ns = 60 * NS_PER_SEC;
	e->max_ahead_ns = 600 * NS_PER_SEC;
	e->tick_ns = NS_PER_SEC;
	e->memory_bytes = UINT64_C(64) << 20;
	e->disk_bytes = UINT64_C(1) << 30;
}

static void check_edge(struct conf *c, const struct conf_node *map, void *object)
{
	struct edge_conf *e = object;
	name_sources(e);
	check_source_names(c, conf_get(map, "sources"), e);
}

static const struct conf_field limit_fields[] = {
	{.key = "memory", .kind = CONF_KIND_SIZE, .offset = offsetof(struct edge_conf, memory_bytes), .min = 1 << 20,
	    .max = INT64_C(1) << 44},
	{.key = "disk", .kind = CONF_KIND_SIZE, .offset = offsetof(struct edge_conf, disk_bytes), .min = 1 << 20,
	    .max = INT64_C(1) << 44},
};
static const struct conf_schema limits_schema = {sizeof(struct edge_conf), FIELDS(limit_fields), NULL, NULL, NULL};

static const struct conf_field edge_fields[] = {
	{.key = "name", .kind = CONF_KIND_NAME, .required = true, .offset = offsetof(struct edge_conf, name)},
	{.key = "data", .kind = CONF_KIND_TEXT, .offset = offsetof(struct edge_conf, data)},
	{.key = "http", .kind = CONF_KIND_TEXT, .offset = offsetof(struct edge_conf, http)},
	{.key = "tags", .kind = CONF_KIND_CUSTOM, .read = read_tags},
	{.key = "sources", .kind = CONF_KIND_LIST, .offset = offsetof(struct edge_conf, sources),
	    .count_offset = offsetof(struct edge_conf, source_count), .schema = &source_schema, .max = SOURCES_MAX},
	{.key = "heartbeat", .kind = CONF_KIND_DURATION, .offset = offsetof(struct edge_conf, heartbeat_ns),
	    .min = 10 * NS_PER_MS, .max = 3600 * NS_PER_SEC},
	{.key = "idle_after", .kind = CONF_KIND_DURATION, .offset = offsetof(struct edge_conf, idle_after_ns),
	    .min = 10 * NS_PER_MS, .max = DURATION_MAX_NS},
	{.key = "flush", .kind = CONF_KIND_DURATION, .offset = offsetof(struct edge_conf, flush_ns),
	    .min = 10 * NS_PER_MS, .max = DURATION_MAX_NS},
	{.key = "max_ahead", .kind = CONF_KIND_DURATION, .offset = offsetof(struct edge_conf, max_ahead_ns),
	    .max = DURATION_MAX_NS},
	{.key = "tick", .kind = CONF_KIND_DURATION, .offset = offsetof(struct edge_conf, tick_ns),
	    .min = 10 * NS_PER_MS, .max = 60 * NS_PER_SEC},
	{.key = "limits", .kind = CONF_KIND_MAP, .schema = &limits_schema},
};
const struct conf_schema topology_edge_schema = {sizeof(struct edge_conf), FIELDS(edge_fields), edge_defaults,
	check_edge, NULL};
