#include "ctl/sse.h"

#include <string.h>

#include "common/err.h"

void sse_init(struct sse *s, void (*event)(void *arg, const char *event, const char *id, const char *data), void *arg)
{
	*s = (struct sse){.event = event, .arg = arg};
}

void sse_free(struct sse *s)
{
	buf_free(&s->line);
	buf_free(&s->name);
	buf_free(&s->data);
	buf_free(&s->id);
}

static void forget_event(struct sse *s)
{
	buf_clear(&s->name);
	buf_clear(&s->data);
	s->has_data = false;
}

void sse_restart(struct sse *s)
{
	forget_event(s);
	buf_clear(&s->line);
	s->after_cr = s->started = false;
}

const char *sse_id(struct sse *s)
{
	return buf_cstr(&s->id);
}

static void dispatch(struct sse *s)
{
	if (s->has_data || s->name.len)
		s->event(s->arg, s->name.len ? buf_cstr(&s->name) : "message", buf_cstr(&s->id), buf_cstr(&s->data));
	forget_event(s);
}

static void take_field(struct sse *s, const char *name, size_t name_len, const char *value, size_t len)
{
	if (name_len == 4 && !memcmp(name, "data", 4)) {
		if (s->has_data)
			buf_u8(&s->data, '\n');
		buf_put(&s->data, value, len);
		s->has_data = true;
	} else if (name_len == 5 && !memcmp(name, "event", 5)) {
		buf_clear(&s->name);
		buf_put(&s->name, value, len);
	} else if (name_len == 2 && !memcmp(name, "id", 2) && !memchr(value, 0, len)) {
		buf_clear(&s->id);
		buf_put(&s->id, value, len);
	}
}

static void take_line(struct sse *s)
{
	const char *line = (const char *)s->line.data;
	size_t len = s->line.len;
	if (!s->started && len >= 3 && !memcmp(line, "\xef\xbb\xbf", 3)) {
		line += 3;
		len -= 3;
	}
	s->started = true;
	if (len == 0) {
		dispatch(s);
		return;
	}
	const char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : len;
	size_t skip = colon ? name_len + 1 : len;
	if (skip < len && line[skip] == ' ')
		skip++;
	if (name_len) /* else a comment */
		take_field(s, line, name_len, line + skip, len - skip);
}

int sse_feed(struct sse *s, const void *bytes, size_t len)
{
	const char *p = bytes, *end = p + len;
	while (p < end) {
		if (s->after_cr && *p == '\n')
			p++;
		s->after_cr = false;
		size_t n = 0;
		while (p + n < end && p[n] != '\n' && p[n] != '\r')
			n++;
		if (s->line.len + s->data.len + n > SSE_EVENT_MAX)
			return WEIR_ETOOBIG;
		buf_put(&s->line, p, n);
		p += n;
		if (p == end)
			break;
		s->after_cr = *p++ == '\r';
		take_line(s);
		buf_clear(&s->line);
	}
	return 0;
}
