/* The pure part of an edge: intake -> steps -> slice -> spool -> uplink, wired in the order of the data.
 *
 * No clock, no randomness of its own, no sockets: time comes in as arguments, bytes leave through the callbacks of
 * struct pipeline_io, and disk is a struct kv. edged/edged.c joins it to sources, timers and ZeroMQ; tests/sim runs
 * many of them under a seeded clock, network and disk. One thread.
 *
 * The life of a reading: pipeline_line() takes one parsed line of a source, counts each of its readings as accepted or
 * refused, runs the steps of each stream that matches and adds the value to the open slice of its group. Each tick
 * pipeline_tick() commits one transaction to the spool (semantics.md 2): new batches, deltas, steps, marks. Only then
 * pipeline_io.committed() tells the sources, and batches become free to be sent. */
#ifndef WEIR_EDGED_PIPELINE_H
#define WEIR_EDGED_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/line.h"
#include "common/model.h"

/* The spool's databases, in this order, whatever kv implements them. */
enum spool_db { SPOOL_BATCH, SPOOL_DELTA, SPOOL_STEP, SPOOL_MARK, SPOOL_DBS };
extern const char *const spool_db_names[SPOOL_DBS];

struct pipeline;

struct pipeline_io {
	void *arg;
	/* Sends one frame to the current cloud; false: cannot now (it is tried again at the next tick). */
	bool (*send)(void *arg, const void *frame, size_t len);
	/* Drop the present connection and connect to topology cloud number `cloud`. */
	void (*connect)(void *arg, uint32_t cloud);
	/* Sources must stop (true) or may go on (false) delivering: disk limit, fenced for good. */
	void (*pause)(void *arg, bool paused);
	/* Source position of source number `source`, for the checkpoint that is being written: appended to out. What
	 * pipeline_line() has been given so far, and nothing later, lies before this position. */
	void (*mark)(void *arg, uint32_t source, struct buf *out);
	/* That checkpoint is durable. */
	void (*committed)(void *arg);
	/* Readmitted: sources start at their end. Called within a tick; by the first one where the process ended before the new
	 * positions were durable, so tick once before sources deliver. */
	void (*skip_to_end)(void *arg);
};

struct pipeline_time {
	int64_t wall_ns;
	int64_t mono_ns;
};

/* Opens the spool's state or makes a new one. random: 16 bytes for the first claim, and for later ones a seed.
 * *ret_why on error: text, the caller's to free. The spool stays the caller's, and must outlive the pipeline. */
int pipeline_open(const struct topology *t, uint32_t edge, struct kv *spool, const struct pipeline_io *io,
    const uint8_t random[16], struct pipeline_time now, struct pipeline **ret_pipeline, char **ret_why);
void pipeline_close(struct pipeline *p); /* frees; does not commit */

/* The position of a source as last committed; empty: none yet. Lives until the next tick. */
struct bytes pipeline_source_mark(const struct pipeline *p, uint32_t source);

/* One line of a source, as the parser gave it. Its strings need to live only for the call. */
void pipeline_line(struct pipeline *p, uint32_t source, const struct line *l, struct pipeline_time now);
/* A line that the parser refused: counted (one reading, refused{reason}). */
void pipeline_refuse(struct pipeline *p, uint32_t source, const char *reason);
/* The source will not deliver any more (end of a file, of stdin), or does again. */
void pipeline_source_finished(struct pipeline *p, uint32_t source, bool finished);

/* To be called each tick_ns, and at once when pipeline_wants_tick(). Commits, cuts, sends, reports. A negative result
 * (WEIR_EIO, WEIR_ECORRUPT) means that the disk cannot be trusted: stop the process. WEIR_EFULL is handled within. */
int pipeline_tick(struct pipeline *p, struct pipeline_time now);
bool pipeline_wants_tick(const struct pipeline *p);
/* A frame from the cloud, of any content. */
void pipeline_frame(struct pipeline *p, const void *frame, size_t len, struct pipeline_time now);
/* Between ticks, each PIPELINE_RETRY_MS: as uplink_retry. */
#define PIPELINE_RETRY_MS 100
void pipeline_retry(struct pipeline *p, bool can_send, struct pipeline_time now);
/* Commits all there is, flushing open slices only if `flush`; the pipeline stays usable. */
int pipeline_checkpoint(struct pipeline *p, bool flush, struct pipeline_time now);

/* Everything accepted is in batches and acknowledged. */
bool pipeline_drained(const struct pipeline *p);
bool pipeline_fenced(const struct pipeline *p, const char **ret_reason);

/* The ledger (semantics.md 6) and the state, for /metrics, the status line and the simulator's checks. Appends
 * Prometheus text (names weir_edge_...). */
void pipeline_metrics(const struct pipeline *p, struct buf *out);

struct pipeline_ledger {
	uint64_t read, accepted, refused;       /* readings: read = accepted + refused */
	uint64_t matched, aggregated, dropped;  /* summed over streams */
	uint64_t unmatched;
};
void pipeline_ledger(const struct pipeline *p, struct pipeline_ledger *ret);

#endif
