/* What a cloudd's surroundings count (the node itself counts its own: node_metrics). */
#ifndef WEIR_CLOUDD_METRICS_H
#define WEIR_CLOUDD_METRICS_H

#include "common/stats.h"

enum metrics_family {
	METRICS_BUILD,
	METRICS_MEMORY,
	METRICS_DISK_USED,
	METRICS_DISK_SIZE,
	METRICS_COMMIT,
	METRICS_ZMQ_FRAMES,
	METRICS_ZMQ_BYTES,
	METRICS_ZMQ_DROPPED,
	METRICS_ZMQ_CONNECTIONS,
	METRICS_ZMQ_CONNECTIONS_MAX,
	METRICS_ZMQ_CONNECTED,
	METRICS_ZMQ_REFUSED,
	METRICS_ZMQ_CUT,
	METRICS_ZMQ_ENDED,
	METRICS_ZMQ_SHUT,
	METRICS_KEYS,
	METRICS_KEYS_BROKEN,
	METRICS_MAP_VERSION,
	METRICS_RPC_TIMEOUTS,
	METRICS_SERVE_BUSY,
	METRICS_DAMAGED_RECORDS,
	METRICS_DAMAGED_PAGES,
	METRICS_SET_ASIDE,
	METRICS_DAMAGED_READS,
	METRICS_DISK_FREE,
	METRICS_FAMILIES
};

struct stats *metrics_new(void);
/* The cell of one label's value, or of none (NULL). */
struct stats_cell *metrics_cell(struct stats *s, enum metrics_family family, const char *value);
/* What the file system of FOLDER/NAME has left for this process; -1: unknown. */
double metrics_free_bytes(const char *folder, const char *name);

#endif
