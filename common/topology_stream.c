/* The tables of streams: what they take, how they window and compute, and what must fit together. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/err.h"
#include "common/partial.h"
#include "common/topology.h"
#include "common/topology_parts.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])
#define SLICE_MIN_NS NS_PER_MS

/* ---- where, by, compute ----------------------------------------------------------------------------------- */

/* A pattern may be empty, in quotes: it matches where the tag is missing. */
static bool read_pattern(struct conf *c, const struct conf_node *node, const char **ret)
{
	if (node->type == CONF_SCALAR && node->quoted && !*node->text) {
		*ret = "";
		return true;
	}
	return conf_text(c, node, TAG_BYTES_MAX, ret);
}

static int compare_where(const void *a, const void *b)
{
	return strcmp(((const struct where_conf *)a)->tag, ((const struct where_conf *)b)->tag);
}

/* In the order of the tags: all must match, so the file's order means nothing and must not change the version. */
static void read_where_map(struct conf *c, const struct conf_node *value, struct where_conf **ret, size_t *ret_count)
{
	if (!conf_expect(c, value, CONF_MAP))
		return;
	if (value->count < 1 || value->count > WHERE_MAX) {
		conf_error(c, value, "expected 1 to %d tags, each with a pattern", WHERE_MAX);
		return;
	}
	struct where_conf *where = xcalloc(value->count, sizeof(*where));
	size_t n = 0;
	for (const struct conf_node *v = value->first; v; v = v->next) {
		const char *tag, *pattern;
		if (conf_text(c, v->key, TAG_BYTES_MAX, &tag) && read_pattern(c, v, &pattern))
			where[n++] = (struct where_conf){xstrdup(tag), xstrdup(pattern)};
	}
	qsort(where, n, sizeof(*where), compare_where);
	*ret = where;
	*ret_count = n;
}

static void read_from_where(struct conf *c, const struct conf_node *value, void *object)
{
	struct stream_conf *s = object;
	read_where_map(c, value, &s->where, &s->where_count);
}

static void read_by(struct conf *c, const struct conf_node *value, void *object)
{
	struct stream_conf *s = object;
	if (!conf_expect(c, value, CONF_LIST))
		return;
	if (value->count > BY_MAX) {
		conf_error(c, value, "%zu tags; at most %d", value->count, BY_MAX);
		return;
	}
	s->by = xcalloc(value->count, sizeof(*s->by));
	for (const struct conf_node *v = value->first; v; v = v->next) {
		const char *tag;
		if (!conf_text(c, v, TAG_BYTES_MAX, &tag))
			continue;
		size_t same = 0;
		while (same < s->by_count && strcmp(s->by[same], tag))
			same++;
		if (same < s->by_count)
			conf_error(c, v, "%s is listed twice", conf_quote(c, tag));
		else
			s->by[s->by_count++] = xstrdup(tag);
	}
}

static void add_distinct(struct conf *c, const struct conf_node *node, struct stream_conf *s, const char *tag)
{
	for (size_t i = 0; i < s->distinct_count; i++) {
		if (!strcmp(s->distinct[i], tag))
			return;
	}
	if (s->distinct_count == DISTINCTS_MAX) {
		conf_error(c, node, "more than %d distinct tags", DISTINCTS_MAX);
		return;
	}
	s->distinct = xrealloc(s->distinct, (s->distinct_count + 1) * sizeof(*s->distinct));
	s->distinct[s->distinct_count++] = xstrdup(tag);
}

static void refuse_function(struct conf *c, const struct conf_node *node, const char *text)
{
	static const char *const names[] = {"count", "sum", "mean", "min", "max", "stddev", "first", "last", "p50",
		"p95", "p99", "distinct(TAG)"};
	const char *meant = conf_suggest(text, names, sizeof(names) / sizeof(names[0]));
	if (meant)
		conf_error(c, node, "no function %s; did you mean `%s`?", conf_quote(c, text), meant);
	else
		conf_error(c, node, "no function %s: count, sum, mean, min, max, stddev, first, last, p0 to p100, "
				    "distinct(TAG)", conf_quote(c, text));
}

