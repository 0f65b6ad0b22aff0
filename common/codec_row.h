/* A result as proto/row.proto has it, from a plain struct to bytes: for sinks. Pure; any thread. */
#ifndef WEIR_COMMON_CODEC_ROW_H
#define WEIR_COMMON_CODEC_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/rows.h"

struct row_tag {
	struct bytes key, value; /* any bytes, as all texts here: those that are no UTF-8, and NUL, become U+FFFD */
};

struct row_number {
	struct bytes function;
	bool has_value, has_error;
	double value, error;
};

struct row_message {
	struct bytes stream, id;
	uint32_t version;
	int64_t start_ns, end_ns;
	const struct row_tag *tags;
	size_t tag_count;
	const struct row_number *values;
	size_t value_count;
	enum window_state state;
	uint64_t revision;
	const struct rows_edges *edges;
	bool has_shard;
	uint32_t shard;
};

/* Appends. */
void row_message_encode(const struct row_message *m, struct buf *out);

#endif
