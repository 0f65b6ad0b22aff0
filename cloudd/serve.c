#include "cloudd/serve.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/result.h"
#include "common/clock.h"
#include "common/err.h"

struct request {
	struct request *next;
	uint8_t *route;
	size_t route_len;
	uint8_t *frame;
	size_t frame_len;
	int64_t arrived_ns;
};

struct serve {
	struct serve_options o;
	pthread_t threads[SERVE_THREADS];
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct request *first, **last;
	unsigned queued;
	bool stopping;
};

/* ---- local answers --------------------------------------------------------------------------------------------- */

static bool holds(const struct serve *s, uint32_t shard)
{
	const struct topology *t = s->o.topology;
	return shard < t->shards && topology_shard_node(t, shard) == s->o.self;
}

static enum verdict answer_of(int rc, const char **ret_reason)
{
	switch (rc) {
	case 0:
		return VERDICT_OK;
	case WEIR_ENOTFOUND:
		*ret_reason = "unknown stream";
		return VERDICT_REFUSED;
	case WEIR_EVERSION:
		*ret_reason = "another version of the stream or of the protocol";
		return VERDICT_REFUSED;
	case WEIR_ECORRUPT:
		*ret_reason = "a stored record is damaged";
		return VERDICT_UNAVAILABLE;
	case WEIR_ETIMEOUT:
		*ret_reason = "it takes too long: ask for shorter windows, or less (where, by)";
		return VERDICT_UNAVAILABLE;
	case WEIR_EBUSY:
		*ret_reason = "too many readers";
		return VERDICT_BUSY;
	default:
		*ret_reason = err_text(rc);
		return VERDICT_UNAVAILABLE;
	}
}

static enum verdict wait_linearizable(struct serve *s, uint32_t shard, const char **ret_reason)
{
	uint32_t group = shard + 1;
	uint64_t index = progress_committed(s->o.progress, group);
	int rc = progress_wait(s->o.progress, group, index, SERVE_WAIT_NS);
	if (!rc)
		return VERDICT_OK;
	*ret_reason = rc == WEIR_ECLOSED ? "the node is stopping" : "the shard's state is behind its log";
	return VERDICT_UNAVAILABLE;
}

static int behind(struct kv_txn *txn, uint32_t shard, uint64_t committed, uint64_t *ret_behind)
{
	struct apply_group_info info = {0};
	int rc = apply_read_group(txn, shard + 1, &info);
	*ret_behind = committed > info.applied ? committed - info.applied : 0;
	return rc;
}

enum verdict serve_query(struct serve *s, uint32_t shard, bool linearizable, struct bytes spec, struct buf *rows,
    bool *ret_more, uint64_t *ret_behind, const char **ret_reason)
{
	if (!holds(s, shard)) {
		*ret_reason = "the shard is not held here";
		return VERDICT_UNAVAILABLE;
	}
	struct rows_spec decoded;
	const struct stream_conf *stream;
	int rc = rows_spec_decode(spec, s->o.topology, &decoded, &stream);
	if (rc) {
		answer_of(rc, ret_reason);
		return VERDICT_REFUSED;
	}
	int64_t deadline_ns = clock_mono_ns() + SERVE_TIME_NS;
	uint64_t committed = progress_committed(s->o.progress, shard + 1);
	enum verdict v = linearizable ? wait_linearizable(s, shard, ret_reason) : VERDICT_OK;
	if (v != VERDICT_OK)
		return v;
	struct kv_txn *txn;
	rc = kv_begin(s->o.state, false, &txn);
	if (rc)
		return answer_of(rc, ret_reason);
	rc = behind(txn, shard, committed, ret_behind);
	if (!rc)
		rc = result_query(s->o.topology, txn, shard, stream, &decoded, deadline_ns, rows, ret_more);
	kv_abort(txn);
	return answer_of(rc, ret_reason);
}

enum verdict serve_outbox(struct serve *s, uint32_t shard, const char *stream, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, const char **ret_reason)
{
	if (!holds(s, shard)) {
		*ret_reason = "the shard is not held here";
		return VERDICT_UNAVAILABLE;
	}
	int at = topology_stream(s->o.topology, stream);
	if (at < 0)
		return answer_of(WEIR_ENOTFOUND, ret_reason);
	struct kv_txn *txn;
	int rc = kv_begin(s->o.state, false, &txn);
	if (rc)
		return answer_of(rc, ret_reason);
	rc = result_outbox(
	    s->o.topology, txn, shard, &s->o.topology->streams[at], index, n, limit, rows, ret_reset);
	kv_abort(txn);
	return answer_of(rc, ret_reason);
}

