#include "tests/unit/edged/rig.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "edged/hash.h"
#include "edged/spool.h"

/* ---- the kv's faults ------------------------------------------------------------------------------------------- */

static struct rig *faulty; /* kv_ops have no argument of their own */

static int faulty_commit(struct kv_txn *txn)
{
	struct rig *r = faulty;
	if (r->fail_commit == 0) {
		r->fail_commit = -1;
		if (!r->fail_reached) {
			r->real_ops->abort(txn);
			return r->fail_with;
		}
		ck_assert_int_eq(r->real_ops->commit(txn), 0);
		r->commits++;
		return r->fail_with;
	}
	if (r->fail_commit > 0)
		r->fail_commit--;
	int rc = r->real_ops->commit(txn);
	if (rc == 0)
		r->commits++;
	return rc;
}

static int faulty_put(struct kv_txn *txn, unsigned db, struct bytes key, size_t n, bool append, uint8_t **ret_room)
{
	struct rig *r = faulty;
	struct bytes mark;
	if (r->disk_full && db != SPOOL_MARK && !(db == SPOOL_STEP && spool_is_copy(key, &mark)))
		return WEIR_EFULL;
	return r->real_ops->put(txn, db, key, n, append, ret_room);
}

/* ---- the cloud ------------------------------------------------------------------------------------------------- */

static void answer(struct rig *r, struct msg *m, const struct msg *to)
{
	struct buf b = {0};
	m->from = "cloud-1";
	m->req_id = to->req_id;
	m->cluster_id = bytes_of(r->cloud.id, CLUSTER_ID_BYTES);
	ck_assert_int_eq(msg_encode(m, &b), 0);
	for (unsigned i = 0; i <= r->cloud.repeat && !r->cloud.silent; i++) {
		ck_assert(r->queued < RIG_QUEUE_MAX);
		struct rig_frame *f = &r->queue[r->queued++];
		f->data = xmalloc(b.len);
		memcpy(f->data, b.data, b.len);
		f->len = b.len;
	}
	buf_free(&b);
}

static void cloud_hello(struct rig *r, const struct msg *m)
{
	struct rig_cloud *c = &r->cloud;
	c->hellos++;
	c->last_hello_epoch = m->hello.epoch;
	c->last_hello_empty = m->hello.empty;
	c->last_hello_fenced = m->hello.fenced;
	struct msg a = {.type = MSG_HELLO_REPLY};
	a.hello_reply.edge = m->hello.edge;
	a.hello_reply.claim = m->hello.claim;
	a.hello_reply.cluster_id = bytes_of(c->id, CLUSTER_ID_BYTES);
	a.hello_reply.credit_bytes = c->credit;
	a.hello_reply.reason = "";
	a.hello_reply.map_version = c->map_told;
	c->map_version_seen = m->hello.map_version;
	bool same = c->granted && memcmp(c->claim, m->hello.claim.p, CLAIM_BYTES) == 0 && !c->readmit;
	a.hello_reply.verdict = c->refused_by >> r->connected & 1 ? VERDICT_REFUSED : c->hello_verdict;
	if (a.hello_reply.verdict == VERDICT_OK && !same) {
		bool empty = m->hello.empty && c->epoch > 0;
		if (!c->readmit && !empty && m->hello.epoch != c->epoch) {
			a.hello_reply.verdict = VERDICT_FENCED;
			a.hello_reply.reason = "epoch";
		} else {
			c->epoch = (m->hello.epoch > c->epoch ? m->hello.epoch : c->epoch) + 1;
			memcpy(c->claim, m->hello.claim.p, CLAIM_BYTES);
			c->granted = true;
			c->readmitted = c->readmit;
			c->resume = c->readmit || empty;
			c->readmit = false;
		}
	}
	a.hello_reply.epoch = c->epoch;
	a.hello_reply.resume = a.hello_reply.verdict == VERDICT_OK && c->resume;
	a.hello_reply.readmitted = a.hello_reply.verdict == VERDICT_OK && c->readmitted;
	answer(r, &a, m);
}

