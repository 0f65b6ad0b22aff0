#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/line.h"
#include "common/simulate.h"

static struct source_conf conf_of(void)
{
	return (struct source_conf){.type = SOURCE_SIMULATE, .sensors = 3, .every_ns = NS_PER_SEC, .seed = 7, .count = 5000,
	    .measurement = (char *)"m 1", .field = (char *)"v", .mean = 20, .noise = 1, .drift = 5,
	    .start_ns = 1000 * NS_PER_SEC, .late_by_ns = 10 * NS_PER_SEC};
}

static void run(struct simulate *s, struct buf *out)
{
	struct simulate_reading r[SIMULATE_READINGS_MAX];
	while (!simulate_finished(s)) {
		size_t n = simulate_step(s, r);
		for (size_t i = 0; i < n; i++)
			simulate_put_line(s->conf, &r[i], out);
	}
}

static void run_whole(const struct source_conf *c, struct buf *out)
{
	struct simulate s;
	simulate_init(&s, c, 0);
	run(&s, out);
}

START_TEST(plain_sensors_give_each_tick_once)
{
	struct source_conf c = conf_of();
	struct simulate s;
	struct simulate_reading r[SIMULATE_READINGS_MAX];
	simulate_init(&s, &c, 0);
	double sum = 0, square = 0;
	for (uint64_t tick = 0; tick < c.count; tick++) {
		for (unsigned sensor = 1; sensor <= c.sensors; sensor++) {
			ck_assert(!simulate_finished(&s));
			ck_assert(simulate_next_ns(&s) == c.start_ns + (int64_t)tick * c.every_ns);
			ck_assert_uint_eq(simulate_step(&s, r), 1);
			ck_assert_uint_eq(r[0].sensor, sensor);
			ck_assert(r[0].t_ns == c.start_ns + (int64_t)tick * c.every_ns);
			sum += r[0].value;
			square += (r[0].value - c.mean) * (r[0].value - c.mean);
		}
	}
	ck_assert(simulate_finished(&s));
	double n = (double)(c.count * c.sensors);
	ck_assert_double_eq_tol(sum / n, 20, 0.5);
	ck_assert_double_eq_tol(sqrt(square / n), sqrt(1 + 12.5), 0.3); /* noise 1, and a sine of amplitude 5 */
}
END_TEST

START_TEST(the_same_seed_the_same_readings)
{
	struct source_conf c = conf_of();
	c.spikes = c.gaps = c.late = c.duplicates = 0.05;
	struct buf a = {0}, b = {0};
	run_whole(&c, &a);
	run_whole(&c, &b);
	ck_assert(a.len == b.len && !memcmp(a.data, b.data, a.len));
	c.seed++;
	buf_clear(&b);
	run_whole(&c, &b);
	ck_assert(a.len != b.len || memcmp(a.data, b.data, a.len));
	buf_free(&a);
	buf_free(&b);
}
END_TEST

START_TEST(going_on_at_any_position_is_exact)
{
	struct source_conf c = conf_of();
	c.count = 40;
	c.late = c.duplicates = c.gaps = 0.2;
	struct buf whole = {0};
	run_whole(&c, &whole);
	for (unsigned steps = 0; steps < 100; steps++) {
		struct simulate s, again;
		struct simulate_reading r[SIMULATE_READINGS_MAX];
		struct buf b = {0};
		simulate_init(&s, &c, 0);
		for (unsigned i = 0; i < steps; i++) {
			size_t n = simulate_step(&s, r);
			for (size_t k = 0; k < n; k++)
				simulate_put_line(&c, &r[k], &b);
		}
		simulate_init(&again, &c, 0);
		again.tick = s.tick;
		again.sensor = s.sensor;
		run(&again, &b);
		ck_assert(b.len == whole.len && !memcmp(b.data, whole.data, b.len));
		buf_free(&b);
	}
	buf_free(&whole);
}
END_TEST

