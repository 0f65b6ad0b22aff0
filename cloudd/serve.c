/* Requests of other nodes: queues, the threads that answer, and the messages. */
#include "cloudd/serve.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/serve_parts.h"
#include "common/clock.h"
#include "common/err.h"

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static void handle_query(struct serve *s, const struct msg *m, struct msg *reply, struct buf *body)
{
	const char *reason = "";
	bool more = false;
	struct serve_age age = {0};
	reply->type = MSG_QUERY_REPLY;
	reply->query_reply.shard = m->query.shard;
	reply->query_reply.verdict =
	    serve_query(s, m->query.shard, m->query.linearizable, m->query.spec, m->query.map_version, body, &more, &age, &reason);
	reply->query_reply.behind_entries = age.behind_entries;
	reply->query_reply.age_ns = age.age_ns;
	reply->query_reply.kept_ns = age.kept_ns;
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
	    serve_outbox(s, m->outbox.shard, m->outbox.stream, m->outbox.version, &index, &n, m->outbox.limit, body, &reset, NULL, &reason);
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

static void handle_snapshot(struct serve *s, const struct msg *m, struct msg *reply, struct buf *body)
{
	reply->type = MSG_SNAPSHOT_REPLY;
	if (s->o.snapshots) {
		snapshots_serve(s->o.snapshots, m, clock_mono_ns(), body, reply);
		if (reply->snapshot_reply.reason == snapshot_damaged && s->o.damaged)
			s->o.damaged(s->o.arg, m->snapshot.group);
		return;
	}
	reply->snapshot_reply.group = m->snapshot.group;
	reply->snapshot_reply.id = m->snapshot.id;
	reply->snapshot_reply.chunk = m->snapshot.chunk;
	reply->snapshot_reply.verdict = VERDICT_UNAVAILABLE;
	reply->snapshot_reply.reason = "no snapshots are made here";
}

static void send_reply(struct serve *s, struct bytes route, const struct msg *asked, struct msg *reply)
{
	uint8_t id[CLUSTER_ID_BYTES];
	struct buf frame = {0};
	reply->req_id = asked->req_id;
	reply->from = s->name;
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

static void handle_request(struct serve *s, const struct serve_request *q)
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
	else if (m.type == MSG_SNAPSHOT)
		handle_snapshot(s, &m, &reply, &body);
	if (reply.type != MSG_NONE)
		send_reply(s, bytes_of(q->route, q->route_len), &m, &reply);
	serve_groups_clear(groups, GROUPS_PER_STATUS_MAX);
	free(groups);
	buf_free(&body);
	msg_clear(&m);
}

/* ---- queues and threads ------------------------------------------------------------------------------------------ */

static void request_free(struct serve_request *q)
{
	free(q->route);
	free(q->frame);
	free(q);
}

static struct serve_request *take_request(struct serve_queue *queue)
{
	struct serve_request *q = queue->first;
	queue->first = q->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->queued--;
	return q;
}

static void *reader_run(void *arg)
{
	struct serve_queue *queue = arg;
	struct serve *s = queue->serve;
	pthread_mutex_lock(&s->mutex);
	while (!s->stopping) {
		if (!queue->first) {
			pthread_cond_wait(&queue->changed, &s->mutex);
			continue;
		}
		struct serve_request *q = take_request(queue);
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
	static const unsigned threads[SERVE_LANES] = {SERVE_THREADS, 1, SERVE_SNAPSHOT_THREADS};
	struct serve *s = xcalloc(1, sizeof(*s));
	s->o = *o;
	s->groups = topology_groups(o->topology);
	s->name = xstrdup(o->topology->clouds[o->self].name);
	pthread_mutex_init(&s->mutex, NULL);
	for (unsigned lane = 0; lane < SERVE_LANES; lane++) {
		struct serve_queue *queue = &s->queues[lane];
		queue->serve = s;
		queue->last = &queue->first;
		pthread_cond_init(&queue->changed, NULL);
		for (unsigned i = 0; i < threads[lane]; i++)
			weir_assert(pthread_create(&s->threads[s->thread_count++], NULL, reader_run, queue) == 0);
	}
	return s;
}

void serve_free(struct serve *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	s->stopping = true;
	for (unsigned lane = 0; lane < SERVE_LANES; lane++)
		pthread_cond_broadcast(&s->queues[lane].changed);
	pthread_mutex_unlock(&s->mutex);
	for (unsigned i = 0; i < s->thread_count; i++)
		pthread_join(s->threads[i], NULL);
	for (unsigned lane = 0; lane < SERVE_LANES; lane++) {
		while (s->queues[lane].first)
			request_free(take_request(&s->queues[lane]));
		pthread_cond_destroy(&s->queues[lane].changed);
	}
	pthread_mutex_destroy(&s->mutex);
	free(s->name);
	free(s);
}

static enum serve_lane lane_of(enum msg_type type)
{
	return type == MSG_STATUS ? SERVE_STATUS : type == MSG_SNAPSHOT ? SERVE_SNAPSHOTS : SERVE_READS;
}

static void refuse_busy(struct serve *s, struct bytes route, const struct msg *m)
{
	struct msg reply = {.type = MSG_ERROR};
	stats_add(s->o.busy, 1);
	reply.error.verdict = VERDICT_BUSY;
	reply.error.reason = "too many requests are waiting";
	send_reply(s, route, m, &reply);
}

static uint8_t *copy_of(const void *p, size_t n)
{
	uint8_t *c = xmalloc(n);
	memcpy(c, p, n);
	return c;
}

static bool add_request(struct serve *s, enum serve_lane lane, struct bytes route, const void *frame, size_t len)
{
	struct serve_queue *queue = &s->queues[lane];
	pthread_mutex_lock(&s->mutex);
	bool full = queue->queued >= SERVE_QUEUE_MAX;
	if (!full) {
		struct serve_request *q = xcalloc(1, sizeof(*q));
		q->route = copy_of(route.p, route.n);
		q->route_len = route.n;
		q->frame = copy_of(frame, len);
		q->frame_len = len;
		q->arrived_ns = clock_mono_ns();
		*queue->last = q;
		queue->last = &q->next;
		queue->queued++;
		pthread_cond_signal(&queue->changed);
	}
	pthread_mutex_unlock(&s->mutex);
	return !full;
}

void serve_frame(struct serve *s, struct bytes route, const void *frame, size_t len)
{
	struct msg m;
	if (msg_decode(frame, len, &m))
		return; /* the node has decoded it before */
	if (!add_request(s, lane_of(m.type), route, frame, len))
		refuse_busy(s, route, &m);
	msg_clear(&m);
}
