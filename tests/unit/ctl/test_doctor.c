/* What `weirctl doctor` makes of answers: each thing that can be wrong is named, with what to do; a healthy cluster is not. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/doctor.h"
#include "ctl/prom.h"

static struct doctor_look l, before;
static struct findings f;

#define REPLICA(node, role, digest, lag)                                                                                \
	"{\"node\": \"" node "\", \"role\": \"" role "\", \"digest\": \"" digest "\", \"digest_index\": 7, \"lag\": " lag "}"
#define GROUP_OF(leader, quorum, settled, a, b, c)                                                                       \
	"\"leader\": " leader ", \"term\": 2, \"quorum\": " quorum ", \"settled\": " settled ", \"replicas\": [" a "," b "," c "]"
#define FINE_REPLICAS REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "follower", "aa", "0"), REPLICA("cloud-3", "follower", "aa", "0")
#define GROUP(leader, quorum, settled, ...) GROUP_(leader, quorum, settled, __VA_ARGS__)
#define GROUP_(leader, quorum, settled, a, b, c) GROUP_OF(leader, quorum, settled, a, b, c)
#define FINE_GROUP GROUP("\"cloud-1\"", "true", "true", FINE_REPLICAS)
#define CLUSTER_NODE(name, state, membership)                                                                            \
	"{\"name\": \"" name "\", \"state\": \"" state "\", \"membership\": \"" membership "\", \"http\": \"127.0.0.1:1\"}"
#define CLUSTER(nodes, meta, shard) "{\"map_version\": 3, \"nodes\": [" nodes "], \"meta\": {" meta "}, \"shards\": [{\"shard\": 0, " shard "}]}"
#define FINE_NODES                                                                                                       \
	CLUSTER_NODE("cloud-1", "up", "member") "," CLUSTER_NODE("cloud-2", "up", "member") "," CLUSTER_NODE("cloud-3", "up", "member")
#define FINE_CLUSTER CLUSTER(FINE_NODES, FINE_GROUP, FINE_GROUP)
#define EDGE(name, state, more) "{\"name\": \"" name "\", \"state\": \"" state "\", \"accepted\": 1000, \"heard_ms_ago\": 5000, \"map_version\": 3" more "}"
#define EDGES(edges) "{\"edges\": [" edges "]}"
#define FINE_EDGES EDGES(EDGE("edge-1", "live", ", \"refused\": {}, \"clock_suspect\": false, \"fenced\": false, \"cutover_waits\": []"))
#define STREAM(more) "{\"streams\": [{\"name\": \"s\", \"phase\": \"current\", \"received\": 500, \"dropped\": {\"invalid\": 0}" more "}]}"
#define FINE_METRICS                                                                                                     \
	"# HELP x y\nweir_cloud_build_info{version=\"1\"} 1\nweir_cloud_disk_full 0\nweir_cloud_disk_free_bytes{environment=\"log\"} 9e12\n" \
	"weir_cloud_disk_free_bytes{environment=\"state\"} 9e12\nweir_cloud_disk_used_bytes{environment=\"state\"} 1000\n"   \
	"weir_cloud_disk_size_bytes{environment=\"state\"} 100000\nweir_cloud_http_connections 1\nweir_cloud_http_connections_max 100\n"

static json_t *parse(const char *text)
{
	json_error_t e;
	json_t *json = json_loads(text, 0, &e);
	ck_assert_msg(json != NULL, "%s: %s", e.text, text);
	return json;
}

static void fill(struct doctor_look *to)
{
	static const char *const names[] = {"cloud-1", "cloud-2", "cloud-3"};
	to->node_count = 3;
	to->nodes = xcalloc(3, sizeof(*to->nodes));
	for (size_t i = 0; i < 3; i++)
		to->nodes[i] = (struct doctor_node){.name = xstrdup(names[i]), .http = xstrdup("127.0.0.1:1"),
		    .metrics = xstrdup(FINE_METRICS), .cluster = parse(FINE_CLUSTER)};
	to->cluster = parse(FINE_CLUSTER);
	to->edges = parse(FINE_EDGES);
	to->streams = parse(STREAM(""));
	to->now_s = 1000000;
}

static void setup(void)
{
	fill(&l);
	fill(&before);
}

static void teardown(void)
{
	doctor_look_clear(&l);
	doctor_look_clear(&before);
	findings_clear(&f);
}

static void set(json_t **to, const char *text)
{
	json_decref(*to);
	*to = parse(text);
}

static void add_metrics(struct doctor_node *n, const char *lines)
{
	char *all = xasprintf("%s%s", n->metrics, lines);
	free(n->metrics);
	n->metrics = all;
}

static void examine(bool with_before)
{
	findings_clear(&f);
	doctor_examine(with_before ? &before : NULL, &l, &f);
}

static const struct finding *find(const char *check)
{
	for (size_t i = 0; i < f.count; i++) {
		if (!strcmp(f.all[i].check, check))
			return &f.all[i];
	}
	return NULL;
}

/* Found, of this severity, about that, with a remedy; says: within its text, or NULL. */
static void expect(const char *check, enum finding_severity severity, const char *about, const char *says)
{
	const struct finding *x = find(check);
	ck_assert_msg(x != NULL, "%s is not found", check);
	ck_assert_msg(x->severity == severity, "%s: %d", check, x->severity);
	ck_assert_msg(strstr(x->about, about) != NULL, "%s: about %s", check, x->about);
	ck_assert_msg(!says || strstr(x->text, says) != NULL, "%s: %s", check, x->text);
	ck_assert_msg(*x->remedy, "%s has no remedy", check);
}

