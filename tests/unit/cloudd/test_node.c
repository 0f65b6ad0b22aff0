/* Whole nodes in one process, on real environments: what edges see, and what survives restarts and lost frames. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/gather.h"
#include "cloudd/meta.h"
#include "cloudd/pace.h"
#include "cloudd/peers.h"
#include "cloudd/route.h"
#include "cloudd/snapshot.h"
#include "cloudd/state.h"
#include "cloudd/serve.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "tests/unit/cloudd/cloud_disk.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define NODES_MAX 3
#define SHARDS 3 /* shard s on node s */
#define S NS_PER_SEC
#define MIN (60 * NS_PER_SEC)
#define QUEUE_MAX 65536
#define ELECTED (3 * NS_PER_SEC) /* a start, an election */
#define COMMIT_EVERY_NS (200 * NS_PER_MS)

struct packet {
	uint32_t to;      /* node */
	bool peer;        /* on its DEALER, from node `from`; else its ROUTER */
	uint32_t from;
	char route[8];    /* of the ROUTER: "n1" a node, or an edge's name */
	struct buf frame;
};

struct cloud {
	struct cloud_disk disk;
	bool disk_made, up;
	struct apply *apply;
	struct node *node;
	struct snapshots *snapshots;
	struct log_job *log_job;
	struct apply_job *apply_job;
	int64_t commit_ns;
	uint64_t committed[SHARDS + 1];
	size_t served;
	size_t reads;              /* answers to node_read */
	bool read_ok;
	uint64_t read_index;
};

struct world {
	struct topology *t;
	struct cloud clouds[NODES_MAX];
	uint32_t count;
	unsigned starts;
	int64_t now_ns;
	struct packet queue[QUEUE_MAX];
	size_t head, tail;
	bool cut[NODES_MAX];       /* this node's network is cut */
	bool mute[NODES_MAX];      /* what it sends to others is lost; what it answers them is not */
	unsigned drop_every;       /* one of so many frames between nodes, on average; 0: none */
	unsigned drops;
	bool hold_disks;           /* jobs are not run */
	bool broken[NODES_MAX];    /* this node's log cannot be written */
	/* the last reply to an edge */
	struct msg last;
	struct buf last_frame;
	bool has_last;
	size_t replies;
	/* of readmit() */
	int readmits;
	unsigned begin_again;      /* nodes that were told to be opened by another map */
	enum verdict readmit_verdict;
	uint8_t id[CLUSTER_ID_BYTES];
	struct buf body;
};
static struct world w;

static struct node_time now(void)
{
	return (struct node_time){1700000000 * S + w.now_ns, w.now_ns};
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

static struct packet *packet_new(uint32_t to, const void *frame, size_t len)
{
	struct packet *p = &w.queue[w.tail++ % QUEUE_MAX];
	ck_assert_uint_lt(w.tail - w.head, QUEUE_MAX);
	*p = (struct packet){.to = to};
	buf_put(&p->frame, frame, len);
	return p;
}

static bool lost(void)
{
	w.drops = w.drops * 1103515245u + 12345u; /* not each so many'th: traffic has a rhythm of its own */
	return w.drop_every && (w.drops >> 16) % w.drop_every == 0;
}

static void keep_last(const void *frame, size_t len)
{
	if (w.has_last)
		msg_clear(&w.last);
	buf_clear(&w.last_frame);
	buf_put(&w.last_frame, frame, len);
	ck_assert_int_eq(msg_decode(w.last_frame.data, w.last_frame.len, &w.last), 0);
	w.has_last = true;
	w.replies++;
}

static uint32_t index_of(const void *arg)
{
	return (uint32_t)((const struct cloud *)arg - w.clouds);
}

static bool on_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	uint32_t self = index_of(arg);
	if (route.n != 2 || route.p[0] != 'n') {
		keep_last(frame, len);
		return true;
	}
	if (lost())
		return true;
	struct packet *p = packet_new((uint32_t)(route.p[1] - '0'), frame, len);
	p->peer = true;
	p->from = self;
	return true;
}

static bool on_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	uint32_t self = index_of(arg);
	ck_assert_uint_ne(node, self);
	if (node >= w.count || w.cut[self] || w.cut[node] || w.mute[self])
		return true; /* swallowed: nobody knows */
	if (lost())
		return true;
	struct packet *p = packet_new(node, frame, len);
	snprintf(p->route, sizeof(p->route), "n%u", self);
	return true;
}

/* ---- the disks ------------------------------------------------------------------------------------------------------ */

static void on_log_write(void *arg, struct log_job *job)
{
	struct cloud *c = arg;
	ck_assert_ptr_null(c->log_job);
	c->log_job = job;
}

static void on_apply(void *arg, struct apply_job *job)
{
	struct cloud *c = arg;
	ck_assert_ptr_null(c->apply_job);
	c->apply_job = job;
}

static bool on_reply(void *arg, struct bytes route, const void *frame, size_t len);

static void serve_snapshot(struct cloud *c, struct bytes route, const struct msg *m)
{
	struct msg r = {.type = MSG_SNAPSHOT_REPLY, .req_id = m->req_id, .from = w.t->clouds[c - w.clouds].name};
	struct buf body = {0}, out = {0};
	uint8_t id[CLUSTER_ID_BYTES];
	if (node_cluster_id(c->node, id))
		r.cluster_id = bytes_of(id, sizeof(id));
	snapshots_serve(c->snapshots, m, w.now_ns, &body, &r);
	ck_assert_int_eq(msg_encode(&r, &out), 0);
	on_reply(c, route, out.data, out.len);
	buf_free(&body);
	buf_free(&out);
}

static void on_serve(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct cloud *c = arg;
	struct msg m;
	c->served++;
	ck_assert_int_eq(msg_decode(frame, len, &m), 0);
	if (m.type == MSG_SNAPSHOT)
		serve_snapshot(c, route, &m);
	msg_clear(&m);
}

static void on_read(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct cloud *c = arg;
	ck_assert_uint_eq(context, 7000 + group);
	c->reads++;
	c->read_ok = ok;
	c->read_index = index;
}

static void on_committed(void *arg, uint32_t group, uint64_t index)
{
	struct cloud *c = arg;
	ck_assert_uint_ge(index, c->committed[group]);
	c->committed[group] = index;
}

static bool run_jobs(struct cloud *c)
{
	bool ran = false;
	if (c->log_job && !w.hold_disks) {
		struct log_job *job = c->log_job;
		c->log_job = NULL;
		node_log_written(c->node, job, w.broken[index_of(c)] ? WEIR_EINVAL : log_job_run(c->disk.log, job), now());
		ran = true;
	}
	if (c->apply_job && !w.hold_disks) {
		struct apply_job *job = c->apply_job;
		c->apply_job = NULL;
		node_applied(c->node, job, apply_job_run(c->apply, job), now());
		ran = true;
	}
	return ran;
}

static void commit_state(struct cloud *c)
{
	if (w.now_ns - c->commit_ns < COMMIT_EVERY_NS || !apply_uncommitted(c->apply) || w.hold_disks)
		return;
	c->commit_ns = w.now_ns;
	ck_assert_int_eq(apply_commit(c->apply), 0);
	for (uint32_t g = 0; g <= SHARDS; g++)
		node_state_durable(c->node, g, apply_applied(c->apply, g, NULL));
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

static void on_mapped(void *arg, const struct topology *t, struct bytes map)
{
	(void)arg;
	ck_assert_uint_gt(map.n, 0);
	w.begin_again += !t;
}

static int try_start(uint32_t i, char **ret_why)
{
	struct cloud *c = &w.clouds[i];
	struct node_io io = {c, on_reply, on_send_node, on_log_write, on_apply, on_serve, on_send_node, on_committed, on_read, on_mapped};
	uint8_t random[16];
	memset(random, (int)++w.starts, sizeof(random));
	if (!c->disk_made)
		cloud_disk_make(&c->disk, SHARDS);
	else
		cloud_disk_open(&c->disk);
	c->disk_made = true;
	memset(c->committed, 0, sizeof(c->committed));
	int rc = apply_open(w.t, c->disk.state, &c->apply, ret_why);
	if (!rc)
		rc = node_open(w.t, i, c->disk.log, c->apply, c->disk.state, &io, random, now(), &c->node, ret_why);
	struct snapshot_files files = snapshot_files_in(c->disk.folder);
	c->snapshots = snapshots_new(c->disk.state, &files);
	c->up = !rc;
	return rc;
}

static void start(uint32_t i)
{
	char *why = NULL;
	if (try_start(i, &why))
		ck_abort_msg("%s", why);
}

/* kill -9: what is not committed is gone. */
static void stop(uint32_t i)
{
	struct cloud *c = &w.clouds[i];
	if (c->node)
		node_close(c->node);
	if (c->apply)
		apply_close(c->apply);
	snapshots_free(c->snapshots);
	c->snapshots = NULL;
	c->node = NULL;
	c->apply = NULL;
	c->log_job = NULL;
	c->apply_job = NULL;
	c->up = false;
	cloud_disk_close(&c->disk);
}

/* Its disks are lost. */
static void wipe(uint32_t i)
{
	cloud_disk_lose(w.clouds[i].disk.log_path);
	cloud_disk_lose(w.clouds[i].disk.state_path);
	rmdir(w.clouds[i].disk.folder);
	w.clouds[i].disk_made = false;
}

static void deliver(struct packet *p)
{
	struct cloud *c = &w.clouds[p->to];
	if (c->up && !w.cut[p->to]) {
		if (p->peer)
			node_peer_frame(c->node, p->from, p->frame.data, p->frame.len, now());
		else
			node_frame(c->node, bytes_of(p->route, strlen(p->route)), "", p->frame.data, p->frame.len, now());
		node_flush(c->node, now());
	}
	buf_free(&p->frame);
}

static void pump(void)
{
	for (bool busy = true; busy;) {
		busy = false;
		while (w.head != w.tail) {
			deliver(&w.queue[w.head++ % QUEUE_MAX]);
			busy = true;
		}
		for (uint32_t i = 0; i < w.count; i++)
			busy = (w.clouds[i].up && run_jobs(&w.clouds[i])) || busy;
	}
}

static void run(int64_t ns)
{
	for (int64_t t = 0; t < ns; t += NODE_TICK_MS * NS_PER_MS) {
		w.now_ns += NODE_TICK_MS * NS_PER_MS;
		for (uint32_t i = 0; i < w.count; i++) {
			if (!w.clouds[i].up)
				continue;
			node_tick(w.clouds[i].node, now());
			commit_state(&w.clouds[i]);
		}
		pump();
	}
}

/* Until every node that is up is ready. */
static void settle(void)
{
	char *why = NULL;
	for (unsigned t = 0; t < 600; t++) {
		bool ready = true;
		run(100 * NS_PER_MS);
		for (uint32_t i = 0; i < w.count && ready; i++) {
			free(why);
			why = NULL;
			ready = !w.clouds[i].up || node_ready(w.clouds[i].node, &why);
		}
		if (ready)
			return;
	}
	ck_abort_msg("not ready: %s", why);
}

static void world_start(uint32_t nodes, unsigned replicas)
{
	w = (struct world){.t = cloud_topology_of(nodes, SHARDS, replicas), .count = nodes, .now_ns = 100 * S};
	for (uint32_t i = 0; i < nodes; i++)
		start(i);
	settle();
	run(ELECTED); /* everybody has heard who leads what */
	for (uint32_t i = 0; i < nodes; i++)
		ck_assert(node_cluster_id(w.clouds[i].node, w.id));
}

/* Three nodes, each group on one of them. */
static void setup_three(void)
{
	world_start(3, 1);
}

static void setup_one(void)
{
	world_start(1, 1);
}

/* Three nodes, each group on all of them. */
static void setup_replicated(void)
{
	world_start(3, 3);
}

static void teardown(void)
{
	for (uint32_t i = 0; i < NODES_MAX; i++) {
		if (w.clouds[i].up)
			stop(i);
		if (w.clouds[i].disk_made)
			cloud_disk_remove(&w.clouds[i].disk);
	}
	while (w.head != w.tail)
		buf_free(&w.queue[w.head++ % QUEUE_MAX].frame);
	if (w.has_last)
		msg_clear(&w.last);
	buf_free(&w.last_frame);
	buf_free(&w.body);
	topology_free(w.t);
}

/* ---- edges ---------------------------------------------------------------------------------------------------------- */

static void edge_sends(uint32_t node, const char *edge, struct msg *m)
{
	struct buf frame = {0};
	m->from = edge;
	if (!m->cluster_id.n && m->type != MSG_HELLO)
		m->cluster_id = bytes_of(w.id, CLUSTER_ID_BYTES);
	ck_assert_int_eq(msg_encode(m, &frame), 0);
	struct packet *p = packet_new(node, frame.data, frame.len);
	snprintf(p->route, sizeof(p->route), "%s", edge);
	buf_free(&frame);
	pump();
}

static enum verdict hello_as(uint32_t node, const char *edge, const char *claim, uint64_t epoch, bool empty)
{
	struct msg m = {.type = MSG_HELLO};
	uint8_t bytes[CLAIM_BYTES] = {0};
	memcpy(bytes, claim, strlen(claim));
	m.hello.edge = edge;
	m.hello.cluster = "plant";
	m.hello.epoch = epoch;
	m.hello.claim = bytes_of(bytes, sizeof(bytes));
	m.hello.empty = empty;
	size_t before = w.replies;
	edge_sends(node, edge, &m);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.type, MSG_HELLO_REPLY);
	ck_assert_mem_eq(w.last.hello_reply.claim.p, bytes, CLAIM_BYTES);
	return w.last.hello_reply.verdict;
}

