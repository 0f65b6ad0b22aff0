#include "ctl/topology_edit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/err.h"
#include "common/topology.h"

#define FILE_NAME "topology.yaml" /* in messages */

struct text {
	const char *p;
	size_t n;
};

/* An item of the list: from its dash, or its brace, up to behind it; of a list below each other: whole lines. */
struct span {
	size_t start, end;
};

struct list {
	struct conf *conf;
	const struct conf_node *node;
	bool flow; /* [...] */
};

/* ---- places in the text --------------------------------------------------------------------------------------- */

static size_t line_end(struct text t, size_t at)
{
	const char *nl = at < t.n ? memchr(t.p + at, '\n', t.n - at) : NULL;
	return nl ? (size_t)(nl - t.p) + 1 : t.n;
}

static size_t line_start(struct text t, size_t at)
{
	while (at && t.p[at - 1] != '\n')
		at--;
	return at;
}

/* Columns count characters. */
static size_t offset_of(struct text t, unsigned line, unsigned column)
{
	size_t at = 0;
	for (; line > 1; line--)
		at = line_end(t, at);
	for (; column > 1 && at < t.n; column--) {
		at++;
		while (at < t.n && ((unsigned char)t.p[at] & 0xc0) == 0x80)
			at++;
	}
	return at;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t indent_of(struct text t, size_t start)
{
	size_t at = start;
	while (at < t.n && t.p[at] == ' ')
		at++;
	return at - start;
}

/* Nothing but a comment, if that. */
static bool is_idle_line(struct text t, size_t start)
{
	size_t end = line_end(t, start), at = start;
	while (at < end && is_blank(t.p[at]))
		at++;
	return at == end || t.p[at] == '#';
}

/* Behind a quoted text that begins here. */
static size_t skip_quoted(struct text t, size_t at)
{
	char quote = t.p[at++];
	for (; at < t.n && t.p[at] != quote; at++) {
		if (quote == '"' && t.p[at] == '\\')
			at++;
	}
	return at < t.n ? at + 1 : t.n; /* a doubled '' goes on as another text */
}

/* Behind the bracket that closes the one here. */
static size_t skip_brackets(struct text t, size_t at)
{
	size_t depth = 0;
	while (at < t.n) {
		char c = t.p[at];
		if (c == '"' || c == '\'') {
			at = skip_quoted(t, at);
			continue;
		}
		if (c == '#' && at && is_blank(t.p[at - 1])) {
			at = line_end(t, at);
			continue;
		}
		depth += c == '{' || c == '[';
		at++;
		if ((c == '}' || c == ']') && --depth == 0)
			return at;
	}
	return t.n;
}

/* Lines that are indented deeper than the dash; idle ones only where such a line follows. */
static size_t block_end(struct text t, size_t dash_line, size_t indent)
{
	size_t end = line_end(t, dash_line);
	for (size_t at = end; at < t.n; at = line_end(t, at)) {
		if (is_idle_line(t, at))
			continue;
		if (indent_of(t, at) <= indent)
			break;
		end = line_end(t, at);
	}
	return end;
}

static bool block_span(struct text t, size_t item, struct span *ret)
{
	size_t dash = item;
	while (dash && is_blank(t.p[dash - 1]))
		dash--;
	if (!dash || t.p[dash - 1] != '-')
		return false;
	size_t start = line_start(t, dash - 1), indent = indent_of(t, start);
	if (start + indent != dash - 1)
		return false;
	bool flow = t.p[item] == '{';
	*ret = (struct span){start, flow ? line_end(t, skip_brackets(t, item)) : block_end(t, start, indent)};
	return true;
}

static bool span_of(struct text t, const struct list *l, const struct conf_node *node, struct span *ret)
{
	size_t at = offset_of(t, node->line, node->column);
	if (at >= t.n)
		return false;
	if (!l->flow)
		return block_span(t, at, ret);
	if (t.p[at] != '{')
		return false;
	*ret = (struct span){at, skip_brackets(t, at)};
	return true;
}

/* ---- the list -------------------------------------------------------------------------------------------------------- */

static int cannot(struct buf *error)
{
	buf_printf(error, "the list of cloud nodes is written in a way that this command does not edit: change the file by "
			  "hand, then `weirctl apply FILE`");
	return WEIR_EINVAL;
}

static int open_list(struct text t, struct list *ret, struct buf *error)
{
	struct list l = {.conf = conf_new(FILE_NAME)};
	if (conf_parse(l.conf, t.p, t.n)) {
		conf_errors(l.conf, error);
		conf_free(l.conf);
		return WEIR_EINVAL;
	}
	l.node = conf_get(conf_root(l.conf), "cloud");
	if (!l.node || l.node->type != CONF_LIST || !l.node->count) {
		conf_free(l.conf);
		return cannot(error);
	}
	size_t at = offset_of(t, l.node->line, l.node->column);
	l.flow = at < t.n && t.p[at] == '[';
	*ret = l;
	return 0;
}

static const char *name_of(const struct conf_node *item)
{
	const struct conf_node *name = conf_get(item, "name");
	return name ? name->text : "";
}

static const struct conf_node *last_of(const struct list *l)
{
	const struct conf_node *item = l->node->first;
	while (item->next)
		item = item->next;
	return item;
}

/* ---- a new item ------------------------------------------------------------------------------------------------------- */

static void put_quoted(struct buf *b, const char *text)
{
	buf_u8(b, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_u8(b, '\\');
		buf_u8(b, (uint8_t)*text);
	}
	buf_u8(b, '"');
}

/* run/cloud-3 of cloud-3: run/cloud-4 of cloud-4. */
static void put_folder(struct buf *b, const struct conf_node *last, const char *name)
{
	const struct conf_node *data = conf_get(last, "data");
	const char *was = name_of(last), *folder = data ? data->text : "";
	size_t n = strlen(folder), m = strlen(was);
	bool by_name = n > m && !strcmp(folder + n - m, was);
	char *text = by_name ? xasprintf("%.*s%s", (int)(n - m), folder, name) : xstrdup(name);
	put_quoted(b, text);
	free(text);
}

static void put_item(struct buf *b, const struct conf_node *last, const struct topology_edit_node *node)
{
	buf_printf(b, "{name: ");
	put_quoted(b, node->name);
	buf_printf(b, ", listen: ");
	put_quoted(b, node->listen);
	buf_printf(b, ", http: ");
	put_quoted(b, node->http);
	if (node->data) {
		buf_printf(b, ", data: ");
		put_quoted(b, node->data);
	} else if (conf_get(last, "data")) {
		buf_printf(b, ", data: ");
		put_folder(b, last, node->name);
	}
	buf_printf(b, "}");
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

/* Behind the last item, as it stands: on a line of its own where that one is. */
static int insert(struct text t, const struct list *l, const struct topology_edit_node *node, struct buf *out)
{
	const struct conf_node *last = last_of(l);
	struct span s;
	if (!span_of(t, l, last, &s))
		return WEIR_EINVAL;
	size_t start = line_start(t, s.start), indent = indent_of(t, start);
	bool own_line = start + indent == s.start;
	buf_put(out, t.p, s.end);
	if (!l->flow && s.end && t.p[s.end - 1] != '\n')
		buf_u8(out, '\n');
	if (l->flow)
		buf_printf(out, own_line ? ",\n" : ", ");
	if (!l->flow || own_line)
		buf_printf(out, "%*s", (int)indent, "");
	if (!l->flow)
		buf_printf(out, "- ");
	put_item(out, last, node);
	if (!l->flow)
		buf_u8(out, '\n');
	buf_put(out, t.p + s.end, t.n - s.end);
	return 0;
}

/* ---- one item less ----------------------------------------------------------------------------------------------------- */

static int cut(struct text t, const struct list *l, const struct conf_node *item, struct buf *out)
{
	struct span s, beside;
	const struct conf_node *before = l->node->first;
	while (before != item && before->next != item)
		before = before->next;
	if (!span_of(t, l, item, &s))
		return WEIR_EINVAL;
	if (l->flow && item->next) { /* with the comma behind it, else with the one before */
		if (!span_of(t, l, item->next, &beside))
			return WEIR_EINVAL;
		s.end = beside.start;
	} else if (l->flow && before != item) {
		if (!span_of(t, l, before, &beside))
			return WEIR_EINVAL;
		s.start = beside.end;
	}
	buf_put(out, t.p, s.start);
	buf_put(out, t.p + s.end, t.n - s.end);
	return 0;
}

/* ---- is it what was meant? ------------------------------------------------------------------------------------------------ */

/* The nodes of `after` are those of `before`, without `less` and with `more` as the last (NULL: none). */
static bool nodes_differ_by(const struct topology *before, const struct topology *after, const char *less,
    const char *more)
{
	size_t at = 0;
	for (size_t i = 0; i < before->cloud_count; i++) {
		if (less && !strcmp(before->clouds[i].name, less))
			continue;
		if (at == after->cloud_count || strcmp(before->clouds[i].name, after->clouds[at++].name) != 0)
			return false;
	}
	if (more && (at == after->cloud_count || strcmp(after->clouds[at++].name, more) != 0))
		return false;
	return at == after->cloud_count && before->edge_count == after->edge_count &&
	    before->stream_count == after->stream_count;
}

static int check(struct text t, const struct buf *out, const char *less, const char *more, struct buf *error)
{
	struct topology *before = NULL, *after = NULL;
	int rc = topology_parse(FILE_NAME, t.p, t.n, &before, error);
	if (!rc)
		rc = topology_parse(FILE_NAME, out->data, out->len, &after, error);
	if (!rc && !nodes_differ_by(before, after, less, more))
		rc = cannot(error);
	topology_free(before);
	topology_free(after);
	return rc;
}

static int edited(struct text t, const struct buf *made, const char *less, const char *more, struct buf *out,
    struct buf *error)
{
	int rc = check(t, made, less, more, error);
	if (!rc)
		buf_put(out, made->data, made->len);
	return rc;
}

int topology_edit_add(const char *text, size_t len, const struct topology_edit_node *node, struct buf *out,
    struct buf *error)
{
	struct text t = {text, len};
	struct list l;
	struct buf made = {0};
	if (!is_printable(node->name) || !is_printable(node->listen) || !is_printable(node->http) ||
	    (node->data && !is_printable(node->data))) {
		buf_printf(error, "names and addresses hold no control characters");
		return WEIR_EINVAL;
	}
	int rc = open_list(t, &l, error);
	if (rc)
		return rc;
	for (const struct conf_node *i = l.node->first; !rc && i; i = i->next) {
		if (strcmp(name_of(i), node->name) != 0)
			continue;
		buf_printf(error, "there is a node %s already", node->name);
		rc = WEIR_EINVAL;
	}
	if (!rc) {
		rc = insert(t, &l, node, &made);
		rc = rc ? cannot(error) : edited(t, &made, NULL, node->name, out, error);
	}
	buf_free(&made);
	conf_free(l.conf);
	return rc;
}

int topology_edit_remove(const char *text, size_t len, const char *name, struct buf *out, struct buf *error)
{
	struct text t = {text, len};
	struct list l;
	struct buf made = {0};
	int rc = open_list(t, &l, error);
	if (rc)
		return rc;
	const struct conf_node *item = l.node->first;
	while (item && strcmp(name_of(item), name) != 0)
		item = item->next;
	if (!item) {
		buf_printf(error, "there is no node %s in the topology", name);
		rc = WEIR_ENOTFOUND;
	} else if (l.node->count == 1) {
		buf_printf(error, "%s is the last node: a cluster has at least one", name);
		rc = WEIR_EINVAL;
	} else {
		rc = cut(t, &l, item, &made);
		rc = rc ? cannot(error) : edited(t, &made, name, NULL, out, error);
	}
	buf_free(&made);
	conf_free(l.conf);
	return rc;
}

/* ---- for people ----------------------------------------------------------------------------------------------------------------- */

static void put_lines(struct text t, size_t from, size_t to, char sign, struct buf *out)
{
	while (from < to) {
		size_t end = line_end(t, from), n = end - from;
		n -= n && t.p[end - 1] == '\n';
		buf_printf(out, "%c ", sign);
		buf_put(out, t.p + from, n);
		buf_u8(out, '\n');
		from = end;
	}
}

void topology_edit_difference(const char *before, size_t before_len, const char *after, size_t after_len, struct buf *out)
{
	struct text a = {before, before_len}, b = {after, after_len};
	size_t same = 0, tail = 0;
	while (same < a.n && same < b.n && a.p[same] == b.p[same])
		same++;
	same = line_start(a, same);
	while (tail < a.n - same && tail < b.n - same && a.p[a.n - 1 - tail] == b.p[b.n - 1 - tail])
		tail++;
	while (tail && (a.n - tail > same || b.n - tail > same) && !(a.n - tail && a.p[a.n - tail - 1] == '\n' &&
			   b.n - tail && b.p[b.n - tail - 1] == '\n'))
		tail--;
	put_lines(a, same, a.n - tail, '-', out);
	put_lines(b, same, b.n - tail, '+', out);
}
