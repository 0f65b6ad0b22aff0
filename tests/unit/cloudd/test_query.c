/* Arguments, merging over shards, and the JSON that comes out: with pages from memory. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/cursor.h"
#include "cloudd/query.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/query_args.h"
#include "common/topology.h"

static const char yaml[] = "version: 1\n"
			   "cluster: {name: plant, shards: 3, replicas: 1, security: none}\n"
			   "cloud:\n"
			   "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
			   "edges:\n"
			   "  - {name: e1, data: e1}\n"
			   "streams:\n"
			   "  - name: speed\n"
			   "    from: {measurement: traffic, field: speed}\n"
			   "    by: [site, sensor]\n"
			   "    window: 1m\n"
			   "    compute: [count, sum, mean, stddev, p99, distinct(lane)]\n"
			   "  - name: slide\n"
			   "    from: {measurement: traffic, field: speed}\n"
			   "    by: [site]\n"
			   "    window: {size: 5m, every: 1m}\n"
			   "    compute: [count]\n"
			   "  - name: brief\n"
			   "    from: {measurement: traffic, field: speed}\n"
			   "    by: [site, sensor]\n"
			   "    window: 1m\n"
			   "    retain: 5m\n"
			   "    compute: [count]\n";

#define NOW_NS (INT64_C(1700000000) * NS_PER_SEC)
#define T0 (INT64_C(1441106700) * NS_PER_SEC) /* 2015-09-01T11:25:00Z */

static struct topology *t;

