/* Alerts: what the leader finds, applied to the state, against a naive reading of the same windows; what a new map begins and ends; that
 * what is found twice counts once; what is told of it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_apply.h"
#include "cloudd/alert_json.h"
#include "cloudd/alert_judge.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/cloudd/kit.h"

#define HEAD \
	"version: 1\n" \
	"cluster: {name: test, shards: 1, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"edges:\n  - {name: e1}\n" \
	"sinks:\n  - {name: hook, type: webhook, url: \"http://127.0.0.1:1/\"}\n" \
	"streams:\n"
#define FROM "from: {measurement: m, field: f}, by: [t], lateness: 0s, compute: [count, max]"
#define PLAIN(window) "  - {name: s, " FROM ", window: " window "}\n"
#define ALERT(window, alert) "  - {name: s, " FROM ", window: " window ", alert: {" alert "}}\n"
#define HOT "when: \"max > 50\", to: [hook]"
#define T0 (INT64_C(1000000) * SEC)

static struct kit k;
static struct cluster_map map;
static struct topology *t; /* of the map */
static uint32_t turn;      /* alert that is judged first */

static uint64_t left_out;
static unsigned asked;     /* whether it is enough for a turn */
static bool hasty;         /* ... and it is */
static bool enough(void *arg)
{
	(void)arg;
	asked++;
	return hasty;
}

static void setup(const char *streams)
{
	kit_init(&k, 1, streams);
	map = (struct cluster_map){0};
	t = NULL;
	turn = 0;
	hasty = false;
}

static void teardown(void)
{
	topology_free(t);
	map_clear(&map);
	kit_close(&k);
}

static void tell_map(void)
{
	struct buf bytes = {0}, errors = {0};
	struct topology *next;
	ck_assert_int_eq(map_encode(&map, &bytes), 0);
	struct entry e = {.kind = ENTRY_MAP, .map = {k.meta_index + 1, k.meta_index, bytes_of(bytes.data, bytes.len)}};
	k.meta_index++;
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert_uint_eq(res.map_version, map.version);
	apply_result_clear(&res);
	ck_assert_msg(!map_topology(&map, "test.yaml", t, &next, &errors), "%s", buf_cstr(&errors));
	topology_free(t);
	t = next;
	buf_free(&bytes);
	buf_free(&errors);
}

/* The first map, or a change of it. */
static void take_map(const char *text)
{
	struct buf errors = {0};
	if (!map.version) {
		struct topology *first;
		ck_assert_msg(!topology_parse("test.yaml", text, strlen(text), &first, &errors), "%s", buf_cstr(&errors));
		map_first(first, text, strlen(text), &map);
		topology_free(first);
	} else {
		struct cluster_map next;
		struct map_changes told;
		ck_assert_msg(!map_change(&map, text, strlen(text), &next, &told, &errors), "%s", buf_cstr(&errors));
		map_changes_clear(&told);
		map_clear(&map);
		map = next;
	}
	buf_free(&errors);
	tell_map();
}

/* ---- judging ------------------------------------------------------------------------------------------------- */

/* What is found, as an entry's bytes; empty: nothing. */
static struct buf find(uint64_t work_max)
{
	struct kv_txn *txn;
	struct alert_found f;
	struct buf raw = {0};
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(alert_judge(t, txn, 0, &(struct alert_turn){turn, work_max, enough, NULL}, &f), 0);
	kv_abort(txn);
	f.entry.time_ns = k.time_ns;
	turn = f.next;
	left_out += f.left_out;
	if (f.entry.alert.count)
		entry_encode(&f.entry, &raw);
	alert_found_clear(&f);
	return raw;
}

static void apply_raw(const struct buf *raw)
{
	struct apply_result res = kit_apply_raw(&k, 1, bytes_of(raw->data, raw->len));
	ck_assert_int_eq(res.kind, ENTRY_ALERT);
	apply_result_clear(&res);
}

static unsigned judge_all(uint64_t work_max)
{
	for (unsigned n = 0; n < 10000; n++) {
		struct buf raw = find(work_max);
		bool any = raw.len;
		if (any)
			apply_raw(&raw);
		buf_free(&raw);
		if (!any)
			return n;
	}
	ck_abort_msg("there is no end of it");
	return 0;
}

/* ---- what is there ------------------------------------------------------------------------------------------- */

