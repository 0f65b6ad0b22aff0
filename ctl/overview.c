/* status, nodes, edges, edge readmit, revoke and allow, streams: what the cluster is doing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "ctl/cluster.h"
#include "ctl/ctl.h"
#include "ctl/deliveries.h"
#include "ctl/http_client.h"

#define STATES_MAX 16        /* kinds of state counted in one line */

static const char *none(const struct ctl *ctl)
{
	return ctl->format == FORMAT_CSV ? "" : "-";
}

static void finish_table(struct table *t, struct buf *out)
{
	table_flush(t, out);
	table_free(t);
}

/* Counters by reason; text leaves out those that are zero. */
static void cell_counts(const struct ctl *ctl, struct table *t, const json_t *counts)
{
	json_t *shown = json_object();
	const char *reason;
	json_t *count;
	json_object_foreach((json_t *)(uintptr_t)counts, reason, count) {
		if (ctl->format == FORMAT_CSV || json_number_value(count) != 0)
			json_object_set(shown, reason, count);
	}
	ctl_cell(t, shown, 0, none(ctl));
	json_decref(shown);
}

/* ---- edges ------------------------------------------------------------------------------------------------ */

static const char *clock_text(const json_t *edge)
{
	if (json_is_true(json_object_get(edge, "clock_suspect")))
		return "suspect";
	return json_is_number(json_object_get(edge, "heard_ms_ago")) ? "fine" : "";
}

static void put_edges(const struct ctl *ctl, const json_t *edges, struct buf *out)
{
	struct table *t = table_new(ctl->format == FORMAT_CSV);
	static const char *const columns[] = {"edge", "state", "epoch", "spool", "accepted", "refused", "clock", "revoked"};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, ctl->format == FORMAT_CSV && i == 3 ? "spool_bytes" : columns[i], i >= 2 && i <= 4);
	size_t i;
	json_t *edge;
	json_array_foreach(ctl_array(edges, "edges"), i, edge) {
		table_cell(t, ctl_text(edge, "name"));
		table_cell(t, ctl_text(edge, "state"));
		ctl_cell(t, json_object_get(edge, "epoch"), 0, none(ctl));
		const json_t *spool = json_object_get(edge, "spool_bytes");
		if (ctl->format == FORMAT_CSV || !json_is_number(spool)) {
			ctl_cell(t, spool, 0, none(ctl));
		} else {
			struct buf b = {0};
			buf_put_size(&b, json_number_value(spool));
			table_cell(t, buf_cstr(&b));
			buf_free(&b);
		}
		ctl_cell(t, json_object_get(edge, "accepted"), 0, none(ctl));
		cell_counts(ctl, t, json_object_get(edge, "refused"));
		table_cell(t, clock_text(edge));
		table_cell(t, json_is_true(json_object_get(edge, "revoked")) ? "revoked" : none(ctl));
	}
	finish_table(t, out);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

/* How far a watermark is behind the wall clock: what "lag" means for readings that come in real time. */
static void cell_behind(struct table *t, const json_t *stream)
{
	int64_t watermark, now = clock_wall_ns();
	const char *text = ctl_text(stream, "watermark");
	char behind[TIME_TEXT_MAX] = "-";
	if (*text && !time_parse(text, now, &watermark))
		ctl_format_lag(now - watermark, behind);
	table_cell(t, behind);
}

static void put_streams(const struct ctl *ctl, const json_t *streams, struct buf *out)
{
	bool csv = ctl->format == FORMAT_CSV;
	struct table *t = table_new(csv);
	static const char *const columns[] = {"stream", "slice", "watermark", "final", "dropped", "version"};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		table_column(t, columns[i], false);
		if (i == 2 && !csv)
			table_column(t, "behind", true);
	}
	size_t i;
	json_t *stream;
	json_array_foreach(ctl_array(streams, "streams"), i, stream) {
		table_cell(t, ctl_text(stream, "name"));
		ctl_cell(t, json_object_get(stream, "slice"), 0, none(ctl));
		ctl_cell(t, json_object_get(stream, "watermark"), 0, none(ctl));
		if (!csv)
			cell_behind(t, stream);
		ctl_cell(t, json_object_get(stream, "final"), 0, none(ctl));
		cell_counts(ctl, t, json_object_get(stream, "dropped"));
		ctl_cell(t, json_object_get(stream, "version"), 0, none(ctl));
	}
	finish_table(t, out);
}