static void cloud_open(struct rig *r, const struct msg *m)
{
	r->cloud.opens++;
	struct rig_shard *s = &r->cloud.shards[m->open.shard];
	struct msg a = {.type = MSG_OPEN_REPLY};
	a.open_reply.edge = m->open.edge;
	a.open_reply.shard = m->open.shard;
	a.open_reply.reason = "";
	bool unled = r->connected < 3 && r->cloud.unled[r->connected] >> m->open.shard & 1;
	if (r->cloud.open_verdict || unled) {
		a.open_reply.verdict = unled ? VERDICT_UNAVAILABLE : r->cloud.open_verdict;
		answer(r, &a, m);
		return;
	}
	bool copy = !m->open.resume && (m->open.high < s->last || m->open.low > s->last + 1);
	if (m->open.epoch < s->epoch || copy) {
		a.open_reply.verdict = VERDICT_FENCED;
		a.open_reply.reason = copy ? "old copy" : "epoch";
	} else {
		if (m->open.epoch > s->epoch)
			memset(r->cloud.seen_seq[m->open.shard], 0, sizeof(r->cloud.seen_seq[0]));
		s->epoch = m->open.epoch;
		s->open = true;
	}
	a.open_reply.epoch = s->epoch;
	a.open_reply.last = s->last;
	answer(r, &a, m);
}

static bool same_row(const void *item, const void *key)
{
	const struct rig_row *a = item, *b = key;
	return a->version == b->version && a->slice_ns == b->slice_ns && a->group_len == b->group_len &&
	    memcmp(a->group, b->group, a->group_len) == 0 && strcmp(a->stream, b->stream) == 0;
}

static struct rig_row *row_of(struct rig_cloud *c, const char *stream, uint32_t version, int64_t slice_ns, struct bytes g)
{
	struct rig_row key = {.version = version, .slice_ns = slice_ns, .group_len = g.n, .min = 1e300, .max = -1e300};
	ck_assert_uint_le(g.n, RIG_GROUP_MAX);
	snprintf(key.stream, sizeof(key.stream), "%s", stream);
	if (g.n)
		memcpy(key.group, g.p, g.n);
	uint64_t hash = hash_mix(hash_bytes(key.group, g.n), (uint64_t)slice_ns);
	struct rig_row *row = table_find(&c->row_table, hash, same_row, &key);
	if (row)
		return row;
	ck_assert(c->row_count < RIG_ROWS_MAX);
	row = &c->rows[c->row_count++];
	*row = key;
	table_insert(&c->row_table, hash, row);
	return row;
}

static void cloud_merge(struct rig *r, const struct msg *m)
{
	struct batch_reader *reader;
	struct batch_item *it;
	ck_assert_int_eq(batch_reader_open(m->batch.body.p, m->batch.body.n, &reader), 0);
	ck_assert_uint_eq(batch_reader_shard(reader), m->batch.shard);
	ck_assert(batch_reader_seq(reader) == m->batch.seq);
	int rc;
	while ((rc = batch_reader_next(reader, &it)) == 1) {
		const struct batch_stream *bs = batch_reader_stream(reader, it->stream);
		ck_assert_uint_eq(stream_shard(r->topology, bs->name, it->group), m->batch.shard);
		struct rig_row *row = row_of(&r->cloud, bs->name, bs->version, it->slice_start_ns, it->group);
		row->count += it->partial.count;
		row->sum += it->partial.sum + it->partial.sum_c;
		if ((bs->spec.parts & PARTIAL_MINMAX) && it->partial.min < row->min)
			row->min = it->partial.min;
		if ((bs->spec.parts & PARTIAL_MINMAX) && it->partial.max > row->max)
			row->max = it->partial.max;
	}
	ck_assert_int_eq(rc, 0);
	batch_reader_close(reader);
}

/* Apply, by the rules of semantics.md 1.4. */
static enum verdict cloud_apply(struct rig *r, const struct msg *m, uint64_t checksum)
{
	struct rig_shard *s = &r->cloud.shards[m->batch.shard];
	if (m->batch.epoch < s->epoch)
		return VERDICT_FENCED;
	if (m->batch.epoch > s->epoch || !s->open)
		return VERDICT_NOT_OPEN;
	if (m->batch.seq > s->last + 1) {
		r->cloud.out_of_sequence++;
		return VERDICT_OUT_OF_SEQUENCE;
	}
	if (m->batch.seq == s->last && s->checksum != checksum)
		return VERDICT_FENCED;
	if (m->batch.seq <= s->last) {
		r->cloud.duplicates++;
		return VERDICT_DUPLICATE;
	}
	cloud_merge(r, m);
	r->cloud.merged++;
	s->last = m->batch.seq;
	s->checksum = checksum;
	return VERDICT_OK;
}

