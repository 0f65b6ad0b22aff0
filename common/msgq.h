/* ZeroMQ, seen as two kinds of sockets that carry frames: a ROUTER that is bound and answers by route, and DEALERs that
 * connect; and publishers, that are bound and send to whoever has subscribed (msgq_publish). One context per struct msgq.
 *
 * A frame is one message part of 1..MSGQ_FRAME_MAX bytes. What has another shape (more parts, none, empty) is dropped
 * whole and counted; a longer part makes libzmq drop the connection. Nothing blocks and nothing is queued for a peer
 * that is not connected: a send that cannot be taken now says so. A peer that is silent on the wire for some seconds
 * is dropped by ZMTP heartbeats.
 *
 * Keys (common/keys). Without, addresses are tcp:// on loopback only, and nobody is known. With keys every link is CURVE:
 * a ROUTER lets in who holds the secret of a key in somebody's .pub, and tells with each frame whose; a DEALER talks to nobody
 * but the holder of a key in its peer's .pub. The folder is looked at once a second: a key that is no longer there is
 * refused from its next frame on, and a connection that stands with it is cut soon after; one that has not spoken yet is cut with any
 * change of keys, as nobody knows whose it is, and comes back if it may. A new own key is taken up at once (connections break
 * off and come back); of several keys of a peer the newest is tried first, then the others, in turn; a peer that has refused our
 * key is asked again some seconds later.
 *
 * Strangers. Who has not finished the handshake within HANDSHAKE_MS is dropped, and none of its bytes comes here. So many
 * connections are open at most as `peers` allows, and as the limit on open files leaves after a reserve: above it the kernel
 * drops what wants to connect (it comes again), and those who are connected notice nothing.
 *
 * All on the loop's thread, but msgq_counters(). */
#ifndef WEIR_COMMON_MSGQ_H
#define WEIR_COMMON_MSGQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/keys.h"
#include "common/kv.h"
#include "common/loop.h"

#define MSGQ_FRAME_MAX (256 * 1024)
#define MSGQ_SOCKETS_MAX 256
#define MSGQ_STRANGERS_MAX 512          /* connections beside twice the peers */
#define MSGQ_BACKLOG 128                /* connections that wait in the kernel */
#define MSGQ_UNFINISHED_MAX (8 << 20)   /* bytes that a connection may send without finishing a message */
#define MSGQ_DESCRIPTORS_RESERVE 256    /* open files that are left for everything else */

struct msgq;
struct msgq_socket;

struct msgq_options {
	struct keys *keys;  /* stays the caller's, and is polled here; NULL: security none */
	int linger_ms;      /* how long closing may wait for what is still to be sent; 0: 200 */
	unsigned peers;     /* that may connect to each ROUTER (beside strangers) or publisher (strangers among them); 0: 64 */
};

/* Frame, route and who live for the call. who: the name of the sender by its key, "" without keys; NULL, and no frame: its
 * key is no longer allowed: it may be told so, and nothing else be done; once for each connection. Else sockets may be closed within
 * it, this one included. */
typedef void msgq_frame_fn(void *arg, struct bytes route, const char *who, const void *frame, size_t len);

int msgq_new(struct loop *l, const struct msgq_options *o, struct msgq **ret_msgq);
/* Closes what is still open; returns within linger_ms, and a few seconds at the worst. */
void msgq_free(struct msgq *m);
/* So many peers may connect to each ROUTER from now on; fewer than before changes nothing. */
void msgq_expect(struct msgq *m, unsigned peers);

/* WEIR_EINVAL: an address that cannot be used (as it is without keys, or at all); *ret_why a text for people, the caller's to free. */
int msgq_check_address(const char *address, bool keys, char **ret_why);

/* Both: WEIR_EINVAL (address), WEIR_EBUSY (in use), WEIR_EFULL (MSGQ_SOCKETS_MAX, descriptors), WEIR_EIO (also an address that this
 * machine does not have now, or a name that does not resolve now: a network may come up late); *ret_why is a
 * text for people, the caller's to free. Port 0 or *: any free one, see msgq_endpoint. `arg` must outlive the socket.
 * A host name is resolved here (bind: blocking) or by libzmq with each try (connect). */
