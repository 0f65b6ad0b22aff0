/* What goes wrong, and when. Each kind of fault comes at random times until the world heals. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_world.h"

enum fault {
	FAULT_EDGE_CRASH,
	FAULT_CLOUD_CRASH,
	FAULT_PARTITION,
	FAULT_DISK_FULL,
	FAULT_CLOCK,
	FAULT_STALL,
	FAULT_SLOW_DISK,
	FAULT_SPLIT,
	FAULT_PAUSE,
	FAULT_WIPE,
	FAULT_BAD_CLOCK,
	FAULT_SUSPEND,
	FAULT_DAMAGE,
	FAULTS
};

static int64_t mean_of(const struct sim_plan *p, enum fault f)
{
	switch (f) {
	case FAULT_EDGE_CRASH:
		return p->edge_crash_ns;
	case FAULT_CLOUD_CRASH:
		return p->cloud_crash_ns;
	case FAULT_PARTITION:
		return p->partition_ns;
	case FAULT_DISK_FULL:
		return p->disk_full_ns;
	case FAULT_CLOCK:
		return p->clock_jump_ns;
	case FAULT_STALL:
		return p->stall_ns;
	case FAULT_SLOW_DISK:
		return p->slow_disk_ns;
	case FAULT_SPLIT:
		return p->split_ns;
	case FAULT_PAUSE:
		return p->pause_ns;
	case FAULT_WIPE:
		return p->wipe_ns;
	case FAULT_BAD_CLOCK:
		return p->bad_clock_ns;
	case FAULT_SUSPEND:
		return p->suspend_ns;
	case FAULT_DAMAGE:
		return p->damage_ns;
	case FAULTS:
		break;
	}
	return 0;
}

static void plan_at(struct sim_world *w, enum sim_event_type type, int64_t in_ns, uint32_t who, uint64_t arg)
{
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns, .type = type, .who = who, .arg = arg});
}

static void plan_next(struct sim_world *w, enum fault f)
{
	int64_t mean = mean_of(w->plan, f);
	if (mean)
		plan_at(w, SIM_FAULT, sim_range(&w->fault_rand, mean / 4, mean * 7 / 4), 0, (uint64_t)f);
}

void sim_fault_plan(struct sim_world *w)
{
	for (int f = 0; f < FAULTS; f++)
		plan_next(w, (enum fault)f);
	if (w->plan->scenario != SIM_PLAIN)
		plan_at(w, SIM_SCENARIO, sim_range(&w->fault_rand, 15, 35) * NS_PER_SEC, w->cloud_count + w->plan->scenario_edge, 0);
	w->bad_clock = (uint32_t)sim_below(&w->fault_rand, w->cloud_count + w->edge_count);
	if (w->plan->no_clock_until_ns) {
		struct sim_edge *e = &w->edges[sim_below(&w->fault_rand, w->edge_count)];
		w->bad_clock = e->pid;
		e->skew_ns = 1000 * NS_PER_SEC - SIM_WALL_BASE_NS;
		plan_at(w, SIM_FAULT_END, w->plan->no_clock_until_ns, e->pid, FAULT_CLOCK);
	}
	plan_at(w, SIM_HEAL, SIM_FAULTS_NS, 0, 0);
}

static int64_t down_time(struct sim_world *w)
{
	return sim_chance(&w->fault_rand, 0.8) ? sim_range(&w->fault_rand, 20, 3000) * NS_PER_MS
	                                      : sim_range(&w->fault_rand, 3, 20) * NS_PER_SEC;
}

static struct sim_edge *some_edge(struct sim_world *w)
{
	struct sim_edge *e = &w->edges[sim_below(&w->fault_rand, w->edge_count)];
	return e->exists && e->up ? e : NULL;
}

static void edge_crash(struct sim_world *w)
{
	struct sim_edge *e = some_edge(w);
	if (!e)
		return;
	double u = sim_unit(&w->fault_rand);
	if (u < 0.5) {
		sim_kv_crash_after(e->kv, sim_below(&w->fault_rand, 80));
		return; /* whoever meets it plans the restart */
	}
	if (u < 0.75)
		sim_edge_crash(e);
	else
		sim_edge_stop(e);
	sim_plan_event(w, SIM_EDGE_START, down_time(w), e->pid, e->life);
}

