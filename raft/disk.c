/* The disk: one durable write at a time, and what waits for it. A leader's entries leave while they are
 * written (D 10.2.1). */
#include "raft/internal.h"

static bool same(const struct raft_hard_state *a, const struct raft_hard_state *b)
{
	return a->term == b->term && a->vote == b->vote;
}

bool raft_promises_durable(const struct raft *r)
{
	return same(&r->hard, &r->disk_hard) && raft_log_base_durable(&r->log);
}

void raft_send(struct raft *r, struct raft_message m)
{
	m.from = r->options.id;
	m.term = m.term ? m.term : r->hard.term;
	raft_outbox_send(&r->outbox, &m);
}

void raft_promise(struct raft *r, struct raft_message m, uint64_t index)
{
	m.from = r->options.id;
	m.term = r->hard.term;
	if (raft_promises_durable(r) && index <= r->log.durable)
		raft_outbox_send(&r->outbox, &m);
	else
		raft_outbox_hold(&r->outbox, &m, index);
}

bool raft_write_begin(struct raft *r, size_t bytes_max, size_t entries_max, struct raft_write *ret_write)
{
	bool hard = !same(&r->hard, &r->disk_hard);
	if (r->failed || r->log.write.active || (!hard && !raft_log_write_needed(&r->log)))
		return false;
	raft_log_write_begin(&r->log, bytes_max, entries_max, ret_write);
	r->write_hard = r->hard;
	if (hard) {
		ret_write->hard_state = true;
		ret_write->term = r->hard.term;
		ret_write->vote = RULE(RAFT_RULE_VOTE_PERSISTED) ? r->hard.vote : RAFT_NOBODY;
	}
	return true;
}

void raft_written(struct raft *r)
{
	r->disk_hard = r->write_hard;
	raft_log_written(&r->log);
	if (raft_promises_durable(r))
		raft_outbox_release(&r->outbox, r->log.durable);
	raft_candidacy_durable(r);
	if (r->role == RAFT_LEADER)
		raft_advance_commit(r);
}

void raft_write_undone(struct raft *r)
{
	raft_log_write_undone(&r->log);
}
