#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "common/zip.h"

#define HEAD(clouds) \
	"version: 1\n" \
	"cluster: {name: plant, shards: 4, replicas: 1}\n" \
	"cloud:\n" clouds "edges:\n"
#define C1 "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: /d/c1}\n"
#define C2 "  - {name: c2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\"}\n"
#define C3 "  - {name: c3, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\"}\n"
#define E1 "  - {name: e1, tags: {site: north}}\n"
#define E2 "  - {name: e2}\n"
#define E3 "  - {name: e3, data: here}\n"
#define SPEED "  - {name: speed, from: {measurement: traffic, field: speed}, by: [site], window: 1m}\n"
#define SPEED_BY "  - {name: speed, from: {measurement: traffic, field: speed}, by: [site, sensor], window: 1m}\n"
#define LOAD "  - {name: load, from: {measurement: cpu, field: load}, window: 10s, edges: [e2, e1]}\n"

static const char two[] = HEAD(C1 C2) E1 E2 "streams:\n" SPEED LOAD;

static struct topology *parse(const char *text)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int err = topology_parse("/etc/weir/topology.yaml", text, strlen(text), &t, &errors);
	ck_assert_msg(!err, "%s", buf_cstr(&errors));
	buf_free(&errors);
	return t;
}

static struct cluster_map first(const char *text)
{
	struct cluster_map m;
	struct topology *t = parse(text);
	map_first(t, text, strlen(text), &m);
	topology_free(t);
	return m;
}

static struct topology *topology_of(const struct cluster_map *m, const struct topology *before)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int err = map_topology(m, "/home/x.yaml", before, &t, &errors);
	ck_assert_msg(!err, "%s", buf_cstr(&errors));
	ck_assert_uint_eq(errors.len, 0);
	buf_free(&errors);
	return t;
}

static void set_text(struct cluster_map *m, const char *text)
{
	free(m->text);
	free(m->packed);
	m->packed = NULL;
	m->text = xstrdup(text);
	m->text_len = strlen(text);
}

static void add_version(struct cluster_map *m, const char *name, uint32_t version, enum stream_phase phase,
    const char *definition)
{
	size_t at = 0;
	for (size_t i = 0; i < m->stream_count; i++)
		at = strcmp(m->streams[i].name, name) ? at : i + 1;
	m->streams = xrealloc(m->streams, (m->stream_count + 1) * sizeof(*m->streams));
	memmove(&m->streams[at + 1], &m->streams[at], (m->stream_count - at) * sizeof(*m->streams));
	m->streams[at] = (struct map_stream){xstrdup(name), version, version, phase, -60 * NS_PER_SEC, 3600 * NS_PER_SEC,
		3660 * NS_PER_SEC, xstrdup(definition)};
	m->stream_count++;
}

static struct buf bytes_from(const struct cluster_map *m)
{
	struct buf b = {0};
	ck_assert_int_eq(map_encode(m, &b), 0);
	return b;
}

static void ck_same(const struct cluster_map *a, const struct cluster_map *b)
{
	struct buf x = bytes_from(a), y = bytes_from(b);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_mem_eq(x.data, y.data, x.len);
	buf_free(&x);
	buf_free(&y);
}

/* ---- bytes ------------------------------------------------------------------------------------------------ */

START_TEST(a_first_map_is_what_the_file_says)
{
	struct cluster_map m = first(two);
	ck_assert_uint_eq(m.version, 1);
	ck_assert_uint_eq(m.node_count, 2);
	ck_assert_str_eq(m.nodes[1].name, "c2");
	ck_assert_str_eq(m.nodes[1].http, "127.0.0.1:8102");
	ck_assert_int_eq(m.nodes[1].state, CLOUD_MEMBER);
	ck_assert_uint_eq(m.group_count, 5);
	ck_assert_uint_eq(m.places[2].count, 1);
	ck_assert_uint_eq(m.places[2].nodes[0], 1);
	ck_assert_uint_eq(m.stream_count, 2);
	ck_assert_uint_eq(m.streams[0].version, m.streams[0].fingerprint);
	ck_assert_int_eq(m.streams[0].phase, STREAM_CURRENT);
	ck_assert_int_eq(m.streams[0].from_ns, INT64_MIN);
	ck_assert_int_eq(m.streams[0].answers_until_ns, INT64_MAX);
	ck_assert_int_eq(m.streams[0].until_ns, INT64_MAX);
	ck_assert_str_eq(m.streams[0].definition, "");
	map_clear(&m);
	ck_assert_ptr_null(m.text);
}
END_TEST

static struct cluster_map rich(void)
{
	struct cluster_map m = first(two);
	ck_assert_int_eq(map_revoke(&m, "e2", true), 0);
	ck_assert_int_eq(map_revoke(&m, "another", true), 0);
	m.version = 77;
	m.text_version = 70;
	m.nodes[1].state = CLOUD_DEAD;
	m.nodes = xrealloc(m.nodes, 3 * sizeof(*m.nodes));
	m.nodes[2] = (struct map_node){CLOUD_GONE, xstrdup(""), xstrdup(""), xstrdup("")};
	m.node_count = 3;
	add_version(&m, "speed", 4711, STREAM_PENDING, "");
	return m;
}

START_TEST(a_map_is_the_same_from_its_bytes_and_as_a_copy)
{
	struct cluster_map m = rich(), back, copy;
	struct buf b = bytes_from(&m);
	ck_assert_uint_eq(b.data[0], MAP_FORMAT);
	ck_assert_int_eq(map_decode(bytes_of(b.data, b.len), &back), 0);
	ck_assert_str_eq(back.text, two);
	ck_assert_uint_eq(back.version, 77);
	ck_assert_uint_eq(back.text_version, 70);
	ck_assert(map_has_text_of(&back, 70) && map_has_text_of(&back, 77));
	ck_assert(!map_has_text_of(&back, 69) && !map_has_text_of(&back, 78));
	ck_assert_int_eq(back.nodes[1].state, CLOUD_DEAD);
	ck_assert_str_eq(back.nodes[2].name, "");
	ck_assert_uint_eq(back.streams[1].version, 4711);
	ck_assert_int_eq(back.streams[1].from_ns, -60 * NS_PER_SEC);
	ck_assert_int_eq(back.streams[1].until_ns, 3660 * NS_PER_SEC);
	ck_assert_uint_eq(back.revoked_count, 2);
	ck_assert_str_eq(back.revoked[0], "another");
	ck_assert_str_eq(back.revoked[1], "e2");
	ck_same(&m, &back);
	map_copy(&back, &copy);
	map_clear(&back);
	ck_same(&m, &copy);
	map_clear(&copy);
	map_clear(&m);
	buf_free(&b);
}
END_TEST

/* Two ends whose zstd packs the same text in other bytes. */
START_TEST(packed_bytes_of_the_text_are_kept)
{
	struct cluster_map m = first(two), back;
	struct buf longer = {0};
	ck_assert(zip_pack(m.text, m.text_len, &longer));
	ck_assert_int_eq(map_set_packed(&m, bytes_of(longer.data, longer.len - 1)), WEIR_ECORRUPT);
	ck_assert_ptr_null(m.packed);
	/* A skippable frame of zstd's in front: other bytes of the same text. */
	static const uint8_t skip[] = {0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'x', 'y'};
	struct buf other = {0};
	buf_put(&other, skip, sizeof(skip));
	buf_put(&other, longer.data, longer.len);
	ck_assert_int_eq(map_set_packed(&m, bytes_of(other.data, other.len)), 0);
	struct buf b = bytes_from(&m);
	ck_assert_int_eq(map_decode(bytes_of(b.data, b.len), &back), 0);
	ck_assert_uint_eq(back.packed_len, other.len);
	ck_assert_str_eq(back.text, two);
	ck_same(&m, &back);
	map_clear(&m);
	map_clear(&back);
	buf_free(&b);
	buf_free(&longer);
	buf_free(&other);
}
END_TEST

