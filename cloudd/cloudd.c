#include "cloudd/cloudd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/alerts.h"
#include "cloudd/consensus_alone.h"
#include "cloudd/disks.h"
#include "cloudd/health.h"
#include "cloudd/http_api.h"
#include "cloudd/links.h"
#include "cloudd/map_file.h"
#include "cloudd/metrics.h"
#include "cloudd/node.h"
#include "cloudd/notices.h"
#include "cloudd/rpc.h"
#include "cloudd/serve.h"
#include "cloudd/sinks.h"
#include "cloudd/snapshot.h"
#include "cloudd/topology_api.h"
#include "cloudd/writers.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/msgq.h"
#include "common/notify.h"
#include "common/process.h"

#define MAINTAIN_MS 60000
#define SECOND_MS 1000
#define PULSE_MS 100

/* ---- what other threads have for the loop ----------------------------------------------------------------------- */

enum event_type {
	EVENT_LOG_WRITTEN,
	EVENT_APPLIED,
	EVENT_DURABLE,
	EVENT_ABORTED,
	EVENT_LOW,
	EVENT_REPLY,
	EVENT_ERRAND,
	EVENT_DAMAGED,
	EVENT_ENTRY
};

struct errand;

struct event {
	struct event *next;
	enum event_type type;
	union {
		struct {
			struct log_job *job;
			int rc;
		} log_written;
		struct {
			struct apply_job *job;
			int rc;
		} applied;
		struct {
			uint32_t group;
			uint64_t index;
		} durable;
		struct {
			struct buf route, frame;
		} reply;
		struct errand *errand;
		struct {
			uint32_t group;
			const char *what;
		} damaged;
		struct {
			uint32_t shard;
			struct buf bytes; /* ENTRY_SINK, ENTRY_ALERT */
		} entry;
		bool low;
	};
};

/* What an HTTP thread, or a signal, asks of the meta group: it waits until the loop has the answer. Whoever is last frees it. */
struct errand {
	struct msg m;      /* its texts and bytes are the asker's, or this errand's */
	struct buf bytes;
	bool done, left;   /* answered; the asker has gone */
	enum verdict verdict;
	uint64_t map_version;
	char reason[QUERY_REASON_MAX];
	struct cloudd *c;
};

struct cloudd {
	struct cloudd_options o;
	const struct topology *t; /* in force; held */
	uint32_t self;
	struct buf map;  /* kept from an earlier start; empty: none */
	uint64_t out_version; /* of the kept map, if it is one without this node; else 0 */
	bool open_again;
	bool map_lost;   /* the map in force could not be kept */
	bool cut_off;    /* a link to a node could not be opened */
	struct loop *loop;
	struct loop_async *wake;
	struct loop_timer *tick, *second, *maintain;
	struct loop_timer *pulse;
	struct keys *keys; /* NULL: security none */
	struct msgq *msgq;
	struct msgq_socket *router;
	struct links *links;
	struct links *bulk; /* snapshots, so that they do not stand before heartbeats */
	struct kv *log, *state;
	struct apply *apply;
	struct node *node;
	struct progress *progress;
	struct writers_io writers_io;
	struct log_writer *log_writer;
	struct state_writer *state_writer;
	char *snapshots_folder;
	struct snapshots *snapshots;
	struct serve *serve;
	struct notices *notices;
	struct group_status *statuses; /* scratch of notices */
	struct rpc *rpc;
	struct gather gather;
	struct http_api *http;
	struct sinks *sinks; /* begun, and given up, under the mutex */
	struct alerts *alerts;
	struct stats *stats;
	bool was_ready;
	uint64_t ticks, ticks_seen; /* of Raft; as of the last pulse */
	atomic_int_fast64_t alive_ns; /* mono: when there was progress last */
	bool reloading;      /* so it was told */
	pthread_t applier;   /* of the file, after SIGHUP */
	bool applied_once;   /* it is to be joined */
	atomic_bool applying;
	/* under the mutex: */
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	struct event *first, **last;
	bool stopping;
	bool log_full;   /* the log writer's */
	bool state_full; /* the state writer's */
};

static struct node_time now(void)
{
	return (struct node_time){clock_wall_ns(), clock_mono_ns()};
}

/* ---- the queue to the loop -------------------------------------------------------------------------------------- */

/* For the next turn of the loop; there is one with each tick. */
static void post_quietly(struct cloudd *c, const struct event *event)
{
	struct event *e = xmalloc(sizeof(*e));
	*e = *event;
	e->next = NULL;
	pthread_mutex_lock(&c->mutex);
	*c->last = e;
	c->last = &e->next;
	pthread_mutex_unlock(&c->mutex);
}

static void post(struct cloudd *c, const struct event *event)
{
	post_quietly(c, event);
	loop_async_send(c->wake);
}

static void errand_free(struct errand *e)
{
	buf_free(&e->bytes);
	free(e);
}

static void errand_done(void *arg, enum verdict verdict, uint64_t map_version, const char *reason)
{
	struct errand *e = arg;
	struct cloudd *c = e->c;
	pthread_mutex_lock(&c->mutex);
	e->done = true;
	e->verdict = verdict;
	e->map_version = map_version;
	snprintf(e->reason, sizeof(e->reason), "%s", reason ? reason : "");
	bool left = e->left;
	pthread_cond_broadcast(&c->answered);
	pthread_mutex_unlock(&c->mutex);
	if (left)
		errand_free(e);
}

static void take_entry(struct cloudd *c, struct event *e)
{
	struct entry entry;
	if (!entry_decode(bytes_of(e->entry.bytes.data, e->entry.bytes.len), &entry)) {
		if (entry.kind == ENTRY_SINK)
			node_sinks(c->node, e->entry.shard, entry.sink.places, entry.sink.count);
		else
			node_alerts(c->node, e->entry.shard, &entry, now());
		entry_clear(&entry);
	}
	buf_free(&e->entry.bytes);
}

