/* Steps one by one, their state, its bound and its way through the checkpoint. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/step.h"

static struct bytes tag_value(const void *arg, const char *key)
{
	const char *value = strcmp(key, "kind") == 0 ? arg : "";
	return bytes_of(value, strlen(value));
}

static struct step_binding bind(const struct step_chain *c, uint64_t series, const char *kind)
{
	struct step_binding b;
	struct step_tags tags = {tag_value, kind};
	step_chain_bind(c, (struct hash128){series, series * 31}, &tags, &b);
	return b;
}

static int run(struct step_chain *c, struct step_binding *b, int64_t t_ns, double in, double *ret_out)
{
	struct step_reading r = {t_ns, in};
	int verdict = step_chain_run(c, b, &r);
	if (ret_out)
		*ret_out = r.value;
	return verdict;
}

static struct step_chain *chain_of(struct step_conf *conf, size_t n)
{
	struct stream_conf *stream = xcalloc(1, sizeof(*stream));
	stream->steps = conf;
	stream->step_count = n;
	struct step_chain *c = step_chain_new(stream);
	free(stream); /* the chain keeps the steps only */
	return c;
}

START_TEST(range_keeps_its_bounds)
{
	struct step_conf conf = {.type = STEP_RANGE, .min = 0, .max = 200};
	struct step_chain *c = chain_of(&conf, 1);
	struct step_binding b = bind(c, 1, "");
	ck_assert_int_eq(run(c, &b, 1, 0, NULL), STEP_PASS);
	ck_assert_int_eq(run(c, &b, 1, 200, NULL), STEP_PASS);
	ck_assert_int_eq(run(c, &b, 1, -0.001, NULL), DROP_RANGE);
	ck_assert_int_eq(run(c, &b, 1, 200.001, NULL), DROP_RANGE);
	step_chain_free(c);
}
END_TEST

START_TEST(scale_that_overflows_is_dropped)
{
	struct step_conf conf = {.type = STEP_SCALE, .by = 1e300, .add = 1};
	struct step_chain *c = chain_of(&conf, 1);
	struct step_binding b = bind(c, 1, "");
	double out;
	ck_assert_int_eq(run(c, &b, 1, 1e-300, &out), STEP_PASS);
	ck_assert(fabs(out - 2) < 1e-12);
	ck_assert_int_eq(run(c, &b, 1, 1e10, NULL), DROP_NOT_FINITE);
	step_chain_free(c);
}
END_TEST

START_TEST(dedupe_remembers_depth_timestamps)
{
	struct step_conf conf = {.type = STEP_DEDUPE, .depth = 5, .max_series = 10};
	struct step_chain *c = chain_of(&conf, 1);
	struct step_binding b = bind(c, 1, ""), other = bind(c, 2, "");
	for (int64_t t = 1; t <= 5; t++)
		ck_assert_int_eq(run(c, &b, t, 0, NULL), STEP_PASS);
	for (int64_t t = 1; t <= 5; t++)
		ck_assert_int_eq(run(c, &b, t, 0, NULL), DROP_DUPLICATE);
	ck_assert_int_eq(run(c, &other, 3, 0, NULL), STEP_PASS); /* each series has its own */
	ck_assert_int_eq(run(c, &b, 6, 0, NULL), STEP_PASS);     /* pushes 1 out */
	ck_assert_int_eq(run(c, &b, 2, 0, NULL), DROP_DUPLICATE);
	ck_assert_int_eq(run(c, &b, 1, 0, NULL), STEP_PASS);     /* pushes 2 out */
	ck_assert_int_eq(run(c, &b, 2, 0, NULL), STEP_PASS);
	ck_assert_int_eq(run(c, &b, 4, 0, NULL), DROP_DUPLICATE);
	step_chain_free(c);
}
END_TEST

START_TEST(rate_of_a_counter_with_resets)
{
	struct step_conf conf = {.type = STEP_RATE, .per_ns = 60 * NS_PER_SEC, .max_series = 10};
	struct step_chain *c = chain_of(&conf, 1);
	struct step_binding b = bind(c, 1, "");
	double out;
	ck_assert_int_eq(run(c, &b, 0, 100, NULL), DROP_RATE_FIRST);
	ck_assert_int_eq(run(c, &b, 30 * NS_PER_SEC, 110, &out), STEP_PASS);
	ck_assert(out == 20);
	ck_assert_int_eq(run(c, &b, 30 * NS_PER_SEC, 111, NULL), DROP_OUT_OF_ORDER);
	ck_assert_int_eq(run(c, &b, 10 * NS_PER_SEC, 105, NULL), DROP_OUT_OF_ORDER);
	ck_assert_int_eq(run(c, &b, 90 * NS_PER_SEC, 4, &out), STEP_PASS); /* it was reset */
	ck_assert(out == 4);
	ck_assert_int_eq(run(c, &b, 150 * NS_PER_SEC, 4, &out), STEP_PASS);
	ck_assert(out == 0);
	/* the span of all times does not overflow */
	struct step_binding far = bind(c, 2, "");
	ck_assert_int_eq(run(c, &far, TIME_MIN_NS, 0, NULL), DROP_RATE_FIRST);
	ck_assert_int_eq(run(c, &far, TIME_MAX_NS, 1, &out), STEP_PASS);
	ck_assert(out > 0 && out < 1e-6);
	step_chain_free(c);
}
END_TEST

