/* Who is where: a node is one process for ever, and has a place in each map that lists it. */
#include "common/err.h"
#include "common/map.h"
#include "tests/sim/sim_world.h"

const struct topology *sim_topology(const struct sim_world *w)
{
	return w->newest ? w->newest : w->topology;
}

int sim_pid_at(const struct sim_world *w, const struct topology *t, uint32_t slot)
{
	if (slot >= t->cloud_count || t->clouds[slot].state == CLOUD_GONE)
		return -1;
	return sim_plan_cloud(w->plan, t->clouds[slot].name);
}

int sim_slot_of(const struct sim_world *w, const struct topology *t, uint32_t pid)
{
	return topology_cloud(t, w->plan->clouds[pid]);
}

uint32_t sim_replicas(const struct sim_world *w, uint32_t group)
{
	return topology_replicas(sim_topology(w), group);
}

uint32_t sim_replica(const struct sim_world *w, uint32_t group, uint32_t rank)
{
	const struct topology *t = sim_topology(w);
	int pid = sim_pid_at(w, t, topology_replica(t, group, rank));
	weir_assert(pid >= 0);
	return (uint32_t)pid;
}

bool sim_placed(const struct sim_world *w, uint32_t group, uint32_t pid)
{
	const struct topology *t = sim_topology(w);
	int slot = sim_slot_of(w, t, pid);
	return slot >= 0 && topology_rank(t, group, (uint32_t)slot) >= 0;
}

void sim_map_seen(struct sim_world *w, const struct topology *t)
{
	if (w->newest && w->newest->map_version >= t->map_version)
		return;
	const struct topology *before = w->newest;
	w->newest = topology_hold(t);
	topology_free(before);
	for (uint32_t g = 0; g < topology_groups(t); g++)
		for (uint32_t r = 0; r < topology_replicas(t, g); r++)
			if (sim_pid_at(w, t, topology_replica(t, g, r)) < 0)
				sim_fail(w, "map %llu places group %u at slot %u, where nobody is", (unsigned long long)t->map_version, g,
				    topology_replica(t, g, r));
}

struct topology *sim_map_topology(struct sim_world *w, struct bytes raw, const struct topology *before)
{
	struct cluster_map map;
	struct topology *t = NULL;
	struct buf errors = {0};
	int rc = map_decode(raw, &map);
	if (rc) {
		sim_fail(w, "a cluster map does not decode: %s", err_text(rc));
		return NULL;
	}
	rc = map_topology(&map, "sim.yaml", before, &t, &errors);
	if (rc)
		sim_fail(w, "a cluster map is no topology: %s", buf_cstr(&errors));
	map_clear(&map);
	buf_free(&errors);
	return rc ? NULL : t;
}
