/* Databases as text, and what is read from them. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/map_apply.h"
#include "cloudd/node.h"
#include "cloudd/result.h"
#include "cloudd/state.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/golden/golden_impl.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#define LOG_HEAD 9 /* [term u64][kind u8] */
#define DATA_KIND 1

/* ---- text to records ------------------------------------------------------------------------------------------------ */

static void put_record(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct buf *out = arg;
	buf_printf(out, "%u ", db);
	golden_put_hex(out, key);
	buf_printf(out, " ");
	if (value.n)
		golden_put_hex(out, value);
	else
		buf_printf(out, "-");
	buf_printf(out, "\n");
}

static bool take_line(struct kv_txn *txn, const char *line, size_t len, unsigned dbs)
{
	struct buf key = {0}, value = {0};
	const char *end = line + len, *key_at, *value_at;
	char *after;
	unsigned long db = strtoul(line, &after, 10);
	key_at = after + 1;
	value_at = *after == ' ' ? memchr(key_at, ' ', (size_t)(end - key_at)) : NULL;
	bool ok = value_at && db < dbs && golden_get_hex(key_at, (size_t)(value_at - key_at), &key);
	if (ok && !(end - value_at == 2 && value_at[1] == '-'))
		ok = golden_get_hex(value_at + 1, (size_t)(end - value_at) - 1, &value);
	ok = ok && !kv_put(txn, (unsigned)db, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
	buf_free(&key);
	buf_free(&value);
	return ok;
}

static struct sim_disk *load_disk(const char *folder, const char *name, unsigned dbs, struct buf *wrong)
{
	char *path = xasprintf("%s/databases/%s.txt", folder, name);
	struct buf text = {0};
	struct sim_disk *disk = sim_disk_new(dbs, SAMPLE_DISK_BYTES);
	struct kv *kv = sim_kv_open(disk, 1);
	struct kv_txn *txn;
	bool ok = golden_load(path, &text) && text.len && !kv_begin(kv, true, &txn);
	for (const char *s = buf_cstr(&text); ok && *s; s += strcspn(s, "\n") + 1)
		ok = *s == '#' || take_line(txn, s, strcspn(s, "\n"), dbs);
	if (!ok || kv_commit(txn))
		buf_printf(wrong, "%s: no golden database\n", path);
	kv_close(kv);
	buf_free(&text);
	free(path);
	return disk;
}

/* ---- what is read ------------------------------------------------------------------------------------------------------- */

static void put_values(const struct row *row, const struct stream_conf *s, const struct partial_spec *spec, struct buf *out)
{
	uint32_t distinct = 0;
	for (size_t i = 0; i < s->compute_count; i++) {
		double value, error;
		bool null;
		const struct function_conf *f = &s->compute[i];
		partial_eval(&row->partial, spec, f->fn, f->q, f->fn == FN_DISTINCT ? distinct++ : 0, &value, &error, &null);
		if (null)
			buf_printf(out, " %s=null", f->text);
		else
			buf_printf(out, " %s=%.17g", f->text, value);
	}
}

static void put_rows(const char *what, const struct buf *rows, const struct stream_conf *s, struct buf *out)
{
	struct partial_spec spec;
	struct rows_reader *r;
	struct row *row;
	partial_spec_of(s, 7, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	if (rows_reader_open(bytes_of(rows->data, rows->len), &spec, &r)) {
		buf_printf(out, "%s: no rows\n", what);
		return;
	}
	buf_printf(out, "%s of %s: close %lld final %lld\n", what, s->name, (long long)rows_reader_close_ns(r),
	    (long long)rows_reader_final_ns(r));
	int rc;
	while ((rc = rows_reader_next(r, &row)) > 0) {
		buf_printf(out, "  %lld..%lld group ", (long long)row->start_ns, (long long)row->end_ns);
		golden_put_hex(out, row->group);
		buf_printf(out, " %s revision %llu edges %u/%u/%u/%u", window_state_text(row->state), (unsigned long long)row->revision,
		    row->edges.expected, row->edges.contributed, row->edges.idle, row->edges.partitioned);
		put_values(row, s, &spec, out);
		buf_printf(out, "\n");
	}
	if (rc)
		buf_printf(out, "  %s\n", err_text(rc));
	rows_reader_close(r);
}

static void put_windows(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *s, struct buf *out)
{
	struct rows_spec spec = {.stream = s->name, .version = s->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = s->size_ns, .advance_ns = s->advance_ns, .offset_ns = s->offset_ns, .own_window = true, .own_by = true,
	    .by_count = (uint32_t)s->by_count, .limit = 10000};
	struct buf rows = {0};
	bool more;
	for (uint32_t i = 0; i < spec.by_count; i++)
		spec.by[i] = i;
	int rc = result_query(t, txn, shard, s, &spec, INT64_MAX, &rows, &more);
	if (rc)
		buf_printf(out, "windows of %s: %s\n", s->name, err_text(rc));
	else
		put_rows("windows", &rows, s, out);
	buf_free(&rows);
}

static void put_outbox(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *s, struct buf *out)
{
	struct buf rows = {0};
	uint64_t index = 0;
	uint32_t n = 0;
	bool reset;
	int rc = result_outbox(t, txn, shard, s, &index, &n, 10000, &rows, &reset, NULL);
	if (rc)
		buf_printf(out, "outbox of %s: %s\n", s->name, err_text(rc));
	else
		put_rows("outbox", &rows, s, out);
	buf_free(&rows);
}

static void put_map(struct kv_txn *txn, uint32_t group, struct buf *out)
{
	struct bytes raw;
	struct cluster_map m;
	if (map_record(txn, STATE_DB_GROUP(group), &raw) || map_decode(raw, &m)) {
		buf_printf(out, "group %u: no map\n", group);
		return;
	}
	buf_printf(out, "group %u: map %llu, its text %zu bytes of map %llu\n", group, (unsigned long long)m.version, m.text_len,
	    (unsigned long long)m.text_version);
	for (size_t i = 0; i < m.node_count; i++)
		buf_printf(out, "  node %zu '%s' %s '%s' '%s'\n", i, m.nodes[i].name, cloud_state_text(m.nodes[i].state), m.nodes[i].listen, m.nodes[i].http);
	for (uint32_t g = 0; g < m.group_count; g++)
		for (uint32_t r = 0; r < m.places[g].count; r++)
			buf_printf(out, "  place of group %u: node %u\n", g, (unsigned)m.places[g].nodes[r]);
	for (size_t i = 0; i < m.stream_count; i++) {
		const struct map_stream *v = &m.streams[i];
		buf_printf(out, "  stream %s version %u of %u %s from %lld answers until %lld until %lld: %s\n", v->name, v->version, v->fingerprint,
		    stream_phase_text(v->phase), (long long)v->from_ns, (long long)v->answers_until_ns, (long long)v->until_ns, v->definition);
	}
	for (size_t i = 0; i < m.revoked_count; i++)
		buf_printf(out, "  revoked %s\n", m.revoked[i]);
	map_clear(&m);
}

static void put_meta(struct kv_txn *txn, struct buf *out)
{
	struct meta_state m;
	if (meta_read(txn, &m)) {
		buf_printf(out, "meta: unreadable\n");
		return;
	}
	buf_printf(out, "cluster ");
	golden_put_hex(out, bytes_of(m.cluster_id, CLUSTER_ID_BYTES));
	buf_printf(out, "\n");
	for (size_t i = 0; i < m.edge_count; i++)
		buf_printf(out, "edge %s epoch %llu\n", m.edges[i].name, (unsigned long long)m.edges[i].grant.epoch);
	for (size_t i = 0; i < m.stream_count; i++) {
		const struct meta_stream *s = &m.streams[i];
		buf_printf(out, "stream %s version %u close %lld final %lld\n", s->name, s->version, (long long)s->close_ns,
		    (long long)s->final_ns);
		for (size_t e = 0; e < s->edge_count; e++)
			buf_printf(out, "  %s %s watermark %lld\n", s->edges[e].name, edge_state_text(s->edges[e].state),
			    (long long)s->edges[e].watermark_ns);
	}
	meta_state_clear(&m);
}

static void put_group(struct kv_txn *txn, uint32_t group, struct buf *out, struct buf *wrong)
{
	struct apply_group_info info;
	struct digest digest;
	if (apply_read_group(txn, group, &info) || state_digest(txn, STATE_DB_GROUP(group), &digest)) {
		buf_printf(wrong, "group %u: its state cannot be read\n", group);
		return;
	}
	if (digest.hi != info.digest_hi || digest.lo != info.digest_lo)
		buf_printf(wrong, "group %u: the digest of its records is not the one it kept\n", group);
	buf_printf(out, "group %u applied %llu term %llu digest %016llx%016llx\n", group, (unsigned long long)info.applied,
	    (unsigned long long)info.term, (unsigned long long)digest.hi, (unsigned long long)digest.lo);
}

static void put_streams(const struct topology *t, struct kv_txn *txn, uint32_t shard, struct buf *out)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		buf_printf(out, "shard %u, version %u: ", shard, t->streams[i].version);
		put_windows(t, txn, shard, &t->streams[i], out);
		put_outbox(t, txn, shard, &t->streams[i], out);
	}
}

