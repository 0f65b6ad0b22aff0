#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"

/* The example of the documentation, word for word. */
static const char example[] =
	"version: 1\n"
	"cluster:\n"
	"  name: plant\n"
	"  shards: 8                  # fixed at creation\n"
	"  replicas: 3\n"
	"  security: none             # only when every address is loopback; else {keys: DIR}\n"
	"  partitioned_after: 1m      # an edge unheard this long is partitioned\n"
	"  replace_after: 10m         # a node dead this long has its replicas rebuilt elsewhere\n"
	"cloud:\n"
	"  - {name: cloud-1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: run/cloud-1}\n"
	"  - {name: cloud-2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: run/cloud-2}\n"
	"  - {name: cloud-3, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\", data: run/cloud-3}\n"
	"edges:\n"
	"  - name: edge-1\n"
	"    data: run/edge-1\n"
	"    http: \"127.0.0.1:8201\"   # optional: local API, Influx-style writes\n"
	"    tags: {site: north}      # added to every reading\n"
	"    sources:\n"
	"      - {type: tcp, listen: \"127.0.0.1:7201\"}                     # line protocol\n"
	"      - {type: file, path: readings.lp, follow: true}\n"
	"      - {type: simulate, sensors: 20, every: 100ms}\n"
	"    heartbeat: 1s\n"
	"    idle_after: 30s\n"
	"    flush: 1m                # partials of an open slice leave at the latest after this\n"
	"    max_ahead: 10m           # readings further in the future are refused\n"
	"    limits: {memory: 64MiB, disk: 1GiB}\n"
	"streams:\n"
	"  - name: speed\n"
	"    from: {measurement: traffic, field: speed, where: {sensor: \"6*\"}}\n"
	"    steps:\n"
	"      - range: {min: 0, max: 200}\n"
	"      - scale: {by: 1.609344}\n"
	"    by: [site, sensor]\n"
	"    window: 1m               # or {size: 5m, every: 1m}; offset: 6h; {session: 30s} is refused by --check until built\n"
	"    lateness: 30s\n"
	"    compute: [count, sum, mean, min, max, stddev, first, last, p50, p95, p99]   # distinct(TAG)\n"
	"    retain: 30d              # behind the stream's watermark, not the wall clock; or forever\n"
	"    rollup: [{every: 1h, retain: 1y}]    # optional coarser levels that outlive retain\n"
	"    edges: [edge-1]          # optional: who is expected; default all\n"
	"    max_groups: 100000\n";

#define TEN "abcdefghij"
#define LONG_NAME TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static struct topology *parse_at(const char *path, const char *text)
{
	struct topology *t = NULL;
	struct buf b = {0};
	int err = topology_parse(path, text, strlen(text), &t, &b);
	ck_assert_msg(!err, "%s", buf_cstr(&b));
	ck_assert_uint_eq(b.len, 0);
	buf_free(&b);
	return t;
}

START_TEST(the_documented_example_parses)
{
	struct topology *t = parse_at("/etc/weir/topology.yaml", example);
	ck_assert_str_eq(t->path, "/etc/weir/topology.yaml");
	ck_assert_str_eq(t->cluster, "plant");
	ck_assert_uint_eq(t->shards, 8);
	ck_assert_uint_eq(t->replicas, 3);
	ck_assert_ptr_null(t->keys_dir);
	ck_assert_int_eq(t->partitioned_after_ns, 60 * NS_PER_SEC);
	ck_assert_int_eq(t->replace_after_ns, 600 * NS_PER_SEC);
	ck_assert_uint_eq(t->cloud_count, 3);
	ck_assert_str_eq(t->clouds[1].listen, "tcp://127.0.0.1:7102");
	ck_assert_str_eq(t->clouds[1].http, "127.0.0.1:8102");
	ck_assert_str_eq(t->clouds[1].data, "/etc/weir/run/cloud-2");

	const struct edge_conf *e = &t->edges[0];
	ck_assert_uint_eq(t->edge_count, 1);
	ck_assert_str_eq(e->data, "/etc/weir/run/edge-1");
	ck_assert_str_eq(e->http, "127.0.0.1:8201");
	ck_assert_uint_eq(e->tag_count, 1);
	ck_assert_str_eq(e->tags[0].value, "north");
	ck_assert_uint_eq(e->source_count, 4);
	ck_assert_int_eq(e->sources[0].type, SOURCE_TCP);
	ck_assert_str_eq(e->sources[0].name, "tcp-1");
	ck_assert_str_eq(e->sources[0].listen, "127.0.0.1:7201");
	ck_assert_int_eq(e->sources[1].type, SOURCE_FILE);
	ck_assert_str_eq(e->sources[1].name, "file-1");
	ck_assert_str_eq(e->sources[1].path, "/etc/weir/readings.lp");
	ck_assert(e->sources[1].follow);
	ck_assert_int_eq(e->sources[2].type, SOURCE_SIMULATE);
	ck_assert_uint_eq(e->sources[2].sensors, 20);
	ck_assert_int_eq(e->sources[2].every_ns, 100 * NS_PER_MS);
	ck_assert_str_eq(e->sources[2].measurement, "sensors");
	ck_assert(e->sources[2].start_ns == INT64_MIN);
	ck_assert_int_eq(e->sources[3].type, SOURCE_HTTP); /* the edge's own address */
	ck_assert_str_eq(e->sources[3].name, "http");
	ck_assert_ptr_null(e->sources[3].listen);
	ck_assert_int_eq(e->max_ahead_ns, 600 * NS_PER_SEC);
	ck_assert_uint_eq(e->memory_bytes, 64 << 20);
	ck_assert_uint_eq(e->disk_bytes, 1 << 30);

	const struct stream_conf *s = &t->streams[0];
	ck_assert_uint_eq(t->stream_count, 1);
	ck_assert_str_eq(s->measurement, "traffic");
	ck_assert_str_eq(s->field, "speed");
	ck_assert_uint_eq(s->where_count, 1);
	ck_assert_str_eq(s->where[0].pattern, "6*");
	ck_assert_uint_eq(s->step_count, 2);
	ck_assert_int_eq(s->steps[0].type, STEP_RANGE);
	ck_assert(s->steps[0].min == 0 && s->steps[0].max == 200);
	ck_assert_int_eq(s->steps[1].type, STEP_SCALE);
	ck_assert(s->steps[1].by == 1.609344 && s->steps[1].add == 0);
	ck_assert_uint_eq(s->by_count, 2);
	ck_assert_str_eq(s->by[1], "sensor");
	ck_assert(s->size_ns == 60 * NS_PER_SEC && s->advance_ns == s->size_ns && s->slice_ns == s->size_ns);
	ck_assert_int_eq(s->offset_ns, 0);
	ck_assert_int_eq(s->lateness_ns, 30 * NS_PER_SEC);
	ck_assert_uint_eq(s->compute_count, 11);
	ck_assert_str_eq(s->compute[10].text, "p99");
	ck_assert_int_eq(s->retain_ns, 30 * 86400 * NS_PER_SEC);
	ck_assert_uint_eq(s->rollup_count, 1);
	ck_assert_int_eq(s->rollups[0].every_ns, 3600 * NS_PER_SEC);
	ck_assert_int_eq(s->rollups[0].retain_ns, 365 * 86400 * NS_PER_SEC);
	ck_assert_uint_eq(s->edge_count, 1);
	ck_assert(stream_expects(s, 0));
	ck_assert_uint_eq(s->max_groups, 100000);
	ck_assert_uint_ne(s->version, 0);
	topology_free(t);
}
END_TEST