/* A new edge's first hello. */
static void join(const char *edge)
{
	ck_assert_int_eq(hello_as(0, edge, edge, 0, true), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 1);
	ck_assert_uint_gt(w.last.hello_reply.credit_bytes, 0);
}

static enum verdict open_shard(uint32_t node, const char *edge, uint64_t epoch, uint32_t shard, uint64_t low, uint64_t high)
{
	struct msg m = {.type = MSG_OPEN};
	m.open.edge = edge;
	m.open.epoch = epoch;
	m.open.shard = shard;
	m.open.low = low;
	m.open.high = high;
	size_t before = w.replies;
	edge_sends(node, edge, &m);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.type, MSG_OPEN_REPLY);
	return w.last.open_reply.verdict;
}

static struct bytes body_of(uint32_t shard, uint64_t seq, int64_t t_ns)
{
	const struct stream_conf *s = &w.t->streams[0];
	struct partial_spec spec;
	struct partial p = {0};
	uint8_t group[] = {1, 'x'};
	partial_spec_of(s, 1, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	partial_add(&p, &spec, t_ns, 1);
	struct batch_writer *bw = batch_writer_new(shard);
	ck_assert_int_eq(batch_writer_add(bw, s, &spec, time_floor(t_ns, s->slice_ns, 0), bytes_of(group, 2), &p), 0);
	buf_clear(&w.body);
	batch_writer_finish(bw, seq, &w.body);
	batch_writer_free(bw);
	partial_clear(&p, &spec);
	return bytes_of(w.body.data, w.body.len);
}

static void send_batch(uint32_t node, const char *edge, uint64_t epoch, uint32_t shard, uint64_t seq)
{
	struct msg m = {.type = MSG_BATCH, .req_id = 1000 + seq};
	m.batch.edge = edge;
	m.batch.epoch = epoch;
	m.batch.shard = shard;
	m.batch.seq = seq;
	m.batch.body = body_of(shard, seq, 10 * MIN);
	edge_sends(node, edge, &m);
}

static enum verdict batch(uint32_t node, const char *edge, uint64_t epoch, uint32_t shard, uint64_t seq)
{
	size_t before = w.replies;
	send_batch(node, edge, epoch, shard, seq);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.type, MSG_BATCH_REPLY);
	ck_assert_uint_eq(w.last.req_id, 1000 + seq);
	return w.last.batch_reply.verdict;
}

static enum verdict report_as(uint32_t node, const char *edge, uint64_t epoch, uint64_t incarnation, uint64_t seq,
    enum edge_phase phase, int64_t watermark_ns)
{
	struct msg_report_stream streams[2];
	struct msg_count refused = {"bad_field", 3};
	struct msg m = {.type = MSG_REPORT};
	for (size_t i = 0; i < 2; i++)
		streams[i] = (struct msg_report_stream){w.t->streams[i].name, w.t->streams[i].version, phase, watermark_ns,
		    WATERMARK_NONE, false, false, 0};
	m.report.edge = edge;
	m.report.epoch = epoch;
	m.report.sent_mono_ns = 77;
	m.report.accepted = 12;
	m.report.refused_count = 1;
	m.report.refused = &refused;
	m.report.stream_count = 2;
	m.report.streams = streams;
	m.report.incarnation = incarnation;
	m.report.seq = seq;
	size_t before = w.replies;
	edge_sends(node, edge, &m);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.type, MSG_REPORT_REPLY);
	ck_assert(w.last.report_reply.sent_mono_ns == 77);
	return w.last.report_reply.verdict;
}

static uint64_t report_seq;
static void report(const char *edge, int64_t watermark_ns)
{
	ck_assert_int_eq(report_as(1 % w.count, edge, 1, 9, ++report_seq, PHASE_LIVE, watermark_ns), VERDICT_OK);
}

/* The last advance that a shard has taken, durably. */
static uint64_t taken(uint32_t shard)
{
	struct kv_txn *txn;
	struct apply_group_info info;
	ck_assert_int_eq(kv_begin(w.clouds[shard % w.count].disk.state, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, shard + 1, &info), 0);
	kv_abort(txn);
	return info.meta_index;
}

static bool count_advance(void *arg, uint64_t meta_index, struct bytes entry)
{
	(void)meta_index, (void)entry;
	(*(size_t *)arg)++;
	return true;
}

static size_t queued_advances(void)
{
	struct kv_txn *txn;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(w.clouds[0].disk.state, false, &txn), 0);
	ck_assert_int_eq(meta_read_advances(txn, 0, 0, count_advance, &n), 0);
	kv_abort(txn);
	return n;
}

static void count_close(void *arg, const struct shard_stream_counts *counts)
{
	int64_t *close_ns = arg;
	if (strcmp(counts->stream, "speed") == 0)
		*close_ns = counts->close_ns;
}

static int64_t shard_close_ns(uint32_t shard)
{
	int64_t close_ns = WATERMARK_NONE;
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(w.clouds[shard % w.count].disk.state, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, shard + 1, count_close, &close_ns), 0);
	kv_abort(txn);
	return close_ns;
}

/* ---- the cluster's id ------------------------------------------------------------------------------------------------- */

START_TEST(every_node_learns_the_id_and_keeps_it)
{
	uint8_t id[CLUSTER_ID_BYTES], again[CLUSTER_ID_BYTES];
	char *why = NULL;
	ck_assert(node_cluster_id(w.clouds[0].node, id));
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert(node_cluster_id(w.clouds[i].node, again));
		ck_assert_mem_eq(id, again, sizeof(id));
		ck_assert(node_ready(w.clouds[i].node, &why));
	}
	stop(0);
	stop(2);
	start(2); /* the meta node is down: it knows the id from its own log */
	run(ELECTED);
	ck_assert(node_ready(w.clouds[2].node, &why));
	start(0);
	run(ELECTED);
	ck_assert(node_cluster_id(w.clouds[0].node, again));
	ck_assert_mem_eq(id, again, sizeof(id)); /* created once */
}
END_TEST

START_TEST(a_node_without_the_meta_node_is_not_ready)
{
	w = (struct world){.t = cloud_topology(3, SHARDS), .count = 3, .now_ns = 100 * S};
	start(1);
	run(ELECTED);
	char *why = NULL;
	ck_assert(!node_ready(w.clouds[1].node, &why)); /* whatever its file places on it alone: the others may have it */
	ck_assert_ptr_nonnull(strstr(why, "forming: waits for cloud-1"));
	free(why);
	start(2);
	run(ELECTED);
	ck_assert(!node_ready(w.clouds[1].node, &why));
	free(why);
	start(0);
	run(2 * ELECTED);
	ck_assert(node_ready(w.clouds[1].node, &why));
}
END_TEST

START_TEST(a_node_of_another_cluster_refuses_to_serve)
{
	char *why = NULL;
	join("a");
	for (uint32_t i = 0; i < 3; i++)
		stop(i);
	wipe(0); /* the meta node starts from nothing: another cluster */
	for (uint32_t i = 0; i < 3; i++)
		start(i);
	run(2 * ELECTED);
	ck_assert(node_ready(w.clouds[1].node, &why)); /* two that agree are the cluster */
	ck_assert(!node_ready(w.clouds[0].node, &why));
	ck_assert_ptr_nonnull(strstr(why, "another cluster"));
	free(why);
	ck_assert_int_eq(hello_as(0, "a", "x", 0, true), VERDICT_UNAVAILABLE);
	ck_assert_int_eq(hello_as(1, "a", "x", 0, true), VERDICT_UNAVAILABLE); /* nobody leads its meta group */
	/* and the edge of the old cluster is refused by the new one */
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 0), VERDICT_REFUSED);
	stop(1); /* what was found out stays */
	run(2 * S);
	ck_assert(node_ready(w.clouds[2].node, &why));
}
END_TEST

/* A question of whoever uses that name, of another cluster. */
static void stranger_asks(uint32_t node, const char *name)
{
	static uint64_t req_id;
	uint8_t other[CLUSTER_ID_BYTES] = {1, 2, 3};
	struct msg m = {.type = MSG_INFO, .req_id = ++req_id, .cluster_id = bytes_of(other, sizeof(other))};
	m.info.cluster = w.t->cluster;
	m.info.replica = UINT64_C(0x1234) << CONSENSUS_NODE_BITS | 1;
	size_t before = w.replies;
	edge_sends(node, name, &m);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.type, MSG_INFO_REPLY);
}

