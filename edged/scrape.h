/* What a scrape of Prometheus metrics becomes: lines of line protocol. Pure.
 *
 * A sample is a reading: measurement = name of the metric, field `value`, its labels as tags, and `instance` and `job`, which
 * say whom it was asked of; a label of these names that the exporter sends itself is called exported_instance, exported_job
 * (exported_exported_job, where it has that one, too), unless its own are honored. A label whose value is empty is none (in Prometheus, too). */
#ifndef WEIR_EDGED_SCRAPE_H
#define WEIR_EDGED_SCRAPE_H

#include "common/model.h"
#include "common/prom_text.h"

#define SCRAPE_REFUSED_NOT_FINITE "not_finite"

struct scrape {
	const struct scrape_conf *conf;
	const char *job, *instance;
	int64_t time_ns; /* of samples that bring none of their own */
	struct buf value, key; /* scratch */
};

void scrape_free(struct scrape *s); /* what it holds itself */
/* host:port of an URL of a topology, with the scheme's port where it names none; the caller's to free. */
char *scrape_instance(const char *url);
/* Whether a metric of this name is wanted. */
bool scrape_wants(const struct scrape_conf *conf, struct bytes name);
/* Why a sample is refused, as label; NULL: it is fine, and its line was appended. */
const char *scrape_put(struct scrape *s, const struct prom_sample *sample, struct buf *out);
/* The label of a line that is no sample. */
const char *scrape_refusal(enum prom_error e);
/* What a scrape says of itself: up, scrape_duration_seconds, scrape_samples_scraped. */
void scrape_put_own(struct scrape *s, bool up, double seconds, uint64_t samples, struct buf *out);

#endif