size_t serve_groups(struct serve *s, struct msg_group_status *out)
{
	size_t n = node_groups(s->o.node, out);
	struct kv_txn *txn = NULL;
	if (kv_begin(s->o.state, false, &txn))
		txn = NULL;
	for (size_t i = 0; i < n; i++) {
		struct apply_group_info info = {0};
		out[i].node = s->o.topology->clouds[s->o.self].name;
		if (!txn || apply_read_group(txn, out[i].group, &info))
			continue;
		out[i].applied = info.applied;
		out[i].digest_hi = info.digest_hi;
		out[i].digest_lo = info.digest_lo;
		out[i].digest_index = info.applied;
	}
	kv_abort(txn);
	return n;
}

/* ---- streams: [count varint], then name, version, close, final, counts for each ---------------------------------- */

struct stream_gather {
	const struct topology *topology;
	struct serve_stream *streams;
};

static struct serve_stream *stream_of(struct stream_gather *g, const char *name, uint32_t version)
{
	int at = topology_stream(g->topology, name);
	return at >= 0 && g->topology->streams[at].version == version ? &g->streams[at] : NULL;
}

static void add_counts(void *arg, const struct shard_stream_counts *c)
{
	struct serve_stream *to = stream_of(arg, c->stream, c->version);
	if (!to)
		return;
	to->received += c->received;
	to->merged += c->merged;
	to->beyond_retain += c->dropped_beyond_retain;
	to->unknown_stream += c->dropped_unknown_stream;
	to->invalid += c->dropped_invalid;
	to->groups += c->groups;
	to->overflowed += c->overflowed;
}

static int read_meta(struct stream_gather *g, struct kv_txn *txn)
{
	struct meta_state meta = {0};
	int rc = meta_read(txn, &meta);
	if (rc)
		return rc;
	for (size_t i = 0; i < meta.stream_count; i++) {
		struct serve_stream *to = stream_of(g, meta.streams[i].name, meta.streams[i].version);
		if (to) {
			to->close_ns = meta.streams[i].close_ns;
			to->final_ns = meta.streams[i].final_ns;
		}
	}
	meta_state_clear(&meta);
	return 0;
}

static int gather_streams(struct serve *s, struct stream_gather *g)
{
	struct kv_txn *txn;
	int rc = kv_begin(s->o.state, false, &txn);
	if (rc)
		return rc;
	for (uint32_t shard = 0; shard < g->topology->shards && !rc; shard++)
		if (holds(s, shard))
			rc = shard_read_counts(txn, shard + 1, add_counts, g);
	if (!rc && s->o.self == META_NODE)
		rc = read_meta(g, txn);
	kv_abort(txn);
	return rc;
}

static int put_streams(struct serve *s, struct buf *out)
{
	const struct topology *t = s->o.topology;
	struct serve_stream *streams = xcalloc(t->stream_count, sizeof(*streams));
	for (uint32_t i = 0; i < t->stream_count; i++)
		streams[i].close_ns = streams[i].final_ns = WATERMARK_NONE;
	struct stream_gather g = {t, streams};
	int rc = gather_streams(s, &g);
	if (!rc)
		buf_varint(out, t->stream_count);
	for (uint32_t i = 0; i < t->stream_count && !rc; i++) {
		const struct serve_stream *x = &streams[i];
		buf_str(out, t->streams[i].name);
		buf_u32(out, t->streams[i].version);
		buf_svarint(out, x->close_ns);
		buf_svarint(out, x->final_ns);
		const uint64_t counts[] = {x->received, x->merged, x->beyond_retain, x->unknown_stream, x->invalid,
		    x->groups, x->overflowed};
		for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++)
			buf_varint(out, counts[k]);
	}
	free(streams);
	return rc;
}

