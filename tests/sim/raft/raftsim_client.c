/* Those who use the groups: clients that write and read, an operator who changes memberships. */
#include <string.h>

#include "tests/sim/raft/raftsim.h"

#define LLU(x) ((unsigned long long)(x))

/* ---- writes ---------------------------------------------------------------------------------- */

static void check_quota(struct rs_replica *r)
{
	const struct raft_options *l = &r->w->plan.limits;
	uint64_t term = raft_term(r->raft);
	size_t bytes = 0;
	uint32_t count = 0;
	for (uint32_t i = 0; i < r->proposal_count; i++) {
		const struct rs_proposal *p = &r->proposals[(r->proposal_first + i) % RS_PROPOSALS_MAX];
		if (p->term != term || p->index <= r->state.index)
			continue;
		count++;
		bytes += p->len;
	}
	if (count > l->proposed_max || (bytes > l->proposed_bytes_max && count > 1))
		rs_fail(r->w, "member %u has taken %u proposals, %zu bytes", r->node + 1, count, bytes);
}

static void remember(struct rs_replica *r, uint64_t index, uint64_t value, size_t len)
{
	/* Of an earlier leadership, truncated since: nothing will ever be heard of them. */
	while (r->proposal_count &&
	       r->proposals[(r->proposal_first + r->proposal_count - 1) % RS_PROPOSALS_MAX].index >= index)
		r->proposal_count--;
	if (r->proposal_count == RS_PROPOSALS_MAX) {
		r->proposal_first = (r->proposal_first + 1) % RS_PROPOSALS_MAX;
		r->proposal_count--;
	}
	struct rs_proposal *p = &r->proposals[(r->proposal_first + r->proposal_count++) % RS_PROPOSALS_MAX];
	*p = (struct rs_proposal){index, raft_term(r->raft), value, len};
}

static bool propose(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	uint8_t bytes[256];
	uint64_t value = ++w->next_value, index;
	size_t len = rs_between(&w->client_rand, 8, w->plan.value_max);
	memcpy(bytes, &value, 8);
	memset(bytes + 8, (int)(value & 0xff), len - 8);
	struct raft_data *d = raft_data_copy(bytes, len);
	int rc = raft_propose(r->raft, d, sim_chance(&w->client_rand, 0.2), &index);
	if (rc) {
		raft_data_release(d);
		if (rc == RAFT_EBUSY)
			w->out->busy++;
		else if (rc != RAFT_ENOTLEADER)
			rs_fail(w, "raft_propose: %s", raft_error_text(rc));
		return false;
	}
	remember(r, index, value, len);
	check_quota(r);
	return true;
}

/* What was proposed here is applied here: now its client knows, and it must never be lost. */
void rs_client_applied(struct rs_replica *r, const struct raft_entry *e, uint64_t value)
{
	struct rs_world *w = r->w;
	while (r->proposal_count) {
		const struct rs_proposal *p = &r->proposals[r->proposal_first];
		if (p->index > e->index)
			return;
		if (p->index == e->index && p->term == e->term) {
			if (p->value != value) {
				rs_fail(w,
				    "another value is applied under a proposal's index and term: member %u, "
				    "%llu",
				    r->node + 1, LLU(e->index));
				return;
			}
			w->out->acknowledged++;
			w->groups[r->group].oracle.acknowledged++;
			w->groups[r->group].oracle.acknowledged_at = w->now;
			rs_heal_acknowledged(w, r->group);
		}
		r->proposal_first = (r->proposal_first + 1) % RS_PROPOSALS_MAX;
		r->proposal_count--;
	}
}

/* ---- reads ----------------------------------------------------------------------------------- */

/* All that was committed anywhere before the question is covered by the answer. */
static void ask(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	struct rs_group *g = &w->groups[r->group];
	if (r->read_count == RS_READS_MAX)
		return;
	uint64_t context = ++g->next_context;
	int rc = raft_read_index(r->raft, context);
	if (!rc)
		r->reads[r->read_count++] = (struct rs_read){context, g->oracle.commit, w->now};
	else if (rc != RAFT_ENOTLEADER && rc != RAFT_EBUSY)
		rs_fail(w, "raft_read_index: %s", raft_error_text(rc));
}

