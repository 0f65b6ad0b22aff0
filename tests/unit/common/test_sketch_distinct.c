#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/sketch_distinct.h"

static uint64_t seed = 11;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void assert_same(const struct sketch_distinct *a, const struct sketch_distinct *b)
{
	struct buf x = {0}, y = {0};
	sketch_distinct_encode(a, &x);
	sketch_distinct_encode(b, &y);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_int_eq(memcmp(x.data, y.data, x.len), 0);
	buf_free(&x);
	buf_free(&y);
}

static struct sketch_distinct *of_numbers(uint64_t from, uint64_t to)
{
	struct sketch_distinct *s = sketch_distinct_new();
	for (uint64_t i = from; i < to; i++) {
		char text[32];
		int n = snprintf(text, sizeof(text), "sensor-%lu", (unsigned long)i);
		sketch_distinct_add(s, 42, text, (size_t)n);
	}
	return s;
}

START_TEST(estimates_stay_within_their_error)
{
	static const uint64_t sizes[] = {1, 2, 10, 100, 340, 400, 1000, 5000, 20000, 200000};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		double n = (double)sizes[i], sum_square = 0;
		for (uint64_t round = 0; round < 12; round++) {
			struct sketch_distinct *s = of_numbers(round << 32, (round << 32) + sizes[i]);
			double error = sketch_distinct_eval(s) / n - 1;
			ck_assert_double_lt(fabs(error), 5 * SKETCH_DISTINCT_ERROR);
			sum_square += error * error;
			sketch_distinct_free(s);
		}
		ck_assert_double_lt(sqrt(sum_square / 12), 1.8 * SKETCH_DISTINCT_ERROR);
	}
	struct sketch_distinct *s = sketch_distinct_new();
	ck_assert(sketch_distinct_eval(s) == 0);
	sketch_distinct_free(s);
}
END_TEST

/* The estimator's formula against one written down independently, in long double, for odd register contents. */
static long double reference(const uint32_t ranks[54])
{
	long double z = 0, x = 1 - ranks[53] / 4096.0L, y = 1, before;
	if (x != 0 && x != 1) {
		z = 1 - x;
		do {
			x = sqrtl(x);
			before = z;
			y /= 2;
			z -= (1 - x) * (1 - x) * y;
		} while (z != before);
		z = z / 3 * 4096;
	}
	for (int k = 52; k >= 1; k--)
		z = (z + ranks[k]) / 2;
	long double s = ranks[0] / 4096.0L, p = s;
	y = 1;
	do {
		p *= p;
		before = s;
		s += p * y;
		y *= 2;
	} while (s != before);
	return 4096.0L * 4096.0L / (2 * logl(2) * (z + 4096 * s));
}

START_TEST(the_estimator_is_ertls)
{
	for (int round = 0; round < 50; round++) {
		struct sketch_distinct *s = sketch_distinct_new();
		uint32_t ranks[54] = {0};
		uint64_t zeros = round == 0 || round % 5 == 3 ? 0 : rnd() % 4096;
		for (uint64_t i = 0; i < 4096; i++) {
			if (i < zeros) {
				ranks[0]++;
				continue;
			}
			/* all kinds of ranks; only the highest; the two highest, where tau counts */
			unsigned rank = round % 5 == 4 ? 53 : round % 5 == 3 ? 52 + (unsigned)(rnd() % 2) :
			    1 + (unsigned)(rnd() % 53);
			sketch_distinct_add_hash(s, i << 52 | (rank == 53 ? 0 : UINT64_C(1) << (52 - rank)));
			ranks[rank]++;
		}
		double got = sketch_distinct_eval(s), want = (double)reference(ranks);
		if (isinf(want)) /* every register full */
			ck_assert(isinf(got));
		else
			ck_assert_double_lt(fabs(got / want - 1), 1e-12);
		sketch_distinct_free(s);
	}
}
END_TEST

START_TEST(merging_is_adding_in_any_order)
{
	for (int round = 0; round < 100; round++) {
		uint64_t n = 1 + rnd() % (round % 2 ? 500 : 4000), parts = 1 + rnd() % 8;
		struct sketch_distinct *all = of_numbers(0, n), *part[8];
		for (uint64_t p = 0; p < parts; p++)
			part[p] = of_numbers(p * n / parts, (p + 1) * n / parts + rnd() % 5);
		for (uint64_t p = 0; p < parts; p++) /* the overlaps may lie above n */
			sketch_distinct_merge(all, part[p]);
		struct sketch_distinct *up = sketch_distinct_new(), *down = sketch_distinct_new();
		for (uint64_t p = 0; p < parts; p++) {
			sketch_distinct_merge(up, part[p]);
			sketch_distinct_merge(down, part[parts - 1 - p]);
		}
		assert_same(up, all);
		assert_same(up, down);
		sketch_distinct_merge(up, down);
		assert_same(up, down);
		for (uint64_t p = 0; p < parts; p++)
			sketch_distinct_free(part[p]);
		sketch_distinct_free(all);
		sketch_distinct_free(up);
		sketch_distinct_free(down);
	}
}
END_TEST

