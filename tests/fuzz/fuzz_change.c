/* Changes of a cluster's map, one after the other, as the meta group's entries make them, from the sample's first map on. Each map
 * that comes of it is one: it encodes, gives a topology, and places every group where somebody takes part.
 *
 * Input: operations, each [what u8] and
 *     0 [length varint][text]                                     another topology
 *     1 [n u8]                                                    one of the sample's
 *     2 [at varint][removed u8][length u8][bytes]                 the present text, edited
 *     3 [stream u8][t svarint]  4 [stream u8]                     cut over, retired
 *     5 [edge u8][revoked u8]                                     revoked, or allowed again
 *     6 [slot u8][event u8]                                       what has become of a node */
#include <stdlib.h>
#include <string.h>

#include "cloudd/placement.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"

#define OPERATIONS_MAX 16
#define OPERATIONS 7

static void check_encoding(const struct cluster_map *m)
{
	struct buf first = {0}, second = {0};
	struct cluster_map again;
	int rc = map_encode(m, &first);
	FUZZ_CHECK(!rc || rc == WEIR_ETOOBIG);
	if (!rc) {
		FUZZ_CHECK(!map_decode(fuzz_bytes(&first), &again));
		FUZZ_CHECK(!map_encode(&again, &second) && fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
		map_clear(&again);
	}
	buf_free(&first);
	buf_free(&second);
}

static void check_places(const struct cluster_map *m, const struct topology *t)
{
	uint32_t members = 0;
	for (size_t i = 0; i < m->node_count; i++)
		members += m->nodes[i].state == CLOUD_MEMBER;
	uint32_t least = t->replicas < members ? t->replicas : members; /* a dead node's may be there beside them */
	for (uint32_t g = 0; g < m->group_count; g++) {
		const struct group_place *p = &m->places[g];
		FUZZ_CHECK(!members || (p->count >= least && p->count <= t->replicas));
		for (uint32_t i = 0; i < p->count; i++) {
			FUZZ_CHECK(p->nodes[i] < m->node_count && m->nodes[p->nodes[i]].state != CLOUD_GONE);
			for (uint32_t k = 0; k < i; k++)
				FUZZ_CHECK(p->nodes[i] != p->nodes[k]);
		}
	}
}

/* What daemons go by: the topology of the map before, too, keeps the numbers of its edges and streams. */
static struct topology *check_topology(const struct cluster_map *m, struct topology *before)
{
	struct topology *t;
	struct buf errors = {0};
	FUZZ_CHECK(!map_topology(m, "fuzz.yaml", before, &t, &errors));
	for (size_t i = 0; i < before->edge_count; i++)
		FUZZ_CHECK(i < t->edge_count && !strcmp(before->edges[i].name, t->edges[i].name));
	for (size_t i = 0; i < before->stream_count && i < t->stream_count; i++)
		FUZZ_CHECK(!strcmp(before->streams[i].name, t->streams[i].name));
	FUZZ_CHECK(t->map_version == m->version && t->shards == before->shards);
	topology_free(before);
	buf_free(&errors);
	return t;
}

static int change_text(const struct cluster_map *m, const char *text, size_t len, struct cluster_map *ret)
{
	struct map_changes told;
	struct buf errors = {0};
	int rc = map_change(m, text, len, ret, &told, &errors);
	FUZZ_CHECK(!rc || rc == WEIR_EINVAL || rc == WEIR_ETOOBIG);
	FUZZ_CHECK(rc != WEIR_EINVAL || errors.len || told.refused);
	FUZZ_CHECK(rc || !told.refused);
	if (!rc && ret->version != m->version && placement_plan(ret)) {
		map_clear(ret);
		rc = WEIR_EINVAL;
	}
	map_changes_clear(&told);
	buf_free(&errors);
	return rc;
}

static int edit(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	struct buf text = {0};
	size_t at = rd_varint(r) % (m->text_len + 1), removed = rd_u8(r), n = rd_u8(r);
	n = n < rd_left(r) ? n : rd_left(r);
	const uint8_t *bytes = rd_raw(r, n);
	removed = removed < m->text_len - at ? removed : m->text_len - at;
	buf_put(&text, m->text, at);
	buf_put(&text, bytes, bytes ? n : 0);
	buf_put(&text, m->text + at + removed, m->text_len - at - removed);
	int rc = change_text(m, (const char *)text.data, text.len, ret);
	buf_free(&text);
	return rc;
}

static int another_text(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	size_t n;
	const uint8_t *text = rd_bytes(r, CONF_BYTES_MAX, &n);
	return text ? change_text(m, (const char *)text, n, ret) : WEIR_EINVAL;
}

static int samples_text(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	unsigned n = rd_u8(r);
	const char *text = n ? sample_changed_text(n - 1) : sample_topology_text();
	return change_text(m, text, strlen(text), ret);
}

static int cut(const struct cluster_map *m, bool retire, struct rd *r, struct cluster_map *ret)
{
	size_t i = rd_u8(r);
	int64_t t_ns = retire ? 0 : rd_svarint(r);
	if (i >= m->stream_count)
		return WEIR_ENOTFOUND;
	map_copy(m, ret);
	int rc = retire ? map_retire(ret, m->streams[i].name, m->streams[i].version)
			: map_cut(ret, m->streams[i].name, m->streams[i].version, t_ns);
	if (rc)
		map_clear(ret);
	return rc;
}

static int revoke(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	static const char *const edges[] = {"a", "b", "gone", "another"};
	const char *edge = edges[rd_u8(r) % 4];
	bool revoked = rd_u8(r) & 1;
	map_copy(m, ret);
	FUZZ_CHECK(!map_revoke(ret, edge, revoked) && map_is_revoked(ret, edge) == revoked);
	return 0;
}

static int node(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	uint32_t slot = rd_u8(r);
	enum node_event event = (enum node_event)rd_u8(r);
	map_copy(m, ret);
	int rc = placement_node(ret, slot, event);
	if (rc)
		map_clear(ret);
	return rc;
}

/* 0: *ret is the next one, or an equal one. */
static int next_map(const struct cluster_map *m, struct rd *r, struct cluster_map *ret)
{
	unsigned what = rd_u8(r) % OPERATIONS;
	if (what == 0)
		return another_text(m, r, ret);
	if (what == 1)
		return samples_text(m, r, ret);
	if (what == 2)
		return edit(m, r, ret);
	if (what == 3 || what == 4)
		return cut(m, what == 4, r, ret);
	return what == 5 ? revoke(m, r, ret) : node(m, r, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cluster_map m, next;
	const char *text = sample_topology_text();
	struct topology *t = sample_topology();
	map_first(t, text, strlen(text), &m);
	struct rd r = rd_init(data, len);
	for (int i = 0; i < OPERATIONS_MAX && rd_left(&r); i++) {
		if (next_map(&m, &r, &next))
			continue;
		FUZZ_CHECK(next.version == m.version || next.version == m.version + 1);
		map_clear(&m);
		m = next;
		check_encoding(&m);
		t = check_topology(&m, t);
		check_places(&m, t);
	}
	map_clear(&m);
	topology_free(t);
	return 0;
}
