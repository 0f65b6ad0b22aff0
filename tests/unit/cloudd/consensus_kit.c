#include "tests/unit/cloudd/consensus_kit.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define AWAIT_TICKS_MAX 4000

struct kit kit;

struct frame {
	uint32_t from, to;
	struct buf bytes;
	struct frame *next;
};
static struct frame *frames, **frames_end = &frames;

struct consensus_time kit_time(void)
{
	return (struct consensus_time){.wall_ns = kit.now_ns, .mono_ns = kit.now_ns};
}

/* ---- the wire -------------------------------------------------------------------------------------------------- */

static bool push(uint32_t from, uint32_t to, struct msg *m)
{
	struct frame *f = xcalloc(1, sizeof(*f));
	m->from = kit.t->clouds[from].name;
	ck_assert_int_eq(msg_encode(m, &f->bytes), 0);
	f->from = from;
	f->to = to;
	*frames_end = f;
	frames_end = &f->next;
	if (f->bytes.len > kit.biggest_frame)
		kit.biggest_frame = f->bytes.len;
	return true;
}

static bool on_send(void *arg, uint32_t node, bool bulk, struct msg *m)
{
	struct kit_node *n = arg;
	ck_assert_uint_ne(node, n->number);
	ck_assert(bulk == (m->type == MSG_SNAPSHOT));
	if (!kit.nodes[node].up)
		return false;
	kit.frames++;
	kit.bulk_frames += bulk;
	return push(n->number, node, m);
}

static void serve(struct kit_node *n, uint32_t to, const struct msg *m)
{
	struct buf body = {0};
	struct msg reply;
	memset(&reply, 0, sizeof(reply));
	if (!kit.chunks_max)
		return;
	kit.chunks_max--;
	snapshots_serve(n->snapshots, m, kit.now_ns, &body, &reply);
	push(n->number, to, &reply);
	buf_free(&body);
}

static void receive(const struct frame *f)
{
	struct kit_node *n = &kit.nodes[f->to];
	struct msg m;
	if (!n->up || kit.cut[f->from][f->to])
		return;
	ck_assert_int_eq(msg_decode(f->bytes.data, f->bytes.len, &m), 0);
	if (m.type == MSG_SNAPSHOT)
		serve(n, f->from, &m);
	else
		consensus_receive(n->c, f->from, &m, kit_time());
	msg_clear(&m);
}

static bool deliver_one(void)
{
	struct frame *f = frames;
	if (!f)
		return false;
	frames = f->next;
	if (!frames)
		frames_end = &frames;
	receive(f);
	buf_free(&f->bytes);
	free(f);
	return true;
}

void kit_deliver(uint32_t from, uint32_t to, const struct msg *m)
{
	consensus_receive(kit.nodes[to].c, from, m, kit_time());
}

/* ---- what consensus says --------------------------------------------------------------------------------------- */

static void on_log_write(void *arg, struct log_job *job)
{
	struct kit_node *n = arg;
	ck_assert_ptr_null(n->log_job);
	n->log_job = job;
	n->log_jobs++;
}

static void on_apply(void *arg, struct apply_job *job)
{
	struct kit_node *n = arg;
	ck_assert_ptr_null(n->apply_job);
	n->apply_job = job;
	n->apply_jobs++;
	if (apply_job_count(job) > n->biggest_apply)
		n->biggest_apply = apply_job_count(job);
}

static void on_committed(void *arg, uint32_t group, uint64_t index)
{
	struct kit_node *n = arg;
	ck_assert_uint_ge(index, n->committed[group]);
	n->committed[group] = index;
	n->committed_calls++;
}

static void on_applied(void *arg, const struct apply_result *r, struct bytes entry)
{
	struct kit_node *n = arg;
	ck_assert_uint_eq(r->index, n->applied[r->group] + 1); /* in order, each once */
	ck_assert_uint_le(r->index, n->committed[r->group]);   /* never before it is committed */
	ck_assert(r->kind != 0);
	ck_assert(r->kind == ENTRY_NOOP || entry.n > 0);
	n->applied[r->group] = r->index;
	n->applied_calls++;
}

