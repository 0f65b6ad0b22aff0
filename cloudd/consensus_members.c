/* Who founds a group, and who should lead it. */
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "common/clock.h"
#include "common/err.h"

#define TRANSFER_MS 1000 /* between two transfers of this node's groups */

/* ---- what other nodes are ---------------------------------------------------------------------------------------- */

static size_t has_bytes(const struct consensus *c)
{
	return (c->group_count + 7) / 8;
}

static bool peer_has(const struct peer *p, uint32_t group)
{
	return p->has[group / 8] >> (group % 8) & 1;
}

/* Of two that say that they lead the later term counts. Where nobody says it any more any term does: a group may have been
 * founded anew, and what was said last may have been wrong. */
static void note_leads(struct consensus *c, uint32_t node, const struct msg_info *info, int64_t mono_ns)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		if (c->groups[i].said_leader == (int)node)
			c->groups[i].said_leader = -1;
	}
	for (size_t i = 0; i < info->lead_count; i++) {
		const struct msg_lead *l = &info->leads[i];
		struct group *g = l->group < c->group_count ? &c->groups[l->group] : NULL;
		if (!g || (g->said_leader >= 0 && l->term < g->said_term))
			continue;
		g->said_term = l->term;
		g->said_settled = l->settled;
		g->said_leader = (int)node;
		g->said_ns = mono_ns;
	}
}

void consensus_peer(struct consensus *c, uint32_t node, const struct msg_info *info, bool answered,
    struct consensus_time now)
{
	if (node >= c->topology->cloud_count || node == c->self || !info->cluster ||
	    strcmp(info->cluster, c->topology->cluster) != 0)
		return;
	note_leads(c, node, info, now.mono_ns);
	if (info->replica == RAFT_NOBODY || node_of(info->replica) != node)
		return; /* its number is not durable yet, or it is none of that node's */
	struct peer *p = &c->peers[node];
	if (p->member != info->replica) {
		p->answered = false;
		memset(p->has, 0, has_bytes(c));
	}
	p->answered |= answered;
	p->member = info->replica;
	p->heard_ns = now.mono_ns;
	p->map_version = info->map_version;
	p->full = info->full;
	p->listed = info->listed;
	/* What a member has it keeps: a word that comes late, by another connection, takes nothing back. */
	for (size_t i = 0; i < has_bytes(c) && info->has.n == has_bytes(c); i++)
		p->has[i] |= info->has.p[i];
	if (info->has.n != has_bytes(c))
		p->answered = false;
	if (!c->failed && c->started)
		members_found(c);
}

uint64_t member_of(const struct consensus *c, uint32_t node)
{
	return node == c->self ? c->member : c->peers[node].member;
}

/* ---- founding ---------------------------------------------------------------------------------------------------- */

/* Only a cluster's first placement is founded: a later one moves what is there. Who has an earlier map than another node may know
 * neither the placement nor who else has the group. */
static bool may_found(const struct consensus *c)
{
	uint64_t version = c->topology->map_version;
	for (uint32_t node = 0; node < c->topology->cloud_count; node++) {
		if (node != c->self && c->peers[node].map_version > version)
			return false;
	}
	return version <= 1;
}

/* Whether that node has to answer before this one founds the group. By its file alone a node cannot tell whether the cluster is there
 * already: the file of one that comes to it may place the group on new nodes only, who all hold nothing. So each node of the file
 * is asked, not only those of the group: one that was there before has the group, or a map (may_found). The first map is the cluster's own. */
static bool is_asked(const struct group *g, uint32_t node)
{
	const struct topology *t = g->c->topology;
	return node != g->c->self && (!t->map_version || topology_rank(t, g->number, node) >= 0);
}

bool members_begun(const struct consensus *c, uint32_t group)
{
	return group != META_GROUP && c->groups[META_GROUP].serving && c->io.begun(c->io.arg, group);
}

/* With the first map the meta group has begun, and its leader knows which shards have: one that has, and of which its nodes hold
 * nothing, was lost. Begun anew it would be without all that was acknowledged, and without the map that it took. */
