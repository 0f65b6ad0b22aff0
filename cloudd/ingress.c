#include "cloudd/ingress.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

#define BUCKETS 4096
#define SWEEP_EVERY_NS NS_PER_SEC

struct session {
	uint8_t route[ORIGIN_ROUTE_MAX];
	uint8_t route_len;
	uint32_t edge;
	uint32_t in_flight;      /* batches not answered */
	uint64_t in_flight_bytes;
	int64_t heard_ns;
	bool left;               /* its edge talks through another session now */
	struct session *next; /* of the bucket */
};

struct ingress {
	const struct topology *topology;
	const char *self_name;
	struct ingress_io io;
	bool has_id;
	uint8_t id[CLUSTER_ID_BYTES];
	struct session *buckets[BUCKETS];
	struct session **latest; /* by edge: the session it spoke through last, or NULL */
	int64_t swept_ns;
	struct buf frame;
	struct ingress_counters counters;
};

struct ingress *ingress_new(const struct topology *t, const char *self_name,
    const struct ingress_io *io)
{
	struct ingress *in = xcalloc(1, sizeof(*in));
	in->topology = t;
	in->self_name = self_name;
	in->io = *io;
	in->latest = xcalloc(t->edge_count, sizeof(struct session *));
	return in;
}

void ingress_set_topology(struct ingress *in, const struct topology *t)
{
	weir_assert(t->edge_count >= in->topology->edge_count);
	in->latest = xrealloc(in->latest, (t->edge_count + 1) * sizeof(struct session *));
	for (size_t i = in->topology->edge_count; i < t->edge_count; i++)
		in->latest[i] = NULL;
	in->topology = t;
}

void ingress_free(struct ingress *in)
{
	if (!in)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (in->buckets[i]) {
			struct session *s = in->buckets[i];
			in->buckets[i] = s->next;
			free(s);
		}
	}
	free(in->latest);
	buf_free(&in->frame);
	free(in);
}

void ingress_set_cluster_id(struct ingress *in, const uint8_t id[CLUSTER_ID_BYTES])
{
	memcpy(in->id, id, CLUSTER_ID_BYTES);
	in->has_id = true;
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */

static size_t bucket_of(struct bytes route)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	for (size_t i = 0; i < route.n; i++)
		h = (h ^ route.p[i]) * UINT64_C(1099511628211);
	return (size_t)(h % BUCKETS);
}

static struct session *session_find(const struct ingress *in, struct bytes route)
{
	struct session *s = in->buckets[bucket_of(route)];
	while (s && (s->route_len != route.n || memcmp(s->route, route.p, route.n) != 0))
		s = s->next;
	return s;
}

static void session_end(struct ingress *in, struct session *s)
{
	struct session **at = &in->buckets[bucket_of(bytes_of(s->route, s->route_len))];
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (in->latest[s->edge] == s)
		in->latest[s->edge] = NULL;
	free(s);
	in->counters.sessions--;
}

static struct session *session_new(struct ingress *in, struct bytes route, uint32_t edge)
{
	struct session *s = xcalloc(1, sizeof(*s));
	memcpy(s->route, route.p, route.n);
	s->route_len = (uint8_t)route.n;
	s->edge = edge;
	size_t bucket = bucket_of(route);
	s->next = in->buckets[bucket];
	in->buckets[bucket] = s;
	in->counters.sessions++;
	return s;
}

/* An edge that reconnects has a new route each time: its session before ends as soon as nothing is in flight there, so
 * that a fleet that flaps does not use up the table. */
static void session_takes_over(struct ingress *in, struct session *s)
{
	struct session *before = in->latest[s->edge];
	in->latest[s->edge] = s;
	s->left = false;
	if (!before || before == s)
		return;
	before->left = true;
	if (!before->in_flight)
		session_end(in, before);
}

