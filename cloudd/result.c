#include "cloudd/result.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/completeness.h"
#include "cloudd/outbox.h"
#include "cloudd/scan.h"
#include "cloudd/shard.h"
#include "cloudd/sweep.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/row_group.h"
#include "common/row_table.h"
#include "common/window.h"

/* Windows of up to so many slices are gone through group by group, with a cursor per slice, and so can be left and taken
 * up at any group. Beyond it, and where groups are merged into fewer, a window's groups are gathered in a table. */
#define SCAN_SLICES_MAX 2000
#define TABLE_MIN 64 /* groups */
#define LOOK_RECORDS 512 /* between looks at the clock */

/* What one answer needs of the shard, read once. */
struct reading {
	const struct topology *topology;
	const struct stream_conf *stream;
	struct kv_txn *txn;
	unsigned db;
	uint32_t id; /* 0: the shard has not heard of the stream: there are no rows */
	struct partial_spec spec;
	struct shard_advance advance;
	int64_t kept_ns; /* see result_kept() */
	struct window_levels levels;
	struct window_floors floors;
	struct window_grid grid;
	bool own_window, own_by;
	uint64_t examined;
	uint64_t gone; /* rows of the outbox whose windows are */
	/* of the window that rows are made of */
	int64_t edges_ns; /* start of the window that `edges` is about */
	bool have_edges;
	struct rows_edges edges;
};

static int64_t close_of(const struct reading *r)
{
	return r->advance.meta_index ? r->advance.close.close_ns : WATERMARK_NONE;
}

static int64_t final_of(const struct reading *r)
{
	return r->advance.meta_index ? r->advance.close.final_ns : WATERMARK_NONE;
}

static int reading_open(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    struct reading *ret)
{
	*ret = (struct reading){.topology = t, .stream = stream, .txn = txn, .db = STATE_DB_GROUP(shard + 1),
	    .grid = window_grid_of(stream), .own_window = true, .own_by = true};
	partial_spec_of(stream, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &ret->spec);
	struct shard_age age = {.close_ns = WATERMARK_NONE};
	int rc = state_readable(txn, ret->db);
	if (!rc)
		rc = shard_read_id(txn, ret->db, bytes_of(stream->name, strlen(stream->name)), stream->version, &ret->id);
	if (!rc)
		rc = shard_read_floors(txn, ret->db, ret->id, &ret->floors);
	if (!rc)
		rc = shard_read_age(txn, ret->db, ret->id, &age);
	if (!rc)
		rc = shard_read_advance(txn, ret->db, ret->id, &ret->advance);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	ret->kept_ns = shard_later_ns(close_of(ret), &age);
	window_levels_at(stream, ret->kept_ns, &ret->levels);
	window_levels_raise(&ret->levels, &ret->floors);
	return 0;
}

static void reading_close(struct reading *r)
{
	shard_advance_clear(&r->advance);
}

/* ---- rows -------------------------------------------------------------------------------------------------- */

static enum window_state state_of(const struct reading *r, int64_t end_ns)
{
	if (final_of(r) != WATERMARK_NONE && end_ns <= final_of(r))
		return WINDOW_FINAL;
	return close_of(r) != WATERMARK_NONE && end_ns <= close_of(r) ? WINDOW_PROVISIONAL : WINDOW_OPEN;
}

