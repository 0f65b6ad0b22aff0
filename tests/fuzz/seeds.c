/* seeds FOLDER: writes what fuzzing starts from into FOLDER/TARGET/NAME, made by the real encoders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/jobs.h"
#include "cloudd/node.h"
#include "cloudd/result.h"
#include "cloudd/snapshot.h"
#include "common/batch.h"
#include "common/err.h"
#include "common/map.h"
#include "common/zip.h"
#include "raft/raft.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

static const char *top;

static void save(const char *target, const char *name, struct bytes b)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", top, target);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", top, target, name);
	FILE *f = fopen(path, "wb");
	if (!f || (b.n && fwrite(b.p, b.n, 1, f) != 1) || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void save_as(const char *target, const char *name, uint8_t first, struct bytes rest)
{
	struct buf b = {0};
	buf_u8(&b, first);
	buf_put(&b, rest.p, rest.n);
	save(target, name, fuzz_bytes(&b));
	buf_free(&b);
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

static void on_message(void *arg, const char *name, const struct msg *m)
{
	struct buf frame = {0}, talk = {0};
	(void)arg;
	FUZZ_CHECK(!msg_encode(m, &frame));
	save("frame", name, fuzz_bytes(&frame));
	for (int i = 0; i < 3; i++) { /* to the edge, to the cloud, to the edge again */
		buf_u8(&talk, (uint8_t)i);
		buf_bytes(&talk, frame.data, frame.len);
	}
	save("talk", name, fuzz_bytes(&talk));
	buf_free(&frame);
	buf_free(&talk);
}

/* ---- entries, partials and batches as the sample's log holds them ------------------------------------------------------ */

/* A batch of the same content that is not compressed: so mutations reach what is inside. */
static struct buf plain_batch(struct bytes body)
{
	struct buf out = {0};
	struct rd r = rd_init(body.p, body.n);
	uint8_t format = rd_u8(&r), flags = rd_u8(&r);
	uint64_t shard = rd_varint(&r), seq = rd_varint(&r), len = rd_varint(&r);
	uint8_t *raw = malloc(len ? len : 1);
	buf_u8(&out, format);
	buf_u8(&out, 0);
	buf_varint(&out, shard);
	buf_varint(&out, seq);
	buf_varint(&out, len);
	if (!flags)
		memcpy(raw, r.p, len);
	else
		FUZZ_CHECK(!zip_unpack(r.p, rd_left(&r), raw, len));
	buf_put(&out, raw, len);
	free(raw);
	return out;
}

static void save_partials(struct bytes body, const char *name)
{
	struct batch_reader *r;
	struct batch_item *item;
	struct buf out = {0};
	FUZZ_CHECK(!batch_reader_open(body.p, body.n, &r));
	for (int i = 0; batch_reader_next(r, &item) > 0 && i < 2; i++) {
		const struct partial_spec *spec = &batch_reader_stream(r, item->stream)->spec;
		if (!i) {
			buf_u8(&out, (uint8_t)spec->parts);
			buf_u8(&out, (uint8_t)spec->distinct_count);
		}
		partial_encode(&item->partial, spec, &out);
	}
	batch_reader_close(r);
	save("partial", name, fuzz_bytes(&out));
	buf_free(&out);
}

struct seen {
	unsigned kinds[256];
};

