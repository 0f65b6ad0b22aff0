#include "cloudd/meta.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/fleet_time.h"
#include "cloudd/cutover.h"
#include "cloudd/pending.h"
#include "cloudd/spread.h"
#include "cloudd/watermark.h"
#include "common/clock.h"
#include "common/clock_watch.h"
#include "common/err.h"
#include "common/json.h"
#include "common/map.h"
#include "common/topology.h"

#define NOT_EXPECTED UINT32_MAX

struct report_count {
	char *name;
	uint64_t value;
};

/* What is known of an edge. The part that readers see changes under the lock. */
struct meta_row {
	struct meta_grant grant; /* committed */
	/* heard */
	bool reported;
	int64_t heard_ns; /* monotonic: of the last report or grant, or the leader's start */
	uint64_t report_epoch, incarnation, seq; /* of the last report */
	bool has_before;
	uint64_t incarnation_before; /* in the same epoch */
	uint64_t spool_bytes, accepted, map_version;
	bool clock_suspect;    /* by its own word */
	int64_t wall_ahead_ns; /* its wall clock minus the leader's monotonic clock, as it reported it */
	int64_t clock_ns;      /* monotonic: when it did */
	bool beyond;           /* its last report said what cannot be yet */
	bool fenced;           /* one who claimed or reported under this name was */
	int64_t fenced_ns;     /* monotonic: when last */
	uint64_t fenced_epoch; /* the last one granted, when somebody who claimed was fenced, or said to have been; 0: nobody */
	size_t refused_count;
	struct report_count *refused;
};

struct stream_row {
	const struct stream_conf *conf;
	struct watermark_conf watermark;
	bool shown;                          /* of several versions of a stream the one that answers now */
	uint32_t edge_count;
	uint32_t *edges;                     /* topology indexes, in the order of their names */
	uint32_t *place_of;                  /* by topology index: place in `edges`, or NOT_EXPECTED */
	struct watermark_committed *committed;
	struct watermark_heard *heard;
	int64_t *since;                      /* likewise: since when each feeds this version (entry_edge), never falling */
	struct watermark_committed *next;    /* scratch */
	int64_t close_ns, final_ns;          /* committed */
	bool dirty;                          /* something was heard since it was looked at */
	struct cutover_edge *fed;            /* heard: from when on each edge feeds this version */
	int64_t left_end_ns;                 /* highest flushed end of edges that are expected no more, or WATERMARK_NONE */
	int64_t left_since_ns;               /* heard: the latest that one of them feeds this version from, or WATERMARK_NONE */
	int64_t asked_close_ns, asked_final_ns; /* the highest proposed by this leader, or committed */
	bool cutting;                        /* an ENTRY_CUT of it is in flight */
	int64_t looked_ns, told_ns;          /* when it was looked at; when it was last part of a close */
};

struct meta {
	const struct topology *topology;
	struct meta_io io;
	uint8_t random[CLUSTER_ID_BYTES];
	bool leads, created, creating;
	bool mapping; /* the first map was proposed in this time */
	uint8_t id[CLUSTER_ID_BYTES];
	struct meta_row *rows;
	struct meta_edge *others; /* committed, of edges that the topology never had in this start: one may be added again */
	size_t other_count;
	struct stream_row *streams;
	struct pending pending;
	struct spread *spread;
	uint64_t newest;       /* meta index of the newest advance */
	uint64_t close_index;  /* log index of the last ENTRY_CLOSE applied */
	bool closing;          /* an ENTRY_CLOSE is in flight */
	int64_t close_due_ns, cut_due_ns;
	uint32_t close_turn;   /* the stream that comes first in the next close */
	uint64_t *taken;       /* by shard: last proposed */
	bool *took;            /* by shard: it is committed that it has taken something, so it had a leader once */
	int64_t *taken_due_ns;
	struct clock_watch clock; /* this node's */
	int64_t *clocks;          /* scratch, an edge each and this node's */
	size_t clocks_of;         /* how many counted when the fleet's time was worked out */
	bool clock_new;           /* one that did not count was heard since, and counts */
	int64_t fleet_due_ns;
	int64_t fleet_ahead_ns;   /* fleet_time() minus the monotonic clock, or FLEET_TIME_UNKNOWN */
	struct meta_counters counters;
	pthread_mutex_t lock;  /* of leads, fleet_ahead_ns, rows, streams' committed, heard and close_ns, now_ns */
	int64_t now_ns;
};

/* ---- made and loaded -------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct topology *t = arg;
	return strcmp(t->edges[*(const uint32_t *)a].name, t->edges[*(const uint32_t *)b].name);
}

static const struct cutover_edge unheard = {.since_ns = WATERMARK_NONE};

static bool is_shown(const struct topology *t, const struct stream_conf *s)
{
	return s->phase != STREAM_RETIRED && &t->streams[topology_stream(t, s->name)] == s;
}

static void make_stream(struct stream_row *s, const struct topology *t, const struct stream_conf *conf)
{
	*s = (struct stream_row){.conf = conf, .shown = is_shown(t, conf), .edge_count = (uint32_t)conf->edge_count, .close_ns = WATERMARK_NONE,
	    .final_ns = WATERMARK_NONE, .left_end_ns = WATERMARK_NONE, .left_since_ns = WATERMARK_NONE, .dirty = true};
	s->watermark = (struct watermark_conf){t->partitioned_after_ns, conf->slice_ns, conf->offset_ns, conf->size_ns,
	    conf->lateness_ns};
	s->edges = xcalloc(s->edge_count, sizeof(*s->edges));
	memcpy(s->edges, conf->edges, s->edge_count * sizeof(*s->edges));
	qsort_r(s->edges, s->edge_count, sizeof(*s->edges), compare_names, (void *)(uintptr_t)t);
	s->place_of = xcalloc(t->edge_count, sizeof(*s->place_of));
	for (size_t i = 0; i < t->edge_count; i++)
		s->place_of[i] = NOT_EXPECTED;
	s->committed = xcalloc(s->edge_count, sizeof(*s->committed));
	s->heard = xcalloc(s->edge_count, sizeof(*s->heard));
	s->since = xcalloc(s->edge_count, sizeof(*s->since));
	s->next = xcalloc(s->edge_count, sizeof(*s->next));
	s->fed = xcalloc(s->edge_count, sizeof(*s->fed));
	s->asked_close_ns = s->asked_final_ns = WATERMARK_NONE;
	for (uint32_t i = 0; i < s->edge_count; i++) {
		s->place_of[s->edges[i]] = i;
		s->committed[i] = (struct watermark_committed){EDGE_JOINING, WATERMARK_NONE, WATERMARK_NONE};
		s->since[i] = WATERMARK_NONE;
		s->fed[i] = unheard;
	}
}

static void free_stream(struct stream_row *s)
{
	free(s->edges);
	free(s->place_of);
	free(s->committed);
	free(s->heard);
	free(s->since);
	free(s->next);
	free(s->fed);
}

static bool send_advance(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry)
{
	struct meta *m = arg;
	return m->io.advance(m->io.arg, shard, meta_index, entry);
}

struct meta *meta_new(const struct topology *t, const struct meta_io *io, const uint8_t random[CLUSTER_ID_BYTES])
{
	struct meta *m = xcalloc(1, sizeof(*m));
	m->topology = t;
	m->io = *io;
	memcpy(m->random, random, CLUSTER_ID_BYTES);
	m->rows = xcalloc(t->edge_count, sizeof(*m->rows));
	m->streams = xcalloc(t->stream_count, sizeof(*m->streams));
	for (size_t i = 0; i < t->stream_count; i++)
		make_stream(&m->streams[i], t, &t->streams[i]);
	m->taken = xcalloc(t->shards, sizeof(*m->taken));
	m->took = xcalloc(t->shards, sizeof(*m->took));
	m->taken_due_ns = xcalloc(t->shards, sizeof(*m->taken_due_ns));
	m->clocks = xcalloc(t->edge_count + 1, sizeof(*m->clocks));
	m->fleet_ahead_ns = FLEET_TIME_UNKNOWN;
	clock_watch_init(&m->clock, 0, META_CLOCK_BEHIND_NS);
	m->spread = spread_new(t->shards, &(struct spread_io){m, send_advance});
	weir_assert(pthread_mutex_init(&m->lock, NULL) == 0);
	return m;
}

static void clear_refused(struct meta_row *row)
{
	for (size_t i = 0; i < row->refused_count; i++)
		free(row->refused[i].name);
	free(row->refused);
	row->refused = NULL;
	row->refused_count = 0;
}

static void forget_others(struct meta *m)
{
	for (size_t i = 0; i < m->other_count; i++)
		free(m->others[i].name);
	free(m->others);
	m->others = NULL;
	m->other_count = 0;
}

void meta_free(struct meta *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->topology->edge_count; i++)
		clear_refused(&m->rows[i]);
	for (size_t i = 0; i < m->topology->stream_count; i++)
		free_stream(&m->streams[i]);
	forget_others(m);
	free(m->rows);
	free(m->streams);
	free(m->taken);
	free(m->took);
	free(m->taken_due_ns);
	free(m->clocks);
	pending_free(&m->pending);
	spread_free(m->spread);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* An edge that is expected no more has flushed as one that is idle has: windows that hold its readings close, too. */
