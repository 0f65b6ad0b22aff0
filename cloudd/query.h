/* A query: pages of rows from every shard, merged in (start, group, shard) order, evaluated and written as JSON while it
 * is read. Windows that one of the shards has forgotten are left out.
 *
 * Where pages come from is a struct query_source, so that merging is pure. At most one page per shard is in memory. Every page
 * of a linearizable query is linearizable, so that none is older than the one before it though another replica made it. */
#ifndef WEIR_CLOUDD_QUERY_H
#define WEIR_CLOUDD_QUERY_H

#include "common/buf.h"
#include "common/codec.h"
#include "common/query_args.h"

#define QUERY_PAGE_ROWS 2000
#define QUERY_REASON_MAX 200
#define QUERY_TIME_MAX_NS (30 * INT64_C(1000000000)) /* of waiting for pages; then the answer ends, with `next` */

struct query_page {
	struct buf rows;
	bool more;
	uint64_t behind_entries; /* not linearizable: committed entries that the rows may lack */
	int64_t age_ns;          /* ... and how long ago the replica heard from its leader, or AGE_UNKNOWN */
	int64_t kept_ns;         /* result_kept(); 0: not told, the close of its rows counts */
};

struct query_source {
	void *arg;
	/* Begins to fetch a page; several shards may be begun before the first is finished. Never NULL. The spec lives for
	 * the call. */
	void *(*start)(void *arg, uint32_t shard, const struct rows_spec *spec, bool linearizable);
	/* Ends what start began: waits, appends the encoded rows. 0, or an error with the reason written. */
	int (*finish)(void *arg, void *handle, struct query_page *page, char reason[QUERY_REASON_MAX]);
	/* Instead of finish: ends it without waiting. */
	void (*cancel)(void *arg, void *handle);
	/* A monotonic clock; NULL: an answer may take any time. */
	int64_t (*now_ns)(void *arg);
};

struct query;

/* Takes args (also on error) and gets the first page of each shard. The source's arg outlives the query. On error
 * *ret_error is filled: 503 unavailable. */
int query_open(const struct topology *t, const struct query_source *source, struct query_args *args,
    struct query **ret_query, struct query_error *ret_error);
/* For http_stream: appends the next piece of the answer: 1, at the end 0; negative: a shard is gone. */
int query_fill(void *query, struct buf *out);
/* Instead of query_fill: all rows of the answer, in their order, merged of all shards, each only for the call. 0; what fn returned where
 * that is not 0 (it tells why by itself); or an error of a shard, WEIR_ETIMEOUT (QUERY_TIME_MAX_NS), WEIR_ETOOBIG (more rows than the limit), each with the
 * reason written. */
typedef int query_row_fn(void *arg, const struct query_args *args, const struct partial_spec *spec, const struct row *row);
int query_each(struct query *q, query_row_fn *fn, void *arg, char reason[QUERY_REASON_MAX]);
void query_close(void *query);

#endif
