/* raft: a consensus core, one `struct raft` for each replica of each group.
 *
 * A deterministic state machine after Ongaro's dissertation, "Consensus: Bridging Theory and Practice" (2014; "D 3.4" below
 * is its section 3.4). Input: a message, a tick, a proposal, the completion of a write. Output: what to write, what to
 * send, what is committed. No I/O, no clock, no thread, no global, no allocation without a bound; randomness comes from
 * the seed. One caller at a time for each struct raft; different ones are independent. It knows nothing of its user.
 *
 *               raft_step (messages)      raft_tick        raft_propose, raft_read_index, raft_transfer, raft_change_...
 *                        |                    |                                   |
 *                        v                    v                                   v
 *                 +------------------------------- struct raft -------------------------------+
 *                        |                    |                         |                |
 *                        v                    v                         v                v
 *               raft_write_begin      raft_pop_message           raft_committed    raft_pop_read
 *                        |              (what may leave            raft_entries
 *               one durable write        by now)                        |
 *                        |                                         apply in order
 *                  raft_written                                         |
 *                                                                 raft_applied
 *
 * The order of a turn: give all input, raft_write_begin() and hand the write to the disk, raft_pop_message() until it is
 * false and send those, apply what is committed. When the disk is done: raft_written(), and the rest of the messages may
 * leave. Nothing needs to happen in lockstep: the core itself holds back what promises something that is not durable
 * (votes, results of AppendEntries, RequestVote with the candidate's own term), and lets go at once what does not
 * (a leader's AppendEntries: its disk and its followers' write in parallel, D 10.2.1).
 *
 * What is never assumed of the network: order, uniqueness, timeliness, delivery. What is assumed of the disk: a write
 * whose raft_written() was given is durable; one without is there whole, or not at all.
 *
 * Members are named by numbers that are never used twice: a replica that lost its disk is another member (D 11.1's
 * servers that lose their state are replaced, not repaired). */
#ifndef RAFT_H
#define RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAFT_MEMBERS_MAX 15
#define RAFT_NOBODY 0             /* no member has this number */
#define RAFT_TERM_MAX (UINT64_C(1) << 62) /* terms and indexes in messages are below; else RAFT_EINVAL */
#define RAFT_MESSAGE_ENTRIES_MAX 1024
#define RAFT_READS_MAX 1024       /* raft_read_index waiting */
#define RAFT_CONFIG_BYTES_MAX 160 /* encoded */

enum raft_error {
	RAFT_EINVAL = -1,    /* impossible numbers in a message or a start; nothing was changed */
	RAFT_ENOTLEADER = -2,
	RAFT_EBUSY = -3,     /* over a quota: later */
	RAFT_ETOOBIG = -4,   /* an entry over entry_bytes_max */
	RAFT_EPENDING = -5,  /* another change is not committed yet, or no entry of this term is (D 4.1) */
	RAFT_ESTORAGE = -6   /* the storage could not be read: nothing can go on, see raft_failed() */
};
const char *raft_error_text(int code);

/* ---- entries ------------------------------------------------------------------------------------------------- */

/* Bytes shared by log, messages and writes. Counted without atomics: references are taken and given back by the thread
 * that runs the core; while a reference is held, other threads may read the bytes. */
struct raft_data {
	uint32_t references;
	size_t len;
	uint8_t *bytes;
};
/* Takes `bytes`, from malloc; one reference, the caller's. Aborts when memory is out, as all of this library. */
struct raft_data *raft_data_take(uint8_t *bytes, size_t len);
struct raft_data *raft_data_copy(const void *bytes, size_t len);
struct raft_data *raft_data_hold(struct raft_data *d); /* one reference more; NULL is fine, in both */
void raft_data_release(struct raft_data *d);

enum raft_entry_kind {
	RAFT_ENTRY_DATA = 1,
	RAFT_ENTRY_NOOP = 2,  /* a leader's first (D 6.4, and 3.6.2: its commitment commits all before) */
	RAFT_ENTRY_CONFIG = 3 /* data: raft_config_encode */
};

