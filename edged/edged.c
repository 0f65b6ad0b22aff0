/* The wiring.
 *
 *   sources -> pipeline_line         tick timer, end of turn -> pipeline_tick -> marks of sources, committed, pause
 *   socket -> pipeline_frame         pipeline_io.send, connect -> socket
 *   HTTP /api/v1/query -> local_api  its questions wait for the next tick
 *   HTTP /metrics, /healthz          SIGTERM, SIGINT: stop; SIGHUP: reload_check
 *
 * A tick that fails ends the process: what the disk holds is the last good checkpoint, and going on from it is exact. */
#include "edged/edged.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "config.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/http.h"
#include "common/kv.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/msgq.h"
#include "common/notify.h"
#include "common/process.h"
#include "common/stats.h"
#include "common/topology.h"
#include "edged/edged_impl.h"
#include "edged/health.h"
#include "edged/local_api.h"
#include "edged/permit.h"
#include "edged/reload.h"
#include "edged/salvage.h"
#include "edged/source_http.h"
#include "edged/uplink.h"

#define SPOOL_ROOM_BYTES (64 * 1024 * 1024) /* of the map, beyond twice the disk limit: room to delete */
#define HTTP_CONNECTIONS_MAX 64
#define HTTP_RESERVE 8
#define HTTP_PER_ADDRESS_MAX 32
#define DRAIN_TURNS_MAX 16 /* of each source, before a checkpoint that sources are closed after */
#define LAST_CHECKPOINTS_MAX 8

struct pipeline_time edged_time(void)
{
	return (struct pipeline_time){.wall_ns = clock_wall_ns(), .mono_ns = clock_mono_ns()};
}

/* ---- checks --------------------------------------------------------------------------------------------------- */

static int check_loopback(const char *what, const char *name, const char *address, char **ret_why)
{
	struct addr a;
	if (address && (addr_parse(address, &a) || !addr_is_loopback(&a))) {
		*ret_why = xasprintf("%s %s: %s is not a loopback address. With `security: none` everything must stay on "
		                     "127.0.0.1",
		    what, name, address);
		return WEIR_EINVAL;
	}
	return 0;
}

int edged_check(const struct topology *t, uint32_t edge, char **ret_why)
{
	const struct edge_conf *e = &t->edges[edge];
	char *why = NULL;
	int rc = e->http ? http_check(e->http, t->keys_dir, NULL, &why) : 0;
	if (rc)
		*ret_why = xasprintf("edge %s: http: %s", e->name, why);
	free(why);
	if (t->keys_dir)
		return rc;
	for (size_t i = 0; i < t->cloud_count && !rc; i++) {
		if (t->clouds[i].state != CLOUD_GONE)
			rc = msgq_check_address(t->clouds[i].listen, false, ret_why);
	}
	for (size_t i = 0; i < e->source_count && !rc; i++)
		rc = check_loopback("source", e->sources[i].name, e->sources[i].listen, ret_why);
	return rc;
}

/* ---- the pipeline's io ------------------------------------------------------------------------------------------ */

static bool io_send(void *arg, const void *frame, size_t len)
{
	struct edged *e = arg;
	return e->uplink && !msgq_send(e->uplink, frame, len);
}

static void on_frame(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)route;
	(void)who; /* the cloud that was connected to: its key was shown */
	struct edged *e = arg;
	if (!e->answered) {
		e->answered = true;
		e->told_silent = false;
		log_info("uplink", "the cloud answers; cloud=%s", e->cloud);
	}
	if (e->pipeline)
		pipeline_frame(e->pipeline, frame, len, edged_time());
}

