/* Where lines end, and what happens around bad ones.
 *
 * A line ends at its newline, unless that newline is within quotes. Quotes that never close are common in broken input,
 * so a newline within quotes is data only in a line that turns out valid as a whole: in a refused line it ends the line,
 * and parsing goes on right behind it. Good neighbours of an unbalanced quote are kept that way.
 *
 * Most lines have no such newline: each is first parsed as far as its first newline (the physical line). Only where that
 * ends within a string, `struct extent` finds the end of the whole line, going on where it was when more bytes come.
 * What was looked at in vain is parsed again, line by line; at most RETRIES_MAX times over the same bytes, then newlines
 * there end lines whatever the quotes say: so the work stays linear for any input.
 *
 * Nothing here depends on how the input was split: a line is judged only once its end is known. */
#include "common/line.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/line_grammar.h"

#define TEXT_MAX 80
#define RETRIES_MAX 8
#define BUFFER_KEEP_BYTES 4096 /* a larger buffer is not kept while it is empty */

/* Within a line of several physical lines: where looking for its end has come to. */
enum extent_state { EXTENT_STRING, EXTENT_CLOSED, EXTENT_KEY, EXTENT_VALUE_START, EXTENT_VALUE, EXTENT_TAIL };

struct extent {
	bool active;
	enum extent_state state;
	size_t at;         /* bytes of the line looked at */
	size_t quote_at;   /* the quote open at the end of the first physical line */
	size_t first_line; /* length of the first physical line, without newline */
};

struct line_state {
	struct line_grammar grammar;
	struct buf pending;     /* bytes fed and not yet consumed */
	struct extent extent;
	uint64_t offset;        /* of the current line's first byte in the input */
	uint64_t searched;      /* input before this was part of a line of several lines that was refused */
	unsigned retries;
	bool skipping;          /* in a line that is too long */
	size_t skipped;
	uint8_t head[TEXT_MAX]; /* its first bytes */
};

static const struct {
	const char *label, *text;
} errors[LINE_ERRORS] = {
	[LINE_OK] = {"ok", "fine"},
	[LINE_NO_MEASUREMENT] = {"no_measurement", "the line has no measurement"},
	[LINE_BAD_TAG] = {"bad_tag", "a tag must be key=value, both not empty, with , = and space escaped"},
	[LINE_DUPLICATE_TAG] = {"duplicate_tag", "a tag key occurs twice"},
	[LINE_NO_FIELD] = {"no_field", "the line has no field"},
	[LINE_BAD_FIELD] = {"bad_field", "a field must be key=value, the value a number, a boolean or a quoted string"},
	[LINE_BAD_NUMBER] = {"bad_number", "the number is malformed, out of range or not finite"},
	[LINE_BAD_STRING] = {"bad_string", "the quoted string does not end, or something follows its closing quote"},
	[LINE_BAD_TIMESTAMP] = {"bad_timestamp", "the timestamp is not an integer within range"},
	[LINE_TRAILING] = {"trailing", "something follows the timestamp"},
	[LINE_TOO_LONG] = {"line_too_long", "the line is longer than 64 KiB"},
	[LINE_TOO_MANY] = {"too_many", "the line has more than 64 tags or 256 fields"},
	[LINE_BAD_UTF8_NUL] = {"nul_byte", "the line holds a NUL byte"},
};

const char *line_error_label(enum line_error e)
{
	weir_assert((unsigned)e < LINE_ERRORS);
	return errors[e].label;
}

const char *line_error_text(enum line_error e)
{
	weir_assert((unsigned)e < LINE_ERRORS);
	return errors[e].text;
}

void line_parser_init(struct line_parser *p, const struct line_callbacks *cb, int64_t precision_ns, bool lazy)
{
	weir_assert(precision_ns > 0);
	*p = (struct line_parser){.cb = *cb, .lazy = lazy};
	p->state = xcalloc(1, sizeof(*p->state));
	line_grammar_init(&p->state->grammar, precision_ns, lazy);
}

void line_parser_set_precision(struct line_parser *p, int64_t precision_ns)
{
	weir_assert(precision_ns > 0);
	p->state->grammar.precision_ns = precision_ns;
}

void line_parser_free(struct line_parser *p)
{
	if (!p->state)
		return;
	line_grammar_free(&p->state->grammar);
	buf_free(&p->state->pending);
	free(p->state);
	p->state = NULL;
}

void line_parser_reset(struct line_parser *p)
{
	struct line_state *st = p->state;
	buf_clear(&st->pending);
	st->extent.active = false;
	st->skipping = false;
	st->skipped = 0;
	st->searched = st->offset;
	p->number = 0;
}

size_t line_parser_pending(const struct line_parser *p)
{
	return p->state->pending.len + p->state->skipped;
}

/* ---- reporting ----------------------------------------------------------------------------------------------- */

