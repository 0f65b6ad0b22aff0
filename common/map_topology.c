/* The cluster map as every module sees it: one struct topology whose indexes go on from the one before. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "common/topology_parts.h"

/* ---- nodes ------------------------------------------------------------------------------------------------ */

static void cloud_clear(struct cloud_conf *c)
{
	free(c->name);
	free(c->listen);
	free(c->http);
	free(c->data);
}

static struct cloud_conf *listed(struct topology *file, const char *name)
{
	int i = *name ? topology_cloud(file, name) : -1;
	return i < 0 ? NULL : &file->clouds[i];
}

/* One slot; where the text lists the node, the folder is from there. */
static struct cloud_conf cloud_of(const struct map_node *n, struct topology *file)
{
	struct cloud_conf c = {n->state, xstrdup(n->name), xstrdup(n->listen), xstrdup(n->http), NULL};
	struct cloud_conf *from = listed(file, n->name);
	if (from) {
		c.data = from->data;
		from->data = NULL;
	} else {
		c.data = n->state == CLOUD_GONE ? xstrdup("") : xasprintf("run/%s", n->name);
	}
	return c;
}

static int place_clouds(const struct cluster_map *m, struct topology *t, struct buf *errors)
{
	struct cloud_conf *clouds = xcalloc(m->node_count, sizeof(*clouds));
	size_t found = 0;
	for (size_t i = 0; i < m->node_count; i++) {
		found += listed(t, m->nodes[i].name) != NULL;
		clouds[i] = cloud_of(&m->nodes[i], t);
	}
	bool all = found == t->cloud_count;
	for (size_t i = 0; i < t->cloud_count; i++)
		cloud_clear(&t->clouds[i]);
	free(t->clouds);
	t->clouds = clouds;
	t->cloud_count = m->node_count;
	if (!all)
		buf_printf(errors, "%s: the cluster map has no slot for a node of its topology\n", t->path);
	return all ? 0 : WEIR_EINVAL;
}

static int place_groups(const struct cluster_map *m, struct topology *t, struct buf *errors)
{
	if (m->group_count != topology_groups(t)) {
		buf_printf(errors, "%s: the cluster map has %u shards, its topology %u\n", t->path, m->group_count - 1,
		    t->shards);
		return WEIR_EINVAL;
	}
	memcpy(t->places, m->places, m->group_count * sizeof(*m->places));
	return 0;
}

/* ---- edges ------------------------------------------------------------------------------------------------ */

struct edge_name {
	const char *name;
	uint32_t index;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct edge_name *)a)->name, ((const struct edge_name *)b)->name);
}

static void index_edges(struct topology *t)
{
	struct edge_name *names = xcalloc(t->edge_count, sizeof(*names));
	for (size_t i = 0; i < t->edge_count; i++)
		names[i] = (struct edge_name){t->edges[i].name, (uint32_t)i};
	if (t->edge_count)
		qsort(names, t->edge_count, sizeof(*names), compare_names);
	free(t->edges_by_name);
	t->edges_by_name = xcalloc(t->edge_count, sizeof(*t->edges_by_name));
	for (size_t i = 0; i < t->edge_count; i++)
		t->edges_by_name[i] = names[i].index;
	free(names);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void renumber_edges(struct topology *t, const uint32_t *number)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		struct stream_conf *s = &t->streams[i];
		for (size_t j = 0; j < s->edge_count; j++)
			s->edges[j] = number[s->edges[j]];
		if (s->edge_count)
			qsort(s->edges, s->edge_count, sizeof(*s->edges), compare_u32);
	}
}

/* The edges of the one before stay where they are: as the text has them, or gone. The others follow. */
static void keep_edges(const struct topology *before, struct topology *t)
{
	struct edge_conf *edges = xcalloc(before->edge_count + t->edge_count, sizeof(*edges));
	uint32_t *number = xcalloc(t->edge_count, sizeof(*number));
	bool *kept = xcalloc(t->edge_count, sizeof(*kept));
	size_t count = before->edge_count;
	for (size_t i = 0; i < before->edge_count; i++) {
		int at = topology_edge(t, before->edges[i].name);
		if (at < 0) {
			edges[i] = (struct edge_conf){.gone = true, .name = xstrdup(before->edges[i].name)};
			continue;
		}
		edges[i] = t->edges[at];
		number[at] = (uint32_t)i;
		kept[at] = true;
	}
	for (size_t i = 0; i < t->edge_count; i++) {
		if (kept[i])
			continue;
		number[i] = (uint32_t)count;
		edges[count++] = t->edges[i];
	}
	renumber_edges(t, number);
	free(t->edges);
	t->edges = edges;
	t->edge_count = count;
	index_edges(t);
	free(number);
	free(kept);
}

