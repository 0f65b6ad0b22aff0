#include "cloudd/leader.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/pending.h"
#include "cloudd/sink_pace.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"

struct leader_edge {
	uint64_t epoch;    /* the highest proposed */
	bool open;         /* an OPEN of this epoch was applied: the fields below hold */
	uint64_t proposed; /* seq */
	uint64_t applied;  /* seq */
	bool knows_checksum;
	uint64_t checksum; /* of the batch `applied` */
};

struct leader {
	const struct topology *topology;
	uint32_t shard, group;
	struct leader_io io;
	struct leader_counters *counters;
	bool leads;
	bool mapped;               /* the shard's state goes by a cluster map: the same on all replicas */
	uint64_t map_version;      /* of that, as of the last entry applied */
	struct leader_edge **edges; /* by index in the topology, made when first needed */
	uint64_t advanced;         /* meta index of the last advance taken; 0: not known yet */
	uint64_t advance_proposed; /* meta index of the last one proposed, or advanced; 0: not known yet */
	struct pending pending;
	bool sweeping;             /* a sweep is in flight */
	int64_t sweep_due_ns;      /* monotonic; INT64_MAX: none is due */
	struct sink_pace sinks;    /* places that the log is not told of yet */
	bool telling_sinks;        /* an entry of them is in flight */
	int64_t sinks_due_ns;      /* monotonic: the next one not before */
};

struct leader *leader_new(const struct topology *t, uint32_t shard,
    const struct leader_io *io, struct leader_counters *counters)
{
	struct leader *s = xcalloc(1, sizeof(*s));
	s->topology = t;
	s->shard = shard;
	s->group = shard + 1;
	s->io = *io;
	s->counters = counters;
	s->edges = xcalloc(t->edge_count, sizeof(struct leader_edge *));
	s->sweep_due_ns = INT64_MAX;
	return s;
}

static void forget_edges(struct leader *s)
{
	for (size_t i = 0; i < s->topology->edge_count; i++) {
		free(s->edges[i]);
		s->edges[i] = NULL;
	}
}

void leader_free(struct leader *s)
{
	if (!s)
		return;
	forget_edges(s);
	free(s->edges);
	sink_pace_free(&s->sinks);
	pending_free(&s->pending);
	free(s);
}

void leader_set_topology(struct leader *s, const struct topology *t)
{
	weir_assert(t->edge_count >= s->topology->edge_count);
	s->edges = xrealloc(s->edges, (t->edge_count + 1) * sizeof(struct leader_edge *));
	for (size_t i = s->topology->edge_count; i < t->edge_count; i++)
		s->edges[i] = NULL;
	s->topology = t;
}

static struct leader_edge *edge_of(struct leader *s, uint32_t edge)
{
	if (!s->edges[edge])
		s->edges[edge] = xcalloc(1, sizeof(struct leader_edge));
	return s->edges[edge];
}

static struct bytes edge_name(const struct leader *s, uint32_t edge)
{
	const char *name = s->topology->edges[edge].name;
	return bytes_of(name, strlen(name));
}

static void answer(struct leader *s, const struct origin *o, enum verdict v, uint64_t epoch, uint64_t last,
    const char *reason)
{
	s->io.answer(s->io.arg, o, &(struct answer){.verdict = v, .epoch = epoch, .last = last, .reason = reason});
}

/* What a refused proposal means to who asked. */
static enum verdict verdict_of(int rc, const char **ret_reason)
{
	if (rc == WEIR_EBUSY) {
		*ret_reason = "the shard's log is busy";
		return VERDICT_BUSY;
	}
	if (rc == WEIR_EFULL) {
		*ret_reason = "too few of the shard's replicas have room on their disks";
		return VERDICT_BUSY;
	}
	if (rc == WEIR_ETOOBIG) {
		*ret_reason = "too large for an entry";
		return VERDICT_REFUSED;
	}
	*ret_reason = "the shard's log does not take entries";
	return VERDICT_UNAVAILABLE;
}

