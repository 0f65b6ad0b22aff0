/* A query and the topology that it goes by, for as long as it is read: what HTTP handlers ask with. For threads that may block. */
#ifndef WEIR_CLOUDD_PINNED_QUERY_H
#define WEIR_CLOUDD_PINNED_QUERY_H

#include "cloudd/gather.h"
#include "common/http.h"
#include "common/query_args.h"

struct pinned_query {
	struct gather gather;
	struct query *query;
};

/* Parses the arguments and gets the first page of each shard, by the map in force here. A shard may go by a later map than this node yet, in
 * which another version of the stream answers: what was acknowledged since is in that one only. So it waits for that map,
 * up to GATHER_TIMEOUT_NS, or until the server stops. On error *ret_error is what to answer. */
int pinned_query_open(const struct gather *g, const struct http_server *server, const struct query_arg *args, size_t count,
    struct pinned_query **ret_pinned, struct query_error *ret_error);
void pinned_query_close(struct pinned_query *p);

#endif
