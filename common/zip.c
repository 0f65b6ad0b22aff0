#include "common/zip.h"

#include <zstd.h>

#include "common/err.h"

#define ZIP_LEVEL 1

bool zip_pack(const void *p, size_t n, struct buf *out)
{
	if (n < 2)
		return false;
	/* Room for less than n: zstd says so when that is not enough. */
	size_t len = ZSTD_compress(buf_reserve(out, n - 1), n - 1, p, n, ZIP_LEVEL);
	if (ZSTD_isError(len))
		return false;
	out->len += len;
	return true;
}

int zip_unpack(const void *p, size_t n, uint8_t *raw, size_t raw_len)
{
	size_t len = ZSTD_decompress(raw, raw_len, p, n);
	return ZSTD_isError(len) || len != raw_len ? WEIR_ECORRUPT : 0;
}
