#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/topology.h"
#include "common/topology_parts.h"

#define SUGGESTED_NAMES_MAX 256 /* names compared for a suggestion */

/* Texts that must differ, with their places. */
struct place {
	char *text;
	const struct conf_node *node;
	size_t number;
};

struct places {
	struct place *all;
	size_t count, cap;
};

static void places_add(struct places *p, const struct conf_node *node, const char *text)
{
	if (p->count == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 64;
		p->all = xrealloc(p->all, p->cap * sizeof(*p->all));
	}
	p->all[p->count] = (struct place){xstrdup(text), node, p->count};
	p->count++;
}

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int c = strcmp(x->text, y->text);
	return c ? c : x->number < y->number ? -1 : 1;
}

static void places_free(struct places *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->all[i].text);
	free(p->all);
	*p = (struct places){0};
}

/* Notes each place whose text an earlier one has, too; frees them all. */
static void places_refuse_same(struct conf *c, struct places *p, const char *what)
{
	if (p->count)
		qsort(p->all, p->count, sizeof(*p->all), compare_places);
	for (size_t i = 1, first = 0; i < p->count; i++) {
		const struct place *a = &p->all[first], *b = &p->all[i];
		if (strcmp(a->text, b->text))
			first = i;
		else
			conf_error(c, b->node, "%s is %s already, on line %u", conf_quote(c, b->text), what, a->node->line);
	}
	places_free(p);
}

/* ---- names and folders ------------------------------------------------------------------------------------ */

static void add_key(struct places *p, const struct conf_node *map, const char *key, const char *text)
{
	const struct conf_node *node = conf_get(map, key);
	if (text)
		places_add(p, node ? node : map, text);
}

static const struct conf_node *first_of(const struct conf_node *root, const char *key)
{
	const struct conf_node *list = conf_get(root, key);
	return list && list->type == CONF_LIST ? list->first : NULL;
}

/* Clouds and edges share one space of names: a name is an identity on the wire. */
static void check_names(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	struct places p = {0};
	const struct conf_node *node = first_of(root, "cloud");
	for (size_t i = 0; i < t->cloud_count; i++, node = node->next)
		add_key(&p, node, "name", t->clouds[i].name);
	node = first_of(root, "edges");
	for (size_t i = 0; i < t->edge_count; i++, node = node->next)
		add_key(&p, node, "name", t->edges[i].name);
	places_refuse_same(c, &p, "the name of a cloud or an edge");
	node = first_of(root, "streams");
	for (size_t i = 0; i < t->stream_count; i++, node = node->next)
		add_key(&p, node, "name", t->streams[i].name);
	places_refuse_same(c, &p, "the name of a stream");
}

static void check_alerts(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	struct places p = {0};
	const struct conf_node *stream = first_of(root, "streams");
	for (size_t i = 0; i < t->stream_count; i++, stream = stream->next) {
		const struct conf_node *item = topology_alert_node(stream);
		for (size_t k = 0; k < t->streams[i].alert_count; k++, item = item->next)
			add_key(&p, item, "name", t->streams[i].alerts[k].name);
	}
	places_refuse_same(c, &p, "the name of an alert");
	topology_check_alert_sinks(c, root, t);
}

static void default_data(char **data, const char *name)
{
	if (!*data && name)
		*data = xasprintf("run/%s", name);
}

/* Without keys everything is on loopback, so on one machine, and two daemons would share the folder. */
static void check_folders(struct conf *c, const struct conf_node *root, struct topology *t)
{
	struct places p = {0};
	const struct conf_node *node = first_of(root, "cloud");
	for (size_t i = 0; i < t->cloud_count; i++, node = node->next) {
		default_data(&t->clouds[i].data, t->clouds[i].name);
		add_key(&p, node, "data", t->clouds[i].data);
	}
	node = first_of(root, "edges");
	for (size_t i = 0; i < t->edge_count; i++, node = node->next) {
		default_data(&t->edges[i].data, t->edges[i].name);
		add_key(&p, node, "data", t->edges[i].data);
	}
	if (t->keys_dir)
		places_free(&p);
	else
		places_refuse_same(c, &p, "a daemon's folder");
}

/* ---- addresses -------------------------------------------------------------------------------------------- */

static void refuse_remote(struct conf *c, const struct conf_node *node)
{
	conf_error(c, node,
	    "%s is not a loopback address, and with `security: none` everything stays on this machine (127.0.0.1); with "
	    "`security: {keys: DIR}` it need not (docs/security.md)",
	    conf_quote(c, node->text));
}