static void edge_left(struct stream_row *s, int64_t flushed_end_ns)
{
	s->left_end_ns = flushed_end_ns > s->left_end_ns ? flushed_end_ns : s->left_end_ns;
}

/* A stream that is there already, under another configuration: edges that are expected as before keep what is known of them. */
static void remake_stream(struct stream_row *s, const struct topology *t, const struct stream_conf *conf, size_t edges_before,
    int64_t mono_ns)
{
	struct stream_row was = *s;
	make_stream(s, t, conf);
	s->close_ns = was.close_ns;
	s->final_ns = was.final_ns;
	s->left_end_ns = was.left_end_ns;
	s->left_since_ns = was.left_since_ns;
	s->asked_close_ns = was.asked_close_ns;
	s->asked_final_ns = was.asked_final_ns;
	s->looked_ns = was.looked_ns;
	s->told_ns = was.told_ns;
	for (uint32_t i = 0; i < s->edge_count; i++) {
		uint32_t edge = s->edges[i], before = edge < edges_before ? was.place_of[edge] : NOT_EXPECTED;
		if (before == NOT_EXPECTED) {
			watermark_start(&s->heard[i], mono_ns);
			continue;
		}
		s->committed[i] = was.committed[before];
		s->since[i] = was.since[before];
		s->heard[i] = was.heard[before];
		s->fed[i] = was.fed[before];
	}
	for (uint32_t i = 0; i < was.edge_count; i++) {
		if (s->place_of[was.edges[i]] != NOT_EXPECTED)
			continue;
		edge_left(s, was.committed[i].flushed_end_ns);
		edge_left(s, was.heard[i].flushed_end_ns);
		s->left_since_ns = was.fed[i].since_ns > s->left_since_ns ? was.fed[i].since_ns : s->left_since_ns;
	}
	free_stream(&was);
}

/* Also of one that is gone. */
static struct meta_row *any_row_of(struct meta *m, const char *name)
{
	int found = topology_edge(m->topology, name);
	for (size_t i = 0; found < 0 && i < m->topology->edge_count; i++) {
		if (m->topology->edges[i].gone && !strcmp(m->topology->edges[i].name, name))
			found = (int)i;
	}
	return found < 0 ? NULL : &m->rows[found];
}

static struct meta_edge *add_other(struct meta *m, const char *name)
{
	m->others = xrealloc(m->others, (m->other_count + 1) * sizeof(*m->others));
	m->others[m->other_count] = (struct meta_edge){.name = xstrdup(name)};
	return &m->others[m->other_count++];
}

static struct meta_edge *other_of(struct meta *m, const char *name)
{
	for (size_t i = 0; i < m->other_count; i++) {
		if (!strcmp(m->others[i].name, name))
			return &m->others[i];
	}
	return add_other(m, name);
}

/* This node's topology may be ahead of what is applied here, or behind: an edge's row is there from when the topology first has it, and
 * what is committed before is kept among the others. */
static struct meta_grant *grant_of(struct meta *m, const char *name)
{
	struct meta_row *row = any_row_of(m, name);
	return row ? &row->grant : &other_of(m, name)->grant;
}

/* Each edge once, when nothing is known: none is looked for among the others. */
static void load_edge(struct meta *m, const struct meta_edge *from)
{
	struct meta_row *row = any_row_of(m, from->name);
	*(row ? &row->grant : &add_other(m, from->name)->grant) = from->grant;
}

/* An edge that was not here; it may have been of the cluster before, or what is committed of it came before the topology. */
static void add_edge(struct meta *m, uint32_t edge, const char *name)
{
	struct meta_row *row = &m->rows[edge];
	*row = (struct meta_row){.heard_ns = m->now_ns};
	for (size_t i = 0; i < m->other_count; i++) {
		if (!strcmp(m->others[i].name, name))
			row->grant = m->others[i].grant;
	}
}

/* One that was gone: what is committed of it is here still. */
static void return_edge(struct meta *m, struct meta_row *row)
{
	row->heard_ns = m->now_ns;
	row->reported = false;
}

void meta_set_topology(struct meta *m, const struct topology *t)
{
	size_t edges = m->topology->edge_count, streams = m->topology->stream_count;
	weir_assert(t->edge_count >= edges && t->stream_count >= streams);
	pthread_mutex_lock(&m->lock);
	m->rows = xrealloc(m->rows, (t->edge_count + 1) * sizeof(*m->rows));
	m->clocks = xrealloc(m->clocks, (t->edge_count + 1) * sizeof(*m->clocks));
	for (size_t i = 0; i < edges; i++) {
		if (!t->edges[i].gone && m->topology->edges[i].gone)
			return_edge(m, &m->rows[i]);
	}
	for (size_t i = edges; i < t->edge_count; i++)
		add_edge(m, (uint32_t)i, t->edges[i].name);
	m->streams = xrealloc(m->streams, (t->stream_count + 1) * sizeof(*m->streams));
	for (size_t i = 0; i < streams; i++)
		remake_stream(&m->streams[i], t, &t->streams[i], edges, m->now_ns);
	for (size_t i = streams; i < t->stream_count; i++) {
		make_stream(&m->streams[i], t, &t->streams[i]);
		for (uint32_t e = 0; e < m->streams[i].edge_count; e++)
			watermark_start(&m->streams[i].heard[e], m->now_ns);
	}
	m->topology = t;
	pthread_mutex_unlock(&m->lock);
}

static struct stream_row *stream_of(struct meta *m, const char *name, size_t len, uint32_t version)
{
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		struct stream_row *s = &m->streams[i];
		if (s->conf->version == version && strlen(s->conf->name) == len && memcmp(s->conf->name, name, len) == 0)
			return s;
	}
	return NULL;
}

static void commit_edge(struct meta *m, struct stream_row *s, uint32_t place, const struct watermark_committed *to,
    int64_t since_ns)
{
	struct watermark_committed *at = &s->committed[place];
	if (to->state == EDGE_JOINING && at->state != EDGE_JOINING)
		s->heard[place].joining_ns = m->now_ns;
	*at = *to;
	s->since[place] = since_ns > s->since[place] ? since_ns : s->since[place];
}

/* By name: of one that is expected no more, or was not when this was proposed, what it had flushed. */
static void commit_named(struct meta *m, struct stream_row *s, const char *name, const struct watermark_committed *to, int64_t since_ns)
{
	int edge = topology_edge(m->topology, name);
	if (edge >= 0 && s->place_of[edge] != NOT_EXPECTED)
		commit_edge(m, s, s->place_of[edge], to, since_ns);
	else
		edge_left(s, to->flushed_end_ns);
}

static void load_stream(struct meta *m, const struct meta_stream *from)
{
	struct stream_row *s = stream_of(m, from->name, strlen(from->name), from->version);
	if (from->meta_index > m->newest)
		m->newest = from->meta_index;
	if (!s)
		return;
	s->close_ns = from->close_ns;
	s->final_ns = from->final_ns;
	for (size_t i = 0; i < from->edge_count; i++) {
		const struct meta_stream_edge *e = &from->edges[i];
		commit_named(m, s, e->name, &(struct watermark_committed){e->state, e->watermark_ns, e->flushed_end_ns}, e->since_ns);
	}
}

static void forget_committed(struct meta *m)
{
	m->newest = 0;
	for (size_t i = 0; i < m->topology->edge_count; i++) {
		m->rows[i].grant = (struct meta_grant){0};
	}
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		struct stream_row *s = &m->streams[i];
		s->close_ns = s->final_ns = s->left_end_ns = WATERMARK_NONE;
		for (uint32_t e = 0; e < s->edge_count; e++) {
			s->committed[e] = (struct watermark_committed){EDGE_JOINING, WATERMARK_NONE, WATERMARK_NONE};
			s->since[e] = WATERMARK_NONE;
		}
	}
}

