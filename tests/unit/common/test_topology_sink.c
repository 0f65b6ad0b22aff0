/* What topology.yaml may say of sinks. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/common/topology_lib.h"

#define HEAD(clouds) \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" clouds \
	"streams:\n" \
	"  - {name: speed, from: {measurement: m, field: f}, window: 10s}\n" \
	"  - {name: heat, from: {measurement: m, field: f}, window: 10s}\n" \
	"sinks:\n"
#define C1 "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n"
#define C2 "  - {name: c2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\"}\n"

START_TEST(a_sink_has_what_the_file_says_and_defaults)
{
	struct topology *t = good(HEAD(C1 C2) "  - {name: a, type: file, path: \"out/{node}.jsonl\"}\n"
	                                      "  - {name: b, type: file, path: \"/x/{node}.csv\", format: csv, state: final, streams: [heat], "
	                                      "max_size: 1MiB, max_age: 1h, keep: 3}\n");
	ck_assert_uint_eq(t->sink_count, 2);
	const struct sink_conf *a = &t->sinks[0], *b = &t->sinks[1];
	ck_assert_int_eq(a->type, SINK_FILE);
	ck_assert_str_eq(sink_type_text(a->type), "file");
	ck_assert_str_eq(a->file.path, "/etc/weir/out/{node}.jsonl");
	ck_assert(!a->file.csv && !a->only_final && sink_takes(a, "speed") && sink_takes(a, "whatever"));
	ck_assert_uint_eq(a->file.max_bytes, 64 * 1024 * 1024);
	ck_assert(a->file.max_age_ns == 24 * 3600 * NS_PER_SEC);
	ck_assert_uint_eq(a->file.keep, 7);
	ck_assert(b->file.csv && b->only_final && sink_takes(b, "heat") && !sink_takes(b, "speed"));
	ck_assert_uint_eq(b->file.max_bytes, 1024 * 1024);
	ck_assert_uint_eq(b->file.keep, 3);
	ck_assert_int_eq(topology_sink(t, "b"), 1);
	ck_assert_int_eq(topology_sink(t, "c"), -1);
	topology_free(t);
	t = good(HEAD(C1) "  - {name: a, type: file, path: plain.jsonl}\n"); /* one node: one file */
	topology_free(t);
}
END_TEST

START_TEST(what_is_wrong_is_told_with_its_place)
{
	refused(HEAD(C1) "  - {name: a, type: fil, path: x}\n", "sinks[0].type: no sink type `fil`; did you mean `file`?");
	refused(HEAD(C1) "  - {name: a, path: x}\n", "`type` is missing: file");
	refused(HEAD(C1) "  - {type: file, path: x}\n", "`name` is missing");
	refused(HEAD(C1) "  - {name: a, type: file}\n", "`path` is missing");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, state: open}\n", "expected closed or final");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, format: xml}\n", "expected json or csv");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, streams: []}\n", "nothing would be sent");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, streams: [sped]}\n", "no stream is called `sped`; did you mean `speed`?");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, streams: [heat, heat]}\n", "is listed twice");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, format: csv}\n", "csv has the columns of one stream");
	refused(HEAD(C1) "  - {name: a, type: file, path: \"x{stream}\"}\n", "a brace that is not of {node}");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, keep: 0}\n", "sinks[0].keep");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, max_size: 1}\n", "sinks[0].max_size");
	refused(HEAD(C1) "  - {name: a, type: file, path: x, colour: red}\n", "unknown key");
	refused(HEAD(C1) "  - {name: a, type: file, path: x}\n  - {name: a, type: file, path: y}\n",
	    "/etc/weir/t.yaml:10:12: sinks[1].name: `a` is the name of a sink already, on line 9");
	refused(HEAD(C1) "  - {name: a, type: file, path: x}\n  - {name: b, type: file, path: x}\n", "is a sink's file already");
	refused(HEAD(C1) "  - {name: a, type: file, path: x}\n  - {name: b, type: file, path: x.12}\n", "is what the other is renamed to when it is rotated");
	refused(HEAD(C1) "  - {name: a, type: file, path: x.1}\n  - {name: b, type: file, path: x}\n", "is what the other is renamed to when it is rotated");
	refused(HEAD(C1 C2) "  - {name: a, type: file, path: x}\n", "put {node} into the path");
}
END_TEST

