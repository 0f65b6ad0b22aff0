#include "cloudd/cursor.h"

#include <string.h>

#include "common/err.h"

#define ID_FORMAT 1
#define ID_FORMAT_VERSIONS 2

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

/* ---- ids: [format u8][1: stream version u32][count varint], index and n varint for each, in hexadecimal digits. Of several
 * versions: [2][how many u8][count varint], and for each version [u32] and the places. -------------------------------- */

static void put_places(const struct watch_version *v, uint32_t count, struct buf *out)
{
	for (uint32_t i = 0; i < count; i++) {
		buf_varint(out, v->places[i].index);
		buf_varint(out, v->places[i].n);
	}
}

void watch_id_put(const struct watch_version *versions, uint32_t version_count, uint32_t shards, struct buf *out)
{
	struct buf raw = {0};
	bool one = version_count == 1;
	buf_u8(&raw, one ? ID_FORMAT : ID_FORMAT_VERSIONS);
	if (one)
		buf_u32(&raw, versions->version);
	else
		buf_u8(&raw, (uint8_t)version_count);
	buf_varint(&raw, shards);
	for (uint32_t i = 0; i < version_count; i++) {
		if (!one)
			buf_u32(&raw, versions[i].version);
		put_places(&versions[i], shards, &raw);
	}
	hex_put(out, raw.data, raw.len);
	buf_free(&raw);
}

static int get_places(struct rd *r, struct watch_version *v, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		v->places[i].index = rd_varint(r);
		v->places[i].n = (uint32_t)rd_varint_max(r, UINT32_MAX);
		if (r->err || v->places[i].index == UINT64_MAX)
			return WEIR_EINVAL;
	}
	return 0;
}

static int get_id(struct rd *r, uint32_t shards, struct watch_version *versions, uint32_t *ret_count)
{
	uint8_t format = rd_u8(r);
	bool one = format == ID_FORMAT;
	if (!one && format != ID_FORMAT_VERSIONS)
		return WEIR_EINVAL;
	if (one)
		versions->version = rd_u32(r);
	uint32_t count = one ? 1 : rd_u8(r);
	if (rd_varint(r) != shards || !count || count > WATCH_VERSIONS_MAX)
		return WEIR_EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!one)
			versions[i].version = rd_u32(r);
		if (get_places(r, &versions[i], shards))
			return WEIR_EINVAL;
	}
	*ret_count = count;
	return rd_finish(r) ? WEIR_EINVAL : 0;
}

int watch_id_get(const char *text, uint32_t shards, struct watch_version *ret_versions, uint32_t *ret_count)
{
	struct buf raw = {0};
	int rc = hex_get(text, &raw);
	struct rd r = rd_init(raw.data, raw.len);
	if (!rc)
		rc = get_id(&r, shards, ret_versions, ret_count);
	buf_free(&raw);
	return rc;
}
