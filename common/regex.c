#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/regex_parts.h"
#include "common/utf8.h"

int regex_compile(const char *pattern, size_t n, struct regex **ret_regex, const char **ret_why, size_t *ret_at)
{
	struct regex *r = xcalloc(1, sizeof(*r));
	int rc = regex_parse(r, pattern, n, ret_why, ret_at);
	if (rc) {
		regex_free(r);
		return rc;
	}
	r->places = xcalloc(r->step_count * 4, sizeof(*r->places));
	r->stack = xcalloc(r->step_count * 2 + 1, sizeof(*r->stack));
	*ret_regex = r;
	return 0;
}

void regex_free(struct regex *r)
{
	if (!r)
		return;
	free(r->steps);
	free(r->ranges);
	free(r->sets);
	free(r->places);
	free(r->stack);
	free(r);
}

size_t regex_size(const struct regex *r)
{
	return r->step_count;
}

/* Where threads are, each place once, in a set that is empty again at once (Briggs, Torczon 1993). */
struct places {
	uint32_t *at, *where;
	uint32_t count;
};

struct run {
	const struct regex *r;
	struct places now, next;
	int32_t *stack; /* places still to be followed */
	uint32_t prev, here; /* code points around the place in the text; NOTHING: outside */
	uint64_t steps, max;
};

#define NOTHING UINT32_MAX

static bool holds(const struct places *p, uint32_t at)
{
	return p->where[at] < p->count && p->at[p->where[at]] == at;
}

static bool is_word(uint32_t c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool passes(const struct run *run, uint8_t op)
{
	bool edge = is_word(run->prev) != is_word(run->here);
	return op == REGEX_BEGIN ? run->prev == NOTHING :
	    op == REGEX_END      ? run->here == NOTHING :
	    op == REGEX_EDGE     ? edge :
				   !edge;
}

/* Adds a place and all that is reached from it without a character. Each place is pushed by at most two others, once each. */
static void add(struct run *run, struct places *to, uint32_t from)
{
	uint32_t depth = 0;
	run->stack[depth++] = (int32_t)from;
	while (depth) {
		uint32_t at = (uint32_t)run->stack[--depth];
		run->steps++;
		if (holds(to, at))
			continue;
		to->where[at] = to->count;
		to->at[to->count++] = at;
		const struct regex_step *s = &run->r->steps[at];
		switch ((enum regex_op)s->op) {
		case REGEX_SPLIT:
			run->stack[depth++] = (int32_t)at + s->x;
			run->stack[depth++] = (int32_t)at + s->y;
			break;
		case REGEX_JUMP:
			run->stack[depth++] = (int32_t)at + s->x;
			break;
		case REGEX_BEGIN:
		case REGEX_END:
		case REGEX_EDGE:
		case REGEX_NO_EDGE:
			if (passes(run, s->op))
				run->stack[depth++] = (int32_t)at + 1;
			break;
		case REGEX_SET:
		case REGEX_MATCH:
			break;
		}
	}
}

static bool in_set(const struct regex *r, const struct regex_set *set, uint32_t c, uint64_t *steps)
{
	if (!set->count) /* and maybe nobody has any */
		return set->negated;
	const struct regex_range *ranges = r->ranges + set->first;
	uint32_t i = 0;
	while (i < set->count && !(c >= ranges[i].lo && c <= ranges[i].hi))
		i++;
	*steps += i;
	return (i < set->count) != set->negated;
}

/* Moves each thread over the code point `here`; the one after it is `ahead`. */
static void step(struct run *run, uint32_t ahead)
{
	uint32_t c = run->here;
	run->next.count = 0;
	run->prev = c;
	run->here = ahead;
	for (uint32_t i = 0; i < run->now.count && run->steps < run->max; i++) {
		const struct regex_step *s = &run->r->steps[run->now.at[i]];
		run->steps++;
		if (s->op == REGEX_SET && in_set(run->r, &run->r->sets[s->x], c, &run->steps))
			add(run, &run->next, run->now.at[i] + 1);
	}
	struct places swap = run->now;
	run->now = run->next;
	run->next = swap;
}

static uint32_t code_point(const char *text, size_t n, size_t *at)
{
	size_t len;
	if (*at == n)
		return NOTHING;
	uint32_t c = utf8_next((const uint8_t *)text + *at, n - *at, &len);
	*at += len;
	return c;
}

bool regex_match(struct regex *r, const char *text, size_t n, uint64_t *left)
{
	size_t count = r->step_count, at = 0;
	uint32_t *room = r->places;
	if (!*left)
		return false;
	struct run run = {.r = r,
	    .now = {room, room + count, 0},
	    .next = {room + 2 * count, room + 3 * count, 0},
	    .stack = r->stack,
	    .max = *left,
	    .prev = NOTHING};
	run.here = code_point(text, n, &at);
	add(&run, &run.now, 0);
	while (run.here != NOTHING && run.now.count && run.steps < run.max)
		step(&run, code_point(text, n, &at));
	bool given_up = run.steps >= run.max;
	*left -= given_up ? *left : run.steps;
	return !given_up && run.here == NOTHING && holds(&run.now, (uint32_t)count - 1);
}