/* Leaders are hit more often than their share: there it hurts. */
static struct sim_cloud *some_cloud(struct sim_world *w)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	uint32_t group = (uint32_t)sim_below(&w->fault_rand, w->topology->shards + 1);
	for (uint32_t i = 0; i < w->cloud_count && sim_chance(&w->fault_rand, 0.5); i++)
		if (w->clouds[i].up && w->clouds[i].serves[group])
			return &w->clouds[i];
	return c;
}

static void cloud_crash(struct sim_world *w)
{
	struct sim_cloud *c = some_cloud(w);
	if (!c->up)
		return;
	double u = sim_unit(&w->fault_rand);
	if (u < 0.3) {
		sim_kv_crash_after(c->log, sim_below(&w->fault_rand, 40));
	} else if (u < 0.6) {
		sim_kv_crash_after(c->state, sim_below(&w->fault_rand, 300));
	} else {
		sim_cloud_crash(c);
		if (!sim_chance(&w->fault_rand, w->plan->stays_down)) /* else it comes back when the world heals */
			sim_plan_event(w, SIM_NODE_START, down_time(w), c->pid, c->life);
	}
}

/* As a user meets it: a process dies, in a healthy cluster, and is started again. */
static void failover_crash(struct sim_world *w)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	for (uint32_t i = 0; i < w->cloud_count; i++)
		if (!w->clouds[i].up)
			return;
	sim_cloud_crash(c);
	sim_plan_event(w, SIM_NODE_START, sim_range(&w->fault_rand, 2000, 6000) * NS_PER_MS, c->pid, c->life);
}

/* Links between clouds break by themselves: who reaches whom is no equivalence. */
static void split(struct sim_world *w)
{
	int cuts = (int)sim_range(&w->fault_rand, 1, 3);
	for (; cuts > 0 && w->cloud_count > 1; cuts--) {
		uint32_t a = (uint32_t)sim_below(&w->fault_rand, w->cloud_count);
		uint32_t b = (a + 1 + (uint32_t)sim_below(&w->fault_rand, w->cloud_count - 1)) % w->cloud_count;
		bool both = sim_chance(&w->fault_rand, 0.6);
		sim_trace(w, "cloud %u does not reach cloud %u%s", a, b, both ? ", nor back" : "");
		w->blocked[a][b] = true;
		w->blocked[b][a] = w->blocked[b][a] || both;
		plan_at(w, SIM_FAULT_END, sim_range(&w->fault_rand, 500, 15000) * NS_PER_MS, a, FAULT_PARTITION);
	}
}

static void pause_cloud(struct sim_world *w)
{
	struct sim_cloud *c = some_cloud(w);
	if (!c->up || c->sleep.paused_until_ns > w->now_ns)
		return;
	c->sleep.paused_until_ns = w->now_ns + sim_range(&w->fault_rand, 200, sim_chance(&w->fault_rand, 0.5) ? 3000 : 25000) * NS_PER_MS;
	sim_trace(w, "cloud %u is stopped for %lld ms", c->pid, (long long)((c->sleep.paused_until_ns - w->now_ns) / NS_PER_MS));
}

