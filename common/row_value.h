/* What a window result says: the values of its functions, and of the tags of its group. Pure. */
#ifndef WEIR_COMMON_ROW_VALUE_H
#define WEIR_COMMON_ROW_VALUE_H

#include <stdbool.h>

#include "common/kv.h"
#include "common/partial.h"
#include "common/query_args.h"
#include "common/rows.h"

struct row_value {
	double v, error; /* as partial_eval() */
	bool null;
};

/* A function that the row's version of the stream does not compute is null. spec: what the row was decoded with. */
struct row_value row_value(const struct stream_conf *stream, const struct partial_spec *spec, const struct row *row,
    const struct function_conf *fn);
/* The values of the tags asked for, q->by_count of them, in their order; within the row. "" where the row's version keeps no such
 * tag. Where each version's own tags are asked for (q->own): those of the version, in its order. */
void row_tags(const struct query_args *q, const struct row *row, struct bytes ret_values[BY_MAX]);

#endif
