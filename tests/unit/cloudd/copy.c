#include "tests/unit/cloudd/copy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/err.h"

/* ---- files in memory --------------------------------------------------------------------------------------- */

struct file {
	struct copy_files *all;
	struct buf bytes;
};

static int file_create(void *arg, void **ret_file)
{
	struct copy_files *f = arg;
	if (f->fail_create)
		return f->fail_create;
	struct file *file = xcalloc(1, sizeof(*file));
	file->all = f;
	f->open++;
	f->made++;
	*ret_file = file;
	return 0;
}

static int file_append(void *arg, const void *p, size_t n)
{
	struct file *file = arg;
	if (file->all->on_append)
		file->all->on_append();
	if (file->all->fail_append && !file->all->appends_left--)
		return file->all->fail_append;
	buf_put(&file->bytes, p, n);
	return 0;
}

static int file_read(void *arg, uint64_t offset, void *p, size_t n)
{
	struct file *file = arg;
	if (file->all->fail_read)
		return file->all->fail_read;
	ck_assert(offset + n <= file->bytes.len);
	memcpy(p, file->bytes.data + offset, n);
	return 0;
}

static void file_close(void *arg)
{
	struct file *file = arg;
	file->all->open--;
	buf_free(&file->bytes);
	free(file);
}

struct snapshot_files copy_files(struct copy_files *f)
{
	return (struct snapshot_files){f, file_create, file_append, file_read, file_close};
}

/* ---- states -------------------------------------------------------------------------------------------------- */

static void send_groups(struct kit *k, unsigned from, unsigned to, int64_t t_ns, const char *stream)
{
	for (unsigned i = from; i < to;) {
		struct kit_batch b = kit_batch(k);
		for (unsigned n = 0; i < to && n < 500; i++, n++) {
			char name[24];
			snprintf(name, sizeof(name), "group-%05u", i);
			kit_add(&b, stream, kit_group(1, name), t_ns, (double)i);
		}
		kit_send(k, &b);
	}
}

void copy_fill_shard(struct kit *k, unsigned round, unsigned groups)
{
	int64_t start = (int64_t)(round + 1) * 100 * SEC;
	const struct entry_edge edges[] = {
	    {bytes_of("e1", 2), EDGE_LIVE, start + 20 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0},
	    {bytes_of("e2", 2), round % 2 ? EDGE_IDLE : EDGE_PARTITIONED, start, WATERMARK_NONE, WATERMARK_NONE, false, 0}};
	send_groups(k, 0, groups, start + SEC, "s");
	send_groups(k, 0, 2, start + SEC, "t");
	kit_advance(k, "s", start + 20 * SEC, start, edges, 2);
	kit_sweep_all(k);
	send_groups(k, 0, 3, start + 2 * SEC, "s"); /* late: dirty, and a revision with the next sweep */
	kit_sweep_all(k);
	send_groups(k, 1, 2, start + 3 * SEC, "s");
}

static void close_stream(struct kit *k, const char *stream, int64_t close_ns, const struct entry_edge *edges, uint32_t count)
{
	struct entry_close c = {bytes_of(stream, 1), kit_stream(k, stream)->version, close_ns, close_ns - 5 * SEC, count, count,
	    (struct entry_edge *)(uintptr_t)edges};
	struct entry e = {.kind = ENTRY_CLOSE, .closes = {1, &c}};
	ck_assert_int_eq(kit_verdict(k, 0, &e), VERDICT_OK);
}

void copy_fill_meta(struct kit *k, unsigned round, unsigned count)
{
	uint8_t id[CLUSTER_ID_BYTES];
	memset(id, (int)round + 1, sizeof(id));
	struct entry e = {.kind = ENTRY_CREATE, .create = {bytes_of(id, sizeof(id))}};
	kit_verdict(k, 0, &e); /* the first only */
	e = (struct entry){.kind = ENTRY_CLAIM, .claim = {bytes_of("e1", 2), 0, bytes_of(id, sizeof(id)), true}};
	kit_verdict(k, 0, &e);
	struct entry_edge *edges = xcalloc(count, sizeof(*edges));
	char (*names)[32] = xcalloc(count, sizeof(*names));
	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "an-edge-far-away-%05u", i);
		edges[i] = (struct entry_edge){bytes_of(names[i], strlen(names[i])), EDGE_IDLE, (int64_t)round * SEC,
		    (int64_t)round * SEC, WATERMARK_NONE, false, 0};
	}
	close_stream(k, "s", (int64_t)(round + 1) * 100 * SEC, edges, count);
	close_stream(k, "t", (int64_t)(round + 1) * 100 * SEC, edges, 1);
	e = (struct entry){.kind = ENTRY_TAKEN, .taken = {0, META_INDEX(k->index[0] - 1, 0)}};
	ck_assert_int_eq(kit_verdict(k, 0, &e), VERDICT_OK);
	free(names);
	free(edges);
}

