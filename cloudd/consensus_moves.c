/* Members made what the map places: by a group's leader, one change at a time, so that each two configurations that follow each
 * other share a majority.
 *
 *     a member that has no place    a learner is removed at once; a voter when it is one more than there are places, or is not
 *                                   there and who comes instead has caught up
 *     a place without its member    added as a learner once its node is heard; promoted when it has caught up
 *     the leader has no place       it hands over when nothing else is left to be done
 *
 * A place's member is the present number of its node: a folder that was lost is another member, which replaces the old one. */
#include "cloudd/consensus_internal.h"
#include "common/clock.h"

enum step {
	STEP_NONE,  /* as it should be, or nothing can be done now */
	STEP_WAITS, /* for a learner that is there; or raft says: not now */
	STEP_BEGUN
};

const struct raft_progress_status *moves_progress(const struct raft_status *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->progress_count; i++) {
		if (s->progress[i].id == id)
			return &s->progress[i];
	}
	return NULL;
}

bool moves_caught_up(const struct raft_status *s, uint64_t id)
{
	const struct raft_progress_status *p = moves_progress(s, id);
	return p && p->active && p->state == RAFT_REPLICATE && p->applied && p->match &&
	    p->match + RAFT_PROMOTE_LAG_MAX >= s->last;
}

/* Its node has another number by now: the folder is lost, and it will not be heard again. */
static bool is_superseded(const struct group *g, uint64_t id)
{
	uint64_t present = node_of(id) < CLOUDS_MAX ? member_of(g->c, node_of(id)) : RAFT_NOBODY;
	return present != RAFT_NOBODY && present != id;
}

/* Raft takes for active who was heard within an election timeout, in which a lost folder may be back under another number. */
static bool is_active(const struct group *g, const struct raft_status *s, uint64_t id)
{
	const struct raft_progress_status *p = moves_progress(s, id);
	return id == g->c->member || (p && p->active && !is_superseded(g, id));
}

/* It has taken something of this leader: who begins to lead takes everybody for active until an election timeout has passed, and means to
 * send a state to who has said nothing, too, once its log has gone on far enough. */
static bool is_there(const struct group *g, const struct raft_status *s, uint64_t id)
{
	const struct raft_progress_status *p = moves_progress(s, id);
	return is_active(g, s, id) && (!p || (p->state != RAFT_PROBE && p->match));
}

/* The present number of that rank's node; RAFT_NOBODY: not known in this start. */
static uint64_t target(const struct group *g, uint32_t rank)
{
	return member_of(g->c, topology_replica(g->c->topology, g->number, rank));
}

/* It is not what the map places. Of a node whose present number is not known any one may be. */
static bool is_extra(const struct group *g, uint64_t id)
{
	int rank = topology_rank(g->c->topology, g->number, node_of(id));
	if (rank < 0)
		return true;
	uint64_t present = target(g, (uint32_t)rank);
	return present != RAFT_NOBODY && present != id;
}

static const struct raft_member *member_at(const struct raft_status *s, uint32_t node)
{
	for (uint32_t i = 0; i < s->config.count; i++) {
		if (node_of(s->config.members[i].id) == node)
			return &s->config.members[i];
	}
	return NULL;
}

/* Who stands for that rank now; NULL: nobody does. */
static const struct raft_member *holder(const struct group *g, const struct raft_status *s, uint32_t rank)
{
	uint64_t present = target(g, rank);
	if (present != RAFT_NOBODY)
		return raft_config_find(&s->config, present);
	return member_at(s, topology_replica(g->c->topology, g->number, rank));
}

static uint32_t count_voters(const struct raft_status *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->config.count; i++)
		n += s->config.members[i].voter;
	return n;
}

/* A majority of the voters but that one is there. */
static bool can_go(const struct group *g, const struct raft_status *s, uint64_t id)
{
	uint32_t voters = 0, active = 0;
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter || m->id == id)
			continue;
		voters++;
		active += is_there(g, s, m->id);
	}
	return active > voters / 2;
}

static enum step begun(struct group *g, int rc, uint64_t *counter)
{
	if (rc)
		return STEP_WAITS;
	++*counter;
	group_touch(g);
	return STEP_BEGUN;
}

static enum step take_out(struct group *g, uint64_t id)
{
	return begun(g, raft_remove(g->raft, id), &g->c->counters.members_removed);
}

/* A voter without a place: rather one that is not there, rather another than the leader itself; RAFT_NOBODY: there is none. */
static uint64_t extra_voter(const struct group *g, const struct raft_status *s)
{
	uint64_t found = RAFT_NOBODY;
	int best = -1;
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter || !is_extra(g, m->id))
			continue;
		int good = m->id == g->c->member ? 0 : is_there(g, s, m->id) ? 1 : 2;
		if (good > best) {
			found = m->id;
			best = good;
		}
	}
	return found;
}

