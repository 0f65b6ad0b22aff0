#include "edged/local_worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"

#define NICE 10

struct list {
	struct local_job *first, **end;
	unsigned count;
};

struct local_worker {
	struct loop_async *async;
	void (*done)(void *arg, struct local_job *job);
	void *arg;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* any of: */
	struct kv *spool;
	struct list waiting, ready;
	struct local_job *working;
	bool reading;           /* it has a transaction */
	bool stop;
	atomic_bool held;       /* looked at without the mutex, too */
	int64_t deadline_ns;    /* the thread's */
};

/* ---- jobs ------------------------------------------------------------------------------------------------------ */

struct local_job *local_job_new(const struct topology *t, struct query_args *args)
{
	struct local_job *job = xcalloc(1, sizeof(*job));
	job->topology = topology_hold(t);
	job->watermark_ns = xcalloc(args->version_count, sizeof(job->watermark_ns[0]));
	job->view.watermark_ns = job->watermark_ns;
	local_query_init(&job->query, t, args);
	return job;
}

void local_job_free(struct local_job *job)
{
	if (!job)
		return;
	local_query_clear(&job->query);
	buf_free(&job->answer);
	free(job->watermark_ns);
	topology_free(job->topology);
	free(job);
}

void local_worker_drop(struct local_job *job)
{
	atomic_store(&job->dropped, true);
}

static void list_init(struct list *l)
{
	*l = (struct list){.end = &l->first};
}

static void list_add(struct list *l, struct local_job *job)
{
	job->next = NULL;
	*l->end = job;
	l->end = &job->next;
	l->count++;
}

static void list_put_back(struct list *l, struct local_job *job)
{
	job->next = l->first;
	if (!l->first)
		l->end = &job->next;
	l->first = job;
	l->count++;
}

static struct local_job *list_take(struct list *l)
{
	struct local_job *job = l->first;
	if (!job)
		return NULL;
	l->first = job->next;
	if (!l->first)
		l->end = &l->first;
	l->count--;
	return job;
}

/* ---- the thread ------------------------------------------------------------------------------------------------ */

static int look(void *arg)
{
	struct local_worker *w = arg;
	if (atomic_load(&w->held) || atomic_load(&w->working->dropped))
		return WEIR_EBUSY;
	return clock_mono_ns() > w->deadline_ns ? WEIR_ETIMEOUT : 0;
}

static void read_spool(struct local_worker *w, struct local_job *job)
{
	const struct local_look l = {look, w};
	struct kv_txn *txn;
	w->deadline_ns = clock_mono_ns() + LOCAL_TIME_MAX_NS;
	job->rc = kv_begin(w->spool, false, &txn);
	if (job->rc)
		return;
	job->rc = local_query_run(&job->query, txn, &l);
	kv_abort(txn);
}

/* The next job, once there is one that may be worked at; NULL: it is to end. The mutex is held. */
static struct local_job *next_job(struct local_worker *w)
{
	while (!w->stop && (!w->waiting.first || atomic_load(&w->held)))
		pthread_cond_wait(&w->changed, &w->mutex);
	return w->stop ? NULL : list_take(&w->waiting);
}

/* The mutex is held, but not while it works. */
static void work(struct local_worker *w, struct local_job *job)
{
	w->working = job;
	w->reading = true;
	pthread_mutex_unlock(&w->mutex);
	read_spool(w, job);
	pthread_mutex_lock(&w->mutex);
	w->reading = false;
	pthread_cond_broadcast(&w->changed);
	bool again = job->rc == WEIR_EBUSY && atomic_load(&w->held) && !atomic_load(&job->dropped);
	if (again) {
		w->working = NULL;
		list_put_back(&w->waiting, job);
		return;
	}
	pthread_mutex_unlock(&w->mutex);
	if (!job->rc)
		local_query_put(&job->query, &job->view, &job->answer);
	pthread_mutex_lock(&w->mutex);
	w->working = NULL;
	list_add(&w->ready, job);
	loop_async_send(w->async);
}

static void *run(void *arg)
{
	struct local_worker *w = arg;
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); /* of this thread alone, on Linux; if not, so be it */
	pthread_mutex_lock(&w->mutex);
	for (struct local_job *job; (job = next_job(w));)
		work(w, job);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------------------------- */

static void on_ready(void *arg)
{
	struct local_worker *w = arg;
	for (;;) {
		pthread_mutex_lock(&w->mutex);
		struct local_job *job = list_take(&w->ready);
		pthread_mutex_unlock(&w->mutex);
		if (!job)
			return;
		w->done(w->arg, job);
	}
}

int local_worker_new(struct loop *l, struct kv *spool, void (*done)(void *arg, struct local_job *job), void *arg,
    struct local_worker **ret_worker)
{
	struct local_worker *w = xcalloc(1, sizeof(*w));
	w->spool = spool;
	w->done = done;
	w->arg = arg;
	list_init(&w->waiting);
	list_init(&w->ready);
	w->async = loop_async_new(l, on_ready, w);
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	if (pthread_create(&w->thread, NULL, run, w)) {
		w->stop = true;
		loop_async_free(w->async);
		pthread_cond_destroy(&w->changed);
		pthread_mutex_destroy(&w->mutex);
		free(w);
		return WEIR_EIO;
	}
	*ret_worker = w;
	return 0;
}

static void give_back(struct local_worker *w, struct list *l)
{
	for (struct local_job *job; (job = list_take(l));) {
		job->rc = WEIR_EBUSY;
		w->done(w->arg, job);
	}
}

void local_worker_free(struct local_worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->mutex);
	w->stop = true;
	atomic_store(&w->held, true);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	loop_async_free(w->async);
	give_back(w, &w->waiting);
	give_back(w, &w->ready);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

int local_worker_give(struct local_worker *w, struct local_job *job)
{
	pthread_mutex_lock(&w->mutex);
	bool full = w->waiting.count >= LOCAL_JOBS_MAX;
	if (!full) {
		list_add(&w->waiting, job);
		pthread_cond_broadcast(&w->changed);
	}
	pthread_mutex_unlock(&w->mutex);
	return full ? WEIR_EBUSY : 0;
}

void local_worker_hold(struct local_worker *w)
{
	atomic_store(&w->held, true);
	pthread_mutex_lock(&w->mutex);
	while (w->reading)
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}

void local_worker_go(struct local_worker *w, struct kv *spool)
{
	pthread_mutex_lock(&w->mutex);
	w->spool = spool;
	atomic_store(&w->held, false);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
}
