#include "cloudd/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/serve.h"
#include "common/answer_json.h"
#include "common/clock.h"
#include "common/codec.h"
#include "common/err.h"
#include "common/row_json.h"
#include "common/window.h"

#define PIECE_BYTES (32 * 1024)

/* One shard's rows: the page at hand, and where the next one starts. */
struct part {
	struct rows_reader *reader;
	struct row *row; /* at hand; NULL: the shard has no more */
	bool more;       /* pages after this one */
	int64_t last_start_ns;
	struct buf last_group;
};

enum stage { STAGE_HEAD, STAGE_ROWS, STAGE_TAIL, STAGE_END };

struct query {
	struct query_source source;
	const struct topology *topology;
	struct query_args args;
	struct partial_spec spec;
	struct part *parts; /* by shard */
	uint32_t part_count;
	enum stage stage;
	int64_t told_ns;      /* the watermark of the answer */
	int64_t watermark_ns; /* the least close of the shards read, of the version at hand */
	int64_t final_ns;     /* the least final */
	int64_t kept_ns;      /* the latest that a shard's records are kept as of, by any page so far */
	struct window_levels levels; /* then */
	uint64_t behind_entries; /* the most of any shard's first page, where the read did not wait */
	int64_t age_ns;          /* likewise */
	int64_t spent_ns;        /* waiting for pages */
	uint32_t rows;        /* written */
	bool skips;           /* rows are being left out: in whole pages, however few are asked for */
	bool any;             /* a row was written or left out; the last: */
	int64_t last_start_ns;
	struct buf last_group;
	char reason[QUERY_REASON_MAX];
};