START_TEST(bytes_cut_short_or_with_more_behind_are_no_map)
{
	struct cluster_map m = rich(), back;
	struct buf b = bytes_from(&m);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *cut = xmalloc(n + 1); /* for the sanitizer */
		memcpy(cut, b.data, n);
		ck_assert_int_eq(map_decode(bytes_of(cut, n), &back), WEIR_ECORRUPT);
		free(cut);
	}
	buf_u8(&b, 0);
	ck_assert_int_eq(map_decode(bytes_of(b.data, b.len), &back), WEIR_ECORRUPT);
	b.data[0] = MAP_FORMAT + 1;
	ck_assert_int_eq(map_decode(bytes_of(b.data, b.len), &back), WEIR_EVERSION);
	buf_free(&b);
	map_clear(&m);
}
END_TEST

START_TEST(no_flipped_bit_is_more_than_an_error)
{
	struct cluster_map m = rich(), back;
	struct buf b = bytes_from(&m);
	for (size_t i = 0; i < b.len * 8; i++) {
		b.data[i / 8] ^= (uint8_t)(1U << i % 8);
		if (!map_decode(bytes_of(b.data, b.len), &back))
			map_clear(&back);
		b.data[i / 8] ^= (uint8_t)(1U << i % 8);
	}
	buf_free(&b);
	map_clear(&m);
}
END_TEST

static int decoded(struct cluster_map *m)
{
	struct cluster_map back;
	struct buf b = bytes_from(m);
	int err = map_decode(bytes_of(b.data, b.len), &back);
	if (!err)
		map_clear(&back);
	buf_free(&b);
	map_clear(m);
	return err;
}

START_TEST(what_does_not_fit_together_is_no_map)
{
	struct cluster_map m = first(two);
	m.places[1].nodes[0] = 2;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.places[1].count = 2;
	m.places[1].nodes[1] = m.places[1].nodes[0];
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	m.places[1].nodes[0] = 2; /* gone */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.nodes[0].state = CLOUD_GONE; /* with a name */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.nodes[0].name[1] = '2'; /* the other's */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.nodes[0].name[1] = '/';
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].from_ns = INT64_MIN + 1; /* where windows cannot be */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].answers_until_ns = TIME_MAX_NS + 1;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].until_ns = TIME_MIN_NS - 1;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].until_ns = TIME_MAX_NS + 1; /* the end of a window that begins earlier */
	ck_assert_int_eq(decoded(&m), 0);
	m = first(two);
	m.streams[0].phase = STREAM_CLOSING; /* without a definition */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].version = 0;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	m.streams[1].version = m.streams[0].version;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	m.revoked[0][0] = 'x'; /* out of order */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	memcpy(m.revoked[0], "e2", 3); /* twice */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	m.revoked[0][0] = '/';
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	struct map_stream s = m.streams[1]; /* versions apart */
	m.streams[1] = m.streams[2];
	m.streams[2] = s;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.version = 0;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.text_version = 0;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.text_version = 2;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.group_count = 1;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
}
END_TEST

START_TEST(a_map_over_its_limit_is_not_encoded)
{
	struct cluster_map m = first(two);
	char *noise = xmalloc(MAP_BYTES_MAX + 1);
	uint32_t x = 1;
	for (size_t i = 0; i < MAP_BYTES_MAX; i++) {
		x = x * 1664525 + 1013904223;
		noise[i] = (char)(x >> 24 ? x >> 24 : 1);
	}
	noise[MAP_BYTES_MAX] = 0;
	set_text(&m, noise);
	struct buf b = {0};
	buf_u8(&b, 9);
	ck_assert_int_eq(map_encode(&m, &b), WEIR_ETOOBIG);
	ck_assert_uint_eq(b.len, 1);
	buf_free(&b);
	free(noise);
	map_clear(&m);
}
END_TEST

/* ---- topology --------------------------------------------------------------------------------------------- */

START_TEST(the_first_topology_is_the_files)
{
	struct cluster_map m = first(two);
	m.places[3].nodes[0] = 0;
	struct topology *t = topology_of(&m, NULL);
	ck_assert_uint_eq(t->map_version, 1);
	ck_assert_uint_eq(t->cloud_count, 2);
	ck_assert_str_eq(t->clouds[0].data, "/d/c1");
	ck_assert_str_eq(t->clouds[1].data, "/home/run/c2"); /* by the path of the daemon's own file */
	ck_assert_uint_eq(topology_replica(t, 3, 0), 0);
	ck_assert_uint_eq(topology_replica(t, 2, 0), 1);
	ck_assert_uint_eq(t->edge_count, 2);
	ck_assert_str_eq(t->edges[0].tags[0].value, "north");
	ck_assert_uint_eq(t->stream_count, 2);
	ck_assert_uint_eq(t->streams[1].edge_count, 2);
	ck_assert(t->streams[1].lists_edges);
	ck_assert(!t->streams[0].lists_edges);
	topology_free(t);
	map_clear(&m);
}
END_TEST

START_TEST(clouds_are_at_their_slots)
{
	struct cluster_map m = first(HEAD(C1 C2 C3) E1 "streams:\n" SPEED);
	free(m.nodes[0].name);
	free(m.nodes[0].listen);
	free(m.nodes[0].http);
	m.nodes[0] = (struct map_node){CLOUD_GONE, xstrdup(""), xstrdup(""), xstrdup("")};
	m.nodes[1].state = CLOUD_LEAVING;
	set_text(&m, HEAD(C3) E1 "streams:\n" SPEED);
	struct topology *t = topology_of(&m, NULL);
	ck_assert_uint_eq(t->cloud_count, 3);
	ck_assert_int_eq(t->clouds[0].state, CLOUD_GONE);
	ck_assert_str_eq(t->clouds[0].name, "");
	ck_assert_int_eq(topology_cloud(t, ""), -1);
	ck_assert_int_eq(t->clouds[1].state, CLOUD_LEAVING);
	ck_assert_str_eq(t->clouds[1].listen, "tcp://127.0.0.1:7102");
	ck_assert_int_eq(topology_cloud(t, "c2"), 1);
	ck_assert_int_eq(topology_cloud(t, "c3"), 2);
	topology_free(t);
	map_clear(&m);
}
END_TEST

START_TEST(edges_keep_their_indexes)
{
	struct cluster_map m = first(two);
	struct topology *a = topology_of(&m, NULL);
	set_text(&m, HEAD(C1 C2) E3 E2 "streams:\n" SPEED
		"  - {name: load, from: {measurement: cpu, field: load}, window: 10s, edges: [e3, e2]}\n");
	struct topology *b = topology_of(&m, a);
	ck_assert_uint_eq(b->edge_count, 3);
	ck_assert(b->edges[0].gone);
	ck_assert_str_eq(b->edges[0].name, "e1");
	ck_assert_int_eq(topology_edge(b, "e1"), -1);
	ck_assert_int_eq(topology_edge(b, "e2"), 1);
	ck_assert_int_eq(topology_edge(b, "e3"), 2);
	ck_assert_str_eq(b->edges[2].data, "/home/here");
	ck_assert_uint_eq(b->streams[0].edge_count, 2);
	ck_assert_uint_eq(b->streams[0].edges[0], 1);
	ck_assert_uint_eq(b->streams[0].edges[1], 2);
	ck_assert_uint_eq(b->streams[1].edges[0], 1);
	ck_assert_uint_eq(b->streams[1].edges[1], 2);
	/* and back: it is the same edge again */
	set_text(&m, two);
	struct topology *c = topology_of(&m, b);
	ck_assert_uint_eq(c->edge_count, 3);
	ck_assert(!c->edges[0].gone);
	ck_assert_str_eq(c->edges[0].tags[0].value, "north");
	ck_assert(c->edges[2].gone);
	ck_assert_int_eq(topology_edge(c, "e1"), 0);
	ck_assert_uint_eq(c->streams[0].edge_count, 2);
	topology_free(a);
	topology_free(b);
	topology_free(c);
	map_clear(&m);
}
END_TEST