#define HEAD "version: 1\ncluster: {name: c}\ncloud: [{name: a, listen: \"tcp://127.0.0.1:1\", http: \"127.0.0.1:2\"}]\n"

START_TEST(what_is_left_out_has_its_default)
{
	struct topology *t = parse_at("topology.yaml", HEAD
	    "edges:\n"
	    "  - name: z\n"
	    "  - {name: e, sources: [{type: stdin}, {type: simulate}, {type: simulate, name: s}, {type: simulate}]}\n"
	    "streams:\n"
	    "  - {name: s, from: {measurement: \"*\", field: v}, window: 10s}\n");
	ck_assert_uint_eq(t->shards, 8);
	ck_assert_uint_eq(t->replicas, 1);
	ck_assert_str_eq(t->clouds[0].data, "run/a");
	ck_assert_str_eq(t->edges[0].data, "run/z");
	ck_assert_ptr_null(t->edges[0].http);
	ck_assert_uint_eq(t->edges[0].source_count, 0);
	ck_assert_int_eq(t->edges[0].heartbeat_ns, NS_PER_SEC);
	ck_assert_int_eq(t->edges[0].idle_after_ns, 30 * NS_PER_SEC);
	ck_assert_int_eq(t->edges[0].flush_ns, 60 * NS_PER_SEC);
	ck_assert_int_eq(t->edges[0].max_ahead_ns, 600 * NS_PER_SEC);
	ck_assert_int_eq(t->edges[0].tick_ns, NS_PER_SEC);
	ck_assert_str_eq(t->edges[1].sources[0].name, "stdin-1");
	ck_assert_str_eq(t->edges[1].sources[1].name, "simulate-1");
	ck_assert_str_eq(t->edges[1].sources[2].name, "s");
	ck_assert_str_eq(t->edges[1].sources[3].name, "simulate-3");
	ck_assert_uint_eq(t->edges[1].sources[3].line, 6);
	ck_assert_uint_eq(t->edges[1].sources[3].socket.mode, 0660);
	ck_assert_int_eq(topology_edge(t, "e"), 1);
	ck_assert_int_eq(topology_edge(t, "z"), 0);
	const struct stream_conf *s = &t->streams[0];
	ck_assert_uint_eq(s->by_count, 0);
	ck_assert_uint_eq(s->compute_count, 5);
	ck_assert_str_eq(s->compute[4].text, "max");
	ck_assert_int_eq(s->lateness_ns, 30 * NS_PER_SEC);
	ck_assert_int_eq(s->retain_ns, 30 * 86400 * NS_PER_SEC);
	ck_assert_uint_eq(s->max_groups, 100000);
	ck_assert_uint_eq(s->edge_count, 2);
	ck_assert(stream_expects(s, 0) && stream_expects(s, 1));
	topology_free(t);
}
END_TEST

static struct topology *parse_stream(const char *stream)
{
	char text[4096];
	snprintf(text, sizeof(text), HEAD "edges: [{name: e1}, {name: e2}, {name: e3}]\nstreams:\n"
	    "  - {name: s, from: {measurement: m, field: v}, %s}\n", stream);
	return parse_at("t", text);
}

