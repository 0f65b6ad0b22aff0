/* The checkpoint: what goes into one transaction, in the order of semantics.md 2. */
#include "edged/pipeline_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

static struct bytes bytes_in(const struct buf *b)
{
	return bytes_of(b->data, b->len);
}

/* ---- the ledger, undone with the transaction ------------------------------------------------------------------- */

static void ledger_save(struct pipeline *p)
{
	for (size_t i = 0; i < p->ledger.stream_count; i++)
		p->ledger_before[i] = *p->ledger.streams[i];
}

static void ledger_undo(struct pipeline *p)
{
	for (size_t i = 0; i < p->ledger.stream_count; i++)
		*p->ledger.streams[i] = p->ledger_before[i];
}

static void put_ledger_stream(struct pipeline *p, const struct ledger_stream *s)
{
	char key[PIPELINE_MARK_KEY_MAX];
	snprintf(key, sizeof(key), "ledger/%s", s->name);
	buf_clear(&p->value);
	ledger_stream_encode(s, &p->value);
	spool_put_mark(p->spool, key, bytes_in(&p->value));
}

static void put_ledger(struct pipeline *p)
{
	buf_clear(&p->value);
	ledger_encode(&p->ledger, &p->value);
	spool_put_mark(p->spool, "ledger", bytes_in(&p->value));
	for (size_t i = 0; i < p->ledger.stream_count; i++)
		put_ledger_stream(p, p->ledger.streams[i]);
}

/* The ledger as it was committed, with nothing new but what is acknowledged since: the readings since then are
 * not in the spool yet. */
static void put_ledger_acked(struct pipeline *p)
{
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		uint64_t acked = p->ledger.streams[i]->acked - p->ledger_before[i].acked;
		char key[PIPELINE_MARK_KEY_MAX];
		snprintf(key, sizeof(key), "ledger/%s", p->ledger.streams[i]->name);
		struct ledger_stream committed = *p->ledger.streams[i];
		struct bytes raw = spool_mark(p->spool, key);
		if (!acked || !raw.n || ledger_stream_decode(&committed, raw) < 0)
			continue;
		committed.acked += acked;
		put_ledger_stream(p, &committed);
	}
}

/* ---- acknowledged batches, sent marks -------------------------------------------------------------------------- */

static void count_acked(void *arg, const struct batch_meta *m)
{
	struct pipeline *p = arg;
	for (uint32_t i = 0; i < m->stream_count; i++)
		p->streams.list[m->streams[i].stream]->ledger->acked += m->streams[i].readings;
}

static void trim_acked(struct pipeline *p)
{
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		const struct spool_shard *sh = spool_shard(p->spool, i);
		if (sh->acked >= sh->now.low)
			spool_trim(p->spool, i, sh->acked, count_acked, p);
	}
}

static void move_sent_marks(struct pipeline *p)
{
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		struct spool_shard *sh = spool_shard(p->spool, i);
		sh->now.sent = uplink_sent_target(p->uplink, i);
	}
}

/* ---- identity -------------------------------------------------------------------------------------------------- */

static void put_claim(struct pipeline *p, bool answered)
{
	uint8_t value[1 + CLAIM_BYTES] = {answered};
	memcpy(value + 1, uplink_claim(p->uplink), CLAIM_BYTES);
	spool_put_mark(p->spool, "claim", bytes_of(value, sizeof(value)));
}

/* Batches and open slices are given up, and counted; sources will start at their end. */
static void put_readmission(struct pipeline *p)
{
	spool_drop_all(p->spool);
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		struct ledger_stream *s = p->ledger.streams[i];
		ledger_take_back(s, DROP_READMITTED, s->aggregated - s->acked);
	}
	for (size_t i = 0; i < p->edge->source_count; i++) {
		char key[PIPELINE_MARK_KEY_MAX];
		snprintf(key, sizeof(key), "source/%s", p->edge->sources[i].name);
		spool_del_mark(p->spool, key);
	}
	spool_put_mark(p->spool, "skip", bytes_of("1", 1));
}