int meta_load(struct meta *m, struct kv_txn *txn)
{
	struct meta_state state;
	int rc = meta_read(txn, &state);
	if (rc)
		return rc;
	pthread_mutex_lock(&m->lock);
	forget_committed(m);
	forget_others(m);
	m->created = state.created;
	memcpy(m->id, state.cluster_id, CLUSTER_ID_BYTES);
	for (size_t i = 0; i < state.edge_count; i++)
		load_edge(m, &state.edges[i]);
	for (size_t i = 0; i < state.stream_count; i++)
		load_stream(m, &state.streams[i]);
	for (uint32_t i = 0; i < m->topology->shards; i++)
		m->took[i] = false;
	for (size_t i = 0; i < state.took_count; i++) {
		if (state.took[i] < m->topology->shards)
			m->took[state.took[i]] = true;
	}
	m->newest = state.newest > m->newest ? state.newest : m->newest;
	pthread_mutex_unlock(&m->lock);
	meta_state_clear(&state);
	return 0;
}

static void forget_heard(struct meta *m, int64_t mono_ns)
{
	m->clocks_of = 0;
	m->clock_new = false;
	m->fleet_due_ns = mono_ns;
	m->fleet_ahead_ns = FLEET_TIME_UNKNOWN;
	for (size_t i = 0; i < m->topology->edge_count; i++) {
		struct meta_row *row = &m->rows[i];
		row->reported = row->has_before = row->clock_suspect = row->beyond = false;
		row->heard_ns = mono_ns;
		row->report_epoch = 0; /* none is */
		row->spool_bytes = row->accepted = row->map_version = 0;
		clear_refused(row);
	}
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		struct stream_row *s = &m->streams[i];
		for (uint32_t e = 0; e < s->edge_count; e++) {
			watermark_start(&s->heard[e], mono_ns);
			s->fed[e] = unheard;
		}
		s->asked_close_ns = s->close_ns;
		s->asked_final_ns = s->final_ns;
		s->cutting = false;
		s->dirty = true;
	}
}

void meta_stop(struct meta *m)
{
	if (!m->leads)
		return;
	struct pending left = m->pending;
	m->pending = (struct pending){0};
	m->counters.lag = 0;
	pthread_mutex_lock(&m->lock);
	m->leads = false;
	pthread_mutex_unlock(&m->lock);
	for (struct pending_item *item; (item = pending_at(&left, 0)); pending_pop(&left)) {
		for (uint32_t i = 0; i < item->waiter_count; i++)
			m->io.answer(m->io.arg, &item->waiters[i], &(struct answer){.verdict = VERDICT_UNAVAILABLE,
			    .reason = "the meta group's leader changed: asked again, it is answered"});
	}
	pending_free(&left);
}

