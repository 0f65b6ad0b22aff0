#include "cloudd/http_api.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alerts_api.h"
#include "cloudd/cluster_json.h"
#include "cloudd/pinned_query.h"
#include "cloudd/remote_read.h"
#include "cloudd/topology_api.h"
#include "cloudd/watch.h"
#include "cloudd/web.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"

#define CONNECTIONS_MAX 256
#define RESERVE 32
#define PER_ADDRESS_MAX 128 /* one address alone cannot take all */
#define EDGES_PATH "/api/v1/edges/"
#define MAP_LOOK_NS (250 * NS_PER_MS) /* whether the server stops */

struct http_api {
	struct http_api_options o;
	struct http_server *server;
	atomic_uint watches;
	struct remote_read *remote_read;
};

static void reply_buf(struct http_request *r, const char *type, struct buf *b)
{
	http_reply(r, 200, type, b->data, b->len);
	buf_free(b);
}

static void reply_query_error(struct http_request *r, const struct query_error *e)
{
	if (e->status == 503)
		http_add_header(r, "Retry-After", "1");
	http_reply_error(r, e->status, e->code, "%s", e->message);
}

static void reply_unavailable(struct http_request *r, const char *reason)
{
	http_add_header(r, "Retry-After", "1");
	http_reply_error(r, 503, "unavailable", "%s", reason);
}

/* Endpoints without parameters. False: one was given, and is answered. */
static bool no_args(struct http_request *r)
{
	if (!http_arg_count(r))
		return true;
	http_reply_error(r, 400, "bad_request", "unknown parameter \"%.100s\"", http_arg_name(r, 0));
	return false;
}

/* ---- health ------------------------------------------------------------------------------------------------------ */

static void handle_healthz(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	if (a->o.hangs(a->o.arg))
		http_reply_error(r, 503, "hangs", "neither Raft nor the disks have got on for a minute");
	else
		http_reply(r, 200, HTTP_TEXT, "ok\n", 3);
}

static void handle_readyz(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	char *why = NULL;
	struct buf notes = {0};
	bool ready = node_ready(a->o.node, &why);
	node_notes(a->o.node, &notes);
	if (ready) {
		struct buf b = {0};
		buf_printf(&b, "ok\n%s", notes.len ? buf_cstr(&notes) : "");
		reply_buf(r, HTTP_TEXT, &b);
	} else {
		http_reply_error(r, 503, "not_ready", "%s%s%.*s", why ? why : "not ready", notes.len ? "; " : "",
		    notes.len ? (int)notes.len - 1 : 0, buf_cstr(&notes));
	}
	buf_free(&notes);
	free(why);
}

static const struct stats_family watchers_family = {"weir_cloud_watchers", "Connections that watch a stream", STATS_GAUGE,
	{NULL}};

static void handle_metrics(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	struct buf b = {0};
	a->o.metrics(a->o.arg, &b);
	http_put_metrics(http_server_of(r), "weir_cloud", &b);
	serve_metrics(a->o.gather->serve, &b);
	stats_write_head(&b, &watchers_family);
	stats_write_u64(&b, &watchers_family, NULL, atomic_load(&a->watches));
	remote_read_metrics(a->remote_read, &b);
	reply_buf(r, HTTP_METRICS, &b);
}

/* ---- cluster ------------------------------------------------------------------------------------------------------ */

static void handle_cluster(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	if (!no_args(r))
		return;
	struct gather g = gather_pin(a->o.gather);
	struct gather_status *all = gather_status_all(&g);
	struct buf b = {0};
	uint8_t id[CLUSTER_ID_BYTES];
	bool has_id = node_cluster_id(a->o.node, id);
	cluster_json_put(g.topology, g.topology->clouds[a->o.self].name, has_id ? id : NULL, all, &b);
	gather_status_free(&g, all);
	gather_unpin(&g);
	reply_buf(r, HTTP_JSON, &b);
}

/* ---- edges -------------------------------------------------------------------------------------------------------- */

