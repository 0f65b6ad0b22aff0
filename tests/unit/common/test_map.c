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
	m.version = 77;
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
	ck_assert_int_eq(back.nodes[1].state, CLOUD_DEAD);
	ck_assert_str_eq(back.nodes[2].name, "");
	ck_assert_uint_eq(back.streams[1].version, 4711);
	ck_assert_int_eq(back.streams[1].from_ns, -60 * NS_PER_SEC);
	ck_assert_int_eq(back.streams[1].until_ns, 3660 * NS_PER_SEC);
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
	m.streams[0].phase = STREAM_CLOSING; /* without a definition */
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = first(two);
	m.streams[0].version = 0;
	ck_assert_int_eq(decoded(&m), WEIR_ECORRUPT);
	m = rich();
	m.streams[1].version = m.streams[0].version;
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
	tcase_add_test(c, every_version_of_a_stream_is_there);
	tcase_add_test(c, a_map_whose_text_does_not_fit_it_gives_no_topology);
	suite_add_tcase(s, c);
	c = tcase_create("definitions");
	tcase_add_test(c, definitions_read_back_as_they_were);
	tcase_add_test(c, a_definition_does_without_edges_that_are_gone);
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
