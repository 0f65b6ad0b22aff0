/* Health: what the service manager is told of a running edge (common/notify.h). Pure. */
#ifndef WEIR_EDGED_HEALTH_H
#define WEIR_EDGED_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define HEALTH_TICKS_MISSED_MAX 2
#define HEALTH_SLOW_NS (INT64_C(10) * 1000000000)  /* of a checkpoint: the next one may take much longer still */
#define HEALTH_GRACE_NS (INT64_C(10) * 1000000000) /* that a tick may take longer than it should: a slow disk, a busy machine */

/* Whether there is progress: a checkpoint within that many ticks and the grace. One that found no room, and so only stopped reading, is one
 * as well: who waits for the clouds does what it should. All times mono; ticked_ns: when the last one was done. */
bool health_is_alive(int64_t ticked_ns, int64_t now_ns, int64_t tick_ns);

struct health {
	bool removed, fenced, paused; /* as of the pipeline; the first one counts */
	size_t closed;                /* sources that are tried again */
	uint64_t spool_bytes;
	const char *cloud;            /* that it is connected to; NULL: none yet */
	bool answered;                /* by that one */
};

/* "measuring; 1 of its sources cannot be opened; spool 1.5 MiB; cloud-1 answers", appended. */
void health_text(const struct health *h, struct buf *out);

#endif