static void mark_revoked(const struct cluster_map *m, struct topology *t)
{
	for (size_t i = 0; i < t->edge_count; i++)
		t->edges[i].revoked = map_is_revoked(m, t->edges[i].name);
	t->revoked = xcalloc(m->revoked_count, sizeof(*t->revoked));
	t->revoked_count = m->revoked_count;
	for (size_t i = 0; i < m->revoked_count; i++)
		t->revoked[i] = xstrdup(m->revoked[i]);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

struct streams {
	struct stream_conf *all;
	size_t count;
};

/* What the map says of a version, over what its definition says. */
static void set_phase(struct stream_conf *s, const struct map_stream *v)
{
	s->version = v->version;
	s->phase = v->phase;
	s->from_ns = v->from_ns;
	s->answers_until_ns = v->answers_until_ns;
	s->until_ns = v->until_ns;
}

/* Moves the stream out of what the text gave. */
static int take_stream(struct topology *t, const char *name, struct stream_conf *ret)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		struct stream_conf *s = &t->streams[i];
		if (!s->name || strcmp(s->name, name))
			continue;
		*ret = *s;
		*s = (struct stream_conf){0};
		return 0;
	}
	return WEIR_EINVAL;
}

static int version_conf(const struct map_stream *v, struct topology *t, struct stream_conf *ret, struct buf *errors)
{
	int err = *v->definition ? topology_stream_parse(t, v->definition, ret, errors) : take_stream(t, v->name, ret);
	if (err)
		buf_printf(errors, "%s: version %u of stream %s has no definition in the cluster map\n", t->path, v->version,
		    v->name);
	else
		set_phase(ret, v);
	return err;
}

/* A version that the map has dropped: it keeps its index, answers nothing and is fed nothing. */
static int keep_dropped(const struct topology *before, const struct stream_conf *was, struct topology *t,
    struct stream_conf *ret, struct buf *errors)
{
	struct buf text = {0};
	topology_stream_text(before, was, &text);
	int err = topology_stream_parse(t, buf_cstr(&text), ret, errors);
	buf_free(&text);
	if (err)
		return err;
	ret->version = was->version;
	ret->phase = STREAM_RETIRED;
	ret->from_ns = ret->answers_until_ns = ret->until_ns = INT64_MIN;
	return 0;
}

static const struct map_stream *find_version(const struct cluster_map *m, const struct stream_conf *s)
{
	for (size_t i = 0; i < m->stream_count; i++) {
		if (m->streams[i].version == s->version && !strcmp(m->streams[i].name, s->name))
			return &m->streams[i];
	}
	return NULL;
}

static int keep_streams(const struct cluster_map *m, const struct topology *before, struct topology *t,
    struct streams *out, struct buf *errors)
{
	int err = 0;
	for (size_t i = 0; !err && before && i < before->stream_count; i++) {
		const struct map_stream *v = find_version(m, &before->streams[i]);
		if (v)
			err = version_conf(v, t, &out->all[out->count], errors);
		else
			err = keep_dropped(before, &before->streams[i], t, &out->all[out->count], errors);
		out->count += !err;
	}
	return err;
}

static bool had(const struct topology *before, const struct map_stream *v)
{
	return before && topology_stream_version_of(before, v->name, v->version) >= 0;
}

static int place_streams(const struct cluster_map *m, const struct topology *before, struct topology *t,
    struct buf *errors)
{
	size_t room = m->stream_count + (before ? before->stream_count : 0);
	struct streams out = {xcalloc(room, sizeof(*out.all)), 0};
	int err = keep_streams(m, before, t, &out, errors);
	for (size_t i = 0; !err && i < m->stream_count; i++) {
		if (had(before, &m->streams[i]))
			continue;
		err = version_conf(&m->streams[i], t, &out.all[out.count], errors);
		out.count += !err;
	}
	for (size_t i = 0; i < t->stream_count; i++) {
		if (!err && t->streams[i].name) {
			buf_printf(errors, "%s: stream %s is not in the cluster map\n", t->path, t->streams[i].name);
			err = WEIR_EINVAL;
		}
		stream_conf_clear(&t->streams[i]);
	}
	free(t->streams);
	t->streams = out.all;
	t->stream_count = out.count;
	return err;
}

int map_topology(const struct cluster_map *m, const char *path, const struct topology *before,
    struct topology **ret_topology, struct buf *errors)
{
	struct topology *t;
	int err = topology_parse(path, m->text, m->text_len, &t, errors);
	if (err)
		return err;
	if (before)
		keep_edges(before, t);
	mark_revoked(m, t);
	err = place_clouds(m, t, errors);
	if (!err)
		err = place_groups(m, t, errors);
	if (!err)
		err = place_streams(m, before, t, errors);
	t->map_version = m->version;
	if (err)
		topology_free(t);
	else
		*ret_topology = t;
	return err;
}
