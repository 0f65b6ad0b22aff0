/* A leadership: its beginning (D 3.4, 6.4) and end, its heartbeats, its check of itself (D 6.2), its
 * hand-over (D 3.10). */
#include "raft/internal.h"

#include <stdlib.h>

/* ---- beginning and end ------------------------------------------------------------------------ */

void raft_lead(struct raft *r)
{
	r->role = RAFT_LEADER;
	r->leader = r->options.id;
	r->counters.elected++;
	r->lead = raft_alloc(1, sizeof(*r->lead));
	r->lead->since = r->log.last + 1;
	raft_lead_members(r);
	if (RULE(RAFT_RULE_NOOP)) /* D 6.4: commits, and tells, what is before it */
		(void)raft_lead_append(r, RAFT_ENTRY_NOOP, NULL);
	r->lead->round_due = true;
}

void raft_lead_end(struct raft *r)
{
	r->counters.stepped_down++;
	raft_reads_fail(r);
	for (uint32_t i = 0; i < r->lead->progress_count; i++)
		raft_progress_free(&r->lead->progress[i]);
	raft_quota_free(&r->lead->quota);
	free(r->lead);
	r->lead = NULL;
}

struct raft_progress *raft_progress_of(const struct raft *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->lead->progress_count; i++)
		if (r->lead->progress[i].id == id)
			return &r->lead->progress[i];
	return NULL;
}

static void remove_strangers(struct raft *r)
{
	struct raft_leadership *l = r->lead;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < l->progress_count; i++) {
		if (raft_config_find(raft_config_of(r), l->progress[i].id))
			l->progress[kept++] = l->progress[i];
		else
			raft_progress_free(&l->progress[i]);
	}
	l->progress_count = kept;
}

void raft_lead_members(struct raft *r)
{
	struct raft_leadership *l = r->lead;
	const struct raft_config *c = raft_config_of(r);
	remove_strangers(r);
	for (uint32_t i = 0; i < c->count; i++) {
		uint64_t id = c->members[i].id;
		if (id != r->options.id && !raft_progress_of(r, id))
			raft_progress_init(&l->progress[l->progress_count++], id, r->log.last + 1, l->ticks);
	}
	l->send_due = true;
}

/* ---- its entries ------------------------------------------------------------------------------ */

/* The last eighth is for the program's own proposals. */
bool raft_lead_room(const struct raft *r, size_t len, bool own)
{
	size_t count = r->options.proposed_max, bytes = r->options.proposed_bytes_max;
	if (!own) {
		count -= count / 8;
		bytes -= bytes / 8;
	}
	return r->log.last + 1 < RAFT_TERM_MAX && raft_quota_room(&r->lead->quota, len, count, bytes);
}

uint64_t raft_lead_append(struct raft *r, enum raft_entry_kind kind, struct raft_data *data)
{
	struct raft_entry e = {.index = r->log.last + 1, .term = r->hard.term, .kind = kind, .data = data};
	raft_log_append(&r->log, &e);
	raft_data_release(data); /* the log has its own */
	raft_quota_add(&r->lead->quota, e.index, raft_entry_len(&e));
	r->lead->send_due = true;
	return e.index;
}

/* ---- heartbeats ------------------------------------------------------------------------------- */

void raft_lead_round(struct raft *r)
{
	struct raft_leadership *l = r->lead;
	if (!l->round_due)
		return;
	l->round_due = false;
	l->round++;
	l->heartbeat_ticks = 0;
	for (uint32_t i = 0; i < l->progress_count; i++) {
		const struct raft_progress *p = &l->progress[i];
		uint64_t known = RULE(RAFT_RULE_HEARTBEAT_COMMIT) ? p->match : r->log.last;
		raft_send(r, (struct raft_message){.kind = RAFT_HEARTBEAT,
				 .to = p->id,
				 .commit = raft_min(r->commit, known),
				 .round = l->round});
	}
}

void raft_on_heartbeat(struct raft *r, const struct raft_message *m)
{
	raft_follow(r, m->from);
	raft_set_commit(r, raft_min(m->commit, r->log.last));
	raft_send(r, (struct raft_message){.kind = RAFT_HEARTBEAT_RESULT,
			 .to = m->from,
			 .round = m->round,
			 .commit = r->state_void ? 0 : r->applied});
}

void raft_on_heartbeat_result(struct raft *r, const struct raft_message *m)
{
	if (r->role != RAFT_LEADER || m->reject)
		return;
	struct raft_progress *p = raft_progress_of(r, m->from);
	if (!p)
		return;
	struct raft_window w = {r->options.inflight_messages_max, r->options.inflight_bytes_max};
	p->heard_at = r->lead->ticks;
	if (m->round >= p->round)
		p->applied = m->commit;
	p->round = raft_max(p->round, raft_min(m->round, r->lead->round));
	raft_progress_alive(p, &w);
	r->lead->send_due = true;
	raft_reads_confirm(r);
}

/* ---- time ------------------------------------------------------------------------------------- */

bool raft_progress_active(const struct raft *r, const struct raft_progress *p)
{
	return r->lead->ticks - p->heard_at < r->options.election_ticks;
}

static uint64_t heard(const void *arg, uint64_t id)
{
	const struct raft *r = arg;
	if (id == r->options.id)
		return 1;
	const struct raft_progress *p = raft_progress_of(r, id);
	return p && raft_progress_active(r, p);
}

/* D 6.2: a leader that no majority answers leads nobody, and others may have elected another. */
static void check_quorum(struct raft *r)
{
	if (raft_quorum_reached(raft_config_of(r), heard, r) || !RULE(RAFT_RULE_CHECK_QUORUM))
		return;
	r->counters.quorum_lost++;
	raft_become_follower(r, r->hard.term, RAFT_NOBODY);
}

static void check_streams(struct raft *r)
{
	for (uint32_t i = 0; i < r->lead->progress_count; i++)
		raft_progress_check(&r->lead->progress[i]);
	r->lead->send_due = true;
}

void raft_lead_tick(struct raft *r)
{
	struct raft_leadership *l = r->lead;
	l->ticks++;
	if (++l->heartbeat_ticks >= r->options.heartbeat_ticks)
		l->round_due = true;
	if (l->transfer_to != RAFT_NOBODY && ++l->transfer_ticks >= r->options.election_ticks)
		l->transfer_to = RAFT_NOBODY;
	if (++l->check_ticks < r->options.election_ticks)
		return;
	l->check_ticks = 0;
	check_streams(r);
	check_quorum(r);
}

void raft_unreachable(struct raft *r, uint64_t id)
{
	struct raft_progress *p = r->lead ? raft_progress_of(r, id) : NULL;
	if (!p || p->state != RAFT_REPLICATE)
		return;
	raft_progress_probe(p);
	r->lead->send_due = true;
}

/* ---- handing it over (D 3.10) ----------------------------------------------------------------- */

void raft_transfer_check(struct raft *r, const struct raft_progress *p)
{
	if (p->id == r->lead->transfer_to && p->match == r->log.last)
		raft_send(r, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .to = p->id});
}

int raft_transfer(struct raft *r, uint64_t to)
{
	if (r->role != RAFT_LEADER)
		return RAFT_ENOTLEADER;
	if (!raft_quorum_is_voter(raft_config_of(r), to))
		return RAFT_EINVAL;
	if (to == r->options.id)
		return 0;
	if (r->lead->transfer_to != RAFT_NOBODY)
		return RAFT_EPENDING;
	r->lead->transfer_to = to;
	r->lead->transfer_ticks = 0;
	raft_transfer_check(r, raft_progress_of(r, to));
	return 0;
}
