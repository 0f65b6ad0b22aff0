#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/map_apply.h"
#include "cloudd/state.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#define DISK_BYTES (64 << 20)

_Noreturn void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

bool fuzz_same(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

const struct topology *fuzz_topology(void)
{
	static struct topology *topology;
	if (!topology)
		topology = sample_topology();
	return topology;
}

const struct sample *fuzz_sample(void)
{
	static struct sample sample;
	if (!sample.topology)
		sample_make(&sample);
	return &sample;
}

struct bytes fuzz_map(void)
{
	static struct buf map;
	struct kv_txn *txn;
	struct bytes raw;
	if (!map.len) {
		struct kv *kv = sim_kv_open(fuzz_sample()->state, 1);
		FUZZ_CHECK(!kv_begin(kv, false, &txn) && !map_record(txn, STATE_DB_GROUP(0), &raw));
		buf_put(&map, raw.p, raw.n);
		kv_abort(txn);
		kv_close(kv);
	}
	return fuzz_bytes(&map);
}

const struct topology *fuzz_topology_now(void)
{
	static struct topology *topology;
	if (!topology)
		topology = sample_topology_now(fuzz_sample());
	FUZZ_CHECK(topology);
	return topology;
}

static void put_records(struct kv_txn *txn, struct rd *r, unsigned dbs)
{
	while (rd_left(r)) {
		unsigned db = rd_u8(r) % dbs;
		struct bytes key, value;
		key.p = rd_bytes(r, KV_KEY_MAX, &key.n);
		value.p = rd_bytes(r, KV_VALUE_MAX, &value.n);
		if (r->err || !key.n)
			return;
		FUZZ_CHECK(!kv_put(txn, db, key, value));
	}
}

struct kv *fuzz_database(const uint8_t *data, size_t len, unsigned dbs, struct sim_disk **ret_disk)
{
	struct sim_disk *disk = sim_disk_new(dbs, DISK_BYTES);
	struct kv *kv = sim_kv_open(disk, 1);
	struct kv_txn *txn;
	FUZZ_CHECK(!kv_begin(kv, true, &txn));
	struct rd r = rd_init(data, len);
	put_records(txn, &r, dbs);
	FUZZ_CHECK(!kv_commit(txn));
	*ret_disk = disk;
	return kv;
}

void fuzz_database_close(struct kv *kv, struct sim_disk *disk)
{
	kv_close(kv);
	sim_disk_free(disk);
}
