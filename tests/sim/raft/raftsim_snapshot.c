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
		rs_suspect(r->w, "the applied state is ahead of the durable log: member %u, %llu of %llu",
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

static void begin_fetch(struct rs_replica *r, uint64_t from, uint64_t index, uint64_t in)
{
	r->install = RS_FETCHING;
	r->fetch_from = from;
	r->fetch_index = index;
	put(r, in, RS_EV_FETCHED);
}

/* Without a state and without a leader: its log may be the longest of all, and it votes for nobody else. Any
 * member's state that its log goes on from will do; then it can be elected itself. */
static void help_oneself(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	if (!r->disk.state_void || raft_leader(r->raft) != RAFT_NOBODY)
		return;
	uint64_t index = r->disk.base_index ? r->disk.base_index : 1;
	r->fetch_unasked = true;
	begin_fetch(r, 1 + sim_below(&w->disk_rand, w->node_count), index,
	    rs_between(&w->disk_rand, 2 * RS_S, 4 * RS_S));
}

void rs_snapshot_turn(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	begin_flush(r);
	uint64_t from, index;
	if (r->install != RS_NO_INSTALL && !(r->install == RS_FETCHING && r->fetch_unasked))
		return;
	if (!raft_snapshot_wanted(r->raft, &from, &index)) {
		if (r->install == RS_NO_INSTALL)
			help_oneself(r);
		return;
	}
	if (!r->disk.state_void && index <= r->committed_seen) {
		rs_suspect(w, "member %u wants a snapshot of what it has: %llu", r->node + 1,
		    (unsigned long long)index);
		return;
	}
	r->fetch_unasked = false;
	begin_fetch(r, from, index, rs_between(&w->disk_rand, RS_MS, w->healing ? 20 * RS_MS : 800 * RS_MS));
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

static bool still_wanted(struct rs_replica *r)
{
	uint64_t from, index;
	if (r->fetch_unasked)
		return r->disk.state_void && r->disk.base_index <= r->fetch_index;
	return raft_snapshot_wanted(r->raft, &from, &index) && from == r->fetch_from &&
	       index <= r->fetch_index;
}

void rs_snapshot_fetched(struct rs_replica *r)
{
	struct rs_world *w = r->w;
	if (r->install != RS_FETCHING)
		return;
	r->install = RS_NO_INSTALL;
	if (!still_wanted(r)) {
		rs_replica_input(r);
		return;
	}
	if (!fetch(r)) {
		rs_say(w, "node %u group %u: no snapshot from %u", r->node + 1, r->group,
		    (unsigned)r->fetch_from);
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