/* ---- status ----------------------------------------------------------------------------------------------- */

/* "2 live, 1 idle", in the order of first appearance. */
static void put_states(const json_t *array, struct buf *out)
{
	const char *states[STATES_MAX];
	size_t counts[STATES_MAX], kinds = 0, i;
	json_t *item;
	json_array_foreach(array, i, item) {
		const char *state = ctl_text(item, "state");
		size_t k = 0;
		while (k < kinds && strcmp(states[k], state))
			k++;
		if (k == STATES_MAX)
			continue;
		if (k == kinds) {
			states[kinds] = state;
			counts[kinds++] = 0;
		}
		counts[k]++;
	}
	for (size_t k = 0; k < kinds; k++)
		buf_printf(out, "%s%zu %s", k ? ", " : "", counts[k], states[k]);
}

/* What the server knows, or that it does not. */
struct status {
	bool ready;
	struct buf why; /* not ready */
	json_t *cluster, *edges, *streams; /* edges, streams: NULL where they are not known now */
	json_t *sinks, *alerts;            /* of alerts the first page; NULL: not known, or the node is of a version that has none */
};

/* Nothing where there are none: most clusters have none. */
static void put_alerts(const struct status *s, struct buf *out)
{
	const json_t *alerts = ctl_array(s->alerts, "alerts");
	if (!json_array_size(alerts))
		return;
	buf_printf(out, "alerts   %s%zu: ", *ctl_text(s->alerts, "next") ? "more than " : "", json_array_size(alerts));
	put_states(alerts, out);
	buf_printf(out, "; weirctl alerts\n");
}

/* Likewise. */
static void put_sinks(const struct status *s, struct buf *out)
{
	const json_t *sinks = ctl_array(s->sinks, "sinks");
	if (!json_array_size(sinks))
		return;
	buf_printf(out, "sinks    %zu: ", json_array_size(sinks));
	put_states(sinks, out);
	buf_u8(out, '\n');
}

static void put_status_text(const struct ctl *ctl, struct status *s, struct buf *out)
{
	const json_t *cluster = s->cluster, *edges = s->edges, *streams = s->streams;
	buf_printf(out, "cluster  %s, asked %s: %s%s\n", ctl_text(cluster, "id"), http_client_url(ctl->http),
	    s->ready ? "ready" : "NOT READY: ", s->ready ? "" : buf_cstr(&s->why));
	cluster_put_health(cluster, out);
	buf_printf(out, "nodes    %zu: ", json_array_size(ctl_array(cluster, "nodes")));
	put_states(ctl_array(cluster, "nodes"), out);
	buf_u8(out, '\n');
	cluster_put_shards(cluster, out);
	if (edges) {
		buf_printf(out, "edges    %zu: ", json_array_size(ctl_array(edges, "edges")));
		put_states(ctl_array(edges, "edges"), out);
		buf_u8(out, '\n');
	} else {
		buf_printf(out, "edges    not known now\n");
	}
	if (streams)
		buf_printf(out, "streams  %zu\n", json_array_size(ctl_array(streams, "streams")));
	else
		buf_printf(out, "streams  not known now\n");
	put_sinks(s, out);
	put_alerts(s, out);
	buf_u8(out, '\n');
	cluster_put_nodes(ctl, cluster, out);
	buf_u8(out, '\n');
	cluster_put_groups(ctl, cluster, out);
	if (edges) {
		put_edges(ctl, edges, out);
		buf_u8(out, '\n');
	}
	if (streams)
		put_streams(ctl, streams, out);
	if (json_array_size(ctl_array(s->sinks, "sinks"))) {
		buf_u8(out, '\n');
		deliveries_put(ctl, s->sinks, out);
	}
}

static void csv_rows(struct table *t, const char *kind, const json_t *array, const char *state_key)
{
	size_t i;
	json_t *item;
	json_array_foreach(array, i, item) {
		table_cell(t, kind);
		table_cell(t, ctl_text(item, "name"));
		table_cell(t, ctl_text(item, state_key));
	}
}