static void handle_event(struct cloudd *c, struct event *e)
{
	switch (e->type) {
	case EVENT_LOG_WRITTEN:
		node_log_written(c->node, e->log_written.job, e->log_written.rc, now());
		break;
	case EVENT_APPLIED:
		node_applied(c->node, e->applied.job, e->applied.rc, now());
		break;
	case EVENT_DURABLE:
		node_state_durable(c->node, e->durable.group, e->durable.index);
		break;
	case EVENT_ABORTED:
		node_state_aborted(c->node, now());
		break;
	case EVENT_LOW:
		node_state_low(c->node, e->low, now());
		break;
	case EVENT_REPLY:
		if (c->router)
			(void)msgq_reply(c->router, bytes_of(e->reply.route.data, e->reply.route.len),
			    e->reply.frame.data, e->reply.frame.len); /* msgq counts those who have gone */
		buf_free(&e->reply.route);
		buf_free(&e->reply.frame);
		break;
	case EVENT_ERRAND:
		if (c->stopping)
			errand_done(e->errand, VERDICT_UNAVAILABLE, 0, "the node is stopping");
		else
			node_ask_meta(c->node, &e->errand->m, now(), errand_done, e->errand);
		break;
	case EVENT_DAMAGED:
		node_damaged(c->node, e->damaged.group, e->damaged.what, now());
		break;
	case EVENT_ENTRY:
		take_entry(c, e);
		break;
	}
}

/* Readers that wait for a read index. */
static void begin_reads(struct cloudd *c)
{
	uint64_t ticket;
	struct progress_reads reads;
	progress_reads(c->progress, &reads);
	if (!reads.waiting)
		return;
	for (uint32_t g = 0; g < topology_groups(c->t); g++) {
		if (progress_read_begin(c->progress, g, &ticket))
			node_read(c->node, g, ticket, now());
	}
}

static void handle_events(void *arg)
{
	struct cloudd *c = arg;
	pthread_mutex_lock(&c->mutex);
	struct event *e = c->first;
	c->first = NULL;
	c->last = &c->first;
	pthread_mutex_unlock(&c->mutex);
	while (e) {
		struct event *next = e->next;
		handle_event(c, e);
		free(e);
		e = next;
	}
	begin_reads(c);
}

/* ---- the writers' callbacks --------------------------------------------------------------------------------------- */

/* Says once that an environment has no room, and once that it has it again. On the writer's thread. */
static void note_full(bool *was_full, bool full, const char *what)
{
	if (full && !*was_full)
		log_error("cloudd", "no room on the disk: nothing new is taken until there is; environment=%s", what);
	else if (!full && *was_full)
		log_info("cloudd", "there is room on the disk again; environment=%s", what);
	*was_full = full;
}

static void on_log_written(void *arg, struct log_job *job, int rc)
{
	struct cloudd *c = arg;
	note_full(&c->log_full, rc == WEIR_EFULL, "log");
	post(c, &(struct event){.type = EVENT_LOG_WRITTEN, .log_written = {job, rc}});
}

static void on_applied(void *arg, struct apply_job *job, int rc)
{
	struct cloudd *c = arg;
	struct event e = {.type = EVENT_APPLIED, .applied = {job, rc}};
	if (job->quiet && !rc)
		post_quietly(c, &e);
	else
		post(c, &e);
}

static void on_durable(void *arg, uint32_t group, uint64_t index)
{
	struct cloudd *c = arg;
	post_quietly(c, &(struct event){.type = EVENT_DURABLE, .durable = {group, index}});
}

static void on_aborted(void *arg)
{
	struct cloudd *c = arg;
	post(c, &(struct event){.type = EVENT_ABORTED});
}

static void on_low(void *arg, bool low)
{
	struct cloudd *c = arg;
	note_full(&c->state_full, low, "state");
	post(c, &(struct event){.type = EVENT_LOW, .low = low});
}

/* Nothing after a failed sync can be trusted: the log is replayed by the next start. */
static void on_failed(void *arg, const char *what, int rc)
{
	(void)arg;
	log_error("cloudd", "the %s cannot be written: %s; stopping at once", what, err_text(rc));
	_exit(1);
}

static void on_reader(void *arg)
{
	struct cloudd *c = arg;
	state_writer_wake(c->state_writer);
	loop_async_send(c->wake);
}

/* ---- the node's callbacks ----------------------------------------------------------------------------------------- */

static bool io_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	return c->router && !msgq_reply(c->router, route, frame, len);
}

static bool io_send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	return c->links && !links_send(c->links, node, frame, len);
}

static bool io_send_bulk(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	return c->bulk && !links_send(c->bulk, node, frame, len);
}

/* While stopping there is no writer left: the job stays the node's, which frees it. */
static void io_log_write(void *arg, struct log_job *job)
{
	struct cloudd *c = arg;
	if (c->log_writer)
		log_writer_add(c->log_writer, job);
}

static void io_apply(void *arg, struct apply_job *job)
{
	struct cloudd *c = arg;
	if (c->state_writer)
		state_writer_add(c->state_writer, job);
}

static void io_serve(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	if (c->serve)
		serve_frame(c->serve, route, frame, len);
}

static void io_committed(void *arg, uint32_t group, uint64_t index)
{
	struct cloudd *c = arg;
	progress_set_committed(c->progress, group, index);
}

static void io_read(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct cloudd *c = arg;
	progress_read_done(c->progress, group, context, ok, index);
}

/* ---- sockets, timers, signals -------------------------------------------------------------------------------------- */

static void on_router_frame(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	node_frame(c->node, route, who, frame, len, now());
}

static void on_peer_frame(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct cloudd *c = arg;
	node_peer_frame(c->node, node, frame, len, now());
}

/* Edges with a connection each, nodes with one for requests, one for bulk transfers and one for readers. */
#define CONNECTIONS_PER_NODE 3

/* That connect to this node's ROUTER. */
static unsigned peers_of(const struct topology *t)
{
	return (unsigned)(t->edge_count + CONNECTIONS_PER_NODE * t->cloud_count);
}