static void add_function(struct conf *c, const struct conf_node *node, struct stream_conf *s)
{
	const char *text;
	struct function_conf fn;
	if (!conf_text(c, node, TAG_BYTES_MAX, &text))
		return;
	if (function_parse(text, &fn)) {
		refuse_function(c, node, text);
		return;
	}
	for (size_t i = 0; i < s->compute_count; i++) {
		if (strcmp(s->compute[i].text, text))
			continue;
		conf_error(c, node, "%s is listed twice", conf_quote(c, text));
		function_clear(&fn);
		return;
	}
	if (fn.fn == FN_DISTINCT)
		add_distinct(c, node, s, fn.tag);
	s->compute[s->compute_count++] = fn;
}

static void read_compute(struct conf *c, const struct conf_node *value, void *object)
{
	struct stream_conf *s = object;
	if (!conf_expect(c, value, CONF_LIST))
		return;
	if (value->count < 1 || value->count > FUNCTIONS_MAX) {
		conf_error(c, value, "%zu functions; expected 1 to %d", value->count, FUNCTIONS_MAX);
		return;
	}
	s->compute = xcalloc(value->count, sizeof(*s->compute));
	for (const struct conf_node *v = value->first; v; v = v->next)
		add_function(c, v, s);
}

/* ---- steps ------------------------------------------------------------------------------------------------ */

#define STEP_DOUBLE(name, field) {.key = name, .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct step_conf, field)}
#define STEP_SERIES \
	{.key = "max_series", .kind = CONF_KIND_U64, .offset = offsetof(struct step_conf, max_series), .min = 1, \
	    .max = STEP_SERIES_MAX}

static const struct conf_field range_fields[] = {STEP_DOUBLE("min", min), STEP_DOUBLE("max", max)};
static const struct conf_schema range_schema = {sizeof(struct step_conf), FIELDS(range_fields), NULL, NULL, NULL};
static const struct conf_field scale_fields[] = {STEP_DOUBLE("by", by), STEP_DOUBLE("add", add)};
static const struct conf_schema scale_schema = {sizeof(struct step_conf), FIELDS(scale_fields), NULL, NULL, NULL};
static const struct conf_field dedupe_fields[] = {
	{.key = "depth", .kind = CONF_KIND_U32, .offset = offsetof(struct step_conf, depth), .min = 1,
	    .max = DEDUPE_DEPTH_MAX},
	STEP_SERIES,
};
static const struct conf_schema dedupe_schema = {sizeof(struct step_conf), FIELDS(dedupe_fields), NULL, NULL, NULL};
static const struct conf_field rate_fields[] = {
	{.key = "per", .kind = CONF_KIND_DURATION, .offset = offsetof(struct step_conf, per_ns), .min = 1,
	    .max = DURATION_MAX_NS},
	STEP_SERIES,
};
static const struct conf_schema rate_schema = {sizeof(struct step_conf), FIELDS(rate_fields), NULL, NULL, NULL};

static void step_defaults(void *object)
{
	struct step_conf *s = object;
	s->min = -INFINITY;
	s->max = INFINITY;
	s->by = 1;
	s->depth = 64;
	s->per_ns = NS_PER_SEC;
	s->max_series = 100000;
}

static void read_range(struct conf *c, const struct conf_node *value, void *object)
{
	struct step_conf *s = object;
	s->type = STEP_RANGE;
	conf_read(c, value, &range_schema, s);
	if (value->type != CONF_MAP)
		return;
	if (s->min > s->max)
		conf_error(c, value, "min is above max: nothing would pass");
	else if (!value->count)
		conf_error(c, value, "expected min, max or both");
}

static void read_scale(struct conf *c, const struct conf_node *value, void *object)
{
	struct step_conf *s = object;
	s->type = STEP_SCALE;
	conf_read(c, value, &scale_schema, s);
	if (value->type != CONF_MAP)
		return;
	if (s->by == 0)
		conf_error(c, conf_get(value, "by"), "0 would make every value the same");
	else if (!value->count)
		conf_error(c, value, "expected by, add or both");
}

static void read_dedupe(struct conf *c, const struct conf_node *value, void *object)
{
	((struct step_conf *)object)->type = STEP_DEDUPE;
	conf_read(c, value, &dedupe_schema, object);
}

static void read_rate(struct conf *c, const struct conf_node *value, void *object)
{
	((struct step_conf *)object)->type = STEP_RATE;
	conf_read(c, value, &rate_schema, object);
}

