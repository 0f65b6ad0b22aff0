/* The door of a ROUTER or a publisher: the listening socket, how many are let in, and what became of them.
 *
 * libzmq accepts whoever comes, for as long as there are descriptors, and turns in a circle when there are none left. So the
 * listening socket is ours (ZMQ_USE_FD, libzmq gets duplicates of it), a monitor tells of each connection, and at the limit a
 * filter on the listening socket drops new connections' packets in the kernel: they are sent again some seconds later. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "common/err.h"
#include "common/msgq_parts.h"

#define PEERS_DEFAULT 64
#define EVENTS_PER_TURN_MAX 1024
#define LOOKS_MAX 4096 /* connections that one look looks at */
#define DESCRIPTOR_MAX (1 << 20) /* of those that are looked at */
#define WATCHED                                                                                                          \
	(ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |         \
	    ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

const char *msgq_refusal_text(enum msgq_refusal r)
{
	switch (r) {
	case MSGQ_UNKNOWN_KEY:
		return "unknown_key";
	case MSGQ_NO_CURVE:
		return "no_curve";
	case MSGQ_WRONG_SERVER_KEY:
		return "wrong_server_key";
	case MSGQ_PROTOCOL:
		return "protocol";
	case MSGQ_NO_HANDSHAKE:
		return "no_handshake";
	case MSGQ_REFUSALS:
		break;
	}
	return "unknown";
}

/* ---- open and shut ---------------------------------------------------------------------------------------------- */

static void set_shut(struct msgq_socket *s, bool shut)
{
	struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog program = {1, drop};
	int none = 0;
	if (shut == s->door.shut)
		return;
	int rc = shut ? setsockopt(s->door.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program))
	              : setsockopt(s->door.fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none));
	if (rc && shut)
		return; /* tried again with the next connection; the reserve of descriptors stands for it */
	s->door.shut = shut;
	if (shut)
		msgq_count(&s->m->shut, 1);
}

static void mind_limit(struct msgq_socket *s)
{
	if (s->door.open >= s->door.open_max)
		set_shut(s, true);
	else if (s->door.open < s->door.open_max - s->door.open_max / 8)
		set_shut(s, false);
}

/* ---- what became of each connection ------------------------------------------------------------------------------- */

static struct door_connection *connection_at(struct door *d, int fd)
{
	if (fd < 0 || fd >= DESCRIPTOR_MAX)
		return NULL;
	size_t n = (size_t)fd + 1;
	if (n > d->connection_count) {
		n = n < 64 ? 64 : n * 2;
		d->connections = xrealloc(d->connections, n * sizeof(*d->connections));
		memset(d->connections + d->connection_count, 0, (n - d->connection_count) * sizeof(*d->connections));
		d->connection_count = n;
	}
	return &d->connections[fd];
}

/* The kernel's number of a socket; 0: there is none. */
static uint64_t inode_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) || !S_ISSOCK(st.st_mode) ? 0 : (uint64_t)st.st_ino;
}

/* Its descriptor is still its own: nobody may have told its end yet, and another's is not to be touched. */
static bool is_there(int fd, const struct door_connection *c)
{
	return c->inode && inode_of(fd) == c->inode;
}

/* Frames of the one that has ended may still come: its route is remembered. */
static void reset(struct door_connection *c)
{
	struct door_connection fresh = {.follows = c->routed || c->follows};
	memcpy(fresh.before, c->routed ? c->route : c->before, sizeof(fresh.before));
	free(c->who);
	*c = fresh;
}

static void refused(struct msgq_socket *s, enum msgq_refusal why)
{
	msgq_count(&s->m->handshakes_refused[why], 1);
}

