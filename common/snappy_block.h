/* Snappy's block format, as Prometheus' protocols wrap their messages in it: the one adapter to libsnappy. Any thread. */
#ifndef WEIR_COMMON_SNAPPY_BLOCK_H
#define WEIR_COMMON_SNAPPY_BLOCK_H

#include <stddef.h>

#include "common/buf.h"
#include "common/kv.h"

/* Appends what the block holds. WEIR_ETOOBIG: it says that it is more than max bytes; WEIR_ECORRUPT. Nothing is appended on error, and
 * nothing allocated over max. */
int snappy_block_unpack(struct bytes block, size_t max, struct buf *out);
/* Appends the bytes as one block. */
void snappy_block_pack(struct bytes raw, struct buf *out);

#endif