static void wipe(struct sim_world *w)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	if (w->last_wiped < w->cloud_count && sim_chance(&w->fault_rand, 0.3))
		c = &w->clouds[w->last_wiped]; /* again, maybe before it has all back */
	if (!c->wanted || !sim_group_may_wipe(w, c) || sim_damage_heals(w, c))
		return;
	w->last_wiped = c->pid;
	if (c->up)
		sim_cloud_crash(c);
	c->life++;
	sim_cloud_wipe(c);
	int64_t down = sim_chance(&w->fault_rand, 0.5) ? sim_range(&w->fault_rand, 5, 300) * NS_PER_MS : down_time(w);
	sim_plan_event(w, SIM_NODE_START, down, c->pid, c->life);
}

/* A mark, or its copy: nothing may be lost. (Of batches and open slices the edge's own tests know what is.) */
static void damage_edge(struct sim_world *w)
{
	struct sim_edge *e = some_edge(w);
	if (!e)
		return;
	sim_edge_crash(e);
	if (sim_damage(e->disk, &w->fault_rand, SPOOL_MARK, 1, false))
		sim_trace(w, "a mark of edge %u is damaged", e->pid);
	sim_plan_event(w, SIM_EDGE_START, down_time(w), e->pid, e->life);
}

/* One at a time, where the others have it all: else it would be loss, which nobody can mend. */
static void damage_cloud(struct sim_world *w)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	bool log = sim_chance(&w->fault_rand, 0.4), unseen = w->mutant == MUTANT_NO_CHECKSUM;
	if (!c->wanted || !sim_group_may_wipe(w, c) || sim_damage_heals(w, c))
		return;
	if (c->up)
		sim_cloud_crash(c);
	c->life++;
	c->damaged = true;
	bool done = log ? !unseen && sim_cloud_damage_log(c)
	                : sim_damage(c->state_disk, &w->fault_rand, STATE_DB_GROUP(0), w->topology->shards + 1, unseen);
	sim_trace(w, "cloud %u: the %s is %s", c->pid, log ? "log" : "state", done ? "damaged" : "spared");
	sim_plan_event(w, SIM_NODE_START, down_time(w), c->pid, c->life);
}

static void damage(struct sim_world *w)
{
	if (sim_chance(&w->fault_rand, 0.4))
		damage_edge(w);
	else
		damage_cloud(w);
}

/* Cuts some links, one-way or both; SIM_FAULT_END opens all links of the process again. */
static void partition(struct sim_world *w)
{
	uint32_t procs = w->cloud_count + w->edge_count;
	uint32_t a = (uint32_t)sim_below(&w->fault_rand, procs);
	bool in = sim_chance(&w->fault_rand, 0.7), out = !in || sim_chance(&w->fault_rand, 0.6);
	bool all = sim_chance(&w->fault_rand, 0.5);
	sim_trace(w, "partition around %u%s%s%s", a, in ? " in" : "", out ? " out" : "", all ? " whole" : "");
	for (uint32_t b = 0; b < procs; b++) {
		if (b == a || (!all && sim_chance(&w->fault_rand, 0.5)))
			continue;
		w->blocked[b][a] = w->blocked[b][a] || in;
		w->blocked[a][b] = w->blocked[a][b] || out;
	}
	plan_at(w, SIM_FAULT_END, sim_range(&w->fault_rand, 500, 15000) * NS_PER_MS, a, FAULT_PARTITION);
}

static void open_links(struct sim_world *w, uint32_t a)
{
	for (uint32_t b = 0; b < SIM_PROCS_MAX; b++)
		w->blocked[a][b] = w->blocked[b][a] = false;
}

static struct sim_disk *disk_of(struct sim_world *w, uint32_t pid, bool log)
{
	if (pid >= w->cloud_count)
		return w->edges[pid - w->cloud_count].disk;
	return log ? w->clouds[pid].log_disk : w->clouds[pid].state_disk;
}

