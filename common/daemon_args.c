#include "common/daemon_args.h"

#include <stdio.h>

#include "common/log.h"

#define EXIT_FINE 0
#define EXIT_USE 2

static int bad_use(const struct arg_program *p, const char *what, const char *which)
{
	fprintf(stderr, "%s: %s%s\n%sTry `%s --help`.\n", p->name, what, which, p->usage, p->name);
	return EXIT_USE;
}

static int print_help(const struct arg_program *p)
{
	struct buf b = {0};
	args_help_program(p, &b);
	fputs(buf_cstr(&b), stdout);
	buf_free(&b);
	return EXIT_FINE;
}

/* What was given, judged; -1: fine. */
static int take(const struct arg_program *p, const char *version, const struct args *a, struct daemon_args *ret)
{
	const char *log_level = args_get(a, "log-level");
	enum log_level level;
	if (args_get(a, "help"))
		return print_help(p);
	if (args_get(a, "version")) {
		printf("%s (weir) %s\n", p->name, version);
		return EXIT_FINE;
	}
	if (a->word_count)
		return bad_use(p, "this argument is not understood: ", a->words[0]);
	if (log_level && log_level_parse(log_level, &level))
		return bad_use(p, "--log-level must be error, warn, info or debug, not ", log_level);
	struct daemon_args d = {.config = args_or_variable(args_get(a, "config"), "WEIR_CONFIG"),
	    .node = args_or_variable(args_get(a, "node"), "WEIR_NODE"),
	    .data = args_or_variable(args_get(a, "data"), "WEIR_DATA"),
	    .check = args_get(a, "check") != NULL,
	    .allow_exec = args_get(a, "allow-exec") != NULL,
	    .begin_alone = args_get(a, "begin-alone") != NULL};
	if (!d.config || !*d.config)
		return bad_use(p, "--config FILE is missing (or WEIR_CONFIG)", "");
	if (d.node && !*d.node)
		return bad_use(p, "--node is empty", "");
	if (d.data && !*d.data)
		return bad_use(p, "--data is empty", "");
	if (log_level)
		log_set_level(level);
	*ret = d;
	return -1;
}

int daemon_args_read(const struct arg_program *p, const char *version, int argc, char **argv, struct daemon_args *ret)
{
	struct args a = {0};
	struct buf error = {0};
	bool fine = args_parse(&p->options, 1, argc, argv, 1, false, &a, &error) >= 0;
	int code = fine ? take(p, version, &a, ret) : bad_use(p, buf_cstr(&error), "");
	args_free(&a);
	buf_free(&error);
	return code;
}
