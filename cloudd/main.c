/* cloudd: the command line. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cloudd/cloudd.h"
#include "cloudd/options.h"
#include "cloudd/sinks.h"
#include "common/daemon_args.h"
#include "common/early_stop.h"
#include "common/err.h"
#include "common/http.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/topology.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The node's number, or -1 after saying why: at the level of an error, as the service manager's journal is looked through by that. */
static int find_node(const struct topology *t, const char *name)
{
	struct buf text = {0};
	int self = name ? topology_cloud(t, name) : -1;
	if (self >= 0)
		return self;
	bool is_edge = name && topology_edge(t, name) >= 0;
	if (!name)
		buf_printf(&text, "cloudd: --node is missing (or WEIR_NODE); %s has:", t->path);
	else if (is_edge)
		buf_printf(&text, "cloudd: %s is an edge: start it with edged.", name);
	else
		buf_printf(&text, "cloudd: %s has no cloud node \"%s\"; it has:", t->path, name);
	for (size_t i = 0; !is_edge && i < t->cloud_count; i++)
		buf_printf(&text, " %s", t->clouds[i].name);
	log_plain(LOG_LEVEL_ERROR, buf_cstr(&text));
	buf_free(&text);
	return -1;
}

/* Where this program is built without what a sink needs. That is of the clouds only: edges take any topology. */
static int check_sinks(const struct topology *t)
{
	int code = EXIT_FINE;
	for (size_t i = 0; i < t->sink_count; i++) {
		const struct sink_conf *s = &t->sinks[i];
		const char *why = sinks_missing(s->type);
		if (why)
			fprintf(stderr, "%s:%u:1: sinks[%zu].type: no sinks of type `%s`: %s\n", t->path, s->line, i, sink_type_text(s->type), why);
		if (why)
			code = EXIT_USAGE;
	}
	return code;
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

/* self: a node's number, or -1: the file alone. */
static int check(const struct topology *t, int self)
{
	int code = self < 0 ? EXIT_FINE : check_node(t, (uint32_t)self);
	if (code == EXIT_FINE)
		printf("%s: fine: %zu cloud nodes, %zu edges, %zu streams, %zu sinks\n", t->path, t->cloud_count, t->edge_count, t->stream_count,
		    t->sink_count);
	return code;
}

static void raise_descriptor_limit(void)
{
	struct rlimit r;
	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int failed(int rc, char *why)
{
	log_error("cloudd", "cannot start: %s", why ? why : err_text(rc));
	free(why);
	return rc == WEIR_EINVAL || rc == WEIR_ENOTFOUND ? EXIT_USAGE : EXIT_FAILED;
}

static int begin_alone(const struct cloudd_options *o)
{
	char *why = NULL;
	umask(0077);
	int rc = cloudd_begin_alone(o, &why);
	return rc ? failed(rc, why) : EXIT_FINE;
}

static int run(const struct cloudd_options *o)
{
	const struct topology *t = o->topology;
	const struct cloud_conf *conf = &t->clouds[o->self];
	struct cloudd *c;
	char *why = NULL;
	signal(SIGPIPE, SIG_IGN);
	early_stop();
	raise_descriptor_limit();
	umask(0077);
	log_info("cloudd", "cloudd %s starts; cluster=%s node=%s listen=%s http=%s data=%s", PACKAGE_VERSION, t->cluster,
	    conf->name, conf->listen, conf->http, o->data);
	for (;;) {
		int rc = cloudd_open(o, &c, &why);
		if (rc)
			return failed(rc, why);
		bool again = cloudd_run(c);
		if (again)
			early_stop();
		cloudd_close(c);
		if (!again)
			break;
		early_stop(); /* the loop that was closed has given them back */
		log_info("cloudd", "the cluster has a place for this node: starting again there; node=%s", conf->name);
	}
	log_info("cloudd", "stopped");
	return EXIT_FINE;
}

int main(int argc, char **argv)
{
	struct daemon_args args;
	int code = daemon_args_read(&cloudd_program, PACKAGE_VERSION, argc, argv, &args);
	if (code >= 0)
		return code;
	struct topology *t;
	struct buf errors = {0};
	if (topology_load(args.config, &t, &errors)) {
		log_plain(LOG_LEVEL_ERROR, buf_cstr(&errors));
		buf_free(&errors);
		return EXIT_USAGE;
	}
	buf_free(&errors);
	struct notify *notify = notify_open();
	int self = args.node || !args.check ? find_node(t, args.node) : 0;
	if (self < 0)
		code = EXIT_USAGE;
	else if (check_sinks(t))
		code = EXIT_USAGE;
	else if (args.check)
		code = check(t, args.node ? self : -1);
	else {
		struct cloudd_options o = {.topology = t, .self = (uint32_t)self,
		    .data = args.data ? args.data : t->clouds[self].data, .version = PACKAGE_VERSION, .notify = notify};
		code = args.begin_alone ? begin_alone(&o) : run(&o);
	}
	notify_close(notify);
	topology_free(t);
	return code;
}
