/* Results to Prometheus, or what speaks its remote write, version 1: snappy blocks of WriteRequests.
 *
 * Such a receiver takes each series in the order of time, and keeps what it has: a sample for an earlier time, or another value for a
 * time that it has, is refused, and with it the whole request that holds it, none of which is kept (storage/remote/write_handler.go). Then
 * fewer samples are sent, down to one, which is passed over when it is refused by itself, and its row counted. Anything else is
 * not about the samples: all come again, but for those that are known to have arrived. Nor is a refusal without one of the reasons that
 * such receivers have, of one that has never taken a sample: that is said by proxies, and by whoever is at a wrong address. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/pieces.h"
#include "cloudd/post.h"
#include "cloudd/remote_write.h"
#include "cloudd/sink.h"
#include "cloudd/sink_secret.h"
#include "common/err.h"
#include "common/secret.h"
#include "common/snappy_block.h"

struct sink_remote_write {
	struct sink sink;
	struct post *post;
	struct remote_write *samples; /* of the batch */
	struct buf headers, token;    /* token: the whole header */
	struct buf raw, block;        /* of the request */
	struct remote_write_arrived arrived;
	uint64_t requests, refused, sent, passed_over; /* sent: that arrived */
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_remote_write_requests_total", "requests that were answered", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_remote_write_refused_total", "requests of which the receiver refused a sample: sent again in smaller pieces",
	    STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_remote_write_samples_total", "samples and histograms that the receiver took", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_remote_write_refused_samples_total", "samples and histograms that it refused for good", STATS_COUNTER, {"sink"}},
};

