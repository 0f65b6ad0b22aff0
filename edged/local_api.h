/* GET /api/v1/query of an edge: what it still holds of a stream (local_query.h), as of a commit that came after the question.
 *
 *   request -> arguments checked -> waits for the next commit -> local_worker -> the answer
 *
 * On the loop. What is asked meanwhile of a topology that is gone is answered by it: each question holds its own. */
#ifndef WEIR_EDGED_LOCAL_API_H
#define WEIR_EDGED_LOCAL_API_H

#include "common/buf.h"
#include "common/http.h"
#include "common/kv.h"
#include "common/loop.h"
#include "common/model.h"
#include "edged/pipeline.h"

struct local_api;

int local_api_new(struct loop *l, struct kv *spool, struct local_api **ret_api);
/* Who still waits is told that this edge is busy. NULL is fine. */
void local_api_free(struct local_api *a);
/* Answers or defers r. True: it waits for a commit, which should come soon. */
bool local_api_ask(struct local_api *a, struct http_request *r, const struct topology *t, const struct edge_conf *edge,
    const struct pipeline *p);
/* A commit was made since, or there was no room for it. */
void local_api_committed(struct local_api *a, const struct pipeline *p);
/* As local_worker_hold and local_worker_go. */
void local_api_hold(struct local_api *a);
void local_api_go(struct local_api *a, struct kv *spool);
void local_api_put_metrics(const struct local_api *a, struct buf *out);

#endif
