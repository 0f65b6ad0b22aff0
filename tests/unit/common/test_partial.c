#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/partial.h"
#include "common/sketch_quantile.h"

static uint64_t seed = 5;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static double rnd_unit(void)
{
	return (double)(rnd() >> 11) * 0x1p-53;
}

static double rnd_double(void)
{
	for (;;) {
		uint64_t bits = rnd();
		double v;
		memcpy(&v, &bits, sizeof(v));
		if (isfinite(v))
			return v;
	}
}

static double rnd_value(uint64_t kind)
{
	switch (kind % 6) {
	case 0:
		return floor(100 * rnd_unit());
	case 1:
		return floor(10000 * rnd_unit()) / 100;
	case 2:
		return (60 + floor(300 * rnd_unit()) / 10) * 1.609344;
	case 3:
		return rnd() % 2 ? -0.0 : 0.0;
	case 4:
		return 1e-310 * rnd_unit() - 5e-311;
	default:
		return rnd_double();
	}
}

static const struct partial_spec full = {PARTIAL_PARTS_ALL, 2, PARTIAL_QUANTILE_CAP_EDGE, 99};

static bool same_double(double a, double b)
{
	return !memcmp(&a, &b, sizeof(a));
}

static void assert_same(const struct partial *a, const struct partial *b, const struct partial_spec *spec)
{
	struct buf x = {0}, y = {0};
	partial_encode(a, spec, &x);
	partial_encode(b, spec, &y);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_int_eq(memcmp(x.data, y.data, x.len), 0);
	ck_assert(a->count == b->count);
	ck_assert(same_double(a->sum, b->sum) && same_double(a->sum_c, b->sum_c));
	ck_assert(same_double(a->min, b->min) && same_double(a->max, b->max));
	ck_assert(same_double(a->mean, b->mean) && same_double(a->m2, b->m2));
	ck_assert(same_double(a->first, b->first) && same_double(a->last, b->last));
	ck_assert(a->first_ns == b->first_ns && a->last_ns == b->last_ns);
	buf_free(&x);
	buf_free(&y);
}

static void fill(struct partial *p, const struct partial_spec *spec, uint64_t kind, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		partial_add(p, spec, (int64_t)(rnd() % 1000) * 1000000, rnd_value(kind));
		for (uint32_t d = 0; d < spec->distinct_count; d++) {
			char text[8];
			int len = snprintf(text, sizeof(text), "v%u", (unsigned)(rnd() % 50));
			partial_add_distinct(p, spec, d, text, (size_t)len);
		}
	}
}

static double eval(const struct partial *p, enum function fn, double q)
{
	double value, error;
	bool null;
	partial_eval(p, &full, fn, q, 0, &value, &error, &null);
	ck_assert(!null);
	return value;
}

static bool is_null(const struct partial *p, const struct partial_spec *spec, enum function fn)
{
	double value, error;
	bool null;
	partial_eval(p, spec, fn, 0.5, 0, &value, &error, &null);
	return null;
}

START_TEST(answers_of_a_few_readings)
{
	struct partial p = {0};
	static const double values[] = {3, 1, 4, 1, 5};
	for (int i = 0; i < 5; i++) {
		partial_add(&p, &full, 100 + i, values[i]);
		partial_add_distinct(&p, &full, 0, values + i, sizeof(double));
	}
	ck_assert(eval(&p, FN_COUNT, 0) == 5 && eval(&p, FN_SUM, 0) == 14 && eval(&p, FN_MEAN, 0) == 2.8);
	ck_assert(eval(&p, FN_MIN, 0) == 1 && eval(&p, FN_MAX, 0) == 5);
	ck_assert(eval(&p, FN_FIRST, 0) == 3 && eval(&p, FN_LAST, 0) == 5);
	ck_assert_double_eq_tol(eval(&p, FN_STDDEV, 0), 1.788854381999832, 1e-14);
	ck_assert_double_eq_tol(eval(&p, FN_QUANTILE, 0.5), 3, 0.02);
	ck_assert(eval(&p, FN_QUANTILE, 1) >= 5 * (1 - 0.0055) && eval(&p, FN_QUANTILE, 1) <= 5);
	ck_assert(eval(&p, FN_DISTINCT, 0) == 4);
	double value, error;
	bool null;
	partial_eval(&p, &full, FN_QUANTILE, 0.5, 0, &value, &error, &null);
	ck_assert_double_eq_tol(error, 0.005415, 1e-6);
	partial_eval(&p, &full, FN_DISTINCT, 0, 1, &value, &error, &null);
	ck_assert(!null && value == 0 && error == 0.01625); /* the second tag was never there */
	partial_clear(&p, &full);
}
END_TEST

