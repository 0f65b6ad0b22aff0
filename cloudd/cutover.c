#include "cloudd/cutover.h"

#include <string.h>

#include "common/map.h"

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- cutting over ------------------------------------------------------------------------------------------ */

static bool is_earlier(const struct topology *t, uint32_t i, uint32_t pending)
{
	return i != pending && !strcmp(t->streams[i].name, t->streams[pending].name);
}

/* The version that answers up to the cut: the one in force, else the last that was. NULL: none ever answered. */
static const struct stream_conf *before(const struct topology *t, uint32_t pending)
{
	const struct stream_conf *found = NULL;
	for (uint32_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (!is_earlier(t, i, pending) || s->from_ns >= s->answers_until_ns)
			continue;
		if (!found || s->answers_until_ns > found->answers_until_ns)
			found = s;
	}
	return found;
}

/* What earlier versions have closed or begun with: the cut is not before it. */
static int64_t answered_ns(const struct topology *t, const struct cutover_stream *streams, uint32_t pending)
{
	int64_t highest_ns = WATERMARK_NONE;
	for (uint32_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (!is_earlier(t, i, pending) || s->from_ns >= s->answers_until_ns)
			continue;
		int64_t close_ns = streams[i].close_ns;
		if (s->answers_until_ns != INT64_MAX && close_ns > s->answers_until_ns)
			close_ns = s->answers_until_ns; /* later windows were not told of */
		highest_ns = later(highest_ns, later(close_ns, s->from_ns));
	}
	return highest_ns;
}

/* Whether all have said since when that need to; *ret_ns: the highest of it. *ret_unknown: somebody is not waited for. */
static bool all_said(const struct stream_conf *s, const struct cutover_stream *known, int64_t *ret_ns, bool *ret_unknown)
{
	*ret_ns = known->left_since_ns; /* what those read before that is in earlier versions, and counts */
	*ret_unknown = false;
	for (size_t i = 0; i < s->edge_count; i++) {
		const struct cutover_edge *e = &known->edges[i];
		if (e->since_known)
			*ret_ns = later(*ret_ns, e->since_ns);
		else if (e->state != EDGE_PARTITIONED)
			return false;
		else
			*ret_unknown = true;
	}
	return true;
}

static bool cut(const struct topology *t, const struct cutover_stream *streams, uint32_t i, int64_t *ret_ns)
{
	const struct stream_conf *s = &t->streams[i], *was = before(t, i);
	int64_t since_ns;
	bool unknown;
	if (!all_said(s, &streams[i], &since_ns, &unknown))
		return false;
	int64_t t_ns = later(since_ns, answered_ns(t, streams, i));
	/* Only those that are away can have readings, in the version in force: it goes on until they are heard. */
	if (t_ns == WATERMARK_NONE && unknown && was)
		return false;
	*ret_ns = t_ns == WATERMARK_NONE ? WATERMARK_NONE : map_boundary(was ? was : s, s, t_ns);
	return true;
}

/* ---- done with --------------------------------------------------------------------------------------------- */

static bool is_final(const struct cutover_stream *known, int64_t end_ns)
{
	return end_ns == WATERMARK_NONE || (known->final_ns != WATERMARK_NONE && known->final_ns >= end_ns);
}

static bool has_closed(const struct stream_conf *s, const struct cutover_stream *known)
{
	if (s->until_ns == INT64_MIN)
		return true; /* it answers nothing */
	if (!s->edge_count)
		return is_final(known, known->left_end_ns); /* nobody is left to feed it */
	return known->final_ns != WATERMARK_NONE && known->final_ns >= s->until_ns;
}

static bool has_ended(const struct stream_conf *s, const struct cutover_stream *known)
{
	for (size_t i = 0; i < s->edge_count; i++) {
		const struct cutover_edge *e = &known->edges[i];
		if (!e->ended)
			return false;
		if (!e->never_read && e->state != EDGE_IDLE)
			return false;
		if (!is_final(known, e->flushed_end_ns)) /* of one that never read: what was committed with it for edges that left */
			return false;
	}
	return is_final(known, known->left_end_ns);
}

size_t cutover_steps(const struct topology *t, const struct cutover_stream *streams, struct cutover_step *out)
{
	size_t n = 0;
	for (uint32_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		struct cutover_step step = {.stream = i, .t_ns = WATERMARK_NONE};
		bool due = false;
		switch (s->phase) {
		case STREAM_PENDING:
			due = cut(t, streams, i, &step.t_ns);
			break;
		case STREAM_CLOSING:
			step.retire = due = has_closed(s, &streams[i]);
			break;
		case STREAM_ENDED:
			step.retire = due = has_closed(s, &streams[i]) || has_ended(s, &streams[i]);
			break;
		case STREAM_CURRENT:
		case STREAM_RETIRED:
			break;
		}
		if (due)
			out[n++] = step;
	}
	return n;
}
