/* A snapshot that this replica fetches: from raft's wish to the state's replacement.
 *
 *     NONE --wanted--> ASKING --the first chunk--> INSTALLING --END durable--> NONE
 *      ^                  |                            |
 *      '--no longer wanted, stuck                      '-- stuck: NONE, but the state stays void until one is installed
 *
 * A void replica without a leader asks the other ones in turn. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus_internal.h"
#include "common/err.h"

static bool send_request(void *arg, uint32_t node, struct msg *m)
{
	struct consensus *c = arg;
	return c->io.send(c->io.arg, node, true, m);
}

static void start(struct group *g, uint64_t from, int64_t mono_ns)
{
	if (node_of(from) >= g->c->topology->cloud_count || node_of(from) == g->c->self)
		return;
	if (!g->fetch)
		g->fetch = fetch_new(g->number, send_request, g->c);
	if (g->fetching == FETCH_NONE)
		g->fetching = FETCH_ASKING;
	g->fetch_from = from;
	fetch_start(g->fetch, node_of(from), mono_ns);
}

/* Another one would only make each of them slower. */
static bool too_many_fetched(const struct group *g)
{
	uint32_t n = 0;
	if (g->fetching != FETCH_NONE || g->is_void)
		return false;
	for (uint32_t i = 0; i < g->c->group_count; i++)
		n += g->c->groups[i].fetching != FETCH_NONE;
	return n >= CONSENSUS_MOVES_MAX;
}

/* The source may be damaged itself, and not know it before it is asked: the others in turn. */
static bool start_elsewhere(struct group *g, uint64_t from, int64_t mono_ns)
{
	const struct consensus *c = g->c;
	uint32_t replicas = topology_replicas(c->topology, g->number);
	for (uint32_t i = 0; i < replicas; i++) {
		uint32_t node = topology_replica(c->topology, g->number, g->fetch_turn++ % replicas);
		if (node == c->self || node == node_of(from) || c->peers[node].member == RAFT_NOBODY)
			continue;
		start(g, c->peers[node].member, mono_ns);
		g->elsewhere = g->fetching != FETCH_NONE;
		return g->elsewhere;
	}
	return false;
}

/* Where there is nobody else, as while a group of one replica moves, the same again. */
static void ask_another(struct group *g, uint64_t from, int64_t mono_ns)
{
	g->ask_others = false;
	if (!start_elsewhere(g, from, mono_ns))
		start(g, from, mono_ns);
}

void snapshot_look(struct group *g, int64_t mono_ns)
{
	uint64_t from, index;
	if (g->outdated.index || g->step_busy || g->ended || g->dropping != DROP_NO || too_many_fetched(g))
		return;
	bool wanted = raft_snapshot_wanted(g->raft, &from, &index);
	if (g->c->state_low && g->fetching != FETCH_INSTALLING && !g->is_void) {
		g->fetching = FETCH_NONE;
		return; /* what is there can still be read; for another there is no room */
	}
	if (wanted && g->ask_others && g->fetching == FETCH_NONE)
		ask_another(g, from, mono_ns);
	else if (wanted && g->fetching != FETCH_NONE && g->elsewhere)
		return;
	else if (wanted && (g->fetching == FETCH_NONE || from != g->fetch_from))
		start(g, from, mono_ns);
	else if (!wanted && g->fetching == FETCH_ASKING && !g->is_void)
		g->fetching = FETCH_NONE; /* the log has caught up by itself */
}

/* Where the log begins the state must reach. What is still whole is given up only for what leads further, as far as was asked
 * for: the source may have one at hand that was made for another replica, a while ago. */
static bool reaches(const struct group *g, uint64_t index)
{
	struct raft_status status;
	raft_status(g->raft, &status);
	uint64_t from, wanted;
	if (index < status.base)
		return false;
	if (g->is_void)
		return true; /* the log leads on from there */
	return index > status.applied && (!raft_snapshot_wanted(g->raft, &from, &wanted) || index >= wanted);
}

static bool is_of_use(const struct group *g, const struct snapshot_head *head, struct raft_config *ret_config)
{
	return head->term && reaches(g, head->index) && head->config.n <= SNAPSHOT_CONFIG_MAX &&
	    !raft_config_decode(head->config.p, head->config.n, ret_config);
}

/* The chunk's head points into the fetch, which may start over: the item gets a copy. */
static void take_end(struct group *g, const struct snapshot_head *head, struct apply_item *item)
{
	struct snapshot_head *copy = xmalloc(sizeof(*copy) + head->config.n);
	*copy = *head;
	memcpy(copy + 1, head->config.p, head->config.n);
	copy->config.p = (const uint8_t *)(copy + 1);
	g->end_index = head->index;
	g->end_term = head->term;
	*item = (struct apply_item){.group = g->number, .step = APPLY_SNAPSHOT_END, .index = head->index,
	    .term = head->term, .owner = copy, .head = copy};
}

