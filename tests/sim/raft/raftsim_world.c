/* One seed from beginning to end. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/raft/raftsim.h"

bool rs_blind;

void rs_fail(struct rs_world *w, const char *format, ...)
{
	char text[200];
	if (w->out->failed)
		return;
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	w->out->failed = true;
	snprintf(w->out->reason, sizeof(w->out->reason), "at %.3f s: %s", (double)w->now / 1e6, text);
	rs_say(w, "FAILED: %s", text);
}

void rs_say(struct rs_world *w, const char *format, ...)
{
	if (!w->verbose)
		return;
	va_list ap;
	printf("%10.4f ", (double)w->now / 1e6);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void found_groups(struct rs_world *w)
{
	for (uint32_t n = 0; n < w->plan.nodes; n++)
		rs_node_new(w);
	/* Some groups leave a node out, a spare to add. */
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_group *group = &w->groups[g];
		uint32_t voters = (uint32_t)rs_between(&w->fault_rand, 3, w->plan.nodes);
		for (uint32_t n = 0; n < voters; n++)
			raft_config_add(&group->config, n + 1, true);
		group->goal = voters;
		for (uint32_t n = 0; n < voters; n++)
			rs_disk_found(&rs_replica(w, n, g)->disk, &group->config);
		rs_oracle_reset(&group->oracle);
	}
	for (uint32_t n = 0; n < w->plan.nodes; n++)
		rs_node_start(w, n);
}

static void begin(struct rs_world *w, uint64_t seed, bool verbose)
{
	struct sim_rand r = {sim_mix(seed + UINT64_C(0x9e3779b97f4a7c15))};
	w->seed = seed;
	w->verbose = verbose;
	rs_plan_make(&w->plan, seed);
	w->net_rand = sim_fork(&r);
	w->disk_rand = sim_fork(&r);
	w->client_rand = sim_fork(&r);
	w->fault_rand = sim_fork(&r);
	w->node_rand = sim_fork(&r);
	w->calm = RS_RECOVERING;
	rs_net_clear(w);
	found_groups(w);
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		rs_queue_put(&w->queue, rs_between(&w->client_rand, 1, RS_S), RS_EV_CLIENT, g, 0);
		rs_queue_put(&w->queue, rs_between(&w->client_rand, 1, 5 * RS_S), RS_EV_OPERATOR, g, 0);
	}
	rs_queue_put(&w->queue, 2 * RS_S, RS_EV_FAULT, 0, 0);
}

