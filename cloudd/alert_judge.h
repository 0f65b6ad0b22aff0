/* Alert judge: what a shard's state says of its alerts that its log has not been told yet, as an ENTRY_ALERT for its leader to propose.
 *
 * Windows are judged once, in order, when they have closed (provisional or final: as they are at that moment; what comes later revises
 * rows, not alerts). A group without data in a window does not meet the condition there.
 *
 *                          met                       not met, or no data
 *     (nothing)  --------> PENDING, run 1            (nothing)
 *     PENDING    --------> PENDING, run + 1          CLEARED
 *                run == for: FIRING
 *     FIRING     --------> (nothing to tell)         RESOLVED
 *
 * What is beyond the stream's `retain` when its turn comes is passed over, and changes nothing.
 * All versions of the stream are judged, one after the other. So every group that is there was met in the window that was judged last:
 * what is between two windows is no concern.
 *
 * It only reads: floating point is evaluated here, by one node; all replicas take what it found from the entry. Where that was found
 * twice, or from a state that is behind, the entry changes nothing (entry.h: `changed`). Pure. */
#ifndef WEIR_CLOUDD_ALERT_JUDGE_H
#define WEIR_CLOUDD_ALERT_JUDGE_H

#include "cloudd/alert_record.h"

#define ALERT_GROUPS_MAX 10000   /* pending or firing, of one alert in a shard: further groups are not taken up */
#define ALERT_WORK_MAX 10000     /* rows and windows that one entry judges, and groups that it tells of */
#define ALERT_ENTRY_BYTES (128 * 1024)

/* One window of one group: *g is what is kept of it (run 0: nothing), and is changed; false: there is nothing to tell. */
bool alert_step(struct alert_group *g, uint32_t for_windows, bool met, int64_t window_ns, enum alert_what *ret_what);

struct alert_found {
	struct entry entry;  /* ENTRY_ALERT, time 0; count 0: there is nothing to tell. It points into the struct's own memory */
	bool more;           /* not all was looked at */
	uint32_t next;       /* the alert that is first in turn in the next call */
	uint64_t left_out;   /* groups that met a condition and were not taken up: ALERT_GROUPS_MAX */
	uint64_t gone;       /* windows of alerts that the shard had given up, `retain`, before their turn came: as if they were not */
	struct buf *room;    /* its own */
	size_t room_count;
};
/* What one call does. */
struct alert_turn {
	uint32_t from;     /* id of the alert that is first in turn: 0, or `next` of the call before, so that one that is far behind does not hold up the others */
	uint64_t work_max; /* ALERT_WORK_MAX, or less */
	bool (*enough)(void *arg); /* asked before each page of rows and each alert but the first: what was found is to do. NULL: never */
	void *arg;
};
/* t: the topology of the shard's map. The rest is found by the next call, when what was found has been applied. 0, or an error of kv;
 * WEIR_EBUSY: a snapshot is being installed. *ret: alert_found_clear(). */
int alert_judge(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct alert_turn *turn, struct alert_found *ret);
void alert_found_clear(struct alert_found *f);

/* How far the windows that have closed are ahead of those that are judged; 0: not at all, or nothing is judged yet. */
int alert_behind(const struct topology *t, struct kv_txn *txn, uint32_t shard, const struct alert_record *a, int64_t *ret_ns);

#endif
