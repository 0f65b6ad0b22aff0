/* Everything that can be read of a state environment, and a few entries on top: for states that came from anywhere. */
#ifndef WEIR_TESTS_FUZZ_READS_H
#define WEIR_TESTS_FUZZ_READS_H

#include "cloudd/apply.h"
#include "common/kv.h"

/* Makes the digests true, as of a state that was written whole. */
void reads_fix_digest(struct kv *state, unsigned groups);
void reads_all(struct kv *state);
/* Applies one entry of each kind to each group; what they find may be damaged. Commits. */
void reads_then_writes(struct apply *a, struct kv *state);

#endif
