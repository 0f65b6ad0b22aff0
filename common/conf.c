#include "common/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/model.h"

#define TEXT_BYTES_MAX 4096  /* of a text whose field names no limit */
#define SHOWN_BYTES_MAX 48   /* of a text in a message */
#define SUGGEST_BYTES_MAX 64
#define QUOTES 8

struct problem {
	unsigned line, column;
	size_t number; /* in the order found */
	char *text;
};

struct conf {
	char *name;
	struct buf text;
	struct conf_node *root;
	struct conf_node *made; /* the last node made: a chain through made_before */
	size_t node_count;
	struct problem problems[CONF_ERRORS_MAX];
	size_t problem_count; /* may exceed CONF_ERRORS_MAX */
	char quotes[QUOTES][SHOWN_BYTES_MAX + 8];
	unsigned next_quote;
};

struct conf *conf_new(const char *name)
{
	struct conf *c = xcalloc(1, sizeof(*c));
	c->name = xstrdup(name);
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	while (c->made) {
		struct conf_node *before = c->made->made_before;
		free(c->made);
		c->made = before;
	}
	for (size_t i = 0; i < c->problem_count && i < CONF_ERRORS_MAX; i++)
		free(c->problems[i].text);
	buf_free(&c->text);
	free(c->name);
	free(c);
}

const struct conf_node *conf_root(const struct conf *c)
{
	return c->root;
}

/* ---- problems ------------------------------------------------------------------------------------------- */

/* Control characters would let a file write lines of its own into our messages. */
static void put_shown(struct buf *b, const char *text, size_t max)
{
	size_t i = 0;
	for (; text[i] && i < max; i++)
		buf_u8(b, (uint8_t)text[i] < 0x20 || text[i] == 0x7f ? '?' : (uint8_t)text[i]);
	if (!text[i])
		return;
	while (b->len && (text[i] & 0xc0) == 0x80 && i-- > 0)
		b->len--; /* not in the middle of a character */
	buf_put(b, "...", 3);
}

const char *conf_quote(struct conf *c, const char *text)
{
	struct buf b = {0};
	put_shown(&b, text, SHOWN_BYTES_MAX);
	char *room = c->quotes[c->next_quote++ % QUOTES];
	snprintf(room, sizeof(c->quotes[0]), "`%s`", buf_cstr(&b));
	buf_free(&b);
	return room;
}

void conf_path(const struct conf_node *node, struct buf *out)
{
	const struct conf_node *way[CONF_DEPTH_MAX + 1];
	size_t n = 0;
	for (; node && node->parent && n <= CONF_DEPTH_MAX; node = node->parent)
		way[n++] = node;
	for (size_t i = n; i-- > 0;) {
		if (!way[i]->key) {
			buf_printf(out, "[%zu]", way[i]->index);
			continue;
		}
		if (i + 1 < n)
			buf_u8(out, '.');
		put_shown(out, way[i]->key->text, SHOWN_BYTES_MAX);
	}
}

static void note(struct conf *c, unsigned line, unsigned column, const struct conf_node *node, const char *fmt,
    va_list ap)
{
	size_t number = c->problem_count++;
	if (number >= CONF_ERRORS_MAX)
		return;
	struct buf b = {0};
	conf_path(node, &b);
	if (b.len)
		buf_put(&b, ": ", 2);
	char message[1024];
	vsnprintf(message, sizeof(message), fmt, ap);
	buf_printf(&b, "%s", message);
	c->problems[number] = (struct problem){line, column, number, xstrdup(buf_cstr(&b))};
	buf_free(&b);
}

