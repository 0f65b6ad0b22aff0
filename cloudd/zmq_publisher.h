/* Publishes messages to whoever has subscribed, over ZeroMQ, from a thread of its own with a loop, a context and keys of its own: what
 * subscribers do, and how many there are, is nothing to the links between nodes.
 *
 *   the sink's thread: zmq_publisher_send() --messages--> the publisher's: msgq_publish() to each subscriber's queue
 *
 * A subscriber whose queue (MSGQ_PUBLISH_QUEUE messages) is full is waited for, ZMQ_PUBLISHER_PATIENCE_NS at most; so one who reads is not
 * outrun. Who has made no room by then is left behind, which is counted: it misses messages until it has read half of its queue, and
 * nobody waits for it meanwhile. */
#ifndef WEIR_CLOUDD_ZMQ_PUBLISHER_H
#define WEIR_CLOUDD_ZMQ_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define ZMQ_PUBLISHER_PARTS 3
#define ZMQ_PUBLISHER_SUBSCRIBERS_MAX 64 /* connections */
#define ZMQ_PUBLISHER_PATIENCE_NS (INT64_C(500) * 1000000)

struct zmq_publisher;

struct zmq_publisher_options { /* texts live for the call */
	const char *address;     /* tcp://HOST:PORT */
	const char *keys_dir;    /* of NAME.key; NULL: no keys, and loopback only */
	const char *subscribers; /* with keys: folder with the .pub of those who may subscribe */
	const char *node;        /* NAME */
	void *arg;
	void (*report)(void *arg, const char *text); /* a problem with a file of keys; on the publisher's thread */
	bool (*stopping)(void *arg);                 /* asked by zmq_publisher_send(): true ends it */
};

struct zmq_message {
	struct bytes parts[ZMQ_PUBLISHER_PARTS];
};

struct zmq_publisher_counts {
	uint64_t left_behind; /* times that one subscriber or more was left behind */
	uint64_t subscribers; /* gauge: connections */
	uint64_t refused;     /* connections whose handshake failed, or that subscribed to more than MSGQ_TOPICS_BYTES_MAX */
};

/* Bound when it returns 0. WEIR_EINVAL (address, keys), WEIR_ENOTFOUND (keys), WEIR_EBUSY (the port is taken), WEIR_EFULL, WEIR_EIO; *ret_why for
 * people, the caller's to free. */
int zmq_publisher_open(const struct zmq_publisher_options *o, struct zmq_publisher **ret_publisher, char **ret_why);
/* Waits for its thread, some tenths of a second most often. NULL is fine. */
void zmq_publisher_free(struct zmq_publisher *p);
/* Returns when all (one or more) are in the queues of those who have subscribed and are not left behind. WEIR_ECLOSED: stopping() says so. One
 * thread at a time. */
int zmq_publisher_send(struct zmq_publisher *p, const struct zmq_message *messages, size_t count);
/* Any thread. */
void zmq_publisher_counts(struct zmq_publisher *p, struct zmq_publisher_counts *ret);

#endif
