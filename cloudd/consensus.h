/* Consensus: the replicas of all groups that this node holds. Joins the core (raft/raft.h: only cloudd/consensus*.[ch] include
 * it) to the log environment, to the state machines and to the other nodes.
 *
 *     propose --> raft --log job, one fsync for all groups--> messages that waited for it --> other nodes
 *                  |  <--------------------- messages, one frame per peer and turn -------------'
 *                  '--> committed --apply job--> applied (result) ... state durable --> log truncated below it
 *
 * One log job and one apply job are under way at a time; what comes meanwhile goes into the next: group commit. A turn of the
 * loop is: node frames in, ticks, proposals, then consensus_flush(): messages that need no write leave, a log job with the
 * writes of all groups is handed over; its completion lets the messages that waited leave. Proposals that are not applied yet
 * count against quotas; over them a proposal is WEIR_EBUSY.
 *
 * Members. A data folder has a random member number (consensus_member); the node's place in the topology is its low
 * CONSENSUS_NODE_BITS. A folder that was lost comes back as another member: the leader adds it as a learner, removes the old
 * number and promotes the new one. Founding: a group begins when its first replica in the topology holds nothing of it and has
 * heard, in this start, from the nodes of all other replicas that they hold nothing either (else a node that lost its disk could
 * found again what others still have); from all nodes of the topology while that is a file (else new ones of a cluster that is there
 * could found among themselves what their file places on them alone), and all of the same list of nodes (else two lists have two first
 * replicas, who could found it at once). It then writes entry 1, a configuration of all members. A
 * replica that holds nothing otherwise waits until a leader speaks to it.
 *
 * The map (consensus_set_topology). What it places here and is not held is opened: empty, it waits until a leader adds it. A leader
 * makes its group's members those of the places, one change at a time: a learner is added, and promoted when it has caught up; of those
 * that have no place one is removed whenever there are more voters than places (before that, where it is not there anyway), never
 * one without which those that are left and there were no majority. A leader without a place hands over and is removed by the next.
 * At most CONSENSUS_MOVES_MAX groups that a node leads have such a learner at a time, and a node fetches as many at a time. A
 * leader whose members are exactly the places says so by the map's version: `settled`. What is held and not placed here is dropped
 * once its leader says that for the very version that this node goes by, and has not spoken to this replica, for
 * CONSENSUS_DROP_MS; or at once where this node is GONE. The log is removed up to what the state holds, then the state is emptied;
 * term, vote and entries behind that stay: should the group come back to this member number, nothing that it promised as a
 * voter is forgotten. Founding is only for a cluster's first map: with a later one, or where any node says to have a later one than this
 * node goes by, nothing is founded. With the first one the meta group has begun: it is not founded any more, and its leader, who knows
 * which shards have begun (io.begun; info.has), has to answer before one is.
 *
 * Leaders. `role(true)` comes when this replica leads and its first entry of the term is applied: from then on it serves.
 * `role(false)` comes at once when it no longer leads: what was proposed and not applied may or may not be committed later.
 * A leader that is not the first-ranked live replica hands leadership over to that, once it has caught up: it has applied what
 * was there when it was looked at first.
 *
 * A replica that the leader's log cannot serve fetches the state (cloudd/fetch) and applies it through apply jobs, beside the
 * entries of other groups; `reloaded` is called when it is durable. From its leader; one that has begun, and then hears no leader,
 * asks the other replicas in turn: its log may be the one without which nobody can be elected, and so it can be again.
 *
 * Reads. What a leader told of (io.applied) is all that anybody was answered since it leads, and it holds what earlier leaders can have
 * answered: its first entry was told of, too. So a read needs what was told of by the time that leadership was confirmed, not all
 * that is committed, which a full disk may keep from being applied.
 *
 * Full disks. A node whose log found no room, or whose state is short of it (consensus_state_low) takes no proposals but sweeps, which
 * may make room (a shard has one under way at a time), and tells the others (info.full). Neither does a leader that has room, but has no majority of voters with room and heard: what it would log, too
 * few could apply; but that a node is dead or back (ENTRY_NODE, one each few seconds), so that another one, with room, takes a place. A full leader hands over to a voter with room that has caught up, at once where its state is short, after
 * CONSENSUS_ASIDE_MS where its log is, which may make its own room; nobody hands over to one that is full. Where all are, the leader goes on to answer reads:
 * what it told of is, or can be made, durable (cloudd/writers.h). A full replica begins to fetch no state while it has one.
 * Log (a job returns WEIR_EFULL): nothing was written; what waits stays. Each CONSENSUS_RETRY_MS
 * truncation alone is tried in turns with the entries alone, of fewer entries each time. State
 * (an apply job returns WEIR_EFULL; the runner has called apply_abort): everything since the last state commit is
 * forgotten there; after CONSENSUS_RETRY_MS the entries above what is durable are read again and applied again, fewer at a time. Results
 * of entries that were reported before are not reported again.
 *
 * Damage. A group whose records do not read, or differ from the other replicas' (consensus_damaged), serves no more: a leader hands
 * over, then the state is marked void and replaced by another replica's; the log is whole and votes meanwhile. What lies there
 * stays until the other's first chunk is here. Where no other replica exists an entry that cannot be applied is passed over. A log
 * that does not read above what the state has applied is not one to vote with: WEIR_ECORRUPT from consensus_open; the
 * caller sets it aside and opens an empty one: a new member number, with the states that are there.
 *
 * Pure but for reading the log environment. On the loop thread. Callbacks may call consensus_propose and consensus_stop,
 * nothing else of this header that changes state. */