/* By the map that is stored, with all versions of its streams. */
static void put_state(const struct sample *s, struct buf *out, struct buf *wrong)
{
	struct topology *now = sample_topology_now(s);
	const struct topology *t = now ? now : s->topology;
	struct kv *kv = sim_kv_open(s->state, 1);
	struct kv_txn *txn;
	if (!kv_begin(kv, false, &txn)) {
		put_meta(txn, out);
		for (uint32_t group = 0; group <= t->shards; group++) {
			put_group(txn, group, out, wrong);
			put_map(txn, group, out);
		}
		for (uint32_t shard = 0; shard < t->shards; shard++)
			put_streams(t, txn, shard, out);
		kv_abort(txn);
	}
	kv_close(kv);
	topology_free(now);
}

static uint64_t map_version_of(struct bytes raw)
{
	struct cluster_map m;
	if (map_decode(raw, &m))
		return 0;
	uint64_t version = m.version;
	map_clear(&m);
	return version;
}

/* What changes the map, and tells the shards of it. */
static void put_map_entry(const struct entry *e, struct buf *out)
{
	if (e->kind == ENTRY_TOPOLOGY)
		buf_printf(out, ", topology of %u bytes against map %llu", e->topology.text_bytes, (unsigned long long)e->topology.base_version);
	else if (e->kind == ENTRY_NODE)
		buf_printf(out, ", node %u event %u", e->node.slot, e->node.event);
	else if (e->kind == ENTRY_CUT)
		buf_printf(out, ", %.*s version %u %s %lld", (int)e->cut.stream.n, (const char *)e->cut.stream.p, e->cut.version,
		    e->cut.retire ? "is retired" : "takes over at", (long long)e->cut.t_ns);
	else if (e->kind == ENTRY_REVOKE)
		buf_printf(out, ", %.*s is %s", (int)e->revoke.edge.n, (const char *)e->revoke.edge.p, e->revoke.revoked ? "revoked" : "allowed");
	else if (e->kind == ENTRY_MAP)
		buf_printf(out, ", map %llu as %llu after %llu", (unsigned long long)map_version_of(e->map.map),
		    (unsigned long long)e->map.meta_index, (unsigned long long)e->map.after);
}

