/* The groups as the whole world sees them: what is committed is so for ever and for all replicas, states at equal index are
 * equal, a term has one leader. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/jobs.h"
#include "common/err.h"
#include "raft/raft.h"
#include "tests/sim/sim_world.h"

#define REPLAY_COMMIT_EVERY 37

/* ---- committed entries ------------------------------------------------------------------------------------------- */

/* A batch that is committed may be acknowledged from here on: lanes know where it stands. */
static void note_batch(struct sim_world *w, uint32_t group, uint64_t index, struct bytes raw)
{
	struct entry e;
	if (!group || entry_decode(raw, &e))
		return;
	if (e.kind == ENTRY_BATCH) {
		char name[64];
		size_t n = e.batch.edge.n < sizeof(name) - 1 ? e.batch.edge.n : sizeof(name) - 1;
		memcpy(name, e.batch.edge.p, n);
		name[n] = '\0';
		int edge = sim_plan_edge(w->plan, name);
		struct sim_lane *lane = edge < 0 ? NULL : &w->lanes[edge][group - 1];
		if (lane && e.batch.seq && e.batch.seq <= lane->count && !lane->at[e.batch.seq - 1].index)
			lane->at[e.batch.seq - 1].index = index;
	}
	entry_clear(&e);
}

static void entry_add(struct sim_world *w, uint32_t group, uint64_t term, uint8_t kind, struct bytes raw)
{
	struct sim_group *g = &w->groups[group];
	if (g->count == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 256;
		g->at = xrealloc(g->at, g->cap * sizeof(*g->at));
	}
	struct sim_log_entry *e = &g->at[g->count++];
	*e = (struct sim_log_entry){.term = term, .kind = kind};
	buf_put(&e->raw, raw.p, raw.n);
	if (g->count > 1 && term < g->at[g->count - 2].term)
		sim_fail(w, "group %u: entry %zu has term %llu, below the one before it", group, g->count,
		    (unsigned long long)term);
	if (kind == RAFT_ENTRY_DATA)
		note_batch(w, group, g->count, raw);
	else if (kind == RAFT_ENTRY_NOOP)
		w->leaders++;
}

/* The first who says that an entry is committed fixes it; everybody else must have the same. */
static void entry_check(struct sim_cloud *c, uint32_t group, uint64_t index, uint64_t term, uint8_t kind, struct bytes raw)
{
	struct sim_world *w = c->w;
	struct sim_group *g = &w->groups[group];
	if (index == g->count + 1) {
		entry_add(w, group, term, kind, raw);
		return;
	}
	if (index > g->count || !index) {
		sim_fail(w, "cloud %u: entry %llu of group %u is committed, and entry %zu is not known", c->pid,
		    (unsigned long long)index, group, g->count + 1);
		return;
	}
	const struct sim_log_entry *e = &g->at[index - 1];
	if (e->term != term || e->kind != kind || e->raw.len != raw.n || (raw.n && memcmp(e->raw.data, raw.p, raw.n)))
		sim_fail(w, "cloud %u: committed entry %llu of group %u has term %llu, kind %u, %zu bytes; elsewhere it was "
		            "term %llu, kind %u, %zu bytes",
		    c->pid, (unsigned long long)index, group, (unsigned long long)term, kind, raw.n, (unsigned long long)e->term,
		    e->kind, e->raw.len);
}

/* What the log holds, as it is on the disk. False: no such entry. */
static bool log_entry(struct sim_cloud *c, struct kv_txn *txn, uint32_t group, uint64_t index, uint64_t *ret_term,
    uint8_t *ret_kind, struct bytes *ret_raw)
{
	uint8_t key[8];
	struct bytes value;
	for (int i = 0; i < 8; i++)
		key[i] = (uint8_t)(index >> (56 - 8 * i));
	int rc = kv_get(txn, LOG_DB_GROUP(group), bytes_of(key, sizeof(key)), &value);
	if (rc)
		return false;
	struct rd r = rd_init(value.p, value.n);
	*ret_term = rd_u64(&r);
	*ret_kind = rd_u8(&r);
	*ret_raw = bytes_of(r.p, rd_left(&r));
	if (r.err)
		sim_fail(c->w, "cloud %u: entry %llu of group %u is no record", c->pid, (unsigned long long)index, group);
	return !r.err;
}

