/* Rows of one stream, which come by windows, gathered into series, which is how Prometheus wants them. One thread. */
#ifndef WEIR_CLOUDD_REMOTE_SERIES_H
#define WEIR_CLOUDD_REMOTE_SERIES_H

#include "common/buf.h"
#include "common/prometheus_filter.h"
#include "common/query_args.h"
#include "common/rows.h"

#define REMOTE_METRICS_MAX (FUNCTIONS_MAX + 2) /* of one stream: its functions, another quantile, the sketch */
#define REMOTE_BYTES_MAX (64 * 1024 * 1024)    /* of memory of what is gathered for one request */

/* What becomes a metric: a function, or the sketch. */
struct remote_metric {
	char *name;
	char *function; /* its text; NULL: the sketch */
};

struct remote_series_options {
	struct prometheus_filter *filter;
	const struct remote_metric *metrics; /* whose names the filter takes; 1 to REMOTE_METRICS_MAX */
	size_t metric_count;
	int64_t start_ms, end_ms; /* of samples; both included */
	size_t *bytes;            /* gathered so far; of several streams together */
};

struct remote_series;

/* What the options point to outlives it. */
struct remote_series *remote_series_new(const struct remote_series_options *o);
void remote_series_free(struct remote_series *s);

/* Whether a stream with these tags can have a series that the filter takes. */
bool remote_series_possible(struct prometheus_filter *f, char *const *tags, size_t count);

/* A query_row_fn, arg being the series: takes the row in if the filter and the times do; never an open window. WEIR_ETOOBIG, WEIR_EINVAL: not an answer
 * for Prometheus, and remote_series_why() says why: too much of it; tags that become one label; groups that cannot be told
 * apart. Where two versions of the stream have a window with one end, the later version's counts. */
int remote_series_add(void *arg, const struct query_args *args, const struct partial_spec *spec, const struct row *row);
const char *remote_series_why(const struct remote_series *s);

/* Appends all series as elements of a QueryResult, in the order in which their groups came; returns how many samples. Once. */
uint64_t remote_series_put(struct remote_series *s, struct buf *out);

#endif