static void add_stream(struct serve_stream *to, struct rd *r)
{
	int64_t close_ns = rd_svarint(r), final_ns = rd_svarint(r);
	to->close_ns = close_ns > to->close_ns ? close_ns : to->close_ns;
	to->final_ns = final_ns > to->final_ns ? final_ns : to->final_ns;
	to->received += rd_varint(r);
	to->merged += rd_varint(r);
	to->beyond_retain += rd_varint(r);
	to->unknown_stream += rd_varint(r);
	to->invalid += rd_varint(r);
	to->groups += rd_varint(r);
	to->overflowed += rd_varint(r);
}

int serve_streams_add(struct bytes raw, const struct topology *t, struct serve_stream *streams)
{
	struct rd r = rd_init(raw.p, raw.n);
	struct serve_stream ignored = {0}; /* a stream that this node does not know, or in another version */
	uint64_t n = rd_varint_max(&r, STREAMS_MAX);
	for (uint64_t i = 0; i < n && !r.err; i++) {
		char *name = rd_str(&r, NAME_MAX_BYTES);
		uint32_t version = rd_u32(&r);
		int at = name ? topology_stream(t, name) : -1;
		add_stream(at >= 0 && t->streams[at].version == version ? &streams[at] : &ignored, &r);
		free(name);
	}
	return rd_finish(&r);
}

enum verdict serve_status(struct serve *s, const char *what, struct buf *out, const char **ret_reason)
{
	int rc = 0;
	if (!strcmp(what, "streams")) {
		rc = put_streams(s, out);
	} else if (!strcmp(what, "edges")) {
		struct kv_txn *txn;
		rc = kv_begin(s->o.state, false, &txn);
		if (!rc) {
			node_edges_json(s->o.node, txn, out);
			kv_abort(txn);
		}
	} else {
		*ret_reason = "no such status";
		return VERDICT_REFUSED;
	}
	return answer_of(rc, ret_reason);
}

/* ---- for other nodes --------------------------------------------------------------------------------------------- */

static void handle_query(struct serve *s, const struct msg *m, struct msg *reply, struct buf *body)
{
	const char *reason = "";
	bool more = false;
	reply->type = MSG_QUERY_REPLY;
	reply->query_reply.shard = m->query.shard;
	reply->query_reply.verdict = serve_query(s, m->query.shard, m->query.linearizable, m->query.spec, body, &more,
	    &reply->query_reply.behind_entries, &reason);
	reply->query_reply.more = more;
	reply->query_reply.reason = reason;
	if (reply->query_reply.verdict == VERDICT_OK)
		reply->query_reply.rows = bytes_of(body->data, body->len);
}

static void handle_outbox(struct serve *s, const struct msg *m, struct msg *reply, struct buf *body)
{
	const char *reason = "";
	bool reset = false;
	uint64_t index = m->outbox.index;
	uint32_t n = m->outbox.n;
	reply->type = MSG_OUTBOX_REPLY;
	reply->outbox_reply.shard = m->outbox.shard;
	reply->outbox_reply.verdict =
	    serve_outbox(s, m->outbox.shard, m->outbox.stream, &index, &n, m->outbox.limit, body, &reset, &reason);
	reply->outbox_reply.index = index;
	reply->outbox_reply.n = n;
	reply->outbox_reply.reset = reset;
	reply->outbox_reply.reason = reason;
	if (reply->outbox_reply.verdict == VERDICT_OK)
		reply->outbox_reply.rows = bytes_of(body->data, body->len);
}

static void handle_status(struct serve *s, const struct msg *m, struct msg *reply, struct buf *body,
    struct msg_group_status *groups)
{
	const char *reason = "";
	reply->type = MSG_STATUS_REPLY;
	reply->status_reply.verdict = VERDICT_OK;
	if (!strcmp(m->status.what, "groups")) {
		reply->status_reply.group_count = serve_groups(s, groups);
		reply->status_reply.groups = groups;
	} else {
		reply->status_reply.verdict = serve_status(s, m->status.what, body, &reason);
		if (reply->status_reply.verdict == VERDICT_OK)
			reply->status_reply.json = bytes_of(body->data, body->len);
	}
	reply->status_reply.reason = reason;
}