static struct map_changes change(struct cluster_map *m, const char *text);
static void ck_told(const struct map_changes *t, size_t i, enum map_change_kind kind, const char *what, const char *name,
    const char *text);
static void quietly(struct cluster_map *m, const char *text);

START_TEST(a_revocation_outlives_the_edge_until_it_is_allowed)
{
	struct cluster_map m = first(two);
	struct topology *t = topology_of(&m, NULL), *before;
	ck_assert(!t->edges[0].revoked && !t->edges[1].revoked);
	ck_assert_int_eq(map_revoke(&m, "e2", true), 0);
	ck_assert_uint_eq(m.version, 2);
	ck_assert_int_eq(map_revoke(&m, "e2", true), 0); /* so already */
	ck_assert_int_eq(map_revoke(&m, "e1", false), 0);
	ck_assert_uint_eq(m.version, 2);
	ck_assert(map_is_revoked(&m, "e2") && !map_is_revoked(&m, "e1") && !map_is_revoked(&m, "e3"));
	before = t;
	t = topology_of(&m, before);
	ck_assert(!t->edges[0].revoked && t->edges[1].revoked);
	topology_free(before);
	quietly(&m, HEAD(C1 C2) E1 "streams:\n" SPEED "  - {name: load, from: {measurement: cpu, field: load}, window: 10s}\n");
	before = t;
	t = topology_of(&m, before);
	ck_assert(t->edges[1].gone);
	ck_assert(topology_revoked(t, "e2") && !topology_revoked(t, "e1") && !topology_revoked(t, "e20"));
	topology_free(before);
	struct map_changes told = change(&m, two);
	ck_told(&told, 0, MAP_ADDED, "edge", "e2", "is revoked still; weirctl edge allow lets it in");
	map_changes_clear(&told);
	before = t;
	t = topology_of(&m, before);
	ck_assert(!t->edges[1].gone && t->edges[1].revoked);
	topology_free(before);
	ck_assert_int_eq(map_revoke(&m, "e2", false), 0);
	ck_assert_uint_eq(m.revoked_count, 0);
	before = t;
	t = topology_of(&m, before);
	ck_assert(!t->edges[1].revoked);
	topology_free(before);
	topology_free(t);
	map_clear(&m);
}
END_TEST

START_TEST(there_is_a_limit_of_revoked_edges)
{
	struct cluster_map m = first(two);
	char name[16];
	for (int i = 0; i < MAP_REVOKED_MAX; i++) {
		snprintf(name, sizeof(name), "x%d", (i * 7919) % MAP_REVOKED_MAX); /* in any order */
		ck_assert_int_eq(map_revoke(&m, name, true), 0);
	}
	ck_assert_uint_eq(m.revoked_count, MAP_REVOKED_MAX);
	ck_assert_int_eq(map_revoke(&m, "e1", true), WEIR_ETOOBIG);
	ck_assert_int_eq(map_revoke(&m, "x77", true), 0);
	ck_assert_int_eq(decoded(&m), 0);
}
END_TEST

START_TEST(every_version_of_a_stream_is_there)
{
	struct cluster_map m = first(two);
	struct topology *a = topology_of(&m, NULL);
	struct buf def = {0};
	topology_stream_text(a, &a->streams[0], &def);
	uint32_t was = m.streams[0].version;
	free(m.streams[0].definition);
	m.streams[0].definition = xstrdup(buf_cstr(&def));
	m.streams[0].phase = STREAM_CLOSING;
	m.streams[0].answers_until_ns = 600;
	m.streams[0].until_ns = 660;
	add_version(&m, "speed", 4711, STREAM_CURRENT, "");
	set_text(&m, HEAD(C1 C2) E1 E2 E3 "streams:\n" SPEED_BY LOAD);
	struct topology *b = topology_of(&m, a);
	ck_assert_uint_eq(b->stream_count, 3);
	ck_assert_str_eq(b->streams[0].name, "speed");
	ck_assert_uint_eq(b->streams[0].version, was);
	ck_assert_int_eq(b->streams[0].phase, STREAM_CLOSING);
	ck_assert_int_eq(b->streams[0].answers_until_ns, 600);
	ck_assert_int_eq(b->streams[0].until_ns, 660);
	ck_assert_uint_eq(b->streams[0].by_count, 1);
	ck_assert_uint_eq(b->streams[0].edge_count, 3); /* it lists none: all there are */
	ck_assert_str_eq(b->streams[1].name, "load");
	ck_assert_uint_eq(b->streams[2].version, 4711);
	ck_assert_uint_eq(b->streams[2].by_count, 2);
	ck_assert_int_eq(topology_stream(b, "speed"), 2);
	ck_assert_int_eq(topology_stream_version_of(b, "speed", was), 0);
	/* Without one before, in the map's order. */
	struct topology *c = topology_of(&m, NULL);
	ck_assert_uint_eq(c->streams[1].version, 4711);
	ck_assert_str_eq(c->streams[2].name, "load");
	/* A version that the map drops keeps its index and answers nothing. */
	free(m.streams[0].name);
	free(m.streams[0].definition);
	m.stream_count--;
	memmove(m.streams, m.streams + 1, m.stream_count * sizeof(*m.streams));
	struct topology *d = topology_of(&m, b);
	ck_assert_uint_eq(d->stream_count, 3);
	ck_assert_int_eq(d->streams[0].phase, STREAM_RETIRED);
	ck_assert_uint_eq(d->streams[0].version, was);
	ck_assert_int_eq(d->streams[0].answers_until_ns, INT64_MIN);
	ck_assert_uint_eq(d->streams[2].version, 4711);
	topology_free(a);
	topology_free(b);
	topology_free(c);
	topology_free(d);
	buf_free(&def);
	map_clear(&m);
}
END_TEST

static void ck_no_topology(struct cluster_map *m)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	ck_assert_int_eq(map_topology(m, "x.yaml", NULL, &t, &errors), WEIR_EINVAL);
	ck_assert_uint_gt(errors.len, 0);
	ck_assert_ptr_null(t);
	buf_free(&errors);
	map_clear(m);
}

START_TEST(a_map_whose_text_does_not_fit_it_gives_no_topology)
{
	struct cluster_map m = first(two);
	set_text(&m, "version: 1\n");
	ck_no_topology(&m);
	m = first(two);
	set_text(&m, HEAD(C1 C2 C3) E1 E2 "streams:\n" SPEED LOAD);
	ck_no_topology(&m);
	m = first(HEAD(C1 C2) E1 E2 "streams:\n" SPEED);
	set_text(&m, two);
	ck_no_topology(&m);
	m = first(two);
	set_text(&m, HEAD(C1 C2) E1 E2 "streams:\n" SPEED);
	ck_no_topology(&m);
	m = first(two);
	m.group_count--;
	ck_no_topology(&m);
	m = first(two);
	free(m.streams[0].definition);
	m.streams[0].definition = xstrdup("{name: speed");
	ck_no_topology(&m);
}
END_TEST

