#include "cloudd/notices.h"

#include <stdlib.h>

#include "cloudd/readiness.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

struct seen {
	bool serving, led, fetching;
	const char *damage;
	uint64_t outdated; /* index of the entry */
	uint32_t differs;
	bool was_led; /* it had a leader once: until then it is starting */
	int64_t fetch_ns; /* since when */
	uint64_t fetch_bytes;
	uint32_t voter_count; /* while it leads here: the last voter of each other node */
	struct {
		uint32_t node;
		uint64_t replica;
	} voters[REPLICAS_PER_STATUS_MAX];
};

struct notices {
	const struct topology *topology;
	void (*say)(void *arg, bool warn, const char *text);
	void *arg;
	struct buf text;
	bool *marked; /* by group: belongs on the line */
	struct seen seen[];
};

struct notices *notices_new(const struct topology *t, void (*say)(void *arg, bool warn, const char *text), void *arg)
{
	struct notices *n = xcalloc(1, sizeof(*n) + topology_groups(t) * sizeof(n->seen[0]));
	n->topology = t;
	n->say = say;
	n->arg = arg;
	n->marked = xcalloc(topology_groups(t), sizeof(*n->marked));
	return n;
}

void notices_set_topology(struct notices *n, const struct topology *t)
{
	n->topology = t;
}

void notices_free(struct notices *n)
{
	if (!n)
		return;
	buf_free(&n->text);
	free(n->marked);
	free(n);
}

/* "meta,0-3,7": the marked groups as shards. Unmarks them. */
static uint32_t put_marked(struct notices *n)
{
	uint32_t groups = topology_groups(n->topology), count = 0;
	for (uint32_t g = 0; g < groups; g++) {
		uint32_t last = g;
		if (!n->marked[g])
			continue;
		while (g && last + 1 < groups && n->marked[last + 1])
			last++;
		buf_printf(&n->text, count ? "," : "");
		if (!g)
			buf_printf(&n->text, "meta");
		else if (last > g)
			buf_printf(&n->text, "%u-%u", g - 1, last - 1);
		else
			buf_printf(&n->text, "%u", g - 1);
		for (uint32_t i = g; i <= last; i++)
			n->marked[i] = false;
		count += last - g + 1;
		g = last;
	}
	return count;
}

static void say_marked(struct notices *n, bool warn, const char *what)
{
	buf_clear(&n->text);
	buf_printf(&n->text, "%s; shards=", what);
	uint32_t count = put_marked(n);
	buf_printf(&n->text, " count=%u", count);
	if (count)
		n->say(n->arg, warn, buf_cstr(&n->text));
}

static void look_at_leading(struct notices *n, const struct group_status *groups, bool serving, const char *what)
{
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		n->marked[g] = groups[g].serving == serving && n->seen[g].serving != serving;
	say_marked(n, false, what);
}

static void look_at_leaders(struct notices *n, const struct group_status *groups)
{
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		n->marked[g] = groups[g].held && groups[g].leader < 0 && n->seen[g].led;
	say_marked(n, true, "no leader: a majority of the replicas must be up and in touch");
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		n->marked[g] = groups[g].held && groups[g].leader >= 0 && !n->seen[g].led && n->seen[g].was_led;
	say_marked(n, false, "led again");
}

static void look_at_damage(struct notices *n, const struct group_status *groups)
{
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		const char *what = groups[g].damage;
		if (!what || n->seen[g].damage)
			continue;
		for (uint32_t i = g; i < topology_groups(n->topology); i++) { /* all of the same reason on one line */
			n->marked[i] = groups[i].damage == what && !n->seen[i].damage;
			if (n->marked[i])
				n->seen[i].damage = what;
		}
		char *text = xasprintf("DAMAGED: %s; not served here until it was had again from another replica", what);
		say_marked(n, true, text);
		free(text);
	}
}

/* Each has an entry of its own. */
static void look_at_outdated(struct notices *n, const struct group_status *groups)
{
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		if (!groups[g].outdated.index || n->seen[g].outdated == groups[g].outdated.index)
			continue;
		struct buf text = {0};
		buf_printf(&text, "OUTDATED: nothing is applied here any more: this replica stands still ");
		readiness_outdated(&text, &groups[g].outdated);
		n->marked[g] = true;
		say_marked(n, true, buf_cstr(&text));
		buf_free(&text);
	}
}

