#include "tests/sim/sim_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* A reading that reached a stream's windows. */
struct kept {
	int64_t t_ns;
	double value;
	bool certain;
	const char *by[BY_MAX];             /* values of the stream's tags, "" where missing */
	const char *distinct[DISTINCTS_MAX]; /* the same of its distinct tags */
};

struct kept_list {
	struct kept *at;
	size_t count, cap;
	struct sim_totals totals;
};

struct sim_oracle {
	const struct sim_plan *plan;
	struct kept_list streams[STREAMS_MAX];
};

/* What a stateful step remembers of a series, naively: all of it. */
struct series {
	char key[256];
	size_t step;
	int64_t *times; /* dedupe: all timestamps that passed, in order */
	size_t count, cap;
	bool has; /* rate */
	int64_t t_ns;
	double value;
};

struct memory {
	struct series *at;
	size_t count, cap;
};

/* ---- matching ------------------------------------------------------------------------------------------------ */

static bool class_match(const char *p, const char *end, char c)
{
	bool not = *p == '!', in = false;
	for (p += not ? 1 : 0; p < end; p++) {
		if (p + 2 < end && p[1] == '-') {
			in = in || (c >= p[0] && c <= p[2]);
			p += 2;
		} else {
			in = in || c == *p;
		}
	}
	return in != not;
}

static bool match(const char *p, const char *s)
{
	if (!*p)
		return !*s;
	if (*p == '*') {
		for (;; s++) {
			if (match(p + 1, s))
				return true;
			if (!*s)
				return false;
		}
	}
	if (!*s)
		return false;
	const char *close = *p == '[' ? strchr(p, ']') : NULL;
	if (close)
		return class_match(p + 1, close, *s) && match(close + 1, s + 1);
	return (*p == '?' || *p == *s) && match(p + 1, s + 1);
}

static const char *tag_of(const struct sim_line *l, const struct edge_conf *e, const char *key)
{
	for (size_t i = 0; i < SIM_TAG_KEYS; i++)
		if (!strcmp(sim_tag_keys[i], key))
			return l->tags[i] ? l->tags[i] : "";
	for (size_t i = 0; i < e->tag_count; i++)
		if (!strcmp(e->tags[i].key, key))
			return e->tags[i].value;
	return "";
}

static bool where_all(const struct where_conf *w, size_t n, const struct sim_line *l, const struct edge_conf *e)
{
	for (size_t i = 0; i < n; i++)
		if (!match(w[i].pattern, tag_of(l, e, w[i].tag)))
			return false;
	return true;
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static struct series *series_of(struct memory *m, size_t step, const struct sim_line *l, const char *field)
{
	char key[256];
	size_t n = 0;
	const char *parts[2 + SIM_TAG_KEYS] = {l->measurement, field, l->tags[0], l->tags[1], l->tags[2]};
	for (size_t i = 0; i < 2 + SIM_TAG_KEYS; i++) {
		const char *s = parts[i] ? parts[i] : "\x01";
		size_t len = strlen(s) + 1;
		memcpy(key + n, s, len);
		n += len;
	}
	memset(key + n, 0, sizeof(key) - n);
	for (size_t i = 0; i < m->count; i++)
		if (m->at[i].step == step && !memcmp(m->at[i].key, key, sizeof(key)))
			return &m->at[i];
	if (m->count == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 64;
		m->at = xrealloc(m->at, m->cap * sizeof(*m->at));
	}
	struct series *s = &m->at[m->count++];
	*s = (struct series){.step = step};
	memcpy(s->key, key, sizeof(key));
	return s;
}

/* A timestamp is a duplicate when it is among the last `depth` that passed. */
static bool pass_dedupe(struct series *s, unsigned depth, int64_t t)
{
	for (size_t i = s->count; i > 0 && s->count - i < depth; i--)
		if (s->times[i - 1] == t)
			return false;
	if (s->count == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 16;
		s->times = xrealloc(s->times, s->cap * sizeof(*s->times));
	}
	s->times[s->count++] = t;
	return true;
}

/* Change per time; a counter that fell has started again from zero. */
static bool pass_rate(struct series *s, int64_t per_ns, int64_t t, double *value)
{
	double now = *value, before = s->value;
	int64_t then = s->t_ns;
	if (s->has && t <= then)
		return false;
	bool had = s->has;
	s->has = true;
	s->t_ns = t;
	s->value = now;
	if (!had)
		return false;
	*value = (now >= before ? now - before : now) * ((double)per_ns / (double)(t - then));
	return true;
}

static bool pass_steps(const struct stream_conf *s, struct memory *m, const struct sim_line *l,
    const struct edge_conf *e, const char *field, int64_t t, double *value)
{
	for (size_t i = 0; i < s->step_count; i++) {
		const struct step_conf *step = &s->steps[i];
		switch (step->type) {
		case STEP_RANGE:
			if (*value < step->min || *value > step->max)
				return false;
			break;
		case STEP_SCALE:
			*value = *value * step->by + step->add;
			break;
		case STEP_DEDUPE:
			if (!pass_dedupe(series_of(m, i, l, field), step->depth, t))
				return false;
			break;
		case STEP_RATE:
			if (!pass_rate(series_of(m, i, l, field), step->per_ns, t, value))
				return false;
			break;
		case STEP_WHERE:
			if (!where_all(step->where, step->where_count, l, e))
				return false;
			break;
		}
	}
	return isfinite(*value);
}

/* ---- readings into streams ----------------------------------------------------------------------------------- */

static void keep(struct kept_list *list, const struct stream_conf *s, const struct sim_line *l,
    const struct edge_conf *e, int64_t t, double value, bool certain)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 1024;
		list->at = xrealloc(list->at, list->cap * sizeof(*list->at));
	}
	struct kept *k = &list->at[list->count++];
	*k = (struct kept){.t_ns = t, .value = value, .certain = certain};
	for (size_t i = 0; i < s->by_count; i++)
		k->by[i] = tag_of(l, e, s->by[i]);
	for (size_t i = 0; i < s->distinct_count; i++)
		k->distinct[i] = tag_of(l, e, s->distinct[i]);
}

