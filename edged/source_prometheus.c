/* Scrapes exporters of Prometheus metrics at an interval.
 *
 *           due                 answer                      end of the text
 *   IDLE ---------> ASKING ----------------> READING ----------------------> IDLE      each URL by itself
 *                     | failed (no answer in time, status, too big, cut off): up is 0     ^
 *                     +-------------------------------------------------------------------+
 *
 * An answer counts whole: it is read once all of it is there, in bounded pieces a turn. All its samples have the time at which
 * it was asked for, unless they bring their own. Due while the last one is not done, or while paused: skipped and counted.
 * A scrape without its secret (no file, or one that others may read) has failed; the next one reads the file again.
 * There is no mark: what nobody asked for is gone, and an answer that was not committed is gone with the process. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/secret.h"
#include "edged/http_get.h"
#include "edged/schedule.h"
#include "edged/scrape.h"
#include "edged/source_impl.h"

#define SECRET_LINE_MAX 4096 /* of a token or a password */
#define OPENMETRICS "application/openmetrics-text"
#define ACCEPT "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"

enum target_state { TARGET_IDLE, TARGET_ASKING, TARGET_READING };

struct target {
	struct prometheus *source;
	const char *url;
	char *instance;
	enum target_state state;
	struct schedule schedule;
	struct loop_timer *timer, *pump;
	struct http_get *fetch;     /* ASKING */
	int64_t began_ns;        /* mono */
	double seconds;          /* READING, as the rest: */
	char *failed;            /* why there is nothing to read; NULL: there is */
	struct buf body;
	struct prom_text text;
	struct scrape scrape;
	uint64_t samples;
	bool up, down;           /* neither: not asked yet */
};

struct prometheus {
	struct source base;
	struct source_parser parser;
	struct http_getter *fetcher; /* NULL: not started */
	struct target *targets;
	size_t target_count;
	struct buf lines;
	uint64_t scrapes, failures, skipped, filtered;
};

static struct prometheus *prometheus_of(struct source *s)
{
	return (struct prometheus *)s;
}

static const struct scrape_conf *conf_of(const struct target *t)
{
	return &t->source->base.conf->scrape;
}

/* ---- secrets ----------------------------------------------------------------------------------------------- */

/* One line of a file of mode 0600, as text of its own: wiped by forget(). NULL with *ret_why. */
static char *read_secret(const char *path, char **ret_why)
{
	struct buf b = {0};
	if (secret_read(path, &b, ret_why))
		return NULL;
	size_t n = b.len;
	while (n && strchr("\r\n ", b.data[n - 1]))
		n--;
	bool fine = n > 0 && n <= SECRET_LINE_MAX;
	for (size_t i = 0; i < n; i++)
		fine = fine && b.data[i] >= ' ' && b.data[i] != 0x7f;
	char *text = fine ? xstrndup((const char *)b.data, n) : NULL;
	if (!fine)
		*ret_why = xasprintf("%s holds no secret: one line of at most %d characters", path, SECRET_LINE_MAX);
	secret_free(&b);
	return text;
}

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void pump(struct target *t)
{
	if (!t->source->base.paused)
		loop_timer_start(t->pump, SOURCE_PUMP_MS, 0);
}

static void refuse(struct target *t, const char *reason, const char *why)
{
	struct source *s = &t->source->base;
	s->counters.refused++;
	s->io.refuse(s->io.arg, reason);
	if (why && source_may_log(s))
		log_warn("source", "line refused: %s; source=%s url=%s line=%" PRIu64 " reason=%s", why, s->conf->name, t->url,
		    t->text.line, reason);
}

/* Not finite is what an exporter says of what it has not measured yet: nothing to be logged. */
static void take_sample(struct target *t, const struct prom_sample *sample, enum prom_error e)
{
	const char *reason;
	if (e != PROM_FINE) {
		refuse(t, scrape_refusal(e), prom_error_text(e));
		return;
	}
	t->samples++;
	if (!scrape_wants(conf_of(t), sample->name))
		t->source->filtered++;
	else if ((reason = scrape_put(&t->scrape, sample, &t->source->lines)))
		refuse(t, reason, NULL);
}

static void give_out(struct prometheus *p)
{
	line_parser_feed(&p->parser.lines, p->lines.data, p->lines.len);
	buf_clear(&p->lines);
}

/* Whether there is more. */
static bool read_piece(struct target *t)
{
	const uint8_t *from = t->text.at;
	struct prom_sample sample;
	enum prom_error e;
	while (t->text.at - from < SOURCE_TURN_BYTES) {
		if (!prom_text_next(&t->text, &sample, &e))
			return false;
		take_sample(t, &sample, e);
	}
	return true;
}