START_TEST(a_webhook_is_told_where_to)
{
	struct topology *t = good(HEAD(C1) "  - {name: h, type: webhook, url: \"https://example.org/x?y=z\", headers_file: h, secret_file: /s, ca_file: ca.crt, "
	                                   "timeout: 2s, batch_rows: 7, batch_size: 8KiB}\n"
	                                   "  - {name: i, type: webhook, url_file: u}\n");
	const struct sink_conf *s = &t->sinks[0];
	ck_assert_int_eq(s->type, SINK_WEBHOOK);
	ck_assert_str_eq(s->webhook.url, "https://example.org/x?y=z");
	ck_assert_str_eq(s->webhook.headers_file, "/etc/weir/h");
	ck_assert_str_eq(s->webhook.secret_file, "/s");
	ck_assert(s->webhook.timeout_ns == 2 * NS_PER_SEC && s->webhook.batch_rows == 7 && s->webhook.batch_bytes == 8192);
	ck_assert_str_eq(t->sinks[1].webhook.url_file, "/etc/weir/u");
	ck_assert(t->sinks[1].webhook.timeout_ns == 10 * NS_PER_SEC && t->sinks[1].webhook.batch_rows == SINK_BATCH_ROWS);
	topology_free(t);
	refused(HEAD(C1) "  - {name: a, type: webhook}\n", "`url` is missing");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"http://x\", url_file: y}\n", "the address is given twice");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"x.org\"}\n", "expected http://HOST/");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"https://me:secret@x.org\"}\n", "secrets are in files");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"http://x.org\", headers_file: h}\n", "would travel unencrypted");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"http://x.org\", batch_rows: 501}\n", "batch_rows");
	refused(HEAD(C1) "  - {name: a, type: webhook, url: \"http://x.org\", path: x}\n", "unknown key");
}
END_TEST

