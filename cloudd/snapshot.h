/* Snapshots: a group's state as records in chunks, for a replica that is too far behind for its leader's log.
 *
 * The receiver pulls (MSG_SNAPSHOT), so that flow control, retries and a sender's crash need no state of the sender's. The
 * first request of a fetch copies the group's records, under one short read transaction, to a file (a reader held while a
 * slow peer fetches would stop the reuse of pages: pitfalls.md); later ones read the file.
 *
 *     chunk's records: ([2 * key length + more varint][key][value length varint][value])..., at most SNAPSHOT_CHUNK_MAX
 *
 * Keys are in order. A record that does not fit a chunk comes in pieces, all but the first marked as `more` of the same key.
 * What the head says (index, term, configuration, digest) travels beside each chunk. Which replica serves does not matter:
 * the state at an index is the same on all, and so are its chunks, and the id, which is a hash of group and head (so it tells
 * damage of these too).
 *
 * Any thread, several at a time (a mutex inside). */
#ifndef WEIR_CLOUDD_SNAPSHOT_H
#define WEIR_CLOUDD_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"

#define SNAPSHOTS_MAX 4            /* files at a time, one of them being written; over it the answer is BUSY */
#define SNAPSHOT_REUSE_MS 5000     /* a file so young serves others who begin; the log still goes on from it */
#define SNAPSHOT_IDLE_MS 30000     /* not asked for so long: forgotten; */
#define SNAPSHOT_SPARE_MS 5000     /* ... or for so long, where another needs the place */

/* Where the copies lie; the daemon's are unlinked files in the data folder, the simulator's are in memory. */
struct snapshot_files {
	void *arg;
	int (*create)(void *arg, void **ret_file);                                  /* 0, WEIR_EFULL, WEIR_EIO */
	int (*append)(void *file, const void *p, size_t n);                         /* 0, WEIR_EFULL, WEIR_EIO */
	int (*read)(void *file, uint64_t offset, void *p, size_t n);                /* 0, WEIR_EIO */
	void (*close)(void *file);
};
/* Unlinked files in `folder`, which outlives them. */
struct snapshot_files snapshot_files_in(const char *folder);

/* The reason of an UNAVAILABLE where a record, or the digest, is not what it should be. */
extern const char snapshot_damaged[];

struct snapshots;

struct snapshots *snapshots_new(struct kv *state, const struct snapshot_files *files);
/* A copy being written ends, none is begun any more: for who waits for the threads that serve. */
void snapshots_stop(struct snapshots *s);
void snapshots_free(struct snapshots *s);

/* Answers m (MSG_SNAPSHOT) in *reply (MSG_SNAPSHOT_REPLY; envelope untouched); records go to *body, which the reply points
 * into. Texts are static. A group whose state is void, or has applied nothing, is UNAVAILABLE. To write a copy may take
 * minutes: what time it is then is known from other calls'. */
void snapshots_serve(struct snapshots *s, const struct msg *m, int64_t mono_ns, struct buf *body, struct msg *reply);
/* Forgets the idle; about once a second. */
void snapshots_tick(struct snapshots *s, int64_t mono_ns);

/* Part of the protocol: the receiver checks it. Never 0. Pure. */
uint64_t snapshot_id(uint32_t group, const struct snapshot_head *h);

struct snapshot_counters {
	uint64_t made, chunks, bytes, failed;
	uint64_t open; /* gauge */
};
void snapshots_counters(struct snapshots *s, struct snapshot_counters *ret);

/* Calls back for each record of a chunk; more: the value goes behind what this key has. WEIR_ECORRUPT; or what `each` returns
 * other than 0. Pure. */
int snapshot_records(struct bytes records, int (*each)(void *arg, struct bytes key, struct bytes value, bool more),
    void *arg);

#endif
