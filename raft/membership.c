/* Changes of the members, one server at a time: D 4.1; learners: D 4.2.1; a leader that removes itself:
 * D 4.2.2. */
#include "raft/internal.h"

const struct raft_config *raft_config_of(const struct raft *r)
{
	/* D 4.1: "a server always uses the latest configuration in its log, regardless of whether the entry
	 * is committed". */
	if (RULE(RAFT_RULE_CONFIG_AT_ONCE))
		return raft_log_config(&r->log);
	return raft_log_config_at(&r->log, r->commit);
}

/* The amendment to D 4.1 (Ongaro, raft-dev, 2015): without a committed entry of the own term, changes of two
 * leaders might have majorities that do not overlap. */
static int may_change(const struct raft *r)
{
	if (r->role != RAFT_LEADER || r->lead->transfer_to != RAFT_NOBODY)
		return RAFT_ENOTLEADER;
	if (!raft_own_term_committed(r) && RULE(RAFT_RULE_CONFIG_OWN_TERM))
		return RAFT_EPENDING;
	if (raft_log_config_index(&r->log) > r->commit && RULE(RAFT_RULE_ONE_CHANGE))
		return RAFT_EPENDING;
	return raft_lead_room(r, RAFT_CONFIG_BYTES_MAX, true) ? 0 : RAFT_EBUSY;
}

static void change(struct raft *r, const struct raft_config *c)
{
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	size_t len = raft_config_encode(c, bytes);
	(void)raft_lead_append(r, RAFT_ENTRY_CONFIG, raft_data_copy(bytes, len));
	raft_lead_members(r);
}

int raft_add_learner(struct raft *r, uint64_t id)
{
	int rc = may_change(r);
	if (rc)
		return rc;
	struct raft_config c = *raft_log_config(&r->log);
	if (!raft_config_add(&c, id, false))
		return RAFT_EINVAL;
	change(r, &c);
	return 0;
}

static struct raft_member *find(struct raft_config *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->members[i].id == id)
			return &c->members[i];
	return NULL;
}

/* D 4.2.1: a new server must not cost availability. Without a state, or while it fetches one, it could
 * neither lead nor, should its log be the longest, let others lead. */
static bool ready(const struct raft *r, uint64_t id)
{
	const struct raft_progress *p = raft_progress_of(r, id);
	return p && p->state == RAFT_REPLICATE && p->applied && raft_progress_active(r, p) &&
	       r->log.last - p->match <= RAFT_PROMOTE_LAG_MAX;
}

int raft_promote(struct raft *r, uint64_t id)
{
	int rc = may_change(r);
	if (rc)
		return rc;
	struct raft_config c = *raft_log_config(&r->log);
	struct raft_member *m = find(&c, id);
	if (!m || m->voter || !ready(r, id))
		return RAFT_EINVAL;
	m->voter = true;
	change(r, &c);
	return 0;
}

int raft_remove(struct raft *r, uint64_t id)
{
	int rc = may_change(r);
	if (rc)
		return rc;
	struct raft_config c = *raft_log_config(&r->log);
	struct raft_member *m = find(&c, id);
	if (!m || (m->voter && raft_quorum_voters(&c) == 1))
		return RAFT_EINVAL;
	for (c.count--; m < c.members + c.count; m++)
		*m = m[1];
	*m = (struct raft_member){0};
	change(r, &c);
	return 0;
}

/* D 4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it
 * might still be needed until the Cnew entry is committed": the others may lack that entry, and the votes for
 * themselves that they would need of this one, whose log is longer. */
bool raft_may_be_needed(const struct raft *r)
{
	if (raft_quorum_is_voter(raft_config_of(r), r->options.id))
		return true;
	return raft_log_voter_since(&r->log, r->commit, r->options.id) && RULE(RAFT_RULE_NEEDED);
}

void raft_leave_if_removed(struct raft *r)
{
	if (raft_log_config_index(&r->log) > r->commit || !RULE(RAFT_RULE_REMOVED_LEADER))
		return;
	if (!raft_quorum_is_voter(raft_config_of(r), r->options.id))
		raft_become_follower(r, r->hard.term, RAFT_NOBODY);
}