START_TEST(an_mqtt_sink_is_told_where_to)
{
	struct topology *t = good(HEAD(C1) "  - {name: m, type: mqtt, broker: \"mqtts://example.org:8883\", version: 3.1.1, user: u, password_file: p, "
	                                   "tls: {ca_file: ca.crt}, keepalive: 30s, topic: \"plant/{group}/{stream}\", qos: 2, retained: true, "
	                                   "timeout: 3s}\n"
	                                   "  - {name: n, type: mqtt, broker: \"mqtt://127.0.0.1:1883\"}\n");
	const struct sink_conf *s = &t->sinks[0];
	ck_assert_int_eq(s->type, SINK_MQTT);
	ck_assert_str_eq(s->mqtt.broker.address, "mqtts://example.org:8883");
	struct addr_host host;
	bool tls;
	ck_assert(mqtt_broker_parse("mqtts://localhost:8883", &host, &tls) && tls && host.loopback);
	ck_assert_str_eq(host.host, "localhost"); /* what its certificate is to say */
	ck_assert(mqtt_broker_parse("mqtt://localhost:1883", &host, &tls) && !tls);
	ck_assert_str_eq(host.host, "127.0.0.1");
	ck_assert_str_eq(s->mqtt.broker.password_file, "/etc/weir/p");
	ck_assert_str_eq(s->mqtt.broker.ca_file, "/etc/weir/ca.crt");
	ck_assert_str_eq(s->mqtt.topic, "plant/{group}/{stream}");
	ck_assert(s->mqtt.broker.version == 3 && s->mqtt.qos == 2 && s->mqtt.retained && s->mqtt.timeout_ns == 3 * NS_PER_SEC);
	ck_assert(s->mqtt.broker.keepalive_ns == 30 * NS_PER_SEC);
	s = &t->sinks[1];
	ck_assert(s->mqtt.broker.version == 5 && s->mqtt.qos == 1 && !s->mqtt.retained && s->mqtt.timeout_ns == 10 * NS_PER_SEC && !s->mqtt.topic);
	topology_free(t);
#define MQTT(more) HEAD(C1) "  - {name: a, type: mqtt, broker: \"mqtt://b:1883\", " more "}\n"
	refused(HEAD(C1) "  - {name: a, type: mqtt}\n", "`broker` is missing");
	refused(HEAD(C1) "  - {name: a, type: mqtt, broker: \"b:1883\"}\n", "sinks[0].broker: `b:1883`: expected mqtt://HOST:PORT");
	refused(MQTT("qos: 3"), "sinks[0].qos");
	refused(MQTT("version: 4"), "expected 3.1.1 or 5");
	refused(MQTT("password_file: p"), "needs `user`");
	refused(MQTT("tls: {ca_file: x}"), "reached by mqtts://");
	refused(MQTT("topic: \"a/#\""), "+ and # are for those who subscribe");
	refused(MQTT("topic: weir"), "rows of several streams would have the same topic");
	refused(MQTT("topic: \"x/{stream}\", retained: true"), "a broker keeps one message of each topic");
	refused(MQTT("client_id: x"), "unknown key");
	topology_free(good(MQTT("topic: weir, streams: [heat]")));
	t = good(MQTT("alerts_topic: \"plant/{stream}-{alert}/{group}/now\", retained: true"));
	ck_assert_str_eq(t->sinks[0].mqtt.alerts_topic, "plant/{stream}-{alert}/{group}/now");
	topology_free(t);
	topology_free(good(MQTT("alerts_topic: alarms")));
	refused(MQTT("alerts_topic: \"a/#\""), "sinks[0].alerts_topic: `a/#` cannot be the topics' template: + and #");
	refused(MQTT("alerts_topic: \"{node}/x\""), "a brace that is not of {alert}, {stream} or {group}");
	refused(MQTT("topic: \"{stream}/{alert}\""), "a brace that is not of {stream} or {group}");
	refused(MQTT("alerts_topic: \"x/{alert}\", retained: true"), "put {alert} and {group} into it");
	refused(MQTT("alerts_topic: \"x/{group}\", retained: true"), "put {alert} and {group} into it");
	refused(MQTT("alerts_topic: \"weir/{alert}/{group}\""), "sinks[0].alerts_topic: rows (`topic`) and alerts (`alerts_topic`) would have the same topics");
	refused(MQTT("topic: \"weir-alerts/{stream}/{group}\""), "sinks[0].topic: rows (`topic`) and alerts");
	refused(MQTT("topic: weir, streams: [heat], alerts_topic: weir"), "would have the same topics");
}
END_TEST