/* It held the group, does no longer, and may do so again. */
static bool was_dropped(struct sim_cloud *c, uint32_t group)
{
	struct bytes config;
	bool is_void = false;
	if (!c->w->plan->change_count)
		return false;
	apply_group_start(c->apply, group, &config, &is_void);
	return is_void;
}

void sim_group_committed(struct sim_cloud *c, uint32_t group, uint64_t index)
{
	struct sim_world *w = c->w;
	struct kv_txn *txn;
	if (group < SIM_GROUPS_MAX && index < c->seen[group] && was_dropped(c, group))
		c->seen[group] = 0;
	if (group >= SIM_GROUPS_MAX || index < c->seen[group]) {
		sim_fail(w, "cloud %u: the committed index of group %u fell to %llu", c->pid, group, (unsigned long long)index);
		return;
	}
	if (index == c->seen[group] || kv_begin(c->log, false, &txn))
		return;
	/* What the state holds was compared when it was applied, here or where a snapshot comes from; after one the log may hold
	 * other things below until its next write. */
	uint64_t term, first = apply_applied(c->apply, group, &term) + 1;
	for (uint64_t i = first > c->seen[group] ? first : c->seen[group] + 1; i <= index && !w->failed; i++) {
		uint8_t kind;
		struct bytes raw;
		if (log_entry(c, txn, group, i, &term, &kind, &raw))
			entry_check(c, group, i, term, kind, raw);
		else if (i > w->groups[group].count && !w->failed)
			sim_fail(w, "cloud %u says that entry %llu of group %u is committed, and does not have it", c->pid,
			    (unsigned long long)i, group);
	}
	c->seen[group] = index;
	kv_abort(txn);
}

void sim_group_applies(struct sim_cloud *c, const struct apply_job *job)
{
	for (size_t i = 0; i < job->count && !c->w->failed; i++) {
		const struct apply_item *it = &job->items[i];
		switch (it->step) {
		case APPLY_ENTRY:
			entry_check(c, it->group, it->index, it->term, RAFT_ENTRY_DATA, it->bytes);
			break;
		case APPLY_NOOP:
			entry_check(c, it->group, it->index, it->term, RAFT_ENTRY_NOOP, bytes_of(NULL, 0));
			break;
		case APPLY_CONFIG:
			entry_check(c, it->group, it->index, it->term, RAFT_ENTRY_CONFIG, it->bytes);
			break;
		case APPLY_SNAPSHOT_BEGIN:
			c->w->snapshots++;
			break;
		case APPLY_SNAPSHOT_RECORDS:
		case APPLY_SNAPSHOT_END:
		case APPLY_VOID:
			break;
		case APPLY_SKIP:
			sim_fail(c->w, "cloud %u passes over entry %llu of group %u", c->pid, (unsigned long long)it->index, it->group);
			break;
		}
	}
}

/* ---- what is written: the log matching property --------------------------------------------------------------------- */

static struct sim_written *written_slot(struct sim_world *w, uint64_t key)
{
	for (size_t i = sim_mix(key) & (w->written_cap - 1);; i = (i + 1) & (w->written_cap - 1))
		if (!w->written[i].key || w->written[i].key == key)
			return &w->written[i];
}

static void written_grow(struct sim_world *w)
{
	if (2 * w->written_count < w->written_cap)
		return;
	struct sim_written *old = w->written;
	size_t n = w->written_cap;
	w->written_cap = n ? 2 * n : 4096;
	w->written = xcalloc(w->written_cap, sizeof(*w->written));
	for (size_t i = 0; i < n; i++)
		if (old[i].key)
			*written_slot(w, old[i].key) = old[i];
	free(old);
}

static void take_member(struct sim_cloud *c, struct bytes value)
{
	struct rd r = rd_init(value.p, value.n);
	rd_raw(&r, KV_RECORD_HEAD);
	rd_u8(&r);
	size_t n;
	rd_bytes(&r, LOG_NODE_VALUE_MAX, &n);
	rd_varint(&r);
	c->member = rd_u64(&r);
	if (r.err)
		sim_fail(c->w, "cloud %u writes a node record that is none", c->pid);
}

