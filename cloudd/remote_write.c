#include "cloudd/remote_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/prometheus_name.h"
#include "common/prometheus_row.h"
#include "common/window.h"

static char shard_label[] = PROMETHEUS_SHARD_LABEL; /* as tags have their texts; nobody changes it */

struct remote_write {
	struct remote_write_options o;
	const struct sink_batch *batch;
	struct remote_write_sample *all;
	size_t count, room;
	size_t lost;                     /* rows */
	struct buf text;                 /* the elements */
	struct buf metric, histogram;    /* of the one that is made */
	struct prometheus_labels labels; /* of the row */
	struct prometheus_label *name;   /* __name__ among them */
	char shard[16];                  /* of the row, where its group is a part */
};

struct remote_write *remote_write_new(const struct remote_write_options *o)
{
	struct remote_write *w = xcalloc(1, sizeof(*w));
	w->o = *o;
	return w;
}

void remote_write_free(struct remote_write *w)
{
	if (!w)
		return;
	buf_free(&w->text);
	buf_free(&w->metric);
	buf_free(&w->histogram);
	buf_free(&w->labels.text);
	free(w->all);
	free(w);
}

/* ---- samples of a row ---------------------------------------------------------------------------------------------- */

static void make_labels(struct remote_write *w, const struct sink_row *r)
{
	struct group_value group[BY_MAX];
	struct bytes values[BY_MAX] = {0};
	bool fine = group_split(r->row.group, r->stream->by_count, group);
	for (size_t i = 0; fine && i < r->stream->by_count; i++)
		values[i] = group[i].text;
	prometheus_labels_make(bytes_of("", 0), r->stream->by, values, r->stream->by_count, &w->labels);
	prometheus_labels_add(&w->labels, w->o.labels, w->o.label_count);
	snprintf(w->shard, sizeof(w->shard), "%u", r->shard);
	if (sink_row_is_part(r))
		prometheus_labels_add(&w->labels, &(struct model_tag){shard_label, w->shard}, 1);
	w->name = w->labels.all;
	while (group_order(w->name->name, bytes_of("__name__", 8)))
		w->name++; /* it is among them */
}

static void set_metric(struct remote_write *w, const struct stream_conf *s, size_t function)
{
	buf_clear(&w->metric);
	prometheus_metric_name(s->name, function < s->compute_count ? s->compute[function].text : NULL, &w->metric);
	w->name->value = bytes_of(w->metric.data, w->metric.len);
}

static uint64_t place_of(const struct remote_write *w, int64_t t_ms)
{
	uint64_t h = (uint64_t)t_ms;
	for (size_t i = 0; i < w->labels.count; i++) {
		const struct prometheus_label *l = &w->labels.all[i];
		h = XXH3_64bits_withSeed(l->name.p, l->name.n, h + l->value.n);
		h = XXH3_64bits_withSeed(l->value.p, l->value.n, h);
	}
	return h;
}

static void add(struct remote_write *w, size_t row, size_t function, int64_t t_ms, struct prometheus_series *s)
{
	size_t at = w->text.len;
	s->labels = w->labels.all;
	s->label_count = w->labels.count;
	prometheus_series_put(s, &w->text);
	if (w->count == w->room) {
		w->room = w->room ? 2 * w->room : 256;
		w->all = xrealloc(w->all, w->room * sizeof(*w->all));
	}
	size_t n = w->text.len - at;
	w->all[w->count++] = (struct remote_write_sample){.row = row, .function = function, .t_ms = t_ms,
	    .id = XXH3_64bits(w->text.data + at, n), .place = place_of(w, t_ms), .at = at, .bytes = n};
}

static void add_histogram(struct remote_write *w, size_t row, const struct sink_row *r)
{
	buf_clear(&w->histogram);
	if (!prometheus_row_histogram(r->spec, &r->row, &w->histogram))
		return;
	struct bytes encoded = bytes_of(w->histogram.data, w->histogram.len);
	set_metric(w, r->stream, r->stream->compute_count);
	add(w, row, r->stream->compute_count, prometheus_ms(r->row.end_ns),
	    &(struct prometheus_series){.histograms = &encoded, .histogram_count = 1});
}

static void add_row(struct remote_write *w, size_t row)
{
	const struct sink_row *r = &w->batch->rows[row];
	struct prometheus_sample sample;
	make_labels(w, r);
	for (size_t i = 0; i < r->stream->compute_count; i++) {
		if (!prometheus_row_sample(r->stream, r->spec, &r->row, &r->stream->compute[i], &sample))
			continue;
		set_metric(w, r->stream, i);
		add(w, row, i, sample.t_ms, &(struct prometheus_series){.samples = &sample, .sample_count = 1});
	}
	if (w->o.histograms)
		add_histogram(w, row, r);
}

/* ---- of a batch ---------------------------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	const struct remote_write_sample *x = a, *y = b;
	if (x->t_ms != y->t_ms)
		return x->t_ms < y->t_ms ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at; /* as they were made */
}