static void begin_installing(struct group *g)
{
	g->fetching = FETCH_INSTALLING;
	if (g->is_void)
		return;
	g->is_void = true;
	g->state_durable = 0;
	raft_snapshot_begin(g->raft);
	group_touch(g);
}

bool snapshot_take(struct group *g, struct apply_item *ret_item, int64_t mono_ns)
{
	struct fetch_chunk chunk;
	if (place_take(g, ret_item))
		return true;
	if (g->fetching == FETCH_NONE || g->step_busy || g->ended || !fetch_take(g->fetch, &chunk))
		return false;
	if (!is_of_use(g, &chunk.head, &g->end_config)) {
		if (chunk.step == FETCH_RECORDS)
			free(chunk.records);
		g->c->counters.snapshots_failed++;
		fetch_applied(g->fetch, false, mono_ns);
		return false;
	}
	switch (chunk.step) {
	case FETCH_BEGIN:
		begin_installing(g);
		*ret_item = (struct apply_item){.group = g->number, .step = APPLY_SNAPSHOT_BEGIN};
		break;
	case FETCH_RECORDS:
		g->c->counters.snapshot_bytes += chunk.len;
		*ret_item = (struct apply_item){.group = g->number, .step = APPLY_SNAPSHOT_RECORDS,
		    .bytes = bytes_of(chunk.records, chunk.len), .owner = chunk.records};
		break;
	case FETCH_END:
		take_end(g, &chunk.head, ret_item);
		break;
	}
	g->step_busy = true;
	return true;
}

void snapshot_step_done(struct group *g, const struct apply_item *item, int64_t mono_ns)
{
	g->step_busy = false;
	if (g->dropping == DROP_EMPTYING) {
		g->dropping = DROP_EMPTIED;
		return;
	}
	g->c->counters.snapshots_failed += item->bad;
	g->ended = item->step == APPLY_SNAPSHOT_END && !item->bad;
	fetch_applied(g->fetch, !item->bad, mono_ns);
	list_add(g->c, LIST_TURN, g);
}

void snapshot_rewind(struct group *g, int64_t mono_ns)
{
	if (g->dropping == DROP_EMPTYING || g->dropping == DROP_EMPTIED)
		g->dropping = DROP_STATE;
	else if (g->step_busy)
		fetch_applied(g->fetch, false, mono_ns);
	g->step_busy = g->ended = false;
	if (g->fetching == FETCH_INSTALLING)
		start(g, g->fetch_from, mono_ns);
}

void snapshot_durable(struct group *g, uint64_t index)
{
	struct consensus *c = g->c;
	if (index != g->end_index)
		return;
	g->ended = g->is_void = g->elsewhere = false;
	g->fetching = FETCH_NONE;
	g->damage = NULL;
	g->void_due = g->ask_others = false;
	if (raft_snapshot_installed(g->raft, g->end_index, g->end_term, &g->end_config)) {
		consensus_fail(c, "a snapshot does not fit the log", WEIR_ECORRUPT);
		return;
	}
	g->handed = g->applied = g->reported = g->state_durable = index;
	c->counters.snapshots_fetched++;
	c->io.reloaded(c->io.arg, g->number, index);
	group_touch(g);
}

/* Its log may be the longest, and it votes for no shorter one: where the others are no majority without it they elect nobody, and
 * it may not lead as it is. Any state that its log goes on from ends that. */
static void help_oneself(struct group *g, int64_t mono_ns)
{
	const struct consensus *c = g->c;
	struct raft_status status;
	raft_status(g->raft, &status);
	if (status.leader != RAFT_NOBODY || status.ticks_since_heard < CONSENSUS_ALONE_TICKS)
		return;
	uint32_t replicas = topology_replicas(c->topology, g->number);
	for (uint32_t i = 0; i < replicas; i++) {
		uint32_t node = topology_replica(c->topology, g->number, g->fetch_turn++ % replicas);
		if (node == c->self || c->peers[node].member == RAFT_NOBODY)
			continue;
		start(g, c->peers[node].member, mono_ns);
		return;
	}
}

void snapshot_tick(struct group *g, int64_t mono_ns)
{
	if (g->fetching == FETCH_NONE && g->is_void && !g->outdated.index && g->dropping == DROP_NO && (g->placed || !place_settled(g, mono_ns)))
		help_oneself(g, mono_ns);
	if (g->fetching == FETCH_NONE || g->step_busy || g->ended)
		return;
	fetch_tick(g->fetch, mono_ns);
	if (!fetch_stuck(g->fetch))
		return;
	g->fetching = FETCH_NONE;
	g->ask_others = g->is_void && !g->elsewhere;
	g->elsewhere = false;
	g->c->counters.snapshots_failed++;
	raft_snapshot_failed(g->raft);
}