START_TEST(a_stranger_under_a_nodes_name_changes_nothing)
{
	join("a");
	stranger_asks(0, w.t->clouds[1].name);
	ck_assert_int_eq(open_shard(0, "a", 1, 1, 1, 0), VERDICT_OK);
	run(100 * NS_PER_MS);
	/* what waits at the node of that name goes on waiting */
	w.hold_disks = true;
	size_t before = w.replies;
	send_batch(0, "a", 1, 1, 1);
	stranger_asks(0, w.t->clouds[1].name);
	stranger_asks(0, w.t->clouds[1].name);
	run(100 * NS_PER_MS);
	ck_assert_uint_eq(w.replies, before + 2);
	w.hold_disks = false;
	run(100 * NS_PER_MS);
	ck_assert_uint_eq(w.replies, before + 3);
	ck_assert_int_eq(w.last.type, MSG_BATCH_REPLY);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_OK);
}
END_TEST

/* Node 0 holds nothing of shard 1: it goes by what nodes say. */
START_TEST(a_term_that_was_never_there_is_forgotten)
{
	struct msg_lead lead = {.group = 2, .term = UINT64_C(1) << 60};
	struct msg m = {.type = MSG_INFO, .req_id = 1, .cluster_id = bytes_of(w.id, sizeof(w.id))};
	m.info.cluster = w.t->cluster;
	m.info.lead_count = 1;
	m.info.leads = &lead;
	join("a");
	edge_sends(0, w.t->clouds[1].name, &m);
	run(2 * S);
	ck_assert_int_eq(open_shard(0, "a", 1, 1, 1, 0), VERDICT_OK);
}
END_TEST

START_TEST(a_left_over_of_an_earlier_cluster_does_not_name_the_new_one)
{
	uint8_t id[CLUSTER_ID_BYTES], meta_id[CLUSTER_ID_BYTES];
	for (uint32_t i = 0; i < 3; i++)
		stop(i);
	wipe(0);
	wipe(2);
	start(1); /* somebody forgot its folder */
	start(2);
	run(ELECTED);
	ck_assert(!node_cluster_id(w.clouds[2].node, id));
	start(0);
	run(2 * ELECTED);
	ck_assert(node_cluster_id(w.clouds[0].node, meta_id));
	ck_assert_mem_ne(meta_id, w.id, sizeof(meta_id));
	ck_assert(node_cluster_id(w.clouds[2].node, id));
	ck_assert_mem_eq(id, meta_id, sizeof(id));
	char *why = NULL;
	ck_assert(node_ready(w.clouds[2].node, &why));
	ck_assert(node_ready(w.clouds[0].node, &why));
	ck_assert(!node_ready(w.clouds[1].node, &why)); /* it is the stranger */
	free(why);
}
END_TEST

START_TEST(a_lost_state_is_rebuilt_while_the_log_still_has_all)
{
	join("a");
	run(S);
	stop(0);
	cloud_disk_lose(w.clouds[0].disk.state_path);
	start(0);
	run(ELECTED);
	ck_assert_int_eq(hello_as(0, "a", "clone", 0, false), VERDICT_FENCED);
	stop(0);
	cloud_disk_lose(w.clouds[0].disk.log_path);
	start(0);
	run(ELECTED);
	ck_assert_int_eq(hello_as(0, "a", "clone", 0, false), VERDICT_FENCED);
}
END_TEST

/* ---- claims ------------------------------------------------------------------------------------------------------------- */

START_TEST(one_holder_of_a_name_at_a_time)
{
	ck_assert_int_eq(hello_as(1, "a", "first", 0, true), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 1);
	ck_assert_mem_eq(w.last.hello_reply.cluster_id.p, w.id, CLUSTER_ID_BYTES);
	ck_assert(!w.last.hello_reply.resume);
	/* an answer that was lost: the same grant again, at any node */
	ck_assert_int_eq(hello_as(2, "a", "first", 0, true), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 1);
	/* the next start of the edge */
	ck_assert_int_eq(hello_as(0, "a", "second", 1, false), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 2);
	/* a cloned gateway image, or a second process: epoch 1 is of the past */
	ck_assert_int_eq(hello_as(0, "a", "clone", 1, false), VERDICT_FENCED);
	ck_assert_str_ne(w.last.hello_reply.reason, "");
	stop(0);
	start(0); /* claims survive the meta node */
	run(ELECTED);
	ck_assert_int_eq(hello_as(1, "a", "second", 1, false), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 2);
	ck_assert_int_eq(hello_as(1, "a", "clone", 1, false), VERDICT_FENCED);
	ck_assert_int_eq(hello_as(1, "nobody", "x", 0, true), VERDICT_REFUSED);
}
END_TEST

START_TEST(an_empty_spool_waits_until_the_old_holder_was_silent)
{
	join("a");
	run(30 * S);
	report("a", 10 * MIN);
	run(40 * S);
	ck_assert_int_eq(hello_as(0, "a", "new", 0, true), VERDICT_BUSY);
	ck_assert_str_ne(w.last.hello_reply.reason, "");
	run(25 * S);
	ck_assert_int_eq(hello_as(0, "a", "new", 0, true), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 2);
	ck_assert(w.last.hello_reply.resume);
	ck_assert(!w.last.hello_reply.readmitted);
	/* the new holder has just come: another empty spool waits again */
	ck_assert_int_eq(hello_as(0, "a", "newer", 0, true), VERDICT_BUSY);
	/* the old one is out */
	ck_assert_int_eq(report_as(0, "a", 1, 9, ++report_seq, PHASE_LIVE, 11 * MIN), VERDICT_FENCED);
	ck_assert_uint_eq(w.last.report_reply.epoch, 2);
}
END_TEST

static void readmitted(void *arg, enum verdict verdict, uint64_t map_version, const char *reason)
{
	(void)map_version;
	(void)arg;
	ck_assert_ptr_nonnull(reason);
	w.readmits++;
	w.readmit_verdict = verdict;
}

static void readmit(struct node *n, const char *edge)
{
	struct msg m = {.type = MSG_READMIT};
	m.readmit.edge = edge;
	node_ask_meta(n, &m, now(), readmitted, NULL);
}

START_TEST(readmission_is_the_way_back_from_any_node)
{
	join("a");
	ck_assert_int_eq(hello_as(0, "a", "second", 1, false), VERDICT_OK);
	ck_assert_int_eq(hello_as(0, "a", "copy", 1, false), VERDICT_FENCED);
	readmit(w.clouds[2].node, "a");
	pump();
	ck_assert_int_eq(w.readmits, 1);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_OK);
	ck_assert_int_eq(hello_as(1, "a", "copy", 1, false), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 3);
	ck_assert(w.last.hello_reply.readmitted);
	ck_assert(w.last.hello_reply.resume);
	readmit(w.clouds[0].node, "nobody");
	ck_assert_int_eq(w.readmits, 2);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_REFUSED);
	stop(0);
	readmit(w.clouds[2].node, "a");
	run(11 * S);
	ck_assert_int_eq(w.readmits, 3);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_UNAVAILABLE);
	readmit(w.clouds[2].node, "a");
	ck_assert_int_eq(w.readmits, 4); /* at once: it is known to answer nothing */
	ck_assert_int_eq(w.readmit_verdict, VERDICT_UNAVAILABLE);
	start(0);
	run(ELECTED);
	stop(0);
	readmit(w.clouds[2].node, "a");
	ck_assert_int_eq(w.readmits, 4);
	stop(2); /* whoever asked is not left waiting */
	ck_assert_int_eq(w.readmits, 5);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_UNAVAILABLE);
}
END_TEST

static void revoke_edge(struct node *n, const char *edge, bool revoked)
{
	struct msg m = {.type = MSG_REVOKE};
	m.revoke.edge = edge;
	m.revoke.revoked = revoked;
	int before = w.readmits;
	node_ask_meta(n, &m, now(), readmitted, NULL);
	pump();
	ck_assert_int_eq(w.readmits, before + 1);
}

/* As another node that does not know yet would pass it on. */
static void forwarded_hello(uint32_t node, const char *edge)
{
	static const uint8_t claim[CLAIM_BYTES] = {1};
	struct msg m = {.type = MSG_HELLO, .req_id = 6};
	m.hello.edge = edge;
	m.hello.cluster = "plant";
	m.hello.epoch = 1;
	m.hello.claim = bytes_of(claim, CLAIM_BYTES);
	m.cluster_id = bytes_of(w.id, CLUSTER_ID_BYTES);
	edge_sends(node, "cloud-2", &m);
}

START_TEST(a_revoked_edge_is_refused_everywhere_until_it_is_allowed)
{
	join("a");
	join("b");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	revoke_edge(w.clouds[2].node, "nobody", true);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_REFUSED);
	revoke_edge(w.clouds[2].node, "a", true);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_OK);
	run(500 * NS_PER_MS); /* nodes without a replica of the meta group, too */
	for (uint32_t node = 0; node < 3; node++) {
		ck_assert_int_eq(hello_as(node, "a", "another", 1, false), VERDICT_REFUSED);
		ck_assert_ptr_nonnull(strstr(w.last.hello_reply.reason, "weirctl edge allow"));
		ck_assert_int_eq(open_shard(node, "a", 1, 0, 1, 1), VERDICT_REFUSED);
		ck_assert_int_eq(batch(node, "a", 1, 0, 1), VERDICT_REFUSED);
		ck_assert_int_eq(report_as(node, "a", 1, 9, ++report_seq, PHASE_LIVE, MIN), VERDICT_REFUSED);
		ck_assert_ptr_nonnull(strstr(w.last.report_reply.reason, "weirctl edge allow"));
		struct msg m = {.type = MSG_MAP, .req_id = 3};
		edge_sends(node, "a", &m);
		ck_assert_int_eq(w.last.type, MSG_ERROR);
		ck_assert_int_eq(w.last.error.verdict, VERDICT_REFUSED);
		ck_assert_int_eq(hello_as(node, "b", "b", 0, true), VERDICT_OK);
	}
	forwarded_hello(0, "a");
	ck_assert_int_eq(w.last.type, MSG_HELLO_REPLY);
	ck_assert_uint_eq(w.last.req_id, 6);
	ck_assert_int_eq(w.last.hello_reply.verdict, VERDICT_REFUSED);
	revoke_edge(w.clouds[1].node, "a", false);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_OK);
	run(500 * NS_PER_MS);
	for (uint32_t node = 0; node < 3; node++)
		ck_assert_int_eq(hello_as(node, "a", "a", 0, true), VERDICT_OK);
	ck_assert_int_eq(batch(1, "a", 1, 0, 1), VERDICT_OK);
}
END_TEST

/* Asked what it answers itself. */
static bool listens(uint32_t node, const char *edge)
{
	struct msg m = {.type = MSG_MAP, .req_id = 3};
	edge_sends(node, edge, &m);
	return w.last.type == MSG_MAP_REPLY;
}

