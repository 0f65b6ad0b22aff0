#include "cloudd/sinks.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/emit.h"
#include "cloudd/emit_alerts.h"
#include "cloudd/sink_states.h"
#include "common/clock.h"
#include "common/err.h"

/* What is delivered: a receiver may take the one and not the other. */
enum kind {
	ROWS,
	ALERTS,
	KINDS
};

/* What others may see of a sink; under the mutex of its thread. */
struct sink_counts {
	uint64_t rows, alerts, batches, failures, rejected;
	struct emit_figures figures;
	bool up;
	int64_t failing_since_ns[KINDS]; /* monotonic; 0: it is not */
	char why[SINK_WHY_MAX];          /* the last failure */
	uint64_t values[SINK_FAMILIES_MAX];
};

struct sink_thread {
	struct sink_thread *next;
	struct sinks *all;
	const struct topology *topology; /* held: conf is in it */
	const struct sink_conf *conf;
	struct sink *sink;
	struct emit *emit;
	struct emit_alerts *emit_alerts; /* NULL: no alerts go to sinks of this type */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool stop;           /* under the mutex, as all to counts */
	bool ended;
	struct sink_counts counts;
	bool open;           /* the thread's own, as all below */
	bool rows_first;     /* the last that was tried was alerts, in vain */
	unsigned failed;     /* times in a row */
	bool failure_said;   /* of this row */
	unsigned says;       /* lines about failures, since: */
	int64_t says_from_ns;
	uint64_t random;
	int64_t measure_ns, idled_ns, said_ns; /* monotonic; measure_ns: not before */
	uint64_t resets_said;
	int64_t rejected_said_ns;
	uint64_t rejected_unsaid;
	char why[SINK_WHY_MAX]; /* said last */
};

struct sinks {
	struct sinks_options o;
	pthread_mutex_t mutex;         /* of the list; its other fields are of who sets topologies */
	struct sink_thread *first;
	const struct topology *wanted; /* held */
};

static const struct sink_ops *const types[SINK_TYPE_COUNT] = {
#define SINK_OPS_OF(constant, name) &sink_##name##_ops,
	SINK_TYPES(SINK_OPS_OF)
#undef SINK_OPS_OF
};

const char *sinks_missing(enum sink_type type)
{
	return types[type]->missing ? types[type]->missing() : NULL;
}

/* ---- for types ----------------------------------------------------------------------------------------------------- */

bool sink_stopping(const struct sink *s)
{
	struct sink_thread *t = s->thread;
	pthread_mutex_lock(&t->mutex);
	bool stop = t->stop;
	pthread_mutex_unlock(&t->mutex);
	return stop;
}

bool sink_pause(struct sink *s, int64_t ns)
{
	struct sink_thread *t = s->thread;
	int64_t until_ns = clock_mono_ns() + ns;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_mutex_lock(&t->mutex);
	while (!t->stop && pthread_cond_timedwait(&t->changed, &t->mutex, &ts) != ETIMEDOUT)
		;
	bool stop = t->stop;
	pthread_mutex_unlock(&t->mutex);
	return stop;
}

void sink_say(struct sink *s, bool warn, const char *text)
{
	const struct sinks_options *o = &s->thread->all->o;
	char *line = xasprintf("sink %s: %s", s->conf->name, text);
	o->say(o->arg, warn, line);
	free(line);
}

static void say_rejected(struct sink *s, uint64_t count, const char *what, const char *why)
{
	char *text = xasprintf("%llu %s are refused by the receiver, and passed over: %s", (unsigned long long)count, what, why);
	sink_say(s, true, text);
	free(text);
}

void sink_rejected(struct sink *s, uint64_t rows, const char *why)
{
	struct sink_thread *t = s->thread;
	int64_t now_ns = clock_mono_ns();
	s->rejected += rows;
	t->rejected_unsaid += rows;
	if (t->rejected_said_ns && now_ns - t->rejected_said_ns < SINKS_SAY_NS)
		return;
	say_rejected(s, t->rejected_unsaid, "rows", why);
	t->rejected_said_ns = now_ns;
	t->rejected_unsaid = 0;
}

