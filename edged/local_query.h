/* What this edge still holds of a stream, as the answer to a query: open slices and batches that no cloud has acknowledged, merged into
 * rows out of one read transaction of its spool, so as of its last commit.
 *
 *   SPOOL_MARK shard/N        which batches are kept (a rewriting that is under way leaves others: rewrite.h)
 *   SPOOL_MARK ledger/STREAM  how many readings should be here, and how many are the cloud's alone
 *   SPOOL_DELTA, SPOOL_BATCH  partials -> row_group_of -> row_table
 *
 * Batches lie in the order in which they were cut, not in that of their times. So every page of an answer goes through all of them, and
 * keeps the first rows that it comes upon in (start, group) order: memory is bounded by the rows of a page, time by what is held
 * (struct local_look says when to give up).
 *
 * An edge knows its own readings alone, so no window is ever final here: `provisional` where this edge has nothing more to add in
 * time, else `open`. Damaged records are counted, and no error.
 *
 * Pure: of the time it is told, the transaction is the caller's. */
#ifndef WEIR_EDGED_LOCAL_QUERY_H
#define WEIR_EDGED_LOCAL_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/query_args.h"
#include "common/row_table.h"

#define LOCAL_ROWS_MAX 10000                     /* of one page; `next` goes on */
#define LOCAL_TABLE_BYTES_MAX (16 * 1024 * 1024) /* of partials that are being merged */
#define LOCAL_ANSWER_BYTES_MAX (8 * 1024 * 1024) /* of rows as text */
#define LOCAL_LOOK_RECORDS 256                   /* partials between two looks */

/* Asked now and then whether to go on: 0, or the error that local_query_run is to end with. */
struct local_look {
	int (*look)(void *arg);
	void *arg;
};

/* Of the stream, all its versions, at the moment of the transaction; but batches, slices, oldest: of the versions asked for. */
struct local_held {
	uint64_t readings;     /* counted in here and not acknowledged by a cloud */
	uint64_t acknowledged; /* gone from here */
	uint64_t batches;      /* that hold some of it */
	uint64_t slices;       /* partials of open slices */
	uint64_t unreadable;   /* records, of whatever stream, that do not read: what they hold is missing */
	int64_t oldest_ns;     /* start of the earliest slice of it here; INT64_MAX: there is nothing */
};

struct local_query {
	const struct topology *topology;
	struct query_args args;
	struct partial_spec *specs; /* by version */
	struct row_table table;
	struct local_held held;
	uint64_t taken;             /* readings that the ledger has as aggregated, in that transaction */
};

/* What the rows are judged by. */
struct local_view {
	const char *edge;
	const int64_t *watermark_ns; /* by version of the question: windows that end by then get nothing more that is in time; INT64_MAX: none does */
	bool idle;                   /* no source has anything to say at present */
	uint64_t aggregated;         /* readings of the stream that this edge had when it was asked: what of it no commit held yet is told */
};

/* Takes args over. The topology, which they point into, outlives it. */
void local_query_init(struct local_query *q, const struct topology *t, struct query_args *args);
void local_query_clear(struct local_query *q);
/* Goes through all that is held. Once, between init and put; or again after an error, from the start. WEIR_EIO, WEIR_ECORRUPT (the
 * tree of the spool itself), what look() said. */
int local_query_run(struct local_query *q, struct kv_txn *txn, const struct local_look *look);
/* Appends the answer, a page of it. After a run that ended well. */
void local_query_put(struct local_query *q, const struct local_view *view, struct buf *out);

#endif
