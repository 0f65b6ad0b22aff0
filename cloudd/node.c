#include "cloudd/node.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/consensus.h"
#include "cloudd/ingress.h"
#include "cloudd/leader.h"
#include "cloudd/meta.h"
#include "cloudd/route.h"
#include "cloudd/view.h"
#include "common/clock.h"
#include "common/err.h"

#define META_GROUP 0
#define INFO_EVERY_MS 500
#define INFO_FOREIGN_EVERY_MS 5000
#define READMITS_MAX 64

struct readmit {
	uint64_t id; /* 0: free */
	int64_t deadline_ns;
	void (*done)(void *arg, enum verdict verdict, const char *reason);
	void *arg;
};

struct node {
	const struct topology *topology;
	uint32_t self;
	const char *name;
	struct kv *state;
	struct node_io io;
	struct node_time now;
	struct consensus *consensus;
	struct ingress *ingress;
	struct route *route;
	struct leader **leaders; /* by shard; NULL where another node holds it */
	struct meta *meta;       /* on META_NODE */
	struct view *view;
	struct readmit readmits[READMITS_MAX];
	uint64_t next_readmit;
	bool has_id;      /* the cluster id is known and durable here */
	bool confirmed;   /* and the meta node, asked in this start, has the same */
	bool foreign;     /* it has another one: nothing is served */
	int64_t info_due_ns;
	bool meta_started;
	char *failed;     /* beside what consensus says */
	struct node_counters counters;
	struct leader_counters leader_counters;
	struct buf frame;
};

static struct leader_time leader_now(const struct node *n)
{
	return (struct leader_time){n->now.wall_ns, n->now.mono_ns};
}

static struct meta_time meta_now(const struct node *n)
{
	return (struct meta_time){n->now.wall_ns, n->now.mono_ns};
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void readmit_answered(struct node *n, uint64_t id, const struct answer *a)
{
	for (size_t i = 0; i < READMITS_MAX; i++) {
		struct readmit *r = &n->readmits[i];
		if (!id || r->id != id)
			continue;
		struct readmit done = *r;
		*r = (struct readmit){0};
		done.done(done.arg, a->verdict, a->reason ? a->reason : "");
		return;
	}
}

static void answer(void *arg, const struct origin *o, const struct answer *a)
{
	struct node *n = arg;
	if (!o->local)
		ingress_answer(n->ingress, o, a);
	else if (o->type == MSG_ADVANCE)
		meta_advance_reply(n->meta, o->shard, a->verdict, a->meta_index, meta_now(n));
	else
		readmit_answered(n, o->req_id, a);
}

static void refuse(struct node *n, const struct origin *o, enum verdict v, const char *reason)
{
	answer(n, o, &(struct answer){.verdict = v, .reason = reason});
}

/* ---- wires between the modules ------------------------------------------------------------------------------------ */

static int propose(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index)
{
	struct node *n = arg;
	return own ? consensus_propose_own(n->consensus, group, e, ret_index)
	           : consensus_propose(n->consensus, group, e, ret_index);
}

static bool reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct node *n = arg;
	return n->io.reply(n->io.arg, route, frame, len);
}

static bool send_node(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct node *n = arg;
	return n->io.send_node(n->io.arg, node, frame, len);
}

static void log_write(void *arg, struct log_job *job)
{
	struct node *n = arg;
	n->io.log_write(n->io.arg, job);
}

static void apply_job(void *arg, struct apply_job *job)
{
	struct node *n = arg;
	n->io.apply(n->io.arg, job);
}

static void committed(void *arg, uint32_t group, uint64_t index)
{
	struct node *n = arg;
	n->io.committed(n->io.arg, group, index);
}

static void applied(void *arg, const struct apply_result *r, struct bytes entry)
{
	struct node *n = arg;
	if (r->group == META_GROUP)
		meta_applied(n->meta, r, entry, meta_now(n));
	else
		leader_applied(n->leaders[r->group - 1], r, leader_now(n));
}

