#include "tests/sim/sim_oracle.h"

#include <math.h>
#include <stdio.h>
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
	struct sim_gap *gaps;
	size_t gap_count, gap_cap;
};

struct sim_oracle {
	const struct sim_plan *plan;
	const struct topology *last;
	struct kept_list *streams; /* as last's */
	struct sim_totals totals;
};

/* What a stateful step remembers of a series, naively: all of it. */
struct series {
	char key[320];
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

/* A version that an edge feeds. */
struct fed {
	const struct stream_conf *conf; /* of the topology that the edge goes by now */
	int stream;                     /* place in the last one, or -1 */
	int64_t since_ns;               /* INT64_MIN: it had read nothing when it heard of it */
	struct memory memory;
};

/* One edge, as it goes through its history. */
struct walk {
	struct sim_oracle *o;
	uint32_t number;               /* of the plan */
	const struct edge_conf *edge;  /* as it is called now */
	const struct sim_adoption *adoptions;
	size_t adoption_count, adoption; /* the one that it goes by */
	int64_t high_ns;               /* highest timestamp accepted; INT64_MIN: none */
	struct fed *fed;
	size_t fed_count;
	size_t *first, *last;          /* by version of the last topology: adoptions by which it is fed; first > last: none */
	size_t *heard;                 /* likewise: the adoption that has it, fed or not */
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

/* An edge's own tags are of its series, too. */
static struct series *series_of(struct memory *m, size_t step, const struct sim_line *l, const struct edge_conf *e, const char *field)
{
	char key[sizeof(((struct series *)0)->key)];
	size_t n = 0;
	const char *parts[2 + SIM_TAG_KEYS] = {l->measurement, field, l->tags[0], l->tags[1], l->tags[2]};
	for (size_t i = 0; i < 2 + SIM_TAG_KEYS; i++) {
		const char *s = parts[i] ? parts[i] : "\x01";
		size_t len = strlen(s) + 1;
		memcpy(key + n, s, len);
		n += len;
	}
	for (size_t i = 0; i < e->tag_count; i++)
		n += (size_t)snprintf(key + n, sizeof(key) - n, "%s=%s;", e->tags[i].key, e->tags[i].value) + 1;
	weir_assert(n <= sizeof(key));
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
			if (!pass_dedupe(series_of(m, i, l, e, field), step->depth, t))
				return false;
			break;
		case STEP_RATE:
			if (!pass_rate(series_of(m, i, l, e, field), step->per_ns, t, value))
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

static bool takes_any(const struct stream_conf *s, const struct sim_line *l, const struct edge_conf *e, const char *field)
{
	return match(s->measurement, l->measurement) && match(s->field, field) && where_all(s->where, s->where_count, l, e);
}

/* ---- which version takes a reading ------------------------------------------------------------------------------ */

static bool is_stateful(const struct stream_conf *s)
{
	for (size_t i = 0; i < s->step_count; i++)
		if (s->steps[i].type == STEP_DEDUPE || s->steps[i].type == STEP_RATE)
			return true;
	return false;
}

static bool is_fed(const struct stream_conf *s)
{
	return s->phase == STREAM_PENDING || s->phase == STREAM_CURRENT || s->phase == STREAM_CLOSING;
}

static bool same_version(const struct stream_conf *a, const struct stream_conf *b)
{
	return a->version == b->version && !strcmp(a->name, b->name);
}

static const struct stream_conf *version_in(const struct topology *t, const struct stream_conf *s)
{
	for (size_t i = 0; i < t->stream_count; i++)
		if (same_version(&t->streams[i], s))
			return &t->streams[i];
	return NULL;
}

bool sim_oracle_on_boundary(const struct stream_conf *was, const struct stream_conf *next, int64_t t_ns)
{
	int64_t a = was->advance_ns, b = next->advance_ns, until = a / NS_PER_SEC * b; /* all are whole seconds */
	for (int64_t t = 0; t < until; t += NS_PER_SEC)
		if (!((t - was->offset_ns) % a) && !((t - next->offset_ns) % b))
			return time_floor(t_ns, a, was->offset_ns) == t_ns && time_floor(t_ns, b, next->offset_ns) == t_ns;
	return time_floor(t_ns, b, next->offset_ns) == t_ns; /* or what is before its first window would be in none */
}

/* From where on it has all that the edge reads from now on. */
static int64_t since_of(const struct walk *k, const struct topology *t, const struct stream_conf *s)
{
	const struct stream_conf *was = s;
	if (k->high_ns == INT64_MIN)
		return INT64_MIN;
	for (size_t i = 0; i < t->stream_count && &t->streams[i] != s; i++)
		if (!strcmp(t->streams[i].name, s->name) && t->streams[i].phase != STREAM_ENDED)
			was = &t->streams[i];
	int64_t at = time_floor(k->high_ns, NS_PER_SEC, 0) + NS_PER_SEC; /* the first whole second above it */
	while (!sim_oracle_on_boundary(was, s, at))
		at += NS_PER_SEC;
	return at;
}

static struct fed *fed_of(const struct walk *k, const struct stream_conf *s)
{
	for (size_t i = 0; i < k->fed_count; i++)
		if (same_version(k->fed[i].conf, s))
			return &k->fed[i];
	return NULL;
}

static void memory_free(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->at[i].times);
	free(m->at);
	*m = (struct memory){0};
}

/* What was fed goes on with what its steps remember, what is new begins, what is no more is forgotten. */
static void adopt(struct walk *k)
{
	const struct sim_adoption *a = &k->adoptions[k->adoption];
	const struct topology *t = a->topology;
	struct fed *fed = xcalloc(t->stream_count + 1, sizeof(*fed));
	size_t n = 0;
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (!is_fed(s))
			continue;
		struct fed *was = fed_of(k, s);
		fed[n] = (struct fed){.since_ns = was ? was->since_ns : since_of(k, t, s)};
		if (was) {
			fed[n].memory = was->memory;
			was->memory = (struct memory){0};
		}
		const struct stream_conf *last = version_in(k->o->last, s);
		fed[n].stream = last ? (int)(last - k->o->last->streams) : -1;
		fed[n++].conf = s;
	}
	for (size_t i = 0; i < k->fed_count; i++)
		memory_free(&k->fed[i].memory);
	free(k->fed);
	k->fed = fed;
	k->fed_count = n;
	k->edge = &t->edges[a->edge];
}

/* ---- what is missing --------------------------------------------------------------------------------------------- */

/* Whether a window that the version answers holds the time. */
static bool answers(const struct stream_conf *s, int64_t t)
{
	for (int64_t w = time_floor(t, s->advance_ns, s->offset_ns); w + s->size_ns > t; w -= s->advance_ns)
		if (w >= s->from_ns && w < s->answers_until_ns)
			return true;
	return false;
}

static bool expects(const struct topology *t, const struct stream_conf *s, const char *edge)
{
	for (size_t i = 0; i < s->edge_count; i++)
		if (!strcmp(t->edges[s->edges[i]].name, edge))
			return true;
	return false;
}

static enum sim_gap_kind gap_kind(const struct walk *k, size_t stream, int64_t t)
{
	if (k->adoption < k->heard[stream])
		return SIM_GAP_EARLY; /* also where it was over by then */
	if (k->first[stream] > k->last[stream] || k->adoption > k->last[stream])
		return SIM_GAP_LATE;
	if (k->adoption < k->first[stream])
		return SIM_GAP_EARLY;
	const struct fed *v = fed_of(k, &k->o->last->streams[stream]);
	return v && v->conf->phase == STREAM_PENDING && t < v->since_ns ? SIM_GAP_EARLY : SIM_GAP_LOST;
}

static void note_gap(struct walk *k, size_t stream, int64_t t, enum sim_gap_kind kind)
{
	struct kept_list *list = &k->o->streams[stream];
	if (list->gap_count == list->gap_cap) {
		list->gap_cap = list->gap_cap ? 2 * list->gap_cap : 64;
		list->gaps = xrealloc(list->gaps, list->gap_cap * sizeof(*list->gaps));
	}
	list->gaps[list->gap_count++] = (struct sim_gap){k->number, kind, t};
}

/* taken: by version of the last topology. */
static void find_gaps(struct walk *k, const struct sim_line *l, const struct sim_field *f, int64_t t, const bool *taken)
{
	const struct topology *last = k->o->last;
	struct memory none = {0};
	/* What an edge that is new read by its file, before it had spoken to the cluster, windows that were final did not wait for. */
	if (!k->adoptions[k->adoption].topology->map_version && topology_edge(k->o->plan->topology, k->edge->name) < 0)
		return;
	for (size_t i = 0; i < last->stream_count; i++) {
		const struct stream_conf *s = &last->streams[i];
		double value = f->value;
		if (taken[i] || s->from_ns >= s->answers_until_ns || is_stateful(s) || !takes_any(s, l, k->edge, f->name) ||
		    !answers(s, t) || !expects(last, s, k->edge->name) || !pass_steps(s, &none, l, k->edge, f->name, t, &value))
			continue;
		note_gap(k, i, t, gap_kind(k, i, t));
	}
}

/* ---- a reading ---------------------------------------------------------------------------------------------------- */

/* Whether it is matched and taken by this version. Earlier ones only go through its steps. */
static bool into_version(struct walk *k, struct fed *v, const struct sim_line *l, const struct sim_field *f, int64_t t,
    bool certain)
{
	const struct stream_conf *s = v->conf;
	double value = f->value;
	int64_t from = s->phase == STREAM_PENDING ? v->since_ns : s->from_ns;
	int64_t until = s->phase == STREAM_CLOSING ? s->until_ns : INT64_MAX;
	if (t >= until)
		return false;
	bool passes = f->type != SIM_STRING && pass_steps(s, &v->memory, l, k->edge, f->name, t, &value);
	if (t < from)
		return false;
	k->o->totals.matched++;
	if (passes) {
		k->o->totals.passed++;
		if (v->stream >= 0)
			keep(&k->o->streams[v->stream], s, l, k->edge, t, value, certain);
	}
	return true;
}

static void into_versions(struct walk *k, const struct sim_line *l, const struct sim_field *f, int64_t t, bool certain)
{
	bool taken[STREAMS_MAX] = {false};
	for (size_t i = 0, j; i < k->fed_count; i = j) { /* versions of one stream follow each other */
		bool any = false, bound = false;
		for (j = i; j < k->fed_count && !strcmp(k->fed[i].conf->name, k->fed[j].conf->name); j++) {
			struct fed *v = &k->fed[j];
			if (!takes_any(v->conf, l, k->edge, f->name))
				continue;
			bool took = into_version(k, v, l, f, t, certain);
			bound = true;
			any = any || took;
			if (took && v->stream >= 0)
				taken[v->stream] = true;
		}
		if (bound && !any) {
			k->o->totals.matched++;
			k->o->totals.no_version++;
		}
	}
	if (certain && f->type != SIM_STRING)
		find_gaps(k, l, f, t, taken);
}

static void take_line(struct walk *k, const struct sim_line *l, const struct sim_delivery *d)
{
	int64_t t = l->has_time ? l->t_ns : d->wall_ns;
	if (t > k->high_ns)
		k->high_ns = t;
	for (uint32_t f = 0; f < l->field_count; f++)
		into_versions(k, l, &l->fields[f], t, d->certain);
}

struct sim_oracle *sim_oracle_new(const struct sim_plan *plan, const struct topology *last)
{
	struct sim_oracle *o = xcalloc(1, sizeof(*o));
	weir_assert(last->stream_count <= STREAMS_MAX);
	o->plan = plan;
	o->last = last;
	o->streams = xcalloc(last->stream_count + 1, sizeof(*o->streams));
	return o;
}

void sim_oracle_free(struct sim_oracle *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->last->stream_count; i++) {
		free(o->streams[i].at);
		free(o->streams[i].gaps);
	}
	free(o->streams);
	free(o);
}