static void put_status_csv(const struct status *s, struct buf *out)
{
	const json_t *cluster = s->cluster;
	struct table *t = table_new(true);
	table_column(t, "kind", false);
	table_column(t, "name", false);
	table_column(t, "state", false);
	table_cell(t, "cluster");
	table_cell(t, ctl_text(cluster, "id"));
	table_cell(t, s->ready ? "ready" : "not_ready");
	csv_rows(t, "node", ctl_array(cluster, "nodes"), "state");
	size_t i;
	json_t *shard;
	json_array_foreach(ctl_array(cluster, "shards"), i, shard) {
		table_cell(t, "shard");
		ctl_cell(t, json_object_get(shard, "shard"), 0, "");
		table_cell(t, *ctl_text(shard, "leader") ? ctl_text(shard, "leader") : "no_leader");
	}
	csv_rows(t, "edge", ctl_array(s->edges, "edges"), "state");
	csv_rows(t, "stream", ctl_array(s->streams, "streams"), "watermark");
	csv_rows(t, "sink", ctl_array(s->sinks, "sinks"), "state");
	csv_rows(t, "alert", ctl_array(s->alerts, "alerts"), "state");
	finish_table(t, out);
}

static void put_status_json(const struct status *s, struct buf *out)
{
	json_t *all = json_pack("{s:b, s:O, s:O*, s:O*, s:O*, s:O*}", "ready", s->ready, "cluster", s->cluster, "edges",
	    ctl_array(s->edges, "edges"), "streams", ctl_array(s->streams, "streams"), "sinks", ctl_array(s->sinks, "sinks"), "alerts",
	    ctl_array(s->alerts, "alerts"));
	char *text = json_dumps(all, JSON_INDENT(2));
	buf_printf(out, "%s\n", text ? text : "{}");
	free(text);
	json_decref(all);
}

static int ask_ready(struct ctl *ctl, struct status *s)
{
	struct http_answer answer;
	struct buf why = {0};
	if (http_client_request(ctl->http, "GET", "/readyz", (struct bytes){0}, &answer, &why)) {
		ctl_error("%s", buf_cstr(&why));
		buf_free(&why);
		return EXIT_FAILED;
	}
	s->ready = answer.status == 200;
	if (!s->ready)
		ctl_put_api_error(answer.status, &answer.body, &s->why);
	buf_free(&answer.body);
	return EXIT_FINE;
}

/* Without a word where there is no answer: status is of more than that. */
static json_t *ask_quietly(struct ctl *ctl, const char *path)
{
	struct http_answer answer;
	struct buf why = {0};
	json_t *json = NULL;
	if (!http_client_request(ctl->http, "GET", path, (struct bytes){0}, &answer, &why)) {
		if (answer.status == 200)
			json = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
		buf_free(&answer.body);
	}
	buf_free(&why);
	return json;
}

static int run_status(struct ctl *ctl, const struct args *args)
{
	(void)args;
	struct buf out = {0};
	struct status s = {0};
	int result = ask_ready(ctl, &s);
	if (!result)
		result = ctl_get(ctl, "/api/v1/cluster", &s.cluster, NULL);
	if (result)
		goto done;
	/* Without a meta leader there is no list of edges: the rest is all the more worth knowing. */
	if (ctl_get(ctl, "/api/v1/edges", &s.edges, NULL))
		s.edges = NULL;
	if (ctl_get(ctl, "/api/v1/streams", &s.streams, NULL))
		s.streams = NULL;
	s.sinks = ask_quietly(ctl, "/api/v1/sinks");
	s.alerts = ask_quietly(ctl, "/api/v1/alerts");
	switch (ctl->format) {
	case FORMAT_TABLE:
		put_status_text(ctl, &s, &out);
		break;
	case FORMAT_JSON:
		put_status_json(&s, &out);
		break;
	case FORMAT_CSV:
		put_status_csv(&s, &out);
		break;
	}
	ctl_print(&out);
	result = s.ready && s.edges && s.streams ? EXIT_FINE : EXIT_FAILED;
done:
	json_decref(s.cluster);
	json_decref(s.edges);
	json_decref(s.streams);
	json_decref(s.sinks);
	json_decref(s.alerts);
	buf_free(&s.why);
	buf_free(&out);
	return result;
}