static bool may_begin(const struct group *g)
{
	const struct consensus *c = g->c;
	const struct group *meta = &c->groups[META_GROUP];
	if (!c->topology->map_version)
		return true;
	if (g->number == META_GROUP)
		return false;
	if (meta->serving)
		return !members_begun(c, g->number);
	int leader = meta->said_leader;
	return leader >= 0 && leader != (int)c->self && c->peers[leader].answered && !peer_has(&c->peers[leader], g->number);
}

/* By two lists of nodes a group has two first replicas, who may ask the others at the same time, hear both that nobody has it, and
 * both found it. */
bool members_lists_others(const struct consensus *c, uint32_t node)
{
	const struct peer *p = &c->peers[node];
	return !c->topology->map_version && p->listed && p->listed != topology_listed(c->topology);
}

int members_awaited(const struct group *g)
{
	const struct consensus *c = g->c;
	for (uint32_t node = 0; node < c->topology->cloud_count && c->topology->map_version <= 1; node++) {
		if (is_asked(g, node) && (!c->peers[node].answered || members_lists_others(c, node)))
			return (int)node;
	}
	return -1;
}

/* All who are asked have answered that they hold nothing of it. */
static bool nobody_has(const struct group *g)
{
	const struct consensus *c = g->c;
	for (uint32_t node = 0; node < c->topology->cloud_count; node++) {
		const struct peer *p = &c->peers[node];
		if (is_asked(g, node) && (p->member == RAFT_NOBODY || peer_has(p, g->number)))
			return false;
	}
	return members_awaited(g) < 0;
}

bool members_first(const struct group *g, struct raft_config *ret_config)
{
	struct consensus *c = g->c;
	struct raft_status status;
	raft_status(g->raft, &status);
	if (!may_found(c) || g->has || g->is_void || g->raft_writing || g->rank != 0 || status.term || status.last || status.config.count)
		return false;
	if (!nobody_has(g) || !may_begin(g))
		return false;
	struct raft_config config = {0};
	for (uint32_t r = 0; r < topology_replicas(c->topology, g->number); r++) {
		if (!raft_config_add(&config, member_of(c, topology_replica(c->topology, g->number, r)), true))
			return false;
	}
	*ret_config = config;
	return true;
}

void members_found(struct consensus *c)
{
	struct raft_config config;
	for (uint32_t i = 0; c->unfounded && i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (!group_live(g) || g->has || !members_first(g, &config))
			continue;
		g->founding = FOUND_WANTED;
		list_add(c, LIST_TURN, g);
	}
}

void members_founded(struct group *g)
{
	struct raft_term_start term = {.index = 1, .term = 1};
	struct raft_entry first = {.index = 1, .term = 1, .kind = RAFT_ENTRY_CONFIG, .data = g->first};
	struct raft_start start = {.last = 1, .terms = &term, .term_count = 1, .configs = &first, .config_count = 1};
	raft_free(g->raft);
	g->raft = NULL;
	g->founding = FOUND_NO;
	g->announced = UINT64_MAX;
	weir_assert(!group_make_raft(g, &start));
	raft_campaign(g->raft);
}

/* ---- balance -------------------------------------------------------------------------------------------------------- */

bool members_full(const struct consensus *c, uint64_t id)
{
	const struct peer *p = &c->peers[node_of(id) % CLOUDS_MAX];
	return p->member == id && p->full;
}

/* The first-ranked voter before this one that follows closely and has room; RAFT_NOBODY: none. */
static uint64_t better_leader(const struct group *g, const struct raft_status *s)
{
	const struct topology *t = g->c->topology;
	for (uint32_t r = 0; r < g->rank; r++) {
		uint64_t id = member_of(g->c, topology_replica(t, g->number, r));
		const struct raft_progress_status *p = moves_progress(s, id);
		if (p && p->voter && p->active && p->state == RAFT_REPLICATE && moves_caught_up(s, id) && !members_full(g->c, id))
			return id;
	}
	return RAFT_NOBODY;
}

