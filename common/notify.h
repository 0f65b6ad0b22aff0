/* Tells the service manager (systemd) how this daemon is: ready, reloading, stopping, alive; and a line for people. The protocol of
 * sd_notify(3) is datagrams of NAME=value lines on the AF_UNIX socket that $NOTIFY_SOCKET names ("@" in front: an abstract one), so no
 * library is needed.
 *
 * Nothing here blocks, and nothing fails: without a service manager every call does nothing, and what one that is busy does not
 * take now (but for extensions) goes with the next notify_turn(). All calls on one thread; NULL is a notify that nobody listens to. */
#ifndef WEIR_COMMON_NOTIFY_H
#define WEIR_COMMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_STATUS_MAX 256                          /* bytes; what is longer is cut */
#define NOTIFY_STATUS_NS INT64_C(1000000000)           /* between two */
#define NOTIFY_LONG_NS (INT64_C(900) * 1000000000)     /* that one step of opening or closing may take */

struct notify;

/* Reads $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, and takes them out of the environment: they are meant for this process, not
 * for programs that it starts. Before threads are started. NULL where there is nobody to tell. */
struct notify *notify_open(void);
void notify_close(struct notify *n);
/* How often the service manager wants to hear of this process; 0: it does not watch. */
int64_t notify_watchdog_ns(const struct notify *n);

/* It serves; also once a reload, or opening again, is done. The status is what it waits for, or how it is. */
void notify_ready(struct notify *n);
/* Its configuration is read again, until notify_ready(). mono_ns: clock_mono_ns(). */
void notify_reloading(struct notify *n, int64_t mono_ns);
/* For good. */
void notify_stopping(struct notify *n);
/* One line for people (control characters become spaces); sent where it has changed, NOTIFY_STATUS_NS apart. */
void notify_status(struct notify *n, const char *text, int64_t mono_ns);
/* A step begins that may take so long: neither starting, stopping nor the watchdog is over before. */
void notify_extend(struct notify *n, int64_t ns);
/* To be called often, each 100 ms or so: sends what is due. alive: there was progress, which is what the watchdog is fed by: a quarter of its time apart, and
 * not before notify_ready(). */
void notify_turn(struct notify *n, bool alive, int64_t mono_ns);

#endif
