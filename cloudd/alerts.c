#include "cloudd/alerts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/alert_judge.h"
#include "cloudd/serve_parts.h"
#include "common/clock.h"
#include "common/err.h"

/* What is on the way to the log. */
struct asked {
	uint32_t id; /* of the first alert in it; 0: nothing is */
	uint64_t changed;
	int64_t until_ns;
};

struct alerts_shard {
	uint64_t looked; /* durable index at which nothing was left to judge; 0: look */
	uint32_t next;   /* alert that is first in turn */
	struct asked asked;
};

/* Of one alert, in all shards that are led here. */
struct alert_figures {
	char stream[NAME_MAX_BYTES + 1], name[NAME_MAX_BYTES + 1];
	uint64_t pending, firing;
	int64_t behind_ns;
};

struct figures {
	struct alert_figures *all; /* in the order in which they were met */
	size_t count, cap;
};

struct alerts {
	struct alerts_options o;
	uint32_t shard_count;
	struct alerts_shard *shards;
	pthread_t thread;
	bool threaded;
	int64_t measured_ns, turn_ends_ns;
	uint64_t proposed, left_out, gone, failures; /* under the mutex, as all below */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool stop;
	struct figures figures;
};

/* ---- judging ------------------------------------------------------------------------------------------------------- */

static void count(struct alerts *a, uint64_t *counter, uint64_t n)
{
	pthread_mutex_lock(&a->mutex);
	*counter += n;
	pthread_mutex_unlock(&a->mutex);
}

/* Whether what was proposed may still come. */
static int is_waiting(struct alerts_shard *sh, struct kv_txn *txn, unsigned db, bool *ret_is)
{
	struct alert_record r;
	*ret_is = false;
	if (!sh->asked.id || clock_mono_ns() >= sh->asked.until_ns) {
		sh->asked.id = 0;
		return 0;
	}
	int rc = alert_record_read(txn, db, sh->asked.id, &r);
	*ret_is = !rc && r.changed == sh->asked.changed;
	if (!*ret_is)
		sh->asked.id = 0;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static void propose(struct alerts *a, uint32_t shard, const struct alert_found *f)
{
	const struct entry_alert *first = &f->entry.alert.alerts[0];
	a->shards[shard].asked = (struct asked){first->id, first->changed, clock_mono_ns() + ALERTS_RETRY_NS};
	a->o.propose(a->o.arg, shard, &f->entry);
	count(a, &a->proposed, 1);
}

static bool is_stopping(struct alerts *a)
{
	pthread_mutex_lock(&a->mutex);
	bool stop = a->stop;
	pthread_mutex_unlock(&a->mutex);
	return stop;
}

static bool is_enough(void *arg)
{
	struct alerts *a = arg;
	return clock_mono_ns() >= a->turn_ends_ns || is_stopping(a);
}

static int judge(struct alerts *a, const struct topology *t, struct kv_txn *txn, uint32_t shard, bool *ret_idle)
{
	struct alert_found f;
	uint64_t map_version;
	bool waits;
	*ret_idle = false;
	int rc = serve_map_version(txn, shard + 1, &map_version);
	if (rc || map_version != t->map_version)
		return rc; /* either of them is about to follow */
	rc = is_waiting(&a->shards[shard], txn, STATE_DB_GROUP(shard + 1), &waits);
	if (rc || waits)
		return rc;
	a->turn_ends_ns = clock_mono_ns() + ALERTS_TURN_NS;
	struct alert_turn turn = {a->shards[shard].next, ALERT_WORK_MAX, is_enough, a};
	rc = alert_judge(t, txn, shard, &turn, &f);
	if (rc)
		return rc;
	a->shards[shard].next = f.next;
	*ret_idle = !f.entry.alert.count && !f.more;
	if (f.entry.alert.count)
		propose(a, shard, &f);
	count(a, &a->left_out, f.left_out);
	count(a, &a->gone, f.gone);
	alert_found_clear(&f);
	return 0;
}

static void look(struct alerts *a, const struct topology *t, uint32_t shard)
{
	struct alerts_shard *sh = &a->shards[shard];
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	uint64_t durable = progress_durable(a->o.progress, shard + 1);
	bool idle = false;
	if (!node_serves(a->o.node, shard + 1)) {
		*sh = (struct alerts_shard){0};
		return;
	}
	if (sh->looked == durable || !durable)
		return;
	int rc = serve_begin(a->o.serve, shard + 1, &txn, &info);
	if (!rc) {
		rc = judge(a, t, txn, shard, &idle);
		kv_abort(txn);
	}
	rc = serve_note_damage(a->o.serve, shard + 1, rc);
	if (rc && rc != WEIR_ECLOSED && rc != WEIR_EBUSY && rc != WEIR_ENOTLEADER)
		count(a, &a->failures, 1);
	if (idle)
		sh->looked = durable;
}

/* ---- figures ------------------------------------------------------------------------------------------------------- */

static bool is_of(const struct alert_figures *f, const struct alert_record *r)
{
	return strlen(f->stream) == r->def.stream.n && !memcmp(f->stream, r->def.stream.p, r->def.stream.n) &&
	    strlen(f->name) == r->def.name.n && !memcmp(f->name, r->def.name.p, r->def.name.n);
}

static struct alert_figures *figures_of(struct figures *all, const struct alert_record *r)
{
	for (size_t i = 0; i < all->count; i++)
		if (is_of(&all->all[i], r))
			return &all->all[i];
	if (all->count == all->cap) {
		all->cap = all->cap ? 2 * all->cap : 16;
		all->all = xrealloc(all->all, all->cap * sizeof(*all->all));
	}
	struct alert_figures *f = &all->all[all->count++];
	*f = (struct alert_figures){0};
	memcpy(f->stream, r->def.stream.p, r->def.stream.n);
	memcpy(f->name, r->def.name.p, r->def.name.n);
	return f;
}

static void measure_shard(const struct topology *t, struct kv_txn *txn, uint32_t shard, struct figures *all)
{
	uint32_t id = 1;
	struct alert_record r;
	while (!alert_record_next(txn, STATE_DB_GROUP(shard + 1), &id, &r)) {
		int64_t behind_ns = 0;
		if (r.end == ALERT_STAYS)
			(void)alert_behind(t, txn, shard, &r, &behind_ns);
		struct alert_figures *f = figures_of(all, &r);
		f->pending += r.pending;
		f->firing += r.firing;
		if (behind_ns > f->behind_ns)
			f->behind_ns = behind_ns;
		id++;
	}
}

static void measure(struct alerts *a, const struct topology *t)
{
	struct figures all = {0};
	int64_t now_ns = clock_mono_ns();
	if (a->measured_ns && now_ns - a->measured_ns < ALERTS_MEASURE_NS)
		return;
	a->measured_ns = now_ns;
	for (uint32_t shard = 0; shard < a->shard_count; shard++) {
		struct apply_group_info info = {0};
		struct kv_txn *txn;
		if (!node_serves(a->o.node, shard + 1) || serve_begin(a->o.serve, shard + 1, &txn, &info))
			continue;
		measure_shard(t, txn, shard, &all);
		kv_abort(txn);
	}
	pthread_mutex_lock(&a->mutex);
	struct figures was = a->figures;
	a->figures = all;
	pthread_mutex_unlock(&a->mutex);
	free(was.all);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

/* True: it is to stop. */
static bool pause_round(struct alerts *a)
{
	int64_t until_ns = clock_mono_ns() + ALERTS_POLL_NS;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_mutex_lock(&a->mutex);
	while (!a->stop && pthread_cond_timedwait(&a->changed, &a->mutex, &ts) != ETIMEDOUT)
		;
	bool stop = a->stop;
	pthread_mutex_unlock(&a->mutex);
	return stop;
}

static void *run(void *arg)
{
	struct alerts *a = arg;
	do {
		const struct topology *t = node_topology(a->o.node);
		for (uint32_t shard = 0; shard < a->shard_count && !is_stopping(a); shard++)
			look(a, t, shard);
		measure(a, t);
		topology_free(t);
	} while (!pause_round(a));
	return NULL;
}

struct alerts *alerts_new(const struct alerts_options *o)
{
	pthread_condattr_t attr;
	struct alerts *a = xcalloc(1, sizeof(*a));
	const struct topology *t = node_topology(o->node);
	a->o = *o;
	a->shard_count = t->shards;
	topology_free(t);
	a->shards = xcalloc(a->shard_count, sizeof(*a->shards));
	pthread_mutex_init(&a->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->changed, &attr);
	pthread_condattr_destroy(&attr);
	a->threaded = !pthread_create(&a->thread, NULL, run, a);
	if (a->threaded)
		return a;
	alerts_free(a);
	return NULL;
}

void alerts_free(struct alerts *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->mutex);
	a->stop = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->mutex);
	if (a->threaded)
		pthread_join(a->thread, NULL);
	pthread_mutex_destroy(&a->mutex);
	pthread_cond_destroy(&a->changed);
	free(a->figures.all);
	free(a->shards);
	free(a);
}

