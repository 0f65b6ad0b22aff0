#include "ctl/prom.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 256 /* bytes of a label value that are looked at */

bool prom_next(const char **at, struct prom_sample *ret)
{
	while (**at) {
		const char *line = *at, *end = line + strcspn(line, "\n");
		struct prom_text text;
		enum prom_error error;
		*at = *end ? end + 1 : end;
		prom_text_init(&text, bytes_of(line, (size_t)(*at - line)), false);
		if (prom_text_next(&text, ret, &error) && error == PROM_FINE)
			return true;
	}
	return false;
}

static bool is_text(struct bytes b, const char *text)
{
	return strlen(text) == b.n && !memcmp(text, b.p, b.n);
}

bool prom_is(const struct prom_sample *s, const char *name)
{
	return is_text(s->name, name);
}

bool prom_label(const struct prom_sample *s, const char *label, char *out, size_t size)
{
	struct bytes rest = s->labels, key, escaped;
	struct buf value = {0};
	bool found = false;
	while (!found && prom_next_label(&rest, &key, &escaped))
		found = is_text(key, label);
	if (found)
		prom_put_value(escaped, &value);
	snprintf(out, size, "%s", buf_cstr(&value));
	buf_free(&value);
	return found;
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
