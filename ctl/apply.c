#include "ctl/apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/topology.h"
#include "ctl/http_client.h"

#define TOPOLOGY_PATH "/api/v1/topology"
#define WAIT_SECONDS 15

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(object, key));
	return v > 0 ? (uint64_t)v : 0;
}

int apply_fetch(struct ctl *ctl, uint64_t *ret_version, struct buf *ret_text)
{
	json_t *answer;
	if (ctl_get(ctl, TOPOLOGY_PATH, &answer, NULL))
		return EXIT_FAILED;
	const char *text = ctl_text(answer, "text");
	*ret_version = number(answer, "version");
	buf_put(ret_text, text, strlen(text));
	json_decref(answer);
	return 0;
}

/* ---- one request -------------------------------------------------------------------------------------------------- */

static void print_changes(const struct ctl *ctl, const json_t *answer)
{
	static const struct {
		const char *kind, *sign;
	} signs[] = {{"added", "+"}, {"removed", "-"}, {"changed", "~"}, {"refused", "!"}};
	size_t i;
	json_t *c;
	if (ctl->format == FORMAT_JSON)
		return;
	json_array_foreach (ctl_array(answer, "changes"), i, c) {
		const char *sign = "?";
		for (size_t k = 0; k < sizeof(signs) / sizeof(signs[0]); k++)
			sign = !strcmp(signs[k].kind, ctl_text(c, "kind")) ? signs[k].sign : sign;
		printf("%s %s %s: %s\n", sign, ctl_text(c, "what"), ctl_text(c, "name"), ctl_text(c, "text"));
	}
}

static void print_errors(const json_t *answer, long status, const struct buf *body)
{
	size_t i;
	json_t *line;
	fflush(stdout);
	json_array_foreach (ctl_array(answer, "errors"), i, line)
		fprintf(stderr, "%s\n", json_string_value(line) ? json_string_value(line) : "");
	struct buf why = {0};
	ctl_put_api_error(status, body, &why);
	ctl_error("%s", buf_cstr(&why));
	buf_free(&why);
}

/* *ret_answer: of a 200; printed otherwise. */
static int post(struct ctl *ctl, struct bytes text, const struct apply_how *how, bool dry_run, json_t **ret_answer)
{
	struct http_answer answer;
	struct buf path = {0}, why = {0};
	buf_printf(&path, TOPOLOGY_PATH "?dry_run=%d", dry_run);
	if (how->base)
		buf_printf(&path, "&base=%" PRIu64, how->base);
	int rc = http_client_request(ctl->http, "POST", buf_cstr(&path), text, &answer, &why);
	if (rc)
		ctl_error("%s", buf_cstr(&why));
	buf_free(&path);
	buf_free(&why);
	if (rc)
		return EXIT_FAILED;
	json_t *json = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
	bool fine = answer.status == 200 && json;
	if (!fine) {
		print_changes(ctl, json);
		print_errors(json, answer.status, &answer.body);
		json_decref(json);
	} else {
		*ret_answer = json;
	}
	buf_free(&answer.body);
	return fine ? 0 : EXIT_FAILED;
}

static bool confirmed(const struct apply_how *how)
{
	char line[16];
	if (how->yes)
		return true;
	if (!isatty(STDIN_FILENO)) {
		ctl_error("nothing is applied: there is nobody to ask; give --yes to apply it");
		return false;
	}
	printf("Apply? [y/N] ");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) && (*line == 'y' || *line == 'Y');
}

static int apply_looked_at(struct ctl *ctl, struct bytes text, const struct apply_how *how, uint64_t *ret_version)
{
	json_t *answer;
	if (!confirmed(how))
		return EXIT_FAILED;
	if (post(ctl, text, how, false, &answer))
		return EXIT_FAILED;
	*ret_version = number(answer, "version");
	if (ctl->format == FORMAT_JSON) {
		char *dump = json_dumps(answer, JSON_INDENT(2));
		printf("%s\n", dump ? dump : "{}");
		free(dump);
	} else {
		printf("applied: version %" PRIu64 "\n", *ret_version);
	}
	json_decref(answer);
	return EXIT_FINE;
}

