#include "edged/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

struct step_state {
	struct hash128 series;
	uint32_t step;
	bool dirty;
	struct step_state *next;       /* of its step, for clean-up */
	struct step_state *next_dirty; /* of the chain */
	_Alignas(16) uint8_t data[];
};

struct step {
	const struct step_ops *ops;
	const struct step_conf *conf;
	struct table states;
	struct step_state *all;
};

struct step_chain {
	size_t count;
	struct step_state *dirty, **dirty_end;
	size_t memory_bytes;
	struct step steps[STEPS_MAX];
};

static const struct step_ops *ops_of(enum step_type type)
{
	switch (type) {
	case STEP_RANGE:
		return &step_range;
	case STEP_SCALE:
		return &step_scale;
	case STEP_DEDUPE:
		return &step_dedupe;
	case STEP_RATE:
		return &step_rate;
	case STEP_WHERE:
		return &step_where;
	}
	weir_assert(0 && "a step type without table entry");
	return NULL;
}

struct step_chain *step_chain_new(const struct stream_conf *stream)
{
	struct step_chain *c = xcalloc(1, sizeof(*c));
	weir_assert(stream->step_count <= STEPS_MAX);
	c->count = stream->step_count;
	c->dirty_end = &c->dirty;
	for (size_t i = 0; i < c->count; i++) {
		c->steps[i].conf = &stream->steps[i];
		c->steps[i].ops = ops_of(stream->steps[i].type);
	}
	return c;
}

void step_chain_free(struct step_chain *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		for (struct step_state *s = c->steps[i].all, *next; s; s = next) {
			next = s->next;
			if (c->steps[i].ops->clear)
				c->steps[i].ops->clear(s->data);
			free(s);
		}
		table_free(&c->steps[i].states);
	}
	free(c);
}

void step_chain_bind(const struct step_chain *c, struct hash128 series, const struct step_tags *tags,
    struct step_binding *ret_binding)
{
	*ret_binding = (struct step_binding){.series = series, .refused_by = UINT32_MAX};
	for (uint32_t i = 0; i < c->count; i++) {
		const struct step *s = &c->steps[i];
		if (s->ops->admits && !s->ops->admits(s->conf, tags)) {
			ret_binding->refused_by = i;
			return;
		}
	}
}

static bool same_series(const void *item, const void *key)
{
	const struct step_state *s = item;
	const struct hash128 *k = key;
	return s->series.hi == k->hi && s->series.lo == k->lo;
}

static struct step_state *state_of(struct step_chain *c, uint32_t n, struct hash128 series)
{
	struct step *step = &c->steps[n];
	struct step_state *s = table_find(&step->states, series.lo, same_series, &series);
	if (s || step->states.count >= step->conf->max_series)
		return s;
	s = xcalloc(1, sizeof(*s) + step->ops->state_bytes);
	s->series = series;
	s->step = n;
	s->next = step->all;
	step->all = s;
	table_insert(&step->states, series.lo, s);
	c->memory_bytes += sizeof(*s) + step->ops->state_bytes;
	return s;
}

static void note_changed(struct step_chain *c, struct step_state *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	*c->dirty_end = s;
	c->dirty_end = &s->next_dirty;
}

/* A state changes when its step passes a reading, and with the first reading that a rate sees. */
static bool changes_state(int verdict)
{
	return verdict == STEP_PASS || verdict == DROP_RATE_FIRST || verdict == DROP_NOT_FINITE;
}

static int run_step(struct step_chain *c, uint32_t n, struct step_binding *b, struct step_reading *r)
{
	struct step *step = &c->steps[n];
	if (!step->ops->state_bytes)
		return step->ops->run(step->conf, NULL, r);
	if (!b->states[n])
		b->states[n] = state_of(c, n, b->series);
	struct step_state *s = b->states[n];
	if (!s)
		return DROP_MAX_SERIES;
	size_t before = step->ops->memory ? step->ops->memory(s->data) : 0;
	int verdict = step->ops->run(step->conf, s->data, r);
	if (changes_state(verdict))
		note_changed(c, s);
	if (step->ops->memory)
		c->memory_bytes += step->ops->memory(s->data) - before;
	return verdict;
}

int step_chain_run(struct step_chain *c, struct step_binding *b, struct step_reading *r)
{
	for (uint32_t i = 0; i < c->count; i++) {
		if (i == b->refused_by)
			return DROP_WHERE;
		int verdict = run_step(c, i, b, r);
		if (verdict != STEP_PASS)
			return verdict;
	}
	return isfinite(r->value) ? STEP_PASS : DROP_NOT_FINITE;
}

size_t step_chain_memory(const struct step_chain *c)
{
	size_t sum = c->memory_bytes;
	for (size_t i = 0; i < c->count; i++)
		sum += table_bytes(&c->steps[i].states);
	return sum;
}

void step_chain_changed(const struct step_chain *c,
    void (*each)(void *arg, const uint8_t key[STEP_KEY_BYTES], struct bytes value), void *arg)
{
	struct buf key = {0}, value = {0};
	for (const struct step_state *s = c->dirty; s; s = s->next_dirty) {
		buf_clear(&key);
		buf_clear(&value);
		buf_u8(&key, (uint8_t)s->step);
		buf_be64(&key, s->series.hi);
		buf_be64(&key, s->series.lo);
		c->steps[s->step].ops->encode(s->data, &value);
		each(arg, key.data, bytes_of(value.data, value.len));
	}
	buf_free(&key);
	buf_free(&value);
}

void step_chain_committed(struct step_chain *c)
{
	for (struct step_state *s = c->dirty, *next; s; s = next) {
		next = s->next_dirty;
		s->next_dirty = NULL;
		s->dirty = false;
	}
	c->dirty = NULL;
	c->dirty_end = &c->dirty;
}

int step_chain_restore(struct step_chain *c, const uint8_t key[STEP_KEY_BYTES], struct bytes value)
{
	struct rd k = rd_init(key, STEP_KEY_BYTES);
	uint32_t n = rd_u8(&k);
	struct hash128 series = {.hi = rd_be64(&k)};
	series.lo = rd_be64(&k);
	if (n >= c->count || !c->steps[n].ops->state_bytes)
		return WEIR_ECORRUPT;
	struct step_state *s = state_of(c, n, series);
	if (!s) /* max_series was lowered: the newest are forgotten */
		return 0;
	const struct step_ops *ops = c->steps[n].ops;
	if (ops->clear)
		ops->clear(s->data);
	memset(s->data, 0, ops->state_bytes);
	struct rd r = rd_init(value.p, value.n);
	int rc = ops->decode(c->steps[n].conf, &r, s->data);
	if (rc == 0)
		rc = rd_finish(&r);
	if (rc < 0) {
		if (ops->clear)
			ops->clear(s->data);
		memset(s->data, 0, ops->state_bytes);
	} else if (ops->memory) {
		c->memory_bytes += ops->memory(s->data);
	}
	return rc;
}
