/* Sources: where readings enter an edge. Each gives lines of line protocol, through a parser of its own, to the
 * callbacks of struct source_io, and knows nothing of what becomes of them.
 *
 * The life of a source: source_new -> source_restore (where there is a mark) -> source_start -> ... -> source_free. All on
 * the loop's thread. Work is done in bounded pieces per turn of the loop, so that timers and the uplink go on.
 *
 * A mark is the position in the input behind which nothing was given out yet: a line that came only in part lies
 * behind it. Whoever commits what the lines led to together with the mark, and gives the mark back after a crash, gets each
 * line exactly once from a source that can be read again (file, simulate). For tcp and stdin the mark is empty: what
 * was given out and not committed is lost with the process. */
#ifndef WEIR_EDGED_SOURCE_H
#define WEIR_EDGED_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/line.h"
#include "common/loop.h"
#include "common/model.h"

#define SOURCE_CHUNK_BYTES (64 * 1024)       /* one read */
#define SOURCE_TURN_BYTES (256 * 1024)       /* what a source reads at most in one turn of the loop, but for: */
#define SOURCE_TCP_SHARE_MIN_BYTES 4096      /* its connections share that, each has this at least */
#define SOURCE_TCP_CONNECTIONS_MAX 512       /* of one source; further ones are closed at once */
#define SOURCE_LOG_LINES_MAX 10              /* messages about the input logged per source and SOURCE_LOG_PERIOD */
#define SOURCE_LOG_PERIOD_NS (10 * NS_PER_SEC)

/* Refusals that are no reason of the parser: the connection broke within a line. */
#define SOURCE_REFUSED_TRUNCATED "truncated"

struct source;

/* Called from within the loop; none of them may free the source. */
struct source_io {
	void *arg;
	void (*line)(void *arg, const struct line *l); /* lives for the call; lazy (line.h) */
	void (*refuse)(void *arg, const char *reason); /* a bad line; the source logs it */
	void (*finished)(void *arg, bool finished);    /* will deliver no more, or does again */
};

struct source_counters {
	uint64_t bytes, lines, refused;
	uint64_t connections_open, connections_total, connections_refused; /* tcp */
};

/* conf and io's arg outlive the source; io is copied. Never fails. */
struct source *source_new(struct loop *l, const struct source_conf *conf, const struct source_io *io);
/* The mark of an earlier run; empty, or of another type of source: none. WEIR_ECORRUPT, WEIR_EVERSION: unusable; started
 * all the same it starts as new. */
int source_restore(struct source *s, struct bytes mark);
/* Begins to deliver (in later turns, not within the call). WEIR_EINVAL (configuration), WEIR_EBUSY (address in use),
 * WEIR_EIO; *ret_why is a text for people, the caller's to free. */
int source_start(struct source *s, char **ret_why);
/* Paused, it reads nothing and accepts no connections. Calls do not nest. */
void source_pause(struct source *s, bool paused);
/* Appends the mark: of what was given to io so far. */
void source_mark(struct source *s, struct buf *out);
/* What the last mark stood for is durable. */
void source_committed(struct source *s);
/* Forgets what it has not given out, and goes on with what comes from now on. */
void source_skip_to_end(struct source *s);
void source_free(struct source *s); /* NULL is fine */

/* The same configuration (reload_same_source) at another place, where that of before goes away. */
void source_set_conf(struct source *s, const struct source_conf *conf);

const struct source_conf *source_conf_of(const struct source *s);
void source_counters(const struct source *s, struct source_counters *ret);
/* tcp: the port it listens on, after source_start. */
uint16_t source_tcp_port(const struct source *s);

#endif