static void put_grant(struct pipeline *p)
{
	buf_clear(&p->value);
	buf_varint(&p->value, p->grant.epoch);
	spool_put_mark(p->spool, "epoch", bytes_in(&p->value));
	if (p->grant.has_cluster_id)
		spool_put_mark(p->spool, "cluster", bytes_of(p->grant.cluster_id, CLUSTER_ID_BYTES));
	put_claim(p, true);
	if (p->grant.readmitted) {
		put_readmission(p);
	} else if (p->grant.resume) {
		for (uint32_t i = 0; i < spool_shards(p->spool); i++)
			spool_shard(p->spool, i)->now.resume = true;
	}
}

static void grant_stored(struct pipeline *p, struct pipeline_time now)
{
	p->has_grant = false;
	if (p->grant.readmitted) {
		slices_drop_all(&p->slices);
		p->skip_wanted = true;
		p->skip_asked = false;
		for (uint32_t i = 0; i < spool_shards(p->spool); i++)
			p->move_last[i] = UINT64_MAX;
	}
	uplink_grant_stored(p->uplink, &p->grant, now.mono_ns);
}

/* ---- event time ------------------------------------------------------------------------------------------------ */

void pipeline_find_oldest(struct pipeline *p)
{
	for (size_t i = 0; i < p->of_stream_count; i++)
		p->of_stream[i].oldest_ns = INT64_MAX;
	for (const struct slice *s = p->slices.first; s; s = s->next) {
		struct pipeline_stream *ps = &p->of_stream[s->stream->index];
		if (s->start_ns < ps->oldest_ns)
			ps->oldest_ns = s->start_ns;
	}
	for (uint32_t i = 0; i < spool_shards(p->spool); i++) {
		const struct spool_shard *sh = spool_shard(p->spool, i);
		for (size_t k = 0; k < sh->count; k++) {
			const struct batch_meta *m = sh->metas[sh->first + k];
			for (uint32_t j = 0; m->seq > sh->acked && j < m->stream_count; j++) {
				struct pipeline_stream *ps = &p->of_stream[m->streams[j].stream];
				if (m->streams[j].min_slice_ns < ps->oldest_ns)
					ps->oldest_ns = m->streams[j].min_slice_ns;
			}
		}
	}
}

/* The ends of windows that hold readings of this edge: every slice that has any is open at some checkpoint. */
static void note_window_ends(struct pipeline *p)
{
	for (const struct slice *s = p->slices.first; s; s = s->next) {
		struct pipeline_stream *ps = &p->of_stream[s->stream->index];
		if (s->stream->orphan || s->start_ns <= ps->next_last_slice_ns)
			continue;
		ps->next_last_slice_ns = s->start_ns;
		int64_t end_ns = stream_last_window_end(s->stream, s->start_ns);
		if (end_ns > ps->next_flushed_end_ns)
			ps->next_flushed_end_ns = end_ns;
	}
}

static void put_stream_mark(struct pipeline *p, const char *what, const struct stream_conf *c, struct bytes value)
{
	char key[PIPELINE_MARK_KEY_MAX];
	pipeline_stream_mark(key, what, c);
	spool_put_mark(p->spool, key, value);
}

static void put_stream_time(struct pipeline *p, const char *what, const struct stream_conf *c, int64_t t_ns)
{
	buf_clear(&p->value);
	buf_svarint(&p->value, t_ns);
	put_stream_mark(p, what, c, bytes_in(&p->value));
}

static void put_watermarks(struct pipeline *p)
{
	int64_t event_ns = 0;
	enum progress_state state = progress_event_time(&p->progress, &event_ns);
	note_window_ends(p);
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		struct pipeline_stream *ps = &p->of_stream[i];
		const struct stream_conf *c = p->streams.list[i]->conf;
		if (!p->streams.list[i]->reported)
			continue;
		if (state == PROGRESS_AT)
			ps->next_watermark_ns =
			    progress_watermark(ps->watermark_ns, event_ns, c->lateness_ns, ps->oldest_ns);
		if (ps->next_last_slice_ns != ps->last_slice_ns)
			put_stream_time(p, "last", c, ps->next_last_slice_ns);
		if (ps->next_watermark_ns == ps->watermark_ns && ps->next_flushed_end_ns == ps->flushed_end_ns)
			continue;
		buf_clear(&p->value);
		buf_svarint(&p->value, ps->next_watermark_ns);
		buf_svarint(&p->value, ps->next_flushed_end_ns);
		put_stream_mark(p, "wm", c, bytes_in(&p->value));
	}
}