static void wait_for(struct leader *s, struct pending_item *item, const struct origin *o)
{
	struct origin dropped;
	if (!pending_wait(item, o, &dropped))
		answer(s, &dropped, VERDICT_BUSY, 0, 0, "asked again too often");
}

/* ---- leadership ------------------------------------------------------------------------------------------------- */

void leader_stop(struct leader *s)
{
	if (!s->leads)
		return;
	struct pending left = s->pending;
	s->pending = (struct pending){0};
	s->leads = false;
	s->sweep_due_ns = INT64_MAX;
	sink_pace_free(&s->sinks);
	forget_edges(s);
	for (struct pending_item *item; (item = pending_at(&left, 0)); pending_pop(&left)) {
		for (uint32_t i = 0; i < item->waiter_count; i++) {
			const struct origin *o = &item->waiters[i];
			s->counters->busy += o->type == MSG_BATCH;
			s->io.answer(s->io.arg, o, &(struct answer){.verdict = VERDICT_UNAVAILABLE, .meta_index = s->advanced,
			    .reason = "the shard's leader changed: asked again, it is answered"});
		}
	}
	pending_free(&left);
}

void leader_lead(struct leader *s, struct leader_time now)
{
	leader_stop(s); /* led in another term */
	s->leads = true;
	s->advance_proposed = s->advanced;
	s->sweeping = false;
	s->telling_sinks = false;
	s->sweep_due_ns = now.mono_ns; /* a sweep may have been cut short by the last leader's end */
}

/* True: answered, because another replica leads. */
static bool not_leading(struct leader *s, const struct origin *o)
{
	if (s->leads)
		return false;
	s->counters->busy++;
	s->io.answer(s->io.arg, o, &(struct answer){.verdict = VERDICT_UNAVAILABLE, .meta_index = s->advanced,
	    .reason = "this node does not lead the shard"});
	return true;
}

/* The same of edges' requests, which wait for the map, too. */
static bool not_serving(struct leader *s, const struct origin *o)
{
	if (not_leading(s, o))
		return true;
	if (s->mapped)
		return false;
	s->counters->busy++;
	s->io.answer(s->io.arg, o, &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "the shard has no map of the cluster yet"});
	return true;
}

/* ---- OPEN ------------------------------------------------------------------------------------------------------ */

static struct pending_item *find_open(const struct leader *s, uint32_t edge)
{
	for (size_t i = 0; i < s->pending.count; i++) {
		struct pending_item *item = pending_at(&s->pending, i);
		if (item->kind == ENTRY_OPEN && item->edge == edge)
			return item;
	}
	return NULL;
}

static bool same_open(const struct pending_item *item, const struct msg *m)
{
	return item->epoch == m->open.epoch && item->low == m->open.low && item->high == m->open.high &&
	    item->resume == m->open.resume;
}

static void propose_open(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now)
{
	struct entry e = {.kind = ENTRY_OPEN, .time_ns = now.wall_ns};
	e.open.edge = edge_name(s, o->edge);
	e.open.epoch = m->open.epoch;
	e.open.low = m->open.low;
	e.open.high = m->open.high;
	e.open.resume = m->open.resume;
	uint64_t index;
	const char *reason;
	int rc = s->io.propose(s->io.arg, s->group, &e, false, &index);
	if (rc) {
		enum verdict v = verdict_of(rc, &reason);
		answer(s, o, v, 0, 0, reason);
		return;
	}
	struct leader_edge *edge = edge_of(s, o->edge);
	if (m->open.epoch > edge->epoch)
		*edge = (struct leader_edge){.epoch = m->open.epoch};
	struct pending_item *item = pending_push(&s->pending, index);
	item->kind = ENTRY_OPEN;
	item->edge = o->edge;
	item->epoch = m->open.epoch;
	item->low = m->open.low;
	item->high = m->open.high;
	item->resume = m->open.resume;
	wait_for(s, item, o);
}

