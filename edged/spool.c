#include "edged/spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/hash.h"
#include "edged/pipeline.h"

#define SPOOL_FORMAT 1
#define SHARD_FORMAT 1
#define SALVAGED_FORMAT 1
#define MARK_KEY_MAX 256

const char *const spool_db_names[SPOOL_DBS] = {"batch", "delta", "step", "mark"};

struct mark {
	char *key;
	uint64_t hash;
	struct buf value, staged;
	bool exists;
	bool damaged;          /* its record did not read; exists: its copy did */
	bool copied;           /* the copy on the disk says the same */
	bool changed, deleted; /* in the open checkpoint */
	struct mark *next_changed;
};

struct stale {
	unsigned db;
	struct buf key;
};

struct spool {
	struct kv *kv;
	const struct topology *topology;
	struct streams *streams;
	const char *edge;
	struct spool_shard *shards;
	uint32_t shard_count;
	size_t batches;
	bool was_empty;
	bool lost;             /* spool.h: gives up what it holds with the next commit */
	bool uncopied;         /* some mark, or its copy, is to be written again */
	struct spool_salvage salvage;
	uint64_t damaged, used_bytes;
	struct table marks;
	struct mark **mark_list;
	size_t mark_count;
	struct mark *changed;
	struct stale *stale;
	size_t stale_count;
	struct buf steps_left; /* key of the first state of a step that is useless and not among them; empty: none */
	bool replace_damaged; /* some kept batch is damaged and has no record in its place yet */
	const struct spool_shard *replacing; /* by the open checkpoint, spool_replace()'s: its metas [replaced, replaced_end) go */
	size_t replaced, replaced_end;
	/* the open checkpoint */
	bool open, dropped_all;
	struct kv_txn *txn; /* begun by its first write */
	int err;
	struct buf key, copy_key, value;
};

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static struct bytes bytes_in(const struct buf *b)
{
	return bytes_of(b->data, b->len);
}

void spool_batch_key(struct buf *out, uint32_t shard, uint64_t seq)
{
	buf_be16(out, (uint16_t)shard);
	buf_be64(out, seq);
}

static struct bytes batch_key(struct buf *b, uint32_t shard, uint64_t seq)
{
	buf_clear(b);
	spool_batch_key(b, shard, seq);
	return bytes_in(b);
}

void spool_delta_prefix(struct buf *out, const struct stream_conf *c)
{
	buf_put(out, c->name, strlen(c->name) + 1);
	buf_be32(out, c->version);
}

static void stream_key(struct buf *b, const struct stream_conf *c)
{
	buf_clear(b);
	spool_delta_prefix(b, c);
}

static struct bytes delta_key(struct buf *b, const struct stream *s, int64_t slice_start_ns, struct bytes group)
{
	stream_key(b, s->conf);
	buf_bei64(b, slice_start_ns);
	buf_put(b, group.p, group.n);
	return bytes_in(b);
}

/* Splits a stream's name and version off a key. */
static int key_stream(struct rd *r, struct bytes *ret_name, uint32_t *ret_version)
{
	size_t left = rd_left(r);
	const uint8_t *end = memchr(r->p, 0, left < NAME_MAX_BYTES + 1 ? left : NAME_MAX_BYTES + 1);
	if (!end)
		return WEIR_ECORRUPT;
	*ret_name = bytes_of(r->p, (size_t)(end - r->p));
	rd_raw(r, ret_name->n + 1);
	*ret_version = rd_be32(r);
	return r->err;
}

/* ---- marks ----------------------------------------------------------------------------------------------------- */

static bool same_mark(const void *item, const void *key)
{
	return strcmp(((const struct mark *)item)->key, key) == 0;
}

static struct mark *mark_find(const struct spool *sp, const char *key)
{
	return table_find(&sp->marks, hash_bytes(key, strlen(key)), same_mark, key);
}

static struct mark *mark_get(struct spool *sp, const char *key)
{
	struct mark *m = mark_find(sp, key);
	if (!m) {
		m = xcalloc(1, sizeof(*m));
		m->key = xstrdup(key);
		m->hash = hash_bytes(key, strlen(key));
		table_insert(&sp->marks, m->hash, m);
		sp->mark_list = xrealloc(sp->mark_list, (sp->mark_count + 1) * sizeof(struct mark *));
		sp->mark_list[sp->mark_count++] = m;
	}
	return m;
}

struct bytes spool_mark(const struct spool *sp, const char *key)
{
	struct mark *m = mark_find(sp, key);
	return m && m->exists ? bytes_in(&m->value) : bytes_of(NULL, 0);
}

void spool_each_mark(struct spool *sp, const char *prefix, void (*each)(void *arg, const char *key, struct bytes value), void *arg)
{
	size_t n = strlen(prefix), count = sp->mark_count;
	for (size_t i = 0; i < count; i++) {
		const struct mark *m = sp->mark_list[i];
		if (m->exists && strncmp(m->key, prefix, n) == 0)
			each(arg, m->key, bytes_in(&m->value));
	}
}

static struct bytes copy_key(struct buf *b, struct bytes mark_key)
{
	buf_clear(b);
	buf_u8(b, 0);
	buf_put(b, mark_key.p, mark_key.n);
	return bytes_in(b);
}

bool spool_is_copy(struct bytes step_key, struct bytes *ret_mark_key)
{
	if (!step_key.n || step_key.p[0]) /* streams have names */
		return false;
	*ret_mark_key = bytes_of(step_key.p + 1, step_key.n - 1);
	return true;
}