START_TEST(windows_steps_and_functions_are_understood)
{
	struct topology *t = parse_stream("window: {size: 5m, every: 1m, offset: 30s}, lateness: 0s, retain: forever");
	const struct stream_conf *s = &t->streams[0];
	ck_assert_int_eq(s->size_ns, 300 * NS_PER_SEC);
	ck_assert_int_eq(s->advance_ns, 60 * NS_PER_SEC);
	ck_assert_int_eq(s->offset_ns, 30 * NS_PER_SEC);
	ck_assert_int_eq(s->slice_ns, 30 * NS_PER_SEC);
	ck_assert_int_eq(s->lateness_ns, 0);
	ck_assert(s->retain_ns == RETAIN_FOREVER);
	topology_free(t);

	t = parse_stream("window: 1d, offset: 6h, rollup: [{every: 3d, retain: 90d}, {every: 30d, retain: forever}]");
	ck_assert_int_eq(t->streams[0].slice_ns, 6 * 3600 * NS_PER_SEC);
	ck_assert(t->streams[0].rollups[1].retain_ns == RETAIN_FOREVER);
	topology_free(t);

	t = parse_stream("window: 1s, edges: [e3, e1], compute: [p99.9, distinct(a), distinct(b), distinct(c)],"
			 "steps: [{where: {b: x, a: \"\"}}, {dedupe: {}}, {rate: {per: 1m, max_series: 5}},"
			 "{range: {max: 3}}, {dedupe: {depth: 3}}, {scale: {add: 1}}]");
	s = &t->streams[0];
	ck_assert_uint_eq(s->edge_count, 2);
	ck_assert(s->edges[0] == 0 && s->edges[1] == 2);
	ck_assert_uint_eq(s->distinct_count, 3);
	ck_assert_str_eq(s->distinct[2], "c");
	ck_assert_uint_eq(s->step_count, 6);
	ck_assert_int_eq(s->steps[0].type, STEP_WHERE);
	ck_assert_str_eq(s->steps[0].where[0].tag, "a");
	ck_assert_str_eq(s->steps[0].where[0].pattern, "");
	ck_assert_int_eq(s->steps[1].type, STEP_DEDUPE);
	ck_assert_uint_eq(s->steps[1].depth, 64);
	ck_assert_uint_eq(s->steps[1].max_series, 100000);
	ck_assert_int_eq(s->steps[2].type, STEP_RATE);
	ck_assert_int_eq(s->steps[2].per_ns, 60 * NS_PER_SEC);
	ck_assert_uint_eq(s->steps[2].max_series, 5);
	ck_assert(isinf(s->steps[3].min) && s->steps[3].max == 3);
	ck_assert_uint_eq(s->steps[4].depth, 3);
	ck_assert(s->steps[5].by == 1 && s->steps[5].add == 1);
	topology_free(t);
}
END_TEST

static uint32_t version_of(const char *stream)
{
	struct topology *t = parse_stream(stream);
	uint32_t v = t->streams[0].version;
	topology_free(t);
	return v;
}

/* Batches on the way and records on disk carry the number: the first one must never change. */
START_TEST(a_stream_version_follows_what_partials_hold)
{
	uint32_t v = version_of("window: 1m, by: [a, b]");
	ck_assert_uint_eq(v, 1696125639);
	static const char *const same[] = {
		"window: 1m, by: [a, b], lateness: 5m", "window: 1m, by: [a, b], retain: forever",
		"window: 1m, by: [a, b], compute: [max, sum]", "window: 1m, by: [a, b], compute: [mean, min, count]",
		"window: 1m, by: [a, b], max_groups: 5", "window: 1m, by: [a, b], edges: [e1]",
		"window: {size: 5m, every: 1m}, by: [a, b]",
	};
	static const char *const other[] = {
		"window: 1m, by: [b, a]", "window: 1m, by: [a]", "window: 2m, by: [a, b]",
		"window: {size: 5m, every: 1m, offset: 30s}, by: [a, b]", "window: 1m, by: [a, b], compute: [sum]",
		"window: 1m, by: [a, b], compute: [max, sum, p50]", "window: 1m, by: [a, b], compute: [max, sum, stddev]",
		"window: 1m, by: [a, b], compute: [max, sum, last]", "window: 1m, by: [a, b], compute: [max, sum, distinct(a)]",
		"window: 1m, by: [a, b], compute: [max, sum, distinct(b)]", "window: 1m, by: [a, b], steps: [{range: {min: 0}}]",
		"window: 1m, by: [a, b], steps: [{range: {max: 0}}]", "window: 1m, by: [a, b], steps: [{dedupe: {}}]",
		"window: 1m, by: [a, b], steps: [{dedupe: {depth: 1}}]", "window: 1m, by: [a, b], steps: [{scale: {by: 2}}]",
		"window: 1m, by: [a, b], steps: [{scale: {add: 2}}]", "window: 1m, by: [a, b], steps: [{rate: {}}]",
		"window: 1m, by: [a, b], steps: [{rate: {per: 1m}}]", "window: 1m, by: [a, b], steps: [{where: {a: b}}]",
	};
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		ck_assert_msg(version_of(same[i]) == v, "%s", same[i]);
	uint32_t seen[32] = {v};
	size_t n = 1;
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		seen[n++] = version_of(other[i]);
		for (size_t j = 0; j + 1 < n; j++)
			ck_assert_msg(seen[j] != seen[n - 1], "%s", other[i]);
	}
	ck_assert_uint_eq(version_of("window: 1m, by: [a], steps: [{where: {a: x, b: y}}]"),
	    version_of("window: 1m, by: [a], steps: [{where: {b: y, a: x}}]"));
}
END_TEST

