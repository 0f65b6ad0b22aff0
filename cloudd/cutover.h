/* When a version of a stream takes over from the one before it, and when one is done with (common/map.h): what the leader of the
 * meta group proposes as ENTRY_CUT.
 *
 *     PENDING --each expected edge that is not partitioned has said since when: cut at T--> CURRENT
 *     CLOSING --final has reached the end of its last window----------------------------> RETIRED
 *     ENDED   --every edge has delivered what it had, and final has reached all of it----> RETIRED
 *
 * T is on map_boundary()'s grid, at or after every edge's since, that of edges which left meanwhile too, and after all that an earlier
 * version has closed: so no window is told of by two versions, or without what one of them has. Pure. */
#ifndef WEIR_CLOUDD_CUTOVER_H
#define WEIR_CLOUDD_CUTOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "common/model.h"

/* What is known of one expected edge and version: committed, or heard since. */
struct cutover_edge {
	enum edge_state state;
	bool since_known;       /* msg_report_stream: it feeds the version */
	int64_t since_ns;       /* also of one that has ended; WATERMARK_NONE: all there ever were, or not said */
	bool never_read;        /* it is heard, and has never read anything for this version */
	int64_t flushed_end_ns; /* or WATERMARK_NONE */
	bool ended;             /* it is heard, does not feed this version any more, and has delivered it: nothing more will come */
};

/* One version; edges as stream_conf.edges. */
struct cutover_stream {
	int64_t close_ns, final_ns; /* the highest proposed so far, whether committed yet or not; or WATERMARK_NONE */
	int64_t left_end_ns;        /* highest flushed_end_ns of edges that are expected no more, or WATERMARK_NONE */
	int64_t left_since_ns;      /* likewise since_ns */
	const struct cutover_edge *edges;
};

struct cutover_step {
	uint32_t stream; /* index in the topology */
	bool retire;     /* else: cut at t_ns */
	int64_t t_ns;    /* or WATERMARK_NONE: nothing was ever read */
};

/* What is due now: at most one step per version, in the topology's order. streams: t->stream_count of them; out has room for as
 * many. A step that was proposed is to be left out by the caller until it is applied or lost. */
size_t cutover_steps(const struct topology *t, const struct cutover_stream *streams, struct cutover_step *out);

#endif
