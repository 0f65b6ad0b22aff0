/* The batch's body, after the head (batch.h) and decompression:
 *
 *   streams varint, then per stream, in (name, version) order:
 *     name str | version u32 | parts u8 | distinct count u8 | slice length varint (ns)
 *     units u8: bits 0-1 time unit (partial.h), bit 4: slice starts lie whole slice lengths apart
 *     groups varint | slices varint
 *   the lengths of the columns, a varint each, then the columns, over all streams:
 *     DICT   per group, sorted: bytes shared with the one before varint | length of the rest varint | the rest
 *     SLICE  per slice, ascending: start (the first: svarint ns; else varint distance, in slice lengths or ns) |
 *            partials in it varint
 *     GROUP  per partial: number of its group - that of the partial before in the same slice - 1 varint
 *     TIME   per partial that has first and last: (first - slice start) / unit svarint | (last - first) / unit varint
 *     ...    those of enum partial_column */
#include "common/batch.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/err.h"
#include "common/zip.h"

#define FLAG_ZSTD 1
#define UNIT_TIME 0x03
#define UNIT_SLICES 0x10

#define HEAD_MAX 32                         /* format, flags, shard, seq, raw length */
#define RAW_LIMIT (BATCH_BODY_MAX - HEAD_MAX) /* of what the writer makes: fits even where nothing compresses */
#define STREAM_BOUND (NAME_MAX_BYTES + 40)
#define SLICE_BOUND 13                      /* start and number of partials */
#define ITEM_BOUND 7                        /* lengths in DICT, number in GROUP */
#define TABLE_BOUND 96                      /* number of streams, lengths of columns */
#define SLOTS_MIN 256

enum column {
	COL_DICT,
	COL_SLICE,
	COL_GROUP,
	COL_TIME,
	COL_PARTIAL, /* the first of PARTIAL_COLS */
	COLS = COL_PARTIAL + PARTIAL_COLS
};

_Static_assert(PARTIAL_ENCODED_MAX + GROUP_KEY_MAX + STREAM_BOUND + SLICE_BOUND + ITEM_BOUND + TABLE_BOUND + 20 < RAW_LIMIT,
    "the largest partial fits a batch");
_Static_assert(BATCH_STREAMS_MAX >= STREAMS_MAX, "all streams fit a batch");

/* ---- writer ---- */

struct item {
	uint32_t stream;
	uint32_t group_number; /* in its stream, while finishing */
	int64_t slice_ns;
	int64_t first_ns, last_ns;
	uint32_t row_len;
	uint16_t group_len;
	uint16_t col_len[PARTIAL_COLS];
	uint8_t *data; /* group, then the row: the partial's columns one after another */
};

struct out_stream {
	char name[NAME_MAX_BYTES + 1];
	uint32_t version;
	int64_t slice_ns; /* length */
	struct partial_spec spec;
	int64_t last_added_ns; /* slice start of the last partial */
	bool any;
	uint32_t rank; /* while finishing */
};

struct batch_writer {
	uint32_t shard;
	struct out_stream *streams;
	size_t stream_count;
	struct item *items;
	size_t item_count, item_room;
	uint32_t *slots; /* hash table: 1 + item number, 0 empty */
	size_t slot_count;
	size_t bound; /* raw bytes at the most */
	struct buf cols[PARTIAL_COLS];
};

struct batch_writer *batch_writer_new(uint32_t shard)
{
	struct batch_writer *w = xcalloc(1, sizeof(*w));
	w->shard = shard;
	w->bound = TABLE_BOUND;
	w->streams = xcalloc(BATCH_STREAMS_MAX, sizeof(*w->streams));
	w->slot_count = SLOTS_MIN;
	w->slots = xcalloc(w->slot_count, sizeof(*w->slots));
	return w;
}

static void writer_clear(struct batch_writer *w)
{
	for (size_t i = 0; i < w->item_count; i++)
		free(w->items[i].data);
	memset(w->slots, 0, w->slot_count * sizeof(*w->slots));
	w->item_count = 0;
	w->stream_count = 0;
	w->bound = TABLE_BOUND;
}

void batch_writer_free(struct batch_writer *w)
{
	if (!w)
		return;
	writer_clear(w);
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		buf_free(&w->cols[i]);
	free(w->items);
	free(w->slots);
	free(w->streams);
	free(w);
}

size_t batch_writer_count(const struct batch_writer *w)
{
	return w->item_count;
}

size_t batch_writer_bytes(const struct batch_writer *w)
{
	return HEAD_MAX + w->bound;
}

