#include "common/answer_json.h"

#include "common/clock.h"
#include "common/json.h"

void answer_json_time(struct buf *out, int64_t t_ns)
{
	if (t_ns < TIME_MIN_NS || t_ns == INT64_MAX)
		buf_printf(out, "null");
	else
		json_time(out, t_ns);
}

static void put_versions(const struct query_args *q, struct buf *out)
{
	buf_printf(out, ",\n \"versions\": [");
	for (size_t i = 0; i < q->version_count; i++) {
		const struct stream_conf *s = q->versions[i].stream;
		buf_printf(out, "%s{\"version\": %u, \"from\": ", i ? ", " : "", s->version);
		answer_json_time(out, s->from_ns);
		buf_printf(out, ", \"until\": ");
		answer_json_time(out, s->answers_until_ns);
		buf_printf(out, ", \"phase\": \"%s\"}", stream_phase_text(s->phase));
	}
	buf_printf(out, "]");
}

void answer_json_head(const struct query_args *q, int64_t watermark_ns, struct buf *out)
{
	char text[TIME_TEXT_MAX];
	buf_printf(out, "{\"stream\": ");
	json_text(out, q->spec.stream);
	duration_format(q->size_ns, text);
	buf_printf(out, ", \"window\": \"%s\"", text);
	if (q->advance_ns != q->size_ns) {
		duration_format(q->advance_ns, text);
		buf_printf(out, ", \"every\": \"%s\"", text);
	}
	buf_printf(out, ", \"by\": [");
	for (uint32_t i = 0; i < q->by_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_text(out, q->by[i]);
	}
	buf_printf(out, "],\n \"watermark\": ");
	answer_json_time(out, watermark_ns);
	if (q->spans)
		put_versions(q, out);
}

void answer_json_rows(struct buf *out)
{
	buf_printf(out, ",\n \"rows\": [");
}

void answer_json_comma(uint32_t row, struct buf *out)
{
	buf_printf(out, row ? ",\n  " : "\n  ");
}

void answer_json_tail(const struct query_args *q, bool more, int64_t last_start_ns, struct bytes last_group, struct buf *out)
{
	buf_printf(out, "],\n \"next\": ");
	if (!more) {
		buf_printf(out, "null}\n");
		return;
	}
	buf_printf(out, "\"");
	query_cursor_put(q, last_start_ns, last_group, out);
	buf_printf(out, "\"}\n");
}