static void expect(const char *text, const char *errors)
{
	struct topology *t = NULL;
	struct buf b = {0};
	ck_assert_int_eq(topology_parse("f", text, strlen(text), &t, &b), WEIR_EINVAL);
	ck_assert_ptr_null(t);
	ck_assert_str_eq(buf_cstr(&b), errors);
	buf_free(&b);
}

START_TEST(wrong_streams_are_told)
{
	static const struct {
		const char *line, *errors; /* the line is the sixth of the file */
	} cases[] = {
		{"- {name: s, from: {measurement: m, field: v}, windw: 1m}",
		    "f:6:49: streams[0].windw: unknown key; did you mean `window`?\n"},
		{"- {name: s, from: {measurement: m, field: v}}", "f:6:5: streams[0]: `window` is missing\n"},
		{"- {name: s, window: 1m, from: {}}",
		    "f:6:33: streams[0].from: `measurement` is missing\nf:6:33: streams[0].from: `field` is missing\n"},
		{"- {window: {session: 30s}, name: s, from: {measurement: m, field: v}}",
		    "f:6:15: streams[0].window.session: session windows are not built yet\n"},
		{"- {window: {size: 1m, every: 2m}, name: s, from: {measurement: m, field: v}}",
		    "f:6:32: streams[0].window.every: 2m is longer than the window (1m): readings between windows would be "
		    "lost\n"},
		{"- {window: 1m, offset: 1m, name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].offset: must be shorter than the step from window to window (1m)\n"},
		{"- {window: {size: 2m, offset: 1m}, offset: 1m, name: s, from: {measurement: m, field: v}}",
		    "f:6:38: streams[0].offset: given twice: the window has an offset, too\n"},
		{"- {window: {size: 1h, every: 1s}, name: s, from: {measurement: m, field: v}}",
		    "f:6:14: streams[0].window: a window of 1h has 3600 slices of 1s (what size, every and offset have in "
		    "common); at most 1000\n"},
		{"- {window: {size: 1500us, every: 1ms}, name: s, from: {measurement: m, field: v}}",
		    "f:6:14: streams[0].window: size, every and offset have only 500us in common; at least 1ms\n"},
		{"- {window: 0s, name: s, from: {measurement: m, field: v}}",
		    "f:6:14: streams[0].window: `0s` is out of range: 1ms to 100y\n"},
		{"- {window: 1m, retain: 80s, name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].retain: retain 80s is less than window and lateness together (90s)\n"},
		{"- {window: 40d, name: s, from: {measurement: m, field: v}}",
		    "f:6:5: streams[0]: retain 30d (the default) is less than window and lateness together (3456030s)\n"},
		{"- {window: 1m, retain: ever, name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].retain: `ever` is not a duration (250ms, 10s, 5m, 2h, 7d)\n"},
		{"- {window: 1m, rollup: [{every: 90s, retain: 1y}], name: s, from: {measurement: m, field: v}}",
		    "f:6:35: streams[0].rollup[0].every: must be a multiple of the finer level's 1m (the stream's slice), and "
		    "longer\n"},
		{"- {window: 1m, rollup: [{every: 1h, retain: 30d}], name: s, from: {measurement: m, field: v}}",
		    "f:6:47: streams[0].rollup[0].retain: must be longer than the finer level's 30d\n"},
		{"- {window: 1m, rollup: [{every: 1h, retain: 1y}, {every: 1h, retain: 1y}], name: s, "
		 "from: {measurement: m, field: v}}",
		    "f:6:60: streams[0].rollup[1].every: must be a multiple of the finer level's 1h (the rollup before), and "
		    "longer\nf:6:72: streams[0].rollup[1].retain: must be longer than the finer level's 1y\n"},
		{"- {window: 1m, retain: forever, rollup: [{every: 1h, retain: 1y}], name: s, "
		 "from: {measurement: m, field: v}}",
		    "f:6:64: streams[0].rollup[0].retain: the finer level is kept forever already\n"},
		{"- {window: 1m, compute: [averge, mean, mean, p101, meen], name: s, from: {measurement: m, field: v}}",
		    "f:6:28: streams[0].compute[0]: no function `averge`: count, sum, mean, min, max, stddev, first, last, p0 "
		    "to p100, distinct(TAG)\n"
		    "f:6:42: streams[0].compute[2]: `mean` is listed twice\n"
		    "f:6:48: streams[0].compute[3]: no function `p101`: count, sum, mean, min, max, stddev, first, last, p0 "
		    "to p100, distinct(TAG)\n"
		    "f:6:54: streams[0].compute[4]: no function `meen`; did you mean `mean`?\n"},
		{"- {window: 1m, compute: [], name: s, from: {measurement: m, field: v}}",
		    "f:6:27: streams[0].compute: 0 functions; expected 1 to 64\n"},
		{"- {window: 1m, compute: [distinct(a), distinct(b), distinct(c), distinct(d), distinct(e), distinct(f), "
		 "distinct(g), distinct(h), distinct(i)], name: s, from: {measurement: m, field: v}}",
		    "f:6:132: streams[0].compute[8]: more than 8 distinct tags\n"},
		{"- {window: 1m, by: [a, b, a], name: s, from: {measurement: m, field: v}}",
		    "f:6:29: streams[0].by[2]: `a` is listed twice\n"},
		{"- {window: 1m, by: site, name: s, from: {measurement: m, field: v}}",
		    "f:6:22: streams[0].by: expected a list, found a single value\n"},
		{"- {window: 1m, edges: [e2, e1, e1], name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].edges[0]: no edge is called `e2`; did you mean `e1`?\n"
		    "f:6:34: streams[0].edges[2]: `e1` is listed twice\n"},
		{"- {window: 1m, edges: [], name: s, from: {measurement: m, field: v}}",
		    "f:6:25: streams[0].edges: nobody would be expected: leave it out to expect every edge\n"},
		{"- {window: 1m, steps: [{rang: {min: 0}}], name: s, from: {measurement: m, field: v}}",
		    "f:6:27: streams[0].steps[0].rang: unknown key; did you mean `range`?\n"},
		{"- {window: 1m, steps: [{range: {min: 0}, scale: {by: 2}}], name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].steps[0]: a step has one key: range, scale, dedupe, rate or where\n"},
		{"- {window: 1m, steps: [{range: {min: 2, max: 1}}], name: s, from: {measurement: m, field: v}}",
		    "f:6:34: streams[0].steps[0].range: min is above max: nothing would pass\n"},
		{"- {window: 1m, steps: [{range: {}}, {scale: {by: 0}}, {where: {}}, dedupe], name: s, "
		 "from: {measurement: m, field: v}}",
		    "f:6:34: streams[0].steps[0].range: expected min, max or both\n"
		    "f:6:52: streams[0].steps[1].scale.by: 0 would make every value the same\n"
		    "f:6:65: streams[0].steps[2].where: expected 1 to 16 tags, each with a pattern\n"
		    "f:6:70: streams[0].steps[3]: expected a map, found a single value\n"},
		{"- {window: 1m, steps: [{where: {a: b}, where: {a: c}}], name: s, from: {measurement: m, field: v}}",
		    "f:6:26: streams[0].steps[0]: a step has one key: range, scale, dedupe, rate or where\n"
		    "f:6:42: streams[0].steps[0].where: duplicate key; the first is on line 6\n"},
		{"- {window: 1m, max_groups: 0, name: s, from: {measurement: m, field: v}}",
		    "f:6:30: streams[0].max_groups: `0` is out of range: 1 to 100000000\n"},
		{"- {window: 1m, name: \"a b\", from: {measurement: m, field: v}}",
		    "f:6:24: streams[0].name: `a b` is not a name: only letters, digits and _ . - are allowed\n"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048];
		snprintf(text, sizeof(text), HEAD "edges: [{name: e1}]\nstreams:\n  %s\n", cases[i].line);
		expect(text, cases[i].errors);
	}
}
END_TEST

