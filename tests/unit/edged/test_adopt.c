/* Going over to another topology: nothing is lost or counted twice, versions begin and end where they say. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

static const int64_t minute = 60 * NS_PER_SEC;

#define LOAD(version, more) \
	"  - {name: load__" #version ", from: {measurement: load, field: v}, lateness: 0s, compute: [count, sum], " more "}\n"
#define BY_S "by: [sensor], window: 1m"
#define TOTAL "by: [], window: 1m"

struct phases {
	size_t count;
	struct {
		uint32_t version;
		enum stream_phase phase;
		int64_t from_s, until_s; /* after rig_base_ns(); 0: not set */
	} all[8];
};

static void set_phases(void *arg, struct topology *t)
{
	const struct phases *p = arg;
	t->map_version = 7;
	for (size_t i = 0; i < t->stream_count; i++) {
		for (size_t k = 0; k < p->count; k++) {
			struct stream_conf *c = &t->streams[i];
			if (c->version != p->all[k].version)
				continue;
			c->phase = p->all[k].phase;
			if (p->all[k].from_s)
				c->from_ns = rig_base_ns() + p->all[k].from_s * NS_PER_SEC;
			if (p->all[k].until_s)
				c->until_ns = c->answers_until_ns = rig_base_ns() + p->all[k].until_s * NS_PER_SEC;
		}
	}
}

static struct rig *new_rig(void)
{
	struct rig *r = rig_new(CLUSTER EDGE(BIG) LOAD(1, BY_S));
	r->topology->streams[0].name[4] = 0;
	r->topology->streams[0].version = 1;
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	rig_ticks(r, 3, 1000);
	return r;
}

static void adopt(struct rig *r, const char *yaml, const struct phases *p)
{
	struct topology *t = rig_versions(yaml, set_phases, (void *)(uintptr_t)p);
	ck_assert_int_eq(rig_adopt(r, t, bytes_of("map", 3)), 0);
}

static void both(struct rig *r, const char *text, int64_t second)
{
	rig_line_at(r, 0, text, second);
	rig_line_at(r, 1, text, second);
}

static uint64_t count_of(const struct rig *r, uint32_t version, int64_t second, const char *group)
{
	const struct rig_row *row = rig_row_of(r, "load", version, rig_base_ns() + second * NS_PER_SEC, group);
	return row ? row->count : 0;
}

static uint64_t total_of(const struct rig *r, uint32_t version)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < r->cloud.row_count; i++)
		sum += r->cloud.rows[i].version == version ? r->cloud.rows[i].count : 0;
	return sum;
}

static int64_t since_of(struct rig *r, const char *stream, uint32_t version)
{
	rig_ticks(r, 2, 1000);
	const struct msg_report_stream *s = rig_report_of(r, stream, version);
	ck_assert_ptr_nonnull(s);
	ck_assert(s->since_known);
	return s->since_ns == WATERMARK_NONE ? -1 : (s->since_ns - rig_base_ns()) / NS_PER_SEC;
}

#define ONE_TWO CLUSTER EDGE(BIG) LOAD(1, BY_S) LOAD(2, "by: [site, sensor], window: 1m")
static const struct phases pending = {2, {{1, STREAM_CURRENT, 0, 0}, {2, STREAM_PENDING, 0, 0}}};
static const struct phases cut = {2, {{1, STREAM_CLOSING, 0, 120}, {2, STREAM_CURRENT, 120, 0}}};

