#include "common/args.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/err.h"

void args_free(struct args *a)
{
	free(a->given);
	free(a->words);
	*a = (struct args){0};
}

static const struct arg_option *find(const struct arg_table *tables, size_t table_count, const char *name, size_t len)
{
	for (size_t t = 0; t < table_count; t++) {
		for (size_t i = 0; i < tables[t].count; i++) {
			const struct arg_option *o = &tables[t].options[i];
			if (strlen(o->name) == len && !memcmp(o->name, name, len))
				return o;
		}
	}
	return NULL;
}

static const struct arg_option *find_letter(const struct arg_table *tables, size_t table_count, char letter)
{
	for (size_t t = 0; t < table_count; t++) {
		for (size_t i = 0; i < tables[t].count; i++) {
			if (tables[t].options[i].letter == letter)
				return &tables[t].options[i];
		}
	}
	return NULL;
}

static void refuse_unknown(const struct arg_table *tables, size_t table_count, const char *text, struct buf *error)
{
	const char *names[ARGS_OPTIONS_MAX];
	size_t n = 0;
	for (size_t t = 0; t < table_count; t++) {
		for (size_t i = 0; i < tables[t].count && n < ARGS_OPTIONS_MAX; i++)
			names[n++] = tables[t].options[i].name;
	}
	char *name = xstrndup(text, strcspn(text, "="));
	const char *meant = !strncmp(name, "--", 2) ? conf_suggest(name + 2, names, n) : NULL;
	buf_printf(error, "unknown option %s", name);
	if (meant)
		buf_printf(error, "; did you mean --%s?", meant);
	free(name);
}

static int add(struct args *a, const struct arg_option *o, const char *value, struct buf *error)
{
	if (!o->repeats && args_get(a, o->name)) {
		buf_printf(error, "--%s is given twice", o->name);
		return -1;
	}
	a->given = xrealloc(a->given, (a->given_count + 1) * sizeof(*a->given));
	a->given[a->given_count++] = (struct arg_given){o, value};
	return 0;
}

static void add_word(struct args *a, const char *word)
{
	a->words = xrealloc(a->words, (a->word_count + 1) * sizeof(*a->words));
	a->words[a->word_count++] = word;
}

/* One option at argv[at]; returns where the next argument is, or -1. */
static int parse_option(const struct arg_table *tables, size_t table_count, int argc, char **argv, int at,
    struct args *a, struct buf *error)
{
	const char *text = argv[at], *value = NULL;
	const struct arg_option *o;
	if (text[1] == '-') {
		size_t len = strcspn(text + 2, "=");
		o = find(tables, table_count, text + 2, len);
		value = text[2 + len] ? text + 2 + len + 1 : NULL;
	} else {
		o = find_letter(tables, table_count, text[1]);
		value = text[2] ? text + 2 : NULL;
	}
	if (!o) {
		refuse_unknown(tables, table_count, text, error);
		return -1;
	}
	if (!o->value && value) {
		buf_printf(error, "--%s takes no value", o->name);
		return -1;
	}
	if (o->value && !value) {
		if (++at == argc) {
			buf_printf(error, "--%s needs a value: --%s %s", o->name, o->name, o->value);
			return -1;
		}
		value = argv[at];
	}
	return add(a, o, value, error) ? -1 : at + 1;
}

int args_parse(const struct arg_table *tables, size_t table_count, int argc, char **argv, int from, bool stop_at_word,
    struct args *a, struct buf *error)
{
	int at = from;
	bool only_words = false;
	while (at < argc) {
		const char *text = argv[at];
		if (!only_words && !strcmp(text, "--")) {
			only_words = true;
			at++;
		} else if (only_words || text[0] != '-' || !text[1]) {
			if (stop_at_word)
				return at;
			add_word(a, text);
			at++;
		} else {
			at = parse_option(tables, table_count, argc, argv, at, a, error);
			if (at < 0)
				return -1;
		}
	}
	return at;
}

const char *args_or_variable(const char *given, const char *variable)
{
	const char *value = given ? given : getenv(variable);
	return value && (given || *value) ? value : NULL;
}

const char *args_nth(const struct args *a, const char *name, size_t n)
{
	for (size_t i = 0; i < a->given_count; i++) {
		const struct arg_given *g = &a->given[i];
		if (!strcmp(g->option->name, name) && n-- == 0)
			return g->value ? g->value : "";
	}
	return NULL;
}

const char *args_get(const struct args *a, const char *name)
{
	return args_nth(a, name, 0);
}
