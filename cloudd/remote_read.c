#include "cloudd/remote_read.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/pinned_query.h"
#include "cloudd/remote_series.h"
#include "common/clock.h"
#include "common/codec_prometheus.h"
#include "common/err.h"
#include "common/prometheus_filter.h"
#include "common/prometheus_name.h"
#include "common/snappy_block.h"
#include "common/stats.h"

#define QUERY_ARGS_MAX 24
#define ROWS_BETWEEN 256 /* looks at the clock */
#define LOOK_NS (250 * NS_PER_MS) /* whether the server stops */
#define PROMETHEUS_TYPE "application/x-protobuf"

struct remote_read {
	const struct gather *gather;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	unsigned running, waiting;
	atomic_ullong answered, refused, failed, samples;
};

/* One request. */
struct reading {
	struct remote_read *rr;
	struct http_request *r;
	const struct topology *topology;
	bool final, stale;
	size_t bytes;     /* gathered */
	uint64_t samples;
	uint64_t steps;   /* that regular expressions may take yet */
	int64_t until_ns; /* on the monotonic clock */
	struct query_error error; /* status 0: none */
};

/* One of its queries, of one stream. */
struct asking {
	struct reading *reading;
	struct prometheus_filter *filter;
	const struct prometheus_query *query;
	const struct stream_conf *stream;
	struct remote_metric metrics[REMOTE_METRICS_MAX];
	size_t metric_count;
	int64_t size_min_ns, size_max_ns; /* of the windows of the stream's versions */
	struct query_arg args[QUERY_ARGS_MAX];
	size_t arg_count;
	char *values[QUERY_ARGS_MAX]; /* those to be freed */
	size_t value_count;
};

struct remote_read *remote_read_new(const struct gather *gather)
{
	struct remote_read *rr = xcalloc(1, sizeof(*rr));
	pthread_condattr_t attr;
	rr->gather = gather;
	pthread_mutex_init(&rr->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&rr->freed, &attr);
	pthread_condattr_destroy(&attr);
	return rr;
}

void remote_read_free(struct remote_read *rr)
{
	if (!rr)
		return;
	pthread_cond_destroy(&rr->freed);
	pthread_mutex_destroy(&rr->lock);
	free(rr);
}

static int fail(struct reading *x, unsigned status, const char *code, const char *text)
{
	x->error.status = status;
	x->error.code = code;
	snprintf(x->error.message, sizeof(x->error.message), "%s", text);
	return WEIR_EINVAL;
}

/* Whoever asked has given up by then, and the thread is wanted for others. */
static int check_time(struct reading *x)
{
	if (http_stopping(http_server_of(x->r)))
		return fail(x, 503, "unavailable", "this server is about to stop");
	if (clock_mono_ns() >= x->until_ns)
		return fail(x, 503, "unavailable", "the answer takes too long: ask for fewer streams or a shorter time");
	return 0;
}

/* ---- metrics of a stream that are asked for ---------------------------------------------------------------------------- */

static bool names_same(const char *stream, const char *a, const char *other, const char *b)
{
	struct buf x = {0}, y = {0};
	prometheus_metric_name(stream, a, &x);
	prometheus_metric_name(other, b, &y);
	bool same = x.len == y.len && !memcmp(x.data, y.data, x.len);
	buf_free(&x);
	buf_free(&y);
	return same;
}

static int add_metric(struct asking *a, const char *function)
{
	struct buf name = {0};
	prometheus_metric_name(a->stream->name, function, &name);
	if (!prometheus_filter_takes(a->filter, bytes_of("__name__", 8), bytes_of(name.data, name.len))) {
		buf_free(&name);
		return 0;
	}
	for (size_t i = 0; i < a->metric_count; i++) {
		const char *other = a->metrics[i].function;
		if (!names_same(a->stream->name, function, a->stream->name, other))
			continue;
		char text[QUERY_MESSAGE_MAX];
		snprintf(text, sizeof(text), "stream \"%s\": %.60s and %.60s become one metric", a->stream->name, function, other);
		buf_free(&name);
		return fail(a->reading, 400, "bad_request", text);
	}
	a->metrics[a->metric_count++] = (struct remote_metric){xstrdup(buf_cstr(&name)), function ? xstrdup(function) : NULL};
	buf_free(&name);
	return 0;
}