void leader_open(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now)
{
	if (not_serving(s, o))
		return;
	struct leader_edge *edge = edge_of(s, o->edge);
	if (m->open.epoch == 0 || m->open.low == 0 || m->open.high == UINT64_MAX || m->open.low > m->open.high + 1) {
		s->counters->refused++;
		answer(s, o, VERDICT_REFUSED, 0, 0, "impossible numbers");
		return;
	}
	if (m->open.epoch < edge->epoch) {
		s->counters->fenced++;
		answer(s, o, VERDICT_FENCED, edge->epoch, 0, "another holder of this name has a later epoch");
		return;
	}
	struct pending_item *item = find_open(s, o->edge);
	if (item && same_open(item, m))
		wait_for(s, item, o);
	else if (item && item->epoch >= m->open.epoch)
		answer(s, o, VERDICT_BUSY, 0, 0, "another OPEN is in flight");
	else
		propose_open(s, o, m, now);
}

static void open_applied(struct leader *s, const struct pending_item *item, const struct apply_result *r)
{
	struct leader_edge *edge = edge_of(s, item->edge);
	s->counters->opens++;
	if (r->verdict == VERDICT_FENCED)
		s->counters->fenced++;
	if (r->epoch > edge->epoch)
		*edge = (struct leader_edge){.epoch = r->epoch};
	/* While it is open already, batches were proposed after this OPEN: it is one sent twice, and changes nothing. */
	if (r->verdict != VERDICT_OK || item->epoch != edge->epoch || edge->open)
		return;
	*edge = (struct leader_edge){.epoch = item->epoch, .open = true, .proposed = r->last, .applied = r->last};
}

/* ---- BATCH ----------------------------------------------------------------------------------------------------- */

static struct pending_item *find_batch(const struct leader *s, uint32_t edge, uint64_t epoch, uint64_t seq)
{
	for (size_t i = s->pending.count; i-- > 0;) {
		struct pending_item *item = pending_at(&s->pending, i);
		if (item->kind == ENTRY_BATCH && item->edge == edge && item->epoch == epoch && item->seq == seq)
			return item;
	}
	return NULL;
}

/* NULL when the body is a batch of this shard with this seq, as far as its head tells; apply reads the rest, on another
 * thread, and refuses what does not decode. */
static const char *body_problem(const struct leader *s, const struct msg *m)
{
	uint32_t shard;
	uint64_t seq;
	if (m->batch.body.n > BATCH_BODY_MAX || batch_head(m->batch.body.p, m->batch.body.n, &shard, &seq))
		return "the batch does not decode";
	return shard == s->shard && seq == m->batch.seq ? NULL : "the batch is another one than its frame says";
}

static void propose_batch(struct leader *s, const struct origin *o, const struct msg *m, uint64_t checksum,
    struct leader_time now)
{
	struct leader_edge *edge = edge_of(s, o->edge);
	const char *reason = body_problem(s, m);
	if (reason) {
		s->counters->refused++;
		answer(s, o, VERDICT_REFUSED, edge->epoch, edge->applied, reason);
		return;
	}
	/* It may hold versions of streams that the shard has not heard of yet: it would count them as unknown, and drop them. */
	if (m->batch.map_version > s->map_version) {
		s->counters->busy++;
		answer(s, o, VERDICT_BUSY, edge->epoch, edge->applied, "the shard does not have the edge's cluster map yet");
		return;
	}
	struct entry e = {.kind = ENTRY_BATCH, .time_ns = now.wall_ns};
	e.batch.edge = edge_name(s, o->edge);
	e.batch.epoch = m->batch.epoch;
	e.batch.seq = m->batch.seq;
	e.batch.checksum = checksum;
	e.batch.body = m->batch.body;
	uint64_t index;
	int rc = s->io.propose(s->io.arg, s->group, &e, false, &index);
	if (rc) {
		s->counters->busy++;
		enum verdict v = verdict_of(rc, &reason);
		answer(s, o, v, edge->epoch, edge->applied, reason);
		return;
	}
	if (m->batch.seq > edge->proposed)
		edge->proposed = m->batch.seq;
	struct pending_item *item = pending_push(&s->pending, index);
	item->kind = ENTRY_BATCH;
	item->edge = o->edge;
	item->epoch = m->batch.epoch;
	item->seq = m->batch.seq;
	item->checksum = checksum;
	wait_for(s, item, o);
}

