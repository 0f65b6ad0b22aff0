#include "cloudd/sink_secret.h"

#include <stdbool.h>
#include <string.h>

#include "common/err.h"
#include "common/secret.h"

int sink_secret_read(const char *path, struct buf *out, char **ret_why)
{
	secret_free(out);
	*out = (struct buf){0};
	int rc = secret_read(path, out, ret_why);
	while (!rc && out->len && out->data[out->len - 1] <= ' ')
		out->len--;
	if (!rc && !out->len) {
		*ret_why = xasprintf("%s is empty", path);
		rc = WEIR_EINVAL;
	}
	return rc;
}

static bool is_header(const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n);
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)line[i] < ' ' || line[i] == 0x7f)
			return false;
	}
	return colon && colon != line && !memchr(line, ' ', (size_t)(colon - line));
}

static int split_headers(const struct buf *b, const char *path, struct buf *out, char **ret_why)
{
	unsigned number = 0, count = 0;
	for (size_t at = 0; at < b->len; number++) {
		const char *line = (const char *)b->data + at;
		const char *end = memchr(line, '\n', b->len - at);
		size_t n = end ? (size_t)(end - line) : b->len - at;
		at += n + 1;
		if (n && line[n - 1] == '\r')
			n--;
		if (!n || *line == '#')
			continue;
		if (!is_header(line, n) || ++count > SINK_HEADERS_MAX) {
			*ret_why = xasprintf("%s:%u: expected `Name: value`, in %d lines at most", path, number + 1, SINK_HEADERS_MAX);
			return WEIR_EINVAL;
		}
		buf_put(out, line, n);
		buf_u8(out, 0);
	}
	return 0;
}

int sink_headers_read(const char *path, struct buf *out, char **ret_why)
{
	struct buf text = {0}, lines = {0};
	int rc = sink_secret_read(path, &text, ret_why);
	if (!rc)
		rc = split_headers(&text, path, &lines, ret_why);
	secret_free(&text);
	secret_free(out);
	*out = (struct buf){0};
	if (rc)
		secret_free(&lines);
	else
		*out = lines;
	return rc;
}

size_t sink_headers(const struct buf *headers, const char *ret[SINK_HEADERS_MAX])
{
	size_t count = 0;
	for (size_t at = 0; at < headers->len; at += strlen((const char *)headers->data + at) + 1)
		ret[count++] = (const char *)headers->data + at;
	return count;
}
