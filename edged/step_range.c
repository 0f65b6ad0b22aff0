#include "edged/step.h"

static int run(const struct step_conf *c, void *state, struct step_reading *r)
{
	(void)state;
	return r->value >= c->min && r->value <= c->max ? STEP_PASS : DROP_RANGE;
}

const struct step_ops step_range = {.name = "range", .run = run};