START_TEST(versions_run_side_by_side_from_the_boundary_on)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 30);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	uint64_t connects = r->connects, hellos = r->cloud.hellos, epoch = r->cloud.epoch;
	adopt(r, ONE_TWO, &pending);
	ck_assert_int_eq(since_of(r, "load", 1), -1);
	ck_assert_int_eq(since_of(r, "load", 2), 120);
	both(r, "load,sensor=a v=1 %lld\n", 100); /* the first one's only */
	both(r, "load,sensor=a v=1 %lld\n", 119);
	both(r, "load,sensor=a v=1 %lld\n", 120); /* both */
	both(r, "load,sensor=b v=1 %lld\n", 179);
	rig_tick(r, 1000);
	adopt(r, ONE_TWO, &cut);
	ck_assert_int_eq(since_of(r, "load", 2), 120);
	both(r, "load,sensor=a v=1 %lld\n", 110); /* late: still the first one's */
	both(r, "load,sensor=b v=1 %lld\n", 125); /* only the second one's: the first has nothing to answer there */
	both(r, "load,sensor=b v=1 %lld\n", 190);
	rig_ticks(r, 3, 1000);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(count_of(r, 1, 0, "a"), 2);
	ck_assert_uint_eq(count_of(r, 1, 60, "a"), 7);
	ck_assert_uint_eq(count_of(r, 1, 120, "a"), 2);
	ck_assert_uint_eq(count_of(r, 1, 120, "b"), 2);
	ck_assert_uint_eq(total_of(r, 1), 13);
	ck_assert_uint_eq(total_of(r, 2), 8);
	/* the same connection, hello and epoch all the while; numbers go on */
	ck_assert_uint_eq(r->connects, connects);
	ck_assert_uint_eq(r->cloud.hellos, hellos);
	ck_assert_uint_eq(r->cloud.epoch, epoch);
	ck_assert_uint_eq(r->cloud.duplicates, 0);
	ck_assert_uint_eq(rig_ledger(r).matched, 21);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	ck_assert(rig_metric(r, "weir_edge_map_version") == 7);
	ck_assert(rig_metric(r, "weir_edge_maps_adopted_total") == 2);
	rig_free(r);
}
END_TEST

START_TEST(an_edge_without_readings_is_complete_from_the_start)
{
	struct rig *r = new_rig();
	adopt(r, ONE_TWO, &pending);
	ck_assert_int_eq(since_of(r, "load", 2), -1);
	both(r, "load,sensor=a v=1 %lld\n", -4000);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(total_of(r, 1), 2);
	ck_assert_uint_eq(total_of(r, 2), 2);
	rig_free(r);
}
END_TEST

START_TEST(an_edge_that_learns_after_the_cut_says_since_when)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 200);
	rig_tick(r, 1000);
	adopt(r, ONE_TWO, &cut);
	ck_assert_int_eq(since_of(r, "load", 2), 240);
	both(r, "load,sensor=a v=1 %lld\n", 90);  /* before the cut */
	both(r, "load,sensor=a v=1 %lld\n", 210); /* nobody else answers for it */
	both(r, "load,sensor=a v=1 %lld\n", 250);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(total_of(r, 1), 4);
	ck_assert_uint_eq(count_of(r, 1, 60, "a"), 2);
	ck_assert_uint_eq(count_of(r, 1, 180, "a"), 2);
	ck_assert_uint_eq(total_of(r, 2), 4);
	/* kept through a crash */
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_int_eq(since_of(r, "load", 2), 240);
	rig_free(r);
}
END_TEST

START_TEST(a_stream_that_is_new_takes_all_and_says_since_when_it_is_whole)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	static const struct phases all = {0};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S) "  - {name: other__5, from: {measurement: load, field: v}, by: [], window: 5m, lateness: 0s, compute: [count]}\n", &all);
	ck_assert_int_eq(since_of(r, "other", 5), 300);
	ck_assert_int_eq(since_of(r, "load", 1), -1);
	both(r, "load,sensor=a v=1 %lld\n", 10);
	both(r, "load,sensor=a v=1 %lld\n", 80);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "other"), 4);
	ck_assert_uint_eq(rig_merged(r, "load"), 6);
	rig_free(r);
}
END_TEST