static void on_role(void *arg, uint32_t group, bool leads, uint64_t term)
{
	struct kit_node *n = arg;
	ck_assert(leads != n->leads[group]);
	ck_assert_uint_ge(term, n->led_term[group]);
	if (!leads)
		ck_assert_uint_eq(term, n->led_term[group]);
	for (uint32_t i = 0; leads && i < kit.count; i++) /* one leader in a term */
		ck_assert(i == n->number || kit.nodes[i].led_term[group] != term);
	n->leads[group] = leads;
	n->led_term[group] = term;
	n->role_calls++;
}

static void on_read(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct kit_node *n = arg;
	(void)group;
	n->read_context = context;
	n->read_ok = ok;
	n->read_index = index;
	n->reads++;
}

static void on_reloaded(void *arg, uint32_t group, uint64_t index)
{
	struct kit_node *n = arg;
	n->reloaded[group] = index;
	n->applied[group] = index;
}

static void on_held(void *arg, uint32_t group, bool held)
{
	struct kit_node *n = arg;
	ck_assert(held == consensus_holds(n->c, group));
	ck_assert(!n->leads[group]);
	n->held_calls++;
	if (!held)
		n->applied[group] = n->committed[group] = 0;
}

static bool on_begun(void *arg, uint32_t group)
{
	(void)arg;
	return kit.begun[group];
}

/* ---- starts and stops -------------------------------------------------------------------------------------------- */

int kit_try_open(uint32_t node, char **ret_why)
{
	struct kit_node *n = &kit.nodes[node];
	struct consensus_io io = {n, on_log_write, on_apply, on_send, on_committed, on_applied, on_role, on_read,
	    on_reloaded, on_held, on_begun};
	uint8_t random[16] = {(uint8_t)(node * 7 + 1), 2, 3, (uint8_t)n->starts, 0, 0, 0, 1, 0, 0, 9, (uint8_t)node,
	    (uint8_t)(n->starts + 1), 8};
	int rc = apply_open(kit.t, n->disk.state, &n->apply, ret_why);
	if (rc)
		return rc;
	rc = consensus_open(kit.t, node, n->disk.log, n->apply, random, &io, &n->c, ret_why);
	if (rc)
		return rc;
	struct snapshot_files files = snapshot_files_in(n->disk.folder);
	n->snapshots = snapshots_new(n->disk.state, &files);
	n->up = true;
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		n->applied[g] = kit_status(node, g).applied;
	return 0;
}

void kit_open(uint32_t node)
{
	char *why = NULL;
	if (kit_try_open(node, &why))
		ck_abort_msg("%s", why);
}

static void close_node(struct kit_node *n)
{
	consensus_close(n->c);
	snapshots_free(n->snapshots);
	if (n->apply)
		apply_close(n->apply);
	struct kit_node fresh = {.number = n->number, .starts = n->starts, .disk = n->disk, .newer = n->newer};
	memcpy(fresh.led_term, n->led_term, sizeof(fresh.led_term));
	*n = fresh;
}

void kit_stop(uint32_t node)
{
	struct kit_node *n = &kit.nodes[node];
	close_node(n);
	cloud_disk_close(&n->disk);
	cloud_disk_open(&n->disk);
}

void kit_restart(uint32_t node)
{
	kit_stop(node);
	kit_open(node);
}

void kit_wipe(uint32_t node)
{
	struct kit_node *n = &kit.nodes[node];
	close_node(n);
	cloud_disk_close(&n->disk);
	cloud_disk_lose(n->disk.log_path);
	cloud_disk_lose(n->disk.state_path);
	cloud_disk_open(&n->disk);
	n->starts++;
}

void kit_make(uint32_t nodes, uint32_t replicas)
{
	kit = (struct kit){.t = cloud_topology(nodes, KIT_SHARDS), .count = nodes, .now_ns = NS_PER_SEC,
	    .chunks_max = SIZE_MAX};
	kit.t->replicas = replicas;
	topology_place(kit.t);
	for (uint32_t i = 0; i < nodes; i++) {
		kit.nodes[i].number = i;
		cloud_disk_make(&kit.nodes[i].disk, KIT_SHARDS);
		kit_open(i);
	}
}

