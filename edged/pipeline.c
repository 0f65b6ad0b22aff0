#include "edged/pipeline_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "edged/hash.h"
#include "edged/rewrite.h"

/* ---- wires: uplink <-> spool ----------------------------------------------------------------------------------- */

static bool on_send(void *arg, const void *frame, size_t len)
{
	struct pipeline *p = arg;
	return p->io.send(p->io.arg, frame, len);
}

static void on_connect(void *arg, uint32_t cloud)
{
	struct pipeline *p = arg;
	p->io.connect(p->io.arg, cloud);
}

static void on_view(void *arg, uint32_t shard, struct uplink_view *ret_view)
{
	struct pipeline *p = arg;
	const struct spool_shard *sh = spool_shard(p->spool, shard);
	const struct spool_numbers *n = &sh->now;
	*ret_view = (struct uplink_view){.low = n->low,
	    .high = n->next - 1,
	    .ready = n->rewrite == REWRITE_NONE ? n->next - 1 : n->hole - 1,
	    .sent = n->sent,
	    .acked = sh->acked,
	    .resume = n->resume,
	    .moving = n->rewrite == REWRITE_MOVE || p->move_last[shard] != UINT64_MAX};
}

static size_t on_batch_bytes(void *arg, uint32_t shard, uint64_t seq)
{
	struct pipeline *p = arg;
	const struct batch_meta *m = spool_meta(spool_shard(p->spool, shard), seq);
	return m ? m->body_bytes : 0;
}

static bool on_batch_damaged(void *arg, uint32_t shard, uint64_t seq)
{
	struct pipeline *p = arg;
	const struct batch_meta *m = spool_meta(spool_shard(p->spool, shard), seq);
	return !m || m->damaged;
}

static int on_batch_body(void *arg, uint32_t shard, uint64_t seq, struct buf *out)
{
	struct pipeline *p = arg;
	return spool_read_body(p->spool, shard, seq, out);
}

static void on_acked(void *arg, uint32_t shard, uint64_t seq)
{
	struct pipeline *p = arg;
	struct spool_shard *sh = spool_shard(p->spool, shard);
	weir_assert(seq >= sh->acked && seq < sh->now.next);
	sh->acked = seq;
	p->acked = true;
}

static void on_granted(void *arg, const struct uplink_grant *grant)
{
	struct pipeline *p = arg;
	p->grant = *grant;
	p->has_grant = true;
}

static void on_opened_resume(void *arg, uint32_t shard, uint64_t last)
{
	struct pipeline *p = arg;
	p->move_last[shard] = last;
	p->has_moves = true;
}

static void on_map(void *arg, struct bytes map)
{
	struct pipeline *p = arg;
	buf_clear(&p->offered);
	buf_put(&p->offered, map.p, map.n);
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

struct opening {
	struct pipeline *p;
	int64_t mono_ns;
};

static bool restore_delta(void *arg, struct stream *s, int64_t slice_start_ns, struct bytes group, struct partial *partial)
{
	struct opening *o = arg;
	struct group *g = group_get(&o->p->groups, s, group);
	bool kept = slices_restore(&o->p->slices, g, slice_start_ns, partial, o->mono_ns);
	group_put(&o->p->groups, g);
	return kept;
}

static bool restore_step(void *arg, struct stream *s, struct bytes step_key, struct bytes value)
{
	struct opening *o = arg;
	return s->fed && step_key.n == STEP_KEY_BYTES && step_chain_restore(o->p->chains[s->index], step_key.p, value) == 0;
}

static int load_ledger(struct pipeline *p)
{
	struct bytes raw = spool_mark(p->spool, "ledger");
	int rc = raw.n ? ledger_decode(&p->ledger, raw) : 0;
	for (size_t i = 0; i < p->ledger.stream_count && rc == 0; i++) {
		char key[NAME_MAX_BYTES + 16];
		snprintf(key, sizeof(key), "ledger/%s", p->ledger.streams[i]->name);
		raw = spool_mark(p->spool, key);
		rc = raw.n ? ledger_stream_decode(p->ledger.streams[i], raw) : 0;
	}
	return rc;
}

/* By stream of the ledger: readings that the spool holds. */
static uint64_t *count_held(const struct pipeline *p)
{
	uint64_t *there = xcalloc(p->ledger.stream_count + 1, sizeof(there[0]));
	for (const struct slice *s = p->slices.first; s; s = s->next)
		for (const struct slice_entry *e = s->first; e; e = e->next)
			there[s->stream->ledger->index] += e->partial.count;
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		const struct spool_shard *sh = spool_shard(p->spool, i);
		for (size_t k = 0; k < sh->count; k++) {
			const struct batch_meta *m = sh->metas[sh->first + k];
			for (uint32_t j = 0; j < m->stream_count; j++)
				there[p->streams.list[m->streams[j].stream]->ledger->index] += m->streams[j].readings;
		}
	}
	return there;
}

