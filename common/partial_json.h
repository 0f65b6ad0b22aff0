/* Partials and batches as JSON, for people who look into what is stored (weirctl store dump): what they hold, not what is asked of them. */
#ifndef WEIR_COMMON_PARTIAL_JSON_H
#define WEIR_COMMON_PARTIAL_JSON_H

#include "common/buf.h"
#include "common/partial.h"

/* Appends an object. */
void partial_json(struct buf *out, const struct partial *p, const struct partial_spec *spec);
/* The values of a group: ["a", "b"]; as hexadecimal text where it is not one. */
void group_json(struct buf *out, struct bytes group);
/* A time as RFC 3339; null for WATERMARK_NONE; "ever" for what no time is (INT64_MIN, INT64_MAX). */
void instant_json(struct buf *out, int64_t t_ns);
void hex_json(struct buf *out, struct bytes b);
/* A number; in quotes above INT64_MAX, where readers of JSON have no integers. */
void u64_json(struct buf *out, uint64_t v);
/* Appends the body of a batch as an object, partials and all. Errors as batch_reader_open, and then nothing is appended. */
int batch_json(struct buf *out, struct bytes body);

#endif
