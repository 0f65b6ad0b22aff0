/* One TCP connection that bytes are written to. Loopback only, until there is TLS. One thread. */
#ifndef WEIR_CTL_SENDER_H
#define WEIR_CTL_SENDER_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define SENDER_CONNECT_MS 5000
#define SENDER_IDLE_MS 200  /* how often waiting is told */
#define SENDER_LINGER_MS 5000 /* after the peer's machine has all bytes: how long its program may take to hang up */

struct sender {
	int fd;
	const volatile sig_atomic_t *stop; /* NULL: never */
	void (*waiting)(void *arg);        /* while the receiver is slow; NULL: not told */
	void *arg;
};

/* 0; or WEIR_EINVAL (no address, or not of this machine), WEIR_EIO (nobody listens ...), with why in *error. */
int sender_open(struct sender *s, const char *to, struct buf *error);
/* All of it, however slow the receiver. WEIR_ECLOSED: the receiver hung up; WEIR_EBUSY: stopped; WEIR_EIO. */
int sender_send(struct sender *s, const void *bytes, size_t len, struct buf *error);
/* Ends the stream, and waits until the receiver has read all of it and hung up. Errors as of sender_send. */
int sender_finish(struct sender *s, struct buf *error);
void sender_close(struct sender *s);

#endif