/* The sample of the same place that was met before; NULL: there is none, and it is met now. met: indices + 1, by place. */
static const struct remote_write_sample *meet(const struct remote_write *w, size_t *met, size_t size, size_t at)
{
	size_t i = w->all[at].place & (size - 1);
	while (met[i] && w->all[met[i] - 1].place != w->all[at].place)
		i = (i + 1) & (size - 1);
	if (met[i])
		return &w->all[met[i] - 1];
	met[i] = at + 1;
	return NULL;
}

/* Its place is taken: by a later word on its window, most often; else by another group, for what is no UTF-8 in both. One row's samples
 * follow one another. */
static void give_way(struct remote_write *w, size_t row, size_t to, size_t *last)
{
	const struct sink_batch *b = w->batch;
	w->lost += *last != row && group_order(b->rows[row].row.group, b->rows[to].row.group);
	*last = row;
}

/* From the end, so that the last one of a place is what stays. */
static void drop_repeated(struct remote_write *w)
{
	size_t size = 16, kept = w->count, last = SIZE_MAX;
	while (size < 2 * w->count)
		size *= 2;
	size_t *met = xcalloc(size, sizeof(*met));
	for (size_t i = w->count; i-- > 0;) {
		struct remote_write_sample s = w->all[i];
		w->all[--kept] = s;
		const struct remote_write_sample *other = meet(w, met, size, kept);
		if (!other)
			continue;
		kept++;
		give_way(w, s.row, other->row, &last);
	}
	memmove(w->all, w->all + kept, (w->count - kept) * sizeof(*w->all));
	w->count -= kept;
	free(met);
}

/* The sample's place in its set; the last one where it is not there. */
static size_t way_of(const struct remote_write_arrival *set, uint64_t place)
{
	size_t i = 0;
	while (i + 1 < REMOTE_WRITE_WAYS && set[i].place != place)
		i++;
	return i;
}

/* A value that comes again after another one has not arrived: a receiver that replaces has the other one. */
static bool has_arrived(const struct remote_write_arrived *a, const struct remote_write_sample *s)
{
	const struct remote_write_arrival *set = a->sets[s->place % REMOTE_WRITE_SETS], *is = &set[way_of(set, s->place)];
	return is->place == s->place && is->id == s->id;
}

void remote_write_note(struct remote_write_arrived *a, const struct remote_write_sample *s)
{
	struct remote_write_arrival *set = a->sets[s->place % REMOTE_WRITE_SETS];
	memmove(&set[1], &set[0], way_of(set, s->place) * sizeof(set[0]));
	set[0] = (struct remote_write_arrival){s->place, s->id};
}

static void drop_arrived(struct remote_write *w, const struct remote_write_arrived *arrived)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->count; i++) {
		if (!has_arrived(arrived, &w->all[i]))
			w->all[kept++] = w->all[i];
	}
	w->count = kept;
}

void remote_write_make(struct remote_write *w, const struct sink_batch *b, const struct remote_write_arrived *arrived)
{
	w->batch = b;
	w->count = w->lost = 0;
	buf_clear(&w->text);
	for (size_t i = 0; i < b->count; i++)
		add_row(w, i);
	if (!w->count)
		return;
	qsort(w->all, w->count, sizeof(*w->all), by_time);
	drop_repeated(w);
	if (arrived)
		drop_arrived(w, arrived);
}

size_t remote_write_lost(const struct remote_write *w)
{
	return w->lost;
}

size_t remote_write_count(const struct remote_write *w)
{
	return w->count;
}

const struct remote_write_sample *remote_write_at(const struct remote_write *w, size_t i)
{
	return &w->all[i];
}

size_t remote_write_request(const struct remote_write *w, size_t first, size_t max, size_t bytes_max, struct buf *out)
{
	size_t n = 0;
	buf_clear(out);
	for (; n < max && first + n < w->count; n++) {
		const struct remote_write_sample *s = &w->all[first + n];
		if (n && out->len + s->bytes > bytes_max)
			break;
		buf_put(out, w->text.data + s->at, s->bytes);
	}
	return n;
}

void remote_write_describe(struct remote_write *w, size_t i, struct buf *out)
{
	const struct remote_write_sample *s = &w->all[i];
	const struct sink_row *r = &w->batch->rows[s->row];
	char time[TIME_TEXT_MAX];
	size_t from = out->len;
	make_labels(w, r);
	set_metric(w, r->stream, s->function);
	buf_put(out, w->metric.data, w->metric.len);
	bool first = true;
	for (const struct prometheus_label *l = w->labels.all; l < w->labels.all + w->labels.count; l++) {
		if (l == w->name)
			continue;
		buf_printf(out, "%s%.*s=\"%.*s\"", first ? "{" : ",", (int)l->name.n, (const char *)l->name.p, (int)l->value.n,
		    (const char *)l->value.p);
		first = false;
	}
	for (size_t k = from; k < out->len; k++)
		out->data[k] = out->data[k] < ' ' || out->data[k] == 0x7f ? ' ' : out->data[k];
	time_format(r->row.end_ns, time);
	buf_printf(out, "%s at %s", first ? "" : "}", time);
}