/* Whatever an earlier time had in flight is applied by now, or never will be: nothing is in flight. */
void meta_lead(struct meta *m, struct meta_time now)
{
	meta_stop(m); /* led in another term */
	m->creating = m->closing = m->mapping = false;
	m->close_due_ns = m->cut_due_ns = now.mono_ns;
	for (uint32_t i = 0; i < m->topology->shards; i++) {
		m->taken[i] = 0;
		m->taken_due_ns[i] = now.mono_ns;
	}
	spread_start(m->spread);
	pthread_mutex_lock(&m->lock);
	m->leads = true;
	m->now_ns = now.mono_ns;
	forget_heard(m, now.mono_ns);
	pthread_mutex_unlock(&m->lock);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void answer(struct meta *m, const struct origin *o, enum verdict v, uint64_t epoch, const char *reason)
{
	m->io.answer(m->io.arg, o, &(struct answer){.verdict = v, .epoch = epoch, .reason = reason});
}

static void wait_for(struct meta *m, struct pending_item *item, const struct origin *o)
{
	struct origin dropped;
	if (!pending_wait(item, o, &dropped))
		answer(m, &dropped, VERDICT_BUSY, 0, "asked again too often");
}

/* Proposes for o, or answers why not. NULL: not proposed. */
static struct pending_item *propose_for(struct meta *m, const struct origin *o, const struct entry *e)
{
	uint64_t index;
	int rc = m->io.propose(m->io.arg, META_GROUP, e, false, &index);
	if (rc) {
		bool busy = rc == WEIR_EBUSY, full = rc == WEIR_EFULL;
		answer(m, o, busy || full ? VERDICT_BUSY : VERDICT_UNAVAILABLE, 0,
		    busy       ? "the meta group's log is busy"
			: full ? "too few of the meta group's replicas have room on their disks"
			       : "the meta group's log does not take entries");
		return NULL;
	}
	struct pending_item *item = pending_push(&m->pending, index);
	item->kind = e->kind;
	item->edge = o->edge;
	wait_for(m, item, o);
	return item;
}

static bool ready(struct meta *m, const struct origin *o)
{
	if (m->leads && m->created)
		return true;
	answer(m, o, VERDICT_UNAVAILABLE, 0,
	    m->leads ? "the cluster is being created" : "this node does not lead the meta group");
	return false;
}

static struct bytes edge_name(const struct meta *m, uint32_t edge)
{
	const char *name = m->topology->edges[edge].name;
	return bytes_of(name, strlen(name));
}

static struct pending_item *find_claim(const struct meta *m, const struct origin *o, const struct msg *msg)
{
	for (size_t i = 0; i < m->pending.count; i++) {
		struct pending_item *item = pending_at(&m->pending, i);
		if (item->kind == ENTRY_CLAIM && item->edge == o->edge && item->epoch == msg->hello.epoch &&
		    memcmp(item->claim, o->claim, CLAIM_BYTES) == 0)
			return item;
	}
	return NULL;
}

static bool claim_in_flight(const struct meta *m, uint32_t edge)
{
	for (size_t i = 0; i < m->pending.count; i++) {
		const struct pending_item *item = pending_at(&m->pending, i);
		if (item->kind == ENTRY_CLAIM && item->edge == edge)
			return true;
	}
	return false;
}

static void note_fenced(struct meta *m, struct meta_row *row, int64_t mono_ns)
{
	pthread_mutex_lock(&m->lock);
	row->fenced = true;
	row->fenced_ns = mono_ns;
	pthread_mutex_unlock(&m->lock);
}

void meta_hello(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now)
{
	if (!ready(m, o))
		return;
	struct pending_item *item = find_claim(m, o, msg);
	if (item) {
		wait_for(m, item, o);
		return;
	}
	struct meta_row *row = &m->rows[o->edge];
	bool same_claim = row->grant.epoch && memcmp(row->grant.claim, o->claim, CLAIM_BYTES) == 0;
	if (msg->hello.fenced && same_claim && msg->hello.epoch == row->grant.epoch) { /* by a shard: its claim is granted all the same */
		note_fenced(m, row, now.mono_ns);
		row->fenced_epoch = row->grant.epoch;
	}
	bool admit = msg->hello.empty && msg->hello.epoch == 0 && row->grant.epoch && !row->grant.readmit && !same_claim;
	if (admit && now.mono_ns - row->heard_ns < m->topology->partitioned_after_ns) {
		answer(m, o, VERDICT_BUSY, row->grant.epoch,
		    "this name has a holder that was heard lately: an empty spool is admitted once it has been silent for "
		    "partitioned_after");
		return;
	}
	if (claim_in_flight(m, o->edge)) {
		/* Its outcome decides this one: a name's first claim, say, of two that start at once. */
		answer(m, o, VERDICT_BUSY, row->grant.epoch, "another claim of this name is in flight");
		return;
	}
	struct entry e = {.kind = ENTRY_CLAIM, .time_ns = now.wall_ns};
	e.claim.edge = edge_name(m, o->edge);
	e.claim.epoch = msg->hello.epoch;
	e.claim.claim = bytes_of(o->claim, CLAIM_BYTES);
	e.claim.empty = admit;
	item = propose_for(m, o, &e);
	if (!item)
		return;
	item->epoch = msg->hello.epoch;
	memcpy(item->claim, o->claim, CLAIM_BYTES);
}

/* 1 + the epoch at which the edge was fenced. Where the last grant was a readmission, and nobody has been fenced under it as far as is
 * known, but its holder is there, then this is that readmission asked for again, because its answer got lost. An edge of an earlier
 * version does not say that a shard has fenced it; but it reports no more. */
static uint64_t readmitted_next(const struct meta *m, const struct meta_row *row, struct meta_time now)
{
	bool heard = now.mono_ns - row->heard_ns < m->topology->partitioned_after_ns;
	bool again = row->grant.readmitted && row->fenced_epoch != row->grant.epoch && heard;
	return row->grant.epoch + !again;
}

void meta_readmit(struct meta *m, const struct origin *o, struct meta_time now)
{
	if (!ready(m, o))
		return;
	if (o->edge == ORIGIN_NO_EDGE) {
		answer(m, o, VERDICT_REFUSED, 0, "this edge is not in the topology");
		return;
	}
	struct entry e = {.kind = ENTRY_READMIT, .time_ns = now.wall_ns};
	e.readmit.edge = edge_name(m, o->edge);
	e.readmit.next = readmitted_next(m, &m->rows[o->edge], now);
	propose_for(m, o, &e);
}

void meta_revoke(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now)
{
	const char *name = msg->revoke.edge;
	if (!ready(m, o))
		return;
	if (!name_valid(name)) {
		answer(m, o, VERDICT_REFUSED, 0, "this edge is not in the topology");
		return;
	}
	struct entry e = {.kind = ENTRY_REVOKE, .time_ns = now.wall_ns};
	e.revoke.edge = bytes_of(name, strlen(name));
	e.revoke.revoked = msg->revoke.revoked;
	propose_for(m, o, &e);
}

/* What does not read, apply takes for a later program's. */
static bool is_topology(const struct bytes *packed, uint32_t text_bytes)
{
	char *text;
	struct topology *t = NULL;
	struct buf errors = {0};
	if (map_text_unpack(*packed, text_bytes, &text))
		return false;
	bool fine = !topology_parse("topology", text, text_bytes, &t, &errors);
	topology_free(t);
	buf_free(&errors);
	free(text);
	return fine;
}

void meta_topology(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now)
{
	if (!ready(m, o))
		return;
	if (msg->topology.dry_run) { /* who looks at a difference asks against which map */
		m->io.answer(m->io.arg, o, &(struct answer){.verdict = VERDICT_OK, .map_version = m->topology->map_version});
		return;
	}
	if (!is_topology(&msg->topology.text, msg->topology.text_bytes)) {
		answer(m, o, VERDICT_REFUSED, 0,
		    "to the node that leads the meta group it is no valid topology; is it of an earlier version than what you asked?");
		return;
	}
	struct entry e = {.kind = ENTRY_TOPOLOGY, .time_ns = now.wall_ns};
	e.topology.base_version = msg->topology.base_version;
	e.topology.text_bytes = msg->topology.text_bytes;
	e.topology.text = msg->topology.text;
	propose_for(m, o, &e);
}

bool meta_leads(const struct meta *m)
{
	return m->leads && m->created;
}

void meta_node(struct meta *m, const struct registry_event *event, struct meta_time now)
{
	struct entry e = {.kind = ENTRY_NODE, .time_ns = now.wall_ns};
	uint64_t index;
	if (!meta_leads(m))
		return;
	e.node.slot = (uint8_t)event->slot;
	e.node.event = (uint8_t)event->event;
	if (!m->io.propose(m->io.arg, META_GROUP, &e, true, &index))
		pending_push(&m->pending, index)->kind = ENTRY_NODE;
}

/* ---- reports ------------------------------------------------------------------------------------------------------ */

static void keep_refused(struct meta_row *row, const struct msg *msg)
{
	clear_refused(row);
	row->refused = xcalloc(msg->report.refused_count, sizeof(*row->refused));
	row->refused_count = msg->report.refused_count;
	for (size_t i = 0; i < row->refused_count; i++)
		row->refused[i] =
		    (struct report_count){xstrdup(msg->report.refused[i].name), msg->report.refused[i].value};
}

/* An edge's own word that its clock is wrong is taken; and one before the release needs none. */
static bool has_clock(const struct meta_row *row, int64_t mono_ns)
{
	return row->reported && !row->clock_suspect && row->wall_ahead_ns + mono_ns >= CLOCK_RELEASE_NS;
}

/* Nor does it count once it is old; a grant since then says nothing of a clock, and may be another machine's. */
static bool clock_counts(const struct meta *m, const struct meta_row *row, int64_t mono_ns)
{
	return has_clock(row, mono_ns) && mono_ns - row->clock_ns < m->topology->partitioned_after_ns;
}

static int64_t fleet_ns(const struct meta *m, int64_t mono_ns)
{
	return m->fleet_ahead_ns == FLEET_TIME_UNKNOWN ? FLEET_TIME_UNKNOWN : m->fleet_ahead_ns + mono_ns;
}

/* Alone it is not far beyond what this node believes: with edges that all say that their clocks are wrong, which take readings of any
 * time, it is all that bounds what they report. A small step is a resume, or a clock set right. */
static int64_t own_clock(const struct meta *m, struct meta_time now, bool alone)
{
	int64_t believed_ns = clock_watch_time(&m->clock, now.mono_ns);
	return alone && believed_ns < now.wall_ns - META_CLOCK_BEHIND_NS ? believed_ns : now.wall_ns;
}

/* Now and then; but at once for a clock that begins to count while there are too few for one bad one to be outvoted: else what
 * its own report says would be measured by the others, which may be this node's alone. With more it can wait: a fleet that is
 * back from a cut would have all clocks sorted for each of its edges. */
static void find_fleet_time(struct meta *m, struct meta_time now)
{
	size_t n = 0;
	if (now.mono_ns < m->fleet_due_ns && (!m->clock_new || m->clocks_of >= META_CLOCKS_ENOUGH))
		return;
	m->fleet_due_ns = now.mono_ns + META_FLEET_TIME_EVERY_MS * NS_PER_MS;
	m->clock_new = false;
	for (size_t i = 0; i < m->topology->edge_count; i++) {
		const struct meta_row *row = &m->rows[i];
		if (clock_counts(m, row, now.mono_ns))
			m->clocks[n++] = row->wall_ahead_ns + now.mono_ns;
	}
	if (!clock_watch_suspect(&m->clock, now.wall_ns, now.mono_ns)) {
		m->clocks[n] = own_clock(m, now, n == 0);
		n++;
	}
	m->clocks_of = n;
	if (!n && m->fleet_ahead_ns != FLEET_TIME_UNKNOWN)
		return; /* none counts any more: the monotonic clock goes on from what they said last */
	int64_t t_ns = n ? fleet_time(m->clocks, n) : clock_watch_time(&m->clock, now.mono_ns);
	pthread_mutex_lock(&m->lock);
	m->fleet_ahead_ns = t_ns == FLEET_TIME_UNKNOWN ? t_ns : t_ns - now.mono_ns;
	pthread_mutex_unlock(&m->lock);
}

/* 0 is what edges of earlier versions say of streams that they do not feed: nothing. */
static int64_t told_since(const struct msg_report_stream *r)
{
	return r->since_known || r->since_ns ? r->since_ns : WATERMARK_NONE;
}

static void keep_streams(struct meta *m, uint32_t edge, const struct msg *msg, int64_t mono_ns)
{
	struct watermark_bound bound = {fleet_ns(m, mono_ns), m->topology->edges[edge].max_ahead_ns};
	m->rows[edge].beyond = false;
	for (size_t i = 0; i < msg->report.stream_count; i++) {
		const struct msg_report_stream *r = &msg->report.streams[i];
		struct stream_row *s = stream_of(m, r->name, strlen(r->name), r->version);
		if (!s || s->place_of[edge] == NOT_EXPECTED)
			continue;
		if (!watermark_report(&s->heard[s->place_of[edge]], &s->watermark, r, &bound, mono_ns))
			m->rows[edge].beyond = true;
		s->fed[s->place_of[edge]] = (struct cutover_edge){.since_known = r->since_known,
		    .since_ns = told_since(r),
		    .never_read = r->watermark_ns == WATERMARK_NONE && r->flushed_end_ns == WATERMARK_NONE && !r->unsent,
		    .ended = !r->since_known && !r->unsent};
		s->dirty = true;
	}
}

/* Frames may be reordered and doubled: only what is newer than the last counts. Each start claims anew, so another
 * incarnation of the same epoch is a later one, unless it is the one before. In a new epoch everything is new: a holder
 * that was fenced and is readmitted goes on under its old incarnation. And after a silence anything is: two processes on
 * copies of one spool, made while its claim was not answered, hold the same epoch; once one has gone the other is heard. */
static bool is_newer(const struct meta_row *row, const struct msg *msg, int64_t silent_ns, int64_t limit_ns)
{
	if (!row->reported || msg->report.epoch != row->report_epoch || silent_ns >= limit_ns)
		return true;
	if (msg->report.incarnation == row->incarnation)
		return msg->report.seq > row->seq;
	return !row->has_before || msg->report.incarnation != row->incarnation_before;
}

/* Its clock, before what it says is measured by all. */
static void keep_clock(struct meta *m, uint32_t edge, const struct msg *msg, struct meta_time now)
{
	struct meta_row *row = &m->rows[edge];
	bool sane = msg->report.wall_ns >= TIME_MIN_NS && msg->report.wall_ns <= TIME_MAX_NS;
	bool counted = clock_counts(m, row, now.mono_ns);
	pthread_mutex_lock(&m->lock);
	row->reported = true;
	row->heard_ns = row->clock_ns = now.mono_ns;
	row->clock_suspect = msg->report.clock_suspect || !sane;
	row->wall_ahead_ns = sane ? msg->report.wall_ns - now.mono_ns : 0;
	pthread_mutex_unlock(&m->lock);
	m->clock_new = m->clock_new || (!counted && clock_counts(m, row, now.mono_ns));
	find_fleet_time(m, now);
}

static void keep_report(struct meta *m, uint32_t edge, const struct msg *msg, int64_t mono_ns)
{
	struct meta_row *row = &m->rows[edge];
	bool same_epoch = row->report_epoch == msg->report.epoch;
	if (!same_epoch) {
		row->has_before = false;
	} else if (row->incarnation != msg->report.incarnation) {
		row->has_before = true;
		row->incarnation_before = row->incarnation;
	}
	row->report_epoch = msg->report.epoch;
	row->incarnation = msg->report.incarnation;
	row->seq = msg->report.seq;
	row->spool_bytes = msg->report.spool_bytes;
	row->accepted = msg->report.accepted;
	row->map_version = msg->report.map_version;
	keep_refused(row, msg);
	keep_streams(m, edge, msg, mono_ns);
}

void meta_report(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now)
{
	if (!ready(m, o))
		return;
	struct meta_row *row = &m->rows[o->edge];
	if (msg->report.epoch != row->grant.epoch) {
		m->counters.reports_fenced++;
		note_fenced(m, row, now.mono_ns);
		answer(m, o, VERDICT_FENCED, row->grant.epoch,
		    msg->report.epoch < row->grant.epoch ? "another holder of this name has a later epoch"
		                                   : "the cloud has not granted this epoch: it lost data, or the edge did");
		return;
	}
	if (is_newer(row, msg, now.mono_ns - row->heard_ns, m->topology->partitioned_after_ns)) {
		m->counters.reports++;
		keep_clock(m, o->edge, msg, now);
		pthread_mutex_lock(&m->lock);
		keep_report(m, o->edge, msg, now.mono_ns);
		pthread_mutex_unlock(&m->lock);
	} else {
		m->counters.reports_old++;
	}
	answer(m, o, VERDICT_OK, row->grant.epoch, NULL);
}

/* ---- closing -------------------------------------------------------------------------------------------------------- */

static bool holds_final_only(enum edge_state s)
{
	return s == EDGE_PARTITIONED || s == EDGE_CATCHING_UP;
}

/* Windows end at slices' ends: a step within one moves none of them. */
static bool crosses(const struct stream_row *s, int64_t from_ns, int64_t to_ns)
{
	if (from_ns == to_ns)
		return false;
	return from_ns == WATERMARK_NONE ||
	    time_floor(from_ns, s->watermark.slice_ns, s->watermark.offset_ns) !=
	    time_floor(to_ns, s->watermark.slice_ns, s->watermark.offset_ns);
}

enum look {
	LOOK_SAME,
	LOOK_MOVED, /* watermarks did; that can wait */
	LOOK_CHANGED,
};

/* Works out the next state of a stream, and how it differs from what is committed. */
static enum look look(const struct meta *m, struct stream_row *s, int64_t mono_ns, int64_t *ret_close_ns,
    int64_t *ret_final_ns)
{
	bool changed = false, moved = false;
	s->dirty = false;
	s->looked_ns = mono_ns;
	for (uint32_t i = 0; i < s->edge_count; i++) {
		const struct watermark_committed *was = &s->committed[i];
		watermark_edge(&s->watermark, was, &s->heard[i], s->close_ns, mono_ns, &s->next[i]);
		if (m->topology->edges[s->edges[i]].revoked) /* nothing will be heard of it: there is no use in waiting */
			s->next[i].state = EDGE_PARTITIONED;
		if (s->left_end_ns > s->next[i].flushed_end_ns) /* committed with who is left, at once: it is heard no more */
			s->next[i].flushed_end_ns = s->left_end_ns;
		changed = changed || s->next[i].state != was->state || s->left_end_ns > was->flushed_end_ns;
		/* Completeness of windows already closed: has it contributed by now? */
		moved = moved || (s->next[i].watermark_ns != was->watermark_ns && holds_final_only(was->state));
	}
	*ret_close_ns = s->close_ns;
	*ret_final_ns = s->final_ns;
	watermark_close(s->next, s->edge_count, s->left_end_ns, ret_close_ns, ret_final_ns);
	changed = changed || crosses(s, s->close_ns, *ret_close_ns) || crosses(s, s->final_ns, *ret_final_ns);
	moved = moved || *ret_close_ns != s->close_ns || *ret_final_ns != s->final_ns;
	if (changed || (moved && mono_ns - s->told_ns >= META_MOVED_EVERY_MS * NS_PER_MS))
		return LOOK_CHANGED;
	s->dirty = moved;
	return moved ? LOOK_MOVED : LOOK_SAME;
}

/* Who begins to lead has not heard it of every edge yet, and of one that is away never may. */
static int64_t since_of(const struct stream_row *s, uint32_t place)
{
	return s->fed[place].since_ns > s->since[place] ? s->fed[place].since_ns : s->since[place];
}

static void build_close(const struct meta *m, const struct stream_row *s, int64_t close_ns, int64_t final_ns,
    struct entry_close *ret)
{
	*ret = (struct entry_close){
	    .stream = bytes_of(s->conf->name, strlen(s->conf->name)),
	    .version = s->conf->version,
	    .close_ns = close_ns,
	    .final_ns = final_ns,
	    .expected = s->edge_count,
	    .edge_count = s->edge_count,
	    .edges = xcalloc(s->edge_count, sizeof(*ret->edges)),
	};
	for (uint32_t i = 0; i < s->edge_count; i++)
		ret->edges[i] = (struct entry_edge){edge_name(m, s->edges[i]), s->next[i].state, s->next[i].watermark_ns,
		    s->next[i].flushed_end_ns, since_of(s, i), false, 0};
}

static bool looks_due(const struct stream_row *s, int64_t mono_ns)
{
	return s->dirty || mono_ns - s->looked_ns >= META_TIMEOUTS_EVERY_MS * NS_PER_MS;
}

#define CLOSE_OVERHEAD_MAX 64 /* bytes of an entry beside its closes */
#define CLOSE_LATE_MAX 10     /* ... and what apply may add for an edge that came late */

/* Gathers the streams that changed, as many as one entry holds; the rest stays dirty. *ret_moved: some only moved. */
static uint32_t gather_closes(struct meta *m, int64_t mono_ns, struct entry_close *closes, bool *ret_moved)
{
	uint32_t count = 0, streams = (uint32_t)m->topology->stream_count, turn = m->close_turn;
	size_t room = ENTRY_MAX - CLOSE_OVERHEAD_MAX;
	struct buf encoded = {0};
	for (uint32_t i = 0; i < streams; i++) {
		uint32_t number = (turn + i) % streams;
		struct stream_row *s = &m->streams[number];
		int64_t close_ns, final_ns;
		if (s->conf->phase == STREAM_RETIRED || s->conf->phase == STREAM_PENDING)
			continue; /* answers nothing any more, or yet */
		if (count == STREAMS_MAX) { /* META_INDEX() has no more places */
			m->close_turn = number;
			break;
		}
		enum look found = looks_due(s, mono_ns) ? look(m, s, mono_ns, &close_ns, &final_ns) : LOOK_SAME;
		*ret_moved = *ret_moved || found == LOOK_MOVED;
		if (found != LOOK_CHANGED)
			continue;
		build_close(m, s, close_ns, final_ns, &closes[count]);
		buf_clear(&encoded);
		entry_close_encode(&closes[count], &encoded);
		size_t len = encoded.len + (size_t)s->edge_count * CLOSE_LATE_MAX;
		if (len > room) {
			free(closes[count].edges);
			s->dirty = true;
			if (count == 0) {
				m->counters.close_too_large++; /* it alone is too large: on to the next */
				continue;
			}
			m->close_turn = number;
			break;
		}
		room -= len;
		s->told_ns = mono_ns;
		count++;
	}
	buf_free(&encoded);
	return count;
}

static int64_t close_interval_ns(const struct meta *m)
{
	int64_t stretched = META_CLOSE_EVERY_MS * (1 + (int64_t)(m->counters.lag / META_BACKLOG_STEP));
	return (stretched < META_CLOSE_EVERY_MAX_MS ? stretched : META_CLOSE_EVERY_MAX_MS) * NS_PER_MS;
}

/* What was not proposed is not on its way: versions do not take over, or end, because of it. */
static void note_asked(struct meta *m, const struct entry *e)
{
	for (uint32_t i = 0; i < e->closes.count; i++) {
		const struct entry_close *c = &e->closes.closes[i];
		struct stream_row *s = stream_of(m, (const char *)c->stream.p, c->stream.n, c->version);
		s->asked_close_ns = c->close_ns > s->asked_close_ns ? c->close_ns : s->asked_close_ns;
		s->asked_final_ns = c->final_ns > s->asked_final_ns ? c->final_ns : s->asked_final_ns;
	}
}

static void propose_close(struct meta *m, struct meta_time now)
{
	if (m->closing || now.mono_ns < m->close_due_ns || !m->topology->stream_count)
		return;
	struct entry e = {.kind = ENTRY_CLOSE, .time_ns = now.wall_ns};
	e.closes.closes = xcalloc(m->topology->stream_count, sizeof(*e.closes.closes));
	bool moved = false;
	e.closes.count = gather_closes(m, now.mono_ns, e.closes.closes, &moved);
	uint64_t index;
	if (e.closes.count && !m->io.propose(m->io.arg, META_GROUP, &e, true, &index)) {
		pending_push(&m->pending, index)->kind = ENTRY_CLOSE;
		note_asked(m, &e);
		m->closing = true;
		m->close_due_ns = now.mono_ns + close_interval_ns(m);
		m->counters.closes++;
	} else if (e.closes.count) {
		m->close_due_ns = now.mono_ns + META_RETRY_MS * NS_PER_MS;
		for (size_t i = 0; i < m->topology->stream_count; i++)
			m->streams[i].dirty = true;
	} else if (moved) {
		m->close_due_ns = now.mono_ns + META_CLOSE_EVERY_MS * NS_PER_MS; /* looking costs, too */
	}
	entry_clear(&e);
}

/* ---- versions that take over ------------------------------------------------------------------------------------------ */

static bool versions_move(const struct meta *m)
{
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		enum stream_phase phase = m->streams[i].conf->phase;
		if (phase != STREAM_CURRENT && phase != STREAM_RETIRED)
			return true;
	}
	return false;
}