/* One path, shown as it came or by a table. */
static int show(struct ctl *ctl, const char *path, void (*put)(const struct ctl *, const json_t *, struct buf *))
{
	json_t *json;
	struct buf out = {0};
	int result = ctl_get(ctl, path, &json, &out);
	if (result)
		return result;
	if (ctl->format == FORMAT_JSON) {
		if (out.len && out.data[out.len - 1] != '\n')
			buf_u8(&out, '\n');
	} else {
		buf_clear(&out);
		put(ctl, json, &out);
	}
	ctl_print(&out);
	json_decref(json);
	buf_free(&out);
	return EXIT_FINE;
}

static int run_nodes(struct ctl *ctl, const struct args *args)
{
	(void)args;
	return show(ctl, "/api/v1/cluster", cluster_put_nodes);
}

static int run_edges(struct ctl *ctl, const struct args *args)
{
	(void)args;
	return show(ctl, "/api/v1/edges", put_edges);
}

static int run_streams(struct ctl *ctl, const struct args *args)
{
	(void)args;
	return show(ctl, "/api/v1/streams", put_streams);
}

/* What is asked for an edge by a POST, and what is said once it is done. */
struct edge_errand {
	const char *tail, *state; /* of the path; in CSV */
	const char *done;         /* follows the edge's name */
};

/* A readmission that was asked for before, and taken, says so: nothing is done twice. */
static void say_done(const struct ctl *ctl, const char *edge, const struct edge_errand *e, const struct buf *body)
{
	json_t *json = json_loadb((const char *)body->data, body->len, 0, NULL);
	const char *message = json_string_value(json_object_get(json, "message"));
	if (ctl->format == FORMAT_CSV)
		printf("edge,state\n%s,%s\n", edge, message ? "unchanged" : e->state);
	else
		printf("%s: %s\n", edge, message ? message : e->done);
	json_decref(json);
}

static int run_edge_errand(struct ctl *ctl, const struct args *args, const struct edge_errand *e)
{
	struct buf path = {0}, why = {0};
	struct http_answer answer;
	int result = EXIT_FAILED;
	buf_printf(&path, "/api/v1/edges/");
	http_put_encoded(&path, args->words[0]);
	buf_printf(&path, "/%s", e->tail);
	if (http_client_request(ctl->http, "POST", buf_cstr(&path), (struct bytes){0}, &answer, &why)) {
		ctl_error("%s", buf_cstr(&why));
		goto done;
	}
	if (answer.status != 200) {
		ctl_put_api_error(answer.status, &answer.body, &why);
		ctl_error("%s", buf_cstr(&why));
	} else {
		if (ctl->format == FORMAT_JSON)
			printf("%s\n", buf_cstr(&answer.body));
		else
			say_done(ctl, args->words[0], e, &answer.body);
		result = EXIT_FINE;
	}
	buf_free(&answer.body);
done:
	buf_free(&path);
	buf_free(&why);
	return result;
}

static int run_edge_readmit(struct ctl *ctl, const struct args *args)
{
	return run_edge_errand(ctl, args,
	    &(struct edge_errand){"readmit", "readmitting", "readmitting; it goes on at its next hello"});
}

static int run_edge_revoke(struct ctl *ctl, const struct args *args)
{
	return run_edge_errand(ctl, args, &(struct edge_errand){"revoke", "revoked",
	    "revoked; every node refuses it within a second. What it holds and measures waits in its spool until "
	    "`weirctl edge allow`"});
}

static int run_edge_allow(struct ctl *ctl, const struct args *args)
{
	return run_edge_errand(ctl, args, &(struct edge_errand){"allow", "allowed",
	    "allowed; it asks again every 10 s, and then delivers all that it kept"});
}

