#include "cloudd/fleet_time.h"

#include <stdlib.h>

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

int64_t fleet_time(int64_t *clocks, size_t count)
{
	if (!count)
		return FLEET_TIME_UNKNOWN;
	qsort(clocks, count, sizeof(*clocks), by_time);
	return clocks[count < 3 ? 0 : count / 2];
}
