#include "cloudd/route.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

struct waiting {
	bool open; /* not answered yet */
	uint32_t node;
	int64_t deadline_ns;
	struct origin origin;
};

struct route {
	const struct topology *topology;
	const char *self_name;
	struct route_io io;
	struct waiting *ring;
	size_t cap, head, count;
	uint64_t first_id; /* of ring[head] */
	struct buf frame;
	struct route_counters counters;
};

struct route *route_new(const struct topology *t, const char *self_name, uint64_t first_id, const struct route_io *io)
{
	struct route *r = xcalloc(1, sizeof(*r));
	r->topology = t;
	r->self_name = self_name;
	r->io = *io;
	r->first_id = first_id ? first_id : 1;
	return r;
}

void route_set_topology(struct route *r, const struct topology *t)
{
	r->topology = t;
}

void route_free(struct route *r)
{
	if (!r)
		return;
	free(r->ring);
	buf_free(&r->frame);
	free(r);
}

static void grow(struct route *r)
{
	size_t cap = r->cap ? r->cap * 2 : 64;
	struct waiting *ring = xcalloc(cap, sizeof(*ring));
	for (size_t i = 0; i < r->count; i++)
		ring[i] = r->ring[(r->head + i) % r->cap];
	free(r->ring);
	r->ring = ring;
	r->cap = cap;
	r->head = 0;
}

int route_forward(struct route *r, uint32_t node, const struct msg *m, const struct origin *o, int64_t mono_ns)
{
	weir_assert(!o->forwarded);
	if (r->count >= ROUTE_WAITING_MAX) {
		r->counters.busy++;
		return WEIR_EBUSY;
	}
	uint64_t id = r->first_id + r->count;
	struct msg out = *m;
	out.req_id = id;
	out.from = r->self_name;
	buf_clear(&r->frame);
	int rc = msg_encode(&out, &r->frame);
	if (rc || !r->io.send_node(r->io.arg, node, r->frame.data, r->frame.len)) {
		r->counters.unreachable++;
		return WEIR_ECLOSED;
	}
	if (r->count == r->cap)
		grow(r);
	r->ring[(r->head + r->count) % r->cap] =
	    (struct waiting){true, node, mono_ns + ROUTE_TIMEOUT_MS * NS_PER_MS, *o};
	r->count++;
	r->counters.forwarded++;
	r->counters.waiting++;
	return 0;
}

static void drop_answered(struct route *r)
{
	while (r->count && !r->ring[r->head].open) {
		r->head = (r->head + 1) % r->cap;
		r->count--;
		r->first_id++;
	}
}

/* The request that a reply type answers, and its answer; false for other messages. */
static bool answer_of(const struct msg *m, enum msg_type *ret_type, struct answer *ret)
{
	struct answer a = {0};
	if (m->type == MSG_HELLO_REPLY) {
		*ret_type = MSG_HELLO;
		a = (struct answer){.verdict = m->hello_reply.verdict, .epoch = m->hello_reply.epoch,
		    .resume = m->hello_reply.resume, .readmitted = m->hello_reply.readmitted,
		    .reason = m->hello_reply.reason};
	} else if (m->type == MSG_OPEN_REPLY) {
		*ret_type = MSG_OPEN;
		a = (struct answer){.verdict = m->open_reply.verdict, .epoch = m->open_reply.epoch,
		    .last = m->open_reply.last, .reason = m->open_reply.reason};
	} else if (m->type == MSG_BATCH_REPLY) {
		*ret_type = MSG_BATCH;
		a = (struct answer){.verdict = m->batch_reply.verdict, .epoch = m->batch_reply.epoch,
		    .last = m->batch_reply.last, .reason = m->batch_reply.reason};
	} else if (m->type == MSG_REPORT_REPLY) {
		*ret_type = MSG_REPORT;
		a = (struct answer){.verdict = m->report_reply.verdict, .epoch = m->report_reply.epoch,
		    .reason = m->report_reply.reason};
	} else if (m->type == MSG_READMIT_REPLY) {
		*ret_type = MSG_READMIT;
		a = (struct answer){.verdict = m->readmit_reply.verdict, .reason = m->readmit_reply.reason};
	} else if (m->type == MSG_TOPOLOGY_REPLY) {
		*ret_type = MSG_TOPOLOGY;
		a = (struct answer){.verdict = m->topology_reply.verdict, .map_version = m->topology_reply.version,
		    .reason = m->topology_reply.reason};
	} else if (m->type == MSG_REVOKE_REPLY) {
		*ret_type = MSG_REVOKE;
		a = (struct answer){.verdict = m->revoke_reply.verdict, .map_version = m->revoke_reply.version,
		    .reason = m->revoke_reply.reason};
	} else {
		return false;
	}
	*ret = a;
	return true;
}

void route_reply(struct route *r, uint32_t node, const struct msg *m)
{
	enum msg_type type;
	struct answer a;
	uint64_t place = m->req_id - r->first_id; /* of an earlier id: huge */
	if (!answer_of(m, &type, &a) || place >= r->count) {
		r->counters.unmatched++;
		return;
	}
	struct waiting *w = &r->ring[(r->head + (size_t)place) % r->cap];
	if (!w->open || w->node != node || w->origin.type != type) {
		r->counters.unmatched++;
		return;
	}
	struct origin o = w->origin;
	w->open = false;
	r->counters.waiting--;
	r->counters.answered++;
	drop_answered(r);
	r->io.answered(r->io.arg, &o, &a);
}

static uint32_t group_of(const struct origin *o)
{
	return o->type == MSG_OPEN || o->type == MSG_BATCH ? o->shard + 1 : 0;
}

/* Takes an unanswered request, which goes at the next drop_answered(). */
static void give_up(struct route *r, struct waiting *w, const char *reason)
{
	struct origin o = w->origin;
	w->open = false;
	r->counters.waiting--;
	r->counters.moved++;
	r->io.answered(r->io.arg, &o, &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = reason});
}

void route_group_led(struct route *r, uint32_t group, int node)
{
	for (size_t i = 0; i < r->count; i++) {
		struct waiting *w = &r->ring[(r->head + i) % r->cap];
		if (w->open && (int)w->node != node && group_of(&w->origin) == group)
			give_up(r, w, "its leader changed: asked again, it is answered");
	}
	drop_answered(r);
}

void route_node_restarted(struct route *r, uint32_t node)
{
	for (size_t i = 0; i < r->count; i++) {
		struct waiting *w = &r->ring[(r->head + i) % r->cap];
		if (w->open && w->node == node)
			give_up(r, w, "the node that serves it has restarted: asked again, it is answered");
	}
	drop_answered(r);
}

void route_tick(struct route *r, int64_t mono_ns)
{
	drop_answered(r);
	while (r->count && r->ring[r->head].deadline_ns <= mono_ns) {
		struct origin o = r->ring[r->head].origin;
		r->ring[r->head].open = false;
		r->counters.waiting--;
		r->counters.timeouts++;
		drop_answered(r);
		r->io.answered(r->io.arg, &o,
		    &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "the node that serves it does not answer"});
	}
}

const struct route_counters *route_counters(const struct route *r)
{
	return &r->counters;
}
