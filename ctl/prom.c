#include "ctl/prom.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 256 /* bytes of a label value that are looked at */

/* Behind the brace that ends the labels, quoted ones apart; NULL: none does on this line. */
static const char *labels_end(const char *at, const char *end)
{
	bool quoted = false;
	for (; at < end; at++) {
		if (quoted && *at == '\\')
			at++;
		else if (*at == '"')
			quoted = !quoted;
		else if (!quoted && *at == '}')
			return at;
	}
	return NULL;
}

static bool read_line(const char *line, const char *end, struct prom_sample *ret)
{
	struct prom_sample s = {.name = line};
	char *rest;
	s.name_len = strcspn(line, "{ \n");
	const char *at = line + s.name_len;
	if (!s.name_len || *line == '#' || at >= end)
		return false;
	if (*at == '{') {
		const char *closing = labels_end(at + 1, end);
		if (!closing)
			return false;
		s.labels = at + 1;
		s.labels_len = (size_t)(closing - s.labels);
		at = closing + 1;
	}
	if (at >= end || *at != ' ')
		return false;
	s.value = strtod(at, &rest);
	if (rest == at || rest > end)
		return false;
	*ret = s;
	return true;
}

bool prom_next(const char **at, struct prom_sample *ret)
{
	while (**at) {
		const char *line = *at, *end = line + strcspn(line, "\n");
		*at = *end ? end + 1 : end;
		if (read_line(line, end, ret))
			return true;
	}
	return false;
}

bool prom_is(const struct prom_sample *s, const char *name)
{
	return strlen(name) == s->name_len && !memcmp(name, s->name, s->name_len);
}

/* Copies a quoted value that begins behind its quote; returns behind the quote that ends it. */
static const char *copy_value(const char *at, const char *end, char *out, size_t size)
{
	size_t n = 0;
	for (; at < end && *at != '"'; at++) {
		char c = *at;
		if (c == '\\' && at + 1 < end) {
			at++;
			c = *at == 'n' ? '\n' : *at;
		}
		if (n + 1 < size)
			out[n++] = c;
	}
	out[n] = 0;
	return at < end ? at + 1 : end;
}

bool prom_label(const struct prom_sample *s, const char *label, char *out, size_t size)
{
	const char *at = s->labels ? s->labels : "", *end = at + s->labels_len;
	size_t want = strlen(label);
	while (at < end) {
		size_t n = 0;
		while (at + n < end && at[n] != '=')
			n++;
		if (at + n + 1 >= end)
			break;
		bool found = n == want && !memcmp(at, label, n);
		at = copy_value(at + n + 2, end, out, size);
		if (found)
			return true;
		at += at < end && *at == ',';
	}
	*out = 0;
	return false;
}

double prom_sum(const char *text, const char *name, const char *label, const char *value)
{
	struct prom_sample s;
	char has[VALUE_MAX];
	double sum = 0;
	while (text && prom_next(&text, &s)) {
		if (prom_is(&s, name) && (!label || (prom_label(&s, label, has, sizeof(has)) && !strcmp(has, value))))
			sum += s.value;
	}
	return sum;
}

bool prom_has(const char *text, const char *name)
{
	struct prom_sample s;
	while (text && prom_next(&text, &s)) {
		if (prom_is(&s, name))
			return true;
	}
	return false;
}
