#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "common/daemon_args.h"
#include "common/early_stop.h"
#include "common/err.h"
#include "common/http.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/topology.h"
#include "edged/edged.h"
#include "edged/keeper.h"
#include "edged/options.h"

#define EXIT_FINE 0
#define EXIT_FAILED 1
#define EXIT_USE 2
#define NAMES_SHOWN_MAX 20

/* At the level of an error, as the service manager's journal is looked through by that. */
static void tell(struct buf *text)
{
	log_plain(LOG_LEVEL_ERROR, buf_cstr(text));
	buf_free(text);
}

static void put_edges(const struct topology *t, struct buf *out)
{
	buf_printf(out, "The edges of %s:", t->path);
	for (size_t i = 0; i < t->edge_count && i < NAMES_SHOWN_MAX; i++)
		buf_printf(out, " %s", t->edges[i].name);
	buf_printf(out, "%s", t->edge_count > NAMES_SHOWN_MAX ? " ..." : t->edge_count ? "" : " none");
}

/* The edge's number, or -1 after saying why. */
static int find_edge(const struct topology *t, const char *node)
{
	struct buf text = {0};
	int edge = node ? topology_edge(t, node) : -1;
	if (edge >= 0)
		return edge;
	bool is_cloud = node && topology_cloud(t, node) >= 0;
	if (!node)
		buf_printf(&text, "edged: --node is missing (or WEIR_NODE). ");
	else if (is_cloud)
		buf_printf(&text, "edged: %s is a cloud node: start it with cloudd.", node);
	else
		buf_printf(&text, "edged: no edge is called %s. ", node);
	if (!is_cloud)
		put_edges(t, &text);
	tell(&text);
	return -1;
}

static int refuse(char *why)
{
	fprintf(stderr, "edged: %s\n", why);
	free(why);
	return EXIT_USE;
}

static int check(const struct topology *t, const char *node)
{
	char *why = NULL;
	int only = node ? find_edge(t, node) : -1;
	if (node && only < 0)
		return EXIT_USE;
	for (uint32_t i = 0; i < t->edge_count; i++) {
		if ((only < 0 || (uint32_t)only == i) && edged_check(t, i, &why))
			return refuse(why);
	}
	/* What the file alone cannot tell: whether this machine has what the edge needs. */
	const struct edge_conf *e = only < 0 ? NULL : &t->edges[only];
	if (e && e->http && http_check(e->http, t->keys_dir, e->name, &why))
		return refuse(why);
	if (node && keys_check(t->keys_dir, node, &why))
		return refuse(why);
	printf("%s: fine: %zu cloud nodes, %zu edges, %zu streams, %zu sinks\n", t->path, t->cloud_count, t->edge_count, t->stream_count,
	    t->sink_count);
	return EXIT_FINE;
}

static int run(const struct topology *t, const struct daemon_args *a, struct notify *notify)
{
	char *why = NULL;
	struct edged *e;
	int edge = find_edge(t, a->node);
	if (edge < 0)
		return EXIT_USE;
	struct edged_options o = {.topology = t, .edge = (uint32_t)edge, .data = a->data, .config = a->config, .allow_exec = a->allow_exec, .notify = notify};
	early_stop();
	int rc = edged_open(&o, &e, &why);
	if (rc) {
		log_error("edged", "cannot start: %s", why);
		free(why);
		return rc == WEIR_EINVAL || rc == WEIR_ENOTFOUND ? EXIT_USE : EXIT_FAILED;
	}
	rc = edged_run(e);
	edged_close(e);
	return rc ? EXIT_FAILED : EXIT_FINE;
}

int main(int argc, char **argv)
{
	struct daemon_args a;
	if (argc > 2 && !strcmp(argv[1], KEEPER_ARGUMENT))
		keeper_main(argc - 2, argv + 2);
	int code = daemon_args_read(&edged_program, PACKAGE_VERSION, argc, argv, &a);
	if (code >= 0)
		return code;
	struct topology *t = NULL;
	struct buf errors = {0};
	if (topology_load(a.config, &t, &errors)) {
		log_plain(LOG_LEVEL_ERROR, buf_cstr(&errors));
		buf_free(&errors);
		return EXIT_USE;
	}
	buf_free(&errors);
	struct notify *notify = notify_open();
	code = a.check ? check(t, a.node) : run(t, &a, notify);
	notify_close(notify);
	topology_free(t);
	return code;
}
