/* Snapshots: chunks of a group's state, and a replica's state made of them. */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloudd/result.h"
#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/cloudd/copy.h"

#define CHUNKS 64
/* Chunks are 8 KiB here (module.am), so that little is much. */
#define MANY 600  /* groups: a shard of several chunks */
#define EDGES 400 /* a record of two chunks */

static struct kit from, to;
static struct copy_files files;
static struct snapshots *ss;

static void serve_from(struct kit *k)
{
	struct snapshot_files f = copy_files(&files);
	snapshots_free(ss);
	ss = snapshots_new(k->kv, &f);
}

static void setup(void)
{
	files = (struct copy_files){0};
	kit_init(&from, 2, COPY_STREAMS);
	kit_init(&to, 2, COPY_STREAMS);
	serve_from(&from);
}

static void teardown(void)
{
	snapshots_free(ss);
	ss = NULL;
	ck_assert_uint_eq(files.open, 0);
	kit_close(&from);
	kit_close(&to);
}

struct whole {
	uint32_t group;
	struct buf chunks[CHUNKS], config;
	size_t count;
	struct snapshot_head head;
};

static void take(struct whole *w, uint32_t group)
{
	*w = (struct whole){.group = group};
	w->count = copy_all(ss, group, w->chunks, &w->config, &w->head);
}

static void drop(struct whole *w)
{
	for (size_t i = 0; i < w->count; i++)
		buf_free(&w->chunks[i]);
	buf_free(&w->config);
}

/* Both groups, filled, committed; the shard with several chunks, the meta group with a record that needs two. */
static void fill(void)
{
	copy_config(&from, 0, "meta's");
	copy_fill_meta(&from, 0, EDGES);
	copy_config(&from, COPY_SHARD, "the shard's");
	copy_fill_shard(&from, 0, MANY);
	copy_fill_shard(&from, 1, 50);
	copy_check_tables(&from);
}

static void put_chunk(const struct whole *w, size_t i)
{
	ck_assert_int_eq(apply_snapshot_records(to.a, w->group, bytes_of(w->chunks[i].data, w->chunks[i].len)), 0);
}

static void install(const struct whole *w)
{
	ck_assert_int_eq(apply_snapshot_begin(to.a, w->group), 0);
	kit_commit(&to);
	for (size_t i = 0; i < w->count; i++) {
		put_chunk(w, i);
		if (i % 2)
			kit_commit(&to);
	}
	ck_assert_int_eq(apply_snapshot_end(to.a, w->group, &w->head), 0);
	kit_commit(&to);
	to.index[w->group] = w->head.index;
}

/* ---- whole copies -------------------------------------------------------------------------------------------- */

START_TEST(a_copy_is_the_same_and_goes_on_the_same)
{
	fill();
	for (uint32_t group = 0; group <= COPY_SHARD; group++) {
		struct whole w;
		take(&w, group);
		ck_assert_uint_gt(w.count, 1);
		if (group) { /* what was there goes */
			copy_fill_shard(&to, 3, 7);
			copy_noop(&to, group);
		}
		install(&w);
		copy_check_same(&from, &to, group);
		uint64_t term;
		struct bytes config;
		bool is_void;
		ck_assert(apply_applied(to.a, group, &term) == from.index[group] && term == 1);
		apply_group_start(to.a, group, &config, &is_void);
		ck_assert(!is_void && config.n == w.config.len && !memcmp(config.p, w.config.data, config.n));
		drop(&w);
	}
	to.seq = from.seq;
	to.meta_index = from.meta_index;
	kit_reopen(&to);
	struct kit *const both[] = {&from, &to};
	for (size_t i = 0; i < 2; i++) {
		copy_fill_shard(both[i], 2, 100);
		copy_fill_meta(both[i], 1, 10);
	}
	copy_check_same(&from, &to, 0);
	copy_check_same(&from, &to, COPY_SHARD);
	struct rows_spec spec = kit_spec(&to, "s");
	struct kit_rows a = kit_query(&from, &spec), b = kit_query(&to, &spec);
	ck_assert(a.count == b.count && a.count > 0);
	kit_rows_clear(&a);
	kit_rows_clear(&b);
}
END_TEST