/* What cutover_steps() needs to know of one version; edges: room for the topology's. */
static void describe(const struct meta *m, struct stream_row *s, int64_t mono_ns, struct cutover_edge *edges,
    struct cutover_stream *ret)
{
	int64_t close_ns, final_ns;
	*ret = (struct cutover_stream){s->asked_close_ns, s->asked_final_ns, s->left_end_ns, s->left_since_ns, edges};
	if (s->conf->phase == STREAM_PENDING)
		(void)look(m, s, mono_ns, &close_ns, &final_ns); /* nobody else does */
	for (size_t i = 0; i < s->conf->edge_count; i++) {
		uint32_t place = s->place_of[s->conf->edges[i]];
		edges[i] = s->fed[place];
		edges[i].state = s->conf->phase == STREAM_PENDING ? s->next[place].state : s->committed[place].state;
		int64_t committed_ns = s->committed[place].flushed_end_ns, heard_ns = s->heard[place].flushed_end_ns;
		edges[i].flushed_end_ns = heard_ns > committed_ns ? heard_ns : committed_ns;
	}
}

static void propose_cut(struct meta *m, const struct cutover_step *step, struct meta_time now)
{
	struct stream_row *s = &m->streams[step->stream];
	struct entry e = {.kind = ENTRY_CUT, .time_ns = now.wall_ns};
	uint64_t index;
	if (s->cutting)
		return;
	e.cut.stream = bytes_of(s->conf->name, strlen(s->conf->name));
	e.cut.version = s->conf->version;
	e.cut.retire = step->retire;
	e.cut.t_ns = step->t_ns;
	e.cut.map_version = m->topology->map_version;
	if (m->io.propose(m->io.arg, META_GROUP, &e, true, &index))
		return;
	pending_push(&m->pending, index)->kind = ENTRY_CUT;
	s->cutting = true;
}

