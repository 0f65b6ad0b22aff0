/* Peers: what a node knows of the other nodes of its topology from what they say: whether they can be reached, whether they
 * have restarted, and whether their data are of the same cluster.
 *
 * A node asks all others with MSG_INFO under one request id for the whole of its start; so another id in its questions
 * tells that it has restarted, and a reply under ours that it was made in this start. Pure; on the loop thread. */
#ifndef WEIR_CLOUDD_PEERS_H
#define WEIR_CLOUDD_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model.h"

#define PEERS_REACHABLE_MS 3000   /* answered so lately: can be reached, both ways */
#define PEERS_ASK_MS 500          /* while anything is unsettled */
#define PEERS_ASK_SETTLED_MS 1000

enum peer_cluster { PEER_CLUSTER_UNKNOWN, PEER_CLUSTER_SAME, PEER_CLUSTER_OTHER };

struct peers;

struct peers *peers_new(const struct topology *t, uint32_t self);
void peers_free(struct peers *p);
/* Nodes that are gone are forgotten; new ones are unknown, also at a place that another one had. */
void peers_set_topology(struct peers *p, const struct topology *t);
/* It asked under this id. True: it has restarted since it was heard first. */
bool peers_asked(struct peers *p, uint32_t node, uint64_t req_id);
/* It answered a question of this start. */
void peers_answered(struct peers *p, uint32_t node, int64_t mono_ns);
/* It answered anything else that it was asked. */
void peers_replied(struct peers *p, uint32_t node, int64_t mono_ns);
void peers_cluster(struct peers *p, uint32_t node, enum peer_cluster cluster);

/* Monotonic: when it said last in this start that it is a node of this cluster (peers_answered); 0: not yet. Who refuses what it is asked,
 * as it cannot go on, or has another cluster's data now, is not there for that. */
int64_t peers_heard_ns(const struct peers *p, uint32_t node);
/* Ourselves: always. */
bool peers_reachable(const struct peers *p, uint32_t node, int64_t mono_ns);
bool peers_all_answered(const struct peers *p);
/* Its data are of another cluster. */
bool peers_is_other(const struct peers *p, uint32_t node);
/* A node whose data are of another cluster, while none was found that shares ours; -1: none. */
int peers_foreign(const struct peers *p);

#endif