/* Sends to another node under our name and cluster id. */
static bool send_msg(struct node *n, uint32_t node, struct msg *m)
{
	uint8_t id[CLUSTER_ID_BYTES];
	m->from = n->name;
	m->cluster_id = consensus_cluster_id(n->consensus, id) ? bytes_of(id, CLUSTER_ID_BYTES) : (struct bytes){0};
	buf_clear(&n->frame);
	return msg_encode(m, &n->frame) == 0 && n->io.send_node(n->io.arg, node, n->frame.data, n->frame.len);
}

static bool send_advance(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry)
{
	struct node *n = arg;
	struct msg m = {.type = MSG_ADVANCE, .req_id = meta_index};
	m.advance.shard = shard;
	m.advance.meta_index = meta_index;
	m.advance.entry = entry;
	if (!n->leaders[shard])
		return send_msg(n, topology_shard_node(n->topology, shard), &m);
	struct origin o = {.type = MSG_ADVANCE, .local = true, .shard = shard, .edge = ORIGIN_NO_EDGE};
	leader_advance(n->leaders[shard], &o, &m, leader_now(n));
	return true;
}

/* ---- open and close ------------------------------------------------------------------------------------------------- */

static int load_meta(struct node *n, const uint8_t random[16], char **ret_why)
{
	if (n->self != META_NODE)
		return 0;
	n->meta = meta_new(n->topology, &(struct meta_io){n, propose, answer, send_advance}, random);
	struct kv_txn *txn;
	int rc = kv_begin(n->state, false, &txn);
	if (!rc) {
		rc = meta_load(n->meta, txn);
		kv_abort(txn);
	}
	if (rc) {
		*ret_why = xasprintf("the meta group's state cannot be read: %s", err_text(rc));
		return rc;
	}
	uint8_t stated[CLUSTER_ID_BYTES], kept[CLUSTER_ID_BYTES];
	if (meta_cluster_id(n->meta, stated) && consensus_cluster_id(n->consensus, kept) &&
	    memcmp(stated, kept, CLUSTER_ID_BYTES) != 0) {
		*ret_why = xasprintf("the log and the state belong to two clusters: one of the folders was replaced");
		return WEIR_ECORRUPT;
	}
	return 0;
}

/* A stream whose close cannot be an entry would never close: said at the start, not found out later. */
static int check_close_sizes(const struct topology *t, char **ret_why)
{
	const size_t per_edge = 1 + 1 + 10 + 10; /* state, name's length, two times */
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		size_t bytes = 256;
		for (size_t e = 0; e < s->edge_count; e++)
			bytes += per_edge + strlen(t->edges[s->edges[e]].name);
		if (bytes > ENTRY_MAX) {
			*ret_why = xasprintf("stream %s expects %zu edges, more than one entry of the log can hold", s->name,
			    s->edge_count);
			return WEIR_ETOOBIG;
		}
	}
	return 0;
}

static void make_leaders(struct node *n)
{
	struct leader_io io = {n, propose, answer};
	n->leaders = xcalloc(n->topology->shards, sizeof(struct leader *));
	for (uint32_t s = 0; s < n->topology->shards; s++) {
		if (topology_shard_node(n->topology, s) == n->self)
			n->leaders[s] = leader_new(n->topology, s, &io, &n->leader_counters);
	}
}

int node_open(const struct topology *t, uint32_t self, struct kv *log, struct apply *apply, struct kv *state,
    const struct node_io *io, const uint8_t random[16], struct node_time now, struct node **ret_node, char **ret_why)
{
	weir_assert(self < t->cloud_count && t->shards <= SHARDS_MAX);
	struct node *n = xcalloc(1, sizeof(*n));
	n->topology = t;
	n->self = self;
	n->name = t->clouds[self].name;
	n->state = state;
	n->io = *io;
	n->now = now;
	n->next_readmit = 1;
	make_leaders(n);
	n->view = view_new(t, n->name);
	n->ingress = ingress_new(t, n->name, &(struct ingress_io){n, reply});
	/* Ids of this start are above those of an earlier one: its late replies match nothing. */
	n->route = route_new(t, n->name, (uint64_t)now.wall_ns, &(struct route_io){n, send_node, answer});
	int rc = check_close_sizes(t, ret_why);
	if (!rc)
		rc = consensus_open(t, self, log, apply,
		    &(struct consensus_io){n, log_write, apply_job, committed, applied}, &n->consensus, ret_why);
	if (!rc)
		rc = load_meta(n, random, ret_why);
	if (rc) {
		node_close(n);
		return rc;
	}
	*ret_node = n;
	return 0;
}