/* A batch that was proposed, or applied, before. */
static void repeated_batch(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now)
{
	struct leader_edge *edge = edge_of(s, o->edge);
	uint64_t checksum = batch_checksum(m->batch.body.p, m->batch.body.n);
	struct pending_item *item = find_batch(s, o->edge, m->batch.epoch, m->batch.seq);
	if (item && item->checksum == checksum) {
		wait_for(s, item, o);
		return;
	}
	bool last = m->batch.seq == edge->applied;
	if (!item && last && !edge->knows_checksum) {
		propose_batch(s, o, m, checksum, now); /* apply knows; it is merged once whatever happens */
		return;
	}
	if (item || (last && checksum != edge->checksum)) {
		s->counters->fenced++;
		answer(s, o, VERDICT_FENCED, edge->epoch, edge->applied,
		    "another batch was accepted under this number: this is an old copy of the edge's data");
		return;
	}
	s->counters->duplicates++;
	answer(s, o, VERDICT_DUPLICATE, edge->epoch, edge->applied, NULL);
}

void leader_batch(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now)
{
	if (not_serving(s, o))
		return;
	struct leader_edge *edge = edge_of(s, o->edge);
	if (m->batch.epoch < edge->epoch) {
		s->counters->fenced++;
		answer(s, o, VERDICT_FENCED, edge->epoch, edge->applied, "another holder of this name has a later epoch");
	} else if (!edge->open || m->batch.epoch > edge->epoch) {
		s->counters->not_open++;
		answer(s, o, VERDICT_NOT_OPEN, edge->epoch, 0, NULL);
	} else if (m->batch.seq == edge->proposed + 1) {
		propose_batch(s, o, m, batch_checksum(m->batch.body.p, m->batch.body.n), now);
	} else if (m->batch.seq <= edge->proposed && m->batch.seq > 0) {
		repeated_batch(s, o, m, now);
	} else {
		s->counters->out_of_sequence++;
		answer(s, o, VERDICT_OUT_OF_SEQUENCE, edge->epoch, edge->proposed, NULL);
	}
}

static void count_batch(struct leader_counters *c, enum verdict v)
{
	switch (v) {
	case VERDICT_OK:
		c->merged++;
		break;
	case VERDICT_DUPLICATE:
		c->duplicates++;
		break;
	case VERDICT_FENCED:
		c->fenced++;
		break;
	case VERDICT_OUT_OF_SEQUENCE:
		c->out_of_sequence++;
		break;
	case VERDICT_NOT_OPEN:
		c->not_open++;
		break;
	case VERDICT_BUSY:
	case VERDICT_UNAVAILABLE:
		c->busy++;
		break;
	case VERDICT_REFUSED:
		c->refused++;
		break;
	}
}

static void batch_applied(struct leader *s, const struct pending_item *item, const struct apply_result *r)
{
	struct leader_edge *edge = edge_of(s, item->edge);
	count_batch(s->counters, r->verdict);
	if (item->epoch != edge->epoch || !edge->open)
		return;
	if (r->verdict == VERDICT_OK || r->verdict == VERDICT_DUPLICATE) {
		if (item->seq >= edge->applied) {
			edge->applied = item->seq;
			edge->checksum = item->checksum;
			edge->knows_checksum = true;
		}
	} else if (item->seq > edge->applied) {
		/* What was proposed is not what is: learn it anew from the next OPEN. */
		edge->open = false;
	}
}

/* ---- ADVANCE --------------------------------------------------------------------------------------------------- */

static struct pending_item *find_advance(const struct leader *s, uint64_t meta_index)
{
	for (size_t i = s->pending.count; i-- > 0;) {
		struct pending_item *item = pending_at(&s->pending, i);
		if (item->kind == ENTRY_ADVANCE && item->meta_index == meta_index)
			return item;
	}
	return NULL;
}

static void answer_advance(struct leader *s, const struct origin *o, enum verdict v)
{
	s->io.answer(s->io.arg, o, &(struct answer){.verdict = v, .meta_index = s->advanced});
}