START_TEST(encodings_round_trip)
{
	static const uint64_t sizes[] = {0, 1, 300, 353, 354, 360, 100000};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct sketch_distinct *s = of_numbers(0, sizes[i]), *back, *copy = sketch_distinct_copy(s);
		sketch_distinct_add_hash(s, 0); /* rank 53 */
		struct buf b = {0};
		sketch_distinct_encode(s, &b);
		ck_assert_uint_le(b.len, SKETCH_DISTINCT_ENCODED_MAX);
		buf_put(&b, "rest", 4);
		struct rd r = rd_init(b.data, b.len);
		ck_assert_int_eq(sketch_distinct_decode(&r, &back), 0);
		ck_assert_uint_eq(rd_left(&r), 4);
		assert_same(s, back);
		ck_assert(sketch_distinct_eval(s) == sketch_distinct_eval(back));
		sketch_distinct_add_hash(copy, 0);
		assert_same(s, copy);
		sketch_distinct_free(copy);
		sketch_distinct_free(back);
		sketch_distinct_free(s);
		buf_free(&b);
	}
}
END_TEST

START_TEST(sparse_up_to_340_registers)
{
	struct sketch_distinct *s = sketch_distinct_new();
	struct buf b = {0};
	for (uint64_t i = 0; i < 341; i++) {
		buf_clear(&b);
		sketch_distinct_encode(s, &b);
		ck_assert_uint_lt(b.len, 700);
		ck_assert_uint_le(sketch_distinct_memory(s), 2200);
		sketch_distinct_add_hash(s, i * 12 << 52 | 1);
	}
	buf_clear(&b);
	sketch_distinct_encode(s, &b);
	ck_assert_uint_eq(b.len, SKETCH_DISTINCT_ENCODED_MAX);
	buf_free(&b);
	sketch_distinct_free(s);
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct sketch_distinct *s = sketch_distinct_new();
	sketch_distinct_add_hash(s, UINT64_C(0x0018000000000000)); /* register 1, rank 1 */
	sketch_distinct_add_hash(s, UINT64_C(0x0020000000000001)); /* register 2, rank 52 */
	struct buf b = {0};
	sketch_distinct_encode(s, &b);
	static const uint8_t golden[] = {2, 1 << 3, 7, 44};
	ck_assert_uint_eq(b.len, sizeof(golden));
	ck_assert_int_eq(memcmp(b.data, golden, sizeof(golden)), 0);
	sketch_distinct_free(s);

	s = sketch_distinct_new(); /* the hash itself: XXH3-64 of "weir", seed 1 */
	sketch_distinct_add(s, 1, "weir", 4);
	buf_clear(&b);
	sketch_distinct_encode(s, &b);
	static const uint8_t hashed[] = {1, 0xda, 0x18};
	ck_assert_uint_eq(b.len, sizeof(hashed));
	ck_assert_int_eq(memcmp(b.data, hashed, sizeof(hashed)), 0);
	buf_free(&b);
	sketch_distinct_free(s);
}
END_TEST

static int decode_exact(const uint8_t *p, size_t n)
{
	uint8_t *exact = malloc(n ? n : 1);
	memcpy(exact, p, n);
	struct sketch_distinct *s = NULL;
	struct rd r = rd_init(exact, n);
	int err = sketch_distinct_decode(&r, &s);
	if (!err) {
		struct buf b = {0};
		sketch_distinct_add_hash(s, rnd());
		(void)sketch_distinct_eval(s);
		sketch_distinct_encode(s, &b);
		buf_free(&b);
	} else {
		ck_assert_ptr_null(s);
	}
	sketch_distinct_free(s);
	free(exact);
	return err;
}

START_TEST(damaged_bytes_never_crash)
{
	for (int round = 0; round < 60; round++) {
		struct sketch_distinct *s = of_numbers(0, rnd() % 600);
		struct buf b = {0};
		sketch_distinct_encode(s, &b);
		sketch_distinct_free(s);
		for (size_t n = 0; n < b.len; n += 1 + b.len / 500)
			ck_assert_int_lt(decode_exact(b.data, n), 0);
		for (int i = 0; i < 100; i++) {
			size_t at = rnd() % b.len;
			uint8_t was = b.data[at];
			b.data[at] ^= (uint8_t)(1u << rnd() % 8);
			decode_exact(b.data, b.len);
			b.data[at] = was;
		}
		buf_free(&b);
	}
	static const uint8_t bad[][6] = {
	    {0x81, 0x20},       /* 4097 registers */
	    {1, 7, 46},         /* rank 54 */
	    {2, 0xf8, 0xff, 1, 0}, /* the second register is number 4096 */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(decode_exact(bad[i], sizeof(bad[i])), WEIR_ECORRUPT);
	uint8_t dense[SKETCH_DISTINCT_ENCODED_MAX] = {0xd5, 2}; /* says 341 registers, has none */
	ck_assert_int_eq(decode_exact(dense, sizeof(dense)), WEIR_ECORRUPT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/sketch_distinct");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, estimates_stay_within_their_error);
	tcase_add_test(tc, the_estimator_is_ertls);
	tcase_add_test(tc, merging_is_adding_in_any_order);
	tcase_add_test(tc, encodings_round_trip);
	tcase_add_test(tc, sparse_up_to_340_registers);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, damaged_bytes_never_crash);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
