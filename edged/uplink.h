/* The uplink: the edge's side of the protocol, as a state machine.
 *
 *            connect                hello OK, newer epoch          stored
 *   DOWN ------------> HELLO -----------------------> GRANTED -------------> READY
 *    ^                  |  ^  \                                              |   |
 *    |  no answer       |  |   \ hello OK, the epoch that is held            |   | FENCED at a shard, in a report;
 *    +------------------+  |    +-------------------------------------------+   | numbers that contradict the spool
 *    (from any state)      |                                                     v
 *                          +------------ each FENCED_RETRY ------------------ FENCED  (also from HELLO)
 *
 * A hello that is REFUSED is tried at the other clouds: only when each has refused is that FENCED, too.
 *
 * READY: per shard with something to send, OPEN, then batches in order of seq, each only when the durable `sent` mark
 * covers it and the credit allows. After OPEN the first batch sent is `last` itself where it is still kept: the shard
 * compares its checksum, so an old copy of the spool is found out before anything is taken for acknowledged.
 *
 * Invariants: nothing but hello leaves while FENCED or before the grant is stored. A batch is acknowledged only by an
 * answer of the present epoch for a batch that may have been sent. Answers may come twice, late, in any order, or be
 * rubbish.
 *
 * Answers tell the version of the cluster map that a cloud goes by: one later than the own is asked for, fenced or not.
 *
 * It keeps no batches: it asks for them. Pure: time comes in, frames leave through the callbacks. One thread. */
#ifndef WEIR_EDGED_UPLINK_H
#define WEIR_EDGED_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/codec.h"
#include "common/model.h"

#define UPLINK_BACKOFF_MIN_MS 200
#define UPLINK_BACKOFF_MAX_MS 2000    /* a cloud with a full disk goes on within five seconds of its room's return, this among them */
#define UPLINK_RESEND_MS 5000        /* a batch or OPEN without answer is sent again */
#define UPLINK_SILENT_MIN_MS 3000    /* a cloud that answers nothing is left after this, or 3 heartbeats */
#define UPLINK_UNAVAILABLE_MAX_MS 1000 /* back-off where nobody leads what is asked for: that lasts a second or two */
#define UPLINK_UNCONNECTED_MS 500    /* a cloud that cannot be connected to is left after this; the more of them one after the
                                        other, the longer, up to the time for one that is silent: the link may be slow */
#define UPLINK_STUCK_MS 4000         /* a cloud through which a shard, or who takes reports, cannot be reached for so long, by its answers, */
#define UPLINK_STUCK_MAX_MS 160000   /* is left (an election takes up to three seconds); longer and longer: it may be nowhere */
#define UPLINK_FENCED_RETRY_MS 10000
#define UPLINK_MAP_RETRY_MS 5000     /* a cluster map that does not come, or cannot be used, is asked for again */
#define UPLINK_MAP_RETRY_MAX_MS 300000
#define UPLINK_REPORT_EARLY_MS 200   /* between reports that do not wait for the heartbeat */
#define UPLINK_FRAMES_PER_TURN_MAX 256
#define UPLINK_SENT_AHEAD 4          /* the sent mark goes ahead by at most this many times the credit */

/* A shard's part of the spool, as committed. */
struct uplink_view {
	uint64_t low, high; /* lowest kept, highest assigned; low == high + 1: none kept */
	uint64_t ready;     /* highest that has its final number */
	uint64_t sent;      /* durable sent mark */
	uint64_t acked;
	bool resume;        /* OPEN with resume; nothing may be sent before what is kept is renumbered */
	bool moving;        /* that is under way: do not OPEN */
};

struct uplink_grant {
	uint64_t epoch;
	uint8_t cluster_id[CLUSTER_ID_BYTES];
	bool has_cluster_id;
	bool resume, readmitted;
};

struct uplink_io {
	void *arg;
	bool (*send)(void *arg, const void *frame, size_t len);
	void (*connect)(void *arg, uint32_t cloud);
	void (*view)(void *arg, uint32_t shard, struct uplink_view *ret_view);
	/* Size of a kept batch's body, 0 where it cannot be sent now. */
	size_t (*batch_bytes)(void *arg, uint32_t shard, uint64_t seq);
	/* Whether the batch stands in for a damaged one: its bytes say nothing. */
	bool (*batch_damaged)(void *arg, uint32_t shard, uint64_t seq);
	int (*batch_body)(void *arg, uint32_t shard, uint64_t seq, struct buf *out);
	/* All batches up to seq are acknowledged. */
	void (*acked)(void *arg, uint32_t shard, uint64_t seq);
	/* An epoch is granted: it must be stored, then uplink_grant_stored(). */
	void (*granted)(void *arg, const struct uplink_grant *grant);
	/* The answer to an OPEN with resume: what is kept must be renumbered to follow `last`. */
	void (*opened_resume)(void *arg, uint32_t shard, uint64_t last);
	/* Fills in a report's streams, counts and state (all but edge, epoch, times, incarnation, seq). They must live
	 * until the next call. */
	void (*report)(void *arg, struct msg *m);
	/* A later cluster map than the one that is gone by; any bytes. Lives for the call. */
	void (*map)(void *arg, struct bytes map);
};

