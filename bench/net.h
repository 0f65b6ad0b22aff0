/* Sockets of the load generators. */
#ifndef WEIR_BENCH_NET_H
#define WEIR_BENCH_NET_H

#include <poll.h>
#include <stddef.h>

/* A non-blocking, connected socket without delay to 127.0.0.1-style HOST:PORT; -1: errno tells. */
int net_connect(const char *host_port);
/* poll(), with the wait in seconds. */
void net_wait(struct pollfd *fds, size_t count, double wait_s);

#endif