static void put_since(struct pipeline *p)
{
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		const struct stream *s = p->streams.list[i];
		if (s->reported)
			put_stream_time(p, "since", s->conf, s->since_ns);
	}
	if (p->high_ns == WATERMARK_NONE)
		return;
	buf_clear(&p->value);
	buf_svarint(&p->value, p->high_ns);
	spool_put_mark(p->spool, "high", bytes_in(&p->value));
}

static void settle_watermarks(struct pipeline *p, bool committed)
{
	for (size_t i = 0; i < p->of_stream_count; i++) {
		struct pipeline_stream *ps = &p->of_stream[i];
		if (committed) {
			ps->watermark_ns = ps->next_watermark_ns;
			ps->flushed_end_ns = ps->next_flushed_end_ns;
			ps->last_slice_ns = ps->next_last_slice_ns;
		} else {
			ps->next_watermark_ns = ps->watermark_ns;
			ps->next_flushed_end_ns = ps->flushed_end_ns;
			ps->next_last_slice_ns = ps->last_slice_ns;
		}
	}
}

static void mark_due(struct pipeline *p, bool flush, struct pipeline_time now)
{
	int64_t event_ns = 0;
	enum progress_state state = progress_event_time(&p->progress, &event_ns);
	if (flush || state == PROGRESS_IDLE) {
		slices_due_all(&p->slices);
		return;
	}
	if (state == PROGRESS_AT)
		for (size_t i = 0; i < p->topology->stream_count; i++)
			slices_due_ended(&p->slices, p->streams.list[i], event_ns - p->topology->streams[i].lateness_ns);
	slices_due_opened(&p->slices, now.mono_ns - p->edge->flush_ns);
	slices_due_unfed(&p->slices);
	if (p->slices.memory_bytes > p->slices_bytes_max)
		slices_due_largest(&p->slices, p->slices_bytes_max / 2);
}

/* ---- partials -------------------------------------------------------------------------------------------------- */

static int by_place(const struct slice_entry *a, const struct slice_entry *b)
{
	const struct slice *s = a->slice, *t = b->slice;
	if (s->stream != t->stream)
		return s->stream->index < t->stream->index ? -1 : 1;
	if (s->start_ns != t->start_ns)
		return s->start_ns < t->start_ns ? -1 : 1;
	const struct group *g = a->group, *h = b->group;
	int d = memcmp(g->bytes, h->bytes, g->len < h->len ? g->len : h->len);
	return d ? d : (g->len > h->len) - (g->len < h->len);
}

static int by_shard_and_place(const void *a, const void *b)
{
	const struct slice_entry *x = *(struct slice_entry *const *)a, *y = *(struct slice_entry *const *)b;
	if (x->group->shard != y->group->shard)
		return x->group->shard < y->group->shard ? -1 : 1;
	return by_place(x, y);
}

static int by_place_only(const void *a, const void *b)
{
	return by_place(*(struct slice_entry *const *)a, *(struct slice_entry *const *)b);
}

static struct bytes group_bytes(const struct slice_entry *e)
{
	return bytes_of(e->group->bytes, e->group->len);
}

static void scratch_reserve(struct pipeline *p)
{
	if (p->scratch_cap >= p->slices.entry_count)
		return;
	p->scratch_cap = p->slices.entry_count;
	p->scratch = xrealloc(p->scratch, p->scratch_cap * sizeof(p->scratch[0]));
}

static void finish_batch(struct pipeline *p, uint32_t shard, struct cutter *c)
{
	if (!cutter_count(c))
		return;
	struct batch_meta *meta = cutter_finish(c, spool_shard(p->spool, shard)->now.next, &p->value);
	spool_add_batch(p->spool, shard, meta, bytes_in(&p->value));
}

static void cut_entry(struct pipeline *p, struct cutter *c, const struct slice_entry *e)
{
	int rc = cutter_add(c, e->group->stream, e->slice->start_ns, group_bytes(e), &e->partial);
	if (rc == WEIR_EFULL) {
		finish_batch(p, e->group->shard, c);
		rc = cutter_add(c, e->group->stream, e->slice->start_ns, group_bytes(e), &e->partial);
	}
	if (rc < 0)
		ledger_take_back(e->group->stream->ledger, DROP_TOO_BIG, e->partial.count);
	if (e->stored)
		spool_del_delta(p->spool, e->group->stream, e->slice->start_ns, group_bytes(e));
}

