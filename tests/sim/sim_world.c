#include "tests/sim/sim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "raft/raft.h"

uint64_t sim_keep_entries, sim_truncate_min;
int64_t sim_outbox_step_max_ns;

#define CHECK_EVERY_NS (2 * NS_PER_SEC)
#define READS_EVERY_NS (200 * NS_PER_MS)
#define CHECKS_AT_REST 3
#define EVENTS_MAX 3000000 /* a run beyond that goes in circles */

const char *sim_mutant_name(enum sim_mutant m)
{
	static const char *const names[MUTANTS] = {"none", "early-ack", "lying-spool", "lying-log", "lying-state", "lost-mark",
	    "lost-deltas", "lost-steps", "ignore-epoch", "eager-report", "double-line", "disk-ack", "vouch", "lost-vote", "no-read-index", "old-number",
	    "early-truncate", "eager-read", "snapshot-ahead", "lost-advance", "lost-clock", "proud-clock", "vain-clock", "outbox-clock",
	    "no-checksum",
	    "early-since", "cold-steps", "endless", "reread", "no-reopen", "deaf-edge", "eager-settled", "sink-failed", "sink-ahead",
	    "alert-stale", "alert-again", "alert-early"};
	return names[m];
}

/* ---- noting -------------------------------------------------------------------------------------------------------- */

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
	if (w->failed)
		return;
	w->failed = true;
	int n = snprintf(w->reason, sizeof(w->reason), "at %.3f s: ", (double)w->now_ns / 1e9);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(w->reason + n, sizeof(w->reason) - (size_t)n, fmt, ap);
	va_end(ap);
	if (w->verbose)
		printf("VIOLATION %s\n", w->reason);
}

void sim_trace(struct sim_world *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sim_hash(w, sim_hash_bytes(text, n > 0 && (size_t)n < sizeof(text) ? (size_t)n : 0));
	if (w->verbose)
		printf("%9.3f %s\n", (double)w->now_ns / 1e9, text);
}

void sim_hash(struct sim_world *w, uint64_t v)
{
	w->trace = sim_mix(w->trace * 31 + v);
}

uint64_t sim_hash_bytes(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = n;
	for (; n >= 8; n -= 8, b += 8) {
		uint64_t v;
		memcpy(&v, b, 8);
		h = (h ^ v) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 32;
	}
	for (; n; n--, b++)
		h = (h ^ *b) * UINT64_C(0x100000001b3);
	return sim_mix(h);
}

void sim_plan_event(struct sim_world *w, enum sim_event_type type, int64_t in_ns, uint32_t who, uint64_t life)
{
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns, .type = type, .who = who, .life = life});
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static void edge_event(struct sim_world *w, const struct sim_event *ev)
{
	struct sim_edge *e = &w->edges[ev->who - w->cloud_count];
	if (ev->life != e->life || !e->exists || e->up == (ev->type == SIM_EDGE_START))
		return;
	if (ev->type == SIM_EDGE_START) {
		sim_edge_start(e);
	} else if (ev->type == SIM_EDGE_FEED) {
		sim_edge_feed(e);
	} else if (ev->arg) {
		e->tick_planned = false;
		sim_edge_tick(e);
	} else {
		sim_plan_event(w, SIM_EDGE_TICK, sim_edge_conf(e)->tick_ns, e->pid, e->life);
		sim_edge_tick(e);
	}
}

static void cloud_event(struct sim_world *w, const struct sim_event *ev)
{
	struct sim_cloud *c = &w->clouds[ev->who];
	if (ev->life != c->life || c->up == (ev->type == SIM_NODE_START))
		return;
	switch (ev->type) {
	case SIM_NODE_START:
		sim_cloud_start(c);
		break;
	case SIM_NODE_TICK:
		sim_plan_event(w, SIM_NODE_TICK, NODE_TICK_MS * NS_PER_MS, c->pid, c->life);
		sim_cloud_tick(c);
		break;
	case SIM_LOG_RUN:
		sim_cloud_log_run(c);
		break;
	case SIM_LOG_DONE:
		sim_cloud_log_done(c, ev->ptr, (int)(int64_t)ev->arg);
		break;
	case SIM_APPLY_RUN:
		sim_cloud_apply_run(c);
		break;
	case SIM_APPLY_DONE:
		sim_cloud_apply_done(c, ev->ptr, (int)(int64_t)ev->arg);
		break;
	case SIM_STATE_COMMIT:
		sim_cloud_state_commit(c);
		break;
	case SIM_STATE_DURABLE:
	case SIM_STATE_ABORTED:
		sim_cloud_state_told(c, ev->type == SIM_STATE_ABORTED, ev->ptr);
		break;
	case SIM_STATE_LOW:
		sim_cloud_low_told(c, ev->arg != 0);
		break;
	case SIM_READ_ASK:
		sim_cloud_read(c, ev->arg);
		break;
	case SIM_READ_RUN:
		sim_read_run(c, ev->arg);
		break;
	case SIM_SINK_TURN:
		sim_sink_turn(c, ev->arg);
		break;
	case SIM_SINK_DONE:
		sim_sink_done(c, ev->arg);
		break;
	case SIM_ALERT_TURN:
		sim_alert_turn(c);
		break;
	case SIM_ALERT_PROPOSE:
		sim_alert_propose(c, ev->ptr);
		break;
	default:
		break;
	}
}

