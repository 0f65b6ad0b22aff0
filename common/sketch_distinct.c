#include "common/sketch_distinct.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/err.h"

#define PRECISION 12
#define REGISTERS SKETCH_DISTINCT_REGISTERS
#define HASH_BITS_LEFT (64 - PRECISION)
#define RANK_MAX (HASH_BITS_LEFT + 1)
#define SPARSE_ROOM_MIN 8

/* A non-zero register: (index << 6) | rank, so that entries sort by index. */
#define ENTRY(index, rank) ((index) << 6 | (rank))
#define ENTRY_INDEX(e) ((e) >> 6)
#define ENTRY_RANK(e) ((e)&63)

struct sketch_distinct {
	uint32_t n; /* non-zero registers */
	uint32_t room;
	uint32_t *sparse; /* n entries, sorted; NULL when dense (or nothing was added) */
	uint8_t *dense;   /* REGISTERS ranks, or NULL */
};

struct sketch_distinct *sketch_distinct_new(void)
{
	return xcalloc(1, sizeof(struct sketch_distinct));
}

void sketch_distinct_free(struct sketch_distinct *s)
{
	if (!s)
		return;
	free(s->sparse);
	free(s->dense);
	free(s);
}

struct sketch_distinct *sketch_distinct_copy(const struct sketch_distinct *s)
{
	struct sketch_distinct *c = sketch_distinct_new();
	*c = (struct sketch_distinct){.n = s->n};
	if (s->dense) {
		c->dense = xmalloc(REGISTERS);
		memcpy(c->dense, s->dense, REGISTERS);
	} else if (s->n) {
		c->room = s->n;
		c->sparse = xmalloc(s->n * sizeof(*c->sparse));
		memcpy(c->sparse, s->sparse, s->n * sizeof(*c->sparse));
	}
	return c;
}

static void make_dense(struct sketch_distinct *s)
{
	s->dense = xcalloc(1, REGISTERS);
	for (uint32_t i = 0; i < s->n; i++)
		s->dense[ENTRY_INDEX(s->sparse[i])] = ENTRY_RANK(s->sparse[i]);
	free(s->sparse);
	s->sparse = NULL;
	s->room = 0;
}

static void dense_raise(struct sketch_distinct *s, uint32_t index, uint8_t rank)
{
	s->n += !s->dense[index];
	if (s->dense[index] < rank)
		s->dense[index] = rank;
}

/* The first entry whose index is not below. */
static uint32_t sparse_find(const struct sketch_distinct *s, uint32_t index)
{
	uint32_t lo = 0, hi = s->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (ENTRY_INDEX(s->sparse[mid]) < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void sparse_insert(struct sketch_distinct *s, uint32_t at, uint32_t entry)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room + s->room / 2 + 1 : SPARSE_ROOM_MIN;
		s->sparse = xrealloc(s->sparse, s->room * sizeof(*s->sparse));
	}
	memmove(s->sparse + at + 1, s->sparse + at, (s->n - at) * sizeof(*s->sparse));
	s->sparse[at] = entry;
	s->n++;
}

static void raise_register(struct sketch_distinct *s, uint32_t index, uint8_t rank)
{
	if (s->dense) {
		dense_raise(s, index, rank);
		return;
	}
	uint32_t at = sparse_find(s, index);
	if (at < s->n && ENTRY_INDEX(s->sparse[at]) == index) {
		if (ENTRY_RANK(s->sparse[at]) < rank)
			s->sparse[at] = ENTRY(index, (uint32_t)rank);
	} else if (s->n < SKETCH_DISTINCT_SPARSE_MAX) {
		sparse_insert(s, at, ENTRY(index, (uint32_t)rank));
	} else {
		make_dense(s);
		dense_raise(s, index, rank);
	}
}

void sketch_distinct_add_hash(struct sketch_distinct *s, uint64_t hash)
{
	uint64_t rest = hash << PRECISION;
	uint8_t rank = rest ? (uint8_t)(__builtin_clzll(rest) + 1) : RANK_MAX;
	raise_register(s, (uint32_t)(hash >> HASH_BITS_LEFT), rank);
}

