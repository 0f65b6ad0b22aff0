#include <check.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/sketch_quantile.h"

static uint64_t seed = 7;

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

static double from_bits(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* Any finite double but 0. */
static double rnd_double(void)
{
	for (;;) {
		double v = from_bits(rnd());
		if (isfinite(v) && v != 0)
			return v;
	}
}

/* ---- the table, with whole numbers ---- */

#define LIMBS 110 /* 32 bits each: (2^53)^64 has 3392 bits */

/* Bits of a^64. */
static int power_bits(uint64_t a)
{
	uint32_t x[LIMBS] = {1};
	for (int i = 0; i < 64; i++) {
		unsigned __int128 carry = 0;
		for (int l = 0; l < LIMBS; l++) {
			carry += (unsigned __int128)x[l] * a;
			x[l] = (uint32_t)carry;
			carry >>= 32;
		}
	}
	int top = LIMBS - 1;
	while (!x[top])
		top--;
	return top * 32 + 32 - __builtin_clz(x[top]);
}

/* floor(2^52 * 2^(k/64)) for 0 < k < 64: the largest a with a^64 < 2^(52 * 64 + k). */
static uint64_t bound(int k)
{
	uint64_t lo = UINT64_C(1) << 52, hi = UINT64_C(1) << 53;
	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;
		if (power_bits(mid) <= 52 * 64 + k)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

START_TEST(bucket_bounds_are_exact)
{
	static const int exponents[] = {0, 1, -1, 1023, -1022, 52};
	for (int k = 1; k < 64; k++) {
		uint64_t b = bound(k);
		for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
			int e = exponents[i];
			ck_assert_int_eq(sketch_quantile_index(ldexp((double)b, e - 52)), 64 * e + k);
			ck_assert_int_eq(sketch_quantile_index(ldexp((double)(b + 1), e - 52)), 64 * e + k + 1);
			ck_assert_int_eq(sketch_quantile_index(-ldexp((double)b, e - 52)), 64 * e + k);
		}
	}
	for (int e = -1074; e <= 1023; e++) { /* powers of two end their bucket; subnormals too */
		double v = ldexp(1, e);
		ck_assert_int_eq(sketch_quantile_index(v), 64 * e);
		if (e >= -1022)
			ck_assert_int_eq(sketch_quantile_index(nextafter(v, INFINITY)), 64 * e + 1);
	}
	ck_assert_int_eq(sketch_quantile_index(DBL_MAX), 65536);
	ck_assert_int_eq(sketch_quantile_index(DBL_TRUE_MIN), -68736);
	ck_assert_int_eq(sketch_quantile_index(nextafter(DBL_MIN, 0)), 64 * -1022); /* largest subnormal */
	ck_assert_int_eq(sketch_quantile_index(3 * DBL_TRUE_MIN), 64 * -1074 + 102); /* 64 log2(3) = 101.4 */
}
END_TEST

START_TEST(indexes_agree_with_logarithms)
{
	for (int i = 0; i < 200000; i++) {
		double v = fabs(i % 2 ? rnd_double() : rnd_unit() + 0x1p-60);
		long double at = 64 * log2l((long double)v), near = roundl(at);
		if (fabsl(at - near) < 1e-12L)
			continue; /* too near to a bound for a long double to tell */
		ck_assert_int_eq(sketch_quantile_index(v), (int32_t)ceill(at));
	}
}
END_TEST

/* ---- an oracle: all indexes at scale 6, kept as they are ---- */

struct oracle {
	size_t n;
	double values[5000];
};

static int compare_int(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* Distinct buckets at this scale. */
static size_t oracle_buckets(const struct oracle *o, int scale)
{
	static int64_t keys[5000];
	size_t n = 0, distinct = 0;
	for (size_t i = 0; i < o->n; i++) {
		if (o->values[i] == 0)
			continue;
		int64_t key = sketch_quantile_index(o->values[i]);
		for (int s = 6; s > scale; s--)
			key = (key + 1) >> 1;
		keys[n++] = key + (o->values[i] < 0 ? INT64_C(1) << 32 : 0);
	}
	qsort(keys, n, sizeof(keys[0]), compare_int);
	for (size_t i = 0; i < n; i++)
		distinct += i == 0 || keys[i] != keys[i - 1];
	return distinct;
}

static int oracle_scale(const struct oracle *o, uint32_t cap)
{
	int scale = 6;
	while (scale > -4 && oracle_buckets(o, scale) > cap)
		scale--;
	return scale;
}

/* Values of one of several kinds: narrow, wide, both signs, everything. */
static double rnd_value(uint64_t kind)
{
	switch (kind % 5) {
	case 0:
		return 80 + 40 * rnd_unit();
	case 1:
		return pow(10, 12 * rnd_unit() - 6);
	case 2:
		return 200 * rnd_unit() - 100;
	case 3:
		return rnd() % 5 ? floor(20 * rnd_unit()) - 3 : 0;
	default:
		return rnd_double();
	}
}

static void assert_same(const struct sketch_quantile *a, const struct sketch_quantile *b)
{
	struct buf x = {0}, y = {0};
	sketch_quantile_encode(a, &x);
	sketch_quantile_encode(b, &y);
	ck_assert_uint_eq(x.len, y.len);
	ck_assert_int_eq(memcmp(x.data, y.data, x.len), 0);
	buf_free(&x);
	buf_free(&y);
}

/* Splits o over parts, adds each part by itself, and merges the parts in a random tree. */
static struct sketch_quantile *merged_at_random(const struct oracle *o, size_t parts, uint32_t part_cap, uint32_t cap)
{
	struct sketch_quantile *part[40];
	for (size_t i = 0; i < parts; i++)
		part[i] = sketch_quantile_new();
	for (size_t i = 0; i < o->n; i++)
		sketch_quantile_add(part[rnd() % parts], o->values[i], part_cap);
	while (parts > 1) {
		size_t a = rnd() % parts, b = rnd() % parts;
		if (a == b)
			continue;
		sketch_quantile_merge(part[a], part[b], cap);
		sketch_quantile_free(part[b]);
		part[b] = part[--parts];
	}
	return part[0];
}

START_TEST(any_order_of_merging_gives_the_same_bytes)
{
	static const uint32_t caps[] = {1, 3, 16, 60, 300, 512, 2048};
	static struct oracle o;
	int collapsed = 0;
	for (int round = 0; round < 400; round++) {
		uint32_t cap = caps[rnd() % 7];
		uint64_t kind = rnd();
		o.n = 1 + rnd() % (round % 10 ? 400 : 5000);
		for (size_t i = 0; i < o.n; i++)
			o.values[i] = rnd_value(kind);
		struct sketch_quantile *one = sketch_quantile_new();
		for (size_t i = 0; i < o.n; i++)
			sketch_quantile_add(one, o.values[i], cap);
		ck_assert_int_eq(sketch_quantile_scale(one), oracle_scale(&o, cap));
		ck_assert_uint_eq(sketch_quantile_buckets(one), oracle_buckets(&o, sketch_quantile_scale(one)));
		ck_assert_uint_eq(sketch_quantile_count(one), o.n);
		collapsed += sketch_quantile_scale(one) < 6;
		for (int again = 0; again < 3; again++) {
			struct sketch_quantile *two = merged_at_random(&o, 1 + rnd() % 40, cap, cap);
			assert_same(one, two);
			sketch_quantile_free(two);
		}
		sketch_quantile_free(one);
	}
	ck_assert_int_gt(collapsed, 100);
}
END_TEST

START_TEST(edge_and_cloud_caps_merge_in_any_order)
{
	static struct oracle o;
	for (int round = 0; round < 60; round++) {
		o.n = 3000;
		for (size_t i = 0; i < o.n; i++)
			o.values[i] = rnd_value((uint64_t)round);
		struct sketch_quantile *part[4];
		for (size_t p = 0; p < 4; p++) {
			part[p] = sketch_quantile_new();
			for (size_t i = p * 750; i < p * 750 + 750; i++)
				sketch_quantile_add(part[p], o.values[i], 64);
		}
		struct sketch_quantile *up = sketch_quantile_new(), *down = sketch_quantile_new();
		for (size_t p = 0; p < 4; p++) {
			sketch_quantile_merge(up, part[p], 256);
			sketch_quantile_merge(down, part[3 - p], 256);
		}
		assert_same(up, down);
		ck_assert_uint_eq(sketch_quantile_count(up), o.n);
		for (size_t p = 0; p < 4; p++)
			sketch_quantile_free(part[p]);
		sketch_quantile_free(up);
		sketch_quantile_free(down);
	}
}
END_TEST

START_TEST(quantiles_keep_their_error_bound)
{
	static const double qs[] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
	static struct oracle o;
	for (int round = 0; round < 200; round++) {
		uint64_t kind = rnd();
		o.n = 1 + rnd() % 3000;
		struct sketch_quantile *s = sketch_quantile_new();
		for (size_t i = 0; i < o.n; i++) {
			o.values[i] = rnd_value(kind);
			sketch_quantile_add(s, o.values[i], 512);
		}
		qsort(o.values, o.n, sizeof(double), compare_double);
		double error = sketch_quantile_error(s) * (1 + 1e-12);
		for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
			size_t rank = (size_t)ceil(qs[i] * (double)o.n - 1e-9);
			double exact = o.values[rank ? rank - 1 : 0];
			double got = sketch_quantile_eval(s, qs[i], o.values[0], o.values[o.n - 1]);
			/* below 1e-300 a bucket's estimate rounds to few bits */
			ck_assert(fabs(got - exact) <= error * fabs(exact) + 1e-300);
		}
		sketch_quantile_free(s);
	}
}
END_TEST

START_TEST(errors_by_scale)
{
	struct sketch_quantile *s = sketch_quantile_new();
	ck_assert_double_eq_tol(sketch_quantile_error(s), 0.00541521, 1e-7);
	sketch_quantile_add(s, 1, 1);
	sketch_quantile_add(s, 1e9, 1);
	ck_assert_int_eq(sketch_quantile_scale(s), -4); /* (0, 1] ends at 1: never joined, the cap cannot be kept */
	ck_assert_uint_eq(sketch_quantile_buckets(s), 2);
	ck_assert_double_eq_tol(sketch_quantile_error(s), 65535.0 / 65537, 1e-12);
	sketch_quantile_free(s);
}
END_TEST

START_TEST(estimates_and_ranks)
{
	struct sketch_quantile *s = sketch_quantile_new();
	for (int i = 1; i <= 1000; i++)
		sketch_quantile_add(s, i == 1000 ? 1e6 : 1, 512);
	double top = DBL_MAX, one = 2 / (exp2(1.0 / 64) + 1); /* 1 is the end of bucket 0 */
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0.5, -top, top), one, 1e-15);
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 99.9 / 100, -top, top), one, 1e-15); /* rank 999, not 1000 */
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0.9991, -top, top), 1e6, 6e3);
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0, -top, top), one, 1e-15); /* rank 1 at least */
	ck_assert(sketch_quantile_eval(s, 0, 1, 1e6) == 1); /* clamped to min */
	ck_assert(sketch_quantile_eval(s, 1, 1, 1000) == 1000); /* to max */
	sketch_quantile_free(s);

	s = sketch_quantile_new(); /* -8 -4 0 0 2 */
	static const double values[] = {0.0, 2, -8, -0.0, -4};
	for (size_t i = 0; i < 5; i++)
		sketch_quantile_add(s, values[i], 512);
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0.2, -top, top), -8, 0.05);
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0.4, -top, top), -4, 0.03);
	ck_assert(sketch_quantile_eval(s, 0.6, -top, top) == 0);
	ck_assert(sketch_quantile_eval(s, 0.8, -top, top) == 0);
	ck_assert_double_eq_tol(sketch_quantile_eval(s, 0.81, -top, top), 2, 0.02);
	sketch_quantile_free(s);

	s = sketch_quantile_new();
	sketch_quantile_add(s, DBL_MAX, 512);
	ck_assert(isfinite(sketch_quantile_eval(s, 0.5, -top, top)));
	sketch_quantile_free(s);
}
END_TEST

