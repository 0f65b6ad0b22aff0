/* The second half of a seed: everything works, and within a bound so do the groups. Then single troubles one
 * after the other, none of which may depose a leader that a majority hears; a crash, which must be mended
 * soon; a transfer. */
#include "tests/sim/raft/raftsim.h"

#define LLU(x) ((unsigned long long)(x))

/* One leader of settled membership, followed by all its members, which have what was committed a second ago.
 */
static bool group_well(struct rs_world *w, uint32_t group, const char **ret_why)
{
	struct rs_group *g = &w->groups[group];
	struct rs_replica *l = rs_leader(w, group);
	struct raft_status s;
	*ret_why = "no leader";
	if (!l)
		return false;
	raft_status(l->raft, &s);
	*ret_why = "its leader has committed nothing";
	if (s.commit < s.leader_since || g->oracle.acknowledged <= g->acked_before)
		return false;
	*ret_why = "its membership is not settled";
	if (s.config_pending || s.transfer_to)
		return false;
	uint32_t voters = 0;
	for (uint32_t i = 0; i < s.config.count; i++) {
		const struct raft_member *m = &s.config.members[i];
		struct rs_replica *r = rs_replica(w, (uint32_t)m->id - 1, group);
		voters += m->voter;
		*ret_why = "a member is down";
		if (!r->raft)
			return false;
		*ret_why = "a member has no state";
		if (r->disk.state_void)
			return false;
		*ret_why = "a member does not follow";
		if (raft_leader(r->raft) != (uint64_t)l->node + 1 || raft_term(r->raft) != s.term)
			return false;
		*ret_why = "a member lags";
		if (r->state.index < g->mark)
			return false;
	}
	*ret_why = "too few voters";
	return voters >= g->goal;
}

static bool all_well(struct rs_world *w, uint32_t *ret_group, const char **ret_why)
{
	bool well = true;
	for (uint32_t g = w->plan.groups; g-- > 0;) {
		const char *why;
		if (!group_well(w, g, &why)) {
			well = false;
			*ret_group = g;
			*ret_why = why;
		}
		if (w->now - w->groups[g].mark_at >= RS_S) {
			w->groups[g].mark = w->groups[g].oracle.commit;
			w->groups[g].mark_at = w->now;
		}
	}
	return well;
}

static void enter(struct rs_world *w, enum rs_calm c)
{
	w->calm = c;
	w->calm_since = w->now;
	rs_say(w, "calm %d", (int)c);
}

static void note_leaders(struct rs_world *w)
{
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *l = rs_leader(w, g);
		w->groups[g].calm_leader = l ? l->node + 1 : 0;
		w->groups[g].calm_term = l ? raft_term(l->raft) : 0;
	}
}

/* No group whose leader was not touched has lost it. */
static void check_leaders(struct rs_world *w, uint32_t touched)
{
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		const struct rs_group *group = &w->groups[g];
		struct rs_replica *l = rs_leader(w, g);
		if (group->calm_leader == (uint64_t)touched + 1)
			continue;
		if (!l || l->node + 1 != group->calm_leader || raft_term(l->raft) != group->calm_term)
			rs_fail(w,
			    "a healthy leader is deposed: group %u, member %u of term %llu, now %u of term "
			    "%llu (calm %d)",
			    g, (unsigned)group->calm_leader, LLU(group->calm_term), l ? l->node + 1 : 0,
			    LLU(l ? raft_term(l->raft) : 0), (int)w->calm);
	}
}

/* A node that is up; one that leads nothing, if there is one. */
static uint32_t victim(struct rs_world *w)
{
	uint32_t n = rs_random_node(w);
	for (uint32_t k = 0; k < w->node_count; k++) {
		uint32_t m = (n + k) % w->node_count;
		bool leads = false;
		for (uint32_t g = 0; g < w->plan.groups; g++)
			leads |= w->groups[g].calm_leader == (uint64_t)m + 1;
		if (w->nodes[m].up && !leads)
			return m;
	}
	return n;
}

static void cut_off(struct rs_world *w, uint32_t n, uint64_t until)
{
	for (uint32_t m = 0; m < RS_NODES_MAX; m++)
		if (m != n)
			w->cut_until[n][m] = w->cut_until[m][n] = until;
}

static void deafen(struct rs_world *w, uint32_t n, uint64_t until)
{
	bool both = sim_chance(&w->fault_rand, 0.5);
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		uint64_t leader = w->groups[g].calm_leader;
		if (!leader || leader == (uint64_t)n + 1)
			continue;
		w->cut_until[leader - 1][n] = until;
		if (both)
			w->cut_until[n][leader - 1] = until;
	}
}

static void crash_leader(struct rs_world *w)
{
	struct rs_replica *l = rs_leader(w, 0);
	w->calm_node = l ? l->node : 0;
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *other = rs_leader(w, g);
		w->groups[g].crashed_at = other && other->node == w->calm_node ? w->now : 0;
	}
	rs_node_crash(w, w->calm_node, 0);
	for (uint32_t g = 0; g < w->plan.groups; g++)
		rs_queue_put(&w->queue, w->now + 1, RS_EV_CLIENT, RS_GROUPS_MAX + g, 0);
}

void rs_heal_acknowledged(struct rs_world *w, uint32_t group)
{
	struct rs_group *g = &w->groups[group];
	if (w->calm != RS_DOWN || !g->crashed_at)
		return;
	if (w->out->failovers < RS_FAILOVERS_MAX)
		w->out->failover_ms[w->out->failovers++] = (uint32_t)((w->now - g->crashed_at) / RS_MS);
	g->crashed_at = 0;
}