static struct session *session_get(struct ingress *in, struct bytes route, uint32_t edge, int64_t mono_ns)
{
	struct session *s = session_find(in, route);
	if (s && s->edge != edge) {
		if (s->in_flight)
			return NULL; /* one connection under two names: after the first one's batches */
		session_end(in, s);
		s = NULL;
	}
	if (!s && in->counters.sessions >= INGRESS_SESSIONS_MAX)
		return NULL;
	if (!s)
		s = session_new(in, route, edge);
	s->heard_ns = mono_ns;
	session_takes_over(in, s);
	return s;
}

void ingress_tick(struct ingress *in, int64_t mono_ns)
{
	if (mono_ns - in->swept_ns < SWEEP_EVERY_NS)
		return;
	in->swept_ns = mono_ns;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct session *s = in->buckets[i], *next; s; s = next) {
			next = s->next;
			if (!s->in_flight && mono_ns - s->heard_ns >= INGRESS_IDLE_MS * NS_PER_MS)
				session_end(in, s);
		}
	}
}

static uint64_t credit(const struct ingress *in)
{
	uint64_t share = INGRESS_BYTES_MAX / (in->counters.sessions ? in->counters.sessions : 1);
	if (share > INGRESS_CREDIT_MAX)
		return INGRESS_CREDIT_MAX;
	return share < INGRESS_CREDIT_MIN ? INGRESS_CREDIT_MIN : share;
}

static bool account(struct ingress *in, struct session *s, size_t n)
{
	/* Twice the credit: what was sent before a smaller credit arrived, and what is sent again, is not an offence. */
	bool first = s->in_flight == 0;
	if (in->counters.in_flight_bytes + n > INGRESS_BYTES_MAX || (!first && s->in_flight_bytes + n > 2 * credit(in)))
		return false;
	s->in_flight++;
	s->in_flight_bytes += n;
	in->counters.in_flight_bytes += n;
	return true;
}