/* "firing 10 g1 since 0; resolved 20 g1 no_data; ...": times in seconds from T0; the group's text behind its length. */
static char *events(void)
{
	struct buf out = {0};
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value, rest;
	struct alert_event e;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, STATE_DB_GROUP(1), &c), 0);
	state_key_start(&prefix, STATE_ALERT_EVENT);
	int rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	for (; !rc && state_key_rest(key, &prefix, &rest); rc = kv_cursor_next(c, &key, &value)) {
		ck_assert_int_eq(alert_event_decode(value, &e), 0);
		buf_printf(&out, "%s%s %lld %.*s", out.len ? "; " : "", e.firing ? "firing" : "resolved", (long long)((e.window_ns - T0) / SEC),
		    (int)e.group.n - 1, (const char *)e.group.p + 1);
		if (e.firing)
			buf_printf(&out, " since %lld", (long long)((e.since_ns - T0) / SEC));
		else
			buf_printf(&out, " %s", alert_reason_text(e.reason));
	}
	kv_cursor_close(c);
	kv_abort(txn);
	char *text = xstrdup(buf_cstr(&out));
	buf_free(&out);
	return text;
}

static void expect_events(const char *want)
{
	char *have = events();
	ck_assert_msg(!strcmp(have, want), "%.200s; expected %.200s", have, want);
	free(have);
}

/* Of all alerts together. */
static void counts(uint64_t *pending, uint64_t *firing)
{
	struct kv_txn *txn;
	struct alert_record a;
	uint32_t id = 1;
	*pending = *firing = 0;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	for (; !alert_record_next(txn, STATE_DB_GROUP(1), &id, &a); id++) {
		*pending += a.pending;
		*firing += a.firing;
	}
	kv_abort(txn);
}

static void expect_counts(uint64_t pending, uint64_t firing)
{
	uint64_t p, f;
	counts(&p, &f);
	ck_assert_uint_eq(p, pending);
	ck_assert_uint_eq(f, firing);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT_GROUP), pending + firing);
}

static void reading(const char *group, int64_t at_s, double v)
{
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, group), T0 + at_s * SEC, v);
	struct apply_result res = kit_send(&k, &b);
	apply_result_clear(&res);
}

static void close_at(int64_t at_s)
{
	struct apply_result res = kit_advance(&k, "s", T0 + at_s * SEC, T0 + at_s * SEC, NULL, 0);
	apply_result_clear(&res);
	k.time_ns += SEC;
}

/* ---- the steps of a group -------------------------------------------------------------------------------------- */

START_TEST(a_group_step_by_step)
{
	struct alert_group g = {0};
	enum alert_what what;
	ck_assert(!alert_step(&g, 2, false, 1, &what));
	ck_assert(alert_step(&g, 2, true, 2, &what) && what == ALERT_PENDING && g.since_ns == 2);
	ck_assert(alert_step(&g, 2, false, 3, &what) && what == ALERT_CLEARED && !g.run);
	ck_assert(alert_step(&g, 2, true, 4, &what) && what == ALERT_PENDING && g.since_ns == 4);
	ck_assert(alert_step(&g, 2, true, 5, &what) && what == ALERT_FIRING && g.since_ns == 4 && g.window_ns == 5);
	ck_assert(!alert_step(&g, 2, true, 6, &what));
	ck_assert(g.firing && g.window_ns == 5);
	ck_assert(alert_step(&g, 2, false, 7, &what) && what == ALERT_RESOLVED && g.since_ns == 4 && g.window_ns == 7 && !g.firing && !g.run);
	ck_assert(alert_step(&g, 1, true, 8, &what) && what == ALERT_FIRING);
}
END_TEST

/* ---- one stream ------------------------------------------------------------------------------------------------ */

START_TEST(fires_after_its_windows_and_is_resolved)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT ", for: 2 windows"));
	reading("a", 1, 60);
	reading("b", 2, 10);
	close_at(10);
	judge_all(ALERT_WORK_MAX);
	expect_events("");
	expect_counts(1, 0);
	reading("a", 11, 70);
	reading("b", 12, 80);
	close_at(20);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0");
	expect_counts(1, 1);
	ck_assert_uint_eq(judge_all(ALERT_WORK_MAX), 0);
	reading("a", 21, 51);
	reading("b", 22, 50);
	close_at(30);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0");
	reading("a", 31, 0);
	close_at(50); /* b has nothing; 40 to 50 nobody */
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0; resolved 30 a not_met");
	expect_counts(0, 0);
	reading("a", 51, 99);
	reading("a", 61, 99);
	close_at(70);
	judge_all(ALERT_WORK_MAX);
	close_at(200);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0; resolved 30 a not_met; firing 60 a since 50; resolved 70 a no_data");
	teardown();
}
END_TEST

