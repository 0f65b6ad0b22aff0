#include "common/partial.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/number.h"
#include "common/sketch_distinct.h"
#include "common/sketch_quantile.h"

_Static_assert(32 + SKETCH_QUANTILE_ENCODED_MAX + DISTINCTS_MAX * SKETCH_DISTINCT_ENCODED_MAX + 128 <= PARTIAL_ENCODED_MAX,
    "the largest partial fits");
_Static_assert(PARTIAL_QUANTILE_CAP_CLOUD <= SKETCH_QUANTILE_BUCKETS_MAX, "what the cloud keeps can be decoded");

static bool has(const struct partial_spec *spec, enum partial_part part)
{
	return spec->parts & part;
}

static uint32_t parts_of(enum function fn)
{
	switch (fn) {
	case FN_COUNT:
	case FN_DISTINCT:
		return 0;
	case FN_SUM:
	case FN_MEAN:
		return PARTIAL_SUM;
	case FN_MIN:
	case FN_MAX:
		return PARTIAL_MINMAX;
	case FN_STDDEV:
		return PARTIAL_MOMENTS;
	case FN_FIRST:
	case FN_LAST:
		return PARTIAL_FIRSTLAST;
	case FN_QUANTILE:
		return PARTIAL_QUANTILE | PARTIAL_MINMAX;
	}
	return 0;
}

void partial_spec_of(const struct stream_conf *s, uint64_t distinct_seed, uint32_t quantile_cap,
    struct partial_spec *ret_spec)
{
	struct partial_spec spec = {
	    .distinct_count = (uint32_t)s->distinct_count,
	    .quantile_cap = quantile_cap,
	    .distinct_seed = distinct_seed,
	};
	for (size_t i = 0; i < s->compute_count; i++)
		spec.parts |= parts_of(s->compute[i].fn);
	*ret_spec = spec;
}

void partial_clear(struct partial *p, const struct partial_spec *spec)
{
	sketch_quantile_free(p->quantile);
	for (uint32_t i = 0; p->distinct && i < spec->distinct_count; i++)
		sketch_distinct_free(p->distinct[i]);
	free(p->distinct);
	*p = (struct partial){0};
}

size_t partial_memory(const struct partial *p, const struct partial_spec *spec)
{
	size_t bytes = p->quantile ? sketch_quantile_memory(p->quantile) : 0;
	if (!p->distinct)
		return bytes;
	for (uint32_t i = 0; i < spec->distinct_count; i++)
		bytes += sizeof(*p->distinct) + (p->distinct[i] ? sketch_distinct_memory(p->distinct[i]) : 0);
	return bytes;
}

/* ---- adding ---- */

/* The order of doubles in which -0.0 comes before 0.0, so that ties leave no choice. */
static bool less(double a, double b)
{
	return a < b || (a == b && signbit(a) && !signbit(b));
}

/* Neumaier's step; then sum and compensation are split anew (Knuth's two-sum), so that sum is the nearest double. Sums of
 * short decimals stay short, and the compensation has few bits: both encode small. */
static void sum_add(struct partial *p, double v, double v_c)
{
	if (isinf(p->sum))
		return;
	double t = p->sum + v;
	double c = p->sum_c + v_c + (fabs(p->sum) >= fabs(v) ? (p->sum - t) + v : (v - t) + p->sum);
	double sum = t + c, part = sum - t;
	p->sum = sum;
	p->sum_c = (t - (sum - part)) + (c - part);
	if (!isfinite(p->sum) || !isfinite(p->sum_c)) {
		p->sum = INFINITY;
		p->sum_c = 0;
	}
}

static void moments_overflow(struct partial *p)
{
	if (isfinite(p->mean) && isfinite(p->m2))
		return;
	p->mean = 0;
	p->m2 = INFINITY;
}

/* Welford; count is that before v. */
static void moments_add(struct partial *p, double v)
{
	if (isinf(p->m2))
		return;
	if (!p->count) {
		p->mean = v;
		return;
	}
	double delta = v - p->mean;
	p->mean += delta / ((double)p->count + 1);
	double square = delta * (v - p->mean);
	p->m2 += square > 0 || isnan(square) ? square : 0;
	moments_overflow(p);
}

