#include "cloudd/writers.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/jobs.h"
#include "common/clock.h"
#include "common/err.h"

/* ---- a queue and its thread ------------------------------------------------------------------------------------ */

/* Jobs are bounded by who makes them: the node has one log job at a time and a quota of bytes per group. */
struct item {
	void *job;
	struct item *next;
};

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct item *first, **last;
	bool stopping, poked;
	atomic_int_fast64_t busy_ns; /* since when there is something to do, or the last job was taken; 0: nothing is. Set under the mutex */
};

static void queue_init(struct queue *q)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&q->mutex, NULL);
	q->first = NULL;
	q->last = &q->first;
}

static void queue_end(struct queue *q)
{
	while (q->first) {
		struct item *next = q->first->next;
		free(q->first);
		q->first = next;
	}
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->mutex);
}

static void queue_add(struct queue *q, void *job)
{
	struct item *i = xcalloc(1, sizeof(*i));
	i->job = job;
	pthread_mutex_lock(&q->mutex);
	*q->last = i;
	q->last = &i->next;
	if (!atomic_load(&q->busy_ns))
		atomic_store(&q->busy_ns, clock_mono_ns());
	pthread_mutex_unlock(&q->mutex);
	pthread_cond_signal(&q->changed); /* behind the mutex: else the thread wakes only to wait for that */
}

static void queue_signal(struct queue *q, bool stop)
{
	pthread_mutex_lock(&q->mutex);
	q->poked = true;
	q->stopping |= stop;
	pthread_mutex_unlock(&q->mutex);
	pthread_cond_signal(&q->changed);
}

/* Waits for a job, a poke, the stop, or until until_ns (0: no limit). The job, or NULL. */
static void *queue_take(struct queue *q, int64_t until_ns, bool *ret_stopping)
{
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	int rc = 0;
	pthread_mutex_lock(&q->mutex);
	if (!q->first)
		atomic_store(&q->busy_ns, 0);
	while (!q->first && !q->stopping && !q->poked && rc != ETIMEDOUT)
		rc = until_ns ? pthread_cond_timedwait(&q->changed, &q->mutex, &ts)
			      : pthread_cond_wait(&q->changed, &q->mutex);
	q->poked = false;
	*ret_stopping = q->stopping;
	struct item *i = q->first;
	if (i) {
		q->first = i->next;
		if (!q->first)
			q->last = &q->first;
	}
	atomic_store(&q->busy_ns, clock_mono_ns());
	pthread_mutex_unlock(&q->mutex);
	void *job = i ? i->job : NULL;
	free(i);
	return job;
}

