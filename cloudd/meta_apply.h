/* The meta group's entries: CREATE, CLAIM, READMIT, CLOSE, TAKEN; TOPOLOGY, NODE, CUT and REVOKE are cloudd/map_apply's.
 *
 * Rules: semantics.md 1.2, 1.3, 3.3, 3.4. Internal to cloudd/apply. `res` is filled but for group, index and kind. 0, or
 * an error of kv; a wrong entry is a verdict.
 *
 * The advance queue holds one record per (entry, stream) until every shard has taken it. A newer advance of a stream
 * replaces the queued one where both list the same edges as idle and partitioned: a shard that skips the older one
 * makes of both the interval that it would have made of them one by one. */
#ifndef WEIR_CLOUDD_META_APPLY_H
#define WEIR_CLOUDD_META_APPLY_H

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/state.h"

/* Records of the queue; above it the oldest one that has a successor is dropped: a shard that far behind keeps coarser
 * completeness, and close and final all the same. */
#define ADVANCE_QUEUE_MAX 10000

/* For cloudd/map_apply. A map in the queue is never replaced or dropped: each shard takes it. */
int meta_queue_map(struct state *s, uint64_t meta_index, struct bytes map);
/* The edge is not in the topology any more: no holder of its name is admitted with what it has. Its record stays; *ret_epoch: as it is
 * now; 0: it never had one. */
int meta_remove_edge(struct state *s, const char *name, uint64_t *ret_epoch);
/* The stream's version is not in the map any more. */
int meta_forget_close(struct state *s, const char *stream, uint32_t version);

/* STATE_META_EDGE. */
enum meta_edge_flag {
	META_EDGE_READMIT = 1, /* asked for, not taken yet */
	META_EDGE_RESUMED = 2, /* what the last grant said */
	META_EDGE_READMITTED = 4,
	META_EDGE_ALL_FLAGS = 7,
};

struct meta_edge_record {
	uint64_t epoch; /* 0: never granted */
	uint8_t claim[CLAIM_BYTES];
	uint8_t first_claim[CLAIM_BYTES]; /* of the present spool, when it was new: until a grant it has no other */
	unsigned flags;
};
int meta_edge_decode(struct bytes value, struct meta_edge_record *ret); /* WEIR_ECORRUPT */

/* The closes of *e are changed to what was stored: none of their values ever falls. */
int meta_apply(struct state *s, const struct topology *t, struct entry *e, uint64_t index, struct apply_result *res);

#endif