/* Of one kind of links. Once one is cut off, no more is said until all are fine. */
static void note_links(struct cloudd *c, int rc, char **why, bool *failed)
{
	if (rc && !c->cut_off)
		log_error("cloudd", "cannot connect to a node of the cluster, which is tried again: %s", *why ? *why : err_text(rc));
	c->cut_off = c->cut_off || rc;
	*failed = *failed || rc;
	free(*why);
	*why = NULL;
}

/* Those that cannot be opened now (no descriptor is left, say) are tried again each second. */
static void connect_nodes(struct cloudd *c, const struct topology *t)
{
	char *why = NULL;
	bool failed = false;
	note_links(c, links_set_topology(c->links, t, &why), &why, &failed);
	note_links(c, links_set_topology(c->bulk, t, &why), &why, &failed);
	note_links(c, rpc_set_topology(c->rpc, t, &why), &why, &failed);
	if (!failed && c->cut_off)
		log_info("cloudd", "no link to a node of the cluster is missing any more");
	c->cut_off = failed;
}

/* The node has another place than its file says, and begins again by the map that is kept. Without it, it would begin by its file. */
static void begin_again(struct cloudd *c, bool kept)
{
	if (!kept)
		return;
	c->open_again = true;
	loop_stop(c->loop);
}

static void io_mapped(void *arg, const struct topology *t, struct bytes map)
{
	struct cloudd *c = arg;
	bool kept = !map_file_write(c->o.data, map);
	if (!kept && !c->map_lost)
		log_warn("cloudd", "the cluster map cannot be kept for the next start, which will ask for it; data=%s", c->o.data);
	c->map_lost = !kept;
	if (!t) {
		begin_again(c, kept);
		return;
	}
	log_info("cloudd", "the cluster has a new map; version=%llu", (unsigned long long)t->map_version);
	notices_set_topology(c->notices, t);
	if (c->sinks)
		sinks_set_topology(c->sinks, t);
	if (c->rpc) { /* else it is starting */
		msgq_expect(c->msgq, peers_of(t));
		connect_nodes(c, t);
	}
	topology_free(c->t);
	c->t = topology_hold(t);
}

static void serve_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct event e = {.type = EVENT_REPLY};
	e.reply.route = e.reply.frame = (struct buf){0};
	buf_put(&e.reply.route, route.p, route.n);
	buf_put(&e.reply.frame, frame, len);
	post(arg, &e);
}

static void on_serve_damaged(void *arg, uint32_t group)
{
	struct cloudd *c = arg;
	stats_add(metrics_cell(c->stats, METRICS_DAMAGED_READS, NULL), 1);
	post(c, &(struct event){.type = EVENT_DAMAGED, .damaged = {group, "a stored record does not read"}});
}

/* On threads that outlive the sinks. */
static void on_serve_sinks(void *arg, struct buf *out)
{
	struct cloudd *c = arg;
	pthread_mutex_lock(&c->mutex);
	if (c->sinks)
		sinks_tell(c->sinks, out);
	else
		buf_varint(out, 0);
	pthread_mutex_unlock(&c->mutex);
}

/* On a sink's thread. As an entry's bytes: names and all in one piece. */
static void on_places(void *arg, uint32_t shard, const struct entry_place *places, size_t count)
{
	struct event e = {.type = EVENT_ENTRY, .entry = {.shard = shard}};
	struct entry entry = {.kind = ENTRY_SINK};
	entry.sink.count = (uint32_t)count;
	entry.sink.places = (struct entry_place *)(uintptr_t)places;
	entry_encode(&entry, &e.entry.bytes);
	post_quietly(arg, &e);
}

/* On the alerts' thread. */
static void on_alerts(void *arg, uint32_t shard, const struct entry *entry)
{
	struct event e = {.type = EVENT_ENTRY, .entry = {.shard = shard}};
	entry_encode(entry, &e.entry.bytes);
	post(arg, &e);
}

/* Ready is not what the service manager is told by that word: this node serves without the others, and start order is free. */
static void note_readiness(struct cloudd *c)
{
	char *why = NULL;
	bool ready = node_ready(c->node, &why);
	if (ready && !c->was_ready)
		log_info("cloudd", "ready");
	else if (!ready && c->was_ready)
		log_warn("cloudd", "no longer ready: %s", why ? why : "");
	c->was_ready = ready;
	free(why);
}

static void on_tick(void *arg)
{
	struct cloudd *c = arg;
	node_tick(c->node, now());
	c->ticks++;
	note_readiness(c);
}

static void tell_status(struct cloudd *c, int64_t mono_ns)
{
	struct buf text = {0};
	char *why = NULL;
	bool ready = node_ready(c->node, &why);
	health_text(c->statuses, topology_groups(c->t), ready ? NULL : why ? why : "not ready", &text);
	notify_status(c->o.notify, buf_cstr(&text), mono_ns);
	buf_free(&text);
	free(why);
}

/* Between ticks: what they have brought about. */
static void on_pulse(void *arg)
{
	struct cloudd *c = arg;
	int64_t mono_ns = clock_mono_ns();
	struct health h = {c->ticks, log_writer_busy_since(c->log_writer), state_writer_busy_since(c->state_writer)};
	bool alive = health_is_alive(&h, c->ticks_seen, mono_ns);
	if (alive)
		atomic_store(&c->alive_ns, mono_ns);
	notify_turn(c->o.notify, alive, mono_ns);
	c->ticks_seen = c->ticks;
}

static void note_applied_file(struct cloudd *c)
{
	if (!c->reloading || atomic_load(&c->applying))
		return;
	c->reloading = false;
	notify_ready(c->o.notify);
}

static void on_turn_end(void *arg)
{
	struct cloudd *c = arg;
	handle_events(c);
	node_flush(c->node, now());
	note_applied_file(c);
}

static void say(void *arg, bool warn, const char *text)
{
	(void)arg;
	log_write(warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "cloudd", "%s", text);
}