START_TEST(what_is_late_judges_nothing_again)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT));
	reading("a", 1, 1);
	close_at(10);
	judge_all(ALERT_WORK_MAX);
	reading("a", 2, 99);
	reading("b", 2, 99);
	kit_sweep_all(&k);
	judge_all(ALERT_WORK_MAX);
	expect_events("");
	close_at(20);
	judge_all(ALERT_WORK_MAX);
	expect_events("");
	teardown();
}
END_TEST

START_TEST(what_is_found_twice_counts_once)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT));
	reading("a", 1, 99);
	close_at(10);
	struct buf first = find(ALERT_WORK_MAX), second = find(ALERT_WORK_MAX);
	reading("a", 11, 0);
	close_at(20);
	struct buf later = find(ALERT_WORK_MAX); /* of both windows */
	apply_raw(&first);
	struct buf before = kit_dump(&k, 1);
	apply_raw(&second);
	apply_raw(&later);
	expect_events("firing 0 a since 0");
	judge_all(ALERT_WORK_MAX);
	apply_raw(&first); /* of a leader that was deposed long ago */
	apply_raw(&later);
	expect_events("firing 0 a since 0; resolved 10 a not_met");
	expect_counts(0, 0);
	buf_free(&first);
	buf_free(&second);
	buf_free(&later);
	buf_free(&before);
	teardown();
}
END_TEST

START_TEST(a_new_alert_begins_with_the_next_window)
{
	setup(PLAIN("10s"));
	take_map(HEAD PLAIN("10s"));
	reading("a", 1, 99);
	close_at(10);
	take_map(HEAD ALERT("10s", HOT));
	judge_all(ALERT_WORK_MAX);
	expect_events("");
	reading("a", 11, 99);
	close_at(20);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 10");
	teardown();
}
END_TEST

START_TEST(a_change_begins_anew_and_a_removal_ends)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT));
	reading("a", 1, 99);
	reading("b", 1, 99);
	close_at(10);
	judge_all(ALERT_WORK_MAX);
	take_map(HEAD ALERT("10s", HOT ", summary: it is hot")); /* no other condition: it goes on */
	ck_assert_uint_eq(judge_all(ALERT_WORK_MAX), 0);
	reading("a", 11, 99);
	close_at(20);
	take_map(HEAD ALERT("10s", "when: \"max > 60\", to: [hook]"));
	ck_assert_uint_gt(judge_all(1), 2);
	expect_events("firing 0 a since 0; firing 0 b since 0; resolved 0 a changed; resolved 0 b changed; firing 10 a since 10");
	expect_counts(0, 1);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT), 2); /* with the head */
	take_map(HEAD PLAIN("10s"));
	reading("a", 21, 0);
	close_at(30);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 0 a since 0; firing 0 b since 0; resolved 0 a changed; resolved 0 b changed; firing 10 a since 10; "
		      "resolved 10 a removed");
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT), 1);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT_GROUP), 0);
	teardown();
}
END_TEST

START_TEST(other_windows_begin_anew)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT ", for: 2"));
	reading("a", 1, 99);
	reading("a", 11, 99);
	close_at(20);
	judge_all(ALERT_WORK_MAX);
	take_map(HEAD ALERT("{size: 20s, every: 10s}", HOT ", for: 2"));
	reading("a", 21, 99);
	close_at(30);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0; resolved 10 a changed");
	reading("a", 31, 0);
	close_at(40);
	judge_all(ALERT_WORK_MAX);
	expect_events("firing 10 a since 0; resolved 10 a changed; firing 20 a since 10");
	teardown();
}
END_TEST

/* `readings` of a version of s: their max is one less. */
static void read_by(size_t version, const char *group, int64_t slice_s, unsigned readings)
{
	struct kit_batch b = kit_batch(&k);
	struct bytes key = t->streams[version].by_count == 2 ? kit_group(2, group, "") : kit_group(1, group);
	kit_add_as(&b, &t->streams[version], key, T0 + slice_s * SEC, readings);
	struct apply_result res = kit_send(&k, &b);
	apply_result_clear(&res);
}

