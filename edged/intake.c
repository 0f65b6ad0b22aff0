#include "edged/intake.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "edged/table.h"

struct intake_series {
	uint64_t hash;
	struct bytes raw;
	struct bytes measurement;
	struct line_tag *tags; /* sorted by key; keys and values lie in `text` */
	size_t tag_count;
	uint8_t *text;         /* raw, measurement, tags: one piece */
	struct intake_field **fields;
	size_t field_count;
	size_t memory_bytes;
	bool used; /* since the clock hand passed */
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
	struct line_tag *tags; /* scratch for merging */
	size_t tags_cap;
};

struct intake *intake_new(const struct topology *t, const struct edge_conf *edge, const struct streams *streams,
    struct groups *groups, struct step_chain *const *chains, size_t bytes_max)
{
	(void)t;
	struct intake *in = xcalloc(1, sizeof(*in));
	in->edge = edge;
	in->streams = streams;
	in->groups = groups;
	in->chains = chains;
	in->bytes_max = bytes_max;
	in->tags_cap = edge->tag_count + LINE_TAGS_MAX;
	in->tags = xcalloc(in->tags_cap, sizeof(in->tags[0]));
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
	free(f->bindings);
	free(f);
}

static void series_forget_fields(struct intake *in, struct intake_series *s)
{
	for (size_t i = 0; i < s->field_count; i++)
		field_free(in, s->fields[i]);
	free(s->fields);
	s->fields = NULL;
	s->field_count = 0;
}

static void series_free(struct intake *in, struct intake_series *s)
{
	series_forget_fields(in, s);
	in->memory_bytes -= s->memory_bytes;
	free(s->tags);
	free(s->text);
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
	return s->raw.n == raw->n && memcmp(s->raw.p, raw->p, raw->n) == 0;
}

/* ---- room ------------------------------------------------------------------------------------------------------ */

