#include "edged/reload.h"

#include <stdbool.h>
#include <string.h>

#include "common/log.h"
#include "common/topology.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_clouds(const struct topology *a, const struct topology *b)
{
	if (a->cloud_count != b->cloud_count || a->shards != b->shards || !same_text(a->cluster, b->cluster) ||
	    !same_text(a->keys_dir, b->keys_dir))
		return false;
	for (size_t i = 0; i < a->cloud_count; i++) {
		if (!same_text(a->clouds[i].name, b->clouds[i].name) || !same_text(a->clouds[i].listen, b->clouds[i].listen))
			return false;
	}
	return true;
}

/* Numbers are compared bit for bit: a difference that is none only costs a line in the log. */
static bool same_source(const struct source_conf *a, const struct source_conf *b)
{
	const double x[] = {a->mean, a->noise, a->drift, a->spikes, a->gaps, a->late, a->duplicates};
	const double y[] = {b->mean, b->noise, b->drift, b->spikes, b->gaps, b->late, b->duplicates};
	return a->type == b->type && same_text(a->name, b->name) && same_text(a->listen, b->listen) &&
	    same_text(a->path, b->path) && a->follow == b->follow && a->sensors == b->sensors &&
	    a->every_ns == b->every_ns && a->seed == b->seed && a->count == b->count &&
	    same_text(a->measurement, b->measurement) && same_text(a->field, b->field) && !memcmp(x, y, sizeof(x)) &&
	    a->late_by_ns == b->late_by_ns && a->start_ns == b->start_ns && a->fast == b->fast;
}

static bool same_sources(const struct edge_conf *a, const struct edge_conf *b)
{
	if (a->source_count != b->source_count)
		return false;
	for (size_t i = 0; i < a->source_count; i++) {
		if (!same_source(&a->sources[i], &b->sources[i]))
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

/* As far as an edge is concerned: the version stands for all that partials hold. */
static bool same_streams(const struct topology *a, const struct topology *b, const char *edge)
{
	int ai = topology_edge(a, edge), bi = topology_edge(b, edge);
	if (a->stream_count != b->stream_count)
		return false;
	for (size_t i = 0; i < a->stream_count; i++) {
		const struct stream_conf *x = &a->streams[i], *y = &b->streams[i];
		if (!same_text(x->name, y->name) || x->version != y->version || x->lateness_ns != y->lateness_ns ||
		    x->size_ns != y->size_ns || x->advance_ns != y->advance_ns || x->offset_ns != y->offset_ns ||
		    stream_expects(x, (uint32_t)ai) != stream_expects(y, (uint32_t)bi))
			return false;
	}
	return true;
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

static void log_lines(const char *text)
{
	while (*text) {
		int n = (int)strcspn(text, "\n");
		log_error("edged", "%.*s", n, text);
		text += n + (text[n] != 0);
	}
}

void reload_check(const char *config, const struct topology *was, uint32_t edge)
{
	struct topology *now = NULL;
	struct buf errors = {0}, parts = {0};
	if (topology_load(config, &now, &errors)) {
		log_lines(buf_cstr(&errors));
		log_error("edged", "the configuration has errors: going on with the one in use; config=%s", config);
		buf_free(&errors);
		return;
	}
	reload_differences(was, now, edge, &parts);
	if (!parts.len)
		log_info("edged", "configuration read again: nothing has changed for this edge; config=%s", config);
	else if (topology_edge(now, was->edges[edge].name) < 0)
		log_warn("edged", "configuration read again: this edge is no longer in it, stop it; config=%s", config);
	else
		log_warn("edged", "configuration read again: changed are %s. Restart edged to take that up: nothing is lost; config=%s",
		    buf_cstr(&parts), config);
	topology_free(now);
	buf_free(&errors);
	buf_free(&parts);
}
