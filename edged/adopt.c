/* Going over to another topology while running: the cluster's map, or a file where there is none yet.
 *
 *     offered (pipeline) --check--> next --pipeline_store_map--> the spool has it --reopen--> gone by
 *                           |                    |
 *                           refused:             no room: at a later tick
 *                           asked for again later
 *
 * In one turn of the loop, so nothing is read between checkpoint and opening again. Sources that are the same stay as they are,
 * connections and all; others are closed, opened, or opened anew from their position in the spool. What cannot be opened (an
 * address in use) is tried again: a running edge does not end for it. Only the disk can end it here, and then the spool holds either
 * topology with the state that goes with it. */
#include "edged/edged_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/map.h"
#include "common/topology.h"
#include "edged/reload.h"

#define SOURCES_AGAIN_NS (10 * NS_PER_SEC)

static void log_lines(const char *text)
{
	while (*text) {
		int n = (int)strcspn(text, "\n");
		log_error("edged", "%.*s", n, text);
		text += n + (text[n] != 0);
	}
}

/* ---- a map into a topology ------------------------------------------------------------------------------------- */

static int topology_of_map(const struct edged *e, struct bytes raw, struct topology **ret_topology)
{
	struct cluster_map map = {0};
	struct buf errors = {0};
	int rc = map_decode(raw, &map);
	if (rc) {
		log_error("edged", "a cluster map cannot be read: %s", err_text(rc));
		return rc;
	}
	rc = map_topology(&map, e->config, NULL, ret_topology, &errors);
	if (rc) {
		log_lines(buf_cstr(&errors));
		log_error("edged", "the cluster's topology is none for this version of edged; map=%" PRIu64, map.version);
	}
	map_clear(&map);
	buf_free(&errors);
	return rc;
}

/* Whether this edge could go by it. The edge's number, or -1: it is not in it. */
static int check(const struct edged *e, const struct topology *t, int *ret_edge)
{
	char *why = NULL;
	if (!reload_same_cluster(e->topology, t)) {
		log_error("edged", "not this cluster's topology: cluster %s with %u shards is not cluster %s with %u shards", t->cluster,
		    t->shards, e->topology->cluster, e->topology->shards);
		return WEIR_EINVAL;
	}
	int edge = topology_edge(t, e->conf->name);
	if (edge >= 0 && edged_check(t, (uint32_t)edge, &why)) {
		log_error("edged", "the new topology cannot be used here: %s", why);
		free(why);
		return WEIR_EINVAL;
	}
	*ret_edge = edge;
	return 0;
}

static void say_differences(const struct edged *e, const struct topology *file)
{
	struct buf parts = {0};
	reload_differences(e->topology, file, e->edge, &parts);
	if (parts.len)
		log_warn("edged", "this edge goes by the cluster's topology (map %" PRIu64 "), not by its file, which differs in: %s. "
		                  "`weirctl apply %s` makes the file the cluster's",
		    e->topology->map_version, buf_cstr(&parts), e->config);
	buf_free(&parts);
}

void adopt_kept_map(struct edged *e)
{
	struct buf raw = {0};
	struct topology *t = NULL;
	int edge = -1, rc = pipeline_peek_map(e->spool, &raw);
	if (rc == 0)
		rc = topology_of_map(e, bytes_of(raw.data, raw.len), &t);
	if (rc == 0)
		rc = check(e, t, &edge);
	if (rc == 0 && edge >= 0) {
		const struct topology *file = e->topology;
		e->topology = e->owned = t;
		e->edge = (uint32_t)edge;
		e->conf = &t->edges[edge];
		log_info("edged", "going by the cluster's topology, as kept in the spool; map=%" PRIu64, t->map_version);
		say_differences(e, file);
	} else {
		topology_free(t);
		if (rc != WEIR_ENOTFOUND)
			log_error("edged", "the cluster's topology in the spool cannot be used: going by the file until a cloud sends another; "
			                   "config=%s",
			    e->config);
	}
	buf_free(&raw);
}

/* ---- sources --------------------------------------------------------------------------------------------------- */