/* Due slices into batches, shard by shard. */
static void cut_due(struct pipeline *p)
{
	size_t n = 0;
	scratch_reserve(p);
	for (const struct slice *s = p->slices.first; s; s = s->next)
		for (struct slice_entry *e = s->due ? s->first : NULL; e; e = e->next)
			p->scratch[n++] = e;
	if (!n)
		return;
	qsort(p->scratch, n, sizeof(p->scratch[0]), by_shard_and_place);
	for (size_t i = 0; i < n;) {
		uint32_t shard = p->scratch[i]->group->shard;
		struct cutter *c = cutter_new(shard, &p->streams);
		for (; i < n && p->scratch[i]->group->shard == shard; i++)
			cut_entry(p, c, p->scratch[i]);
		finish_batch(p, shard, c);
		cutter_free(c);
	}
}

static void put_deltas(struct pipeline *p)
{
	size_t n = 0;
	scratch_reserve(p);
	for (struct slice_entry *e = p->slices.dirty; e; e = e->next_dirty)
		if (!e->slice->due)
			p->scratch[n++] = e;
	if (n)
		qsort(p->scratch, n, sizeof(p->scratch[0]), by_place_only);
	for (size_t i = 0; i < n; i++) {
		const struct slice_entry *e = p->scratch[i];
		spool_put_delta(p->spool, e->group->stream, e->slice->start_ns, group_bytes(e), &e->partial);
	}
}

/* ---- steps and sources ----------------------------------------------------------------------------------------- */

struct step_put {
	struct pipeline *p;
	const struct stream *stream;
};

static void put_step(void *arg, const uint8_t key[STEP_KEY_BYTES], struct bytes value)
{
	struct step_put *sp = arg;
	spool_put_step(sp->p->spool, sp->stream, bytes_of(key, STEP_KEY_BYTES), value);
}

static void put_steps(struct pipeline *p)
{
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		struct step_put sp = {p, p->streams.list[i]};
		step_chain_changed(p->chains[i], put_step, &sp);
	}
}

static void put_sources(struct pipeline *p)
{
	for (size_t i = 0; i < p->edge->source_count; i++) {
		char key[PIPELINE_MARK_KEY_MAX];
		snprintf(key, sizeof(key), "source/%s", p->edge->sources[i].name);
		buf_clear(&p->value);
		p->io.mark(p->io.arg, (uint32_t)i, &p->value);
		if (p->value.len)
			spool_put_mark(p->spool, key, bytes_in(&p->value));
	}
	if (p->skip_wanted && p->skip_asked)
		spool_del_mark(p->spool, "skip");
}

/* ---- the cluster map, and what it makes useless ---------------------------------------------------------------- */

static void put_map(struct pipeline *p)
{
	if (p->stores_map) {
		if (p->storing.n)
			spool_put_mark(p->spool, "map", p->storing);
		else
			spool_del_mark(p->spool, "map");
		spool_del_mark(p->spool, "removed");
		return;
	}
	if (!p->removed)
		return;
	buf_clear(&p->value);
	buf_varint(&p->value, p->removed);
	spool_put_mark(p->spool, "removed", bytes_in(&p->value));
}

/* PREFIX/STREAM/VERSION */
static void prune_version(void *arg, const char *key, struct bytes value)
{
	(void)value;
	struct pipeline *p = arg;
	const char *name = strchr(key, '/') + 1, *slash = strrchr(name, '/');
	unsigned long version = slash ? strtoul(slash + 1, NULL, 10) : 0;
	for (size_t i = 0; slash && i < p->topology->stream_count; i++) {
		const struct stream_conf *c = p->streams.list[i]->conf;
		if (p->streams.list[i]->reported && c->version == version && strlen(c->name) == (size_t)(slash - name) &&
		    memcmp(c->name, name, (size_t)(slash - name)) == 0)
			return;
	}
	spool_del_mark(p->spool, key);
}

struct pruning {
	struct pipeline *p;
	size_t kept;
};