/* ---- definitions ------------------------------------------------------------------------------------------ */

static void ck_reads_back(const struct topology *t, const struct stream_conf *s)
{
	struct buf text = {0}, again = {0}, errors = {0};
	struct stream_conf back;
	topology_stream_text(t, s, &text);
	int err = topology_stream_parse(t, buf_cstr(&text), &back, &errors);
	ck_assert_msg(!err, "%s\n%s", buf_cstr(&text), buf_cstr(&errors));
	topology_stream_text(t, &back, &again);
	ck_assert_str_eq(buf_cstr(&text), buf_cstr(&again));
	ck_assert_ptr_null(strchr(buf_cstr(&text), '\n'));
	ck_assert_uint_eq(back.version, topology_stream_version(s));
	ck_assert_int_eq(back.size_ns, s->size_ns);
	ck_assert_int_eq(back.advance_ns, s->advance_ns);
	ck_assert_int_eq(back.offset_ns, s->offset_ns);
	ck_assert_int_eq(back.slice_ns, s->slice_ns);
	ck_assert_int_eq(back.lateness_ns, s->lateness_ns);
	ck_assert_int_eq(back.retain_ns, s->retain_ns);
	ck_assert_uint_eq(back.rollup_count, s->rollup_count);
	for (size_t i = 0; i < s->rollup_count; i++) {
		ck_assert_int_eq(back.rollups[i].every_ns, s->rollups[i].every_ns);
		ck_assert_int_eq(back.rollups[i].retain_ns, s->rollups[i].retain_ns);
	}
	ck_assert_uint_eq(back.compute_count, s->compute_count);
	for (size_t i = 0; i < s->compute_count; i++)
		ck_assert_str_eq(back.compute[i].text, s->compute[i].text);
	ck_assert_uint_eq(back.by_count, s->by_count);
	for (size_t i = 0; i < s->by_count; i++)
		ck_assert_str_eq(back.by[i], s->by[i]);
	ck_assert_uint_eq(back.edge_count, s->edge_count);
	ck_assert(!s->edge_count || !memcmp(back.edges, s->edges, s->edge_count * sizeof(*s->edges)));
	ck_assert_uint_eq(back.max_groups, s->max_groups);
	stream_conf_clear(&back);
	buf_free(&text);
	buf_free(&again);
	buf_free(&errors);
}

static void ck_definitions(const char *text)
{
	struct topology *t = parse(text);
	for (size_t i = 0; i < t->stream_count; i++)
		ck_reads_back(t, &t->streams[i]);
	topology_free(t);
}

START_TEST(definitions_read_back_as_they_were)
{
	ck_definitions(two);
	ck_definitions(HEAD(C1) E1 E2 "streams:\n"
		"  - name: \"123\"\n"
		"    from: {measurement: \"a\\\"b\\\\ \\u2028\\u0085\\n\\t\\U0001F600é\", field: \"*\", where: {\"k: {,\": \"\", b: \"[!a-c]\\\\*\"}}\n"
		"    steps: [{range: {min: -0.1}}, {range: {max: 1e-300}}, {range: {min: 0.30000000000000004, max: 1e300}}, {scale: {by: 1.609344}},\n"
		"      {where: {x: \"y*\"}}, {dedupe: {depth: 9}}, {rate: {per: 1500ms, max_series: 7}}]\n"
		"    by: [\"true\", \"null\", \"~\", \"1\"]\n"
		"    window: {size: 5m, every: 90s, offset: 30s}\n"
		"    lateness: 0s\n"
		"    compute: [count, p99.9, \"distinct(a b)\", p50]\n"
		"    retain: 40d\n"
		"    rollup: [{every: 1h, retain: 1y}, {every: 1d, retain: forever}]\n"
		"    edges: [e2]\n"
		"    max_groups: 3\n"
		"  - {name: all, from: {measurement: m, field: f}, window: 7ms, retain: forever, lateness: 1ms}\n");
}
END_TEST

START_TEST(a_definition_does_without_edges_that_are_gone)
{
	struct topology *t = parse(two);
	struct buf text = {0}, errors = {0};
	struct stream_conf back;
	topology_stream_text(t, &t->streams[1], &text);
	t->edges[0].gone = true;
	ck_assert_int_eq(topology_stream_parse(t, buf_cstr(&text), &back, &errors), 0);
	ck_assert_uint_eq(back.edge_count, 1);
	ck_assert_uint_eq(back.edges[0], 1);
	stream_conf_clear(&back);
	t->edges[1].gone = true;
	ck_assert_int_eq(topology_stream_parse(t, buf_cstr(&text), &back, &errors), 0);
	ck_assert_uint_eq(back.edge_count, 0);
	ck_assert(back.lists_edges);
	stream_conf_clear(&back);
	ck_assert_int_eq(topology_stream_parse(t, "{name: x}", &back, &errors), WEIR_EINVAL);
	ck_assert_uint_gt(errors.len, 0);
	topology_free(t);
	buf_free(&text);
	buf_free(&errors);
}
END_TEST

/* ---- changes ---------------------------------------------------------------------------------------------- */

static int change_err(const struct cluster_map *m, const char *text, struct cluster_map *ret, struct map_changes *told)
{
	struct buf errors = {0};
	int err = map_change(m, text, strlen(text), ret, told, &errors);
	ck_assert(err || !errors.len);
	buf_free(&errors);
	return err;
}

/* The map goes on as the changed one. */
static struct map_changes change(struct cluster_map *m, const char *text)
{
	struct cluster_map next;
	struct map_changes told;
	ck_assert_int_eq(change_err(m, text, &next, &told), 0);
	ck_assert(!told.refused);
	ck_assert_uint_eq(next.version, m->version + 1);
	struct buf b = bytes_from(&next); /* it can be kept, and gives a topology */
	struct cluster_map back;
	ck_assert_int_eq(map_decode(bytes_of(b.data, b.len), &back), 0);
	ck_same(&next, &back);
	topology_free(topology_of(&back, NULL));
	map_clear(&back);
	buf_free(&b);
	map_clear(m);
	*m = next;
	return told;
}

static void ck_told(const struct map_changes *t, size_t i, enum map_change_kind kind, const char *what, const char *name,
    const char *part)
{
	ck_assert_uint_lt(i, t->count);
	ck_assert_int_eq(t->all[i].kind, kind);
	ck_assert_str_eq(t->all[i].what, what);
	ck_assert_str_eq(t->all[i].name, name);
	ck_assert_msg(strstr(t->all[i].text, part) != NULL, "%s has no %s", t->all[i].text, part);
}

static void quietly(struct cluster_map *m, const char *text)
{
	struct map_changes told = change(m, text);
	map_changes_clear(&told);
}

static void ck_refused(const char *from, const char *to, const char *what, const char *name, const char *part)
{
	struct cluster_map m = first(from), next;
	struct map_changes told;
	ck_assert_int_eq(change_err(&m, to, &next, &told), WEIR_EINVAL);
	ck_assert(told.refused);
	size_t i = 0;
	while (i < told.count && told.all[i].kind != MAP_REFUSED)
		i++;
	ck_told(&told, i, MAP_REFUSED, what, name, part);
	map_changes_clear(&told);
	map_clear(&m);
}

