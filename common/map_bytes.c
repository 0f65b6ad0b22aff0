/* The cluster map as bytes:
 *
 *     u8 MAP_FORMAT, u64 version, u64 text version, u32 text length, u8 1: zstd, 0: as it is, bytes text,
 *     varint nodes: {u8 state, name, listen, http}, varint groups: {u8 count, u8 node ...},
 *     varint streams: {name, u32 version, u32 fingerprint, u8 phase, svarint from, answers until, until, definition},
 *     varint revoked edges: {name}
 *
 * The text's packed bytes travel with the map, and nothing else is compressed: another zstd makes no other bytes. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/zip.h"

#define ADDRESS_BYTES_MAX 4096 /* conf's limit for a text */

enum { TEXT_RAW, TEXT_ZSTD };

static void put_text(const struct cluster_map *m, struct buf *out)
{
	buf_u32(out, (uint32_t)m->text_len);
	struct buf packed = {0};
	if (m->packed) {
		buf_u8(out, m->packed_len == m->text_len ? TEXT_RAW : TEXT_ZSTD);
		buf_bytes(out, m->packed, m->packed_len);
	} else if (zip_pack(m->text, m->text_len, &packed)) {
		buf_u8(out, TEXT_ZSTD);
		buf_bytes(out, packed.data, packed.len);
	} else {
		buf_u8(out, TEXT_RAW);
		buf_bytes(out, m->text, m->text_len);
	}
	buf_free(&packed);
}

static void put_stream(const struct map_stream *s, struct buf *out)
{
	buf_str(out, s->name);
	buf_u32(out, s->version);
	buf_u32(out, s->fingerprint);
	buf_u8(out, (uint8_t)s->phase);
	buf_svarint(out, s->from_ns);
	buf_svarint(out, s->answers_until_ns);
	buf_svarint(out, s->until_ns);
	buf_str(out, s->definition);
}

int map_encode(const struct cluster_map *m, struct buf *out)
{
	size_t start = out->len;
	buf_u8(out, MAP_FORMAT);
	buf_u64(out, m->version);
	buf_u64(out, m->text_version);
	put_text(m, out);
	buf_varint(out, m->node_count);
	for (size_t i = 0; i < m->node_count; i++) {
		buf_u8(out, (uint8_t)m->nodes[i].state);
		buf_str(out, m->nodes[i].name);
		buf_str(out, m->nodes[i].listen);
		buf_str(out, m->nodes[i].http);
	}
	buf_varint(out, m->group_count);
	for (uint32_t g = 0; g < m->group_count; g++) {
		buf_u8(out, m->places[g].count);
		buf_put(out, m->places[g].nodes, m->places[g].count);
	}
	buf_varint(out, m->stream_count);
	for (size_t i = 0; i < m->stream_count; i++)
		put_stream(&m->streams[i], out);
	buf_varint(out, m->revoked_count);
	for (size_t i = 0; i < m->revoked_count; i++)
		buf_str(out, m->revoked[i]);
	if (out->len - start <= MAP_BYTES_MAX)
		return 0;
	out->len = start;
	return WEIR_ETOOBIG;
}

/* ---- and back --------------------------------------------------------------------------------------------- */

/* Packed bytes are fewer than those of the text, or they are the text. */
static int unpack(struct bytes packed, char *text, size_t len)
{
	if (packed.n != len)
		return packed.n > len ? WEIR_ECORRUPT : zip_unpack(packed.p, packed.n, (uint8_t *)text, len);
	if (len)
		memcpy(text, packed.p, len);
	return 0;
}

int map_text_unpack(struct bytes packed, uint32_t text_bytes, char **ret_text)
{
	if (text_bytes > TOPOLOGY_TEXT_MAX)
		return WEIR_ETOOBIG;
	char *text = xmalloc((size_t)text_bytes + 1);
	int err = unpack(packed, text, text_bytes);
	text[text_bytes] = 0;
	if (err)
		free(text);
	else
		*ret_text = text;
	return err;
}

void map_text_pack(const char *text, size_t len, struct buf *out)
{
	if (!zip_pack(text, len, out))
		buf_put(out, text, len);
}

