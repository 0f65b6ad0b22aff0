#include "cloudd/rpc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/links.h"
#include "common/clock.h"
#include "common/err.h"

struct rpc_call {
	uint64_t req_id;
	uint32_t node;
	int64_t until_ns;
	int64_t away_ns; /* while it is not sent */
	struct buf frame; /* to be sent; freed once it is */
	bool sent, done;
	int rc;
	struct msg reply; /* where done and rc is 0 */
	pthread_cond_t changed;
	struct rpc_call *next;
};

struct rpc {
	struct rpc_options o;
	struct loop_async *async;
	struct loop_timer *retry;
	struct links *links;
	char *name; /* this node's */
	pthread_mutex_t mutex;
	struct rpc_call *calls; /* all that are not finished */
	unsigned call_count;
	uint64_t next_id;
	bool stopped;
};

static void call_done(struct rpc_call *c, int rc)
{
	c->done = true;
	c->rc = rc;
	pthread_cond_signal(&c->changed);
}

/* ---- on the loop --------------------------------------------------------------------------------------------- */

static void send_all(struct rpc *r)
{
	bool again = false;
	pthread_mutex_lock(&r->mutex);
	for (struct rpc_call *c = r->calls; c; c = c->next) {
		if (c->sent || c->done)
			continue;
		int rc = links_send(r->links, c->node, c->frame.data, c->frame.len);
		if (rc == WEIR_ENOTFOUND) {
			call_done(c, WEIR_ECLOSED);
			continue;
		}
		if (rc) {
			again = true;
			continue;
		}
		c->sent = true;
		buf_free(&c->frame);
	}
	pthread_mutex_unlock(&r->mutex);
	if (again)
		loop_timer_start(r->retry, RPC_RETRY_MS, 0);
}

static void on_wake(void *arg)
{
	send_all(arg);
}

static void on_frame(void *arg, uint32_t node, const void *frame, size_t len)
{
	(void)node;
	struct rpc *r = arg;
	struct msg m;
	if (msg_decode(frame, len, &m))
		return;
	pthread_mutex_lock(&r->mutex);
	struct rpc_call *c = r->calls;
	while (c && (c->req_id != m.req_id || c->done || !c->sent))
		c = c->next;
	if (c) {
		c->reply = m;
		call_done(c, 0);
	}
	pthread_mutex_unlock(&r->mutex);
	if (!c)
		msg_clear(&m);
}

int rpc_new(const struct rpc_options *o, struct rpc **ret_rpc, char **ret_why)
{
	struct rpc *r = xcalloc(1, sizeof(*r));
	r->o = *o;
	r->next_id = o->seed | 1;
	pthread_mutex_init(&r->mutex, NULL);
	r->name = xstrdup(o->topology->clouds[o->self].name);
	r->links = links_new(o->msgq, o->self, on_frame, r);
	r->async = loop_async_new(o->loop, on_wake, r);
	r->retry = loop_timer_new(o->loop, on_wake, r);
	int rc = links_set_topology(r->links, o->topology, ret_why);
	if (rc) {
		rpc_free(r);
		return rc;
	}
	*ret_rpc = r;
	return 0;
}

int rpc_set_topology(struct rpc *r, const struct topology *t, char **ret_why)
{
	return links_set_topology(r->links, t, ret_why);
}

void rpc_stop(struct rpc *r)
{
	pthread_mutex_lock(&r->mutex);
	r->stopped = true;
	for (struct rpc_call *c = r->calls; c; c = c->next)
		if (!c->done)
			call_done(c, WEIR_ECLOSED);
	pthread_mutex_unlock(&r->mutex);
}

void rpc_free(struct rpc *r)
{
	if (!r)
		return;
	weir_assert(!r->calls);
	links_free(r->links);
	loop_async_free(r->async);
	loop_timer_free(r->retry);
	pthread_mutex_destroy(&r->mutex);
	free(r->name);
	free(r);
}

/* ---- on the asking thread -------------------------------------------------------------------------------------- */

struct rpc_call *rpc_start(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns)
{
	return rpc_start_if_there(r, node, m, timeout_ns, timeout_ns);
}

struct rpc_call *rpc_start_if_there(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns, int64_t away_ns)
{
	weir_assert(node < CLOUDS_MAX && node != r->o.self);
	struct rpc_call *c = xcalloc(1, sizeof(*c));
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	c->node = node;
	int64_t now_ns = clock_mono_ns();
	c->until_ns = now_ns + timeout_ns;
	c->away_ns = now_ns + (away_ns < timeout_ns ? away_ns : timeout_ns);

	uint8_t id[CLUSTER_ID_BYTES];
	struct msg out = *m;
	out.from = r->name;
	out.cluster_id = bytes_of(id, r->o.cluster_id(r->o.arg, id) ? CLUSTER_ID_BYTES : 0);
	pthread_mutex_lock(&r->mutex);
	out.req_id = c->req_id = r->next_id++;
	if (!r->next_id)
		r->next_id = 1;
	int rc = r->stopped ? WEIR_ECLOSED : r->call_count >= RPC_CALLS_MAX ? WEIR_EBUSY : msg_encode(&out, &c->frame);
	if (rc)
		call_done(c, rc);
	c->next = r->calls;
	r->calls = c;
	r->call_count++;
	pthread_mutex_unlock(&r->mutex);
	if (!rc)
		loop_async_send(r->async);
	return c;
}

static void unlink_call(struct rpc *r, struct rpc_call *c)
{
	struct rpc_call **at = &r->calls;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	r->call_count--;
}

static void call_free(struct rpc_call *c)
{
	buf_free(&c->frame);
	pthread_cond_destroy(&c->changed);
	free(c);
}

/* Under the mutex. True: the call is over. */
static bool wait_until(struct rpc *r, struct rpc_call *c, int64_t until_ns)
{
	for (;;) {
		int64_t end_ns = c->sent || c->done ? c->until_ns : c->away_ns;
		int64_t now_ns = clock_mono_ns();
		if (!c->done && now_ns >= end_ns)
			call_done(c, WEIR_ETIMEOUT);
		if (c->done)
			return true;
		if (now_ns >= until_ns)
			return false;
		end_ns = end_ns < until_ns ? end_ns : until_ns;
		struct timespec ts = {(time_t)(end_ns / NS_PER_SEC), (long)(end_ns % NS_PER_SEC)};
		pthread_cond_timedwait(&c->changed, &r->mutex, &ts);
	}
}

int rpc_wait(struct rpc *r, struct rpc_call *c, int64_t ns)
{
	int64_t until_ns = clock_mono_ns() + ns;
	pthread_mutex_lock(&r->mutex);
	bool over = wait_until(r, c, until_ns);
	pthread_mutex_unlock(&r->mutex);
	return over ? 0 : WEIR_ETIMEOUT;
}

int rpc_finish(struct rpc *r, struct rpc_call *c, struct msg *ret_reply)
{
	pthread_mutex_lock(&r->mutex);
	wait_until(r, c, INT64_MAX);
	unlink_call(r, c);
	pthread_mutex_unlock(&r->mutex);
	int rc = c->rc;
	if (!rc)
		*ret_reply = c->reply;
	if (rc == WEIR_ETIMEOUT)
		stats_add(r->o.timeouts, 1);
	call_free(c);
	return rc;
}

void rpc_cancel(struct rpc *r, struct rpc_call *c)
{
	pthread_mutex_lock(&r->mutex);
	unlink_call(r, c);
	pthread_mutex_unlock(&r->mutex);
	if (c->done && !c->rc)
		msg_clear(&c->reply);
	call_free(c);
}
