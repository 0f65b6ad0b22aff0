/* The sinks of a cluster, as /api/v1/sinks tells of them, for people. Pure. */
#ifndef WEIR_CTL_DELIVERIES_H
#define WEIR_CTL_DELIVERIES_H

#include "ctl/ctl.h"

/* A table, and below it the nodes that are not in it. */
void deliveries_put(const struct ctl *ctl, const json_t *answer, struct buf *out);

#endif
