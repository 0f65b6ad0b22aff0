/* The loop of a daemon: one thread, libuv beneath; timers, signals, descriptors, wake-ups from other threads, and
 * sources that must be asked rather than watched (ZeroMQ's descriptor is edge-triggered: an event that came while
 * nobody looked does not come again).
 *
 * One turn: timers -> descriptors, wake-ups, signals -> every drain is called -> the end-of-turn callback -> wait. The
 * loop does not wait while a drain says that it has more.
 *
 * All calls on the loop's thread, except loop_async_send() (any thread, also a signal handler). Everything made here
 * belongs to the loop: a free function ends the thing (its callback does not run again, the memory goes later, so it
 * may be called from any callback, its own included), and loop_free() ends what is left. */
#ifndef WEIR_COMMON_LOOP_H
#define WEIR_COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_signal;
struct loop_async;
struct loop_fd;
struct loop_drain;

typedef void loop_fn(void *arg);

/* WEIR_EIO: out of descriptors. */
int loop_new(struct loop **ret_loop);
void loop_free(struct loop *l);
/* Runs until loop_stop(). May be run again. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* One turn; waits for something to happen if `wait`. For tests and for shutting down. */
void loop_turn(struct loop *l, bool wait);

/* Called at the end of each turn, after all drains; NULL: none. */
void loop_on_turn_end(struct loop *l, loop_fn *fn, void *arg);

/* Times in milliseconds. A running timer is restarted. repeat_ms 0: once. What a timer's callback starts comes in the next turn at the
 * earliest, behind descriptors, drains and the end of this one. */
struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg);
void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

/* WEIR_EINVAL: the signal cannot be caught. */
int loop_signal_new(struct loop *l, int signum, loop_fn *fn, void *arg, struct loop_signal **ret_signal);
void loop_signal_free(struct loop_signal *s);

/* fn runs on the loop at least once after each send; sends before it ran are one. */
struct loop_async *loop_async_new(struct loop *l, loop_fn *fn, void *arg);
struct loop_async *loop_async_try(struct loop *l, loop_fn *fn, void *arg); /* NULL: no descriptor is left */
void loop_async_send(struct loop_async *a);
/* No other thread may be in, or come to, loop_async_send. */
void loop_async_free(struct loop_async *a);

/* Level-triggered. The descriptor stays the caller's, and must stay open until loop_fd_free(). */
enum loop_events { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_fd_fn(void *arg, unsigned events);
/* WEIR_EINVAL: a descriptor that cannot be polled (a plain file). Watches nothing until loop_fd_watch. */
int loop_fd_new(struct loop *l, int fd, loop_fd_fn *fn, void *arg, struct loop_fd **ret_fd);
void loop_fd_watch(struct loop_fd *f, unsigned events);
void loop_fd_free(struct loop_fd *f);

/* drain() is called in every turn, and a turn is made whenever fd becomes readable. It does a bounded piece of work
 * and returns true when there is more. pending() (may be NULL) tells at the very end of the turn, after the end-of-turn
 * callback, whether work came up meanwhile. */
typedef bool loop_drain_fn(void *arg);
int loop_drain_new(struct loop *l, int fd, loop_drain_fn *drain, loop_drain_fn *pending, void *arg,
    struct loop_drain **ret_drain);
/* Whether fd was readable at any time since this was last asked; true the first time. */
bool loop_drain_was_readable(struct loop_drain *d);
void loop_drain_free(struct loop_drain *d);

#endif