static void setup(void)
{
	struct buf errors = {0};
	int rc = topology_parse("t.yaml", yaml, strlen(yaml), &t, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
}

static void teardown(void)
{
	topology_free(t);
}

/* ---- arguments ---------------------------------------------------------------------------------------------------- */

/* "a=1" texts into arguments; NULL ends. */
static size_t split(const char *const *texts, struct query_arg *args, char *store, size_t room)
{
	size_t n = 0;
	for (; texts[n]; n++) {
		size_t len = strlen(texts[n]) + 1;
		ck_assert_uint_le(len, room);
		memcpy(store, texts[n], len);
		char *eq = strchr(store, '=');
		*eq = 0;
		args[n] = (struct query_arg){store, eq + 1};
		store += len;
		room -= len;
	}
	return n;
}

static int parse(const char *const *texts, struct query_args *q, struct query_error *e)
{
	struct query_arg args[80];
	char store[4000];
	size_t n = split(texts, args, store, sizeof(store));
	int rc = query_args_parse(t, args, n, NOW_NS, q, e);
	memset(store, 'x', sizeof(store)); /* nothing may be kept of it */
	return rc;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

START_TEST(defaults_are_the_streams_own)
{
	struct query_args q;
	struct query_error e;
	ck_assert_int_eq(parse(ARGS("stream=speed"), &q, &e), 0);
	ck_assert(q.spec.own_window && q.spec.own_by && !q.spec.only_final && !q.stale && !q.spec.after);
	ck_assert(q.spec.from_ns == INT64_MIN && q.spec.to_ns == INT64_MAX);
	ck_assert_int_eq(q.spec.by_count, 2);
	ck_assert_uint_eq(q.select_count, 6);
	ck_assert_uint_eq(q.limit, QUERY_ROWS_MAX);
	query_args_clear(&q);
	ck_assert_int_eq(parse(ARGS("stream=slide"), &q, &e), 0);
	ck_assert(q.spec.own_window && q.spec.advance_ns == 60 * NS_PER_SEC && q.spec.size_ns == 300 * NS_PER_SEC);
	query_args_clear(&q);
}
END_TEST

START_TEST(everything_asked_for_is_taken)
{
	struct query_args q;
	struct query_error e;
	ck_assert_int_eq(parse(ARGS("stream=speed", "from=2015-09-01T11:25:00Z", "to=-1h", "window=5m", "by=sensor",
				   "where=site=north", "where=site=a=b", "where=color=", "select=p50,count", "state=final",
				   "limit=7", "stale=ok"),
			      &q, &e),
	    0);
	ck_assert(q.spec.from_ns == T0 && q.spec.to_ns == NOW_NS - 3600 * NS_PER_SEC);
	ck_assert(!q.spec.own_window && q.spec.size_ns == 300 * NS_PER_SEC && q.spec.advance_ns == q.spec.size_ns);
	ck_assert(!q.spec.own_by && q.spec.by_count == 1 && q.spec.by[0] == 1);
	ck_assert_uint_eq(q.spec.where_count, 3);
	ck_assert_str_eq(q.spec.where[1].value, "a=b");
	ck_assert(q.spec.where[1].by == 0 && q.spec.where[2].by == UINT32_MAX);
	ck_assert_uint_eq(q.select_count, 2);
	ck_assert(q.select[0].fn == FN_QUANTILE && q.select[0].q == 0.5);
	ck_assert(q.spec.only_final && q.stale && q.limit == 7);
	query_args_clear(&q);
	/* OR within a tag that the stream does not keep: "" is its value everywhere */
	ck_assert_int_eq(parse(ARGS("stream=speed", "where=color=red", "where=hue=red", "where=color="), &q, &e), 0);
	ck_assert(q.spec.where_count == 3 && q.spec.where[0].by == UINT32_MAX && q.spec.where[1].by == UINT32_MAX);
	ck_assert_str_eq(q.spec.where[0].value, "");
	ck_assert_str_eq(q.spec.where[1].value, "red");
	query_args_clear(&q);
	ck_assert_int_eq(parse(ARGS("stream=speed", "by="), &q, &e), 0);
	ck_assert(!q.spec.own_by && !q.spec.by_count);
	query_args_clear(&q);
	ck_assert_int_eq(parse(ARGS("stream=speed", "by=sensor,site"), &q, &e), 0);
	ck_assert(!q.spec.own_by && q.spec.by_count == 2 && q.spec.by[0] == 1);
	query_args_clear(&q);
	ck_assert_int_eq(parse(ARGS("stream=slide", "window=5m"), &q, &e), 0);
	ck_assert(!q.spec.own_window && q.spec.advance_ns == 300 * NS_PER_SEC); /* tumbling, though it slides */
	query_args_clear(&q);
}
END_TEST

START_TEST(what_is_wrong_is_said)
{
	static const struct {
		const char *arg;
		const char *code;
	} cases[] = {{"froms=1", "bad_request"}, {"stream=speed", "bad_request"}, {"from=yesterday", "bad_time"},
	    {"to=", "bad_time"}, {"window=90s", "bad_window"}, {"window=0s", "bad_window"}, {"window=5", "bad_window"},
	    {"window=90000d", "bad_window"}, {"by=color", "unknown_tag"}, {"by=site,site", "bad_request"},
	    {"by=site,", "bad_request"}, {"by=,site", "bad_request"}, {"where=site", "bad_request"}, {"where==x", "bad_request"},
	    {"select=", "bad_request"}, {"select=median", "unknown_function"}, {"select=min", "not_computed"},
	    {"select=distinct(site)", "not_computed"}, {"select=count,count", "bad_request"}, {"select=p101", "unknown_function"},
	    {"state=open", "bad_request"}, {"stale=yes", "bad_request"}, {"limit=0", "bad_request"},
	    {"limit=1000001", "bad_request"}, {"limit=99999999999", "bad_request"}, {"limit=1x", "bad_request"},
	    {"cursor=xyz", "bad_cursor"}, {"cursor=0102", "bad_cursor"}, {"cursor=", "bad_cursor"}};
	struct query_args q;
	struct query_error e;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(parse(ARGS("stream=speed", cases[i].arg), &q, &e) == WEIR_EINVAL, "%s", cases[i].arg);
		ck_assert_msg(!strcmp(e.code, cases[i].code), "%s: %s", cases[i].arg, e.code);
		ck_assert_uint_eq(e.status, 400);
		ck_assert(*e.message);
	}
	ck_assert_int_eq(parse(ARGS("stream=other"), &q, &e), WEIR_EINVAL);
	ck_assert_uint_eq(e.status, 404);
	ck_assert_str_eq(e.code, "unknown_stream");
	ck_assert_int_eq(parse(ARGS("limit=1"), &q, &e), WEIR_EINVAL);
	ck_assert_str_eq(e.code, "bad_request");
	ck_assert_int_eq(parse(ARGS("stream=speed", "from=10", "to=5"), &q, &e), WEIR_EINVAL);
	ck_assert_str_eq(e.code, "bad_time");
	ck_assert_int_eq(parse(ARGS("stream=speed", "limit=1", "limit=2"), &q, &e), WEIR_EINVAL);
	ck_assert_str_eq(e.code, "bad_request");
}
END_TEST

START_TEST(a_cursor_is_good_for_its_query_only)
{
	struct query_args q;
	struct query_error e;
	struct buf b = {0};
	ck_assert_int_eq(parse(ARGS("stream=speed", "by=site", "from=-1h"), &q, &e), 0);
	buf_printf(&b, "cursor=");
	query_cursor_put(&q, T0, bytes_of("\x01" "a", 2), &b);
	query_args_clear(&q);
	/* Another `from` (that of a later -1h) and limit are fine. */
	ck_assert_int_eq(parse(ARGS("stream=speed", "by=site", "from=-2h", "limit=5", buf_cstr(&b)), &q, &e), 0);
	ck_assert(q.spec.after && q.spec.after_start_ns == T0 && q.spec.after_group.n == 2);
	ck_assert_mem_eq(q.after_group, "\x01" "a", 2);
	query_args_clear(&q);
	ck_assert_int_eq(parse(ARGS("stream=speed", "by=sensor", buf_cstr(&b)), &q, &e), WEIR_EINVAL);
	ck_assert_int_eq(parse(ARGS("stream=speed", "by=site", "window=2m", buf_cstr(&b)), &q, &e), WEIR_EINVAL);
	ck_assert_int_eq(parse(ARGS("stream=slide", "by=site", buf_cstr(&b)), &q, &e), WEIR_EINVAL);
	buf_free(&b);
}
END_TEST

static struct watch_version id_versions[WATCH_VERSIONS_MAX];
static struct watch_place id_places[WATCH_VERSIONS_MAX][3];
static uint32_t id_count;

static int id_get(const char *text, uint32_t shards)
{
	for (int i = 0; i < WATCH_VERSIONS_MAX; i++)
		id_versions[i].places = id_places[i];
	return watch_id_get(text, shards, id_versions, &id_count);
}

START_TEST(watch_ids_go_round)
{
	struct watch_place places[3] = {{1, 2}, {UINT64_MAX - 1, UINT32_MAX}, {0, 0}};
	struct watch_place later[3] = {{7, 0}, {8, 1}, {9, 2}};
	struct watch_version versions[] = {{77, places}, {UINT32_MAX, later}};
	for (uint32_t count = 1; count <= 2; count++) {
		struct buf b = {0};
		watch_id_put(versions, count, 3, &b);
		ck_assert_int_eq(id_get(buf_cstr(&b), 3), 0);
		ck_assert_uint_eq(id_count, count);
		for (uint32_t v = 0; v < count; v++) {
			ck_assert_uint_eq(id_versions[v].version, versions[v].version);
			for (int i = 0; i < 3; i++)
				ck_assert(id_places[v][i].index == versions[v].places[i].index && id_places[v][i].n == versions[v].places[i].n);
		}
		ck_assert_int_eq(id_get(buf_cstr(&b), 2), WEIR_EINVAL);
		for (size_t cut = 1; cut < b.len; cut++) {
			char *text = xstrndup((const char *)b.data, cut);
			ck_assert_int_eq(id_get(text, 3), WEIR_EINVAL);
			free(text);
		}
		buf_free(&b);
	}
	ck_assert_int_eq(id_get("", 3), WEIR_EINVAL);
	ck_assert_int_eq(id_get("zz", 3), WEIR_EINVAL);
	ck_assert_int_eq(id_get("0205030000", 3), WEIR_EINVAL); /* more versions than are followed */
	ck_assert_int_eq(id_get("020003", 3), WEIR_EINVAL);
}
END_TEST

/* ---- merging ------------------------------------------------------------------------------------------------------ */

struct fake_row {
	uint32_t shard;
	int minute;
	const char *site, *sensor; /* NULL: not in the group */
	int readings;              /* with values 1..readings */
	enum window_state state;
	uint32_t revision, contributed;
};

static int stale_starts; /* pages that were not asked to be linearizable */

struct fake {
	const struct fake_row *rows;
	size_t count;
	size_t page;      /* rows of a page at the most */
	unsigned pages;   /* given out */
	unsigned cancelled;
	int fail_shard;   /* -1: none */
	bool linearizable;
	struct partial_spec spec;
	int64_t behind_ns[3]; /* by shard: how far its close and final are before the first minute's end */
	int64_t page_ns;      /* what a page takes */
};

static bool age_unknown; /* of shard 1 */
static int64_t kept_ns[3]; /* of its pages; 0: not told */
static size_t cut_page;   /* bytes that are missing at the end of shard 0's pages */
static unsigned kept_from; /* ... of the page so many pages were given out before */

struct fake_handle {
	uint32_t shard;
	struct rows_spec spec;
	uint8_t after[GROUP_KEY_MAX];
};

static void group_of(const struct fake_row *r, struct buf *out)
{
	if (r->site)
		buf_str(out, r->site);
	if (r->sensor)
		buf_str(out, r->sensor);
}

static void *fake_start(void *arg, uint32_t shard, const struct rows_spec *spec, bool linearizable)
{
	struct fake *f = arg;
	struct fake_handle *h = xcalloc(1, sizeof(*h));
	f->linearizable |= linearizable;
	stale_starts += !linearizable;
	h->shard = shard;
	h->spec = *spec;
	if (spec->after && spec->after_group.n)
		memcpy(h->after, spec->after_group.p, spec->after_group.n);
	h->spec.after_group.p = h->after;
	return h;
}

static bool is_after(const struct rows_spec *s, int64_t start, const struct buf *g)
{
	if (!s->after || start != s->after_start_ns)
		return !s->after || start > s->after_start_ns;
	size_t n = g->len < s->after_group.n ? g->len : s->after_group.n;
	int c = n ? memcmp(g->data, s->after_group.p, n) : 0;
	return c ? c > 0 : g->len > s->after_group.n;
}

static void fake_write(struct fake *f, struct rows_writer *w, const struct fake_row *r, const struct buf *group)
{
	struct row row = {.start_ns = T0 + r->minute * 60 * NS_PER_SEC, .state = r->state, .revision = r->revision};
	row.end_ns = row.start_ns + 60 * NS_PER_SEC;
	row.group = bytes_of(group->data, group->len);
	row.edges = (struct rows_edges){.expected = 2, .contributed = r->contributed};
	if (r->contributed < 2) {
		row.edges.partitioned = 1;
		row.edges.missing_count = 1;
		row.edges.missing[0] = bytes_of("e\"2", 3);
	}
	for (int i = 1; i <= r->readings; i++)
		partial_add(&row.partial, &f->spec, row.start_ns + i, i);
	rows_writer_add(w, &row);
	partial_clear(&row.partial, &f->spec);
}

static int fake_finish(void *arg, void *handle, struct query_page *ret, char reason[QUERY_REASON_MAX])
{
	struct fake *f = arg;
	struct fake_handle *h = handle;
	int64_t close_ns = T0 + 60 * NS_PER_SEC + (int64_t)h->shard - f->behind_ns[h->shard];
	struct rows_writer *w = rows_writer_new(&f->spec, close_ns, close_ns);
	if (f->pages++ >= kept_from)
		ret->kept_ns = kept_ns[h->shard];
	ret->behind_entries = 10 + h->shard;
	ret->age_ns = h->shard != 1 ? NS_PER_MS : age_unknown ? AGE_UNKNOWN : 1500 * NS_PER_MS + 1;
	for (size_t i = 0; i < f->count && !ret->more; i++) {
		struct buf group = {0};
		group_of(&f->rows[i], &group);
		if (f->rows[i].shard == h->shard && is_after(&h->spec, T0 + f->rows[i].minute * 60 * NS_PER_SEC, &group)) {
			ret->more = rows_writer_count(w) == f->page || rows_writer_count(w) == h->spec.limit;
			if (!ret->more)
				fake_write(f, w, &f->rows[i], &group);
		}
		buf_free(&group);
	}
	rows_writer_finish(w, &ret->rows);
	rows_writer_free(w);
	if (!h->shard)
		ret->rows.len -= cut_page;
	int rc = f->fail_shard == (int)h->shard ? WEIR_ETIMEOUT : 0;
	if (rc)
		memcpy(reason, "no answer", 10);
	free(h);
	return rc;
}

static void fake_cancel(void *arg, void *handle)
{
	struct fake *f = arg;
	f->cancelled++;
	free(handle);
}

static int64_t fake_now_ns(void *arg)
{
	const struct fake *f = arg;
	return f->pages * f->page_ns;
}

static int run(struct fake *f, const char *const *texts, struct buf *out, struct query_error *e)
{
	struct query_args args;
	struct query *q;
	ck_assert_int_eq(parse(texts, &args, e), 0);
	partial_spec_of(args.stream, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &f->spec);
	struct query_source source = {f, fake_start, fake_finish, fake_cancel, fake_now_ns};
	int rc = query_open(t, &source, &args, &q, e);
	if (rc)
		return rc;
	while ((rc = query_fill(q, out)) > 0)
		;
	query_close(q);
	return rc;
}

static json_t *run_json(struct fake *f, const char *const *texts)
{
	struct buf out = {0};
	struct query_error e;
	json_error_t je;
	ck_assert_int_eq(run(f, texts, &out, &e), 0);
	json_t *j = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &je);
	ck_assert_msg(j != NULL, "%s in %s", je.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

static const struct fake_row own_rows[] = {
    {0, 0, "a", "1", 1, WINDOW_FINAL, 1, 2},
    {2, 0, "a", "2", 3, WINDOW_FINAL, 2, 2},
    {1, 0, "b", "1", 2, WINDOW_PROVISIONAL, 1, 1},
    {0, 1, "a", "1", 2, WINDOW_OPEN, 0, 2},
    {1, 1, "a", "10", 1, WINDOW_OPEN, 0, 2},
    {2, 2, "z", "", 1, WINDOW_OPEN, 0, 2},
};

static const char *text_at(const json_t *row, const char *object, const char *key)
{
	return json_string_value(json_object_get(json_object_get(row, object), key));
}

START_TEST(rows_of_shards_come_in_order_however_they_are_paged)
{
	for (size_t page = 1; page <= 4; page++) {
		struct fake f = {own_rows, 6, page, 0, 0, -1, false, {0}, {0}, 0};
		json_t *j = run_json(&f, ARGS("stream=speed"));
		const json_t *rows = json_object_get(j, "rows");
		ck_assert_uint_eq(json_array_size(rows), 6);
		ck_assert(f.linearizable && !stale_starts); /* later pages as well: none is older than the one before it */
		for (size_t i = 0; i < 6; i++) {
			const json_t *row = json_array_get(rows, i);
			ck_assert_str_eq(text_at(row, "group", "site"), own_rows[i].site);
			ck_assert_str_eq(text_at(row, "group", "sensor"), own_rows[i].sensor);
			ck_assert_str_eq(
			    json_string_value(json_object_get(row, "state")), window_state_text(own_rows[i].state));
		}
		ck_assert_str_eq(json_string_value(json_object_get(j, "watermark")), "2015-09-01T11:26:00Z");
		ck_assert(json_is_null(json_object_get(j, "next")));
		json_decref(j);
	}
}
END_TEST

START_TEST(an_age_that_is_not_known_is_null)
{
	struct fake f = {own_rows, 6, 10, 0, 0, -1, false, {0}, {0}, 0};
	age_unknown = true;
	json_t *j = run_json(&f, ARGS("stream=speed", "stale=ok"));
	ck_assert(json_is_null(json_object_get(json_object_get(j, "stale"), "age_ms")));
	age_unknown = false;
	json_decref(j);
}
END_TEST

START_TEST(values_are_as_documented)
{
	struct fake f = {own_rows, 6, 10, 0, 0, -1, false, {0}, {0}, 0};
	json_t *j = run_json(&f, ARGS("stream=speed", "select=count,mean,stddev,p99,distinct(lane)", "stale=ok"));
	const json_t *stale = json_object_get(j, "stale"); /* the worst of all shards */
	ck_assert(!f.linearizable && json_integer_value(json_object_get(stale, "behind_entries")) == 12);
	ck_assert_int_eq(json_integer_value(json_object_get(stale, "age_ms")), 1501);
	const json_t *row = json_array_get(json_object_get(j, "rows"), 0);
	const json_t *values = json_object_get(row, "values"), *error = json_object_get(row, "error");
	ck_assert(json_is_integer(json_object_get(values, "count")) &&
	    json_integer_value(json_object_get(values, "count")) == 1);
	ck_assert(json_number_value(json_object_get(values, "mean")) == 1.0);
	ck_assert(json_is_null(json_object_get(values, "stddev"))); /* one reading has none */
	ck_assert(json_is_integer(json_object_get(values, "distinct(lane)")));
	ck_assert_uint_eq(json_object_size(error), 2);
	ck_assert(json_number_value(json_object_get(error, "p99")) > 0.005 &&
	    json_number_value(json_object_get(error, "p99")) < 0.0055);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "revision")), 1);
	ck_assert_str_eq(json_string_value(json_object_get(row, "start")), "2015-09-01T11:25:00Z");
	ck_assert_str_eq(json_string_value(json_object_get(row, "end")), "2015-09-01T11:26:00Z");
	row = json_array_get(json_object_get(j, "rows"), 2);
	const json_t *edges = json_object_get(row, "edges");
	ck_assert_int_eq(json_integer_value(json_object_get(edges, "partitioned")), 1);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(edges, "missing"), 0)), "e\"2");
	json_decref(j);
}
END_TEST

