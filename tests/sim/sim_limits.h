/* Included before everything in what the simulator compiles for itself: limits of the product that a short run would never
 * come to. The log keeps few entries behind the state, so that followers need snapshots, and those have many chunks. */
#ifndef WEIR_SIM_LIMITS_H
#define WEIR_SIM_LIMITS_H

#include <stdint.h>

extern uint64_t sim_keep_entries, sim_truncate_min; /* of this seed */

#define CONSENSUS_KEEP_ENTRIES sim_keep_entries
#define CONSENSUS_TRUNCATE_MIN sim_truncate_min
#define SNAPSHOT_CHUNK_MAX 1536

extern int64_t sim_outbox_step_max_ns; /* a mutant's differs */
#define OUTBOX_CLOCK_STEP_MAX_NS sim_outbox_step_max_ns

#endif