START_TEST(a_state_without_records_is_copied)
{
	struct whole w;
	copy_noop(&from, 2);
	copy_config(&from, 2, "c");
	kit_commit(&from);
	take(&w, 2);
	ck_assert(w.count == 1 && !w.chunks[0].len && w.head.index == 2);
	install(&w);
	copy_check_same(&from, &to, 2);
	drop(&w);
}
END_TEST

START_TEST(a_snapshot_stays_as_it_was_while_entries_go_on)
{
	fill();
	struct buf before = kit_dump(&from, COPY_SHARD), body = {0};
	uint64_t index = from.index[COPY_SHARD];
	struct msg r = copy_ask(ss, COPY_SHARD, 0, 0, 0, &body);
	uint64_t id = r.snapshot_reply.id;
	ck_assert_int_eq(apply_snapshot_begin(to.a, COPY_SHARD), 0);
	for (uint64_t i = 0;; i++) {
		copy_fill_shard(&from, 4 + (unsigned)i, 30);
		kit_commit(&from);
		buf_clear(&body);
		r = copy_ask(ss, COPY_SHARD, id, i, 0, &body);
		ck_assert(r.snapshot_reply.index == index);
		ck_assert_int_eq(apply_snapshot_records(to.a, COPY_SHARD, r.snapshot_reply.records), 0);
		if (r.snapshot_reply.last)
			break;
	}
	struct snapshot_head head = copy_head(&r);
	ck_assert_int_eq(apply_snapshot_end(to.a, COPY_SHARD, &head), 0);
	to.index[COPY_SHARD] = index;
	struct buf after = kit_dump(&to, COPY_SHARD);
	ck_assert(before.len == after.len && !memcmp(before.data, after.data, after.len));
	buf_free(&before);
	buf_free(&after);
	buf_free(&body);
}
END_TEST

START_TEST(which_replica_serves_does_not_matter)
{
	fill();
	struct whole a, b;
	struct buf body = {0};
	uint64_t ids[2];
	take(&a, COPY_SHARD);
	ids[0] = copy_ask(ss, COPY_SHARD, 0, 0, 0, &body).snapshot_reply.id;
	install(&a);
	serve_from(&to);
	take(&b, COPY_SHARD);
	ids[1] = copy_ask(ss, COPY_SHARD, ids[0], 1, 0, &body).snapshot_reply.id; /* a fetch from the first goes on here */
	ck_assert(ids[0] == ids[1] && a.count == b.count);
	for (size_t i = 0; i < a.count; i++)
		ck_assert(a.chunks[i].len == b.chunks[i].len && !memcmp(a.chunks[i].data, b.chunks[i].data, a.chunks[i].len));
	buf_free(&body);
	drop(&a);
	drop(&b);
}
END_TEST

/* ---- void ------------------------------------------------------------------------------------------------------ */

static void ignore_counts(void *arg, const struct shard_stream_counts *c)
{
	(void)arg;
	(void)c;
}

static bool ignore_advance(void *arg, uint64_t meta_index, struct bytes entry)
{
	(void)arg;
	(void)meta_index;
	(void)entry;
	return true;
}

static void check_readers(struct kit *k, int want)
{
	struct kv_txn *txn;
	struct meta_state m;
	struct buf out = {0};
	struct rows_spec spec = kit_spec(k, "s");
	bool more, reset;
	uint64_t index = 0;
	uint32_t n = 0;
	ck_assert_int_eq(kv_begin(k->kv, false, &txn), 0);
	int rc = meta_read(txn, &m);
	ck_assert_int_eq(rc, want);
	if (!rc)
		meta_state_clear(&m);
	ck_assert_int_eq(meta_read_advances(txn, 0, 0, ignore_advance, NULL), want);
	ck_assert_int_eq(shard_read_counts(txn, COPY_SHARD, ignore_counts, NULL), want);
	ck_assert_int_eq(result_query(k->t, txn, 0, kit_stream(k, "s"), &spec, INT64_MAX, &out, &more), want);
	ck_assert_int_eq(result_outbox(k->t, txn, 0, kit_stream(k, "s"), &index, &n, 10, &out, &reset, NULL), want);
	struct apply_group_info info;
	ck_assert_int_eq(apply_read_group(txn, COPY_SHARD, &info), 0);
	ck_assert_int_eq(info.is_void, want != 0);
	kv_abort(txn);
	buf_free(&out);
}