/* Of each source of the next configuration, the present number of the same one. */
static uint32_t *same_sources(const struct edged *e, const struct edge_conf *next)
{
	uint32_t *from = xmalloc((next->source_count + 1) * sizeof(from[0]));
	for (size_t i = 0; i < next->source_count; i++) {
		from[i] = UINT32_MAX;
		for (size_t k = 0; k < e->source_count; k++)
			if (e->sources[k]->source && source_conf_same(&e->conf->sources[k], &next->sources[i]))
				from[i] = (uint32_t)k;
	}
	return from;
}

void edged_open_source_or_later(struct edged *e, struct edged_source *s)
{
	char *why = NULL;
	if (edged_open_source(s, &why)) {
		log_error("edged", "a source cannot be opened, which is tried again each 10 s: %s", why);
		free(why);
		e->sources_again_ns = clock_mono_ns() + SOURCES_AGAIN_NS;
		return;
	}
	if (pipeline_paused(e->pipeline))
		source_pause(s->source, true);
}

/* Those that stay are put to their new numbers first: closing others may refuse what was begun. */
static void change_sources(struct edged *e, const uint32_t *from)
{
	struct edged_source **old = e->sources;
	size_t old_count = e->source_count, kept = 0, closed = 0;
	e->source_count = e->conf->source_count;
	e->sources = xcalloc(e->source_count + 1, sizeof(e->sources[0]));
	for (size_t i = 0; i < e->source_count; i++) {
		if (from[i] == UINT32_MAX)
			continue;
		e->sources[i] = old[from[i]];
		old[from[i]] = NULL;
		e->sources[i]->number = (uint32_t)i;
		source_set_conf(e->sources[i]->source, &e->conf->sources[i]);
		kept++;
	}
	for (size_t k = 0; k < old_count; k++) {
		if (!old[k])
			continue;
		closed += old[k]->source != NULL;
		source_free(old[k]->source);
		free(old[k]);
	}
	free(old);
	for (size_t i = 0; i < e->source_count; i++) {
		if (e->sources[i])
			continue;
		struct edged_source *s = e->sources[i] = xcalloc(1, sizeof(*s));
		*s = (struct edged_source){.edged = e, .number = (uint32_t)i};
	}
	for (size_t i = 0; i < e->source_count; i++)
		if (!e->sources[i]->source)
			edged_open_source_or_later(e, e->sources[i]);
	if (closed || kept < e->source_count)
		log_info("edged", "sources: %zu go on, %zu closed, %zu opened", kept, closed, e->source_count - kept);
}

static void try_sources_again(struct edged *e)
{
	if (!e->sources_again_ns || clock_mono_ns() < e->sources_again_ns)
		return;
	e->sources_again_ns = 0;
	for (size_t i = 0; i < e->source_count; i++) {
		if (e->sources[i]->source)
			continue;
		edged_open_source_or_later(e, e->sources[i]);
		if (e->sources[i]->source)
			log_info("edged", "opened at last; source=%s", e->conf->sources[i].name);
	}
}

/* ---- HTTP ------------------------------------------------------------------------------------------------------ */

static void change_http(struct edged *e, const char *before)
{
	const char *now = e->conf->http;
	if (before && now ? !strcmp(before, now) : before == now)
		return;
	struct http_server *old = e->http;
	char *why = NULL;
	e->http = NULL;
	if (edged_open_http(e, &why)) {
		log_error("edged", "staying at the address of before: %s", why);
		free(why);
		e->http = old;
	} else if (old) {
		http_close(old);
	}
}

/* ---- going over ------------------------------------------------------------------------------------------------ */

/* The limit is part of how large the spool may become. */
static int fit_spool(struct edged *e, char **ret_why)
{
	if (e->spool_disk_bytes == e->conf->disk_bytes)
		return 0;
	local_api_hold(e->local);
	kv_close(e->spool);
	e->spool = NULL;
	int rc = edged_open_spool(e, e->conf->disk_bytes, ret_why);
	if (!rc)
		local_api_go(e->local, e->spool);
	return rc;
}

static int reopen(struct edged *e, struct topology *t, const uint32_t *from, char **ret_why)
{
	struct pipeline_kept *kept = pipeline_keep(e->pipeline);
	struct pipeline_io io = edged_io(e);
	e->pipeline = NULL;
	e->topology = t;
	e->edge = e->next_edge;
	e->conf = &t->edges[e->next_edge];
	int rc = fit_spool(e, ret_why);
	if (rc) {
		pipeline_kept_free(kept);
		return rc;
	}
	return pipeline_reopen(t, e->edge, e->spool, &io, kept, from, edged_time(), &e->pipeline, ret_why);
}

