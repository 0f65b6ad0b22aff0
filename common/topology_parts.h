/* What the files of topology share among themselves, and nobody else uses. */
#ifndef WEIR_COMMON_TOPOLOGY_PARTS_H
#define WEIR_COMMON_TOPOLOGY_PARTS_H

#include "common/clock.h"
#include "common/conf.h"
#include "common/model.h"

#define DAY_NS (86400 * NS_PER_SEC)
#define DURATION_MAX_NS (36500 * DAY_NS) /* so that sums of two do not overflow */
#define TAG_BYTES_MAX 256                /* of a tag's name or a pattern */

/* The table of one item of `edges` (topology_edge.c) and of `streams` (topology_stream.c). */
extern const struct conf_schema topology_edge_schema;
extern const struct conf_schema topology_stream_schema;

/* What needs more than one place of the file (topology_check.c): names, addresses, folders, expected edges; fills in
 * what follows from it. */
void topology_check(struct conf *c, const struct conf_node *root, struct topology *t);

#endif