int apply_text(struct ctl *ctl, struct bytes text, const struct apply_how *how, uint64_t *ret_version, bool *ret_changed)
{
	json_t *answer;
	struct apply_how bound = *how;
	if (post(ctl, text, how, true, &answer))
		return EXIT_FAILED;
	*ret_changed = json_array_size(ctl_array(answer, "changes")) > 0;
	*ret_version = number(answer, "version");
	bound.base = *ret_version; /* what was looked at is what is applied */
	print_changes(ctl, answer);
	if (ctl->format == FORMAT_JSON && (how->dry_run || !*ret_changed)) {
		char *dump = json_dumps(answer, JSON_INDENT(2));
		printf("%s\n", dump ? dump : "{}");
		free(dump);
	}
	json_decref(answer);
	if (!*ret_changed && ctl->format != FORMAT_JSON)
		printf("nothing changes: version %" PRIu64 " has it\n", *ret_version);
	if (!*ret_changed || how->dry_run)
		return EXIT_FINE;
	return apply_looked_at(ctl, text, &bound, ret_version);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

/* Edges that are heard, and of them those that go by the version. False: not known. */
static bool count_edges(struct ctl *ctl, uint64_t version, size_t *ret_heard, size_t *ret_there)
{
	struct http_answer answer;
	struct buf why = {0};
	int rc = http_client_request(ctl->http, "GET", "/api/v1/edges", (struct bytes){0}, &answer, &why);
	buf_free(&why);
	if (rc)
		return false;
	json_t *json = answer.status == 200 ? json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL) : NULL;
	size_t i;
	json_t *e;
	*ret_heard = *ret_there = 0;
	json_array_foreach (ctl_array(json, "edges"), i, e) {
		if (json_is_null(json_object_get(e, "heard_ms_ago")) || !strcmp(ctl_text(e, "state"), "partitioned"))
			continue;
		++*ret_heard;
		*ret_there += number(e, "map_version") >= version;
	}
	json_decref(json);
	buf_free(&answer.body);
	return json != NULL;
}

void apply_wait(struct ctl *ctl, uint64_t version, unsigned seconds)
{
	time_t until = time(NULL) + (time_t)seconds;
	size_t heard = 0, there = 0;
	bool known = false;
	while (!(ctl->stop && *ctl->stop)) {
		known = count_edges(ctl, version, &heard, &there);
		if ((known && there == heard) || time(NULL) >= until)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	}
	if (!known)
		fprintf(stderr, "weirctl: how many edges have it is not known yet: see `weirctl edges`\n");
	else if (there == heard)
		fprintf(stderr, "%zu of %zu edges have it\n", there, heard);
	else
		fprintf(stderr, "%zu of %zu edges have it; the others take it when they are heard again\n", there, heard);
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

static int read_file(const char *path, struct buf *out)
{
	char chunk[16384];
	FILE *f = strcmp(path, "-") ? fopen(path, "rbe") : stdin;
	if (!f)
		return -1;
	for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
		buf_put(out, chunk, n);
	int rc = ferror(f) ? -1 : 0;
	if (f != stdin)
		fclose(f);
	return rc;
}

static int run_apply(struct ctl *ctl, const struct args *args)
{
	const char *path = args->words[0];
	struct buf text = {0}, errors = {0};
	struct topology *t = NULL;
	struct apply_how how = {.yes = args_get(args, "yes"), .dry_run = args_get(args, "dry-run")};
	uint64_t version = 0;
	bool changed = false;
	int result = EXIT_USE;
	if (read_file(path, &text)) {
		ctl_error("%s cannot be read", path);
	} else if (topology_parse(path, text.data, text.len, &t, &errors)) {
		fprintf(stderr, "%s", buf_cstr(&errors));
	} else {
		result = apply_text(ctl, bytes_of(text.data, text.len), &how, &version, &changed);
		if (result == EXIT_FINE && changed && !how.dry_run && ctl->format == FORMAT_TABLE)
			apply_wait(ctl, version, WAIT_SECONDS);
	}
	topology_free(t);
	buf_free(&text);
	buf_free(&errors);
	return result;
}

static const struct arg_option apply_options[] = {
	{"yes", 'y', NULL, false, "apply without asking"},
	{"dry-run", 'n', NULL, false, "only show what would change"},
};
const struct command command_apply = {
	.name = "apply", .words = "FILE", .summary = "give a running cluster a new topology",
	.help = "Checks the file, shows what would change (+ added, - removed, ~ changed, ! cannot be changed), asks, and\n"
		"hands it to the cluster: every node and edge takes it within a second or two, those that are away when they\n"
		"are back. A stream whose steps, grouping, slices or functions change gets a new version beside the old one,\n"
		"which takes over at a boundary of both: no window is lost or counted twice. FILE - reads stdin.\n\n"
		"  weirctl apply topology.yaml\n"
		"  weirctl apply topology.yaml --dry-run\n"
		"  weirctl topology > topology.yaml   # the one in force\n",
	.options = apply_options, .option_count = sizeof(apply_options) / sizeof(apply_options[0]),
	.words_min = 1, .words_max = 1, .stoppable = true, .run = run_apply};

static int run_topology(struct ctl *ctl, const struct args *args)
{
	struct buf text = {0};
	uint64_t version;
	(void)args;
	int rc = apply_fetch(ctl, &version, &text);
	if (!rc && ctl->format == FORMAT_JSON) {
		json_t *all = json_pack("{s:I, s:s%}", "version", (json_int_t)version, "text", (const char *)text.data, text.len);
		char *dump = json_dumps(all, JSON_INDENT(2));
		printf("%s\n", dump ? dump : "{}");
		free(dump);
		json_decref(all);
	} else if (!rc) {
		ctl_print(&text);
	}
	buf_free(&text);
	return rc;
}

const struct command command_topology = {
	.name = "topology", .words = "", .summary = "the topology file that the cluster goes by",
	.help = "Prints it as it was applied, comments and all.\n\n  weirctl topology > topology.yaml\n",
	.run = run_topology};
