#include "cloudd/registry.h"

#include "cloudd/peers.h"
#include "common/clock.h"

void registry_lead(struct registry *r, int64_t mono_ns)
{
	*r = (struct registry){.since_ns = mono_ns, .looked_ns = mono_ns};
}

bool registry_formed(const struct registry *r, const struct topology *t)
{
	for (uint32_t g = 0; t->map_version <= 1 && g < topology_groups(t); g++) {
		if (!r->led[g])
			return false;
	}
	return true;
}

static void look(struct registry *r, const struct registry_facts *f)
{
	bool first = r->looked_ns == r->since_ns;
	if (f->mono_ns - r->looked_ns >= REGISTRY_STOPPED_MS * NS_PER_MS)
		r->since_ns = f->mono_ns;
	r->looked_ns = f->mono_ns;
	for (uint32_t i = 0; i < CLOUDS_MAX; i++) {
		bool member = i < f->topology->cloud_count && f->topology->clouds[i].state == CLOUD_MEMBER;
		if (member && !r->member[i])
			r->member_ns[i] = first ? r->since_ns : f->mono_ns;
		r->member[i] = member;
	}
	for (uint32_t g = 0; g < topology_groups(f->topology); g++)
		r->led[g] = r->led[g] || f->leaders[g] >= 0 || f->founded[g];
}

/* How long it was silent. */
static int64_t silence(const struct registry *r, const struct registry_facts *f, uint32_t node)
{
	int64_t heard = r->member_ns[node] > r->since_ns ? r->member_ns[node] : r->since_ns;
	heard = f->heard_ns[node] > heard ? f->heard_ns[node] : heard;
	return node == f->self ? 0 : f->mono_ns - heard;
}

static bool is_heard(const struct registry_facts *f, uint32_t node)
{
	return node == f->self ||
	    (f->heard_ns[node] && f->mono_ns - f->heard_ns[node] < PEERS_REACHABLE_MS * NS_PER_MS);
}

static bool half_is_heard(const struct registry_facts *f)
{
	uint32_t members = 0, heard = 0;
	for (uint32_t i = 0; i < f->topology->cloud_count; i++) {
		if (f->topology->clouds[i].state != CLOUD_MEMBER)
			continue;
		members++;
		heard += is_heard(f, i);
	}
	return 2 * heard >= members;
}

static bool all_settled_without(const struct registry_facts *f, uint32_t node)
{
	for (uint32_t g = 0; g < topology_groups(f->topology); g++) {
		if (topology_rank(f->topology, g, node) >= 0 || f->settled[g] != f->topology->map_version)
			return false;
	}
	return true;
}

static bool event_of(const struct registry *r, const struct registry_facts *f, uint32_t node, enum node_event *ret)
{
	switch (f->topology->clouds[node].state) {
	case CLOUD_MEMBER:
		*ret = NODE_EVENT_DEAD;
		return silence(r, f, node) >= f->topology->replace_after_ns && half_is_heard(f) &&
		    registry_formed(r, f->topology);
	case CLOUD_DEAD:
		*ret = NODE_EVENT_ALIVE;
		return is_heard(f, node);
	case CLOUD_LEAVING:
		*ret = NODE_EVENT_GONE;
		return all_settled_without(f, node);
	case CLOUD_GONE:
		break;
	}
	return false;
}

/* Who is back comes first: it may be an elsewhere. */
static int urgency(enum node_event event)
{
	return event == NODE_EVENT_ALIVE ? 3 : event == NODE_EVENT_GONE ? 2 : 1;
}

bool registry_next(struct registry *r, const struct registry_facts *f, struct registry_event *ret_event)
{
	uint64_t version = f->topology->map_version;
	int best = 0;
	look(r, f);
	if (!version || (r->asked_version == version && f->mono_ns - r->asked_ns < REGISTRY_AGAIN_MS * NS_PER_MS))
		return false;
	for (uint32_t i = 0; i < f->topology->cloud_count; i++) {
		enum node_event event;
		if (!event_of(r, f, i, &event) || urgency(event) <= best)
			continue;
		best = urgency(event);
		*ret_event = (struct registry_event){.slot = i, .event = event};
	}
	if (best) {
		r->asked_version = version;
		r->asked_ns = f->mono_ns;
	}
	return best > 0;
}