static void disk_full(struct sim_world *w)
{
	uint32_t pid = (uint32_t)sim_below(&w->fault_rand, w->cloud_count + w->edge_count);
	if (pid >= w->cloud_count && !w->edges[pid - w->cloud_count].exists)
		return;
	bool log = sim_chance(&w->fault_rand, 0.5);
	struct sim_disk *d = disk_of(w, pid, log);
	sim_trace(w, "the disk of %u is full", pid);
	sim_disk_limit(d, sim_disk_used(d) + sim_below(&w->fault_rand, 20000));
	sim_disk_full_commits(d, sim_chance(&w->fault_rand, 0.5) ? 0.3 : 0);
	plan_at(w, SIM_FAULT_END, sim_range(&w->fault_rand, 500, 8000) * NS_PER_MS, pid,
	    FAULT_DISK_FULL + (log ? 100 : 0));
}

static void disk_free(struct sim_world *w, uint32_t pid, bool log)
{
	uint64_t size = UINT64_C(1) << 40;
	if (pid >= w->cloud_count) {
		struct sim_edge *e = &w->edges[pid - w->cloud_count];
		if (!e->exists)
			return;
		size = 2 * sim_edge_conf(e)->disk_bytes + (256 << 10);
	}
	sim_disk_limit(disk_of(w, pid, log), size);
	sim_disk_full_commits(disk_of(w, pid, log), 0);
}

static int64_t *skew_of(struct sim_world *w, uint32_t pid)
{
	return pid < w->cloud_count ? &w->clouds[pid].skew_ns : &w->edges[pid - w->cloud_count].skew_ns;
}

#define CLOCK_WRONG_NS (10 * NS_PER_SEC) /* half of max_ahead in sim_plan.c */

/* Further off than half of max_ahead an edge takes any time that its readings say. */
static void note_wrong_clocks(struct sim_world *w)
{
	bool right = false;
	for (uint32_t pid = 0; pid + 1 < w->cloud_count + w->edge_count; pid++) { /* the clone is nobody */
		int64_t skew_ns = *skew_of(w, pid);
		right = right || (skew_ns < CLOCK_WRONG_NS && skew_ns > -CLOCK_WRONG_NS);
	}
	w->time_lost = w->time_lost || !right;
}

/* One machine's, the same one all the time: one bad clock must harm nobody. */
static void bad_clock(struct sim_world *w)
{
	int64_t to[] = {-3600 * NS_PER_SEC, 10 * 86400 * NS_PER_SEC, 1000 * NS_PER_SEC - SIM_WALL_BASE_NS};
	int64_t skew_ns = to[sim_below(&w->fault_rand, 3)];
	sim_trace(w, "the clock of %u is wrong by %lld s", w->bad_clock, (long long)(skew_ns / NS_PER_SEC));
	*skew_of(w, w->bad_clock) = skew_ns;
	note_wrong_clocks(w);
	plan_at(w, SIM_FAULT_END, sim_range(&w->fault_rand, 1, 20) * NS_PER_SEC, w->bad_clock, FAULT_CLOCK);
}

static void suspend(struct sim_world *w)
{
	uint32_t pid = (uint32_t)sim_below(&w->fault_rand, w->cloud_count + w->edge_count);
	struct sim_sleep *s = pid < w->cloud_count ? &w->clouds[pid].sleep : &w->edges[pid - w->cloud_count].sleep;
	int64_t until_ns = w->now_ns + sim_range(&w->fault_rand, 200, sim_chance(&w->fault_rand, 0.5) ? 5000 : 25000) * NS_PER_MS;
	bool machine = sim_chance(&w->fault_rand, 0.6);
	if (s->paused_until_ns > w->now_ns)
		return;
	sim_trace(w, "%u is %s for %lld ms", pid, machine ? "suspended" : "stopped",
	    (long long)((until_ns - w->now_ns) / NS_PER_MS));
	s->paused_until_ns = until_ns;
	if (!machine)
		return;
	s->lost_ns += s->until_ns - s->from_ns;
	s->from_ns = w->now_ns;
	s->until_ns = until_ns;
}

