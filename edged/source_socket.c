#include "edged/source_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/log.h"

#define BACKLOG 128

/* ---- readers ---------------------------------------------------------------------------------------------------- */

static void lines_finish(struct source_parser *p)
{
	line_parser_finish(&p->lines);
}

static size_t lines_pending(const struct source_parser *p)
{
	return line_parser_pending(&p->lines);
}

const struct source_reader source_line_reader = {
	.size = sizeof(struct source_parser),
	.feed = source_feed,
	.finish = lines_finish,
	.pending = lines_pending,
};

struct source_parser *source_reader_new(struct source_socket *k)
{
	struct source_parser *p = xcalloc(1, k->reader->size);
	source_parser_init(p, k->source);
	return p;
}

void source_reader_free(struct source_socket *k, struct source_parser *p)
{
	if (!p)
		return;
	if (k->reader->free)
		k->reader->free(p);
	source_parser_free(p);
	free(p);
}

/* ---- HOST:PORT ---------------------------------------------------------------------------------------------------- */

static int cannot_listen(const struct source_socket *k, const char *where, int error, char **ret_why)
{
	*ret_why = xasprintf("source %s: cannot listen on %s: %s", k->source->conf->name, where, strerror(error));
	return error == EADDRINUSE ? WEIR_EBUSY : WEIR_EIO;
}

static int new_socket(struct source_socket *k, int family)
{
	k->fd = socket(family, (k->stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	k->bound = k->fd >= 0;
	return k->bound ? 0 : errno;
}

static int bind_address(struct source_socket *k, const struct addr *a)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a->port)};
	socklen_t len = sizeof(sin);
	int on = 1, error = new_socket(k, AF_INET);
	memcpy(&sin.sin_addr, a->ip, sizeof(a->ip));
	if (error)
		return error;
	if (k->stream) /* of datagrams it would let two sources share a port */
		setsockopt(k->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(k->fd, (struct sockaddr *)&sin, sizeof(sin)) || getsockname(k->fd, (struct sockaddr *)&sin, &len))
		return errno;
	k->port = ntohs(sin.sin_port);
	return 0;
}

static int open_address(struct source_socket *k, const char *listen, char **ret_why)
{
	struct addr a;
	if (addr_parse(listen, &a)) {
		*ret_why = xasprintf("source %s: `%s` is not HOST:PORT with an IPv4 address", k->source->conf->name, listen);
		return WEIR_EINVAL;
	}
	if (!addr_is_loopback(&a)) {
		*ret_why = xasprintf("source %s: %s is not a loopback address: what comes by %s has no encryption and no sender that "
		                     "is known, so it is taken on 127.0.0.1 only",
		    k->source->conf->name, listen, k->stream ? "TCP" : "UDP");
		return WEIR_EINVAL;
	}
	int error = bind_address(k, &a);
	return error ? cannot_listen(k, listen, error, ret_why) : 0;
}

/* ---- a path --------------------------------------------------------------------------------------------------------- */

/* A socket's file that nobody listens on any more: its program was killed. */
static bool is_left_over(const struct sockaddr_un *sun, bool stream)
{
	struct stat st;
	if (lstat(sun->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool nobody = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) && errno == ECONNREFUSED;
	close(fd);
	return nobody;
}

/* The mode is set on the socket before its file is made, so that nobody gets in meanwhile, and on the file, as the umask has
 * taken from it. */
static int bind_path(struct source_socket *k, const struct sockaddr_un *sun)
{
	const struct sockaddr *address = (const struct sockaddr *)sun;
	mode_t mode = (mode_t)k->source->conf->socket.mode;
	struct stat st;
	int error = new_socket(k, AF_UNIX);
	if (error)
		return error;
	if (fchmod(k->fd, mode))
		return errno;
	bool done = !bind(k->fd, address, sizeof(*sun));
	if (!done && errno == EADDRINUSE) {
		if (!is_left_over(sun, k->stream) || unlink(sun->sun_path))
			return EADDRINUSE;
		done = !bind(k->fd, address, sizeof(*sun));
	}
	if (!done || lstat(sun->sun_path, &st))
		return errno;
	k->path = xstrdup(sun->sun_path);
	k->path_dev = st.st_dev;
	k->path_ino = st.st_ino;
	return chmod(sun->sun_path, mode) ? errno : 0;
}

static int open_path(struct source_socket *k, const char *path, char **ret_why)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t n = strlen(path);
	if (n >= sizeof(sun.sun_path)) {
		*ret_why = xasprintf("source %s: %s is longer than the %zu bytes that a socket's path may have", k->source->conf->name,
		    path, sizeof(sun.sun_path) - 1);
		return WEIR_EINVAL;
	}
	memcpy(sun.sun_path, path, n);
	int error = bind_path(k, &sun);
	return error ? cannot_listen(k, path, error, ret_why) : 0;
}

