/* What comes in from others: which messages are possible, what their terms mean (D 3.3), and who handles
 * them. Nothing in a message is trusted to be possible; what it says is believed (D assumes no liars). */
#include "raft/internal.h"

/* ---- possible --------------------------------------------------------------------------------- */

static bool from_leader(const struct raft_message *m)
{
	return m->kind == RAFT_APPEND_ENTRIES || m->kind == RAFT_HEARTBEAT ||
	       m->kind == RAFT_INSTALL_SNAPSHOT;
}

static bool is_result(const struct raft_message *m)
{
	switch (m->kind) {
	case RAFT_PRE_VOTE_RESULT:
	case RAFT_REQUEST_VOTE_RESULT:
	case RAFT_APPEND_ENTRIES_RESULT:
	case RAFT_HEARTBEAT_RESULT:
	case RAFT_INSTALL_SNAPSHOT_RESULT:
		return true;
	case RAFT_PRE_VOTE:
	case RAFT_REQUEST_VOTE:
	case RAFT_APPEND_ENTRIES:
	case RAFT_HEARTBEAT:
	case RAFT_INSTALL_SNAPSHOT:
	case RAFT_TIMEOUT_NOW:
		break;
	}
	return false;
}

static bool numbers_possible(const struct raft_message *m)
{
	const uint64_t numbers[] = {
	    m->term, m->index, m->log_term, m->commit, m->hint_index, m->hint_term, m->round};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i] >= RAFT_TERM_MAX)
			return false;
	return m->term || is_result(m); /* a new member has no term yet */
}

static bool addressed(const struct raft *r, const struct raft_message *m)
{
	return m->kind >= RAFT_PRE_VOTE && m->kind <= RAFT_TIMEOUT_NOW && m->to == r->options.id &&
	       m->from != RAFT_NOBODY && m->from != r->options.id;
}

/* An entry has a term, at most the sender's; before the first there is none. */
static bool position_possible(const struct raft_message *m)
{
	return !m->index == !m->log_term && m->log_term <= m->term;
}

static bool config_possible(const struct raft_data *d)
{
	struct raft_config c;
	return d && raft_config_decode(d->bytes, d->len, &c) == 0 && raft_quorum_voters(&c);
}

static bool entry_possible(const struct raft_entry *e)
{
	switch (e->kind) {
	case RAFT_ENTRY_DATA:
		return true;
	case RAFT_ENTRY_NOOP:
		return !raft_entry_len(e);
	case RAFT_ENTRY_CONFIG:
		return config_possible(e->data);
	}
	return false;
}

static bool entries_possible(const struct raft_message *m)
{
	uint64_t term = m->log_term ? m->log_term : 1;
	if (m->entry_count > RAFT_MESSAGE_ENTRIES_MAX || m->index + m->entry_count >= RAFT_TERM_MAX)
		return false;
	if (m->entry_count && (m->kind != RAFT_APPEND_ENTRIES || !m->entries))
		return false;
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct raft_entry *e = &m->entries[i];
		if (e->index != m->index + 1 + i || e->term < term || e->term > m->term || !entry_possible(e))
			return false;
		term = e->term;
	}
	return true;
}

/* Given what is known here: a term has one leader, who has all that is committed; nobody matches more than
 * the leader has. */
static bool fits(const struct raft *r, const struct raft_message *m)
{
	bool acknowledges =
	    (m->kind == RAFT_APPEND_ENTRIES_RESULT || m->kind == RAFT_INSTALL_SNAPSHOT_RESULT) && !m->reject;
	if (r->role == RAFT_LEADER && m->term == r->hard.term &&
	    (from_leader(m) || (acknowledges && m->index > r->log.last)))
		return false;
	if (m->kind == RAFT_APPEND_ENTRIES && m->term >= r->hard.term)
		return !raft_append_impossible(r, m);
	return true;
}

static bool possible(const struct raft *r, const struct raft_message *m)
{
	if (!addressed(r, m) || !numbers_possible(m) || !entries_possible(m))
		return false;
	if (!is_result(m) && !position_possible(m))
		return false;
	if (m->kind == RAFT_INSTALL_SNAPSHOT && !m->index)
		return false;
	return fits(r, m);
}

/* ---- terms (D 3.3) ---------------------------------------------------------------------------- */

/* A pre-vote, and its grant, name a term that nobody has yet (D 9.6). */
static bool term_is_senders(const struct raft_message *m)
{
	return m->kind != RAFT_PRE_VOTE && (m->kind != RAFT_PRE_VOTE_RESULT || m->reject);
}

static enum raft_message_kind result_of(enum raft_message_kind kind)
{
	return (enum raft_message_kind)(kind + 1);
}

/* Who sent it is behind: an old leader, or a candidate. It learns that, and can take part again. */
static void answer_old(struct raft *r, const struct raft_message *m)
{
	r->counters.messages_stale++;
	if (is_result(m) || m->kind == RAFT_TIMEOUT_NOW)
		return;
	bool named = m->kind == RAFT_APPEND_ENTRIES || m->kind == RAFT_INSTALL_SNAPSHOT;
	raft_send(
	    r, (struct raft_message){
		   .kind = result_of(m->kind), .to = m->from, .reject = true, .index = named ? m->index : 0});
}

static void adopt_term(struct raft *r, uint64_t term)
{
	if (r->role == RAFT_LEADER && !RULE(RAFT_RULE_STEP_DOWN))
		raft_set_term(r, term, RAFT_NOBODY);
	else
		raft_become_follower(r, term, RAFT_NOBODY);
}

static bool disturbs(const struct raft *r, const struct raft_message *m)
{
	bool candidate = m->kind == RAFT_PRE_VOTE || m->kind == RAFT_REQUEST_VOTE;
	return candidate && !m->force && raft_sticky(r);
}

static void handle(struct raft *r, const struct raft_message *m)
{
	switch (m->kind) {
	case RAFT_PRE_VOTE:
		raft_on_pre_vote(r, m);
		break;
	case RAFT_PRE_VOTE_RESULT:
	case RAFT_REQUEST_VOTE_RESULT:
		raft_on_vote_result(r, m);
		break;
	case RAFT_REQUEST_VOTE:
		raft_on_request_vote(r, m);
		break;
	case RAFT_APPEND_ENTRIES:
		raft_on_append(r, m);
		break;
	case RAFT_APPEND_ENTRIES_RESULT:
		raft_on_append_result(r, m);
		break;
	case RAFT_HEARTBEAT:
		raft_on_heartbeat(r, m);
		break;
	case RAFT_HEARTBEAT_RESULT:
		raft_on_heartbeat_result(r, m);
		break;
	case RAFT_INSTALL_SNAPSHOT:
		raft_on_install_snapshot(r, m);
		break;
	case RAFT_INSTALL_SNAPSHOT_RESULT:
		raft_on_install_snapshot_result(r, m);
		break;
	case RAFT_TIMEOUT_NOW:
		raft_on_timeout_now(r, m);
		break;
	}
}

int raft_step(struct raft *r, const struct raft_message *m)
{
	if (r->failed)
		return RAFT_ESTORAGE;
	if (!possible(r, m)) {
		r->counters.messages_invalid++;
		return RAFT_EINVAL;
	}
	if (disturbs(r, m)) {
		r->counters.messages_stale++;
		return 0;
	}
	if (term_is_senders(m) && m->term > r->hard.term)
		adopt_term(r, m->term);
	if (term_is_senders(m) && m->term < r->hard.term && (!is_result(m) || RULE(RAFT_RULE_STALE_RESULT)))
		answer_old(r, m);
	else
		handle(r, m);
	return 0;
}