#ifndef WEIR_CLOUDD_CONSENSUS_H
#define WEIR_CLOUDD_CONSENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/jobs.h"
#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"

#define CONSENSUS_NODE_BITS 16
#define CONSENSUS_GROUP_BYTES_MAX (8 * 1024 * 1024)   /* proposed and not applied, per group */
#define CONSENSUS_GROUP_ENTRIES_MAX 4096
#define CONSENSUS_BYTES_MAX (128 * 1024 * 1024)       /* of all groups */
#define LOG_JOB_BYTES_MAX (16 * 1024 * 1024)
#define LOG_JOB_ENTRIES_MAX 16384
#define LOG_JOB_TRUNCATES_MAX 8192
#define APPLY_JOB_BYTES_MAX (4 * 1024 * 1024)
#define APPLY_JOB_ENTRIES_MAX 1024
#define APPLY_JOB_GROUP_ENTRIES_MAX 256               /* of one group in a row, so that no group starves another */
#ifndef CONSENSUS_TRUNCATE_MIN /* the simulator makes both small */
#define CONSENSUS_TRUNCATE_MIN 256                    /* entries, or TRUNCATE_BYTES: less is not worth a write of its own */
#define CONSENSUS_KEEP_ENTRIES 4096                   /* kept in the log behind what is durable, or KEEP_BYTES, so that a */
#endif                                                /* follower that was away shortly needs no snapshot; given up when */
#define CONSENSUS_TRUNCATE_BYTES (1024 * 1024)        /* room is short */
#define CONSENSUS_KEEP_BYTES (4 * 1024 * 1024)
#define CONSENSUS_FETCHED_BYTES (512 * 1024 * 1024)   /* the same while a follower fetches the state: it goes on from there */
#define CONSENSUS_RETRY_MS 500
#define CONSENSUS_TICK_MS 50           /* consensus_tick is called each; Raft's tick */
#define CONSENSUS_ELECTION_TICKS 20    /* 1 s .. 2 s */
#define CONSENSUS_HEARTBEAT_TICKS 4    /* 200 ms */
#define CONSENSUS_PRIORITY_TICKS 6     /* per rank */
#define CONSENSUS_STOPPED_MS 500       /* no tick for so long: another may lead by now, which ticks alone would not tell */
#define CONSENSUS_UNHEARD UINT64_MAX
#define CONSENSUS_ALONE_TICKS (3 * CONSENSUS_ELECTION_TICKS) /* void and no leader for so long: it looks for a state itself */
#define CONSENSUS_BALANCE_MS 5000      /* a leader hands over after it led, and the better one followed, for so long */
#define CONSENSUS_ASIDE_MS 3000        /* a leader hands over after its disk was full for so long; and tries again after as much */
#define CONSENSUS_MEMBERS_MS 500       /* a leader looks whether its members are those that exist */
#define CONSENSUS_MOVES_MAX 2          /* groups at a time: with a learner, by a node that leads them; fetched, by a node */
#define CONSENSUS_HEARD_MS 3000        /* who was heard so lately is there: worth being added */
#define CONSENSUS_DROP_MS 5000

struct consensus;

struct consensus_time {
	int64_t wall_ns, mono_ns;
};

