/* raft/log: the log as this member has it, and how much of that its disk has. Internal.
 *
 *     base        durable        last
 *      |  on disk    |  to write   |          entries base + 1 .. last; of these from `tail` on
 *      +-------------+-------------+          are in memory: all above `durable`, and
 *              | in memory         |          below it a cache of cache_bytes_max
 *             tail
 *
 * One write at a time is under way (raft_log_write_begin). What it wrote counts when it is done, except for what was replaced
 * in memory meanwhile: `write_counts_to` follows each truncation. The disk may then hold entries above `durable` that the
 * log no longer has (up to `disk_last`): the next write begins by removing them. */
#ifndef RAFT_LOG_H
#define RAFT_LOG_H

#include "raft/raft.h"

struct raft_log_config {
	uint64_t index;
	struct raft_config config;
};

struct raft_log_write { /* the one under way */
	bool active, reset;
	uint64_t last;              /* the disk's last entry when it is done */
	uint64_t counts_to;         /* entries up to here are still the log's */
	struct raft_entry *entries; /* with references of their own: the log's may be truncated meanwhile */
	size_t entry_count;
};

struct raft_log {
	uint64_t base_index, base_term;
	uint64_t last, durable;
	uint64_t disk_last;  /* of what is on the disk, the log's or not */
	bool reset_pending;  /* the disk's log must be emptied: it begins behind base_index now */
	struct raft_log_write write;

	uint64_t tail;              /* index of the first entry in memory; last + 1: none is */
	struct raft_entry *ring;    /* entry i is at i & (ring_capacity - 1) */
	size_t ring_capacity;       /* 0, or a power of two */
	size_t cached_bytes, cache_bytes_max; /* of the entries in memory that are durable */

	struct raft_term_start *runs; /* terms of the entries above base_index */
	size_t run_count, run_capacity;

	struct raft_config base_config;
	struct raft_log_config *configs; /* the CONFIG entries above base_index */
	size_t config_count, config_capacity;

	struct raft_storage storage;
};

/* 0, RAFT_EINVAL: a start that contradicts itself; then there is nothing to free. */
int raft_log_init(struct raft_log *l, const struct raft_options *o, const struct raft_start *s);
void raft_log_free(struct raft_log *l);

/* 0: below the base or above the last. */
uint64_t raft_log_term(const struct raft_log *l, uint64_t index);
uint64_t raft_log_last_term(const struct raft_log *l);
/* The highest index at or below `index` whose term is at most `term`; where the base's term is higher, one below the base. */
uint64_t raft_log_find_term(const struct raft_log *l, uint64_t index, uint64_t term);

/* The configuration in force: the latest one, committed or not (D 4.1), and its index. */
const struct raft_config *raft_log_config(const struct raft_log *l);
uint64_t raft_log_config_index(const struct raft_log *l);
/* The latest at or below an index: what is committed. */
const struct raft_config *raft_log_config_at(const struct raft_log *l, uint64_t index);
/* Is it a voter in that one, or in any later one? */
bool raft_log_voter_since(const struct raft_log *l, uint64_t index, uint64_t id);

/* Behind the last; keeps a reference to e's data. A CONFIG's bytes were checked before. */
void raft_log_append(struct raft_log *l, const struct raft_entry *e);
/* Removes the entries at and above `index`, which is above the base. Their number. */
uint64_t raft_log_truncate(struct raft_log *l, uint64_t index);
/* The log begins behind `index`, at most `durable`, from now on. */
void raft_log_compact(struct raft_log *l, uint64_t index);
/* The log begins behind (index, term), which it need not have; keep: what it has above goes on behind it. */
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, const struct raft_config *c, bool keep);

/* As struct raft_storage's, from memory where it is there. 0, RAFT_ESTORAGE. */
int raft_log_entries(const struct raft_log *l, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out,
    size_t room, size_t *ret_count);

bool raft_log_write_needed(const struct raft_log *l);
/* Fills all of *ret_write but the hard state. No write is under way. */
void raft_log_write_begin(struct raft_log *l, size_t bytes_max, size_t entries_max, struct raft_write *ret_write);
void raft_log_written(struct raft_log *l);
void raft_log_write_undone(struct raft_log *l);
/* The disk's log begins where this one begins: no reset is to be written or under way. */
bool raft_log_base_durable(const struct raft_log *l);

#endif
