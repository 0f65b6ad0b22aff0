#include "tests/sim/sim_script.h"

#include <inttypes.h>

#include "common/err.h"

#define SCRIPTED 0.12 /* of all seeds */

void sim_text_put(const struct sim_text *t, struct buf *out)
{
	buf_printf(out,
	    "version: 1\n"
	    "cluster:\n"
	    "  name: sim\n"
	    "  shards: %u\n"
	    "  replicas: %u\n"
	    "  security: none\n"
	    "  partitioned_after: %" PRId64 "s\n",
	    t->shards, t->replicas, t->partitioned_after_s);
	if (t->replace_after_s)
		buf_printf(out, "  replace_after: %" PRId64 "s\n", t->replace_after_s);
	buf_printf(out, "cloud:\n");
	for (uint32_t c = 0; c < SIM_CLOUDS_MAX; c++)
		if (t->has[c])
			buf_printf(out,
			    "  - {name: cloud-%u, listen: \"tcp://127.0.0.1:%u\", http: \"127.0.0.1:%u\", data: run/cloud-%u}\n",
			    c + 1, 7101 + c, 8101 + c, c + 1);
	buf_put(out, t->rest.data, t->rest.len);
	if (t->sinks)
		buf_printf(out, "sinks:\n");
	if (t->sinks & SIM_SINK_ALL)
		buf_printf(out, "  - {name: all, type: file, path: \"all-{node}\"}\n");
	if (t->sinks & SIM_SINK_FINAL)
		buf_printf(out, "  - {name: final, type: file, path: \"final-{node}\", state: final}\n");
}

enum sim_script sim_script_pick(struct sim_rand *r)
{
	if (!sim_chance(r, SCRIPTED))
		return SCRIPT_NONE;
	return (enum sim_script)sim_range(r, SCRIPT_NONE + 1, SCRIPTS - 1);
}

static void first_clouds(struct sim_text *t, uint32_t n)
{
	for (uint32_t c = 0; c < SIM_CLOUDS_MAX; c++)
		t->has[c] = c < n;
}

void sim_script_begin(enum sim_script s, struct sim_rand *r, struct sim_text *t)
{
	uint32_t clouds = s == SCRIPT_FIRST_THREE ? 1 : s == SCRIPT_LEAVE_DOWN || s == SCRIPT_DEAD ? 4 : 3;
	if (s == SCRIPT_RETURN || s == SCRIPT_REPLACE)
		clouds = (uint32_t)sim_range(r, 3, 4);
	first_clouds(t, clouds);
	t->replicas = clouds < 3 ? clouds : 3;
	if (s == SCRIPT_DEAD)
		t->replace_after_s = sim_range(r, 3, 12);
}

/* ---- single deeds -------------------------------------------------------------------------------------------------- */

static struct sim_change *next(struct sim_plan *p, enum sim_deed deed, int64_t at_ns)
{
	weir_assert(p->change_count < SIM_CHANGES_MAX);
	struct sim_change *c = &p->changes[p->change_count++];
	*c = (struct sim_change){.at_ns = at_ns, .deed = deed};
	return c;
}

static struct sim_change *apply(struct sim_plan *p, const struct sim_text *t, int64_t at_ns)
{
	struct sim_change *c = next(p, SIM_APPLY_TEXT, at_ns);
	sim_text_put(t, &c->yaml);
	return c;
}

/* Clouds are numbered here as their names are, less one; processes as they come up in the plan. So do these. */
static void to_cloud(struct sim_plan *p, enum sim_deed deed, int64_t at_ns, uint32_t cloud)
{
	next(p, deed, at_ns)->cloud = cloud;
}

static uint32_t some(const struct sim_text *t, struct sim_rand *r, uint32_t but)
{
	uint32_t c;
	do
		c = (uint32_t)sim_below(r, SIM_CLOUDS_MAX);
	while (!t->has[c] || c == but);
	return c;
}

/* ---- scripts ------------------------------------------------------------------------------------------------------- */

static void grow_and_shrink(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	t->has[3] = true;
	if (sim_chance(r, 0.3)) {
		apply(p, t, at);
		at += sim_range(r, 0, 5) * NS_PER_SEC;
	}
	t->has[4] = true;
	if (sim_chance(r, 0.2))
		t->replicas = 5;
	apply(p, t, at);
	at += sim_range(r, 0, 20) * NS_PER_SEC;
	t->replicas = 3;
	for (int i = 0; i < 2; i++) {
		t->has[some(t, r, SIM_CLOUDS_MAX)] = false;
		if (i || sim_chance(r, 0.5)) {
			apply(p, t, at);
			at += sim_range(r, 0, 5) * NS_PER_SEC;
		}
	}
}

