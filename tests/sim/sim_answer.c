#include "tests/sim/sim_answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define PAGE_ROWS 500
#define EXACT_REL 1e-12

/* ---- reading ----------------------------------------------------------------------------------------------------- */

void sim_rows_free(struct sim_rows *r)
{
	for (size_t i = 0; i < r->count; i++) {
		free((void *)(uintptr_t)r->rows[i].group.p);
		partial_clear(&r->rows[i].partial, &r->spec);
	}
	free(r->rows);
	*r = (struct sim_rows){0};
}

static struct bytes bytes_copy(struct bytes b)
{
	uint8_t *p = xmalloc(b.n + 1);
	if (b.n)
		memcpy(p, b.p, b.n);
	return bytes_of(p, b.n);
}

static int row_cmp(const struct sim_row *a, int64_t start, struct bytes group)
{
	if (a->start_ns != start)
		return a->start_ns < start ? -1 : 1;
	size_t n = a->group.n < group.n ? a->group.n : group.n;
	int c = n ? memcmp(a->group.p, group.p, n) : 0;
	return c ? c : (a->group.n > group.n) - (a->group.n < group.n);
}

static int row_sort_cmp(const void *pa, const void *pb)
{
	const struct sim_row *b = pb;
	return row_cmp(pa, b->start_ns, b->group);
}

static void rows_add(struct sim_rows *rows, const struct row *r)
{
	if (rows->count == rows->cap) {
		rows->cap = rows->cap ? 2 * rows->cap : 256;
		rows->rows = xrealloc(rows->rows, rows->cap * sizeof(*rows->rows));
	}
	struct sim_row *n = &rows->rows[rows->count++];
	*n = (struct sim_row){.start_ns = r->start_ns,
	    .group = bytes_copy(r->group),
	    .state = r->state,
	    .revision = r->revision,
	    .edges = r->edges};
	memset(n->edges.missing, 0, sizeof(n->edges.missing));
	partial_merge(&n->partial, &r->partial, &rows->spec);
}

/* Equal (start, group) of several shards become one row: in shard order, since qsort of few is made stable by merging
 * from the left only. */
static void rows_merge(struct sim_rows *rows)
{
	size_t out = 0;
	if (rows->count)
		qsort(rows->rows, rows->count, sizeof(*rows->rows), row_sort_cmp);
	for (size_t i = 0; i < rows->count; i++) {
		struct sim_row *r = &rows->rows[i], *last = out ? &rows->rows[out - 1] : NULL;
		if (last && !row_cmp(last, r->start_ns, r->group)) {
			partial_merge(&last->partial, &r->partial, &rows->spec);
			if (r->state < last->state)
				last->state = r->state;
			if (r->revision > last->revision)
				last->revision = r->revision;
			free((void *)(uintptr_t)r->group.p);
			partial_clear(&r->partial, &rows->spec);
		} else {
			rows->rows[out++] = *r;
		}
	}
	rows->count = out;
}