static void close_by(size_t version, int64_t at_s)
{
	const struct stream_conf *s = &t->streams[version];
	struct entry e = {.kind = ENTRY_ADVANCE, .advance = {k.meta_index + 1, k.meta_index,
		{bytes_of("s", 1), s->version, T0 + at_s * SEC, T0 + at_s * SEC, 0, 0, NULL}}};
	k.meta_index++;
	struct apply_result res = kit_apply(&k, 1, &e);
	ck_assert(res.meta_index == k.meta_index);
	apply_result_clear(&res);
}

#define STEPPED(by, alert) \
	"  - {name: s, from: {measurement: m, field: f}, steps: [{range: {min: 0}}], by: [" by "], lateness: 0s, compute: [count, max], " \
	"window: 10s, alert: {" alert "}}\n"

/* The stream gets another definition, which takes over at 20. */
static void two_versions(const char *next)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT ", for: 3"));
	read_by(0, "a", 0, 100);
	close_by(0, 10);
	judge_all(ALERT_WORK_MAX);
	take_map(next);
	ck_assert_int_eq(t->streams[1].phase, STREAM_PENDING);
	judge_all(ALERT_WORK_MAX);
	ck_assert_int_eq(map_cut(&map, "s", t->streams[1].version, T0 + 20 * SEC), 0);
	tell_map();
	read_by(1, "a", 20, 100);
	close_by(1, 30);
	ck_assert_uint_eq(judge_all(ALERT_WORK_MAX), 0); /* the first version's windows come first */
	read_by(0, "a", 10, 100);
	read_by(0, "a", 20, 1); /* not its own */
	close_by(0, 20);
	judge_all(ALERT_WORK_MAX);
}

START_TEST(windows_of_all_versions_follow_one_another)
{
	two_versions(HEAD STEPPED("t", HOT ", for: 3"));
	expect_events("firing 20 a since 0");
	ck_assert_int_eq(map_retire(&map, "s", t->streams[0].version), 0);
	tell_map();
	read_by(1, "a", 30, 10);
	close_by(1, 40);
	judge_all(1);
	expect_events("firing 20 a since 0; resolved 30 a not_met");
	teardown();
}
END_TEST

START_TEST(other_groups_begin_anew)
{
	two_versions(HEAD STEPPED("t, u", HOT ", for: 3"));
	expect_events("");
	expect_counts(1, 0); /* in its first window; what was pending by the other groups is not any more */
	read_by(1, "a", 30, 100);
	read_by(1, "a", 40, 100);
	close_by(1, 50);
	judge_all(1);
	expect_events("firing 40 a since 20");
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT), 2);
	teardown();
}
END_TEST

/* A sliding window that reaches over the cut is the first version's; the second one's begin there all the same. */
static void sliding_to_plain(bool changed)
{
	setup(PLAIN("{size: 20s, every: 10s}"));
	take_map(HEAD ALERT("{size: 20s, every: 10s}", HOT));
	read_by(0, "a", 0, 100);
	close_by(0, 10);
	judge_all(ALERT_WORK_MAX);
	take_map(HEAD STEPPED("t", HOT));
	ck_assert_int_eq(map_cut(&map, "s", t->streams[1].version, T0 + 20 * SEC), 0);
	tell_map();
	read_by(1, "b", 20, 100);
	read_by(1, "b", 30, 1);
	close_by(0, 30); /* -10 to 10, 0 to 20, 10 to 30 */
	judge_all(ALERT_WORK_MAX);
	if (changed)
		take_map(HEAD STEPPED("t", "when: max > 60"));
	close_by(1, 40);
	judge_all(1);
	expect_events("firing -10 a since -10; resolved 10 a no_data; firing 20 b since 20; resolved 30 b not_met");
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT), 2);
	teardown();
}

START_TEST(no_window_is_left_out_where_other_windows_take_over)
{
	sliding_to_plain(false);
	sliding_to_plain(true);
}
END_TEST