/* A failed handshake is told before its connection's end; one that was no handshake at all only by its end. */
static void handle_disconnected(struct msgq_socket *s, int fd)
{
	struct door *d = &s->door;
	struct door_connection *c = connection_at(d, fd);
	if (!c || !c->open)
		return;
	if (c->spoke)
		d->spoke--;
	else if (d->failed)
		d->failed--;
	else if (d->succeeded > d->spoke + d->silent_ended)
		d->silent_ended++;
	else
		refused(s, MSGQ_NO_HANDSHAKE);
	if (c->spoke)
		d->succeeded--;
	reset(c);
	d->open--;
	/* One handshake may be told as failed twice: no more can be on their way out than have not succeeded. */
	unsigned pending = d->open > d->succeeded ? d->open - (unsigned)d->succeeded : 0;
	d->failed = d->failed < pending ? d->failed : pending;
	atomic_fetch_sub_explicit(&s->m->connections, 1, memory_order_relaxed);
}

static void handle_accepted(struct msgq_socket *s, int fd)
{
	struct door_connection *c = connection_at(&s->door, fd);
	msgq_count(&s->m->accepted, 1);
	if (!c)
		return;
	handle_disconnected(s, fd); /* where the end of the one before was not told */
	c->open = true;
	c->inode = inode_of(fd);
	s->door.open++;
	msgq_count(&s->m->connections, 1);
}

static enum msgq_refusal refusal_of(uint16_t event, uint32_t value)
{
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
		return MSGQ_UNKNOWN_KEY;
	if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
		return MSGQ_NO_HANDSHAKE;
	if (value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
		return MSGQ_NO_CURVE;
	return value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC ? MSGQ_WRONG_SERVER_KEY : MSGQ_PROTOCOL;
}

static void handle_event(struct msgq_socket *s, uint16_t event, uint32_t value)
{
	switch (event) {
	case ZMQ_EVENT_ACCEPTED:
		handle_accepted(s, (int)value);
		break;
	case ZMQ_EVENT_DISCONNECTED:
		handle_disconnected(s, (int)value);
		break;
	case ZMQ_EVENT_ACCEPT_FAILED:
		msgq_count(&s->m->accept_failed, 1);
		set_shut(s, true);
		break;
	case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
		s->door.succeeded++;
		msgq_count(&s->m->authenticated, 1);
		break;
	default:
		s->door.failed++;
		refused(s, refusal_of(event, value));
	}
}

/* An event is two parts: number and value, and the address. */
static bool receive_event(struct msgq_socket *s)
{
	zmq_msg_t msg;
	uint16_t event = 0;
	uint32_t value = 0;
	zmq_msg_init(&msg);
	bool got = zmq_msg_recv(&msg, s->door.monitor, ZMQ_DONTWAIT) >= 0;
	bool whole = got && zmq_msg_size(&msg) == sizeof(event) + sizeof(value);
	if (whole) {
		memcpy(&event, zmq_msg_data(&msg), sizeof(event));
		memcpy(&value, (uint8_t *)zmq_msg_data(&msg) + sizeof(event), sizeof(value));
	}
	bool more = got && zmq_msg_more(&msg);
	zmq_msg_close(&msg);
	if (more) {
		zmq_msg_init(&msg);
		(void)zmq_msg_recv(&msg, s->door.monitor, ZMQ_DONTWAIT);
		zmq_msg_close(&msg);
	}
	if (whole)
		handle_event(s, event, value);
	return got;
}

static bool drain_events(void *arg)
{
	struct msgq_socket *s = arg;
	bool more = true;
	for (unsigned i = 0; i < EVENTS_PER_TURN_MAX && more; i++)
		more = receive_event(s);
	mind_limit(s);
	return more;
}

/* libzmq takes the address it is given for a name only, and closes its descriptor in its own time. */
static int give_to_libzmq(struct msgq_socket *s)
{
	int fd = fcntl(s->door.fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return WEIR_EFULL;
	msgq_set_int(s->zmq, ZMQ_USE_FD, fd);
	if (!zmq_bind(s->zmq, s->endpoint))
		return 0;
	close(fd);
	return WEIR_EIO;
}

/* ---- messages without end ------------------------------------------------------------------------------------------ */

static bool is_route(struct bytes route, const uint8_t own[ROUTE_BYTES])
{
	return route.n == ROUTE_BYTES && !memcmp(route.p, own, ROUTE_BYTES);
}

bool msgq_door_heard(struct msgq_socket *s, int fd, struct bytes route)
{
	struct door_connection *c = connection_at(&s->door, fd);
	if (!c)
		return true;
	if (!c->open || (c->routed && !is_route(route, c->route))) { /* its frame may be here before we looked at who has come */
		(void)drain_events(s);
		c = connection_at(&s->door, fd);
	}
	if (!c->open || (c->follows && is_route(route, c->before)))
		return false;
	c->heard = true;
	if (!c->spoke) {
		c->spoke = true;
		s->door.spoke++;
	}
	if (route.n == ROUTE_BYTES) {
		c->routed = true;
		memcpy(c->route, route.p, sizeof(c->route));
	}
	return true;
}

/* What the kernel has received for it so far and libzmq has taken. */
static bool bytes_taken(int fd, uint64_t *ret_bytes)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);
	int waiting = 0;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) ||
	    n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received) || ioctl(fd, FIONREAD, &waiting))
		return false;
	uint64_t unread = waiting > 0 ? (uint64_t)waiting : 0;
	*ret_bytes = info.tcpi_bytes_received > unread ? info.tcpi_bytes_received - unread : 0;
	return true;
}

