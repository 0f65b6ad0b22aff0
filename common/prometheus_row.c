#include "common/prometheus_row.h"

#include <math.h>
#include <stdlib.h>

#include "common/err.h"
#include "common/prometheus_name.h"
#include "common/row_value.h"

bool prometheus_row_sample(const struct stream_conf *stream, const struct partial_spec *spec, const struct row *row,
    const struct function_conf *fn, struct prometheus_sample *ret_sample)
{
	struct row_value x = row_value(stream, spec, row, fn);
	if (x.null)
		return false;
	*ret_sample = (struct prometheus_sample){prometheus_ms(row->end_ns), fn->fn == FN_DISTINCT ? round(x.v) : x.v};
	return true;
}

static double sum_of(const struct partial_spec *spec, const struct partial *p)
{
	double sum = spec->parts & PARTIAL_SUM ? p->sum : spec->parts & PARTIAL_MOMENTS ? p->mean * (double)p->count : (double)NAN;
	return isfinite(sum) ? sum : (double)NAN;
}

bool prometheus_row_histogram(const struct partial_spec *spec, const struct row *row, struct buf *out)
{
	const struct sketch_quantile *sketch = row->partial.quantile;
	if (!(spec->parts & PARTIAL_QUANTILE) || !sketch)
		return false;
	struct sketch_bucket *buckets = xcalloc(sketch_quantile_buckets(sketch) + 1, sizeof(*buckets));
	struct prometheus_histogram h = {.t_ms = prometheus_ms(row->end_ns),
	    .schema = sketch_quantile_scale(sketch),
	    .count = sketch_quantile_count(sketch),
	    .zero_count = sketch_quantile_zeros(sketch),
	    .sum = sum_of(spec, &row->partial)};
	h.positive = buckets;
	h.positive_count = sketch_quantile_list(sketch, false, buckets);
	h.negative = buckets + h.positive_count;
	h.negative_count = sketch_quantile_list(sketch, true, buckets + h.positive_count);
	prometheus_histogram_encode(&h, out);
	free(buckets);
	return true;
}
