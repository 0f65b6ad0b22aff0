/* Another map: groups opened where it places them, and dropped where it does not and nobody needs them any more.
 *
 *     not held --placed here--> held, empty: waits until its leader adds it
 *     held --not placed here, its leader settled, silent to this one--> DROP_LOG --the log ends with the state-->
 *       DROP_STATE --apply job--> DROP_EMPTYING --done--> DROP_EMPTIED --nothing of it is under way--> not held
 *
 * What a drop leaves is what a crash while a snapshot is installed leaves: a log that begins behind a state that is void. So a
 * member that comes back under its old number knows its term, its vote and what it has acknowledged, and needs a state before it
 * is of use; who was cut off since before it was removed gets no vote of it that it would not have got then. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/node.h"
#include "common/clock.h"
#include "common/err.h"

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void open_group(struct group *g)
{
	struct consensus *c = g->c;
	struct kv_txn *txn;
	char *why = NULL;
	int rc = kv_begin(c->log, false, &txn);
	if (!rc) {
		rc = group_load(g, txn, NULL, &why);
		kv_abort(txn);
	}
	if (rc) {
		consensus_stop(c, why ? why : "the log cannot be read");
		free(why);
		return;
	}
	g->held = true;
	c->held_count++;
	c->counters.opened++;
	c->io.held(c->io.arg, g->number, true);
	group_touch(g);
}

static void close_group(struct group *g)
{
	struct consensus *c = g->c;
	struct group left = {.c = c, .number = g->number, .rank = g->rank, .has = g->has, .disk = g->disk,
	    .disk_last = g->disk_last, .base_moved = g->base_moved, .announced = UINT64_MAX, .said_term = g->said_term,
	    .said_settled = g->said_settled, .said_leader = g->said_leader, .said_ns = g->said_ns};
	memcpy(left.listed, g->listed, sizeof(left.listed));
	c->unfounded -= !g->has;
	c->held_count--;
	c->counters.dropped++;
	fetch_free(g->fetch);
	raft_free(g->raft);
	*g = left;
	c->io.held(c->io.arg, g->number, false);
}

/* ---- another map ------------------------------------------------------------------------------------------------ */

static bool is_stranger(const struct topology *before, const struct topology *t, uint32_t node)
{
	if (node >= t->cloud_count || node >= before->cloud_count || t->clouds[node].state == CLOUD_GONE)
		return true;
	return strcmp(before->clouds[node].name, t->clouds[node].name) != 0;
}

/* What was heard of who had the slot before says nothing of who has it now. */
static void forget_strangers(struct consensus *c, const struct topology *t)
{
	for (uint32_t node = 0; node < CLOUDS_MAX; node++) {
		if (node == c->self || !is_stranger(c->topology, t, node))
			continue;
		uint8_t *has = c->peers[node].has;
		memset(has, 0, (c->group_count + 7) / 8);
		c->peers[node] = (struct peer){.has = has};
		for (uint32_t i = 0; i < c->group_count; i++) {
			if (c->groups[i].said_leader == (int)node)
				c->groups[i].said_leader = -1;
		}
	}
}

bool consensus_removed(const struct consensus *c)
{
	const struct topology *t = c->topology;
	return c->self >= t->cloud_count || t->clouds[c->self].state == CLOUD_GONE ||
	    strcmp(t->clouds[c->self].name, c->name) != 0;
}

static void place(struct group *g)
{
	struct consensus *c = g->c;
	int rank = consensus_removed(c) ? -1 : topology_rank(c->topology, g->number, c->self);
	g->placed = rank >= 0;
	g->rank = rank < 0 ? topology_replicas(c->topology, g->number) : (uint32_t)rank;
	if (g->raft)
		raft_set_priority(g->raft, g->rank * CONSENSUS_PRIORITY_TICKS);
	if (g->placed && g->dropping < DROP_EMPTYING)
		g->dropping = DROP_NO;
	if (g->placed && !g->held)
		open_group(g);
}