/* ---- metrics ------------------------------------------------------------------------------------------------------- */

static void put_states(const struct figures *f, struct buf *out)
{
	static const struct stats_family states = {.name = "weir_cloud_alerts", .help = "groups, of the shards led here", .type = STATS_GAUGE,
	    .labels = {"stream", "alert", "state"}};
	if (f->count)
		stats_write_head(out, &states);
	for (size_t i = 0; i < f->count; i++) {
		const struct alert_figures *a = &f->all[i];
		stats_write_u64(out, &states, (const char *const[]){a->stream, a->name, "firing"}, a->firing);
		stats_write_u64(out, &states, (const char *const[]){a->stream, a->name, "pending"}, a->pending);
	}
}

static void put_lags(const struct figures *f, struct buf *out)
{
	static const struct stats_family lag = {.name = "weir_cloud_alert_behind_seconds",
	    .help = "event time that has closed and is not judged, of the shards led here", .type = STATS_GAUGE, .labels = {"stream", "alert"}};
	if (f->count)
		stats_write_head(out, &lag);
	for (size_t i = 0; i < f->count; i++)
		stats_write(out, &lag, (const char *const[]){f->all[i].stream, f->all[i].name}, (double)f->all[i].behind_ns / NS_PER_SEC);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
	struct stats_family f = {.name = name, .help = help, .type = STATS_COUNTER};
	stats_write_head(out, &f);
	stats_write_u64(out, &f, NULL, value);
}

void alerts_metrics(struct alerts *a, struct buf *out)
{
	pthread_mutex_lock(&a->mutex);
	put_states(&a->figures, out);
	put_lags(&a->figures, out);
	put_counter(out, "weir_cloud_alert_entries_total", "entries about alerts that this node proposed", a->proposed);
	put_counter(out, "weir_cloud_alert_groups_left_out_total", "times that a group met a condition and was not taken up: too many of its alert were",
	    a->left_out);
	put_counter(out, "weir_cloud_alert_windows_gone_total", "windows that were beyond `retain` before they could be judged: passed over", a->gone);
	put_counter(out, "weir_cloud_alert_failures_total", "times that a shard's alerts could not be judged", a->failures);
	pthread_mutex_unlock(&a->mutex);
}