static void say_sinks(void *arg, bool warn, const char *text)
{
	(void)arg;
	log_write(warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "sinks", "%s", text);
}

static void on_second(void *arg)
{
	struct cloudd *c = arg;
	int64_t mono_ns = clock_mono_ns();
	node_group_statuses(c->node, c->statuses);
	notices_look(c->notices, c->statuses, mono_ns);
	snapshots_tick(c->snapshots, mono_ns);
	sinks_tick(c->sinks);
	if (c->o.notify)
		tell_status(c, mono_ns);
	if (c->cut_off)
		connect_nodes(c, c->t);
}

static void on_maintain(void *arg)
{
	struct cloudd *c = arg;
	if (kv_maintain(c->log) || kv_maintain(c->state))
		log_warn("cloudd", "the readers' table of a data folder cannot be checked");
}

static void on_terminate(void *arg)
{
	struct cloudd *c = arg;
	log_info("cloudd", "stopping");
	notify_stopping(c->o.notify);
	loop_stop(c->loop);
}

/* bytes: what m points to; copied, for the asker may leave before the loop is done. */
static enum verdict ask_meta(void *arg, const struct msg *m, struct bytes bytes, uint64_t *ret_version,
    char reason[QUERY_REASON_MAX])
{
	struct cloudd *c = arg;
	struct errand *e = xcalloc(1, sizeof(*e));
	e->c = c;
	e->m = *m;
	buf_put(&e->bytes, bytes.p, bytes.n);
	if (m->type == MSG_TOPOLOGY)
		e->m.topology.text = bytes_of(e->bytes.data, e->bytes.len);
	else if (m->type == MSG_REVOKE)
		e->m.revoke.edge = buf_cstr(&e->bytes);
	else
		e->m.readmit.edge = buf_cstr(&e->bytes);
	post(c, &(struct event){.type = EVENT_ERRAND, .errand = e});
	pthread_mutex_lock(&c->mutex);
	while (!e->done && !c->stopping)
		pthread_cond_wait(&c->answered, &c->mutex);
	bool done = e->done;
	enum verdict v = done ? e->verdict : VERDICT_UNAVAILABLE;
	*ret_version = done ? e->map_version : 0;
	snprintf(reason, QUERY_REASON_MAX, "%s", done ? e->reason : "the node is stopping");
	e->left = true;
	pthread_mutex_unlock(&c->mutex);
	if (done)
		errand_free(e);
	return v;
}

static void log_lines(bool ok, char *text)
{
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
		log_write(ok ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "config", "%s", line);
	free(text);
}

/* The node's file is the cluster's topology from now on. On a thread of its own, as it waits for the meta group. */
static void *apply_file(void *arg)
{
	struct cloudd *c = arg;
	bool ok;
	char *said = topology_api_apply_file(c->node, ask_meta, c, c->o.topology->path, &ok);
	log_lines(ok, said);
	atomic_store(&c->applying, false);
	loop_async_send(c->wake);
	return NULL;
}

static void join_applier(struct cloudd *c)
{
	if (c->applied_once)
		pthread_join(c->applier, NULL);
	c->applied_once = false;
}

static void on_hangup(void *arg)
{
	struct cloudd *c = arg;
	if (atomic_exchange(&c->applying, true)) {
		log_warn("config", "the file is being applied already");
		return;
	}
	join_applier(c);
	notify_reloading(c->o.notify, clock_mono_ns());
	c->reloading = true;
	c->applied_once = pthread_create(&c->applier, NULL, apply_file, c) == 0;
	if (!c->applied_once)
		atomic_store(&c->applying, false);
}

/* ---- for HTTP ------------------------------------------------------------------------------------------------------ */

static void update_links(struct stats *s, const struct msgq_counters *z)
{
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_DROPPED, "removed_key"), z->refused_key);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_DROPPED, "own_route"), z->refused_route);
	stats_set(metrics_cell(s, METRICS_ZMQ_CONNECTIONS, NULL), (double)z->connections);
	stats_set(metrics_cell(s, METRICS_ZMQ_CONNECTIONS_MAX, NULL), (double)z->connections_max);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_CONNECTED, "accepted"), z->accepted);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_CONNECTED, "handshake_done"), z->authenticated);
	for (int r = 0; r < MSGQ_REFUSALS; r++)
		stats_set_counter(metrics_cell(s, METRICS_ZMQ_REFUSED, msgq_refusal_text((enum msgq_refusal)r)), z->handshakes_refused[r]);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_CUT, NULL), z->unfinished);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_ENDED, NULL), z->ended);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_SHUT, "limit"), z->shut);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_SHUT, "descriptors"), z->accept_failed);
	stats_set(metrics_cell(s, METRICS_KEYS, NULL), (double)z->keys);
	stats_set_counter(metrics_cell(s, METRICS_KEYS_BROKEN, NULL), z->keys_broken);
}

static void update_free(struct cloudd *c)
{
	static const char *const environments[] = {"log", "state"};
	for (size_t i = 0; i < sizeof(environments) / sizeof(environments[0]); i++) {
		double free_bytes = metrics_free_bytes(c->o.data, environments[i]);
		if (free_bytes >= 0)
			stats_set(metrics_cell(c->stats, METRICS_DISK_FREE, environments[i]), free_bytes);
	}
}