/* By which adoptions each version is fed. */
static void look_ahead(struct walk *k)
{
	const struct topology *last = k->o->last;
	k->first = xcalloc(last->stream_count + 1, sizeof(*k->first));
	k->last = xcalloc(last->stream_count + 1, sizeof(*k->last));
	k->heard = xcalloc(last->stream_count + 1, sizeof(*k->heard));
	for (size_t i = 0; i < last->stream_count; i++) {
		k->first[i] = k->heard[i] = SIZE_MAX;
		for (size_t a = 0; a < k->adoption_count; a++) {
			const struct stream_conf *s = version_in(k->adoptions[a].topology, &last->streams[i]);
			k->heard[i] = s && k->heard[i] == SIZE_MAX ? a : k->heard[i];
			if (!s || !is_fed(s))
				continue;
			k->first[i] = k->first[i] == SIZE_MAX ? a : k->first[i];
			k->last[i] = a;
		}
	}
}

void sim_oracle_edge(struct sim_oracle *o, uint32_t edge, const struct sim_delivery *d, size_t n,
    const struct sim_adoption *adoptions, size_t adoption_count)
{
	struct walk k = {.o = o, .number = edge, .adoptions = adoptions, .adoption_count = adoption_count, .high_ns = INT64_MIN};
	weir_assert(adoption_count && !adoptions[0].at);
	look_ahead(&k);
	adopt(&k);
	for (size_t i = 0; i < n; i++) {
		while (k.adoption + 1 < adoption_count && adoptions[k.adoption + 1].at <= i) {
			k.adoption++;
			adopt(&k);
		}
		if (d[i].accepted)
			take_line(&k, &o->plan->sources[edge][d[i].source].lines[d[i].line], &d[i]);
	}
	for (size_t i = 0; i < k.fed_count; i++)
		memory_free(&k.fed[i].memory);
	free(k.fed);
	free(k.first);
	free(k.last);
	free(k.heard);
}

struct sim_totals sim_oracle_totals(const struct sim_oracle *o)
{
	return o->totals;
}

uint64_t sim_oracle_passed(const struct sim_oracle *o, size_t stream)
{
	return o->streams[stream].count;
}

size_t sim_oracle_gaps(const struct sim_oracle *o, size_t stream, const struct sim_gap **ret_gaps)
{
	*ret_gaps = o->streams[stream].gaps;
	return o->streams[stream].gap_count;
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
		cell_numbers(c, &p[i], j - i, ret->values + i, o->last->streams[q->stream].distinct_count);
	}
	free(p);
}

void sim_cells_free(struct sim_cells *c)
{
	free(c->cells);
	free(c->values);
	buf_free(&c->groups);
}
