/* Progress: how far event time has come at this edge (semantics.md 3.2).
 *
 * The event time of the edge is the minimum over its sources that are neither finished nor idle of the highest timestamp
 * accepted; a source that has given nothing yet, and is not idle yet, holds it back. A source is idle when nothing
 * came for idle_after, counted from the start before its first reading; while sources are paused, or the process was
 * stopped (no update for PROGRESS_STOPPED_NS, or half of idle_after where that is less, and three ticks), time does not count. */
#ifndef WEIR_EDGED_PROGRESS_H
#define WEIR_EDGED_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_STOPPED_NS INT64_C(10000000000)

struct progress_source {
	int64_t highest_ns;
	int64_t heard_mono_ns;
	bool any; /* highest_ns is set */
	bool finished, idle;
};

struct progress {
	struct progress_source *sources;
	size_t source_count;
	int64_t idle_after_ns, stopped_after_ns;
	int64_t updated_mono_ns;
};

enum progress_state {
	PROGRESS_NONE, /* some source holds it back */
	PROGRESS_AT,
	PROGRESS_IDLE  /* all sources are idle or finished */
};

void progress_init(struct progress *p, size_t source_count, int64_t idle_after_ns, int64_t tick_ns,
    int64_t mono_ns);
void progress_free(struct progress *p);

static inline void progress_reading(struct progress *p, uint32_t source, int64_t t_ns, int64_t mono_ns)
{
	struct progress_source *s = &p->sources[source];
	if (!s->any || t_ns > s->highest_ns) {
		s->highest_ns = t_ns;
		s->any = true;
	}
	s->heard_mono_ns = mono_ns;
	s->idle = false;
}

void progress_finished(struct progress *p, uint32_t source, bool finished, int64_t mono_ns);
/* To be called each tick. paused: the sources were kept from delivering since the last call. */
void progress_update(struct progress *p, bool paused, int64_t mono_ns);
enum progress_state progress_event_time(const struct progress *p, int64_t *ret_t_ns);

/* The committed watermark that follows `before`: event time less lateness, held back by the start of the oldest
 * slice with anything unacknowledged (INT64_MAX: none). Never falls. */
int64_t progress_watermark(int64_t before_ns, int64_t event_ns, int64_t lateness_ns, int64_t oldest_ns);

#endif
