#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/batch.h"
#include "common/err.h"
#include "common/zip.h"

#define MINUTE INT64_C(60000000000)

static uint64_t seed = 17;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static double rnd_value(void)
{
	static const double odd[] = {0.0, -0.0, DBL_TRUE_MIN, -DBL_TRUE_MIN, 1e-310, DBL_MAX, -1e300, 3, 0.1};
	uint64_t r = rnd(), bits = rnd();
	double v;
	switch (r % 4) {
	case 0:
		return odd[r / 4 % 9];
	case 1:
		return (double)(bits % 20000) / 100;
	case 2:
		return (double)(bits % 300) * 1.609344 / 7;
	default:
		memcpy(&v, &bits, sizeof(v));
		return isfinite(v) ? v : 1;
	}
}

#define STREAMS 4
static struct stream_conf streams[STREAMS] = {
    {.name = (char[]){"speed"}, .version = 7, .slice_ns = MINUTE},
    {.name = (char[]){"speed"}, .version = 9, .slice_ns = MINUTE},
    {.name = (char[]){"alpha"}, .version = 7, .slice_ns = 5 * MINUTE},
    {.name = (char[]){"z.z-z_Z"}, .version = 1, .slice_ns = 1},
};
static const struct partial_spec specs[STREAMS] = {
    {PARTIAL_PARTS_ALL, 2, 512, 5},
    {PARTIAL_SUM, 0, 512, 5},
    {PARTIAL_QUANTILE | PARTIAL_MINMAX | PARTIAL_MOMENTS, 1, 512, 5},
    {0, 0, 512, 5},
};

/* What was put in, to compare with what comes out. */
struct given {
	size_t stream;
	int64_t slice;
	uint8_t group[64];
	size_t group_len;
	struct partial partial;
};

static void fill(struct partial *p, const struct partial_spec *spec, int64_t slice, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		partial_add(p, spec, slice + (int64_t)(rnd() % 60) * 1000000000 + (int64_t)(rnd() % 2), rnd_value());
		for (uint32_t d = 0; d < spec->distinct_count; d++)
			partial_add_distinct(p, spec, d, &(uint16_t){(uint16_t)(rnd() % 20)}, 2);
	}
}

static struct bytes group_of(const struct given *g)
{
	return (struct bytes){g->group_len ? g->group : NULL, g->group_len};
}

/* Groups of one stream share their beginnings; the first has none. */
static struct given *make(size_t n, int64_t around)
{
	struct given *list = calloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		struct given *g = &list[i];
		g->stream = rnd() % STREAMS;
		g->slice = around + (int64_t)(rnd() % 3) * (rnd() % 20 ? streams[g->stream].slice_ns : 17);
		if (rnd() % 10)
			g->group_len = (size_t)snprintf((char *)g->group, sizeof(g->group), "site-%u/%u",
			    (unsigned)(rnd() % 3), (unsigned)(rnd() % 1000));
		fill(&g->partial, &specs[g->stream], g->slice, 1 + rnd() % 30);
	}
	return list;
}

static void unmake(struct given *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		partial_clear(&list[i].partial, &specs[list[i].stream]);
	free(list);
}

static int compare_given(const void *x, const void *y)
{
	const struct given *a = x, *b = y;
	int c = strcmp(streams[a->stream].name, streams[b->stream].name);
	if (c || streams[a->stream].version != streams[b->stream].version)
		return c ? c : streams[a->stream].version < streams[b->stream].version ? -1 : 1;
	if (a->slice != b->slice)
		return a->slice < b->slice ? -1 : 1;
	c = memcmp(a->group, b->group, a->group_len < b->group_len ? a->group_len : b->group_len);
	return c ? c : (a->group_len > b->group_len) - (a->group_len < b->group_len);
}

/* Sorts, and merges equal keys in the order in which they were added (a stable sort by insertion is enough). */
static size_t expected(struct given *list, size_t n)
{
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		while (k < out && compare_given(&list[k], &list[i]))
			k++;
		if (k < out) {
			partial_merge(&list[k].partial, &list[i].partial, &specs[list[k].stream]);
			partial_clear(&list[i].partial, &specs[list[i].stream]);
		} else {
			struct given moved = list[i];
			list[i] = (struct given){0};
			list[out++] = moved;
		}
	}
	qsort(list, out, sizeof(*list), compare_given);
	return out;
}