static void note_body(struct rig_cloud *c, const struct msg *m, uint64_t checksum)
{
	size_t at = m->batch.seq % 64;
	uint32_t shard = m->batch.shard;
	if (c->seen_seq[shard][at] == m->batch.seq && c->seen_checksum[shard][at] != checksum)
		c->checksum_conflict = true;
	c->seen_seq[shard][at] = m->batch.seq;
	c->seen_checksum[shard][at] = checksum;
	if (m->batch.seq > c->highest_seen[shard])
		c->highest_seen[shard] = m->batch.seq;
}

static void cloud_batch(struct rig *r, const struct msg *m)
{
	r->cloud.batches++;
	struct rig_shard *s = &r->cloud.shards[m->batch.shard];
	uint64_t checksum = batch_checksum(m->batch.body.p, m->batch.body.n);
	note_body(&r->cloud, m, checksum);
	struct msg a = {.type = MSG_BATCH_REPLY};
	a.batch_reply.edge = m->batch.edge;
	a.batch_reply.shard = m->batch.shard;
	a.batch_reply.seq = m->batch.seq;
	a.batch_reply.reason = "";
	a.batch_reply.credit_bytes = r->cloud.credit;
	bool refuse = r->cloud.batch_verdict != VERDICT_OK;
	a.batch_reply.verdict = refuse ? r->cloud.batch_verdict : cloud_apply(r, m, checksum);
	a.batch_reply.epoch = s->epoch;
	a.batch_reply.last = s->last;
	if (!r->cloud.lose_batch_replies)
		answer(r, &a, m);
}

static void cloud_report(struct rig *r, const struct msg *m)
{
	struct rig_cloud *c = &r->cloud;
	c->reports++;
	c->report_count = 0;
	c->report_epoch = m->report.epoch;
	c->clock_suspect = m->report.clock_suspect;
	for (size_t i = 0; i < m->report.stream_count && i < sizeof(c->report) / sizeof(c->report[0]); i++) {
		int stream = topology_stream_version_of(r->topology, m->report.streams[i].name, m->report.streams[i].version);
		ck_assert_int_ge(stream, 0);
		c->report[c->report_count] = m->report.streams[i];
		c->report[c->report_count++].name = r->topology->streams[stream].name;
	}
	struct msg a = {.type = MSG_REPORT_REPLY};
	a.report_reply.edge = m->report.edge;
	a.report_reply.verdict = c->report_verdict ? c->report_verdict : m->report.epoch < c->epoch ? VERDICT_FENCED : VERDICT_OK;
	a.report_reply.sent_mono_ns = m->report.sent_mono_ns;
	a.report_reply.epoch = c->epoch;
	a.report_reply.credit_bytes = c->credit;
	a.report_reply.map_version = c->map_told;
	c->map_version_seen = m->report.map_version;
	a.report_reply.reason = "";
	answer(r, &a, m);
}

static void cloud_map(struct rig *r, const struct msg *m)
{
	struct rig_cloud *c = &r->cloud;
	struct msg a = {.type = MSG_MAP_REPLY};
	c->map_asked++;
	a.map_reply.verdict = c->map_verdict;
	a.map_reply.version = c->map_told;
	a.map_reply.reason = "";
	if (c->map && m->map.version < c->map_told)
		a.map_reply.map = bytes_of(c->map, c->map_len);
	answer(r, &a, m);
}

/* ---- io -------------------------------------------------------------------------------------------------------- */