static void update_stats(struct cloudd *c)
{
	struct stats *s = c->stats;
	struct msgq_counters z;
	msgq_counters(c->msgq, &z);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_FRAMES, "in"), z.received);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_FRAMES, "out"), z.sent);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_BYTES, "in"), z.received_bytes);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_BYTES, "out"), z.sent_bytes);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_DROPPED, "bad_shape"), z.bad_shape);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_DROPPED, "peer_busy"), z.refused_busy);
	stats_set_counter(metrics_cell(s, METRICS_ZMQ_DROPPED, "peer_gone"), z.refused_gone);
	update_links(s, &z);
	stats_set(metrics_cell(s, METRICS_DISK_USED, "log"), (double)kv_used_bytes(c->log));
	stats_set(metrics_cell(s, METRICS_DISK_USED, "state"), (double)kv_used_bytes(c->state));
	stats_set(metrics_cell(s, METRICS_DISK_SIZE, "log"), (double)kv_size_bytes(c->log));
	stats_set(metrics_cell(s, METRICS_DISK_SIZE, "state"), (double)kv_size_bytes(c->state));
	const struct topology *t = node_topology(c->node);
	stats_set(metrics_cell(s, METRICS_MAP_VERSION, NULL), (double)t->map_version);
	topology_free((struct topology *)t);
	update_free(c);
	stats_set(metrics_cell(s, METRICS_MEMORY, NULL), (double)process_resident_bytes());
	stats_set(metrics_cell(s, METRICS_BUILD, c->o.version), 1);
}

static void put_metrics(struct cloudd *c, struct buf *out)
{
	struct kv_txn *txn;
	update_stats(c);
	stats_render(c->stats, out);
	process_put_metrics(out);
	if (kv_begin(c->state, false, &txn))
		return; /* too many readers: the node's own numbers come with the next scrape */
	node_metrics(c->node, txn, out);
	kv_abort(txn);
}

static void http_metrics(void *arg, struct buf *out)
{
	struct cloudd *c = arg;
	put_metrics(c, out);
	sinks_metrics(c->sinks, out);
	alerts_metrics(c->alerts, out);
}