START_TEST(an_equal_text_changes_nothing)
{
	struct cluster_map m = first(two), next;
	struct map_changes told;
	ck_assert_int_eq(change_err(&m, two, &next, &told), 0);
	ck_assert_uint_eq(told.count, 0);
	ck_same(&m, &next);
	map_changes_clear(&told);
	map_clear(&next);
	/* a remark is another text, and no difference */
	told = change(&m, HEAD(C1 C2) E1 E2 "# remark\nstreams:\n" SPEED LOAD);
	ck_assert_uint_eq(told.count, 0);
	map_changes_clear(&told);
	map_clear(&m);
}
END_TEST

START_TEST(what_is_no_topology_is_no_change)
{
	struct cluster_map m = first(two), next;
	struct map_changes told;
	struct buf errors = {0};
	ck_assert_int_eq(map_change(&m, "x: 1", 4, &next, &told, &errors), WEIR_EINVAL);
	ck_assert_uint_gt(errors.len, 0);
	ck_assert_uint_eq(told.count, 0);
	buf_free(&errors);
	map_clear(&m);
}
END_TEST

START_TEST(what_cannot_be_changed_is_refused)
{
	ck_refused(two, "version: 1\ncluster: {name: other, shards: 4, replicas: 1}\ncloud:\n" C1 C2 "edges:\n" E1 E2 "streams:\n"
		SPEED LOAD, "cluster", "plant", "name");
	ck_refused(two, "version: 1\ncluster: {name: plant, shards: 8, replicas: 1}\ncloud:\n" C1 C2 "edges:\n" E1 E2 "streams:\n"
		SPEED LOAD, "cluster", "plant", "shards: 4 -> 8");
	ck_refused(two, HEAD(C1 "  - {name: c2, listen: \"tcp://127.0.0.1:7109\", http: \"127.0.0.1:8102\"}\n") E1 E2 "streams:\n"
		SPEED LOAD, "node", "c2", "7109");
	/* the address of a node that the same text takes out */
	ck_refused(two, HEAD(C1 "  - {name: c9, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8109\"}\n") E1 E2 "streams:\n"
		SPEED LOAD, "node", "c9", "c2");
	ck_refused(two, HEAD(C1) E1 E2 "  - {name: c2}\nstreams:\n" SPEED LOAD, "edge", "c2", "leaving");
}
END_TEST

START_TEST(the_cluster_s_times_and_replicas_change)
{
	struct cluster_map m = first(two);
	struct map_changes told = change(&m, "version: 1\ncluster: {name: plant, shards: 4, replicas: 2, partitioned_after: 2m}\n"
		"cloud:\n" C1 C2 "edges:\n" E1 E2 "streams:\n" SPEED LOAD);
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_CHANGED, "cluster", "plant", "replicas: 1 -> 2; partitioned_after: 1m -> 2m");
	map_changes_clear(&told);
	map_clear(&m);
}
END_TEST

START_TEST(nodes_come_leave_and_stay_after_all)
{
	struct cluster_map m = first(two);
	struct map_changes told = change(&m, HEAD(C1 C3) E1 E2 "streams:\n" SPEED LOAD);
	ck_assert_uint_eq(told.count, 2);
	ck_told(&told, 0, MAP_REMOVED, "node", "c2", "");
	ck_told(&told, 1, MAP_ADDED, "node", "c3", "7103");
	map_changes_clear(&told);
	ck_assert_uint_eq(m.node_count, 3);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_LEAVING);
	ck_assert_str_eq(m.nodes[2].name, "c3");
	told = change(&m, HEAD(C1 C2 C3) E1 E2 "streams:\n" SPEED LOAD);
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_ADDED, "node", "c2", "stays");
	map_changes_clear(&told);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_MEMBER);
	/* A dead one that is listed stays dead; not listed it leaves; a slot is used again. */
	m.nodes[1].state = CLOUD_DEAD;
	quietly(&m, HEAD(C1 C2 C3) E1 E2 "# again\nstreams:\n" SPEED LOAD);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_DEAD);
	quietly(&m, HEAD(C1 C3) E1 E2 "streams:\n" SPEED LOAD);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_LEAVING);
	for (uint32_t g = 0; g < m.group_count; g++)
		m.places[g] = (struct group_place){1, {0}};
	free(m.nodes[1].name);
	free(m.nodes[1].listen);
	free(m.nodes[1].http);
	m.nodes[1] = (struct map_node){CLOUD_GONE, xstrdup(""), xstrdup(""), xstrdup("")};
	quietly(&m, HEAD(C1 C2 C3) E1 E2 "streams:\n" SPEED LOAD);
	ck_assert_uint_eq(m.node_count, 3);
	ck_assert_str_eq(m.nodes[1].name, "c2");
	ck_assert_int_eq(m.nodes[1].state, CLOUD_MEMBER);
	map_clear(&m);
}
END_TEST

START_TEST(edges_come_and_go)
{
	struct cluster_map m = first(two);
	struct map_changes told = change(&m, HEAD(C1 C2) "  - {name: e1, tags: {site: south}, heartbeat: 2s}\n" E3
		"streams:\n" SPEED "  - {name: load, from: {measurement: cpu, field: load}, window: 10s, edges: [e1]}\n");
	ck_assert_uint_eq(told.count, 4);
	ck_told(&told, 0, MAP_REMOVED, "edge", "e2", "");
	ck_told(&told, 1, MAP_CHANGED, "edge", "e1", "tags changed; heartbeat: 1s -> 2s");
	ck_told(&told, 2, MAP_ADDED, "edge", "e3", "");
	ck_told(&told, 3, MAP_CHANGED, "stream", "load", "edges: [\"e1\", \"e2\"] -> [\"e1\"]");
	map_changes_clear(&told);
	ck_assert_uint_eq(m.stream_count, 2); /* no new version */
	map_clear(&m);
}
END_TEST

/* ---- versions --------------------------------------------------------------------------------------------- */

#define STREAMS(text) HEAD(C1 C2) E1 E2 "streams:\n" text
#define SPEED_5S "  - {name: speed, from: {measurement: traffic, field: speed}, by: [site], window: {size: 1m, every: 5s}}\n"
#define SPEED_SAME "  - {name: speed, from: {measurement: traffic, field: speed}, by: [site], window: 1m, lateness: 7s, retain: 9d, \
max_groups: 9, compute: [max, count, sum, mean, min]}\n"

static const struct map_stream *nth(const struct cluster_map *m, size_t i, const char *name, enum stream_phase phase)
{
	ck_assert_uint_lt(i, m->stream_count);
	ck_assert_str_eq(m->streams[i].name, name);
	ck_assert_int_eq(m->streams[i].phase, phase);
	return &m->streams[i];
}

START_TEST(changes_that_need_no_version)
{
	struct cluster_map m = first(STREAMS(SPEED));
	struct map_changes told = change(&m, STREAMS(SPEED_SAME));
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_CHANGED, "stream", "speed", "lateness: 30s -> 7s");
	ck_told(&told, 0, MAP_CHANGED, "stream", "speed", "max_groups: 100000 -> 9");
	ck_assert_ptr_null(strstr(told.all[0].text, "version"));
	map_changes_clear(&told);
	ck_assert_uint_eq(m.stream_count, 1);
	nth(&m, 0, "speed", STREAM_CURRENT);
	/* another window on the same slices */
	quietly(&m, STREAMS("  - {name: speed, from: {measurement: traffic, field: speed}, by: [site], window: {size: 5m, every: 1m}}\n"));
	ck_assert_uint_eq(m.stream_count, 1);
	map_clear(&m);
}
END_TEST

