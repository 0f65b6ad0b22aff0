#include "ctl/doctor_ask.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"
#include "common/topology.h"
#include "ctl/cluster.h"
#include "ctl/http_client.h"
#include "ctl/prom.h"

#define EDGES_S 20       /* for all edges together: those that are left are not asked */
#define EDGE_SILENCE_S 3 /* one that says nothing for so long does not answer */

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

static void ask_node(struct ctl *ctl, const json_t *node, struct doctor_node *to)
{
	struct buf error = {0};
	long status;
	to->name = xstrdup(ctl_text(node, "name"));
	to->http = cluster_http_address(node);
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

/* ---- edges -------------------------------------------------------------------------------------------------------- */

/* NULL: the topology cannot be had, or is none for this build. */
static struct topology *topology_in_force(struct ctl *ctl, const struct doctor_look *l)
{
	char *why = NULL;
	json_t *answer = ask_any(ctl, l, "/api/v1/topology", &why);
	const char *text = ctl_text(answer, "text");
	struct topology *t = NULL;
	struct buf errors = {0};
	if (answer)
		topology_parse("topology", text, strlen(text), &t, &errors);
	buf_free(&errors);
	free(why);
	json_decref(answer);
	return t;
}

/* It is not known to be away already. */
static bool is_heard(const struct doctor_look *l, const char *name)
{
	size_t i;
	json_t *edge;
	json_array_foreach (ctl_array(l->edges, "edges"), i, edge) {
		if (!strcmp(ctl_text(edge, "name"), name))
			return json_is_integer(json_object_get(edge, "heard_ms_ago")) && strcmp(ctl_text(edge, "state"), "partitioned") != 0 &&
			    !json_is_true(json_object_get(edge, "revoked"));
	}
	return false;
}

/* What keeps an address from being asked for this edge; NULL: nothing. Edges of several machines may all have 127.0.0.1:8201: what
 * answers there may be any of them. */
static const char *no_address(const struct topology *t, size_t edge)
{
	const char *http = t->edges[edge].http;
	if (!strncmp(http, "0.0.0.0:", 8) || !strncmp(http, "[::]:", 5) || *http == '*' || *http == ':')
		return "its `http` names no host";
	for (size_t i = 0; i < t->edge_count; i++) {
		if (i != edge && t->edges[i].http && !strcmp(t->edges[i].http, http))
			return "another edge has the same `http`";
	}
	return NULL;
}

static void ask_edge(struct ctl *ctl, const char *address, const char *token, struct doctor_edge *to)
{
	struct buf error = {0};
	long status;
	struct http_client *http = http_client_other_as(ctl->http, address, token, &error);
	if (http) {
		http_client_set_silence(http, EDGE_SILENCE_S);
		to->metrics = ask(http, "/metrics", &status, &to->error);
	} else {
		to->error = xstrdup(buf_cstr(&error));
	}
	if (to->metrics && !prom_has(to->metrics, "weir_edge_epoch")) {
		free(to->metrics);
		to->metrics = NULL;
		to->error = xstrdup("what answers there is no edge");
	}
	http_client_free(http);
	buf_free(&error);
}

static void ask_edges(struct ctl *ctl, const char *token, struct doctor_look *l)
{
	struct topology *t = topology_in_force(ctl, l);
	time_t until = time(NULL) + EDGES_S;
	l->asked_edges = xcalloc(t ? t->edge_count + 1 : 1, sizeof(*l->asked_edges));
	for (size_t i = 0; t && i < t->edge_count && !*ctl->stop; i++) {
		const char *name = t->edges[i].name, *problem;
		if (!t->edges[i].http || !is_heard(l, name))
			continue;
		struct doctor_edge *to = &l->asked_edges[l->asked_edge_count++];
		to->name = xstrdup(name);
		problem = time(NULL) >= until ? "there was no time for it: others answer slowly" : no_address(t, i);
		if (problem)
			to->error = xstrdup(problem);
		else
			ask_edge(ctl, t->edges[i].http, token, to);
	}
	topology_free(t);
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

bool doctor_ask(struct ctl *ctl, const char *edge_token, struct doctor_look *l, char **ret_why)
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
	ask_edges(ctl, edge_token, l);
	return true;
}
