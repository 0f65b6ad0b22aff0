/* The spool: everything an edge must not lose, in one kv (semantics.md 2).
 *
 *   SPOOL_BATCH  (shard be16, seq be64)                                      -> cutter.h
 *   SPOOL_DELTA  (stream, NUL, version be32, slice start bei64, group)       -> slice length, parts, distincts, partial
 *   SPOOL_STEP   (stream, NUL, version be32, step u8, series be128)          -> the step's state
 *   SPOOL_MARK   spool claim epoch cluster skip wall ledger ledger/STREAM source/NAME wm/STREAM/VERSION shard/N
 *                map removed high since/STREAM/VERSION last/STREAM/VERSION salvaged
 *   SPOOL_STEP   (NUL, a mark's key)                                         -> the same value: its copy
 *
 * Marks are few, and what counts nothing twice depends on them: epoch, claim, numbers, what may have been sent, positions of
 * sources. So each is kept twice, in two trees, which share no page, in the same commit: a mark that does not read is taken from its
 * copy. (Versions that know of no copies delete them as states of no step.)
 *
 * What cannot be had from either is LOST, and then the spool gives up what it holds, by itself and as a readmission does: batches
 * and open slices are dropped and counted (what of them was merged, nobody knows any more), shards resume behind what the cloud
 * has, sources start at their end. With an epoch the cloud goes on with it; without, this is an empty spool under a known name: let
 * in once the old holder has been silent for partitioned_after (semantics.md 1.2, 1.3). Guessing instead would count twice: without
 * numbers, batches that were merged could come again under new ones; without a claim, a grant could be given to two; without
 * positions, files would be read again from their beginning. All of it is in the file that was set aside (edged/salvage.h).
 *
 * shard/N: the shard's numbers, struct spool_numbers below. map: the cluster map that this edge goes by (common/map.h).
 *
 * A checkpoint: spool_begin(), any of the changing calls, spool_commit(). Errors stick until the commit, which then
 * aborts. What the spool knows in memory (numbers, batches, marks) changes with a commit that succeeded, and only then;
 * nothing is written when nothing changed. One thread.
 *
 * Numbers of a shard: kept batches are low..next-1, without gaps but for the one that a rewriting under way leaves
 * (rewrite.h): below `hole` they have their final numbers and from `hole_end` on they do not yet. Batches <= sent
 * may have been sent: they are never changed. sent < hole. Batches <= acked are acknowledged: deleted by the next
 * commit, not sent again. */
#ifndef WEIR_EDGED_SPOOL_H
#define WEIR_EDGED_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/model.h"
#include "edged/cutter.h"
#include "edged/group.h"
#include "edged/stream.h"
#include "edged/table.h"

#define SPOOL_BATCHES_MAX (256 * 1024) /* kept at once, over all shards: above it as at the disk limit */
#define SPOOL_STALE_MAX 10000          /* useless records found at open that are deleted in one commit */

enum spool_rewrite { REWRITE_NONE, REWRITE_COMPACT, REWRITE_MOVE };

struct spool_numbers {
	uint64_t low, next; /* lowest kept, next to be given; low == next: none kept */
	uint64_t sent;      /* highest that may have been sent */
	bool resume;        /* the next OPEN takes the cloud's last as it is, and what is kept gets numbers after it */
	enum spool_rewrite rewrite;
	uint64_t hole, hole_end; /* while rewriting */
};

/* The value of a mark shard/N: WEIR_EVERSION, WEIR_ECORRUPT, WEIR_ETRUNCATED. */
int spool_numbers_decode(struct bytes raw, struct spool_numbers *ret);

struct spool_shard {
	struct spool_numbers now;       /* as changed by the open checkpoint; else equal to committed */
	struct spool_numbers committed;
	uint64_t acked;
	uint64_t compacted, pass;       /* rewrite.c's: end of the last pass; where the present one is, or 0 */
	struct batch_meta **metas;      /* of the kept batches, by seq: metas[first .. first + count) */
	size_t first, count, cap;
	size_t added, removed;          /* by the open checkpoint: at the end, at the start */
};

struct spool;

/* What spool_open() finds. delta() takes over the partial. False: useless, to be deleted. */
struct spool_restore {
	void *arg;
	bool (*delta)(void *arg, struct stream *s, int64_t slice_start_ns, struct bytes group, struct partial *p);
	bool (*step)(void *arg, struct stream *s, struct bytes step_key, struct bytes value);
};

/* Reads everything. The kv stays the caller's. WEIR_EINVAL: the spool is of another edge or cluster, or was made for
 * another number of shards. Damaged records are counted, and no error. */
int spool_open(struct kv *kv, const struct topology *t, const char *edge, struct streams *streams,
    const struct spool_restore *restore, struct spool **ret_spool, char **ret_why);
void spool_close(struct spool *sp);