static void clock_jump(struct sim_world *w)
{
	int64_t by = sim_range(&w->fault_rand, -30000, 30000) * NS_PER_MS;
	uint32_t pid = (uint32_t)sim_below(&w->fault_rand, w->cloud_count + w->edge_count);
	sim_trace(w, "the clock of %u jumps by %lld ms", pid, (long long)(by / NS_PER_MS));
	*skew_of(w, pid) += by;
	note_wrong_clocks(w);
	plan_at(w, SIM_FAULT_END, sim_range(&w->fault_rand, 1, 20) * NS_PER_SEC, pid, FAULT_CLOCK);
}

static void clock_right(struct sim_world *w, uint32_t pid)
{
	*skew_of(w, pid) = 0;
}

static void stall(struct sim_world *w)
{
	struct sim_edge *e = some_edge(w);
	if (e)
		e->stalled_until_ns = w->now_ns + sim_range(&w->fault_rand, 500, 15000) * NS_PER_MS;
}

static void slow_disk(struct sim_world *w)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	c->slow_until_ns = w->now_ns + sim_range(&w->fault_rand, 500, 8000) * NS_PER_MS;
}

static void fault_begin(struct sim_world *w, enum fault f)
{
	switch (f) {
	case FAULT_EDGE_CRASH:
		edge_crash(w);
		break;
	case FAULT_CLOUD_CRASH:
		if (w->plan->failover)
			failover_crash(w);
		else
			cloud_crash(w);
		break;
	case FAULT_PARTITION:
		partition(w);
		break;
	case FAULT_DISK_FULL:
		disk_full(w);
		break;
	case FAULT_CLOCK:
		clock_jump(w);
		break;
	case FAULT_STALL:
		stall(w);
		break;
	case FAULT_SLOW_DISK:
		slow_disk(w);
		break;
	case FAULT_SPLIT:
		split(w);
		break;
	case FAULT_PAUSE:
		pause_cloud(w);
		break;
	case FAULT_WIPE:
		wipe(w);
		break;
	case FAULT_BAD_CLOCK:
		bad_clock(w);
		break;
	case FAULT_SUSPEND:
		suspend(w);
		break;
	case FAULT_DAMAGE:
		damage(w);
		break;
	case FAULTS:
		break;
	}
	if (!w->failed)
		plan_next(w, f);
}

void sim_fault_crash(struct sim_world *w, uint32_t cloud, int64_t in_ns)
{
	plan_at(w, SIM_FAULT_END, in_ns, cloud, FAULT_CLOUD_CRASH);
}

static void crash_shortly(struct sim_world *w, struct sim_cloud *c)
{
	if (!c->up || w->no_faults)
		return;
	sim_cloud_crash(c);
	sim_plan_event(w, SIM_NODE_START, sim_range(&w->fault_rand, 5, 200) * NS_PER_MS, c->pid, c->life);
}

static void fault_end(struct sim_world *w, uint32_t who, uint64_t what)
{
	if (what == FAULT_CLOUD_CRASH)
		crash_shortly(w, &w->clouds[who]);
	else if (what == FAULT_PARTITION)
		open_links(w, who);
	else if (what % 100 == FAULT_DISK_FULL)
		disk_free(w, who, what >= 100);
	else if (what == FAULT_CLOCK)
		clock_right(w, who);
}

/* ---- scenarios ------------------------------------------------------------------------------------------------- */

static void copy_history(struct sim_edge *dst, const struct sim_edge *src, size_t count)
{
	dst->log_count = dst->log_cap = count;
	dst->log = xcalloc(count + 1, sizeof(*dst->log));
	if (count)
		memcpy(dst->log, src->log, count * sizeof(*dst->log));
	for (size_t i = 0; i < count; i++)
		dst->log[i].certain = false;
	dst->cut_durable = dst->cut_pending = count;
}

/* The history that the disk holds now. */
static size_t durable_cut(const struct sim_edge *e)
{
	return e->crash_committed && e->cut_pending <= e->log_count ? e->cut_pending : e->cut_durable;
}

