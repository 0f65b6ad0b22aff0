/* Simulated sensors: readings as a pure function of (seed, sensor, tick), so that any position can be gone back to.
 *
 * Each tick (every_ns of event time) gives at most one reading of each sensor: a level (mean), a slow sine around it
 * (drift; ten minutes a turn, each sensor at another phase), normal noise, spikes. Some readings are missing (gaps),
 * some come twice (duplicates), some later than newer ones (late: up to late_by_ns, with the timestamp of their own tick).
 * Values have three decimals. Only additions, multiplications and divisions: the same bits on every machine.
 *
 * A plain value; no clock, no I/O. Uses of struct source_conf what stands under "simulate". */
#ifndef WEIR_COMMON_SIMULATE_H
#define WEIR_COMMON_SIMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"

#define SIMULATE_DELAYS_MAX 8
/* One sensor in one tick: its own reading and late ones of as many earlier ticks as there are delays, each twice. */
#define SIMULATE_READINGS_MAX (2 * (1 + SIMULATE_DELAYS_MAX))
#define SIMULATE_LINE_MAX 256 /* bytes of a line beyond measurement and field */

struct simulate_reading {
	unsigned sensor; /* 1 .. sensors */
	int64_t t_ns;
	double value;
};

struct simulate {
	const struct source_conf *conf; /* the caller's, outlives it */
	int64_t start_ns; /* event time of tick 0 */
	uint64_t tick;    /* position: what comes next */
	unsigned sensor;  /* 0-based */
};

/* start_ns: used where the configuration says none ("now"). */
void simulate_init(struct simulate *s, const struct source_conf *conf, int64_t start_ns);
/* With a count: everything has come, late readings included. */
bool simulate_finished(const struct simulate *s);
/* Event time of the tick that comes next: in real time, when it is due. */
int64_t simulate_next_ns(const struct simulate *s);
/* Goes to the first tick at or after t_ns, if that is ahead. */
void simulate_skip_to(struct simulate *s, int64_t t_ns);
/* The readings that the next sensor gives in this tick (0 .. SIMULATE_READINGS_MAX), in the order of sending; moves the
 * position on. Not to be called when finished. */
size_t simulate_step(struct simulate *s, struct simulate_reading *ret_readings);
/* Appends one line, newline included: MEASUREMENT,sensor=N FIELD=VALUE TIME. */
void simulate_put_line(const struct source_conf *conf, const struct simulate_reading *r, struct buf *out);

#endif
