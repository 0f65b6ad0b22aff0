/* Sources: where readings enter an edge. Each gives lines of line protocol, through a parser of its own, to the
 * callbacks of struct source_io, and knows nothing of what becomes of them.
 *
 * The life of a source: source_new -> source_restore (where there is a mark) -> source_start -> ... -> source_free. All on
 * the loop's thread. Work is done in bounded pieces per turn of the loop, so that timers and the uplink go on.
 *
 * A mark is the position in the input behind which nothing was given out yet: a line that came only in part lies
 * behind it. Whoever commits what the lines led to together with the mark, and gives the mark back after a crash, gets each
 * line exactly once from a source that can be read again (file, simulate). For sockets and stdin the mark is empty: what
 * was given out and not committed is lost with the process. (statsd's holds what its gauges stand at.) */
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
#define SOURCE_COMMIT_MS 10                  /* from want_commit to the commit, where commits take less than that */
#define SOURCE_COMMIT_MS_MAX 200             /* ... and where they take longer: as long as the last one, but no longer */
#define SOURCE_LOG_LINES_MAX 10              /* messages about the input logged per source and SOURCE_LOG_PERIOD */
#define SOURCE_LOG_PERIOD_NS (10 * NS_PER_SEC)

/* Refusals that are no reason of the parser: the connection broke within a line, or a datagram was cut. */
#define SOURCE_REFUSED_TRUNCATED "truncated"

struct source;

/* Called from within the loop; none of them may free the source. */
struct source_io {
	void *arg;
	/* Whose source it is, and its data folder; for the life of the source. NULL: none (tests). */
	const char *edge, *data;
	/* l lives for the call; lazy (line.h). NULL, or why it was refused after all: a label, static. */
	const char *(*line)(void *arg, const struct line *l);
	void (*refuse)(void *arg, const char *reason); /* a bad line; the source logs it */
	void (*finished)(void *arg, bool finished);    /* will deliver no more, or does again */
	/* A sender waits for an answer: a commit should come within SOURCE_COMMIT_MS, or as soon as the disk allows, instead of
	 * with the next tick. NULL: the tick it is. */
	void (*want_commit)(void *arg);
};

struct source_counters {
	uint64_t bytes, lines, refused;
	uint64_t connections_open, connections_total, connections_refused; /* of a source that has connections */
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
/* One turn's worth of what has come already, and waits in the kernel to be read: for a source that is about to be closed, before the
 * checkpoint. Whether there may be more. */
bool source_drain(struct source *s);
/* Appends the mark: of what was given to io so far. */
void source_mark(struct source *s, struct buf *out);
/* What the last mark stood for is durable. */
void source_committed(struct source *s);
/* Forgets what it has not given out, and goes on with what comes from now on. */
void source_skip_to_end(struct source *s);
void source_free(struct source *s); /* NULL is fine */

/* The same configuration (source_conf_same) at another place, where that of before goes away. */
void source_set_conf(struct source *s, const struct source_conf *conf);

const struct source_conf *source_conf_of(const struct source *s);
void source_counters(const struct source *s, struct source_counters *ret);
/* Appends what they count as Prometheus text, weir_edge_source_...; NULLs among them (not open) count as 0. confs: of each. */
void sources_put_metrics(struct source *const *sources, const struct source_conf *confs, size_t count, struct buf *out);
/* tcp, udp, statsd: the port it listens on, after source_start; 0: it has none. */
uint16_t source_port(const struct source *s);

#endif