/* A second process with a copy of the spool, and the same sources. */
static void clone_edge(struct sim_world *w, struct sim_edge *e)
{
	struct sim_edge *c = &w->edges[w->edge_count];
	if (c->exists)
		return;
	sim_trace(w, "edge %u is cloned", e->pid);
	sim_edge_init(w, c, w->cloud_count + w->edge_count, e->edge);
	sim_disk_free(c->disk);
	c->disk = sim_disk_copy(e->disk);
	c->exists = true;
	sim_edge_disown(e, 0);
	copy_history(c, e, durable_cut(e));
	w->edge_count++;
	sim_edge_start(c);
}

/* The spool as it was some seconds ago. */
static void restore_edge(struct sim_world *w, struct sim_edge *e)
{
	if (!e->backup) {
		sim_trace(w, "edge %u is backed up", e->pid);
		e->backup = sim_disk_copy(e->disk);
		e->backup_cut = durable_cut(e);
		plan_at(w, SIM_SCENARIO, sim_range(&w->fault_rand, 1000, 12000) * NS_PER_MS, e->pid, 1);
		return;
	}
	sim_trace(w, "edge %u is restored from its backup", e->pid);
	if (e->up)
		sim_edge_crash(e);
	e->life++;
	sim_edge_disown(e, 0);
	sim_disk_free(e->disk);
	e->disk = e->backup;
	e->backup = NULL;
	e->crash_committed = false;
	e->cut_durable = e->cut_pending = e->backup_cut;
	sim_plan_event(w, SIM_EDGE_START, down_time(w), e->pid, e->life);
}

/* A new machine under the old name: its sources are new too. */
static void empty_edge(struct sim_world *w, struct sim_edge *e)
{
	sim_trace(w, "edge %u loses its disk", e->pid);
	size_t at[SIM_SOURCES_MAX];
	size_t sources = sim_edge_conf(e)->source_count;
	for (size_t s = 0; s < sources; s++) {
		const struct sim_source *src = &w->plan->sources[e->edge][s];
		at[s] = e->feeds[s].next_line ? src->lines[e->feeds[s].next_line - 1].end : 0;
	}
	if (e->up)
		sim_edge_crash(e);
	e->life++;
	sim_edge_disown(e, 0);
	sim_disk_free(e->disk);
	e->disk = sim_disk_new(SPOOL_DBS, 2 * sim_edge_conf(e)->disk_bytes + (256 << 10));
	e->crash_committed = false;
	e->log_count = e->cut_durable = e->cut_pending = 0;
	for (size_t s = 0; s < sources; s++)
		e->feeds[s].skip_to = at[s];
	sim_plan_event(w, SIM_EDGE_START, down_time(w), e->pid, e->life);
}

static void readmitted(void *arg, enum verdict verdict, uint64_t map_version, const char *reason)
{
	(void)map_version;
	struct sim_edge *e = arg;
	sim_trace(e->w, "readmission of edge %u: %s %s", e->pid, verdict_text(verdict), reason ? reason : "");
	if (verdict != VERDICT_OK)
		e->readmit_asked = false;
}

/* As an operator does: asks for the readmission at any node. */
static void readmit(struct sim_world *w, struct sim_edge *e)
{
	struct sim_cloud *c = &w->clouds[sim_below(&w->fault_rand, w->cloud_count)];
	if (!c->up || c->sleep.paused_until_ns > w->now_ns)
		return;
	e->readmit_asked = true;
	sim_trace(w, "readmission of edge %u is asked for", e->pid);
	sim_edge_disown(e, 0);
	struct msg m = {.type = MSG_READMIT};
	m.readmit.edge = w->plan->edges[e->edge];
	node_ask_meta(c->node, &m, sim_cloud_time(c), readmitted, e);
}

