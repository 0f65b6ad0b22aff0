#include "common/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/utf8.h"

static void put_control(struct buf *out, uint8_t c)
{
	static const char short_of[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	if (short_of[c])
		buf_printf(out, "\\%c", short_of[c]);
	else
		buf_printf(out, "\\u%04x", c);
}

void json_bytes(struct buf *out, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	buf_put(out, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);
		if (!n) {
			buf_put(out, "\xef\xbf\xbd", 3);
			n = 1;
		} else if (p[i] < 0x20) {
			put_control(out, p[i]);
		} else {
			if (p[i] == '"' || p[i] == '\\')
				buf_put(out, "\\", 1);
			buf_put(out, p + i, n);
		}
		i += n;
	}
	buf_put(out, "\"", 1);
}

void json_text(struct buf *out, const char *s)
{
	json_bytes(out, s, strlen(s));
}

void json_double(struct buf *out, double v)
{
	char text[40];
	if (!isfinite(v)) {
		buf_put(out, "null", 4);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	buf_put(out, text, strlen(text));
}

void json_time(struct buf *out, int64_t t_ns)
{
	char text[TIME_TEXT_MAX];
	time_format(t_ns, text);
	json_text(out, text);
}
