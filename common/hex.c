#include "common/hex.h"

#include <string.h>

#include "common/err.h"

void hex_put(struct buf *out, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;
	for (size_t i = 0; i < n; i++) {
		char two[2] = {digits[b[i] >> 4], digits[b[i] & 15]};
		buf_put(out, two, 2);
	}
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_get(const char *text, struct buf *out)
{
	size_t n = strlen(text);
	if (n % 2)
		return WEIR_EINVAL;
	for (size_t i = 0; i < n; i += 2) {
		int high = digit_of(text[i]), low = digit_of(text[i + 1]);
		if (high < 0 || low < 0)
			return WEIR_EINVAL;
		buf_u8(out, (uint8_t)(high << 4 | low));
	}
	return 0;
}
