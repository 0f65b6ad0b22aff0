#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/number.h"

static uint64_t seed = 3;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t bits_of(double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

static double of_bits(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* Bytes of payload; checks that the same bits come back. */
static size_t round_trip(double v, const double *refs, size_t ref_count, int kind_wanted)
{
	struct buf b = {0};
	uint8_t kind = number_put(&b, v, refs, ref_count);
	ck_assert_uint_lt(kind, 16);
	ck_assert_uint_le(b.len, NUMBER_PAYLOAD_MAX);
	if (kind_wanted >= 0)
		ck_assert_int_eq(kind, kind_wanted);
	struct rd r = rd_init(b.data, b.len);
	ck_assert(bits_of(number_get(&r, kind, refs, ref_count)) == bits_of(v));
	ck_assert_int_eq(rd_finish(&r), 0);
	size_t len = b.len;
	buf_free(&b);
	return len;
}

START_TEST(each_kind_has_its_numbers)
{
	ck_assert_uint_eq(round_trip(0, NULL, 0, NUMBER_ZERO), 0);
	ck_assert_uint_eq(round_trip(-0.0, NULL, 0, NUMBER_RAW), 8);
	ck_assert_uint_eq(round_trip(1, NULL, 0, 0), 1);
	ck_assert_uint_eq(round_trip(-63, NULL, 0, 0), 1);
	ck_assert_uint_eq(round_trip(101.2, NULL, 0, 1), 2);
	ck_assert_uint_eq(round_trip(88.25, NULL, 0, 2), 3);
	ck_assert_uint_eq(round_trip(0.000001, NULL, 0, 6), 1);
	ck_assert_uint_eq(round_trip(9007199254740990, NULL, 0, 0), 8);
	ck_assert_uint_eq(round_trip(3 * 0x1p-47, NULL, 0, NUMBER_BINARY), 2);
	ck_assert_uint_eq(round_trip(0x1p1000, NULL, 0, NUMBER_BINARY), 3);
	ck_assert_uint_eq(round_trip(DBL_TRUE_MIN, NULL, 0, NUMBER_BINARY), 3);
	ck_assert_uint_eq(round_trip(101.2 * 1.609344, NULL, 0, 7), 5);
	ck_assert_uint_eq(round_trip(M_PI, NULL, 0, NUMBER_RAW), 8);
	round_trip(DBL_MAX, NULL, 0, NUMBER_RAW);
	round_trip(-DBL_MIN, NULL, 0, -1);
	round_trip(INFINITY, NULL, 0, NUMBER_RAW);
	round_trip(-INFINITY, NULL, 0, NUMBER_RAW);
	round_trip(NAN, NULL, 0, NUMBER_RAW);
	static const double refs[] = {M_PI, M_E, -0.0};
	ck_assert_uint_eq(round_trip(M_E, refs, 3, NUMBER_REF + 1), 0);
	ck_assert_uint_eq(round_trip(-0.0, refs, 3, NUMBER_REF + 2), 0);
	ck_assert_uint_eq(round_trip(M_E, refs, 1, NUMBER_RAW), 8);
}
END_TEST

START_TEST(any_bits_come_back)
{
	for (int i = 0; i < 20000; i++) {
		uint64_t r = rnd();
		round_trip(of_bits(r), NULL, 0, -1);
		round_trip(of_bits(r & ~(UINT64_MAX >> (12 + r % 40))), NULL, 0, -1);
		round_trip((double)(int64_t)(r >> r % 60) / pow(10, (double)(r % 12)), NULL, 0, -1);
		round_trip(of_bits(r >> 12), NULL, 0, -1); /* subnormal */
	}
}
END_TEST

START_TEST(distances_come_back)
{
	static const double values[] = {0.0, -0.0, 1, -1, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN, -DBL_TRUE_MIN, INFINITY, -INFINITY};
	size_t n = sizeof(values) / sizeof(values[0]);
	struct buf b = {0};
	for (size_t i = 0; i < n * n; i++) {
		buf_clear(&b);
		number_put_near(&b, values[i / n], values[i % n]);
		struct rd r = rd_init(b.data, b.len);
		ck_assert(bits_of(number_get_near(&r, values[i % n])) == bits_of(values[i / n]));
		ck_assert_int_eq(rd_finish(&r), 0);
	}
	for (int i = 0; i < 100000; i++) {
		double v = of_bits(rnd()), near = of_bits(rnd());
		buf_clear(&b);
		number_put_near(&b, v, near);
		struct rd r = rd_init(b.data, b.len);
		ck_assert(bits_of(number_get_near(&r, near)) == bits_of(v));
	}
	buf_clear(&b);
	number_put_near(&b, nextafter(-5.0, 0), -5.0);
	ck_assert_uint_eq(b.len, 1);
	buf_free(&b);
}
END_TEST

START_TEST(malformed_numbers_are_errors)
{
	struct rd r = rd_init("", 0);
	(void)number_get(&r, NUMBER_RAW, NULL, 0);
	ck_assert_int_eq(r.err, WEIR_ETRUNCATED);
	r = rd_init("", 0);
	(void)number_get(&r, 3, NULL, 0);
	ck_assert_int_eq(r.err, WEIR_ETRUNCATED);
	r = rd_init("", 0);
	(void)number_get(&r, NUMBER_REF, NULL, 0); /* no such reference */
	ck_assert_int_eq(r.err, WEIR_ECORRUPT);
	r = rd_init("", 0);
	(void)number_get(&r, 16, NULL, 0);
	ck_assert_int_eq(r.err, WEIR_ECORRUPT);
	struct buf b = {0};
	buf_svarint(&b, 1);
	buf_svarint(&b, INT64_MAX);
	r = rd_init(b.data, b.len);
	(void)number_get(&r, NUMBER_BINARY, NULL, 0);
	ck_assert_int_eq(r.err, WEIR_ECORRUPT);
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/number");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, each_kind_has_its_numbers);
	tcase_add_test(tc, any_bits_come_back);
	tcase_add_test(tc, distances_come_back);
	tcase_add_test(tc, malformed_numbers_are_errors);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
