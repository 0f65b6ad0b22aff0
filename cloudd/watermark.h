/* Watermarks: the state of each expected edge of one stream, and its close and final (semantics.md 3.3).
 *
 * Pure: the committed state, the edges' last reports and the time go in, the new state comes out. Time is the
 * leader's monotonic clock and decides only how long an edge was silent, joining or stuck; close and final come
 * from the edges' committed watermarks alone.
 *
 *                 first reading          everything acknowledged, sources idle
 *     JOINING ------------------> LIVE <---------------------------------------> IDLE
 *        |                        |  ^                                            |
 *        |        disk limit / room again: LIVE <-> BACKPRESSURED                 |
 *        |                        |  |                                            |
 *        |   unheard, or stuck with unsent data, or joining: partitioned_after    |
 *        +--------> PARTITIONED <-+  | has reached close                          |
 *                        |           |                                            |
 *                        +---> CATCHING_UP <--------------------------------------+
 *                              returns or resumes below close
 *
 * JOINING, LIVE and BACKPRESSURED edges hold close; PARTITIONED and CATCHING_UP ones hold final only.
 *
 * Two readings of the rule's text, where its letter would never end:
 * - "reached close" is judged in whole slices: no window can end between the edge's watermark and close. An edge
 *   whose clock or link is a second behind the others' would else chase close for ever.
 * - "not advancing with unsent data" allows one slice more than partitioned_after: the watermark of a healthy edge
 *   stands at the start of its open slice until that slice ends.
 *
 * One bad clock cannot move close: what an edge reports beyond fleet_time() and its max_ahead cannot be, and counts as what
 * that edge would report with a right clock. For an edge whose clock ran ahead, and which stamped readings by it, never
 * takes its own watermark back: its later readings are late by what it says, and must not make the others' late as well. While
 * it is idle that goes on for a window's size, until all that it had before can be closed. */
#ifndef WEIR_CLOUDD_WATERMARK_H
#define WEIR_CLOUDD_WATERMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "common/codec.h"

struct watermark_conf {
	int64_t partitioned_after_ns;
	int64_t slice_ns, offset_ns;
	int64_t size_ns, lateness_ns;
};

/* What is committed of one (edge, stream). */
struct watermark_committed {
	enum edge_state state;
	int64_t watermark_ns, flushed_end_ns; /* or WATERMARK_NONE */
};

/* What the leader heard of one (edge, stream), in memory only. Times are monotonic. */
struct watermark_heard {
	bool reported;          /* since this leader started */
	bool unsent;
	enum edge_phase phase;
	int64_t watermark_ns, flushed_end_ns; /* watermark_ns never falls */
	int64_t heard_ns;       /* of the last report, or the leader's start */
	int64_t advanced_ns;    /* when the watermark rose last, nothing was unsent, or it was heard again after silence */
	int64_t joining_ns;     /* since when its state is JOINING */
	int64_t idle_ns;        /* when it was first heard to be idle */
};

/* A leader's start: everyone counts as heard now. */
void watermark_start(struct watermark_heard *h, int64_t now_ns);
/* What a report is measured by: the fleet's time, or FLEET_TIME_UNKNOWN, and how far beyond it the edge may be. */
struct watermark_bound {
	int64_t fleet_ns, max_ahead_ns;
};

/* One report's part for this stream. Reports of the granted epoch only, in order: the caller sees to it. False: it says what
 * cannot be yet. */
bool watermark_report(struct watermark_heard *h, const struct watermark_conf *c, const struct msg_report_stream *r,
    const struct watermark_bound *b, int64_t now_ns);

/* One edge's next state, given close as committed. */
void watermark_edge(const struct watermark_conf *c, const struct watermark_committed *was,
    const struct watermark_heard *heard, int64_t close_ns, int64_t now_ns, struct watermark_committed *ret);
/* close and final given the edges' next states; in: as committed, out: never lower. left_end_ns: the highest flushed end of edges that
 * are expected no more (they count as idle), or WATERMARK_NONE. */
void watermark_close(const struct watermark_committed *edges, size_t count, int64_t left_end_ns, int64_t *inout_close_ns,
    int64_t *inout_final_ns);

#endif