int msgq_bind(struct msgq *m, const char *address, msgq_frame_fn *fn, void *arg, struct msgq_socket **ret_socket,
    char **ret_why);
/* Connects in the background, again and again; route is empty in fn. peer: whose keys the other side must have, also one
 * that has none yet. */
int msgq_connect(struct msgq *m, const char *address, const char *peer, msgq_frame_fn *fn, void *arg,
    struct msgq_socket **ret_socket, char **ret_why);
/* An XPUB. Who may connect may subscribe to anything; who is no longer allowed is cut off as at a ROUTER. */
int msgq_bind_publisher(struct msgq *m, const char *address, struct msgq_socket **ret_socket, char **ret_why);
void msgq_close(struct msgq_socket *s);
/* The address with its real port; lives as long as the socket. */
const char *msgq_endpoint(const struct msgq_socket *s);

/* DEALER. 0: taken by ZeroMQ (not: arrived); WEIR_EBUSY: not connected, or full; WEIR_ETOOBIG; WEIR_EINVAL: empty. */
int msgq_send(struct msgq_socket *s, const void *frame, size_t len);
/* DEALER: whether msgq_send would be taken now: connected, and with room. */
bool msgq_can_send(struct msgq_socket *s);
/* ROUTER. As msgq_send, and WEIR_ENOTFOUND: that peer is gone. */
int msgq_reply(struct msgq_socket *s, struct bytes route, const void *frame, size_t len);

/* Publisher: a message of several parts, to those who have subscribed to a beginning of the first one. A queue of MSGQ_PUBLISH_QUEUE messages
 * stands before each subscriber. Not lossy: WEIR_EBUSY where one of those has no room, and then nobody gets it. Lossy: who has no room misses
 * it. WEIR_ETOOBIG: over MSGQ_FRAME_MAX. */
#define MSGQ_PUBLISH_QUEUE 4096
#define MSGQ_TOPICS_BYTES_MAX (256 * 1024) /* of all that one connection subscribes to: libzmq has no limit, and takes some 40 times as much */
int msgq_publish(struct msgq_socket *s, const struct bytes *parts, size_t count, bool lossy);

/* Why a connection ended before its handshake did. */
enum msgq_refusal {
	MSGQ_UNKNOWN_KEY,      /* a proper handshake with a key that is nobody's */
	MSGQ_NO_CURVE,         /* no CURVE, or another version of ZMTP */
	MSGQ_WRONG_SERVER_KEY, /* it takes us for somebody else, or its boxes do not open */
	MSGQ_PROTOCOL,         /* another mistake within the handshake */
	MSGQ_NO_HANDSHAKE,     /* it was silent, left, or sent what is no handshake */
	MSGQ_REFUSALS
};
const char *msgq_refusal_text(enum msgq_refusal r); /* "unknown_key" ... */

struct msgq_counters {
	uint64_t received, received_bytes;
	uint64_t sent, sent_bytes;
	uint64_t bad_shape;   /* received and dropped: not one part */
	uint64_t refused_busy, refused_gone;
	uint64_t refused_key;   /* frames of a connection whose key is no longer allowed */
	uint64_t refused_route; /* frames of a peer that chose its own route: nobody may, it could be another's */
	uint64_t accepted, authenticated; /* connections; handshakes that were finished */
	uint64_t handshakes_refused[MSGQ_REFUSALS];
	uint64_t unfinished;    /* connections cut: over MSGQ_UNFINISHED_MAX */
	uint64_t greedy;        /* connections cut: over MSGQ_TOPICS_BYTES_MAX */
	uint64_t ended;         /* connections cut: when keys changed, those with a key that is nobody's any more, or that had not spoken */
	uint64_t accept_failed; /* no descriptor for a connection */
	uint64_t shut;          /* times that new connections had to wait at the limit */
	uint64_t connections;   /* gauge: open at the ROUTERs */
	uint64_t connections_max; /* gauge */
	uint64_t keys;          /* gauge: public keys that are allowed */
	uint64_t keys_broken;   /* key files found broken */
};
/* Of all sockets, ever. Any thread. */
void msgq_counters(const struct msgq *m, struct msgq_counters *ret);

#endif