static void prune_source(void *arg, const char *key, struct bytes value)
{
	(void)value;
	struct pruning *pr = arg;
	const char *name = strchr(key, '/') + 1;
	for (size_t i = 0; i < pr->p->edge->source_count; i++)
		if (strcmp(pr->p->edge->sources[i].name, name) == 0)
			return;
	if (++pr->kept > PIPELINE_SOURCES_KEPT_MAX)
		spool_del_mark(pr->p->spool, key);
}

static void prune_ledger(void *arg, const char *key, struct bytes value)
{
	(void)value;
	struct pruning *pr = arg;
	const char *name = strchr(key, '/') + 1;
	for (size_t i = 0; i < pr->p->ledger.stream_count; i++)
		if (strcmp(pr->p->ledger.streams[i]->name, name) == 0)
			return;
	if (++pr->kept > PIPELINE_LEDGERS_KEPT_MAX)
		spool_del_mark(pr->p->spool, key);
}

/* A version that is not fed any more and comes back must not look as if it had been fed all the while. */
static void prune_marks(struct pipeline *p)
{
	struct pruning sources = {p, 0}, ledgers = {p, 0};
	spool_each_mark(p->spool, "wm/", prune_version, p);
	spool_each_mark(p->spool, "last/", prune_version, p);
	spool_each_mark(p->spool, "since/", prune_version, p);
	spool_each_mark(p->spool, "source/", prune_source, &sources);
	spool_each_mark(p->spool, "ledger/", prune_ledger, &ledgers);
}

/* ---- checkpoints ----------------------------------------------------------------------------------------------- */

static void put_wall(struct pipeline *p)
{
	if (!spool_writing(p->spool))
		return;
	buf_clear(&p->value);
	buf_svarint(&p->value, clock_watch_kept(&p->clock));
	spool_put_mark(p->spool, "wall", bytes_in(&p->value));
}

static int commit(struct pipeline *p)
{
	put_wall(p);
	int rc = spool_commit(p->spool, NULL);
	if (rc < 0) {
		ledger_undo(p);
		return rc;
	}
	p->gave_up = spool_lost(p->spool);
	if (uplink_wants_claim(p->uplink))
		uplink_claim_stored(p->uplink);
	return 0;
}

static void begin(struct pipeline *p)
{
	ledger_save(p);
	spool_begin(p->spool);
	/* A fenced edge asks again with its claim: a readmission may be granted to it, and that answer be lost. */
	if (uplink_state(p->uplink) == UPLINK_READY)
		p->claim_answered = true;
	put_claim(p, p->claim_answered && !uplink_fenced(p->uplink, NULL));
	trim_acked(p);
}

int pipeline_commit_all(struct pipeline *p, bool flush, struct pipeline_time now)
{
	bool readmitted = p->has_grant && p->grant.readmitted, granted = p->has_grant;
	bool skipped = p->skip_wanted && p->skip_asked && !readmitted;
	pipeline_find_oldest(p);
	begin(p);
	if (granted)
		put_grant(p);
	if (p->prune)
		prune_marks(p);
	put_map(p);
	put_since(p);
	put_watermarks(p);
	if (!readmitted) {
		mark_due(p, flush, now);
		cut_due(p);
		put_deltas(p);
		put_sources(p);
	}
	put_steps(p);
	move_sent_marks(p);
	put_ledger(p);
	int rc = commit(p);
	settle_watermarks(p, rc == 0);
	if (rc < 0) {
		slices_rolled_back(&p->slices);
		return rc;
	}
	slices_committed(&p->slices);
	p->prune = false;
	for (size_t i = 0; i < p->topology->stream_count; i++)
		step_chain_committed(p->chains[i]);
	if (skipped)
		p->skip_wanted = p->skip_asked = false;
	if (granted)
		grant_stored(p, now);
	return 0;
}

int pipeline_commit_least(struct pipeline *p, struct pipeline_time now)
{
	bool granted = p->has_grant && !p->grant.readmitted;
	begin(p);
	if (granted)
		put_grant(p);
	move_sent_marks(p);
	put_ledger_acked(p);
	int rc = commit(p);
	if (rc == 0 && granted)
		grant_stored(p, now);
	return rc;
}
