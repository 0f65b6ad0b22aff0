#include "edged/intake.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "edged/table.h"

/* What a hot line touches lies together: the series with its raw bytes, a field with its bindings. */
struct intake_series {
	uint64_t hash;
	struct intake_field **fields; /* &only while there is one */
	struct intake_field *only;
	uint32_t field_count;
	uint32_t raw_len;
	uint32_t memory_bytes;
	bool used; /* since the clock hand passed */
	uint8_t raw[];
};

struct resolved {
	struct bytes measurement;
	const struct line_tag *tags; /* sorted by key */
	size_t tag_count;
};

struct intake {
	const struct edge_conf *edge;
	const struct streams *streams;
	struct groups *groups;
	struct step_chain *const *chains;
	struct table table;
	struct intake_series **list; /* what the clock hand goes round */
	size_t count, cap, hand;
	size_t memory_bytes, bytes_max;
	struct buf scratch;
	struct line_tag *tags;       /* of the line resolved last, merged with the edge's */
	struct resolved resolved;    /* ... which is that of this series, and of the present line: */
	const struct intake_series *resolved_series;
	struct intake_binding *matches; /* scratch for binding a field */
};

struct intake *intake_new(const struct topology *t, const struct edge_conf *edge, const struct streams *streams,
    struct groups *groups, struct step_chain *const *chains, size_t bytes_max)
{
	struct intake *in = xcalloc(1, sizeof(*in));
	in->edge = edge;
	in->streams = streams;
	in->groups = groups;
	in->chains = chains;
	in->bytes_max = bytes_max;
	in->tags = xcalloc(edge->tag_count + LINE_TAGS_MAX, sizeof(in->tags[0]));
	in->matches = xcalloc(t->stream_count + 1, sizeof(in->matches[0]));
	return in;
}

static void field_free(struct intake *in, struct intake_field *f)
{
	for (size_t i = 0; i < f->binding_count; i++) {
		if (f->bindings[i].group)
			group_put(in->groups, f->bindings[i].group);
		free(f->bindings[i].steps);
		free(f->bindings[i].distinct);
	}
	free(f);
}

static void series_forget_fields(struct intake *in, struct intake_series *s)
{
	for (size_t i = 0; i < s->field_count; i++)
		field_free(in, s->fields[i]);
	if (s->fields != &s->only)
		free(s->fields);
	s->fields = &s->only;
	s->field_count = 0;
}

static void series_free(struct intake *in, struct intake_series *s)
{
	series_forget_fields(in, s);
	in->memory_bytes -= s->memory_bytes;
	free(s);
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	for (size_t i = 0; i < in->count; i++)
		series_free(in, in->list[i]);
	free(in->list);
	free(in->tags);
	free(in->matches);
	buf_free(&in->scratch);
	table_free(&in->table);
	free(in);
}

size_t intake_series_count(const struct intake *in)
{
	return in->count;
}

size_t intake_memory(const struct intake *in)
{
	return in->memory_bytes + in->cap * sizeof(in->list[0]) + table_bytes(&in->table);
}

static bool same_series(const void *item, const void *key)
{
	const struct intake_series *s = item;
	const struct bytes *raw = key;
	return s->raw_len == raw->n && memcmp(s->raw, raw->p, raw->n) == 0;
}

/* ---- room ------------------------------------------------------------------------------------------------------ */

/* The clock hand: a used series gets a second chance, the next one goes. Ends within two rounds: there is one that is not
 * kept. */
static void evict_one(struct intake *in, const struct intake_series *kept)
{
	for (;;) {
		if (in->hand >= in->count)
			in->hand = 0;
		struct intake_series *s = in->list[in->hand];
		if (!s->used && s != kept) {
			table_remove(&in->table, s->hash, s);
			in->list[in->hand] = in->list[--in->count];
			series_free(in, s);
			return;
		}
		s->used = false;
		in->hand++;
	}
}

static void make_room(struct intake *in, size_t bytes)
{
	while (in->count && (in->count >= INTAKE_SERIES_MAX || in->memory_bytes + bytes > in->bytes_max))
		evict_one(in, NULL);
	if (in->count == in->cap) {
		in->cap = in->cap ? in->cap * 2 : 64;
		in->list = xrealloc(in->list, in->cap * sizeof(in->list[0]));
	}
}

/* ---- resolving a series ---------------------------------------------------------------------------------------- */

static int bytes_compare(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n ? memcmp(a.p, b.p, n) : 0;
	return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *a, const void *b)
{
	const struct line_tag *x = a, *y = b;
	return bytes_compare(x->key, y->key);
}

