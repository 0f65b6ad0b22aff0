/* token add, token list, token remove: who may do what over HTTP. Works on the file in the folder of the keys; running
 * daemons on the same machine see a change within a second. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/secret.h"
#include "common/tokens.h"
#include "common/topology.h"
#include "ctl/ctl.h"

#define FOLDER_OPTIONS \
	{"keys", 0, "DIR", false, "the folder of the keys (cluster.security.keys of the topology)"}, \
	{"config", 'c', "FILE", false, "the topology that names that folder"}

static const struct arg_option add_options[] = {
	{"role", 0, "read|write|admin", false, "what it may; each may what those before it may"},
	{"out", 0, "FILE", false, "write the token into this new file (mode 0600) instead of printing it"},
	FOLDER_OPTIONS,
};
static const struct arg_option folder_options[] = {FOLDER_OPTIONS};

/* The file of tokens, locked against other weirctl as long as it is open. */
struct token_file {
	char *path;
	int folder;
	struct buf text;
	struct tokens *tokens;
};

/* ---- the file ------------------------------------------------------------------------------------------------- */

static char *folder_of_config(const struct command *command, const char *config)
{
	struct topology *t;
	struct buf errors = {0};
	char *folder = NULL;
	if (topology_load(config, &t, &errors)) {
		fputs(buf_cstr(&errors), stderr);
	} else {
		if (t->keys_dir)
			folder = xstrdup(t->keys_dir);
		else
			ctl_bad_use(command, "%s has `security: none`: no tokens are asked for; `security: {keys: DIR}` first", config);
		topology_free(t);
	}
	buf_free(&errors);
	return folder;
}

static char *find_folder(const struct command *command, const struct args *args)
{
	const char *keys = args_get(args, "keys"), *config = args_get(args, "config");
	if (!keys == !config) {
		ctl_bad_use(command, "where are the keys? Either --keys DIR or --config FILE");
		return NULL;
	}
	return keys ? xstrdup(keys) : folder_of_config(command, config);
}

static void close_file(struct token_file *f)
{
	if (f->folder >= 0)
		close(f->folder);
	tokens_free(f->tokens);
	secret_free(&f->text);
	free(f->path);
}

static int read_file(struct token_file *f)
{
	char *why = NULL;
	int rc = secret_read_as_tool(f->path, &f->text, &why);
	if (rc == WEIR_ENOTFOUND)
		rc = 0;
	else if (rc)
		ctl_error("%s", why);
	free(why);
	why = NULL;
	if (!rc) {
		rc = tokens_parse(f->text.data, f->text.len, &f->tokens, &why);
		if (rc)
			ctl_error("%s: %s", f->path, why);
		free(why);
	}
	return rc ? EXIT_FAILED : EXIT_FINE;
}

/* Close it in any case. */
static int open_file(const struct command *command, const struct args *args, struct token_file *f)
{
	*f = (struct token_file){.folder = -1};
	char *folder = find_folder(command, args);
	if (!folder)
		return EXIT_USE;
	f->path = xasprintf("%s/%s", folder, TOKENS_FILE);
	f->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = EXIT_FAILED;
	if (f->folder < 0 || flock(f->folder, LOCK_EX))
		ctl_error("%s: %s%s", folder, strerror(errno), errno == ENOENT ? " (`weirctl keygen` makes it)" : "");
	else
		result = read_file(f);
	free(folder);
	return result;
}

static int write_file(const struct token_file *f, const struct buf *text)
{
	char *why = NULL;
	int rc = secret_write(f->path, text->data, text->len, false, &why);
	if (rc)
		ctl_error("%s", why);
	free(why);
	return rc ? EXIT_FAILED : EXIT_FINE;
}

static const struct token *find_name(const struct token_file *f, const char *name)
{
	for (size_t i = 0; i < tokens_count(f->tokens); i++) {
		if (!strcmp(tokens_at(f->tokens, i)->name, name))
			return tokens_at(f->tokens, i);
	}
	return NULL;
}

/* ---- token add ------------------------------------------------------------------------------------------------ */

static int append(struct token_file *f, const struct token *t)
{
	struct buf b = {0};
	buf_put(&b, f->text.data, f->text.len);
	if (b.len && b.data[b.len - 1] != '\n')
		buf_u8(&b, '\n');
	token_put(t, &b);
	int result = write_file(f, &b);
	buf_free(&b);
	return result;
}

/* The token where it shall go: before the file of hashes knows it, so that none is made that nobody has. */
static int hand_out(const char *token, const char *out)
{
	char *why = NULL;
	if (!out) {
		printf("%s\n", token);
		if (fflush(stdout)) {
			ctl_error("cannot write the output: %s", strerror(errno));
			return EXIT_FAILED;
		}
		return EXIT_FINE;
	}
	char *line = xasprintf("%s\n", token);
	int rc = secret_write(out, line, strlen(line), true, &why);
	explicit_bzero(line, strlen(line));
	free(line);
	if (rc)
		ctl_error("%s", why);
	free(why);
	return rc ? EXIT_FAILED : EXIT_FINE;
}