/* One page; false: the last one, or failed. */
static bool read_page(struct sim_world *w, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    struct rows_spec *spec, struct buf *cursor, struct sim_rows *rows)
{
	struct buf out = {0};
	struct rows_reader *reader = NULL;
	bool more = false;
	size_t before = rows->count;
	int rc = result_query(w->known, txn, shard, stream, spec, INT64_MAX, &out, &more);
	if (!rc)
		rc = rows_reader_open(bytes_of(out.data, out.len), &rows->spec, &reader);
	buf_free(&out);
	if (rc) {
		sim_fail(w, "query of shard %u stream %s: %s", shard, stream->name, err_text(rc));
		return false;
	}
	if (rows_reader_close_ns(reader) < rows->close_ns)
		rows->close_ns = rows_reader_close_ns(reader);
	if (rows_reader_close_ns(reader) > rows->close_max_ns)
		rows->close_max_ns = rows_reader_close_ns(reader);
	if (rows_reader_final_ns(reader) < rows->final_ns)
		rows->final_ns = rows_reader_final_ns(reader);
	struct row *r;
	while ((rc = rows_reader_next(reader, &r)) == 1) {
		if (rows->count > before && row_cmp(&rows->rows[rows->count - 1], r->start_ns, r->group) >= 0)
			sim_fail(w, "query of shard %u stream %s: rows are not in order", shard, stream->name);
		rows_add(rows, r);
	}
	rows_reader_close(reader);
	if (rc)
		sim_fail(w, "query of shard %u stream %s: rows: %s", shard, stream->name, err_text(rc));
	if (more && rows->count == before)
		sim_fail(w, "query of shard %u stream %s: more to come, but no row", shard, stream->name);
	if (w->failed || !more)
		return false;
	const struct sim_row *last = &rows->rows[rows->count - 1];
	buf_clear(cursor);
	buf_put(cursor, last->group.p, last->group.n);
	buf_reserve(cursor, 1);
	spec->after = true;
	spec->after_start_ns = last->start_ns;
	spec->after_group = bytes_of(cursor->data, cursor->len);
	return true;
}

static bool read_shard(struct sim_world *w, struct sim_cloud *c, uint32_t shard, const struct stream_conf *stream,
    struct rows_spec spec, struct sim_rows *rows)
{
	struct kv_txn *txn;
	struct buf cursor = {0};
	if (!c->up || kv_begin(c->state, false, &txn))
		return false;
	int64_t kept_ns = INT64_MIN;
	int rc = result_kept(w->known, txn, shard, stream, &kept_ns);
	if (rc)
		sim_fail(w, "shard %u stream %s, as of when it is kept: %s", shard, stream->name, err_text(rc));
	if (kept_ns > rows->kept_max_ns)
		rows->kept_max_ns = kept_ns;
	while (!rc && read_page(w, txn, shard, stream, &spec, &cursor, rows))
		;
	kv_abort(txn);
	buf_free(&cursor);
	return !w->failed;
}

void sim_answer_begin(struct sim_world *w, uint32_t stream, struct sim_rows *ret)
{
	*ret = (struct sim_rows){.close_ns = INT64_MAX, .final_ns = INT64_MAX, .close_max_ns = INT64_MIN, .kept_max_ns = INT64_MIN};
	partial_spec_of(&w->known->streams[stream], topology_distinct_seed(w->topology), PARTIAL_QUANTILE_CAP_CLOUD,
	    &ret->spec);
}

void sim_answer_merge(struct sim_world *w, struct sim_rows *rows)
{
	rows_merge(rows);
	w->rows_checked += rows->count;
}

struct sim_cloud *sim_answer_replica(struct sim_world *w, uint32_t shard)
{
	uint32_t rank = (uint32_t)(sim_mix(w->plan->seed + shard) % sim_replicas(w, shard + 1));
	return &w->clouds[sim_replica(w, shard + 1, rank)];
}

static bool read_rows(struct sim_world *w, uint32_t stream, const struct rows_spec *spec, struct sim_rows *ret)
{
	const struct topology *t = w->topology;
	sim_answer_begin(w, stream, ret);
	for (uint32_t s = 0; s < t->shards; s++) {
		if (!read_shard(w, sim_answer_replica(w, s), s, &w->known->streams[stream], *spec, ret)) {
			sim_rows_free(ret);
			return false;
		}
	}
	sim_answer_merge(w, ret);
	return true;
}

/* All that is stored, whatever other version answers instead. */
static struct rows_spec own_spec(const struct sim_world *w, uint32_t stream)
{
	const struct stream_conf *s = &w->known->streams[stream];
	struct rows_spec spec = {.stream = s->name,
	    .version = s->version,
	    .from_ns = INT64_MIN,
	    .to_ns = INT64_MAX,
	    .size_ns = s->size_ns,
	    .advance_ns = s->advance_ns,
	    .offset_ns = s->offset_ns,
	    .own_window = true,
	    .own_by = true,
	    .by_count = (uint32_t)s->by_count,
	    .limit = PAGE_ROWS};
	for (uint32_t i = 0; i < s->by_count; i++)
		spec.by[i] = i;
	return spec;
}

