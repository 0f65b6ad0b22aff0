/* A cloudd: the real node and apply on simulated disks. The log writer and the state writer of the daemon are two
 * queues of jobs here, run at random later times. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/jobs.h"
#include "common/err.h"
#include "common/map.h"
#include "raft/raft.h"
#include "tests/sim/sim_world.h"

#define STATE_COMMIT_MAX_NS (200 * NS_PER_MS)
#define CLOUD_DISK_BYTES (UINT64_C(1) << 40)

static void cloud_died(struct sim_cloud *c);
static void reopen(struct sim_cloud *c);

static bool zombie(const struct sim_cloud *c)
{
	return !c->up || sim_kv_dead(c->log) || sim_kv_dead(c->state);
}

struct node_time sim_cloud_time(const struct sim_cloud *c)
{
	int64_t vain_ns = c->w->mutant == MUTANT_VAIN_CLOCK ? 100 * 86400 * NS_PER_SEC : 0;
	return (struct node_time){sim_wall_ns(c->w) + c->skew_ns + vain_ns, sim_mono_ns(c->w, &c->sleep)};
}

static int64_t job_delay(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	int64_t max = w->now_ns < c->slow_until_ns ? 500 * NS_PER_MS : 8 * NS_PER_MS;
	return sim_range(&w->disk_rand, 50000, max);
}

/* A mutant: whoever leads a group says that its members are those that the map places. */
static void settle_early(const struct sim_world *w, const void *frame, size_t len, struct buf *ret_changed)
{
	struct msg m;
	if (w->mutant != MUTANT_EAGER_SETTLED || msg_decode(frame, len, &m))
		return;
	struct msg_info *info = m.type == MSG_INFO ? &m.info : m.type == MSG_INFO_REPLY ? &m.info_reply : NULL;
	for (size_t i = 0; info && i < info->lead_count; i++)
		info->leads[i].settled = info->map_version;
	if (info && msg_encode(&m, ret_changed))
		buf_clear(ret_changed);
	msg_clear(&m);
}

/* ---- what the node asks for ------------------------------------------------------------------------------------ */

static bool cloud_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	struct buf changed = {0};
	settle_early(c->w, frame, len, &changed);
	bool sent = !zombie(c) &&
	    sim_net_to_dealer(c->w, c->pid, route, changed.len ? changed.data : frame, changed.len ? changed.len : len);
	buf_free(&changed);
	return sent;
}

/* A mutant's network: the follower has said that it has the entries, and they never reached it. */
static bool vouch(struct sim_cloud *c, uint32_t pid, const struct msg *m)
{
	bool any = false;
	for (size_t i = 0; i < m->raft.message_count; i++)
		any = any || (m->raft.messages[i].kind == RAFT_APPEND_ENTRIES && m->raft.messages[i].entry_count);
	if (!any || !sim_chance(&c->w->net_rand, 0.1))
		return false;
	for (size_t i = 0; i < m->raft.message_count; i++) {
		const struct msg_raft *a = &m->raft.messages[i];
		struct msg_raft r = {.group = a->group, .kind = RAFT_APPEND_ENTRIES_RESULT, .term = a->term,
		    .index = a->index + a->entry_count};
		struct msg reply = {.type = MSG_RAFT, .from = c->w->plan->clouds[pid], .cluster_id = m->cluster_id};
		reply.raft.from = m->raft.to;
		reply.raft.to = m->raft.from;
		reply.raft.message_count = 1;
		reply.raft.messages = &r;
		struct buf out = {0};
		if (a->kind == RAFT_APPEND_ENTRIES && a->entry_count && !msg_encode(&reply, &out))
			sim_net_forge(c->w, pid, c->pid, out.data, out.len);
		buf_free(&out);
	}
	return true;
}

/* The same for an advance. */
static bool lose_advance(struct sim_cloud *c, uint32_t pid, const struct msg *m)
{
	if (!sim_chance(&c->w->net_rand, 0.3))
		return false;
	struct msg reply = {.type = MSG_ADVANCE_REPLY, .req_id = m->req_id, .from = c->w->plan->clouds[pid],
	    .cluster_id = m->cluster_id};
	reply.advance_reply.shard = m->advance.shard;
	reply.advance_reply.meta_index = m->advance.meta_index;
	reply.advance_reply.verdict = VERDICT_OK;
	struct buf out = {0};
	bool lost = c->peer_conn[pid] && !msg_encode(&reply, &out) &&
	    sim_net_to_dealer(c->w, pid, bytes_of(&c->peer_conn[pid], sizeof(c->peer_conn[pid])), out.data, out.len);
	buf_free(&out);
	return lost;
}

