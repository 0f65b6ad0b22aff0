/* The work that consensus hands to the two writer threads: what is to be written durably to the log environment, and
 * which committed entries are to be applied. Built and read by consensus on the loop; between hand-over and completion
 * only the writer touches a job (log_job_run, apply_job_run, apply_job_count: declared in node.h). */
#ifndef WEIR_CLOUDD_JOBS_H
#define WEIR_CLOUDD_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "common/kv.h"

/* Keys of LOG_DB_NODE. */
#define LOG_KEY_NODE "n"    /* whose log this is: [version u8][node name][shards varint] */
#define LOG_KEY_CLUSTER "c" /* cluster id, CLUSTER_ID_BYTES */
#define LOG_KEY_GROUP 'g'   /* 'g', group be32: hard state [version u8][term u64][truncated u64] */
#define LOG_RECORD_VERSION 1
#define LOG_NODE_KEY_MAX 8
#define LOG_NODE_VALUE_MAX 128
#define LOG_ENTRY_HEAD 8 /* the term, before each entry */

struct log_append {
	uint32_t group;
	uint64_t index, term;
	struct bytes entry; /* consensus' */
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

struct log_job {
	struct log_append *appends;
	size_t append_count, append_cap;
	size_t append_bytes;
	struct log_truncate *truncates;
	size_t truncate_count, truncate_cap;
	struct log_record *records;
	size_t record_count, record_cap;
};

struct log_job *log_job_new(void);
void log_job_free(struct log_job *j); /* NULL is fine */
void log_job_append(struct log_job *j, uint32_t group, uint64_t index, uint64_t term, struct bytes entry);
void log_job_truncate(struct log_job *j, uint32_t group, uint64_t from, uint64_t upto);
/* A record of LOG_DB_NODE; key and value within the limits above. */
void log_job_record(struct log_job *j, struct bytes key, struct bytes value);
/* The hard state of a group. */
void log_job_group(struct log_job *j, uint32_t group, uint64_t term, uint64_t truncated);
int log_group_decode(struct bytes value, uint64_t *ret_term, uint64_t *ret_truncated);

struct apply_item {
	uint32_t group;
	uint64_t index, term;
	uint8_t *entry; /* owned */
	size_t len;
	size_t quota; /* bytes that it counts against its group's quota until it is applied */
};

struct apply_job {
	struct apply_item *items;
	struct apply_result *results; /* of the first `done` items */
	size_t count, cap, done;
	size_t bytes;
};

struct apply_job *apply_job_new(void);
void apply_job_free(struct apply_job *j); /* NULL is fine */
/* Takes `entry`. */
void apply_job_add(struct apply_job *j, const struct apply_item *item);

#endif