bool sim_answer_add(struct sim_world *w, struct sim_cloud *c, uint32_t shard, uint32_t stream, struct sim_rows *rows)
{
	struct rows_spec spec = own_spec(w, stream);
	spec.from_ns = w->known->streams[stream].from_ns;
	spec.to_ns = w->known->streams[stream].answers_until_ns;
	return read_shard(w, c, shard, &w->known->streams[stream], spec, rows);
}

bool sim_answer_outbox(struct sim_world *w, struct sim_cloud *c, uint32_t shard, uint32_t stream, uint64_t *index,
    uint32_t *n, struct sim_rows *ret)
{
	struct kv_txn *txn;
	struct buf out = {0};
	struct rows_reader *reader = NULL;
	struct row *r;
	bool reset = false;
	if (!c->up || kv_begin(c->state, false, &txn))
		return false;
	sim_answer_begin(w, stream, ret);
	int rc = result_outbox(w->known, txn, shard, &w->known->streams[stream], index, n, PAGE_ROWS, &out, &reset, NULL);
	kv_abort(txn);
	if (!rc)
		rc = rows_reader_open(bytes_of(out.data, out.len), &ret->spec, &reader);
	while (!rc && (rc = rows_reader_next(reader, &r)) == 1) {
		rows_add(ret, r);
		rc = 0;
	}
	rows_reader_close(reader);
	buf_free(&out);
	if (rc || reset)
		sim_fail(w, "outbox of shard %u stream %s: %s", shard, w->known->streams[stream].name,
		    rc ? err_text(rc) : "the cursor is older than the outbox");
	if (w->failed)
		sim_rows_free(ret);
	return !w->failed;
}

/* ---- comparing one row ------------------------------------------------------------------------------------------- */

struct compare {
	struct sim_world *w;
	const struct stream_conf *s;
	const struct partial_spec *spec;
	bool rounded; /* values went through arithmetic that may round differently */
};

static void wrong(const struct compare *c, const struct sim_cell *cell, const char *what, double got, double expected)
{
	sim_fail(c->w, "stream %s, window at %lld s of %lld s: %s is %.17g, must be %.17g (count %llu)", c->s->name,
	    sim_seconds(cell->start_ns), (long long)(c->s->size_ns / NS_PER_SEC), what, got,
	    expected, (unsigned long long)cell->count);
}

static bool near(double got, double expected, double tolerance)
{
	return got == expected || fabs(got - expected) <= tolerance;
}

static double quantile_of(const struct sim_cell *cell, double q)
{
	double rank = ceil(q * (double)cell->count);
	/* q is a decimal fraction: what is an integer but for rounding is one. */
	if (fabs(q * (double)cell->count - round(q * (double)cell->count)) < 1e-9)
		rank = round(q * (double)cell->count);
	size_t i = rank < 1 ? 0 : (size_t)rank - 1;
	return cell->values[i < cell->count ? i : cell->count - 1];
}

static uint32_t distinct_index(const struct stream_conf *s, const char *tag)
{
	uint32_t i = 0;
	while (i < s->distinct_count && strcmp(s->distinct[i], tag))
		i++;
	return i;
}

/* The bound of 4 standard errors, and small numbers nearly exact. */
static bool distinct_sane(double got, uint32_t exact)
{
	return fabs(got - exact) <= fmax(1.5, 0.07 * exact);
}

