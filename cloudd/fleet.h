/* What the leader of the meta group knows of edges and of how far streams have closed, in numbers, for /metrics: edges that Prometheus cannot
 * reach are seen by the clouds. Other nodes know none of it, and have the families without a line, so that a sum over all nodes counts once. */
#ifndef WEIR_CLOUDD_FLEET_H
#define WEIR_CLOUDD_FLEET_H

#include <stdint.h>

#include "cloudd/entry.h"
#include "common/buf.h"
#include "common/model.h"

#define FLEET_AILING_MAX 200 /* lines; weir_cloud_edges counts all */

struct fleet_ailing {
	char edge[NAME_MAX_BYTES + 1];
	const char *what; /* static text */
};

struct fleet_stream {
	char name[NAME_MAX_BYTES + 1];
	int64_t close_ns; /* event time up to which windows have closed; not WATERMARK_NONE */
};

struct fleet {
	bool known;                          /* false: nothing of the rest is */
	uint64_t of_state[EDGE_PARTITIONED + 1]; /* edges, by enum edge_state; those that are revoked are not among them */
	uint64_t revoked;
	uint64_t spool_bytes;                /* of all edges, as they said last */
	size_t ailing_count;
	struct fleet_ailing ailing[FLEET_AILING_MAX];
	size_t stream_count;
	struct fleet_stream streams[STREAMS_MAX];
};

/* Beyond FLEET_AILING_MAX: passed over. */
void fleet_add_ailing(struct fleet *f, const char *edge, const char *what);
void fleet_put_metrics(const struct fleet *f, struct buf *out);

#endif