int spool_read_mark(struct kv_txn *txn, const char *key, struct bytes *ret_value)
{
	struct bytes k = bytes_of(key, strlen(key));
	int rc = kv_get(txn, SPOOL_MARK, k, ret_value);
	if (rc == WEIR_ECORRUPT) {
		struct buf of_copy = {0};
		rc = kv_get(txn, SPOOL_STEP, copy_key(&of_copy, k), ret_value);
		buf_free(&of_copy);
	}
	return rc;
}

int spool_peek_mark(struct kv *kv, const char *key, struct buf *out)
{
	struct kv_txn *txn;
	struct bytes value;
	int rc = kv_begin(kv, false, &txn);
	if (rc < 0)
		return rc;
	rc = spool_read_mark(txn, key, &value);
	if (rc == 0)
		buf_put(out, value.p, value.n);
	kv_abort(txn);
	return rc;
}

/* ---- the open checkpoint --------------------------------------------------------------------------------------- */

static void settle_salvage(struct spool *sp);
static void put_numbers(struct spool *sp, uint32_t shard, const struct spool_numbers *n);

static struct kv_txn *writing(struct spool *sp)
{
	weir_assert(sp->open);
	if (!sp->err && !sp->txn)
		sp->err = kv_begin(sp->kv, true, &sp->txn);
	return sp->err ? NULL : sp->txn;
}

static void put(struct spool *sp, unsigned db, struct bytes key, struct bytes value)
{
	struct kv_txn *txn = writing(sp);
	if (txn)
		sp->err = kv_put(txn, db, key, value);
}

static void del(struct spool *sp, unsigned db, struct bytes key)
{
	struct kv_txn *txn = writing(sp);
	int rc = txn ? kv_del(txn, db, key) : 0;
	if (rc < 0 && rc != WEIR_ENOTFOUND)
		sp->err = rc;
}

static void del_stale(struct spool *sp)
{
	for (size_t i = 0; i < sp->stale_count; i++)
		del(sp, sp->stale[i].db, bytes_in(&sp->stale[i].key));
}

/* Useless records go first: one of them may get a good successor under its key. */
void spool_begin(struct spool *sp)
{
	weir_assert(!sp->open);
	sp->open = true;
	sp->err = 0;
	del_stale(sp);
	settle_salvage(sp);
}

static void write_mark(struct spool *sp, struct bytes key, struct bytes value)
{
	put(sp, SPOOL_MARK, key, value);
	put(sp, SPOOL_STEP, copy_key(&sp->copy_key, key), value);
}

static void mark_stage(struct spool *sp, struct mark *m)
{
	if (m->changed)
		return;
	m->changed = true;
	m->next_changed = sp->changed;
	sp->changed = m;
}

void spool_put_mark(struct spool *sp, const char *key, struct bytes value)
{
	struct mark *m = mark_get(sp, key);
	if (!m->changed && m->exists && m->value.len == value.n &&
	    (!value.n || memcmp(m->value.data, value.p, value.n) == 0))
		return;
	mark_stage(sp, m);
	m->deleted = false;
	buf_clear(&m->staged);
	buf_put(&m->staged, value.p, value.n);
	write_mark(sp, bytes_of(key, strlen(key)), value);
}

/* What an older version wrote, or damage took, is there twice again. */
static void copy_marks(struct spool *sp)
{
	for (size_t i = 0; i < sp->mark_count; i++) {
		const struct mark *m = sp->mark_list[i];
		if (m->exists && !m->changed && (!m->copied || m->damaged))
			write_mark(sp, bytes_of(m->key, strlen(m->key)), bytes_in(&m->value));
	}
}

static void marks_copied(struct spool *sp)
{
	for (size_t i = 0; i < sp->mark_count; i++) {
		sp->mark_list[i]->copied = sp->mark_list[i]->exists;
		sp->mark_list[i]->damaged = false;
	}
	sp->uncopied = false;
}

void spool_del_mark(struct spool *sp, const char *key)
{
	struct mark *m = mark_find(sp, key);
	if (!m || (!m->exists && !m->changed))
		return;
	mark_stage(sp, m);
	m->deleted = true;
	del(sp, SPOOL_MARK, bytes_of(key, strlen(key)));
	del(sp, SPOOL_STEP, copy_key(&sp->copy_key, bytes_of(key, strlen(key))));
}

void spool_put_delta(struct spool *sp, const struct stream *s, int64_t slice_start_ns, struct bytes group,
    const struct partial *p)
{
	buf_clear(&sp->value);
	buf_svarint(&sp->value, s->conf->slice_ns);
	buf_varint(&sp->value, s->spec.parts);
	buf_varint(&sp->value, s->spec.distinct_count);
	partial_encode(p, &s->spec, &sp->value);
	put(sp, SPOOL_DELTA, delta_key(&sp->key, s, slice_start_ns, group), bytes_in(&sp->value));
}

void spool_del_delta(struct spool *sp, const struct stream *s, int64_t slice_start_ns, struct bytes group)
{
	del(sp, SPOOL_DELTA, delta_key(&sp->key, s, slice_start_ns, group));
}

void spool_put_step(struct spool *sp, const struct stream *s, struct bytes step_key, struct bytes value)
{
	stream_key(&sp->key, s->conf);
	buf_put(&sp->key, step_key.p, step_key.n);
	put(sp, SPOOL_STEP, bytes_in(&sp->key), value);
}

