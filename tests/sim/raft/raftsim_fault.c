/* What goes wrong, and when. All of it ends when the healing begins. */
#include "tests/sim/raft/raftsim.h"

static uint64_t until(struct rs_world *w, uint64_t lo, uint64_t hi)
{
	uint64_t t = w->now + rs_between(&w->fault_rand, lo, hi);
	return t < RS_FAULTS_END ? t : RS_FAULTS_END;
}

static uint64_t a_while(struct rs_world *w)
{
	return sim_chance(&w->fault_rand, 0.1) ? until(w, 5 * RS_S, 20 * RS_S)
					       : until(w, 100 * RS_MS, 6 * RS_S);
}

uint32_t rs_random_node(struct rs_world *w)
{
	uint32_t n = 0;
	for (int tries = 0; tries < 20; tries++) {
		n = (uint32_t)sim_below(&w->fault_rand, w->node_count);
		if (w->nodes[n].up)
			break;
	}
	return n;
}

static uint32_t leading_node(struct rs_world *w)
{
	struct rs_replica *l = rs_leader(w, (uint32_t)sim_below(&w->fault_rand, w->plan.groups));
	return l ? l->node : rs_random_node(w);
}

static void cut(struct rs_world *w, uint32_t from, uint32_t to, uint64_t t)
{
	if (from != to)
		w->cut_until[from][to] = t;
}

static void isolate(struct rs_world *w, uint32_t n, uint64_t t)
{
	for (uint32_t m = 0; m < RS_NODES_MAX; m++) {
		cut(w, n, m, t);
		cut(w, m, n, t);
	}
}

static void split(struct rs_world *w, uint64_t t)
{
	uint64_t side = sim_u64(&w->fault_rand);
	for (uint32_t a = 0; a < RS_NODES_MAX; a++)
		for (uint32_t b = 0; b < RS_NODES_MAX; b++)
			if (((side >> a) ^ (side >> b)) & 1)
				cut(w, a, b, t);
}

/* Who is not heard, or does not hear: by all, or by some. */
static void one_way(struct rs_world *w, uint32_t n, uint64_t t)
{
	bool deaf = sim_chance(&w->fault_rand, 0.5), all = sim_chance(&w->fault_rand, 0.5);
	for (uint32_t m = 0; m < RS_NODES_MAX; m++)
		if (all || sim_chance(&w->fault_rand, 0.5))
			cut(w, deaf ? m : n, deaf ? n : m, t);
}

static void cut_pairs(struct rs_world *w, uint64_t t)
{
	double p = sim_unit(&w->fault_rand) * 0.6;
	for (uint32_t a = 0; a < w->node_count; a++) {
		for (uint32_t b = 0; b < a; b++) {
			if (!sim_chance(&w->fault_rand, p))
				continue;
			cut(w, a, b, t);
			cut(w, b, a, t);
		}
	}
}

static void weather(struct rs_world *w)
{
	w->weather_until = until(w, 500 * RS_MS, 10 * RS_S);
	w->weather_loss = sim_unit(&w->fault_rand) * 0.5;
	w->weather_twice = sim_unit(&w->fault_rand) * 0.5;
	w->weather_late = sim_unit(&w->fault_rand) * 0.3;
}

static void slow_disk(struct rs_world *w, uint32_t n)
{
	struct rs_node *node = &w->nodes[n];
	node->slow_until = until(w, 500 * RS_MS, 10 * RS_S);
	node->slow_lo = RS_MS;
	node->slow_hi = sim_chance(&w->fault_rand, 0.3) ? 3 * RS_S : 300 * RS_MS;
}

static void lose_disk(struct rs_world *w, uint32_t n)
{
	if (w->nodes[n].lost || w->node_count == RS_NODES_MAX)
		return;
	for (uint32_t g = 0; g < w->plan.groups; g++)
		if (!rs_operator_may_lose(w, g, n))
			return;
	rs_node_lose_disk(w, n);
	rs_node_start(w, rs_node_new(w));
}

