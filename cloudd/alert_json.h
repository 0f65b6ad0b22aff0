/* What the world is told of alerts, as JSON. Pure. */
#ifndef WEIR_CLOUDD_ALERT_JSON_H
#define WEIR_CLOUDD_ALERT_JSON_H

#include "cloudd/alert_record.h"
#include "common/buf.h"

/* 32 hexadecimal digits that name (stream, alert, group, window, firing or resolved): the same each time that the event comes. */
#define ALERT_ID_BYTES (32 + 1)
void alert_event_id(const struct alert_event *e, char out[ALERT_ID_BYTES]);
/* As sink_row_is_part() of a row. */
bool alert_event_is_part(const struct alert_event *e);
/* {"kind": "alert", "id", "alert", "stream", "when", "for", "state": "firing" | "resolved", "reason", "since", "window": {"start", "end"},
 * "group", "values", "severity", "summary", "at"}; "shard" too where the group is what is over max_groups, of which each shard has its own. Appends. */
void alert_event_json(const struct alert_event *e, struct buf *out);
/* {"alert", "stream", "group"}: the same for all events of a group. Appends. */
void alert_event_key_json(const struct alert_event *e, struct buf *out);

/* A group that is pending or firing: what GET /api/v1/alerts says of it. */
void alert_group_json(const struct alert_record *a, const struct alert_group *g, struct bytes group, uint32_t shard, struct buf *out);

#endif
