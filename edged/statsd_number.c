#include "edged/statsd_number.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define EXACT_DIGITS 15 /* of a whole number that a double holds for certain */
#define EXACT_POWERS 23

struct scan {
	const uint8_t *p, *end;
	uint64_t mantissa;
	unsigned digits, decimals; /* digits without leading zeros */
	bool any;
};

static bool at(const struct scan *s, const char *set)
{
	return s->p < s->end && *s->p && strchr(set, *s->p);
}

static void scan_digits(struct scan *s, unsigned *count_too)
{
	for (; s->p < s->end && (uint8_t)(*s->p - '0') < 10; s->p++) {
		s->any = true;
		*count_too += 1;
		if (s->digits || *s->p != '0')
			s->digits++;
		if (s->digits <= EXACT_DIGITS)
			s->mantissa = s->mantissa * 10 + (uint64_t)(*s->p - '0');
	}
}

static bool scan_exponent(struct scan *s)
{
	unsigned count = 0;
	s->p++;
	if (at(s, "+-"))
		s->p++;
	for (; s->p < s->end && (uint8_t)(*s->p - '0') < 10; s->p++)
		count++;
	return count && s->p == s->end;
}

/* A short number is a whole one divided by a power of ten, both exact: the quotient is the nearest double (W. D. Clinger, "How to
 * read floating point numbers accurately", 1990). */
static bool exact(const struct scan *s, double *ret)
{
	static const double powers[EXACT_POWERS] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
		1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	if (s->digits > EXACT_DIGITS || s->decimals >= EXACT_POWERS)
		return false;
	*ret = (double)s->mantissa / powers[s->decimals];
	return true;
}

static double by_the_library(struct bytes text)
{
	char copy[STATSD_NUMBER_BYTES_MAX + 1] = {0};
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	weir_assert(c);
	memcpy(copy, text.p, text.n);
	double v = strtod_l(copy, NULL, c);
	freelocale(c);
	return v;
}

bool statsd_number(struct bytes text, double *ret)
{
	struct scan s = {.p = text.p, .end = text.p + text.n};
	unsigned before = 0;
	double v;
	if (!text.n || text.n > STATSD_NUMBER_BYTES_MAX)
		return false;
	bool negative = *s.p == '-';
	if (at(&s, "+-"))
		s.p++;
	scan_digits(&s, &before);
	if (at(&s, ".")) {
		s.p++;
		scan_digits(&s, &s.decimals);
	}
	if (!s.any)
		return false;
	if (s.p == s.end && exact(&s, &v)) {
		*ret = negative ? -v : v;
		return true;
	}
	if (s.p < s.end && !(at(&s, "eE") && scan_exponent(&s)))
		return false;
	v = by_the_library(text);
	if (!isfinite(v))
		return false;
	*ret = v;
	return true;
}