static void check_event(struct sim_world *w)
{
	if (w->now_ns > SIM_FAULTS_NS + SIM_HEAL_MAX_NS)
		sim_fail(w, "%lld s after healing: %s", (long long)(SIM_HEAL_MAX_NS / NS_PER_SEC),
		    w->rest_why[0] ? w->rest_why : "no reader was ever answered");
	else if (w->checks_at_rest >= CHECKS_AT_REST) /* time for what is late to be told: revisions */
		w->done = sim_sink_at_rest(w, w->rest_why, sizeof(w->rest_why)) && sim_alert_at_rest(w, w->rest_why, sizeof(w->rest_why));
	sim_plan_event(w, SIM_CHECK, CHECK_EVERY_NS, 0, 0);
}

int64_t sim_mono_ns(const struct sim_world *w, const struct sim_sleep *s)
{
	int64_t asleep = (w->now_ns < s->until_ns ? w->now_ns : s->until_ns) - s->from_ns;
	return NS_PER_SEC + w->now_ns - s->lost_ns - asleep;
}

void sim_wake(const struct sim_world *w, struct sim_sleep *s)
{
	s->paused_until_ns = 0;
	if (s->until_ns > w->now_ns)
		s->until_ns = w->now_ns;
}

static bool runs_on_cloud(enum sim_event_type t)
{
	return t >= SIM_NODE_TICK && t <= SIM_FRAME && t != SIM_READS && t != SIM_NODE_START;
}

static bool runs_on_edge(enum sim_event_type t)
{
	return t == SIM_EDGE_TICK || t == SIM_EDGE_FEED || t == SIM_FRAME;
}

/* A stopped process finds all that happened meanwhile when it goes on: frames, completions, its ticks. */
static bool put_off(struct sim_world *w, const struct sim_event *ev)
{
	bool cloud = ev->who < w->cloud_count;
	if (cloud ? !runs_on_cloud(ev->type) : !runs_on_edge(ev->type))
		return false;
	const struct sim_cloud *c = &w->clouds[cloud ? ev->who : 0];
	const struct sim_edge *e = &w->edges[cloud ? 0 : ev->who - w->cloud_count];
	const struct sim_sleep *sleep = cloud ? &c->sleep : &e->sleep;
	if (!(cloud ? c->up : e->up) || sleep->paused_until_ns <= w->now_ns ||
	    (ev->type != SIM_FRAME && ev->life != (cloud ? c->life : e->life)))
		return false;
	struct sim_event later = *ev;
	later.at_ns = sleep->paused_until_ns;
	sim_queue_put(&w->queue, later);
	return true;
}

static void take(struct sim_world *w, const struct sim_event *ev)
{
	switch (ev->type) {
	case SIM_EDGE_TICK:
	case SIM_EDGE_FEED:
	case SIM_EDGE_START:
		edge_event(w, ev);
		break;
	case SIM_NODE_TICK:
	case SIM_NODE_START:
	case SIM_LOG_RUN:
	case SIM_LOG_DONE:
	case SIM_APPLY_RUN:
	case SIM_APPLY_DONE:
	case SIM_STATE_COMMIT:
	case SIM_STATE_ABORTED:
	case SIM_STATE_LOW:
	case SIM_READ_ASK:
	case SIM_READ_RUN:
	case SIM_SINK_TURN:
	case SIM_SINK_DONE:
	case SIM_ALERT_TURN:
		cloud_event(w, ev);
		break;
	case SIM_SINK_ARRIVE:
		sim_sink_arrive(w, ev->ptr);
		break;
	case SIM_ALERT_ARRIVE:
		sim_alert_arrive(w, ev->ptr);
		free(ev->ptr);
		break;
	case SIM_READS:
		sim_read_tick(w);
		sim_plan_event(w, SIM_READS, READS_EVERY_NS, 0, 0);
		break;
	case SIM_STATE_DURABLE:
	case SIM_ALERT_PROPOSE:
		cloud_event(w, ev);
		free(ev->ptr);
		break;
	case SIM_FRAME:
		sim_net_deliver(w, ev->ptr);
		break;
	case SIM_FAULT:
	case SIM_FAULT_END:
	case SIM_SCENARIO:
		sim_fault_event(w, ev);
		break;
	case SIM_HEAL:
		sim_fault_heal(w);
		break;
	case SIM_CHECK:
		check_event(w);
		break;
	case SIM_OPERATE:
		sim_operator_run(w);
		break;
	case SIM_EVENT_TYPES:
		break;
	}
}

