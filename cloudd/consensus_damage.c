/* A group's state that is not to be used any more: a record of it does not read, or it is not what the other replicas have.
 *
 *     fine --met, told--> DAMAGED (serves no more, applies no more) --leads no more--> VOID --a snapshot--> fine
 *                            | leads: hands over, to each that has caught up in turn
 *
 * The log is whole all the while: it votes and acknowledges. VOID is durable, so that no reader uses the state and the next
 * start goes on here; the records stay until another replica's are here (BEGIN). Nobody can be handed over to and no other
 * replica is whole: it stays as it is, and what it has is not lost. */
#include "cloudd/consensus_internal.h"
#include "common/clock.h"
#include "common/err.h"

#define HANDOVER_MS 1000 /* from one try to the next */

static bool has_peers(const struct group *g)
{
	return topology_replicas(g->c->topology, g->number) > 1;
}

static void give_up(struct group *g, const char *what)
{
	if (g->damage || g->is_void)
		return;
	g->damage = what;
	g->handover_ns = 0;
	g->c->counters.damaged++;
	group_touch(g);
}

void consensus_damaged(struct consensus *c, uint32_t group, const char *what)
{
	if (consensus_holds(c, group) && !c->failed && group_live(&c->groups[group]) && has_peers(&c->groups[group]))
		give_up(&c->groups[group], what);
}

void damage_met(struct consensus *c, const struct apply_item *item)
{
	struct group *g = &c->groups[item->group];
	if (has_peers(g))
		give_up(g, "a stored record does not read");
	else
		g->skip = item->index;
}

static bool can_lead(const struct raft_progress_status *p, uint64_t last, uint64_t applied)
{
	return p->voter && p->active && p->state == RAFT_REPLICATE && p->applied >= applied && p->match &&
	    p->match + RAFT_PROMOTE_LAG_MAX >= last;
}

/* To one that has applied so far. That another one is damaged too, nobody tells: each in turn. */
static void hand_over(struct group *g, uint64_t applied, int64_t mono_ns)
{
	struct raft_status s;
	raft_status(g->raft, &s);
	if (s.transfer_to || (g->handover_ns && mono_ns - g->handover_ns < HANDOVER_MS * NS_PER_MS))
		return;
	g->handover_ns = mono_ns;
	for (uint32_t i = 0; i < s.progress_count; i++) {
		const struct raft_progress_status *p = &s.progress[g->aside_turn++ % s.progress_count];
		if (!can_lead(p, s.last, applied) || raft_transfer(g->raft, p->id))
			continue;
		g->c->counters.transfers++;
		group_touch(g);
		return;
	}
}

void damage_look(struct group *g, int64_t mono_ns)
{
	if (g->is_void || g->dropping != DROP_NO)
		return;
	if (raft_is_leader(g->raft)) {
		hand_over(g, 1, mono_ns);
		return;
	}
	if (g->fetching == FETCH_INSTALLING || g->step_busy || g->ended)
		return;
	g->is_void = g->void_due = true;
	g->state_durable = 0;
	raft_snapshot_begin(g->raft);
	group_touch(g);
}

/* ---- entries of a later program --------------------------------------------------------------------------------- */

void outdated_met(struct consensus *c, const struct apply_item *item)
{
	struct group *g = &c->groups[item->group];
	bool entry = item->step == APPLY_ENTRY && item->bytes.n >= 2;
	struct entry e;
	g->outdated = (struct outdated){.index = item->index};
	if (entry && entry_decode(item->bytes, &e) == WEIR_EVERSION) {
		g->outdated.format = item->bytes.p[0];
		g->outdated.kind = item->bytes.p[1];
	} else if (entry) {
		entry_clear(&e);
	}
	g->handover_ns = 0;
	group_touch(g);
}

/* Who has not applied the entry may not know it either: rather no leader that serves than one after the other. */
void outdated_look(struct group *g, int64_t mono_ns)
{
	if (raft_is_leader(g->raft))
		hand_over(g, g->outdated.index, mono_ns);
}