static void http_notice(void *arg, bool bad, const char *text)
{
	(void)arg;
	if (bad)
		log_error("http", "%s", text);
	else
		log_info("http", "%s", text);
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static int open_env(const struct cloudd *c, const char *name, uint64_t map_bytes, struct kv **ret_kv, char **ret_why)
{
	_Static_assert(LOG_DBS(1) == STATE_DBS(1), "both environments have a database for the node and one for each group");
	const char **names = apply_db_names(c->t->shards);
	char *path = xasprintf("%s/%s", c->o.data, name);
	struct kv_lmdb_options o = {path, names, STATE_DBS(c->t->shards), map_bytes, false};
	int rc = kv_lmdb_open(&o, ret_kv, ret_why);
	free(path);
	free(names);
	return rc;
}

static void say_checked(const struct cloudd *c, const char *name, const struct disks_report *r)
{
	const struct kv_check_result *k = &r->check;
	double seconds = (double)r->took_ns / NS_PER_SEC, bytes = (double)k->used_pages * 4096;
	if (!r->present)
		return;
	log_info("cloudd", "checked; environment=%s bytes=%.0f records=%llu seconds=%.3f", name, bytes,
	    (unsigned long long)k->records, seconds);
	for (unsigned i = 0; i < r->place_count; i++)
		log_error("cloudd", "damaged: %s environment=%s", r->places[i], name);
	if (r->aside)
		log_error("cloudd", "the data are damaged: %s; bad_pages=%llu bad_records=%llu kept_as=%s/%s/data.mdb.damaged",
		    r->salvaged ? "what reads was saved" : "they are had again from the other replicas",
		    (unsigned long long)k->bad_pages, (unsigned long long)k->bad_records, c->o.data, name);
	else if (k->bad_pages || k->bad_records || r->damaged)
		log_error("cloudd", "data are damaged; environment=%s bad_pages=%llu bad_records=%llu shards_given_up=%u", name,
		    (unsigned long long)k->bad_pages, (unsigned long long)k->bad_records, r->damaged);
}

static void count_damage(struct cloudd *c, const struct disks_report *r, const char *name)
{
	stats_add(metrics_cell(c->stats, METRICS_DAMAGED_RECORDS, name), r->check.bad_records);
	stats_add(metrics_cell(c->stats, METRICS_DAMAGED_PAGES, name), r->check.bad_pages);
	stats_add(metrics_cell(c->stats, METRICS_SET_ASIDE, name), r->aside);
	say_checked(c, name, r);
}

static int void_groups(struct cloudd *c, const bool *voids, char **ret_why)
{
	int rc = 0;
	for (uint32_t g = 0; g < topology_groups(c->t) && !rc; g++)
		rc = voids[g] ? apply_void(c->apply, g) : 0;
	if (!rc)
		rc = apply_commit(c->apply);
	if (rc)
		*ret_why = xasprintf("damaged shards cannot be marked: %s", err_text(rc));
	return rc;
}

static int read_random(void *p, size_t n)
{
	return getrandom(p, n, 0) == (ssize_t)n ? 0 : WEIR_EIO;
}

/* However large they are: as long as it gets on, it is not too late. */
static void on_checked(void *arg)
{
	struct cloudd *c = arg;
	notify_extend(c->o.notify, NOTIFY_LONG_NS);
}

/* Damage is only looked for: the one copy that is left stays as it is, and under its name. A damaged state would be void, and had again
 * from others: there are none. A damaged log is one. */
static int look_alone(struct cloudd *c, bool *voids, char **ret_why)
{
	struct disks d = {.t = c->t, .data = c->o.data, .look_only = true};
	struct disks_report log, state;
	int rc = disks_check_log(&d, &log, ret_why);
	if (!rc)
		rc = disks_check_state(&d, CLOUDD_STATE_MAP_BYTES, voids, &state, ret_why);
	if (rc)
		return rc;
	count_damage(c, &log, "log");
	count_damage(c, &state, "state");
	bool damaged = state.check.bad_pages != 0;
	for (uint32_t g = 0; g < topology_groups(c->t); g++)
		damaged |= voids[g];
	if (log.check.bad_pages)
		*ret_why = xasprintf("--begin-alone: there is a log, a damaged one; move %s/log away where nobody else is left of the cluster",
		    c->o.data);
	else if (damaged)
		*ret_why = xasprintf("--begin-alone: the state in %s is damaged: begin with another node's, or with a copy", c->o.data);
	return *ret_why ? WEIR_EINVAL : 0;
}

static int begin_alone(struct cloudd *c, char **ret_why)
{
	uint8_t random[8];
	if (read_random(random, sizeof(random))) {
		*ret_why = xasprintf("no random numbers: %s", strerror(errno));
		return WEIR_EIO;
	}
	int rc = consensus_begin_alone(c->t, c->self, c->log, c->state, random, ret_why);
	if (!rc)
		log_warn("cloudd", "beginning alone: this node is the only member of all shards now, with the states that it has; start the "
		                   "others with empty data folders, and none again with what it had before; data=%s", c->o.data);
	return rc;
}

/* Each of these two reads the whole of its disk. */
static int open_log(struct cloudd *c, char **ret_why)
{
	struct disks d = {.t = c->t, .data = c->o.data, .progress = on_checked, .arg = c};
	struct disks_report report;
	int rc = disks_check_log(&d, &report, ret_why);
	if (rc)
		return rc;
	count_damage(c, &report, "log");
	return open_env(c, "log", CLOUDD_LOG_MAP_BYTES, &c->log, ret_why);
}

static int open_state(struct cloudd *c, bool *ret_void, char **ret_why)
{
	struct disks d = {.t = c->t, .data = c->o.data, .progress = on_checked, .arg = c};
	struct disks_report report;
	int rc = disks_check_state(&d, CLOUDD_STATE_MAP_BYTES, ret_void, &report, ret_why);
	if (rc)
		return rc;
	count_damage(c, &report, "state");
	return open_env(c, "state", CLOUDD_STATE_MAP_BYTES, &c->state, ret_why);
}

static int open_disks(struct cloudd *c, char **ret_why)
{
	bool *voids = xcalloc(topology_groups(c->t), sizeof(*voids));
	int rc = open_log(c, ret_why);
	if (!rc)
		rc = open_state(c, voids, ret_why);
	if (!rc)
		rc = apply_open(c->t, c->state, &c->apply, ret_why);
	if (!rc)
		rc = void_groups(c, voids, ret_why);
	free(voids);
	return rc;
}

static void start_writers(struct cloudd *c)
{
	c->writers_io = (struct writers_io){c, on_log_written, on_applied, on_durable, on_aborted, on_failed, on_low};
	c->log_writer = log_writer_start(c->log, &c->writers_io, metrics_cell(c->stats, METRICS_COMMIT, "log"));
	struct state_writer_options o = {.apply = c->apply,
	    .progress = c->progress,
	    .groups = topology_groups(c->t),
	    .io = &c->writers_io,
	    .commit_time = metrics_cell(c->stats, METRICS_COMMIT, "state")};
	c->state_writer = state_writer_start(&o);
}

static int try_node(struct cloudd *c, char **ret_why)
{
	struct node_io io = {c, io_reply, io_send_node, io_log_write, io_apply, io_serve, io_send_bulk, io_committed, io_read, io_mapped};
	uint8_t random[16];
	if (read_random(random, sizeof(random))) {
		*ret_why = xasprintf("no random numbers: %s", strerror(errno));
		return WEIR_EIO;
	}
	int rc = node_open(c->t, c->self, c->log, c->apply, c->state, &io, random, now(), &c->node, ret_why);
	if (!rc && c->map.len)
		node_keep_map(c->node, bytes_of(c->map.data, c->map.len));
	return rc;
}

/* What its folder holds was placed by the cluster's maps; that the file does not place it here is not what its operator is to mend. */
static void say_removed(const struct cloudd *c, char **why)
{
	char *text = xasprintf("this node was removed from the cluster, as its kept map (version %llu) says; a node that was removed and "
	                       "added again starts with an empty data folder (%s)", (unsigned long long)c->out_version, *why);
	free(*why);
	*why = text;
}

/* A log that has lost what this replica may have promised is not to be used: this node becomes another member, with the states
 * that it has. */
static int open_node(struct cloudd *c, char **ret_why)
{
	int rc = try_node(c, ret_why);
	if (rc == WEIR_EINVAL && c->out_version && *ret_why)
		say_removed(c, ret_why);
	if (rc != WEIR_ECORRUPT)
		return rc;
	log_error("cloudd", "the log is damaged: %s; this node joins its shards again, as a new member; kept_as=%s/log/data.mdb.damaged",
	    *ret_why ? *ret_why : "", c->o.data);
	stats_add(metrics_cell(c->stats, METRICS_SET_ASIDE, "log"), 1);
	free(*ret_why);
	*ret_why = NULL;
	kv_close(c->log);
	c->log = NULL;
	rc = disks_set_aside(c->o.data, "log", ret_why);
	if (!rc)
		rc = open_env(c, "log", CLOUDD_LOG_MAP_BYTES, &c->log, ret_why);
	return rc ? rc : try_node(c, ret_why);
}

static void report_key(void *arg, const char *text)
{
	(void)arg;
	log_error("keys", "%s", text);
}

static int open_sockets(struct cloudd *c, char **ret_why)
{
	struct msgq_options o = {.keys = c->keys, .peers = peers_of(c->t)};
	int rc = msgq_new(c->loop, &o, &c->msgq);
	if (rc) {
		*ret_why = xasprintf("ZeroMQ: %s", err_text(rc));
		return rc;
	}
	rc = msgq_bind(c->msgq, c->t->clouds[c->self].listen, on_router_frame, c, &c->router, ret_why);
	c->links = links_new(c->msgq, c->self, on_peer_frame, c);
	c->bulk = links_new(c->msgq, c->self, on_peer_frame, c);
	if (!rc)
		rc = links_set_topology(c->links, c->t, ret_why);
	if (!rc)
		rc = links_set_topology(c->bulk, c->t, ret_why);
	return rc;
}

static int open_snapshots(struct cloudd *c, char **ret_why)
{
	c->snapshots_folder = xasprintf("%s/snapshots", c->o.data);
	if (mkdir(c->snapshots_folder, 0700) && errno != EEXIST) {
		*ret_why = xasprintf("%s: %s", c->snapshots_folder, strerror(errno));
		return WEIR_EIO;
	}
	struct snapshot_files files = snapshot_files_in(c->snapshots_folder);
	c->snapshots = snapshots_new(c->state, &files);
	return 0;
}

static bool cluster_id(void *arg, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	return node_cluster_id(((struct cloudd *)arg)->node, ret_id);
}

static int open_readers(struct cloudd *c, char **ret_why)
{
	struct rpc_options r = {.loop = c->loop,
	    .msgq = c->msgq,
	    .topology = c->t,
	    .self = c->self,
	    .timeouts = metrics_cell(c->stats, METRICS_RPC_TIMEOUTS, NULL),
	    .cluster_id = cluster_id,
	    .arg = c};
	int rc = read_random(&r.seed, sizeof(r.seed));
	if (rc) {
		*ret_why = xasprintf("no random numbers: %s", strerror(errno));
		return rc;
	}
	rc = rpc_new(&r, &c->rpc, ret_why);
	if (rc)
		return rc;
	struct serve_options s = {.topology = c->t,
	    .self = c->self,
	    .state = c->state,
	    .node = c->node,
	    .progress = c->progress,
	    .snapshots = c->snapshots,
	    .arg = c,
	    .reply = serve_reply,
	    .damaged = on_serve_damaged,
	    .sinks = on_serve_sinks,
	    .busy = metrics_cell(c->stats, METRICS_SERVE_BUSY, NULL)};
	c->serve = serve_new(&s);
	c->gather = (struct gather){c->t, c->self, c->serve, c->rpc, c->node, c->progress, 0};
	return 0;
}

static bool http_hangs(void *arg)
{
	struct cloudd *c = arg;
	return health_hangs(atomic_load(&c->alive_ns), clock_mono_ns());
}

static int open_http(struct cloudd *c, char **ret_why)
{
	struct http_api_options o = {.listen = c->t->clouds[c->self].http,
	    .topology = c->t,
	    .self = c->self,
	    .node = c->node,
	    .gather = &c->gather,
	    .arg = c,
	    .metrics = http_metrics,
	    .hangs = http_hangs,
	    .ask_meta = ask_meta,
	    .notice = http_notice};
	return http_api_open(&o, &c->http, ret_why);
}

static void start_sinks(struct cloudd *c)
{
	struct sinks_options o = {.topology = c->t,
	    .self = c->self,
	    .serve = c->serve,
	    .node = c->node,
	    .progress = c->progress,
	    .arg = c,
	    .places = on_places,
	    .say = say_sinks};
	struct sinks *sinks = sinks_new(&o);
	pthread_mutex_lock(&c->mutex);
	c->sinks = sinks;
	pthread_mutex_unlock(&c->mutex);
}

static int start_alerts(struct cloudd *c, char **ret_why)
{
	c->alerts = alerts_new(&(struct alerts_options){.serve = c->serve, .node = c->node, .progress = c->progress, .arg = c, .propose = on_alerts});
	if (c->alerts)
		return 0;
	*ret_why = xstrdup("no thread can be had for the alerts");
	return WEIR_EFULL;
}

static int open_loop(struct cloudd *c, char **ret_why)
{
	struct loop_signal *s;
	int rc = loop_new(&c->loop);
	if (!rc)
		rc = loop_signal_new(c->loop, SIGHUP, on_hangup, c, &s);
	if (rc) {
		*ret_why = xasprintf("no event loop: %s", strerror(errno));
		return rc;
	}
	c->wake = loop_async_new(c->loop, handle_events, c);
	c->tick = loop_timer_new(c->loop, on_tick, c);
	c->second = loop_timer_new(c->loop, on_second, c);
	c->maintain = loop_timer_new(c->loop, on_maintain, c);
	c->pulse = loop_timer_new(c->loop, on_pulse, c);
	return 0;
}

/* Once all is open: until then nothing would see them (common/early_stop.h). */
static int take_stops(struct cloudd *c, char **ret_why)
{
	struct loop_signal *s; /* the loop's */
	int rc = loop_signal_new(c->loop, SIGTERM, on_terminate, c, &s);
	if (!rc)
		rc = loop_signal_new(c->loop, SIGINT, on_terminate, c, &s);
	if (rc)
		*ret_why = xasprintf("signals cannot be taken: %s", err_text(rc));
	return rc;
}

static int open_keys(struct cloudd *c, char **ret_why)
{
	struct keys_options o = {.dir = c->t->keys_dir, .name = c->t->clouds[c->self].name, .report = report_key};
	return o.dir ? keys_open(&o, &c->keys, ret_why) : 0;
}

static int open_all(struct cloudd *c, char **ret_why)
{
	int rc = open_keys(c, ret_why);
	if (!rc)
		rc = open_loop(c, ret_why);
	if (!rc)
		rc = open_disks(c, ret_why);
	if (rc)
		return rc;
	c->progress = progress_new(topology_groups(c->t), on_reader, c);
	notify_extend(c->o.notify, NOTIFY_LONG_NS);
	rc = open_node(c, ret_why);
	if (rc)
		return rc;
	start_writers(c);
	if (!rc)
		rc = open_sockets(c, ret_why);
	if (!rc)
		rc = open_snapshots(c, ret_why);
	if (!rc)
		rc = open_readers(c, ret_why);
	if (rc)
		return rc;
	/* Before the first reader: what is committed is known once the node has flushed. */
	node_tick(c->node, now());
	loop_on_turn_end(c->loop, on_turn_end, c);
	loop_timer_start(c->tick, NODE_TICK_MS, NODE_TICK_MS);
	loop_timer_start(c->second, SECOND_MS, SECOND_MS);
	loop_timer_start(c->maintain, MAINTAIN_MS, MAINTAIN_MS);
	loop_timer_start(c->pulse, PULSE_MS, PULSE_MS);
	atomic_store(&c->alive_ns, clock_mono_ns());
	start_sinks(c);
	rc = start_alerts(c, ret_why);
	if (!rc)
		rc = open_http(c, ret_why);
	return rc ? rc : take_stops(c, ret_why);
}

/* Whether the kept map can be used; if so, it is. */
static bool use_map(struct cloudd *c)
{
	struct cluster_map map;
	struct topology *t;
	struct buf errors = {0};
	const char *name = c->o.topology->clouds[c->o.self].name;
	int rc = map_decode(bytes_of(c->map.data, c->map.len), &map);
	if (rc) {
		log_warn("cloudd", "the kept cluster map cannot be used: %s; the others are asked for it", err_text(rc));
		return false;
	}
	rc = map_topology(&map, c->o.topology->path, NULL, &t, &errors);
	map_clear(&map);
	if (rc)
		log_warn("cloudd", "the kept cluster map cannot be used: %s", buf_cstr(&errors));
	buf_free(&errors);
	if (rc)
		return false;
	int self = topology_cloud(t, name);
	bool same_cluster = !strcmp(t->cluster, c->o.topology->cluster) && t->shards == c->o.topology->shards;
	if (self < 0 || !same_cluster) {
		log_warn("cloudd", "the kept cluster map (version %llu) has no place for this node: going by the file; node=%s",
		    (unsigned long long)t->map_version, name);
		c->out_version = same_cluster ? t->map_version : 0;
		topology_free(t);
		return false;
	}
	c->t = t;
	c->self = (uint32_t)self;
	return true;
}

static void find_place(struct cloudd *c)
{
	int rc = map_file_read(c->o.data, &c->map);
	if (rc && rc != WEIR_ENOTFOUND)
		log_warn("cloudd", "the kept cluster map is damaged: the others are asked for it");
	if (!rc && use_map(c))
		return;
	buf_clear(&c->map);
	c->t = topology_hold(c->o.topology);
	c->self = c->o.self;
}

static struct cloudd *make(const struct cloudd_options *o)
{
	struct cloudd *c = xcalloc(1, sizeof(*c));
	c->o = *o;
	c->last = &c->first;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->answered, NULL);
	c->stats = metrics_new();
	find_place(c);
	c->statuses = xcalloc(topology_groups(c->t), sizeof(*c->statuses));
	c->notices = notices_new(c->t, say, c);
	return c;
}

