/* What an edge answers of its own: all that it accepted and no cloud has acknowledged, whatever way that lies in its spool. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/local_query.h"
#include "tests/unit/edged/rig.h"
#include "tests/unit/edged/rig_topology.h"

#define SMALL "{memory: 64MiB, disk: 1MiB}"
#define SLIDING \
	"  - name: slide\n" \
	"    from: {measurement: load, field: v}\n" \
	"    by: [sensor, site]\n" \
	"    window: {size: 1m, every: 20s, offset: 10s}\n" \
	"    lateness: 0s\n" \
	"    compute: [count, sum, min, max, p50, \"distinct(sensor)\"]\n"
#define SENSORS 6
#define MINUTES 12
#define ARGS_MAX 16

static uint32_t random_state = 1;
static uint32_t any(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % n;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

/* How often look() may be asked before it says stop. */
struct patience {
	unsigned left;
	unsigned asked;
};

static int look(void *arg)
{
	struct patience *p = arg;
	p->asked++;
	return p->left-- ? 0 : WEIR_ETIMEOUT;
}

/* "stream=load&by=": in place. */
static size_t split(char *text, struct query_arg args[ARGS_MAX])
{
	size_t n = 0;
	while (*text) {
		char *part = text, *eq = strchr(part, '=');
		ck_assert(n < ARGS_MAX && eq);
		text += strcspn(text, "&");
		if (*text)
			*text++ = 0;
		*eq = 0;
		args[n++] = (struct query_arg){part, eq + 1};
	}
	return n;
}

static void open_query(struct rig *r, const char *question, struct local_query *q)
{
	struct query_arg args[ARGS_MAX];
	struct query_args parsed;
	struct query_error error;
	char *text = xstrdup(question);
	int rc = query_args_parse(r->topology, args, split(text, args), RIG_WALL_NS, &parsed, &error);
	ck_assert_msg(!rc, "%s: %s", question, error.message);
	local_query_init(q, r->topology, &parsed);
	free(text);
}

static int run(struct rig *r, struct local_query *q, struct patience *patience)
{
	struct kv_txn *txn;
	const struct local_look l = {look, patience};
	ck_assert_int_eq(kv_begin(r->kv, false, &txn), 0);
	int rc = local_query_run(q, txn, &l);
	kv_abort(txn);
	return rc;
}

static json_t *put(struct rig *r, struct local_query *q)
{
	int64_t watermark_ns[8];
	struct local_view view = {.edge = "edge-1", .watermark_ns = watermark_ns};
	for (size_t i = 0; i < q->args.version_count; i++) {
		const struct stream_conf *s = q->args.versions[i].stream;
		watermark_ns[i] = pipeline_event_watermark(r->p, s->name, s->version, &view.idle);
	}
	view.aggregated = pipeline_aggregated(r->p, q->args.stream->name);
	struct buf out = {0};
	json_error_t error;
	local_query_put(q, &view, &out);
	json_t *answer = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(answer != NULL, "%s: %s", error.text, buf_cstr(&out));
	buf_free(&out);
	return answer;
}

static json_t *ask(struct rig *r, const char *question)
{
	struct local_query q;
	struct patience patience = {.left = UINT32_MAX};
	open_query(r, question, &q);
	ck_assert_int_eq(run(r, &q, &patience), 0);
	json_t *answer = put(r, &q);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "scope")), "local");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "edge")), "edge-1");
	local_query_clear(&q);
	return answer;
}

static size_t row_count(const json_t *answer)
{
	return json_array_size(json_object_get(answer, "rows"));
}

static json_t *row(const json_t *answer, size_t i)
{
	return json_array_get(json_object_get(answer, "rows"), i);
}

static double value(const json_t *of_row, const char *function)
{
	return json_number_value(json_object_get(json_object_get(of_row, "values"), function));
}

static const char *text_of(const json_t *of_row, const char *key)
{
	return json_string_value(json_object_get(of_row, key));
}

static uint64_t held(const json_t *answer, const char *what)
{
	return (uint64_t)json_integer_value(json_object_get(json_object_get(answer, "held"), what));
}

/* Over all rows. */
static uint64_t readings(const json_t *answer)
{
	uint64_t n = 0;
	for (size_t i = 0; i < row_count(answer); i++)
		n += (uint64_t)value(row(answer, i), "count");
	return n;
}