void sink_rejected_alerts(struct sink *s, uint64_t alerts, const char *why)
{
	s->rejected += alerts;
	say_rejected(s, alerts, "alerts", why);
}

/* ---- a sink's thread ----------------------------------------------------------------------------------------------- */

static bool is_stopping(void *arg)
{
	return sink_stopping(((struct sink_thread *)arg)->sink);
}

static void tell_places(void *arg, uint32_t shard, const struct entry_place *places, size_t count)
{
	const struct sinks_options *o = &((struct sink_thread *)arg)->all->o;
	o->places(o->arg, shard, places, count);
}

static void close_sink(struct sink_thread *t)
{
	if (t->open && t->sink->ops->close)
		t->sink->ops->close(t->sink);
	t->open = false;
}

static int open_sink(struct sink_thread *t, char **ret_why)
{
	const struct sink_ops *ops = t->sink->ops;
	if (t->open)
		return 0;
	t->open = true; /* closed after a failure, too */
	return ops->open ? ops->open(t->sink, ret_why) : 0;
}

/* One that fails and delivers by turns does not fill the log. */
static bool may_say(struct sink_thread *t, int64_t now_ns)
{
	if (!t->says || now_ns - t->says_from_ns >= SINKS_SAY_NS) {
		t->says_from_ns = now_ns;
		t->says = 0;
	}
	if (t->says == SINKS_FAILURES_SAID_MAX)
		return false;
	t->says++;
	return true;
}

/* The first failure, what is another one, and that it goes on. */
static void say_failure(struct sink_thread *t, const char *why)
{
	int64_t now_ns = clock_mono_ns();
	bool same = !strncmp(t->why, why, sizeof(t->why) - 1);
	if (t->failure_said && (same || now_ns - t->said_ns < SINKS_SAY_NS))
		return;
	if (!may_say(t, now_ns))
		return;
	snprintf(t->why, sizeof(t->why), "%s", why);
	t->said_ns = now_ns;
	t->failure_said = true;
	char *text = xasprintf("cannot deliver, which is tried again: %s", t->why);
	sink_say(t->sink, true, text);
	free(text);
}

/* Under the mutex. */
static void note_state(struct sink_counts *c, enum kind kind, bool fine)
{
	if (fine)
		c->failing_since_ns[kind] = 0;
	else if (!c->failing_since_ns[kind])
		c->failing_since_ns[kind] = clock_mono_ns();
	c->up = !c->failing_since_ns[ROWS] && !c->failing_since_ns[ALERTS];
}

/* why: NULL, or why it failed. */
static void count(struct sink_thread *t, enum kind kind, size_t n, const char *why)
{
	bool fine = !why;
	pthread_mutex_lock(&t->mutex);
	struct sink_counts *c = &t->counts;
	if (why)
		snprintf(c->why, sizeof(c->why), "%s", why);
	*(kind == ROWS ? &c->rows : &c->alerts) += fine ? n : 0;
	c->batches += fine;
	c->failures += !fine;
	c->rejected = t->sink->rejected;
	note_state(c, kind, fine);
	if (t->sink->ops->values)
		t->sink->ops->values(t->sink, c->values);
	pthread_mutex_unlock(&t->mutex);
}

static void measure(struct sink_thread *t)
{
	struct emit_figures f;
	int64_t begun_ns = clock_mono_ns();
	if (begun_ns < t->measure_ns)
		return;
	emit_measure(t->emit, clock_wall_ns(), &f);
	if (t->emit_alerts)
		emit_alerts_measure(t->emit_alerts, clock_wall_ns(), &f);
	int64_t now_ns = clock_mono_ns(), rest_ns = SINKS_MEASURE_SHARE * (now_ns - begun_ns);
	if (rest_ns > SINKS_MEASURE_MAX_NS)
		rest_ns = SINKS_MEASURE_MAX_NS;
	t->measure_ns = now_ns + (rest_ns > SINKS_MEASURE_NS ? rest_ns : SINKS_MEASURE_NS);
	pthread_mutex_lock(&t->mutex);
	t->counts.figures = f;
	if (t->sink->ops->values) /* what idle() did is among them */
		t->sink->ops->values(t->sink, t->counts.values);
	pthread_mutex_unlock(&t->mutex);
	if (f.resets > t->resets_said)
		sink_say(t->sink, true, "rows or alerts were deleted before they were delivered: it was behind by more than an hour, or a million rows");
	t->resets_said = f.resets;
}

