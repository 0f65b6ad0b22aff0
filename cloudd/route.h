/* Route: which node serves a request, and the requests that other nodes serve for us.
 *
 * A request that belongs to another node is sent there under a request id of our own; its reply is matched by that id
 * and goes back to who asked. Ids go up by one, so the waiting requests are a queue: an id is found by subtraction, and
 * the oldest times out first. A request that came from another cloud is never forwarded again. Where it can be known that no
 * answer will come (the group is led elsewhere now, the node has restarted), who asked is told at once and asks again.
 * Pure; on the loop thread. */
#ifndef WEIR_CLOUDD_ROUTE_H
#define WEIR_CLOUDD_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/origin.h"
#include "common/codec.h"
#include "common/model.h"

#define ROUTE_WAITING_MAX 32768
#define ROUTE_TIMEOUT_MS 3000

struct route;

struct route_io {
	void *arg;
	bool (*send_node)(void *arg, uint32_t node, const void *frame, size_t len);
	/* The answer of another node, or VERDICT_UNAVAILABLE where none came in time. */
	void (*answered)(void *arg, const struct origin *o, const struct answer *a);
};

struct route_counters {
	uint64_t forwarded, answered;
	uint64_t timeouts, unreachable, busy;
	uint64_t moved;     /* given up because another node leads, or the node restarted */
	uint64_t unmatched; /* replies to nothing that waits: late, doubled or foreign */
	uint64_t waiting;   /* gauge */
};

/* first_id: of the requests, random or from a clock, so that replies to an earlier start's requests do not match. */
struct route *route_new(const struct topology *t, const char *self_name, uint64_t first_id, const struct route_io *io);
void route_free(struct route *r);
void route_set_topology(struct route *r, const struct topology *t);
/* Forwards m (its req_id and from are replaced) for o. 0, or WEIR_EBUSY (too many wait), WEIR_ECLOSED (cannot be sent now): then
 * o is still the caller's to answer. */
int route_forward(struct route *r, uint32_t node, const struct msg *m, const struct origin *o, int64_t mono_ns);
/* A HELLO_, OPEN_, BATCH_, REPORT_, READMIT_, TOPOLOGY_ or REVOKE_REPLY of node `node`. */
void route_reply(struct route *r, uint32_t node, const struct msg *m);
/* Another node leads the group now (-1: none): what waits for the group at others is answered UNAVAILABLE. */
void route_group_led(struct route *r, uint32_t group, int node);
/* A node has lost what it was asked: what waits there is answered UNAVAILABLE. */
void route_node_restarted(struct route *r, uint32_t node);
void route_tick(struct route *r, int64_t mono_ns);
const struct route_counters *route_counters(const struct route *r);

#endif