void node_close(struct node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < READMITS_MAX; i++)
		readmit_answered(n, n->readmits[i].id,
		    &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "the node is stopping"});
	for (uint32_t s = 0; n->leaders && s < n->topology->shards; s++)
		leader_free(n->leaders[s]);
	free(n->leaders);
	meta_free(n->meta);
	route_free(n->route);
	ingress_free(n->ingress);
	consensus_close(n->consensus);
	view_free(n->view);
	free(n->failed);
	buf_free(&n->frame);
	free(n);
}

/* ---- the cluster's id ------------------------------------------------------------------------------------------------- */

static void adopt_cluster_id(struct node *n)
{
	uint8_t id[CLUSTER_ID_BYTES];
	if (n->has_id)
		return;
	if (n->meta && !consensus_cluster_id(n->consensus, id) && meta_cluster_id(n->meta, id))
		consensus_keep_cluster_id(n->consensus, id);
	if (!consensus_cluster_id(n->consensus, id))
		return;
	n->has_id = true;
	ingress_set_cluster_id(n->ingress, id);
	view_put_cluster_id(n->view, id);
}

static void ask_cluster_id(struct node *n)
{
	if (n->meta || n->confirmed || n->now.mono_ns < n->info_due_ns)
		return;
	struct msg m = {.type = MSG_INFO};
	m.info.cluster = n->topology->cluster;
	n->info_due_ns = n->now.mono_ns + (n->foreign ? INFO_FOREIGN_EVERY_MS : INFO_EVERY_MS) * NS_PER_MS;
	send_msg(n, META_NODE, &m);
}

static void handle_info_reply(struct node *n, uint32_t peer, const struct msg *m)
{
	uint8_t id[CLUSTER_ID_BYTES];
	if (n->meta || peer != META_NODE) {
		n->counters.frames_unexpected++;
		return;
	}
	if (m->info_reply.cluster_id.n != CLUSTER_ID_BYTES)
		return; /* not known there yet: asked again */
	if (!consensus_cluster_id(n->consensus, id)) {
		consensus_keep_cluster_id(n->consensus, m->info_reply.cluster_id.p);
		return;
	}
	n->confirmed = memcmp(id, m->info_reply.cluster_id.p, CLUSTER_ID_BYTES) == 0;
	n->foreign = !n->confirmed;
}

/* ---- requests that came through the ROUTER ------------------------------------------------------------------------------- */

static void serve_here(struct node *n, const struct origin *o, const struct msg *m)
{
	if (m->type == MSG_OPEN)
		leader_open(n->leaders[o->shard], o, m, leader_now(n));
	else if (m->type == MSG_BATCH)
		leader_batch(n->leaders[o->shard], o, m, leader_now(n));
	else if (m->type == MSG_HELLO)
		meta_hello(n->meta, o, m, meta_now(n));
	else
		meta_report(n->meta, o, m, meta_now(n));
}

static void forward(struct node *n, uint32_t node, const struct origin *o, const struct msg *m)
{
	if (o->forwarded) {
		n->counters.misrouted++;
		refuse(n, o, VERDICT_UNAVAILABLE, "forwarded to a node that does not serve it: do the topologies differ?");
		return;
	}
	int rc = route_forward(n->route, node, m, o, n->now.mono_ns);
	if (rc == WEIR_EBUSY)
		refuse(n, o, VERDICT_BUSY, "too many requests wait for other nodes");
	else if (rc)
		refuse(n, o, VERDICT_UNAVAILABLE, "the node that serves it cannot be reached");
}

static void handle_edge(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!ingress_accept(n->ingress, route, m, n->now.mono_ns, &o))
		return;
	bool of_shard = m->type == MSG_OPEN || m->type == MSG_BATCH;
	uint32_t node = of_shard ? topology_shard_node(n->topology, o.shard) : META_NODE;
	if (n->foreign || n->failed || consensus_failed(n->consensus))
		refuse(n, &o, VERDICT_UNAVAILABLE, "this node cannot serve: see its readiness");
	else if (node == n->self)
		serve_here(n, &o, m);
	else
		forward(n, node, &o, m);
}

