/* One cloud daemon: joins the pure node to ZeroMQ, timers, disks and HTTP.
 *
 * Threads: the loop (the caller's: sockets, timers, struct node), the log writer, the state writer, a few readers for other
 * nodes, one for each HTTP connection. Whatever another thread has for the loop goes through one queue, in the order
 * in which things happened. */
#ifndef WEIR_CLOUDD_CLOUDD_H
#define WEIR_CLOUDD_CLOUDD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model.h"

#define CLOUDD_LOG_MAP_BYTES (UINT64_C(64) << 30)   /* address space; the files are sparse */
#define CLOUDD_STATE_MAP_BYTES (UINT64_C(128) << 30)

struct cloudd;

struct notify;

struct cloudd_options {
	const struct topology *topology; /* of its file; a map in its data folder goes before. Outlives the daemon */
	uint32_t self;
	const char *data;     /* folder: DATA/log and DATA/state */
	const char *version;  /* for /metrics */
	struct notify *notify; /* outlives the daemon; NULL: nobody is told */
};

/* Opens all, without serving yet but for /healthz. WEIR_EINVAL: the configuration cannot work here (exit 2); others: see
 * *ret_why, the caller's to free. */
int cloudd_open(const struct cloudd_options *o, struct cloudd **ret_cloudd, char **ret_why);
/* Makes the node in that folder the only member of all shards (cloudd/consensus_alone.h), without talking to anybody. WEIR_EINVAL: that
 * cannot be, and nothing was changed; others: as cloudd_open. */
int cloudd_begin_alone(const struct cloudd_options *o, char **ret_why);
/* Serves until SIGTERM or SIGINT. True: the cluster has another place for this node than its file: close it and open it again. A
 * disk that fails ends the process at once. */
bool cloudd_run(struct cloudd *c);
/* Finishes what the writers have, commits, closes. */
void cloudd_close(struct cloudd *c);

#endif