static bool on_send(void *arg, const void *frame, size_t len)
{
	struct rig *r = arg;
	struct msg m;
	if (r->link_down)
		return false;
	if (r->cloud.deaf)
		return true;
	ck_assert_uint_le(len, FRAME_MAX);
	ck_assert_int_eq(msg_decode(frame, len, &m), 0);
	ck_assert_str_eq(m.from, r->topology->edges[0].name);
	switch (m.type) {
	case MSG_HELLO:
		cloud_hello(r, &m);
		break;
	case MSG_OPEN:
		cloud_open(r, &m);
		break;
	case MSG_BATCH:
		cloud_batch(r, &m);
		break;
	case MSG_REPORT:
		cloud_report(r, &m);
		break;
	case MSG_MAP:
		cloud_map(r, &m);
		break;
	default:
		ck_abort_msg("an edge does not send %d", m.type);
	}
	msg_clear(&m);
	return true;
}

static void drop_frames(struct rig *r)
{
	for (size_t i = 0; i < r->queued; i++)
		free(r->queue[i].data);
	r->queued = 0;
}

static void on_connect(void *arg, uint32_t cloud)
{
	struct rig *r = arg;
	ck_assert_uint_lt(cloud, r->topology->cloud_count);
	r->connects++;
	r->connected = cloud;
	drop_frames(r);
}

static void on_pause(void *arg, bool paused)
{
	struct rig *r = arg;
	ck_assert(paused != r->paused);
	r->paused = paused;
}

static void on_mark(void *arg, uint32_t source, struct buf *out)
{
	struct rig *r = arg;
	if (!r->no_marks)
		buf_varint(out, r->position[source]);
}

static void on_committed(void *arg)
{
	struct rig *r = arg;
	r->commits_told++;
}

static void on_skip(void *arg)
{
	struct rig *r = arg;
	r->skips++;
	for (size_t i = 0; i < RIG_SOURCES_MAX; i++)
		r->position[i] = 1000000; /* the end, wherever that is */
}

static void on_line(void *arg, const struct line *l)
{
	struct rig *r = arg;
	pipeline_line(r->p, r->feeding, l, rig_now(r));
	r->position[r->feeding]++;
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)number;
	(void)column;
	(void)text;
	struct rig *r = arg;
	pipeline_refuse(r->p, r->feeding, line_error_label(e));
	r->position[r->feeding]++;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

struct pipeline_time rig_now(const struct rig *r)
{
	return (struct pipeline_time){RIG_WALL_NS + r->now_ns + r->wall_offset_ns, r->now_ns};
}

void rig_topology(struct rig *r, const char *yaml)
{
	struct buf errors = {0};
	topology_free(r->topology);
	r->topology = NULL;
	if (topology_parse("rig.yaml", yaml, strlen(yaml), &r->topology, &errors) < 0)
		ck_abort_msg("%s", buf_cstr(&errors));
	buf_free(&errors);
}

static void open_kv(struct rig *r)
{
	char *why = NULL;
	struct kv_lmdb_options o = {r->folder, spool_db_names, SPOOL_DBS, UINT64_C(1) << 30, false};
	ck_assert_msg(kv_lmdb_open(&o, &r->kv, &why) == 0, "%s", why);
	r->real_ops = r->kv->ops;
	r->ops = *r->kv->ops;
	r->ops.commit = faulty_commit;
	r->ops.put = faulty_put;
	r->kv->ops = &r->ops;
	faulty = r;
}

struct topology *rig_versions(const char *yaml, void (*set)(void *arg, struct topology *t), void *arg)
{
	struct buf errors = {0};
	struct topology *t = NULL;
	if (topology_parse("rig.yaml", yaml, strlen(yaml), &t, &errors) < 0)
		ck_abort_msg("%s", buf_cstr(&errors));
	buf_free(&errors);
	for (size_t i = 0; i < t->stream_count; i++) {
		char *suffix = strstr(t->streams[i].name, "__");
		if (suffix) {
			t->streams[i].version = (uint32_t)strtoul(suffix + 2, NULL, 10);
			*suffix = 0;
		}
	}
	if (set)
		set(arg, t);
	return t;
}

static struct pipeline_io rig_io(struct rig *r)
{
	return (struct pipeline_io){r, on_send, on_connect, on_pause, on_mark, on_committed, on_skip};
}

