#include "common/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/err.h"

#define NS_PER_US 1000
#define FEEDS_PER_TIMEOUT 4
#define MESSAGE_MAX (NOTIFY_STATUS_MAX + 64)

/* What it is to be told of this process as a whole; the last one counts. */
enum state { STARTING, READY, RELOADING, STOPPING };

struct notify {
	int fd;
	struct sockaddr_un address;
	socklen_t address_len;
	int64_t watchdog_ns; /* 0: not watched */
	enum state state;
	bool told;           /* the state was sent */
	bool was_ready;
	int64_t reload_ns;   /* when RELOADING began */
	int64_t fed_ns;      /* mono; INT64_MIN: not yet */
	char status[NOTIFY_STATUS_MAX];
	bool status_told;
	int64_t status_ns;   /* mono; likewise: when one was sent last */
};

/* ---- the environment --------------------------------------------------------------------------------------------- */

static bool set_address(struct notify *n, const char *path)
{
	size_t len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(n->address.sun_path))
		return false;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, path, len);
	if (path[0] == '@')
		n->address.sun_path[0] = 0; /* abstract names are as long as they are, without an end */
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
	return true;
}

/* 0: none, or no number. */
static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	return errno || *end ? 0 : v;
}

/* systemd names the process that it watches: who was started by that one is not meant. */
static int64_t watchdog_of_environment(void)
{
	uint64_t usec = number_of("WATCHDOG_USEC"), pid = number_of("WATCHDOG_PID");
	if (getenv("WATCHDOG_PID") && pid != (uint64_t)getpid())
		return 0;
	return usec > INT64_MAX / NS_PER_US ? 0 : (int64_t)usec * NS_PER_US;
}

static struct notify *open_at(const char *path)
{
	struct notify *n = xcalloc(1, sizeof(*n));
	n->fd = set_address(n, path) ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	n->watchdog_ns = watchdog_of_environment();
	n->told = n->status_told = true;
	n->fed_ns = n->status_ns = INT64_MIN;
	if (n->fd >= 0)
		return n;
	free(n);
	return NULL;
}

struct notify *notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct notify *n = path ? open_at(path) : NULL;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return n;
}

void notify_close(struct notify *n)
{
	if (!n)
		return;
	close(n->fd);
	free(n);
}

int64_t notify_watchdog_ns(const struct notify *n)
{
	return n ? n->watchdog_ns : 0;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Whether it needs no second try: who listens no more will not take it later either. */
static bool send_text(struct notify *n, const char *text)
{
	ssize_t sent;
	do
		sent = sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->address, n->address_len);
	while (sent < 0 && errno == EINTR);
	return sent >= 0 || (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM);
}

static void tell_state(struct notify *n)
{
	char text[MESSAGE_MAX];
	switch (n->state) {
	case STARTING:
		return;
	case READY:
		snprintf(text, sizeof(text), "READY=1");
		break;
	case RELOADING:
		snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, n->reload_ns / NS_PER_US);
		break;
	case STOPPING:
		snprintf(text, sizeof(text), "STOPPING=1");
		break;
	}
	n->told = send_text(n, text);
}

static void set_state(struct notify *n, enum state state)
{
	if (n->state == STOPPING)
		return;
	n->state = state;
	n->told = false;
	tell_state(n);
}

void notify_ready(struct notify *n)
{
	if (!n)
		return;
	n->was_ready = true;
	set_state(n, READY);
}

void notify_reloading(struct notify *n, int64_t mono_ns)
{
	if (!n)
		return;
	n->reload_ns = mono_ns;
	set_state(n, RELOADING);
}

void notify_stopping(struct notify *n)
{
	if (n)
		set_state(n, STOPPING);
}

static void tell_status(struct notify *n, int64_t mono_ns)
{
	char text[MESSAGE_MAX];
	if (n->status_told || (n->status_ns != INT64_MIN && mono_ns < n->status_ns + NOTIFY_STATUS_NS))
		return;
	snprintf(text, sizeof(text), "STATUS=%s", n->status);
	n->status_told = send_text(n, text);
	n->status_ns = mono_ns;
}

/* As one line that ends with a whole character. */
static void clean(const char *text, char out[NOTIFY_STATUS_MAX])
{
	size_t len = strlen(text);
	if (len >= NOTIFY_STATUS_MAX)
		for (len = NOTIFY_STATUS_MAX - 1; len && ((unsigned char)text[len] & 0xc0) == 0x80;)
			len--;
	for (size_t i = 0; i < len; i++)
		out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
	out[len] = 0;
}

void notify_status(struct notify *n, const char *text, int64_t mono_ns)
{
	char line[NOTIFY_STATUS_MAX];
	if (!n)
		return;
	clean(text, line);
	if (strcmp(line, n->status)) {
		snprintf(n->status, sizeof(n->status), "%s", line);
		n->status_told = false;
	}
	tell_status(n, mono_ns);
}

void notify_extend(struct notify *n, int64_t ns)
{
	char text[MESSAGE_MAX];
	if (!n)
		return;
	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%" PRId64, ns / NS_PER_US);
	(void)send_text(n, text); /* the next step says it again */
}

static void feed(struct notify *n, int64_t mono_ns)
{
	bool due = n->fed_ns == INT64_MIN || mono_ns - n->fed_ns >= n->watchdog_ns / FEEDS_PER_TIMEOUT;
	if (!n->watchdog_ns || !n->was_ready || !due)
		return;
	if (send_text(n, "WATCHDOG=1"))
		n->fed_ns = mono_ns;
}

void notify_turn(struct notify *n, bool alive, int64_t mono_ns)
{
	if (!n)
		return;
	if (!n->told)
		tell_state(n);
	tell_status(n, mono_ns);
	if (alive)
		feed(n, mono_ns);
}
