#include "cloudd/node.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/allow.h"
#include "cloudd/consensus.h"
#include "cloudd/digests.h"
#include "cloudd/ingress.h"
#include "cloudd/leader.h"
#include "cloudd/meta.h"
#include "cloudd/pace.h"
#include "cloudd/peers.h"
#include "cloudd/readiness.h"
#include "cloudd/route.h"
#include "cloudd/view.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"

#define ERRANDS_MAX 64
#define MAP_ASK_MS 250
#define COMPARE_MS 500

/* What somebody at this node asked of the meta group. */
struct errand {
	uint64_t id; /* 0: free */
	int64_t deadline_ns;
	node_done_fn *done;
	void *arg;
};

struct node {
	const struct topology *topology; /* held */
	uint32_t self;
	char *name;
	const struct topology *consensus_topology; /* held: what consensus goes by, until it may be told of the other one */
	struct buf map;          /* that it was made from, as bytes; empty: of a file */
	uint64_t map_asked;      /* the version that was asked for last, and when */
	int64_t map_asked_ns;
	struct kv *state;
	struct node_io io;
	struct node_time now;
	struct consensus *consensus;
	struct ingress *ingress;
	struct route *route;
	struct leader **leaders; /* by shard; NULL where no replica of it is held */
	struct meta *meta;       /* also where no replica of group 0 is held: then it knows nothing */
	struct peers *peers;
	struct view *view;
	struct errand errands[ERRANDS_MAX];
	uint64_t next_errand;
	uint64_t start_id;       /* of the questions of this start */
	int64_t ask_due_ns;
	bool has_id;             /* the cluster id is known and durable here */
	uint8_t id[CLUSTER_ID_BYTES];
	bool told_full;          /* what the others were told of the disks */
	bool led_changed;        /* something began or ceased to be led here, and the others were not told yet */
	struct pace *pace;       /* of maps that are given out */
	struct registry registry;
	int64_t *heard;          /* by node; for the registry */
	uint64_t *settled;       /* by group; likewise */
	bool *founded;           /* by group; likewise */
	int *led_by;             /* by group: the node that led it at the last tick, or -1 */
	int64_t *unled_ns;       /* likewise: monotonic, since when no leader is known that answers; 0: one is */
	struct digests *digests;
	struct msg_digest *told;
	int64_t compared_ns;     /* when digests were last looked at */
	uint32_t *differs;       /* by group: 1 + the node whose digest differs; 0: none */
	struct group_status *statuses; /* by group: as of the last tick */
	bool *reachable;         /* by node: likewise */
	struct buf why;          /* not ready: why; empty: ready */
	bool unlisted;           /* the cluster has a map, and this node has no place in it yet */
	bool stopped;            /* after consensus has failed: what waited is answered */
	struct node_counters counters;
	struct leader_counters leader_counters;
	struct buf frame;
};

static struct consensus_time consensus_now(const struct node *n)
{
	return (struct consensus_time){n->now.wall_ns, n->now.mono_ns};
}

static struct leader_time leader_now(const struct node *n)
{
	return (struct leader_time){n->now.wall_ns, n->now.mono_ns};
}

static struct meta_time meta_now(const struct node *n)
{
	return (struct meta_time){n->now.wall_ns, n->now.mono_ns};
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void errand_answered(struct node *n, uint64_t id, const struct answer *a)
{
	for (size_t i = 0; i < ERRANDS_MAX; i++) {
		struct errand *e = &n->errands[i];
		if (!id || e->id != id)
			continue;
		struct errand done = *e;
		*e = (struct errand){0};
		done.done(done.arg, a->verdict, a->map_version, a->reason ? a->reason : "");
		return;
	}
}

static void answer(void *arg, const struct origin *o, const struct answer *a)
{
	struct node *n = arg;
	if (!o->local)
		ingress_answer(n->ingress, o, a);
	else if (o->type == MSG_ADVANCE)
		meta_advance_reply(n->meta, o->shard, a->verdict, a->meta_index, meta_now(n));
	else
		errand_answered(n, o->req_id, a);
}

static void refuse(struct node *n, const struct origin *o, enum verdict v, const char *reason)
{
	answer(n, o, &(struct answer){.verdict = v, .reason = reason});
}

/* ---- wires between the modules ------------------------------------------------------------------------------------ */

/* The node that leads a group; -1: none that is known and can be asked. */
static int leader_of(const struct node *n, uint32_t group)
{
	int node = consensus_leader(n->consensus, group);
	return node >= 0 && peers_is_other(n->peers, (uint32_t)node) ? -1 : node;
}

static int propose(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index)
{
	struct node *n = arg;
	return own ? consensus_propose_own(n->consensus, group, e, ret_index)
	           : consensus_propose(n->consensus, group, e, ret_index);
}

static bool reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	struct node *n = arg;
	return n->io.reply(n->io.arg, route, frame, len);
}

/* Asked of a node that answers nothing, a request would wait for its deadline. */
static bool send_request(void *arg, uint32_t node, const void *frame, size_t len)
{
	struct node *n = arg;
	return peers_reachable(n->peers, node, n->now.mono_ns) && n->io.send_node(n->io.arg, node, frame, len);
}

static void log_write(void *arg, struct log_job *job)
{
	struct node *n = arg;
	n->io.log_write(n->io.arg, job);
}

static void apply_job(void *arg, struct apply_job *job)
{
	struct node *n = arg;
	n->io.apply(n->io.arg, job);
}

static void committed(void *arg, uint32_t group, uint64_t index)
{
	struct node *n = arg;
	n->io.committed(n->io.arg, group, index);
}

static void learn_map(struct node *n, struct bytes raw);

static void applied(void *arg, const struct apply_result *r, struct bytes entry)
{
	struct node *n = arg;
	if (r->digested)
		digests_note(n->digests, r->group, r->index, r->digest);
	if (r->group == META_GROUP) {
		meta_applied(n->meta, r, entry, meta_now(n));
		if (r->map.len)
			learn_map(n, bytes_of(r->map.data, r->map.len));
	} else if (n->leaders[r->group - 1]) {
		leader_applied(n->leaders[r->group - 1], r, leader_now(n));
	}
}

static void role(void *arg, uint32_t group, bool leads, uint64_t term)
{
	struct node *n = arg;
	(void)term;
	n->led_changed = true;
	if (group == META_GROUP && leads) {
		meta_lead(n->meta, meta_now(n));
		registry_lead(&n->registry, n->now.mono_ns);
	} else if (group == META_GROUP) {
		meta_stop(n->meta);
	} else if (leads) {
		leader_lead(n->leaders[group - 1], leader_now(n));
	} else if (n->leaders[group - 1]) {
		leader_stop(n->leaders[group - 1]);
	}
}