/* What the shard has of them is deleted, or merged into coarser windows, before they are judged: that is not "no data". */
START_TEST(what_is_beyond_retain_is_passed_over)
{
#define KEPT(retain, alert) "  - {name: s, " FROM ", window: 10s, " retain alert "}\n"
	static const struct {
		const char *plain, *text;
	} cases[] = {
		{KEPT("retain: 100s", ""), HEAD KEPT("retain: 100s", ", alert: {" HOT "}")},
		{KEPT("retain: 100s, rollup: [{every: 100s, retain: 1h}]", ""),
			HEAD KEPT("retain: 100s, rollup: [{every: 100s, retain: 1h}]", ", alert: {" HOT "}")},
	};
	for (unsigned i = 0; i < 2; i++) {
		setup(cases[i].plain);
		take_map(cases[i].text);
		reading("a", 1, 99);
		close_at(10);
		judge_all(ALERT_WORK_MAX);
		for (int w = 1; w < 99; w++)
			reading("a", w * 10, 99);
		close_at(1000);
		kit_sweep_all(&k);
		judge_all(1);
		expect_events("firing 0 a since 0; resolved 990 a no_data");
		teardown();
	}
}
END_TEST

/* Each entry judges one row: the first alert has 200 to go, the second one as many. */
START_TEST(alerts_take_turns)
{
	setup(PLAIN("10s"));
	take_map(HEAD "  - {name: s, " FROM ", window: 10s, alert: [{name: one, " HOT "}, {name: two, when: max < 5}]}\n");
	for (int i = 0; i < 200; i++) {
		reading("a", i * 10, i < 100 ? 1 : 99);
		if (i == 0 || i == 199)
			close_at((i + 1) * 10);
	}
	for (int i = 0; i < 8; i++) {
		struct buf raw = find(1);
		apply_raw(&raw);
		buf_free(&raw);
	}
	expect_events("firing 0 a since 0"); /* of the second */
	judge_all(1);
	expect_events("firing 0 a since 0; firing 1000 a since 1000; resolved 1000 a not_met");
	teardown();
}
END_TEST

/* A page of rows, and one alert, is judged however little time there is: so there is an end of it, and each group is judged once. */
START_TEST(a_turn_that_is_short_goes_on_in_the_next)
{
	for (unsigned i = 0; i < 2; i++) {
		setup(PLAIN("10s"));
		hasty = i;
		take_map(HEAD "  - {name: s, " FROM ", window: 10s, alert: [{name: one, " HOT "}, {name: two, when: max < 5}]}\n");
		struct kit_batch b = kit_batch(&k);
		for (int g = 0; g < 2500; g++) {
			char name[16];
			snprintf(name, sizeof(name), "%04d", g);
			kit_add(&b, "s", kit_group(1, name), T0 + SEC, g % 3 ? 99 : 1);
		}
		struct apply_result res = kit_send(&k, &b);
		apply_result_clear(&res);
		close_at(10);
		close_at(20);
		asked = 0;
		unsigned entries = judge_all(ALERT_WORK_MAX);
		ck_assert_uint_gt(asked, 2);
		ck_assert_msg(i ? entries > 5 : entries < 5, "%u entries", entries);
		ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT_EVENT), 2 * 2500); /* and nothing from 10 to 20 */
		expect_counts(0, 0);
		teardown();
	}
}
END_TEST

/* 12,000 groups are hot, one after the other of which 6,000 have been before. */
START_TEST(so_many_groups_and_no_more)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT));
	left_out = 0;
	for (int w = 0; w < 2; w++) {
		for (int first = 0; first < 12000; first += 3000) {
			struct kit_batch b = kit_batch(&k);
			for (int g = first; g < first + 3000; g++) {
				char name[16];
				snprintf(name, sizeof(name), "%05d", g);
				kit_add(&b, "s", kit_group(1, name), T0 + (w * 10 + 1) * SEC, w || g % 2 ? 99 : 1);
			}
			struct apply_result res = kit_send(&k, &b);
			apply_result_clear(&res);
		}
		close_at(w * 10 + 10);
		judge_all(ALERT_WORK_MAX);
		expect_counts(0, w ? ALERT_GROUPS_MAX : 6000);
	}
	ck_assert_uint_eq(left_out, 2000);
	ck_assert_uint_eq(kit_count(&k, 1, STATE_ALERT_EVENT), ALERT_GROUPS_MAX);
	teardown();
}
END_TEST