START_TEST(maps_that_follow_each_other_are_learnt_at_once)
{
	revoke_edge(w.clouds[1].node, "a", true);
	run(50 * NS_PER_MS);
	revoke_edge(w.clouds[2].node, "b", true);
	run(50 * NS_PER_MS);
	for (uint32_t node = 0; node < 3; node++)
		ck_assert(!listens(node, "a") && !listens(node, "b") && listens(node, "c"));
}
END_TEST

/* Once in a while; the other edges are answered. */
START_TEST(who_asks_for_the_map_without_end_is_not_given_it_each_time)
{
	size_t given = 0;
	for (int i = 0; i < 50; i++) {
		ck_assert(listens(1, "a"));
		ck_assert_uint_eq(w.last.map_reply.version, 1);
		ck_assert_int_eq(w.last.map_reply.verdict, w.last.map_reply.map.n ? VERDICT_OK : VERDICT_BUSY);
		given += w.last.map_reply.map.n > 0;
	}
	ck_assert_uint_eq(given, 1);
	ck_assert(listens(1, "b") && w.last.map_reply.map.n);
	run(PACE_EVERY_MS * NS_PER_MS);
	ck_assert(listens(1, "a") && w.last.map_reply.map.n);
}
END_TEST

/* To node 2, as if it came from node 1. */
static void give_map(const struct topology *t, uint64_t version)
{
	struct cluster_map map;
	struct buf bytes = {0}, frame = {0};
	map_first(t, t->text, t->text_len, &map);
	map.version = version;
	ck_assert_int_eq(map_encode(&map, &bytes), 0);
	struct msg m = {.type = MSG_MAP_REPLY, .from = "cloud-2", .req_id = 1};
	m.map_reply.verdict = VERDICT_OK;
	m.map_reply.version = version;
	m.map_reply.map = bytes_of(bytes.data, bytes.len);
	ck_assert_int_eq(msg_encode(&m, &frame), 0);
	node_peer_frame(w.clouds[2].node, 1, frame.data, frame.len, now());
	node_flush(w.clouds[2].node, now());
	buf_free(&bytes);
	buf_free(&frame);
	map_clear(&map);
}

static uint64_t map_version(uint32_t node)
{
	const struct topology *t = node_topology(w.clouds[node].node);
	uint64_t version = t->map_version;
	topology_free(t);
	return version;
}

START_TEST(a_map_of_another_cluster_changes_nothing)
{
	struct topology *others[] = {cloud_topology_of(2, SHARDS, 1), cloud_topology_of(3, SHARDS - 1, 1)};
	for (size_t i = 0; i < 2; i++) {
		give_map(others[i], 9);
		ck_assert_uint_eq(map_version(2), 1);
		topology_free(others[i]);
	}
	run(S); /* it is fine */
	char *why = NULL;
	ck_assert_msg(node_ready(w.clouds[2].node, &why), "%s", why);
	ck_assert_uint_eq(w.begin_again, 0);
}
END_TEST

/* Its file has a node that the cluster has not, or not yet; or has them in another order. */
START_TEST(a_node_begins_again_by_a_map_that_has_other_places_than_its_file)
{
	struct topology *more = cloud_topology_of(3, SHARDS, 1), *others = cloud_topology_of(4, SHARDS, 1);
	w = (struct world){.t = cloud_topology_of(4, SHARDS, 1), .count = 3, .now_ns = 100 * S};
	start(2);
	run(S);
	ck_assert_uint_eq(map_version(2), 0);
	give_map(more, 4);
	ck_assert_uint_eq(w.begin_again, 1);
	ck_assert_uint_eq(map_version(2), 0);
	char *name = others->clouds[0].name;
	others->clouds[0].name = others->clouds[1].name;
	others->clouds[1].name = name;
	give_map(others, 4); /* parsed from the text: in that order */
	ck_assert_uint_eq(w.begin_again, 2);
	name = others->clouds[0].name;
	others->clouds[0].name = others->clouds[1].name;
	others->clouds[1].name = name;
	struct topology *shards = cloud_topology_of(5, SHARDS + 1, 1);
	give_map(shards, 4); /* of a cluster that this node's file is not of: it would begin again for ever */
	ck_assert_uint_eq(w.begin_again, 2);
	give_map(others, 4);
	ck_assert_uint_eq(map_version(2), 4);
	ck_assert_uint_eq(w.begin_again, 2);
	topology_free(shards);
	topology_free(others);
	topology_free(more);
}
END_TEST

/* ---- batches --------------------------------------------------------------------------------------------------------------- */

START_TEST(any_node_takes_batches_for_any_shard)
{
	join("a");
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		for (uint32_t node = 0; node < 3; node++) {
			ck_assert_int_eq(open_shard(node, "a", 1, shard, 1 + node, 1 + node), VERDICT_OK);
			ck_assert_uint_eq(w.last.open_reply.last, node);
			ck_assert_int_eq(batch(node, "a", 1, shard, 1 + node), VERDICT_OK);
			ck_assert_uint_eq(w.last.batch_reply.last, 1 + node);
			ck_assert_uint_gt(w.last.batch_reply.credit_bytes, 0);
			ck_assert_int_eq(batch((node + 1) % 3, "a", 1, shard, 1 + node), VERDICT_DUPLICATE);
		}
	}
}
END_TEST

START_TEST(nothing_is_acknowledged_before_it_is_in_the_log_and_applied)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	w.hold_disks = true;
	size_t before = w.replies;
	send_batch(0, "a", 1, 0, 1);
	run(10 * S);
	ck_assert_uint_eq(w.replies, before);
	stop(0); /* kill -9: never written */
	w.hold_disks = false;
	start(0);
	run(ELECTED);
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	ck_assert_uint_eq(w.last.open_reply.last, 0);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_OK);
}
END_TEST

START_TEST(what_is_in_the_log_survives_and_is_not_merged_twice)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	w.hold_disks = true;
	send_batch(0, "a", 1, 0, 1);
	struct log_job *job = w.clouds[0].log_job;
	ck_assert_ptr_nonnull(job);
	ck_assert_int_eq(log_job_run(w.clouds[0].disk.log, job), 0);
	stop(0); /* written, never applied nor answered */
	w.hold_disks = false;
	start(0);
	run(ELECTED);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_NOT_OPEN);
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	ck_assert_uint_eq(w.last.open_reply.last, 1);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_DUPLICATE);
}
END_TEST

START_TEST(an_old_copy_of_a_spool_is_fenced_by_the_shard)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 2), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 0, 2), VERDICT_OK);
	/* restored from a backup of before the second batch */
	ck_assert_int_eq(hello_as(0, "a", "restored", 1, false), VERDICT_OK);
	ck_assert_int_eq(open_shard(0, "a", 2, 0, 1, 1), VERDICT_FENCED);
	ck_assert_uint_eq(w.last.open_reply.epoch, 2);
	ck_assert_int_eq(batch(0, "a", 2, 0, 2), VERDICT_NOT_OPEN);
	/* and the other way: the cloud has lost batches */
	ck_assert_int_eq(open_shard(0, "a", 2, 0, 4, 5), VERDICT_FENCED);
}
END_TEST

START_TEST(a_node_that_is_down_is_unavailable_until_it_is_back)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 2, 1, 1), VERDICT_OK);
	stop(2);
	size_t before = w.replies;
	send_batch(0, "a", 1, 2, 1);
	run(3 * S + S);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	start(2);
	run(ELECTED);
	ck_assert_int_eq(batch(0, "a", 1, 2, 1), VERDICT_NOT_OPEN);
	ck_assert_int_eq(open_shard(0, "a", 1, 2, 1, 1), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 2, 1), VERDICT_OK);
	stop(0);
	before = w.replies;
	struct msg m = {.type = MSG_HELLO};
	uint8_t claim[CLAIM_BYTES] = "x";
	m.hello.edge = "b";
	m.hello.cluster = "plant";
	m.hello.claim = bytes_of(claim, sizeof(claim));
	edge_sends(1, "b", &m);
	run(4 * S);
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.hello_reply.verdict, VERDICT_UNAVAILABLE);
}
END_TEST

/* Frames that a node sends when another one asks it who it is, and at its next tick. */
static size_t says_of_itself(uint32_t node)
{
	struct msg m = {.type = MSG_INFO, .from = "cloud-1", .req_id = 1, .cluster_id = bytes_of(w.id, CLUSTER_ID_BYTES)};
	struct buf frame = {0};
	m.info.cluster = "plant";
	ck_assert_int_eq(msg_encode(&m, &frame), 0);
	pump();
	size_t before = w.tail;
	node_frame(w.clouds[node].node, bytes_of("n0", 2), "", frame.data, frame.len, now());
	w.now_ns += S;
	node_tick(w.clouds[node].node, now());
	size_t said = w.tail - before;
	pump();
	buf_free(&frame);
	return said;
}

/* It would be taken for one that is there, and never be replaced. */
START_TEST(a_node_that_cannot_go_on_says_nothing_of_itself)
{
	join("a");
	ck_assert_uint_ge(says_of_itself(2), 3); /* an answer, a question to each other node */
	w.broken[2] = true;
	struct msg m = {.type = MSG_OPEN};
	m.open.edge = "a";
	m.open.epoch = m.open.low = m.open.high = 1;
	m.open.shard = 2;
	edge_sends(2, "a", &m);
	run(S);
	char *why = NULL;
	ck_assert(!node_ready(w.clouds[2].node, &why));
	free(why);
	ck_assert_uint_eq(says_of_itself(2), 0);
	ck_assert_uint_ge(says_of_itself(1), 3);
}
END_TEST

START_TEST(a_node_that_is_cut_off_catches_up)
{
	join("a");
	join("b");
	join("c");
	ck_assert_int_eq(open_shard(2, "a", 1, 2, 1, 1), VERDICT_OK);
	w.cut[2] = true;
	size_t before = w.replies;
	send_batch(0, "a", 1, 2, 1); /* swallowed on the way */
	for (int i = 1; i <= 10; i++) {
		w.cut[2] = true;
		run(S);
		report("a", i * MIN);
		report("b", i * MIN);
		report("c", i * MIN);
	}
	ck_assert_uint_eq(w.replies, before + 1 + 30);
	ck_assert(shard_close_ns(2) == WATERMARK_NONE);
	w.cut[2] = false;
	run(5 * S);
	ck_assert(shard_close_ns(2) == 10 * MIN);
	ck_assert_int_eq(batch(0, "a", 1, 2, 1), VERDICT_OK); /* the shard never stopped: it is still open */
}
END_TEST