void ingress_drop(struct ingress *in, const struct origin *o)
{
	if (!o->counted)
		return;
	struct session *s = session_find(in, bytes_of(o->route, o->route_len));
	weir_assert(s && s->in_flight && s->in_flight_bytes >= o->bytes); /* with something in flight it is kept */
	s->in_flight--;
	s->in_flight_bytes -= o->bytes;
	in->counters.in_flight_bytes -= o->bytes;
	if (s->left && !s->in_flight)
		session_end(in, s);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

void ingress_send(struct ingress *in, struct bytes route, struct msg *m)
{
	m->from = in->self_name;
	m->cluster_id = in->has_id ? bytes_of(in->id, CLUSTER_ID_BYTES) : (struct bytes){0};
	buf_clear(&in->frame);
	if (msg_encode(m, &in->frame) || !in->io.reply(in->io.arg, route, in->frame.data, in->frame.len))
		in->counters.replies_lost++;
	else
		in->counters.replies++;
}

static void fill_reply(const struct ingress *in, const struct origin *o, const char *edge, const struct answer *a,
    struct msg *m)
{
	const char *reason = a->reason ? a->reason : "";
	uint64_t credit_bytes = o->forwarded ? 0 : credit(in);
	if (o->type == MSG_HELLO) {
		m->type = MSG_HELLO_REPLY;
		m->hello_reply.edge = edge;
		m->hello_reply.verdict = a->verdict;
		m->hello_reply.epoch = a->epoch;
		m->hello_reply.claim = bytes_of(o->claim, CLAIM_BYTES);
		m->hello_reply.resume = a->resume;
		m->hello_reply.readmitted = a->readmitted;
		m->hello_reply.credit_bytes = credit_bytes;
		m->hello_reply.cluster_id = in->has_id ? bytes_of(in->id, CLUSTER_ID_BYTES) : (struct bytes){0};
		m->hello_reply.reason = reason;
		m->hello_reply.map_version = in->topology->map_version;
	} else if (o->type == MSG_OPEN) {
		m->type = MSG_OPEN_REPLY;
		m->open_reply.edge = edge;
		m->open_reply.shard = o->shard;
		m->open_reply.verdict = a->verdict;
		m->open_reply.epoch = a->epoch;
		m->open_reply.last = a->last;
		m->open_reply.reason = reason;
	} else if (o->type == MSG_BATCH) {
		m->type = MSG_BATCH_REPLY;
		m->batch_reply.edge = edge;
		m->batch_reply.shard = o->shard;
		m->batch_reply.seq = o->seq;
		m->batch_reply.verdict = a->verdict;
		m->batch_reply.epoch = a->epoch;
		m->batch_reply.last = a->last;
		m->batch_reply.credit_bytes = credit_bytes;
		m->batch_reply.reason = reason;
	} else if (o->type == MSG_REPORT) {
		m->type = MSG_REPORT_REPLY;
		m->report_reply.edge = edge;
		m->report_reply.verdict = a->verdict;
		m->report_reply.sent_mono_ns = o->sent_mono_ns;
		m->report_reply.epoch = a->epoch;
		m->report_reply.credit_bytes = credit_bytes;
		m->report_reply.reason = reason;
		m->report_reply.map_version = in->topology->map_version;
	} else if (o->type == MSG_ADVANCE) {
		m->type = MSG_ADVANCE_REPLY;
		m->advance_reply.shard = o->shard;
		m->advance_reply.verdict = a->verdict;
		m->advance_reply.meta_index = a->meta_index;
	} else if (o->type == MSG_READMIT) {
		m->type = MSG_READMIT_REPLY;
		m->readmit_reply.edge = edge;
		m->readmit_reply.verdict = a->verdict;
		m->readmit_reply.reason = reason;
	} else if (o->type == MSG_TOPOLOGY) {
		m->type = MSG_TOPOLOGY_REPLY;
		m->topology_reply.verdict = a->verdict;
		m->topology_reply.version = a->map_version;
		m->topology_reply.reason = reason;
	} else if (o->type == MSG_REVOKE) {
		m->type = MSG_REVOKE_REPLY;
		m->revoke_reply.verdict = a->verdict;
		m->revoke_reply.version = a->map_version;
		m->revoke_reply.reason = reason;
	} else {
		m->type = MSG_ERROR;
		m->error.verdict = a->verdict;
		m->error.reason = reason;
	}
}

static void answer_edge(struct ingress *in, const struct origin *o, const char *edge, const struct answer *a)
{
	struct msg m = {.req_id = o->req_id};
	ingress_drop(in, o); /* before the credit is worked out */
	fill_reply(in, o, edge, a, &m);
	ingress_send(in, bytes_of(o->route, o->route_len), &m);
}

void ingress_answer(struct ingress *in, const struct origin *o, const struct answer *a)
{
	weir_assert(!o->local);
	answer_edge(in, o, o->edge == ORIGIN_NO_EDGE ? "" : in->topology->edges[o->edge].name, a);
}

static void refuse(struct ingress *in, const struct origin *o, enum verdict v, const char *reason)
{
	ingress_answer(in, o, &(struct answer){.verdict = v, .reason = reason});
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

bool ingress_origin(struct ingress *in, struct bytes route, const struct msg *m, struct origin *ret_origin)
{
	if (route.n > ORIGIN_ROUTE_MAX) {
		in->counters.refused_route++;
		return false;
	}
	struct origin o = {.type = m->type, .route_len = (uint8_t)route.n, .req_id = m->req_id, .edge = ORIGIN_NO_EDGE,
	    .forwarded = true};
	memcpy(o.route, route.p, route.n);
	*ret_origin = o;
	return true;
}

static const char *fill_origin(const struct msg *m, struct origin *o)
{
	if (m->type == MSG_HELLO) {
		if (m->hello.claim.n == CLAIM_BYTES)
			memcpy(o->claim, m->hello.claim.p, CLAIM_BYTES);
		return m->hello.edge;
	}
	if (m->type == MSG_OPEN) {
		o->shard = m->open.shard;
		return m->open.edge;
	}
	if (m->type == MSG_BATCH) {
		o->shard = m->batch.shard;
		o->seq = m->batch.seq;
		return m->batch.edge;
	}
	weir_assert(m->type == MSG_REPORT);
	o->sent_mono_ns = m->report.sent_mono_ns;
	return m->report.edge;
}

void ingress_refuse(struct ingress *in, struct bytes route, const struct msg *m, const char *reason)
{
	struct origin o;
	if (!ingress_origin(in, route, m, &o))
		return;
	const char *edge = fill_origin(m, &o);
	answer_edge(in, &o, edge, &(struct answer){.verdict = VERDICT_REFUSED, .reason = reason});
}

/* An edge that was never granted anything has no cluster id yet; only its hello may come without. */
static bool cluster_fits(const struct ingress *in, const struct msg *m)
{
	if (m->cluster_id.n == 0)
		return m->type == MSG_HELLO;
	return m->cluster_id.n == CLUSTER_ID_BYTES && memcmp(m->cluster_id.p, in->id, CLUSTER_ID_BYTES) == 0;
}

static bool check_edge(struct ingress *in, const struct msg *m, const char *edge, struct origin *o)
{
	o->forwarded = strcmp(m->from, edge) != 0;
	int known = topology_edge(in->topology, edge);
	o->edge = known < 0 ? ORIGIN_NO_EDGE : (uint32_t)known;
	if (known < 0 || (o->forwarded && topology_cloud(in->topology, m->from) < 0)) {
		in->counters.refused_edge++;
		/* A node that forwards may be new, or have been removed, and one of the two does not know it yet: that is no word
		 * against the edge. */
		bool other = known >= 0 && topology_edge(in->topology, m->from) < 0;
		answer_edge(in, o, edge, &(struct answer){.verdict = other ? VERDICT_UNAVAILABLE : VERDICT_REFUSED,
					     .reason = known < 0 ? "this edge is not in the topology"
					             : other ? "the sender is no node that is known here"
					                     : "the sender is not the edge that it names"});
		return false;
	}
	return true;
}

static bool check_cluster(struct ingress *in, const struct msg *m, const struct origin *o)
{
	if (!in->has_id) {
		refuse(in, o, VERDICT_UNAVAILABLE, "this node does not know the cluster's id yet");
		return false;
	}
	bool name_fits = m->type != MSG_HELLO || strcmp(m->hello.cluster, in->topology->cluster) == 0;
	if (!name_fits || !cluster_fits(in, m)) {
		in->counters.refused_cluster++;
		refuse(in, o, VERDICT_REFUSED, name_fits ? "foreign cluster id" : "foreign cluster name");
		return false;
	}
	return true;
}

static bool check_session(struct ingress *in, struct bytes route, const struct msg *m, int64_t mono_ns,
    struct origin *o)
{
	if (o->forwarded)
		return true;
	struct session *s = session_get(in, route, o->edge, mono_ns);
	if (s && m->type != MSG_BATCH)
		return true;
	if (s && account(in, s, m->batch.body.n)) {
		o->counted = true;
		o->bytes = (uint32_t)m->batch.body.n;
		return true;
	}
	in->counters.busy++;
	refuse(in, o, VERDICT_BUSY, s ? "over the credit" : "too many sessions");
	return false;
}

bool ingress_accept(struct ingress *in, struct bytes route, const struct msg *m, int64_t mono_ns,
    struct origin *ret_origin)
{
	struct origin o;
	in->counters.frames++;
	if (!ingress_origin(in, route, m, &o))
		return false;
	const char *edge = fill_origin(m, &o);
	if (!check_edge(in, m, edge, &o) || !check_cluster(in, m, &o))
		return false;
	if ((m->type == MSG_OPEN || m->type == MSG_BATCH) && o.shard >= in->topology->shards) {
		refuse(in, &o, VERDICT_REFUSED, "no such shard");
		return false;
	}
	if (!check_session(in, route, m, mono_ns, &o))
		return false;
	*ret_origin = o;
	return true;
}

const struct ingress_counters *ingress_counters(const struct ingress *in)
{
	return &in->counters;
}
