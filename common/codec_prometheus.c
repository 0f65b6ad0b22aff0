#include "common/codec_prometheus.h"

#include <stdlib.h>

#include "common/codec_arena.h"
#include "common/err.h"
#include "proto/prometheus.pb-c.h"

#define ELEMENT 0x0a /* field 1, with a length */

static struct bytes taken(ProtobufCBinaryData b)
{
	return bytes_of(b.data, b.len);
}

static ProtobufCBinaryData given(struct bytes b)
{
	return (ProtobufCBinaryData){b.n, (uint8_t *)(uintptr_t)b.p}; /* packing only reads it */
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static int take_matchers(struct arena *a, const Prometheus__Query *q, struct prometheus_query *ret)
{
	ret->matchers = arena_alloc(a, (q->n_matchers + 1) * sizeof(*ret->matchers));
	if (q->n_matchers > PROMETHEUS_MATCHERS_MAX || !ret->matchers)
		return WEIR_ETOOBIG;
	for (size_t i = 0; i < q->n_matchers; i++) {
		const Prometheus__LabelMatcher *m = q->matchers[i];
		if ((unsigned)m->type > PROMETHEUS_NRE)
			return WEIR_ECORRUPT;
		ret->matchers[i] = (struct prometheus_matcher){(enum prometheus_match)m->type, taken(m->name), taken(m->value)};
	}
	ret->matcher_count = q->n_matchers;
	ret->start_ms = q->start_timestamp_ms;
	ret->end_ms = q->end_timestamp_ms;
	return 0;
}

/* Who names no kind of answer takes samples. */
static bool takes_samples(const Prometheus__ReadRequest *r)
{
	bool takes = !r->n_accepted_response_types;
	for (size_t i = 0; i < r->n_accepted_response_types; i++)
		takes |= r->accepted_response_types[i] == PROMETHEUS__RESPONSE_TYPE__SAMPLES;
	return takes;
}

static int take_read(struct arena *a, const Prometheus__ReadRequest *r, struct prometheus_read *ret)
{
	ret->queries = arena_alloc(a, (r->n_queries + 1) * sizeof(*ret->queries));
	if (r->n_queries > PROMETHEUS_QUERIES_MAX || !ret->queries)
		return WEIR_ETOOBIG;
	int rc = 0;
	for (size_t i = 0; i < r->n_queries && !rc; i++)
		rc = take_matchers(a, r->queries[i], &ret->queries[i]);
	ret->query_count = r->n_queries;
	ret->samples = takes_samples(r);
	return rc;
}

int prometheus_read_decode(struct bytes raw, struct prometheus_read *ret)
{
	if (raw.n > PROMETHEUS_READ_MAX)
		return WEIR_ETOOBIG;
	struct arena *a = arena_new(PROMETHEUS_DECODED_MAX, raw.n);
	ProtobufCAllocator allocator = arena_allocator(a);
	struct prometheus_read r = {.decoded = a};
	const Prometheus__ReadRequest *pb = prometheus__read_request__unpack(&allocator, raw.n, raw.n ? raw.p : (const uint8_t *)"");
	int rc = pb ? take_read(a, pb, &r) : a->over ? WEIR_ETOOBIG : WEIR_ECORRUPT;
	if (rc)
		arena_free(a);
	else
		*ret = r;
	return rc;
}

void prometheus_read_clear(struct prometheus_read *r)
{
	arena_free(r->decoded);
	*r = (struct prometheus_read){0};
}

static void put_query(const struct prometheus_query *q, struct buf *out)
{
	Prometheus__LabelMatcher all[PROMETHEUS_MATCHERS_MAX], *pointers[PROMETHEUS_MATCHERS_MAX];
	weir_assert(q->matcher_count <= PROMETHEUS_MATCHERS_MAX);
	for (size_t i = 0; i < q->matcher_count; i++) {
		prometheus__label_matcher__init(&all[i]);
		all[i].type = (Prometheus__MatchType)q->matchers[i].type;
		all[i].name = given(q->matchers[i].name);
		all[i].value = given(q->matchers[i].value);
		pointers[i] = &all[i];
	}
	Prometheus__Query pb = PROMETHEUS__QUERY__INIT;
	pb.start_timestamp_ms = q->start_ms;
	pb.end_timestamp_ms = q->end_ms;
	pb.n_matchers = q->matcher_count;
	pb.matchers = pointers;
	size_t n = prometheus__query__get_packed_size(&pb);
	buf_u8(out, ELEMENT);
	buf_varint(out, n);
	out->len += prometheus__query__pack(&pb, buf_reserve(out, n));
}

void prometheus_read_encode(const struct prometheus_read *r, struct buf *out)
{
	for (size_t i = 0; i < r->query_count; i++)
		put_query(&r->queries[i], out);
	Prometheus__ResponseType type = r->samples ? PROMETHEUS__RESPONSE_TYPE__SAMPLES : PROMETHEUS__RESPONSE_TYPE__STREAMED_XOR_CHUNKS;
	Prometheus__ReadRequest pb = PROMETHEUS__READ_REQUEST__INIT;
	pb.n_accepted_response_types = 1;
	pb.accepted_response_types = &type;
	out->len += prometheus__read_request__pack(&pb, buf_reserve(out, prometheus__read_request__get_packed_size(&pb)));
}

/* ---- histograms -------------------------------------------------------------------------------------------------- */

/* The buckets of one sign as the message has them: spans of neighbours, and each count less the one before. */
struct side {
	Prometheus__BucketSpan *spans, **pointers;
	int64_t *deltas;
	size_t span_count, delta_count;
};

static void side_make(const struct sketch_bucket *buckets, size_t n, struct side *ret)
{
	*ret = (struct side){.spans = xcalloc(n + 1, sizeof(*ret->spans)),
	    .pointers = xcalloc(n + 1, sizeof(*ret->pointers)),
	    .deltas = xcalloc(n + 1, sizeof(*ret->deltas)),
	    .delta_count = n};
	for (size_t i = 0; i < n; i++) {
		int32_t after = i ? buckets[i - 1].index + 1 : 0;
		weir_assert(!i || buckets[i].index >= after);
		if (!i || buckets[i].index > after) {
			Prometheus__BucketSpan *span = &ret->spans[ret->span_count];
			prometheus__bucket_span__init(span);
			span->offset = buckets[i].index - after;
			ret->pointers[ret->span_count++] = span;
		}
		ret->spans[ret->span_count - 1].length++;
		ret->deltas[i] = (int64_t)(buckets[i].count - (i ? buckets[i - 1].count : 0));
	}
}

static void side_free(struct side *s)
{
	free(s->spans);
	free(s->pointers);
	free(s->deltas);
}

void prometheus_histogram_encode(const struct prometheus_histogram *h, struct buf *out)
{
	struct side positive, negative;
	side_make(h->positive, h->positive_count, &positive);
	side_make(h->negative, h->negative_count, &negative);
	Prometheus__Histogram pb = PROMETHEUS__HISTOGRAM__INIT;
	pb.count_case = PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT;
	pb.count_int = h->count;
	pb.sum = h->sum;
	pb.schema = h->schema;
	pb.zero_count_case = PROMETHEUS__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT;
	pb.zero_count_int = h->zero_count;
	pb.n_positive_spans = positive.span_count;
	pb.positive_spans = positive.pointers;
	pb.n_positive_deltas = positive.delta_count;
	pb.positive_deltas = positive.deltas;
	pb.n_negative_spans = negative.span_count;
	pb.negative_spans = negative.pointers;
	pb.n_negative_deltas = negative.delta_count;
	pb.negative_deltas = negative.deltas;
	pb.reset_hint = PROMETHEUS__RESET_HINT__GAUGE;
	pb.timestamp = h->t_ms;
	out->len += prometheus__histogram__pack(&pb, buf_reserve(out, prometheus__histogram__get_packed_size(&pb)));
	side_free(&positive);
	side_free(&negative);
}

/* ---- series ------------------------------------------------------------------------------------------------------ */

static void *pointers_to(void *all, size_t n, size_t size)
{
	void **pointers = xcalloc(n + 1, sizeof(*pointers));
	for (size_t i = 0; i < n; i++)
		pointers[i] = (char *)all + i * size;
	return pointers;
}

static Prometheus__Label *make_labels(const struct prometheus_series *s)
{
	Prometheus__Label *all = xcalloc(s->label_count + 1, sizeof(*all));
	for (size_t i = 0; i < s->label_count; i++) {
		prometheus__label__init(&all[i]);
		all[i].name = given(s->labels[i].name);
		all[i].value = given(s->labels[i].value);
	}
	return all;
}

static Prometheus__Sample *make_samples(const struct prometheus_series *s)
{
	Prometheus__Sample *all = xcalloc(s->sample_count + 1, sizeof(*all));
	for (size_t i = 0; i < s->sample_count; i++) {
		prometheus__sample__init(&all[i]);
		all[i].timestamp = s->samples[i].t_ms;
		all[i].value = s->samples[i].value;
	}
	return all;
}

static ProtobufCBinaryData *make_histograms(const struct prometheus_series *s)
{
	ProtobufCBinaryData *all = xcalloc(s->histogram_count + 1, sizeof(*all));
	for (size_t i = 0; i < s->histogram_count; i++)
		all[i] = given(s->histograms[i]);
	return all;
}

void prometheus_series_put(const struct prometheus_series *s, struct buf *out)
{
	Prometheus__TimeSeries pb = PROMETHEUS__TIME_SERIES__INIT;
	Prometheus__Label *labels = make_labels(s);
	Prometheus__Sample *samples = make_samples(s);
	pb.n_labels = s->label_count;
	pb.labels = pointers_to(labels, s->label_count, sizeof(*labels));
	pb.n_samples = s->sample_count;
	pb.samples = pointers_to(samples, s->sample_count, sizeof(*samples));
	pb.n_histograms = s->histogram_count;
	pb.histograms = make_histograms(s);
	size_t n = prometheus__time_series__get_packed_size(&pb);
	buf_u8(out, ELEMENT);
	buf_varint(out, n);
	out->len += prometheus__time_series__pack(&pb, buf_reserve(out, n));
	free(labels);
	free(samples);
	free(pb.labels);
	free(pb.samples);
	free(pb.histograms);
}

void prometheus_result_put(struct bytes result, struct buf *out)
{
	buf_u8(out, ELEMENT);
	buf_bytes(out, result.p, result.n);
}