static int read_text(struct rd *r, struct cluster_map *m)
{
	uint32_t len = rd_u32(r);
	uint8_t how = rd_u8(r);
	size_t n;
	const uint8_t *bytes = rd_bytes(r, MAP_BYTES_MAX, &n);
	if (r->err)
		return WEIR_ECORRUPT;
	if (len > TOPOLOGY_TEXT_MAX)
		return WEIR_ETOOBIG;
	if (how > TEXT_ZSTD || (how == TEXT_RAW) != (n == len) || n > len)
		return WEIR_ECORRUPT;
	m->text = xmalloc((size_t)len + 1);
	m->text_len = len;
	m->text[len] = 0;
	m->packed = xmalloc(n + 1);
	memcpy(m->packed, bytes, n);
	m->packed_len = n;
	return unpack(bytes_of(bytes, n), m->text, len);
}

static int read_node(struct rd *r, struct map_node *n)
{
	uint8_t state = rd_u8(r);
	n->name = rd_str(r, NAME_MAX_BYTES);
	n->listen = rd_str(r, ADDRESS_BYTES_MAX);
	n->http = rd_str(r, ADDRESS_BYTES_MAX);
	if (r->err || state > CLOUD_GONE)
		return WEIR_ECORRUPT;
	n->state = (enum cloud_state)state;
	bool fine = state == CLOUD_GONE ? !*n->name && !*n->listen && !*n->http : name_valid(n->name);
	return fine ? 0 : WEIR_ECORRUPT;
}

static int read_nodes(struct rd *r, struct cluster_map *m)
{
	uint64_t count = rd_varint_max(r, CLOUDS_MAX);
	m->nodes = xcalloc(count, sizeof(*m->nodes));
	for (; m->node_count < count; m->node_count++) {
		struct map_node n = {0};
		int err = read_node(r, &n);
		for (size_t i = 0; !err && n.state != CLOUD_GONE && i < m->node_count; i++)
			err = strcmp(m->nodes[i].name, n.name) ? 0 : WEIR_ECORRUPT;
		if (err) {
			free(n.name);
			free(n.listen);
			free(n.http);
			return err;
		}
		m->nodes[m->node_count] = n;
	}
	return r->err ? WEIR_ECORRUPT : 0;
}

static int read_place(struct rd *r, const struct cluster_map *m, struct group_place *p)
{
	p->count = rd_u8(r);
	const uint8_t *nodes = p->count <= REPLICAS_MAX ? rd_raw(r, p->count) : NULL;
	if (!nodes)
		return WEIR_ECORRUPT;
	for (uint8_t i = 0; i < p->count; i++) {
		if (nodes[i] >= m->node_count || m->nodes[nodes[i]].state == CLOUD_GONE || memchr(nodes, nodes[i], i))
			return WEIR_ECORRUPT;
		p->nodes[i] = nodes[i];
	}
	return 0;
}

static int read_places(struct rd *r, struct cluster_map *m)
{
	m->group_count = (uint32_t)rd_varint_max(r, SHARDS_MAX + 1);
	m->places = xcalloc(m->group_count, sizeof(*m->places));
	for (uint32_t g = 0; g < m->group_count; g++) {
		int err = read_place(r, m, &m->places[g]);
		if (err)
			return err;
	}
	return r->err || m->group_count < 2 ? WEIR_ECORRUPT : 0;
}

/* Of all time, of none, or where adding a window overflows nothing. What is fed up to then may end a window later. */
static bool is_time(int64_t t_ns, int64_t max_ns)
{
	return t_ns == INT64_MIN || t_ns == INT64_MAX || (t_ns >= TIME_MIN_NS && t_ns <= max_ns);
}

static int read_stream(struct rd *r, struct map_stream *s)
{
	s->name = rd_str(r, NAME_MAX_BYTES);
	s->version = rd_u32(r);
	s->fingerprint = rd_u32(r);
	uint8_t phase = rd_u8(r);
	s->from_ns = rd_svarint(r);
	s->answers_until_ns = rd_svarint(r);
	s->until_ns = rd_svarint(r);
	s->definition = rd_str(r, MAP_DEFINITION_MAX);
	if (r->err || phase > STREAM_RETIRED || !s->version || !name_valid(s->name))
		return WEIR_ECORRUPT;
	if (!is_time(s->from_ns, TIME_MAX_NS) || !is_time(s->answers_until_ns, TIME_MAX_NS) || !is_time(s->until_ns, INT64_MAX))
		return WEIR_ECORRUPT;
	s->phase = (enum stream_phase)phase;
	/* What the topology's text does not define must bring its own. */
	bool own = s->phase != STREAM_CURRENT && s->phase != STREAM_PENDING;
	return own && !*s->definition ? WEIR_ECORRUPT : 0;
}

