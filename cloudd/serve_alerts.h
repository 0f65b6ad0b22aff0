/* What this node's state has of alerts, for sinks and for GET /api/v1/alerts. In short read transactions; any thread. */
#ifndef WEIR_CLOUDD_SERVE_ALERTS_H
#define WEIR_CLOUDD_SERVE_ALERTS_H

#include "cloudd/alert_record.h"
#include "cloudd/serve.h"

#define SERVE_ALERTS_BYTES_MAX (128 * 1024) /* of one piece of a shard's list, unless a single alert takes more */

/* Where a sink goes on in the events of a shard that is led here, after a read index: as serve_places(). */
enum verdict serve_alert_place(struct serve *s, uint32_t shard, const char *sink, struct serve_place *ret, const char **ret_reason);
/* The events behind *place that are for the sink, at most `limit` (and about SERVE_ALERTS_BYTES_MAX): each its length as varint, and as
 * alert_event_encode writes it. Moves the place. *ret_reset: events behind it were deleted. Of a shard that is led here, as it is: an
 * event never changes. */
int serve_alert_events(struct serve *s, uint32_t shard, const char *sink, struct sink_place *place, uint32_t limit, struct buf *out,
    bool *ret_reset);

/* What of them is behind the place. */
struct serve_alerts_left {
	uint64_t events; /* for the sink, of so many that are looked at: SERVE_ALERTS_LEFT_MAX */
	int64_t age_ns;  /* of the first, by the events' clock and on with the wall clock */
};
#define SERVE_ALERTS_LEFT_MAX 10000
int serve_alerts_left(struct serve *s, uint32_t shard, const char *sink, struct sink_place place, int64_t wall_ns, struct serve_alerts_left *ret);

/* The groups of a shard's alerts that are pending or firing: varint, the place to go on at (0: the end); then of each
 * [firing u8][stream][JSON object], both with their length as varint before them. Errors of kv. */
int serve_alert_groups(struct serve *s, uint32_t shard, uint64_t place, struct buf *out);

/* What MSG_STATUS asks for it by. */
#define SERVE_ALERTS_TAG "alerts."
void serve_what_alerts(uint32_t shard, uint64_t place, char out[SERVE_WHAT_MAX]);

#endif