static bool is_metric(const struct asking *a, const char *function)
{
	bool is = false;
	for (size_t i = 0; i < a->metric_count; i++)
		is |= a->metrics[i].function && !strcmp(a->metrics[i].function, function);
	return is;
}

/* Any quantile can be had where one is computed; by its name, as nobody could list them all. */
static int add_quantile(struct asking *a)
{
	struct bytes name;
	char text[16];
	struct function_conf fn;
	if (!prometheus_filter_equals(a->filter, bytes_of("__name__", 8), &name) || !prometheus_quantile_of(name, a->stream->name, text) ||
	    is_metric(a, text) || function_parse(text, &fn))
		return 0;
	int rc = stream_computes(a->stream, &fn) ? add_metric(a, text) : 0;
	function_clear(&fn);
	return rc;
}

static int add_metrics(struct asking *a)
{
	const struct function_conf quantile = {.fn = FN_QUANTILE};
	int rc = 0;
	for (size_t i = 0; i < a->stream->compute_count && !rc; i++)
		rc = add_metric(a, a->stream->compute[i].text);
	if (!rc)
		rc = add_quantile(a);
	if (!rc && stream_computes(a->stream, &quantile))
		rc = add_metric(a, NULL);
	return rc;
}

/* ---- the question to a stream ------------------------------------------------------------------------------------------ */

/* Takes the value over. */
static void add_arg(struct asking *a, const char *name, char *value)
{
	weir_assert(a->arg_count < QUERY_ARGS_MAX);
	a->args[a->arg_count++] = (struct query_arg){name, value};
	a->values[a->value_count++] = value;
}

static void add_select(struct asking *a)
{
	struct buf list = {0};
	for (size_t i = 0; i < a->metric_count; i++) {
		if (!a->metrics[i].function)
			continue;
		buf_printf(&list, "%s%s", list.len ? "," : "", a->metrics[i].function);
	}
	if (!list.len) /* nothing but the sketch, which comes with any */
		buf_printf(&list, "%s", a->stream->compute[0].text);
	add_arg(a, "select", xstrdup(buf_cstr(&list)));
	buf_free(&list);
}

static void add_time(struct asking *a, const char *name, int64_t t_ns)
{
	char text[TIME_TEXT_MAX];
	if (t_ns <= TIME_MIN_NS || t_ns >= TIME_MAX_NS)
		return;
	time_format(t_ns, text);
	add_arg(a, name, xstrdup(text));
}

static int64_t ns_of(int64_t ms)
{
	return ms < TIME_MIN_NS / NS_PER_MS ? TIME_MIN_NS : ms > TIME_MAX_NS / NS_PER_MS ? TIME_MAX_NS : ms * NS_PER_MS;
}

/* Samples stand at the ends of windows, questions are about their starts: more than is wanted, where versions have other windows. */
static void add_times(struct asking *a)
{
	int64_t first_ns = ns_of(a->query->start_ms), last_ns = ns_of(a->query->end_ms);
	if (first_ns > TIME_MIN_NS + a->size_max_ns)
		add_time(a, "from", first_ns - a->size_max_ns);
	if (last_ns > TIME_MIN_NS + a->size_min_ns)
		add_time(a, "to", last_ns - a->size_min_ns + NS_PER_MS);
}

/* What a tag must equal is left to the shards, where it can be said: they need not tell of the rest. */
static void add_where(struct asking *a)
{
	for (size_t i = 0; i < a->stream->by_count; i++) {
		struct buf label = {0};
		struct bytes value;
		const char *tag = a->stream->by[i];
		prometheus_label_name(tag, &label);
		bool equals = prometheus_filter_equals(a->filter, bytes_of(label.data, label.len), &value);
		buf_free(&label);
		if (!equals || strchr(tag, '=') || value.n > GROUP_KEY_MAX || memchr(value.p, 0, value.n) ||
		    memmem(value.p, value.n, "\xef\xbf\xbd", 3))
			continue;
		add_arg(a, "where", xasprintf("%s=%.*s", tag, (int)value.n, (const char *)value.p));
	}
}

