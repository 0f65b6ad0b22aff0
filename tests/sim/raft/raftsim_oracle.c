/* What must hold at every step, seen from outside: the oracle knows every disk. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/raft/raftsim.h"

#define LLU(x) ((unsigned long long)(x))

void rs_oracle_reset(struct rs_oracle *o)
{
	struct rs_oracle old = *o;
	*o = (struct rs_oracle){.truth = old.truth,
	    .room = old.room,
	    .known = old.known,
	    .known_room = old.known_room,
	    .leaders = old.leaders};
	if (!o->leaders)
		o->leaders = calloc(RS_TERM_SANE, sizeof(*o->leaders));
	if (!o->known) {
		o->known_room = 4096;
		o->known = calloc(o->known_room, sizeof(*o->known));
	}
	if (!o->truth) {
		o->room = 4096;
		o->truth = calloc(o->room, sizeof(*o->truth));
	}
	if (!o->leaders || !o->known || !o->truth)
		abort();
	memset(o->leaders, 0, RS_TERM_SANE * sizeof(*o->leaders));
	memset(o->known, 0, o->known_room * sizeof(*o->known));
	memset(o->truth, 0, o->room * sizeof(*o->truth));
}

void rs_oracle_free(struct rs_oracle *o)
{
	free(o->truth);
	free(o->known);
	free(o->leaders);
	memset(o, 0, sizeof(*o));
}

uint64_t rs_content(const struct raft_entry *e, uint64_t *ret_value)
{
	uint64_t h = (uint64_t)e->kind;
	*ret_value = 0;
	if (!e->data)
		return h;
	if (e->kind == RAFT_ENTRY_DATA && e->data->len >= 8) {
		memcpy(ret_value, e->data->bytes, 8);
		return sim_mix(h + *ret_value * 16 + e->data->len * UINT64_C(0x9e3779b97f4a7c15));
	}
	for (size_t i = 0; i < e->data->len; i++)
		h = (h ^ e->data->bytes[i]) * UINT64_C(0x100000001b3);
	return sim_mix(h);
}

static struct rs_oracle *oracle_of(struct rs_replica *r)
{
	return &r->w->groups[r->group].oracle;
}

static struct rs_truth *truth_at(struct rs_oracle *o, uint64_t index)
{
	if (index >= o->room) {
		size_t room = o->room;
		while (index >= room)
			room *= 2;
		o->truth = realloc(o->truth, room * sizeof(*o->truth));
		if (!o->truth)
			abort();
		memset(o->truth + o->room, 0, (room - o->room) * sizeof(*o->truth));
		o->room = room;
	}
	return &o->truth[index];
}

/* ---- log matching ---------------------------------------------------------------------------- */

static struct rs_known *known_at(struct rs_oracle *o, uint64_t index, uint64_t term)
{
	size_t i = sim_mix(index * 0x10001 + term) & (o->known_room - 1);
	while (o->known[i].index && (o->known[i].index != index || o->known[i].term != term))
		i = (i + 1) & (o->known_room - 1);
	return &o->known[i];
}

static void known_grow(struct rs_oracle *o)
{
	struct rs_known *old = o->known;
	size_t room = o->known_room;
	o->known_room = room * 2;
	o->known = calloc(o->known_room, sizeof(*o->known));
	if (!o->known)
		abort();
	for (size_t i = 0; i < room; i++)
		if (old[i].index)
			*known_at(o, old[i].index, old[i].term) = old[i];
	free(old);
}

/* Of one index and term there is one entry, behind one other: by induction whole logs are equal up to there.
 */
void rs_oracle_entry(struct rs_replica *r, const struct raft_entry *e, uint64_t prev_term)
{
	struct rs_oracle *o = oracle_of(r);
	uint64_t value, content = rs_content(e, &value);
	struct rs_known *k = known_at(o, e->index, e->term);
	if (!k->index) {
		*k = (struct rs_known){e->index, e->term, content, prev_term};
		if (++o->known_count > o->known_room / 2)
			known_grow(o);
		return;
	}
	if (k->content != content || k->prev_term != prev_term)
		rs_fail(r->w,
		    "log matching: member %u has another entry %llu of term %llu (behind term %llu, was "
		    "%llu)",
		    r->node + 1, LLU(e->index), LLU(e->term), LLU(prev_term), LLU(k->prev_term));
	if (prev_term > e->term)
		rs_fail(r->w, "terms fall within a log: member %u, entry %llu", r->node + 1, LLU(e->index));
}

