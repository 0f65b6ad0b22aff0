/* POST /api/v1/prometheus/read: remote read of Prometheus, version 1, answered with samples. Each query is asked of the streams whose names and
 * tags can match, as /api/v1/query would ask; docs/prometheus.md says what the series are. For threads that may block. */
#ifndef WEIR_CLOUDD_REMOTE_READ_H
#define WEIR_CLOUDD_REMOTE_READ_H

#include "cloudd/gather.h"
#include "common/http.h"

#define REMOTE_READ_PATH "/api/v1/prometheus/read"
#define REMOTE_READ_BODY_MAX (320 * 1024)                   /* PROMETHEUS_READ_MAX, where snappy finds nothing to shorten */
#define REMOTE_READS_MAX 4                                  /* at a time, each with up to REMOTE_BYTES_MAX of rows ... */
#define REMOTE_READS_WAITING_MAX 32                         /* ... so many more wait ... */
#define REMOTE_READ_WAIT_NS (5 * INT64_C(1000000000))       /* ... so long, before they are told to come again, as any further one is at once */
#define REMOTE_READ_TIME_NS (30 * INT64_C(1000000000))      /* for one, of all its streams; then no further stream or row is asked for */

struct remote_read; /* any thread */

struct remote_read *remote_read_new(const struct gather *gather); /* which outlives it */
void remote_read_free(struct remote_read *rr);
void remote_read_handle(struct remote_read *rr, struct http_request *r);
void remote_read_metrics(struct remote_read *rr, struct buf *out);

#endif
