/* A pipeline on a real spool in a temporary folder, with a scripted cloud: what the tests of the edge's pure core share.
 *
 * The cloud is a test double: it answers each frame by the rules of semantics.md 1 and remembers what it merged, so that
 * a test can ask whether everything counted exactly once. What it does wrong (lose, repeat, refuse) a test sets in its
 * switches. */
#ifndef WEIR_TESTS_RIG_H
#define WEIR_TESTS_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/codec.h"
#include "common/kv.h"
#include "common/line.h"
#include "common/model.h"
#include "edged/pipeline.h"
#include "edged/salvage.h"
#include "edged/table.h"

#define RIG_WALL_NS (INT64_C(1800000000) * 1000000000) /* 2027-01-15T08:00:00Z */
#define RIG_SOURCES_MAX 4
#define RIG_QUEUE_MAX 4096
#define RIG_ROWS_MAX (256 * 1024)
#define RIG_GROUP_MAX 100

/* What the cloud has merged of one (stream, version, slice, group). */
struct rig_row {
	char stream[NAME_MAX_BYTES + 1];
	uint32_t version;
	int64_t slice_ns;
	uint8_t group[RIG_GROUP_MAX];
	size_t group_len;
	uint64_t count;
	double sum, min, max;
};

struct rig_shard {
	uint64_t epoch, last, checksum;
	bool open;
};

struct rig_frame {
	uint8_t *data;
	size_t len;
};

struct rig_cloud {
	/* meta */
	uint64_t epoch;
	uint8_t claim[CLAIM_BYTES];
	bool granted, resume, readmitted; /* as granted last */
	bool readmit;
	uint8_t id[CLUSTER_ID_BYTES];
	/* shards */
	struct rig_shard shards[SHARDS_MAX];
	struct rig_row *rows;
	size_t row_count;
	struct table row_table;
	uint64_t merged, duplicates, out_of_sequence; /* batches */
	/* switches */
	uint64_t credit;
	bool silent;             /* answers nothing */
	bool deaf;               /* takes nothing either */
	bool lose_batch_replies; /* merges, and the answer is lost */
	enum verdict batch_verdict; /* other than OK: instead of merging */
	enum verdict hello_verdict;
	uint32_t refused_by;     /* these clouds, by bit, refuse every hello */
	uint32_t unled[3];       /* by cloud: shards, by bit, of which it knows nobody who leads */
	enum verdict open_verdict, report_verdict; /* UNAVAILABLE: instead of an answer */
	unsigned repeat;         /* each answer comes this many times more */
	/* seen */
	uint64_t hellos, opens, batches, reports;
	struct msg_report_stream report[32]; /* the last report; names are the topology's */
	size_t report_count;
	uint64_t map_told;       /* version of the cluster map, in hello's and reports' answers */
	const uint8_t *map;      /* what MSG_MAP is answered with; NULL: nothing newer */
	size_t map_len;
	enum verdict map_verdict;
	uint64_t map_asked, map_version_seen; /* by the edge; that it says it goes by */
	bool clock_suspect;
	uint64_t report_epoch;
	uint64_t last_hello_epoch;
	bool last_hello_empty, last_hello_fenced;
	uint64_t highest_seen[SHARDS_MAX];
	bool checksum_conflict; /* two bodies under one number of one epoch: resent otherwise than byte for byte */
	uint64_t seen_checksum[SHARDS_MAX][64]; /* by seq % 64, of the present epoch */
	uint64_t seen_seq[SHARDS_MAX][64];
};

struct rig {
	struct topology *topology;
	char *folder;
	struct kv *kv;
	struct kv_ops ops;              /* the kv's own, with commit replaced */
	const struct kv_ops *real_ops;
	uint64_t commits;               /* that reached the disk */
	int64_t fail_commit;            /* the commit after this many more fails; -1: none */
	int fail_with;                  /* WEIR_EFULL, WEIR_EIO */
	bool fail_reached;              /* although it did reach the disk */
	bool disk_full;                 /* no room but for marks */
	struct pipeline *p;
	struct rig_cloud cloud;
	struct line_parser parsers[RIG_SOURCES_MAX];
	uint32_t feeding;
	int64_t now_ns;                 /* mono, and wall - RIG_WALL_NS */
	int64_t wall_offset_ns;
	uint8_t random[16];
	/* what io was told */
	bool paused;
	uint64_t connects, commits_told, skips;
	uint32_t connected;
	uint64_t position[RIG_SOURCES_MAX]; /* lines given, the mark */
	bool no_marks;                  /* as tcp */
	bool link_down;                 /* send() says false */
	bool keeps_topologies;          /* those that rig_adopt() leaves are the test's */
	struct rig_frame queue[RIG_QUEUE_MAX];
	size_t queued;
};

