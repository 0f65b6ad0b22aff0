#include "ctl/sparkline.h"

#include <math.h>
#include <string.h>

#define LEVELS 8

static const char *const blocks[LEVELS] = {"\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588"};
static const char *const plain[LEVELS] = {"_", ".", "-", "=", "+", "*", "%", "#"};

void sparkline_add(struct sparkline *s, double value)
{
	if (s->count == SPARKLINE_MAX)
		memmove(s->values, s->values + 1, --s->count * sizeof(s->values[0]));
	s->values[s->count++] = value;
}

double sparkline_last(const struct sparkline *s)
{
	return s->count ? s->values[s->count - 1] : NAN;
}

/* Nothing is the lowest, and anything at all is more than that. */
static size_t level_of(double value, double highest)
{
	if (!(value > 0))
		return 0;
	size_t level = (size_t)ceil(value / highest * (LEVELS - 1));
	return level < 1 ? 1 : level < LEVELS ? level : LEVELS - 1;
}

void sparkline_put(const struct sparkline *s, size_t width, bool ascii, struct buf *out)
{
	size_t shown = s->count < width ? s->count : width;
	const double *values = s->values + s->count - shown;
	double highest = 0;
	for (size_t i = 0; i < shown; i++)
		highest = values[i] > highest ? values[i] : highest;
	for (size_t i = shown; i < width; i++)
		buf_u8(out, ' ');
	for (size_t i = 0; i < shown; i++) {
		const char *text = isnan(values[i]) ? " " : (ascii ? plain : blocks)[level_of(values[i], highest)];
		buf_put(out, text, strlen(text));
	}
}