static void assert_same_partial(const struct partial *a, const struct partial *b, const struct partial_spec *spec)
{
	struct buf x = {0}, y = {0};
	partial_encode(a, spec, &x);
	partial_encode(b, spec, &y);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_int_eq(memcmp(x.data, y.data, x.len), 0);
	buf_free(&x);
	buf_free(&y);
}

/* What the packed item gives when it is merged into nothing is the partial. */
static void assert_same_packed(const struct batch_packed *item, const struct partial *p, const struct partial_spec *spec)
{
	struct buf x = {0}, y = {0};
	struct partial sum = {0};
	struct partial_spec cloud = *spec;
	cloud.quantile_cap = PARTIAL_QUANTILE_CAP_CLOUD;
	partial_merge_packed(NULL, &item->partial, &cloud, &x);
	partial_merge(&sum, p, &cloud);
	partial_encode(&sum, &cloud, &y);
	partial_clear(&sum, &cloud);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_int_eq(memcmp(x.data, y.data, x.len), 0);
	buf_free(&x);
	buf_free(&y);
}

/* Every item packed, by a reader of its own: as `want`, and living until the reader is closed. */
static void check_packed(const struct buf *body, const struct given *want, size_t n)
{
	struct batch_reader *r;
	struct batch_packed *items = calloc(n + 1, sizeof(*items));
	ck_assert_int_eq(batch_reader_open(body->data, body->len, &r), 0);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(batch_reader_next_packed(r, &items[i]), 1);
	ck_assert_int_eq(batch_reader_next_packed(r, &items[n]), 0);
	for (size_t i = 0; i < n; i++) {
		ck_assert_str_eq(batch_reader_stream(r, items[i].stream)->name, streams[want[i].stream].name);
		ck_assert(items[i].slice_start_ns == want[i].slice);
		ck_assert_ptr_nonnull(items[i].group.p);
		ck_assert_uint_eq(items[i].group.n, want[i].group_len);
		ck_assert_int_eq(memcmp(items[i].group.p, want[i].group, items[i].group.n), 0);
		assert_same_packed(&items[i], &want[i].partial, &specs[want[i].stream]);
	}
	batch_reader_close(r);
	free(items);
}

static void add_all(struct batch_writer *w, const struct given *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(batch_writer_add(w, &streams[list[i].stream], &specs[list[i].stream], list[i].slice,
		    group_of(&list[i]), &list[i].partial), 0);
}

static void check_body(const struct buf *body, const struct given *want, size_t n, uint64_t seq)
{
	struct batch_reader *r;
	struct batch_item *item;
	uint64_t readings = 0;
	uint8_t *exact = malloc(body->len);
	memcpy(exact, body->data, body->len);
	ck_assert_int_eq(batch_reader_open(exact, body->len, &r), 0);
	free(exact); /* the reader keeps nothing of it */
	ck_assert_uint_eq(batch_reader_shard(r), 3);
	ck_assert(batch_reader_seq(r) == seq);
	ck_assert_uint_eq(batch_reader_count(r), n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(batch_reader_next(r, &item), 1);
		const struct batch_stream *st = batch_reader_stream(r, item->stream);
		const struct stream_conf *conf = &streams[want[i].stream];
		ck_assert_str_eq(st->name, conf->name);
		ck_assert(st->version == conf->version && st->slice_ns == conf->slice_ns);
		ck_assert(partial_spec_agrees(&st->spec, &specs[want[i].stream]));
		ck_assert(item->slice_start_ns == want[i].slice);
		ck_assert_uint_eq(item->group.n, want[i].group_len);
		ck_assert_int_eq(memcmp(item->group.p, want[i].group, item->group.n), 0);
		assert_same_partial(&item->partial, &want[i].partial, &specs[want[i].stream]);
		readings += item->partial.count;
	}
	ck_assert_int_eq(batch_reader_next(r, &item), 0);
	ck_assert_int_eq(batch_reader_next(r, &item), 0);
	ck_assert(batch_reader_readings(r) == readings);
	batch_reader_close(r);
	check_packed(body, want, n);
}