/* ---- commitment ------------------------------------------------------------------------------ */

void rs_oracle_dropped(struct rs_replica *r, const struct raft_entry *e)
{
	struct rs_oracle *o = oracle_of(r);
	if (e->index <= o->commit && truth_at(o, e->index)->term == e->term)
		rs_suspect(r->w, "a committed entry is removed: member %u, %llu of term %llu", r->node + 1,
		    LLU(e->index), LLU(e->term));
}

void rs_oracle_applied(struct rs_replica *r, const struct raft_entry *e, uint64_t content)
{
	struct rs_oracle *o = oracle_of(r);
	struct rs_group *g = &r->w->groups[r->group];
	if (e->index > o->commit) {
		rs_suspect(r->w, "applies what nobody committed: member %u, %llu above %llu", r->node + 1,
		    LLU(e->index), LLU(o->commit));
		o->commit = e->index;
		*truth_at(o, e->index) =
		    (struct rs_truth){.term = e->term, .commit_term = raft_term(r->raft)};
	}
	struct rs_truth *t = truth_at(o, e->index);
	if (t->term != e->term) {
		rs_fail(r->w, "a committed entry changed: member %u applies %llu of term %llu, was of %llu",
		    r->node + 1, LLU(e->index), LLU(e->term), LLU(t->term));
		return;
	}
	if (!t->hash) {
		t->hash = r->state.hash;
		t->content = content;
	}
	if (t->hash != r->state.hash || t->content != content)
		rs_fail(r->w, "states differ: member %u at %llu", r->node + 1, LLU(e->index));
	if (e->kind == RAFT_ENTRY_CONFIG && e->index > g->config_index) {
		g->config_index = e->index;
		g->config = r->state.config;
		r->w->out->changes++;
	}
}

void rs_oracle_state(struct rs_replica *r, const struct rs_state *s)
{
	struct rs_oracle *o = oracle_of(r);
	if (!s->index)
		return;
	if (s->index > o->commit || truth_at(o, s->index)->hash != s->hash ||
	    truth_at(o, s->index)->term != s->term)
		rs_fail(
		    r->w, "states differ: member %u starts with another at %llu", r->node + 1, LLU(s->index));
}

static bool holds(const struct rs_replica *r, uint64_t index, uint64_t term)
{
	const struct rs_disk *d = &r->disk;
	if (index <= d->base_index)
		return true;
	return rs_disk_term_at(d, index) == term || (!d->state_void && d->state.index >= index);
}

/* Disks of the lost count: what they acknowledged was true then. */
static void check_majority(struct rs_replica *r, const struct raft_status *s)
{
	uint64_t term = raft_term_at(r->raft, s->commit);
	uint32_t voters = 0, have = 0;
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter)
			continue;
		voters++;
		have += holds(rs_replica(r->w, (uint32_t)m->id - 1, r->group), s->commit, term);
	}
	if (have * 2 <= voters)
		rs_suspect(r->w,
		    "committed without a majority: member %u, %llu of term %llu is durable on %u of %u",
		    r->node + 1, LLU(s->commit), LLU(term), have, voters);
	if (term != s->term)
		rs_suspect(r->w,
		    "an entry of term %llu is committed by counting in term %llu (D 3.6.2): member %u, %llu",
		    LLU(term), LLU(s->term), r->node + 1, LLU(s->commit));
}

static void leader_committed(struct rs_replica *r, const struct raft_status *s)
{
	struct rs_oracle *o = oracle_of(r);
	check_majority(r, s);
	for (uint64_t i = r->led_commit + 1; i <= s->commit && !r->w->out->failed; i++) {
		struct rs_truth *t = truth_at(o, i);
		uint64_t term = raft_term_at(r->raft, i);
		if (i > o->commit)
			*t = (struct rs_truth){.term = term, .commit_term = s->term};
		else if (t->term != term)
			rs_fail(r->w,
			    "a committed entry changed: member %u commits %llu of term %llu, was of %llu",
			    r->node + 1, LLU(i), LLU(term), LLU(t->term));
	}
	if (s->commit > o->commit)
		o->commit = s->commit;
	r->led_commit = s->commit;
}

