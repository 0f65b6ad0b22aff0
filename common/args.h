/* The arguments of a command line, by tables that its help, its manual page and its completions are made of, too
 * (tools/describe). Pure, but for args_or_variable.
 *
 * Understood: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, flags, words, and -- before words that begin with a dash.
 * An option's value is whatever comes next, also where it begins with a dash (--from -1h). A lone - is a word. */
#ifndef WEIR_COMMON_ARGS_H
#define WEIR_COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define ARGS_OPTIONS_MAX 64 /* of all tables together */
#define ARGS_WIDTH 80       /* of a help, in columns */

struct arg_option {
	const char *name;  /* without its dashes */
	char letter;       /* 0: none */
	const char *value; /* what help calls its value; NULL: a flag. Completions know FILE, PATH, DIR, STREAM, EDGE, CLOUD, NODE, and a|b: one of these */
	bool repeats;      /* may be given more than once */
	const char *help;
};

struct arg_table {
	const struct arg_option *options;
	size_t count;
};

struct arg_variable {
	const char *name; /* of the environment */
	const char *help;
};

/* A program as its help and its manual page tell of it. */
struct arg_program {
	const char *name;
	const char *summary; /* one line, after "NAME: " */
	const char *usage;   /* whole lines */
	const char *about;   /* before the options, for args_put_text */
	struct arg_table options;
	const struct arg_variable *variables;
	size_t variable_count;
	const char *notes;    /* after them: signals, exit codes */
	const char *examples; /* and what next */
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
/* What was given; else, where that is not empty, the variable of the environment; or NULL. */
const char *args_or_variable(const char *given, const char *variable);

/* ---- help: what is appended ends with a line's end */

/* Paragraphs (lines up to an empty or an indented one) filled, lines that begin with a blank as they are. */
void args_put_text(const char *text, struct buf *out);
/* One line in columns: a name, what follows it ("" for nothing), what it is for. */
void args_put_row(const char *name, const char *words, const char *help, struct buf *out);
/* Each option, variable: name, value and help in columns. */
void args_help(const struct arg_table *table, struct buf *out);
void args_help_variables(const struct arg_program *p, struct buf *out);
/* All of a program that has no commands. */
void args_help_program(const struct arg_program *p, struct buf *out);

#endif