static void meta_push(struct spool_shard *sh, struct batch_meta *meta)
{
	if (sh->first + sh->count == sh->cap) {
		if (sh->first > sh->count) {
			memmove(sh->metas, sh->metas + sh->first, sh->count * sizeof(struct batch_meta *));
			sh->first = 0;
		} else {
			sh->cap = sh->cap ? sh->cap * 2 : 16;
			sh->metas = xrealloc(sh->metas, sh->cap * sizeof(struct batch_meta *));
		}
	}
	sh->metas[sh->first + sh->count++] = meta;
}

void spool_add_batch(struct spool *sp, uint32_t shard, struct batch_meta *meta, struct bytes value)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	weir_assert(meta->seq == sh->now.next);
	put(sp, SPOOL_BATCH, batch_key(&sp->key, shard, meta->seq), value);
	meta_push(sh, meta);
	sh->added++;
	sp->batches++;
	sh->now.next++;
}

void spool_trim(struct spool *sp, uint32_t shard, uint64_t seq, void (*each)(void *arg, const struct batch_meta *m),
    void *arg)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	while (sh->removed < sh->count) {
		const struct batch_meta *m = sh->metas[sh->first + sh->removed];
		if (m->seq > seq)
			break;
		each(arg, m);
		del(sp, SPOOL_BATCH, batch_key(&sp->key, shard, m->seq));
		sh->removed++;
		sh->now.low = m->seq + 1;
	}
}

void spool_drop_all(struct spool *sp)
{
	struct kv_txn *txn = writing(sp);
	int rc = txn ? kv_clear(txn, SPOOL_BATCH) : 0;
	if (txn && rc == 0)
		rc = kv_clear(txn, SPOOL_DELTA);
	if (rc < 0)
		sp->err = rc;
	sp->dropped_all = true;
	for (uint32_t i = 0; i < sp->shard_count; i++)
		sp->shards[i].now = (struct spool_numbers){.low = 1, .next = 1, .resume = true};
}

/* ---- numbers --------------------------------------------------------------------------------------------------- */

static bool same_numbers(const struct spool_numbers *a, const struct spool_numbers *b)
{
	return a->low == b->low && a->next == b->next && a->sent == b->sent && a->resume == b->resume &&
	    a->rewrite == b->rewrite && a->hole == b->hole && a->hole_end == b->hole_end;
}

static void numbers_encode(const struct spool_numbers *n, struct buf *out)
{
	buf_u8(out, SHARD_FORMAT);
	buf_varint(out, n->low);
	buf_varint(out, n->next);
	buf_varint(out, n->sent);
	buf_u8(out, n->resume);
	buf_u8(out, (uint8_t)n->rewrite);
	buf_varint(out, n->hole);
	buf_varint(out, n->hole_end);
}

int spool_numbers_decode(struct bytes raw, struct spool_numbers *ret)
{
	struct rd r = rd_init(raw.p, raw.n);
	if (rd_u8(&r) != SHARD_FORMAT)
		return r.err ? r.err : WEIR_EVERSION;
	ret->low = rd_varint(&r);
	ret->next = rd_varint(&r);
	ret->sent = rd_varint(&r);
	ret->resume = rd_u8(&r) != 0;
	unsigned rewrite = rd_u8(&r);
	ret->rewrite = (enum spool_rewrite)rewrite;
	ret->hole = rd_varint(&r);
	ret->hole_end = rd_varint(&r);
	int rc = rd_finish(&r);
	if (rc == 0 && (ret->low < 1 || ret->next < ret->low || rewrite > REWRITE_MOVE))
		rc = WEIR_ECORRUPT;
	if (rc == 0 && rewrite != REWRITE_NONE &&
	    (ret->hole < ret->low || ret->hole_end < ret->hole || ret->next < ret->hole_end))
		rc = WEIR_ECORRUPT;
	return rc;
}

static void put_numbers(struct spool *sp, uint32_t shard, const struct spool_numbers *n)
{
	char key[32];
	struct buf value = {0};
	snprintf(key, sizeof(key), "shard/%u", shard);
	numbers_encode(n, &value);
	spool_put_mark(sp, key, bytes_in(&value));
	buf_free(&value);
}

/* ---- what was salvaged ----------------------------------------------------------------------------------------- */

void spool_salvage_encode(const struct spool_salvage *s, struct buf *out)
{
	buf_u8(out, SALVAGED_FORMAT);
	buf_u8(out, (uint8_t)s->state);
	buf_varint(out, s->salvages);
	buf_varint(out, s->losses);
}

void spool_salvage_decode(struct bytes raw, struct spool_salvage *ret)
{
	struct rd r = rd_init(raw.p, raw.n);
	unsigned format = rd_u8(&r), state = rd_u8(&r);
	*ret = (struct spool_salvage){0};
	uint64_t salvages = rd_varint(&r), losses = rd_varint(&r);
	if (r.err || format != SALVAGED_FORMAT || state > SALVAGED_LOST)
		return;
	*ret = (struct spool_salvage){(enum spool_salvaged)state, salvages, losses};
}

/* In the first commit, with all that the caller adds: until then each opening finds the same and does the same. Nothing was
 * restored, so what the caller adds is new. `skip`: sources start at their end also where this process ends before they did. */
