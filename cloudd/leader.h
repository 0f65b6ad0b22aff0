/* Leader: the leader of one shard. Checks OPENs and batches against what was last *proposed* for each edge, proposes
 * what passes, and answers when the entry is applied: never before (semantics.md 1.4, 1.5).
 *
 * The state machine that decides is apply; the leader only keeps out of the log what cannot pass, and answers
 * duplicates without logging them again. So it needs no state of its own from disk: when it begins to lead it knows no
 * edge, answers NOT_OPEN, and learns (epoch, last) from the edge's next OPEN, which comes after all that was in the log.
 *
 * Until the shard's state has its first cluster map (common/map.h) edges are answered UNAVAILABLE: replicas whose files differ would
 * apply their batches by different definitions.
 *
 * There is one for each shard that this node holds, also while another replica leads: then every request is answered
 * UNAVAILABLE at once. When leadership is lost all that waits is answered so too: what was proposed may be committed later or
 * not, and who asks again learns it.
 *
 *     BATCH: epoch lower ------------------------------> FENCED
 *            edge not open, or epoch higher -----------> NOT_OPEN
 *            seq = proposed + 1: body decodes ---------> proposed; answered when applied
 *            seq <= proposed: in flight ---------------> waits with it (other content: FENCED)
 *                             below the last applied --> DUPLICATE
 *                             the last applied --------> DUPLICATE, or FENCED for other content
 *            seq > proposed + 1 -----------------------> OUT_OF_SEQUENCE with the last proposed
 *
 * Pure; on the loop thread. */
#ifndef WEIR_CLOUDD_LEADER_H
#define WEIR_CLOUDD_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/origin.h"
#include "common/model.h"

#define LEADER_DIRTY_SWEEP_MS 1000 /* dirty windows are revised at least this often */
#define LEADER_RETRY_MS 100        /* a sweep that the log could not take */

struct leader;

struct leader_io {
	void *arg;
	/* As consensus_propose and, for own entries, consensus_propose_own, for the shard's group. */
	int (*propose)(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index);
	void (*answer)(void *arg, const struct origin *o, const struct answer *a);
};

struct leader_time {
	int64_t wall_ns, mono_ns;
};

/* Counted over all shards of a node. */
struct leader_counters {
	uint64_t merged, duplicates, fenced, out_of_sequence, not_open, busy, refused; /* busy: also not led here (any more) */
	uint64_t opens, advances, sweeps, sinks, alerts;
};

struct leader *leader_new(const struct topology *t, uint32_t shard,
    const struct leader_io *io, struct leader_counters *counters);
void leader_free(struct leader *s);
/* As ingress_set_topology. */
void leader_set_topology(struct leader *s, const struct topology *t);

/* This replica leads, and its first entry is applied. Nothing is remembered from an earlier time. */
void leader_lead(struct leader *s, struct leader_time now);
/* It no longer does. Answers all that waits. Nothing to do where it did not lead. */
void leader_stop(struct leader *s);

/* Each request is answered once, at once or later. */
void leader_open(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now);
void leader_batch(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now);
void leader_advance(struct leader *s, const struct origin *o, const struct msg *m, struct leader_time now);

/* Sinks of this node have delivered the rows up to these places: the log is told within SINK_PACE_NS, of all sinks in one entry.
 * Copies. What is on the way when leadership is lost is delivered again by who leads next. */
void leader_sinks(struct leader *s, const struct entry_place *places, size_t count);
/* Who judges the shard's alerts (cloudd/alerts.h) found this: proposed as it is, with the time of now. What cannot be proposed is found again. */
void leader_alerts(struct leader *s, const struct entry *e, struct leader_time now);

/* An entry of the shard's group was applied, whoever leads. */
void leader_applied(struct leader *s, const struct apply_result *r, struct leader_time now);
/* Proposes sweeps and sinks' places that are due, while it leads. */
void leader_tick(struct leader *s, struct leader_time now);
/* When leader_tick has work next (monotonic), INT64_MAX: none. */
int64_t leader_due_ns(const struct leader *s);

#endif