static void compare_function(const struct compare *c, const struct function_conf *f, const struct partial *p,
    const struct sim_cell *cell)
{
	double got = 0, error = 0, expected = 0, tolerance = 0;
	bool null = false, expect_null = false;
	uint32_t index = f->fn == FN_DISTINCT ? distinct_index(c->s, f->tag) : 0;
	double rounding = c->rounded ? EXACT_REL : 0;
	partial_eval(p, c->spec, f->fn, f->q, index, &got, &error, &null);
	switch (f->fn) {
	case FN_COUNT:
		expected = (double)cell->count;
		break;
	case FN_SUM:
		expected = cell->sum;
		tolerance = EXACT_REL * cell->magnitude;
		break;
	case FN_MEAN:
		expected = cell->mean;
		tolerance = EXACT_REL * cell->magnitude / (double)cell->count;
		break;
	case FN_MIN:
		expected = cell->min;
		tolerance = rounding * fabs(expected);
		break;
	case FN_MAX:
		expected = cell->max;
		tolerance = rounding * fabs(expected);
		break;
	case FN_STDDEV:
		expect_null = cell->count < 2;
		expected = cell->stddev;
		tolerance = 1e-9 * expected + 1e-9 * cell->magnitude / (double)cell->count;
		break;
	case FN_FIRST:
		expected = cell->first;
		tolerance = rounding * fabs(expected);
		break;
	case FN_LAST:
		expected = cell->last;
		tolerance = rounding * fabs(expected);
		break;
	case FN_QUANTILE:
		expected = quantile_of(cell, f->q);
		tolerance = (error + 1e-9) * fabs(expected);
		break;
	case FN_DISTINCT:
		expected = cell->distinct[index];
		if (distinct_sane(got, cell->distinct[index]))
			return;
		break;
	}
	if (null != expect_null || (!null && !near(got, expected, tolerance)))
		wrong(c, cell, f->text, null ? NAN : got, expect_null ? NAN : expected);
}

static void compare_row(const struct compare *c, const struct sim_row *r, const struct sim_cell *cell)
{
	if (r->partial.count != cell->count) {
		wrong(c, cell, "the number of readings", (double)r->partial.count, (double)cell->count);
		return;
	}
	for (size_t i = 0; i < c->s->compute_count && !c->w->failed; i++)
		compare_function(c, &c->s->compute[i], &r->partial, cell);
}

/* ---- comparing a query --------------------------------------------------------------------------------------------- */

enum strictness { EXACT, BOUNDED, TOTALS };

struct expectation {
	enum strictness strict;
	int64_t from_ns; /* windows that begin before may be gone or thinned: not looked at */
};

static int cell_cmp(const struct sim_cell *a, const struct sim_row *r)
{
	return -row_cmp(r, a->start_ns, a->group);
}

static void compare_bounds(const struct compare *c, const struct sim_row *r, const struct sim_cell *cell)
{
	uint64_t got = r ? r->partial.count : 0;
	if (got < cell->certain || got > cell->count)
		wrong(c, cell, got < cell->certain ? "the number of readings (at least)" : "the number of readings (at most)",
		    (double)got, (double)(got < cell->certain ? cell->certain : cell->count));
}

static void compare_all(const struct compare *c, const struct sim_rows *rows, const struct sim_cells *cells,
    const struct expectation *x)
{
	size_t i = 0, j = 0;
	while (!c->w->failed && (i < rows->count || j < cells->count)) {
		int cmp = i == rows->count ? -1 : j == cells->count ? 1 : cell_cmp(&cells->cells[j], &rows->rows[i]);
		const struct sim_row *r = cmp >= 0 ? &rows->rows[i++] : NULL;
		const struct sim_cell *cell = cmp <= 0 ? &cells->cells[j++] : NULL;
		if ((cell ? cell->start_ns : r->start_ns) < x->from_ns)
			continue;
		if (!cell)
			sim_fail(c->w, "stream %s: a row at %lld s that no reading belongs to", c->s->name,
			    sim_seconds(r->start_ns));
		else if (x->strict == BOUNDED)
			compare_bounds(c, r, cell);
		else if (!r)
			wrong(c, cell, "the row is missing; the number of readings", 0, (double)cell->count);
		else
			compare_row(c, r, cell);
	}
}