void sketch_distinct_add(struct sketch_distinct *s, uint64_t seed, const void *value, size_t len)
{
	sketch_distinct_add_hash(s, XXH3_64bits_withSeed(value, len, seed));
}

void sketch_distinct_merge(struct sketch_distinct *dst, const struct sketch_distinct *src)
{
	if (src->dense && !dst->dense)
		make_dense(dst);
	for (uint32_t i = 0; src->dense && i < REGISTERS; i++) {
		if (src->dense[i])
			dense_raise(dst, i, src->dense[i]);
	}
	for (uint32_t i = 0; !src->dense && i < src->n; i++)
		raise_register(dst, ENTRY_INDEX(src->sparse[i]), ENTRY_RANK(src->sparse[i]));
}

size_t sketch_distinct_memory(const struct sketch_distinct *s)
{
	return sizeof(*s) + (s->dense ? REGISTERS : s->room * sizeof(*s->sparse));
}

/* ---- the estimate: Ertl's algorithm 6, with his sigma and tau ---- */

static double sigma(double x)
{
	double y = 1, z = x, before;
	do {
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

static double tau(double x)
{
	if (x == 0 || x == 1)
		return 0;
	double y = 1, z = 1 - x, before;
	do {
		x = sqrt(x);
		before = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

double sketch_distinct_eval(const struct sketch_distinct *s)
{
	const double m = REGISTERS, alpha = 0x1.71547652b82fep-1; /* 1 / (2 ln 2) */
	uint32_t ranks[RANK_MAX + 1] = {0};
	if (!s->n)
		return 0;
	for (uint32_t i = 0; s->dense && i < REGISTERS; i++)
		ranks[s->dense[i]]++;
	for (uint32_t i = 0; !s->dense && i < s->n; i++)
		ranks[ENTRY_RANK(s->sparse[i])]++;
	ranks[0] = REGISTERS - s->n;
	double z = m * tau(1 - ranks[RANK_MAX] / m);
	for (int k = RANK_MAX - 1; k >= 1; k--)
		z = 0.5 * (z + ranks[k]);
	z += m * sigma(ranks[0] / m);
	return alpha * m * m / z;
}

/* ---- encoding ----
 *
 *   n varint (non-zero registers), then
 *   n <= SPARSE_MAX: per register varint ((index - previous index - 1) << 3 | min(rank - 1, 7)), and where that is 7
 *                    a u8 rank - 8; the index before the first is -1
 *   else:            4096 ranks of 6 bits, little-endian, four in three bytes */

#define RANK_CODE_MAX 7

static void encode_sparse(const struct sketch_distinct *s, struct buf *out)
{
	uint32_t next = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t index = ENTRY_INDEX(s->sparse[i]), rank = ENTRY_RANK(s->sparse[i]);
		uint32_t code = rank - 1 < RANK_CODE_MAX ? rank - 1 : RANK_CODE_MAX;
		buf_varint(out, (index - next) << 3 | code);
		if (code == RANK_CODE_MAX)
			buf_u8(out, (uint8_t)(rank - 1 - RANK_CODE_MAX));
		next = index + 1;
	}
}

static void encode_dense(const struct sketch_distinct *s, struct buf *out)
{
	for (uint32_t i = 0; i < REGISTERS; i += 4) {
		uint32_t bits = (uint32_t)s->dense[i] | (uint32_t)s->dense[i + 1] << 6 |
		    (uint32_t)s->dense[i + 2] << 12 | (uint32_t)s->dense[i + 3] << 18;
		uint8_t three[3] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16)};
		buf_put(out, three, sizeof(three));
	}
}

void sketch_distinct_encode(const struct sketch_distinct *s, struct buf *out)
{
	buf_varint(out, s->n);
	if (s->dense)
		encode_dense(s, out);
	else
		encode_sparse(s, out);
}

static int decode_sparse(struct rd *r, uint32_t n, struct sketch_distinct *s)
{
	if (n > rd_left(r))
		return WEIR_ETRUNCATED;
	s->room = n;
	s->sparse = n ? xmalloc(n * sizeof(*s->sparse)) : NULL;
	uint64_t next = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v = rd_varint_max(r, (REGISTERS << 3) - 1);
		uint64_t index = next + (v >> 3), rank = (v & RANK_CODE_MAX) + 1;
		if (rank == RANK_CODE_MAX + 1)
			rank += rd_u8(r);
		if (r->err)
			return r->err;
		if (index >= REGISTERS || rank > RANK_MAX)
			return WEIR_ECORRUPT;
		s->sparse[s->n++] = ENTRY((uint32_t)index, (uint32_t)rank);
		next = index + 1;
	}
	return 0;
}

