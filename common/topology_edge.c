/* The table of edges; their sources are topology_source.c's. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topology_parts.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

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
	unsigned numbers[SOURCE_TYPE_COUNT] = {0};
	for (size_t i = 0; i < e->source_count; i++) {
		struct source_conf *s = &e->sources[i];
		unsigned number = ++numbers[s->type];
		if (!s->name)
			s->name = xasprintf("%s-%u", source_type_text(s->type), number);
		if (s->type == SOURCE_MQTT && !s->mqtt.client_id)
			s->mqtt.client_id = xasprintf("weir-%s-%s", e->name ? e->name : "", s->name);
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
		if (topology_source_type(node) == SOURCE_TYPE_COUNT)
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

static bool same_session(const struct source_conf *a, const struct source_conf *b)
{
	return a->type == SOURCE_MQTT && b->type == SOURCE_MQTT && a->mqtt.broker.address && b->mqtt.broker.address &&
	    !strcmp(a->mqtt.broker.address, b->mqtt.broker.address) && !strcmp(a->mqtt.client_id, b->mqtt.client_id);
}

/* A broker ends the connection of whoever has the name that another one brings. */
static void check_sessions(struct conf *c, const struct conf_node *sources, const struct edge_conf *e)
{
	const struct conf_node *node = sources ? sources->first : NULL;
	for (size_t i = 0; i < e->source_count; i++, node = node->next) {
		for (size_t k = 0; k < i; k++) {
			if (!same_session(&e->sources[i], &e->sources[k]))
				continue;
			const struct conf_node *id = conf_get(node, "client_id");
			conf_error(c, id ? id : node, "%s is at that broker already, by the source on line %u",
			    conf_quote(c, e->sources[i].mqtt.client_id), e->sources[k].line);
			break;
		}
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

static bool has_name(const struct edge_conf *e, const char *name)
{
	for (size_t i = 0; i < e->source_count; i++)
		if (!strcmp(e->sources[i].name, name))
			return true;
	return false;
}

/* Writes to the edge's own HTTP address come by a source like any other, which stands last and in no file. Where its name is taken it has
 * one that no file can give. */
static void add_http_source(struct edge_conf *e)
{
	e->sources = xrealloc(e->sources, (e->source_count + 1) * sizeof(e->sources[0]));
	struct source_conf *s = &e->sources[e->source_count];
	*s = (struct source_conf){.type = SOURCE_HTTP, .name = xstrdup(has_name(e, "http") ? "http+" : "http")};
	e->source_count++;
}

static void check_edge(struct conf *c, const struct conf_node *map, void *object)
{
	struct edge_conf *e = object;
	name_sources(e);
	check_source_names(c, conf_get(map, "sources"), e);
	check_sessions(c, conf_get(map, "sources"), e);
	if (e->http)
		add_http_source(e);
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
	    .count_offset = offsetof(struct edge_conf, source_count), .schema = &topology_source_schema, .max = SOURCES_MAX - 1},
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
