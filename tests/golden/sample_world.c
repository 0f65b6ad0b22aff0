/* A cloud and edge a, joined by a queue, on disks in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/node.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/line.h"
#include "common/map.h"
#include "common/topology.h"
#include "edged/reload.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#define QUEUE_MAX 256
#define TURNS_MAX 1000
#define SECOND INT64_C(1000000000)

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
	const struct topology *edge_topology; /* the sample's, or `owned` */
	struct topology *owned;
	struct log_job *log_job;
	struct apply_job *apply_job;
	int64_t now_ns; /* mono; wall is as much after SAMPLE_WALL_NS */
	bool cut, moved;
	struct frame queue[QUEUE_MAX];
	size_t first, count;
	bool done;      /* of sample_ask */
	enum verdict verdict;
};

static const uint8_t random_bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

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

/* Another place for this node: it would have to be opened again, and does nothing more. */
static void on_mapped(void *arg, const struct topology *t, struct bytes map)
{
	(void)map;
	((struct sample_world *)arg)->moved |= !t;
}

static struct pipeline_io edge_io(struct sample_world *w)
{
	return (struct pipeline_io){w, on_edge_send, on_connect, on_pause, on_mark, on_edge, on_edge};
}

/* ---- the edge goes by the cluster's map, as edged/adopt.c has it ------------------------------------------------- */

/* NULL: it is none that edge a could go by. *ret_removed: it is not in it. */
static struct topology *topology_for_edge(const struct sample_world *w, struct bytes raw, bool *ret_removed)
{
	struct topology *t = sample_map_topology(raw, NULL);
	if (t && !reload_same_cluster(w->s->topology, t)) {
		topology_free(t);
		t = NULL;
	}
	*ret_removed = t && topology_edge(t, SAMPLE_EDGE) < 0;
	return t;
}

static void kept_map(struct sample_world *w)
{
	struct buf raw = {0};
	bool removed;
	struct topology *t = NULL;
	if (!pipeline_peek_map(w->spool, &raw))
		t = topology_for_edge(w, bytes_of(raw.data, raw.len), &removed);
	if (t && !removed)
		w->edge_topology = w->owned = t;
	else
		topology_free(t);
	buf_free(&raw);
}

static bool reopen_edge(struct sample_world *w, struct topology *t)
{
	uint32_t edge = (uint32_t)topology_edge(t, SAMPLE_EDGE), was = (uint32_t)topology_edge(w->edge_topology, SAMPLE_EDGE);
	const struct edge_conf *next = &t->edges[edge], *old = &w->edge_topology->edges[was];
	uint32_t *from = xmalloc((next->source_count + 1) * sizeof(*from));
	struct pipeline_io io = edge_io(w);
	char *why = NULL;
	for (size_t i = 0; i < next->source_count; i++)
		from[i] = i < old->source_count && source_conf_same(&old->sources[i], &next->sources[i]) ? (uint32_t)i : UINT32_MAX;
	struct pipeline_kept *kept = pipeline_keep(w->edge);
	w->edge = NULL;
	int rc = pipeline_reopen(t, edge, w->spool, &io, kept, from, edge_time(w), &w->edge, &why);
	free(why);
	free(from);
	return !rc;
}

static void adopt(struct sample_world *w)
{
	struct bytes raw;
	bool removed;
	if (!w->edge || !pipeline_map_offered(w->edge, &raw))
		return;
	struct topology *t = topology_for_edge(w, raw, &removed);
	bool later = t && t->map_version > w->edge_topology->map_version;
	if (later && removed) {
		(void)pipeline_remove(w->edge, t->map_version, edge_time(w));
	} else if (later && !pipeline_store_map(w->edge, raw, edge_time(w))) {
		(void)reopen_edge(w, t);
		topology_free(w->owned);
		w->edge_topology = w->owned = t;
		return;
	} else {
		pipeline_map_refused(w->edge, edge_time(w));
	}
	topology_free(t);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/* False: one of the three does not start. */
static bool start(struct sample_world *w)
{
	struct node_io cloud_io = {w, on_reply, on_send_node, on_log_write, on_apply, on_serve, on_send_node, on_committed,
	    on_read, on_mapped};
	struct pipeline_io io = edge_io(w);
	char *why = NULL;
	kept_map(w);
	bool ok = !apply_open(w->s->topology, w->state, &w->apply, &why) &&
	    !node_open(w->s->topology, 0, w->log, w->apply, w->state, &cloud_io, random_bytes, cloud_time(w), &w->node, &why) &&
	    !pipeline_open(w->edge_topology, (uint32_t)topology_edge(w->edge_topology, SAMPLE_EDGE), w->spool, &io, random_bytes,
		edge_time(w), &w->edge, &why);
	free(why);
	return ok;
}

struct sample_world *sample_open(const struct sample *s)
{
	struct sample_world *w = xcalloc(1, sizeof(*w));
	w->s = s;
	w->edge_topology = s->topology;
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
	topology_free(w->owned);
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
	if (a) {
		int rc = apply_job_run(w->apply, a);
		if (rc)
			apply_abort(w->apply);
		node_applied(w->node, a, rc, cloud_time(w));
	}
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
	else if (w->edge)
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
	for (int64_t end = w->now_ns + ns; w->now_ns < end && !w->moved; w->now_ns += NODE_TICK_MS * SECOND / 1000) {
		node_tick(w->node, cloud_time(w));
		if (w->edge && w->now_ns % (SECOND / 2) == 0) {
			(void)pipeline_tick(w->edge, edge_time(w));
			adopt(w);
		}
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
	if (!w->edge)
		return;
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
	if (!w->moved)
		settle(w);
}

static void on_done(void *arg, enum verdict verdict, uint64_t map_version, const char *reason)
{
	struct sample_world *w = arg;
	(void)map_version, (void)reason;
	w->done = true;
	w->verdict = verdict;
}

bool sample_ask(struct sample_world *w, const struct msg *m)
{
	w->done = false;
	node_ask_meta(w->node, m, cloud_time(w), on_done, w);
	sample_pass(w, SECOND);
	return w->done && w->verdict == VERDICT_OK;
}

void sample_cut(struct sample_world *w)
{
	w->cut = true;
}

struct pipeline *sample_edge(struct sample_world *w)
{
	return w->edge;
}

struct kv *sample_state(struct sample_world *w)
{
	return w->state;
}

void sample_tell(struct sample_world *w, uint32_t shard, const struct entry *e)
{
	node_alerts(w->node, shard, e, cloud_time(w));
}

struct node *sample_cloud(struct sample_world *w)
{
	return w->node;
}