static void read_index(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index)
{
	struct node *n = arg;
	n->io.read(n->io.arg, group, context, ok, index);
}

/* A replica of the meta group that cannot read its state must not lead it, nor be handed what it led: it is as good as down. */
static void fail_meta(struct node *n, int rc)
{
	if (rc == WEIR_ECORRUPT && topology_replicas(n->topology, META_GROUP) > 1) {
		consensus_damaged(n->consensus, META_GROUP, "a stored record does not read");
		return;
	}
	char *why = xasprintf("the meta group's state cannot be read: %s", err_text(rc));
	consensus_stop(n->consensus, why);
	free(why);
}

/* The map comes first: what is committed of streams and edges finds its place by it. */
static int read_meta(struct node *n, struct kv_txn *txn, struct buf *map)
{
	int rc = apply_read_map(txn, META_GROUP, map);
	if (!rc && map->len)
		learn_map(n, bytes_of(map->data, map->len));
	return rc && rc != WEIR_ENOTFOUND ? rc : meta_load(n->meta, txn);
}

static void reloaded(void *arg, uint32_t group, uint64_t index)
{
	struct node *n = arg;
	struct kv_txn *txn;
	(void)index;
	digests_forget(n->digests, group);
	n->differs[group] = 0;
	if (group != META_GROUP)
		return;
	struct buf map = {0};
	int rc = kv_begin(n->state, false, &txn);
	if (!rc) {
		rc = read_meta(n, txn, &map);
		kv_abort(txn);
	}
	buf_free(&map);
	if (rc)
		fail_meta(n, rc);
}

/* A group came to be held here, or is no longer. */
static void held(void *arg, uint32_t group, bool is_held)
{
	struct node *n = arg;
	struct leader_io io = {n, propose, answer};
	if (group == META_GROUP)
		return;
	leader_free(n->leaders[group - 1]);
	n->leaders[group - 1] = is_held ? leader_new(n->topology, group - 1, &io, &n->leader_counters) : NULL;
}

static bool begun(void *arg, uint32_t group)
{
	const struct node *n = arg;
	return n->registry.led[group] || meta_took(n->meta, group - 1);
}

static struct bytes cluster_id(const struct node *n)
{
	return n->has_id ? bytes_of(n->id, CLUSTER_ID_BYTES) : (struct bytes){0};
}

/* To other nodes, under our name and cluster id: into n->frame. */
static int encode_msg(struct node *n, struct msg *m)
{
	m->from = n->name;
	m->cluster_id = cluster_id(n);
	buf_clear(&n->frame);
	return msg_encode(m, &n->frame);
}

static bool send_msg(struct node *n, uint32_t node, struct msg *m)
{
	return encode_msg(n, m) == 0 && n->io.send_node(n->io.arg, node, n->frame.data, n->frame.len);
}

static bool send_consensus(void *arg, uint32_t node, bool bulk, struct msg *m)
{
	struct node *n = arg;
	if (!bulk)
		return send_msg(n, node, m);
	return encode_msg(n, m) == 0 && n->io.send_bulk(n->io.arg, node, n->frame.data, n->frame.len);
}

static bool send_advance(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry)
{
	struct node *n = arg;
	int node = leader_of(n, shard + 1);
	struct msg m = {.type = MSG_ADVANCE, .req_id = meta_index};
	m.advance.shard = shard;
	m.advance.meta_index = meta_index;
	m.advance.entry = entry;
	if (node < 0)
		return false;
	if ((uint32_t)node != n->self)
		return send_msg(n, (uint32_t)node, &m);
	struct origin o = {.type = MSG_ADVANCE, .local = true, .shard = shard, .edge = ORIGIN_NO_EDGE};
	leader_advance(n->leaders[shard], &o, &m, leader_now(n));
	return true;
}

/* ---- open and close ------------------------------------------------------------------------------------------------- */

static int load_meta(struct node *n, const uint8_t random[16], char **ret_why)
{
	n->meta = meta_new(n->topology, &(struct meta_io){n, propose, answer, send_advance}, random);
	if (!consensus_holds(n->consensus, META_GROUP))
		return 0;
	struct kv_txn *txn;
	struct buf map = {0};
	int rc = kv_begin(n->state, false, &txn);
	if (!rc) {
		rc = read_meta(n, txn, &map);
		kv_abort(txn);
	}
	buf_free(&map);
	if (rc == WEIR_ECORRUPT && topology_replicas(n->topology, META_GROUP) > 1) {
		consensus_damaged(n->consensus, META_GROUP, "a stored record does not read");
		rc = 0;
	}
	if (rc == WEIR_EBUSY)
		rc = 0; /* stopped while a snapshot was being installed: reloaded() comes when it is there */
	if (rc) {
		*ret_why = xasprintf("the meta group's state cannot be read: %s", err_text(rc));
		return rc;
	}
	uint8_t stated[CLUSTER_ID_BYTES], kept[CLUSTER_ID_BYTES];
	if (meta_cluster_id(n->meta, stated) && consensus_cluster_id(n->consensus, kept) &&
	    memcmp(stated, kept, CLUSTER_ID_BYTES) != 0) {
		*ret_why = xasprintf("the log and the state belong to two clusters: one of the folders was replaced");
		return WEIR_EINVAL;
	}
	return 0;
}

static void adopt_cluster_id(struct node *n)
{
	uint8_t created[CLUSTER_ID_BYTES];
	if (n->has_id)
		return;
	n->has_id = consensus_cluster_id(n->consensus, n->id);
	if (n->has_id) {
		ingress_set_cluster_id(n->ingress, n->id);
		view_put_cluster_id(n->view, n->id);
	} else if (meta_cluster_id(n->meta, created)) {
		consensus_keep_cluster_id(n->consensus, created);
	}
}

/* A cluster would serve nothing whose first map cannot be an entry: said at the start, not found out later. */
static int check_map_size(const struct topology *t, char **ret_why)
{
	struct cluster_map map;
	struct buf encoded = {0};
	if (t->map_version || !t->text)
		return 0;
	map_first(t, t->text, t->text_len, &map);
	int rc = map_encode(&map, &encoded);
	if (rc)
		*ret_why = xasprintf("the topology is too large for a cluster map (%u KiB compressed)", MAP_BYTES_MAX / 1024);
	map_clear(&map);
	buf_free(&encoded);
	return rc;
}