static int add(struct token_file *f, const char *name, enum token_role role, const char *out)
{
	struct token t = {.role = role};
	char text[TOKEN_TEXT_BYTES];
	if (find_name(f, name)) {
		ctl_error("a token is called %s already: `weirctl token remove %s` first, or take another name", name, name);
		return EXIT_FAILED;
	}
	if (tokens_count(f->tokens) == TOKENS_MAX) {
		ctl_error("%s has %d tokens already", f->path, TOKENS_MAX);
		return EXIT_FAILED;
	}
	snprintf(t.name, sizeof(t.name), "%s", name);
	token_make(text, t.hash);
	int result = hand_out(text, out);
	explicit_bzero(text, sizeof(text));
	if (!result)
		result = append(f, &t);
	if (!result)
		fprintf(stderr, "weirctl: %s is now known in %s; give that file to every daemon's machine. %s\n", name, f->path,
		    out ? "" : "The token is not kept: it cannot be shown again.");
	return result;
}

static int run_add(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	const char *name = args->words[0], *role_text = args_get(args, "role");
	enum token_role role;
	struct token_file f;
	if (token_name_check(name))
		return ctl_bad_use(&command_token_add, "`%s` is no name: letters, digits, _ . - (%d at most)", name, TOKEN_NAME_MAX);
	if (!role_text)
		return ctl_bad_use(&command_token_add, "--role read, write or admin is missing");
	if (token_role_parse(role_text, &role))
		return ctl_bad_use(&command_token_add, "--role: `%s` is not read, write or admin", role_text);
	int result = open_file(&command_token_add, args, &f);
	if (!result)
		result = add(&f, name, role, args_get(args, "out"));
	close_file(&f);
	return result;
}

/* ---- token list ----------------------------------------------------------------------------------------------- */

static void list_json(const struct tokens *t, struct buf *out)
{
	json_t *list = json_array();
	for (size_t i = 0; i < tokens_count(t); i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", tokens_at(t, i)->name, "role",
		    token_role_text(tokens_at(t, i)->role)));
	char *text = json_dumps(list, JSON_INDENT(2));
	buf_printf(out, "%s\n", text);
	free(text);
	json_decref(list);
}

static int run_list(struct ctl *ctl, const struct args *args)
{
	struct token_file f;
	int result = open_file(&command_token_list, args, &f);
	if (!result) {
		struct buf out = {0};
		if (ctl->format == FORMAT_JSON) {
			list_json(f.tokens, &out);
		} else {
			bool csv = ctl->format == FORMAT_CSV;
			buf_printf(&out, csv ? "name,role\n" : "%-24s  %s\n", "NAME", "ROLE");
			for (size_t i = 0; i < tokens_count(f.tokens); i++)
				buf_printf(&out, csv ? "%s,%s\n" : "%-24s  %s\n", tokens_at(f.tokens, i)->name,
				    token_role_text(tokens_at(f.tokens, i)->role));
		}
		ctl_print(&out);
		buf_free(&out);
	}
	close_file(&f);
	return result;
}

/* ---- token remove --------------------------------------------------------------------------------------------- */

static bool is_line_of(const char *line, size_t len, const char *name)
{
	size_t at = 0, n = strlen(name);
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	return len - at > n && !memcmp(line + at, name, n) && (line[at + n] == ' ' || line[at + n] == '\t');
}

/* All lines but the one of that name, comments too. */
static void copy_others(const struct buf *text, const char *name, struct buf *out)
{
	const char *p = (const char *)text->data, *end = p + text->len;
	while (p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t len = stop ? (size_t)(stop + 1 - p) : (size_t)(end - p);
		if (!is_line_of(p, len, name))
			buf_put(out, p, len);
		p += len;
	}
}

static int run_remove(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	const char *name = args->words[0];
	struct token_file f;
	int result = open_file(&command_token_remove, args, &f);
	if (!result && !find_name(&f, name)) {
		ctl_error("no token in %s is called %s: `weirctl token list` has them", f.path, name);
		result = EXIT_FAILED;
	} else if (!result) {
		struct buf rest = {0};
		copy_others(&f.text, name, &rest);
		result = write_file(&f, &rest);
		buf_free(&rest);
	}
	close_file(&f);
	return result;
}

#define OPTIONS(o) .options = (o), .option_count = sizeof(o) / sizeof((o)[0])

const struct command command_token_add = {
	.name = "token add", .words = "NAME", .summary = "make a token for HTTP, and print it once",
	.help = "The token goes to stdout (or into --out FILE); only its hash is kept, in DIR/tokens. Daemons take it from the next\n"
		"second on. Roles: read (status, queries, metrics), write (also: send readings), admin (also: change the cluster).\n\n"
		"  weirctl token add grafana --role read --config topology.yaml\n"
		"  weirctl token add anna --role admin --keys DIR --out ~/.weir.token\n"
		"  weirctl --token-file ~/.weir.token --ca-file ca.crt \\\n"
		"      --url https://cloud-1.example:8101 status\n",
	OPTIONS(add_options), .words_min = 1, .words_max = 1, .offline = true, .run = run_add};

const struct command command_token_list = {
	.name = "token list", .words = "", .summary = "the names and roles of all tokens",
	.help = "Never the tokens themselves: only their hashes are kept.\n\n"
		"  weirctl token list --config topology.yaml\n",
	OPTIONS(folder_options), .offline = true, .run = run_list};

const struct command command_token_remove = {
	.name = "token remove", .words = "NAME", .summary = "take a token back",
	.help = "Daemons refuse it from the next second on, and cut what it has open.\n\n"
		"  weirctl token remove grafana --config topology.yaml\n",
	OPTIONS(folder_options), .words_min = 1, .words_max = 1, .offline = true, .run = run_remove};