static const struct fake_row regrouped[] = {
    {0, 0, "a", NULL, 1, WINDOW_FINAL, 0, 2},
    {1, 0, "a", NULL, 3, WINDOW_PROVISIONAL, 0, 1},
    {2, 0, "a", NULL, 2, WINDOW_FINAL, 0, 2},
    {1, 0, "b", NULL, 1, WINDOW_FINAL, 0, 2},
    {0, 1, "a", NULL, 1, WINDOW_OPEN, 0, 2},
    {2, 1, "a", NULL, 1, WINDOW_OPEN, 0, 2},
};

START_TEST(equal_rows_of_shards_are_one)
{
	for (size_t page = 1; page <= 3; page++) {
		struct fake f = {regrouped, 6, page, 0, 0, -1, false, {0}, {0}, 0};
		json_t *j = run_json(&f, ARGS("stream=speed", "by=site", "select=count,sum"));
		const json_t *rows = json_object_get(j, "rows"), *row = json_array_get(rows, 0);
		ck_assert_uint_eq(json_array_size(rows), 3);
		ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(row, "values"), "count")), 6);
		ck_assert(json_number_value(json_object_get(json_object_get(row, "values"), "sum")) == 1 + 6 + 3);
		ck_assert_str_eq(json_string_value(json_object_get(row, "state")), "provisional");
		ck_assert(json_is_null(json_object_get(row, "revision")));
		ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(row, "edges"), "contributed")), 1);
		ck_assert_uint_eq(json_object_size(json_object_get(row, "group")), 1);
		json_decref(j);
	}
}
END_TEST