/* Nor would a stream close whose close cannot be one. */
static int check_close_sizes(const struct topology *t, char **ret_why)
{
	const size_t per_edge = 1 + 1 + 10 + 10; /* state, name's length, two times */
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		size_t bytes = 256;
		for (size_t e = 0; e < s->edge_count; e++)
			bytes += per_edge + strlen(t->edges[s->edges[e]].name);
		if (bytes > ENTRY_MAX) {
			*ret_why = xasprintf("stream %s expects %zu edges, more than one entry of the log can hold", s->name,
			    s->edge_count);
			return WEIR_ETOOBIG;
		}
	}
	return 0;
}

static void make_leaders(struct node *n)
{
	for (uint32_t s = 0; s < n->topology->shards; s++) {
		if (consensus_holds(n->consensus, s + 1))
			n->leaders[s] = leader_new(n->topology, s, &(struct leader_io){n, propose, answer}, &n->leader_counters);
	}
}

int node_open(const struct topology *t, uint32_t self, struct kv *log, struct apply *apply, struct kv *state,
    const struct node_io *io, const uint8_t random[16], struct node_time now, struct node **ret_node, char **ret_why)
{
	weir_assert(self < t->cloud_count && t->shards <= SHARDS_MAX);
	struct node *n = xcalloc(1, sizeof(*n));
	n->topology = topology_hold(t);
	n->consensus_topology = topology_hold(t);
	n->self = self;
	n->name = xstrdup(t->clouds[self].name);
	n->state = state;
	n->io = *io;
	n->now = now;
	n->next_errand = 1;
	n->start_id = (uint64_t)now.wall_ns;
	n->led_by = xcalloc(topology_groups(t), sizeof(*n->led_by));
	for (uint32_t g = 0; g < topology_groups(t); g++)
		n->led_by[g] = -1;
	n->unled_ns = xcalloc(topology_groups(t), sizeof(*n->unled_ns));
	n->statuses = xcalloc(topology_groups(t), sizeof(*n->statuses));
	n->heard = xcalloc(CLOUDS_MAX, sizeof(*n->heard));
	n->settled = xcalloc(topology_groups(t), sizeof(*n->settled));
	n->founded = xcalloc(topology_groups(t), sizeof(*n->founded));
	n->reachable = xcalloc(t->cloud_count, sizeof(*n->reachable));
	n->digests = digests_new(topology_groups(t));
	n->told = xcalloc(DIGESTS_TOLD_MAX, sizeof(*n->told));
	n->differs = xcalloc(topology_groups(t), sizeof(*n->differs));
	n->peers = peers_new(t, self);
	n->pace = pace_new();
	n->leaders = xcalloc(t->shards, sizeof(struct leader *));
	n->view = view_new(t, self);
	n->ingress = ingress_new(t, n->name, &(struct ingress_io){n, reply});
	/* Ids of this start are above those of an earlier one: its late replies match nothing. */
	n->route = route_new(t, n->name, (uint64_t)now.wall_ns, &(struct route_io){n, send_request, answer});
	int rc = check_close_sizes(t, ret_why);
	if (!rc)
		rc = check_map_size(t, ret_why);
	if (!rc)
		rc = consensus_open(t, self, log, apply, random,
		    &(struct consensus_io){n, log_write, apply_job, send_consensus, committed, applied, role, read_index, reloaded,
			held, begun},
		    &n->consensus, ret_why);
	if (!rc)
		rc = load_meta(n, random, ret_why);
	if (!rc)
		make_leaders(n);
	if (rc) {
		node_close(n);
		return rc;
	}
	adopt_cluster_id(n);
	*ret_node = n;
	return 0;
}

void node_close(struct node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < ERRANDS_MAX; i++)
		errand_answered(n, n->errands[i].id,
		    &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "the node is stopping"});
	for (uint32_t s = 0; n->leaders && s < n->topology->shards; s++)
		leader_free(n->leaders[s]);
	free(n->leaders);
	meta_free(n->meta);
	route_free(n->route);
	ingress_free(n->ingress);
	consensus_close(n->consensus);
	digests_free(n->digests);
	free(n->told);
	free(n->differs);
	peers_free(n->peers);
	pace_free(n->pace);
	view_free(n->view);
	free(n->led_by);
	free(n->unled_ns);
	free(n->heard);
	free(n->settled);
	free(n->founded);
	free(n->statuses);
	free(n->reachable);
	buf_free(&n->why);
	buf_free(&n->frame);
	buf_free(&n->map);
	free(n->name);
	topology_free(n->consensus_topology);
	topology_free(n->topology);
	free(n);
}

/* ---- the cluster's id, and what nodes say of themselves ----------------------------------------------------------------- */

static bool same_cluster(const struct node *n, struct bytes id)
{
	return n->has_id && id.n == CLUSTER_ID_BYTES && memcmp(n->id, id.p, CLUSTER_ID_BYTES) == 0;
}

/* Of this cluster, as far as both sides know it. */
static bool fits_cluster(const struct node *n, struct bytes id)
{
	return id.n == 0 || (!n->has_id && id.n == CLUSTER_ID_BYTES) || same_cluster(n, id);
}

/* The other node that a frame says it is from; -1: none of the topology. */
static int sender(const struct node *n, const struct msg *m)
{
	int node = topology_cloud(n->topology, m->from);
	return node == (int)n->self ? -1 : node;
}

/* A node whose consensus has failed is as good as down, and says nothing of itself: so that it is not taken for one that is there, and is
 * replaced after a while as any dead one. */
static bool is_mute(const struct node *n)
{
	return consensus_failed(n->consensus) != NULL;
}

static void ask_others(struct node *n)
{
	bool settled = !n->why.len && peers_all_answered(n->peers);
	if (is_mute(n))
		return;
	if (!n->led_changed && n->told_full == consensus_full(n->consensus) && n->now.mono_ns < n->ask_due_ns)
		return;
	for (uint32_t g = 0; g < topology_groups(n->topology); g++)
		settled = settled && n->led_by[g] >= 0;
	n->led_changed = false;
	n->ask_due_ns = n->now.mono_ns + (settled ? PEERS_ASK_SETTLED_MS : PEERS_ASK_MS) * NS_PER_MS;
	struct msg m = {.type = MSG_INFO, .req_id = n->start_id};
	consensus_info(n->consensus, &m.info);
	n->told_full = m.info.full;
	m.info.cluster = n->topology->cluster;
	m.info.digest_count = digests_tell(n->digests, n->told);
	m.info.digests = n->told;
	m.info.map_version = n->topology->map_version;
	if (encode_msg(n, &m))
		return;
	for (uint32_t i = 0; i < n->topology->cloud_count; i++) {
		if (i != n->self && n->topology->clouds[i].state != CLOUD_GONE)
			n->io.send_node(n->io.arg, i, n->frame.data, n->frame.len);
	}
}

