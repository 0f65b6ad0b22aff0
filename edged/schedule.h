/* When to do what is done at an interval: at whole multiples of it in wall time, plus an offset that spreads those who have the
 * same interval. Steps are counted in monotonic time, so that a wall clock that is set does not disturb. Pure. */
#ifndef WEIR_EDGED_SCHEDULE_H
#define WEIR_EDGED_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule {
	int64_t every_ns;
	int64_t due_ns; /* mono */
};

/* Of texts that tell one from the others; what it is mapped to stays, so that spread times stay spread. NULL is "". */
int64_t schedule_offset_ns(int64_t every_ns, const char *a, const char *b, const char *c);
/* The first time that is due lies within the next interval. every_ns > 0. */
void schedule_init(struct schedule *s, int64_t every_ns, int64_t offset_ns, int64_t wall_ns, int64_t mono_ns);
/* Whether it is due; then the next time is set, and *ret_missed is how many times have passed beside this one. */
bool schedule_due(struct schedule *s, int64_t mono_ns, uint64_t *ret_missed);
/* Until it is due, at least 1. */
uint64_t schedule_wait_ms(const struct schedule *s, int64_t mono_ns);

#endif