START_TEST(a_healthy_cluster_has_nothing_wrong)
{
	struct buf out = {0};
	examine(false);
	findings_put_text(&f, 3, &out);
	ck_assert_str_eq(buf_cstr(&out), "nothing wrong: 3 cloud nodes were asked\n");
	ck_assert(!findings_wrong(&f) && !findings_need_another_look(&f) && !f.count);
	buf_free(&out);
}
END_TEST

START_TEST(answers_without_anything_do_no_harm)
{
	static const char *const odd[] = {"{}", "[]", "{\"nodes\": 3, \"shards\": {}, \"edges\": [1, null, {}], \"streams\": [[], {\"dropped\": 4}]}"};
	for (size_t i = 0; i < 3; i++) {
		set(&l.cluster, odd[i]);
		set(&l.edges, odd[i]);
		set(&l.streams, odd[i]);
		set(&l.nodes[0].cluster, odd[i]);
		free(l.nodes[0].metrics);
		l.nodes[0].metrics = xstrdup(i ? "a{b=\"c} 1\n{} 2\nx 1 2\n" : "");
		examine(true);
	}
}
END_TEST

START_TEST(nodes_that_do_not_answer)
{
	set(&l.cluster, CLUSTER(CLUSTER_NODE("cloud-1", "up", "member") "," CLUSTER_NODE("cloud-2", "unreachable", "member") ","
	                        CLUSTER_NODE("cloud-3", "foreign", "member"), FINE_GROUP, FINE_GROUP));
	l.nodes[1].error = xstrdup("no answer: refused");
	examine(false);
	expect("node_unreachable", FINDING_WARNING, "cloud-2", "refused");
	expect("node_foreign", FINDING_CRITICAL, "cloud-3", NULL);
	ck_assert_int_eq(f.all[0].severity, FINDING_CRITICAL); /* first */
	ck_assert_ptr_null(find("node_link"));
	set(&l.cluster, FINE_CLUSTER);
	examine(false);
	expect("node_http", FINDING_WARNING, "cloud-2", "refused"); /* only from here */
}
END_TEST

START_TEST(nodes_that_lag_or_are_cut_off)
{
	set(&l.nodes[0].cluster, CLUSTER(CLUSTER_NODE("cloud-1", "up", "member") "," CLUSTER_NODE("cloud-2", "unreachable", "member") ","
	                                 CLUSTER_NODE("cloud-3", "up", "member"), FINE_GROUP, FINE_GROUP));
	set(&l.nodes[2].cluster, "{\"map_version\": 2}");
	l.nodes[1].not_ready = xstrdup("not_ready: replaying the log of shard 0");
	examine(false);
	expect("node_link", FINDING_WARNING, "cloud-1", "cloud-2");
	expect("node_map_old", FINDING_WARNING, "cloud-3", "version 2");
	expect("node_not_ready", FINDING_WARNING, "cloud-2", "not ready: replaying");
	ck_assert(findings_need_another_look(&f));
}
END_TEST

