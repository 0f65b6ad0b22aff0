#include "cloudd/readiness.h"

/* From fine to worst. */
enum readiness { READY, BEGINS, UNREACHABLE, NO_QUORUM, NO_LEADER, REPLAYING, FETCHING, DAMAGED, OUTDATED, WAITS, FORMING };

static enum readiness judge(const struct group_status *g, const bool *reachable)
{
	if (g->role == REPLICA_FORMING)
		return g->waits_for[0] ? FORMING : WAITS;
	if (g->outdated.index)
		return OUTDATED;
	if (g->damage)
		return DAMAGED;
	if (g->fetching)
		return FETCHING;
	if (g->replaying)
		return REPLAYING;
	if (g->role == REPLICA_LEADER && !g->serving) /* nobody's leader until it has applied what was before its time */
		return g->quorum ? BEGINS : NO_QUORUM;
	if (g->leader < 0)
		return NO_LEADER;
	if (!g->quorum)
		return NO_QUORUM;
	return reachable[g->leader] ? READY : UNREACHABLE;
}

static uint32_t reachable_replicas(const struct topology *t, uint32_t group, const bool *reachable)
{
	uint32_t n = 0;
	for (uint32_t rank = 0; rank < topology_replicas(t, group); rank++)
		n += reachable[topology_replica(t, group, rank)];
	return n;
}

void readiness_group_name(struct buf *out, uint32_t group)
{
	if (group)
		buf_printf(out, "shard %u", group - 1);
	else
		buf_printf(out, "the meta group");
}

void readiness_outdated(struct buf *out, const struct outdated *o)
{
	buf_printf(out, "before entry %llu", (unsigned long long)o->index);
	if (o->kind || o->format)
		buf_printf(out, " (kind %u, format %u)", o->kind, o->format);
	buf_printf(out, ", which is of a later version of weir: upgrade cloudd on this node");
}

static void put_no_leader(const struct topology *t, uint32_t group, const char *what, const char *otherwise,
    const bool *reachable, struct buf *out)
{
	uint32_t n = reachable_replicas(t, group, reachable);
	readiness_group_name(out, group);
	if (n <= topology_replicas(t, group) / 2)
		buf_printf(out, " %s: only %u of %u replicas can be reached", what, n,
		    topology_replicas(t, group));
	else
		buf_printf(out, " %s%s", what, otherwise);
}

static void put_problem(const struct topology *t, uint32_t group, const struct group_status *g, enum readiness r,
    const bool *reachable, struct buf *out)
{
	switch (r) {
	case READY:
		break;
	case BEGINS:
		readiness_group_name(out, group);
		buf_printf(out, " begins to be led here");
		break;
	case UNREACHABLE:
		readiness_group_name(out, group);
		buf_printf(out, " is led by %s, which does not answer this node", t->clouds[g->leader].name);
		break;
	case NO_QUORUM:
		put_no_leader(t, group, g->role == REPLICA_LEADER ? "has lost its quorum" : "does not hear its leader", "",
		    reachable, out);
		break;
	case NO_LEADER:
		put_no_leader(t, group, "has no leader", ": its replicas elect one", reachable, out);
		break;
	case REPLAYING:
		buf_printf(out, "replaying the log of ");
		readiness_group_name(out, group);
		break;
	case FETCHING:
		readiness_group_name(out, group);
		buf_printf(out, " is being fetched from another replica: %llu", (unsigned long long)g->fetched_bytes);
		if (g->fetch_total_bytes)
			buf_printf(out, " of %llu", (unsigned long long)g->fetch_total_bytes);
		buf_printf(out, " bytes");
		break;
	case DAMAGED:
		readiness_group_name(out, group);
		buf_printf(out, " is damaged here and is had again from another replica: %s", g->damage);
		break;
	case OUTDATED:
		readiness_group_name(out, group);
		buf_printf(out, " stands still here ");
		readiness_outdated(out, &g->outdated);
		break;
	case WAITS:
		readiness_group_name(out, group);
		if (g->leader >= 0)
			buf_printf(out, " is empty here and waits until its leader adds this replica");
		else
			buf_printf(out, " is empty here, and no node is known that leads it and could add this replica: it goes on when a majority of those "
			                "who had it is there with the data that they had");
		break;
	case FORMING:
		if (g->lists_others)
			buf_printf(out, "forming: the file of %s lists other nodes, or other shards, than the file of this node; a new "
			                "cluster begins when all have the same", g->waits_for);
		else
			buf_printf(out, "forming: waits for %s; a new cluster needs every node of its topology once", g->waits_for);
		break;
	}
}

void readiness_text(const struct topology *t, const struct group_status *groups, const bool *reachable, struct buf *out)
{
	enum readiness worst = READY;
	uint32_t held = 0, bad = 0, first = 0;
	for (uint32_t g = 0; g < topology_groups(t); g++) {
		if (!groups[g].held || !groups[g].placed)
			continue;
		enum readiness r = judge(&groups[g], reachable);
		held++;
		bad += r != READY;
		if (r > worst) {
			worst = r;
			first = g;
		}
	}
	put_problem(t, first, &groups[first], worst, reachable, out);
	if (bad > 1)
		buf_printf(out, " (%u of the %u groups here are not ready)", bad, held);
}