/* Unless another one has taken the place meanwhile. */
static void remove_path(struct source_socket *k)
{
	struct stat st;
	if (k->path && !lstat(k->path, &st) && st.st_dev == k->path_dev && st.st_ino == k->path_ino)
		unlink(k->path);
	free(k->path);
	k->path = NULL;
}

/* ---- all -------------------------------------------------------------------------------------------------------------- */

static int begin(struct source_socket *k)
{
	if (!k->stream)
		return source_datagram_open(k);
	return listen(k->fd, BACKLOG) ? WEIR_EIO : source_stream_open(k);
}

int source_socket_open(struct source_socket *k, struct source *s, const struct source_reader *reader, bool stream, char **ret_why)
{
	const struct source_conf *c = s->conf;
	*k = (struct source_socket){.source = s, .reader = reader, .stream = stream};
	int rc = c->listen ? open_address(k, c->listen, ret_why) : open_path(k, c->path, ret_why);
	if (rc)
		return rc;
	if (begin(k))
		return cannot_listen(k, c->listen ? c->listen : c->path, errno, ret_why);
	source_socket_pause(k);
	return 0;
}

void source_socket_close(struct source_socket *k)
{
	source_stream_close(k);
	source_datagram_close(k);
	if (k->again)
		loop_timer_free(k->again);
	k->again = NULL;
	if (k->watch)
		loop_fd_free(k->watch);
	k->watch = NULL;
	if (k->bound)
		close(k->fd);
	k->bound = false;
	remove_path(k);
}

void source_socket_pause(struct source_socket *k)
{
	if (!k->watch)
		return;
	loop_fd_watch(k->watch, k->source->paused ? 0 : LOOP_READ);
	source_stream_pause(k);
	source_datagram_pause(k);
}

bool source_socket_drain(struct source_socket *k)
{
	if (!k->watch || k->source->paused)
		return false;
	return k->stream ? source_stream_drain(k) : source_datagram_drain(k);
}

void source_socket_look(struct source_socket *k)
{
	if (k->batch)
		source_datagram_look(k);
}

void source_socket_values(const struct source_socket *k, uint64_t *ret_values)
{
	const struct source_counters *c = k->source ? &k->source->counters : &(struct source_counters){0};
	*ret_values++ = c->connections_open;
	*ret_values++ = c->connections_total;
	*ret_values++ = c->connections_refused;
	*ret_values++ = k->datagrams;
	*ret_values++ = source_datagram_dropped(k);
	*ret_values++ = k->truncated;
	*ret_values++ = k->buffer_bytes;
}

/* ---- a source that is no more than a socket ----------------------------------------------------------------------------- */

static struct source_listener *listener_of(struct source *s)
{
	return (struct source_listener *)s;
}

const struct stats_family source_listener_families[SOURCE_SOCKET_FAMILIES] = {SOURCE_SOCKET_FAMILY_ROWS};

void source_listener_pause(struct source *s)
{
	source_socket_pause(&listener_of(s)->socket);
}

bool source_listener_drain(struct source *s)
{
	return source_socket_drain(&listener_of(s)->socket);
}

void source_listener_committed(struct source *s)
{
	source_socket_look(&listener_of(s)->socket);
}

void source_listener_free(struct source *s)
{
	source_socket_close(&listener_of(s)->socket);
}

void source_listener_values(const struct source *s, uint64_t *ret_values)
{
	source_socket_values(&((const struct source_listener *)s)->socket, ret_values);
}

uint16_t source_listener_port(const struct source *s)
{
	return ((const struct source_listener *)s)->socket.port;
}
