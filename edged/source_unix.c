/* Line protocol over a unix socket, of connections or of datagrams. */
#include "edged/source_socket.h"

static int unix_start(struct source *s, char **ret_why)
{
	return source_socket_open(&((struct source_listener *)s)->socket, s, &source_line_reader, s->conf->socket.stream, ret_why);
}

const struct source_ops source_unix_ops = {
	.size = sizeof(struct source_listener),
	.start = unix_start,
	.pause = source_listener_pause,
	.drain = source_listener_drain,
	.committed = source_listener_committed,
	.free = source_listener_free,
	.families = source_listener_families,
	.family_count = SOURCE_SOCKET_FAMILIES,
	.values = source_listener_values,
};
