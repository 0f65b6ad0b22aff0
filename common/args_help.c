#include "common/args.h"

#include <string.h>

#define HELP_COLUMN 24

/* Appends the words of a text, a line break before each that does not fit any more. column: where the line stands already. */
static void fill(const char *text, size_t len, size_t indent, size_t column, struct buf *out)
{
	for (size_t at = 0, n, words = 0; (at += strspn(text + at, " \n")) < len; at += n, words++) {
		n = strcspn(text + at, " \n");
		if (words && column + 1 + n > ARGS_WIDTH) {
			buf_printf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (words) {
			buf_u8(out, ' ');
			column++;
		}
		buf_put(out, text + at, n);
		column += n;
	}
	buf_u8(out, '\n');
}

/* The length of a line with its end. */
static size_t line_len(const char *text)
{
	size_t n = strcspn(text, "\n");
	return n + (text[n] != 0);
}

/* The length of the paragraph that begins here: lines up to an empty or indented one. */
static size_t paragraph_len(const char *text)
{
	size_t n = 0;
	while (text[n] && text[n] != '\n' && text[n] != ' ')
		n += line_len(text + n);
	return n;
}

void args_put_text(const char *text, struct buf *out)
{
	while (*text) {
		size_t n = paragraph_len(text);
		if (n)
			fill(text, n, 0, 0, out);
		else
			buf_put(out, text, n = line_len(text));
		text += n;
	}
}

/* What begins at `start` of out, padded up to the column of the helps, and its help. */
static void put_in_columns(size_t start, const char *help, struct buf *out)
{
	size_t used = out->len - start;
	if (used + 2 > HELP_COLUMN)
		buf_printf(out, "\n%*s", HELP_COLUMN, "");
	else
		buf_printf(out, "%*s", (int)(HELP_COLUMN - used), "");
	fill(help, strlen(help), HELP_COLUMN, HELP_COLUMN, out);
}

void args_put_row(const char *name, const char *words, const char *help, struct buf *out)
{
	size_t start = out->len;
	buf_printf(out, "  %s%s%s", name, *words ? " " : "", words);
	put_in_columns(start, help, out);
}

static void put_option(const struct arg_option *o, struct buf *out)
{
	size_t start = out->len;
	if (o->letter)
		buf_printf(out, "  -%c, ", o->letter);
	else
		buf_printf(out, "      ");
	buf_printf(out, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
	put_in_columns(start, o->help, out);
}

void args_help(const struct arg_table *table, struct buf *out)
{
	for (size_t i = 0; i < table->count; i++)
		put_option(&table->options[i], out);
}

void args_help_variables(const struct arg_program *p, struct buf *out)
{
	for (size_t i = 0; i < p->variable_count; i++)
		args_put_row(p->variables[i].name, "", p->variables[i].help, out);
}

void args_help_program(const struct arg_program *p, struct buf *out)
{
	buf_printf(out, "%s: %s\n\n%s\n", p->name, p->summary, p->usage);
	args_put_text(p->about, out);
	buf_printf(out, "\nOptions:\n");
	args_help(&p->options, out);
	buf_printf(out, "\nEnvironment:\n");
	args_help_variables(p, out);
	buf_u8(out, '\n');
	args_put_text(p->notes, out);
	buf_u8(out, '\n');
	args_put_text(p->examples, out);
}
