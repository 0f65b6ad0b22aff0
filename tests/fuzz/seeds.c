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
#include "cloudd/sink_states.h"
#include "cloudd/snapshot.h"
#include "common/batch.h"
#include "common/codec_prometheus.h"
#include "common/err.h"
#include "common/json.h"
#include "common/keys.h"
#include "common/map.h"
#include "common/snappy_block.h"
#include "common/tls_make.h"
#include "common/tokens.h"
#include "common/zip.h"
#include "edged/statsd_gauges.h"
#include "raft/raft.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/three.h"
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

static void save_sinks(void)
{
	struct sink_figures fine = {.rows = 300, .lag_ns = 1500000000}, away = {.backlog_rows = 7, .backlog_alerts = 1, .failing_ns = 1, .why = "it answers 503"};
	struct buf raw = {0};
	buf_varint(&raw, 2);
	sink_figures_put("out", &fine, &raw);
	sink_figures_put("away", &away, &raw);
	save_as("rows", "sinks", 'k', fuzz_bytes(&raw));
	buf_free(&raw);
}

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

/* ---- maps ----------------------------------------------------------------------------------------------------------- */

/* As it is, and with its text not compressed, so that mutations reach that. */
static void save_map_as(const char *name, struct bytes packed)
{
	struct cluster_map m;
	struct buf plain = {0};
	char plain_name[64];
	FUZZ_CHECK(!map_decode(packed, &m));
	struct rd r = rd_init(packed.p, packed.n);
	const uint8_t *head = rd_raw(&r, 1 + 8 + 4);
	size_t n;
	(void)rd_u8(&r);
	(void)rd_bytes(&r, MAP_BYTES_MAX, &n);
	buf_put(&plain, head, 1 + 8 + 4);
	buf_u8(&plain, 0);
	buf_bytes(&plain, m.text, m.text_len);
	buf_put(&plain, r.p, rd_left(&r));
	snprintf(plain_name, sizeof(plain_name), "%s-plain", name);
	save("map", name, packed);
	save("map", plain_name, fuzz_bytes(&plain));
	map_clear(&m);
	buf_free(&plain);
}

/* One that an edge goes over to. */
static void save_map_reply(void)
{
	struct buf frame = {0}, talk = {0};
	struct msg m = {.type = MSG_MAP_REPLY, .from = "c1"};
	m.map_reply.verdict = VERDICT_OK;
	m.map_reply.version = 1000;
	m.map_reply.map = fuzz_map();
	FUZZ_CHECK(!msg_encode(&m, &frame));
	buf_u8(&talk, 0);
	buf_bytes(&talk, frame.data, frame.len);
	save("talk", "adopt", fuzz_bytes(&talk));
	buf_free(&frame);
	buf_free(&talk);
}

static void save_maps(const struct sample *s)
{
	const char *text = sample_topology_text();
	struct cluster_map m;
	struct buf packed = {0};
	map_first(s->topology, text, strlen(text), &m);
	FUZZ_CHECK(!map_revoke(&m, "edge-1", true) && !map_revoke(&m, "edge-2", true));
	FUZZ_CHECK(!map_encode(&m, &packed));
	save_map_as("first", fuzz_bytes(&packed));
	save_map_as("last", fuzz_map());
	save_map_reply();
	map_clear(&m);
	buf_free(&packed);
}

static void save_topologies(void)
{
	save("topology", "sample", bytes_of(sample_topology_text(), strlen(sample_topology_text())));
	for (unsigned i = 0; i < SAMPLE_CHANGES; i++) {
		char name[32];
		snprintf(name, sizeof(name), "changed-%u", i);
		save("topology", name, bytes_of(sample_changed_text(i), strlen(sample_changed_text(i))));
		save("ctl", name, bytes_of(sample_changed_text(i), strlen(sample_changed_text(i))));
	}
}