static void handle_edges(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	char reason[QUERY_REASON_MAX];
	struct buf b = {0};
	if (!no_args(r))
		return;
	buf_printf(&b, "{\"edges\": [");
	struct gather g = gather_pin(a->o.gather);
	int rc = gather_edges(&g, &b, reason);
	gather_unpin(&g);
	if (rc) {
		buf_free(&b);
		reply_unavailable(r, reason);
		return;
	}
	buf_printf(&b, "]}\n");
	reply_buf(r, HTTP_JSON, &b);
}

/* What may be POSTed at an edge. */
struct edge_errand {
	const char *tail; /* of the path, behind the name */
	enum msg_type type;
	bool revoked;     /* MSG_REVOKE */
};

static const struct edge_errand edge_errands[] = {
    {"/readmit", MSG_READMIT, false},
    {"/revoke", MSG_REVOKE, true},
    {"/allow", MSG_REVOKE, false},
};

/* why: NULL, or why nothing was changed. */
static void reply_done(struct http_request *r, const struct edge_errand *e, const char *name, uint64_t map_version, const char *why)
{
	struct buf b = {0};
	buf_printf(&b, "{\"edge\": ");
	json_text(&b, name);
	if (e->type == MSG_READMIT && why) {
		buf_printf(&b, ", \"readmit\": false, \"message\": ");
		json_text(&b, why);
		buf_printf(&b, "}\n");
	} else if (e->type == MSG_READMIT) {
		buf_printf(&b, ", \"readmit\": true}\n");
	} else {
		buf_printf(&b, ", \"revoked\": %s, \"map_version\": %llu}\n", e->revoked ? "true" : "false",
		    (unsigned long long)map_version);
	}
	reply_buf(r, HTTP_JSON, &b);
}

static void run_edge_errand(struct http_api *a, struct http_request *r, const struct edge_errand *e, const char *name)
{
	char reason[QUERY_REASON_MAX] = "";
	uint64_t map_version = 0;
	struct msg m = {.type = e->type};
	if (e->type == MSG_REVOKE)
		m.revoke.revoked = e->revoked;
	switch (a->o.ask_meta(a->o.arg, &m, bytes_of(name, strlen(name)), &map_version, reason)) {
	case VERDICT_OK:
		reply_done(r, e, name, map_version, NULL);
		break;
	case VERDICT_DUPLICATE:
		reply_done(r, e, name, map_version, reason);
		break;
	case VERDICT_REFUSED:
	case VERDICT_FENCED:
	case VERDICT_OUT_OF_SEQUENCE:
	case VERDICT_NOT_OPEN:
		http_reply_error(r, 409, "refused", "%s", reason);
		break;
	case VERDICT_BUSY:
	case VERDICT_UNAVAILABLE:
		reply_unavailable(r, reason);
		break;
	}
}

static const struct edge_errand *edge_errand_of(const char *tail, size_t *ret_name_bytes)
{
	size_t n = strlen(tail);
	for (size_t i = 0; i < sizeof(edge_errands) / sizeof(edge_errands[0]); i++) {
		size_t suffix = strlen(edge_errands[i].tail);
		if (n <= suffix || strcmp(tail + n - suffix, edge_errands[i].tail))
			continue;
		*ret_name_bytes = n - suffix;
		return &edge_errands[i];
	}
	return NULL;
}

/* An edge that is not in the topology any more may still be on the list of the revoked: whether it can be taken off it, the meta group
 * knows. */
static bool may_know(const struct http_api *a, const struct edge_errand *e, const char *name)
{
	const struct topology *t = node_topology(a->o.node);
	bool known = topology_edge(t, name) >= 0;
	topology_free(t);
	return known || (e->type == MSG_REVOKE && !e->revoked && name_valid(name));
}

static void handle_edge_errand(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	size_t n = 0;
	const struct edge_errand *e = edge_errand_of(http_path_tail(r), &n);
	if (!e) {
		http_reply_error(r, 404, "not_found", "there is nothing to POST at %s", http_path(r));
		return;
	}
	if (!no_args(r))
		return;
	char *name = xstrndup(http_path_tail(r), n);
	if (may_know(a, e, name))
		run_edge_errand(a, r, e, name);
	else
		http_reply_error(r, 404, "unknown_edge", "there is no edge \"%.100s\"", name);
	free(name);
}