static bool failed_over(struct rs_world *w)
{
	bool done = true;
	for (uint32_t g = 0; g < w->plan.groups; g++)
		done &= !w->groups[g].crashed_at;
	return done;
}

static void hand_over(struct rs_world *w)
{
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *l = rs_leader(w, g);
		struct raft_status s;
		raft_status(l->raft, &s);
		w->groups[g].calm_leader = l->node + 1;
		uint32_t k = (uint32_t)sim_below(&w->fault_rand, s.config.count);
		for (uint32_t i = 0; i < s.config.count; i++) {
			const struct raft_member *m = &s.config.members[(i + k) % s.config.count];
			if (m->voter && m->id != (uint64_t)l->node + 1) {
				w->groups[g].calm_leader = m->id;
				break;
			}
		}
		int rc = raft_transfer(l->raft, w->groups[g].calm_leader);
		if (rc)
			rs_fail(w, "raft_transfer: %s", raft_error_text(rc));
		rs_replica_input(l);
	}
}

static void check_handed_over(struct rs_world *w)
{
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *l = rs_leader(w, g);
		if (!l || l->node + 1 != w->groups[g].calm_leader)
			rs_fail(w, "group %u: leadership was not handed over to %u", g,
			    (unsigned)w->groups[g].calm_leader);
	}
}

static void check_quiet(struct rs_world *w)
{
	for (uint32_t n = 0; n < w->node_count; n++) {
		for (uint32_t g = 0; g < w->plan.groups; g++) {
			struct rs_replica *r = rs_replica(w, n, g), *l = rs_leader(w, g);
			struct raft_status s, ls;
			if (!r->raft || !l)
				continue;
			raft_status(r->raft, &s);
			raft_status(l->raft, &ls);
			if (r->read_count)
				rs_fail(w, "member %u: %u reads were never answered", n + 1, r->read_count);
			if (r == l && r->proposal_count)
				rs_fail(w, "leader %u: %u proposals were never applied", n + 1,
				    r->proposal_count);
			if (raft_config_find(&ls.config, (uint64_t)n + 1) &&
			    (r->state.index != w->groups[g].oracle.commit || s.last != ls.last ||
				s.commit != ls.last))
				rs_fail(w, "at rest member %u has applied %llu of %llu, log %llu of %llu",
				    n + 1, LLU(r->state.index), LLU(w->groups[g].oracle.commit), LLU(s.last),
				    LLU(ls.last));
		}
	}
}

static void recovering(struct rs_world *w)
{
	uint32_t group = 0;
	const char *why = "";
	if (all_well(w, &group, &why)) {
		if (!w->out->recovery_us)
			w->out->recovery_us = w->now - RS_FAULTS_END;
		if (w->now < w->late_until)
			return; /* a TIMEOUT_NOW may be among them */
		note_leaders(w);
		enter(w, RS_STEADY);
	} else if (w->now > RS_FAULTS_END + RS_RECOVERY_MAX) {
		rs_fail(w, "no recovery: group %u, %s", group, why);
	}
}

/* Some time has passed, and all is well; it must be before long. */
static bool settled(struct rs_world *w, uint64_t since)
{
	uint32_t group = 0;
	const char *why = "";
	bool well = all_well(w, &group, &why);
	if (!well && since > 8 * RS_S)
		rs_fail(w, "not well again: group %u, %s (calm %d)", group, why, (int)w->calm);
	return well && since >= 3 * RS_S;
}

void rs_heal_turn(struct rs_world *w)
{
	uint64_t since = w->now - w->calm_since;
	rs_queue_put(&w->queue, w->now + 100 * RS_MS, RS_EV_HEAL, 0, 0);
	switch (w->calm) {
	case RS_RECOVERING:
		recovering(w);
		break;
	case RS_STEADY:
		check_leaders(w, UINT32_MAX);
		if (since < 2 * RS_S)
			break;
		w->calm_node = victim(w);
		cut_off(w, w->calm_node, w->now + 5 * RS_S);
		enter(w, RS_CUT);
		break;
	case RS_CUT:
		check_leaders(w, w->calm_node);
		if (since >= 5 * RS_S)
			enter(w, RS_BACK);
		break;
	case RS_BACK:
		check_leaders(w, w->calm_node);
		if (!settled(w, since))
			break;
		note_leaders(w);
		w->calm_node = victim(w);
		deafen(w, w->calm_node, w->now + 4 * RS_S);
		w->reads_only = true; /* who does not hear the leader is not behind, and could be elected */
		enter(w, RS_DEAF);
		break;
	case RS_DEAF:
		check_leaders(w, w->calm_node);
		if (since < 4 * RS_S)
			break;
		w->reads_only = false;
		enter(w, RS_HEARS);
		break;
	case RS_HEARS:
		check_leaders(w, w->calm_node);
		if (!settled(w, since))
			break;
		enter(w, RS_DOWN);
		crash_leader(w);
		break;
	case RS_DOWN:
		if (!failed_over(w) && since > 10 * RS_S)
			rs_fail(w, "no write is acknowledged 10 s after a leader's crash");
		if (failed_over(w) && since >= 3 * RS_S) {
			enter(w, RS_UP);
			rs_node_start(w, w->calm_node);
		}
		break;
	case RS_UP:
		if (!settled(w, since))
			break;
		w->reads_only = true;
		hand_over(w);
		enter(w, RS_HANDOVER);
		break;
	case RS_HANDOVER:
		if (since < 1500 * RS_MS)
			break;
		check_handed_over(w);
		w->clients_stopped = true;
		enter(w, RS_QUIET);
		break;
	case RS_QUIET:
		if (since < 2 * RS_S)
			break;
		check_quiet(w);
		enter(w, RS_DONE);
		break;
	case RS_DONE:
		break;
	}
}