static void values(const struct sink *s, uint64_t *ret_values)
{
	const struct sink_remote_write *w = (const struct sink_remote_write *)s;
	ret_values[0] = w->requests;
	ret_values[1] = w->refused;
	ret_values[2] = w->sent;
	ret_values[3] = w->passed_over;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/* It becomes a line of a request. */
static bool is_token(const struct buf *b)
{
	bool is = b->len > 0;
	for (size_t i = 0; i < b->len; i++)
		is &= b->data[i] > ' ' && b->data[i] < 0x7f;
	return is;
}

static int read_token(struct sink_remote_write *w, const char *path, char **ret_why)
{
	struct buf token = {0};
	int rc = sink_secret_read(path, &token, ret_why);
	if (!rc && !is_token(&token)) {
		*ret_why = xasprintf("%s holds no token: printable ASCII without spaces", path);
		rc = WEIR_EINVAL;
	}
	if (!rc)
		buf_printf(&w->token, "Authorization: Bearer %.*s", (int)token.len, (const char *)token.data);
	secret_free(&token);
	return rc;
}

static bool is_stopping(void *arg)
{
	return sink_stopping(arg);
}

static int begin_post(struct sink_remote_write *w, char **ret_why)
{
	const struct sink_conf *c = w->sink.conf;
	struct buf password = {0};
	int rc = c->remote_write.password_file ? sink_secret_read(c->remote_write.password_file, &password, ret_why) : 0;
	if (!rc)
		w->post = post_new(&(struct post_options){.url = c->remote_write.url, .ca_file = c->remote_write.ca_file,
		    .user = c->remote_write.user, .password = c->remote_write.user ? buf_cstr(&password) : NULL,
		    .timeout_ns = c->remote_write.timeout_ns, .arg = &w->sink, .stopping = is_stopping});
	secret_free(&password);
	return rc;
}

static int remote_write_open(struct sink *s, char **ret_why)
{
	struct sink_remote_write *w = (struct sink_remote_write *)s;
	const struct sink_conf *c = s->conf;
	int rc = 0;
	w->samples = remote_write_new(&(struct remote_write_options){c->remote_write.labels, c->remote_write.label_count,
	    c->remote_write.histograms});
	if (c->remote_write.headers_file)
		rc = sink_headers_read(c->remote_write.headers_file, &w->headers, ret_why);
	if (!rc && c->remote_write.token_file)
		rc = read_token(w, c->remote_write.token_file, ret_why);
	return rc ? rc : begin_post(w, ret_why);
}

static void remote_write_close(struct sink *s)
{
	struct sink_remote_write *w = (struct sink_remote_write *)s;
	post_free(w->post);
	w->post = NULL;
	remote_write_free(w->samples);
	w->samples = NULL;
	secret_free(&w->headers);
	secret_free(&w->token);
	buf_free(&w->raw);
	buf_free(&w->block);
}

/* ---- one request --------------------------------------------------------------------------------------------------- */

static int send_block(struct sink_remote_write *w, struct post_answer *ret_answer, char **ret_why)
{
	const char *headers[SINK_HEADERS_MAX + 4] = {"Content-Type: application/x-protobuf", "Content-Encoding: snappy",
	    "X-Prometheus-Remote-Write-Version: 0.1.0"};
	size_t count = 3 + sink_headers(&w->headers, &headers[3]);
	if (w->token.len)
		headers[count++] = buf_cstr(&w->token);
	buf_clear(&w->block);
	snappy_block_pack(bytes_of(w->raw.data, w->raw.len), &w->block);
	int rc = post_send(w->post, headers, count, bytes_of(w->block.data, w->block.len), ret_answer, ret_why);
	w->requests += !rc;
	return rc;
}

/* What Prometheus 2.42 answers for a sample that is beyond its out_of_order_time_window. */
static bool is_about_samples(const struct post_answer *a)
{
	return a->status == 400 || a->status == 413 || a->status == 422 || (a->status == 500 && strstr(a->body, "too old sample"));
}

/* Nobody says this who does not take samples. */
static bool is_well_known(const struct post_answer *a)
{
	static const char *const reasons[] = {"out of order", "out-of-order", "out of bounds", "too old", "duplicate sample"};
	bool is = false;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		is |= strstr(a->body, reasons[i]) != NULL;
	return is;
}

static char *answer_text(const struct post_answer *a)
{
	int n = (int)strnlen(a->body, 200);
	while (n && a->body[n - 1] == ' ')
		n--;
	const char *hint = strstr(a->body, "native histograms are disabled") ?
		"; start it with --enable-feature=native-histograms, or say `histograms: false`" : "";
	return xasprintf("it answers %ld%s%.*s%s", a->status, n ? ": " : "", n, a->body, hint);
}

/* ---- delivering ---------------------------------------------------------------------------------------------------- */

struct refusals {
	uint64_t samples, rows;
	size_t row;  /* the last one's: one row's samples follow one another */
	bool unsure; /* one was for another reason */
	char *why;   /* of the first */
};

static void note_refused(struct sink_remote_write *w, size_t i, const struct post_answer *a, struct refusals *r)
{
	const struct remote_write_sample *s = remote_write_at(w->samples, i);
	r->rows += !r->samples || s->row != r->row;
	r->row = s->row;
	r->unsure |= !is_well_known(a);
	if (!r->samples++) {
		struct buf which = {0};
		char *answer = answer_text(a);
		remote_write_describe(w->samples, i, &which);
		r->why = xasprintf("%s (%s)", answer, buf_cstr(&which));
		free(answer);
		buf_free(&which);
	}
}

static void note_taken(struct sink_remote_write *w, size_t from, size_t n)
{
	w->sent += n;
	for (size_t i = from; i < from + n; i++)
		remote_write_note(&w->arrived, remote_write_at(w->samples, i));
}

static int send_samples(struct sink_remote_write *w, struct refusals *r, char **ret_why)
{
	const struct sink_conf *c = w->sink.conf;
	struct pieces p = pieces_of(remote_write_count(w->samples), c->remote_write.batch_samples);
	while (pieces_left(&p)) {
		struct post_answer a;
		size_t at = p.at, n = remote_write_request(w->samples, at, pieces_left(&p), c->remote_write.batch_bytes, &w->raw);
		int rc = sink_stopping(&w->sink) ? WEIR_ECLOSED : send_block(w, &a, ret_why);
		if (rc)
			return rc;
		if (a.status >= 200 && a.status < 300) {
			note_taken(w, at, n);
			pieces_taken(&p, n);
		} else if (!is_about_samples(&a)) {
			*ret_why = answer_text(&a);
			w->sink.wait_ns = a.retry_after_ns;
			return WEIR_EIO;
		} else {
			w->refused++;
			if (pieces_refused(&p, n))
				note_refused(w, at, &a, r);
		}
	}
	return 0;
}

static int remote_write_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	struct sink_remote_write *w = (struct sink_remote_write *)s;
	struct refusals r = {0};
	remote_write_make(w->samples, b, &w->arrived);
	int rc = send_samples(w, &r, ret_why);
	if (!rc && r.unsure && !w->sent) {
		*ret_why = xasprintf("every sample is refused, so it may not be what it should be: %s", r.why);
		rc = WEIR_EIO;
	}
	if (!rc && r.rows) { /* not before all is delivered: it would be counted again */
		w->passed_over += r.samples;
		sink_rejected(s, r.rows, r.why);
	}
	if (!rc && remote_write_lost(w->samples))
		sink_rejected(s, remote_write_lost(w->samples), "their tags are another group's, but for what is no UTF-8: Prometheus has one series for both");
	free(r.why);
	return rc;
}

const struct sink_ops sink_remote_write_ops = {
	.size = sizeof(struct sink_remote_write),
	.open = remote_write_open,
	.deliver = remote_write_deliver,
	.close = remote_write_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