static void on_log_record(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct seen *seen = arg;
	struct entry e;
	char name[64];
	if (db == LOG_DB_NODE) {
		if (key.p[0] == LOG_KEY_GROUP)
			save_as("entry", "group", 'g', value);
		return;
	}
	struct bytes raw = {value.p + LOG_ENTRY_HEAD, value.n - LOG_ENTRY_HEAD};
	if (value.p[8] == RAFT_ENTRY_CONFIG)
		save_as("entry", "config", 'c', raw);
	if (value.p[8] != RAFT_ENTRY_DATA || entry_decode(raw, &e))
		return;
	if (seen->kinds[e.kind & 255]++ < 2) {
		snprintf(name, sizeof(name), "kind-%d-%u", e.kind, seen->kinds[e.kind & 255]);
		save_as("entry", name, 'e', raw);
		if (e.kind == ENTRY_BATCH) {
			struct buf plain = plain_batch(e.batch.body);
			save("batch", name, e.batch.body);
			snprintf(name, sizeof(name), "plain-%u", seen->kinds[ENTRY_BATCH]);
			save("batch", name, fuzz_bytes(&plain));
			save_partials(e.batch.body, name);
			buf_free(&plain);
		}
	}
	entry_clear(&e);
}

/* Kinds that the sample's log does not hold. */
static void save_entries(void)
{
	struct entry entries[] = {{.kind = ENTRY_READMIT, .readmit = {bytes_of("a", 1)}},
	    {.kind = ENTRY_REVOKE, .revoke = {bytes_of("a", 1), true}}, {.kind = ENTRY_SWEEP}};
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct buf raw = {0};
		char name[32];
		entry_encode(&entries[i], &raw);
		snprintf(name, sizeof(name), "more-%zu", i);
		save_as("entry", name, 'e', fuzz_bytes(&raw));
		buf_free(&raw);
	}
}

/* ---- databases ------------------------------------------------------------------------------------------------------ */

struct dump {
	struct buf all, one;
	unsigned db;       /* of `one` */
	unsigned skip;     /* of each so many records one is kept in `all`; 0: all */
	unsigned seen;
};

static void on_record(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct dump *d = arg;
	struct buf *outs[] = {&d->all, &d->one};
	for (int i = 0; i < 2; i++) {
		if (i ? db != d->db : d->skip && d->seen % d->skip && db)
			continue;
		buf_u8(outs[i], (uint8_t)db);
		buf_bytes(outs[i], key.p, key.n);
		buf_bytes(outs[i], value.p, value.n);
	}
	d->seen++;
}

static void save_database(const char *target, struct sim_disk *disk, unsigned dbs)
{
	char name[32];
	for (unsigned db = 0; db < dbs; db++) {
		struct dump d = {.db = db};
		sample_records(disk, dbs, on_record, &d);
		snprintf(name, sizeof(name), "db-%u", db);
		save(target, name, fuzz_bytes(&d.one));
		if (!db)
			save(target, "all", fuzz_bytes(&d.all));
		buf_free(&d.all);
		buf_free(&d.one);
	}
}

/* A snapshot's chunk of each group, in small pieces. */
struct chunks {
	struct buf out, chunk;
	unsigned db;
};

static void end_chunk(struct chunks *c)
{
	buf_bytes(&c->out, c->chunk.data, c->chunk.len);
	buf_clear(&c->chunk);
}

static void on_state_record(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct chunks *c = arg;
	if (db != c->db || key.p[0] == 'a')
		return;
	size_t half = value.n > 40 ? value.n / 2 : value.n;
	buf_varint(&c->chunk, 2 * key.n);
	buf_put(&c->chunk, key.p, key.n);
	buf_bytes(&c->chunk, value.p, half);
	if (half < value.n) {
		end_chunk(c);
		buf_varint(&c->chunk, 2 * key.n + 1);
		buf_put(&c->chunk, key.p, key.n);
		buf_bytes(&c->chunk, value.p + half, value.n - half);
	}
	if (c->chunk.len > 500)
		end_chunk(c);
}

