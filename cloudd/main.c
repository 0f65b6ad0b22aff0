/* cloudd: the command line. */
#include "config.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cloudd/cloudd.h"
#include "common/err.h"
#include "common/http.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/topology.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: cloudd --config FILE --node NAME [--data DIR]\n"
    "       cloudd --config FILE [--node NAME] --check\n"
    "\n"
    "Runs one cloud daemon of a Weir cluster: takes in what the edges send, keeps it, answers queries.\n"
    "\n"
    "  --config FILE      the cluster's topology.yaml, the same for every daemon\n"
    "  --node NAME        which of its `cloud` entries this daemon is\n"
    "  --data DIR         where it keeps its data (default: `data` of that entry)\n"
    "  --check            validate the configuration and exit: 0 fine, 2 not\n"
    "  --log-level LEVEL  error, warn, info (default) or debug\n"
    "  --help             this text\n"
    "  --version          the version\n"
    "\n"
    "SIGTERM and SIGINT stop it cleanly; SIGHUP makes the configuration file the cluster's topology, as\n"
    "`weirctl apply` does. Once the cluster is there, it goes by what was applied last, not by the file.\n";

struct arguments {
	const char *config, *node, *data;
	bool check;
};

static int bad_use(const char *message, const char *what)
{
	fprintf(stderr, "cloudd: %s%s; see cloudd --help\n", message, what);
	return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	enum { O_CONFIG = 256, O_NODE, O_DATA, O_CHECK, O_LOG_LEVEL, O_HELP, O_VERSION };
	static const struct option options[] = {{"config", required_argument, NULL, O_CONFIG},
	    {"node", required_argument, NULL, O_NODE}, {"data", required_argument, NULL, O_DATA},
	    {"check", no_argument, NULL, O_CHECK}, {"log-level", required_argument, NULL, O_LOG_LEVEL},
	    {"help", no_argument, NULL, O_HELP}, {"version", no_argument, NULL, O_VERSION}, {NULL, 0, NULL, 0}};
	enum log_level level;
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case O_CONFIG:
			ret->config = optarg;
			break;
		case O_NODE:
			ret->node = optarg;
			break;
		case O_DATA:
			ret->data = optarg;
			break;
		case O_CHECK:
			ret->check = true;
			break;
		case O_LOG_LEVEL:
			if (log_level_parse(optarg, &level))
				return bad_use("no such log level: ", optarg);
			log_set_level(level);
			break;
		case O_HELP:
			fputs(usage, stdout);
			return EXIT_FINE;
		case O_VERSION:
			printf("cloudd %s\n", PACKAGE_VERSION);
			return EXIT_FINE;
		default:
			return EXIT_USAGE; /* getopt has said why */
		}
	}
	if (optind < argc)
		return bad_use("unexpected argument: ", argv[optind]);
	if (!ret->config)
		return bad_use("--config is missing", "");
	if (ret->data && !*ret->data)
		return bad_use("--data is empty", "");
	if (!ret->node && !ret->check)
		return bad_use("--node is missing", "");
	return -1;
}

static int find_node(const struct topology *t, const char *name)
{
	int self = topology_cloud(t, name);
	if (self >= 0)
		return self;
	fprintf(stderr, "cloudd: %s has no cloud node \"%s\"; it has:", t->path, name);
	for (size_t i = 0; i < t->cloud_count; i++)
		fprintf(stderr, " %s", t->clouds[i].name);
	fprintf(stderr, "\n");
	return -1;
}

/* What the file alone cannot tell: whether this machine has what the node needs. */
static int check_node(const struct topology *t, uint32_t self)
{
	const struct cloud_conf *conf = &t->clouds[self];
	char *why = NULL;
	int rc = http_check(conf->http, t->keys_dir, conf->name, &why);
	if (rc)
		fprintf(stderr, "cloudd: %s: http: %s\n", conf->name, why);
	else if (keys_check(t->keys_dir, conf->name, &why)) {
		rc = WEIR_EINVAL;
		fprintf(stderr, "cloudd: %s\n", why);
	}
	free(why);
	return rc ? EXIT_USAGE : EXIT_FINE;
}

static void raise_descriptor_limit(void)
{
	struct rlimit r;
	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int run(const struct topology *t, uint32_t self, const char *data)
{
	const struct cloud_conf *conf = &t->clouds[self];
	struct cloudd_options o = {.topology = t,
	    .self = self,
	    .data = data ? data : conf->data,
	    .version = PACKAGE_VERSION};
	struct cloudd *c;
	char *why = NULL;
	signal(SIGPIPE, SIG_IGN);
	raise_descriptor_limit();
	umask(0077);
	log_info("cloudd", "cloudd %s starts; cluster=%s node=%s listen=%s http=%s data=%s", PACKAGE_VERSION, t->cluster,
	    conf->name, conf->listen, conf->http, o.data);
	bool again;
	do {
		int rc = cloudd_open(&o, &c, &why);
		if (rc) {
			log_error("cloudd", "cannot start: %s", why ? why : err_text(rc));
			free(why);
			return rc == WEIR_EINVAL || rc == WEIR_ENOTFOUND ? EXIT_USAGE : EXIT_FAILED;
		}
		again = cloudd_run(c);
		cloudd_close(c);
		if (again)
			log_info("cloudd", "the cluster has a place for this node: starting again there; node=%s", conf->name);
	} while (again);
	log_info("cloudd", "stopped");
	return EXIT_FINE;
}

int main(int argc, char **argv)
{
	struct arguments args = {0};
	int code = parse_arguments(argc, argv, &args);
	if (code >= 0)
		return code;
	struct topology *t;
	struct buf errors = {0};
	if (topology_load(args.config, &t, &errors)) {
		fputs(buf_cstr(&errors), stderr);
		buf_free(&errors);
		return EXIT_USAGE;
	}
	buf_free(&errors);
	int self = args.node ? find_node(t, args.node) : 0;
	if (self < 0)
		code = EXIT_USAGE;
	else if (args.check)
		code = args.node ? check_node(t, (uint32_t)self) : EXIT_FINE;
	else
		code = run(t, (uint32_t)self, args.data);
	topology_free(t);
	return code;
}
