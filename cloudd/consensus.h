/* Consensus: the logs of the groups that this node holds. What is proposed here is committed once it is durable (in
 * this version a group has one replica, so its own log is its quorum), and handed to apply in order of its index.
 *
 * The seam where Raft slides in: propose -> committed -> applied. Nothing above knows how an entry is committed.
 *
 *     propose --> tail (memory) --log job, one fsync for all groups--> committed --apply job--> applied
 *                                        ^ hard state, truncation below what `state` holds durably
 *
 * One log job and one apply job are under way at a time; what is proposed meanwhile goes into the next one: group
 * commit. Proposals that are not applied yet count against quotas; over them a proposal is WEIR_EBUSY.
 *
 * Full disks. Log (a job returns WEIR_EFULL): nothing was written; the entries wait. Each CONSENSUS_RETRY_MS truncation
 * alone is tried in turns with the entries alone, of fewer entries each time. State (an apply job returns WEIR_EFULL; the
 * runner has called apply_abort): everything since the last state commit is forgotten there; after CONSENSUS_RETRY_MS the
 * entries above what is durable are read back from the log and applied again. Results of entries that were reported
 * before are not reported again.
 *
 * Pure but for reading the log environment at open and when it replays. On the loop thread. Callbacks may call
 * consensus_propose, nothing else of this header that changes state. */
#ifndef WEIR_CLOUDD_CONSENSUS_H
#define WEIR_CLOUDD_CONSENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/jobs.h"
#include "common/kv.h"
#include "common/model.h"

#define CONSENSUS_GROUP_BYTES_MAX (8 * 1024 * 1024)   /* proposed and not applied, per group */
#define CONSENSUS_GROUP_ENTRIES_MAX 4096
#define CONSENSUS_BYTES_MAX (128 * 1024 * 1024)       /* of all groups */
#define CONSENSUS_RESERVE_BYTES (1024 * 1024)         /* of a group's quota: for consensus_propose_own only */
#define LOG_JOB_BYTES_MAX (16 * 1024 * 1024)
#define LOG_JOB_ENTRIES_MAX 16384
#define LOG_JOB_TRUNCATES_MAX 8192
#define APPLY_JOB_BYTES_MAX (4 * 1024 * 1024)
#define APPLY_JOB_ENTRIES_MAX 1024
#define APPLY_JOB_GROUP_ENTRIES_MAX 256               /* of one group in a row, so that no group starves another */
#define CONSENSUS_TRUNCATE_MIN 256                    /* entries: fewer are not worth a write of their own */
#define CONSENSUS_RETRY_MS 500

struct consensus;

struct consensus_io {
	void *arg;
	void (*log_write)(void *arg, struct log_job *job);
	void (*apply)(void *arg, struct apply_job *job);
	void (*committed)(void *arg, uint32_t group, uint64_t index);
	/* An entry was applied; in order of its index within a group. entry: its bytes, for the call. */
	void (*applied)(void *arg, const struct apply_result *r, struct bytes entry);
};

struct consensus_counters {
	uint64_t proposed, proposed_bytes;
	uint64_t busy;                 /* proposals refused by a quota */
	uint64_t log_jobs, log_full;   /* jobs written; jobs that found the disk full */
	uint64_t apply_jobs, apply_full;
	uint64_t applied, undecodable; /* entries; entries that apply skipped as undecodable */
	uint64_t truncated;
	uint64_t replayed;             /* entries read back from the log */
};

/* Checks the whole log: no gaps, no bad record, nothing applied that is not in it, nothing truncated that is not
 * applied, and that it is this node's. WEIR_ECORRUPT, WEIR_EVERSION, WEIR_EINVAL (another node's or topology's), WEIR_EIO;
 * *ret_why: text, the caller's to free. No callback is made before the first flush. The kv, the apply and the
 * topology outlive it; `apply` is only asked apply_applied(), and only here. */
int consensus_open(const struct topology *t, uint32_t self, struct kv *log, const struct apply *apply,
    const struct consensus_io *io, struct consensus **ret_consensus, char **ret_why);
void consensus_close(struct consensus *c); /* frees jobs under way too: their runners have stopped */

bool consensus_holds(const struct consensus *c, uint32_t group);

/* Takes a copy. WEIR_EBUSY: over a quota. WEIR_ETOOBIG: over ENTRY_MAX. WEIR_ECLOSED: failed. */
int consensus_propose(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index);
/* For entries that the node itself needs to go on (sweeps, advances, closes): may use the reserve of the quota. */
int consensus_propose_own(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index);

/* Hands over what waits, where the log writer and the state writer are free. */
void consensus_flush(struct consensus *c, int64_t mono_ns);
/* Completions. They free the job, call back, and do not hand over more: call consensus_flush. */
void consensus_log_written(struct consensus *c, struct log_job *job, int rc, int64_t mono_ns);
void consensus_job_applied(struct consensus *c, struct apply_job *job, int rc, int64_t mono_ns);
void consensus_state_durable(struct consensus *c, uint32_t group, uint64_t index);
/* What was applied since the last state commit is forgotten there. */
void consensus_state_aborted(struct consensus *c, int64_t mono_ns);

/* Everything that was in the group's log at open has been applied. */
bool consensus_replayed(const struct consensus *c, uint32_t group);
uint64_t consensus_term(const struct consensus *c, uint32_t group);
uint64_t consensus_committed(const struct consensus *c, uint32_t group);
uint64_t consensus_applied(const struct consensus *c, uint32_t group);
uint64_t consensus_durable(const struct consensus *c, uint32_t group); /* in the state environment */
/* An error after which nothing is written any more; NULL while fine. Lives as long as c. */
const char *consensus_failed(const struct consensus *c);
/* Waiting for room on a disk. */
bool consensus_full(const struct consensus *c);
const struct consensus_counters *consensus_counters(const struct consensus *c);

/* The cluster id as kept in the log environment; false while there is none. */
bool consensus_cluster_id(const struct consensus *c, uint8_t ret_id[CLUSTER_ID_BYTES]);
/* Keeps it with the next log job; consensus_cluster_id() gives it once it is durable. */
void consensus_keep_cluster_id(struct consensus *c, const uint8_t id[CLUSTER_ID_BYTES]);

#endif
