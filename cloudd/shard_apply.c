#include "cloudd/shard_apply.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/completeness.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"

/* STATE_EDGE: kept for ever. */
struct edge_record {
	uint64_t epoch, last, checksum;
};

static void edge_key(struct state_key *k, struct bytes name)
{
	state_key_start(k, STATE_EDGE);
	state_key_bytes_of(k, name);
}

/* A zeroed record where there is none: epoch 0, nothing seen. */
static int edge_read(struct shard *sh, struct bytes name, struct edge_record *ret)
{
	struct state_key k;
	struct bytes value;
	*ret = (struct edge_record){0};
	edge_key(&k, name);
	int rc = state_get(sh->state, &k, &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	struct rd r = rd_init(value.p, value.n);
	ret->epoch = rd_u64(&r);
	ret->last = rd_u64(&r);
	ret->checksum = rd_u64(&r);
	return rd_finish(&r) ? WEIR_ECORRUPT : 0;
}

static int edge_write(struct shard *sh, struct bytes name, const struct edge_record *e)
{
	struct state_key k;
	edge_key(&k, name);
	buf_clear(&sh->value);
	buf_u64(&sh->value, e->epoch);
	buf_u64(&sh->value, e->last);
	buf_u64(&sh->value, e->checksum);
	return state_put(sh->state, &k, bytes_of(sh->value.data, sh->value.len));
}

static void answer(struct apply_result *res, enum verdict verdict, const char *reason)
{
	res->verdict = verdict;
	res->reason = reason;
}

/* ---- OPEN -------------------------------------------------------------------------------------------------- */

/* Whether the numbers that the edge holds follow on what the shard has: semantics.md 1.3. */
static const char *open_misfit(const struct entry *e, uint64_t last)
{
	if (e->open.high < last)
		return "the spool is an old copy: this shard has later batches of this edge";
	if (e->open.low > last && e->open.low - last > 1)
		return "the cloud lost batches that this edge has deleted";
	return NULL;
}

int shard_fence_edge(struct shard *sh, const char *name)
{
	struct edge_record edge;
	struct bytes edge_name = bytes_of(name, strlen(name));
	int rc = edge_read(sh, edge_name, &edge);
	if (rc || !edge.epoch || edge.epoch == UINT64_MAX)
		return rc;
	edge.epoch++;
	return edge_write(sh, edge_name, &edge);
}

/* By the shard's map; before it has one there are no strangers. */
static bool is_stranger(const struct shard *sh, struct bytes edge)
{
	char name[NAME_MAX_BYTES + 1];
	memcpy(name, edge.p, edge.n);
	name[edge.n] = 0;
	return sh->mapped && topology_edge(sh->topology, name) < 0;
}

int shard_apply_open(struct shard *sh, const struct entry *e, struct apply_result *res)
{
	struct edge_record edge;
	if (is_stranger(sh, e->open.edge)) {
		answer(res, VERDICT_UNAVAILABLE, "the edge is not in the topology that this shard has");
		return 0;
	}
	int rc = edge_read(sh, e->open.edge, &edge);
	if (rc)
		return rc;
	res->epoch = edge.epoch;
	res->last = edge.last;
	if (e->open.epoch < edge.epoch) {
		answer(res, VERDICT_FENCED, "a later holder of this edge's name is known");
		return 0;
	}
	const char *misfit = e->open.resume ? NULL : open_misfit(e, edge.last);
	if (misfit) {
		answer(res, VERDICT_FENCED, misfit);
		return 0;
	}
	edge.epoch = e->open.epoch;
	res->epoch = edge.epoch;
	return edge_write(sh, e->open.edge, &edge);
}

/* ---- BATCH ------------------------------------------------------------------------------------------------- */

/* The verdict of semantics.md 1.4 on numbers alone; OK: it is the next. */
static void judge(const struct edge_record *edge, const struct entry *e, struct apply_result *res)
{
	uint64_t seq = e->batch.seq;
	if (!seq)
		answer(res, VERDICT_REFUSED, "batches are numbered from 1");
	else if (e->batch.epoch < edge->epoch)
		answer(res, VERDICT_FENCED, "a later holder of this edge's name is known");
	else if (!edge->epoch || e->batch.epoch > edge->epoch)
		answer(res, VERDICT_NOT_OPEN, "this epoch has not been opened");
	else if (seq < edge->last || (seq == edge->last && e->batch.checksum == edge->checksum))
		answer(res, VERDICT_DUPLICATE, NULL);
	else if (seq == edge->last)
		answer(res, VERDICT_FENCED, "another batch with this number was merged: the spool is a copy");
	else if (seq - edge->last > 1)
		answer(res, VERDICT_OUT_OF_SEQUENCE, "batches before it are missing");
}

/* A batch taken apart before anything of it is merged: what cannot be decoded must leave no trace. */
struct batch {
	struct batch_reader *reader;
	struct batch_packed *items; /* they point into the reader */
	size_t count;
};

static void batch_clear(struct batch *b)
{
	free(b->items);
	batch_reader_close(b->reader);
}

/* Every partial, checked; false: one does not decode. */
static bool take_items(struct batch *b)
{
	size_t max = batch_reader_count(b->reader);
	b->items = xmalloc((max + 1) * sizeof(*b->items));
	int more;
	while ((more = batch_reader_next_packed(b->reader, &b->items[b->count])) > 0 && b->count < max)
		b->count++;
	return more == 0;
}

/* False: *ret_reason says why; nothing to clear. */
static bool take_batch(const struct shard *sh, const struct entry *e, struct batch *ret, const char **ret_reason)
{
	struct batch b = {0};
	struct bytes body = e->batch.body;
	*ret_reason = "the batch does not have its checksum";
	if (batch_checksum(body.p, body.n) != e->batch.checksum)
		return false;
	*ret_reason = "the batch cannot be decoded";
	if (batch_reader_open(body.p, body.n, &b.reader))
		return false;
	bool fine = batch_reader_stream_count(b.reader) <= BATCH_STREAMS_MAX && take_items(&b);
	if (fine && (batch_reader_shard(b.reader) != sh->number || batch_reader_seq(b.reader) != e->batch.seq)) {
		*ret_reason = "the batch is of another shard or number";
		fine = false;
	}
	if (!fine) {
		batch_clear(&b);
		return false;
	}
	*ret = b;
	return true;
}

/* Merges into what was just read at k (old: NULL, nothing is there). */
static int merge_into(struct shard *sh, const struct shard_stream *s, const struct state_key *k,
    const struct bytes *old, const struct partial_packed *p)
{
	struct partial_packed there;
	if (old) {
		struct rd r = rd_init(old->p, old->n);
		if (partial_skim(&r, &s->spec, &there) || rd_finish(&r))
			return WEIR_ECORRUPT;
	}
	buf_clear(&sh->value);
	partial_merge_packed(old ? &there : NULL, p, &s->spec, &sh->value);
	return state_replace(sh->state, k, old, bytes_of(sh->value.data, sh->value.len));
}

static int read_place(struct shard *sh, const struct shard_stream *s, const struct shard_target *to,
    struct state_key *k, struct bytes *ret_old, bool *ret_found)
{
	state_key_place(k, STATE_PARTIAL, s->id, to->level, to->start_ns, to->group);
	int rc = state_get(sh->state, k, ret_old);
	*ret_found = !rc;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int shard_merge(struct shard *sh, struct shard_stream *s, const struct shard_target *to, const struct partial_packed *p)
{
	struct state_key k;
	struct bytes old;
	bool found;
	int rc = read_place(sh, s, to, &k, &old, &found);
	return rc ? rc : merge_into(sh, s, &k, found ? &old : NULL, p);
}

/* Adds the group to the registry, or notes its later partial. *ret_full: there is no room for a new one. */
static int register_group(struct shard *sh, struct shard_stream *s, const struct shard_target *to, bool *ret_full)
{
	struct state_key k;
	struct bytes old;
	*ret_full = false;
	state_key_id(&k, STATE_GROUP, s->id);
	state_key_bytes_of(&k, to->group);
	int rc = state_get(sh->state, &k, &old);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	bool known = !rc;
	if (known) {
		struct rd r = rd_init(old.p, old.n);
		int64_t latest = rd_bei64(&r);
		if (rd_finish(&r))
			return WEIR_ECORRUPT;
		if (latest >= to->start_ns)
			return 0;
	} else {
		uint64_t shards = sh->topology->shards, max = s->conf->max_groups;
		uint64_t share = max / shards + (max % shards != 0);
		*ret_full = s->conf->by_count && s->counts.groups >= share;
		if (*ret_full)
			return 0;
		s->counts.groups++;
	}
	buf_clear(&sh->value);
	buf_bei64(&sh->value, to->start_ns);
	return state_replace(sh->state, &k, known ? &old : NULL, bytes_of(sh->value.data, sh->value.len));
}

static bool is_other(const struct shard_stream *s, struct bytes group, struct bytes other)
{
	return s->conf->by_count && group.n == other.n && !memcmp(group.p, other.p, other.n);
}

/* Merges under the group or, where there is no room for a new one, under __other__. A partial record exists only of a
 * registered group whose latest start is no earlier: where one is found the registry need not be asked. */
static int merge_target(struct shard *sh, struct shard_stream *s, struct shard_target *to, const struct partial_packed *p,
    uint8_t room[GROUP_KEY_MAX])
{
	struct state_key k;
	struct bytes old, other = group_other(s->conf->by_count, room);
	bool found, full = false;
	int rc = read_place(sh, s, to, &k, &old, &found);
	if (!rc && !found && !is_other(s, to->group, other))
		rc = register_group(sh, s, to, &full);
	if (!rc && full) {
		to->group = other;
		s->counts.overflowed += p->numbers.count;
		rc = read_place(sh, s, to, &k, &old, &found);
	}
	return rc ? rc : merge_into(sh, s, &k, found ? &old : NULL, p);
}

/* Marks what a late partial changed, if a window that holds it has closed. */
static int mark_dirty(struct shard *sh, struct shard_stream *s, const struct shard_target *to, uint64_t index)
{
	int64_t close = shard_close_ns(s), first, last;
	if (close == WATERMARK_NONE)
		return 0;
	if (!window_range(&s->grid, to->start_ns, s->levels.every_ns[to->level], &first, &last))
		return 0;
	if (first + s->grid.size_ns > close)
		return 0;
	struct state_key k;
	struct bytes old;
	state_key_place(&k, STATE_DIRTY, s->id, to->level, to->start_ns, to->group);
	int rc = state_get(sh->state, &k, &old);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	bool known = !rc;
	if (!known)
		s->counts.dirty++;
	buf_clear(&sh->value);
	buf_bei64(&sh->value, close);
	buf_be64(&sh->value, index);
	return state_replace(sh->state, &k, known ? &old : NULL, bytes_of(sh->value.data, sh->value.len));
}

static bool item_is_valid(const struct shard_stream *s, const struct batch_packed *item)
{
	struct group_value values[BY_MAX];
	int64_t start = item->slice_start_ns;
	return start >= TIME_MIN_NS && start <= TIME_MAX_NS - s->conf->slice_ns && start % s->conf->slice_ns == 0 &&
	    group_split(item->group, s->conf->by_count, values);
}

static void drop_invalid(struct shard_stream *s, uint64_t readings)
{
	s->counts_changed = true;
	s->counts.received += readings;
	s->counts.invalid += readings;
}

static int merge_item(struct shard *sh, struct shard_stream *s, const struct batch_packed *item, uint64_t index)
{
	uint64_t readings = item->partial.numbers.count;
	if (!item_is_valid(s, item)) {
		drop_invalid(s, readings);
		return 0;
	}
	s->counts_changed = true;
	s->counts.received += readings;
	struct shard_target to = {.group = item->group};
	int level = window_level(&s->levels, 0, item->slice_start_ns, &to.start_ns);
	if (level < 0) {
		s->counts.beyond_retain += readings;
		return 0;
	}
	to.level = (uint8_t)level;
	uint8_t room[GROUP_KEY_MAX];
	int rc = merge_target(sh, s, &to, &item->partial, room);
	s->counts.merged += readings;
	s->counts.partials++;
	return rc ? rc : mark_dirty(sh, s, &to, index);
}

/* Whether its partials hold what ours do: only then they merge. */
static bool same_parts(const struct shard_stream *s, const struct batch_stream *b)
{
	return b->slice_ns == s->conf->slice_ns && b->spec.parts == s->spec.parts &&
	    b->spec.distinct_count == s->spec.distinct_count;
}

static int merge_items(struct shard *sh, const struct batch *b, uint64_t index)
{
	struct shard_stream *known[BATCH_STREAMS_MAX];
	bool fits[BATCH_STREAMS_MAX];
	size_t streams = batch_reader_stream_count(b->reader);
	int rc = 0;
	for (size_t i = 0; i < streams && !rc; i++) {
		const struct batch_stream *s = batch_reader_stream(b->reader, i);
		known[i] = shard_stream_of(sh, bytes_of(s->name, strlen(s->name)), s->version);
		fits[i] = known[i] && same_parts(known[i], s);
		if (known[i])
			rc = shard_stream_name(sh, known[i]);
	}
	for (size_t i = 0; i < b->count && !rc; i++) {
		const struct batch_packed *item = &b->items[i];
		const struct batch_stream *s = batch_reader_stream(b->reader, item->stream);
		if (!known[item->stream])
			rc = shard_count_unknown(sh, bytes_of(s->name, strlen(s->name)), s->version, item->partial.numbers.count);
		else if (!fits[item->stream])
			drop_invalid(known[item->stream], item->partial.numbers.count);
		else
			rc = merge_item(sh, known[item->stream], item, index);
	}
	return rc;
}

static int merge_batch(struct shard *sh, const struct entry *e, uint64_t index, struct apply_result *res)
{
	const char *reason;
	struct batch b;
	if (!take_batch(sh, e, &b, &reason)) {
		answer(res, VERDICT_REFUSED, reason);
		return 0;
	}
	int rc = merge_items(sh, &b, index);
	batch_clear(&b);
	return rc;
}

int shard_apply_batch(struct shard *sh, const struct entry *e, uint64_t index, struct apply_result *res)
{
	struct edge_record edge;
	int rc = edge_read(sh, e->batch.edge, &edge);
	if (rc)
		return rc;
	judge(&edge, e, res);
	if (res->verdict == VERDICT_OK) {
		rc = merge_batch(sh, e, index, res);
		if (rc)
			return rc;
	}
	if (res->verdict == VERDICT_OK) {
		edge.last = e->batch.seq;
		edge.checksum = e->batch.checksum;
		rc = edge_write(sh, e->batch.edge, &edge);
	}
	res->seq = e->batch.seq;
	res->epoch = edge.epoch;
	res->last = edge.last;
	return rc;
}

/* ---- ADVANCE ----------------------------------------------------------------------------------------------- */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The close as the shard takes it: within range, and never falling. */
static struct entry_close tempered(const struct shard_stream *s, const struct entry_close *c)
{
	struct entry_close out = *c;
	out.close_ns = later(window_time(c->close_ns), shard_close_ns(s));
	out.final_ns = later(window_time(c->final_ns), shard_final_ns(s));
	if (out.final_ns > out.close_ns)
		out.final_ns = out.close_ns;
	return out;
}

static int write_advance(struct shard *sh, struct shard_stream *s, uint64_t meta_index, const struct entry_close *c)
{
	struct state_key k;
	state_key_id(&k, STATE_ADVANCE, s->id);
	state_key_u8(&k, SHARD_ADVANCE_CLOSE);
	buf_clear(&sh->value);
	buf_varint(&sh->value, meta_index);
	entry_close_encode(c, &sh->value);
	struct bytes value = bytes_of(sh->value.data, sh->value.len);
	int rc = state_put(sh->state, &k, value);
	if (rc)
		return rc;
	shard_advance_clear(&s->advance);
	rc = shard_advance_decode(value, &s->advance);
	shard_set_levels(s);
	return rc;
}

int shard_apply_advance(struct shard *sh, const struct entry *e, struct apply_result *res,
    struct shard_stream **ret_stream)
{
	uint64_t meta_index = e->advance.meta_index;
	*ret_stream = NULL;
	res->meta_index = sh->meta_index;
	if (!shard_takes(sh, meta_index, e->advance.after))
		return 0; /* an older one, or one that leaves a gap: the meta leader sends from res->meta_index on */
	sh->meta_index = res->meta_index = meta_index;
	struct shard_stream *s = shard_stream_of(sh, e->advance.close.stream, e->advance.close.version);
	if (!s)
		return 0;
	int rc = shard_stream_name(sh, s);
	if (rc)
		return rc;
	struct entry_close c = tempered(s, &e->advance.close);
	if (c.close_ns > shard_close_ns(s)) {
		rc = completeness_add(sh->state, s->id, shard_close_ns(s), &c, &s->sweep.intervals);
		s->sweep_changed = true;
	}
	if (!rc)
		rc = write_advance(sh, s, meta_index, &c);
	*ret_stream = s;
	return rc;
}
