/* Sinks: where results leave the clouds. A type of sink is one file, cloudd/sink_NAME.c, that delivers batches of rows to somebody
 * else and knows nothing of shards, leaders and logs; common/topology_sink.c has its options. docs/sinks.md shows how to add one.
 *
 * Who calls. Each sink of the topology has a thread on every cloud node (cloudd/sinks.c). It goes round the shards that this node
 * leads, reads rows from their outboxes (cloudd/emit.c), and hands them to deliver(). When that returns 0 the rows' places are
 * proposed to the shard's log; when it fails, the same rows come again after a while, for ever: nothing is passed over. After a
 * failover the next leader's sink goes on from the places in the log.
 *
 * So rows come at least once. A row's stream, group and start name the window; rows of one window that come later have a higher revision,
 * or the same one and a state that is further (provisional, then final), and replace those before; but for what a deposed leader
 * was delivering in that very moment, which may come late: a receiver keeps the highest (revision, state). The id of a row
 * (sink_row_id) is the same each time it comes.
 *
 * All functions of a type are called on the sink's thread; they may block, for no longer than SINK_BLOCK_NS at a time, and
 * they look at sink_stopping() at least each SINK_STOP_NS. They never log: what went wrong is said by *ret_why, and by sink_say(). */
#ifndef WEIR_CLOUDD_SINK_H
#define WEIR_CLOUDD_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/alert_record.h"
#include "common/buf.h"
#include "common/model.h"
#include "common/partial.h"
#include "common/rows.h"
#include "common/stats.h"

/* SINK_BATCH_ROWS (common/model.h): handed to deliver() at once, at most. */
#define SINK_BATCH_ALERTS 100                    /* handed to alerts() at once, at most */
#define SINK_BATCH_BYTES (512 * 1024)            /* ... of encoded rows, but for the page that goes over it */
#define SINK_BLOCK_NS (30 * INT64_C(1000000000)) /* one wait for the receiver */
#define SINK_STOP_NS (INT64_C(1000000000))       /* from being told to stop to the call's end */
#define SINK_WAIT_MAX_NS (300 * INT64_C(1000000000))
#define SINK_FAMILIES_MAX 16
#define SINK_WHY_MAX 256                         /* bytes of a reason that are kept */

struct sink_row {
	const struct stream_conf *stream; /* of the topology in force: name, version, by, compute */
	const struct partial_spec *spec;  /* of row.partial */
	uint32_t shard;
	struct row row;                   /* group: values of stream->by; state is provisional or final; revision >= 1 */
};

/* Rows of one shard and version of a stream come in the order in which they happened; everything lives for the call. */
struct sink_batch {
	const struct sink_row *rows;
	size_t count; /* at least one */
};

/* Events of one shard in the order in which they happened; everything lives for the call. alert_event_json() and alert_event_id()
 * (cloudd/alert_json.h) say what there is to say of one. */
struct sink_alerts {
	const struct alert_event *events;
	size_t count; /* at least one */
};

struct sink;

struct sink_ops {
	size_t size; /* of the object that starts with struct sink; zeroed */
	/* Why this build has no such sinks: for people; NULL: it has. NULL: all have. Any thread. */
	const char *(*missing)(void);
	bool early;  /* opened as soon as the sink begins, not with its first row: for what others connect to */
	/* Before the first delivery, and again before one that follows a failure of deliver() or open(). May do nothing but keep what it
	 * needs. Non-zero, with *ret_why (fresh, for people): it is tried again later. NULL: nothing to do. */
	int (*open)(struct sink *s, char **ret_why);
	/* 0: all rows are with the receiver for good (durably, where that can be known), or were counted by sink_rejected().
	 * Non-zero, with *ret_why: maybe some, maybe none; close() follows and all of them come again. */
	int (*deliver)(struct sink *s, const struct sink_batch *b, char **ret_why);
	/* The same for what becomes of alerts. NULL: this type cannot tell of them; sink_takes_alerts() (common/model.h) says so too, then. */
	int (*alerts)(struct sink *s, const struct sink_alerts *b, char **ret_why);
	/* Now and then while there is nothing to deliver, each SINK_IDLE_NS about, only while open: for files that are to be rotated,
	 * connections to be kept. NULL: nothing to do. */
	void (*idle)(struct sink *s);
	/* Gives back what open() took, and what deliver() did since; after a failed open(), too. NULL: nothing to do. */
	void (*close)(struct sink *s);
	/* What sinks of this type count beside rows and batches, label "sink"; at most SINK_FAMILIES_MAX. values: one for each, in
	 * their order; on the sink's thread. */
	const struct stats_family *families;
	size_t family_count;
	void (*values)(const struct sink *s, uint64_t *ret_values);
};
#define SINK_IDLE_NS (INT64_C(1000000000))
#define SINK_OPS(constant, name) extern const struct sink_ops sink_##name##_ops;
SINK_TYPES(SINK_OPS)
#undef SINK_OPS

struct sink_thread; /* cloudd/sinks.c's */

struct sink {
	const struct sink_ops *ops;
	const struct sink_conf *conf; /* outlives the sink */
	const char *node;             /* this node's name */
	const char *cluster;          /* the cluster's */
	const char *listen;           /* this node's address: tcp://HOST:PORT */
	const char *keys_dir;         /* the cluster's; NULL: security none */
	uint64_t rejected;
	int64_t wait_ns; /* a failed deliver() may set it: the receiver asks not to be tried again before; at most SINK_WAIT_MAX_NS */
	struct sink_thread *thread;
};

bool sink_stopping(const struct sink *s);
/* Waits; true, at once: the sink is to stop. */
bool sink_pause(struct sink *s, int64_t ns);
/* A line for the log; no secrets. */
void sink_say(struct sink *s, bool warn, const char *text);
/* The receiver refuses these rows for good: they count as delivered, are counted apart, and told of in the log (at most once a minute) with the reason. For a
 * receiver that judges rows only, not for one that is not what it should be. */
void sink_rejected(struct sink *s, uint64_t rows, const char *why);
/* The same, of alerts. */
void sink_rejected_alerts(struct sink *s, uint64_t alerts, const char *why);

/* It is of the group of what is over max_groups, of which each shard has a part of its own. Pure. */
bool sink_row_is_part(const struct sink_row *r);
/* The row as JSON: the object that a query answers with, and "stream", "version", "window", "id" before it; "shard" where the group is what
 * is over max_groups, of which each shard has a part. Appends. Pure. */
void sink_row_json(const struct sink_row *r, struct buf *out);
/* The same as proto/row.proto has it; and what is the same for all rows of a stream's group, as JSON:
 * {"stream": ..., "group": {...}}, and "shard" of such a part. */
void sink_row_protobuf(const struct sink_row *r, struct buf *out);
void sink_row_key(const struct sink_row *r, struct buf *out);
/* Names (stream, group, window; shard, of such a part) by 32 hexadecimal digits, and the revision: "...-1". */
#define SINK_ROW_ID_BYTES (32 + 1 + 20 + 1)
void sink_row_id(const struct sink_row *r, char out[SINK_ROW_ID_BYTES]);

#endif
