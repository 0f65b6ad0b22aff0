#include "cloudd/emit_alerts.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/serve_alerts.h"
#include "common/err.h"

struct alerts_of {
	bool led; /* the place is of this leadership */
	uint64_t term;
	uint64_t looked; /* as emit_shard's */
	struct sink_place at;
};

/* What came of one look at a shard. */
struct piece {
	uint32_t shard;
	struct sink_place to;
	bool reset;
	struct buf raw;
};

struct emit_alerts {
	struct emit_options o;
	struct alerts_of *shards;
	uint32_t shard_count;
	struct piece piece; /* of the batch */
	bool taken;         /* there is one */
	struct alert_event events[SINK_BATCH_ALERTS];
	uint32_t next;      /* shard to look at first */
	uint64_t resets;
};

struct emit_alerts *emit_alerts_new(const struct emit_options *o)
{
	struct emit_alerts *e = xcalloc(1, sizeof(*e));
	const struct topology *t = node_topology(o->node);
	e->o = *o;
	e->shard_count = t->shards;
	topology_free(t);
	e->shards = xcalloc(e->shard_count, sizeof(*e->shards));
	return e;
}

static void drop_piece(struct emit_alerts *e)
{
	buf_free(&e->piece.raw);
	e->piece = (struct piece){0};
	e->taken = false;
}

void emit_alerts_free(struct emit_alerts *e)
{
	if (!e)
		return;
	drop_piece(e);
	free(e->shards);
	free(e);
}

static void tell(struct emit_alerts *e, uint32_t shard, struct sink_place at)
{
	const char *sink = e->o.conf->name;
	struct entry_place p = {bytes_of(sink, strlen(sink)), bytes_of(SINK_PLACE_ALERTS_NAME, strlen(SINK_PLACE_ALERTS_NAME)),
	    SINK_PLACE_ALERTS, at.index, at.n};
	e->o.places(e->o.arg, shard, &p, 1);
}

static void load(struct emit_alerts *e, uint32_t shard, uint64_t term)
{
	struct alerts_of *sh = &e->shards[shard];
	struct serve_place p;
	const char *reason;
	*sh = (struct alerts_of){.term = term};
	sh->led = serve_alert_place(e->o.serve, shard, e->o.conf->name, &p, &reason) == VERDICT_OK;
	if (!sh->led)
		return;
	sh->at = p.place;
	if (!p.stored)
		tell(e, shard, p.place); /* what is deleted from now on is missed */
}

/* Whether there may be events of the shard; the place is known then. */
static bool enter(struct emit_alerts *e, uint32_t shard, uint64_t durable)
{
	struct alerts_of *sh = &e->shards[shard];
	struct group_status status;
	if (!node_serves(e->o.node, shard + 1)) {
		sh->led = false;
		return false;
	}
	node_group_status(e->o.node, shard + 1, &status);
	if (!sh->led || sh->term != status.term)
		load(e, shard, status.term);
	return sh->led && (sh->looked != durable || !durable);
}

/* Pointers go into the piece's bytes. */
static size_t read_events(struct emit_alerts *e)
{
	struct rd r = rd_init(e->piece.raw.data, e->piece.raw.len);
	size_t n = 0;
	while (rd_left(&r) && n < SINK_BATCH_ALERTS) {
		struct bytes b;
		b.p = rd_bytes(&r, SIZE_MAX, &b.n);
		if (r.err || alert_event_decode(b, &e->events[n]))
			break; /* not possible of this node's own bytes */
		e->events[n++].shard = e->piece.shard;
	}
	return n;
}

/* The number of events; where none is for the sink the place moves all the same. */
static size_t collect_shard(struct emit_alerts *e, uint32_t shard)
{
	struct alerts_of *sh = &e->shards[shard];
	uint64_t durable = progress_durable(e->o.progress, shard + 1);
	if (!enter(e, shard, durable))
		return 0;
	struct piece *p = &e->piece;
	*p = (struct piece){.shard = shard, .to = sh->at};
	int rc = serve_alert_events(e->o.serve, shard, e->o.conf->name, &p->to, SINK_BATCH_ALERTS, &p->raw, &p->reset);
	bool moved = p->to.index != sh->at.index || p->to.n != sh->at.n;
	size_t n = rc ? 0 : read_events(e);
	e->taken = !rc && moved;
	if (!rc && !moved)
		sh->looked = durable;
	if (!n && e->taken)
		emit_alerts_delivered(e);
	else if (!n)
		drop_piece(e);
	return n;
}

bool emit_alerts_collect(struct emit_alerts *e, struct sink_alerts *ret_batch)
{
	drop_piece(e);
	for (uint32_t i = 0; i < e->shard_count && !e->o.stopping(e->o.arg); i++) {
		uint32_t shard = (e->next + i) % e->shard_count;
		size_t n = collect_shard(e, shard);
		if (!n)
			continue;
		e->next = (shard + 1) % e->shard_count;
		*ret_batch = (struct sink_alerts){e->events, n};
		return true;
	}
	return false;
}

void emit_alerts_delivered(struct emit_alerts *e)
{
	struct piece *p = &e->piece;
	if (!e->taken)
		return;
	e->resets += p->reset;
	if (e->shards[p->shard].led)
		e->shards[p->shard].at = p->to;
	tell(e, p->shard, p->to);
	drop_piece(e);
}

void emit_alerts_measure(const struct emit_alerts *e, int64_t wall_ns, struct emit_figures *f)
{
	struct serve_alerts_left left;
	f->resets += e->resets;
	for (uint32_t shard = 0; shard < e->shard_count; shard++) {
		const struct alerts_of *sh = &e->shards[shard];
		if (!sh->led || (sh->looked && sh->looked == progress_durable(e->o.progress, shard + 1)))
			continue;
		if (serve_alerts_left(e->o.serve, shard, e->o.conf->name, sh->at, wall_ns, &left))
			continue;
		f->alerts += left.events;
		f->lag_ns = left.age_ns > f->lag_ns ? left.age_ns : f->lag_ns;
	}
}
