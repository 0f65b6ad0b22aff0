#include "cloudd/remote_series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/err.h"
#include "common/prometheus_name.h"
#include "common/prometheus_row.h"
#include "common/row_value.h"
#include "common/utf8.h"

#define TABLE_MIN 64
#define WHY_MAX 256
#define LABEL_HEAD 12  /* bytes of an answer around a label's name and value, at most; and what prometheus_label_name() adds */
#define SERIES_HEAD 40 /* ... around a series, with its __name__ */

/* A sample, or a histogram: bytes of the series' text. */
struct point {
	int64_t t_ms;
	union {
		double value;
		struct {
			uint32_t at, n;
		} bytes;
	};
	uint32_t order; /* of coming, within the series */
};

struct series {
	struct point *points;
	uint32_t count, room;
	bool unsorted;
	size_t version;  /* of the last point */
	struct buf text; /* histograms */
};

/* A group, as its values in Prometheus, each with its length in front. */
struct group {
	uint64_t hash;
	bool taken; /* by the filter */
	struct bytes key;
	struct series *series; /* by metric; where taken */
};

struct remote_series {
	struct remote_series_options o;
	struct group *groups; /* in the order in which they came */
	size_t count, room;
	uint32_t *table; /* open addressing: place in groups + 1 */
	size_t size;
	bool begun, possible;
	char *tags[BY_MAX]; /* of the first row's args: all rows have the same */
	size_t tag_count;
	size_t names_n; /* bytes of all series' names of labels, of one group */
	const struct function_conf *functions[REMOTE_METRICS_MAX];
	struct prometheus_labels labels;
	struct buf key;
	char why[WHY_MAX];
};

struct remote_series *remote_series_new(const struct remote_series_options *o)
{
	struct remote_series *s = xcalloc(1, sizeof(*s));
	weir_assert(o->metric_count > 0 && o->metric_count <= REMOTE_METRICS_MAX);
	s->o = *o;
	return s;
}

static void group_clear(const struct remote_series *s, struct group *g)
{
	for (size_t i = 0; g->series && i < s->o.metric_count; i++) {
		free(g->series[i].points);
		buf_free(&g->series[i].text);
	}
	free(g->series);
	free((void *)(uintptr_t)g->key.p);
}

void remote_series_free(struct remote_series *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		group_clear(s, &s->groups[i]);
	for (size_t i = 0; i < s->tag_count; i++)
		free(s->tags[i]);
	free(s->groups);
	free(s->table);
	buf_free(&s->labels.text);
	buf_free(&s->key);
	free(s);
}

const char *remote_series_why(const struct remote_series *s)
{
	return s->why;
}

