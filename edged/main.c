#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "common/err.h"
#include "common/http.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/topology.h"
#include "edged/edged.h"

#define EXIT_FINE 0
#define EXIT_FAILED 1
#define EXIT_USE 2
#define NAMES_SHOWN_MAX 20

static const char usage[] = "Usage: edged --config FILE --node NAME [--data DIR] [--log-level LEVEL]\n"
			    "       edged --config FILE [--node NAME] --check\n";

static const char help[] =
    "\n"
    "Runs one edge of a Weir cluster. It reads sensor readings (InfluxDB line protocol) from the sources that the\n"
    "topology lists for it, turns them into small mergeable partials by stream, group and time slice, keeps those in a\n"
    "spool on disk, and sends them to a cloud until they are acknowledged. It starts and works with no cloud reachable.\n"
    "\n"
    "  --config FILE      the topology of the whole cluster; every daemon gets the same file\n"
    "  --node NAME        which edge of the topology this is\n"
    "  --data DIR         where the spool is kept, instead of the edge's `data`\n"
    "  --log-level LEVEL  error, warn, info (default) or debug\n"
    "  --check            only check the configuration: prints each problem as FILE:LINE:COLUMN: KEY: message\n"
    "  --help, --version\n"
    "\n"
    "Signals: TERM and INT end it after a last checkpoint; HUP reads the configuration again and takes it up or, once the\n"
    "cluster's topology is gone by (`weirctl apply`), says what differs. Killing it at any moment is safe: it goes on from\n"
    "its last checkpoint, one a second (`tick`).\n"
    "Exit codes: 0 fine, 1 failed, 2 bad use or bad configuration. Logs go to stderr.\n"
    "\n"
    "The smallest topology:\n"
    "\n"
    "  version: 1\n"
    "  cluster: {name: plant, shards: 8}\n"
    "  cloud: [{name: cloud-1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: run/cloud-1}]\n"
    "  edges:\n"
    "    - name: edge-1\n"
    "      data: run/edge-1\n"
    "      http: \"127.0.0.1:8201\"\n"
    "      sources: [{type: tcp, listen: \"127.0.0.1:7201\"}]\n"
    "  streams:\n"
    "    - {name: speed, from: {measurement: traffic, field: speed}, by: [sensor], window: 1m, compute: [count, mean, p99]}\n"
    "\n"
    "Then:  edged --config topology.yaml --node edge-1 &\n"
    "       echo 'traffic,sensor=6005 speed=88.5' > /dev/tcp/127.0.0.1/7201\n"
    "       curl http://127.0.0.1:8201/metrics\n";

struct arguments {
	const char *config, *node, *data;
	bool check;
};

static int bad_use(const char *text, const char *what)
{
	fprintf(stderr, "edged: %s%s\n%sTry `edged --help`.\n", text, what, usage);
	return EXIT_USE;
}

/* -1: go on; else the exit code. */
static int read_arguments(int argc, char **argv, struct arguments *ret)
{
	enum { CONFIG = 256, NODE, DATA, LEVEL, CHECK, HELP, VERSION_ };
	static const struct option options[] = {{"config", required_argument, NULL, CONFIG}, {"node", required_argument, NULL, NODE},
	    {"data", required_argument, NULL, DATA}, {"log-level", required_argument, NULL, LEVEL},
	    {"check", no_argument, NULL, CHECK}, {"help", no_argument, NULL, HELP}, {"version", no_argument, NULL, VERSION_},
	    {NULL, 0, NULL, 0}};
	enum log_level level;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case CONFIG:
			ret->config = optarg;
			break;
		case NODE:
			ret->node = optarg;
			break;
		case DATA:
			ret->data = optarg;
			break;
		case LEVEL:
			if (log_level_parse(optarg, &level))
				return bad_use("--log-level must be error, warn, info or debug, not ", optarg);
			log_set_level(level);
			break;
		case CHECK:
			ret->check = true;
			break;
		case HELP:
			printf("%s%s", usage, help);
			return EXIT_FINE;
		case VERSION_:
			printf("edged (weir) %s\n", PACKAGE_VERSION);
			return EXIT_FINE;
		default: /* getopt has said what is wrong */
			fprintf(stderr, "%sTry `edged --help`.\n", usage);
			return EXIT_USE;
		}
	}
	if (optind < argc)
		return bad_use("this argument is not understood: ", argv[optind]);
	if (!ret->config)
		return bad_use("--config is missing", "");
	return -1;
}

static void print_edges(const struct topology *t)
{
	fprintf(stderr, "The edges of %s:", t->path);
	for (size_t i = 0; i < t->edge_count && i < NAMES_SHOWN_MAX; i++)
		fprintf(stderr, " %s", t->edges[i].name);
	fprintf(stderr, "%s\n", t->edge_count > NAMES_SHOWN_MAX ? " ..." : t->edge_count ? "" : " none");
}

/* The edge's number, or -1 after saying why. */
static int find_edge(const struct topology *t, const char *node)
{
	if (!node) {
		fprintf(stderr, "edged: --node is missing. ");
		print_edges(t);
		return -1;
	}
	int edge = topology_edge(t, node);
	if (edge >= 0)
		return edge;
	if (topology_cloud(t, node) >= 0) {
		fprintf(stderr, "edged: %s is a cloud node: start it with cloudd.\n", node);
		return -1;
	}
	fprintf(stderr, "edged: no edge is called %s. ", node);
	print_edges(t);
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
	printf("%s: fine: %zu cloud nodes, %zu edges, %zu streams\n", t->path, t->cloud_count, t->edge_count, t->stream_count);
	return EXIT_FINE;
}

static int run(const struct topology *t, const struct arguments *a)
{
	char *why = NULL;
	struct edged *e;
	int edge = find_edge(t, a->node);
	if (edge < 0)
		return EXIT_USE;
	struct edged_options o = {.topology = t, .edge = (uint32_t)edge, .data = a->data, .config = a->config};
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
	struct arguments a = {0};
	int code = read_arguments(argc, argv, &a);
	if (code >= 0)
		return code;
	struct topology *t = NULL;
	struct buf errors = {0};
	if (topology_load(a.config, &t, &errors)) {
		fputs(buf_cstr(&errors), stderr);
		buf_free(&errors);
		return EXIT_USE;
	}
	buf_free(&errors);
	code = a.check ? check(t, a.node) : run(t, &a);
	topology_free(t);
	return code;
}