START_TEST(a_total_is_final_when_every_shard_says_so)
{
	static const struct fake_row parts[] = {
	    {0, 0, "a", NULL, 1, WINDOW_FINAL, 0, 2},
	    {1, 0, "a", NULL, 3, WINDOW_FINAL, 0, 2},
	    {0, 0, "b", NULL, 3, WINDOW_FINAL, 0, 2},
	};
	for (int64_t behind_ns = 0; behind_ns <= 60 * NS_PER_SEC; behind_ns += 30 * NS_PER_SEC) {
		/* shard 2 has no part in the rows yet, and may get one */
		struct fake f = {parts, 3, 1, 0, 0, -1, false, {0}, {0, 0, behind_ns}, 0};
		json_t *j = run_json(&f, ARGS("stream=speed", "by=site", "state=final"));
		ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), behind_ns ? 0 : 2);
		ck_assert(json_is_null(json_object_get(j, "next")));
		json_decref(j);
		j = run_json(&f, ARGS("stream=speed", "by=site"));
		const json_t *rows = json_object_get(j, "rows");
		ck_assert_uint_eq(json_array_size(rows), 2);
		for (size_t i = 0; i < 2; i++)
			ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, i), "state")),
			    behind_ns ? "open" : "final");
		json_decref(j);
	}
}
END_TEST

