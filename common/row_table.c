#include "common/row_table.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/err.h"
#include "common/window.h"

#define SIZE_MIN 64

static int place_order(int64_t a_ns, struct bytes a, int64_t b_ns, struct bytes b)
{
	if (a_ns != b_ns)
		return a_ns < b_ns ? -1 : 1;
	return group_order(a, b);
}

static int cell_order(const void *a, const void *b)
{
	const struct row_cell *x = *(struct row_cell *const *)a, *y = *(struct row_cell *const *)b;
	return place_order(x->start_ns, bytes_of(x->group, x->group_n), y->start_ns, bytes_of(y->group, y->group_n));
}

static struct row_cell **slot_of(const struct row_table *t, int64_t start_ns, const uint8_t *group, size_t n)
{
	size_t i = XXH3_64bits_withSeed(group, n, (uint64_t)start_ns) & (t->size - 1);
	for (;; i = (i + 1) & (t->size - 1)) {
		const struct row_cell *c = t->cells[i];
		if (!c || (c->start_ns == start_ns && c->group_n == n && memcmp(c->group, group, n) == 0))
			return &t->cells[i];
	}
}

static void place(struct row_table *t, struct row_cell *c)
{
	*slot_of(t, c->start_ns, c->group, c->group_n) = c;
}

static void grow(struct row_table *t)
{
	struct row_table bigger = *t;
	bigger.size = t->size ? 2 * t->size : SIZE_MIN;
	bigger.cells = xcalloc(bigger.size, sizeof(*bigger.cells));
	for (size_t i = 0; i < t->size; i++) {
		if (t->cells[i])
			place(&bigger, t->cells[i]);
	}
	free(t->cells);
	*t = bigger;
}

static size_t cell_bytes(const struct row_cell *c)
{
	return sizeof(*c) + c->group_n + partial_memory(&c->partial, c->spec);
}

static struct row_cell *cell_at(struct row_table *t, int64_t start_ns, struct bytes group)
{
	if (t->count >= t->size / 2)
		grow(t);
	struct row_cell **slot = slot_of(t, start_ns, group.p, group.n);
	if (!*slot) {
		struct row_cell *c = xcalloc(1, sizeof(*c) + group.n);
		c->start_ns = start_ns;
		c->group_n = group.n;
		if (group.n)
			memcpy(c->group, group.p, group.n);
		*slot = c;
		t->count++;
	}
	return *slot;
}

static void cell_free(struct row_table *t, struct row_cell *c)
{
	t->bytes -= cell_bytes(c);
	partial_clear(&c->partial, c->spec);
	free(c);
}

void row_table_sort(struct row_table *t)
{
	size_t n = 0;
	if (!t->count)
		return; /* there may be no cells at all */
	for (size_t i = 0; i < t->size; i++) {
		if (t->cells[i])
			t->cells[n++] = t->cells[i];
	}
	memset(t->cells + n, 0, (t->size - n) * sizeof(*t->cells));
	qsort(t->cells, n, sizeof(*t->cells), cell_order);
}

/* Back to the first `keep` rows, fewer than there are. Who is dropped is incomplete from then on, and behind the bound. */
static void trim(struct row_table *t)
{
	row_table_sort(t);
	const struct row_cell *first = t->cells[t->keep];
	t->bounded = true;
	t->bound_start_ns = first->start_ns;
	t->bound_n = first->group_n;
	memcpy(t->bound, first->group, first->group_n);
	for (size_t i = t->keep; i < t->count; i++) {
		cell_free(t, t->cells[i]);
		t->cells[i] = NULL;
	}
	t->count = t->keep;
	struct row_cell **sorted = t->cells;
	t->cells = xcalloc(t->size, sizeof(*t->cells));
	for (size_t i = 0; i < t->count; i++)
		place(t, sorted[i]);
	free(sorted);
}

bool row_table_takes(const struct row_table *t, int64_t start_ns, struct bytes group)
{
	return !t->bounded || place_order(start_ns, group, t->bound_start_ns, bytes_of(t->bound, t->bound_n)) < 0;
}

void row_table_merge(struct row_table *t, int64_t start_ns, struct bytes group, uint32_t part, const struct partial_spec *spec,
    struct partial *p)
{
	struct row_cell *c = cell_at(t, start_ns, group);
	if (c->spec) {
		t->bytes -= cell_bytes(c);
		partial_merge(&c->partial, p, spec);
		partial_clear(p, spec);
	} else { /* the first one: nothing to merge with */
		c->spec = spec;
		c->part = part;
		c->partial = *p;
		*p = (struct partial){0};
	}
	t->bytes += cell_bytes(c);
	bool heavy = t->bytes > t->bytes_max && t->count > 1;
	if (heavy && t->keep > t->count / 2)
		t->keep = t->count / 2;
	if (heavy || t->count > 2 * t->keep)
		trim(t);
}

void row_table_free(struct row_table *t)
{
	for (size_t i = 0; i < t->size; i++) {
		if (t->cells[i])
			cell_free(t, t->cells[i]);
	}
	free(t->cells);
	*t = (struct row_table){0};
}
