#include "edged/source_http.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/err.h"
#include "common/gzip.h"
#include "common/log.h"
#include "edged/influx.h"
#include "edged/source_impl.h"

#define CONNECTIONS_MAX 64
#define CONNECTIONS_RESERVE 8
#define RETRY_PAUSED_S "5" /* room is made by the cloud */

enum write_kind { WRITE_INFLUX_1, WRITE_INFLUX_2, WRITE_COLLECTD };

/* A write is fed as a whole before the next one. */
enum write_state {
	WRITE_QUEUED,
	WRITE_CHECKING, /* that its gzip is whole, and not too large */
	WRITE_FEEDING,
	WRITE_FED,      /* given to io, all of it */
	WRITE_MARKED,   /* ... before the checkpoint that is being written */
};

struct write {
	struct http *http;
	struct http_request *request;
	enum write_kind kind;
	enum write_state state;
	int64_t precision_ns;
	bool packed;
	struct buf text;     /* collectd: its body as line protocol */
	struct bytes body;   /* the request's, or text */
	size_t at;           /* of a body that is not packed: fed. Checking: how much it unpacks to */
	uint64_t lines;      /* of the source, before it */
	uint64_t accepted;
	struct influx_refusals refusals;
	struct write *next;
};

struct http {
	struct source base;
	struct http_server *server; /* its own, or NULL */
	struct source_parser parser;
	struct gzip_reader *gzip;
	uint8_t *chunk;
	struct loop_timer *pump;
	struct write *first;        /* oldest first: those that are fed come before those that are not */
	uint64_t waiting, stored, partial, bad, busy, gone, empty;
};

static struct http *http_of(struct source *s)
{
	return (struct http *)s;
}

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static struct write *next_unfed(const struct http *h)
{
	struct write *w = h->first;
	while (w && w->state >= WRITE_FED)
		w = w->next;
	return w;
}

static void append(struct http *h, struct write *w)
{
	struct write **p = &h->first;
	while (*p)
		p = &(*p)->next;
	*p = w;
	h->waiting++;
}

