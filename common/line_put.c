#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/line.h"

/* What the grammar cannot say (line.h) is replaced. */
static uint8_t sayable(uint8_t ch)
{
	return ch == '\n' || !ch ? '_' : ch;
}

static void put_escaped(struct buf *b, struct bytes text, const char *specials)
{
	for (size_t i = 0; i < text.n; i++) {
		uint8_t ch = sayable(text.p[i]);
		if (strchr(specials, ch))
			buf_u8(b, '\\');
		buf_u8(b, ch == '\\' && i + 1 == text.n ? '_' : ch);
	}
}

void line_put_measurement(struct buf *b, struct bytes text)
{
	if (text.n && text.p[0] == '#') {
		buf_u8(b, '_');
		text = bytes_of(text.p + 1, text.n - 1);
	}
	put_escaped(b, text, ", ");
}

void line_put_key(struct buf *b, struct bytes text)
{
	put_escaped(b, text, ", =");
}

void line_put_string(struct buf *b, struct bytes text)
{
	buf_u8(b, '"');
	for (size_t i = 0; i < text.n; i++) {
		uint8_t ch = text.p[i] ? text.p[i] : '_';
		if (ch == '"' || ch == '\\')
			buf_u8(b, '\\');
		buf_u8(b, ch);
	}
	buf_u8(b, '"');
}

#define WHOLE_MAX 1e15 /* whole numbers below are written digit by digit */

void line_put_float(struct buf *b, double v)
{
	weir_assert(isfinite(v));
	if (v == trunc(v) && fabs(v) < WHOLE_MAX) {
		buf_printf(b, "%s%lld", signbit(v) ? "-" : "", (long long)fabs(v));
		return;
	}
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	weir_assert(c);
	locale_t was = uselocale(c);
	char text[40];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	uselocale(was);
	freelocale(c);
	buf_put(b, text, strlen(text));
}
