/* Texts that hold a place: what a client hands back to go on where it stopped. Pure; nothing in them is trusted. */
#ifndef WEIR_CLOUDD_CURSOR_H
#define WEIR_CLOUDD_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

/* The places of all shards as an id, and back: WEIR_EINVAL where it is none, or one of another number of
 * shards. Pure. */
struct watch_place {
	uint64_t index;
	uint32_t n;
};
#define WATCH_VERSIONS_MAX 4 /* of a stream, followed at a time */
struct watch_version {
	uint32_t version;
	struct watch_place *places; /* by shard */
};
void watch_id_put(const struct watch_version *versions, uint32_t version_count, uint32_t shards, struct buf *out);
/* *ret_versions: up to WATCH_VERSIONS_MAX, each with room for places of `shards`, the caller's; *ret_count of them are filled. */
int watch_id_get(const char *text, uint32_t shards, struct watch_version *ret_versions, uint32_t *ret_count);

#endif
