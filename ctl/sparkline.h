/* What a number was lately, in one line of text. Pure. */
#ifndef WEIR_CTL_SPARKLINE_H
#define WEIR_CTL_SPARKLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define SPARKLINE_MAX 60

/* The newest is the last; NAN: not known. A zeroed one is empty. */
struct sparkline {
	double values[SPARKLINE_MAX];
	size_t count;
};

void sparkline_add(struct sparkline *s, double value);
/* The newest value; NAN: none, or not known. */
double sparkline_last(const struct sparkline *s);
/* Appends `width` characters, from 0 to the highest of those shown; the newest at the right, blanks where nothing is known.
 * ascii: without Unicode's blocks. */
void sparkline_put(const struct sparkline *s, size_t width, bool ascii, struct buf *out);

#endif
