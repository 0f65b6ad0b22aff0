#include "cloudd/query_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/cursor.h"
#include "common/clock.h"
#include "common/err.h"

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

static int parse_stream(struct parse *p)
{
	const char *name = value_of(p, "stream");
	if (!name || !*name)
		return fail(p, 400, "bad_request", "parameter \"stream\" is missing");
	int at = topology_stream(p->t, name);
	if (at < 0)
		return fail(p, 404, "unknown_stream", "there is no stream \"%.100s\"", name);
	p->q->stream = &p->t->streams[at];
	p->q->spec.stream = p->q->stream->name;
	p->q->spec.version = p->q->stream->version;
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

static int parse_times(struct parse *p)
{
	struct rows_spec *s = &p->q->spec;
	if (parse_time(p, "from", INT64_MIN, &s->from_ns) || parse_time(p, "to", INT64_MAX, &s->to_ns))
		return WEIR_EINVAL;
	if (s->from_ns > s->to_ns)
		return fail(p, 400, "bad_time", "from is after to");
	return 0;
}

static int parse_window(struct parse *p)
{
	const struct stream_conf *stream = p->q->stream;
	struct rows_spec *s = &p->q->spec;
	const char *text = value_of(p, "window");
	s->size_ns = stream->size_ns;
	s->advance_ns = stream->advance_ns;
	s->offset_ns = stream->offset_ns;
	s->own_window = true;
	if (!text)
		return 0;
	int64_t size;
	if (duration_parse(text, strlen(text), &size) || !size)
		return fail(p, 400, "bad_window", "window=%.60s is not a duration such as 5m or 1h", text);
	char slice[TIME_TEXT_MAX];
	duration_format(stream->slice_ns, slice);
	if (size % stream->slice_ns)
		return fail(p, 400, "bad_window", "window=%.60s is not a multiple of the stream's slice, %s", text, slice);
	if (size > ROWS_WINDOW_MAX_NS)
		return fail(p, 400, "bad_window", "window=%.60s is too long", text);
	s->own_window = size == stream->size_ns && stream->advance_ns == stream->size_ns;
	s->size_ns = s->advance_ns = size;
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

static int add_by(struct parse *p, const char *tag)
{
	struct rows_spec *s = &p->q->spec;
	uint32_t at = tag_index(p->q->stream, tag);
	if (at == UINT32_MAX)
		return fail(p, 400, "unknown_tag", "the stream does not keep the tag \"%.100s\"", tag);
	for (uint32_t i = 0; i < s->by_count; i++)
		if (s->by[i] == at)
			return fail(p, 400, "bad_request", "by names \"%.100s\" twice", tag);
	s->by[s->by_count++] = at;
	return 0;
}

static int parse_by(struct parse *p)
{
	struct rows_spec *s = &p->q->spec;
	const char *text = value_of(p, "by");
	if (text) {
		if (each_item(p, "by", text, add_by))
			return WEIR_EINVAL;
	} else {
		for (uint32_t i = 0; i < p->q->stream->by_count; i++)
			s->by[s->by_count++] = i;
	}
	s->own_by = s->by_count == p->q->stream->by_count;
	for (uint32_t i = 0; i < s->by_count; i++)
		s->own_by &= s->by[i] == i;
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

static int parse_where(struct parse *p)
{
	struct rows_spec *s = &p->q->spec;
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->args[i].name, "where"))
			continue;
		const char *text = p->args[i].value, *eq = strchr(text, '=');
		if (!eq || eq == text)
			return fail(p, 400, "bad_request", "where=%.100s is not of the form tag=value", text);
		if (s->where_count == ROWS_WHERE_MAX)
			return fail(p, 400, "bad_request", "more than %d where", ROWS_WHERE_MAX);
		if (strlen(eq + 1) > GROUP_KEY_MAX)
			return fail(p, 400, "bad_request", "a value of where is over %d bytes", GROUP_KEY_MAX);
		char *tag = xstrndup(text, (size_t)(eq - text));
		uint32_t by = tag_index(p->q->stream, tag);
		/* a tag that the stream does not keep is "" everywhere, and has no name in the question to OR its values by */
		bool holds = by == UINT32_MAX && asks_for_none(p, text, (size_t)(eq - text));
		char *value = xstrdup(holds ? "" : eq + 1);
		p->q->where_values[s->where_count] = value;
		s->where[s->where_count++] = (struct rows_where){by, value};
		free(tag);
	}
	return 0;
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
	if (!stream_computes(q->stream, &fn))
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
	for (size_t i = 0; i < p->q->stream->compute_count; i++) {
		int rc = add_function(p, p->q->stream->compute[i].text);
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
	p->q->spec.only_final = state != NULL;
	p->q->stale = stale != NULL;
	return 0;
}

static int parse_limit(struct parse *p)
{
	const char *text = value_of(p, "limit");
	p->q->limit = QUERY_ROWS_MAX;
	if (!text)
		return 0;
	uint32_t v = 0;
	size_t n = 0;
	for (; text[n] >= '0' && text[n] <= '9' && n < 8; n++)
		v = v * 10 + (uint32_t)(text[n] - '0');
	if (!n || text[n] || !v || v > QUERY_ROWS_MAX)
		return fail(p, 400, "bad_request", "limit=%.60s is not a number from 1 to %d", text, QUERY_ROWS_MAX);
	p->q->limit = v;
	return 0;
}

/* ---- cursors: [format u8][fingerprint u64][start i64][group], in hexadecimal digits ---------------------------- */

/* FNV-1a over the encoded question: a guard against mistakes, not against malice. */
static uint64_t fingerprint_of(const struct query_args *q)
{
	struct rows_spec s = q->spec;
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
	memcpy(q->after_group, r.p, n);
	q->spec.after = true;
	q->spec.after_start_ns = start_ns;
	q->spec.after_group.n = n;
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
	    "cursor", "stale"};
	static int (*const steps[])(struct parse * p) = {parse_stream, parse_times, parse_window, parse_by, parse_where,
	    parse_select, parse_flags, parse_limit, parse_cursor};
	int rc = check_names(p, known, sizeof(known) / sizeof(known[0]));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !rc; i++)
		rc = steps[i](p);
	return rc;
}

static int parse_watch(struct parse *p)
{
	static const char *const known[] = {"stream", "last_event_id"};
	static int (*const steps[])(struct parse * p) = {parse_stream, parse_times, parse_window, parse_by, select_all};
	int rc = check_names(p, known, sizeof(known) / sizeof(known[0]));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !rc; i++)
		rc = steps[i](p);
	return rc;
}

static int finish(struct query_args *q, int rc)
{
	if (rc)
		query_args_clear(q);
	return rc;
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
	*q = (struct query_args){0};
}
