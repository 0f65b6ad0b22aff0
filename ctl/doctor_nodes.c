#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/cluster.h"
#include "ctl/doctor.h"
#include "ctl/prom.h"

#define LAG_WORTH 1000 /* entries behind that are worth a word */
#define NODE_NAME_MAX 256

void doctor_look_clear(struct doctor_look *l)
{
	for (size_t i = 0; i < l->node_count; i++) {
		struct doctor_node *n = &l->nodes[i];
		free(n->name);
		free(n->http);
		free(n->error);
		free(n->not_ready);
		free(n->metrics);
		json_decref(n->cluster);
	}
	free(l->nodes);
	for (size_t i = 0; i < l->asked_edge_count; i++) {
		free(l->asked_edges[i].name);
		free(l->asked_edges[i].metrics);
		free(l->asked_edges[i].error);
	}
	free(l->asked_edges);
	json_decref(l->cluster);
	json_decref(l->edges);
	json_decref(l->streams);
	free(l->edges_error);
	free(l->streams_error);
	*l = (struct doctor_look){0};
}

void doctor_examine(const struct doctor_look *before, const struct doctor_look *now, struct findings *f)
{
	doctor_examine_nodes(before, now, f);
	doctor_examine_metrics(before, now, f);
	doctor_examine_edges(before, now, f);
	doctor_examine_sources(now, f);
	findings_sort(f);
}

static const struct doctor_node *asked(const struct doctor_look *l, const char *name)
{
	for (size_t i = 0; i < l->node_count; i++) {
		if (!strcmp(l->nodes[i].name, name))
			return &l->nodes[i];
	}
	return NULL;
}

static bool is(const json_t *object, const char *key, const char *text)
{
	return !strcmp(ctl_text(object, key), text);
}

static json_int_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* ---- nodes -------------------------------------------------------------------------------------------------------- */

static const char *reason(const char *error)
{
	static const char prefix[] = "no answer: ";
	return error + (strncmp(error, prefix, sizeof(prefix) - 1) ? 0 : sizeof(prefix) - 1);
}

static void examine_silent(const json_t *node, const struct doctor_node *n, struct findings *f)
{
	const char *name = ctl_text(node, "name");
	bool heard = is(node, "state", "up");
	struct finding like = {FINDING_WARNING, false, false, heard ? "node_http" : "node_unreachable", NULL, NULL, NULL};
	char *start = xasprintf("start it again (`cloudd --config FILE --node %s`), and read the end "
	                        "of its log; if its machine runs, look at the links to it. If it is gone for good: `weirctl node remove %s`",
	    name, name);
	if (is(node, "membership", "dead"))
		findings_add(f, &like, name, start, "does not answer, and is given up: its replicas are rebuilt on other nodes where there are any");
	else if (heard)
		findings_add(f, &like, name, "open its HTTP address to this machine, or ask from one that reaches it; what it alone knows "
		                             "(its disks, its counters) was not looked at",
		    "the other nodes reach it, but its HTTP does not answer here: %s", n ? reason(n->error) : "it has no address");
	else
		findings_add(f, &like, name, start, "does not answer%s%s; reads and writes go on while each shard has a majority",
		    n && n->error ? ": " : "", n && n->error ? reason(n->error) : "");
	free(start);
}

static void examine_node(const struct doctor_look *l, const json_t *node, struct findings *f)
{
	const char *name = ctl_text(node, "name");
	const struct doctor_node *n = asked(l, name);
	if (is(node, "state", "foreign"))
		findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "node_foreign"}, name,
		    "give it the right topology file, or an empty data folder",
		    "its data are of another cluster: it serves nothing here");
	else if (!n || n->error)
		examine_silent(node, n, f);
	else if (n->not_ready)
		findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "node_not_ready"}, name,
		    "it becomes ready by itself once that is over; see also what else is told here", "not ready: %s", n->not_ready + (strncmp(n->not_ready, "not_ready: ", 11) ? 0 : 11));
	if (is(node, "membership", "leaving"))
		findings_add(f, &(struct finding){FINDING_NOTE, .check = "node_leaving"}, name,
		    "let it run until `weirctl nodes` lists it no longer", "is being removed: its replicas move to the others");
}

