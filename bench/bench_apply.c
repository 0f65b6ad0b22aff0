/* What a cloud's state machine takes for a partial: entries of batches applied, in process, to an LMDB environment in a
 * folder of its own (bench_apply [FOLDER], else under /tmp). First each (group, slice) for the first time, then the same
 * again from another edge, merged into what is there. CPU, of the process; the digest tells that a change of the code
 * left the stored bytes as they were. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cloudd/apply.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"

#define SHARDS 8
#define BATCHES 24 /* of one lane (edge and shard) */
#define GROUPS_PER_LANE 400
#define TEMPLATES 1009
#define SPREAD 0.32 /* of the readings' logarithm: gives a sketch its size */
#define BATCH_BYTES 65536
#define COMMIT_ENTRIES 96
#define START_NS (INT64_C(1700000000) * NS_PER_SEC)

static const char *const edges[] = {"edge-1", "edge-2", "edge-3", "edge-4", "edge-5", "edge-6"};
#define EDGES (sizeof(edges) / sizeof(edges[0]))
#define FIRST_AGAIN 3 /* from here on edges send what others sent before */

static const char text[] =
    "version: 1\n"
    "cluster: {name: bench, shards: 8, replicas: 1, security: none}\n"
    "cloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n"
    "edges:\n"
    "  - {name: e, sources: [{type: stdin}]}\n"
    "streams:\n"
    "  - {name: s, from: {measurement: m, field: v}, by: [k, site], window: 10s, lateness: 1s, retain: forever,\n"
    "     compute: [count, sum, mean, min, max, p50, p99], max_groups: 1000000}\n";

static struct topology *topology;
static struct apply *apply;
static struct partial_spec spec;
static struct partial templates[TEMPLATES];
static uint64_t applied[SHARDS + 1], random_state = 1, partials, bytes;

static double random_unit(void) /* splitmix64 */
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void make_templates(unsigned readings)
{
	for (size_t i = 0; i < TEMPLATES; i++) {
		partial_clear(&templates[i], &spec);
		double level = 40 + 80 * random_unit();
		for (int64_t k = 0; k < readings; k++) {
			double normal = sqrt(-2 * log(1 - random_unit())) * cos(2 * M_PI * random_unit());
			partial_add(&templates[i], &spec, k * NS_PER_MS, round(level * exp(SPREAD * normal) * 10) / 10);
		}
	}
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6 + (double)u.ru_stime.tv_sec +
	    (double)u.ru_stime.tv_usec * 1e-6;
}

static double apply_one(uint32_t shard, const struct entry *e)
{
	struct buf raw = {0};
	struct apply_result res;
	entry_encode(e, &raw);
	double before = cpu_s();
	weir_assert(!apply_entry(apply, shard + 1, ++applied[shard + 1], 1, bytes_of(raw.data, raw.len), &res));
	double took = cpu_s() - before;
	weir_assert(res.verdict == VERDICT_OK);
	apply_result_clear(&res);
	buf_free(&raw);
	return took;
}

static double commit(void)
{
	double before = cpu_s();
	weir_assert(!apply_commit(apply));
	return cpu_s() - before;
}

static size_t group_of(unsigned lane, size_t i, const char *edge, uint8_t out[64])
{
	size_t n = (size_t)snprintf((char *)out + 1, 32, "machine-%07u", lane + SHARDS * (unsigned)i), e = strlen(edge);
	out[0] = (uint8_t)n;
	out[1 + n] = (uint8_t)e;
	memcpy(out + 2 + n, edge, e);
	return 2 + n + e;
}

/* One batch of a lane; *at counts its partials. */
static double send(uint32_t edge, uint32_t shard, uint64_t seq, size_t *at)
{
	const struct stream_conf *s = &topology->streams[0];
	struct batch_writer *w = batch_writer_new(shard);
	struct buf body = {0};
	uint8_t room[64];
	while (batch_writer_bytes(w) < BATCH_BYTES) {
		size_t n = group_of(shard, *at % GROUPS_PER_LANE, edges[edge % FIRST_AGAIN], room);
		int64_t slice = START_NS + (int64_t)(*at / GROUPS_PER_LANE) * s->slice_ns;
		struct partial p = templates[(*at * EDGES + edge) % TEMPLATES];
		p.first_ns += slice;
		p.last_ns += slice;
		if (batch_writer_add(w, s, &spec, slice, bytes_of(room, n), &p))
			break;
		++*at;
	}
	partials += batch_writer_count(w);
	bytes += batch_writer_bytes(w);
	batch_writer_finish(w, seq, &body);
	batch_writer_free(w);
	struct entry e = {.kind = ENTRY_BATCH, .batch = {bytes_of(edges[edge], strlen(edges[edge])), 1, seq,
	    batch_checksum(body.data, body.len), bytes_of(body.data, body.len)}};
	double took = apply_one(shard, &e);
	buf_free(&body);
	return took;
}