/* Where daemons may be on several machines (keys), only what all of them connect to must differ. */
static void add_address(struct places *p, const struct conf_node *node, const char *host, unsigned port)
{
	char *text = xasprintf("%s:%u", host, port);
	places_add(p, node, text);
	free(text);
}

static void check_port(struct conf *c, const struct conf_node *node, unsigned port)
{
	if (port == 0)
		conf_error(c, node, "%s: others must find it, so the port must be 1 to 65535", conf_quote(c, node->text));
}

static bool has_text(const struct conf_node *node)
{
	return node && node->type == CONF_SCALAR && *node->text;
}

/* http, and listen of sources. kind: of ports, where it is not TCP's. */
static void check_address(struct conf *c, struct places *p, const struct conf_node *node, const char *kind, bool keys)
{
	struct addr a;
	char host[32];
	if (!has_text(node))
		return;
	if (strstr(node->text, "//") || addr_parse(node->text, &a)) {
		conf_error(c, node, "%s: expected HOST:PORT, HOST being an IPv4 address or localhost", conf_quote(c, node->text));
		return;
	}
	check_port(c, node, a.port);
	if (!keys && a.port && !addr_is_loopback(&a)) {
		refuse_remote(c, node);
	} else if (!keys && a.port) {
		snprintf(host, sizeof(host), "%s%u.%u.%u.%u", kind, a.ip[0], a.ip[1], a.ip[2], a.ip[3]);
		add_address(p, node, host, a.port);
	}
}

static void check_link(struct conf *c, struct places *p, const struct conf_node *node, bool keys)
{
	struct addr_host h;
	if (!has_text(node))
		return;
	if (strncmp(node->text, "tcp://", 6) || strstr(node->text + 6, "//") || addr_parse_host(node->text, &h)) {
		conf_error(c, node, "%s: expected tcp://HOST:PORT, HOST being an IPv4 address, an IPv6 address in brackets, or a name",
		    conf_quote(c, node->text));
		return;
	}
	check_port(c, node, h.port);
	if (!keys && h.port && !h.loopback)
		refuse_remote(c, node);
	else if (h.port)
		add_address(p, node, h.host, h.port);
}

static bool is_datagram(const struct conf_node *source, enum source_type type)
{
	const struct conf_node *socket = conf_get(source, "socket");
	return type == SOURCE_UDP || (type == SOURCE_STATSD && !(has_text(socket) && !strcmp(socket->text, "stream")));
}

/* A socket's file takes its place as a port does. */
static void check_source(struct conf *c, struct places *p, const struct conf_node *source, bool keys)
{
	enum source_type type = topology_source_type(source);
	const struct conf_node *path = conf_get(source, "path");
	check_address(c, p, conf_get(source, "listen"), is_datagram(source, type) ? "udp " : "", keys);
	if (!keys && (type == SOURCE_UNIX || type == SOURCE_STATSD) && has_text(path))
		places_add(p, path, path->text);
}

/* What a sink binds; nodes of one sink that would bind the same are told of in topology_sink.c. */
static void add_sink(struct places *p, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	const struct conf_node *port = conf_get(map, "port"), *node = port ? port : map;
	struct addr_host a, before = {0};
	for (size_t i = 0; i < t->cloud_count; i++) {
		if (!topology_sink_address(t, s, i, &a) || (a.port == before.port && !strcmp(a.host, before.host)))
			continue;
		add_address(p, node, a.host, a.port);
		before = a;
	}
}

static void check_addresses(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	bool keys = t->keys_dir;
	const struct conf_node *sink = first_of(root, "sinks");
	struct places p = {0};
	for (const struct conf_node *node = first_of(root, "cloud"); node; node = node->next) {
		check_link(c, &p, conf_get(node, "listen"), keys);
		check_address(c, &p, conf_get(node, "http"), "", keys);
	}
	for (const struct conf_node *node = first_of(root, "edges"); node; node = node->next) {
		check_address(c, &p, conf_get(node, "http"), "", keys);
		for (const struct conf_node *s = first_of(node, "sources"); s; s = s->next)
			check_source(c, &p, s, keys);
	}
	for (size_t i = 0; i < t->sink_count && sink; i++, sink = sink->next)
		add_sink(&p, sink, t, &t->sinks[i]);
	places_refuse_same(c, &p, "taken");
}

/* ---- edges of streams ------------------------------------------------------------------------------------- */

