/* What partials cost: adding, encoding, cutting batches and reading them. One figure a line. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/batch.h"
#include "common/err.h"
#include "common/partial.h"

#define SENSORS 1000
#define READINGS 60 /* of one sensor in one slice */
#define SLICE_NS INT64_C(60000000000)
#define START_NS (INT64_C(1441106700) * 1000000000)

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* About normal, with a tail: speeds of a road, with one decimal. */
static double speed(double mean)
{
	double sum = 0;
	for (int i = 0; i < 6; i++)
		sum += (double)(rnd() % 10001) / 10000 - 0.5;
	double v = mean + 12 * sum - (rnd() % 50 ? 0 : (double)(rnd() % 400) / 10);
	return (double)(int64_t)(v * 10) / 10;
}

static double values[SENSORS * READINGS];

static void bench_add(const char *name, uint32_t parts)
{
	struct partial_spec spec = {parts, 0, PARTIAL_QUANTILE_CAP_EDGE, 0};
	struct partial p = {0};
	uint64_t n = 0;
	double start = now_s(), took;
	do {
		for (size_t i = 0; i < SENSORS * READINGS; i++)
			partial_add(&p, &spec, START_NS + (int64_t)i, values[i]);
		n += SENSORS * READINGS;
		took = now_s() - start;
	} while (took < 0.3);
	printf("partial_add %-32s %8.2f M/s\n", name, (double)n / took / 1e6);
	partial_clear(&p, &spec);
}

static size_t put_varint_str(uint8_t *out, const char *s)
{
	size_t n = strlen(s);
	out[0] = (uint8_t)n;
	memcpy(out + 1, s, n);
	return n + 1;
}

static struct bytes group_of(unsigned sensor, uint8_t out[64])
{
	char text[32];
	size_t n = put_varint_str(out, sensor % 2 ? "north" : "south");
	snprintf(text, sizeof(text), "%u", 6000 + sensor);
	n += put_varint_str(out + n, text);
	return (struct bytes){out, n};
}

static void fill(struct partial *p, const struct partial_spec *spec, size_t readings, double scale)
{
	double mean = 60 + (double)(rnd() % 600) / 10;
	int64_t every = SLICE_NS / (int64_t)readings / 1000000 * 1000000;
	for (size_t i = 0; i < readings; i++)
		partial_add(p, spec, START_NS + (int64_t)i * every, speed(mean) * scale);
}

/* Cuts and reads batches of one slice; prints sizes and rates. */
static void bench_batch(const char *name, uint32_t parts, size_t readings, double scale)
{
	static struct partial partials[SENSORS];
	char stream[] = "speed";
	struct stream_conf s = {.name = stream, .version = 0x1234567, .slice_ns = SLICE_NS};
	struct partial_spec spec = {parts, 0, PARTIAL_QUANTILE_CAP_EDGE, 0};
	struct batch_writer *w = batch_writer_new(0);
	struct buf body = {0}, row = {0};
	uint8_t key[64];
	size_t bodies = 0, bytes = 0, raw = 0, rounds = 0, buckets = 0;
	for (unsigned i = 0; i < SENSORS; i++) {
		fill(&partials[i], &spec, readings, scale);
		partial_encode(&partials[i], &spec, &row);
		buckets += partial_memory(&partials[i], &spec);
	}
	double start = now_s(), encode_s, decode_s = 0;
	do {
		for (unsigned i = 0; i < SENSORS; i++) {
			int err = batch_writer_add(w, &s, &spec, START_NS, group_of(i, key), &partials[i]);
			if (!err && i < SENSORS - 1)
				continue;
			raw += batch_writer_bytes(w);
			buf_clear(&body);
			batch_writer_finish(w, ++bodies, &body);
			bytes += body.len;
			if (err)
				i--;
			struct batch_reader *r;
			struct batch_item *item;
			double read_start = now_s();
			weir_assert(!batch_reader_open(body.data, body.len, &r));
			while (batch_reader_next(r, &item) > 0)
				;
			batch_reader_close(r);
			decode_s += now_s() - read_start;
		}
		rounds++;
		encode_s = now_s() - start - decode_s;
	} while (encode_s < 0.3);
	double n = (double)rounds * SENSORS;
	printf("%-28s %4zu readings: %6.1f bytes alone, %6.1f in a batch, %6.1f zipped, %7.1f memory, "
	       "encode %5.2f decode %5.2f M partials/s\n",
	    name, readings, (double)row.len / SENSORS, (double)raw / n, (double)bytes / n, (double)buckets / SENSORS,
	    n / encode_s / 1e6, n / decode_s / 1e6);
	for (unsigned i = 0; i < SENSORS; i++)
		partial_clear(&partials[i], &spec);
	batch_writer_free(w);
	buf_free(&body);
	buf_free(&row);
}

int main(void)
{
	const uint32_t scalars = PARTIAL_SUM | PARTIAL_MINMAX | PARTIAL_MOMENTS | PARTIAL_FIRSTLAST;
	for (size_t i = 0; i < SENSORS * READINGS; i++)
		values[i] = speed(90);
	bench_add("count", 0);
	bench_add("sum, mean", PARTIAL_SUM);
	bench_add("min, max", PARTIAL_MINMAX);
	bench_add("stddev", PARTIAL_MOMENTS);
	bench_add("first, last", PARTIAL_FIRSTLAST);
	bench_add("all scalars", scalars);
	bench_add("quantile", PARTIAL_QUANTILE | PARTIAL_MINMAX);
	bench_add("all", PARTIAL_PARTS_ALL);
	bench_batch("count, sum", PARTIAL_SUM, 12, 1);
	bench_batch("all scalars", scalars, 12, 1);
	bench_batch("all", PARTIAL_PARTS_ALL, 12, 1);
	bench_batch("all", PARTIAL_PARTS_ALL, 60, 1);
	bench_batch("all, scaled by 1.609344", PARTIAL_PARTS_ALL, 60, 1.609344);
	bench_batch("all, scaled by 1/3", PARTIAL_PARTS_ALL, 60, 1.0 / 3);
	bench_batch("all", PARTIAL_PARTS_ALL, 1000, 1);
	return 0;
}