static void ck_brief(struct fake *f, size_t count, const int *readings)
{
	f->pages = 0;
	json_t *j = run_json(f, ARGS("stream=brief", "by=site"));
	const json_t *rows = json_object_get(j, "rows");
	ck_assert_uint_eq(json_array_size(rows), count);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(json_array_get(rows, i), "values"), "count")), readings[i]);
	ck_assert(json_is_null(json_object_get(j, "next")));
	json_decref(j);
}

/* One shard has forgotten its part of the first minute: what the others have is not all of it. */
START_TEST(a_window_that_one_shard_has_forgotten_is_left_out)
{
	static const struct fake_row rows[] = {
	    {0, 0, "a", NULL, 1, WINDOW_FINAL, 0, 2},
	    {2, 0, "a", NULL, 2, WINDOW_FINAL, 0, 2},
	    {2, 0, "b", NULL, 2, WINDOW_FINAL, 0, 2},
	    {0, 1, "a", NULL, 3, WINDOW_FINAL, 0, 2},
	    {1, 1, "a", NULL, 5, WINDOW_FINAL, 0, 2},
	    {2, 2, "b", NULL, 7, WINDOW_FINAL, 0, 2},
	};
	static const int all[] = {3, 2, 8, 7};
	for (size_t page = 1; page <= 3; page++) {
		struct fake f = {rows, 6, page, 0, 0, -1, false, {0}, {0}, 0};
		ck_brief(&f, 4, all);
		f.behind_ns[1] = -5 * 60 * NS_PER_SEC; /* its close is 6 m after the first minute's start, and retain is 5 m */
		ck_brief(&f, 2, all + 2);
		/* a retired version goes by its age */
		f.behind_ns[1] = 0;
		kept_ns[1] = T0 + 6 * 60 * NS_PER_SEC - 1;
		ck_brief(&f, 4, all);
		kept_ns[1]++;
		ck_brief(&f, 2, all + 2);
		kept_ns[1] = 0;
	}
	/* it forgets while the answer is being made: from the fourth page on, for which the first row is out already */
	struct fake f = {rows, 6, 1, 0, 0, -1, false, {0}, {0}, 0};
	kept_from = 3;
	kept_ns[0] = T0 + 6 * 60 * NS_PER_SEC;
	static const int rest[] = {3, 8, 7};
	ck_brief(&f, 3, rest);
	kept_from = 0;
	kept_ns[0] = 0;
}
END_TEST

