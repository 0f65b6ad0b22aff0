/* Sinks: the real emitters of each cloud (cloudd/emit, serve_read, serve_sink, the leader's places and what apply keeps of them) and a
 * receiver of each sink, which keeps the highest (revision, state) of each window, as docs/sinks.md tells it to. In the end it must have
 * what the shards have, whatever was killed, cut off or moved meanwhile, and nothing may have been deleted undelivered.
 *
 * A turn asks for a read index of every shard that the cloud leads; once these are durable in its state, the emitter collects: what
 * cloudd/progress would make it wait for is there, or is refused. Of a batch, all, some or nothing arrives, sooner or later, and
 * whether the emitter hears of it is another matter; so it is with one whose cloud dies meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/emit_alerts.h"
#include "cloudd/serve_parts.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/sim/sim_alert.h"
#include "tests/sim/sim_answer.h"

#define SINKS 2 /* the world's first topology has both: all that closes, and what is final; they may go and come back */
#define GROUP_BYTES_MAX 128
#define TURN_MIN_NS (40 * NS_PER_MS)
#define TURN_MAX_NS (250 * NS_PER_MS)
#define WAIT_MAX_NS (4 * NS_PER_SEC) /* for read indexes, as SERVE_WAIT_NS */
#define FAILS 0.25
#define CONTEXT (UINT64_C(1) << 62) /* of our reads: sim_read.c's are below */

/* A row as a receiver has it. */
struct got {
	bool used;
	uint8_t sink, group_len;
	uint32_t shard, stream; /* version: its place in the world's topology */
	int64_t start_ns, size_ns;
	uint8_t group[GROUP_BYTES_MAX];
	enum window_state state;
	uint64_t revision, digest;
};

/* On its way to the receiver. */
struct delivery {
	size_t count;
	struct got rows[];
};

struct asked {
	bool waits, granted;
	uint64_t index;
};

/* Of one cloud and sink. */
struct sim_emitter {
	struct sim_cloud *cloud;
	const struct sink_conf *conf;
	struct serve serve;
	struct emit *emit; /* NULL: the cloud's topology has no such sink */
	struct emit_alerts *alerts; /* NULL: likewise, or the world has none */
	uint64_t context; /* of the turn under way; 0: none */
	int64_t begun_ns;
	struct asked shards[SIM_SHARDS_MAX];
	bool delivering;
	bool telling;    /* ... alerts */
	bool rows_first; /* alerts were tried last, in vain */
};

struct sim_sinks {
	struct sim_emitter at[SINKS];
};

struct sim_receivers {
	struct sim_rand rand;
	struct got *rows; /* a hash table */
	size_t count, cap;
	uint64_t contexts;
};

/* ---- in place of cloudd/progress: a struct progress is an emitter here ------------------------------------------------- */

static struct sim_emitter *emitter_of(struct progress *p)
{
	return (struct sim_emitter *)p;
}

uint64_t progress_durable(struct progress *p, uint32_t group)
{
	return emitter_of(p)->cloud->durable[group];
}

uint64_t progress_committed(struct progress *p, uint32_t group)
{
	(void)p, (void)group;
	return 0; /* the node's own word is as good */
}

int progress_read_index(struct progress *p, uint32_t group, int64_t timeout_ns, uint64_t *ret_index)
{
	const struct asked *a = &emitter_of(p)->shards[group - 1];
	(void)timeout_ns;
	if (!a->granted)
		return a->waits ? WEIR_ETIMEOUT : WEIR_ENOTLEADER;
	*ret_index = a->index;
	return 0;
}

int progress_wait(struct progress *p, uint32_t group, uint64_t index, int64_t timeout_ns)
{
	(void)timeout_ns;
	return emitter_of(p)->cloud->durable[group] >= index ? 0 : WEIR_ETIMEOUT;
}

/* ---- receivers ---------------------------------------------------------------------------------------------------------- */

static struct got *slot(struct sim_receivers *r, const struct got *k)
{
	uint64_t h = sim_mix(sim_hash_bytes(k->group, k->group_len) ^ sim_mix((uint64_t)k->start_ns ^ k->stream << 16 ^ k->shard << 8 ^ k->sink));
	for (size_t i = h & (r->cap - 1);; i = (i + 1) & (r->cap - 1)) {
		struct got *g = &r->rows[i];
		if (!g->used || (g->sink == k->sink && g->shard == k->shard && g->stream == k->stream && g->start_ns == k->start_ns &&
		                    g->size_ns == k->size_ns && g->group_len == k->group_len && !memcmp(g->group, k->group, k->group_len)))
			return g;
	}
}

