/* Window results of one shard, merged from its partials when read (semantics.md 4): in one read transaction, in
 * (start, group) order, merging in (slice, group) order so that the bits are the same on every replica. */
#ifndef WEIR_CLOUDD_RESULT_H
#define WEIR_CLOUDD_RESULT_H

#include "common/kv.h"
#include "common/model.h"
#include "common/rows.h"

/* Records after which a reply ends with what rows it has, so that each is made in a bounded time; and groups of a window
 * that are merged at a time where they need a table. */
#define RESULT_EXAMINED_MAX 200000
#define RESULT_TABLE_MAX 2000

/* Appends an encoded rows reply. *ret_more: the limit of rows, bytes or records was reached; ask again after the last row.
 * deadline_ns: of clock_mono_ns(), or INT64_MAX: never, and no clock is read. WEIR_ETIMEOUT: not a row could be made before
 * it. WEIR_ECORRUPT: a stored record is bad (the shard must not answer). WEIR_EBUSY: a snapshot is being installed here. */
int result_query(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    const struct rows_spec *spec, int64_t deadline_ns, struct buf *out, bool *ret_more);

/* As of when the shard keeps what it has of the stream: its close, or the age of a RETIRED version where that is later
 * (retire.h); WATERMARK_NONE: all of it. Shards do not forget at the same moment: a window that one of them has given up lacks a part,
 * whatever the others still have of it. Errors as result_query's. */
int result_kept(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, int64_t *ret_kept_ns);

/* Rows of the outbox of `stream` after the cursor (*index, *n), evaluated as of now; moves the cursor to the last row
 * given, or to the end of what was scanned. *ret_reset: the cursor is older than the outbox, or of a shard that was
 * since made anew (rows then start with the oldest kept). *ret_gone (NULL: nobody asks): rows passed over as the shard does not keep their
 * windows any more. *index = UINT64_MAX on entry: only moves the cursor to the end. Errors as result_query's. */
int result_outbox(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream,
    uint64_t *index, uint32_t *n, uint32_t limit, struct buf *out, bool *ret_reset, uint64_t *ret_gone);

#endif
