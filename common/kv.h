/* Ordered key-value storage with durable transactions: the one seam between Weir and disks.
 *
 * The daemons open LMDB environments (kv_lmdb_open); the simulator implements struct kv_ops in memory, with crashes.
 * Nothing else in Weir touches LMDB.
 *
 * Values are records: kv_put() writes [version u8][checksum u64][value], kv_get() checks and strips them, so a flipped
 * bit is WEIR_ECORRUPT, never a wrong value. The checksum is XXH3-64 of the value, seeded with XXH3-64 of the key: a
 * record that turns up under another key is bad too. Keys are 1..KV_KEY_MAX bytes and order as memcmp.
 * A kv has a fixed list of databases, named when it is opened; a database is addressed by its place in that list.
 *
 * One write transaction at a time (the caller sees to it that one thread writes); any number of read transactions on
 * other threads, each on the thread that began it, each a snapshot. kv_commit() returns 0 only when the data is on
 * stable storage. After WEIR_EIO from a commit, or from kv_begin, nothing about the disk can be trusted: the process
 * must stop: that goes for a failed sync on a full disk, too. WEIR_EFULL (map or disk full) leaves the committed data as it was, and readable.
 *
 * Pointers that get and cursors return live until the transaction's next write or its end. */
#ifndef WEIR_COMMON_KV_H
#define WEIR_COMMON_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KV_KEY_MAX 511
#define KV_VALUE_MAX (64 * 1024 * 1024)
#define KV_DBS_MAX 300
#define KV_RECORD_VERSION 1
#define KV_DATA_FILE "data.mdb" /* in an environment's folder */
#define KV_RECORD_HEAD 9 /* version and checksum before each value */

struct bytes {
	const uint8_t *p;
	size_t n;
};

struct kv {
	const struct kv_ops *ops;
};
struct kv_txn {
	struct kv *kv;
};
struct kv_cursor {
	struct kv_txn *txn;
};

/* What an implementation provides. Each call is as the kv_ function of its name below; raw values, records included. */
struct kv_ops {
	int (*begin)(struct kv *kv, bool write, struct kv_txn **ret_txn);
	int (*commit)(struct kv_txn *txn);
	void (*abort)(struct kv_txn *txn);
	int (*get)(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes *ret_value);
	/* Reserves room for a value of n bytes and returns where to write it; append: key is the largest of db. */
	int (*put)(struct kv_txn *txn, unsigned db, struct bytes key, size_t n, bool append, uint8_t **ret_room);
	int (*del)(struct kv_txn *txn, unsigned db, struct bytes key);
	int (*clear)(struct kv_txn *txn, unsigned db);
	int (*cursor_open)(struct kv_txn *txn, unsigned db, struct kv_cursor **ret_cursor);
	int (*cursor_seek)(struct kv_cursor *c, struct bytes key, struct bytes *ret_key, struct bytes *ret_value);
	int (*cursor_step)(struct kv_cursor *c, int direction, struct bytes *ret_key, struct bytes *ret_value);
	int (*cursor_edge)(struct kv_cursor *c, bool last, struct bytes *ret_key, struct bytes *ret_value);
	void (*cursor_close)(struct kv_cursor *c);
	uint64_t (*used_bytes)(struct kv *kv);
	uint64_t (*size_bytes)(struct kv *kv);
	void (*close)(struct kv *kv);
	int (*maintain)(struct kv *kv); /* may be NULL */
	int (*make_room)(struct kv *kv, uint64_t bytes); /* may be NULL */
	int (*take_room)(struct kv *kv, uint64_t bytes); /* may be NULL */
	uint64_t (*txn_bytes)(struct kv_txn *txn); /* may be NULL */
};

struct kv_lmdb_options {
	const char *path;         /* a folder, made if missing (mode 0700) */
	const char *const *dbs;   /* names of the databases */
	unsigned db_count;        /* 1..KV_DBS_MAX */
	uint64_t map_bytes;       /* address space reserved; the file is sparse and cannot grow beyond it */
	bool read_only;
};

/* Opens (or makes) an LMDB environment, locked against a second process (WEIR_EBUSY: another holds it). A data file
 * that is cut short or is not LMDB's is WEIR_ECORRUPT, a folder on a network filesystem WEIR_EINVAL. read_only: nothing
 * is made or changed, kv_begin(write) is WEIR_EINVAL, a missing environment WEIR_ENOTFOUND.
 * *ret_why, on error, is a text for people, the caller's to free. */