static void grow(struct sim_receivers *r)
{
	if (2 * r->count < r->cap)
		return;
	struct got *old = r->rows;
	size_t n = r->cap;
	r->cap = n ? 2 * n : 1024;
	r->rows = xcalloc(r->cap, sizeof(*r->rows));
	for (size_t i = 0; i < n; i++)
		if (old[i].used)
			*slot(r, &old[i]) = old[i];
	free(old);
}

static void receive(struct sim_world *w, const struct got *g)
{
	struct sim_receivers *r = w->receivers;
	grow(r);
	struct got *have = slot(r, g);
	r->count += !have->used;
	if (!have->used || g->revision > have->revision || (g->revision == have->revision && g->state >= have->state))
		*have = *g;
	w->delivered++;
}

void sim_sink_arrive(struct sim_world *w, void *delivery)
{
	struct delivery *d = delivery;
	for (size_t i = 0; i < d->count; i++)
		receive(w, &d->rows[i]);
	free(d);
}

/* ---- emitters ------------------------------------------------------------------------------------------------------------ */

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void tell_places(void *arg, uint32_t shard, const struct entry_place *places, size_t count)
{
	struct sim_emitter *e = arg;
	struct entry_place p = places[0];
	weir_assert(count == 1);
	if (e->cloud->w->mutant == MUTANT_SINK_AHEAD && e->cloud->applied[shard + 1] > p.index)
		p.index = e->cloud->applied[shard + 1];
	node_sinks(e->cloud->node, shard, &p, 1);
}

static void plan(struct sim_emitter *e, enum sim_event_type type, int64_t in_ns, uint64_t arg)
{
	struct sim_cloud *c = e->cloud;
	uint64_t sink = (uint64_t)(e - c->sinks->at);
	sim_queue_put(&c->w->queue, (struct sim_event){.at_ns = c->w->now_ns + in_ns, .type = type, .who = c->pid, .life = c->life, .arg = sink << 1 | arg});
}

static void plan_turn(struct sim_emitter *e)
{
	plan(e, SIM_SINK_TURN, sim_range(&e->cloud->w->receivers->rand, TURN_MIN_NS, TURN_MAX_NS), 0);
}

void sim_sink_start(struct sim_cloud *c)
{
	const struct topology *t = c->w->plan->topology;
	if (!t->sink_count)
		return;
	weir_assert(t->sink_count == SINKS);
	c->sinks = xcalloc(1, sizeof(*c->sinks));
	for (size_t i = 0; i < SINKS; i++) {
		struct sim_emitter *e = &c->sinks->at[i];
		e->cloud = c;
		e->conf = &t->sinks[i];
		e->serve = (struct serve){.groups = topology_groups(t), .o = {.state = c->state, .node = c->node, .progress = (struct progress *)e}};
		plan_turn(e);
	}
}

static void begin(struct sim_emitter *e)
{
	struct sim_cloud *c = e->cloud;
	struct emit_options o = {.conf = e->conf, .serve = &e->serve, .node = c->node, .progress = (struct progress *)e, .arg = e,
	    .places = tell_places, .stopping = never};
	e->emit = emit_new(&o);
	e->alerts = c->w->plan->alerts ? emit_alerts_new(&o) : NULL;
}

static void end(struct sim_emitter *e)
{
	emit_free(e->emit);
	emit_alerts_free(e->alerts);
	e->emit = NULL;
	e->alerts = NULL;
}

/* As cloudd/sinks does with its thread. False: there is no such sink now. */
static bool follow_topology(struct sim_emitter *e)
{
	struct sim_cloud *c = e->cloud;
	bool wanted = topology_sink(c->topology, e->conf->name) >= 0;
	if (!wanted && e->emit) {
		end(e);
		e->context = 0;
	}
	if (wanted && !e->emit)
		begin(e);
	return wanted;
}

void sim_sink_stop(struct sim_cloud *c)
{
	for (size_t i = 0; c->sinks && i < SINKS; i++)
		end(&c->sinks->at[i]);
	free(c->sinks);
	c->sinks = NULL;
}

/* ---- a turn --------------------------------------------------------------------------------------------------------------- */

/* True: the cloud is still up. */
static bool ask(struct sim_emitter *e)
{
	struct sim_cloud *c = e->cloud;
	struct sim_world *w = c->w;
	uint64_t life = c->life;
	e->context = CONTEXT | ++w->receivers->contexts;
	e->begun_ns = w->now_ns;
	memset(e->shards, 0, sizeof(e->shards));
	for (uint32_t s = 0; s < w->topology->shards; s++) {
		if (!node_serves(c->node, s + 1))
			continue;
		e->shards[s].waits = true;
		node_read(c->node, s + 1, e->context, sim_cloud_time(c));
	}
	sim_cloud_turn(c);
	return c->up && c->life == life;
}

