#include "common/sketch_quantile.h"

#include <endian.h>
#include <float.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define SCALE_MAX SKETCH_QUANTILE_SCALE_MAX
#define SCALE_MIN SKETCH_QUANTILE_SCALE_MIN
#define INDEX_MIN (-68736) /* of 2^-1074, at scale 6 */
#define INDEX_MAX 65536    /* of DBL_MAX */
#define SPARSE_MIN 8       /* entries allocated first */
#define DENSE_MIN 32       /* buckets below which a store stays sparse */
#define DENSE_SPAN 2       /* dense pays while its span is at most this many times the non-empty buckets ... */
#define DENSE_SPAN_KEEP 3  /* ... and goes back above this */

#define MANTISSA_BITS 52
#define MANTISSA_MASK ((UINT64_C(1) << MANTISSA_BITS) - 1)

/* floor(2^52 * 2^(k/64)) - 2^52: the largest mantissa of bucket k. Made with whole numbers: the integer square root
 * taken six times of 2^(52 * 64 + k); test_sketch_quantile proves each entry with whole numbers again. */
static const uint64_t mantissa_bound[65] = {
	0x0000000000000, 0x02c9a3e778060, 0x059b0d3158574, 0x0874518759bc8, 0x0b5586cf9890f,
	0x0e3ec32d3d1a2, 0x11301d0125b50, 0x1429aaea92ddf, 0x172b83c7d517a, 0x1a35beb6fcb75,
	0x1d4873168b9aa, 0x2063b88628cd6, 0x2387a6e756238, 0x26b4565e27cdd, 0x29e9df51fdee1,
	0x2d285a6e4030b, 0x306fe0a31b715, 0x33c08b26416ff, 0x371a7373aa9ca, 0x3a7db34e59ff6,
	0x3dea64c123422, 0x4160a21f72e29, 0x44e086061892d, 0x486a2b5c13cd0, 0x4bfdad5362a27,
	0x4f9b2769d2ca6, 0x5342b569d4f81, 0x56f4736b527da, 0x5ab07dd485429, 0x5e76f15ad2148,
	0x6247eb03a5584, 0x6623882552224, 0x6a09e667f3bcc, 0x6dfb23c651a2e, 0x71f75e8ec5f73,
	0x75feb564267c8, 0x7a11473eb0186, 0x7e2f336cf4e62, 0x82589994cce12, 0x868d99b4492ec,
	0x8ace5422aa0db, 0x8f1ae99157736, 0x93737b0cdc5e4, 0x97d829fde4e4f, 0x9c49182a3f090,
	0xa0c667b5de564, 0xa5503b23e255c, 0xa9e6b5579fdbf, 0xae89f995ad3ad, 0xb33a2b84f15fa,
	0xb7f76f2fb5e46, 0xbcc1e904bc1d2, 0xc199bdd85529c, 0xc67f12e57d14b, 0xcb720dcef9069,
	0xd072d4a07897b, 0xd5818dcfba487, 0xda9e603db3285, 0xdfc97337b9b5e, 0xe502ee78b3ff6,
	0xea4afa2a490d9, 0xefa1bee615a27, 0xf50765b6e4540, 0xfa7c1819e90d8, 0x10000000000000,
};

/* How many bounds are below each 128th of the mantissa's range; no 128th holds more than one. */
static const uint8_t bounds_below[128] = {
	0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11, 12, 13, 13, 14, 15, 15, 16, 16, 17,
	18, 18, 19, 19, 20, 21, 21, 22, 22, 23, 23, 24, 25, 25, 26, 26, 27, 27, 28, 28, 29, 29, 30, 30, 31, 31,
	32, 32, 33, 34, 34, 35, 35, 36, 36, 36, 37, 37, 38, 38, 39, 39, 40, 40, 41, 41, 42, 42, 43, 43, 44, 44,
	44, 45, 45, 46, 46, 47, 47, 48, 48, 48, 49, 49, 50, 50, 51, 51, 51, 52, 52, 53, 53, 53, 54, 54, 55, 55,
	55, 56, 56, 57, 57, 57, 58, 58, 59, 59, 59, 60, 60, 60, 61, 61, 62, 62, 62, 63, 63, 63, 64, 64,
};

/* Non-empty buckets of one sign, as sorted arrays, or dense: counts of the indexes lo .. lo + span - 1. Which of the
 * two is a matter of memory and speed; nothing outside can tell. */
struct store {
	uint32_t n;    /* non-empty buckets */
	uint32_t room; /* sparse: entries allocated; dense: span */
	bool dense;
	uint32_t last; /* sparse: where the last value went */
	int32_t lo;
	int32_t *index;
	uint64_t *count;
};

