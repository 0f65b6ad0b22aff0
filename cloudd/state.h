/* One group's records: typed keys over its database, and the running digest of all of them.
 *
 * A key is a table's letter, then big-endian fields, so that records order as their fields do; the tables are drawn in
 * docs/internals.md. Everything that changes a record goes through state_put and state_del, which keep the digest: the
 * sum modulo 2^128 of XXH3-128(key, value) over all records but STATE_APPLIED's. A sum does not depend on the order of
 * writes, so it is the same however the same records came to be. Errors are those of common/kv. */
#ifndef WEIR_CLOUDD_STATE_H
#define WEIR_CLOUDD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/codec.h"
#include "common/kv.h"

enum state_table {
	STATE_APPLIED = 'a',
	STATE_MAP = 'M',       /* -> the encoded cluster map; of shards, too */
	/* shards */
	STATE_STREAM = 'S',    /* id -> name, version */
	STATE_STREAM_ID = 's', /* name, NUL, version -> id */
	STATE_EDGE = 'e',      /* name -> epoch, last seq, checksum */
	STATE_PARTIAL = 'p',   /* id, level, slice start, group -> partial */
	STATE_GROUP = 'g',     /* id, group -> start of its latest partial */
	STATE_COUNTS = 'c',    /* id -> the ledger */
	STATE_ADVANCE = 'w',   /* id, 0 -> last advance; id, 1 -> the sweep's cursors; id, 2 -> floors of an earlier configuration;
	                        * id, 3 -> how old a RETIRED version is taken to be; 0, 4 -> the id that retiring has come to */
	STATE_INTERVAL = 'i',  /* id, interval end -> completeness */
	STATE_DIRTY = 'd',     /* id, level, slice start, group -> close and entry index when it was marked */
	STATE_REVISION = 'r',  /* id, window start, group -> revision, entry index when it was raised */
	STATE_OUTBOX = 'o',    /* id, entry index, n -> window start, time, group */
	STATE_SINK = 'k',      /* sink's name, NUL, id -> how far it has come in the outbox; id 0: in STATE_ALERT_EVENT */
	STATE_ALERT = 'A',     /* alert's id -> what it is, and how far its windows are judged; 0 -> the head of all alerts */
	STATE_ALERT_GROUP = 'f', /* alert's id, group -> pending or firing */
	STATE_ALERT_EVENT = 'v', /* entry index, n -> that a group began to fire, or was resolved */
	/* meta */
	STATE_CLUSTER = 'C',   /* -> cluster id */
	STATE_META_EDGE = 'E', /* name -> epoch, claim, flags */
	STATE_CLOSE = 'W',     /* name, NUL, version -> meta index, close */
	STATE_QUEUE = 'Q',     /* meta index -> the advance's close, or 0 and a map */
	STATE_TAKEN = 'T',     /* shard -> meta index */
};

struct digest {
	uint64_t hi, lo;
};

/* A start of a slice, a period or a window, as records hold it: with it, no arithmetic on windows overflows. What is outside was
 * never written by apply, so who decodes says WEIR_ECORRUPT. */
#define STATE_TIME_MIN_NS (INT64_MIN / 2)
#define STATE_TIME_MAX_NS (INT64_MAX / 8 * 7)
static inline bool state_time_ok(int64_t t_ns)
{
	return t_ns >= STATE_TIME_MIN_NS && t_ns <= STATE_TIME_MAX_NS;
}

struct state {
	struct kv_txn *txn; /* of the caller; NULL between transactions */
	unsigned db;
	struct digest digest;
};

struct state_key {
	size_t n;
	uint8_t b[KV_KEY_MAX];
};
static inline struct bytes state_key_bytes(const struct state_key *k)
{
	return (struct bytes){k->b, k->n};
}
/* A key is built field by field. Text and groups go last, or before a fixed field. Too long is a programmer's error. */
void state_key_start(struct state_key *k, enum state_table table);
void state_key_u8(struct state_key *k, uint8_t v);
void state_key_u32(struct state_key *k, uint32_t v);
void state_key_u64(struct state_key *k, uint64_t v);
void state_key_i64(struct state_key *k, int64_t v);
void state_key_bytes_of(struct state_key *k, struct bytes b);

/* STATE_PARTIAL and STATE_DIRTY. */
struct state_place {
	uint32_t id;
	uint8_t level;
	int64_t start_ns;
	struct bytes group; /* within the key */
};
void state_key_place(struct state_key *k, enum state_table table, uint32_t id, uint8_t level, int64_t start_ns,
    struct bytes group);
/* False: not a key of this table and id, or of no possible time. */
bool state_place_of(struct bytes key, enum state_table table, uint32_t id, struct state_place *ret);
void state_key_id(struct state_key *k, enum state_table table, uint32_t id);
void state_key_revision(struct state_key *k, uint32_t id, int64_t window_ns, struct bytes group);
void state_key_outbox(struct state_key *k, uint32_t id, uint64_t index, uint32_t n);
void state_key_version(struct state_key *k, enum state_table table, struct bytes name, uint32_t version);
/* What follows `prefix` in key; false: the key does not start with it. */
bool state_key_rest(struct bytes key, const struct state_key *prefix, struct bytes *ret_rest);

int state_get(const struct state *s, const struct state_key *k, struct bytes *ret_value);
int state_put(struct state *s, const struct state_key *k, struct bytes value);
/* As state_put, where the caller has just read what is there: the value, or NULL where nothing was found. */
int state_replace(struct state *s, const struct state_key *k, const struct bytes *old, struct bytes value);
/* 0 also where there is nothing. */
int state_del(struct state *s, const struct state_key *k);
/* A record with the key of another replica's, most often larger than all that are there. `more`: the value goes behind the one
 * that is there. WEIR_ECORRUPT: STATE_APPLIED's or no key, more of nothing, too long. */
int state_take(struct state *s, struct bytes key, struct bytes value, bool more);
/* The first record at or after `from` that starts with `prefix`; WEIR_ENOTFOUND. The pointers live as those of kv. */
int state_first(const struct state *s, const struct state_key *prefix, const struct state_key *from,
    struct bytes *ret_key, struct bytes *ret_value);

/* STATE_APPLIED: where the group is. Written once per transaction. */
struct state_head {
	uint64_t applied, term;
	struct digest digest;
	uint64_t meta_index; /* shards: of the last advance taken */
	uint64_t skipped;    /* entries that could not be read */
	/* outside the digest, as is the whole record: replicas may differ in it while the records are equal */
	bool is_void;        /* a snapshot is being installed: applied and term are 0 */
	size_t config_len;
	uint8_t config[SNAPSHOT_CONFIG_MAX]; /* of the group's replicas, as of `applied`; raft_config_encode's bytes */
};
#define STATE_HEAD_VERSION 2
int state_head_read(struct kv_txn *txn, unsigned db, struct state_head *ret); /* WEIR_ENOTFOUND: never written */
int state_head_decode(struct bytes value, struct state_head *ret); /* of STATE_APPLIED's record; WEIR_ECORRUPT */
int state_head_write(struct state *s, const struct state_head *h);

/* 0, or WEIR_EBUSY while the group is void; or an error of kv. Readers ask it first, in their transaction. */
int state_readable(struct kv_txn *txn, unsigned db);

/* One record's part of the digest, for who goes through all of them: nothing for STATE_APPLIED's. */
bool state_digest_add(struct digest *d, struct bytes key, struct bytes value); /* false: it does not count */
/* The digest from scratch, in a transaction of any kind. */
int state_digest(struct kv_txn *txn, unsigned db, struct digest *ret);

#endif