START_TEST(nobody_reads_a_void_group)
{
	fill();
	check_readers(&from, 0);
	ck_assert_int_eq(apply_snapshot_begin(from.a, 0), 0);
	ck_assert_int_eq(apply_snapshot_begin(from.a, COPY_SHARD), 0);
	check_readers(&from, 0); /* not yet committed */
	kit_commit(&from);
	check_readers(&from, WEIR_EBUSY);
}
END_TEST

/* A crash, or an abort, after each step: void it stays, and copied again it is whole. */
START_TEST(void_until_the_end)
{
	fill();
	copy_fill_shard(&to, 0, 20);
	kit_commit(&to);
	struct whole w;
	take(&w, COPY_SHARD);
	for (size_t steps = 0; steps <= w.count; steps++) {
		ck_assert_int_eq(apply_snapshot_begin(to.a, COPY_SHARD), 0);
		for (size_t i = 0; i < steps; i++)
			put_chunk(&w, i);
		kit_commit(&to);
		if (steps < w.count)
			put_chunk(&w, steps); /* lost */
		else
			ck_assert_int_eq(apply_snapshot_end(to.a, COPY_SHARD, &w.head), 0);
		if (steps % 2)
			apply_abort(to.a);
		else
			kit_reopen(&to);
		struct bytes config;
		bool is_void;
		apply_group_start(to.a, COPY_SHARD, &config, &is_void);
		ck_assert(is_void && !config.n && !apply_applied(to.a, COPY_SHARD, NULL));
		/* going on without what was lost does not pass */
		for (size_t i = steps + 1; i < w.count; i++)
			put_chunk(&w, i);
		if (steps < w.count)
			ck_assert_int_eq(apply_snapshot_end(to.a, COPY_SHARD, &w.head), WEIR_ECORRUPT);
		kit_commit(&to);
	}
	install(&w);
	copy_check_same(&from, &to, COPY_SHARD);
	/* the beginning was lost: nothing was begun */
	ck_assert_int_eq(apply_snapshot_begin(to.a, COPY_SHARD), 0);
	apply_abort(to.a);
	ck_assert_int_eq(apply_snapshot_records(to.a, COPY_SHARD, bytes_of(w.chunks[0].data, w.chunks[0].len)), WEIR_ECORRUPT);
	ck_assert_int_eq(apply_snapshot_end(to.a, COPY_SHARD, &w.head), WEIR_ECORRUPT);
	copy_check_same(&from, &to, COPY_SHARD);
	drop(&w);
}
END_TEST

/* ---- wrong bytes ----------------------------------------------------------------------------------------------- */

/* Applies them in this order; true: it was taken for whole. */
static bool passes(const struct whole *w, const size_t *order, size_t count)
{
	ck_assert_int_eq(apply_snapshot_begin(to.a, w->group), 0);
	int rc = 0;
	for (size_t i = 0; i < count && !rc; i++) {
		const struct buf *c = &w->chunks[order[i]];
		rc = apply_snapshot_records(to.a, w->group, bytes_of(c->data, c->len));
	}
	if (!rc)
		rc = apply_snapshot_end(to.a, w->group, &w->head);
	ck_assert(!rc || rc == WEIR_ECORRUPT);
	kit_commit(&to);
	bool is_void;
	struct bytes config;
	apply_group_start(to.a, w->group, &config, &is_void);
	ck_assert(is_void == (rc != 0));
	return !rc;
}

