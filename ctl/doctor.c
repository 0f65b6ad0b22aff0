/* weirctl doctor: asks every cloud node that can be found, tells what is wrong and what to do. */
#include "ctl/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"

#define SILENCE_S 10 /* a node that says nothing for so long does not answer */

/* ---- asking ------------------------------------------------------------------------------------------------------- */

/* The body of an answer, the caller's to free; NULL with why (of an answer other than 200: what it says). *ret_status: 0 for none. */
static char *ask(struct http_client *http, const char *path, long *ret_status, char **ret_why)
{
	struct http_answer answer = {0};
	struct buf why = {0};
	char *body = NULL;
	*ret_status = 0;
	if (!http_client_request(http, "GET", path, (struct bytes){0}, &answer, &why)) {
		*ret_status = answer.status;
		if (answer.status == 200)
			body = xstrndup((const char *)answer.body.data, answer.body.len);
		else
			ctl_put_api_error(answer.status, &answer.body, &why);
		buf_free(&answer.body);
	}
	if (!body)
		*ret_why = xstrdup(buf_cstr(&why));
	buf_free(&why);
	return body;
}

static json_t *ask_json(struct http_client *http, const char *path, long *ret_status, char **ret_why)
{
	char *body = ask(http, path, ret_status, ret_why);
	json_t *json = body ? json_loads(body, 0, NULL) : NULL;
	if (body && !json)
		*ret_why = xasprintf("the answer to %s is not JSON", path);
	free(body);
	return json;
}

/* Bound to every interface: the host is that of `listen`. */
static char *address_of(const json_t *node)
{
	const char *http = ctl_text(node, "http"), *listen = strstr(ctl_text(node, "listen"), "://"), *port = strrchr(http, ':');
	bool any = !strncmp(http, "0.0.0.0:", 8) || !strncmp(http, "[::]:", 5) || !strncmp(http, "*:", 2);
	const char *end = listen ? strrchr(listen, ':') : NULL;
	if (any && port && end && end > listen + 3)
		return xasprintf("%.*s%s", (int)(end - listen - 3), listen + 3, port);
	return xstrdup(http);
}

static void ask_node(struct ctl *ctl, const json_t *node, struct doctor_node *to)
{
	struct buf error = {0};
	long status;
	to->name = xstrdup(ctl_text(node, "name"));
	to->http = address_of(node);
	struct http_client *http = *to->http ? http_client_other(ctl->http, to->http, &error) : NULL;
	if (!http) {
		to->error = xstrdup(error.len ? buf_cstr(&error) : "it has no http address");
	} else {
		char *ready = ask(http, "/readyz", &status, &to->not_ready), *why = NULL;
		if (!status) {
			to->error = to->not_ready;
			to->not_ready = NULL;
		} else {
			to->metrics = ask(http, "/metrics", &status, &why);
			if (!to->metrics)
				to->error = why;
			why = NULL;
			to->cluster = ask_json(http, "/api/v1/cluster", &status, &why);
			free(why);
		}
		free(ready);
	}
	http_client_free(http);
	buf_free(&error);
}

/* What all nodes answer alike, from the first that can. */
static json_t *ask_any(struct ctl *ctl, const struct doctor_look *l, const char *path, char **ret_why)
{
	long status;
	json_t *json = ask_json(ctl->http, path, &status, ret_why);
	for (size_t i = 0; !json && !status && i < l->node_count; i++) { /* who answers has asked the others */
		struct buf error = {0};
		char *why = NULL;
		struct http_client *http = l->nodes[i].error ? NULL : http_client_other(ctl->http, l->nodes[i].http, &error);
		json = http ? ask_json(http, path, &status, &why) : NULL;
		free(why);
		buf_free(&error);
		http_client_free(http);
	}
	if (json) {
		free(*ret_why);
		*ret_why = NULL;
	}
	return json;
}