struct sketch_quantile {
	int scale;
	uint64_t zero;
	struct store pos, neg;
};

static uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* ---- indexes ---- */

int32_t sketch_quantile_index(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	int32_t exponent = (int32_t)(bits >> MANTISSA_BITS & 0x7ff) - 1023;
	uint64_t mantissa = bits & MANTISSA_MASK;
	if (exponent == -1023) { /* subnormal: mantissa * 2^-1074 */
		int top = 63 - __builtin_clzll(mantissa);
		exponent = top - 1074;
		mantissa = mantissa << (MANTISSA_BITS - top) & MANTISSA_MASK;
	}
	uint32_t k = bounds_below[mantissa >> (MANTISSA_BITS - 7)];
	return exponent * 64 + (int32_t)(k + (mantissa_bound[k] < mantissa));
}

/* ceil(i / 2^steps), which is (i + 1) >> 1 done that often. */
static int32_t collapsed(int32_t i, int steps)
{
	return (i + (1 << steps) - 1) >> steps;
}

/* 2^e for any e that a bucket can need, by exact multiplications (the last may round to a subnormal or to 0). */
static double times_power(double x, int32_t e)
{
	while (e > 1000) {
		x *= 0x1p1000;
		e -= 1000;
	}
	while (e < -1000) {
		x *= 0x1p-1000;
		e += 1000;
	}
	uint64_t bits = (uint64_t)(e + 1023) << MANTISSA_BITS;
	double power;
	memcpy(&power, &bits, sizeof(power));
	return x * power;
}

/* 2^(k/64), 0 <= k <= 64 */
static double root(uint32_t k)
{
	return (double)(mantissa_bound[k] + (UINT64_C(1) << MANTISSA_BITS)) * 0x1p-52;
}

static double base_of(int scale)
{
	return scale >= 0 ? root(64u >> scale) : times_power(1, 1 << -scale);
}

static double estimate(int scale, int32_t index)
{
	double factor = 2 / (base_of(scale) + 1);
	if (scale < 0)
		return times_power(factor, index * (1 << -scale));
	uint32_t k = (uint32_t)index & ((1u << scale) - 1);
	return times_power(root(k << (SCALE_MAX - scale)) * factor, index >> scale);
}

/* ---- stores ---- */

static void store_free(struct store *st)
{
	free(st->index);
	free(st->count);
	*st = (struct store){0};
}

/* Walks the non-empty buckets upwards, joined as `steps` collapses would. */
struct walk {
	const struct store *st;
	int steps;
	uint32_t at;
	int32_t index;
	uint64_t count;
};

static int32_t index_at(const struct store *st, uint32_t at)
{
	return st->dense ? st->lo + (int32_t)at : st->index[at];
}

static uint32_t store_end(const struct store *st)
{
	return st->dense ? st->room : st->n;
}

static bool walk_next(struct walk *w)
{
	uint32_t end = store_end(w->st);
	while (w->at < end && !w->st->count[w->at])
		w->at++;
	if (w->at == end)
		return false;
	w->index = collapsed(index_at(w->st, w->at), w->steps);
	w->count = w->st->count[w->at++];
	while (w->at < end &&
	    (!w->st->count[w->at] || collapsed(index_at(w->st, w->at), w->steps) == w->index)) {
		w->count = add_sat(w->count, w->st->count[w->at]);
		w->at++;
	}
	return true;
}

static struct walk walk_of(const struct store *st, int steps)
{
	return (struct walk){.st = st, .steps = steps};
}

/* An empty sparse store with room for n buckets. */
static struct store store_sparse(uint32_t n)
{
	return (struct store){
	    .room = n,
	    .index = n ? xmalloc(n * sizeof(int32_t)) : NULL,
	    .count = n ? xmalloc(n * sizeof(uint64_t)) : NULL,
	};
}

static void store_append(struct store *st, int32_t index, uint64_t count)
{
	weir_assert(!st->dense && st->n < st->room);
	st->index[st->n] = index;
	st->count[st->n++] = count;
}

static void store_rebuild(struct store *st, int steps, uint32_t room)
{
	struct store fresh = store_sparse(room);
	struct walk w = walk_of(st, steps);
	while (walk_next(&w))
		store_append(&fresh, w.index, w.count);
	store_free(st);
	*st = fresh;
}

