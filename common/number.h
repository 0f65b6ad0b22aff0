/* Doubles in few bytes, bit for bit.
 *
 * What sensors say is short in decimal (88.25) and what sums leave behind is short in binary (3 * 2^-47), so a number is
 * a kind of four bits and a payload of 0 to 8 bytes. The kind follows from the value (and the references), so equal
 * numbers are equal bytes. Pure. */
#ifndef WEIR_COMMON_NUMBER_H
#define WEIR_COMMON_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define NUMBER_REFS_MAX 3
#define NUMBER_PAYLOAD_MAX 8

enum number_kind {
	/* 0..9: svarint k, the value is k / 10^kind */
	NUMBER_DECIMAL_MAX = 9,
	NUMBER_REF = 10,    /* 10..12: the same bits as reference 0..2 */
	NUMBER_BINARY = 13, /* svarint m (odd), svarint e: m * 2^e */
	NUMBER_RAW = 14,    /* 8 bytes */
	NUMBER_ZERO = 15,   /* +0.0 */
};

/* Appends the payload and returns the kind, below 16. refs: numbers that the reader knows already. */
uint8_t number_put(struct buf *out, double v, const double *refs, size_t ref_count);
/* The number; on malformed input r->err is set and the result is 0. Any double may come out: NaN and infinity too. */
double number_get(struct rd *r, uint8_t kind, const double *refs, size_t ref_count);

/* A number that is near another one: the distance in steps of representable numbers, as svarint. */
void number_put_near(struct buf *out, double v, double near);
double number_get_near(struct rd *r, double near);

#endif