START_TEST(members_that_leave_or_are_given_up)
{
	set(&l.cluster, CLUSTER(CLUSTER_NODE("cloud-1", "up", "leaving") "," CLUSTER_NODE("cloud-2", "unreachable", "dead") ","
	                        CLUSTER_NODE("cloud-3", "up", "member"), FINE_GROUP, FINE_GROUP));
	l.nodes[1].error = xstrdup("x");
	examine(false);
	expect("node_leaving", FINDING_NOTE, "cloud-1", NULL);
	expect("node_unreachable", FINDING_WARNING, "cloud-2", "given up");
}
END_TEST

START_TEST(groups_without_leader_or_quorum)
{
	set(&l.cluster, CLUSTER(FINE_NODES, GROUP("null", "false", "false", FINE_REPLICAS), GROUP("\"cloud-1\"", "false", "true", FINE_REPLICAS)));
	examine(false);
	expect("group_stopped", FINDING_CRITICAL, "the meta group", "no leader");
	ck_assert_str_eq(f.all[1].about, "shard 0");
	ck_assert_ptr_nonnull(strstr(f.all[1].text, "no quorum"));
	ck_assert_ptr_null(find("group_unsettled"));
}
END_TEST

START_TEST(replicas_that_are_behind_rebuilt_or_move)
{
	set(&l.cluster, CLUSTER(FINE_NODES,
	    GROUP("\"cloud-1\"", "true", "false", REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "learner", "aa", "5000"),
	        REPLICA("cloud-3", "follower", "aa", "0")),
	    GROUP("\"cloud-1\"", "true", "false", FINE_REPLICAS)));
	examine(false);
	expect("replica_behind", FINDING_WARNING, "the meta group", "5000");
	expect("group_moving", FINDING_WARNING, "the meta group", NULL);
	expect("group_unsettled", FINDING_WARNING, "shard 0", NULL);
	set(&l.cluster, CLUSTER(FINE_NODES, FINE_GROUP,
	    GROUP("\"cloud-1\"", "true", "true", REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "forming", "", "null"),
	        REPLICA("cloud-3", "follower", "aa", "0"))));
	examine(false);
	expect("replica_rebuilt", FINDING_WARNING, "shard 0", NULL);
}
END_TEST

START_TEST(what_nobody_has_any_more_is_no_new_cluster)
{
	set(&l.cluster, CLUSTER(FINE_NODES, FINE_GROUP,
	    GROUP("null", "false", "false", REPLICA("cloud-1", "forming", "", "null"), REPLICA("cloud-2", "forming", "", "null"),
	        REPLICA("cloud-3", "forming", "", "null"))));
	examine(false);
	expect("group_stopped", FINDING_CRITICAL, "shard 0", "no leader");
	ck_assert_ptr_nonnull(strstr(find("group_stopped")->remedy, "with the data folders that they had"));
	json_object_set_new(l.cluster, "map_version", json_integer(0));
	examine(false);
	ck_assert_ptr_nonnull(strstr(find("group_stopped")->remedy, "a new cluster begins"));
}
END_TEST

START_TEST(states_that_differ)
{
	set(&l.cluster, CLUSTER(FINE_NODES, FINE_GROUP,
	    GROUP("\"cloud-1\"", "true", "true", REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "follower", "bb", "0"),
	        REPLICA("cloud-3", "follower", "aa", "0"))));
	examine(false);
	expect("divergent", FINDING_CRITICAL, "cloud-1, cloud-2", "shard 0");
	set(&l.cluster, FINE_CLUSTER);
	add_metrics(&l.nodes[2], "weir_cloud_digest_differs{group=\"1\",node=\"cloud-1\"} 1\n");
	examine(false);
	expect("divergent", FINDING_CRITICAL, "cloud-1, cloud-3", NULL);
}
END_TEST

#define KNOWS(node, role, committed, match)                                                                              \
	"{\"node\": \"" node "\", \"role\": \"" role "\", \"committed\": " committed ", \"match\": " match ", \"lag\": 0}"
#define KNOWN(leader, second, third)                                                                                     \
	CLUSTER(FINE_NODES, FINE_GROUP, GROUP("\"" leader "\"", "true", "true", KNOWS("cloud-1", "leader", "30", "null"), second, third))