static void give_up(struct spool *sp)
{
	struct kv_txn *txn = writing(sp);
	int rc = txn ? kv_clear(txn, SPOOL_BATCH) : 0;
	if (txn && rc == 0)
		rc = kv_clear(txn, SPOOL_DELTA);
	if (rc < 0)
		sp->err = rc;
	for (uint32_t i = 0; i < sp->shard_count; i++)
		put_numbers(sp, i, &sp->shards[i].now);
	spool_put_mark(sp, "skip", bytes_of("1", 1));
}

static void settle_salvage(struct spool *sp)
{
	if (!sp->lost && sp->salvage.state == SALVAGED_SETTLED)
		return;
	struct spool_salvage settled = sp->salvage;
	struct buf value = {0};
	settled.state = SALVAGED_SETTLED;
	spool_salvage_encode(&settled, &value);
	spool_put_mark(sp, SPOOL_SALVAGED, bytes_in(&value));
	buf_free(&value);
	if (sp->lost)
		give_up(sp);
}

/* ---- end of a checkpoint --------------------------------------------------------------------------------------- */

static void marks_settle(struct spool *sp, bool committed)
{
	for (struct mark *m = sp->changed, *next; m; m = next) {
		next = m->next_changed;
		if (committed) {
			struct buf swap = m->value;
			m->value = m->staged;
			m->staged = swap;
			m->exists = !m->deleted;
			m->copied = m->exists;
			m->damaged = false;
		}
		m->changed = m->deleted = false;
		m->next_changed = NULL;
	}
	sp->changed = NULL;
}

static void free_metas(struct spool *sp, struct spool_shard *sh, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(sh->metas[sh->first + from + i]);
	sp->batches -= n;
}

static void shard_settle(struct spool *sp, struct spool_shard *sh, bool committed)
{
	if (!committed) {
		free_metas(sp, sh, sh->count - sh->added, sh->added);
		sh->count -= sh->added;
		sh->now = sh->committed;
	} else if (sp->dropped_all) { /* batches added in the same checkpoint do not occur */
		free_metas(sp, sh, 0, sh->count);
		sh->first = sh->count = 0;
		sh->acked = 0;
		sh->compacted = sh->pass = 0;
	} else {
		free_metas(sp, sh, 0, sh->removed);
		sh->first += sh->removed;
		sh->count -= sh->removed;
	}
	if (committed)
		sh->committed = sh->now;
	if (sh->count == 0)
		sh->first = 0;
	sh->added = sh->removed = 0;
}

static void settle(struct spool *sp, bool committed)
{
	marks_settle(sp, committed);
	for (uint32_t i = 0; i < sp->shard_count; i++)
		shard_settle(sp, &sp->shards[i], committed);
	sp->dropped_all = false;
	sp->replacing = NULL;
	sp->open = false;
	sp->txn = NULL;
	if (committed)
		sp->used_bytes = kv_used_bytes(sp->kv);
}

void spool_abort(struct spool *sp)
{
	weir_assert(sp->open);
	if (sp->txn)
		kv_abort(sp->txn);
	settle(sp, false);
}

/* What the spool was made for must not change under it. */
static void put_identity(struct spool *sp)
{
	struct buf b = {0};
	buf_u8(&b, SPOOL_FORMAT);
	buf_varint(&b, sp->topology->shards);
	buf_str(&b, sp->edge);
	buf_str(&b, sp->topology->cluster);
	spool_put_mark(sp, "spool", bytes_in(&b));
	buf_free(&b);
}

static void forget_stale(struct spool *sp)
{
	for (size_t i = 0; i < sp->stale_count; i++)
		buf_free(&sp->stale[i].key);
	free(sp->stale);
	sp->stale = NULL;
	sp->stale_count = 0;
}

static bool goes_anyway(const struct spool *sp, const struct spool_shard *sh, size_t k)
{
	return k < sh->removed || (sh == sp->replacing && k >= sp->replaced && k < sp->replaced_end);
}

/* An empty batch takes the number of each damaged one, so that what follows can be merged. */
static void replace_damaged(struct spool *sp)
{
	for (uint32_t i = 0; i < sp->shard_count; i++) {
		struct spool_shard *sh = &sp->shards[i];
		for (size_t k = 0; k < sh->count; k++) {
			struct batch_meta *m = sh->metas[sh->first + k];
			if (!m->damaged || m->body_bytes || goes_anyway(sp, sh, k))
				continue;
			struct cutter *c = cutter_new(i, sp->streams);
			struct batch_meta *empty = cutter_finish(c, m->seq, &sp->value);
			put(sp, SPOOL_BATCH, batch_key(&sp->key, i, m->seq), bytes_in(&sp->value));
			m->body_bytes = empty->body_bytes;
			free(empty);
			cutter_free(c);
		}
	}
}

/* They were not written after all. One that an earlier commit wrote is written again, with the same bytes. */
static void replace_damaged_again(struct spool *sp)
{
	for (uint32_t i = 0; i < sp->shard_count; i++) {
		const struct spool_shard *sh = &sp->shards[i];
		for (size_t k = 0; k < sh->count; k++)
			if (sh->metas[sh->first + k]->damaged)
				sh->metas[sh->first + k]->body_bytes = 0;
	}
}

static void note_stale(struct spool *sp, unsigned db, struct bytes key)
{
	if (sp->stale_count == SPOOL_STALE_MAX) {
		if (db == SPOOL_STEP && !sp->steps_left.len)
			buf_put(&sp->steps_left, key.p, key.n);
		return;
	}
	if (!sp->stale)
		sp->stale = xcalloc(SPOOL_STALE_MAX, sizeof(sp->stale[0]));
	struct stale *s = &sp->stale[sp->stale_count++];
	s->db = db;
	buf_put(&s->key, key.p, key.n);
}

