/* A window result as Prometheus has it: samples, and a native histogram of its sketch, at the window's end, when it is known. Pure. */
#ifndef WEIR_COMMON_PROMETHEUS_ROW_H
#define WEIR_COMMON_PROMETHEUS_ROW_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/codec_prometheus.h"
#include "common/rows.h"

/* The value of a function, as /api/v1/query gives it; false: there is none. */
bool prometheus_row_sample(const struct stream_conf *stream, const struct partial_spec *spec, const struct row *row,
    const struct function_conf *fn, struct prometheus_sample *ret_sample);
/* Appends the encoded histogram; false: the row has no sketch. Its sum is the row's where that is kept, or follows from its mean; else
 * NaN. */
bool prometheus_row_histogram(const struct partial_spec *spec, const struct row *row, struct buf *out);

#endif
