#include "ctl/cluster.h"

#include <string.h>

#include "common/err.h"

#define SHARDS_SHOWN_MAX 16 /* so many have a table of all; of more only those with something wrong, and no more than these */
#define LAG_SHOWN 1000      /* entries behind the leader's commit that are worth a word */

static const char *none(const struct ctl *ctl)
{
	return ctl->format == FORMAT_CSV ? "" : "-";
}

static void finish_table(struct table *t, struct buf *out)
{
	table_flush(t, out);
	table_free(t);
}

/* ---- groups: the meta group and the shards ------------------------------------------------------------------ */

size_t cluster_group_count(const json_t *cluster)
{
	return json_array_size(ctl_array(cluster, "shards")) + 1;
}

const json_t *cluster_group_at(const json_t *cluster, size_t i)
{
	return i ? json_array_get(ctl_array(cluster, "shards"), i - 1) : json_object_get(cluster, "meta");
}

static bool has_quorum(const json_t *group)
{
	const json_t *quorum = json_object_get(group, "quorum");
	return quorum ? json_is_true(quorum) : *ctl_text(group, "leader") != 0;
}

/* The most that a replica which says so is behind; -1: none says. Of one node's, or of all. */
static int64_t lag_of(const json_t *group, const char *node)
{
	int64_t most = -1;
	size_t i;
	json_t *replica;
	json_array_foreach(ctl_array(group, "replicas"), i, replica) {
		const json_t *lag = json_object_get(replica, "lag");
		if (json_is_integer(lag) && (!node || !strcmp(ctl_text(replica, "node"), node)) &&
		    json_integer_value(lag) > most)
			most = json_integer_value(lag);
	}
	return most;
}

static bool has_role(const json_t *group, const char *role)
{
	size_t i;
	json_t *replica;
	json_array_foreach(ctl_array(group, "replicas"), i, replica) {
		if (!strcmp(ctl_text(replica, "role"), role))
			return true;
	}
	return false;
}

static bool is_ailing(const json_t *group)
{
	return !*ctl_text(group, "leader") || !has_quorum(group) || lag_of(group, NULL) >= LAG_SHOWN ||
	    has_role(group, "unreachable") || has_role(group, "forming") || has_role(group, "learner");
}

static void cell_lag(const struct ctl *ctl, struct table *t, int64_t lag)
{
	if (lag < 0)
		table_cell(t, none(ctl));
	else
		table_cellf(t, "%lld", (long long)lag);
}

/* "cloud-1 leader, cloud-2 follower" without the leader itself. */
static void cell_replicas(struct table *t, const json_t *group)
{
	struct buf b = {0};
	size_t i;
	json_t *replica;
	json_array_foreach(ctl_array(group, "replicas"), i, replica) {
		if (strcmp(ctl_text(replica, "role"), "leader") != 0)
			buf_printf(&b, "%s%s %s", b.len ? ", " : "", ctl_text(replica, "node"), ctl_text(replica, "role"));
	}
	table_cell(t, buf_cstr(&b));
	buf_free(&b);
}

void cluster_put_groups(const struct ctl *ctl, const json_t *cluster, struct buf *out)
{
	static const char *const columns[] = {"shard", "leader", "term", "quorum", "lag", "others"};
	bool all = cluster_group_count(cluster) <= SHARDS_SHOWN_MAX + 1;
	struct table *t = table_new(false);
	size_t shown = 0, hidden = 0;
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, columns[i], i == 2 || i == 4);
	for (size_t i = 0; i < cluster_group_count(cluster); i++) {
		const json_t *group = cluster_group_at(cluster, i);
		if (!group || (!all && !is_ailing(group)))
			continue;
		if (shown++ > SHARDS_SHOWN_MAX) {
			hidden++;
			continue;
		}
		if (i)
			table_cellf(t, "%zu", i - 1);
		else
			table_cell(t, "meta");
		table_cell(t, *ctl_text(group, "leader") ? ctl_text(group, "leader") : "none");
		ctl_cell(t, json_object_get(group, "term"), 0, none(ctl));
		table_cell(t, has_quorum(group) ? "yes" : "NO");
		cell_lag(ctl, t, lag_of(group, NULL));
		cell_replicas(t, group);
	}
	if (shown)
		finish_table(t, out);
	else
		table_free(t);
	if (hidden)
		buf_printf(out, "and %zu more with something wrong\n", hidden);
	if (shown)
		buf_u8(out, '\n');
}

/* ---- nodes ------------------------------------------------------------------------------------------------ */

struct node_share {
	size_t replicas, leads;
	int64_t lag; /* of its replica that is furthest behind; -1: not known */
};

static struct node_share share_of(const json_t *cluster, const char *node)
{
	struct node_share n = {.lag = -1};
	for (size_t i = 0; i < cluster_group_count(cluster); i++) {
		const json_t *group = cluster_group_at(cluster, i);
		size_t j;
		json_t *replica;
		n.leads += !strcmp(ctl_text(group, "leader"), node);
		json_array_foreach(ctl_array(group, "replicas"), j, replica)
			n.replicas += !strcmp(ctl_text(replica, "node"), node);
		int64_t lag = lag_of(group, node);
		n.lag = lag > n.lag ? lag : n.lag;
	}
	return n;
}

/* Bound to every interface: the host is that of `listen`. */
char *cluster_http_address(const json_t *node)
{
	const char *http = ctl_text(node, "http"), *listen = strstr(ctl_text(node, "listen"), "://"), *port = strrchr(http, ':');
	bool any = !strncmp(http, "0.0.0.0:", 8) || !strncmp(http, "[::]:", 5) || !strncmp(http, "*:", 2);
	const char *end = listen ? strrchr(listen, ':') : NULL;
	if (any && port && end && end > listen + 3)
		return xasprintf("%.*s%s", (int)(end - listen - 3), listen + 3, port);
	return xstrdup(http);
}