START_TEST(what_goes_in_comes_out)
{
	static const int64_t around[] = {0, INT64_C(1441106700) * 1000000000, -MINUTE * 100};
	struct batch_writer *w = batch_writer_new(3);
	for (uint64_t round = 0; round < 60; round++) {
		size_t n = rnd() % 300;
		struct given *list = make(n, around[round % 3]);
		struct buf body = {0};
		add_all(w, list, n);
		size_t distinct = expected(list, n);
		ck_assert_uint_eq(batch_writer_count(w), distinct);
		size_t bound = batch_writer_bytes(w);
		batch_writer_finish(w, round << 40, &body);
		ck_assert_uint_le(body.len, bound);
		ck_assert_uint_eq(batch_writer_count(w), 0);
		check_body(&body, list, distinct, round << 40);
		buf_free(&body);
		unmake(list, n);
	}
	batch_writer_free(w);
}
END_TEST

START_TEST(the_order_of_adding_leaves_no_trace)
{
	struct batch_writer *w = batch_writer_new(3), *v = batch_writer_new(3);
	for (int round = 0; round < 20; round++) {
		size_t n = 200;
		struct given *list = make(n, 0);
		n = expected(list, n);
		struct buf a = {0}, b = {0};
		add_all(w, list, n);
		batch_writer_finish(w, 1, &a);
		for (size_t i = n; i > 1; i--) {
			size_t k = rnd() % i;
			struct given t = list[k];
			list[k] = list[i - 1];
			list[i - 1] = t;
		}
		add_all(v, list, n);
		batch_writer_finish(v, 1, &b);
		ck_assert_uint_eq(a.len, b.len);
		ck_assert_int_eq(memcmp(a.data, b.data, a.len), 0);
		ck_assert(batch_checksum(a.data, a.len) == batch_checksum(b.data, b.len));
		b.data[b.len / 2] ^= 1;
		ck_assert(batch_checksum(a.data, a.len) != batch_checksum(b.data, b.len));
		buf_free(&a);
		buf_free(&b);
		unmake(list, n);
	}
	batch_writer_free(w);
	batch_writer_free(v);
}
END_TEST

START_TEST(renumbering_changes_the_number_only)
{
	struct batch_writer *w = batch_writer_new(3);
	struct given *list = make(100, 0);
	struct buf body = {0}, other = {0}, direct = {0};
	add_all(w, list, 100);
	batch_writer_finish(w, 5, &body);
	ck_assert_int_eq(batch_renumber(body.data, body.len, UINT64_MAX, &other), 0);
	add_all(w, list, 100);
	batch_writer_finish(w, UINT64_MAX, &direct);
	ck_assert_uint_eq(other.len, direct.len);
	ck_assert_int_eq(memcmp(other.data, direct.data, other.len), 0);
	size_t n = expected(list, 100);
	check_body(&other, list, n, UINT64_MAX);
	ck_assert_int_eq(batch_renumber(body.data, 2, 1, &other), WEIR_ETRUNCATED);
	ck_assert_int_eq(batch_renumber("\x07\x00\x00\x00\x00", 5, 1, &other), WEIR_EVERSION);
	unmake(list, 100);
	buf_free(&body);
	buf_free(&other);
	buf_free(&direct);
	batch_writer_free(w);
}
END_TEST

