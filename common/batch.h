/* The batch: partials cut together for one shard, in one compact columnar body.
 *
 * Body: [format u8][flags u8: 1 = zstd][shard varint][seq varint][raw length varint] then, plain or zstd-compressed: a table
 * of streams (name, version, parts, distinct count, slice length), and the partials sorted by (stream, slice start,
 * group), by columns: the layout is drawn in batch.c. Shard and seq are outside of what is compressed, so renumbering
 * copies. Encoded once, stored in the spool, resent byte for byte; its checksum is XXH3-64 of the body. The same
 * partials give the same bytes in whatever order they are added (equal keys are merged in the order of adding).
 *
 * Not thread-safe; writers and readers are each used by one thread at a time. */
#ifndef WEIR_COMMON_BATCH_H
#define WEIR_COMMON_BATCH_H

#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/partial.h"

#define BATCH_FORMAT 1
#define BATCH_BODY_MAX (192 * 1024)      /* encoded, so that it fits a frame of 256 KiB */
#define BATCH_RAW_MAX (2 * 1024 * 1024)  /* decompressed */
#define BATCH_PARTIALS_MAX 20000
#define BATCH_STREAMS_MAX 256

struct batch_writer;

/* Partials are given in any order; the writer copies what it needs. */
struct batch_writer *batch_writer_new(uint32_t shard);
void batch_writer_free(struct batch_writer *w);
/* Adds one partial, merging it with an equal (stream, slice, group) already there; an empty one is ignored.
 * WEIR_EFULL: the batch has its size and is as it was before; finish it and add to the next. WEIR_ETOOBIG: this partial
 * alone is over a limit (a group over GROUP_KEY_MAX). WEIR_EINVAL: a stream of this name and version is there with
 * other parts, or first or last are 146 years away from the slice. Memory is bounded by BATCH_BODY_MAX of encoded rows and BATCH_PARTIALS_MAX entries. */
int batch_writer_add(struct batch_writer *w, const struct stream_conf *s, const struct partial_spec *spec,
    int64_t slice_start_ns, struct bytes group, const struct partial *p);
size_t batch_writer_count(const struct batch_writer *w);
/* A bound of the size so far, before compression. */
size_t batch_writer_bytes(const struct batch_writer *w);
/* Appends the body for this seq to out, and empties the writer for the next. The body is at most BATCH_BODY_MAX bytes,
 * and stays so under any seq. */
void batch_writer_finish(struct batch_writer *w, uint64_t seq, struct buf *out);

struct batch_stream {
	const char *name;  /* lives as long as the reader */
	uint32_t version;
	int64_t slice_ns;
	struct partial_spec spec; /* parts and distinct_count as sent; cap and seed 0: the receiver sets its own */
};

struct batch_item {
	uint32_t stream;  /* index into the reader's streams */
	int64_t slice_start_ns;
	struct bytes group; /* lives until the next call */
	struct partial partial; /* owned by the reader; valid until the next call; spec: that of the stream */
};

/* An item whose partial stays encoded. A plain value that lives as long as the reader. */
struct batch_packed {
	uint32_t stream;
	int64_t slice_start_ns;
	struct bytes group;
	struct partial_packed partial;
};

struct batch_reader;

/* Checks the head and the whole column layout, groups, slices and counts; the other numbers of an item are checked
 * when it is read: who must take all or nothing reads all once before. Copies what it needs of body.
 * 0, WEIR_EVERSION, WEIR_ECORRUPT, WEIR_ETOOBIG, WEIR_ETRUNCATED. */
int batch_reader_open(const void *body, size_t len, struct batch_reader **ret_reader);
void batch_reader_close(struct batch_reader *r);
uint32_t batch_reader_shard(const struct batch_reader *r);
uint64_t batch_reader_seq(const struct batch_reader *r);
size_t batch_reader_count(const struct batch_reader *r);
/* Sum of the partials' counts: readings within. Sticks at UINT64_MAX. */
uint64_t batch_reader_readings(const struct batch_reader *r);
size_t batch_reader_stream_count(const struct batch_reader *r);
const struct batch_stream *batch_reader_stream(const struct batch_reader *r, size_t i);
/* 1: an item, in (stream, slice, group) order; 0: the end; negative: as open, and so from then on. The caller may take
 * the partial over by zeroing it in the item. */
int batch_reader_next(struct batch_reader *r, struct batch_item **ret_item);
/* As batch_reader_next (of which it takes the turn), for who only checks and merges. */
int batch_reader_next_packed(struct batch_reader *r, struct batch_packed *ret_item);
uint64_t batch_checksum(const void *body, size_t len);
/* The head alone, for who passes the body on: that it is one, whole by its own account, and of which shard and seq. What is
 * compressed is not looked into: only reading tells whether that decodes. Errors as batch_reader_open. */
int batch_head(const void *body, size_t len, uint32_t *ret_shard, uint64_t *ret_seq);

/* Renumbers a body that was never sent: appends the same partials under another seq. Errors of the head only. */
int batch_renumber(const void *body, size_t len, uint64_t seq, struct buf *out);

#endif
