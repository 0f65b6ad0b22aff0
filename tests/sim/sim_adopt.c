/* The topology that an edge goes by: as edged/adopt.c has it, with crashes in between. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "tests/sim/sim_world.h"

const struct edge_conf *sim_edge_conf(const struct sim_edge *e)
{
	return e->topology ? &e->topology->edges[e->number] : sim_plan_edge_conf(e->w->plan, e->edge);
}

static const char *name_of(const struct sim_edge *e)
{
	return e->w->plan->edges[e->edge];
}

static void go_by(struct sim_edge *e, const struct topology *t)
{
	int number = topology_edge(t, name_of(e));
	weir_assert(number >= 0);
	topology_hold(t);
	topology_free(e->topology);
	e->topology = t;
	e->number = (uint32_t)number;
}

/* Its own; NULL: none, or none that has this edge. */
static struct topology *topology_of(struct sim_edge *e, struct bytes map)
{
	struct topology *t = sim_map_topology(e->w, map, NULL);
	if (t)
		sim_plan_tune(e->w->plan, t);
	return t;
}

static struct topology *kept(struct sim_edge *e)
{
	struct buf raw = {0};
	struct topology *t = NULL;
	if (!pipeline_peek_map(e->kv, &raw))
		t = topology_of(e, bytes_of(raw.data, raw.len));
	buf_free(&raw);
	return t;
}

/* A mutant's: nothing ends. */
static void make_endless(const struct sim_edge *e, struct topology *t)
{
	for (size_t i = 0; t && i < t->stream_count && e->w->mutant == MUTANT_ENDLESS; i++)
		if (t->streams[i].phase == STREAM_CLOSING)
			t->streams[i].until_ns = INT64_MAX;
}

void sim_adopt_start(struct sim_edge *e)
{
	struct topology *t = e->w->plan->change_count ? kept(e) : NULL;
	make_endless(e, t);
	topology_free(e->next);
	e->next = NULL;
	if (t && topology_edge(t, name_of(e)) >= 0)
		go_by(e, t);
	else
		go_by(e, e->file);
	topology_free(t);
}

/* ---- what its history went by, for the oracle ----------------------------------------------------------------------- */

static void note(struct sim_edge *e)
{
	e->adoptions = xrealloc(e->adoptions, (e->adoption_count + 1) * sizeof(*e->adoptions));
	const struct topology *t = e->w->mutant == MUTANT_ENDLESS ? kept(e) : NULL; /* as it should be */
	e->adoptions[e->adoption_count++] = (struct sim_adoption){e->log_count, t ? t : topology_hold(e->topology), e->number};
}

/* A crash may have come between the spool's having a map and its being gone by. */
void sim_adopt_settle(struct sim_edge *e)
{
	if (!e->adoption_count || e->adoptions[e->adoption_count - 1].topology->map_version < e->topology->map_version)
		note(e);
	else if (e->w->plan->scenario == SIM_PLAIN && e->w->mutant == MUTANT_NONE &&
	    (e->adoptions[e->adoption_count - 1].topology->map_version > e->topology->map_version ||
		e->adoptions[e->adoption_count - 1].at > e->log_count))
		sim_fail(e->w, "edge %u has forgotten a map that it went by", e->pid);
}

bool sim_edge_is_gone(const struct sim_edge *e)
{
	return e->w->known && topology_edge(e->w->known, name_of(e)) < 0;
}

/* ---- going over ----------------------------------------------------------------------------------------------------- */

static void look_at_offer(struct sim_edge *e)
{
	struct bytes raw;
	if (!pipeline_map_offered(e->pipeline, &raw))
		return;
	struct topology *t = topology_of(e, raw);
	if (!t)
		return;
	if (t->map_version <= e->topology->map_version) {
		pipeline_map_refused(e->pipeline, sim_edge_time(e));
	} else if (topology_edge(t, name_of(e)) >= 0) {
		make_endless(e, t);
		topology_free(e->next);
		e->next = topology_hold(t);
		buf_clear(&e->next_map);
		buf_put(&e->next_map, raw.p, raw.n);
		pipeline_map_taken(e->pipeline);
	} else {
		int rc = pipeline_remove(e->pipeline, t->map_version, sim_edge_time(e));
		if (rc && rc != WEIR_EFULL && rc != WEIR_EBUSY && !sim_kv_dead(e->kv))
			sim_fail(e->w, "edge %u: being removed: %s", e->pid, err_text(rc));
	}
	topology_free(t);
}

/* Of each source of the next configuration, the present number of the same one. */
static void same_sources(const struct edge_conf *was, const struct edge_conf *next, uint32_t *from)
{
	for (size_t i = 0; i < next->source_count; i++) {
		from[i] = UINT32_MAX;
		for (size_t k = 0; k < was->source_count; k++)
			if (sim_plan_source(&was->sources[k]) == sim_plan_source(&next->sources[i]))
				from[i] = (uint32_t)k;
	}
}

/* The spool has it: from here on it is gone by, whatever comes. */
static void go_over(struct sim_edge *e)
{
	uint32_t from[SIM_SOURCES_MAX];
	const struct topology *before = topology_hold(e->topology), *next = e->next;
	char *why = NULL;
	e->next = NULL;
	int number = topology_edge(next, name_of(e));
	same_sources(sim_edge_conf(e), &next->edges[number], from);
	struct pipeline_kept *k = pipeline_keep(e->pipeline);
	struct pipeline_io io = *sim_edge_io();
	io.arg = e;
	e->pipeline = NULL;
	go_by(e, next);
	if (e->w->mutant == MUTANT_COLD_STEPS)
		sim_edge_clear_spool(e, SPOOL_STEP);
	int rc = pipeline_reopen(next, e->number, e->kv, &io, k, from, sim_edge_time(e), &e->pipeline, &why);
	if (rc)
		e->pipeline = NULL;
	if (rc && !sim_kv_dead(e->kv))
		sim_fail(e->w, "edge %u does not go over to map %llu: %s", e->pid, (unsigned long long)next->map_version, why);
	sim_trace(e->w, "edge %u goes by map %llu: %s", e->pid, (unsigned long long)next->map_version, rc ? why : "fine");
	if (!rc) {
		note(e);
		sim_edge_open_sources(e, from);
	}
	free(why);
	topology_free(next);
	topology_free(before);
}

void sim_adopt_turn(struct sim_edge *e)
{
	struct sim_world *w = e->w;
	if (!w->plan->change_count || w->mutant == MUTANT_DEAF_EDGE || w->failed || sim_kv_dead(e->kv))
		return;
	look_at_offer(e);
	if (!e->next || w->failed || sim_kv_dead(e->kv))
		return;
	int rc = pipeline_store_map(e->pipeline, bytes_of(e->next_map.data, e->next_map.len), sim_edge_time(e));
	if (rc == WEIR_EFULL || rc == WEIR_EBUSY || sim_kv_dead(e->kv))
		return;
	if (rc)
		sim_fail(w, "edge %u: storing a map: %s", e->pid, err_text(rc));
	else if (!w->no_faults && w->plan->edge_crash_ns && sim_chance(&w->fault_rand, 0.2))
		sim_kv_crash_after(e->kv, 0); /* the spool has it, and the process ends */
	if (!w->failed)
		go_over(e);
}

bool sim_adopt_at_rest(const struct sim_edge *e)
{
	const struct sim_world *w = e->w;
	if (sim_edge_is_gone(e))
		return pipeline_removed(e->pipeline);
	return !w->plan->change_count || !w->newest || e->topology->map_version == w->newest->map_version;
}