START_TEST(nothing_known_is_null)
{
	struct partial p = {0};
	ck_assert(eval(&p, FN_COUNT, 0) == 0);
	for (int fn = FN_SUM; fn <= FN_DISTINCT; fn++)
		ck_assert(is_null(&p, &full, (enum function)fn));
	partial_add(&p, &full, 1, 7);
	ck_assert(is_null(&p, &full, FN_STDDEV));
	ck_assert(!is_null(&p, &full, FN_MEAN));
	partial_add(&p, &full, 1, 7);
	ck_assert(eval(&p, FN_STDDEV, 0) == 0);
	struct partial_spec none = {0};
	for (int fn = FN_SUM; fn <= FN_DISTINCT; fn++)
		ck_assert(is_null(&p, &none, (enum function)fn)); /* parts that are not kept */
	partial_clear(&p, &full);
}
END_TEST

START_TEST(spec_follows_from_the_functions)
{
	struct function_conf compute[] = {{.fn = FN_COUNT}, {.fn = FN_MEAN}, {.fn = FN_QUANTILE, .q = 0.9}};
	struct stream_conf s = {.compute = compute, .compute_count = 3, .distinct_count = 1};
	struct partial_spec spec;
	partial_spec_of(&s, 42, 512, &spec);
	ck_assert_uint_eq(spec.parts, PARTIAL_SUM | PARTIAL_QUANTILE | PARTIAL_MINMAX);
	ck_assert(spec.distinct_count == 1 && spec.quantile_cap == 512 && spec.distinct_seed == 42);
	compute[1].fn = FN_STDDEV;
	compute[2].fn = FN_LAST;
	partial_spec_of(&s, 42, 512, &spec);
	ck_assert_uint_eq(spec.parts, PARTIAL_MOMENTS | PARTIAL_FIRSTLAST);
	ck_assert(!partial_spec_agrees(&spec, &full) && partial_spec_agrees(&full, &full));
}
END_TEST

START_TEST(sums_are_compensated)
{
	struct partial p = {0}, q = {0};
	static const double hard[] = {1, 1e100, 1, -1e100};
	for (int i = 0; i < 4; i++)
		partial_add(&p, &full, i, hard[i]);
	ck_assert(eval(&p, FN_SUM, 0) == 2);
	for (int i = 0; i < 1000000; i++)
		partial_add(&q, &(struct partial_spec){.parts = PARTIAL_SUM}, i, 0.1);
	ck_assert(fabs(q.sum + q.sum_c - 100000) < 1e-9); /* 1e6 * (0.1 as a double) is 5.5e-12 above */
	partial_merge(&p, &q, &(struct partial_spec){.parts = PARTIAL_SUM});
	ck_assert(fabs(p.sum + p.sum_c - 100002) < 1e-9);
	partial_clear(&p, &full);
	partial_clear(&q, &full);
}
END_TEST

