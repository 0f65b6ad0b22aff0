/* What a seed is. Each seed has a bent, by its number, so that no kind of fault is rare among many seeds. */
#include <string.h>

#include "tests/sim/raft/raftsim.h"

enum bent {
	BENT_MIXED,
	BENT_NET,
	BENT_CUTS,
	BENT_CRASHES,
	BENT_MEMBERS,
	BENT_SNAPSHOTS,
	BENT_DISKS,
	BENT_LEADERS,
	BENT_LOSSES,
	BENT_COLD,
	BENT_LATE,
	BENTS
};

const char *rs_fault_name(enum rs_fault f)
{
	static const char *names[RS_FAULTS] = {[RS_CRASH] = "crash",
	    [RS_CRASH_LEADER] = "crash-leader",
	    [RS_CRASH_ALL] = "crash-all",
	    [RS_CRASH_AT_WRITE] = "crash-at-write",
	    [RS_SPLIT] = "split",
	    [RS_ISOLATE] = "isolate",
	    [RS_ISOLATE_LEADER] = "isolate-leader",
	    [RS_ONE_WAY] = "one-way",
	    [RS_CUT_PAIRS] = "cut-pairs",
	    [RS_WEATHER] = "weather",
	    [RS_PAUSE] = "pause",
	    [RS_PAUSE_LEADER] = "pause-leader",
	    [RS_SLOW_DISK] = "slow-disk",
	    [RS_SLOW_LEADER_DISK] = "slow-leader-disk",
	    [RS_FULL_DISK] = "full-disk",
	    [RS_LOSE_DISK] = "lose-disk",
	    [RS_LOSE_STATE] = "lose-state",
	    [RS_TRANSFER] = "transfer",
	    [RS_CAMPAIGN] = "campaign",
	    [RS_UNREACHABLE] = "unreachable",
	    [RS_BURST] = "burst",
	    [RS_LAST_WORDS] = "last-words"};
	return names[f];
}

static void add(struct rs_plan *p, enum rs_fault first, enum rs_fault last, uint32_t weight)
{
	for (enum rs_fault f = first; f <= last; f++)
		p->weight[f] += weight;
}

static void lean(struct rs_plan *p, enum bent b, struct sim_rand *r)
{
	switch (b) {
	case BENT_MIXED:
	case BENTS:
		break;
	case BENT_NET:
		p->loss = sim_unit(r) * 0.2;
		p->twice = sim_unit(r) * 0.3;
		p->late = sim_unit(r) * 0.1;
		add(p, RS_WEATHER, RS_WEATHER, 20);
		break;
	case BENT_CUTS:
		add(p, RS_SPLIT, RS_CUT_PAIRS, 10);
		p->fault_gap /= 2;
		break;
	case BENT_CRASHES:
		add(p, RS_CRASH, RS_CRASH_AT_WRITE, 8);
		p->fault_gap /= 2;
		break;
	case BENT_MEMBERS:
		p->rotate = true;
		p->operator_gap = rs_between(r, 30, 300) * RS_MS;
		add(p, RS_SPLIT, RS_CUT_PAIRS, 3);
		add(p, RS_CRASH_LEADER, RS_CRASH_LEADER, 4);
		break;
	case BENT_SNAPSHOTS:
		p->compact_every = (uint32_t)rs_between(r, 1, 10);
		p->compact_keep = (uint32_t)rs_between(r, 0, 3);
		p->install_fails = sim_unit(r) * 0.5;
		p->client_gap /= 2;
		p->install_max = rs_between(r, 1, 8) * RS_S;
		add(p, RS_ISOLATE, RS_ISOLATE, 10);
		add(p, RS_LOSE_STATE, RS_LOSE_STATE, 6);
		add(p, RS_CRASH_LEADER, RS_ISOLATE_LEADER, 2);
		add(p, RS_CRASH, RS_CRASH_AT_WRITE, 4);
		break;
	case BENT_DISKS:
		add(p, RS_SLOW_DISK, RS_FULL_DISK, 12);
		add(p, RS_SLOW_LEADER_DISK, RS_SLOW_LEADER_DISK, 12);
		p->disk_hi = rs_between(r, 1, 80) * RS_MS;
		break;
	case BENT_LEADERS:
		add(p, RS_TRANSFER, RS_CAMPAIGN, 15);
		add(p, RS_CRASH_LEADER, RS_CRASH_LEADER, 4);
		add(p, RS_PAUSE_LEADER, RS_PAUSE_LEADER, 4);
		p->fault_gap /= 3;
		break;
	case BENT_LOSSES:
		add(p, RS_LOSE_DISK, RS_LOSE_DISK, 12);
		p->rotate = sim_chance(r, 0.5);
		break;
	case BENT_COLD: /* entries that hang between terms: D 3.7 */
		p->told = 0.3 + sim_unit(r) * 0.7;
		p->loss = sim_unit(r) * 0.4;
		p->limits.message_bytes_max =
		    256; /* an entry at a time: what a message verifies ends before a conflict */
		p->value_max = 256;
		p->client_gap *= 2;
		p->compact_every = 1000;
		add(p, RS_LAST_WORDS, RS_LAST_WORDS, 40);
		add(p, RS_CRASH_LEADER, RS_CRASH_LEADER, 10);
		p->fault_gap /= 2;
		break;
	case BENT_LATE: /* what was meant for one term comes in another */
		p->late = 0.05 + sim_unit(r) * 0.3;
		p->very_late = sim_unit(r);
		p->late_max = rs_between(r, 1, 10) * RS_S;
		add(p, RS_TRANSFER, RS_CAMPAIGN, 6);
		add(p, RS_CRASH_LEADER, RS_CRASH_LEADER, 6);
		add(p, RS_ISOLATE_LEADER, RS_ISOLATE_LEADER, 6);
		add(p, RS_LAST_WORDS, RS_LAST_WORDS, 6);
		break;
	}
}

