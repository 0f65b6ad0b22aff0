/* A window result as JSON, evaluated from its partial: interfaces.md. Pure. */
#ifndef WEIR_COMMON_ROW_JSON_H
#define WEIR_COMMON_ROW_JSON_H

#include "common/buf.h"
#include "common/partial.h"
#include "common/query_args.h"
#include "common/rows.h"

/* Appends the row's object. `partial` is the spec that the row was decoded with. */
void row_json_put(const struct query_args *q, const struct partial_spec *partial, const struct row *row, struct buf *out);
/* Appends one value of it, as it is in the object; false, nothing appended: null. The stream is the row's. */
bool row_value_put(const struct stream_conf *stream, const struct partial_spec *partial, const struct row *row,
    const struct function_conf *fn, struct buf *out);

#endif