struct raft_entry {
	uint64_t index, term;
	enum raft_entry_kind kind;
	struct raft_data *data; /* NULL: none (NOOP) */
};

/* ---- configurations (D 4) ------------------------------------------------------------------------------------- */

struct raft_member {
	uint64_t id;
	bool voter; /* else a learner: gets entries, counts in no majority (D 4.2.1) */
};
struct raft_config {
	uint32_t count;
	struct raft_member members[RAFT_MEMBERS_MAX]; /* by id, ascending, each once */
};
/* [version u8 1][count u8], then for each [id u64 little-endian][voter u8]. Returns the length. */
size_t raft_config_encode(const struct raft_config *c, uint8_t out[RAFT_CONFIG_BYTES_MAX]);
int raft_config_decode(const void *bytes, size_t len, struct raft_config *ret_config); /* 0, RAFT_EINVAL */
const struct raft_member *raft_config_find(const struct raft_config *c, uint64_t id);
/* Sorts in; false: full, or there already. */
bool raft_config_add(struct raft_config *c, uint64_t id, bool voter);

/* ---- messages --------------------------------------------------------------------------------------------------- */

enum raft_message_kind {
	RAFT_PRE_VOTE = 1,          /* D 9.6 */
	RAFT_PRE_VOTE_RESULT = 2,
	RAFT_REQUEST_VOTE = 3,      /* D 3.4 */
	RAFT_REQUEST_VOTE_RESULT = 4,
	RAFT_APPEND_ENTRIES = 5,    /* D 3.5; never empty but as a probe */
	RAFT_APPEND_ENTRIES_RESULT = 6,
	RAFT_HEARTBEAT = 7,         /* the empty AppendEntries of D 3.4, without a log check */
	RAFT_HEARTBEAT_RESULT = 8,
	RAFT_INSTALL_SNAPSHOT = 9,  /* an offer: the receiver fetches the state itself, see raft_snapshot_wanted() */
	RAFT_INSTALL_SNAPSHOT_RESULT = 10,
	RAFT_TIMEOUT_NOW = 11       /* D 3.10 */
};

/* Fields that a kind does not name are 0. */
struct raft_message {
	enum raft_message_kind kind;
	uint64_t from, to;
	uint64_t term;     /* the sender's; PRE_VOTE: the term it would campaign in; a granting PRE_VOTE_RESULT: that one */
	uint64_t index;    /* votes: the candidate's last; APPEND_ENTRIES: the one before the entries (prevLogIndex); its result:
	                      highest that this message *verified*, or the prevLogIndex refused; INSTALL_SNAPSHOT and its
	                      result: the snapshot's last */
	uint64_t log_term; /* the term of the entry at `index` */
	uint64_t commit;   /* APPEND_ENTRIES; HEARTBEAT: at most what the receiver is known to match; its result: what the sender
	                      has applied, 0 while it has no state */
	bool reject;       /* results: no */
	bool force;        /* REQUEST_VOTE: by the leader's wish (transfer): grant it though a leader is alive */
	uint64_t hint_index, hint_term; /* a refused APPEND_ENTRIES: the follower's log may match up to hint_index, whose term
	                      there is hint_term; earlier ones of that index and term or lower are worth trying first */
	uint64_t round;    /* HEARTBEAT and its result: of the leader, for raft_read_index */
	struct raft_entry *entries; /* APPEND_ENTRIES */
	size_t entry_count;
};
/* Frees the array and releases its data; for messages from raft_pop_message and those that the caller decoded. */
void raft_message_clear(struct raft_message *m);

/* ---- making one ---------------------------------------------------------------------------------------------------- */

