/* Completeness of windows (semantics.md 4.2): which edges have contributed, kept as intervals of advances.
 *
 * An advance of close from c0 to c1 closes the windows that end in (c0, c1]; the interval keeps the edges that were idle,
 * partitioned or catching up then (catching up counts as partitioned). Adjacent intervals with the same list are one.
 * Later, when an edge's watermark has passed the window's end after all, it counts as contributed. */
#ifndef WEIR_CLOUDD_COMPLETENESS_H
#define WEIR_CLOUDD_COMPLETENESS_H

#include "cloudd/entry.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/model.h"
#include "common/rows.h"

/* Intervals kept of one stream in one shard; above it the oldest two become one, with the worse of both per edge. */
#define COMPLETENESS_INTERVALS_MAX 100000

/* What an interval keeps of a close: [expected varint][count varint], then per edge [name][1: partitioned u8]. Equal
 * lists give equal bytes. */
void completeness_list(const struct entry_close *c, struct buf *out);

/* close moved from c0 (or WATERMARK_NONE) to c->close_ns. *intervals counts them. 0 or an error of kv. */
int completeness_add(struct state *s, uint32_t id, int64_t c0, const struct entry_close *c, uint64_t *intervals);
/* Deletes intervals that end at or before `horizon`, at most `max`; *ret_deleted counts. */
int completeness_trim(struct state *s, uint32_t id, int64_t horizon_ns, uint64_t max, uint64_t *intervals,
    uint64_t *ret_deleted);

/* Whether an edge feeds the version only since after `start_ns`, and the window was not final when that became known. own: as below. */
bool completeness_elsewhere(const struct entry_close *now, bool own, int64_t start_ns, int64_t end_ns);

/* The window [start, end). `now`: the shard's last advance of the stream, or NULL before the first: then all edges that
 * the topology expects are missing. own: it is one of the stream's windows; else the worst of its parts is told. Names
 * point into the transaction's memory, `now` or the topology. An edge that has been feeding this version since after the window's
 * start has what came before in another one: it is missing here, for good (elsewhere). */
int completeness_of(struct kv_txn *txn, unsigned db, uint32_t id, const struct topology *t,
    const struct stream_conf *stream, const struct entry_close *now, bool own, int64_t start_ns, int64_t end_ns,
    struct rows_edges *ret);

#endif