/* Votes on disks; who has gone on to a later term may have voted. */
static void check_votes(struct rs_replica *r, const struct raft_status *s)
{
	uint32_t voters = 0, votes = 0;
	for (uint32_t i = 0; i < s->config.count; i++) {
		const struct raft_member *m = &s->config.members[i];
		if (!m->voter)
			continue;
		const struct rs_disk *d = &rs_replica(r->w, (uint32_t)m->id - 1, r->group)->disk;
		voters++;
		votes += d->term > s->term || (d->term == s->term && d->vote == (uint64_t)r->node + 1);
	}
	if (votes * 2 <= voters)
		rs_suspect(r->w, "elected without a majority: member %u in term %llu, by %u of %u",
		    r->node + 1, LLU(s->term), votes, voters);
}

static void elected(struct rs_replica *r, const struct raft_status *s)
{
	struct rs_oracle *o = oracle_of(r);
	rs_say(r->w, "node %u group %u leads term %llu", r->node + 1, r->group, LLU(s->term));
	rs_trace(r->w, s->term * 64 + r->node);
	r->led_term = s->term;
	r->led_commit = s->commit < o->commit ? s->commit : o->commit;
	r->alone = 0;
	r->led_members = 0;
	r->w->out->elections++;
	if (sim_chance(&r->w->net_rand, r->w->plan.retell))
		rs_queue_put(&r->w->queue, r->w->now + rs_between(&r->w->net_rand, 1, 20 * RS_MS),
		    RS_EV_RETELL, rs_replica_number(r), r->w->nodes[r->node].life);
	if (s->term >= RS_TERM_SANE)
		return; /* the tick says so */
	if (o->leaders[s->term] && o->leaders[s->term] != r->node + 1)
		rs_fail(r->w, "two leaders of term %llu: members %u and %u", LLU(s->term),
		    o->leaders[s->term], r->node + 1);
	o->leaders[s->term] = r->node + 1;
	if (s->commit > o->commit)
		rs_suspect(r->w, "member %u knows of a commit that no leader made: %llu above %llu",
		    r->node + 1, LLU(s->commit), LLU(o->commit));
	if (r->disk.term != s->term || r->disk.vote != (uint64_t)r->node + 1)
		rs_suspect(r->w, "member %u leads term %llu before its own vote is durable", r->node + 1,
		    LLU(s->term));
	check_votes(r, s);
	if (s->state_void || r->install == RS_INSTALLING)
		rs_suspect(r->w, "member %u leads without a state", r->node + 1);
	uint64_t i = o->commit;
	while (i && truth_at(o, i)->commit_term >= s->term)
		i--;
	if (i > s->base && raft_term_at(r->raft, i) != truth_at(o, i)->term)
		rs_suspect(r->w, "leader completeness: member %u leads term %llu without %llu of term %llu",
		    r->node + 1, LLU(s->term), LLU(i), LLU(truth_at(o, i)->term));
}

static void check_committed(struct rs_replica *r)
{
	struct rs_oracle *o = oracle_of(r);
	const struct rs_disk *d = &r->disk;
	uint64_t c = raft_committed(r->raft);
	bool is_void = d->state_void || r->install == RS_INSTALLING;
	if (c < r->committed_seen && !is_void)
		rs_fail(r->w, "raft_committed falls: member %u, %llu to %llu", r->node + 1,
		    LLU(r->committed_seen), LLU(c));
	uint64_t durable = rs_disk_last(d) > d->state.index ? rs_disk_last(d) : d->state.index;
	if (c > durable)
		rs_suspect(r->w, "may apply what is not durable: member %u, %llu of %llu", r->node + 1,
		    LLU(c), LLU(durable));
	if (is_void && c > r->state.index)
		rs_suspect(r->w, "may apply to a void state: member %u, %llu", r->node + 1, LLU(c));
	if (c > r->committed_seen && !is_void) {
		r->committed_seen = c;
		if (c > o->commit)
			rs_suspect(r->w, "member %u knows of a commit that no leader made: %llu above %llu",
			    r->node + 1, LLU(c), LLU(o->commit));
	}
}

