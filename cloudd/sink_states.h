/* How the sinks of a cluster do: what each node tells of its own part, taken together, and the answer of /api/v1/sinks made of that. A
 * sink delivers from several nodes at a time; what waits or fails at one of them is the sink's. Pure. */
#ifndef WEIR_CLOUDD_SINK_STATES_H
#define WEIR_CLOUDD_SINK_STATES_H

#include "cloudd/sink.h"

/* Of one sink, at one node or at all that told of it. */
struct sink_figures {
	uint64_t rows, alerts;                 /* delivered since the nodes were started, or it was changed */
	uint64_t backlog_rows, backlog_alerts;
	int64_t lag_ns;
	int64_t failing_ns;                    /* 0: it does not fail */
	char why[SINK_WHY_MAX];                /* the last failure; "": it does not fail */
};

/* What a node tells of a sink. Appends: [count varint] and these are what MSG_STATUS "sinks" is answered with. */
void sink_figures_put(const char *name, const struct sink_figures *f, struct buf *out);

struct sink_state {
	struct sink_figures sum; /* of times the longest; why: where it has failed longest */
	uint64_t told_by;        /* nodes, a bit each */
	uint64_t failing_at;
};

/* Adds what a node told to `states`, one for each sink of the topology, zeroed at first. Sinks that this topology does not have are passed
 * over. WEIR_ETRUNCATED, WEIR_ECORRUPT: nothing was added. */
int sink_states_add(struct bytes raw, const struct topology *t, uint32_t node, struct sink_state *states);
/* unanswered: nodes, a bit each. */
void sink_states_json(const struct topology *t, const struct sink_state *states, uint64_t unanswered, struct buf *out);

#endif
