/* Replication: AppendEntries and its result (D 3.5), sent as a stream (D 10.2.1); commitment (D 3.6.2). */
#include "raft/internal.h"

#include <stdlib.h>

/* ---- the leader sends ------------------------------------------------------------------------- */

static int take_entries(struct raft *r, uint64_t first, struct raft_message *m)
{
	uint64_t left = r->log.last + 1 - first;
	size_t room = (size_t)raft_min(left, RAFT_MESSAGE_ENTRIES_MAX);
	if (!left)
		return 0;
	m->entries = raft_alloc(room, sizeof(*m->entries));
	int rc = raft_log_entries(
	    &r->log, first, r->log.last, r->options.message_bytes_max, m->entries, room, &m->entry_count);
	if (rc) {
		free(m->entries);
		raft_fail(r, "entries for a follower could not be read");
	} else if (m->entry_count < room) {
		m->entries = raft_resize(m->entries, m->entry_count, sizeof(*m->entries));
	}
	return rc;
}

static bool make_append(
    struct raft *r, struct raft_progress *p, const struct raft_window *w, struct raft_message *ret_message)
{
	uint64_t previous = p->next - 1;
	struct raft_message m = {.kind = RAFT_APPEND_ENTRIES,
	    .from = r->options.id,
	    .to = p->id,
	    .term = r->hard.term,
	    .index = previous,
	    .log_term = raft_log_term(&r->log, previous),
	    .commit = r->commit};
	if (!p->bare && take_entries(r, p->next, &m))
		return false;
	size_t bytes = 0;
	for (size_t i = 0; i < m.entry_count; i++)
		bytes += raft_entry_len(&m.entries[i]);
	r->counters.appends_sent++;
	r->counters.append_bytes_sent += bytes;
	r->counters.probes += p->bare || p->state == RAFT_PROBE;
	raft_progress_sent(p, previous + m.entry_count, bytes, w);
	*ret_message = m;
	return true;
}

static bool next_for(struct raft *r, struct raft_progress *p, struct raft_message *ret_message)
{
	struct raft_window w = {r->options.inflight_messages_max, r->options.inflight_bytes_max};
	if (p->state != RAFT_SNAPSHOT && p->next <= r->log.base_index)
		raft_progress_snapshot(p);
	if (p->state == RAFT_SNAPSHOT)
		return raft_next_offer(r, p, ret_message);
	if (p->state == RAFT_REPLICATE && p->next > r->log.last && !p->bare)
		return false;
	return raft_progress_may_send(p, &w) && make_append(r, p, &w, ret_message);
}

/* The followers take turns, so that a far one does not keep the others waiting. */
bool raft_next_append(struct raft *r, struct raft_message *ret_message)
{
	struct raft_leadership *l = r->lead;
	if (!l->send_due)
		return false;
	for (uint32_t i = 0; i < l->progress_count; i++) {
		struct raft_progress *p = &l->progress[l->turn++ % l->progress_count];
		if (next_for(r, p, ret_message))
			return true;
		if (r->failed)
			return false; /* `l` is gone */
	}
	l->send_due = false;
	return false;
}

/* ---- the follower checks and appends (D 3.5) -------------------------------------------------- */

/* What is at or below the base is committed: every leader has it (D 3.6.3), as far as it is known here. */
static bool matches(const struct raft *r, uint64_t index, uint64_t term)
{
	return index < r->log.base_index || raft_log_term(&r->log, index) == term;
}

/* The first entry that is missing or another one here: its position in the message. */
static size_t first_new(const struct raft *r, const struct raft_message *m)
{
	size_t i = 0;
	while (i < m->entry_count && m->entries[i].index <= r->log.last &&
	       matches(r, m->entries[i].index, m->entries[i].term))
		i++;
	return i;
}

bool raft_append_impossible(const struct raft *r, const struct raft_message *m)
{
	uint64_t settled = raft_min(r->commit, r->log.last);
	if (m->index <= settled && !matches(r, m->index, m->log_term))
		return true;
	size_t i = m->index <= r->log.last ? first_new(r, m) : m->entry_count;
	return i < m->entry_count && m->entries[i].index <= settled;
}

/* Conflicting entries go, with all that follow them; those that match stay, since this message may be an old
 * one, and others may have been acknowledged since. */
