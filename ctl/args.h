/* The arguments of a command line, by tables that its help is made of, too. Pure.
 *
 * Understood: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, flags, words, and -- before words that begin with a dash.
 * An option's value is whatever comes next, also where it begins with a dash (--from -1h). A lone - is a word. */
#ifndef WEIR_CTL_ARGS_H
#define WEIR_CTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define ARGS_OPTIONS_MAX 64 /* of all tables together */

struct arg_option {
	const char *name;  /* without its dashes */
	char letter;       /* 0: none */
	const char *value; /* what help calls its value; NULL: a flag */
	bool repeats;      /* may be given more than once */
	const char *help;
};

struct arg_table {
	const struct arg_option *options;
	size_t count;
};

struct arg_given {
	const struct arg_option *option;
	const char *value; /* NULL: a flag */
};

struct args {
	struct arg_given *given; /* in the order given; values point into argv */
	size_t given_count;
	const char **words;
	size_t word_count;
};

/* Reads argv[from .. argc) and adds what it finds to *a (zeroed at first; args_free it in any case). stop_at_word: reads
 * up to the first word, exclusively. Returns where it stopped, or -1 with a sentence appended to *error: unknown option
 * (with the one probably meant), missing or unwanted value, an option given twice. */
int args_parse(const struct arg_table *tables, size_t table_count, int argc, char **argv, int from, bool stop_at_word,
    struct args *a, struct buf *error);
void args_free(struct args *a);
/* The value of an option ("" for a flag), or NULL where it was not given. */
const char *args_get(const struct args *a, const char *name);
/* The n-th value of an option that repeats, or NULL. */
const char *args_nth(const struct args *a, const char *name, size_t n);
/* Appends one line per option: names, value and help in columns. */
void args_help(const struct arg_table *table, struct buf *out);

#endif