/* What tumbling windows hold is what the ledger says. */
static uint64_t check_held(struct rig *r, const char *question)
{
	json_t *answer = ask(r, question);
	uint64_t n = readings(answer);
	ck_assert_uint_eq(n, held(answer, "readings"));
	ck_assert_uint_eq(held(answer, "uncommitted"), 0);
	ck_assert_uint_eq(held(answer, "unreadable"), 0);
	ck_assert_uint_eq(n + held(answer, "acknowledged"), pipeline_aggregated(r->p, "load"));
	json_decref(answer);
	return n;
}

/* ---- the oracle ------------------------------------------------------------------------------------------------ */

struct seen {
	int64_t second;
	unsigned sensor;
	int v;
};
static struct seen all[20000];
static size_t all_count;

static void feed(struct rig *r, unsigned n)
{
	char line[64];
	for (unsigned i = 0; i < n; i++) {
		struct seen s = {any(MINUTES * 60), any(SENSORS), (int)any(1000) - 500};
		snprintf(line, sizeof(line), "load,sensor=s%u v=%d %%lld\n", s.sensor, s.v);
		rig_line_at(r, any(2), line, s.second);
		ck_assert(all_count < sizeof(all) / sizeof(all[0]));
		all[all_count++] = s;
	}
}

static void check_row(const json_t *of_row, int64_t size_s, int sensor)
{
	int64_t start_ns;
	uint64_t count = 0;
	double sum = 0, min = 1000, max = -1000;
	ck_assert_int_eq(time_parse(text_of(of_row, "start"), 0, &start_ns), 0);
	int64_t start_s = (start_ns - rig_base_ns()) / NS_PER_SEC;
	for (size_t i = 0; i < all_count; i++) {
		const struct seen *s = &all[i];
		if (s->second < start_s || s->second >= start_s + size_s || (sensor >= 0 && s->sensor != (unsigned)sensor))
			continue;
		count++;
		sum += s->v;
		min = s->v < min ? s->v : min;
		max = s->v > max ? s->v : max;
	}
	ck_assert_uint_eq((uint64_t)value(of_row, "count"), count);
	ck_assert(value(of_row, "sum") == sum);
	if (json_object_get(json_object_get(of_row, "values"), "min"))
		ck_assert(value(of_row, "min") == min && value(of_row, "max") == max);
}

static int sensor_of(const json_t *of_row)
{
	const char *name = json_string_value(json_object_get(json_object_get(of_row, "group"), "sensor"));
	return name ? name[1] - '0' : -1;
}

static void check_rows(const json_t *answer, int64_t size_s)
{
	char before[200] = "";
	for (size_t i = 0; i < row_count(answer); i++) {
		char now[200];
		check_row(row(answer, i), size_s, sensor_of(row(answer, i)));
		snprintf(now, sizeof(now), "%s %d", text_of(row(answer, i), "start"), sensor_of(row(answer, i)));
		ck_assert_int_lt(strcmp(before, now), 0);
		memcpy(before, now, sizeof(now));
	}
}

static struct rig *new_rig(const char *yaml)
{
	random_state = 1;
	all_count = 0;
	return rig_new(yaml);
}

/* ---- what is in it --------------------------------------------------------------------------------------------- */

START_TEST(all_that_was_accepted)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR SLIDING);
	r->cloud.deaf = true;
	for (int i = 0; i < 12; i++) {
		feed(r, 300);
		if (i % 3 == 1)
			ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0); /* into batches */
		ck_assert_int_eq(rig_tick(r, 10), 0);
	}
	ck_assert(rig_records(r, SPOOL_BATCH) && rig_records(r, SPOOL_DELTA));
	ck_assert_uint_eq(check_held(r, "stream=load"), all_count);
	ck_assert_uint_eq(check_held(r, "stream=load&window=5m&by="), all_count);
	struct {
		const char *question;
		int64_t size_s;
		size_t rows; /* 0: any number */
	} cases[] = {
	    {"stream=load", 60, SENSORS * MINUTES},
	    {"stream=load&by=&window=3m", 180, 4},
	    {"stream=load&where=sensor=s1&where=sensor=s4", 60, 2 * MINUTES},
	    {"stream=load&where=sensor=none", 60, 0},
	    {"stream=slide", 60, 0},
	    {"stream=slide&by=sensor", 60, 0},
	    {"stream=slide&by=&window=90s", 90, 0},
	    {"stream=slide&by=site&window=90s", 90, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *answer = ask(r, cases[i].question);
		check_rows(answer, cases[i].size_s);
		ck_assert(json_is_null(json_object_get(answer, "next")));
		ck_assert(row_count(answer) || i == 3);
		if (cases[i].rows)
			ck_assert_uint_eq(row_count(answer), cases[i].rows);
		json_decref(answer);
	}
	rig_free(r);
}
END_TEST