void rs_client_reads(struct rs_replica *r)
{
	struct raft_read read;
	while (raft_pop_read(r->raft, &read)) {
		uint32_t i = 0;
		while (i < r->read_count && r->reads[i].context != read.context)
			i++;
		if (i == r->read_count) {
			rs_fail(r->w, "an answer to no question: member %u", r->node + 1);
			return;
		}
		if (read.ok && read.index < r->reads[i].needed)
			rs_fail(r->w, "a stale read: member %u answers at %llu, %llu was committed before",
			    r->node + 1, LLU(read.index), LLU(r->reads[i].needed));
		r->w->out->reads += read.ok;
		r->reads[i] = r->reads[--r->read_count];
	}
}

static struct rs_replica *somebody(struct rs_world *w, uint32_t group)
{
	if (sim_chance(&w->client_rand, 0.7))
		return rs_leader(w, group);
	struct rs_replica *r = rs_replica(w, (uint32_t)sim_below(&w->client_rand, w->node_count), group);
	return r->raft ? r : NULL;
}

static uint64_t next_gap(struct rs_world *w)
{
	if (w->calm == RS_DOWN)
		return 10 * RS_MS;
	return rs_between(&w->client_rand, 1, 2 * w->plan.client_gap);
}

void rs_client_turn(struct rs_world *w, uint32_t group)
{
	rs_queue_put(&w->queue, w->now + next_gap(w), RS_EV_CLIENT, group, 0);
	rs_client_extra(w, group);
}

void rs_client_extra(struct rs_world *w, uint32_t group)
{
	struct rs_replica *r = somebody(w, group);
	if (!r || w->nodes[r->node].paused_until > w->now || w->clients_stopped)
		return;
	if (w->reads_only || sim_chance(&w->client_rand, 0.3))
		ask(r);
	uint32_t n = w->burst_until > w->now ? (uint32_t)rs_between(&w->client_rand, 1, 60) : 1;
	while (n-- && !w->reads_only && !w->out->failed && propose(r))
		continue;
	if (!w->out->failed && sim_chance(&w->client_rand, 0.1))
		ask(r);
	if (!w->out->failed)
		rs_replica_input(r);
}

/* ---- the operator ---------------------------------------------------------------------------- */

static bool lives(const struct rs_world *w, uint64_t id)
{
	return id && id <= w->node_count && !w->nodes[id - 1].lost;
}

/* A void state is no more of use to a group than a lost disk is. */
static bool viable(struct rs_world *w, uint32_t group, const struct raft_config *c, uint64_t without)
{
	uint32_t voters = 0, whole = 0;
	for (uint32_t i = 0; i < c->count; i++) {
		uint64_t id = c->members[i].id;
		voters += c->members[i].voter;
		whole += c->members[i].voter && id != without && lives(w, id) &&
			 !rs_replica(w, (uint32_t)id - 1, group)->disk.state_void;
	}
	return whole * 2 > voters;
}

bool rs_operator_may_lose(struct rs_world *w, uint32_t group, uint32_t node)
{
	struct rs_group *g = &w->groups[group];
	uint32_t kept = 0;
	bool good = viable(w, group, &g->config, node + 1);
	for (uint32_t i = 0; i < g->change_count; i++) {
		if (g->changes[i].index <= g->config_index)
			continue;
		g->changes[kept++] = g->changes[i];
		good &= viable(w, group, &g->changes[i].config, node + 1);
	}
	g->change_count = kept;
	return good && kept < RS_CHANGES_MAX;
}

static void remember_change(struct rs_world *w, struct rs_replica *leader, const struct raft_status *s)
{
	uint32_t group = leader->group;
	struct rs_group *g = &w->groups[group];
	uint64_t members = 0;
	for (uint32_t i = 0; i < s->config.count; i++)
		members |= UINT64_C(1) << (s->config.members[i].id - 1);
	leader->led_members &= members;
	if (g->change_count < RS_CHANGES_MAX)
		g->changes[g->change_count++] = (struct rs_change){s->last, s->config};
	(void)rs_operator_may_lose(w, group, UINT32_MAX); /* forgets the old ones */
}

struct survey {
	struct raft_status s;
	uint32_t live_voters;
	uint64_t dead, learner, outsider, voter; /* one of each, by chance; 0: none */
};

static void pick(struct rs_world *w, uint64_t *which, uint32_t *seen, uint64_t id)
{
	if (sim_below(&w->client_rand, ++*seen) == 0)
		*which = id;
}

static void look(struct rs_world *w, struct rs_replica *leader, struct survey *v)
{
	uint32_t dead = 0, learners = 0, outsiders = 0, voters = 0;
	memset(v, 0, sizeof(*v));
	raft_status(leader->raft, &v->s);
	for (uint64_t id = 1; id <= w->node_count; id++) {
		const struct raft_member *m = raft_config_find(&v->s.config, id);
		if (m && !lives(w, id))
			pick(w, &v->dead, &dead, id);
		else if (m && !m->voter)
			pick(w, &v->learner, &learners, id);
		else if (m)
			pick(w, &v->voter, &voters, id);
		else if (lives(w, id))
			pick(w, &v->outsider, &outsiders, id);
	}
	v->live_voters = voters;
}

