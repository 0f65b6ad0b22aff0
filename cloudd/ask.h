/* Ask: one request to a replica of a group, wherever that is, until it is answered or its time is over. For threads that may
 * block; an ask belongs to one of them. cloudd/gather is made of these. */
#ifndef WEIR_CLOUDD_ASK_H
#define WEIR_CLOUDD_ASK_H

#include "cloudd/gather.h"

enum ask_of {
	ASK_LEADER,      /* as long as there is time and hope (gather.h): again of the next one where this one is gone or leads no longer */
	ASK_LEADER_ONCE, /* of the one that is known now, if any */
	ASK_ANY,         /* of this node, the leader, then the others by rank: each replica once, until one answers */
};

struct ask {
	struct gather *g;
	uint32_t group;
	enum ask_of of;
	int64_t until_ns; /* of the monotonic clock */
	struct msg m;     /* what is sent; what it points to outlives the ask */
	enum msg_type want;
	/* The answer of this node itself, and what another one replied (of type `want`). 0; WEIR_ENOTLEADER: it does not lead, or does
	 * not know yet what it is asked for; else the end (WEIR_EVERSION: the asker's map is behind). With the reason written on error. */
	int (*local)(struct ask *a, void *out, char reason[QUERY_REASON_MAX]);
	int (*remote)(struct ask *a, const struct msg *reply, void *out, char reason[QUERY_REASON_MAX]);

	/* ask's own */
	int node;        /* that is asked; -1: nobody */
	bool lost;       /* it was not the leader for a moment, or longer */
	uint64_t tried;  /* nodes; ASK_ANY */
	struct rpc_call *call;
};

/* Sends the request where it can be sent at once: several asks may be under way. */
void ask_start(struct ask *a);
/* Waits for the answer; ends the ask. 0, or an error with the reason written. */
int ask_finish(struct ask *a, void *out, char reason[QUERY_REASON_MAX]);
/* Instead of ask_finish: ends it without waiting. */
void ask_cancel(struct ask *a);

#define ASK_NAME_MAX 32
/* "shard 3", "the meta group" */
void ask_group_name(uint32_t group, char out[ASK_NAME_MAX]);
/* What a verdict means for local() and remote(), with the reason written. */
int ask_code(const struct ask *a, enum verdict v, const char *text, char reason[QUERY_REASON_MAX]);
/* Takes the reply of a node to a call. 0: *ret_reply is of type `want`, the caller's to clear. */
int ask_take(struct gather *g, uint32_t node, struct rpc_call *call, enum msg_type want, struct msg *ret_reply,
    bool *ret_refused, char reason[QUERY_REASON_MAX]);

#endif
