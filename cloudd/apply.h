/* Apply: the state machines of a node's groups, from committed entries to durable state.
 *
 * Pure but for the struct kv it is given: no clock, no randomness, no iteration in hash order. Entries of a group come
 * in order of their index, each exactly once per open (after a crash, again from apply_applied() + 1: the caller
 * replays the log). Work goes into one write transaction that apply_commit() ends; the applied index, its term and the
 * group's digest are in the same transaction. One thread (in the daemon: the state writer). Readers use read
 * transactions of the same kv on other threads, through cloudd/result and the apply_read_ calls below. */
#ifndef WEIR_CLOUDD_APPLY_H
#define WEIR_CLOUDD_APPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/entry.h"
#include "common/buf.h"
#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"

/* The state environment's databases: one for the node, one for each group. */
#define STATE_DB_NODE 0
#define STATE_DB_GROUP(group) (1 + (group))
#define STATE_DBS(shards) (2 + (shards))
/* Their names ("node", "group-000" ...) for kv_lmdb_open, STATE_DBS(shards) of them; free() frees all at once. */
const char **apply_db_names(uint32_t shards);

struct apply;

/* At each index that this divides a group's digest is given out, to be compared with the other replicas'. */
#ifndef APPLY_DIGEST_EVERY /* the simulator makes it small */
#define APPLY_DIGEST_EVERY 1000
#endif

/* A group's head: what a snapshot says of the state as a whole. */
struct snapshot_head {
	uint64_t index, term;
	struct bytes config; /* raft_config_encode's bytes, as of index; at most SNAPSHOT_CONFIG_MAX */
	uint64_t digest_hi, digest_lo;
	uint64_t meta_index, skipped;
};

/* What applying one entry answers; plain values but for what is owned (free with apply_result_clear). */
struct apply_result {
	uint32_t group;
	uint64_t index;
	enum entry_kind kind;  /* 0: damaged, or not an entry of this group: skipped, counted */
	enum verdict verdict;  /* OPEN, BATCH, CLAIM, READMIT, those of the map; REFUSED where kind is 0 */
	char *edge;
	uint64_t epoch;        /* OPEN, BATCH: the shard's; CLAIM: granted, or stored where fenced */
	uint64_t seq, last;    /* OPEN, BATCH */
	bool resume, readmitted; /* CLAIM */
	uint8_t claim[CLAIM_BYTES];
	const char *reason;    /* static text, for verdicts other than OK and DUPLICATE */
	uint64_t meta_index;   /* shard: of the last advance taken, be it this entry or not */
	uint64_t map_version;  /* TOPOLOGY, NODE, CUT, REVOKE: of the map that is there now; shard: of the map that it goes by; 0: none */
	struct buf map;        /* one of those that made a new map: its bytes, owned */
	struct buf removed;    /* likewise, of edges that it has no more: name (buf_str), epoch now; those that ever had one; owned */
	struct buf closed;     /* CLOSE: the entry as it was applied, which may be more than was proposed; owned */
	bool more;             /* shard: sweep work is left; propose ENTRY_SWEEP at once (and once after a start) */
	bool dirty;            /* shard: windows are dirty; propose ENTRY_SWEEP within a second */
	bool digested;         /* index is a multiple of APPLY_DIGEST_EVERY: */
	uint64_t digest;       /* both halves of the group's digest as of this entry, by exclusive or */
};
void apply_result_clear(struct apply_result *r);

/* The topology and the kv stay the caller's and outlive it; t is what groups go by whose state has no map yet (and says the number
 * of shards and the cluster's name, which never change). A group whose head does not read is void. WEIR_ECORRUPT,
 * WEIR_EIO, WEIR_EFULL; WEIR_EVERSION: the data are of another format, cluster or number of shards. *ret_why, on error: text, the caller's to free. */
int apply_open(const struct topology *t, struct kv *state, struct apply **ret_apply, char **ret_why);
void apply_close(struct apply *a); /* aborts an open transaction */
/* Index and term of the last entry durably applied to a group (0: none). */
uint64_t apply_applied(const struct apply *a, uint32_t group, uint64_t *ret_term);
/* Begins a transaction if none is open, applies. Negative: WEIR_EFULL (no room: abort, serve reads only, try again
 * later), WEIR_EIO, WEIR_EVERSION: an entry, a map or a topology of a later program (abort; the group's entries end before this one until a
 * program comes that knows it: to skip what others apply would part the replicas), WEIR_ECORRUPT: a record that it needs does not read
 * (abort: what the entry did so far must not stay; then apply_void or apply_skip). Wrong bytes inside an entry are never an error: the
 * result says. */
int apply_entry(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct bytes raw,
    struct apply_result *ret_result);
/* The entries of consensus itself: they move the applied index; a configuration is kept in the head. The result's kind is
 * ENTRY_NOOP or ENTRY_CONFIG, its meta_index, more and dirty are as of any entry. A configuration that is longer than
 * SNAPSHOT_CONFIG_MAX or empty is skipped, as an entry that cannot be decoded. Errors as apply_entry. */
int apply_noop(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct apply_result *ret_result);
int apply_config(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct bytes config,
    struct apply_result *ret_result);

