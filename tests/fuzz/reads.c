#include "tests/fuzz/reads.h"

#include <string.h>

#include "cloudd/alert_json.h"
#include "cloudd/alert_judge.h"
#include "cloudd/entry.h"
#include "cloudd/outbox.h"
#include "cloudd/result.h"
#include "cloudd/shard.h"
#include "cloudd/state.h"
#include "common/batch.h"
#include "common/err.h"
#include "common/map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"

#define SWEEPS_MAX 8
#define CLOSE_NS (SAMPLE_WALL_NS + INT64_C(7200) * 1000000000)

static void fix_group(struct kv_txn *txn, unsigned group)
{
	struct state s = {.txn = txn, .db = STATE_DB_GROUP(group)};
	struct state_head head;
	if (state_head_read(txn, s.db, &head) || state_digest(txn, s.db, &head.digest))
		return;
	s.digest = head.digest;
	FUZZ_CHECK(!state_head_write(&s, &head));
}

void reads_fix_digest(struct kv *state, unsigned groups)
{
	struct kv_txn *txn;
	FUZZ_CHECK(!kv_begin(state, true, &txn));
	for (unsigned g = 0; g < groups; g++)
		fix_group(txn, g);
	FUZZ_CHECK(!kv_commit(txn));
}

/* Rows that were made here are well-formed, whatever they were made of. */
static void check_rows(const struct buf *rows, const struct stream_conf *stream)
{
	struct partial_spec spec;
	struct rows_reader *r;
	struct row *row;
	int rc;
	partial_spec_of(stream, 7, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	FUZZ_CHECK(!rows_reader_open(fuzz_bytes(rows), &spec, &r));
	while ((rc = rows_reader_next(r, &row)) > 0)
		FUZZ_CHECK(row->start_ns < row->end_ns);
	FUZZ_CHECK(!rc);
	rows_reader_close(r);
}

static void read_windows(struct kv_txn *txn, uint32_t shard, const struct stream_conf *s, bool own)
{
	struct rows_spec spec = {.stream = s->name, .version = s->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = own ? s->size_ns : 600 * INT64_C(1000000000), .advance_ns = own ? s->advance_ns : 600 * INT64_C(1000000000),
	    .own_window = own, .own_by = own || !s->by_count, .by_count = own ? (uint32_t)s->by_count : 0, .limit = 1000};
	for (uint32_t i = 0; i < spec.by_count; i++)
		spec.by[i] = i;
	struct buf out = {0};
	bool more;
	if (!result_query(fuzz_topology_now(), txn, shard, s, &spec, INT64_MAX, &out, &more))
		check_rows(&out, s);
	buf_free(&out);
}

static void read_outbox(struct kv_txn *txn, uint32_t shard, const struct stream_conf *s)
{
	struct buf out = {0};
	uint64_t index = 0;
	uint32_t n = 0;
	bool reset;
	if (!result_outbox(fuzz_topology_now(), txn, shard, s, &index, &n, 1000, &out, &reset, NULL))
		check_rows(&out, s);
	buf_free(&out);
}

/* Where each sink goes on, and what it has still to deliver. */
static void read_places(struct kv_txn *txn, uint32_t shard, const struct topology *t, const struct stream_conf *s)
{
	struct sink_place place = {0};
	struct outbox_left left;
	uint32_t id;
	(void)outbox_first(txn, shard, s, &place);
	for (size_t i = 0; i < t->sink_count; i++) {
		if (!shard_read_id(txn, STATE_DB_GROUP(shard + 1), bytes_of(s->name, strlen(s->name)), s->version, &id))
			(void)sink_place_read(txn, STATE_DB_GROUP(shard + 1), t->sinks[i].name, id, &place);
		if (!outbox_left(txn, shard, s, place, 100, &left))
			FUZZ_CHECK(left.rows <= 100 && left.age_ns >= 0);
	}
}

static void read_events(struct kv_txn *txn, uint32_t shard)
{
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value, rest;
	struct alert_event e;
	struct buf out = {0};
	FUZZ_CHECK(!kv_cursor_open(txn, STATE_DB_GROUP(shard + 1), &c));
	state_key_start(&prefix, STATE_ALERT_EVENT);
	int rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	for (; !rc && state_key_rest(key, &prefix, &rest); rc = kv_cursor_next(c, &key, &value)) {
		if (!alert_event_decode(value, &e))
			alert_event_json(&e, &out);
		buf_clear(&out);
	}
	kv_cursor_close(c);
	buf_free(&out);
}

/* What is found encodes, and decodes. */
static void read_alerts(struct kv_txn *txn, uint32_t shard)
{
	const struct topology *t = fuzz_topology_now();
	struct alert_found f;
	struct alert_record a;
	uint32_t id = 1;
	int64_t behind_ns;
	for (; !alert_record_next(txn, STATE_DB_GROUP(shard + 1), &id, &a); id++)
		FUZZ_CHECK(alert_behind(t, txn, shard, &a, &behind_ns) || behind_ns >= 0);
	if (!alert_judge(t, txn, shard, &(struct alert_turn){.work_max = 100}, &f)) {
		struct buf raw = {0};
		struct entry back;
		entry_encode(&f.entry, &raw);
		FUZZ_CHECK(!entry_decode(fuzz_bytes(&raw), &back));
		entry_clear(&back);
		buf_free(&raw);
		alert_found_clear(&f);
	}
	read_events(txn, shard);
}

static void on_counts(void *arg, const struct shard_stream_counts *c)
{
	(void)arg;
	FUZZ_CHECK(c->stream);
}

static bool on_advance(void *arg, uint64_t meta_index, struct bytes entry)
{
	struct entry e;
	(void)arg, (void)meta_index;
	FUZZ_CHECK(!entry_decode(entry, &e) && (e.kind == ENTRY_ADVANCE || e.kind == ENTRY_MAP));
	entry_clear(&e);
	return true;
}

static void read_meta(struct kv_txn *txn)
{
	struct meta_state m;
	if (!meta_read(txn, &m))
		meta_state_clear(&m);
	for (uint32_t shard = 0; shard < fuzz_topology()->shards; shard++)
		(void)meta_read_advances(txn, shard, 0, on_advance, NULL);
}

void reads_all(struct kv *state)
{
	const struct topology *t = fuzz_topology_now();
	struct apply_group_info info;
	struct kv_txn *txn;
	FUZZ_CHECK(!kv_begin(state, false, &txn));
	read_meta(txn);
	for (uint32_t shard = 0; shard < t->shards; shard++) {
		(void)apply_read_group(txn, shard + 1, &info);
		(void)shard_read_counts(txn, shard + 1, on_counts, NULL);
		read_alerts(txn, shard);
		for (size_t i = 0; i < t->stream_count; i++) {
			read_windows(txn, shard, &t->streams[i], true);
			read_windows(txn, shard, &t->streams[i], false);
			read_outbox(txn, shard, &t->streams[i]);
			read_places(txn, shard, t, &t->streams[i]);
		}
	}
	kv_abort(txn);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static int apply(struct apply *a, uint32_t group, const struct entry *e, struct apply_result *ret)
{
	struct buf raw = {0};
	uint64_t term, index = apply_applied(a, group, &term);
	*ret = (struct apply_result){0};
	int rc = index == UINT64_MAX ? WEIR_EFULL : 0;
	if (!rc) {
		entry_encode(e, &raw);
		rc = apply_entry(a, group, index + 1, term + 1, fuzz_bytes(&raw), ret);
	}
	buf_free(&raw);
	if (!rc)
		rc = apply_commit(a);
	return rc;
}

static bool apply_one(struct apply *a, uint32_t group, const struct entry *e, bool *ret_more)
{
	struct apply_result res;
	int rc = apply(a, group, e, &res);
	*ret_more = !rc && res.more;
	apply_result_clear(&res);
	if (rc)
		apply_abort(a);
	return !rc;
}

static struct buf batch_body(const struct stream_conf *s, uint32_t shard, uint64_t seq)
{
	struct partial_spec spec;
	struct partial p = {0};
	struct buf body = {0};
	partial_spec_of(s, 7, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	partial_add(&p, &spec, SAMPLE_WALL_NS, 4.5);
	struct batch_writer *w = batch_writer_new(shard);
	FUZZ_CHECK(!batch_writer_add(w, s, &spec, SAMPLE_WALL_NS, bytes_of("\x05south\x01" "7", 8), &p));
	batch_writer_finish(w, seq, &body);
	batch_writer_free(w);
	partial_clear(&p, &spec);
	return body;
}

static void write_batch(struct apply *a, uint32_t shard, const struct stream_conf *s)
{
	bool more;
	struct entry open = {.kind = ENTRY_OPEN, .open = {.edge = bytes_of("a", 1), .epoch = 1000, .low = 1, .high = 9, .resume = true}};
	struct entry batch = {.kind = ENTRY_BATCH, .batch = {.edge = bytes_of("a", 1), .epoch = 1000}};
	struct apply_result res;
	int rc = apply(a, shard + 1, &open, &res);
	batch.batch.seq = res.last + 1;
	apply_result_clear(&res);
	if (rc) {
		apply_abort(a);
		return;
	}
	struct buf body = batch_body(s, shard, batch.batch.seq);
	batch.batch.body = fuzz_bytes(&body);
	batch.batch.checksum = batch_checksum(body.data, body.len);
	(void)apply_one(a, shard + 1, &batch, &more);
	buf_free(&body);
}

static struct entry_edge edge_of(const char *name, enum edge_state state, int64_t watermark_ns, int64_t flushed_end_ns)
{
	return (struct entry_edge){.name = bytes_of(name, strlen(name)), .state = state, .watermark_ns = watermark_ns,
	    .flushed_end_ns = flushed_end_ns, .since_ns = WATERMARK_NONE};
}

static void write_advance(struct apply *a, uint32_t shard, const struct stream_conf *s)
{
	struct entry_edge edges[] = {edge_of("a", EDGE_LIVE, CLOSE_NS, WATERMARK_NONE),
	    edge_of("b", EDGE_PARTITIONED, WATERMARK_NONE, WATERMARK_NONE)};
	struct entry e = {.kind = ENTRY_ADVANCE, .time_ns = CLOSE_NS, .advance = {.meta_index = UINT64_C(1) << 40,
	    .close = {.stream = bytes_of(s->name, strlen(s->name)), .version = s->version, .close_ns = CLOSE_NS,
	    .final_ns = WATERMARK_NONE, .expected = 2, .edge_count = 2, .edges = edges}}};
	struct entry sweep = {.kind = ENTRY_SWEEP, .time_ns = CLOSE_NS};
	bool more;
	bool ok = apply_one(a, shard + 1, &e, &more);
	for (int i = 0; ok && i < SWEEPS_MAX && (!i || more); i++)
		ok = apply_one(a, shard + 1, &sweep, &more);
}

/* The shard may have this one, an earlier one, or none. */
static void write_map(struct apply *a, uint32_t shard)
{
	struct entry e = {.kind = ENTRY_MAP, .map = {UINT64_C(1) << 39, 0, fuzz_map()}};
	bool more;
	(void)apply_one(a, shard + 1, &e, &more);
}

/* Of sinks that the map has, or had: one place that was delivered, and one that no row can have yet. */
static void write_places(struct apply *a, uint32_t shard, const struct stream_conf *s)
{
	struct bytes name = bytes_of(s->name, strlen(s->name));
	struct entry_place places[] = {{bytes_of("out", 3), name, s->version, 1, 7}, {bytes_of("away", 4), name, s->version, 1, 0},
	    {bytes_of("out", 3), name, s->version, UINT64_MAX, 0}, {bytes_of("out", 3), name, s->version + 1, 1, 0}};
	struct entry e = {.kind = ENTRY_SINK, .time_ns = CLOSE_NS, .sink = {sizeof(places) / sizeof(places[0]), places}};
	bool more;
	(void)apply_one(a, shard + 1, &e, &more);
}

static void change_map(struct apply *a)
{
	const struct stream_conf *s = &fuzz_topology()->streams[0];
	struct bytes name = bytes_of(s->name, strlen(s->name));
	const char *text = sample_changed_text(0);
	struct buf packed = {0};
	map_text_pack(text, strlen(text), &packed);
	struct entry entries[] = {
	    {.kind = ENTRY_TOPOLOGY, .topology = {0, (uint32_t)strlen(text), fuzz_bytes(&packed)}},
	    {.kind = ENTRY_REVOKE, .revoke = {bytes_of("a", 1), true}},
	    {.kind = ENTRY_NODE, .node = {1, 1}},
	    {.kind = ENTRY_CUT, .cut = {name, s->version, false, CLOSE_NS, 0}},
	    {.kind = ENTRY_CUT, .cut = {name, s->version, true, 0, 0}},
	};
	bool more;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		(void)apply_one(a, 0, &entries[i], &more);
	buf_free(&packed);
}

static void write_meta(struct apply *a)
{
	const struct stream_conf *s = &fuzz_topology()->streams[0];
	struct entry_edge edges[] = {edge_of("a", EDGE_IDLE, CLOSE_NS, CLOSE_NS), edge_of("b", EDGE_LIVE, CLOSE_NS, WATERMARK_NONE)};
	struct entry_close close = {bytes_of(s->name, strlen(s->name)), s->version, CLOSE_NS, CLOSE_NS, 2, 2, edges};
	struct entry entries[] = {
	    {.kind = ENTRY_CREATE, .create = {bytes_of("0123456789abcdef", CLUSTER_ID_BYTES)}},
	    {.kind = ENTRY_CLAIM, .claim = {bytes_of("a", 1), 1, bytes_of("fedcba9876543210", CLAIM_BYTES), false}},
	    {.kind = ENTRY_READMIT, .readmit = {.edge = bytes_of("a", 1), .next = 2}},
	    {.kind = ENTRY_CLAIM, .claim = {bytes_of("a", 1), 1, bytes_of("fedcba9876543211", CLAIM_BYTES), false}},
	    {.kind = ENTRY_CLOSE, .closes = {1, &close}},
	    {.kind = ENTRY_TAKEN, .taken = {0, UINT64_C(1) << 40}},
	};
	bool more;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		(void)apply_one(a, 0, &entries[i], &more);
}

/* What a leader finds of alerts is applied. */
static void write_alerts(struct apply *a, struct kv *state, uint32_t shard)
{
	bool more, ok = true;
	for (int i = 0; ok && i < SWEEPS_MAX; i++) {
		struct alert_found f;
		struct kv_txn *txn;
		FUZZ_CHECK(!kv_begin(state, false, &txn));
		ok = !alert_judge(fuzz_topology_now(), txn, shard, &(struct alert_turn){.work_max = 1000}, &f);
		kv_abort(txn);
		if (!ok)
			return;
		ok = f.entry.alert.count && apply_one(a, shard + 1, &f.entry, &more);
		alert_found_clear(&f);
	}
}

void reads_then_writes(struct apply *a, struct kv *state)
{
	struct bytes config;
	bool is_void;
	apply_group_start(a, 0, &config, &is_void);
	if (!is_void) {
		write_meta(a);
		change_map(a);
	}
	for (uint32_t shard = 0; shard < fuzz_topology()->shards; shard++) {
		apply_group_start(a, shard + 1, &config, &is_void);
		if (is_void)
			continue;
		const struct topology *now = fuzz_topology_now();
		const struct stream_conf *current = &now->streams[topology_stream(now, fuzz_topology()->streams[0].name)];
		write_batch(a, shard, current);
		write_batch(a, shard, &fuzz_topology()->streams[0]);
		write_places(a, shard, current);
		write_map(a, shard);
		write_places(a, shard, current);
		write_advance(a, shard, current);
		write_advance(a, shard, &fuzz_topology()->streams[0]);
		write_alerts(a, state, shard);
	}
}
