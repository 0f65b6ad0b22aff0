/* The cutter: partials of one shard into the values that the spool keeps under SPOOL_BATCH.
 *
 *   [format u8][n varint] n x {stream name (varint length, bytes), version u32, earliest slice start svarint,
 *   readings varint} [the batch's body, as it is sent]
 *
 * The head says what the watermark and the ledger need to know of a batch without decoding it. */
#ifndef WEIR_EDGED_CUTTER_H
#define WEIR_EDGED_CUTTER_H

#include <stdint.h>

#include "common/batch.h"
#include "common/buf.h"
#include "edged/stream.h"

struct batch_meta_stream {
	uint32_t stream; /* index into streams */
	int64_t min_slice_ns;
	uint64_t readings;
};

/* What is kept in memory of a batch in the spool. */
struct batch_meta {
	uint64_t seq;
	uint32_t body_bytes;
	uint32_t stream_count;
	bool damaged; /* its record is lost: it stands in for the number only */
	struct batch_meta_stream streams[];
};

struct cutter;

struct cutter *cutter_new(uint32_t shard, const struct streams *streams);
void cutter_free(struct cutter *c);
/* 0; WEIR_EFULL: finish this batch first; WEIR_ETOOBIG: the partial alone is too big. */
int cutter_add(struct cutter *c, const struct stream *s, int64_t slice_start_ns, struct bytes group,
    const struct partial *p);
size_t cutter_count(const struct cutter *c);
/* Replaces what `out` holds by the value for this seq; returns the caller's meta; the cutter is empty again. */
struct batch_meta *cutter_finish(struct cutter *c, uint64_t seq, struct buf *out);

/* Reads a value: the body lies in it. Streams that nobody knows become orphans. WEIR_ECORRUPT. */
int batch_value_decode(struct bytes value, uint64_t seq, struct streams *streams, struct batch_meta **ret_meta,
    struct bytes *ret_body);
/* The same for who has no streams: each() is told of every stream in it. */
int batch_value_peek(struct bytes value, void (*each)(void *arg, struct bytes name, uint32_t version, int64_t min_slice_ns), void *arg,
    struct bytes *ret_body);
/* The same value under another seq. */
int batch_value_renumber(struct bytes value, uint64_t seq, struct buf *out);

#endif
