#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void buf_grow(struct buf *b, size_t more)
{
	weir_assert(more <= SIZE_MAX / 2 - b->len);
	size_t cap = b->cap ? b->cap : 64;
	while (cap - b->len < more)
		cap *= 2;
	b->data = xrealloc(b->data, cap);
	b->cap = cap;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	memcpy(buf_reserve(b, n), p, n);
	b->len += n;
}

static void put_le(struct buf *b, uint64_t v, size_t n)
{
	uint8_t *p = buf_reserve(b, n);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
	b->len += n;
}

static void put_be(struct buf *b, uint64_t v, size_t n)
{
	uint8_t *p = buf_reserve(b, n);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	b->len += n;
}

void buf_u16(struct buf *b, uint16_t v)
{
	put_le(b, v, 2);
}

void buf_u32(struct buf *b, uint32_t v)
{
	put_le(b, v, 4);
}

void buf_u64(struct buf *b, uint64_t v)
{
	put_le(b, v, 8);
}

void buf_f64(struct buf *b, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	buf_u64(b, bits);
}

void buf_bytes(struct buf *b, const void *p, size_t n)
{
	buf_varint(b, n);
	buf_put(b, p, n);
}

void buf_str(struct buf *b, const char *s)
{
	buf_bytes(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	weir_assert(n >= 0);
	char *p = (char *)buf_reserve(b, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	b->len += (size_t)n;
}

void buf_put_size(struct buf *b, double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t i = 0;
	for (; bytes >= 1024 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		bytes /= 1024;
	buf_printf(b, i && bytes < 100 ? "%.1f%s" : "%.0f%s", bytes, units[i]);
}

const char *buf_cstr(struct buf *b)
{
	*buf_reserve(b, 1) = 0;
	return (const char *)b->data;
}

void buf_be16(struct buf *b, uint16_t v)
{
	put_be(b, v, 2);
}

void buf_be32(struct buf *b, uint32_t v)
{
	put_be(b, v, 4);
}

void buf_be64(struct buf *b, uint64_t v)
{
	put_be(b, v, 8);
}

void buf_bei64(struct buf *b, int64_t v)
{
	put_be(b, (uint64_t)v ^ (UINT64_C(1) << 63), 8);
}

const uint8_t *rd_raw(struct rd *r, size_t n)
{
	if (r->err)
		return NULL;
	if (rd_left(r) < n) {
		r->err = WEIR_ETRUNCATED;
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += n;
	return p;
}

static uint64_t get_le(struct rd *r, size_t n)
{
	const uint8_t *p = rd_raw(r, n);
	uint64_t v = 0;
	for (size_t i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static uint64_t get_be(struct rd *r, size_t n)
{
	const uint8_t *p = rd_raw(r, n);
	uint64_t v = 0;
	for (size_t i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint16_t rd_u16(struct rd *r)
{
	return (uint16_t)get_le(r, 2);
}

uint32_t rd_u32(struct rd *r)
{
	return (uint32_t)get_le(r, 4);
}

uint64_t rd_u64(struct rd *r)
{
	return get_le(r, 8);
}

double rd_f64(struct rd *r)
{
	uint64_t bits = get_le(r, 8);
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

uint64_t rd_varint_long(struct rd *r)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte = rd_u8(r);
		if (r->err)
			return 0;
		uint64_t part = byte & 0x7f;
		if (shift == 63 && part > 1)
			break;
		v |= part << shift;
		if (!(byte & 0x80))
			return v;
	}
	r->err = WEIR_ECORRUPT;
	return 0;
}

uint64_t rd_varint_max(struct rd *r, uint64_t max)
{
	uint64_t v = rd_varint(r);
	if (!r->err && v > max)
		r->err = WEIR_ECORRUPT;
	return r->err ? 0 : v;
}

const uint8_t *rd_bytes(struct rd *r, size_t max, size_t *ret_len)
{
	size_t n = (size_t)rd_varint_max(r, max);
	const uint8_t *p = rd_raw(r, n);
	*ret_len = p ? n : 0;
	return p;
}

char *rd_str(struct rd *r, size_t max)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, max, &n);
	if (!p)
		return NULL;
	if (memchr(p, 0, n)) {
		r->err = WEIR_ECORRUPT;
		return NULL;
	}
	return xstrndup((const char *)p, n);
}

uint16_t rd_be16(struct rd *r)
{
	return (uint16_t)get_be(r, 2);
}

uint32_t rd_be32(struct rd *r)
{
	return (uint32_t)get_be(r, 4);
}

uint64_t rd_be64(struct rd *r)
{
	return get_be(r, 8);
}

int64_t rd_bei64(struct rd *r)
{
	return (int64_t)(get_be(r, 8) ^ (UINT64_C(1) << 63));
}

int rd_finish(const struct rd *r)
{
	if (r->err)
		return r->err;
	return r->p == r->end ? 0 : WEIR_ECORRUPT;
}
