/* The network: promises nothing. */
#include <stdlib.h>

#include "tests/sim/raft/raftsim.h"

static uint32_t take_slot(struct rs_world *w)
{
	if (w->slot_free < 0) {
		size_t n = w->slot_count ? w->slot_count * 2 : 1024;
		w->slots = realloc(w->slots, n * sizeof(*w->slots));
		if (!w->slots)
			abort();
		for (size_t i = w->slot_count; i < n; i++)
			w->slots[i] = (struct rs_slot){.next_free = i + 1 < n ? (int32_t)i + 1 : -1};
		w->slot_free = (int32_t)w->slot_count;
		w->slot_count = n;
	}
	int32_t s = w->slot_free;
	w->slot_free = w->slots[s].next_free;
	w->slots[s].next_free = -2;
	return (uint32_t)s;
}

static void give_slot(struct rs_world *w, uint32_t s)
{
	raft_message_clear(&w->slots[s].m);
	w->slots[s].next_free = w->slot_free;
	w->slot_free = (int32_t)s;
}

void rs_net_clear(struct rs_world *w)
{
	w->slot_free = -1;
	for (size_t i = w->slot_count; i-- > 0;) {
		if (w->slots[i].next_free == -2)
			raft_message_clear(&w->slots[i].m);
		w->slots[i].next_free = w->slot_free;
		w->slot_free = (int32_t)i;
	}
}

bool rs_net_cut(const struct rs_world *w, uint32_t from, uint32_t to)
{
	return w->cut_until[from][to] > w->now;
}

static struct raft_message copy(const struct raft_message *m)
{
	struct raft_message c = *m;
	if (!m->entry_count)
		return c;
	c.entries = malloc(m->entry_count * sizeof(*m->entries));
	if (!c.entries)
		abort();
	for (size_t i = 0; i < m->entry_count; i++) {
		c.entries[i] = m->entries[i];
		raft_data_hold(m->entries[i].data);
	}
	return c;
}

static void post(struct rs_world *w, uint32_t group, const struct raft_message *m)
{
	const struct rs_plan *p = &w->plan;
	uint64_t delay = rs_between(&w->net_rand, p->latency_lo, p->latency_hi);
	if (!w->healing) {
		double late = p->late + (w->weather_until > w->now ? w->weather_late : 0);
		if (late > 0 && sim_chance(&w->net_rand, late)) {
			uint64_t most =
			    sim_chance(&w->net_rand, p->very_late) ? p->late_max : p->late_max / 100;
			delay += rs_between(&w->net_rand, 0, most);
			if (w->late_until < w->now + delay)
				w->late_until = w->now + delay;
		}
	}
	uint32_t s = take_slot(w);
	w->slots[s].m = *m;
	w->slots[s].group = group;
	rs_queue_put(&w->queue, w->now + delay, RS_EV_MESSAGE, s, 0);
}

void rs_net_send(struct rs_world *w, uint32_t group, struct raft_message *m)
{
	const struct rs_plan *p = &w->plan;
	uint32_t from = (uint32_t)m->from - 1, to = (uint32_t)m->to - 1;
	w->out->messages++;
	bool weather = !w->healing && w->weather_until > w->now;
	double loss = (w->healing ? 0 : p->loss) + (weather ? w->weather_loss : 0);
	double twice = (w->healing ? 0 : p->twice) + (weather ? w->weather_twice : 0);
	if (w->out->failed || to >= w->node_count || rs_net_cut(w, from, to) ||
	    (loss > 0 && sim_chance(&w->net_rand, loss))) {
		if (p->told > 0 && sim_chance(&w->net_rand, p->told))
			rs_queue_put(&w->queue, w->now + rs_between(&w->net_rand, 1, 30 * RS_MS), RS_EV_LOST,
			    (from * RS_GROUPS_MAX + group) * RS_NODES_MAX + to, w->nodes[from].life);
		raft_message_clear(m);
		return;
	}
	if (twice > 0 && sim_chance(&w->net_rand, twice)) {
		struct raft_message c = copy(m);
		post(w, group, &c);
	}
	post(w, group, m);
}