/* A replica that is far behind has much that the others have forgotten: it is passed over in whole pages, and not for ever. */
START_TEST(what_is_left_out_takes_few_pages_and_its_time)
{
	static struct fake_row rows[100];
	static char sites[99][16];
	for (int i = 0; i < 99; i++) {
		snprintf(sites[i], sizeof(sites[i]), "%02d", i);
		rows[i] = (struct fake_row){0, 0, sites[i], NULL, 1, WINDOW_FINAL, 0, 2};
	}
	rows[99] = (struct fake_row){0, 2, "a", NULL, 7, WINDOW_FINAL, 0, 2};
	struct fake f = {rows, 100, 1000, 0, 0, -1, false, {0}, {0, -5 * 60 * NS_PER_SEC, 0}, 0};
	json_t *j = run_json(&f, ARGS("stream=brief", "by=site", "limit=1"));
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 1);
	ck_assert(json_is_null(json_object_get(j, "next")));
	ck_assert_uint_eq(f.pages, 4);
	json_decref(j);
	/* three first pages, then at the fourth it is enough; what is next begins behind what was left out */
	f.pages = 0;
	f.page = 30;
	f.page_ns = QUERY_TIME_MAX_NS / 4;
	j = run_json(&f, ARGS("stream=brief", "by=site"));
	ck_assert_uint_eq(f.pages, 4);
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 0);
	char *cursor = xasprintf("cursor=%s", json_string_value(json_object_get(j, "next")));
	json_decref(j);
	f.pages = 0;
	f.page_ns = 0;
	j = run_json(&f, ARGS("stream=brief", "by=site", cursor));
	ck_assert_uint_eq(f.pages, 5); /* three, and two: the rest of what is left out, and the row behind it */
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 1);
	json_decref(j);
	free(cursor);
}
END_TEST