/* ---- the cluster map ------------------------------------------------------------------------------------------------------ */

/* May be called back by consensus, which is told afterwards: settle_topology(). */
static void set_topology(struct node *n, const struct topology *t)
{
	const struct topology *before = n->topology;
	n->topology = topology_hold(t);
	n->reachable = xrealloc(n->reachable, t->cloud_count * sizeof(*n->reachable));
	for (size_t i = before->cloud_count; i < t->cloud_count; i++)
		n->reachable[i] = false;
	peers_set_topology(n->peers, t);
	route_set_topology(n->route, t);
	ingress_set_topology(n->ingress, t);
	meta_set_topology(n->meta, t);
	for (uint32_t s = 0; s < t->shards; s++) {
		if (n->leaders[s])
			leader_set_topology(n->leaders[s], t);
	}
	view_set_topology(n->view, t);
	topology_free(before);
}

/* Not within a callback of consensus. */
static void settle_topology(struct node *n)
{
	if (n->consensus_topology == n->topology)
		return;
	const struct topology *before = n->consensus_topology;
	n->consensus_topology = topology_hold(n->topology);
	consensus_set_topology(n->consensus, n->topology);
	topology_free(before);
	n->led_changed = true;
}

static void keep_map(struct node *n, struct bytes map)
{
	buf_clear(&n->map);
	buf_put(&n->map, map.p, map.n);
	view_put_map(n->view, map);
}

void node_keep_map(struct node *n, struct bytes map)
{
	if (!n->map.len)
		keep_map(n, map);
}

/* The slot of that name; -1: none. */
static int place_in(const struct cluster_map *m, const char *name)
{
	for (size_t i = 0; i < m->node_count; i++) {
		if (m->nodes[i].state != CLOUD_GONE && !strcmp(m->nodes[i].name, name))
			return (int)i;
	}
	return -1;
}

/* What is known of the nodes of a file holds for the map's: they have the same slots, this one too. */
static bool same_slots(const struct cluster_map *m, const struct topology *file)
{
	bool same = m->node_count >= file->cloud_count;
	for (size_t i = 0; same && i < file->cloud_count; i++)
		same = !strcmp(m->nodes[i].name, file->clouds[i].name);
	return same;
}

/* Whoever sent it: it may be of another cluster while this node does not know its own one's id. */
static bool is_of_cluster(const struct node *n, const struct topology *t)
{
	return !strcmp(t->cluster, n->topology->cluster) && t->shards == n->topology->shards;
}

/* A node that goes by its file has another place, or sees others at other places: it begins again by the map. */
static void take_map(struct node *n, const struct cluster_map *map, const struct topology *t, struct bytes raw)
{
	if (!n->topology->map_version && !same_slots(map, n->topology)) {
		n->io.mapped(n->io.arg, NULL, raw);
		return;
	}
	if (t->cloud_count < n->topology->cloud_count) { /* slots only come */
		n->counters.maps_bad++;
		return;
	}
	keep_map(n, raw);
	set_topology(n, t);
	n->io.mapped(n->io.arg, t, raw);
}

/* What cannot be used here (of a later program, maybe) is counted, and the map before stays in force. */
static void learn_map(struct node *n, struct bytes raw)
{
	struct cluster_map map;
	struct topology *t = NULL;
	struct buf errors = {0};
	if (map_decode(raw, &map)) {
		n->counters.maps_bad++;
		return;
	}
	n->unlisted = !n->topology->map_version && place_in(&map, n->name) < 0;
	/* Unlisted: started before it was added. It goes by its file, and founds nothing as others have a map, until it has a place. */
	if (!n->unlisted && map.version > n->topology->map_version) {
		if (map_topology(&map, n->topology->path, n->topology, &t, &errors) || !is_of_cluster(n, t))
			n->counters.maps_bad++;
		else
			take_map(n, &map, t, raw);
	}
	topology_free(t);
	buf_free(&errors);
	map_clear(&map);
}

static void ask_map(struct node *n, uint32_t node, uint64_t version)
{
	struct msg m = {.type = MSG_MAP, .req_id = n->start_id};
	if (version <= n->map_asked && n->now.mono_ns - n->map_asked_ns < MAP_ASK_MS * NS_PER_MS)
		return;
	n->map_asked = version;
	n->map_asked_ns = n->now.mono_ns;
	m.map.version = n->topology->map_version;
	send_msg(n, node, &m);
}

/* To nodes and edges alike: whoever may talk to this node may know of the cluster. Nodes do not wait for edges. */
static void handle_map(struct node *n, struct bytes route, const struct msg *m)
{
	struct msg r = {.type = MSG_MAP_REPLY, .req_id = m->req_id};
	size_t bytes = sender(n, m) >= 0 ? 0 : n->map.len;
	r.map_reply.verdict = VERDICT_OK;
	r.map_reply.version = n->topology->map_version;
	if (m->map.version >= n->topology->map_version) {
		/* it has it */
	} else if (pace_may(n->pace, m->from, n->topology->map_version, bytes, n->now.mono_ns)) {
		r.map_reply.map = bytes_of(n->map.data, n->map.len);
	} else {
		r.map_reply.verdict = VERDICT_BUSY;
		n->counters.maps_busy++;
	}
	ingress_send(n->ingress, route, &r);
}

static void handle_map_reply(struct node *n, uint32_t peer, const struct msg *m)
{
	if (sender(n, m) != (int)peer || !fits_cluster(n, m->cluster_id))
		n->counters.frames_unexpected++;
	else if (m->map_reply.verdict == VERDICT_OK && m->map_reply.map.n)
		learn_map(n, m->map_reply.map);
}

static bool of_this_cluster(const struct node *n, const struct msg_info *info, struct bytes id)
{
	return strcmp(info->cluster, n->topology->cluster) == 0 && fits_cluster(n, id);
}

static bool says_it_leads(const struct msg_info *info, uint32_t group)
{
	for (size_t i = 0; i < info->lead_count; i++) {
		if (info->leads[i].group == group)
			return true;
	}
	return false;
}