/* Its place, or stream_count where it is new. */
static size_t find_stream(const struct batch_writer *w, const struct stream_conf *s)
{
	size_t i = 0;
	while (i < w->stream_count && (w->streams[i].version != s->version || strcmp(w->streams[i].name, s->name)))
		i++;
	return i;
}

static uint64_t hash_key(size_t stream, int64_t slice_ns, struct bytes group)
{
	return XXH3_64bits_withSeed(group.p, group.n, (uint64_t)slice_ns * 0x9e3779b97f4a7c15 + stream);
}

/* The slot of this key, or the free one where it belongs. */
static uint32_t *find_slot(const struct batch_writer *w, size_t stream, int64_t slice_ns, struct bytes group)
{
	size_t mask = w->slot_count - 1, i = hash_key(stream, slice_ns, group) & mask;
	for (; w->slots[i]; i = (i + 1) & mask) {
		const struct item *item = &w->items[w->slots[i] - 1];
		if (item->stream == stream && item->slice_ns == slice_ns && item->group_len == group.n &&
		    (!group.n || !memcmp(item->data, group.p, group.n)))
			break;
	}
	return &w->slots[i];
}

static void grow_slots(struct batch_writer *w)
{
	if (w->item_count * 2 < w->slot_count)
		return;
	free(w->slots);
	w->slot_count *= 2;
	w->slots = xcalloc(w->slot_count, sizeof(*w->slots));
	for (size_t i = 0; i < w->item_count; i++) {
		const struct item *item = &w->items[i];
		struct bytes group = {item->data, item->group_len};
		*find_slot(w, item->stream, item->slice_ns, group) = (uint32_t)i + 1;
	}
}

static size_t varint_len(uint64_t v)
{
	return v ? (size_t)(70 - __builtin_clzll(v)) / 7 : 1;
}

static size_t svarint_len(uint64_t difference)
{
	return varint_len(difference << 1 ^ (difference >> 63 ? UINT64_MAX : 0));
}

/* What the item's own columns take at the most: its times are counted in ns. */
static size_t item_bytes(const struct item *item)
{
	return item->group_len + item->row_len + ITEM_BOUND +
	    svarint_len((uint64_t)item->first_ns - (uint64_t)item->slice_ns) +
	    varint_len((uint64_t)item->last_ns - (uint64_t)item->first_ns);
}

/* Encodes the partial into an item that owns fresh data. */
static void fill_item(struct batch_writer *w, struct item *item, struct bytes group, const struct partial *p,
    const struct partial_spec *spec)
{
	struct buf *cols[PARTIAL_COLS];
	item->row_len = 0;
	for (size_t i = 0; i < PARTIAL_COLS; i++) {
		cols[i] = &w->cols[i];
		buf_clear(cols[i]);
	}
	partial_put_columns(p, spec, cols);
	for (size_t i = 0; i < PARTIAL_COLS; i++) {
		weir_assert(cols[i]->len <= UINT16_MAX);
		item->col_len[i] = (uint16_t)cols[i]->len;
		item->row_len += item->col_len[i];
	}
	bool times = spec->parts & PARTIAL_FIRSTLAST;
	item->first_ns = times ? p->first_ns : item->slice_ns;
	item->last_ns = times ? p->last_ns : item->slice_ns;
	item->group_len = (uint16_t)group.n;
	uint8_t *at = item->data = xmalloc(group.n + item->row_len);
	if (group.n)
		memcpy(at, group.p, group.n);
	at += group.n;
	for (size_t i = 0; i < PARTIAL_COLS; i++) {
		if (cols[i]->len)
			memcpy(at, cols[i]->data, cols[i]->len);
		at += cols[i]->len;
	}
}

/* Back from the row: what was encoded here decodes. */
static void item_partial(const struct item *item, const struct partial_spec *spec, struct partial *ret)
{
	struct rd readers[PARTIAL_COLS], *cols[PARTIAL_COLS];
	const uint8_t *at = item->data + item->group_len;
	for (size_t i = 0; i < PARTIAL_COLS; i++) {
		readers[i] = rd_init(at, item->col_len[i]);
		cols[i] = &readers[i];
		at += item->col_len[i];
	}
	int err = partial_get_columns(cols, spec, ret);
	weir_assert(!err);
	if (spec->parts & PARTIAL_FIRSTLAST) {
		ret->first_ns = item->first_ns;
		ret->last_ns = item->last_ns;
	}
}