static int decode_dense(struct rd *r, uint32_t n, struct sketch_distinct *s)
{
	const uint8_t *p = rd_raw(r, REGISTERS * 6 / 8);
	if (!p)
		return r->err;
	s->dense = xmalloc(REGISTERS);
	for (uint32_t i = 0; i < REGISTERS; i += 4, p += 3) {
		uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
		for (uint32_t k = 0; k < 4; k++) {
			s->dense[i + k] = bits >> 6 * k & 63;
			s->n += s->dense[i + k] != 0;
			if (s->dense[i + k] > RANK_MAX)
				return WEIR_ECORRUPT;
		}
	}
	return s->n == n ? 0 : WEIR_ECORRUPT;
}

int sketch_distinct_decode(struct rd *r, struct sketch_distinct **ret_sketch)
{
	uint32_t n = (uint32_t)rd_varint_max(r, REGISTERS);
	if (r->err)
		return r->err;
	struct sketch_distinct *s = sketch_distinct_new();
	int err = n <= SKETCH_DISTINCT_SPARSE_MAX ? decode_sparse(r, n, s) : decode_dense(r, n, s);
	if (err) {
		sketch_distinct_free(s);
		return err;
	}
	*ret_sketch = s;
	return 0;
}

/* ---- sketches that stay encoded ---- */

static int skim_sparse(struct rd *r, uint32_t n, bool *canonical)
{
	if (n > rd_left(r))
		return WEIR_ETRUNCATED;
	uint64_t next = 0;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *from = r->p;
		uint64_t v = rd_varint_max(r, (REGISTERS << 3) - 1);
		uint64_t index = next + (v >> 3), rank = (v & RANK_CODE_MAX) + 1;
		if (r->p - from > 1 && !r->p[-1])
			*canonical = false;
		if (rank == RANK_CODE_MAX + 1)
			rank += rd_u8(r);
		if (r->err)
			return r->err;
		if (index >= REGISTERS || rank > RANK_MAX)
			return WEIR_ECORRUPT;
		next = index + 1;
	}
	return 0;
}

static int skim_dense(struct rd *r, uint32_t n)
{
	const uint8_t *p = rd_raw(r, REGISTERS * 6 / 8);
	uint32_t found = 0;
	if (!p)
		return r->err;
	for (uint32_t i = 0; i < REGISTERS; i += 4, p += 3) {
		uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
		for (uint32_t k = 0; k < 4; k++, bits >>= 6) {
			found += (bits & 63) != 0;
			if ((bits & 63) > RANK_MAX)
				return WEIR_ECORRUPT;
		}
	}
	return found == n ? 0 : WEIR_ECORRUPT;
}

int sketch_distinct_skim(struct rd *r, bool *canonical)
{
	const uint8_t *from = r->p;
	uint32_t n = (uint32_t)rd_varint_max(r, REGISTERS);
	if (r->err)
		return r->err;
	if (r->p - from > 1 && !r->p[-1])
		*canonical = false;
	return n <= SKETCH_DISTINCT_SPARSE_MAX ? skim_sparse(r, n, canonical) : skim_dense(r, n);
}
