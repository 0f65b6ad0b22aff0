#include "common/number.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/err.h"

#define DECIMAL_LIMIT 0x1p53     /* whole numbers below this are exact */
#define DECIMAL_SMALLEST 1e-9    /* nothing but 0 below it has a decimal of nine places */
#define BINARY_LIMIT (INT64_C(1) << 34) /* larger ones are not shorter than raw */
#define BINARY_EXPONENT_MAX 1100

static const double powers_of_ten[NUMBER_DECIMAL_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

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

/* The fewest places with which v is k / 10^places. k and 10^places are exact and division rounds correctly, so
 * whatever passes here comes back as the same bits. */
static bool decimal_of(double v, uint8_t *ret_places, int64_t *ret_k)
{
	if (!(fabs(v) >= DECIMAL_SMALLEST))
		return false;
	for (uint8_t places = 0; places <= NUMBER_DECIMAL_MAX; places++) {
		double scaled = v * powers_of_ten[places];
		if (!(fabs(scaled) < DECIMAL_LIMIT - 1))
			return false;
		int64_t k = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
		if (k && (double)k / powers_of_ten[places] == v) {
			*ret_places = places;
			*ret_k = k;
			return true;
		}
	}
	return false;
}

/* v = m * 2^e, m odd and small. v is finite and not 0. */
static bool binary_of(double v, int64_t *ret_m, int *ret_e)
{
	uint64_t bits = bits_of(v), mantissa = bits & ((UINT64_C(1) << 52) - 1);
	int exponent = (int)(bits >> 52 & 0x7ff);
	if (exponent)
		mantissa |= UINT64_C(1) << 52;
	else
		exponent = 1;
	int zeros = __builtin_ctzll(mantissa);
	int64_t m = (int64_t)(mantissa >> zeros);
	if (m >= BINARY_LIMIT)
		return false;
	*ret_m = bits >> 63 ? -m : m;
	*ret_e = exponent - 1075 + zeros;
	return true;
}

uint8_t number_put(struct buf *out, double v, const double *refs, size_t ref_count)
{
	weir_assert(ref_count <= NUMBER_REFS_MAX);
	uint8_t places;
	int64_t k;
	int e;
	if (bits_of(v) == 0)
		return NUMBER_ZERO;
	for (size_t i = 0; i < ref_count; i++) {
		if (bits_of(v) == bits_of(refs[i]))
			return (uint8_t)(NUMBER_REF + i);
	}
	if (decimal_of(v, &places, &k)) {
		buf_svarint(out, k);
		return places;
	}
	if (isfinite(v) && v != 0 && binary_of(v, &k, &e)) {
		buf_svarint(out, k);
		buf_svarint(out, e);
		return NUMBER_BINARY;
	}
	buf_f64(out, v);
	return NUMBER_RAW;
}

static double get_binary(struct rd *r)
{
	int64_t m = rd_svarint(r), e = rd_svarint(r);
	if (!r->err && (e < -BINARY_EXPONENT_MAX || e > BINARY_EXPONENT_MAX || m <= -BINARY_LIMIT || m >= BINARY_LIMIT))
		r->err = WEIR_ECORRUPT;
	return r->err ? 0 : ldexp((double)m, (int)e);
}

double number_get(struct rd *r, uint8_t kind, const double *refs, size_t ref_count)
{
	if (kind <= NUMBER_DECIMAL_MAX)
		return (double)rd_svarint(r) / powers_of_ten[kind];
	if (kind == NUMBER_ZERO)
		return 0;
	if (kind == NUMBER_RAW)
		return rd_f64(r);
	if (kind == NUMBER_BINARY)
		return get_binary(r);
	if (kind > NUMBER_ZERO || kind - NUMBER_REF >= (int)ref_count) {
		if (!r->err)
			r->err = WEIR_ECORRUPT;
		return 0;
	}
	return refs[kind - NUMBER_REF];
}

/* Doubles in their order as signed integers: neighbours differ by 1, -0.0 and +0.0 too. */
static uint64_t rank_of(double v)
{
	uint64_t bits = bits_of(v);
	return bits >> 63 ? (UINT64_C(1) << 63) - 1 - bits : bits;
}

void number_put_near(struct buf *out, double v, double near)
{
	buf_svarint(out, (int64_t)(rank_of(v) - rank_of(near)));
}

double number_get_near(struct rd *r, double near)
{
	uint64_t rank = rank_of(near) + (uint64_t)rd_svarint(r);
	return of_bits(rank >> 63 ? (UINT64_C(1) << 63) - 1 - rank : rank);
}