/* Noise that nothing compresses, up to the limit: the body must fit all the same. */
START_TEST(a_full_batch_fits)
{
	struct batch_writer *w = batch_writer_new(3);
	struct buf body = {0};
	struct partial_spec spec = {PARTIAL_PARTS_ALL, 1, 512, 5};
	for (int kind = 0; kind < 3; kind++) {
		size_t n = 0;
		int err = 0;
		while (!err) {
			struct partial p = {0};
			uint8_t group[GROUP_KEY_MAX];
			size_t group_len = kind == 0 ? GROUP_KEY_MAX : kind == 1 ? 8 : 2 + n % 3;
			for (size_t i = 0; i < group_len; i++)
				group[i] = (uint8_t)rnd();
			for (int i = 0; i < (kind == 2 ? 1 : 20); i++)
				partial_add(&p, &spec, (int64_t)(rnd() >> 2), kind == 2 ? 0 : rnd_value());
			partial_add_distinct(&p, &spec, 0, group, 2);
			size_t before = batch_writer_bytes(w);
			int64_t slice = kind == 1 ? (int64_t)(rnd() >> 2) : 0;
			err = batch_writer_add(w, &streams[0], &spec, slice, (struct bytes){group, group_len}, &p);
			n += !err;
			ck_assert(!err || (err == WEIR_EFULL && batch_writer_bytes(w) == before));
			partial_clear(&p, &spec);
		}
		ck_assert_uint_le(batch_writer_count(w), n); /* equal keys were merged */
		size_t count = batch_writer_count(w);
		ck_assert_uint_gt(batch_writer_bytes(w), BATCH_BODY_MAX - 1024);
		buf_clear(&body);
		batch_writer_finish(w, UINT64_MAX, &body);
		ck_assert_uint_le(body.len, BATCH_BODY_MAX);
		struct batch_reader *r;
		struct batch_item *item;
		ck_assert_int_eq(batch_reader_open(body.data, body.len, &r), 0);
		while (batch_reader_next(r, &item) > 0)
			count--;
		ck_assert_uint_eq(count, 0);
		ck_assert_int_eq(batch_reader_next(r, &item), 0);
		batch_reader_close(r);
	}
	buf_free(&body);
	batch_writer_free(w);
}
END_TEST

START_TEST(merging_at_the_limit_refuses_and_changes_nothing)
{
	struct batch_writer *w = batch_writer_new(3);
	struct partial_spec spec = {PARTIAL_QUANTILE | PARTIAL_MINMAX, 0, 2048, 5};
	struct partial small = {0}, big = {0};
	struct buf before = {0}, after = {0};
	partial_add(&small, &spec, 0, 1);
	for (int i = 0; i < 2000; i++)
		partial_add(&big, &spec, 0, exp2((double)i / 64 - 15));
	uint32_t n = 0;
	while (!batch_writer_add(w, &streams[0], &spec, 0, (struct bytes){(uint8_t *)&n, sizeof(n)}, &small))
		n++;
	ck_assert_uint_gt(n, 1000);
	size_t bytes = batch_writer_bytes(w);
	uint32_t first = 0;
	struct bytes group = {(uint8_t *)&first, sizeof(first)};
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &spec, 0, group, &big), WEIR_EFULL);
	ck_assert_uint_eq(batch_writer_bytes(w), bytes);
	batch_writer_finish(w, 1, &before);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(batch_writer_add(w, &streams[0], &spec, 0, (struct bytes){(uint8_t *)&i, sizeof(i)}, &small), 0);
	batch_writer_finish(w, 1, &after);
	ck_assert_uint_eq(before.len, after.len);
	ck_assert_int_eq(memcmp(before.data, after.data, after.len), 0);
	buf_free(&before);
	buf_free(&after);
	partial_clear(&small, &spec);
	partial_clear(&big, &spec);
	batch_writer_free(w);
}
END_TEST

START_TEST(what_cannot_be_added_is_refused)
{
	struct batch_writer *w = batch_writer_new(3);
	struct partial p = {0};
	uint8_t group[GROUP_KEY_MAX + 1] = {0};
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &specs[0], 0, (struct bytes){NULL, 0}, &p), 0); /* empty */
	ck_assert_uint_eq(batch_writer_count(w), 0);
	fill(&p, &specs[0], 0, 3);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &specs[0], 0, (struct bytes){group, sizeof(group)}, &p), WEIR_ETOOBIG);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &specs[0], 0, (struct bytes){group, sizeof(group) - 1}, &p), 0);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &specs[1], 0, (struct bytes){NULL, 0}, &p), WEIR_EINVAL);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &specs[0], INT64_MIN, (struct bytes){NULL, 0}, &p), WEIR_EINVAL);
	ck_assert_uint_eq(batch_writer_count(w), 1);
	partial_clear(&p, &specs[0]);

	struct buf body = {0};
	batch_writer_finish(w, 1, &body);
	buf_clear(&body);
	batch_writer_finish(w, 2, &body); /* an empty batch is one, too */
	check_body(&body, NULL, 0, 2);
	buf_free(&body);
	batch_writer_free(w);
}
END_TEST