static int remove_member(struct rs_world *w, struct rs_replica *leader, const struct survey *v, uint64_t id)
{
	struct raft_config c = {0};
	for (uint32_t i = 0; i < v->s.config.count; i++)
		if (v->s.config.members[i].id != id)
			raft_config_add(&c, v->s.config.members[i].id, v->s.config.members[i].voter);
	if (!viable(w, leader->group, &c, RAFT_NOBODY))
		return 0;
	return raft_remove(leader->raft, id);
}

/* Not one without a state: with a log that is ahead of the others' it could neither lead nor let them lead.
 */
static int promote_member(struct rs_world *w, struct rs_replica *leader, const struct survey *v, uint64_t id)
{
	struct raft_config c = v->s.config;
	for (uint32_t i = 0; i < c.count; i++)
		c.members[i].voter |= c.members[i].id == id;
	if (rs_replica(w, (uint32_t)id - 1, leader->group)->disk.state_void ||
	    !viable(w, leader->group, &c, RAFT_NOBODY))
		return 0;
	return raft_promote(leader->raft, id);
}

/* One trouble at a time: a member that lost its state is mended first. */
static bool mending(struct rs_world *w, struct rs_replica *leader, const struct survey *v)
{
	for (uint32_t i = 0; i < v->s.config.count; i++) {
		uint64_t id = v->s.config.members[i].id;
		if (lives(w, id) && rs_replica(w, (uint32_t)id - 1, leader->group)->disk.state_lost)
			return true;
	}
	return false;
}

static int act(struct rs_world *w, struct rs_replica *leader, const struct survey *v, uint32_t goal)
{
	if (mending(w, leader, v))
		return 0;
	if (!w->healing && w->plan.rotate && sim_chance(&w->client_rand, 0.5)) {
		if (v->learner && sim_chance(&w->client_rand, 0.3))
			return remove_member(w, leader, v, v->learner);
		if (v->voter && v->live_voters > 1 && sim_chance(&w->client_rand, 0.5))
			return remove_member(w, leader, v, v->voter);
		if (v->outsider)
			return raft_add_learner(leader->raft, v->outsider);
	}
	if (v->live_voters >= goal && v->dead)
		return remove_member(w, leader, v, v->dead);
	if (v->live_voters > goal && v->voter && !w->healing)
		return remove_member(w, leader, v, v->voter);
	if (v->live_voters < goal && v->learner)
		return promote_member(w, leader, v, v->learner);
	if (v->live_voters < goal && v->outsider)
		return raft_add_learner(leader->raft, v->outsider);
	return 0;
}

void rs_operator_turn(struct rs_world *w, uint32_t group)
{
	struct rs_group *g = &w->groups[group];
	uint64_t gap = w->healing ? 200 * RS_MS : rs_between(&w->client_rand, 1, 2 * w->plan.operator_gap);
	rs_queue_put(&w->queue, w->now + gap, RS_EV_OPERATOR, group, 0);
	if (w->calm > RS_RECOVERING)
		return;
	if (!w->healing && w->plan.rotate && sim_chance(&w->client_rand, 0.1))
		g->goal = (uint32_t)rs_between(&w->client_rand, 2, w->plan.nodes);
	struct rs_replica *leader = rs_leader(w, group);
	if (!leader || w->nodes[leader->node].paused_until > w->now)
		return;
	struct survey v;
	look(w, leader, &v);
	struct raft_status after;
	int rc = act(w, leader, &v, g->goal);
	raft_status(leader->raft, &after);
	if (!rc && after.last != v.s.last) {
		remember_change(w, leader, &after);
		rs_say(w, "group %u: leader %u changes the membership: %u members", group, leader->node + 1,
		    after.config.count);
		if (v.s.config_pending || v.s.commit < v.s.leader_since)
			rs_suspect(w,
			    "member %u begins a second change of the membership, or one before its term's "
			    "first entry is committed",
			    leader->node + 1);
	}
	if (rc && rc != RAFT_ENOTLEADER && rc != RAFT_EPENDING && rc != RAFT_EBUSY && rc != RAFT_EINVAL)
		rs_fail(w, "a change of membership: %s", raft_error_text(rc));
	rs_replica_input(leader);
}