START_TEST(a_version_is_cut_over_and_retired)
{
	struct cluster_map m = first(STREAMS(SPEED LOAD));
	uint32_t was = m.streams[0].version;
	struct map_changes told = change(&m, STREAMS(SPEED_BY LOAD));
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_CHANGED, "stream", "speed",
	    "by: [\"site\"] -> [\"site\", \"sensor\"]; a new version, cut over at a boundary of 1m");
	map_changes_clear(&told);
	ck_assert_uint_eq(m.stream_count, 3);
	ck_assert_str_ne(nth(&m, 0, "speed", STREAM_CURRENT)->definition, "");
	const struct map_stream *next = nth(&m, 1, "speed", STREAM_PENDING);
	ck_assert_str_eq(next->definition, "");
	ck_assert_int_eq(next->from_ns, INT64_MAX);
	ck_assert_uint_eq(next->version, next->fingerprint);
	nth(&m, 2, "load", STREAM_CURRENT);
	uint32_t version = next->version;
	ck_assert_int_eq(map_cut(&m, "speed", was, 0), WEIR_ENOTFOUND);
	ck_assert_int_eq(map_cut(&m, "load", version, 0), WEIR_ENOTFOUND);
	ck_assert_uint_eq(m.version, 2);
	ck_assert_int_eq(map_cut(&m, "speed", version, 600 * NS_PER_SEC), 0);
	ck_assert_uint_eq(m.version, 3);
	const struct map_stream *old = nth(&m, 0, "speed", STREAM_CLOSING);
	ck_assert_int_eq(old->from_ns, INT64_MIN);
	ck_assert_int_eq(old->answers_until_ns, 600 * NS_PER_SEC);
	ck_assert_int_eq(old->until_ns, 600 * NS_PER_SEC);
	next = nth(&m, 1, "speed", STREAM_CURRENT);
	ck_assert_int_eq(next->from_ns, 600 * NS_PER_SEC);
	ck_assert_int_eq(next->answers_until_ns, INT64_MAX);
	ck_assert_int_eq(next->until_ns, INT64_MAX);
	ck_assert_int_eq(map_retire(&m, "speed", version), WEIR_ENOTFOUND);
	ck_assert_int_eq(map_retire(&m, "speed", was), 0);
	ck_assert_uint_eq(m.version, 4);
	ck_assert_uint_eq(m.text_version, 2);
	ck_assert_int_eq(nth(&m, 0, "speed", STREAM_RETIRED)->answers_until_ns, 600 * NS_PER_SEC);
	ck_assert_int_eq(map_retire(&m, "speed", was), WEIR_ENOTFOUND);
	map_clear(&m);
}
END_TEST

START_TEST(a_sliding_window_that_spans_the_cut_is_the_old_one_s)
{
	struct cluster_map m = first(STREAMS(SPEED_5S));
	quietly(&m, STREAMS(SPEED));
	uint32_t version = m.streams[1].version;
	ck_assert_int_eq(map_cut(&m, "speed", version, 120 * NS_PER_SEC), 0);
	/* the last starts at 115 s */
	ck_assert_int_eq(m.streams[0].until_ns, 175 * NS_PER_SEC);
	ck_assert_int_eq(m.streams[0].answers_until_ns, 120 * NS_PER_SEC);
	map_clear(&m);
}
END_TEST

START_TEST(without_readings_a_version_takes_over_everything)
{
	struct cluster_map m = first(STREAMS(SPEED));
	quietly(&m, STREAMS(SPEED_BY));
	ck_assert_int_eq(map_cut(&m, "speed", m.streams[1].version, WATERMARK_NONE), 0);
	ck_assert_int_eq(m.streams[1].from_ns, INT64_MIN);
	ck_assert_int_eq(m.streams[0].answers_until_ns, INT64_MIN);
	ck_assert_int_eq(m.streams[0].until_ns, INT64_MIN);
	nth(&m, 0, "speed", STREAM_CLOSING);
	map_clear(&m);
}
END_TEST

START_TEST(a_pending_version_that_changes_again_is_replaced)
{
	struct cluster_map m = first(STREAMS(SPEED));
	quietly(&m, STREAMS(SPEED_BY));
	uint32_t second = m.streams[1].version;
	quietly(&m, STREAMS(SPEED_5S));
	ck_assert_uint_eq(m.stream_count, 3);
	nth(&m, 0, "speed", STREAM_CURRENT);
	const struct map_stream *given_up = nth(&m, 1, "speed", STREAM_RETIRED);
	ck_assert_uint_eq(given_up->version, second);
	ck_assert_int_eq(given_up->answers_until_ns, INT64_MIN);
	ck_assert_str_ne(given_up->definition, "");
	nth(&m, 2, "speed", STREAM_PENDING);
	/* and the one given up again: another number, for some edges fed it before */
	quietly(&m, STREAMS(SPEED_BY));
	ck_assert_uint_eq(m.stream_count, 4);
	const struct map_stream *again = nth(&m, 3, "speed", STREAM_PENDING);
	ck_assert_uint_eq(again->fingerprint, second);
	ck_assert_uint_ne(again->version, second);
	/* retain alone leaves it pending */
	quietly(&m, STREAMS("  - {name: speed, from: {measurement: traffic, field: speed}, by: [site, sensor], window: 1m, retain: 9d}\n"));
	ck_assert_uint_eq(m.stream_count, 4);
	nth(&m, 3, "speed", STREAM_PENDING);
	map_clear(&m);
}
END_TEST

START_TEST(back_before_the_cut_is_no_change_of_version)
{
	struct cluster_map m = first(STREAMS(SPEED));
	quietly(&m, STREAMS(SPEED_BY));
	struct map_changes told = change(&m, STREAMS(SPEED_SAME));
	ck_told(&told, 0, MAP_CHANGED, "stream", "speed", "the version that is in force stays");
	map_changes_clear(&told);
	ck_assert_uint_eq(m.stream_count, 2);
	ck_assert_str_eq(nth(&m, 0, "speed", STREAM_CURRENT)->definition, "");
	nth(&m, 1, "speed", STREAM_RETIRED);
	struct topology *t = topology_of(&m, NULL);
	ck_assert_int_eq(t->streams[0].lateness_ns, 7 * NS_PER_SEC);
	topology_free(t);
	map_clear(&m);
}
END_TEST

START_TEST(back_after_the_cut_is_a_third_version)
{
	struct cluster_map m = first(STREAMS(SPEED));
	uint32_t a = m.streams[0].version;
	quietly(&m, STREAMS(SPEED_BY));
	ck_assert_int_eq(map_cut(&m, "speed", m.streams[1].version, 600 * NS_PER_SEC), 0);
	quietly(&m, STREAMS(SPEED));
	ck_assert_uint_eq(m.stream_count, 3);
	nth(&m, 0, "speed", STREAM_CLOSING);
	nth(&m, 1, "speed", STREAM_CURRENT);
	const struct map_stream *third = nth(&m, 2, "speed", STREAM_PENDING);
	ck_assert_uint_eq(third->fingerprint, a);
	ck_assert_uint_eq(third->version, a + 1);
	ck_assert_int_eq(map_cut(&m, "speed", a + 1, 900 * NS_PER_SEC), 0);
	ck_assert_int_eq(m.streams[0].answers_until_ns, 600 * NS_PER_SEC);
	ck_assert_int_eq(m.streams[1].answers_until_ns, 900 * NS_PER_SEC);
	ck_assert_int_eq(m.streams[2].from_ns, 900 * NS_PER_SEC);
	nth(&m, 1, "speed", STREAM_CLOSING);
	/* cut before the one before it began: that one answers nothing, and the first only up to there */
	quietly(&m, STREAMS(SPEED_BY));
	ck_assert_int_eq(map_cut(&m, "speed", m.streams[3].version, 300 * NS_PER_SEC), 0);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(m.streams[i].answers_until_ns, 300 * NS_PER_SEC);
	map_clear(&m);
}
END_TEST

