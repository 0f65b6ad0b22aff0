#include "cloudd/zmq_publisher.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/keys.h"
#include "common/loop.h"
#include "common/msgq.h"

#define AGAIN_MS 2     /* between two tries while somebody has no room */
#define TURN_MAX 256   /* messages of one turn of the loop */
#define WAIT_NS (INT64_C(100) * 1000000) /* between two questions whether it is to stop */

struct zmq_publisher {
	struct loop *loop;
	struct keys *keys; /* NULL: none */
	struct msgq *msgq;
	struct msgq_socket *socket;
	struct loop_async *wake;
	struct loop_timer *again;
	pthread_t thread;
	void *arg;
	bool (*stopping)(void *arg);
	int64_t stalled_ns; /* since when somebody has no room; 0: all have. The thread's */
	pthread_mutex_t mutex;
	pthread_cond_t done;
	const struct zmq_message *job; /* under the mutex, as all below; NULL: there is none */
	size_t count, at;
	bool stop;
	uint64_t left_behind;
};

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

/* Somebody has no room, since a while. */
static bool is_patient(struct zmq_publisher *p)
{
	int64_t now_ns = clock_mono_ns();
	if (!p->stalled_ns)
		p->stalled_ns = now_ns;
	return now_ns - p->stalled_ns < ZMQ_PUBLISHER_PATIENCE_NS;
}

/* False: it is to be tried again in a while. */
static bool publish(struct zmq_publisher *p, const struct zmq_message *m)
{
	int rc = msgq_publish(p->socket, m->parts, ZMQ_PUBLISHER_PARTS, false);
	if (rc == WEIR_EBUSY && is_patient(p))
		return false;
	p->stalled_ns = 0;
	p->left_behind += rc != 0;
	if (rc == WEIR_EBUSY)
		(void)msgq_publish(p->socket, m->parts, ZMQ_PUBLISHER_PARTS, true);
	return true;
}

/* One after the other; what is left is for the next turn. */
static void work(void *arg)
{
	struct zmq_publisher *p = arg;
	pthread_mutex_lock(&p->mutex);
	bool taken = true;
	for (unsigned n = 0; n < TURN_MAX && p->job && taken; n++) {
		taken = publish(p, &p->job[p->at]);
		p->at += taken;
		if (p->at == p->count) {
			p->job = NULL;
			pthread_cond_signal(&p->done);
		}
	}
	if (p->stop)
		loop_stop(p->loop);
	else if (!taken)
		loop_timer_start(p->again, AGAIN_MS, 0);
	else if (p->job)
		loop_async_send(p->wake);
	pthread_mutex_unlock(&p->mutex);
}

static void *run(void *arg)
{
	struct zmq_publisher *p = arg;
	loop_run(p->loop);
	return NULL;
}

/* Signals are not for it. */
static int start_thread(struct zmq_publisher *p)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? WEIR_EFULL : 0;
}

/* ---- opening and closing ------------------------------------------------------------------------------------------- */

static void end(struct zmq_publisher *p)
{
	msgq_free(p->msgq);
	if (p->loop)
		loop_free(p->loop);
	keys_free(p->keys);
	pthread_mutex_destroy(&p->mutex);
	pthread_cond_destroy(&p->done);
	free(p);
}

static int open_keys(struct zmq_publisher *p, const struct zmq_publisher_options *o, char **ret_why)
{
	const struct keys_options k = {.dir = o->subscribers, .own_dir = o->keys_dir, .name = o->node, .arg = o->arg, .report = o->report};
	return o->keys_dir ? keys_open(&k, &p->keys, ret_why) : 0;
}

static int open_socket(struct zmq_publisher *p, const struct zmq_publisher_options *o, char **ret_why)
{
	int rc = loop_new(&p->loop);
	if (!rc)
		rc = msgq_new(p->loop, &(struct msgq_options){.keys = p->keys, .peers = ZMQ_PUBLISHER_SUBSCRIBERS_MAX}, &p->msgq);
	if (rc) {
		*ret_why = xasprintf("ZeroMQ: %s", err_text(rc));
		return rc;
	}
	p->wake = loop_async_new(p->loop, work, p);
	p->again = loop_timer_new(p->loop, work, p);
	return msgq_bind_publisher(p->msgq, o->address, &p->socket, ret_why);
}

int zmq_publisher_open(const struct zmq_publisher_options *o, struct zmq_publisher **ret_publisher, char **ret_why)
{
	struct zmq_publisher *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->done, &attr);
	pthread_condattr_destroy(&attr);
	p->arg = o->arg;
	p->stopping = o->stopping;
	int rc = open_keys(p, o, ret_why);
	if (!rc)
		rc = open_socket(p, o, ret_why);
	if (!rc && (rc = start_thread(p)))
		*ret_why = xstrdup("no thread can be had");
	if (rc)
		end(p);
	else
		*ret_publisher = p;
	return rc;
}

void zmq_publisher_free(struct zmq_publisher *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mutex);
	p->stop = true;
	pthread_mutex_unlock(&p->mutex);
	loop_async_send(p->wake);
	pthread_join(p->thread, NULL);
	end(p);
}

/* ---- for the other thread ------------------------------------------------------------------------------------------- */

static void wait_a_while(struct zmq_publisher *p)
{
	int64_t until_ns = clock_mono_ns() + WAIT_NS;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_cond_timedwait(&p->done, &p->mutex, &ts);
}

int zmq_publisher_send(struct zmq_publisher *p, const struct zmq_message *messages, size_t count)
{
	weir_assert(count);
	pthread_mutex_lock(&p->mutex);
	p->job = messages;
	p->count = count;
	p->at = 0;
	loop_async_send(p->wake);
	while (p->job && !p->stopping(p->arg))
		wait_a_while(p);
	int rc = p->job ? WEIR_ECLOSED : 0;
	p->job = NULL; /* the thread looks at it under the mutex only */
	pthread_mutex_unlock(&p->mutex);
	return rc;
}

void zmq_publisher_counts(struct zmq_publisher *p, struct zmq_publisher_counts *ret)
{
	struct msgq_counters c;
	msgq_counters(p->msgq, &c);
	*ret = (struct zmq_publisher_counts){.subscribers = c.connections, .refused = c.greedy};
	for (size_t i = 0; i < MSGQ_REFUSALS; i++)
		ret->refused += c.handshakes_refused[i];
	pthread_mutex_lock(&p->mutex);
	ret->left_behind = p->left_behind;
	pthread_mutex_unlock(&p->mutex);
}
