/* What the sources that listen on a socket share (tcp, udp, unix, statsd): the address, connections or datagrams, and a reader
 * that takes apart what comes. Only they include it. All on the loop's thread.
 *
 *   address (source_socket.c) --+-- stream:    listener -> connections, a reader each   (source_stream.c)
 *                               +-- datagrams: batches -> one reader, finished after each datagram (source_datagram.c)
 *
 * Backpressure is not reading. A stream's sender then waits, and so does one of unix datagrams; of UDP the kernel holds what
 * fits the receive buffer and drops the rest, which is counted. */
#ifndef WEIR_EDGED_SOURCE_SOCKET_H
#define WEIR_EDGED_SOURCE_SOCKET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "edged/source_impl.h"

#define SOURCE_DATAGRAM_BYTES (64 * 1024)  /* the largest that is taken: all that UDP can carry; a unix socket's may be longer */
#define SOURCE_DATAGRAM_BATCH 32           /* received at once */
#define SOURCE_TURN_DATAGRAMS 1024         /* in one turn of the loop at most; and readings, looked at between batches: */
#define SOURCE_TURN_LINES (64 * 1024)

/* Takes apart what comes over one connection, or by datagrams. The object is zeroed, begins with a struct source_parser
 * that is ready, and may extend it. */
struct source_reader {
	size_t size;
	size_t piece; /* fed at once at most, as few bytes may be many readings, and SOURCE_TURN_LINES is looked at between; 0: any */
	void (*feed)(struct source_parser *p, const void *data, size_t len);
	void (*finish)(struct source_parser *p);          /* the input ends here: a last line without newline is whole */
	size_t (*pending)(const struct source_parser *p); /* bytes of a line that came only in part */
	void (*free)(struct source_parser *p);            /* what it holds beside the parser; NULL: nothing */
};
extern const struct source_reader source_line_reader; /* line protocol */

struct source_connection;
struct source_batch;

struct source_socket {
	struct source *source;
	const struct source_reader *reader;
	bool stream, bound; /* bound: fd is open */
	int fd;
	uint16_t port;      /* 0: of a path */
	char *path;         /* of the file that it made; NULL: none */
	dev_t path_dev;
	ino_t path_ino;
	struct loop_fd *watch;
	/* stream: */
	struct loop_timer *accept_again;
	struct source_connection *first;
	uint8_t *chunk; /* read into; parsers copy what they keep */
	uint64_t rested_lines; /* the source's lines when its connections rested last */
	bool resting;
	struct loop_timer *again; /* datagrams: the rest of a batch; stream: the end of a rest */
	/* datagrams: */
	struct source_batch *batch;
	struct source_parser *parser;
	uint64_t datagrams, truncated, dropped;
	uint64_t buffer_bytes;  /* as granted */
	uint32_t kernel_dropped; /* the kernel's count when it was last looked at */
};

/* Most sources that listen are no more than this. */
struct source_listener {
	struct source base;
	struct source_socket socket;
};

/* Binds to the source's `listen`, or its `path`, and begins to read in later turns. Results as source_start(). */
int source_socket_open(struct source_socket *k, struct source *s, const struct source_reader *reader, bool stream, char **ret_why);
/* Ends all of it: what came only in part is refused. Also of one that was never opened, or could not be. */
void source_socket_close(struct source_socket *k);
/* source->paused has changed. */
void source_socket_pause(struct source_socket *k);
/* See source_drain(). */
bool source_socket_drain(struct source_socket *k);
/* To be called now and then: tells of what the kernel dropped. */
void source_socket_look(struct source_socket *k);

/* Metrics of each such source, SOURCE_SOCKET_FAMILIES of them: rows for the start of a table of families, and their values. */
#define SOURCE_SOCKET_FAMILIES 7
#define SOURCE_SOCKET_FAMILY_ROWS \
	{"weir_edge_source_connections", "Open connections of the source", STATS_GAUGE, {"source"}}, \
	{"weir_edge_source_connections_total", "Connections accepted", STATS_COUNTER, {"source"}}, \
	{"weir_edge_source_connections_refused_total", "Connections refused at the limit", STATS_COUNTER, {"source"}}, \
	{"weir_edge_source_datagrams_total", "Datagrams received", STATS_COUNTER, {"source"}}, \
	{"weir_edge_source_dropped_datagrams_total", "Datagrams that the kernel dropped, as they came faster than they were read", \
	    STATS_COUNTER, {"source"}}, \
	{"weir_edge_source_truncated_datagrams_total", "Datagrams refused because they were longer than 64 KiB", STATS_COUNTER, \
	    {"source"}}, \
	{"weir_edge_source_receive_buffer_bytes", "What the kernel holds of datagrams that are not read yet, at most", STATS_GAUGE, \
	    {"source"}}
void source_socket_values(const struct source_socket *k, uint64_t *ret_values);

/* source_ops of a struct source_listener. */
extern const struct stats_family source_listener_families[SOURCE_SOCKET_FAMILIES];
void source_listener_pause(struct source *s);
bool source_listener_drain(struct source *s);
void source_listener_committed(struct source *s);
void source_listener_free(struct source *s);
void source_listener_values(const struct source *s, uint64_t *ret_values);
uint16_t source_listener_port(const struct source *s);

/* ---- between the files of the socket ---- */

int source_stream_open(struct source_socket *k);
void source_stream_close(struct source_socket *k);
void source_stream_pause(struct source_socket *k);
bool source_stream_drain(struct source_socket *k);
int source_datagram_open(struct source_socket *k);
void source_datagram_close(struct source_socket *k);
void source_datagram_pause(struct source_socket *k);
bool source_datagram_drain(struct source_socket *k);
void source_datagram_look(struct source_socket *k);
/* What the kernel dropped until now, since the socket was opened. */
uint64_t source_datagram_dropped(const struct source_socket *k);

struct source_parser *source_reader_new(struct source_socket *k);
void source_reader_free(struct source_socket *k, struct source_parser *p);

#endif