START_TEST(from_and_to_are_of_windows)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	char question[120];
	feed(r, 2000);
	ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
	snprintf(question, sizeof(question), "stream=load&by=&from=%lld&to=%lld", (long long)(rig_base_ns() / NS_PER_SEC + 61),
	    (long long)(rig_base_ns() / NS_PER_SEC + 301));
	json_t *answer = ask(r, question);
	ck_assert_uint_eq(row_count(answer), 4); /* 120, 180, 240, 300 */
	check_rows(answer, 60);
	json_decref(answer);
	rig_free(r);
}
END_TEST

/* Batches that are all behind what is asked for are not looked into; but none that is not. */
START_TEST(what_is_left_out_by_its_time)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR SLIDING);
	char line[64], question[120];
	r->cloud.deaf = true;
	for (int s = 0; s < MINUTES * 60; s += 5) { /* a batch for each few seconds */
		all[all_count] = (struct seen){s, any(SENSORS), (int)any(100)};
		snprintf(line, sizeof(line), "load,sensor=s%u v=%d %%lld\n", all[all_count].sensor, all[all_count].v);
		all_count++;
		rig_line_at(r, 0, line, s);
		ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
	}
	for (int to = 0; to < 13 * 60; to += 10) {
		snprintf(question, sizeof(question), "stream=slide&by=&to=%lld", (long long)(rig_base_ns() / NS_PER_SEC) + to);
		json_t *answer = ask(r, question);
		check_rows(answer, 60);
		/* windows begin at -50, -30, -10, 10 ... 710 */
		ck_assert_uint_eq(row_count(answer), to > 710 ? 39 : (size_t)(to + 69) / 20);
		json_decref(answer);
	}
	rig_free(r);
}
END_TEST

/* Each page is a prefix of what is left. */
START_TEST(pages_are_the_whole)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR SLIDING);
	static const char *const questions[] = {"stream=load", "stream=slide&by=sensor", "stream=load&by=&window=2m"};
	r->cloud.deaf = true;
	for (int i = 0; i < 5; i++) {
		feed(r, 200);
		ck_assert_int_eq(pipeline_checkpoint(r->p, i % 2, rig_now(r)), 0);
	}
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		json_t *whole = ask(r, questions[i]);
		for (unsigned limit = 1; limit < 40; limit = limit * 2 + 1) {
			char *cursor = xstrdup("");
			size_t at = 0;
			while (cursor) {
				char *question = xasprintf("%s&limit=%u%s%s", questions[i], limit, *cursor ? "&cursor=" : "", cursor);
				json_t *page = ask(r, question);
				for (size_t k = 0; k < row_count(page); k++)
					ck_assert(json_equal(row(page, k), row(whole, at++)));
				ck_assert_uint_eq(held(page, "readings"), held(whole, "readings"));
				free(cursor);
				const char *next = text_of(page, "next");
				ck_assert(row_count(page) == limit || !next);
				cursor = next ? xstrdup(next) : NULL;
				json_decref(page);
				free(question);
			}
			ck_assert_uint_eq(at, row_count(whole));
		}
		json_decref(whole);
	}
	rig_free(r);
}
END_TEST

/* ---- what is not ----------------------------------------------------------------------------------------------- */

START_TEST(what_is_acknowledged_is_gone)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	for (int i = 0; i < 60; i++) {
		feed(r, 50);
		r->cloud.lose_batch_replies = i % 7 == 3;
		ck_assert_int_eq(rig_tick(r, 1000), 0);
		ck_assert_int_eq(rig_tick(r, 1000), 0); /* commits what was acknowledged */
		uint64_t here = check_held(r, "stream=load&by=");
		ck_assert_uint_ge(here + rig_merged(r, "load"), all_count);
		if (i % 20 == 19) {
			rig_crash(r);
			ck_assert_int_eq(rig_open(r), 0);
			ck_assert_uint_eq(check_held(r, "stream=load&by="), here);
		}
	}
	r->cloud.lose_batch_replies = false;
	pipeline_source_finished(r->p, 0, true);
	pipeline_source_finished(r->p, 1, true);
	rig_drain(r);
	json_t *answer = ask(r, "stream=load");
	ck_assert_uint_eq(row_count(answer), 0);
	ck_assert_uint_eq(held(answer, "acknowledged"), all_count);
	ck_assert(json_is_null(json_object_get(json_object_get(answer, "held"), "oldest")));
	json_decref(answer);
	rig_free(r);
}
END_TEST