/* A follower that was told of less than it had acknowledged seconds ago; what is under way is no such thing. */
START_TEST(replicas_that_forgot_what_they_acknowledged)
{
	set(&before.cluster, KNOWN("cloud-1", KNOWS("cloud-2", "follower", "20", "29"), KNOWS("cloud-3", "follower", "7", "16")));
	set(&l.cluster, KNOWN("cloud-1", KNOWS("cloud-2", "follower", "29", "30"), KNOWS("cloud-3", "follower", "7", "16")));
	examine(true);
	expect("replica_forgot", FINDING_CRITICAL, "cloud-3", "shard 0");
	set(&l.cluster, KNOWN("cloud-1", KNOWS("cloud-2", "follower", "29", "30"), KNOWS("cloud-3", "learner", "7", "16")));
	examine(true);
	ck_assert_ptr_null(find("replica_forgot")); /* it has another number by now */
	set(&l.cluster, KNOWN("cloud-2", KNOWS("cloud-2", "follower", "29", "30"), KNOWS("cloud-3", "follower", "7", "16")));
	examine(true);
	ck_assert_ptr_null(find("replica_forgot")); /* another leader says what it knows */
	set(&l.cluster, KNOWN("cloud-1", KNOWS("cloud-2", "follower", "29", "30"), "{\"node\": \"cloud-3\", \"role\": \"unreachable\", \"match\": 16}"));
	examine(true);
	ck_assert_ptr_null(find("replica_forgot"));
}
END_TEST

START_TEST(disks_that_are_full_or_damaged)
{
	add_metrics(&l.nodes[1], "weir_cloud_disk_full 1\nweir_cloud_passed_over_total 2\nweir_cloud_set_aside_total{environment=\"log\"} 1\n"
	                         "weir_cloud_damaged_states_total 3\nweir_cloud_log_unread_total 1\n");
	free(l.nodes[0].metrics);
	l.nodes[0].metrics = xstrdup("weir_cloud_disk_free_bytes{environment=\"log\"} 1000\nweir_cloud_disk_free_bytes{environment=\"state\"} 9e12\n"
	                             "weir_cloud_disk_used_bytes{environment=\"state\"} 95\nweir_cloud_disk_size_bytes{environment=\"state\"} 100\n");
	examine(false);
	expect("disk_full", FINDING_CRITICAL, "cloud-2", NULL);
	expect("passed_over", FINDING_CRITICAL, "cloud-2", "2 entries");
	expect("set_aside", FINDING_WARNING, "cloud-2", NULL);
	expect("damaged_state", FINDING_WARNING, "cloud-2", "3 times");
	expect("log_unread", FINDING_WARNING, "cloud-2", NULL);
	expect("disk_nearly_full", FINDING_WARNING, "cloud-1, log", "1000B");
	expect("environment_nearly_full", FINDING_WARNING, "cloud-1, state", NULL);
}
END_TEST

START_TEST(a_node_that_is_older_than_its_log)
{
	add_metrics(&l.nodes[1], "weir_cloud_outdated_entry_index{group=\"0\",kind=\"77\"} 12\nweir_cloud_outdated_entry_index{group=\"3\",kind=\"9\"} 5\n");
	examine(false);
	expect("outdated", FINDING_CRITICAL, "cloud-2", "the meta group (entry 12, kind 77), shard 2 (entry 5, kind 9)");
}
END_TEST

START_TEST(sinks_that_deliver_nothing)
{
	add_metrics(&l.nodes[0], "weir_cloud_sink_failing_seconds{sink=\"hook\",type=\"webhook\"} 12\n");
	examine(false);
	ck_assert_uint_eq(f.count, 0); /* receivers are restarted */
	add_metrics(&l.nodes[1], "weir_cloud_sink_failing_seconds{sink=\"hook\",type=\"webhook\"} 42\n");
	examine(false);
	expect("sink_failing", FINDING_WARNING, "cloud-2, sink hook", "nothing for 42 s");
	ck_assert_uint_eq(f.count, 1);
	add_metrics(&l.nodes[0], "weir_cloud_sink_failing_seconds{sink=\"out\",type=\"file\"} 400\n"
	                         "weir_cloud_sink_backlog_rows{sink=\"out\",type=\"file\"} 17\n"
	                         "weir_cloud_sink_backlog_alerts{sink=\"out\",type=\"file\"} 3\n");
	examine(false);
	expect("sink_failing", FINDING_CRITICAL, "cloud-1, sink out", "17 rows and 3 alerts wait");
}
END_TEST