START_TEST(a_kafka_sink_is_told_where_to_and_as_whom)
{
#define KAFKA(more) HEAD(C1) "  - {name: k, type: kafka, brokers: [k1.example:9092, \"[::1]:9093\"]" more "}\n"
#define LOCAL(more) HEAD(C1) "  - {name: k, type: kafka, brokers: 127.0.0.1:9092" more "}\n"
	struct topology *t = good(KAFKA(""));
	const struct sink_conf *s = &t->sinks[0];
	ck_assert_int_eq(s->type, SINK_KAFKA);
	ck_assert_uint_eq(s->kafka.brokers.count, 2);
	ck_assert_str_eq(s->kafka.brokers.items[1], "[::1]:9093");
	ck_assert_str_eq(s->kafka.topic, "weir");
	ck_assert_str_eq(s->kafka.alerts_topic, "weir-alerts");
	ck_assert(!s->kafka.protobuf && !s->kafka.tls && !s->kafka.compression && !s->kafka.mechanism);
	ck_assert(s->kafka.timeout_ns == 10 * NS_PER_SEC);
	struct topology *same = good(KAFKA("")), *other = good(KAFKA(", format: protobuf")), *fewer = good(LOCAL(""));
	ck_assert(sink_conf_same(s, &same->sinks[0]));
	ck_assert(!sink_conf_same(s, &other->sinks[0]));
	ck_assert(!sink_conf_same(s, &fewer->sinks[0]));
	topology_free(t);
	topology_free(same);
	topology_free(other);
	topology_free(fewer);
	t = good(KAFKA(", topic: \"a.{stream}.b\", format: protobuf, compression: zstd, tls: true, ca_file: ca, cert_file: c, key_file: k, "
	               "mechanism: plain, user: me, password_file: p, timeout: 30s"));
	s = &t->sinks[0];
	ck_assert(s->kafka.protobuf && s->kafka.tls);
	ck_assert_str_eq(s->kafka.key_file, "/etc/weir/k");
	ck_assert_str_eq(s->kafka.password_file, "/etc/weir/p");
	topology_free(t);
	topology_free(good(LOCAL(", mechanism: plain, user: me, password_file: p")));
	topology_free(good(KAFKA(", mechanism: scram-sha-512, user: me, password_file: p")));
	refused(HEAD(C1) "  - {name: k, type: kafka}\n", "brokers");
	refused(HEAD(C1) "  - {name: k, type: kafka, brokers: [k1]}\n", "sinks[0].brokers[0]: `k1`: expected HOST:PORT");
	refused(HEAD(C1) "  - {name: k, type: kafka, brokers: \"kafka://k1:9092\"}\n", "expected HOST:PORT");
	refused(HEAD(C1) "  - {name: k, type: kafka, brokers: \"a:1,b:2\"}\n", "expected HOST:PORT");
	refused(HEAD(C1) "  - {name: k, type: kafka, brokers: []}\n", "expected 1 to 32 items");
	refused(LOCAL(", topic: \"a/b\""), "expected letters, digits");
	refused(LOCAL(", topic: \"{node}\""), "{stream}");
	refused(LOCAL(", topic: \"..\""), "topic");
	refused(LOCAL(", topic: \"{stream}{stream}{stream}{stream}\""), "249 bytes at most");
	t = good(LOCAL(", alerts_topic: \"a-{alert}.{stream}\", format: protobuf"));
	ck_assert_str_eq(t->sinks[0].kafka.alerts_topic, "a-{alert}.{stream}");
	topology_free(t);
	topology_free(good(LOCAL(", topic: one, alerts_topic: one")));
	refused(LOCAL(", topic: \"{alert}\""), "sinks[0].topic: `{alert}`: expected letters");
	refused(LOCAL(", alerts_topic: \"{group}\""), "sinks[0].alerts_topic: `{group}`: expected letters, digits, ., _, -, {alert} and {stream}");
	refused(LOCAL(", alerts_topic: \"{alert}{alert}{alert}{alert}\""), "249 bytes at most");
	refused(LOCAL(", alerts_topic: \"..\""), "alerts_topic");
	refused(LOCAL(", topic: one, alerts_topic: one, format: protobuf"), "alerts are JSON, and the rows of that topic are protobuf");
	refused(LOCAL(", format: csv"), "expected json or protobuf");
	refused(LOCAL(", compression: lzma"), "expected none, gzip, snappy, lz4 or zstd");
	refused(LOCAL(", ca_file: x"), "needs `tls: true`");
	refused(LOCAL(", tls: true, cert_file: x"), "needs `key_file`");
	refused(LOCAL(", mechanism: gssapi, user: me, password_file: p"), "expected plain, scram-sha-256 or scram-sha-512");
	refused(LOCAL(", mechanism: plain, user: me"), "needs `password_file`");
	refused(LOCAL(", user: me, password_file: p"), "needs `mechanism`");
	refused(KAFKA(", mechanism: plain, user: me, password_file: p"), "would travel unencrypted");
	refused(LOCAL(", password: x"), "unknown key");
	refused(LOCAL(", timeout: 31s"), "timeout");
}
END_TEST

