/* The only file that includes uv.h.
 *
 * Drains and the end of the turn run in a prepare handle: after timers and (in the turn before) descriptors, right
 * before libuv computes how long it may wait. An active idle handle makes that time zero. */
#include "common/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <uv.h>

#include "common/err.h"

#define DRAINS_MAX 1024

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_idle_t idle; /* active: do not wait */
	loop_fn *turn_end;
	void *turn_end_arg;
	struct loop_drain *drains; /* list; freed ones leave it at the end of the turn */
	unsigned drain_count;
	bool draining;
	bool timing; /* a timer's callback runs */
};

struct loop_timer {
	uv_timer_t uv;
	loop_fn *fn;
	void *arg;
};

struct loop_signal {
	uv_signal_t uv;
	loop_fn *fn;
	void *arg;
};

/* Not uv_async_t: libuv's loop, once woken, spins until the thread that woke it has come back from the system call, and
 * on a busy machine that takes a while. */
struct loop_async {
	uv_poll_t uv;
	loop_fn *fn;
	void *arg;
	int fd; /* eventfd */
	atomic_bool sent; /* and fn not called yet */
};

struct loop_fd {
	uv_poll_t uv;
	loop_fd_fn *fn;
	void *arg;
};

struct loop_drain {
	uv_poll_t uv;
	struct loop *loop;
	loop_drain_fn *drain;
	loop_drain_fn *pending;
	void *arg;
	struct loop_drain *next;
	bool readable; /* since last asked */
	bool dead;
};

/* ---- closing: libuv keeps a handle until its close callback ---------------------------------------------------- */

static void free_closed(uv_handle_t *h)
{
	if (h->data)
		close(*(int *)h->data); /* a descriptor of ours, in the same struct */
	free(h); /* each struct of ours starts with its handle */
}

static void close_handle(uv_handle_t *h)
{
	if (!uv_is_closing(h))
		uv_close(h, free_closed);
}

/* ---- the turn ------------------------------------------------------------------------------------------------ */

static void unlink_dead(struct loop *l)
{
	for (struct loop_drain **at = &l->drains; *at;) {
		struct loop_drain *d = *at;
		if (!d->dead) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		l->drain_count--;
		close_handle((uv_handle_t *)&d->uv);
	}
}

static void on_idle(uv_idle_t *h)
{
	(void)h; /* it exists so that the loop does not wait */
}

static void on_prepare(uv_prepare_t *h)
{
	struct loop *l = h->data;
	bool more = false;
	l->draining = true;
	for (struct loop_drain *d = l->drains; d; d = d->next)
		if (!d->dead)
			more |= d->drain(d->arg);
	if (l->turn_end)
		l->turn_end(l->turn_end_arg);
	for (struct loop_drain *d = l->drains; d; d = d->next)
		if (!d->dead && d->pending)
			more |= d->pending(d->arg);
	l->draining = false;
	unlink_dead(l);
	if (more)
		uv_idle_start(&l->idle, on_idle);
	else
		uv_idle_stop(&l->idle);
	uv_update_time(&l->uv); /* how long it may wait is counted from here */
}

void loop_on_turn_end(struct loop *l, loop_fn *fn, void *arg)
{
	l->turn_end = fn;
	l->turn_end_arg = arg;
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

int loop_new(struct loop **ret_loop)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	if (uv_loop_init(&l->uv)) {
		free(l);
		return WEIR_EIO;
	}
	uv_prepare_init(&l->uv, &l->prepare);
	uv_idle_init(&l->uv, &l->idle);
	l->prepare.data = l;
	l->idle.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	*ret_loop = l;
	return 0;
}

static void close_any(uv_handle_t *h, void *arg)
{
	struct loop *l = arg;
	if (uv_is_closing(h))
		return;
	if (h == (uv_handle_t *)&l->prepare || h == (uv_handle_t *)&l->idle)
		uv_close(h, NULL);
	else
		close_handle(h);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	uv_walk(&l->uv, close_any, l);
	while (uv_run(&l->uv, UV_RUN_DEFAULT)) /* a loop_stop() just before ends the first at once */
		;
	weir_assert(uv_loop_close(&l->uv) == 0);
	free(l);
}

void loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