static struct stream *step_stream(const struct spool *sp, struct rd *key)
{
	struct bytes name;
	uint32_t version;
	if (key_stream(key, &name, &version) < 0)
		return NULL;
	for (size_t i = 0; i < sp->topology->stream_count; i++) {
		struct stream *s = sp->streams->list[i];
		if (s->conf->version == version && strlen(s->conf->name) == name.n && memcmp(s->conf->name, name.p, name.n) == 0)
			return s;
	}
	return NULL;
}

/* A version that is no longer fed may leave millions of states behind: some go with each commit. */
static void collect_stale_steps(struct spool *sp)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	struct buf from = sp->steps_left;
	sp->steps_left = (struct buf){0};
	if (from.len && kv_begin(sp->kv, false, &txn) == 0) {
		if (kv_cursor_open(txn, SPOOL_STEP, &c) == 0) {
			int rc = kv_cursor_seek(c, bytes_in(&from), &key, &value);
			for (; rc == 0 && !sp->steps_left.len; rc = kv_cursor_next(c, &key, &value)) {
				struct rd k = rd_init(key.p, key.n);
				const struct stream *s = step_stream(sp, &k);
				if (!s || !s->fed)
					note_stale(sp, SPOOL_STEP, key);
			}
			kv_cursor_close(c);
		}
		kv_abort(txn);
	}
	buf_free(&from);
}

bool spool_writing(const struct spool *sp)
{
	return sp->txn != NULL;
}

