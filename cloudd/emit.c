#include "cloudd/emit.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* A version of a stream in a shard; by its place in the topology, which stays the same as long as the process. */
struct emit_place {
	struct sink_place at;
	bool stored; /* the log knows where the sink began */
};

struct emit_shard {
	bool led;             /* the places are those of this leadership */
	uint64_t term;
	uint64_t looked;      /* all that is durable up to this index was looked at, and nothing is left; 0: look */
	struct emit_place *places;
	size_t stream_count;
};

/* What came of one look: rows of one version of a stream, and the place behind them. */
struct page {
	uint32_t shard;
	size_t stream;
	struct sink_place to;
	bool reset;
	uint64_t gone;
	struct partial_spec spec;
	struct rows_reader *reader;
};

struct emit {
	struct emit_options o;
	const struct topology *topology; /* held; of this batch */
	struct emit_shard *shards;
	uint32_t shard_count;
	uint32_t next; /* shard to look at first */
	bool unseen;   /* one that is led here could not be looked at in this round */
	struct page *pages;
	size_t page_count, page_cap;
	struct sink_row *rows;
	size_t row_count;
	size_t bytes; /* encoded, of the batch */
	uint64_t resets, gone;
};

struct emit *emit_new(const struct emit_options *o)
{
	struct emit *e = xcalloc(1, sizeof(*e));
	e->o = *o;
	e->topology = node_topology(o->node);
	e->shard_count = e->topology->shards;
	e->shards = xcalloc(e->shard_count, sizeof(*e->shards));
	e->rows = xcalloc(SINK_BATCH_ROWS, sizeof(*e->rows));
	return e;
}

void emit_free(struct emit *e)
{
	if (!e)
		return;
	emit_discard(e);
	for (uint32_t i = 0; i < e->shard_count; i++)
		free(e->shards[i].places);
	free(e->shards);
	free(e->pages);
	free(e->rows);
	topology_free(e->topology);
	free(e);
}

/* ---- places -------------------------------------------------------------------------------------------------------- */

/* A version that the map has dropped, or that never came to answer, has nothing to tell, and its place is nobody's any more. */
static bool takes(const struct emit *e, size_t stream)
{
	const struct stream_conf *s = &e->topology->streams[stream];
	bool mute = s->phase == STREAM_RETIRED && s->from_ns >= s->answers_until_ns;
	return !mute && sink_takes(e->o.conf, s->name);
}

static struct entry_place told(const struct emit *e, size_t stream, struct sink_place at)
{
	const struct stream_conf *s = &e->topology->streams[stream];
	const char *sink = e->o.conf->name;
	return (struct entry_place){bytes_of(sink, strlen(sink)), bytes_of(s->name, strlen(s->name)), s->version, at.index, at.n};
}

/* Where the sink begins is told at once, so that what is deleted before it was delivered is missed from then on. */
static void tell_beginnings(struct emit *e, uint32_t shard)
{
	struct emit_shard *sh = &e->shards[shard];
	for (size_t i = 0; i < sh->stream_count; i++) {
		if (sh->places[i].stored || !takes(e, i))
			continue;
		struct entry_place p = told(e, i, sh->places[i].at);
		e->o.places(e->o.arg, shard, &p, 1);
		sh->places[i].stored = true;
	}
}

static bool load(struct emit *e, uint32_t shard)
{
	struct emit_shard *sh = &e->shards[shard];
	size_t count = e->topology->stream_count;
	struct serve_place *all = xcalloc(count, sizeof(*all));
	const char *reason;
	sh->led = serve_places(e->o.serve, e->topology, shard, e->o.conf->name, all, &reason) == VERDICT_OK;
	if (sh->led) {
		free(sh->places);
		sh->places = xcalloc(count, sizeof(*sh->places));
		sh->stream_count = count;
		for (size_t i = 0; i < count; i++)
			sh->places[i] = (struct emit_place){all[i].place, all[i].stored};
		sh->looked = 0;
		tell_beginnings(e, shard);
	}
	free(all);
	return sh->led;
}