static void balance(struct group *g, const struct raft_status *s, int64_t mono_ns)
{
	struct consensus *c = g->c;
	uint64_t better = better_leader(g, s);
	if (better != g->better || !g->better_since_ns) {
		g->better = better;
		g->better_since_ns = mono_ns;
		g->better_last = s->last;
	}
	int64_t enough = CONSENSUS_BALANCE_MS * NS_PER_MS;
	if (better == RAFT_NOBODY || s->transfer_to || mono_ns - g->better_since_ns < enough ||
	    mono_ns - g->serving_since_ns < enough || moves_progress(s, better)->applied < g->better_last)
		return;
	if (c->transfer_ns && mono_ns - c->transfer_ns < TRANSFER_MS * NS_PER_MS)
		return;
	if (!raft_transfer(g->raft, better)) {
		c->transfer_ns = mono_ns;
		c->counters.transfers++;
	}
	g->better_since_ns = 0; /* should it fail: not at once again */
	group_touch(g);
}

/* ---- full disks ---------------------------------------------------------------------------------------------------- */

bool members_have_room(const struct group *g)
{
	const struct consensus *c = g->c;
	struct raft_status s;
	if (consensus_full(c))
		return false;
	uint32_t full = 0;
	for (uint32_t node = 0; node < c->topology->cloud_count; node++)
		full += c->peers[node].full;
	if (!full)
		return true; /* the usual case is cheap */
	raft_status(g->raft, &s);
	uint32_t voters = 1, able = 1;
	full = 0;
	for (uint32_t i = 0; i < s.progress_count; i++) {
		const struct raft_progress_status *p = &s.progress[i];
		voters += p->voter;
		able += p->voter && p->active && !members_full(c, p->id);
		full += p->voter && members_full(c, p->id);
	}
	return !full || able > voters / 2;
}

static bool is_to_step_aside(const struct consensus *c, int64_t mono_ns)
{
	int64_t enough = CONSENSUS_ASIDE_MS * NS_PER_MS;
	return c->state_low || (c->log_full_ns && mono_ns - c->log_full_ns >= enough) ||
	    (c->apply_full_ns && mono_ns - c->apply_full_ns >= enough);
}

/* To each that has room in turn. */
static void step_aside(struct group *g, const struct raft_status *s, int64_t mono_ns)
{
	const struct topology *t = g->c->topology;
	if (s->transfer_to || (g->aside_ns && mono_ns - g->aside_ns < CONSENSUS_ASIDE_MS * NS_PER_MS))
		return;
	uint32_t replicas = topology_replicas(t, g->number);
	for (uint32_t i = 0; i < replicas; i++) {
		uint64_t id = member_of(g->c, topology_replica(t, g->number, g->aside_turn++ % replicas));
		const struct raft_progress_status *p = moves_progress(s, id);
		if (!p || !p->voter || members_full(g->c, id) || !moves_caught_up(s, id) || raft_transfer(g->raft, id))
			continue;
		g->aside_ns = mono_ns;
		g->c->counters.transfers++;
		group_touch(g);
		return;
	}
}

/* A change of members takes several steps, each as soon as the one before it is committed. */
static void tick_steps(struct consensus *c)
{
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		struct raft_status status;
		if (!g->steps || !g->serving)
			continue;
		raft_status(g->raft, &status);
		if (!status.config_pending)
			(void)moves_step(g, &status);
	}
}

void members_tick(struct consensus *c, int64_t mono_ns)
{
	tick_steps(c);
	if (c->members_ns && mono_ns - c->members_ns < CONSENSUS_MEMBERS_MS * NS_PER_MS)
		return;
	c->members_ns = mono_ns;
	members_found(c);
	c->counters.elections = 0;
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (g->raft)
			place_tick(g, mono_ns); /* may close it */
		if (!g->raft)
			continue;
		struct raft_counters counters;
		raft_counters(g->raft, &counters);
		c->counters.elections += counters.campaigns;
		if (!raft_is_leader(g->raft))
			continue;
		struct raft_status status;
		raft_status(g->raft, &status);
		if (is_to_step_aside(c, mono_ns)) { /* maybe before it could begin to serve */
			step_aside(g, &status, mono_ns);
			continue;
		}
		if (!g->serving)
			continue;
		if (!g->serving_since_ns)
			g->serving_since_ns = mono_ns;
		if (!status.config_pending && !moves_step(g, &status))
			balance(g, &status, mono_ns);
	}
}