static void append_new(struct raft *r, const struct raft_message *m)
{
	size_t i = first_new(r, m);
	if (!RULE(RAFT_RULE_TRUNCATE_ON_CONFLICT))
		for (i = 0; i < m->entry_count && m->entries[i].index <= r->log.base_index; i++)
			;
	if (i < m->entry_count && m->entries[i].index <= r->log.last)
		r->counters.truncated += raft_log_truncate(&r->log, m->entries[i].index);
	for (; i < m->entry_count && m->entries[i].index == r->log.last + 1; i++)
		raft_log_append(&r->log, &m->entries[i]);
}

/* The hint lets the leader skip a term of its own and one of ours for each refusal (D 3.5, its last
 * paragraphs). */
static void refuse(struct raft *r, const struct raft_message *m)
{
	uint64_t hint = raft_max(raft_log_find_term(&r->log, m->index, m->log_term), r->log.base_index);
	r->counters.appends_refused++;
	raft_send(r, (struct raft_message){.kind = RAFT_APPEND_ENTRIES_RESULT,
			 .to = m->from,
			 .reject = true,
			 .index = m->index,
			 .log_term = m->log_term,
			 .hint_index = hint,
			 .hint_term = raft_log_term(&r->log, hint)});
}

void raft_on_append(struct raft *r, const struct raft_message *m)
{
	raft_follow(r, m->from);
	if (!matches(r, m->index, m->log_term) &&
	    (RULE(RAFT_RULE_PREVIOUS_CHECK) || m->index > r->log.last)) {
		refuse(r, m);
		return;
	}
	append_new(r, m);
	/* What is known to be the leader's, here: nothing that this message did not look at. */
	uint64_t verified = raft_max(m->index + m->entry_count, r->log.base_index);
	raft_set_commit(r, raft_min(m->commit, RULE(RAFT_RULE_COMMIT_VERIFIED) ? verified : r->log.last));
	struct raft_message result = {.kind = RAFT_APPEND_ENTRIES_RESULT, .to = m->from};
	result.index = RULE(RAFT_RULE_VERIFIED_RESULT) ? verified : r->log.last;
	result.log_term = raft_log_term(&r->log, result.index);
	if (RULE(RAFT_RULE_APPEND_RESULT_WAITS))
		raft_promise(r, result, result.index);
	else
		raft_send(r, result);
}

/* ---- the leader learns ------------------------------------------------------------------------ */

static void refused(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
	uint64_t guess = raft_log_find_term(&r->log, m->hint_index, m->hint_term);
	(void)raft_progress_refused(p, m->index, guess);
}

void raft_on_append_result(struct raft *r, const struct raft_message *m)
{
	struct raft_progress *p = r->role == RAFT_LEADER ? raft_progress_of(r, m->from) : NULL;
	if (!p)
		return;
	p->heard_at = r->lead->ticks;
	r->lead->send_due = true;
	if (m->reject) {
		refused(r, p, m);
		return;
	}
	raft_progress_accepted(p, raft_min(m->index, r->log.last), r->log.base_index);
	raft_transfer_check(r, p);
	raft_advance_commit(r);
}

/* ---- commitment (D 3.6.2) --------------------------------------------------------------------- */

static uint64_t match(const void *arg, uint64_t id)
{
	const struct raft *r = arg;
	if (id == r->options.id)
		return RULE(RAFT_RULE_LEADER_DURABLE) ? r->log.durable : r->log.last;
	const struct raft_progress *p = raft_progress_of(r, id);
	return p ? p->match : 0;
}

/* Its own disk is one of the voters', no more: a majority of others may commit before it (D 10.2.1). */
void raft_advance_commit(struct raft *r)
{
	uint64_t index = raft_quorum_reached(raft_config_of(r), match, r);
	/* Not by counting for entries of earlier terms (D figure 3.7); they are committed by one of this term
	 * behind them. */
	if (raft_log_term(&r->log, index) != r->hard.term && RULE(RAFT_RULE_OWN_TERM_COMMIT))
		return;
	raft_set_commit(r, index);
}

void raft_set_commit(struct raft *r, uint64_t index)
{
	if (index <= r->commit)
		return;
	r->commit = index;
	if (r->role != RAFT_LEADER)
		return;
	raft_reads_begin(r);
	raft_leave_if_removed(r);
}
