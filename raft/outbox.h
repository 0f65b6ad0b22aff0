/* raft/outbox: messages that may leave, and those that wait until what they promise is durable. Internal.
 *
 * Both queues are bounded: over it the oldest message is dropped, as a network may do. */
#ifndef RAFT_OUTBOX_H
#define RAFT_OUTBOX_H

#include "raft/raft.h"

#define RAFT_OUTBOX_MAX 512 /* messages, of each queue */

struct raft_letter {
	struct raft_message message; /* no entries: those are made when they are asked for */
	uint64_t index;              /* waits until the log is durable up to here, beside all that is not the log */
};

struct raft_letters {
	struct raft_letter *at; /* letter i is at (head + i) modulo capacity */
	uint32_t capacity, head, count;
};

struct raft_outbox {
	struct raft_letters ready, waiting;
};

void raft_outbox_free(struct raft_outbox *o);
void raft_outbox_send(struct raft_outbox *o, const struct raft_message *m);
void raft_outbox_hold(struct raft_outbox *o, const struct raft_message *m, uint64_t index);
/* The hard state is durable, and the log up to `index`. */
void raft_outbox_release(struct raft_outbox *o, uint64_t index);
/* What waits is no longer true: the term moved on. */
void raft_outbox_drop_waiting(struct raft_outbox *o);
bool raft_outbox_pop(struct raft_outbox *o, struct raft_message *ret_message);

#endif
