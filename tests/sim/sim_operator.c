/* The operator: does what the plan's changes say, as weirctl and a hand on the machines would. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "tests/sim/sim_world.h"

#define LOOK_EVERY_NS (300 * NS_PER_MS)
#define STARTED_WITHIN_MS 5000
#define REMOVED_MAX_NS (5 * NS_PER_SEC) /* a node that is not where the map has it is started again after so long */

const char *sim_deed_text(enum sim_deed d)
{
	static const char *const texts[] = {"a topology is applied", "a node is stopped", "a node is lost", "a node is retired",
	    "a retired node is started"};
	return texts[d];
}

void sim_operator_plan(struct sim_world *w)
{
	if (w->plan->change_count)
		sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->plan->changes[0].at_ns, .type = SIM_OPERATE});
}

bool sim_operator_done(const struct sim_world *w)
{
	return w->operator.next == w->plan->change_count;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------- */

static void stop(struct sim_cloud *c)
{
	if (c->up)
		sim_cloud_crash(c);
	c->life++;
}

static void start(struct sim_world *w, struct sim_cloud *c)
{
	c->wanted = true;
	c->life++;
	sim_plan_event(w, SIM_NODE_START, sim_range(&w->fault_rand, 0, STARTED_WITHIN_MS) * NS_PER_MS, c->pid, c->life);
}

static bool lose(struct sim_world *w, struct sim_cloud *c)
{
	if (!sim_group_may_wipe(w, c) || sim_damage_heals(w, c))
		return false;
	stop(c);
	sim_cloud_wipe(c);
	c->wanted = false;
	return true;
}

static bool retire(struct sim_world *w, struct sim_cloud *c)
{
	if (sim_slot_of(w, sim_topology(w), c->pid) >= 0)
		return false;
	stop(c);
	c->wanted = false;
	return true;
}

/* It goes by a map that has it, and not where it is: it was removed, and added again at another place. */
static void look_after(struct sim_world *w, struct sim_cloud *c)
{
	int slot = c->up ? sim_slot_of(w, c->topology, c->pid) : -1;
	if (slot < 0 || slot == (int)c->slot)
		c->removed_ns = 0;
	else if (!c->removed_ns)
		c->removed_ns = w->now_ns;
	else if (w->now_ns - c->removed_ns > REMOVED_MAX_NS) {
		sim_trace(w, "cloud %u was removed and added again: it is started again", c->pid);
		c->removed_ns = 0;
		stop(c);
		start(w, c);
	}
}

/* ---- topologies ----------------------------------------------------------------------------------------------------- */

static void add_cloud(struct sim_world *w, struct sim_cloud *c, const struct sim_change *ch)
{
	if (c->wanted || sim_slot_of(w, sim_topology(w), c->pid) >= 0)
		return; /* runs, or was lost for good */
	if (ch->empties && c->topology)
		sim_cloud_wipe(c);
	c->file = ch->topology;
	start(w, c);
}

static void add_edge(struct sim_world *w, struct sim_edge *e, const struct sim_change *ch)
{
	if (e->exists)
		return;
	e->file = ch->topology;
	e->exists = true;
	sim_plan_event(w, SIM_EDGE_START, sim_range(&w->fault_rand, 0, STARTED_WITHIN_MS) * NS_PER_MS, e->pid, e->life);
}

/* New daemons may be there before the cluster knows of them, or after. */
static void prepare(struct sim_world *w, const struct sim_change *ch)
{
	for (uint32_t i = 0; i < w->cloud_count; i++)
		if (sim_slot_of(w, ch->topology, i) >= 0)
			add_cloud(w, &w->clouds[i], ch);
	for (uint32_t i = 0; i < w->plan->edge_count; i++)
		if (topology_edge(ch->topology, w->plan->edges[i]) >= 0)
			add_edge(w, &w->edges[i], ch);
}

static bool in_force(const struct sim_world *w, const struct sim_change *ch)
{
	return w->newest->text_len == ch->yaml.len && !memcmp(w->newest->text, ch->yaml.data, ch->yaml.len);
}

static void answered(void *arg, enum verdict verdict, uint64_t map_version, const char *reason)
{
	struct sim_world *w = arg;
	w->operator.asked = false;
	if (w->operator.asked_for == w->operator.next)
		w->operator.refused = verdict == VERDICT_REFUSED;
	if (w->plan->changes[w->operator.asked_for].refused && verdict == VERDICT_OK)
		sim_fail(w, "the cluster took a topology that no cluster may take");
	sim_trace(w, "the change is answered: %s, map %llu %s", verdict_text(verdict), (unsigned long long)map_version, reason ? reason : "");
}

static void commit(struct sim_world *w, struct sim_cloud *c, const struct sim_change *ch, uint64_t base)
{
	struct buf zipped = {0};
	struct msg m = {.type = MSG_TOPOLOGY};
	map_text_pack((const char *)ch->yaml.data, ch->yaml.len, &zipped);
	m.topology.base_version = base;
	m.topology.text_bytes = (uint32_t)ch->yaml.len;
	m.topology.text = bytes_of(zipped.data, zipped.len);
	sim_trace(w, "cloud %u is asked for change %u", c->pid, w->operator.next);
	w->operator.asked = true;
	w->operator.asked_for = w->operator.next;
	node_ask_meta(c->node, &m, sim_cloud_time(c), answered, w);
	buf_free(&zipped);
}

/* As POST /api/v1/topology: the difference to the map that this node has, then the question to the meta group. */
static void ask(struct sim_world *w, struct sim_cloud *c, const struct sim_change *ch)
{
	struct buf raw = {0}, errors = {0};
	struct cluster_map map, next;
	struct map_changes changes;
	node_map(c->node, &raw);
	if (!raw.len || map_decode(bytes_of(raw.data, raw.len), &map)) {
		buf_free(&raw);
		return;
	}
	if (ch->refused) { /* who does not look at the difference must be told all the same */
		commit(w, c, ch, map.version);
		map_clear(&map);
		buf_free(&raw);
		return;
	}
	int rc = map_change(&map, (const char *)ch->yaml.data, ch->yaml.len, &next, &changes, &errors);
	if (rc)
		sim_trace(w, "cloud %u: the change cannot be made now: %s", c->pid, changes.count ? changes.all[changes.count - 1].text : buf_cstr(&errors));
	else if (changes.count)
		commit(w, c, ch, map.version);
	else
		w->operator.same = true;
	if (!rc)
		map_clear(&next);
	map_changes_clear(&changes);
	map_clear(&map);
	buf_free(&errors);
	buf_free(&raw);
}

static bool apply_text(struct sim_world *w, const struct sim_change *ch)
{
	struct sim_operator *o = &w->operator;
	if (!w->newest)
		return false; /* it is being founded */
	if (!o->prepared && !ch->refused)
		prepare(w, ch);
	o->prepared = true;
	if (ch->refused ? o->refused && !o->asked : o->same || in_force(w, ch))
		return true;
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	if (!o->asked && c->up && c->sleep.paused_until_ns <= w->now_ns) {
		ask(w, c, ch);
		sim_cloud_turn(c);
	}
	return false;
}

/* ---- one after the other ---------------------------------------------------------------------------------------------- */

/* False: not yet. */
static bool do_deed(struct sim_world *w, const struct sim_change *ch)
{
	struct sim_cloud *c = &w->clouds[ch->cloud];
	switch (ch->deed) {
	case SIM_APPLY_TEXT:
		return apply_text(w, ch);
	case SIM_STOP_CLOUD:
		stop(c);
		return true;
	case SIM_LOSE_CLOUD:
		return lose(w, c);
	case SIM_RETIRE_CLOUD:
		return retire(w, c);
	case SIM_START_CLOUD:
		start(w, c);
		return true;
	}
	return true;
}

void sim_operator_run(struct sim_world *w)
{
	struct sim_operator *o = &w->operator;
	for (uint32_t i = 0; i < w->cloud_count && !w->failed; i++)
		look_after(w, &w->clouds[i]);
	if (!sim_operator_done(w) && w->now_ns >= w->plan->changes[o->next].at_ns && do_deed(w, &w->plan->changes[o->next])) {
		sim_trace(w, "done: %s", sim_deed_text(w->plan->changes[o->next].deed));
		o->next++;
		o->prepared = o->refused = o->same = false;
	}
	sim_plan_event(w, SIM_OPERATE, LOOK_EVERY_NS, 0, 0);
}
