/* ZeroMQ, seen as two kinds of sockets that carry frames: a ROUTER that is bound and answers by route, and DEALERs that
 * connect. One context per process.
 *
 * A frame is one message part of 1..MSGQ_FRAME_MAX bytes. What has another shape (more parts, none, empty) is dropped
 * whole and counted; a longer part makes libzmq drop the connection. Nothing blocks and nothing is queued for a peer
 * that is not connected: a send that cannot be taken now says so. A peer that is silent on the wire for some seconds
 * is dropped by ZMTP heartbeats.
 *
 * All on the loop's thread, but msgq_counters(). Addresses are tcp:// on loopback only, until there are keys. */
#ifndef WEIR_COMMON_MSGQ_H
#define WEIR_COMMON_MSGQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/loop.h"

#define MSGQ_FRAME_MAX (256 * 1024)
#define MSGQ_SOCKETS_MAX 256

struct msgq;
struct msgq_socket;
struct msgq_keys; /* CURVE: its own key pair and who is allowed; not there yet */

struct msgq_options {
	const struct msgq_keys *keys; /* must be NULL: WEIR_EINVAL otherwise */
	int linger_ms;                /* how long closing may wait for what is still to be sent; 0: 200 */
};

/* Frame and route live for the call. Sockets may be closed within it, this one included. */
typedef void msgq_frame_fn(void *arg, struct bytes route, const void *frame, size_t len);

int msgq_new(struct loop *l, const struct msgq_options *o, struct msgq **ret_msgq);
/* Closes what is still open; returns within linger_ms. */
void msgq_free(struct msgq *m);

/* Both: WEIR_EINVAL (address), WEIR_EBUSY (in use), WEIR_EFULL (MSGQ_SOCKETS_MAX, descriptors), WEIR_EIO; *ret_why is a
 * text for people, the caller's to free. Port 0 or *: any free one, see msgq_endpoint. `arg` must outlive the socket. */
int msgq_bind(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why);
/* Connects in the background, again and again; route is empty in fn. */
int msgq_connect(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why);
void msgq_close(struct msgq_socket *s);
/* The address with its real port; lives as long as the socket. */
const char *msgq_endpoint(const struct msgq_socket *s);

/* DEALER. 0: taken by ZeroMQ (not: arrived); WEIR_EBUSY: not connected, or full; WEIR_ETOOBIG; WEIR_EINVAL: empty. */
int msgq_send(struct msgq_socket *s, const void *frame, size_t len);
/* DEALER: whether msgq_send would be taken now: connected, and with room. */
bool msgq_can_send(struct msgq_socket *s);
/* ROUTER. As msgq_send, and WEIR_ENOTFOUND: that peer is gone. */
int msgq_reply(struct msgq_socket *s, struct bytes route, const void *frame, size_t len);

struct msgq_counters {
	uint64_t received, received_bytes;
	uint64_t sent, sent_bytes;
	uint64_t bad_shape;   /* received and dropped: not one part */
	uint64_t refused_busy, refused_gone;
};
/* Of all sockets, ever. Any thread. */
void msgq_counters(const struct msgq *m, struct msgq_counters *ret);

#endif