/* One replica's state is found to be unusable; its log is not. */
static void lose_state(struct rs_world *w, uint32_t n)
{
	uint32_t g = (uint32_t)sim_below(&w->fault_rand, w->plan.groups);
	struct rs_replica *r = rs_replica(w, n, g);
	if (w->nodes[n].lost || !rs_operator_may_lose(w, g, n) || w->groups[g].change_count ||
	    !w->groups[g].oracle.commit)
		return;
	rs_node_crash(w, n, w->now + rs_between(&w->fault_rand, RS_MS, 500 * RS_MS));
	r->disk.state_void = r->disk.state_lost = true;
}

static void transfer(struct rs_world *w)
{
	struct rs_replica *l = rs_leader(w, (uint32_t)sim_below(&w->fault_rand, w->plan.groups));
	if (!l || w->nodes[l->node].paused_until > w->now)
		return;
	int rc = raft_transfer(l->raft, 1 + sim_below(&w->fault_rand, w->node_count));
	if (rc && rc != RAFT_EINVAL && rc != RAFT_EPENDING)
		rs_fail(w, "raft_transfer: %s", raft_error_text(rc));
	rs_replica_input(l);
}

static struct rs_replica *random_replica(struct rs_world *w)
{
	uint32_t n = rs_random_node(w);
	struct rs_replica *r = rs_replica(w, n, (uint32_t)sim_below(&w->fault_rand, w->plan.groups));
	return r->raft && w->nodes[n].paused_until <= w->now ? r : NULL;
}

static void campaign(struct rs_world *w)
{
	struct rs_replica *r = random_replica(w);
	if (!r)
		return;
	raft_campaign(r->raft);
	rs_replica_input(r);
}

static void unreachable(struct rs_world *w)
{
	struct rs_replica *r = random_replica(w);
	if (!r)
		return;
	raft_unreachable(r->raft, 1 + sim_below(&w->fault_rand, w->node_count));
	rs_replica_input(r);
}

/* A leader goes on with one follower at most, takes writes, and crashes; so may those who saw them. */
static void last_words(struct rs_world *w)
{
	uint32_t n = leading_node(w), friend = (uint32_t)sim_below(&w->fault_rand, w->node_count);
	uint64_t t = until(w, 100 * RS_MS, 3 * RS_S);
	for (uint32_t m = 0; m < RS_NODES_MAX; m++) {
		if (m == friend)
			continue;
		cut(w, n, m, t);
		if (sim_chance(&w->fault_rand, 0.8))
			cut(w, m, n, t);
	}
	w->burst_until = w->now + 50 * RS_MS;
	for (uint32_t g = 0; g < w->plan.groups; g++)
		rs_queue_put(&w->queue, w->now + 1, RS_EV_CLIENT, RS_GROUPS_MAX + g, 0);
	w->nodes[n].crash_at_write = (uint32_t)rs_between(&w->fault_rand, 1, 6);
	if (sim_chance(&w->fault_rand, 0.5))
		w->nodes[friend].crash_at_write = (uint32_t)rs_between(&w->fault_rand, 1, 6);
}

static void crash_all(struct rs_world *w)
{
	for (uint32_t n = 0; n < w->node_count; n++)
		if (sim_chance(&w->fault_rand, 0.8))
			rs_node_crash(w, n, until(w, 10 * RS_MS, 2 * RS_S));
}

