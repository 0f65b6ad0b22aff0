/* The partials of one window, group by group: one cursor per slice (or coarser period) that holds any, merged by a heap.
 *
 * So a window can be gone through from any group on, in bounded memory, whatever its number of groups. For one group the
 * partials come by (level, start). A scan must be closed before its transaction is written to, or ends. */
#ifndef WEIR_CLOUDD_SCAN_H
#define WEIR_CLOUDD_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/window.h"

struct scan;

/* Opens over the records of stream `id` whose whole span lies in [start, end), of groups behind *after (NULL: all).
 * *examined, here and below, is raised by the number of records looked at. 0, WEIR_ECORRUPT, WEIR_EIO. */
int scan_open(struct kv_txn *txn, unsigned db, uint32_t id, const struct window_levels *levels, int64_t start_ns,
    int64_t end_ns, const struct bytes *after, uint64_t *examined, struct scan **ret_scan);
void scan_close(struct scan *s);
/* 1: the next group, in order; 0: the end; or an error. The group lives until the next scan_ call but scan_partial. */
int scan_group(struct scan *s, uint64_t *examined, struct bytes *ret_group);
/* The encoded partials of the current group: 1, one more; 0: no more. Not called: they are skipped. */
int scan_partial(struct scan *s, uint64_t *examined, struct bytes *ret_value);

/* Start of the first record of any level at or after `from`; WEIR_ENOTFOUND. Raises *examined. */
int scan_first(struct kv_txn *txn, unsigned db, uint32_t id, const struct window_levels *levels, int64_t from_ns,
    uint64_t *examined, int64_t *ret_start_ns);

#endif
