/* gzip (RFC 1952), as HTTP bodies are packed with: the one adapter to zlib. Unpacks piece by piece into whatever room there
 * is, so that a body which unpacks to a thousand times its size costs no memory; how much it may become is the caller's
 * to bound, by counting what it has read. One thread. */
#ifndef WEIR_COMMON_GZIP_H
#define WEIR_COMMON_GZIP_H

#include <stddef.h>

#include "common/buf.h"
#include "common/kv.h"

struct gzip_reader;

struct gzip_reader *gzip_reader_new(void);
void gzip_reader_free(struct gzip_reader *g); /* NULL is fine */
/* Begins with these bytes, which live until the next begin or the last read: one gzip member or several. */
void gzip_begin(struct gzip_reader *g, struct bytes packed);
/* The next *ret_n bytes, 1 .. len; 0: that was all. WEIR_ECORRUPT (no gzip, or its checksum is wrong), WEIR_ETRUNCATED; then
 * begin again. len > 0. */
int gzip_read(struct gzip_reader *g, void *room, size_t len, size_t *ret_n);

/* Appends p, n packed, as one member. */
void gzip_pack(const void *p, size_t n, struct buf *out);

#endif
