#include "cloudd/progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"

/* Read indexes of a group. A ticket is a round's number. Only the last outcome is kept: one that is later than a reader's
 * ticket was confirmed after that reader came, too. */
struct reads {
	uint64_t begun;   /* the last ticket that the loop took; readers who come now wait for the next one */
	uint64_t done;    /* the last one that came back; begun: none is under way */
	uint32_t waiting; /* readers of begun + 1 */
	bool ok;          /* of `done` */
	uint64_t index;
};

struct group {
	uint64_t committed, durable;
	uint64_t wanted; /* the highest index that a reader ever waited for */
	struct reads reads;
};

struct progress {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	pthread_cond_t read_done;
	pthread_cond_t stopping;
	void (*wake)(void *arg);
	void *arg;
	bool stopped;
	uint32_t count;
	struct group *groups;
	struct progress_reads reads;
};

struct progress *progress_new(uint32_t groups, void (*wake)(void *arg), void *arg)
{
	struct progress *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_cond_init(&p->read_done, &attr);
	pthread_cond_init(&p->stopping, &attr);
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
	pthread_cond_destroy(&p->read_done);
	pthread_cond_destroy(&p->stopping);
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

/* timeout_ns from now, of the monotonic clock. */
static struct timespec until(int64_t timeout_ns)
{
	int64_t at = clock_mono_ns() + (timeout_ns > 0 ? timeout_ns : 0);
	return (struct timespec){(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)};
}

int progress_wait(struct progress *p, uint32_t group, uint64_t index, int64_t timeout_ns)
{
	struct timespec ts = until(timeout_ns);
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

int progress_pause(struct progress *p, int64_t ns)
{
	struct timespec ts = until(ns);
	int rc = 0;
	pthread_mutex_lock(&p->mutex);
	while (!p->stopped && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->stopping, &p->mutex, &ts);
	int code = p->stopped ? WEIR_ECLOSED : 0;
	pthread_mutex_unlock(&p->mutex);
	return code;
}

/* ---- read indexes ------------------------------------------------------------------------------------------------ */

/* A reader of `ticket` that did not see it done leaves. */
static int leave(struct progress *p, struct reads *r, uint64_t ticket)
{
	if (r->begun < ticket)
		r->waiting--;
	if (p->stopped)
		return WEIR_ECLOSED;
	p->reads.timeouts++;
	return WEIR_ETIMEOUT;
}

static int outcome(struct progress *p, const struct reads *r, int64_t began_ns, uint64_t *ret_index)
{
	if (!r->ok) {
		p->reads.refused++;
		return WEIR_ENOTLEADER;
	}
	p->reads.ok++;
	p->reads.wait_ns += (uint64_t)(clock_mono_ns() - began_ns);
	*ret_index = r->index;
	return 0;
}

int progress_read_index(struct progress *p, uint32_t group, int64_t timeout_ns, uint64_t *ret_index)
{
	int64_t began_ns = clock_mono_ns();
	struct timespec ts = until(timeout_ns);
	struct reads *r = &lock_group(p, group)->reads;
	uint64_t ticket = r->begun + 1;
	p->reads.waiting++;
	bool must_wake = !r->waiting++ && r->done == r->begun; /* else the first one, or the round's end, does it */
	pthread_mutex_unlock(&p->mutex);
	if (must_wake)
		p->wake(p->arg);
	pthread_mutex_lock(&p->mutex);
	int rc = 0;
	while (r->done < ticket && !p->stopped && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->read_done, &p->mutex, &ts);
	p->reads.waiting--;
	int code = r->done < ticket ? leave(p, r, ticket) : outcome(p, r, began_ns, ret_index);
	pthread_mutex_unlock(&p->mutex);
	return code;
}

bool progress_read_begin(struct progress *p, uint32_t group, uint64_t *ret_ticket)
{
	struct reads *r = &lock_group(p, group)->reads;
	bool begins = r->waiting && r->done == r->begun && !p->stopped;
	if (begins) {
		r->waiting = 0;
		*ret_ticket = ++r->begun;
		p->reads.begun++;
	}
	pthread_mutex_unlock(&p->mutex);
	return begins;
}

void progress_read_done(struct progress *p, uint32_t group, uint64_t ticket, bool ok, uint64_t index)
{
	struct reads *r = &lock_group(p, group)->reads;
	bool counts = ticket == r->begun && r->done < ticket; /* not of a round before, told twice */
	if (counts) {
		r->done = ticket;
		r->ok = ok;
		r->index = index;
		pthread_cond_broadcast(&p->read_done);
	}
	bool must_wake = counts && r->waiting && !p->stopped;
	pthread_mutex_unlock(&p->mutex);
	if (must_wake)
		p->wake(p->arg);
}

void progress_reads(struct progress *p, struct progress_reads *ret)
{
	pthread_mutex_lock(&p->mutex);
	*ret = p->reads;
	pthread_mutex_unlock(&p->mutex);
}

/* ---- end ----------------------------------------------------------------------------------------------------------- */

void progress_stop(struct progress *p)
{
	pthread_mutex_lock(&p->mutex);
	p->stopped = true;
	pthread_cond_broadcast(&p->changed);
	pthread_cond_broadcast(&p->read_done);
	pthread_cond_broadcast(&p->stopping);
	pthread_mutex_unlock(&p->mutex);
}