/* Of a damaged file, more than the ledger knows of cannot be right: something is there again that was deleted. */
static bool holds_too_much(const struct pipeline *p, const uint64_t *there)
{
	bool more = false;
	for (size_t i = 0; i < p->ledger.stream_count; i++)
		more |= there[i] > p->ledger.streams[i]->aggregated - p->ledger.streams[i]->acked;
	return more && spool_was_salvaged(p->spool);
}

/* What should be in the spool and is not was lost to damaged records: the ledger says so. */
static void reconcile_ledger(struct pipeline *p)
{
	uint64_t *there = count_held(p);
	if (holds_too_much(p, there)) {
		slices_drop_all(&p->slices);
		spool_lose(p->spool);
		memset(there, 0, p->ledger.stream_count * sizeof(there[0]));
	}
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		struct ledger_stream *s = p->ledger.streams[i];
		uint64_t held = s->aggregated - s->acked;
		if (held > there[i])
			ledger_take_back(s, DROP_CORRUPT, held - there[i]);
	}
	free(there);
}

/* ---- since when a version is fed: from what an earlier checkpoint says, or as of now. One that has ended is told of, too: an edge may
 * never have heard of it before, or never have come to say so */

static void read_flushed_end(void *arg, const char *key, struct bytes value)
{
	(void)key;
	struct pipeline *p = arg;
	struct rd r = rd_init(value.p, value.n);
	rd_svarint(&r);
	int64_t end_ns = rd_svarint(&r);
	if (rd_finish(&r) == 0 && end_ns != WATERMARK_NONE && end_ns - 1 > p->high_ns)
		p->high_ns = end_ns - 1;
}

/* A spool of a version that kept no such mark knows the ends of the windows that it has readings of. */
static int load_high(struct pipeline *p)
{
	struct bytes raw = spool_mark(p->spool, "high");
	struct rd r = rd_init(raw.p, raw.n);
	p->high_ns = WATERMARK_NONE;
	if (!raw.n) {
		spool_each_mark(p->spool, "wm/", read_flushed_end, p);
		return 0;
	}
	p->high_ns = rd_svarint(&r);
	return rd_finish(&r);
}

/* What came before it was there is not in it, so it begins above all that did; on a grid on which it can take over. */
static int64_t begins_ns(const struct pipeline *p, const struct stream *s)
{
	if (p->high_ns == WATERMARK_NONE)
		return WATERMARK_NONE;
	return map_boundary(stream_before(&p->streams, s)->conf, s->conf, p->high_ns + 1);
}

void pipeline_stream_mark(char key[PIPELINE_MARK_KEY_MAX], const char *what, const struct stream_conf *c)
{
	snprintf(key, PIPELINE_MARK_KEY_MAX, "%s/%s/%u", what, c->name, c->version);
}

static struct bytes stream_mark(const struct pipeline *p, const char *what, const struct stream_conf *c)
{
	char key[PIPELINE_MARK_KEY_MAX];
	pipeline_stream_mark(key, what, c);
	return spool_mark(p->spool, key);
}

static int load_since(struct pipeline *p, struct stream *s)
{
	struct bytes raw = stream_mark(p, "since", s->conf);
	struct rd r = rd_init(raw.p, raw.n);
	if (raw.n)
		stream_set_since(s, rd_svarint(&r));
	else if (stream_mark(p, "wm", s->conf).n) /* by a version that kept no such mark: it was there from the start */
		stream_set_since(s, WATERMARK_NONE);
	else
		stream_set_since(s, begins_ns(p, s));
	return raw.n ? rd_finish(&r) : 0;
}