/* xorshift64*: it is for spreading only. */
static uint64_t next_random(struct sink_thread *t)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return t->random * UINT64_C(2685821657736338717);
}

static int64_t retry_ns(struct sink_thread *t)
{
	unsigned doubled = t->failed - 1 < 7 ? t->failed - 1 : 7;
	int64_t ns = SINKS_RETRY_MIN_NS << doubled;
	if (ns > SINKS_RETRY_MAX_NS)
		ns = SINKS_RETRY_MAX_NS;
	return ns / 2 + (int64_t)(next_random(t) % (uint64_t)(ns / 2));
}

/* Figures go on while it waits. */
static void back_off(struct sink_thread *t)
{
	int64_t wait_ns = retry_ns(t), left_ns, asked_ns = t->sink->wait_ns < SINK_WAIT_MAX_NS ? t->sink->wait_ns : SINK_WAIT_MAX_NS;
	int64_t until_ns = clock_mono_ns() + (asked_ns > wait_ns ? asked_ns : wait_ns);
	while ((left_ns = until_ns - clock_mono_ns()) > 0) {
		measure(t);
		if (sink_pause(t->sink, left_ns < SINKS_MEASURE_NS ? left_ns : SINKS_MEASURE_NS))
			return;
	}
}

static void has_failed(struct sink_thread *t, enum kind kind, int rc, const char *why)
{
	if (is_stopping(t))
		return; /* cut short, which is no failure */
	why = why ? why : err_text(rc);
	close_sink(t);
	t->failed++;
	count(t, kind, 0, why);
	say_failure(t, why);
	back_off(t);
}

static void has_delivered(struct sink_thread *t, enum kind kind, size_t n)
{
	count(t, kind, n, NULL);
	t->failed = 0;
	if (!t->counts.up)
		return; /* the other kind fails on */
	if (t->failure_said)
		sink_say(t->sink, false, "delivers again");
	t->failure_said = false;
}

/* What failed is gone: others lead now, or it is beyond what is kept, or went with its alert. What nobody waits for fails no more. */
static void nothing_waits(struct sink_thread *t, enum kind kind)
{
	if (!t->counts.failing_since_ns[kind])
		return;
	pthread_mutex_lock(&t->mutex);
	note_state(&t->counts, kind, true);
	pthread_mutex_unlock(&t->mutex);
	if (!t->counts.up)
		return; /* the other kind fails on */
	if (t->failure_said)
		sink_say(t->sink, false, "has nothing left to deliver from here");
	t->failed = 0;
	t->failure_said = false;
}

/* What others connect to fails also without rows. */
static void no_rows(struct sink_thread *t)
{
	bool closed = t->sink->ops->early && !t->open;
	if (!emit_is_empty(t->emit))
		return;
	if (t->counts.figures.backlog)
		t->measure_ns = 0; /* there is little to count, and what was counted before is not true any more */
	if (!closed)
		nothing_waits(t, ROWS);
}

static void deliver_batch(struct sink_thread *t, const struct sink_batch *b)
{
	char *why = NULL;
	t->sink->wait_ns = 0;
	int rc = open_sink(t, &why);
	if (!rc)
		rc = t->sink->ops->deliver(t->sink, b, &why);
	if (rc) {
		emit_discard(t->emit);
		has_failed(t, ROWS, rc, why);
	} else {
		has_delivered(t, ROWS, b->count);
		emit_delivered(t->emit);
	}
	free(why);
}

/* False: they come again. */
static bool deliver_alerts(struct sink_thread *t, const struct sink_alerts *b)
{
	char *why = NULL;
	t->sink->wait_ns = 0;
	int rc = open_sink(t, &why);
	if (!rc)
		rc = t->sink->ops->alerts(t->sink, b, &why);
	if (rc) {
		has_failed(t, ALERTS, rc, why);
	} else {
		has_delivered(t, ALERTS, b->count);
		emit_alerts_delivered(t->emit_alerts);
	}
	free(why);
	return !rc;
}

