/* Nodes of consensus, joined by a wire in memory, on disks of their own; their writers and the time are moved by hand. */
#ifndef WEIR_TEST_CONSENSUS_KIT_H
#define WEIR_TEST_CONSENSUS_KIT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "cloudd/consensus.h"
#include "cloudd/node.h"
#include "cloudd/snapshot.h"
#include "common/buf.h"
#include "tests/unit/cloudd/cloud_disk.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define KIT_NODES 5
#define KIT_SHARDS 2
#define KIT_GROUPS (KIT_SHARDS + 1)

#define KIT_LATER_KIND 77 /* of entries: of a later program */

struct kit_node {
	uint32_t number;
	bool up;
	unsigned starts; /* how often its folder was made: another member number each time */
	struct cloud_disk disk;
	struct apply *apply;
	struct snapshots *snapshots;
	struct consensus *c;
	struct log_job *log_job;
	struct apply_job *apply_job;
	bool hold_log, hold_apply; /* jobs are not run */
	bool newer; /* knows entries of KIT_LATER_KIND, which do what a sweep does */
	/* what it was told */
	uint64_t committed[KIT_GROUPS], applied[KIT_GROUPS], reloaded[KIT_GROUPS];
	uint64_t applied_term[KIT_GROUPS];
	bool leads[KIT_GROUPS];
	uint64_t led_term[KIT_GROUPS];
	size_t held_calls, committed_calls, applied_calls, role_calls, log_jobs, apply_jobs, biggest_apply;
	uint64_t read_context, read_index;
	bool read_ok;
	size_t reads;
};

struct kit {
	struct topology *t;
	uint32_t count;
	struct kit_node nodes[KIT_NODES];
	bool cut[KIT_NODES][KIT_NODES]; /* from, to: nothing passes */
	bool silent[KIT_NODES][KIT_NODES]; /* from, to: infos do not pass */
	bool begun[KIT_GROUPS]; /* as the meta group knows */
	int64_t now_ns;
	size_t ticks;
	size_t frames, bulk_frames, biggest_frame;
	size_t chunks_max; /* snapshot replies that still pass */
};
extern struct kit kit;

/* replicas: of each group. Opens all nodes on empty folders. */
void kit_make(uint32_t nodes, uint32_t replicas);
void kit_free(void);
void kit_open(uint32_t node);
/* As kit_open, with the error. */
int kit_try_open(uint32_t node, char **ret_why);
/* A crash: what was not committed is gone. */
void kit_stop(uint32_t node);
void kit_restart(uint32_t node);
/* The folder is lost while the node is down. */
void kit_wipe(uint32_t node);

struct consensus_time kit_time(void);
/* Runs what a node's writers have, and flushes it, until nothing is left to do. */
void kit_run(uint32_t node);
void kit_run_log(uint32_t node);
void kit_run_apply(uint32_t node);
void kit_give_back_log(uint32_t node, int rc);
/* All nodes and all frames between them. */
void kit_settle(void);
/* Each: 50 ms later, a tick, and all settles; infos every half second. */
void kit_ticks(size_t n);
/* Each node that is up hears of each other one. */
void kit_infos(void);
void kit_commit_state(uint32_t node);
/* Ticks until some node serves the group; which. */
uint32_t kit_leader(uint32_t group);
/* An entry that changes the group's state; returns its index. */
uint64_t kit_propose(uint32_t node, uint32_t group);
int kit_try_propose(uint32_t node, uint32_t group, size_t bytes, uint64_t *ret_index);
/* Ticks until the node has applied up to the index. */
void kit_await(uint32_t node, uint32_t group, uint64_t index);
/* All commit their state; digest and index of the group are the same on all that are up. */
void kit_expect_equal(uint32_t group);
size_t kit_log_entries(uint32_t node, uint32_t group);
/* A MSG_RAFT of `from` to `to`, as it is. */
void kit_deliver(uint32_t from, uint32_t to, const struct msg *m);
struct group_status kit_status(uint32_t node, uint32_t group);

#endif
