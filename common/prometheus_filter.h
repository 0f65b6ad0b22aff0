/* The matchers of one question of Prometheus, made ready to be asked of many series. A label that a series does not have is "" to
 * them. Pure; one thread. */
#ifndef WEIR_COMMON_PROMETHEUS_FILTER_H
#define WEIR_COMMON_PROMETHEUS_FILTER_H

#include "common/codec_prometheus.h"

#define PROMETHEUS_STEPS_MAX UINT64_C(500000000) /* of all regular expressions, for one request: some seconds */
#define PROMETHEUS_PROGRAM_MAX 65536             /* steps that those of one question may have together: some MiB of memory */
#define PROMETHEUS_WHY_MAX 256

struct prometheus_filter;

/* WEIR_EINVAL, and why: an expression is none, or is more than common/regex knows, or all are too large together. *left falls by the steps
 * that matching takes, down to 0: PROMETHEUS_STEPS_MAX, of several questions together. It and the question outlive the filter. */
int prometheus_filter_new(const struct prometheus_query *q, uint64_t *left, struct prometheus_filter **ret_filter,
    char ret_why[PROMETHEUS_WHY_MAX]);
void prometheus_filter_free(struct prometheus_filter *f); /* NULL is fine */

/* Whether all matchers of the label are content with the value. */
bool prometheus_filter_takes(struct prometheus_filter *f, struct bytes label, struct bytes value);
/* Whether all matchers of labels that are not among these are content with "". */
bool prometheus_filter_takes_none(struct prometheus_filter *f, const struct bytes *labels, size_t count);
/* The value that a matcher asks for by =; false: none does. */
bool prometheus_filter_equals(const struct prometheus_filter *f, struct bytes label, struct bytes *ret_value);
/* No steps are left: what it says no longer counts. */
bool prometheus_filter_spent(const struct prometheus_filter *f);

#endif
