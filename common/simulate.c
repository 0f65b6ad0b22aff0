#include "common/simulate.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/line.h"

#define DRIFT_PERIOD_NS (600 * NS_PER_SEC)
#define DECIMALS 1000.0
#define ROUND_MAX 1e12 /* larger values are left as they are */

/* What a random number is for: each purpose draws its own. */
enum purpose { FOR_NOISE, FOR_NOISE_2, FOR_NOISE_3, FOR_SPIKE, FOR_SPIKE_SIZE, FOR_GAP, FOR_LATE, FOR_DELAY, FOR_TWICE, FOR_PHASE };

/* G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014 (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t random_bits(const struct simulate *s, unsigned sensor, uint64_t tick, enum purpose purpose)
{
	return mix(mix(mix(s->conf->seed) ^ sensor) ^ (tick * 16 + (uint64_t)purpose));
}

static double uniform_of(uint64_t bits)
{
	return (double)(bits >> 11) / 9007199254740992.0; /* 2^53 */
}

static double uniform(const struct simulate *s, unsigned sensor, uint64_t tick, enum purpose purpose)
{
	return uniform_of(random_bits(s, sensor, tick, purpose));
}

/* Nearly normal, variance 1: the sum of twelve uniform numbers of 16 bits (Irwin and Hall). */
static double normal(const struct simulate *s, unsigned sensor, uint64_t tick)
{
	uint64_t sum = 0;
	for (enum purpose p = FOR_NOISE; p <= FOR_NOISE_3; p++) {
		uint64_t bits = random_bits(s, sensor, tick, p);
		for (int i = 0; i < 4; i++, bits >>= 16)
			sum += bits & 0xffff;
	}
	return ((double)sum + 6.0) / 65536.0 - 6.0;
}

/* sin(2 pi turns) for turns in [0, 1), to about 1e-5: Taylor's polynomial on a quarter turn. */
static double sine(double turns)
{
	double x = turns < 0.25 ? turns : turns < 0.75 ? 0.5 - turns : turns - 1;
	x *= 6.283185307179586;
	double q = x * x;
	return x * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72))));
}

static double drift_of(const struct simulate *s, unsigned sensor, int64_t t_ns)
{
	int64_t within = t_ns - time_floor(t_ns, DRIFT_PERIOD_NS, 0);
	double turns = (double)within / (double)DRIFT_PERIOD_NS + uniform(s, sensor, 0, FOR_PHASE);
	return s->conf->drift * sine(turns >= 1 ? turns - 1 : turns);
}

static double spike_of(const struct simulate *s, unsigned sensor, uint64_t tick)
{
	const struct source_conf *c = s->conf;
	if (uniform(s, sensor, tick, FOR_SPIKE) >= c->spikes)
		return 0;
	double unit = c->noise > 0 ? c->noise : 1;
	double size = uniform(s, sensor, tick, FOR_SPIKE_SIZE) * 2 - 1;
	return unit * (size < 0 ? -10 + 10 * size : 10 + 10 * size);
}

static double rounded(double v)
{
	if (!isfinite(v))
		return v < 0 ? -DBL_MAX : DBL_MAX;
	if (!(v < ROUND_MAX && v > -ROUND_MAX))
		return v;
	double scaled = v * DECIMALS;
	return (double)(int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5) / DECIMALS;
}

static int64_t time_of(const struct simulate *s, uint64_t tick)
{
	int64_t t;
	if (tick > INT64_MAX || __builtin_mul_overflow((int64_t)tick, s->conf->every_ns, &t) ||
	    __builtin_add_overflow(t, s->start_ns, &t) || t > TIME_MAX_NS)
		return TIME_MAX_NS;
	return t;
}

static uint64_t delay_ticks_max(const struct simulate *s)
{
	if (s->conf->late <= 0)
		return 0;
	uint64_t ticks = (uint64_t)(s->conf->late_by_ns / s->conf->every_ns);
	return ticks ? ticks : 1;
}

