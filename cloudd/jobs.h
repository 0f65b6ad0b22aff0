/* The work that consensus hands to the two writer threads: what is to be written durably to the log environment, and
 * what is to be applied to the state environment. Built and read by consensus on the loop; between hand-over and completion
 * only the writer touches a job (log_job_run, apply_job_run, apply_job_count: declared in node.h). */
#ifndef WEIR_CLOUDD_JOBS_H
#define WEIR_CLOUDD_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "common/kv.h"

/* Keys of LOG_DB_NODE. */
#define LOG_KEY_NODE "n"    /* whose log this is: [version u8][node name][shards varint][member u64] */
#define LOG_KEY_CLUSTER "c" /* cluster id, CLUSTER_ID_BYTES */
#define LOG_KEY_GROUP 'g'   /* 'g', group be32: struct log_group */
#define LOG_RECORD_VERSION 2
#define LOG_NODE_KEY_MAX 8
#define LOG_NODE_VALUE_MAX 256
#define LOG_ENTRY_HEAD 9 /* before each entry: [term u64][kind u8] */

/* What is kept of a group beside its entries:
 * [version u8][term u64][vote u64][base index u64][base term u64][length varint, configuration as of the base]. The log
 * begins behind the base; entries at and below it are left-overs, removed step by step. */
struct log_group {
	uint64_t term, vote;
	uint64_t base_index, base_term;
	uint8_t config[SNAPSHOT_CONFIG_MAX];
	size_t config_len; /* 0: none */
};

struct log_append {
	uint32_t group;
	uint8_t kind; /* enum raft_entry_kind */
	uint64_t index, term;
	struct bytes entry; /* consensus' */
};
struct log_suffix {
	uint32_t group;
	uint64_t from; /* and all above; 0: all */
};
struct log_truncate {
	uint32_t group;
	uint64_t from, upto; /* inclusive */
};
struct log_record {
	uint8_t key[LOG_NODE_KEY_MAX];
	size_t key_len;
	uint8_t value[LOG_NODE_VALUE_MAX];
	size_t value_len;
};

/* One durable transaction, in this order: ends are cut off, beginnings removed, records put, entries appended. */
struct log_job {
	struct log_suffix *suffixes;
	size_t suffix_count, suffix_cap;
	struct log_truncate *truncates;
	size_t truncate_count, truncate_cap;
	struct log_record *records;
	size_t record_count, record_cap;
	struct log_append *appends;
	size_t append_count, append_cap;
	size_t append_bytes;
};

struct log_job *log_job_new(void);
void log_job_free(struct log_job *j); /* NULL is fine */
void log_job_append(struct log_job *j, const struct log_append *a);
void log_job_suffix(struct log_job *j, uint32_t group, uint64_t from);
void log_job_truncate(struct log_job *j, uint32_t group, uint64_t from, uint64_t upto);
/* A record of LOG_DB_NODE; key and value within the limits above. */
void log_job_record(struct log_job *j, struct bytes key, struct bytes value);
void log_job_group(struct log_job *j, uint32_t group, const struct log_group *state);
/* WEIR_EVERSION, WEIR_ECORRUPT, WEIR_ETRUNCATED. */
int log_group_decode(struct bytes value, struct log_group *ret_state);

enum apply_step {
	APPLY_ENTRY,
	APPLY_NOOP,
	APPLY_CONFIG,
	APPLY_SNAPSHOT_BEGIN,
	APPLY_SNAPSHOT_RECORDS,
	APPLY_SNAPSHOT_END,
	APPLY_SKIP, /* an entry that cannot be applied here */
	APPLY_VOID  /* the state is not to be used any more */
};

struct apply_item {
	uint32_t group;
	enum apply_step step;
	uint64_t index, term;       /* of an entry; END: of the head; else 0 */
	struct bytes bytes;         /* ENTRY, CONFIG, RECORDS; whose they are, `owner` knows */
	void *owner;                /* consensus' */
	struct snapshot_head *head; /* END; consensus' */
	bool bad;                   /* set by the run: RECORDS, END: not what the sender had */
};

struct apply_job {
	struct apply_item *items;
	struct apply_result *results; /* of the first `done` items; zeroed for the steps of a snapshot */
	size_t count, cap, done;
	size_t bytes;
	bool corrupt; /* set by a run that returned WEIR_ECORRUPT: items[done] met a record of its group that does not read. */
	              /* The transaction is aborted; the others' entries come again */
	bool outdated; /* likewise of one that returned WEIR_EVERSION: items[done] is of a later program than this one */
	bool quiet; /* nobody waits for what comes of it, and nothing comes next: completed with any later turn of the loop */
};

struct apply_job *apply_job_new(void);
/* NULL is fine. What owner and head point to is not touched: consensus takes it back first. */
void apply_job_free(struct apply_job *j);
void apply_job_add(struct apply_job *j, const struct apply_item *item);

#endif