/* False: no node answers; *ret_why. */
static bool look(struct ctl *ctl, struct doctor_look *l, char **ret_why)
{
	long status;
	size_t i;
	json_t *node;
	*l = (struct doctor_look){.now_s = time(NULL)};
	for (size_t tried = 0, urls = 1; !l->cluster && tried < urls; tried++) {
		free(*ret_why);
		*ret_why = NULL;
		l->cluster = ask_json(ctl->http, "/api/v1/cluster", &status, ret_why);
		urls = l->cluster ? urls : http_client_next(ctl->http); /* one that hangs is not the end */
	}
	if (!l->cluster)
		return false;
	const json_t *nodes = ctl_array(l->cluster, "nodes");
	l->nodes = xcalloc(json_array_size(nodes) + 1, sizeof(*l->nodes));
	json_array_foreach (nodes, i, node)
		ask_node(ctl, node, &l->nodes[l->node_count++]);
	l->edges = ask_any(ctl, l, "/api/v1/edges", &l->edges_error);
	l->streams = ask_any(ctl, l, "/api/v1/streams", &l->streams_error);
	return true;
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

static void print(const struct ctl *ctl, const struct findings *f, size_t nodes)
{
	struct buf b = {0};
	if (ctl->format == FORMAT_JSON) {
		json_t *json = findings_json(f);
		char *dump = json_dumps(json, JSON_INDENT(2));
		buf_printf(&b, "%s\n", dump ? dump : "{}");
		free(dump);
		json_decref(json);
	} else if (ctl->format == FORMAT_CSV) {
		findings_put_csv(f, &b);
	} else {
		findings_put_text(f, nodes, &b);
	}
	ctl_print(&b);
	buf_free(&b);
}

static size_t answered(const struct doctor_look *l)
{
	size_t n = 0;
	for (size_t i = 0; i < l->node_count; i++)
		n += !l->nodes[i].error;
	return n;
}

static void tell_silent(const char *why, struct findings *f)
{
	findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "no_answer"}, "cluster",
	    "look whether cloudd runs there, and whether --url, --token-file and --ca-file are right; --url takes several addresses",
	    "nothing could be asked: %s", why);
}

/* What passes by itself is only told when it is there twice, and counters are told with whether they rise. */
static void look_twice(struct ctl *ctl, struct doctor_look *first, struct findings *f, char **ret_why)
{
	struct doctor_look second;
	struct findings last = {0};
	time_t until = time(NULL) + DOCTOR_PASSING_S;
	while (time(NULL) < until && !*ctl->stop)
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	if (*ctl->stop)
		return;
	if (look(ctl, &second, ret_why)) {
		doctor_examine(first, &second, &last);
		findings_keep_lasting(&last, f);
	} else {
		tell_silent(*ret_why, &last);
	}
	findings_clear(f);
	*f = last;
	doctor_look_clear(first);
	*first = second;
}

static int run_doctor(struct ctl *ctl, const struct args *args)
{
	struct doctor_look l;
	struct findings f = {0};
	char *why = NULL;
	(void)args;
	http_client_set_silence(ctl->http, SILENCE_S);
	if (!look(ctl, &l, &why)) {
		tell_silent(why, &f);
	} else {
		doctor_examine(NULL, &l, &f);
		if (findings_need_another_look(&f))
			look_twice(ctl, &l, &f, &why);
	}
	print(ctl, &f, answered(&l));
	int result = findings_wrong(&f) ? EXIT_FAILED : EXIT_FINE;
	findings_clear(&f);
	doctor_look_clear(&l);
	free(why);
	return result;
}

const struct command command_doctor = {
	.name = "doctor", .words = "", .summary = "what is wrong, and what to do",
	.help = "Asks every cloud node of the cluster (the addresses come from the topology; --url says where to begin) how it is, and tells\n"
		"what is wrong, most severe first, each with what to do about it: nodes that do not answer, shards without a leader or a\n"
		"quorum, replicas behind, rebuilt or divergent, damaged data, full disks, edges that are fenced, cut off, behind or have a\n"
		"wrong clock, daemons that go by an older topology, streams whose next version waits, readings refused or dropped, keys and\n"
		"connections refused.\n\n"
		"  critical  something is not served, or not right\n"
		"  warning   it may come to that, or is so for some\n"
		"  note      worth knowing; nothing is wrong\n\n"
		"What passes by itself in seconds is looked at twice, and what is counted is told as a warning while it rises. Exit code: 0\n"
		"when nothing is wrong (notes or not), 1 when something is. It changes nothing.\n\n"
		"  weirctl doctor\n"
		"  weirctl doctor --url 10.0.0.1:8101,10.0.0.2:8101\n"
		"  weirctl doctor -o json | jq '.findings[] | select(.severity == \"critical\")'\n",
	.stoppable = true, .run = run_doctor};
