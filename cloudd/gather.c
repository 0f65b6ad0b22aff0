#include "cloudd/gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/ask.h"
#include "cloudd/serve_alerts.h"
#include "common/clock.h"
#include "common/err.h"

static const char *node_name(const struct gather *g, uint32_t node)
{
	return g->topology->clouds[node].name;
}

struct gather gather_pin(const struct gather *g)
{
	struct gather pinned = *g;
	pinned.topology = node_topology(g->node);
	return pinned;
}

void gather_unpin(struct gather *g)
{
	topology_free(g->topology);
	g->topology = NULL;
}

bool gather_is_hopeless(const struct gather *g, uint32_t group)
{
	bool cut_off = false;
	int64_t unled_ns = node_unled_ns(g->node, group, &cut_off);
	return unled_ns >= (cut_off ? GATHER_CUT_OFF_NS : GATHER_UNLED_NS);
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* A page that was begun. */
struct page {
	struct ask ask;
	struct buf spec;
};

static int page_local(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	struct query_page *page = out;
	struct serve_age age = {0};
	const char *text = "";
	enum verdict v = serve_query(a->g->serve, a->m.query.shard, a->m.query.linearizable, a->m.query.spec, a->m.query.map_version, &page->rows,
	    &page->more, &age, &text);
	page->behind_entries = age.behind_entries;
	page->age_ns = age.age_ns;
	page->kept_ns = age.kept_ns;
	return ask_code(a, v, text, reason);
}

static int page_remote(struct ask *a, const struct msg *m, void *out, char reason[QUERY_REASON_MAX])
{
	struct query_page *page = out;
	int rc = ask_code(a, m->query_reply.verdict, m->query_reply.reason, reason);
	if (rc)
		return rc;
	buf_put(&page->rows, m->query_reply.rows.p, m->query_reply.rows.n);
	page->more = m->query_reply.more;
	page->behind_entries = m->query_reply.behind_entries;
	page->age_ns = m->query_reply.age_ns;
	page->kept_ns = m->query_reply.kept_ns;
	return 0;
}

static void *page_start(void *arg, uint32_t shard, const struct rows_spec *spec, bool linearizable)
{
	struct gather *g = arg;
	struct page *p = xcalloc(1, sizeof(*p));
	rows_spec_encode(spec, &p->spec);
	p->ask = (struct ask){.g = g,
	    .group = shard + 1,
	    .of = linearizable ? ASK_LEADER : ASK_ANY,
	    .until_ns = clock_mono_ns() + GATHER_TIMEOUT_NS,
	    .m = {.type = MSG_QUERY},
	    .want = MSG_QUERY_REPLY,
	    .local = page_local,
	    .remote = page_remote};
	p->ask.m.query.shard = shard;
	p->ask.m.query.linearizable = linearizable;
	p->ask.m.query.map_version = linearizable ? g->map_version : 0;
	p->ask.m.query.spec = bytes_of(p->spec.data, p->spec.len);
	ask_start(&p->ask);
	return p;
}

static void page_free(struct page *p)
{
	buf_free(&p->spec);
	free(p);
}

static int page_finish(void *arg, void *handle, struct query_page *ret, char reason[QUERY_REASON_MAX])
{
	(void)arg;
	struct page *p = handle;
	int rc = ask_finish(&p->ask, ret, reason);
	page_free(p);
	return rc;
}

static void page_cancel(void *arg, void *handle)
{
	(void)arg;
	struct page *p = handle;
	ask_cancel(&p->ask);
	page_free(p);
}

static int64_t page_now_ns(void *arg)
{
	(void)arg;
	return clock_mono_ns();
}

struct query_source gather_source(struct gather *g)
{
	return (struct query_source){g, page_start, page_finish, page_cancel, page_now_ns};
}

/* ---- outbox ---------------------------------------------------------------------------------------------------- */

struct outbox_answer {
	uint64_t index;
	uint32_t n;
	bool reset;
	struct buf *rows;
};

static int outbox_local(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	struct outbox_answer *o = out;
	const char *text = "";
	o->index = a->m.outbox.index;
	o->n = a->m.outbox.n;
	enum verdict v = serve_outbox(a->g->serve, a->m.outbox.shard, a->m.outbox.stream, a->m.outbox.version, &o->index, &o->n,
	    a->m.outbox.limit, o->rows, &o->reset, NULL, &text);
	return ask_code(a, v, text, reason);
}

static int outbox_remote(struct ask *a, const struct msg *m, void *out, char reason[QUERY_REASON_MAX])
{
	struct outbox_answer *o = out;
	int rc = ask_code(a, m->outbox_reply.verdict, m->outbox_reply.reason, reason);
	if (rc)
		return rc;
	o->index = m->outbox_reply.index;
	o->n = m->outbox_reply.n;
	o->reset = m->outbox_reply.reset;
	buf_put(o->rows, m->outbox_reply.rows.p, m->outbox_reply.rows.n);
	return 0;
}

static struct ask outbox_ask(struct gather *g, uint32_t shard, const char *stream, uint32_t version, enum ask_of of,
    int64_t timeout_ns)
{
	struct ask a = {.g = g,
	    .group = shard + 1,
	    .of = of,
	    .until_ns = clock_mono_ns() + timeout_ns,
	    .m = {.type = MSG_OUTBOX},
	    .want = MSG_OUTBOX_REPLY,
	    .local = outbox_local,
	    .remote = outbox_remote};
	a.m.outbox.shard = shard;
	a.m.outbox.stream = stream;
	a.m.outbox.version = version;
	return a;
}

int gather_outbox(struct gather *g, uint32_t shard, const char *stream, uint32_t version, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, int *ret_node, char reason[QUERY_REASON_MAX])
{
	struct ask a = outbox_ask(g, shard, stream, version, ASK_LEADER_ONCE, GATHER_TRY_NS);
	struct outbox_answer o = {.rows = rows};
	a.m.outbox.index = *index;
	a.m.outbox.n = *n;
	a.m.outbox.limit = limit;
	ask_start(&a);
	*ret_node = a.node;
	int rc = ask_finish(&a, &o, reason);
	if (rc)
		return rc;
	*index = o.index;
	*n = o.n;
	*ret_reset = o.reset;
	return 0;
}

int gather_outbox_end(struct gather *g, uint32_t shard, const char *stream, uint32_t version, int64_t timeout_ns, uint64_t *index,
    uint32_t *n, char reason[QUERY_REASON_MAX])
{
	static const enum ask_of order[] = {ASK_LEADER, ASK_ANY};
	int rc = 0;
	for (size_t i = 0; i < 2; i++) {
		struct buf rows = {0};
		struct outbox_answer o = {.rows = &rows};
		struct ask a = outbox_ask(g, shard, stream, version, order[i], i && timeout_ns < GATHER_TRY_NS ? GATHER_TRY_NS : timeout_ns);
		a.m.outbox.index = UINT64_MAX;
		a.m.outbox.limit = 1;
		ask_start(&a);
		rc = ask_finish(&a, &o, reason);
		buf_free(&rows);
		if (rc)
			continue;
		*index = o.index;
		*n = o.n;
		return 0;
	}
	return rc;
}

/* ---- status of groups ------------------------------------------------------------------------------------------ */

static const char *name_here(const struct gather *g, const char *name)
{
	for (uint32_t i = 0; i < g->topology->cloud_count; i++)
		if (!strcmp(node_name(g, i), name))
			return node_name(g, i);
	return "";
}

/* A copy whose texts are the topology's. */
static struct msg_group_status copy_group(const struct gather *g, uint32_t node, const struct msg_group_status *from)
{
	struct msg_group_status to = *from;
	to.node = node_name(g, node);
	to.leader = name_here(g, from->leader);
	to.replicas = from->replica_count ? xcalloc(from->replica_count, sizeof(*to.replicas)) : NULL;
	for (size_t i = 0; i < from->replica_count; i++) {
		to.replicas[i] = from->replicas[i];
		to.replicas[i].node = name_here(g, from->replicas[i].node);
	}
	return to;
}

static void status_remote(struct gather *g, struct rpc_call *call, struct gather_status *s)
{
	struct msg m;
	s->rc = ask_take(g, s->node, call, MSG_STATUS_REPLY, &m, &s->refused, s->reason);
	if (s->rc)
		return;
	if (m.status_reply.verdict != VERDICT_OK) {
		s->rc = WEIR_ECLOSED;
		snprintf(s->reason, sizeof(s->reason), "%s: %s", node_name(g, s->node), m.status_reply.reason);
	} else {
		s->groups = xcalloc(m.status_reply.group_count, sizeof(*s->groups));
		for (; s->group_count < m.status_reply.group_count; s->group_count++)
			s->groups[s->group_count] = copy_group(g, s->node, &m.status_reply.groups[s->group_count]);
	}
	msg_clear(&m);
}

static void status_local(struct gather *g, struct gather_status *s)
{
	s->groups = xcalloc(GROUPS_PER_STATUS_MAX, sizeof(*s->groups));
	s->group_count = serve_groups(g->serve, s->groups);
}

/* Asks all others at once: one for each node, NULL of this one and of those that are gone. */
static struct rpc_call **ask_others(struct gather *g, const char *what)
{
	uint32_t n = (uint32_t)g->topology->cloud_count;
	struct rpc_call **calls = xcalloc(n, sizeof(*calls));
	struct msg m = {.type = MSG_STATUS};
	m.status.what = what;
	for (uint32_t i = 0; i < n; i++)
		calls[i] = i == g->self || g->topology->clouds[i].state == CLOUD_GONE ?
		    NULL : rpc_start_if_there(g->rpc, i, &m, GATHER_STATUS_TIMEOUT_NS, GATHER_STATUS_AWAY_NS);
	return calls;
}

struct gather_status *gather_status_all(struct gather *g)
{
	uint32_t n = (uint32_t)g->topology->cloud_count;
	struct gather_status *all = xcalloc(n, sizeof(*all));
	struct rpc_call **calls = ask_others(g, "groups");
	for (uint32_t i = 0; i < n; i++) {
		all[i].node = i;
		if (calls[i])
			status_remote(g, calls[i], &all[i]);
		else if (i == g->self)
			status_local(g, &all[i]);
		else
			all[i].rc = WEIR_ENOTFOUND;
	}
	free(calls);
	return all;
}

void gather_status_free(struct gather *g, struct gather_status *all)
{
	for (size_t i = 0; i < g->topology->cloud_count; i++) {
		serve_groups_clear(all[i].groups, all[i].group_count);
		free(all[i].groups);
	}
	free(all);
}

const struct msg_group_status *gather_group(const struct gather_status *s, uint32_t group)
{
	for (size_t i = 0; i < s->group_count; i++)
		if (s->groups[i].group == group)
			return &s->groups[i];
	return NULL;
}

/* ---- edges ----------------------------------------------------------------------------------------------------- */

static int body_local(struct ask *a, void *out, char reason[QUERY_REASON_MAX])
{
	const char *text = "";
	enum verdict v = serve_status(a->g->serve, a->m.status.what, out, &text);
	return ask_code(a, v, text, reason);
}

static int body_remote(struct ask *a, const struct msg *m, void *out, char reason[QUERY_REASON_MAX])
{
	int rc = ask_code(a, m->status_reply.verdict, m->status_reply.reason, reason);
	if (!rc)
		buf_put(out, m->status_reply.json.p, m->status_reply.json.n);
	return rc;
}

/* Of a group's leader. */
static int body_of(struct gather *g, uint32_t group, const char *what, struct buf *body, char reason[QUERY_REASON_MAX])
{
	struct ask a = {.g = g,
	    .group = group,
	    .of = ASK_LEADER,
	    .until_ns = clock_mono_ns() + GATHER_TIMEOUT_NS,
	    .m = {.type = MSG_STATUS},
	    .want = MSG_STATUS_REPLY,
	    .local = body_local,
	    .remote = body_remote};
	a.m.status.what = what;
	ask_start(&a);
	return ask_finish(&a, body, reason);
}

static int edges_piece(struct gather *g, uint64_t place, struct buf *body, char reason[QUERY_REASON_MAX])
{
	char what[SERVE_WHAT_MAX];
	serve_what_edges(place, what);
	return body_of(g, META_GROUP, what, body, reason);
}

int gather_alerts(struct gather *g, uint32_t shard, uint64_t place, struct buf *out, char reason[QUERY_REASON_MAX])
{
	char what[SERVE_WHAT_MAX];
	serve_what_alerts(shard, place, what);
	return body_of(g, shard + 1, what, out, reason);
}

int gather_edges(struct gather *g, struct buf *out, char reason[QUERY_REASON_MAX])
{
	uint64_t place = 0;
	do {
		struct buf body = {0};
		int rc = edges_piece(g, place, &body, reason);
		struct rd r = rd_init(body.data, body.len);
		uint64_t next = rc ? 0 : rd_varint(&r);
		if (!rc && (r.err || (next && next <= place))) {
			rc = WEIR_ECORRUPT;
			snprintf(reason, QUERY_REASON_MAX, "the meta leader's answer is damaged");
		}
		if (!rc && rd_left(&r)) {
			buf_printf(out, "%s", place ? "," : "");
			buf_put(out, r.p, rd_left(&r));
		}
		buf_free(&body);
		if (rc)
			return rc;
		place = next;
	} while (place);
	return 0;
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

/* The node whose replica has come furthest; -1: none answers. */
static int furthest(const struct gather *g, const struct gather_status *all, uint32_t group)
{
	int best = -1;
	uint64_t best_applied = 0;
	for (uint32_t node = 0; node < g->topology->cloud_count; node++) {
		const struct msg_group_status *s = gather_group(&all[node], group);
		if (s && (best < 0 || s->applied > best_applied)) {
			best = (int)node;
			best_applied = s->applied;
		}
	}
	return best;
}

/* Which groups each node is to count: one flag for each (node, group). */
static int share_groups(struct gather *g, bool *shares, char reason[QUERY_REASON_MAX])
{
	struct gather_status *all = gather_status_all(g);
	uint32_t count = topology_groups(g->topology);
	int rc = 0;
	for (uint32_t group = 0; group < count && !rc; group++) {
		int node = furthest(g, all, group);
		if (node >= 0) {
			shares[(uint32_t)node * count + group] = true;
			continue;
		}
		char name[ASK_NAME_MAX];
		ask_group_name(group, name);
		rc = WEIR_ECLOSED;
		snprintf(reason, QUERY_REASON_MAX, "no replica of %s answers", name);
	}
	gather_status_free(g, all);
	return rc;
}

/* What a node answers; call NULL: this one. */
static int take_body(struct gather *g, uint32_t node, struct rpc_call *call, const char *what, struct buf *body, char reason[QUERY_REASON_MAX])
{
	struct ask a = {.g = g, .node = (int)node};
	struct msg m;
	bool refused;
	a.m.status.what = what;
	if (!call)
		return body_local(&a, body, reason);
	int rc = ask_take(g, node, call, MSG_STATUS_REPLY, &m, &refused, reason);
	if (rc)
		return rc;
	rc = body_remote(&a, &m, body, reason);
	msg_clear(&m);
	return rc;
}

static int add_streams(struct gather *g, uint32_t node, struct rpc_call *call, const char *what, struct serve_stream *streams,
    char reason[QUERY_REASON_MAX])
{
	struct buf body = {0};
	int rc = take_body(g, node, call, what, &body, reason);
	if (!rc && serve_streams_add(bytes_of(body.data, body.len), g->topology, streams)) {
		rc = WEIR_ECORRUPT;
		snprintf(reason, QUERY_REASON_MAX, "%s: its answer is damaged", node_name(g, node));
	}
	buf_free(&body);
	return rc;
}

struct streams_call {
	char what[SERVE_WHAT_MAX];
	bool asked;
	struct rpc_call *call;
};

static void start_streams(struct gather *g, uint32_t node, const bool *groups, struct streams_call *c)
{
	uint32_t count = topology_groups(g->topology);
	for (uint32_t group = 0; group < count; group++)
		c->asked = c->asked || groups[group];
	if (!c->asked)
		return;
	serve_what_streams(groups, count, c->what);
	struct msg m = {.type = MSG_STATUS};
	m.status.what = c->what;
	if (node != g->self)
		c->call = rpc_start_if_there(g->rpc, node, &m, GATHER_STATUS_TIMEOUT_NS, GATHER_STATUS_AWAY_NS);
}

int gather_streams(struct gather *g, struct serve_stream *streams, char reason[QUERY_REASON_MAX])
{
	uint32_t nodes = (uint32_t)g->topology->cloud_count, count = topology_groups(g->topology);
	bool *shares = xcalloc((size_t)nodes * count, sizeof(*shares));
	struct streams_call *calls = xcalloc(nodes, sizeof(*calls));
	int rc = share_groups(g, shares, reason);
	for (uint32_t i = 0; i < nodes && !rc; i++)
		start_streams(g, i, shares + (size_t)i * count, &calls[i]);
	for (uint32_t i = 0; i < nodes; i++) {
		if (rc && calls[i].call)
			rpc_cancel(g->rpc, calls[i].call);
		else if (!rc && calls[i].asked)
			rc = add_streams(g, i, calls[i].call, calls[i].what, streams, reason);
	}
	free(calls);
	free(shares);
	return rc;
}

/* ---- sinks ----------------------------------------------------------------------------------------------------- */

uint64_t gather_sinks(struct gather *g, struct sink_state *states)
{
	uint64_t unanswered = 0;
	if (!g->topology->sink_count)
		return 0;
	struct rpc_call **calls = ask_others(g, SERVE_SINKS);
	for (uint32_t i = 0; i < g->topology->cloud_count; i++) {
		struct buf body = {0};
		char reason[QUERY_REASON_MAX];
		if (i != g->self && !calls[i])
			continue;
		int rc = take_body(g, i, calls[i], SERVE_SINKS, &body, reason);
		if (!rc)
			rc = sink_states_add(bytes_of(body.data, body.len), g->topology, i, states);
		unanswered |= (uint64_t)(rc != 0) << i;
		buf_free(&body);
	}
	free(calls);
	return unanswered;
}
