/* A machine and its replicas. */
#include <string.h>

#include "tests/sim/raft/raftsim.h"

uint32_t rs_node_new(struct rs_world *w)
{
	uint32_t n = w->node_count++;
	struct rs_node *node = &w->nodes[n];
	*node = (struct rs_node){.exists = true, .tick_period = RS_TICK};
	if (w->plan.drift)
		node->tick_period = rs_between(&w->node_rand, RS_TICK * 9 / 10, RS_TICK * 11 / 10);
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *r = rs_replica(w, n, g);
		r->w = w;
		r->node = n;
		r->group = g;
		rs_disk_clear(&r->disk);
	}
	return n;
}

static void replica_start(struct rs_replica *r)
{
	struct rs_disk disk = r->disk;
	struct rs_world *w = r->w;
	uint32_t node = r->node, group = r->group;
	memset(r, 0, sizeof(*r));
	r->w = w;
	r->node = node;
	r->group = group;
	r->disk = disk;
	r->raft = rs_disk_open(r);
	if (!r->raft)
		return;
	if (!r->disk.state_void)
		r->state = r->disk.state;
	else
		r->state.index = r->disk.base_index;
	r->committed_seen = raft_committed(r->raft);
	r->counted = rs_disk_last(&r->disk);
	if (!r->disk.state_void)
		rs_oracle_state(r, &r->state);
	rs_replica_turn(r);
}

void rs_node_start(struct rs_world *w, uint32_t n)
{
	struct rs_node *node = &w->nodes[n];
	if (node->up || node->lost)
		return;
	node->up = true;
	node->life++;
	node->paused_until = 0;
	node->crash_at_write = 0;
	rs_say(w, "node %u starts", n + 1);
	for (uint32_t g = 0; g < w->plan.groups && !w->out->failed; g++)
		replica_start(rs_replica(w, n, g));
	rs_queue_put(
	    &w->queue, w->now + rs_between(&w->node_rand, 1, node->tick_period), RS_EV_TICK, n, node->life);
}

/* What was being written is there or not. */
static void replica_crash(struct rs_replica *r)
{
	if (!r->raft)
		return;
	if (r->writing && sim_chance(&r->w->disk_rand, 0.5))
		rs_disk_apply(r, &r->write);
	raft_free(r->raft);
	r->raft = NULL;
}

void rs_node_crash(struct rs_world *w, uint32_t n, uint64_t restart_at)
{
	struct rs_node *node = &w->nodes[n];
	if (!node->up)
		return;
	rs_say(w, "node %u crashes", n + 1);
	w->out->crashes++;
	node->up = false;
	node->life++;
	for (uint32_t g = 0; g < w->plan.groups; g++)
		replica_crash(rs_replica(w, n, g));
	if (restart_at)
		rs_queue_put(&w->queue, restart_at, RS_EV_RESTART, n, node->life);
}

void rs_node_lose_disk(struct rs_world *w, uint32_t n)
{
	rs_node_crash(w, n, 0);
	w->nodes[n].lost = true; /* its disk is kept for the oracle: what it once promised was true then */
	rs_say(w, "node %u has lost its disk", n + 1);
}

void rs_node_tick(struct rs_world *w, uint32_t n)
{
	struct rs_node *node = &w->nodes[n];
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		struct rs_replica *r = rs_replica(w, n, g);
		r->ticks++;
		raft_tick(r->raft);
		rs_replica_input(r);
		if (w->out->failed || !node->up)
			return;
		rs_oracle_tick(r);
	}
	rs_queue_put(&w->queue, w->now + node->tick_period, RS_EV_TICK, n, node->life);
}

struct rs_replica *rs_leader(struct rs_world *w, uint32_t group)
{
	struct rs_replica *best = NULL;
	for (uint32_t n = 0; n < w->node_count; n++) {
		struct rs_replica *r = rs_replica(w, n, group);
		if (r->raft && raft_is_leader(r->raft) &&
		    (!best || raft_term(r->raft) > raft_term(best->raft)))
			best = r;
	}
	return best;
}

/* ---- a turn ---------------------------------------------------------------------------------- */

static uint64_t write_latency(struct rs_world *w, const struct rs_node *node)
{
	if (node->slow_until > w->now)
		return rs_between(&w->disk_rand, node->slow_lo, node->slow_hi);
	return rs_between(&w->disk_rand, w->plan.disk_lo, w->healing ? 2 * RS_MS : w->plan.disk_hi);
}