/* data: the line; len: its first physical line. */
static void report_error(struct line_parser *p, const uint8_t *data, size_t len, enum line_error e, size_t at)
{
	if (len && data[len - 1] == '\r')
		len--;
	p->number++;
	p->cb.error(p->cb.arg, p->number, at + 1, e, bytes_of(data, len < TEXT_MAX ? len : TEXT_MAX));
}

static void report_line(struct line_parser *p, struct line *l)
{
	p->number++;
	l->number = p->number;
	l->parser = p;
	p->cb.line(p->cb.arg, l);
}

/* ---- lines over several physical lines ------------------------------------------------------------------------ */

/* One step from state at data[i]; *i may move by two. */
static enum extent_state extent_step(enum extent_state state, const uint8_t *data, size_t len, size_t *i)
{
	uint8_t ch = data[*i];
	bool more = *i + 1 < len;
	uint8_t next = more ? data[*i + 1] : 0;
	(*i)++;
	switch (state) {
	case EXTENT_STRING:
		if (ch == '\\' && (next == '"' || next == '\\'))
			(*i)++;
		return ch == '"' ? EXTENT_CLOSED : EXTENT_STRING;
	case EXTENT_CLOSED:
		return ch == ',' ? EXTENT_KEY : EXTENT_TAIL;
	case EXTENT_KEY:
		if (ch == '\\' && (next == ',' || next == '=' || next == ' '))
			(*i)++;
		if (ch == '=')
			return EXTENT_VALUE_START;
		return ch == ',' || ch == ' ' ? EXTENT_TAIL : EXTENT_KEY;
	case EXTENT_VALUE_START:
		if (ch == '"')
			return EXTENT_STRING;
		return ch == ',' || ch == ' ' ? EXTENT_TAIL : EXTENT_VALUE;
	case EXTENT_VALUE:
		if (ch == ',')
			return EXTENT_KEY;
		return ch == ' ' ? EXTENT_TAIL : EXTENT_VALUE;
	case EXTENT_TAIL:
		break;
	}
	return EXTENT_TAIL;
}

/* Goes on towards the newline that ends the line; true: it is at data[x->at]. */
static bool extent_find(struct extent *x, const uint8_t *data, size_t len)
{
	while (x->at < len) {
		size_t i = x->at;
		if (data[i] == '\n' && x->state != EXTENT_STRING)
			return true;
		if (data[i] == '\\' && i + 1 == len)
			return false; /* what it means depends on the next byte */
		x->state = extent_step(x->state, data, len, &i);
		x->at = i;
	}
	return false;
}

/* The whole is no line, whatever the reason: its first physical line is refused for its open string, and parsing goes
 * on behind it. */
static size_t refuse_open(struct line_parser *p, const uint8_t *data)
{
	struct line_state *st = p->state;
	struct extent *x = &st->extent;
	x->active = false;
	if (st->offset < st->searched)
		st->retries++;
	if (st->offset + x->at > st->searched)
		st->searched = st->offset + x->at;
	report_error(p, data, x->first_line, LINE_BAD_STRING, x->quote_at);
	return x->first_line + 1;
}

static uint64_t newlines_in(const uint8_t *data, size_t len)
{
	uint64_t n = 0;
	for (const uint8_t *p = data; (p = memchr(p, '\n', len - (size_t)(p - data))); p++)
		n++;
	return n;
}

/* data starts with a line whose string spans a newline. Bytes consumed; 0: more are needed. */
static size_t consume_open(struct line_parser *p, const uint8_t *data, size_t len, bool last)
{
	struct line_state *st = p->state;
	struct extent *x = &st->extent;
	size_t room = LINE_BYTES_MAX + 1;
	bool found = extent_find(x, data, len < room ? len : room);
	if (!found && len >= room)
		return refuse_open(p, data);
	if (!found && !last)
		return 0;
	size_t end = found ? x->at : len;
	struct line l;
	enum line_error e;
	size_t at;
	if (line_grammar_parse(&st->grammar, data, end, &l, &e, &at) != GRAMMAR_LINE)
		return refuse_open(p, data);
	x->active = false;
	report_line(p, &l);
	p->number += newlines_in(data, end);
	return end + (found ? 1 : 0);
}

/* A string is open at the end of the first physical line. */
static size_t open_line(struct line_parser *p, const uint8_t *data, size_t len, size_t first_line, size_t quote_at,
    bool last)
{
	struct line_state *st = p->state;
	if (st->offset >= st->searched)
		st->retries = 0;
	if (first_line == len || st->retries >= RETRIES_MAX) {
		report_error(p, data, first_line, LINE_BAD_STRING, quote_at);
		return first_line + (first_line < len ? 1 : 0);
	}
	st->extent = (struct extent){
	    .active = true, .state = EXTENT_STRING, .at = quote_at + 1, .quote_at = quote_at, .first_line = first_line};
	return consume_open(p, data, len, last);
}

/* ---- lines that are too long ------------------------------------------------------------------------------------ */

