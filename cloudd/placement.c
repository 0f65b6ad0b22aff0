#include "cloudd/placement.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topology.h"

#define NOBODY UINT8_MAX
_Static_assert(CLOUDS_MAX < NOBODY, "a slot fits a place");

struct plan {
	struct cluster_map *map;
	const struct group_place *before; /* by group */
	uint32_t replicas;                /* wanted of each group */
	uint32_t each;                    /* of nodes that take part: min(replicas, those) */
	uint32_t members;
	uint32_t load[CLOUDS_MAX];  /* replicas, of nodes that take part */
	uint32_t leads[CLOUDS_MAX]; /* preferred leaders, likewise */
};

static bool takes_part(const struct plan *p, uint32_t slot)
{
	return slot < p->map->node_count && p->map->nodes[slot].state == CLOUD_MEMBER;
}

static bool is_dead(const struct plan *p, uint32_t slot)
{
	return slot < p->map->node_count && p->map->nodes[slot].state == CLOUD_DEAD;
}

static int rank_of(const struct group_place *g, uint32_t slot)
{
	for (uint32_t r = 0; r < g->count; r++) {
		if (g->nodes[r] == slot)
			return (int)r;
	}
	return -1;
}

static void take_away(struct group_place *g, uint32_t rank)
{
	memmove(&g->nodes[rank], &g->nodes[rank + 1], g->count - rank - 1);
	g->count--;
}

static void give(struct group_place *g, uint32_t slot)
{
	g->nodes[g->count++] = (uint8_t)slot;
}

/* ---- replicas ---------------------------------------------------------------------------------------------------- */

/* Those of nodes that take part stay, in their order. */
static void keep_members(struct plan *p)
{
	for (uint32_t i = 0; i < p->map->group_count; i++) {
		struct group_place *g = &p->map->places[i];
		*g = (struct group_place){0};
		for (uint32_t r = 0; r < p->before[i].count && g->count < REPLICAS_MAX; r++) {
			uint32_t slot = p->before[i].nodes[r];
			if (!takes_part(p, slot) || rank_of(g, slot) >= 0)
				continue;
			give(g, slot);
			p->load[slot]++;
		}
	}
}

/* Too many, where fewer replicas are wanted than were: the most loaded nodes give. */
static void trim(struct plan *p, struct group_place *g)
{
	while (g->count > p->each) {
		uint32_t most = 0;
		for (uint32_t r = 1; r < g->count; r++) {
			if (p->load[g->nodes[r]] >= p->load[g->nodes[most]])
				most = r;
		}
		p->load[g->nodes[most]]--;
		take_away(g, most);
	}
}

/* The least loaded node that takes part and has none of the group. */
static uint32_t least_loaded(const struct plan *p, const struct group_place *g)
{
	uint32_t least = NOBODY;
	for (uint32_t slot = 0; slot < p->map->node_count; slot++) {
		if (takes_part(p, slot) && rank_of(g, slot) < 0 && (least == NOBODY || p->load[slot] < p->load[least]))
			least = slot;
	}
	return least;
}

static void fill(struct plan *p, struct group_place *g)
{
	while (g->count < p->each) {
		uint32_t slot = least_loaded(p, g);
		give(g, slot);
		p->load[slot]++;
	}
}

static void extremes(const struct plan *p, const uint32_t *count, uint32_t *ret_least, uint32_t *ret_most)
{
	*ret_least = *ret_most = NOBODY;
	for (uint32_t slot = 0; slot < p->map->node_count; slot++) {
		if (!takes_part(p, slot))
			continue;
		if (*ret_least == NOBODY || count[slot] < count[*ret_least])
			*ret_least = slot;
		if (*ret_most == NOBODY || count[slot] > count[*ret_most])
			*ret_most = slot;
	}
}

/* What moving a replica of the group costs: nothing where it only changes a move that is to be made anyway. */
static int cost_of(const struct plan *p, uint32_t group, uint32_t from, uint32_t to)
{
	const struct group_place *before = &p->before[group];
	bool moves = rank_of(before, from) >= 0, back = rank_of(before, to) >= 0;
	return (int)moves - (int)back;
}

/* The group whose replica is cheapest to be moved; of equal ones one that `from` need not lead. There is one: `from` has more
 * groups than `to`. */
static uint32_t cheapest(const struct plan *p, uint32_t from, uint32_t to)
{
	uint32_t best = UINT32_MAX;
	int best_cost = 0;
	for (uint32_t i = 0; i < p->map->group_count; i++) {
		const struct group_place *g = &p->map->places[i];
		int rank = rank_of(g, from);
		if (rank < 0 || rank_of(g, to) >= 0)
			continue;
		int cost = 2 * cost_of(p, i, from, to) + (rank == 0);
		if (best == UINT32_MAX || cost < best_cost) {
			best = i;
			best_cost = cost;
		}
	}
	return best;
}

/* Each move brings two nodes nearer to each other, so it ends. */
static void even_out(struct plan *p)
{
	for (;;) {
		uint32_t least, most;
		extremes(p, p->load, &least, &most);
		if (p->load[most] - p->load[least] <= 1)
			return;
		struct group_place *g = &p->map->places[cheapest(p, most, least)];
		take_away(g, (uint32_t)rank_of(g, most));
		give(g, least);
		p->load[most]--;
		p->load[least]++;
	}
}

/* ---- leaders ------------------------------------------------------------------------------------------------------ */

static void lead(struct group_place *g, uint32_t slot)
{
	uint32_t rank = (uint32_t)rank_of(g, slot);
	memmove(&g->nodes[1], &g->nodes[0], rank);
	g->nodes[0] = (uint8_t)slot;
}