START_TEST(moments_merge_as_if_added)
{
	for (int round = 0; round < 200; round++) {
		struct partial one = {0}, parts[5] = {{0}}, sum = {0};
		double values[500], mean = 0, m2 = 0;
		size_t n = 2 + rnd() % 499;
		for (size_t i = 0; i < n; i++) {
			values[i] = 1e6 + rnd_value(2);
			mean += values[i] / (double)n;
			partial_add(&one, &full, 0, values[i]);
			partial_add(&parts[rnd() % 5], &full, 0, values[i]);
		}
		for (size_t i = 0; i < n; i++)
			m2 += (values[i] - mean) * (values[i] - mean);
		for (size_t i = 0; i < 5; i++) {
			partial_merge(&sum, &parts[i], &full);
			partial_clear(&parts[i], &full);
		}
		double want = sqrt(m2 / (double)(n - 1));
		ck_assert_double_eq_tol(eval(&one, FN_STDDEV, 0), want, 1e-6 * want + 1e-9);
		ck_assert_double_eq_tol(eval(&sum, FN_STDDEV, 0), want, 1e-6 * want + 1e-9);
		partial_clear(&one, &full);
		partial_clear(&sum, &full);
	}
}
END_TEST

START_TEST(ties_of_time_and_zero_leave_no_choice)
{
	struct partial p = {0};
	static const double values[] = {5, -2, 8, 3};
	for (int i = 0; i < 4; i++)
		partial_add(&p, &full, 7, values[i]);
	ck_assert(p.first == -2 && p.last == 8);
	partial_add(&p, &full, 6, 100);
	partial_add(&p, &full, 9, -50);
	ck_assert(p.first == 100 && p.last == -50 && p.first_ns == 6 && p.last_ns == 9);
	partial_clear(&p, &full);

	struct partial a = {0}, b = {0};
	partial_add(&a, &full, 1, 0.0);
	partial_add(&b, &full, 1, -0.0);
	partial_merge(&a, &b, &full);
	partial_merge(&b, &a, &full);
	ck_assert(signbit(a.min) && !signbit(a.max) && signbit(a.first) && !signbit(a.last));
	ck_assert(signbit(b.min) && !signbit(b.max) && signbit(b.first) && !signbit(b.last));
	partial_clear(&a, &full);
	partial_clear(&b, &full);
}
END_TEST

/* What must be exact however readings are cut and merged. */
START_TEST(exact_parts_do_not_depend_on_the_order)
{
	struct partial_spec spec = {PARTIAL_MINMAX | PARTIAL_FIRSTLAST | PARTIAL_QUANTILE, 2, 64, 3};
	for (int round = 0; round < 300; round++) {
		struct partial parts[6] = {{0}}, up = {0}, down = {0};
		for (size_t i = 0; i < 6; i++)
			fill(&parts[i], &spec, rnd(), rnd() % 100);
		for (size_t i = 0; i < 6; i++) {
			partial_merge(&up, &parts[i], &spec);
			partial_merge(&down, &parts[5 - i], &spec);
		}
		assert_same(&up, &down, &spec);
		for (size_t i = 0; i < 6; i++)
			partial_clear(&parts[i], &spec);
		partial_clear(&up, &spec);
		partial_clear(&down, &spec);
	}
}
END_TEST

START_TEST(merging_into_nothing_is_copying)
{
	struct partial a = {0}, b = {0}, nothing = {0};
	fill(&a, &full, 2, 40);
	partial_merge(&b, &a, &full);
	assert_same(&a, &b, &full);
	partial_merge(&b, &nothing, &full);
	assert_same(&a, &b, &full);
	partial_add(&b, &full, 0, 1);
	ck_assert(a.count == 40); /* nothing is shared */
	ck_assert_uint_gt(partial_memory(&a, &full), 100);
	ck_assert_uint_eq(partial_memory(&nothing, &full), 0);
	partial_clear(&a, &full);
	partial_clear(&b, &full);
	ck_assert(partial_is_empty(&a));
}
END_TEST

