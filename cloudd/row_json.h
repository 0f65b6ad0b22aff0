/* A window result as JSON, evaluated from its partial: interfaces.md. Pure. */
#ifndef WEIR_CLOUDD_ROW_JSON_H
#define WEIR_CLOUDD_ROW_JSON_H

#include "cloudd/query_args.h"
#include "cloudd/rows.h"
#include "common/buf.h"
#include "common/partial.h"

/* Appends the row's object. `partial` is the spec that the row was decoded with. */
void row_json_put(const struct query_args *q, const struct partial_spec *partial, const struct row *row, struct buf *out);

#endif