/* libzmq holds the parts of a message until the last one is there, however many. Nothing is delivered of a connection whose
 * message does not end: so who sends much, of which nothing is to be received here though we had received everything, is cut off. */
static void look_at(struct msgq_socket *s, int fd, struct door_connection *c)
{
	uint64_t bytes;
	if (!bytes_taken(fd, &bytes))
		return;
	if (c->heard || bytes < c->bytes) {
		c->heard = c->suspect = false;
		c->bytes = bytes;
		return;
	}
	if (bytes - c->bytes <= MSGQ_UNFINISHED_MAX)
		return;
	if (c->suspect && s->emptied) {
		msgq_count(&s->m->unfinished, 1);
		shutdown(fd, SHUT_RDWR);
		c->suspect = false;
		c->bytes = bytes;
		return;
	}
	c->suspect = true;
}

/* ---- keys that are removed ----------------------------------------------------------------------------------------- */

/* Told now, and cut half a second later: what it is told has left by then. */
#define DOOMED_LOOKS 3

void msgq_door_knows(struct msgq_socket *s, int fd, const char *who, const char *key)
{
	struct door_connection *c = connection_at(&s->door, fd);
	if (!c || !c->open || (c->who && !strcmp(c->who, who) && !strcmp(c->key.text, key)))
		return;
	free(c->who); /* that of who had the descriptor before, whose last frames came late */
	c->who = xstrdup(who);
	snprintf(c->key.text, sizeof(c->key.text), "%s", key);
}

bool msgq_door_dooms(struct msgq_socket *s, int fd)
{
	struct door_connection *c = connection_at(&s->door, fd);
	if (!c)
		return true;
	if (!c->open || c->doomed || c->cut)
		return false; /* what it sent before it was cut comes after its end */
	c->doomed = DOOMED_LOOKS;
	return true;
}

void msgq_door_keys(struct msgq_socket *s)
{
	(void)drain_events(s); /* who was let in just now, too */
	for (size_t fd = 0; fd < s->door.connection_count; fd++) {
		struct door_connection *c = &s->door.connections[fd];
		if (!c->open || c->doomed || c->cut || (c->who && keys_owns(s->m->keys, c->who, c->key.text)))
			continue;
		c->doomed = DOOMED_LOOKS;
		if (c->who)
			s->fn(s->arg, bytes_of(c->route, sizeof(c->route)), NULL, NULL, 0);
	}
}

/* libzmq does not survive the end of a connection whose input it has stopped (msgq.c): so it is told the end as it reads on, be it now or
 * when what waits has been received here. A buffer as small as can be: else who sends without end would be read without end. */
