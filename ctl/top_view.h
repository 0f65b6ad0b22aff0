/* What `weirctl top` shows: taken from answers of the cloud, one look after the other, and laid out for a screen. Pure: time and
 * answers are given to it. */
#ifndef WEIR_CTL_TOP_VIEW_H
#define WEIR_CTL_TOP_VIEW_H

#include <stdint.h>

#include "ctl/ctl.h"

#define TOP_SPARK_WIDTH 20
#define TOP_SPARK_NARROW 10   /* on a screen of less than: */
#define TOP_SPARK_COLUMNS 100
#define TOP_ALERTS_SHOWN_MAX 5

enum top_sort { TOP_BY_NAME, TOP_BY_RATE, TOP_BY_LAG, TOP_SORTS };

/* One look; NULL: there was no answer to that. */
struct top_look {
	json_t *cluster, *edges, *streams, *alerts, *sinks;
	int64_t wall_ns, mono_ns;
};

/* For a screen of so many lines and columns. lines 0: all of it, without keys and escape sequences, as text. */
struct top_screen {
	size_t lines, columns;
	bool ascii, colour;
};

struct top_view;

struct top_view *top_view_new(void);
void top_view_free(struct top_view *v); /* NULL is fine */
/* A look that was answered: takes what it holds (json_incref). */
void top_view_take(struct top_view *v, const struct top_look *look);
/* Nobody answers: what was seen last stays, with why and since when. */
void top_view_fail(struct top_view *v, const char *why, int64_t wall_ns);
void top_view_sort(struct top_view *v);              /* by the next one */
void top_view_scroll(struct top_view *v, int lines); /* what is further than there is something is none */
void top_view_put(struct top_view *v, const struct top_screen *screen, bool paused, struct buf *out);

#endif