static bool same_cluster(const struct node *n, const struct msg *m)
{
	uint8_t id[CLUSTER_ID_BYTES];
	return consensus_cluster_id(n->consensus, id) && m->cluster_id.n == CLUSTER_ID_BYTES &&
	    memcmp(id, m->cluster_id.p, CLUSTER_ID_BYTES) == 0;
}

/* A request that only nodes of this cluster may make. */
static bool from_node(struct node *n, struct bytes route, const struct msg *m, struct origin *ret_origin)
{
	if (!ingress_origin(n->ingress, route, m, ret_origin))
		return false;
	if (topology_cloud(n->topology, m->from) >= 0 && same_cluster(n, m) && !n->foreign)
		return true;
	n->counters.frames_refused++;
	struct msg error = {.type = MSG_ERROR, .req_id = m->req_id};
	error.error.verdict = VERDICT_REFUSED;
	error.error.reason = "not from a node of this cluster";
	ingress_send(n->ingress, route, &error);
	return false;
}

static void handle_advance(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	o.shard = m->advance.shard;
	if (m->advance.shard < n->topology->shards && n->leaders[m->advance.shard])
		leader_advance(n->leaders[m->advance.shard], &o, m, leader_now(n));
	else
		refuse(n, &o, VERDICT_REFUSED, NULL);
}

static void handle_readmit(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	int edge = topology_edge(n->topology, m->readmit.edge);
	o.edge = edge < 0 ? ORIGIN_NO_EDGE : (uint32_t)edge;
	if (n->meta)
		meta_readmit(n->meta, &o, meta_now(n));
	else
		refuse(n, &o, VERDICT_UNAVAILABLE, "not the meta group's node");
}

/* Answered whatever the asker's cluster: that is how it finds out. */
static void handle_info(struct node *n, struct bytes route, const struct msg *m)
{
	uint8_t id[CLUSTER_ID_BYTES];
	struct msg r = {.type = MSG_INFO_REPLY, .req_id = m->req_id};
	if (n->meta && strcmp(m->info.cluster, n->topology->cluster) == 0 && consensus_cluster_id(n->consensus, id))
		r.info_reply.cluster_id = bytes_of(id, CLUSTER_ID_BYTES);
	ingress_send(n->ingress, route, &r);
}

static void handle_serve(struct node *n, struct bytes route, const struct msg *m, const void *frame, size_t len)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	n->counters.frames_served++;
	n->io.serve(n->io.arg, route, frame, len);
}

static void handle_request(struct node *n, struct bytes route, const struct msg *m, const void *frame, size_t len)
{
	switch (m->type) {
	case MSG_HELLO:
	case MSG_OPEN:
	case MSG_BATCH:
	case MSG_REPORT:
		handle_edge(n, route, m);
		break;
	case MSG_ADVANCE:
		handle_advance(n, route, m);
		break;
	case MSG_READMIT:
		handle_readmit(n, route, m);
		break;
	case MSG_INFO:
		handle_info(n, route, m);
		break;
	case MSG_QUERY:
	case MSG_OUTBOX:
	case MSG_STATUS:
		handle_serve(n, route, m, frame, len);
		break;
	case MSG_NONE:
	case MSG_HELLO_REPLY:
	case MSG_OPEN_REPLY:
	case MSG_BATCH_REPLY:
	case MSG_REPORT_REPLY:
	case MSG_ADVANCE_REPLY:
	case MSG_READMIT_REPLY:
	case MSG_INFO_REPLY:
	case MSG_QUERY_REPLY:
	case MSG_OUTBOX_REPLY:
	case MSG_STATUS_REPLY:
	case MSG_ERROR:
		n->counters.frames_unexpected++;
		break;
	}
}

static void refuse_version(struct node *n, struct bytes route)
{
	struct msg error = {.type = MSG_ERROR};
	error.error.verdict = VERDICT_REFUSED;
	error.error.reason = "a protocol version or message that this node does not know";
	n->counters.frames_version++;
	ingress_send(n->ingress, route, &error);
}