/* ---- topology ----------------------------------------------------------------------------------------------------- */

static void handle_topology(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	if (no_args(r))
		topology_api_get(a->o.node, a->o.ask_meta, a->o.arg, r);
}

static void handle_apply(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	topology_api_post(a->o.node, a->o.ask_meta, a->o.arg, r);
}

/* ---- streams ------------------------------------------------------------------------------------------------------ */

static void put_time_or_null(struct buf *out, int64_t t_ns)
{
	if (t_ns == WATERMARK_NONE)
		buf_printf(out, "null");
	else
		json_time(out, t_ns);
}

static void put_duration(struct buf *out, const char *key, int64_t ns)
{
	char text[TIME_TEXT_MAX];
	duration_format(ns, text);
	buf_printf(out, ", \"%s\": \"%s\"", key, text);
}

/* What of the stream a program needs to know before it can ask for something. */
static void put_definition(const struct stream_conf *s, struct buf *out)
{
	put_duration(out, "slice", s->slice_ns);
	put_duration(out, "window", s->size_ns);
	put_duration(out, "every", s->advance_ns);
	put_duration(out, "lateness", s->lateness_ns);
	buf_printf(out, ", \"by\": [");
	for (size_t i = 0; i < s->by_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_text(out, s->by[i]);
	}
	buf_printf(out, "], \"compute\": [");
	for (size_t i = 0; i < s->compute_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_text(out, s->compute[i].text);
	}
	buf_printf(out, "], \"max_groups\": %llu", (unsigned long long)s->max_groups);
}

static void put_stream(const struct stream_conf *s, const struct serve_stream *x, struct buf *out)
{
	buf_printf(out, "{\"name\": ");
	json_text(out, s->name);
	buf_printf(out, ", \"version\": %u, \"phase\": \"%s\", \"from\": ", s->version, stream_phase_text(s->phase));
	put_time_or_null(out, s->from_ns < TIME_MIN_NS || s->from_ns == INT64_MAX ? WATERMARK_NONE : s->from_ns);
	buf_printf(out, ", \"until\": ");
	put_time_or_null(out, s->answers_until_ns == INT64_MAX || s->answers_until_ns < TIME_MIN_NS ? WATERMARK_NONE : s->answers_until_ns);
	put_definition(s, out);
	buf_printf(out, ", \"watermark\": ");
	put_time_or_null(out, x->close_ns);
	buf_printf(out, ", \"final\": ");
	put_time_or_null(out, x->final_ns);
	buf_printf(out,
	    ", \"received\": %llu, \"merged\": %llu, \"groups\": %llu, \"overflowed\": %llu, "
	    "\"dropped\": {\"beyond_retain\": %llu, \"unknown_stream\": %llu, \"invalid\": %llu}}",
	    (unsigned long long)x->received, (unsigned long long)x->merged, (unsigned long long)x->groups,
	    (unsigned long long)x->overflowed, (unsigned long long)x->beyond_retain,
	    (unsigned long long)x->unknown_stream, (unsigned long long)x->invalid);
}

static void handle_streams(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	if (!no_args(r))
		return;
	struct gather g = gather_pin(a->o.gather);
	const struct topology *t = g.topology;
	char reason[QUERY_REASON_MAX];
	struct serve_stream *streams = xcalloc(t->stream_count, sizeof(*streams));
	for (uint32_t i = 0; i < t->stream_count; i++)
		streams[i].close_ns = streams[i].final_ns = WATERMARK_NONE;
	if (gather_streams(&g, streams, reason)) {
		reply_unavailable(r, reason);
	} else {
		struct buf b = {0};
		buf_printf(&b, "{\"streams\": [");
		for (uint32_t i = 0; i < t->stream_count; i++) {
			buf_printf(&b, i ? ",\n  " : "\n  ");
			put_stream(&t->streams[i], &streams[i], &b);
		}
		buf_printf(&b, "]}\n");
		reply_buf(r, HTTP_JSON, &b);
	}
	free(streams);
	gather_unpin(&g);
}