static void io_connect(void *arg, uint32_t cloud)
{
	struct edged *e = arg;
	const struct cloud_conf *c = &e->topology->clouds[cloud];
	char *why = NULL;
	if (e->uplink) {
		if (!e->told_silent)
			log_warn("uplink", "the cloud does not answer, or cannot serve: trying the next ones, readings wait in the spool; cloud=%s next=%s",
			    e->cloud, c->name);
		e->told_silent = true;
		msgq_close(e->uplink);
		e->uplink = NULL;
	}
	e->answered = false;
	free(e->cloud);
	e->cloud = xstrdup(c->name);
	log_debug("uplink", "connecting; cloud=%s address=%s", c->name, c->listen);
	if (msgq_connect(e->msgq, c->listen, c->name, on_frame, e, &e->uplink, &why)) {
		e->uplink = NULL;
		log_error("uplink", "cannot connect: %s; cloud=%s", why, c->name);
		free(why);
	}
}

static void io_pause(void *arg, bool paused)
{
	struct edged *e = arg;
	if (pipeline_removed(e->pipeline))
		log_warn("edged", "sources are not read: this edge is not in the cluster's topology; edge=%s", e->conf->name);
	else if (paused)
		log_warn("edged", "no room left: sources are not read until the cloud has taken something; disk_limit_bytes=%" PRIu64
		                  " used_bytes=%" PRIu64,
		    e->conf->disk_bytes, kv_used_bytes(e->spool));
	else
		log_info("edged", "sources are read again; used_bytes=%" PRIu64, kv_used_bytes(e->spool));
	for (size_t i = 0; i < e->source_count; i++)
		if (e->sources[i]->source)
			source_pause(e->sources[i]->source, paused);
}

static void io_mark(void *arg, uint32_t source, struct buf *out)
{
	struct edged *e = arg;
	if (e->sources[source]->source)
		source_mark(e->sources[source]->source, out);
}

static void io_committed(void *arg)
{
	struct edged *e = arg;
	for (size_t i = 0; i < e->source_count; i++)
		if (e->sources[i]->source)
			source_committed(e->sources[i]->source);
}

static void io_skip_to_end(void *arg)
{
	struct edged *e = arg;
	log_warn("edged", "%s: what was in the spool is dropped and counted, sources go on at their end",
	    pipeline_gave_up(e->pipeline) ? "the spool was damaged" : "readmitted");
	for (size_t i = 0; i < e->source_count; i++)
		if (e->sources[i]->source)
			source_skip_to_end(e->sources[i]->source);
}

/* ---- the sources' io -------------------------------------------------------------------------------------------- */

/* Reading two clocks costs more than parsing a short line: once a turn is enough. */
static struct pipeline_time time_of_turn(struct edged *e)
{
	if (!e->now_known) {
		e->now = edged_time();
		e->now_known = true;
	}
	return e->now;
}

static const char *on_line(void *arg, const struct line *l)
{
	struct edged_source *s = arg;
	return s->edged->pipeline ? pipeline_line(s->edged->pipeline, s->number, l, time_of_turn(s->edged)) : NULL;
}

static void on_refuse(void *arg, const char *reason)
{
	struct edged_source *s = arg;
	if (s->edged->pipeline)
		pipeline_refuse(s->edged->pipeline, s->number, reason);
}

static void on_finished(void *arg, bool finished)
{
	struct edged_source *s = arg;
	if (s->edged->pipeline)
		pipeline_source_finished(s->edged->pipeline, s->number, finished);
}

/* A disk that takes long is not asked more often than it can do. */
static void want_commit(struct edged *e)
{
	uint64_t ms = (uint64_t)(e->tick_took_ns / NS_PER_MS);
	if (e->commit_soon)
		return;
	e->commit_soon = true;
	ms = ms < SOURCE_COMMIT_MS ? SOURCE_COMMIT_MS : ms > SOURCE_COMMIT_MS_MAX ? SOURCE_COMMIT_MS_MAX : ms;
	loop_timer_start(e->soon, ms, 0);
}

static void on_want_commit(void *arg)
{
	want_commit(((struct edged_source *)arg)->edged);
}

/* ---- the loop's callbacks ----------------------------------------------------------------------------------------- */

