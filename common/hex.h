/* Bytes as digits of a text. Pure. */
#ifndef WEIR_COMMON_HEX_H
#define WEIR_COMMON_HEX_H

#include "common/buf.h"

/* Bytes as lower-case hexadecimal digits and back; WEIR_EINVAL: not such digits. */
void hex_put(struct buf *out, const void *p, size_t n);
int hex_get(const char *text, struct buf *out);

#endif
