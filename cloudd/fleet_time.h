/* What time it is, by the clocks of the fleet: bounds how far a watermark can be believed. Pure.
 *
 * A window never closes because a clock says so; but none closes that lies in the future of most clocks. So one bad clock,
 * an edge's or the leader's, cannot move a watermark: not ahead, for the others say what time it is; and one that is behind does not
 * hold the fleet back. Of two clocks the earlier is taken: what closes too early can be late for ever, what closes too late is
 * set right with the clock. */
#ifndef WEIR_CLOUDD_FLEET_TIME_H
#define WEIR_CLOUDD_FLEET_TIME_H

#include <stddef.h>
#include <stdint.h>

#define FLEET_TIME_UNKNOWN INT64_MAX

/* Of clocks that are not known to be wrong; sorts them. The later median of three and more; none: FLEET_TIME_UNKNOWN. */
int64_t fleet_time(int64_t *clocks, size_t count);

#endif