/* For --verbose: what the clouds and edges say of themselves. */
static void dump_group(struct sim_world *w, uint32_t group)
{
	struct raft_config config = {0};
	bool has = sim_group_config(w, group, &config);
	printf("--- group %u: %zu entries committed; members, of them voters *:", group, w->groups[group].count);
	for (uint32_t i = 0; has && i < config.count; i++)
		printf(" %llx%s", (unsigned long long)config.members[i].id, config.members[i].voter ? "*" : "");
	printf("; configuration written at %llu; placed at", (unsigned long long)w->groups[group].config_written);
	for (uint32_t r = 0; r < sim_replicas(w, group); r++)
		printf(" %u", sim_replica(w, group, r));
	printf("\n");
	for (uint32_t i = 0; i < w->cloud_count; i++) {
		struct group_status s[SIM_GROUPS_MAX];
		if (!w->clouds[i].up)
			continue;
		node_group_statuses(w->clouds[i].node, s);
		printf("cloud %u, member %llx, map %llu: %s role %d term %llu leader %d committed %llu applied %llu last %llu%s%s\n", i,
		    (unsigned long long)w->clouds[i].member, (unsigned long long)w->clouds[i].topology->map_version,
		    s[group].held ? "held" : "not held", s[group].role, (unsigned long long)s[group].term, s[group].leader,
		    (unsigned long long)s[group].committed, (unsigned long long)s[group].applied, (unsigned long long)s[group].last,
		    s[group].fetching ? " fetching" : "", s[group].waits_for);
	}
}

static void dump(struct sim_world *w)
{
	for (uint32_t g = 0; g <= w->topology->shards && w->verbose; g++)
		dump_group(w, g);
	for (uint32_t i = 0; i < w->edge_count && w->verbose; i++) {
		struct buf b = {0};
		if (!w->edges[i].up || !w->edges[i].pipeline)
			continue;
		pipeline_metrics(w->edges[i].pipeline, &b);
		printf("--- edge %u, disk of %llu bytes, limit %llu\n%s", w->edges[i].pid,
		    (unsigned long long)sim_disk_used(w->edges[i].disk),
		    (unsigned long long)sim_edge_conf(&w->edges[i])->disk_bytes, buf_cstr(&b));
		buf_free(&b);
	}
}

/* ---- the whole run ------------------------------------------------------------------------------------------------------ */

static void init(struct sim_world *w, const struct sim_plan *plan)
{
	struct sim_rand r = {sim_mix(plan->seed ^ UINT64_C(0x3041d))};
	w->plan = plan;
	sim_keep_entries = plan->keep_entries;
	sim_truncate_min = plan->truncate_min;
	w->topology = plan->topology;
	sim_outbox_step_max_ns = w->mutant == MUTANT_OUTBOX_CLOCK ? INT64_MAX / 2 : 60 * NS_PER_SEC;
	w->net_rand = sim_fork(&r);
	w->fault_rand = sim_fork(&r);
	w->disk_rand = sim_fork(&r);
	w->proc_rand = sim_fork(&r);
	weir_assert(plan->topology->shards <= SIM_SHARDS_MAX && plan->topology->stream_count <= SIM_STREAMS_MAX);
	w->cloud_count = plan->cloud_count;
	w->last_wiped = w->cloud_count;
	w->edge_count = plan->edge_count;
	for (size_t i = 0; i < STREAMS_MAX; i++)
		w->final_seen[i] = w->since_seen[i] = INT64_MIN;
	sim_versions_begin(w);
	sim_sink_begin(w);
	sim_alert_begin(w);
	for (uint32_t c = 0; c < w->cloud_count; c++)
		sim_cloud_init(w, &w->clouds[c], c);
	for (uint32_t e = 0; e < w->edge_count; e++) {
		sim_edge_init(w, &w->edges[e], w->cloud_count + e, e);
		w->edges[e].exists = w->edges[e].file != NULL;
	}
}