static void add_args(struct asking *a)
{
	add_arg(a, "stream", xstrdup(a->stream->name));
	add_select(a);
	add_times(a);
	add_where(a);
	if (a->reading->final)
		add_arg(a, "state", xstrdup("final"));
	if (a->reading->stale)
		add_arg(a, "stale", xstrdup("ok"));
}

static void find_sizes(struct asking *a)
{
	const struct topology *t = a->reading->topology;
	a->size_min_ns = a->size_max_ns = a->stream->size_ns;
	for (size_t i = 0; i < t->stream_count; i++) {
		int64_t size_ns = t->streams[i].size_ns;
		if (strcmp(t->streams[i].name, a->stream->name))
			continue;
		a->size_min_ns = size_ns < a->size_min_ns ? size_ns : a->size_min_ns;
		a->size_max_ns = size_ns > a->size_max_ns ? size_ns : a->size_max_ns;
	}
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* Rows on their way into series. */
struct taking {
	struct reading *reading;
	struct remote_series *series;
	uint64_t rows;
};

static int take_row(void *arg, const struct query_args *args, const struct partial_spec *spec, const struct row *row)
{
	struct taking *t = arg;
	int rc = t->rows++ % ROWS_BETWEEN ? 0 : check_time(t->reading);
	return rc ? rc : remote_series_add(t->series, args, spec, row);
}

static int gather_series(struct asking *a, struct pinned_query *p, struct buf *out)
{
	struct reading *x = a->reading;
	const struct remote_series_options o = {.filter = a->filter,
	    .metrics = a->metrics,
	    .metric_count = a->metric_count,
	    .start_ms = a->query->start_ms,
	    .end_ms = a->query->end_ms,
	    .bytes = &x->bytes};
	struct remote_series *series = remote_series_new(&o);
	struct taking taking = {.reading = x, .series = series};
	char reason[QUERY_REASON_MAX];
	int rc = query_each(p->query, take_row, &taking, reason);
	if (!rc)
		x->samples += remote_series_put(series, out);
	else if (x->error.status)
		; /* told already */
	else if (*remote_series_why(series))
		fail(x, 400, "bad_request", remote_series_why(series));
	else
		fail(x, rc == WEIR_ETOOBIG ? 400 : 503, rc == WEIR_ETOOBIG ? "bad_request" : "unavailable", reason);
	remote_series_free(series);
	return rc;
}

static int ask_stream(struct asking *a, struct buf *out)
{
	struct reading *x = a->reading;
	struct pinned_query *p;
	find_sizes(a);
	add_args(a);
	int rc = check_time(x);
	if (!rc)
		rc = pinned_query_open(x->rr->gather, http_server_of(x->r), a->args, a->arg_count, &p, &x->error);
	if (rc && x->error.status == 404) { /* a stream that went away meanwhile has no series */
		x->error = (struct query_error){0};
		return 0;
	}
	if (rc)
		return rc;
	rc = gather_series(a, p, out);
	pinned_query_close(p);
	return rc;
}

/* Not in the topology's text any more; what it has is answered all the same. */
static bool is_removed(const struct topology *t, const char *stream)
{
	return t->streams[topology_stream(t, stream)].phase >= STREAM_ENDED;
}

/* Another stream whose name becomes the same, of those that were removed or of the others; NULL: none. */
static const char *namesake(const struct asking *a, bool removed)
{
	const struct topology *t = a->reading->topology;
	for (size_t i = 0; i < t->stream_count; i++) {
		const char *other = t->streams[i].name;
		if (strcmp(other, a->stream->name) && names_same(a->stream->name, NULL, other, NULL) && is_removed(t, other) == removed)
			return other;
	}
	return NULL;
}

/* Streams whose names become one cannot be told from one another. */
static int check_name(struct asking *a, bool removed)
{
	const char *other = namesake(a, removed);
	if (!other)
		return 0;
	char text[QUERY_MESSAGE_MAX];
	snprintf(text, sizeof(text), "the streams \"%s\" and \"%s\" have one name in Prometheus", a->stream->name, other);
	return fail(a->reading, 400, "bad_request", text);
}

/* A stream that was removed gives its name to one that is there. */
static int try_series(struct asking *a, struct buf *out)
{
	bool removed = is_removed(a->reading->topology, a->stream->name);
	if (removed && namesake(a, false))
		return 0;
	int rc = check_name(a, removed);
	return rc ? rc : ask_stream(a, out);
}

static int try_stream(struct reading *x, struct prometheus_filter *f, const struct prometheus_query *q, const struct stream_conf *stream,
    struct buf *out)
{
	struct asking *a = xcalloc(1, sizeof(*a));
	*a = (struct asking){.reading = x, .filter = f, .query = q, .stream = stream};
	int rc = add_metrics(a);
	if (!rc && a->metric_count && remote_series_possible(f, stream->by, stream->by_count))
		rc = try_series(a, out);
	for (size_t i = 0; i < a->metric_count; i++) {
		free(a->metrics[i].name);
		free(a->metrics[i].function);
	}
	for (size_t i = 0; i < a->value_count; i++)
		free(a->values[i]);
	free(a);
	return rc;
}

/* Of times that windows can have. */
static bool is_possible(const struct prometheus_query *q)
{
	return q->start_ms <= q->end_ms && q->start_ms <= TIME_MAX_NS / NS_PER_MS && q->end_ms >= TIME_MIN_NS / NS_PER_MS;
}

static int answer_query(struct reading *x, const struct prometheus_query *q, struct buf *out)
{
	struct prometheus_filter *f;
	struct buf result = {0};
	char why[PROMETHEUS_WHY_MAX];
	if (prometheus_filter_new(q, &x->steps, &f, why))
		return fail(x, 400, "bad_request", why);
	int rc = 0;
	for (size_t i = 0; i < x->topology->stream_count && !rc && is_possible(q) && !prometheus_filter_spent(f); i++) {
		const struct stream_conf *s = &x->topology->streams[i];
		if (topology_stream(x->topology, s->name) == (int)i)
			rc = try_stream(x, f, q, s, &result);
	}
	if (!rc && prometheus_filter_spent(f))
		rc = fail(x, 400, "bad_request", "the matchers' expressions take too long");
	if (!rc)
		prometheus_result_put(bytes_of(result.data, result.len), out);
	buf_free(&result);
	prometheus_filter_free(f);
	return rc;
}

static int answer_all(struct reading *x, const struct prometheus_read *read, struct buf *out)
{
	int rc = 0;
	for (size_t i = 0; i < read->query_count && !rc; i++)
		rc = answer_query(x, &read->queries[i], out);
	return rc;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int take_args(struct reading *x)
{
	for (size_t i = 0; i < http_arg_count(x->r); i++) {
		const char *name = http_arg_name(x->r, i), *value = http_arg_value(x->r, i);
		char text[QUERY_MESSAGE_MAX];
		bool state = !strcmp(name, "state"), stale = !strcmp(name, "stale");
		snprintf(text, sizeof(text), "parameter %.60s=%.60s: only state=final and stale=ok are known", name, value);
		if ((!state || strcmp(value, "final")) && (!stale || strcmp(value, "ok")))
			return fail(x, 400, "bad_request", text);
		x->final |= state;
		x->stale |= stale;
	}
	return 0;
}

static int decode(struct reading *x, struct prometheus_read *ret)
{
	struct buf raw = {0};
	int rc = snappy_block_unpack(http_body(x->r), PROMETHEUS_READ_MAX, &raw);
	if (!rc)
		rc = prometheus_read_decode(bytes_of(raw.data, raw.len), ret);
	buf_free(&raw);
	if (rc == WEIR_ETOOBIG)
		return fail(x, 413, "too_large", "the request has more bytes, queries or matchers than are taken");
	return rc ? fail(x, 400, "bad_request", "the body is no ReadRequest (protobuf in a block of snappy)") : 0;
}

static void reply(struct reading *x, struct buf *response)
{
	struct buf block = {0};
	snappy_block_pack(bytes_of(response->data, response->len), &block);
	http_add_header(x->r, "Content-Encoding", "snappy");
	http_reply(x->r, 200, PROMETHEUS_TYPE, block.data, block.len);
	buf_free(&block);
	atomic_fetch_add(&x->rr->answered, 1);
	atomic_fetch_add(&x->rr->samples, x->samples);
}

static void reply_error(struct reading *x)
{
	if (x->error.status == 503)
		http_add_header(x->r, "Retry-After", "1");
	http_reply_error(x->r, x->error.status, x->error.code, "%s", x->error.message);
	atomic_fetch_add(x->error.status >= 500 ? &x->rr->failed : &x->rr->refused, 1);
}

static int answer(struct reading *x)
{
	struct prometheus_read read;
	struct buf response = {0};
	int rc = decode(x, &read);
	if (rc)
		return rc;
	rc = read.samples ? answer_all(x, &read, &response) : fail(x, 400, "bad_request", "only answers of the type SAMPLES are given");
	prometheus_read_clear(&read);
	if (!rc)
		reply(x, &response);
	buf_free(&response);
	return rc;
}

/* With the lock: until another request ends, or LOOK_NS. */
static void wait_freed(struct remote_read *rr)
{
	int64_t until_ns = clock_mono_ns() + LOOK_NS;
	const struct timespec until = {until_ns / NS_PER_SEC, until_ns % NS_PER_SEC};
	pthread_cond_timedwait(&rr->freed, &rr->lock, &until);
}

/* False: REMOTE_READS_MAX others run, and none ended in time, or too many wait for that. */
static bool enter(struct remote_read *rr, const struct http_server *server)
{
	int64_t until_ns = clock_mono_ns() + REMOTE_READ_WAIT_NS;
	pthread_mutex_lock(&rr->lock);
	bool waits = rr->running >= REMOTE_READS_MAX && rr->waiting < REMOTE_READS_WAITING_MAX;
	rr->waiting += waits;
	while (waits && rr->running >= REMOTE_READS_MAX && clock_mono_ns() < until_ns && !http_stopping(server))
		wait_freed(rr);
	rr->waiting -= waits;
	bool entered = rr->running < REMOTE_READS_MAX;
	rr->running += entered;
	pthread_mutex_unlock(&rr->lock);
	return entered;
}

static void leave(struct remote_read *rr)
{
	pthread_mutex_lock(&rr->lock);
	rr->running--;
	pthread_cond_signal(&rr->freed);
	pthread_mutex_unlock(&rr->lock);
}

void remote_read_handle(struct remote_read *rr, struct http_request *r)
{
	struct gather pinned = gather_pin(rr->gather);
	struct reading x = {.rr = rr, .r = r, .topology = pinned.topology, .steps = PROMETHEUS_STEPS_MAX};
	int rc = take_args(&x);
	bool entered = !rc && enter(rr, http_server_of(r));
	x.until_ns = clock_mono_ns() + REMOTE_READ_TIME_NS;
	if (!rc && !entered)
		rc = fail(&x, 503, "unavailable", "too many remote reads at a time");
	if (!rc)
		rc = answer(&x);
	if (rc)
		reply_error(&x);
	if (entered)
		leave(rr);
	gather_unpin(&pinned);
}

void remote_read_metrics(struct remote_read *rr, struct buf *out)
{
	static const struct stats_family requests = {"weir_cloud_remote_reads_total", "Remote reads of Prometheus", STATS_COUNTER, {"result"}};
	static const struct stats_family samples = {"weir_cloud_remote_read_samples_total", "Samples and histograms that they were told",
	    STATS_COUNTER, {NULL}};
	stats_write_head(out, &requests);
	stats_write_u64(out, &requests, (const char *[]){"answered"}, atomic_load(&rr->answered));
	stats_write_u64(out, &requests, (const char *[]){"refused"}, atomic_load(&rr->refused));
	stats_write_u64(out, &requests, (const char *[]){"failed"}, atomic_load(&rr->failed));
	stats_write_head(out, &samples);
	stats_write_u64(out, &samples, NULL, atomic_load(&rr->samples));
}
