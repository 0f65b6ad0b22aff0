#include "common/clock_watch.h"

void clock_watch_init(struct clock_watch *w, int64_t floor_ns, int64_t behind_ns)
{
	*w = (struct clock_watch){.floor_ns = floor_ns > CLOCK_RELEASE_NS ? floor_ns : CLOCK_RELEASE_NS};
	w->kept_ns = w->floor_ns;
	w->behind_ns = behind_ns > CLOCK_STEP_NS ? behind_ns : CLOCK_STEP_NS;
}

static void believe(struct clock_watch *w, int64_t off_ns)
{
	w->known = true;
	w->base_ns = off_ns;
}

/* A clock below the floor may be right all the same, where what was kept had come from a clock that was ahead. */
static void lower_floor(struct clock_watch *w, int64_t wall_ns)
{
	if (wall_ns < CLOCK_RELEASE_NS)
		return;
	if (wall_ns < w->floor_ns)
		w->floor_ns = wall_ns;
	w->kept_ns = wall_ns;
	believe(w, w->seen_ns);
}

void clock_watch_update(struct clock_watch *w, int64_t wall_ns, int64_t mono_ns)
{
	int64_t off_ns = wall_ns - mono_ns, moved_ns = off_ns - w->seen_ns;
	if (!w->any || moved_ns > CLOCK_STEP_NS || moved_ns < -CLOCK_STEP_NS)
		w->since_ns = mono_ns;
	w->any = true;
	w->seen_ns = off_ns;
	int64_t steady_ns = mono_ns - w->since_ns, apart_ns = off_ns - w->base_ns;
	if (!w->known) {
		if (wall_ns >= w->floor_ns)
			believe(w, off_ns);
	} else if ((apart_ns <= CLOCK_STEP_NS && apart_ns >= -CLOCK_STEP_NS) ||
	    (apart_ns > 0 && steady_ns >= CLOCK_SETTLED_NS)) {
		w->base_ns = off_ns;
	}
	if (clock_watch_suspect(w, wall_ns, mono_ns)) {
		if (steady_ns >= CLOCK_BELIEVED_AFTER_NS)
			lower_floor(w, wall_ns);
		return;
	}
	int64_t believed_ns = w->base_ns + mono_ns < wall_ns ? w->base_ns + mono_ns : wall_ns;
	if (believed_ns > w->kept_ns)
		w->kept_ns = believed_ns;
}

bool clock_watch_suspect(const struct clock_watch *w, int64_t wall_ns, int64_t mono_ns)
{
	return wall_ns < w->floor_ns || (w->known && wall_ns - mono_ns < w->base_ns - w->behind_ns);
}

int64_t clock_watch_time(const struct clock_watch *w, int64_t mono_ns)
{
	return w->known ? w->base_ns + mono_ns : INT64_MAX;
}

int64_t clock_watch_kept(const struct clock_watch *w)
{
	return w->kept_ns;
}
