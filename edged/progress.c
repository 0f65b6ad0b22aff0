#include "edged/progress.h"

#include <stdlib.h>

#include "common/err.h"

void progress_init(struct progress *p, size_t source_count, int64_t idle_after_ns, int64_t tick_ns, int64_t mono_ns)
{
	*p = (struct progress){.source_count = source_count, .idle_after_ns = idle_after_ns, .updated_mono_ns = mono_ns};
	p->stopped_after_ns = idle_after_ns / 2 < PROGRESS_STOPPED_NS ? idle_after_ns / 2 : PROGRESS_STOPPED_NS;
	if (p->stopped_after_ns < 3 * tick_ns)
		p->stopped_after_ns = 3 * tick_ns;
	p->sources = xcalloc(source_count ? source_count : 1, sizeof(p->sources[0]));
	for (size_t i = 0; i < source_count; i++)
		p->sources[i].heard_mono_ns = mono_ns;
}

void progress_free(struct progress *p)
{
	free(p->sources);
	*p = (struct progress){0};
}

void progress_finished(struct progress *p, uint32_t source, bool finished, int64_t mono_ns)
{
	struct progress_source *s = &p->sources[source];
	if (s->finished && !finished) {
		s->heard_mono_ns = mono_ns;
		s->idle = false;
	}
	s->finished = finished;
}

void progress_update(struct progress *p, bool paused, int64_t mono_ns)
{
	/* Nobody ran this process, or let its sources read: what was waiting meanwhile is not late by that. */
	int64_t gap = mono_ns - p->updated_mono_ns;
	bool stopped = paused || gap >= p->stopped_after_ns;
	p->updated_mono_ns = mono_ns;
	for (size_t i = 0; i < p->source_count; i++) {
		struct progress_source *s = &p->sources[i];
		if (stopped && !s->idle) {
			s->heard_mono_ns += gap;
			if (s->heard_mono_ns > mono_ns)
				s->heard_mono_ns = mono_ns;
		}
		if (mono_ns - s->heard_mono_ns >= p->idle_after_ns)
			s->idle = true;
	}
}

enum progress_state progress_event_time(const struct progress *p, int64_t *ret_t_ns)
{
	int64_t lowest = INT64_MAX;
	bool active = false, silent = false;
	for (size_t i = 0; i < p->source_count; i++) {
		const struct progress_source *s = &p->sources[i];
		if (s->finished || s->idle)
			continue;
		active = true;
		if (!s->any)
			silent = true;
		else if (s->highest_ns < lowest)
			lowest = s->highest_ns;
	}
	if (!active)
		return PROGRESS_IDLE;
	if (silent)
		return PROGRESS_NONE;
	*ret_t_ns = lowest;
	return PROGRESS_AT;
}

int64_t progress_watermark(int64_t before_ns, int64_t event_ns, int64_t lateness_ns, int64_t oldest_ns)
{
	int64_t now = event_ns < INT64_MIN + 1 + lateness_ns ? INT64_MIN + 1 : event_ns - lateness_ns;
	if (oldest_ns < now)
		now = oldest_ns;
	return now > before_ns ? now : before_ns;
}