void loop_turn(struct loop *l, bool wait)
{
	uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

/* ---- timers -------------------------------------------------------------------------------------------------- */

static struct loop *loop_of(const uv_timer_t *h)
{
	return (struct loop *)h->loop; /* which starts with it */
}

static void on_timer(uv_timer_t *h)
{
	struct loop_timer *t = (struct loop_timer *)h;
	struct loop *l = loop_of(h);
	l->timing = true;
	t->fn(t->arg);
	l->timing = false;
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
	struct loop_timer *t = xcalloc(1, sizeof(*t));
	uv_timer_init(&l->uv, &t->uv);
	t->fn = fn;
	t->arg = arg;
	return t;
}

/* Before 1.45 libuv runs timers until none is due by the time that it knows, which it does not look at meanwhile. If that went on, two timers
 * whose callbacks take longer than they wait would take turns for ever, and nothing else would come. So it stays as it is, and what
 * a callback starts is due behind it: in the next turn at the earliest. */
static uint64_t behind_timers(const uv_loop_t *l, uint64_t after_ms)
{
	uint64_t now_ms = uv_hrtime() / 1000000, known_ms = uv_now(l);
	after_ms += now_ms > known_ms ? now_ms - known_ms : 0;
	return after_ms ? after_ms : 1;
}

void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
	uv_loop_t *l = t->uv.loop;
	if (loop_of(&t->uv)->timing)
		after_ms = behind_timers(l, after_ms);
	else
		uv_update_time(l); /* a long turn must not shorten the wait */
	uv_timer_start(&t->uv, on_timer, after_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
	uv_timer_stop(&t->uv);
}

void loop_timer_free(struct loop_timer *t)
{
	if (t)
		close_handle((uv_handle_t *)&t->uv);
}

/* ---- signals ------------------------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *h, int signum)
{
	(void)signum;
	struct loop_signal *s = (struct loop_signal *)h;
	s->fn(s->arg);
}

int loop_signal_new(struct loop *l, int signum, loop_fn *fn, void *arg, struct loop_signal **ret_signal)
{
	struct loop_signal *s = xcalloc(1, sizeof(*s));
	if (uv_signal_init(&l->uv, &s->uv)) {
		free(s);
		return WEIR_EIO;
	}
	s->fn = fn;
	s->arg = arg;
	if (uv_signal_start(&s->uv, on_signal, signum)) {
		close_handle((uv_handle_t *)&s->uv);
		return WEIR_EINVAL;
	}
	*ret_signal = s;
	return 0;
}

void loop_signal_free(struct loop_signal *s)
{
	if (s)
		close_handle((uv_handle_t *)&s->uv);
}

/* ---- wake-ups ------------------------------------------------------------------------------------------------ */

static void on_async(uv_poll_t *h, int status, int events)
{
	struct loop_async *a = (struct loop_async *)h;
	uint64_t count;
	(void)status;
	(void)events;
	while (read(a->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	/* Behind the read, before the call: what is sent from here on makes another one. An exchange, not a store, so that
	 * fn sees what went before a send that found the flag set. */
	(void)atomic_exchange(&a->sent, false);
	a->fn(a->arg);
}

struct loop_async *loop_async_new(struct loop *l, loop_fn *fn, void *arg)
{
	struct loop_async *a = loop_async_try(l, fn, arg);
	weir_assert(a); /* as the loop's own: no daemon starts without descriptors */
	return a;
}

struct loop_async *loop_async_try(struct loop *l, loop_fn *fn, void *arg)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	struct loop_async *a = xcalloc(1, sizeof(*a));
	a->fd = fd;
	weir_assert(uv_poll_init(&l->uv, &a->uv, a->fd) == 0);
	a->uv.data = &a->fd;
	a->fn = fn;
	a->arg = arg;
	uv_poll_start(&a->uv, UV_READABLE, on_async);
	return a;
}

void loop_async_send(struct loop_async *a)
{
	static const uint64_t one = 1;
	int err = errno; /* a signal handler's caller has its own */
	if (!atomic_exchange(&a->sent, true))
		while (write(a->fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	errno = err;
}

void loop_async_free(struct loop_async *a)
{
	if (a)
		close_handle((uv_handle_t *)&a->uv);
}

/* ---- descriptors --------------------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct loop_fd *f = (struct loop_fd *)h;
	unsigned mask = 0;
	/* An error condition is reported as what is watched: the read or write that follows tells it. */
	if (status || events & UV_READABLE)
		mask |= LOOP_READ;
	if (status || events & UV_WRITABLE)
		mask |= LOOP_WRITE;
	f->fn(f->arg, mask);
}

int loop_fd_new(struct loop *l, int fd, loop_fd_fn *fn, void *arg, struct loop_fd **ret_fd)
{
	struct loop_fd *f = xcalloc(1, sizeof(*f));
	if (uv_poll_init(&l->uv, &f->uv, fd)) {
		free(f);
		return WEIR_EINVAL;
	}
	f->fn = fn;
	f->arg = arg;
	*ret_fd = f;
	return 0;
}

void loop_fd_watch(struct loop_fd *f, unsigned events)
{
	int mask = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
	if (mask)
		uv_poll_start(&f->uv, mask, on_poll);
	else
		uv_poll_stop(&f->uv);
}

void loop_fd_free(struct loop_fd *f)
{
	if (f)
		close_handle((uv_handle_t *)&f->uv);
}

/* ---- drains -------------------------------------------------------------------------------------------------- */

static void on_drain_fd(uv_poll_t *h, int status, int events)
{
	(void)status; /* an error is told by asking, too */
	(void)events;
	((struct loop_drain *)h)->readable = true;
}

int loop_drain_new(struct loop *l, int fd, loop_drain_fn *drain, loop_drain_fn *pending, void *arg,
    struct loop_drain **ret_drain)
{
	if (l->drain_count >= DRAINS_MAX)
		return WEIR_EFULL;
	struct loop_drain *d = xcalloc(1, sizeof(*d));
	if (uv_poll_init(&l->uv, &d->uv, fd)) {
		free(d);
		return WEIR_EINVAL;
	}
	uv_poll_start(&d->uv, UV_READABLE, on_drain_fd);
	d->readable = true;
	d->loop = l;
	d->drain = drain;
	d->pending = pending;
	d->arg = arg;
	struct loop_drain **at = &l->drains;
	while (*at)
		at = &(*at)->next;
	*at = d;
	l->drain_count++;
	*ret_drain = d;
	return 0;
}

bool loop_drain_was_readable(struct loop_drain *d)
{
	bool was = d->readable;
	d->readable = false;
	return was;
}

void loop_drain_free(struct loop_drain *d)
{
	if (!d || d->dead)
		return;
	d->dead = true;
	uv_poll_stop(&d->uv);
	if (!d->loop->draining)
		unlink_dead(d->loop);
}
