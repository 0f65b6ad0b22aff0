/* Readiness: why a node is not ready, for people: of its groups the least ready one, and how many are not. Pure. */
#ifndef WEIR_CLOUDD_READINESS_H
#define WEIR_CLOUDD_READINESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/consensus.h"
#include "common/buf.h"
#include "common/model.h"

/* "the meta group", "shard 3" */
void readiness_group_name(struct buf *out, uint32_t group);
/* "before entry 123 (kind 77, format 1), which is ...: upgrade cloudd on this node" */
void readiness_outdated(struct buf *out, const struct outdated *o);
/* groups: topology_groups(t) of them, by number; reachable: by node. Appends nothing when every group held and placed here
 * has a leader that can be reached, itself maybe. */
void readiness_text(const struct topology *t, const struct group_status *groups, const bool *reachable, struct buf *out);

#endif
