#include "cloudd/state.h"

#include <string.h>

#include <xxhash.h>

#include "common/buf.h"
#include "common/err.h"

static uint8_t *key_room(struct state_key *k, size_t n)
{
	weir_assert(n <= sizeof(k->b) - k->n);
	k->n += n;
	return k->b + k->n - n;
}

void state_key_start(struct state_key *k, enum state_table table)
{
	k->n = 1;
	k->b[0] = (uint8_t)table;
}

void state_key_u8(struct state_key *k, uint8_t v)
{
	*key_room(k, 1) = v;
}

void state_key_u32(struct state_key *k, uint32_t v)
{
	uint8_t *p = key_room(k, 4);
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

void state_key_u64(struct state_key *k, uint64_t v)
{
	uint8_t *p = key_room(k, 8);
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

void state_key_i64(struct state_key *k, int64_t v)
{
	state_key_u64(k, (uint64_t)v ^ (UINT64_C(1) << 63));
}

void state_key_bytes_of(struct state_key *k, struct bytes b)
{
	if (b.n)
		memcpy(key_room(k, b.n), b.p, b.n);
}

void state_key_id(struct state_key *k, enum state_table table, uint32_t id)
{
	state_key_start(k, table);
	state_key_u32(k, id);
}

void state_key_place(struct state_key *k, enum state_table table, uint32_t id, uint8_t level, int64_t start_ns,
    struct bytes group)
{
	state_key_id(k, table, id);
	state_key_u8(k, level);
	state_key_i64(k, start_ns);
	state_key_bytes_of(k, group);
}

bool state_place_of(struct bytes key, enum state_table table, uint32_t id, struct state_place *ret)
{
	struct rd r = rd_init(key.p, key.n);
	if (rd_u8(&r) != (uint8_t)table)
		return false;
	ret->id = rd_be32(&r);
	ret->level = rd_u8(&r);
	ret->start_ns = rd_bei64(&r);
	ret->group = bytes_of(r.p, rd_left(&r));
	return !r.err && ret->id == id && state_time_ok(ret->start_ns);
}

void state_key_revision(struct state_key *k, uint32_t id, int64_t window_ns, struct bytes group)
{
	state_key_id(k, STATE_REVISION, id);
	state_key_i64(k, window_ns);
	state_key_bytes_of(k, group);
}

void state_key_outbox(struct state_key *k, uint32_t id, uint64_t index, uint32_t n)
{
	state_key_id(k, STATE_OUTBOX, id);
	state_key_u64(k, index);
	state_key_u32(k, n);
}

void state_key_version(struct state_key *k, enum state_table table, struct bytes name, uint32_t version)
{
	state_key_start(k, table);
	state_key_bytes_of(k, name);
	state_key_u8(k, 0);
	state_key_u32(k, version);
}

bool state_key_rest(struct bytes key, const struct state_key *prefix, struct bytes *ret_rest)
{
	if (key.n < prefix->n || memcmp(key.p, prefix->b, prefix->n) != 0)
		return false;
	*ret_rest = bytes_of(key.p + prefix->n, key.n - prefix->n);
	return true;
}

/* ---- the digest -------------------------------------------------------------------------------------------- */

static bool counts(struct bytes key)
{
	return key.p[0] != STATE_APPLIED;
}

/* The hash of the pair: the key's as the seed of the value's. */
static struct digest record_hash(struct bytes key, struct bytes value)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(value.p, value.n, XXH3_64bits(key.p, key.n));
	return (struct digest){h.high64, h.low64};
}

static void digest_add(struct digest *d, struct digest h)
{
	d->lo += h.lo;
	d->hi += h.hi + (d->lo < h.lo);
}

static void digest_sub(struct digest *d, struct digest h)
{
	d->hi -= h.hi + (d->lo < h.lo);
	d->lo -= h.lo;
}

bool state_digest_add(struct digest *d, struct bytes key, struct bytes value)
{
	if (!counts(key))
		return false;
	digest_add(d, record_hash(key, value));
	return true;
}

int state_digest(struct kv_txn *txn, unsigned db, struct digest *ret)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	struct digest d = {0};
	struct bytes key, value;
	for (rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
		state_digest_add(&d, key, value);
	kv_cursor_close(c);
	if (rc != WEIR_ENOTFOUND)
		return rc;
	*ret = d;
	return 0;
}

/* ---- records ----------------------------------------------------------------------------------------------- */

int state_get(const struct state *s, const struct state_key *k, struct bytes *ret_value)
{
	return kv_get(s->txn, s->db, state_key_bytes(k), ret_value);
}

int state_replace(struct state *s, const struct state_key *k, const struct bytes *old, struct bytes value)
{
	struct bytes key = state_key_bytes(k);
	if (old && old->n == value.n && (!value.n || !memcmp(old->p, value.p, value.n)))
		return 0;
	if (counts(key)) {
		if (old)
			digest_sub(&s->digest, record_hash(key, *old));
		digest_add(&s->digest, record_hash(key, value));
	}
	return kv_put(s->txn, s->db, key, value);
}

int state_put(struct state *s, const struct state_key *k, struct bytes value)
{
	struct bytes old;
	int rc = state_get(s, k, &old);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	return state_replace(s, k, rc ? NULL : &old, value);
}

int state_del(struct state *s, const struct state_key *k)
{
	struct bytes key = state_key_bytes(k), old;
	int rc = state_get(s, k, &old);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	if (counts(key))
		digest_sub(&s->digest, record_hash(key, old));
	return kv_del(s->txn, s->db, key);
}

static int take_more(struct state *s, const struct state_key *k, struct bytes value)
{
	struct bytes old;
	int rc = state_get(s, k, &old);
	if (rc)
		return rc == WEIR_ENOTFOUND ? WEIR_ECORRUPT : rc;
	if (value.n > KV_VALUE_MAX - old.n)
		return WEIR_ECORRUPT;
	struct buf whole = {0};
	buf_put(&whole, old.p, old.n);
	buf_put(&whole, value.p, value.n);
	rc = state_replace(s, k, &old, bytes_of(whole.data, whole.len));
	buf_free(&whole);
	return rc;
}

int state_take(struct state *s, struct bytes key, struct bytes value, bool more)
{
	struct state_key k;
	if (!key.n || key.n > sizeof(k.b) || !counts(key))
		return WEIR_ECORRUPT;
	k.n = key.n;
	memcpy(k.b, key.p, key.n);
	if (more)
		return take_more(s, &k, value);
	int rc = kv_append(s->txn, s->db, key, value);
	if (rc == WEIR_EEXIST)
		return state_put(s, &k, value); /* not the largest: a table before STATE_APPLIED, or a record that came before */
	if (!rc)
		digest_add(&s->digest, record_hash(key, value));
	return rc;
}

int state_first(const struct state *s, const struct state_key *prefix, const struct state_key *from,
    struct bytes *ret_key, struct bytes *ret_value)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(s->txn, s->db, &c);
	if (rc)
		return rc;
	struct bytes key, value, rest;
	rc = kv_cursor_seek(c, state_key_bytes(from), &key, &value);
	if (rc != WEIR_ENOTFOUND && rc != WEIR_EIO && !state_key_rest(key, prefix, &rest))
		rc = WEIR_ENOTFOUND; /* whatever state a stranger is in */
	kv_cursor_close(c);
	if (rc)
		return rc;
	*ret_key = key;
	*ret_value = value;
	return 0;
}

