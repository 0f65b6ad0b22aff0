/* What the tests of snapshots share: states with every table, files in memory that can be made to fail, and a replica that
 * copies by hand. Everything fails the test on an unexpected error. */
#ifndef WEIR_TESTS_CLOUDD_COPY_H
#define WEIR_TESTS_CLOUDD_COPY_H

#include "cloudd/snapshot.h"
#include "tests/unit/cloudd/kit.h"

#define COPY_SHARD 1 /* the group that copy_fill_shard fills */
#define COPY_STREAMS                                                                                                \
	"  - {name: s, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s,\n"                   \
	"     compute: [count, sum, stddev, first, last, p99], retain: 10000s, rollup: [{every: 1m, retain: 1d}]}\n" \
	"  - {name: t, from: {measurement: m, field: f}, by: [tag], window: 10s, lateness: 0s, compute: [sum]}\n"

struct copy_files {
	unsigned open, made;
	int fail_create, fail_append, fail_read; /* 0, or what to return */
	unsigned appends_left;                   /* before fail_append; 0: at once */
	void (*on_append)(void);                 /* NULL, or what happens meanwhile */
};
struct snapshot_files copy_files(struct copy_files *f);

/* Goes on with entries from round to round; after the first, every table has records. The shard: `groups` of them. */
void copy_fill_shard(struct kit *k, unsigned round, unsigned groups);
/* Closes of `edges` edges: 5000 make a record that is larger than a chunk. */
void copy_fill_meta(struct kit *k, unsigned round, unsigned edges);
/* That is so. */
void copy_check_tables(struct kit *k);
/* A NOOP, or a configuration. */
void copy_noop(struct kit *k, uint32_t group);
void copy_config(struct kit *k, uint32_t group, const char *config);

/* One chunk, which must be OK; the reply points into body. */
struct msg copy_ask(struct snapshots *ss, uint32_t group, uint64_t id, uint64_t chunk, int64_t mono_ns, struct buf *body);
struct snapshot_head copy_head(const struct msg *reply);
/* All chunks; as many as returned, at most 64, each in a buffer to be freed. *ret_head's config points into the first. */
size_t copy_all(struct snapshots *ss, uint32_t group, struct buf chunks[64], struct buf *config,
    struct snapshot_head *ret_head);
/* The states of a group are the same, byte for byte, and their digests are right. */
void copy_check_same(struct kit *a, struct kit *b, uint32_t group);

#endif
