#include "cloudd/progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"

struct group {
	uint64_t committed, durable;
	uint64_t wanted; /* the highest index that a reader ever waited for */
};

struct progress {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	void (*wake)(void *arg);
	void *arg;
	bool stopped;
	uint32_t count;
	struct group *groups;
};

struct progress *progress_new(uint32_t groups, void (*wake)(void *arg), void *arg)
{
	struct progress *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&p->mutex, NULL);
	p->wake = wake;
	p->arg = arg;
	p->count = groups;
	p->groups = xcalloc(groups, sizeof(*p->groups));
	return p;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->mutex);
	free(p->groups);
	free(p);
}

static struct group *lock_group(struct progress *p, uint32_t group)
{
	weir_assert(group < p->count);
	pthread_mutex_lock(&p->mutex);
	return &p->groups[group];
}

void progress_set_committed(struct progress *p, uint32_t group, uint64_t index)
{
	struct group *g = lock_group(p, group);
	if (index > g->committed)
		g->committed = index;
	pthread_mutex_unlock(&p->mutex);
}

void progress_set_durable(struct progress *p, uint32_t group, uint64_t index)
{
	struct group *g = lock_group(p, group);
	if (index > g->durable) {
		g->durable = index;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->mutex);
}

uint64_t progress_committed(struct progress *p, uint32_t group)
{
	uint64_t index = lock_group(p, group)->committed;
	pthread_mutex_unlock(&p->mutex);
	return index;
}

uint64_t progress_durable(struct progress *p, uint32_t group)
{
	uint64_t index = lock_group(p, group)->durable;
	pthread_mutex_unlock(&p->mutex);
	return index;
}

int progress_wait(struct progress *p, uint32_t group, uint64_t index, int64_t timeout_ns)
{
	int64_t until = clock_mono_ns() + timeout_ns;
	struct timespec ts = {(time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC)};
	struct group *g = lock_group(p, group);
	bool must_wait = g->durable < index;
	if (must_wait && index > g->wanted)
		g->wanted = index;
	pthread_mutex_unlock(&p->mutex);
	if (!must_wait)
		return 0;
	p->wake(p->arg);
	pthread_mutex_lock(&p->mutex);
	int rc = 0;
	while (g->durable < index && !p->stopped && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->changed, &p->mutex, &ts);
	int code = g->durable >= index ? 0 : p->stopped ? WEIR_ECLOSED : WEIR_ETIMEOUT;
	pthread_mutex_unlock(&p->mutex);
	return code;
}

bool progress_wanted(struct progress *p, uint32_t group, uint64_t applied)
{
	const struct group *g = lock_group(p, group);
	bool wanted = g->wanted > g->durable && applied >= g->wanted;
	pthread_mutex_unlock(&p->mutex);
	return wanted;
}

void progress_stop(struct progress *p)
{
	pthread_mutex_lock(&p->mutex);
	p->stopped = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
}
