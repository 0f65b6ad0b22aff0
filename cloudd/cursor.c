#include "cloudd/cursor.h"

#include "common/err.h"
#include "common/hex.h"

#define ID_FORMAT 1
#define ID_FORMAT_VERSIONS 2

/* [format u8][1: stream version u32][count varint], index and n varint for each, in hexadecimal digits. Of several
 * versions: [2][how many u8][count varint], and for each version [u32] and the places. */

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