/* answered: from the node at that address, to a question of this start. Who only asks may be anybody that uses the name, so
 * that it is of another cluster says nothing of the node. */
static void take_info(struct node *n, uint32_t node, const struct msg_info *info, struct bytes id, bool answered)
{
	if (!of_this_cluster(n, info, id)) {
		if (answered)
			peers_cluster(n->peers, node, PEER_CLUSTER_OTHER);
		return;
	}
	if (answered || same_cluster(n, id))
		peers_cluster(n->peers, node, same_cluster(n, id) ? PEER_CLUSTER_SAME : PEER_CLUSTER_UNKNOWN);
	if (answered)
		peers_answered(n->peers, node, n->now.mono_ns);
	/* From who leads the meta group: any other node's folder may be a left-over of an earlier cluster. A replica of the meta
	 * group learns it there: should it found that anew, because all of it was lost, it is of another cluster than those who
	 * still know the old id. */
	if (!n->has_id && !consensus_holds(n->consensus, META_GROUP) && answered && says_it_leads(info, META_GROUP) && id.n == CLUSTER_ID_BYTES)
		consensus_keep_cluster_id(n->consensus, id.p);
	for (size_t i = 0; same_cluster(n, id) && i < info->digest_count; i++)
		digests_heard(n->digests, node, &info->digests[i]);
	if (info->map_version > n->topology->map_version)
		ask_map(n, node, info->map_version);
	consensus_peer(n->consensus, node, info, answered, consensus_now(n));
}

static void handle_info_reply(struct node *n, uint32_t peer, const struct msg *m)
{
	if (sender(n, m) != (int)peer)
		n->counters.frames_unexpected++;
	else
		take_info(n, peer, &m->info_reply, m->cluster_id, m->req_id == n->start_id);
}

/* ---- requests that came through the ROUTER ------------------------------------------------------------------------------- */

static void serve_here(struct node *n, const struct origin *o, const struct msg *m)
{
	if (m->type == MSG_OPEN)
		leader_open(n->leaders[o->shard], o, m, leader_now(n));
	else if (m->type == MSG_BATCH)
		leader_batch(n->leaders[o->shard], o, m, leader_now(n));
	else if (m->type == MSG_HELLO)
		meta_hello(n->meta, o, m, meta_now(n));
	else
		meta_report(n->meta, o, m, meta_now(n));
}

static void forward(struct node *n, uint32_t node, const struct origin *o, const struct msg *m)
{
	int rc = route_forward(n->route, node, m, o, n->now.mono_ns);
	if (rc == WEIR_EBUSY)
		refuse(n, o, VERDICT_BUSY, "too many requests wait for other nodes");
	else if (rc)
		refuse(n, o, VERDICT_UNAVAILABLE, "the node that serves it cannot be reached");
}

static bool cannot_serve(const struct node *n)
{
	return peers_foreign(n->peers) >= 0 || consensus_failed(n->consensus) || consensus_removed(n->consensus);
}

static void handle_edge(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!ingress_accept(n->ingress, route, m, n->now.mono_ns, &o))
		return;
	uint32_t group = m->type == MSG_OPEN || m->type == MSG_BATCH ? o.shard + 1 : META_GROUP;
	int node = leader_of(n, group);
	if (cannot_serve(n)) {
		refuse(n, &o, VERDICT_UNAVAILABLE, "this node cannot serve: see its readiness");
	} else if (node == (int)n->self) {
		serve_here(n, &o, m);
	} else if (o.forwarded) {
		n->counters.misrouted++;
		refuse(n, &o, VERDICT_UNAVAILABLE, "its leader changed: asked again, it is answered");
	} else if (node < 0) {
		refuse(n, &o, VERDICT_UNAVAILABLE, "it has no leader yet");
	} else {
		forward(n, (uint32_t)node, &o, m);
	}
}

static void refuse_sender(struct node *n, struct bytes route, const struct msg *m)
{
	n->counters.frames_refused++;
	struct msg error = {.type = MSG_ERROR, .req_id = m->req_id};
	error.error.verdict = VERDICT_REFUSED;
	error.error.reason = "not from a node of this cluster";
	ingress_send(n->ingress, route, &error);
}

/* A request that only nodes of this cluster may make. */
static bool from_node(struct node *n, struct bytes route, const struct msg *m, struct origin *ret_origin)
{
	if (!ingress_origin(n->ingress, route, m, ret_origin))
		return false;
	if (sender(n, m) >= 0 && same_cluster(n, m->cluster_id) && peers_foreign(n->peers) < 0)
		return true;
	refuse_sender(n, route, m);
	return false;
}

/* The same of consensus, which goes on before the cluster has an id. */
static int from_replica(struct node *n, const struct msg *m)
{
	int node = sender(n, m);
	return fits_cluster(n, m->cluster_id) && peers_foreign(n->peers) < 0 ? node : -1;
}

static void handle_advance(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	o.shard = m->advance.shard;
	if (m->advance.shard < n->topology->shards && n->leaders[m->advance.shard])
		leader_advance(n->leaders[m->advance.shard], &o, m, leader_now(n));
	else
		refuse(n, &o, VERDICT_REFUSED, NULL);
}

/* Edges are named by their index within a node. */
static bool errand_edge(const struct node *n, const struct msg *m, uint32_t *ret_edge)
{
	int edge = m->type == MSG_READMIT ? topology_edge(n->topology, m->readmit.edge) : -1;
	*ret_edge = edge < 0 ? ORIGIN_NO_EDGE : (uint32_t)edge;
	return edge >= 0 || m->type != MSG_READMIT;
}

static void run_errand(struct node *n, const struct origin *o, const struct msg *m)
{
	if (m->type == MSG_READMIT)
		meta_readmit(n->meta, o, meta_now(n));
	else if (meta_leads(n->meta) && !registry_formed(&n->registry, n->topology))
		refuse(n, o, VERDICT_UNAVAILABLE, "the cluster is being founded: not all of its shards have had a leader yet");
	else if (m->type == MSG_REVOKE)
		meta_revoke(n->meta, o, m, meta_now(n));
	else
		meta_topology(n->meta, o, m, meta_now(n));
}

/* Somebody at another node asks it of the meta group. */
static void handle_errand(struct node *n, struct bytes route, const struct msg *m)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	errand_edge(n, m, &o.edge);
	run_errand(n, &o, m);
}

