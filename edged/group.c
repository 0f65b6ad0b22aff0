#include "edged/group.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "edged/hash.h"

struct group_key {
	const struct stream *stream;
	struct bytes raw;
};

static bool same_group(const void *item, const void *key)
{
	const struct group *g = item;
	const struct group_key *k = key;
	return g->stream == k->stream && g->len == k->raw.n &&
	    (!k->raw.n || memcmp(g->bytes, k->raw.p, k->raw.n) == 0);
}

void groups_init(struct groups *g, const struct topology *t)
{
	*g = (struct groups){.topology = t};
}

void groups_free(struct groups *g)
{
	weir_assert(g->table.count == 0);
	table_free(&g->table);
}

struct group *group_get(struct groups *g, struct stream *s, struct bytes raw)
{
	weir_assert(raw.n <= GROUP_KEY_MAX);
	struct group_key key = {s, raw};
	uint64_t hash = hash_mix(hash_bytes(raw.p, raw.n), s->index);
	struct group *found = table_find(&g->table, hash, same_group, &key);
	if (!found) {
		found = xmalloc(sizeof(*found) + raw.n);
		*found = (struct group){.stream = s, .hash = hash, .len = (uint32_t)raw.n};
		if (raw.n)
			memcpy(found->bytes, raw.p, raw.n);
		found->shard = stream_shard(g->topology, s->conf->name, raw);
		table_insert(&g->table, hash, found);
		g->bytes += sizeof(*found) + raw.n;
	}
	found->refs++;
	return found;
}

void group_put(struct groups *g, struct group *group)
{
	if (--group->refs)
		return;
	g->bytes -= sizeof(*group) + group->len;
	table_remove(&g->table, group->hash, group);
	free(group);
}
