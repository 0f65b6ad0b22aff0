/* This process in Prometheus' metrics, under the names that all its client libraries use (process_...), so that dashboards and rules which
 * are there already know them. What cannot be read (no /proc) is left out.
 *
 * process_start_time_seconds is worked out once, at the first call: it changes with a restart, and never because a clock was set. */
#ifndef WEIR_COMMON_PROCESS_H
#define WEIR_COMMON_PROCESS_H

#include <stdint.h>

#include "common/buf.h"

/* Any thread, all of them. Resident memory; 0: unknown. */
uint64_t process_resident_bytes(void);
void process_put_metrics(struct buf *out);
/* NAME_build_info{version}, which is always 1. */
void process_put_build(const char *family, const char *version, struct buf *out);

#endif