static void propose_cuts(struct meta *m, struct meta_time now)
{
	const struct topology *t = m->topology;
	if (now.mono_ns < m->cut_due_ns || !versions_move(m))
		return;
	m->cut_due_ns = now.mono_ns + META_CUT_EVERY_MS * NS_PER_MS;
	struct cutover_stream *streams = xcalloc(t->stream_count, sizeof(*streams));
	struct cutover_step *steps = xcalloc(t->stream_count, sizeof(*steps));
	struct cutover_edge **edges = xcalloc(t->stream_count, sizeof(*edges));
	for (size_t i = 0; i < t->stream_count; i++) {
		edges[i] = xcalloc(t->streams[i].edge_count, sizeof(*edges[i]));
		describe(m, &m->streams[i], now.mono_ns, edges[i], &streams[i]);
	}
	size_t count = cutover_steps(t, streams, steps);
	for (size_t i = 0; i < count; i++)
		propose_cut(m, &steps[i], now);
	for (size_t i = 0; i < t->stream_count; i++)
		free(edges[i]);
	free(edges);
	free(steps);
	free(streams);
}

static void cut_applied(struct meta *m)
{
	for (size_t i = 0; i < m->topology->stream_count; i++)
		m->streams[i].cutting = false;
}

static void commit_close(struct meta *m, const struct entry_close *c)
{
	char name[NAME_MAX_BYTES + 1];
	struct stream_row *s = stream_of(m, (const char *)c->stream.p, c->stream.n, c->version);
	if (!s)
		return;
	s->close_ns = c->close_ns > s->close_ns ? c->close_ns : s->close_ns;
	s->final_ns = c->final_ns > s->final_ns ? c->final_ns : s->final_ns;
	for (uint32_t i = 0; i < c->edge_count; i++) {
		const struct entry_edge *e = &c->edges[i];
		memcpy(name, e->name.p, e->name.n); /* at most NAME_MAX_BYTES: entry_decode checks */
		name[e->name.n] = 0;
		commit_named(m, s, name, &(struct watermark_committed){e->state, e->watermark_ns, e->flushed_end_ns}, e->since_ns);
	}
	s->dirty = true; /* what was heard meanwhile */
}

static void close_applied(struct meta *m, uint64_t index, const struct entry *e, struct meta_time now)
{
	struct buf advance = {0};
	m->close_index = index;
	pthread_mutex_lock(&m->lock);
	for (uint32_t i = 0; i < e->closes.count; i++)
		commit_close(m, &e->closes.closes[i]);
	pthread_mutex_unlock(&m->lock);
	for (uint32_t i = 0; i < e->closes.count; i++) {
		struct entry a = {.kind = ENTRY_ADVANCE};
		a.advance.meta_index = META_INDEX(index, i);
		a.advance.after = m->newest;
		a.advance.close = e->closes.closes[i];
		buf_clear(&advance);
		m->newest = a.advance.meta_index;
		if (!m->leads)
			continue;
		entry_encode(&a, &advance);
		spread_push(m->spread, a.advance.meta_index, bytes_of(advance.data, advance.len), now.mono_ns);
	}
	buf_free(&advance);
}

/* As apply did with its record (meta_remove_edge). */
static void edge_removed(struct meta *m, const char *name, uint64_t epoch)
{
	struct meta_grant *g = grant_of(m, name);
	for (size_t i = 0; epoch != g->epoch && i < CLAIM_BYTES; i++)
		g->claim[i] = (uint8_t)~g->claim[i];
	g->epoch = epoch;
	g->readmit = g->readmitted = false;
}

static void edges_removed(struct meta *m, struct bytes removed)
{
	struct rd r = rd_init(removed.p, removed.n);
	pthread_mutex_lock(&m->lock);
	while (rd_left(&r)) {
		char *name = rd_str(&r, NAME_MAX_BYTES);
		uint64_t epoch = rd_u64(&r);
		if (r.err) {
			free(name);
			break;
		}
		edge_removed(m, name, epoch);
		free(name);
	}
	pthread_mutex_unlock(&m->lock);
}