START_TEST(a_forwarded_frame_is_never_forwarded_again)
{
	join("a");
	struct msg m = {.type = MSG_OPEN, .req_id = 5};
	m.open.edge = "a";
	m.open.epoch = 1;
	m.open.shard = 1; /* of node 1 */
	m.open.low = 1;
	m.cluster_id = bytes_of(w.id, CLUSTER_ID_BYTES);
	m.from = "cloud-3";
	struct buf frame = {0};
	ck_assert_int_eq(msg_encode(&m, &frame), 0);
	struct packet *p = packet_new(0, frame.data, frame.len); /* to node 0 */
	snprintf(p->route, sizeof(p->route), "x");
	buf_free(&frame);
	size_t before = w.replies;
	pump();
	ck_assert_uint_eq(w.replies, before + 1);
	ck_assert_int_eq(w.last.open_reply.verdict, VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(w.last.req_id, 5);
}
END_TEST

/* ---- reports, close and final ------------------------------------------------------------------------------------------------- */

static void three_join(void)
{
	join("a");
	join("b");
	join("c");
}

START_TEST(close_reaches_every_shard_and_the_queue_empties)
{
	three_join();
	report("a", 20 * MIN);
	report("b", 30 * MIN);
	run(2 * S);
	ck_assert(shard_close_ns(0) == WATERMARK_NONE);
	report("c", 10 * MIN);
	run(2 * S);
	for (uint32_t s = 0; s < SHARDS; s++)
		ck_assert(shard_close_ns(s) == 10 * MIN);
	report("c", 40 * MIN);
	run(3 * S);
	for (uint32_t s = 0; s < SHARDS; s++)
		ck_assert(shard_close_ns(s) == 20 * MIN);
	run(3 * S);
	ck_assert_uint_eq(queued_advances(), 0);
	ck_assert_uint_eq(taken(0), taken(1));
	ck_assert_uint_eq(taken(0), taken(2));
}
END_TEST

static uint64_t node_closes(void)
{
	struct buf out = {0};
	struct kv_txn *txn;
	static const char name[] = "\nweir_cloud_closes_total ";
	ck_assert_int_eq(kv_begin(w.clouds[0].disk.state, false, &txn), 0);
	node_metrics(w.clouds[0].node, txn, &out);
	kv_abort(txn);
	const char *at = strstr(buf_cstr(&out), name);
	ck_assert_ptr_nonnull(at);
	uint64_t n = strtoull(at + strlen(name), NULL, 10);
	buf_free(&out);
	return n;
}

START_TEST(closes_are_at_most_five_a_second)
{
	three_join();
	report("b", 1000 * MIN);
	report("c", 1000 * MIN);
	run(S);
	uint64_t before = w.clouds[0].committed[0];
	for (int i = 0; i < 200; i++) {
		report("a", i * MIN);
		run(50 * NS_PER_MS);
	}
	/* 10 s of them, with ENTRY_TAKEN of three shards beside */
	ck_assert_uint_le(w.clouds[0].committed[0] - before, 10 * 5 + 11 * 3);
	run(2 * S);
	ck_assert(shard_close_ns(1) == 199 * MIN);
}
END_TEST

/* No window ends within a slice: what moves there is told once a second, what passes its end at once. */
START_TEST(steps_within_a_slice_cost_one_close_a_second)
{
	three_join();
	report("b", 1000 * MIN);
	report("c", 1000 * MIN);
	report("a", MIN);
	run(2 * S);
	uint64_t before = node_closes();
	for (int i = 1; i <= 100; i++) {
		report("a", MIN + i * MIN / 200);
		run(100 * NS_PER_MS);
	}
	uint64_t closes = node_closes() - before;
	ck_assert(closes >= 9 && closes <= 11);
	run(1500 * NS_PER_MS);
	ck_assert(shard_close_ns(1) == MIN + MIN / 2);
	for (int i = 2; i <= 4; i++) {
		report("a", i * MIN);
		run(500 * NS_PER_MS);
		ck_assert(shard_close_ns(1) == i * MIN);
	}
	report("a", 4 * MIN + 1);
	run(400 * NS_PER_MS);
	ck_assert(shard_close_ns(1) == 4 * MIN);
	run(1500 * NS_PER_MS);
	ck_assert(shard_close_ns(1) == 4 * MIN + 1);
}
END_TEST

START_TEST(lost_frames_between_nodes_are_made_good)
{
	three_join();
	for (int i = 1; i <= 40; i++) {
		w.drop_every = 0;
		report("a", i * MIN);
		report("b", i * MIN);
		report("c", i * MIN);
		w.drop_every = 3;
		run(500 * NS_PER_MS);
	}
	w.drop_every = 2;
	run(20 * S);
	w.drop_every = 0;
	run(5 * S);
	for (uint32_t s = 0; s < SHARDS; s++)
		ck_assert(shard_close_ns(s) == 40 * MIN);
	ck_assert_uint_eq(queued_advances(), 0);
}
END_TEST

START_TEST(a_shard_that_was_away_gets_what_it_missed_in_order)
{
	three_join();
	stop(2);
	for (int i = 1; i <= 60; i++) {
		report("a", i * MIN);
		report("b", i * MIN);
		report("c", i * MIN);
		run(S);
	}
	ck_assert(shard_close_ns(1) == 60 * MIN);
	ck_assert_uint_gt(queued_advances(), 0);
	stop(0);
	start(0); /* the queue is in the state */
	run(ELECTED);
	start(2);
	run(5 * S);
	ck_assert(shard_close_ns(2) == 60 * MIN);
	run(3 * S);
	ck_assert_uint_eq(queued_advances(), 0);
}
END_TEST

START_TEST(a_restarted_meta_node_keeps_close_and_hears_everyone_anew)
{
	three_join();
	report("a", 10 * MIN);
	report("b", 10 * MIN);
	report("c", 10 * MIN);
	run(3 * S);
	ck_assert(shard_close_ns(1) == 10 * MIN);
	stop(0);
	start(0);
	run(50 * S);
	for (int i = 0; i < 15; i++) {
		report("a", 11 * MIN);
		report("b", 11 * MIN);
		run(S);
		if (i < 8) /* c is not given up before a minute after the start */
			ck_assert(shard_close_ns(1) == 10 * MIN);
	}
	run(2 * S);
	ck_assert(shard_close_ns(1) == 11 * MIN);
	struct buf json = {0};
	node_edges_json(w.clouds[0].node, &json);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"c\",\"state\":\"partitioned\",\"epoch\":1,"));
	buf_free(&json);
}
END_TEST

START_TEST(reports_out_of_order_or_of_another_epoch_do_not_count)
{
	three_join();
	ck_assert_int_eq(hello_as(0, "a", "second", 1, false), VERDICT_OK); /* epoch 2 */
	report("b", 50 * MIN);
	report("c", 50 * MIN);
	ck_assert_int_eq(report_as(0, "a", 1, 1, 1, PHASE_LIVE, 45 * MIN), VERDICT_FENCED);
	ck_assert_int_eq(report_as(0, "a", 3, 1, 1, PHASE_LIVE, 45 * MIN), VERDICT_FENCED);
	run(2 * S);
	ck_assert(shard_close_ns(0) == WATERMARK_NONE);
	ck_assert_int_eq(report_as(0, "a", 2, 1, 5, PHASE_IDLE, 10 * MIN), VERDICT_OK);
	ck_assert_int_eq(report_as(0, "a", 2, 1, 4, PHASE_LIVE, 9 * MIN), VERDICT_OK); /* earlier, arrives later */
	run(2 * S);
	ck_assert(shard_close_ns(0) == 50 * MIN); /* it is idle */
	ck_assert_int_eq(report_as(0, "a", 2, 2, 1, PHASE_LIVE, 51 * MIN), VERDICT_OK); /* its next start */
	ck_assert_int_eq(report_as(0, "a", 2, 1, 6, PHASE_JOINING, WATERMARK_NONE), VERDICT_OK); /* of the start before */
	report("b", 60 * MIN);
	report("c", 60 * MIN);
	run(2 * S);
	ck_assert(shard_close_ns(0) == 51 * MIN);
}
END_TEST

START_TEST(a_readmitted_edge_is_heard_under_its_old_incarnation)
{
	three_join();
	report("b", 50 * MIN);
	report("c", 50 * MIN);
	ck_assert_int_eq(report_as(0, "a", 1, 1, 1, PHASE_LIVE, 10 * MIN), VERDICT_OK);
	ck_assert_int_eq(hello_as(0, "a", "clone", 1, false), VERDICT_OK); /* a clone takes over */
	ck_assert_int_eq(report_as(0, "a", 2, 2, 1, PHASE_LIVE, 11 * MIN), VERDICT_OK);
	readmit(w.clouds[0].node, "a");
	pump();
	ck_assert_int_eq(hello_as(0, "a", "back", 1, false), VERDICT_OK);
	ck_assert_uint_eq(w.last.hello_reply.epoch, 3);
	ck_assert_int_eq(report_as(0, "a", 3, 1, 2, PHASE_LIVE, 20 * MIN), VERDICT_OK);
	run(2 * S);
	ck_assert(shard_close_ns(0) == 20 * MIN);
}
END_TEST

/* ---- what nobody should send ----------------------------------------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

static size_t sample_frame(unsigned kind, struct buf *out)
{
	struct msg m = {.from = kind % 2 ? "a" : "cloud-2", .cluster_id = bytes_of(w.id, CLUSTER_ID_BYTES), .req_id = 3};
	static const uint8_t claim[CLAIM_BYTES];
	m.type = (enum msg_type)(MSG_HELLO + kind % (MSG_ERROR - MSG_HELLO + 1));
	if (m.type == MSG_HELLO) {
		m.hello.edge = "a";
		m.hello.cluster = "plant";
		m.hello.claim = bytes_of(claim, sizeof(claim));
	} else if (m.type == MSG_OPEN) {
		m.open.edge = "a";
		m.open.epoch = 1;
		m.open.low = 1;
	} else if (m.type == MSG_BATCH) {
		m.batch.edge = "a";
		m.batch.epoch = 1;
		m.batch.seq = 1;
		m.batch.body = body_of(0, 1, MIN);
	} else if (m.type == MSG_REPORT) {
		m.report.edge = "a";
		m.report.epoch = 1;
	}
	buf_clear(out);
	return msg_encode(&m, out) ? 0 : out->len;
}

START_TEST(no_frame_can_harm)
{
	struct buf frame = {0};
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	for (unsigned i = 0; i < 20000; i++) {
		if (!sample_frame(i, &frame))
			buf_u64(&frame, next_random());
		for (unsigned flips = (unsigned)(next_random() % 4); flips; flips--)
			frame.data[next_random() % frame.len] = (uint8_t)next_random();
		size_t len = next_random() % 8 ? frame.len : (size_t)(next_random() % frame.len);
		node_frame(w.clouds[i % 3].node, bytes_of("e", 1), "", frame.data, len, now());
		node_peer_frame(w.clouds[i % 3].node, (uint32_t)(next_random() % 3), frame.data, len, now());
		if (i % 100 == 0)
			run(NODE_TICK_MS * NS_PER_MS);
	}
	buf_free(&frame);
	run(5 * S);
	/* and the good go on */
	ck_assert_int_eq(open_shard(1, "b", 1, 0, 1, 0), VERDICT_OK);
	ck_assert_int_eq(batch(1, "b", 1, 0, 1), VERDICT_OK);
}
END_TEST

