/* View: what other threads may see of a node: group states, counters, readiness. The loop puts a copy in, readers take
 * from it; a mutex is held for a copy's time only. */
#ifndef WEIR_CLOUDD_VIEW_H
#define WEIR_CLOUDD_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/consensus.h"
#include "cloudd/ingress.h"
#include "cloudd/leader.h"
#include "cloudd/meta.h"
#include "cloudd/route.h"
#include "cloudd/spread.h"
#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"

#define VIEW_UNKNOWN_STREAMS_MAX 64 /* streams in the state but not in the topology that are shown by name */

/* Frames as the node itself counts them. */
struct node_counters {
	uint64_t frames_bad;        /* did not decode */
	uint64_t frames_version;    /* of a protocol or type not known here */
	uint64_t frames_unexpected; /* of no use here: a reply where none was asked for */
	uint64_t frames_refused;    /* from another cluster, or not from a node of this one */
	uint64_t frames_served;     /* queries and status asked by other nodes */
	uint64_t misrouted;         /* forwarded to us, and not ours either */
};

struct view_counters {
	struct node_counters node;
	struct ingress_counters ingress;
	struct route_counters route;
	struct leader_counters leader;
	struct consensus_counters consensus;
	struct meta_counters meta; /* on META_NODE */
	struct spread_counters spread;
	bool full;                 /* a disk has no room */
};

struct view;

struct view *view_new(const struct topology *t, const char *node_name);
void view_free(struct view *v);

/* The loop's. groups: copied. why: NULL when ready; copied. */
void view_put(struct view *v, const struct view_counters *counters, const struct msg_group_status *groups,
    size_t group_count, const char *why);
void view_put_cluster_id(struct view *v, const uint8_t id[CLUSTER_ID_BYTES]);

/* Any thread; as node_ready, node_groups, node_cluster_id, node_metrics say. */
bool view_ready(struct view *v, char **ret_why);
size_t view_groups(struct view *v, struct msg_group_status *out);
bool view_cluster_id(struct view *v, uint8_t ret_id[CLUSTER_ID_BYTES]);
void view_metrics(struct view *v, struct kv_txn *txn, struct buf *out);

#endif