int cloudd_begin_alone(const struct cloudd_options *o, char **ret_why)
{
	struct cloudd *c = make(o);
	bool *voids = xcalloc(topology_groups(c->t), sizeof(*voids));
	int rc = look_alone(c, voids, ret_why);
	if (!rc)
		rc = open_env(c, "log", CLOUDD_LOG_MAP_BYTES, &c->log, ret_why);
	if (!rc)
		rc = open_env(c, "state", CLOUDD_STATE_MAP_BYTES, &c->state, ret_why);
	if (!rc)
		rc = begin_alone(c, ret_why);
	free(voids);
	cloudd_close(c);
	return rc;
}

int cloudd_open(const struct cloudd_options *o, struct cloudd **ret_cloudd, char **ret_why)
{
	struct cloudd *c = make(o);
	int rc = open_all(c, ret_why);
	if (rc) {
		cloudd_close(c);
		return rc;
	}
	*ret_cloudd = c;
	return 0;
}

bool cloudd_run(struct cloudd *c)
{
	notify_ready(c->o.notify);
	loop_run(c->loop);
	if (c->open_again)
		notify_extend(c->o.notify, NOTIFY_LONG_NS); /* the writers finish what they have, then all is opened */
	return c->open_again;
}

/* ---- closing ----------------------------------------------------------------------------------------------------------- */