void cluster_put_nodes(const struct ctl *ctl, const json_t *cluster, struct buf *out)
{
	struct table *t = table_new(ctl->format == FORMAT_CSV);
	table_column(t, "node", false);
	table_column(t, "state", false);
	table_column(t, "replicas", true);
	table_column(t, "leads", true);
	table_column(t, "lag", true);
	size_t i;
	json_t *node;
	json_array_foreach(ctl_array(cluster, "nodes"), i, node) {
		struct node_share n = share_of(cluster, ctl_text(node, "name"));
		table_cell(t, ctl_text(node, "name"));
		const char *membership = ctl_text(node, "membership");
		bool told = *membership && strcmp(membership, "member") != 0;
		table_cellf(t, "%s%s%s", ctl_text(node, "state"), told ? ", " : "", told ? membership : "");
		table_cellf(t, "%zu", n.replicas);
		table_cellf(t, "%zu", n.leads);
		cell_lag(ctl, t, n.lag);
	}
	finish_table(t, out);
}

/* ---- what is wrong, and what to do -------------------------------------------------------------------------- */

struct health {
	size_t nodes, up;
	struct buf down, foreign; /* names */
	size_t shards, without;   /* shards; those without leader or quorum */
	bool meta_without;
	bool forming;             /* a group without a leader of which a replica is empty */
	bool begun;               /* no new cluster, or one whose nodes have all come */
	int64_t lag;
};

static void add_name(struct buf *names, const char *name)
{
	buf_printf(names, "%s%s", names->len ? ", " : "", name);
}

static void look_at(const json_t *cluster, struct health *h)
{
	size_t i;
	json_t *node;
	json_array_foreach(ctl_array(cluster, "nodes"), i, node) {
		const char *state = ctl_text(node, "state");
		h->nodes++;
		h->up += !strcmp(state, "up");
		if (!strcmp(state, "foreign"))
			add_name(&h->foreign, ctl_text(node, "name"));
		else if (strcmp(state, "up") != 0)
			add_name(&h->down, ctl_text(node, "name"));
	}
	json_int_t version = json_integer_value(json_object_get(cluster, "map_version"));
	h->begun = version > 1 || (version == 1 && !h->down.len);
	h->lag = -1;
	for (i = 0; i < cluster_group_count(cluster); i++) {
		const json_t *group = cluster_group_at(cluster, i);
		if (!group)
			continue;
		bool without = !has_quorum(group);
		int64_t lag = lag_of(group, NULL);
		h->lag = lag > h->lag ? lag : h->lag;
		h->forming = h->forming || (without && has_role(group, "forming"));
		h->shards += i > 0;
		h->without += i > 0 && without;
		h->meta_without = h->meta_without || (!i && without);
	}
}

void cluster_put_health(const json_t *cluster, struct buf *out)
{
	struct health h = {0};
	look_at(cluster, &h);
	bool stopped = h.without || h.meta_without;
	buf_printf(out, "health   %zu of %zu nodes answer%s; ", h.up, h.nodes, h.up == 1 ? "s" : "");
	if (!stopped)
		buf_printf(out, "every shard has a quorum\n");
	else if (h.without == h.shards)
		buf_printf(out, "no shard has a quorum\n");
	else if (h.without)
		buf_printf(out, "%zu of %zu shards have no quorum\n", h.without, h.shards);
	else
		buf_printf(out, "the meta group has no quorum\n");
	if (h.forming && h.begun)
		buf_printf(out, "         an empty replica begins nothing by itself: it needs those who had the data (weirctl doctor)%s%s\n",
		    h.down.len ? ": start " : "", buf_cstr(&h.down));
	else if (h.forming)
		buf_printf(out, "         a new cluster begins when every node has answered once%s%s\n",
		    h.down.len ? ": start " : "", buf_cstr(&h.down));
	else if (stopped && h.down.len)
		buf_printf(out, "         nothing is acknowledged there; edges keep their readings. Start again: %s\n",
		    buf_cstr(&h.down));
	else if (stopped)
		buf_printf(out, "         nothing is acknowledged there; edges keep their readings. An election takes seconds: ask "
				"again; else look at the links between the nodes\n");
	else if (h.down.len)
		buf_printf(out, "         reads and writes go on; one more loss may stop shards. Start again: %s\n",
		    buf_cstr(&h.down));
	if (h.foreign.len)
		buf_printf(out, "         of another cluster, so it serves nothing here: %s. Give it the right topology, or an "
				"empty data folder\n",
		    buf_cstr(&h.foreign));
	if (h.lag >= LAG_SHOWN)
		buf_printf(out, "         a replica is %lld entries behind its leader: it catches up by itself\n",
		    (long long)h.lag);
	buf_free(&h.down);
	buf_free(&h.foreign);
}

void cluster_put_shards(const json_t *cluster, struct buf *out)
{
	const json_t *shards = ctl_array(cluster, "shards");
	size_t i, without = 0;
	json_t *shard;
	struct buf names = {0};
	json_array_foreach(shards, i, shard) {
		if (*ctl_text(shard, "leader"))
			continue;
		if (without++ < SHARDS_SHOWN_MAX) {
			buf_u8(&names, ' ');
			ctl_put_cell(&names, json_object_get(shard, "shard"), 0, "?");
		}
	}
	buf_printf(out, "shards   %zu: ", json_array_size(shards));
	if (!without)
		buf_printf(out, "each with a leader\n");
	else
		buf_printf(out, "%zu without a leader:%s%s\n", without, buf_cstr(&names),
		    without > SHARDS_SHOWN_MAX ? " ..." : "");
	buf_free(&names);
}
