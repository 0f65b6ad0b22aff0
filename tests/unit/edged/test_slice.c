/* Open partials, groups, the table under them, progress of event time, and the ledger: the small parts. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/ledger.h"
#include "edged/progress.h"
#include "edged/slice.h"

struct parts {
	struct stream_conf conf[2];
	struct topology topology;
	struct ledger ledger;
	struct streams streams;
	struct groups groups;
	struct slices slices;
};

static struct parts *parts_new(void)
{
	static struct function_conf compute[] = {{.fn = FN_COUNT}, {.fn = FN_SUM}, {.fn = FN_QUANTILE, .q = 0.5}};
	struct parts *p = xcalloc(1, sizeof(*p));
	for (size_t i = 0; i < 2; i++)
		p->conf[i] = (struct stream_conf){.name = (char *)(i ? "b" : "a"), .version = 1, .slice_ns = 10, .size_ns = 30,
		    .advance_ns = 10, .compute = compute, .compute_count = i ? 3 : 2};
	p->topology = (struct topology){.cluster = (char *)"c", .shards = 4, .streams = p->conf, .stream_count = 2};
	streams_init(&p->streams, &p->topology, &p->ledger);
	groups_init(&p->groups, &p->topology);
	slices_init(&p->slices, &p->groups);
	return p;
}

static void parts_free(struct parts *p)
{
	slices_free(&p->slices);
	groups_free(&p->groups); /* asserts that every group was given back */
	streams_free(&p->streams);
	ledger_free(&p->ledger);
	free(p);
}

static void add(struct parts *p, size_t stream, const char *group, int64_t t_ns, int64_t mono_ns)
{
	struct group *g = group_get(&p->groups, p->streams.list[stream], bytes_of(group, strlen(group)));
	slices_add(&p->slices, g, t_ns, 1, NULL, mono_ns);
	group_put(&p->groups, g);
}

static size_t due_count(const struct parts *p)
{
	size_t n = 0;
	for (const struct slice *s = p->slices.first; s; s = s->next)
		n += s->due;
	return n;
}

START_TEST(readings_find_their_partials)
{
	struct parts *p = parts_new();
	for (int64_t t = -25; t < 25; t++)
		add(p, 0, t % 2 ? "x" : "y", t, 0);
	ck_assert_uint_eq(p->slices.slice_count, 6); /* -30 -20 -10 0 10 20 */
	ck_assert_uint_eq(p->slices.entry_count, 12);
	add(p, 1, "x", 0, 0); /* the same group of another stream */
	ck_assert_uint_eq(p->slices.entry_count, 13);
	uint64_t total = 0;
	for (const struct slice *s = p->slices.first; s; s = s->next) {
		ck_assert(s->start_ns == time_floor(s->start_ns, 10, 0) && s->end_ns == s->start_ns + 10);
		for (const struct slice_entry *e = s->first; e; e = e->next)
			total += e->partial.count;
	}
	ck_assert_uint_eq(total, 51);
	parts_free(p);
}
END_TEST

START_TEST(what_is_due_goes_with_the_commit_only)
{
	struct parts *p = parts_new();
	add(p, 0, "x", 5, 100);
	add(p, 0, "x", 15, 200);
	add(p, 1, "x", 5, 300);
	slices_due_ended(&p->slices, p->streams.list[0], 10);
	ck_assert_uint_eq(due_count(p), 1);
	slices_rolled_back(&p->slices);
	ck_assert_uint_eq(due_count(p), 0);
	ck_assert_uint_eq(p->slices.entry_count, 3);
	slices_due_opened(&p->slices, 200);
	ck_assert_uint_eq(due_count(p), 2);
	slices_committed(&p->slices);
	ck_assert_uint_eq(p->slices.entry_count, 1);
	ck_assert_ptr_null(p->slices.dirty);
	ck_assert(p->slices.first->first->stored);
	add(p, 0, "x", 5, 400); /* the slice may open again */
	ck_assert_uint_eq(p->slices.entry_count, 2);
	ck_assert_ptr_nonnull(p->slices.dirty);
	slices_due_all(&p->slices);
	slices_committed(&p->slices);
	ck_assert_uint_eq(p->slices.memory_bytes, 0);
	ck_assert_uint_eq(p->groups.table.count, 0);
	parts_free(p);
}
END_TEST

