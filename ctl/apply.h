/* Changes of a running cluster's topology, as `apply` and `node` make them: look, say what would change, ask, do. */
#ifndef WEIR_CTL_APPLY_H
#define WEIR_CTL_APPLY_H

#include "common/kv.h"
#include "ctl/ctl.h"

/* The topology in force: *ret_text is the caller's to buf_free. 0, or EXIT_FAILED after an error message. */
int apply_fetch(struct ctl *ctl, uint64_t *ret_version, struct buf *ret_text);

struct apply_how {
	uint64_t base;  /* the version that the text was made from; 0: whatever is in force */
	bool yes;       /* do not ask */
	bool dry_run;   /* only say */
};
/* Prints the changes, asks, applies. EXIT_FINE: it is in force (*ret_version, *ret_changed: or was before), or only looked at;
 * EXIT_FAILED: refused, not confirmed, or no answer, after a message. */
int apply_text(struct ctl *ctl, struct bytes text, const struct apply_how *how, uint64_t *ret_version, bool *ret_changed);
/* Waits until every edge that is heard goes by the version, at most so long; says how far it is on stderr. */
void apply_wait(struct ctl *ctl, uint64_t version, unsigned seconds);

#endif
