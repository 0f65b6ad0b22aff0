#include "edged/step.h"

#include <stdlib.h>

#include "common/err.h"

/* The last `depth` timestamps that passed, oldest at `at` once the ring is full. It grows as it fills, so that
 * a series of few readings costs little. */
struct dedupe {
	int64_t *times;
	uint32_t count, cap, at;
};

static int run(const struct step_conf *c, void *state, struct step_reading *r)
{
	struct dedupe *d = state;
	if (!c->depth)
		return STEP_PASS;
	for (uint32_t i = 0; i < d->count; i++)
		if (d->times[i] == r->t_ns)
			return DROP_DUPLICATE;
	if (d->count == c->depth) {
		d->times[d->at] = r->t_ns;
		d->at = (d->at + 1) % d->count;
		return STEP_PASS;
	}
	if (d->count == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 4;
		if (d->cap > c->depth)
			d->cap = c->depth;
		d->times = xrealloc(d->times, d->cap * sizeof(d->times[0]));
	}
	d->times[d->count++] = r->t_ns;
	return STEP_PASS;
}

static void clear(void *state)
{
	struct dedupe *d = state;
	free(d->times);
}

static size_t memory(const void *state)
{
	const struct dedupe *d = state;
	return d->cap * sizeof(d->times[0]);
}

/* Count, then the times oldest first, each as the difference from the one before. */
static void encode(const void *state, struct buf *out)
{
	const struct dedupe *d = state;
	uint64_t before = 0;
	buf_varint(out, d->count);
	for (uint32_t i = 0; i < d->count; i++) {
		uint64_t t = (uint64_t)d->times[(d->at + i) % d->count];
		buf_svarint(out, (int64_t)(t - before));
		before = t;
	}
}

static int decode(const struct step_conf *c, struct rd *r, void *state)
{
	struct dedupe *d = state;
	uint64_t n = rd_varint_max(r, rd_left(r)), t = 0;
	if (r->err)
		return r->err;
	uint64_t skip = n > c->depth ? n - c->depth : 0; /* depth was lowered */
	d->cap = (uint32_t)(n - skip);
	d->times = d->cap ? xmalloc(d->cap * sizeof(d->times[0])) : NULL;
	for (uint64_t i = 0; i < n; i++) {
		t += (uint64_t)rd_svarint(r);
		if (i >= skip)
			d->times[d->count++] = (int64_t)t;
	}
	return r->err;
}

const struct step_ops step_dedupe = {.name = "dedupe",
    .run = run,
    .state_bytes = sizeof(struct dedupe),
    .clear = clear,
    .memory = memory,
    .encode = encode,
    .decode = decode};
