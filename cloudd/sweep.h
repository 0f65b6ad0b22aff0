/* The sweep: what follows from an advance, worked off in bounded pieces, the same on every replica.
 *
 * In this order, for each stream: outbox rows of windows that became final, then of windows that closed (once per group
 * with data; a window that is final when it closes has one row); revisions of windows that late partials changed; rollup
 * of what is older than its level's retain into the next, or its deletion; then what belongs to it: revisions, intervals,
 * groups, old outbox rows. Cursors live in STATE_ADVANCE; empty stretches of event time are stepped over by seeking.
 *
 * A pass goes over the windows up to a goal, taken when it begins, so that what was closed and what was final then is
 * one interval each. Dirty windows are looked at when closing has caught up, so a first row comes before a revision. */
#ifndef WEIR_CLOUDD_SWEEP_H
#define WEIR_CLOUDD_SWEEP_H

#include "cloudd/shard.h"

#define SWEEP_EXAMINED_MAX (10 * ENTRY_ROWS_MAX) /* records that one entry may look at */
#define OUTBOX_ROWS_MAX 1000000                  /* per stream and shard */
#define OUTBOX_AGE_MAX_NS (INT64_C(3600) * 1000000000) /* by the log's own clock */
#ifndef OUTBOX_CLOCK_STEP_MAX_NS /* the simulator has one of its own */
#define OUTBOX_CLOCK_STEP_MAX_NS (INT64_C(60) * 1000000000)
#endif
#define OUTBOX_CLOCK_EVERY_NS (INT64_C(1) * 1000000000)

/* What is left of an entry's allowance. */
struct sweep_budget {
	uint64_t rows, examined; /* used so far */
};

struct sweep_entry {
	uint64_t index;
	int64_t time_ns;
	struct sweep_budget used;
	bool stopped; /* the allowance ended before the work did */
};
/* Works on one stream, or on all in the order of the topology. 0 or an error of kv. */
int sweep_stream(struct shard *sh, struct shard_stream *s, struct sweep_entry *e);
int sweep_all(struct shard *sh, struct sweep_entry *e);
/* Work is left that a further entry should go on with at once; or windows are dirty. */
bool sweep_pending(const struct shard *sh);
bool sweep_dirty(const struct shard *sh);

/* STATE_OUTBOX's value. */
struct outbox_row {
	int64_t window_ns, time_ns;
	int64_t size_ns; /* the stream's window may be another by the time the row is read; 0: of an earlier build, which kept none */
	struct bytes group;
};
int outbox_row_decode(struct bytes value, struct outbox_row *ret);
/* STATE_REVISION's value: the revision, and the entry that raised it. */
int revision_decode(struct bytes value, uint64_t *ret_revision, uint64_t *ret_raised);

#endif