static void store_make_dense(struct store *st)
{
	if (st->dense || st->n < DENSE_MIN)
		return;
	uint32_t span = (uint32_t)(st->index[st->n - 1] - st->index[0]) + 1;
	if (span > DENSE_SPAN * st->n)
		return;
	uint64_t *count = xcalloc(span, sizeof(*count));
	for (uint32_t i = 0; i < st->n; i++)
		count[st->index[i] - st->index[0]] = st->count[i];
	struct store fresh = {.n = st->n, .room = span, .dense = true, .lo = st->index[0], .count = count};
	store_free(st);
	*st = fresh;
}

static void store_collapse(struct store *st)
{
	if (!st->n)
		return;
	store_rebuild(st, 1, st->n);
	store_make_dense(st);
}

/* Makes a dense store hold index: wider by a little more than needed, or sparse again where that would not pay. */
static void store_widen(struct store *st, int32_t index)
{
	int32_t lo = index < st->lo ? index : st->lo, old_hi = st->lo + (int32_t)st->room - 1;
	int32_t hi = index > old_hi ? index : old_hi;
	uint32_t span = (uint32_t)(hi - lo) + 1;
	if (span > DENSE_SPAN_KEEP * (st->n + 1)) {
		store_rebuild(st, 0, st->n + st->n / 2 + 1);
		return;
	}
	uint32_t slack = st->n / 8;
	if (index < st->lo)
		lo -= (int32_t)slack;
	uint64_t *count = xcalloc(span + slack, sizeof(*count));
	memcpy(count + (st->lo - lo), st->count, st->room * sizeof(*count));
	free(st->count);
	st->count = count;
	st->lo = lo;
	st->room = span + slack;
}

static bool dense_holds(const struct store *st, int32_t index)
{
	return index >= st->lo && index - st->lo < (int32_t)st->room;
}

static void dense_add(struct store *st, int32_t index, uint64_t count)
{
	uint64_t *c = &st->count[index - st->lo];
	st->n += !*c;
	*c = add_sat(*c, count);
}

/* The first entry that is not below index. */
static uint32_t sparse_find(const struct store *st, int32_t index)
{
	uint32_t lo = 0, hi = st->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (st->index[mid] < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void sparse_insert(struct store *st, uint32_t at, int32_t index, uint64_t count)
{
	if (st->n == st->room) {
		st->room = st->room ? st->room + st->room / 2 + 1 : SPARSE_MIN;
		st->index = xrealloc(st->index, st->room * sizeof(*st->index));
		st->count = xrealloc(st->count, st->room * sizeof(*st->count));
	}
	memmove(st->index + at + 1, st->index + at, (st->n - at) * sizeof(*st->index));
	memmove(st->count + at + 1, st->count + at, (st->n - at) * sizeof(*st->count));
	st->index[at] = index;
	st->count[at] = count;
	st->n++;
}

static void store_add_new(struct store *st, int32_t index, uint64_t count)
{
	if (st->dense)
		store_widen(st, index);
	if (st->dense) {
		dense_add(st, index, count);
		return;
	}
	st->last = sparse_find(st, index);
	if (st->last < st->n && st->index[st->last] == index) {
		st->count[st->last] = add_sat(st->count[st->last], count);
		return;
	}
	sparse_insert(st, st->last, index, count);
	store_make_dense(st);
}

static void store_add(struct store *st, int32_t index, uint64_t count)
{
	if (st->dense && dense_holds(st, index))
		dense_add(st, index, count);
	else if (!st->dense && st->last < st->n && st->index[st->last] == index)
		st->count[st->last] = add_sat(st->count[st->last], count);
	else
		store_add_new(st, index, count);
}

/* dst (collapsed by dst_steps) + src (by src_steps), walked side by side. */
static void store_merge(struct store *dst, int dst_steps, const struct store *src, int src_steps)
{
	struct walk a = walk_of(dst, dst_steps), b = walk_of(src, src_steps);
	struct store sum = store_sparse(dst->n + src->n);
	bool more_a = walk_next(&a), more_b = walk_next(&b);
	while (more_a || more_b) {
		bool take_a = more_a && (!more_b || a.index <= b.index);
		bool take_b = more_b && (!more_a || b.index <= a.index);
		store_append(&sum, take_a ? a.index : b.index, add_sat(take_a ? a.count : 0, take_b ? b.count : 0));
		if (take_a)
			more_a = walk_next(&a);
		if (take_b)
			more_b = walk_next(&b);
	}
	store_free(dst);
	*dst = sum;
	store_make_dense(dst);
}

/* The quick way, where no bucket of dst moves: false when it does not apply. */
static bool store_merge_in_place(struct store *dst, const struct store *src, int src_steps)
{
	if (!src->n)
		return true;
	uint32_t end = store_end(src);
	if (!dst->dense || !dense_holds(dst, collapsed(index_at(src, 0), src_steps)) ||
	    !dense_holds(dst, collapsed(index_at(src, end - 1), src_steps)))
		return false;
	struct walk w = walk_of(src, src_steps);
	while (walk_next(&w))
		dense_add(dst, w.index, w.count);
	return true;
}

static struct store store_copy(const struct store *st)
{
	struct store c = *st;
	if (st->index) {
		c.index = xmalloc(st->room * sizeof(*c.index));
		memcpy(c.index, st->index, st->n * sizeof(*c.index));
	}
	if (st->count) {
		c.count = xmalloc(st->room * sizeof(*c.count));
		memcpy(c.count, st->count, store_end(st) * sizeof(*c.count));
	}
	return c;
}

static uint64_t store_total(const struct store *st)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < store_end(st); i++)
		total = add_sat(total, st->count[i]);
	return total;
}