static void asked_edge(size_t i, const char *name, const char *metrics, const char *error)
{
	if (!l.asked_edges)
		l.asked_edges = xcalloc(4, sizeof(*l.asked_edges));
	l.asked_edges[i] = (struct doctor_edge){.name = xstrdup(name), .metrics = metrics ? xstrdup(metrics) : NULL,
	    .error = error ? xstrdup(error) : NULL};
	l.asked_edge_count = i + 1;
}

#define UNREADABLE(name, value) "weir_edge_source_file_unreadable{source=\"" name "\"} " value "\n"
#define SOURCE_OPEN(name, value) "weir_edge_source_open{source=\"" name "\"} " value "\n"
#define MQTT(name, connected, refused)                                                                                   \
	"weir_edge_source_mqtt_connected{source=\"" name "\"} " connected "\nweir_edge_source_mqtt_failures_total{source=\"" name "\"} 7\n" \
	"weir_edge_source_mqtt_refused_subscriptions{source=\"" name "\"} " refused "\n"
#define SCRAPED(name, failed, all, up)                                                                                   \
	"weir_edge_source_scrapes_failed_total{source=\"" name "\"} " failed "\nweir_edge_source_scrape_targets{source=\"" name "\"} " all \
	"\nweir_edge_source_scrape_targets_up{source=\"" name "\"} " up "\n"
#define PROGRAM(name, running, failing)                                                                                  \
	"weir_edge_source_starts_total{source=\"" name "\"} 9\nweir_edge_source_failures_total{source=\"" name "\"} 4\n"        \
	"weir_edge_source_running{source=\"" name "\"} " running "\nweir_edge_source_failing{source=\"" name "\"} " failing "\n"

static void expect_source(const char *edge_metrics, const char *about, const char *says)
{
	free(l.asked_edges[1].metrics);
	l.asked_edges[1].metrics = xstrdup(edge_metrics);
	examine(false);
	ck_assert_msg(f.count == 1, "%zu: %s", f.count, edge_metrics);
	expect("source_failing", FINDING_WARNING, about, says);
	ck_assert(findings_need_another_look(&f)); /* brokers are restarted */
}

START_TEST(sources_that_cannot_read)
{
	asked_edge(0, "edge-1", SOURCE_OPEN("m", "1") MQTT("m", "1", "0") SCRAPED("p", "5", "2", "2") SCRAPED("young", "0", "1", "0")
	    PROGRAM("x", "1", "0") PROGRAM("y", "0", "0"), NULL);
	asked_edge(1, "edge-2", "", NULL);
	examine(false);
	ck_assert_uint_eq(f.count, 0);
	expect_source(SOURCE_OPEN("m", "1") SOURCE_OPEN("n", "1") MQTT("m", "0", "0") MQTT("n", "1", "0"), "edge-2, source m (mqtt)",
	    "no connection to its broker (7 ");
	expect_source(MQTT("old", "0", "0"), "edge-2, source old (mqtt)", NULL); /* an edge of an earlier build */
	expect_source(SOURCE_OPEN("m", "1") MQTT("m", "1", "2"), "edge-2, source m (mqtt)", "refuses 2 of its topic filters");
	expect_source(SCRAPED("p", "1", "3", "2"), "edge-2, source p (prometheus)", "1 of its 3 URLs");
	expect_source(PROGRAM("x", "0", "1"), "edge-2, source x (exec)", "4 of 9 times");
	expect_source(SOURCE_OPEN("t", "0") SOURCE_OPEN("u", "1"), "edge-2, source t", "could not be opened");
	expect_source(SOURCE_OPEN("m", "0") MQTT("m", "0", "0"), "edge-2, source m", "could not be opened"); /* once */
	expect_source(UNREADABLE("f", "1") UNREADABLE("g", "0"), "edge-2, source f (file)", "cannot be opened or read");
}
END_TEST