static void make_limits(struct rs_plan *p, struct sim_rand *r)
{
	struct raft_options *l = &p->limits;
	l->election_ticks = RS_ELECTION_TICKS;
	l->heartbeat_ticks = RS_HEARTBEAT_TICKS;
	l->priority_ticks = (uint32_t)(sim_below(r, 3) * 4);
	l->entry_bytes_max = 256;
	l->message_bytes_max = rs_between(r, 256, 1500);
	l->inflight_bytes_max = rs_between(r, 512, 8000);
	l->inflight_messages_max = (uint32_t)rs_between(r, 1, 16);
	l->proposed_bytes_max = rs_between(r, 2048, 16384);
	l->proposed_max = (uint32_t)rs_between(r, 8, 128);
	l->cache_bytes_max = rs_between(r, 0, 8000);
	p->write_bytes_max = rs_between(r, 1, 4000);
	p->write_entries_max = rs_between(r, 1, 64);
	p->value_max = rs_between(r, 8, 256);
}

void rs_plan_make(struct rs_plan *p, uint64_t seed)
{
	struct sim_rand r = {sim_mix(seed * UINT64_C(0x2545f4914f6cdd1d) + 77)};
	memset(p, 0, sizeof(*p));
	p->nodes = (uint32_t)rs_between(&r, 3, 5);
	p->groups = sim_chance(&r, 0.6) ? 1 : (uint32_t)rs_between(&r, 2, RS_GROUPS_MAX);
	add(p, RS_CRASH, RS_LAST_WORDS, 1);
	add(p, RS_CRASH, RS_CRASH_LEADER, 2);
	p->fault_gap = rs_between(&r, 400, 2500) * RS_MS;
	p->client_gap = rs_between(&r, 60, 400) * RS_MS;
	p->operator_gap = rs_between(&r, 300, 2000) * RS_MS;
	p->rotate = sim_chance(&r, 0.2);
	p->latency_lo = rs_between(&r, 100, 1000);
	p->latency_hi = p->latency_lo + rs_between(&r, 0, 20 * RS_MS);
	if (sim_chance(&r, 0.5)) {
		p->loss = sim_unit(&r) * 0.05;
		p->twice = sim_unit(&r) * 0.1;
		p->late = sim_unit(&r) * 0.02;
	}
	p->very_late = 0.3;
	p->retell = sim_unit(&r);
	p->told = sim_chance(&r, 0.5) ? 0 : sim_unit(&r);
	p->late_max = 10 * RS_ELECTION_TICKS * RS_TICK;
	p->disk_lo = 100;
	p->disk_hi = rs_between(&r, 200, 6000);
	p->turn_max = sim_chance(&r, 0.5) ? 0 : rs_between(&r, 100, 8000);
	p->lazy_apply = sim_chance(&r, 0.3) ? sim_unit(&r) : 0;
	p->compact_every = (uint32_t)rs_between(&r, 5, 200);
	p->compact_keep = (uint32_t)rs_between(&r, 0, 40);
	p->install_fails = sim_unit(&r) * 0.1;
	p->install_max = rs_between(&r, 100, 1500) * RS_MS;
	p->drift = sim_chance(&r, 0.3);
	make_limits(p, &r);
	lean(p, (enum bent)(seed % BENTS), &r);
}