/* The spool has it: nothing can be refused any more. */
static void go_over(struct edged *e)
{
	struct topology *t = e->next, *old = e->owned;
	const char *http = e->conf->http;
	uint32_t *from = same_sources(e, &t->edges[e->next_edge]);
	char *why = NULL;
	e->next = NULL;
	int rc = reopen(e, t, from, &why);
	if (rc) {
		edged_fail(e, rc, why ? why : "opening the spool again");
		e->next = t; /* both are pointed into until all is closed */
	} else {
		e->owned = t;
		change_sources(e, from);
		change_http(e, http);
		edged_start_timers(e);
		log_info("edged", "the topology was changed; edge=%s map=%" PRIu64, e->conf->name, t->map_version);
		topology_free(old);
	}
	free(why);
	free(from);
}

static void drop_next(struct edged *e)
{
	topology_free(e->next);
	e->next = NULL;
	e->told_waiting = false;
}

/* Whether a checkpoint has stored it. */
static bool stored(struct edged *e, int rc)
{
	bool later = rc == WEIR_EFULL || rc == WEIR_EBUSY;
	if (rc == WEIR_EFULL && !e->told_waiting) {
		e->told_waiting = true;
		log_warn("edged", "a new topology waits until there is room in the spool");
	}
	if (rc && !later)
		edged_fail(e, rc, "a checkpoint");
	if (!rc)
		e->told_waiting = false;
	return !rc;
}

static void look_at_offer(struct edged *e)
{
	struct bytes raw;
	struct topology *t;
	int edge = -1;
	if (!pipeline_map_offered(e->pipeline, &raw))
		return;
	int rc = topology_of_map(e, raw, &t);
	if (rc) {
		pipeline_map_refused(e->pipeline, edged_time());
		return;
	}
	rc = t->map_version > e->topology->map_version ? check(e, t, &edge) : WEIR_EINVAL; /* an answer may say more than it holds */
	if (rc == 0 && edge >= 0) {
		drop_next(e);
		buf_clear(&e->next_map);
		buf_put(&e->next_map, raw.p, raw.n);
		pipeline_map_taken(e->pipeline);
		e->next = t;
		e->next_edge = (uint32_t)edge;
		return;
	}
	if (rc) {
		pipeline_map_refused(e->pipeline, edged_time());
	} else {
		if (e->next)
			drop_next(e); /* an earlier one, which has it */
		stored(e, pipeline_remove(e->pipeline, t->map_version, edged_time()));
	}
	topology_free(t);
}

void adopt_turn(struct edged *e)
{
	look_at_offer(e);
	if (e->next && !e->failed)
		edged_drain(e);
	if (e->next && !e->failed &&
	    stored(e, pipeline_store_map(e->pipeline, bytes_of(e->next_map.data, e->next_map.len), edged_time())))
		go_over(e);
	if (!e->failed)
		try_sources_again(e);
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

void adopt_file(struct edged *e)
{
	struct topology *t = NULL;
	struct buf errors = {0}, parts = {0};
	int edge = -1;
	if (topology_load(e->config, &t, &errors)) {
		log_lines(buf_cstr(&errors));
		log_error("edged", "the configuration has errors: going on with the one in use; config=%s", e->config);
		buf_free(&errors);
		return;
	}
	buf_free(&errors);
	reload_differences(e->topology, t, e->edge, &parts);
	if (!parts.len) {
		log_info("edged", "configuration read again: nothing has changed for this edge; config=%s", e->config);
	} else if (e->topology->map_version) {
		say_differences(e, t);
	} else if (!check(e, t, &edge) && edge < 0) {
		log_warn("edged", "configuration read again: this edge is no longer in it, stop it; config=%s", e->config);
	} else if (edge >= 0) {
		log_info("edged", "configuration read again: changed are %s; config=%s", buf_cstr(&parts), e->config);
		drop_next(e);
		buf_clear(&e->next_map);
		e->next = t;
		e->next_edge = (uint32_t)edge;
		t = NULL; /* at the next tick */
	}
	topology_free(t);
	buf_free(&parts);
}