/* Late readings come one of a few delays after their tick, so that each tick knows which to look back at. */
static unsigned delay_count(uint64_t ticks_max)
{
	return ticks_max < SIMULATE_DELAYS_MAX ? (unsigned)ticks_max : SIMULATE_DELAYS_MAX;
}

static uint64_t delay_ticks(uint64_t ticks_max, unsigned which)
{
	unsigned count = delay_count(ticks_max);
	return ticks_max / count * which + ticks_max % count * which / count;
}

/* 0: on time, else which delay. */
static unsigned delay_of(const struct simulate *s, unsigned sensor, uint64_t tick)
{
	if (s->conf->late <= 0 || uniform(s, sensor, tick, FOR_LATE) >= s->conf->late)
		return 0;
	return 1 + (unsigned)(random_bits(s, sensor, tick, FOR_DELAY) % delay_count(delay_ticks_max(s)));
}

static size_t put_reading(const struct simulate *s, unsigned sensor, uint64_t tick, struct simulate_reading *out)
{
	const struct source_conf *c = s->conf;
	if (uniform(s, sensor, tick, FOR_GAP) < c->gaps)
		return 0;
	int64_t t = time_of(s, tick);
	double v = c->mean + drift_of(s, sensor, t) + c->noise * normal(s, sensor, tick) + spike_of(s, sensor, tick);
	out[0] = (struct simulate_reading){.sensor = sensor + 1, .t_ns = t, .value = rounded(v)};
	out[1] = out[0];
	return uniform(s, sensor, tick, FOR_TWICE) < c->duplicates ? 2 : 1;
}

void simulate_init(struct simulate *s, const struct source_conf *conf, int64_t start_ns)
{
	weir_assert(conf->every_ns > 0 && conf->sensors > 0);
	*s = (struct simulate){.conf = conf, .start_ns = conf->start_ns == INT64_MIN ? start_ns : conf->start_ns};
}

static bool has_tick(const struct simulate *s, uint64_t tick)
{
	return !s->conf->count || tick < s->conf->count;
}

bool simulate_finished(const struct simulate *s)
{
	uint64_t count = s->conf->count;
	return count && s->tick >= count && s->tick - count >= delay_ticks_max(s);
}

int64_t simulate_next_ns(const struct simulate *s)
{
	return time_of(s, s->tick);
}

void simulate_skip_to(struct simulate *s, int64_t t_ns)
{
	int64_t ahead;
	if (t_ns <= simulate_next_ns(s) || __builtin_sub_overflow(t_ns, s->start_ns, &ahead))
		return;
	s->tick = (uint64_t)((ahead - 1) / s->conf->every_ns + 1);
	s->sensor = 0;
}

size_t simulate_step(struct simulate *s, struct simulate_reading *ret_readings)
{
	size_t n = 0;
	unsigned sensor = s->sensor;
	uint64_t tick = s->tick, ticks_max = delay_ticks_max(s);
	for (unsigned d = ticks_max ? delay_count(ticks_max) : 0; d > 0; d--) { /* oldest first */
		uint64_t back = delay_ticks(ticks_max, d);
		if (back <= tick && has_tick(s, tick - back) && delay_of(s, sensor, tick - back) == d)
			n += put_reading(s, sensor, tick - back, ret_readings + n);
	}
	if (has_tick(s, tick) && !delay_of(s, sensor, tick))
		n += put_reading(s, sensor, tick, ret_readings + n);
	if (++s->sensor >= s->conf->sensors) {
		s->sensor = 0;
		s->tick++;
	}
	return n;
}

void simulate_put_line(const struct source_conf *conf, const struct simulate_reading *r, struct buf *out)
{
	line_put_measurement(out, bytes_of(conf->measurement, strlen(conf->measurement)));
	buf_printf(out, ",sensor=%u ", r->sensor);
	line_put_key(out, bytes_of(conf->field, strlen(conf->field)));
	buf_u8(out, '=');
	line_put_float(out, r->value);
	buf_printf(out, " %lld\n", (long long)r->t_ns);
}