#define SOURCE_NAMES "tcp, file, stdin, simulate, mqtt, http, udp, unix, statsd, prometheus or exec"

/* What comes by an edge's own HTTP address is a source of it; one of the file may have its name. */
START_TEST(sources_of_http)
{
	struct topology *t = parse_at("topology.yaml", HEAD
	    "edges:\n"
	    "  - {name: e, http: \"127.0.0.1:3\", sources: [{type: http, listen: \"127.0.0.1:4\"}, {type: stdin, name: http}]}\n"
	    "  - {name: f, http: \"127.0.0.1:5\"}\n");
	const struct edge_conf *e = &t->edges[0];
	ck_assert_uint_eq(e->source_count, 3);
	ck_assert_str_eq(e->sources[0].name, "http-1");
	ck_assert_str_eq(e->sources[0].listen, "127.0.0.1:4");
	ck_assert_str_eq(e->sources[0].http.node, "e");
	ck_assert_ptr_null(e->sources[0].http.keys_dir);
	ck_assert_int_eq(e->sources[2].type, SOURCE_HTTP);
	ck_assert_str_eq(e->sources[2].name, "http+");
	ck_assert_ptr_null(e->sources[2].listen);
	ck_assert_uint_eq(t->edges[1].source_count, 1);
	ck_assert_str_eq(t->edges[1].sources[0].name, "http");
	ck_assert(source_conf_same(&t->edges[1].sources[0], &t->edges[1].sources[0]));
	ck_assert(!source_conf_same(&t->edges[1].sources[0], &e->sources[2]));
	topology_free(t);
}
END_TEST