/* ---- sketches ---- */

struct sketch_quantile *sketch_quantile_new(void)
{
	struct sketch_quantile *s = xcalloc(1, sizeof(*s));
	s->scale = SCALE_MAX;
	return s;
}

void sketch_quantile_free(struct sketch_quantile *s)
{
	if (!s)
		return;
	store_free(&s->pos);
	store_free(&s->neg);
	free(s);
}

struct sketch_quantile *sketch_quantile_copy(const struct sketch_quantile *s)
{
	struct sketch_quantile *c = sketch_quantile_new();
	c->scale = s->scale;
	c->zero = s->zero;
	c->pos = store_copy(&s->pos);
	c->neg = store_copy(&s->neg);
	return c;
}

static void enforce_cap(struct sketch_quantile *s, uint32_t cap)
{
	weir_assert(cap > 0);
	while (s->pos.n + s->neg.n > cap && s->scale > SCALE_MIN) {
		store_collapse(&s->pos);
		store_collapse(&s->neg);
		s->scale--;
	}
}

void sketch_quantile_add(struct sketch_quantile *s, double value, uint32_t cap)
{
	if (value == 0) {
		s->zero = add_sat(s->zero, 1);
		return;
	}
	int32_t index = collapsed(sketch_quantile_index(value), SCALE_MAX - s->scale);
	store_add(value < 0 ? &s->neg : &s->pos, index, 1);
	enforce_cap(s, cap);
}

void sketch_quantile_merge(struct sketch_quantile *dst, const struct sketch_quantile *src, uint32_t cap)
{
	weir_assert(dst != src);
	int scale = dst->scale < src->scale ? dst->scale : src->scale;
	int dst_steps = dst->scale - scale, src_steps = src->scale - scale;
	dst->zero = add_sat(dst->zero, src->zero);
	if (dst_steps || !store_merge_in_place(&dst->pos, &src->pos, src_steps))
		store_merge(&dst->pos, dst_steps, &src->pos, src_steps);
	if (dst_steps || !store_merge_in_place(&dst->neg, &src->neg, src_steps))
		store_merge(&dst->neg, dst_steps, &src->neg, src_steps);
	dst->scale = scale;
	enforce_cap(dst, cap);
}

uint64_t sketch_quantile_count(const struct sketch_quantile *s)
{
	return add_sat(s->zero, add_sat(store_total(&s->pos), store_total(&s->neg)));
}

int sketch_quantile_scale(const struct sketch_quantile *s)
{
	return s->scale;
}

uint32_t sketch_quantile_buckets(const struct sketch_quantile *s)
{
	return s->pos.n + s->neg.n;
}

uint64_t sketch_quantile_zeros(const struct sketch_quantile *s)
{
	return s->zero;
}

uint32_t sketch_quantile_list(const struct sketch_quantile *s, bool negative, struct sketch_bucket *ret)
{
	struct walk w = walk_of(negative ? &s->neg : &s->pos, 0);
	uint32_t n = 0;
	while (walk_next(&w))
		ret[n++] = (struct sketch_bucket){w.index, w.count};
	return n;
}

double sketch_quantile_error(const struct sketch_quantile *s)
{
	double base = base_of(s->scale);
	return (base - 1) / (base + 1);
}

size_t sketch_quantile_memory(const struct sketch_quantile *s)
{
	size_t dense_entry = sizeof(uint64_t), sparse_entry = sizeof(uint64_t) + sizeof(int32_t);
	return sizeof(*s) + s->pos.room * (s->pos.dense ? dense_entry : sparse_entry) +
	    s->neg.room * (s->neg.dense ? dense_entry : sparse_entry);
}