START_TEST(where_is_decided_by_tags_in_its_place)
{
	struct where_conf where = {.tag = (char *)"kind", .pattern = (char *)"wat*"};
	struct step_conf conf[] = {{.type = STEP_RANGE, .min = 0, .max = 10},
	    {.type = STEP_WHERE, .where = &where, .where_count = 1},
	    {.type = STEP_SCALE, .by = 2}};
	struct step_chain *c = chain_of(conf, 3);
	struct step_binding water = bind(c, 1, "water"), gas = bind(c, 2, "gas"), none = bind(c, 3, "");
	double out;
	ck_assert_int_eq(run(c, &water, 1, 5, &out), STEP_PASS);
	ck_assert(out == 10);
	ck_assert_int_eq(run(c, &gas, 1, 5, NULL), DROP_WHERE);
	ck_assert_int_eq(run(c, &none, 1, 5, NULL), DROP_WHERE);
	ck_assert_int_eq(run(c, &gas, 1, 50, NULL), DROP_RANGE); /* the earlier step names the reason */
	step_chain_free(c);
}
END_TEST

START_TEST(series_are_bounded_and_those_known_go_on)
{
	struct step_conf conf = {.type = STEP_DEDUPE, .depth = 4, .max_series = 3};
	struct step_chain *c = chain_of(&conf, 1);
	for (uint64_t s = 0; s < 10; s++) {
		struct step_binding b = bind(c, s, "");
		ck_assert_int_eq(run(c, &b, 1, 0, NULL), s < 3 ? STEP_PASS : DROP_MAX_SERIES);
	}
	struct step_binding again = bind(c, 1, "");
	ck_assert_int_eq(run(c, &again, 2, 0, NULL), STEP_PASS);
	ck_assert_int_eq(run(c, &again, 1, 0, NULL), DROP_DUPLICATE);
	step_chain_free(c);
}
END_TEST

struct saved {
	uint8_t keys[16][STEP_KEY_BYTES];
	struct buf values[16];
	size_t count;
};

static void save(void *arg, const uint8_t key[STEP_KEY_BYTES], struct bytes value)
{
	struct saved *s = arg;
	ck_assert(s->count < 16);
	memcpy(s->keys[s->count], key, STEP_KEY_BYTES);
	buf_put(&s->values[s->count], value.p, value.n);
	s->count++;
}

static void saved_free(struct saved *s)
{
	for (size_t i = 0; i < s->count; i++)
		buf_free(&s->values[i]);
	*s = (struct saved){0};
}

START_TEST(state_goes_through_the_checkpoint)
{
	struct step_conf conf[] = {{.type = STEP_DEDUPE, .depth = 3, .max_series = 10},
	    {.type = STEP_RATE, .per_ns = NS_PER_SEC, .max_series = 10}};
	struct step_chain *c = chain_of(conf, 2);
	struct step_binding b = bind(c, 1, "");
	for (int64_t t = 1; t <= 5; t++) /* the ring has gone round */
		run(c, &b, t * NS_PER_SEC, 10 * (double)t, NULL);
	struct saved s = {0};
	step_chain_changed(c, save, &s);
	ck_assert_uint_eq(s.count, 2);
	saved_free(&s);
	step_chain_changed(c, save, &s); /* still: nothing said it was committed */
	ck_assert_uint_eq(s.count, 2);
	step_chain_committed(c);
	struct saved none = {0};
	step_chain_changed(c, save, &none);
	ck_assert_uint_eq(none.count, 0);
	run(c, &b, 5 * NS_PER_SEC, 0, NULL); /* a duplicate changes nothing */
	step_chain_changed(c, save, &none);
	ck_assert_uint_eq(none.count, 0);
	step_chain_free(c);

	c = chain_of(conf, 2);
	for (size_t i = 0; i < s.count; i++)
		ck_assert_int_eq(step_chain_restore(c, s.keys[i], bytes_of(s.values[i].data, s.values[i].len)), 0);
	b = bind(c, 1, "");
	double out;
	ck_assert_int_eq(run(c, &b, 3 * NS_PER_SEC, 0, NULL), DROP_DUPLICATE);
	ck_assert_int_eq(run(c, &b, 5 * NS_PER_SEC, 0, NULL), DROP_DUPLICATE);
	ck_assert_int_eq(run(c, &b, 6 * NS_PER_SEC, 57, &out), STEP_PASS);
	ck_assert(out == 7);
	ck_assert_int_eq(run(c, &b, 4 * NS_PER_SEC, 0, NULL), DROP_DUPLICATE);
	ck_assert_int_eq(run(c, &b, 3 * NS_PER_SEC, 0, NULL), DROP_OUT_OF_ORDER); /* pushed out of the ring; then rate */
	step_chain_free(c);

	/* every cut of a stored state is an error, and leaves a state as if never seen */
	for (size_t i = 0; i < s.count; i++) {
		for (size_t n = 0; n < s.values[i].len; n++) {
			c = chain_of(conf, 2);
			ck_assert_int_lt(step_chain_restore(c, s.keys[i], bytes_of(s.values[i].data, n)), 0);
			step_chain_free(c);
		}
	}
	c = chain_of(conf, 1); /* the chain has fewer steps now */
	ck_assert_int_eq(step_chain_restore(c, s.keys[1], bytes_of(s.values[1].data, s.values[1].len)), WEIR_ECORRUPT);
	step_chain_free(c);
	saved_free(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/step");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, range_keeps_its_bounds);
	tcase_add_test(tc, scale_that_overflows_is_dropped);
	tcase_add_test(tc, dedupe_remembers_depth_timestamps);
	tcase_add_test(tc, rate_of_a_counter_with_resets);
	tcase_add_test(tc, where_is_decided_by_tags_in_its_place);
	tcase_add_test(tc, series_are_bounded_and_those_known_go_on);
	tcase_add_test(tc, state_goes_through_the_checkpoint);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