/* Chan, Golub, LeVeque; count is that before src. */
static void moments_merge(struct partial *p, const struct partial *src)
{
	if (isinf(p->m2) || isinf(src->m2)) {
		p->mean = 0;
		p->m2 = INFINITY;
		return;
	}
	double na = (double)p->count, nb = (double)src->count, n = na + nb;
	double delta = src->mean - p->mean;
	p->mean += delta * (nb / n);
	p->m2 += src->m2 + delta * delta * na * (nb / n);
	moments_overflow(p);
}

static void minmax_add(struct partial *p, double min, double max)
{
	if (!p->count || less(min, p->min))
		p->min = min;
	if (!p->count || less(p->max, max))
		p->max = max;
}

static void first_add(struct partial *p, int64_t t_ns, double v)
{
	if (p->count && (t_ns > p->first_ns || (t_ns == p->first_ns && !less(v, p->first))))
		return;
	p->first_ns = t_ns;
	p->first = v;
}

static void last_add(struct partial *p, int64_t t_ns, double v)
{
	if (p->count && (t_ns < p->last_ns || (t_ns == p->last_ns && !less(p->last, v))))
		return;
	p->last_ns = t_ns;
	p->last = v;
}

static void count_add(struct partial *p, uint64_t n)
{
	p->count = p->count > UINT64_MAX - n ? UINT64_MAX : p->count + n;
}

void partial_add(struct partial *p, const struct partial_spec *spec, int64_t t_ns, double value)
{
	if (has(spec, PARTIAL_SUM))
		sum_add(p, value, 0);
	if (has(spec, PARTIAL_MINMAX))
		minmax_add(p, value, value);
	if (has(spec, PARTIAL_MOMENTS))
		moments_add(p, value);
	if (has(spec, PARTIAL_FIRSTLAST)) {
		first_add(p, t_ns, value);
		last_add(p, t_ns, value);
	}
	if (has(spec, PARTIAL_QUANTILE)) {
		if (!p->quantile)
			p->quantile = sketch_quantile_new();
		sketch_quantile_add(p->quantile, value, spec->quantile_cap);
	}
	count_add(p, 1);
}

static struct sketch_distinct *distinct_at(struct partial *p, const struct partial_spec *spec, uint32_t i)
{
	if (!p->distinct)
		p->distinct = xcalloc(spec->distinct_count, sizeof(struct sketch_distinct *));
	if (!p->distinct[i])
		p->distinct[i] = sketch_distinct_new();
	return p->distinct[i];
}

void partial_add_distinct(struct partial *p, const struct partial_spec *spec, uint32_t i, const void *value, size_t len)
{
	weir_assert(i < spec->distinct_count);
	sketch_distinct_add(distinct_at(p, spec, i), spec->distinct_seed, value, len);
}

void partial_merge(struct partial *dst, const struct partial *src, const struct partial_spec *spec)
{
	weir_assert(dst != src);
	if (!src->count)
		return;
	if (has(spec, PARTIAL_SUM)) {
		if (isinf(src->sum)) {
			dst->sum = INFINITY;
			dst->sum_c = 0;
		} else {
			sum_add(dst, src->sum, src->sum_c);
		}
	}
	if (has(spec, PARTIAL_MINMAX))
		minmax_add(dst, src->min, src->max);
	if (has(spec, PARTIAL_MOMENTS)) {
		if (dst->count) {
			moments_merge(dst, src);
		} else {
			dst->mean = src->mean;
			dst->m2 = src->m2;
		}
	}
	if (has(spec, PARTIAL_FIRSTLAST)) {
		first_add(dst, src->first_ns, src->first);
		last_add(dst, src->last_ns, src->last);
	}
	if (has(spec, PARTIAL_QUANTILE) && src->quantile) {
		if (!dst->quantile)
			dst->quantile = sketch_quantile_new();
		sketch_quantile_merge(dst->quantile, src->quantile, spec->quantile_cap);
	}
	for (uint32_t i = 0; src->distinct && i < spec->distinct_count; i++) {
		if (src->distinct[i])
			sketch_distinct_merge(distinct_at(dst, spec, i), src->distinct[i]);
	}
	count_add(dst, src->count);
}