START_TEST(memory_is_measured_and_the_largest_go_first)
{
	struct parts *p = parts_new();
	char name[16];
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		add(p, 0, name, 5, 0);
	}
	add(p, 0, "x", 15, 0);
	size_t small = p->slices.last->memory_bytes, all = p->slices.memory_bytes;
	ck_assert_uint_gt(p->slices.first->memory_bytes, 50 * small / 2);
	slices_due_largest(&p->slices, all);
	ck_assert_uint_eq(due_count(p), 0);
	slices_due_largest(&p->slices, small * 2);
	ck_assert_uint_eq(due_count(p), 1);
	ck_assert(p->slices.first->due);
	/* a sketch that grows is seen */
	size_t before = p->slices.memory_bytes;
	struct group *g = group_get(&p->groups, p->streams.list[1], bytes_of("q", 1));
	double v = 1;
	for (int i = 0; i < 4096; i++, v *= 1.01)
		slices_add(&p->slices, g, 5, v, NULL, 0);
	group_put(&p->groups, g);
	ck_assert_uint_gt(p->slices.memory_bytes, before + 500);
	parts_free(p);
}
END_TEST

START_TEST(a_restored_partial_goes_on)
{
	struct parts *p = parts_new();
	struct group *g = group_get(&p->groups, p->streams.list[0], bytes_of("x", 1));
	struct partial one = {0}, two = {0};
	partial_add(&one, &p->streams.list[0]->spec, 3, 7);
	partial_add(&two, &p->streams.list[0]->spec, 3, 7);
	ck_assert(slices_restore(&p->slices, g, 0, &one, 0));
	ck_assert_uint_eq(one.count, 0); /* taken over */
	ck_assert(!slices_restore(&p->slices, g, 0, &two, 0));
	ck_assert_uint_eq(two.count, 1);
	partial_clear(&two, &p->streams.list[0]->spec);
	ck_assert_ptr_null(p->slices.dirty);
	slices_add(&p->slices, g, 4, 1, NULL, 0);
	ck_assert_uint_eq(p->slices.first->first->partial.count, 2);
	group_put(&p->groups, g);
	parts_free(p);
}
END_TEST

struct number {
	uint64_t key;
	uint64_t hash;
};

static bool same_number(const void *item, const void *key)
{
	return ((const struct number *)item)->key == *(const uint64_t *)key;
}

START_TEST(the_table_against_a_model)
{
	enum { N = 400 };
	static struct number numbers[N];
	bool in[N] = {0};
	struct table t = {0};
	uint32_t x = 1;
	for (uint64_t i = 0; i < N; i++)
		numbers[i] = (struct number){i, i % 7 * 3}; /* long chains, and some that wrap round the end */
	for (int step = 0; step < 40000; step++) {
		x = x * 1664525 + 1013904223;
		uint64_t i = (x >> 8) % N;
		ck_assert((table_find(&t, numbers[i].hash, same_number, &i) == &numbers[i]) == in[i]);
		if (in[i])
			table_remove(&t, numbers[i].hash, &numbers[i]);
		else
			table_insert(&t, numbers[i].hash, &numbers[i]);
		in[i] = !in[i];
	}
	size_t count = 0;
	for (uint64_t i = 0; i < N; i++) {
		ck_assert((table_find(&t, numbers[i].hash, same_number, &i) != NULL) == in[i]);
		count += in[i];
	}
	ck_assert_uint_eq(t.count, count);
	table_free(&t);
}
END_TEST

START_TEST(event_time_is_the_slowest_source_that_is_alive)
{
	struct progress p;
	int64_t t = 0;
	const int64_t s = NS_PER_SEC;
	progress_init(&p, 3, 30 * s, s, 0);
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_NONE);
	progress_reading(&p, 0, 100, s);
	progress_reading(&p, 1, 50, s);
	progress_reading(&p, 1, 40, s); /* out of order */
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_NONE); /* the third may still have older ones */
	progress_finished(&p, 2, true, s);
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_AT);
	ck_assert(t == 50);
	for (int64_t now = 2; now <= 40; now++) {
		progress_reading(&p, 0, 100 + now, now * s);
		progress_update(&p, false, now * s);
		ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_AT);
		ck_assert(t == (now < 31 ? 50 : 100 + now)); /* source 1 is idle from then on */
	}
	progress_finished(&p, 0, true, 40 * s);
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_IDLE);
	progress_reading(&p, 1, 60, 41 * s);
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_AT);
	for (int64_t now = 41; now <= 100; now++)
		progress_update(&p, true, now * s); /* paused: not its fault */
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_AT);
	progress_update(&p, false, 200 * s); /* nor when the process did not run */
	ck_assert_int_eq(progress_event_time(&p, &t), PROGRESS_AT);
	progress_free(&p);
}
END_TEST