static void read_where(struct conf *c, const struct conf_node *value, void *object)
{
	struct step_conf *s = object;
	s->type = STEP_WHERE;
	if (!s->where) /* else a second key `where`: refused as a duplicate */
		read_where_map(c, value, &s->where, &s->where_count);
}

static void check_step(struct conf *c, const struct conf_node *map, void *object)
{
	(void)object;
	if (map->count != 1)
		conf_error(c, map, "a step has one key: range, scale, dedupe, rate or where");
}

static const struct conf_field step_fields[] = {
	{.key = "range", .kind = CONF_KIND_CUSTOM, .read = read_range},
	{.key = "scale", .kind = CONF_KIND_CUSTOM, .read = read_scale},
	{.key = "dedupe", .kind = CONF_KIND_CUSTOM, .read = read_dedupe},
	{.key = "rate", .kind = CONF_KIND_CUSTOM, .read = read_rate},
	{.key = "where", .kind = CONF_KIND_CUSTOM, .read = read_where},
};
static const struct conf_schema step_schema = {sizeof(struct step_conf), FIELDS(step_fields), step_defaults, check_step,
	NULL};

/* ---- windows, retention ----------------------------------------------------------------------------------- */

static const struct conf_field window_fields[] = {
	{.key = "size", .kind = CONF_KIND_DURATION, .required = true, .offset = offsetof(struct stream_conf, size_ns),
	    .min = SLICE_MIN_NS, .max = DURATION_MAX_NS},
	{.key = "every", .kind = CONF_KIND_DURATION, .offset = offsetof(struct stream_conf, advance_ns),
	    .min = SLICE_MIN_NS, .max = DURATION_MAX_NS},
	{.key = "offset", .kind = CONF_KIND_DURATION, .offset = offsetof(struct stream_conf, offset_ns),
	    .max = DURATION_MAX_NS},
};
static const struct conf_schema window_schema = {sizeof(struct stream_conf), FIELDS(window_fields), NULL, NULL, NULL};