/* By the thread itself: what it does may take that long. */
static void queue_excuse(struct queue *q, int64_t ns)
{
	pthread_mutex_lock(&q->mutex);
	atomic_store(&q->busy_ns, clock_mono_ns() + ns);
	pthread_mutex_unlock(&q->mutex);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

struct log_writer {
	struct queue queue;
	pthread_t thread;
	struct kv *log;
	const struct writers_io *io;
	struct stats_cell *commit_time;
};

/* A log that is begun anew is emptied page by page. */
static bool empties_log(const struct log_job *job)
{
	bool empties = false;
	for (size_t i = 0; i < job->suffix_count && !empties; i++)
		empties = !job->suffixes[i].from;
	return empties;
}

static void *log_writer_run(void *arg)
{
	struct log_writer *w = arg;
	pthread_setname_np(pthread_self(), "log-writer"); /* for who looks from outside: top -H, a debugger */
	for (;;) {
		bool stopping;
		struct log_job *job = queue_take(&w->queue, 0, &stopping);
		if (!job && stopping)
			return NULL;
		if (!job)
			continue;
		if (empties_log(job))
			queue_excuse(&w->queue, WRITERS_LONG_NS);
		int64_t began = clock_mono_ns();
		int rc = log_job_run(w->log, job);
		stats_observe(w->commit_time, clock_mono_ns() - began);
		if (rc && rc != WEIR_EFULL)
			w->io->failed(w->io->arg, "log", rc);
		w->io->log_written(w->io->arg, job, rc);
	}
}

struct log_writer *log_writer_start(struct kv *log, const struct writers_io *io, struct stats_cell *commit_time)
{
	struct log_writer *w = xcalloc(1, sizeof(*w));
	queue_init(&w->queue);
	w->log = log;
	w->io = io;
	w->commit_time = commit_time;
	weir_assert(pthread_create(&w->thread, NULL, log_writer_run, w) == 0);
	return w;
}

void log_writer_add(struct log_writer *w, struct log_job *job)
{
	queue_add(&w->queue, job);
}

int64_t log_writer_busy_since(const struct log_writer *w)
{
	return atomic_load(&w->queue.busy_ns);
}

void log_writer_stop(struct log_writer *w)
{
	if (!w)
		return;
	queue_signal(&w->queue, true);
	pthread_join(w->thread, NULL);
	queue_end(&w->queue);
	free(w);
}

/* ---- the state ------------------------------------------------------------------------------------------------- */

struct state_writer {
	struct queue queue;
	pthread_t thread;
	struct state_writer_options o;
	/* the thread's own: */
	uint64_t *upto;    /* per group: applied, in the open transaction or before */
	uint64_t *durable; /* per group: committed */
	bool *replaced;    /* per group: a snapshot's end is in the open transaction: told even where it is not above */
	int64_t began_ns;  /* of the open transaction; 0: none */
	int64_t open_ns;   /* how long it may be open */
	size_t entries;    /* in it */
	bool refuse_next;  /* a commit failed: the next job may rest on what was lost with it */
	bool low;          /* short of room */
};

static void forget_open(struct state_writer *w)
{
	w->began_ns = 0;
	w->entries = 0;
	for (uint32_t g = 0; g < w->o.groups; g++) {
		w->upto[g] = w->durable[g];
		w->replaced[g] = false;
	}
}

static void abort_open(struct state_writer *w)
{
	apply_abort(w->o.apply);
	forget_open(w);
}

static void tell_durable(struct state_writer *w)
{
	for (uint32_t g = 0; g < w->o.groups; g++) {
		if (w->upto[g] <= w->durable[g] && !w->replaced[g])
			continue;
		w->durable[g] = w->upto[g];
		progress_set_durable(w->o.progress, g, w->durable[g]);
		w->o.io->durable(w->o.io->arg, g, w->durable[g]);
	}
}

static int64_t open_time(int64_t commit_ns)
{
	int64_t ns = commit_ns * STATE_COMMIT_SHARE;
	if (ns < STATE_COMMIT_MS * NS_PER_MS)
		return STATE_COMMIT_MS * NS_PER_MS;
	return ns > STATE_COMMIT_MAX_MS * NS_PER_MS ? STATE_COMMIT_MAX_MS * NS_PER_MS : ns;
}

static void set_low(struct state_writer *w, bool low)
{
	if (low == w->low)
		return;
	w->low = low;
	w->o.io->low(w->o.io->arg, low);
}

/* Enough is twice as much as too little: a disk at the edge would make it come and go. */
static void look_for_room(struct state_writer *w)
{
	set_low(w, apply_take_room(w->o.apply, w->low ? 2 * STATE_ROOM_BYTES : STATE_ROOM_BYTES) != 0);
}

static int commit_open(struct state_writer *w)
{
	int64_t began = clock_mono_ns();
	int rc = apply_commit(w->o.apply);
	int64_t took_ns = clock_mono_ns() - began;
	w->open_ns = open_time(took_ns);
	stats_observe(w->o.commit_time, took_ns);
	if (!rc)
		return 0;
	if (rc != WEIR_EFULL)
		w->o.io->failed(w->o.io->arg, "state", rc);
	abort_open(w);
	set_low(w, true);
	return rc;
}

static void commit(struct state_writer *w)
{
	if (!commit_open(w)) {
		tell_durable(w);
		forget_open(w);
		return;
	}
	w->refuse_next = true;
	w->o.io->aborted(w->o.io->arg);
}

/* What a job has applied. */
static void note_applied(struct state_writer *w, const struct apply_job *job)
{
	for (size_t i = 0; i < job->done; i++) {
		const struct apply_item *item = &job->items[i];
		if (!item->index || item->bad)
			continue; /* part of a snapshot */
		w->upto[item->group] = item->index;
		w->replaced[item->group] |= item->step == APPLY_SNAPSHOT_END;
	}
	w->entries += job->done;
	if (!w->began_ns && apply_uncommitted(w->o.apply))
		w->began_ns = clock_mono_ns();
}

static int run_job(struct state_writer *w, struct apply_job *job)
{
	int rc = w->refuse_next ? WEIR_EFULL : apply_job_run(w->o.apply, job);
	w->refuse_next = false;
	if (!rc) {
		note_applied(w, job);
		return 0;
	}
	if (rc == WEIR_EFULL)
		set_low(w, true);
	else if (!job->corrupt && !job->outdated)
		w->o.io->failed(w->o.io->arg, "state", rc);
	abort_open(w);
	return rc;
}

/* What the state before a snapshot consists of goes page by page; were the process ended for that, it would begin with it again. */
static bool empties_state(const struct apply_job *job)
{
	bool empties = false;
	for (size_t i = 0; i < job->count && !empties; i++)
		empties = job->items[i].step == APPLY_SNAPSHOT_BEGIN;
	return empties;
}

static void apply_job(struct state_writer *w, struct apply_job *job)
{
	if (empties_state(job))
		queue_excuse(&w->queue, WRITERS_LONG_NS);
	look_for_room(w);
	if (w->low && w->began_ns)
		commit(w); /* what was told of, by itself: it has its room */
	int rc = run_job(w, job);
	if (!rc && !w->low && apply_take_room(w->o.apply, 0))
		set_low(w, true); /* it was larger than what is kept */
	bool alone = !rc && w->low && w->began_ns;
	if (alone)
		rc = commit_open(w);
	w->o.io->applied(w->o.io->arg, job, rc);
	if (alone && !rc) {
		tell_durable(w);
		forget_open(w);
	}
}

static bool reader_waits(struct state_writer *w)
{
	for (uint32_t g = 0; g < w->o.groups; g++)
		if (w->upto[g] > w->durable[g] && progress_wanted(w->o.progress, g, w->upto[g]))
			return true;
	return false;
}

static bool commit_is_due(struct state_writer *w, bool stopping)
{
	if (!w->began_ns)
		return false;
	return stopping || w->entries >= STATE_COMMIT_ENTRIES ||
	    clock_mono_ns() >= w->began_ns + w->open_ns || reader_waits(w);
}

static void *state_writer_run(void *arg)
{
	struct state_writer *w = arg;
	pthread_setname_np(pthread_self(), "state-writer");
	for (;;) {
		bool stopping;
		int64_t until = w->began_ns ? w->began_ns + w->open_ns : 0;
		if (!until && w->low)
			until = clock_mono_ns() + STATE_ROOM_MS * NS_PER_MS;
		struct apply_job *job = queue_take(&w->queue, until, &stopping);
		if (job)
			apply_job(w, job);
		else if (w->low)
			look_for_room(w);
		if (commit_is_due(w, stopping && !job))
			commit(w);
		if (!job && stopping)
			return NULL;
	}
}

struct state_writer *state_writer_start(const struct state_writer_options *o)
{
	struct state_writer *w = xcalloc(1, sizeof(*w));
	queue_init(&w->queue);
	w->o = *o;
	w->open_ns = open_time(0);
	w->upto = xcalloc(o->groups, sizeof(*w->upto));
	w->durable = xcalloc(o->groups, sizeof(*w->durable));
	w->replaced = xcalloc(o->groups, sizeof(*w->replaced));
	for (uint32_t g = 0; g < o->groups; g++) {
		uint64_t term;
		w->upto[g] = w->durable[g] = apply_applied(o->apply, g, &term);
		progress_set_durable(o->progress, g, w->durable[g]);
	}
	weir_assert(pthread_create(&w->thread, NULL, state_writer_run, w) == 0);
	return w;
}

void state_writer_add(struct state_writer *w, struct apply_job *job)
{
	queue_add(&w->queue, job);
}

void state_writer_wake(struct state_writer *w)
{
	queue_signal(&w->queue, false);
}

int64_t state_writer_busy_since(const struct state_writer *w)
{
	return atomic_load(&w->queue.busy_ns);
}

void state_writer_stop(struct state_writer *w)
{
	if (!w)
		return;
	queue_signal(&w->queue, true);
	pthread_join(w->thread, NULL);
	queue_end(&w->queue);
	free(w->upto);
	free(w->durable);
	free(w->replaced);
	free(w);
}