void consensus_set_topology(struct consensus *c, const struct topology *t)
{
	weir_assert(topology_groups(t) == c->group_count && t->cloud_count <= CLOUDS_MAX);
	forget_strangers(c, t);
	c->topology = t;
	for (uint32_t i = 0; i < c->group_count && !c->failed; i++)
		place(&c->groups[i]);
	c->members_ns = 0; /* looked at with the next tick */
}

/* ---- what leaders say -------------------------------------------------------------------------------------------- */

uint64_t consensus_settled(const struct consensus *c, uint32_t group)
{
	weir_assert(group < c->group_count);
	const struct group *g = &c->groups[group];
	struct raft_status status;
	if (g->serving) {
		raft_status(g->raft, &status);
		return moves_settled(g, &status);
	}
	return g->said_leader >= 0 && g->said_leader != (int)c->self ? g->said_settled : 0;
}

bool place_settled(const struct group *g, int64_t mono_ns)
{
	const struct consensus *c = g->c;
	return c->topology->map_version && g->said_leader >= 0 && g->said_leader != (int)c->self &&
	    g->said_settled == c->topology->map_version && mono_ns - g->said_ns < CONSENSUS_DROP_MS * NS_PER_MS;
}

/* ---- dropping ---------------------------------------------------------------------------------------------------- */

/* Nobody needs this replica: its leader has the members that this node's map places elsewhere, and does not speak to it. A
 * leader that goes by a later map, and has added it again, does. */
static bool is_needless(const struct group *g, int64_t mono_ns)
{
	if (g->placed || g->serving || g->founding != FOUND_NO || raft_is_leader(g->raft))
		return false;
	return consensus_removed(g->c) || (place_settled(g, mono_ns) && raft_leader(g->raft) == RAFT_NOBODY);
}

static bool long_enough(struct group *g, int64_t mono_ns)
{
	if (!g->needless_ns)
		g->needless_ns = mono_ns;
	return consensus_removed(g->c) || mono_ns - g->needless_ns >= CONSENSUS_DROP_MS * NS_PER_MS;
}

static bool at_rest(const struct group *g)
{
	return !g->in_job && !g->reset_due && !g->step_busy && !g->ended && !g->void_due && g->applied == g->handed;
}

/* Up to what the state holds durably the log is gone, and nothing above is committed. */
static bool log_is_short(const struct group *g)
{
	return g->handed == g->state_durable && g->removed >= g->state_durable && g->handed >= raft_committed(g->raft);
}

static void begin_drop(struct group *g)
{
	if (g->dropping != DROP_NO || !at_rest(g) || (g->damage && !g->is_void))
		return; /* a damaged state becomes void by itself */
	g->fetching = FETCH_NONE;
	g->dropping = g->is_void ? DROP_EMPTIED : DROP_LOG;
	log_may_trim(g);
	list_add(g->c, LIST_TURN, g);
}

void place_tick(struct group *g, int64_t mono_ns)
{
	bool needless = is_needless(g, mono_ns);
	if (!needless)
		g->needless_ns = 0;
	if (!needless && (g->dropping < DROP_EMPTYING || g->dropping == DROP_EMPTIED)) {
		g->dropping = DROP_NO; /* void, maybe: it fetches a state as any other */
		return;
	}
	if (needless && long_enough(g, mono_ns))
		begin_drop(g);
	if (g->dropping == DROP_LOG && at_rest(g) && (log_is_short(g) || g->damage || g->outdated.index)) {
		g->dropping = g->state_durable ? DROP_STATE : DROP_EMPTIED;
		list_add(g->c, LIST_TURN, g);
	}
	if (g->dropping == DROP_EMPTIED && at_rest(g))
		close_group(g);
}

bool place_take(struct group *g, struct apply_item *ret_item)
{
	if (g->dropping != DROP_STATE || g->step_busy)
		return false;
	g->dropping = DROP_EMPTYING;
	g->step_busy = true;
	if (!g->is_void) {
		g->is_void = true;
		g->state_durable = 0;
		raft_snapshot_begin(g->raft);
		group_touch(g);
	}
	*ret_item = (struct apply_item){.group = g->number, .step = APPLY_SNAPSHOT_BEGIN};
	return true;
}
