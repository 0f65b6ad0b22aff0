#include "common/snappy_block.h"

#include <snappy-c.h>

#include "common/err.h"

int snappy_block_unpack(struct bytes block, size_t max, struct buf *out)
{
	size_t n;
	if (snappy_uncompressed_length((const char *)block.p, block.n, &n) != SNAPPY_OK)
		return WEIR_ECORRUPT;
	if (n > max)
		return WEIR_ETOOBIG;
	if (snappy_uncompress((const char *)block.p, block.n, (char *)buf_reserve(out, n + 1), &n) != SNAPPY_OK)
		return WEIR_ECORRUPT;
	out->len += n;
	return 0;
}

void snappy_block_pack(struct bytes raw, struct buf *out)
{
	size_t n = snappy_max_compressed_length(raw.n);
	/* The only error of it is too little room. */
	weir_assert(snappy_compress((const char *)raw.p, raw.n, (char *)buf_reserve(out, n), &n) == SNAPPY_OK);
	out->len += n;
}