void kit_free(void)
{
	while (frames) {
		struct frame *next = frames->next;
		buf_free(&frames->bytes);
		free(frames);
		frames = next;
	}
	frames_end = &frames;
	for (uint32_t i = 0; i < kit.count; i++) {
		close_node(&kit.nodes[i]);
		cloud_disk_remove(&kit.nodes[i].disk);
	}
	topology_free(kit.t);
}

/* ---- moving ---------------------------------------------------------------------------------------------------- */

void kit_give_back_log(uint32_t node, int rc)
{
	struct kit_node *n = &kit.nodes[node];
	struct log_job *job = n->log_job;
	ck_assert_ptr_nonnull(job);
	n->log_job = NULL;
	consensus_log_written(n->c, job, rc, kit_time());
}

void kit_run_log(uint32_t node)
{
	ck_assert_ptr_nonnull(kit.nodes[node].log_job);
	kit_give_back_log(node, log_job_run(kit.nodes[node].disk.log, kit.nodes[node].log_job));
}

/* As a program does that knows more kinds. */
static void know_later(struct apply_job *job)
{
	static struct buf sweep;
	if (!sweep.len)
		entry_encode(&(struct entry){.kind = ENTRY_SWEEP}, &sweep);
	for (size_t i = 0; i < job->count; i++) {
		struct apply_item *item = &job->items[i];
		if (item->step == APPLY_ENTRY && item->bytes.n > 1 && item->bytes.p[1] == KIT_LATER_KIND)
			item->bytes = bytes_of(sweep.data, sweep.len);
	}
}

void kit_run_apply(uint32_t node)
{
	struct kit_node *n = &kit.nodes[node];
	struct apply_job *job = n->apply_job;
	ck_assert_ptr_nonnull(job);
	n->apply_job = NULL;
	if (n->newer)
		know_later(job);
	int rc = apply_job_run(n->apply, job);
	if (job->corrupt || job->outdated)
		apply_abort(n->apply);
	consensus_job_applied(n->c, job, rc, kit_time());
}

/* Whether there was anything to run. */
static bool run_once(struct kit_node *n)
{
	bool any = false;
	consensus_flush(n->c, kit_time());
	if (n->log_job && !n->hold_log)
		any = true, kit_run_log(n->number);
	if (n->apply_job && !n->hold_apply)
		any = true, kit_run_apply(n->number);
	return any;
}

void kit_run(uint32_t node)
{
	while (run_once(&kit.nodes[node]))
		;
}

void kit_settle(void)
{
	bool any;
	do {
		any = false;
		for (uint32_t i = 0; i < kit.count; i++)
			any |= kit.nodes[i].up && run_once(&kit.nodes[i]);
		any |= deliver_one();
	} while (any);
}

void kit_infos(void)
{
	for (uint32_t from = 0; from < kit.count; from++) {
		for (uint32_t to = 0; to < kit.count; to++) {
			struct msg_info info;
			if (from == to || !kit.nodes[from].up || !kit.nodes[to].up || kit.cut[from][to] || kit.silent[from][to])
				continue;
			consensus_info(kit.nodes[from].c, &info);
			consensus_peer(kit.nodes[to].c, from, &info, true, kit_time());
		}
	}
}

void kit_ticks(size_t n)
{
	for (; n; n--) {
		kit.now_ns += CONSENSUS_TICK_MS * NS_PER_MS;
		for (uint32_t i = 0; i < kit.count; i++) {
			if (kit.nodes[i].up)
				consensus_tick(kit.nodes[i].c, kit_time());
		}
		if (kit.ticks++ % 10 == 0)
			kit_infos();
		kit_settle();
	}
}

void kit_commit_state(uint32_t node)
{
	struct kit_node *n = &kit.nodes[node];
	ck_assert_int_eq(apply_commit(n->apply), 0);
	for (uint32_t g = 0; g < KIT_GROUPS; g++)
		consensus_state_durable(n->c, g, apply_applied(n->apply, g, NULL));
}

