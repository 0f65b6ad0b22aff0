#include "raft/quorum.h"

#include "raft/base.h"
#include "raft/rule.h"

uint32_t raft_quorum_voters(const struct raft_config *c)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < c->count; i++)
		count += c->members[i].voter;
	return count;
}

bool raft_quorum_is_voter(const struct raft_config *c, uint64_t id)
{
	const struct raft_member *m = raft_config_find(c, id);
	return m && m->voter;
}

static uint32_t sorted_down(
    const struct raft_config *c, raft_quorum_value *value, const void *arg, uint64_t out[RAFT_MEMBERS_MAX])
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < c->count; i++) {
		if (!c->members[i].voter && RULE(RAFT_RULE_LEARNER)) /* D 4.2.1 */
			continue;
		uint64_t v = value(arg, c->members[i].id);
		uint32_t at = count++;
		for (; at && out[at - 1] < v; at--)
			out[at] = out[at - 1];
		out[at] = v;
	}
	return count;
}

uint64_t raft_quorum_reached(const struct raft_config *c, raft_quorum_value *value, const void *arg)
{
	uint64_t values[RAFT_MEMBERS_MAX];
	uint32_t count = sorted_down(c, value, arg, values);
	if (!count)
		return 0;
	/* count / 2 + 1 of them, a majority, are at or above values[count / 2]. */
	return values[RULE(RAFT_RULE_MAJORITY) ? count / 2 : (count - 1) / 4];
}
