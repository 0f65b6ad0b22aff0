/* How the sinks of a cluster do. Each node tells in its /metrics of what it delivers itself; here that is taken together: a sink delivers
 * from several nodes at a time, and what waits or fails at one of them is the sink's. */
#ifndef WEIR_CTL_DELIVERIES_H
#define WEIR_CTL_DELIVERIES_H

#include "ctl/ctl.h"

/* Adds what one node's /metrics tell to an array of {"name", "type", "state": "delivers" | "failing", "rows", "alerts", "backlog_rows",
 * "backlog_alerts", "lag_s", "failing_s", "failing_at": [node]}. Pure. */
void deliveries_take(json_t *sinks, const char *node, const char *metrics);
/* Asks the node that ctl asks, and, where there are sinks, the others of /api/v1/cluster that are up: those that do not answer are left
 * out. Never NULL; the caller's. */
json_t *deliveries_ask(struct ctl *ctl, const json_t *cluster);
/* A table. Pure. */
void deliveries_put(const struct ctl *ctl, const json_t *sinks, struct buf *out);

#endif