START_TEST(a_closing_version_ends_as_an_idle_edge_does)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	adopt(r, ONE_TWO, &pending);
	adopt(r, ONE_TWO, &cut);
	both(r, "load,sensor=a v=1 %lld\n", 110);
	rig_ticks(r, 3, 1000);
	ck_assert_int_eq(rig_report_of(r, "load", 1)->phase, PHASE_LIVE);
	both(r, "load,sensor=a v=1 %lld\n", 130);
	rig_ticks(r, 4, 1000);
	/* its last window has ended, and is in the cloud */
	const struct msg_report_stream *s = rig_report_of(r, "load", 1);
	ck_assert_int_eq(s->phase, PHASE_IDLE);
	ck_assert(s->flushed_end_ns == rig_base_ns() + 2 * minute);
	ck_assert(!s->unsent);
	ck_assert_int_eq(rig_report_of(r, "load", 2)->phase, PHASE_LIVE);
	/* retired: told no more, and late readings for it are counted */
	static const struct phases retired = {2, {{1, STREAM_RETIRED, 0, 120}, {2, STREAM_CURRENT, 120, 0}}};
	adopt(r, ONE_TWO, &retired);
	both(r, "load,sensor=a v=1 %lld\n", 100);
	rig_ticks(r, 3, 1000);
	ck_assert_ptr_null(rig_report_of(r, "load", 1));
	ck_assert(rig_metric(r, "weir_edge_stream_dropped_total{stream=\"load\",reason=\"no_version\"}") == 2);
	rig_free(r);
}
END_TEST

START_TEST(a_removed_stream_is_flushed_and_told_as_idle)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 0);
	static const struct phases ended = {1, {{1, STREAM_ENDED, 0, 0}}};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S), &ended);
	both(r, "load,sensor=a v=1 %lld\n", 75);
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	ck_assert_int_eq(rig_report_of(r, "load", 1)->phase, PHASE_IDLE);
	ck_assert(rig_report_of(r, "load", 1)->flushed_end_ns == rig_base_ns() + 2 * minute);
	ck_assert(!rig_report_of(r, "load", 1)->since_known);
	ck_assert_uint_eq(rig_ledger(r).unmatched, 2);
	/* back under the same definition: it begins anew, above what it missed */
	static const struct phases back = {0};
	adopt(r, CLUSTER EDGE(BIG) SPEED, &back);
	both(r, "load,sensor=a v=1 %lld\n", 130);
	rig_ticks(r, 2, 1000);
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S), &back);
	ck_assert_int_eq(since_of(r, "load", 1), 180);
	rig_free(r);
}
END_TEST

static int64_t ended_since(struct rig *r, const char *stream, uint32_t version)
{
	rig_ticks(r, 2, 1000);
	const struct msg_report_stream *s = rig_report_of(r, stream, version);
	ck_assert_ptr_nonnull(s);
	ck_assert(!s->since_known);
	return s->since_ns == WATERMARK_NONE ? -1 : (s->since_ns - rig_base_ns()) / NS_PER_SEC;
}

/* An edge may not have come to report between the beginning of a stream and its end, and may even hear of both at once. The windows
 * before that lack what it read meanwhile. */
START_TEST(of_a_removed_stream_too_an_edge_says_since_when_it_had_it)
{
	struct rig *r = new_rig();
	static const struct phases all = {0};
	static const struct phases ended = {1, {{1, STREAM_ENDED, 0, 0}}};
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	adopt(r, CLUSTER EDGE(BIG) SPEED LOAD(1, BY_S), &ended);
	ck_assert_int_eq(ended_since(r, "load", 1), -1); /* it was there from the start */
	adopt(r, CLUSTER EDGE(BIG) SPEED, &all);
	/* never fed here */
	adopt(r, CLUSTER EDGE(BIG) SPEED LOAD(1, BY_S), &ended);
	ck_assert_int_eq(ended_since(r, "load", 1), 120);
	both(r, "speed,sensor=a v=1 %lld\n", 250);
	rig_ticks(r, 2, 1000);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_int_eq(ended_since(r, "load", 1), 120); /* what is read now is in no window of it any more */
	adopt(r, CLUSTER EDGE(BIG) SPEED, &all);
	/* fed for a while */
	adopt(r, CLUSTER EDGE(BIG) SPEED LOAD(1, BY_S), &all);
	both(r, "load,sensor=a v=1 %lld\n", 370);
	rig_tick(r, 1000);
	adopt(r, CLUSTER EDGE(BIG) SPEED LOAD(1, BY_S), &ended);
	ck_assert_int_eq(ended_since(r, "load", 1), 300);
	rig_free(r);
}
END_TEST