/* How the core reads entries that it no longer keeps in memory. */
struct raft_storage {
	void *arg;
	/* Entries first, first + 1, ... up to `last` at the most, at least one, ending before the sum of data lengths would
	 * pass bytes_max (the first always goes), at most `room`. Their data is a fresh reference each: the caller's. 0, or
	 * negative: RAFT_ESTORAGE. Asked only for entries whose raft_written() was given and that are not compacted. */
	int (*entries)(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out, size_t room,
	    size_t *ret_count);
};

struct raft_options {
	uint64_t id;
	uint64_t seed;
	uint32_t election_ticks;    /* a timeout is drawn from [election_ticks, 2 * election_ticks) (D 3.4) + priority_ticks */
	uint32_t heartbeat_ticks;   /* less than election_ticks */
	uint32_t priority_ticks;    /* 0: the preferred leader; others wait so much longer before they campaign */
	size_t entry_bytes_max;     /* data of one entry */
	size_t message_bytes_max;   /* data of one AppendEntries; one entry always fits */
	size_t inflight_bytes_max;  /* sent to a follower and not acknowledged */
	uint32_t inflight_messages_max;
	size_t proposed_bytes_max;  /* of this leader, not applied: over it RAFT_EBUSY */
	uint32_t proposed_max;
	size_t cache_bytes_max;     /* durable entries kept in memory for followers and apply; older ones are read from storage */
	struct raft_storage storage;
};

struct raft_term_start { /* the log's entries from `index` up to the next start have this term */
	uint64_t index, term;
};

/* What is durable. Everything is copied. A new member of no group yet: all zero, an empty config. The founder of a group:
 * term 1, one entry (index 1, term 1, CONFIG with all its members).
 * After a crash between a state's installation at (S, its term) and the log's reset: if the log has that very entry, it is
 * as any other start; else base = last = applied = S, with that term and configuration, and no entries (they are to be
 * removed); its term may be above the hard state's. */
struct raft_start {
	uint64_t term, vote;               /* hard state */
	uint64_t base_index, base_term;    /* the log begins behind it: the last entry that was compacted or installed */
	struct raft_config base_config;    /* as of base_index */
	uint64_t last;                     /* the log's; base_index where it is empty */
	const struct raft_term_start *terms; /* of the entries above base_index, in order */
	size_t term_count;
	const struct raft_entry *configs;  /* the CONFIG entries above base_index, in order */
	size_t config_count;
	uint64_t applied;                  /* durable in the state machine: base_index <= applied <= last; it is committed */
	bool state_void;                   /* the state machine lost its state while a snapshot was being installed: it must get
	                                      one before it applies or leads */
};

struct raft;

/* 0, RAFT_EINVAL (a start or options that contradict themselves). The storage's arg outlives it. */
int raft_new(const struct raft_options *o, const struct raft_start *s, struct raft **ret_raft);
void raft_free(struct raft *r);

/* ---- input ------------------------------------------------------------------------------------------------------------- */

void raft_tick(struct raft *r);
/* Keeps references to m's data, nothing else. 0; RAFT_EINVAL: not for this member, impossible numbers, entries that do not
 * follow each other: dropped, nothing changed, counted; RAFT_ESTORAGE: see raft_failed(). Old, double and foreign messages
 * are no error. */
int raft_step(struct raft *r, const struct raft_message *m);
/* Appends to the leader's log; takes over the caller's reference on success only. RAFT_ENOTLEADER (also while leadership
 * is handed over), RAFT_EBUSY, RAFT_ETOOBIG. own: may use the last eighth of the quotas. What becomes of it: it is
 * applied under this (index, term), or another entry is applied at this index, or this member stops being the leader. */
int raft_propose(struct raft *r, struct raft_data *data, bool own, uint64_t *ret_index);

/* Single-server changes, one at a time (D 4.1). 0, RAFT_ENOTLEADER, RAFT_EPENDING, RAFT_EBUSY, RAFT_EINVAL (no such member,
 * or there already, full, the last voter). A learner is promoted when it can do a voter's work: RAFT_EINVAL for one that is not
 * active, lags more than RAFT_PROMOTE_LAG_MAX entries, or needs a state. */