static void stream_line(struct sim_oracle *o, size_t stream, struct memory *m, const struct edge_conf *e,
    const struct sim_line *l, const struct sim_delivery *d)
{
	const struct stream_conf *s = &o->plan->topology->streams[stream];
	struct kept_list *list = &o->streams[stream];
	if (!match(s->measurement, l->measurement) || !where_all(s->where, s->where_count, l, e))
		return;
	for (uint32_t f = 0; f < l->field_count; f++) {
		if (!match(s->field, l->fields[f].name))
			continue;
		list->totals.matched++;
		double value = l->fields[f].value;
		int64_t t = l->has_time ? l->t_ns : d->wall_ns;
		if (l->fields[f].type == SIM_STRING || !pass_steps(s, m, l, e, l->fields[f].name, t, &value))
			continue;
		list->totals.passed++;
		keep(list, s, l, e, t, value, d->certain);
	}
}

static void memory_free(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->at[i].times);
	free(m->at);
}

struct sim_oracle *sim_oracle_new(const struct sim_plan *plan)
{
	struct sim_oracle *o = xcalloc(1, sizeof(*o));
	o->plan = plan;
	return o;
}

void sim_oracle_free(struct sim_oracle *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < STREAMS_MAX; i++)
		free(o->streams[i].at);
	free(o);
}

void sim_oracle_edge(struct sim_oracle *o, uint32_t edge, const struct sim_delivery *d, size_t n)
{
	const struct topology *t = o->plan->topology;
	for (size_t s = 0; s < t->stream_count; s++) {
		struct memory m = {0};
		for (size_t i = 0; i < n; i++)
			if (d[i].accepted)
				stream_line(o, s, &m, &t->edges[edge], &o->plan->sources[edge][d[i].source].lines[d[i].line],
				    &d[i]);
		memory_free(&m);
	}
}

struct sim_totals sim_oracle_totals(const struct sim_oracle *o, size_t stream)
{
	return o->streams[stream].totals;
}

/* ---- windows ------------------------------------------------------------------------------------------------- */

struct placed {
	int64_t start_ns;
	const struct kept *kept;
	uint32_t group, group_len; /* in the cells' groups */
};

static const uint8_t *sort_groups; /* qsort has no argument; the simulator is one thread */

static int placed_group_cmp(const struct placed *a, const struct placed *b)
{
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	uint32_t n = a->group_len < b->group_len ? a->group_len : b->group_len;
	int c = a->group == b->group || !n ? 0 : memcmp(sort_groups + a->group, sort_groups + b->group, n);
	return c ? c : (a->group_len > b->group_len) - (a->group_len < b->group_len);
}

static int placed_cmp(const void *pa, const void *pb)
{
	const struct placed *a = pa, *b = pb;
	int c = placed_group_cmp(a, b);
	if (c)
		return c;
	return a->kept < b->kept ? -1 : a->kept > b->kept;
}

