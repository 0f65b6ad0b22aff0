#include "cloudd/cursor.h"

#include <string.h>

#include "common/err.h"

#define ID_FORMAT 1

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

/* ---- ids: [format u8][stream version u32][count varint], index and n varint for each, in hexadecimal digits -------- */

void watch_id_put(uint32_t stream_version, const struct watch_place *places, uint32_t count, struct buf *out)
{
	struct buf raw = {0};
	buf_u8(&raw, ID_FORMAT);
	buf_u32(&raw, stream_version);
	buf_varint(&raw, count);
	for (uint32_t i = 0; i < count; i++) {
		buf_varint(&raw, places[i].index);
		buf_varint(&raw, places[i].n);
	}
	hex_put(out, raw.data, raw.len);
	buf_free(&raw);
}

int watch_id_get(const char *text, uint32_t stream_version, struct watch_place *places, uint32_t count)
{
	struct buf raw = {0};
	int rc = hex_get(text, &raw);
	struct rd r = rd_init(raw.data, raw.len);
	if (!rc && (rd_u8(&r) != ID_FORMAT || rd_u32(&r) != stream_version || rd_varint(&r) != count))
		rc = WEIR_EINVAL;
	for (uint32_t i = 0; i < count && !rc; i++) {
		places[i].index = rd_varint(&r);
		places[i].n = (uint32_t)rd_varint_max(&r, UINT32_MAX);
		if (places[i].index == UINT64_MAX)
			rc = WEIR_EINVAL;
	}
	if (!rc && rd_finish(&r))
		rc = WEIR_EINVAL;
	buf_free(&raw);
	return rc;
}
