/* What the parts of cloudd/consensus share; included by cloudd/consensus*.c only.
 *
 *     consensus.c           entry points, the turn of the loop, roles
 *     consensus_open.c      the log environment read and checked at the start
 *     consensus_alone.c     a node's groups made its own, before that
 *     consensus_log.c       log jobs: what raft wants written, what is removed
 *     consensus_apply.c     apply jobs and their results; full state disks
 *     consensus_snapshot.c  a snapshot that this replica fetches
 *     consensus_wire.c      raft's messages and frames
 *     consensus_members.c   founding, leadership where it belongs
 *     consensus_moves.c     members made what the map places
 *     consensus_place.c     another map: groups opened and dropped
 *     consensus_damage.c    a state that is not to be used any more: handed over, void, fetched anew; entries of a later program
 *     consensus_status.c    what others ask
 */
#ifndef WEIR_CLOUDD_CONSENSUS_INTERNAL_H
#define WEIR_CLOUDD_CONSENSUS_INTERNAL_H

#include "cloudd/consensus.h"
#include "cloudd/fetch.h"
#include "raft/raft.h"

#define CONSENSUS_CACHE_BYTES (128 * 1024 * 1024) /* of all groups: entries kept in memory for followers and apply */
#define CONSENSUS_CACHE_GROUP_BYTES (4 * 1024 * 1024)
#define CONSENSUS_MESSAGE_BYTES (192 * 1024)      /* entries of one AppendEntries: a frame takes them */
#define CONSENSUS_INFLIGHT_BYTES (4 * 1024 * 1024) /* to one follower of one group */
#define CONSENSUS_INFLIGHT_MESSAGES 256

enum founding {
	FOUND_NO,
	FOUND_WANTED, /* entry 1 goes into the next log job */
	FOUND_WRITING
};

enum fetching {
	FETCH_NONE,
	FETCH_ASKING,    /* the state is still whole */
	FETCH_INSTALLING /* BEGIN was handed out: there is no way back */
};

enum dropping {
	DROP_NO,
	DROP_LOG,      /* what the state holds is removed from the log, step by step */
	DROP_STATE,    /* the state is to be emptied */
	DROP_EMPTYING, /* in an apply job */
	DROP_EMPTIED
};

/* Lists of groups that have something to do; each group is on a list once. */
enum list_id {
	LIST_TURN,  /* something changed: look at it at the end of the turn */
	LIST_LOG,   /* may have something to write */
	LIST_APPLY, /* may have something to apply */
	LIST_TRIM,  /* enough has gathered that may be removed */
	LIST_COUNT
};

struct group_list {
	uint32_t *numbers; /* a ring of group_count */
	uint32_t head, count;
};

/* The order of indexes: removed <= disk.base_index <= state_durable <= applied <= handed <= raft_committed(), but for the
 * time after a full state disk, when handed and applied go back to state_durable, and while the state is void. */
struct group {
	struct consensus *c;
	uint32_t number, rank; /* own rank; where it has no place: their number */
	bool placed;           /* the map has a place for it here */
	bool held;             /* it has a raft */
	bool has; /* something of it is durable here */
	bool listed[LIST_COUNT];
	struct raft *raft; /* of the groups held */
	enum founding founding;
	struct raft_data *first; /* entry 1, while it is written */

	/* the log */
	struct log_group disk, next; /* as written; as the job under way writes it */
	uint64_t disk_last, next_last;
	uint64_t removed, removing;  /* entries up to it are not there any more */
	uint64_t next_kept;          /* entries above were there before and are cut off */
	uint64_t log_bytes;          /* of the entries there, about */
	uint64_t writing_bytes;
	bool in_job, raft_writing;   /* part of the job under way; raft_written is due */
	bool next_record;            /* the job writes `next` */
	bool base_moved;             /* at open: disk's base is not written yet, and what lies below it is still there */
	uint64_t unread;             /* at open: the last entry that does not read, and need not */
	bool reset_due;              /* at open: what the log holds is older than the state; disk's base is not written yet */

	/* the state */
	uint64_t state_durable, applied, handed;
	uint64_t reported;  /* highest index whose result was given to the caller */
	uint64_t announced; /* told to io.committed; UINT64_MAX: nothing yet */
	uint64_t open_last; /* the log's last at open */
	bool is_void;       /* no state until a snapshot is installed */

	/* damage */
	const char *damage; /* why the state is of no use; static; NULL: it is fine, or no longer known */
	bool void_due;      /* VOID is to be handed to apply */
	int64_t handover_ns; /* when leadership was last to be handed over because of it */
	uint64_t skip;      /* no other replica has what this entry needs: it is passed over; 0: none */

	/* an entry of a later program: applied is what is before it, and no snapshot is fetched, until a program starts here that knows it */
	struct outdated outdated;

