#include "common/rows.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define ROWS_FORMAT 1

/* ---- the question ------------------------------------------------------------------------------------------ */

/* [format u8][stream text][version u32][from, to, size, advance, offset svarint][flags u8][by count, indexes]
 * [where count, (index + 1 or 0, text)][limit][after start svarint, after group: where flagged]. A text is varint
 * length with its NUL, the bytes, the NUL: so that it can be used in place. */
enum spec_flag { SPEC_OWN_WINDOW = 1, SPEC_OWN_BY = 2, SPEC_ONLY_FINAL = 4, SPEC_AFTER = 8, SPEC_FLAGS = 15 };

const char *window_state_text(enum window_state s)
{
	switch (s) {
	case WINDOW_OPEN:
		return "open";
	case WINDOW_PROVISIONAL:
		return "provisional";
	case WINDOW_FINAL:
		return "final";
	}
	return "unknown";
}

static void put_text(struct buf *out, const char *s)
{
	buf_bytes(out, s, strlen(s) + 1);
}

static const char *get_text(struct rd *r, size_t max)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, max + 1, &n);
	if (r->err)
		return "";
	if (!n || memchr(p, 0, n) != p + n - 1) {
		r->err = WEIR_ECORRUPT;
		return "";
	}
	return (const char *)p;
}

void rows_spec_encode(const struct rows_spec *s, struct buf *out)
{
	buf_u8(out, ROWS_FORMAT);
	put_text(out, s->stream);
	buf_u32(out, s->version);
	buf_svarint(out, s->from_ns);
	buf_svarint(out, s->to_ns);
	buf_svarint(out, s->size_ns);
	buf_svarint(out, s->advance_ns);
	buf_svarint(out, s->offset_ns);
	buf_u8(out, (uint8_t)((s->own_window ? SPEC_OWN_WINDOW : 0) | (s->own_by ? SPEC_OWN_BY : 0) |
	    (s->only_final ? SPEC_ONLY_FINAL : 0) | (s->after ? SPEC_AFTER : 0)));
	buf_varint(out, s->by_count);
	for (uint32_t i = 0; i < s->by_count; i++)
		buf_varint(out, s->by[i]);
	buf_varint(out, s->where_count);
	for (uint32_t i = 0; i < s->where_count; i++) {
		buf_varint(out, s->where[i].by == UINT32_MAX ? 0 : (uint64_t)s->where[i].by + 1);
		put_text(out, s->where[i].value);
	}
	buf_varint(out, s->limit);
	if (s->after) {
		buf_svarint(out, s->after_start_ns);
		buf_bytes(out, s->after_group.p, s->after_group.n);
	}
}

static void get_spec(struct rd *r, struct rows_spec *s)
{
	s->stream = get_text(r, NAME_MAX_BYTES);
	s->version = rd_u32(r);
	s->from_ns = rd_svarint(r);
	s->to_ns = rd_svarint(r);
	s->size_ns = rd_svarint(r);
	s->advance_ns = rd_svarint(r);
	s->offset_ns = rd_svarint(r);
	unsigned flags = rd_u8(r);
	if (flags & ~(unsigned)SPEC_FLAGS && !r->err)
		r->err = WEIR_ECORRUPT;
	s->own_window = flags & SPEC_OWN_WINDOW;
	s->own_by = flags & SPEC_OWN_BY;
	s->only_final = flags & SPEC_ONLY_FINAL;
	s->after = flags & SPEC_AFTER;
	s->by_count = (uint32_t)rd_varint_max(r, BY_MAX);
	for (uint32_t i = 0; i < s->by_count; i++)
		s->by[i] = (uint32_t)rd_varint_max(r, BY_MAX - 1);
	s->where_count = (uint32_t)rd_varint_max(r, ROWS_WHERE_MAX);
	for (uint32_t i = 0; i < s->where_count; i++) {
		uint32_t by = (uint32_t)rd_varint_max(r, BY_MAX);
		s->where[i].by = by ? by - 1 : UINT32_MAX;
		s->where[i].value = get_text(r, SIZE_MAX / 2);
	}
	s->limit = (uint32_t)rd_varint_max(r, UINT32_MAX);
	if (s->after) {
		s->after_start_ns = rd_svarint(r);
		s->after_group.p = rd_bytes(r, GROUP_KEY_MAX, &s->after_group.n);
	}
}

static bool tags_fit(const struct rows_spec *s, const struct stream_conf *stream)
{
	uint32_t seen = 0;
	bool own = s->by_count == stream->by_count;
	for (uint32_t i = 0; i < s->by_count; i++) {
		if (s->by[i] >= stream->by_count || seen & (1u << s->by[i]))
			return false;
		seen |= 1u << s->by[i];
		own &= s->by[i] == i;
	}
	for (uint32_t i = 0; i < s->where_count; i++) {
		if (s->where[i].by != UINT32_MAX && s->where[i].by >= stream->by_count)
			return false;
	}
	return own == s->own_by;
}

