#include "edged/step.h"

static bool admits(const struct step_conf *c, const struct step_tags *tags)
{
	for (size_t i = 0; i < c->where_count; i++) {
		struct bytes value = tags->value(tags->arg, c->where[i].tag);
		if (!glob_match(c->where[i].pattern, (const char *)value.p, value.n))
			return false;
	}
	return true;
}

static int run(const struct step_conf *c, void *state, struct step_reading *r)
{
	(void)c;
	(void)state;
	(void)r;
	return STEP_PASS; /* tags are the series': decided in admits() */
}

const struct step_ops step_where = {.name = "where", .run = run, .admits = admits};