static int compare_rows(const struct row *a, const struct row *b)
{
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	return group_order(a->group, b->group);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

static void *start_page(struct query *q, uint32_t shard, bool first)
{
	struct rows_spec spec = q->args.spec;
	const struct part *part = &q->parts[shard];
	spec.limit = q->args.limit < QUERY_PAGE_ROWS && !q->skips ? q->args.limit + 1 : QUERY_PAGE_ROWS;
	if (first) {
		spec.after_group.p = q->args.after_group;
	} else {
		spec.after = true;
		spec.after_start_ns = part->last_start_ns;
		spec.after_group = bytes_of(part->last_group.data, part->last_group.len);
	}
	return q->source.start(q->source.arg, shard, &spec, !q->args.stale);
}

static int64_t now_ns(const struct query *q)
{
	return q->source.now_ns ? q->source.now_ns(q->source.arg) : 0;
}

static void note_kept(struct query *q, const struct rows_reader *reader, int64_t told_ns)
{
	int64_t kept_ns = rows_reader_close_ns(reader);
	kept_ns = told_ns && told_ns > kept_ns ? told_ns : kept_ns;
	if (kept_ns <= q->kept_ns)
		return;
	q->kept_ns = window_time(kept_ns);
	window_levels_at(q->args.stream, q->kept_ns, &q->levels);
}

static int damaged(struct query *q, uint32_t shard, int rc)
{
	snprintf(q->reason, sizeof(q->reason), "shard %u: its answer is damaged", shard);
	return rc;
}

/* The page's first row is at hand afterwards, or NULL where the page is empty. */
static int open_page(struct query *q, uint32_t shard, void *handle)
{
	struct part *part = &q->parts[shard];
	struct query_page page = {0};
	int rc = q->source.finish(q->source.arg, handle, &page, q->reason);
	rows_reader_close(part->reader);
	part->reader = NULL;
	part->row = NULL;
	if (!rc) {
		rc = rows_reader_open(bytes_of(page.rows.data, page.rows.len), &q->spec, &part->reader);
		int got = rc ? rc : rows_reader_next(part->reader, &part->row);
		if (got < 0 || (!got && page.more)) /* an empty page with more to come would go on for ever */
			rc = damaged(q, shard, got < 0 ? got : WEIR_ECORRUPT);
		part->more = page.more;
		if (!got)
			part->row = NULL;
		if (!rc)
			note_kept(q, part->reader, page.kept_ns);
	}
	q->behind_entries = page.behind_entries > q->behind_entries ? page.behind_entries : q->behind_entries;
	q->age_ns = page.age_ns > q->age_ns ? page.age_ns : q->age_ns;
	buf_free(&page.rows);
	return rc;
}

/* Shards take in an advance one after the other. What one of them calls final another may still have to tell of: rows
 * that are to be final end where the last of them stands. */
static void end_at_final(struct query *q, struct part *part)
{
	if (q->args.spec.only_final && part->row && part->row->end_ns > q->final_ns) {
		part->row = NULL;
		part->more = false;
	}
}

static int advance(struct query *q, uint32_t shard)
{
	struct part *part = &q->parts[shard];
	part->last_start_ns = part->row->start_ns;
	buf_clear(&part->last_group);
	buf_put(&part->last_group, part->row->group.p, part->row->group.n);
	int got = rows_reader_next(part->reader, &part->row);
	if (got < 0)
		return damaged(q, shard, got);
	if (!got)
		part->row = NULL;
	int rc = 0;
	if (!got && part->more) {
		int64_t before_ns = now_ns(q);
		rc = open_page(q, shard, start_page(q, shard, false));
		q->spent_ns += now_ns(q) - before_ns;
	}
	if (!rc)
		end_at_final(q, part);
	return rc;
}

static int open_all(struct query *q)
{
	void **handles = xcalloc(q->part_count, sizeof(*handles));
	int64_t before_ns = now_ns(q);
	int rc = 0;
	for (uint32_t i = 0; i < q->part_count; i++)
		handles[i] = start_page(q, i, true);
	for (uint32_t i = 0; i < q->part_count; i++) {
		if (rc) {
			q->source.cancel(q->source.arg, handles[i]);
			continue;
		}
		rc = open_page(q, i, handles[i]);
		if (!rc) {
			int64_t close_ns = rows_reader_close_ns(q->parts[i].reader);
			q->watermark_ns = close_ns < q->watermark_ns ? close_ns : q->watermark_ns;
			int64_t final_ns = rows_reader_final_ns(q->parts[i].reader);
			q->final_ns = final_ns < q->final_ns ? final_ns : q->final_ns;
		}
	}
	free(handles);
	q->spent_ns += now_ns(q) - before_ns;
	for (uint32_t i = 0; i < q->part_count && !rc; i++)
		end_at_final(q, &q->parts[i]);
	return rc;
}

static void close_parts(struct query *q)
{
	for (uint32_t i = 0; i < q->part_count; i++) {
		struct part *part = &q->parts[i];
		rows_reader_close(part->reader);
		buf_free(&part->last_group);
		*part = (struct part){0};
	}
}

/* The rows of a version, from its first on. */
static int open_version(struct query *q, size_t version)
{
	close_parts(q);
	query_args_select(&q->args, version);
	q->watermark_ns = q->final_ns = INT64_MAX;
	q->kept_ns = WATERMARK_NONE;
	window_levels_at(q->args.stream, q->kept_ns, &q->levels);
	partial_spec_of(q->args.stream, topology_distinct_seed(q->topology), PARTIAL_QUANTILE_CAP_CLOUD, &q->spec);
	return open_all(q);
}

/* Up to where all windows have closed, as far as the version at hand has to do with them. */
static void note_watermark(struct query *q)
{
	const struct stream_conf *s = q->args.stream;
	if (s->phase != STREAM_RETIRED && (s->answers_until_ns == INT64_MAX || q->watermark_ns < s->answers_until_ns))
		q->told_ns = q->watermark_ns < q->told_ns ? q->watermark_ns : q->told_ns;
}

/* The answer's watermark stands at its head: later versions are asked for theirs. */
static int look_ahead(struct query *q)
{
	q->told_ns = INT64_MAX;
	for (size_t i = q->args.version_count; i-- > 1;) {
		if (q->args.versions[i].stream->phase == STREAM_RETIRED)
			continue;
		uint32_t limit = q->args.limit;
		q->args.limit = 1;
		int rc = open_version(q, i);
		q->args.limit = limit;
		if (rc)
			return rc;
		note_watermark(q);
	}
	int rc = open_version(q, 0);
	if (!rc)
		note_watermark(q);
	if (!rc && q->told_ns == INT64_MAX)
		q->told_ns = q->watermark_ns;
	return rc;
}

int query_open(const struct topology *t, const struct query_source *source, struct query_args *args,
    struct query **ret_query, struct query_error *ret_error)
{
	struct query *q = xcalloc(1, sizeof(*q));
	q->source = *source;
	q->args = *args;
	*args = (struct query_args){0};
	q->part_count = t->shards;
	q->parts = xcalloc(t->shards, sizeof(*q->parts));
	q->topology = t;
	int rc = look_ahead(q);
	if (rc) {
		ret_error->status = 503;
		ret_error->code = strstr(q->reason, serve_damaged) ? "damaged" : "unavailable";
		snprintf(ret_error->message, sizeof(ret_error->message), "%s", q->reason);
		query_close(q);
		return rc;
	}
	*ret_query = q;
	return 0;
}

void query_close(void *query)
{
	struct query *q = query;
	if (!q)
		return;
	close_parts(q);
	free(q->parts);
	buf_free(&q->last_group);
	query_args_clear(&q->args);
	free(q);
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

/* The smallest row at hand; NULL: the end. */
static const struct row *smallest(const struct query *q)
{
	const struct row *least = NULL;
	for (uint32_t i = 0; i < q->part_count; i++) {
		const struct row *row = q->parts[i].row;
		if (row && (!least || compare_rows(row, least) < 0))
			least = row;
	}
	return least;
}

/* Of two parts of one window: the least state, and the edges of the part that knows of fewer contributions. Shards take
 * in an advance at slightly different moments. */
static void merge_row(struct query *q, struct row *to, const struct row *from)
{
	to->state = from->state < to->state ? from->state : to->state;
	to->revision = 0;
	if (from->edges.contributed + from->edges.idle < to->edges.contributed + to->edges.idle)
		to->edges = from->edges;
	partial_merge(&to->partial, &from->partial, &q->spec);
}

/* A row of groups that lie in several shards is no further than the last of these, though that one have no part in it: it
 * may have one once it has caught up. */
static enum window_state joint_state(const struct query *q, const struct row *row)
{
	enum window_state joint = row->end_ns <= q->final_ns ? WINDOW_FINAL :
	    row->end_ns <= q->watermark_ns               ? WINDOW_PROVISIONAL :
							   WINDOW_OPEN;
	return joint < row->state ? joint : row->state;
}

static void note_last(struct query *q, const struct row *row)
{
	q->any = true;
	q->last_start_ns = row->start_ns;
	buf_clear(&q->last_group);
	buf_put(&q->last_group, row->group.p, row->group.n);
}

/* It ends with its `next`: there is one. */
static bool takes_too_long(const struct query *q)
{
	return q->any && q->spent_ns >= QUERY_TIME_MAX_NS;
}

/* Gives fn the next row, of all shards that have it, and moves on. */
static int take_row(struct query *q, const struct row *least, query_row_fn *fn, void *arg)
{
	bool has[SHARDS_MAX] = {false};
	uint32_t count = 0;
	int rc;
	for (uint32_t i = 0; i < q->part_count; i++) {
		has[i] = q->parts[i].row && !compare_rows(q->parts[i].row, least);
		count += has[i];
	}
	note_last(q, least);
	if (count == 1) {
		struct row row = *least; /* its parts stay the reader's */
		if (!q->args.spec.own_by)
			row.state = joint_state(q, &row);
		rc = fn(arg, &q->args, &q->spec, &row);
	} else {
		struct row merged = *least;
		merged.partial = (struct partial){0};
		for (uint32_t i = 0; i < q->part_count; i++)
			if (has[i])
				merge_row(q, &merged, q->parts[i].row);
		merged.state = joint_state(q, &merged);
		rc = fn(arg, &q->args, &q->spec, &merged);
		partial_clear(&merged.partial, &q->spec);
	}
	q->rows++;
	for (uint32_t i = 0; i < q->part_count && !rc; i++)
		if (has[i])
			rc = advance(q, i);
	return rc;
}

static void put_stale(const struct query *q, struct buf *out)
{
	buf_printf(out, ", \"stale\": {\"behind_entries\": %llu, \"age_ms\": ", (unsigned long long)q->behind_entries);
	if (q->age_ns == AGE_UNKNOWN)
		buf_printf(out, "null}");
	else
		buf_printf(out, "%lld}", (long long)(q->age_ns / NS_PER_MS + (q->age_ns % NS_PER_MS != 0)));
}

static void put_head(struct query *q, struct buf *out)
{
	answer_json_head(&q->args, q->told_ns, out);
	if (q->args.stale)
		put_stale(q, out);
	answer_json_rows(out);
}

static bool is_forgotten(const struct query *q, const struct row *row)
{
	return !window_answerable(&q->levels, row->start_ns, row->end_ns);
}

/* The next row of the version at hand; *ret NULL: it has no more. Shards forget one after the other: what some still have of a window
 * that another has given up is not all of it. Where it takes too long, *ret may be such a row. */
static int next_of_version(struct query *q, const struct row **ret)
{
	int rc = 0;
	*ret = smallest(q);
	while (!rc && *ret && is_forgotten(q, *ret) && !takes_too_long(q)) {
		uint32_t i = 0;
		while (q->parts[i].row != *ret)
			i++;
		note_last(q, *ret);
		q->skips = true;
		rc = advance(q, i);
		q->skips = false;
		*ret = smallest(q);
	}
	return rc;
}

/* The next row of the answer, maybe of a later version; *ret NULL: the end. */
static int next_row(struct query *q, const struct row **ret)
{
	int rc = next_of_version(q, ret);
	while (!*ret && !rc && q->args.at + 1 < q->args.version_count) {
		rc = open_version(q, q->args.at + 1);
		if (!rc)
			rc = next_of_version(q, ret);
	}
	return rc;
}

static void put_tail(struct query *q, struct buf *out)
{
	answer_json_tail(&q->args, smallest(q) != NULL, q->last_start_ns, bytes_of(q->last_group.data, q->last_group.len), out);
}

struct row_writer {
	const struct query *q;
	struct buf *out;
};

static int put_row(void *arg, const struct query_args *args, const struct partial_spec *spec, const struct row *row)
{
	struct row_writer *w = arg;
	answer_json_comma(w->q->rows, w->out);
	row_json_put(args, spec, row, w->out);
	return 0;
}

static int put_rows(struct query *q, struct buf *out)
{
	struct row_writer writer = {q, out};
	while (out->len < PIECE_BYTES) {
		const struct row *least;
		int rc = next_row(q, &least);
		if (rc)
			return rc;
		if (!least || q->rows == q->args.limit || takes_too_long(q)) {
			q->stage = STAGE_TAIL;
			return 0;
		}
		rc = take_row(q, least, put_row, &writer);
		if (rc)
			return rc;
	}
	return 0;
}

/* Why no further row is given; 0: it is. */
static int refuse_row(struct query *q)
{
	if (q->rows == q->args.limit) {
		snprintf(q->reason, sizeof(q->reason), "more than %u rows", q->args.limit);
		return WEIR_ETOOBIG;
	}
	if (takes_too_long(q)) {
		snprintf(q->reason, sizeof(q->reason), "the shards' answers take too long");
		return WEIR_ETIMEOUT;
	}
	return 0;
}

int query_each(struct query *q, query_row_fn *fn, void *arg, char reason[QUERY_REASON_MAX])
{
	const struct row *least;
	int rc = next_row(q, &least);
	while (!rc && least) {
		rc = refuse_row(q);
		if (!rc)
			rc = take_row(q, least, fn, arg);
		if (!rc)
			rc = next_row(q, &least);
	}
	if (rc)
		snprintf(reason, QUERY_REASON_MAX, "%s", q->reason);
	return rc;
}

int query_fill(void *query, struct buf *out)
{
	struct query *q = query;
	int rc = 0;
	switch (q->stage) {
	case STAGE_HEAD:
		put_head(q, out);
		q->stage = STAGE_ROWS;
		return 1;
	case STAGE_ROWS:
		rc = put_rows(q, out);
		return rc ? rc : 1;
	case STAGE_TAIL:
		put_tail(q, out);
		q->stage = STAGE_END;
		return 0;
	case STAGE_END:
		return 0;
	}
	return 0;
}