START_TEST(old_events_are_deleted)
{
	setup(PLAIN("10s"));
	take_map(HEAD ALERT("10s", HOT));
	reading("a", 1, 99);
	close_at(10);
	judge_all(ALERT_WORK_MAX);
	for (int i = 2; i < 80; i++) {
		k.time_ns += 60 * SEC;
		close_at(10 * i);
		judge_all(ALERT_WORK_MAX);
	}
	expect_events("");
	struct kv_txn *txn;
	struct alert_head h;
	kit_commit(&k);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(alert_head_read(txn, STATE_DB_GROUP(1), &h), 0);
	kv_abort(txn);
	ck_assert_uint_eq(h.events, 0);
	ck_assert_uint_gt(h.trimmed_index, 0);
	struct buf all = kit_dump(&k, 1); /* with the digest from scratch */
	buf_free(&all);
	teardown();
}
END_TEST

/* ---- against a naive reading ------------------------------------------------------------------------------------- */

#define GROUPS 6
#define SLICES 60

static uint64_t seed;
static unsigned below(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % n;
}

/* Highest value of each slice and group when its window was judged; -1: no reading. */
static double series[SLICES][GROUPS];

static const char *group_name(unsigned g)
{
	static const char *const names[GROUPS] = {"a", "b", "c", "d", "e", "f"};
	return names[g];
}

/* All windows from the one that ends with slice 1 on, each of `span` slices, in order. */
static char *naive(unsigned span, unsigned for_windows, unsigned closed)
{
	struct buf out = {0};
	unsigned run[GROUPS] = {0};
	int since[GROUPS] = {0};
	for (int w = 1 - (int)span; w + (int)span <= (int)closed; w++) {
		for (unsigned g = 0; g < GROUPS; g++) {
			double most = -1;
			for (int i = w; i < w + (int)span; i++)
				if (i >= 0 && series[i][g] > most)
					most = series[i][g];
			bool met = most > 50, was = run[g] >= for_windows;
			if (met && !run[g]++)
				since[g] = w;
			if (met && run[g] == for_windows)
				buf_printf(&out, "%sfiring %d %s since %d", out.len ? "; " : "", w * 10, group_name(g), since[g] * 10);
			if (!met && was)
				buf_printf(&out, "%sresolved %d %s %s", out.len ? "; " : "", w * 10, group_name(g), most < 0 ? "no_data" : "not_met");
			if (!met)
				run[g] = 0;
		}
	}
	char *text = xstrdup(buf_cstr(&out));
	buf_free(&out);
	return text;
}

static void feed_slice(unsigned slice)
{
	for (unsigned g = 0; g < GROUPS; g++) {
		series[slice][g] = -1;
		if (below(10) < 3)
			continue;
		series[slice][g] = below(100);
		reading(group_name(g), (int64_t)slice * 10 + 3, series[slice][g]);
	}
}

/* Found in pieces; some are lost, some come twice, some long after another leader's. */
static void judge_somehow(struct buf *stale)
{
	unsigned rounds = below(6);
	while (rounds--) {
		struct buf raw = find(1 + below(7));
		if (raw.len && below(4)) {
			apply_raw(&raw);
			if (!below(4))
				apply_raw(&raw);
		}
		if (stale->len && !below(3))
			apply_raw(stale);
		if (raw.len && !below(5)) {
			buf_free(stale);
			*stale = raw;
		} else {
			buf_free(&raw);
		}
	}
}

START_TEST(against_a_naive_reading)
{
	static const struct {
		unsigned span, for_windows;
		const char *text, *plain;
	} cases[] = {
		{1, 1, HEAD ALERT("10s", HOT), PLAIN("10s")},
		{1, 3, HEAD ALERT("10s", HOT ", for: 3 windows"), PLAIN("10s")},
		{2, 2, HEAD ALERT("{size: 20s, every: 10s}", HOT ", for: 2"), PLAIN("{size: 20s, every: 10s}")},
	};
	for (unsigned i = 0; i < 3; i++) {
		struct buf stale = {0};
		seed = (uint64_t)_i * 3 + i + 1;
		setup(cases[i].plain);
		take_map(cases[i].text);
		unsigned closed = 0;
		for (unsigned slice = 0; slice < SLICES; slice++) {
			feed_slice(slice);
			if (!below(3))
				continue;
			closed = slice + 1;
			close_at((int64_t)closed * 10);
			judge_somehow(&stale);
			if (!below(8)) {
				kit_commit(&k);
				kit_reopen(&k);
			}
		}
		judge_all(1 + below(20));
		char *want = naive(cases[i].span, cases[i].for_windows, closed), *have = events();
		size_t same = 0;
		while (want[same] && want[same] == have[same])
			same++;
		ck_assert_msg(want[same] == have[same], "case %u, from byte %zu on: %.60s; expected %.60s", i, same, have + same, want + same);
		ck_assert_uint_gt(strlen(want), 100);
		free(want);
		free(have);
		uint64_t pending, firing;
		counts(&pending, &firing);
		expect_counts(pending, firing);
		struct buf all = kit_dump(&k, 1);
		buf_free(&all);
		buf_free(&stale);
		teardown();
	}
}
END_TEST

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