START_TEST(lost_doubled_and_damaged_chunks_do_not_pass)
{
	fill();
	for (uint32_t group = 0; group <= COPY_SHARD; group++) {
		struct whole w;
		take(&w, group);
		size_t order[CHUNKS + 1], n;
		for (size_t lost = 0; lost < w.count; lost++) {
			n = 0;
			for (size_t i = 0; i < w.count; i++) {
				order[n] = i;
				n += i != lost;
			}
			ck_assert(!passes(&w, order, n));
		}
		for (size_t i = 0; i < w.count; i++) { /* each of its bytes would do; some of them */
			for (size_t j = 0; j < w.count; j++)
				order[j] = j;
			struct buf *c = &w.chunks[i];
			for (size_t at = 0; at < c->len; at += c->len / 5 + 1) {
				c->data[at] ^= 0x10;
				ck_assert(!passes(&w, order, w.count));
				c->data[at] ^= 0x10;
			}
			c->len--;
			ck_assert(!passes(&w, order, w.count));
			c->len++;
		}
		struct snapshot_head good = w.head; /* the head is checked too */
		w.head.digest_lo++;
		ck_assert(!passes(&w, order, w.count));
		w.head = good;
		w.head.index = 0;
		ck_assert(!passes(&w, order, w.count));
		w.head = good;
		w.head.config.n = SNAPSHOT_CONFIG_MAX + 1;
		ck_assert(!passes(&w, order, w.count));
		w.head = good;
		ck_assert(passes(&w, order, w.count));
		to.index[group] = w.head.index;
		copy_check_same(&from, &to, group);
		drop(&w);
	}
}
END_TEST

static int count_record(void *arg, struct bytes key, struct bytes value, bool more)
{
	(void)value;
	(void)more;
	ck_assert(key.n >= 1 && key.n <= KV_KEY_MAX);
	++*(unsigned *)arg;
	return 0;
}

static int stop(void *arg, struct bytes key, struct bytes value, bool more)
{
	count_record(arg, key, value, more);
	return WEIR_EFULL;
}

static int records_of(const char *p, size_t n, unsigned *ret_count)
{
	uint8_t *exact = malloc(n ? n : 1);
	memcpy(exact, p, n);
	*ret_count = 0;
	int rc = snapshot_records(bytes_of(exact, n), count_record, ret_count);
	free(exact);
	return rc;
}

START_TEST(records_are_read_with_care)
{
	unsigned n;
	ck_assert(!records_of("", 0, &n) && n == 0);
	ck_assert(!records_of("\x02k\x01v\x05kk\x00", 8, &n) && n == 2);
	ck_assert_int_eq(records_of("\x02k\x01", 3, &n), WEIR_ECORRUPT);
	ck_assert_int_eq(records_of("\x00\x01v", 3, &n), WEIR_ECORRUPT); /* no key */
	ck_assert_int_eq(records_of("\x04k", 2, &n), WEIR_ECORRUPT);
	ck_assert_int_eq(records_of("\x80\x80\x01k", 4, &n), WEIR_ECORRUPT); /* too long a key */
	ck_assert_int_eq(records_of("\x02k\xff\xff\xff\xff\x0fv", 8, &n), WEIR_ECORRUPT);
	n = 0;
	ck_assert_int_eq(snapshot_records(bytes_of("\x02k\x01v\x02l\x01v", 8), stop, &n), WEIR_EFULL);
	ck_assert_uint_eq(n, 1);
	/* the head's record and more of nothing are no records of a state */
	ck_assert_int_eq(apply_snapshot_begin(to.a, COPY_SHARD), 0);
	ck_assert_int_eq(apply_snapshot_records(to.a, COPY_SHARD, bytes_of("\x02" "a\x01v", 4)), WEIR_ECORRUPT);
	ck_assert_int_eq(apply_snapshot_records(to.a, COPY_SHARD, bytes_of("\x03k\x01v", 4)), WEIR_ECORRUPT);
}
END_TEST

/* ---- the serving side ------------------------------------------------------------------------------------------ */

static enum verdict ask(uint32_t group, uint64_t id, uint64_t chunk, int64_t mono_ms, uint64_t *ret_id)
{
	struct msg m = {.type = MSG_SNAPSHOT, .req_id = 1}, reply = {.req_id = 77, .from = "me"};
	struct buf body = {0};
	m.snapshot.group = group;
	m.snapshot.id = id;
	m.snapshot.chunk = chunk;
	snapshots_serve(ss, &m, mono_ms * NS_PER_MS, &body, &reply);
	ck_assert(reply.type == MSG_SNAPSHOT_REPLY && reply.req_id == 77 && !strcmp(reply.from, "me"));
	enum verdict v = reply.snapshot_reply.verdict;
	ck_assert(v == VERDICT_OK ? !reply.snapshot_reply.reason : !!reply.snapshot_reply.reason);
	ck_assert(reply.snapshot_reply.group == group && reply.snapshot_reply.chunk == chunk);
	if (v != VERDICT_OK)
		ck_assert(reply.snapshot_reply.id == id && !reply.snapshot_reply.records.n);
	if (ret_id)
		*ret_id = reply.snapshot_reply.id;
	buf_free(&body);
	return v;
}