START_TEST(wrong_edges_are_told)
{
	static const struct {
		const char *line, *errors; /* the line is the fifth of the file */
	} cases[] = {
		{"- {nam: e}", "f:5:6: edges[0].nam: unknown key; did you mean `name`?\n"},
		{"- {name: e, sources: [{type: tpc, listen: \"127.0.0.1:9\"}]}",
		    "f:5:32: edges[0].sources[0].type: no source type `tpc`; did you mean `tcp`?\n"},
		{"- {name: e, sources: [{type: nats}]}",
		    "f:5:32: edges[0].sources[0].type: no source type `nats`: " SOURCE_NAMES "\n"},
		{"- {name: e, sources: [{listen: \"127.0.0.1:9\"}]}",
		    "f:5:25: edges[0].sources[0]: `type` is missing: " SOURCE_NAMES "\n"},
		{"- {name: e, sources: [{type: tcp, path: x}, {type: file}]}",
		    "f:5:25: edges[0].sources[0]: `listen` is missing\n"
		    "f:5:37: edges[0].sources[0].path: unknown key\n"
		    "f:5:47: edges[0].sources[1]: `path` is missing\n"},
		{"- {name: e, sources: [{type: stdin}, {type: stdin}]}",
		    "f:5:40: edges[0].sources[1]: a second stdin source; the first is on line 5\n"},
		{"- {name: e, sources: [{type: stdin, name: x}, {type: simulate, name: x}]}",
		    "f:5:72: edges[0].sources[1].name: a second source called `x`; the first is on line 5\n"},
		{"- {name: e, sources: [{type: simulate, late: 1.5, gaps: -1}]}",
		    "f:5:48: edges[0].sources[0].late: `1.5` is out of range: 0 to 1\n"
		    "f:5:59: edges[0].sources[0].gaps: `-1` is out of range: 0 to 1\n"},
		{"- {name: e, sources: [{type: simulate, fast: true}]}",
		    "f:5:48: edges[0].sources[0].fast: needs `start`: a time in the past to begin at\n"
		    "f:5:48: edges[0].sources[0].fast: needs `count`: without an end it would run ahead of the clock\n"},
		{"- {name: e, sources: [{type: simulate, start: yesterday}]}",
		    "f:5:49: edges[0].sources[0].start: `yesterday` is not a time: expected now or 2015-09-01T11:25:00Z\n"},
		{"- {name: e, sources: [{type: prometheus, url: \"127.0.0.1:9\", timeout: 1m}, {type: prometheus}]}",
		    "f:5:49: edges[0].sources[0].url: `127.0.0.1:9` is not a URL such as http://127.0.0.1:9100/metrics: "
		    "expected http://HOST/... or https://HOST/...\n"
		    "f:5:73: edges[0].sources[0].timeout: longer than `every`\n"
		    "f:5:78: edges[0].sources[1]: `url` is missing: http://127.0.0.1:9100/metrics for example\n"},
		{"- {name: e, sources: [{type: prometheus, url: \"http://h:65536/\"}, {type: prometheus, urls: [\"http://h:9/\", \"http://h:9a/\"]}]}",
		    "f:5:49: edges[0].sources[0].url: `http://h:65536/` is not a URL such as http://127.0.0.1:9100/metrics: "
		    "a port is a number from 1 to 65535\n"
		    "f:5:94: edges[0].sources[1].urls: `http://h:9a/` is not a URL such as http://127.0.0.1:9100/metrics: "
		    "a port is a number from 1 to 65535\n"},
		{"- {name: e, sources: [{type: prometheus, url: \"http://u:p@h/\", token_file: t, user: u}]}",
		    "f:5:49: edges[0].sources[0].url: no secrets in here: the user is `user`, the password in `password_file`\n"
		    "f:5:81: edges[0].sources[0].user: needs a `password_file`\n"
		    "f:5:81: edges[0].sources[0].user: either `token_file` or `user`\n"},
		{"- {name: e, sources: [{type: prometheus, urls: [\"http://192.0.2.1/\", \"https://h/\"], token_file: t}]}",
		    "f:5:50: edges[0].sources[0].urls: the secret would travel unencrypted to `http://192.0.2.1/`; use https://\n"},
		{"- {name: e, sources: [{type: prometheus, urls: [\"http://a\", \"http://b\", \"http://c\", \"http://d\", \"http://e\"], body_limit: 16MiB}]}",
		    "f:5:124: edges[0].sources[0].body_limit: too much for 5 URLs: at most 64MiB for all of them\n"},
		{"- {name: e, sources: [{type: prometheus, url: \"http://a\", urls: [\"http://b\"], user: x}]}",
		    "f:5:25: edges[0].sources[0]: either `url` or `urls`\n"
		    "f:5:81: edges[0].sources[0].user: needs a `password_file`\n"},
		{"- {name: e, sources: [{type: exec, restart: {min: 2m}, command: []}, {type: exec}]}",
		    "f:5:47: edges[0].sources[0].restart: `min` is longer than `max`\n"
		    "f:5:67: edges[0].sources[0].command: expected 1 to 256 items, found 0\n"
		    "f:5:72: edges[0].sources[1]: `command` is missing: [PROGRAM, ARGUMENT, ...]\n"},
		{"- {name: e, sources: [{type: exec, command: ls -l}, {type: exec, command: [a b]}]}",
		    "f:5:47: edges[0].sources[0].command: no shell takes it apart: write it as [PROGRAM, ARGUMENT, ...]\n"},
		{"- {name: e, sources: [{type: exec, command: x, timeout: 1s}, {type: exec, command: x, every: 1s, restart: {max: 5s}, env: {1A: b, C: [d]}}]}",
		    "f:5:50: edges[0].sources[0].timeout: goes with `every`: what runs on is not ended\n"
		    "f:5:100: edges[0].sources[1].restart: does not go with `every`: it is run again at the next interval\n"
		    "f:5:126: edges[0].sources[1].env.1A: `1A` is no name of a variable: letters, digits and _\n"
		    "f:5:136: edges[0].sources[1].env.C: expected a text, found a list\n"},
		{"- {name: e, sources: [{type: tcp, listen: \"tcp://127.0.0.1:9\"}]}",
		    "f:5:45: edges[0].sources[0].listen: `tcp://127.0.0.1:9`: expected HOST:PORT, HOST being an IPv4 "
		    "address or localhost\n"},
		{"- {name: e, sources: [{type: mqtt, broker: \"tcp://x\", version: 4, qos: 3, session_expiry: 1h, password_file: p, "
		 "topics: [{filter: a#, format: xml}]}]}",
		    "f:5:46: edges[0].sources[0].broker: `tcp://x`: expected mqtt://HOST:PORT or mqtts://HOST:PORT\n"
		    "f:5:66: edges[0].sources[0].version: `4`: expected 3.1.1 or 5\n"
		    "f:5:74: edges[0].sources[0].qos: `3` is out of range: 0 to 2\n"
		    "f:5:112: edges[0].sources[0].password_file: needs `user`\n"
		    "f:5:133: edges[0].sources[0].topics[0].filter: `a#` is no topic filter: # is a level of its own: site/#\n"
		    "f:5:145: edges[0].sources[0].topics[0].format: `xml`: expected line, json, number or collectd\n"},
		{"- {name: e, sources: [{type: mqtt, broker: \"mqtt://b:1\", version: 3.1.1, session_expiry: 1h, tls: {cert_file: c}, topics: ["
		 "{filter: a/+x, format: json, json: {value: v., tags: {x: y}}}, {filter: \"+/b\", format: line, field: f, json: {}}]}]}",
		    "f:5:92: edges[0].sources[0].session_expiry: is of version 5: with 3.1.1 the broker's configuration says how long\n"
		    "f:5:101: edges[0].sources[0].tls: is for a broker that is reached by mqtts://\n"
		    "f:5:101: edges[0].sources[0].tls: `cert_file` and `key_file` go together\n"
		    "f:5:169: edges[0].sources[0].topics[0].json.value: `v.` is no path into JSON: a key is missing: keys are separated "
		    "by single dots\n"
		    "f:5:179: edges[0].sources[0].topics[0].json.tags: `x` is the tag of a level of the filter already\n"
		    "f:5:198: edges[0].sources[0].topics[1].filter: overlaps `a/+x`: a broker may send what both match twice\n"
		    "f:5:226: edges[0].sources[0].topics[1].field: line protocol has its own fields\n"
		    "f:5:235: edges[0].sources[0].topics[1].json: is for `format: json`\n"},
		{"- {name: e, sources: [{type: mqtt, broker: \"mqtt://b:1\", client_id: x, topics: [{filter: a, format: line}]},\n"
		 "    {type: mqtt, broker: \"mqtt://c:1\", client_id: x, topics: [{filter: a, format: line}]},\n"
		 "    {type: mqtt, broker: \"mqtt://b:1\", client_id: x, topics: [{filter: a, format: line}]}]}",
		    "f:7:51: edges[0].sources[2].client_id: `x` is at that broker already, by the source on line 5\n"},
		{"- {name: e, sources: [{type: udp, listen: \"127.0.0.1:9\", precision: m, buffer: 1KiB}]}",
		    "f:5:71: edges[0].sources[0].precision: `m` is none of ns, us, ms, s\n"
		    "f:5:82: edges[0].sources[0].buffer: `1KiB` is out of range: 4KiB to 1GiB\n"},
		{"- {name: e, sources: [{type: udp, listen: \"127.0.0.1:9\"}, {type: statsd, listen: \"127.0.0.1:9\"}]}",
		    "f:5:84: edges[0].sources[1].listen: `udp 127.0.0.1:9` is taken already, on line 5\n"},
		{"- {name: e, sources: [{type: tcp, listen: \"127.0.0.1:9\"}, {type: statsd, listen: \"127.0.0.1:9\", socket: stream}]}",
		    "f:5:84: edges[0].sources[1].listen: `127.0.0.1:9` is taken already, on line 5\n"},
		{"- {name: e, sources: [{type: unix, path: s, mode: \"0999\", socket: packet}, {type: unix, path: s}]}",
		    "f:5:53: edges[0].sources[0].mode: `0999` is no mode of a file: expected three octal digits, as in \"0660\"\n"
		    "f:5:69: edges[0].sources[0].socket: `packet` is neither stream nor datagram\n"
		    "f:5:97: edges[0].sources[1].path: `s` is taken already, on line 5\n"},
		{"- {name: e, sources: [{type: statsd, mode: \"0600\"}, {type: statsd, listen: \"127.0.0.1:9\", path: s}]}",
		    "f:5:25: edges[0].sources[0]: needs `listen` (HOST:PORT) or `path` (of a unix socket)\n"
		    "f:5:46: edges[0].sources[0].mode: is of a socket's file: it needs `path`\n"
		    "f:5:99: edges[0].sources[1].path: cannot be beside `listen`: make it a source of its own\n"},
		{"- {name: e, sources: [{type: unix, path: /" LONG_NAME "}]}",
		    "f:5:44: edges[0].sources[0].path: a socket's path has 107 bytes at most\n"},
		{"- {name: e, http: \"127.0.0.1:0\"}",
		    "f:5:21: edges[0].http: `127.0.0.1:0`: others must find it, so the port must be 1 to 65535\n"},
		{"- {name: e, http: \"localhost:2\"}", "f:5:21: edges[0].http: `127.0.0.1:2` is taken already, on line 3\n"},
		{"- {name: e, http: \"192.0.2.1:80\"}",
		    "f:5:21: edges[0].http: `192.0.2.1:80` is not a loopback address, and with `security: none` everything stays "
		    "on this machine (127.0.0.1); with `security: {keys: DIR}` it need not (docs/security.md)\n"},
		{"- {name: e, limits: {memory: 64, disk: 1KiB}}",
		    "f:5:32: edges[0].limits.memory: `64` is not a size (512KiB, 64MiB, 1GiB)\n"
		    "f:5:42: edges[0].limits.disk: `1KiB` is out of range: 1MiB to 16TiB\n"},
		{"- {name: e, tags: {site: [north]}}",
		    "f:5:28: edges[0].tags.site: expected a text, found a list\n"},
		{"- {name: e, heartbeat: 1m}",
		    "f:5:26: edges[0].heartbeat: the heartbeat must be shorter than cluster.partitioned_after\n"},
		{"- {name: a}", "f:5:5: edges[0]: `run/a` is a daemon's folder already, on line 3\n"
				"f:5:12: edges[0].name: `a` is the name of a cloud or an edge already, on line 3\n"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048];
		snprintf(text, sizeof(text), HEAD "edges:\n  %s\n", cases[i].line);
		expect(text, cases[i].errors);
	}
}
END_TEST

