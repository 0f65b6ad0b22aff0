#include "cloudd/ask.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

static const char *node_name(const struct gather *g, uint32_t node)
{
	return g->topology->clouds[node].name;
}

void ask_group_name(uint32_t group, char out[ASK_NAME_MAX])
{
	if (group)
		snprintf(out, ASK_NAME_MAX, "shard %u", group - 1);
	else
		snprintf(out, ASK_NAME_MAX, "the meta group");
}

int ask_code(const struct ask *a, enum verdict v, const char *text, char reason[QUERY_REASON_MAX])
{
	char name[ASK_NAME_MAX];
	if (v == VERDICT_OK)
		return 0;
	ask_group_name(a->group, name);
	snprintf(reason, QUERY_REASON_MAX, "%s on %s: %s: %s", name, node_name(a->g, (uint32_t)a->node), verdict_text(v), text);
	if (v == VERDICT_UNAVAILABLE && !strcmp(text, serve_not_leader))
		return WEIR_ENOTLEADER;
	if (v == VERDICT_UNAVAILABLE && !strcmp(text, serve_later_map))
		return WEIR_EVERSION;
	/* This node has it, so that one is a map behind. */
	if (v == VERDICT_REFUSED && (!strcmp(text, serve_unknown_stream) || !strcmp(text, serve_unknown_version)))
		return WEIR_ENOTLEADER;
	return v == VERDICT_BUSY ? WEIR_EBUSY : WEIR_ECLOSED;
}

int ask_take(struct gather *g, uint32_t node, struct rpc_call *call, enum msg_type want, struct msg *ret_reply,
    bool *ret_refused, char reason[QUERY_REASON_MAX])
{
	struct msg m;
	int rc = rpc_finish(g->rpc, call, &m);
	*ret_refused = false;
	if (rc) {
		snprintf(reason, QUERY_REASON_MAX, "%s: %s", node_name(g, node), err_text(rc));
		return rc;
	}
	if (m.type == want) {
		*ret_reply = m;
		return 0;
	}
	bool error = m.type == MSG_ERROR;
	snprintf(reason, QUERY_REASON_MAX, "%s: %s", node_name(g, node),
	    error ? m.error.reason : "an answer of another kind");
	*ret_refused = error && m.error.verdict == VERDICT_REFUSED;
	rc = error && m.error.verdict == VERDICT_BUSY ? WEIR_EBUSY : WEIR_ECLOSED;
	msg_clear(&m);
	return rc;
}

/* ---- whom -------------------------------------------------------------------------------------------------------- */

/* One that was added after the request began is not known to it. */
static int leader_of(const struct ask *a)
{
	int node = node_leader(a->g->node, a->group);
	return node >= 0 && (size_t)node < a->g->topology->cloud_count ? node : -1;
}

_Static_assert(CLOUDS_MAX <= 64, "a node is a bit of `tried`");

static bool untried(struct ask *a, int node)
{
	if (node < 0 || a->tried >> node & 1)
		return false;
	a->tried |= UINT64_C(1) << node;
	return true;
}

/* The next replica that was not asked; -1: none is left. */
static int next_replica(struct ask *a)
{
	const struct topology *t = a->g->topology;
	int leader = leader_of(a);
	if (topology_rank(t, a->group, a->g->self) >= 0 && untried(a, (int)a->g->self))
		return (int)a->g->self;
	if (untried(a, leader))
		return leader;
	for (uint32_t rank = 0; rank < topology_replicas(t, a->group); rank++) {
		int node = (int)topology_replica(t, a->group, rank);
		if (untried(a, node))
			return node;
	}
	return -1;
}

static void try_next(struct ask *a)
{
	a->node = a->of == ASK_ANY ? next_replica(a) : leader_of(a);
	a->lost = false;
	a->call = NULL;
	if (a->node < 0 || (uint32_t)a->node == a->g->self)
		return;
	int64_t left_ns = a->until_ns - clock_mono_ns();
	if (a->of == ASK_ANY && left_ns > GATHER_TRY_NS)
		left_ns = GATHER_TRY_NS;
	a->call = rpc_start(a->g->rpc, (uint32_t)a->node, &a->m, left_ns > 0 ? left_ns : 0);
}

void ask_start(struct ask *a)
{
	a->tried = 0;
	try_next(a);
}

void ask_cancel(struct ask *a)
{
	if (a->call)
		rpc_cancel(a->g->rpc, a->call);
	a->call = NULL;
}

static bool is_hopeless(const struct ask *a)
{
	return gather_is_hopeless(a->g, a->group);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Waits for the reply as long as nobody else leads, and somebody may. True: there is one, or its time is over. */
static bool wait_reply(struct ask *a)
{
	while (rpc_wait(a->g->rpc, a->call, GATHER_LOOK_NS)) {
		if (a->of == ASK_ANY)
			continue;
		if (a->of == ASK_LEADER && is_hopeless(a))
			return false;
		int leader = leader_of(a);
		a->lost = a->lost || leader != a->node;
		if (a->lost && leader >= 0)
			return false; /* another one, or this one again, in another term or another life */
	}
	return true;
}

static int take_remote(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	struct msg m;
	bool refused;
	if (!wait_reply(a)) {
		ask_cancel(a);
		snprintf(reason, QUERY_REASON_MAX, "%s: no longer leads, and has not answered",
		    node_name(a->g, (uint32_t)a->node));
		return WEIR_ENOTLEADER;
	}
	int rc = ask_take(a->g, (uint32_t)a->node, a->call, a->want, &m, &refused, reason);
	a->call = NULL;
	if (rc)
		return rc;
	rc = a->remote(a, &m, out, reason);
	msg_clear(&m);
	return rc;
}

static int take(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	char name[ASK_NAME_MAX];
	if (a->call)
		return take_remote(a, out, reason);
	if (a->node >= 0)
		return a->local(a, out, reason);
	ask_group_name(a->group, name);
	snprintf(reason, QUERY_REASON_MAX, "%s has no leader that is known here", name);
	return WEIR_ENOTLEADER;
}

static int finish_leader(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	for (;;) {
		int rc = take(a, out, reason);
		int64_t left_ns = a->until_ns - clock_mono_ns();
		if (rc != WEIR_ENOTLEADER || a->of == ASK_LEADER_ONCE || left_ns <= 0)
			return rc;
		if (is_hopeless(a)) {
			char name[ASK_NAME_MAX];
			ask_group_name(a->group, name);
			snprintf(reason, QUERY_REASON_MAX, "%s has no leader that this node can reach", name);
			return rc;
		}
		if (progress_pause(a->g->progress, left_ns < GATHER_LOOK_NS ? left_ns : GATHER_LOOK_NS)) {
			snprintf(reason, QUERY_REASON_MAX, "the node is stopping");
			return WEIR_ECLOSED;
		}
		try_next(a);
	}
}

static int finish_any(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	for (;;) {
		int rc = take(a, out, reason);
		if (!rc || clock_mono_ns() >= a->until_ns)
			return rc;
		try_next(a);
		if (a->node < 0)
			return rc;
	}
}

int ask_finish(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	return a->of == ASK_ANY ? finish_any(a, out, reason) : finish_leader(a, out, reason);
}
