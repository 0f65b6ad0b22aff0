/* The alerts of a node: one thread that goes round the shards led here, judges the windows that have closed (cloudd/alert_judge), and
 * hands what it found to the loop, which proposes it. What came of that is in the shard's state: nothing is remembered here, so a
 * leader that dies in any moment has told the log of it or not, and the next one finds the same.
 *
 * Sinks tell the world (cloudd/emit_alerts). */
#ifndef WEIR_CLOUDD_ALERTS_H
#define WEIR_CLOUDD_ALERTS_H

#include "cloudd/serve.h"

#define ALERTS_POLL_NS (INT64_C(100) * 1000000)   /* between two rounds */
#define ALERTS_RETRY_NS (INT64_C(2) * 1000000000) /* what was proposed and is not in the state after so long is found again */
#define ALERTS_TURN_NS (INT64_C(1000000000))      /* one shard's turn, but for the page of rows that goes over it */
#define ALERTS_MEASURE_NS (INT64_C(1000000000))

struct alerts;

struct alerts_options {
	struct serve *serve; /* outlive it, as all below */
	struct node *node;
	struct progress *progress;
	void *arg;
	/* An ENTRY_ALERT of the shard to propose, where it is led here; on the thread. */
	void (*propose)(void *arg, uint32_t shard, const struct entry *e);
};

/* NULL: there is no thread to be had. */
struct alerts *alerts_new(const struct alerts_options *o);
/* Waits for the page of rows that is under way (progress_stop() first). */
void alerts_free(struct alerts *a);
/* Appends Prometheus text, of the shards led here. Any thread. */
void alerts_metrics(struct alerts *a, struct buf *out);

#endif