static void note_config(struct sim_group *g, uint64_t index, struct bytes raw)
{
	g->configs = xrealloc(g->configs, (g->config_count + 1) * sizeof(*g->configs));
	struct sim_config *c = &g->configs[g->config_count++];
	*c = (struct sim_config){.index = index};
	buf_put(&c->raw, raw.p, raw.n);
	if (index > g->config_written)
		g->config_written = index;
}

void sim_group_written(struct sim_cloud *c, unsigned db, struct bytes key, struct bytes value)
{
	struct sim_world *w = c->w;
	if (db == LOG_DB_NODE) {
		if (key.n == 1 && key.p[0] == LOG_KEY_NODE[0])
			take_member(c, value);
		return;
	}
	uint32_t group = db - LOG_DB_GROUP(0);
	struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
	uint64_t index = rd_be64(&k);
	rd_raw(&v, KV_RECORD_HEAD);
	uint64_t term = rd_u64(&v);
	uint8_t kind = rd_u8(&v);
	if (rd_finish(&k) || v.err || group > w->topology->shards) {
		sim_fail(w, "cloud %u writes a log record of group %u that is none", c->pid, group);
		return;
	}
	written_grow(w);
	uint64_t id = sim_mix(sim_mix(sim_mix(index) ^ term) + group) | 1, hash = sim_hash_bytes(v.p, rd_left(&v)) ^ kind;
	struct sim_written *s = written_slot(w, id);
	if (!s->key) {
		*s = (struct sim_written){id, hash};
		w->written_count++;
		if (kind == RAFT_ENTRY_CONFIG)
			note_config(&w->groups[group], index, bytes_of(v.p, rd_left(&v)));
	} else if (s->hash != hash) {
		sim_fail(w, "cloud %u: entry %llu of group %u, term %llu, is not what another log has under these numbers", c->pid,
		    (unsigned long long)index, group, (unsigned long long)term);
	}
}

/* ---- states ------------------------------------------------------------------------------------------------------- */

void sim_group_state(struct sim_cloud *c, struct kv_txn *txn, uint32_t group)
{
	struct sim_world *w = c->w;
	struct apply_group_info info;
	int rc = apply_read_group(txn, group, &info);
	if (rc) {
		sim_fail(w, "cloud %u: the state of group %u: %s", c->pid, group, err_text(rc));
		return;
	}
	if (info.is_void)
		sim_cloud_forget(c, group); /* what a snapshot brings may be a little older than what was there */
	if (info.is_void || !info.applied)
		return;
	if (info.applied < c->state_at[group])
		sim_fail(w, "cloud %u: the durable state of group %u fell from %llu to %llu", c->pid, group,
		    (unsigned long long)c->state_at[group], (unsigned long long)info.applied);
	c->state_at[group] = info.applied;
	struct sim_group *g = &w->groups[group];
	if (info.applied > g->count) {
		sim_fail(w, "cloud %u: the state of group %u is at %llu, and %zu entries are committed", c->pid, group,
		    (unsigned long long)info.applied, g->count);
		return;
	}
	struct sim_log_entry *e = &g->at[info.applied - 1];
	if (e->digest_known && (e->digest_hi != info.digest_hi || e->digest_lo != info.digest_lo))
		sim_fail(w, "cloud %u: the state of group %u at %llu is not that of another replica there", c->pid, group,
		    (unsigned long long)info.applied);
	if (info.term != e->term)
		sim_fail(w, "cloud %u: the state of group %u at %llu says term %llu, the entry has %llu", c->pid, group,
		    (unsigned long long)info.applied, (unsigned long long)info.term, (unsigned long long)e->term);
	e->digest_known = true;
	e->digest_hi = info.digest_hi;
	e->digest_lo = info.digest_lo;
}

/* ---- leaders ------------------------------------------------------------------------------------------------------ */

static struct sim_leader *leader_slot(const struct sim_group *g, uint64_t term)
{
	for (size_t i = sim_mix(term) & (g->leader_cap - 1);; i = (i + 1) & (g->leader_cap - 1))
		if (!g->leaders[i].term || g->leaders[i].term == term)
			return &g->leaders[i];
}