static void run(const char *name, uint32_t from)
{
	static size_t at[EDGES][SHARDS];
	double apply_s = 0, commit_s = 0;
	size_t entries = 0;
	partials = bytes = 0;
	for (uint32_t i = from; i < from + FIRST_AGAIN; i++)
		for (uint32_t shard = 0; shard < SHARDS; shard++) {
			struct entry e = {.kind = ENTRY_OPEN, .open = {bytes_of(edges[i], strlen(edges[i])), 1, 1, 0, true}};
			apply_one(shard, &e);
			at[i][shard] = 0;
		}
	for (uint64_t seq = 1; seq <= BATCHES; seq++)
		for (uint32_t i = from; i < from + FIRST_AGAIN; i++)
			for (uint32_t shard = 0; shard < SHARDS; shard++) {
				apply_s += send(i, shard, seq, &at[i][shard]);
				if (++entries % COMMIT_ENTRIES == 0)
					commit_s += commit();
			}
	commit_s += commit();
	double n = (double)partials;
	printf("%-36s %8.2f us CPU a partial applied, %5.2f committed; %.0f partials of %.0f bytes\n", name, apply_s / n * 1e6,
	    commit_s / n * 1e6, n, (double)bytes / n);
}

static void print_digest(struct kv *kv)
{
	struct kv_txn *txn;
	weir_assert(!kv_begin(kv, false, &txn));
	uint64_t hi = 0, lo = 0;
	for (uint32_t g = 1; g <= SHARDS; g++) {
		struct apply_group_info info;
		weir_assert(!apply_read_group(txn, g, &info));
		hi ^= info.digest_hi;
		lo ^= info.digest_lo;
	}
	kv_abort(txn);
	printf("  digests %016" PRIx64 "%016" PRIx64 "\n", hi, lo);
}

static void bench(const char *parent, unsigned readings)
{
	char *folder = xasprintf("%s/weir-bench-XXXXXX", parent), *why = NULL, name[64];
	weir_assert(mkdtemp(folder));
	const char **names = apply_db_names(SHARDS);
	struct kv_lmdb_options o = {.path = folder, .dbs = names, .db_count = STATE_DBS(SHARDS), .map_bytes = UINT64_C(4) << 30};
	struct kv *kv;
	if (kv_lmdb_open(&o, &kv, &why) || apply_open(topology, kv, &apply, &why)) {
		fprintf(stderr, "bench_apply: %s\n", why);
		exit(1);
	}
	memset(applied, 0, sizeof(applied));
	make_templates(readings);
	snprintf(name, sizeof(name), "%u readings, new to the state", readings);
	run(name, 0);
	snprintf(name, sizeof(name), "%u readings, merged", readings);
	run(name, FIRST_AGAIN);
	print_digest(kv);
	apply_close(apply);
	kv_close(kv);
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *path = xasprintf("%s/%s", folder, files[i]);
		unlink(path);
		free(path);
	}
	rmdir(folder);
	free(folder);
	free(names);
}

int main(int argc, char **argv)
{
	struct buf errors = {0};
	if (topology_parse("bench.yaml", text, strlen(text), &topology, &errors)) {
		fprintf(stderr, "bench_apply: %s\n", buf_cstr(&errors));
		return 1;
	}
	partial_spec_of(&topology->streams[0], topology_distinct_seed(topology), PARTIAL_QUANTILE_CAP_EDGE, &spec);
	const char *parent = argc > 1 ? argv[1] : "/tmp";
	bench(parent, 1000);
	bench(parent, 12);
	for (size_t i = 0; i < TEMPLATES; i++)
		partial_clear(&templates[i], &spec);
	topology_free(topology);
	return 0;
}