static int merge_into(struct batch_writer *w, struct item *item, const struct partial_spec *spec,
    const struct partial *p)
{
	struct partial sum = {0};
	struct item merged = *item;
	item_partial(item, spec, &sum);
	partial_merge(&sum, p, spec);
	fill_item(w, &merged, (struct bytes){item->data, item->group_len}, &sum, spec);
	partial_clear(&sum, spec);
	size_t bound = w->bound - item_bytes(item) + item_bytes(&merged);
	if (bound > RAW_LIMIT) {
		free(merged.data);
		return WEIR_EFULL;
	}
	free(item->data);
	*item = merged;
	w->bound = bound;
	return 0;
}

static int append_item(struct batch_writer *w, struct out_stream *st, const struct item *item)
{
	size_t bound = w->bound + item_bytes(item);
	if (!st->any)
		bound += STREAM_BOUND;
	if (!st->any || st->last_added_ns != item->slice_ns)
		bound += SLICE_BOUND;
	if (bound > RAW_LIMIT || w->item_count == BATCH_PARTIALS_MAX)
		return w->item_count ? WEIR_EFULL : WEIR_ETOOBIG;
	if (w->item_count == w->item_room) {
		w->item_room = w->item_room ? w->item_room * 2 : 64;
		w->items = xrealloc(w->items, w->item_room * sizeof(*w->items));
	}
	w->items[w->item_count++] = *item;
	w->bound = bound;
	st->any = true;
	st->last_added_ns = item->slice_ns;
	return 0;
}

/* First and last near enough to the slice that no difference overflows: what a clock can say always is. */
static bool times_ok(const struct partial *p, const struct partial_spec *spec, int64_t slice_ns)
{
	int64_t a, b, limit = INT64_MAX / 2;
	if (!(spec->parts & PARTIAL_FIRSTLAST))
		return true;
	return !__builtin_sub_overflow(p->first_ns, slice_ns, &a) && !__builtin_sub_overflow(p->last_ns, slice_ns, &b) &&
	    a >= -limit && a <= b && b <= limit;
}

int batch_writer_add(struct batch_writer *w, const struct stream_conf *s, const struct partial_spec *spec,
    int64_t slice_start_ns, struct bytes group, const struct partial *p)
{
	if (partial_is_empty(p))
		return 0;
	size_t name_len = strlen(s->name), stream = find_stream(w, s);
	if (group.n > GROUP_KEY_MAX || name_len > NAME_MAX_BYTES)
		return WEIR_ETOOBIG;
	struct out_stream *st = &w->streams[stream];
	if (stream == w->stream_count) {
		if (stream == BATCH_STREAMS_MAX)
			return WEIR_EFULL;
		*st = (struct out_stream){.version = s->version, .slice_ns = s->slice_ns, .spec = *spec};
		memcpy(st->name, s->name, name_len);
	} else if (!partial_spec_agrees(&st->spec, spec) || st->slice_ns != s->slice_ns) {
		return WEIR_EINVAL;
	}
	if (st->slice_ns < 1 || !times_ok(p, spec, slice_start_ns))
		return WEIR_EINVAL;
	grow_slots(w);
	uint32_t *slot = find_slot(w, stream, slice_start_ns, group);
	if (*slot)
		return merge_into(w, &w->items[*slot - 1], spec, p);
	struct item item = {.stream = (uint32_t)stream, .slice_ns = slice_start_ns};
	fill_item(w, &item, group, p, spec);
	int err = append_item(w, st, &item);
	if (err) {
		free(item.data);
		return err;
	}
	*slot = (uint32_t)w->item_count;
	if (stream == w->stream_count)
		w->stream_count++;
	return 0;
}

/* ---- finishing ---- */

static int compare_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int c = n ? memcmp(a, b, n) : 0;
	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int compare_groups(const struct item *a, const struct item *b)
{
	return compare_bytes(a->data, a->group_len, b->data, b->group_len);
}

static int by_stream_and_group(const void *x, const void *y)
{
	const struct item *a = x, *b = y;
	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	int c = compare_groups(a, b);
	return c ? c : (a->slice_ns > b->slice_ns) - (a->slice_ns < b->slice_ns);
}

static int by_stream_and_slice(const void *x, const void *y)
{
	const struct item *a = x, *b = y;
	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	if (a->slice_ns != b->slice_ns)
		return a->slice_ns < b->slice_ns ? -1 : 1;
	return (a->group_number > b->group_number) - (a->group_number < b->group_number);
}

static int by_name(const void *x, const void *y)
{
	const struct out_stream *a = x, *b = y;
	int c = strcmp(a->name, b->name);
	return c ? c : (a->version > b->version) - (a->version < b->version);
}

