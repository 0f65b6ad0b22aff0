/* Time, read in one place, so that everything below a daemon's loop takes it as an argument.
 *
 * wall: nanoseconds since the Unix epoch, may jump; mono: nanoseconds since some start, never falls. */
#ifndef WEIR_COMMON_CLOCK_H
#define WEIR_COMMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
/* Event times are kept within [TIME_MIN_NS, TIME_MAX_NS] so that adding a window never overflows. */
#define TIME_MIN_NS (INT64_MIN / 4)
#define TIME_MAX_NS (INT64_MAX / 4 * 3)

int64_t clock_wall_ns(void);
int64_t clock_mono_ns(void);

/* The largest multiple of step (> 0) plus offset that is <= t: windows and slices are aligned this way. */
static inline int64_t time_floor(int64_t t, int64_t step, int64_t offset)
{
	int64_t d = (t - offset) % step;
	return t - (d < 0 ? d + step : d);
}

/* RFC 3339, UTC, with as many fractional digits as needed (0, 3, 6 or 9): "2015-09-01T11:25:00Z". */
#define TIME_TEXT_MAX 40
void time_format(int64_t t_ns, char out[TIME_TEXT_MAX]);
/* RFC 3339 (with zone), or seconds since the epoch with up to 9 decimals, or "now", or "-1h" before now_ns. */
int time_parse(const char *text, int64_t now_ns, int64_t *ret_ns);
/* "250ms", "10s", "5m", "2h", "7d", "1y" (365 days), also "1h30m": > 0; "0" and "0s" give 0. WEIR_EINVAL, WEIR_ETOOBIG. */
int duration_parse(const char *text, size_t len, int64_t *ret_ns);
/* The shortest such text: 90 s is "90s", 1 h is "1h". */
void duration_format(int64_t ns, char out[TIME_TEXT_MAX]);

#endif