static void look_at_digests(struct notices *n, const struct group_status *groups)
{
	for (uint32_t node = 0; node < n->topology->cloud_count; node++) {
		for (uint32_t g = 0; g < topology_groups(n->topology); g++)
			n->marked[g] = groups[g].differs == node + 1 && !n->seen[g].differs;
		char *text = xasprintf("DIVERGENT: the state is not that of another replica; node=%s", n->topology->clouds[node].name);
		say_marked(n, true, text);
		free(text);
	}
}

static void look_at_fetches(struct notices *n, const struct group_status *groups, int64_t mono_ns)
{
	uint64_t bytes = 0;
	int64_t longest_ns = 0;
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		n->marked[g] = groups[g].fetching && !n->seen[g].fetching && !groups[g].damage;
	say_marked(n, false, "too far behind for the leader's log: fetches the state");
	buf_clear(&n->text);
	buf_printf(&n->text, "fetched the state; shards=");
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		const struct seen *s = &n->seen[g];
		n->marked[g] = !groups[g].fetching && s->fetching;
		if (!n->marked[g])
			continue;
		bytes += s->fetch_bytes;
		longest_ns = mono_ns - s->fetch_ns > longest_ns ? mono_ns - s->fetch_ns : longest_ns;
	}
	uint32_t count = put_marked(n);
	buf_printf(&n->text, " count=%u bytes=%llu seconds=%.1f", count, (unsigned long long)bytes,
	    (double)longest_ns / NS_PER_SEC);
	if (count)
		n->say(n->arg, false, buf_cstr(&n->text));
}

/* The node's last known voter was another one. */
static bool replaced(const struct seen *s, uint32_t node, uint64_t replica)
{
	for (uint32_t i = 0; i < s->voter_count; i++) {
		if (s->voters[i].node == node)
			return s->voters[i].replica != replica;
	}
	return false;
}

static bool votes(const struct group_status *g, uint32_t i)
{
	return g->replicas[i].role != REPLICA_LEARNER;
}

static void look_at_members(struct notices *n, const struct group_status *groups)
{
	for (uint32_t node = 0; node < n->topology->cloud_count; node++) {
		for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
			n->marked[g] = false;
			for (uint32_t i = 0; groups[g].serving && i < groups[g].replica_count; i++) {
				if (groups[g].replicas[i].node == node && votes(&groups[g], i) &&
				    replaced(&n->seen[g], node, groups[g].replicas[i].replica))
					n->marked[g] = true;
			}
		}
		buf_clear(&n->text);
		buf_printf(&n->text, "a replica was replaced by a new one of the same node; node=%s shards=",
		    n->topology->clouds[node].name);
		if (put_marked(n))
			n->say(n->arg, false, buf_cstr(&n->text));
	}
}

/* A voter that was removed stays known: the new one of its node comes later. */
static void remember_voter(struct seen *s, uint32_t node, uint64_t replica)
{
	uint32_t i = 0;
	while (i < s->voter_count && s->voters[i].node != node)
		i++;
	if (i == REPLICAS_PER_STATUS_MAX)
		return;
	s->voters[i].node = node;
	s->voters[i].replica = replica;
	if (i == s->voter_count)
		s->voter_count++;
}

static void remember_voters(struct seen *s, const struct group_status *g)
{
	if (!g->serving)
		s->voter_count = 0;
	for (uint32_t i = 0; g->serving && i < g->replica_count; i++) {
		if (votes(g, i))
			remember_voter(s, g->replicas[i].node, g->replicas[i].replica);
	}
}

static void remember(struct seen *s, const struct group_status *g, int64_t mono_ns)
{
	if (g->fetching && !s->fetching)
		s->fetch_ns = mono_ns;
	if (g->fetching)
		s->fetch_bytes = g->fetch_total_bytes > g->fetched_bytes ? g->fetch_total_bytes : g->fetched_bytes;
	s->serving = g->serving;
	s->damage = g->damage;
	s->outdated = g->outdated.index;
	s->differs = g->differs;
	s->fetching = g->fetching;
	s->led = g->held && g->leader >= 0;
	s->was_led = s->was_led || s->led;
	remember_voters(s, g);
}

void notices_look(struct notices *n, const struct group_status *groups, int64_t mono_ns)
{
	look_at_leading(n, groups, true, "this node begins to lead");
	look_at_leading(n, groups, false, "this node no longer leads");
	look_at_leaders(n, groups);
	look_at_damage(n, groups);
	look_at_outdated(n, groups);
	look_at_digests(n, groups);
	look_at_fetches(n, groups, mono_ns);
	look_at_members(n, groups);
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		remember(&n->seen[g], &groups[g], mono_ns);
}