/* Puts streams in their order, and the items' stream numbers with them. */
static void rank_streams(struct batch_writer *w)
{
	uint32_t new_place[BATCH_STREAMS_MAX];
	for (size_t i = 0; i < w->stream_count; i++)
		w->streams[i].rank = (uint32_t)i;
	qsort(w->streams, w->stream_count, sizeof(*w->streams), by_name);
	for (size_t i = 0; i < w->stream_count; i++)
		new_place[w->streams[i].rank] = (uint32_t)i;
	for (size_t i = 0; i < w->item_count; i++)
		w->items[i].stream = new_place[w->items[i].stream];
}

static void put_group(struct buf *dict, const struct item *before, const struct item *item)
{
	size_t shared = 0;
	while (before && shared < before->group_len && shared < item->group_len &&
	    before->data[shared] == item->data[shared])
		shared++;
	buf_varint(dict, shared);
	buf_bytes(dict, item->data + shared, item->group_len - shared);
}

/* Numbers the groups of one stream's items, sorted by group. Returns how many there are. */
static uint32_t put_groups(struct item *items, size_t n, struct buf *dict)
{
	uint32_t groups = 0;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || compare_groups(&items[i - 1], &items[i])) {
			put_group(dict, i ? &items[i - 1] : NULL, &items[i]);
			groups++;
		}
		items[i].group_number = groups - 1;
	}
	return groups;
}

static uint8_t units_of(const struct out_stream *st, const struct item *items, size_t n)
{
	uint8_t time = TIME_UNITS - 1, slices = UNIT_SLICES;
	for (size_t i = 0; i < n; i++) {
		/* offsets from the slice, which are what is written */
		int64_t first = (int64_t)((uint64_t)items[i].first_ns - (uint64_t)items[i].slice_ns);
		int64_t span = (int64_t)((uint64_t)items[i].last_ns - (uint64_t)items[i].first_ns);
		while (time && (first % time_unit_ns(time) || span % time_unit_ns(time)))
			time--;
		if (((uint64_t)items[i].slice_ns - (uint64_t)items[0].slice_ns) % (uint64_t)st->slice_ns)
			slices = 0;
	}
	return time | slices;
}

/* SLICE and GROUP of one stream's items, sorted by slice. Returns the number of slices. */
static uint32_t put_slices(const struct item *items, size_t n, uint64_t unit, struct buf *slice, struct buf *group)
{
	uint32_t slices = 0;
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && items[end].slice_ns == items[i].slice_ns; end++)
			;
		if (i == 0)
			buf_svarint(slice, items[i].slice_ns);
		else
			buf_varint(slice, ((uint64_t)items[i].slice_ns - (uint64_t)items[i - 1].slice_ns) / unit);
		buf_varint(slice, end - i);
		for (size_t k = i; k < end; k++)
			buf_varint(group, items[k].group_number - (k > i ? items[k - 1].group_number + 1 : 0));
		slices++;
	}
	return slices;
}

static void put_item(const struct item *item, const struct out_stream *st, int64_t time_unit, struct buf cols[COLS])
{
	if (st->spec.parts & PARTIAL_FIRSTLAST) {
		int64_t first = (int64_t)((uint64_t)item->first_ns - (uint64_t)item->slice_ns);
		int64_t span = (int64_t)((uint64_t)item->last_ns - (uint64_t)item->first_ns);
		buf_svarint(&cols[COL_TIME], first / time_unit);
		buf_varint(&cols[COL_TIME], (uint64_t)(span / time_unit));
	}
	const uint8_t *at = item->data + item->group_len;
	for (size_t i = 0; i < PARTIAL_COLS; i++) {
		buf_put(&cols[COL_PARTIAL + i], at, item->col_len[i]);
		at += item->col_len[i];
	}
}

static void put_stream(const struct out_stream *st, struct item *items, size_t n, struct buf *table, struct buf cols[COLS])
{
	uint32_t groups = put_groups(items, n, &cols[COL_DICT]);
	qsort(items, n, sizeof(*items), by_stream_and_slice);
	uint8_t units = units_of(st, items, n);
	uint64_t slice_unit = units & UNIT_SLICES ? (uint64_t)st->slice_ns : 1;
	uint32_t slices = put_slices(items, n, slice_unit, &cols[COL_SLICE], &cols[COL_GROUP]);
	for (size_t i = 0; i < n; i++)
		put_item(&items[i], st, time_unit_ns(units & UNIT_TIME), cols);
	buf_str(table, st->name);
	buf_u32(table, st->version);
	buf_u8(table, (uint8_t)st->spec.parts);
	buf_u8(table, (uint8_t)st->spec.distinct_count);
	buf_varint(table, (uint64_t)st->slice_ns);
	buf_u8(table, units);
	buf_varint(table, groups);
	buf_varint(table, slices);
}