/* One who answers us and says that it does not reach another one who answers us. */
static void examine_links(const struct doctor_look *l, struct findings *f)
{
	for (size_t i = 0; i < l->node_count; i++) {
		size_t j;
		json_t *node;
		struct names cut = {0};
		json_array_foreach (ctl_array(l->nodes[i].cluster, "nodes"), j, node) {
			const struct doctor_node *n = asked(l, ctl_text(node, "name"));
			if (n && !n->error && is(node, "state", "unreachable"))
				names_add(&cut, n->name);
		}
		if (cut.count)
			findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "node_link"}, l->nodes[i].name,
			    "look at the network and firewalls between them: each node must reach the `listen` address of each other; "
			    "with keys, each needs the other's .pub in its key folder",
			    "answers, but does not reach %s, which answers too", names_text(&cut));
		names_clear(&cut);
	}
}

static void examine_maps(const struct doctor_look *l, struct findings *f)
{
	json_int_t newest = 0;
	for (size_t i = 0; i < l->node_count; i++) {
		json_int_t v = integer(l->nodes[i].cluster, "map_version");
		newest = v > newest ? v : newest;
	}
	for (size_t i = 0; i < l->node_count; i++) {
		const json_t *cluster = l->nodes[i].cluster;
		if (cluster && integer(cluster, "map_version") < newest)
			findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "node_map_old"}, l->nodes[i].name,
			    "it takes the newest one from any node that it reaches: look at its links and its log",
			    "goes by version %lld of the topology, others by %lld", (long long)integer(cluster, "map_version"),
			    (long long)newest);
	}
}

/* ---- groups ------------------------------------------------------------------------------------------------------- */

/* Groups of which the same is to be told. */
enum ail { NO_LEADER, NO_QUORUM, REBUILT, BEHIND, MOVING, UNSETTLED, AILS };

struct ails {
	struct names groups[AILS];
	struct names down; /* nodes */
	int64_t lag;
	bool forming;
	bool begun; /* no new cluster, or one whose nodes have all come */
};

static bool has_quorum(const json_t *group)
{
	const json_t *quorum = json_object_get(group, "quorum");
	return !quorum || json_is_true(quorum);
}

static void look_at_replicas(const json_t *group, const char *name, struct ails *a)
{
	bool rebuilt = false, behind = false, learns = false;
	size_t i;
	json_t *replica;
	json_array_foreach (ctl_array(group, "replicas"), i, replica) {
		int64_t lag = integer(replica, "lag");
		rebuilt = rebuilt || is(replica, "role", "forming");
		learns = learns || is(replica, "role", "learner");
		behind = behind || lag >= LAG_WORTH;
		a->lag = lag > a->lag ? lag : a->lag;
	}
	if (rebuilt)
		names_add(&a->groups[REBUILT], name);
	if (behind)
		names_add(&a->groups[BEHIND], name);
	if (json_is_false(json_object_get(group, "settled")))
		names_add(&a->groups[learns || rebuilt ? MOVING : UNSETTLED], name);
}

static void look_at_group(const json_t *group, const char *name, struct ails *a)
{
	if (!*ctl_text(group, "leader")) {
		size_t i;
		json_t *replica;
		names_add(&a->groups[NO_LEADER], name);
		json_array_foreach (ctl_array(group, "replicas"), i, replica)
			a->forming = a->forming || is(replica, "role", "forming");
	} else if (!has_quorum(group)) {
		names_add(&a->groups[NO_QUORUM], name);
	} else {
		look_at_replicas(group, name, a);
	}
}

static void look_at_groups(const json_t *cluster, struct ails *a)
{
	size_t i;
	json_t *node;
	for (i = 0; i < cluster_group_count(cluster); i++) {
		const json_t *group = cluster_group_at(cluster, i);
		char name[32];
		snprintf(name, sizeof(name), i ? "shard %zu" : "the meta group", i - 1);
		if (group)
			look_at_group(group, name, a);
	}
	json_array_foreach (ctl_array(cluster, "nodes"), i, node) {
		if (!is(node, "state", "up"))
			names_add(&a->down, ctl_text(node, "name"));
	}
}

