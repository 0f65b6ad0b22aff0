#include "ctl/lines.h"

#include <string.h>
#include <xxhash.h>

#include "common/line.h"

void lines_free(struct lines *l)
{
	buf_free(&l->rest);
}

/* Where a quoted string that begins at p + i ends: behind its quote, or n. */
static size_t skip_quoted(const char *p, size_t i, size_t n)
{
	for (i++; i < n && p[i] != '"'; i++)
		i += p[i] == '\\';
	return i < n ? i + 1 : n;
}

/* Length of the first line, newline included, minding quotes; 0: not complete. */
static size_t quoted_line(const char *p, size_t n)
{
	size_t i = 0;
	for (; i < n && p[i] != ' ' && p[i] != '\n'; i++)
		i += p[i] == '\\' && i + 1 < n && p[i + 1] != '\n';
	while (i < n && p[i] != '\n') {
		if (p[i] == '"' && p[i - 1] == '=')
			i = skip_quoted(p, i, n);
		else
			i += p[i] == '\\' && i + 1 < n && p[i + 1] != '\n' ? 2 : 1;
	}
	return i < n ? i + 1 : 0;
}

static size_t first_line(const char *p, size_t n, bool last)
{
	const char *newline = memchr(p, '\n', n);
	if (!newline)
		return last ? n : 0;
	size_t plain = (size_t)(newline - p) + 1;
	if (*p == '#' || !memchr(p, '"', plain))
		return plain;
	size_t quoted = quoted_line(p, n);
	if (quoted)
		return quoted;
	return last || n > LINE_BYTES_MAX ? plain : 0;
}

static bool emit(struct lines *l, const char *p, size_t n)
{
	size_t i = 0;
	while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r' || p[i] == '\n'))
		i++;
	if (i == n || p[i] == '#')
		return l->line(l->arg, p, n, false, 0);
	size_t start = i;
	for (; i < n && p[i] != ' ' && p[i] != '\n'; i++)
		i += p[i] == '\\' && i + 1 < n && p[i + 1] != '\n';
	return l->line(l->arg, p, n, true, XXH3_64bits(p + start, (i < n ? i : n) - start));
}

/* Emits whole lines; returns how many bytes they were, or SIZE_MAX when stopped. */
static size_t emit_all(struct lines *l, const char *p, size_t n, bool last)
{
	size_t done = 0;
	while (done < n) {
		size_t len = first_line(p + done, n - done, last);
		if (!len)
			break;
		if (!emit(l, p + done, len))
			return SIZE_MAX;
		done += len;
	}
	return done;
}

bool lines_feed(struct lines *l, const void *bytes, size_t len)
{
	const char *p = bytes;
	if (l->rest.len) {
		buf_put(&l->rest, bytes, len);
		p = (const char *)l->rest.data;
		len = l->rest.len;
	}
	size_t done = emit_all(l, p, len, false);
	if (done == SIZE_MAX)
		return false;
	if (!l->rest.len) {
		buf_put(&l->rest, p + done, len - done);
	} else {
		memmove(l->rest.data, l->rest.data + done, len - done);
		l->rest.len = len - done;
	}
	return true;
}

bool lines_finish(struct lines *l)
{
	size_t done = l->rest.len ? emit_all(l, (const char *)l->rest.data, l->rest.len, true) : 0;
	buf_clear(&l->rest);
	return done != SIZE_MAX;
}
