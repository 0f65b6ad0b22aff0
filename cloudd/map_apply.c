#include "cloudd/map_apply.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/meta_apply.h"
#include "cloudd/placement.h"
#include "common/err.h"
#include "common/topology.h"

int map_record(struct kv_txn *txn, unsigned db, struct bytes *ret)
{
	struct state_key k;
	state_key_start(&k, STATE_MAP);
	return kv_get(txn, db, state_key_bytes(&k), ret);
}

int map_record_put(struct state *s, struct bytes map)
{
	struct state_key k;
	state_key_start(&k, STATE_MAP);
	return state_put(s, &k, map);
}

int map_record_error(int err)
{
	return err == WEIR_EVERSION || err == WEIR_EINVAL ? WEIR_EVERSION : err ? WEIR_ECORRUPT : 0;
}

static int refuse(struct apply_result *res, const char *reason)
{
	res->verdict = VERDICT_REFUSED;
	res->reason = reason;
	return WEIR_EINVAL;
}

/* An empty map (version 0) where there is none. */
static int read_map(const struct state *s, struct cluster_map *ret)
{
	struct bytes raw;
	*ret = (struct cluster_map){0};
	int rc = map_record(s->txn, s->db, &raw);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	return map_record_error(map_decode(raw, ret));
}

/* ---- the next map: 0; WEIR_EINVAL with the verdict set; WEIR_EVERSION ---------------------------------------- */

/* Who leads proposes only what is a topology to it: one that does not read here is of a later program, and goes into its map. */

static int first_map(const struct topology *t, const char *text, size_t len, struct cluster_map *ret,
    struct apply_result *res)
{
	struct topology *first;
	struct buf errors = {0};
	int err = topology_parse("topology", text, len, &first, &errors);
	buf_free(&errors);
	if (err)
		return WEIR_EVERSION;
	bool ours = first->shards == t->shards && !strcmp(first->cluster, t->cluster);
	if (ours)
		map_first(first, text, len, ret);
	topology_free(first);
	return ours ? 0 : refuse(res, "it is the topology of another cluster, or of another number of shards");
}

static int changed_map(const struct cluster_map *m, const char *text, size_t len, struct cluster_map *ret,
    struct apply_result *res)
{
	struct map_changes told;
	struct buf errors = {0};
	int err = map_change(m, text, len, ret, &told, &errors);
	bool refused = told.refused;
	map_changes_clear(&told);
	buf_free(&errors);
	if (err && !refused && err != WEIR_ETOOBIG)
		return WEIR_EVERSION;
	if (err)
		return refuse(res, refused ? "it changes what cannot be changed" : "the cluster map would be over its limits");
	if (ret->version != m->version && placement_plan(ret)) {
		map_clear(ret);
		return refuse(res, "its nodes cannot be placed");
	}
	return 0;
}

static int next_by_topology(const struct topology *t, const struct cluster_map *m, const struct entry *e,
    struct cluster_map *ret, struct apply_result *res)
{
	uint64_t base = e->topology.base_version;
	char *text;
	if (base == ENTRY_BASE_FIRST && m->version)
		return refuse(res, "the cluster has its topology already");
	if (base && base != ENTRY_BASE_FIRST && !map_has_text_of(m, base))
		return refuse(res, "the topology changed meanwhile; look at the difference again");
	if (map_text_unpack(e->topology.text, e->topology.text_bytes, &text))
		return refuse(res, "the text cannot be unpacked");
	int err = m->version ? changed_map(m, text, e->topology.text_bytes, ret, res)
			     : first_map(t, text, e->topology.text_bytes, ret, res);
	free(text);
	if (!err && ret->version != m->version && map_set_packed(ret, e->topology.text)) {
		map_clear(ret);
		return refuse(res, "the text cannot be unpacked");
	}
	return err;
}

static int next_by_node(const struct cluster_map *m, const struct entry *e, struct cluster_map *ret,
    struct apply_result *res)
{
	map_copy(m, ret);
	if (!placement_node(ret, e->node.slot, (enum node_event)e->node.event))
		return 0;
	map_clear(ret);
	return refuse(res, "the node's state does not allow that");
}

/* A change of the topology that came between may have given the version other windows, of which none begins at that time. */
static int next_by_cut(const struct cluster_map *m, const struct entry *e, struct cluster_map *ret,
    struct apply_result *res)
{
	if (e->cut.map_version && !map_has_text_of(m, e->cut.map_version))
		return refuse(res, "the topology changed meanwhile");
	char *name = xstrndup((const char *)e->cut.stream.p, e->cut.stream.n);
	map_copy(m, ret);
	int err = e->cut.retire ? map_retire(ret, name, e->cut.version)
				: map_cut(ret, name, e->cut.version, e->cut.t_ns);
	free(name);
	if (!err)
		return 0;
	map_clear(ret);
	return refuse(res, "the stream has no such version, or not in that phase");
}