static void tell_fenced(struct edged *e)
{
	const char *reason = "";
	bool fenced = pipeline_fenced(e->pipeline, &reason);
	if (fenced == e->fenced && !strcmp(reason, buf_cstr(&e->fenced_why)))
		return;
	e->fenced = fenced;
	buf_clear(&e->fenced_why);
	buf_printf(&e->fenced_why, "%s", reason);
	if (pipeline_refused(e->pipeline))
		log_error("edged", "REFUSED, sending nothing any more: %s. It goes on measuring into its spool, and asks again "
		                   "every %d s; edge=%s",
		    reason, UPLINK_FENCED_RETRY_MS / 1000, e->conf->name);
	else if (fenced)
		log_error("edged", "FENCED, sending nothing any more: %s. If this is the right holder of the name, run `weirctl edge "
		                   "readmit %s`; edge=%s",
		    reason, e->conf->name, e->conf->name);
	else
		log_info("edged", "no longer fenced; edge=%s", e->conf->name);
}

static void tell_removed(struct edged *e)
{
	bool removed = pipeline_removed(e->pipeline);
	if (removed == e->removed)
		return;
	e->removed = removed;
	if (removed)
		log_error("edged", "REMOVED: this edge is no longer in the cluster's topology. It reads nothing and keeps its spool; it goes "
		                   "on once it is added again. Else stop it; edge=%s data=%s",
		    e->conf->name, e->data);
	else
		log_info("edged", "in the cluster's topology again; edge=%s", e->conf->name);
}

void edged_fail(struct edged *e, int rc, const char *what)
{
	log_error("edged", "%s failed (%s): what is on the disk cannot be trusted beyond the last good checkpoint, so this "
	                   "process ends. Check the disk under %s and start edged again: it goes on exactly from there; "
	                   "errno=%s",
	    what, err_text(rc), e->data, errno ? strerror(errno) : "none");
	e->failed = rc;
	loop_stop(e->loop);
}

static void tick(struct edged *e)
{
	if (e->failed)
		return;
	errno = 0;
	e->commit_soon = false;
	struct pipeline_time began = edged_time();
	if (e->tick_took_ns >= HEALTH_SLOW_NS)
		notify_extend(e->notify, NOTIFY_LONG_NS); /* ended in the midst of it, it would begin with the same again */
	int rc = pipeline_tick(e->pipeline, began);
	e->ticked_ns = clock_mono_ns();
	e->tick_took_ns = e->ticked_ns - began.mono_ns;
	if (rc < 0) {
		edged_fail(e, rc, "a checkpoint");
		return;
	}
	tell_fenced(e);
	local_api_committed(e->local, e->pipeline);
	adopt_turn(e);
	if (!e->failed)
		tell_removed(e);
}

static void on_tick(void *arg)
{
	tick(arg);
}

static void on_soon(void *arg)
{
	struct edged *e = arg;
	if (e->commit_soon) /* else there was a commit meanwhile */
		tick(e);
}

static size_t closed_sources(const struct edged *e)
{
	size_t n = 0;
	for (size_t i = 0; i < e->source_count; i++)
		n += !e->sources[i]->source;
	return n;
}

/* What the service manager sees of it. */
static void tell_health(struct edged *e, int64_t now_ns)
{
	struct health h = {.removed = e->removed,
	    .fenced = e->fenced,
	    .paused = pipeline_paused(e->pipeline),
	    .closed = closed_sources(e),
	    .spool_bytes = pipeline_spool_bytes(e->pipeline),
	    .cloud = e->cloud,
	    .answered = e->answered};
	struct buf text = {0};
	health_text(&h, &text);
	notify_status(e->notify, buf_cstr(&text), now_ns);
	buf_free(&text);
	notify_turn(e->notify, health_is_alive(e->ticked_ns, now_ns, e->conf->tick_ns), now_ns);
}

