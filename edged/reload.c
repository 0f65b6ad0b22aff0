#include "edged/reload.h"

#include <string.h>

#include "common/topology.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool reload_same_cluster(const struct topology *a, const struct topology *b)
{
	return a->shards == b->shards && same_text(a->cluster, b->cluster);
}

/* Every cloud of a that is there is in b: places differ between a file and a map. */
static bool has_clouds(const struct topology *a, const struct topology *b)
{
	for (size_t i = 0; i < a->cloud_count; i++) {
		if (a->clouds[i].state == CLOUD_GONE)
			continue;
		int k = topology_cloud(b, a->clouds[i].name);
		if (k < 0 || !same_text(a->clouds[i].listen, b->clouds[k].listen))
			return false;
	}
	return true;
}

static bool same_clouds(const struct topology *a, const struct topology *b)
{
	return reload_same_cluster(a, b) && same_text(a->keys_dir, b->keys_dir) && has_clouds(a, b) && has_clouds(b, a);
}

static bool same_sources(const struct edge_conf *a, const struct edge_conf *b)
{
	if (a->source_count != b->source_count)
		return false;
	for (size_t i = 0; i < a->source_count; i++) {
		if (!source_conf_same(&a->sources[i], &b->sources[i]))
			return false;
	}
	return true;
}

static bool same_tags(const struct edge_conf *a, const struct edge_conf *b)
{
	if (a->tag_count != b->tag_count)
		return false;
	for (size_t i = 0; i < a->tag_count; i++) {
		if (!same_text(a->tags[i].key, b->tags[i].key) || !same_text(a->tags[i].value, b->tags[i].value))
			return false;
	}
	return true;
}

static bool same_settings(const struct edge_conf *a, const struct edge_conf *b)
{
	return same_text(a->data, b->data) && same_text(a->http, b->http) && a->heartbeat_ns == b->heartbeat_ns &&
	    a->idle_after_ns == b->idle_after_ns && a->flush_ns == b->flush_ns && a->max_ahead_ns == b->max_ahead_ns &&
	    a->tick_ns == b->tick_ns && a->memory_bytes == b->memory_bytes && a->disk_bytes == b->disk_bytes;
}

static bool has_newer(const struct topology *t, size_t stream)
{
	for (size_t i = stream + 1; i < t->stream_count; i++) {
		enum stream_phase phase = t->streams[i].phase;
		if ((phase == STREAM_CURRENT || phase == STREAM_PENDING) && !strcmp(t->streams[i].name, t->streams[stream].name))
			return true;
	}
	return false;
}

/* The one that a file would name: a version that closes is on its way out. */
static bool is_in_force(const struct topology *t, size_t stream)
{
	enum stream_phase phase = t->streams[stream].phase;
	return (phase == STREAM_CURRENT || phase == STREAM_PENDING) && !has_newer(t, stream);
}

/* As far as an edge is concerned: the fingerprint stands for all that partials hold. */
static bool same_stream(const struct topology *a, const struct stream_conf *x, const struct topology *b,
    const struct stream_conf *y, const char *edge)
{
	int ai = topology_edge(a, edge), bi = topology_edge(b, edge);
	return topology_stream_version(x) == topology_stream_version(y) && x->lateness_ns == y->lateness_ns &&
	    x->size_ns == y->size_ns && x->advance_ns == y->advance_ns && x->offset_ns == y->offset_ns &&
	    stream_expects(x, (uint32_t)ai) == stream_expects(y, (uint32_t)bi);
}

static bool has_streams(const struct topology *a, const struct topology *b, const char *edge)
{
	for (size_t i = 0; i < a->stream_count; i++) {
		bool found = !is_in_force(a, i);
		for (size_t k = 0; k < b->stream_count && !found; k++)
			found = is_in_force(b, k) && same_text(a->streams[i].name, b->streams[k].name) &&
			    same_stream(a, &a->streams[i], b, &b->streams[k], edge);
		if (!found)
			return false;
	}
	return true;
}

static bool same_streams(const struct topology *a, const struct topology *b, const char *edge)
{
	return has_streams(a, b, edge) && has_streams(b, a, edge);
}

static void name_part(struct buf *out, bool same, const char *part)
{
	if (!same)
		buf_printf(out, "%s%s", out->len ? ", " : "", part);
}

void reload_differences(const struct topology *was, const struct topology *now, uint32_t edge, struct buf *out)
{
	const struct edge_conf *a = &was->edges[edge];
	int found = topology_edge(now, a->name);
	if (found < 0) {
		name_part(out, false, "edge");
		return;
	}
	const struct edge_conf *b = &now->edges[found];
	name_part(out, same_clouds(was, now), "cluster");
	name_part(out, same_sources(a, b), "sources");
	name_part(out, same_tags(a, b), "tags");
	name_part(out, same_settings(a, b), "settings");
	name_part(out, same_streams(was, now, a->name), "streams");
}