uint32_t kit_leader(uint32_t group)
{
	for (size_t i = 0; i < AWAIT_TICKS_MAX; i++) {
		for (uint32_t n = 0; n < kit.count; n++) {
			if (kit.nodes[n].up && kit.nodes[n].leads[group])
				return n;
		}
		kit_ticks(1);
	}
	ck_abort_msg("group %u has no leader", group);
}

int kit_try_propose(uint32_t node, uint32_t group, size_t bytes, uint64_t *ret_index)
{
	static uint64_t epoch;
	static uint8_t body[ENTRY_MAX];
	struct entry e = {.kind = ENTRY_OPEN};
	e.open.edge = bytes_of("a", 1);
	e.open.epoch = ++epoch;
	e.open.low = 1;
	if (!group) {
		e = (struct entry){.kind = ENTRY_READMIT};
		e.readmit.edge = bytes_of("a", 1);
	} else if (bytes) {
		e = (struct entry){.kind = ENTRY_BATCH};
		e.batch.edge = bytes_of("a", 1);
		e.batch.body = bytes_of(body, bytes);
	}
	return consensus_propose(kit.nodes[node].c, group, &e, ret_index);
}

uint64_t kit_propose(uint32_t node, uint32_t group)
{
	uint64_t index = 0;
	ck_assert_int_eq(kit_try_propose(node, group, 0, &index), 0);
	return index;
}

void kit_await(uint32_t node, uint32_t group, uint64_t index)
{
	for (size_t i = 0; kit.nodes[node].applied[group] < index; i++) {
		ck_assert_msg(i < AWAIT_TICKS_MAX, "node %u, group %u: applied %llu, not %llu", node, group,
		    (unsigned long long)kit.nodes[node].applied[group], (unsigned long long)index);
		kit_ticks(1);
		if (i % 4 == 3)
			kit_commit_state(node);
	}
}

static struct apply_group_info info_of(uint32_t node, uint32_t group)
{
	struct apply_group_info info;
	struct kv_txn *txn;
	kit_commit_state(node);
	ck_assert_int_eq(kv_begin(kit.nodes[node].disk.state, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, group, &info), 0);
	kv_abort(txn);
	return info;
}

/* All that are up have applied as far as the leader, which has nothing more: it may be changing its members. */
static uint32_t come_to_rest(uint32_t group)
{
	for (size_t i = 0; i < AWAIT_TICKS_MAX; i++) {
		uint32_t leader = kit_leader(group), n = 0;
		uint64_t last = kit.nodes[leader].applied[group];
		for (; n < kit.count; n++) {
			if (kit.nodes[n].up)
				kit_await(n, group, last);
		}
		if (kit_leader(group) != leader || kit_status(leader, group).last != last)
			continue;
		for (n = 0; n < kit.count && (!kit.nodes[n].up || kit.nodes[n].applied[group] == last);)
			n++;
		if (n == kit.count)
			return leader;
	}
	ck_abort_msg("group %u does not come to rest", group);
}

void kit_expect_equal(uint32_t group)
{
	uint32_t leader = come_to_rest(group);
	uint64_t last = kit.nodes[leader].applied[group];
	struct apply_group_info first = info_of(leader, group);
	for (uint32_t n = 0; n < kit.count; n++) {
		if (!kit.nodes[n].up)
			continue;
		kit_await(n, group, last);
		struct apply_group_info other = info_of(n, group);
		ck_assert_uint_eq(other.applied, first.applied);
		ck_assert_uint_eq(other.digest_hi, first.digest_hi);
		ck_assert_uint_eq(other.digest_lo, first.digest_lo);
		ck_assert_uint_eq(other.config_len, first.config_len);
		ck_assert_mem_eq(other.config, first.config, first.config_len);
	}
}

size_t kit_log_entries(uint32_t node, uint32_t group)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(kit.nodes[node].disk.log, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, LOG_DB_GROUP(group), &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		n++;
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

struct group_status kit_status(uint32_t node, uint32_t group)
{
	struct group_status s;
	consensus_status(kit.nodes[node].c, group, &s);
	return s;
}
