/* Rows as samples of remote write, and what is sent of a batch that a receiver refuses in part. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/pieces.h"
#include "cloudd/remote_write.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "common/window.h"
#include "proto/prometheus.pb-c.h"

#define TEXT \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"streams:\n" \
	"  - {name: s.x, from: {measurement: m, field: f}, by: [site, Zone], window: 10s, compute: [count, mean, stddev, p99.9]}\n" \
	"  - {name: n, from: {measurement: m, field: f}, window: 10s, compute: [count]}\n" \
	"sinks:\n" \
	"  - {name: a, type: remote_write, url: \"http://127.0.0.1:9090/api/v1/write\", labels: {plant: north, _a: \"\xc3\xa9\"}}\n"

#define ROWS_MAX 16

static struct topology *t;
static struct partial_spec specs[2];
static struct sink_row rows[ROWS_MAX];
static struct buf groups[ROWS_MAX];
static struct sink_batch batch;
static struct remote_write *w;

static void setup(void)
{
	struct buf errors = {0};
	ck_assert_msg(!topology_parse("t.yaml", TEXT, strlen(TEXT), &t, &errors), "%s", buf_cstr(&errors));
	for (size_t i = 0; i < 2; i++)
		partial_spec_of(&t->streams[i], 0, PARTIAL_QUANTILE_CAP_CLOUD, &specs[i]);
	const struct sink_conf *c = &t->sinks[0];
	w = remote_write_new(&(struct remote_write_options){c->remote_write.labels, c->remote_write.label_count, c->remote_write.histograms});
	batch = (struct sink_batch){.rows = rows};
}

static void teardown(void)
{
	for (size_t i = 0; i < batch.count; i++) {
		partial_clear(&rows[i].row.partial, rows[i].spec);
		buf_free(&groups[i]);
	}
	remote_write_free(w);
	topology_free(t);
}

/* A window of readings of that value. */
static void add(size_t stream, const char *site, int64_t start_s, double value, unsigned readings)
{
	struct sink_row *r = &rows[batch.count];
	struct buf *group = &groups[batch.count++];
	*group = (struct buf){0};
	if (!stream) {
		buf_str(group, site);
		buf_str(group, "");
	}
	*r = (struct sink_row){.stream = &t->streams[stream], .spec = &specs[stream]};
	r->row = (struct row){.start_ns = start_s * NS_PER_SEC, .end_ns = (start_s + 10) * NS_PER_SEC, .group = bytes_of(group->data, group->len),
		.state = WINDOW_FINAL, .revision = 1};
	for (unsigned i = 0; i < readings; i++)
		partial_add(&r->row.partial, r->spec, start_s * NS_PER_SEC + i, value);
}

/* The series of sample i, as text, and its message. */
static const char *series(size_t i, Prometheus__TimeSeries **ret)
{
	static struct buf out;
	struct buf raw = {0};
	buf_clear(&out);
	ck_assert_uint_eq(remote_write_request(w, i, 1, 1, &raw), 1);
	size_t at = 1 + (raw.data[1] < 0x80 ? 1 : 2);
	ck_assert_uint_eq(raw.data[0], 0x0a);
	Prometheus__TimeSeries *ts = prometheus__time_series__unpack(NULL, raw.len - at, raw.data + at);
	ck_assert_ptr_nonnull(ts);
	for (size_t k = 0; k < ts->n_labels; k++)
		buf_printf(&out, "%s%.*s=%.*s", k ? " " : "", (int)ts->labels[k]->name.len, (char *)ts->labels[k]->name.data,
		    (int)ts->labels[k]->value.len, (char *)ts->labels[k]->value.data);
	buf_free(&raw);
	*ret = ts;
	return buf_cstr(&out);
}

static void is(size_t i, const char *labels, double value)
{
	Prometheus__TimeSeries *ts;
	ck_assert_str_eq(series(i, &ts), labels);
	ck_assert(ts->n_samples == 1 && ts->n_histograms == 0);
	ck_assert_double_eq(ts->samples[0]->value, value);
	ck_assert_int_eq(ts->samples[0]->timestamp, remote_write_at(w, i)->t_ms);
	prometheus__time_series__free_unpacked(ts, NULL);
}

START_TEST(a_row_is_a_sample_of_each_function_and_its_sketch)
{
	Prometheus__TimeSeries *ts;
	add(0, "n\xffx", 1000, 4, 1);
	remote_write_make(w, &batch, NULL);
	ck_assert_uint_eq(remote_write_count(w), 4); /* no stddev of one reading */
	is(0, "__name__=weir:s_x:count _a=\xc3\xa9 plant=north site=n\xef\xbf\xbdx", 1);
	is(1, "__name__=weir:s_x:mean _a=\xc3\xa9 plant=north site=n\xef\xbf\xbdx", 4);
	is(2, "__name__=weir:s_x:p99_9 _a=\xc3\xa9 plant=north site=n\xef\xbf\xbdx", 4);
	ck_assert_str_eq(series(3, &ts), "__name__=weir:s_x _a=\xc3\xa9 plant=north site=n\xef\xbf\xbdx");
	ck_assert(ts->n_samples == 0 && ts->n_histograms == 1);
	Prometheus__Histogram *h = prometheus__histogram__unpack(NULL, ts->histograms[0].len, ts->histograms[0].data);
	ck_assert(h && h->timestamp == 1010000 && h->count_int == 1 && h->schema == 6 && h->reset_hint == PROMETHEUS__RESET_HINT__GAUGE);
	prometheus__histogram__free_unpacked(h, NULL);
	prometheus__time_series__free_unpacked(ts, NULL);
	struct buf which = {0};
	remote_write_describe(w, 1, &which);
	ck_assert_str_eq(buf_cstr(&which), "weir:s_x:mean{_a=\"\xc3\xa9\",plant=\"north\",site=\"n\xef\xbf\xbdx\"} at 1970-01-01T00:16:50Z");
	buf_free(&which);
}
END_TEST

