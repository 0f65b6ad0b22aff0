/* What a query asks of a shard, and the rows that it answers with: the bytes inside MSG_QUERY and MSG_OUTBOX replies.
 *
 * Rows hold partials, not finished numbers, so that the asking node merges rows of several shards and evaluates
 * once. Decoders trust nothing. */
#ifndef WEIR_COMMON_ROWS_H
#define WEIR_COMMON_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/model.h"
#include "common/partial.h"

#define ROWS_BYTES_MAX (160 * 1024) /* of one reply, unless a single row is larger */
#define ROWS_WHERE_MAX 64
#define ROWS_MISSING_MAX 16         /* names of missing edges in an answer */
/* Longest window, so that no arithmetic on times within [TIME_MIN_NS, TIME_MAX_NS] overflows (about 36 years). */
#define ROWS_WINDOW_MAX_NS (INT64_MAX / 8)

enum window_state { WINDOW_OPEN, WINDOW_PROVISIONAL, WINDOW_FINAL };
const char *window_state_text(enum window_state s); /* "open" "provisional" "final" */

struct rows_where {
	uint32_t by;        /* index into the stream's `by`, or UINT32_MAX: a tag that the stream does not keep: no match but "" */
	const char *value;
};

struct rows_spec {
	const char *stream;
	uint32_t version;
	int64_t from_ns, to_ns;         /* rows with from <= start < to; INT64_MIN, INT64_MAX: open ended */
	int64_t size_ns, advance_ns, offset_ns; /* of the windows asked for: multiples of the slice */
	bool own_window;                /* they are the stream's own */
	uint32_t by[BY_MAX];            /* indexes into the stream's `by`, in the order asked for */
	uint32_t by_count;
	bool own_by;                    /* all of the stream's, in its order */
	struct rows_where where[ROWS_WHERE_MAX]; /* AND between tags, OR within one */
	uint32_t where_count;
	bool only_final;
	uint32_t limit;                 /* rows in this reply at the most */
	bool after;                     /* go on after (after_start_ns, after_group) */
	int64_t after_start_ns;
	struct bytes after_group;
};

/* Completeness of one window: semantics.md 4.2. */
struct rows_edges {
	uint32_t expected, contributed, idle, partitioned;
	uint32_t missing_count;                  /* <= ROWS_MISSING_MAX */
	struct bytes missing[ROWS_MISSING_MAX];
	bool elsewhere; /* one of them has readings of the window in another version: it is never final. Not encoded */
};

struct row {
	int64_t start_ns, end_ns;
	struct bytes group;    /* encoded as in model.h, of the tags asked for */
	enum window_state state;
	uint64_t revision;     /* 0: none (regrouped, coarser, or open): null */
	struct rows_edges edges;
	struct partial partial; /* owned by the reader where decoded */
	/* outbox rows only: */
	uint64_t outbox_index;
	uint32_t outbox_n;
};

void rows_spec_encode(const struct rows_spec *s, struct buf *out);
/* Pointers live as long as the bytes. Checks against the topology's stream: a version that is known, indexes in range and
 * each once, sizes multiples of the slice, size <= ROWS_WINDOW_MAX_NS, at most SLICES_PER_WINDOW_MAX windows over one
 * slice, own_window and own_by true to what they say. WEIR_ENOTFOUND: unknown stream; WEIR_EVERSION: unknown version of it, or
 * another format; WEIR_ECORRUPT, WEIR_ETRUNCATED. */
int rows_spec_decode(struct bytes raw, const struct topology *t, struct rows_spec *ret, const struct stream_conf **ret_stream);

struct rows_writer; /* of one reply: a head (close, final, watermark), then rows in (start, group) order */
struct rows_writer *rows_writer_new(const struct partial_spec *spec, int64_t close_ns, int64_t final_ns);
void rows_writer_free(struct rows_writer *w);
void rows_writer_add(struct rows_writer *w, const struct row *r); /* copies */
size_t rows_writer_bytes(const struct rows_writer *w);
size_t rows_writer_count(const struct rows_writer *w);
void rows_writer_finish(struct rows_writer *w, struct buf *out);

struct rows_reader;
/* WEIR_ECORRUPT, WEIR_ETRUNCATED, WEIR_EVERSION. */
int rows_reader_open(struct bytes raw, const struct partial_spec *spec, struct rows_reader **ret_reader); /* copies raw */
void rows_reader_close(struct rows_reader *r);
int64_t rows_reader_close_ns(const struct rows_reader *r);
int64_t rows_reader_final_ns(const struct rows_reader *r);
/* 1: *ret_row, valid until the next call; 0: the end; negative: corrupt. */
int rows_reader_next(struct rows_reader *r, struct row **ret_row);

#endif