static void leader_says(struct sim_cloud *c, uint32_t group, uint64_t term, uint64_t member)
{
	struct sim_group *g = &c->w->groups[group];
	if (2 * g->leader_count >= g->leader_cap) {
		struct sim_leader *old = g->leaders;
		size_t n = g->leader_cap;
		g->leader_cap = n ? 2 * n : 64;
		g->leaders = xcalloc(g->leader_cap, sizeof(*g->leaders));
		for (size_t i = 0; i < n; i++)
			if (old[i].term)
				*leader_slot(g, old[i].term) = old[i];
		free(old);
	}
	struct sim_leader *l = leader_slot(g, term);
	if (!l->term) {
		*l = (struct sim_leader){term, member};
		g->leader_count++;
	} else if (l->member != member) {
		sim_fail(c->w, "group %u: two leaders in term %llu: members %llx and %llx", group, (unsigned long long)term,
		    (unsigned long long)l->member, (unsigned long long)member);
	}
}

/* For --verbose. Not part of the trace's hash. */
static void show(const struct sim_cloud *c, uint32_t node, const struct msg_raft *r)
{
	static const char *const kinds[] = {"?", "pre-vote", "pre-vote result", "request-vote", "request-vote result", "append",
	    "append result", "heartbeat", "heartbeat result", "snapshot offer", "snapshot offer result", "timeout-now"};
	if (r->kind == RAFT_HEARTBEAT || r->kind == RAFT_HEARTBEAT_RESULT || r->kind > RAFT_TIMEOUT_NOW)
		return;
	printf("%9.3f   %u -> %u group %u: %s term %llu, %llu/%llu +%zu commit %llu%s", (double)c->w->now_ns / 1e9, c->pid, node,
	    r->group, kinds[r->kind], (unsigned long long)r->term, (unsigned long long)r->index, (unsigned long long)r->log_term,
	    r->entry_count, (unsigned long long)r->commit, r->force ? " forced" : "");
	if (r->reject)
		printf(" NO, hint %llu/%llu", (unsigned long long)r->hint_index, (unsigned long long)r->hint_term);
	printf("\n");
}

/* Right after a vote is when forgetting it would hurt. */
static void crash_at_vote(struct sim_cloud *c, const struct msg_raft *r)
{
	struct sim_world *w = c->w;
	if (r->kind == RAFT_REQUEST_VOTE_RESULT && !r->reject && !w->no_faults && w->plan->cloud_crash_ns && !w->plan->failover &&
	    sim_chance(&w->fault_rand, 0.05))
		sim_fault_crash(w, c->pid, sim_range(&w->fault_rand, 0, 100) * NS_PER_MS);
}

void sim_group_sent(struct sim_cloud *c, uint32_t node, const struct msg *m)
{
	for (size_t i = 0; i < m->raft.message_count && c->w->verbose; i++)
		show(c, node, &m->raft.messages[i]);
	for (size_t i = 0; i < m->raft.message_count && !c->w->failed; i++) {
		const struct msg_raft *r = &m->raft.messages[i];
		crash_at_vote(c, r);
		if (r->group > c->w->topology->shards)
			sim_fail(c->w, "cloud %u speaks of group %u", c->pid, r->group);
		else if (r->kind == RAFT_APPEND_ENTRIES || r->kind == RAFT_HEARTBEAT || r->kind == RAFT_INSTALL_SNAPSHOT ||
		    r->kind == RAFT_TIMEOUT_NOW)
			leader_says(c, r->group, r->term, m->raft.from);
	}
}

/* ---- lost folders ------------------------------------------------------------------------------------------------- */

static bool is_lost(const struct sim_world *w, uint64_t member)
{
	for (size_t i = 0; i < w->lost_count; i++)
		if (w->lost[i] == member)
			return true;
	return false;
}

/* The configuration that is committed last. False: none is. */
static bool config_of(const struct sim_group *g, struct raft_config *ret)
{
	for (size_t i = g->count; i > 0; i--)
		if (g->at[i - 1].kind == RAFT_ENTRY_CONFIG)
			return !raft_config_decode(g->at[i - 1].raw.data, g->at[i - 1].raw.len, ret);
	return false;
}

bool sim_group_config(const struct sim_world *w, uint32_t group, struct raft_config *ret)
{
	return config_of(&w->groups[group], ret);
}