/* A map goes to the shards among the advances. */
static void map_applied(struct meta *m, const struct apply_result *r, struct meta_time now)
{
	if (!r->map.len)
		return;
	edges_removed(m, bytes_of(r->removed.data, r->removed.len));
	struct entry e = {.kind = ENTRY_MAP};
	e.map.meta_index = META_INDEX(r->index, 0);
	e.map.after = m->newest;
	e.map.map = bytes_of(r->map.data, r->map.len);
	m->newest = e.map.meta_index;
	m->close_index = r->index;
	if (!m->leads)
		return;
	struct buf encoded = {0};
	entry_encode(&e, &encoded);
	spread_push(m->spread, e.map.meta_index, bytes_of(encoded.data, encoded.len), now.mono_ns);
	buf_free(&encoded);
}

/* ---- advances ------------------------------------------------------------------------------------------------------- */

void meta_advance_reply(struct meta *m, uint32_t shard, enum verdict verdict, uint64_t meta_index, struct meta_time now)
{
	(void)now;
	if (!m->leads || shard >= m->topology->shards || meta_index > m->newest)
		return;
	spread_taken(m->spread, shard, meta_index);
	if (verdict != VERDICT_OK)
		spread_refused(m->spread, shard);
}

static void propose_taken(struct meta *m, struct meta_time now)
{
	for (uint32_t shard = 0; shard < m->topology->shards; shard++) {
		uint64_t taken = spread_shard_taken(m->spread, shard);
		if (taken <= m->taken[shard] || now.mono_ns < m->taken_due_ns[shard])
			continue;
		struct entry e = {.kind = ENTRY_TAKEN, .time_ns = now.wall_ns};
		e.taken.shard = shard;
		e.taken.meta_index = taken;
		uint64_t index;
		if (m->io.propose(m->io.arg, META_GROUP, &e, true, &index))
			return;
		pending_push(&m->pending, index)->kind = ENTRY_TAKEN;
		m->taken[shard] = taken;
		m->taken_due_ns[shard] = now.mono_ns + META_TAKEN_EVERY_MS * NS_PER_MS;
		m->counters.takens++;
	}
}

static void measure_lag(struct meta *m)
{
	uint64_t lowest = spread_lowest(m->spread);
	m->counters.lag = lowest >= m->newest ? 0 : (m->newest - lowest) / STREAMS_MAX;
}

/* ---- applied ---------------------------------------------------------------------------------------------------------- */

static void claim_applied(struct meta *m, const struct apply_result *r, struct meta_time now)
{
	struct meta_row *row = r->edge ? any_row_of(m, r->edge) : NULL;
	if (!r->edge)
		return;
	if (r->verdict != VERDICT_OK) {
		m->counters.fenced += m->leads;
		if (r->verdict == VERDICT_FENCED && row) {
			note_fenced(m, row, now.mono_ns);
			row->fenced_epoch = r->epoch;
		}
		return;
	}
	m->counters.claims += m->leads;
	pthread_mutex_lock(&m->lock);
	struct meta_grant *g = grant_of(m, r->edge);
	if (r->epoch > g->epoch) {
		g->epoch = r->epoch;
		g->readmitted = r->readmitted;
		memcpy(g->claim, r->claim, CLAIM_BYTES);
		if (row)
			row->heard_ns = now.mono_ns; /* a new holder, alive */
	}
	if (r->readmitted)
		g->readmit = false;
	pthread_mutex_unlock(&m->lock);
}

static void readmit_applied(struct meta *m, const struct apply_result *r)
{
	m->counters.readmits += m->leads;
	if (!r->edge || r->verdict != VERDICT_OK)
		return;
	pthread_mutex_lock(&m->lock);
	grant_of(m, r->edge)->readmit = true;
	pthread_mutex_unlock(&m->lock);
}

static void revoke_applied(struct meta *m, const struct apply_result *r, struct bytes raw)
{
	struct entry e;
	if (!m->leads || r->verdict != VERDICT_OK || entry_decode(raw, &e))
		return;
	m->counters.revokes += e.revoke.revoked;
	m->counters.allows += !e.revoke.revoked;
	entry_clear(&e);
}

static void entry_applied(struct meta *m, const struct apply_result *r, struct bytes raw, struct meta_time now)
{
	struct entry e;
	map_applied(m, r, now);
	if (r->kind == ENTRY_CLAIM) {
		claim_applied(m, r, now);
	} else if (r->kind == ENTRY_READMIT) {
		readmit_applied(m, r);
	} else if (r->kind == ENTRY_REVOKE) {
		revoke_applied(m, r, raw);
	} else if (r->kind == ENTRY_CREATE && !m->created && !entry_decode(raw, &e)) {
		if (e.kind == ENTRY_CREATE) {
			memcpy(m->id, e.create.cluster_id.p, CLUSTER_ID_BYTES);
			m->created = true;
		}
		entry_clear(&e);
	} else if (r->kind == ENTRY_CLOSE && !entry_decode(bytes_of(r->closed.data, r->closed.len), &e)) {
		close_applied(m, r->index, &e, now);
		entry_clear(&e);
	} else if (r->kind == ENTRY_TAKEN && r->verdict == VERDICT_OK && !entry_decode(raw, &e)) {
		if (e.kind == ENTRY_TAKEN && e.taken.shard < m->topology->shards)
			m->took[e.taken.shard] = true;
		entry_clear(&e);
	}
}

static void answer_waiters(struct meta *m, const struct pending_item *item, const struct apply_result *r)
{
	struct answer a = {.verdict = r->verdict, .epoch = r->epoch, .resume = r->resume, .readmitted = r->readmitted,
	    .map_version = r->map_version,
	    .reason = r->reason};
	for (uint32_t i = 0; i < item->waiter_count; i++)
		m->io.answer(m->io.arg, &item->waiters[i], &a);
}

void meta_applied(struct meta *m, const struct apply_result *r, struct bytes entry, struct meta_time now)
{
	entry_applied(m, r, entry, now);
	if (!m->leads)
		return;
	struct pending_item *first = pending_first(&m->pending, r->index);
	if (!first)
		return;
	weir_assert(first->index == r->index);
	struct pending_item item = *first;
	pending_pop(&m->pending);
	if (item.kind == ENTRY_CLOSE)
		m->closing = false;
	if (item.kind == ENTRY_CREATE)
		m->creating = false;
	if (item.kind == ENTRY_CUT)
		cut_applied(m);
	answer_waiters(m, &item, r);
}

static void propose_create(struct meta *m, struct meta_time now)
{
	if (m->created || m->creating)
		return;
	struct entry e = {.kind = ENTRY_CREATE, .time_ns = now.wall_ns};
	e.create.cluster_id = bytes_of(m->random, CLUSTER_ID_BYTES);
	uint64_t index;
	if (m->io.propose(m->io.arg, META_GROUP, &e, true, &index))
		return;
	pending_push(&m->pending, index)->kind = ENTRY_CREATE;
	m->creating = true;
}

/* A cluster that begins, or one from before there were maps, goes by the file of who leads the meta group. True: the map is there, or on
 * its way: what is proposed from now on comes after it. */
static bool propose_first_map(struct meta *m, struct meta_time now)
{
	if (m->mapping || m->topology->map_version || !m->topology->text)
		return true;
	struct buf packed = {0};
	map_text_pack(m->topology->text, m->topology->text_len, &packed);
	struct entry e = {.kind = ENTRY_TOPOLOGY, .time_ns = now.wall_ns};
	e.topology.base_version = ENTRY_BASE_FIRST;
	e.topology.text_bytes = (uint32_t)m->topology->text_len;
	e.topology.text = bytes_of(packed.data, packed.len);
	uint64_t index;
	if (!m->io.propose(m->io.arg, META_GROUP, &e, true, &index)) {
		pending_push(&m->pending, index)->kind = ENTRY_TOPOLOGY;
		m->mapping = true;
	}
	buf_free(&packed);
	return m->mapping;
}

int meta_tick(struct meta *m, struct kv *state, uint64_t durable, struct meta_time now)
{
	clock_watch_update(&m->clock, now.wall_ns, now.mono_ns); /* a leader knows how it ran before */
	if (!m->leads)
		return 0;
	pthread_mutex_lock(&m->lock);
	m->now_ns = now.mono_ns;
	pthread_mutex_unlock(&m->lock);
	find_fleet_time(m, now);
	propose_create(m, now);
	if (!m->created)
		return 0;
	if (propose_first_map(m, now)) {
		propose_close(m, now);
		propose_cuts(m, now);
	}
	int rc = spread_tick(m->spread, state, durable >= m->close_index, now.mono_ns);
	propose_taken(m, now);
	measure_lag(m);
	return rc;
}

