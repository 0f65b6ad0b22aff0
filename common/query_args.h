/* The arguments of /api/v1/query and /api/v1/watch, checked against the topology. Pure. */
#ifndef WEIR_COMMON_QUERY_ARGS_H
#define WEIR_COMMON_QUERY_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/model.h"
#include "common/rows.h"

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

/* The part of an answer that one version of the stream gives: windows that start in [spec.from_ns, spec.to_ns). */
struct query_version {
	const struct stream_conf *stream;
	struct rows_spec spec;    /* limit: not set yet (per reply) */
	uint32_t column[BY_MAX];  /* by tag asked for: its place in the rows' groups, or UINT32_MAX: "" everywhere */
};

/* What is asked, with its own copies of all texts. */
struct query_args {
	/* Of the version whose rows are read now: query_args_select(). */
	const struct stream_conf *stream;
	struct rows_spec spec;
	size_t at;
	struct query_version *versions; /* one at least, in the order of time: their parts follow one another */
	size_t version_count;
	char *by[BY_MAX];      /* tags asked for */
	uint32_t by_count;
	int64_t size_ns, advance_ns; /* of the last version's windows */
	bool spans;            /* several versions have a part in what was asked for */
	bool own;              /* a watch: rows of each version have its own tags and functions, not `by` and `select` */
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
/* The same for a watch: `stream` and `where` only (and last_event_id, which it does not look at); each version's own tags and functions. */
int query_args_parse_watch(const struct topology *t, const struct query_arg *args, size_t count, struct query_args *ret,
    struct query_error *ret_error);
void query_args_clear(struct query_args *q);
void query_args_select(struct query_args *q, size_t version);

/* The text that goes on after the row (start, group). */
void query_cursor_put(const struct query_args *q, int64_t start_ns, struct bytes group, struct buf *out);

#endif
