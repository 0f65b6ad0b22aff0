#include "edged/slice.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/hash.h"

#define ALLOCATION_OVERHEAD 16 /* of malloc, and of the table's slot */

struct entry_key {
	const struct group *group;
	int64_t start_ns;
};

static bool same_entry(const void *item, const void *key)
{
	const struct slice_entry *e = item;
	const struct entry_key *k = key;
	return e->group == k->group && e->slice->start_ns == k->start_ns;
}

struct slice_key {
	const struct stream *stream;
	int64_t start_ns;
};

static bool same_slice(const void *item, const void *key)
{
	const struct slice *s = item;
	const struct slice_key *k = key;
	return s->stream == k->stream && s->start_ns == k->start_ns;
}

static uint64_t entry_hash(const struct group *g, int64_t start_ns)
{
	return hash_mix(g->hash, (uint64_t)start_ns);
}

static uint64_t slice_hash(const struct stream *s, int64_t start_ns)
{
	return hash_mix(s->index, (uint64_t)start_ns);
}

void slices_init(struct slices *s, struct groups *groups)
{
	*s = (struct slices){.groups = groups};
	s->dirty_end = &s->dirty;
}

void slices_free(struct slices *s)
{
	slices_drop_all(s);
	table_free(&s->entries);
	table_free(&s->index);
}

static void account(struct slices *s, struct slice *slice, size_t before, size_t after)
{
	slice->memory_bytes += after - before;
	s->memory_bytes += after - before;
}

static struct slice *slice_open(struct slices *s, struct stream *stream, int64_t start_ns, int64_t mono_ns)
{
	struct slice_key key = {stream, start_ns};
	if (s->recent && same_slice(s->recent, &key))
		return s->recent;
	struct slice *slice = table_find(&s->index, slice_hash(stream, start_ns), same_slice, &key);
	if (!slice) {
		slice = xcalloc(1, sizeof(*slice));
		slice->stream = stream;
		slice->start_ns = start_ns;
		slice->end_ns = start_ns + stream->conf->slice_ns;
		slice->opened_mono_ns = mono_ns;
		slice->prev = s->last;
		if (s->last)
			s->last->next = slice;
		else
			s->first = slice;
		s->last = slice;
		table_insert(&s->index, slice_hash(stream, start_ns), slice);
		s->slice_count++;
		account(s, slice, 0, sizeof(*slice) + ALLOCATION_OVERHEAD);
	}
	s->recent = slice;
	return slice;
}

static struct slice_entry *entry_new(struct slices *s, struct group *group, int64_t start_ns, int64_t mono_ns)
{
	struct slice *slice = slice_open(s, group->stream, start_ns, mono_ns);
	struct slice_entry *e = xcalloc(1, sizeof(*e));
	e->group = group;
	e->slice = slice;
	group->refs++;
	if (slice->last)
		slice->last->next = e;
	else
		slice->first = e;
	slice->last = e;
	slice->count++;
	s->entry_count++;
	table_insert(&s->entries, entry_hash(group, start_ns), e);
	account(s, slice, 0, sizeof(*e) + 2 * ALLOCATION_OVERHEAD);
	return e;
}

static void entry_measure(struct slices *s, struct slice_entry *e)
{
	size_t now = partial_memory(&e->partial, &e->group->stream->spec);
	account(s, e->slice, e->memory_bytes, now);
	e->memory_bytes = (uint32_t)now;
}

static struct slice_entry *entry_find(struct slices *s, const struct group *group, int64_t start_ns)
{
	struct entry_key key = {group, start_ns};
	return table_find(&s->entries, entry_hash(group, start_ns), same_entry, &key);
}

static struct slice_entry *entry_of(struct slices *s, struct group *group, int64_t t_ns, int64_t mono_ns)
{
	struct slice_entry *e = group->recent;
	if (e && t_ns >= e->slice->start_ns && t_ns < e->slice->end_ns)
		return e;
	const struct stream_conf *conf = group->stream->conf;
	int64_t start_ns = time_floor(t_ns, conf->slice_ns, conf->offset_ns);
	e = entry_find(s, group, start_ns);
	if (!e)
		e = entry_new(s, group, start_ns, mono_ns);
	group->recent = e;
	return e;
}