START_TEST(edges_that_cannot_be_asked_are_noted)
{
	asked_edge(0, "edge-1", SOURCE_OPEN("m", "1"), NULL);
	asked_edge(1, "edge-2", NULL, "no answer: refused");
	asked_edge(2, "edge-3", NULL, "another");
	examine(false);
	ck_assert_uint_eq(f.count, 1);
	expect("edge_http", FINDING_NOTE, "edge-2, edge-3", "no answer: refused");
	ck_assert(!findings_wrong(&f) && !findings_need_another_look(&f));
}
END_TEST

START_TEST(counters_warn_while_they_rise)
{
	const char *once = "weir_cloud_handshakes_refused_total{reason=\"unknown_key\"} 4\n"
	                   "weir_cloud_identity_refused_total{reason=\"other_name\"} 1\nweir_cloud_handshakes_refused_total{reason=\"protocol\"} 9\n";
	add_metrics(&l.nodes[0], once);
	examine(false);
	expect("key_refused", FINDING_NOTE, "cloud-1", "4 connections");
	expect("identity_refused", FINDING_NOTE, "cloud-1", NULL);
	ck_assert(findings_need_another_look(&f) && !findings_wrong(&f));
	examine(true); /* it was none before */
	expect("key_refused", FINDING_WARNING, "cloud-1", "more come");
	add_metrics(&before.nodes[0], once);
	examine(true);
	expect("key_refused", FINDING_NOTE, "cloud-1", "none just now");
	ck_assert(!findings_wrong(&f));
}
END_TEST

START_TEST(limits_and_certificates)
{
	free(l.nodes[0].metrics);
	l.nodes[0].metrics = xstrdup("weir_cloud_http_connections 95\nweir_cloud_http_connections_max 100\nweir_cloud_build_info{version=\"2\"} 1\n"
	                             "weir_cloud_http_certificate_expiry_timestamp_seconds 1086400\n");
	add_metrics(&l.nodes[1], "weir_cloud_http_certificate_expiry_timestamp_seconds 999999\n");
	examine(false);
	expect("http_full", FINDING_WARNING, "cloud-1", "95 of at most 100");
	expect("mixed_builds", FINDING_NOTE, "cloud-2", NULL);
	expect("certificate", FINDING_CRITICAL, "cloud-2", "expired");
	l.now_s = 900000;
	examine(false);
	expect("certificate", FINDING_WARNING, "cloud-1", "2 days");
}
END_TEST

START_TEST(edges_that_ail)
{
	set(&l.edges, EDGES(EDGE("f", "live", ", \"fenced\": true") "," EDGE("p", "partitioned", "") "," EDGE("b", "backpressured", ", \"spool_bytes\": 2048")
	    "," EDGE("c", "catching_up", "") "," EDGE("k", "live", ", \"clock_suspect\": true, \"clock_ahead_ms\": -3600000") ","
	    EDGE("r", "partitioned", ", \"revoked\": true, \"fenced\": true") ",{\"name\": \"o\", \"state\": \"live\", \"heard_ms_ago\": 1, \"map_version\": 2}"
	    ",{\"name\": \"u\", \"state\": \"joining\", \"heard_ms_ago\": null, \"map_version\": 0}"));
	examine(false);
	expect("edge_fenced", FINDING_WARNING, "f", NULL);
	ck_assert_str_eq(find("edge_fenced")->about, "f"); /* not r */
	expect("edge_partitioned", FINDING_WARNING, "p (heard 5 s ago)", NULL);
	ck_assert_ptr_null(strstr(find("edge_partitioned")->about, "r ("));
	expect("edge_backpressured", FINDING_WARNING, "b (2.0KiB)", NULL);
	expect("edge_catching_up", FINDING_NOTE, "c", NULL);
	expect("edge_clock", FINDING_WARNING, "k (-3600.0 s)", NULL);
	expect("edge_revoked", FINDING_NOTE, "r", NULL);
	expect("edge_map_old", FINDING_WARNING, "o (version 2)", NULL);
	expect("edge_unheard", FINDING_NOTE, "u", NULL);
	ck_assert_ptr_nonnull(strstr(find("edge_fenced")->remedy, "weirctl edge readmit"));
}
END_TEST

