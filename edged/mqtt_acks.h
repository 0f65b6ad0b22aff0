/* Which QoS 1 messages have counted while the broker may not know it yet: so that one that comes again is not counted again.
 *
 * A message is acknowledged (PUBACK) once it is in a checkpoint. Until the broker is known to have handled that, it may send the message
 * again, with the same packet id and marked as a duplicate (DUP), when a connection is made anew: after a crash of either side, after a
 * lost link. So (packet id, hash of topic and payload) of each is kept, here and in the checkpoint, until
 *
 *  - a barrier has come back: a request sent behind the acknowledgement was answered, and a broker handles what comes over one
 *    connection in order;
 *  - the broker uses the packet id for another message: it may only once the one before is acknowledged;
 *  - on a new connection another message comes than those known here: what was not acknowledged is sent again first, in the order in
 *    which it was first sent (MQTT 3.1.1 and 5, 4.4 and 4.6), so the others were;
 *  - the broker says that it has no session.
 *
 * What cannot be told apart: a broker that has given the id of an acknowledged message to another one of the very same topic and
 * payload, before the barrier is back, when the connection ends just then. A broker that counts its ids up (mosquitto) is 65,535
 * messages away from that.
 *
 * Pure. Bounded by the number of packet ids; whoever acknowledges stops at MQTT_ACKS_MAX until a barrier is back. */
#ifndef WEIR_EDGED_MQTT_ACKS_H
#define WEIR_EDGED_MQTT_ACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define MQTT_ACKS_MAX 4096
#define MQTT_IDS 65536 /* 0 is none */

struct mqtt_ack {
	uint64_t seq;  /* in the order of taking; 0: gone */
	uint64_t hash;
	uint16_t id;
	bool old;      /* not seen on this connection */
};

struct mqtt_acks {
	struct mqtt_ack *list; /* by seq */
	size_t len, cap;       /* of the list, with those that are gone */
	size_t live, fresh;    /* all that are not gone; those of them that are not old */
	uint64_t next_seq;
	bool resending;        /* so far on this connection all was known */
	uint32_t *slots;       /* by id: index + 1, or 0 */
};

enum mqtt_dup { MQTT_DUP_NO, MQTT_DUP_YES, MQTT_DUP_UNKNOWN };

void mqtt_acks_init(struct mqtt_acks *a);
void mqtt_acks_free(struct mqtt_acks *a);
/* A connection begins. */
void mqtt_acks_session(struct mqtt_acks *a, bool session_present);
/* A message of QoS 1 has come. True: it is one of these, and only has to be acknowledged again; false: it is new, and is one of these
 * from now on. id: not 0. */
bool mqtt_acks_take(struct mqtt_acks *a, uint16_t id, uint64_t hash, enum mqtt_dup dup);
/* Time to acknowledge no more until a barrier is back. */
bool mqtt_acks_full(const struct mqtt_acks *a);
/* A barrier is sent now, behind all acknowledgements so far: what to give to mqtt_acks_proven() when it is back, on the same connection. */
uint64_t mqtt_acks_barrier(const struct mqtt_acks *a);
void mqtt_acks_proven(struct mqtt_acks *a, uint64_t barrier);
void mqtt_acks_clear(struct mqtt_acks *a);

/* Into the checkpoint, and back (into one that is empty). Read: WEIR_ECORRUPT, WEIR_ETRUNCATED in r->err; then it stays empty. */
void mqtt_acks_put(const struct mqtt_acks *a, struct buf *out);
void mqtt_acks_read(struct mqtt_acks *a, struct rd *r);

#endif
