/* Linearizable readers, as cloudd/serve answers them: a read index from the replica that is asked, then a wait until the
 * durable state covers it, then the rows. One reader after the other sweeps over all shards, for the checks of answers;
 * others only ask any replica of a shard, so that one that wrongly believes to lead is found out. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_answer.h"

#define READ_MAX_NS (3 * NS_PER_SEC)   /* a sweep's: then another replica is asked */
#define PROBE_MAX_NS (40 * NS_PER_SEC) /* any: longer than a process is stopped */
#define ANSWER_MAX_NS (10 * NS_PER_SEC)
#define SWEEP_EVERY_NS (2 * NS_PER_SEC)
#define PROBES 0.4                     /* each tick */

static struct sim_read *read_find(struct sim_world *w, uint64_t context)
{
	for (size_t i = 0; i < SIM_READS_MAX; i++)
		if (w->reads[i].used && w->reads[i].context == context)
			return &w->reads[i];
	return NULL;
}

static void plan_for(struct sim_world *w, enum sim_event_type type, const struct sim_read *r, int64_t in_ns)
{
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns,
	                             .type = type,
	                             .who = r->cloud,
	                             .life = r->life,
	                             .arg = r->context});
}

/* Not answered: a sweep asks again, maybe elsewhere. */
static void read_end(struct sim_world *w, struct sim_read *r)
{
	if (r->sweeps)
		w->sweep.asked[r->shard] = false;
	*r = (struct sim_read){0};
}

static bool read_new(struct sim_world *w, uint32_t cloud, uint32_t shard, bool sweeps)
{
	for (size_t i = 0; i < SIM_READS_MAX; i++) {
		struct sim_read *r = &w->reads[i];
		if (r->used)
			continue;
		*r = (struct sim_read){.used = true,
		    .sweeps = sweeps,
		    .shard = shard,
		    .cloud = cloud,
		    .life = w->clouds[cloud].life,
		    .context = ++w->next_context,
		    .begun_ns = w->now_ns};
		plan_for(w, SIM_READ_ASK, r, sim_range(&w->net_rand, 0, 20) * NS_PER_MS);
		return true;
	}
	return false;
}

static uint32_t some_replica(struct sim_world *w, uint32_t shard)
{
	return sim_replica(w, shard + 1, (uint32_t)sim_below(&w->net_rand, sim_replicas(w, shard + 1)));
}

/* Whom a client would come to in the end: the leader that some node names; sometimes just any replica. */
static uint32_t whom_to_ask(struct sim_world *w, uint32_t shard)
{
	const struct sim_cloud *any = &w->clouds[sim_below(&w->net_rand, w->cloud_count)];
	int leader = any->up && sim_chance(&w->net_rand, 0.8) ? node_leader(any->node, shard + 1) : -1;
	int pid = leader >= 0 ? sim_pid_at(w, any->topology, (uint32_t)leader) : -1;
	return pid >= 0 ? (uint32_t)pid : some_replica(w, shard);
}

static void sweep_begin(struct sim_world *w)
{
	struct sim_sweep *s = &w->sweep;
	if (!s->rows)
		s->rows = xcalloc(SIM_VERSIONS_MAX, sizeof(*s->rows));
	for (uint32_t i = 0; i < w->known->stream_count; i++)
		sim_answer_begin(w, i, &s->rows[i]);
	memset(s->asked, 0, sizeof(s->asked));
	memset(s->done, 0, sizeof(s->done));
	s->under_way = true;
}

static void sweep_end(struct sim_world *w)
{
	struct sim_sweep *s = &w->sweep;
	for (uint32_t i = 0; i < w->known->stream_count; i++)
		sim_answer_merge(w, &s->rows[i]);
	sim_check_finals(w, s->rows);
	bool rest = !w->failed && w->no_faults && sim_check_at_rest(w, s->rows, w->rest_why, sizeof(w->rest_why));
	w->checks_at_rest = rest ? w->checks_at_rest + 1 : 0;
	for (uint32_t i = 0; i < w->known->stream_count; i++)
		sim_rows_free(&s->rows[i]);
	s->under_way = false;
	s->ended_ns = w->now_ns;
}

/* A node answers in the end, though it be that it does not lead. */
static void check_answered(struct sim_world *w, const struct sim_read *r, const struct sim_cloud *c)
{
	int64_t since = r->asked_ns > c->sleep.paused_until_ns ? r->asked_ns : c->sleep.paused_until_ns;
	if (r->asked_ns && !r->granted && w->now_ns - since > ANSWER_MAX_NS)
		sim_fail(w, "cloud %u has not answered a read of shard %u for %lld s", c->pid, r->shard,
		    (long long)(ANSWER_MAX_NS / NS_PER_SEC));
}

static void give_up_late(struct sim_world *w)
{
	for (size_t i = 0; i < SIM_READS_MAX; i++) {
		struct sim_read *r = &w->reads[i];
		const struct sim_cloud *c = &w->clouds[r->cloud];
		if (r->used && c->up && c->life == r->life)
			check_answered(w, r, c);
		if (r->used && (!c->up || c->life != r->life || w->now_ns - r->begun_ns > (r->sweeps ? READ_MAX_NS : PROBE_MAX_NS)))
			read_end(w, r);
	}
}