/* Who leads already goes on; else who leads least. */
static void choose_leaders(struct plan *p)
{
	for (uint32_t i = 0; i < p->map->group_count; i++) {
		struct group_place *g = &p->map->places[i];
		if (g->count && p->before[i].count && g->nodes[0] == p->before[i].nodes[0])
			p->leads[g->nodes[0]]++;
	}
	for (uint32_t i = 0; i < p->map->group_count; i++) {
		struct group_place *g = &p->map->places[i];
		if (!g->count || (p->before[i].count && g->nodes[0] == p->before[i].nodes[0]))
			continue;
		uint32_t least = g->nodes[0];
		for (uint32_t r = 1; r < g->count; r++) {
			if (p->leads[g->nodes[r]] < p->leads[least])
				least = g->nodes[r];
		}
		lead(g, least);
		p->leads[least]++;
	}
}

/* Ways along which leadership can be handed on: from a group's leader to another of its replicas. Breadth first from `most`; the first
 * node found that leads at least two groups less ends it: NOBODY: there is none. by[slot]: the group that comes to lead there. */
static uint32_t find_way(const struct plan *p, uint32_t most, uint32_t *by)
{
	uint32_t queue[CLOUDS_MAX], head = 0, count = 0;
	bool seen[CLOUDS_MAX] = {false};
	queue[count++] = most;
	seen[most] = true;
	while (head < count) {
		uint32_t from = queue[head++];
		for (uint32_t i = 0; i < p->map->group_count; i++) {
			const struct group_place *g = &p->map->places[i];
			if (!g->count || g->nodes[0] != from)
				continue;
			for (uint32_t r = 1; r < g->count; r++) {
				uint32_t to = g->nodes[r];
				if (seen[to])
					continue;
				seen[to] = true;
				by[to] = i;
				if (p->leads[to] + 2 <= p->leads[most])
					return to;
				queue[count++] = to;
			}
		}
	}
	return NOBODY;
}

/* Where no way is left from any node, nothing is more even: by the theory of flows. */
static void even_leaders(struct plan *p)
{
	uint32_t by[CLOUDS_MAX] = {0};
	for (uint32_t most = 0; most < p->map->node_count;) {
		uint32_t to = takes_part(p, most) ? find_way(p, most, by) : NOBODY;
		if (to == NOBODY) {
			most++;
			continue;
		}
		p->leads[to]++;
		p->leads[most]--;
		while (to != most) {
			struct group_place *g = &p->map->places[by[to]];
			uint32_t from = g->nodes[0];
			lead(g, to);
			to = from;
		}
		most = 0;
	}
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

/* Dead nodes for which there is nobody else keep their places, behind the others. */
static void keep_dead(struct plan *p)
{
	for (uint32_t i = 0; i < p->map->group_count; i++) {
		struct group_place *g = &p->map->places[i];
		for (uint32_t r = 0; r < p->before[i].count && g->count < p->replicas; r++) {
			uint32_t slot = p->before[i].nodes[r];
			if (is_dead(p, slot) && rank_of(g, slot) < 0)
				give(g, slot);
		}
	}
}

void placement_spread(struct cluster_map *m, uint32_t replicas)
{
	struct plan p = {.map = m, .replicas = replicas < REPLICAS_MAX ? replicas : REPLICAS_MAX};
	for (uint32_t slot = 0; slot < m->node_count; slot++)
		p.members += takes_part(&p, slot);
	p.each = p.replicas < p.members ? p.replicas : p.members;
	if (!p.each)
		return;
	struct group_place *before = xcalloc(m->group_count, sizeof(*before));
	memcpy(before, m->places, m->group_count * sizeof(*before));
	p.before = before;
	keep_members(&p);
	for (uint32_t i = 0; i < m->group_count; i++)
		trim(&p, &m->places[i]);
	for (uint32_t i = 0; i < m->group_count; i++)
		fill(&p, &m->places[i]);
	even_out(&p);
	choose_leaders(&p);
	even_leaders(&p);
	keep_dead(&p);
	free(before);
}

int placement_plan(struct cluster_map *m)
{
	struct topology *t;
	struct buf errors = {0};
	int rc = topology_parse("topology.yaml", m->text, m->text_len, &t, &errors);
	buf_free(&errors);
	if (rc)
		return rc;
	placement_spread(m, t->replicas);
	topology_free(t);
	return 0;
}

static bool has_place(const struct cluster_map *m, uint32_t slot)
{
	for (uint32_t i = 0; i < m->group_count; i++) {
		if (rank_of(&m->places[i], slot) >= 0)
			return true;
	}
	return false;
}

static void forget_texts(struct map_node *n)
{
	char **texts[] = {&n->name, &n->listen, &n->http};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		free(*texts[i]);
		*texts[i] = xstrdup("");
	}
}

int placement_node(struct cluster_map *m, uint32_t slot, enum node_event event)
{
	struct map_node *n = slot < m->node_count ? &m->nodes[slot] : NULL;
	enum cloud_state was = n ? n->state : CLOUD_GONE, is = was;
	if (!n)
		return WEIR_EINVAL;
	if (event == NODE_EVENT_DEAD && was == CLOUD_MEMBER)
		is = CLOUD_DEAD;
	else if (event == NODE_EVENT_ALIVE && was == CLOUD_DEAD)
		is = CLOUD_MEMBER;
	else if (event == NODE_EVENT_GONE && was == CLOUD_LEAVING && !has_place(m, slot))
		is = CLOUD_GONE;
	else
		return WEIR_EINVAL;
	n->state = is;
	int rc = is == CLOUD_GONE ? 0 : placement_plan(m);
	if (rc) {
		n->state = was;
		return rc;
	}
	if (is == CLOUD_GONE)
		forget_texts(n);
	m->version++;
	return 0;
}
