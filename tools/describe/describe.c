/* What the three programs say of themselves, for the makers of manual pages and completions: describe PROGRAM
 *
 * A record a line, its fields apart by tabs:
 *
 *   program   NAME SUMMARY
 *   usage     LINE                                            of the synopsis
 *   about     LINE                                            of the text before the options
 *   command   NAME WORDS SUMMARY
 *   help      COMMAND LINE
 *   option    COMMAND NAME LETTER VALUE REPEATS HELP          COMMAND "": of the program, of every command; VALUE "": a flag
 *   variable  NAME HELP
 *   notes     LINE                                            of the text after the options: signals, exit codes
 *   examples  LINE                                            and what next
 *
 * Runs at build time, as part of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/options.h"
#include "common/args.h"
#include "ctl/ctl.h"
#include "edged/options.h"

static void put_lines(const char *head, const char *text)
{
	for (const char *at = text ? text : ""; *at;) {
		size_t n = strcspn(at, "\n");
		printf("%s\t%.*s\n", head, (int)n, at);
		at += n + (at[n] != 0);
	}
}

static void put_option(const char *command, const struct arg_option *o)
{
	printf("option\t%s\t--%s\t%s%.1s\t%s\t%s\t%s\n", command, o->name, o->letter ? "-" : "", &o->letter, o->value ? o->value : "",
	    o->repeats ? "repeats" : "", o->help);
}

static void put_command(const struct command *c)
{
	char head[64];
	snprintf(head, sizeof(head), "help\t%s", c->name);
	printf("command\t%s\t%s\t%s\n", c->name, c->words, c->summary);
	put_lines(head, c->help);
	for (size_t i = 0; i < c->option_count; i++)
		put_option(c->name, &c->options[i]);
}

static void put_program(const struct arg_program *p)
{
	printf("program\t%s\t%s\n", p->name, p->summary);
	put_lines("usage", p->usage);
	put_lines("about", p->about);
	for (size_t i = 0; i < p->options.count; i++)
		put_option("", &p->options.options[i]);
	for (size_t i = 0; i < p->variable_count; i++)
		printf("variable\t%s\t%s\n", p->variables[i].name, p->variables[i].help);
	put_lines("notes", p->notes);
	put_lines("examples", p->examples);
}

int main(int argc, char **argv)
{
	static const struct arg_program *const programs[] = {&ctl_program, &edged_program, &cloudd_program};
	const struct arg_program *p = NULL;
	for (size_t i = 0; argc == 2 && i < sizeof(programs) / sizeof(programs[0]); i++)
		p = !strcmp(programs[i]->name, argv[1]) ? programs[i] : p;
	if (!p) {
		fprintf(stderr, "Usage: describe PROGRAM\n");
		return EXIT_USE;
	}
	put_program(p);
	for (size_t i = 0; p == &ctl_program && ctl_command(i); i++)
		put_command(ctl_command(i));
	return fflush(stdout) || ferror(stdout) ? EXIT_FAILED : EXIT_FINE;
}