/* Reported at its end, so that a source's position never lies within it. A long comment is no error. */
static void end_skipping(struct line_parser *p)
{
	struct line_state *st = p->state;
	size_t start = 0;
	while (start < TEXT_MAX - 1 && st->head[start] == ' ')
		start++;
	st->skipping = false;
	st->skipped = 0;
	if (st->head[start] == '#')
		p->number++;
	else
		report_error(p, st->head, TEXT_MAX, LINE_TOO_LONG, LINE_BYTES_MAX);
}

static size_t skip(struct line_parser *p, const uint8_t *data, size_t len)
{
	struct line_state *st = p->state;
	const uint8_t *nl = memchr(data, '\n', len);
	if (!nl) {
		st->skipped += len;
		return len;
	}
	end_skipping(p);
	return (size_t)(nl - data) + 1;
}

static size_t begin_skipping(struct line_parser *p, const uint8_t *data, size_t len)
{
	struct line_state *st = p->state;
	memcpy(st->head, data, TEXT_MAX);
	st->skipping = true;
	return skip(p, data, len);
}

/* ---- feeding ---------------------------------------------------------------------------------------------------- */

/* Bytes consumed of data, which starts with a line; 0: its end has not come yet. */
static size_t consume_line(struct line_parser *p, const uint8_t *data, size_t len, bool last)
{
	struct line_state *st = p->state;
	if (st->skipping)
		return skip(p, data, len);
	if (st->extent.active)
		return consume_open(p, data, len, last);
	size_t room = LINE_BYTES_MAX + 1;
	const uint8_t *nl = memchr(data, '\n', len < room ? len : room);
	if (!nl && len >= room)
		return begin_skipping(p, data, len);
	if (!nl && !last)
		return 0;
	size_t n = nl ? (size_t)(nl - data) : len;
	struct line l;
	enum line_error e = LINE_OK;
	size_t at = 0;
	switch (line_grammar_parse(&st->grammar, data, n, &l, &e, &at)) {
	case GRAMMAR_LINE:
		report_line(p, &l);
		break;
	case GRAMMAR_BLANK:
		p->number++;
		break;
	case GRAMMAR_OPEN:
		return open_line(p, data, len, n, at, last);
	case GRAMMAR_ERROR:
		report_error(p, data, n, e, at);
		break;
	}
	return n + (nl ? 1 : 0);
}

static size_t consume(struct line_parser *p, const uint8_t *data, size_t len, bool last)
{
	size_t done = 0;
	while (done < len) {
		size_t n = consume_line(p, data + done, len - done, last);
		if (!n)
			break;
		done += n;
		p->state->offset += n;
	}
	return done;
}

static void consume_pending(struct line_parser *p, bool last)
{
	struct buf *b = &p->state->pending;
	size_t done = consume(p, b->data, b->len, last);
	if (!done)
		return;
	b->len -= done;
	if (b->len)
		memmove(b->data, b->data + done, b->len);
	else if (b->cap > BUFFER_KEEP_BYTES)
		buf_free(b);
}

/* What a long line needed would else stay with each of many connections. */
static void give_back(struct line_parser *p)
{
	struct line_grammar *g = &p->state->grammar;
	struct buf *const buffers[] = {&g->text, &g->series_text, &g->digits};
	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
		if (buffers[i]->cap > BUFFER_KEEP_BYTES)
			buf_free(buffers[i]);
}

static void feed(struct line_parser *p, const void *data, size_t len)
{
	struct buf *b = &p->state->pending;
	const uint8_t *d = data;
	while (len) {
		if (!b->len) {
			size_t n = consume(p, d, len, false);
			buf_put(b, d + n, len - n);
			return;
		}
		/* Completes the pending line, one physical line at a time. */
		const uint8_t *nl = memchr(d, '\n', len);
		size_t n = nl ? (size_t)(nl - d) + 1 : len;
		size_t room = LINE_BYTES_MAX + 1 - b->len;
		if (n > room) {
			n = room;
			nl = NULL;
		}
		buf_put(b, d, n);
		d += n;
		len -= n;
		if (nl || b->len > LINE_BYTES_MAX)
			consume_pending(p, false);
	}
}

void line_parser_feed(struct line_parser *p, const void *data, size_t len)
{
	feed(p, data, len);
	give_back(p);
}

void line_parser_finish(struct line_parser *p)
{
	if (p->state->skipping)
		end_skipping(p);
	if (p->state->pending.len)
		consume_pending(p, true);
	give_back(p);
}

enum line_error line_resolve_series(struct line_parser *p, const struct line *l, struct bytes *ret_measurement,
    const struct line_tag **ret_tags, size_t *ret_tag_count)
{
	size_t at;
	enum line_error e = line_grammar_series(&p->state->grammar, l->series, ret_measurement, ret_tag_count, &at);
	if (e == LINE_OK)
		*ret_tags = p->state->grammar.tags;
	return e;
}
