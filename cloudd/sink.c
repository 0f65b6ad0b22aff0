/* What types of sinks use of a row. */
#include "cloudd/sink.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/codec_row.h"
#include "common/err.h"
#include "common/json.h"
#include "common/query_args.h"
#include "common/row_json.h"
#include "common/row_value.h"
#include "common/window.h"

bool sink_row_is_part(const struct sink_row *r)
{
	uint8_t room[GROUP_KEY_MAX];
	struct bytes other = group_other(r->stream->by_count, room);
	return r->stream->by_count && other.n == r->row.group.n && !memcmp(other.p, r->row.group.p, other.n);
}

/* A window of a stream is answered by one version, whose tags and functions these are. */
void sink_row_json(const struct sink_row *r, struct buf *out)
{
	const struct query_args own = {.stream = r->stream, .own = true};
	char id[SINK_ROW_ID_BYTES], window[TIME_TEXT_MAX];
	sink_row_id(r, id);
	duration_format(r->row.end_ns - r->row.start_ns, window);
	buf_printf(out, "{\"stream\": ");
	json_text(out, r->stream->name);
	buf_printf(out, ", \"version\": %u, \"window\": \"%s\", \"id\": \"%s\", ", r->stream->version, window, id);
	if (sink_row_is_part(r))
		buf_printf(out, "\"shard\": %u, ", r->shard);
	size_t at = out->len;
	row_json_put(&own, r->spec, &r->row, out);
	memmove(out->data + at, out->data + at + 1, out->len - at - 1); /* its brace */
	out->len--;
}

void sink_row_key(const struct sink_row *r, struct buf *out)
{
	const struct query_args own = {.stream = r->stream, .own = true};
	struct bytes values[BY_MAX];
	row_tags(&own, &r->row, values);
	buf_printf(out, "{\"stream\": ");
	json_text(out, r->stream->name);
	buf_printf(out, ", \"group\": {");
	for (size_t i = 0; i < r->stream->by_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_text(out, r->stream->by[i]);
		buf_printf(out, ": ");
		json_bytes(out, (const char *)values[i].p, values[i].n);
	}
	buf_printf(out, "}");
	if (sink_row_is_part(r))
		buf_printf(out, ", \"shard\": %u", r->shard);
	buf_printf(out, "}");
}

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

/* As in JSON, which has no other numbers than finite ones. */
static struct row_number number_of(const struct sink_row *r, const struct function_conf *fn)
{
	struct row_value x = row_value(r->stream, r->spec, &r->row, fn);
	bool has_error = !x.null && (fn->fn == FN_QUANTILE || fn->fn == FN_DISTINCT) && isfinite(x.error);
	return (struct row_number){.function = text_of(fn->text), .has_value = !x.null && isfinite(x.v),
	    .value = fn->fn == FN_DISTINCT ? round(x.v) : x.v, .has_error = has_error, .error = x.error};
}

void sink_row_protobuf(const struct sink_row *r, struct buf *out)
{
	const struct query_args own = {.stream = r->stream, .own = true};
	const struct stream_conf *s = r->stream;
	struct row_number *numbers = xcalloc(s->compute_count + 1, sizeof(*numbers));
	struct bytes values[BY_MAX];
	struct row_tag tags[BY_MAX];
	char id[SINK_ROW_ID_BYTES];
	sink_row_id(r, id);
	row_tags(&own, &r->row, values);
	for (size_t i = 0; i < s->by_count; i++)
		tags[i] = (struct row_tag){text_of(s->by[i]), values[i]};
	for (size_t i = 0; i < s->compute_count; i++)
		numbers[i] = number_of(r, &s->compute[i]);
	row_message_encode(&(struct row_message){.stream = text_of(s->name), .id = text_of(id), .version = s->version, .start_ns = r->row.start_ns,
	    .end_ns = r->row.end_ns, .tags = tags, .tag_count = s->by_count, .values = numbers, .value_count = s->compute_count,
	    .state = r->row.state, .revision = r->row.revision, .edges = &r->row.edges,
	    .has_shard = sink_row_is_part(r), .shard = r->shard}, out);
	free(numbers);
}

void sink_row_id(const struct sink_row *r, char out[SINK_ROW_ID_BYTES])
{
	struct buf b = {0};
	buf_str(&b, r->stream->name);
	buf_bytes(&b, r->row.group.p, r->row.group.n);
	for (size_t i = 0; i < r->stream->by_count; i++)
		buf_str(&b, r->stream->by[i]);
	buf_svarint(&b, r->row.start_ns);
	buf_svarint(&b, r->row.end_ns);
	if (sink_row_is_part(r))
		buf_varint(&b, r->shard);
	XXH128_hash_t h = XXH3_128bits(b.data, b.len);
	buf_free(&b);
	snprintf(out, SINK_ROW_ID_BYTES, "%016llx%016llx-%llu", (unsigned long long)h.high64, (unsigned long long)h.low64,
	    (unsigned long long)r->row.revision);
}