START_TEST(many_slices_and_groups_are_cheap)
{
	struct batch_writer *w = batch_writer_new(3);
	struct partial p = {0};
	struct partial_spec spec = {PARTIAL_SUM, 0, 512, 0};
	partial_add(&p, &spec, 0, 12);
	for (int slice = 0; slice < 50; slice++) {
		for (int g = 0; g < 40; g++) {
			char text[40];
			int len = snprintf(text, sizeof(text), "a-rather-long-prefix/%03d", g);
			struct bytes group = {(uint8_t *)text, (size_t)len};
			ck_assert_int_eq(batch_writer_add(w, &streams[0], &spec, slice * MINUTE, group, &p), 0);
		}
	}
	struct buf body = {0};
	batch_writer_finish(w, 1, &body);
	ck_assert_uint_lt(body.len, 1000); /* 2000 partials */
	buf_free(&body);
	partial_clear(&p, &spec);
	batch_writer_free(w);
}
END_TEST

/* Reads all packed: the same outcome as that of reading all decoded, and the same partials. */
static int read_all_packed(const uint8_t *p, size_t n)
{
	struct batch_reader *r, *whole;
	struct batch_packed packed;
	struct batch_item *item;
	int err;
	ck_assert_int_eq(batch_reader_open(p, n, &r), 0);
	ck_assert_int_eq(batch_reader_open(p, n, &whole), 0);
	while ((err = batch_reader_next_packed(r, &packed)) > 0) {
		ck_assert_int_eq(batch_reader_next(whole, &item), 1);
		assert_same_packed(&packed, &item->partial, &batch_reader_stream(r, packed.stream)->spec);
	}
	if (err)
		ck_assert_int_eq(batch_reader_next_packed(r, &packed), err); /* and stays so */
	batch_reader_close(r);
	batch_reader_close(whole);
	return err;
}

/* Opens and reads all; whatever was read must be usable. */
static int read_all(const uint8_t *p, size_t n)
{
	uint8_t *exact = malloc(n ? n : 1);
	memcpy(exact, p, n);
	struct batch_reader *r = NULL;
	struct batch_item *item;
	int err = batch_reader_open(exact, n, &r);
	free(exact);
	if (err) {
		ck_assert_ptr_null(r);
		return err;
	}
	while ((err = batch_reader_next(r, &item)) > 0) {
		struct partial_spec spec = batch_reader_stream(r, item->stream)->spec;
		struct partial sum = {0};
		spec.quantile_cap = 2048;
		ck_assert_uint_le(item->group.n, GROUP_KEY_MAX);
		partial_merge(&sum, &item->partial, &spec);
		partial_clear(&sum, &spec);
	}
	if (err)
		ck_assert_int_eq(batch_reader_next(r, &item), err); /* and stays so */
	batch_reader_close(r);
	ck_assert_int_eq(!err, !read_all_packed(p, n));
	return err;
}

/* The same batch with the rest uncompressed, so that damage meets the layout and not zstd. */
static void unzip(const struct buf *body, struct buf *out)
{
	struct rd r = rd_init(body->data + 2, body->len - 2);
	uint64_t shard = rd_varint(&r), seq = rd_varint(&r), raw_len = rd_varint(&r);
	buf_clear(out);
	buf_u8(out, BATCH_FORMAT);
	buf_u8(out, 0);
	buf_varint(out, shard);
	buf_varint(out, seq);
	buf_varint(out, raw_len);
	uint8_t *room = buf_reserve(out, raw_len);
	if (body->data[1])
		ck_assert_int_eq(zip_unpack(r.p, rd_left(&r), room, raw_len), 0);
	else
		memcpy(room, r.p, raw_len);
	out->len += raw_len;
}

