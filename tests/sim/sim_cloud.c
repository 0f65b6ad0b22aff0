/* A cloudd: the real node and apply on simulated disks. The log writer and the state writer of the daemon are two
 * queues of jobs here, run at random later times. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_world.h"

#define STATE_COMMIT_MAX_NS (200 * NS_PER_MS)
#define CLOUD_DISK_BYTES (UINT64_C(1) << 40)

static void cloud_died(struct sim_cloud *c);

static bool zombie(const struct sim_cloud *c)
{
	return !c->up || sim_kv_dead(c->log) || sim_kv_dead(c->state);
}

struct node_time sim_cloud_time(const struct sim_cloud *c)
{
	return (struct node_time){SIM_WALL_BASE_NS + c->w->now_ns + c->skew_ns, NS_PER_SEC + c->w->now_ns};
}

static int64_t job_delay(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	int64_t max = w->now_ns < c->slow_until_ns ? 500 * NS_PER_MS : 8 * NS_PER_MS;
	return sim_range(&w->disk_rand, 50000, max);
}

/* ---- what the node asks for ------------------------------------------------------------------------------------ */

static bool cloud_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	return !zombie(c) && sim_net_to_dealer(c->w, c->pid, route, frame, len);
}

static bool cloud_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	if (zombie(c))
		return false;
	if (node >= c->w->cloud_count || node == c->pid) {
		sim_fail(c->w, "cloud %u sends to node %u", c->pid, node);
		return false;
	}
	if (!c->peer_conn[node])
		c->peer_conn[node] = sim_net_connect(c->w, c->pid, node);
	return sim_net_to_router(c->w, &c->peer_conn[node], frame, len);
}

static void cloud_log_write(void *arg, struct log_job *job)
{
	struct sim_cloud *c = arg;
	if (c->log_count == SIM_JOBS_MAX) {
		sim_fail(c->w, "cloud %u has over %d log jobs", c->pid, SIM_JOBS_MAX);
		return;
	}
	c->log_jobs[(c->log_first + c->log_count++) % SIM_JOBS_MAX] = job;
	if (!c->log_busy) {
		c->log_busy = true;
		sim_plan_event(c->w, SIM_LOG_RUN, job_delay(c), c->pid, c->life);
	}
}

static void cloud_apply(void *arg, struct apply_job *job)
{
	struct sim_cloud *c = arg;
	if (c->apply_count == SIM_JOBS_MAX) {
		sim_fail(c->w, "cloud %u has over %d apply jobs", c->pid, SIM_JOBS_MAX);
		return;
	}
	c->apply_jobs[(c->apply_first + c->apply_count++) % SIM_JOBS_MAX] = job;
	if (!c->apply_busy) {
		c->apply_busy = true;
		sim_plan_event(c->w, SIM_APPLY_RUN, job_delay(c), c->pid, c->life);
	}
}

static void cloud_serve(void *arg, struct bytes route, const void *frame, size_t len)
{
	(void)arg, (void)route, (void)frame, (void)len; /* nobody queries over the network here */
}

static void cloud_committed(void *arg, uint32_t group, uint64_t index)
{
	struct sim_cloud *c = arg;
	sim_hash(c->w, (uint64_t)group << 32 ^ index);
}

/* ---- the two writers ------------------------------------------------------------------------------------------- */

static void after_call(struct sim_cloud *c)
{
	if (c->w->failed)
		return;
	if (zombie(c)) {
		cloud_died(c);
		return;
	}
	node_flush(c->node, sim_cloud_time(c));
}

static void plan_told(struct sim_cloud *c, enum sim_event_type type, int64_t at_ns, void *ptr, int rc)
{
	sim_queue_put(&c->w->queue, (struct sim_event){.at_ns = at_ns,
	                                .type = type,
	                                .who = c->pid,
	                                .life = c->life,
	                                .arg = (uint64_t)(int64_t)rc,
	                                .ptr = ptr});
}

/* What the state writer tells the loop comes a little later, and in order. */
static void state_tells(struct sim_cloud *c, enum sim_event_type type, void *ptr, int rc)
{
	int64_t at = c->w->now_ns + sim_range(&c->w->disk_rand, 0, 2 * NS_PER_MS);
	c->told_ns = at > c->told_ns ? at : c->told_ns;
	plan_told(c, type, c->told_ns, ptr, rc);
}