static void propose_advance(struct leader *s, const struct origin *o, struct entry *e, uint64_t meta_index,
    struct leader_time now)
{
	uint64_t index;
	const char *reason;
	e->time_ns = now.wall_ns;
	int rc = s->io.propose(s->io.arg, s->group, e, true, &index);
	if (rc) {
		answer_advance(s, o, verdict_of(rc, &reason));
		return;
	}
	s->advance_proposed = meta_index;
	struct pending_item *item = pending_push(&s->pending, index);
	item->kind = ENTRY_ADVANCE; /* maps too: they are of one queue */
	item->meta_index = meta_index;
	wait_for(s, item, o);
}

void leader_advance(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now)
{
	struct entry e;
	if (not_leading(s, o))
		return;
	if (entry_decode(m->advance.entry, &e)) {
		s->counters->refused++;
		answer_advance(s, o, VERDICT_REFUSED);
		return;
	}
	bool is_map = e.kind == ENTRY_MAP;
	uint64_t meta_index = is_map ? e.map.meta_index : e.kind == ENTRY_ADVANCE ? e.advance.meta_index : 0;
	uint64_t after = is_map ? e.map.after : meta_index ? e.advance.after : 0;
	struct pending_item *item = find_advance(s, meta_index);
	if (meta_index == 0 || meta_index != m->advance.meta_index) {
		s->counters->refused++;
		answer_advance(s, o, VERDICT_REFUSED);
	} else if (item) {
		wait_for(s, item, o);
	} else if (s->advanced >= meta_index) {
		answer_advance(s, o, VERDICT_OK);
	} else if (s->advance_proposed && after > s->advance_proposed) {
		answer_advance(s, o, VERDICT_OUT_OF_SEQUENCE); /* one before it was lost on the way */
	} else {
		propose_advance(s, o, &e, meta_index, now);
	}
	entry_clear(&e);
}

/* ---- applied --------------------------------------------------------------------------------------------------- */

static uint64_t find_last_advance(const struct leader *s)
{
	for (size_t i = s->pending.count; i-- > 0;) {
		const struct pending_item *item = pending_at(&s->pending, i);
		if (item->kind == ENTRY_ADVANCE)
			return item->meta_index;
	}
	return s->advanced;
}

static void answer_waiters(struct leader *s, const struct pending_item *item, const struct apply_result *r)
{
	struct answer a = {.verdict = r->verdict, .epoch = r->epoch, .last = r->last, .reason = r->reason};
	/* Fenced for what its spool holds: this is about the epoch that asked, which the shard has not taken. */
	if (item->kind == ENTRY_OPEN && item->epoch > a.epoch)
		a.epoch = item->epoch;
	if (item->kind == ENTRY_ADVANCE)
		a = (struct answer){.verdict = VERDICT_OK, .meta_index = s->advanced};
	for (uint32_t i = 0; i < item->waiter_count; i++)
		s->io.answer(s->io.arg, &item->waiters[i], &a);
}

static void item_applied(struct leader *s, const struct pending_item *item, const struct apply_result *r)
{
	switch (item->kind) {
	case ENTRY_OPEN:
		open_applied(s, item, r);
		break;
	case ENTRY_BATCH:
		batch_applied(s, item, r);
		break;
	case ENTRY_ADVANCE:
	case ENTRY_MAP:
		s->counters->advances++;
		/* One that came after a gap was not taken: what is proposed next must follow what was. */
		s->advance_proposed = find_last_advance(s);
		break;
	case ENTRY_SWEEP:
		s->counters->sweeps++;
		s->sweeping = false;
		break;
	case ENTRY_SINK:
		s->counters->sinks++;
		s->telling_sinks = false;
		break;
	case ENTRY_ALERT:
		s->counters->alerts++;
		break;
	case ENTRY_CREATE:
	case ENTRY_CLAIM:
	case ENTRY_READMIT:
	case ENTRY_CLOSE:
	case ENTRY_TAKEN:
	case ENTRY_TOPOLOGY:
	case ENTRY_NODE:
	case ENTRY_CUT:
	case ENTRY_REVOKE:
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		break; /* never proposed by a shard's leader */
	}
}

