/* What the files of msgq share among themselves: msgq.c (sockets and frames), msgq_pub.c (publishing), msgq_keys.c (CURVE),
 * msgq_door.c (who may connect). Nobody else includes it. */
#ifndef WEIR_COMMON_MSGQ_PARTS_H
#define WEIR_COMMON_MSGQ_PARTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/msgq.h"

#define ENDPOINT_MAX 320
#define ROUTE_BYTES 5 /* of a ROUTER's own making: a zero and a number */

typedef atomic_uint_fast64_t msgq_counter;

struct msgq {
	struct loop *loop;
	void *ctx;
	struct keys *keys;
	int linger_ms;
	unsigned peers;
	struct msgq_socket *sockets;
	unsigned socket_count;
	unsigned monitors;          /* ever: names them */
	void *zap;                  /* with keys */
	struct loop_drain *zap_drain;
	struct loop_timer *look;    /* every LOOK_MS: keys, doors */
	unsigned looks;
	msgq_counter received, received_bytes, sent, sent_bytes, bad_shape, refused_busy, refused_gone, refused_key, refused_route,
	    accepted, authenticated, handshakes_refused[MSGQ_REFUSALS], unfinished, greedy, ended, accept_failed, shut, connections, connections_max, keys_allowed,
	    keys_broken;
};
#define LOOK_MS 250
#define LOOKS_PER_SECOND 4

/* One connection that a ROUTER accepted, by its descriptor. */
struct door_connection {
	bool open, spoke;
	bool heard;         /* since the last look */
	bool suspect;       /* at the last look it was over MSGQ_UNFINISHED_MAX */
	bool gone;          /* at the last look its descriptor was not its own any more */
	bool cut;           /* no more of it is read */
	unsigned doomed;    /* looks until it is cut, as its key is nobody's any more; 0: it is not to be */
	uint64_t inode;     /* of its socket; 0: it was gone when it was told of */
	uint64_t bytes;     /* received by the kernel when it was last heard */
	size_t topics_bytes; /* of all that a subscriber has subscribed to */
	char *who;          /* with keys, once it has spoken: whose key it has; */
	struct key_text key;
	bool routed, follows; /* these are known: */
	uint8_t route[ROUTE_BYTES], before[ROUTE_BYTES]; /* its own; that of the one that had its descriptor before */
};

/* The listening socket of a ROUTER and what is connected through it. */
struct door {
	int fd;             /* -1: none. libzmq has a duplicate of it */
	void *monitor;
	struct loop_drain *drain;
	bool shut, lost;    /* nobody is let in: at the limit; no descriptor for libzmq */
	unsigned open, open_max;
	uint64_t failed;    /* failures whose end was not told yet */
	uint64_t spoke, succeeded, silent_ended;
	struct door_connection *connections;
	size_t connection_count;
	size_t next;        /* that the next look begins with */
};

struct msgq_socket {
	struct msgq *m;
	struct msgq_socket *next;
	void *zmq;                  /* NULL: a DEALER whose peer has no key yet */
	bool bound;                 /* a ROUTER, or, with publisher, an XPUB: has a door */
	bool publisher;
	bool lossy;                 /* XPUB: as it is set now */
	bool receiving, closed;
	bool used; /* since it was last found empty: that may have swallowed its descriptor's event */
	bool emptied;               /* found empty since the door's last look */
	struct loop_drain *drain;
	msgq_frame_fn *fn;
	void *arg;
	char *address;
	char endpoint[ENDPOINT_MAX];
	struct door door;           /* ROUTER */
	/* DEALER with keys */
	char *peer;
	struct key_text peer_key;   /* in use */
	bool answered;              /* by who has that key */
	bool heard;                 /* since the last look */
	int64_t unable_ns;          /* since when nothing can be sent; 0: it can */
	unsigned tries;             /* of keys, since it last could */
};

static inline void msgq_count(msgq_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}
void msgq_set_int(void *zmq, int option, int value);

/* msgq.c. The libzmq socket of a DEALER, anew: with its peer_key. */
int msgq_dealer_open(struct msgq_socket *s);
void msgq_dealer_close(struct msgq_socket *s);

/* msgq_pub.c */
void msgq_pub_options(struct msgq_socket *s);
/* What a subscriber sends: false, nothing is there now. */
bool msgq_pub_receive(struct msgq_socket *s, size_t *bytes);

/* msgq_keys.c */
int msgq_keys_open(struct msgq *m);
void msgq_keys_close(struct msgq *m);
void msgq_keys_look(struct msgq *m);
void msgq_keys_set(struct msgq_socket *s);
/* Picks the newest key of the peer; false: it has none. */
bool msgq_keys_pick(struct msgq_socket *s);

/* msgq_door.c */
int msgq_door_open(struct msgq_socket *s, char **ret_why);
void msgq_door_close(struct msgq_socket *s);
/* A frame came through the connection with this descriptor (-1: not known). False: that one has ended, and whoever has its descriptor now is
 * not meant. A publisher's frames have no route, by which that is known where it is another's already. */
bool msgq_door_heard(struct msgq_socket *s, int fd, struct bytes route);
/* It was who's, by this key. */
void msgq_door_knows(struct msgq_socket *s, int fd, const char *who, const char *key);
/* It was nobody's, who is cut off soon. True: that is to be told; false: it was. */
bool msgq_door_dooms(struct msgq_socket *s, int fd);
/* A subscriber's, for a topic of so many bytes: its begin, or its end. Who has more than MSGQ_TOPICS_BYTES_MAX of them is cut off. */
void msgq_door_subscribes(struct msgq_socket *s, int fd, size_t bytes, bool begins);
/* The keys are others: who has none any more is told so, by the socket's fn, and cut off soon. */
void msgq_door_keys(struct msgq_socket *s);
/* Listens with the options as they are now: who is connected is cut off. */
void msgq_door_again(struct msgq_socket *s);
void msgq_door_look(struct msgq_socket *s);
/* The number of peers is another one. */
void msgq_door_expect(struct msgq_socket *s);

#endif