/* The window may be another than when the marks were written: the last one that has readings ends by what is in force now. */
static int load_window_end(const struct pipeline *p, const struct stream *s, struct pipeline_stream *ps)
{
	struct bytes raw = stream_mark(p, "last", s->conf);
	struct rd r = rd_init(raw.p, raw.n);
	if (!raw.n) /* never read, or by a version that kept no such mark */
		return 0;
	ps->last_slice_ns = rd_svarint(&r);
	if (rd_finish(&r) || ps->last_slice_ns < INT64_MIN / 2 || ps->last_slice_ns > TIME_MAX_NS) /* a slice may begin before TIME_MIN_NS */
		return WEIR_ECORRUPT;
	int64_t end_ns = s->orphan ? WATERMARK_NONE : stream_last_window_end(s, ps->last_slice_ns);
	ps->flushed_end_ns = end_ns > ps->flushed_end_ns ? end_ns : ps->flushed_end_ns;
	return 0;
}

static int load_of_stream(const struct pipeline *p, const struct stream *s, struct pipeline_stream *ps)
{
	*ps = (struct pipeline_stream){.watermark_ns = WATERMARK_NONE,
	    .flushed_end_ns = WATERMARK_NONE,
	    .last_slice_ns = WATERMARK_NONE,
	    .told_watermark_ns = WATERMARK_NONE,
	    .told_flushed_end_ns = WATERMARK_NONE,
	    .told_phase = PHASE_JOINING};
	struct bytes raw = stream_mark(p, "wm", s->conf);
	struct rd r = rd_init(raw.p, raw.n);
	if (raw.n) {
		ps->watermark_ns = rd_svarint(&r);
		ps->flushed_end_ns = rd_svarint(&r);
	}
	if (raw.n && rd_finish(&r))
		return WEIR_ECORRUPT;
	int rc = load_window_end(p, s, ps);
	ps->next_watermark_ns = ps->watermark_ns;
	ps->next_flushed_end_ns = ps->flushed_end_ns;
	ps->next_last_slice_ns = ps->last_slice_ns;
	return rc;
}

static int load_stream_marks(struct pipeline *p)
{
	int rc = 0;
	p->of_stream_count = p->streams.count;
	p->of_stream = xcalloc(p->streams.count + 1, sizeof(p->of_stream[0]));
	for (size_t i = 0; i < p->streams.count && rc == 0; i++)
		rc = load_of_stream(p, p->streams.list[i], &p->of_stream[i]);
	if (rc == 0)
		rc = load_high(p);
	for (size_t i = 0; i < p->topology->stream_count && rc == 0; i++)
		if (p->streams.list[i]->reported)
			rc = load_since(p, p->streams.list[i]);
	return rc;
}

static int load_uplink(struct pipeline *p, uint32_t edge, const uint8_t random[16], int64_t mono_ns)
{
	if (p->uplink) { /* it goes on */
		uplink_set_topology(p->uplink, p->topology, edge, p, mono_ns);
		return 0;
	}
	struct bytes epoch_raw = spool_mark(p->spool, "epoch"), id = spool_mark(p->spool, "cluster");
	struct rd r = rd_init(epoch_raw.p, epoch_raw.n);
	uint64_t epoch = epoch_raw.n ? rd_varint(&r) : 0;
	if ((epoch_raw.n && rd_finish(&r) < 0) || (id.n && id.n != CLUSTER_ID_BYTES))
		return WEIR_ECORRUPT;
	struct bytes claim = spool_mark(p->spool, "claim");
	if (claim.n && claim.n != 1 + CLAIM_BYTES)
		return WEIR_ECORRUPT;
	/* An unanswered claim is kept: the cloud may have granted it, and the answer been lost. */
	bool unanswered = claim.n && claim.p[0] == 0;
	struct uplink_io io = {.arg = p,
	    .send = on_send,
	    .connect = on_connect,
	    .view = on_view,
	    .batch_bytes = on_batch_bytes,
	    .batch_damaged = on_batch_damaged,
	    .batch_body = on_batch_body,
	    .acked = on_acked,
	    .granted = on_granted,
	    .opened_resume = on_opened_resume,
	    .report = pipeline_report,
	    .map = on_map};
	uint64_t incarnation = hash_bytes(random, 16);
	p->uplink = uplink_new(
	    p->topology, edge, &io, incarnation, epoch, id, random, unanswered ? claim.p + 1 : NULL, epoch == 0, mono_ns);
	return 0;
}