struct consensus_io {
	void *arg;
	void (*log_write)(void *arg, struct log_job *job);
	void (*apply)(void *arg, struct apply_job *job);
	/* MSG_RAFT and MSG_SNAPSHOT, envelope to be filled in by the callee. bulk: on the socket for snapshots. False: cannot
	 * now (lost). The message lives for the call. */
	bool (*send)(void *arg, uint32_t node, bool bulk, struct msg *m);
	void (*committed)(void *arg, uint32_t group, uint64_t index);
	/* An entry was applied, on leaders and followers; in order of its index within a group; kind may be ENTRY_NOOP and
	 * ENTRY_CONFIG. entry: its bytes, for the call. */
	void (*applied)(void *arg, const struct apply_result *r, struct bytes entry);
	void (*role)(void *arg, uint32_t group, bool leads, uint64_t term);
	void (*read)(void *arg, uint32_t group, uint64_t context, bool ok, uint64_t index);
	/* The group's durable state is a snapshot's now; entries between were never seen by applied(). */
	void (*reloaded)(void *arg, uint32_t group, uint64_t index);
	/* The group is held from now on (its role is: none); or no longer, and nothing comes of it any more. Not of what
	 * consensus_open() finds: ask consensus_holds(). */
	void (*held)(void *arg, uint32_t group, bool held);
	/* Asked while this node leads the meta group: whether that knows that the shard's group has begun, ever. Changes nothing. */
	bool (*begun)(void *arg, uint32_t group);
};

struct consensus_counters {
	uint64_t proposed, proposed_bytes;
	uint64_t busy, no_room;        /* proposals refused: by a quota; because disks are full */
	uint64_t log_jobs, log_full;   /* jobs written; jobs that found the disk full */
	uint64_t apply_jobs, apply_full;
	uint64_t applied, undecodable; /* entries; entries that apply skipped as undecodable */
	uint64_t truncated;
	uint64_t replayed;             /* entries read back from the log to be applied */
	uint64_t frames_in, frames_out, frames_lost, messages_in, messages_out;
	uint64_t frames_foreign;       /* for another member than this one, or of a group not held */
	uint64_t messages_bad;         /* dropped: impossible numbers */
	uint64_t elections, leader_changes, transfers, replaced; /* of all groups */
	uint64_t members_added, members_removed; /* changes begun by this node's leaders; `replaced`: promotions */
	uint64_t opened, dropped;      /* groups, by a change of the map */
	uint64_t snapshots_fetched, snapshot_bytes, snapshots_failed;
	uint64_t damaged;              /* states given up: a record did not read, or the digest differed */
	uint64_t passed_over;          /* entries, where no other replica has what they need */
	uint64_t log_unread;           /* entries of the log that did not read and were not needed */
};

/* random: for the member number of a new data folder, and seeds. Checks the whole log: no gaps, no bad record above what is
 * applied, and that it is this node's. A group whose log begins behind its state has lost that: it becomes void. A state without a
 * log is one that the log goes on from: this is another member now.
 * WEIR_ECORRUPT (the log is not to be used: see above), WEIR_EVERSION, WEIR_EINVAL (another node's or topology's), WEIR_EIO; *ret_why: text, the caller's to free. No
 * callback is made before the first flush or tick. The kv, the apply and the topology outlive it; `apply` is only asked
 * apply_applied(), apply_group_start() and told apply_void() (then committed), and only here. */
int consensus_open(const struct topology *t, uint32_t self, struct kv *log, struct apply *apply,
    const uint8_t random[16], const struct consensus_io *io, struct consensus **ret_consensus, char **ret_why);
void consensus_close(struct consensus *c); /* frees jobs under way too: their runners have stopped */

bool consensus_holds(const struct consensus *c, uint32_t group);
/* Goes by another topology of the same cluster from now on (slots that were reused or given up are strangers again). Calls
 * io.held(). `t` outlives it; the one before may be freed afterwards. */
void consensus_set_topology(struct consensus *c, const struct topology *t);
/* The map has this node no more: what it held is dropped, and it takes no part in anything. */
bool consensus_removed(const struct consensus *c);
/* The highest version of the map whose placement the group's members are, as its leader says (this one, or another of which
 * consensus_peer() was told); 0: none, or nobody leads it. */
uint64_t consensus_settled(const struct consensus *c, uint32_t group);

/* Takes a copy. WEIR_ENOTLEADER: not the leader, or not serving yet; WEIR_EBUSY: over a quota. WEIR_ETOOBIG: over ENTRY_MAX.
 * WEIR_EFULL: no room, see above. WEIR_ECLOSED: failed. The index is above that of every earlier proposal of this leadership; not always by one. */
int consensus_propose(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index);
/* For entries that the node itself needs to go on (sweeps, advances, closes): may use the reserve of the quota. */
int consensus_propose_own(struct consensus *c, uint32_t group, const struct entry *e, uint64_t *ret_index);
/* io.read() answers, maybe within the call. */
void consensus_read(struct consensus *c, uint32_t group, uint64_t context);

/* A MSG_RAFT or MSG_SNAPSHOT_REPLY of a node of this cluster. */
void consensus_receive(struct consensus *c, uint32_t node, const struct msg *m, struct consensus_time now);
/* What another node said of itself, in answer to a question of this start (answered), or unasked. */
void consensus_peer(struct consensus *c, uint32_t node, const struct msg_info *info, bool answered,
    struct consensus_time now);
