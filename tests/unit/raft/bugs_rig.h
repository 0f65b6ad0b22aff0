/* A few members of one group, driven by hand: disks whose writes end when the test says so, and a mailbox out
 * of which the test takes what it wants delivered, dropped, doubled or kept for later. */
#ifndef WEIR_TEST_BUGS_RIG_H
#define WEIR_TEST_BUGS_RIG_H

#include "raft/raft.h"

#define RIG_MEMBERS_MAX 8
#define RIG_LOG_MAX 2048
#define RIG_BOX_MAX 4096
#define RIG_ELECTION_TICKS 10

struct rig_member {
	struct raft *raft;
	/* durable */
	uint64_t term, vote, base_index, base_term, last;
	struct raft_config base_config;
	struct raft_entry log[RIG_LOG_MAX]; /* by index */
	uint64_t applied;
	bool state_void;
	/* */
	bool writing, storage_broken;
	struct raft_write write;
};

struct rig {
	struct rig_member m[RIG_MEMBERS_MAX + 1]; /* by id */
	struct raft_options options;		  /* of those that start from now on */
	struct raft_message box[RIG_BOX_MAX];
	size_t box_count;
	bool cut[RIG_MEMBERS_MAX + 1][RIG_MEMBERS_MAX + 1]; /* from, to: rig_settle loses these */
};

void rig_make(struct rig *g);
void rig_free(struct rig *g);

struct raft_config rig_voters(uint32_t n); /* 1 .. n */
struct raft_data *rig_text(const char *text);
/* On the disk of a member that is down: the founders' entry; one more entry. */
void rig_found(struct rig *g, uint64_t id, const struct raft_config *c);
void rig_log(struct rig *g, uint64_t id, uint64_t term, const char *text);
void rig_log_config(struct rig *g, uint64_t id, uint64_t term, const struct raft_config *c);
/* From what its disk holds; a write under way is lost. */
struct raft *rig_start(struct rig *g, uint64_t id);
/* n founders of a group, all up. */
void rig_group(struct rig *g, uint32_t n);

/* One write of a member: false, if there is nothing to write. */
bool rig_write_begin(struct rig *g, uint64_t id);
void rig_write_end(struct rig *g, uint64_t id);
void rig_write(struct rig *g, uint64_t id);   /* all there is */
void rig_collect(struct rig *g, uint64_t id); /* what may leave goes into the box */
/* Takes the first message of that kind out of the box; fails the test if there is none. */
struct raft_message rig_take(struct rig *g, enum raft_message_kind kind, uint64_t from, uint64_t to);
bool rig_has(const struct rig *g, enum raft_message_kind kind, uint64_t from, uint64_t to);
void rig_drop_all(struct rig *g);
void rig_deliver(struct rig *g, struct raft_message *m); /* and clears it */
/* Writes, sends, delivers, applies until nothing moves. */
void rig_settle(struct rig *g);
void rig_tick(struct rig *g, uint64_t id, uint32_t n);
void rig_apply(struct rig *g, uint64_t id);
void rig_compact(struct rig *g, uint64_t id, uint64_t index);
void rig_elect(struct rig *g, uint64_t id);
void rig_isolate(struct rig *g, uint64_t id, bool cut);

/* A hand-made message. */
int rig_say(struct rig *g, struct raft_message m);
/* APPEND_ENTRIES of `count` entries of one term behind (index, log_term). */
int rig_append(struct rig *g, uint64_t from, uint64_t to, uint64_t term, uint64_t index, uint64_t log_term,
    uint64_t commit, uint64_t entry_term, size_t count);
int rig_accept(struct rig *g, uint64_t from, uint64_t to, uint64_t term, uint64_t index);
int rig_grant(struct rig *g, uint64_t from, uint64_t to, uint64_t term, bool pre);
/* One member leads, whose voters are played by hand: pre-vote, vote, and its NOOP durable. */
void rig_lead_alone(struct rig *g, uint64_t id, const uint64_t *voters, size_t n);
uint64_t rig_propose(struct rig *g, uint64_t id, const char *text);
struct raft_status rig_status(const struct rig *g, uint64_t id);

#endif
