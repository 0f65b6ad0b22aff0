/* Snapshots: D 5. Here are their (index, term) and configuration only; the contents travel beside this
 * library. */
#include "raft/internal.h"

/* ---- the leader offers ------------------------------------------------------------------------ */

bool raft_next_offer(struct raft *r, struct raft_progress *p, struct raft_message *ret_message)
{
	if (!p->offer_due)
		return false;
	p->offer_due = false;
	r->counters.snapshots_offered++;
	*ret_message = (struct raft_message){.kind = RAFT_INSTALL_SNAPSHOT,
	    .from = r->options.id,
	    .to = p->id,
	    .term = r->hard.term,
	    .index = r->log.base_index,
	    .log_term = r->log.base_term,
	    .commit = r->commit};
	return true;
}

/* A refusal is offered to again by and by: raft_progress_check(). */
void raft_on_install_snapshot_result(struct raft *r, const struct raft_message *m)
{
	struct raft_progress *p = r->role == RAFT_LEADER ? raft_progress_of(r, m->from) : NULL;
	if (!p)
		return;
	p->heard_at = r->lead->ticks;
	r->lead->send_due = true;
	if (m->reject)
		return;
	raft_progress_accepted(p, raft_min(m->index, r->log.last), r->log.base_index);
	raft_transfer_check(r, p);
	raft_advance_commit(r);
}

void raft_compact(struct raft *r, uint64_t index)
{
	RAFT_ASSERT(index <= r->applied);
	raft_log_compact(&r->log, raft_min(index, r->log.durable));
}

/* ---- the follower is offered one -------------------------------------------------------------- */

static void tell_reached(struct raft *r, uint64_t to, uint64_t index)
{
	raft_promise(r,
	    (struct raft_message){.kind = RAFT_APPEND_ENTRIES_RESULT,
		.to = to,
		.index = index,
		.log_term = raft_log_term(&r->log, index)},
	    index);
}

void raft_on_install_snapshot(struct raft *r, const struct raft_message *m)
{
	raft_follow(r, m->from);
	if (raft_log_term(&r->log, m->index) == m->log_term)
		raft_set_commit(r, m->index); /* a snapshot is of what is committed */
	if (m->index <= r->commit && !r->state_void && RULE(RAFT_RULE_SNAPSHOT_OLD))
		tell_reached(r, m->from, raft_min(r->commit, r->log.last));
	else
		r->offer = (struct raft_offer){.from = m->from, .index = m->index};
}

static bool offer_open(const struct raft *r)
{
	return r->offer.index &&
	       (r->state_void || r->offer.index > r->commit || !RULE(RAFT_RULE_SNAPSHOT_OLD));
}

/* Without a state it needs one, offered or not: its log may reach back to the leader's, who then offers
 * nothing. */
bool raft_snapshot_wanted(const struct raft *r, uint64_t *ret_from, uint64_t *ret_index)
{
	bool void_of_any = r->state_void && r->leader != RAFT_NOBODY && r->leader != r->options.id;
	if (!offer_open(r) && !void_of_any)
		return false;
	*ret_from = offer_open(r) ? r->offer.from : r->leader;
	*ret_index = raft_max(offer_open(r) ? r->offer.index : 1, r->log.base_index);
	return true;
}

void raft_snapshot_begin(struct raft *r)
{
	r->state_void = true;
	if (r->role != RAFT_FOLLOWER)
		raft_become_follower(r, r->hard.term, RAFT_NOBODY);
}

static void tell_installed(struct raft *r, uint64_t index)
{
	if (r->leader == RAFT_NOBODY || r->role == RAFT_LEADER)
		return; /* the next leader asks */
	struct raft_message m = {.kind = RAFT_INSTALL_SNAPSHOT_RESULT, .to = r->leader, .index = index};
	m.log_term = raft_log_term(&r->log, index);
	raft_promise(r, m, index);
}

static bool installable(const struct raft *r, uint64_t index, uint64_t term, const struct raft_config *c)
{
	uint64_t known = index <= r->commit ? raft_log_term(&r->log, index) : 0;
	if (!index || !term || index >= RAFT_TERM_MAX || term >= RAFT_TERM_MAX || c->count > RAFT_MEMBERS_MAX)
		return false;
	return index >= (r->state_void ? r->log.base_index : r->applied) && (!known || known == term);
}

/* D 5: where the log has the snapshot's last entry, what follows it stays; else nothing of the log does. */
static void take_over(struct raft *r, uint64_t index, uint64_t term, const struct raft_config *c)
{
	bool goes_on = raft_log_term(&r->log, index) == term && RULE(RAFT_RULE_SNAPSHOT_SUFFIX);
	if (goes_on && index <= r->log.durable)
		return; /* the disk's log is whole: it is compacted when the program sees fit */
	if (r->role != RAFT_FOLLOWER)
		raft_become_follower(r, r->hard.term, RAFT_NOBODY);
	raft_log_reset(&r->log, index, term, c, goes_on);
}

int raft_snapshot_installed(struct raft *r, uint64_t index, uint64_t term, const struct raft_config *config)
{
	if (!installable(r, index, term, config))
		return RAFT_EINVAL;
	if (term > r->hard.term) /* a leader of that term committed it: no log has entries of terms to come */
		raft_become_follower(r, term, RAFT_NOBODY);
	take_over(r, index, term, config);
	r->commit = raft_max(r->commit, index);
	r->applied = index;
	r->state_void = false;
	if (index >= r->offer.index) {
		r->offer = (struct raft_offer){0};
		tell_installed(r, index);
	}
	return 0;
}

void raft_snapshot_failed(struct raft *r)
{
	if (!r->offer.index)
		return;
	raft_send(r, (struct raft_message){.kind = RAFT_INSTALL_SNAPSHOT_RESULT,
			 .to = r->offer.from,
			 .index = r->offer.index,
			 .reject = true});
	r->offer = (struct raft_offer){0};
}