static void on_retry(void *arg)
{
	struct edged *e = arg;
	struct pipeline_time now = edged_time();
	if (e->failed)
		return;
	pipeline_retry(e->pipeline, e->uplink && msgq_can_send(e->uplink), now);
	if (e->notify)
		tell_health(e, now.mono_ns);
}

static void on_turn_end(void *arg)
{
	struct edged *e = arg;
	e->now_known = false;
	if (!e->failed && pipeline_wants_tick(e->pipeline))
		tick(e);
}

static void on_stop(void *arg)
{
	struct edged *e = arg;
	log_info("edged", "stopping: a last checkpoint; edge=%s", e->conf->name);
	notify_stopping(e->notify);
	loop_stop(e->loop);
}

static void on_hangup(void *arg)
{
	struct edged *e = arg;
	notify_reloading(e->notify, clock_mono_ns());
	adopt_file(e);
	notify_ready(e->notify);
}

/* ---- HTTP --------------------------------------------------------------------------------------------------------- */

static void handle_healthz(void *arg, struct http_request *r)
{
	struct edged *e = arg;
	static const char fine[] = "{\"status\": \"ok\"}\n", fenced[] = "{\"status\": \"fenced\"}\n",
			  removed[] = "{\"status\": \"removed\"}\n";
	if (e->removed)
		http_reply(r, 200, HTTP_JSON, removed, sizeof(removed) - 1);
	else if (e->fenced)
		http_reply(r, 200, HTTP_JSON, fenced, sizeof(fenced) - 1);
	else
		http_reply(r, 200, HTTP_JSON, fine, sizeof(fine) - 1);
}

static void put_sources(const struct edged *e, struct buf *out)
{
	struct source *sources[SOURCES_MAX];
	for (size_t i = 0; i < e->source_count; i++)
		sources[i] = e->sources[i]->source;
	sources_put_metrics(sources, e->conf->sources, e->source_count, out);
}

static const struct stats_family net_families[] = {
	{"weir_edge_uplink_sent_bytes_total", "Bytes of frames sent to the cloud", STATS_COUNTER, {NULL}},
	{"weir_edge_uplink_received_bytes_total", "Bytes of frames received from the cloud", STATS_COUNTER, {NULL}},
	{"weir_edge_uplink_bad_frames_total", "Messages received that are no frame", STATS_COUNTER, {NULL}},
	{"weir_edge_spool_map_bytes", "Size that the spool's file can grow to", STATS_GAUGE, {NULL}},
};

static void put_net(const struct edged *e, struct buf *out)
{
	struct msgq_counters c;
	msgq_counters(e->msgq, &c);
	const uint64_t values[] = {c.sent_bytes, c.received_bytes, c.bad_shape, kv_size_bytes(e->spool)};
	for (size_t f = 0; f < sizeof(values) / sizeof(values[0]); f++) {
		stats_write_head(out, &net_families[f]);
		stats_write_u64(out, &net_families[f], NULL, values[f]);
	}
}

static void handle_metrics(void *arg, struct http_request *r)
{
	struct edged *e = arg;
	struct buf out = {0};
	if (e->failed) {
		http_reply_error(r, 503, "stopping", "this edge is being ended: its disk failed");
		return;
	}
	process_put_build("weir_edge_build_info", PACKAGE_VERSION, &out);
	process_put_metrics(&out);
	pipeline_metrics(e->pipeline, &out);
	put_sources(e, &out);
	put_net(e, &out);
	local_api_put_metrics(e->local, &out);
	http_put_metrics(http_server_of(r), "weir_edge", &out);
	http_reply(r, 200, HTTP_METRICS, out.data, out.len);
	buf_free(&out);
}

static void handle_query(void *arg, struct http_request *r)
{
	struct edged *e = arg;
	if (e->failed)
		http_reply_error(r, 503, "stopping", "this edge is being ended: its disk failed");
	else if (local_api_ask(e->local, r, e->topology, e->conf, e->pipeline))
		want_commit(e);
}