bool meta_cluster_id(const struct meta *m, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	if (m->created)
		memcpy(ret_id, m->id, CLUSTER_ID_BYTES);
	return m->created;
}

bool meta_took(const struct meta *m, uint32_t shard)
{
	return m->took[shard];
}

const struct meta_counters *meta_counters(const struct meta *m)
{
	return &m->counters;
}

const struct spread_counters *meta_spread_counters(const struct meta *m)
{
	return spread_counters(m->spread);
}

/* ---- any thread --------------------------------------------------------------------------------------------------------- */

static void time_or_null(struct buf *out, int64_t t_ns)
{
	if (t_ns == WATERMARK_NONE)
		buf_printf(out, "null");
	else
		json_time(out, t_ns);
}

/* The worst of its streams; an edge that no stream expects is judged by when it was heard. */
static enum edge_state overall_state(const struct meta *m, uint32_t edge)
{
	enum edge_state worst = EDGE_LIVE;
	bool expected = false;
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		uint32_t place = m->streams[i].place_of[edge];
		if (place == NOT_EXPECTED || !m->streams[i].shown)
			continue;
		enum edge_state s = m->streams[i].committed[place].state;
		worst = !expected || s > worst ? s : worst;
		expected = true;
	}
	if (m->topology->edges[edge].revoked)
		return EDGE_PARTITIONED;
	if (expected)
		return worst;
	if (m->now_ns - m->rows[edge].heard_ns >= m->topology->partitioned_after_ns)
		return EDGE_PARTITIONED;
	return m->rows[edge].reported ? EDGE_LIVE : EDGE_JOINING;
}

static void put_edge_streams(const struct meta *m, uint32_t edge, struct buf *out)
{
	const char *comma = "";
	buf_printf(out, "\"streams\":[");
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		const struct stream_row *s = &m->streams[i];
		uint32_t place = s->place_of[edge];
		if (place == NOT_EXPECTED || !m->streams[i].shown)
			continue;
		buf_printf(out, "%s{\"name\":", comma);
		json_text(out, s->conf->name);
		buf_printf(out, ",\"state\":\"%s\",\"watermark\":", edge_state_text(s->committed[place].state));
		int64_t watermark_ns = s->heard[place].watermark_ns > s->committed[place].watermark_ns
		    ? s->heard[place].watermark_ns
		    : s->committed[place].watermark_ns;
		time_or_null(out, watermark_ns);
		buf_printf(out, "}");
		comma = ",";
	}
	buf_printf(out, "]");
}

/* How far its clock is ahead of the fleet's; false, and 0: not known. */
static bool clock_ahead(const struct meta *m, uint32_t edge, int64_t *ret_ns)
{
	const struct meta_row *row = &m->rows[edge];
	bool known = row->reported && m->fleet_ahead_ns != FLEET_TIME_UNKNOWN;
	*ret_ns = known ? row->wall_ahead_ns - m->fleet_ahead_ns : 0;
	return known;
}

/* By its own word, or by the fleet's clocks. */
static bool clock_suspect(const struct meta *m, uint32_t edge)
{
	const struct meta_row *row = &m->rows[edge];
	int64_t ahead_ns, max_ns = m->topology->edges[edge].max_ahead_ns;
	(void)clock_ahead(m, edge, &ahead_ns);
	return row->clock_suspect || row->beyond || ahead_ns > max_ns || ahead_ns < -max_ns;
}

static bool fenced_lately(const struct meta *m, uint32_t edge)
{
	return m->rows[edge].fenced && m->now_ns - m->rows[edge].fenced_ns < META_FENCED_SHOWN_MS * NS_PER_MS;
}

static void put_clock(const struct meta *m, uint32_t edge, struct buf *out)
{
	int64_t ahead_ns;
	buf_printf(out, ",\"clock_suspect\":%s,\"clock_ahead_ms\":", clock_suspect(m, edge) ? "true" : "false");
	if (clock_ahead(m, edge, &ahead_ns))
		buf_printf(out, "%lld", (long long)(ahead_ns / NS_PER_MS));
	else
		buf_printf(out, "null");
}

/* Streams whose next version cannot take over before this edge has said since when it feeds it. */
static void put_cutover_waits(const struct meta *m, uint32_t edge, struct buf *out)
{
	const char *comma = "";
	buf_printf(out, "\"cutover_waits\":[");
	for (size_t i = 0; i < m->topology->stream_count; i++) {
		const struct stream_row *s = &m->streams[i];
		uint32_t place = s->place_of[edge];
		if (place == NOT_EXPECTED || s->conf->phase != STREAM_PENDING || s->fed[place].since_known)
			continue;
		buf_printf(out, "%s", comma);
		json_text(out, s->conf->name);
		comma = ",";
	}
	buf_printf(out, "],");
}

static void put_edge(const struct meta *m, uint32_t edge, struct buf *out)
{
	const struct meta_row *row = &m->rows[edge];
	buf_printf(out, "{\"name\":");
	json_text(out, m->topology->edges[edge].name);
	buf_printf(out, ",\"state\":\"%s\",\"epoch\":%llu,\"spool_bytes\":%llu,\"accepted\":%llu,\"refused\":{",
	    edge_state_text(overall_state(m, edge)), (unsigned long long)row->grant.epoch,
	    (unsigned long long)row->spool_bytes, (unsigned long long)row->accepted);
	for (size_t i = 0; i < row->refused_count; i++) {
		buf_printf(out, i ? "," : "");
		json_text(out, row->refused[i].name);
		buf_printf(out, ":%llu", (unsigned long long)row->refused[i].value);
	}
	buf_printf(out, "},\"heard_ms_ago\":");
	if (row->reported)
		buf_printf(out, "%lld", (long long)((m->now_ns - row->heard_ns) / NS_PER_MS));
	else
		buf_printf(out, "null");
	put_clock(m, edge, out);
	buf_printf(out, ",\"readmit\":%s,\"revoked\":%s,\"map_version\":%llu,", row->grant.readmit ? "true" : "false",
	    m->topology->edges[edge].revoked ? "true" : "false", (unsigned long long)row->map_version);
	buf_printf(out, "\"fenced\":%s,", fenced_lately(m, edge) ? "true" : "false");
	put_cutover_waits(m, edge, out);
	put_edge_streams(m, edge, out);
	buf_printf(out, "}");
}

bool meta_edges_json(struct meta *m, struct buf *out)
{
	pthread_mutex_lock(&m->lock);
	bool leads = m->leads;
	const char *comma = "";
	for (uint32_t i = 0; leads && i < m->topology->edge_count; i++) {
		if (m->topology->edges[i].gone)
			continue;
		buf_printf(out, "%s", comma);
		put_edge(m, i, out);
		comma = ",";
	}
	pthread_mutex_unlock(&m->lock);
	return leads;
}

/* What is shut out on purpose ails of nothing. */
static void count_edge(const struct meta *m, uint32_t edge, struct fleet *f)
{
	const char *name = m->topology->edges[edge].name;
	f->spool_bytes += m->rows[edge].spool_bytes;
	if (m->topology->edges[edge].revoked) {
		f->revoked++;
		return;
	}
	enum edge_state state = overall_state(m, edge);
	f->of_state[state]++;
	if (state == EDGE_PARTITIONED || state == EDGE_BACKPRESSURED || state == EDGE_CATCHING_UP)
		fleet_add_ailing(f, name, edge_state_text(state));
	if (fenced_lately(m, edge))
		fleet_add_ailing(f, name, "fenced");
	if (clock_suspect(m, edge))
		fleet_add_ailing(f, name, "clock_suspect");
}

static void count_stream(const struct meta *m, size_t stream, struct fleet *f)
{
	const struct stream_row *s = &m->streams[stream];
	if (!s->shown || s->close_ns == WATERMARK_NONE || f->stream_count == STREAMS_MAX)
		return;
	struct fleet_stream *to = &f->streams[f->stream_count++];
	snprintf(to->name, sizeof(to->name), "%s", s->conf->name);
	to->close_ns = s->close_ns;
}

void meta_fleet(struct meta *m, struct fleet *ret)
{
	memset(ret, 0, sizeof(*ret));
	pthread_mutex_lock(&m->lock);
	ret->known = m->leads;
	for (uint32_t i = 0; m->leads && i < m->topology->edge_count; i++)
		if (!m->topology->edges[i].gone)
			count_edge(m, i, ret);
	for (size_t i = 0; m->leads && i < m->topology->stream_count; i++)
		count_stream(m, i, ret);
	pthread_mutex_unlock(&m->lock);
}
