/* One edge whose topology changes again and again at random moments, with crashes: what the cloud has merged of each version of
 * each stream must be what an oracle says, which knows nothing but the rules of common/map.h: which versions there were when a
 * reading was accepted, and since when. A seed replays exactly; WEIR_SEED runs that one alone. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

#define SEEDS 15
#define STEPS 700
#define LINES_MAX 4000
#define SOURCES 2
#define TOPOLOGIES_MAX 200
#define LATE_S 20

struct reading {
	unsigned source;
	int64_t t_s;
	unsigned sensor;
	size_t topology; /* that it was accepted under */
};

struct since {
	const char *name;
	uint32_t version;
	int64_t ns;
};

struct history { /* one topology that was gone by */
	struct topology *t;
	struct since since[MAP_VERSIONS_MAX * 2];
	size_t since_count;
};

struct world {
	struct rig *r;
	uint64_t random;
	int64_t clock_s;
	struct reading given[SOURCES][LINES_MAX]; /* what each source has to give, or gave */
	size_t given_count[SOURCES];
	struct reading log[SOURCES * LINES_MAX];  /* accepted, in order */
	size_t log_count;
	struct cluster_map map;
	struct history history[TOPOLOGIES_MAX];
	size_t topology_count;
	unsigned adopted, crashes, cuts;
};

static uint64_t next(struct world *w)
{
	w->random += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t x = w->random;
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static unsigned below(struct world *w, unsigned n)
{
	return (unsigned)(next(w) % n);
}

static int64_t ns_of(int64_t second)
{
	return rig_base_ns() + second * NS_PER_SEC;
}

/* ---- the oracle ------------------------------------------------------------------------------------------------ */

static bool is_fed(const struct stream_conf *c)
{
	return c->phase == STREAM_CURRENT || c->phase == STREAM_PENDING || c->phase == STREAM_CLOSING;
}

static const struct since *since_of(const struct history *h, const char *name, uint32_t version)
{
	for (size_t i = 0; i < h->since_count; i++)
		if (h->since[i].version == version && !strcmp(h->since[i].name, name))
			return &h->since[i];
	return NULL;
}

static int64_t highest_ns(const struct world *w)
{
	int64_t high = WATERMARK_NONE;
	for (size_t i = 0; i < w->log_count; i++)
		if (ns_of(w->log[i].t_s) > high)
			high = ns_of(w->log[i].t_s);
	return high;
}

/* The version before it in the map that was ever in force. */
static const struct stream_conf *before_of(const struct topology *t, size_t stream)
{
	for (size_t i = stream; i-- > 0;)
		if (!strcmp(t->streams[i].name, t->streams[stream].name) && t->streams[i].phase != STREAM_ENDED)
			return &t->streams[i];
	return &t->streams[stream];
}

static void note_topology(struct world *w, struct topology *t)
{
	ck_assert_uint_lt(w->topology_count, TOPOLOGIES_MAX);
	struct history *h = &w->history[w->topology_count++], *was = w->topology_count > 1 ? h - 1 : NULL;
	*h = (struct history){.t = t};
	int64_t high = highest_ns(w);
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *c = &t->streams[i];
		const struct since *known = was ? since_of(was, c->name, c->version) : NULL;
		if (!is_fed(c))
			continue;
		ck_assert_uint_lt(h->since_count, MAP_VERSIONS_MAX * 2);
		h->since[h->since_count++] = (struct since){c->name, c->version,
		    known ? known->ns : high == WATERMARK_NONE ? WATERMARK_NONE : map_boundary(before_of(t, i), c, high + 1)};
	}
}

/* Whether a reading went into a version. */
static bool went_into(const struct world *w, const struct reading *e, const char *name, uint32_t version)
{
	const struct history *h = &w->history[e->topology];
	int stream = topology_stream_version_of(h->t, name, version);
	int64_t t_ns = ns_of(e->t_s);
	if (stream < 0 || !is_fed(&h->t->streams[stream]))
		return false;
	const struct stream_conf *c = &h->t->streams[stream];
	if (c->phase == STREAM_PENDING)
		return t_ns >= since_of(h, name, version)->ns;
	return t_ns >= c->from_ns && (c->phase != STREAM_CLOSING || t_ns < c->until_ns);
}

/* ---- what the cloud decides ------------------------------------------------------------------------------------ */

