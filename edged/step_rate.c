#include "edged/step.h"

#include <math.h>

#include "common/err.h"

/* A counter's last reading. */
struct rate {
	int64_t t_ns;
	double value;
	bool seen;
};

/* A counter that falls was reset to 0 in between: what it shows now is what it has counted since. */
static int run(const struct step_conf *c, void *state, struct step_reading *r)
{
	struct rate *s = state;
	struct rate before = *s;
	if (before.seen && r->t_ns <= before.t_ns)
		return DROP_OUT_OF_ORDER;
	*s = (struct rate){r->t_ns, r->value, true};
	if (!before.seen)
		return DROP_RATE_FIRST;
	double change = r->value < before.value ? r->value : r->value - before.value;
	double elapsed_ns = (double)((uint64_t)r->t_ns - (uint64_t)before.t_ns); /* signed, it might not fit */
	r->value = change * ((double)c->per_ns / elapsed_ns);
	return isfinite(r->value) ? STEP_PASS : DROP_NOT_FINITE;
}

static void encode(const void *state, struct buf *out)
{
	const struct rate *s = state;
	buf_svarint(out, s->t_ns);
	buf_f64(out, s->value);
}

static int decode(const struct step_conf *c, struct rd *r, void *state)
{
	(void)c;
	struct rate *s = state;
	s->t_ns = rd_svarint(r);
	s->value = rd_f64(r);
	s->seen = true;
	return r->err ? r->err : isfinite(s->value) ? 0 : WEIR_ECORRUPT;
}

const struct step_ops step_rate = {.name = "rate",
    .run = run,
    .state_bytes = sizeof(struct rate),
    .encode = encode,
    .decode = decode};