#define RAFT_PROMOTE_LAG_MAX 1024
int raft_add_learner(struct raft *r, uint64_t id);
int raft_promote(struct raft *r, uint64_t id);
int raft_remove(struct raft *r, uint64_t id); /* may be the leader itself: it leads until that is committed (D 4.2.2) */

/* Hands leadership to a voter (D 3.10): it is brought up to date first; proposals are refused meanwhile, for an election
 * timeout at the most. 0 (begun, or it leads already), RAFT_ENOTLEADER, RAFT_EINVAL, RAFT_EPENDING (another is under way). */
int raft_transfer(struct raft *r, uint64_t to);
/* Campaigns now, as if the election timeout had passed (with its pre-vote). */
void raft_campaign(struct raft *r);
/* Another priority (raft_options.priority_ticks), from the next timeout on. At most UINT32_MAX / 4. */
void raft_set_priority(struct raft *r, uint32_t priority_ticks);

/* Asks for an index such that a state machine that has applied it answers linearizably (D 6.4): comes out of
 * raft_pop_read() under `context`, when a majority has confirmed that this leader still leads after the call. All that are
 * asked for before the next heartbeat round share it; the round leaves at once. 0, RAFT_ENOTLEADER, RAFT_EBUSY. */
int raft_read_index(struct raft *r, uint64_t context);

/* The application has applied up to `index`, in memory: releases quotas. Not above what raft_committed() said. */
void raft_applied(struct raft *r, uint64_t index);
/* Entries up to `index` are durable in the state machine and are going to be removed from the log: from now on they are
 * not asked for. Not above the applied index. A leader's follower that needs them gets a snapshot. */
void raft_compact(struct raft *r, uint64_t index);
/* A message to that member was lost for certain, or its connection broke: stop streaming, probe (D 10.2.1's optimistic
 * nextIndex goes back to what is known). */
void raft_unreachable(struct raft *r, uint64_t id);

/* ---- snapshots (D 5): metadata here, contents elsewhere ------------------------------------------------------------------ */

/* This member is so far behind that the leader's log does not reach back to it. True: fetch the state from `*ret_from`,
 * which must be at *ret_index or later. Stays true until it is done, another one is wanted, or the log has caught up by
 * itself. */
bool raft_snapshot_wanted(const struct raft *r, uint64_t *ret_from, uint64_t *ret_index);
/* The application begins to overwrite its state: from now until raft_snapshot_installed() nothing is applied, and this
 * member does not campaign. It goes on to append and to vote: its log is whole. As that may be the longest, which no majority
 * elects another against, a member without a state and a leader should get any other member's, from its base on. */
void raft_snapshot_begin(struct raft *r);
/* The application durably holds the state as of (index, term), with the configuration as of there. The log is emptied,
 * unless it goes on behind that very entry; the next write says so. 0; RAFT_EINVAL: below what was applied when
 * raft_snapshot_begin() was not called. */
int raft_snapshot_installed(struct raft *r, uint64_t index, uint64_t term, const struct raft_config *config);
/* It could not be had: the leader is told, and offers another one later. */
void raft_snapshot_failed(struct raft *r);

/* ---- output: the disk ------------------------------------------------------------------------------------------------------ */

/* One durable write, to be done whole or not at all, in this order. */
struct raft_write {
	bool reset;                     /* remove all entries; the log begins behind base_index now */
	uint64_t base_index, base_term;
	struct raft_config base_config;
	uint64_t truncate_from;         /* remove entries at and above; 0: none */
	const struct raft_entry *entries; /* then append these; live until the write is given back */
	size_t entry_count;
	bool hard_state;                /* write these two */
	uint64_t term, vote;
};
/* What there is to write. False: nothing, or a write is under way: one at a time. Entries are limited to bytes_max (but
 * for the first one) and entries_max. */
