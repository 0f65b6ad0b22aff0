/* Compression, and bounded decompression: the one adapter to zstd. Any thread. */
#ifndef WEIR_COMMON_ZIP_H
#define WEIR_COMMON_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Appends p, n compressed (level 1) and returns true; or appends nothing and returns false when that would not be
 * shorter than n. */
bool zip_pack(const void *p, size_t n, struct buf *out);
/* Decompresses into room for exactly raw_len bytes. 0, or WEIR_ECORRUPT (also when it holds more or fewer bytes). Never
 * allocates by what the input says. */
int zip_unpack(const void *p, size_t n, uint8_t *raw, size_t raw_len);
/* Whether p, n is one whole frame that says of itself that it holds raw_len bytes. Cheap: looks at its heads only. */
bool zip_whole(const void *p, size_t n, size_t raw_len);

#endif