static void note_at(struct conf *c, size_t line, size_t column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void note_at(struct conf *c, size_t line, size_t column, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(c, (unsigned)line, (unsigned)column, NULL, fmt, ap);
	va_end(ap);
}

void conf_error(struct conf *c, const struct conf_node *node, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(c, node->line, node->column, node, fmt, ap);
	va_end(ap);
}

void conf_error_key(struct conf *c, const struct conf_node *node, const char *fmt, ...)
{
	const struct conf_node *at = node->key ? node->key : node;
	va_list ap;
	va_start(ap, fmt);
	note(c, at->line, at->column, node, fmt, ap);
	va_end(ap);
}

/* Where line and column of the file are; NULL: behind its end. */
static const char *place_of(const struct conf *c, unsigned line, unsigned column)
{
	const char *s = (const char *)c->text.data, *end = s + c->text.len;
	for (; s && line > 1; line--) {
		s = memchr(s, '\n', (size_t)(end - s));
		s = s ? s + 1 : NULL;
	}
	for (; s && s < end && column > 1; column--) {
		for (s++; s < end && (*s & 0xc0) == 0x80;)
			s++;
	}
	return s && s < end ? s : NULL;
}

/* Bytes of the first `characters` of text. */
static size_t bytes_of_characters(const char *text, size_t characters)
{
	size_t n = 0;
	for (; text[n]; n++) {
		if ((text[n] & 0xc0) != 0x80 && !characters--)
			break;
	}
	return n;
}

/* Whether the file has the scalar's text literally, up to the character and behind the quote. */
static bool is_literal(const struct conf *c, const struct conf_node *node, size_t character)
{
	const char *s = place_of(c, node->line, node->column);
	size_t n = bytes_of_characters(node->text, character - 1);
	size_t left = s ? (size_t)((const char *)c->text.data + c->text.len - s) : 0;
	size_t quote = node->quoted;
	return left >= quote + n && (!quote || *s == '"' || *s == '\'') && !memcmp(s + quote, node->text, n);
}

void conf_error_within(struct conf *c, const struct conf_node *node, size_t character, const char *fmt, ...)
{
	char message[1024];
	va_list ap;
	bool kept = c->problem_count < CONF_ERRORS_MAX; /* else its place is not worth looking for */
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (!kept || !is_literal(c, node, character)) {
		conf_error(c, node, "%s (at its character %zu)", message, character);
		return;
	}
	struct conf_node at = *node;
	at.column += (unsigned)(character - 1) + node->quoted;
	conf_error(c, &at, "%s", message);
}

size_t conf_error_count(const struct conf *c)
{
	return c->problem_count;
}

static int compare_problems(const void *a, const void *b)
{
	const struct problem *x = a, *y = b;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

void conf_errors(struct conf *c, struct buf *out)
{
	size_t kept = c->problem_count < CONF_ERRORS_MAX ? c->problem_count : CONF_ERRORS_MAX;
	qsort(c->problems, kept, sizeof(c->problems[0]), compare_problems);
	for (size_t i = 0; i < kept; i++) {
		const struct problem *p = &c->problems[i];
		if (p->line)
			buf_printf(out, "%s:%u:%u: %s\n", c->name, p->line, p->column, p->text);
		else
			buf_printf(out, "%s: %s\n", c->name, p->text);
	}
	if (c->problem_count > kept)
		buf_printf(out, "%s: and %zu more\n", c->name, c->problem_count - kept);
}

/* ---- events into nodes ---------------------------------------------------------------------------------- */

struct reader {
	struct conf *c;
	struct conf_node *open[CONF_DEPTH_MAX]; /* maps and lists that have begun and not ended */
	size_t depth;
	struct conf_node *key; /* of the innermost map: read, its value not yet */
	bool ended;            /* the first document has */
};

/* Appends to the innermost open map or list, or becomes the root. */
static void attach(struct reader *r, struct conf_node *node)
{
	if (!r->depth) {
		r->c->root = node;
		return;
	}
	struct conf_node *parent = r->open[r->depth - 1];
	node->parent = parent;
	node->index = parent->count++;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	if (parent->type == CONF_MAP) {
		node->key = r->key;
		r->key = NULL;
	}
}

static struct conf_node *make_node(struct conf *c, enum conf_type type, const yaml_mark_t *mark, const char *text,
    size_t len)
{
	if (c->node_count++ >= CONF_NODES_MAX) {
		note_at(c, mark->line + 1, mark->column + 1, "more than %d values and keys", CONF_NODES_MAX);
		return NULL;
	}
	struct conf_node *node = xcalloc(1, sizeof(*node) + len + 1);
	char *copy = (char *)(node + 1);
	memcpy(copy, text, len);
	node->type = type;
	node->line = (unsigned)mark->line + 1;
	node->column = (unsigned)mark->column + 1;
	node->text = copy;
	node->made_before = c->made;
	c->made = node;
	return node;
}

static bool awaits_key(const struct reader *r)
{
	return r->depth && r->open[r->depth - 1]->type == CONF_MAP && !r->key;
}

static void refuse_decoration(struct conf *c, const yaml_mark_t *mark, const yaml_char_t *anchor,
    const yaml_char_t *tag)
{
	if (anchor)
		note_at(c, mark->line + 1, mark->column + 1, "anchors (&%s) are not allowed: write the value out",
		    conf_quote(c, (const char *)anchor));
	if (tag)
		note_at(c, mark->line + 1, mark->column + 1, "tags (%s) are not allowed",
		    conf_quote(c, (const char *)tag));
}

static int handle_scalar(struct reader *r, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	refuse_decoration(r->c, &e->start_mark, e->data.scalar.anchor, e->data.scalar.tag);
	struct conf_node *node = make_node(r->c, CONF_SCALAR, &e->start_mark, text, len);
	if (!node)
		return WEIR_EINVAL;
	node->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	bool key = awaits_key(r);
	if (key)
		r->key = node;
	else
		attach(r, node);
	if (memchr(text, 0, len)) {
		note_at(r->c, node->line, node->column, "a NUL character is not allowed");
		node->type = CONF_BROKEN;
	}
	return 0;
}

static int handle_start(struct reader *r, const yaml_event_t *e, enum conf_type type, const yaml_char_t *anchor,
    const yaml_char_t *tag)
{
	const yaml_mark_t *mark = &e->start_mark;
	refuse_decoration(r->c, mark, anchor, tag);
	if (awaits_key(r)) {
		note_at(r->c, mark->line + 1, mark->column + 1, "a key must be a text");
		return WEIR_EINVAL;
	}
	if (r->depth == CONF_DEPTH_MAX) {
		note_at(r->c, mark->line + 1, mark->column + 1, "nested more than %d deep", CONF_DEPTH_MAX);
		return WEIR_EINVAL;
	}
	struct conf_node *node = make_node(r->c, type, mark, "", 0);
	if (!node)
		return WEIR_EINVAL;
	attach(r, node);
	r->open[r->depth++] = node;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct conf_node *x = *(const struct conf_node *const *)a, *y = *(const struct conf_node *const *)b;
	int c = strcmp(x->key->text, y->key->text);
	return c ? c : x->index < y->index ? -1 : 1;
}

static void refuse_duplicates(struct conf *c, const struct conf_node *map)
{
	if (map->count < 2)
		return;
	const struct conf_node **values = xmalloc(map->count * sizeof(*values));
	size_t n = 0;
	for (const struct conf_node *v = map->first; v; v = v->next)
		values[n++] = v;
	qsort(values, n, sizeof(*values), compare_keys);
	for (size_t i = 1, first = 0; i < n; i++) {
		if (strcmp(values[first]->key->text, values[i]->key->text))
			first = i;
		else
			conf_error_key(c, values[i], "duplicate key; the first is on line %u", values[first]->key->line);
	}
	free(values);
}

static void handle_end(struct reader *r)
{
	struct conf_node *node = r->open[--r->depth];
	if (node->type == CONF_MAP)
		refuse_duplicates(r->c, node);
}

static int handle_alias(struct reader *r, const yaml_event_t *e)
{
	const yaml_mark_t *mark = &e->start_mark;
	note_at(r->c, mark->line + 1, mark->column + 1, "aliases (*%s) are not allowed: write the value out",
	    conf_quote(r->c, (const char *)e->data.alias.anchor));
	if (awaits_key(r))
		return WEIR_EINVAL;
	struct conf_node *node = make_node(r->c, CONF_BROKEN, mark, "", 0);
	if (!node)
		return WEIR_EINVAL;
	attach(r, node);
	return 0;
}

static int handle_document(struct reader *r, const yaml_event_t *e)
{
	if (!r->ended)
		return 0;
	note_at(r->c, e->start_mark.line + 1, e->start_mark.column + 1, "a second document: one file holds one");
	return WEIR_EINVAL;
}

static int handle_event(struct reader *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return handle_scalar(r, e);
	case YAML_MAPPING_START_EVENT:
		return handle_start(r, e, CONF_MAP, e->data.mapping_start.anchor, e->data.mapping_start.tag);
	case YAML_SEQUENCE_START_EVENT:
		return handle_start(r, e, CONF_LIST, e->data.sequence_start.anchor, e->data.sequence_start.tag);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		handle_end(r);
		return 0;
	case YAML_ALIAS_EVENT:
		return handle_alias(r, e);
	case YAML_DOCUMENT_START_EVENT:
		return handle_document(r, e);
	case YAML_DOCUMENT_END_EVENT:
		r->ended = true;
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
		return 0;
	}
	return 0;
}

/* The reader's problems (bad UTF-8, control characters) come with an offset only. */
static void place_of_offset(const char *text, size_t offset, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1, column = 1;
	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if ((text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

static void note_syntax(struct conf *c, const yaml_parser_t *p, const char *text, size_t len)
{
	const char *problem = p->problem ? p->problem : "not YAML";
	if (p->error == YAML_READER_ERROR) {
		size_t line, column;
		place_of_offset(text, p->problem_offset < len ? p->problem_offset : len, &line, &column);
		note_at(c, line, column, "not YAML: %s", problem);
		return;
	}
	note_at(c, p->problem_mark.line + 1, p->problem_mark.column + 1, "not YAML: %s%s%s", problem,
	    p->context ? " " : "", p->context ? p->context : "");
}

static int read_events(struct reader *r, yaml_parser_t *p, const char *text, size_t len)
{
	for (bool more = true; more;) {
		yaml_event_t e;
		if (!yaml_parser_parse(p, &e)) {
			note_syntax(r->c, p, text, len);
			return WEIR_EINVAL;
		}
		more = e.type != YAML_STREAM_END_EVENT;
		int err = handle_event(r, &e);
		yaml_event_delete(&e);
		if (err)
			return err;
	}
	return 0;
}

int conf_parse(struct conf *c, const void *text, size_t len)
{
	if (len > CONF_BYTES_MAX) {
		note_at(c, 0, 0, "larger than %d KiB", CONF_BYTES_MAX / 1024);
		return WEIR_EINVAL;
	}
	buf_put(&c->text, text, len);
	yaml_parser_t p;
	if (!yaml_parser_initialize(&p)) {
		note_at(c, 0, 0, "out of memory");
		return WEIR_EINVAL;
	}
	yaml_parser_set_input_string(&p, text, len);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	struct reader r = {.c = c};
	int err = read_events(&r, &p, text, len);
	yaml_parser_delete(&p);
	if (err)
		c->root = NULL; /* half a tree would only bring wrong complaints */
	else if (!c->root)
		note_at(c, 1, 1, "the file is empty");
	return c->problem_count ? WEIR_EINVAL : 0;
}

static int read_file(int fd, struct buf *b)
{
	for (;;) {
		uint8_t *room = buf_reserve(b, 65536);
		ssize_t n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return WEIR_EIO;
		b->len += (size_t)n;
		if (n == 0 || b->len > CONF_BYTES_MAX)
			return 0;
	}
}

int conf_load(struct conf *c)
{
	int fd = open(c->name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		note_at(c, 0, 0, "cannot open: %s", strerror(errno));
		return WEIR_EINVAL;
	}
	struct buf b = {0};
	int err = read_file(fd, &b);
	if (err)
		note_at(c, 0, 0, "cannot read: %s", strerror(errno));
	close(fd);
	if (!err)
		err = conf_parse(c, b.data, b.len);
	buf_free(&b);
	return err ? WEIR_EINVAL : 0;
}

const char *conf_source(const struct conf *c, size_t *ret_len)
{
	*ret_len = c->text.len;
	return c->text.len ? buf_cstr((struct buf *)(uintptr_t)&c->text) : NULL;
}

const struct conf_node *conf_get(const struct conf_node *node, const char *key)
{
	if (!node || node->type != CONF_MAP)
		return NULL;
	for (const struct conf_node *v = node->first; v; v = v->next) {
		if (!strcmp(v->key->text, key))
			return v;
	}
	return NULL;
}

/* ---- suggestions ---------------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][SUGGEST_BYTES_MAX + 1];
	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], two_above[j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

const char *conf_suggest(const char *text, const char *const *candidates, size_t count)
{
	const char *best = NULL;
	size_t best_distance = SIZE_MAX, len = strlen(text);
	if (len == 0 || len > SUGGEST_BYTES_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(candidates[i]);
		if (n > SUGGEST_BYTES_MAX)
			continue;
		size_t d = distance(text, len, candidates[i], n);
		size_t longer = n > len ? n : len;
		if (d < best_distance && d <= (longer < 4 ? 1 : longer / 3)) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}

/* ---- single values -------------------------------------------------------------------------------------- */

static bool is_null(const struct conf_node *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	if (node->type != CONF_SCALAR || node->quoted)
		return false;
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
		if (!strcmp(node->text, nulls[i]))
			return true;
	}
	return false;
}

static const char *found(const struct conf_node *node)
{
	if (node->type == CONF_MAP)
		return "a map";
	if (node->type == CONF_LIST)
		return "a list";
	return is_null(node) ? "nothing" : "a single value";
}

bool conf_expect(struct conf *c, const struct conf_node *node, enum conf_type type)
{
	static const char *const names[] = {"a single value", "a map", "a list", ""};
	if (node->type == type && !(type == CONF_SCALAR && is_null(node)))
		return true;
	if (node->type != CONF_BROKEN)
		conf_error(c, node, "expected %s, found %s", names[type], found(node));
	return false;
}

/* A scalar that was given. */
static bool given(struct conf *c, const struct conf_node *node, const char *expected)
{
	if (node->type == CONF_SCALAR && !is_null(node))
		return true;
	if (node->type != CONF_BROKEN)
		conf_error(c, node, "expected %s, found %s", expected, found(node));
	return false;
}

bool conf_text(struct conf *c, const struct conf_node *node, size_t bytes_max, const char **ret)
{
	if (!given(c, node, "a text"))
		return false;
	size_t len = strlen(node->text);
	if (len == 0 || len > bytes_max) {
		if (len)
			conf_error(c, node, "longer than %zu bytes", bytes_max);
		else
			conf_error(c, node, "must not be empty");
		return false;
	}
	*ret = node->text;
	return true;
}

bool conf_name(struct conf *c, const struct conf_node *node, const char **ret)
{
	const char *text;
	if (!conf_text(c, node, NAME_MAX_BYTES, &text))
		return false;
	if (!name_valid(text)) {
		conf_error(c, node, "%s is not a name: only letters, digits and _ . - are allowed", conf_quote(c, text));
		return false;
	}
	*ret = text;
	return true;
}

bool conf_bool(struct conf *c, const struct conf_node *node, bool *ret)
{
	if (!given(c, node, "true or false"))
		return false;
	bool yes = !strcmp(node->text, "true");
	if (node->quoted || (!yes && strcmp(node->text, "false"))) {
		conf_error(c, node, "expected true or false, found %s%s", conf_quote(c, node->text),
		    node->quoted ? " in quotes" : "");
		return false;
	}
	*ret = yes;
	return true;
}

bool conf_uint(struct conf *c, const struct conf_node *node, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (!given(c, node, "a whole number"))
		return false;
	const char *digits = node->text + (*node->text == '-' || *node->text == '+');
	if (node->quoted || !*digits || digits[strspn(digits, "0123456789")]) {
		conf_error(c, node, "expected a whole number, found %s%s", conf_quote(c, node->text),
		    node->quoted ? " in quotes" : "");
		return false;
	}
	errno = 0;
	uint64_t v = strtoull(digits, NULL, 10);
	if (errno || v > max || (*node->text == '-' ? v > 0 || min > 0 : v < min)) {
		conf_error(c, node, "%s is out of range: %" PRIu64 " to %" PRIu64, conf_quote(c, node->text), min, max);
		return false;
	}
	*ret = v;
	return true;
}

bool conf_double(struct conf *c, const struct conf_node *node, double min, double max, double *ret)
{
	if (!given(c, node, "a number"))
		return false;
	const char *text = node->text;
	char *end;
	double v = strtod(text, &end);
	if (node->quoted || end == text || *end || text[strspn(text, "+-.0123456789eE")]) {
		conf_error(c, node, "expected a number, found %s%s", conf_quote(c, text),
		    node->quoted ? " in quotes" : "");
		return false;
	}
	if (!(v >= min && v <= max && v - v == 0)) {
		if (min == -max)
			conf_error(c, node, "%s is out of range", conf_quote(c, text));
		else
			conf_error(c, node, "%s is out of range: %g to %g", conf_quote(c, text), min, max);
		return false;
	}
	*ret = v;
	return true;
}

bool conf_duration(struct conf *c, const struct conf_node *node, int64_t min_ns, int64_t max_ns, int64_t *ret_ns)
{
	if (!given(c, node, "a duration such as 10s"))
		return false;
	int64_t ns;
	int err = duration_parse(node->text, strlen(node->text), &ns);
	if (err == WEIR_EINVAL) {
		conf_error(c, node, "%s is not a duration (250ms, 10s, 5m, 2h, 7d)", conf_quote(c, node->text));
		return false;
	}
	if (err || ns < min_ns || ns > max_ns) {
		char low[TIME_TEXT_MAX], high[TIME_TEXT_MAX];
		duration_format(min_ns, low);
		duration_format(max_ns, high);
		conf_error(c, node, "%s is out of range: %s to %s", conf_quote(c, node->text), low, high);
		return false;
	}
	*ret_ns = ns;
	return true;
}

static const struct {
	const char *name;
	uint64_t bytes;
} size_units[] = {
	{"TiB", UINT64_C(1) << 40},
	{"GiB", UINT64_C(1) << 30},
	{"MiB", UINT64_C(1) << 20},
	{"KiB", UINT64_C(1) << 10},
	{"B", 1},
};
#define SIZE_UNITS (sizeof(size_units) / sizeof(size_units[0]))

static int size_parse(const char *text, uint64_t *ret_bytes)
{
	char *unit;
	if (*text < '0' || *text > '9')
		return WEIR_EINVAL;
	errno = 0;
	uint64_t v = strtoull(text, &unit, 10);
	for (size_t i = 0; i < SIZE_UNITS; i++) {
		if (!strcmp(unit, size_units[i].name))
			return errno || __builtin_mul_overflow(v, size_units[i].bytes, ret_bytes) ? WEIR_ETOOBIG : 0;
	}
	return WEIR_EINVAL;
}

static void size_format(uint64_t bytes, char *out, size_t room)
{
	size_t i = 0;
	while (i + 1 < SIZE_UNITS && bytes % size_units[i].bytes)
		i++;
	snprintf(out, room, "%" PRIu64 "%s", bytes / size_units[i].bytes, size_units[i].name);
}

bool conf_size(struct conf *c, const struct conf_node *node, uint64_t min, uint64_t max, uint64_t *ret_bytes)
{
	if (!given(c, node, "a size such as 64MiB"))
		return false;
	uint64_t bytes;
	int err = size_parse(node->text, &bytes);
	if (err == WEIR_EINVAL) {
		conf_error(c, node, "%s is not a size (512KiB, 64MiB, 1GiB)", conf_quote(c, node->text));
		return false;
	}
	if (err || bytes < min || bytes > max) {
		char low[32], high[32];
		size_format(min, low, sizeof(low));
		size_format(max, high, sizeof(high));
		conf_error(c, node, "%s is out of range: %s to %s", conf_quote(c, node->text), low, high);
		return false;
	}
	*ret_bytes = bytes;
	return true;
}

/* ---- tables --------------------------------------------------------------------------------------------- */

static void read_map(struct conf *c, const struct conf_node *map, const struct conf_schema *schema, void *object);

static void read_list(struct conf *c, const struct conf_node *node, const struct conf_field *f, char *object)
{
	if (!conf_expect(c, node, CONF_LIST))
		return;
	if ((f->max && node->count > (size_t)f->max) || node->count < (size_t)f->min) {
		conf_error(c, node, "%zu items; %s %" PRId64, node->count,
		    node->count < (size_t)f->min ? "at least" : "at most", node->count < (size_t)f->min ? f->min : f->max);
		return;
	}
	if (!node->count)
		return;
	char *items = xcalloc(node->count, f->schema->size);
	size_t i = 0;
	for (const struct conf_node *item = node->first; item; item = item->next, i++)
		read_map(c, item, f->schema, items + i * f->schema->size);
	memcpy(object + f->offset, &items, sizeof(items));
	memcpy(object + f->count_offset, &node->count, sizeof(node->count));
}

char *conf_place(const struct conf *c, const char *path)
{
	const char *slash = *path != '/' ? strrchr(c->name, '/') : NULL;
	return slash ? xasprintf("%.*s/%s", (int)(slash - c->name), c->name, path) : xstrdup(path);
}

static void read_text(struct conf *c, const struct conf_node *node, const struct conf_field *f, char **place)
{
	const char *text;
	bool fine = f->kind == CONF_KIND_NAME ? conf_name(c, node, &text)
					      : conf_text(c, node, f->max ? (size_t)f->max : TEXT_BYTES_MAX, &text);
	if (!fine)
		return;
	free(*place); /* a default, or a duplicate key's value */
	*place = f->kind == CONF_KIND_PATH ? conf_place(c, text) : xstrdup(text);
}

static void read_field(struct conf *c, const struct conf_node *node, const struct conf_field *f, char *object)
{
	void *place = object + f->offset;
	uint64_t number;
	switch (f->kind) {
	case CONF_KIND_TEXT:
	case CONF_KIND_PATH:
	case CONF_KIND_NAME:
		read_text(c, node, f, place);
		return;
	case CONF_KIND_BOOL:
		conf_bool(c, node, place);
		return;
	case CONF_KIND_U32:
		if (conf_uint(c, node, (uint64_t)f->min, (uint64_t)f->max, &number))
			*(uint32_t *)place = (uint32_t)number;
		return;
	case CONF_KIND_U64:
		conf_uint(c, node, (uint64_t)f->min, (uint64_t)f->max, place);
		return;
	case CONF_KIND_DOUBLE: {
		bool any = f->double_min == 0 && f->double_max == 0;
		conf_double(c, node, any ? -1e300 : f->double_min, any ? 1e300 : f->double_max, place);
		return;
	}
	case CONF_KIND_DURATION:
		conf_duration(c, node, f->min, f->max, place);
		return;
	case CONF_KIND_SIZE:
		conf_size(c, node, (uint64_t)f->min, (uint64_t)f->max, place);
		return;
	case CONF_KIND_MAP:
		read_map(c, node, f->schema, place);
		return;
	case CONF_KIND_LIST:
		read_list(c, node, f, object);
		return;
	case CONF_KIND_CUSTOM:
		f->read(c, node, object);
		return;
	case CONF_KIND_NOTE:
		return;
	}
}

/* Index of the field that was probably meant, or field_count. */
static size_t refuse_unknown(struct conf *c, const struct conf_node *value, const struct conf_schema *schema)
{
	const char *keys[CONF_FIELDS_MAX];
	if (c->problem_count >= CONF_ERRORS_MAX) { /* nobody will read it: keep large nonsense cheap */
		c->problem_count++;
		return schema->field_count;
	}
	for (size_t i = 0; i < schema->field_count; i++)
		keys[i] = schema->fields[i].key;
	const char *meant = conf_suggest(value->key->text, keys, schema->field_count);
	if (meant)
		conf_error_key(c, value, "unknown key; did you mean `%s`?", meant);
	else
		conf_error_key(c, value, "unknown key");
	size_t i = 0;
	while (i < schema->field_count && keys[i] != meant)
		i++;
	return i;
}

static size_t find_field(const struct conf_schema *schema, const char *key)
{
	size_t i = 0;
	while (i < schema->field_count && strcmp(schema->fields[i].key, key))
		i++;
	return i;
}

static void read_fields(struct conf *c, const struct conf_node *map, const struct conf_schema *schema, void *object)
{
	bool have[CONF_FIELDS_MAX + 1] = {false}, meant[CONF_FIELDS_MAX + 1] = {false};
	weir_assert(schema->field_count <= CONF_FIELDS_MAX);
	for (const struct conf_node *v = map->first; v; v = v->next) {
		if (v->key->type == CONF_BROKEN)
			continue;
		size_t i = find_field(schema, v->key->text);
		if (i == schema->field_count) {
			meant[refuse_unknown(c, v, schema)] = true; /* so that it is not called missing, too */
		} else if (!have[i]) {
			have[i] = true;
			read_field(c, v, &schema->fields[i], object);
		}
	}
	for (size_t i = 0; i < schema->field_count; i++) {
		if (schema->fields[i].required && !have[i] && !meant[i])
			conf_error(c, map, "`%s` is missing", schema->fields[i].key);
	}
}

static void read_map(struct conf *c, const struct conf_node *map, const struct conf_schema *schema, void *object)
{
	if (!conf_expect(c, map, CONF_MAP))
		return;
	if (schema->defaults)
		schema->defaults(object);
	const struct conf_schema *fields = schema->select ? schema->select(c, map) : schema;
	if (!fields)
		return;
	read_fields(c, map, fields, object);
	if (schema->check)
		schema->check(c, map, object);
}

void conf_read(struct conf *c, const struct conf_node *map, const struct conf_schema *schema, void *object)
{
	read_map(c, map, schema, object);
}

/* ---- objects that tables have filled in ------------------------------------------------------------------- */

static size_t list_count(const struct conf_field *f, const char *object)
{
	size_t count;
	memcpy(&count, object + f->count_offset, sizeof(count));
	return count;
}

static char *pointer_at(const struct conf_field *f, const char *object)
{
	char *p;
	memcpy(&p, object + f->offset, sizeof(p));
	return p;
}

static void clear_list(const struct conf_field *f, char *object)
{
	static char *const none = NULL;
	static const size_t zero = 0;
	char *items = pointer_at(f, object);
	for (size_t i = 0; items && i < list_count(f, object); i++)
		conf_clear(f->schema, items + i * f->schema->size);
	free(items);
	memcpy(object + f->offset, &none, sizeof(none));
	memcpy(object + f->count_offset, &zero, sizeof(zero));
}

static void clear_field(const struct conf_field *f, char *object)
{
	static char *const none = NULL;
	switch (f->kind) {
	case CONF_KIND_TEXT:
	case CONF_KIND_PATH:
	case CONF_KIND_NAME:
		free(pointer_at(f, object));
		memcpy(object + f->offset, &none, sizeof(none));
		return;
	case CONF_KIND_MAP:
		conf_clear(f->schema, object + f->offset);
		return;
	case CONF_KIND_LIST:
		clear_list(f, object);
		return;
	case CONF_KIND_CUSTOM:
		if (f->clear)
			f->clear(object);
		return;
	case CONF_KIND_BOOL:
	case CONF_KIND_U32:
	case CONF_KIND_U64:
	case CONF_KIND_DOUBLE:
	case CONF_KIND_DURATION:
	case CONF_KIND_SIZE:
	case CONF_KIND_NOTE:
		return;
	}
}

void conf_clear(const struct conf_schema *schema, void *object)
{
	for (size_t i = 0; i < schema->field_count; i++)
		clear_field(&schema->fields[i], object);
}

static bool same_list(const struct conf_field *f, const char *a, const char *b)
{
	size_t count = list_count(f, a);
	const char *x = pointer_at(f, a), *y = pointer_at(f, b);
	bool same = count == list_count(f, b);
	for (size_t i = 0; same && i < count; i++)
		same = conf_same(f->schema, x + i * f->schema->size, y + i * f->schema->size);
	return same;
}

static bool same_field(const struct conf_field *f, const char *a, const char *b)
{
	const char *x, *y;
	switch (f->kind) {
	case CONF_KIND_TEXT:
	case CONF_KIND_PATH:
	case CONF_KIND_NAME:
		x = pointer_at(f, a);
		y = pointer_at(f, b);
		return x && y ? !strcmp(x, y) : x == y;
	case CONF_KIND_BOOL:
		return !memcmp(a + f->offset, b + f->offset, sizeof(bool));
	case CONF_KIND_U32:
		return !memcmp(a + f->offset, b + f->offset, sizeof(uint32_t));
	case CONF_KIND_U64:
	case CONF_KIND_DOUBLE:
	case CONF_KIND_DURATION:
	case CONF_KIND_SIZE:
		return !memcmp(a + f->offset, b + f->offset, sizeof(uint64_t));
	case CONF_KIND_MAP:
		return conf_same(f->schema, a + f->offset, b + f->offset);
	case CONF_KIND_LIST:
		return same_list(f, a, b);
	case CONF_KIND_CUSTOM:
		return !f->same || f->same(a, b);
	case CONF_KIND_NOTE:
		return true;
	}
	return true;
}

bool conf_same(const struct conf_schema *schema, const void *a, const void *b)
{
	bool same = true;
	for (size_t i = 0; same && i < schema->field_count; i++)
		same = same_field(&schema->fields[i], a, b);
	return same;
}