START_TEST(what_is_not_committed_is_told)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.deaf = true;
	feed(r, 100);
	ck_assert_int_eq(rig_tick(r, 10), 0);
	feed(r, 17);
	json_t *answer = ask(r, "stream=load");
	ck_assert_uint_eq(readings(answer), 100);
	ck_assert_uint_eq(held(answer, "uncommitted"), 17);
	json_decref(answer);
	ck_assert_int_eq(rig_tick(r, 10), 0);
	ck_assert_uint_eq(check_held(r, "stream=load"), 117);
	rig_free(r);
}
END_TEST

START_TEST(a_spool_that_is_being_compacted)
{
	struct rig *r = new_rig(CLUSTER EDGE(SMALL) BY_SENSOR_HOUR);
	r->cloud.deaf = true;
	uint64_t fed = 0;
	size_t before = 0;
	bool rewrote = false;
	for (int flush = 0; flush < 100; flush++) {
		char line[100];
		for (unsigned i = 0; i < 2000; i++) {
			snprintf(line, sizeof(line), "load,sensor=sensor-number-%u v=%.17g %%lld\n", i, (double)(any(1u << 20)) / 7);
			rig_line_at(r, 0, line, flush);
		}
		fed += 2000;
		ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
		ck_assert_int_eq(rig_tick(r, 100), 0);
		size_t kept = rig_records(r, SPOOL_BATCH);
		rewrote |= kept < before;
		before = kept;
		ck_assert_uint_eq(check_held(r, "stream=load&by="), fed);
	}
	ck_assert(rewrote);
	rig_free(r);
}
END_TEST

START_TEST(damage_is_counted_and_told)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.deaf = true;
	feed(r, 500);
	ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
	feed(r, 500);
	ck_assert_int_eq(rig_tick(r, 10), 0);
	rig_damage(r, SPOOL_BATCH, 1);
	rig_damage(r, SPOOL_DELTA, 2); /* before it the cursor cannot pass a damaged one */
	rig_damage(r, SPOOL_DELTA, 0);
	json_t *answer = ask(r, "stream=load");
	ck_assert_uint_eq(held(answer, "unreadable"), 3);
	ck_assert_uint_eq(held(answer, "readings"), 1000);
	ck_assert(readings(answer) < 1000 && readings(answer) > 0);
	json_decref(answer);
	rig_free(r);
}
END_TEST

START_TEST(damaged_numbers_are_had_from_their_copy)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	r->cloud.deaf = true;
	feed(r, 500);
	ck_assert_int_eq(pipeline_checkpoint(r->p, true, rig_now(r)), 0);
	rig_spoil(r, SPOOL_MARK, bytes_of("shard/2", 7));
	rig_spoil(r, SPOOL_MARK, bytes_of("ledger/load", 11));
	ck_assert_uint_eq(check_held(r, "stream=load"), 500);
	rig_free(r);
}
END_TEST

/* ---- how it is told -------------------------------------------------------------------------------------------- */

START_TEST(windows_are_open_or_provisional)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) SPEED);
	r->cloud.deaf = true;
	for (int s = 0; s < 200; s += 10) {
		rig_line_at(r, 0, "traffic,sensor=60 speed=1 %lld\n", s);
		rig_line_at(r, 1, "traffic,sensor=61 speed=1 %lld\n", s);
	}
	ck_assert_int_eq(rig_tick(r, 10), 0);
	json_t *answer = ask(r, "stream=speed&by="); /* event time 190 s, lateness 10 s: at 180 s */
	ck_assert_uint_eq(row_count(answer), 4);
	ck_assert_str_eq(text_of(answer, "watermark"), text_of(row(answer, 3), "start"));
	for (size_t i = 0; i < 4; i++) {
		const json_t *edges = json_object_get(row(answer, i), "edges");
		ck_assert_str_eq(text_of(row(answer, i), "state"), i < 3 ? "provisional" : "open");
		ck_assert_int_eq(json_integer_value(json_object_get(edges, "expected")), 1);
		ck_assert_int_eq(json_integer_value(json_object_get(edges, "contributed")), i < 3);
		ck_assert_uint_eq(json_array_size(json_object_get(edges, "missing")), i < 3 ? 0 : 1);
		ck_assert(json_is_null(json_object_get(row(answer, i), "revision")));
	}
	json_decref(answer);
	rig_ticks(r, 40, 1000); /* idle */
	answer = ask(r, "stream=speed&by=");
	ck_assert_str_eq(text_of(row(answer, 3), "state"), "provisional");
	json_decref(answer);
	rig_free(r);
}
END_TEST

