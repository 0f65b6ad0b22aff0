/* What sinks have delivered of a shard's rows and its log has not been told of yet: gathered, so that one entry a second tells of all
 * sinks. Pure; the loop's. */
#ifndef WEIR_CLOUDD_SINK_PACE_H
#define WEIR_CLOUDD_SINK_PACE_H

#include <stddef.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "common/model.h"

#define SINK_PACE_NS (INT64_C(1000000000)) /* between two entries of a shard */
#define SINK_PACE_MAX (SINKS_MAX * 1024)   /* places that wait; more are not told of until they move again */

struct sink_pace_place;

/* A zeroed struct is empty. */
struct sink_pace {
	struct sink_pace_place *places; /* by (sink, stream, version) */
	size_t count, cap;
	size_t next; /* whose turn it is: those before have been told of since */
};

void sink_pace_free(struct sink_pace *p); /* back to empty */
/* Copies; a place that is not ahead of the one that waits is passed over. */
void sink_pace_add(struct sink_pace *p, const struct entry_place *place);
/* Those whose turn it is of all that wait, at most ENTRY_PLACES_MAX: they point into p, and live until its next change. Everyone has its
 * turn, however often others move. */
uint32_t sink_pace_first(const struct sink_pace *p, struct entry_place *ret_places);
/* So many of sink_pace_first() are proposed. */
void sink_pace_taken(struct sink_pace *p, uint32_t count);

#endif
