#include "cloudd/gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

/* A page that was begun. */
struct page {
	uint32_t shard, node;
	bool linearizable;
	struct buf spec;       /* local */
	struct rpc_call *call; /* remote */
};

static const char *node_name(const struct gather *g, uint32_t node)
{
	return g->topology->clouds[node].name;
}

/* Takes the reply of a node that answers with a type of its own or with MSG_ERROR. 0: *ret_reply is what was awaited, the
 * caller's to clear. */
static int finish_call(struct gather *g, uint32_t node, struct rpc_call *call, enum msg_type want, struct msg *ret_reply,
    char reason[QUERY_REASON_MAX])
{
	struct msg m;
	int rc = rpc_finish(g->rpc, call, &m);
	if (rc) {
		snprintf(reason, QUERY_REASON_MAX, "%s: %s", node_name(g, node), err_text(rc));
		return rc;
	}
	if (m.type == want) {
		*ret_reply = m;
		return 0;
	}
	snprintf(reason, QUERY_REASON_MAX, "%s: %s", node_name(g, node),
	    m.type == MSG_ERROR ? m.error.reason : "an answer of another kind");
	rc = m.type == MSG_ERROR && m.error.verdict == VERDICT_BUSY ? WEIR_EBUSY : WEIR_ECLOSED;
	msg_clear(&m);
	return rc;
}

