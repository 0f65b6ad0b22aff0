/* UTF-8, as bytes that nobody trusts have it. Pure. */
#ifndef WEIR_COMMON_UTF8_H
#define WEIR_COMMON_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define UTF8_BAD 0xfffd /* what stands for a byte that is none */

/* Bytes of the code point at s (left: 1 or more), 0 where it is malformed, overlong, a surrogate or above U+10FFFF. */
size_t utf8_len(const uint8_t *s, size_t left);
/* The code point at s, and its bytes; UTF8_BAD and 1 where there is none. */
uint32_t utf8_next(const uint8_t *s, size_t left, size_t *ret_len);
/* Appends the text, each byte that is no UTF-8 as UTF8_BAD. */
void utf8_put(struct buf *out, const void *s, size_t n);

#endif
