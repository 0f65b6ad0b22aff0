/* The answer of /api/v1/cluster: what the nodes that answered say of themselves and of each other, put together. Pure. */
#ifndef WEIR_CLOUDD_CLUSTER_JSON_H
#define WEIR_CLOUDD_CLUSTER_JSON_H

#include "cloudd/gather.h"

/* asked: the node whose answer it is. all: one for each node. id: CLUSTER_ID_BYTES, or NULL: not known. */
void cluster_json_put(const struct topology *t, const char *asked, const uint8_t *id, const struct gather_status *all,
    struct buf *out);

#endif
