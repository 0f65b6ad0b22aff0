/* What the tests of the cloud's state machines share: a topology from text, a state environment in a temporary folder,
 * entries one after the other, batches, queries. Everything fails the test on an unexpected error. */
#ifndef WEIR_TESTS_CLOUDD_KIT_H
#define WEIR_TESTS_CLOUDD_KIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cloudd/apply.h"
#include "cloudd/entry.h"
#include "cloudd/state.h"
#include "common/batch.h"
#include "common/buf.h"
#include "common/kv.h"
#include "common/model.h"
#include "common/partial.h"
#include "common/rows.h"

#define SEC INT64_C(1000000000)
#define KIT_GROUPS 8

struct kit {
	struct topology *t;
	char *folder;
	struct kv *kv;
	struct apply *a;
	uint64_t index[KIT_GROUPS]; /* of the last entry, by group */
	uint64_t meta_index;        /* of the last kit_advance */
	uint64_t seq;               /* of the last kit_send */
	int64_t time_ns;            /* of the next entries */
};

/* One shard unless said; stream definitions follow "streams:\n" as YAML. */
void kit_init(struct kit *k, unsigned shards, const char *streams);
void kit_close(struct kit *k);
void kit_reopen(struct kit *k);          /* closes and opens environment and apply; nothing is committed by it */
void kit_commit(struct kit *k);
const struct stream_conf *kit_stream(const struct kit *k, const char *name);

/* Applies; the result must be cleared. */
struct apply_result kit_apply(struct kit *k, uint32_t group, const struct entry *e);
/* The same, of raw bytes. */
struct apply_result kit_apply_raw(struct kit *k, uint32_t group, struct bytes raw);
enum verdict kit_verdict(struct kit *k, uint32_t group, const struct entry *e);

/* A group from its values: 2, "a", "b". Static room, of the last few calls. */
struct bytes kit_group(int count, ...);

/* Readings gathered into one batch for shard 0. */
struct kit_batch {
	struct kit *k;
	struct batch_writer *w;
};
struct kit_batch kit_batch(struct kit *k);
/* One partial of one reading; its slice is that of t. */
void kit_add(struct kit_batch *b, const char *stream, struct bytes group, int64_t t_ns, double value);
/* A partial of so many readings, for any stream definition and slice. */
void kit_add_as(struct kit_batch *b, const struct stream_conf *s, struct bytes group, int64_t slice_ns,
    unsigned readings);
/* Finishes as this number and gives the body; the batch is done. */
struct buf kit_body(struct kit_batch *b, uint64_t seq);
struct entry kit_batch_entry(const char *edge, uint64_t epoch, uint64_t seq, const struct buf *body);
void kit_open(struct kit *k, const char *edge, uint64_t epoch);
/* Applies as the next batch of edge "e1", epoch 1 (opened on first use), and expects it merged. */
struct apply_result kit_send(struct kit *k, struct kit_batch *b);

/* An advance of a stream on shard 0. Edges: `count` of them. */
struct apply_result kit_advance(struct kit *k, const char *stream, int64_t close_ns, int64_t final_ns,
    const struct entry_edge *edges, uint32_t count);
struct apply_result kit_sweep(struct kit *k);
/* Sweeps until nothing is left; returns how many it took. */
unsigned kit_sweep_all(struct kit *k);

/* Commits, and runs the query page by page; all rows. */
struct kit_rows {
	struct row *rows; /* groups point into room */
	size_t count, pages;
	struct partial_spec spec;
	struct buf *room; /* each page's bytes */
	int64_t close_ns, final_ns;
};
struct rows_spec kit_spec(const struct kit *k, const char *stream); /* its own windows and groups, everything */
struct kit_rows kit_query(struct kit *k, const struct rows_spec *spec);
struct kit_rows kit_outbox(struct kit *k, const char *stream, uint64_t *index, uint32_t *n, uint32_t limit,
    bool *ret_reset);
void kit_rows_clear(struct kit_rows *r);
/* The row of a window and group, or NULL. */
const struct row *kit_row(const struct kit_rows *r, int64_t start_ns, struct bytes group);

/* Everything in a group's database, as one text of bytes; commits first. Digest checked against one from scratch. */
struct buf kit_dump(struct kit *k, uint32_t group);
uint64_t kit_count(struct kit *k, uint32_t group, enum state_table table); /* records of a table */
struct shard_stream_counts kit_counts(struct kit *k, const char *stream);

#endif