static struct sketch_quantile *filled(uint64_t kind, size_t n, uint32_t cap)
{
	struct sketch_quantile *s = sketch_quantile_new();
	for (size_t i = 0; i < n; i++)
		sketch_quantile_add(s, rnd_value(kind), cap);
	return s;
}

START_TEST(encodings_round_trip_and_copy)
{
	for (uint64_t round = 0; round < 200; round++) {
		struct sketch_quantile *s = filled(round, rnd() % 2000, 1 + (uint32_t)(rnd() % 2048)), *back;
		struct buf b = {0};
		sketch_quantile_encode(s, &b);
		buf_put(&b, "rest", 4);
		ck_assert_uint_le(b.len, SKETCH_QUANTILE_ENCODED_MAX);
		struct rd r = rd_init(b.data, b.len);
		ck_assert_int_eq(sketch_quantile_decode(&r, &back), 0);
		ck_assert_uint_eq(rd_left(&r), 4);
		assert_same(s, back);
		ck_assert_uint_eq(sketch_quantile_count(s), sketch_quantile_count(back));
		struct sketch_quantile *copy = sketch_quantile_copy(back);
		sketch_quantile_add(back, 3, 2048);
		assert_same(s, copy);
		sketch_quantile_free(copy);
		sketch_quantile_free(back);
		sketch_quantile_free(s);
		buf_free(&b);
	}
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct sketch_quantile *s = sketch_quantile_new();
	sketch_quantile_add(s, 1, 512);   /* bucket 0 */
	sketch_quantile_add(s, 1, 512);
	sketch_quantile_add(s, 2, 512);   /* 64 */
	sketch_quantile_add(s, 0, 512);
	sketch_quantile_add(s, -0.5, 512); /* -64 */
	struct buf b = {0};
	sketch_quantile_encode(s, &b);
	static const uint8_t golden[] = {0x70, 1, 2, 0, 0x10, 0x0f, 63 - 15, 1, 0x7f, 0x00};
	ck_assert_uint_eq(b.len, sizeof(golden));
	ck_assert_int_eq(memcmp(b.data, golden, sizeof(golden)), 0);
	buf_free(&b);
	sketch_quantile_free(s);
}
END_TEST