/* Sent by an edge of a later version, which must not be thrown out for asking. */
START_TEST(unknown_messages_are_answered_and_unknown_protocols_refused)
{
	static const uint8_t later[] = {0x08, PROTOCOL_NEWEST, 0x10, 77, 0xd2, 0x3f, 1, 'x'};    /* body 1018 */
	static const uint8_t too_late[] = {0x08, PROTOCOL_NEWEST + 1, 0x10, 78, 0xd2, 0x3f, 1, 'x'};
	node_frame(w.clouds[0].node, bytes_of("a", 1), "", later, sizeof(later), now());
	pump();
	ck_assert_int_eq(w.last.type, MSG_ERROR);
	ck_assert_int_eq(w.last.error.verdict, VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(w.last.req_id, 77);
	node_frame(w.clouds[0].node, bytes_of("a", 1), "", too_late, sizeof(too_late), now());
	pump();
	ck_assert_int_eq(w.last.error.verdict, VERDICT_REFUSED);
	ck_assert_uint_eq(w.last.req_id, 78);
}
END_TEST

START_TEST(clouds_are_served_and_others_are_not)
{
	struct msg m = {.type = MSG_STATUS};
	m.status.what = "groups";
	edge_sends(0, "cloud-2", &m);
	ck_assert_uint_eq(w.clouds[0].served, 1);
	edge_sends(0, "a", &m);
	ck_assert_int_eq(w.last.type, MSG_ERROR);
	m.cluster_id = bytes_of("xxxxxxxxxxxxxxxx", CLUSTER_ID_BYTES);
	edge_sends(0, "cloud-2", &m);
	ck_assert_int_eq(w.last.type, MSG_ERROR);
	ck_assert_uint_eq(w.clouds[0].served, 1);
}
END_TEST

/* ---- what others see ----------------------------------------------------------------------------------------------------------------- */

static struct serve *serve_of(struct cloud *c)
{
	struct serve_options o = {.topology = w.t, .self = (uint32_t)(c - w.clouds), .state = c->disk.state, .node = c->node};
	return serve_new(&o);
}

static void what_streams(uint32_t node, char out[SERVE_WHAT_MAX])
{
	bool groups[SHARDS + 1];
	for (uint32_t g = 0; g <= SHARDS; g++)
		groups[g] = topology_rank(w.t, g, node) >= 0;
	serve_what_streams(groups, SHARDS + 1, out);
}

/* What that node's answer adds to `streams`. */
static void add_streams(struct serve *s, uint32_t node, struct serve_stream *streams)
{
	struct buf raw = {0};
	const char *reason = "";
	char what[SERVE_WHAT_MAX];
	what_streams(node, what);
	ck_assert_int_eq(serve_status(s, what, &raw, &reason), VERDICT_OK);
	ck_assert_int_eq(serve_streams_add(bytes_of(raw.data, raw.len), w.t, streams), 0);
	ck_assert_int_ne(serve_streams_add(bytes_of(raw.data, raw.len - 1), w.t, streams + w.t->stream_count), 0);
	buf_free(&raw);
}

START_TEST(streams_are_summed_over_the_nodes)
{
	/* The second half is for what comes of answers that are cut. */
	struct serve_stream *streams = xcalloc(2 * w.t->stream_count, sizeof(*streams));
	for (size_t i = 0; i < w.t->stream_count; i++)
		streams[i].close_ns = streams[i].final_ns = WATERMARK_NONE;
	const struct serve_stream *speed = &streams[topology_stream(w.t, "speed")];
	const struct serve_stream *alone = &streams[topology_stream(w.t, "alone")];
	three_join();
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		ck_assert_int_eq(open_shard(0, "a", 1, shard, 1, 1), VERDICT_OK);
		ck_assert_int_eq(batch(0, "a", 1, shard, 1), VERDICT_OK);
	}
	report("a", 10 * MIN);
	run(2 * S);
	for (uint32_t i = w.count; i-- > 0;) {
		struct serve *s = serve_of(&w.clouds[i]);
		add_streams(s, i, streams);
		serve_free(s);
		ck_assert_uint_eq(speed->received, w.count - i);
		if (i > 0) /* only the meta node knows */
			ck_assert(alone->close_ns == WATERMARK_NONE && alone->final_ns == WATERMARK_NONE);
	}
	ck_assert(speed->merged == 3 && speed->groups == 3);
	ck_assert(!speed->beyond_retain && !speed->unknown_stream && !speed->invalid && !speed->overflowed);
	ck_assert(speed->close_ns == WATERMARK_NONE && speed->final_ns == WATERMARK_NONE);
	ck_assert(alone->close_ns == 10 * MIN && alone->final_ns == 10 * MIN && !alone->received);
	free(streams);
}
END_TEST

START_TEST(what_threads_and_people_see)
{
	struct buf out = {0};
	struct kv_txn *txn;
	three_join();
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 1), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_OK);
	report("a", 10 * MIN);
	run(2 * S);
	node_edges_json(w.clouds[0].node, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out),
	    "{\"name\":\"a\",\"state\":\"live\",\"epoch\":1,\"spool_bytes\":0,\"accepted\":12,\"refused\":{\"bad_field\":3},"
	    "\"heard_ms_ago\":"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "{\"name\":\"b\",\"state\":\"joining\""));
	buf_clear(&out);
	ck_assert_int_eq(kv_begin(w.clouds[0].disk.state, false, &txn), 0);
	node_metrics(w.clouds[0].node, txn, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "weir_cloud_batches_total{verdict=\"ok\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "weir_cloud_readings_total{stream=\"speed\",result=\"merged\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "weir_cloud_partials_total{stream=\"speed\"} 1\n"));
	kv_abort(txn);
	buf_free(&out);
	struct msg_group_status groups[GROUPS_PER_STATUS_MAX];
	ck_assert_uint_eq(node_groups(w.clouds[0].node, groups), 2);
	ck_assert_uint_eq(groups[0].group, 0);
	ck_assert_uint_eq(groups[1].group, 1);
	ck_assert_int_eq(groups[1].role, REPLICA_LEADER);
	ck_assert_str_eq(groups[1].node, "cloud-1");
	ck_assert_uint_eq(groups[1].committed, groups[1].applied);
	ck_assert_uint_ge(groups[1].applied, 2);
	serve_groups_clear(groups, 2);
}
END_TEST

/* The kept copy may be the older one: it could not be written, say, when the disk was full. */
START_TEST(a_kept_map_does_not_take_the_place_of_a_later_one_in_the_state)
{
	struct buf before = {0}, after = {0};
	three_join();
	run(2 * S);
	for (uint32_t i = 0; i < NODES_MAX; i++) {
		buf_clear(&before);
		buf_clear(&after);
		node_map(w.clouds[i].node, &before);
		ck_assert_uint_gt(before.len, 0);
		stop(i);
		start(i);
		node_map(w.clouds[i].node, &after);
		if (!after.len)
			continue; /* holds no replica of the meta group */
		node_keep_map(w.clouds[i].node, bytes_of("older", 5));
		buf_clear(&after);
		node_map(w.clouds[i].node, &after);
		ck_assert_uint_eq(after.len, before.len);
		ck_assert_mem_eq(after.data, before.data, before.len);
		buf_free(&before);
		buf_free(&after);
		return;
	}
	ck_abort_msg("nobody had a map in its state");
}
END_TEST

static atomic_bool readers_stop;

static void *read_all_the_time(void *arg)
{
	struct cloud *c = arg;
	struct buf out = {0};
	struct msg_group_status groups[GROUPS_PER_STATUS_MAX];
	uint8_t id[CLUSTER_ID_BYTES];
	struct serve *s = serve_of(c);
	char what[SERVE_WHAT_MAX];
	what_streams(0, what);
	while (!readers_stop) {
		struct kv_txn *txn;
		char *why = NULL;
		if (kv_begin(c->disk.state, false, &txn))
			break;
		buf_clear(&out);
		node_edges_json(c->node, &out);
		node_metrics(c->node, txn, &out);
		serve_groups_clear(groups, node_groups(c->node, groups));
		node_cluster_id(c->node, id);
		if (!node_ready(c->node, &why))
			free(why);
		kv_abort(txn);
		const char *reason;
		buf_clear(&out);
		ck_assert_int_eq(serve_status(s, what, &out, &reason), VERDICT_OK);
	}
	serve_free(s);
	buf_free(&out);
	return NULL;
}

/* To be run with the thread sanitizer, too. */
START_TEST(other_threads_may_look_while_the_loop_works)
{
	pthread_t thread;
	readers_stop = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, read_all_the_time, &w.clouds[0]), 0);
	three_join();
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 50), VERDICT_OK);
	for (unsigned i = 1; i <= 50; i++) {
		ck_assert_int_eq(batch(0, "a", 1, 0, i), VERDICT_OK);
		report("a", i * MIN);
		report("b", i * MIN);
		report("c", i * MIN);
		run(S / 2);
	}
	readers_stop = true;
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(one_node_does_it_all)
{
	three_join();
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		ck_assert_int_eq(open_shard(0, "a", 1, shard, 1, 1), VERDICT_OK);
		ck_assert_int_eq(batch(0, "a", 1, shard, 1), VERDICT_OK);
	}
	report("a", 10 * MIN);
	report("b", 10 * MIN);
	report("c", 10 * MIN);
	run(2 * S);
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		ck_assert(shard_close_ns(shard) == 10 * MIN);
}
END_TEST

/* ---- replicated groups --------------------------------------------------------------------------------------------------------------- */

/* The node that serves a group; all that are up agree on it. */
static uint32_t leads(uint32_t group)
{
	int found = -1;
	for (uint32_t i = 0; i < w.count; i++) {
		if (!w.clouds[i].up || !node_serves(w.clouds[i].node, group))
			continue;
		ck_assert_int_eq(found, -1);
		found = (int)i;
	}
	ck_assert_int_ge(found, 0);
	for (uint32_t i = 0; i < w.count; i++)
		ck_assert(!w.clouds[i].up || node_leader(w.clouds[i].node, group) == found);
	return (uint32_t)found;
}

static struct apply_group_info info_of(uint32_t node, uint32_t group)
{
	struct kv_txn *txn;
	struct apply_group_info info;
	ck_assert_int_eq(kv_begin(w.clouds[node].disk.state, false, &txn), 0);
	ck_assert_int_eq(apply_read_group(txn, group, &info), 0);
	kv_abort(txn);
	return info;
}

static void expect_equal_states(void)
{
	run(S);
	for (uint32_t g = 0; g <= SHARDS; g++) {
		struct apply_group_info first = info_of(0, g);
		ck_assert_uint_gt(first.applied, 0);
		for (uint32_t i = 1; i < w.count; i++) {
			struct apply_group_info other = info_of(i, g);
			ck_assert_uint_eq(other.applied, first.applied);
			ck_assert(other.digest_hi == first.digest_hi && other.digest_lo == first.digest_lo);
		}
	}
}