/* ---- the head ---------------------------------------------------------------------------------------------- */

int state_head_read(struct kv_txn *txn, unsigned db, struct state_head *ret)
{
	struct state_key k;
	state_key_start(&k, STATE_APPLIED);
	struct bytes value;
	int rc = kv_get(txn, db, state_key_bytes(&k), &value);
	return rc ? rc : state_head_decode(value, ret);
}

int state_head_decode(struct bytes value, struct state_head *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct state_head h = {0};
	if (rd_u8(&r) != STATE_HEAD_VERSION)
		return WEIR_ECORRUPT; /* the layout's format says what version all heads have */
	h.applied = rd_u64(&r);
	h.term = rd_u64(&r);
	h.digest.hi = rd_u64(&r);
	h.digest.lo = rd_u64(&r);
	h.meta_index = rd_u64(&r);
	h.skipped = rd_u64(&r);
	unsigned flags = rd_u8(&r);
	const uint8_t *config = rd_bytes(&r, sizeof(h.config), &h.config_len);
	if (rd_finish(&r) || flags > 1)
		return WEIR_ECORRUPT;
	h.is_void = flags;
	if (h.config_len)
		memcpy(h.config, config, h.config_len);
	*ret = h;
	return 0;
}

int state_readable(struct kv_txn *txn, unsigned db)
{
	struct state_head h;
	int rc = state_head_read(txn, db, &h);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	return h.is_void ? WEIR_EBUSY : 0;
}

int state_head_write(struct state *s, const struct state_head *h)
{
	struct state_key k;
	state_key_start(&k, STATE_APPLIED);
	struct buf b = {0};
	buf_u8(&b, STATE_HEAD_VERSION);
	buf_u64(&b, h->applied);
	buf_u64(&b, h->term);
	buf_u64(&b, h->digest.hi);
	buf_u64(&b, h->digest.lo);
	buf_u64(&b, h->meta_index);
	buf_u64(&b, h->skipped);
	buf_u8(&b, h->is_void);
	buf_bytes(&b, h->config, h->config_len);
	int rc = kv_put(s->txn, s->db, state_key_bytes(&k), bytes_of(b.data, b.len));
	buf_free(&b);
	return rc;
}