/* The clock hand: a used series gets a second chance, the next one goes. Ends within two rounds. */
static void evict_one(struct intake *in)
{
	for (;;) {
		if (in->hand >= in->count)
			in->hand = 0;
		struct intake_series *s = in->list[in->hand];
		if (!s->used) {
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
		evict_one(in);
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

static struct bytes keep(uint8_t **to, struct bytes from)
{
	struct bytes kept = bytes_of(*to, from.n);
	if (from.n)
		memcpy(*to, from.p, from.n);
	*to += from.n;
	return kept;
}

static struct intake_series *series_new(struct intake *in, uint64_t hash, struct bytes raw, struct bytes measurement,
    size_t tag_count)
{
	size_t text = raw.n + measurement.n;
	for (size_t i = 0; i < tag_count; i++)
		text += in->tags[i].key.n + in->tags[i].value.n;
	size_t bytes = sizeof(struct intake_series) + text + tag_count * sizeof(struct line_tag);
	make_room(in, bytes);
	struct intake_series *s = xcalloc(1, sizeof(*s));
	s->hash = hash;
	s->text = xmalloc(text ? text : 1);
	s->tags = xcalloc(tag_count ? tag_count : 1, sizeof(s->tags[0]));
	s->tag_count = tag_count;
	s->memory_bytes = bytes;
	uint8_t *to = s->text;
	s->raw = keep(&to, raw);
	s->measurement = keep(&to, measurement);
	for (size_t i = 0; i < tag_count; i++) {
		s->tags[i].key = keep(&to, in->tags[i].key);
		s->tags[i].value = keep(&to, in->tags[i].value);
	}
	in->memory_bytes += bytes;
	in->list[in->count++] = s;
	table_insert(&in->table, hash, s);
	return s;
}

struct intake_series *intake_series(struct intake *in, const struct line *l, enum line_error *ret_error)
{
	if (!l->series.n) {
		*ret_error = LINE_NO_MEASUREMENT;
		return NULL;
	}
	uint64_t hash = hash_bytes(l->series.p, l->series.n);
	struct intake_series *s = table_find(&in->table, hash, same_series, &l->series);
	if (!s) {
		struct bytes measurement = l->measurement;
		const struct line_tag *tags = l->tags;
		size_t tag_count = l->tag_count;
		if (l->parser && l->parser->lazy) {
			enum line_error e = line_resolve_series(l->parser, l, &measurement, &tags, &tag_count);
			if (e != LINE_OK) {
				*ret_error = e;
				return NULL;
			}
		}
		s = series_new(in, hash, l->series, measurement, merge_tags(in, tags, tag_count));
	}
	s->used = true;
	return s;
}

/* ---- binding a field ------------------------------------------------------------------------------------------- */

static struct bytes tag_value(const void *arg, const char *key)
{
	const struct intake_series *s = arg;
	struct line_tag wanted = {.key = bytes_of(key, strlen(key))};
	const struct line_tag *t = bsearch(&wanted, s->tags, s->tag_count, sizeof(s->tags[0]), by_key);
	return t ? t->value : bytes_of("", 0);
}

static bool stream_matches(const struct stream_conf *c, const struct intake_series *s, struct bytes field)
{
	if (!glob_match(c->measurement, (const char *)s->measurement.p, s->measurement.n) ||
	    !glob_match(c->field, (const char *)field.p, field.n))
		return false;
	for (size_t i = 0; i < c->where_count; i++) {
		struct bytes value = tag_value(s, c->where[i].tag);
		if (!glob_match(c->where[i].pattern, (const char *)value.p, value.n))
			return false;
	}
	return true;
}

static struct group *group_of(struct intake *in, const struct intake_series *s, struct stream *stream)
{
	buf_clear(&in->scratch);
	for (size_t i = 0; i < stream->conf->by_count; i++) {
		struct bytes value = tag_value(s, stream->conf->by[i]);
		buf_bytes(&in->scratch, value.p, value.n);
	}
	if (in->scratch.len > GROUP_KEY_MAX)
		return NULL;
	return group_get(in->groups, stream, bytes_of(in->scratch.data, in->scratch.len));
}

/* Stands for measurement, tags and field whatever their escapes and order were on the line. */
static struct hash128 series_identity(struct intake *in, const struct intake_series *s, struct bytes field)
{
	buf_clear(&in->scratch);
	buf_bytes(&in->scratch, s->measurement.p, s->measurement.n);
	buf_bytes(&in->scratch, field.p, field.n);
	for (size_t i = 0; i < s->tag_count; i++) {
		buf_bytes(&in->scratch, s->tags[i].key.p, s->tags[i].key.n);
		buf_bytes(&in->scratch, s->tags[i].value.p, s->tags[i].value.n);
	}
	return hash_bytes128(in->scratch.data, in->scratch.len);
}

static size_t bind(struct intake *in, const struct intake_series *s, struct stream *stream, struct bytes field,
    struct intake_binding *ret_binding)
{
	const struct stream_conf *c = stream->conf;
	struct step_tags tags = {tag_value, s};
	*ret_binding = (struct intake_binding){.stream = stream, .group = group_of(in, s, stream)};
	size_t bytes = 0;
	if (c->step_count) {
		ret_binding->steps = xmalloc(sizeof(struct step_binding));
		step_chain_bind(in->chains[stream->index], series_identity(in, s, field), &tags, ret_binding->steps);
		bytes += sizeof(struct step_binding);
	}
	if (c->distinct_count) {
		ret_binding->distinct = xcalloc(c->distinct_count, sizeof(struct bytes));
		for (size_t i = 0; i < c->distinct_count; i++)
			ret_binding->distinct[i] = tag_value(s, c->distinct[i]);
		bytes += c->distinct_count * sizeof(struct bytes);
	}
	return bytes;
}

static struct intake_field *field_new(struct intake *in, struct intake_series *s, struct bytes key)
{
	struct intake_field *f = xcalloc(1, sizeof(*f) + key.n);
	size_t bytes = sizeof(*f) + key.n + sizeof(f);
	uint8_t *to = (uint8_t *)(f + 1);
	f->key = keep(&to, key);
	for (size_t i = 0; i < in->streams->topology->stream_count; i++) {
		struct stream *stream = in->streams->list[i];
		if (!stream_matches(stream->conf, s, key))
			continue;
		f->bindings = xrealloc(f->bindings, (f->binding_count + 1) * sizeof(f->bindings[0]));
		bytes += sizeof(f->bindings[0]) + bind(in, s, stream, key, &f->bindings[f->binding_count]);
		f->binding_count++;
	}
	s->fields = xrealloc(s->fields, (s->field_count + 1) * sizeof(s->fields[0]));
	s->fields[s->field_count++] = f;
	s->memory_bytes += bytes;
	in->memory_bytes += bytes;
	return f;
}

static bool same_key(const struct intake_field *f, struct bytes key)
{
	return f->key.n == key.n && memcmp(f->key.p, key.p, key.n) == 0;
}

const struct intake_field *intake_field(struct intake *in, struct intake_series *s, size_t i, struct bytes key)
{
	if (i < s->field_count && same_key(s->fields[i], key))
		return s->fields[i];
	for (size_t k = 0; k < s->field_count; k++)
		if (same_key(s->fields[k], key))
			return s->fields[k];
	if (s->field_count >= INTAKE_FIELDS_MAX) {
		size_t bare = sizeof(*s) + (size_t)(s->raw.n + s->measurement.n) + s->tag_count * sizeof(s->tags[0]);
		for (size_t k = 0; k < s->tag_count; k++)
			bare += s->tags[k].key.n + s->tags[k].value.n;
		series_forget_fields(in, s);
		in->memory_bytes -= s->memory_bytes - bare;
		s->memory_bytes = bare;
	}
	return field_new(in, s, key);
}
