/* Making a member, proposing, time, what is committed, asking. */
#include "raft/internal.h"

#include <stdlib.h>

/* ---- making one ------------------------------------------------------------------------------- */

static bool options_possible(const struct raft_options *o)
{
	return o->id != RAFT_NOBODY && o->heartbeat_ticks && o->heartbeat_ticks < o->election_ticks &&
	       o->election_ticks <= UINT32_MAX / 4 && o->priority_ticks <= UINT32_MAX / 4 &&
	       o->inflight_messages_max && o->inflight_bytes_max && o->proposed_max &&
	       o->proposed_bytes_max && o->storage.entries;
}

static bool start_possible(const struct raft_start *s)
{
	return s->applied >= s->base_index && s->applied <= s->last && (s->term || s->vote == RAFT_NOBODY);
}

int raft_new(const struct raft_options *o, const struct raft_start *s, struct raft **ret_raft)
{
	if (!options_possible(o) || !start_possible(s))
		return RAFT_EINVAL;
	struct raft *r = raft_alloc(1, sizeof(*r));
	int rc = raft_log_init(&r->log, o, s);
	if (rc) {
		free(r);
		return rc;
	}
	r->options = *o;
	r->random = o->seed;
	r->hard = r->disk_hard = (struct raft_hard_state){.term = s->term, .vote = s->vote};
	if (s->base_term >
	    s->term) /* a state that was installed before the term was written: no vote of it left */
		r->hard = (struct raft_hard_state){.term = s->base_term, .vote = RAFT_NOBODY};
	r->commit = r->applied = s->applied;
	r->state_void = s->state_void;
	raft_restart_timer(r);
	*ret_raft = r;
	return 0;
}

void raft_free(struct raft *r)
{
	if (!r)
		return;
	if (r->lead)
		raft_lead_end(r);
	raft_log_free(&r->log);
	raft_outbox_free(&r->outbox);
	free(r->reads.at);
	free(r);
}

void raft_fail(struct raft *r, const char *why)
{
	r->failed = why;
	if (r->role != RAFT_FOLLOWER)
		raft_become_follower(r, r->hard.term, RAFT_NOBODY);
}

const char *raft_failed(const struct raft *r)
{
	return r->failed;
}

/* ---- input ------------------------------------------------------------------------------------ */

void raft_tick(struct raft *r)
{
	if (r->lead)
		raft_lead_tick(r);
	else
		raft_election_tick(r);
}

int raft_propose(struct raft *r, struct raft_data *data, bool own, uint64_t *ret_index)
{
	size_t len = data ? data->len : 0;
	if (r->role != RAFT_LEADER || r->lead->transfer_to != RAFT_NOBODY)
		return RAFT_ENOTLEADER;
	if (len > r->options.entry_bytes_max)
		return RAFT_ETOOBIG;
	if (!raft_lead_room(r, len, own)) {
		r->counters.proposed_busy++;
		return RAFT_EBUSY;
	}
	r->counters.proposed++;
	*ret_index = raft_lead_append(r, RAFT_ENTRY_DATA, data);
	return 0;
}

void raft_applied(struct raft *r, uint64_t index)
{
	RAFT_ASSERT(index <= raft_committed(r));
	r->applied = raft_max(r->applied, index);
	if (r->lead)
		raft_quota_applied(&r->lead->quota, r->applied);
}

/* ---- output ----------------------------------------------------------------------------------- */

bool raft_pop_message(struct raft *r, struct raft_message *ret_message)
{
	if (r->failed)
		return false;
	if (r->lead)
		raft_lead_round(r);
	return raft_outbox_pop(&r->outbox, ret_message) || (r->lead && raft_next_append(r, ret_message));
}

/* What is committed, and known to survive a crash here: else the state could be ahead of the log. */
uint64_t raft_committed(const struct raft *r)
{
	if (r->state_void)
		return r->applied;
	return raft_min(r->commit, RULE(RAFT_RULE_APPLY_DURABLE) ? r->log.durable : r->log.last);
}

int raft_entries(struct raft *r, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out,
    size_t room, size_t *ret_count)
{
	RAFT_ASSERT(last <= raft_committed(r));
	if (r->failed)
		return RAFT_ESTORAGE;
	int rc = raft_log_entries(&r->log, first, last, bytes_max, out, room, ret_count);
	if (rc)
		raft_fail(r, "entries to apply could not be read");
	return rc;
}

/* ---- asking ----------------------------------------------------------------------------------- */

bool raft_own_term_committed(const struct raft *r)
{
	return raft_log_term(&r->log, r->commit) == r->hard.term;
}

bool raft_is_leader(const struct raft *r)
{
	return r->role == RAFT_LEADER;
}

uint64_t raft_leader(const struct raft *r)
{
	return r->leader;
}

uint64_t raft_term(const struct raft *r)
{
	return r->hard.term;
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
	return raft_log_term(&r->log, index);
}

void raft_config_at(const struct raft *r, uint64_t index, struct raft_config *ret_config)
{
	*ret_config = *raft_log_config_at(&r->log, index);
}

void raft_counters(const struct raft *r, struct raft_counters *ret_counters)
{
	*ret_counters = r->counters;
}

static struct raft_progress_status progress_status(const struct raft *r, const struct raft_progress *p)
{
	return (struct raft_progress_status){.id = p->id,
	    .voter = raft_quorum_is_voter(raft_log_config(&r->log), p->id),
	    .state = p->state,
	    .match = p->match,
	    .next = p->next,
	    .applied = p->applied,
	    .active = raft_progress_active(r, p),
	    .inflight_messages = p->inflight_count,
	    .inflight_bytes = p->inflight_bytes};
}

static void leader_status(const struct raft *r, struct raft_status *s)
{
	s->leader_since = r->lead->since;
	s->transfer_to = r->lead->transfer_to;
	s->progress_count = r->lead->progress_count;
	for (uint32_t i = 0; i < s->progress_count; i++)
		s->progress[i] = progress_status(r, &r->lead->progress[i]);
}

void raft_status(const struct raft *r, struct raft_status *ret_status)
{
	*ret_status = (struct raft_status){.role = r->role,
	    .term = r->hard.term,
	    .vote = r->hard.vote,
	    .leader = r->leader,
	    .base = r->log.base_index,
	    .durable = r->log.durable,
	    .last = r->log.last,
	    .commit = r->commit,
	    .applied = r->applied,
	    .state_void = r->state_void,
	    .log_reset = !raft_log_base_durable(&r->log),
	    .config_pending = raft_log_config_index(&r->log) > r->commit,
	    .config = *raft_log_config(&r->log),
	    .ticks_since_heard = r->heard_ticks};
	if (r->lead)
		leader_status(r, ret_status);
}