#define REMOTE(more) "  - {name: p, type: remote_write, url: \"http://127.0.0.1:9090/api/v1/write\", " more "}\n"
#define STREAMS(streams) \
	"version: 1\ncluster: {name: test, replicas: 1, security: none}\ncloud:\n" C1 "streams:\n" streams "sinks:\n" REMOTE("labels: {plant: north}")
#define STREAM(name, more) "  - {name: " name ", from: {measurement: m, field: f}, window: 10s, " more "}\n"

START_TEST(a_remote_write_is_told_where_to)
{
	struct topology *t = good(HEAD(C1) "  - {name: p, type: remote_write, url: \"https://example.org/api/v1/write\", user: me, password_file: p, ca_file: ca, "
	                                   "headers_file: h, labels: {z: \"1\", a: \"\xc3\xa9\"}, histograms: false, timeout: 2s, batch_samples: 7, batch_size: 8KiB, "
	                                   "state: closed}\n"
	                                   "  - {name: q, type: remote_write, url: \"http://127.0.0.1:9090/w\", token_file: /t}\n");
	const struct sink_conf *s = &t->sinks[0], *d = &t->sinks[1];
	ck_assert_int_eq(s->type, SINK_REMOTE_WRITE);
	ck_assert_str_eq(sink_type_text(s->type), "remote_write");
	ck_assert_str_eq(s->remote_write.user, "me");
	ck_assert_str_eq(s->remote_write.password_file, "/etc/weir/p");
	ck_assert(!s->only_final && !s->remote_write.histograms && s->remote_write.timeout_ns == 2 * NS_PER_SEC);
	ck_assert(s->remote_write.batch_samples == 7 && s->remote_write.batch_bytes == 8192 && s->remote_write.label_count == 2);
	ck_assert_str_eq(s->remote_write.labels[0].key, "a");
	ck_assert_str_eq(s->remote_write.labels[1].value, "1");
	ck_assert(d->only_final && d->remote_write.histograms && d->remote_write.batch_samples == 2000 && !d->remote_write.label_count);
	ck_assert(d->remote_write.timeout_ns == 30 * NS_PER_SEC && d->remote_write.batch_bytes == 1024 * 1024);
	ck_assert_str_eq(d->remote_write.token_file, "/t");
	topology_free(t);
	refused(HEAD(C1) "  - {name: p, type: remote_write}\n", "`url` is missing");
	refused(HEAD(C1) "  - {name: p, type: remote_write, url: \"ftp://x\"}\n", "expected http://HOST/");
	refused(HEAD(C1) "  - {name: p, type: remote_write, url: \"http://x.org/w\", token_file: t}\n", "would travel unencrypted");
	refused(HEAD(C1) REMOTE("user: me"), "needs a `password_file`");
	refused(HEAD(C1) REMOTE("password_file: p"), "needs a `user`");
	refused(HEAD(C1) REMOTE("user: me, password_file: p, token_file: t"), "either `token_file` or `user`");
	refused(HEAD(C1) REMOTE("batch_samples: 0"), "batch_samples");
	refused(HEAD(C1) REMOTE("labels: {a-b: x}"), "`a-b` is no label of Prometheus");
	refused(HEAD(C1) REMOTE("labels: {__name__: x}"), "is no label of Prometheus");
	refused(HEAD(C1) REMOTE("labels: {weir_shard: x}"), "told apart by");
	refused(HEAD(C1) REMOTE("labels: {a: \"\"}"), "labels");
	refused(HEAD(C1) REMOTE("labels: [a]"), "expected a map");
	refused(HEAD(C1) REMOTE("streams: []"), "nothing would be sent");
}
END_TEST