static void put_sinks(const struct entry *e, struct buf *out)
{
	for (uint32_t i = 0; i < e->sink.count; i++) {
		const struct entry_place *p = &e->sink.places[i];
		buf_printf(out, ", sink %.*s has %.*s version %u up to %llu.%u", (int)p->sink.n, (const char *)p->sink.p, (int)p->stream.n,
		    (const char *)p->stream.p, p->version, (unsigned long long)p->index, p->n);
	}
}

static void put_log_entry(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	struct entry e;
	struct buf *out = arg;
	struct rd k = rd_init(key.p, key.n), v = rd_init(value.p, value.n);
	if (db == LOG_DB_NODE)
		return;
	unsigned long long index = rd_be64(&k), term = rd_u64(&v);
	unsigned kind = rd_u8(&v);
	buf_printf(out, "group %u entry %llu term %llu kind %u", db - LOG_DB_GROUP(0), index, term, kind);
	if (kind == DATA_KIND && !entry_decode(bytes_of(value.p + LOG_HEAD, value.n - LOG_HEAD), &e)) {
		buf_printf(out, ".%u at %lld", (unsigned)e.kind, (long long)e.time_ns);
		put_map_entry(&e, out);
		if (e.kind == ENTRY_SINK)
			put_sinks(&e, out);
		entry_clear(&e);
	} else if (kind == DATA_KIND) {
		buf_printf(out, ": does not decode");
	}
	buf_printf(out, "\n");
}