static void count_merged(void *arg, const struct shard_stream_counts *counts)
{
	*(uint64_t *)arg += counts->merged;
}

static uint64_t merged(uint32_t node, uint32_t shard)
{
	struct kv_txn *txn;
	uint64_t n = 0;
	ck_assert_int_eq(kv_begin(w.clouds[node].disk.state, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, shard + 1, count_merged, &n), 0);
	kv_abort(txn);
	return n;
}

START_TEST(a_cluster_begins_when_every_node_was_there_once)
{
	w = (struct world){.t = cloud_topology_of(3, SHARDS, 3), .count = 3, .now_ns = 100 * S};
	start(0);
	start(1);
	run(10 * S);
	char *why = NULL;
	for (uint32_t i = 0; i < 2; i++) {
		ck_assert(!node_ready(w.clouds[i].node, &why));
		if (i == 0)
			ck_assert_ptr_nonnull(strstr(why, "forming: waits for cloud-3"));
		free(why);
	}
	start(2);
	settle();
	for (uint32_t i = 0; i < 3; i++)
		ck_assert(node_cluster_id(w.clouds[i].node, w.id));
	stop(2); /* and needs a majority from then on */
	stop(1);
	start(1);
	settle();
	join("a");
}
END_TEST

START_TEST(leaders_are_spread_over_the_nodes)
{
	run(20 * S);
	for (uint32_t g = 0; g <= SHARDS; g++)
		ck_assert_uint_eq(leads(g), topology_replica(w.t, g, 0));
}
END_TEST

START_TEST(a_leader_that_dies_is_replaced_and_edges_go_on)
{
	join("a");
	uint32_t before = leads(2), other = (before + 1) % 3;
	ck_assert_int_eq(open_shard(other, "a", 1, 1, 1, 3), VERDICT_OK);
	ck_assert_int_eq(batch(other, "a", 1, 1, 1), VERDICT_OK);
	stop(before);
	run(ELECTED);
	ck_assert_uint_ne(leads(2), before);
	ck_assert_int_eq(batch(other, "a", 1, 1, 2), VERDICT_NOT_OPEN);
	ck_assert_int_eq(open_shard(other, "a", 1, 1, 1, 3), VERDICT_OK);
	ck_assert_uint_eq(w.last.open_reply.last, 1);
	ck_assert_int_eq(batch(other, "a", 1, 1, 1), VERDICT_DUPLICATE);
	ck_assert_int_eq(batch(other, "a", 1, 1, 2), VERDICT_OK);
	start(before);
	settle();
	expect_equal_states();
	ck_assert_uint_eq(merged(before, 1), 2);
}
END_TEST

START_TEST(what_waits_for_a_leader_that_changed_is_answered_soon)
{
	join("a");
	uint32_t before = leads(2), other = (before + 1) % 3;
	ck_assert_int_eq(open_shard(other, "a", 1, 1, 1, 3), VERDICT_OK);
	w.cut[before] = true;
	size_t replies = w.replies;
	send_batch(other, "a", 1, 1, 1); /* swallowed on the way */
	ck_assert_uint_eq(w.replies, replies);
	int64_t since_ns = w.now_ns;
	while (w.replies == replies && w.now_ns - since_ns < ROUTE_TIMEOUT_MS * NS_PER_MS)
		run(NODE_TICK_MS * NS_PER_MS);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(w.last.batch_reply.reason, "leader changed"));
	ck_assert_int_lt(w.now_ns - since_ns, 2500 * NS_PER_MS);
}
END_TEST

START_TEST(what_waits_at_a_leader_without_quorum_is_answered_and_counts_once)
{
	join("a");
	uint32_t leader = leads(2);
	ck_assert_int_eq(open_shard(leader, "a", 1, 1, 1, 3), VERDICT_OK);
	w.cut[(leader + 1) % 3] = w.cut[(leader + 2) % 3] = true;
	size_t replies = w.replies;
	send_batch(leader, "a", 1, 1, 1);
	ck_assert_uint_eq(w.replies, replies);
	run(5 * S);
	ck_assert_uint_eq(w.replies, replies + 1);
	ck_assert_int_eq(w.last.batch_reply.verdict, VERDICT_UNAVAILABLE);
	char *why = NULL;
	ck_assert(!node_ready(w.clouds[leader].node, &why));
	ck_assert_ptr_nonnull(strstr(why, "only 1 of 3 replicas can be reached"));
	free(why);
	memset(w.cut, 0, sizeof(w.cut));
	settle();
	run(S);
	ck_assert_int_eq(open_shard(leader, "a", 1, 1, 1, 3), VERDICT_OK);
	enum verdict again = w.last.open_reply.last ? VERDICT_DUPLICATE : VERDICT_OK;
	ck_assert_int_eq(batch(leader, "a", 1, 1, 1), again);
	expect_equal_states();
	ck_assert_uint_eq(merged(0, 1), 1);
}
END_TEST

START_TEST(a_node_that_hears_its_leaders_and_cannot_reach_them_says_so_at_once)
{
	join("a");
	uint32_t muted = leads(2);
	w.mute[muted] = true;
	run(PEERS_REACHABLE_MS * NS_PER_MS + ELECTED);
	uint32_t leader = leads(2);
	ck_assert_uint_ne(leader, muted);
	char *why = NULL;
	ck_assert(!node_ready(w.clouds[muted].node, &why));
	ck_assert_ptr_nonnull(strstr(why, "does not answer this node"));
	free(why);
	ck_assert_int_eq(open_shard(muted, "a", 1, 1, 1, 3), VERDICT_UNAVAILABLE); /* nothing waits for a deadline */
	ck_assert_int_eq(open_shard(leader, "a", 1, 1, 1, 3), VERDICT_OK);
	w.mute[muted] = false;
	settle();
	ck_assert_int_eq(open_shard(muted, "a", 1, 1, 1, 3), VERDICT_OK);
}
END_TEST

static int64_t close_at(uint32_t node, uint32_t shard)
{
	struct kv_txn *txn;
	int64_t close_ns = WATERMARK_NONE;
	ck_assert_int_eq(kv_begin(w.clouds[node].disk.state, false, &txn), 0);
	ck_assert_int_eq(shard_read_counts(txn, shard + 1, count_close, &close_ns), 0);
	kv_abort(txn);
	return close_ns;
}

static void three_report(uint32_t node, int64_t watermark_ns)
{
	static const char *const edges[] = {"a", "b", "c"};
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(report_as(node, edges[i], 1, 9, ++report_seq, PHASE_LIVE, watermark_ns), VERDICT_OK);
}

START_TEST(another_meta_leader_loses_and_repeats_nothing)
{
	three_join();
	int64_t minutes = 10;
	for (unsigned round = 0; round < 4; round++, minutes += 10) {
		uint32_t leader = leads(0), other = (leader + 1) % 3;
		three_report(other, minutes * MIN);
		run(2 * S);
		for (uint32_t shard = 0; shard < SHARDS; shard++)
			ck_assert(close_at(other, shard) == minutes * MIN);
		three_report(other, (minutes + 5) * MIN); /* maybe in flight */
		stop(leader);
		run(ELECTED);
		ck_assert_uint_ne(leads(0), leader);
		ck_assert_int_eq(hello_as(other, "a", "a", 0, true), VERDICT_OK); /* the same claim: the same grant */
		ck_assert_uint_eq(w.last.hello_reply.epoch, 1);
		ck_assert_int_eq(hello_as(other, "a", "clone", 0, false), VERDICT_FENCED);
		three_report(other, (minutes + 6) * MIN);
		run(2 * S);
		for (uint32_t shard = 0; shard < SHARDS; shard++)
			ck_assert(close_at(other, shard) == (minutes + 6) * MIN);
		start(leader);
		settle();
	}
	run(5 * S);
	expect_equal_states();
	ck_assert_uint_eq(queued_advances(), 0);
}
END_TEST

/* An advance in the queue that is none. */
static void damage_queue(struct cloud *c)
{
	struct state_key k;
	struct kv_txn *txn;
	for (unsigned i = 0; i < 100 && apply_uncommitted(c->apply); i++)
		run(NODE_TICK_MS * NS_PER_MS);
	state_key_start(&k, STATE_QUEUE);
	state_key_u64(&k, UINT64_C(1) << 62);
	ck_assert_int_eq(kv_begin(c->disk.state, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(0), state_key_bytes(&k), bytes_of("x", 1)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
}

START_TEST(who_cannot_read_the_meta_state_has_it_again)
{
	three_join();
	uint32_t before = leads(0), other = (before + 1) % 3, third = (before + 2) % 3;
	damage_queue(&w.clouds[before]);
	w.cut[other] = true; /* what it leads falls behind: the queue is read */
	three_report(third, 10 * MIN);
	run(5 * S);
	w.cut[other] = false;
	run(2 * ELECTED);
	struct buf metrics = {0};
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(w.clouds[before].disk.state, false, &txn), 0);
	node_metrics(w.clouds[before].node, txn, &metrics);
	kv_abort(txn);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&metrics), "\nweir_cloud_damaged_states_total 1\n"));
	buf_free(&metrics);
	for (uint32_t g = 0; g <= SHARDS; g++)
		ck_assert_int_ge(node_leader(w.clouds[third].node, g), 0);
	char *why = NULL;
	ck_assert_msg(node_ready(w.clouds[before].node, &why), "%s", why);
	expect_equal_states();
	ck_assert_int_eq(hello_as(third, "a", "a", 0, true), VERDICT_OK);
	three_report(third, 20 * MIN);
	run(2 * S);
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		ck_assert(close_at(third, shard) == 20 * MIN);
}
END_TEST

START_TEST(a_readmission_goes_to_whoever_leads)
{
	join("a");
	uint32_t before = leads(0);
	stop(before);
	readmit(w.clouds[(before + 1) % 3].node, "a");
	run(4 * S); /* either it waited at the one that is gone, or nobody led */
	ck_assert_int_eq(w.readmits, 1);
	ck_assert_int_eq(w.readmit_verdict, VERDICT_UNAVAILABLE);
	for (uint32_t i = 1; i <= 2; i++) {
		readmit(w.clouds[(before + i) % 3].node, "a");
		node_flush(w.clouds[(before + i) % 3].node, now());
		pump();
		ck_assert_int_eq(w.readmits, 1 + (int)i);
		ck_assert_int_eq(w.readmit_verdict, VERDICT_OK);
	}
}
END_TEST

static int64_t longest_unled(uint32_t node, bool *ret_cut_off)
{
	int64_t longest_ns = 0;
	for (uint32_t g = 0; g <= SHARDS; g++) {
		int64_t ns = node_unled_ns(w.clouds[node].node, g, ret_cut_off);
		longest_ns = ns > longest_ns ? ns : longest_ns;
	}
	return longest_ns;
}