static int compare_edges(const void *a, const void *b, void *arg)
{
	const struct topology *t = arg;
	return strcmp(t->edges[*(const uint32_t *)a].name, t->edges[*(const uint32_t *)b].name);
}

static void index_edges(struct topology *t)
{
	t->edges_by_name = xcalloc(t->edge_count, sizeof(*t->edges_by_name));
	for (size_t i = 0; i < t->edge_count; i++) {
		t->edges_by_name[i] = (uint32_t)i;
		if (!t->edges[i].name)
			t->edges[i].name = xstrdup(""); /* its absence is noted: this topology will not be used */
	}
	qsort_r(t->edges_by_name, t->edge_count, sizeof(*t->edges_by_name), compare_edges, t);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void refuse_edge(struct conf *c, const struct conf_node *node, const char *name, const struct topology *t)
{
	const char *names[SUGGESTED_NAMES_MAX];
	size_t n = 0;
	for (; n < t->edge_count && n < SUGGESTED_NAMES_MAX; n++)
		names[n] = t->edges[n].name;
	const char *meant = conf_error_count(c) < CONF_ERRORS_MAX ? conf_suggest(name, names, n) : NULL;
	if (meant)
		conf_error(c, node, "no edge is called %s; did you mean `%s`?", conf_quote(c, name), meant);
	else
		conf_error(c, node, "no edge is called %s", conf_quote(c, name));
}

static void read_edges(struct conf *c, const struct conf_node *list, const struct topology *t, struct stream_conf *s)
{
	if (!conf_expect(c, list, CONF_LIST))
		return;
	if (!list->count) {
		conf_error(c, list, "nobody would be expected: leave it out to expect every edge");
		return;
	}
	s->edges = xcalloc(list->count, sizeof(*s->edges));
	bool *seen = xcalloc(t->edge_count, sizeof(*seen));
	for (const struct conf_node *v = list->first; v; v = v->next) {
		const char *name;
		if (!conf_name(c, v, &name))
			continue;
		int edge = topology_edge(t, name);
		if (edge < 0) {
			refuse_edge(c, v, name, t);
		} else if (seen[edge]) {
			conf_error(c, v, "%s is listed twice", conf_quote(c, name));
		} else {
			seen[edge] = true;
			s->edges[s->edge_count++] = (uint32_t)edge;
		}
	}
	free(seen);
	qsort(s->edges, s->edge_count, sizeof(*s->edges), compare_u32);
}

static void check_streams(struct conf *c, const struct conf_node *root, struct topology *t)
{
	const struct conf_node *node = first_of(root, "streams");
	for (size_t i = 0; i < t->stream_count; i++, node = node->next) {
		const struct conf_node *list = conf_get(node, "edges");
		t->streams[i].lists_edges = list;
		if (list)
			read_edges(c, list, t, &t->streams[i]);
		else
			topology_expect_all(t, &t->streams[i]);
	}
}

/* ---- the cluster ------------------------------------------------------------------------------------------ */

static void default_replicas(const struct conf_node *root, struct topology *t)
{
	/* More than there are nodes: of each group one on every node, until there are more. */
	if (!conf_get(conf_get(root, "cluster"), "replicas"))
		t->replicas = t->cloud_count < 3 ? (uint32_t)t->cloud_count : 3;
}

static void check_heartbeats(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	const struct conf_node *node = first_of(root, "edges");
	for (size_t i = 0; i < t->edge_count; i++, node = node->next) {
		const struct conf_node *heartbeat = conf_get(node, "heartbeat");
		if (t->edges[i].heartbeat_ns >= t->partitioned_after_ns && t->partitioned_after_ns)
			conf_error(c, heartbeat ? heartbeat : node,
			    "the heartbeat%s must be shorter than cluster.partitioned_after", heartbeat ? "" : " (1s)");
	}
}

static void set_versions(struct topology *t)
{
	for (size_t i = 0; i < t->stream_count; i++)
		t->streams[i].version = topology_stream_version(&t->streams[i]);
}

void topology_check(struct conf *c, const struct conf_node *root, struct topology *t)
{
	default_replicas(root, t);
	check_heartbeats(c, root, t);
	check_names(c, root, t);
	check_folders(c, root, t);
	check_addresses(c, root, t);
	index_edges(t);
	check_streams(c, root, t);
	check_alerts(c, root, t);
	topology_check_sinks(c, root, t);
	if (conf_error_count(c))
		return;
	set_versions(t);
	topology_place(t);
}