/* Where groups overflowed, only what all groups of a window hold together is known. */
static void compare_totals(const struct compare *c, const struct sim_rows *rows, const struct sim_cells *cells,
    const struct expectation *x)
{
	size_t i = 0, j = 0;
	while (!c->w->failed && (i < rows->count || j < cells->count)) {
		int64_t start = j == cells->count || (i < rows->count && rows->rows[i].start_ns < cells->cells[j].start_ns)
		    ? rows->rows[i].start_ns
		    : cells->cells[j].start_ns;
		uint64_t got = 0, expected = 0;
		for (; i < rows->count && rows->rows[i].start_ns == start; i++)
			got += rows->rows[i].partial.count;
		for (; j < cells->count && cells->cells[j].start_ns == start; j++)
			expected += cells->cells[j].count;
		if (start >= x->from_ns && (x->strict == BOUNDED ? got > expected : got != expected))
			sim_fail(c->w, "stream %s: the window at %lld s holds %llu readings of all groups, must be %llu", c->s->name,
			    sim_seconds(start), (unsigned long long)got,
			    (unsigned long long)expected);
	}
}

static bool has_step(const struct stream_conf *s, enum step_type type)
{
	for (size_t i = 0; i < s->step_count; i++)
		if (s->steps[i].type == type)
			return true;
	return false;
}

static void check_query(struct sim_world *w, const struct sim_oracle *o, const struct sim_query *q,
    const struct rows_spec *spec, const struct expectation *x)
{
	const struct stream_conf *s = &w->known->streams[q->stream];
	struct sim_rows rows;
	struct sim_cells cells;
	if (!read_rows(w, (uint32_t)q->stream, spec, &rows))
		return;
	sim_oracle_cells(o, q, &cells);
	struct compare c = {w, s, &rows.spec, has_step(s, STEP_RATE)};
	if (x->strict == TOTALS)
		compare_totals(&c, &rows, &cells, x);
	else
		compare_all(&c, &rows, &cells, x);
	sim_cells_free(&cells);
	sim_rows_free(&rows);
}

/* ---- what to ask, and how strictly ----------------------------------------------------------------------------------- */

struct cloud_counts {
	struct sim_world *w;
	uint64_t received[STREAMS_MAX], dropped[STREAMS_MAX], overflowed[STREAMS_MAX], unknown;
};

static void add_counts(void *arg, const struct shard_stream_counts *s)
{
	struct cloud_counts *a = arg;
	int i = topology_stream_version_of(a->w->known, s->stream, s->version);
	if (i < 0) {
		a->unknown += s->received;
		return;
	}
	a->received[i] += s->received;
	a->dropped[i] += s->received - s->merged;
	a->overflowed[i] += s->overflowed;
}

static void read_counts(struct sim_world *w, struct cloud_counts *ret)
{
	*ret = (struct cloud_counts){.w = w};
	for (uint32_t s = 0; s < w->topology->shards; s++) {
		struct kv_txn *txn;
		weir_assert(!kv_begin(sim_answer_replica(w, s)->state, false, &txn));
		int rc = shard_read_counts(txn, s + 1, add_counts, ret);
		if (rc)
			sim_fail(w, "the counts of shard %u: %s", s, err_text(rc));
		kv_abort(txn);
	}
}

static struct sim_query query_of(uint32_t stream, const struct rows_spec *spec)
{
	struct sim_query q = {.stream = stream,
	    .size_ns = spec->size_ns,
	    .advance_ns = spec->advance_ns,
	    .offset_ns = spec->offset_ns,
	    .by_count = spec->by_count,
	    .where = spec->where_count > 0};
	memcpy(q.by, spec->by, sizeof(q.by));
	if (q.where) {
		q.where_by = spec->where[0].by;
		q.where_value = spec->where[0].value;
	}
	return q;
}

