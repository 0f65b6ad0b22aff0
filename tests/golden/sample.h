/* One of everything that Weir says or stores, the same each time: for tests/golden, and as what fuzzing starts from. */
#ifndef WEIR_TESTS_SAMPLE_H
#define WEIR_TESTS_SAMPLE_H

#include "common/codec.h"
#include "common/kv.h"
#include "common/model.h"
#include "edged/pipeline.h"

#define SAMPLE_WALL_NS (INT64_C(1800000000) * 1000000000) /* 2027-01-15T08:00:00Z */
#define SAMPLE_DISK_BYTES (64 << 20)

#define SAMPLE_EDGE "a" /* the one that is alive */

/* One cloud, two shards, edges a and b, streams `speed` (every function, rollups) and `alone` (of edge a). The caller's. */
struct topology *sample_topology(void);
const char *sample_topology_text(void);
/* What it becomes: cloud c2 comes and goes, so does edge b; `speed` has other versions, `rising` (rates, sliding windows) is new,
 * `alone` is removed. */
#define SAMPLE_CHANGES 3
const char *sample_changed_text(unsigned change);
/* That a cluster map says, with all versions of streams; NULL: it says none. before: as map_topology. The caller's. */
struct topology *sample_map_topology(struct bytes map, const struct topology *before);

/* Calls back with each type of message, and each verdict that has fields of its own; m lives for the call. */
void sample_messages(void (*each)(void *arg, const char *name, const struct msg *m), void *arg);

/* What a cloud and edge a have stored after a few minutes: windows closed, final and open, some data acknowledged and some
 * not, stateful steps, an outbox, completeness with edge b missing; and of the cluster's map each kind of entry that changes it,
 * streams with versions that are retired, current and pending. */
struct sim_disk;
struct sample {
	struct topology *topology;
	struct sim_disk *log, *state, *spool;
};
void sample_make(struct sample *ret);
/* A copy of everything stored; the topology is shared, and stays the first one's. */
void sample_copy(const struct sample *s, struct sample *ret);
void sample_clear(struct sample *s);
/* By the map of the stored state; NULL: there is none that reads. The caller's. */
struct topology *sample_topology_now(const struct sample *s);
/* All records of the first `dbs` databases, by database and key. */
void sample_records(struct sim_disk *disk, unsigned dbs, void (*each)(void *arg, unsigned db, struct bytes key,
    struct bytes value), void *arg);

/* That cloud and edge a on a sample's disks, alive. NULL: they do not start from these (only with damaged disks). */
struct sample_world;
struct node;
struct sample_world *sample_open(const struct sample *s);
void sample_close(struct sample_world *w);
void sample_pass(struct sample_world *w, int64_t ns);
/* Readings of that second, counted from SAMPLE_WALL_NS. */
void sample_feed(struct sample_world *w, int second);
/* A frame out of nowhere, as if the other one had sent it. */
void sample_frame(struct sample_world *w, bool to_cloud, const void *frame, size_t len);
/* Asks the meta group, and lets a second pass; whether it was granted. */
bool sample_ask(struct sample_world *w, const struct msg *m);
/* No frames pass from now on. */
void sample_cut(struct sample_world *w);
/* NULL: it could not go over to another map (only with damaged disks). */
struct pipeline *sample_edge(struct sample_world *w);
struct node *sample_cloud(struct sample_world *w);
struct kv *sample_state(struct sample_world *w);
/* An ENTRY_ALERT that was found (node_alerts). */
struct entry;
void sample_tell(struct sample_world *w, uint32_t shard, const struct entry *e);

#endif