void rs_oracle_step(struct rs_replica *r)
{
	uint64_t term = raft_term(r->raft);
	bool leads = raft_is_leader(r->raft);
	if (leads || (r->led_term == term && term)) {
		struct raft_status s;
		raft_status(r->raft, &s);
		if (r->led_term != term)
			elected(r, &s);
		if (s.commit > r->led_commit && !r->w->out->failed)
			leader_committed(r, &s);
		if (!leads)
			r->led_term = 0;
	}
	check_committed(r);
}

/* ---- now and then ---------------------------------------------------------------------------- */

/* What the leader takes for acknowledged is there, unless a later leader came between. */
static void check_match(
    struct rs_replica *r, const struct raft_status *s, const struct raft_progress_status *p)
{
	const struct rs_disk *d = &rs_replica(r->w, (uint32_t)p->id - 1, r->group)->disk;
	uint64_t term = raft_term_at(r->raft, p->match);
	if (d->term > s->term || p->match <= d->base_index || p->match <= d->state.index || !term)
		return;
	if (rs_disk_term_at(d, p->match) != term)
		rs_suspect(r->w, "member %u takes %llu for acknowledged by %u, which has not got it",
		    r->node + 1, LLU(p->match), (unsigned)p->id);
}

static void check_leader(struct rs_replica *r)
{
	const struct raft_options *l = &r->w->plan.limits;
	struct raft_status s;
	raft_status(r->raft, &s);
	uint32_t voters = 0, near = 0;
	uint64_t members = 0;
	for (uint32_t i = 0; i < s.config.count; i++) {
		const struct raft_member *m = &s.config.members[i];
		members |= UINT64_C(1) << (m->id - 1);
		if (!(r->led_members >> (m->id - 1) & 1))
			r->heard[m->id - 1] = r->ticks;
		if (!m->voter)
			continue;
		voters++;
		near += m->id == r->node + 1 || r->ticks - r->heard[m->id - 1] <= RS_ELECTION_TICKS;
	}
	r->led_members = members;
	r->alone = near * 2 > voters ? 0 : r->alone + 1;
	if (r->alone > RS_ELECTION_TICKS + 2)
		rs_suspect(r->w, "member %u leads on without a majority", r->node + 1);
	for (uint32_t i = 0; i < s.progress_count; i++) {
		const struct raft_progress_status *p = &s.progress[i];
		if (p->inflight_messages > l->inflight_messages_max ||
		    p->inflight_bytes > l->inflight_bytes_max + l->message_bytes_max)
			rs_suspect(r->w, "member %u has %u messages, %zu bytes under way to %u", r->node + 1,
			    p->inflight_messages, p->inflight_bytes, (unsigned)p->id);
		check_match(r, &s, p);
		if (p->match >= p->next || p->next > s.last + 1)
			rs_suspect(r->w, "member %u: next %llu, match %llu, last %llu", r->node + 1,
			    LLU(p->next), LLU(p->match), LLU(s.last));
	}
}

void rs_oracle_tick(struct rs_replica *r)
{
	const char *why = raft_failed(r->raft);
	if (why)
		rs_fail(r->w, "member %u has failed: %s", r->node + 1, why);
	if (raft_term(r->raft) >= RS_TERM_SANE)
		rs_fail(
		    r->w, "terms inflate: member %u is in term %llu", r->node + 1, LLU(raft_term(r->raft)));
	if (raft_is_leader(r->raft))
		check_leader(r);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* An accepted AppendEntries says: my disk equals your log up to there. */
static void check_result(struct rs_replica *r, const struct raft_message *m)
{
	const struct rs_disk *d = &r->disk;
	if (d->term != m->term)
		return;
	if (rs_disk_last(d) < m->index && d->state.index < m->index)
		rs_suspect(r->w, "acknowledges what is not durable: member %u, %llu of %llu", r->node + 1,
		    LLU(m->index), LLU(rs_disk_last(d)));
	uint64_t mine = rs_disk_term_at(d, m->index);
	struct rs_replica *leader = rs_replica(r->w, (uint32_t)m->to - 1, r->group);
	if (!mine || !leader->raft || !raft_is_leader(leader->raft) || raft_term(leader->raft) != m->term)
		return;
	uint64_t its = raft_term_at(leader->raft, m->index);
	if (its && its != mine)
		rs_suspect(r->w,
		    "acknowledges what differs: member %u, %llu is of term %llu, the leader's of %llu",
		    r->node + 1, LLU(m->index), LLU(mine), LLU(its));
}

static void check_append(struct rs_replica *r, const struct raft_message *m)
{
	size_t bytes = 0;
	uint64_t prev = m->log_term;
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct raft_entry *e = &m->entries[i];
		if (e->index != m->index + 1 + i)
			rs_fail(r->w, "member %u sends entries that do not follow each other", r->node + 1);
		rs_oracle_entry(r, e, prev);
		prev = e->term;
		bytes += e->data ? e->data->len : 0;
	}
	if (m->entry_count > 1 && bytes > r->w->plan.limits.message_bytes_max)
		rs_suspect(r->w, "member %u sends %zu bytes at once", r->node + 1, bytes);
	if (m->commit > oracle_of(r)->commit)
		rs_suspect(r->w, "member %u tells of a commit that no leader made", r->node + 1);
}