START_TEST(many_edges_make_one_finding)
{
	struct buf edges = {0};
	buf_printf(&edges, "{\"edges\": [");
	for (int i = 0; i < 20; i++)
		buf_printf(&edges, "%s{\"name\": \"e%d\", \"state\": \"partitioned\"}", i ? "," : "", i);
	buf_printf(&edges, "]}");
	set(&l.edges, buf_cstr(&edges));
	examine(false);
	ck_assert_uint_eq(f.count, 1);
	ck_assert_str_eq(f.all[0].about, "e0, e1, e2, e3, e4, e5, e6, e7 and 12 more");
	buf_free(&edges);
}
END_TEST

START_TEST(readings_lost_are_told_worst_first)
{
	set(&l.edges, EDGES(EDGE("e", "live", ", \"refused\": {\"too_many\": 1, \"bad_number\": 50}") "," EDGE("g", "live", ", \"refused\": {\"bad_number\": 60}")));
	set(&l.streams, "{\"streams\": [{\"name\": \"s\", \"received\": 1000, \"dropped\": {\"beyond_retain\": 5}}]}");
	examine(false);
	expect("readings_refused", FINDING_WARNING, "bad_number", "110 of 2111 readings (5.21 %) were refused by edges; most at g: 60");
	expect("readings_dropped", FINDING_NOTE, "beyond_retain", "5 of 1000");
	examine(true); /* a small share, but more come */
	expect("readings_dropped", FINDING_WARNING, "beyond_retain", "and more are");
	set(&before.streams, "{\"streams\": [{\"name\": \"s\", \"received\": 900, \"dropped\": {\"beyond_retain\": 5}}]}");
	examine(true);
	expect("readings_dropped", FINDING_NOTE, "beyond_retain", NULL);
}
END_TEST

START_TEST(streams_that_wait)
{
	set(&l.streams, "{\"streams\": [{\"name\": \"s\", \"phase\": \"pending\"}, {\"name\": \"t\", \"phase\": \"pending\", \"overflowed\": 3}]}");
	set(&l.edges, EDGES(EDGE("a", "live", ", \"cutover_waits\": [\"s\"]") "," EDGE("b", "partitioned", ", \"cutover_waits\": [\"s\", \"t\"]")));
	examine(false);
	expect("stream_pending", FINDING_WARNING, "s", "these edges feed it: a");
	ck_assert_ptr_null(strstr(find("stream_pending")->text, "a, b"));
	expect("stream_groups", FINDING_WARNING, "t", "3 readings");
}
END_TEST

START_TEST(what_passes_must_be_there_twice)
{
	struct findings first = {0};
	set(&before.cluster, CLUSTER(FINE_NODES, GROUP("null", "false", "false", FINE_REPLICAS), FINE_GROUP));
	doctor_examine(NULL, &before, &first);
	ck_assert_uint_eq(first.count, 1);
	set(&l.cluster, CLUSTER(FINE_NODES,
	    GROUP("\"cloud-1\"", "true", "true", REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "follower", "aa", "5000"),
	        REPLICA("cloud-3", "follower", "aa", "0")), FINE_GROUP));
	examine(true);
	expect("replica_behind", FINDING_WARNING, "the meta group", NULL);
	findings_keep_lasting(&f, &first);
	ck_assert_uint_eq(f.count, 0); /* another thing than before */
	doctor_examine(&l, &before, &f);
	findings_keep_lasting(&f, &first);
	ck_assert_uint_eq(f.count, 1);
	findings_clear(&first);
}
END_TEST

/* It is told in other words in each look; who goes by an exit code of 0 may take another one away. */
START_TEST(a_replica_that_comes_into_being_counts_in_each_look)
{
	static const struct {
		const char *role, *check;
	} stages[] = {{"forming", "replica_rebuilt"}, {"follower", "group_unsettled"}, {"learner", "group_moving"}};
	for (size_t i = 0; i < 3; i++) {
		struct findings first = {0};
		char text[1000];
		set(&before.cluster, CLUSTER(FINE_NODES, FINE_GROUP, FINE_GROUP));
		doctor_examine(NULL, &before, &first);
		snprintf(text, sizeof(text), CLUSTER(FINE_NODES, FINE_GROUP,
		    GROUP("\"cloud-1\"", "true", "%s", REPLICA("cloud-1", "leader", "aa", "0"), REPLICA("cloud-2", "follower", "aa", "0"),
		        REPLICA("cloud-3", "%s", "aa", "0"))), i ? "false" : "true", stages[i].role);
		set(&l.cluster, text);
		examine(true);
		findings_keep_lasting(&f, &first);
		expect(stages[i].check, FINDING_WARNING, "shard 0", NULL);
		ck_assert(findings_wrong(&f));
		findings_clear(&first);
	}
}
END_TEST

