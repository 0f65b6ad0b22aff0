#include "common/stats.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

/* Upper bounds of a duration's buckets; +Inf follows. */
static const int64_t bounds_ns[STATS_BUCKETS] = {100000, 250000, 1000000, 2500000, 10000000, 25000000, 100000000,
    250000000, 1000000000, INT64_C(2500000000), INT64_C(10000000000)};
static const char *const bounds_text[STATS_BUCKETS] = {"0.0001", "0.00025", "0.001", "0.0025", "0.01", "0.025", "0.1",
    "0.25", "1", "2.5", "10"};

struct stats_cell {
	char *values[STATS_LABELS_MAX];
	struct stats_cell *next;
	_Atomic uint64_t value;   /* counter; gauge: the bits of a double; duration: how many */
	_Atomic uint64_t sum_ns;
	_Atomic uint64_t *buckets; /* STATS_BUCKETS of them, each its own count; duration only */
};

struct family_cells {
	struct stats_cell *first, *last;
	struct stats_cell *other;
	size_t count;
};

struct stats {
	const struct stats_family *table;
	size_t count;
	pthread_mutex_t mutex;
	struct family_cells *cells;
};

static size_t label_count(const struct stats_family *f)
{
	size_t n = 0;
	while (n < STATS_LABELS_MAX && f->labels[n])
		n++;
	return n;
}

static struct stats_cell *cell_new(struct stats *s, size_t family, const char *const *values)
{
	const struct stats_family *f = &s->table[family];
	struct family_cells *cells = &s->cells[family];
	struct stats_cell *c = xcalloc(1, sizeof(*c));
	for (size_t i = 0; i < label_count(f); i++)
		c->values[i] = xstrndup(values[i], strnlen(values[i], STATS_VALUE_MAX));
	if (f->type == STATS_DURATION)
		c->buckets = xcalloc(STATS_BUCKETS, sizeof(*c->buckets));
	if (cells->last)
		cells->last->next = c;
	else
		cells->first = c;
	cells->last = c;
	cells->count++;
	return c;
}

struct stats *stats_new(const struct stats_family *table, size_t count)
{
	struct stats *s = xcalloc(1, sizeof(*s));
	s->table = table;
	s->count = count;
	s->cells = xcalloc(count, sizeof(*s->cells));
	pthread_mutex_init(&s->mutex, NULL);
	for (size_t i = 0; i < count; i++)
		if (!label_count(&table[i]))
			cell_new(s, i, NULL);
	return s;
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++) {
		for (struct stats_cell *c = s->cells[i].first, *next; c; c = next) {
			next = c->next;
			for (size_t k = 0; k < STATS_LABELS_MAX; k++)
				free(c->values[k]);
			free(c->buckets);
			free(c);
		}
	}
	pthread_mutex_destroy(&s->mutex);
	free(s->cells);
	free(s);
}

static bool same_values(const struct stats_cell *c, const char *const *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strncmp(c->values[i], values[i], STATS_VALUE_MAX))
			return false;
	return true;
}

static struct stats_cell *other_cell(struct stats *s, size_t family)
{
	static const char *const other[STATS_LABELS_MAX] = {"other", "other", "other", "other"};
	struct family_cells *cells = &s->cells[family];
	if (!cells->other)
		cells->other = cell_new(s, family, other);
	return cells->other;
}

struct stats_cell *stats_cell(struct stats *s, size_t family, const char *const *values)
{
	weir_assert(family < s->count);
	size_t n = label_count(&s->table[family]);
	pthread_mutex_lock(&s->mutex);
	struct stats_cell *c = s->cells[family].first;
	while (c && !same_values(c, values, n))
		c = c->next;
	if (!c)
		c = s->cells[family].count < STATS_CELLS_MAX ? cell_new(s, family, values) : other_cell(s, family);
	pthread_mutex_unlock(&s->mutex);
	return c;
}

