/* Hashes of bytes in memory and of series names: XXH3. The only file pair of edged/ that includes xxHash. */
#ifndef WEIR_EDGED_HASH_H
#define WEIR_EDGED_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash128 {
	uint64_t hi, lo;
};

uint64_t hash_bytes(const void *p, size_t n);
/* Stands for a series in the checkpoint: two series share one with a chance of about 2^-90 at a million series. */
struct hash128 hash_bytes128(const void *p, size_t n);

/* Mixes a number into a hash. */
static inline uint64_t hash_mix(uint64_t hash, uint64_t number)
{
	uint64_t x = (hash ^ number) * UINT64_C(0x9e3779b97f4a7c15);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ (x >> 29);
}

#endif
