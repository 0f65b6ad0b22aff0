/* The check of an LMDB data file without LMDB, which trusts what it maps: a flipped bit in one of its pages may give a wrong
 * key, nothing at all, a crash or an endless loop (docs/internals.md, Damage).
 *
 * Reads the file page by page (pread: a bad sector is an error, not a signal), every page once at the most, and believes
 * nothing: both meta pages; of each tree that its pages are there, are what they should be, are used once and by nothing else,
 * are not free as well, that keys are in order and within what the branches above say, that the counts kept are true; of each
 * record its version and checksum. What it calls sound LMDB can work with. The layout is that of LMDB 0.9 (data version 1) on
 * a 64-bit little-endian machine; a file of another is WEIR_EVERSION.
 *
 * Bounded by the file's size; no crash and no endless loop whatever the file holds. For a file that nobody writes to. */
#ifndef WEIR_COMMON_KV_CHECK_H
#define WEIR_COMMON_KV_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"

#define KV_CHECK_DEPTH_MAX 32     /* of a tree; LMDB's own limit */
#define KV_CHECK_PROGRESS_PAGES 4096 /* 16 MiB */

/* What is wrong, and where. Pointers live for the call. */
struct kv_damage {
	const char *db;          /* "": of the file as a whole */
	const char *what;        /* static text */
	uint64_t page;
	bool record;             /* one record that does not read: `low` is its key as found. Else pages, and what they held */
	struct bytes low, high;  /* keys that were lost lie in [low, high); empty: no bound */
};

struct kv_check_options {
	const char *path;         /* the environment's folder, or a data file alone (of which nobody knows whether it is open) */
	const char *const *dbs;   /* names that there may be; NULL: any */
	unsigned db_count;
	/* Where a meta page is damaged, or they contradict each other, or the list of databases is damaged that the later one has, to go by
	 * the other one: that is the last transaction, or the one before it, whose pages LMDB leaves alone for so long. Else nothing of
	 * such a file is read. */
	bool either_meta;
	void *arg;
	/* Each sound record, in the order of keys within its database. db: its place in `dbs`, or as the file numbers them. May be
	 * NULL. A negative code ends the check with it. */
	int (*record)(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value);
	void (*damage)(void *arg, const struct kv_damage *d);                          /* may be NULL */
	void (*progress)(void *arg, uint64_t pages, uint64_t of_pages);                /* each KV_CHECK_PROGRESS_PAGES; may be NULL */
};

struct kv_check_result {
	uint64_t file_bytes, pages;        /* as the newer meta page says */
	uint64_t used_pages, free_pages, records;
	uint64_t bad_records;              /* that do not match their checksums, in trees that are sound */
	uint64_t bad_pages;                /* what else is wrong: LMDB must not open this file for writing */
	/* Pages that are listed as free hold what was true once: nothing of them is read, even where a damaged page points there. So
	 * records of a file whose list is sound are those of the last transaction, as far as they could be read. */
	bool list_sound;                   /* the list of free pages is there and whole */
	uint64_t sound[(KV_DBS_MAX + 63) / 64]; /* databases, by their place in `dbs`, whose trees were found and are whole */
};

static inline bool kv_check_is_sound(const struct kv_check_result *r, unsigned db)
{
	return r->sound[db / 64] >> (db % 64) & 1;
}

/* 0: it was gone through, the result says what was found. WEIR_ENOTFOUND: there is no such file, or it is empty. WEIR_EBUSY: a
 * process has it open. WEIR_EVERSION; WEIR_EIO: it cannot be opened (a part that cannot be read is damage); what record()
 * returned. *ret_why, on error: text, the caller's to free. */
int kv_check(const struct kv_check_options *o, struct kv_check_result *ret, char **ret_why);

/* A raw record as it lies on the disk: its value, or WEIR_ECORRUPT. */
int kv_record_unwrap(struct bytes key, struct bytes raw, struct bytes *ret_value);

#endif