START_TEST(a_limit_goes_on_where_it_stopped)
{
	unsigned seen = 0;
	char *cursor = NULL;
	for (unsigned turn = 0; turn < 4; turn++) {
		struct fake f = {own_rows, 6, 2, 0, 0, -1, false, {0}, {0}, 0};
		json_t *j = run_json(&f, cursor ? ARGS("stream=speed", "limit=2", cursor) : ARGS("stream=speed", "limit=2"));
		const json_t *rows = json_object_get(j, "rows"), *next = json_object_get(j, "next");
		for (size_t i = 0; i < json_array_size(rows); i++, seen++)
			ck_assert_str_eq(text_at(json_array_get(rows, i), "group", "sensor"), own_rows[seen].sensor);
		free(cursor);
		cursor = json_is_string(next) ? xasprintf("cursor=%s", json_string_value(next)) : NULL;
		json_decref(j);
		if (!cursor)
			break;
	}
	ck_assert_ptr_null(cursor);
	ck_assert_uint_eq(seen, 6);
}
END_TEST

START_TEST(an_answer_that_takes_too_long_ends_with_its_next)
{
	/* three first pages of a row each, then one more: at the fourth it is enough */
	struct fake f = {own_rows, 6, 1, 0, 0, -1, false, {0}, {0}, QUERY_TIME_MAX_NS / 4};
	json_t *j = run_json(&f, ARGS("stream=speed"));
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 1);
	char *cursor = xasprintf("cursor=%s", json_string_value(json_object_get(j, "next")));
	json_decref(j);
	f.pages = 0;
	f.page_ns = 0;
	j = run_json(&f, ARGS("stream=speed", cursor));
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 5);
	json_decref(j);
	free(cursor);
}
END_TEST

/* ---- rows instead of JSON ------------------------------------------------------------------------------------------ */

struct each {
	unsigned rows, stop_at; /* stop_at 0: never */
	int64_t last_start_ns;
	uint64_t readings;
};

static int on_row(void *arg, const struct query_args *args, const struct partial_spec *of, const struct row *row)
{
	struct each *e = arg;
	ck_assert(args->stream && of->parts & PARTIAL_SUM && row->start_ns >= e->last_start_ns);
	e->last_start_ns = row->start_ns;
	e->readings += row->partial.count;
	return ++e->rows == e->stop_at ? WEIR_EINVAL : 0;
}

static int each(struct fake *f, const char *const *texts, struct each *e, char reason[QUERY_REASON_MAX])
{
	struct query_args args;
	struct query_error error;
	struct query *q;
	ck_assert_int_eq(parse(texts, &args, &error), 0);
	partial_spec_of(args.stream, topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &f->spec);
	struct query_source source = {f, fake_start, fake_finish, fake_cancel, fake_now_ns};
	ck_assert_int_eq(query_open(t, &source, &args, &q, &error), 0);
	memset(reason, 0, QUERY_REASON_MAX);
	int rc = query_each(q, on_row, e, reason);
	query_close(q);
	return rc;
}

