/* raft/internal: struct raft, and what its files do for each other. Nothing outside of raft/ includes this
 * but its tests.
 *
 *   raft.c         making, proposing, ticking, asking
 *   step.c         what comes in: which messages are possible, the rules of terms, who handles which
 *   election.c     campaigns and votes                                  D 3.4, 3.6.1, 9.6
 *   leader.c       beginning and end of a leadership, its ticks, transfer D 3.10, 6.2, 6.4
 *   replication.c  AppendEntries, its result, commitment                D 3.5, 3.6.2, 10.2.1
 *   read.c         linearizable reads                                   D 6.4
 *   membership.c   single-server changes                                D 4
 *   snapshot.c     offers, installation, compaction                     D 5
 *   disk.c         one write at a time; what waits for it               D 10.2.1
 */
#ifndef RAFT_INTERNAL_H
#define RAFT_INTERNAL_H

#include "raft/base.h"
#include "raft/log.h"
#include "raft/outbox.h"
#include "raft/progress.h"
#include "raft/quorum.h"
#include "raft/quota.h"
#include "raft/raft.h"
#include "raft/rule.h"

struct raft_hard_state { /* D figure 3.1: currentTerm, votedFor */
	uint64_t term, vote;
};

struct raft_ballot {
	uint64_t id;
	bool granted;
};

/* Reads in the order they were asked for: first those that are answered, then those that wait for their
 * round, then those that wait for a committed entry of the term. */
struct raft_pending_read {
	struct raft_read read;
	uint64_t round;
};
struct raft_reads {
	struct raft_pending_read *at; /* read i is at (head + i) modulo capacity */
	size_t capacity, head, count;
	size_t answered, begun; /* answered <= begun <= count */
};

struct raft_offer { /* of a snapshot; index 0: none */
	uint64_t from, index;
};

struct raft_leadership { /* exists while role is RAFT_LEADER */
	uint64_t since; /* index of the NOOP */
	uint64_t ticks;
	uint32_t heartbeat_ticks, check_ticks, transfer_ticks; /* since the last, since it began */
	uint64_t transfer_to;
	uint64_t round; /* of the heartbeats sent last */
	bool round_due; /* another one is to be sent */
	bool send_due; /* some follower may be sent something */
	uint32_t turn; /* whose turn it is */
	struct raft_quota quota;
	uint32_t progress_count;
	struct raft_progress progress[RAFT_MEMBERS_MAX];
};

struct raft {
	struct raft_options options;
	uint64_t random;
	const char *failed;

	struct raft_hard_state hard, disk_hard, write_hard; /* in memory, durable, in the write under way */
	struct raft_log log;
	uint64_t commit, applied;
	bool state_void;

	enum raft_role role;
	uint64_t leader;
	uint32_t heard_ticks; /* since a message of the leader */
	uint32_t election_ticks, timeout_ticks; /* since the timer began; when it ends */
	uint32_t ballot_count;
	struct raft_ballot ballots[RAFT_MEMBERS_MAX + 1]; /* of this campaign */

	struct raft_leadership *lead;
	struct raft_reads reads;
	struct raft_offer offer;
	struct raft_outbox outbox;
	struct raft_counters counters;
};

/* The configuration in force. */
const struct raft_config *raft_config_of(const struct raft *r);
bool raft_own_term_committed(const struct raft *r);
/* The storage failed: the end. */
void raft_fail(struct raft *r, const char *why);

/* ---- outgoing messages: `from` and, where it is 0, the term are filled in --------------------- */

void raft_send(struct raft *r, struct raft_message m);
/* As soon as the hard state, and the log up to `index`, are durable as they are now; never if the term moves
 * on. */
void raft_promise(struct raft *r, struct raft_message m, uint64_t index);

/* ---- election.c ------------------------------------------------------------------------------- */

/* `term` is not below the own. */
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader);
void raft_set_term(struct raft *r, uint64_t term, uint64_t vote);
/* A message of the leader of this term came. */
void raft_follow(struct raft *r, uint64_t leader);
void raft_restart_timer(struct raft *r);
void raft_election_tick(struct raft *r);
/* It hears a leader, or is one that a majority hears: candidates are ignored (D 4.2.3, 6.2). */
bool raft_sticky(const struct raft *r);
/* The hard state became durable: a candidate's own vote counts. */
void raft_candidacy_durable(struct raft *r);
void raft_on_pre_vote(struct raft *r, const struct raft_message *m);
void raft_on_request_vote(struct raft *r, const struct raft_message *m);
void raft_on_vote_result(struct raft *r, const struct raft_message *m); /* of either kind */
void raft_on_timeout_now(struct raft *r, const struct raft_message *m);

/* ---- leader.c --------------------------------------------------------------------------------- */

void raft_lead(struct raft *r);
void raft_lead_end(struct raft *r);
void raft_lead_tick(struct raft *r);
/* The other members are those of the configuration in force. */
void raft_lead_members(struct raft *r);
struct raft_progress *raft_progress_of(const struct raft *r, uint64_t id);
bool raft_progress_active(const struct raft *r, const struct raft_progress *p); /* heard of late */
/* Appends an entry of the own term; takes the caller's reference. Its index. */
uint64_t raft_lead_append(struct raft *r, enum raft_entry_kind kind, struct raft_data *data);
bool raft_lead_room(const struct raft *r, size_t len, bool own);
void raft_lead_round(struct raft *r); /* sends heartbeats if they are due */
void raft_on_heartbeat(struct raft *r, const struct raft_message *m);
void raft_on_heartbeat_result(struct raft *r, const struct raft_message *m);
void raft_transfer_check(struct raft *r, const struct raft_progress *p);

/* ---- replication.c ---------------------------------------------------------------------------- */

bool raft_next_append(struct raft *r, struct raft_message *ret_message);
/* May end the leadership. */
void raft_advance_commit(struct raft *r);
void raft_set_commit(struct raft *r, uint64_t index);
/* It would replace what is committed: no leader sends that. */
bool raft_append_impossible(const struct raft *r, const struct raft_message *m);
void raft_on_append(struct raft *r, const struct raft_message *m);
void raft_on_append_result(struct raft *r, const struct raft_message *m);

/* ---- read.c ----------------------------------------------------------------------------------- */

void raft_reads_begin(struct raft *r); /* those that waited for an entry of the term */
void raft_reads_confirm(struct raft *r); /* those whose round a majority has answered */
void raft_reads_fail(struct raft *r);

/* ---- membership.c ----------------------------------------------------------------------------- */

/* It has a vote, or had one in a configuration that may still be the committed one (D 4.2.2). */
bool raft_may_be_needed(const struct raft *r);
/* A configuration was committed: a leader that is no voter in it steps down. */
void raft_leave_if_removed(struct raft *r);

/* ---- snapshot.c ------------------------------------------------------------------------------- */

bool raft_next_offer(struct raft *r, struct raft_progress *p, struct raft_message *ret_message);
void raft_on_install_snapshot(struct raft *r, const struct raft_message *m);
void raft_on_install_snapshot_result(struct raft *r, const struct raft_message *m);

/* ---- disk.c ----------------------------------------------------------------------------------- */

bool raft_promises_durable(const struct raft *r); /* all but the log's entries */

#endif
