/* Partials and batches as JSON, for people who look into what is stored (weirctl store dump): what they hold, not what is asked of them. */
#ifndef WEIR_COMMON_PARTIAL_JSON_H
#define WEIR_COMMON_PARTIAL_JSON_H

#include "common/buf.h"
#include "common/partial.h"

/* Appends an object. */
void partial_json(struct buf *out, const struct partial *p, const struct partial_spec *spec);
/* Appends the body of a batch as an object, partials and all. Errors as batch_reader_open, and then nothing is appended. */
int batch_json(struct buf *out, struct bytes body);

#endif
