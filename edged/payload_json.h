/* The JSON of payload.h: its part alone, for edged/payload.c. */
#ifndef WEIR_EDGED_PAYLOAD_JSON_H
#define WEIR_EDGED_PAYLOAD_JSON_H

#include "edged/payload.h"

struct payload_json;

struct payload_json *payload_json_new(const struct payload_conf *conf);
void payload_json_free(struct payload_json *j); /* NULL is fine */
void payload_json_read(struct payload_json *j, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg);

/* Whether text is written as a decimal number; one that is out of range the line parser refuses. payload.c's. */
bool payload_is_number(struct bytes text);

#endif
