/* How far each sink has come in a shard's outboxes: records of STATE_SINK, one for each sink and version of a stream, moved by
 * ENTRY_SINK. Part of apply: pure; errors are those of common/kv. */
#ifndef WEIR_CLOUDD_SINK_PLACES_H
#define WEIR_CLOUDD_SINK_PLACES_H

#include "cloudd/entry.h"
#include "common/kv.h"
#include "common/model.h"

struct shard;

/* Rows of the outbox up to this one were delivered; {0, 0}: none yet. */
struct sink_place {
	uint64_t index;
	uint32_t n;
};
static inline bool sink_place_before(struct sink_place a, struct sink_place b)
{
	return a.index < b.index || (a.index == b.index && a.n < b.n);
}

/* The id, and in entries the version and name, of the place in a shard's events of alerts. */
#define SINK_PLACE_ALERTS 0
#define SINK_PLACE_ALERTS_NAME "alerts"

/* An entry at `index`. Passed over: places of sinks and versions of streams that the shard's map does not have, places that are not
 * ahead of what is there (a deposed leader's), and such as no outbox can have had when they were proposed. */
int sink_places_apply(struct shard *sh, const struct entry *e, uint64_t index);
/* The shard goes on by another map: what that does not have any more is forgotten. */
int sink_places_leave(struct shard *sh, const struct topology *next);

/* In any transaction. WEIR_ENOTFOUND: no place yet. */
int sink_place_read(struct kv_txn *txn, unsigned db, const char *sink, uint32_t id, struct sink_place *ret);
/* STATE_SINK's value; WEIR_ECORRUPT. */
int sink_place_decode(struct bytes value, struct sink_place *ret);

#endif
