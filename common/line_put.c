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

#define SHORT_MAX 1e12 /* numbers below with at most three decimals are written digit by digit */

/* v as thousandths, if dividing them by 1000, which is what parsing does, gives v again. */
static bool as_thousandths(double v, unsigned long long *ret)
{
	if (!(v < SHORT_MAX))
		return false;
	*ret = (unsigned long long)(v * 1000 + 0.5);
	return (double)*ret / 1000 == v;
}

static void put_thousandths(struct buf *b, bool negative, unsigned long long n)
{
	char text[32], *end = text + sizeof(text), *p = end;
	unsigned fraction = (unsigned)(n % 1000);
	n /= 1000;
	if (fraction) {
		unsigned digits = 3;
		for (; fraction % 10 == 0; fraction /= 10)
			digits--;
		for (; digits; digits--, fraction /= 10)
			*--p = (char)('0' + fraction % 10);
		*--p = '.';
	}
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	if (negative)
		*--p = '-';
	buf_put(b, p, (size_t)(end - p));
}

void line_put_float(struct buf *b, double v)
{
	weir_assert(isfinite(v));
	unsigned long long thousandths;
	if (as_thousandths(fabs(v), &thousandths)) {
		put_thousandths(b, signbit(v), thousandths);
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
