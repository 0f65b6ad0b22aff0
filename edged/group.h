/* Groups, interned: one struct per (stream, encoded group), shared by the series that feed it and the open partials
 * that it has, and freed when neither refers to it any more. */
#ifndef WEIR_EDGED_GROUP_H
#define WEIR_EDGED_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "edged/stream.h"
#include "edged/table.h"

struct group {
	struct stream *stream;
	uint64_t hash;
	void *recent;   /* slice.c's: the entry that it used last */
	uint32_t shard;
	uint32_t refs;
	uint32_t len;
	uint8_t bytes[];
};

struct groups {
	const struct topology *topology;
	struct table table;
	size_t bytes; /* of memory */
};

void groups_init(struct groups *g, const struct topology *t);
/* Every group must have been given back. */
void groups_free(struct groups *g);
/* One reference, to be given back with group_put. raw: at most GROUP_KEY_MAX bytes. */
struct group *group_get(struct groups *g, struct stream *s, struct bytes raw);
void group_put(struct groups *g, struct group *group);

#endif