START_TEST(what_cannot_be_served)
{
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE); /* nothing applied */
	copy_fill_shard(&from, 0, 5);
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE); /* nor committed */
	kit_commit(&from);
	uint64_t id;
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, &id), VERDICT_OK);
	ck_assert_int_eq(ask(COPY_SHARD, id + 1, 0, 0, NULL), VERDICT_REFUSED);
	ck_assert_int_eq(ask(0, id, 0, 0, NULL), VERDICT_REFUSED); /* of another group */
	ck_assert_int_eq(ask(COPY_SHARD, id, 1, 0, NULL), VERDICT_REFUSED);
	ck_assert_int_eq(ask(COPY_SHARD, id, UINT64_MAX, 0, NULL), VERDICT_REFUSED);
	ck_assert_int_eq(apply_snapshot_begin(from.a, COPY_SHARD), 0);
	kit_commit(&from);
	ck_assert_int_eq(ask(COPY_SHARD, id, 0, 0, NULL), VERDICT_OK); /* a copy is a copy */
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, SNAPSHOT_REUSE_MS, NULL), VERDICT_UNAVAILABLE); /* void */
	struct snapshot_counters c;
	snapshots_counters(ss, &c);
	ck_assert(c.made == 1 && c.chunks == 2 && c.bytes > 0 && !c.failed && c.open == 1);
}
END_TEST

START_TEST(the_young_are_shared_the_idle_forgotten)
{
	uint64_t id[3], again;
	copy_noop(&from, 1);
	kit_commit(&from);
	ck_assert_int_eq(ask(1, 0, 0, 0, &id[0]), VERDICT_OK);
	copy_noop(&from, 1);
	kit_commit(&from);
	ck_assert_int_eq(ask(1, 0, 0, SNAPSHOT_REUSE_MS - 1, &again), VERDICT_OK); /* the answer was lost; or another follower */
	ck_assert(again == id[0] && files.made == 1);
	ck_assert_int_eq(ask(1, 0, 0, SNAPSHOT_REUSE_MS, &id[1]), VERDICT_OK);
	ck_assert(id[1] != id[0] && files.open == 2);
	ck_assert_int_eq(ask(1, 0, 0, 2 * SNAPSHOT_REUSE_MS, &again), VERDICT_OK); /* the same state: in the place of the old one */
	ck_assert(again == id[1] && files.made == 3 && files.open == 2);
	ck_assert_int_eq(ask(1, id[0], 0, SNAPSHOT_REUSE_MS + 5, NULL), VERDICT_OK); /* used */
	snapshots_tick(ss, (SNAPSHOT_REUSE_MS + 4 + SNAPSHOT_IDLE_MS) * NS_PER_MS);
	ck_assert_uint_eq(files.open, 2);
	snapshots_tick(ss, (SNAPSHOT_REUSE_MS + 5 + SNAPSHOT_IDLE_MS) * NS_PER_MS);
	ck_assert_uint_eq(files.open, 1);
	ck_assert_int_eq(ask(1, id[0], 0, 0, NULL), VERDICT_REFUSED);
	ck_assert_int_eq(ask(1, id[1], 0, 2 * SNAPSHOT_REUSE_MS, NULL), VERDICT_OK);
	snapshots_tick(ss, INT64_MAX);
	ck_assert_uint_eq(files.open, 0);
}
END_TEST

