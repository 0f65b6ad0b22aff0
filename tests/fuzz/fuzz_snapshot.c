/* Chunks of a snapshot, taken into an empty replica, whose digest is then made true: [group u8] then [length varint][chunk]....
 * A replica that took them answers, or says that they are bad. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/snapshot.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/reads.h"

static int count_record(void *arg, struct bytes key, struct bytes value, bool more)
{
	(void)value;
	FUZZ_CHECK(key.n > 0 && key.n <= KV_KEY_MAX);
	*(size_t *)arg += !more;
	return 0;
}

static int take_chunks(struct apply *a, uint32_t group, struct rd *r)
{
	int rc = apply_snapshot_begin(a, group);
	while (!rc && rd_left(r)) {
		struct bytes chunk;
		size_t records = 0;
		chunk.p = rd_bytes(r, SNAPSHOT_CHUNK_MAX, &chunk.n);
		if (r->err)
			break;
		int bad = snapshot_records(chunk, count_record, &records);
		rc = apply_snapshot_records(a, group, chunk);
		FUZZ_CHECK(!bad || rc == bad);
	}
	return rc;
}

static void end(struct apply *a, struct kv *kv, uint32_t group)
{
	static const uint8_t config[] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 1};
	struct digest digest;
	struct kv_txn *txn;
	struct snapshot_head head = {.index = 100, .term = 3, .config = bytes_of(config, sizeof(config)), .meta_index = 7};
	if (apply_commit(a))
		return;
	FUZZ_CHECK(!kv_begin(kv, false, &txn));
	FUZZ_CHECK(!state_digest(txn, STATE_DB_GROUP(group), &digest));
	kv_abort(txn);
	head.digest_hi = digest.hi;
	head.digest_lo = digest.lo;
	if (apply_snapshot_end(a, group, &head) || apply_commit(a))
		return;
	FUZZ_CHECK(apply_applied(a, group, &(uint64_t){0}) == 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sim_disk *disk;
	struct apply *a;
	char *why = NULL;
	if (!len)
		return 0;
	uint32_t groups = fuzz_topology()->shards + 1, group = data[0] % groups;
	struct kv *kv = fuzz_database(NULL, 0, STATE_DBS(groups - 1), &disk);
	FUZZ_CHECK(!apply_open(fuzz_topology(), kv, &a, &why));
	struct rd r = rd_init(data + 1, len - 1);
	if (!take_chunks(a, group, &r))
		end(a, kv, group);
	apply_abort(a);
	apply_close(a);
	FUZZ_CHECK(!apply_open(fuzz_topology(), kv, &a, &why) || why);
	if (!why) {
		reads_all(kv);
		reads_then_writes(a, kv);
		apply_close(a);
		reads_all(kv);
	}
	free(why);
	fuzz_database_close(kv, disk);
	return 0;
}
