/* The application's half of a snapshot: its state made durable, the log shortened; or another's state
 * fetched. */
#include "tests/sim/raft/raftsim.h"

static void put(struct rs_replica *r, uint64_t in, enum rs_event_kind kind)
{
	struct rs_world *w = r->w;
	rs_queue_put(&w->queue, w->now + in, kind, rs_replica_number(r), w->nodes[r->node].life);
}

static void begin_flush(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	if (r->flushing || r->install == RS_INSTALLING || r->disk.state_void ||
	    r->state.index < r->disk.base_index + w->plan.compact_every)
		return;
	r->flushing = true;
	r->flush = r->state;
	put(r, rs_between(&w->disk_rand, 500, 50 * RS_MS), RS_EV_FLUSHED);
}

void rs_snapshot_flushed(struct rs_replica *r)
{
	r->flushing = false;
	if (r->install == RS_INSTALLING || r->flush.index <= r->disk.state.index)
		return;
	if (r->flush.index > rs_disk_last(&r->disk)) {
		rs_fail(r->w, "the applied state is ahead of the durable log: member %u, %llu of %llu",
		    r->node + 1, (unsigned long long)r->flush.index,
		    (unsigned long long)rs_disk_last(&r->disk));
		return;
	}
	r->disk.state = r->flush;
	uint64_t keep = r->w->plan.compact_keep;
	if (r->flush.index <= r->disk.base_index + keep)
		return;
	raft_compact(r->raft, r->flush.index - keep);
	rs_disk_compact(&r->disk, r->flush.index - keep);
	rs_replica_input(r);
}

void rs_snapshot_turn(struct rs_replica *r)
{
	begin_flush(r);
	uint64_t from, index;
	if (r->install != RS_NO_INSTALL || !raft_snapshot_wanted(r->raft, &from, &index))
		return;
	if (!r->disk.state_void && index <= r->committed_seen) {
		rs_fail(r->w, "member %u wants a snapshot of what it has: %llu", r->node + 1,
		    (unsigned long long)index);
		return;
	}
	r->install = RS_FETCHING;
	r->fetch_from = from;
	r->fetch_index = index;
	put(r, rs_between(&r->w->disk_rand, RS_MS, r->w->healing ? 20 * RS_MS : 800 * RS_MS), RS_EV_FETCHED);
}

static bool fetch(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	uint32_t from = (uint32_t)r->fetch_from - 1;
	if (from >= w->node_count || !w->nodes[from].up || rs_net_cut(w, from, r->node) ||
	    rs_net_cut(w, r->node, from))
		return false;
	const struct rs_replica *other = rs_replica(w, from, r->group);
	if (other->install == RS_INSTALLING || other->disk.state_void || other->state.index < r->fetch_index)
		return false;
	/* The one it made durable last is older, and does as well. */
	bool kept = other->disk.state.index >= r->fetch_index && sim_chance(&w->disk_rand, 0.5);
	r->incoming = kept ? other->disk.state : other->state;
	return w->healing || !sim_chance(&w->disk_rand, w->plan.install_fails);
}

void rs_snapshot_fetched(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	uint64_t from, index;
	r->install = RS_NO_INSTALL;
	if (!raft_snapshot_wanted(r->raft, &from, &index))
		return;
	if (from != r->fetch_from || index > r->fetch_index || !fetch(r)) {
		rs_say(w, "node %u group %u: no snapshot from %u", r->node + 1, r->group,
		    (unsigned)r->fetch_from);
		if (from == r->fetch_from && index <= r->fetch_index)
			raft_snapshot_failed(r->raft);
		rs_replica_input(r);
		return;
	}
	rs_say(w, "node %u group %u: installs %llu of term %llu from %u, own log %llu..%llu", r->node + 1,
	    r->group, (unsigned long long)r->incoming.index, (unsigned long long)r->incoming.term,
	    (unsigned)r->fetch_from, (unsigned long long)r->disk.base_index,
	    (unsigned long long)rs_disk_last(&r->disk));
	r->install = RS_INSTALLING;
	r->flush = (struct rs_state){0};
	r->disk.state_void = true;
	raft_snapshot_begin(r->raft);
	put(r, rs_between(&w->disk_rand, RS_MS, w->healing ? 20 * RS_MS : w->plan.install_max),
	    RS_EV_INSTALLED);
	rs_replica_input(r);
}

void rs_snapshot_installed(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	r->install = RS_NO_INSTALL;
	if (!w->healing && sim_chance(&w->disk_rand, w->plan.install_fails)) {
		raft_snapshot_failed(r->raft);
		rs_replica_input(r);
		return;
	}
	w->out->snapshots++;
	rs_oracle_state(r, &r->incoming);
	r->disk.state = r->state = r->incoming;
	r->disk.state_void = r->disk.state_lost = false;
	if (!w->healing && sim_chance(&w->disk_rand, w->plan.install_fails)) { /* before the log knows */
		rs_node_crash(w, r->node, w->now + rs_between(&w->disk_rand, RS_MS, 2 * RS_S));
		return;
	}
	int rc = raft_snapshot_installed(r->raft, r->state.index, r->state.term, &r->state.config);
	if (rc)
		rs_fail(w, "member %u refuses the snapshot it wanted, of %llu: %s", r->node + 1,
		    (unsigned long long)r->state.index, raft_error_text(rc));
	rs_replica_input(r);
}