static int code_of(struct gather *g, uint32_t node, uint32_t shard, enum verdict v, const char *text,
    char reason[QUERY_REASON_MAX])
{
	if (v == VERDICT_OK)
		return 0;
	snprintf(reason, QUERY_REASON_MAX, "shard %u on %s: %s: %s", shard, node_name(g, node), verdict_text(v), text);
	return v == VERDICT_BUSY ? WEIR_EBUSY : WEIR_ECLOSED;
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static void *page_start(void *arg, uint32_t shard, const struct rows_spec *spec, bool linearizable)
{
	struct gather *g = arg;
	struct page *p = xcalloc(1, sizeof(*p));
	p->shard = shard;
	p->node = topology_shard_node(g->topology, shard);
	p->linearizable = linearizable;
	rows_spec_encode(spec, &p->spec);
	if (p->node != g->self) {
		struct msg m = {.type = MSG_QUERY};
		m.query.shard = shard;
		m.query.linearizable = linearizable;
		m.query.spec = bytes_of(p->spec.data, p->spec.len);
		p->call = rpc_start(g->rpc, p->node, &m, GATHER_TIMEOUT_NS);
	}
	return p;
}

static int page_remote(struct gather *g, struct page *p, struct query_page *ret, char reason[QUERY_REASON_MAX])
{
	struct msg m;
	int rc = finish_call(g, p->node, p->call, MSG_QUERY_REPLY, &m, reason);
	if (rc)
		return rc;
	rc = code_of(g, p->node, p->shard, m.query_reply.verdict, m.query_reply.reason, reason);
	if (!rc) {
		buf_put(&ret->rows, m.query_reply.rows.p, m.query_reply.rows.n);
		ret->more = m.query_reply.more;
		ret->behind_entries = m.query_reply.behind_entries;
	}
	msg_clear(&m);
	return rc;
}

static void page_free(struct page *p)
{
	buf_free(&p->spec);
	free(p);
}

static int page_finish(void *arg, void *handle, struct query_page *ret, char reason[QUERY_REASON_MAX])
{
	struct gather *g = arg;
	struct page *p = handle;
	int rc;
	if (p->call) {
		rc = page_remote(g, p, ret, reason);
	} else {
		const char *text = "";
		enum verdict v = serve_query(g->serve, p->shard, p->linearizable, bytes_of(p->spec.data, p->spec.len),
		    &ret->rows, &ret->more, &ret->behind_entries, &text);
		rc = code_of(g, p->node, p->shard, v, text, reason);
	}
	page_free(p);
	return rc;
}

static void page_cancel(void *arg, void *handle)
{
	struct gather *g = arg;
	struct page *p = handle;
	if (p->call)
		rpc_cancel(g->rpc, p->call);
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

static int outbox_remote(struct gather *g, uint32_t node, uint32_t shard, const char *stream, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, char reason[QUERY_REASON_MAX])
{
	struct msg m = {.type = MSG_OUTBOX}, reply;
	m.outbox.shard = shard;
	m.outbox.stream = stream;
	m.outbox.index = *index;
	m.outbox.n = *n;
	m.outbox.limit = limit;
	struct rpc_call *call = rpc_start(g->rpc, node, &m, GATHER_TIMEOUT_NS);
	int rc = finish_call(g, node, call, MSG_OUTBOX_REPLY, &reply, reason);
	if (rc)
		return rc;
	rc = code_of(g, node, shard, reply.outbox_reply.verdict, reply.outbox_reply.reason, reason);
	if (!rc) {
		*index = reply.outbox_reply.index;
		*n = reply.outbox_reply.n;
		*ret_reset = reply.outbox_reply.reset;
		buf_put(rows, reply.outbox_reply.rows.p, reply.outbox_reply.rows.n);
	}
	msg_clear(&reply);
	return rc;
}

int gather_outbox(struct gather *g, uint32_t shard, const char *stream, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, char reason[QUERY_REASON_MAX])
{
	uint32_t node = topology_shard_node(g->topology, shard);
	if (node != g->self)
		return outbox_remote(g, node, shard, stream, index, n, limit, rows, ret_reset, reason);
	const char *text = "";
	enum verdict v = serve_outbox(g->serve, shard, stream, index, n, limit, rows, ret_reset, &text);
	return code_of(g, node, shard, v, text, reason);
}

/* ---- status ---------------------------------------------------------------------------------------------------- */

static struct rpc_call *status_start(struct gather *g, uint32_t node, const char *what)
{
	struct msg m = {.type = MSG_STATUS};
	m.status.what = what;
	return node == g->self ? NULL : rpc_start(g->rpc, node, &m, GATHER_STATUS_TIMEOUT_NS);
}

static void status_local(struct gather *g, const char *what, struct gather_status *s)
{
	if (!strcmp(what, "groups")) {
		s->groups = xcalloc(GROUPS_PER_STATUS_MAX, sizeof(*s->groups));
		s->group_count = serve_groups(g->serve, s->groups);
		return;
	}
	const char *text = "";
	if (serve_status(g->serve, what, &s->body, &text) != VERDICT_OK) {
		s->rc = WEIR_ECLOSED;
		snprintf(s->reason, sizeof(s->reason), "%s: %s", node_name(g, s->node), text);
	}
}

static void status_remote(struct gather *g, struct rpc_call *call, struct gather_status *s)
{
	struct msg m;
	s->rc = finish_call(g, s->node, call, MSG_STATUS_REPLY, &m, s->reason);
	if (s->rc)
		return;
	if (m.status_reply.verdict != VERDICT_OK) {
		s->rc = WEIR_ECLOSED;
		snprintf(s->reason, sizeof(s->reason), "%s: %s", node_name(g, s->node), m.status_reply.reason);
	}
	s->group_count = m.status_reply.group_count;
	s->groups = xcalloc(s->group_count, sizeof(*s->groups));
	for (size_t i = 0; i < s->group_count; i++) {
		s->groups[i] = m.status_reply.groups[i];
		s->groups[i].node = node_name(g, s->node);
	}
	buf_put(&s->body, m.status_reply.json.p, m.status_reply.json.n);
	msg_clear(&m);
}

static void status_finish(struct gather *g, uint32_t node, const char *what, struct rpc_call *call, struct gather_status *s)
{
	*s = (struct gather_status){.node = node};
	if (call)
		status_remote(g, call, s);
	else
		status_local(g, what, s);
}

struct gather_status *gather_status_all(struct gather *g, const char *what)
{
	uint32_t n = (uint32_t)g->topology->cloud_count;
	struct gather_status *all = xcalloc(n, sizeof(*all));
	struct rpc_call **calls = xcalloc(n, sizeof(*calls));
	for (uint32_t i = 0; i < n; i++)
		calls[i] = status_start(g, i, what);
	for (uint32_t i = 0; i < n; i++)
		status_finish(g, i, what, calls[i], &all[i]);
	free(calls);
	return all;
}

struct gather_status *gather_status_one(struct gather *g, uint32_t node, const char *what)
{
	struct gather_status *one = xcalloc(1, sizeof(*one));
	status_finish(g, node, what, status_start(g, node, what), one);
	return one;
}

static void status_clear(struct gather_status *s)
{
	free(s->groups);
	buf_free(&s->body);
}

void gather_status_free(struct gather *g, struct gather_status *all)
{
	for (size_t i = 0; i < g->topology->cloud_count; i++)
		status_clear(&all[i]);
	free(all);
}

void gather_status_free_one(struct gather_status *one)
{
	status_clear(one);
	free(one);
}