START_TEST(encodings_round_trip)
{
	for (int round = 0; round < 3000; round++) {
		struct partial_spec spec = {(uint32_t)(rnd() % 32), (uint32_t)(rnd() % 4), 512, 8};
		struct partial p = {0}, back = {0};
		fill(&p, &spec, rnd(), rnd() % 4 ? rnd() % 40 : 1);
		for (uint64_t merges = rnd() % 3; merges; merges--) { /* what merging gives decodes as well */
			struct partial other = {0};
			fill(&other, &spec, rnd(), rnd() % 40);
			partial_merge(&p, &other, &spec);
			partial_clear(&other, &spec);
		}
		struct buf b = {0};
		partial_encode(&p, &spec, &b);
		buf_put(&b, "rest", 4);
		struct rd r = rd_init(b.data, b.len);
		ck_assert_int_eq(partial_decode(&r, &spec, &back), 0);
		ck_assert_uint_eq(rd_left(&r), 4);
		assert_same(&p, &back, &spec);
		partial_clear(&p, &spec);
		partial_clear(&back, &spec);
		buf_free(&b);
	}
}
END_TEST

START_TEST(a_usual_partial_is_small)
{
	size_t total = 0;
	for (int round = 0; round < 100; round++) {
		struct partial p = {0};
		struct partial_spec spec = {PARTIAL_PARTS_ALL, 0, 512, 0};
		struct buf b = {0};
		for (int i = 0; i < 60; i++)
			partial_add(&p, &spec, INT64_C(1441106700) * 1000000000 + i * INT64_C(1000000000),
			    (600 + floor(300 * rnd_unit())) / 10);
		partial_encode(&p, &spec, &b);
		total += b.len;
		buf_free(&b);
		partial_clear(&p, &spec);
	}
	ck_assert_uint_lt(total / 100, 100);
}
END_TEST

START_TEST(the_largest_partial_fits)
{
	struct partial p = {0}, back = {0};
	struct partial_spec spec = {PARTIAL_PARTS_ALL, DISTINCTS_MAX, PARTIAL_QUANTILE_CAP_CLOUD, 1};
	for (int i = 0; i < 20000; i++) {
		double v = exp2(round(32 * (rnd_unit() * 2 - 1)) * 1) * (1 + rnd_unit());
		partial_add(&p, &spec, i, i % 2 ? v : -v);
		for (uint32_t d = 0; d < DISTINCTS_MAX; d++)
			partial_add_distinct(&p, &spec, d, &i, sizeof(i));
	}
	struct buf b = {0};
	partial_encode(&p, &spec, &b);
	ck_assert_uint_gt(b.len, 25000);
	ck_assert_uint_le(b.len, PARTIAL_ENCODED_MAX);
	struct rd r = rd_init(b.data, b.len);
	ck_assert_int_eq(partial_decode(&r, &spec, &back), 0);
	assert_same(&p, &back, &spec);
	buf_free(&b);
	partial_clear(&p, &spec);
	partial_clear(&back, &spec);
}
END_TEST

START_TEST(what_leaves_the_range_is_null_and_still_decodes)
{
	struct partial p = {0}, q = {0}, back = {0};
	partial_add(&p, &full, 1, DBL_MAX);
	partial_add(&p, &full, 2, DBL_MAX);
	partial_add(&p, &full, 3, -DBL_MAX);
	partial_add(&p, &full, 4, 1);
	ck_assert(is_null(&p, &full, FN_SUM) && is_null(&p, &full, FN_MEAN) && is_null(&p, &full, FN_STDDEV));
	ck_assert(eval(&p, FN_MAX, 0) == DBL_MAX);
	partial_add(&q, &full, 5, 2);
	partial_merge(&q, &p, &full);
	ck_assert(is_null(&q, &full, FN_SUM) && is_null(&q, &full, FN_STDDEV));
	struct buf b = {0};
	partial_encode(&q, &full, &b);
	struct rd r = rd_init(b.data, b.len);
	ck_assert_int_eq(partial_decode(&r, &full, &back), 0);
	assert_same(&q, &back, &full);
	buf_free(&b);
	partial_clear(&p, &full);
	partial_clear(&q, &full);
	partial_clear(&back, &full);
}
END_TEST