/* yaml: the whole topology; edge 0 is the rig's. */
struct rig *rig_new(const char *yaml);
void rig_free(struct rig *r);
/* pipeline_open again, after rig_crash(); same spool. The result of pipeline_open. */
int rig_open(struct rig *r);
/* The process is gone: what was not committed is lost. Frames under way are lost too. */
void rig_crash(struct rig *r);
/* Copies the spool's file aside, and back over the present one. Only between rig_crash() and rig_open(). */
void rig_backup(struct rig *r);
void rig_restore(struct rig *r);
/* Damages the n-th record (from 0) of one of the spool's databases: its checksum will not fit. Between crash and open,
 * or while it runs. */
void rig_damage(struct rig *r, enum spool_db db, size_t n);
/* The same, of the record under this key, which must be there. */
void rig_spoil(struct rig *r, enum spool_db db, struct bytes key);
/* Between rig_crash() and rig_open(): nobody has the file open while it is damaged; then it is checked, as edged does. */
void rig_offline(struct rig *r, void (*damage)(struct rig *r, unsigned n), unsigned n, struct salvage_report *ret);
/* Changes the topology before the next rig_open(). */
void rig_topology(struct rig *r, const char *yaml);
/* Topologies whose streams are called NAME__N are versions of stream NAME; set() may do the rest. */
struct topology *rig_versions(const char *yaml, void (*set)(void *arg, struct topology *t), void *arg);
/* Goes over to t (the rig's from now on, also on failure), storing `map`: what pipeline_store_map said. A source goes on where the
 * other topology has one of its name. An error leaves it to the test to crash. */
int rig_adopt(struct rig *r, struct topology *t, struct bytes map);
struct pipeline_time rig_now(const struct rig *r);

/* Lines of line protocol, timestamps in seconds, from one source. */
void rig_lines(struct rig *r, uint32_t source, const char *text);
/* A day before RIG_WALL_NS: a whole hour, so slices are easy to name, and far from max_ahead. */
int64_t rig_base_ns(void);
/* One line; the format has one %lld, for the timestamp: rig_base_ns() and that many seconds. */
void rig_line_at(struct rig *r, uint32_t source, const char *format, int64_t second);
/* Ticks until everything is acknowledged and deleted; asserts that it comes to that. */
void rig_drain(struct rig *r);
/* One tick after ms more; cloud answers are delivered after it, and further ticks made while it wants them. */
int rig_tick(struct rig *r, int64_t ms);
/* That n times. */
int rig_ticks(struct rig *r, unsigned n, int64_t ms);
/* Delivers what the cloud has answered. */
void rig_deliver(struct rig *r);
/* A frame from the cloud. */
void rig_send(struct rig *r, const struct msg *m);
void rig_send_raw(struct rig *r, const void *data, size_t len);

struct pipeline_ledger rig_ledger(const struct rig *r);
/* accepted + refused = read, matched = aggregated + dropped: asserts it. */
void rig_check_ledger(const struct rig *r);
/* Readings of a stream that the cloud has merged, over all slices and groups. */
uint64_t rig_merged(const struct rig *r, const char *stream);
const struct rig_row *rig_row(const struct rig *r, const char *stream, int64_t slice_ns, const char *group_value);
const struct rig_row *rig_row_of(const struct rig *r, const char *stream, uint32_t version, int64_t slice_ns, const char *group_value);
const struct msg_report_stream *rig_report_of(const struct rig *r, const char *stream, uint32_t version);
const struct msg_report_stream *rig_report(const struct rig *r, const char *stream);
/* The value of a sample of /metrics: name with its labels as printed. Asserts that it is there. */
double rig_metric(const struct rig *r, const char *sample);
/* Records in one of the spool's databases. */
size_t rig_records(struct rig *r, enum spool_db db);
/* low, next and so on of a shard, as the numbers of the kept batches' keys say: lowest and highest, 0 where none. */
void rig_seqs(struct rig *r, uint32_t shard, uint64_t *ret_low, uint64_t *ret_high, size_t *ret_count);

#endif