#define SPEED_BY_2M "  - {name: speed, from: {measurement: traffic, field: speed}, by: [site, sensor], window: {size: 3m, every: 2m}}\n"

/* What lies between the cut and the first new window after it would be in no window that is answered. */
START_TEST(windows_that_do_not_fit_the_cut_make_a_version)
{
	for (int minute = 3; minute <= 4; minute++) {
		struct cluster_map m = first(STREAMS(SPEED));
		quietly(&m, STREAMS(SPEED_BY));
		ck_assert_int_eq(map_cut(&m, "speed", m.streams[1].version, minute * 60 * NS_PER_SEC), 0);
		quietly(&m, STREAMS(SPEED_BY_2M));
		ck_assert_uint_eq(m.stream_count, minute == 3 ? 3 : 2);
		if (minute == 3) {
			ck_assert_uint_eq(nth(&m, 2, "speed", STREAM_PENDING)->fingerprint, m.streams[1].fingerprint);
			quietly(&m, STREAMS(SPEED_BY)); /* taken back before the cut */
			nth(&m, 2, "speed", STREAM_RETIRED);
		}
		nth(&m, 1, "speed", STREAM_CURRENT);
		ck_assert_uint_eq(m.stream_count, minute == 3 ? 3 : 2);
		map_clear(&m);
	}
	struct cluster_map m = first(STREAMS(SPEED_BY)); /* from the beginning on all fit */
	quietly(&m, STREAMS(SPEED_BY_2M));
	ck_assert_uint_eq(m.stream_count, 1);
	map_clear(&m);
}
END_TEST

START_TEST(a_stream_is_removed_and_comes_back)
{
	struct cluster_map m = first(STREAMS(SPEED LOAD));
	uint32_t a = m.streams[0].version;
	struct map_changes told = change(&m, STREAMS(LOAD));
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_REMOVED, "stream", "speed", "");
	map_changes_clear(&told);
	ck_assert_str_ne(nth(&m, 0, "speed", STREAM_ENDED)->definition, "");
	ck_assert_int_eq(m.streams[0].answers_until_ns, INT64_MAX);
	ck_assert_int_eq(map_retire(&m, "speed", a), 0);
	/* the same again: it goes on where that one ends */
	told = change(&m, STREAMS(SPEED LOAD));
	ck_assert_uint_eq(told.count, 1);
	ck_told(&told, 0, MAP_ADDED, "stream", "speed", "follows");
	map_changes_clear(&told);
	nth(&m, 0, "speed", STREAM_RETIRED);
	ck_assert_uint_eq(nth(&m, 1, "speed", STREAM_PENDING)->version, a + 1);
	/* removed while pending, and another one */
	quietly(&m, STREAMS(LOAD));
	ck_assert_int_eq(nth(&m, 1, "speed", STREAM_RETIRED)->answers_until_ns, INT64_MIN);
	quietly(&m, STREAMS(SPEED_BY LOAD));
	nth(&m, 2, "speed", STREAM_PENDING);
	ck_assert_int_eq(map_cut(&m, "speed", m.streams[2].version, 60 * NS_PER_SEC), 0);
	ck_assert_int_eq(nth(&m, 0, "speed", STREAM_RETIRED)->answers_until_ns, 60 * NS_PER_SEC);
	ck_assert_int_eq(nth(&m, 2, "speed", STREAM_CURRENT)->from_ns, 60 * NS_PER_SEC);
	map_clear(&m);
}
END_TEST

START_TEST(a_stream_that_is_removed_ends_all_its_versions)
{
	struct cluster_map m = first(STREAMS(SPEED));
	quietly(&m, STREAMS(SPEED_BY));
	ck_assert_int_eq(map_cut(&m, "speed", m.streams[1].version, 600 * NS_PER_SEC), 0);
	quietly(&m, STREAMS(SPEED_5S));
	quietly(&m, STREAMS(LOAD));
	nth(&m, 0, "speed", STREAM_ENDED);
	nth(&m, 1, "speed", STREAM_ENDED);
	nth(&m, 2, "speed", STREAM_RETIRED);
	nth(&m, 3, "load", STREAM_CURRENT);
	map_clear(&m);
}
END_TEST

START_TEST(a_new_stream_is_current_at_once)
{
	struct cluster_map m = first(STREAMS(SPEED));
	quietly(&m, STREAMS(SPEED LOAD));
	ck_assert_int_eq(nth(&m, 1, "load", STREAM_CURRENT)->from_ns, INT64_MIN);
	map_clear(&m);
}
END_TEST

START_TEST(versions_of_all_streams_are_bounded)
{
	struct cluster_map m = first(STREAMS(SPEED)), next;
	struct map_changes told;
	m.streams = xrealloc(m.streams, MAP_STREAMS_MAX * sizeof(*m.streams));
	for (uint32_t i = (uint32_t)m.stream_count; i < MAP_STREAMS_MAX; i++) { /* of streams that were removed */
		m.streams[i] = m.streams[0];
		m.streams[i].phase = STREAM_RETIRED;
		m.streams[i].definition = xstrdup("was");
		m.streams[i].name = xcalloc(1, 16);
		snprintf(m.streams[i].name, 16, "gone%u", i);
	}
	m.stream_count = MAP_STREAMS_MAX;
	ck_assert_int_eq(change_err(&m, STREAMS(SPEED LOAD), &next, &told), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(told.all[0].text, "no room for more"));
	map_changes_clear(&told);
	map_clear(&m);
}
END_TEST

START_TEST(the_oldest_retired_version_makes_room)
{
	struct cluster_map m = first(STREAMS(SPEED));
	uint32_t a = m.streams[0].version;
	for (int i = 1; i < MAP_VERSIONS_MAX; i++) {
		quietly(&m, i % 2 ? STREAMS(SPEED_BY) : STREAMS(SPEED));
		ck_assert_int_eq(map_cut(&m, "speed", m.streams[i].version, i * 60 * NS_PER_SEC), 0);
	}
	ck_assert_uint_eq(m.stream_count, MAP_VERSIONS_MAX);
	struct cluster_map next;
	struct map_changes told;
	ck_assert_int_eq(change_err(&m, STREAMS(SPEED), &next, &told), WEIR_EINVAL); /* all of them are closing */
	ck_assert_ptr_nonnull(strstr(told.all[0].text, "once one has ended"));
	map_changes_clear(&told);
	ck_assert_int_eq(map_retire(&m, "speed", m.streams[3].version), 0);
	ck_assert_int_eq(map_retire(&m, "speed", a), 0);
	ck_assert_int_eq(change_err(&m, STREAMS(SPEED), &next, &told), 0);
	ck_assert_int_eq(told.all[0].kind, MAP_REMOVED); /* not without a word */
	ck_assert_ptr_nonnull(strstr(told.all[0].text, "oldest retired version goes"));
	map_changes_clear(&told);
	map_clear(&m);
	m = next;
	ck_assert_uint_eq(m.stream_count, MAP_VERSIONS_MAX);
	ck_assert_uint_ne(m.streams[0].version, a);
	nth(&m, 2, "speed", STREAM_RETIRED);
	map_clear(&m);
}
END_TEST

