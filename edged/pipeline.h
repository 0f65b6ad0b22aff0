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
	/* Readmitted, or the spool has lost what it depends on (pipeline_gave_up): sources start at their end. Called within a tick; by
	 * the first one where the process ended before the new positions were durable, so tick once before sources deliver. */
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

/* ---- the cluster map (common/map.h) ------------------------------------------------------------------------------
 *
 * All that the pipeline knows is in the spool. So it goes over to another topology by one checkpoint that stores the map with
 * everything else, and by being opened again from there: whatever ends the process, the spool holds either map with the state
 * that goes with it.
 *
 *     cloud tells of a later map --> offered --> (who wires it makes a topology) --> pipeline_store_map --> pipeline_keep -->
 *     pipeline_reopen
 */

/* The map that the cloud has sent, later than the present one; its bytes are not checked. False: none. Lives until the next
 * frame. */
bool pipeline_map_offered(const struct pipeline *p, struct bytes *ret_map);
/* It cannot be used: counted, and asked for again later. */
void pipeline_map_refused(struct pipeline *p, struct pipeline_time now);
/* It will be stored: not offered again. */
void pipeline_map_taken(struct pipeline *p);
/* A checkpoint of everything, with this map (empty: none, a file is gone by). Nothing may be read and no frame taken between it and
 * pipeline_keep(). WEIR_EFULL, WEIR_EBUSY: not now, nothing was stored; at the next tick perhaps. Others as pipeline_tick. */
int pipeline_store_map(struct pipeline *p, struct bytes map, struct pipeline_time now);
/* This edge is not in the map of this version: it reads nothing until a later one has it again. As pipeline_store_map, but the
 * pipeline goes on with the map that it has. */
int pipeline_remove(struct pipeline *p, uint64_t version, struct pipeline_time now);
bool pipeline_removed(const struct pipeline *p);
bool pipeline_paused(const struct pipeline *p);

/* What goes from one to the next: the connection with all that is under way, what is known of sources, counts. */
struct pipeline_kept;
/* Closes p. */
struct pipeline_kept *pipeline_keep(struct pipeline *p);
void pipeline_kept_free(struct pipeline_kept *kept); /* where it is not opened again */
/* from: of each source of the edge in t, the number of the same one before, or UINT32_MAX. Takes over kept, also on error.
 * The cluster's name and number of shards are as before. io as for pipeline_open; pause() is not
 * called again: pipeline_paused() says whether new sources must wait too. */
int pipeline_reopen(const struct topology *t, uint32_t edge, struct kv *spool, const struct pipeline_io *io,
    struct pipeline_kept *kept, const uint32_t *from, struct pipeline_time now, struct pipeline **ret_pipeline, char **ret_why);
/* The map in a spool that is not open; appended. WEIR_ENOTFOUND: none. */
int pipeline_peek_map(struct kv *spool, struct buf *ret_map);

/* Since it was opened: marks of the spool were damaged, both copies (spool.h), so it gave up what it held. */
bool pipeline_gave_up(const struct pipeline *p);

/* The position of a source as last committed; empty: none yet. Lives until the next tick. */
struct bytes pipeline_source_mark(const struct pipeline *p, uint32_t source);

/* One line of a source, as the parser gave it. Its strings need to live only for the call. NULL, or why it was refused with all its
 * readings: a label, static. */
const char *pipeline_line(struct pipeline *p, uint32_t source, const struct line *l, struct pipeline_time now);
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
bool pipeline_refused(const struct pipeline *p); /* uplink_refused() */

/* The ledger (semantics.md 6) and the state, for /metrics, the status line and the simulator's checks. Appends
 * Prometheus text (names weir_edge_...). */
void pipeline_metrics(const struct pipeline *p, struct buf *out);

/* For what this edge says of its own readings (local_query.h): up to where event time has come here for a version of a stream. Windows
 * that end by then get nothing more that is in time; INT64_MAX: the version is not fed, none gets anything; WATERMARK_NONE: nothing was read
 * yet. Other than the committed watermark nothing that waits to be acknowledged holds it back. It may fall where a source that was idle
 * reads again. *ret_idle: no source has anything to say at present. */
int64_t pipeline_event_watermark(const struct pipeline *p, const char *stream, uint32_t version, bool *ret_idle);
/* Readings of the stream, all versions, that partials hold, be they committed or not, or acknowledged. */
uint64_t pipeline_aggregated(const struct pipeline *p, const char *stream);

/* Of the spool, as of the last checkpoint, for what the clouds have not acknowledged: all that is in use there; 0: nothing waits. */
uint64_t pipeline_spool_bytes(const struct pipeline *p);

struct pipeline_ledger {
	uint64_t read, accepted, refused;       /* readings: read = accepted + refused */
	uint64_t matched, aggregated, dropped;  /* summed over streams */
	uint64_t unmatched;
};
void pipeline_ledger(const struct pipeline *p, struct pipeline_ledger *ret);

#endif