static void put_spool_map(const struct sample *s, struct buf *out)
{
	struct kv *spool = sim_kv_open(s->spool, 1);
	struct buf raw = {0};
	if (!pipeline_peek_map(spool, &raw))
		buf_printf(out, "the edge goes by map %llu\n", (unsigned long long)map_version_of(bytes_of(raw.data, raw.len)));
	buf_free(&raw);
	kv_close(spool);
}

/* A cloud and an edge start from it all, and the edge gets rid of what it held. */
static void put_life(const struct sample *s, struct buf *out, struct buf *wrong)
{
	struct sample copy;
	struct pipeline_ledger l;
	const char *reason;
	sample_copy(s, &copy);
	struct sample_world *w = sample_open(&copy);
	if (!w) {
		buf_printf(wrong, "a cloud and an edge do not start from these databases\n");
	} else {
		pipeline_ledger(sample_edge(w), &l);
		buf_printf(out, "ledger: read %llu accepted %llu refused %llu matched %llu aggregated %llu dropped %llu unmatched %llu\n",
		    (unsigned long long)l.read, (unsigned long long)l.accepted, (unsigned long long)l.refused,
		    (unsigned long long)l.matched, (unsigned long long)l.aggregated, (unsigned long long)l.dropped,
		    (unsigned long long)l.unmatched);
		sample_pass(w, INT64_C(120000000000));
		if (!sample_edge(w))
			buf_printf(wrong, "the edge cannot go over to the cluster's map\n");
		else if (pipeline_fenced(sample_edge(w), &reason))
			buf_printf(wrong, "the edge is fenced: %s\n", reason);
		else if (!pipeline_drained(sample_edge(w)))
			buf_printf(wrong, "what the edge held is not acknowledged after two minutes\n");
		sample_close(w);
	}
	sim_disk_free(copy.log);
	sim_disk_free(copy.state);
	sim_disk_free(copy.spool);
}

static void put_answers(const struct sample *s, struct buf *out, struct buf *wrong)
{
	put_state(s, out, wrong);
	sample_records(s->log, LOG_DBS(s->topology->shards), put_log_entry, out);
	put_spool_map(s, out);
	put_life(s, out, wrong);
}

/* ---- checking, writing ----------------------------------------------------------------------------------------------- */

static struct topology *load_topology(const char *folder, struct buf *wrong)
{
	char *path = xasprintf("%s/topology.yaml", folder);
	struct buf text = {0};
	struct topology *t = NULL;
	if (!golden_load(path, &text))
		buf_printf(wrong, "%s: cannot be read\n", path);
	else
		(void)topology_parse("topology.yaml", text.data, text.len, &t, wrong);
	buf_free(&text);
	free(path);
	return t;
}

static void compare_answers(const char *folder, struct buf *now, struct buf *wrong)
{
	char *path = xasprintf("%s/answers.txt", folder);
	struct buf then = {0};
	if (!golden_load(path, &then)) {
		buf_printf(wrong, "%s: cannot be read\n", path);
	} else if (then.len != now->len || memcmp(then.data, now->data, now->len)) {
		const char *a = buf_cstr(&then), *b = buf_cstr(now);
		size_t line = 1, start = 0;
		for (size_t i = 0; a[i] && a[i] == b[i]; i++)
			if (a[i] == '\n')
				line++, start = i + 1;
		buf_printf(wrong, "%s:%zu: was: %.*s\n  is: %.*s\n", path, line, (int)strcspn(a + start, "\n"), a + start,
		    (int)strcspn(b + start, "\n"), b + start);
	}
	buf_free(&then);
	free(path);
}

