/* Elections: D 3.4; the voter's restriction, D 3.6.1; pre-vote, D 9.6; whom a live leader protects, D 4.2.3.
 */
#include "raft/internal.h"

/* ---- terms and roles -------------------------------------------------------------------------- */

void raft_set_term(struct raft *r, uint64_t term, uint64_t vote)
{
	RAFT_ASSERT(term > r->hard.term);
	r->hard = (struct raft_hard_state){.term = term, .vote = vote};
	r->offer = (struct raft_offer){0};
	raft_outbox_drop_waiting(&r->outbox);
}

void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
	enum raft_role was = r->role;
	if (term > r->hard.term)
		raft_set_term(r, term, RAFT_NOBODY);
	r->role = RAFT_FOLLOWER;
	r->leader = leader;
	if (was == RAFT_CANDIDATE)
		raft_outbox_drop_waiting(&r->outbox); /* its requests */
	if (was == RAFT_LEADER)
		raft_lead_end(r);
	if (was != RAFT_FOLLOWER)
		raft_restart_timer(r);
}

void raft_follow(struct raft *r, uint64_t leader)
{
	if (r->role != RAFT_FOLLOWER || r->leader != leader)
		raft_become_follower(r, r->hard.term, leader);
	r->election_ticks = r->heard_ticks = 0;
}

bool raft_sticky(const struct raft *r)
{
	if (!RULE(RAFT_RULE_STICKY))
		return false;
	return r->role == RAFT_LEADER ||
	       (r->leader != RAFT_NOBODY && r->heard_ticks < r->options.election_ticks);
}

/* ---- the timer -------------------------------------------------------------------------------- */

void raft_restart_timer(struct raft *r)
{
	const struct raft_options *o = &r->options;
	r->election_ticks = 0;
	r->timeout_ticks =
	    o->election_ticks + (uint32_t)(raft_random(&r->random) % o->election_ticks) + o->priority_ticks;
}

void raft_set_priority(struct raft *r, uint32_t priority_ticks)
{
	RAFT_ASSERT(priority_ticks <= UINT32_MAX / 4);
	r->options.priority_ticks = priority_ticks;
}

void raft_election_tick(struct raft *r)
{
	if (r->heard_ticks < UINT32_MAX)
		r->heard_ticks++;
	if (++r->election_ticks < r->timeout_ticks)
		return;
	raft_restart_timer(r);
	raft_campaign(r);
	if (r->role == RAFT_FOLLOWER) /* it may not campaign, but it has no leader either */
		r->leader = RAFT_NOBODY;
}

/* ---- the candidate ---------------------------------------------------------------------------- */

static bool may_campaign(const struct raft *r)
{
	if (r->failed || r->role == RAFT_LEADER || (r->state_void && RULE(RAFT_RULE_VOID_CAMPAIGN)))
		return false;
	return raft_may_be_needed(r) && r->hard.term + 1 < RAFT_TERM_MAX;
}

static bool own_vote_durable(const struct raft *r)
{
	return r->disk_hard.term == r->hard.term && r->disk_hard.vote == r->options.id;
}

static void ask_for_votes(struct raft *r, struct raft_message m)
{
	const struct raft_config *c = raft_config_of(r);
	m.index = r->log.last;
	m.log_term = raft_log_last_term(&r->log);
	for (uint32_t i = 0; i < c->count; i++) {
		m.to = c->members[i].id;
		if (m.to == r->options.id || !c->members[i].voter)
			continue;
		if (m.kind == RAFT_REQUEST_VOTE && RULE(RAFT_RULE_CANDIDACY_WAITS))
			raft_promise(r, m, 0);
		else
			raft_send(r, m);
	}
}

static uint64_t granted(const void *arg, uint64_t id)
{
	const struct raft *r = arg;
	for (uint32_t i = 0; i < r->ballot_count; i++)
		if (r->ballots[i].id == id)
			return r->ballots[i].granted;
	return 0;
}

static uint64_t refused(const void *arg, uint64_t id)
{
	const struct raft *r = arg;
	for (uint32_t i = 0; i < r->ballot_count; i++)
		if (r->ballots[i].id == id)
			return !r->ballots[i].granted;
	return 0;
}

/* A voter's first answer counts. Its own is noted, and counts if it is a voter (D 4.2.2). */
static void record(struct raft *r, uint64_t id, bool grants)
{
	for (uint32_t i = 0; i < r->ballot_count; i++)
		if (r->ballots[i].id == id)
			return;
	bool counts = id == r->options.id || raft_quorum_is_voter(raft_config_of(r), id);
	if (counts && r->ballot_count < sizeof(r->ballots) / sizeof(r->ballots[0]))
		r->ballots[r->ballot_count++] = (struct raft_ballot){.id = id, .granted = grants};
}

