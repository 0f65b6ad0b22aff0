/* The meta group's entries that change the cluster map: TOPOLOGY, NODE, CUT, REVOKE.
 *
 * Each makes the next map of the one that is there, keeps it as STATE_MAP, and puts it into the queue that every shard takes,
 * among the advances. An edge that is no longer in the topology has its epoch raised (semantics.md 1.4). Internal to
 * cloudd/apply; `res` is filled but for group, index and kind. 0, or an error of kv, or WEIR_EVERSION: the map there cannot be read
 * by this program; a wrong entry is a verdict. */
#ifndef WEIR_CLOUDD_MAP_APPLY_H
#define WEIR_CLOUDD_MAP_APPLY_H

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/state.h"
#include "common/map.h"

/* t: the topology of the cluster's beginning, for the number of shards and the cluster's name. */
int map_apply(struct state *s, const struct topology *t, const struct entry *e, uint64_t index, struct apply_result *res);

/* The group's map in its state: in any transaction. WEIR_ENOTFOUND; the bytes live as the transaction's next write says. */
int map_record(struct kv_txn *txn, unsigned db, struct bytes *ret);
int map_record_put(struct state *s, struct bytes map);
/* Of map_decode: what stored bytes are, if they are no map. */
int map_record_error(int err);

#endif