START_TEST(each_row_is_given_once_merged_of_all_shards)
{
	char reason[QUERY_REASON_MAX];
	for (size_t page = 1; page <= 4; page++) {
		struct fake f = {own_rows, 6, page, 0, 0, -1, false, {0}, {0}, 0};
		struct each e = {0};
		ck_assert_int_eq(each(&f, ARGS("stream=speed"), &e, reason), 0);
		ck_assert(e.rows == 6 && e.readings == 10);
		f = (struct fake){regrouped, 6, page, 0, 0, -1, false, {0}, {0}, 0};
		e = (struct each){0};
		ck_assert_int_eq(each(&f, ARGS("stream=speed", "by=site"), &e, reason), 0);
		ck_assert(e.rows == 3 && e.readings == 9);
	}
}
END_TEST

START_TEST(each_row_ends_with_a_reason)
{
	char reason[QUERY_REASON_MAX];
	struct fake f = {own_rows, 6, 1, 0, 0, -1, false, {0}, {0}, 0};
	struct each e = {.stop_at = 2};
	ck_assert_int_eq(each(&f, ARGS("stream=speed"), &e, reason), WEIR_EINVAL);
	ck_assert_uint_eq(e.rows, 2); /* the fn's own: it knows why */
	e = (struct each){0};
	ck_assert_int_eq(each(&f, ARGS("stream=speed", "limit=4"), &e, reason), WEIR_ETOOBIG);
	ck_assert_uint_eq(e.rows, 4);
	ck_assert_str_eq(reason, "more than 4 rows");
	e = (struct each){0};
	ck_assert_int_eq(each(&f, ARGS("stream=speed", "limit=6"), &e, reason), 0);
	e = (struct each){0};
	f = (struct fake){own_rows, 6, 1, 0, 0, -1, false, {0}, {0}, QUERY_TIME_MAX_NS / 4};
	ck_assert_int_eq(each(&f, ARGS("stream=speed"), &e, reason), WEIR_ETIMEOUT);
	ck_assert_str_eq(reason, "the shards' answers take too long");
	ck_assert_uint_eq(e.rows, 1);
}
END_TEST

START_TEST(a_damaged_row_ends_it_with_a_reason)
{
	char reason[QUERY_REASON_MAX];
	struct each e = {0};
	struct fake f = {own_rows, 6, 10, 0, 0, -1, false, {0}, {0}, 0};
	cut_page = 1; /* shard 0: its second row */
	ck_assert_int_lt(each(&f, ARGS("stream=speed"), &e, reason), 0);
	cut_page = 0;
	ck_assert_str_eq(reason, "shard 0: its answer is damaged");
	ck_assert_uint_ge(e.rows, 1);
}
END_TEST

START_TEST(no_rows_are_an_answer_and_a_lost_shard_is_none)
{
	struct fake f = {own_rows, 0, 10, 0, 0, -1, false, {0}, {0}, 0};
	json_t *j = run_json(&f, ARGS("stream=speed"));
	ck_assert_uint_eq(json_array_size(json_object_get(j, "rows")), 0);
	json_decref(j);
	struct fake lost = {own_rows, 6, 10, 0, 0, 1, false, {0}, {0}, 0};
	struct buf out = {0};
	struct query_error e;
	ck_assert_int_lt(run(&lost, ARGS("stream=speed"), &out, &e), 0);
	ck_assert_uint_eq(e.status, 503);
	ck_assert_str_eq(e.code, "unavailable");
	ck_assert_str_eq(e.message, "no answer");
	ck_assert(lost.pages == 2 && lost.cancelled == 1); /* all that was begun was ended */
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/query");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, defaults_are_the_streams_own);
	tcase_add_test(tc, everything_asked_for_is_taken);
	tcase_add_test(tc, what_is_wrong_is_said);
	tcase_add_test(tc, a_cursor_is_good_for_its_query_only);
	tcase_add_test(tc, watch_ids_go_round);
	tcase_add_test(tc, rows_of_shards_come_in_order_however_they_are_paged);
	tcase_add_test(tc, values_are_as_documented);
	tcase_add_test(tc, an_age_that_is_not_known_is_null);
	tcase_add_test(tc, equal_rows_of_shards_are_one);
	tcase_add_test(tc, a_total_is_final_when_every_shard_says_so);
	tcase_add_test(tc, a_window_that_one_shard_has_forgotten_is_left_out);
	tcase_add_test(tc, what_is_left_out_takes_few_pages_and_its_time);
	tcase_add_test(tc, a_limit_goes_on_where_it_stopped);
	tcase_add_test(tc, an_answer_that_takes_too_long_ends_with_its_next);
	tcase_add_test(tc, each_row_is_given_once_merged_of_all_shards);
	tcase_add_test(tc, each_row_ends_with_a_reason);
	tcase_add_test(tc, a_damaged_row_ends_it_with_a_reason);
	tcase_add_test(tc, no_rows_are_an_answer_and_a_lost_shard_is_none);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