	/* a snapshot */
	struct fetch *fetch; /* made when first needed */
	enum fetching fetching;
	uint64_t fetch_from; /* member */
	uint32_t fetch_turn; /* whom to ask next when there is no leader to ask */
	bool ask_others;     /* the leader could not give one */
	bool elsewhere;      /* another one than the leader is asked */
	bool step_busy;      /* a step is in the apply job, or the emptying of a state that is dropped */
	bool ended;          /* END was applied, and is not durable yet */
	uint64_t end_index, end_term;
	struct raft_config end_config;

	/* how old what is known here may be */
	int64_t heard_ns;     /* monotonic: of the last tick before which the leader was heard, or this replica led; 0: never */
	uint32_t heard_ticks; /* raft's own count at the last tick; */
	bool heard_leading;   /* ... which stood still: this replica led */

	/* leading */
	bool serving;
	uint64_t served_term, first_proposed;
	uint64_t proposed_bytes; /* not applied */
	int64_t serving_since_ns;
	uint64_t better;         /* member that should lead instead; ready since: */
	int64_t better_since_ns;
	uint64_t better_last;    /* the log's last then: it must have applied that meanwhile */
	int64_t aside_ns;        /* when it last tried to hand over because of a full disk */
	uint32_t aside_turn;
	uint64_t leader_seen;

	bool moving; /* leading: a learner is there, to be promoted */
	bool steps;  /* leading: its members are being changed */

	/* who said last that it leads */
	uint64_t said_term, said_settled;
	int said_leader; /* node; -1 */
	int64_t said_ns; /* monotonic */

	enum dropping dropping;
	int64_t needless_ns; /* monotonic: since when nobody needs it here; 0: somebody does */
};

struct peer {
	uint64_t member; /* 0: not known */
	bool answered;   /* in this start, and what follows is from there */
	int64_t heard_ns; /* monotonic; 0: never */
	uint64_t map_version; /* that it said it goes by; 0: a file */
	uint64_t listed; /* by its file, as it said last; 0: it did not say */
	bool full;       /* no room on a disk of it, as it said last */
	uint8_t *has;    /* bitmap of groups */
};

/* What leaves for one node at the end of the turn. */
struct outgoing {
	uint64_t to;
	struct raft_message *messages;
	uint32_t *groups; /* of each */
	size_t count, cap, entries, bytes;
};

/* After a full disk a job does one thing only, and the two take turns until one works: removing entries takes some room
 * too, for copies of the pages above them and for the list of what it frees; the fewer, the less. Of both, less is tried
 * each time. */
enum log_turn { LOG_ANYTHING, LOG_TRUNCATES, LOG_APPENDS };

struct consensus {
	const struct topology *topology;
	uint32_t self;
	struct kv *log;
	struct consensus_io io;
	uint64_t member, seed;
	bool member_durable; /* nobody may hear of the number before */
	struct group *groups;
	uint32_t group_count, held_count, unfounded;
	struct group_list lists[LIST_COUNT];
	struct peer *peers; /* by node: CLOUDS_MAX, as nodes come */
	struct outgoing *outgoing;
	char *name;         /* this node's own: its slot may become another's */
	bool started;
	int64_t members_ns, transfer_ns; /* monotonic: of the last look, of the last transfer */
	int64_t ticked_ns;               /* monotonic: of the last tick */
	unsigned ticks_awake;            /* since this process was stopped for a while; at most CONSENSUS_ELECTION_TICKS */
	uint64_t proposed_bytes; /* of all groups */

	struct log_job *log_job;
	uint32_t *job_groups; /* that it writes of */
	uint32_t job_group_count;
	int64_t log_retry_ns; /* monotonic; 0: not waiting */
	int64_t log_full_ns, apply_full_ns; /* monotonic: since when the disk is full; 0: it is not */
	bool state_low;       /* the state's writer is short of room: what has come is still applied, nothing new is to come */
	enum log_turn next_log;
	uint64_t truncate_max, append_max; /* entries that a job removes, and adds, at the most */
	bool has_id, id_dirty, id_writing;
	uint8_t id[CLUSTER_ID_BYTES];
	bool node_record_dirty;
	struct buf node_record;

	struct apply_job *apply_job;
	int64_t apply_retry_ns;
	size_t apply_max; /* entries of a job at the most: few after one that found no room, as less may find it */
	bool replaying; /* entries are being read for apply */

	uint8_t *info_has;
	struct msg_lead *info_leads;
	char *failed;
	struct consensus_counters counters;
};

static inline uint32_t node_of(uint64_t member)
{
	return (uint32_t)(member & ((UINT64_C(1) << CONSENSUS_NODE_BITS) - 1));
}

/* consensus.c */
void consensus_fail(struct consensus *c, const char *what, int rc);
void list_add(struct consensus *c, enum list_id id, struct group *g);
struct group *list_take(struct consensus *c, enum list_id id); /* NULL: empty */
/* To be called after every input to a group's raft: says role(false) at once, and has the group looked at. */
void group_touch(struct group *g);
/* Raft may be asked and spoken to: the group is held and not being founded. */
static inline bool group_live(const struct group *g)
{
	return g->raft && g->founding == FOUND_NO;
}

