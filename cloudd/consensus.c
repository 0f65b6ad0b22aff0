#include "cloudd/consensus.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

#define TURN_ROUNDS_MAX 8 /* callbacks propose, which makes another round */

void consensus_fail(struct consensus *c, const char *what, int rc)
{
	if (!c->failed)
		c->failed = xasprintf("%s: %s", what, err_text(rc));
}

void consensus_stop(struct consensus *c, const char *why)
{
	if (!c->failed)
		c->failed = xstrdup(why);
}

void consensus_close(struct consensus *c)
{
	if (!c)
		return;
	if (c->log_job)
		log_take_back(c, c->log_job);
	if (c->apply_job)
		apply_take_back(c->apply_job);
	wire_free(c);
	for (uint32_t i = 0; i < c->group_count; i++) {
		fetch_free(c->groups[i].fetch);
		raft_free(c->groups[i].raft);
	}
	for (size_t i = 0; i < CLOUDS_MAX; i++)
		free(c->peers[i].has);
	for (int i = 0; i < LIST_COUNT; i++)
		free(c->lists[i].numbers);
	free(c->job_groups);
	free(c->peers);
	free(c->groups);
	free(c->info_has);
	free(c->info_leads);
	buf_free(&c->node_record);
	free(c->name);
	free(c->failed);
	free(c);
}

/* ---- lists of groups ------------------------------------------------------------------------------------------- */

void list_add(struct consensus *c, enum list_id id, struct group *g)
{
	struct group_list *l = &c->lists[id];
	if (g->listed[id])
		return;
	g->listed[id] = true;
	l->numbers[(l->head + l->count++) % c->group_count] = g->number;
}

struct group *list_take(struct consensus *c, enum list_id id)
{
	struct group_list *l = &c->lists[id];
	if (!l->count)
		return NULL;
	struct group *g = &c->groups[l->numbers[l->head]];
	l->head = (l->head + 1) % c->group_count;
	l->count--;
	g->listed[id] = false;
	return g;
}

/* ---- roles ------------------------------------------------------------------------------------------------------ */

static void end_role(struct group *g)
{
	struct consensus *c = g->c;
	g->serving = g->moving = g->steps = false;
	g->better = RAFT_NOBODY;
	c->proposed_bytes -= g->proposed_bytes;
	g->proposed_bytes = 0;
	c->io.role(c->io.arg, g->number, false, g->served_term);
}

static void begin_role(struct group *g)
{
	struct raft_status status;
	raft_status(g->raft, &status);
	if (g->damage || g->outdated.index || !status.leader_since || g->reported < status.leader_since)
		return;
	g->serving = true;
	g->served_term = status.term;
	g->first_proposed = status.last + 1;
	g->serving_since_ns = 0;
	g->c->io.role(g->c->io.arg, g->number, true, g->served_term);
}

void group_touch(struct group *g)
{
	if (g->serving && (!raft_is_leader(g->raft) || raft_term(g->raft) != g->served_term || g->damage ||
				  g->outdated.index))
		end_role(g);
	uint64_t leader = raft_leader(g->raft);
	if (leader != g->leader_seen) {
		g->leader_seen = leader;
		g->c->counters.leader_changes += leader != RAFT_NOBODY;
	}
	if (raft_failed(g->raft))
		consensus_fail(g->c, raft_failed(g->raft), WEIR_EIO);
	list_add(g->c, LIST_TURN, g);
}

/* ---- proposing and reading --------------------------------------------------------------------------------------- */

bool consensus_holds(const struct consensus *c, uint32_t group)
{
	return group < c->group_count && c->groups[group].held;
}

static int propose_error(int rc)
{
	switch ((enum raft_error)rc) {
	case RAFT_ENOTLEADER: /* and still serving: it is handing over, for an election timeout at the most */
	case RAFT_EBUSY:
		return WEIR_EBUSY;
	case RAFT_ETOOBIG:
		return WEIR_ETOOBIG;
	case RAFT_EINVAL:
	case RAFT_EPENDING:
	case RAFT_ESTORAGE:
		break;
	}
	return WEIR_ECLOSED;
}

static bool has_room(const struct group *g, enum entry_kind kind)
{
	if (kind == ENTRY_SWEEP)
		return true; /* it may make some */
	if (kind == ENTRY_NODE)
		return !consensus_full(g->c); /* others with room may come instead of who is dead */
	return members_have_room(g);
}

static int propose(struct consensus *c, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index)
{
	weir_assert(consensus_holds(c, group));
	struct group *g = &c->groups[group];
	if (c->failed)
		return WEIR_ECLOSED;
	if (!g->serving)
		return WEIR_ENOTLEADER;
	if (!has_room(g, e->kind)) {
		c->counters.no_room++;
		return WEIR_EFULL;
	}
	struct buf raw = {0};
	entry_encode(e, &raw);
	size_t len = raw.len;
	int rc = len > ENTRY_MAX ? WEIR_ETOOBIG : 0;
	if (!rc && c->proposed_bytes + len > (own ? CONSENSUS_BYTES_MAX : CONSENSUS_BYTES_MAX / 8 * 7))
		rc = WEIR_EBUSY;
	if (rc) {
		buf_free(&raw);
	} else {
		/* The buffer becomes the entry: encoded once, copied never. */
		struct raft_data *data = raft_data_take(xrealloc(raw.data, len), len);
		rc = raft_propose(g->raft, data, own, ret_index);
		if (rc) {
			raft_data_release(data);
			rc = propose_error(rc);
		}
	}
	if (rc) {
		c->counters.busy += rc == WEIR_EBUSY;
		return rc;
	}
	g->proposed_bytes += len;
	c->proposed_bytes += len;
	c->counters.proposed++;
	c->counters.proposed_bytes += len;
	list_add(c, LIST_TURN, g);
	return 0;
}