static void add_ail(struct ails *a, enum ail which, const struct finding *like, const char *text, const char *remedy,
    struct findings *f)
{
	if (a->groups[which].count)
		findings_add(f, like, names_text(&a->groups[which]), remedy, "%s", text);
}

static void tell_stopped(struct ails *a, struct findings *f)
{
	struct finding like = {FINDING_CRITICAL, .passing = true, .check = "group_stopped"};
	struct buf remedy = {0};
	if (a->forming && a->begun)
		buf_printf(&remedy, "some replicas are empty and begin nothing by themselves: it needs a majority of those who had it, with the data "
		                    "folders that they had; were these lost for good, see docs/operations/recovery.md");
	else if (a->forming)
		buf_printf(&remedy, "a new cluster begins when every node of its topology has answered once");
	else
		buf_printf(&remedy, "it needs a majority of its replicas, in touch with each other; an election takes seconds");
	if (a->down.count)
		buf_printf(&remedy, ": start %s", names_text(&a->down));
	else if (!a->forming || !a->begun)
		buf_printf(&remedy, ". All nodes answer: look at the links between them, and at their clocks and load");
	add_ail(a, NO_LEADER, &like, "no leader: nothing is acknowledged or answered there; edges keep their readings", buf_cstr(&remedy), f);
	add_ail(a, NO_QUORUM, &like, "no quorum: a majority of the replicas does not answer, so nothing is acknowledged; edges keep their "
	                             "readings", buf_cstr(&remedy), f);
	buf_free(&remedy);
}

static void examine_groups(const struct doctor_look *l, struct findings *f)
{
	struct ails a = {0};
	char text[120];
	/* These three follow each other while a replica comes into being: each counts at once, or two looks at two of them would find nothing. */
	struct finding like = {FINDING_WARNING, .check = "replica_rebuilt"};
	look_at_groups(l->cluster, &a);
	json_int_t version = integer(l->cluster, "map_version");
	a.begun = version > 1 || (version == 1 && !a.down.count);
	tell_stopped(&a, f);
	add_ail(&a, REBUILT, &like, "a replica has nothing, or lost what it had, and is had again from the others",
	    "wait: it goes on by itself while a majority is there (`weirctl nodes`); do not stop another node meanwhile", f);
	like.check = "group_unsettled";
	add_ail(&a, UNSETTLED, &like, "its replicas are not where the topology has them, and none moves",
	    "it goes on when the nodes concerned are up and reach each other; see what else is told here, and the log of its leader", f);
	like.check = "group_moving";
	add_ail(&a, MOVING, &like, "replicas move to other nodes, and may be fewer meanwhile", "wait (`weirctl nodes`); do not stop nodes meanwhile", f);
	like = (struct finding){FINDING_WARNING, .passing = true, .check = "replica_behind"};
	snprintf(text, sizeof(text), "a replica is up to %lld entries behind", (long long)a.lag);
	add_ail(&a, BEHIND, &like, text, "it catches up by itself; if it does not, look at the load and the disk of its node, and at the link to it", f);
	for (size_t i = 0; i < AILS; i++)
		names_clear(&a.groups[i]);
	names_clear(&a.down);
}

/* ---- states that differ --------------------------------------------------------------------------------------------- */

/* By the nodes' own word, each pair once. */
static bool says_differs(const struct doctor_node *n, const char *other)
{
	return n && prom_sum(n->metrics, "weir_cloud_digest_differs", "node", other) > 0;
}

static void tell_divergent(const char *a, const char *b, const char *where, struct findings *f)
{
	char *about = xasprintf("%s, %s", a, b);
	findings_add(f, &(struct finding){FINDING_CRITICAL, .passing = true, .check = "divergent"}, about,
	    "where most replicas agree, the odd one stops serving and is mended from them by itself: wait. If this stays, nobody can tell which "
	    "is right: stop the node whose machine is in doubt (memory, disk; `weirctl store check DATA`), and start it again with an "
	    "empty data folder",
	    "their replicas have different states after the same entries%s%s", *where ? ": " : "", where);
	free(about);
}