static void yaml_of(struct world *w, bool extra, struct buf *out)
{
	static const char *const windows[] = {"10s", "30s", "1m", "{size: 1m, every: 20s}", "{size: 40s, every: 10s}"};
	buf_printf(out, "%s", CLUSTER EDGE(BIG));
	buf_printf(out, "  - {name: load, from: {measurement: load, field: v}, by: [%s], window: %s, lateness: %us, compute: [count]}\n",
	    below(w, 2) ? "sensor" : "", windows[below(w, 5)], LATE_S + below(w, 20));
	if (extra)
		buf_printf(out, "  - {name: extra, from: {measurement: load, field: v}, by: [], window: %s, lateness: 5s, compute: [count]}\n",
		    windows[below(w, 3)]);
}

static const struct map_stream *in_phase(const struct cluster_map *m, enum stream_phase phase)
{
	for (size_t i = 0; i < m->stream_count; i++)
		if (m->streams[i].phase == phase)
			return &m->streams[i];
	return NULL;
}

static struct topology *topology_of(const struct cluster_map *m)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	ck_assert_msg(map_topology(m, "rig.yaml", NULL, &t, &errors) == 0, "%s", buf_cstr(&errors));
	buf_free(&errors);
	return t;
}

static void change_text(struct world *w)
{
	struct buf text = {0}, errors = {0};
	struct cluster_map changed = {0};
	struct map_changes changes = {0};
	yaml_of(w, below(w, 2), &text);
	ck_assert_msg(map_change(&w->map, (const char *)text.data, text.len, &changed, &changes, &errors) == 0, "%s",
	    buf_cstr(&errors));
	map_clear(&w->map);
	w->map = changed;
	map_changes_clear(&changes);
	buf_free(&text);
	buf_free(&errors);
}

/* At or above what this edge has said, where it has; else it is taken for partitioned. */
static void cut_pending(struct world *w, const struct map_stream *v)
{
	const struct history *h = &w->history[w->topology_count - 1];
	struct topology *t = topology_of(&w->map);
	int at = topology_stream_version_of(t, v->name, v->version);
	const struct since *s = since_of(h, v->name, v->version);
	int64_t t_ns = s ? s->ns : ns_of(w->clock_s - (int64_t)below(w, 100));
	if (t_ns != WATERMARK_NONE)
		t_ns = map_boundary(before_of(t, (size_t)at), &t->streams[at], t_ns + below(w, 60) * NS_PER_SEC);
	char *name = xstrdup(v->name);
	ck_assert_int_eq(map_cut(&w->map, name, v->version, t_ns), 0);
	free(name);
	topology_free(t);
	w->cuts++;
}

/* As the meta group does: once the edge's committed watermark has passed its end. */
static bool has_closed(const struct world *w, const struct map_stream *v)
{
	const struct msg_report_stream *s = rig_report_of(w->r, v->name, v->version);
	return v->phase == STREAM_ENDED || (v->phase == STREAM_CLOSING && s && s->watermark_ns >= v->until_ns);
}

static void retire_closed(struct world *w)
{
	for (size_t i = 0; i < w->map.stream_count; i++) {
		const struct map_stream *v = &w->map.streams[i];
		if (!has_closed(w, v))
			continue;
		char *name = xstrdup(v->name);
		ck_assert_int_eq(map_retire(&w->map, name, v->version), 0);
		free(name);
		return;
	}
}

static void change_map(struct world *w)
{
	const struct map_stream *pending = in_phase(&w->map, STREAM_PENDING);
	switch (below(w, 4)) {
	case 0:
		change_text(w);
		break;
	case 1:
		retire_closed(w);
		break;
	default:
		if (pending)
			cut_pending(w, pending);
		break;
	}
}

/* ---- the edge -------------------------------------------------------------------------------------------------- */

static void restart(struct world *w)
{
	struct rig *r = w->r;
	struct buf raw = {0};
	struct cluster_map map = {0};
	rig_crash(r);
	w->crashes++;
	ck_assert_int_eq(pipeline_peek_map(r->kv, &raw), 0);
	ck_assert_int_eq(map_decode(bytes_of(raw.data, raw.len), &map), 0);
	while (w->history[w->topology_count - 1].t->map_version > map.version)
		topology_free(w->history[--w->topology_count].t);
	ck_assert_uint_eq(w->history[w->topology_count - 1].t->map_version, map.version);
	map_clear(&map);
	buf_free(&raw);
	r->topology = w->history[w->topology_count - 1].t;
	ck_assert_int_eq(rig_open(r), 0);
	/* what was not committed will be given again */
	size_t seen[SOURCES] = {0}, kept = 0;
	while (kept < w->log_count && seen[w->log[kept].source] < r->position[w->log[kept].source])
		seen[w->log[kept++].source]++;
	for (unsigned s = 0; s < SOURCES; s++)
		ck_assert_uint_eq(seen[s], r->position[s]);
	w->log_count = kept;
	struct pipeline_ledger l = rig_ledger(r);
	ck_assert_uint_eq(l.accepted, kept);
	ck_assert_uint_eq(l.dropped, rig_ledger(r).matched - l.aggregated);
}