#define RATE(version, by) \
	"  - {name: load__" #version ", from: {measurement: load, field: v}, lateness: 0s, compute: [count, sum], by: " by \
	", window: 1m, steps: [{rate: {per: 1s}}]}\n"

START_TEST(steps_of_a_version_that_begins_later_know_what_came_before)
{
	struct rig *r = new_rig();
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 70);
	rig_tick(r, 1000);
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S) RATE(2, "[]"), &pending);
	rig_line_at(r, 0, "load,sensor=a v=100 %lld\n", 110);
	rig_line_at(r, 0, "load,sensor=a v=120 %lld\n", 120); /* 2 a second, since the one before the boundary */
	rig_tick(r, 1000);
	rig_crash(r); /* what they know is in the spool */
	ck_assert_int_eq(rig_open(r), 0);
	rig_line_at(r, 0, "load,sensor=a v=150 %lld\n", 130);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(total_of(r, 2), 2);
	for (size_t i = 0; i < r->cloud.row_count; i++)
		ck_assert(r->cloud.rows[i].version != 2 || r->cloud.rows[i].sum == 5);
	ck_assert_uint_eq(rig_ledger(r).dropped, 0);
	rig_free(r);
}
END_TEST

START_TEST(states_of_steps_go_with_their_version)
{
	struct rig *r = new_rig();
	enum { SERIES = 25000 };
	static const struct phases all = {0};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S) RATE(2, "[]"), &all);
	for (int i = 0; i < SERIES; i++) {
		char text[64];
		snprintf(text, sizeof(text), "load,sensor=s%d v=1 %%lld\n", i);
		rig_line_at(r, 0, text, 70);
	}
	rig_tick(r, 1000);
	ck_assert_uint_eq(rig_records(r, SPOOL_STEP), SERIES);
	static const struct phases retired = {1, {{2, STREAM_RETIRED, 0, 0}}};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S) RATE(2, "[]") RATE(3, "[room]"), &retired);
	for (int i = 0; i < 3; i++) {
		rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 71 + i);
		rig_tick(r, 1000);
	}
	ck_assert_uint_eq(rig_records(r, SPOOL_STEP), 1);
	ck_assert(rig_metric(r, "weir_edge_spool_damaged_records") == 0);
	rig_free(r);
}
END_TEST

START_TEST(what_is_known_of_sources_goes_on)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 10);
	pipeline_source_finished(r->p, 1, true);
	rig_tick(r, 1000);
	adopt(r, ONE_TWO, &pending);
	ck_assert_uint_eq(r->position[0], 1);
	/* the finished one does not hold event time back, and the other one's is known */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 61);
	rig_ticks(r, 3, 1000);
	ck_assert_uint_eq(count_of(r, 1, 0, "a"), 2);
	ck_assert(rig_report_of(r, "load", 1)->watermark_ns == rig_base_ns() + minute);
	rig_free(r);
}
END_TEST

#define THREE_SOURCES \
	"  - name: edge-1\n    data: e1\n    tags: {site: south}\n    idle_after: 30s\n    flush: 1m\n    limits: " BIG "\n" \
	"    sources:\n" \
	"      - {type: tcp, name: new, listen: \"127.0.0.1:7203\"}\n" \
	"      - {type: tcp, name: tcp-2, listen: \"127.0.0.1:7202\"}\n" \
	"streams:\n"