static int decode_exact(const uint8_t *bytes, size_t n, const struct partial_spec *spec)
{
	uint8_t *exact = malloc(n ? n : 1);
	memcpy(exact, bytes, n);
	struct rd r = rd_init(exact, n);
	struct partial p = {0};
	int err = partial_decode(&r, spec, &p);
	if (!err) {
		struct buf b = {0};
		partial_add(&p, spec, 5, 1);
		for (int fn = FN_COUNT; fn <= FN_DISTINCT; fn++)
			(void)is_null(&p, spec, (enum function)fn);
		partial_encode(&p, spec, &b);
		buf_free(&b);
	} else {
		ck_assert(partial_is_empty(&p) && !p.quantile && !p.distinct);
	}
	partial_clear(&p, spec);
	free(exact);
	return err;
}

START_TEST(damaged_bytes_never_crash)
{
	struct buf b = {0};
	for (int round = 0; round < 300; round++) {
		struct partial p = {0};
		fill(&p, &full, rnd(), 1 + rnd() % 40);
		buf_clear(&b);
		partial_encode(&p, &full, &b);
		partial_clear(&p, &full);
		for (size_t n = 0; n < b.len; n++)
			ck_assert_int_lt(decode_exact(b.data, n, &full), 0);
		for (int i = 0; i < 100; i++) {
			size_t at = rnd() % b.len;
			uint8_t was = b.data[at];
			b.data[at] ^= (uint8_t)(1u << rnd() % 8);
			decode_exact(b.data, b.len, &full);
			b.data[at] = was;
		}
	}
	buf_free(&b);
}
END_TEST

/* Encodes a partial that cannot be, and says whether it decodes. */
static int decode_changed(const struct partial *p, const struct partial_spec *spec)
{
	struct buf b = {0};
	partial_encode(p, spec, &b);
	int err = decode_exact(b.data, b.len, spec);
	buf_free(&b);
	return err;
}

START_TEST(impossible_numbers_are_refused)
{
	struct partial_spec spec = {PARTIAL_SUM | PARTIAL_MINMAX | PARTIAL_MOMENTS | PARTIAL_FIRSTLAST, 0, 512, 0};
	struct partial good = {0};
	fill(&good, &spec, 1, 10);
	ck_assert_int_eq(decode_changed(&good, &spec), 0);
	struct partial p = good;
	p.min = p.max + 1;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);
	p = good;
	p.max = INFINITY;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);
	p = good;
	p.sum = NAN;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);
	p = good;
	p.m2 = -1;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);
	p = good;
	p.first = p.max + 1;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);
	p = good;
	p.mean = NAN;
	ck_assert_int_eq(decode_changed(&p, &spec), WEIR_ECORRUPT);

	struct partial sketched = {0};
	spec.parts = PARTIAL_QUANTILE;
	fill(&sketched, &spec, 1, 10);
	sketched.count++; /* one more than the buckets hold */
	ck_assert_int_eq(decode_changed(&sketched, &spec), WEIR_ECORRUPT);
	partial_clear(&sketched, &spec);
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct partial_spec spec = {PARTIAL_SUM | PARTIAL_MINMAX | PARTIAL_MOMENTS | PARTIAL_FIRSTLAST, 0, 512, 0};
	struct partial p = {0};
	partial_add(&p, &spec, 1000000000, 1.5);
	partial_add(&p, &spec, 3000000000, 2.5);
	struct buf b = {0};
	partial_encode(&p, &spec, &b);
	static const uint8_t golden[] = {
	    2,                      /* count */
	    0x11, 0xba, 0xf0, 0x01, /* kinds: tenths, tenths, min, max, whole, zero, tenths */
	    30, 50, 8, 10,          /* min 1.5, max 2.5, sum 4, m2 0.5 */
	    0,                      /* mean as guessed */
	    3, 2, 2,                /* seconds: 1, 2 later */
	};
	ck_assert_uint_eq(b.len, sizeof(golden));
	ck_assert_int_eq(memcmp(b.data, golden, sizeof(golden)), 0);
	buf_free(&b);
	partial_clear(&p, &spec);
}
END_TEST