static uint64_t nearest_rank(double q, uint64_t n)
{
	double x = q * (double)n;
	if (x >= (double)n)
		return n;
	uint64_t whole = (uint64_t)x;
	if (x - (double)whole > x * (4 * DBL_EPSILON))
		whole++;
	return whole < 1 ? 1 : whole > n ? n : whole;
}

static double value_at_rank(const struct sketch_quantile *s, uint64_t rank)
{
	uint64_t below = 0;
	for (uint32_t i = store_end(&s->neg); i-- > 0;) {
		below = add_sat(below, s->neg.count[i]);
		if (below >= rank)
			return -estimate(s->scale, index_at(&s->neg, i));
	}
	below = add_sat(below, s->zero);
	if (below >= rank)
		return 0;
	for (uint32_t i = 0; i < store_end(&s->pos); i++) {
		below = add_sat(below, s->pos.count[i]);
		if (below >= rank)
			return estimate(s->scale, index_at(&s->pos, i));
	}
	return 0;
}

double sketch_quantile_eval(const struct sketch_quantile *s, double q, double min, double max)
{
	double v = value_at_rank(s, nearest_rank(q, sketch_quantile_count(s)));
	return v < min ? min : v > max ? max : v;
}

/* ---- encoding ----
 *
 *   head u8: bits 0-3: 6 - scale; bit 4: zeros; bit 5: positive store; bit 6: negative store
 *   [zeros varint]
 *   a store: n varint, first index svarint, then per bucket a token u8
 *     low 4 bits: index - previous index - 1 (0 in the first); 15: 15 + varint
 *     high 4 bits: count - 1; 15: 15 + varint
 *     (gap's varint, then count's varint) */

#define HEAD_SCALE 0x0f
#define HEAD_ZERO 0x10
#define HEAD_POS 0x20
#define HEAD_NEG 0x40
#define NIBBLE_MAX 15

#define TOKEN_MAX 14 /* token, gap, count */

/* Writes a store's buckets as they come, in ascending order. What it writes to has room for all. */
struct writer {
	uint8_t *p;
	int32_t previous;
	uint32_t n;
};

/* p: behind the number of buckets. */
static inline struct writer writer_start(uint8_t *p, int32_t first_index)
{
	return (struct writer){.p = varint_write(p, varint_zigzag(first_index)), .previous = first_index - 1};
}

static inline void put_bucket(struct writer *w, int32_t index, uint64_t count)
{
	uint64_t gap = (uint64_t)(index - w->previous - 1), more = count - 1;
	uint8_t low = gap < NIBBLE_MAX ? (uint8_t)gap : NIBBLE_MAX;
	uint8_t high = more < NIBBLE_MAX ? (uint8_t)more : NIBBLE_MAX;
	*w->p++ = (uint8_t)(low | high << 4);
	if (low == NIBBLE_MAX)
		w->p = varint_write(w->p, gap - NIBBLE_MAX);
	if (high == NIBBLE_MAX)
		w->p = varint_write(w->p, more - NIBBLE_MAX);
	w->previous = index;
	w->n++;
}

static void encode_store(const struct store *st, struct buf *out)
{
	uint8_t *start = buf_reserve(out, 2 * VARINT_MAX_BYTES + (size_t)st->n * TOKEN_MAX);
	uint32_t end = store_end(st), at = 0;
	while (!st->count[at]) /* it is not empty */
		at++;
	struct writer w = writer_start(varint_write(start, st->n), index_at(st, at));
	for (; at < end; at++) {
		if (st->count[at])
			put_bucket(&w, index_at(st, at), st->count[at]);
	}
	out->len += (size_t)(w.p - start);
}

void sketch_quantile_encode(const struct sketch_quantile *s, struct buf *out)
{
	buf_u8(out, (uint8_t)((SCALE_MAX - s->scale) | (s->zero ? HEAD_ZERO : 0) | (s->pos.n ? HEAD_POS : 0) |
	    (s->neg.n ? HEAD_NEG : 0)));
	if (s->zero)
		buf_varint(out, s->zero);
	if (s->pos.n)
		encode_store(&s->pos, out);
	if (s->neg.n)
		encode_store(&s->neg, out);
}

static inline int decode_bucket(struct rd *r, bool first, int64_t index_max, int64_t *index, uint64_t *ret_count)
{
	uint8_t token = rd_u8(r);
	uint64_t gap = token & NIBBLE_MAX, more = token >> 4;
	if (gap == NIBBLE_MAX)
		gap += rd_varint_max(r, INDEX_MAX - INDEX_MIN);
	if (more == NIBBLE_MAX)
		more += rd_varint_max(r, UINT64_MAX - 1 - NIBBLE_MAX);
	if (r->err)
		return r->err;
	if (first && gap)
		return WEIR_ECORRUPT;
	*index += first ? 0 : (int64_t)gap + 1;
	*ret_count = more + 1;
	return *index > index_max ? WEIR_ECORRUPT : 0;
}