/* Counts down to the write at which the node is to crash; true: it has. */
static bool crashes_at_write(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	struct rs_node *node = &w->nodes[r->node];
	if (!node->crash_at_write || --node->crash_at_write)
		return false;
	rs_node_crash(w, r->node, w->now + rs_between(&w->fault_rand, 10 * RS_MS, 5 * RS_S));
	return true;
}

static bool begin_write(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	if (r->writing || w->now < r->write_after)
		return true;
	if (!raft_write_begin(r->raft, w->plan.write_bytes_max, w->plan.write_entries_max, &r->write))
		return true;
	r->writing = true;
	w->out->writes++;
	if (crashes_at_write(r))
		return false;
	struct rs_node *node = &w->nodes[r->node];
	rs_queue_put(
	    &w->queue, w->now + write_latency(w, node), RS_EV_WRITTEN, rs_replica_number(r), node->life);
	return true;
}

void rs_replica_written(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	struct rs_node *node = &w->nodes[r->node];
	r->writing = false;
	if (node->full_until > w->now && (r->write.entry_count || sim_chance(&w->disk_rand, 0.5))) {
		r->write_after = w->now + rs_between(&w->disk_rand, 5 * RS_MS, 60 * RS_MS);
		rs_queue_put(&w->queue, r->write_after, RS_EV_TURN, rs_replica_number(r), node->life);
		r->turning = true;
		raft_write_undone(r->raft);
		rs_replica_input(r);
		return;
	}
	rs_disk_apply(r, &r->write);
	if (w->out->failed || crashes_at_write(r))
		return;
	rs_trace(w, rs_disk_last(&r->disk));
	raft_written(r->raft);
	rs_oracle_written(r);
	rs_replica_input(r);
}

static void send_messages(struct rs_replica *r)
{
	struct raft_message m;
	while (!r->w->out->failed && raft_pop_message(r->raft, &m)) {
		rs_oracle_message(r, &m);
		rs_net_send(r->w, r->group, &m);
	}
}

static void apply_one(struct rs_replica *r, const struct raft_entry *e)
{
	uint64_t value, content = rs_content(e, &value);
	if (e->index != r->state.index + 1) {
		rs_fail(r->w, "applies out of order: member %u, %llu behind %llu", r->node + 1,
		    (unsigned long long)e->index, (unsigned long long)r->state.index);
		return;
	}
	struct raft_config decoded;
	if (e->kind == RAFT_ENTRY_CONFIG && !raft_config_decode(e->data->bytes, e->data->len, &decoded))
		r->state.config = decoded;
	r->state.index = e->index;
	r->state.term = e->term;
	r->state.hash = sim_mix(r->state.hash + content) | 1;
	rs_oracle_applied(r, e, content);
	rs_client_applied(r, e, value);
}

static void apply(struct rs_replica *r)
{
	struct raft_entry out[16];
	struct rs_world *w = r->w;
	if (r->install == RS_INSTALLING || r->disk.state_void ||
	    (w->plan.lazy_apply > 0 && !w->healing && sim_chance(&w->node_rand, w->plan.lazy_apply)))
		return;
	uint64_t to = raft_committed(r->raft), from = r->state.index;
	while (r->state.index < to && !w->out->failed) {
		size_t n = 0;
		int rc = raft_entries(r->raft, r->state.index + 1, to, 1000, out, 16, &n);
		if (rc || !n) {
			rs_fail(w, "raft_entries: member %u, from %llu to %llu: %s", r->node + 1,
			    (unsigned long long)r->state.index + 1, (unsigned long long)to,
			    rc ? raft_error_text(rc) : "none");
			return;
		}
		for (size_t i = 0; i < n; i++) {
			if (!w->out->failed)
				apply_one(r, &out[i]);
			raft_data_release(out[i].data);
		}
	}
	if (r->state.index > from)
		raft_applied(r->raft, r->state.index);
}

void rs_replica_turn(struct rs_replica *r)
{
	r->turning = false;
	if (!begin_write(r) || r->w->out->failed)
		return;
	send_messages(r);
	apply(r);
	if (r->w->out->failed)
		return;
	rs_client_reads(r);
	rs_snapshot_turn(r);
}

void rs_replica_input(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	rs_oracle_step(r);
	if (w->out->failed)
		return;
	if (w->plan.turn_max == 0 || w->healing) {
		rs_replica_turn(r);
	} else if (!r->turning) {
		r->turning = true;
		rs_queue_put(&w->queue, w->now + rs_between(&w->node_rand, 0, w->plan.turn_max), RS_EV_TURN,
		    rs_replica_number(r), w->nodes[r->node].life);
	}
}
