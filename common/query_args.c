#include "common/query_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/hex.h"

#define CURSOR_FORMAT 1
#define LIST_ITEM_MAX 256

/* Where parsing is: what there is, and where an error goes. */
struct parse {
	const struct topology *t;
	const struct query_arg *args;
	size_t count;
	int64_t now_ns;
	struct query_args *q;
	struct query_error *error;
};

static int fail(struct parse *p, unsigned status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(struct parse *p, unsigned status, const char *code, const char *fmt, ...)
{
	va_list ap;
	p->error->status = status;
	p->error->code = code;
	va_start(ap, fmt);
	vsnprintf(p->error->message, sizeof(p->error->message), fmt, ap);
	va_end(ap);
	return WEIR_EINVAL;
}

/* The value of an argument that may be given once; NULL: not given. Twice was refused by check_names. */
static const char *value_of(const struct parse *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strcmp(p->args[i].name, name))
			return p->args[i].value;
	return NULL;
}

static int check_names(struct parse *p, const char *const *known, size_t known_count)
{
	bool seen[16] = {false};
	weir_assert(known_count <= sizeof(seen) / sizeof(seen[0]));
	for (size_t i = 0; i < p->count; i++) {
		size_t k = 0;
		while (k < known_count && strcmp(known[k], p->args[i].name))
			k++;
		if (k == known_count)
			return fail(p, 400, "bad_request", "unknown parameter \"%.100s\"", p->args[i].name);
		if (seen[k] && strcmp(known[k], "where"))
			return fail(p, 400, "bad_request", "parameter \"%s\" is given twice", known[k]);
		seen[k] = true;
	}
	return 0;
}

/* Room for one more version, in the order of where their parts begin. */
static void add_version(struct query_args *q, const struct stream_conf *s)
{
	q->versions = xrealloc(q->versions, (q->version_count + 1) * sizeof(*q->versions));
	size_t at = q->version_count++;
	for (; at > 0 && q->versions[at - 1].stream->from_ns > s->from_ns; at--)
		q->versions[at] = q->versions[at - 1];
	q->versions[at] = (struct query_version){.stream = s};
	struct rows_spec *spec = &q->versions[at].spec;
	*spec = (struct rows_spec){.stream = s->name, .version = s->version, .from_ns = INT64_MIN, .to_ns = INT64_MAX,
	    .size_ns = s->size_ns, .advance_ns = s->advance_ns, .offset_ns = s->offset_ns, .own_window = true};
}

