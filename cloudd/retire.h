/* What versions leave that are RETIRED: kept for `retain` all the same, and no longer.
 *
 * `retain` is behind the stream's watermark (semantics.md 3.6, 4.1), and the close of a version stands still once it is done. So a
 * RETIRED one has an age, which takes the place of its close where that is later:
 *
 *     the stream lives on in another version    the highest close of any version that is or was in force
 *     the stream was removed                    where it was then, and on with the log's own clock: what its edges said last is the
 *                                               latest that is known of its event time, which may be years from anybody's clock
 *
 * Each version goes by the `retain` and rollups of its own definition. The age moves in steps (RETIRE_), so what is kept is kept a
 * little longer, never shorter. All that follows is the sweep's: rollup, deletion, revisions, intervals, groups, the outbox.
 *
 * A version that the map has dropped (MAP_VERSIONS_MAX) is answered no more: all its records go but its name and counts, which are part
 * of the ledger. Should its number come back it gets another id, and begins empty.
 *
 * Pure functions of the shard's log: all of it happens in ADVANCE, SWEEP and MAP entries, within the allowance of an entry. The log's
 * clock is the times of those entries, which come from clocks that jump: it never falls, and no entry moves it by more than
 * RETIRE_STEP_MAX_NS. While no stream of a cluster advances it stands still. */
#ifndef WEIR_CLOUDD_RETIRE_H
#define WEIR_CLOUDD_RETIRE_H

#include "cloudd/shard.h"
#include "cloudd/sweep.h"

#define RETIRE_PARTS 64 /* by another version's close: in steps of this part of the shortest `retain` ... */
#define RETIRE_PART_MAX_NS (INT64_C(3600) * 1000000000) /* ... but no longer ones; a slice at least */
#ifndef RETIRE_EVERY_NS /* by the log's clock: not more often. The simulator has its own */
#define RETIRE_EVERY_NS (INT64_C(60) * 1000000000)
#endif
#define RETIRE_STEP_MAX_NS (2 * RETIRE_EVERY_NS)

/* The shard is about to go by `next`: versions that are not in it lose their ids, and retire_turn() has something to do. */
int retire_dropped(struct shard *sh, const struct topology *next);
/* Goes on, within what the entry has left. 0 or an error of kv. */
int retire_turn(struct shard *sh, struct sweep_entry *e);
/* Records of dropped versions are left: a further entry should go on at once. */
bool retire_pending(const struct shard *sh);

#endif