START_TEST(full_registers_have_no_estimate)
{
	const struct partial_spec spec = {.distinct_count = 1};
	const uint8_t four[3] = {0x75, 0x5d, 0xd7}; /* registers of 53, the most that there can be */
	struct buf b = {0};
	struct partial p;
	double value, error;
	bool null;
	buf_varint(&b, 1);
	buf_varint(&b, 4096);
	for (int i = 0; i < 1024; i++)
		buf_put(&b, four, sizeof(four));
	struct rd r = rd_init(b.data, b.len);
	ck_assert_int_eq(partial_decode(&r, &spec, &p), 0);
	partial_eval(&p, &spec, FN_DISTINCT, 0, 0, &value, &error, &null);
	ck_assert(null && value == 0);
	partial_clear(&p, &spec);
	buf_free(&b);
}
END_TEST

START_TEST(time_units)
{
	ck_assert_uint_eq(time_unit(0), 3);
	ck_assert_uint_eq(time_unit(-2000000000), 3);
	ck_assert_uint_eq(time_unit(1000000), 2);
	ck_assert_uint_eq(time_unit(1001000), 1);
	ck_assert_uint_eq(time_unit(INT64_MIN), 0);
	struct partial_spec spec = {.parts = PARTIAL_FIRSTLAST};
	struct partial p = {0}, back = {0};
	partial_add(&p, &spec, INT64_MIN, 1);
	partial_add(&p, &spec, INT64_MAX, 2);
	struct buf b = {0};
	partial_encode(&p, &spec, &b);
	struct rd r = rd_init(b.data, b.len);
	ck_assert_int_eq(partial_decode(&r, &spec, &back), 0);
	ck_assert(back.first_ns == INT64_MIN && back.last_ns == INT64_MAX);
	buf_free(&b);
}
END_TEST

/* ---- partials whose sketches stay encoded ---- */

static struct partial decoded(struct bytes b, const struct partial_spec *spec)
{
	struct partial p = {0};
	struct rd r = rd_init(b.p, b.n);
	ck_assert_int_eq(partial_decode(&r, spec, &p), 0);
	return p;
}

/* Merging b into a (no bytes: into nothing) gives the same bytes by either way. */
static void assert_merges_alike(struct bytes a, struct bytes b, const struct partial_spec *spec)
{
	struct partial sum = {0}, more = decoded(b, spec);
	struct partial_packed pa, pb;
	struct buf want = {0}, got = {0};
	struct rd r = rd_init(b.p, b.n);
	ck_assert_int_eq(partial_skim(&r, spec, &pb), 0);
	if (a.n) {
		sum = decoded(a, spec);
		r = rd_init(a.p, a.n);
		ck_assert_int_eq(partial_skim(&r, spec, &pa), 0);
	}
	partial_merge(&sum, &more, spec);
	partial_encode(&sum, spec, &want);
	partial_merge_packed(a.n ? &pa : NULL, &pb, spec, &got);
	ck_assert_uint_eq(got.len, want.len);
	ck_assert_int_eq(memcmp(got.data, want.data, want.len), 0);
	buf_free(&want);
	buf_free(&got);
	partial_clear(&sum, spec);
	partial_clear(&more, spec);
}

static struct buf any_partial(const struct partial_spec *spec)
{
	static const uint32_t caps[] = {4, 100, 512};
	struct partial p = {0};
	struct partial_spec edge = *spec;
	edge.quantile_cap = caps[rnd() % 3];
	uint64_t kind = rnd();
	fill(&p, &edge, kind, rnd() % 50);
	if (p.count && rnd() % 8 == 0) { /* distinct sketches as arrays, sums out of range, large counts */
		for (uint64_t i = 0; spec->distinct_count && i < 1000; i++)
			partial_add_distinct(&p, &edge, 0, &i, sizeof(i));
		for (int i = 0; i < 2; i++)
			partial_add(&p, &edge, 1, DBL_MAX);
	}
	if (p.count && rnd() % 8 == 0) {
		struct buf b = {0};
		partial_encode(&p, &edge, &b);
		for (uint64_t n = rnd() % 66; n; n--) {
			struct partial copy = decoded(bytes_of(b.data, b.len), &edge);
			partial_merge(&p, &copy, &edge);
			partial_clear(&copy, &edge);
			buf_clear(&b);
			partial_encode(&p, &edge, &b);
		}
		buf_free(&b);
	}
	struct buf out = {0};
	partial_encode(&p, &edge, &out);
	partial_clear(&p, &edge);
	return out;
}

