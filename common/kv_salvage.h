/* A data file that LMDB must not open any more (kv_check.h): what reads of it is copied into a new one, and it is kept aside.
 *
 *     FOLDER/data.mdb --records--> FOLDER/saved/data.mdb        (committed)
 *     FOLDER/data.mdb --link-----> FOLDER/data.mdb.damaged      (in the place of the one before it: one is kept)
 *     FOLDER/saved/data.mdb --rename--> FOLDER/data.mdb
 *
 * A crash at any moment leaves the damaged file or the new one under the name, never none: a folder without a data file would be
 * taken for a new one. Needs as much room on the disk as what is copied. Before any environment of the folder is open. */
#ifndef WEIR_COMMON_KV_SALVAGE_H
#define WEIR_COMMON_KV_SALVAGE_H

#include "common/kv_check.h"

struct kv_salvage_options {
	const char *folder;
	const char *const *dbs;
	unsigned db_count;
	uint64_t map_bytes; /* of the new environment */
	bool either_meta;   /* kv_check.h */
	void *arg;
	/* What becomes of a record: written to txn, or not. NULL: it is copied. */
	int (*record)(void *arg, struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value);
	/* Once all were seen: what else is to be in it. May be NULL. */
	int (*finish)(void *arg, struct kv_txn *txn);
	void (*progress)(void *arg, uint64_t pages, uint64_t of_pages); /* as kv_check's; may be NULL */
};

/* WEIR_EFULL, WEIR_EIO, what a callback returned: the damaged file is where it was. *ret_why: text, the caller's to free. */
int kv_salvage(const struct kv_salvage_options *o, char **ret_why);
/* Renames FOLDER/data.mdb to data.mdb.damaged: nothing is left under its name. WEIR_EIO. */
int kv_set_aside(const char *folder, char **ret_why);

#endif