START_TEST(wrong_clusters_are_told)
{
	expect("{}", "f:1:1: `version` is missing\nf:1:1: `cluster` is missing\nf:1:1: `cloud` is missing\n");
	expect("version: 2\ncluster: {name: c, replicas: 2, shards: 257, security: on}\ncloud:\n"
	       "  - {name: a, listen: \"127.0.0.1:1\", http: \"127.0.0.1\"}\n",
	    "f:1:10: version: version `2` is not known here: this Weir reads version 1\n"
	    "f:2:41: cluster.shards: `257` is out of range: 1 to 256\n"
	    "f:2:56: cluster.security: expected none or {keys: DIR}\n"
	    "f:4:23: cloud[0].listen: `127.0.0.1:1`: expected tcp://HOST:PORT, HOST being an IPv4 address, an IPv6 "
	    "address in brackets, or a name\n"
	    "f:4:44: cloud[0].http: `127.0.0.1`: expected HOST:PORT, HOST being an IPv4 address or localhost\n");
	expect("version: 1\ncluster: {name: c, security: {key: k}}\ncloud:\n"
	       "  - {name: a, listen: \"tcp://h:1\", http: \"127.0.0.1:2\"}\n"
	       "  - {name: b, listen: \"tcp://[::1]:1\", http: \"127.0.0.1:3\"}\n",
	    "f:2:31: cluster.security.key: unknown key; did you mean `keys`?\n"
	    "f:4:23: cloud[0].listen: `tcp://h:1` is not a loopback address, and with `security: none` everything stays on "
	    "this machine (127.0.0.1); with `security: {keys: DIR}` it need not (docs/security.md)\n");
	expect("version: 1\ncluster: {name: c, security: {keys: k}}\ncloud:\n"
	       "  - {name: a, listen: \"tcp://h.example:1\", http: \"192.0.2.1:2\"}\n"
	       "  - {name: b, listen: \"tcp://h.example:1\", http: \"192.0.2.1:2\"}\n"
	       "  - {name: d, listen: \"tcp://1.2.3:1\", http: \"192.0.2.1:2\"}\n"
	       "  - {name: e, listen: \"tcp://[::]:0\", http: \"192.0.2.1:2\"}\n",
	    "f:5:23: cloud[1].listen: `h.example:1` is taken already, on line 4\n"
	    "f:6:23: cloud[2].listen: `tcp://1.2.3:1`: expected tcp://HOST:PORT, HOST being an IPv4 address, an IPv6 address in "
	    "brackets, or a name\n"
	    "f:7:23: cloud[3].listen: `tcp://[::]:0`: others must find it, so the port must be 1 to 65535\n");
	expect("version: 1\ncluster: {name: c}\ncloud: []\n", "f:3:8: cloud: 0 items; at least 1\n");
	expect(HEAD "streams:\n"
	       "  - {name: s, from: {measurement: m, field: v}, window: 1m}\n"
	       "  - {name: s, from: {measurement: m, field: v}, window: 1m}\n",
	    "f:6:12: streams[1].name: `s` is the name of a stream already, on line 5\n");
}
END_TEST

