#include "tests/golden/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/node.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/line.h"
#include "common/topology.h"
#include "tests/sim/sim_kv.h"

#define QUEUE_MAX 256
#define TURNS_MAX 1000
#define SECOND INT64_C(1000000000)

static const char topology_text[] =
    "version: 1\n"
    "cluster: {name: plant, shards: 2, replicas: 1, security: none, partitioned_after: 30s}\n"
    "cloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
    "edges:\n"
    "  - {name: a, data: a, heartbeat: 1s, flush: 30s, sources: [{type: file, path: a.lp}]}\n"
    "  - {name: b, data: b, sources: [{type: simulate, measurement: m, field: f, sensors: 2, every: 1s, seed: 1}]}\n"
    "streams:\n"
    "  - name: speed\n"
    "    from: {measurement: traffic, field: speed}\n"
    "    steps: [{dedupe: {}}]\n"
    "    by: [site, sensor]\n"
    "    window: 1m\n"
    "    lateness: 10s\n"
    "    compute: [count, sum, mean, min, max, stddev, first, last, p50, distinct(driver)]\n"
    "    retain: 1h\n"
    "    rollup: [{every: 10m, retain: 1d}]\n"
    "  - name: alone\n"
    "    from: {measurement: alone, field: v}\n"
    "    by: []\n"
    "    window: 30s\n"
    "    lateness: 0s\n"
    "    compute: [count]\n"
    "    retain: forever\n"
    "    edges: [a]\n";

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "sample: %s: %s\n", what, err_text(rc));
	abort();
}

const char *sample_topology_text(void)
{
	return topology_text;
}

struct topology *sample_topology(void)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int rc = topology_parse("sample.yaml", topology_text, strlen(topology_text), &t, &errors);
	if (rc)
		fprintf(stderr, "%s", buf_cstr(&errors));
	must(rc, "topology");
	buf_free(&errors);
	return t;
}

/* ---- a cloud and an edge --------------------------------------------------------------------------------------------------- */

struct frame {
	bool to_cloud;
	struct buf bytes;
};

struct sample_world {
	const struct sample *s;
	struct kv *log, *state, *spool;
	struct apply *apply;
	struct node *node;
	struct pipeline *edge;
	struct log_job *log_job;
	struct apply_job *apply_job;
	int64_t now_ns; /* mono; wall is as much after SAMPLE_WALL_NS */
	bool cut;
	struct frame queue[QUEUE_MAX];
	size_t first, count;
};

static struct node_time cloud_time(const struct sample_world *w)
{
	return (struct node_time){SAMPLE_WALL_NS + w->now_ns, w->now_ns};
}

static struct pipeline_time edge_time(const struct sample_world *w)
{
	return (struct pipeline_time){SAMPLE_WALL_NS + w->now_ns, w->now_ns};
}

static bool push(struct sample_world *w, bool to_cloud, const void *frame, size_t len)
{
	if (w->cut || w->count == QUEUE_MAX)
		return false;
	struct frame *f = &w->queue[(w->first + w->count++) % QUEUE_MAX];
	f->to_cloud = to_cloud;
	buf_put(&f->bytes, frame, len);
	return true;
}

static bool on_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	(void)route;
	return push(arg, false, frame, len);
}

static bool on_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	(void)arg, (void)node, (void)frame, (void)len;
	return false;
}

static void on_log_write(void *arg, struct log_job *job)
{
	((struct sample_world *)arg)->log_job = job;
}