static void stop_sinks(struct cloudd *c)
{
	pthread_mutex_lock(&c->mutex);
	struct sinks *sinks = c->sinks;
	c->sinks = NULL;
	pthread_mutex_unlock(&c->mutex);
	sinks_free(sinks);
}

/* No HTTP or reader thread is left afterwards; none may wait for the loop meanwhile, which does not turn. */
static void stop_readers(struct cloudd *c)
{
	pthread_mutex_lock(&c->mutex);
	c->stopping = true;
	pthread_cond_broadcast(&c->answered);
	pthread_mutex_unlock(&c->mutex);
	join_applier(c);
	if (c->progress)
		progress_stop(c->progress);
	if (c->rpc)
		rpc_stop(c->rpc);
	if (c->snapshots)
		snapshots_stop(c->snapshots);
	http_api_close(c->http);
	alerts_free(c->alerts);
	c->alerts = NULL;
	stop_sinks(c);
	serve_free(c->serve);
	c->serve = NULL;
	snapshots_free(c->snapshots);
	rpc_free(c->rpc);
	c->rpc = NULL;
}

static void close_sockets(struct cloudd *c)
{
	links_free(c->links);
	links_free(c->bulk);
	c->links = c->bulk = NULL;
	msgq_close(c->router);
	c->router = NULL;
}

/* The log first: what it completes is then applied, and what is applied is committed. */
static void stop_writers(struct cloudd *c)
{
	struct log_writer *log = c->log_writer;
	struct state_writer *state = c->state_writer;
	c->log_writer = NULL;
	log_writer_stop(log);
	if (c->node)
		handle_events(c);
	c->state_writer = NULL;
	state_writer_stop(state);
	if (c->node)
		handle_events(c);
}

void cloudd_close(struct cloudd *c)
{
	if (!c)
		return;
	stop_readers(c);
	close_sockets(c);
	stop_writers(c);
	node_close(c->node);
	apply_close(c->apply);
	kv_close(c->state);
	kv_close(c->log);
	progress_free(c->progress);
	msgq_free(c->msgq);
	keys_free(c->keys);
	loop_free(c->loop);
	stats_free(c->stats);
	pthread_cond_destroy(&c->answered);
	pthread_mutex_destroy(&c->mutex);
	notices_free(c->notices);
	free(c->statuses);
	free(c->snapshots_folder);
	buf_free(&c->map);
	topology_free(c->t);
	free(c);
}
