/* Numbers as StatsD's senders write them: 3, +3, -.5, 1e-3. Pure, whatever the locale. */
#ifndef WEIR_EDGED_STATSD_NUMBER_H
#define WEIR_EDGED_STATSD_NUMBER_H

#include <stdbool.h>

#include "common/kv.h"

#define STATSD_NUMBER_BYTES_MAX 64

/* The double that is nearest. False: no number, one that is not finite as a double, or longer than STATSD_NUMBER_BYTES_MAX. */
bool statsd_number(struct bytes text, double *ret);

#endif
