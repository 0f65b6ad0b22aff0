/* Results POSTed as JSON, {"sink", "node", "rows": [...]}, a bounded number of rows at a time; signed where there is a secret. Events of
 * alerts likewise, with {"rows": [], "alerts": [...]}.
 *
 * 2xx: delivered. 400, 413, 422: the receiver does not want what is in it. Then fewer rows are sent, down to one, which, where it is
 * refused by itself, is passed over, counted and told of: one row that a receiver cannot take holds nothing up. Anything
 * else (no answer, 401, 404, 429, 500 ...) is not about the rows: all come again, but for those that were taken: else a receiver that
 * wants a rest after so many requests would never have a whole batch. Nor is a 400 of one that has never taken a row: that is said by
 * proxies, and by whoever is at a wrong address, of anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cloudd/alert_json.h"
#include "cloudd/pieces.h"
#include "cloudd/post.h"
#include "cloudd/sink.h"
#include "cloudd/sink_secret.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/secret.h"
#include "common/sign.h"
#include "common/url.h"

#define SIGNATURE_BYTES 160
#define TAKEN_MAX 2048 /* items of batches that failed; the oldest are forgotten */
_Static_assert(SINK_BATCH_ALERTS <= SINK_BATCH_ROWS, "items of a batch");

/* A row, or an event of an alert. */
struct item {
	size_t at, bytes; /* of the text */
	uint64_t id;      /* a hash of it */
	bool taken;
};

struct sink_webhook {
	struct sink sink;
	struct post *post;
	bool is_private;    /* the address */
	struct buf headers; /* lines, each with its NUL, of headers_file */
	struct buf secret;
	struct buf body;
	struct buf text;                    /* of the batch */
	struct item items[SINK_BATCH_ROWS]; /* ... that are to be sent */
	size_t item_count;
	uint64_t skipped[SINK_BATCH_ROWS];  /* ... that are not: ids */
	size_t skipped_count;
	uint64_t taken[TAKEN_MAX];          /* of batches that failed: ids, the oldest first */
	size_t taken_count;
	bool has_taken; /* a row, ever */
	uint64_t requests, refused;
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_webhook_requests_total", "requests that were answered", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_webhook_refused_total", "requests whose rows the receiver did not want: sent again in smaller pieces", STATS_COUNTER, {"sink"}},
};

static void values(const struct sink *s, uint64_t *ret_values)
{
	const struct sink_webhook *w = (const struct sink_webhook *)s;
	ret_values[0] = w->requests;
	ret_values[1] = w->refused;
}

/* ---- secrets ------------------------------------------------------------------------------------------------------- */

