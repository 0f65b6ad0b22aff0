/* What the gauges of a StatsD source stand at, so that steps (`+3`, `-3`) have something to start from. Pure.
 *
 * Bounded: a series beyond STATSD_GAUGES_MAX, or longer than STATSD_GAUGE_KEY_MAX, is not remembered, and steps of it are refused.
 * Where nothing is known of a gauge it starts at 0, as statsd has it. Nothing is ever forgotten: nobody says that a gauge has
 * ended.
 *
 * For the checkpoint: nothing until the first step of any gauge, as then it is needed by nobody; from then on all of them. */
#ifndef WEIR_EDGED_STATSD_GAUGES_H
#define WEIR_EDGED_STATSD_GAUGES_H

#include "common/buf.h"
#include "common/kv.h"
#include "edged/table.h"

#define STATSD_GAUGES_MAX 4096
#define STATSD_GAUGE_KEY_MAX 512 /* bytes */

struct statsd_gauge;

/* Zeroed, it is a valid empty one. */
struct statsd_gauges {
	struct table table;
	struct statsd_gauge **list; /* in the order of their first appearance */
	size_t count;
	bool stepped; /* there was a step */
};

void statsd_gauges_free(struct statsd_gauges *g); /* leaves an empty one */
void statsd_gauges_set(struct statsd_gauges *g, struct bytes series, double value);
/* False: it cannot be remembered. The sum may be infinite: then nothing changes. */
bool statsd_gauges_step(struct statsd_gauges *g, struct bytes series, double by, double *ret_value);

void statsd_gauges_encode(const struct statsd_gauges *g, struct buf *out);
/* Into an empty one. WEIR_EVERSION, WEIR_ETRUNCATED, WEIR_ECORRUPT: it is empty then. */
int statsd_gauges_decode(struct statsd_gauges *g, struct bytes raw);

#endif
