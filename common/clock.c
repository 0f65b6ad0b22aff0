#include "common/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

void time_format(int64_t t_ns, char out[TIME_TEXT_MAX])
{
	int64_t whole = time_floor(t_ns, NS_PER_SEC, 0);
	int64_t frac = t_ns - whole;
	time_t secs = (time_t)(whole / NS_PER_SEC);
	struct tm tm;
	gmtime_r(&secs, &tm);
	size_t n = strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	if (frac) {
		int digits = 9;
		while (digits > 3 && frac % 1000 == 0) {
			frac /= 1000;
			digits -= 3;
		}
		n += (size_t)snprintf(out + n, TIME_TEXT_MAX - n, ".%0*lld", digits, (long long)frac);
	}
	snprintf(out + n, TIME_TEXT_MAX - n, "Z");
}

/* Up to 9 decimals after a point as nanoseconds; more digits are an error. */
static int parse_fraction(const char **text, int64_t *ret_ns)
{
	const char *s = *text + 1;
	int64_t v = 0, unit = NS_PER_SEC;
	if (!isdigit((unsigned char)*s))
		return WEIR_EINVAL;
	for (; isdigit((unsigned char)*s); s++) {
		if (unit == 1)
			return WEIR_EINVAL;
		unit /= 10;
		v += unit * (*s - '0');
	}
	*text = s;
	*ret_ns = v;
	return 0;
}

static int parse_seconds(const char *text, int64_t *ret_ns)
{
	bool negative = *text == '-';
	const char *s = text + negative;
	if (!isdigit((unsigned char)*s))
		return WEIR_EINVAL;
	int64_t secs = 0, frac = 0;
	for (; isdigit((unsigned char)*s); s++) {
		if (secs > TIME_MAX_NS / NS_PER_SEC / 10)
			return WEIR_ETOOBIG;
		secs = secs * 10 + (*s - '0');
	}
	if (*s == '.' && parse_fraction(&s, &frac))
		return WEIR_EINVAL;
	if (*s || secs >= TIME_MAX_NS / NS_PER_SEC)
		return *s ? WEIR_EINVAL : WEIR_ETOOBIG;
	int64_t ns = secs * NS_PER_SEC + frac;
	*ret_ns = negative ? -ns : ns;
	return *ret_ns < TIME_MIN_NS ? WEIR_ETOOBIG : 0;
}

static int parse_rfc3339(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0};
	const char *s = strptime(text, "%Y-%m-%d", &tm);
	if (!s || (*s != 'T' && *s != 't' && *s != ' '))
		return WEIR_EINVAL;
	s = strptime(s + 1, "%H:%M:%S", &tm);
	if (!s)
		return WEIR_EINVAL;
	int64_t frac = 0, zone = 0;
	if (*s == '.' && parse_fraction(&s, &frac))
		return WEIR_EINVAL;
	if (*s == 'Z' || *s == 'z') {
		s++;
	} else if (*s == '+' || *s == '-') {
		int hours, minutes, used = 0;
		if (sscanf(s + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 || hours > 23 || minutes > 59)
			return WEIR_EINVAL;
		zone = (*s == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
		s += 6;
	} else {
		return WEIR_EINVAL;
	}
	if (*s)
		return WEIR_EINVAL;
	int64_t secs = (int64_t)timegm(&tm) - zone;
	if (secs <= TIME_MIN_NS / NS_PER_SEC || secs >= TIME_MAX_NS / NS_PER_SEC)
		return WEIR_ETOOBIG;
	*ret_ns = secs * NS_PER_SEC + frac;
	return 0;
}

int time_parse(const char *text, int64_t now_ns, int64_t *ret_ns)
{
	if (!strcmp(text, "now")) {
		*ret_ns = now_ns;
		return 0;
	}
	if (!parse_seconds(text, ret_ns))
		return 0;
	int64_t d;
	if (*text == '-' && !duration_parse(text + 1, strlen(text + 1), &d)) {
		*ret_ns = now_ns - d < TIME_MIN_NS ? TIME_MIN_NS : now_ns - d;
		return 0;
	}
	return parse_rfc3339(text, ret_ns);
}

static const struct {
	const char *name;
	int64_t ns;
} units[] = {
	{"y", 365 * 86400 * NS_PER_SEC}, {"d", 86400 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC}, {"m", 60 * NS_PER_SEC},
	{"s", NS_PER_SEC}, {"ms", NS_PER_MS}, {"us", 1000}, {"ns", 1},
};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

int duration_parse(const char *text, size_t len, int64_t *ret_ns)
{
	int64_t total = 0;
	size_t i = 0;
	if (len == 1 && *text == '0') {
		*ret_ns = 0;
		return 0;
	}
	if (!len)
		return WEIR_EINVAL;
	while (i < len) {
		size_t start = i;
		int64_t v = 0;
		for (; i < len && isdigit((unsigned char)text[i]); i++) {
			if (v > INT64_MAX / 20)
				return WEIR_ETOOBIG;
			v = v * 10 + (text[i] - '0');
		}
		size_t word = i;
		while (i < len && isalpha((unsigned char)text[i]))
			i++;
		size_t u = 0;
		while (u < UNIT_COUNT && !(strlen(units[u].name) == i - word && !memcmp(units[u].name, text + word, i - word)))
			u++;
		if (word == start || u == UNIT_COUNT)
			return WEIR_EINVAL;
		int64_t part;
		if (__builtin_mul_overflow(v, units[u].ns, &part) || __builtin_add_overflow(total, part, &total) ||
		    total > TIME_MAX_NS)
			return WEIR_ETOOBIG;
	}
	*ret_ns = total;
	return 0;
}

void duration_format(int64_t ns, char out[TIME_TEXT_MAX])
{
	size_t u = 0;
	while (u + 1 < UNIT_COUNT && (ns == 0 ? u < 4 : ns % units[u].ns != 0))
		u++;
	snprintf(out, TIME_TEXT_MAX, "%lld%s", (long long)(ns / units[u].ns), units[u].name);
}