/* The sample's story, told to fuzz_change; then each text by itself. */
static void save_changes(void)
{
	static const uint8_t story[] = {5, 0, 1, 5, 0, 0, 1, 1, 3, 2, 0x80, 0x80, 4, 6, 1, 1, 4, 0, 1, 2, 3, 4, 100, 6, 1, 3, 4, 3, 1, 3, 1, 0};
	static const uint8_t edits[] = {2, 20, 1, 1, '2', 2, 0xf0, 2, 0, 4, '0', ' ', ' ', ' ', 6, 0, 1, 6, 0, 2};
	save("change", "story", bytes_of(story, sizeof(story)));
	save("change", "edits", bytes_of(edits, sizeof(edits)));
	for (unsigned i = 0; i < SAMPLE_CHANGES; i++) {
		struct buf b = {0};
		char name[32];
		buf_u8(&b, 0);
		buf_str(&b, sample_changed_text(i));
		snprintf(name, sizeof(name), "text-%u", i);
		save("change", name, fuzz_bytes(&b));
		buf_free(&b);
	}
}

/* ---- three clouds ----------------------------------------------------------------------------------------------------- */

#define RECORDED_FRAMES 64 /* as many as fuzz_raft gives */
#define FIRST_FRAMES 12    /* that tell who is who */

struct recorded {
	const struct three *w;
	bool terse; /* without what is said again and again */
	int64_t last_ns;
	struct buf out;
	unsigned frames;
};

static bool is_idle_talk(struct bytes frame)
{
	struct msg m;
	FUZZ_CHECK(!msg_decode(frame.p, frame.n, &m));
	bool idle = m.type != MSG_RAFT || m.raft.message_count > 0;
	for (size_t i = 0; m.type == MSG_RAFT && i < m.raft.message_count; i++)
		idle = idle && (m.raft.messages[i].kind == RAFT_HEARTBEAT || m.raft.messages[i].kind == RAFT_HEARTBEAT_RESULT);
	msg_clear(&m);
	return idle;
}

static void on_frame(void *arg, unsigned from, bool peer, struct bytes frame)
{
	struct recorded *r = arg;
	if (r->frames == RECORDED_FRAMES || (r->terse && r->frames >= FIRST_FRAMES && is_idle_talk(frame)))
		return;
	int64_t ticks = (three_now_ns(r->w) - r->last_ns) / THREE_TICK_NS;
	r->last_ns = three_now_ns(r->w);
	buf_u8(&r->out, (uint8_t)(ticks < 255 ? ticks : 255));
	buf_u8(&r->out, (uint8_t)((from - 1) | (peer ? 2U : 0U)));
	buf_bytes(&r->out, frame.p, frame.n);
	r->frames++;
}

static void save_three(void)
{
	for (int terse = 0; terse < 2; terse++) {
		struct three *w = three_open(true);
		struct recorded r = {.w = w, .terse = terse, .last_ns = three_now_ns(w)};
		three_record(w, on_frame, &r);
		three_ticks(w, 400);
		save("raft", terse ? "terse" : "recorded", fuzz_bytes(&r.out));
		three_close(w);
		buf_free(&r.out);
	}
}

/* ---- secrets --------------------------------------------------------------------------------------------------------- */

static void save_keys(void)
{
	struct buf text = {0}, zap = {0};
	struct key_text public, secret;
	uint8_t bytes[KEY_BYTES];
	for (uint8_t i = 0; i < 3; i++) {
		memset(bytes, i + 1, sizeof(bytes));
		key_encode(bytes, &secret);
		FUZZ_CHECK(!key_public(&secret, &public));
		buf_printf(&text, "# key %u\n%s\n", i, public.text);
	}
	save("keys", "public", fuzz_bytes(&text));
	save("keys", "secret", bytes_of(secret.text, KEY_TEXT));
	static const char *const parts[] = {"1.0", "1", "weir", "127.0.0.1", "", "CURVE"};
	for (size_t i = 0; i < 6; i++) {
		buf_u8(&zap, (uint8_t)strlen(parts[i]));
		buf_put(&zap, parts[i], strlen(parts[i]));
	}
	size_t head = zap.len;
	buf_u8(&zap, 1);
	buf_u8(&zap, 'K');
	save("zap", "known", fuzz_bytes(&zap));
	zap.len = head;
	buf_u8(&zap, sizeof(bytes));
	buf_put(&zap, bytes, sizeof(bytes));
	save("zap", "unknown", fuzz_bytes(&zap));
	buf_free(&text);
	buf_free(&zap);
}