int consensus_propose(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index)
{
	return propose(c, group, e, false, ret_index);
}

int consensus_propose_own(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index)
{
	return propose(c, group, e, true, ret_index);
}

void consensus_read(struct consensus *c, uint32_t group, uint64_t context)
{
	struct group *g = consensus_holds(c, group) ? &c->groups[group] : NULL;
	if (c->failed || !g || !g->serving || raft_read_index(g->raft, context))
		c->io.read(c->io.arg, group, context, false, 0);
	else
		group_touch(g);
}

/* ---- the turn ----------------------------------------------------------------------------------------------------- */

/* consensus.h says why not up to read.index. */
static void answer_reads(struct group *g)
{
	struct raft_read read;
	while (raft_pop_read(g->raft, &read))
		g->c->io.read(g->c->io.arg, g->number, read.context, read.ok && g->serving, g->reported);
}

/* What a group has to say to the caller, and what it needs from the disks. */
static void look_at(struct group *g, int64_t mono_ns)
{
	struct consensus *c = g->c;
	if (group_live(g)) {
		answer_reads(g);
		apply_announce(g);
		snapshot_look(g, mono_ns);
		if (!g->serving && raft_is_leader(g->raft))
			begin_role(g);
		list_add(c, LIST_APPLY, g);
	}
	list_add(c, LIST_LOG, g);
}

/* A group that has but one voter, this replica, need not wait for a timeout to lead. */
static void campaign_alone(struct group *g)
{
	struct raft_status status;
	raft_status(g->raft, &status);
	uint32_t voters = 0;
	for (uint32_t i = 0; i < status.config.count; i++)
		voters += status.config.members[i].voter;
	const struct raft_member *self = raft_config_find(&status.config, g->c->member);
	if (voters == 1 && self && self->voter)
		raft_campaign(g->raft);
}

static void begin(struct consensus *c)
{
	if (c->started)
		return;
	c->started = true;
	members_found(c);
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (!g->held)
			continue;
		if (group_live(g))
			campaign_alone(g);
		group_touch(g);
	}
}

static void flush_round(struct consensus *c, int64_t mono_ns)
{
	const struct group_list *turn = &c->lists[LIST_TURN];
	for (uint32_t i = 0; i < turn->count; i++) /* callbacks make it longer */
		look_at(&c->groups[turn->numbers[(turn->head + i) % c->group_count]], mono_ns);
	log_start_job(c, mono_ns);
	for (struct group *g; (g = list_take(c, LIST_TURN));) {
		if (group_live(g) && c->member_durable)
			wire_gather(g);
	}
	wire_flush(c);
	if (!c->failed)
		apply_start_job(c, mono_ns);
}

void consensus_flush(struct consensus *c, struct consensus_time now)
{
	if (!c->failed)
		begin(c);
	for (int i = 0; !c->failed && (i == 0 || (c->lists[LIST_TURN].count && i < TURN_ROUNDS_MAX)); i++)
		flush_round(c, now.mono_ns);
}

/* Raft counts ticks, and there are none while the process is stopped. */
static void note_time(struct consensus *c, int64_t mono_ns)
{
	if (c->ticked_ns && mono_ns - c->ticked_ns >= CONSENSUS_STOPPED_MS * NS_PER_MS)
		c->ticks_awake = 0;
	else if (c->ticks_awake < CONSENSUS_ELECTION_TICKS)
		c->ticks_awake++;
	c->ticked_ns = mono_ns;
}

/* After raft's tick, which counts one more unless the leader was heard since the one before it. A leader is as fresh as the
 * majority that it hears; for an election timeout after it was stopped it takes for heard what was heard before. */
static void note_heard(struct group *g, int64_t mono_ns)
{
	struct raft_status status;
	raft_status(g->raft, &status);
	bool leads = status.role == RAFT_LEADER, heard = !g->heard_leading && status.ticks_since_heard <= g->heard_ticks;
	if (leads)
		heard = g->c->ticks_awake == CONSENSUS_ELECTION_TICKS && status_has_quorum(g->c, &status);
	if (heard)
		g->heard_ns = mono_ns;
	g->heard_ticks = status.ticks_since_heard;
	g->heard_leading = leads;
}

void consensus_tick(struct consensus *c, struct consensus_time now)
{
	if (c->failed)
		return;
	begin(c);
	note_time(c, now.mono_ns);
	for (uint32_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		if (!group_live(g))
			continue;
		raft_tick(g->raft);
		note_heard(g, now.mono_ns);
		snapshot_tick(g, now.mono_ns);
		group_touch(g);
	}
	members_tick(c, now.mono_ns);
}

void consensus_receive(struct consensus *c, uint32_t node, const struct msg *m, struct consensus_time now)
{
	if (c->failed || node >= c->topology->cloud_count)
		return;
	if (m->type == MSG_RAFT) {
		wire_receive(c, node, m);
	} else if (m->type == MSG_SNAPSHOT_REPLY && consensus_holds(c, m->snapshot_reply.group)) {
		struct group *g = &c->groups[m->snapshot_reply.group];
		if (g->fetching == FETCH_NONE)
			return;
		fetch_reply(g->fetch, node, m, now.mono_ns);
		group_touch(g);
	}
}
