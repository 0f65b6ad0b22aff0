/* The names that Weir's results have in Prometheus: for remote read and remote write alike. Pure.
 *
 *     weir:STREAM:FUNCTION{TAG="value"}     weir:speed:mean  weir:speed:p99  weir:speed:p99_9  weir:speed:distinct_site
 *     weir:STREAM{TAG="value"}              its quantile sketch, as a native histogram
 *
 * A colon is what Prometheus keeps for names of results, so that none of these is one that something exports. What a name cannot hold
 * becomes _ : different names may become one, which whoever makes them looks for. */
#ifndef WEIR_COMMON_PROMETHEUS_NAME_H
#define WEIR_COMMON_PROMETHEUS_NAME_H

#include "common/buf.h"
#include "common/codec_prometheus.h"
#include "common/model.h"

#define PROMETHEUS_METRIC_MAX (6 + NAME_MAX_BYTES + GROUP_KEY_MAX) /* bytes of a name that is looked for */

/* Appends the name. function: its text ("p99.9"); NULL: the sketch. */
void prometheus_metric_name(const char *stream, const char *function, struct buf *out);
/* Appends the label of a tag: [a-zA-Z_][a-zA-Z0-9_]*, never beginning with __ . */
void prometheus_label_name(const char *tag, struct buf *out);
/* Whether the name is that of the stream's function pN: its text ("p99.9") in ret, else false. */
bool prometheus_quantile_of(struct bytes name, const char *stream, char ret[16]);

/* By which series of remote write are told apart where each shard has a part of a group (what is over max_groups). */
#define PROMETHEUS_SHARD_LABEL "weir_shard"

struct prometheus_labels {
	struct prometheus_label all[BY_MAX + 1 + REMOTE_LABELS_MAX + 1]; /* ascending by name; without those whose value is "" */
	size_t count;
	struct buf text; /* which they point into */
};
/* The labels of a series, __name__ among them; values that are no UTF-8 become such. A struct that was used before is used again; at the end the
 * caller frees its text. */
void prometheus_labels_make(struct bytes metric, char *const *tags, const struct bytes *values, size_t count,
    struct prometheus_labels *labels);
/* Adds labels that none of them has the name of, REMOTE_LABELS_MAX + 1 at most after each prometheus_labels_make(); they point to the tags. */
void prometheus_labels_add(struct prometheus_labels *labels, const struct model_tag *more, size_t count);
/* Whether two of the tags become one label; which, in *ret_a and *ret_b. */
bool prometheus_labels_collide(char *const *tags, size_t count, size_t *ret_a, size_t *ret_b);

/* An event time in Prometheus' milliseconds: down. */
int64_t prometheus_ms(int64_t t_ns);

#endif
