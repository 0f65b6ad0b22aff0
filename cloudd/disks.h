/* A node's two data folders at its start: checked before they are opened, and set aside where they are not to be used.
 *
 * State: a file whose pages are damaged is set aside whole, and all groups start void (their logs say so); one record that does
 * not read, or a digest that is not the head's, makes its group void. Log: damaged pages set it aside (consensus_open judges
 * records). What is set aside is renamed FOLDER/data.mdb.damaged, in the place of the one before it: no more than one is kept.
 *
 * Where a group has but one replica there is nobody to have it from: what reads of a damaged file is copied into a new one, and of
 * a group that has lost nothing, or but some records, the rest is served (docs/guarantees.md).
 *
 * No logging; texts are for the caller to log. Before any environment is open. */
#ifndef WEIR_CLOUDD_DISKS_H
#define WEIR_CLOUDD_DISKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/kv_check.h"
#include "common/model.h"

#define DISKS_PLACES_MAX 8 /* described, of what is wrong */

struct disks {
	const struct topology *t;
	const char *data;
	bool look_only;        /* nothing is set aside or saved: what is damaged is reported, no more */
	void (*progress)(void *arg); /* at the beginning, and after each piece that was gone through; may be NULL */
	void *arg;
};

struct disks_report {
	struct kv_check_result check;
	bool present;          /* there was something to check */
	bool aside;            /* the folder was set aside */
	bool salvaged;         /* and what reads was copied */
	uint32_t damaged;      /* groups that are void now */
	int64_t took_ns;
	unsigned place_count;
	char places[DISKS_PLACES_MAX][160];
};

/* Checks DATA/state. ret_void, by group (topology_groups): its state is not to be used (untouched where pages are damaged and look_only).
 * map_bytes: of a new environment. WEIR_EBUSY, WEIR_EVERSION, WEIR_EIO, WEIR_EFULL; *ret_why: text, the caller's to free. */
int disks_check_state(const struct disks *d, uint64_t map_bytes, bool *ret_void, struct disks_report *ret, char **ret_why);
/* Checks DATA/log. */
int disks_check_log(const struct disks *d, struct disks_report *ret, char **ret_why);
/* Renames DATA/name/data.mdb to data.mdb.damaged. WEIR_EIO. */
int disks_set_aside(const char *data, const char *name, char **ret_why);

#endif