START_TEST(encoded_partials_merge_as_decoded_ones)
{
	static const uint32_t caps[] = {5, 300, 512, 2048};
	for (uint32_t round = 0; round < 32 * 3 * 25; round++) {
		struct partial_spec spec = {round % 32, round / 32 % 3, caps[rnd() % 4], 7};
		struct buf x = any_partial(&spec), y = any_partial(&spec);
		struct bytes a = bytes_of(x.data, x.len), b = bytes_of(y.data, y.len);
		assert_merges_alike(bytes_of(NULL, 0), b, &spec);
		assert_merges_alike(a, b, &spec);
		assert_merges_alike(b, b, &spec);
		buf_free(&x);
		buf_free(&y);
	}
}
END_TEST

/* Changes one byte, or writes what may be a varint longer than it need be. */
static void spoil(struct buf *b)
{
	size_t at = rnd() % b->len;
	if (rnd() % 2) {
		b->data[at] ^= (uint8_t)(1u << rnd() % 8);
		return;
	}
	buf_u8(b, 0);
	memmove(b->data + at + 2, b->data + at + 1, b->len - at - 2);
	b->data[at] |= 0x80;
	b->data[at + 1] = 0;
}

START_TEST(skimming_checks_what_decoding_checks)
{
	int fine = 0;
	for (uint32_t round = 0; round < 32 * 3 * 25; round++) {
		struct partial_spec spec = {round % 32, round / 32 % 3, 2048, 7};
		struct buf x = any_partial(&spec), y = any_partial(&spec);
		struct bytes b = bytes_of(y.data, y.len);
		for (int i = 0; i < 12; i++) {
			struct partial p = {0};
			struct partial_packed q;
			spoil(&x);
			uint8_t *exact = malloc(x.len);
			memcpy(exact, x.data, x.len);
			struct rd r = rd_init(exact, x.len), again = r;
			int err = partial_decode(&r, &spec, &p);
			ck_assert_int_eq(!err, !partial_skim(&again, &spec, &q));
			if (!err) {
				struct bytes a = bytes_of(exact, (size_t)(r.p - exact));
				ck_assert(r.p == again.p);
				assert_merges_alike(bytes_of(NULL, 0), a, &spec);
				assert_merges_alike(a, b, &spec);
				assert_merges_alike(b, a, &spec);
				fine++;
			}
			partial_clear(&p, &spec);
			free(exact);
		}
		buf_free(&x);
		buf_free(&y);
	}
	ck_assert_int_gt(fine, 1000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/partial");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, answers_of_a_few_readings);
	tcase_add_test(tc, full_registers_have_no_estimate);
	tcase_add_test(tc, nothing_known_is_null);
	tcase_add_test(tc, spec_follows_from_the_functions);
	tcase_add_test(tc, sums_are_compensated);
	tcase_add_test(tc, moments_merge_as_if_added);
	tcase_add_test(tc, ties_of_time_and_zero_leave_no_choice);
	tcase_add_test(tc, exact_parts_do_not_depend_on_the_order);
	tcase_add_test(tc, merging_into_nothing_is_copying);
	tcase_add_test(tc, encodings_round_trip);
	tcase_add_test(tc, a_usual_partial_is_small);
	tcase_add_test(tc, the_largest_partial_fits);
	tcase_add_test(tc, what_leaves_the_range_is_null_and_still_decodes);
	tcase_add_test(tc, damaged_bytes_never_crash);
	tcase_add_test(tc, impossible_numbers_are_refused);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, time_units);
	tcase_add_test(tc, encoded_partials_merge_as_decoded_ones);
	tcase_add_test(tc, skimming_checks_what_decoding_checks);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
