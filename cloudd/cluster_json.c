#include "cloudd/cluster_json.h"

#include <string.h>

#include "common/hex.h"
#include "common/json.h"

/* What the replicas that answer say of a group, put together. */
struct group_picture {
	uint64_t term;      /* the highest */
	const char *leader; /* of that term; NULL: none known */
	const struct msg_group_status *lead; /* the leader's own word; NULL: it does not answer */
	bool quorum;
	bool any;           /* somebody answers who has the group */
};

static void look(struct group_picture *p, const struct msg_group_status *s)
{
	bool leads = s->role == REPLICA_LEADER;
	if (s->term < p->term)
		return;
	if (s->term > p->term) /* what was said of earlier terms is over */
		*p = (struct group_picture){.term = s->term};
	p->any = true;
	if (leads) {
		p->lead = s;
		p->leader = s->node;
		p->quorum = s->quorum;
	} else if (!p->lead) {
		p->leader = *s->leader ? s->leader : p->leader;
		p->quorum = p->quorum || s->quorum;
	}
}

static struct group_picture picture_of(const struct topology *t, const struct gather_status *all, uint32_t group)
{
	struct group_picture p = {0};
	for (uint32_t node = 0; node < t->cloud_count; node++) {
		const struct msg_group_status *s = gather_group(&all[node], group);
		if (s && t->clouds[node].state != CLOUD_GONE)
			look(&p, s);
	}
	return p;
}

static void put_number_or_null(struct buf *out, const char *key, bool known, uint64_t value)
{
	if (known)
		buf_printf(out, ", \"%s\": %llu", key, (unsigned long long)value);
	else
		buf_printf(out, ", \"%s\": null", key);
}

static const struct msg_replica_status *follower_of(const struct msg_group_status *lead, const char *node)
{
	for (size_t i = 0; lead && i < lead->replica_count; i++)
		if (!strcmp(lead->replicas[i].node, node))
			return &lead->replicas[i];
	return NULL;
}

/* A learner does not know that it is one. */
static const char *role_text(const struct msg_group_status *s, const struct msg_replica_status *of_leader)
{
	enum replica_role role = s->role;
	if (of_leader && of_leader->role == REPLICA_LEARNER && role == REPLICA_FOLLOWER)
		role = REPLICA_LEARNER;
	return replica_role_text(role);
}

static void put_replica(const struct gather_status *status, uint32_t group, const char *name, const struct group_picture *p,
    struct buf *out)
{
	const struct msg_group_status *s = gather_group(status, group);
	const struct msg_replica_status *f = follower_of(p->lead, name);
	buf_printf(out, "{\"node\": ");
	json_text(out, name);
	buf_printf(out, ", \"role\": \"%s\"", s ? role_text(s, f) : status->rc ? "unreachable" : "forming");
	put_number_or_null(out, "term", s, s ? s->term : 0);
	put_number_or_null(out, "committed", s, s ? s->committed : 0);
	put_number_or_null(out, "applied", s, s ? s->applied : 0);
	if (s)
		buf_printf(out, ", \"digest\": \"%016llx%016llx\"", (unsigned long long)s->digest_hi,
		    (unsigned long long)s->digest_lo);
	else
		buf_printf(out, ", \"digest\": null");
	put_number_or_null(out, "digest_index", s, s ? s->digest_index : 0);
	put_number_or_null(out, "match", f, f ? f->match : 0);
	uint64_t committed = p->lead ? p->lead->committed : 0;
	put_number_or_null(out, "lag", s && p->lead, s && committed > s->applied ? committed - s->applied : 0);
	buf_printf(out, "}");
}

/* It has no place for it, and is a replica all the same: one that is being moved away. */
static bool is_moving(const struct topology *t, const struct gather_status *all, uint32_t group, uint32_t node,
    const struct group_picture *p)
{
	const char *name = t->clouds[node].name;
	if (t->clouds[node].state == CLOUD_GONE || topology_rank(t, group, node) >= 0)
		return false;
	if (p->lead)
		return !strcmp(p->lead->node, name) || follower_of(p->lead, name);
	return gather_group(&all[node], group);
}

