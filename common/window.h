/* The arithmetic of windows, slices and levels: which windows hold a slice, and which level keeps it.
 *
 * Pure. Times are within [TIME_MIN_NS, TIME_MAX_NS] plus or minus a window of at most ROWS_WINDOW_MAX_NS, so sums do
 * not overflow; window_time() brings what came from outside into range. */
#ifndef WEIR_COMMON_WINDOW_H
#define WEIR_COMMON_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model.h"

/* WATERMARK_NONE stays, all else is clamped to [TIME_MIN_NS, TIME_MAX_NS]. */
int64_t window_time(int64_t t_ns);

/* Windows [w, w + size) with w = k * advance + offset. */
struct window_grid {
	int64_t size_ns, advance_ns, offset_ns;
};
struct window_grid window_grid_of(const struct stream_conf *s);
/* Start of the last window that starts at or before t, and of the first that starts at or after t. */
int64_t window_floor(const struct window_grid *g, int64_t t_ns);
int64_t window_ceil(const struct window_grid *g, int64_t t_ns);
/* Start of the first window that ends after t. */
int64_t window_ending_after(const struct window_grid *g, int64_t t_ns);
/* The windows that hold the whole of [start, start + length): starts *ret_first, + advance ... *ret_last. False: none. */
bool window_range(const struct window_grid *g, int64_t start_ns, int64_t length_ns, int64_t *ret_first,
    int64_t *ret_last);

/* Levels of a stream at a close: level 0 keeps slices that start at or after floor[0], level k periods of every[k] that
 * start at or after floor[k]. floor[k] is a boundary of level k + 1, so a coarser period is never half taken. */
#define LEVELS_MAX (1 + ROLLUPS_MAX)
struct window_levels {
	unsigned count;
	int64_t offset_ns;
	int64_t every_ns[LEVELS_MAX];
	int64_t floor_ns[LEVELS_MAX]; /* INT64_MIN: keeps everything */
	int64_t horizon_ns;           /* nothing that starts before is kept; INT64_MIN: everything is */
};
void window_levels_at(const struct stream_conf *s, int64_t close_ns, struct window_levels *ret);
/* What an earlier configuration of the stream moved on or deleted stays so, whatever the present one would keep: floors that
 * were reached when it was changed. Levels beyond `count`: none. */
struct window_floors {
	unsigned count;
	int64_t floor_ns[LEVELS_MAX]; /* INT64_MIN: none */
};
void window_levels_raise(struct window_levels *l, const struct window_floors *kept);
/* Those to keep when the configuration changes from the one of `was` (as of now) to next. A level that is new begins with the first
 * of its periods that the finest of the old ones still has all of. */
void window_floors_of(const struct window_levels *was, const struct stream_conf *next, struct window_floors *ret);
/* Start of level's period that holds t. */
int64_t window_period(const struct window_levels *l, unsigned level, int64_t t_ns);
/* The finest level from `from` on that keeps a slice, and the start of its period there; -1: none, it is beyond retain. */
int window_level(const struct window_levels *l, unsigned from, int64_t slice_ns, int64_t *ret_period_ns);
/* Whether the window can be answered: everything in it is kept, and no period of a coarser level is cut by its ends. */
bool window_answerable(const struct window_levels *l, int64_t start_ns, int64_t end_ns);

/* The values of a group, each with its varint length in front as in the group (count of them, 0..BY_MAX). False: not
 * such a group, or longer than GROUP_KEY_MAX. */
struct group_value {
	struct bytes encoded; /* length and text */
	struct bytes text;
};
bool group_split(struct bytes group, size_t count, struct group_value ret_values[BY_MAX]);
/* The order of groups, in rows as in keys: as memcmp, and the shorter one first. */
int group_order(struct bytes a, struct bytes b);
/* The group of `count` times GROUP_OTHER. Returns its bytes in room. */
struct bytes group_other(size_t count, uint8_t room[GROUP_KEY_MAX]);

#endif