static int load_clock(struct pipeline *p, struct pipeline_time now)
{
	if (p->uplink) { /* opened again: it goes on, but for what the configuration says */
		struct clock_watch fresh;
		clock_watch_init(&fresh, 0, p->edge->max_ahead_ns / 2);
		p->clock.behind_ns = fresh.behind_ns;
		return 0;
	}
	struct bytes raw = spool_mark(p->spool, "wall");
	struct rd r = rd_init(raw.p, raw.n);
	int64_t floor_ns = raw.n ? rd_svarint(&r) : 0;
	if (raw.n && rd_finish(&r) < 0)
		return WEIR_ECORRUPT;
	/* Further back than this, and right readings would come to be ahead of the clock by more than may be. */
	clock_watch_init(&p->clock, floor_ns, p->edge->max_ahead_ns / 2);
	clock_watch_update(&p->clock, now.wall_ns, now.mono_ns);
	return 0;
}

static int load_removed(struct pipeline *p)
{
	struct bytes raw = spool_mark(p->spool, "removed");
	struct rd r = rd_init(raw.p, raw.n);
	p->removed = raw.n ? rd_varint(&r) : 0;
	return raw.n ? rd_finish(&r) : 0;
}

static int load(struct pipeline *p, uint32_t edge, struct kv *kv, const uint8_t random[16], struct pipeline_time now,
    char **ret_why)
{
	struct opening o = {p, now.mono_ns};
	struct spool_restore restore = {&o, restore_delta, restore_step};
	int rc = spool_open(kv, p->topology, p->edge->name, &p->streams, &restore, &p->spool, ret_why);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < p->topology->stream_count; i++)
		step_chain_committed(p->chains[i]);
	rc = load_ledger(p);
	if (rc == 0)
		rc = load_stream_marks(p);
	if (rc == 0)
		rc = load_clock(p, now);
	if (rc == 0)
		rc = load_removed(p);
	if (rc == 0)
		rc = load_uplink(p, edge, random, now.mono_ns);
	if (rc < 0) {
		*ret_why = xasprintf("a mark of the spool cannot be read: %s", err_text(rc));
		return rc;
	}
	reconcile_ledger(p);
	if (p->removed)
		uplink_know_map(p->uplink, p->removed);
	p->gave_up = p->marks_lost = spool_lost(p->spool);
	p->skip_wanted = p->gave_up || spool_mark(p->spool, "skip").n > 0;
	p->prune = true;
	p->ledger_before = xcalloc(LEDGER_STREAMS_MAX, sizeof(p->ledger_before[0]));
	return 0;
}

static struct pipeline *prepare(const struct topology *t, uint32_t edge, const struct pipeline_io *io, int64_t mono_ns)
{
	struct pipeline *p = xcalloc(1, sizeof(*p));
	p->topology = t;
	p->edge = &t->edges[edge];
	p->io = *io;
	streams_init(&p->streams, t, &p->ledger);
	groups_init(&p->groups, t);
	slices_init(&p->slices, &p->groups);
	p->chains = xcalloc(t->stream_count + 1, sizeof(p->chains[0]));
	for (size_t i = 0; i < t->stream_count; i++)
		p->chains[i] = step_chain_new(&t->streams[i]);
	/* Half for open partials, a quarter for the series cache; states of steps and the rest live in what is left. */
	p->slices_bytes_max = p->edge->memory_bytes / 2;
	p->intake = intake_new(t, p->edge, &p->streams, &p->groups, p->chains, p->edge->memory_bytes / 4);
	progress_init(&p->progress, p->edge->source_count, p->edge->idle_after_ns, p->edge->tick_ns, mono_ns);
	p->move_last = xmalloc(t->shards * sizeof(p->move_last[0]));
	memset(p->move_last, 0xff, t->shards * sizeof(p->move_last[0]));
	return p;
}

static int open_prepared(struct pipeline *p, struct kv *spool, const uint8_t random[16], struct pipeline_time now,
    struct pipeline **ret_pipeline, char **ret_why)
{
	char *why = NULL;
	int rc = load(p, (uint32_t)(p->edge - p->topology->edges), spool, random, now, &why);
	if (rc < 0) {
		*ret_why = why;
		pipeline_close(p);
		return rc;
	}
	*ret_pipeline = p;
	return 0;
}

