/* What /api/v1/cluster tells, for people: nodes, groups (the meta group and the shards), what is wrong and what to do. Keys that an
 * older server does not send count as unknown. Pure. */
#ifndef WEIR_CTL_CLUSTER_H
#define WEIR_CTL_CLUSTER_H

#include "ctl/ctl.h"

/* The meta group first, then the shards; NULL where an old server does not tell of it. */
size_t cluster_group_count(const json_t *cluster);
const json_t *cluster_group_at(const json_t *cluster, size_t i);
/* HOST:PORT where a node's HTTP is reached from elsewhere, of one bound to every interface with the host of its `listen`; the caller's to
 * free. */
char *cluster_http_address(const json_t *node);
/* Tables; that of groups only where there is something to show: all of a few, of many those with something wrong. */
void cluster_put_nodes(const struct ctl *ctl, const json_t *cluster, struct buf *out);
void cluster_put_groups(const struct ctl *ctl, const json_t *cluster, struct buf *out);
/* Lines of the overview: which shards have no leader; how it stands, and what to do. */
void cluster_put_shards(const json_t *cluster, struct buf *out);
void cluster_put_health(const json_t *cluster, struct buf *out);

#endif