/* Answered whatever the asker's cluster: that is how it finds out. */
static void handle_info(struct node *n, struct bytes route, const struct msg *m)
{
	int node = sender(n, m);
	if (node >= 0) {
		if (of_this_cluster(n, &m->info, m->cluster_id) && peers_asked(n->peers, (uint32_t)node, m->req_id))
			route_node_restarted(n->route, (uint32_t)node);
		take_info(n, (uint32_t)node, &m->info, m->cluster_id, false);
	}
	if (is_mute(n))
		return;
	struct msg r = {.type = MSG_INFO_REPLY, .req_id = m->req_id};
	consensus_info(n->consensus, &r.info_reply);
	r.info_reply.cluster = n->topology->cluster;
	r.info_reply.map_version = n->topology->map_version;
	ingress_send(n->ingress, route, &r);
}

static void handle_raft(struct node *n, const struct msg *m)
{
	int node = from_replica(n, m);
	if (node < 0) {
		n->counters.frames_refused++;
		return;
	}
	consensus_receive(n->consensus, (uint32_t)node, m, consensus_now(n));
}

static void handle_serve(struct node *n, struct bytes route, const struct msg *m, const void *frame, size_t len)
{
	struct origin o;
	if (!from_node(n, route, m, &o))
		return;
	n->counters.frames_served++;
	n->io.serve(n->io.arg, route, frame, len);
}

/* A replica that lost its disk does not know the cluster's id: it learns it with what it fetches. */
static void handle_snapshot(struct node *n, struct bytes route, const struct msg *m, const void *frame, size_t len)
{
	if (from_replica(n, m) < 0) {
		refuse_sender(n, route, m);
		return;
	}
	n->counters.frames_served++;
	n->io.serve(n->io.arg, route, frame, len);
}

static void handle_request(struct node *n, struct bytes route, const struct msg *m, const void *frame, size_t len)
{
	switch (m->type) {
	case MSG_HELLO:
	case MSG_OPEN:
	case MSG_BATCH:
	case MSG_REPORT:
		handle_edge(n, route, m);
		break;
	case MSG_ADVANCE:
		handle_advance(n, route, m);
		break;
	case MSG_READMIT:
	case MSG_TOPOLOGY:
	case MSG_REVOKE:
		handle_errand(n, route, m);
		break;
	case MSG_INFO:
		handle_info(n, route, m);
		break;
	case MSG_QUERY:
	case MSG_OUTBOX:
	case MSG_STATUS:
		handle_serve(n, route, m, frame, len);
		break;
	case MSG_RAFT:
		handle_raft(n, m);
		break;
	case MSG_SNAPSHOT:
		handle_snapshot(n, route, m, frame, len);
		break;
	case MSG_MAP:
		handle_map(n, route, m);
		break;
	case MSG_NONE:
	case MSG_HELLO_REPLY:
	case MSG_OPEN_REPLY:
	case MSG_BATCH_REPLY:
	case MSG_REPORT_REPLY:
	case MSG_ADVANCE_REPLY:
	case MSG_READMIT_REPLY:
	case MSG_INFO_REPLY:
	case MSG_QUERY_REPLY:
	case MSG_OUTBOX_REPLY:
	case MSG_STATUS_REPLY:
	case MSG_SNAPSHOT_REPLY:
	case MSG_MAP_REPLY:
	case MSG_TOPOLOGY_REPLY:
	case MSG_REVOKE_REPLY:
	case MSG_ERROR:
		n->counters.frames_unexpected++;
		break;
	}
}

/* A newer peer that asks for something new is only told that it cannot be had here: all else goes on. */
static void refuse_version(struct node *n, struct bytes route, const struct msg *m)
{
	struct msg error = {.type = MSG_ERROR, .req_id = m->req_id};
	bool fits = protocol_fits(m->protocol);
	error.error.verdict = fits ? VERDICT_UNAVAILABLE : VERDICT_REFUSED;
	error.error.reason = fits ? "a message that this node does not know" : "a protocol version that this node does not speak";
	n->counters.frames_version++;
	ingress_send(n->ingress, route, &error);
}

/* Told, so that it need not wait for an answer. An edge takes it as a refusal by this node. */
static void refuse_identity(struct node *n, struct bytes route, uint64_t req_id, enum allow a)
{
	struct msg error = {.type = MSG_ERROR, .req_id = req_id};
	error.error.verdict = VERDICT_REFUSED;
	error.error.reason = allow_reason(a);
	n->counters.identity_refused[a]++;
	ingress_send(n->ingress, route, &error);
}

static bool of_edge(const struct msg *m)
{
	return m->type == MSG_HELLO || m->type == MSG_OPEN || m->type == MSG_BATCH || m->type == MSG_REPORT;
}

/* A request is answered in its own words, which a node that has forwarded it passes on. */
static void refuse_frame(struct node *n, struct bytes route, const struct msg *m, enum allow a)
{
	if (a == ALLOW_NOT_REVOKED && of_edge(m)) {
		n->counters.identity_refused[a]++;
		ingress_refuse(n->ingress, route, m, allow_reason(a));
		return;
	}
	refuse_identity(n, route, m->req_id, a);
}

void node_frame(struct node *n, struct bytes route, const char *who, const void *frame, size_t len, struct node_time now)
{
	struct msg m;
	n->now = now;
	if (!who) { /* not a byte of it is looked at */
		refuse_identity(n, route, 0, ALLOW_NOT_KEY);
		return;
	}
	int rc = msg_decode(frame, len, &m);
	if (rc == WEIR_EVERSION) {
		refuse_version(n, route, &m);
		return;
	}
	if (rc) {
		n->counters.frames_bad++;
		return;
	}
	enum allow a = allow_frame(n->topology, who, &m);
	if (a == ALLOW)
		handle_request(n, route, &m, frame, len);
	else
		refuse_frame(n, route, &m, a);
	msg_clear(&m);
}

/* ---- replies that came back on our DEALER ------------------------------------------------------------------------------------ */

static void handle_advance_reply(struct node *n, const struct msg *m)
{
	meta_advance_reply(n->meta, m->advance_reply.shard, m->advance_reply.verdict, m->advance_reply.meta_index, meta_now(n));
}

static void handle_snapshot_reply(struct node *n, uint32_t peer, const struct msg *m)
{
	if (from_replica(n, m) == (int)peer)
		consensus_receive(n->consensus, peer, m, consensus_now(n));
	else
		n->counters.frames_refused++;
}

