/* The sinks of a node: a thread for each sink of the topology in force, that delivers what its emitter (cloudd/emit.h) has, and tries
 * again where that fails: after SINKS_RETRY_MIN_NS, twice as long each time, up to SINKS_RETRY_MAX_NS, each time by a random part less,
 * so that nodes do not come all at once. Sinks know nothing of each other: one that is down, or slow, delays itself only.
 *
 * Changes of the topology: a sink that is gone, or changed, is told to stop; what takes its place begins when it has. */
#ifndef WEIR_CLOUDD_SINKS_H
#define WEIR_CLOUDD_SINKS_H

#include "cloudd/serve.h"
#include "cloudd/sink.h"

#define SINKS_POLL_NS (INT64_C(250) * 1000000)        /* between two looks where there was nothing */
#define SINKS_RETRY_MIN_NS (INT64_C(250) * 1000000)
#define SINKS_RETRY_MAX_NS (INT64_C(30) * 1000000000)
#define SINKS_MEASURE_NS (INT64_C(1000000000))        /* between two measures of lag and backlog */
#define SINKS_MEASURE_SHARE 20                        /* ... and so many times as long as one took: a long backlog costs no processor */
#define SINKS_MEASURE_MAX_NS (INT64_C(60) * 1000000000) /* ... but no longer: the process may have been stopped meanwhile */
#define SINKS_SAY_NS (INT64_C(60) * 1000000000)       /* between two lines of the log about one sink's failures, or rows refused */
#define SINKS_FAILURES_SAID_MAX 5                     /* ... lines about beginnings of failures meanwhile */

struct sinks;

struct sinks_options {
	const struct topology *topology;
	uint32_t self;
	struct serve *serve; /* outlive the sinks */
	struct node *node;
	struct progress *progress;
	void *arg;
	/* Both on sinks' threads; see emit.h and sink.h. */
	void (*places)(void *arg, uint32_t shard, const struct entry_place *places, size_t count);
	void (*say)(void *arg, bool warn, const char *text);
};

struct sinks *sinks_new(const struct sinks_options *o);
/* Tells all to stop, and waits for them (SINK_STOP_NS each, at the same time; progress_stop() first). */
void sinks_free(struct sinks *s);
/* Why this build has no sinks of that type; NULL: it has. Any thread. */
const char *sinks_missing(enum sink_type type);
/* Another topology is in force. Does not wait. One thread, as the next. */
void sinks_set_topology(struct sinks *s, const struct topology *t);
/* Now and then: what was told to stop and has is freed, what waited for that begins. */
void sinks_tick(struct sinks *s);
/* Appends what MSG_STATUS "sinks" is answered with: cloudd/sink_states.h. Any thread. */
void sinks_tell(struct sinks *s, struct buf *out);
/* Appends Prometheus text, weir_cloud_sink_... Any thread. */
void sinks_metrics(struct sinks *s, struct buf *out);

#endif