static void save_tokens(void)
{
	struct buf text = {0};
	buf_u8(&text, 'f');
	for (int role = TOKEN_READ; role <= TOKEN_ADMIN; role++) {
		struct token t = {.role = (enum token_role)role};
		snprintf(t.name, sizeof(t.name), "name-%d", role);
		memset(t.hash, role, sizeof(t.hash));
		token_put(&t, &text);
	}
	save("tokens", "file", fuzz_bytes(&text));
	save_as("tokens", "bearer", 'h', bytes_of("Bearer weir_abc", 15));
	save_as("tokens", "token", 'h', bytes_of("token weir_abc", 14));
	save_as("tokens", "basic", 'h', bytes_of("Basic bmFtZTp3ZWlyX2FiYw==", 26));
	buf_free(&text);
}

static void save_certificates(void)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost"};
	struct tls_pem ca, node;
	struct buf b = {0};
	char *why = NULL;
	FUZZ_CHECK(!tls_make_ca("plant", NULL, SAMPLE_WALL_NS / 1000000000, &ca, &why));
	FUZZ_CHECK(!tls_make_node(&ca, "cloud-1", hosts, 2, SAMPLE_WALL_NS / 1000000000, &node, &why));
	buf_bytes(&b, ca.crt.data, ca.crt.len);
	buf_put(&b, ca.key.data, ca.key.len);
	save("tls", "authority", fuzz_bytes(&b));
	buf_clear(&b);
	buf_varint(&b, node.crt.len + ca.crt.len);
	buf_put(&b, node.crt.data, node.crt.len);
	buf_put(&b, ca.crt.data, ca.crt.len);
	buf_put(&b, node.key.data, node.key.len);
	save("tls", "node", fuzz_bytes(&b));
	tls_pem_free(&ca);
	tls_pem_free(&node);
	buf_free(&b);
}

/* ---- what people read -------------------------------------------------------------------------------------------------- */

static void save_metrics(const struct sample *s)
{
	struct sample copy;
	struct kv_txn *txn;
	struct buf metrics = {0}, edges = {0}, json = {0};
	sample_copy(s, &copy);
	struct sample_world *w = sample_open(&copy);
	sample_pass(w, INT64_C(5000000000));
	struct sim_disk *disk = sim_disk_copy(copy.state);
	struct kv *state = sim_kv_open(disk, 9);
	FUZZ_CHECK(!kv_begin(state, false, &txn));
	node_metrics(sample_cloud(w), txn, &metrics);
	node_edges_json(sample_cloud(w), &edges);
	kv_abort(txn);
	kv_close(state);
	sim_disk_free(disk);
	save("ctl", "cloud-metrics", fuzz_bytes(&metrics));
	buf_printf(&json, "{\"edges\": {\"edges\": [%s]}, \"nodes\": [{\"name\": \"c1\", \"metrics\": ", buf_cstr(&edges));
	json_text(&json, buf_cstr(&metrics));
	buf_printf(&json, "}]}");
	save("doctor", "edges", fuzz_bytes(&json));
	buf_clear(&metrics);
	pipeline_metrics(sample_edge(w), &metrics);
	save("ctl", "edge-metrics", fuzz_bytes(&metrics));
	sample_close(w);
	sim_disk_free(copy.log);
	sim_disk_free(copy.state);
	sim_disk_free(copy.spool);
	buf_free(&metrics);
	buf_free(&edges);
	buf_free(&json);
}

