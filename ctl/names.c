/* names: those in a topology file, for scripts and for completions. */
#include <stdio.h>
#include <string.h>

#include "common/topology.h"
#include "ctl/ctl.h"

#define FILE_DEFAULT "/etc/weir/topology.yaml" /* where packages put it */

static void put_clouds(const struct topology *t, struct buf *out)
{
	for (size_t i = 0; i < t->cloud_count; i++)
		buf_printf(out, "%s\n", t->clouds[i].name);
}

static void put_edges(const struct topology *t, struct buf *out)
{
	for (size_t i = 0; i < t->edge_count; i++)
		buf_printf(out, "%s\n", t->edges[i].name);
}

static void put_nodes(const struct topology *t, struct buf *out)
{
	put_clouds(t, out);
	put_edges(t, out);
}

static void put_streams(const struct topology *t, struct buf *out)
{
	for (size_t i = 0; i < t->stream_count; i++)
		buf_printf(out, "%s\n", t->streams[i].name);
}

static void put_sinks(const struct topology *t, struct buf *out)
{
	for (size_t i = 0; i < t->sink_count; i++)
		buf_printf(out, "%s\n", t->sinks[i].name);
}

static const struct {
	const char *word;
	void (*put)(const struct topology *t, struct buf *out);
} kinds[] = {{"nodes", put_nodes}, {"clouds", put_clouds}, {"edges", put_edges}, {"streams", put_streams}, {"sinks", put_sinks}};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *file_of(const struct args *args)
{
	const char *file = args_or_variable(args->word_count > 1 ? args->words[1] : NULL, "WEIR_CONFIG");
	return file ? file : FILE_DEFAULT;
}

static int run_names(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	struct topology *t = NULL;
	struct buf out = {0};
	size_t kind = 0;
	while (kind < KINDS && strcmp(kinds[kind].word, args->words[0]))
		kind++;
	if (kind == KINDS)
		return ctl_bad_use(&command_names, "`%s` is none of nodes, clouds, edges, streams, sinks", args->words[0]);
	if (topology_load(file_of(args), &t, &out)) {
		fputs(buf_cstr(&out), stderr);
		buf_free(&out);
		return EXIT_USE;
	}
	kinds[kind].put(t, &out);
	ctl_print(&out);
	buf_free(&out);
	topology_free(t);
	return EXIT_FINE;
}

const struct command command_names = {
	.name = "names", .words = "nodes|clouds|edges|streams|sinks [FILE]", .summary = "names in a topology file; needs no cluster",
	.help = "One a line, in the file's order, for scripts; completions ask it, too. `nodes` are clouds and edges. Without FILE: that of\n"
		"WEIR_CONFIG, or else " FILE_DEFAULT ".\n\n"
		"  weirctl names edges topology.yaml\n"
		"  weirctl names streams | xargs -n 1 weirctl query\n",
	.words_min = 1, .words_max = 2, .offline = true, .run = run_names};