START_TEST(damaged_bodies_never_crash)
{
	struct batch_writer *w = batch_writer_new(3);
	struct buf zipped = {0}, plain = {0};
	for (int round = 0; round < 30; round++) {
		size_t n = 1 + rnd() % 12;
		struct given *list = make(n, 0);
		add_all(w, list, n);
		unmake(list, n);
		buf_clear(&zipped);
		batch_writer_finish(w, 300, &zipped);
		unzip(&zipped, &plain);
		ck_assert_int_eq(read_all(plain.data, plain.len), 0);
		for (int kind = 0; kind < 2; kind++) {
			struct buf *b = kind ? &plain : &zipped;
			for (size_t len = 0; len < b->len; len++)
				ck_assert_int_lt(read_all(b->data, len), 0);
			for (int i = 0; i < 300; i++) {
				size_t at = rnd() % b->len;
				uint8_t was = b->data[at];
				b->data[at] = (uint8_t)(rnd() % 2 ? rnd() : was ^ 1u << rnd() % 8);
				read_all(b->data, b->len);
				b->data[at] = was;
			}
		}
	}
	uint8_t garbage[200];
	for (int round = 0; round < 20000; round++) {
		size_t n = rnd() % sizeof(garbage);
		for (size_t i = 0; i < n; i++)
			garbage[i] = rnd() % 3 ? (uint8_t)(rnd() % 4) : (uint8_t)rnd();
		if (n > 2) {
			garbage[0] = BATCH_FORMAT;
			garbage[1] = 0;
		}
		read_all(garbage, n);
	}
	buf_free(&zipped);
	buf_free(&plain);
	batch_writer_free(w);
}
END_TEST

START_TEST(heads_are_checked)
{
	struct buf b = {0};
	buf_u8(&b, BATCH_FORMAT + 1);
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_ETRUNCATED);
	buf_u8(&b, 0);
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_EVERSION);
	b.data[0] = BATCH_FORMAT;
	b.data[1] = 2; /* a flag of the future */
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_EVERSION);
	b.data[1] = 0;
	buf_varint(&b, SHARDS_MAX);
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_ECORRUPT);
	b.len = 2;
	buf_varint(&b, 0);
	buf_varint(&b, 1);
	buf_varint(&b, BATCH_RAW_MAX + 1);
	ck_assert_int_eq(read_all(b.data, b.len), WEIR_ETOOBIG);
	buf_reserve(&b, BATCH_BODY_MAX + 1);
	memset(b.data + b.len, 0, BATCH_BODY_MAX + 1 - b.len);
	ck_assert_int_eq(read_all(b.data, BATCH_BODY_MAX + 1), WEIR_ETOOBIG);

	b.len = 4; /* a head may be looked at alone: it says how long the whole is */
	uint32_t shard = 7;
	uint64_t seq = 7;
	buf_varint(&b, 3);
	buf_put(&b, (const uint8_t *)"abc", 3);
	ck_assert_int_eq(batch_head(b.data, b.len - 1, &shard, &seq), WEIR_ETRUNCATED);
	ck_assert_int_eq(batch_head(b.data, 3, &shard, &seq), WEIR_ETRUNCATED);
	ck_assert_uint_eq(shard, 7);
	ck_assert_int_eq(batch_head(b.data, b.len, &shard, &seq), 0);
	ck_assert_uint_eq(shard, 0);
	ck_assert_uint_eq(seq, 1);
	buf_u8(&b, 0);
	ck_assert_int_eq(batch_head(b.data, b.len, &shard, &seq), WEIR_ECORRUPT);

	/* a bomb: zeros that say they are fewer than they are, or more */
	uint8_t *zeros = calloc(1, BATCH_RAW_MAX);
	struct buf zipped = {0};
	ck_assert(zip_pack(zeros, BATCH_RAW_MAX, &zipped));
	ck_assert_uint_lt(zipped.len, 2000);
	for (int delta = -1; delta <= 0; delta++) {
		b.len = 4;
		b.data[1] = 1;
		buf_varint(&b, (uint64_t)(BATCH_RAW_MAX + delta));
		buf_put(&b, zipped.data, zipped.len);
		ck_assert_int_eq(read_all(b.data, b.len), WEIR_ECORRUPT);
		/* two heads that do not agree are seen; what is in there is not looked at */
		ck_assert_int_eq(batch_head(b.data, b.len, &shard, &seq), delta ? WEIR_ECORRUPT : 0);
	}
	free(zeros);
	buf_free(&zipped);
	buf_free(&b);
}
END_TEST