static void put_raw(struct batch_writer *w, struct buf *raw)
{
	struct buf cols[COLS] = {{0}};
	rank_streams(w);
	if (w->item_count)
		qsort(w->items, w->item_count, sizeof(*w->items), by_stream_and_group);
	buf_varint(raw, w->stream_count);
	for (size_t s = 0, i = 0, end; s < w->stream_count; s++, i = end) {
		for (end = i; end < w->item_count && w->items[end].stream == s; end++)
			;
		put_stream(&w->streams[s], w->items + i, end - i, raw, cols);
	}
	for (size_t i = 0; i < COLS; i++)
		buf_varint(raw, cols[i].len);
	for (size_t i = 0; i < COLS; i++) {
		buf_put(raw, cols[i].data, cols[i].len);
		buf_free(&cols[i]);
	}
}

static void put_head(struct buf *out, uint8_t flags, uint32_t shard, uint64_t seq, size_t raw_len)
{
	buf_u8(out, BATCH_FORMAT);
	buf_u8(out, flags);
	buf_varint(out, shard);
	buf_varint(out, seq);
	buf_varint(out, raw_len);
}

void batch_writer_finish(struct batch_writer *w, uint64_t seq, struct buf *out)
{
	struct buf raw = {0}, zipped = {0};
	put_raw(w, &raw);
	weir_assert(raw.len <= w->bound && raw.len <= RAW_LIMIT);
	bool zip = zip_pack(raw.data, raw.len, &zipped);
	put_head(out, zip ? FLAG_ZSTD : 0, w->shard, seq, raw.len);
	buf_put(out, zip ? zipped.data : raw.data, zip ? zipped.len : raw.len);
	buf_free(&raw);
	buf_free(&zipped);
	writer_clear(w);
}

/* ---- reader ---- */

struct place {
	uint32_t stream;
	uint32_t group; /* into group_ends of the whole batch */
	int64_t slice_ns;
};

struct batch_reader {
	uint32_t shard;
	uint64_t seq;
	uint8_t *raw;
	struct batch_stream *streams;
	struct in_stream {
		uint8_t units;
		uint32_t groups, slices, first_group;
	} *more; /* beside streams */
	size_t stream_count;
	struct buf groups;    /* of all streams, one after another */
	uint32_t *group_ends; /* group i is the bytes from end i to end i + 1 */
	size_t group_count;
	struct place *places;
	size_t count;
	uint64_t readings;
	struct rd cols[COLS];
	size_t at;
	int err;     /* the first one of batch_reader_next */
	bool loaded; /* item.partial holds something */
	struct batch_item item;
};

struct head {
	uint8_t flags;
	uint32_t shard;
	uint64_t seq;
	uint32_t raw_len;
};

static int get_head(struct rd *r, struct head *ret_head)
{
	uint8_t format = rd_u8(r), flags = rd_u8(r);
	if (r->err)
		return r->err;
	if (format != BATCH_FORMAT || flags & ~FLAG_ZSTD)
		return WEIR_EVERSION;
	struct head h = {.flags = flags};
	h.shard = (uint32_t)rd_varint_max(r, SHARDS_MAX - 1);
	h.seq = rd_varint(r);
	uint64_t raw_len = rd_varint(r);
	if (!r->err && raw_len > BATCH_RAW_MAX)
		return WEIR_ETOOBIG;
	h.raw_len = (uint32_t)raw_len;
	*ret_head = h;
	return r->err;
}

static int unpack(struct batch_reader *b, struct rd *r, const struct head *h, struct rd *ret_raw)
{
	size_t left = rd_left(r);
	b->raw = xmalloc(h->raw_len);
	if (h->flags & FLAG_ZSTD) {
		int err = zip_unpack(r->p, left, b->raw, h->raw_len);
		if (err)
			return err;
	} else if (left != h->raw_len) {
		return left < h->raw_len ? WEIR_ETRUNCATED : WEIR_ECORRUPT;
	} else if (left) {
		memcpy(b->raw, r->p, left);
	}
	*ret_raw = rd_init(b->raw, h->raw_len);
	return 0;
}

