/* The frame around the rows of an answer to a query, as JSON: interfaces of docs/http.md. Pure. */
#ifndef WEIR_COMMON_ANSWER_JSON_H
#define WEIR_COMMON_ANSWER_JSON_H

#include "common/buf.h"
#include "common/query_args.h"

/* The object's head, up to its watermark (and the versions, where several have a part in it): members may follow, each with a comma
 * before it. watermark_ns: below TIME_MIN_NS or INT64_MAX: null. */
void answer_json_head(const struct query_args *q, int64_t watermark_ns, struct buf *out);
/* A time, or null where there is none. */
void answer_json_time(struct buf *out, int64_t t_ns);
/* Begins the list of rows; before each row answer_json_comma() with its number, from 0. */
void answer_json_rows(struct buf *out);
void answer_json_comma(uint32_t row, struct buf *out);
/* Ends it, and the object. more: there are rows after (last_start_ns, last_group), the last one given. */
void answer_json_tail(const struct query_args *q, bool more, int64_t last_start_ns, struct bytes last_group, struct buf *out);

#endif