static void happen(struct rs_world *w, enum rs_fault f)
{
	switch (f) {
	case RS_CRASH:
		rs_node_crash(w, rs_random_node(w), a_while(w));
		break;
	case RS_CRASH_LEADER:
		rs_node_crash(w, leading_node(w), a_while(w));
		break;
	case RS_CRASH_ALL:
		crash_all(w);
		break;
	case RS_CRASH_AT_WRITE:
		w->nodes[rs_random_node(w)].crash_at_write = (uint32_t)rs_between(&w->fault_rand, 1, 20);
		break;
	case RS_SPLIT:
		split(w, a_while(w));
		break;
	case RS_ISOLATE:
		isolate(w, rs_random_node(w), a_while(w));
		break;
	case RS_ISOLATE_LEADER:
		isolate(w, leading_node(w), a_while(w));
		break;
	case RS_ONE_WAY:
		one_way(w, sim_chance(&w->fault_rand, 0.5) ? leading_node(w) : rs_random_node(w), a_while(w));
		break;
	case RS_CUT_PAIRS:
		cut_pairs(w, a_while(w));
		break;
	case RS_WEATHER:
		weather(w);
		break;
	case RS_PAUSE:
		w->nodes[rs_random_node(w)].paused_until = a_while(w);
		break;
	case RS_PAUSE_LEADER:
		w->nodes[leading_node(w)].paused_until = a_while(w);
		break;
	case RS_SLOW_DISK:
		slow_disk(w, rs_random_node(w));
		break;
	case RS_SLOW_LEADER_DISK:
		slow_disk(w, leading_node(w));
		break;
	case RS_FULL_DISK:
		w->nodes[rs_random_node(w)].full_until = until(w, 500 * RS_MS, 8 * RS_S);
		break;
	case RS_LOSE_DISK:
		lose_disk(w, rs_random_node(w));
		break;
	case RS_LOSE_STATE:
		lose_state(w, sim_chance(&w->fault_rand, 0.5) ? leading_node(w) : rs_random_node(w));
		break;
	case RS_TRANSFER:
		transfer(w);
		break;
	case RS_CAMPAIGN:
		campaign(w);
		break;
	case RS_UNREACHABLE:
		unreachable(w);
		break;
	case RS_BURST:
		w->burst_until = until(w, 100 * RS_MS, 2 * RS_S);
		break;
	case RS_LAST_WORDS:
		last_words(w);
		break;
	case RS_FAULTS:
		break;
	}
}

void rs_fault_turn(struct rs_world *w)
{
	if (w->now >= RS_FAULTS_END) {
		rs_fault_end(w);
		return;
	}
	rs_queue_put(
	    &w->queue, w->now + rs_between(&w->fault_rand, 1, 2 * w->plan.fault_gap), RS_EV_FAULT, 0, 0);
	uint32_t sum = 0, at = 0;
	for (int f = 0; f < RS_FAULTS; f++)
		sum += w->plan.weight[f];
	at = (uint32_t)sim_below(&w->fault_rand, sum);
	int f = 0;
	while (at >= w->plan.weight[f])
		at -= w->plan.weight[f++];
	rs_say(w, "fault: %s", rs_fault_name((enum rs_fault)f));
	rs_trace(w, (uint64_t)f);
	happen(w, (enum rs_fault)f);
}

/* Nothing outlives the faults but what they have left behind: late messages, full queues, half memberships.
 */
void rs_fault_end(struct rs_world *w)
{
	w->healing = true;
	w->calm = RS_RECOVERING;
	rs_say(w, "healing");
	for (uint32_t n = 0; n < w->node_count; n++) {
		w->nodes[n].crash_at_write = 0;
		if (w->nodes[n].exists)
			rs_node_start(w, n);
	}
	uint32_t live = 0;
	for (uint32_t n = 0; n < w->node_count; n++)
		live += !w->nodes[n].lost;
	for (uint32_t g = 0; g < w->plan.groups; g++) {
		w->groups[g].goal = live < 3 ? live : 3;
		w->groups[g].acked_before = w->groups[g].oracle.acknowledged;
		w->groups[g].mark = w->groups[g].oracle.commit;
		w->groups[g].mark_at = w->now;
	}
	rs_queue_put(&w->queue, w->now + 100 * RS_MS, RS_EV_HEAL, 0, 0);
}