/* True: it does not go on. */
static bool tamper(struct sim_cloud *c, uint32_t pid, const struct msg *m)
{
	if (c->w->mutant == MUTANT_VOUCH && m->type == MSG_RAFT)
		return vouch(c, pid, m);
	return c->w->mutant == MUTANT_LOST_ADVANCE && m->type == MSG_ADVANCE && lose_advance(c, pid, m);
}

static bool send_to_node(struct sim_cloud *c, uint64_t *conns, uint32_t node, const void *frame, size_t len)
{
	if (zombie(c))
		return false;
	int pid = sim_pid_at(c->w, c->topology, node);
	if (node == c->slot || (pid < 0 && !c->w->plan->change_count)) {
		sim_fail(c->w, "cloud %u sends to node %u", c->pid, node);
		return false;
	}
	if (pid < 0 || pid == (int)c->pid)
		return false; /* nobody has that place, or not any more */
	struct msg m;
	int rc = msg_decode(frame, len, &m);
	if (rc) {
		sim_fail(c->w, "cloud %u sends a frame that does not decode: %s", c->pid, err_text(rc));
		return false;
	}
	if (m.type == MSG_RAFT)
		sim_group_sent(c, (uint32_t)pid, &m);
	if (!conns[pid])
		conns[pid] = sim_net_connect(c->w, c->pid, (uint32_t)pid);
	struct buf changed = {0};
	settle_early(c->w, frame, len, &changed);
	bool sent = tamper(c, (uint32_t)pid, &m) ||
	    sim_net_to_router(c->w, &conns[pid], changed.len ? changed.data : frame, changed.len ? changed.len : len);
	buf_free(&changed);
	msg_clear(&m);
	return sent;
}

static bool cloud_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	return send_to_node(c, c->peer_conn, node, frame, len);
}