static void two_versions(void *arg, struct topology *t)
{
	(void)arg;
	t->map_version = 7;
	int64_t at_ns = rig_base_ns() + 120 * NS_PER_SEC;
	t->streams[0].phase = STREAM_CLOSING;
	t->streams[0].until_ns = t->streams[0].answers_until_ns = at_ns;
	t->streams[1].from_ns = at_ns;
}

#define LOAD(version, more) \
	"  - {name: load__" #version ", from: {measurement: load, field: v}, lateness: 0s, compute: [count, sum], " more "}\n"

START_TEST(each_version_answers_its_part)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) LOAD(1, "by: [sensor], window: 1m"));
	r->topology->streams[0].name[4] = 0;
	r->topology->streams[0].version = 1;
	rig_crash(r);
	ck_assert_int_eq(rig_open(r), 0);
	r->cloud.deaf = true;
	rig_line_at(r, 0, "load,sensor=s1 v=1 %lld\n", 30);
	ck_assert_int_eq(rig_tick(r, 10), 0);
	struct topology *t = rig_versions(CLUSTER EDGE(BIG) LOAD(1, "by: [sensor], window: 1m") LOAD(2, "by: [], window: 30s"), two_versions,
	    NULL);
	ck_assert_int_eq(rig_adopt(r, t, bytes_of("map", 3)), 0);
	rig_line_at(r, 0, "load,sensor=s2 v=2 %lld\n", 70);
	rig_line_at(r, 0, "load,sensor=s2 v=4 %lld\n", 125);
	rig_line_at(r, 0, "load,sensor=s3 v=8 %lld\n", 155);
	ck_assert_int_eq(rig_tick(r, 10), 0);
	json_t *answer = ask(r, "stream=load");
	static const double sums[] = {1, 2, 4, 8};
	ck_assert_uint_eq(row_count(answer), 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert(value(row(answer, i), "sum") == sums[i]);
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "versions")), 2);
	json_decref(answer);
	for (unsigned limit = 1, got = 0; limit < 4; limit++, got = 0) {
		char *cursor = NULL;
		do {
			char *question = xasprintf("stream=load&by=sensor&limit=%u%s%s", limit, cursor ? "&cursor=" : "", cursor ? cursor : "");
			answer = ask(r, question);
			for (size_t i = 0; i < row_count(answer); i++)
				ck_assert(value(row(answer, i), "sum") == sums[got++]);
			free(cursor);
			free(question);
			cursor = text_of(answer, "next") ? xstrdup(text_of(answer, "next")) : NULL;
			json_decref(answer);
		} while (cursor);
		ck_assert_uint_eq(got, 4);
	}
	rig_free(r);
}
END_TEST

START_TEST(it_ends_when_told_and_begins_again)
{
	struct rig *r = new_rig(CLUSTER EDGE(BIG) BY_SENSOR);
	struct local_query q;
	struct patience patience = {.left = UINT32_MAX};
	r->cloud.deaf = true;
	for (int i = 0; i < 8; i++) {
		feed(r, 1000);
		ck_assert_int_eq(pipeline_checkpoint(r->p, i % 2, rig_now(r)), 0);
	}
	open_query(r, "stream=load", &q);
	ck_assert_int_eq(run(r, &q, &patience), 0);
	unsigned asked = patience.asked;
	ck_assert_uint_gt(asked, 0);
	for (unsigned n = 0; n < asked; n++) {
		patience.left = n;
		ck_assert_int_eq(run(r, &q, &patience), WEIR_ETIMEOUT);
	}
	patience.left = UINT32_MAX;
	ck_assert_int_eq(run(r, &q, &patience), 0);
	json_t *answer = put(r, &q);
	ck_assert_uint_eq(readings(answer), 8000);
	json_decref(answer);
	local_query_clear(&q);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/local_query");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, all_that_was_accepted);
	tcase_add_test(tc, from_and_to_are_of_windows);
	tcase_add_test(tc, what_is_left_out_by_its_time);
	tcase_add_test(tc, pages_are_the_whole);
	tcase_add_test(tc, what_is_acknowledged_is_gone);
	tcase_add_test(tc, what_is_not_committed_is_told);
	tcase_add_test(tc, a_spool_that_is_being_compacted);
	tcase_add_test(tc, damage_is_counted_and_told);
	tcase_add_test(tc, damaged_numbers_are_had_from_their_copy);
	tcase_add_test(tc, windows_are_open_or_provisional);
	tcase_add_test(tc, each_version_answers_its_part);
	tcase_add_test(tc, it_ends_when_told_and_begins_again);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