int rig_adopt(struct rig *r, struct topology *t, struct bytes map)
{
	struct topology *old = r->topology;
	const struct edge_conf *was = &old->edges[0], *now = &t->edges[0];
	uint32_t from[RIG_SOURCES_MAX];
	uint64_t position[RIG_SOURCES_MAX] = {0};
	int rc = pipeline_store_map(r->p, map, rig_now(r));
	if (rc) {
		topology_free(t);
		return rc;
	}
	for (size_t i = 0; i < now->source_count; i++) {
		from[i] = UINT32_MAX;
		for (uint32_t k = 0; k < was->source_count; k++)
			if (strcmp(was->sources[k].name, now->sources[i].name) == 0)
				from[i] = k;
		if (from[i] != UINT32_MAX)
			position[i] = r->position[from[i]];
	}
	struct pipeline_io io = rig_io(r);
	struct pipeline_kept *kept = pipeline_keep(r->p);
	char *why = NULL;
	r->p = NULL;
	r->topology = t;
	rc = pipeline_reopen(t, 0, r->kv, &io, kept, from, rig_now(r), &r->p, &why);
	ck_assert_msg(rc == 0, "%s", why);
	ck_assert(pipeline_paused(r->p) == r->paused);
	memcpy(r->position, position, sizeof(position));
	/* names in the last report are those of the topology that goes */
	r->cloud.report_count = 0;
	if (!r->keeps_topologies)
		topology_free(old);
	return 0;
}

int rig_open(struct rig *r)
{
	struct pipeline_io io = rig_io(r);
	char *why = NULL;
	r->random[0]++;
	int rc = pipeline_open(r->topology, 0, r->kv, &io, r->random, rig_now(r), &r->p, &why);
	free(why);
	if (rc < 0)
		return rc;
	r->paused = false;
	struct line_callbacks cb = {r, on_line, on_error};
	for (uint32_t i = 0; i < RIG_SOURCES_MAX; i++)
		line_parser_init(&r->parsers[i], &cb, NS_PER_SEC, true);
	for (uint32_t i = 0; i < r->topology->edges[0].source_count; i++) {
		struct bytes mark = pipeline_source_mark(r->p, i);
		struct rd rd = rd_init(mark.p, mark.n);
		r->position[i] = mark.n ? rd_varint(&rd) : 0;
	}
	return 0;
}

void rig_crash(struct rig *r)
{
	pipeline_close(r->p);
	r->p = NULL;
	for (uint32_t i = 0; i < RIG_SOURCES_MAX; i++)
		line_parser_free(&r->parsers[i]);
	drop_frames(r);
}

struct rig *rig_new(const char *yaml)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");
	r->folder = xasprintf("%s/weir-rig-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(r->folder));
	r->now_ns = NS_PER_SEC;
	r->fail_commit = -1;
	r->cloud.credit = 1024 * 1024;
	r->cloud.rows = xcalloc(RIG_ROWS_MAX, sizeof(r->cloud.rows[0]));
	memset(r->cloud.id, 7, sizeof(r->cloud.id));
	memset(r->random, 3, sizeof(r->random));
	rig_topology(r, yaml);
	open_kv(r);
	ck_assert_int_eq(rig_open(r), 0);
	return r;
}

static void copy_file(const char *folder, const char *from, const char *to)
{
	char *a = xasprintf("%s/%s", folder, from), *b = xasprintf("%s/%s", folder, to);
	FILE *in = fopen(a, "rb"), *out = fopen(b, "wb");
	ck_assert(in && out);
	static char chunk[65536];
	for (size_t n; (n = fread(chunk, 1, sizeof(chunk), in)) > 0;)
		ck_assert(fwrite(chunk, 1, n, out) == n);
	ck_assert(fclose(in) == 0 && fclose(out) == 0);
	free(a);
	free(b);
}

static void close_kv(struct rig *r)
{
	r->kv->ops = r->real_ops;
	kv_close(r->kv);
}

void rig_backup(struct rig *r)
{
	ck_assert_ptr_null(r->p);
	close_kv(r);
	copy_file(r->folder, "data.mdb", "backup");
	open_kv(r);
}

void rig_restore(struct rig *r)
{
	ck_assert_ptr_null(r->p);
	close_kv(r);
	copy_file(r->folder, "backup", "data.mdb");
	open_kv(r);
}

