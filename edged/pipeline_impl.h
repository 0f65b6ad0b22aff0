/* What pipeline*.c share: the whole state of one edge's pure part. Nothing else includes it. */
#ifndef WEIR_EDGED_PIPELINE_IMPL_H
#define WEIR_EDGED_PIPELINE_IMPL_H

#include "common/clock_watch.h"
#include "edged/group.h"
#include "edged/intake.h"
#include "edged/ledger.h"
#include "edged/pipeline.h"
#include "edged/progress.h"
#include "edged/slice.h"
#include "edged/spool.h"
#include "edged/step.h"
#include "edged/stream.h"
#include "edged/uplink.h"

/* Sources are paused from the disk limit on, until use has fallen below this share of it. */
#define PIPELINE_RESUME_PERCENT 90
#define PIPELINE_REWRITES_PER_TICK_MAX 8
#define PIPELINE_SOURCES_KEPT_MAX 256 /* positions of sources that are no longer there: they may come back */
#define PIPELINE_LEDGERS_KEPT_MAX 1024 /* likewise of streams */

#define PIPELINE_MARK_KEY_MAX (2 * NAME_MAX_BYTES + 64)

/* What is known of a stream at this edge beyond its partials. */
struct pipeline_stream {
	int64_t watermark_ns, flushed_end_ns;           /* committed */
	int64_t last_slice_ns;                          /* committed: start of the highest slice that ever had readings; WATERMARK_NONE */
	int64_t next_watermark_ns, next_flushed_end_ns; /* in the checkpoint under way */
	int64_t next_last_slice_ns;
	int64_t oldest_ns;                              /* start of the oldest slice not acknowledged; INT64_MAX: none */
	int64_t told_watermark_ns, told_flushed_end_ns; /* in the last report */
	enum edge_phase told_phase;
};

struct pipeline_kept {
	struct uplink *uplink;
	struct progress progress;
	struct clock_watch clock;
	uint64_t *move_last;
	bool has_moves, claim_answered, acked, full, over, paused, clock_suspect;
	uint64_t checkpoints, checkpoints_full, maps_adopted, maps_refused, damaged;
};

struct pipeline {
	const struct topology *topology;
	const struct edge_conf *edge;
	struct pipeline_io io;

	struct ledger ledger;
	struct streams streams;
	struct groups groups;
	struct step_chain **chains; /* of the topology's streams */
	struct intake *intake;
	struct slices slices;
	struct spool *spool;
	struct uplink *uplink;
	struct progress progress;
	struct pipeline_stream *of_stream; /* by index, orphans included */
	size_t of_stream_count;

	bool claim_answered; /* by a grant that is stored */
	bool has_grant; /* to be stored by the next checkpoint */
	struct uplink_grant grant;
	uint64_t *move_last; /* per shard: UINT64_MAX, or the cloud's last that the batches must follow */
	bool has_moves;
	bool acked; /* something, since it was looked whether that is worth a report */
	bool wants_report; /* it is: a checkpoint commits what it tells */

	/* Sources must start at their end: asked for by the mark `skip` until a checkpoint holds their new positions. */
	bool skip_wanted, skip_asked;
	bool gave_up; /* the spool has lost what it depends on, and the commit that gives up the rest is still to come */

	size_t slices_bytes_max;
	bool full;   /* the last checkpoint found no room */
	bool over;   /* over the disk limit, or SPOOL_BATCHES_MAX */
	bool paused;
	uint64_t checkpoints, checkpoints_full;
	struct clock_watch clock;
	bool clock_suspect; /* at the last tick */

	int64_t high_ns;     /* highest timestamp ever accepted; WATERMARK_NONE: none */
	bool prune;          /* marks of what is no longer there may be in the spool */
	struct buf offered;  /* the map that the cloud has sent; empty: none */
	struct bytes storing; /* the map that the checkpoint under way stores */
	bool stores_map;
	uint64_t removed;    /* version of the map that this edge is not in; 0: none */
	uint64_t maps_adopted, maps_refused;
	uint64_t damaged_before; /* by earlier openings of this process */
	bool marks_lost;         /* what the spool held was given up when it was opened */

	struct ledger_stream *ledger_before; /* scratch: to undo a checkpoint's bookings */
	struct slice_entry **scratch;
	size_t scratch_cap;
	struct buf value;
	struct msg_report_stream report_streams[REPORT_STREAMS_MAX];
	struct msg_count report_refused[REASON_COUNTS_MAX];
};

/* pipeline.c: the key of what the spool keeps of a version of a stream: "wm", "last", "since". */
void pipeline_stream_mark(char key[PIPELINE_MARK_KEY_MAX], const char *what, const struct stream_conf *c);

/* pipeline_commit.c: one checkpoint of everything (WEIR_EFULL: nothing has changed), and one of only what makes room
 * or is needed to send what the spool has. */
int pipeline_commit_all(struct pipeline *p, bool flush, struct pipeline_time now);
int pipeline_commit_least(struct pipeline *p, struct pipeline_time now);
/* pipeline_commit.c: oldest_ns of all streams, as of now. */
void pipeline_find_oldest(struct pipeline *p);

/* pipeline_report.c */
void pipeline_report(void *arg, struct msg *m);
/* Whether a report would let windows close that the last one did not: a stream's watermark has passed the end of one, or
 * the edge is idle. after_commit: as of a checkpoint made now. */
bool pipeline_has_news(struct pipeline *p, bool after_commit);

#endif
