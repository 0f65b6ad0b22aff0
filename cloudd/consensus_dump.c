#include "cloudd/consensus_dump.h"

#include "cloudd/consensus_internal.h"

bool consensus_dump_config(struct bytes config, struct buf *out)
{
	struct raft_config c = {0};
	if (config.n && raft_config_decode(config.p, config.n, &c))
		return false;
	buf_printf(out, "[");
	for (uint32_t i = 0; i < c.count; i++)
		buf_printf(out, "%s{\"node\": %u, \"member\": \"%016llx\", \"voter\": %s}", i ? ", " : "", node_of(c.members[i].id),
		    (unsigned long long)c.members[i].id, c.members[i].voter ? "true" : "false");
	buf_printf(out, "]");
	return true;
}

const char *consensus_dump_kind(uint8_t kind)
{
	switch ((enum raft_entry_kind)kind) {
	case RAFT_ENTRY_DATA:
		return "data";
	case RAFT_ENTRY_NOOP:
		return "noop";
	case RAFT_ENTRY_CONFIG:
		return "config";
	}
	return NULL;
}