void rig_spoil(struct rig *r, enum spool_db db, struct bytes key)
{
	struct kv_txn *txn;
	struct bytes value;
	uint8_t *room;
	ck_assert_int_eq(kv_begin(r->kv, true, &txn), 0);
	ck_assert_int_eq(kv_get(txn, db, key, &value), 0);
	ck_assert_int_eq(r->real_ops->put(txn, db, key, 40, false, &room), 0);
	memset(room, 1, 40);
	ck_assert_int_eq(r->real_ops->commit(txn), 0);
}

void rig_damage(struct rig *r, enum spool_db db, size_t n)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value, mark;
	uint8_t copy[KV_KEY_MAX];
	ck_assert_int_eq(kv_begin(r->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, db, &c), 0);
	ck_assert_int_eq(kv_cursor_first(c, &key, &value), 0);
	for (bool is_copy; (is_copy = db == SPOOL_STEP && spool_is_copy(key, &mark)) || n; n -= !is_copy)
		ck_assert_int_eq(kv_cursor_next(c, &key, &value), 0);
	memcpy(copy, key.p, key.n);
	key.p = copy;
	kv_cursor_close(c);
	kv_abort(txn);
	rig_spoil(r, db, key);
}

void rig_offline(struct rig *r, void (*damage)(struct rig *r, unsigned n), unsigned n, struct salvage_report *ret)
{
	char *why = NULL;
	struct kv_lmdb_options o = {r->folder, spool_db_names, SPOOL_DBS, UINT64_C(1) << 30, false};
	ck_assert_ptr_null(r->p);
	close_kv(r);
	damage(r, n);
	int rc = salvage_spool(&o, NULL, ret, &why);
	ck_assert_msg(rc == 0, "%s", why);
	open_kv(r);
}

static void remove_folder(const char *path)
{
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		char *name = xasprintf("%s/%s", path, e->d_name);
		unlink(name);
		free(name);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

void rig_free(struct rig *r)
{
	if (r->p)
		rig_crash(r);
	close_kv(r);
	topology_free(r->topology);
	remove_folder(r->folder);
	free(r->folder);
	free(r->cloud.rows);
	table_free(&r->cloud.row_table);
	free(r);
}

/* ---- doing ----------------------------------------------------------------------------------------------------- */

void rig_lines(struct rig *r, uint32_t source, const char *text)
{
	r->feeding = source;
	line_parser_feed(&r->parsers[source], text, strlen(text));
}

int64_t rig_base_ns(void)
{
	return RIG_WALL_NS - 24 * 3600 * NS_PER_SEC;
}

void rig_line_at(struct rig *r, uint32_t source, const char *format, int64_t second)
{
	char text[512];
	snprintf(text, sizeof(text), format, (long long)(rig_base_ns() / NS_PER_SEC + second));
	rig_lines(r, source, text);
}

void rig_drain(struct rig *r)
{
	for (int i = 0; i < 600 && !pipeline_drained(r->p); i++)
		ck_assert_int_eq(rig_tick(r, 1000), 0);
	ck_assert(pipeline_drained(r->p));
	ck_assert_int_eq(rig_tick(r, 1000), 0);
}

void rig_deliver(struct rig *r)
{
	/* Answers lead to further frames, and those to further answers. */
	for (size_t i = 0; i < r->queued; i++) {
		struct rig_frame f = r->queue[i];
		r->queue[i].data = NULL;
		pipeline_frame(r->p, f.data, f.len, rig_now(r));
		free(f.data);
	}
	r->queued = 0;
}

int rig_tick(struct rig *r, int64_t ms)
{
	r->now_ns += ms * NS_PER_MS;
	int rc = pipeline_tick(r->p, rig_now(r));
	if (rc < 0)
		return rc;
	rig_deliver(r);
	for (unsigned i = 0; i < 1000 && pipeline_wants_tick(r->p); i++) {
		rc = pipeline_tick(r->p, rig_now(r));
		if (rc < 0)
			return rc;
		rig_deliver(r);
	}
	rig_check_ledger(r);
	return 0;
}

int rig_ticks(struct rig *r, unsigned n, int64_t ms)
{
	int rc = 0;
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = rig_tick(r, ms);
	return rc;
}

void rig_send(struct rig *r, const struct msg *m)
{
	struct buf b = {0};
	ck_assert_int_eq(msg_encode(m, &b), 0);
	pipeline_frame(r->p, b.data, b.len, rig_now(r));
	buf_free(&b);
}

void rig_send_raw(struct rig *r, const void *data, size_t len)
{
	pipeline_frame(r->p, data, len, rig_now(r));
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

struct pipeline_ledger rig_ledger(const struct rig *r)
{
	struct pipeline_ledger l;
	pipeline_ledger(r->p, &l);
	return l;
}

void rig_check_ledger(const struct rig *r)
{
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.matched, l.aggregated + l.dropped);
	ck_assert_uint_ge(l.accepted, l.unmatched);
}

uint64_t rig_merged(const struct rig *r, const char *stream)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < r->cloud.row_count; i++)
		if (strcmp(r->cloud.rows[i].stream, stream) == 0)
			sum += r->cloud.rows[i].count;
	return sum;
}