START_TEST(sources_come_and_go_and_tags_change)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 10);
	both(r, "load,sensor=a v=1 %lld\n", 11);
	rig_tick(r, 1000);
	static const struct phases all = {0};
	static const char by_site[] = CLUSTER EDGE(BIG) LOAD(1, BY_S) LOAD(3, "by: [site], window: 2m");
	adopt(r, by_site, &all);
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 15);
	adopt(r, CLUSTER THREE_SOURCES LOAD(1, BY_S) LOAD(3, "by: [site], window: 2m"), &all);
	ck_assert_uint_eq(r->position[0], 0); /* new */
	ck_assert_uint_eq(r->position[1], 2); /* tcp-2, under another number */
	rig_line_at(r, 0, "load,sensor=a v=1 %lld\n", 20);
	rig_tick(r, 1000);
	/* the one that went comes back to its position */
	adopt(r, by_site, &all);
	struct bytes mark = pipeline_source_mark(r->p, 0);
	struct rd rd = rd_init(mark.p, mark.n);
	ck_assert_uint_eq(rd_varint(&rd), 3);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(count_of(r, 3, 0, "north"), 1);
	ck_assert_uint_eq(count_of(r, 3, 0, "south"), 1);
	rig_free(r);
}
END_TEST

static void check_map(struct rig *r, const char *expected)
{
	struct buf map = {0};
	int rc = pipeline_peek_map(r->kv, &map);
	ck_assert_int_eq(rc, expected ? 0 : WEIR_ENOTFOUND);
	ck_assert_str_eq(buf_cstr(&map), expected ? expected : "");
	buf_free(&map);
}

START_TEST(a_full_disk_lets_it_wait)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	r->disk_full = true;
	ck_assert_int_eq(rig_adopt(r, rig_versions(ONE_TWO, set_phases, (void *)(uintptr_t)&pending), bytes_of("map", 3)), WEIR_EFULL);
	rig_ticks(r, 2, 1000);
	check_map(r, NULL);
	ck_assert(r->paused);
	r->disk_full = false;
	adopt(r, ONE_TWO, &pending);
	check_map(r, "map");
	rig_ticks(r, 2, 1000);
	ck_assert(!r->paused);
	both(r, "load,sensor=a v=1 %lld\n", 130);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(total_of(r, 1), 4);
	ck_assert_uint_eq(total_of(r, 2), 2);
	rig_free(r);
}
END_TEST

START_TEST(a_crash_in_its_commit_leaves_one_or_the_other)
{
	for (int reached = 0; reached < 2; reached++) {
		struct rig *r = new_rig();
		both(r, "load,sensor=a v=1 %lld\n", 70);
		r->fail_commit = 0;
		r->fail_with = WEIR_EIO;
		r->fail_reached = reached;
		struct topology *t = rig_versions(ONE_TWO, set_phases, (void *)(uintptr_t)&pending);
		ck_assert_int_eq(rig_adopt(r, t, bytes_of("map", 3)), WEIR_EIO);
		rig_crash(r);
		check_map(r, reached ? "map" : NULL);
		if (reached) {
			topology_free(r->topology);
			r->topology = rig_versions(ONE_TWO, set_phases, (void *)(uintptr_t)&pending);
		}
		ck_assert_int_eq(rig_open(r), 0);
		ck_assert(r->position[0] == (uint64_t)reached);
		if (reached)
			ck_assert_int_eq(since_of(r, "load", 2), 120);
		rig_free(r);
	}
}
END_TEST

START_TEST(the_map_is_asked_for_and_offered_once)
{
	struct rig *r = new_rig();
	struct bytes map;
	static const uint8_t bytes[] = "the map";
	ck_assert(!pipeline_map_offered(r->p, &map));
	ck_assert_uint_eq(r->cloud.map_asked, 0);
	r->cloud.map_told = 6;
	rig_ticks(r, 2, 1000); /* the cloud tells of one, but does not have it to give */
	ck_assert_uint_eq(r->cloud.map_asked, 1);
	r->cloud.map = bytes;
	r->cloud.map_len = sizeof(bytes);
	rig_ticks(r, 6, 1000);
	ck_assert_uint_eq(r->cloud.map_asked, 2);
	ck_assert(pipeline_map_offered(r->p, &map));
	ck_assert(map.n == sizeof(bytes) && memcmp(map.p, bytes, map.n) == 0);
	/* of no use: counted, asked for again, later and later */
	pipeline_map_refused(r->p, rig_now(r));
	ck_assert(!pipeline_map_offered(r->p, &map));
	ck_assert(rig_metric(r, "weir_edge_maps_refused_total") == 1);
	rig_ticks(r, 8, 1000);
	ck_assert_uint_eq(r->cloud.map_asked, 2);
	for (int i = 0; i < 600; i++) {
		rig_tick(r, 1000);
		if (pipeline_map_offered(r->p, &map))
			pipeline_map_refused(r->p, rig_now(r));
	}
	ck_assert_uint_ge(r->cloud.map_asked, 4);
	ck_assert_uint_le(r->cloud.map_asked, 8);
	/* a later one is news at once */
	uint64_t asked = r->cloud.map_asked;
	r->cloud.map_told = 7;
	rig_ticks(r, 2, 1000);
	ck_assert_uint_eq(r->cloud.map_asked, asked + 1);
	ck_assert(pipeline_map_offered(r->p, &map));
	/* taken up: it says so, and asks no more */
	pipeline_map_taken(r->p);
	adopt(r, ONE_TWO, &pending);
	asked = r->cloud.map_asked;
	rig_ticks(r, 20, 1000);
	ck_assert_uint_eq(r->cloud.map_version_seen, 7);
	ck_assert_uint_eq(r->cloud.map_asked, asked);
	rig_free(r);
}
END_TEST

