/* JSON text, written. (Reading is for weirctl, which uses a library.) Nothing here adds commas or braces: the caller's
 * format strings do. */
#ifndef WEIR_COMMON_JSON_H
#define WEIR_COMMON_JSON_H

#include <stdint.h>

#include "common/buf.h"

/* With its quotes. Bytes that are not UTF-8 become U+FFFD, one for each. */
void json_bytes(struct buf *out, const char *s, size_t len);
void json_text(struct buf *out, const char *s); /* the same, of a NUL-terminated text */
/* The fewest digits that read back as the same double; infinities and NaN, which JSON has not, are null. */
void json_double(struct buf *out, double v);
/* RFC 3339 in quotes. */
void json_time(struct buf *out, int64_t t_ns);

#endif