/* ---- encoding ----
 *
 *   count varint (0: nothing follows)
 *   kinds: ceil(numbers / 2) bytes, the first number's kind in the low bits; numbers are those of the parts, in the
 *          order min max first last sum sum_c m2 [mean, where there is no sum]
 *   payloads: min max first last sum sum_c, mean (its distance from the sum's mean), m2
 *   quantile sketch, distinct sketches (an absent one as an empty one)
 *   times (not in columns): unit u8, first / unit svarint, (last - first) / unit varint */

enum number { N_MIN, N_MAX, N_FIRST, N_LAST, N_SUM, N_SUM_C, N_M2, N_MEAN, NUMBERS };

static const enum partial_column number_columns[NUMBERS] = {
    [N_MIN] = PARTIAL_COL_MIN,
    [N_MAX] = PARTIAL_COL_MAX,
    [N_FIRST] = PARTIAL_COL_FIRST,
    [N_LAST] = PARTIAL_COL_LAST,
    [N_SUM] = PARTIAL_COL_SUM,
    [N_SUM_C] = PARTIAL_COL_SUM_C,
    [N_M2] = PARTIAL_COL_M2,
    [N_MEAN] = PARTIAL_COL_MEAN,
};

/* A bit per number that is there. */
static uint32_t numbers_present(const struct partial_spec *spec)
{
	uint32_t n = 0;
	if (has(spec, PARTIAL_MINMAX))
		n |= 1u << N_MIN | 1u << N_MAX;
	if (has(spec, PARTIAL_FIRSTLAST))
		n |= 1u << N_FIRST | 1u << N_LAST;
	if (has(spec, PARTIAL_SUM))
		n |= 1u << N_SUM | 1u << N_SUM_C;
	if (has(spec, PARTIAL_MOMENTS))
		n |= 1u << N_M2 | (has(spec, PARTIAL_SUM) ? 0 : 1u << N_MEAN);
	return n;
}

static size_t kinds_bytes(uint32_t present)
{
	return ((size_t)__builtin_popcount(present) + 1) / 2;
}

static double *number_of(struct partial *p, enum number i)
{
	switch (i) {
	case N_MIN:
		return &p->min;
	case N_MAX:
		return &p->max;
	case N_FIRST:
		return &p->first;
	case N_LAST:
		return &p->last;
	case N_SUM:
		return &p->sum;
	case N_SUM_C:
		return &p->sum_c;
	case N_M2:
		return &p->m2;
	case N_MEAN:
	case NUMBERS:
		break;
	}
	return &p->mean;
}

/* Numbers that a number often equals: those before it. All are 0 where the part is absent. */
static size_t references(const struct partial *p, enum number i, double refs[NUMBER_REFS_MAX])
{
	if (i == N_MIN || i == N_SUM_C || i == N_M2)
		return 0;
	refs[0] = p->min;
	refs[1] = p->max;
	refs[2] = p->first;
	return i == N_MAX ? 1 : i == N_FIRST ? 2 : 3;
}

static double mean_guess(const struct partial *p)
{
	return isfinite(p->sum) ? (p->sum + p->sum_c) / (double)p->count : 0;
}