int pipeline_open(const struct topology *t, uint32_t edge, struct kv *spool, const struct pipeline_io *io,
    const uint8_t random[16], struct pipeline_time now, struct pipeline **ret_pipeline, char **ret_why)
{
	return open_prepared(prepare(t, edge, io, now.mono_ns), spool, random, now, ret_pipeline, ret_why);
}

/* ---- opening again --------------------------------------------------------------------------------------------- */

struct pipeline_kept *pipeline_keep(struct pipeline *p)
{
	struct pipeline_kept *k = xmalloc(sizeof(*k));
	*k = (struct pipeline_kept){.uplink = p->uplink,
	    .progress = p->progress,
	    .clock = p->clock,
	    .move_last = p->move_last,
	    .has_moves = p->has_moves,
	    .claim_answered = p->claim_answered,
	    .acked = p->acked,
	    .full = p->full,
	    .over = p->over,
	    .paused = p->paused,
	    .clock_suspect = p->clock_suspect,
	    .checkpoints = p->checkpoints,
	    .checkpoints_full = p->checkpoints_full,
	    .maps_adopted = p->maps_adopted,
	    .maps_refused = p->maps_refused,
	    .damaged = p->damaged_before + spool_damaged(p->spool)};
	p->uplink = NULL;
	p->move_last = NULL;
	p->progress = (struct progress){0};
	pipeline_close(p);
	return k;
}

void pipeline_kept_free(struct pipeline_kept *k)
{
	uplink_free(k->uplink);
	free(k->move_last);
	progress_free(&k->progress);
	free(k);
}

static void take_kept(struct pipeline *p, struct pipeline_kept *k, const uint32_t *from)
{
	p->uplink = k->uplink;
	p->clock = k->clock;
	p->has_moves = k->has_moves;
	p->claim_answered = k->claim_answered;
	p->acked = k->acked;
	p->full = k->full;
	p->over = k->over;
	p->paused = k->paused;
	p->clock_suspect = k->clock_suspect;
	p->checkpoints = k->checkpoints;
	p->checkpoints_full = k->checkpoints_full;
	p->maps_adopted = k->maps_adopted + 1;
	p->maps_refused = k->maps_refused;
	p->damaged_before = k->damaged;
	memcpy(p->move_last, k->move_last, p->topology->shards * sizeof(p->move_last[0]));
	for (size_t i = 0; i < p->progress.source_count; i++)
		if (from[i] != UINT32_MAX)
			p->progress.sources[i] = k->progress.sources[from[i]];
	k->uplink = NULL;
	pipeline_kept_free(k);
}

int pipeline_reopen(const struct topology *t, uint32_t edge, struct kv *spool, const struct pipeline_io *io,
    struct pipeline_kept *kept, const uint32_t *from, struct pipeline_time now, struct pipeline **ret_pipeline, char **ret_why)
{
	struct pipeline *p = prepare(t, edge, io, now.mono_ns);
	take_kept(p, kept, from);
	return open_prepared(p, spool, NULL, now, ret_pipeline, ret_why);
}

int pipeline_peek_map(struct kv *spool, struct buf *ret_map)
{
	return spool_peek_mark(spool, "map", ret_map);
}

void pipeline_close(struct pipeline *p)
{
	if (!p)
		return;
	uplink_free(p->uplink);
	spool_close(p->spool);
	intake_free(p->intake);
	slices_free(&p->slices);
	for (size_t i = 0; i < p->topology->stream_count; i++)
		step_chain_free(p->chains[i]);
	free(p->chains);
	groups_free(&p->groups);
	streams_free(&p->streams);
	ledger_free(&p->ledger);
	progress_free(&p->progress);
	free(p->of_stream);
	free(p->move_last);
	free(p->ledger_before);
	free(p->scratch);
	buf_free(&p->value);
	buf_free(&p->offered);
	free(p);
}

bool pipeline_gave_up(const struct pipeline *p)
{
	return p->marks_lost;
}

struct bytes pipeline_source_mark(const struct pipeline *p, uint32_t source)
{
	char key[NAME_MAX_BYTES + 64];
	if (p->gave_up) /* some may be lost: all start at their end */
		return bytes_of(NULL, 0);
	snprintf(key, sizeof(key), "source/%s", p->edge->sources[source].name);
	return spool_mark(p->spool, key);
}

