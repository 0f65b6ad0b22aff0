#include "common/zip.h"

#include <stdatomic.h>

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

/* Contexts are large, and making one costs more than unpacking a small batch. So one is kept, for whoever comes next; it
 * holds nothing of what it unpacked that another use would see. */
static _Atomic(ZSTD_DCtx *) spare;

int zip_unpack(const void *p, size_t n, uint8_t *raw, size_t raw_len)
{
	ZSTD_DCtx *c = atomic_exchange(&spare, NULL);
	if (!c)
		c = ZSTD_createDCtx();
	weir_assert(c); /* out of memory, as elsewhere */
	size_t len = ZSTD_decompressDCtx(c, raw, raw_len, p, n);
	ZSTD_freeDCtx(atomic_exchange(&spare, c));
	return ZSTD_isError(len) || len != raw_len ? WEIR_ECORRUPT : 0;
}

bool zip_whole(const void *p, size_t n, size_t raw_len)
{
	unsigned long long says = ZSTD_getFrameContentSize(p, n);
	/* An error of either call is a huge number. */
	return (says == raw_len || says == ZSTD_CONTENTSIZE_UNKNOWN) && ZSTD_findFrameCompressedSize(p, n) == n;
}