static const struct rig_row *find_row(const struct rig *r, const char *stream, const uint32_t *version, int64_t slice_ns,
    const char *group_value)
{
	struct buf g = {0};
	buf_str(&g, group_value);
	const struct rig_row *found = NULL;
	for (size_t i = 0; i < r->cloud.row_count; i++) {
		const struct rig_row *row = &r->cloud.rows[i];
		if (strcmp(row->stream, stream) == 0 && (!version || row->version == *version) && row->slice_ns == slice_ns && row->group_len == g.len &&
		    memcmp(row->group, g.data, g.len) == 0)
			found = row;
	}
	buf_free(&g);
	return found;
}

const struct rig_row *rig_row(const struct rig *r, const char *stream, int64_t slice_ns, const char *group_value)
{
	return find_row(r, stream, NULL, slice_ns, group_value);
}

const struct rig_row *rig_row_of(const struct rig *r, const char *stream, uint32_t version, int64_t slice_ns, const char *group_value)
{
	return find_row(r, stream, &version, slice_ns, group_value);
}

const struct msg_report_stream *rig_report_of(const struct rig *r, const char *stream, uint32_t version)
{
	for (size_t i = 0; i < r->cloud.report_count; i++)
		if (strcmp(r->cloud.report[i].name, stream) == 0 && r->cloud.report[i].version == version)
			return &r->cloud.report[i];
	return NULL;
}

const struct msg_report_stream *rig_report(const struct rig *r, const char *stream)
{
	for (size_t i = 0; i < r->cloud.report_count; i++)
		if (strcmp(r->cloud.report[i].name, stream) == 0)
			return &r->cloud.report[i];
	return NULL;
}

double rig_metric(const struct rig *r, const char *sample)
{
	struct buf b = {0};
	double v = 0;
	pipeline_metrics(r->p, &b);
	const char *text = buf_cstr(&b);
	size_t n = strlen(sample);
	const char *at = text;
	while (at && !(strncmp(at, sample, n) == 0 && at[n] == ' ')) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	ck_assert_msg(at != NULL, "no sample %s", sample);
	v = strtod(at + n, NULL);
	buf_free(&b);
	return v;
}

size_t rig_records(struct rig *r, enum spool_db db)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(r->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, db, &c), 0);
	struct bytes mark;
	for (int rc = kv_cursor_first(c, &key, &value); rc == 0; rc = kv_cursor_next(c, &key, &value))
		n += !(db == SPOOL_STEP && spool_is_copy(key, &mark));
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

void rig_seqs(struct rig *r, uint32_t shard, uint64_t *ret_low, uint64_t *ret_high, size_t *ret_count)
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	*ret_low = *ret_high = 0;
	*ret_count = 0;
	ck_assert_int_eq(kv_begin(r->kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, SPOOL_BATCH, &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); rc == 0; rc = kv_cursor_next(c, &key, &value)) {
		struct rd k = rd_init(key.p, key.n);
		if (rd_be16(&k) != shard)
			continue;
		uint64_t seq = rd_be64(&k);
		if (!*ret_low)
			*ret_low = seq;
		*ret_high = seq;
		++*ret_count;
	}
	kv_cursor_close(c);
	kv_abort(txn);
}