void rs_net_retell(struct rs_replica *leader)
{
	struct rs_world *w = leader->w;
	const struct rs_disk *d = &leader->disk;
	struct raft_status s;
	raft_status(leader->raft, &s);
	if (s.role != RAFT_LEADER || s.config.count < 2 || !d->count)
		return;
	uint64_t to = s.config.members[sim_below(&w->net_rand, s.config.count)].id;
	size_t back = (size_t)rs_between(&w->net_rand, 1, d->count < 12 ? d->count : 12);
	size_t count = (size_t)rs_between(&w->net_rand, 0, back < 3 ? back : 3);
	uint64_t before = rs_disk_last(d) - back;
	if (sim_chance(&w->net_rand, 0.5))
		rs_queue_put(&w->queue, w->now + rs_between(&w->net_rand, 1, 10 * RS_MS), RS_EV_RETELL,
		    rs_replica_number(leader), w->nodes[leader->node].life);
	if (to == (uint64_t)leader->node + 1)
		return;
	struct raft_message piece = {.kind = RAFT_APPEND_ENTRIES,
	    .from = leader->node + 1,
	    .to = to,
	    .term = s.term,
	    .index = before,
	    .log_term = rs_disk_term_at(d, before),
	    .commit = s.commit,
	    .entry_count = count,
	    .entries = count ? &d->log[before - d->base_index] : NULL};
	struct raft_message m = copy(&piece);
	rs_net_send(w, leader->group, &m);
}

static void say_message(struct rs_world *w, uint32_t group, const struct raft_message *m)
{
	static const char *names[] = {"?", "PRE_VOTE", "PRE_VOTE_RESULT", "REQUEST_VOTE",
	    "REQUEST_VOTE_RESULT", "APPEND", "APPEND_RESULT", "HEARTBEAT", "HEARTBEAT_RESULT", "SNAPSHOT",
	    "SNAPSHOT_RESULT", "TIMEOUT_NOW"};
	rs_say(w,
	    "group %u: %llu -> %llu %s term %llu index %llu/%llu commit %llu%s%s hint %llu/%llu round %llu, "
	    "%zu entries",
	    group, (unsigned long long)m->from, (unsigned long long)m->to, names[m->kind],
	    (unsigned long long)m->term, (unsigned long long)m->index, (unsigned long long)m->log_term,
	    (unsigned long long)m->commit, m->reject ? " no" : "", m->force ? " force" : "",
	    (unsigned long long)m->hint_index, (unsigned long long)m->hint_term, (unsigned long long)m->round,
	    m->entry_count);
}

/* Links are looked at when a message is sent and when it arrives: a cut holds back what was under way. */
void rs_net_deliver(struct rs_world *w, uint32_t slot)
{
	struct raft_message *m = &w->slots[slot].m;
	uint32_t from = (uint32_t)m->from - 1, to = (uint32_t)m->to - 1, group = w->slots[slot].group;
	struct rs_node *node = &w->nodes[to];
	struct rs_replica *r = rs_replica(w, to, group);
	if (node->up && node->paused_until > w->now) {
		rs_queue_put(&w->queue, node->paused_until, RS_EV_MESSAGE, slot, 0);
		return;
	}
	if (node->up && !rs_net_cut(w, from, to)) {
		if (w->verbose)
			say_message(w, group, m);
		rs_trace(w, m->kind + m->index * 31 + m->term * 1009 + m->to * 65537 + m->entry_count);
		int rc = raft_step(r->raft, m);
		if (rc)
			rs_fail(w, "member %u refuses what member %u said (kind %d): %s", to + 1, from + 1,
			    (int)m->kind, raft_error_text(rc));
		if (m->term == raft_term(r->raft))
			r->heard[from] = r->ticks;
		give_slot(w, slot);
		rs_replica_input(r);
		return;
	}
	give_slot(w, slot);
}
