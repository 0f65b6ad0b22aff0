/* What others ask of consensus; nothing here changes anything. */
#include <stdio.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "common/err.h"

void consensus_info(struct consensus *c, struct msg_info *ret_info)
{
	size_t leads = 0, bytes = (c->group_count + 7) / 8;
	memset(c->info_has, 0, bytes);
	for (uint32_t i = 0; i < c->group_count; i++) {
		const struct group *g = &c->groups[i];
		if (g->has || g->founding == FOUND_WRITING || members_begun(c, i))
			c->info_has[i / 8] |= (uint8_t)(1 << i % 8);
		if (g->serving && !c->failed)
			c->info_leads[leads++] =
			    (struct msg_lead){.group = i, .term = g->served_term, .settled = consensus_settled(c, i)};
	}
	*ret_info = (struct msg_info){.cluster = c->topology->cluster, .replica = c->member_durable ? c->member : 0,
	    .has = bytes_of(c->info_has, bytes), .lead_count = leads, .leads = c->info_leads,
	    .map_version = c->topology->map_version, .full = consensus_full(c),
	    .listed = c->topology->map_version ? 0 : topology_listed(c->topology)};
}

int consensus_leader(const struct consensus *c, uint32_t group)
{
	if (group >= c->group_count)
		return -1;
	const struct group *g = &c->groups[group];
	if (!g->held)
		return g->said_leader;
	uint64_t leader = raft_leader(g->raft);
	/* Cut off from what the others send, but not from what they answer: they have gone on to another term. */
	if (leader == RAFT_NOBODY && g->said_leader != (int)c->self && g->said_term > raft_term(g->raft))
		return g->said_leader;
	/* Moved away: its leader speaks to this replica no more. */
	if (leader == RAFT_NOBODY && g->said_leader != (int)c->self && !g->placed)
		return g->said_leader;
	if (leader == RAFT_NOBODY || (leader == c->member && (!g->serving || c->failed)))
		return -1;
	return (int)node_of(leader);
}

static enum replica_role role_of(const struct group *g, const struct raft_status *s)
{
	const struct raft_member *self = raft_config_find(&s->config, g->c->member);
	if (!group_live(g) || !s->config.count)
		return REPLICA_FORMING;
	switch (s->role) {
	case RAFT_FOLLOWER:
		break;
	case RAFT_PRE_CANDIDATE:
	case RAFT_CANDIDATE:
		return REPLICA_CANDIDATE;
	case RAFT_LEADER:
		return REPLICA_LEADER;
	}
	return self && self->voter ? REPLICA_FOLLOWER : REPLICA_LEARNER;
}

bool status_has_quorum(const struct consensus *c, const struct raft_status *s)
{
	if (s->role != RAFT_LEADER)
		return s->leader != RAFT_NOBODY && s->ticks_since_heard < CONSENSUS_ELECTION_TICKS;
	uint32_t voters = 0, active = 0;
	for (uint32_t i = 0; i < s->config.count; i++) {
		voters += s->config.members[i].voter;
		active += s->config.members[i].voter && s->config.members[i].id == c->member;
	}
	for (uint32_t i = 0; i < s->progress_count; i++)
		active += s->progress[i].voter && s->progress[i].active;
	return active > voters / 2;
}

static void list_replicas(const struct raft_status *s, struct group_status *out)
{
	for (uint32_t i = 0; i < s->progress_count && out->replica_count < REPLICAS_PER_STATUS_MAX; i++) {
		const struct raft_progress_status *p = &s->progress[i];
		uint32_t at = out->replica_count++;
		out->replicas[at].node = node_of(p->id);
		out->replicas[at].replica = p->id;
		out->replicas[at].match = p->match;
		out->replicas[at].role = p->voter ? REPLICA_FOLLOWER : REPLICA_LEARNER;
		out->replicas[at].active = p->active;
	}
}

static void say_who_is_missing(const struct group *g, struct group_status *out)
{
	int node = members_awaited(g);
	if (node < 0)
		return;
	snprintf(out->waits_for, sizeof(out->waits_for), "%s", g->c->topology->clouds[node].name);
	out->lists_others = members_lists_others(g->c, (uint32_t)node);
}

void consensus_status(const struct consensus *c, uint32_t group, struct group_status *ret_status)
{
	weir_assert(group < c->group_count);
	const struct group *g = &c->groups[group];
	struct group_status out = {.held = g->held, .placed = g->placed, .leader = consensus_leader(c, group)};
	if (g->held) {
		struct raft_status s;
		raft_status(g->raft, &s);
		out.role = role_of(g, &s);
		out.term = s.term;
		out.serving = g->serving && !c->failed;
		out.quorum = status_has_quorum(c, &s);
		out.replaying = g->reported < g->open_last && g->reported < s.last;
		out.fetching = g->fetching != FETCH_NONE || g->is_void;
		if (g->fetching != FETCH_NONE)
			fetch_progress(g->fetch, &out.fetched_bytes, &out.fetch_total_bytes);
		out.damage = g->damage;
		out.outdated = g->outdated;
		out.committed = s.commit;
		out.applied = g->applied;
		out.durable = g->state_durable;
		out.last = s.last;
		out.heard_ns = g->heard_ns ? (uint64_t)(c->ticked_ns - g->heard_ns) : CONSENSUS_UNHEARD;
		list_replicas(&s, &out);
		if (out.role == REPLICA_FORMING)
			say_who_is_missing(g, &out);
	} else {
		out.role = REPLICA_FORMING;
		out.term = g->said_term;
	}
	*ret_status = out;
}

uint64_t consensus_member(const struct consensus *c)
{
	return c->member;
}

uint64_t consensus_durable(const struct consensus *c, uint32_t group)
{
	return c->groups[group].state_durable;
}

const char *consensus_failed(const struct consensus *c)
{
	return c->failed;
}

bool consensus_full(const struct consensus *c)
{
	return c->log_full_ns || c->log_retry_ns || c->apply_full_ns || c->state_low;
}

const struct consensus_counters *consensus_counters(const struct consensus *c)
{
	return &c->counters;
}

bool consensus_cluster_id(const struct consensus *c, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	if (c->has_id)
		memcpy(ret_id, c->id, CLUSTER_ID_BYTES);
	return c->has_id;
}

void consensus_keep_cluster_id(struct consensus *c, const uint8_t id[CLUSTER_ID_BYTES])
{
	weir_assert(!c->has_id);
	if (c->id_dirty)
		return;
	memcpy(c->id, id, CLUSTER_ID_BYTES);
	c->id_dirty = true;
}
