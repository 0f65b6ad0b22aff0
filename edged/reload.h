/* What differs between two topologies for one edge. */
#ifndef WEIR_EDGED_RELOAD_H
#define WEIR_EDGED_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"

/* Appends the names of the parts that differ for this edge (by its name), ", " between them: nothing appended, nothing
 * differs. Part "edge": the edge itself is gone. Streams: the ones in force, whatever versions run beside them. */
void reload_differences(const struct topology *was, const struct topology *now, uint32_t edge, struct buf *out);
/* Of one cluster, as far as that can never change: name and number of shards. */
bool reload_same_cluster(const struct topology *a, const struct topology *b);

#endif