/* Coarser windows, fewer tags, one condition: at random. Rollups of 60 s make that the one window to ask for. */
static struct rows_spec other_spec(struct sim_world *w, uint32_t stream, struct sim_rand *r)
{
	const struct stream_conf *s = &w->known->streams[stream];
	struct rows_spec spec = own_spec(w, stream);
	spec.own_window = false;
	spec.size_ns = s->rollup_count ? s->rollups[0].every_ns : s->slice_ns * sim_range(r, 1, 12);
	spec.advance_ns = spec.size_ns;
	spec.offset_ns = s->offset_ns;
	if (s->by_count && sim_chance(r, 0.5)) {
		spec.own_by = false;
		spec.by_count = 0;
		for (uint32_t i = 0; i < s->by_count; i++)
			if (sim_chance(r, 0.5))
				spec.by[spec.by_count++] = i;
		if (spec.by_count == s->by_count)
			spec.own_by = true;
	}
	static const char *const values[] = {"s0", "s1", "north", "a", "", "g1", "s,9"};
	if (s->by_count && sim_chance(r, 0.4)) {
		spec.where_count = 1;
		spec.where[0].by = (uint32_t)sim_below(r, s->by_count);
		spec.where[0].value = values[sim_below(r, sizeof(values) / sizeof(values[0]))];
	}
	return spec;
}

/* Of all versions: who keeps what a version has may go by the clock of a later one. */
static int64_t stream_close(struct sim_world *w, const char *name)
{
	int64_t close = INT64_MIN;
	for (uint32_t i = 0; i < w->known->stream_count && !w->failed; i++) {
		struct sim_rows rows;
		struct rows_spec spec = own_spec(w, i);
		if (strcmp(w->known->streams[i].name, name) || !read_rows(w, i, &spec, &rows))
			continue;
		close = rows.close_max_ns > close ? rows.close_max_ns : close;
		sim_rows_free(&rows);
	}
	return close;
}

/* What no answer may hide: a window that is told of as final has every reading that was accepted by then. */
static void check_gaps(struct sim_world *w, const struct sim_oracle *o, uint32_t stream, bool on_time)
{
	const struct stream_conf *s = &w->known->streams[stream];
	const struct sim_gap *gaps;
	size_t n = sim_oracle_gaps(o, stream, &gaps);
	struct rows_spec spec = own_spec(w, stream);
	struct sim_rows rows;
	spec.from_ns = s->from_ns;
	spec.to_ns = s->answers_until_ns;
	on_time = on_time && !sim_versions_was_ended(w, stream); /* what comes then is nobody's */
	for (size_t g = 0; g < n && !w->failed; g++)
		if (gaps[g].kind == SIM_GAP_LOST || (gaps[g].kind == SIM_GAP_LATE && on_time))
			sim_fail(w, "stream %s, version %u: a reading of edge %u at %lld s was accepted, %s, and the version has not got it", s->name,
			    s->version, gaps[g].edge, sim_seconds(gaps[g].t_ns), gaps[g].kind == SIM_GAP_LATE ? "not late" : "fed to it");
	if (!n || w->failed || !read_rows(w, stream, &spec, &rows))
		return;
	for (size_t i = 0; i < rows.count && !w->failed; i++)
		for (size_t g = 0; g < n && !w->failed && rows.rows[i].state == WINDOW_FINAL; g++)
			if (gaps[g].kind == SIM_GAP_EARLY && gaps[g].t_ns >= rows.rows[i].start_ns && gaps[g].t_ns < rows.rows[i].start_ns + s->size_ns)
				sim_fail(w, "stream %s, version %u: the window at %lld s is final, and lacks a reading of edge %u, which had not heard of "
				            "the version", s->name, s->version, sim_seconds(rows.rows[i].start_ns), gaps[g].edge);
	sim_rows_free(&rows);
}

