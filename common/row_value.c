#include "common/row_value.h"

#include <string.h>

static uint32_t distinct_index(const struct stream_conf *s, const char *tag)
{
	uint32_t i = 0;
	while (i < s->distinct_count && strcmp(s->distinct[i], tag))
		i++;
	return i;
}

struct row_value row_value(const struct stream_conf *stream, const struct partial_spec *spec, const struct row *row,
    const struct function_conf *fn)
{
	struct row_value x = {.null = true};
	if (!stream_computes(stream, fn))
		return x; /* another version does */
	uint32_t at = fn->fn == FN_DISTINCT ? distinct_index(stream, fn->tag) : 0;
	partial_eval(&row->partial, spec, fn->fn, fn->q, at, &x.v, &x.error, &x.null);
	return x;
}

void row_tags(const struct query_args *q, const struct row *row, struct bytes ret_values[BY_MAX])
{
	size_t count = q->own ? q->stream->by_count : q->by_count;
	struct rd r = rd_init(row->group.p, row->group.n);
	for (size_t i = 0; i < count; i++) {
		size_t n = 0;
		const uint8_t *v = q->own || q->versions[q->at].column[i] != UINT32_MAX ? rd_bytes(&r, GROUP_KEY_MAX, &n) : NULL;
		ret_values[i] = bytes_of(v ? v : (const uint8_t *)"", n);
	}
}
