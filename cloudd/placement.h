/* Placement: which nodes hold the replicas of each group, as the cluster map says it. Pure: what it gives follows from the
 * map alone, so each replica of the meta group makes the same of it, in apply.
 *
 * Nodes that take part (CLOUD_MEMBER) hold min(topology's replicas, such nodes) replicas of each group, no node more than one
 * more than another, and are preferred leaders (rank 0) of groups likewise. What is placed stays where it is, as far as that
 * goes. A LEAVING node's places go to others; a DEAD node's too, where there is a node without a replica of that group: else it
 * keeps its place, as the last one, for when it comes back. Where nobody takes part nothing is changed.
 *
 *     MEMBER --not heard for replace_after: DEAD--> DEAD --heard again: ALIVE--> MEMBER
 *     any --no longer in the topology (map_change)--> LEAVING --nothing is there any more: GONE--> GONE */
#ifndef WEIR_CLOUDD_PLACEMENT_H
#define WEIR_CLOUDD_PLACEMENT_H

#include <stdint.h>

#include "common/map.h"

/* Numbers are those of ENTRY_NODE on disk. */
enum node_event { NODE_EVENT_DEAD = 1, NODE_EVENT_ALIVE = 2, NODE_EVENT_GONE = 3 };

/* New places for all groups, in place; version stays (who changed the map counts it up). 0; WEIR_EINVAL: the map's text is no
 * topology for this program: nothing is changed. */
int placement_plan(struct cluster_map *m);
/* The same for a number of replicas, which the map's text says otherwise. */
void placement_spread(struct cluster_map *m, uint32_t replicas);
/* Something has become of a node: its state, and places. version + 1. WEIR_EINVAL: no such slot, or the event does not follow from
 * its state (DEAD of a MEMBER, ALIVE of a DEAD one, GONE of a LEAVING one that has no place): nothing is changed; also as
 * placement_plan(). */
int placement_node(struct cluster_map *m, uint32_t slot, enum node_event event);

#endif
