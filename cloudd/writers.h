/* The two threads that write to disk: each owns one environment, takes jobs in order, and gives them back.
 *
 * The log writer runs each job as one durable transaction. The state writer applies jobs into one open transaction and
 * commits it STATE_COMMIT_MS after it began, or after STATE_COMMIT_ENTRIES entries, or as soon as a reader waits for
 * what it holds; where commits take long, after STATE_COMMIT_SHARE times as long as the last one took, but within
 * STATE_COMMIT_MAX_MS: nothing is applied meanwhile, and a longer transaction writes each page less often. An apply job is given back when it is applied, not when it is committed: the log has it.
 *
 * A failing disk (WEIR_EIO, anything but WEIR_EFULL) calls failed(), which must not return to work; but for a record that an
 * entry needs and that does not read, and for an entry of a later program (struct apply_job, corrupt and outdated): the transaction is
 * aborted and the job given back. Where
 * there is no room, nothing of the log job was written, or the state's transaction was aborted: the job goes back with
 * WEIR_EFULL, and the node hands out another one later. A state commit without room is told by aborted(), and the next
 * job goes back unrun: node.h says why. Reads go on meanwhile.
 *
 * What was told to be applied is acknowledged, and readers wait for it: it must be possible to commit it. So the state writer keeps
 * STATE_ROOM_BYTES on the disk beyond what the open transaction will write. When they cannot be had the state is short of room: low()
 * says so, so that no new work comes, and what is left of them is for what has come already; the open transaction is committed, and
 * each further job by itself before it is given back. It is looked for twice as much each STATE_ROOM_MS, until it is there. */
#ifndef WEIR_CLOUDD_WRITERS_H
#define WEIR_CLOUDD_WRITERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/node.h"
#include "cloudd/progress.h"
#include "common/kv.h"
#include "common/stats.h"

#define STATE_COMMIT_MS 200
#define STATE_COMMIT_MAX_MS 1000
#define STATE_COMMIT_SHARE 8
#define STATE_COMMIT_ENTRIES 5000
#define STATE_ROOM_BYTES (4 * 1024 * 1024)
#define STATE_ROOM_MS 250
#define WRITERS_LONG_NS (INT64_C(3600) * 1000000000) /* to empty a state, or a log, in one piece, however large it is and its disk slow */

struct log_writer;
struct state_writer;

/* All called on the writers' threads. */
struct writers_io {
	void *arg;
	void (*log_written)(void *arg, struct log_job *job, int rc);
	void (*applied)(void *arg, struct apply_job *job, int rc);
	void (*durable)(void *arg, uint32_t group, uint64_t index);
	/* The state's transaction found no room when it was to be committed. */
	void (*aborted)(void *arg);
	void (*failed)(void *arg, const char *what, int rc);
	/* The state is short of room, or no longer. */
	void (*low)(void *arg, bool low);
};

/* The kv, the io and the cell (of commit durations) outlive the writer. */
struct log_writer *log_writer_start(struct kv *log, const struct writers_io *io, struct stats_cell *commit_time);
void log_writer_add(struct log_writer *w, struct log_job *job);
/* Mono: since when it is inside one job, or has one that it does not take; 0: it waits for one. Of a job that may take very long it is
 * WRITERS_LONG_NS later than it is. Any thread. */
int64_t log_writer_busy_since(const struct log_writer *w);
/* Runs what is queued, then ends the thread; frees. */
void log_writer_stop(struct log_writer *w);

struct state_writer_options {
	struct apply *apply;
	struct progress *progress;
	uint32_t groups;
	const struct writers_io *io;
	struct stats_cell *commit_time;
};
struct state_writer *state_writer_start(const struct state_writer_options *o);
void state_writer_add(struct state_writer *w, struct apply_job *job);
/* For struct progress: look whether a reader waits. Any thread. */
void state_writer_wake(struct state_writer *w);
/* As the log writer's; a commit counts as a job. */
int64_t state_writer_busy_since(const struct state_writer *w);
/* Applies what is queued, commits (unless there is no room), ends the thread; frees. */
void state_writer_stop(struct state_writer *w);

#endif
