/* Texts that hold a place: what a client hands back to go on where it stopped. Pure; nothing in them is trusted. */
#ifndef WEIR_CLOUDD_CURSOR_H
#define WEIR_CLOUDD_CURSOR_H

#include <stdint.h>

#include "common/buf.h"

/* Bytes as lower-case hexadecimal digits and back; WEIR_EINVAL: not such digits. */
void hex_put(struct buf *out, const void *p, size_t n);
int hex_get(const char *text, struct buf *out);

/* The places of all shards as an id, and back: WEIR_EINVAL where it is none, or one of another stream or number of
 * shards. Pure. */
struct watch_place {
	uint64_t index;
	uint32_t n;
};
void watch_id_put(uint32_t stream_version, const struct watch_place *places, uint32_t count, struct buf *out);
int watch_id_get(const char *text, uint32_t stream_version, struct watch_place *places, uint32_t count);

#endif