static void handle_peer(struct node *n, uint32_t peer, const struct msg *m)
{
	peers_replied(n->peers, peer, n->now.mono_ns);
	if (m->type == MSG_INFO_REPLY)
		handle_info_reply(n, peer, m);
	else if (m->type == MSG_SNAPSHOT_REPLY)
		handle_snapshot_reply(n, peer, m);
	else if (m->type == MSG_MAP_REPLY)
		handle_map_reply(n, peer, m);
	else if (!same_cluster(n, m->cluster_id))
		n->counters.frames_refused++;
	else if (m->type == MSG_ADVANCE_REPLY)
		handle_advance_reply(n, m);
	else
		route_reply(n->route, peer, m);
}

void node_peer_frame(struct node *n, uint32_t peer, const void *frame, size_t len, struct node_time now)
{
	struct msg m;
	n->now = now;
	int rc = msg_decode(frame, len, &m);
	if (rc) {
		if (rc == WEIR_EVERSION)
			n->counters.frames_version++;
		else
			n->counters.frames_bad++;
		return;
	}
	handle_peer(n, peer, &m);
	msg_clear(&m);
}

/* ---- what is asked of the meta group here --------------------------------------------------------------------------------- */

static struct errand *free_errand(struct node *n)
{
	for (size_t i = 0; i < ERRANDS_MAX; i++) {
		if (!n->errands[i].id)
			return &n->errands[i];
	}
	return NULL;
}

void node_ask_meta(struct node *n, const struct msg *m, struct node_time now, node_done_fn *done, void *arg)
{
	n->now = now;
	struct errand *e = free_errand(n);
	uint32_t edge;
	bool known = errand_edge(n, m, &edge);
	if (!e || !known) {
		done(arg, e ? VERDICT_REFUSED : VERDICT_BUSY, 0,
		    e ? "this edge is not in the topology" : "too many such requests are under way");
		return;
	}
	*e = (struct errand){n->next_errand++, now.mono_ns + NODE_ASK_TIMEOUT_MS * NS_PER_MS, done, arg};
	struct origin o = {.type = m->type, .local = true, .req_id = e->id, .edge = edge};
	int node = leader_of(n, META_GROUP);
	if (node == (int)n->self) {
		run_errand(n, &o, m);
	} else if (node < 0) {
		refuse(n, &o, VERDICT_UNAVAILABLE, "the meta group has no leader now");
	} else {
		struct msg out = *m;
		out.cluster_id = cluster_id(n);
		forward(n, (uint32_t)node, &o, &out);
	}
}

static void expire_errands(struct node *n)
{
	for (size_t i = 0; i < ERRANDS_MAX; i++) {
		if (n->errands[i].id && n->errands[i].deadline_ns <= n->now.mono_ns)
			errand_answered(n, n->errands[i].id,
			    &(struct answer){.verdict = VERDICT_UNAVAILABLE, .reason = "no answer in time"});
	}
}

/* ---- what other threads see ------------------------------------------------------------------------------------------------------- */

static void put_not_ready(const struct node *n, struct buf *out)
{
	int foreign = peers_foreign(n->peers);
	if (consensus_failed(n->consensus))
		buf_printf(out, "%s", consensus_failed(n->consensus));
	else if (consensus_removed(n->consensus) && topology_cloud(n->topology, n->name) >= 0)
		buf_printf(out, "this node was removed and added again, at another place: start it with an empty data folder");
	else if (consensus_removed(n->consensus))
		buf_printf(out, "removed from the cluster: this node serves nothing, and may be stopped");
	else if (n->unlisted)
		buf_printf(out, "the cluster's topology does not list this node: weirctl node add %s", n->name);
	else if (foreign >= 0)
		buf_printf(out,
		    "this node's data are of another cluster than %s's: it does not serve; give it an empty data folder, or the "
		    "right topology",
		    n->topology->clouds[foreign].name);
	else
		readiness_text(n->topology, n->statuses, n->reachable, out);
	if (!out->len && !n->has_id)
		buf_printf(out, "the cluster's id is not known yet: no node that leads the meta group was reached");
}

/* Who reads waits for a leader; but not where it can be known that none will come soon. */
static void look_for_leader(struct node *n, uint32_t group)
{
	struct group_status *s = &n->statuses[group];
	uint32_t replicas = topology_replicas(n->topology, group), there = 0;
	for (uint32_t rank = 0; rank < replicas; rank++)
		there += n->reachable[topology_replica(n->topology, group, rank)];
	s->leader = leader_of(n, group);
	s->cut_off = there <= replicas / 2;
	if (s->leader >= 0 && n->reachable[s->leader])
		n->unled_ns[group] = 0;
	else if (!n->unled_ns[group])
		n->unled_ns[group] = n->now.mono_ns ? n->now.mono_ns : 1;
	s->unled_ns = n->unled_ns[group] ? n->now.mono_ns - n->unled_ns[group] : 0;
}

static void look_around(struct node *n)
{
	for (uint32_t i = 0; i < n->topology->cloud_count; i++)
		n->reachable[i] = peers_reachable(n->peers, i, n->now.mono_ns);
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		consensus_status(n->consensus, g, &n->statuses[g]);
		look_for_leader(n, g);
		n->statuses[g].differs = n->differs[g];
	}
	buf_clear(&n->why);
	put_not_ready(n, &n->why);
}

static void update_view(struct node *n)
{
	struct view_counters c = {
	    .node = n->counters,
	    .ingress = *ingress_counters(n->ingress),
	    .route = *route_counters(n->route),
	    .leader = n->leader_counters,
	    .consensus = *consensus_counters(n->consensus),
	    .full = consensus_full(n->consensus),
	    .replica = consensus_member(n->consensus),
	};
	c.meta = *meta_counters(n->meta);
	c.spread = *meta_spread_counters(n->meta);
	look_around(n);
	view_put(n->view, &c, n->statuses, n->why.len ? buf_cstr(&n->why) : NULL);
}

/* Who asked a node that leads no longer is told, and asks again. */
static void watch_leaders(struct node *n)
{
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		int node = leader_of(n, g);
		if (node == n->led_by[g])
			continue;
		n->led_by[g] = node;
		route_group_led(n->route, g, node);
	}
}

/* ---- the loop's calls ---------------------------------------------------------------------------------------------------------------- */

/* This replica's states, compared with the others'. */
static void compare_digests(struct node *n)
{
	if (n->compared_ns && n->now.mono_ns - n->compared_ns < COMPARE_MS * NS_PER_MS)
		return;
	n->compared_ns = n->now.mono_ns;
	for (uint32_t g = 0; g < topology_groups(n->topology); g++) {
		uint64_t index;
		uint32_t node;
		uint32_t replicas = topology_replicas(n->topology, g);
		enum digests_verdict v = digests_look(n->digests, g, replicas, &index, &node);
		n->differs[g] = v == DIGESTS_FINE ? 0 : 1 + node;
		if (v == DIGESTS_DIVERGENT)
			consensus_damaged(n->consensus, g, "divergent: its digest is not that of the other replicas");
	}
}

