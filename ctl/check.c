/* check: a topology file, before anything is started with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/http_auth.h"
#include "common/keys.h"
#include "common/topology.h"
#include "ctl/ctl.h"

#define FILES_MAX 10000

static json_t *json_of(const char *path, bool fine, struct buf *errors)
{
	json_t *problems = json_array();
	char *text = (char *)(uintptr_t)buf_cstr(errors);
	while (*text) {
		size_t len = strcspn(text, "\n");
		json_array_append_new(problems, json_stringn(text, len));
		text += len + (text[len] != 0);
	}
	return json_pack("{s:s, s:b, s:o}", "file", path, "fine", fine, "problems", problems);
}

static void print_json(const json_t *all)
{
	char *dump = json_dumps(all, JSON_INDENT(2));
	printf("%s\n", dump ? dump : "{}");
	free(dump);
}

/* The keys, and what HTTP needs, that the daemon of this name would start with, here. */
static bool check_node(const struct topology *t, const char *node)
{
	char *why = NULL;
	if (!ctl_knows(t, node))
		return false;
	int cloud = topology_cloud(t, node);
	const char *http = cloud >= 0 ? t->clouds[cloud].http : t->edges[topology_edge(t, node)].http;
	struct http_auth *auth = NULL;
	if (keys_check(t->keys_dir, node, &why) || (t->keys_dir && http && http_auth_open(t->keys_dir, node, &auth, &why)))
		ctl_error("%s", why);
	http_auth_close(auth);
	free(why);
	return !why;
}

/* For scripts that start the daemon that a machine's node needs: one word, or nothing but what is wrong. */
static int print_kind(const struct topology *t, const char *node)
{
	if (!ctl_knows(t, node))
		return EXIT_USE;
	printf("%s\n", topology_cloud(t, node) >= 0 ? "cloud" : "edge");
	return EXIT_FINE;
}

static int print_check(const struct topology *t, const char *node)
{
	printf("%s: fine: %zu cloud nodes, %zu edges, %zu streams, %zu sinks\n", t->path, t->cloud_count, t->edge_count, t->stream_count,
	    t->sink_count);
	if (t->replicas > t->cloud_count)
		fprintf(stderr, "note: %u replicas need as many cloud nodes; there are %zu: each holds one of every shard\n", t->replicas,
		    t->cloud_count);
	return node && !check_node(t, node) ? EXIT_USE : EXIT_FINE;
}

static const struct arg_option options[] = {
	{"node", 0, "NODE", false, "also the keys, certificate and tokens that this node or edge would start with on this machine (also: WEIR_NODE)"},
	{"kind", 0, NULL, false, "print only what the node is: cloud or edge"}};

/* told: where -o json is wanted, what is said of each file; else NULL. */
static int check_file(const char *path, const char *node, bool kind, json_t *told)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	bool fine = !topology_load(path, &t, &errors);
	int result = EXIT_USE;
	if (told)
		json_array_append_new(told, json_of(path, fine, &errors));
	if (fine && told)
		result = node && !check_node(t, node) ? EXIT_USE : EXIT_FINE;
	else if (fine)
		result = kind ? print_kind(t, node) : print_check(t, node);
	else if (!told)
		fprintf(stderr, "%s", buf_cstr(&errors));
	topology_free(t);
	buf_free(&errors);
	return result;
}

static int run_check(struct ctl *ctl, const struct args *args)
{
	const char *node = ctl_option(args, "node", "WEIR_NODE");
	bool kind = args_get(args, "kind") != NULL;
	if (kind && !node)
		return ctl_bad_use(&command_check, "--kind is of one node: --node NAME is missing (or WEIR_NODE)");
	const char *path = ctl_file(&command_check, args);
	if (!path)
		return EXIT_USE;
	json_t *told = ctl->format == FORMAT_JSON && !kind ? json_array() : NULL;
	int result = check_file(path, node, kind, told);
	for (size_t i = 1; i < args->word_count; i++) {
		if (check_file(args->words[i], node, kind, told))
			result = EXIT_USE;
	}
	if (told)
		print_json(json_array_size(told) == 1 ? json_array_get(told, 0) : told);
	json_decref(told);
	return result;
}

const struct command command_check = {
	.name = "check", .words = "[FILE]...", .summary = "check topology files; needs no cluster",
	.help = "Prints each problem as FILE:LINE:COLUMN: KEY: message and exits 2, or says that the file is fine. Without FILE: that of WEIR_CONFIG.\n"
		"Of several files each is checked by itself (with -o json: a list).\n"
		"What next: `weirctl apply FILE` where the cluster runs already, else its daemons.\n\n"
		"  weirctl check topology.yaml\n"
		"  weirctl check --node edge-1 topology.yaml\n"
		"  weirctl check --kind --node edge-1 topology.yaml    # prints `edge`\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 0, .words_max = FILES_MAX, .offline = true, .run = run_check};
