/* weirctl: from the command line to a command. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/secret.h"
#include "ctl/http_client.h"
#include "ctl/printable.h"

#define URL_DEFAULT "127.0.0.1:8101"
#define TOKEN_BYTES_MAX 4096

static const struct command *const commands[] = {&command_status, &command_top, &command_doctor, &command_alerts, &command_query,
    &command_watch, &command_streams, &command_edges, &command_nodes, &command_edge_readmit, &command_edge_revoke, &command_edge_allow,
    &command_check, &command_names, &command_healthy, &command_store_check, &command_store_dump, &command_apply, &command_topology,
    &command_load, &command_keygen, &command_token_add, &command_token_list, &command_token_remove, &command_tls_renew,
    &command_node_add, &command_node_remove};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct arg_option global_options[] = {
	{"url", 0, "URL,...", false, "cloud nodes to ask, in turn (default " URL_DEFAULT "); https:// with --ca-file"},
	{"token-file", 0, "FILE", false, "file with the bearer token to send (mode 0600)"},
	{"ca-file", 0, "FILE", false, "who vouches for https nodes: the cluster's ca.crt (default: whom this machine trusts)"},
	{"output", 'o', "table|json|csv", false, "how the answer is written; json and csv have every digit (default table)"},
	{"verbose", 'v', NULL, false, "tell each request on stderr"},
	{"help", 'h', NULL, false, "this help; after a command: that command's"},
	{"version", 0, NULL, false, "the version"},
};
static const struct arg_variable variables[] = {
	{"WEIR_URL", "as --url"},
	{"WEIR_TOKEN_FILE", "as --token-file"},
	{"WEIR_CA_FILE", "as --ca-file"},
	{"WEIR_CONFIG", "the topology file, for commands that need one and are not given it"},
	{"WEIR_NODE", "as --node of `check` and `healthy`"},
	{"WEIR_DATA", "as --data of `healthy`"},
	{"NO_COLOR", "where set and not empty: `weirctl top` shows no colours"},
};

const struct arg_program ctl_program = {
	.name = "weirctl", .summary = "asks and steers a Weir cluster",
	.usage = "Usage: weirctl [OPTION]... COMMAND ...\n",
	.options = {global_options, sizeof(global_options) / sizeof(global_options[0])},
	.variables = variables, .variable_count = sizeof(variables) / sizeof(variables[0]),
	.notes = "`weirctl COMMAND --help` has more, with examples. An option wins over the variable that means the same. Exit codes: "
		"0 fine, 1 failed, 2 bad use or bad configuration.\n",
	.examples =
		"  weirctl check topology.yaml\n"
		"  weirctl status\n"
		"  weirctl query speed --from -1h --by site\n"
		"  weirctl load readings.lp --to http://127.0.0.1:8201\n\n"
		"What next: `weirctl doctor` says what is wrong and what to do about it. weirctl(1) is the manual, topology.yaml(5) the file's.\n"};

const struct command *ctl_command(size_t number)
{
	return number < COMMANDS ? commands[number] : NULL;
}

static volatile sig_atomic_t stop_flag;

static void on_signal(int number)
{
	(void)number;
	stop_flag = 1;
}

void ctl_error(const char *fmt, ...)
{
	va_list ap;
	struct buf safe = {0};
	char *said = NULL;
	fflush(stdout);
	va_start(ap, fmt);
	weir_assert(vasprintf(&said, fmt, ap) >= 0); /* fails for want of memory only */
	va_end(ap);
	for (const char *at = said, *end; *at; at = end) {
		end = at + strcspn(at, "\n");
		printable_put(&safe, at, (size_t)(end - at), false);
		for (; *end == '\n'; end++)
			buf_u8(&safe, '\n');
	}
	fprintf(stderr, "weirctl: %s\n", buf_cstr(&safe));
	free(said);
	buf_free(&safe);
}

int ctl_bad_use(const struct command *command, const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "weirctl%s%s: ", command ? " " : "", command ? command->name : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry: weirctl %s%s--help\n", command ? command->name : "", command ? " " : "");
	return EXIT_USE;
}

/* ---- help ------------------------------------------------------------------------------------------------- */

