/* For tests: changes what lies on the disk of a stopped cloudd.
 *
 *     edit_store diverge FOLDER SHARDS GROUP   a record more in a group's state, with all checksums and the digest right: only
 *                                              other replicas can tell
 *     edit_store spoil FOLDER SHARDS DB KEYHEX a record that does not match its checksum
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "common/kv.h"

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
		unsigned db = (unsigned)strtoul(argv[4], NULL, 10);
		rc = !strcmp(argv[1], "diverge") ? diverge(txn, db) : spoil(txn, db, argc > 5 ? argv[5] : "");
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