static void drop(struct http *h, struct write *w)
{
	struct write **p = &h->first;
	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	h->waiting--;
	influx_refusals_clear(&w->refusals);
	buf_free(&w->text);
	free(w);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void reply_error(enum write_kind kind, struct http_request *r, unsigned status, const char *code, const char *text, uint64_t line)
{
	if (kind == WRITE_COLLECTD)
		http_reply_error(r, status, code, "%s", text);
	else
		influx_reply_error(kind == WRITE_INFLUX_1 ? INFLUX_1 : INFLUX_2, r, status, code, text, line);
}

static void reply_busy(enum write_kind kind, struct http_request *r, const char *retry_s, const char *text)
{
	http_add_header(r, "Retry-After", retry_s);
	reply_error(kind, r, 503, "unavailable", text, 0);
}

/* Lines of it were given out: to send it again may count them twice, so it is not asked for. */
static void reply_torn(enum write_kind kind, struct http_request *r)
{
	reply_error(kind, r, 500, "internal error",
	    "this edge went over to another configuration meanwhile: lines of this write may count, or not", 0);
}

static const char paused_text[] = "no room left at this edge until the cloud has taken something: send this again";

/* As a whole, and nothing of it counts. */
static void refuse_write(struct http *h, struct write *w, unsigned status, const char *code, const char *text)
{
	h->bad++;
	reply_error(w->kind, w->request, status, code, text, 0);
	drop(h, w);
}

/* It was given out, and what counts of it is durable. */
static void answer(struct http *h, struct write *w)
{
	if (w->refusals.count) {
		struct buf text = {0};
		influx_put_refusals(&w->refusals, w->accepted > 0, &text);
		h->partial += w->accepted > 0;
		h->bad += !w->accepted;
		reply_error(w->kind, w->request, 400, "invalid", buf_cstr(&text), w->refusals.first_line);
		buf_free(&text);
	} else {
		h->stored++;
		if (w->kind == WRITE_COLLECTD) /* which takes anything but 200 for an error */
			http_reply(w->request, 200, HTTP_JSON, "{}\n", 3);
		else
			influx_reply_written(w->request);
	}
	drop(h, w);
}

/* ---- feeding ---------------------------------------------------------------------------------------------------- */

/* The rest of a line will never come here. */
static void cut_off(struct http *h)
{
	struct source *s = &h->base;
	if (line_parser_pending(&h->parser.lines)) {
		s->counters.refused++;
		s->io.refuse(s->io.arg, SOURCE_REFUSED_TRUNCATED);
	}
	line_parser_reset(&h->parser.lines);
}

static void on_refused(void *arg, uint64_t number, const char *why, struct bytes text)
{
	struct write *w = next_unfed(arg);
	influx_refuse(&w->refusals, number, why, text);
}

static void on_gone(void *arg, struct http_request *r)
{
	struct write *w = arg;
	struct http *h = w->http;
	(void)r;
	if (w->state == WRITE_FEEDING)
		cut_off(h);
	h->gone++;
	drop(h, w);
}

static void begin_feeding(struct http *h, struct write *w)
{
	w->state = WRITE_FEEDING;
	w->at = 0;
	w->lines = h->base.counters.lines;
	line_parser_reset(&h->parser.lines);
	line_parser_set_precision(&h->parser.lines, w->precision_ns);
	if (w->packed)
		gzip_begin(h->gzip, w->body);
}

static void begin(struct http *h, struct write *w)
{
	if (!w->packed) {
		begin_feeding(h, w);
		return;
	}
	w->state = WRITE_CHECKING;
	gzip_begin(h->gzip, w->body);
}

/* A packed body that breaks off must not have counted in part. */
static size_t check(struct http *h, struct write *w)
{
	size_t n = 0;
	if (gzip_read(h->gzip, h->chunk, SOURCE_CHUNK_BYTES, &n)) {
		refuse_write(h, w, 400, "invalid", "unable to parse the body: it is not gzip, or broken off");
		return 1;
	}
	w->at += n;
	if (w->at > SOURCE_HTTP_UNPACKED_MAX)
		refuse_write(h, w, 413, "request too large", "the body unpacks to more than 32 MiB");
	else if (!n)
		begin_feeding(h, w);
	return n ? n : 1;
}

static size_t next_piece(struct http *h, struct write *w, const uint8_t **ret_bytes)
{
	size_t n = 0;
	if (w->packed) {
		int rc = gzip_read(h->gzip, h->chunk, SOURCE_CHUNK_BYTES, &n);
		weir_assert(!rc); /* the same bytes were read before */
		*ret_bytes = h->chunk;
		return n;
	}
	n = w->body.n - w->at < SOURCE_CHUNK_BYTES ? w->body.n - w->at : SOURCE_CHUNK_BYTES;
	*ret_bytes = w->body.p + w->at;
	w->at += n;
	return n;
}

static void end_feeding(struct http *h, struct write *w)
{
	line_parser_finish(&h->parser.lines);
	http_drop_body(w->request);
	buf_free(&w->text);
	w->state = WRITE_FED;
}

static size_t feed(struct http *h, struct write *w)
{
	struct source *s = &h->base;
	const uint8_t *bytes;
	size_t n = next_piece(h, w, &bytes);
	uint64_t lines = s->counters.lines, bad = s->counters.refused, refused = w->refusals.count;
	if (n)
		source_feed(&h->parser, bytes, n);
	else
		line_parser_finish(&h->parser.lines);
	/* Of the good lines, some may have been refused for their time. */
	uint64_t accepted = s->counters.lines - lines - (w->refusals.count - refused - (s->counters.refused - bad));
	w->accepted += accepted;
	if (accepted)
		source_set_finished(s, false);
	if (n)
		return n;
	end_feeding(h, w);
	if (w->accepted)
		source_want_commit(s);
	else
		answer(h, w);
	return 1;
}

static void on_pump(void *arg)
{
	struct http *h = arg;
	struct write *w;
	size_t left = SOURCE_TURN_BYTES, n = 0;
	for (; left && (w = next_unfed(h)); left -= n < left ? n : left) {
		if (w->state == WRITE_QUEUED)
			begin(h, w);
		n = w->state == WRITE_CHECKING ? check(h, w) : feed(h, w);
	}
	if (next_unfed(h))
		loop_timer_start(h->pump, SOURCE_PUMP_MS, 0);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static const char *arg_of(const struct http_request *r, const char *name)
{
	for (size_t i = 0; i < http_arg_count(r); i++)
		if (!strcmp(http_arg_name(r, i), name))
			return http_arg_value(r, i);
	return NULL;
}

/* Whether it is packed; *ret_fine: whether that is known here. */
static bool is_packed(const struct http_request *r, bool *ret_fine)
{
	const char *coding = http_header(r, "Content-Encoding");
	bool gzip = coding && (!strcasecmp(coding, "gzip") || !strcasecmp(coding, "x-gzip"));
	*ret_fine = !coding || !*coding || gzip || !strcasecmp(coding, "identity");
	return gzip;
}

/* A value list that is none is one reading that does not count. */
static void count_faults(struct http *h, uint64_t n)
{
	struct source *s = &h->base;
	for (uint64_t i = 0; i < n; i++) {
		s->counters.refused++;
		s->io.refuse(s->io.arg, line_error_label(LINE_BAD_FIELD));
	}
	if (n && source_may_log(s))
		log_warn("source", "collectd value lists refused; source=%s count=%" PRIu64, s->conf->name, n);
}

/* False: it was answered. */
static bool convert(struct http *h, struct http_request *r, struct write *w)
{
	struct collectd_counts counts;
	struct buf why = {0};
	int rc = collectd_put_lines(http_body(r), &w->text, &w->refusals, &counts, &why);
	if (rc) {
		h->bad++;
		reply_error(WRITE_COLLECTD, r, 400, "invalid", buf_cstr(&why), 0);
	} else {
		http_drop_body(r);
		h->empty += counts.empty;
		count_faults(h, w->refusals.count);
	}
	w->body = bytes_of(w->text.data, w->text.len);
	buf_free(&why);
	return !rc;
}

static const char *find_fault(struct http *h, struct http_request *r, struct write *w)
{
	bool known;
	enum influx_kind kind = w->kind == WRITE_INFLUX_2 ? INFLUX_2 : INFLUX_1;
	w->packed = is_packed(r, &known);
	if (!known || (w->packed && w->kind == WRITE_COLLECTD))
		return "unable to parse the body: this Content-Encoding is not known here";
	if (w->kind != WRITE_COLLECTD && influx_precision(kind, arg_of(r, "precision"), &w->precision_ns))
		return kind == INFLUX_1 ? "invalid precision (ns, u, ms, s, m or h)" : "invalid precision (ns, us, ms or s)";
	if (h->base.paused)
		return paused_text;
	return NULL;
}

static void take_write(struct http *h, struct http_request *r, enum write_kind kind)
{
	struct write *w = xcalloc(1, sizeof(*w));
	*w = (struct write){.http = h, .request = r, .kind = kind, .precision_ns = 1, .body = http_body(r)};
	const char *fault = find_fault(h, r, w);
	if (fault == paused_text) {
		h->busy++;
		reply_busy(kind, r, RETRY_PAUSED_S, fault);
	} else if (fault) {
		h->bad++;
		reply_error(kind, r, 400, "invalid", fault, 0);
	} else if (kind != WRITE_COLLECTD || convert(h, r, w)) {
		http_defer(r, on_gone, w);
		append(h, w);
		loop_timer_start(h->pump, SOURCE_PUMP_MS, 0);
		return;
	}
	influx_refusals_clear(&w->refusals);
	buf_free(&w->text);
	free(w);
}

void source_http_handle(struct source *s, struct http_request *r)
{
	const char *path = http_path(r);
	enum write_kind kind = !strcmp(path, "/collectd") ? WRITE_COLLECTD : !strcmp(path, "/write") ? WRITE_INFLUX_1 : WRITE_INFLUX_2;
	if (!strcmp(path, "/ping"))
		influx_handle_ping(r);
	else if (!strcmp(path, "/health"))
		influx_handle_health(r, !s ? "not reading" : s->paused ? paused_text : NULL);
	else if (!strcmp(path, "/query"))
		influx_handle_query(r);
	else if (s)
		take_write(http_of(s), r, kind);
	else
		reply_busy(kind, r, RETRY_PAUSED_S, "this edge takes no writes now");
}

static void on_request(void *arg, struct http_request *r)
{
	source_http_handle(arg, r);
}

/* ---- the source ------------------------------------------------------------------------------------------------- */

static const struct http_route routes[] = {SOURCE_HTTP_ROUTES(on_request)};

static void on_notice(void *arg, bool bad, const char *text)
{
	const struct source *s = arg;
	if (bad)
		log_error("http", "%s; source=%s", text, s->conf->name);
	else
		log_info("http", "%s; source=%s", text, s->conf->name);
}

static int open_server(struct http *h, char **ret_why)
{
	const struct source_conf *c = h->base.conf;
	struct http_options o = {.listen = c->listen, .keys_dir = c->http.keys_dir, .name = c->http.node, .loop = h->base.loop,
	    .routes = routes, .route_count = sizeof(routes) / sizeof(routes[0]), .arg = h, .connections_max = CONNECTIONS_MAX,
	    .reserve = CONNECTIONS_RESERVE, .bodies_max = SOURCE_HTTP_BODIES_MAX, .notice = on_notice};
	char *why = NULL;
	int rc = http_open(&o, &h->server, &why);
	if (rc)
		*ret_why = xasprintf("source %s: %s", c->name, why);
	free(why);
	return rc;
}

static int http_start(struct source *s, char **ret_why)
{
	struct http *h = http_of(s);
	if (s->conf->listen) {
		int rc = open_server(h, ret_why);
		if (rc)
			return rc;
	}
	source_parser_init(&h->parser, s);
	h->parser.refused = on_refused;
	h->parser.refused_arg = h;
	h->gzip = gzip_reader_new();
	h->chunk = xmalloc(SOURCE_CHUNK_BYTES);
	h->pump = loop_timer_new(s->loop, on_pump, h);
	source_set_finished(s, true);
	return 0;
}

/* One that is being fed goes on: half of it would be worse. */
static void http_pause(struct source *s)
{
	struct http *h = http_of(s);
	for (struct write *w = next_unfed(h), *next; s->paused && w; w = next) {
		next = w->next;
		if (w->state == WRITE_FEEDING)
			continue;
		h->busy++;
		reply_busy(w->kind, w->request, RETRY_PAUSED_S, paused_text);
		drop(h, w);
	}
}

/* What has begun comes to its end, and into the checkpoint; what has not will be told to come again. */
static bool http_drain(struct source *s)
{
	struct http *h = http_of(s);
	struct write *w;
	size_t left = SOURCE_TURN_BYTES, n = 0;
	for (; left && (w = next_unfed(h)) && w->state == WRITE_FEEDING; left -= n < left ? n : left)
		n = feed(h, w);
	return !left;
}

/* Nothing of it is kept: it is asked here what belongs to the checkpoint. */
static void http_mark(struct source *s, struct buf *out)
{
	(void)out;
	for (struct write *w = http_of(s)->first; w; w = w->next)
		if (w->state == WRITE_FED)
			w->state = WRITE_MARKED;
}

static void http_committed(struct source *s)
{
	struct http *h = http_of(s);
	while (h->first && h->first->state == WRITE_MARKED)
		answer(h, h->first);
}

static void http_free(struct source *s)
{
	struct http *h = http_of(s);
	http_close(h->server); /* tells of those that wait there */
	if (!h->pump)
		return;
	struct write *w = next_unfed(h);
	if (w && w->state == WRITE_FEEDING)
		cut_off(h);
	while (h->first) {
		w = h->first;
		if (w->state < WRITE_FEEDING)
			reply_busy(w->kind, w->request, SOURCE_HTTP_RETRY_S, "this edge takes no writes now");
		else
			reply_torn(w->kind, w->request);
		drop(h, w);
	}
	loop_timer_free(h->pump);
	source_parser_free(&h->parser);
	gzip_reader_free(h->gzip);
	free(h->chunk);
}

uint16_t source_http_port(const struct source *s)
{
	const struct http *h = (const struct http *)s;
	return s->conf->type == SOURCE_HTTP && h->server ? http_port(h->server) : 0;
}

static const struct stats_family families[] = {
	{"weir_edge_source_http_stored_total", "Writes answered when all their lines were durable", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_partial_total", "Writes of which some lines were refused, and told", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_bad_total", "Writes of which nothing counts", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_busy_total", "Writes that must be sent again, for want of room", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_gone_total", "Writes whose client did not wait for the answer", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_waiting", "Writes that wait for their lines to be durable", STATS_GAUGE, {"source"}},
	{"weir_edge_source_http_collectd_empty_total", "Value lists of collectd without a number", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_connections", "Connections at the source's own address", STATS_GAUGE, {"source"}},
	{"weir_edge_source_http_requests_total", "Requests at the source's own address", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_denied_total", "Requests there whose token was missing, wrong or of another role", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_ended_total", "Connections there that were not let in, or put out", STATS_COUNTER, {"source"}},
	{"weir_edge_source_http_no_room_total", "Requests there for which no connection or memory was left", STATS_COUNTER, {"source"}},
};

static uint64_t sum(const uint64_t *values, size_t count)
{
	uint64_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += values[i];
	return n;
}

static void http_values(const struct source *s, uint64_t *ret_values)
{
	const struct http *h = (const struct http *)s;
	struct http_counters c = {0};
	if (h->server)
		http_counters(h->server, &c);
	const uint64_t values[] = {h->stored, h->partial, h->bad, h->busy, h->gone, h->waiting, h->empty, c.open, c.requests,
		sum(c.denied, HTTP_DENIALS), sum(c.ended, HTTP_WHYS), c.busy};
	memcpy(ret_values, values, sizeof(values));
}

const struct source_ops source_http_ops = {
	.size = sizeof(struct http),
	.start = http_start,
	.pause = http_pause,
	.drain = http_drain,
	.mark = http_mark,
	.committed = http_committed,
	.free = http_free,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = http_values,
};