void sim_cloud_log_run(struct sim_cloud *c)
{
	struct log_job *job = c->log_jobs[c->log_first];
	c->log_first = (c->log_first + 1) % SIM_JOBS_MAX;
	c->log_count--;
	int rc = log_job_run(c->log, job);
	if (rc && rc != WEIR_EFULL && !sim_kv_dead(c->log))
		sim_fail(c->w, "cloud %u: log job: %s", c->pid, err_text(rc));
	if (sim_kv_dead(c->log))
		cloud_died(c);
	else
		plan_told(c, SIM_LOG_DONE, c->w->now_ns + sim_range(&c->w->disk_rand, 0, 2 * NS_PER_MS), job, rc);
}

void sim_cloud_log_done(struct sim_cloud *c, void *job, int rc)
{
	node_log_written(c->node, job, rc, sim_cloud_time(c));
	after_call(c);
	if (!c->up || c->w->failed)
		return;
	c->log_busy = c->log_count > 0;
	if (c->log_busy)
		sim_plan_event(c->w, SIM_LOG_RUN, job_delay(c), c->pid, c->life);
}

void sim_cloud_apply_run(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	struct apply_job *job = c->apply_jobs[c->apply_first];
	c->apply_first = (c->apply_first + 1) % SIM_JOBS_MAX;
	c->apply_count--;
	int rc = c->refuse_next ? WEIR_EFULL : apply_job_run(c->apply, job);
	c->refuse_next = false;
	if (rc && rc != WEIR_EFULL && !sim_kv_dead(c->state))
		sim_fail(w, "cloud %u: apply job: %s", c->pid, err_text(rc));
	if (sim_kv_dead(c->state)) {
		cloud_died(c);
		return;
	}
	if (rc == WEIR_EFULL)
		apply_abort(c->apply);
	if (!c->commit_planned && apply_uncommitted(c->apply)) {
		c->commit_planned = true;
		sim_plan_event(w, SIM_STATE_COMMIT, sim_range(&w->disk_rand, 0, STATE_COMMIT_MAX_NS), c->pid, c->life);
	}
	state_tells(c, SIM_APPLY_DONE, job, rc);
}

void sim_cloud_apply_done(struct sim_cloud *c, void *job, int rc)
{
	node_applied(c->node, job, rc, sim_cloud_time(c));
	after_call(c);
	if (!c->up || c->w->failed)
		return;
	c->apply_busy = c->apply_count > 0;
	if (c->apply_busy)
		sim_plan_event(c->w, SIM_APPLY_RUN, job_delay(c), c->pid, c->life);
}

void sim_cloud_state_commit(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	c->commit_planned = false;
	if (!apply_uncommitted(c->apply))
		return;
	int rc = apply_commit(c->apply);
	if (sim_kv_dead(c->state)) {
		cloud_died(c);
		return;
	}
	if (rc == WEIR_EFULL) {
		sim_trace(w, "cloud %u: no room to commit its state", c->pid);
		apply_abort(c->apply);
		c->refuse_next = true;
		state_tells(c, SIM_STATE_ABORTED, NULL, 0);
		return;
	}
	if (rc) {
		sim_fail(w, "cloud %u: state commit: %s", c->pid, err_text(rc));
		return;
	}
	uint64_t *durable = xcalloc(w->topology->shards + 1, sizeof(*durable)), term;
	for (uint32_t g = 0; g <= w->topology->shards; g++)
		durable[g] = apply_applied(c->apply, g, &term);
	state_tells(c, SIM_STATE_DURABLE, durable, 0);
	sim_check_state(c);
}

void sim_cloud_state_told(struct sim_cloud *c, bool aborted, const uint64_t *durable)
{
	struct node_time now = sim_cloud_time(c);
	if (aborted)
		node_state_aborted(c->node, now);
	for (uint32_t g = 0; !aborted && g <= c->w->topology->shards; g++)
		if (durable[g])
			node_state_durable(c->node, g, durable[g]);
	after_call(c);
}

/* ---- frames and time -------------------------------------------------------------------------------------------- */

void sim_cloud_frame(struct sim_cloud *c, uint64_t conn, uint32_t from, bool peer, const void *frame, size_t len)
{
	if (peer)
		node_peer_frame(c->node, from, frame, len, sim_cloud_time(c));
	else
		node_frame(c->node, bytes_of(&conn, sizeof(conn)), frame, len, sim_cloud_time(c));
	after_call(c);
}

