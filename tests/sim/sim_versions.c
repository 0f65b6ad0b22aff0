/* The versions of streams that the cluster's maps speak of: what each answers, and what it was in the maps before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "tests/sim/sim_world.h"

void sim_versions_begin(struct sim_world *w)
{
	w->known = topology_hold(w->plan->topology);
	w->known_all = xcalloc(1, sizeof(*w->known_all));
	w->known_all[w->known_count++] = w->known;
}

void sim_versions_free(struct sim_world *w)
{
	for (size_t i = 0; i < w->known_count; i++)
		topology_free(w->known_all[i]);
	free(w->known_all);
}

/* ---- what one map may make of the one before ------------------------------------------------------------------------ */

static bool answers_any(const struct stream_conf *s)
{
	return s->from_ns < s->answers_until_ns;
}

static const struct stream_conf *that_begins(const struct topology *t, const char *name, int64_t from_ns)
{
	const struct stream_conf *found = NULL;
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (answers_any(s) && s->phase != STREAM_PENDING && !strcmp(s->name, name) && s->from_ns >= from_ns &&
		    (!found || s->from_ns < found->from_ns))
			found = s;
	}
	return found;
}

/* From the first one on each ends where the next begins. */
static void check_tiling(struct sim_world *w, const struct topology *t, const char *name)
{
	const struct stream_conf *s = that_begins(t, name, INT64_MIN);
	if (s && s->from_ns != INT64_MIN)
		sim_fail(w, "map %llu: nobody answers for stream %s before version %u", (unsigned long long)t->map_version, name, s->version);
	while (s && !w->failed) {
		const struct stream_conf *next = s->answers_until_ns == INT64_MAX ? NULL : that_begins(t, name, s->from_ns + 1);
		if (s->answers_until_ns != INT64_MAX && (!next || next->from_ns != s->answers_until_ns))
			sim_fail(w, "map %llu: version %u of stream %s answers up to %lld s, and the next one from %lld s on",
			    (unsigned long long)t->map_version, s->version, name, sim_seconds(s->answers_until_ns),
			    next ? sim_seconds(next->from_ns) : 0);
		s = next;
	}
	for (size_t i = 0, live = 0; i < t->stream_count && !w->failed; i++) {
		const struct stream_conf *v = &t->streams[i];
		live += v->phase == STREAM_CURRENT && !strcmp(v->name, name);
		if (live > 1)
			sim_fail(w, "map %llu: two versions of stream %s are in force", (unsigned long long)t->map_version, name);
	}
}

/* The version that a new one takes over from: whoever answered then. */
static const struct stream_conf *answered_at(const struct topology *t, const struct stream_conf *next)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (s->phase != STREAM_PENDING && s->from_ns <= next->from_ns && next->from_ns < s->answers_until_ns && !strcmp(s->name, next->name))
			return s;
	}
	return NULL;
}

static void check_cut(struct sim_world *w, const struct topology *before, const struct topology *t, const struct stream_conf *s)
{
	const struct stream_conf *was = answered_at(before, s);
	if (s->from_ns == INT64_MIN)
		return;
	if (!was)
		sim_fail(w, "map %llu: version %u of stream %s takes over from nobody", (unsigned long long)t->map_version, s->version, s->name);
	else if (!sim_oracle_on_boundary(was, s, s->from_ns))
		sim_fail(w, "map %llu: version %u of stream %s takes over at %lld s, which is no boundary", (unsigned long long)t->map_version,
		    s->version, s->name, sim_seconds(s->from_ns));
}

static bool same_window(const struct stream_conf *a, const struct stream_conf *b)
{
	return a->size_ns == b->size_ns && a->advance_ns == b->advance_ns && a->offset_ns == b->offset_ns;
}

static void compare(struct sim_world *w, uint32_t stream, const struct topology *before, const struct topology *t)
{
	const struct stream_conf *was = stream < before->stream_count ? &before->streams[stream] : NULL, *s = &t->streams[stream];
	if (was && (was->version != s->version || strcmp(was->name, s->name)))
		sim_fail(w, "map %llu: version %u of stream %s is not where version %u of %s was", (unsigned long long)t->map_version, s->version,
		    s->name, was->version, was->name);
	if (!was || w->failed)
		return;
	if (was->phase == STREAM_PENDING && s->phase == STREAM_CURRENT) {
		w->cuts++;
		check_cut(w, before, t, s);
	}
	if (was->phase != STREAM_PENDING && answers_any(was) && was->from_ns != s->from_ns)
		sim_fail(w, "map %llu: version %u of stream %s began to answer at %lld s, and now at %lld s", (unsigned long long)t->map_version,
		    s->version, s->name, sim_seconds(was->from_ns), sim_seconds(s->from_ns));
	if (s->answers_until_ns > was->answers_until_ns)
		sim_fail(w, "map %llu: version %u of stream %s answers longer than it did", (unsigned long long)t->map_version, s->version, s->name);
	bool other = !same_window(was, s);
	w->watch.other_windows[stream] = w->watch.other_windows[stream] || other;
	if (other || was->from_ns != s->from_ns)
		sim_check_forget_finals(w, stream);
}