/* The source of what is written to the edge's own address. NULL: it is not open now. */
static struct source *http_source(const struct edged *e)
{
	for (size_t i = 0; i < e->source_count && i < e->conf->source_count; i++)
		if (e->conf->sources[i].type == SOURCE_HTTP && !e->conf->sources[i].listen)
			return e->sources[i]->source;
	return NULL;
}

static void handle_http_source(void *arg, struct http_request *r)
{
	const struct edged *e = arg;
	source_http_handle(e->failed ? NULL : http_source(e), r);
}

static const struct http_route routes[] = {
	{"GET", "/healthz", false, handle_healthz, HTTP_OPEN, true, 0},
	{"GET", "/metrics", false, handle_metrics, HTTP_READ, true, 0},
	{"GET", "/api/v1/query", false, handle_query, HTTP_READ, false, 0},
	SOURCE_HTTP_ROUTES(handle_http_source),
};

static void http_notice(void *arg, bool bad, const char *text)
{
	(void)arg;
	if (bad)
		log_error("http", "%s", text);
	else
		log_info("http", "%s", text);
}

int edged_open_http(struct edged *e, char **ret_why)
{
	struct http_options o = {.listen = e->conf->http,
	    .loop = e->loop,
	    .routes = routes,
	    .route_count = sizeof(routes) / sizeof(routes[0]),
	    .arg = e,
	    .connections_max = HTTP_CONNECTIONS_MAX,
	    .reserve = HTTP_RESERVE,
	    .per_address_max = HTTP_PER_ADDRESS_MAX,
	    .keys_dir = e->topology->keys_dir,
	    .name = e->conf->name,
	    .bodies_max = SOURCE_HTTP_BODIES_MAX,
	    .notice = http_notice};
	char *why = NULL;
	int rc = e->conf->http ? http_open(&o, &e->http, &why) : 0;
	if (rc)
		*ret_why = xasprintf("edge %s: http: %s", e->conf->name, why);
	free(why);
	return rc;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* The folder and those above it. */
static int make_folder(const char *path, char **ret_why)
{
	char *p = xstrdup(path);
	int rc = 0;
	for (char *s = *p ? p + 1 : p; !rc; s++) {
		if (*s && *s != '/')
			continue;
		bool end = !*s;
		*s = 0;
		if (mkdir(p, 0700) && errno != EEXIST) {
			*ret_why = xasprintf("cannot make the data folder %s: %s", p, strerror(errno));
			rc = WEIR_EIO;
		}
		if (end)
			break;
		*s = '/';
	}
	free(p);
	return rc;
}

/* However large the spool is: as long as it gets on, it is not too late. */
static void on_checked(void *arg)
{
	struct edged *e = arg;
	notify_extend(e->notify, NOTIFY_LONG_NS);
}

/* LMDB trusts the pages that it maps: a damaged one may be a crash, or readings that are counted twice. */
static int check_spool(struct edged *e, const struct kv_lmdb_options *o, char **ret_why)
{
	struct salvage_watch watch = {on_checked, e};
	struct salvage_report r;
	int rc = salvage_spool(o, &watch, &r, ret_why);
	if (rc || !r.check.bad_pages)
		return rc;
	for (unsigned i = 0; i < r.place_count; i++)
		log_error("spool", "damaged: %s", r.places[i]);
	log_error("spool",
	    "DAMAGED: pages of the spool do not read. %s; the damaged file is kept as data.mdb.damaged (weirctl store check, store dump). What "
	    "is missing is counted as dropped{corrupt}. Check the disk; damaged_pages=%" PRIu64 " records_saved=%" PRIu64 " spool=%s",
	    r.nothing ? "Nothing in it can be believed" : "What reads was copied to a new file", r.check.bad_pages, r.copied, o->path);
	return 0;
}

int edged_open_spool(struct edged *e, uint64_t disk_bytes, char **ret_why)
{
	int rc = make_folder(e->data, ret_why);
	if (rc)
		return rc;
	char *path = xasprintf("%s/spool", e->data), *why = NULL;
	struct kv_lmdb_options o = {.path = path,
	    .dbs = spool_db_names,
	    .db_count = SPOOL_DBS,
	    .map_bytes = 2 * disk_bytes + SPOOL_ROOM_BYTES};
	rc = check_spool(e, &o, &why);
	if (!rc)
		rc = kv_lmdb_open(&o, &e->spool, &why);
	e->spool_disk_bytes = disk_bytes;
	if (rc)
		*ret_why = xasprintf("cannot open the spool %s: %s%s", path, why,
		    rc == WEIR_EBUSY ? ". Is this edge running already? Give each edge a data folder of its own" : "");
	free(why);
	free(path);
	return rc;
}

struct pipeline_io edged_io(struct edged *e)
{
	return (struct pipeline_io){.arg = e,
	    .send = io_send,
	    .connect = io_connect,
	    .pause = io_pause,
	    .mark = io_mark,
	    .committed = io_committed,
	    .skip_to_end = io_skip_to_end};
}

static int open_pipeline(struct edged *e, char **ret_why)
{
	struct pipeline_io io = edged_io(e);
	uint8_t random[16];
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		*ret_why = xasprintf("the system gives no random bytes: %s", strerror(errno));
		return WEIR_EIO;
	}
	char *why = NULL;
	int rc = pipeline_open(e->topology, e->edge, e->spool, &io, random, edged_time(), &e->pipeline, &why);
	if (rc)
		*ret_why = xasprintf("edge %s: %s. To give up what is in the spool, move the folder %s/spool away and let the cloud "
		                     "readmit the edge (weirctl edge readmit %s)",
		    e->conf->name, why ? why : err_text(rc), e->data, e->conf->name);
	free(why);
	if (!rc && pipeline_gave_up(e->pipeline))
		log_error("spool",
		    "DAMAGED: the spool cannot tell any more what the clouds have, or up to where sources were read. So that nothing "
		    "is counted twice, what it held is dropped{corrupt} and sources go on at their end; if its epoch is lost too, the clouds let "
		    "this edge in once its name was silent for partitioned_after; edge=%s",
		    e->conf->name);
	return rc;
}