static int decode_exact(const uint8_t *p, size_t n)
{
	uint8_t *exact = malloc(n ? n : 1);
	memcpy(exact, p, n);
	struct sketch_quantile *s = NULL;
	struct rd r = rd_init(exact, n);
	int err = sketch_quantile_decode(&r, &s);
	if (!err) { /* whatever decodes can be used and encoded */
		struct buf b = {0};
		sketch_quantile_add(s, 1.5, 512);
		(void)sketch_quantile_eval(s, 0.9, -1, 1);
		sketch_quantile_encode(s, &b);
		buf_free(&b);
	} else {
		ck_assert_ptr_null(s);
	}
	sketch_quantile_free(s);
	free(exact);
	return err;
}

START_TEST(damaged_bytes_never_crash)
{
	struct buf b = {0};
	for (uint64_t round = 0; round < 300; round++) {
		struct sketch_quantile *s = filled(round, rnd() % 200, 512);
		buf_clear(&b);
		sketch_quantile_encode(s, &b);
		sketch_quantile_free(s);
		for (size_t n = 0; n < b.len; n++)
			ck_assert_int_lt(decode_exact(b.data, n), 0);
		for (int i = 0; i < 50; i++) {
			size_t at = rnd() % b.len;
			uint8_t was = b.data[at];
			b.data[at] = (uint8_t)rnd();
			decode_exact(b.data, b.len);
			b.data[at] = was;
		}
	}
	static const uint8_t bad[][8] = {
	    {0x0b},                    /* scale -5 */
	    {0x80},                    /* unknown bit */
	    {0x10, 0},                 /* zeros that are none */
	    {0x20, 0, 0},              /* an empty store */
	    {0x20, 1, 0, 1},           /* a gap before the first bucket */
	    {0x20, 2, 0x80, 0x80, 8, 0, 0}, /* the second bucket lies above DBL_MAX */
	    {0x20, 1, 0xff, 0xff, 0xff, 0xff, 0}, /* no double has this index */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(decode_exact(bad[i], sizeof(bad[i])), WEIR_ECORRUPT);
	buf_clear(&b);
	buf_u8(&b, 0x20);
	buf_varint(&b, SKETCH_QUANTILE_BUCKETS_MAX + 1);
	buf_svarint(&b, 0);
	for (int i = 0; i <= SKETCH_QUANTILE_BUCKETS_MAX; i++)
		buf_u8(&b, 0);
	ck_assert_int_eq(decode_exact(b.data, b.len), WEIR_ECORRUPT);
	buf_free(&b);
}
END_TEST

START_TEST(counts_stick_at_their_maximum)
{
	struct buf b = {0};
	buf_u8(&b, 0x20);
	buf_varint(&b, 1);
	buf_svarint(&b, 0);
	buf_u8(&b, 0xf0);
	buf_varint(&b, UINT64_MAX - 1 - 15);
	struct sketch_quantile *s, *t;
	struct rd r = rd_init(b.data, b.len);
	ck_assert_int_eq(sketch_quantile_decode(&r, &s), 0);
	ck_assert(sketch_quantile_count(s) == UINT64_MAX);
	t = sketch_quantile_copy(s);
	sketch_quantile_merge(s, t, 512);
	sketch_quantile_add(s, 1, 512);
	assert_same(s, t);
	ck_assert(sketch_quantile_eval(s, 1, 1, 1) == 1);
	sketch_quantile_free(s);
	sketch_quantile_free(t);
	buf_free(&b);
}
END_TEST

/* ---- sketches that stay encoded ---- */

static struct buf encoded(const struct sketch_quantile *s)
{
	struct buf b = {0};
	sketch_quantile_encode(s, &b);
	return b;
}

static struct sketch_quantile *decoded(struct bytes b)
{
	struct rd r = rd_init(b.p, b.n);
	struct sketch_quantile *s;
	ck_assert_int_eq(sketch_quantile_decode(&r, &s), 0);
	return s;
}

/* Merging what was skimmed gives the bytes that merging what was decoded gives. */
static void assert_merges_alike(const struct sketch_quantile_packed *a, const struct sketch_quantile_packed *b, uint32_t cap)
{
	struct buf packed = {0};
	buf_u8(&packed, 77); /* what was there stays */
	sketch_quantile_merge_packed(a, b, cap, &packed);
	struct sketch_quantile *sum = a ? decoded(a->bytes) : sketch_quantile_new(), *more = decoded(b->bytes);
	sketch_quantile_merge(sum, more, cap);
	struct buf want = encoded(sum);
	ck_assert_uint_eq(packed.len, want.len + 1);
	ck_assert_uint_eq(packed.data[0], 77);
	ck_assert_int_eq(memcmp(packed.data + 1, want.data, want.len), 0);
	buf_free(&packed);
	buf_free(&want);
	sketch_quantile_free(sum);
	sketch_quantile_free(more);
}

/* Skims as it decodes: the same bytes with the same outcome. True: it is a sketch. */
static bool skim(const uint8_t *p, size_t n, struct sketch_quantile_packed *ret)
{
	struct rd r = rd_init(p, n), again = r;
	struct sketch_quantile *s = NULL;
	int skimmed = sketch_quantile_skim(&r, ret), err = sketch_quantile_decode(&again, &s);
	ck_assert_int_eq(!skimmed, !err);
	if (err)
		return false;
	ck_assert(r.p == again.p && ret->bytes.p == p && ret->bytes.p + ret->bytes.n == r.p);
	ck_assert(ret->count == sketch_quantile_count(s));
	ck_assert_uint_eq(ret->buckets, sketch_quantile_buckets(s));
	ck_assert_int_eq(ret->scale, sketch_quantile_scale(s));
	struct buf b = encoded(s);
	ck_assert_int_eq(ret->canonical, b.len == ret->bytes.n && !memcmp(b.data, p, b.len));
	buf_free(&b);
	sketch_quantile_free(s);
	return true;
}

/* A sketch by one of many ways: few or many values of some kind, under some cap, counts of all sizes. */
static struct buf any_sketch(void)
{
	static const uint32_t caps[] = {3, 60, 512, 512, 2048};
	struct sketch_quantile *s = sketch_quantile_new();
	uint64_t kind = rnd();
	uint32_t cap = caps[rnd() % 5];
	size_t n = rnd() % (rnd() % 8 ? 60 : 6000);
	for (size_t i = 0; i < n; i++)
		sketch_quantile_add(s, rnd_value(kind), cap);
	for (uint64_t doublings = rnd() % 3 ? 0 : rnd() % 70; doublings; doublings--) {
		struct sketch_quantile *copy = sketch_quantile_copy(s);
		sketch_quantile_merge(s, copy, cap);
		sketch_quantile_free(copy);
	}
	struct buf b = encoded(s);
	sketch_quantile_free(s);
	return b;
}

START_TEST(encoded_sketches_merge_as_decoded_ones)
{
	static const uint32_t caps[] = {1, 16, 100, 512, 2048, 2048, 2048};
	int alike = 0, two_signs = 0;
	for (int round = 0; round < 1500; round++) {
		struct buf x = any_sketch(), y = any_sketch();
		struct sketch_quantile_packed a, b;
		ck_assert(skim(x.data, x.len, &a) && skim(y.data, y.len, &b));
		ck_assert(a.canonical && b.canonical && a.bytes.n == x.len);
		uint32_t cap = caps[rnd() % 7];
		assert_merges_alike(NULL, &b, cap);
		assert_merges_alike(&a, &b, cap);
		assert_merges_alike(&b, &b, cap);
		alike += a.scale == b.scale && a.buckets + b.buckets > 8;
		two_signs += (x.data[0] & 0x60) == 0x60;
		buf_free(&x);
		buf_free(&y);
	}
	ck_assert_int_gt(alike, 200);
	ck_assert_int_gt(two_signs, 200);
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
	int fine = 0, long_ones = 0;
	for (int round = 0; round < 1500; round++) {
		struct buf x = any_sketch(), y = any_sketch();
		struct sketch_quantile_packed a, b;
		ck_assert(skim(y.data, y.len, &b));
		for (int i = 0; i < 12; i++) {
			struct buf z = {0};
			buf_put(&z, x.data, x.len);
			for (uint64_t k = 1 + rnd() % 2; k; k--)
				spoil(&z);
			uint8_t *exact = malloc(z.len);
			memcpy(exact, z.data, z.len);
			bool sketch = skim(exact, z.len, &a);
			if (sketch && i < 2) {
				assert_merges_alike(NULL, &a, 2048);
				assert_merges_alike(&a, &b, 2048);
				assert_merges_alike(&b, &a, 2048);
			}
			fine += sketch;
			long_ones += sketch && !a.canonical;
			free(exact);
			buf_free(&z);
		}
		for (size_t n = 0; n < x.len && n < 200; n++)
			ck_assert(!skim(x.data, n, &a));
		buf_free(&x);
		buf_free(&y);
	}
	ck_assert_int_gt(fine, 500);
	ck_assert_int_gt(long_ones, 50);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/sketch_quantile");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, bucket_bounds_are_exact);
	tcase_add_test(tc, indexes_agree_with_logarithms);
	tcase_add_test(tc, any_order_of_merging_gives_the_same_bytes);
	tcase_add_test(tc, edge_and_cloud_caps_merge_in_any_order);
	tcase_add_test(tc, quantiles_keep_their_error_bound);
	tcase_add_test(tc, errors_by_scale);
	tcase_add_test(tc, estimates_and_ranks);
	tcase_add_test(tc, encodings_round_trip_and_copy);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, damaged_bytes_never_crash);
	tcase_add_test(tc, counts_stick_at_their_maximum);
	tcase_add_test(tc, encoded_sketches_merge_as_decoded_ones);
	tcase_add_test(tc, skimming_checks_what_decoding_checks);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