/* The start of a store: how many buckets follow, and the first one's index. */
static int decode_store_head(struct rd *r, int steps, uint32_t max, uint32_t *ret_n, int64_t *ret_index)
{
	uint32_t n = (uint32_t)rd_varint_max(r, max);
	int64_t index = rd_svarint(r);
	if (r->err)
		return r->err;
	if (!n || index < collapsed(INDEX_MIN, steps) || index > collapsed(INDEX_MAX, steps))
		return WEIR_ECORRUPT;
	if (n > rd_left(r))
		return WEIR_ETRUNCATED;
	*ret_n = n;
	*ret_index = index;
	return 0;
}

static int decode_store(struct rd *r, int steps, uint32_t max, struct store *ret_store)
{
	uint32_t n;
	int64_t index;
	int err = decode_store_head(r, steps, max, &n, &index);
	if (err)
		return err;
	struct store st = store_sparse(n);
	for (uint32_t i = 0; i < n && !err; i++) {
		uint64_t count = 0;
		err = decode_bucket(r, i == 0, collapsed(INDEX_MAX, steps), &index, &count);
		if (!err)
			store_append(&st, (int32_t)index, count);
	}
	if (err) {
		store_free(&st);
		return err;
	}
	store_make_dense(&st);
	*ret_store = st;
	return 0;
}

static int decode_head(struct rd *r, uint8_t *ret_head)
{
	uint8_t head = rd_u8(r);
	if (r->err)
		return r->err;
	if ((head & HEAD_SCALE) > SCALE_MAX - SCALE_MIN || head & ~(HEAD_SCALE | HEAD_ZERO | HEAD_POS | HEAD_NEG))
		return WEIR_ECORRUPT;
	*ret_head = head;
	return 0;
}

static int decode_into(struct rd *r, struct sketch_quantile *s)
{
	uint8_t head;
	int err = decode_head(r, &head);
	if (err)
		return err;
	int steps = head & HEAD_SCALE;
	s->scale = SCALE_MAX - steps;
	if (head & HEAD_ZERO) {
		s->zero = rd_varint(r);
		if (r->err || !s->zero)
			return r->err ? r->err : WEIR_ECORRUPT;
	}
	if (head & HEAD_POS)
		err = decode_store(r, steps, SKETCH_QUANTILE_BUCKETS_MAX, &s->pos);
	if (!err && head & HEAD_NEG)
		err = decode_store(r, steps, SKETCH_QUANTILE_BUCKETS_MAX - s->pos.n, &s->neg);
	return err;
}

int sketch_quantile_decode(struct rd *r, struct sketch_quantile **ret_sketch)
{
	struct sketch_quantile *s = sketch_quantile_new();
	int err = decode_into(r, s);
	if (err) {
		sketch_quantile_free(s);
		return err;
	}
	*ret_sketch = s;
	return 0;
}

/* ---- sketches that stay encoded ---- */

#define EACH_BYTE(v) (UINT64_C(0x0101010101010101) * (v))

/* Tokens at p that have no varints behind them, at most 8 of the 8 bytes there: how many, and the sums of their low and
 * high halves. */
static inline uint32_t plain_tokens(const uint8_t *p, uint32_t *ret_low, uint32_t *ret_high)
{
	uint64_t eight;
	memcpy(&eight, p, sizeof(eight));
	eight = le64toh(eight);
	uint64_t low = eight & EACH_BYTE(NIBBLE_MAX), high = eight >> 4 & EACH_BYTE(NIBBLE_MAX);
	uint64_t escapes = ((low + EACH_BYTE(1)) | (high + EACH_BYTE(1))) & EACH_BYTE(NIBBLE_MAX + 1);
	uint32_t n = escapes ? (uint32_t)__builtin_ctzll(escapes) / 8 : 8;
	if (!n)
		return 0;
	uint64_t keep = UINT64_MAX >> (64 - 8 * n);
	*ret_low = (uint32_t)((low & keep) * EACH_BYTE(1) >> 56);
	*ret_high = (uint32_t)((high & keep) * EACH_BYTE(1) >> 56);
	return n;
}

/* Whether what was read from `from` to r ends in a byte that a shorter varint would not have. */
static bool is_long(const struct rd *r, const uint8_t *from)
{
	return r->p - from > 1 && !r->p[-1];
}