static void put_numbers(const struct partial *p, const struct partial_spec *spec, struct buf *const cols[PARTIAL_COLS])
{
	struct partial copy = *p;
	uint8_t kinds[NUMBERS + 1] = {0};
	uint32_t n = 0, present = numbers_present(spec);
	size_t bytes = kinds_bytes(present);
	struct buf *kinds_col = cols[PARTIAL_COL_KINDS];
	size_t kinds_at = kinds_col->len; /* before the payloads, also where all columns are one buffer */
	buf_put(kinds_col, kinds, bytes);
	for (enum number i = 0; i < NUMBERS; i++) {
		double refs[NUMBER_REFS_MAX];
		if (!(present >> i & 1))
			continue;
		size_t ref_count = references(p, i, refs);
		kinds[n++] = number_put(cols[number_columns[i]], *number_of(&copy, i), refs, ref_count);
	}
	for (size_t k = 0; k < bytes; k++)
		kinds_col->data[kinds_at + k] = (uint8_t)(kinds[2 * k] | kinds[2 * k + 1] << 4);
	if (has(spec, PARTIAL_MOMENTS) && has(spec, PARTIAL_SUM))
		number_put_near(cols[PARTIAL_COL_MEAN], p->mean, mean_guess(p));
}

static void put_distincts(const struct partial *p, const struct partial_spec *spec, struct buf *col)
{
	for (uint32_t i = 0; i < spec->distinct_count; i++) {
		if (p->distinct && p->distinct[i])
			sketch_distinct_encode(p->distinct[i], col);
		else
			buf_varint(col, 0);
	}
}

static void put_count_and_numbers(const struct partial *p, const struct partial_spec *spec,
    struct buf *const cols[PARTIAL_COLS])
{
	weir_assert(p->count);
	buf_varint(cols[PARTIAL_COL_COUNT], p->count);
	put_numbers(p, spec, cols);
}

void partial_put_columns(const struct partial *p, const struct partial_spec *spec, struct buf *const cols[PARTIAL_COLS])
{
	put_count_and_numbers(p, spec, cols);
	if (has(spec, PARTIAL_QUANTILE)) {
		weir_assert(p->quantile);
		sketch_quantile_encode(p->quantile, cols[PARTIAL_COL_QUANTILE]);
	}
	put_distincts(p, spec, cols[PARTIAL_COL_DISTINCT]);
}

static int get_numbers(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec, struct partial *p)
{
	uint32_t present = numbers_present(spec), count = (uint32_t)__builtin_popcount(present), n = 0;
	const uint8_t *kinds = rd_raw(cols[PARTIAL_COL_KINDS], kinds_bytes(present));
	if (!kinds)
		return cols[PARTIAL_COL_KINDS]->err;
	if (count % 2 && kinds[count / 2] >> 4)
		return WEIR_ECORRUPT;
	for (enum number i = 0; i < NUMBERS; i++) {
		double refs[NUMBER_REFS_MAX];
		if (!(present >> i & 1))
			continue;
		size_t ref_count = references(p, i, refs);
		uint8_t kind = kinds[n / 2] >> (n % 2 ? 4 : 0) & 15;
		struct rd *col = cols[number_columns[i]];
		*number_of(p, i) = number_get(col, kind, refs, ref_count);
		if (col->err)
			return col->err;
		n++;
	}
	if (has(spec, PARTIAL_MOMENTS) && has(spec, PARTIAL_SUM))
		p->mean = number_get_near(cols[PARTIAL_COL_MEAN], mean_guess(p));
	return cols[PARTIAL_COL_MEAN]->err;
}

static int get_distincts(struct rd *col, const struct partial_spec *spec, struct partial *p)
{
	for (uint32_t i = 0; i < spec->distinct_count; i++) {
		struct sketch_distinct *s;
		if (rd_left(col) && *col->p == 0) { /* none: the byte of an empty sketch */
			(void)rd_u8(col);
			continue;
		}
		int err = sketch_distinct_decode(col, &s);
		if (err)
			return err;
		if (!p->distinct)
			p->distinct = xcalloc(spec->distinct_count, sizeof(struct sketch_distinct *));
		p->distinct[i] = s;
	}
	return 0;
}

static int get_count_and_numbers(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec,
    struct partial *p)
{
	p->count = rd_varint(cols[PARTIAL_COL_COUNT]);
	if (cols[PARTIAL_COL_COUNT]->err)
		return cols[PARTIAL_COL_COUNT]->err;
	if (!p->count)
		return WEIR_ECORRUPT;
	return get_numbers(cols, spec, p);
}

