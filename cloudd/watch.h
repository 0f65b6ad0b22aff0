/* A watch: what closes or is revised in a stream, as server-sent events, from the outboxes of all shards.
 *
 * An event's id holds a place in every shard's outbox, so that a client that comes back with it, at any node, misses nothing
 * while the outbox is kept. Shards' leaders are asked in turn every WATCH_POLL_MS; rows of one shard come in the order in which
 * they happened. A shard that has no leader, or whose leader cannot be reached, is asked again later: its rows come then. */
#ifndef WEIR_CLOUDD_WATCH_H
#define WEIR_CLOUDD_WATCH_H

#include "cloudd/cursor.h"
#include "cloudd/gather.h"
#include "common/http.h"

#define WATCH_POLL_MS 250
#define WATCH_KEEPALIVE_MS 15000
#define WATCH_AWAY_MS 5000 /* a node that did not answer is let be for so long, so that it does not hold up the others' rows */
#define WATCH_OPEN_NS (5 * INT64_C(1000000000)) /* for the leaders to say where their outboxes end; then any replica may */
#define WATCHES_MAX 64 /* at a time */
#define WATCH_ROWS 500 /* of one shard at a time */

struct watch;

/* Takes args (also on error), which were parsed by g's topology of wanted[count]: these are copied, for the topologies that come; g is pinned by the caller, for the call. last_id: NULL or "": from now on. The gather and the server outlive the watch. On error
 * *ret_error is filled: 400 bad_cursor, with WEIR_EVERSION where a later topology may know the id's versions; 503 unavailable. */
int watch_open(struct gather *g, struct http_server *server, struct query_args *args, const struct query_arg *wanted,
    size_t count, const char *last_id, struct watch **ret_watch, struct query_error *ret_error);
/* For http_stream; blocks. */
int watch_fill(void *watch, struct buf *out);
void watch_close(void *watch);

#endif