static void tick_meta(struct node *n)
{
	int rc = meta_tick(n->meta, n->state, consensus_durable(n->consensus, META_GROUP), meta_now(n));
	if (rc && rc != WEIR_EBUSY) /* too many readers: the next tick is soon */
		fail_meta(n, rc);
}

/* What has become of the nodes: those that are silent, heard again, or empty and leaving. */
static void tick_registry(struct node *n)
{
	const struct topology *t = n->topology;
	struct registry_event event;
	if (!meta_leads(n->meta) || !t->map_version)
		return;
	for (uint32_t i = 0; i < t->cloud_count; i++)
		n->heard[i] = peers_heard_ns(n->peers, i);
	for (uint32_t g = 0; g < topology_groups(t); g++)
		n->settled[g] = consensus_settled(n->consensus, g);
	for (uint32_t s = 0; s < t->shards; s++)
		n->founded[s + 1] = meta_took(n->meta, s);
	struct registry_facts f = {.topology = t, .self = n->self, .mono_ns = n->now.mono_ns, .heard_ns = n->heard,
	    .leaders = n->led_by, .founded = n->founded, .settled = n->settled};
	if (registry_next(&n->registry, &f, &event))
		meta_node(n->meta, &event, meta_now(n));
}

/* Once consensus has failed nothing is applied any more: who waits for that is told. */
static void stop_leading(struct node *n)
{
	if (n->stopped || !consensus_failed(n->consensus))
		return;
	n->stopped = true;
	for (uint32_t s = 0; s < n->topology->shards; s++) {
		if (n->leaders[s])
			leader_stop(n->leaders[s]);
	}
	meta_stop(n->meta);
}

void node_tick(struct node *n, struct node_time now)
{
	n->now = now;
	consensus_tick(n->consensus, consensus_now(n));
	stop_leading(n);
	ingress_tick(n->ingress, now.mono_ns);
	route_tick(n->route, now.mono_ns);
	watch_leaders(n);
	expire_errands(n);
	adopt_cluster_id(n);
	for (uint32_t s = 0; s < n->topology->shards; s++) {
		if (n->leaders[s])
			leader_tick(n->leaders[s], leader_now(n));
	}
	compare_digests(n);
	tick_meta(n);
	tick_registry(n);
	node_flush(n, now);
	update_view(n);
	ask_others(n);
}

void node_flush(struct node *n, struct node_time now)
{
	n->now = now;
	settle_topology(n);
	consensus_flush(n->consensus, consensus_now(n));
}

void node_read(struct node *n, uint32_t group, uint64_t context, struct node_time now)
{
	n->now = now;
	if (consensus_holds(n->consensus, group))
		consensus_read(n->consensus, group, context);
	else
		n->io.read(n->io.arg, group, context, false, 0);
}

void node_log_written(struct node *n, struct log_job *job, int rc, struct node_time now)
{
	n->now = now;
	consensus_log_written(n->consensus, job, rc, consensus_now(n));
	adopt_cluster_id(n);
	node_flush(n, now);
}

void node_applied(struct node *n, struct apply_job *job, int rc, struct node_time now)
{
	n->now = now;
	consensus_job_applied(n->consensus, job, rc, consensus_now(n));
	node_flush(n, now);
}

void node_state_durable(struct node *n, uint32_t group, uint64_t index)
{
	consensus_state_durable(n->consensus, group, index);
}

void node_state_aborted(struct node *n, struct node_time now)
{
	n->now = now;
	consensus_state_aborted(n->consensus, consensus_now(n));
}

void node_state_low(struct node *n, bool low, struct node_time now)
{
	n->now = now;
	consensus_state_low(n->consensus, low);
}

void node_damaged(struct node *n, uint32_t group, const char *what, struct node_time now)
{
	n->now = now;
	consensus_damaged(n->consensus, group, what);
	node_flush(n, now);
}

void node_sinks(struct node *n, uint32_t shard, const struct entry_place *places, size_t count)
{
	if (shard < n->topology->shards && n->leaders[shard])
		leader_sinks(n->leaders[shard], places, count);
}

void node_alerts(struct node *n, uint32_t shard, const struct entry *e, struct node_time now)
{
	n->now = now;
	if (shard < n->topology->shards && n->leaders[shard])
		leader_alerts(n->leaders[shard], e, leader_now(n));
}

/* ---- any thread -------------------------------------------------------------------------------------------------------------------------- */

void node_map(struct node *n, struct buf *out)
{
	view_map(n->view, out);
}

void node_wait_map(struct node *n, uint64_t map_version, int64_t ns)
{
	view_wait_map(n->view, map_version, ns);
}

const struct topology *node_topology(struct node *n)
{
	return view_topology(n->view);
}

int node_leader(struct node *n, uint32_t group)
{
	return view_leader(n->view, group);
}

int64_t node_unled_ns(struct node *n, uint32_t group, bool *ret_cut_off)
{
	return view_unled_ns(n->view, group, ret_cut_off);
}

bool node_serves(struct node *n, uint32_t group)
{
	return view_serves(n->view, group);
}

void node_group_statuses(struct node *n, struct group_status *out)
{
	view_group_statuses(n->view, out);
}

void node_group_status(struct node *n, uint32_t group, struct group_status *ret_status)
{
	view_group_status(n->view, group, ret_status);
}

bool node_ready(struct node *n, char **ret_why)
{
	return view_ready(n->view, ret_why);
}

void node_notes(struct node *n, struct buf *out)
{
	view_notes(n->view, out);
}

size_t node_groups(struct node *n, struct msg_group_status *out)
{
	return view_groups(n->view, out);
}

bool node_edges_json(struct node *n, struct buf *out)
{
	return meta_edges_json(n->meta, out);
}

void node_metrics(struct node *n, struct kv_txn *txn, struct buf *out)
{
	struct fleet *fleet = xmalloc(sizeof(*fleet));
	view_metrics(n->view, txn, out);
	meta_fleet(n->meta, fleet);
	fleet_put_metrics(fleet, out);
	free(fleet);
}

bool node_cluster_id(struct node *n, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	return view_cluster_id(n->view, ret_id);
}