START_TEST(late_duplicates_and_gaps_come_as_often_as_asked)
{
	struct source_conf c = conf_of();
	c.sensors = 1;
	c.late = 0.1;
	c.duplicates = 0.2;
	c.gaps = 0.3;
	struct simulate s;
	struct simulate_reading r[SIMULATE_READINGS_MAX];
	simulate_init(&s, &c, 0);
	uint64_t seen[5000] = {0};
	size_t late = 0, twice = 0, missing = 0;
	while (!simulate_finished(&s)) {
		int64_t now = simulate_next_ns(&s);
		size_t n = simulate_step(&s, r);
		for (size_t i = 0; i < n; i++) {
			uint64_t tick = (uint64_t)((r[i].t_ns - c.start_ns) / c.every_ns);
			ck_assert_uint_lt(tick, c.count);
			ck_assert(r[i].t_ns <= now && now - r[i].t_ns <= c.late_by_ns);
			late += r[i].t_ns < now && !seen[tick];
			seen[tick]++;
		}
	}
	for (size_t i = 0; i < c.count; i++) {
		ck_assert_uint_le(seen[i], 2);
		twice += seen[i] == 2;
		missing += seen[i] == 0;
	}
	ck_assert_uint_ge(late, 250); /* of 5000 * 0.7: about 350 */
	ck_assert_uint_le(late, 450);
	ck_assert_uint_ge(twice, 600); /* about 700 */
	ck_assert_uint_le(twice, 800);
	ck_assert_uint_ge(missing, 1400); /* about 1500 */
	ck_assert_uint_le(missing, 1600);
}
END_TEST

START_TEST(skipping_goes_to_the_next_tick)
{
	struct source_conf c = conf_of();
	struct simulate s;
	simulate_init(&s, &c, 0);
	s.sensor = 2;
	simulate_skip_to(&s, c.start_ns - 5);
	ck_assert_uint_eq(s.tick, 0);
	ck_assert_uint_eq(s.sensor, 2);
	simulate_skip_to(&s, c.start_ns + 5 * c.every_ns);
	ck_assert_uint_eq(s.tick, 5);
	ck_assert_uint_eq(s.sensor, 0);
	simulate_skip_to(&s, c.start_ns + 5 * c.every_ns + 1);
	ck_assert_uint_eq(s.tick, 6);
	c.start_ns = INT64_MIN;
	simulate_init(&s, &c, 77);
	ck_assert(simulate_next_ns(&s) == 77);
}
END_TEST

static void count_line(void *arg, const struct line *l)
{
	size_t *lines = arg;
	ck_assert_uint_eq(l->tag_count, 1);
	ck_assert_uint_eq(l->measurement.n, 3);
	(*lines)++;
}

static void no_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)arg, (void)text;
	ck_abort_msg("line %llu, column %zu: %s", (unsigned long long)number, column, line_error_text(e));
}

START_TEST(lines_parse)
{
	struct source_conf c = conf_of();
	c.spikes = 0.1;
	c.count = 100;
	struct buf b = {0};
	run_whole(&c, &b);
	size_t lines = 0;
	struct line_callbacks cb = {.arg = &lines, .line = count_line, .error = no_error};
	struct line_parser p;
	line_parser_init(&p, &cb, 1, false);
	line_parser_feed(&p, b.data, b.len);
	ck_assert_uint_eq(line_parser_pending(&p), 0);
	line_parser_free(&p);
	ck_assert_uint_eq(lines, 300);
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/simulate");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, plain_sensors_give_each_tick_once);
	tcase_add_test(tc, the_same_seed_the_same_readings);
	tcase_add_test(tc, going_on_at_any_position_is_exact);
	tcase_add_test(tc, late_duplicates_and_gaps_come_as_often_as_asked);
	tcase_add_test(tc, skipping_goes_to_the_next_tick);
	tcase_add_test(tc, lines_parse);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