/* ---- readings -------------------------------------------------------------------------------------------------- */

static const char *refuse_time(const struct pipeline *p, int64_t t_ns, struct pipeline_time now)
{
	if (t_ns < TIME_MIN_NS || t_ns > TIME_MAX_NS)
		return "bad_timestamp";
	if (t_ns > now.wall_ns && t_ns - now.wall_ns > p->edge->max_ahead_ns &&
	    !clock_watch_suspect(&p->clock, now.wall_ns, now.mono_ns))
		return "too_far_ahead";
	return NULL;
}

/* A version that begins later: its steps must know what came before. */
static void warm_steps(struct pipeline *p, const struct intake_binding *b, const struct line_field *f, int64_t t_ns)
{
	struct step_reading r = {t_ns, f->number};
	if (f->type != LINE_STRING && b->steps)
		step_chain_run(p->chains[b->stream->index], b->steps, &r);
}

static void take_reading(struct pipeline *p, const struct intake_binding *b, const struct line_field *f, int64_t t_ns,
    int64_t mono_ns)
{
	struct ledger_stream *account = b->stream->ledger;
	account->matched++;
	if (f->type == LINE_STRING) {
		account->dropped[DROP_NOT_NUMERIC]++;
		return;
	}
	struct step_reading r = {t_ns, f->number};
	int verdict = STEP_PASS;
	if (b->steps)
		verdict = step_chain_run(p->chains[b->stream->index], b->steps, &r);
	if (verdict == STEP_PASS && !b->group)
		verdict = DROP_GROUP_TOO_LONG;
	if (verdict != STEP_PASS) {
		account->dropped[verdict]++;
		return;
	}
	account->aggregated++;
	slices_add(&p->slices, b->group, r.t_ns, r.value, b->distinct, mono_ns);
}

/* Into each version of each stream that takes it; versions of one stream follow each other. */
static void take_field(struct pipeline *p, const struct intake_field *field, const struct line_field *f, int64_t t_ns,
    int64_t mono_ns)
{
	bool taken = false;
	for (size_t k = 0; k < field->binding_count; k++) {
		const struct intake_binding *b = &field->bindings[k];
		const struct stream *s = b->stream;
		if (t_ns >= s->from_ns && t_ns < s->until_ns) {
			take_reading(p, b, f, t_ns, mono_ns);
			taken = true;
		} else if (t_ns < s->from_ns) {
			warm_steps(p, b, f, t_ns);
		}
		if (k + 1 < field->binding_count && field->bindings[k + 1].stream->ledger == s->ledger)
			continue;
		if (!taken) {
			s->ledger->matched++;
			s->ledger->dropped[DROP_NO_VERSION]++;
		}
		taken = false;
	}
}

const char *pipeline_line(struct pipeline *p, uint32_t source, const struct line *l, struct pipeline_time now)
{
	weir_assert(source < p->progress.source_count);
	int64_t t_ns = l->has_time ? l->time_ns : now.wall_ns;
	p->ledger.read += l->field_count;
	const char *refused = refuse_time(p, t_ns, now);
	if (refused) {
		for (size_t i = 0; i < l->field_count; i++)
			ledger_refuse(&p->ledger, refused);
		return refused;
	}
	enum line_error error = LINE_OK;
	struct intake_series *series = intake_series(p->intake, l, &error);
	if (!series) {
		for (size_t i = 0; i < l->field_count; i++)
			ledger_refuse(&p->ledger, line_error_label(error));
		return line_error_label(error);
	}
	if (t_ns > p->high_ns)
		p->high_ns = t_ns;
	for (size_t i = 0; i < l->field_count; i++) {
		const struct intake_field *f = intake_field(p->intake, series, l, i);
		p->ledger.accepted++;
		if (!f->binding_count)
			p->ledger.unmatched++;
		take_field(p, f, &l->fields[i], t_ns, now.mono_ns);
	}
	progress_reading(&p->progress, source, t_ns, now.mono_ns);
	return NULL;
}

void pipeline_refuse(struct pipeline *p, uint32_t source, const char *reason)
{
	(void)source;
	p->ledger.read++;
	ledger_refuse(&p->ledger, reason);
}

void pipeline_source_finished(struct pipeline *p, uint32_t source, bool finished)
{
	weir_assert(source < p->progress.source_count);
	progress_finished(&p->progress, source, finished, p->progress.updated_mono_ns);
}