/* Alerts go before rows, a batch of each; but a receiver that does not take the one gets the other all the same. False: there was nothing
 * to deliver. */
static bool deliver_some(struct sink_thread *t)
{
	struct sink_batch rows;
	struct sink_alerts alerts;
	bool look = t->emit_alerts && !t->rows_first, any = look && emit_alerts_collect(t->emit_alerts, &alerts);
	if (look && !any)
		nothing_waits(t, ALERTS);
	t->rows_first = any && !deliver_alerts(t, &alerts);
	if (t->rows_first)
		return true;
	if (!emit_collect(t->emit, &rows)) {
		no_rows(t);
		return any;
	}
	deliver_batch(t, &rows);
	return true;
}

static void recovered(struct sink_thread *t)
{
	if (t->failure_said)
		sink_say(t->sink, false, "is open");
	t->failed = 0;
	t->failure_said = false;
	pthread_mutex_lock(&t->mutex);
	note_state(&t->counts, ROWS, true);
	pthread_mutex_unlock(&t->mutex);
}

/* Before there is anything to deliver. */
static void open_early(struct sink_thread *t)
{
	char *why = NULL;
	int rc = open_sink(t, &why);
	if (rc)
		has_failed(t, ROWS, rc, why);
	else if (t->failed)
		recovered(t);
	free(why);
}

static void do_idle(struct sink_thread *t)
{
	if (t->sink->ops->idle)
		t->sink->ops->idle(t->sink);
	if (!t->sink->ops->values)
		return;
	pthread_mutex_lock(&t->mutex);
	t->sink->ops->values(t->sink, t->counts.values);
	pthread_mutex_unlock(&t->mutex);
}

static void idle(struct sink_thread *t)
{
	int64_t now_ns = clock_mono_ns();
	if (!t->open && t->sink->ops->early)
		open_early(t);
	if (t->open && now_ns - t->idled_ns >= SINK_IDLE_NS) {
		t->idled_ns = now_ns;
		do_idle(t);
	}
	measure(t);
	sink_pause(t->sink, SINKS_POLL_NS);
}

