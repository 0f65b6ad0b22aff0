#include "common/prom_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the scan of one line is. */
struct cursor {
	const uint8_t *p, *end;
};

const char *prom_error_text(enum prom_error e)
{
	switch (e) {
	case PROM_FINE:
		return "fine";
	case PROM_BAD_NAME:
		return "no name of a metric";
	case PROM_BAD_LABEL:
		return "labels must be name=\"value\", in braces";
	case PROM_BAD_VALUE:
		return "the value is not a number";
	case PROM_BAD_TIME:
		return "the timestamp is not a number";
	case PROM_TRAILING:
		return "something follows the sample";
	case PROM_TRUNCATED:
		return "the last line has no newline";
	}
	return "?";
}

static bool is_letter(uint8_t ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
}

static bool is_name_byte(uint8_t ch, bool colon)
{
	return is_letter(ch) || (ch >= '0' && ch <= '9') || (colon && ch == ':');
}

static bool is_blank(uint8_t ch)
{
	return ch == ' ' || ch == '\t';
}

static void skip_blanks(struct cursor *c)
{
	while (c->p < c->end && is_blank(*c->p))
		c->p++;
}

static bool take(struct cursor *c, uint8_t ch)
{
	if (c->p == c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

/* A name of a metric (colon) or of a label; empty: there is none. */
static struct bytes take_name(struct cursor *c, bool colon)
{
	const uint8_t *from = c->p;
	if (c->p < c->end && !is_letter(*c->p) && !(colon && *c->p == ':'))
		return bytes_of(from, 0);
	while (c->p < c->end && is_name_byte(*c->p, colon))
		c->p++;
	return bytes_of(from, (size_t)(c->p - from));
}

/* What is up to the quote that ends it, which is passed. */
static bool take_quoted(struct cursor *c, struct bytes *ret)
{
	const uint8_t *from = c->p;
	for (; c->p < c->end && *c->p != '"'; c->p++)
		c->p += *c->p == '\\' && c->p + 1 < c->end;
	*ret = bytes_of(from, (size_t)(c->p - from));
	return take(c, '"');
}

static bool take_label(struct cursor *c, struct bytes *ret_key, struct bytes *ret_escaped)
{
	skip_blanks(c);
	*ret_key = take_name(c, false);
	skip_blanks(c);
	if (!ret_key->n || !take(c, '='))
		return false;
	skip_blanks(c);
	return take(c, '"') && take_quoted(c, ret_escaped);
}

/* Behind the opening brace; a comma may follow the last one. */
static bool take_labels(struct cursor *c, struct bytes *ret)
{
	struct bytes key, value;
	const uint8_t *from = c->p;
	bool more = true;
	for (skip_blanks(c); c->p < c->end && *c->p != '}'; skip_blanks(c)) {
		if (!more || !take_label(c, &key, &value))
			return false;
		skip_blanks(c);
		more = take(c, ',');
	}
	*ret = bytes_of(from, (size_t)(c->p - from));
	return take(c, '}');
}

static bool is_special(const char *text)
{
	text += *text == '+' || *text == '-';
	return !strcasecmp(text, "inf") || !strcasecmp(text, "infinity") || !strcasecmp(text, "nan");
}

/* As Go's ParseFloat reads it, but for hexadecimal ones and digits that are parted by underscores. */
static bool take_number(struct cursor *c, double *ret)
{
	char text[PROM_NUMBER_BYTES_MAX + 1], *end;
	size_t n = 0;
	for (; c->p < c->end && !is_blank(*c->p) && n < PROM_NUMBER_BYTES_MAX; c->p++)
		text[n++] = (char)*c->p;
	text[n] = 0;
	if (!n || (c->p < c->end && !is_blank(*c->p)))
		return false;
	if (strspn(text, "0123456789+-.eE") != n && !is_special(text))
		return false;
	*ret = strtod(text, &end); /* LC_NUMERIC is C in all of our programs */
	return end == text + n;
}

#define TIME_MS_MAX 9e15 /* all below are exact */

static bool take_time(struct cursor *c, bool openmetrics, struct prom_sample *ret)
{
	double t;
	if (!take_number(c, &t))
		return false;
	t = openmetrics ? t * 1000 : t;
	if (!(fabs(t) < TIME_MS_MAX) || (!openmetrics && t != floor(t)))
		return false;
	ret->has_time = true;
	ret->time_ms = (int64_t)floor(t);
	return true;
}

static enum prom_error read_sample(struct cursor c, bool openmetrics, struct prom_sample *ret)
{
	*ret = (struct prom_sample){.name = take_name(&c, true)};
	if (!ret->name.n || (c.p < c.end && !is_blank(*c.p) && *c.p != '{'))
		return PROM_BAD_NAME;
	skip_blanks(&c);
	if (take(&c, '{') && !take_labels(&c, &ret->labels))
		return PROM_BAD_LABEL;
	skip_blanks(&c);
	if (!take_number(&c, &ret->value))
		return PROM_BAD_VALUE;
	skip_blanks(&c);
	if (c.p < c.end && *c.p != '#' && !take_time(&c, openmetrics, ret))
		return PROM_BAD_TIME;
	skip_blanks(&c);
	bool exemplar = openmetrics && c.p < c.end && *c.p == '#';
	return c.p == c.end || exemplar ? PROM_FINE : PROM_TRAILING;
}

void prom_text_init(struct prom_text *t, struct bytes text, bool openmetrics)
{
	*t = (struct prom_text){.openmetrics = openmetrics};
	t->at = text.n ? text.p : (const uint8_t *)"";
	t->end = t->at + text.n;
}

/* The next line, without its newline (and a carriage return before that). *ret_whole: whether it has one. */
static struct cursor next_line(struct prom_text *t, bool *ret_whole)
{
	const uint8_t *newline = memchr(t->at, '\n', (size_t)(t->end - t->at));
	struct cursor c = {t->at, newline ? newline : t->end};
	*ret_whole = newline != NULL;
	t->at = newline ? newline + 1 : t->end;
	t->line++;
	if (c.end > c.p && c.end[-1] == '\r')
		c.end--;
	t->text = bytes_of(c.p, (size_t)(c.end - c.p));
	return c;
}

static bool is_eof(struct cursor c)
{
	return c.end - c.p == 5 && !memcmp(c.p, "# EOF", 5);
}

bool prom_text_next(struct prom_text *t, struct prom_sample *ret, enum prom_error *ret_error)
{
	while (t->at < t->end && !t->ended) {
		bool whole;
		struct cursor c = next_line(t, &whole);
		if (t->openmetrics && is_eof(c)) {
			t->ended = true;
			break;
		}
		skip_blanks(&c);
		if (c.p == c.end || *c.p == '#')
			continue;
		*ret_error = whole ? read_sample(c, t->openmetrics, ret) : PROM_TRUNCATED;
		return true;
	}
	return false;
}

bool prom_next_label(struct bytes *labels, struct bytes *ret_key, struct bytes *ret_escaped)
{
	if (!labels->n)
		return false;
	struct cursor c = {labels->p, labels->p + labels->n};
	if (!take_label(&c, ret_key, ret_escaped))
		return false;
	skip_blanks(&c);
	take(&c, ',');
	*labels = bytes_of(c.p, (size_t)(c.end - c.p));
	return true;
}

void prom_put_value(struct bytes escaped, struct buf *out)
{
	for (size_t i = 0; i < escaped.n; i++) {
		uint8_t ch = escaped.p[i], next = i + 1 < escaped.n ? escaped.p[i + 1] : 0;
		if (ch == '\\' && (next == '\\' || next == '"' || next == 'n')) {
			ch = next == 'n' ? '\n' : next;
			i++;
		}
		buf_u8(out, ch);
	}
}
