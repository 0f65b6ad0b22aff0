/* The arguments of /api/v1/query and /api/v1/watch, checked against the topology. Pure. */
#ifndef WEIR_CLOUDD_QUERY_ARGS_H
#define WEIR_CLOUDD_QUERY_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudd/rows.h"
#include "common/model.h"

#define QUERY_ROWS_MAX 1000000 /* of one answer; `next` goes on */
#define QUERY_MESSAGE_MAX 320

struct query_arg {
	const char *name, *value;
};

struct query_error {
	unsigned status;
	const char *code; /* static */
	char message[QUERY_MESSAGE_MAX];
};

/* What is asked, with its own copies of all texts. */
struct query_args {
	const struct stream_conf *stream;
	struct rows_spec spec; /* limit: not set yet (per reply) */
	struct function_conf select[FUNCTIONS_MAX];
	size_t select_count;
	uint32_t limit;        /* rows of the answer */
	bool stale;
	uint64_t fingerprint;  /* of all but times, limit and cursor: a cursor is good for the same query only */
	char *where_values[ROWS_WHERE_MAX];
	uint8_t after_group[GROUP_KEY_MAX];
};

/* WEIR_EINVAL with *ret_error filled, nothing to clear; or 0. now_ns: what `now` and -1h mean. */
int query_args_parse(const struct topology *t, const struct query_arg *args, size_t count, int64_t now_ns,
    struct query_args *ret, struct query_error *ret_error);
/* The same for a watch: `stream` only (and last_event_id, which it does not look at); all functions. */
int query_args_parse_watch(const struct topology *t, const struct query_arg *args, size_t count, struct query_args *ret,
    struct query_error *ret_error);
void query_args_clear(struct query_args *q);

/* The text that goes on after the row (start, group). */
void query_cursor_put(const struct query_args *q, int64_t start_ns, struct bytes group, struct buf *out);

#endif