static bool name_ok(const char *s)
{
	size_t n = strlen(s);
	return n && n <= NAME_MAX_BYTES &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static int get_stream(struct rd *r, struct batch_stream *st, struct in_stream *more)
{
	st->name = rd_str(r, NAME_MAX_BYTES);
	st->version = rd_u32(r);
	st->spec.parts = rd_u8(r);
	st->spec.distinct_count = rd_u8(r);
	st->slice_ns = (int64_t)rd_varint_max(r, INT64_MAX);
	more->units = rd_u8(r);
	more->groups = (uint32_t)rd_varint_max(r, BATCH_PARTIALS_MAX);
	more->slices = (uint32_t)rd_varint_max(r, BATCH_PARTIALS_MAX);
	if (r->err)
		return r->err;
	if (!name_ok(st->name) || st->spec.parts & ~PARTIAL_PARTS_ALL || st->spec.distinct_count > DISTINCTS_MAX ||
	    st->slice_ns < 1 || more->units & ~(UNIT_TIME | UNIT_SLICES) || !more->groups || !more->slices)
		return WEIR_ECORRUPT;
	return 0;
}

static int get_streams(struct batch_reader *b, struct rd *r)
{
	uint32_t n = (uint32_t)rd_varint_max(r, BATCH_STREAMS_MAX);
	if (r->err)
		return r->err;
	b->streams = xcalloc(n, sizeof(*b->streams));
	b->more = xcalloc(n, sizeof(*b->more));
	for (uint32_t i = 0; i < n; i++) {
		struct batch_stream *st = &b->streams[i];
		b->stream_count++; /* so that the name is freed */
		int err = get_stream(r, st, &b->more[i]);
		if (err)
			return err;
		int order = i ? strcmp(st[-1].name, st->name) : -1;
		if (order > 0 || (order == 0 && st[-1].version >= st->version))
			return WEIR_ECORRUPT;
		b->more[i].first_group = (uint32_t)b->group_count;
		b->group_count += b->more[i].groups;
	}
	return b->group_count > BATCH_PARTIALS_MAX ? WEIR_ECORRUPT : 0;
}

static int get_columns(struct batch_reader *b, struct rd *r)
{
	size_t lens[COLS];
	for (size_t i = 0; i < COLS; i++)
		lens[i] = (size_t)rd_varint_max(r, BATCH_RAW_MAX);
	for (size_t i = 0; i < COLS; i++) {
		const uint8_t *p = rd_raw(r, lens[i]);
		if (!p)
			return r->err;
		b->cols[i] = rd_init(p, lens[i]);
	}
	return rd_finish(r);
}

/* One group of the dictionary, appended to b->groups; start: where the one before it in the same stream starts. */
static int get_group(struct batch_reader *b, struct rd *dict, size_t start, bool first)
{
	size_t before = b->groups.len - start, n;
	size_t shared = (size_t)rd_varint_max(dict, first ? 0 : before);
	const uint8_t *rest = rd_bytes(dict, GROUP_KEY_MAX - (shared < GROUP_KEY_MAX ? shared : GROUP_KEY_MAX), &n);
	if (dict->err)
		return dict->err;
	size_t at = b->groups.len;
	uint8_t *room = buf_reserve(&b->groups, shared + n);
	memmove(room, b->groups.data + start, shared);
	if (n)
		memcpy(room + shared, rest, n);
	b->groups.len += shared + n;
	if (!first && compare_bytes(b->groups.data + start, before, b->groups.data + at, shared + n) >= 0)
		return WEIR_ECORRUPT;
	return 0;
}

static int get_dict(struct batch_reader *b)
{
	struct rd *dict = &b->cols[COL_DICT];
	buf_reserve(&b->groups, 1); /* so that a batch of empty groups has an address for them */
	if (b->group_count * 2 > rd_left(dict))
		return WEIR_ECORRUPT;
	b->group_ends = xcalloc(b->group_count + 1, sizeof(*b->group_ends));
	for (size_t s = 0, i = 0; s < b->stream_count; s++) {
		for (uint32_t g = 0; g < b->more[s].groups; g++, i++) {
			int err = get_group(b, dict, g ? b->group_ends[i - 1] : b->groups.len, g == 0);
			if (err)
				return err;
			b->group_ends[i + 1] = (uint32_t)b->groups.len;
		}
	}
	return rd_finish(dict);
}

/* The group numbers of one slice's partials, into b->places. */
static int get_slice_groups(struct batch_reader *b, uint32_t stream, int64_t slice_ns, uint64_t n)
{
	const struct in_stream *more = &b->more[stream];
	struct rd *col = &b->cols[COL_GROUP];
	uint64_t number = 0;
	for (uint64_t i = 0; i < n; i++) {
		number += rd_varint_max(col, BATCH_PARTIALS_MAX) + (i ? 1 : 0);
		if (col->err)
			return col->err;
		if (number >= more->groups)
			return WEIR_ECORRUPT;
		b->places[b->count++] = (struct place){stream, more->first_group + (uint32_t)number, slice_ns};
	}
	return 0;
}

static int get_slices(struct batch_reader *b, uint32_t stream, size_t room)
{
	struct rd *col = &b->cols[COL_SLICE];
	int64_t unit = b->more[stream].units & UNIT_SLICES ? b->streams[stream].slice_ns : 1, start = 0, step;
	for (uint32_t i = 0; i < b->more[stream].slices; i++) {
		if (i == 0)
			start = rd_svarint(col);
		else if (__builtin_mul_overflow(rd_varint_max(col, INT64_MAX), unit, &step) || step == 0 ||
		    __builtin_add_overflow(start, step, &start))
			return col->err ? col->err : WEIR_ECORRUPT;
		uint64_t n = rd_varint_max(col, BATCH_PARTIALS_MAX);
		if (col->err)
			return col->err;
		if (!n || n > room - b->count)
			return WEIR_ECORRUPT;
		int err = get_slice_groups(b, stream, start, n);
		if (err)
			return err;
	}
	return 0;
}

static int get_places(struct batch_reader *b)
{
	/* each partial has a byte in GROUP at least, which bounds what is allocated */
	size_t room = rd_left(&b->cols[COL_GROUP]);
	if (room > BATCH_PARTIALS_MAX * 3)
		return WEIR_ECORRUPT;
	if (room > BATCH_PARTIALS_MAX)
		room = BATCH_PARTIALS_MAX;
	b->places = xcalloc(room, sizeof(*b->places));
	for (uint32_t s = 0; s < b->stream_count; s++) {
		int err = get_slices(b, s, room);
		if (err)
			return err;
	}
	int err = rd_finish(&b->cols[COL_SLICE]);
	return err ? err : rd_finish(&b->cols[COL_GROUP]);
}

static int sum_counts(struct batch_reader *b)
{
	struct rd counts = b->cols[COL_PARTIAL + PARTIAL_COL_COUNT];
	for (size_t i = 0; i < b->count; i++) {
		uint64_t n = rd_varint(&counts);
		if (!counts.err && !n)
			return WEIR_ECORRUPT;
		b->readings = b->readings > UINT64_MAX - n ? UINT64_MAX : b->readings + n;
	}
	return rd_finish(&counts);
}

static int reader_load(struct batch_reader *b, const void *body, size_t len)
{
	struct rd r = rd_init(body, len), raw;
	struct head h;
	if (len > BATCH_BODY_MAX)
		return WEIR_ETOOBIG;
	int err = get_head(&r, &h);
	if (err)
		return err;
	b->shard = h.shard;
	b->seq = h.seq;
	err = unpack(b, &r, &h, &raw);
	if (!err)
		err = get_streams(b, &raw);
	if (!err)
		err = get_columns(b, &raw);
	if (!err)
		err = get_dict(b);
	if (!err)
		err = get_places(b);
	return err ? err : sum_counts(b);
}

int batch_reader_open(const void *body, size_t len, struct batch_reader **ret_reader)
{
	struct batch_reader *b = xcalloc(1, sizeof(*b));
	int err = reader_load(b, body, len);
	if (err) {
		batch_reader_close(b);
		return err;
	}
	*ret_reader = b;
	return 0;
}

static void drop_item(struct batch_reader *b)
{
	if (b->loaded)
		partial_clear(&b->item.partial, &b->streams[b->item.stream].spec);
	b->loaded = false;
}

void batch_reader_close(struct batch_reader *b)
{
	if (!b)
		return;
	drop_item(b);
	for (size_t i = 0; i < b->stream_count; i++)
		free((char *)b->streams[i].name);
	free(b->streams);
	free(b->more);
	free(b->raw);
	free(b->group_ends);
	free(b->places);
	buf_free(&b->groups);
	free(b);
}

uint32_t batch_reader_shard(const struct batch_reader *b)
{
	return b->shard;
}

uint64_t batch_reader_seq(const struct batch_reader *b)
{
	return b->seq;
}

size_t batch_reader_count(const struct batch_reader *b)
{
	return b->count;
}

uint64_t batch_reader_readings(const struct batch_reader *b)
{
	return b->readings;
}

size_t batch_reader_stream_count(const struct batch_reader *b)
{
	return b->stream_count;
}

const struct batch_stream *batch_reader_stream(const struct batch_reader *b, size_t i)
{
	weir_assert(i < b->stream_count);
	return &b->streams[i];
}

/* The times of an item, relative to its slice. */
static int get_times(struct rd *col, int64_t slice_ns, int64_t unit, struct partial *p)
{
	int64_t first = rd_svarint(col), offset, span;
	uint64_t length = rd_varint_max(col, INT64_MAX);
	if (col->err)
		return col->err;
	if (__builtin_mul_overflow(first, unit, &offset) || __builtin_add_overflow(slice_ns, offset, &p->first_ns) ||
	    __builtin_mul_overflow(length, unit, &span) || __builtin_add_overflow(p->first_ns, span, &p->last_ns))
		return WEIR_ECORRUPT;
	return 0;
}

/* The readers of an item's columns, in the order of enum partial_column. */
static void partial_columns(struct batch_reader *b, struct rd *ret_cols[PARTIAL_COLS])
{
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		ret_cols[i] = &b->cols[COL_PARTIAL + i];
}

static int get_item_times(struct batch_reader *b, const struct place *place, struct partial *p)
{
	if (!(b->streams[place->stream].spec.parts & PARTIAL_FIRSTLAST))
		return 0;
	return get_times(&b->cols[COL_TIME], place->slice_ns,
	    time_unit_ns(b->more[place->stream].units & UNIT_TIME), p);
}

static int get_item(struct batch_reader *b, const struct place *place, struct partial *p)
{
	const struct partial_spec *spec = &b->streams[place->stream].spec;
	struct rd *cols[PARTIAL_COLS];
	partial_columns(b, cols);
	int err = partial_get_columns(cols, spec, p);
	if (!err)
		err = get_item_times(b, place, p);
	return err ? err : partial_check(p, spec);
}

static int skim_item(struct batch_reader *b, const struct place *place, struct partial_packed *p)
{
	const struct partial_spec *spec = &b->streams[place->stream].spec;
	struct rd *cols[PARTIAL_COLS];
	partial_columns(b, cols);
	int err = partial_skim_columns(cols, spec, p);
	if (!err)
		err = get_item_times(b, place, &p->numbers);
	return err ? err : partial_check_packed(p, spec);
}

static struct bytes group_at(const struct batch_reader *b, const struct place *place)
{
	uint32_t start = b->group_ends[place->group];
	return bytes_of(b->groups.data + start, b->group_ends[place->group + 1] - start);
}

static int reader_end(const struct batch_reader *b)
{
	for (size_t i = 0; i < COLS; i++) {
		int err = rd_finish(&b->cols[i]);
		if (err)
			return err;
	}
	return 0;
}

int batch_reader_next(struct batch_reader *b, struct batch_item **ret_item)
{
	drop_item(b);
	if (b->err)
		return b->err;
	if (b->at == b->count)
		return reader_end(b);
	const struct place *place = &b->places[b->at];
	struct partial p = {0};
	b->err = get_item(b, place, &p);
	if (b->err) {
		partial_clear(&p, &b->streams[place->stream].spec);
		return b->err;
	}
	b->at++;
	b->loaded = true;
	b->item = (struct batch_item){
	    .stream = place->stream,
	    .slice_start_ns = place->slice_ns,
	    .group = group_at(b, place),
	    .partial = p,
	};
	*ret_item = &b->item;
	return 1;
}

int batch_reader_next_packed(struct batch_reader *b, struct batch_packed *ret_item)
{
	drop_item(b);
	if (b->err)
		return b->err;
	if (b->at == b->count)
		return reader_end(b);
	const struct place *place = &b->places[b->at];
	b->err = skim_item(b, place, &ret_item->partial);
	if (b->err)
		return b->err;
	b->at++;
	ret_item->stream = place->stream;
	ret_item->slice_start_ns = place->slice_ns;
	ret_item->group = group_at(b, place);
	return 1;
}

uint64_t batch_checksum(const void *body, size_t len)
{
	return XXH3_64bits(body, len);
}

int batch_head(const void *body, size_t len, uint32_t *ret_shard, uint64_t *ret_seq)
{
	struct rd r = rd_init(body, len);
	struct head h;
	int err = get_head(&r, &h);
	if (err)
		return err;
	size_t left = rd_left(&r);
	if (h.flags & FLAG_ZSTD ? !zip_whole(r.p, left, h.raw_len) : left != h.raw_len)
		return left < h.raw_len && !(h.flags & FLAG_ZSTD) ? WEIR_ETRUNCATED : WEIR_ECORRUPT;
	*ret_shard = h.shard;
	*ret_seq = h.seq;
	return 0;
}

int batch_renumber(const void *body, size_t len, uint64_t seq, struct buf *out)
{
	struct rd r = rd_init(body, len);
	struct head h;
	int err = get_head(&r, &h);
	if (err)
		return err;
	put_head(out, h.flags, h.shard, seq, h.raw_len);
	buf_put(out, r.p, rd_left(&r));
	return 0;
}
