/* healthy: whether the daemon of this machine works, for whoever starts it anew otherwise (a container's health check). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/kv.h"
#include "common/topology.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"

#define SILENCE_S 3        /* with HTTP_CONNECT_MS: asked and given up well within ten seconds */
#define BODY_SHOWN_MAX 200 /* bytes of an answer */

/* One line, whatever is in it. */
static int tell(bool healthy, const char *node, struct buf *said)
{
	while (said->len && said->data[said->len - 1] == '\n')
		said->len--;
	if (healthy)
		printf("%s: healthy: %s\n", node, buf_cstr(said));
	else
		ctl_error("%s: not healthy: %s", node, buf_cstr(said));
	return healthy ? EXIT_FINE : EXIT_FAILED;
}

/* Where a daemon that listens there is reached from its own machine; NULL: its port is any free one, or there is no address. */
static char *own_url(const char *http, bool keys)
{
	static const uint8_t any[4] = {0, 0, 0, 0};
	struct addr a;
	if (!http || addr_parse(http, &a) || !a.port)
		return NULL;
	if (!memcmp(a.ip, any, sizeof(any)))
		a.ip[0] = 127, a.ip[3] = 1;
	return xasprintf("%s://%u.%u.%u.%u:%u", keys ? "https" : "http", a.ip[0], a.ip[1], a.ip[2], a.ip[3], a.port);
}

/* No token is sent, and what is answered is no secret. A certificate that has expired, or is of an authority of the operator's own, is for
 * people to mend (weirctl doctor): that the daemon is started anew does not. */
static int ask_http(const char *node, const char *url, bool verbose)
{
	struct buf said = {0};
	struct http_answer answer;
	struct http_client *http = http_client_new(url, NULL, NULL, verbose, &said);
	bool healthy = false;
	if (http) {
		http_client_trust_any(http);
		http_client_set_silence(http, SILENCE_S);
	}
	if (http && !http_client_request(http, "GET", "/healthz", (struct bytes){NULL, 0}, &answer, &said)) {
		size_t shown = answer.body.len < BODY_SHOWN_MAX ? answer.body.len : BODY_SHOWN_MAX;
		healthy = answer.status == 200;
		buf_printf(&said, "%s/healthz: %ld ", url, answer.status);
		buf_put(&said, answer.body.data, shown);
		buf_free(&answer.body);
	}
	int result = tell(healthy, node, &said);
	http_client_free(http);
	buf_free(&said);
	return result;
}

/* Without an address there is only this: whether a process has the daemon's disk open. */
static int ask_disk(const char *node, const char *data, bool is_edge)
{
	char *path = xasprintf("%s/%s", data, is_edge ? "spool" : "state"), *why = NULL;
	struct buf said = {0};
	pid_t pid;
	int rc = kv_lmdb_holder(path, &pid, &why);
	if (rc)
		buf_printf(&said, "%s", why);
	else if (pid > 0)
		buf_printf(&said, "process %d has %s open", (int)pid, path);
	else
		buf_printf(&said, "a process has %s open", path);
	int result = tell(!rc, node, &said);
	buf_free(&said);
	free(path);
	free(why);
	return result;
}

static int ask(const struct topology *t, const char *node, const char *data, bool verbose)
{
	int cloud = topology_cloud(t, node), edge = topology_edge(t, node);
	if (!ctl_knows(t, node))
		return EXIT_USE;
	char *url = own_url(cloud >= 0 ? t->clouds[cloud].http : t->edges[edge].http, t->keys_dir != NULL);
	if (!data)
		data = cloud >= 0 ? t->clouds[cloud].data : t->edges[edge].data;
	int result = url ? ask_http(node, url, verbose) : ask_disk(node, data, cloud < 0);
	free(url);
	return result;
}

static int run_healthy(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	const char *node = ctl_option(args, "node", "WEIR_NODE"), *path = ctl_file(&command_healthy, args);
	struct topology *t = NULL;
	struct buf errors = {0};
	int result = EXIT_USE;
	if (!path)
		return EXIT_USE;
	if (!node)
		return ctl_bad_use(&command_healthy, "--node NAME is missing (or WEIR_NODE)");
	if (topology_load(path, &t, &errors))
		fputs(buf_cstr(&errors), stderr);
	else
		result = ask(t, node, ctl_option(args, "data", "WEIR_DATA"), args_get(args, "verbose") != NULL);
	topology_free(t);
	buf_free(&errors);
	return result;
}

static const struct arg_option options[] = {
	{"node", 0, "NODE", false, "which node or edge of the topology (also: WEIR_NODE)"},
	{"data", 0, "DIR", false, "its data folder, where it is not the topology's (also: WEIR_DATA)"}};

const struct command command_healthy = {
	.name = "healthy", .words = "[FILE]", .summary = "whether this machine's node works: exit code 0 or 1",
	.help = "For a container's health check: run it where the daemon runs. It asks the daemon's own `http` address for /healthz, without a token\n"
		"and whatever certificate is shown. An edge without `http`, or one whose port is 0, is healthy while a process has its spool open:\n"
		"that it hangs is not seen then. FILE, or WEIR_CONFIG, must say what the topology in force does. A node that lacks peers is healthy:\n"
		"/readyz, `weirctl status` and `weirctl doctor` tell of those.\n\n"
		"  weirctl healthy --node cloud-1 topology.yaml\n"
		"  WEIR_NODE=cloud-1 WEIR_CONFIG=topology.yaml weirctl healthy\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 0, .words_max = 1, .offline = true, .run = run_healthy};
