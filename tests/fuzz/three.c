#include "tests/fuzz/three.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "common/err.h"
#include "common/topology.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#define QUEUE_MAX 1024
#define TURNS_MAX 1000
#define COMMIT_TICKS 4

static const char topology_text[] =
    "version: 1\n"
    "cluster: {name: plant, shards: 2, replicas: 3, security: none, partitioned_after: 1m}\n"
    "cloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
    "  - {name: c2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: c2}\n"
    "  - {name: c3, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\", data: c3}\n"
    "edges: [{name: a, data: a, sources: [{type: stdin}]}]\n"
    "streams: [{name: s, from: {measurement: m, field: f}, window: 1m, compute: [count]}]\n";

struct cloud {
	struct three *w;
	unsigned number;
	uint64_t member;
	struct sim_disk *log_disk, *state_disk;
	struct kv *log, *state;
	struct apply *apply;
	struct node *node; /* NULL: not alive */
	struct log_job *log_job;
	struct apply_job *apply_job;
};

struct frame {
	unsigned from, to;
	bool peer;
	struct buf bytes;
};

struct three {
	struct topology *t;
	struct cloud clouds[THREE];
	int64_t now_ns; /* mono; wall is as much after SAMPLE_WALL_NS */
	unsigned ticks;
	struct frame queue[QUEUE_MAX];
	size_t first, count;
	void (*each)(void *arg, unsigned from, bool peer, struct bytes frame);
	void *each_arg;
};

static struct node_time time_of(const struct three *w)
{
	return (struct node_time){SAMPLE_WALL_NS + w->now_ns, w->now_ns};
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

/* A node tells its number with the first thing that it asks. */
static void look_at(struct cloud *c, const void *frame, size_t len)
{
	struct msg m;
	if (c->member || msg_decode(frame, len, &m))
		return;
	if (m.type == MSG_INFO)
		c->member = m.info.replica;
	msg_clear(&m);
}

static bool push(struct cloud *from, unsigned to, bool peer, const void *frame, size_t len)
{
	struct three *w = from->w;
	look_at(from, frame, len);
	if (to >= THREE || !w->clouds[to].node || w->count == QUEUE_MAX)
		return false;
	struct frame *f = &w->queue[(w->first + w->count++) % QUEUE_MAX];
	f->from = from->number, f->to = to, f->peer = peer;
	buf_put(&f->bytes, frame, len);
	return true;
}

static bool on_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	return push(arg, route.n == 1 ? route.p[0] : THREE, true, frame, len);
}

static bool on_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	return push(arg, node, false, frame, len);
}

static void deliver_to(struct three *w, unsigned from, unsigned to, bool peer, const void *frame, size_t len)
{
	uint8_t route = (uint8_t)from;
	struct node *n = w->clouds[to].node;
	if (to == 0 && w->each)
		w->each(w->each_arg, from, peer, bytes_of(frame, len));
	if (peer)
		node_peer_frame(n, from, frame, len, time_of(w));
	else
		node_frame(n, bytes_of(&route, 1), "", frame, len, time_of(w));
}

static bool deliver(struct three *w)
{
	if (!w->count)
		return false;
	struct frame f = w->queue[w->first % QUEUE_MAX];
	w->queue[w->first++ % QUEUE_MAX].bytes = (struct buf){0};
	w->count--;
	deliver_to(w, f.from, f.to, f.peer, f.bytes.data, f.bytes.len);
	buf_free(&f.bytes);
	return true;
}

/* ---- the writers ------------------------------------------------------------------------------------------------- */

static void on_log_write(void *arg, struct log_job *job)
{
	((struct cloud *)arg)->log_job = job;
}

static void on_apply(void *arg, struct apply_job *job)
{
	((struct cloud *)arg)->apply_job = job;
}

static bool run_jobs(struct cloud *c)
{
	struct log_job *l = c->log_job;
	struct apply_job *a = c->apply_job;
	c->log_job = NULL;
	c->apply_job = NULL;
	if (l)
		node_log_written(c->node, l, log_job_run(c->log, l), time_of(c->w));
	if (a) {
		int rc = apply_job_run(c->apply, a);
		if (rc)
			apply_abort(c->apply);
		node_applied(c->node, a, rc, time_of(c->w));
	}
	return l || a;
}