static bool of_slot(uint64_t member, uint32_t slot)
{
	return (member & ((UINT64_C(1) << CONSENSUS_NODE_BITS) - 1)) == slot;
}

/* In one that is written above what is committed, and so may be committed yet. What others are added or removed there meanwhile does not
 * matter. */
static bool may_be_in(const struct sim_group *g, uint64_t member)
{
	for (size_t i = 0; i < g->config_count; i++) {
		const struct sim_config *c = &g->configs[i];
		struct raft_config config;
		if (c->index > g->count && (raft_config_decode(c->raw.data, c->raw.len, &config) || raft_config_find(&config, member)))
			return true;
	}
	return false;
}

bool sim_group_is_out(const struct sim_cloud *c)
{
	for (uint32_t g = 0; g <= c->w->topology->shards; g++) {
		const struct sim_group *group = &c->w->groups[g];
		struct raft_config config;
		if (may_be_in(group, c->member) || (config_of(group, &config) && raft_config_find(&config, c->member)))
			return false;
	}
	return true;
}

/* Every other node that the cluster counts on runs, and they reach each other. */
static bool all_there(const struct sim_world *w, const struct sim_cloud *but)
{
	for (uint32_t i = 0; i < w->cloud_count; i++) {
		const struct sim_cloud *c = &w->clouds[i];
		for (uint32_t k = 0; k < w->cloud_count; k++)
			if (w->blocked[i][k])
				return false;
		if (c != but && c->wanted && (!c->up || c->sleep.paused_until_ns > w->now_ns))
			return false;
	}
	return true;
}

static bool has_slot(const struct raft_config *config, uint32_t slot)
{
	for (uint32_t i = 0; i < config->count; i++)
		if (of_slot(config->members[i].id, slot))
			return true;
	return false;
}

/* Three voters or more, where the map places them, and none of them but maybe the one at `slot` is lost. */
static bool is_whole(const struct sim_world *w, uint32_t group, const struct raft_config *config, uint32_t slot)
{
	const struct topology *t = sim_topology(w);
	bool whole = config->count >= 3 && config->count == topology_replicas(t, group);
	for (uint32_t i = 0; i < config->count && whole; i++) {
		const struct raft_member *m = &config->members[i];
		uint32_t at = (uint32_t)(m->id & ((UINT64_C(1) << CONSENSUS_NODE_BITS) - 1));
		whole = m->voter && topology_rank(t, group, at) >= 0 && (at == slot || !is_lost(w, m->id));
	}
	return whole;
}

/* A map that takes a node out, or brings one, was asked for: it may be in a log already. */
static bool nodes_may_change(const struct sim_world *w)
{
	const struct sim_operator *o = &w->operator;
	const struct sim_change *ch = &w->plan->changes[o->next];
	if (sim_operator_done(w) || !o->prepared || ch->deed != SIM_APPLY_TEXT || !ch->topology)
		return false;
	for (uint32_t i = 0; i < w->cloud_count; i++)
		if ((sim_slot_of(w, ch->topology, i) >= 0) != (sim_slot_of(w, sim_topology(w), i) >= 0))
			return true;
	return false;
}

/* As below, where members change: a voter that is replaced and away goes before its successor comes, and then two voters would have to
 * be there both. So none is lost while that is under way, in what is committed or only written. */
static bool may_wipe_of_changing(const struct sim_world *w, const struct sim_cloud *c)
{
	for (uint32_t g = 0; g <= w->topology->shards; g++) {
		struct raft_config config;
		if (!config_of(&w->groups[g], &config) || w->groups[g].config_written > w->groups[g].count)
			return false;
		if (has_slot(&config, c->slot) && !is_whole(w, g, &config, c->slot))
			return false;
	}
	return w->lost_count < SIM_LOST_MAX && all_there(w, c) && !nodes_may_change(w);
}

/* Raft survives the loss of a folder when every other voter's is there: what was committed is on a majority of them all, and
 * the loser's successor is a voter only once it has everything. So one at a time in each group; the same one may lose it again
 * meanwhile. */
