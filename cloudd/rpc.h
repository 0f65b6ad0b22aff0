/* Asking another node, from a thread that may block: HTTP handlers and watchers.
 *
 * Requests are queued for the loop, which owns the sockets: one DEALER per other node, apart from the node's own, so that
 * long answers do not stand before batches. A request that cannot be sent at once (the node is down, or just
 * connecting) is tried again until its time is over. Answers are found by req_id; a late one is dropped. */
#ifndef WEIR_CLOUDD_RPC_H
#define WEIR_CLOUDD_RPC_H

#include <stdint.h>

#include "common/codec.h"
#include "common/loop.h"
#include "common/model.h"
#include "common/msgq.h"
#include "common/stats.h"

#define RPC_CALLS_MAX 2048 /* at a time */
#define RPC_RETRY_MS 50

struct rpc;
struct rpc_call;

struct rpc_options {
	struct loop *loop;
	struct msgq *msgq;
	const struct topology *topology; /* at the start */
	uint32_t self;
	uint64_t seed; /* random: where req_ids begin, so that a restarted node takes no answer to its predecessor */
	struct stats_cell *timeouts;
	/* The cluster's id, for the envelope; false: not known yet, it stays empty. Any thread. */
	bool (*cluster_id)(void *arg, uint8_t ret_id[CLUSTER_ID_BYTES]);
	void *arg;
};

/* On the loop's thread. *ret_why on error: the caller's to free. */
int rpc_new(const struct rpc_options *o, struct rpc **ret_rpc, char **ret_why);
/* On the loop's thread: nodes have come or gone. Errors as links_set_topology(). */
int rpc_set_topology(struct rpc *r, const struct topology *t, char **ret_why);
/* Ends all calls, now and later, with WEIR_ECLOSED. Any thread. */
void rpc_stop(struct rpc *r);
/* On the loop's thread, after rpc_stop, when no other thread is in here any more. */
void rpc_free(struct rpc *r);

/* Any thread. `from`, cluster_id and req_id of m are filled in here; nothing of m is kept. Never NULL: what is wrong comes
 * out of rpc_finish. `node` is not the node itself. */
struct rpc_call *rpc_start(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns);
/* The same; but while there is no connection on which it can be sent, the call waits for away_ns only. */
struct rpc_call *rpc_start_if_there(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns, int64_t away_ns);
/* Waits for the call to be over, but no longer than this: 0: rpc_finish will not wait. WEIR_ETIMEOUT: not yet. */
int rpc_wait(struct rpc *r, struct rpc_call *c, int64_t ns);
/* Waits for the answer, and ends the call. 0: *ret_reply is the caller's to msg_clear; its type is anything that the
 * other node sent. WEIR_ETIMEOUT, WEIR_ECLOSED, WEIR_EBUSY (too many calls), WEIR_ETOOBIG. */
int rpc_finish(struct rpc *r, struct rpc_call *c, struct msg *ret_reply);
/* Ends the call without waiting: an answer is dropped. */
void rpc_cancel(struct rpc *r, struct rpc_call *c);

#endif