static void read_window(struct conf *c, const struct conf_node *value, void *object)
{
	struct stream_conf *s = object;
	if (conf_get(value, "session"))
		conf_error_key(c, conf_get(value, "session"), "session windows are not built yet");
	else if (value->type == CONF_MAP)
		conf_read(c, value, &window_schema, s);
	else
		conf_duration(c, value, SLICE_MIN_NS, DURATION_MAX_NS, &s->size_ns);
}

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
	while (b) {
		int64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* Sets advance and slice; slice_ns stays 0 where they cannot be. */
static void check_window(struct conf *c, const struct conf_node *map, struct stream_conf *s)
{
	const struct conf_node *window = conf_get(map, "window");
	const struct conf_node *every = conf_get(window, "every"), *inner = conf_get(window, "offset");
	const struct conf_node *outer = conf_get(map, "offset");
	char advance[TIME_TEXT_MAX], size[TIME_TEXT_MAX], slice[TIME_TEXT_MAX];
	if (inner && outer)
		conf_error_key(c, outer, "given twice: the window has an offset, too");
	if (!s->size_ns || (every && !s->advance_ns))
		return;
	if (!s->advance_ns)
		s->advance_ns = s->size_ns;
	duration_format(s->size_ns, size);
	duration_format(s->advance_ns, advance);
	if (s->advance_ns > s->size_ns) {
		conf_error(c, every, "%s is longer than the window (%s): readings between windows would be lost", advance,
		    size);
		return;
	}
	if (s->offset_ns >= s->advance_ns) {
		conf_error(c, outer ? outer : inner, "must be shorter than the step from window to window (%s)", advance);
		return;
	}
	int64_t slice_ns = greatest_common_divisor(s->size_ns, s->advance_ns);
	slice_ns = greatest_common_divisor(slice_ns, s->offset_ns);
	duration_format(slice_ns, slice);
	if (slice_ns < SLICE_MIN_NS)
		conf_error(c, window, "size, every and offset have only %s in common; at least 1ms", slice);
	else if (s->size_ns / slice_ns > SLICES_PER_WINDOW_MAX)
		conf_error(c, window, "a window of %s has %" PRId64 " slices of %s (what size, every and offset have in "
				      "common); at most %d", size, s->size_ns / slice_ns, slice, SLICES_PER_WINDOW_MAX);
	else
		s->slice_ns = slice_ns;
}

static void read_retain_into(struct conf *c, const struct conf_node *value, int64_t *ret_ns)
{
	if (value->type == CONF_SCALAR && !strcmp(value->text, "forever"))
		*ret_ns = RETAIN_FOREVER;
	else
		conf_duration(c, value, SLICE_MIN_NS, DURATION_MAX_NS, ret_ns);
}

static void read_retain(struct conf *c, const struct conf_node *value, void *object)
{
	read_retain_into(c, value, &((struct stream_conf *)object)->retain_ns);
}

static void read_rollup_retain(struct conf *c, const struct conf_node *value, void *object)
{
	read_retain_into(c, value, &((struct rollup_conf *)object)->retain_ns);
}

static const struct conf_field rollup_fields[] = {
	{.key = "every", .kind = CONF_KIND_DURATION, .required = true, .offset = offsetof(struct rollup_conf, every_ns),
	    .min = SLICE_MIN_NS, .max = DURATION_MAX_NS},
	{.key = "retain", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_rollup_retain},
};
static const struct conf_schema rollup_schema = {sizeof(struct rollup_conf), FIELDS(rollup_fields), NULL, NULL, NULL};

static void check_retain(struct conf *c, const struct conf_node *map, const struct stream_conf *s)
{
	const struct conf_node *at = conf_get(map, "retain");
	if (!s->size_ns || s->retain_ns == RETAIN_FOREVER || s->retain_ns >= s->size_ns + s->lateness_ns)
		return;
	char retain[TIME_TEXT_MAX], least[TIME_TEXT_MAX];
	duration_format(s->retain_ns, retain);
	duration_format(s->size_ns + s->lateness_ns, least);
	conf_error(c, at ? at : map, "retain %s%s is less than window and lateness together (%s)", retain,
	    at ? "" : " (the default)", least);
}

/* Each level must be made of whole pieces of the finer one, and outlive it. */
static void check_rollups(struct conf *c, const struct conf_node *map, const struct stream_conf *s)
{
	const struct conf_node *item = s->rollup_count ? conf_get(map, "rollup")->first : NULL;
	int64_t finer_ns = s->slice_ns, retain_ns = s->retain_ns;
	char text[TIME_TEXT_MAX];
	for (size_t i = 0; i < s->rollup_count; i++, item = item->next) {
		const struct rollup_conf *r = &s->rollups[i];
		const struct conf_node *every = conf_get(item, "every"), *retain = conf_get(item, "retain");
		if (!r->every_ns || !r->retain_ns || !finer_ns)
			return;
		duration_format(finer_ns, text);
		if (r->every_ns <= finer_ns || r->every_ns % finer_ns)
			conf_error(c, every, "must be a multiple of the finer level's %s (the %s), and longer", text,
			    i ? "rollup before" : "stream's slice");
		duration_format(retain_ns, text);
		if (retain_ns == RETAIN_FOREVER)
			conf_error(c, retain, "the finer level is kept forever already");
		else if (r->retain_ns <= retain_ns)
			conf_error(c, retain, "must be longer than the finer level's %s", text);
		finer_ns = r->every_ns;
		retain_ns = r->retain_ns;
	}
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

static const struct conf_field from_fields[] = {
	{.key = "measurement", .kind = CONF_KIND_TEXT, .required = true,
	    .offset = offsetof(struct stream_conf, measurement), .max = TAG_BYTES_MAX},
	{.key = "field", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct stream_conf, field),
	    .max = TAG_BYTES_MAX},
	{.key = "where", .kind = CONF_KIND_CUSTOM, .read = read_from_where},
};
static const struct conf_schema from_schema = {sizeof(struct stream_conf), FIELDS(from_fields), NULL, NULL, NULL};

static void stream_defaults(void *object)
{
	struct stream_conf *s = object;
	s->from_ns = INT64_MIN;
	s->until_ns = s->answers_until_ns = INT64_MAX;
	s->lateness_ns = 30 * NS_PER_SEC;
	s->retain_ns = 30 * DAY_NS;
	s->max_groups = 100000;
}

static void default_compute(struct stream_conf *s)
{
	static const char *const names[] = {"count", "sum", "mean", "min", "max"};
	s->compute_count = sizeof(names) / sizeof(names[0]);
	s->compute = xcalloc(s->compute_count, sizeof(*s->compute));
	for (size_t i = 0; i < s->compute_count; i++) {
		int err = function_parse(names[i], &s->compute[i]);
		weir_assert(!err);
	}
}

static void check_stream(struct conf *c, const struct conf_node *map, void *object)
{
	struct stream_conf *s = object;
	if (!conf_get(map, "compute"))
		default_compute(s);
	check_window(c, map, s);
	check_retain(c, map, s);
	check_rollups(c, map, s);
	topology_check_alerts(c, map, s);
}

static const struct conf_field stream_fields[] = {
	{.key = "name", .kind = CONF_KIND_NAME, .required = true, .offset = offsetof(struct stream_conf, name)},
	{.key = "from", .kind = CONF_KIND_MAP, .required = true, .schema = &from_schema},
	{.key = "steps", .kind = CONF_KIND_LIST, .offset = offsetof(struct stream_conf, steps),
	    .count_offset = offsetof(struct stream_conf, step_count), .schema = &step_schema, .max = STEPS_MAX},
	{.key = "by", .kind = CONF_KIND_CUSTOM, .read = read_by},
	{.key = "window", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_window},
	{.key = "offset", .kind = CONF_KIND_DURATION, .offset = offsetof(struct stream_conf, offset_ns),
	    .max = DURATION_MAX_NS},
	{.key = "lateness", .kind = CONF_KIND_DURATION, .offset = offsetof(struct stream_conf, lateness_ns),
	    .max = DURATION_MAX_NS},
	{.key = "compute", .kind = CONF_KIND_CUSTOM, .read = read_compute},
	{.key = "retain", .kind = CONF_KIND_CUSTOM, .read = read_retain},
	{.key = "rollup", .kind = CONF_KIND_LIST, .offset = offsetof(struct stream_conf, rollups),
	    .count_offset = offsetof(struct stream_conf, rollup_count), .schema = &rollup_schema, .max = ROLLUPS_MAX},
	{.key = "edges", .kind = CONF_KIND_NOTE},
	{.key = "max_groups", .kind = CONF_KIND_U64, .offset = offsetof(struct stream_conf, max_groups), .min = 1,
	    .max = GROUPS_MAX},
	{.key = "alert", .kind = CONF_KIND_CUSTOM, .read = topology_read_alerts},
};
const struct conf_schema topology_stream_schema = {sizeof(struct stream_conf), FIELDS(stream_fields), stream_defaults,
	check_stream, NULL};

/* ---- version ---------------------------------------------------------------------------------------------- */

static void put_where(struct buf *b, const struct where_conf *where, size_t count)
{
	buf_varint(b, count);
	for (size_t i = 0; i < count; i++) {
		buf_str(b, where[i].tag);
		buf_str(b, where[i].pattern);
	}
}

static void put_step(struct buf *b, const struct step_conf *s)
{
	buf_u8(b, (uint8_t)s->type);
	switch (s->type) {
	case STEP_RANGE:
		buf_f64(b, s->min);
		buf_f64(b, s->max);
		return;
	case STEP_SCALE:
		buf_f64(b, s->by);
		buf_f64(b, s->add);
		return;
	case STEP_DEDUPE:
		buf_varint(b, s->depth);
		buf_varint(b, s->max_series);
		return;
	case STEP_RATE:
		buf_svarint(b, s->per_ns);
		buf_varint(b, s->max_series);
		return;
	case STEP_WHERE:
		put_where(b, s->where, s->where_count);
		return;
	}
}

uint32_t topology_stream_version(const struct stream_conf *s)
{
	struct buf b = {0};
	struct partial_spec spec;
	partial_spec_of(s, 0, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	buf_str(&b, "weir stream 1");
	buf_str(&b, s->measurement);
	buf_str(&b, s->field);
	put_where(&b, s->where, s->where_count);
	buf_varint(&b, s->step_count);
	for (size_t i = 0; i < s->step_count; i++)
		put_step(&b, &s->steps[i]);
	buf_varint(&b, s->by_count);
	for (size_t i = 0; i < s->by_count; i++)
		buf_str(&b, s->by[i]);
	buf_svarint(&b, s->slice_ns);
	buf_varint(&b, s->distinct_count);
	for (size_t i = 0; i < s->distinct_count; i++)
		buf_str(&b, s->distinct[i]);
	buf_varint(&b, spec.parts);
	uint64_t hash = XXH3_64bits(b.data, b.len);
	buf_free(&b);
	uint32_t version = (uint32_t)(hash ^ hash >> 32);
	return version ? version : 1;
}