static bool window_fits(const struct rows_spec *s, const struct stream_conf *stream)
{
	if (s->size_ns <= 0 || s->size_ns > ROWS_WINDOW_MAX_NS || s->advance_ns <= 0 || s->advance_ns > s->size_ns)
		return false;
	if (s->offset_ns < 0 || s->offset_ns > ROWS_WINDOW_MAX_NS)
		return false;
	if (s->size_ns % stream->slice_ns || s->advance_ns % stream->slice_ns || s->offset_ns % stream->slice_ns)
		return false;
	if (s->size_ns / s->advance_ns > SLICES_PER_WINDOW_MAX)
		return false;
	bool own = s->size_ns == stream->size_ns && s->advance_ns == stream->advance_ns &&
	    (s->offset_ns - stream->offset_ns) % s->advance_ns == 0;
	return own || !s->own_window;
}

int rows_spec_decode(struct bytes raw, const struct topology *t, struct rows_spec *ret, const struct stream_conf **ret_stream)
{
	struct rd r = rd_init(raw.p, raw.n);
	struct rows_spec s = {0};
	uint8_t format = rd_u8(&r);
	if (!r.err && format != ROWS_FORMAT)
		return WEIR_EVERSION;
	get_spec(&r, &s);
	int rc = rd_finish(&r);
	if (rc)
		return rc;
	int at = topology_stream_version_of(t, s.stream, s.version);
	if (at < 0)
		return topology_stream(t, s.stream) < 0 ? WEIR_ENOTFOUND : WEIR_EVERSION;
	const struct stream_conf *stream = &t->streams[at];
	if (!tags_fit(&s, stream) || !window_fits(&s, stream) || !s.limit)
		return WEIR_ECORRUPT;
	*ret = s;
	*ret_stream = stream;
	return 0;
}

/* ---- the answer -------------------------------------------------------------------------------------------- */

/* [format u8][close, final svarint][count varint], then rows: [flags u8][start, less the previous row's, svarint]
 * [length varint][group][revision][edges: unless those of the previous row][outbox index, n][partial]. */
enum row_flag {
	ROW_STATE = 3,
	ROW_SAME_EDGES = 4,
	ROW_REVISION = 8,
	ROW_OUTBOX = 16,
	ROW_FLAGS = 31,
};
#define ROWS_HEAD_MAX 32

struct rows_writer {
	struct partial_spec spec;
	int64_t close_ns, final_ns;
	struct buf rows;
	struct buf edges, previous_edges; /* encoded */
	size_t count;
	int64_t start_ns;
};

struct rows_writer *rows_writer_new(const struct partial_spec *spec, int64_t close_ns, int64_t final_ns)
{
	struct rows_writer *w = xcalloc(1, sizeof(*w));
	w->spec = *spec;
	w->close_ns = close_ns;
	w->final_ns = final_ns;
	return w;
}

void rows_writer_free(struct rows_writer *w)
{
	if (!w)
		return;
	buf_free(&w->rows);
	buf_free(&w->edges);
	buf_free(&w->previous_edges);
	free(w);
}

static void put_edges(const struct rows_edges *e, struct buf *out)
{
	weir_assert(e->missing_count <= ROWS_MISSING_MAX);
	buf_varint(out, e->expected);
	buf_varint(out, e->contributed);
	buf_varint(out, e->idle);
	buf_varint(out, e->partitioned);
	buf_varint(out, e->missing_count);
	for (uint32_t i = 0; i < e->missing_count; i++)
		buf_bytes(out, e->missing[i].p, e->missing[i].n);
}

/* Whether the row's edges are those of the row before it; remembers them. */
static bool same_edges(struct rows_writer *w, const struct rows_edges *e)
{
	buf_clear(&w->edges);
	put_edges(e, &w->edges);
	bool same = w->count && w->edges.len == w->previous_edges.len &&
	    !memcmp(w->edges.data, w->previous_edges.data, w->edges.len);
	if (!same) {
		struct buf swap = w->edges;
		w->edges = w->previous_edges;
		w->previous_edges = swap;
	}
	return same;
}

void rows_writer_add(struct rows_writer *w, const struct row *r)
{
	weir_assert(r->end_ns > r->start_ns);
	bool same = same_edges(w, &r->edges);
	bool outbox = r->outbox_index || r->outbox_n;
	struct buf *out = &w->rows;
	buf_u8(out, (uint8_t)((unsigned)r->state | (same ? ROW_SAME_EDGES : 0) | (r->revision ? ROW_REVISION : 0) |
	    (outbox ? ROW_OUTBOX : 0)));
	buf_svarint(out, (int64_t)((uint64_t)r->start_ns - (uint64_t)w->start_ns));
	buf_varint(out, (uint64_t)r->end_ns - (uint64_t)r->start_ns);
	buf_bytes(out, r->group.p, r->group.n);
	if (r->revision)
		buf_varint(out, r->revision);
	if (!same)
		buf_put(out, w->previous_edges.data, w->previous_edges.len);
	if (outbox) {
		buf_varint(out, r->outbox_index);
		buf_varint(out, r->outbox_n);
	}
	partial_encode(&r->partial, &w->spec, out);
	w->start_ns = r->start_ns;
	w->count++;
}