/* So that who asks it is not kept waiting (gather.h). */
START_TEST(a_node_that_is_cut_off_knows_that_nobody_will_lead)
{
	bool cut_off;
	join("a");
	uint32_t out = leads(0), in = (out + 1) % 3;
	ck_assert(!longest_unled(out, &cut_off) && !cut_off);
	w.cut[out] = true;
	run(5 * S);
	ck_assert_int_ge(longest_unled(out, &cut_off), GATHER_CUT_OFF_NS);
	ck_assert(cut_off);
	ck_assert(!longest_unled(in, &cut_off) && !cut_off);
	w.cut[out] = false;
	run(2 * ELECTED);
	ck_assert(!longest_unled(out, &cut_off) && !cut_off);
}
END_TEST

START_TEST(an_election_is_over_before_anybody_gives_up)
{
	bool cut_off;
	int64_t longest_ns = 0;
	for (uint32_t times = 0; times < 3; times++) {
		uint32_t before = leads(0), rest[] = {(before + 1) % 3, (before + 2) % 3};
		stop(before);
		w.drop_every = 20; /* so that votes get lost */
		for (int64_t t = 0; t < 2 * ELECTED; t += NODE_TICK_MS * NS_PER_MS) {
			run(NODE_TICK_MS * NS_PER_MS);
			for (size_t i = 0; i < 2; i++) {
				int64_t ns = longest_unled(rest[i], &cut_off);
				longest_ns = ns > longest_ns ? ns : longest_ns;
			}
		}
		w.drop_every = 0;
		start(before);
		run(2 * ELECTED);
	}
	ck_assert_int_gt(longest_ns, 0);
	ck_assert_int_lt(longest_ns, GATHER_UNLED_NS);
}
END_TEST

/* The others hear of it with the next tick, not with the next round of questions, and edges are refused at once. */
START_TEST(who_has_no_room_says_so_at_once_and_edges_are_refused)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 0, 1, 0), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 0, 1), VERDICT_OK);
	run(3 * S);
	int leader = node_leader(w.clouds[0].node, 1);
	ck_assert_int_ge(leader, 0);
	for (int low = 1; low >= 0; low--) {
		for (int i = 0; i < 3; i++) {
			if (i != leader)
				node_state_low(w.clouds[i].node, low > 0, now());
		}
		run(2 * NODE_TICK_MS * NS_PER_MS);
		ck_assert_int_eq(node_leader(w.clouds[0].node, 1), leader);
		ck_assert_int_eq(batch(0, "a", 1, 0, 2), low ? VERDICT_BUSY : VERDICT_OK);
	}
}
END_TEST

START_TEST(a_node_that_lost_its_disks_comes_back_as_a_new_replica)
{
	join("a");
	ck_assert_int_eq(open_shard(0, "a", 1, 1, 1, 3), VERDICT_OK);
	ck_assert_int_eq(batch(0, "a", 1, 1, 1), VERDICT_OK);
	run(S);
	stop(2);
	wipe(2);
	run(ELECTED);
	start(2);
	settle();
	run(20 * S);
	expect_equal_states();
	ck_assert_uint_eq(merged(2, 1), 1);
	uint8_t id[CLUSTER_ID_BYTES];
	ck_assert(node_cluster_id(w.clouds[2].node, id));
	ck_assert_mem_eq(id, w.id, sizeof(id));
	stop(0); /* it votes */
	run(ELECTED);
	leads(2);
	ck_assert_int_eq(open_shard(1, "a", 1, 1, 1, 3), VERDICT_OK);
	ck_assert_int_eq(batch(1, "a", 1, 1, 2), VERDICT_OK);
}
END_TEST

START_TEST(only_a_leader_confirms_reads)
{
	for (uint32_t g = 0; g <= SHARDS; g++) {
		uint32_t leader = leads(g);
		for (uint32_t i = 0; i < 3; i++) {
			struct cloud *c = &w.clouds[i];
			size_t before = c->reads;
			node_read(c->node, g, 7000 + g, now());
			node_flush(c->node, now());
			pump();
			run(NODE_TICK_MS * NS_PER_MS);
			ck_assert_uint_eq(c->reads, before + 1);
			ck_assert_int_eq(c->read_ok, i == leader);
			ck_assert(i != leader || c->read_index == c->committed[g]);
		}
	}
	/* One that is cut off does not. */
	uint32_t leader = leads(1);
	struct cloud *c = &w.clouds[leader];
	size_t before = c->reads;
	w.cut[leader] = true;
	node_read(c->node, 1, 7001, now());
	node_flush(c->node, now());
	pump();
	ck_assert_uint_eq(c->reads, before);
	run(5 * S);
	ck_assert_uint_eq(c->reads, before + 1);
	ck_assert(!c->read_ok);
}
END_TEST

START_TEST(frames_lost_between_replicas_are_made_good)
{
	three_join();
	uint64_t seq = 0;
	w.drop_every = 5;
	for (int i = 1; i <= 20; i++) {
		struct msg m = {.type = MSG_OPEN};
		m.open.edge = "a";
		m.open.epoch = 1;
		m.open.shard = 1;
		m.open.low = 1;
		m.open.high = 100;
		edge_sends(0, "a", &m);
		run(500 * NS_PER_MS);
		if (w.last.type == MSG_OPEN_REPLY && w.last.open_reply.verdict == VERDICT_OK)
			seq = w.last.open_reply.last;
		send_batch(0, "a", 1, 1, seq + 1);
		run(500 * NS_PER_MS);
	}
	w.drop_every = 0;
	run(10 * S);
	settle();
	expect_equal_states();
	ck_assert_uint_ge(merged(0, 1), 3);
	ck_assert_int_eq(open_shard(0, "a", 1, 1, 1, 100), VERDICT_OK);
	ck_assert_uint_eq(w.last.open_reply.last, merged(0, 1)); /* each counts once */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/node");
	TCase *tc = tcase_create("three");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_three, teardown);
	tcase_add_test(tc, every_node_learns_the_id_and_keeps_it);
	tcase_add_test(tc, a_node_of_another_cluster_refuses_to_serve);
	tcase_add_test(tc, a_stranger_under_a_nodes_name_changes_nothing);
	tcase_add_test(tc, a_term_that_was_never_there_is_forgotten);
	tcase_add_test(tc, a_left_over_of_an_earlier_cluster_does_not_name_the_new_one);
	tcase_add_test(tc, a_lost_state_is_rebuilt_while_the_log_still_has_all);
	tcase_add_test(tc, one_holder_of_a_name_at_a_time);
	tcase_add_test(tc, an_empty_spool_waits_until_the_old_holder_was_silent);
	tcase_add_test(tc, readmission_is_the_way_back_from_any_node);
	tcase_add_test(tc, a_revoked_edge_is_refused_everywhere_until_it_is_allowed);
	tcase_add_test(tc, maps_that_follow_each_other_are_learnt_at_once);
	tcase_add_test(tc, who_asks_for_the_map_without_end_is_not_given_it_each_time);
	tcase_add_test(tc, a_map_of_another_cluster_changes_nothing);
	tcase_add_test(tc, any_node_takes_batches_for_any_shard);
	tcase_add_test(tc, nothing_is_acknowledged_before_it_is_in_the_log_and_applied);
	tcase_add_test(tc, what_is_in_the_log_survives_and_is_not_merged_twice);
	tcase_add_test(tc, an_old_copy_of_a_spool_is_fenced_by_the_shard);
	tcase_add_test(tc, a_node_that_is_down_is_unavailable_until_it_is_back);
	tcase_add_test(tc, a_node_that_cannot_go_on_says_nothing_of_itself);
	tcase_add_test(tc, a_node_that_is_cut_off_catches_up);
	tcase_add_test(tc, a_forwarded_frame_is_never_forwarded_again);
	tcase_add_test(tc, close_reaches_every_shard_and_the_queue_empties);
	tcase_add_test(tc, closes_are_at_most_five_a_second);
	tcase_add_test(tc, steps_within_a_slice_cost_one_close_a_second);
	tcase_add_test(tc, lost_frames_between_nodes_are_made_good);
	tcase_add_test(tc, a_shard_that_was_away_gets_what_it_missed_in_order);
	tcase_add_test(tc, a_restarted_meta_node_keeps_close_and_hears_everyone_anew);
	tcase_add_test(tc, reports_out_of_order_or_of_another_epoch_do_not_count);
	tcase_add_test(tc, a_readmitted_edge_is_heard_under_its_old_incarnation);
	tcase_add_test(tc, no_frame_can_harm);
	tcase_add_test(tc, unknown_messages_are_answered_and_unknown_protocols_refused);
	tcase_add_test(tc, clouds_are_served_and_others_are_not);
	tcase_add_test(tc, streams_are_summed_over_the_nodes);
	tcase_add_test(tc, what_threads_and_people_see);
	tcase_add_test(tc, a_kept_map_does_not_take_the_place_of_a_later_one_in_the_state);
	tcase_add_test(tc, other_threads_may_look_while_the_loop_works);
	suite_add_tcase(s, tc);
	TCase *replicated = tcase_create("replicated");
	tcase_set_timeout(replicated, 120);
	tcase_add_checked_fixture(replicated, setup_replicated, teardown);
	tcase_add_test(replicated, leaders_are_spread_over_the_nodes);
	tcase_add_test(replicated, a_leader_that_dies_is_replaced_and_edges_go_on);
	tcase_add_test(replicated, what_waits_for_a_leader_that_changed_is_answered_soon);
	tcase_add_test(replicated, what_waits_at_a_leader_without_quorum_is_answered_and_counts_once);
	tcase_add_test(replicated, a_node_that_hears_its_leaders_and_cannot_reach_them_says_so_at_once);
	tcase_add_test(replicated, another_meta_leader_loses_and_repeats_nothing);
	tcase_add_test(replicated, who_cannot_read_the_meta_state_has_it_again);
	tcase_add_test(replicated, a_readmission_goes_to_whoever_leads);
	tcase_add_test(replicated, a_node_that_is_cut_off_knows_that_nobody_will_lead);
	tcase_add_test(replicated, an_election_is_over_before_anybody_gives_up);
	tcase_add_test(replicated, a_node_that_lost_its_disks_comes_back_as_a_new_replica);
	tcase_add_test(replicated, who_has_no_room_says_so_at_once_and_edges_are_refused);
	tcase_add_test(replicated, only_a_leader_confirms_reads);
	tcase_add_test(replicated, frames_lost_between_replicas_are_made_good);
	suite_add_tcase(s, replicated);
	TCase *one = tcase_create("one");
	tcase_add_checked_fixture(one, setup_one, teardown);
	tcase_add_test(one, one_node_does_it_all);
	suite_add_tcase(s, one);
	TCase *none = tcase_create("none");
	tcase_add_checked_fixture(none, NULL, teardown);
	tcase_add_test(none, a_node_begins_again_by_a_map_that_has_other_places_than_its_file);
	tcase_add_test(none, a_node_without_the_meta_node_is_not_ready);
	tcase_add_test(none, a_cluster_begins_when_every_node_was_there_once);
	suite_add_tcase(s, none);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