/* Edits of LMDB's file: see fuzz_pages.c. */
static void save_edits(void)
{
	static const uint8_t flip[] = {'e', 3, 16, 0, 1, 0xff}, cut[] = {'e', 255, 5, 0, 0, 2, 0, 0, 1, 9}, both[] = {'e', 0, 152, 0, 1, 1, 1, 152, 0, 1, 0};
	save("pages", "whole", bytes_of("e", 1));
	save("pages", "flip", bytes_of(flip, sizeof(flip)));
	save("pages", "cut", bytes_of(cut, sizeof(cut)));
	save("pages", "metas", bytes_of(both, sizeof(both)));
}

/* ---- what Prometheus asks -------------------------------------------------------------------------------------- */

static struct bytes text_of(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void save_read(const char *name, const struct prometheus_query *q, size_t count)
{
	const struct prometheus_read read = {.queries = (struct prometheus_query *)(uintptr_t)q, .query_count = count, .samples = true};
	struct buf raw = {0}, block = {0};
	char other[64];
	prometheus_read_encode(&read, &raw);
	snappy_block_pack(fuzz_bytes(&raw), &block);
	save_as("remote", name, 0, fuzz_bytes(&raw));
	snprintf(other, sizeof(other), "%s-block", name);
	save_as("remote", other, 1, fuzz_bytes(&block));
	buf_free(&raw);
	buf_free(&block);
}

static void save_reads(void)
{
	static const char *const expressions[] = {"a|b.*", "(?i:n(or|ou)th)[^a-c\\d]{2,3}?", "^(?P<x>[[:alpha:]]+|\\x{41}\\w)$", "((a*)*b)+", "\\bx\\B|(?s-i).",
	    "weir:.+:p9[59]", "10\\.0\\.0\\.(1|2)?"};
	struct prometheus_matcher m[8] = {{PROMETHEUS_EQ, text_of("__name__"), text_of("weir:traffic:p99_9")}};
	struct prometheus_query q[2] = {{1700000000000, 1700000300000, m, 1}, {-5, 5, m, 8}};
	save_read("one", q, 1);
	for (size_t i = 0; i < 7; i++)
		m[i + 1] = (struct prometheus_matcher){i % 2 ? PROMETHEUS_NRE : PROMETHEUS_RE, text_of(i % 3 ? "site" : "sensor"), text_of(expressions[i])};
	save_read("two", q, 2);
	m[0] = (struct prometheus_matcher){PROMETHEUS_NEQ, text_of("site"), text_of("north")};
	save_read("none", q, 0);
	q[0].matcher_count = 8;
	save_read("all", q, 1);
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
	sample_copy(fuzz_sample(), &s);
	sample_messages(on_message, NULL);
	sample_records(s.log, LOG_DBS(s.topology->shards), on_log_record, &seen);
	save_database("log", s.log, LOG_DBS(s.topology->shards));
	save_database("state", s.state, STATE_DBS(s.topology->shards));
	save_database("spool", s.spool, SPOOL_DBS);
	save_snapshots(&s);
	save_rows(&s);
	save_sinks();
	save_maps(&s);
	save_topologies();
	save_changes();
	save_three();
	save_reads();
	save_keys();
	save_tokens();
	save_certificates();
	save_metrics(&s);
	save_edits();
	save("source", "file", bytes_of(file_mark, sizeof(file_mark)));
	save("source", "simulate", bytes_of(simulate_mark, sizeof(simulate_mark)));
	struct statsd_gauges gauges = {0};
	struct buf mark = {0};
	double at;
	statsd_gauges_set(&gauges, bytes_of("a,metric=a", 10), 10.5);
	FUZZ_CHECK(statsd_gauges_step(&gauges, bytes_of("b,metric=b,k=v", 14), -2, &at));
	statsd_gauges_encode(&gauges, &mark);
	save("statsd", "gauges", fuzz_bytes(&mark));
	statsd_gauges_free(&gauges);
	buf_free(&mark);
	sim_disk_free(s.log);
	sim_disk_free(s.state);
	sim_disk_free(s.spool);
	return 0;
}