/* consensus_open.c */
/* Opens a group that was not held: empty, or with what was left of it. apply: at the start only; later what was left has no state.
 * *ret_why: the caller's to free. */
int group_load(struct group *g, struct kv_txn *txn, struct apply *apply, char **ret_why);
/* A raft of the group from what is durable; `start` without the hard state and the base, which are g->disk's. */
int group_make_raft(struct group *g, struct raft_start *start);
const char *group_text(uint32_t group, char room[32]);
uint64_t new_member(uint32_t self, const uint8_t random[8]);
/* The value of LOG_KEY_NODE. */
void put_node_record(struct buf *out, const struct topology *t, uint32_t self, uint64_t member);

/* consensus_log.c */
void log_start_job(struct consensus *c, int64_t mono_ns);
void log_take_back(struct consensus *c, struct log_job *job); /* frees */
/* More of the group's log may be removed. */
void log_may_trim(struct group *g);
/* raft's storage; arg: the group */
int log_read(void *arg, uint64_t first, uint64_t last, size_t bytes_max, struct raft_entry *out, size_t room,
    size_t *ret_count);

/* consensus_apply.c */
void apply_start_job(struct consensus *c, int64_t mono_ns);
void apply_take_back(struct apply_job *job); /* frees */
void apply_announce(struct group *g);

/* consensus_snapshot.c */
/* Begins, changes or ends a fetch as raft wants it. */
void snapshot_look(struct group *g, int64_t mono_ns);
/* The next step, if there is one to be applied. */
bool snapshot_take(struct group *g, struct apply_item *ret_item, int64_t mono_ns);
void snapshot_step_done(struct group *g, const struct apply_item *item, int64_t mono_ns);
/* All steps since the last state commit are lost. */
void snapshot_rewind(struct group *g, int64_t mono_ns);
void snapshot_durable(struct group *g, uint64_t index);
void snapshot_tick(struct group *g, int64_t mono_ns);

/* consensus_damage.c */
/* A leader hands over; a follower's state becomes void. Nothing may be under way at apply. */
void damage_look(struct group *g, int64_t mono_ns);
/* An apply job met a record that does not read: item is the entry that needs it. */
void damage_met(struct consensus *c, const struct apply_item *item);
/* An apply job met an entry of a later program. */
void outdated_met(struct consensus *c, const struct apply_item *item);
/* A leader hands over to who has applied it. */
void outdated_look(struct group *g, int64_t mono_ns);

/* consensus_wire.c */
void wire_receive(struct consensus *c, uint32_t node, const struct msg *m);
/* Gathers what the group's raft says. */
void wire_gather(struct group *g);
void wire_flush(struct consensus *c);
void wire_free(struct consensus *c);

/* consensus_status.c */
/* See msg_group_status. */
bool status_has_quorum(const struct consensus *c, const struct raft_status *s);

/* consensus_moves.c */
/* One step towards the members that the map places. True: there is something to wait for, leadership should stay. */
bool moves_step(struct group *g, const struct raft_status *s);
/* The version of the map whose placement the members are; 0: of none. */
uint64_t moves_settled(const struct group *g, const struct raft_status *s);
/* It is there, has a state, and goes on from the log: as a voter, or as the leader, it would be of use at once. */
bool moves_caught_up(const struct raft_status *s, uint64_t id);
const struct raft_progress_status *moves_progress(const struct raft_status *s, uint64_t id);

/* consensus_place.c */
void place_tick(struct group *g, int64_t mono_ns);
/* The emptying of a state that is dropped, if that is due. */
bool place_take(struct group *g, struct apply_item *ret_item);
/* Its leader has the members of this node's map, as far as it said lately. */
bool place_settled(const struct group *g, int64_t mono_ns);

/* consensus_members.c */
/* A new entry of the group could be applied by a majority: this node has room, and not so many of the voters heard say that they have none. */
bool members_have_room(const struct group *g);
/* Another member's node has said that it has no room. */
bool members_full(const struct consensus *c, uint64_t id);
/* The number of a node as known now; RAFT_NOBODY: not known. */
uint64_t member_of(const struct consensus *c, uint32_t node);
void members_found(struct consensus *c);
void members_founded(struct group *g);
void members_tick(struct consensus *c, int64_t mono_ns);
/* The meta group, led here, knows that the group has begun; false where it is not led here. */
bool members_begun(const struct consensus *c, uint32_t group);
/* A node that has to answer before the group can be founded, or whose file would have to be as this one's; -1: none. */
int members_awaited(const struct group *g);
/* It says that it goes by a file of other nodes or shards. */
bool members_lists_others(const struct consensus *c, uint32_t node);
/* Entry 1 of a group that is to be founded. False: no longer. */
bool members_first(const struct group *g, struct raft_config *ret_config);

#endif