/* The line's tags and those of the edge that the line does not name, sorted, in in->tags. */
static size_t merge_tags(struct intake *in, const struct line_tag *tags, size_t tag_count)
{
	size_t n = 0;
	for (size_t i = 0; i < tag_count && n < LINE_TAGS_MAX; i++)
		in->tags[n++] = tags[i];
	size_t own = n;
	for (size_t i = 0; i < in->edge->tag_count; i++) {
		const struct model_tag *m = &in->edge->tags[i];
		struct line_tag tag = {bytes_of(m->key, strlen(m->key)), bytes_of(m->value, strlen(m->value))};
		bool given = false;
		for (size_t k = 0; k < own && !given; k++)
			given = bytes_compare(in->tags[k].key, tag.key) == 0;
		if (!given)
			in->tags[n++] = tag;
	}
	qsort(in->tags, n, sizeof(in->tags[0]), by_key);
	return n;
}

static enum line_error resolve(struct intake *in, const struct line *l)
{
	struct bytes measurement = l->measurement;
	const struct line_tag *tags = l->tags;
	size_t tag_count = l->tag_count;
	if (l->parser && l->parser->lazy) {
		enum line_error e = line_resolve_series(l->parser, l, &measurement, &tags, &tag_count);
		if (e != LINE_OK)
			return e;
	}
	in->resolved = (struct resolved){measurement, in->tags, merge_tags(in, tags, tag_count)};
	return LINE_OK;
}

#define SERIES_BYTES(raw_len) (sizeof(struct intake_series) + (raw_len))

static struct intake_series *series_new(struct intake *in, uint64_t hash, struct bytes raw)
{
	size_t bytes = SERIES_BYTES(raw.n);
	make_room(in, bytes);
	struct intake_series *s = xcalloc(1, bytes);
	s->hash = hash;
	s->fields = &s->only;
	s->raw_len = (uint32_t)raw.n;
	s->memory_bytes = (uint32_t)bytes;
	memcpy(s->raw, raw.p, raw.n);
	in->memory_bytes += bytes;
	in->list[in->count++] = s;
	table_insert(&in->table, hash, s);
	return s;
}

struct intake_series *intake_series(struct intake *in, const struct line *l, enum line_error *ret_error)
{
	in->resolved_series = NULL;
	if (!l->series.n) {
		*ret_error = LINE_NO_MEASUREMENT;
		return NULL;
	}
	uint64_t hash = hash_bytes(l->series.p, l->series.n);
	struct intake_series *s = table_find(&in->table, hash, same_series, &l->series);
	if (!s) {
		enum line_error e = resolve(in, l);
		if (e != LINE_OK) {
			*ret_error = e;
			return NULL;
		}
		s = series_new(in, hash, l->series);
		in->resolved_series = s;
	}
	s->used = true;
	return s;
}

/* ---- binding a field ------------------------------------------------------------------------------------------- */

static struct bytes tag_value(const void *arg, const char *key)
{
	const struct resolved *r = arg;
	struct line_tag wanted = {.key = bytes_of(key, strlen(key))};
	const struct line_tag *t = bsearch(&wanted, r->tags, r->tag_count, sizeof(r->tags[0]), by_key);
	return t ? t->value : bytes_of("", 0);
}

static bool stream_matches(const struct stream_conf *c, const struct resolved *r, struct bytes field)
{
	if (!glob_match(c->measurement, (const char *)r->measurement.p, r->measurement.n) ||
	    !glob_match(c->field, (const char *)field.p, field.n))
		return false;
	for (size_t i = 0; i < c->where_count; i++) {
		struct bytes value = tag_value(r, c->where[i].tag);
		if (!glob_match(c->where[i].pattern, (const char *)value.p, value.n))
			return false;
	}
	return true;
}

static struct group *group_of(struct intake *in, struct stream *stream)
{
	buf_clear(&in->scratch);
	for (size_t i = 0; i < stream->conf->by_count; i++) {
		struct bytes value = tag_value(&in->resolved, stream->conf->by[i]);
		buf_bytes(&in->scratch, value.p, value.n);
	}
	if (in->scratch.len > GROUP_KEY_MAX)
		return NULL;
	return group_get(in->groups, stream, bytes_of(in->scratch.data, in->scratch.len));
}

/* Stands for measurement, tags and field whatever their escapes and order were on the line. */
static struct hash128 series_identity(struct intake *in, struct bytes field)
{
	const struct resolved *r = &in->resolved;
	buf_clear(&in->scratch);
	buf_bytes(&in->scratch, r->measurement.p, r->measurement.n);
	buf_bytes(&in->scratch, field.p, field.n);
	for (size_t i = 0; i < r->tag_count; i++) {
		buf_bytes(&in->scratch, r->tags[i].key.p, r->tags[i].key.n);
		buf_bytes(&in->scratch, r->tags[i].value.p, r->tags[i].value.n);
	}
	return hash_bytes128(in->scratch.data, in->scratch.len);
}

