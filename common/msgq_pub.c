/* Publishing: an XPUB, which drops nothing unless it is told to (ZMQ_XPUB_NODROP), and tells of subscriptions, so that whose connection
 * is whose is known and keys can be taken back. */
#include <errno.h>

#include <zmq.h>

#include "common/err.h"
#include "common/msgq_parts.h"

#define SUBSCRIPTION_MAX 4096 /* bytes of what a subscriber sends */

void msgq_pub_options(struct msgq_socket *s)
{
	int64_t max = SUBSCRIPTION_MAX;
	weir_assert(zmq_setsockopt(s->zmq, ZMQ_MAXMSGSIZE, &max, sizeof(max)) == 0);
	msgq_set_int(s->zmq, ZMQ_SNDHWM, MSGQ_PUBLISH_QUEUE);
	msgq_set_int(s->zmq, ZMQ_XPUB_VERBOSER, 1); /* also beginnings and ends of subscriptions that another connection has */
	msgq_set_int(s->zmq, ZMQ_XPUB_NODROP, 1);
	s->lossy = false;
}

/* ---- subscribers -------------------------------------------------------------------------------------------------- */

/* A subscription, or its end, is one byte and a beginning. Anything else says nothing to us. */
static bool is_subscription(zmq_msg_t *msg)
{
	return zmq_msg_size(msg) && *(const uint8_t *)zmq_msg_data(msg) <= 1 && !zmq_msg_more(msg);
}

static void hear(struct msgq_socket *s, zmq_msg_t *msg)
{
	int fd = zmq_msg_get(msg, ZMQ_SRCFD);
	(void)msgq_door_heard(s, fd, bytes_of(NULL, 0));
	if (is_subscription(msg))
		msgq_door_subscribes(s, fd, zmq_msg_size(msg), *(const uint8_t *)zmq_msg_data(msg));
	else
		msgq_count(&s->m->bad_shape, 1);
	if (!s->m->keys)
		return;
	const char *user = zmq_msg_gets(msg, "User-Id"), *key = zmq_msg_gets(msg, "Weir-Key");
	if (user && key && keys_owns(s->m->keys, user, key)) {
		msgq_door_knows(s, fd, user, key);
		return;
	}
	msgq_count(&s->m->refused_key, 1);
	(void)msgq_door_dooms(s, fd);
}

bool msgq_pub_receive(struct msgq_socket *s, size_t *bytes)
{
	zmq_msg_t msg;
	int rc;
	zmq_msg_init(&msg);
	do
		rc = zmq_msg_recv(&msg, s->zmq, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	if (rc >= 0) {
		*bytes += zmq_msg_size(&msg);
		hear(s, &msg);
	} else {
		s->emptied = true;
	}
	zmq_msg_close(&msg);
	return rc >= 0;
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

static void set_lossy(struct msgq_socket *s, bool lossy)
{
	if (s->lossy != lossy)
		msgq_set_int(s->zmq, ZMQ_XPUB_NODROP, !lossy);
	s->lossy = lossy;
}

/* The first part finds whether there is room for the whole message (libzmq: xpub.cpp, pipe.cpp), the others are always taken. */
static int send_part(struct msgq_socket *s, struct bytes part, bool more)
{
	int rc;
	s->used = true;
	do
		rc = zmq_send(s->zmq, part.p, part.n, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
	while (rc < 0 && errno == EINTR);
	return rc >= 0 ? 0 : errno == EAGAIN ? WEIR_EBUSY : WEIR_EIO;
}

int msgq_publish(struct msgq_socket *s, const struct bytes *parts, size_t count, bool lossy)
{
	size_t bytes = 0;
	weir_assert(s->publisher && !s->closed && count);
	for (size_t i = 0; i < count; i++) {
		if (parts[i].n > MSGQ_FRAME_MAX)
			return WEIR_ETOOBIG;
		bytes += parts[i].n;
	}
	set_lossy(s, lossy);
	for (size_t i = 0; i < count; i++) {
		int rc = send_part(s, parts[i], i + 1 < count);
		if (rc)
			return rc;
	}
	msgq_count(&s->m->sent, 1);
	msgq_count(&s->m->sent_bytes, bytes);
	return 0;
}