/* A file is this machine's own; a map came from elsewhere. */
static int may_open(const struct edged *e, const struct source_conf *c, char **ret_why)
{
	struct topology *local = NULL;
	struct buf errors = {0};
	if (!e->topology->map_version || e->allow_exec || c->type != SOURCE_EXEC)
		return 0;
	if (topology_load(e->config, &local, &errors))
		local = NULL;
	int rc = permit_source(c, local, ret_why);
	topology_free(local);
	buf_free(&errors);
	return rc;
}

int edged_open_source(struct edged_source *s, char **ret_why)
{
	struct edged *e = s->edged;
	const struct source_conf *c = &e->conf->sources[s->number];
	if (may_open(e, c, ret_why))
		return WEIR_EINVAL;
	struct source_io io = {.arg = s, .edge = e->name, .data = e->data, .line = on_line, .refuse = on_refuse, .finished = on_finished,
	    .want_commit = on_want_commit};
	s->source = source_new(e->loop, c, &io);
	int rc = source_restore(s->source, pipeline_source_mark(e->pipeline, s->number));
	if (rc) {
		*ret_why = xasprintf("source %s: its position in the spool cannot be read (%s). Starting without would count readings "
		                     "twice: use the version of edged that wrote it, or give the source a new name to start afresh",
		    c->name, err_text(rc));
	} else {
		rc = source_start(s->source, ret_why);
	}
	if (rc) {
		source_free(s->source);
		s->source = NULL;
	}
	return rc;
}

