/* One edge daemon: wires sources, loop, uplink socket, HTTP, timers and signals to the pipeline. The only place of
 * edged that knows all of them.
 *
 * edged_open -> edged_run -> edged_close, on one thread. */
#ifndef WEIR_EDGED_EDGED_H
#define WEIR_EDGED_EDGED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model.h"

struct edged;

struct notify;

struct edged_options {
	const struct topology *topology; /* outlives the edged */
	uint32_t edge;                   /* which of its edges */
	const char *data;                /* folder, made if missing; NULL: as the topology says */
	const char *config;              /* path, to be read again on SIGHUP */
	bool allow_exec;                 /* programs that the cluster's topology names, too (permit.h) */
	struct notify *notify;           /* outlives the edged; NULL: nobody is told */
};

/* Whether this program can run the topology: addresses off loopback and keys are refused until there is encryption.
 * 0 or WEIR_EINVAL with *ret_why (the caller's to free). */
int edged_check(const struct topology *t, uint32_t edge, char **ret_why);
/* 0, or an error with *ret_why, a text for people that says what to do; the caller's to free. WEIR_EINVAL: the
 * configuration is at fault. Sources deliver once edged_run has been called. */
int edged_open(const struct edged_options *o, struct edged **ret_edged, char **ret_why);
/* Until SIGTERM or SIGINT, then a last checkpoint: 0. WEIR_EIO and others: the disk cannot be trusted, or the last
 * checkpoint failed; logged already. */
int edged_run(struct edged *e);
void edged_close(struct edged *e);

#endif
