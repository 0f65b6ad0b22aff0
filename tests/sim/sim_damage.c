/* Damage: one record of a disk that nobody has open comes to hold something else. What the daemons do at their start about it
 * (cloudd/disks.h, cloudd.c) is done here as well. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "tests/sim/sim_world.h"

static size_t records_of(struct kv_txn *txn, unsigned first, unsigned dbs)
{
	size_t n = 0;
	for (unsigned db = first; db < first + dbs; db++) {
		struct kv_cursor *c;
		struct bytes key, value;
		if (kv_cursor_open(txn, db, &c))
			continue;
		for (int rc = kv_cursor_first(c, &key, &value); !rc || rc == WEIR_ECORRUPT; rc = kv_cursor_next(c, &key, &value))
			n++;
		kv_cursor_close(c);
	}
	return n;
}

/* The n-th record; false: there are fewer. */
static bool record_at(struct kv_txn *txn, unsigned first, unsigned dbs, size_t n, unsigned *ret_db, struct buf *key, struct buf *value)
{
	for (unsigned db = first; db < first + dbs; db++) {
		struct kv_cursor *c;
		struct bytes k, v;
		bool found = false;
		if (kv_cursor_open(txn, db, &c))
			continue;
		for (int rc = kv_cursor_first(c, &k, &v); !found && !rc; rc = kv_cursor_next(c, &k, &v)) {
			found = n-- == 0;
			if (found) {
				buf_put(key, k.p, k.n);
				buf_put(value, v.p, v.n);
			}
		}
		kv_cursor_close(c);
		*ret_db = db;
		if (found)
			return value->len > 0;
	}
	return false;
}

bool sim_damage(struct sim_disk *d, struct sim_rand *r, unsigned first, unsigned dbs, bool unseen)
{
	struct kv *kv = sim_kv_open(d, 1);
	struct kv_txn *txn;
	struct buf key = {0}, value = {0};
	uint8_t *room;
	unsigned db = 0;
	int rc = WEIR_EBUSY;
	if (kv_begin(kv, true, &txn) == 0) {
		size_t n = records_of(txn, first, dbs);
		if (n && record_at(txn, first, dbs, (size_t)sim_below(r, n), &db, &key, &value)) {
			struct bytes k = bytes_of(key.data, key.len);
			value.data[sim_below(r, value.len)] ^= (uint8_t)(1 << sim_below(r, 8));
			if (unseen) {
				rc = kv_put(txn, db, k, bytes_of(value.data, value.len));
			} else {
				rc = kv->ops->put(txn, db, k, KV_RECORD_HEAD + value.len, false, &room);
				if (!rc) {
					memset(room, KV_RECORD_VERSION, KV_RECORD_HEAD); /* no checksum of anything */
					memcpy(room + KV_RECORD_HEAD, value.data, value.len);
				}
			}
		}
		if (rc)
			kv_abort(txn);
		else
			rc = kv_commit(txn);
	}
	buf_free(&key);
	buf_free(&value);
	kv_close(kv);
	return !rc;
}

static bool group_is_whole(struct kv_txn *txn, uint32_t group)
{
	struct kv_cursor *c;
	struct bytes key, value;
	struct digest digest = {0};
	struct state_head head = {0};
	bool any = false, has_head = false;
	if (kv_cursor_open(txn, STATE_DB_GROUP(group), &c))
		return false;
	int rc = kv_cursor_first(c, &key, &value);
	for (; !rc; rc = kv_cursor_next(c, &key, &value)) {
		any = true;
		if (!state_digest_add(&digest, key, value))
			has_head = !state_head_decode(value, &head);
	}
	kv_cursor_close(c);
	if (rc != WEIR_ENOTFOUND || (any && !has_head))
		return false;
	return head.is_void || (digest.hi == head.digest.hi && digest.lo == head.digest.lo);
}

int sim_damage_void(struct sim_cloud *c)
{
	int rc = 0;
	for (uint32_t g = 0; g <= c->w->topology->shards && !rc; g++) {
		struct kv_txn *txn;
		if (kv_begin(c->state, false, &txn))
			return 0;
		bool whole = group_is_whole(txn, g) || c->w->mutant == MUTANT_NO_CHECKSUM;
		kv_abort(txn);
		if (!whole) {
			sim_trace(c->w, "cloud %u: its state of group %u is damaged", c->pid, g);
			sim_cloud_forget(c, g); /* another replica's may be behind it */
			rc = apply_void(c->apply, g);
		}
	}
	return rc ? rc : apply_commit(c->apply);
}

bool sim_damage_heals(struct sim_world *w, const struct sim_cloud *but)
{
	for (uint32_t i = 0; i < w->cloud_count; i++) {
		struct sim_cloud *c = &w->clouds[i];
		if (c == but || !c->damaged)
			continue;
		if (!c->up)
			return true;
		for (uint32_t g = 0; g <= w->topology->shards; g++) {
			struct bytes config;
			bool is_void = false;
			if (sim_placed(w, g, c->pid))
				apply_group_start(c->apply, g, &config, &is_void);
			if (is_void)
				return true;
		}
		c->damaged = false;
	}
	return false;
}