/* By what the replicas tell of the same entry. */
static bool same_entry_differs(const json_t *a, const json_t *b)
{
	return integer(a, "digest_index") > 0 && integer(a, "digest_index") == integer(b, "digest_index") && *ctl_text(a, "digest") &&
	    *ctl_text(b, "digest") && strcmp(ctl_text(a, "digest"), ctl_text(b, "digest")) != 0;
}

static const json_t *replica_of(const json_t *group, const char *node)
{
	size_t i;
	json_t *replica;
	json_array_foreach (ctl_array(group, "replicas"), i, replica) {
		if (is(replica, "node", node))
			return replica;
	}
	return NULL;
}

static void examine_pair(const struct doctor_look *l, const char *a, const char *b, struct findings *f)
{
	struct names where = {0};
	for (size_t i = 0; i < cluster_group_count(l->cluster); i++) {
		const json_t *group = cluster_group_at(l->cluster, i), *ra = replica_of(group, a), *rb = replica_of(group, b);
		char name[32];
		snprintf(name, sizeof(name), i ? "shard %zu" : "the meta group", i - 1);
		if (ra && rb && same_entry_differs(ra, rb))
			names_add(&where, name);
	}
	if (where.count || says_differs(asked(l, a), b) || says_differs(asked(l, b), a))
		tell_divergent(a, b, names_text(&where), f);
	names_clear(&where);
}

static void examine_states(const struct doctor_look *l, struct findings *f)
{
	const json_t *nodes = ctl_array(l->cluster, "nodes");
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		for (size_t j = i + 1; j < json_array_size(nodes); j++)
			examine_pair(l, ctl_text(json_array_get(nodes, i), "name"), ctl_text(json_array_get(nodes, j), "name"), f);
	}
}

/* ---- replicas that do not have what they acknowledged -------------------------------------------------------------- */

/* Heartbeats tell a follower several times a second that what it acknowledged is committed. One that does not know it seconds later
 * has not got it any more, and is not sent it again. */
static bool has_forgotten(const json_t *group_before, const json_t *replica)
{
	const json_t *was = replica_of(group_before, ctl_text(replica, "node")), *committed = json_object_get(replica, "committed");
	return was && is(was, "role", "follower") && is(replica, "role", "follower") && json_is_integer(committed) &&
	    json_integer_value(committed) < integer(was, "match");
}

static void examine_memory(const struct doctor_look *before, const struct doctor_look *now, struct findings *f)
{
	const json_t *nodes = ctl_array(now->cluster, "nodes");
	for (size_t n = 0; n < json_array_size(nodes); n++) {
		const char *name = ctl_text(json_array_get(nodes, n), "name");
		struct names where = {0};
		for (size_t i = 0; i < cluster_group_count(now->cluster); i++) {
			const json_t *group = cluster_group_at(now->cluster, i), *replica = replica_of(group, name);
			const json_t *group_before = cluster_group_at(before ? before->cluster : now->cluster, i);
			char text[32];
			snprintf(text, sizeof(text), i ? "shard %zu" : "the meta group", i - 1);
			if (replica && is(group_before, "leader", ctl_text(group, "leader")) && has_forgotten(group_before, replica))
				names_add(&where, text);
		}
		if (where.count)
			findings_add(f, &(struct finding){FINDING_CRITICAL, .passing = true, .check = "replica_forgot"}, name,
			    "stop it, move its data folder away, and start it with an empty one: it has everything again from the others. An old "
			    "copy of a node is never to be used while others run",
			    "it does not have what it has acknowledged, and follows no more: its data folder is an old copy, or its disk loses "
			    "what was synced: %s", names_text(&where));
		names_clear(&where);
	}
}

void doctor_examine_nodes(const struct doctor_look *before, const struct doctor_look *l, struct findings *f)
{
	size_t i;
	json_t *node;
	examine_groups(l, f);
	examine_states(l, f);
	examine_memory(before, l, f);
	json_array_foreach (ctl_array(l->cluster, "nodes"), i, node)
		examine_node(l, node, f);
	examine_links(l, f);
	examine_maps(l, f);
}