static void print_help(void)
{
	struct buf b = {0};
	buf_printf(&b, "%s: %s\n\n%s\nCommands:\n", ctl_program.name, ctl_program.summary, ctl_program.usage);
	for (size_t i = 0; i < COMMANDS; i++)
		args_put_row(commands[i]->name, commands[i]->words, commands[i]->summary, &b);
	buf_printf(&b, "\nOptions:\n");
	args_help(&ctl_program.options, &b);
	buf_printf(&b, "\nEnvironment:\n");
	args_help_variables(&ctl_program, &b);
	buf_u8(&b, '\n');
	args_put_text(ctl_program.notes, &b);
	buf_u8(&b, '\n');
	args_put_text(ctl_program.examples, &b);
	ctl_print(&b);
	buf_free(&b);
}

static void print_command_help(const struct command *c)
{
	struct buf b = {0};
	buf_printf(&b, "weirctl %s: %s\n\nUsage: weirctl %s%s%s%s\n\n", c->name, c->summary, c->name,
	    c->option_count ? " [OPTION]..." : "", *c->words ? " " : "", c->words);
	args_put_text(c->help, &b);
	if (c->option_count) {
		struct arg_table own = {c->options, c->option_count};
		buf_printf(&b, "\nOptions:\n");
		args_help(&own, &b);
	}
	buf_printf(&b, "\nOptions of every command:\n");
	args_help(&ctl_program.options, &b);
	ctl_print(&b);
	buf_free(&b);
}

/* ---- commands --------------------------------------------------------------------------------------------- */

/* The command that the words from argv[at] name; *ret_words: how many of them are its name. */
static const struct command *find_command(int argc, char **argv, int at, int *ret_words)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		const char *name = commands[i]->name, *space = strchr(name, ' ');
		if (!space && !strcmp(name, argv[at])) {
			*ret_words = 1;
			return commands[i];
		}
		size_t head = space ? (size_t)(space - name) : 0;
		if (space && at + 1 < argc && strlen(argv[at]) == head && !strncmp(name, argv[at], head) &&
		    !strcmp(space + 1, argv[at + 1])) {
			*ret_words = 2;
			return commands[i];
		}
		/* `weirctl edge --help` teaches what follows `edge` */
		if (space && at + 1 < argc && strlen(argv[at]) == head && !strncmp(name, argv[at], head) &&
		    (!strcmp(argv[at + 1], "--help") || !strcmp(argv[at + 1], "-h"))) {
			*ret_words = 1;
			return commands[i];
		}
	}
	return NULL;
}

static int refuse_command(int argc, char **argv, int at)
{
	const char *names[COMMANDS];
	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i]->name;
	char *two = xasprintf("%s %s", argv[at], at + 1 < argc ? argv[at + 1] : "");
	const char *meant = conf_suggest(argv[at], names, COMMANDS);
	if (!meant)
		meant = conf_suggest(two, names, COMMANDS);
	free(two);
	if (!strcmp(argv[at], "edge"))
		return ctl_bad_use(NULL, "`edge` is followed by: revoke EDGE, allow EDGE, or readmit EDGE (and `weirctl edges` lists them)");
	if (!strcmp(argv[at], "node"))
		return ctl_bad_use(NULL, "`node` is followed by: add NAME, or remove CLOUD (and `weirctl nodes` lists them)");
	if (!strcmp(argv[at], "token"))
		return ctl_bad_use(NULL, "`token` is followed by: add NAME, list, or remove NAME");
	if (!strcmp(argv[at], "tls"))
		return ctl_bad_use(NULL, "`tls` is followed by: renew [NODE]");
	if (meant)
		return ctl_bad_use(NULL, "no command is called `%s`; did you mean `%s`?", argv[at], meant);
	return ctl_bad_use(NULL, "no command is called `%s`", argv[at]);
}

char *ctl_read_token(const char *option, const char *path)
{
	struct buf b = {0};
	char *why = NULL, *token = NULL;
	if (secret_read(path, &b, &why)) {
		ctl_error("--%s: %s", option, why);
		free(why);
		return NULL;
	}
	size_t n = b.len;
	while (n && strchr("\r\n ", b.data[n - 1]))
		n--;
	bool fine = n > 0 && n <= TOKEN_BYTES_MAX;
	for (size_t i = 0; i < n; i++)
		fine = fine && b.data[i] > ' ' && b.data[i] < 0x7f;
	if (fine)
		token = xstrndup((const char *)b.data, n);
	else
		ctl_error("--%s: %s holds no token (one line of printable characters)", option, path);
	secret_free(&b);
	return token;
}

const char *ctl_option(const struct args *args, const char *option, const char *variable)
{
	const char *value = args_or_variable(args_get(args, option), variable);
	return value && *value ? value : NULL;
}

