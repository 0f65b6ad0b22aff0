/* Alerts, as far as all replicas do the same: a new map begins and ends them, ENTRY_ALERT tells what the leader found (cloudd/alert_judge).
 * Nothing is evaluated here. Part of apply: pure; errors are those of common/kv. */
#ifndef WEIR_CLOUDD_ALERT_APPLY_H
#define WEIR_CLOUDD_ALERT_APPLY_H

#include "cloudd/alert_record.h"
#include "cloudd/shard.h"

#define ALERT_EVENTS_MAX 100000 /* kept of a shard's; and none for longer than OUTBOX_AGE_MAX_NS (sweep.h), by the log's own clock */
#define ALERT_TRIM_MAX 10000    /* deleted by one entry */

/* The shard goes by another map, with which it is loaded: alerts that are new begin with the windows that close from now on, those that
 * the map has no more, or with another condition, end. */
int alert_apply_map(struct shard *sh, uint64_t index);
int alert_apply(struct shard *sh, const struct entry *e, uint64_t index);

#endif
