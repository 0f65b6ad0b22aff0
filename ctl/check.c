/* check: a topology file, before anything is started with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/keys.h"
#include "common/topology.h"
#include "ctl/ctl.h"

static void print_json(const char *path, bool fine, struct buf *errors)
{
	json_t *problems = json_array();
	char *text = (char *)(uintptr_t)buf_cstr(errors);
	while (*text) {
		size_t len = strcspn(text, "\n");
		json_array_append_new(problems, json_stringn(text, len));
		text += len + (text[len] != 0);
	}
	json_t *all = json_pack("{s:s, s:b, s:o}", "file", path, "fine", fine, "problems", problems);
	char *dump = json_dumps(all, JSON_INDENT(2));
	printf("%s\n", dump ? dump : "{}");
	free(dump);
	json_decref(all);
}

/* The keys that the daemon of this name would start with, here. */
static bool check_node(const struct topology *t, const char *node)
{
	char *why = NULL;
	if (topology_cloud(t, node) < 0 && topology_edge(t, node) < 0)
		why = xasprintf("%s has no node or edge called `%s`", t->path, node);
	else
		keys_check(t->keys_dir, node, &why);
	if (why)
		ctl_error("%s", why);
	free(why);
	return !why;
}

static const struct arg_option options[] = {
	{"node", 0, "NAME", false, "also the key files that this node or edge would start with on this machine"}};

static int run_check(struct ctl *ctl, const struct args *args)
{
	const char *path = args->words[0];
	const char *node = args_get(args, "node");
	struct topology *t = NULL;
	struct buf errors = {0};
	bool fine = !topology_load(path, &t, &errors);
	if (ctl->format == FORMAT_JSON)
		print_json(path, fine, &errors);
	else if (fine)
		printf("%s: fine: %zu cloud nodes, %zu edges, %zu streams\n", path, t->cloud_count, t->edge_count,
		    t->stream_count);
	else
		fprintf(stderr, "%s", buf_cstr(&errors));
	if (fine && t->replicas > t->cloud_count)
		fprintf(stderr, "note: %u replicas need as many cloud nodes; there are %zu: each holds one of every shard\n", t->replicas,
		    t->cloud_count);
	if (fine && node && !check_node(t, node))
		fine = false;
	topology_free(t);
	buf_free(&errors);
	return fine ? EXIT_FINE : EXIT_USE;
}

const struct command command_check = {
	.name = "check", .words = "FILE", .summary = "check a topology file; needs no cluster",
	.help = "Prints each problem as FILE:LINE:COLUMN: KEY: message and exits 2, or says that the file is fine.\n\n"
		"  weirctl check topology.yaml\n"
		"  weirctl check --node edge-1 topology.yaml\n",
	.options = options, .option_count = 1,
	.words_min = 1, .words_max = 1, .offline = true, .run = run_check};
