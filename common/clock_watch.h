/* Whether a wall clock can be right, as far as one process can tell (semantics.md 3.5). Pure.
 *
 * Two things are known: a time that the clock must have passed (a build date, or when something was last committed), and how
 * it has run against the monotonic clock since the process started: what sets a clock is seen as a step.
 *
 *     no right clock is earlier than the floor                        -> suspect, until it is set
 *     back by more than behind_ns (the last right time is known)      -> suspect, until it is set right, or has run on
 *                                                                        steadily for CLOCK_BELIEVED_AFTER_NS
 *     forward (set right, a resume from suspend, or a wrong jump)     -> what it showed before is remembered for
 *                                                                        CLOCK_SETTLED_NS: who comes back within that
 *                                                                        comes back right
 *
 * It cannot tell of a clock that is wrong from the start and later than the floor. */
#ifndef WEIR_COMMON_CLOCK_WATCH_H
#define WEIR_COMMON_CLOCK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* 2026-01-01: no clock that is right can be earlier than this release. */
#define CLOCK_RELEASE_NS (INT64_C(1767225600) * 1000000000)
#define CLOCK_STEP_NS (INT64_C(1) * 1000000000)           /* less is no step: a clock is slewed, or set by a hair */
#define CLOCK_SETTLED_NS (INT64_C(3600) * 1000000000)
#define CLOCK_BELIEVED_AFTER_NS (INT64_C(86400) * 1000000000)

/* All differences are wall minus monotonic. */
struct clock_watch {
	int64_t floor_ns, behind_ns;
	int64_t kept_ns;  /* see clock_watch_kept */
	bool any, known;  /* seen once; base is set */
	int64_t base_ns;  /* of the clock that is believed */
	int64_t seen_ns;  /* at the last update */
	int64_t since_ns; /* monotonic: it has not been stepped since */
};

/* floor_ns: nothing earlier can be right (at least CLOCK_RELEASE_NS is taken). behind_ns: how far back a step may go
 * unsuspected. */
void clock_watch_init(struct clock_watch *w, int64_t floor_ns, int64_t behind_ns);
/* To be called about each second. */
void clock_watch_update(struct clock_watch *w, int64_t wall_ns, int64_t mono_ns);
/* At any time: also of a step that no update has seen yet. */
bool clock_watch_suspect(const struct clock_watch *w, int64_t wall_ns, int64_t mono_ns);
/* What the clock that is believed would show now, had nobody set it since. INT64_MAX: none ever was. */
int64_t clock_watch_time(const struct clock_watch *w, int64_t mono_ns);
/* The floor for the next start: the latest time that was believed. */
int64_t clock_watch_kept(const struct clock_watch *w);

#endif