void stats_add(struct stats_cell *c, uint64_t n)
{
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void stats_set(struct stats_cell *c, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	atomic_store_explicit(&c->value, bits, memory_order_relaxed);
}

void stats_set_counter(struct stats_cell *c, uint64_t n)
{
	atomic_store_explicit(&c->value, n, memory_order_relaxed);
}

void stats_observe(struct stats_cell *c, int64_t ns)
{
	weir_assert(c->buckets);
	if (ns < 0)
		ns = 0;
	for (size_t i = 0; i < STATS_BUCKETS; i++) {
		if (ns <= bounds_ns[i]) {
			atomic_fetch_add_explicit(&c->buckets[i], 1, memory_order_relaxed);
			break;
		}
	}
	atomic_fetch_add_explicit(&c->sum_ns, (uint64_t)ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->value, 1, memory_order_relaxed);
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

/* Backslash and line feed are escaped; quotes too within label values. */
static void write_escaped(struct buf *out, const char *s, bool quotes)
{
	for (; *s; s++) {
		if (*s == '\\')
			buf_put(out, "\\\\", 2);
		else if (*s == '\n')
			buf_put(out, "\\n", 2);
		else if (*s == '"' && quotes)
			buf_put(out, "\\\"", 2);
		else
			buf_put(out, s, 1);
	}
}

static const char *const type_names[] = {"counter", "gauge", "histogram"};

void stats_write_head(struct buf *out, const struct stats_family *f)
{
	buf_printf(out, "# HELP %s ", f->name);
	write_escaped(out, f->help, false);
	buf_printf(out, "\n# TYPE %s %s\n", f->name, type_names[f->type]);
}

/* name{labels,le="..."} and a blank */
static void write_name(struct buf *out, const struct stats_family *f, const char *suffix, const char *const *values,
    const char *le)
{
	size_t n = label_count(f);
	buf_printf(out, "%s%s", f->name, suffix);
	if (n || le)
		buf_put(out, "{", 1);
	for (size_t i = 0; i < n; i++) {
		buf_printf(out, "%s%s=\"", i ? "," : "", f->labels[i]);
		write_escaped(out, values[i], true);
		buf_put(out, "\"", 1);
	}
	if (le)
		buf_printf(out, "%sle=\"%s\"", n ? "," : "", le);
	if (n || le)
		buf_put(out, "}", 1);
	buf_put(out, " ", 1);
}

static void write_number(struct buf *out, double v)
{
	if (isnan(v))
		buf_printf(out, "NaN\n");
	else if (isinf(v))
		buf_printf(out, v > 0 ? "+Inf\n" : "-Inf\n");
	else if (v == floor(v) && fabs(v) < 9007199254740992.0)
		buf_printf(out, "%.0f\n", v);
	else
		buf_printf(out, "%.17g\n", v);
}

void stats_write(struct buf *out, const struct stats_family *f, const char *const *values, double v)
{
	write_name(out, f, "", values, NULL);
	write_number(out, v);
}

void stats_write_u64(struct buf *out, const struct stats_family *f, const char *const *values, uint64_t v)
{
	write_name(out, f, "", values, NULL);
	buf_printf(out, "%llu\n", (unsigned long long)v);
}

static void render_duration(struct buf *out, const struct stats_family *f, const struct stats_cell *c)
{
	const char *const *values = (const char *const *)c->values;
	/* The count is read last: it must not be below the buckets' sum. */
	uint64_t sum = 0;
	for (size_t i = 0; i < STATS_BUCKETS; i++) {
		sum += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
		write_name(out, f, "_bucket", values, bounds_text[i]);
		buf_printf(out, "%llu\n", (unsigned long long)sum);
	}
	uint64_t n = atomic_load_explicit(&c->value, memory_order_relaxed);
	n = n > sum ? n : sum;
	write_name(out, f, "_bucket", values, "+Inf");
	buf_printf(out, "%llu\n", (unsigned long long)n);
	write_name(out, f, "_sum", values, NULL);
	uint64_t ns = atomic_load_explicit(&c->sum_ns, memory_order_relaxed);
	buf_printf(out, "%llu.%09llu\n", (unsigned long long)(ns / (uint64_t)NS_PER_SEC),
	    (unsigned long long)(ns % (uint64_t)NS_PER_SEC));
	write_name(out, f, "_count", values, NULL);
	buf_printf(out, "%llu\n", (unsigned long long)n);
}

static void render_cell(struct buf *out, const struct stats_family *f, const struct stats_cell *c)
{
	const char *const *values = (const char *const *)c->values;
	uint64_t bits = atomic_load_explicit(&c->value, memory_order_relaxed);
	double v;
	switch (f->type) {
	case STATS_COUNTER:
		stats_write_u64(out, f, values, bits);
		break;
	case STATS_GAUGE:
		memcpy(&v, &bits, sizeof(v));
		stats_write(out, f, values, v);
		break;
	case STATS_DURATION:
		render_duration(out, f, c);
		break;
	}
}

void stats_render(struct stats *s, struct buf *out)
{
	pthread_mutex_lock(&s->mutex);
	for (size_t i = 0; i < s->count; i++) {
		if (s->cells[i].first)
			stats_write_head(out, &s->table[i]);
		for (const struct stats_cell *c = s->cells[i].first; c; c = c->next)
			render_cell(out, &s->table[i], c);
	}
	pthread_mutex_unlock(&s->mutex);
}