bool remote_series_possible(struct prometheus_filter *f, char *const *tags, size_t count)
{
	struct buf text = {0};
	struct bytes labels[BY_MAX + 1] = {bytes_of("__name__", 8)};
	size_t ends[BY_MAX];
	for (size_t i = 0; i < count; i++) {
		prometheus_label_name(tags[i], &text);
		ends[i] = text.len;
	}
	for (size_t i = 0; i < count; i++) {
		size_t from = i ? ends[i - 1] : 0;
		labels[i + 1] = bytes_of(text.data + from, ends[i] - from);
	}
	bool possible = prometheus_filter_takes_none(f, labels, count + 1);
	buf_free(&text);
	return possible;
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static bool charge(struct remote_series *s, size_t bytes)
{
	*s->o.bytes += bytes;
	if (*s->o.bytes <= REMOTE_BYTES_MAX)
		return true;
	snprintf(s->why, sizeof(s->why), "the answer is over %d MiB: ask for fewer series or a shorter time", REMOTE_BYTES_MAX >> 20);
	return false;
}

static const struct function_conf *function_of(const struct query_args *args, const char *text)
{
	for (size_t i = 0; text && i < args->select_count; i++)
		if (!strcmp(args->select[i].text, text))
			return &args->select[i];
	return NULL;
}

static int begin(struct remote_series *s, const struct query_args *args)
{
	size_t a, b;
	s->begun = true;
	if (prometheus_labels_collide(args->by, args->by_count, &a, &b)) {
		snprintf(s->why, sizeof(s->why), "stream \"%s\": its tags \"%.60s\" and \"%.60s\" become one label", args->stream->name,
		    args->by[a], args->by[b]);
		return WEIR_EINVAL;
	}
	for (; s->tag_count < args->by_count; s->tag_count++)
		s->tags[s->tag_count] = xstrdup(args->by[s->tag_count]);
	for (size_t i = 0; i < s->o.metric_count; i++) {
		s->functions[i] = function_of(args, s->o.metrics[i].function);
		s->names_n += strlen(s->o.metrics[i].name) + SERIES_HEAD;
	}
	for (size_t i = 0; i < s->tag_count; i++)
		s->names_n += s->o.metric_count * (strlen(s->tags[i]) + LABEL_HEAD);
	s->possible = remote_series_possible(s->o.filter, s->tags, s->tag_count);
	return 0;
}

/* What a group takes: its series, and their labels, which stand in the answer once for each. */
static size_t cost(const struct remote_series *s, const struct group *g)
{
	size_t series = s->o.metric_count * (sizeof(*g->series) + g->key.n) + s->names_n;
	return sizeof(*g) + g->key.n + (g->taken ? series : 0);
}

/* The group's place in the table: where it is, or where it would be. */
static uint32_t *place_of(struct remote_series *s, struct bytes key, uint64_t hash)
{
	size_t at = hash & (s->size - 1);
	for (; s->table[at]; at = (at + 1) & (s->size - 1)) {
		const struct group *g = &s->groups[s->table[at] - 1];
		if (g->hash == hash && g->key.n == key.n && !memcmp(g->key.p, key.p, key.n))
			break;
	}
	return &s->table[at];
}

static void grow_table(struct remote_series *s)
{
	if (s->count * 2 < s->size)
		return;
	s->size = s->size ? s->size * 2 : TABLE_MIN;
	free(s->table);
	s->table = xcalloc(s->size, sizeof(*s->table));
	for (size_t i = 0; i < s->count; i++)
		*place_of(s, s->groups[i].key, s->groups[i].hash) = (uint32_t)i + 1;
}

static bool is_taken(struct remote_series *s)
{
	bool taken = true;
	for (size_t i = 0; i < s->tag_count && taken; i++) {
		struct bytes value = bytes_of("", 0);
		struct buf label = {0};
		prometheus_label_name(s->tags[i], &label);
		for (size_t k = 0; k < s->labels.count; k++)
			if (s->labels.all[k].name.n == label.len && !memcmp(s->labels.all[k].name.p, label.data, label.len))
				value = s->labels.all[k].value;
		taken = prometheus_filter_takes(s->o.filter, bytes_of(label.data, label.len), value);
		buf_free(&label);
	}
	return taken;
}

static struct group *add_group(struct remote_series *s, uint64_t hash)
{
	if (s->count == s->room) {
		s->room = s->room ? s->room * 2 : TABLE_MIN;
		s->groups = xrealloc(s->groups, s->room * sizeof(*s->groups));
	}
	struct group *g = &s->groups[s->count++];
	uint8_t *key = xmalloc(s->key.len + 1);
	memcpy(key, s->key.data, s->key.len);
	*g = (struct group){.hash = hash, .key = bytes_of(key, s->key.len), .taken = is_taken(s)};
	if (g->taken)
		g->series = xcalloc(s->o.metric_count, sizeof(*g->series));
	return g;
}

static void make_labels(struct remote_series *s, const struct bytes *values, const char *metric)
{
	prometheus_labels_make(bytes_of(metric, strlen(metric)), s->tags, values, s->tag_count, &s->labels);
}

/* *ret NULL: the memory is used up, or the expressions' time is. */
static struct group *group_of(struct remote_series *s, const struct query_args *args, const struct row *row)
{
	struct bytes values[BY_MAX];
	row_tags(args, row, values);
	buf_clear(&s->key);
	buf_u8(&s->key, 0); /* never without bytes */
	for (size_t i = 0; i < s->tag_count; i++) {
		struct buf text = {0};
		utf8_put(&text, values[i].p, values[i].n);
		buf_bytes(&s->key, text.data, text.len);
		buf_free(&text);
	}
	uint64_t hash = XXH3_64bits(s->key.data, s->key.len);
	grow_table(s);
	uint32_t *place = place_of(s, bytes_of(s->key.data, s->key.len), hash);
	if (*place)
		return &s->groups[*place - 1];
	make_labels(s, values, "");
	struct group *g = add_group(s, hash);
	*place = (uint32_t)s->count;
	if (prometheus_filter_spent(s->o.filter)) {
		snprintf(s->why, sizeof(s->why), "the matchers' expressions take too long on so many series");
		return NULL;
	}
	return charge(s, cost(s, g)) ? g : NULL;
}

/* ---- points ------------------------------------------------------------------------------------------------------ */

/* Room for a point at t_ms in the series; NULL: there is one from the same version, or no memory. */
static struct point *add_point(struct remote_series *s, struct series *to, const struct query_args *args, int64_t t_ms)
{
	const struct point *last = to->count ? &to->points[to->count - 1] : NULL;
	if (last && last->t_ms == t_ms && to->version == args->at) {
		snprintf(s->why, sizeof(s->why), "stream \"%s\": two of its groups are one series in Prometheus: their tags are no UTF-8",
		    args->stream->name);
		return NULL;
	}
	to->unsorted |= last && last->t_ms >= t_ms;
	to->version = args->at;
	if (to->count == to->room) {
		uint32_t room = to->room ? to->room * 2 : 8;
		if (!charge(s, (room - to->room) * sizeof(*to->points)))
			return NULL;
		to->points = xrealloc(to->points, room * sizeof(*to->points));
		to->room = room;
	}
	to->points[to->count] = (struct point){.t_ms = t_ms, .order = to->count};
	return &to->points[to->count++];
}

static int add_histogram(struct remote_series *s, struct series *to, const struct query_args *args, const struct partial_spec *spec,
    const struct row *row)
{
	size_t from = to->text.len;
	if (!prometheus_row_histogram(spec, row, &to->text))
		return 0;
	struct point *p = add_point(s, to, args, prometheus_ms(row->end_ns));
	if (!p || !charge(s, to->text.len - from))
		return WEIR_ETOOBIG;
	p->bytes.at = (uint32_t)from;
	p->bytes.n = (uint32_t)(to->text.len - from);
	return 0;
}

static int add_sample(struct remote_series *s, struct series *to, const struct query_args *args, const struct partial_spec *spec,
    const struct row *row, const struct function_conf *fn)
{
	struct prometheus_sample sample;
	if (!fn || !prometheus_row_sample(args->stream, spec, row, fn, &sample))
		return 0;
	struct point *p = add_point(s, to, args, sample.t_ms);
	if (!p)
		return WEIR_ETOOBIG;
	p->value = sample.value;
	return 0;
}

int remote_series_add(void *arg, const struct query_args *args, const struct partial_spec *spec, const struct row *row)
{
	struct remote_series *s = arg;
	int64_t t_ms = prometheus_ms(row->end_ns);
	int rc = s->begun ? 0 : begin(s, args);
	if (rc || !s->possible || row->state == WINDOW_OPEN || t_ms < s->o.start_ms || t_ms > s->o.end_ms)
		return rc;
	struct group *g = group_of(s, args, row);
	if (!g)
		return WEIR_ETOOBIG;
	for (size_t i = 0; i < s->o.metric_count && g->taken && !rc; i++) {
		if (s->o.metrics[i].function)
			rc = add_sample(s, &g->series[i], args, spec, row, s->functions[i]);
		else
			rc = add_histogram(s, &g->series[i], args, spec, row);
	}
	return rc;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	const struct point *x = a, *y = b;
	if (x->t_ms != y->t_ms)
		return x->t_ms < y->t_ms ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* In the order of time, the last to come of each. */
static void sort_points(struct series *series)
{
	uint32_t kept = 0;
	if (!series->unsorted)
		return;
	qsort(series->points, series->count, sizeof(*series->points), by_time);
	for (uint32_t i = 0; i < series->count; i++) {
		if (i + 1 == series->count || series->points[i + 1].t_ms != series->points[i].t_ms)
			series->points[kept++] = series->points[i];
	}
	series->count = kept;
}

static void put_samples(const struct series *series, struct prometheus_series *to, struct buf *out)
{
	struct prometheus_sample *samples = xcalloc(series->count, sizeof(*samples));
	for (uint32_t i = 0; i < series->count; i++)
		samples[i] = (struct prometheus_sample){series->points[i].t_ms, series->points[i].value};
	to->samples = samples;
	to->sample_count = series->count;
	prometheus_series_put(to, out);
	free(samples);
}

static void put_histograms(const struct series *series, struct prometheus_series *to, struct buf *out)
{
	struct bytes *histograms = xcalloc(series->count, sizeof(*histograms));
	for (uint32_t i = 0; i < series->count; i++)
		histograms[i] = bytes_of(series->text.data + series->points[i].bytes.at, series->points[i].bytes.n);
	to->histograms = histograms;
	to->histogram_count = series->count;
	prometheus_series_put(to, out);
	free(histograms);
}

static uint64_t put_group(struct remote_series *s, struct group *g, struct buf *out)
{
	struct bytes values[BY_MAX];
	struct rd r = rd_init(g->key.p + 1, g->key.n - 1);
	uint64_t points = 0;
	for (size_t i = 0; i < s->tag_count; i++)
		values[i].p = rd_bytes(&r, SIZE_MAX, &values[i].n);
	for (size_t i = 0; i < s->o.metric_count; i++) {
		struct series *series = &g->series[i];
		if (!series->count)
			continue;
		sort_points(series);
		make_labels(s, values, s->o.metrics[i].name);
		struct prometheus_series to = {.labels = s->labels.all, .label_count = s->labels.count};
		if (s->o.metrics[i].function)
			put_samples(series, &to, out);
		else
			put_histograms(series, &to, out);
		points += series->count;
	}
	return points;
}

uint64_t remote_series_put(struct remote_series *s, struct buf *out)
{
	uint64_t points = 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->groups[i].taken)
			points += put_group(s, &s->groups[i], out);
	return points;
}