static void campaign(struct raft *r, bool force);

static void count_votes(struct raft *r)
{
	if (raft_quorum_reached(raft_config_of(r), granted, r)) {
		if (r->role == RAFT_PRE_CANDIDATE)
			campaign(r, false);
		else
			raft_lead(r);
	} else if (raft_quorum_reached(raft_config_of(r), refused, r)) {
		raft_become_follower(r, r->hard.term, RAFT_NOBODY);
	}
}

static void begin_campaign(struct raft *r, enum raft_role role)
{
	r->role = role;
	r->leader = RAFT_NOBODY;
	r->ballot_count = 0;
	raft_restart_timer(r);
}

/* D 9.6: nothing is changed but by a majority that would elect it. */
static void pre_campaign(struct raft *r)
{
	begin_campaign(r, RAFT_PRE_CANDIDATE);
	r->counters.pre_votes++;
	ask_for_votes(r, (struct raft_message){.kind = RAFT_PRE_VOTE, .term = r->hard.term + 1});
	record(r, r->options.id, true);
	count_votes(r);
}

/* D 3.4: a new term, and a vote for itself, in one durable step; RequestVote leaves and the vote counts after
 * it. */
static void campaign(struct raft *r, bool force)
{
	raft_set_term(r, r->hard.term + 1, r->options.id);
	begin_campaign(r, RAFT_CANDIDATE);
	r->counters.campaigns++;
	ask_for_votes(r, (struct raft_message){.kind = RAFT_REQUEST_VOTE, .force = force});
	if (!RULE(RAFT_RULE_CANDIDACY_WAITS)) {
		record(r, r->options.id, true);
		count_votes(r);
	}
}

void raft_candidacy_durable(struct raft *r)
{
	if (r->role != RAFT_CANDIDATE || !own_vote_durable(r) || granted(r, r->options.id))
		return;
	raft_restart_timer(r); /* its requests leave now */
	record(r, r->options.id, true);
	count_votes(r);
}

void raft_campaign(struct raft *r)
{
	if (!may_campaign(r))
		return;
	if (r->role == RAFT_CANDIDATE && !own_vote_durable(r))
		return; /* a slow disk: another term would be as slow */
	if (RULE(RAFT_RULE_PRE_VOTE))
		pre_campaign(r);
	else
		campaign(r, false);
}

/* D 3.10: the leader wishes it; no pre-vote, since those that hear the leader would refuse. */
void raft_on_timeout_now(struct raft *r, const struct raft_message *m)
{
	(void)m;
	if (may_campaign(r) && r->role != RAFT_CANDIDATE)
		campaign(r, true);
}

void raft_on_vote_result(struct raft *r, const struct raft_message *m)
{
	bool pre = m->kind == RAFT_PRE_VOTE_RESULT;
	if (r->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE))
		return;
	if (pre && !m->reject && m->term != r->hard.term + 1)
		return; /* of an earlier campaign */
	record(r, m->from, !m->reject);
	count_votes(r);
}

/* ---- the voter -------------------------------------------------------------------------------- */

/* D 3.6.1: the log with the later last term, or of two with the same the longer one. */
static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
	uint64_t own_term = raft_log_last_term(&r->log);
	if (!RULE(RAFT_RULE_UP_TO_DATE))
		return true;
	return m->log_term > own_term || (m->log_term == own_term && m->index >= r->log.last);
}

/* Promises nothing: it may grant many, and says so at once. A refusal carries its term, so that a candidate
 * that is behind catches up and can be elected. */
void raft_on_pre_vote(struct raft *r, const struct raft_message *m)
{
	bool grant = m->term > r->hard.term && up_to_date(r, m);
	uint64_t refusal = RULE(RAFT_RULE_REFUSAL_TERM) ? r->hard.term : m->term - 1;
	struct raft_message result = {.kind = RAFT_PRE_VOTE_RESULT, .to = m->from, .reject = !grant};
	result.term = grant ? m->term : refusal;
	raft_send(r, result);
}

void raft_on_request_vote(struct raft *r, const struct raft_message *m)
{
	bool unbound = r->hard.vote == m->from || (r->hard.vote == RAFT_NOBODY && r->leader == RAFT_NOBODY);
	bool grant = (unbound || !RULE(RAFT_RULE_ONE_VOTE)) && up_to_date(r, m);
	struct raft_message result = {.kind = RAFT_REQUEST_VOTE_RESULT, .to = m->from, .reject = !grant};
	if (!grant) {
		r->counters.votes_refused++;
		raft_send(r, result);
		return;
	}
	r->counters.votes_granted++;
	r->hard.vote = m->from;
	r->election_ticks = 0;
	if (RULE(RAFT_RULE_VOTE_WAITS))
		raft_promise(r, result, 0);
	else
		raft_send(r, result);
}