bool raft_write_begin(struct raft *r, size_t bytes_max, size_t entries_max, struct raft_write *ret_write);
/* The write under way is durable. What was overwritten in memory meanwhile does not count: (index, term) decide. */
void raft_written(struct raft *r);
/* Nothing of it was written (a full disk): it is offered again, as things are by then. Any other failure of a disk must
 * end the process: there is no call for it. */
void raft_write_undone(struct raft *r);

/* ---- output: messages --------------------------------------------------------------------------------------------------------- */

/* The next message that may leave; AppendEntries are made here, so that what was proposed in one turn shares one. False:
 * no more by now. The caller clears it. */
bool raft_pop_message(struct raft *r, struct raft_message *ret_message);

/* ---- output: what is committed --------------------------------------------------------------------------------------------- */

/* Highest index that may be applied: min(committed, durable here). Never falls, but to the applied index while the state is
 * void. */
uint64_t raft_committed(const struct raft *r);
/* Entries first .. last, as struct raft_storage's: from memory, else from storage. first is above the base; last <=
 * raft_committed(). 0, RAFT_ESTORAGE. */
int raft_entries(struct raft *r, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out, size_t room,
    size_t *ret_count);

struct raft_read {
	uint64_t context;
	bool ok;        /* false: no longer the leader */
	uint64_t index;
};
bool raft_pop_read(struct raft *r, struct raft_read *ret_read);

/* ---- asking ------------------------------------------------------------------------------------------------------------------- */

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
enum raft_progress_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };

struct raft_progress_status {
	uint64_t id;
	bool voter;
	enum raft_progress_state state;
	uint64_t match, next;
	uint64_t applied; /* as it said last; 0: it has no state, or has not said */
	bool active; /* heard within the last election timeout */
	uint32_t inflight_messages;
	size_t inflight_bytes;
};

struct raft_status {
	enum raft_role role;
	uint64_t term, vote, leader; /* RAFT_NOBODY: not known */
	uint64_t base, durable, last;
	uint64_t commit;       /* of the group, as known here: may be above raft_committed() */
	uint64_t applied;
	uint64_t leader_since; /* leader: index of its NOOP; it serves once that is applied. Else 0 */
	uint64_t transfer_to;
	bool state_void;
	bool log_reset;        /* the disk's log is another one until a write with `reset` is done */
	bool config_pending;   /* the latest configuration is not committed */
	struct raft_config config; /* the latest in the log (D 4.1: in force at once) */
	uint32_t ticks_since_heard; /* follower: since a message of the leader */
	uint32_t progress_count;
	struct raft_progress_status progress[RAFT_MEMBERS_MAX]; /* leader: of each other member */
};
void raft_status(const struct raft *r, struct raft_status *ret_status);
bool raft_is_leader(const struct raft *r);
uint64_t raft_leader(const struct raft *r); /* RAFT_NOBODY: none, or not heard for an election timeout */
uint64_t raft_term(const struct raft *r);
/* The term of an entry of the log, or of the base; 0: not known. */
uint64_t raft_term_at(const struct raft *r, uint64_t index);
/* The configuration as of an index: the latest at or below it. base <= index <= last. */
void raft_config_at(const struct raft *r, uint64_t index, struct raft_config *ret_config);
/* NULL, or why nothing can go on (the storage failed). */
const char *raft_failed(const struct raft *r);

struct raft_counters {
	uint64_t pre_votes, campaigns, elected, stepped_down, quorum_lost;
	uint64_t votes_granted, votes_refused;
	uint64_t appends_sent, append_bytes_sent, appends_refused, probes, snapshots_offered;
	uint64_t messages_invalid, messages_stale; /* dropped by raft_step */
	uint64_t proposed, proposed_busy, reads;
	uint64_t truncated; /* entries that another leader's replaced */
};
void raft_counters(const struct raft *r, struct raft_counters *ret_counters);

#endif
