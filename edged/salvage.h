/* A spool at its start: its data file is checked before LMDB maps it, and where pages of it are damaged what reads is copied into
 * a new one (common/kv_salvage.h). What is missing is found by spool_open(), which knows what should be there: lost batches are
 * replaced by empty ones under their numbers, lost partials counted, lost marks taken from their copies (spool.h).
 *
 * What may be copied. A record's checksum says that it is what was written under its key, not that it was not deleted or replaced
 * since: pages that LMDB has freed hold such records, and a damaged page may point to one. A batch or an open slice that comes back
 * is counted twice, an old mark is an old copy of the spool. So records are believed where the list of free pages is whole
 * (nothing of a page that is listed there is read), or where all trees of records are; else nothing is copied and the marks are lost.
 *
 * Whether marks are lost: not where the tree of marks or the tree of their copies is whole, and so is each record in it. What
 * the spool holds is checked against its ledger once more (reconcile_ledger).
 *
 * A damaged meta page, or list of databases, may be the last transaction's. Then the spool is that of the checkpoint before: an old copy by one
 * checkpoint, to which what holds for old copies applies (semantics.md 1.3): sources go on from where it was, and if anything of the
 * lost checkpoint was delivered, the sent marks tell, and the edge is fenced. */
#ifndef WEIR_EDGED_SALVAGE_H
#define WEIR_EDGED_SALVAGE_H

#include <stdbool.h>

#include "common/kv.h"
#include "common/kv_check.h"

#define SALVAGE_PLACES_MAX 8 /* described, of what is wrong */

struct salvage_report {
	struct kv_check_result check;
	bool salvaged;   /* pages were damaged: the file is a new one, the damaged one data.mdb.damaged */
	bool nothing;    /* and nothing of it could be believed */
	bool marks_lost; /* and marks may be missing */
	uint64_t copied; /* records */
	unsigned place_count;
	char places[SALVAGE_PLACES_MAX][160];
};

/* Who is to know that it gets on: at the beginning, and after each piece that was gone through. */
struct salvage_watch {
	void (*progress)(void *arg);
	void *arg;
};

/* Checks the spool that o is to open, and mends it. watch: may be NULL. WEIR_EBUSY, WEIR_EVERSION, WEIR_EFULL (no room for the new file), WEIR_EIO;
 * *ret_why: text, the caller's to free. */
int salvage_spool(const struct kv_lmdb_options *o, const struct salvage_watch *watch, struct salvage_report *ret, char **ret_why);

#endif