static void first_three(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	t->has[1] = true;
	t->replicas = 2;
	if (sim_chance(r, 0.5)) {
		apply(p, t, at);
		at += sim_range(r, 0, 15) * NS_PER_SEC;
	}
	t->has[2] = true;
	t->replicas = 3;
	apply(p, t, at);
}

/* The successor's slot is another one where both are in the map for a while. */
static void replace(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	uint32_t old = some(t, r, SIM_CLOUDS_MAX), new = 4;
	bool lost = sim_chance(r, 0.3);
	if (lost)
		to_cloud(p, SIM_LOSE_CLOUD, at, old);
	t->has[new] = true;
	if (sim_chance(r, 0.5)) {
		apply(p, t, at);
		at += sim_range(r, 0, 15) * NS_PER_SEC;
	}
	t->has[old] = false;
	apply(p, t, at);
	if (!lost && sim_chance(r, 0.5))
		to_cloud(p, SIM_RETIRE_CLOUD, at, old);
	if (sim_chance(r, 0.6))
		return;
	/* Another one after it, into the slot that is free then. */
	uint32_t gone = some(t, r, SIM_CLOUDS_MAX);
	to_cloud(p, SIM_RETIRE_CLOUD, at, old);
	t->has[gone] = false;
	t->has[5] = true;
	apply(p, t, at);
}

static void leave_while_down(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	uint32_t down = some(t, r, SIM_CLOUDS_MAX), leaves = some(t, r, sim_chance(r, 0.3) ? SIM_CLOUDS_MAX : down);
	to_cloud(p, SIM_STOP_CLOUD, at, down);
	t->has[leaves] = false;
	apply(p, t, at + sim_range(r, 0, 5) * NS_PER_SEC);
}

static void leave_and_return(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	uint32_t leaves = some(t, r, SIM_CLOUDS_MAX);
	bool down = sim_chance(r, 0.3);
	if (down)
		to_cloud(p, SIM_STOP_CLOUD, at, leaves);
	t->has[leaves] = false;
	if (sim_chance(r, 0.3))
		t->has[4] = true;
	apply(p, t, at);
	to_cloud(p, SIM_RETIRE_CLOUD, at, leaves);
	if (sim_chance(r, 0.4)) {
		to_cloud(p, SIM_START_CLOUD, at, leaves);
		return;
	}
	if (!t->has[4] && sim_chance(r, 0.3)) { /* takes the slot */
		t->has[4] = true;
		apply(p, t, at);
	}
	t->has[leaves] = true;
	apply(p, t, at + sim_range(r, 0, 10) * NS_PER_SEC)->empties = sim_chance(r, 0.5);
}

static void die(struct sim_plan *p, struct sim_rand *r, struct sim_text *t, int64_t at)
{
	uint32_t dies = some(t, r, SIM_CLOUDS_MAX);
	to_cloud(p, sim_chance(r, 0.7) ? SIM_LOSE_CLOUD : SIM_STOP_CLOUD, at, dies);
	if (sim_chance(r, 0.5))
		return;
	t->has[dies] = false;
	t->has[4] = sim_chance(r, 0.5);
	apply(p, t, at + sim_range(r, 0, 30) * NS_PER_SEC);
}

void sim_script_members(struct sim_plan *p, enum sim_script s, struct sim_rand *r, struct sim_text *t)
{
	static const char *const names[SCRIPTS] = {NULL, "3 to 5 to 3", "1 to 3", "a node is replaced", "a node leaves while another is down",
	    "a node that was removed comes back", "a node dies"};
	int64_t at = sim_range(r, 12, 30) * NS_PER_SEC;
	p->change_name = names[s];
	switch (s) {
	case SCRIPT_GROW_SHRINK:
		grow_and_shrink(p, r, t, at);
		break;
	case SCRIPT_FIRST_THREE:
		first_three(p, r, t, at);
		break;
	case SCRIPT_REPLACE:
		replace(p, r, t, at);
		break;
	case SCRIPT_LEAVE_DOWN:
		leave_while_down(p, r, t, at);
		break;
	case SCRIPT_RETURN:
		leave_and_return(p, r, t, at);
		break;
	case SCRIPT_DEAD:
		die(p, r, t, at);
		break;
	case SCRIPT_NONE:
	case SCRIPTS:
		break;
	}
}