START_TEST(names_that_would_be_one_are_refused)
{
	struct topology *t = good(STREAMS(STREAM("a-b", "by: [site]") STREAM("a.c", "by: [plant.x]")));
	topology_free(t);
	refused(STREAMS(STREAM("a-b", "") STREAM("a.b", "")), "t.yaml:9:5: sinks[0]: the streams `a-b` and `a.b` would both be weir:a_b");
	refused(STREAMS(STREAM("s", "by: [k-1, k.1]")), "the tags `k-1` and `k.1` of stream `s` would both be one label");
	refused(STREAMS(STREAM("s", "by: [plant]")), "the tag `plant` of stream `s` would be a label that there is already");
	refused(STREAMS(STREAM("s", "by: [weir-shard]")), "the tag `weir-shard` of stream `s` would be a label that there is already");
	refused(STREAMS(STREAM("s", "compute: [\"distinct(a.b)\", \"distinct(a-b)\"]")), "of stream `s` would both be weir:s:distinct_a_b");
	t = good("version: 1\ncluster: {name: test, replicas: 1, security: none}\ncloud:\n" C1 "streams:\n" STREAM("a-b", "") STREAM("a.b", "")
	    "sinks:\n" REMOTE("streams: [a-b]")); /* not of what it does not take */
	topology_free(t);
}
END_TEST

START_TEST(remote_writes_are_the_same_by_all_that_they_do)
{
	static const char *const variants[] = {"labels: {a: x}", "labels: {a: x, b: y}", "labels: {a: y}", "labels: {b: x}", "histograms: false", "token_file: t"};
	struct topology *t[6];
	for (size_t i = 0; i < 6; i++) {
		char *text = xasprintf("%s  - {name: a, type: remote_write, url: \"http://127.0.0.1/w\", %s}\n", HEAD(C1), variants[i]);
		t[i] = good(text);
		free(text);
	}
	for (size_t i = 0; i < 6; i++) {
		for (size_t j = 0; j < 6; j++)
			ck_assert_int_eq(sink_conf_same(&t[i]->sinks[0], &t[j]->sinks[0]), i == j);
	}
	for (size_t i = 0; i < 6; i++)
		topology_free(t[i]);
}
END_TEST

START_TEST(a_zmq_sink_has_a_port_at_each_node)
{
	struct topology *t = good(HEAD(C1 C2) "  - {name: z, type: zmq, port: 5600, ports: {c2: 5601}}\n");
	const struct sink_conf *s = &t->sinks[0];
	ck_assert(s->type == SINK_ZMQ && sink_port(s, "c1") == 5600 && sink_port(s, "c2") == 5601);
	topology_free(t);
	topology_free(good(HEAD(C1) "  - {name: z, type: zmq, port: 5600}\n"));
	refused(HEAD(C1 C2) "  - {name: z, type: zmq, port: 5600}\n", "`c1` and `c2` are both at 127.0.0.1: give each a port of its own");
	refused(HEAD(C1 C2) "  - {name: z, type: zmq, ports: {c1: 5600}}\n", "`c2` has no port");
	refused(HEAD(C1) "  - {name: z, type: zmq}\n", "`c1` has no port");
	refused(HEAD(C1) "  - {name: z, type: zmq, port: 0}\n", "sinks[0].port");
	refused(HEAD(C1) "  - {name: z, type: zmq, ports: {c1: 65536}}\n", "sinks[0].ports.c1");
	refused(HEAD(C1) "  - {name: z, type: zmq, port: 1, ports: {c9: 5}}\n", "no node of `cloud` is called `c9`");
	refused(HEAD(C1) "  - {name: z, type: zmq, port: 7101}\n", "is taken already");
	refused(HEAD(C1) "  - {name: z, type: zmq, port: 5600}\n  - {name: y, type: zmq, port: 5600}\n", "is taken already");
	refused(HEAD(C1) "  - {name: z, type: zmq, port: 5600, subscribers: x}\n", "is for a cluster with keys");
#define KEYS(sink) \
	"version: 1\ncluster: {name: test, replicas: 1, security: {keys: k}}\ncloud:\n" \
	"  - {name: c1, listen: \"tcp://192.0.2.1:7101\", http: \"192.0.2.1:8101\"}\n" \
	"  - {name: c2, listen: \"tcp://192.0.2.2:7101\", http: \"192.0.2.2:8101\"}\n" \
	"streams:\n  - {name: speed, from: {measurement: m, field: f}, window: 10s}\nsinks:\n" sink
	t = good(KEYS("  - {name: z, type: zmq, port: 5600, subscribers: subs}\n"));
	ck_assert_str_eq(t->sinks[0].zmq.subscribers, "/etc/weir/subs");
	topology_free(t);
	refused(KEYS("  - {name: z, type: zmq, port: 5600}\n"), "`subscribers` is missing");
}
END_TEST