START_TEST(a_definition_that_could_not_be_kept_is_refused)
{
	struct buf text = {0};
	buf_printf(&text, "%s", STREAMS("  - {name: speed, from: {measurement: a, field: b}, window: 1m, by: ["));
	for (int i = 0; i < BY_MAX; i++) {
		buf_printf(&text, "\"%02d", i);
		for (int j = 0; j < 60; j++)
			buf_printf(&text, "\\U0001F600"); /* 4 bytes there, 10 here */
		buf_printf(&text, "\", ");
	}
	text.len -= 2;
	buf_printf(&text, "]}\n");
	struct cluster_map m = first(STREAMS(LOAD)), next;
	struct map_changes told;
	struct buf errors = {0};
	int err = map_change(&m, buf_cstr(&text), text.len, &next, &told, &errors);
	ck_assert_uint_eq(errors.len, 0);
	ck_told(&told, 1, MAP_REFUSED, "stream", "speed", "longer than");
	ck_assert_int_eq(err, WEIR_EINVAL);
	map_changes_clear(&told);
	buf_free(&errors);
	buf_free(&text);
	map_clear(&m);
}
END_TEST

/* ---- boundaries ------------------------------------------------------------------------------------------- */

static struct stream_conf grid(int64_t size_s, int64_t every_s, int64_t offset_s, int64_t slice_s)
{
	return (struct stream_conf){.size_ns = size_s * NS_PER_SEC, .advance_ns = every_s * NS_PER_SEC,
	    .offset_ns = offset_s * NS_PER_SEC, .slice_ns = slice_s * NS_PER_SEC};
}

static int64_t boundary_s(struct stream_conf a, struct stream_conf b, int64_t t_s)
{
	int64_t t = map_boundary(&a, &b, t_s * NS_PER_SEC);
	ck_assert_int_eq(t % NS_PER_SEC, 0);
	ck_assert_int_eq(time_floor(t, b.advance_ns, b.offset_ns), t); /* or what is before its first window would be nobody's */
	return t / NS_PER_SEC;
}

START_TEST(boundaries_are_on_both_grids)
{
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(60, 60, 0, 60), 61), 120);
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(60, 60, 0, 60), 120), 120);
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(60, 60, 0, 60), -61), -60);
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(90, 90, 0, 90), 1), 180);
	ck_assert_int_eq(boundary_s(grid(60, 60, 30, 30), grid(90, 90, 30, 30), 31), 210);
	/* by the remainders alone: k = 10 modulo 60, k = 25 modulo 45 */
	int64_t t = boundary_s(grid(60, 60, 10, 10), grid(45, 45, 25, 5), 0);
	ck_assert_int_eq(t % 60, 10);
	ck_assert_int_eq(t % 45, 25);
	ck_assert_int_lt(t, 180);
	ck_assert_int_eq(boundary_s(grid(45, 45, 25, 5), grid(60, 60, 10, 10), 0), t);
	/* offsets that never meet: the next one's */
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(60, 60, 30, 30), 61), 90);
	ck_assert_int_eq(boundary_s(grid(60, 60, 30, 30), grid(60, 60, 0, 60), 61), 120);
	ck_assert_int_eq(boundary_s(grid(60, 60, 20, 20), grid(30, 30, 0, 30), 61), 90);
	/* too far apart: the slices', where that is a boundary of the next one */
	ck_assert_int_eq(boundary_s(grid(7000, 7000, 0, 7000), grid(60, 60, 0, 60), 1), 21000);
	ck_assert_int_eq(boundary_s(grid(60, 60, 0, 60), grid(7000, 7000, 0, 7000), 1), 21000);
	ck_assert_int_eq(boundary_s(grid(7200, 7200, 0, 7200), grid(18000, 7200, 3600, 3600), 1), 3600);
	ck_assert_int_eq(boundary_s(grid(7200, 7200, 0, 7200), grid(18000, 5400, 0, 1800), 1), 5400);
	struct stream_conf a = {.advance_ns = TIME_MAX_NS / 8 - 1, .slice_ns = TIME_MAX_NS / 8 - 1};
	struct stream_conf b = {.advance_ns = TIME_MAX_NS / 8 - 2, .slice_ns = TIME_MAX_NS / 8 - 2};
	ck_assert_int_eq(map_boundary(&a, &b, 1), TIME_MAX_NS / 8 - 2); /* no overflow */
	(void)map_boundary(&a, &b, INT64_MAX);
	(void)map_boundary(&a, &b, INT64_MIN);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("map");
	TCase *c = tcase_create("bytes");
	tcase_add_test(c, a_first_map_is_what_the_file_says);
	tcase_add_test(c, a_map_is_the_same_from_its_bytes_and_as_a_copy);
	tcase_add_test(c, packed_bytes_of_the_text_are_kept);
	tcase_add_test(c, bytes_cut_short_or_with_more_behind_are_no_map);
	tcase_add_test(c, no_flipped_bit_is_more_than_an_error);
	tcase_add_test(c, what_does_not_fit_together_is_no_map);
	tcase_add_test(c, a_map_over_its_limit_is_not_encoded);
	suite_add_tcase(s, c);
	c = tcase_create("topology");
	tcase_add_test(c, the_first_topology_is_the_files);
	tcase_add_test(c, clouds_are_at_their_slots);
	tcase_add_test(c, edges_keep_their_indexes);
	tcase_add_test(c, a_revocation_outlives_the_edge_until_it_is_allowed);
	tcase_add_test(c, there_is_a_limit_of_revoked_edges);
	tcase_add_test(c, every_version_of_a_stream_is_there);
	tcase_add_test(c, a_map_whose_text_does_not_fit_it_gives_no_topology);
	suite_add_tcase(s, c);
	c = tcase_create("definitions");
	tcase_add_test(c, definitions_read_back_as_they_were);
	tcase_add_test(c, a_definition_does_without_edges_that_are_gone);
	suite_add_tcase(s, c);
	c = tcase_create("changes");
	tcase_add_test(c, an_equal_text_changes_nothing);
	tcase_add_test(c, what_is_no_topology_is_no_change);
	tcase_add_test(c, what_cannot_be_changed_is_refused);
	tcase_add_test(c, the_cluster_s_times_and_replicas_change);
	tcase_add_test(c, nodes_come_leave_and_stay_after_all);
	tcase_add_test(c, edges_come_and_go);
	suite_add_tcase(s, c);
	c = tcase_create("versions");
	tcase_add_test(c, changes_that_need_no_version);
	tcase_add_test(c, a_version_is_cut_over_and_retired);
	tcase_add_test(c, a_sliding_window_that_spans_the_cut_is_the_old_one_s);
	tcase_add_test(c, without_readings_a_version_takes_over_everything);
	tcase_add_test(c, a_pending_version_that_changes_again_is_replaced);
	tcase_add_test(c, back_before_the_cut_is_no_change_of_version);
	tcase_add_test(c, back_after_the_cut_is_a_third_version);
	tcase_add_test(c, windows_that_do_not_fit_the_cut_make_a_version);
	tcase_add_test(c, a_stream_is_removed_and_comes_back);
	tcase_add_test(c, a_stream_that_is_removed_ends_all_its_versions);
	tcase_add_test(c, a_new_stream_is_current_at_once);
	tcase_add_test(c, versions_of_all_streams_are_bounded);
	tcase_add_test(c, the_oldest_retired_version_makes_room);
	tcase_add_test(c, a_definition_that_could_not_be_kept_is_refused);
	tcase_add_test(c, boundaries_are_on_both_grids);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