static void save_snapshots(const struct sample *s)
{
	for (unsigned g = 0; g <= s->topology->shards; g++) {
		struct chunks c = {.db = STATE_DB_GROUP(g)};
		char name[32];
		buf_u8(&c.out, (uint8_t)g);
		sample_records(s->state, STATE_DBS(s->topology->shards), on_state_record, &c);
		end_chunk(&c);
		snprintf(name, sizeof(name), "group-%u", g);
		save("snapshot", name, fuzz_bytes(&c.out));
		buf_free(&c.out);
		buf_free(&c.chunk);
	}
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void save_rows(const struct sample *s)
{
	const struct stream_conf *stream = &s->topology->streams[0];
	struct rows_spec spec = {.stream = stream->name, .version = stream->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = stream->size_ns, .advance_ns = stream->advance_ns, .own_window = true, .own_by = true,
	    .by = {0, 1}, .by_count = 2, .where = {{1, "60"}, {UINT32_MAX, ""}}, .limit = 8};
	struct kv *kv = sim_kv_open(s->state, 1);
	struct kv_txn *txn;
	struct buf rows = {0}, asked = {0};
	bool more;
	FUZZ_CHECK(!kv_begin(kv, false, &txn));
	for (uint32_t shard = 0; shard < s->topology->shards; shard++) {
		char name[32];
		buf_clear(&rows);
		FUZZ_CHECK(!result_query(s->topology, txn, shard, stream, &spec, INT64_MAX, &rows, &more));
		snprintf(name, sizeof(name), "rows-%u", shard);
		save_as("rows", name, 'r', fuzz_bytes(&rows));
	}
	spec.where_count = 2, spec.after = true, spec.after_group = bytes_of("\x05south\x01" "7", 8), spec.only_final = true;
	rows_spec_encode(&spec, &asked);
	save_as("rows", "spec", 's', fuzz_bytes(&asked));
	kv_abort(txn);
	kv_close(kv);
	buf_free(&rows);
	buf_free(&asked);
}

/* As it is, and with its text not compressed, so that mutations reach that. */
static void save_map(const struct sample *s)
{
	const char *text = sample_topology_text();
	struct cluster_map m;
	struct buf packed = {0}, plain = {0};
	map_first(s->topology, text, strlen(text), &m);
	FUZZ_CHECK(!map_revoke(&m, "edge-1", true) && !map_revoke(&m, "edge-2", true));
	FUZZ_CHECK(!map_encode(&m, &packed));
	struct rd r = rd_init(packed.data, packed.len);
	const uint8_t *head = rd_raw(&r, 1 + 8 + 4);
	size_t n;
	(void)rd_u8(&r);
	(void)rd_bytes(&r, MAP_BYTES_MAX, &n);
	buf_put(&plain, head, 1 + 8 + 4);
	buf_u8(&plain, 0);
	buf_bytes(&plain, text, strlen(text));
	buf_put(&plain, r.p, rd_left(&r));
	save("map", "packed", fuzz_bytes(&packed));
	save("map", "plain", fuzz_bytes(&plain));
	map_clear(&m);
	buf_free(&packed);
	buf_free(&plain);
}

int main(int argc, char **argv)
{
	static const uint8_t file_mark[] = {0, 1, 0, 5, 100, 4, 't', 'r', 'a', 'f', 3, ' ', '1', '\n', 1, 7, 2, 'h', 'e'};
	static const uint8_t simulate_mark[] = {1, 1, 2, 3, 4, 5};
	if (argc != 2) {
		fprintf(stderr, "usage: seeds FOLDER\n");
		return 2;
	}
	top = argv[1];
	struct sample s;
	struct seen seen = {{0}};
	sample_make(&s);
	sample_messages(on_message, NULL);
	sample_records(s.log, LOG_DBS(s.topology->shards), on_log_record, &seen);
	save_entries();
	save_database("log", s.log, LOG_DBS(s.topology->shards));
	save_database("state", s.state, STATE_DBS(s.topology->shards));
	save_database("spool", s.spool, SPOOL_DBS);
	save_snapshots(&s);
	save_rows(&s);
	save_map(&s);
	save("source", "file", bytes_of(file_mark, sizeof(file_mark)));
	save("source", "simulate", bytes_of(simulate_mark, sizeof(simulate_mark)));
	sample_clear(&s);
	return 0;
}
