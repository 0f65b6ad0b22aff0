/* GET /api/v1/alerts: which groups of which alerts are pending or firing, gathered from the leaders of all shards. */
#ifndef WEIR_CLOUDD_ALERTS_API_H
#define WEIR_CLOUDD_ALERTS_API_H

#include "cloudd/gather.h"
#include "common/http.h"

#define ALERTS_LIMIT 1000      /* of one answer, unless `limit` says otherwise */
#define ALERTS_LIMIT_MAX 10000

/* Answers; blocks. g is pinned for the call. */
void alerts_api_get(struct gather *g, struct http_request *r);

#endif