bool sim_group_may_wipe(const struct sim_world *w, const struct sim_cloud *c)
{
	if (w->plan->change_count)
		return may_wipe_of_changing(w, c);
	if (w->topology->replicas < 3 || w->lost_count == SIM_LOST_MAX)
		return false;
	for (uint32_t g = 0; g <= w->topology->shards; g++) {
		struct raft_config config;
		uint32_t others = 0;
		if (!sim_placed(w, g, c->pid))
			continue;
		if (!config_of(&w->groups[g], &config))
			return false;
		for (uint32_t i = 0; i < config.count; i++) {
			if ((config.members[i].id & ((UINT64_C(1) << CONSENSUS_NODE_BITS) - 1)) == c->pid)
				continue;
			if (is_lost(w, config.members[i].id))
				return false;
			others += config.members[i].voter;
		}
		if (others != w->topology->replicas - 1)
			return false;
	}
	return true;
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

static int replay_entry(struct apply *a, uint32_t group, uint64_t index, const struct sim_log_entry *e)
{
	struct apply_result r = {0};
	struct bytes raw = bytes_of(e->raw.data, e->raw.len);
	int rc = e->kind == RAFT_ENTRY_NOOP ? apply_noop(a, group, index, e->term, &r) :
	    e->kind == RAFT_ENTRY_CONFIG    ? apply_config(a, group, index, e->term, raw, &r) :
					      apply_entry(a, group, index, e->term, raw, &r);
	if (!rc)
		apply_result_clear(&r);
	return rc;
}

static void check_replayed(struct sim_world *w, struct kv *kv, uint32_t group, size_t index)
{
	const struct sim_log_entry *e = &w->groups[group].at[index - 1];
	struct apply_group_info again = {0};
	struct kv_txn *txn;
	weir_assert(!kv_begin(kv, false, &txn));
	int rc = apply_read_group(txn, group, &again);
	kv_abort(txn);
	if (rc || again.applied != index || again.digest_hi != e->digest_hi || again.digest_lo != e->digest_lo)
		sim_fail(w, "group %u: its log, replayed, gives another state at index %zu", group, index);
}

/* The log alone, applied with other commits, gives the same state: that which all replicas have in the end. */
static void replay(struct sim_world *w, uint32_t group, struct apply *a, struct kv *kv)
{
	const struct sim_group *g = &w->groups[group];
	size_t last = g->count;
	while (last && !g->at[last - 1].digest_known)
		last--;
	for (size_t i = 1; i <= last && !w->failed; i++) {
		int rc = replay_entry(a, group, i, &g->at[i - 1]);
		bool wanted = g->at[i - 1].kind == RAFT_ENTRY_DATA && sim_alert_wants(w, group, bytes_of(g->at[i - 1].raw.data, g->at[i - 1].raw.len));
		bool commit = i == last || i % REPLAY_COMMIT_EVERY == 0 || wanted;
		if (!rc && commit)
			rc = apply_commit(a);
		if (rc)
			sim_fail(w, "replay of entry %zu of group %u: %s", i, group, err_text(rc));
		else if (commit && g->at[i - 1].digest_known)
			check_replayed(w, kv, group, i);
		if (!rc && wanted && !w->failed)
			sim_alert_replayed(w, kv, group);
	}
}

void sim_group_replay(struct sim_world *w)
{
	struct sim_disk *disk = sim_disk_new(STATE_DBS(w->topology->shards), UINT64_C(1) << 40);
	struct kv *kv = sim_kv_open(disk, 1);
	struct apply *a = NULL;
	char *why = NULL;
	int rc = apply_open(w->topology, kv, &a, &why);
	if (rc)
		sim_fail(w, "apply does not open an empty state: %s", why ? why : err_text(rc));
	free(why);
	for (uint32_t g = 0; g <= w->topology->shards && !w->failed; g++)
		replay(w, g, a, kv);
	if (!rc)
		apply_close(a);
	kv_close(kv);
	sim_disk_free(disk);
}

void sim_group_free(struct sim_world *w)
{
	for (size_t g = 0; g < SIM_GROUPS_MAX; g++) {
		for (size_t i = 0; i < w->groups[g].count; i++)
			buf_free(&w->groups[g].at[i].raw);
		for (size_t i = 0; i < w->groups[g].config_count; i++)
			buf_free(&w->groups[g].configs[i].raw);
		free(w->groups[g].configs);
		free(w->groups[g].at);
		free(w->groups[g].leaders);
	}
	free(w->written);
}