static int parse_number(const char *text, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;
	for (; text[n] >= '0' && text[n] <= '9' && n < 10; n++)
		v = v * 10 + (uint64_t)(text[n] - '0');
	if (!n || text[n] || !v || v > max)
		return WEIR_EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

/* One version that is asked for by its number, all of it, whatever its phase. */
static int parse_version(struct parse *p, const char *name, const char *text)
{
	uint32_t version;
	int at = parse_number(text, UINT32_MAX, &version) ? -1 : topology_stream_version_of(p->t, name, version);
	if (at < 0)
		return fail(p, 404, "unknown_version", "stream \"%.100s\" has no version %.20s", name, text);
	add_version(p->q, &p->t->streams[at]);
	return 0;
}

static bool answers(const struct stream_conf *s, const char *name)
{
	return s->phase != STREAM_PENDING && s->from_ns < s->answers_until_ns && !strcmp(s->name, name);
}

static int parse_stream(struct parse *p)
{
	const char *name = value_of(p, "stream"), *version = value_of(p, "version");
	if (!name || !*name)
		return fail(p, 400, "bad_request", "parameter \"stream\" is missing");
	int at = topology_stream(p->t, name);
	if (at < 0)
		return fail(p, 404, "unknown_stream", "there is no stream \"%.100s\"", name);
	if (version)
		return parse_version(p, name, version);
	for (size_t i = 0; i < p->t->stream_count; i++) {
		if (answers(&p->t->streams[i], name))
			add_version(p->q, &p->t->streams[i]);
	}
	if (!p->q->version_count)
		add_version(p->q, &p->t->streams[at]);
	return 0;
}

static int parse_time(struct parse *p, const char *name, int64_t otherwise, int64_t *ret_ns)
{
	const char *text = value_of(p, name);
	*ret_ns = otherwise;
	if (text && time_parse(text, p->now_ns, ret_ns))
		return fail(p, 400, "bad_time",
		    "%s=%.60s is not a time: RFC 3339 (with + as %%2B), seconds since the epoch, now, or -1h", name, text);
	return 0;
}

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* A version answers windows that start in its range; one asked for by number, all. */
static void set_range(const struct parse *p, struct query_version *v, int64_t from_ns, int64_t to_ns)
{
	bool whole = value_of(p, "version");
	v->spec.from_ns = whole || from_ns > v->stream->from_ns ? from_ns : v->stream->from_ns;
	v->spec.to_ns = whole ? to_ns : lesser(to_ns, v->stream->answers_until_ns);
}

static void drop_version(struct query_args *q, size_t at)
{
	q->version_count--;
	memmove(&q->versions[at], &q->versions[at + 1], (q->version_count - at) * sizeof(*q->versions));
}

/* Drops versions that have no part in it, but the last. */
static int parse_times(struct parse *p)
{
	struct query_args *q = p->q;
	int64_t from_ns, to_ns;
	if (parse_time(p, "from", INT64_MIN, &from_ns) || parse_time(p, "to", INT64_MAX, &to_ns))
		return WEIR_EINVAL;
	if (from_ns > to_ns)
		return fail(p, 400, "bad_time", "from is after to");
	for (size_t i = q->version_count; i-- > 0;) {
		set_range(p, &q->versions[i], from_ns, to_ns);
		if (q->versions[i].spec.from_ns >= q->versions[i].spec.to_ns && q->version_count > 1)
			drop_version(q, i);
	}
	q->spans = q->version_count > 1;
	return 0;
}

/* Windows that are not a version's own may reach over its end, where it is not fed any more: those are nobody's. */
static void end_windows(const struct parse *p, struct query_version *v)
{
	if (value_of(p, "version") || v->spec.own_window || v->stream->until_ns == INT64_MAX)
		return;
	int64_t last_ns = v->stream->until_ns < TIME_MIN_NS ? v->stream->until_ns : v->stream->until_ns - v->spec.size_ns + 1;
	v->spec.to_ns = lesser(v->spec.to_ns, last_ns);
	if (v->spec.from_ns > v->spec.to_ns)
		v->spec.from_ns = v->spec.to_ns;
}

static int fit_window(struct parse *p, struct query_version *v, const char *text, int64_t size)
{
	const struct stream_conf *stream = v->stream;
	char slice[TIME_TEXT_MAX], from[TIME_TEXT_MAX] = "the beginning";
	duration_format(stream->slice_ns, slice);
	if (stream->from_ns >= TIME_MIN_NS && stream->from_ns <= TIME_MAX_NS)
		time_format(stream->from_ns, from);
	if (size % stream->slice_ns && p->q->spans)
		return fail(p, 400, "bad_window", "window=%.60s is not a multiple of %s, the slice of the stream's version %u from %s on: "
						  "leave that out by from and to", text, slice, stream->version, from);
	if (size % stream->slice_ns)
		return fail(p, 400, "bad_window", "window=%.60s is not a multiple of the stream's slice, %s", text, slice);
	v->spec.own_window = size == stream->size_ns && stream->advance_ns == stream->size_ns;
	v->spec.size_ns = v->spec.advance_ns = size;
	end_windows(p, v);
	return 0;
}

static int parse_window(struct parse *p)
{
	const char *text = value_of(p, "window");
	int64_t size;
	if (!text)
		return 0;
	if (duration_parse(text, strlen(text), &size) || !size)
		return fail(p, 400, "bad_window", "window=%.60s is not a duration such as 5m or 1h", text);
	if (size > ROWS_WINDOW_MAX_NS)
		return fail(p, 400, "bad_window", "window=%.60s is too long", text);
	for (size_t i = 0; i < p->q->version_count; i++) {
		int rc = fit_window(p, &p->q->versions[i], text, size);
		if (rc)
			return rc;
	}
	return 0;
}

/* Calls each() with every item of a list with commas; an empty text has none, an empty item is an error. */
static int each_item(struct parse *p, const char *name, const char *text, int (*each)(struct parse *p, const char *item))
{
	while (*text) {
		char item[LIST_ITEM_MAX];
		size_t n = strcspn(text, ",");
		if (!n || n >= sizeof(item) || (text[n] == ',' && !text[n + 1]))
			return fail(p, 400, "bad_request", "%s has an empty or endless item", name);
		memcpy(item, text, n);
		item[n] = 0;
		int rc = each(p, item);
		if (rc)
			return rc;
		text += n + (text[n] == ',');
	}
	return 0;
}

static uint32_t tag_index(const struct stream_conf *s, const char *tag)
{
	for (size_t i = 0; i < s->by_count; i++)
		if (!strcmp(s->by[i], tag))
			return (uint32_t)i;
	return UINT32_MAX;
}

/* Whether some version keeps the tag. */
static bool is_kept(const struct query_args *q, const char *tag)
{
	bool kept = false;
	for (size_t i = 0; i < q->version_count && !kept; i++)
		kept = tag_index(q->versions[i].stream, tag) != UINT32_MAX;
	return kept;
}

static int add_by(struct parse *p, const char *tag)
{
	struct query_args *q = p->q;
	if (!is_kept(q, tag))
		return fail(p, 400, "unknown_tag", "the stream does not keep the tag \"%.100s\"", tag);
	for (uint32_t i = 0; i < q->by_count; i++)
		if (!strcmp(q->by[i], tag))
			return fail(p, 400, "bad_request", "by names \"%.100s\" twice", tag);
	if (q->by_count == BY_MAX)
		return fail(p, 400, "bad_request", "by names more than %d tags", BY_MAX);
	q->by[q->by_count++] = xstrdup(tag);
	return 0;
}

/* The tags asked for that a version keeps, in the order asked for. */
static void set_by(const struct query_args *q, struct query_version *v)
{
	struct rows_spec *s = &v->spec;
	for (uint32_t i = 0; i < q->by_count; i++) {
		uint32_t at = tag_index(v->stream, q->by[i]);
		v->column[i] = at == UINT32_MAX ? UINT32_MAX : s->by_count;
		if (at != UINT32_MAX)
			s->by[s->by_count++] = at;
	}
	s->own_by = s->by_count == v->stream->by_count;
	for (uint32_t i = 0; i < s->by_count; i++)
		s->own_by &= s->by[i] == i;
}

static const struct query_version *last_version(const struct query_args *q)
{
	return &q->versions[q->version_count - 1];
}

/* Without `by`: those of the last version. */
static int parse_by(struct parse *p)
{
	struct query_args *q = p->q;
	const char *text = value_of(p, "by");
	const struct stream_conf *last = last_version(q)->stream;
	if (text && each_item(p, "by", text, add_by))
		return WEIR_EINVAL;
	for (size_t i = 0; !text && i < last->by_count; i++)
		q->by[q->by_count++] = xstrdup(last->by[i]);
	for (size_t i = 0; i < q->version_count; i++)
		set_by(q, &q->versions[i]);
	return 0;
}

/* Whether "" is among the values asked of the tag at the head of text ("tag=value"). */
static bool asks_for_none(const struct parse *p, const char *text, size_t tag_len)
{
	for (size_t i = 0; i < p->count; i++) {
		const char *other = p->args[i].value;
		if (!strcmp(p->args[i].name, "where") && strlen(other) == tag_len + 1 && !memcmp(other, text, tag_len + 1))
			return true;
	}
	return false;
}

/* The filter as a version has it: a tag that it does not keep is "" everywhere, and has no name in the question to OR its values
 * by. */
static void set_where(const struct parse *p, struct query_version *v, const char *tag, size_t tag_len, const char *text,
    const char *value)
{
	struct rows_spec *s = &v->spec;
	uint32_t by = tag_index(v->stream, tag);
	bool holds = by == UINT32_MAX && asks_for_none(p, text, tag_len);
	s->where[s->where_count++] = (struct rows_where){by, holds ? "" : value};
}

static int parse_where(struct parse *p)
{
	struct query_args *q = p->q;
	uint32_t count = 0;
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->args[i].name, "where"))
			continue;
		const char *text = p->args[i].value, *eq = strchr(text, '=');
		if (!eq || eq == text)
			return fail(p, 400, "bad_request", "where=%.100s is not of the form tag=value", text);
		if (count == ROWS_WHERE_MAX)
			return fail(p, 400, "bad_request", "more than %d where", ROWS_WHERE_MAX);
		if (strlen(eq + 1) > GROUP_KEY_MAX)
			return fail(p, 400, "bad_request", "a value of where is over %d bytes", GROUP_KEY_MAX);
		char *tag = xstrndup(text, (size_t)(eq - text));
		char *value = q->where_values[count++] = xstrdup(eq + 1);
		for (size_t v = 0; v < q->version_count; v++)
			set_where(p, &q->versions[v], tag, (size_t)(eq - text), text, value);
		free(tag);
	}
	return 0;
}