static int read_secrets(struct sink_webhook *w, char **ret_why)
{
	const struct sink_conf *c = w->sink.conf;
	int rc = 0;
	if (c->webhook.secret_file)
		rc = sink_secret_read(c->webhook.secret_file, &w->secret, ret_why);
	if (!rc && c->webhook.headers_file)
		rc = sink_headers_read(c->webhook.headers_file, &w->headers, ret_why);
	if (!rc && c->webhook.headers_file && !w->is_private) {
		*ret_why = xasprintf("the headers of %s would travel unencrypted: the address must be https://", c->webhook.headers_file);
		rc = WEIR_EINVAL;
	}
	return rc;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static bool is_stopping(void *arg)
{
	return sink_stopping(arg);
}

static int begin_post(struct sink_webhook *w, const char *url, char **ret_why)
{
	const char *problem = url_problem(url);
	if (problem) {
		*ret_why = xasprintf("the address in %s: %s", w->sink.conf->webhook.url_file, problem);
		return WEIR_EINVAL;
	}
	w->is_private = url_is_private(url);
	w->post = post_new(&(struct post_options){.url = url, .ca_file = w->sink.conf->webhook.ca_file,
	    .timeout_ns = w->sink.conf->webhook.timeout_ns, .arg = &w->sink, .stopping = is_stopping});
	return 0;
}

static int webhook_open(struct sink *s, char **ret_why)
{
	struct sink_webhook *w = (struct sink_webhook *)s;
	struct buf url = {0};
	if (s->conf->webhook.url)
		return begin_post(w, s->conf->webhook.url, ret_why);
	int rc = sink_secret_read(s->conf->webhook.url_file, &url, ret_why);
	if (!rc)
		rc = begin_post(w, buf_cstr(&url), ret_why);
	secret_free(&url);
	return rc;
}

static void webhook_close(struct sink *s)
{
	struct sink_webhook *w = (struct sink_webhook *)s;
	post_free(w->post);
	w->post = NULL;
	secret_free(&w->headers);
	secret_free(&w->secret);
	buf_free(&w->body);
	buf_free(&w->text);
	w->headers = w->secret = (struct buf){0};
}

/* ---- one request --------------------------------------------------------------------------------------------------- */

/* t=SECONDS,v1=HMAC: of the seconds, a dot, and the body. */
static void sign(const struct sink_webhook *w, char out[SIGNATURE_BYTES])
{
	char stamp[32], hex[SIGN_HEX_BYTES];
	int n = snprintf(stamp, sizeof(stamp), "%lld.", (long long)(clock_wall_ns() / NS_PER_SEC));
	const struct bytes parts[] = {bytes_of(stamp, (size_t)n), bytes_of(w->body.data, w->body.len)};
	sign_hmac_sha256(bytes_of(w->secret.data, w->secret.len), parts, 2, hex);
	snprintf(out, SIGNATURE_BYTES, "X-Weir-Signature: t=%.*s,v1=%s", n - 1, stamp, hex);
}

static int send_body(struct sink_webhook *w, struct post_answer *ret_answer, char **ret_why)
{
	const char *headers[SINK_HEADERS_MAX + 2] = {"Content-Type: application/json"};
	char signature[SIGNATURE_BYTES];
	size_t count = 1 + sink_headers(&w->headers, &headers[1]);
	if (w->secret.len) {
		sign(w, signature);
		headers[count++] = signature;
	}
	int rc = post_send(w->post, headers, count, bytes_of(w->body.data, w->body.len), ret_answer, ret_why);
	w->requests += !rc;
	return rc;
}

/* What is delivered: rows, or events of alerts. */
struct load {
	const struct sink_row *rows; /* NULL: alerts */
	const struct alert_event *alerts;
	size_t count;
};

static void put_one(const struct load *l, size_t i, struct buf *out)
{
	if (l->rows)
		sink_row_json(&l->rows[i], out);
	else
		alert_event_json(&l->alerts[i], out);
}

/* ---- what was taken of batches that failed ------------------------------------------------------------------------ */

/* TAKEN_MAX: it was not. */
static size_t place_of(const struct sink_webhook *w, uint64_t id)
{
	size_t i = 0;
	while (i < w->taken_count && w->taken[i] != id)
		i++;
	return i < w->taken_count ? i : TAKEN_MAX;
}

static void forget(struct sink_webhook *w, size_t at)
{
	w->taken_count--;
	memmove(&w->taken[at], &w->taken[at + 1], (w->taken_count - at) * sizeof(w->taken[0]));
}

static void make_items(struct sink_webhook *w, const struct load *l)
{
	w->item_count = w->skipped_count = 0;
	buf_clear(&w->text);
	for (size_t i = 0; i < l->count; i++) {
		struct item x = {.at = w->text.len};
		put_one(l, i, &w->text);
		x.bytes = w->text.len - x.at;
		x.id = XXH3_64bits(w->text.data + x.at, x.bytes);
		if (place_of(w, x.id) == TAKEN_MAX)
			w->items[w->item_count++] = x;
		else
			w->skipped[w->skipped_count++] = x.id;
	}
}

static void keep_taken(struct sink_webhook *w)
{
	for (size_t i = 0; i < w->item_count; i++) {
		if (!w->items[i].taken)
			continue;
		if (w->taken_count == TAKEN_MAX)
			forget(w, 0);
		w->taken[w->taken_count++] = w->items[i].id;
	}
}

/* All of the batch is taken, and does not come again. */
static void forget_skipped(struct sink_webhook *w)
{
	for (size_t i = 0; i < w->skipped_count; i++) {
		size_t at = place_of(w, w->skipped[i]);
		if (at < TAKEN_MAX)
			forget(w, at);
	}
}

/* ---- requests of a batch ------------------------------------------------------------------------------------------- */

/* The next items, as many as may go at once: into the body. Returns how many: one at least. */
static size_t put_some(struct sink_webhook *w, const struct load *l, size_t from, size_t max)
{
	struct buf *b = &w->body;
	size_t n = 0;
	buf_clear(b);
	buf_printf(b, "{\"sink\": \"%s\", \"node\": \"%s\", %s", w->sink.conf->name, w->sink.node, l->rows ? "\"rows\": [" : "\"rows\": [], \"alerts\": [");
	for (; n < max; n++) {
		const struct item *x = &w->items[from + n];
		if (n && b->len + 2 + x->bytes > w->sink.conf->webhook.batch_bytes)
			break;
		buf_printf(b, n ? ",\n" : "\n");
		buf_put(b, w->text.data + x->at, x->bytes);
	}
	buf_printf(b, "\n]}\n");
	return n;
}

static bool is_about_rows(long status)
{
	return status == 400 || status == 413 || status == 422;
}

static char *answer_text(const struct post_answer *a)
{
	return xasprintf("it answers %ld%s%.200s", a->status, *a->body ? ": " : "", a->body);
}

/* ---- delivering ---------------------------------------------------------------------------------------------------- */

struct rejects {
	uint64_t count;
	bool unsure; /* one was by 400 */
	char *why;   /* of the first */
};

static void reject(struct rejects *r, const struct post_answer *a)
{
	r->unsure |= a->status == 400;
	if (!r->count++)
		r->why = answer_text(a);
}

static int deliver_load(struct sink_webhook *w, const struct load *l, struct rejects *r, char **ret_why)
{
	struct pieces p = pieces_of(w->item_count, w->sink.conf->webhook.batch_rows);
	while (pieces_left(&p)) {
		struct post_answer a;
		size_t n = put_some(w, l, p.at, pieces_left(&p));
		int rc = sink_stopping(&w->sink) ? WEIR_ECLOSED : send_body(w, &a, ret_why);
		if (rc)
			return rc;
		if (a.status >= 200 && a.status < 300) {
			for (size_t i = p.at; i < p.at + n; i++)
				w->items[i].taken = true;
			pieces_taken(&p, n);
			w->has_taken = true;
		} else if (!is_about_rows(a.status)) {
			*ret_why = answer_text(&a);
			w->sink.wait_ns = a.retry_after_ns;
			return WEIR_EIO;
		} else {
			w->refused++;
			if (pieces_refused(&p, n))
				reject(r, &a);
		}
	}
	return 0;
}

static int deliver(struct sink *s, const struct load *l, char **ret_why)
{
	struct sink_webhook *w = (struct sink_webhook *)s;
	struct rejects r = {0};
	int rc = read_secrets(w, ret_why);
	make_items(w, l);
	if (!rc)
		rc = deliver_load(w, l, &r, ret_why);
	if (!rc && r.unsure && !w->has_taken) {
		*ret_why = xasprintf("all is refused, so it may not be what it should be: %s", r.why);
		rc = WEIR_EIO;
	}
	if (!rc && r.count) /* not before all is delivered: it would be counted again */
		(l->rows ? sink_rejected : sink_rejected_alerts)(s, r.count, r.why);
	free(r.why);
	if (rc)
		keep_taken(w);
	else
		forget_skipped(w);
	return rc;
}

static int webhook_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	return deliver(s, &(struct load){.rows = b->rows, .count = b->count}, ret_why);
}

static int webhook_alerts(struct sink *s, const struct sink_alerts *b, char **ret_why)
{
	return deliver(s, &(struct load){.alerts = b->events, .count = b->count}, ret_why);
}

const struct sink_ops sink_webhook_ops = {
	.size = sizeof(struct sink_webhook),
	.open = webhook_open,
	.deliver = webhook_deliver,
	.alerts = webhook_alerts,
	.close = webhook_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