void sim_cloud_tick(struct sim_cloud *c)
{
	node_tick(c->node, sim_cloud_time(c));
	after_call(c);
}

/* ---- life and death --------------------------------------------------------------------------------------------- */

static void on_log_put(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	sim_check_log(arg, db, key, value);
}

void sim_cloud_init(struct sim_world *w, struct sim_cloud *c, uint32_t pid)
{
	*c = (struct sim_cloud){.w = w, .pid = pid};
	c->log_disk = sim_disk_new(LOG_DBS(w->topology->shards), CLOUD_DISK_BYTES);
	c->state_disk = sim_disk_new(STATE_DBS(w->topology->shards), CLOUD_DISK_BYTES);
	sim_disk_hook_set(c->log_disk, on_log_put, c);
	int64_t skew = w->plan->skew_max_ns;
	c->skew_ns = skew ? sim_range(&w->proc_rand, -skew, skew) : 0;
}

static const struct node_io cloud_io = {
    .reply = cloud_reply,
    .send_node = cloud_send_node,
    .log_write = cloud_log_write,
    .apply = cloud_apply,
    .serve = cloud_serve,
    .committed = cloud_committed,
};

static void arm_disks(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	c->log = sim_kv_open(c->log_disk, sim_u64(&w->disk_rand));
	c->state = sim_kv_open(c->state_disk, sim_u64(&w->disk_rand));
	if (w->mutant == MUTANT_LYING_LOG && !w->no_faults)
		sim_disk_lie(c->log_disk, true);
	if (w->mutant == MUTANT_LYING_STATE && !w->no_faults)
		sim_disk_lie(c->state_disk, true);
	if (!w->no_faults && w->plan->cloud_crash_ns && sim_chance(&w->fault_rand, 0.1))
		sim_kv_crash_after(sim_chance(&w->fault_rand, 0.5) ? c->log : c->state, sim_below(&w->fault_rand, 60));
}

static int open_node(struct sim_cloud *c, char **ret_why)
{
	struct sim_world *w = c->w;
	uint8_t random[16];
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)sim_u64(&w->proc_rand);
	struct node_io io = cloud_io;
	io.arg = c;
	int rc = apply_open(w->topology, c->state, &c->apply, ret_why);
	if (rc)
		return rc;
	return node_open(w->topology, c->pid, c->log, c->apply, c->state, &io, random, sim_cloud_time(c), &c->node, ret_why);
}

void sim_cloud_start(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	weir_assert(!c->up);
	c->life++;
	c->log_first = c->log_count = c->apply_first = c->apply_count = 0;
	c->log_busy = c->apply_busy = c->commit_planned = c->refuse_next = false;
	memset(c->peer_conn, 0, sizeof(c->peer_conn));
	c->apply = NULL;
	c->node = NULL;
	c->up = true;
	arm_disks(c);
	char *why = NULL;
	int rc = open_node(c, &why);
	sim_trace(w, "cloud %u starts: %s", c->pid, rc ? why : "fine");
	if (rc && !sim_kv_dead(c->log) && !sim_kv_dead(c->state))
		sim_fail(w, "cloud %u does not open: %s", c->pid, why);
	free(why);
	if (rc)
		cloud_died(c);
	else
		after_call(c);
	if (c->up)
		sim_plan_event(w, SIM_NODE_TICK, 0, c->pid, c->life);
}

void sim_cloud_crash(struct sim_cloud *c)
{
	sim_trace(c->w, "cloud %u crashes", c->pid);
	c->w->crashes++;
	c->up = false;
	c->life++;
	if (c->node)
		node_close(c->node);
	if (c->apply)
		apply_close(c->apply);
	c->node = NULL;
	c->apply = NULL;
	kv_close(c->log);
	kv_close(c->state);
	c->log = c->state = NULL;
}

/* Killed by its own disk: somebody restarts it. */
static void cloud_died(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	sim_cloud_crash(c);
	sim_plan_event(w, SIM_NODE_START, sim_range(&w->fault_rand, 50, 3000) * NS_PER_MS, c->pid, c->life);
}

void sim_cloud_free(struct sim_cloud *c)
{
	if (c->up)
		sim_cloud_crash(c);
	sim_disk_free(c->log_disk);
	sim_disk_free(c->state_disk);
}