static bool in_topology(const struct cluster_map *m, const char *edge)
{
	struct topology *t;
	struct buf errors = {0};
	int err = topology_parse("topology", m->text, m->text_len, &t, &errors);
	buf_free(&errors);
	if (err)
		return false;
	bool in = topology_edge(t, edge) >= 0;
	topology_free(t);
	return in;
}

/* A name that left the topology while it was revoked can be allowed again, so that it need not come back for that. */
static int next_by_revoke(const struct cluster_map *m, const struct entry *e, struct cluster_map *ret,
    struct apply_result *res)
{
	char *name = xstrndup((const char *)e->revoke.edge.p, e->revoke.edge.n);
	bool known = (!e->revoke.revoked && map_is_revoked(m, name)) || in_topology(m, name);
	int err = 0;
	if (known) {
		map_copy(m, ret);
		err = map_revoke(ret, name, e->revoke.revoked);
		if (err)
			map_clear(ret);
	}
	free(name);
	if (!known)
		return refuse(res, "this edge is not in the topology");
	return err ? refuse(res, "the cluster map would be over its limits") : 0;
}

static int next_map(const struct topology *t, const struct cluster_map *m, const struct entry *e,
    struct cluster_map *ret, struct apply_result *res)
{
	if (e->kind == ENTRY_TOPOLOGY)
		return next_by_topology(t, m, e, ret, res);
	if (!m->version)
		return refuse(res, "there is no cluster map yet");
	if (e->kind == ENTRY_NODE)
		return next_by_node(m, e, ret, res);
	return e->kind == ENTRY_CUT ? next_by_cut(m, e, ret, res) : next_by_revoke(m, e, ret, res);
}

/* ---- what follows from it ---------------------------------------------------------------------------------- */

static int remove_edge(struct state *s, const char *name, struct apply_result *res)
{
	uint64_t epoch;
	int rc = meta_remove_edge(s, name, &epoch);
	if (rc || !epoch)
		return rc;
	buf_str(&res->removed, name);
	buf_u64(&res->removed, epoch);
	return 0;
}

static int remove_edges(struct state *s, const struct cluster_map *was, const struct cluster_map *next,
    struct apply_result *res)
{
	struct topology *a, *b = NULL;
	struct buf errors = {0};
	if (was->text_len == next->text_len && !memcmp(was->text, next->text, was->text_len))
		return 0;
	int rc = map_record_error(topology_parse("topology", was->text, was->text_len, &a, &errors));
	if (!rc) {
		rc = map_record_error(topology_parse("topology", next->text, next->text_len, &b, &errors));
		for (size_t i = 0; i < a->edge_count && !rc; i++) {
			if (topology_edge(b, a->edges[i].name) < 0)
				rc = remove_edge(s, a->edges[i].name, res);
		}
		topology_free(a);
		topology_free(b);
	}
	buf_free(&errors);
	return rc;
}

static bool has_version(const struct cluster_map *m, const struct map_stream *v)
{
	for (size_t i = 0; i < m->stream_count; i++) {
		if (m->streams[i].version == v->version && !strcmp(m->streams[i].name, v->name))
			return true;
	}
	return false;
}

static int forget_versions(struct state *s, const struct cluster_map *was, const struct cluster_map *next)
{
	int rc = 0;
	for (size_t i = 0; i < was->stream_count && !rc; i++) {
		if (!has_version(next, &was->streams[i]))
			rc = meta_forget_close(s, was->streams[i].name, was->streams[i].version);
	}
	return rc;
}

static int keep_map(struct state *s, const struct cluster_map *was, const struct cluster_map *next, uint64_t index,
    struct apply_result *res)
{
	int rc = map_encode(next, &res->map);
	if (rc) {
		refuse(res, "the cluster map would be over its limits");
		return 0;
	}
	rc = map_record_put(s, bytes_of(res->map.data, res->map.len));
	if (!rc)
		rc = meta_queue_map(s, META_INDEX(index, 0), bytes_of(res->map.data, res->map.len));
	if (!rc && was->version)
		rc = remove_edges(s, was, next, res);
	if (!rc)
		rc = forget_versions(s, was, next);
	res->map_version = next->version;
	return rc;
}

int map_apply(struct state *s, const struct topology *t, const struct entry *e, uint64_t index, struct apply_result *res)
{
	struct cluster_map m, next;
	int rc = read_map(s, &m);
	if (rc)
		return rc;
	res->map_version = m.version;
	rc = next_map(t, &m, e, &next, res);
	if (!rc) {
		if (next.version != m.version)
			rc = keep_map(s, &m, &next, index, res);
		map_clear(&next);
	} else if (rc == WEIR_EINVAL) {
		rc = 0; /* the result says why not */
	}
	map_clear(&m);
	return rc;
}
