/* Simulated sensors (common/simulate), in real time or as fast as it goes.
 *
 * In real time a tick is given out when it is due; after an interruption it goes on at now, leaving out what would have
 * come meanwhile, as real sensors do. The mark is the generator's position, so that a fast run goes on exactly. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/simulate.h"
#include "edged/source_impl.h"

#define MARK_VERSION 1
#define WAIT_MAX_MS (60 * 1000)

struct sensors {
	struct source base;
	struct source_parser parser;
	struct simulate simulate;
	bool restored;
	int64_t shift_ns;     /* event time minus the wall time at which it is due */
	int64_t wall_mono_ns; /* wall minus mono at the start: a wall clock that is set later does not disturb */
	struct loop_timer *timer;
	struct buf text;
};

static struct sensors *sensors_of(struct source *s)
{
	return (struct sensors *)s;
}

/* The event time that is due now. */
static int64_t due_ns(const struct sensors *s)
{
	return clock_mono_ns() + s->wall_mono_ns + s->shift_ns;
}

static void schedule(struct sensors *s, int64_t due)
{
	if (s->base.paused || s->base.finished)
		return;
	if (simulate_finished(&s->simulate)) {
		log_info("source", "the simulation has ended; source=%s", s->base.conf->name);
		source_set_finished(&s->base, true);
		return;
	}
	int64_t next = simulate_next_ns(&s->simulate);
	int64_t wait_ms = s->base.conf->fast || next <= due ? SOURCE_PUMP_MS : (next - due - 1) / NS_PER_MS + 1;
	loop_timer_start(s->timer, (uint64_t)(wait_ms > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms), 0);
}

static bool is_due(const struct sensors *s, int64_t due)
{
	return !simulate_finished(&s->simulate) && (s->base.conf->fast || simulate_next_ns(&s->simulate) <= due);
}

/* A step without a reading (a gap) counts too, so that a turn stays bounded. */
static void on_timer(void *arg)
{
	struct sensors *s = arg;
	int64_t due = due_ns(s);
	struct simulate_reading readings[SIMULATE_READINGS_MAX];
	buf_clear(&s->text);
	for (unsigned steps = 0; steps < 4096 && s->text.len < SOURCE_CHUNK_BYTES && is_due(s, due); steps++) {
		size_t n = simulate_step(&s->simulate, readings);
		for (size_t i = 0; i < n; i++)
			simulate_put_line(s->base.conf, &readings[i], &s->text);
	}
	source_feed(&s->parser, s->text.data, s->text.len);
	schedule(s, due);
}

static int simulate_start(struct source *base, char **ret_why)
{
	(void)ret_why;
	struct sensors *s = sensors_of(base);
	const struct source_conf *c = base->conf;
	int64_t wall = clock_wall_ns();
	s->wall_mono_ns = wall - clock_mono_ns();
	if (!s->restored) {
		simulate_init(&s->simulate, c, time_floor(wall, c->every_ns, 0));
		s->shift_ns = c->start_ns == INT64_MIN ? 0 : c->start_ns - wall;
	} else if (!c->fast) {
		simulate_skip_to(&s->simulate, due_ns(s));
	}
	source_parser_init(&s->parser, base);
	s->timer = loop_timer_new(base->loop, on_timer, s);
	schedule(s, due_ns(s));
	return 0;
}

static void simulate_pause(struct source *base)
{
	struct sensors *s = sensors_of(base);
	if (!s->timer)
		return;
	if (base->paused)
		loop_timer_stop(s->timer);
	else
		schedule(s, due_ns(s));
}

static void simulate_mark(struct source *base, struct buf *out)
{
	struct sensors *s = sensors_of(base);
	buf_u8(out, MARK_VERSION);
	buf_svarint(out, s->simulate.start_ns);
	buf_svarint(out, s->base.conf->every_ns);
	buf_svarint(out, s->shift_ns);
	buf_varint(out, s->simulate.tick);
	buf_varint(out, s->simulate.sensor);
}

static int simulate_restore(struct source *base, struct bytes mark)
{
	struct sensors *s = sensors_of(base);
	struct rd r = rd_init(mark.p, mark.n);
	if (rd_u8(&r) != MARK_VERSION)
		return r.err ? r.err : WEIR_EVERSION;
	int64_t start = rd_svarint(&r), every = rd_svarint(&r), shift = rd_svarint(&r);
	uint64_t tick = rd_varint(&r), sensor = rd_varint_max(&r, UINT32_MAX);
	int rc = rd_finish(&r);
	if (rc)
		return rc;
	simulate_init(&s->simulate, base->conf, start);
	if (s->simulate.start_ns != start || every != base->conf->every_ns)
		return 0; /* configured anew: what the position counts is something else now */
	bool sensor_left = sensor < base->conf->sensors;
	s->simulate.tick = sensor_left ? tick : tick + 1;
	s->simulate.sensor = sensor_left ? (unsigned)sensor : 0;
	s->shift_ns = shift;
	s->restored = true;
	return 0;
}

static void simulate_skip_to_end(struct source *base)
{
	struct sensors *s = sensors_of(base);
	if (!base->conf->fast)
		simulate_skip_to(&s->simulate, due_ns(s));
	else if (base->conf->count)
		simulate_skip_to(&s->simulate, TIME_MAX_NS);
	if (s->timer)
		schedule(s, due_ns(s));
}

static void simulate_set_conf(struct source *base)
{
	sensors_of(base)->simulate.conf = base->conf;
}

static void simulate_free(struct source *base)
{
	struct sensors *s = sensors_of(base);
	if (!s->timer)
		return;
	loop_timer_free(s->timer);
	source_parser_free(&s->parser);
	buf_free(&s->text);
}

const struct source_ops source_simulate_ops = {
	.size = sizeof(struct sensors),
	.start = simulate_start,
	.pause = simulate_pause,
	.mark = simulate_mark,
	.restore = simulate_restore,
	.skip_to_end = simulate_skip_to_end,
	.set_conf = simulate_set_conf,
	.free = simulate_free,
};