static int get_columns(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec, struct partial *p)
{
	int err = get_count_and_numbers(cols, spec, p);
	if (!err && has(spec, PARTIAL_QUANTILE))
		err = sketch_quantile_decode(cols[PARTIAL_COL_QUANTILE], &p->quantile);
	return err ? err : get_distincts(cols[PARTIAL_COL_DISTINCT], spec, p);
}

int partial_get_columns(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec, struct partial *ret)
{
	struct partial p = {0};
	int err = get_columns(cols, spec, &p);
	if (err) {
		partial_clear(&p, spec);
		return err;
	}
	*ret = p;
	return 0;
}

static bool within(double v, const struct partial *p, const struct partial_spec *spec)
{
	return isfinite(v) && (!has(spec, PARTIAL_MINMAX) || (v >= p->min && v <= p->max));
}

/* All but the sketches. */
static bool numbers_ok(const struct partial *p, const struct partial_spec *spec)
{
	bool ok = p->count > 0;
	if (has(spec, PARTIAL_SUM))
		ok = ok && isfinite(p->sum_c) && (isfinite(p->sum) || (p->sum > 0 && isinf(p->sum) && p->sum_c == 0));
	if (has(spec, PARTIAL_MINMAX))
		ok = ok && isfinite(p->min) && isfinite(p->max) && p->min <= p->max;
	if (has(spec, PARTIAL_MOMENTS))
		ok = ok && isfinite(p->mean) && p->m2 >= 0 && (isfinite(p->m2) || p->mean == 0);
	if (has(spec, PARTIAL_FIRSTLAST))
		ok = ok && p->first_ns <= p->last_ns && within(p->first, p, spec) && within(p->last, p, spec);
	return ok;
}

int partial_check(const struct partial *p, const struct partial_spec *spec)
{
	bool ok = numbers_ok(p, spec);
	if (has(spec, PARTIAL_QUANTILE))
		ok = ok && p->quantile && sketch_quantile_count(p->quantile) == p->count;
	return ok ? 0 : WEIR_ECORRUPT;
}

int partial_check_packed(const struct partial_packed *p, const struct partial_spec *spec)
{
	bool ok = numbers_ok(&p->numbers, spec);
	if (has(spec, PARTIAL_QUANTILE))
		ok = ok && p->quantile.count == p->numbers.count;
	return ok ? 0 : WEIR_ECORRUPT;
}

int64_t time_unit_ns(uint8_t code)
{
	static const int64_t units[TIME_UNITS] = {1, 1000, 1000000, 1000000000};
	return units[code];
}

uint8_t time_unit(int64_t ns)
{
	uint8_t code = TIME_UNITS - 1;
	while (code && ns % time_unit_ns(code))
		code--;
	return code;
}

static void put_times(const struct partial *p, struct buf *out)
{
	uint8_t a = time_unit(p->first_ns), b = time_unit(p->last_ns), code = a < b ? a : b;
	int64_t unit = time_unit_ns(code);
	buf_u8(out, code);
	buf_svarint(out, p->first_ns / unit);
	buf_varint(out, (uint64_t)(p->last_ns / unit) - (uint64_t)(p->first_ns / unit));
}

void partial_encode(const struct partial *p, const struct partial_spec *spec, struct buf *out)
{
	struct buf *cols[PARTIAL_COLS];
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		cols[i] = out;
	if (!p->count) {
		buf_varint(out, 0);
		return;
	}
	partial_put_columns(p, spec, cols);
	if (has(spec, PARTIAL_FIRSTLAST))
		put_times(p, out);
}

static int get_times(struct rd *r, struct partial *p)
{
	uint8_t code = rd_u8(r);
	if (!r->err && code >= TIME_UNITS)
		return WEIR_ECORRUPT;
	int64_t first = rd_svarint(r), last;
	uint64_t span = rd_varint(r);
	if (r->err)
		return r->err;
	int64_t unit = time_unit_ns(code);
	last = (int64_t)((uint64_t)first + span);
	if (last < first || __builtin_mul_overflow(first, unit, &p->first_ns) ||
	    __builtin_mul_overflow(last, unit, &p->last_ns))
		return WEIR_ECORRUPT;
	return 0;
}