static void check_stream(struct sim_world *w, const struct sim_oracle *o, uint32_t stream, const struct cloud_counts *n)
{
	const struct stream_conf *s = &w->known->streams[stream];
	struct sim_rand r = {sim_mix(w->plan->seed + 77 + stream)};
	bool plain = w->plan->scenario == SIM_PLAIN, whole_edges = !sim_versions_lost_edge(w);
	bool kept = sim_versions_always_kept(w, stream);
	struct expectation own = {.strict = EXACT, .from_ns = INT64_MIN};
	if (!plain && (has_step(s, STEP_DEDUPE) || has_step(s, STEP_RATE)))
		return; /* two histories of one series: only their steps could tell */
	if (kept && n->dropped[stream])
		sim_fail(w, "stream %s, version %u keeps everything, and dropped %llu readings", s->name, s->version,
		    (unsigned long long)n->dropped[stream]);
	if (n->overflowed[stream])
		own.strict = plain && whole_edges ? TOTALS : BOUNDED;
	else if (!plain || !whole_edges || n->dropped[stream])
		own.strict = BOUNDED;
	int64_t close_ns = stream_close(w, s->name), retain_ns = sim_versions_least_retain(w, stream);
	if (retain_ns != RETAIN_FOREVER && close_ns != WATERMARK_NONE)
		own.from_ns = close_ns - retain_ns + 2 * s->size_ns;
	if (retain_ns != RETAIN_FOREVER && sim_versions_was_removed(w, s->name))
		own.from_ns = INT64_MAX; /* it ages by the logs' clocks from then on */
	if (own.strict == BOUNDED && (n->overflowed[stream] || n->dropped[stream]))
		return;
	struct rows_spec spec = own_spec(w, stream);
	struct sim_query q = query_of(stream, &spec);
	check_query(w, o, &q, &spec, &own);
	if (plain && !w->failed)
		check_gaps(w, o, stream, sim_versions_on_time(w, stream));
	struct expectation whole = own;
	if (kept)
		whole.from_ns = INT64_MIN;
	else if (own.from_ns != INT64_MIN && own.from_ns != INT64_MAX)
		whole.from_ns += 24 * s->slice_ns;
	for (int i = 0; i < 2 && !w->failed && own.strict != TOTALS; i++) {
		spec = other_spec(w, stream, &r);
		q = query_of(stream, &spec);
		check_query(w, o, &q, &spec, &whole);
	}
}

/* ---- histories into the oracle ----------------------------------------------------------------------------------------- */

struct history {
	struct sim_delivery *at;
	size_t count, cap;
	size_t *place[SIM_SOURCES_MAX]; /* of each line, + 1 */
};

static void history_add(struct sim_world *w, struct history *h, const struct sim_delivery *d, size_t n, bool twice_is_wrong)
{
	for (size_t i = 0; i < n; i++) {
		size_t *place = &h->place[d[i].source][d[i].line];
		if (*place) {
			struct sim_delivery *known = &h->at[*place - 1];
			known->certain = (known->certain && known->accepted) || (d[i].certain && d[i].accepted);
			known->accepted = known->accepted || d[i].accepted;
			if (twice_is_wrong)
				sim_fail(w, "a line was read twice");
			continue;
		}
		if (h->count == h->cap) {
			h->cap = h->cap ? 2 * h->cap : 1024;
			h->at = xrealloc(h->at, h->cap * sizeof(*h->at));
		}
		h->at[h->count++] = d[i];
		*place = h->count;
	}
}

/* Lines that a topology with its source was there for must all be read in the end; not those of a source, or an edge, that was removed. */
static size_t lines_expected(const struct sim_world *w, uint32_t edge)
{
	int at = topology_edge(w->known, w->plan->edges[edge]);
	size_t lines = 0;
	for (size_t s = 0; at >= 0 && s < w->known->edges[at].source_count; s++)
		lines += w->plan->sources[edge][sim_plan_source(&w->known->edges[at].sources[s])].count;
	return lines;
}

static size_t lines_of(const struct sim_world *w, uint32_t edge, const struct history *h)
{
	int at = topology_edge(w->known, w->plan->edges[edge]);
	size_t lines = 0;
	for (size_t i = 0; at >= 0 && i < h->count; i++)
		for (size_t s = 0; s < w->known->edges[at].source_count; s++)
			lines += sim_plan_source(&w->known->edges[at].sources[s]) == h->at[i].source;
	return lines;
}