bool sim_sink_told(struct sim_cloud *c, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	for (size_t i = 0; c->sinks && i < SINKS; i++) {
		struct sim_emitter *e = &c->sinks->at[i];
		if (e->context == context && group)
			e->shards[group - 1] = (struct asked){.granted = ok, .index = index};
	}
	return context & CONTEXT;
}

static bool is_answered(const struct sim_emitter *e)
{
	bool all = true;
	for (uint32_t s = 0; s < e->cloud->w->topology->shards; s++) {
		const struct asked *a = &e->shards[s];
		all = all && !a->waits && (!a->granted || e->cloud->durable[s + 1] >= a->index);
	}
	return all || e->cloud->w->now_ns - e->begun_ns > WAIT_MAX_NS;
}

static struct got got_of(struct sim_world *w, size_t sink, const struct sink_row *r)
{
	struct buf b = {0};
	int at = topology_stream_version_of(w->known, r->stream->name, r->stream->version);
	weir_assert(at >= 0 && r->row.group.n <= GROUP_BYTES_MAX);
	partial_encode(&r->row.partial, r->spec, &b);
	struct got g = {.used = true, .sink = (uint8_t)sink, .shard = r->shard, .stream = (uint32_t)at, .start_ns = r->row.start_ns,
	    .size_ns = r->row.end_ns - r->row.start_ns, .group_len = (uint8_t)r->row.group.n, .state = r->row.state, .revision = r->row.revision,
	    .digest = sim_hash_bytes(b.data, b.len)};
	if (g.group_len)
		memcpy(g.group, r->row.group.p, g.group_len);
	buf_free(&b);
	return g;
}

static void send(struct sim_world *w, size_t sink, const struct sink_batch *b, size_t count, int64_t in_ns)
{
	struct delivery *d = xcalloc(1, sizeof(*d) + count * sizeof(d->rows[0]));
	for (; d->count < count; d->count++) {
		d->rows[d->count] = got_of(w, sink, &b->rows[d->count]);
		if (d->rows[d->count].state == WINDOW_OPEN || (d->rows[d->count].state != WINDOW_FINAL && sink))
			sim_fail(w, "sink %zu is given a window that it does not take, at %lld s", sink, sim_seconds(d->rows[d->count].start_ns));
	}
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns, .type = SIM_SINK_ARRIVE, .ptr = d});
}

/* Of rows, or of alerts. */
static void deliver(struct sim_emitter *e, const struct sink_batch *b, const struct sink_alerts *alerts)
{
	struct sim_world *w = e->cloud->w;
	struct sim_rand *r = &w->receivers->rand;
	size_t sink = (size_t)(e - e->cloud->sinks->at), count = b ? b->count : alerts->count;
	bool fine = w->no_faults || !sim_chance(r, FAILS);
	bool slow = !w->no_faults && sim_chance(r, 0.1);
	int64_t in_ns = sim_range(r, NS_PER_MS, slow ? 6 * NS_PER_SEC : 100 * NS_PER_MS);
	size_t arrive = fine ? count : sim_chance(r, 0.5) ? 0 : (size_t)sim_below(r, count + 1);
	if (arrive && b)
		send(w, sink, b, arrive, in_ns);
	else if (arrive)
		sim_alert_send(w, sink, alerts, arrive, in_ns);
	e->delivering = true;
	e->telling = !b;
	plan(e, SIM_SINK_DONE, in_ns + sim_range(r, 1, 50 * NS_PER_MS), fine);
}

void sim_sink_done(struct sim_cloud *c, uint64_t arg)
{
	struct sim_emitter *e = &c->sinks->at[arg >> 1];
	bool fine = arg & 1;
	bool counts = fine || c->w->mutant == MUTANT_SINK_FAILED;
	if (counts && e->telling)
		emit_alerts_delivered(e->alerts);
	else if (counts)
		emit_delivered(e->emit);
	else if (!e->telling)
		emit_discard(e->emit);
	e->rows_first = e->telling && !fine;
	e->delivering = e->telling = false;
	plan_turn(e);
}

/* Alerts go first, as in cloudd/sinks. */
static bool collect_alerts(struct sim_emitter *e)
{
	struct sink_alerts alerts;
	if (!e->alerts || e->rows_first || !emit_alerts_collect(e->alerts, &alerts))
		return false;
	e->context = 0;
	memset(e->shards, 0, sizeof(e->shards));
	sim_hash(e->cloud->w, alerts.count);
	deliver(e, NULL, &alerts);
	return true;
}

