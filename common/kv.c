/* The record layer: version and checksum around each value, whatever implements the storage below. */
#include "common/kv.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/kv_check.h"

/* Records up to this size are copied on the stack before they are written. */
#define COPY_STACK 1024

static uint64_t checksum(struct bytes key, const void *value, size_t n)
{
	return XXH3_64bits_withSeed(value, n, XXH3_64bits(key.p, key.n));
}

int kv_record_unwrap(struct bytes key, struct bytes raw, struct bytes *ret_value)
{
	if (raw.n < KV_RECORD_HEAD || raw.p[0] != KV_RECORD_VERSION)
		return WEIR_ECORRUPT;
	struct rd r = rd_init(raw.p + 1, 8);
	struct bytes value = {raw.p + KV_RECORD_HEAD, raw.n - KV_RECORD_HEAD};
	if (rd_u64(&r) != checksum(key, value.p, value.n))
		return WEIR_ECORRUPT;
	*ret_value = value;
	return 0;
}

void kv_close(struct kv *kv)
{
	if (kv)
		kv->ops->close(kv);
}

int kv_begin(struct kv *kv, bool write, struct kv_txn **ret_txn)
{
	return kv->ops->begin(kv, write, ret_txn);
}

int kv_commit(struct kv_txn *txn)
{
	return txn->kv->ops->commit(txn);
}

void kv_abort(struct kv_txn *txn)
{
	if (txn)
		txn->kv->ops->abort(txn);
}

static bool key_fits(struct bytes key)
{
	return key.n > 0 && key.n <= KV_KEY_MAX;
}

int kv_get(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes *ret_value)
{
	if (!key_fits(key))
		return WEIR_ENOTFOUND;
	struct bytes raw;
	int rc = txn->kv->ops->get(txn, db, key, &raw);
	return rc ? rc : kv_record_unwrap(key, raw, ret_value);
}

static int put(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value, bool append)
{
	if (!key_fits(key) || value.n > KV_VALUE_MAX)
		return WEIR_ETOOBIG;
	/* Both may lie in pages that the write below moves. */
	uint8_t key_copy[KV_KEY_MAX], small[COPY_STACK];
	memcpy(key_copy, key.p, key.n);
	key.p = key_copy;
	uint8_t *copy = value.n <= sizeof(small) ? small : xmalloc(value.n);
	if (value.n)
		memcpy(copy, value.p, value.n);

	uint8_t *room;
	int rc = txn->kv->ops->put(txn, db, key, KV_RECORD_HEAD + value.n, append, &room);
	if (!rc) {
		uint64_t sum = checksum(key, copy, value.n);
		room[0] = KV_RECORD_VERSION;
		for (int i = 0; i < 8; i++)
			room[1 + i] = (uint8_t)(sum >> (8 * i));
		memcpy(room + KV_RECORD_HEAD, copy, value.n);
	}
	if (copy != small)
		free(copy);
	return rc;
}

int kv_put(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value)
{
	return put(txn, db, key, value, false);
}

int kv_append(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value)
{
	return put(txn, db, key, value, true);
}

int kv_del(struct kv_txn *txn, unsigned db, struct bytes key)
{
	if (!key_fits(key))
		return WEIR_ENOTFOUND;
	uint8_t copy[KV_KEY_MAX];
	memcpy(copy, key.p, key.n);
	return txn->kv->ops->del(txn, db, bytes_of(copy, key.n));
}

int kv_clear(struct kv_txn *txn, unsigned db)
{
	return txn->kv->ops->clear(txn, db);
}

int kv_cursor_open(struct kv_txn *txn, unsigned db, struct kv_cursor **ret_cursor)
{
	return txn->kv->ops->cursor_open(txn, db, ret_cursor);
}

/* The key is given even of a bad record, so that the caller can say which, and go on. */
static int cursor_answer(int rc, struct bytes key, struct bytes raw, struct bytes *ret_key, struct bytes *ret_value)
{
	if (rc)
		return rc;
	*ret_key = key;
	return kv_record_unwrap(key, raw, ret_value);
}

int kv_cursor_seek(struct kv_cursor *c, struct bytes key, struct bytes *ret_key, struct bytes *ret_value)
{
	struct bytes k, raw;
	if (!key.n)
		return kv_cursor_first(c, ret_key, ret_value);
	if (!key_fits(key))
		return WEIR_ETOOBIG;
	int rc = c->txn->kv->ops->cursor_seek(c, key, &k, &raw);
	return cursor_answer(rc, k, raw, ret_key, ret_value);
}

static int cursor_step(struct kv_cursor *c, int direction, struct bytes *ret_key, struct bytes *ret_value)
{
	struct bytes k, raw;
	int rc = c->txn->kv->ops->cursor_step(c, direction, &k, &raw);
	return cursor_answer(rc, k, raw, ret_key, ret_value);
}

static int cursor_edge(struct kv_cursor *c, bool last, struct bytes *ret_key, struct bytes *ret_value)
{
	struct bytes k, raw;
	int rc = c->txn->kv->ops->cursor_edge(c, last, &k, &raw);
	return cursor_answer(rc, k, raw, ret_key, ret_value);
}

int kv_cursor_next(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_step(c, 1, ret_key, ret_value);
}

int kv_cursor_prev(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_step(c, -1, ret_key, ret_value);
}

int kv_cursor_first(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_edge(c, false, ret_key, ret_value);
}

int kv_cursor_last(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value)
{
	return cursor_edge(c, true, ret_key, ret_value);
}

void kv_cursor_close(struct kv_cursor *c)
{
	if (c)
		c->txn->kv->ops->cursor_close(c);
}

uint64_t kv_used_bytes(struct kv *kv)
{
	return kv->ops->used_bytes(kv);
}

uint64_t kv_size_bytes(struct kv *kv)
{
	return kv->ops->size_bytes(kv);
}

int kv_make_room(struct kv *kv, uint64_t bytes)
{
	return kv->ops->make_room ? kv->ops->make_room(kv, bytes) : 0;
}

int kv_take_room(struct kv *kv, uint64_t bytes)
{
	return kv->ops->take_room ? kv->ops->take_room(kv, bytes) : 0;
}

uint64_t kv_txn_bytes(struct kv_txn *txn)
{
	return txn->kv->ops->txn_bytes ? txn->kv->ops->txn_bytes(txn) : 0;
}

int kv_maintain(struct kv *kv)
{
	return kv->ops->maintain ? kv->ops->maintain(kv) : 0;
}