/* ---- the tick -------------------------------------------------------------------------------------------------- */

/* Whether the cloud's answers can make room. What the steps remember stays: sources that waited for it would wait for
 * ever. */
static bool can_drain(const struct pipeline *p)
{
	return p->slices.entry_count || spool_batches(p->spool);
}

static bool over_limit(const struct pipeline *p)
{
	return can_drain(p) &&
	    (spool_used_bytes(p->spool) > p->edge->disk_bytes || spool_batches(p->spool) > SPOOL_BATCHES_MAX);
}

static bool well_below_limit(const struct pipeline *p)
{
	if (!can_drain(p))
		return true;
	return spool_used_bytes(p->spool) < p->edge->disk_bytes / 100 * PIPELINE_RESUME_PERCENT &&
	    spool_batches(p->spool) < SPOOL_BATCHES_MAX / 100 * PIPELINE_RESUME_PERCENT;
}

/* Puts batches that were cut before the cloud's last was known behind it. */
static int move_batches(struct pipeline *p)
{
	int rc = 0;
	unsigned steps = 0;
	bool left = false;
	for (uint32_t i = 0; i < spool_shards(p->spool) && rc >= 0; i++) {
		struct spool_shard *sh = spool_shard(p->spool, i);
		if (p->move_last[i] != UINT64_MAX && sh->now.resume && sh->now.rewrite == REWRITE_NONE) {
			rc = rewrite_move_begin(p->spool, i, p->move_last[i]);
			if (rc == WEIR_EINVAL) /* an impossible answer: it will be asked again */
				rc = 0;
		}
		if (rc == 0 && sh->now.rewrite != REWRITE_COMPACT)
			p->move_last[i] = UINT64_MAX;
		while (rc >= 0 && sh->now.rewrite == REWRITE_MOVE && steps < PIPELINE_REWRITES_PER_TICK_MAX) {
			rc = rewrite_move(p->spool, i);
			steps++;
		}
		left = left || sh->now.rewrite == REWRITE_MOVE || p->move_last[i] != UINT64_MAX;
	}
	p->has_moves = left;
	return rc < 0 ? rc : 0;
}

/* Lossless compaction: what was begun goes on; at the limit as much as there is to gain. */
static int compact(struct pipeline *p)
{
	unsigned steps = 0;
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		struct spool_shard *sh = spool_shard(p->spool, i);
		while (steps < PIPELINE_REWRITES_PER_TICK_MAX) {
			bool begun = sh->now.rewrite == REWRITE_COMPACT;
			if (!begun && !(p->full || over_limit(p)))
				break;
			int rc = rewrite_compact(p->spool, &p->streams, i);
			if (rc < 0)
				return rc;
			if (rc == 0)
				break;
			steps++;
		}
	}
	return 0;
}

static void decide_pause(struct pipeline *p)
{
	p->over = over_limit(p);
	bool pause = p->full || p->over || p->removed || (p->paused && !well_below_limit(p));
	if (pause == p->paused)
		return;
	p->paused = pause;
	p->io.pause(p->io.arg, pause);
}

static int rewrite_some(struct pipeline *p)
{
	int rc = move_batches(p);
	if (rc == 0 || rc == WEIR_EFULL)
		rc = compact(p);
	return rc == WEIR_EFULL ? 0 : rc;
}

static void ask_skip(struct pipeline *p)
{
	if (!p->skip_wanted || p->skip_asked)
		return;
	p->io.skip_to_end(p->io.arg);
	p->skip_asked = true;
}

/* A checkpoint and what follows from it; *ret_full: there was no room, all is as it was. */
static int turn(struct pipeline *p, bool flush, struct pipeline_time now, bool *ret_full)
{
	p->wants_report = false;
	ask_skip(p);
	progress_update(&p->progress, p->paused, now.mono_ns);
	clock_watch_update(&p->clock, now.wall_ns, now.mono_ns);
	p->clock_suspect = clock_watch_suspect(&p->clock, now.wall_ns, now.mono_ns);
	int rc = pipeline_commit_all(p, flush, now);
	p->full = rc == WEIR_EFULL;
	if (p->full) {
		p->checkpoints_full++;
		rc = pipeline_commit_least(p, now);
		if (rc == WEIR_EFULL)
			rc = 0;
	} else if (rc == 0) {
		p->checkpoints++;
		p->io.committed(p->io.arg);
	}
	if (rc < 0)
		return rc;
	ask_skip(p); /* a readmission was just stored */
	rc = rewrite_some(p);
	if (rc < 0)
		return rc;
	decide_pause(p);
	*ret_full = p->full;
	return 0;
}