static int double_cmp(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static int text_cmp(const void *pa, const void *pb)
{
	return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

static uint32_t count_distinct(const struct placed *p, size_t n, size_t index)
{
	const char **texts = xcalloc(n, sizeof(*texts));
	uint32_t found = 0;
	for (size_t i = 0; i < n; i++)
		texts[i] = p[i].kept->distinct[index];
	qsort(texts, n, sizeof(*texts), text_cmp);
	for (size_t i = 0; i < n; i++)
		if (texts[i][0] && (i == 0 || strcmp(texts[i], texts[i - 1])))
			found++;
	free(texts);
	return found;
}

static void cell_first_last(struct sim_cell *c, const struct placed *p, size_t n)
{
	const struct kept *first = p[0].kept, *last = p[0].kept;
	for (size_t i = 1; i < n; i++) {
		const struct kept *k = p[i].kept;
		if (k->t_ns < first->t_ns || (k->t_ns == first->t_ns && k->value < first->value))
			first = k;
		if (k->t_ns > last->t_ns || (k->t_ns == last->t_ns && k->value > last->value))
			last = k;
	}
	c->first = first->value;
	c->last = last->value;
}

static void cell_numbers(struct sim_cell *c, const struct placed *p, size_t n, double *values, size_t distincts)
{
	__float128 sum = 0, squares = 0;
	c->magnitude = 0;
	c->certain = 0;
	for (size_t i = 0; i < n; i++) {
		values[i] = p[i].kept->value;
		sum += (__float128)values[i];
		c->magnitude += fabs(values[i]);
		c->certain += p[i].kept->certain;
	}
	for (size_t i = 0; i < n; i++) {
		__float128 d = (__float128)values[i] - sum / (__float128)n;
		squares += d * d;
	}
	c->count = n;
	c->sum = (double)sum;
	c->mean = (double)(sum / (__float128)n);
	c->stddev = n < 2 ? 0 : sqrt((double)(squares / (__float128)(n - 1)));
	cell_first_last(c, p, n);
	qsort(values, n, sizeof(*values), double_cmp);
	c->values = values;
	c->min = values[0];
	c->max = values[n - 1];
	for (size_t i = 0; i < distincts; i++)
		c->distinct[i] = count_distinct(p, n, i);
}

static uint32_t put_group(struct buf *b, const struct kept *k, const struct sim_query *q)
{
	size_t start = b->len;
	for (uint32_t i = 0; i < q->by_count; i++) {
		size_t n = strlen(k->by[q->by[i]]);
		weir_assert(n < 128);
		buf_u8(b, (uint8_t)n);
		buf_put(b, k->by[q->by[i]], n);
	}
	return (uint32_t)(b->len - start);
}

static size_t place(const struct kept_list *list, const struct sim_query *q, struct buf *groups, struct placed **ret)
{
	struct placed *p = NULL;
	size_t n = 0, cap = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct kept *k = &list->at[i];
		if (q->where && strcmp(k->by[q->where_by], q->where_value))
			continue;
		uint32_t group = (uint32_t)groups->len, len = put_group(groups, k, q);
		for (int64_t s = time_floor(k->t_ns, q->advance_ns, q->offset_ns); s + q->size_ns > k->t_ns; s -= q->advance_ns) {
			if (n == cap) {
				cap = cap ? 2 * cap : 4096;
				p = xrealloc(p, cap * sizeof(*p));
			}
			p[n++] = (struct placed){s, k, group, len};
		}
	}
	*ret = p;
	return n;
}

void sim_oracle_cells(const struct sim_oracle *o, const struct sim_query *q, struct sim_cells *ret)
{
	*ret = (struct sim_cells){0};
	struct placed *p;
	size_t n = place(&o->streams[q->stream], q, &ret->groups, &p);
	buf_reserve(&ret->groups, 1);
	sort_groups = ret->groups.data;
	if (n)
		qsort(p, n, sizeof(*p), placed_cmp);
	ret->values = xcalloc(n + 1, sizeof(*ret->values));
	ret->cells = xcalloc(n + 1, sizeof(*ret->cells));
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && !placed_group_cmp(&p[i], &p[j]); j++)
			;
		struct sim_cell *c = &ret->cells[ret->count++];
		c->start_ns = p[i].start_ns;
		c->group = bytes_of(ret->groups.data + p[i].group, p[i].group_len);
		cell_numbers(c, &p[i], j - i, ret->values + i, o->plan->topology->streams[q->stream].distinct_count);
	}
	free(p);
}

void sim_cells_free(struct sim_cells *c)
{
	free(c->cells);
	free(c->values);
	buf_free(&c->groups);
}