START_TEST(no_more_than_so_many)
{
	uint64_t ids[SNAPSHOTS_MAX + 1] = {0};
	int64_t now_ms = 0;
	for (uint64_t i = 0; i <= SNAPSHOTS_MAX; i++, now_ms += SNAPSHOT_REUSE_MS) {
		copy_noop(&from, 1);
		kit_commit(&from);
		for (uint64_t j = 0; j < i; j++) /* all are being fetched */
			ck_assert_int_eq(ask(1, ids[j], 0, now_ms, NULL), VERDICT_OK);
		ck_assert_int_eq(ask(1, 0, 0, now_ms, &ids[i]), i < SNAPSHOTS_MAX ? VERDICT_OK : VERDICT_BUSY);
	}
	ck_assert_uint_eq(files.open, SNAPSHOTS_MAX);
	/* until one is fetched no more */
	for (uint64_t j = 0; j < SNAPSHOTS_MAX; j++)
		ck_assert_int_eq(ask(1, ids[j], 0, now_ms + (j != 1), NULL), VERDICT_OK);
	now_ms += SNAPSHOT_SPARE_MS;
	ck_assert_int_eq(ask(1, 0, 0, now_ms - 1, NULL), VERDICT_BUSY);
	ck_assert_int_eq(ask(1, 0, 0, now_ms, NULL), VERDICT_OK);
	ck_assert_uint_eq(files.open, SNAPSHOTS_MAX);
	ck_assert_int_eq(ask(1, ids[1], 0, now_ms, NULL), VERDICT_REFUSED);
	ck_assert_int_eq(ask(1, ids[0], 0, now_ms, NULL), VERDICT_OK);
}
END_TEST

#define SLOW_MS INT64_C(60000)

/* While the first copy is written. */
static void a_minute_passes(void)
{
	files.on_append = NULL;
	snapshots_tick(ss, SLOW_MS * NS_PER_MS);
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, SLOW_MS, NULL), VERDICT_BUSY);
	ck_assert_int_eq(ask(0, 0, 0, SLOW_MS, NULL), VERDICT_BUSY); /* one at a time: each reads a whole state */
}

/* Who asked for it asks on in the meantime: what then waits to be answered must not begin another one. */
START_TEST(a_copy_that_took_long_is_young)
{
	uint64_t id, again;
	fill();
	kit_commit(&from);
	files.on_append = a_minute_passes;
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, &id), VERDICT_OK);
	copy_noop(&from, COPY_SHARD);
	kit_commit(&from);
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, SLOW_MS + 1, &again), VERDICT_OK);
	ck_assert(again == id && files.made == 1);
	snapshots_tick(ss, (SLOW_MS + SNAPSHOT_IDLE_MS - 1) * NS_PER_MS);
	ck_assert_int_eq(ask(COPY_SHARD, id, 1, SLOW_MS + SNAPSHOT_IDLE_MS, NULL), VERDICT_OK);
}
END_TEST

static void stop_all(void)
{
	snapshots_stop(ss);
}

START_TEST(a_copy_is_not_finished_where_all_ends)
{
	fill();
	kit_commit(&from);
	files.on_append = stop_all;
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE);
	ck_assert_uint_eq(files.open, 0);
}
END_TEST

START_TEST(files_that_fail)
{
	fill();
	struct snapshot_counters c;
	uint64_t id;
	files.fail_create = WEIR_EFULL;
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE);
	files.fail_create = 0;
	files.fail_append = WEIR_EFULL;
	for (unsigned n = 0; n < 3; n++) {
		files.appends_left = n;
		ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE);
		ck_assert_uint_eq(files.open, 0);
	}
	files.fail_append = 0;
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, &id), VERDICT_OK);
	files.fail_read = WEIR_EIO;
	ck_assert_int_eq(ask(COPY_SHARD, id, 1, 0, NULL), VERDICT_REFUSED);
	ck_assert_uint_eq(files.open, 0);
	files.fail_read = 0;
	ck_assert_int_eq(ask(COPY_SHARD, id, 1, 0, NULL), VERDICT_REFUSED); /* start over */
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, &id), VERDICT_OK);
	snapshots_counters(ss, &c);
	ck_assert(c.failed == 5 && c.made == 2 && c.open == 1);
}
END_TEST