static int open_sources(struct edged *e, bool by_map, char **ret_why)
{
	e->sources = xcalloc(e->conf->source_count + 1, sizeof(e->sources[0]));
	for (; e->source_count < e->conf->source_count; e->source_count++) {
		struct edged_source *s = e->sources[e->source_count] = xcalloc(1, sizeof(*s));
		*s = (struct edged_source){.edged = e, .number = (uint32_t)e->source_count};
	}
	for (size_t i = 0; i < e->source_count; i++) {
		int rc = 0;
		if (by_map)
			edged_open_source_or_later(e, e->sources[i]);
		else
			rc = edged_open_source(e->sources[i], ret_why);
		if (rc)
			return rc;
	}
	return 0;
}

/* Who measures already does not end because another program has its HTTP address. */
static int open_http(struct edged *e, bool by_map, char **ret_why)
{
	int rc = edged_open_http(e, ret_why);
	if (!rc || !by_map)
		return rc;
	log_error("http", "%s; measuring goes on without it", *ret_why);
	free(*ret_why);
	*ret_why = NULL;
	return 0;
}

static int open_local(struct edged *e, char **ret_why)
{
	int rc = local_api_new(e->loop, e->spool, &e->local);
	if (rc)
		*ret_why = xasprintf("cannot start a thread: %s", err_text(rc));
	return rc;
}

static void report_key(void *arg, const char *text)
{
	(void)arg;
	log_error("keys", "%s", text);
}

static int open_keys(struct edged *e, char **ret_why)
{
	struct keys_options o = {.dir = e->topology->keys_dir, .name = e->conf->name, .report = report_key};
	return o.dir ? keys_open(&o, &e->keys, ret_why) : 0;
}

static int take_signal(struct edged *e, int number, loop_fn *fn)
{
	struct loop_signal *s; /* the loop's */
	return loop_signal_new(e->loop, number, fn, e, &s);
}

static int open_loop(struct edged *e, char **ret_why)
{
	int rc = loop_new(&e->loop);
	if (!rc)
		rc = take_signal(e, SIGHUP, on_hangup);
	if (!rc)
		rc = msgq_new(e->loop, &(struct msgq_options){.keys = e->keys}, &e->msgq);
	if (rc) {
		*ret_why = xasprintf("cannot set up the event loop: %s. Is the limit on open files (ulimit -n) too low?", err_text(rc));
		return rc;
	}
	signal(SIGPIPE, SIG_IGN);
	e->tick = loop_timer_new(e->loop, on_tick, e);
	e->retry = loop_timer_new(e->loop, on_retry, e);
	e->soon = loop_timer_new(e->loop, on_soon, e);
	return 0;
}

/* Once all is open: until then nothing would see them (common/early_stop.h). */
static int take_stops(struct edged *e, char **ret_why)
{
	int rc = take_signal(e, SIGTERM, on_stop);
	if (!rc)
		rc = take_signal(e, SIGINT, on_stop);
	if (rc)
		*ret_why = xasprintf("signals cannot be taken: %s", err_text(rc));
	return rc;
}

/* The limit of the map that was found in it may be another one. */
static int fit_spool(struct edged *e, char **ret_why)
{
	if (e->spool_disk_bytes == e->conf->disk_bytes)
		return 0;
	kv_close(e->spool);
	e->spool = NULL;
	return edged_open_spool(e, e->conf->disk_bytes, ret_why);
}

int edged_open(const struct edged_options *o, struct edged **ret_edged, char **ret_why)
{
	int rc = edged_check(o->topology, o->edge, ret_why);
	if (rc)
		return rc;
	struct edged *e = xcalloc(1, sizeof(*e));
	e->topology = o->topology;
	e->edge = o->edge;
	e->conf = &o->topology->edges[o->edge];
	e->config = o->config;
	e->allow_exec = o->allow_exec;
	e->notify = o->notify;
	e->name = xstrdup(e->conf->name);
	e->data = xstrdup(o->data ? o->data : e->conf->data);
	rc = open_keys(e, ret_why);
	if (!rc)
		rc = open_loop(e, ret_why);
	if (!rc)
		rc = edged_open_spool(e, e->conf->disk_bytes, ret_why);
	if (!rc)
		adopt_kept_map(e);
	if (!rc)
		rc = fit_spool(e, ret_why);
	if (!rc)
		rc = open_pipeline(e, ret_why);
	if (!rc)
		rc = open_local(e, ret_why);
	bool by_map = e->topology != o->topology;
	if (!rc)
		rc = open_http(e, by_map, ret_why);
	if (!rc)
		rc = open_sources(e, by_map, ret_why);
	if (!rc)
		rc = take_stops(e, ret_why);
	if (rc) {
		edged_close(e);
		return rc;
	}
	*ret_edged = e;
	return 0;
}