static void give(struct world *w, unsigned source)
{
	struct rig *r = w->r;
	size_t at = r->position[source];
	if (at == LINES_MAX)
		return;
	if (at == w->given_count[source]) {
		w->clock_s += below(w, 4);
		w->given[source][w->given_count[source]++] =
		    (struct reading){.source = source, .t_s = w->clock_s - (below(w, 5) ? 0 : below(w, LATE_S)), .sensor = below(w, 4)};
	}
	struct reading e = w->given[source][at];
	char text[64];
	snprintf(text, sizeof(text), "load,sensor=s%u v=1 %%lld\n", e.sensor);
	rig_line_at(r, source, text, e.t_s);
	ck_assert_uint_eq(r->position[source], at + 1);
	e.topology = w->topology_count - 1;
	w->log[w->log_count++] = e;
}

static void adopt(struct world *w)
{
	struct buf raw = {0};
	if (w->map.version == w->r->topology->map_version)
		return;
	ck_assert_int_eq(map_encode(&w->map, &raw), 0);
	struct topology *t = topology_of(&w->map);
	int rc = rig_adopt(w->r, t, bytes_of(raw.data, raw.len));
	buf_free(&raw);
	if (rc == WEIR_EFULL || rc == WEIR_EBUSY)
		return;
	note_topology(w, rc ? topology_of(&w->map) : t); /* where it failed it may be on the disk all the same */
	w->adopted++;
	if (rc)
		restart(w);
}

static void check_since(struct world *w)
{
	const struct history *h = &w->history[w->topology_count - 1];
	for (size_t i = 0; i < w->r->cloud.report_count; i++) {
		const struct msg_report_stream *s = &w->r->cloud.report[i];
		const struct since *expected = since_of(h, s->name, s->version);
		ck_assert(s->since_known == (expected != NULL));
		ck_assert(!expected || s->since_ns == expected->ns);
	}
}