bool golden_check_databases(const char *version_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	struct sample s = {.topology = load_topology(version_folder, wrong)};
	if (!s.topology)
		return false;
	s.log = load_disk(version_folder, "log", LOG_DBS(s.topology->shards), wrong);
	s.state = load_disk(version_folder, "state", STATE_DBS(s.topology->shards), wrong);
	s.spool = load_disk(version_folder, "spool", SPOOL_DBS, wrong);
	if (wrong->len == before) {
		struct buf now = {0};
		put_answers(&s, &now, wrong);
		compare_answers(version_folder, &now, wrong);
		buf_free(&now);
	}
	sample_clear(&s);
	return wrong->len == before;
}

/* ---- nothing is left out ----------------------------------------------------------------------------------------------- */

/* What is in logs as entry_encode's bytes. */
static bool is_stored(enum entry_kind kind)
{
	switch (kind) {
	case ENTRY_OPEN:
	case ENTRY_BATCH:
	case ENTRY_ADVANCE:
	case ENTRY_SWEEP:
	case ENTRY_MAP:
	case ENTRY_CREATE:
	case ENTRY_CLAIM:
	case ENTRY_READMIT:
	case ENTRY_CLOSE:
	case ENTRY_TAKEN:
	case ENTRY_TOPOLOGY:
	case ENTRY_NODE:
	case ENTRY_CUT:
	case ENTRY_REVOKE:
	case ENTRY_SINK:
	case ENTRY_ALERT:
		return true;
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		return false;
	}
	return false;
}

static void note_kind(void *arg, unsigned db, struct bytes key, struct bytes value)
{
	bool *seen = arg;
	struct entry e;
	(void)key;
	if (db == LOG_DB_NODE || value.p[LOG_HEAD - 1] != DATA_KIND || entry_decode(bytes_of(value.p + LOG_HEAD, value.n - LOG_HEAD), &e))
		return;
	seen[e.kind & UINT8_MAX] = true;
	entry_clear(&e);
}

bool golden_check_kinds(const char *version_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	bool seen[UINT8_MAX + 1] = {false};
	struct topology *t = load_topology(version_folder, wrong);
	if (!t)
		return false;
	struct sim_disk *log = load_disk(version_folder, "log", LOG_DBS(t->shards), wrong);
	sample_records(log, LOG_DBS(t->shards), note_kind, seen);
	for (int kind = 0; kind <= UINT8_MAX; kind++)
		if (is_stored((enum entry_kind)kind) && !seen[kind])
			buf_printf(wrong, "%s: no entry of kind %d: make tests/golden/sample.c come by one\n", version_folder, kind);
	sim_disk_free(log);
	topology_free(t);
	return wrong->len == before;
}

static void save_disk(const char *folder, const char *name, struct sim_disk *disk, unsigned dbs, struct buf *wrong)
{
	char *databases = xasprintf("%s/databases", folder);
	struct buf text = {0};
	buf_printf(&text, "# database number, key, value\n");
	sample_records(disk, dbs, put_record, &text);
	mkdir(databases, 0755);
	golden_save(databases, name, &text, wrong);
	buf_free(&text);
	free(databases);
}

bool golden_write_databases(const char *version_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	struct sample s;
	struct buf text = {0};
	sample_make(&s);
	buf_printf(&text, "%s", sample_topology_text());
	golden_save(version_folder, "topology.yaml", &text, wrong);
	save_disk(version_folder, "log.txt", s.log, LOG_DBS(s.topology->shards), wrong);
	save_disk(version_folder, "state.txt", s.state, STATE_DBS(s.topology->shards), wrong);
	save_disk(version_folder, "spool.txt", s.spool, SPOOL_DBS, wrong);
	buf_clear(&text);
	put_answers(&s, &text, wrong);
	golden_save(version_folder, "answers.txt", &text, wrong);
	sample_clear(&s);
	buf_free(&text);
	return wrong->len == before;
}

bool golden_write(const char *version_folder, struct buf *wrong)
{
	mkdir(version_folder, 0755);
	return golden_write_frames(version_folder, wrong) && golden_write_databases(version_folder, wrong);
}
