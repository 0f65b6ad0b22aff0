/* The values that records hold as JSON, for people who look into what is stored (weirctl store dump). */
#ifndef WEIR_COMMON_RECORD_JSON_H
#define WEIR_COMMON_RECORD_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

/* The values of a group: ["a", "b"]; as hexadecimal text where it is not one. */
void group_json(struct buf *out, struct bytes group);
/* A time as RFC 3339; null for WATERMARK_NONE; "ever" for what no time is (INT64_MIN, INT64_MAX). */
void instant_json(struct buf *out, int64_t t_ns);
void hex_json(struct buf *out, struct bytes b);
/* A number; in quotes above INT64_MAX, where readers of JSON have no integers. */
void u64_json(struct buf *out, uint64_t v);

/* A further field of an object: a comma, the key, the value. */
void record_u64(struct buf *out, const char *key, uint64_t v);
void record_bool(struct buf *out, const char *key, bool v);
void record_text(struct buf *out, const char *key, struct bytes text);
void record_cstr(struct buf *out, const char *key, const char *text);
void record_time(struct buf *out, const char *key, int64_t t_ns);
void record_hex(struct buf *out, const char *key, struct bytes b);
/* A word of 64 bits that is no number to anybody. */
void record_mark(struct buf *out, const char *key, uint64_t v);
/* As "group". */
void record_group(struct buf *out, struct bytes group);

#endif