int pipeline_tick(struct pipeline *p, struct pipeline_time now)
{
	bool full;
	int rc = turn(p, false, now, &full);
	if (rc < 0)
		return rc;
	if (uplink_may_report_early(p->uplink, now.mono_ns) && pipeline_has_news(p, false))
		uplink_report_early(p->uplink);
	uplink_tick(p->uplink, now.wall_ns, now.mono_ns);
	return 0;
}

/* ---- the cluster map ------------------------------------------------------------------------------------------- */

bool pipeline_map_offered(const struct pipeline *p, struct bytes *ret_map)
{
	*ret_map = bytes_of(p->offered.data, p->offered.len);
	return p->offered.len > 0;
}

void pipeline_map_refused(struct pipeline *p, struct pipeline_time now)
{
	p->maps_refused++;
	buf_clear(&p->offered);
	uplink_map_refused(p->uplink, now.mono_ns);
}

void pipeline_map_taken(struct pipeline *p)
{
	buf_clear(&p->offered);
}

/* A grant or a readmission that is not settled yet is not in the spool as a whole. */
static bool is_settled(const struct pipeline *p)
{
	return !p->has_grant && !p->skip_wanted;
}

int pipeline_store_map(struct pipeline *p, struct bytes map, struct pipeline_time now)
{
	if (!is_settled(p))
		return WEIR_EBUSY;
	p->stores_map = true;
	p->storing = map;
	int rc = pipeline_checkpoint(p, false, now);
	p->stores_map = false;
	p->storing = bytes_of(NULL, 0);
	return rc;
}

int pipeline_remove(struct pipeline *p, uint64_t version, struct pipeline_time now)
{
	if (!is_settled(p))
		return WEIR_EBUSY;
	uint64_t before = p->removed;
	p->removed = version;
	int rc = pipeline_checkpoint(p, false, now);
	if (rc < 0) {
		p->removed = before;
		return rc;
	}
	buf_clear(&p->offered);
	uplink_know_map(p->uplink, version);
	return 0;
}

bool pipeline_paused(const struct pipeline *p)
{
	return p->paused;
}

bool pipeline_removed(const struct pipeline *p)
{
	return p->removed != 0;
}

int pipeline_checkpoint(struct pipeline *p, bool flush, struct pipeline_time now)
{
	bool full = false;
	int rc = turn(p, flush, now, &full);
	return rc == 0 && full ? WEIR_EFULL : rc;
}

bool pipeline_wants_tick(const struct pipeline *p)
{
	if (p->full) /* trying again at once would find no room either */
		return false;
	return p->has_grant || p->has_moves || p->wants_report || uplink_wants_sent(p->uplink) || uplink_wants_claim(p->uplink) ||
	    p->slices.memory_bytes > p->slices_bytes_max;
}

static bool all_acked(const struct pipeline *p)
{
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		const struct spool_shard *sh = spool_shard(p->spool, i);
		if (sh->acked + 1 < sh->now.next)
			return false;
	}
	return true;
}

void pipeline_frame(struct pipeline *p, const void *frame, size_t len, struct pipeline_time now)
{
	uplink_frame(p->uplink, frame, len, now.wall_ns, now.mono_ns);
	if (!p->acked || !all_acked(p)) /* with more under way it would be looked at for each batch of a backlog */
		return;
	p->acked = false;
	if (uplink_may_report_early(p->uplink, now.mono_ns))
		p->wants_report = pipeline_has_news(p, true);
}

void pipeline_retry(struct pipeline *p, bool can_send, struct pipeline_time now)
{
	uplink_retry(p->uplink, can_send, now.mono_ns);
}

bool pipeline_drained(const struct pipeline *p)
{
	return !p->slices.entry_count && all_acked(p);
}

bool pipeline_fenced(const struct pipeline *p, const char **ret_reason)
{
	return uplink_fenced(p->uplink, ret_reason);
}

bool pipeline_refused(const struct pipeline *p)
{
	return uplink_refused(p->uplink);
}
