/* The topologies that groups' states go by: one per cluster map, parsed once and shared by the groups that have it. Maps are told
 * apart by their bytes. One thread. */
#ifndef WEIR_CLOUDD_TOPOLOGIES_H
#define WEIR_CLOUDD_TOPOLOGIES_H

#include "common/kv.h"
#include "common/model.h"

struct topologies;
struct topology_ref; /* counted: give it back */

/* path: of the daemon's own file, for messages. */
struct topologies *topologies_new(const char *path);
void topologies_free(struct topologies *ts); /* all are given back */
/* 0, or WEIR_ECORRUPT: these bytes are no map; WEIR_EVERSION: a map that this program cannot read, or whose text is no topology to it. */
int topologies_get(struct topologies *ts, struct bytes map, struct topology_ref **ret_ref);
void topologies_put(struct topologies *ts, struct topology_ref *ref); /* NULL is fine */
const struct topology *topology_of_ref(const struct topology_ref *ref);

#endif