void slices_add(struct slices *s, struct group *group, int64_t t_ns, double value, const struct bytes *distinct,
    int64_t mono_ns)
{
	const struct partial_spec *spec = &group->stream->spec;
	struct slice_entry *e = entry_of(s, group, t_ns, mono_ns);
	partial_add(&e->partial, spec, t_ns, value);
	for (uint32_t i = 0; i < spec->distinct_count; i++)
		if (distinct[i].n)
			partial_add_distinct(&e->partial, spec, i, distinct[i].p, distinct[i].n);
	if (!e->dirty) {
		e->dirty = true;
		*s->dirty_end = e;
		s->dirty_end = &e->next_dirty;
	}
	/* Sketches grow with the logarithm of what they hold, at the most: measuring at powers of two keeps up. */
	uint64_t n = e->partial.count;
	if ((n & (n - 1)) == 0 && (spec->distinct_count || (spec->parts & PARTIAL_QUANTILE)))
		entry_measure(s, e);
}

bool slices_restore(struct slices *s, struct group *group, int64_t slice_start_ns, struct partial *p, int64_t mono_ns)
{
	if (entry_find(s, group, slice_start_ns))
		return false;
	struct slice_entry *e = entry_new(s, group, slice_start_ns, mono_ns);
	e->partial = *p;
	e->stored = true;
	*p = (struct partial){0};
	entry_measure(s, e);
	return true;
}

void slices_due_ended(struct slices *s, const struct stream *stream, int64_t end_ns)
{
	for (struct slice *slice = s->first; slice; slice = slice->next)
		if (slice->stream == stream && slice->end_ns <= end_ns)
			slice->due = true;
}

void slices_due_opened(struct slices *s, int64_t mono_ns)
{
	for (struct slice *slice = s->first; slice; slice = slice->next)
		if (slice->opened_mono_ns <= mono_ns)
			slice->due = true;
}

void slices_due_unfed(struct slices *s)
{
	for (struct slice *slice = s->first; slice; slice = slice->next)
		if (!slice->stream->fed)
			slice->due = true;
}

void slices_due_all(struct slices *s)
{
	for (struct slice *slice = s->first; slice; slice = slice->next)
		slice->due = true;
}

static int larger_first(const void *a, const void *b)
{
	const struct slice *x = *(struct slice *const *)a, *y = *(struct slice *const *)b;
	if (x->memory_bytes != y->memory_bytes)
		return x->memory_bytes > y->memory_bytes ? -1 : 1;
	if (x->stream->index != y->stream->index)
		return x->stream->index < y->stream->index ? -1 : 1;
	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

void slices_due_largest(struct slices *s, size_t target_bytes)
{
	size_t left = s->memory_bytes, n = 0;
	for (struct slice *slice = s->first; slice; slice = slice->next)
		if (slice->due)
			left -= slice->memory_bytes;
	if (left <= target_bytes)
		return;
	struct slice **list = xmalloc(s->slice_count * sizeof(struct slice *));
	for (struct slice *slice = s->first; slice; slice = slice->next)
		if (!slice->due)
			list[n++] = slice;
	qsort(list, n, sizeof(struct slice *), larger_first);
	for (size_t i = 0; i < n && left > target_bytes; i++) {
		list[i]->due = true;
		left -= list[i]->memory_bytes;
	}
	free(list);
}

static void slice_free(struct slices *s, struct slice *slice)
{
	for (struct slice_entry *e = slice->first, *next; e; e = next) {
		next = e->next;
		if (e->group->recent == e)
			e->group->recent = NULL;
		table_remove(&s->entries, entry_hash(e->group, slice->start_ns), e);
		partial_clear(&e->partial, &e->group->stream->spec);
		group_put(s->groups, e->group);
		s->entry_count--;
		free(e);
	}
	table_remove(&s->index, slice_hash(slice->stream, slice->start_ns), slice);
	if (s->recent == slice)
		s->recent = NULL;
	*(slice->prev ? &slice->prev->next : &s->first) = slice->next;
	*(slice->next ? &slice->next->prev : &s->last) = slice->prev;
	s->slice_count--;
	s->memory_bytes -= slice->memory_bytes;
	free(slice);
}

void slices_committed(struct slices *s)
{
	for (struct slice_entry *e = s->dirty, *next; e; e = next) {
		next = e->next_dirty;
		e->next_dirty = NULL;
		e->dirty = false;
		e->stored = true;
	}
	s->dirty = NULL;
	s->dirty_end = &s->dirty;
	for (struct slice *slice = s->first, *next; slice; slice = next) {
		next = slice->next;
		if (slice->due)
			slice_free(s, slice);
	}
}

void slices_rolled_back(struct slices *s)
{
	for (struct slice *slice = s->first; slice; slice = slice->next)
		slice->due = false;
}

void slices_drop_all(struct slices *s)
{
	s->dirty = NULL;
	s->dirty_end = &s->dirty;
	for (struct slice *slice = s->first, *next; slice; slice = next) {
		next = slice->next;
		slice_free(s, slice);
	}
}
