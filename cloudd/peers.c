#include "cloudd/peers.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

struct peer_node {
	char *name; /* "" where it is gone */
	bool asked, answered;
	int64_t answered_ns; /* anything */
	int64_t told_ns;     /* of itself */
	uint64_t req_id; /* of its questions */
	enum peer_cluster cluster;
};

struct peers {
	uint32_t self, count;
	struct peer_node nodes[CLOUDS_MAX];
};

/* Nobody waits for one that is gone. */
static void begin(struct peer_node *n, const struct cloud_conf *c)
{
	free(n->name);
	*n = (struct peer_node){.name = xstrdup(c->name), .answered = c->state == CLOUD_GONE};
}

struct peers *peers_new(const struct topology *t, uint32_t self)
{
	struct peers *p = xcalloc(1, sizeof(*p));
	p->self = self;
	p->count = (uint32_t)t->cloud_count;
	for (uint32_t i = 0; i < p->count; i++)
		begin(&p->nodes[i], &t->clouds[i]);
	return p;
}

void peers_set_topology(struct peers *p, const struct topology *t)
{
	weir_assert(t->cloud_count >= p->count && t->cloud_count <= CLOUDS_MAX);
	p->count = (uint32_t)t->cloud_count;
	for (uint32_t i = 0; i < p->count; i++) {
		if (!p->nodes[i].name || strcmp(p->nodes[i].name, t->clouds[i].name) != 0 || t->clouds[i].state == CLOUD_GONE)
			begin(&p->nodes[i], &t->clouds[i]);
	}
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < CLOUDS_MAX; i++)
		free(p->nodes[i].name);
	free(p);
}

bool peers_asked(struct peers *p, uint32_t node, uint64_t req_id)
{
	struct peer_node *n = &p->nodes[node];
	bool restarted = n->asked && n->req_id != req_id;
	n->asked = true;
	n->req_id = req_id;
	return restarted;
}

void peers_answered(struct peers *p, uint32_t node, int64_t mono_ns)
{
	p->nodes[node].answered = true;
	p->nodes[node].answered_ns = p->nodes[node].told_ns = mono_ns;
}

void peers_replied(struct peers *p, uint32_t node, int64_t mono_ns)
{
	p->nodes[node].answered_ns = mono_ns;
}

void peers_cluster(struct peers *p, uint32_t node, enum peer_cluster cluster)
{
	p->nodes[node].cluster = cluster;
}

bool peers_reachable(const struct peers *p, uint32_t node, int64_t mono_ns)
{
	const struct peer_node *n = &p->nodes[node];
	return node == p->self || (n->answered && mono_ns - n->answered_ns < PEERS_REACHABLE_MS * NS_PER_MS);
}

int64_t peers_heard_ns(const struct peers *p, uint32_t node)
{
	return p->nodes[node].told_ns;
}

bool peers_all_answered(const struct peers *p)
{
	for (uint32_t i = 0; i < p->count; i++) {
		if (i != p->self && !p->nodes[i].answered)
			return false;
	}
	return true;
}

bool peers_is_other(const struct peers *p, uint32_t node)
{
	return p->nodes[node].cluster == PEER_CLUSTER_OTHER;
}

int peers_foreign(const struct peers *p)
{
	int other = -1;
	for (uint32_t i = 0; i < p->count; i++) {
		if (p->nodes[i].cluster == PEER_CLUSTER_SAME)
			return -1;
		if (p->nodes[i].cluster == PEER_CLUSTER_OTHER && other < 0)
			other = (int)i;
	}
	return other;
}