int kv_lmdb_open(const struct kv_lmdb_options *o, struct kv **ret_kv, char **ret_why);
/* Which process has the environment in this folder open: asked without a lock of our own, which could be in the way of one that starts.
 * 0 with *ret_pid (0: of another pid namespace); WEIR_ENOTFOUND: no other process (this one itself is not seen); WEIR_EIO: it
 * cannot be asked. *ret_why as above. */
int kv_lmdb_holder(const char *path, pid_t *ret_pid, char **ret_why);
void kv_close(struct kv *kv);

int kv_begin(struct kv *kv, bool write, struct kv_txn **ret_txn);
/* Both end the transaction, whatever they return. */
int kv_commit(struct kv_txn *txn);
void kv_abort(struct kv_txn *txn);

/* 0, WEIR_ENOTFOUND, WEIR_ECORRUPT (bad checksum or version), WEIR_EIO. */
int kv_get(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes *ret_value);
/* 0, WEIR_EFULL, WEIR_ETOOBIG (key or value), WEIR_EIO. After an error other than WEIR_ETOOBIG the transaction can
 * only be aborted. Key and value may be what a get or a cursor of this transaction returned: they are copied first. */
int kv_put(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value);
/* As kv_put, for a key larger than all in db (faster, and denser on disk). WEIR_EEXIST: it is not. */
int kv_append(struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value);
/* 0 or WEIR_ENOTFOUND, or as kv_put. */
int kv_del(struct kv_txn *txn, unsigned db, struct bytes key);
/* Empties a database. */
int kv_clear(struct kv_txn *txn, unsigned db);

/* Close every cursor before its transaction ends (asserted). An empty key seeks the first. A cursor survives writes of its own transaction only by seeking
 * again. All four return 0, WEIR_ENOTFOUND at the end, WEIR_ECORRUPT (the key is set then, and the cursor may go
 * on), WEIR_EIO. */
int kv_cursor_open(struct kv_txn *txn, unsigned db, struct kv_cursor **ret_cursor);
int kv_cursor_seek(struct kv_cursor *c, struct bytes key, struct bytes *ret_key, struct bytes *ret_value); /* first >= key */
int kv_cursor_next(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value);
int kv_cursor_prev(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value);
int kv_cursor_first(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value);
int kv_cursor_last(struct kv_cursor *c, struct bytes *ret_key, struct bytes *ret_value);
void kv_cursor_close(struct kv_cursor *c);

/* Bytes in use by committed data (pages in use, not file size), and the reserve's size. Any thread; cheap enough to
 * ask at each commit: it reads the list of free pages, not the data. */
uint64_t kv_used_bytes(struct kv *kv);
uint64_t kv_size_bytes(struct kv *kv);
/* To be called by the writing thread before a transaction that adds about `bytes`, those of the pages above included:
 * sees to it that one that only deletes still finds KV_RESERVE_BYTES on the disk and in the map afterwards, for deleting
 * takes room too. WEIR_EFULL: it would not. Takes blocks ahead of the file; on a disk that cannot, only its free space is
 * looked at, which others may use up. */
#define KV_RESERVE_BYTES (256 * 1024)
int kv_make_room(struct kv *kv, uint64_t bytes);
/* Sees to it that a transaction that writes `bytes` (kv_txn_bytes) can be committed, whatever others do with the disk meanwhile: takes
 * blocks behind the file's end. WEIR_EFULL: there are not so many, nor twice as many bytes in free pages. On a disk that cannot take
 * blocks ahead only its free space is looked at. By the writing thread, its transaction open or not. */
int kv_take_room(struct kv *kv, uint64_t bytes);
/* At least what committing a write transaction will write, from what was put into it so far: rather twice as much than too little. */
uint64_t kv_txn_bytes(struct kv_txn *txn);
/* Housekeeping, to be called about once a minute: gives up the snapshots of readers that died. Any thread. */
int kv_maintain(struct kv *kv);

static inline struct bytes bytes_of(const void *p, size_t n)
{
	return (struct bytes){(const uint8_t *)p, n};
}

#endif