/* ---- running ------------------------------------------------------------------------------------------------------ */

static void log_ledger(const struct edged *e, const char *text)
{
	struct pipeline_ledger l;
	pipeline_ledger(e->pipeline, &l);
	log_info("edged",
	    "%s; edge=%s accepted=%" PRIu64 " refused=%" PRIu64 " unmatched=%" PRIu64 " aggregated=%" PRIu64 " dropped=%" PRIu64, text,
	    e->conf->name, l.accepted, l.refused, l.unmatched, l.aggregated, l.dropped);
}

bool edged_drain(struct edged *e)
{
	bool more = true;
	for (int turn = 0; more && turn < DRAIN_TURNS_MAX; turn++) {
		more = false;
		for (size_t i = 0; i < e->source_count; i++)
			more |= e->sources[i]->source && source_drain(e->sources[i]->source);
	}
	e->now_known = false;
	return more;
}

/* Who goes on sending does not keep it from stopping. */
static int last_checkpoint(struct edged *e)
{
	int rc = 0;
	bool more = true;
	for (int i = 0; more && !rc && i < LAST_CHECKPOINTS_MAX; i++) {
		more = edged_drain(e);
		rc = pipeline_checkpoint(e->pipeline, false, edged_time());
	}
	return rc;
}

static int stop(struct edged *e)
{
	if (e->failed)
		return e->failed;
	int rc = last_checkpoint(e);
	if (rc) {
		log_error("edged", "the last checkpoint failed (%s): what tcp and stdin gave since the one before is lost, files are "
		                   "read again from there; data=%s",
		    err_text(rc), e->data);
		return rc;
	}
	log_ledger(e, "stopped");
	return 0;
}

void edged_start_timers(struct edged *e)
{
	uint64_t tick_ms = (uint64_t)(e->conf->tick_ns / NS_PER_MS);
	tick_ms = tick_ms ? tick_ms : 1;
	loop_timer_start(e->tick, tick_ms, tick_ms);
	loop_timer_start(e->retry, PIPELINE_RETRY_MS, PIPELINE_RETRY_MS);
}

int edged_run(struct edged *e)
{
	log_ledger(e, "started");
	tick(e); /* before sources deliver (pipeline.h, skip_to_end) */
	if (!e->failed) {
		loop_on_turn_end(e->loop, on_turn_end, e);
		edged_start_timers(e);
		notify_ready(e->notify); /* sources have their addresses, or (by the cluster's topology) are tried again; a cloud need not be there */
		loop_run(e->loop);
	}
	return stop(e);
}

void edged_close(struct edged *e)
{
	if (e->http)
		http_close(e->http);
	local_api_free(e->local);
	for (size_t i = 0; i < e->source_count; i++) {
		source_free(e->sources[i]->source);
		free(e->sources[i]);
	}
	free(e->sources);
	if (e->pipeline)
		pipeline_close(e->pipeline);
	if (e->uplink)
		msgq_close(e->uplink);
	if (e->msgq)
		msgq_free(e->msgq);
	keys_free(e->keys);
	if (e->loop)
		loop_free(e->loop);
	if (e->spool)
		kv_close(e->spool);
	topology_free(e->next);
	topology_free(e->owned);
	buf_free(&e->next_map);
	free(e->cloud);
	buf_free(&e->fenced_why);
	free(e->name);
	free(e->data);
	free(e);
}