/* 0 where there is none: open windows, and those that are not the stream's own. */
static int revision_of(const struct reading *r, const struct row *row, uint64_t *ret)
{
	*ret = 0;
	if (!r->own_window || !r->own_by || row->state == WINDOW_OPEN)
		return 0;
	struct state_key k;
	struct bytes value;
	uint64_t raised;
	*ret = 1;
	state_key_revision(&k, r->id, row->start_ns, row->group);
	int rc = kv_get(r->txn, r->db, state_key_bytes(&k), &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	return revision_decode(value, ret, &raised);
}

/* Adds the row of a window and group; p stays the caller's. */
static int add_row(struct reading *r, struct rows_writer *w, int64_t start_ns, struct bytes group,
    const struct partial *p, uint64_t outbox_index, uint32_t outbox_n)
{
	struct row row = {.start_ns = start_ns, .end_ns = start_ns + r->grid.size_ns, .group = group, .partial = *p,
	    .outbox_index = outbox_index, .outbox_n = outbox_n};
	row.state = state_of(r, row.end_ns);
	int rc = revision_of(r, &row, &row.revision);
	if (!rc && (!r->have_edges || r->edges_ns != start_ns)) {
		rc = completeness_of(r->txn, r->db, r->id, r->topology, r->stream,
		    r->advance.meta_index ? &r->advance.close : NULL, r->own_window, row.start_ns, row.end_ns, &r->edges);
		r->have_edges = true;
		r->edges_ns = start_ns;
	}
	if (rc)
		return rc;
	row.edges = r->edges;
	if (row.edges.elsewhere && row.state == WINDOW_FINAL)
		row.state = WINDOW_PROVISIONAL;
	rows_writer_add(w, &row);
	return 0;
}

static int decode_value(const struct reading *r, struct bytes value, struct partial *ret)
{
	struct rd rd = rd_init(value.p, value.n);
	struct partial p = {0};
	if (partial_decode(&rd, &r->spec, &p))
		return WEIR_ECORRUPT;
	if (rd_finish(&rd)) {
		partial_clear(&p, &r->spec);
		return WEIR_ECORRUPT;
	}
	*ret = p;
	return 0;
}

static int merge_value(const struct reading *r, struct bytes value, struct partial *sum)
{
	struct partial p = {0};
	int rc = decode_value(r, value, &p);
	if (rc)
		return rc;
	if (partial_is_empty(sum)) {
		*sum = p; /* the first one: nothing to merge with */
		return 0;
	}
	partial_merge(sum, &p, &r->spec);
	partial_clear(&p, &r->spec);
	return 0;
}

/* ---- a query ----------------------------------------------------------------------------------------------- */

struct query {
	struct reading r;
	const struct rows_spec *spec;
	struct rows_writer *rows;
	bool full; /* the limit of rows, bytes or records is reached */
	int64_t deadline_ns;
	uint64_t look_at; /* records examined when the clock is looked at next */
};

static bool is_full(const struct query *q)
{
	size_t n = rows_writer_count(q->rows);
	return n && (n >= q->spec->limit || rows_writer_bytes(q->rows) >= ROWS_BYTES_MAX);
}

/* Enough was looked at for one reply. */
static bool is_long(const struct query *q)
{
	return rows_writer_count(q->rows) && q->r.examined >= RESULT_EXAMINED_MAX;
}

/* 0 or WEIR_ETIMEOUT. */
static int check_time(struct query *q)
{
	if (q->deadline_ns == INT64_MAX || q->r.examined < q->look_at)
		return 0;
	q->look_at = q->r.examined + LOOK_RECORDS;
	return clock_mono_ns() > q->deadline_ns ? WEIR_ETIMEOUT : 0;
}

/* The group that the row will have, and whether it passes the filters. */
static int project(const struct query *q, struct bytes group, uint8_t room[GROUP_KEY_MAX], struct bytes *ret_group, bool *ret_match)
{
	return row_group_of(q->spec, q->r.stream->by_count, group, room, ret_group, ret_match);
}

/* Whether this window was begun by an earlier reply, and behind which group it goes on. */
static bool resumes(const struct query *q, int64_t start_ns)
{
	return q->spec->after && q->spec->after_start_ns == start_ns;
}

/* One group of a scan. 1: it gave a row or was filtered; 0: full. */
static int scan_one(struct query *q, struct scan *scan, int64_t start_ns, struct bytes group)
{
	uint8_t room[GROUP_KEY_MAX];
	struct bytes out, value;
	bool match;
	int rc = check_time(q);
	if (!rc)
		rc = project(q, group, room, &out, &match);
	if (rc || !match)
		return rc ? rc : 1;
	q->full = is_full(q) || is_long(q);
	if (q->full)
		return 0;
	struct partial sum = {0};
	while ((rc = scan_partial(scan, &q->r.examined, &value)) > 0) {
		rc = merge_value(&q->r, value, &sum);
		if (!rc)
			rc = check_time(q);
		if (rc)
			break;
	}
	if (!rc)
		rc = add_row(&q->r, q->rows, start_ns, group, &sum, 0, 0);
	partial_clear(&sum, &q->r.spec);
	return rc ? rc : 1;
}

/* The groups as they are, one after the other. */
static int window_by_scan(struct query *q, int64_t start_ns)
{
	struct scan *scan;
	struct bytes group;
	int rc = scan_open(q->r.txn, q->r.db, q->r.id, &q->r.levels, start_ns, start_ns + q->r.grid.size_ns,
	    resumes(q, start_ns) ? &q->spec->after_group : NULL, &q->r.examined, &scan);
	if (rc)
		return rc;
	while ((rc = scan_group(scan, &q->r.examined, &group)) > 0) {
		rc = scan_one(q, scan, start_ns, group);
		if (rc <= 0)
			break;
	}
	scan_close(scan);
	return rc < 0 ? rc : 0;
}

/* ---- a window's groups in a table -------------------------------------------------------------------------- */

/* Whether the group is one of this reply's: behind what an earlier one gave, and before the bound. */
static bool table_takes(const struct query *q, const struct row_table *t, int64_t start_ns, struct bytes group)
{
	if (resumes(q, start_ns) && group_order(group, q->spec->after_group) <= 0)
		return false;
	return row_table_takes(t, start_ns, group);
}

static int gather_record(struct query *q, int64_t start_ns, struct bytes group, struct bytes value, struct row_table *t)
{
	uint8_t room[GROUP_KEY_MAX];
	struct bytes out;
	struct partial p = {0};
	bool match;
	int rc = check_time(q);
	if (!rc)
		rc = project(q, group, room, &out, &match);
	if (rc || !match || !table_takes(q, t, start_ns, out))
		return rc;
	rc = decode_value(&q->r, value, &p);
	if (!rc)
		row_table_merge(t, start_ns, out, 0, &q->r.spec, &p);
	return rc;
}

/* Merges what a level has in the window, in (start, group) order. */
static int gather_level(struct query *q, unsigned level, int64_t start_ns, struct row_table *t)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(q->r.txn, q->r.db, &c);
	if (rc)
		return rc;
	struct state_key k;
	struct bytes key, value;
	struct state_place place;
	int64_t end = start_ns + q->r.grid.size_ns;
	state_key_place(&k, STATE_PARTIAL, q->r.id, (uint8_t)level, start_ns, bytes_of(NULL, 0));
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	while (rc != WEIR_ENOTFOUND && rc != WEIR_EIO) {
		if (!state_place_of(key, STATE_PARTIAL, q->r.id, &place) || place.level != level ||
		    place.start_ns > end - q->r.levels.every_ns[level]) {
			rc = WEIR_ENOTFOUND;
			break;
		}
		if (!rc)
			rc = gather_record(q, start_ns, place.group, value, t);
		if (rc)
			break;
		q->r.examined++;
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int window_by_table(struct query *q, int64_t start_ns)
{
	size_t limit = q->spec->limit < RESULT_TABLE_MAX ? q->spec->limit : RESULT_TABLE_MAX;
	struct row_table t = {.keep = limit > TABLE_MIN ? limit : TABLE_MIN, .bytes_max = SIZE_MAX};
	int rc = 0;
	for (unsigned i = 0; i < q->r.levels.count && !rc; i++)
		rc = gather_level(q, i, start_ns, &t);
	row_table_sort(&t);
	for (size_t i = 0; i < t.count && !rc; i++) {
		const struct row_cell *c = t.cells[i];
		q->full = is_full(q);
		if (q->full)
			break;
		rc = add_row(&q->r, q->rows, start_ns, bytes_of(c->group, c->group_n), &c->partial, 0, 0);
	}
	q->full |= t.bounded;
	row_table_free(&t);
	return rc;
}

/* ---- window after window ----------------------------------------------------------------------------------- */

/* Not before this window, whatever data there are; WATERMARK_NONE: from the first data on. */
static int64_t first_window(const struct query *q)
{
	int64_t from = q->spec->from_ns;
	if (q->r.levels.horizon_ns != INT64_MIN && from < q->r.levels.horizon_ns)
		from = q->r.levels.horizon_ns;
	if (q->spec->after && from < q->spec->after_start_ns)
		from = q->spec->after_start_ns;
	if (from < TIME_MIN_NS - ROWS_WINDOW_MAX_NS)
		return WATERMARK_NONE;
	return window_ceil(&q->r.grid, from > TIME_MAX_NS ? TIME_MAX_NS : from);
}

/* The first window at or after *at that holds data. WEIR_ENOTFOUND: none. */
static int next_window(struct query *q, int64_t *at)
{
	int64_t start;
	int rc = scan_first(q->r.txn, q->r.db, q->r.id, &q->r.levels, *at, &q->r.examined, &start);
	if (rc)
		return rc;
	int64_t window = window_ending_after(&q->r.grid, start);
	if (window > *at)
		*at = window;
	return 0;
}

static int run(struct query *q)
{
	bool scan = q->spec->own_by && q->r.grid.size_ns / q->r.stream->slice_ns <= SCAN_SLICES_MAX;
	int64_t at = first_window(q);
	while (!q->full) {
		int rc = next_window(q, &at);
		if (rc == WEIR_ENOTFOUND || (!rc && at >= q->spec->to_ns))
			return 0;
		if (!rc)
			rc = check_time(q);
		if (rc)
			return rc;
		q->full = is_long(q);
		if (q->full)
			return 0;
		int64_t end = at + q->r.grid.size_ns;
		if (q->spec->only_final && state_of(&q->r, end) != WINDOW_FINAL)
			return 0; /* nor is any later one */
		bool never = q->spec->only_final && q->r.advance.meta_index &&
		    completeness_elsewhere(&q->r.advance.close, q->r.own_window, at, end);
		if (!never && window_answerable(&q->r.levels, at, end))
			rc = scan ? window_by_scan(q, at) : window_by_table(q, at);
		if (rc)
			return rc;
		at += q->r.grid.advance_ns;
	}
	return 0;
}

int result_query(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    const struct rows_spec *spec, int64_t deadline_ns, struct buf *out, bool *ret_more)
{
	struct query q = {.spec = spec, .deadline_ns = deadline_ns};
	int rc = reading_open(t, txn, shard, stream, &q.r);
	if (rc)
		return rc;
	q.r.grid = (struct window_grid){spec->size_ns, spec->advance_ns, spec->offset_ns};
	q.r.own_window = spec->own_window;
	q.r.own_by = spec->own_by;
	q.rows = rows_writer_new(&q.r.spec, close_of(&q.r), final_of(&q.r));
	if (q.r.id)
		rc = run(&q);
	if (rc == WEIR_ETIMEOUT && rows_writer_count(q.rows)) {
		rc = 0; /* what there is; the rest is asked for again */
		q.full = true;
	}
	if (!rc) {
		rows_writer_finish(q.rows, out);
		*ret_more = q.full;
	}
	rows_writer_free(q.rows);
	reading_close(&q.r);
	return rc;
}

int result_kept(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, int64_t *ret_kept_ns)
{
	struct reading r;
	int rc = reading_open(t, txn, shard, stream, &r);
	if (rc)
		return rc;
	*ret_kept_ns = r.kept_ns;
	reading_close(&r);
	return 0;
}

/* ---- the outbox -------------------------------------------------------------------------------------------- */

/* The place of the last row; of the last one deleted where none is left. */
static int outbox_end(const struct reading *r, const struct shard_sweep *sweep, struct sink_place *ret)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(r->txn, r->db, &c);
	if (rc)
		return rc;
	struct state_key prefix, k;
	struct bytes key, value;
	struct sink_place place;
	state_key_id(&prefix, STATE_OUTBOX, r->id);
	state_key_id(&k, STATE_OUTBOX, r->id + 1);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	if (rc == WEIR_ENOTFOUND)
		rc = kv_cursor_last(c, &key, &value);
	else if (!rc || rc == WEIR_ECORRUPT)
		rc = kv_cursor_prev(c, &key, &value);
	bool found = !rc && outbox_place_of(key, &prefix, &place);
	kv_cursor_close(c);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	*ret = found ? place : (struct sink_place){sweep->trimmed_index, sweep->trimmed_n};
	return 0;
}

/* The window of one group, from all levels, by (level, start). */
static int window_of_group(struct reading *r, int64_t start_ns, struct bytes group, struct partial *sum)
{
	int64_t end = start_ns + r->grid.size_ns;
	for (unsigned level = 0; level < r->levels.count; level++) {
		int64_t every = r->levels.every_ns[level];
		int64_t at = level ? window_period(&r->levels, level, start_ns) : start_ns;
		for (at += at < start_ns ? every : 0; at + every <= end; at += every) {
			struct state_key k;
			struct bytes value;
			state_key_place(&k, STATE_PARTIAL, r->id, (uint8_t)level, at, group);
			int rc = kv_get(r->txn, r->db, state_key_bytes(&k), &value);
			r->examined++;
			if (rc == WEIR_ENOTFOUND)
				continue;
			if (!rc)
				rc = merge_value(r, value, sum);
			if (rc)
				return rc;
		}
	}
	return 0;
}

/* Of the window that is read. */
static void set_size(struct reading *r, int64_t size_ns)
{
	r->have_edges &= size_ns == r->grid.size_ns;
	r->grid.size_ns = size_ns;
}

static int add_outbox_row(struct reading *r, struct rows_writer *w, struct sink_place place, struct bytes value)
{
	struct outbox_row row;
	int rc = outbox_row_decode(value, &row);
	if (!rc)
		set_size(r, row.size_ns ? row.size_ns : r->stream->size_ns);
	if (rc || row.window_ns < r->stream->from_ns || row.window_ns >= r->stream->answers_until_ns)
		return rc; /* another version's */
	if (!window_answerable(&r->levels, row.window_ns, row.window_ns + r->grid.size_ns)) {
		r->gone++; /* its data are, or are rolled up too coarsely: there is nothing to tell any more */
		return 0;
	}
	struct partial sum = {0};
	rc = window_of_group(r, row.window_ns, row.group, &sum);
	if (!rc && !partial_is_empty(&sum))
		rc = add_row(r, w, row.window_ns, row.group, &sum, place.index, place.n);
	partial_clear(&sum, &r->spec);
	return rc;
}

static int outbox_scan(struct reading *r, struct sink_place *at, uint32_t limit, struct rows_writer *w)
{
	struct kv_cursor *c;
	int rc = kv_cursor_open(r->txn, r->db, &c);
	if (rc)
		return rc;
	struct state_key prefix, k;
	struct bytes key, value;
	struct sink_place place;
	state_key_id(&prefix, STATE_OUTBOX, r->id);
	state_key_outbox(&k, r->id, at->index, at->n);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	for (uint32_t scanned = 0; !rc && outbox_place_of(key, &prefix, &place); scanned++) {
		bool is_new = place.index != at->index || place.n != at->n;
		if (is_new && (scanned > limit || rows_writer_count(w) >= limit || rows_writer_bytes(w) >= ROWS_BYTES_MAX ||
				  r->examined >= RESULT_EXAMINED_MAX))
			break;
		if (is_new)
			rc = add_outbox_row(r, w, place, value);
		if (rc)
			break;
		*at = place;
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static bool is_before(struct sink_place a, uint64_t index, uint32_t n)
{
	return a.index < index || (a.index == index && a.n < n);
}

/* Rows are told of applied entries only: a place beyond them was given by a shard that has since been made anew. */
static int is_foreign(const struct reading *r, uint32_t shard, struct sink_place at, bool *ret_foreign)
{
	struct apply_group_info info = {0};
	int rc = apply_read_group(r->txn, shard + 1, &info);
	*ret_foreign = at.index > info.applied;
	return rc;
}

static int run_outbox(struct reading *r, uint32_t shard, struct sink_place *at, uint32_t limit, struct rows_writer *w,
    bool *ret_reset)
{
	struct shard_sweep sweep = {0};
	bool foreign;
	int rc = shard_read_sweep(r->txn, r->db, r->id, &sweep);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	if (at->index == UINT64_MAX)
		return outbox_end(r, &sweep, at);
	rc = is_foreign(r, shard, *at, &foreign);
	if (rc)
		return rc;
	*ret_reset = foreign || (sweep.trimmed_index && is_before(*at, sweep.trimmed_index, sweep.trimmed_n));
	if (*ret_reset)
		*at = (struct sink_place){sweep.trimmed_index, sweep.trimmed_n};
	return outbox_scan(r, at, limit, w);
}

int result_outbox(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    uint64_t *index, uint32_t *n, uint32_t limit, struct buf *out, bool *ret_reset, uint64_t *ret_gone)
{
	struct reading r;
	struct sink_place at = {*index, *n};
	bool reset = false;
	int rc = reading_open(t, txn, shard, stream, &r);
	if (rc)
		return rc;
	struct rows_writer *w = rows_writer_new(&r.spec, close_of(&r), final_of(&r));
	if (r.id)
		rc = run_outbox(&r, shard, &at, limit, w, &reset);
	else {
		reset = at.index && at.index != UINT64_MAX; /* never heard of here */
		at = (struct sink_place){0};
	}
	if (!rc) {
		rows_writer_finish(w, out);
		*index = at.index;
		*n = at.n;
		*ret_reset = reset;
		if (ret_gone)
			*ret_gone = r.gone;
	}
	rows_writer_free(w);
	reading_close(&r);
	return rc;
}