/* For --verbose. */
static void show(const struct sim_world *w, const struct topology *t)
{
	for (size_t i = 0; i < t->stream_count && w->verbose; i++) {
		const struct stream_conf *s = &t->streams[i];
		printf("%9.3f   map %llu: %s version %u is %s, answers from %.3f until %.3f, fed until %.3f; windows of %lld ms, every %lld, offset %lld\n",
		    (double)w->now_ns / 1e9, (unsigned long long)t->map_version, s->name, s->version, stream_phase_text(s->phase),
		    (double)(s->from_ns / NS_PER_MS - SIM_WALL_BASE_NS / NS_PER_MS) / 1e3, (double)(s->answers_until_ns / NS_PER_MS - SIM_WALL_BASE_NS / NS_PER_MS) / 1e3,
		    (double)(s->until_ns / NS_PER_MS - SIM_WALL_BASE_NS / NS_PER_MS) / 1e3, (long long)(s->size_ns / NS_PER_MS), (long long)(s->advance_ns / NS_PER_MS),
		    (long long)(s->offset_ns / NS_PER_MS));
	}
}

void sim_versions_seen(struct sim_world *w, struct bytes map, uint64_t version)
{
	if (version <= w->known->map_version || w->failed)
		return;
	struct topology *t = sim_map_topology(w, map, w->known);
	if (!t)
		return;
	if (t->stream_count > SIM_VERSIONS_MAX)
		sim_fail(w, "over %d versions of streams", SIM_VERSIONS_MAX);
	w->maps++;
	show(w, t);
	for (size_t i = 0; i < t->stream_count && !w->failed; i++) {
		compare(w, (uint32_t)i, w->known, t);
		if (!w->failed)
			check_tiling(w, t, t->streams[i].name);
	}
	w->known_all = xrealloc(w->known_all, (w->known_count + 1) * sizeof(*w->known_all));
	w->known_all[w->known_count++] = w->known = t;
	sim_read_again(w);
}

/* ---- of all maps -------------------------------------------------------------------------------------------------------- */

static int64_t retains_ns(const struct stream_conf *s, bool rolled_up)
{
	return rolled_up && s->rollup_count ? s->rollups[s->rollup_count - 1].retain_ns : s->retain_ns;
}

static int64_t least(const struct sim_world *w, uint32_t stream, bool rolled_up)
{
	const char *name = w->known->streams[stream].name;
	int64_t ns = RETAIN_FOREVER;
	/* Of other versions, too: what one has may be given up by the clock and the retain of another one. */
	for (size_t i = 0; i < w->known_count; i++)
		for (size_t k = 0; k < w->known_all[i]->stream_count; k++) {
			const struct stream_conf *s = &w->known_all[i]->streams[k];
			if (!strcmp(s->name, name) && retains_ns(s, rolled_up) < ns)
				ns = retains_ns(s, rolled_up);
		}
	return ns;
}

int64_t sim_versions_least_retain(const struct sim_world *w, uint32_t stream)
{
	return least(w, stream, false);
}

bool sim_versions_always_kept(const struct sim_world *w, uint32_t stream)
{
	return least(w, stream, true) == RETAIN_FOREVER;
}

bool sim_versions_on_time(const struct sim_world *w, uint32_t stream)
{
	bool fine = !w->plan->late_sources;
	for (size_t i = 0; i < w->known_count && fine; i++)
		if (stream < w->known_all[i]->stream_count)
			fine = sim_plan_on_time(w->plan, w->known_all[i], &w->known_all[i]->streams[stream]);
	return fine;
}

bool sim_versions_was_ended(const struct sim_world *w, uint32_t stream)
{
	for (size_t i = 0; i < w->known_count; i++)
		if (stream < w->known_all[i]->stream_count && w->known_all[i]->streams[stream].phase == STREAM_ENDED)
			return true;
	return false;
}

bool sim_versions_was_removed(const struct sim_world *w, const char *name)
{
	for (uint32_t i = 0; i < w->known->stream_count; i++)
		if (!strcmp(w->known->streams[i].name, name) && sim_versions_was_ended(w, i))
			return true;
	return false;
}

bool sim_versions_lost_edge(const struct sim_world *w)
{
	for (size_t i = 0; i < w->known->edge_count; i++)
		if (w->known->edges[i].gone)
			return true;
	return false;
}
