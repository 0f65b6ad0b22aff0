/* Alerts as a shard's state keeps them: what each is, how far its windows are judged, which groups are pending or firing, and an
 * outbox of what began to fire and what was resolved.
 *
 * An alert that begins anew (another condition, other windows) is another record with another id; the old one ends: its groups are
 * given up in pieces, then it is deleted. Decoders trust nothing and return WEIR_ECORRUPT; what they return points into the bytes. */
#ifndef WEIR_CLOUDD_ALERT_RECORD_H
#define WEIR_CLOUDD_ALERT_RECORD_H

#include "cloudd/entry.h"
#include "cloudd/state.h"
#include "common/model.h"
#include "common/window.h"

#define ALERT_TEXT_BYTES_MAX 4096

/* As the topology that the shard went by had it. */
struct alert_def {
	struct bytes stream, name, when;
	uint32_t for_windows;
	struct bytes severity, summary; /* empty: none */
	uint32_t to_count;
	struct bytes to[SINKS_MAX];     /* names of sinks */
};

/* What its groups and windows are: of the version of the stream that was judged last. */
struct alert_basis {
	struct window_grid grid; /* size 0: nothing was judged yet */
	uint32_t by_count;
	struct bytes by[BY_MAX];
};

enum alert_end { ALERT_STAYS, ALERT_ENDS_CHANGED, ALERT_ENDS_REMOVED };

/* How far it is judged. */
struct alert_place {
	int64_t judged_ns; /* windows that end here or before; WATERMARK_NONE: none */
	bool in_window;    /* and of the window that starts at window_ns, the groups up to `after` */
	int64_t window_ns;
	struct bytes after;
};

struct alert_record {
	uint64_t changed;  /* index of the entry that changed it last */
	enum alert_end end;
	struct alert_def def;
	struct alert_basis basis;
	struct alert_place place;
	uint64_t pending, firing; /* groups */
};
void alert_record_encode(const struct alert_record *r, struct buf *out);
int alert_record_decode(struct bytes value, struct alert_record *ret);

/* A group that meets the condition. */
struct alert_group {
	bool firing;
	uint32_t run;
	int64_t since_ns, window_ns; /* starts of the first window that met it, and of the last one told of */
	struct bytes values;         /* ... and what it had: a JSON object, or empty */
};
void alert_group_encode(const struct alert_group *g, struct buf *out);
int alert_group_decode(struct bytes value, struct alert_group *ret);

/* For sinks. */
struct alert_event {
	int64_t time_ns; /* by the clock of the outbox */
	int64_t at_ns;   /* the wall clock of who found it */
	bool firing;     /* else: resolved */
	enum alert_reason reason; /* resolved */
	struct alert_def def;
	struct alert_basis basis;
	int64_t since_ns, window_ns;
	struct bytes group, values;
	uint32_t shard; /* not encoded: of who reads it */
};
void alert_event_encode(const struct alert_event *e, struct buf *out);
int alert_event_decode(struct bytes value, struct alert_event *ret);

/* Of all alerts of the shard. */
struct alert_head {
	uint32_t next_id;       /* ids begin with 1 */
	uint64_t events;        /* kept */
	uint64_t trimmed_index; /* the last one deleted; 0: none was */
	uint32_t trimmed_n;
	int64_t clock_ns, clock_at_ns; /* as a sweep's (sweep.h) */
};
void alert_head_encode(const struct alert_head *h, struct buf *out);
int alert_head_decode(struct bytes value, struct alert_head *ret);

void alert_record_key(struct state_key *k, uint32_t id);
void alert_group_key(struct state_key *k, uint32_t id, struct bytes group);
void alert_event_key(struct state_key *k, uint64_t index, uint32_t n);
/* False: not a key of that table. */
bool alert_record_key_of(struct bytes key, uint32_t *ret_id);
bool alert_event_key_of(struct bytes key, uint64_t *ret_index, uint32_t *ret_n);

/* In any transaction; the head of a shard that never had alerts is zero but for next_id. */
int alert_head_read(struct kv_txn *txn, unsigned db, struct alert_head *ret);
int alert_record_read(struct kv_txn *txn, unsigned db, uint32_t id, struct alert_record *ret); /* WEIR_ENOTFOUND */
/* The first alert with an id at or above *id, which is set; WEIR_ENOTFOUND, also of 0: one has gone through all of them. */
int alert_record_next(struct kv_txn *txn, unsigned db, uint32_t *id, struct alert_record *ret);

/* The end of the last window that is judged, be it in part; WATERMARK_NONE: none is. */
int64_t alert_judged_ns(const struct alert_record *a);

bool alert_basis_is(const struct alert_basis *b, const struct stream_conf *s);
/* Points into s. */
void alert_basis_of(const struct stream_conf *s, struct alert_basis *ret);
/* The definition of an alert of the stream; points into both. */
void alert_def_of(const struct stream_conf *s, const struct alert_conf *a, struct alert_def *ret);
/* The alert of the topology that has this stream and name, or NULL. */
const struct alert_conf *alert_conf_of(const struct topology *t, struct bytes stream, struct bytes name);

const char *alert_reason_text(enum alert_reason r); /* "not_met" "no_data" "changed" "removed" */

#endif
