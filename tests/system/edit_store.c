/* For tests: changes what lies on the disk of a stopped cloudd.
 *
 *     edit_store diverge FOLDER SHARDS GROUP   a record more in a group's state, with all checksums and the digest right: only
 *                                              other replicas can tell
 *     edit_store spoil FOLDER SHARDS DB KEYHEX a record that does not match its checksum
 *     edit_store later FOLDER SHARDS GROUP     an entry more in a group's log, of a kind that a later version has; says its index
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/node.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "common/kv.h"
#include "raft/raft.h"

static int diverge(struct kv_txn *txn, uint32_t group)
{
	struct state s = {.txn = txn, .db = STATE_DB_GROUP(group)};
	struct state_head h;
	struct state_key k;
	int rc = state_head_read(txn, s.db, &h);
	if (rc)
		return rc;
	s.digest = h.digest;
	state_key_start(&k, STATE_REVISION);
	state_key_bytes_of(&k, bytes_of("\xff\xff\xff\xff", 4));
	rc = state_put(&s, &k, bytes_of("odd", 3));
	h.digest = s.digest;
	return rc ? rc : state_head_write(&s, &h);
}

static int spoil(struct kv_txn *txn, unsigned db, const char *hex)
{
	uint8_t key[KV_KEY_MAX], *room;
	size_t n = 0;
	unsigned byte;
	for (; n < sizeof(key) && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
		key[n] = (uint8_t)byte;
	int rc = txn->kv->ops->put(txn, db, bytes_of(key, n), 32, false, &room);
	if (!rc)
		memset(room, 1, 32);
	return rc;
}

#define LATER_KIND 77

static int later(struct kv_txn *txn, uint32_t group)
{
	struct kv_cursor *c;
	struct bytes key, value;
	struct buf k = {0}, v = {0};
	int rc = kv_cursor_open(txn, LOG_DB_GROUP(group), &c);
	if (rc)
		return rc;
	rc = kv_cursor_last(c, &key, &value);
	if (!rc) {
		struct rd r = rd_init(key.p, key.n);
		uint64_t index = rd_be64(&r) + 1;
		buf_be64(&k, index);
		buf_put(&v, value.p, 8); /* the term */
		buf_u8(&v, RAFT_ENTRY_DATA);
		entry_encode(&(struct entry){.kind = (enum entry_kind)LATER_KIND}, &v);
		printf("%llu\n", (unsigned long long)index);
	}
	kv_cursor_close(c);
	if (!rc)
		rc = kv_append(txn, LOG_DB_GROUP(group), bytes_of(k.data, k.len), bytes_of(v.data, v.len));
	buf_free(&k);
	buf_free(&v);
	return rc;
}

static int change(struct kv_txn *txn, const char *how, unsigned number, const char *key)
{
	if (!strcmp(how, "diverge"))
		return diverge(txn, number);
	return !strcmp(how, "later") ? later(txn, number) : spoil(txn, number, key);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	uint32_t shards = (uint32_t)strtoul(argv[3], NULL, 10);
	const char **names = apply_db_names(shards);
	struct kv_lmdb_options o = {argv[2], names, STATE_DBS(shards), UINT64_C(64) << 30, false};
	struct kv *kv;
	struct kv_txn *txn;
	char *why = NULL;
	int rc = kv_lmdb_open(&o, &kv, &why);
	if (rc) {
		fprintf(stderr, "%s\n", why);
		free(why);
		free(names);
		return 1;
	}
	rc = kv_begin(kv, true, &txn);
	if (!rc) {
		rc = change(txn, argv[1], (unsigned)strtoul(argv[4], NULL, 10), argc > 5 ? argv[5] : "");
		if (rc)
			kv_abort(txn);
		else
			rc = kv_commit(txn);
	}
	if (rc)
		fprintf(stderr, "%s\n", err_text(rc));
	kv_close(kv);
	free(names);
	return rc ? 1 : 0;
}
