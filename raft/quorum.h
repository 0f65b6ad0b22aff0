/* raft/quorum: what a majority of the voters has. Pure. Internal.
 *
 * One majority serves elections (D 3.4), commitment (D 3.5), reads (D 6.4) and the leader's check of its own (D 6.2). */
#ifndef RAFT_QUORUM_H
#define RAFT_QUORUM_H

#include "raft/raft.h"

/* The number that a member has: its match index, its round, 1 for a vote. */
typedef uint64_t raft_quorum_value(const void *arg, uint64_t id);

/* The highest number that a majority of the voters has reached; 0 where there is no voter. */
uint64_t raft_quorum_reached(const struct raft_config *c, raft_quorum_value *value, const void *arg);
uint32_t raft_quorum_voters(const struct raft_config *c);
bool raft_quorum_is_voter(const struct raft_config *c, uint64_t id);

#endif
