#include "cloudd/watermark.h"

#include "cloudd/fleet_time.h"
#include "common/clock.h"

static int64_t max_ns(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void watermark_start(struct watermark_heard *h, int64_t now_ns)
{
	*h = (struct watermark_heard){
	    .phase = PHASE_JOINING,
	    .watermark_ns = WATERMARK_NONE,
	    .flushed_end_ns = WATERMARK_NONE,
	    .heard_ns = now_ns,
	    .advanced_ns = now_ns,
	    .joining_ns = now_ns,
	};
}

/* Event times of the wire are kept where adding a window cannot overflow; outside of it they say nothing. */
static int64_t sane(int64_t t_ns)
{
	return t_ns < TIME_MIN_NS || t_ns > TIME_MAX_NS ? WATERMARK_NONE : t_ns;
}

/* What the edge would report at the end of all that it can have, if its clock were right. Since when it is idle is told by the
 * fleet's time as it is now: what that was then may have been a slow clock's. */
static int64_t end_of_now(const struct watermark_heard *h, const struct watermark_conf *c, const struct watermark_bound *b,
    int64_t now_ns)
{
	int64_t end_ns = b->fleet_ns - c->lateness_ns, idle_end_ns = b->fleet_ns - (now_ns - h->idle_ns) + c->size_ns;
	return h->phase == PHASE_IDLE && end_ns > idle_end_ns ? idle_end_ns : end_ns;
}

/* reach_ns: by how much it may be beyond the readings that it comes from. */
static bool bound(const struct watermark_heard *h, const struct watermark_conf *c, const struct watermark_bound *b, int64_t now_ns,
    int64_t reach_ns, int64_t *inout_t_ns)
{
	if (b->fleet_ns < TIME_MIN_NS || b->fleet_ns > TIME_MAX_NS || *inout_t_ns <= b->fleet_ns + b->max_ahead_ns ||
	    *inout_t_ns - b->fleet_ns - b->max_ahead_ns <= reach_ns)
		return true;
	*inout_t_ns = end_of_now(h, c, b, now_ns);
	return false;
}

bool watermark_report(struct watermark_heard *h, const struct watermark_conf *c, const struct msg_report_stream *r,
    const struct watermark_bound *b, int64_t now_ns)
{
	int64_t watermark_ns = sane(r->watermark_ns), flushed_end_ns = sane(r->flushed_end_ns);
	if (r->phase == PHASE_IDLE && (!h->reported || h->phase != PHASE_IDLE))
		h->idle_ns = now_ns;
	h->phase = r->phase;
	bool can_be = bound(h, c, b, now_ns, 0, &watermark_ns);
	can_be = bound(h, c, b, now_ns, c->size_ns, &flushed_end_ns) && can_be;
	bool silent = now_ns - h->heard_ns >= c->partitioned_after_ns;
	if (!h->reported || silent || !r->unsent || watermark_ns > h->watermark_ns)
		h->advanced_ns = now_ns;
	h->reported = true;
	h->heard_ns = now_ns;
	h->unsent = r->unsent;
	h->watermark_ns = max_ns(h->watermark_ns, watermark_ns);
	h->flushed_end_ns = max_ns(h->flushed_end_ns, flushed_end_ns);
	return can_be;
}

/* No window can end within (watermark, close]: windows end at multiples of the slice, plus the offset. */
static bool reached(const struct watermark_conf *c, int64_t watermark_ns, int64_t close_ns)
{
	if (close_ns == WATERMARK_NONE)
		return true;
	if (watermark_ns == WATERMARK_NONE)
		return false;
	return time_floor(close_ns, c->slice_ns, c->offset_ns) <= watermark_ns;
}

static enum edge_state joining_state(const struct watermark_conf *c, enum edge_state was,
    const struct watermark_heard *h, int64_t watermark_ns, int64_t close_ns, int64_t now_ns)
{
	if (was == EDGE_JOINING)
		return now_ns - h->joining_ns >= c->partitioned_after_ns ? EDGE_PARTITIONED : EDGE_JOINING;
	if (was == EDGE_PARTITIONED && watermark_ns == WATERMARK_NONE)
		return EDGE_PARTITIONED; /* it joined for too long and still has nothing to say */
	return reached(c, watermark_ns, close_ns) ? EDGE_JOINING : EDGE_CATCHING_UP;
}

static enum edge_state next_state(const struct watermark_conf *c, enum edge_state was,
    const struct watermark_heard *h, int64_t watermark_ns, int64_t close_ns, int64_t now_ns)
{
	if (now_ns - h->heard_ns >= c->partitioned_after_ns)
		return EDGE_PARTITIONED;
	if (!h->reported)
		return was;
	if (h->phase == PHASE_IDLE)
		return EDGE_IDLE;
	if (h->unsent && now_ns - h->advanced_ns >= c->partitioned_after_ns + c->slice_ns)
		return EDGE_PARTITIONED;
	if (h->phase == PHASE_JOINING)
		return joining_state(c, was, h, watermark_ns, close_ns, now_ns);
	if (!reached(c, watermark_ns, close_ns))
		return EDGE_CATCHING_UP;
	return h->phase == PHASE_BACKPRESSURED ? EDGE_BACKPRESSURED : EDGE_LIVE;
}

void watermark_edge(const struct watermark_conf *c, const struct watermark_committed *was,
    const struct watermark_heard *heard, int64_t close_ns, int64_t now_ns, struct watermark_committed *ret)
{
	ret->watermark_ns = max_ns(was->watermark_ns, heard->watermark_ns);
	ret->state = next_state(c, was->state, heard, ret->watermark_ns, close_ns, now_ns);
	ret->flushed_end_ns = max_ns(was->flushed_end_ns, heard->flushed_end_ns);
}

static bool holds_close(enum edge_state s)
{
	return s == EDGE_JOINING || s == EDGE_LIVE || s == EDGE_BACKPRESSURED;
}

static bool holds_final(enum edge_state s)
{
	return s == EDGE_PARTITIONED || s == EDGE_CATCHING_UP;
}

void watermark_close(const struct watermark_committed *edges, size_t count, int64_t left_end_ns, int64_t *inout_close_ns,
    int64_t *inout_final_ns)
{
	/* WATERMARK_NONE is the least value: a minimum with one is "nothing yet", a maximum ignores it. */
	bool held = false;
	int64_t lowest_ns = INT64_MAX, flushed_ns = left_end_ns, behind_ns = INT64_MAX;
	for (size_t i = 0; i < count; i++) {
		const struct watermark_committed *e = &edges[i];
		if (holds_close(e->state)) {
			held = true;
			lowest_ns = e->watermark_ns < lowest_ns ? e->watermark_ns : lowest_ns;
		} else if (holds_final(e->state)) {
			behind_ns = e->watermark_ns < behind_ns ? e->watermark_ns : behind_ns;
		} else {
			flushed_ns = max_ns(flushed_ns, e->flushed_end_ns);
		}
	}
	*inout_close_ns = max_ns(*inout_close_ns, held ? lowest_ns : flushed_ns);
	int64_t final_ns = behind_ns < *inout_close_ns ? behind_ns : *inout_close_ns;
	*inout_final_ns = max_ns(*inout_final_ns, final_ns);
}
