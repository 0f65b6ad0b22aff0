/* Meta: group 0 on a node that holds a replica of it. Every replica keeps what is committed in memory, from the entries as
 * they are applied. The one that leads grants epochs (CLAIM), readmits edges, keeps each edge's last report, runs the
 * watermarks of all streams, proposes what changed (CLOSE) and sends the committed advances to every shard until it has
 * taken them.
 *
 *     report --> heard --watermark--> ENTRY_CLOSE --committed, applied--> committed state --> ADVANCE to each shard
 *                                                                                               |
 *     queue in the state <------------- ENTRY_TAKEN <------------- ADVANCE_REPLY <--------------+
 *
 * What is decided rests on committed entries alone; reports live in the leader's memory. Who begins to lead counts everyone as
 * heard then, and reads each shard's advances from the state's queue until the shard has caught up; later ones go out as
 * they are applied. One ENTRY_CLOSE is in flight at a time. So a change of leader loses and repeats nothing: what the one
 * before had proposed is applied before the next begins, or never.
 *
 * On the loop thread, but for meta_edges_json and meta_fleet, which any thread may call. */
#ifndef WEIR_CLOUDD_META_H
#define WEIR_CLOUDD_META_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/fleet.h"
#include "cloudd/origin.h"
#include "cloudd/registry.h"
#include "cloudd/spread.h"
#include "common/buf.h"
#include "common/model.h"

#define META_CLOSE_EVERY_MS 200     /* at most 5 closes a second */
#define META_CLOSE_EVERY_MAX_MS 10000 /* while a shard is far behind: its queue grows slower */
#define META_BACKLOG_STEP 500       /* entries of lag that stretch the interval by its length */
#define META_MOVED_EVERY_MS 1000    /* watermarks that pass no slice's end are committed this often */
#define META_TIMEOUTS_EVERY_MS 1000 /* streams without reports are looked at this often */
#define META_TAKEN_EVERY_MS 1000    /* per shard */
#define META_RETRY_MS 100
#define META_FENCED_SHOWN_MS 30000 /* a fenced holder claims anew every 10 s: it is told of for so long after the last time */
#define META_CUT_EVERY_MS 200       /* streams whose versions change are looked at this often */
#define META_FLEET_TIME_EVERY_MS 1000
#define META_CLOCKS_ENOUGH 3 /* one bad clock of so many does not move the fleet's time: a new one can wait for the next time */
#define META_CLOCK_BEHIND_NS (INT64_C(300) * 1000000000) /* set back by more, this node's clock does not count; ahead, not alone */

struct meta;

struct meta_io {
	void *arg;
	int (*propose)(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index);
	void (*answer)(void *arg, const struct origin *o, const struct answer *a);
	/* Sends an ADVANCE to the node that leads a shard; false: cannot now. */
	bool (*advance)(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry);
};

struct meta_time {
	int64_t wall_ns, mono_ns;
};

struct meta_counters {
	uint64_t claims, fenced, readmits, revokes, allows;
	uint64_t reports, reports_old, reports_fenced;
	uint64_t closes, takens;
	uint64_t close_too_large;    /* a stream with more edges than an entry holds: never closes */
	uint64_t lag;                /* gauge: log entries between the newest advance and the slowest shard */
};

/* random: the cluster id, should it have to be created. */
struct meta *meta_new(const struct topology *t, const struct meta_io *io, const uint8_t random[CLUSTER_ID_BYTES]);
void meta_free(struct meta *m);
/* As ingress_set_topology; streams keep their indexes, too. What was heard and is committed stays with its edge and stream. */
void meta_set_topology(struct meta *m, const struct topology *t);
/* What is durable: when the node opened, before entries are replayed; and after the state was replaced by a snapshot. What was
 * known before is forgotten. WEIR_ECORRUPT, WEIR_EIO: then nothing is forgotten. */
int meta_load(struct meta *m, struct kv_txn *txn);
/* This replica leads, and its first entry is applied. Nothing that was heard in an earlier time is remembered. */
void meta_lead(struct meta *m, struct meta_time now);
/* It no longer does: all that waits is answered UNAVAILABLE, as are requests from now on. */
void meta_stop(struct meta *m);

/* Each request is answered once, at once or later. */
void meta_hello(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now);
void meta_report(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now);
void meta_readmit(struct meta *m, const struct origin *o, struct meta_time now); /* o->edge says whom */
/* MSG_REVOKE: o->edge does not matter. */
void meta_revoke(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now);
/* While it leads and the cluster is created: proposes what has become of a node. */
void meta_node(struct meta *m, const struct registry_event *e, struct meta_time now);
bool meta_leads(const struct meta *m);
/* MSG_TOPOLOGY: commits it (no dry run), if it is a topology to this program. */
void meta_topology(struct meta *m, const struct origin *o, const struct msg *msg, struct meta_time now);
void meta_advance_reply(struct meta *m, uint32_t shard, enum verdict verdict, uint64_t meta_index, struct meta_time now);

/* An entry of group 0 was applied, whoever leads. */
void meta_applied(struct meta *m, const struct apply_result *r, struct bytes entry, struct meta_time now);
/* While it does not lead it only watches its clock. state: for the advances' queue; durable: the highest index of group 0 that it holds. 0, WEIR_ECORRUPT, WEIR_EIO,
 * WEIR_EBUSY (too many readers; once more). */
int meta_tick(struct meta *m, struct kv *state, uint64_t durable, struct meta_time now);

/* Once created. */
bool meta_cluster_id(const struct meta *m, uint8_t ret_id[CLUSTER_ID_BYTES]);
/* Whether it is committed that the shard has taken an advance or a map: it was founded. */
bool meta_took(const struct meta *m, uint32_t shard);
const struct meta_counters *meta_counters(const struct meta *m);
const struct spread_counters *meta_spread_counters(const struct meta *m);

/* ---- any thread ---------------------------------------------------------------------------------------------- */

/* See node_edges_json. False, and nothing, while it does not lead. */
bool meta_edges_json(struct meta *m, struct buf *out);
/* The same in numbers; *ret is overwritten, and says whether it leads. */
void meta_fleet(struct meta *m, struct fleet *ret);

#endif
