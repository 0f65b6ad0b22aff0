/* How far a long job is, as one line; and a brake that keeps it to a rate. Pure: time comes in. */
#ifndef WEIR_CTL_PROGRESS_H
#define WEIR_CTL_PROGRESS_H

#include <stdint.h>

#include "common/buf.h"

/* Appends "[=====>    ]  52%  1.2 M lines  310 k lines/s  ETA 4s". total: of the same unit as done; 0: unknown (then
 * without bar, share and ETA). */
void progress_put(struct buf *b, uint64_t done, uint64_t total, uint64_t lines, int64_t elapsed_ns);
/* 1234567 as "1.23 M". */
void progress_put_count(struct buf *b, double n);
/* How long to wait until `lines` lines are due at `per_second`, given what has passed since the first; 0: no wait. */
int64_t progress_wait_ns(uint64_t lines, double per_second, int64_t elapsed_ns);

#endif