START_TEST(findings_are_for_people_and_programs)
{
	struct buf out = {0};
	free(l.nodes[0].not_ready);
	l.nodes[0].not_ready = xstrdup("bad\x1b[2J \"text\"");
	examine(false);
	findings_put_text(&f, 3, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "warning   cloud-1: not ready: bad?[2J \"text\"\n          -> "));
	json_t *json = findings_json(&f);
	ck_assert(json_is_false(json_object_get(json, "fine")));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(json, "findings"), 0), "check")), "node_not_ready");
	json_decref(json);
	for (int i = 0; i < FINDINGS_MAX + 5; i++)
		findings_add(&f, &(struct finding){FINDING_NOTE, .check = "x"}, "a", "", "b");
	ck_assert(f.count == FINDINGS_MAX && f.left_out == 6);
	buf_free(&out);
}
END_TEST

START_TEST(metrics_text_is_read)
{
	const char *text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"},\\\\\"} 2.5\na{x=\"2\"} 1e3 1234\nab 7\nbroken{x=\"1 3\nnovalue\nlast -1\nhalf 12";
	const char *at = text;
	struct prom_sample s;
	char value[8];
	ck_assert(prom_next(&at, &s) && prom_is(&s, "a") && s.value == 2.5);
	ck_assert(prom_label(&s, "y", value, sizeof(value)));
	ck_assert_str_eq(value, "q\"},\\");
	ck_assert(!prom_label(&s, "z", value, sizeof(value)) && !*value);
	ck_assert(prom_next(&at, &s) && prom_next(&at, &s) && prom_is(&s, "ab") && !prom_label(&s, "x", value, sizeof(value)));
	ck_assert(prom_next(&at, &s) && prom_is(&s, "last") && s.value == -1 && !prom_next(&at, &s));
	ck_assert_double_eq(prom_sum(text, "a", NULL, NULL), 1002.5);
	ck_assert_double_eq(prom_sum(text, "a", "x", "2"), 1000);
	ck_assert_double_eq(prom_sum(NULL, "a", NULL, NULL), 0);
	ck_assert(prom_has(text, "ab") && !prom_has(text, "b") && !prom_has(NULL, "a"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl/doctor");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_healthy_cluster_has_nothing_wrong);
	tcase_add_test(tc, answers_without_anything_do_no_harm);
	tcase_add_test(tc, nodes_that_do_not_answer);
	tcase_add_test(tc, nodes_that_lag_or_are_cut_off);
	tcase_add_test(tc, members_that_leave_or_are_given_up);
	tcase_add_test(tc, groups_without_leader_or_quorum);
	tcase_add_test(tc, replicas_that_are_behind_rebuilt_or_move);
	tcase_add_test(tc, what_nobody_has_any_more_is_no_new_cluster);
	tcase_add_test(tc, states_that_differ);
	tcase_add_test(tc, replicas_that_forgot_what_they_acknowledged);
	tcase_add_test(tc, disks_that_are_full_or_damaged);
	tcase_add_test(tc, a_node_that_is_older_than_its_log);
	tcase_add_test(tc, counters_warn_while_they_rise);
	tcase_add_test(tc, sinks_that_deliver_nothing);
	tcase_add_test(tc, sources_that_cannot_read);
	tcase_add_test(tc, edges_that_cannot_be_asked_are_noted);
	tcase_add_test(tc, limits_and_certificates);
	tcase_add_test(tc, edges_that_ail);
	tcase_add_test(tc, many_edges_make_one_finding);
	tcase_add_test(tc, readings_lost_are_told_worst_first);
	tcase_add_test(tc, streams_that_wait);
	tcase_add_test(tc, what_passes_must_be_there_twice);
	tcase_add_test(tc, a_replica_that_comes_into_being_counts_in_each_look);
	tcase_add_test(tc, findings_are_for_people_and_programs);
	tcase_add_test(tc, metrics_text_is_read);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
