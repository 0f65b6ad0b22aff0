#include "cloudd/sink_csv.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/row_json.h"

/* Control characters become spaces: a line is a row, whatever is in a tag. */
static void put_text(struct buf *out, const void *text, size_t n)
{
	const uint8_t *p = text;
	bool quoted = false;
	for (size_t i = 0; i < n; i++)
		quoted |= p[i] == ',' || p[i] == '"' || p[i] < 0x20;
	if (quoted)
		buf_u8(out, '"');
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '"')
			buf_u8(out, '"');
		buf_u8(out, p[i] < 0x20 ? ' ' : p[i]);
	}
	if (quoted)
		buf_u8(out, '"');
}

static void put_cstr(struct buf *out, const char *text)
{
	put_text(out, text, strlen(text));
}

static void put_header(struct sink_csv *c)
{
	buf_printf(&c->header, "start,end");
	for (size_t i = 0; i < c->tag_count; i++) {
		buf_u8(&c->header, ',');
		put_cstr(&c->header, c->tags[i]);
	}
	for (size_t i = 0; i < c->function_count; i++) {
		buf_u8(&c->header, ',');
		put_cstr(&c->header, c->functions[i]);
	}
	buf_printf(&c->header, ",state,revision,version,id\n");
}

void sink_csv_free(struct sink_csv *c)
{
	for (size_t i = 0; i < c->tag_count; i++)
		free(c->tags[i]);
	for (size_t i = 0; i < c->function_count; i++)
		free(c->functions[i]);
	free(c->tags);
	free(c->functions);
	buf_free(&c->header);
	*c = (struct sink_csv){0};
}

void sink_csv_set(struct sink_csv *c, const struct stream_conf *s)
{
	sink_csv_free(c);
	c->tags = xcalloc(s->by_count + 1, sizeof(*c->tags));
	c->functions = xcalloc(s->compute_count + 1, sizeof(*c->functions));
	for (; c->tag_count < s->by_count; c->tag_count++)
		c->tags[c->tag_count] = xstrdup(s->by[c->tag_count]);
	for (; c->function_count < s->compute_count; c->function_count++)
		c->functions[c->function_count] = xstrdup(s->compute[c->function_count].text);
	put_header(c);
}

bool sink_csv_is_of(const struct sink_csv *c, const struct stream_conf *s)
{
	bool same = c->header.len && c->tag_count == s->by_count && c->function_count == s->compute_count;
	for (size_t i = 0; same && i < c->tag_count; i++)
		same = !strcmp(c->tags[i], s->by[i]);
	for (size_t i = 0; same && i < c->function_count; i++)
		same = !strcmp(c->functions[i], s->compute[i].text);
	return same;
}

static void put_tag(const struct sink_row *r, const char *tag, struct buf *out)
{
	struct rd rd = rd_init(r->row.group.p, r->row.group.n);
	for (size_t i = 0; i < r->stream->by_count; i++) {
		size_t n;
		const uint8_t *value = rd_bytes(&rd, GROUP_KEY_MAX, &n);
		if (!rd.err && !strcmp(r->stream->by[i], tag))
			put_text(out, value, n);
	}
}

static void put_function(const struct sink_row *r, const char *function, struct buf *out)
{
	for (size_t i = 0; i < r->stream->compute_count; i++) {
		const struct function_conf *fn = &r->stream->compute[i];
		if (!strcmp(fn->text, function))
			row_value_put(r->stream, r->spec, &r->row, fn, out);
	}
}

void sink_csv_row(const struct sink_csv *c, const struct sink_row *r, struct buf *out)
{
	char start[TIME_TEXT_MAX], end[TIME_TEXT_MAX], id[SINK_ROW_ID_BYTES];
	time_format(r->row.start_ns, start);
	time_format(r->row.end_ns, end);
	buf_printf(out, "%s,%s", start, end);
	for (size_t i = 0; i < c->tag_count; i++) {
		buf_u8(out, ',');
		put_tag(r, c->tags[i], out);
	}
	for (size_t i = 0; i < c->function_count; i++) {
		buf_u8(out, ',');
		put_function(r, c->functions[i], out);
	}
	sink_row_id(r, id);
	buf_printf(out, ",%s,%llu,%u,%s\n", window_state_text(r->row.state), (unsigned long long)r->row.revision, r->stream->version, id);
}