static bool is_computed(const struct query_args *q, const struct function_conf *fn)
{
	bool computed = false;
	for (size_t i = 0; i < q->version_count && !computed; i++)
		computed = stream_computes(q->versions[i].stream, fn);
	return computed;
}

static int add_function(struct parse *p, const char *text)
{
	struct query_args *q = p->q;
	struct function_conf fn = {0};
	if (function_parse(text, &fn))
		return fail(p, 400, "unknown_function", "\"%.100s\" is not a function", text);
	bool twice = false;
	for (size_t i = 0; i < q->select_count; i++)
		twice |= !strcmp(q->select[i].text, fn.text);
	int rc = 0;
	if (!is_computed(q, &fn))
		rc = fail(p, 400, "not_computed", "the stream does not compute %.100s", text);
	else if (twice)
		rc = fail(p, 400, "bad_request", "select names %.100s twice", text);
	else if (q->select_count == FUNCTIONS_MAX)
		rc = fail(p, 400, "bad_request", "select names more than %d functions", FUNCTIONS_MAX);
	if (rc)
		function_clear(&fn);
	else
		q->select[q->select_count++] = fn;
	return rc;
}

static int select_all(struct parse *p)
{
	const struct stream_conf *last = last_version(p->q)->stream;
	for (size_t i = 0; i < last->compute_count; i++) {
		int rc = add_function(p, last->compute[i].text);
		if (rc)
			return rc;
	}
	return 0;
}