static void scenario(struct sim_world *w, struct sim_edge *e)
{
	switch (w->plan->scenario) {
	case SIM_CLONE:
		clone_edge(w, e);
		break;
	case SIM_RESTORE:
		restore_edge(w, e);
		break;
	case SIM_EMPTY:
		empty_edge(w, e);
		break;
	case SIM_READMIT:
		readmit(w, e);
		break;
	case SIM_PLAIN:
		break;
	}
}

/* After healing: whoever is fenced is readmitted, and restarted as its operator would. */
static void watch_fenced(struct sim_world *w, struct sim_edge *e)
{
	const char *why = NULL;
	if (e->up && pipeline_fenced(e->pipeline, &why)) {
		if (!e->readmit_asked) {
			sim_trace(w, "edge %u is fenced: %s", e->pid, why ? why : "");
			e->was_fenced = true;
			readmit(w, e);
		} else {
			sim_edge_crash(e);
			sim_plan_event(w, SIM_EDGE_START, 100 * NS_PER_MS, e->pid, e->life);
			e->readmit_asked = false; /* where the first was used up by a grant whose answer was lost */
		}
	}
	plan_at(w, SIM_SCENARIO, 3 * NS_PER_SEC, e->pid, 2);
}

void sim_fault_heal(struct sim_world *w)
{
	sim_trace(w, "the world heals");
	w->no_faults = true;
	memset(w->blocked, 0, sizeof(w->blocked));
	struct sim_edge *clone = &w->edges[w->plan->edge_count];
	if (clone->exists && clone->up)
		sim_edge_crash(clone);
	if (clone->exists) {
		clone->exists = false;
		clone->life++;
	}
	for (uint32_t c = 0; c < w->cloud_count; c++) {
		disk_free(w, c, true);
		disk_free(w, c, false);
		w->clouds[c].slow_until_ns = w->clouds[c].skew_ns = 0;
		sim_disk_lie(w->clouds[c].log_disk, false);
		sim_disk_lie(w->clouds[c].state_disk, false);
		if (!w->clouds[c].wanted)
			continue;
		if (!w->clouds[c].up) {
			w->clouds[c].life++;
			sim_plan_event(w, SIM_NODE_START, sim_range(&w->fault_rand, 10, 1000) * NS_PER_MS, c, w->clouds[c].life);
		} else {
			sim_kv_crash_after(w->clouds[c].log, UINT64_MAX);
			sim_kv_crash_after(w->clouds[c].state, UINT64_MAX);
		}
	}
	for (uint32_t i = 0; i < w->plan->edge_count; i++) {
		struct sim_edge *e = &w->edges[i];
		disk_free(w, e->pid, false);
		e->skew_ns = e->stalled_until_ns = 0;
		sim_disk_lie(e->disk, false);
		if (!e->exists)
			continue;
		if (!e->up) {
			e->life++;
			sim_plan_event(w, SIM_EDGE_START, sim_range(&w->fault_rand, 10, 1000) * NS_PER_MS, e->pid, e->life);
		} else {
			sim_kv_crash_after(e->kv, UINT64_MAX);
		}
	}
	if (w->plan->scenario != SIM_PLAIN)
		plan_at(w, SIM_SCENARIO, 2 * NS_PER_SEC, w->cloud_count + w->plan->scenario_edge, 2);
}

void sim_fault_event(struct sim_world *w, const struct sim_event *ev)
{
	if (ev->type == SIM_FAULT && !w->no_faults)
		fault_begin(w, (enum fault)ev->arg);
	else if (ev->type == SIM_FAULT_END)
		fault_end(w, ev->who, ev->arg);
	else if (ev->type == SIM_SCENARIO && ev->arg == 2)
		watch_fenced(w, &w->edges[ev->who - w->cloud_count]);
	else if (ev->type == SIM_SCENARIO && !w->no_faults)
		scenario(w, &w->edges[ev->who - w->cloud_count]);
}