static void add_edge(struct sim_world *w, struct sim_oracle *o, uint32_t edge)
{
	struct history h = {0};
	for (size_t s = 0; s < SIM_SOURCES_MAX; s++)
		h.place[s] = xcalloc(w->plan->sources[edge][s].count + 1, sizeof(*h.place[s]));
	bool strict = w->plan->scenario == SIM_PLAIN && w->mutant == MUTANT_NONE;
	struct sim_edge *own = &w->edges[edge];
	for (size_t i = 0; i <= w->plan->edge_count; i++) {
		struct sim_edge *e = &w->edges[i];
		if (!e->w || e->edge != edge)
			continue;
		for (size_t k = 0; k < e->log_count && i == w->plan->edge_count; k++)
			e->log[k].certain = false; /* a clone */
		for (size_t k = e->delivered; k < e->log_count && sim_edge_is_gone(e); k++)
			e->log[k].certain = false;
		history_add(w, &h, e->old, e->old_count, false);
		history_add(w, &h, e->log, e->log_count, strict);
	}
	if (strict && lines_of(w, edge, &h) != lines_expected(w, edge))
		sim_fail(w, "edge %u read %zu of %zu lines", edge, lines_of(w, edge, &h), lines_expected(w, edge));
	if (own->adoption_count)
		sim_oracle_edge(o, edge, h.at, h.count, own->adoptions, own->adoption_count);
	for (size_t s = 0; s < SIM_SOURCES_MAX; s++)
		free(h.place[s]);
	free(h.at);
}

static void check_totals(struct sim_world *w, const struct sim_oracle *o, const struct cloud_counts *n)
{
	struct sim_totals must = sim_oracle_totals(o);
	uint64_t received = n->unknown, matched = 0, aggregated = 0, dropped = 0;
	bool whole = !sim_versions_lost_edge(w);
	for (uint32_t s = 0; s < w->known->stream_count; s++) {
		uint64_t passed = sim_oracle_passed(o, s);
		received += n->received[s];
		if (whole ? n->received[s] != passed : n->received[s] > passed)
			sim_fail(w, "stream %s, version %u: %llu readings came to the shards, must be %llu", w->known->streams[s].name,
			    w->known->streams[s].version, (unsigned long long)n->received[s], (unsigned long long)passed);
	}
	if (whole && received != must.passed)
		sim_fail(w, "%llu readings came to the shards, must be %llu", (unsigned long long)received, (unsigned long long)must.passed);
	for (uint32_t i = 0; i < w->plan->edge_count; i++) {
		struct pipeline_ledger l;
		if (!w->edges[i].pipeline)
			continue; /* it was never added, or was removed */
		pipeline_ledger(w->edges[i].pipeline, &l);
		matched += l.matched;
		aggregated += l.aggregated;
		dropped += l.dropped;
	}
	if (matched != must.matched || aggregated != must.passed)
		sim_fail(w, "the edges' ledgers say matched %llu, aggregated %llu, dropped %llu; must be %llu, %llu; no version %llu",
		    (unsigned long long)matched, (unsigned long long)aggregated, (unsigned long long)dropped, (unsigned long long)must.matched,
		    (unsigned long long)must.passed, (unsigned long long)must.no_version);
}

void sim_answer_check(struct sim_world *w)
{
	struct sim_oracle *o = sim_oracle_new(w->plan, w->known);
	struct cloud_counts n;
	for (uint32_t e = 0; e < w->plan->edge_count; e++)
		add_edge(w, o, e);
	read_counts(w, &n);
	for (uint32_t s = 0; s < w->known->stream_count && !w->failed; s++)
		check_stream(w, o, s, &n);
	if (!w->failed && w->plan->scenario == SIM_PLAIN)
		check_totals(w, o, &n);
	sim_oracle_free(o);
}
