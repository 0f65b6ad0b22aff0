/* Growable byte buffers, and bounded readers over bytes that nobody trusts.
 *
 * Numbers are little-endian. Varints are LEB128; signed ones are zigzag first. A reader never reads past its end:
 * the first short or malformed read sets `err`, and each later read gives 0 / NULL, so a decoder may check once at
 * the end of a record of fixed shape. Before it allocates or loops by a number it read, it checks that number
 * against the remaining bytes and a named maximum. Not thread-safe; no global state. */
#ifndef WEIR_COMMON_BUF_H
#define WEIR_COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL while cap is 0 */
	size_t len;
	size_t cap;
};

/* A zeroed struct buf is a valid empty one. */
void buf_free(struct buf *b);                     /* frees the bytes, leaves an empty buffer */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}
void buf_grow(struct buf *b, size_t more);        /* what buf_reserve does where there is no room */
/* Room for `more` bytes after len; returns where they start. */
static inline uint8_t *buf_reserve(struct buf *b, size_t more)
{
	if (b->cap - b->len < more || !b->data)
		buf_grow(b, more);
	return b->data + b->len;
}
void buf_put(struct buf *b, const void *p, size_t n);
static inline void buf_u8(struct buf *b, uint8_t v)
{
	*buf_reserve(b, 1) = v;
	b->len++;
}
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_f64(struct buf *b, double v);             /* the bits, as they are */
#define VARINT_MAX_BYTES 10
/* Writes v at p, which has room for VARINT_MAX_BYTES (or what v takes); returns where it ends. */
static inline uint8_t *varint_write(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}
static inline uint64_t varint_zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}
static inline int64_t varint_unzigzag(uint64_t v)
{
	return (int64_t)((v >> 1) ^ (~(v & 1) + 1));
}
static inline void buf_varint(struct buf *b, uint64_t v)
{
	uint8_t *p = buf_reserve(b, VARINT_MAX_BYTES);
	b->len += (size_t)(varint_write(p, v) - p);
}
static inline void buf_svarint(struct buf *b, int64_t v)
{
	buf_varint(b, varint_zigzag(v));
}
void buf_bytes(struct buf *b, const void *p, size_t n); /* varint length, then the bytes */
void buf_str(struct buf *b, const char *s);             /* as buf_bytes, without the NUL */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A number of bytes as people read it: "12.5MiB". */
void buf_put_size(struct buf *b, double bytes);
/* The bytes as a NUL-terminated string; lives until the next change of b. */
const char *buf_cstr(struct buf *b);

/* Big-endian numbers order as their bytes do: for keys. Signed ones have their sign bit flipped. */
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_bei64(struct buf *b, int64_t v);

struct rd {
	const uint8_t *p;
	const uint8_t *end;
	int err; /* 0, WEIR_ETRUNCATED or WEIR_ECORRUPT */
};

static inline struct rd rd_init(const void *p, size_t n)
{
	const uint8_t *start = p ? p : (const uint8_t *)""; /* an empty buf has no bytes to point at */
	return (struct rd){start, start + n, 0};
}
static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}
/* n bytes in place, or NULL. They live as long as what the reader reads. */
const uint8_t *rd_raw(struct rd *r, size_t n);
static inline uint8_t rd_u8(struct rd *r)
{
	if (r->err || r->p == r->end) {
		(void)rd_raw(r, 1);
		return 0;
	}
	return *r->p++;
}
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
double rd_f64(struct rd *r);
uint64_t rd_varint_long(struct rd *r); /* what rd_varint does when one byte is not all */
/* Over 10 bytes or 64 bits: WEIR_ECORRUPT. */
static inline uint64_t rd_varint(struct rd *r)
{
	if (!r->err && r->p != r->end && *r->p < 0x80)
		return *r->p++;
	return rd_varint_long(r);
}
static inline int64_t rd_svarint(struct rd *r)
{
	return varint_unzigzag(rd_varint(r));
}
/* A varint that must not exceed max (else WEIR_ECORRUPT, and 0). */
uint64_t rd_varint_max(struct rd *r, uint64_t max);
/* Varint length, then bytes in place; NULL and *ret_len = 0 on error or when longer than max. */
const uint8_t *rd_bytes(struct rd *r, size_t max, size_t *ret_len);
/* The same as a fresh NUL-terminated string, the caller's to free; NULL on error. NULs within are an error. */
char *rd_str(struct rd *r, size_t max);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
uint64_t rd_be64(struct rd *r);
int64_t rd_bei64(struct rd *r);
/* 0 when no read failed and nothing is left; else the error (left-over bytes: WEIR_ECORRUPT). */
int rd_finish(const struct rd *r);

#endif