START_TEST(sketches_may_stay_at_home)
{
	struct remote_write *plain = remote_write_new(&(struct remote_write_options){0});
	add(0, "a", 1000, 4, 2);
	remote_write_make(plain, &batch, NULL);
	ck_assert_uint_eq(remote_write_count(plain), 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_uint_lt(remote_write_at(plain, i)->function, t->streams[0].compute_count);
	remote_write_free(plain);
}
END_TEST

START_TEST(samples_are_in_order_and_each_place_is_once)
{
	add(1, "", 1020, 1, 3);
	add(1, "", 1000, 1, 1);
	add(0, "b", 1000, 1, 2);
	add(1, "", 1000, 1, 2); /* the same window again */
	add(1, "", 1010, 1, 4);
	remote_write_make(w, &batch, NULL);
	ck_assert_uint_eq(remote_write_count(w), 5 + 3);
	for (size_t i = 1; i < 8; i++)
		ck_assert_int_le(remote_write_at(w, i - 1)->t_ms, remote_write_at(w, i)->t_ms);
	is(0, "__name__=weir:s_x:count _a=\xc3\xa9 plant=north site=b", 2);
	is(5, "__name__=weir:n:count _a=\xc3\xa9 plant=north", 2); /* the last word */
	is(6, "__name__=weir:n:count _a=\xc3\xa9 plant=north", 4);
	is(7, "__name__=weir:n:count _a=\xc3\xa9 plant=north", 3);
	ck_assert_uint_eq(remote_write_at(w, 5)->row, 3);
	ck_assert_uint_eq(remote_write_lost(w), 0);
}
END_TEST

/* What a series' label cannot hold is not passed over in silence. */
START_TEST(groups_that_become_one_series_are_counted)
{
	add(0, "a\xff", 1000, 1, 2);
	add(0, "a\xfe", 1000, 1, 3);
	add(0, "b", 1000, 1, 4);
	add(0, "a\xfe", 1000, 1, 5); /* the same window again */
	add(0, "a\xff", 1010, 1, 6); /* another one */
	remote_write_make(w, &batch, NULL);
	ck_assert_uint_eq(remote_write_count(w), 3 * 5);
	is(0, "__name__=weir:s_x:count _a=\xc3\xa9 plant=north site=b", 4);
	is(5, "__name__=weir:s_x:count _a=\xc3\xa9 plant=north site=a\xef\xbf\xbd", 5);
	ck_assert_uint_eq(remote_write_lost(w), 1);
	remote_write_make(w, &batch, NULL);
	ck_assert_uint_eq(remote_write_lost(w), 1);
}
END_TEST

START_TEST(parts_of_what_is_over_max_groups_are_told_apart)
{
	for (uint32_t shard = 0; shard < 2; shard++) {
		uint8_t room[GROUP_KEY_MAX];
		struct bytes other = group_other(2, room);
		add(0, "x", 1000, 1, shard + 1);
		buf_clear(&groups[shard]);
		buf_put(&groups[shard], other.p, other.n);
		rows[shard].row.group = bytes_of(groups[shard].data, groups[shard].len);
		rows[shard].shard = shard + 4;
	}
	remote_write_make(w, &batch, NULL);
	is(0, "Zone=__other__ __name__=weir:s_x:count _a=\xc3\xa9 plant=north site=__other__ weir_shard=4", 1);
	is(4, "Zone=__other__ __name__=weir:s_x:count _a=\xc3\xa9 plant=north site=__other__ weir_shard=5", 2);
}
END_TEST

START_TEST(what_has_arrived_is_left_out_and_nothing_else)
{
	struct remote_write_arrived *arrived = xcalloc(1, sizeof(*arrived));
	add(1, "", 1000, 1, 1);
	add(1, "", 1010, 1, 1);
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 2);
	remote_write_note(arrived, remote_write_at(w, 0));
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 1);
	ck_assert_int_eq(remote_write_at(w, 0)->t_ms, 1020000);
	partial_add(&rows[0].row.partial, rows[0].spec, 1000 * NS_PER_SEC, 1); /* a revision of it */
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 2);
	remote_write_note(arrived, remote_write_at(w, 0));
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 1);
	partial_clear(&rows[0].row.partial, rows[0].spec); /* another one, with the value of the first */
	partial_add(&rows[0].row.partial, rows[0].spec, 1000 * NS_PER_SEC, 1);
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 2);
	batch.count = 0;
	remote_write_make(w, &batch, NULL);
	ck_assert_uint_eq(remote_write_count(w), 0);
	batch.count = 2;
	free(arrived);
}
END_TEST