size_t rows_writer_bytes(const struct rows_writer *w)
{
	return ROWS_HEAD_MAX + w->rows.len;
}

size_t rows_writer_count(const struct rows_writer *w)
{
	return w->count;
}

void rows_writer_finish(struct rows_writer *w, struct buf *out)
{
	buf_u8(out, ROWS_FORMAT);
	buf_svarint(out, w->close_ns);
	buf_svarint(out, w->final_ns);
	buf_varint(out, w->count);
	buf_put(out, w->rows.data, w->rows.len);
}

struct rows_reader {
	struct partial_spec spec;
	uint8_t *raw; /* a copy: groups and names of rows point into it */
	struct rd r;
	int64_t close_ns, final_ns;
	uint64_t left;
	bool first;
	struct row row;
};

int rows_reader_open(struct bytes raw, const struct partial_spec *spec, struct rows_reader **ret_reader)
{
	struct rd head = rd_init(raw.p, raw.n);
	uint8_t format = rd_u8(&head);
	if (head.err)
		return head.err;
	if (format != ROWS_FORMAT)
		return WEIR_EVERSION;
	struct rows_reader *r = xcalloc(1, sizeof(*r));
	r->raw = xmalloc(raw.n);
	memcpy(r->raw, raw.p, raw.n);
	r->r = rd_init(r->raw + 1, raw.n - 1);
	r->spec = *spec;
	r->first = true;
	r->close_ns = rd_svarint(&r->r);
	r->final_ns = rd_svarint(&r->r);
	r->left = rd_varint(&r->r);
	int rc = r->r.err;
	if (!rc && !r->left)
		rc = rd_finish(&r->r);
	if (rc) {
		rows_reader_close(r);
		return rc;
	}
	*ret_reader = r;
	return 0;
}

void rows_reader_close(struct rows_reader *r)
{
	if (!r)
		return;
	partial_clear(&r->row.partial, &r->spec);
	free(r->raw);
	free(r);
}

int64_t rows_reader_close_ns(const struct rows_reader *r)
{
	return r->close_ns;
}

int64_t rows_reader_final_ns(const struct rows_reader *r)
{
	return r->final_ns;
}

static void get_edges(struct rd *r, struct rows_edges *e)
{
	*e = (struct rows_edges){0};
	e->expected = (uint32_t)rd_varint_max(r, UINT32_MAX);
	e->contributed = (uint32_t)rd_varint_max(r, UINT32_MAX);
	e->idle = (uint32_t)rd_varint_max(r, UINT32_MAX);
	e->partitioned = (uint32_t)rd_varint_max(r, UINT32_MAX);
	e->missing_count = (uint32_t)rd_varint_max(r, ROWS_MISSING_MAX);
	for (uint32_t i = 0; i < e->missing_count; i++)
		e->missing[i].p = rd_bytes(r, NAME_MAX_BYTES, &e->missing[i].n);
}

static bool row_is_possible(const struct row *row, uint64_t length, unsigned flags, bool first)
{
	if (flags & ~(unsigned)ROW_FLAGS || (flags & ROW_STATE) > WINDOW_FINAL || (first && flags & ROW_SAME_EDGES))
		return false;
	return length > 0 && length <= ROWS_WINDOW_MAX_NS && row->start_ns >= INT64_MIN / 2 &&
	    row->start_ns <= INT64_MAX - (int64_t)length;
}

static int get_row(struct rows_reader *reader)
{
	struct rd *r = &reader->r;
	struct row *row = &reader->row;
	unsigned flags = rd_u8(r);
	row->start_ns = (int64_t)((uint64_t)row->start_ns + (uint64_t)rd_svarint(r));
	uint64_t length = rd_varint(r);
	if (r->err)
		return r->err;
	if (!row_is_possible(row, length, flags, reader->first))
		return WEIR_ECORRUPT;
	row->end_ns = row->start_ns + (int64_t)length;
	row->group.p = rd_bytes(r, GROUP_KEY_MAX, &row->group.n);
	row->state = (enum window_state)(flags & ROW_STATE);
	row->revision = flags & ROW_REVISION ? rd_varint(r) : 0;
	if (!(flags & ROW_SAME_EDGES))
		get_edges(r, &row->edges);
	row->outbox_index = flags & ROW_OUTBOX ? rd_varint(r) : 0;
	row->outbox_n = flags & ROW_OUTBOX ? (uint32_t)rd_varint_max(r, UINT32_MAX) : 0;
	return r->err ? r->err : partial_decode(r, &reader->spec, &row->partial);
}

int rows_reader_next(struct rows_reader *r, struct row **ret_row)
{
	partial_clear(&r->row.partial, &r->spec);
	if (r->r.err)
		return r->r.err;
	if (!r->left)
		return 0;
	int rc = get_row(r);
	r->left--;
	if (!rc && !r->left)
		rc = rd_finish(&r->r);
	if (rc) {
		r->r.err = rc; /* and so each later call */
		partial_clear(&r->row.partial, &r->spec);
		return rc;
	}
	r->first = false;
	*ret_row = &r->row;
	return 1;
}