START_TEST(more_sinks_than_may_be_are_refused)
{
	struct buf text = {0};
	buf_printf(&text, "%s", HEAD(C1));
	for (int i = 0; i <= SINKS_MAX; i++)
		buf_printf(&text, "  - {name: s%d, type: file, path: p%d}\n", i, i);
	refused(buf_cstr(&text), "sinks");
	buf_free(&text);
}
END_TEST

START_TEST(sinks_are_the_same_by_all_that_they_do)
{
	static const char *const variants[] = {"path: x", "path: y", "path: x, state: final", "path: x, streams: [heat]", "path: x, streams: [speed]",
		"path: x, keep: 3", "path: x, max_age: 2h", "path: x, format: csv, streams: [heat]"};
	const size_t count = sizeof(variants) / sizeof(variants[0]);
	struct topology *t[16];
	for (size_t i = 0; i < count; i++) {
		char *text = xasprintf("%s  - {name: a, type: file, %s}\n", HEAD(C1), variants[i]);
		t[i] = good(text);
		free(text);
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++)
			ck_assert_int_eq(sink_conf_same(&t[i]->sinks[0], &t[j]->sinks[0]), i == j);
	}
	for (size_t i = 0; i < count; i++)
		topology_free(t[i]);
}
END_TEST

static size_t told(const char *first, const char *next, enum map_change_kind kind, const char *name)
{
	struct topology *t = good(first);
	struct cluster_map was, is;
	struct map_changes changes;
	struct buf errors = {0};
	size_t found = 0;
	map_first(t, first, strlen(first), &was);
	ck_assert_msg(!map_change(&was, next, strlen(next), &is, &changes, &errors), "%s", buf_cstr(&errors));
	for (size_t i = 0; i < changes.count; i++)
		found += changes.all[i].kind == kind && !strcmp(changes.all[i].what, "sink") && !strcmp(changes.all[i].name, name);
	map_changes_clear(&changes);
	map_clear(&was);
	map_clear(&is);
	topology_free(t);
	return found;
}

START_TEST(changes_are_told)
{
#define A HEAD(C1) "  - {name: a, type: file, path: x}\n"
#define AB A "  - {name: b, type: file, path: y}\n"
	ck_assert_uint_eq(told(A, AB, MAP_ADDED, "b"), 1);
	ck_assert_uint_eq(told(AB, A, MAP_REMOVED, "b"), 1);
	ck_assert_uint_eq(told(A, HEAD(C1) "  - {name: a, type: file, path: z}\n", MAP_CHANGED, "a"), 1);
	ck_assert_uint_eq(told(A, AB, MAP_CHANGED, "a"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("topology_sink");
	TCase *c = tcase_create("sinks");
	tcase_add_test(c, a_sink_has_what_the_file_says_and_defaults);
	tcase_add_test(c, what_is_wrong_is_told_with_its_place);
	tcase_add_test(c, a_webhook_is_told_where_to);
	tcase_add_test(c, an_mqtt_sink_is_told_where_to);
	tcase_add_test(c, a_kafka_sink_is_told_where_to_and_as_whom);
	tcase_add_test(c, a_remote_write_is_told_where_to);
	tcase_add_test(c, names_that_would_be_one_are_refused);
	tcase_add_test(c, remote_writes_are_the_same_by_all_that_they_do);
	tcase_add_test(c, a_zmq_sink_has_a_port_at_each_node);
	tcase_add_test(c, more_sinks_than_may_be_are_refused);
	tcase_add_test(c, sinks_are_the_same_by_all_that_they_do);
	tcase_add_test(c, changes_are_told);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