const struct command command_status = {
	.name = "status", .words = "", .summary = "nodes, shards, edges, streams and sinks at a glance",
	.help = "Shows whether the asked node is ready, what is wrong with the cluster and what to do, its nodes, its shards\n"
		"(all, or where there are many those with something wrong), the edges, how far each stream has come, and what sinks deliver. `lag` is\n"
		"how many committed entries a replica's state lacks, `quorum` whether a majority of a shard's replicas answers its\n"
		"leader: without it nothing is acknowledged. Exits 1 where the node is not ready.\n\n"
		"  weirctl status\n"
		"  weirctl --url cloud-1:8101,cloud-2:8101 status   # who answers first\n"
		"  weirctl status -o json | jq .cluster.nodes\n",
	.run = run_status};
const struct command command_nodes = {
	.name = "nodes", .words = "", .summary = "the cloud nodes, and what they hold and lead",
	.help = "`state` is how the asked node knows each, and whether it comes or goes; `replicas` are the shards that it holds, `leads` those\n"
		"of them that it leads; `lag` is how many committed entries its states lack, at most.\n\n"
		"  weirctl nodes\n"
		"  weirctl nodes -o json | jq .shards   # replicas, index, digest\n",
	.run = run_nodes};
const struct command command_edges = {
	.name = "edges", .words = "", .summary = "the edges: state, epoch, spool, readings accepted and refused",
	.help = "The state is joining, live, idle, backpressured, partitioned, catching up or fenced. A fenced edge sends\n"
		"nothing: see `weirctl edge readmit --help`. One that is revoked is refused by every node: see\n"
		"`weirctl edge revoke --help`.\n\n"
		"`spool` is what waits there for an acknowledgement; readings are counted one for each field. `weirctl doctor` says what to do\n"
		"about an edge that is not well.\n\n"
		"  weirctl edges\n"
		"  weirctl edges -o csv > edges.csv\n",
	.run = run_edges};
const struct command command_streams = {
	.name = "streams", .words = "", .summary = "the streams: watermark, final, what was dropped and why",
	.help = "Windows that end at or before `watermark` are closed; those at or before `final` will not change for want of\n"
		"an edge. `behind` is how far the watermark is behind the clock.\n\n"
		"  weirctl streams\n"
		"  weirctl streams -o json | jq -r '.streams[].name'\n",
	.run = run_streams};
const struct command command_edge_readmit = {
	.name = "edge readmit", .words = "EDGE", .summary = "take a fenced edge back, at the price of what it holds",
	.help = "An edge is fenced when its spool is an old copy (a restored backup), or when another machine has used its\n"
		"name since. Readmitting drops its unsent batches and open slices, counts them as dropped, and lets it go\n"
		"on after what the cloud has already.\n\n"
		"  weirctl edge readmit edge-1\n",
	.words_min = 1, .words_max = 1, .run = run_edge_readmit};
const struct command command_edge_revoke = {
	.name = "edge revoke", .words = "EDGE", .summary = "shut an edge out: a key that was stolen, a gateway that misbehaves",
	.help = "Within a second every node refuses all that comes from the edge, with whatever key, and also through other nodes.\n"
		"What was counted of it stays. What it holds and goes on measuring waits in its spool (at its disk limit it stops\n"
		"reading, as ever) until `weirctl edge allow EDGE`: then all of it is delivered, nothing twice. Meanwhile windows\n"
		"stay provisional and name it as missing: it counts as partitioned. If it is to be gone for good, take it out of\n"
		"the topology (`weirctl apply`): then windows become final without it. The revocation outlives that: should the\n"
		"name come back, it is refused until it is allowed. `weirctl edges` shows who is revoked.\n\n"
		"Where the key was stolen: revoke, make another (`weirctl keygen --rotate EDGE`, then `--retire EDGE`), allow.\n\n"
		"  weirctl edge revoke edge-1\n",
	.words_min = 1, .words_max = 1, .run = run_edge_revoke};
const struct command command_edge_allow = {
	.name = "edge allow", .words = "EDGE", .summary = "let an edge in again that was revoked",
	.help = "The edge notices at its next question, within 10 s or so, and delivers all that waited in its spool. An edge that\n"
		"left the topology while it was revoked can be taken off the list, too.\n\n"
		"  weirctl edge allow edge-1\n",
	.words_min = 1, .words_max = 1, .run = run_edge_allow};