/* ---- sinks -------------------------------------------------------------------------------------------------------- */

static void handle_sinks(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	if (!no_args(r))
		return;
	struct gather g = gather_pin(a->o.gather);
	struct sink_state *states = xcalloc(g.topology->sink_count, sizeof(*states));
	struct buf b = {0};
	uint64_t unanswered = gather_sinks(&g, states);
	sink_states_json(g.topology, states, unanswered, &b);
	free(states);
	gather_unpin(&g);
	reply_buf(r, HTTP_JSON, &b);
}

/* ---- query and watch ---------------------------------------------------------------------------------------------- */

static size_t copy_args(const struct http_request *r, struct query_arg args[HTTP_ARGS_MAX])
{
	size_t n = http_arg_count(r);
	for (size_t i = 0; i < n; i++)
		args[i] = (struct query_arg){http_arg_name(r, i), http_arg_value(r, i)};
	return n;
}

static int pinned_fill(void *arg, struct buf *out)
{
	struct pinned_query *p = arg;
	return query_fill(p->query, out);
}

static void pinned_end(void *arg)
{
	pinned_query_close(arg);
}

static void handle_query(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	struct query_arg args[HTTP_ARGS_MAX];
	struct query_error error;
	struct pinned_query *p;
	size_t n = copy_args(r, args);
	if (pinned_query_open(a->o.gather, http_server_of(r), args, n, &p, &error))
		reply_query_error(r, &error);
	else
		http_stream(r, 200, HTTP_JSON, pinned_fill, pinned_end, p);
}

static void handle_alerts(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	alerts_api_get(a->o.gather, r);
}

static void handle_remote_read(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	remote_read_handle(a->remote_read, r);
}

/* The watch and its place in the count. */
struct counted_watch {
	struct http_api *api;
	struct watch *watch;
};

static int counted_fill(void *arg, struct buf *out)
{
	struct counted_watch *c = arg;
	return watch_fill(c->watch, out);
}

static void counted_end(void *arg)
{
	struct counted_watch *c = arg;
	watch_close(c->watch);
	atomic_fetch_sub(&c->api->watches, 1);
	free(c);
}

static const char *last_event_id(const struct http_request *r)
{
	for (size_t i = 0; i < http_arg_count(r); i++)
		if (!strcmp(http_arg_name(r, i), "last_event_id"))
			return http_arg_value(r, i);
	return http_header(r, "Last-Event-ID");
}

/* By the map in force here, whose version is told. */
static int try_watch(struct http_api *a, struct http_request *r, uint64_t *ret_map_version, struct watch **ret_watch,
    struct query_error *error)
{
	struct query_arg args[HTTP_ARGS_MAX];
	struct query_args *parsed = xcalloc(1, sizeof(*parsed));
	size_t n = copy_args(r, args);
	struct gather g = gather_pin(a->o.gather);
	int rc = query_args_parse_watch(g.topology, args, n, parsed, error);
	if (!rc)
		rc = watch_open(&g, http_server_of(r), parsed, args, n, last_event_id(r), ret_watch, error);
	*ret_map_version = g.topology->map_version;
	gather_unpin(&g);
	free(parsed);
	return rc;
}

/* Who comes back may know of a version of the stream from another node, whose map is ahead of this one's: it is waited for. */
static int open_watch(struct http_api *a, struct http_request *r, struct watch **ret_watch, struct query_error *error)
{
	int64_t until_ns = clock_mono_ns() + WATCH_OPEN_NS;
	for (;;) {
		uint64_t map_version;
		int rc = try_watch(a, r, &map_version, ret_watch, error);
		int64_t left_ns = until_ns - clock_mono_ns();
		if (rc != WEIR_EVERSION || left_ns <= 0 || http_stopping(http_server_of(r)))
			return rc;
		node_wait_map(a->o.node, map_version + 1, left_ns < MAP_LOOK_NS ? left_ns : MAP_LOOK_NS);
	}
}

