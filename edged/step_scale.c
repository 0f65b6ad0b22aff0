#include "edged/step.h"

#include <math.h>

static int run(const struct step_conf *c, void *state, struct step_reading *r)
{
	(void)state;
	r->value = r->value * c->by + c->add;
	return isfinite(r->value) ? STEP_PASS : DROP_NOT_FINITE;
}

const struct step_ops step_scale = {.name = "scale", .run = run};