static void commit(struct cloud *c)
{
	if (!apply_uncommitted(c->apply) || c->apply_job)
		return;
	if (apply_commit(c->apply)) {
		apply_abort(c->apply);
		node_state_aborted(c->node, time_of(c->w));
		return;
	}
	for (uint32_t g = 0; g <= c->w->t->shards; g++)
		node_state_durable(c->node, g, apply_applied(c->apply, g, &(uint64_t){0}));
}

static void on_serve(void *arg, struct bytes route, const void *frame, size_t len)
{
	(void)arg, (void)route, (void)frame, (void)len;
}

static void on_committed(void *arg, uint32_t group, uint64_t index)
{
	(void)arg, (void)group, (void)index;
}

static void on_read(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	(void)arg, (void)group, (void)context, (void)ok, (void)index;
}

static void on_mapped(void *arg, const struct topology *t, struct bytes map)
{
	(void)arg, (void)t, (void)map;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void open_cloud(struct three *w, unsigned number)
{
	struct cloud *c = &w->clouds[number];
	struct node_io io = {c, on_reply, on_send_node, on_log_write, on_apply, on_serve, on_send_node, on_committed, on_read, on_mapped};
	uint8_t random[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	char *why = NULL;
	random[0] = (uint8_t)(number + 1);
	c->w = w;
	c->number = number;
	c->log_disk = sim_disk_new(LOG_DBS(THREE_SHARDS), SAMPLE_DISK_BYTES);
	c->state_disk = sim_disk_new(STATE_DBS(THREE_SHARDS), SAMPLE_DISK_BYTES);
	c->log = sim_kv_open(c->log_disk, 2 * number + 1);
	c->state = sim_kv_open(c->state_disk, 2 * number + 2);
	FUZZ_CHECK(!apply_open(w->t, c->state, &c->apply, &why));
	FUZZ_CHECK(!node_open(w->t, number, c->log, c->apply, c->state, &io, random, time_of(w), &c->node, &why));
}

struct three *three_open(bool all)
{
	struct three *w = xcalloc(1, sizeof(*w));
	struct buf errors = {0};
	w->now_ns = INT64_C(1000000000);
	FUZZ_CHECK(!topology_parse("three.yaml", topology_text, strlen(topology_text), &w->t, &errors));
	for (unsigned i = 0; i < (all ? THREE : 1); i++)
		open_cloud(w, i);
	return w;
}

void three_close(struct three *w)
{
	for (unsigned i = 0; i < THREE && w->clouds[i].node; i++) {
		struct cloud *c = &w->clouds[i];
		node_close(c->node);
		apply_close(c->apply);
		kv_close(c->log);
		kv_close(c->state);
		sim_disk_free(c->log_disk);
		sim_disk_free(c->state_disk);
	}
	for (; w->count; w->count--, w->first++)
		buf_free(&w->queue[w->first % QUEUE_MAX].bytes);
	topology_free(w->t);
	free(w);
}

/* Bounded, for what was made up may go on for ever. */
static void settle(struct three *w)
{
	bool more;
	unsigned turns = 0;
	do {
		more = deliver(w);
		for (unsigned i = 0; i < THREE && w->clouds[i].node; i++) {
			node_flush(w->clouds[i].node, time_of(w));
			more = run_jobs(&w->clouds[i]) || more;
		}
	} while (more && ++turns < TURNS_MAX);
}

void three_ticks(struct three *w, unsigned ticks)
{
	for (; ticks; ticks--, w->now_ns += THREE_TICK_NS) {
		for (unsigned i = 0; i < THREE && w->clouds[i].node; i++)
			node_tick(w->clouds[i].node, time_of(w));
		settle(w);
		if (++w->ticks % COMMIT_TICKS)
			continue;
		for (unsigned i = 0; i < THREE && w->clouds[i].node; i++)
			commit(&w->clouds[i]);
	}
}

void three_give(struct three *w, unsigned from, bool peer, struct bytes frame)
{
	deliver_to(w, from, 0, peer, frame.p, frame.n);
	settle(w);
}

struct node *three_node(struct three *w, unsigned node)
{
	return w->clouds[node].node;
}

int64_t three_now_ns(const struct three *w)
{
	return w->now_ns;
}

uint64_t three_member(const struct three *w, unsigned node)
{
	return w->clouds[node].member;
}

void three_record(struct three *w, void (*each)(void *arg, unsigned from, bool peer, struct bytes frame), void *arg)
{
	w->each = each;
	w->each_arg = arg;
}