int spool_commit(struct spool *sp, bool *ret_wrote)
{
	weir_assert(sp->open);
	put_identity(sp);
	for (uint32_t i = 0; i < sp->shard_count; i++)
		if (!same_numbers(&sp->shards[i].now, &sp->shards[i].committed))
			put_numbers(sp, i, &sp->shards[i].now);
	bool repair = sp->replace_damaged && !sp->dropped_all;
	if (repair)
		replace_damaged(sp);
	if (sp->uncopied)
		copy_marks(sp);
	bool wrote = sp->txn != NULL;
	int rc = sp->err;
	if (rc < 0) {
		spool_abort(sp);
	} else if (wrote) {
		rc = kv_commit(sp->txn);
		if (rc < 0)
			settle(sp, false);
	}
	if (rc < 0) {
		if (repair)
			replace_damaged_again(sp);
		return rc;
	}
	if (wrote) {
		forget_stale(sp);
		collect_stale_steps(sp);
		sp->replace_damaged = false;
		sp->lost = false;
		sp->salvage.state = SALVAGED_SETTLED;
	}
	if (ret_wrote)
		*ret_wrote = wrote;
	settle(sp, true);
	if (wrote && sp->uncopied)
		marks_copied(sp);
	return 0;
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

static size_t meta_index(const struct spool_shard *sh, uint64_t seq)
{
	size_t lo = 0, hi = sh->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (sh->metas[sh->first + mid]->seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct batch_meta *spool_meta(const struct spool_shard *sh, uint64_t seq)
{
	size_t i = meta_index(sh, seq);
	return i < sh->count && sh->metas[sh->first + i]->seq == seq ? sh->metas[sh->first + i] : NULL;
}

static void note_damage(struct spool *sp, uint32_t shard, uint64_t seq)
{
	struct spool_shard *sh = &sp->shards[shard];
	struct batch_meta *m = (struct batch_meta *)spool_meta(sh, seq);
	if (!m || m->damaged)
		return;
	sp->damaged++;
	for (uint32_t i = 0; i < m->stream_count; i++)
		ledger_take_back(sp->streams->list[m->streams[i].stream]->ledger, DROP_CORRUPT, m->streams[i].readings);
	m->stream_count = 0;
	m->damaged = true;
	m->body_bytes = 0; /* not to be sent as it is */
	sp->replace_damaged = true;
}

static int read_value(struct spool *sp, uint32_t shard, uint64_t seq, struct buf *out, bool body_only)
{
	struct kv_txn *txn;
	struct bytes value, part;
	int rc = kv_begin(sp->kv, false, &txn);
	if (rc < 0)
		return rc;
	rc = kv_get(txn, SPOOL_BATCH, batch_key(&sp->key, shard, seq), &value);
	if (rc == 0) {
		part = value;
		if (body_only)
			rc = batch_value_decode(value, seq, sp->streams, NULL, &part);
	}
	if (rc == 0)
		buf_put(out, part.p, part.n);
	kv_abort(txn);
	if (rc == WEIR_ENOTFOUND || rc == WEIR_ETRUNCATED || rc == WEIR_EVERSION)
		rc = WEIR_ECORRUPT;
	if (rc == WEIR_ECORRUPT)
		note_damage(sp, shard, seq);
	return rc;
}

int spool_read_body(struct spool *sp, uint32_t shard, uint64_t seq, struct buf *out)
{
	return read_value(sp, shard, seq, out, true);
}

int spool_read_value(struct spool *sp, uint32_t shard, uint64_t seq, struct buf *out)
{
	return read_value(sp, shard, seq, out, false);
}

/* Takes metas [at, at + gone) out and puts n others in their place. */
static void metas_splice(struct spool *sp, struct spool_shard *sh, size_t at, size_t gone, struct batch_meta **metas,
    size_t n)
{
	free_metas(sp, sh, at, gone);
	size_t tail = sh->count - at - gone;
	struct batch_meta **list = xmalloc((at + n + tail + 1) * sizeof(struct batch_meta *));
	struct batch_meta **old = sh->metas + sh->first;
	if (at)
		memcpy(list, old, at * sizeof(list[0]));
	if (n)
		memcpy(list + at, metas, n * sizeof(list[0]));
	if (tail)
		memcpy(list + at + n, old + at + gone, tail * sizeof(list[0]));
	free(sh->metas);
	sh->metas = list;
	sh->first = 0;
	sh->count = sh->cap = at + n + tail;
	sh->cap++;
	sp->batches += n;
}

int spool_replace(struct spool *sp, uint32_t shard, uint64_t from, uint64_t to, struct batch_meta **metas,
    const struct bytes *values, size_t n, const struct spool_numbers *numbers)
{
	struct spool_shard *sh = spool_shard(sp, shard);
	size_t at = meta_index(sh, from), end = meta_index(sh, to + 1);
	weir_assert(from > sh->now.sent && to >= from);
	spool_begin(sp);
	sp->replacing = sh;
	sp->replaced = at;
	sp->replaced_end = end;
	for (size_t i = at; i < end; i++)
		del(sp, SPOOL_BATCH, batch_key(&sp->key, shard, sh->metas[sh->first + i]->seq));
	for (size_t i = 0; i < n; i++)
		put(sp, SPOOL_BATCH, batch_key(&sp->key, shard, metas[i]->seq), values[i]);
	sh->now = *numbers;
	int rc = spool_commit(sp, NULL);
	if (rc == 0) {
		metas_splice(sp, sh, at, end - at, metas, n);
	} else {
		for (size_t i = 0; i < n; i++)
			free(metas[i]);
	}
	return rc;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

/* Calls each() for every record; ok is false for a damaged one, whose value is empty then. */
static int scan(struct spool *sp, struct kv_txn *txn, unsigned db,
    int (*each)(struct spool *sp, struct bytes key, struct bytes value, bool ok, void *arg), void *arg)
{
	struct kv_cursor *c;
	struct bytes key, value;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc < 0)
		return rc;
	key = bytes_of(NULL, 0);
	rc = kv_cursor_first(c, &key, &value);
	while (rc == 0 || (rc == WEIR_ECORRUPT && key.n)) {
		bool ok = rc == 0;
		rc = each(sp, key, ok ? value : bytes_of(NULL, 0), ok, arg);
		if (rc < 0)
			break;
		key = bytes_of(NULL, 0);
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int load_mark(struct spool *sp, struct bytes key, struct bytes value, bool ok, void *arg)
{
	char text[MARK_KEY_MAX];
	(void)arg;
	sp->damaged += !ok;
	if (key.n >= sizeof(text) || memchr(key.p, 0, key.n)) { /* no mark of any version */
		note_stale(sp, SPOOL_MARK, key);
		return 0;
	}
	memcpy(text, key.p, key.n);
	text[key.n] = 0;
	struct mark *m = mark_get(sp, text);
	m->damaged = !ok;
	m->exists = ok;
	buf_put(&m->value, value.p, value.n);
	return 0;
}

/* A copy of what is not there any more: an older version deleted the mark and knew of no copies. */
static void load_copy(struct spool *sp, struct bytes key, struct bytes mark_key, struct bytes value, bool ok)
{
	char text[MARK_KEY_MAX];
	struct mark *m = NULL;
	sp->damaged += !ok;
	if (mark_key.n < sizeof(text) && !memchr(mark_key.p, 0, mark_key.n)) {
		memcpy(text, mark_key.p, mark_key.n);
		text[mark_key.n] = 0;
		m = mark_find(sp, text);
	}
	if (!m) {
		note_stale(sp, SPOOL_STEP, key);
	} else if (ok && m->damaged) {
		buf_clear(&m->value);
		buf_put(&m->value, value.p, value.n);
		m->exists = m->copied = true;
	} else if (ok) {
		m->copied = m->value.len == value.n && (!value.n || memcmp(m->value.data, value.p, value.n) == 0);
	}
}

/* They come before all states of steps. */
static int load_copies(struct spool *sp, struct kv_txn *txn)
{
	struct kv_cursor *c;
	struct bytes key = bytes_of(NULL, 0), value, mark_key;
	int rc = kv_cursor_open(txn, SPOOL_STEP, &c);
	if (rc < 0)
		return rc;
	rc = kv_cursor_first(c, &key, &value);
	while ((rc == 0 || (rc == WEIR_ECORRUPT && key.n)) && spool_is_copy(key, &mark_key)) {
		load_copy(sp, key, mark_key, value, rc == 0);
		key = bytes_of(NULL, 0);
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_EIO ? rc : 0;
}

static int load_marks(struct spool *sp, struct kv_txn *txn)
{
	int rc = scan(sp, txn, SPOOL_MARK, load_mark, NULL);
	if (rc == 0)
		rc = load_copies(sp, txn);
	spool_salvage_decode(spool_mark(sp, SPOOL_SALVAGED), &sp->salvage);
	sp->lost = sp->salvage.state == SALVAGED_LOST;
	for (size_t i = 0; i < sp->mark_count; i++) {
		const struct mark *m = sp->mark_list[i];
		sp->uncopied |= m->exists && (m->damaged || !m->copied);
		if (m->damaged && !m->exists) {
			sp->lost = true;
			note_stale(sp, SPOOL_MARK, bytes_of(m->key, strlen(m->key)));
		}
	}
	sp->was_empty = sp->mark_count == 0;
	sp->salvage.losses += sp->lost;
	return rc;
}

static int load_batch(struct spool *sp, struct bytes key, struct bytes value, bool ok, void *arg)
{
	(void)arg;
	struct rd r = rd_init(key.p, key.n);
	uint32_t shard = rd_be16(&r);
	uint64_t seq = rd_be64(&r);
	bool placed = rd_finish(&r) == 0 && shard < sp->shard_count;
	struct batch_meta *m = NULL;
	int rc = ok && placed ? batch_value_decode(value, seq, sp->streams, &m, NULL) : WEIR_ECORRUPT;
	struct spool_shard *sh = placed ? &sp->shards[shard] : NULL;
	bool in_hole = placed && sh->now.rewrite != REWRITE_NONE && seq >= sh->now.hole && seq < sh->now.hole_end;
	if (rc < 0 || in_hole || seq < sh->now.low || seq >= sh->now.next) {
		free(m);
		note_stale(sp, SPOOL_BATCH, key); /* one that belongs here is missed in fill_gaps() */
		return rc == WEIR_ETOOBIG ? rc : 0;
	}
	meta_push(sh, m);
	sp->batches++;
	return 0;
}

/* Numbers without a readable record are damaged batches. */
static int fill_gaps(struct spool *sp, struct spool_shard *sh)
{
	const struct spool_numbers *n = &sh->now;
	uint64_t expected = n->next - n->low;
	if (n->rewrite != REWRITE_NONE)
		expected -= n->hole_end - n->hole;
	if (expected == sh->count)
		return 0;
	if (expected > SPOOL_BATCHES_MAX * 2)
		return WEIR_ECORRUPT;
	struct batch_meta **list = xcalloc(expected, sizeof(list[0]));
	size_t from = 0, to = 0;
	for (uint64_t seq = n->low; seq < n->next; seq++) {
		if (n->rewrite != REWRITE_NONE && seq == n->hole)
			seq = n->hole_end;
		if (seq == n->next)
			break;
		struct batch_meta *have = from < sh->count ? sh->metas[sh->first + from] : NULL;
		if (have && have->seq == seq) {
			from++;
		} else {
			have = xcalloc(1, sizeof(*have));
			have->seq = seq;
			have->damaged = true;
			sp->replace_damaged = true;
			sp->damaged++;
			sp->batches++;
		}
		list[to++] = have;
	}
	weir_assert(to == expected && from == sh->count);
	free(sh->metas);
	sh->metas = list;
	sh->first = 0;
	sh->count = sh->cap = to;
	return 0;
}

static int load_delta(struct spool *sp, struct bytes key, struct bytes value, bool ok, void *arg)
{
	const struct spool_restore *restore = arg;
	struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
	struct bytes name;
	uint32_t version;
	struct partial p = {0};
	bool kept = false;
	struct stream *s = NULL;
	if (ok && key_stream(&k, &name, &version) == 0)
		s = streams_get(sp->streams, name, version);
	if (s) {
		int64_t start_ns = rd_bei64(&k);
		struct bytes group = bytes_of(k.p, rd_left(&k));
		int64_t slice_ns = rd_svarint(&v);
		uint64_t parts = rd_varint_max(&v, PARTIAL_PARTS_ALL);
		uint64_t distincts = rd_varint_max(&v, DISTINCTS_MAX);
		if (!k.err && !v.err && group.n <= GROUP_KEY_MAX && start_ns >= INT64_MIN / 2 && start_ns <= TIME_MAX_NS &&
		     stream_describe(s, slice_ns, (uint32_t)parts, (uint32_t)distincts) &&
		    partial_decode(&v, &s->spec, &p) == 0 && rd_finish(&v) == 0)
			kept = restore->delta(restore->arg, s, start_ns, group, &p);
	}
	if (!kept) {
		if (s)
			partial_clear(&p, &s->spec);
		note_stale(sp, SPOOL_DELTA, key);
		sp->damaged++;
	}
	return 0;
}

static int load_step(struct spool *sp, struct bytes key, struct bytes value, bool ok, void *arg)
{
	const struct spool_restore *restore = arg;
	struct rd k = rd_init(key.p, key.n);
	struct bytes mark_key;
	if (spool_is_copy(key, &mark_key))
		return 0;
	struct stream *s = ok ? step_stream(sp, &k) : NULL;
	bool kept = s && restore->step(restore->arg, s, bytes_of(k.p, rd_left(&k)), value);
	if (!ok)
		sp->damaged++;
	if (!kept)
		note_stale(sp, SPOOL_STEP, key);
	return 0;
}

static int check_identity(struct spool *sp, const char *edge, char **ret_why)
{
	struct bytes have = spool_mark(sp, "spool");
	struct rd r = rd_init(have.p, have.n);
	if (!have.n && sp->lost)
		return 0;
	unsigned format = rd_u8(&r);
	if (!r.err && format != SPOOL_FORMAT) {
		*ret_why = xasprintf("the spool has format %u, this program knows format %u", format, SPOOL_FORMAT);
		return WEIR_EVERSION;
	}
	uint64_t shards = rd_varint(&r);
	char *name = rd_str(&r, NAME_MAX_BYTES), *cluster = rd_str(&r, NAME_MAX_BYTES);
	int rc = rd_finish(&r);
	if (rc == 0 && (shards != sp->topology->shards || strcmp(name, edge) != 0 ||
			   strcmp(cluster, sp->topology->cluster) != 0)) {
		*ret_why = xasprintf("the spool belongs to edge %s of cluster %s with %llu shards; the topology says edge "
				     "%s of cluster %s with %u shards",
		    name, cluster, (unsigned long long)shards, edge, sp->topology->cluster, sp->topology->shards);
		rc = WEIR_EINVAL;
	}
	free(name);
	free(cluster);
	return rc;
}

static int load_numbers(struct spool *sp)
{
	for (uint32_t i = 0; i < sp->shard_count; i++) {
		struct spool_shard *sh = &sp->shards[i];
		char key[32];
		snprintf(key, sizeof(key), "shard/%u", i);
		struct bytes raw = spool_mark(sp, key);
		sh->now = (struct spool_numbers){.low = 1, .next = 1, .resume = sp->lost};
		int rc = raw.n && !sp->lost ? spool_numbers_decode(raw, &sh->now) : 0;
		if (rc < 0)
			return rc;
		sh->committed = sh->now;
		sh->acked = sh->now.low - 1;
	}
	return 0;
}

static int load(struct spool *sp, const char *edge, const struct spool_restore *restore, char **ret_why)
{
	struct kv_txn *txn;
	int rc = kv_begin(sp->kv, false, &txn);
	if (rc < 0)
		return rc;
	rc = load_marks(sp, txn);
	if (rc == 0 && !sp->was_empty)
		rc = check_identity(sp, edge, ret_why);
	if (rc == 0)
		rc = load_numbers(sp);
	if (rc == 0 && !sp->lost)
		rc = scan(sp, txn, SPOOL_BATCH, load_batch, NULL);
	for (uint32_t i = 0; i < sp->shard_count && rc == 0; i++)
		rc = fill_gaps(sp, &sp->shards[i]);
	if (rc == 0 && !sp->lost)
		rc = scan(sp, txn, SPOOL_DELTA, load_delta, (void *)restore);
	if (rc == 0)
		rc = scan(sp, txn, SPOOL_STEP, load_step, (void *)restore);
	kv_abort(txn);
	return rc;
}

int spool_open(struct kv *kv, const struct topology *t, const char *edge, struct streams *streams,
    const struct spool_restore *restore, struct spool **ret_spool, char **ret_why)
{
	struct spool *sp = xcalloc(1, sizeof(*sp));
	char *why = NULL;
	sp->kv = kv;
	sp->topology = t;
	sp->streams = streams;
	sp->edge = edge;
	sp->shard_count = t->shards;
	sp->shards = xcalloc(t->shards, sizeof(sp->shards[0]));
	int rc = load(sp, edge, restore, &why);
	if (rc < 0) {
		*ret_why = why ? why : xasprintf("the spool cannot be read: %s", err_text(rc));
		spool_close(sp);
		return rc;
	}
	sp->used_bytes = kv_used_bytes(kv);
	*ret_spool = sp;
	return 0;
}

void spool_close(struct spool *sp)
{
	if (!sp)
		return;
	if (sp->open)
		spool_abort(sp);
	for (uint32_t i = 0; i < sp->shard_count; i++) {
		free_metas(sp, &sp->shards[i], 0, sp->shards[i].count);
		free(sp->shards[i].metas);
	}
	free(sp->shards);
	for (size_t i = 0; i < sp->mark_count; i++) {
		free(sp->mark_list[i]->key);
		buf_free(&sp->mark_list[i]->value);
		buf_free(&sp->mark_list[i]->staged);
		free(sp->mark_list[i]);
	}
	free(sp->mark_list);
	table_free(&sp->marks);
	forget_stale(sp);
	buf_free(&sp->steps_left);
	buf_free(&sp->key);
	buf_free(&sp->copy_key);
	buf_free(&sp->value);
	free(sp);
}

bool spool_was_empty(const struct spool *sp)
{
	return sp->was_empty;
}

uint64_t spool_damaged(const struct spool *sp)
{
	return sp->damaged;
}

bool spool_lost(const struct spool *sp)
{
	return sp->lost;
}

void spool_lose(struct spool *sp)
{
	weir_assert(!sp->open);
	sp->salvage.losses += !sp->lost;
	sp->lost = true;
	sp->replace_damaged = false;
	for (uint32_t i = 0; i < sp->shard_count; i++) {
		struct spool_shard *sh = &sp->shards[i];
		free_metas(sp, sh, 0, sh->count);
		sh->first = sh->count = 0;
		sh->now = sh->committed = (struct spool_numbers){.low = 1, .next = 1, .resume = true};
		sh->acked = 0;
	}
}

bool spool_was_salvaged(const struct spool *sp)
{
	return sp->salvage.state != SALVAGED_SETTLED;
}

uint64_t spool_salvages(const struct spool *sp)
{
	return sp->salvage.salvages;
}

uint64_t spool_losses(const struct spool *sp)
{
	return sp->salvage.losses;
}

uint32_t spool_shards(const struct spool *sp)
{
	return sp->shard_count;
}

struct spool_shard *spool_shard(struct spool *sp, uint32_t shard)
{
	weir_assert(shard < sp->shard_count);
	return &sp->shards[shard];
}

size_t spool_batches(const struct spool *sp)
{
	return sp->batches;
}

uint64_t spool_used_bytes(const struct spool *sp)
{
	return sp->used_bytes;
}