/* Fills in member number, `has` and `leads` of this node. The pointers live until the next call of this header. */
void consensus_info(struct consensus *c, struct msg_info *ret_info);
/* The node that leads the group and serves, as far as is known here: by Raft where it is held, else by what nodes said. -1:
 * not known. */
int consensus_leader(const struct consensus *c, uint32_t group);

/* Every CONSENSUS_TICK_MS. */
void consensus_tick(struct consensus *c, struct consensus_time now);
/* At the end of a turn of the loop: sends what may leave, hands over jobs where the writers are free. */
void consensus_flush(struct consensus *c, struct consensus_time now);
/* Completions. They free the job and call back; call consensus_flush afterwards. */
void consensus_log_written(struct consensus *c, struct log_job *job, int rc, struct consensus_time now);
void consensus_job_applied(struct consensus *c, struct apply_job *job, int rc, struct consensus_time now);
void consensus_state_durable(struct consensus *c, uint32_t group, uint64_t index);
/* What was applied since the last state commit is forgotten there. */
void consensus_state_aborted(struct consensus *c, struct consensus_time now);
/* The state's writer is short of room for more than has come already, or no longer. */
void consensus_state_low(struct consensus *c, bool low);
/* A reader met a record of the group's state that does not read, or its digest is not the others'. what: static text, for people.
 * Nothing happens where there is no other replica, or it is known. */
void consensus_damaged(struct consensus *c, uint32_t group, const char *what);

/* An entry of a later program than this one, where a group's entries end for this replica: to skip it would make another state of it than
 * the others have. The log goes on, and votes; the state stays as it was before the entry, for who asks for a stale answer. */
struct outdated {
	uint64_t index;  /* 0: none */
	uint8_t format, kind; /* enum entry_kind, as a later program has it; both 0: it needs something of a later program (the cluster map) */
};

/* As far as this replica knows. */
struct group_status {
	bool held;
	bool placed;             /* the map has a place for it here; held and not placed: it is moved away, and dropped then */
	enum replica_role role;  /* FORMING: not founded yet, or nothing of it here yet */
	uint64_t term;
	int leader;              /* node, -1: none known */
	bool serving;            /* this replica leads and has said role(true) */
	bool quorum;             /* see msg_group_status */
	bool replaying;          /* what was in the log at open is not applied yet */
	bool fetching;           /* a snapshot */
	int64_t unled_ns;        /* since when no leader is known that answers this node (the node fills it in); 0: one is */
	bool cut_off;            /* no majority of its places answers this node (likewise) */
	uint32_t differs;        /* 1 + a node whose digest differs from this replica's (the node fills it in); 0: none known */
	const char *damage;      /* why the state here was given up, until it is replaced; static; NULL: it was not */
	struct outdated outdated; /* see there; index 0: it is not */
	uint64_t fetched_bytes, fetch_total_bytes;
	uint64_t committed, applied, durable; /* durable: in the state environment */
	uint64_t last;           /* of the log */
	uint64_t heard_ns;       /* since the leader was heard; leader: since it had a majority, give or take an election
	                            timeout, 0 while it has. The time that this process was stopped for counts too.
	                            CONSENSUS_UNHEARD: not in this start */
	uint32_t replica_count;  /* leader: others */
	struct {
		uint32_t node;
		uint64_t replica, match;
		enum replica_role role;
		bool active;
	} replicas[REPLICAS_PER_STATUS_MAX];
	char waits_for[64];      /* FORMING: the name of a node that was not heard yet, or whose file lists others; or "" */
	bool lists_others;       /* FORMING: that it was heard, and its file has other nodes or shards than this node's */
};
void consensus_status(const struct consensus *c, uint32_t group, struct group_status *ret_status);
uint64_t consensus_member(const struct consensus *c);
uint64_t consensus_durable(const struct consensus *c, uint32_t group);
/* An error after which nothing is written, sent or taken any more, as if the node were down; NULL while fine. Lives as long
 * as c. role(false) does not come of it. */
const char *consensus_failed(const struct consensus *c);
/* Fails for a reason of the caller's; a copy of `why` is taken. */
void consensus_stop(struct consensus *c, const char *why);
/* No room on a disk: nothing new is taken. */
bool consensus_full(const struct consensus *c);
const struct consensus_counters *consensus_counters(const struct consensus *c);

/* The cluster id as kept in the log environment; false while there is none. */
bool consensus_cluster_id(const struct consensus *c, uint8_t ret_id[CLUSTER_ID_BYTES]);
/* Keeps it with the next log job; consensus_cluster_id() gives it once it is durable. */
void consensus_keep_cluster_id(struct consensus *c, const uint8_t id[CLUSTER_ID_BYTES]);

#endif