START_TEST(an_edge_that_is_removed_reads_nothing_and_goes_on_asking)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	ck_assert_int_eq(pipeline_remove(r->p, 9, rig_now(r)), 0);
	ck_assert(pipeline_removed(r->p));
	ck_assert(r->paused);
	r->cloud.hello_verdict = VERDICT_REFUSED;
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert(pipeline_removed(r->p));
	r->cloud.map_told = 9;
	rig_ticks(r, 30, 1000);
	ck_assert(r->paused);
	const char *why;
	ck_assert(pipeline_fenced(r->p, &why));
	ck_assert_uint_eq(r->cloud.map_asked, 0); /* that one is known */
	/* in again */
	static const uint8_t bytes[] = "the map";
	struct bytes map;
	r->cloud.map = bytes;
	r->cloud.map_len = sizeof(bytes);
	r->cloud.map_told = 10;
	rig_ticks(r, 15, 1000);
	ck_assert(pipeline_map_offered(r->p, &map));
	r->cloud.hello_verdict = VERDICT_OK;
	static const struct phases all = {0};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S), &all);
	ck_assert(!pipeline_removed(r->p));
	rig_ticks(r, 2, 1000); /* hello at once, not at the fenced one's leisure */
	ck_assert(!r->paused);
	ck_assert(!pipeline_fenced(r->p, &why));
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	rig_free(r);
}
END_TEST

static void second_cloud_gone(void *arg, struct topology *t)
{
	uint32_t gone = *(const uint32_t *)arg;
	t->map_version = 7;
	t->clouds[gone].state = CLOUD_GONE;
	t->clouds[gone].name[0] = t->clouds[gone].listen[0] = 0;
}

START_TEST(a_cloud_that_goes_is_left_and_not_asked_again)
{
	struct rig *r = new_rig();
	uint32_t gone = r->connected;
	uint64_t connects = r->connects;
	struct topology *t = rig_versions(CLUSTER EDGE(BIG) LOAD(1, BY_S), second_cloud_gone, &gone);
	ck_assert_int_eq(rig_adopt(r, t, bytes_of("map", 3)), 0);
	ck_assert_uint_eq(r->connects, connects + 1);
	ck_assert_uint_eq(r->connected, 1 - gone);
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_ticks(r, 3, 1000);
	r->cloud.silent = true;
	for (int i = 0; i < 30; i++) {
		rig_tick(r, 1000);
		ck_assert_uint_eq(r->connected, 1 - gone);
	}
	r->cloud.silent = false;
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	ck_assert_uint_eq(rig_merged(r, "load"), 2);
	rig_free(r);
}
END_TEST

