/* The way back where a majority is lost for good, or all nodes are and a copy of one state is left: this node begins its groups
 * again, as their only member, from the states that it has. Members that the map has beside it are then added as new ones, and
 * fetch those states, as after the loss of any folder.
 *
 * It is the operator who says that nobody else goes on with what the others had: the old members could elect a leader of their own. What
 * they alone had acknowledged is gone; edges notice that by their numbers, and fence themselves. Its terms begin far beyond theirs, so that
 * where one of them comes back nevertheless its entries are known to be others. The log has to be empty: with one,
 * a copy of an earlier time could vote twice (raft.h: what a member promised it has to remember), and a flag that is
 * forgotten on a command line would found anew what is there. */
#ifndef WEIR_CLOUDD_CONSENSUS_ALONE_H
#define WEIR_CLOUDD_CONSENSUS_ALONE_H

#include <stdint.h>

#include "common/kv.h"
#include "common/model.h"

/* Gives the node a new member number and makes each group that it holds its own, in both environments: before apply_open() and
 * consensus_open(). random: for the number and the terms. WEIR_EINVAL: the log is not empty, or a group has no state here that is whole; then nothing is
 * changed. *ret_why: text, the caller's to free. Done again after a crash in between, it does the same. */
int consensus_begin_alone(const struct topology *t, uint32_t self, struct kv *log, struct kv *state, const uint8_t random[8],
    char **ret_why);

#endif