void node_frame(struct node *n, struct bytes route, const void *frame, size_t len, struct node_time now)
{
	struct msg m;
	n->now = now;
	int rc = msg_decode(frame, len, &m);
	if (rc == WEIR_EVERSION) {
		refuse_version(n, route);
		return;
	}
	if (rc) {
		n->counters.frames_bad++;
		return;
	}
	handle_request(n, route, &m, frame, len);
	msg_clear(&m);
}

/* ---- replies that came back on our DEALER ------------------------------------------------------------------------------------ */

static void handle_advance_reply(struct node *n, uint32_t peer, const struct msg *m)
{
	if (n->meta && m->advance_reply.shard < n->topology->shards &&
	    topology_shard_node(n->topology, m->advance_reply.shard) == peer)
		meta_advance_reply(n->meta, m->advance_reply.shard, m->advance_reply.verdict, m->advance_reply.meta_index,
		    meta_now(n));
	else
		n->counters.frames_unexpected++;
}

static void handle_peer(struct node *n, uint32_t peer, const struct msg *m)
{
	if (m->type == MSG_INFO_REPLY)
		handle_info_reply(n, peer, m);
	else if (!same_cluster(n, m))
		n->counters.frames_refused++;
	else if (m->type == MSG_ADVANCE_REPLY)
		handle_advance_reply(n, peer, m);
	else
		route_reply(n->route, peer, m);
}

void node_peer_frame(struct node *n, uint32_t peer, const void *frame, size_t len, struct node_time now)
{
	struct msg m;
	n->now = now;
	int rc = msg_decode(frame, len, &m);
	if (rc) {
		if (rc == WEIR_EVERSION)
			n->counters.frames_version++;
		else
			n->counters.frames_bad++;
		return;
	}
	handle_peer(n, peer, &m);
	msg_clear(&m);
}

/* ---- readmission -------------------------------------------------------------------------------------------------------------- */

static struct readmit *free_readmit(struct node *n)
{
	for (size_t i = 0; i < READMITS_MAX; i++) {
		if (!n->readmits[i].id)
			return &n->readmits[i];
	}
	return NULL;
}

void node_readmit(struct node *n, const char *edge, struct node_time now,
    void (*done)(void *arg, enum verdict verdict, const char *reason), void *arg)
{
	n->now = now;
	struct readmit *r = free_readmit(n);
	int known = topology_edge(n->topology, edge);
	if (!r || known < 0) {
		done(arg, r ? VERDICT_REFUSED : VERDICT_BUSY,
		    r ? "this edge is not in the topology" : "too many readmissions are under way");
		return;
	}
	*r = (struct readmit){n->next_readmit++, now.mono_ns + READMIT_TIMEOUT_MS * NS_PER_MS, done, arg};
	struct origin o = {.type = MSG_READMIT, .local = true, .req_id = r->id, .edge = (uint32_t)known};
	if (n->meta) {
		meta_readmit(n->meta, &o, meta_now(n));
		return;
	}
	uint8_t id[CLUSTER_ID_BYTES];
	struct msg m = {.type = MSG_READMIT};
	if (consensus_cluster_id(n->consensus, id))
		m.cluster_id = bytes_of(id, CLUSTER_ID_BYTES);
	m.readmit.edge = edge;
	forward(n, META_NODE, &o, &m);
}

static void expire_readmits(struct node *n)
{
	for (size_t i = 0; i < READMITS_MAX; i++) {
		if (n->readmits[i].id && n->readmits[i].deadline_ns <= n->now.mono_ns)
			readmit_answered(n, n->readmits[i].id,
			    &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "no answer in time"});
	}
}

/* ---- what other threads see ------------------------------------------------------------------------------------------------------- */

/* NULL: ready. Static text, or one that lives until the next call. */
static const char *not_ready(const struct node *n)
{
	if (consensus_failed(n->consensus))
		return consensus_failed(n->consensus);
	if (n->failed)
		return n->failed;
	if (n->foreign)
		return "this node's data is of another cluster than the meta node's: it does not serve; give it an empty data "
		       "folder, or the right topology";
	if (!n->has_id)
		return "the cluster's id is not known yet: is the first node of the topology up?";
	for (uint32_t g = 0; g <= n->topology->shards; g++) {
		if (consensus_holds(n->consensus, g) && !consensus_replayed(n->consensus, g))
			return "replaying the log";
	}
	return NULL;
}