const char *ctl_file(const struct command *command, const struct args *args)
{
	const char *file = args_or_variable(args->word_count ? args->words[0] : NULL, "WEIR_CONFIG");
	if (file && *file)
		return file;
	ctl_bad_use(command, "FILE is missing (or WEIR_CONFIG)");
	return NULL;
}

bool ctl_knows(const struct topology *t, const char *node)
{
	if (topology_cloud(t, node) >= 0 || topology_edge(t, node) >= 0)
		return true;
	ctl_error("%s has no node or edge called `%s`", t->path, node);
	return false;
}

int ctl_connect(struct ctl *ctl, const struct args *args, const char *urls)
{
	const char *token_file = ctl_option(args, "token-file", "WEIR_TOKEN_FILE");
	const char *ca_file = ctl_option(args, "ca-file", "WEIR_CA_FILE");
	char *token = NULL;
	if (token_file && !(token = ctl_read_token("token-file", token_file)))
		return EXIT_USE;
	struct buf error = {0};
	if (!urls)
		urls = ctl_option(args, "url", "WEIR_URL");
	ctl->http = http_client_new(urls ? urls : URL_DEFAULT, token, ca_file, args_get(args, "verbose") != NULL, &error);
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
	int result = ctl->http ? EXIT_FINE : ctl_bad_use(NULL, "%s", buf_cstr(&error));
	buf_free(&error);
	return result;
}

static int read_format(const struct args *args, enum format *ret_format)
{
	static const char *const names[] = {"table", "json", "csv"}; /* in the order of enum format */
	const char *text = args_get(args, "output");
	for (unsigned i = 0; text && i < 3; i++) {
		if (!strcmp(text, names[i])) {
			*ret_format = (enum format)i;
			return EXIT_FINE;
		}
	}
	return text ? ctl_bad_use(NULL, "--output: `%s` is not table, json or csv", text) : EXIT_FINE;
}

static int check_words(const struct command *c, const struct args *args)
{
	if (args->word_count < c->words_min)
		return ctl_bad_use(c, "%s is missing", c->words);
	if (args->word_count > c->words_max)
		return ctl_bad_use(c, "`%s` is too much", args->words[c->words_max]);
	return EXIT_FINE;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGINT, &action, NULL); /* without SA_RESTART: a blocking call ends */
	sigaction(SIGTERM, &action, NULL);
}

static int run_command(const struct command *c, const struct args *args)
{
	struct ctl ctl = {.stop = &stop_flag};
	int result = check_words(c, args);
	if (!result)
		result = read_format(args, &ctl.format);
	if (!result && !c->offline)
		result = ctl_connect(&ctl, args, NULL);
	if (result)
		return result;
	if (c->stoppable)
		catch_signals();
	result = c->run(&ctl, args);
	http_client_free(ctl.http);
	if ((fflush(stdout) || ferror(stdout)) && !result) {
		ctl_error("cannot write the output: %s", strerror(errno));
		result = EXIT_FAILED;
	}
	return result;
}

static int parse_and_run(int argc, char **argv, struct args *args, struct buf *error)
{
	struct arg_table tables[2] = {ctl_program.options, {NULL, 0}};
	int at = args_parse(tables, 1, argc, argv, 1, true, args, error), words = 1;
	if (at < 0)
		return ctl_bad_use(NULL, "%s", buf_cstr(error));
	bool help_word = at < argc && !strcmp(argv[at], "help");
	at += help_word;
	if (args_get(args, "version")) {
		printf("weirctl %s\n", VERSION);
		return EXIT_FINE;
	}
	if (at == argc) {
		if (!help_word && !args_get(args, "help"))
			return ctl_bad_use(NULL, "a command is missing");
		print_help();
		return EXIT_FINE;
	}
	const struct command *c = find_command(argc, argv, at, &words);
	if (!c)
		return refuse_command(argc, argv, at);
	tables[1] = (struct arg_table){c->options, c->option_count};
	if (args_parse(tables, 2, argc, argv, at + words, false, args, error) < 0)
		return ctl_bad_use(c, "%s", buf_cstr(error));
	if (help_word || args_get(args, "help")) {
		print_command_help(c);
		return EXIT_FINE;
	}
	return run_command(c, args);
}

int ctl_main(int argc, char **argv)
{
	struct args args = {0};
	struct buf error = {0};
	int result = parse_and_run(argc, argv, &args, &error);
	args_free(&args);
	buf_free(&error);
	return result;
}