void copy_check_tables(struct kit *k)
{
	for (const char *t = "SsepgcwidroCEWQT"; *t; t++)
		ck_assert_msg(kit_count(k, *t >= 'S' && *t != 'W' && *t != 'T' ? COPY_SHARD : 0, (enum state_table)*t) > 0,
		    "no record in table %c", *t);
}

void copy_noop(struct kit *k, uint32_t group)
{
	struct apply_result res;
	ck_assert_int_eq(apply_noop(k->a, group, ++k->index[group], 1, &res), 0);
	ck_assert_int_eq(res.kind, ENTRY_NOOP);
	ck_assert(res.group == group && res.index == k->index[group]);
}

void copy_config(struct kit *k, uint32_t group, const char *config)
{
	struct apply_result res;
	ck_assert_int_eq(apply_config(k->a, group, ++k->index[group], 1, bytes_of(config, strlen(config)), &res), 0);
	ck_assert_int_eq(res.kind, ENTRY_CONFIG);
	ck_assert(res.group == group && res.index == k->index[group]);
}

/* ---- copies -------------------------------------------------------------------------------------------------- */

struct msg copy_ask(struct snapshots *ss, uint32_t group, uint64_t id, uint64_t chunk, int64_t mono_ns, struct buf *body)
{
	struct msg m = {.type = MSG_SNAPSHOT}, reply = {0};
	m.snapshot.group = group;
	m.snapshot.id = id;
	m.snapshot.chunk = chunk;
	snapshots_serve(ss, &m, mono_ns, body, &reply);
	ck_assert_msg(reply.snapshot_reply.verdict == VERDICT_OK, "%s", reply.snapshot_reply.reason);
	ck_assert_int_eq(reply.type, MSG_SNAPSHOT_REPLY);
	struct bytes records = reply.snapshot_reply.records;
	ck_assert(reply.snapshot_reply.group == group && reply.snapshot_reply.chunk == chunk);
	ck_assert(reply.snapshot_reply.id && (!id || reply.snapshot_reply.id == id));
	ck_assert_uint_le(records.n, SNAPSHOT_CHUNK_MAX);
	ck_assert(XXH3_64bits(records.p, records.n) == reply.snapshot_reply.checksum);
	struct buf frame = {0};
	ck_assert_int_eq(msg_encode(&reply, &frame), 0); /* it fits */
	buf_free(&frame);
	return reply;
}

struct snapshot_head copy_head(const struct msg *reply)
{
	return (struct snapshot_head){.index = reply->snapshot_reply.index, .term = reply->snapshot_reply.term,
	    .config = reply->snapshot_reply.config, .digest_hi = reply->snapshot_reply.digest_hi,
	    .digest_lo = reply->snapshot_reply.digest_lo, .meta_index = reply->snapshot_reply.meta_index,
	    .skipped = reply->snapshot_reply.skipped};
}

size_t copy_all(struct snapshots *ss, uint32_t group, struct buf chunks[64], struct buf *config,
    struct snapshot_head *ret_head)
{
	uint64_t id = 0, bytes = 0;
	for (size_t i = 0; i < 64; i++) {
		struct buf body = {0};
		struct msg r = copy_ask(ss, group, id, i, 0, &body);
		id = r.snapshot_reply.id;
		chunks[i] = (struct buf){0};
		buf_put(&chunks[i], r.snapshot_reply.records.p, r.snapshot_reply.records.n);
		bytes += r.snapshot_reply.records.n;
		if (i == 0) {
			*ret_head = copy_head(&r);
			buf_clear(config);
			buf_put(config, ret_head->config.p, ret_head->config.n);
			ret_head->config.p = config->data;
		}
		buf_free(&body);
		if (r.snapshot_reply.last) {
			ck_assert(bytes == r.snapshot_reply.total_bytes);
			return i + 1;
		}
	}
	ck_abort_msg("too many chunks");
}

void copy_check_same(struct kit *a, struct kit *b, uint32_t group)
{
	struct buf da = kit_dump(a, group), db = kit_dump(b, group);
	ck_assert(da.len == db.len && !memcmp(da.data, db.data, da.len));
	buf_free(&da);
	buf_free(&db);
}
