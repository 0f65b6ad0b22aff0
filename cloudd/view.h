/* View: what other threads may see of a node: group states, counters, readiness. The loop puts a copy in, readers take
 * from it; a mutex is held for a copy's time only. */
#ifndef WEIR_CLOUDD_VIEW_H
#define WEIR_CLOUDD_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/allow.h"
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

#define VIEW_FRESH_NS INT64_C(250000000) /* the loop puts a copy in more often; an older one says that the process was stopped */
#define VIEW_UNKNOWN_STREAMS_MAX 64 /* streams in the state but not in the topology that are shown by name */

/* Frames as the node itself counts them. */
struct node_counters {
	uint64_t frames_bad;        /* did not decode */
	uint64_t frames_version;    /* of a protocol or type not known here */
	uint64_t frames_unexpected; /* of no use here: a reply where none was asked for */
	uint64_t identity_refused[ALLOW_RESULTS]; /* who may not say what it said: cloudd/allow.h */
	uint64_t frames_refused;    /* from another cluster, or not from a node of this one */
	uint64_t frames_served;     /* queries and status asked by other nodes */
	uint64_t maps_bad;          /* cluster maps that cannot be used here */
	uint64_t maps_busy;         /* asked for too often, or by too many at once (cloudd/pace.h): told to ask again */
	uint64_t misrouted;         /* forwarded to us, and not ours either */
};

struct view_counters {
	struct node_counters node;
	struct ingress_counters ingress;
	struct route_counters route;
	struct leader_counters leader;
	struct consensus_counters consensus;
	struct meta_counters meta; /* where group 0 is held */
	struct spread_counters spread;
	bool full;                 /* a disk has no room */
	uint64_t replica;          /* this node's member number */
};

struct view;

struct view *view_new(const struct topology *t, uint32_t self);
void view_free(struct view *v);
void view_set_topology(struct view *v, const struct topology *t); /* the loop's */
/* The one in force now, held: the caller gives it back (topology_free). Any thread. */
const struct topology *view_topology(struct view *v);
/* Waits until the topology in force is of this map, or a later one, but no longer than ns. Any thread. */
void view_wait_map(struct view *v, uint64_t map_version, int64_t ns);

/* The loop's. statuses: of every group (topology_groups), by number, `leader` as consensus_leader() says; copied. why: NULL when
 * ready; copied. */
void view_put(struct view *v, const struct view_counters *counters, const struct group_status *statuses, const char *why);
/* The map that the topology is of, as bytes; the loop's. view_map: any thread; appended. */
void view_put_map(struct view *v, struct bytes map);
void view_map(struct view *v, struct buf *out);
void view_put_cluster_id(struct view *v, const uint8_t id[CLUSTER_ID_BYTES]);

/* Any thread; as node_ready, node_leader, node_unled_ns, node_serves, node_group_statuses, node_group_status, node_groups, node_cluster_id,
 * node_metrics say.
 *
 * In a copy that is older than VIEW_FRESH_NS `heard_ns`, where it is known, includes its age, on leaders too: a process that was stopped for a while
 * is not taken for one that has just heard from its leader. */
bool view_ready(struct view *v, char **ret_why);
/* Appends a line for each other node whose replicas have another state than those here, and nothing else. */
void view_notes(struct view *v, struct buf *out);
int view_leader(struct view *v, uint32_t group);
int64_t view_unled_ns(struct view *v, uint32_t group, bool *ret_cut_off);
bool view_serves(struct view *v, uint32_t group);
void view_group_statuses(struct view *v, struct group_status *out);
void view_group_status(struct view *v, uint32_t group, struct group_status *ret_status);
/* Of the groups held: names live as long as the view; `replicas` the caller's to free (each from malloc, or NULL); no digests. */
size_t view_groups(struct view *v, struct msg_group_status *out);
bool view_cluster_id(struct view *v, uint8_t ret_id[CLUSTER_ID_BYTES]);
void view_metrics(struct view *v, struct kv_txn *txn, struct buf *out);

#endif