/* One bucket, by the rules of decode_bucket; one that is not the first. */
static int skim_bucket(struct rd *r, int64_t *index, uint64_t *total, bool *canonical)
{
	uint8_t token = rd_u8(r);
	uint64_t gap = token & NIBBLE_MAX, more = token >> 4;
	const uint8_t *from = r->p;
	if (gap == NIBBLE_MAX) {
		gap += rd_varint_max(r, INDEX_MAX - INDEX_MIN);
		*canonical &= !is_long(r, from);
		from = r->p;
	}
	if (more == NIBBLE_MAX) {
		more += rd_varint_max(r, UINT64_MAX - 1 - NIBBLE_MAX);
		*canonical &= !is_long(r, from);
	}
	*index += (int64_t)gap + 1;
	*total = add_sat(*total, more + 1);
	return r->err;
}

static int skim_store(struct rd *r, int steps, uint32_t max, struct sketch_quantile_packed *s)
{
	const uint8_t *from = r->p;
	uint32_t n, low, high;
	int64_t index;
	int err = decode_store_head(r, steps, max, &n, &index);
	if (err)
		return err;
	struct rd again = rd_init(from, (size_t)(r->p - from));
	(void)rd_varint(&again);
	s->canonical &= !is_long(&again, from) && !is_long(r, again.p);
	if ((*r->p & NIBBLE_MAX) != 0)
		return WEIR_ECORRUPT; /* the first bucket's index was given */
	s->buckets += n;
	index--; /* as if it followed on the bucket before it */
	const uint8_t *p = r->p;
	uint64_t total = 0; /* of counts that are small: n of them cannot overflow */
	while (n) {
		bool roomy = r->end - p >= 8;
		uint32_t plain = n >= 8 && roomy ? plain_tokens(p, &low, &high) : 0;
		if (plain) {
			index += low + plain;
			total += high + plain;
			p += plain;
			n -= plain;
		}
		if (plain == 8 || !n)
			continue;
		if (r->end - p >= 2 && *p >= NIBBLE_MAX << 4 && *p != UINT8_MAX && p[1] < 0x80) { /* a usual large count */
			index += (*p & NIBBLE_MAX) + 1;
			total += (uint64_t)p[1] + NIBBLE_MAX + 1;
			p += 2;
		} else {
			r->p = p;
			err = skim_bucket(r, &index, &s->count, &s->canonical);
			if (err)
				return err;
			p = r->p;
		}
		n--;
	}
	r->p = p;
	s->count = add_sat(s->count, total);
	return index > collapsed(INDEX_MAX, steps) ? WEIR_ECORRUPT : 0;
}

int sketch_quantile_skim(struct rd *r, struct sketch_quantile_packed *ret)
{
	const uint8_t *from = r->p;
	uint8_t head;
	int err = decode_head(r, &head);
	if (err)
		return err;
	int steps = head & HEAD_SCALE;
	struct sketch_quantile_packed s = {.scale = (int8_t)(SCALE_MAX - steps), .canonical = true};
	if (head & HEAD_ZERO) {
		const uint8_t *zeros = r->p;
		s.count = rd_varint(r);
		if (r->err || !s.count)
			return r->err ? r->err : WEIR_ECORRUPT;
		s.canonical = !is_long(r, zeros);
	}
	if (head & HEAD_POS)
		err = skim_store(r, steps, SKETCH_QUANTILE_BUCKETS_MAX, &s);
	if (!err && head & HEAD_NEG)
		err = skim_store(r, steps, SKETCH_QUANTILE_BUCKETS_MAX - s.buckets, &s);
	if (err)
		return err;
	s.bytes = bytes_of(from, (size_t)(r->p - from));
	*ret = s;
	return 0;
}

/* Reads what was skimmed: nothing is checked twice. */
struct scan {
	const uint8_t *p;
	uint32_t left; /* buckets */
	int32_t index;
	uint64_t count;
};