START_TEST(zip_is_exact)
{
	uint8_t text[1000], back[1000];
	struct buf b = {0};
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i / 10);
	buf_str(&b, "before");
	size_t before = b.len;
	ck_assert(zip_pack(text, sizeof(text), &b));
	ck_assert_int_eq(zip_unpack(b.data + before, b.len - before, back, sizeof(back)), 0);
	ck_assert_int_eq(memcmp(text, back, sizeof(text)), 0);
	ck_assert_int_eq(zip_unpack(b.data + before, b.len - before, back, sizeof(back) - 1), WEIR_ECORRUPT);
	ck_assert_int_eq(zip_unpack(b.data + before, b.len - before - 1, back, sizeof(back)), WEIR_ECORRUPT);
	ck_assert(zip_whole(b.data + before, b.len - before, sizeof(back)));
	ck_assert(!zip_whole(b.data + before, b.len - before, sizeof(back) - 1));
	ck_assert(!zip_whole(b.data + before, b.len - before, sizeof(back) + 1));
	for (size_t n = before; n < b.len; n++)
		ck_assert(!zip_whole(b.data + before, n - before, sizeof(back)));
	ck_assert(!zip_whole(b.data, b.len, sizeof(back)));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)rnd();
	size_t len = b.len;
	ck_assert(!zip_pack(text, sizeof(text), &b) && b.len == len);
	ck_assert(!zip_pack(text, 0, &b) && !zip_pack(text, 1, &b));
	buf_free(&b);
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct batch_writer *w = batch_writer_new(3);
	struct partial_spec spec = {PARTIAL_SUM | PARTIAL_FIRSTLAST, 0, 512, 0};
	struct partial p = {0};
	struct buf b = {0};
	partial_add(&p, &spec, MINUTE + 1000000000, 2.5);
	partial_add(&p, &spec, MINUTE + 3000000000, 4);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &spec, MINUTE, (struct bytes){(const uint8_t *)"\2ab", 3}, &p), 0);
	ck_assert_int_eq(batch_writer_add(w, &streams[0], &spec, 3 * MINUTE, (struct bytes){(const uint8_t *)"\2ac", 3}, &p), 0);
	batch_writer_finish(w, 300, &b);
	struct buf plain = {0};
	unzip(&b, &plain);
	static const uint8_t golden[] = {
	    1, 0, 3, 0xac, 2, 76,                      /* format, plain, shard, seq, raw length */
	    1, 5, 's', 'p', 'e', 'e', 'd', 7, 0, 0, 0, /* one stream: name, version */
	    9, 0, 128, 176, 157, 194, 223, 1,          /* parts, distincts, slice length */
	    0x13, 2, 2,                                /* seconds, whole slices; groups, slices */
	    8, 9, 2, 5, 2, 4, 0, 0, 2, 2, 4, 0, 0, 0, 0, 0, /* columns: lengths */
	    0, 3, 2, 'a', 'b', 2, 1, 'c',              /* DICT */
	    128, 224, 186, 132, 191, 3, 1, 2, 1,       /* SLICE: the first minute, 1 in it; 2 on, 1 in it */
	    0, 1,                                      /* GROUP */
	    2, 2, 237, 1, 2,                           /* TIME: 1 s after the slice's start, 119 s before it */
	    2, 2,                                      /* COUNT */
	    0x01, 0xf1, 0x01, 0xf1,                    /* KINDS: first tenths, last whole, sum tenths, no rest */
	    50, 50, 8, 8, 130, 1, 130, 1,              /* FIRST, LAST, SUM */
	};
	ck_assert_uint_eq(plain.len, sizeof(golden));
	ck_assert_int_eq(memcmp(plain.data, golden, sizeof(golden)), 0);
	buf_free(&plain);
	buf_free(&b);
	partial_clear(&p, &spec);
	batch_writer_free(w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/batch");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, what_goes_in_comes_out);
	tcase_add_test(tc, the_order_of_adding_leaves_no_trace);
	tcase_add_test(tc, renumbering_changes_the_number_only);
	tcase_add_test(tc, a_full_batch_fits);
	tcase_add_test(tc, merging_at_the_limit_refuses_and_changes_nothing);
	tcase_add_test(tc, what_cannot_be_added_is_refused);
	tcase_add_test(tc, many_slices_and_groups_are_cheap);
	tcase_add_test(tc, damaged_bodies_never_crash);
	tcase_add_test(tc, heads_are_checked);
	tcase_add_test(tc, zip_is_exact);
	tcase_add_test(tc, the_bytes_are_these);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