void sim_read_tick(struct sim_world *w)
{
	struct sim_sweep *s = &w->sweep;
	give_up_late(w);
	if (!s->under_way && w->now_ns - s->ended_ns >= SWEEP_EVERY_NS)
		sweep_begin(w);
	for (uint32_t i = 0; i < w->topology->shards && s->under_way; i++) {
		uint32_t cloud = whom_to_ask(w, i);
		if (!s->done[i] && !s->asked[i] && w->clouds[cloud].up)
			s->asked[i] = read_new(w, cloud, i, true);
	}
	if (sim_chance(&w->net_rand, PROBES) && !w->checks_at_rest) {
		uint32_t shard = (uint32_t)sim_below(&w->net_rand, w->topology->shards), cloud = some_replica(w, shard);
		if (w->clouds[cloud].up)
			read_new(w, cloud, shard, false);
	}
}

/* A mutant: what a new leader knows to be committed may be less than what the one before it has told. */
static bool eager(struct sim_cloud *c, uint32_t group, uint64_t context)
{
	struct group_status status[SIM_GROUPS_MAX];
	node_group_statuses(c->node, status);
	if (status[group].role != REPLICA_LEADER || status[group].serving)
		return false;
	sim_read_told(c, group, context, true, status[group].committed);
	return true;
}

/* The request arrives: what anybody has been told of by now it must see. */
void sim_read_asked(struct sim_cloud *c, uint64_t context)
{
	struct sim_world *w = c->w;
	struct sim_read *r = read_find(w, context);
	if (!r)
		return;
	r->floor = w->read_floor[r->shard];
	r->asked_ns = w->now_ns;
	uint32_t group = r->shard + 1;
	if (w->mutant == MUTANT_NO_READ_INDEX && node_serves(c->node, group))
		sim_read_told(c, group, context, true, c->durable[group]);
	else if (!(w->mutant == MUTANT_EAGER_READ && eager(c, group, context)))
		node_read(c->node, group, context, sim_cloud_time(c));
}

void sim_read_told(struct sim_cloud *c, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct sim_world *w = c->w;
	struct sim_read *r = read_find(w, context);
	if (!r)
		return;
	if (r->cloud != c->pid || r->life != c->life || r->shard + 1 != group || r->granted)
		sim_fail(w, "cloud %u answers a read that it was not asked, or twice", c->pid);
	else if (!ok)
		read_end(w, r);
	else {
		r->granted = true;
		r->index = index;
		if (c->durable[group] >= index)
			plan_for(w, SIM_READ_RUN, r, sim_range(&w->disk_rand, 0, 2 * NS_PER_MS));
	}
}

void sim_read_durable(struct sim_cloud *c)
{
	for (size_t i = 0; i < SIM_READS_MAX; i++) {
		struct sim_read *r = &c->w->reads[i];
		if (r->used && r->granted && r->cloud == c->pid && r->life == c->life && c->durable[r->shard + 1] >= r->index)
			plan_for(c->w, SIM_READ_RUN, r, sim_range(&c->w->disk_rand, 0, 2 * NS_PER_MS));
	}
}

static void sweep_take(struct sim_cloud *c, uint32_t shard)
{
	struct sim_world *w = c->w;
	struct sim_sweep *s = &w->sweep;
	for (uint32_t i = 0; i < w->known->stream_count && !w->failed; i++)
		sim_answer_add(w, c, shard, i, &s->rows[i]);
	if (!w->failed)
		sim_watch_follow(w, c, shard);
	s->done[shard] = true;
	bool all = true;
	for (uint32_t i = 0; i < w->topology->shards; i++)
		all = all && s->done[i];
	if (all && !w->failed)
		sweep_end(w);
}

void sim_read_run(struct sim_cloud *c, uint64_t context)
{
	struct sim_world *w = c->w;
	struct sim_read *r = read_find(w, context);
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	if (!r || kv_begin(c->state, false, &txn))
		return; /* told of twice */
	struct sim_read was = *r;
	int rc = apply_read_group(txn, was.shard + 1, &info);
	kv_abort(txn);
	read_end(w, r);
	if (rc) {
		sim_fail(w, "cloud %u: the state of shard %u: %s", c->pid, was.shard, err_text(rc));
		return;
	}
	if (info.is_void || !info.applied)
		return;
	w->answered++;
	if (info.applied < was.index)
		sim_fail(w, "cloud %u: a reader of shard %u was to wait for entry %llu, and the state is at %llu", c->pid,
		    was.shard, (unsigned long long)was.index, (unsigned long long)info.applied);
	else if (info.applied < was.floor)
		sim_fail(w, "a stale answer: cloud %u, shard %u: the state is at entry %llu, and %llu was told of before it was asked",
		    c->pid, was.shard, (unsigned long long)info.applied, (unsigned long long)was.floor);
	if (w->failed)
		return;
	if (info.applied > w->read_floor[was.shard])
		w->read_floor[was.shard] = info.applied;
	if (was.sweeps && w->sweep.under_way && !w->sweep.done[was.shard])
		sweep_take(c, was.shard);
}

/* Streams have changed: what was read of some shards does not go with what others will answer. */
void sim_read_again(struct sim_world *w)
{
	w->sweep.under_way = false;
	for (uint32_t i = 0; i < SIM_VERSIONS_MAX && w->sweep.rows; i++)
		sim_rows_free(&w->sweep.rows[i]);
}

void sim_read_free(struct sim_world *w)
{
	sim_read_again(w);
	free(w->sweep.rows);
}
