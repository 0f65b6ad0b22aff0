/* What `weirctl doctor` and `weirctl status` make of answers of clouds, of any shape: {"cluster", "edges", "streams": as the API answers,
 * "nodes": [{"name", "error", "not_ready", "metrics", "cluster"}], "before": the same, of an earlier look}. */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "ctl/cluster.h"
#include "ctl/doctor.h"
#include "tests/fuzz/fuzz.h"

#define NODES_MAX 8

static char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? xstrdup(text) : NULL;
}

static char *text_or(const json_t *object, const char *key, const char *none)
{
	char *text = text_of(object, key);
	return text ? text : xstrdup(none);
}

static void look(const json_t *json, struct doctor_look *ret)
{
	const json_t *nodes = json_object_get(json, "nodes");
	size_t count = json_array_size(nodes);
	*ret = (struct doctor_look){.now_s = 1800000000, .node_count = count < NODES_MAX ? count : NODES_MAX};
	ret->nodes = xcalloc(ret->node_count + 1, sizeof(*ret->nodes));
	for (size_t i = 0; i < ret->node_count; i++) {
		const json_t *n = json_array_get(nodes, i);
		ret->nodes[i] = (struct doctor_node){text_or(n, "name", "c"), text_or(n, "http", "127.0.0.1:1"), text_of(n, "error"),
		    text_of(n, "not_ready"), text_of(n, "metrics"), json_incref(json_object_get(n, "cluster"))};
	}
	ret->cluster = json_incref(json_object_get(json, "cluster"));
	ret->edges = json_incref(json_object_get(json, "edges"));
	ret->streams = json_incref(json_object_get(json, "streams"));
	ret->edges_error = ret->edges ? NULL : xstrdup("not asked");
	ret->streams_error = ret->streams ? NULL : xstrdup("not asked");
}

static void examine(const struct doctor_look *before, const struct doctor_look *now)
{
	struct findings f = {0}, again = {0};
	struct buf out = {0};
	doctor_examine(NULL, now, &f);
	doctor_examine(before, now, &again);
	findings_keep_lasting(&again, &f);
	findings_sort(&again);
	FUZZ_CHECK(again.count <= FINDINGS_MAX);
	findings_put_text(&again, now->node_count, &out);
	findings_put_csv(&again, &out);
	json_decref(findings_json(&again));
	findings_clear(&again);
	findings_clear(&f);
	buf_free(&out);
}

static void show(const json_t *cluster)
{
	struct buf out = {0};
	struct ctl ctl = {0};
	if (cluster) {
		cluster_put_nodes(&ctl, cluster, &out);
		cluster_put_groups(&ctl, cluster, &out);
		cluster_put_shards(cluster, &out);
		cluster_put_health(cluster, &out);
	}
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *json = json_loadb((const char *)data, len, 0, NULL);
	struct doctor_look before, now;
	if (!json)
		return 0;
	look(json_object_get(json, "before"), &before);
	look(json, &now);
	examine(&before, &now);
	show(now.cluster);
	doctor_look_clear(&before);
	doctor_look_clear(&now);
	json_decref(json);
	return 0;
}
