/* Health: what the service manager is told of a running cloud node (common/notify.h). Pure. */
#ifndef WEIR_CLOUDD_HEALTH_H
#define WEIR_CLOUDD_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/consensus.h"
#include "common/buf.h"

#define HEALTH_JOB_MAX_NS (INT64_C(30) * 1000000000) /* that a writer may be inside one job: a disk may be slow */

#define HEALTH_HANGS_NS (INT64_C(60) * 1000000000) /* without progress; as WatchdogSec of the units */

struct health {
	uint64_t ticks;          /* of Raft, since the start */
	int64_t log_busy_ns;     /* mono: since when the log's writer is in one job; 0: it waits for one */
	int64_t state_busy_ns;   /* likewise the state's */
};

/* Whether there is progress: Raft has ticked since (ticks_before), and neither writer hangs. A loop that turns while nothing
 * is written any more is none: nothing is committed by it. */
bool health_is_alive(const struct health *h, uint64_t ticks_before, int64_t now_ns);

/* For who asks by HTTP (no service manager watches in a container): alive_ns, now_ns: mono, when there was progress last. */
bool health_hangs(int64_t alive_ns, int64_t now_ns);

/* "ready; leads 3 of 9 groups", or "waits: WHY; ...", appended. groups: count of them; why: NULL: it is ready. */
void health_text(const struct group_status *groups, uint32_t count, const char *why, struct buf *out);

#endif