static bool cloud_send_bulk(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	return send_to_node(c, c->bulk_conn, node, frame, len);
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

/* A mutant: a snapshot says that it is of the entry after its own. */
static void move_ahead(struct sim_cloud *c, struct msg *m)
{
	struct snapshot_head head = {.index = ++m->snapshot_reply.index,
	    .term = m->snapshot_reply.term,
	    .config = m->snapshot_reply.config,
	    .digest_hi = m->snapshot_reply.digest_hi,
	    .digest_lo = m->snapshot_reply.digest_lo,
	    .meta_index = m->snapshot_reply.meta_index,
	    .skipped = m->snapshot_reply.skipped};
	c->true_id = m->snapshot_reply.id;
	c->false_id = m->snapshot_reply.id = snapshot_id(m->snapshot_reply.group, &head);
}

/* What cloudd/serve does on a reader thread. Nobody queries over the network here: readers are in sim_read.c. */
static void cloud_serve(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct sim_cloud *c = arg;
	struct msg m, reply = {0};
	struct buf body = {0}, out = {0};
	uint8_t id[CLUSTER_ID_BYTES];
	if (zombie(c) || msg_decode(frame, len, &m))
		return;
	if (m.type == MSG_SNAPSHOT) {
		if (m.snapshot.id && m.snapshot.id == c->false_id)
			m.snapshot.id = c->true_id;
		snapshots_serve(c->snapshots, &m, sim_cloud_time(c).mono_ns, &body, &reply);
		if (c->w->mutant == MUTANT_SNAPSHOT_AHEAD && reply.snapshot_reply.verdict == VERDICT_OK)
			move_ahead(c, &reply);
		reply.req_id = m.req_id;
		reply.from = c->w->plan->clouds[c->pid];
		if (node_cluster_id(c->node, id))
			reply.cluster_id = bytes_of(id, sizeof(id));
		if (msg_encode(&reply, &out))
			sim_fail(c->w, "cloud %u: a snapshot's chunk does not fit a frame", c->pid);
		else
			cloud_reply(c, route, out.data, out.len);
	}
	buf_free(&out);
	buf_free(&body);
	msg_clear(&m);
}

static void cloud_committed(void *arg, uint32_t group, uint64_t index)
{
	struct sim_cloud *c = arg;
	sim_hash(c->w, (uint64_t)group << 32 ^ index);
	if (!zombie(c))
		sim_group_committed(c, group, index);
}

static void cloud_read(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct sim_cloud *c = arg;
	if (!zombie(c) && !sim_sink_told(c, group, context, ok, index))
		sim_read_told(c, group, context, ok, index);
}

/* ---- snapshots' files: in memory, gone with the process ---------------------------------------------------------- */

static int file_create(void *arg, void **ret_file)
{
	(void)arg;
	*ret_file = xcalloc(1, sizeof(struct buf));
	return 0;
}

static int file_append(void *file, const void *p, size_t n)
{
	buf_put(file, p, n);
	return 0;
}

static int file_read(void *file, uint64_t offset, void *p, size_t n)
{
	const struct buf *b = file;
	if (offset > b->len || n > b->len - offset)
		return WEIR_EIO;
	memcpy(p, b->data + offset, n);
	return 0;
}

static void file_close(void *file)
{
	buf_free(file);
	free(file);
}

/* ---- the cluster map ---------------------------------------------------------------------------------------------- */

static void go_by(struct sim_cloud *c, const struct topology *t, uint32_t slot)
{
	topology_hold(t);
	topology_free(c->topology);
	c->topology = t;
	c->slot = slot;
}

/* What is kept has a place for it: else it goes by its file, and asks the others. */
static bool use_map(struct sim_cloud *c)
{
	struct topology *t = c->map.len ? sim_map_topology(c->w, bytes_of(c->map.data, c->map.len), NULL) : NULL;
	int slot = t ? sim_slot_of(c->w, t, c->pid) : -1;
	if (slot >= 0)
		go_by(c, t, (uint32_t)slot);
	topology_free(t);
	return slot >= 0;
}

/* Who begins with nothing needs a file that names somebody who is still there. */
static void take_latest_file(struct sim_cloud *c)
{
	const struct sim_plan *p = c->w->plan;
	for (uint32_t i = 0; i < c->w->operator.next; i++)
		if (p->changes[i].topology && sim_slot_of(c->w, p->changes[i].topology, c->pid) >= 0)
			c->file = p->changes[i].topology;
}

static void find_place(struct sim_cloud *c)
{
	if (c->w->plan->change_count && use_map(c))
		return;
	buf_clear(&c->map);
	go_by(c, c->file, (uint32_t)sim_slot_of(c->w, c->file, c->pid));
}

static void cloud_mapped(void *arg, const struct topology *t, struct bytes map)
{
	struct sim_cloud *c = arg;
	if (zombie(c) || (!t && c->w->mutant == MUTANT_NO_REOPEN))
		return;
	buf_clear(&c->map);
	buf_put(&c->map, map.p, map.n);
	if (!t) {
		c->reopens = true;
		return;
	}
	go_by(c, t, c->slot);
	sim_map_seen(c->w, t);
	sim_versions_seen(c->w, map, t->map_version);
}

/* It ends, and is there again at once, at another place. */
static void reopen(struct sim_cloud *c)
{
	sim_trace(c->w, "cloud %u: the cluster has a place for it", c->pid);
	sim_cloud_crash(c);
	sim_plan_event(c->w, SIM_NODE_START, sim_range(&c->w->disk_rand, 1, 50) * NS_PER_MS, c->pid, c->life);
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
	if (c->reopens)
		reopen(c);
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

#define ROOM_BYTES 4000 /* as STATE_ROOM_BYTES of cloudd/writers.h */

static void set_low(struct sim_cloud *c, bool low)
{
	if (low == c->low)
		return;
	sim_trace(c->w, "cloud %u: its state is %s room", c->pid, low ? "short of" : "no longer short of");
	c->low = low;
	state_tells(c, SIM_STATE_LOW, NULL, low);
}

static void look_for_room(struct sim_cloud *c)
{
	set_low(c, apply_take_room(c->apply, c->low ? 2 * ROOM_BYTES : ROOM_BYTES) != 0);
}

static void tell_durable(struct sim_cloud *c)
{
	uint32_t shards = c->w->topology->shards;
	uint64_t *durable = xcalloc(shards + 1, sizeof(*durable)), term;
	for (uint32_t g = 0; g <= shards; g++)
		durable[g] = apply_applied(c->apply, g, &term);
	state_tells(c, SIM_STATE_DURABLE, durable, 0);
	sim_check_state(c);
}

/* A job's own commit, before it is given back. */
static int commit_alone(struct sim_cloud *c)
{
	int rc = apply_commit(c->apply);
	if (rc && rc != WEIR_EFULL && !sim_kv_dead(c->state))
		sim_fail(c->w, "cloud %u: state commit: %s", c->pid, err_text(rc));
	return rc;
}

void sim_cloud_apply_run(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	struct apply_job *job = c->apply_jobs[c->apply_first];
	look_for_room(c);
	if (c->low)
		sim_cloud_state_commit(c);
	if (!c->up || w->failed)
		return;
	sim_group_applies(c, job);
	c->apply_first = (c->apply_first + 1) % SIM_JOBS_MAX;
	c->apply_count--;
	int rc = c->refuse_next ? WEIR_EFULL : apply_job_run(c->apply, job);
	c->refuse_next = false;
	if (rc && rc != WEIR_EFULL && !job->corrupt && !sim_kv_dead(c->state))
		sim_fail(w, "cloud %u: apply job: %s", c->pid, err_text(rc));
	if (rc == WEIR_EFULL || (!rc && apply_take_room(c->apply, 0)))
		set_low(c, true);
	bool alone = !rc && c->low && apply_uncommitted(c->apply);
	if (alone)
		rc = commit_alone(c);
	if (sim_kv_dead(c->state)) {
		cloud_died(c);
		return;
	}
	if (rc)
		apply_abort(c->apply);
	if (!c->commit_planned && apply_uncommitted(c->apply)) {
		c->commit_planned = true;
		sim_plan_event(w, SIM_STATE_COMMIT, sim_range(&w->disk_rand, 0, STATE_COMMIT_MAX_NS), c->pid, c->life);
	}
	state_tells(c, SIM_APPLY_DONE, job, rc);
	if (alone && !rc)
		tell_durable(c);
}

void sim_cloud_apply_done(struct sim_cloud *c, void *job, int rc)
{
	struct apply_job *j = job;
	for (size_t i = 0; !rc && i < j->count; i++)
		if (j->items[i].index)
			c->applied[j->items[i].group] = j->items[i].index;
	node_applied(c->node, job, rc, sim_cloud_time(c));
	for (uint32_t g = 0; c->w->mutant == MUTANT_EARLY_TRUNCATE && !rc && g <= c->w->topology->shards; g++)
		if (c->applied[g])
			node_state_durable(c->node, g, c->applied[g]);
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
	tell_durable(c);
}

void sim_cloud_low_told(struct sim_cloud *c, bool low)
{
	node_state_low(c->node, low, sim_cloud_time(c));
	after_call(c);
}

void sim_cloud_state_told(struct sim_cloud *c, bool aborted, const uint64_t *durable)
{
	struct node_time now = sim_cloud_time(c);
	if (aborted)
		node_state_aborted(c->node, now);
	for (uint32_t g = 0; !aborted && g <= c->w->topology->shards; g++)
		if (durable[g]) {
			c->durable[g] = durable[g];
			node_state_durable(c->node, g, durable[g]);
		}
	after_call(c);
	if (c->up && !aborted && !c->w->failed)
		sim_read_durable(c);
}

/* ---- frames and time -------------------------------------------------------------------------------------------- */

void sim_cloud_frame(struct sim_cloud *c, uint64_t conn, uint32_t from, bool peer, const void *frame, size_t len)
{
	int slot = peer ? sim_slot_of(c->w, c->topology, from) : -1;
	if (peer && slot >= 0)
		node_peer_frame(c->node, (uint32_t)slot, frame, len, sim_cloud_time(c));
	else if (!peer)
		node_frame(c->node, bytes_of(&conn, sizeof(conn)), "", frame, len, sim_cloud_time(c));
	after_call(c);
}

void sim_cloud_tick(struct sim_cloud *c)
{
	if (c->low)
		look_for_room(c);
	node_tick(c->node, sim_cloud_time(c));
	snapshots_tick(c->snapshots, sim_cloud_time(c).mono_ns);
	for (uint32_t g = 0; g <= c->w->topology->shards; g++)
		c->serves[g] = node_serves(c->node, g);
	after_call(c);
}

void sim_cloud_turn(struct sim_cloud *c)
{
	after_call(c);
}

void sim_cloud_read(struct sim_cloud *c, uint64_t context)
{
	sim_read_asked(c, context);
	after_call(c);
}

/* ---- life and death --------------------------------------------------------------------------------------------- */

/* A mutant: what a leader has on its own disk it acknowledges. */
static void disk_ack(struct sim_cloud *c, uint32_t group, struct bytes raw)
{
	struct sim_world *w = c->w;
	struct entry entry;
	if (!c->serves[group] || entry_decode(raw, &entry))
		return;
	for (uint32_t i = 0; i < w->edge_count && entry.kind == ENTRY_BATCH; i++) {
		struct sim_edge *e = &w->edges[i];
		const char *name = w->plan->edges[e->edge];
		if (!e->up || !e->conn || entry.batch.edge.n != strlen(name) || memcmp(name, entry.batch.edge.p, entry.batch.edge.n))
			continue;
		struct msg reply = {.type = MSG_BATCH_REPLY, .from = w->plan->clouds[e->cloud]};
		reply.batch_reply.edge = name;
		reply.batch_reply.shard = group - 1;
		reply.batch_reply.seq = reply.batch_reply.last = entry.batch.seq;
		reply.batch_reply.epoch = entry.batch.epoch;
		reply.batch_reply.verdict = VERDICT_OK;
		reply.batch_reply.credit_bytes = 1 << 20;
		reply.batch_reply.reason = "";
		uint8_t id[CLUSTER_ID_BYTES];
		if (node_cluster_id(c->node, id))
			reply.cluster_id = bytes_of(id, sizeof(id));
		struct buf out = {0};
		if (!msg_encode(&reply, &out))
			sim_net_to_dealer(w, e->cloud, bytes_of(&e->conn, sizeof(e->conn)), out.data, out.len);
		buf_free(&out);
	}
	entry_clear(&entry);
}

static void on_log_put(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct sim_cloud *c = arg;
	sim_group_written(c, db, key, value);
	size_t head = KV_RECORD_HEAD + LOG_ENTRY_HEAD;
	if (c->w->mutant == MUTANT_DISK_ACK && db > LOG_DB_GROUP(0) && value.n > head)
		disk_ack(c, db - LOG_DB_GROUP(0), bytes_of(value.p + head, value.n - head));
}

void sim_cloud_forget(struct sim_cloud *c, uint32_t group)
{
	c->state_at[group] = 0;
	for (size_t s = 0; s < SIM_VERSIONS_MAX; s++)
		c->closed[group][s] = (struct sim_closed){INT64_MIN, INT64_MIN};
}

static void make_disks(struct sim_cloud *c)
{
	c->log_disk = sim_disk_new(LOG_DBS(c->w->topology->shards), CLOUD_DISK_BYTES);
	c->state_disk = sim_disk_new(STATE_DBS(c->w->topology->shards), CLOUD_DISK_BYTES);
	sim_disk_hook_set(c->log_disk, on_log_put, c);
	for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++)
		sim_cloud_forget(c, g);
}

void sim_cloud_init(struct sim_world *w, struct sim_cloud *c, uint32_t pid)
{
	*c = (struct sim_cloud){.w = w, .pid = pid};
	make_disks(c);
	if (topology_cloud(w->topology, w->plan->clouds[pid]) >= 0) {
		c->wanted = true;
		c->file = w->topology;
		find_place(c);
	}
	int64_t skew = w->plan->skew_max_ns;
	c->skew_ns = skew ? sim_range(&w->proc_rand, -skew, skew) : 0;
}

static const struct node_io cloud_io = {
    .reply = cloud_reply,
    .send_node = cloud_send_node,
    .log_write = cloud_log_write,
    .apply = cloud_apply,
    .serve = cloud_serve,
    .send_bulk = cloud_send_bulk,
    .committed = cloud_committed,
    .read = cloud_read,
    .mapped = cloud_mapped,
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

static uint64_t last_term(struct kv_txn *txn, uint32_t group)
{
	struct kv_cursor *cursor;
	struct bytes key, value;
	uint64_t term = 0;
	if (kv_cursor_open(txn, LOG_DB_GROUP(group), &cursor))
		return 0;
	if (!kv_cursor_last(cursor, &key, &value)) {
		struct rd r = rd_init(value.p, value.n);
		term = rd_u64(&r);
	}
	kv_cursor_close(cursor);
	return term;
}

/* A mutant: who started again knows of no term but that of its log, and may vote again. */
static void lose_votes(struct sim_cloud *c)
{
	struct kv_txn *txn;
	if (kv_begin(c->log, true, &txn))
		return;
	int rc = 0;
	for (uint32_t g = 0; !rc && g <= c->w->topology->shards; g++) {
		uint8_t key[5] = {LOG_KEY_GROUP, (uint8_t)(g >> 24), (uint8_t)(g >> 16), (uint8_t)(g >> 8), (uint8_t)g}, copy[512];
		struct bytes value;
		if (kv_get(txn, LOG_DB_NODE, bytes_of(key, sizeof(key)), &value) || value.n > sizeof(copy) || value.n < 17)
			continue;
		memcpy(copy, value.p, value.n);
		uint64_t term = last_term(txn, g);
		for (int i = 0; i < 8 && term; i++)
			copy[1 + i] = (uint8_t)(term >> 8 * i);
		memset(copy + 9, 0, 8); /* version, term, vote */
		rc = kv_put(txn, LOG_DB_NODE, bytes_of(key, sizeof(key)), bytes_of(copy, value.n));
	}
	if (rc)
		kv_abort(txn);
	else
		kv_commit(txn);
}

static int open_node(struct sim_cloud *c, char **ret_why)
{
	struct sim_world *w = c->w;
	uint8_t random[16];
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)sim_u64(&w->proc_rand);
	struct node_io io = cloud_io;
	io.arg = c;
	const struct topology *t = c->topology; /* mapped() may come within, and another one with it */
	int rc = apply_open(t, c->state, &c->apply, ret_why);
	if (!rc && c->damaged)
		rc = sim_damage_void(c);
	if (rc)
		return rc;
	rc = node_open(t, c->slot, c->log, c->apply, c->state, &io, random, sim_cloud_time(c), &c->node, ret_why);
	if (!rc && c->map.len)
		node_keep_map(c->node, bytes_of(c->map.data, c->map.len));
	return rc;
}

bool sim_cloud_damage_log(struct sim_cloud *c)
{
	sim_disk_hook_set(c->log_disk, NULL, NULL); /* this is no entry that was written */
	bool done = sim_damage(c->log_disk, &c->w->fault_rand, 0, LOG_DBS(c->w->topology->shards), false);
	sim_disk_hook_set(c->log_disk, on_log_put, c);
	return done;
}

/* The log is not to be used: another member, with the states that are there. */
static int open_again(struct sim_cloud *c, char **ret_why)
{
	struct sim_world *w = c->w;
	weir_assert(w->lost_count < SIM_LOST_MAX);
	sim_trace(w, "cloud %u: its log is set aside: %s", c->pid, *ret_why ? *ret_why : "");
	free(*ret_why);
	*ret_why = NULL;
	w->lost[w->lost_count++] = c->member;
	c->member = 0;
	apply_close(c->apply);
	c->apply = NULL;
	kv_close(c->log);
	sim_disk_free(c->log_disk);
	c->log_disk = sim_disk_new(LOG_DBS(w->topology->shards), CLOUD_DISK_BYTES);
	sim_disk_hook_set(c->log_disk, on_log_put, c);
	c->log = sim_kv_open(c->log_disk, sim_u64(&w->disk_rand));
	return open_node(c, ret_why);
}

/* It was removed, and added again at another place: its operator does as the daemon says. */
static void empty_folder(struct sim_cloud *c)
{
	sim_cloud_crash(c);
	sim_cloud_wipe(c);
	sim_plan_event(c->w, SIM_NODE_START, sim_range(&c->w->fault_rand, 100, 3000) * NS_PER_MS, c->pid, c->life);
}

void sim_cloud_start(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	weir_assert(!c->up && c->file);
	find_place(c);
	c->life++;
	c->reopens = false;
	c->log_first = c->log_count = c->apply_first = c->apply_count = 0;
	c->log_busy = c->apply_busy = c->commit_planned = c->refuse_next = c->low = false;
	memset(c->peer_conn, 0, sizeof(c->peer_conn));
	memset(c->bulk_conn, 0, sizeof(c->bulk_conn));
	memset(c->seen, 0, sizeof(c->seen));
	memset(c->durable, 0, sizeof(c->durable));
	memset(c->applied, 0, sizeof(c->applied));
	memset(c->serves, 0, sizeof(c->serves));
	sim_wake(c->w, &c->sleep);
	c->apply = NULL;
	c->node = NULL;
	c->up = true;
	arm_disks(c);
	if (w->mutant == MUTANT_LOST_VOTE)
		lose_votes(c);
	struct snapshot_files files = {NULL, file_create, file_append, file_read, file_close};
	c->snapshots = snapshots_new(c->state, &files);
	char *why = NULL;
	int rc = open_node(c, &why);
	if (rc == WEIR_ECORRUPT && c->damaged)
		rc = open_again(c, &why);
	sim_trace(w, "cloud %u starts: %s", c->pid, rc ? why : "fine");
	/* A new folder, or a damaged one, on a full disk: it says so and ends, and is started again. */
	bool unmade = rc == WEIR_EFULL && (c->damaged || !sim_disk_used(c->log_disk) || !sim_disk_used(c->state_disk));
	bool foreign = rc == WEIR_EINVAL && w->plan->change_count && sim_group_is_out(c);
	if (rc && !unmade && !foreign && !sim_kv_dead(c->log) && !sim_kv_dead(c->state))
		sim_fail(w, "cloud %u does not open: %s", c->pid, why);
	free(why);
	if (foreign) {
		empty_folder(c);
		return;
	}
	if (rc) {
		cloud_died(c);
		return;
	}
	sim_sink_start(c);
	sim_alert_start(c);
	after_call(c);
	if (c->up)
		sim_plan_event(w, SIM_NODE_TICK, 0, c->pid, c->life);
}

void sim_cloud_crash(struct sim_cloud *c)
{
	sim_trace(c->w, "cloud %u crashes", c->pid);
	c->w->crashes++;
	for (uint32_t s = 0; s < c->w->topology->shards; s++)
		if (c->serves[s + 1] && !c->w->failover.killed_ns[s])
			c->w->failover.killed_ns[s] = c->w->now_ns;
	c->up = false;
	c->life++;
	sim_sink_stop(c);
	sim_alert_stop(c);
	if (c->node)
		node_close(c->node);
	if (c->apply)
		apply_close(c->apply);
	snapshots_free(c->snapshots);
	c->snapshots = NULL;
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

/* A mutant: the member number is not lost with the folder. */
static void keep_number(struct sim_disk *from, struct sim_disk *to)
{
	struct kv *old = sim_kv_open(from, 1), *new = sim_kv_open(to, 1);
	struct kv_txn *r, *t;
	struct bytes key = bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), value;
	weir_assert(!kv_begin(old, false, &r) && !kv_begin(new, true, &t));
	if (kv_get(r, LOG_DB_NODE, key, &value) || kv_put(t, LOG_DB_NODE, key, value))
		kv_abort(t);
	else
		kv_commit(t);
	kv_abort(r);
	kv_close(old);
	kv_close(new);
}

void sim_cloud_wipe(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	struct sim_disk *log = c->log_disk, *state = c->state_disk;
	weir_assert(!c->up && w->lost_count < SIM_LOST_MAX);
	sim_trace(w, "cloud %u loses its folder", c->pid);
	w->wipes++;
	w->lost[w->lost_count++] = c->member;
	c->member = 0;
	buf_clear(&c->map);
	take_latest_file(c);
	make_disks(c);
	if (w->mutant == MUTANT_OLD_NUMBER)
		keep_number(log, c->log_disk);
	sim_disk_free(log);
	sim_disk_free(state);
}

void sim_cloud_free(struct sim_cloud *c)
{
	if (c->up)
		sim_cloud_crash(c);
	topology_free(c->topology);
	buf_free(&c->map);
	sim_disk_free(c->log_disk);
	sim_disk_free(c->state_disk);
}