/* So many of one set, the oldest of which goes. */
START_TEST(of_what_has_arrived_the_oldest_is_forgotten)
{
	struct remote_write_arrived *arrived = xcalloc(1, sizeof(*arrived));
	const struct remote_write_sample *s;
	add(1, "", 1000, 1, 1);
	remote_write_make(w, &batch, NULL);
	s = remote_write_at(w, 0);
	remote_write_note(arrived, s);
	for (uint64_t i = 1; i <= REMOTE_WRITE_WAYS; i++) {
		remote_write_make(w, &batch, arrived);
		ck_assert_uint_eq(remote_write_count(w), 0);
		remote_write_note(arrived, &(struct remote_write_sample){.place = s->place + i * REMOTE_WRITE_SETS, .id = i});
		remote_write_note(arrived, &(struct remote_write_sample){.place = s->place + i * REMOTE_WRITE_SETS, .id = i + 1});
	}
	remote_write_make(w, &batch, arrived);
	ck_assert_uint_eq(remote_write_count(w), 1);
	free(arrived);
}
END_TEST

START_TEST(requests_are_bounded_by_samples_and_bytes)
{
	struct buf raw = {0};
	for (int i = 0; i < 10; i++)
		add(1, "", 1000 + i * 10, 1, 1);
	remote_write_make(w, &batch, NULL);
	size_t one = remote_write_at(w, 0)->bytes;
	ck_assert_uint_eq(remote_write_request(w, 0, 4, 1 << 20, &raw), 4);
	ck_assert_uint_eq(raw.len, 4 * one);
	ck_assert_uint_eq(remote_write_request(w, 8, 4, 1 << 20, &raw), 2);
	ck_assert_uint_eq(remote_write_request(w, 0, 10, 3 * one, &raw), 3);
	ck_assert_uint_eq(remote_write_request(w, 0, 10, 3 * one - 1, &raw), 2);
	ck_assert_uint_eq(remote_write_request(w, 0, 10, 1, &raw), 1);
	buf_free(&raw);
}
END_TEST

/* ---- pieces -------------------------------------------------------------------------------------------------------- */

/* A receiver that refuses whatever holds one of the items of `bad`, and has room for `room` of them. Returns how often it was asked. */
static size_t send_all(size_t count, size_t most, size_t room, const bool *bad, size_t *ret_taken, size_t *ret_passed)
{
	size_t asked = 0, next = 0;
	struct pieces p = pieces_of(count, most);
	*ret_taken = *ret_passed = 0;
	for (size_t left; (left = pieces_left(&p)) > 0; asked++) {
		size_t n = left < room ? left : room, refused = 0;
		ck_assert(n <= most && p.at == next && p.at + n <= count);
		for (size_t i = p.at; i < p.at + n; i++)
			refused += bad[i];
		if (!refused) {
			*ret_taken += n;
			pieces_taken(&p, n);
			next += n;
		} else if (pieces_refused(&p, n)) {
			ck_assert(bad[next]);
			++*ret_passed;
			next++;
		}
	}
	ck_assert_uint_eq(next, count);
	return asked;
}

START_TEST(what_is_refused_loses_nothing_beside_it)
{
	static const struct {
		size_t count, most, room;
	} sizes[] = {{0, 5, 5}, {1, 1, 1}, {1, 9, 9}, {100, 100, 7}, {500, 64, 500}, {4096, 2000, 2000}};
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t step = 1; step < 6000; step = 2 * step + 1) {
			bool bad[4096] = {false};
			size_t taken, passed, want = 0;
			for (size_t i = step / 2; i < sizes[s].count; i += step)
				want += bad[i] = true;
			size_t asked = send_all(sizes[s].count, sizes[s].most, sizes[s].room, bad, &taken, &passed);
			ck_assert_uint_eq(passed, want);
			ck_assert_uint_eq(taken, sizes[s].count - want);
			if (sizes[s].most == 2000) /* a few log2 for each that is refused */
				ck_assert_uint_le(asked, 3 + want * 24);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote_write");
	TCase *c = tcase_create("samples");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_row_is_a_sample_of_each_function_and_its_sketch);
	tcase_add_test(c, sketches_may_stay_at_home);
	tcase_add_test(c, samples_are_in_order_and_each_place_is_once);
	tcase_add_test(c, groups_that_become_one_series_are_counted);
	tcase_add_test(c, parts_of_what_is_over_max_groups_are_told_apart);
	tcase_add_test(c, what_has_arrived_is_left_out_and_nothing_else);
	tcase_add_test(c, of_what_has_arrived_the_oldest_is_forgotten);
	tcase_add_test(c, requests_are_bounded_by_samples_and_bytes);
	suite_add_tcase(s, c);
	c = tcase_create("pieces");
	tcase_add_test(c, what_is_refused_loses_nothing_beside_it);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