bool spool_was_empty(const struct spool *sp); /* made anew by this open */
uint64_t spool_damaged(const struct spool *sp); /* records found damaged since open */
/* Marks were lost: the next commit gives up what the spool held; nothing of it was restored. */
bool spool_lost(const struct spool *sp);
/* To be treated so: it contradicts itself. Only after spool_open(), before a checkpoint. */
void spool_lose(struct spool *sp);
/* What reads was copied from a damaged file, and nothing was committed since. */
bool spool_was_salvaged(const struct spool *sp);
uint64_t spool_salvages(const struct spool *sp); /* times that it was salvaged; the open one included */
uint64_t spool_losses(const struct spool *sp);   /* times that it gave up what it held; likewise */
uint32_t spool_shards(const struct spool *sp);
struct spool_shard *spool_shard(struct spool *sp, uint32_t shard);
size_t spool_batches(const struct spool *sp);
uint64_t spool_used_bytes(const struct spool *sp); /* as of the last commit */
/* The committed value of a mark, or nothing; lives until the next commit. */
struct bytes spool_mark(const struct spool *sp, const char *key);
/* Calls each() for the marks that start with prefix and are committed, in no order that may matter; it may delete them. */
void spool_each_mark(struct spool *sp, const char *prefix, void (*each)(void *arg, const char *key, struct bytes value), void *arg);
/* One mark of a spool that is not open: appended to out. WEIR_ENOTFOUND, WEIR_ECORRUPT, WEIR_EIO. */
int spool_peek_mark(struct kv *kv, const char *key, struct buf *out);

/* For who reads a spool beside its owner, in a transaction of his own. The value lives as long as that. As spool_peek_mark. */
int spool_read_mark(struct kv_txn *txn, const char *key, struct bytes *ret_value);
/* Append the key of a batch, and what the keys of all open partials of a stream begin with: slice start bei64 and group follow. */
void spool_batch_key(struct buf *out, uint32_t shard, uint64_t seq);
void spool_delta_prefix(struct buf *out, const struct stream_conf *c);

/* ---- the mark `salvaged`, which salvage.c writes into a new environment ---- */

enum spool_salvaged { SALVAGED_SETTLED, SALVAGED_MARKS, SALVAGED_LOST }; /* nothing to do; all marks are there; some may be lost */
struct spool_salvage {
	enum spool_salvaged state;
	uint64_t salvages, losses;
};
#define SPOOL_SALVAGED "salvaged"
void spool_salvage_encode(const struct spool_salvage *s, struct buf *out);
/* All zero where it does not read. */
void spool_salvage_decode(struct bytes raw, struct spool_salvage *ret);
/* Whether a record of SPOOL_STEP is the copy of a mark, and of which. */
bool spool_is_copy(struct bytes step_key, struct bytes *ret_mark_key);

/* ---- checkpoint ------------------------------------------------------------------------------------------------ */

void spool_begin(struct spool *sp);
void spool_put_mark(struct spool *sp, const char *key, struct bytes value);
void spool_del_mark(struct spool *sp, const char *key);
void spool_put_delta(struct spool *sp, const struct stream *s, int64_t slice_start_ns, struct bytes group,
    const struct partial *p);
void spool_del_delta(struct spool *sp, const struct stream *s, int64_t slice_start_ns, struct bytes group);
void spool_put_step(struct spool *sp, const struct stream *s, struct bytes step_key, struct bytes value);
/* Takes over meta, whose seq is the shard's now.next. */
void spool_add_batch(struct spool *sp, uint32_t shard, struct batch_meta *meta, struct bytes value);
/* Deletes batches up to seq (<= acked); each() sees the meta of each. */
void spool_trim(struct spool *sp, uint32_t shard, uint64_t seq,
    void (*each)(void *arg, const struct batch_meta *m), void *arg);
/* Readmission: deletes all batches and deltas, numbers start anew with `resume` set. */
void spool_drop_all(struct spool *sp);
/* Whether the open checkpoint has anything to write so far. */
bool spool_writing(const struct spool *sp);
/* Everything is durable, or nothing has changed. *ret_wrote (may be NULL): there was something to write. */
int spool_commit(struct spool *sp, bool *ret_wrote);
void spool_abort(struct spool *sp);

/* ---- reading and rewriting batches ----------------------------------------------------------------------------- */

/* The meta of a kept batch, or NULL. */
const struct batch_meta *spool_meta(const struct spool_shard *sh, uint64_t seq);
/* Appends the body to out. WEIR_ECORRUPT: its record is damaged (it is then marked so, and an empty batch takes its
 * number with the next commit). */
int spool_read_body(struct spool *sp, uint32_t shard, uint64_t seq, struct buf *out);
/* Appends the stored value of batch `seq` (head and body). */
int spool_read_value(struct spool *sp, uint32_t shard, uint64_t seq, struct buf *out);

/* One transaction that replaces kept batches: deletes from..to, writes n values under the seqs of their metas (which
 * it takes over, also on error), and sets the shard's numbers. No checkpoint may be open. */
int spool_replace(struct spool *sp, uint32_t shard, uint64_t from, uint64_t to, struct batch_meta **metas,
    const struct bytes *values, size_t n, const struct spool_numbers *numbers);

#endif