static enum step remove_learner(struct group *g, const struct raft_status *s)
{
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter && is_extra(g, m->id))
			return take_out(g, m->id);
	}
	return STEP_NONE;
}

/* A voter of the same node, and it is not known yet which of the two is lost: the node has not said its number in this start. */
static bool has_twin(const struct group *g, const struct raft_status *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (m->voter && node_of(m->id) == node_of(id) && !is_superseded(g, m->id))
			return true;
	}
	return false;
}

/* Whom it replaces goes first where that is not there: one voter less that would have to be; and where it cannot go now, it
 * is not made two that are dead, maybe, of four. One for one: else fewer copies than there are to be would do for a majority. */
static enum step promote(struct group *g, const struct raft_status *s)
{
	uint64_t extra = extra_voter(g, s);
	bool full = count_voters(s) >= topology_replicas(g->c->topology, g->number);
	bool first = full && extra != RAFT_NOBODY && !is_there(g, s, extra);
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (m->voter || !moves_caught_up(s, m->id) || (full && has_twin(g, s, m->id)))
			continue;
		if (first)
			return can_go(g, s, extra) ? take_out(g, extra) : STEP_NONE;
		return begun(g, raft_promote(g->raft, m->id), &g->c->counters.replaced);
	}
	return STEP_NONE;
}

/* To the first-ranked voter that follows closely and has room, by whom this one is removed then. */
static enum step hand_over(struct group *g, const struct raft_status *s)
{
	if (s->transfer_to)
		return STEP_WAITS;
	for (uint32_t r = 0; r < topology_replicas(g->c->topology, g->number); r++) {
		const struct raft_member *m = holder(g, s, r);
		if (!m || !m->voter || members_full(g->c, m->id) || !moves_caught_up(s, m->id) || raft_transfer(g->raft, m->id))
			continue;
		g->c->counters.transfers++;
		group_touch(g);
		return STEP_WAITS;
	}
	return STEP_NONE;
}

static bool places_filled(const struct group *g, const struct raft_status *s)
{
	for (uint32_t r = 0; r < topology_replicas(g->c->topology, g->number); r++) {
		const struct raft_member *m = holder(g, s, r);
		if (!m || !m->voter)
			return false;
	}
	return true;
}

static enum step remove_voter(struct group *g, const struct raft_status *s)
{
	uint64_t extra = extra_voter(g, s);
	if (extra == RAFT_NOBODY)
		return STEP_NONE;
	if (count_voters(s) <= topology_replicas(g->c->topology, g->number) && !places_filled(g, s))
		return STEP_NONE;
	if (extra == g->c->member)
		return hand_over(g, s);
	return can_go(g, s, extra) ? take_out(g, extra) : STEP_NONE;
}

static bool is_heard(const struct consensus *c, uint32_t node)
{
	const struct peer *p = &c->peers[node];
	return node == c->self || (p->heard_ns && c->ticked_ns - p->heard_ns < CONSENSUS_HEARD_MS * NS_PER_MS);
}

static bool may_move(const struct group *g)
{
	uint32_t moving = 0;
	for (uint32_t i = 0; i < g->c->group_count; i++)
		moving += &g->c->groups[i] != g && g->c->groups[i].moving;
	return moving < CONSENSUS_MOVES_MAX;
}

static enum step add_learner(struct group *g, const struct raft_status *s)
{
	for (uint32_t r = 0; r < topology_replicas(g->c->topology, g->number); r++) {
		uint64_t present = target(g, r);
		if (present == RAFT_NOBODY || raft_config_find(&s->config, present) ||
		    !is_heard(g->c, topology_replica(g->c->topology, g->number, r)))
			continue;
		if (!may_move(g))
			return STEP_NONE;
		enum step is = begun(g, raft_add_learner(g->raft, present), &g->c->counters.members_added);
		g->moving = is == STEP_BEGUN;
		return is;
	}
	return STEP_NONE;
}

/* Its node is there: it catches up. One that is not there does not keep the others waiting: it may be gone for good. */
static bool has_learner(const struct group *g, const struct raft_status *s)
{
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter && is_active(g, s, m->id))
			return true;
	}
	return false;
}

bool moves_step(struct group *g, const struct raft_status *s)
{
	g->moving = has_learner(g, s);
	enum step is = remove_learner(g, s);
	if (is == STEP_NONE)
		is = promote(g, s);
	if (is == STEP_NONE)
		is = remove_voter(g, s);
	if (is == STEP_NONE && !g->moving)
		is = add_learner(g, s);
	g->steps = is != STEP_NONE || g->moving;
	return g->steps;
}

uint64_t moves_settled(const struct group *g, const struct raft_status *s)
{
	if (s->config_pending || !g->placed || s->config.count != topology_replicas(g->c->topology, g->number))
		return 0;
	for (uint32_t i = 0; i < s->config.count; i++) {
		if (is_extra(g, s->config.members[i].id))
			return 0;
	}
	return places_filled(g, s) ? g->c->topology->map_version : 0;
}