START_TEST(many_edges_load_soon)
{
	struct buf b = {0};
	buf_printf(&b, "%s", HEAD "edges:\n");
	for (int i = 0; i < EDGES_MAX; i++)
		buf_printf(&b, "- {name: edge-%d, sources: [{type: tcp, listen: \"127.0.0.%d:%d\"}]}\n", i, i / 5000 + 2,
		    i % 5000 + 10000);
	struct topology *t = parse_at("f", buf_cstr(&b));
	ck_assert_uint_eq(t->edge_count, EDGES_MAX);
	for (int i = 0; i < EDGES_MAX; i++)
		ck_assert_int_eq(topology_edge(t, t->edges[i].name), i);
	topology_free(t);
	buf_free(&b);
}
END_TEST

START_TEST(a_file_loads)
{
	char path[] = "/tmp/weir-topology-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, example, strlen(example)), (int)strlen(example));
	close(fd);
	struct topology *t = NULL;
	struct buf b = {0};
	ck_assert_int_eq(topology_load(path, &t, &b), 0);
	ck_assert_str_eq(t->clouds[0].data, "/tmp/run/cloud-1");
	topology_free(t);
	unlink(path);
	ck_assert_int_eq(topology_load(path, &t, &b), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), ": cannot open: No such file or directory\n"));
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/topology");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, the_documented_example_parses);
	tcase_add_test(tc, what_is_left_out_has_its_default);
	tcase_add_test(tc, windows_steps_and_functions_are_understood);
	tcase_add_test(tc, a_stream_version_follows_what_partials_hold);
	tcase_add_test(tc, wrong_streams_are_told);
	tcase_add_test(tc, sources_of_http);
	tcase_add_test(tc, wrong_edges_are_told);
	tcase_add_test(tc, wrong_clusters_are_told);
	tcase_add_test(tc, many_edges_load_soon);
	tcase_add_test(tc, a_file_loads);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