static bool is_placed(const struct topology *t, uint32_t group, const char *name)
{
	int node = topology_cloud(t, name);
	return node >= 0 && topology_rank(t, group, (uint32_t)node) >= 0;
}

/* By its leader's word its members are those that the map has places for, and none is a learner. */
static bool is_settled(const struct topology *t, uint32_t group, const struct msg_group_status *lead)
{
	if (!lead || lead->replica_count + 1 != topology_replicas(t, group) || !is_placed(t, group, lead->node))
		return false;
	for (size_t i = 0; i < lead->replica_count; i++) {
		if (lead->replicas[i].role == REPLICA_LEARNER || !is_placed(t, group, lead->replicas[i].node))
			return false;
	}
	return true;
}

/* "leader", "term", "quorum" and "replicas" of a group. */
static void put_group(const struct topology *t, const struct gather_status *all, uint32_t group, struct buf *out)
{
	struct group_picture p = picture_of(t, all, group);
	buf_printf(out, "\"leader\": ");
	if (p.leader)
		json_text(out, p.leader);
	else
		buf_printf(out, "null");
	put_number_or_null(out, "term", p.any, p.term);
	buf_printf(out, ", \"quorum\": %s, \"settled\": %s, \"replicas\": [", p.quorum && p.leader ? "true" : "false",
	    is_settled(t, group, p.lead) ? "true" : "false");
	for (uint32_t rank = 0; rank < topology_replicas(t, group); rank++) {
		uint32_t node = topology_replica(t, group, rank);
		buf_printf(out, rank ? ",\n    " : "\n    ");
		put_replica(&all[node], group, t->clouds[node].name, &p, out);
	}
	for (uint32_t node = 0; node < t->cloud_count; node++) {
		if (!is_moving(t, all, group, node, &p))
			continue;
		buf_printf(out, ",\n    ");
		put_replica(&all[node], group, t->clouds[node].name, &p, out);
	}
	buf_printf(out, "]");
}

static const char *node_state(const struct gather_status *s)
{
	return !s->rc ? "up" : s->refused ? "foreign" : "unreachable";
}

static void put_nodes(const struct topology *t, const struct gather_status *all, struct buf *out)
{
	const char *comma = "";
	buf_printf(out, "\"nodes\": [");
	for (uint32_t i = 0; i < t->cloud_count; i++) {
		if (t->clouds[i].state == CLOUD_GONE)
			continue;
		buf_printf(out, "%s{\"name\": ", comma);
		comma = ", ";
		json_text(out, t->clouds[i].name);
		buf_printf(out, ", \"state\": \"%s\", \"membership\": \"%s\", \"listen\": ", node_state(&all[i]),
		    cloud_state_text(t->clouds[i].state));
		json_text(out, t->clouds[i].listen);
		buf_printf(out, ", \"http\": ");
		json_text(out, t->clouds[i].http);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

void cluster_json_put(const struct topology *t, const char *asked, const uint8_t *id, const struct gather_status *all,
    struct buf *out)
{
	buf_printf(out, "{\"id\": ");
	if (id) {
		buf_printf(out, "\"");
		hex_put(out, id, CLUSTER_ID_BYTES);
		buf_printf(out, "\"");
	} else {
		buf_printf(out, "null");
	}
	buf_printf(out, ", \"name\": ");
	json_text(out, t->cluster);
	buf_printf(out, ", \"asked\": ");
	json_text(out, asked);
	buf_printf(out, ", \"map_version\": %llu", (unsigned long long)t->map_version);
	buf_printf(out, ",\n ");
	put_nodes(t, all, out);
	buf_printf(out, ",\n \"meta\": {");
	put_group(t, all, 0, out);
	buf_printf(out, "},\n \"shards\": [");
	for (uint32_t shard = 0; shard < t->shards; shard++) {
		buf_printf(out, "%s\n  {\"shard\": %u, ", shard ? "," : "", shard);
		put_group(t, all, shard + 1, out);
		buf_printf(out, "}");
	}
	buf_printf(out, "]}\n");
}