/* The values of the stream's distinct tags, in one piece with their bytes. */
static struct bytes *distinct_values(const struct intake *in, const struct stream_conf *c, size_t *bytes)
{
	size_t size = c->distinct_count * sizeof(struct bytes), at = size;
	for (size_t i = 0; i < c->distinct_count; i++)
		size += tag_value(&in->resolved, c->distinct[i]).n;
	struct bytes *values = xmalloc(size);
	for (size_t i = 0; i < c->distinct_count; i++) {
		struct bytes value = tag_value(&in->resolved, c->distinct[i]);
		values[i] = bytes_of((uint8_t *)values + at, value.n);
		if (value.n)
			memcpy((uint8_t *)values + at, value.p, value.n);
		at += value.n;
	}
	*bytes += size;
	return values;
}

static void bind(struct intake *in, struct stream *stream, struct bytes field, struct intake_binding *b, size_t *bytes)
{
	const struct stream_conf *c = stream->conf;
	struct step_tags tags = {tag_value, &in->resolved};
	*b = (struct intake_binding){.stream = stream, .group = group_of(in, stream)};
	if (c->step_count) {
		b->steps = xmalloc(sizeof(struct step_binding));
		step_chain_bind(in->chains[stream->index], series_identity(in, field), &tags, b->steps);
		*bytes += sizeof(struct step_binding);
	}
	if (c->distinct_count)
		b->distinct = distinct_values(in, c, bytes);
}

static void keep_field(struct intake_series *s, struct intake_field *f)
{
	if (s->field_count == 1) {
		s->fields = xmalloc(4 * sizeof(s->fields[0]));
		s->fields[0] = s->only;
	} else if (s->field_count >= 4 && (s->field_count & (s->field_count - 1)) == 0) {
		s->fields = xrealloc(s->fields, 2 * s->field_count * sizeof(s->fields[0]));
	}
	s->fields[s->field_count++] = f;
}

static struct intake_field *field_new(struct intake *in, struct intake_series *s, struct bytes key)
{
	size_t n = 0, bytes = sizeof(void *);
	for (size_t i = 0; i < in->streams->topology->stream_count; i++) {
		struct stream *stream = in->streams->list[i];
		if (stream->fed && stream_matches(stream->conf, &in->resolved, key))
			bind(in, stream, key, &in->matches[n++], &bytes);
	}
	size_t size = sizeof(struct intake_field) + n * sizeof(struct intake_binding);
	struct intake_field *f = xmalloc(size + key.n);
	f->key = bytes_of((uint8_t *)f + size, key.n);
	if (key.n)
		memcpy((uint8_t *)f + size, key.p, key.n);
	f->binding_count = n;
	if (n)
		memcpy(f->bindings, in->matches, n * sizeof(f->bindings[0]));
	keep_field(s, f);
	bytes += size + key.n;
	s->memory_bytes += (uint32_t)bytes;
	in->memory_bytes += bytes;
	while (in->count > 1 && in->memory_bytes > in->bytes_max)
		evict_one(in, s);
	return f;
}

static bool same_key(const struct intake_field *f, struct bytes key)
{
	return f->key.n == key.n && memcmp(f->key.p, key.p, key.n) == 0;
}

static struct intake_field *field_find(const struct intake_series *s, size_t i, struct bytes key)
{
	if (i < s->field_count && same_key(s->fields[i], key))
		return s->fields[i];
	for (size_t k = 0; k < s->field_count; k++)
		if (same_key(s->fields[k], key))
			return s->fields[k];
	return NULL;
}

const struct intake_field *intake_field(struct intake *in, struct intake_series *s, const struct line *l, size_t i)
{
	struct bytes key = l->fields[i].key;
	struct intake_field *f = field_find(s, i, key);
	if (f)
		return f;
	if (in->resolved_series != s) {
		enum line_error e = resolve(in, l);
		weir_assert(e == LINE_OK); /* the same bytes were resolved before */
		in->resolved_series = s;
	}
	if (s->field_count >= INTAKE_FIELDS_MAX) {
		series_forget_fields(in, s);
		in->memory_bytes -= s->memory_bytes - SERIES_BYTES(s->raw_len);
		s->memory_bytes = (uint32_t)SERIES_BYTES(s->raw_len);
	}
	return field_new(in, s, key);
}