static void step(struct world *w)
{
	struct rig *r = w->r;
	unsigned dice = below(w, 100);
	if (dice < 70) {
		for (unsigned n = 1 + below(w, 6); n; n--)
			give(w, below(w, SOURCES));
	} else if (dice < 84) {
		if (rig_tick(r, 100 + below(w, 2000)) < 0)
			restart(w);
		else
			check_since(w);
	} else if (dice < 90) {
		change_map(w);
	} else if (dice < 96) {
		adopt(w);
	} else if (dice < 98) {
		restart(w);
	} else {
		r->fail_commit = below(w, 3);
		r->fail_with = WEIR_EIO;
		r->fail_reached = below(w, 2);
	}
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static int stream_of(const struct world *w, const char *name, uint32_t version)
{
	for (size_t i = w->topology_count; i-- > 0;) {
		int at = topology_stream_version_of(w->history[i].t, name, version);
		if (at >= 0 && w->history[i].t->streams[at].slice_ns)
			return (int)i;
	}
	return -1;
}

static void check_row(const struct world *w, const struct rig_row *row)
{
	int h = stream_of(w, row->stream, row->version);
	ck_assert_int_ge(h, 0);
	const struct topology *t = w->history[h].t;
	const struct stream_conf *c = &t->streams[topology_stream_version_of(t, row->stream, row->version)];
	uint64_t expected = 0;
	for (size_t i = 0; i < w->log_count; i++) {
		const struct reading *e = &w->log[i];
		bool same_group = !c->by_count || row->group[2] == '0' + e->sensor;
		if (same_group && time_floor(ns_of(e->t_s), c->slice_ns, c->offset_ns) == row->slice_ns &&
		    went_into(w, e, row->stream, row->version))
			expected++;
	}
	ck_assert_msg(row->count == expected, "%s %u slice %lld: %llu, not %llu", row->stream, row->version,
	    (long long)(row->slice_ns - rig_base_ns()) / NS_PER_SEC, (unsigned long long)row->count, (unsigned long long)expected);
}

static uint64_t check_rows(const struct world *w)
{
	uint64_t merged = 0, expected = 0;
	for (size_t i = 0; i < w->r->cloud.row_count; i++) {
		check_row(w, &w->r->cloud.rows[i]);
		merged += w->r->cloud.rows[i].count;
	}
	for (size_t i = 0; i < w->log_count; i++) {
		const struct history *h = &w->history[w->log[i].topology];
		for (size_t k = 0; k < h->t->stream_count; k++)
			expected += went_into(w, &w->log[i], h->t->streams[k].name, h->t->streams[k].version);
	}
	ck_assert_uint_eq(merged, expected);
	return merged;
}

/* Every window that a version answers, and is said to be whole here, has all readings of its time. */
static size_t check_answers(const struct world *w)
{
	const struct history *last = &w->history[w->topology_count - 1];
	size_t checked = 0;
	for (size_t k = 0; k < last->t->stream_count; k++) {
		const struct stream_conf *c = &last->t->streams[k];
		const struct since *s = NULL;
		for (size_t i = w->topology_count; i-- > 0 && !s;)
			s = since_of(&w->history[i], c->name, c->version);
		if (strcmp(c->name, "load") || c->phase == STREAM_PENDING || !s)
			continue;
		int64_t from = ns_of(-100);
		from = c->from_ns > from ? c->from_ns : from;
		from = s->ns > from ? s->ns : from;
		for (int64_t start = time_floor(from + c->advance_ns - 1, c->advance_ns, c->offset_ns);
		     start < c->answers_until_ns && start < ns_of(w->clock_s); start += c->advance_ns) {
			uint64_t all = 0, in = 0;
			for (size_t i = 0; i < w->log_count; i++) {
				int64_t t_ns = ns_of(w->log[i].t_s);
				if (t_ns < start || t_ns >= start + c->size_ns)
					continue;
				all++;
				in += went_into(w, &w->log[i], "load", c->version);
			}
			ck_assert_msg(all == in, "load %u window %lld: %llu of %llu", c->version,
			    (long long)(start - rig_base_ns()) / NS_PER_SEC, (unsigned long long)in, (unsigned long long)all);
			checked++;
		}
	}
	return checked;
}

static struct world *world_new(uint64_t seed)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct buf text = {0}, raw = {0};
	w->random = seed;
	yaml_of(w, true, &text);
	buf_u8(&text, 0);
	w->r = rig_new((const char *)text.data);
	map_first(w->r->topology, (const char *)text.data, text.len - 1, &w->map);
	ck_assert_int_eq(map_encode(&w->map, &raw), 0);
	struct topology *t = topology_of(&w->map);
	note_topology(w, t);
	ck_assert_int_eq(rig_adopt(w->r, t, bytes_of(raw.data, raw.len)), 0);
	w->r->keeps_topologies = true;
	buf_free(&text);
	buf_free(&raw);
	return w;
}

static void world_free(struct world *w)
{
	w->r->topology = NULL;
	rig_free(w->r);
	for (size_t i = 0; i < w->topology_count; i++)
		topology_free(w->history[i].t);
	map_clear(&w->map);
	free(w);
}

static unsigned totals[5];

static void run(uint64_t seed)
{
	struct world *w = world_new(seed);
	for (int i = 0; i < STEPS; i++)
		step(w);
	w->r->fail_commit = -1;
	for (unsigned s = 0; s < SOURCES; s++)
		pipeline_source_finished(w->r->p, s, true);
	rig_drain(w->r);
	totals[3] += (unsigned)check_rows(w);
	totals[4] += (unsigned)check_answers(w);
	totals[0] += w->adopted;
	totals[1] += w->crashes;
	totals[2] += w->cuts;
	world_free(w);
}

START_TEST(each_version_has_what_it_should)
{
	const char *seed = getenv("WEIR_SEED"), *seeds = getenv("WEIR_SEEDS");
	uint64_t n = seeds ? strtoull(seeds, NULL, 10) : SEEDS;
	if (seed) {
		run(strtoull(seed, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= n; i++) {
		fprintf(stderr, "seed %llu\n", (unsigned long long)i); /* the last one is the one that fails */
		run(i);
	}
	printf("%u adoptions, %u crashes, %u cuts, %u readings merged, %u windows whole\n", totals[0], totals[1], totals[2], totals[3],
	    totals[4]);
	ck_assert_uint_gt(totals[0], 10 * n);
	ck_assert_uint_gt(totals[2], n);
	ck_assert_uint_gt(totals[4], 10 * n);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/adopt_random");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, each_version_has_what_it_should);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