static void cut(struct msgq_socket *s, int fd, struct door_connection *c)
{
	int least = 1;
	c->cut = true;
	msgq_count(&s->m->ended, 1);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	shutdown(fd, SHUT_RD);
}

void msgq_door_subscribes(struct msgq_socket *s, int fd, size_t bytes, bool begins)
{
	struct door_connection *c = connection_at(&s->door, fd);
	if (!c || !c->open || c->cut)
		return;
	if (begins)
		c->topics_bytes += bytes;
	else
		c->topics_bytes -= bytes < c->topics_bytes ? bytes : c->topics_bytes;
	if (c->topics_bytes <= MSGQ_TOPICS_BYTES_MAX || !is_there(fd, c))
		return;
	msgq_count(&s->m->greedy, 1);
	cut(s, fd, c);
}

static void cut_doomed(struct msgq_socket *s)
{
	for (size_t fd = 0; fd < s->door.connection_count; fd++) {
		struct door_connection *c = &s->door.connections[fd];
		if (c->open && c->doomed && !--c->doomed && is_there((int)fd, c))
			cut(s, (int)fd, c);
	}
}

/* libzmq tells of no end where it ends connections itself (msgq_door_again). Not at the first look: what it tells may be on its way. */
static void look_for(struct msgq_socket *s, int fd, struct door_connection *c)
{
	bool gone = !is_there(fd, c);
	if (gone && c->gone)
		handle_disconnected(s, fd);
	else if (!gone)
		look_at(s, fd, c);
	c->gone = gone && c->open;
}

void msgq_door_look(struct msgq_socket *s)
{
	cut_doomed(s);
	for (size_t n = 0; n < s->door.connection_count && n < LOOKS_MAX; n++) {
		s->door.next = (s->door.next + 1) % s->door.connection_count;
		if (s->door.connections[s->door.next].open)
			look_for(s, (int)s->door.next, &s->door.connections[s->door.next]);
	}
	s->emptied = false;
	if (s->door.lost)
		s->door.lost = give_to_libzmq(s) != 0;
	mind_limit(s);
}

/* ---- listening ------------------------------------------------------------------------------------------------------- */

static int listen_at(const struct addrinfo *a, int *ret_fd)
{
	int one = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return WEIR_EIO;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, MSGQ_BACKLOG)) {
		*ret_fd = fd;
		return 0;
	}
	int err = errno;
	close(fd);
	errno = err;
	return err == EADDRINUSE ? WEIR_EBUSY : err == EACCES ? WEIR_EINVAL : WEIR_EIO;
}

static int listen_on(const struct addr_host *h, int *ret_fd, char **ret_why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *all;
	char port[8];
	snprintf(port, sizeof(port), "%u", h->port);
	int rc = getaddrinfo(h->host, port, &hints, &all);
	if (rc) {
		*ret_why = xasprintf("%s: %s", h->host, gai_strerror(rc));
		return WEIR_EIO;
	}
	rc = WEIR_EIO;
	errno = EADDRNOTAVAIL;
	for (struct addrinfo *a = all; a && rc; a = a->ai_next)
		rc = listen_at(a, ret_fd);
	if (rc)
		*ret_why = xasprintf("%s", strerror(errno));
	freeaddrinfo(all);
	return rc;
}

static uint64_t files_max(void)
{
	struct rlimit r;
	return getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur > DESCRIPTOR_MAX ? DESCRIPTOR_MAX : r.rlim_cur;
}

static int set_limit(struct msgq_socket *s, char **ret_why)
{
	uint64_t files = files_max();
	uint64_t peers = s->m->peers ? s->m->peers : PEERS_DEFAULT;
	uint64_t wanted = s->publisher ? peers : 2 * peers + MSGQ_STRANGERS_MAX;
	uint64_t reserve = MSGQ_DESCRIPTORS_RESERVE + MSGQ_BACKLOG;
	if (files < reserve + peers) {
		*ret_why = xasprintf("the limit on open files is %llu, but %llu peers and a reserve need %llu: raise it (LimitNOFILE= in "
		                     "a systemd unit, ulimit -n in a shell)",
		    (unsigned long long)files, (unsigned long long)peers, (unsigned long long)(reserve + peers));
		return WEIR_EFULL;
	}
	s->door.open_max = (unsigned)(wanted < files - reserve ? wanted : files - reserve);
	atomic_store_explicit(&s->m->connections_max, s->door.open_max, memory_order_relaxed);
	return 0;
}