static void *run(void *arg)
{
	struct sink_thread *t = arg;
	while (!is_stopping(t)) {
		if (!deliver_some(t))
			idle(t);
		measure(t);
	}
	close_sink(t);
	pthread_mutex_lock(&t->mutex);
	t->ended = true;
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

/* ---- the life of a thread ------------------------------------------------------------------------------------------ */

static void make_sink(struct sink_thread *t)
{
	const struct sinks_options *o = &t->all->o;
	const struct sink_ops *ops = types[t->conf->type];
	weir_assert(ops->size >= sizeof(struct sink) && ops->family_count <= SINK_FAMILIES_MAX);
	t->sink = xcalloc(1, ops->size);
	t->sink->ops = ops;
	t->sink->conf = t->conf;
	t->sink->node = t->topology->clouds[o->self].name;
	t->sink->cluster = t->topology->cluster;
	t->sink->listen = t->topology->clouds[o->self].listen;
	t->sink->keys_dir = t->topology->keys_dir;
	t->sink->thread = t;
	struct emit_options e = {.conf = t->conf, .serve = o->serve, .node = o->node, .progress = o->progress, .arg = t, .places = tell_places,
	    .stopping = is_stopping};
	t->emit = emit_new(&e);
	t->emit_alerts = ops->alerts && sink_takes_alerts(t->conf) ? emit_alerts_new(&e) : NULL;
}

static void free_thread(struct sink_thread *t)
{
	emit_free(t->emit);
	emit_alerts_free(t->emit_alerts);
	free(t->sink);
	pthread_mutex_destroy(&t->mutex);
	pthread_cond_destroy(&t->changed);
	topology_free(t->topology);
	free(t);
}

static void begin(struct sinks *s, const struct sink_conf *conf)
{
	pthread_condattr_t attr;
	struct sink_thread *t = xcalloc(1, sizeof(*t));
	t->all = s;
	t->topology = topology_hold(s->wanted);
	t->conf = conf;
	t->counts.up = true;
	t->random = (uint64_t)clock_mono_ns() ^ (uintptr_t)t;
	t->random |= 1;
	pthread_mutex_init(&t->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	make_sink(t);
	int rc = pthread_create(&t->thread, NULL, run, t);
	if (rc) { /* tried again with the next tick */
		sink_say(t->sink, true, "no thread can be had for it now");
		free_thread(t);
		return;
	}
	pthread_mutex_lock(&s->mutex);
	t->next = s->first;
	s->first = t;
	pthread_mutex_unlock(&s->mutex);
}

static void stop(struct sink_thread *t)
{
	pthread_mutex_lock(&t->mutex);
	t->stop = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
}

static bool has_ended(struct sink_thread *t)
{
	pthread_mutex_lock(&t->mutex);
	bool ended = t->ended;
	pthread_mutex_unlock(&t->mutex);
	return ended;
}

static void join(struct sinks *s, struct sink_thread *t)
{
	pthread_join(t->thread, NULL);
	pthread_mutex_lock(&s->mutex);
	struct sink_thread **at = &s->first;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	pthread_mutex_unlock(&s->mutex);
	free_thread(t);
}

static struct sink_thread *find(struct sinks *s, const char *name)
{
	struct sink_thread *t = s->first;
	while (t && strcmp(t->conf->name, name))
		t = t->next;
	return t;
}

/* ---- all of them --------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct sinks *s, const struct sink_thread *t)
{
	int at = topology_sink(s->wanted, t->conf->name);
	return at >= 0 && sink_conf_same(&s->wanted->sinks[at], t->conf);
}

void sinks_tick(struct sinks *s)
{
	for (struct sink_thread *t = s->first, *next; t; t = next) {
		next = t->next;
		if (!is_wanted(s, t))
			stop(t);
		if (has_ended(t))
			join(s, t);
	}
	for (size_t i = 0; i < s->wanted->sink_count; i++) {
		if (!find(s, s->wanted->sinks[i].name))
			begin(s, &s->wanted->sinks[i]);
	}
}

void sinks_set_topology(struct sinks *s, const struct topology *t)
{
	topology_free(s->wanted);
	s->wanted = topology_hold(t);
	sinks_tick(s);
}

struct sinks *sinks_new(const struct sinks_options *o)
{
	struct sinks *s = xcalloc(1, sizeof(*s));
	s->o = *o;
	pthread_mutex_init(&s->mutex, NULL);
	s->wanted = topology_hold(o->topology);
	sinks_tick(s);
	return s;
}

void sinks_free(struct sinks *s)
{
	if (!s)
		return;
	for (struct sink_thread *t = s->first; t; t = t->next)
		stop(t);
	while (s->first)
		join(s, s->first);
	topology_free(s->wanted);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

/* ---- what others see ----------------------------------------------------------------------------------------------- */

struct seen {
	char name[NAME_MAX_BYTES + 1];
	enum sink_type type;
	struct sink_counts counts;
};

static size_t look(struct sinks *s, struct seen *ret, size_t max)
{
	size_t n = 0;
	pthread_mutex_lock(&s->mutex);
	for (struct sink_thread *t = s->first; t && n < max; t = t->next) {
		struct seen *to = &ret[n++];
		snprintf(to->name, sizeof(to->name), "%s", t->conf->name);
		to->type = t->conf->type;
		pthread_mutex_lock(&t->mutex);
		to->counts = t->counts;
		pthread_mutex_unlock(&t->mutex);
	}
	pthread_mutex_unlock(&s->mutex);
	return n;
}

static double seconds(int64_t ns)
{
	return (double)ns / NS_PER_SEC;
}

/* 0: it does not. */
static int64_t failing_ns(const struct sink_counts *c)
{
	int64_t rows_ns = c->failing_since_ns[ROWS], alerts_ns = c->failing_since_ns[ALERTS];
	int64_t since_ns = rows_ns && (!alerts_ns || rows_ns < alerts_ns) ? rows_ns : alerts_ns, now_ns = clock_mono_ns();
	return !since_ns ? 0 : now_ns > since_ns ? now_ns - since_ns : 1;
}

void sinks_tell(struct sinks *s, struct buf *out)
{
	struct seen *all = xcalloc(SINKS_MAX, sizeof(*all));
	size_t count = look(s, all, SINKS_MAX);
	buf_varint(out, count);
	for (size_t i = 0; i < count; i++) {
		const struct sink_counts *c = &all[i].counts;
		struct sink_figures f = {.rows = c->rows, .alerts = c->alerts, .backlog_rows = c->figures.backlog, .backlog_alerts = c->figures.alerts,
		    .lag_ns = c->figures.lag_ns, .failing_ns = failing_ns(c)};
		if (f.failing_ns)
			memcpy(f.why, c->why, sizeof(f.why));
		sink_figures_put(all[i].name, &f, out);
	}
	free(all);
}

#define FAMILY(expression, family_name, family_type, family_help) \
	do { \
		static const struct stats_family family = {.name = (family_name), .help = (family_help), .type = (family_type), \
			.labels = {"sink", "type"}}; \
		if (count) \
			stats_write_head(out, &family); \
		for (size_t i = 0; i < count; i++) { \
			const struct sink_counts *c = &all[i].counts; \
			stats_write(out, &family, (const char *const[]){all[i].name, sink_type_text(all[i].type)}, (double)(expression)); \
		} \
	} while (0)

static void put_shared(const struct seen *all, size_t count, struct buf *out)
{
	FAMILY(c->rows, "weir_cloud_sink_rows_total", STATS_COUNTER, "rows delivered by this node");
	FAMILY(c->alerts, "weir_cloud_sink_alerts_total", STATS_COUNTER, "events of alerts delivered by this node");
	FAMILY(c->batches, "weir_cloud_sink_batches_total", STATS_COUNTER, "batches delivered by this node");
	FAMILY(c->failures, "weir_cloud_sink_failures_total", STATS_COUNTER, "batches that could not be delivered, and are tried again");
	FAMILY(c->rejected, "weir_cloud_sink_rejected_rows_total", STATS_COUNTER, "rows that the receiver refused for good: passed over");
	FAMILY(c->figures.resets, "weir_cloud_sink_resets_total", STATS_COUNTER, "times that rows were deleted before they were delivered");
	FAMILY(c->figures.gone, "weir_cloud_sink_gone_rows_total", STATS_COUNTER, "rows whose windows were beyond `retain` before they were delivered: passed over");
	FAMILY(c->figures.backlog, "weir_cloud_sink_backlog_rows", STATS_GAUGE, "rows to deliver of the shards led here; 10,000 of a shard's stream at most");
	FAMILY(c->figures.alerts, "weir_cloud_sink_backlog_alerts", STATS_GAUGE, "events of alerts to deliver of the shards led here; of 10,000 of a shard at most");
	FAMILY(seconds(c->figures.lag_ns), "weir_cloud_sink_lag_seconds", STATS_GAUGE, "age of the oldest row, or event of an alert, to deliver of the shards led here");
	FAMILY(c->up, "weir_cloud_sink_up", STATS_GAUGE, "1: the last batch was delivered, or nothing waits here; 0: it failed");
	FAMILY(seconds(failing_ns(c)), "weir_cloud_sink_failing_seconds", STATS_GAUGE, "since when batches have failed without one that was delivered");
}

static void put_type(enum sink_type type, const struct seen *all, size_t count, struct buf *out)
{
	const struct sink_ops *ops = types[type];
	for (size_t f = 0; f < ops->family_count; f++) {
		bool head = false;
		for (size_t i = 0; i < count; i++) {
			if (all[i].type != type)
				continue;
			if (!head)
				stats_write_head(out, &ops->families[f]);
			head = true;
			stats_write_u64(out, &ops->families[f], (const char *const[]){all[i].name}, all[i].counts.values[f]);
		}
	}
}

static int compare_seen(const void *a, const void *b)
{
	return strcmp(((const struct seen *)a)->name, ((const struct seen *)b)->name);
}

void sinks_metrics(struct sinks *s, struct buf *out)
{
	struct seen *all = xcalloc(SINKS_MAX, sizeof(*all));
	size_t count = look(s, all, SINKS_MAX);
	qsort(all, count, sizeof(*all), compare_seen);
	put_shared(all, count, out);
	for (int type = 0; type < SINK_TYPE_COUNT; type++)
		put_type((enum sink_type)type, all, count, out);
	free(all);
}