START_TEST(a_spool_of_before_knows_no_since_and_needs_none)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	rig_ticks(r, 2, 1000);
	rig_crash(r);
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(r->kv, true, &txn), 0);
	ck_assert_int_eq(kv_del(txn, SPOOL_MARK, bytes_of("high", 4)), 0);
	ck_assert_int_eq(kv_del(txn, SPOOL_MARK, bytes_of("since/load/1", 12)), 0);
	ck_assert_int_eq(kv_commit(txn), 0);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_int_eq(since_of(r, "load", 1), -1);
	adopt(r, ONE_TWO, &pending);
	ck_assert_int_eq(since_of(r, "load", 2), 120); /* by the window that it knows of */
	rig_free(r);
}
END_TEST

#define WIDE "by: [sensor], window: {size: 3m, every: 1m}"

/* A window on the same slices is no new version: what an idle edge has flushed ends by the window that is in force. */
START_TEST(another_window_on_the_same_slices_ends_as_it_says)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", 70);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_ticks(r, 4, 1000);
	ck_assert_int_eq(rig_report_of(r, "load", 1)->phase, PHASE_IDLE);
	ck_assert(rig_report_of(r, "load", 1)->flushed_end_ns == rig_base_ns() + 2 * minute);
	static const struct phases same = {0};
	struct topology *t = rig_versions(CLUSTER EDGE(BIG) LOAD(1, WIDE), set_phases, (void *)(uintptr_t)&same);
	t->streams[0].version = 1;
	ck_assert_int_eq(rig_adopt(r, t, bytes_of("map", 3)), 0);
	rig_ticks(r, 4, 1000);
	ck_assert_int_eq(rig_report_of(r, "load", 1)->phase, PHASE_IDLE);
	ck_assert(rig_report_of(r, "load", 1)->flushed_end_ns == rig_base_ns() + 4 * minute);
	rig_free(r);
}
END_TEST

/* Of the earliest readings that there can be the slice begins earlier still. */
START_TEST(the_earliest_reading_keeps_nobody_from_the_next_map)
{
	struct rig *r = new_rig();
	both(r, "load,sensor=a v=1 %lld\n", (TIME_MIN_NS - rig_base_ns()) / NS_PER_SEC);
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_ticks(r, 4, 1000);
	ck_assert(rig_report_of(r, "load", 1)->flushed_end_ns < TIME_MIN_NS + minute);
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	static const struct phases same = {0};
	adopt(r, CLUSTER EDGE(BIG) LOAD(1, BY_S) SPEED, &same);
	rig_ticks(r, 2, 1000);
	ck_assert(rig_report_of(r, "load", 1)->flushed_end_ns < TIME_MIN_NS + minute);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/adopt");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, versions_run_side_by_side_from_the_boundary_on);
	tcase_add_test(tc, an_edge_without_readings_is_complete_from_the_start);
	tcase_add_test(tc, an_edge_that_learns_after_the_cut_says_since_when);
	tcase_add_test(tc, a_stream_that_is_new_takes_all_and_says_since_when_it_is_whole);
	tcase_add_test(tc, a_closing_version_ends_as_an_idle_edge_does);
	tcase_add_test(tc, a_removed_stream_is_flushed_and_told_as_idle);
	tcase_add_test(tc, of_a_removed_stream_too_an_edge_says_since_when_it_had_it);
	tcase_add_test(tc, steps_of_a_version_that_begins_later_know_what_came_before);
	tcase_add_test(tc, states_of_steps_go_with_their_version);
	tcase_add_test(tc, what_is_known_of_sources_goes_on);
	tcase_add_test(tc, sources_come_and_go_and_tags_change);
	tcase_add_test(tc, a_full_disk_lets_it_wait);
	tcase_add_test(tc, a_crash_in_its_commit_leaves_one_or_the_other);
	tcase_add_test(tc, the_map_is_asked_for_and_offered_once);
	tcase_add_test(tc, an_edge_that_is_removed_reads_nothing_and_goes_on_asking);
	tcase_add_test(tc, a_cloud_that_goes_is_left_and_not_asked_again);
	tcase_add_test(tc, a_spool_of_before_knows_no_since_and_needs_none);
	tcase_add_test(tc, another_window_on_the_same_slices_ends_as_it_says);
	tcase_add_test(tc, the_earliest_reading_keeps_nobody_from_the_next_map);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