static void handle_watch(void *arg, struct http_request *r)
{
	struct http_api *a = arg;
	struct query_error error;
	struct counted_watch *c = xcalloc(1, sizeof(*c));
	c->api = a;
	if (atomic_fetch_add(&a->watches, 1) >= WATCHES_MAX) {
		reply_unavailable(r, "too many watches");
	} else if (open_watch(a, r, &c->watch, &error)) {
		reply_query_error(r, &error);
	} else {
		http_stream(r, 200, HTTP_EVENTS, counted_fill, counted_end, c);
		return;
	}
	atomic_fetch_sub(&a->watches, 1);
	free(c);
}

/* ---- the page for people ------------------------------------------------------------------------------------------- */

static void handle_root(void *arg, struct http_request *r)
{
	(void)arg;
	web_reply(r, "index.html");
}

static void handle_web(void *arg, struct http_request *r)
{
	(void)arg;
	web_reply(r, http_path_tail(r));
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static const struct http_route routes[] = {
    {"GET", "/", false, handle_root, HTTP_OPEN, false, 0},
    {"GET", WEB_PATH, true, handle_web, HTTP_OPEN, false, 0},
    {"GET", "/healthz", false, handle_healthz, HTTP_OPEN, true, 0},
    {"GET", "/readyz", false, handle_readyz, HTTP_READ, true, 0},
    {"GET", "/metrics", false, handle_metrics, HTTP_READ, true, 0},
    {"GET", "/api/v1/cluster", false, handle_cluster, HTTP_READ, true, 0},
    {"GET", "/api/v1/edges", false, handle_edges, HTTP_READ, false, 0},
    {"GET", "/api/v1/streams", false, handle_streams, HTTP_READ, false, 0},
    {"GET", "/api/v1/sinks", false, handle_sinks, HTTP_READ, false, 0},
    {"GET", "/api/v1/query", false, handle_query, HTTP_READ, false, 0},
    {"GET", "/api/v1/watch", false, handle_watch, HTTP_READ, false, 0},
    {"GET", "/api/v1/alerts", false, handle_alerts, HTTP_READ, false, 0},
    {"POST", REMOTE_READ_PATH, false, handle_remote_read, HTTP_READ, false, REMOTE_READ_BODY_MAX},
    {"GET", "/api/v1/topology", false, handle_topology, HTTP_READ, false, 0},
    {"POST", "/api/v1/topology", false, handle_apply, HTTP_ADMIN, false, TOPOLOGY_TEXT_MAX},
    {"POST", EDGES_PATH, true, handle_edge_errand, HTTP_ADMIN, true, 0},
};

static void tell(void *arg, bool bad, const char *text)
{
	struct http_api *a = arg;
	a->o.notice(a->o.arg, bad, text);
}

int http_api_open(const struct http_api_options *o, struct http_api **ret_api, char **ret_why)
{
	struct http_api *a = xcalloc(1, sizeof(*a));
	a->o = *o;
	a->remote_read = remote_read_new(o->gather);
	struct http_options h = {.listen = o->listen,
	    .routes = routes,
	    .route_count = sizeof(routes) / sizeof(routes[0]),
	    .arg = a,
	    .connections_max = CONNECTIONS_MAX,
	    .reserve = RESERVE,
	    .per_address_max = PER_ADDRESS_MAX,
	    .keys_dir = o->topology->keys_dir,
	    .name = o->topology->clouds[o->self].name,
	    .notice = tell};
	int rc = http_open(&h, &a->server, ret_why);
	if (rc) {
		remote_read_free(a->remote_read);
		free(a);
		return rc;
	}
	*ret_api = a;
	return 0;
}


void http_api_close(struct http_api *a)
{
	if (!a)
		return;
	http_close(a->server);
	remote_read_free(a->remote_read);
	free(a);
}