START_TEST(a_damaged_state_is_not_served)
{
	fill();
	struct kv_txn *txn;
	kit_commit(&from);
	ck_assert_int_eq(kv_begin(from.kv, true, &txn), 0);
	ck_assert_int_eq(kv_put(txn, STATE_DB_GROUP(COPY_SHARD), bytes_of("p-stray", 7), bytes_of("x", 1)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	ck_assert_int_eq(ask(COPY_SHARD, 0, 0, 0, NULL), VERDICT_UNAVAILABLE);
	ck_assert_int_eq(ask(0, 0, 0, 0, NULL), VERDICT_OK);
}
END_TEST

#define IDLE_NS (SNAPSHOT_IDLE_MS * NS_PER_MS)

static atomic_llong threads_ns;

static void *fetch_all(void *arg)
{
	struct whole *w = arg;
	struct buf body = {0};
	for (int round = 0; round < 20; round++) {
		struct msg m = {.type = MSG_SNAPSHOT}, r = {0};
		m.snapshot.group = w->group;
		bool forgotten = false;
		do {
			snapshots_serve(ss, &m, atomic_load(&threads_ns), &body, &r);
			if (round % 5 == 4 && !forgotten) /* while others use it */
				snapshots_tick(ss, IDLE_NS + atomic_fetch_add(&threads_ns, IDLE_NS));
			forgotten = true;
			if (r.snapshot_reply.verdict == VERDICT_BUSY)
				continue; /* another thread writes it */
			if (r.snapshot_reply.verdict == VERDICT_REFUSED) {
				m.snapshot.id = m.snapshot.chunk = 0; /* forgotten by one of them */
				continue;
			}
			ck_assert_int_eq(r.snapshot_reply.verdict, VERDICT_OK);
			const struct buf *want = &w->chunks[m.snapshot.chunk];
			ck_assert(r.snapshot_reply.records.n == want->len &&
			    !memcmp(r.snapshot_reply.records.p, want->data, want->len));
			m.snapshot.id = r.snapshot_reply.id;
			m.snapshot.chunk++;
		} while (r.snapshot_reply.verdict != VERDICT_OK || !r.snapshot_reply.last);
	}
	buf_free(&body);
	return NULL;
}

START_TEST(several_threads_at_a_time)
{
	fill();
	struct whole w;
	pthread_t threads[4];
	char folder[] = "/tmp/weir-snapshot-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	struct snapshot_files real = snapshot_files_in(folder);
	snapshots_free(ss);
	ss = snapshots_new(from.kv, &real);
	take(&w, COPY_SHARD);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fetch_all, &w), 0);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	drop(&w);
	snapshots_free(ss);
	ss = NULL;
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(real_files_have_no_name)
{
	char folder[] = "/tmp/weir-snapshot-XXXXXX", room[10] = "";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	struct snapshot_files f = snapshot_files_in(folder);
	void *a, *b;
	ck_assert_int_eq(f.create(f.arg, &a), 0);
	ck_assert_int_eq(f.create(f.arg, &b), 0);
	ck_assert_int_eq(f.append(a, "hello ", 6), 0);
	ck_assert_int_eq(f.append(b, "other", 5), 0);
	ck_assert_int_eq(f.append(a, "world", 5), 0);
	ck_assert_int_eq(f.read(a, 4, room, 5), 0);
	ck_assert_str_eq(room, "o wor");
	ck_assert_int_eq(f.read(a, 8, room, 5), WEIR_EIO); /* beyond its end */
	ck_assert_int_eq(rmdir(folder), 0);                /* empty, while they are open */
	f.close(a);
	f.close(b);
	ck_assert_int_eq(f.create(f.arg, &a), WEIR_EIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/snapshot");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_copy_is_the_same_and_goes_on_the_same);
	tcase_add_test(tc, a_state_without_records_is_copied);
	tcase_add_test(tc, a_snapshot_stays_as_it_was_while_entries_go_on);
	tcase_add_test(tc, which_replica_serves_does_not_matter);
	tcase_add_test(tc, nobody_reads_a_void_group);
	tcase_add_test(tc, void_until_the_end);
	tcase_add_test(tc, lost_doubled_and_damaged_chunks_do_not_pass);
	tcase_add_test(tc, records_are_read_with_care);
	tcase_add_test(tc, what_cannot_be_served);
	tcase_add_test(tc, the_young_are_shared_the_idle_forgotten);
	tcase_add_test(tc, no_more_than_so_many);
	tcase_add_test(tc, a_copy_that_took_long_is_young);
	tcase_add_test(tc, a_copy_is_not_finished_where_all_ends);
	tcase_add_test(tc, files_that_fail);
	tcase_add_test(tc, a_damaged_state_is_not_served);
	tcase_add_test(tc, several_threads_at_a_time);
	tcase_add_test(tc, real_files_have_no_name);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
