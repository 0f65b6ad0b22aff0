#include "ctl/sender.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"

static int fail(struct sender *s, struct buf *error, const char *what)
{
	buf_printf(error, "%s: %s", what, strerror(errno));
	sender_close(s);
	return WEIR_EIO;
}

void sender_close(struct sender *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int wait_connected(struct sender *s, const char *to, struct buf *error)
{
	struct pollfd p = {s->fd, POLLOUT, 0};
	int n = poll(&p, 1, SENDER_CONNECT_MS), so_error = 0;
	socklen_t len = sizeof(so_error);
	if (n == 0)
		errno = ETIMEDOUT;
	if (n <= 0)
		return fail(s, error, to);
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &so_error, &len) || so_error) {
		errno = so_error ? so_error : errno;
		return fail(s, error, to);
	}
	return 0;
}

int sender_open(struct sender *s, const char *to, struct buf *error)
{
	struct addr a;
	s->fd = -1;
	if (addr_parse(to, &a) || a.port == 0) {
		buf_printf(error, "`%s` is not HOST:PORT", to);
		return WEIR_EINVAL;
	}
	if (!addr_is_loopback(&a)) {
		buf_printf(error, "%s is not on this machine: readings leave it encrypted only, and that is not built yet", to);
		return WEIR_EINVAL;
	}
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a.port)};
	memcpy(&in.sin_addr, a.ip, sizeof(a.ip));
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return fail(s, error, "socket");
	if (connect(s->fd, (struct sockaddr *)&in, sizeof(in)) && errno != EINPROGRESS)
		return fail(s, error, to);
	return wait_connected(s, to, error);
}

/* What the receiver says is of no interest; that it hangs up is. 0, or WEIR_ECLOSED at its end, or WEIR_EIO. */
static int drain(struct sender *s, struct buf *error)
{
	char room[4096];
	for (;;) {
		ssize_t n = recv(s->fd, room, sizeof(room), MSG_DONTWAIT);
		if (n == 0)
			return WEIR_ECLOSED;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : fail(s, error, "the receiver broke the connection");
	}
}

/* Waits for one of the events, telling of it; 0, or an error, or WEIR_EBUSY. */
static int wait_for(struct sender *s, short events, struct buf *error)
{
	struct pollfd p = {s->fd, (short)(events | POLLIN), 0};
	int n = poll(&p, 1, SENDER_IDLE_MS);
	if (s->stop && *s->stop) {
		buf_printf(error, "stopped");
		return WEIR_EBUSY;
	}
	if (n < 0 && errno != EINTR)
		return fail(s, error, "poll");
	if (n == 0 && s->waiting)
		s->waiting(s->arg);
	return n > 0 && (p.revents & (POLLIN | POLLERR | POLLHUP)) ? drain(s, error) : 0;
}

int sender_send(struct sender *s, const void *bytes, size_t len, struct buf *error)
{
	const char *p = bytes;
	while (len) {
		ssize_t n = send(s->fd, p, len, MSG_NOSIGNAL);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return fail(s, error, "the receiver broke the connection");
		int err = wait_for(s, POLLOUT, error);
		if (err == WEIR_ECLOSED)
			buf_printf(error, "the receiver hung up before the end");
		if (err)
			return err;
	}
	return 0;
}

int sender_finish(struct sender *s, struct buf *error)
{
	if (shutdown(s->fd, SHUT_WR))
		return fail(s, error, "shutdown");
	int64_t taken_ns = 0; /* since when the peer's machine has all */
	for (;;) {
		int err = wait_for(s, 0, error), left = 0;
		if (err == WEIR_ECLOSED)
			return 0;
		if (err)
			return err;
		if (ioctl(s->fd, SIOCOUTQ, &left) || left > 0)
			continue;
		int64_t now = clock_mono_ns();
		if (!taken_ns)
			taken_ns = now;
		if (now - taken_ns > SENDER_LINGER_MS * NS_PER_MS)
			return 0;
	}
}