/* Versions of a stream follow one another, and each is there once. */
static bool follows(const struct cluster_map *m, const struct map_stream *s)
{
	size_t versions = 1;
	for (size_t i = m->stream_count; i > 0; i--) {
		if (strcmp(m->streams[i - 1].name, s->name))
			continue;
		if (i - 1 + versions != m->stream_count || m->streams[i - 1].version == s->version)
			return false;
		versions++;
	}
	return versions <= MAP_VERSIONS_MAX;
}

static int read_streams(struct rd *r, struct cluster_map *m)
{
	uint64_t count = rd_varint_max(r, MAP_STREAMS_MAX);
	m->streams = xcalloc(count, sizeof(*m->streams));
	for (; m->stream_count < count; m->stream_count++) {
		struct map_stream s = {0};
		int err = read_stream(r, &s);
		if (!err && !follows(m, &s))
			err = WEIR_ECORRUPT;
		if (err) {
			free(s.name);
			free(s.definition);
			return err;
		}
		m->streams[m->stream_count] = s;
	}
	return r->err ? WEIR_ECORRUPT : 0;
}

static int read_revoked(struct rd *r, struct cluster_map *m)
{
	uint64_t count = rd_varint_max(r, MAP_REVOKED_MAX);
	m->revoked = xcalloc(count, sizeof(*m->revoked));
	for (; m->revoked_count < count; m->revoked_count++) {
		char *name = rd_str(r, NAME_MAX_BYTES);
		bool fine = !r->err && name_valid(name);
		if (!fine || (m->revoked_count && strcmp(m->revoked[m->revoked_count - 1], name) >= 0)) {
			free(name);
			return WEIR_ECORRUPT;
		}
		m->revoked[m->revoked_count] = name;
	}
	return r->err ? WEIR_ECORRUPT : 0;
}

static int read_map(struct rd *r, struct cluster_map *m)
{
	m->version = rd_u64(r);
	m->text_version = rd_u64(r);
	int err = read_text(r, m);
	if (!err)
		err = read_nodes(r, m);
	if (!err)
		err = read_places(r, m);
	if (!err)
		err = read_streams(r, m);
	if (!err)
		err = read_revoked(r, m);
	return err ? err : rd_finish(r) || !m->text_version || m->text_version > m->version ? WEIR_ECORRUPT : 0;
}

int map_peek_version(struct bytes raw, uint64_t *ret_version)
{
	struct rd r = rd_init(raw.p, raw.n);
	uint8_t format = rd_u8(&r);
	uint64_t version = rd_u64(&r);
	if (r.err)
		return WEIR_ECORRUPT;
	if (format != MAP_FORMAT)
		return WEIR_EVERSION;
	*ret_version = version;
	return 0;
}

int map_decode(struct bytes raw, struct cluster_map *ret)
{
	struct rd r = rd_init(raw.p, raw.n);
	struct cluster_map m = {0};
	uint8_t format = rd_u8(&r);
	if (r.err)
		return WEIR_ECORRUPT;
	if (format != MAP_FORMAT)
		return WEIR_EVERSION;
	if (raw.n > MAP_BYTES_MAX)
		return WEIR_ETOOBIG;
	int err = read_map(&r, &m);
	if (err)
		map_clear(&m);
	else
		*ret = m;
	return err;
}

int map_set_packed(struct cluster_map *m, struct bytes packed)
{
	char *text = xmalloc(m->text_len + 1);
	bool same = !unpack(packed, text, m->text_len) && !memcmp(text, m->text, m->text_len);
	free(text);
	if (!same)
		return WEIR_ECORRUPT;
	free(m->packed);
	m->packed = xmalloc(packed.n + 1);
	memcpy(m->packed, packed.p, packed.n);
	m->packed_len = packed.n;
	return 0;
}