static size_t group_statuses(const struct node *n, struct msg_group_status *out)
{
	size_t count = 0;
	for (uint32_t g = 0; g <= n->topology->shards; g++) {
		if (!consensus_holds(n->consensus, g))
			continue;
		out[count++] = (struct msg_group_status){.group = g, .leader = true, .term = consensus_term(n->consensus, g),
		    .committed = consensus_committed(n->consensus, g), .applied = consensus_applied(n->consensus, g),
		    .node = n->name};
	}
	return count;
}

static void update_view(struct node *n)
{
	struct msg_group_status groups[GROUPS_PER_STATUS_MAX];
	struct view_counters c = {
	    .node = n->counters,
	    .ingress = *ingress_counters(n->ingress),
	    .route = *route_counters(n->route),
	    .leader = n->leader_counters,
	    .consensus = *consensus_counters(n->consensus),
	    .full = consensus_full(n->consensus),
	};
	if (n->meta) {
		c.meta = *meta_counters(n->meta);
		c.spread = *meta_spread_counters(n->meta);
	}
	view_put(n->view, &c, groups, group_statuses(n, groups), not_ready(n));
}

/* ---- the loop's calls ---------------------------------------------------------------------------------------------------------------- */

static void start_meta(struct node *n)
{
	if (!n->meta || n->meta_started || !consensus_replayed(n->consensus, META_GROUP))
		return;
	n->meta_started = true;
	meta_start(n->meta, meta_now(n));
}

static void tick_meta(struct node *n)
{
	if (!n->meta || n->failed)
		return;
	int rc = meta_tick(n->meta, n->state, consensus_durable(n->consensus, META_GROUP), meta_now(n));
	if (rc && rc != WEIR_EBUSY) /* too many readers: the next tick is soon */
		n->failed = xasprintf("the meta group's state cannot be read: %s", err_text(rc));
}

void node_tick(struct node *n, struct node_time now)
{
	n->now = now;
	ingress_tick(n->ingress, now.mono_ns);
	route_tick(n->route, now.mono_ns);
	expire_readmits(n);
	start_meta(n);
	adopt_cluster_id(n);
	ask_cluster_id(n);
	for (uint32_t s = 0; s < n->topology->shards; s++) {
		if (n->leaders[s])
			leader_tick(n->leaders[s], leader_now(n));
	}
	tick_meta(n);
	node_flush(n, now);
	update_view(n);
}

void node_flush(struct node *n, struct node_time now)
{
	n->now = now;
	consensus_flush(n->consensus, now.mono_ns);
}

void node_log_written(struct node *n, struct log_job *job, int rc, struct node_time now)
{
	n->now = now;
	consensus_log_written(n->consensus, job, rc, now.mono_ns);
	adopt_cluster_id(n);
	node_flush(n, now);
	update_view(n);
}

void node_applied(struct node *n, struct apply_job *job, int rc, struct node_time now)
{
	n->now = now;
	consensus_job_applied(n->consensus, job, rc, now.mono_ns);
	start_meta(n);
	node_flush(n, now);
	update_view(n);
}

void node_state_durable(struct node *n, uint32_t group, uint64_t index)
{
	consensus_state_durable(n->consensus, group, index);
}

void node_state_aborted(struct node *n, struct node_time now)
{
	n->now = now;
	consensus_state_aborted(n->consensus, now.mono_ns);
}

/* ---- any thread -------------------------------------------------------------------------------------------------------------------------- */

bool node_ready(struct node *n, char **ret_why)
{
	return view_ready(n->view, ret_why);
}

size_t node_groups(struct node *n, struct msg_group_status *out)
{
	return view_groups(n->view, out);
}

void node_edges_json(struct node *n, struct kv_txn *txn, struct buf *out)
{
	(void)txn; /* what is committed of edges is also in the meta leader's memory */
	if (n->meta)
		meta_edges_json(n->meta, out);
}

void node_metrics(struct node *n, struct kv_txn *txn, struct buf *out)
{
	view_metrics(n->view, txn, out);
}

bool node_cluster_id(struct node *n, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	return view_cluster_id(n->view, ret_id);
}