static inline uint64_t scan_varint(struct scan *s)
{
	uint64_t v = 0;
	uint8_t byte;
	unsigned shift = 0;
	do {
		byte = *s->p++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return v;
}

static inline bool scan_next(struct scan *s)
{
	if (!s->left)
		return false;
	uint8_t token = *s->p++;
	uint64_t gap = token & NIBBLE_MAX, more = token >> 4;
	if (gap == NIBBLE_MAX)
		gap += scan_varint(s);
	if (more == NIBBLE_MAX)
		more += scan_varint(s);
	s->index += (int32_t)gap + 1;
	s->count = more + 1;
	s->left--;
	return true;
}

/* The stores of a packed sketch one after the other, behind each other's end. */
static struct scan scan_head(const uint8_t *p, uint8_t *ret_head, uint64_t *ret_zero)
{
	struct scan s = {.p = p + 1};
	*ret_head = *p;
	*ret_zero = *p & HEAD_ZERO ? scan_varint(&s) : 0;
	return s;
}

static void scan_store(struct scan *s, bool present)
{
	s->left = present ? (uint32_t)scan_varint(s) : 0;
	s->index = present ? (int32_t)varint_unzigzag(scan_varint(s)) - 1 : 0; /* before the first */
}

/* Both stores' buckets, joined, to out. Returns how many; both scans are at their store's end. */
static uint32_t merge_scans(struct scan *ret_a, struct scan *ret_b, struct buf *out)
{
	struct scan a = *ret_a, b = *ret_b; /* nothing points to these: they live in registers */
	uint32_t room = a.left + b.left;
	if (!room)
		return 0;
	/* The number of buckets comes first and is known last; it takes one byte or two. */
	uint8_t *start = buf_reserve(out, 2 * VARINT_MAX_BYTES + (size_t)room * TOKEN_MAX);
	bool more_a = scan_next(&a), more_b = scan_next(&b);
	struct writer w = writer_start(start + 2, !more_b || (more_a && a.index < b.index) ? a.index : b.index);
	while (more_a && more_b) {
		if (a.index < b.index) {
			put_bucket(&w, a.index, a.count);
			more_a = scan_next(&a);
		} else if (b.index < a.index) {
			put_bucket(&w, b.index, b.count);
			more_b = scan_next(&b);
		} else {
			put_bucket(&w, a.index, add_sat(a.count, b.count));
			more_a = scan_next(&a);
			more_b = scan_next(&b);
		}
	}
	for (; more_a; more_a = scan_next(&a))
		put_bucket(&w, a.index, a.count);
	for (; more_b; more_b = scan_next(&b))
		put_bucket(&w, b.index, b.count);
	*ret_a = a;
	*ret_b = b;
	uint8_t *end = varint_write(start, w.n);
	size_t len = (size_t)(w.p - (start + 2));
	if (end < start + 2)
		memmove(end, start + 2, len);
	out->len += (size_t)(end - start) + len;
	return w.n;
}

_Static_assert(2 * SKETCH_QUANTILE_BUCKETS_MAX < 1 << 14, "the number of buckets takes two bytes at most");

/* Sketches of one scale. False, and out as it was: the sum has more buckets than cap. */
static bool merge_alike(const struct sketch_quantile_packed *a, const struct sketch_quantile_packed *b, uint32_t cap,
    struct buf *out)
{
	size_t before = out->len;
	uint8_t head_a, head_b;
	uint64_t zero_a, zero_b;
	struct scan sa = scan_head(a->bytes.p, &head_a, &zero_a), sb = scan_head(b->bytes.p, &head_b, &zero_b);
	buf_u8(out, head_a | head_b);
	if (zero_a | zero_b)
		buf_varint(out, add_sat(zero_a, zero_b));
	uint32_t n = 0;
	for (uint8_t sign = HEAD_POS; sign <= HEAD_NEG; sign = (uint8_t)(sign << 1)) {
		scan_store(&sa, head_a & sign);
		scan_store(&sb, head_b & sign);
		n += merge_scans(&sa, &sb, out);
	}
	if (n <= cap || a->scale == SCALE_MIN)
		return true;
	out->len = before;
	return false;
}

static struct sketch_quantile *unpack(const struct sketch_quantile_packed *s)
{
	struct rd r = rd_init(s->bytes.p, s->bytes.n);
	struct sketch_quantile *out;
	int err = sketch_quantile_decode(&r, &out);
	weir_assert(!err);
	return out;
}

void sketch_quantile_merge_packed(const struct sketch_quantile_packed *a, const struct sketch_quantile_packed *b,
    uint32_t cap, struct buf *out)
{
	if (!a && b->canonical && (b->buckets <= cap || b->scale == SCALE_MIN)) {
		buf_put(out, b->bytes.p, b->bytes.n);
		return;
	}
	if (a && a->scale == b->scale && merge_alike(a, b, cap, out))
		return;
	struct sketch_quantile *sum = a ? unpack(a) : sketch_quantile_new(), *more = unpack(b);
	sketch_quantile_merge(sum, more, cap);
	sketch_quantile_encode(sum, out);
	sketch_quantile_free(sum);
	sketch_quantile_free(more);
}