static void note_sweep(struct leader *s, const struct apply_result *r, int64_t mono_ns)
{
	int64_t due_ns = INT64_MAX;
	if (r->more)
		due_ns = mono_ns;
	else if (r->dirty)
		due_ns = mono_ns + LEADER_DIRTY_SWEEP_MS * NS_PER_MS;
	if (due_ns < s->sweep_due_ns)
		s->sweep_due_ns = due_ns;
}

static void note_advanced(struct leader *s, uint64_t meta_index)
{
	if (meta_index > s->advanced)
		s->advanced = meta_index;
	if (s->advanced > s->advance_proposed)
		s->advance_proposed = s->advanced;
}

void leader_applied(struct leader *s, const struct apply_result *r, struct leader_time now)
{
	note_advanced(s, r->meta_index);
	s->mapped = s->mapped || r->map_version;
	if (r->map_version > s->map_version)
		s->map_version = r->map_version;
	if (!s->leads)
		return;
	struct pending_item *first = pending_first(&s->pending, r->index);
	if (first) {
		weir_assert(first->index == r->index);
		struct pending_item item = *first; /* answering may make more requests come in: the ring moves */
		pending_pop(&s->pending);
		item_applied(s, &item, r);
		answer_waiters(s, &item, r);
	}
	note_sweep(s, r, now.mono_ns);
	if (s->sweep_due_ns <= now.mono_ns)
		leader_tick(s, now);
}

static void tick_sweep(struct leader *s, struct leader_time now)
{
	if (s->sweeping || s->sweep_due_ns > now.mono_ns)
		return;
	struct entry e = {.kind = ENTRY_SWEEP, .time_ns = now.wall_ns};
	uint64_t index;
	if (s->io.propose(s->io.arg, s->group, &e, true, &index)) {
		s->sweep_due_ns = now.mono_ns + LEADER_RETRY_MS * NS_PER_MS;
		return;
	}
	pending_push(&s->pending, index)->kind = ENTRY_SWEEP;
	s->sweeping = true;
	s->sweep_due_ns = INT64_MAX;
}

static bool sinks_wait(const struct leader *s)
{
	return s->sinks.count && !s->telling_sinks;
}

static void tick_sinks(struct leader *s, struct leader_time now)
{
	struct entry_place places[ENTRY_PLACES_MAX];
	uint64_t index;
	if (!sinks_wait(s) || s->sinks_due_ns > now.mono_ns)
		return;
	struct entry e = {.kind = ENTRY_SINK, .time_ns = now.wall_ns, .sink = {sink_pace_first(&s->sinks, places), places}};
	if (s->io.propose(s->io.arg, s->group, &e, true, &index)) {
		s->sinks_due_ns = now.mono_ns + LEADER_RETRY_MS * NS_PER_MS;
		return;
	}
	pending_push(&s->pending, index)->kind = ENTRY_SINK;
	sink_pace_taken(&s->sinks, e.sink.count);
	s->telling_sinks = true;
	s->sinks_due_ns = now.mono_ns + SINK_PACE_NS;
}

void leader_sinks(struct leader *s, const struct entry_place *places, size_t count)
{
	for (size_t i = 0; s->leads && i < count; i++)
		sink_pace_add(&s->sinks, &places[i]);
}

void leader_alerts(struct leader *s, const struct entry *e, struct leader_time now)
{
	struct entry timed = *e;
	uint64_t index;
	timed.time_ns = now.wall_ns;
	if (s->leads && !s->io.propose(s->io.arg, s->group, &timed, true, &index))
		pending_push(&s->pending, index)->kind = ENTRY_ALERT;
}

void leader_tick(struct leader *s, struct leader_time now)
{
	if (!s->leads)
		return;
	tick_sweep(s, now);
	tick_sinks(s, now);
}

int64_t leader_due_ns(const struct leader *s)
{
	int64_t due_ns = !s->leads || s->sweeping ? INT64_MAX : s->sweep_due_ns;
	return s->leads && sinks_wait(s) && s->sinks_due_ns < due_ns ? s->sinks_due_ns : due_ns;
}