static void check_heartbeat(struct rs_replica *r, const struct raft_message *m)
{
	uint32_t to = (uint32_t)m->to - 1;
	const struct rs_disk *d = &rs_replica(r->w, to, r->group)->disk;
	if (rs_disk_last(d) < m->commit && d->state.index < m->commit)
		rs_suspect(r->w, "member %u tells %u of commit %llu, which has %llu", r->node + 1, to + 1,
		    LLU(m->commit), LLU(rs_disk_last(d)));
}

static void check_vote(struct rs_replica *r, const struct raft_message *m, uint64_t whom)
{
	const struct rs_disk *d = &r->disk;
	if (d->term < m->term || (d->term == m->term && d->vote != whom))
		rs_suspect(r->w, "a vote leaves before it is durable: member %u for %llu in term %llu",
		    r->node + 1, LLU(whom), LLU(m->term));
}

void rs_oracle_message(struct rs_replica *r, const struct raft_message *m)
{
	if (m->from != r->node + 1 || m->to == m->from || !m->to || m->to > r->w->node_count) {
		rs_fail(r->w, "a message from %llu to %llu leaves member %u", LLU(m->from), LLU(m->to),
		    r->node + 1);
		return;
	}
	switch (m->kind) {
	case RAFT_REQUEST_VOTE:
		check_vote(r, m, m->from);
		break;
	case RAFT_REQUEST_VOTE_RESULT:
		if (!m->reject)
			check_vote(r, m, m->to);
		break;
	case RAFT_APPEND_ENTRIES:
		check_append(r, m);
		break;
	case RAFT_APPEND_ENTRIES_RESULT:
		if (!m->reject)
			check_result(r, m);
		break;
	case RAFT_HEARTBEAT:
		check_heartbeat(r, m);
		break;
	case RAFT_INSTALL_SNAPSHOT_RESULT:
		if (!m->reject && r->disk.base_index < m->index &&
		    rs_disk_term_at(&r->disk, m->index) != m->log_term)
			rs_suspect(r->w,
			    "member %u tells of a snapshot behind which its log does not begin yet",
			    r->node + 1);
		break;
	case RAFT_PRE_VOTE:
	case RAFT_PRE_VOTE_RESULT:
	case RAFT_HEARTBEAT_RESULT:
	case RAFT_INSTALL_SNAPSHOT:
	case RAFT_TIMEOUT_NOW:
		break;
	}
}

/* ---- writes ---------------------------------------------------------------------------------- */

static bool same_config(const struct raft_config *a, const struct raft_config *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->members[i].id != b->members[i].id || a->members[i].voter != b->members[i].voter)
			return false;
	return true;
}

/* With nothing left to write the core and its disk must agree. */
void rs_oracle_written(struct rs_replica *r)
{
	struct raft_status s;
	struct raft_config disk;
	raft_status(r->raft, &s);
	r->counted = s.durable;
	if (s.durable != s.last || s.base != r->disk.base_index)
		return;
	if (s.durable != rs_disk_last(&r->disk))
		rs_suspect(r->w, "member %u takes %llu for durable, the disk has %llu", r->node + 1,
		    LLU(s.durable), LLU(rs_disk_last(&r->disk)));
	rs_disk_config(&r->disk, &disk);
	if (!same_config(&s.config, &disk))
		rs_suspect(r->w, "member %u goes by a configuration that is not the last of its log, at %llu",
		    r->node + 1, LLU(s.last));
}