static void on_apply(void *arg, struct apply_job *job)
{
	((struct sample_world *)arg)->apply_job = job;
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

static bool on_edge_send(void *arg, const void *frame, size_t len)
{
	return push(arg, true, frame, len);
}

static void on_connect(void *arg, uint32_t cloud)
{
	(void)arg, (void)cloud;
}

static void on_pause(void *arg, bool paused)
{
	(void)arg, (void)paused;
}

static void on_mark(void *arg, uint32_t source, struct buf *out)
{
	(void)arg, (void)source;
	static const uint8_t mark[] = {1, 0, 5, 100, 4, 't', 'r', 'a', 'f', 3, ' ', '1', '\n', 0}; /* edged/source_file.c */
	buf_put(out, mark, sizeof(mark));
}

static void on_edge(void *arg)
{
	(void)arg;
}

static void on_mapped(void *arg, const struct topology *t, struct bytes map)
{
	(void)arg, (void)t, (void)map;
}

/* False: one of the three does not start. */
static bool start(struct sample_world *w)
{
	static const uint8_t random[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	struct node_io cloud_io = {w, on_reply, on_send_node, on_log_write, on_apply, on_serve, on_send_node, on_committed,
	    on_read, on_mapped};
	struct pipeline_io edge_io = {w, on_edge_send, on_connect, on_pause, on_mark, on_edge, on_edge};
	char *why = NULL;
	bool ok = !apply_open(w->s->topology, w->state, &w->apply, &why) &&
	    !node_open(w->s->topology, 0, w->log, w->apply, w->state, &cloud_io, random, cloud_time(w), &w->node, &why) &&
	    !pipeline_open(w->s->topology, 0, w->spool, &edge_io, random, edge_time(w), &w->edge, &why);
	free(why);
	return ok;
}

struct sample_world *sample_open(const struct sample *s)
{
	struct sample_world *w = xcalloc(1, sizeof(*w));
	w->s = s;
	w->now_ns = SECOND;
	w->log = sim_kv_open(s->log, 1);
	w->state = sim_kv_open(s->state, 2);
	w->spool = sim_kv_open(s->spool, 3);
	if (start(w))
		return w;
	sample_close(w);
	return NULL;
}

void sample_close(struct sample_world *w)
{
	if (w->edge)
		pipeline_close(w->edge);
	if (w->node)
		node_close(w->node);
	if (w->apply)
		apply_close(w->apply);
	for (; w->count; w->count--, w->first++)
		buf_free(&w->queue[w->first % QUEUE_MAX].bytes);
	kv_close(w->log);
	kv_close(w->state);
	kv_close(w->spool);
	free(w);
}

static bool run_jobs(struct sample_world *w)
{
	struct log_job *l = w->log_job;
	struct apply_job *a = w->apply_job;
	w->log_job = NULL;
	w->apply_job = NULL;
	if (l)
		node_log_written(w->node, l, log_job_run(w->log, l), cloud_time(w));
	if (a)
		node_applied(w->node, a, apply_job_run(w->apply, a), cloud_time(w));
	if (a && apply_uncommitted(w->apply)) {
		if (apply_commit(w->apply)) {
			apply_abort(w->apply);
			return false;
		}
		for (uint32_t g = 0; g <= w->s->topology->shards; g++)
			node_state_durable(w->node, g, apply_applied(w->apply, g, &(uint64_t){0}));
	}
	return l || a;
}

static bool deliver(struct sample_world *w)
{
	if (!w->count)
		return false;
	struct frame f = w->queue[w->first % QUEUE_MAX];
	w->queue[w->first++ % QUEUE_MAX].bytes = (struct buf){0};
	w->count--;
	if (f.to_cloud)
		node_frame(w->node, bytes_of("edge", 4), "", f.bytes.data, f.bytes.len, cloud_time(w));
	else
		pipeline_frame(w->edge, f.bytes.data, f.bytes.len, edge_time(w));
	buf_free(&f.bytes);
	return true;
}

/* Bounded, for a damaged side may ask again for ever. */
static void settle(struct sample_world *w)
{
	bool more;
	unsigned turns = 0;
	do {
		more = deliver(w);
		node_flush(w->node, cloud_time(w));
		more = run_jobs(w) || more;
	} while (more && ++turns < TURNS_MAX);
}

void sample_pass(struct sample_world *w, int64_t ns)
{
	for (int64_t end = w->now_ns + ns; w->now_ns < end; w->now_ns += NODE_TICK_MS * SECOND / 1000) {
		node_tick(w->node, cloud_time(w));
		if (w->now_ns % (SECOND / 2) == 0)
			(void)pipeline_tick(w->edge, edge_time(w));
		settle(w);
	}
}

static void on_line(void *arg, const struct line *l)
{
	struct sample_world *w = arg;
	pipeline_line(w->edge, 0, l, edge_time(w));
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	struct sample_world *w = arg;
	(void)number, (void)column, (void)text;
	pipeline_refuse(w->edge, 0, line_error_label(e));
}

/* Two sensors and `alone`, at that second; one bad line, one doubled. */
void sample_feed(struct sample_world *w, int second)
{
	struct line_callbacks cb = {w, on_line, on_error};
	struct line_parser p;
	struct buf text = {0};
	long long t = (long long)(SAMPLE_WALL_NS / SECOND) + second;
	buf_printf(&text, "traffic,site=north,sensor=6%d,driver=d%d speed=%d.25 %lld\n", second % 2, second % 7, 40 + second % 9, t);
	buf_printf(&text, "traffic,site=south,sensor=7,driver=d1 speed=%d %lld\n", 80 - second % 5, t);
	buf_printf(&text, "traffic,site=south,sensor=7,driver=d1 speed=%d %lld\n", 80 - second % 5, t);
	buf_printf(&text, "alone v=%d %lld\nalone v=x %lld\n", second, t, t);
	line_parser_init(&p, &cb, SECOND, true);
	line_parser_feed(&p, text.data, text.len);
	line_parser_free(&p);
	buf_free(&text);
}

void sample_frame(struct sample_world *w, bool to_cloud, const void *frame, size_t len)
{
	push(w, to_cloud, frame, len);
	settle(w);
}

void sample_cut(struct sample_world *w)
{
	w->cut = true;
}

struct pipeline *sample_edge(struct sample_world *w)
{
	return w->edge;
}

void sample_make(struct sample *ret)
{
	*ret = (struct sample){.topology = sample_topology()};
	ret->log = sim_disk_new(LOG_DBS(ret->topology->shards), SAMPLE_DISK_BYTES);
	ret->state = sim_disk_new(STATE_DBS(ret->topology->shards), SAMPLE_DISK_BYTES);
	ret->spool = sim_disk_new(SPOOL_DBS, SAMPLE_DISK_BYTES);
	struct sample_world *w = sample_open(ret);
	if (!w)
		must(WEIR_EINVAL, "start");
	sample_pass(w, 5 * SECOND);
	for (int i = 5; i < 200; i += 3) {
		sample_feed(w, i);
		sample_pass(w, 3 * SECOND);
	}
	sample_cut(w);
	for (int i = 200; i < 240; i += 3) {
		sample_feed(w, i);
		sample_pass(w, 3 * SECOND);
	}
	sample_close(w);
}

void sample_copy(const struct sample *s, struct sample *ret)
{
	*ret = (struct sample){s->topology, sim_disk_copy(s->log), sim_disk_copy(s->state), sim_disk_copy(s->spool)};
}

void sample_clear(struct sample *s)
{
	sim_disk_free(s->log);
	sim_disk_free(s->state);
	sim_disk_free(s->spool);
	topology_free(s->topology);
	*s = (struct sample){0};
}

static void records_of(struct kv_txn *txn, unsigned db, void (*each)(void *arg, unsigned db, struct bytes key,
    struct bytes value), void *arg)
{
	struct kv_cursor *cursor;
	struct bytes key, value;
	must(kv_cursor_open(txn, db, &cursor), "cursor");
	int rc = kv_cursor_first(cursor, &key, &value);
	for (; !rc; rc = kv_cursor_next(cursor, &key, &value))
		each(arg, db, key, value);
	kv_cursor_close(cursor);
	must(rc == WEIR_ENOTFOUND ? 0 : rc, "records");
}

void sample_records(struct sim_disk *disk, unsigned dbs, void (*each)(void *arg, unsigned db, struct bytes key,
    struct bytes value), void *arg)
{
	struct kv *kv = sim_kv_open(disk, 1);
	struct kv_txn *txn;
	must(kv_begin(kv, false, &txn), "begin");
	for (unsigned db = 0; db < dbs; db++)
		records_of(txn, db, each, arg);
	kv_abort(txn);
	kv_close(kv);
}