static int parse_select(struct parse *p)
{
	const char *text = value_of(p, "select");
	if (!text)
		return select_all(p);
	if (!*text)
		return fail(p, 400, "bad_request", "select is empty");
	return each_item(p, "select", text, add_function);
}

static int parse_flags(struct parse *p)
{
	const char *state = value_of(p, "state"), *stale = value_of(p, "stale");
	if (state && strcmp(state, "final"))
		return fail(p, 400, "bad_request", "state=%.60s: only final can be asked for", state);
	if (stale && strcmp(stale, "ok"))
		return fail(p, 400, "bad_request", "stale=%.60s: only ok can be said", stale);
	for (size_t i = 0; i < p->q->version_count; i++)
		p->q->versions[i].spec.only_final = state != NULL;
	p->q->stale = stale != NULL;
	return 0;
}

static int parse_limit(struct parse *p)
{
	const char *text = value_of(p, "limit");
	p->q->limit = QUERY_ROWS_MAX;
	if (!text)
		return 0;
	uint32_t v;
	if (parse_number(text, QUERY_ROWS_MAX, &v))
		return fail(p, 400, "bad_request", "limit=%.60s is not a number from 1 to %d", text, QUERY_ROWS_MAX);
	p->q->limit = v;
	return 0;
}

/* ---- cursors: [format u8][fingerprint u64][start i64][group], in hexadecimal digits ---------------------------- */

/* FNV-1a over the encoded question: a guard against mistakes, not against malice. */
static uint64_t fingerprint_of(const struct query_args *q)
{
	struct rows_spec s = last_version(q)->spec;
	s.after = false;
	s.limit = 1;
	s.from_ns = s.to_ns = 0; /* -1h is another time in each request */
	struct buf b = {0};
	rows_spec_encode(&s, &b);
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < b.len; i++)
		h = (h ^ b.data[i]) * UINT64_C(1099511628211);
	buf_free(&b);
	return h;
}