START_TEST(the_watermark_of_a_stream)
{
	ck_assert(progress_watermark(INT64_MIN, 100, 10, INT64_MAX) == 90);
	ck_assert(progress_watermark(INT64_MIN, 100, 10, 70) == 70);
	ck_assert(progress_watermark(80, 100, 10, 70) == 80); /* never falls */
	ck_assert(progress_watermark(INT64_MIN, TIME_MIN_NS, INT64_MAX / 2, INT64_MAX) <= TIME_MIN_NS);
}
END_TEST

START_TEST(the_ledger_goes_through_the_checkpoint)
{
	struct ledger l = {.accepted = 5, .unmatched = 2}, m = {0};
	char label[LEDGER_LABEL_MAX + 20];
	for (int i = 0; i < 200; i++) { /* more reasons than there is room for */
		snprintf(label, sizeof(label), "reason_%d_%s", i, i == 7 ? "with_a_name_that_is_much_longer_than_any_of_ours" : "");
		ledger_refuse(&l, label);
		ledger_refuse(&l, label);
	}
	ck_assert_uint_eq(ledger_refused(&l), 400);
	ck_assert_uint_eq(l.refused_count, REASON_COUNTS_MAX);
	ck_assert_str_eq(l.refused[REASON_COUNTS_MAX - 1].label, "other");
	struct ledger_stream *s = ledger_stream(&l, "speed");
	ck_assert_ptr_eq(ledger_stream(&l, "speed"), s);
	s->matched = 10;
	s->aggregated = 7;
	s->acked = 3;
	s->dropped[DROP_RANGE] = 3;
	ledger_take_back(s, DROP_READMITTED, 4);
	ck_assert_uint_eq(s->aggregated, 3);
	ck_assert_uint_eq(s->matched, s->aggregated + ledger_dropped(s));
	struct buf b = {0}, c = {0};
	l.read = l.accepted + 400;
	ledger_encode(&l, &b);
	ledger_stream_encode(s, &c);
	ck_assert_int_eq(ledger_decode(&m, bytes_of(b.data, b.len)), 0);
	struct ledger_stream *n = ledger_stream(&m, "speed");
	ck_assert_int_eq(ledger_stream_decode(n, bytes_of(c.data, c.len)), 0);
	ck_assert_uint_eq(ledger_refused(&m), 400);
	ck_assert_uint_eq(m.accepted, 5);
	ck_assert_uint_eq(m.unmatched, 2);
	ck_assert_int_eq(memcmp(n->dropped, s->dropped, sizeof(n->dropped)), 0);
	ck_assert_uint_eq(n->acked, 3);
	for (size_t k = 0; k < b.len; k++)
		ck_assert_int_lt(ledger_decode(&m, bytes_of(b.data, k)), 0);
	for (size_t k = 0; k < c.len; k++) {
		struct ledger_stream copy = *n;
		ck_assert_int_lt(ledger_stream_decode(&copy, bytes_of(c.data, k)), 0);
	}
	/* sums that do not hold were never written */
	l.read++;
	s->matched++;
	buf_clear(&b);
	buf_clear(&c);
	ledger_encode(&l, &b);
	ledger_stream_encode(s, &c);
	ck_assert_int_eq(ledger_decode(&m, bytes_of(b.data, b.len)), WEIR_ECORRUPT);
	ck_assert_int_eq(ledger_stream_decode(n, bytes_of(c.data, c.len)), WEIR_ECORRUPT);
	buf_free(&b);
	buf_free(&c);
	ledger_free(&l);
	ledger_free(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/slice");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, readings_find_their_partials);
	tcase_add_test(tc, what_is_due_goes_with_the_commit_only);
	tcase_add_test(tc, memory_is_measured_and_the_largest_go_first);
	tcase_add_test(tc, a_restored_partial_goes_on);
	tcase_add_test(tc, the_table_against_a_model);
	tcase_add_test(tc, event_time_is_the_slowest_source_that_is_alive);
	tcase_add_test(tc, the_watermark_of_a_stream);
	tcase_add_test(tc, the_ledger_goes_through_the_checkpoint);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
