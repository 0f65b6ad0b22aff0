/* The thread on which an edge answers questions about its own readings (local_query.h): a spool may hold a gigabyte, and the loop must
 * not wait for who goes through it.
 *
 *   loop: local_worker_give -> queue -> thread: one read transaction, merging, text -> loop: done()
 *
 * One job at a time, in their order; each has one read transaction, of LOCAL_TIME_MAX_NS at most, for while it lasts no page of the
 * spool that is freed can be used again. The thread yields to the others of its process: measuring goes before answering. */
#ifndef WEIR_EDGED_LOCAL_WORKER_H
#define WEIR_EDGED_LOCAL_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/loop.h"
#include "edged/local_query.h"

#define LOCAL_JOBS_MAX 8                           /* waiting, beside the one that is worked at */
#define LOCAL_TIME_MAX_NS (30 * INT64_C(1000000000)) /* of one transaction */

struct local_job {
	const struct topology *topology; /* held */
	struct local_query query;
	struct local_view view;          /* its watermarks belong to the job, and edge is the topology's */
	int64_t *watermark_ns;
	void *owner;                     /* done()'s */
	/* then: */
	int rc;                          /* 0, or WEIR_ETIMEOUT: it was more than LOCAL_TIME_MAX_NS; WEIR_EIO, WEIR_ECORRUPT, WEIR_EBUSY */
	struct buf answer;
	atomic_bool dropped;             /* nobody waits for it any more: set by local_worker_drop() */
	struct local_job *next;
};

struct local_worker;

/* A job with the question, which it takes over, and a hold of the topology. */
struct local_job *local_job_new(const struct topology *t, struct query_args *args);
void local_job_free(struct local_job *job);

/* done() gets each job back, on the loop's thread. WEIR_EIO: no thread, no descriptor. */
int local_worker_new(struct loop *l, struct kv *spool, void (*done)(void *arg, struct local_job *job), void *arg,
    struct local_worker **ret_worker);
/* Ends what is under way; done() gets all jobs that are left, with WEIR_EBUSY. NULL is fine. */
void local_worker_free(struct local_worker *w);
/* All on the loop's thread. WEIR_EBUSY: LOCAL_JOBS_MAX wait already, the job stays the caller's. */
int local_worker_give(struct local_worker *w, struct local_job *job);
/* It comes back soon, with any result. */
void local_worker_drop(struct local_job *job);
/* Nobody reads the spool from its return on, so it may be closed; what was under way begins again after local_worker_go(). Waits for
 * as long as a few hundred partials take. */
void local_worker_hold(struct local_worker *w);
void local_worker_go(struct local_worker *w, struct kv *spool);

#endif