int partial_decode(struct rd *r, const struct partial_spec *spec, struct partial *ret)
{
	struct rd *cols[PARTIAL_COLS];
	struct partial p = {0};
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		cols[i] = r;
	if (!r->err && rd_left(r) && *r->p == 0) { /* empty */
		(void)rd_u8(r);
		return 0;
	}
	int err = partial_get_columns(cols, spec, &p);
	if (!err && has(spec, PARTIAL_FIRSTLAST))
		err = get_times(r, &p);
	if (!err)
		err = partial_check(&p, spec);
	if (err) {
		partial_clear(&p, spec);
		return err;
	}
	*ret = p;
	return 0;
}

/* ---- partials whose sketches stay encoded ---- */

static int skim_distincts(struct rd *col, const struct partial_spec *spec, struct partial_packed *p)
{
	const uint8_t *from = col->p;
	p->distinct_canonical = true;
	for (uint32_t i = 0; i < spec->distinct_count; i++) {
		int err = sketch_distinct_skim(col, &p->distinct_canonical);
		if (err)
			return err;
	}
	p->distinct = bytes_of(from, (size_t)(col->p - from));
	return 0;
}

int partial_skim_columns(struct rd *const cols[PARTIAL_COLS], const struct partial_spec *spec,
    struct partial_packed *ret)
{
	struct partial_packed p = {0};
	int err = get_count_and_numbers(cols, spec, &p.numbers);
	if (!err && has(spec, PARTIAL_QUANTILE))
		err = sketch_quantile_skim(cols[PARTIAL_COL_QUANTILE], &p.quantile);
	if (!err)
		err = skim_distincts(cols[PARTIAL_COL_DISTINCT], spec, &p);
	if (!err)
		*ret = p;
	return err;
}

int partial_skim(struct rd *r, const struct partial_spec *spec, struct partial_packed *ret)
{
	struct rd *cols[PARTIAL_COLS];
	struct partial_packed p = {0};
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		cols[i] = r;
	if (!r->err && rd_left(r) && *r->p == 0) { /* empty */
		(void)rd_u8(r);
		*ret = p;
		return 0;
	}
	int err = partial_skim_columns(cols, spec, &p);
	if (!err && has(spec, PARTIAL_FIRSTLAST))
		err = get_times(r, &p.numbers);
	if (!err)
		err = partial_check_packed(&p, spec);
	if (!err)
		*ret = p;
	return err;
}

/* What was skimmed decodes; into a fresh partial that has nothing but these. */
static struct partial unpack_distincts(struct bytes from, const struct partial_spec *spec)
{
	struct partial p = {.count = 1};
	struct rd r = rd_init(from.p, from.n);
	int err = get_distincts(&r, spec, &p);
	weir_assert(!err);
	return p;
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.n == b.n && !memcmp(a.p, b.p, a.n);
}

static void merge_distincts(const struct partial_packed *a, const struct partial_packed *b,
    const struct partial_spec *spec, struct buf *out)
{
	/* Equal ones give themselves: a register is a maximum. */
	if (b->distinct_canonical && (!a || same_bytes(a->distinct, b->distinct))) {
		buf_put(out, b->distinct.p, b->distinct.n);
		return;
	}
	struct partial_spec only = {.distinct_count = spec->distinct_count};
	struct partial sum = a ? unpack_distincts(a->distinct, &only) : (struct partial){0};
	struct partial more = unpack_distincts(b->distinct, &only);
	partial_merge(&sum, &more, &only);
	put_distincts(&sum, &only, out);
	partial_clear(&sum, &only);
	partial_clear(&more, &only);
}