/* Once for each time that it goes down, and comes back. */
static void tell(struct target *t)
{
	const char *name = t->source->base.conf->name;
	if (t->failed && !t->down)
		log_warn("source", "cannot scrape: %s; source=%s url=%s", t->failed, name, t->url);
	if (!t->failed && t->down)
		log_info("source", "scraped again; source=%s url=%s", name, t->url);
	t->down = t->failed != NULL;
	t->up = !t->failed;
}

static void end_scrape(struct target *t)
{
	struct prometheus *p = t->source;
	tell(t);
	p->scrapes++;
	p->failures += t->failed != NULL;
	scrape_put_own(&t->scrape, t->up, t->seconds, t->samples, &p->lines);
	give_out(p);
	free(t->failed);
	t->failed = NULL;
	buf_free(&t->body);
	t->state = TARGET_IDLE;
}

static void on_pump(void *arg)
{
	struct target *t = arg;
	if (t->source->base.paused || t->state != TARGET_READING)
		return;
	bool more = !t->failed && read_piece(t);
	give_out(t->source);
	if (more)
		pump(t);
	else
		end_scrape(t);
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static bool is_type(const char *content_type, const char *type)
{
	size_t n = strlen(type);
	return !strncasecmp(content_type, type, n) && (!content_type[n] || strchr("; \t", content_type[n]));
}

/* OpenMetrics says where it ends, so that an answer that was cut off cannot pass for a whole one. */
static bool ends_with_eof(const struct buf *body)
{
	size_t n = body->len;
	n -= n && body->data[n - 1] == '\n';
	return n >= 5 && !memcmp(body->data + n - 5, "# EOF", 5);
}

/* Why an answer is none; NULL: it is one. */
static char *judge(const struct target *t, const struct http_get_answer *a)
{
	char within[TIME_TEXT_MAX];
	duration_format(conf_of(t)->timeout_ns, within);
	if (a->timed_out)
		return xasprintf("no whole answer within %s", within);
	if (a->error)
		return xstrdup(a->error);
	if (a->status != 200)
		return xasprintf("HTTP %ld%s", a->status,
		    a->status == 401 || a->status == 403 ? ": is it the right token_file or password_file?" : "");
	if (is_type(a->content_type, "text/html") || is_type(a->content_type, "application/json") ||
	    is_type(a->content_type, "application/vnd.google.protobuf"))
		return xasprintf("these are no metrics in a text format: Content-Type %.80s", a->content_type);
	if (is_type(a->content_type, OPENMETRICS) && !ends_with_eof(&a->body))
		return xstrdup("the answer was cut off: no # EOF at its end");
	return NULL;
}

static void begin_reading(struct target *t, char *failed)
{
	t->failed = failed;
	t->state = TARGET_READING;
	t->seconds = (double)(clock_mono_ns() - t->began_ns) / (double)NS_PER_SEC;
	pump(t);
}

static void on_answer(void *arg, struct http_get_answer *a)
{
	struct target *t = arg;
	char *failed = judge(t, a);
	t->fetch = NULL;
	t->source->base.counters.bytes += a->body.len;
	if (!failed) {
		t->body = a->body;
		a->body = (struct buf){0};
	}
	prom_text_init(&t->text, bytes_of(t->body.data, t->body.len), is_type(a->content_type, OPENMETRICS));
	begin_reading(t, failed);
}

static void ask(struct target *t)
{
	const struct scrape_conf *c = conf_of(t);
	char *why = NULL;
	char *token = c->token_file ? read_secret(c->token_file, &why) : NULL;
	char *password = c->password_file && !why ? read_secret(c->password_file, &why) : NULL;
	struct http_get_request r = {.url = t->url,
	    .accept = ACCEPT,
	    .token = token,
	    .user = c->user,
	    .password = password,
	    .ca_file = c->ca_file,
	    .timeout_ms = c->timeout_ns / NS_PER_MS,
	    .body_max = (size_t)c->body_bytes};
	t->state = TARGET_ASKING;
	t->began_ns = clock_mono_ns();
	t->scrape.time_ns = clock_wall_ns();
	t->samples = 0;
	if (why)
		begin_reading(t, why);
	else
		t->fetch = http_get_start(t->source->fetcher, &r, on_answer, t);
	forget(token);
	forget(password);
}

static void schedule(struct target *t, int64_t now_ns)
{
	loop_timer_start(t->timer, schedule_wait_ms(&t->schedule, now_ns), 0);
}

static void on_due(void *arg)
{
	struct target *t = arg;
	int64_t now = clock_mono_ns();
	uint64_t missed = 0;
	bool due = schedule_due(&t->schedule, now, &missed);
	bool free_now = t->state == TARGET_IDLE && !t->source->base.paused;
	if (due && free_now)
		ask(t);
	t->source->skipped += missed + (due && !free_now);
	schedule(t, now);
}

/* ---- the source --------------------------------------------------------------------------------------------- */

static void target_open(struct target *t, struct prometheus *p, const char *url)
{
	const struct source *s = &p->base;
	int64_t every = s->conf->scrape.every_ns, mono = clock_mono_ns();
	t->source = p;
	t->url = url;
	t->instance = scrape_instance(url);
	t->scrape = (struct scrape){.conf = &s->conf->scrape, .job = s->conf->name, .instance = t->instance};
	t->timer = loop_timer_new(s->loop, on_due, t);
	t->pump = loop_timer_new(s->loop, on_pump, t);
	schedule_init(&t->schedule, every, schedule_offset_ns(every, s->io.edge, s->conf->name, url), clock_wall_ns(), mono);
	schedule(t, mono);
}

static void target_close(struct target *t)
{
	if (t->fetch)
		http_get_cancel(t->fetch);
	loop_timer_free(t->timer);
	loop_timer_free(t->pump);
	buf_free(&t->body);
	scrape_free(&t->scrape);
	free(t->failed);
	free(t->instance);
}

static int prometheus_start(struct source *s, char **ret_why)
{
	(void)ret_why; /* a secret that is not there is looked for with each scrape */
	struct prometheus *p = prometheus_of(s);
	const struct model_texts *urls = &s->conf->scrape.urls;
	source_parser_init(&p->parser, s);
	p->fetcher = http_getter_new(s->loop);
	p->targets = xcalloc(urls->count, sizeof(p->targets[0]));
	for (; p->target_count < urls->count; p->target_count++)
		target_open(&p->targets[p->target_count], p, urls->items[p->target_count]);
	return 0;
}

static void prometheus_pause(struct source *s)
{
	struct prometheus *p = prometheus_of(s);
	for (size_t i = 0; i < p->target_count; i++)
		if (p->targets[i].state == TARGET_READING)
			pump(&p->targets[i]);
}

static void prometheus_set_conf(struct source *s)
{
	struct prometheus *p = prometheus_of(s);
	for (size_t i = 0; i < p->target_count; i++) {
		struct target *t = &p->targets[i];
		t->url = s->conf->scrape.urls.items[i];
		t->scrape.conf = &s->conf->scrape;
		t->scrape.job = s->conf->name;
	}
}

static void prometheus_free(struct source *s)
{
	struct prometheus *p = prometheus_of(s);
	if (!p->fetcher)
		return;
	for (size_t i = 0; i < p->target_count; i++)
		target_close(&p->targets[i]);
	free(p->targets);
	http_getter_free(p->fetcher);
	source_parser_free(&p->parser);
	buf_free(&p->lines);
}

static const struct stats_family families[] = {
	{"weir_edge_source_scrapes_total", "Scrapes, failed ones too", STATS_COUNTER, {"source"}},
	{"weir_edge_source_scrapes_failed_total", "Scrapes that gave no metrics", STATS_COUNTER, {"source"}},
	{"weir_edge_source_scrapes_skipped_total", "Scrapes left out: the one before was not done, or sources are not read", STATS_COUNTER,
	    {"source"}},
	{"weir_edge_source_samples_filtered_total", "Samples that include and exclude leave out", STATS_COUNTER, {"source"}},
	{"weir_edge_source_scrape_targets", "URLs that are scraped", STATS_GAUGE, {"source"}},
	{"weir_edge_source_scrape_targets_up", "URLs whose last scrape gave metrics", STATS_GAUGE, {"source"}},
};

static void prometheus_values(const struct source *s, uint64_t *ret_values)
{
	const struct prometheus *p = (const struct prometheus *)s;
	uint64_t up = 0;
	for (size_t i = 0; i < p->target_count; i++)
		up += p->targets[i].up;
	const uint64_t values[] = {p->scrapes, p->failures, p->skipped, p->filtered, p->target_count, up};
	memcpy(ret_values, values, sizeof(values));
}

const struct source_ops source_prometheus_ops = {
	.size = sizeof(struct prometheus),
	.start = prometheus_start,
	.pause = prometheus_pause,
	.set_conf = prometheus_set_conf,
	.free = prometheus_free,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = prometheus_values,
};
