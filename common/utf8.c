#include "common/utf8.h"

size_t utf8_len(const uint8_t *s, size_t left)
{
	uint8_t a = s[0];
	size_t n = a < 0x80 ? 1 : a >= 0xc2 && a < 0xe0 ? 2 : a >= 0xe0 && a < 0xf0 ? 3 : a >= 0xf0 && a < 0xf5 ? 4 : 0;
	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((a == 0xe0 && s[1] < 0xa0) || (a == 0xed && s[1] >= 0xa0) || (a == 0xf0 && s[1] < 0x90) ||
	    (a == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

uint32_t utf8_next(const uint8_t *s, size_t left, size_t *ret_len)
{
	static const uint8_t head[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	size_t n = utf8_len(s, left);
	*ret_len = n ? n : 1;
	if (!n)
		return UTF8_BAD;
	uint32_t c = s[0] & head[n];
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

void utf8_put(struct buf *out, const void *s, size_t n)
{
	const uint8_t *p = s;
	for (size_t i = 0; i < n;) {
		size_t len = utf8_len(p + i, n - i);
		if (len)
			buf_put(out, p + i, len);
		else
			buf_put(out, "\xef\xbf\xbd", 3);
		i += len ? len : 1;
	}
}