/* Whether there may be rows to deliver of the shard; its places are known then. */
static bool enter(struct emit *e, uint32_t shard, uint64_t durable)
{
	struct emit_shard *sh = &e->shards[shard];
	struct group_status status;
	if (!node_serves(e->o.node, shard + 1)) {
		sh->led = false;
		return false;
	}
	node_group_status(e->o.node, shard + 1, &status);
	bool known = sh->led && sh->term == status.term && sh->stream_count == e->topology->stream_count;
	if (known)
		return sh->looked != durable || !durable;
	sh->term = status.term;
	bool led = load(e, shard);
	e->unseen |= !led;
	return led;
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

static struct page *add_page(struct emit *e)
{
	if (e->page_count == e->page_cap) {
		e->page_cap = e->page_cap ? 2 * e->page_cap : 16;
		e->pages = xrealloc(e->pages, e->page_cap * sizeof(*e->pages));
	}
	struct page *p = &e->pages[e->page_count++];
	*p = (struct page){0};
	return p;
}

/* Moves the rows that the sink wants out of the reader; what they point to stays there. */
static int take_rows(struct emit *e, const struct page *p)
{
	struct row *row;
	int rc;
	while ((rc = rows_reader_next(p->reader, &row)) > 0) {
		if (row->state != WINDOW_FINAL && (e->o.conf->only_final || row->state == WINDOW_OPEN))
			continue;
		weir_assert(e->row_count < SINK_BATCH_ROWS); /* a page has no more than were asked for */
		e->rows[e->row_count++] = (struct sink_row){.stream = &e->topology->streams[p->stream], .shard = p->shard, .row = *row};
		row->partial = (struct partial){0};
	}
	return rc;
}

/* True: look again. The place has moved, so there may be more behind it; or what is there could not be had now. */
static bool add_rows(struct emit *e, uint32_t shard, size_t stream)
{
	const struct stream_conf *s = &e->topology->streams[stream];
	struct sink_place from = e->shards[shard].places[stream].at, to = from;
	struct buf raw = {0};
	const char *reason;
	bool reset;
	uint64_t gone = 0;
	enum verdict v = serve_outbox(e->o.serve, shard, s->name, s->version, &to.index, &to.n,
	    (uint32_t)(SINK_BATCH_ROWS - e->row_count), &raw, &reset, &gone, &reason);
	if (v != VERDICT_OK) {
		e->shards[shard].led &= v == VERDICT_BUSY; /* not led any more, most likely: the places are read again */
		e->unseen = true;
		buf_free(&raw);
		return true;
	}
	bool moved = to.index != from.index || to.n != from.n;
	if (!moved || !raw.len) {
		buf_free(&raw);
		return false;
	}
	struct page *p = add_page(e);
	*p = (struct page){.shard = shard, .stream = stream, .to = to, .reset = reset && to.index, .gone = gone};
	partial_spec_of(s, topology_distinct_seed(e->topology), PARTIAL_QUANTILE_CAP_CLOUD, &p->spec);
	size_t before = e->row_count;
	int rc = rows_reader_open(bytes_of(raw.data, raw.len), &p->spec, &p->reader);
	if (!rc)
		rc = take_rows(e, p);
	e->bytes += raw.len;
	buf_free(&raw);
	if (rc) { /* not possible of this node's own bytes; nothing is passed over */
		while (e->row_count > before)
			partial_clear(&e->rows[--e->row_count].row.partial, &p->spec);
		rows_reader_close(p->reader);
		e->page_count--;
		e->unseen = true;
	}
	return true;
}

static bool is_full(const struct emit *e)
{
	return e->row_count == SINK_BATCH_ROWS || e->bytes >= SINK_BATCH_BYTES;
}

static void collect_shard(struct emit *e, uint32_t shard)
{
	struct emit_shard *sh = &e->shards[shard];
	uint64_t durable = progress_durable(e->o.progress, shard + 1);
	if (!enter(e, shard, durable))
		return;
	bool more = false;
	for (size_t i = 0; i < sh->stream_count && sh->led; i++) {
		if (is_full(e))
			more = true;
		else if (takes(e, i))
			more |= add_rows(e, shard, i);
	}
	if (!more && sh->led)
		sh->looked = durable;
}

/* The specs are in pages, which may have moved while rows were added. */
static void set_specs(struct emit *e)
{
	size_t row = 0;
	for (size_t i = 0; i < e->page_count; i++) {
		const struct page *p = &e->pages[i];
		for (; row < e->row_count && e->rows[row].shard == p->shard && e->rows[row].stream == &e->topology->streams[p->stream]; row++)
			e->rows[row].spec = &p->spec;
	}
	weir_assert(row == e->row_count);
}

static void collect_round(struct emit *e)
{
	topology_free(e->topology);
	e->topology = node_topology(e->o.node);
	e->unseen = false;
	for (uint32_t i = 0; i < e->shard_count && !is_full(e) && !e->o.stopping(e->o.arg); i++) {
		collect_shard(e, e->next);
		e->next = (e->next + 1) % e->shard_count;
	}
	set_specs(e);
}

/* Pages of rows that the sink does not want are passed at once: one that only takes what is final would fall behind an outbox of what is
 * provisional, else. */
bool emit_collect(struct emit *e, struct sink_batch *ret_batch)
{
	bool moved = true;
	while (moved && !e->row_count && !e->o.stopping(e->o.arg)) {
		collect_round(e);
		moved = e->page_count > 0;
		if (!e->row_count)
			emit_delivered(e);
	}
	*ret_batch = (struct sink_batch){e->rows, e->row_count};
	return e->row_count > 0;
}

bool emit_is_empty(const struct emit *e)
{
	return !e->row_count && !e->unseen;
}

void emit_discard(struct emit *e)
{
	for (size_t i = 0; i < e->row_count; i++)
		partial_clear(&e->rows[i].row.partial, e->rows[i].spec);
	for (size_t i = 0; i < e->page_count; i++)
		rows_reader_close(e->pages[i].reader);
	e->row_count = e->page_count = e->bytes = 0;
}

void emit_delivered(struct emit *e)
{
	for (size_t i = 0; i < e->page_count; i++) {
		const struct page *p = &e->pages[i];
		struct emit_shard *sh = &e->shards[p->shard];
		e->resets += p->reset;
		e->gone += p->gone;
		if (sh->led)
			sh->places[p->stream].at = p->to;
		struct entry_place place = told(e, p->stream, p->to);
		e->o.places(e->o.arg, p->shard, &place, 1);
	}
	emit_discard(e);
}

/* ---- figures ------------------------------------------------------------------------------------------------------- */

static void measure_stream(const struct emit *e, uint32_t shard, size_t stream, int64_t wall_ns, struct emit_figures *f)
{
	struct outbox_left left;
	if (serve_left(e->o.serve, shard, &e->topology->streams[stream], e->shards[shard].places[stream].at, EMIT_LEFT_MAX, &left) ||
	    !left.rows)
		return;
	f->backlog += left.rows;
	int64_t since_ns = left.as_of_ns && wall_ns > left.as_of_ns ? wall_ns - left.as_of_ns : 0;
	if (left.age_ns + since_ns > f->lag_ns)
		f->lag_ns = left.age_ns + since_ns;
}

void emit_measure(struct emit *e, int64_t wall_ns, struct emit_figures *ret)
{
	*ret = (struct emit_figures){.resets = e->resets, .gone = e->gone};
	for (uint32_t shard = 0; shard < e->shard_count; shard++) {
		const struct emit_shard *sh = &e->shards[shard];
		if (!sh->led || (sh->looked && sh->looked == progress_durable(e->o.progress, shard + 1)))
			continue;
		for (size_t i = 0; i < sh->stream_count && i < e->topology->stream_count; i++) {
			if (takes(e, i))
				measure_stream(e, shard, i, wall_ns, ret);
		}
	}
}
