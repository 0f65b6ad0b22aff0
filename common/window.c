#include "common/window.h"

#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/codec.h"

int64_t window_time(int64_t t_ns)
{
	if (t_ns == WATERMARK_NONE)
		return t_ns;
	return t_ns < TIME_MIN_NS ? TIME_MIN_NS : t_ns > TIME_MAX_NS ? TIME_MAX_NS : t_ns;
}

struct window_grid window_grid_of(const struct stream_conf *s)
{
	return (struct window_grid){s->size_ns, s->advance_ns, s->offset_ns};
}

int64_t window_floor(const struct window_grid *g, int64_t t_ns)
{
	return time_floor(t_ns, g->advance_ns, g->offset_ns);
}

int64_t window_ceil(const struct window_grid *g, int64_t t_ns)
{
	int64_t w = window_floor(g, t_ns);
	return w == t_ns ? w : w + g->advance_ns;
}

int64_t window_ending_after(const struct window_grid *g, int64_t t_ns)
{
	return window_floor(g, t_ns - g->size_ns) + g->advance_ns;
}

bool window_range(const struct window_grid *g, int64_t start_ns, int64_t length_ns, int64_t *ret_first,
    int64_t *ret_last)
{
	int64_t first = window_ceil(g, start_ns + length_ns - g->size_ns);
	int64_t last = window_floor(g, start_ns);
	if (first > last)
		return false;
	*ret_first = first;
	*ret_last = last;
	return true;
}

static int64_t floor_of(int64_t close_ns, int64_t retain_ns, int64_t every_ns, int64_t offset_ns)
{
	int64_t t;
	if (close_ns == WATERMARK_NONE || retain_ns == RETAIN_FOREVER || __builtin_sub_overflow(close_ns, retain_ns, &t) ||
	    t < TIME_MIN_NS)
		return INT64_MIN;
	return time_floor(t, every_ns, offset_ns);
}

void window_levels_at(const struct stream_conf *s, int64_t close_ns, struct window_levels *ret)
{
	struct window_levels l = {.count = 1 + (unsigned)s->rollup_count, .offset_ns = s->offset_ns};
	l.every_ns[0] = s->slice_ns;
	for (unsigned i = 1; i < l.count; i++)
		l.every_ns[i] = s->rollups[i - 1].every_ns;
	l.horizon_ns = INT64_MAX;
	for (unsigned i = 0; i < l.count; i++) {
		int64_t retain = i ? s->rollups[i - 1].retain_ns : s->retain_ns;
		l.floor_ns[i] = floor_of(close_ns, retain, l.every_ns[i + 1 < l.count ? i + 1 : i], l.offset_ns);
		if (l.floor_ns[i] < l.horizon_ns)
			l.horizon_ns = l.floor_ns[i];
	}
	*ret = l;
}

void window_levels_raise(struct window_levels *l, const struct window_floors *kept)
{
	l->horizon_ns = INT64_MAX;
	for (unsigned i = 0; i < l->count; i++) {
		if (i < kept->count && kept->floor_ns[i] > l->floor_ns[i])
			l->floor_ns[i] = kept->floor_ns[i];
		if (l->floor_ns[i] < l->horizon_ns)
			l->horizon_ns = l->floor_ns[i];
	}
}

void window_floors_of(const struct window_levels *was, const struct stream_conf *next, struct window_floors *ret)
{
	struct window_floors f = {.count = 1 + (unsigned)next->rollup_count};
	for (unsigned i = 0; i < f.count; i++) {
		if (i < was->count) {
			f.floor_ns[i] = was->floor_ns[i];
			continue;
		}
		int64_t finer_ns = f.floor_ns[i - 1], every_ns = next->rollups[i - 1].every_ns;
		int64_t start_ns = finer_ns == INT64_MIN ? INT64_MIN : time_floor(finer_ns, every_ns, next->offset_ns);
		f.floor_ns[i] = start_ns < finer_ns ? start_ns + every_ns : start_ns;
	}
	*ret = f;
}

int64_t window_period(const struct window_levels *l, unsigned level, int64_t t_ns)
{
	return time_floor(t_ns, l->every_ns[level], l->offset_ns);
}

int window_level(const struct window_levels *l, unsigned from, int64_t slice_ns, int64_t *ret_period_ns)
{
	for (unsigned i = from; i < l->count; i++) {
		int64_t period = i ? window_period(l, i, slice_ns) : slice_ns;
		if (period >= l->floor_ns[i]) {
			*ret_period_ns = period;
			return (int)i;
		}
	}
	return -1;
}

bool window_answerable(const struct window_levels *l, int64_t start_ns, int64_t end_ns)
{
	int64_t period;
	if (window_level(l, 0, start_ns, &period) < 0 || period != start_ns)
		return false;
	return window_level(l, 0, end_ns, &period) < 0 || period == end_ns;
}

bool group_split(struct bytes group, size_t count, struct group_value ret_values[BY_MAX])
{
	if (group.n > GROUP_KEY_MAX)
		return false;
	struct rd r = rd_init(group.p, group.n);
	for (size_t i = 0; i < count; i++) {
		struct group_value *v = &ret_values[i];
		const uint8_t *from = r.p;
		v->text.p = rd_bytes(&r, GROUP_KEY_MAX, &v->text.n);
		v->encoded = bytes_of(from, (size_t)(r.p - from));
		/* one way to write a length, or one group would have several keys */
		if (v->encoded.n != v->text.n + (v->text.n < 128 ? 1 : 2))
			return false;
	}
	return !rd_finish(&r);
}

int group_order(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

struct bytes group_other(size_t count, uint8_t room[GROUP_KEY_MAX])
{
	static const char other[] = GROUP_OTHER;
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		room[n++] = (uint8_t)(sizeof(other) - 1);
		memcpy(room + n, other, sizeof(other) - 1);
		n += sizeof(other) - 1;
	}
	return bytes_of(room, n);
}