START_TEST(what_the_world_is_told)
{
	struct alert_event e = {.firing = true, .at_ns = T0, .since_ns = T0, .window_ns = T0 + 10 * SEC, .group = bytes_of("\3a\"b\0", 5),
	    .values = bytes_of("{\"max\": 60}", 11)};
	e.def = (struct alert_def){.stream = bytes_of("s", 1), .name = bytes_of("hot", 3), .when = bytes_of("max > 50", 8), .for_windows = 2,
	    .severity = bytes_of("page", 4)};
	e.basis = (struct alert_basis){.grid = {10 * SEC, 10 * SEC, 0}, .by_count = 2, .by = {bytes_of("t", 1), bytes_of("u", 1)}};
	struct buf out = {0};
	char id[ALERT_ID_BYTES], other[ALERT_ID_BYTES];
	alert_event_id(&e, id);
	alert_event_json(&e, &out);
	char *want = xasprintf("{\"kind\": \"alert\", \"id\": \"%s\", \"alert\": \"hot\", \"stream\": \"s\", \"when\": \"max > 50\", \"for\": 2, "
			       "\"state\": \"firing\", \"reason\": null, \"since\": \"1970-01-12T13:46:40Z\", \"window\": {\"start\": "
			       "\"1970-01-12T13:46:50Z\", \"end\": \"1970-01-12T13:47:00Z\"}, \"group\": {\"t\": \"a\\\"b\", \"u\": \"\"}, "
			       "\"values\": {\"max\": 60}, \"severity\": \"page\", \"summary\": null, \"at\": \"1970-01-12T13:46:40Z\"}", id);
	ck_assert_str_eq(buf_cstr(&out), want);
	e.at_ns++;
	alert_event_id(&e, other);
	ck_assert_str_eq(id, other);
	e.firing = false;
	alert_event_id(&e, other);
	ck_assert_str_ne(id, other);
	uint8_t room[GROUP_KEY_MAX];
	e.group = group_other(2, room); /* each shard has its own */
	alert_event_id(&e, id);
	e.shard = 1;
	alert_event_id(&e, other);
	ck_assert_str_ne(id, other);
	buf_clear(&out);
	alert_event_key_json(&e, &out);
	ck_assert_str_eq(buf_cstr(&out), "{\"alert\": \"hot\", \"stream\": \"s\", \"group\": {\"t\": \"__other__\", \"u\": \"__other__\"}, \"shard\": 1}");
	free(want);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("alerts");
	TCase *c = tcase_create("alerts");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, a_group_step_by_step);
	tcase_add_test(c, fires_after_its_windows_and_is_resolved);
	tcase_add_test(c, what_is_late_judges_nothing_again);
	tcase_add_test(c, what_is_found_twice_counts_once);
	tcase_add_test(c, a_new_alert_begins_with_the_next_window);
	tcase_add_test(c, a_change_begins_anew_and_a_removal_ends);
	tcase_add_test(c, other_windows_begin_anew);
	tcase_add_test(c, windows_of_all_versions_follow_one_another);
	tcase_add_test(c, other_groups_begin_anew);
	tcase_add_test(c, no_window_is_left_out_where_other_windows_take_over);
	tcase_add_test(c, what_is_beyond_retain_is_passed_over);
	tcase_add_test(c, alerts_take_turns);
	tcase_add_test(c, a_turn_that_is_short_goes_on_in_the_next);
	tcase_add_test(c, so_many_groups_and_no_more);
	tcase_add_test(c, old_events_are_deleted);
	tcase_add_loop_test(c, against_a_naive_reading, 0, 8);
	tcase_add_test(c, what_the_world_is_told);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
