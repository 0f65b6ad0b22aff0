/* The simulator's one source of chance: splitmix64 (Steele, Lea, Flood 2014). Equal seeds, equal numbers, anywhere. */
#ifndef WEIR_SIM_RAND_H
#define WEIR_SIM_RAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_rand {
	uint64_t state;
};

static inline uint64_t sim_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t sim_u64(struct sim_rand *r)
{
	return sim_mix(r->state += UINT64_C(0x9e3779b97f4a7c15));
}

/* An independent stream of numbers for one purpose, so that a change of one part leaves the others' choices alone. */
static inline struct sim_rand sim_fork(struct sim_rand *r)
{
	return (struct sim_rand){sim_u64(r)};
}

/* lo <= result <= hi */
static inline int64_t sim_range(struct sim_rand *r, int64_t lo, int64_t hi)
{
	return lo + (int64_t)(sim_u64(r) % ((uint64_t)(hi - lo) + 1));
}

static inline size_t sim_below(struct sim_rand *r, size_t n)
{
	return (size_t)(sim_u64(r) % n);
}

static inline double sim_unit(struct sim_rand *r)
{
	return (double)(sim_u64(r) >> 11) * 0x1p-53;
}

static inline bool sim_chance(struct sim_rand *r, double p)
{
	return sim_unit(r) < p;
}

#endif