enum uplink_state { UPLINK_DOWN, UPLINK_HELLO, UPLINK_GRANTED, UPLINK_READY, UPLINK_FENCED };
const char *uplink_state_text(enum uplink_state s);

struct uplink_stats {
	uint64_t batches_sent, batches_resent, batches_acked, bytes_sent;
	uint64_t frames_bad, frames_foreign, frames_stale;
	uint64_t connects;
	uint64_t maps_asked, maps_received;
};

struct uplink;

/* epoch, cluster id: of the spool (0 and empty where none yet). claim: of this start. unanswered: NULL, or the claim of an
 * earlier start, which may have been granted: it is asked with first. What it is granted is only stored, and then a grant of
 * the own claim is asked for, since a copy of the spool may ask with the same unanswered claim and be granted the same epoch. */
struct uplink *uplink_new(const struct topology *t, uint32_t edge, const struct uplink_io *io, uint64_t incarnation,
    uint64_t epoch, struct bytes cluster_id, const uint8_t claim[CLAIM_BYTES], const uint8_t *unanswered, bool empty,
    int64_t mono_ns);
void uplink_free(struct uplink *u);
/* Goes on by another topology of the same cluster, with all that is under way; io_arg is the callbacks' from now on. The
 * connection is kept where its cloud is the same. */
void uplink_set_topology(struct uplink *u, const struct topology *t, uint32_t edge, void *io_arg, int64_t mono_ns);
/* A map of this version is known here, though not gone by: only a later one is news. */
void uplink_know_map(struct uplink *u, uint64_t version);
/* The map that io.map gave cannot be used: it is asked for again later, and later each time. */
void uplink_map_refused(struct uplink *u, int64_t mono_ns);

/* A hello may be answered by a new grant, and the answer be lost with this process: so the claim must be durable as
 * unanswered before the first hello, and again once fenced, for a readmission answers even a claim that was granted
 * before. Wanted, and then told. (On a mere reconnection the claim stays answered: a copy of the spool that is made
 * meanwhile must not share it.) */
bool uplink_wants_claim(const struct uplink *u);
/* The claim that it asks with. */
const uint8_t *uplink_claim(const struct uplink *u);
void uplink_claim_stored(struct uplink *u);
void uplink_grant_stored(struct uplink *u, const struct uplink_grant *g, int64_t mono_ns);
/* A report need not wait for the heartbeat: whether one may be sent ahead of it now, and to send one with the next tick.
 * The heartbeat goes on as if it had not been. */
bool uplink_may_report_early(const struct uplink *u, int64_t mono_ns);
void uplink_report_early(struct uplink *u);
/* Retries, times out, sends what may be sent, reports. After each commit. */
void uplink_tick(struct uplink *u, int64_t wall_ns, int64_t mono_ns);
/* Between ticks, several times a second: what need not wait for a checkpoint. can_send: the connection is there and takes frames. */
void uplink_retry(struct uplink *u, bool can_send, int64_t mono_ns);
void uplink_frame(struct uplink *u, const void *frame, size_t len, int64_t wall_ns, int64_t mono_ns);

/* How far the sent mark of a shard should be moved before the next commit; its present value where not at all. */
uint64_t uplink_sent_target(const struct uplink *u, uint32_t shard);
/* A batch waits for nothing but the sent mark. */
bool uplink_wants_sent(const struct uplink *u);

enum uplink_state uplink_state(const struct uplink *u);
bool uplink_fenced(const struct uplink *u, const char **ret_reason);
/* Fenced, as the clouds do not listen to it at all (revoked, a key that is not allowed, not in the topology, another cluster): the
 * reason says what would help, and a readmission would not. */
bool uplink_refused(const struct uplink *u);
uint64_t uplink_epoch(const struct uplink *u);
uint64_t uplink_credit(const struct uplink *u);
uint64_t uplink_in_flight(const struct uplink *u);
uint32_t uplink_cloud(const struct uplink *u);
const struct uplink_stats *uplink_stats(const struct uplink *u);

#endif