void query_cursor_put(const struct query_args *q, int64_t start_ns, struct bytes group, struct buf *out)
{
	struct buf raw = {0};
	buf_u8(&raw, CURSOR_FORMAT);
	buf_u64(&raw, q->fingerprint);
	buf_bei64(&raw, start_ns);
	buf_put(&raw, group.p, group.n);
	hex_put(out, raw.data, raw.len);
	buf_free(&raw);
}

static int read_cursor(struct query_args *q, const struct buf *raw)
{
	struct rd r = rd_init(raw->data, raw->len);
	uint8_t format = rd_u8(&r);
	uint64_t fingerprint = rd_u64(&r);
	int64_t start_ns = rd_bei64(&r);
	size_t n = rd_left(&r);
	if (r.err || format != CURSOR_FORMAT || fingerprint != q->fingerprint || n > sizeof(q->after_group))
		return WEIR_EINVAL;
	/* Versions whose part has ended are done with; the cursor is in the first of those that are left, or before it. */
	while (q->version_count > 1 && q->versions[0].spec.to_ns <= start_ns)
		drop_version(q, 0);
	struct rows_spec *s = &q->versions[0].spec;
	memcpy(q->after_group, r.p, n);
	s->after = true;
	s->after_start_ns = start_ns;
	s->after_group.n = n;
	return 0;
}

static int parse_cursor(struct parse *p)
{
	p->q->fingerprint = fingerprint_of(p->q);
	const char *text = value_of(p, "cursor");
	if (!text)
		return 0;
	struct buf raw = {0};
	int rc = hex_get(text, &raw);
	if (!rc)
		rc = read_cursor(p->q, &raw);
	buf_free(&raw);
	return rc ? fail(p, 400, "bad_cursor", "the cursor is not one of this query") : 0;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static int parse_query(struct parse *p)
{
	static const char *const known[] = {"stream", "from", "to", "window", "by", "where", "select", "state", "limit",
	    "cursor", "stale", "version"};
	static int (*const steps[])(struct parse * p) = {parse_stream, parse_times, parse_window, parse_by, parse_where,
	    parse_select, parse_flags, parse_limit, parse_cursor};
	int rc = check_names(p, known, sizeof(known) / sizeof(known[0]));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !rc; i++)
		rc = steps[i](p);
	return rc;
}

static int parse_watch(struct parse *p)
{
	static const char *const known[] = {"stream", "last_event_id", "where"};
	static int (*const steps[])(struct parse * p) = {parse_stream, parse_times, parse_window, parse_where};
	int rc = check_names(p, known, sizeof(known) / sizeof(known[0]));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !rc; i++)
		rc = steps[i](p);
	p->q->own = true;
	return rc;
}

void query_args_select(struct query_args *q, size_t version)
{
	q->at = version;
	q->stream = q->versions[version].stream;
	q->spec = q->versions[version].spec;
}

static int finish(struct query_args *q, int rc)
{
	if (rc) {
		query_args_clear(q);
		return rc;
	}
	const struct rows_spec *last = &last_version(q)->spec;
	q->size_ns = last->size_ns;
	q->advance_ns = last->advance_ns;
	query_args_select(q, 0);
	return 0;
}

int query_args_parse(const struct topology *t, const struct query_arg *args, size_t count, int64_t now_ns,
    struct query_args *ret, struct query_error *ret_error)
{
	*ret = (struct query_args){0};
	struct parse p = {t, args, count, now_ns, ret, ret_error};
	return finish(ret, parse_query(&p));
}

int query_args_parse_watch(const struct topology *t, const struct query_arg *args, size_t count, struct query_args *ret,
    struct query_error *ret_error)
{
	*ret = (struct query_args){0};
	struct parse p = {t, args, count, 0, ret, ret_error};
	return finish(ret, parse_watch(&p));
}

void query_args_clear(struct query_args *q)
{
	for (size_t i = 0; i < q->select_count; i++)
		function_clear(&q->select[i]);
	for (size_t i = 0; i < ROWS_WHERE_MAX; i++)
		free(q->where_values[i]);
	for (size_t i = 0; i < BY_MAX; i++)
		free(q->by[i]);
	free(q->versions);
	*q = (struct query_args){0};
}