void partial_merge_packed(const struct partial_packed *a, const struct partial_packed *b, const struct partial_spec *spec,
    struct buf *out)
{
	struct buf *cols[PARTIAL_COLS];
	struct partial sum = a ? a->numbers : (struct partial){0};
	uint32_t cap = spec->quantile_cap;
	partial_merge(&sum, &b->numbers, spec);
	if (!sum.count) {
		buf_varint(out, 0);
		return;
	}
	if (!b->numbers.count) { /* a stays, over the cap as it may be */
		b = a;
		a = NULL;
		cap = SKETCH_QUANTILE_BUCKETS_MAX;
	} else if (a && !a->numbers.count) {
		a = NULL;
	}
	for (size_t i = 0; i < PARTIAL_COLS; i++)
		cols[i] = out;
	put_count_and_numbers(&sum, spec, cols);
	if (has(spec, PARTIAL_QUANTILE))
		sketch_quantile_merge_packed(a ? &a->quantile : NULL, &b->quantile, cap, out);
	if (spec->distinct_count)
		merge_distincts(a, b, spec, out);
	if (has(spec, PARTIAL_FIRSTLAST))
		put_times(&sum, out);
}

/* ---- answers ---- */

struct answer {
	double value, error;
	bool null;
};

static const struct answer no_value = {.null = true};

static struct answer value_if(bool known, double v)
{
	return known && isfinite(v) ? (struct answer){.value = v} : no_value;
}

static struct answer eval_stddev(const struct partial *p, const struct partial_spec *spec)
{
	if (!has(spec, PARTIAL_MOMENTS) || p->count < 2)
		return no_value;
	return value_if(true, sqrt(p->m2 / ((double)p->count - 1)));
}

static struct answer eval_quantile(const struct partial *p, const struct partial_spec *spec, double q)
{
	if (!has(spec, PARTIAL_QUANTILE) || !p->quantile)
		return no_value;
	bool clamp = has(spec, PARTIAL_MINMAX);
	return (struct answer){
	    .value = sketch_quantile_eval(p->quantile, q, clamp ? p->min : -DBL_MAX, clamp ? p->max : DBL_MAX),
	    .error = sketch_quantile_error(p->quantile),
	};
}

static struct answer eval_distinct(const struct partial *p, const struct partial_spec *spec, uint32_t i)
{
	if (i >= spec->distinct_count)
		return no_value;
	const struct sketch_distinct *s = p->distinct ? p->distinct[i] : NULL;
	struct answer a = value_if(true, s ? floor(sketch_distinct_eval(s) + 0.5) : 0); /* full registers have no estimate */
	a.error = a.null ? 0 : SKETCH_DISTINCT_ERROR;
	return a;
}

static struct answer eval(const struct partial *p, const struct partial_spec *spec, enum function fn, double q,
    uint32_t distinct_index)
{
	if (fn == FN_COUNT)
		return (struct answer){.value = (double)p->count};
	if (!p->count)
		return no_value;
	switch (fn) {
	case FN_COUNT:
		break;
	case FN_SUM:
		return value_if(has(spec, PARTIAL_SUM), p->sum + p->sum_c);
	case FN_MEAN:
		return value_if(has(spec, PARTIAL_SUM), (p->sum + p->sum_c) / (double)p->count);
	case FN_MIN:
		return value_if(has(spec, PARTIAL_MINMAX), p->min);
	case FN_MAX:
		return value_if(has(spec, PARTIAL_MINMAX), p->max);
	case FN_STDDEV:
		return eval_stddev(p, spec);
	case FN_FIRST:
		return value_if(has(spec, PARTIAL_FIRSTLAST), p->first);
	case FN_LAST:
		return value_if(has(spec, PARTIAL_FIRSTLAST), p->last);
	case FN_QUANTILE:
		return eval_quantile(p, spec, q);
	case FN_DISTINCT:
		return eval_distinct(p, spec, distinct_index);
	}
	return no_value;
}

void partial_eval(const struct partial *p, const struct partial_spec *spec, enum function fn, double q,
    uint32_t distinct_index, double *ret_value, double *ret_error, bool *ret_null)
{
	struct answer a = eval(p, spec, fn, q, distinct_index);
	*ret_value = a.value;
	*ret_error = a.error;
	*ret_null = a.null;
}
