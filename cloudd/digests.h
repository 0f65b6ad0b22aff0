/* Digests: whether the replicas of a group have the same state, from their digests as of the same entries.
 *
 * Each replica notes its own at every APPLY_DIGEST_EVERY-th entry, tells two of each group (the latest, and the coarsest that
 * it keeps: of the places that all keep for a while, the same one) and compares what others tell with what it noted there. Where
 * a majority of the replicas agree on another digest, this one is divergent: it is the odd one, be it the leader. Where there is no
 * majority nobody can say who is wrong, and that is said.
 *
 * What a replica tells is not trusted any further: a majority must tell the same. Pure; on the loop thread. */
#ifndef WEIR_CLOUDD_DIGESTS_H
#define WEIR_CLOUDD_DIGESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/codec.h"
#include "common/model.h"

#define DIGESTS_KEPT 16 /* of each group and replica */

enum digests_verdict {
	DIGESTS_FINE,      /* nothing is known to differ */
	DIGESTS_DIFFER,    /* from another replica's; who is wrong cannot be told */
	DIGESTS_DIVERGENT  /* this replica's is the wrong one */
};

struct digests;

struct digests *digests_new(uint32_t groups);
void digests_free(struct digests *d);
/* This replica's. Indexes rise within a group, but for those after digests_forget. */
void digests_note(struct digests *d, uint32_t group, uint64_t index, uint64_t value);
/* Another node's; groups that are not there and nodes over CLOUDS_MAX are ignored. */
void digests_heard(struct digests *d, uint32_t node, const struct msg_digest *told);
/* The state was replaced: what was noted is of another one. */
void digests_forget(struct digests *d, uint32_t group);
/* replicas: how many the group has. *ret_index, where it is not fine: of the entry at which it was seen; *ret_node: another node's
 * that differs there. */
enum digests_verdict digests_look(const struct digests *d, uint32_t group, uint32_t replicas, uint64_t *ret_index,
    uint32_t *ret_node);
/* What is to be told of all groups; at most DIGESTS_TOLD_MAX; returns the count. */
size_t digests_tell(const struct digests *d, struct msg_digest *out);

#endif