static void send_reply(struct serve *s, struct bytes route, const struct msg *asked, struct msg *reply)
{
	uint8_t id[CLUSTER_ID_BYTES];
	struct buf frame = {0};
	reply->req_id = asked->req_id;
	reply->from = s->o.topology->clouds[s->o.self].name;
	if (node_cluster_id(s->o.node, id))
		reply->cluster_id = bytes_of(id, sizeof(id));
	if (msg_encode(reply, &frame)) { /* a single row, or a list of edges, over the frame's size */
		struct msg error = {.type = MSG_ERROR, .req_id = asked->req_id, .from = reply->from,
		    .cluster_id = reply->cluster_id};
		error.error.verdict = VERDICT_REFUSED;
		error.error.reason = "the answer does not fit a frame";
		weir_assert(msg_encode(&error, &frame) == 0);
	}
	s->o.reply(s->o.arg, route, frame.data, frame.len);
	buf_free(&frame);
}

static void handle_request(struct serve *s, const struct request *q)
{
	struct msg m;
	if (msg_decode(q->frame, q->frame_len, &m))
		return; /* the node has decoded it before */
	struct msg reply = {0};
	struct buf body = {0};
	struct msg_group_status *groups = xcalloc(GROUPS_PER_STATUS_MAX, sizeof(*groups));
	if (m.type == MSG_QUERY)
		handle_query(s, &m, &reply, &body);
	else if (m.type == MSG_OUTBOX)
		handle_outbox(s, &m, &reply, &body);
	else if (m.type == MSG_STATUS)
		handle_status(s, &m, &reply, &body, groups);
	if (reply.type != MSG_NONE)
		send_reply(s, bytes_of(q->route, q->route_len), &m, &reply);
	free(groups);
	buf_free(&body);
	msg_clear(&m);
}

static void request_free(struct request *q)
{
	free(q->route);
	free(q->frame);
	free(q);
}

static void *reader_run(void *arg)
{
	struct serve *s = arg;
	pthread_mutex_lock(&s->mutex);
	while (!s->stopping) {
		struct request *q = s->first;
		if (!q) {
			pthread_cond_wait(&s->changed, &s->mutex);
			continue;
		}
		s->first = q->next;
		if (!s->first)
			s->last = &s->first;
		s->queued--;
		pthread_mutex_unlock(&s->mutex);
		if (clock_mono_ns() - q->arrived_ns < SERVE_TIME_NS)
			handle_request(s, q);
		else
			stats_add(s->o.busy, 1); /* the asker has given up */
		request_free(q);
		pthread_mutex_lock(&s->mutex);
	}
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

struct serve *serve_new(const struct serve_options *o)
{
	struct serve *s = xcalloc(1, sizeof(*s));
	s->o = *o;
	s->last = &s->first;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->changed, NULL);
	for (int i = 0; i < SERVE_THREADS; i++)
		weir_assert(pthread_create(&s->threads[i], NULL, reader_run, s) == 0);
	return s;
}

void serve_free(struct serve *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	for (int i = 0; i < SERVE_THREADS; i++)
		pthread_join(s->threads[i], NULL);
	while (s->first) {
		struct request *q = s->first;
		s->first = q->next;
		request_free(q);
	}
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

static void refuse_busy(struct serve *s, struct bytes route, const void *frame, size_t len)
{
	struct msg m;
	stats_add(s->o.busy, 1);
	if (msg_decode(frame, len, &m))
		return;
	struct msg reply = {.type = MSG_ERROR};
	reply.error.verdict = VERDICT_BUSY;
	reply.error.reason = "too many requests are waiting";
	send_reply(s, route, &m, &reply);
	msg_clear(&m);
}

static uint8_t *copy_of(const void *p, size_t n)
{
	uint8_t *c = xmalloc(n);
	memcpy(c, p, n);
	return c;
}

void serve_frame(struct serve *s, struct bytes route, const void *frame, size_t len)
{
	pthread_mutex_lock(&s->mutex);
	bool full = s->queued >= SERVE_QUEUE_MAX;
	if (!full) {
		struct request *q = xcalloc(1, sizeof(*q));
		q->route = copy_of(route.p, route.n);
		q->route_len = route.n;
		q->frame = copy_of(frame, len);
		q->frame_len = len;
		q->arrived_ns = clock_mono_ns();
		*s->last = q;
		s->last = &q->next;
		s->queued++;
		pthread_cond_signal(&s->changed);
	}
	pthread_mutex_unlock(&s->mutex);
	if (full)
		refuse_busy(s, route, frame, len);
}