/* With too few descriptors for all of them: as many as there are. */
void msgq_door_expect(struct msgq_socket *s)
{
	uint64_t files = files_max(), reserve = MSGQ_DESCRIPTORS_RESERVE + MSGQ_BACKLOG;
	uint64_t wanted = 2 * (uint64_t)s->m->peers + MSGQ_STRANGERS_MAX;
	if (files < reserve + wanted)
		wanted = files > reserve ? files - reserve : 0;
	if (wanted <= s->door.open_max)
		return;
	s->door.open_max = (unsigned)wanted;
	atomic_store_explicit(&s->m->connections_max, s->door.open_max, memory_order_relaxed);
	mind_limit(s);
}

static int watch_door(struct msgq_socket *s)
{
	char address[40];
	int fd;
	size_t n = sizeof(fd);
	snprintf(address, sizeof(address), "inproc://weir-door-%u", s->m->monitors++);
	s->door.monitor = zmq_socket(s->m->ctx, ZMQ_PAIR);
	if (!s->door.monitor)
		return WEIR_EFULL;
	msgq_set_int(s->door.monitor, ZMQ_LINGER, 0);
	msgq_set_int(s->door.monitor, ZMQ_RCVHWM, 0); /* at a limit the thread that carries all frames would wait for us */
	if (zmq_socket_monitor(s->zmq, address, WATCHED) || zmq_connect(s->door.monitor, address) ||
	    zmq_getsockopt(s->door.monitor, ZMQ_FD, &fd, &n))
		return WEIR_EFULL;
	return loop_drain_new(s->m->loop, fd, drain_events, NULL, s, &s->door.drain);
}

int msgq_door_open(struct msgq_socket *s, char **ret_why)
{
	struct addr_host h;
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);
	char host[INET6_ADDRSTRLEN], port[8];
	weir_assert(addr_parse_host(s->address, &h) == 0); /* checked before */
	int rc = set_limit(s, ret_why);
	if (!rc)
		rc = listen_on(&h, &s->door.fd, ret_why);
	if (rc)
		return rc;
	weir_assert(!getsockname(s->door.fd, (struct sockaddr *)&at, &n));
	weir_assert(!getnameinfo((struct sockaddr *)&at, n, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV));
	snprintf(s->endpoint, sizeof(s->endpoint), at.ss_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host, port);
	msgq_set_int(s->zmq, ZMQ_IPV6, at.ss_family == AF_INET6);
	rc = watch_door(s);
	if (!rc)
		rc = give_to_libzmq(s);
	if (rc)
		*ret_why = xasprintf("%s", rc == WEIR_EFULL ? err_text(rc) : zmq_strerror(errno));
	return rc;
}

void msgq_door_close(struct msgq_socket *s)
{
	if (s->door.drain)
		loop_drain_free(s->door.drain);
	if (s->door.monitor) {
		zmq_socket_monitor(s->zmq, NULL, 0);
		zmq_close(s->door.monitor);
	}
	if (s->door.fd >= 0)
		close(s->door.fd);
	for (size_t fd = 0; fd < s->door.connection_count; fd++)
		free(s->door.connections[fd].who);
	free(s->door.connections);
	atomic_fetch_sub_explicit(&s->m->connections, s->door.open, memory_order_relaxed);
}

void msgq_door_again(struct msgq_socket *s)
{
	(void)zmq_unbind(s->zmq, s->endpoint);
	s->door.lost = give_to_libzmq(s) != 0; /* no descriptor for it now: tried again by msgq_door_look */
}