static void collect(struct sim_emitter *e)
{
	struct sink_batch b;
	struct emit_figures f;
	if (collect_alerts(e))
		return;
	e->rows_first = false;
	bool any = emit_collect(e->emit, &b);
	e->context = 0;
	memset(e->shards, 0, sizeof(e->shards));
	emit_measure(e->emit, sim_wall_ns(e->cloud->w), &f);
	if (e->alerts)
		emit_alerts_measure(e->alerts, sim_wall_ns(e->cloud->w), &f);
	if (f.resets)
		sim_fail(e->cloud->w, "cloud %u: rows, or events, of sink %td were deleted before they were delivered", e->cloud->pid, e - e->cloud->sinks->at);
	sim_hash(e->cloud->w, any ? b.count : 0);
	if (any)
		deliver(e, &b, NULL);
	else
		plan_turn(e);
}

void sim_sink_turn(struct sim_cloud *c, uint64_t arg)
{
	struct sim_emitter *e = &c->sinks->at[arg >> 1];
	if (!follow_topology(e)) {
		plan_turn(e);
	} else if (!e->context) {
		if (ask(e))
			plan(e, SIM_SINK_TURN, NS_PER_MS, 0);
	} else if (is_answered(e)) {
		collect(e);
	} else {
		plan(e, SIM_SINK_TURN, 10 * NS_PER_MS, 0);
	}
}

/* ---- the end --------------------------------------------------------------------------------------------------------------- */

/* The receiver has the row as it is. */
static bool has(struct sim_world *w, size_t sink, uint32_t shard, uint32_t stream, const struct sim_row *r, const struct partial_spec *spec)
{
	const struct stream_conf *s = &w->known->streams[stream];
	struct buf b = {0};
	struct got k = {.sink = (uint8_t)sink, .shard = shard, .stream = stream, .start_ns = r->start_ns, .size_ns = s->size_ns, .group_len = (uint8_t)r->group.n};
	if (r->group.n)
		memcpy(k.group, r->group.p, r->group.n);
	grow(w->receivers);
	const struct got *g = slot(w->receivers, &k);
	partial_encode(&r->partial, spec, &b);
	bool same = g->used && g->revision == r->revision && g->state == r->state && g->digest == sim_hash_bytes(b.data, b.len);
	buf_free(&b);
	if (!same && w->verbose)
		sim_trace(w, "sink %zu, shard %u, stream %s at %lld s: has revision %llu state %d, must be %llu, %d%s", sink, shard, s->name,
		    sim_seconds(r->start_ns), g->used ? (unsigned long long)g->revision : 0, g->used ? (int)g->state : -1,
		    (unsigned long long)r->revision, (int)r->state, g->used && g->revision == r->revision && g->state == r->state ? ", other values" : "");
	return same;
}

/* In the end. */
static bool is_there(const struct sim_world *w, size_t sink)
{
	return topology_sink(sim_topology(w), w->topology->sinks[sink].name) >= 0;
}

static bool has_all(struct sim_world *w, uint32_t shard, uint32_t stream, char *why, size_t size)
{
	struct sim_rows rows;
	bool all = true;
	sim_answer_begin(w, stream, &rows);
	bool kept = sim_versions_least_retain(w, stream) == RETAIN_FOREVER && !w->watch.other_windows[stream];
	if (kept && !sim_answer_add(w, sim_answer_replica(w, shard), shard, stream, &rows))
		all = false;
	for (size_t i = 0; all && i < rows.count; i++) {
		const struct sim_row *r = &rows.rows[i];
		all = (r->state == WINDOW_OPEN || !is_there(w, 0) || has(w, 0, shard, stream, r, &rows.spec)) &&
		    (r->state != WINDOW_FINAL || !is_there(w, 1) || has(w, 1, shard, stream, r, &rows.spec));
		if (!all)
			snprintf(why, size, "shard %u, stream %s, version %u: a sink's receiver has not what the window at %lld s of a group came to",
			    shard, w->known->streams[stream].name, w->known->streams[stream].version, sim_seconds(r->start_ns));
	}
	sim_rows_free(&rows);
	return all;
}

bool sim_sink_at_rest(struct sim_world *w, char *why, size_t size)
{
	bool all = true;
	for (uint32_t shard = 0; w->topology->sink_count && all && shard < w->topology->shards; shard++)
		for (uint32_t s = 0; all && s < w->known->stream_count && !w->failed; s++)
			all = has_all(w, shard, s, why, size);
	return all;
}

void sim_sink_begin(struct sim_world *w)
{
	w->receivers = xcalloc(1, sizeof(*w->receivers));
	w->receivers->rand = (struct sim_rand){sim_mix(w->plan->seed ^ UINT64_C(0x51d4))};
}

void sim_sink_free(struct sim_world *w)
{
	free(w->receivers->rows);
	free(w->receivers);
}
