/* Ingress: the part of a cloudd that edges talk to. Checks a decoded request (cluster, sender, edge, session, credit)
 * before anything is asked of a shard, and sends the answers.
 *
 * A session is one route of the ROUTER. It exists from the first good request of an edge until it is silent for
 * INGRESS_IDLE_MS, or its edge talks through another one, with nothing in flight; nothing depends on it but the credit:
 * the bytes of batches that an edge may have unanswered. What is over twice the credit is answered BUSY, so a client that ignores it costs no memory.
 *
 * Requests forwarded by another cloud have no session and no credit here; the node that the edge talks to keeps both.
 * Pure; on the loop thread. */
#ifndef WEIR_CLOUDD_INGRESS_H
#define WEIR_CLOUDD_INGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/origin.h"
#include "common/codec.h"
#include "common/model.h"

#define INGRESS_SESSIONS_MAX 20000
#define INGRESS_IDLE_MS 60000
#define INGRESS_CREDIT_MAX (4 * 1024 * 1024)      /* bytes, of one session */
#define INGRESS_CREDIT_MIN (256 * 1024)
#define INGRESS_BYTES_MAX (256 * 1024 * 1024)     /* in flight, of all sessions */

struct ingress;

struct ingress_io {
	void *arg;
	bool (*reply)(void *arg, struct bytes route, const void *frame, size_t len);
};

struct ingress_counters {
	uint64_t frames;             /* requests of edges, decoded */
	uint64_t refused_cluster;    /* foreign cluster id or name */
	uint64_t refused_edge;       /* not in the topology, or another sender's name */
	uint64_t refused_route;      /* routing id too long */
	uint64_t busy;               /* over the credit, or too many sessions */
	uint64_t replies, replies_lost;
	uint64_t sessions, in_flight_bytes; /* gauges */
};

struct ingress *ingress_new(const struct topology *t, const char *self_name,
    const struct ingress_io *io);
void ingress_free(struct ingress *in);
/* Another topology from now on: edges keep their indexes (common/map.h). It outlives its use here. */
void ingress_set_topology(struct ingress *in, const struct topology *t);
void ingress_set_cluster_id(struct ingress *in, const uint8_t id[CLUSTER_ID_BYTES]);

/* A HELLO, OPEN, BATCH or REPORT. True: go on with *ret_origin, which must be answered once. False: it was answered
 * or dropped here, and counted. */
bool ingress_accept(struct ingress *in, struct bytes route, const struct msg *m, int64_t mono_ns,
    struct origin *ret_origin);
/* Answers a HELLO, OPEN, BATCH or REPORT in its own words that it is refused, whoever sent it; nothing else is looked at. */
void ingress_refuse(struct ingress *in, struct bytes route, const struct msg *m, const char *reason);
/* The origin of a request of another cloud, or false (routing id too long). No edge, no session. */
bool ingress_origin(struct ingress *in, struct bytes route, const struct msg *m, struct origin *ret_origin);
/* Answers what came through the ROUTER, and takes its bytes off the session's account. Not for local origins. */
void ingress_answer(struct ingress *in, const struct origin *o, const struct answer *a);
/* Takes the bytes off the account without an answer: its sender gave it up. */
void ingress_drop(struct ingress *in, const struct origin *o);
/* Any other frame: encodes and sends, counts. */
void ingress_send(struct ingress *in, struct bytes route, struct msg *m);
/* Forgets silent sessions. At each tick; cheap. */
void ingress_tick(struct ingress *in, int64_t mono_ns);
const struct ingress_counters *ingress_counters(const struct ingress *in);

#endif