/* Keeps only what is expensive to make. */
static void clear(struct rs_world *w)
{
	for (uint32_t n = 0; n < RS_NODES_MAX; n++) {
		for (uint32_t g = 0; g < RS_GROUPS_MAX; g++) {
			struct rs_replica *r = rs_replica(w, n, g);
			raft_free(r->raft);
			struct rs_disk disk = r->disk;
			rs_disk_clear(&disk);
			memset(r, 0, sizeof(*r));
			r->disk = disk;
		}
	}
	rs_net_clear(w);
	memset(w->nodes, 0, sizeof(w->nodes));
	memset(w->cut_until, 0, sizeof(w->cut_until));
	for (uint32_t g = 0; g < RS_GROUPS_MAX; g++) {
		struct rs_oracle o = w->groups[g].oracle;
		memset(&w->groups[g], 0, sizeof(w->groups[g]));
		w->groups[g].oracle = o;
	}
	w->queue.count = 0;
	w->queue.order = 0;
	w->now = w->late_until = w->weather_until = w->burst_until = w->next_value = w->calm_since = 0;
	w->node_count = w->calm_node = 0;
	w->healing = w->clients_stopped = w->reads_only = false;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void replica_event(struct rs_world *w, const struct rs_event *e)
{
	struct rs_replica *r = &w->replicas[e->which];
	struct rs_node *node = &w->nodes[r->node];
	if (node->life != e->life)
		return;
	if (node->paused_until > w->now) {
		rs_queue_put(&w->queue, node->paused_until, (enum rs_event_kind)e->kind, e->which, e->life);
		return;
	}
	switch ((enum rs_event_kind)e->kind) {
	case RS_EV_WRITTEN:
		rs_replica_written(r);
		break;
	case RS_EV_TURN:
		rs_replica_turn(r);
		break;
	case RS_EV_RETELL:
		rs_net_retell(r);
		break;
	case RS_EV_FLUSHED:
		rs_snapshot_flushed(r);
		break;
	case RS_EV_FETCHED:
		rs_snapshot_fetched(r);
		break;
	case RS_EV_INSTALLED:
		rs_snapshot_installed(r);
		break;
	case RS_EV_TICK:
	case RS_EV_RESTART:
	case RS_EV_LOST:
	case RS_EV_MESSAGE:
	case RS_EV_CLIENT:
	case RS_EV_OPERATOR:
	case RS_EV_FAULT:
	case RS_EV_HEAL:
		break;
	}
}

static void tick(struct rs_world *w, const struct rs_event *e)
{
	struct rs_node *node = &w->nodes[e->which];
	if (node->life != e->life)
		return;
	if (node->paused_until > w->now)
		rs_queue_put(&w->queue, node->paused_until, RS_EV_TICK, e->which, e->life);
	else
		rs_node_tick(w, e->which);
}

/* Numbers from RS_GROUPS_MAX on: a turn out of turn. */
static void client(struct rs_world *w, uint32_t which)
{
	if (which < RS_GROUPS_MAX)
		rs_client_turn(w, which);
	else
		rs_client_extra(w, which - RS_GROUPS_MAX);
}

static void lost(struct rs_world *w, const struct rs_event *e)
{
	struct rs_replica *r = &w->replicas[e->which / RS_NODES_MAX];
	const struct rs_node *node = &w->nodes[r->node];
	if (node->life != e->life || node->paused_until > w->now)
		return;
	raft_unreachable(r->raft, e->which % RS_NODES_MAX + 1);
	rs_replica_input(r);
}

static void happen(struct rs_world *w, const struct rs_event *e)
{
	switch ((enum rs_event_kind)e->kind) {
	case RS_EV_TICK:
		tick(w, e);
		break;
	case RS_EV_RESTART:
		if (w->nodes[e->which].life == e->life)
			rs_node_start(w, e->which);
		break;
	case RS_EV_LOST:
		lost(w, e);
		break;
	case RS_EV_MESSAGE:
		rs_net_deliver(w, e->which);
		break;
	case RS_EV_WRITTEN:
	case RS_EV_TURN:
	case RS_EV_FLUSHED:
	case RS_EV_FETCHED:
	case RS_EV_INSTALLED:
	case RS_EV_RETELL:
		replica_event(w, e);
		break;
	case RS_EV_CLIENT:
		client(w, e->which);
		break;
	case RS_EV_OPERATOR:
		rs_operator_turn(w, e->which);
		break;
	case RS_EV_FAULT:
		rs_fault_turn(w);
		break;
	case RS_EV_HEAL:
		rs_heal_turn(w);
		break;
	}
}

static void say_replica(struct rs_world *w, const struct rs_replica *r)
{
	static const char roles[] = "fpcL";
	struct raft_status s;
	if (!r->raft)
		return;
	raft_status(r->raft, &s);
	printf("  group %u member %2u: %c term %llu vote %llu leader %llu log %llu..%llu durable %llu commit "
	       "%llu applied %llu%s%s;",
	    r->group, r->node + 1, roles[s.role], (unsigned long long)s.term, (unsigned long long)s.vote,
	    (unsigned long long)s.leader, (unsigned long long)s.base, (unsigned long long)s.last,
	    (unsigned long long)s.durable, (unsigned long long)s.commit, (unsigned long long)s.applied,
	    s.state_void ? ", void" : "", s.config_pending ? ", change pending" : "");
	for (uint32_t i = 0; i < s.config.count; i++) {
		uint64_t id = s.config.members[i].id;
		printf(" %llu%s%s", (unsigned long long)id, s.config.members[i].voter ? "" : "-learner",
		    id <= w->node_count && w->nodes[id - 1].lost ? "-lost" : "");
	}
	putchar('\n');
}

static void say_all(struct rs_world *w)
{
	for (uint32_t g = 0; g < w->plan.groups; g++)
		for (uint32_t n = 0; n < w->node_count; n++)
			say_replica(w, rs_replica(w, n, g));
}

static void sum_up(struct rs_world *w)
{
	struct raft_counters c;
	for (size_t i = 0; i < RS_REPLICAS_MAX; i++) {
		if (!w->replicas[i].raft)
			continue;
		raft_counters(w->replicas[i].raft, &c);
		w->out->truncated += c.truncated;
	}
	w->out->virtual_us = w->now;
}

void rs_world_run(uint64_t seed, bool verbose, struct rs_outcome *ret_outcome)
{
	static struct rs_world w;
	struct rs_event e;
	memset(ret_outcome, 0, sizeof(*ret_outcome));
	w.out = ret_outcome;
	clear(&w);
	begin(&w, seed, verbose);
	while (!w.out->failed && w.calm != RS_DONE && rs_queue_take(&w.queue, &e)) {
		w.now = e.at;
		w.out->events++;
		happen(&w, &e);
		if (w.now > RS_END_MAX)
			rs_fail(&w, "the seed does not end");
	}
	if (verbose && w.out->failed)
		say_all(&w);
	sum_up(&w);
}
