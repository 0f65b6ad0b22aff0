/* Configurations: their bytes, and their members in order (D 4). */
#include "raft/base.h"

#include <string.h>

#define CONFIG_VERSION 1
#define CONFIG_HEAD_BYTES 2
#define CONFIG_MEMBER_BYTES 9

_Static_assert(CONFIG_HEAD_BYTES + RAFT_MEMBERS_MAX * CONFIG_MEMBER_BYTES <= RAFT_CONFIG_BYTES_MAX,
    "room for all members");

size_t raft_config_encode(const struct raft_config *c, uint8_t out[RAFT_CONFIG_BYTES_MAX])
{
	RAFT_ASSERT(c->count <= RAFT_MEMBERS_MAX);
	uint8_t *p = out;
	*p++ = CONFIG_VERSION;
	*p++ = (uint8_t)c->count;
	for (uint32_t i = 0; i < c->count; i++) {
		for (unsigned byte = 0; byte < 8; byte++)
			*p++ = (uint8_t)(c->members[i].id >> (8 * byte));
		*p++ = c->members[i].voter;
	}
	return (size_t)(p - out);
}

static int decode_member(const uint8_t *p, uint64_t above, struct raft_member *ret_member)
{
	uint64_t id = 0;
	for (unsigned byte = 0; byte < 8; byte++)
		id |= (uint64_t)p[byte] << (8 * byte);
	if (id <= above || p[8] > 1)
		return RAFT_EINVAL;
	*ret_member = (struct raft_member){.id = id, .voter = p[8] == 1};
	return 0;
}

int raft_config_decode(const void *bytes, size_t len, struct raft_config *ret_config)
{
	const uint8_t *p = bytes;
	if (len < CONFIG_HEAD_BYTES || p[0] != CONFIG_VERSION || p[1] > RAFT_MEMBERS_MAX)
		return RAFT_EINVAL;
	if (len != CONFIG_HEAD_BYTES + (size_t)p[1] * CONFIG_MEMBER_BYTES)
		return RAFT_EINVAL;
	struct raft_config c = {.count = p[1]};
	uint64_t above = RAFT_NOBODY;
	for (uint32_t i = 0; i < c.count; i++) {
		int rc = decode_member(p + CONFIG_HEAD_BYTES + i * CONFIG_MEMBER_BYTES, above, &c.members[i]);
		if (rc)
			return rc;
		above = c.members[i].id;
	}
	*ret_config = c;
	return 0;
}

const struct raft_member *raft_config_find(const struct raft_config *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->members[i].id == id)
			return &c->members[i];
	return NULL;
}

bool raft_config_add(struct raft_config *c, uint64_t id, bool voter)
{
	if (c->count == RAFT_MEMBERS_MAX || id == RAFT_NOBODY || raft_config_find(c, id))
		return false;
	uint32_t at = c->count++;
	for (; at && c->members[at - 1].id > id; at--)
		c->members[at] = c->members[at - 1];
	c->members[at] = (struct raft_member){.id = id, .voter = voter};
	return true;
}