static void start(struct sim_world *w)
{
	for (uint32_t c = 0; c < w->cloud_count; c++)
		if (w->clouds[c].wanted)
			sim_plan_event(w, SIM_NODE_START, sim_range(&w->proc_rand, 0, 3000) * NS_PER_MS, c, 0);
	for (uint32_t e = 0; e < w->edge_count; e++)
		if (w->edges[e].exists)
			sim_plan_event(w, SIM_EDGE_START, sim_range(&w->proc_rand, 0, 3000) * NS_PER_MS, w->cloud_count + e, 0);
	sim_plan_event(w, SIM_CHECK, CHECK_EVERY_NS, 0, 0);
	sim_plan_event(w, SIM_READS, CHECK_EVERY_NS, 0, 0);
	sim_fault_plan(w);
	sim_operator_plan(w);
}

static void run(struct sim_world *w)
{
	struct sim_event ev;
	while (!w->failed && !w->done && sim_queue_take(&w->queue, &ev)) {
		w->now_ns = ev.at_ns;
		w->events++;
		sim_hash(w, (uint64_t)ev.at_ns ^ (uint64_t)ev.type << 56 ^ (uint64_t)ev.who << 48);
		if (!put_off(w, &ev))
			take(w, &ev);
		if (w->events > EVENTS_MAX)
			sim_fail(w, "over %d events", EVENTS_MAX);
	}
	if (!w->failed && w->mutant == MUTANT_NONE)
		weir_assert(w->done);
	if (!w->failed)
		sim_check_end(w);
	if (w->failed)
		dump(w);
}

static void clear(struct sim_world *w)
{
	struct sim_event ev;
	for (uint32_t e = 0; e < SIM_EDGES_MAX + 1; e++)
		if (w->edges[e].w)
			sim_edge_free(&w->edges[e]);
	for (uint32_t c = 0; c < w->cloud_count; c++)
		sim_cloud_free(&w->clouds[c]);
	while (sim_queue_take(&w->queue, &ev))
		if (ev.type == SIM_FRAME)
			sim_net_free_frame(ev.ptr);
		else if (ev.type == SIM_STATE_DURABLE || ev.type == SIM_SINK_ARRIVE || ev.type == SIM_ALERT_PROPOSE || ev.type == SIM_ALERT_ARRIVE)
			free(ev.ptr);
	sim_queue_free(&w->queue);
	topology_free(w->newest);
	sim_group_free(w);
	sim_read_free(w);
	for (size_t e = 0; e < SIM_EDGES_MAX; e++)
		for (size_t s = 0; s < SHARDS_MAX; s++)
			free(w->lanes[e][s].at);
	free(w->conns);
	free(w->grants);
	free(w->finals);
	free(w->watch.at);
	sim_sink_free(w);
	sim_alert_free(w);
	sim_versions_free(w);
}

static void show_plan(const struct sim_plan *p)
{
	printf("%.*s%s\n", (int)p->yaml.len, (const char *)p->yaml.data, p->change_name ? p->change_name : "");
	for (uint32_t i = 0; i < p->change_count; i++) {
		const struct sim_change *c = &p->changes[i];
		printf("--- change %u, from %.1f s on: %s%s\n%.*s", i, (double)c->at_ns / 1e9, sim_deed_text(c->deed),
		    c->refused ? ", and must be refused" : "", (int)c->yaml.len, c->yaml.len ? (const char *)c->yaml.data : "");
	}
}

void sim_world_run(uint64_t seed, enum sim_mutant mutant, bool failover, bool verbose, struct sim_outcome *ret)
{
	*ret = (struct sim_outcome){0};
	char *why = NULL;
	struct sim_plan *plan = sim_plan_new(seed, failover, &why);
	if (!plan) {
		ret->failed = true;
		snprintf(ret->reason, sizeof(ret->reason), "the topology does not load: %s", why);
		free(why);
		return;
	}
	struct sim_world *w = xcalloc(1, sizeof(*w));
	w->mutant = mutant;
	w->verbose = verbose;
	if (verbose)
		show_plan(plan);
	init(w, plan);
	start(w);
	run(w);
	ret->failed = w->failed;
	memcpy(ret->reason, w->reason, sizeof(ret->reason));
	ret->trace = w->trace;
	ret->events = w->events;
	ret->crashes = w->crashes;
	ret->frames = w->frames;
	ret->batches = w->batches;
	ret->lines = plan->line_total;
	ret->rows = w->rows_checked;
	ret->reads = w->answered;
	ret->snapshots = w->snapshots;
	ret->leaders = w->leaders;
	ret->wipes = w->wipes;
	ret->maps = w->maps;
	ret->cuts = w->cuts;
	ret->delivered = w->delivered;
	ret->alerted = w->alerted;
	ret->alert_groups = w->alert_groups;
	ret->failovers = w->failover.count;
	memcpy(ret->failover_ms, w->failover.ms, sizeof(ret->failover_ms));
	ret->virtual_ns = w->now_ns;
	clear(w);
	free(w);
	sim_plan_free(plan);
}
