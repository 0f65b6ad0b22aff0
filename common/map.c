#include "common/map.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

void map_clear(struct cluster_map *m)
{
	free(m->text);
	free(m->packed);
	for (size_t i = 0; i < m->node_count; i++) {
		free(m->nodes[i].name);
		free(m->nodes[i].listen);
		free(m->nodes[i].http);
	}
	free(m->nodes);
	free(m->places);
	for (size_t i = 0; i < m->stream_count; i++) {
		free(m->streams[i].name);
		free(m->streams[i].definition);
	}
	free(m->streams);
	*m = (struct cluster_map){0};
}

static void *copy_of(const void *p, size_t n)
{
	char *copy = xmalloc(n + 1);
	if (n)
		memcpy(copy, p, n);
	copy[n] = 0;
	return copy;
}

void map_copy(const struct cluster_map *m, struct cluster_map *ret)
{
	struct cluster_map c = *m;
	c.text = copy_of(m->text, m->text_len);
	c.packed = m->packed ? copy_of(m->packed, m->packed_len) : NULL;
	c.nodes = copy_of(m->nodes, m->node_count * sizeof(*m->nodes));
	for (size_t i = 0; i < c.node_count; i++) {
		c.nodes[i].name = xstrdup(m->nodes[i].name);
		c.nodes[i].listen = xstrdup(m->nodes[i].listen);
		c.nodes[i].http = xstrdup(m->nodes[i].http);
	}
	c.places = copy_of(m->places, m->group_count * sizeof(*m->places));
	c.streams = copy_of(m->streams, m->stream_count * sizeof(*m->streams));
	for (size_t i = 0; i < c.stream_count; i++) {
		c.streams[i].name = xstrdup(m->streams[i].name);
		c.streams[i].definition = xstrdup(m->streams[i].definition);
	}
	*ret = c;
}

void map_first(const struct topology *t, const char *text, size_t len, struct cluster_map *ret)
{
	struct cluster_map m = {.version = 1, .text = copy_of(text, len), .text_len = len, .node_count = t->cloud_count,
	    .group_count = topology_groups(t), .stream_count = t->stream_count};
	m.nodes = xcalloc(m.node_count, sizeof(*m.nodes));
	for (size_t i = 0; i < m.node_count; i++) {
		m.nodes[i] = (struct map_node){CLOUD_MEMBER, xstrdup(t->clouds[i].name), xstrdup(t->clouds[i].listen),
		    xstrdup(t->clouds[i].http)};
	}
	m.places = copy_of(t->places, m.group_count * sizeof(*m.places));
	m.streams = xcalloc(m.stream_count, sizeof(*m.streams));
	for (size_t i = 0; i < m.stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		m.streams[i] = (struct map_stream){.name = xstrdup(s->name), .version = s->version,
		    .fingerprint = s->version, .phase = STREAM_CURRENT, .from_ns = INT64_MIN,
		    .answers_until_ns = INT64_MAX, .until_ns = INT64_MAX, .definition = xstrdup("")};
	}
	*ret = m;
}