/* Passes over an entry of a group whose records it cannot be applied to, where no other replica has them: counted in `skipped`,
 * kind 0. Nothing but the head is touched. */
int apply_skip(struct apply *a, uint32_t group, uint64_t index, uint64_t term, struct apply_result *ret_result);
/* The group's state is not to be used any more: void from the next commit on, and to readers too. Its records stay until a
 * snapshot begins to replace them, so that nothing is lost that nobody else has. No entries come until then. */
int apply_void(struct apply *a, uint32_t group);

/* A snapshot replaces a group's state: begin empties it and marks it void (so it stays, durably, until the end), records
 * come in any number of calls and transactions (so that none of them is huge), end checks the digest of all of them and gives the
 * group its head. Between begin and end the group has no other entries (asserted). Errors as apply_entry; WEIR_ECORRUPT from
 * records and end: the bytes are not what the sender had, or an abort took some away, or the beginning; begin again.
 * While void, apply_applied() is 0. */
int apply_snapshot_begin(struct apply *a, uint32_t group);
int apply_snapshot_records(struct apply *a, uint32_t group, struct bytes records);
int apply_snapshot_end(struct apply *a, uint32_t group, const struct snapshot_head *head);
/* What is durable: the configuration as of the last CONFIG entry applied (empty: none yet), and whether the state is void. The
 * pointer lives until the next call for the group. */
void apply_group_start(const struct apply *a, uint32_t group, struct bytes *ret_config, bool *ret_void);

bool apply_uncommitted(const struct apply *a);
int apply_commit(struct apply *a);
/* Sees to it that what is open can be committed, and `more` bytes beyond it can be written, whatever others do with the disk (kv_take_room).
 * WEIR_EFULL: maybe not. */
int apply_take_room(struct apply *a, uint64_t more);
void apply_abort(struct apply *a); /* forgets all since the last commit: the caller replays */

/* ---- reading, in any read transaction ------------------------------------------------------------------------
 *
 * A group into which a snapshot is being installed has nothing to be read: all calls below but apply_read_group() (which
 * says so), and those of cloudd/result, return WEIR_EBUSY then; to be answered as UNAVAILABLE. */

struct apply_group_info {
	uint64_t applied, term;
	uint64_t digest_hi, digest_lo; /* at index `applied` */
	uint64_t meta_index; /* shards: of the last advance taken */
	uint64_t skipped;    /* entries that could not be read */
	bool is_void;        /* a snapshot is being installed: nothing may be read of the group */
	uint8_t config[SNAPSHOT_CONFIG_MAX];
	size_t config_len;
};
int apply_read_group(struct kv_txn *txn, uint32_t group, struct apply_group_info *ret);

/* Appends the cluster map that the group goes by, as map_encode writes it. WEIR_ENOTFOUND: it has none yet. */
int apply_read_map(struct kv_txn *txn, uint32_t group, struct buf *out);

/* Meta group: what is committed there. All owned by *ret. */
struct meta_grant {
	uint64_t epoch; /* 0: never granted */
	uint8_t claim[CLAIM_BYTES];
	bool readmit;    /* asked for and not yet taken */
	bool readmitted; /* the last grant was one */
};
struct meta_edge {
	char *name;
	struct meta_grant grant;
};
struct meta_stream_edge {
	char *name;
	enum edge_state state;
	int64_t watermark_ns, flushed_end_ns, since_ns;
};
struct meta_stream {
	char *name;
	uint32_t version;
	int64_t close_ns, final_ns;
	uint64_t meta_index; /* of the entry that last changed it */
	struct meta_stream_edge *edges; /* by name ascending */
	size_t edge_count;
};
struct meta_state {
	uint8_t cluster_id[CLUSTER_ID_BYTES];
	bool created;
	struct meta_edge *edges; /* by name */
	size_t edge_count;
	struct meta_stream *streams; /* by (name, version) */
	size_t stream_count;
	uint64_t newest; /* meta index of the newest advance or map that was ever queued */
	uint32_t *took;  /* shards that have taken any of them; ascending */
	size_t took_count;
};
int meta_read(struct kv_txn *txn, struct meta_state *ret);
void meta_state_clear(struct meta_state *m);
/* The advances that `shard` has still to take, in order of meta index, after `after` (what the shard last answered):
 * calls back with each encoded ENTRY_ADVANCE and ENTRY_MAP (time 0) until it returns false. Each names the one before it, and a shard
 * does not take one that leaves a gap: when one got lost, read them again; do not keep them. */
int meta_read_advances(struct kv_txn *txn, uint32_t shard, uint64_t after,
    bool (*each)(void *arg, uint64_t meta_index, struct bytes entry), void *arg);

/* A shard's counters per stream (the cloud half of the ledger, semantics.md 6): readings that came in batches =
 * merged + dropped{reason}. Calls back for each (stream, version). */
struct shard_stream_counts {
	const char *stream;
	uint32_t version;
	uint64_t received, merged, partials;
	uint64_t dropped_beyond_retain, dropped_unknown_stream, dropped_invalid;
	uint64_t groups, overflowed; /* groups now known; readings merged into __other__ */
	int64_t close_ns, final_ns;
};
int shard_read_counts(struct kv_txn *txn, uint32_t group, void (*each)(void *arg, const struct shard_stream_counts *c),
    void *arg);

#endif
