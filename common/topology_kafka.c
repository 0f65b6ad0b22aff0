/* What topology.yaml may say of a sink of type kafka, beyond what its table can tell. */
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/topology_parts.h"

#define TOPIC_BYTES_MAX 249 /* that brokers take */
#define BROKER_BYTES_MAX 300
#define STREAM_MARK "{stream}"
#define ALERT_MARK "{alert}"

/* ---- brokers and format --------------------------------------------------------------------------------------- */

static bool is_broker(const char *text)
{
	struct addr_host host;
	return !strstr(text, "//") && !strchr(text, ',') && !addr_parse_host(text, &host) && host.port;
}

static void check_brokers(struct conf *c, const struct conf_node *value)
{
	const struct conf_node *v = value->type == CONF_LIST ? value->first : value;
	for (; v; v = value->type == CONF_LIST ? v->next : NULL) {
		if (v->type == CONF_SCALAR && *v->text && !is_broker(v->text))
			conf_error(c, v, "%s: expected HOST:PORT", conf_quote(c, v->text));
	}
}

void topology_read_kafka_brokers(struct conf *c, const struct conf_node *value, void *object)
{
	topology_read_texts(c, value, KAFKA_BROKERS_MAX, BROKER_BYTES_MAX, &((struct sink_conf *)object)->kafka.brokers);
	check_brokers(c, value);
}

void topology_clear_kafka_brokers(void *object)
{
	topology_clear_texts(&((struct sink_conf *)object)->kafka.brokers);
}

bool topology_same_kafka_brokers(const void *a, const void *b)
{
	return model_texts_same(&((const struct sink_conf *)a)->kafka.brokers, &((const struct sink_conf *)b)->kafka.brokers);
}

/* The index of what it says among names, or count. */
static size_t find(const char *text, const char *const *names, size_t count)
{
	size_t i = 0;
	while (i < count && strcmp(text, names[i]))
		i++;
	return i;
}

void topology_read_kafka_format(struct conf *c, const struct conf_node *value, void *object)
{
	static const char *const names[] = {"json", "protobuf"};
	const char *text;
	if (!conf_text(c, value, TAG_BYTES_MAX, &text))
		return;
	size_t i = find(text, names, 2);
	if (i == 2)
		conf_error(c, value, "%s: expected json or protobuf", conf_quote(c, text));
	((struct sink_conf *)object)->kafka.protobuf = i == 1;
}

bool topology_same_kafka_format(const void *a, const void *b)
{
	return ((const struct sink_conf *)a)->kafka.protobuf == ((const struct sink_conf *)b)->kafka.protobuf;
}

/* ---- what goes together ---------------------------------------------------------------------------------------- */

/* Bytes of what stands for a name at p, or 0. */
static size_t mark_len(const char *p, bool alerts)
{
	if (!strncmp(p, STREAM_MARK, strlen(STREAM_MARK)))
		return strlen(STREAM_MARK);
	return alerts && !strncmp(p, ALERT_MARK, strlen(ALERT_MARK)) ? strlen(ALERT_MARK) : 0;
}

/* What brokers take of a topic's name, and {stream}, whose names have no other characters either; of alerts, {alert}. */
static bool is_topic(const char *text, bool alerts)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t bytes = 0;
	for (const char *p = text; *p;) {
		size_t n = strspn(p, allowed), mark = n ? 0 : mark_len(p, alerts);
		if (!n && !mark)
			return false;
		bytes += n ? n : NAME_MAX_BYTES;
		p += n + mark;
	}
	return bytes <= TOPIC_BYTES_MAX && strcmp(text, ".") && strcmp(text, "..");
}

static void check_topic(struct conf *c, const struct conf_node *map, struct sink_conf *s)
{
	if (s->kafka.topic && !is_topic(s->kafka.topic, false))
		conf_error(c, conf_get(map, "topic"), "%s: expected letters, digits, ., _, - and {stream}, %d bytes at most",
		    conf_quote(c, s->kafka.topic), TOPIC_BYTES_MAX);
	if (!conf_get(map, "topic"))
		s->kafka.topic = xstrdup("weir");
}

static void check_alerts_topic(struct conf *c, const struct conf_node *map, struct sink_conf *s)
{
	const struct conf_node *node = conf_get(map, "alerts_topic");
	const char *text = s->kafka.alerts_topic;
	if (text && !is_topic(text, true))
		conf_error(c, node, "%s: expected letters, digits, ., _, -, {alert} and {stream}, %d bytes at most", conf_quote(c, text), TOPIC_BYTES_MAX);
	else if (text && s->kafka.protobuf && s->kafka.topic && !strcmp(text, s->kafka.topic))
		conf_error(c, node, "alerts are JSON, and the rows of that topic are protobuf: give them another one");
	if (!node)
		s->kafka.alerts_topic = xstrdup("weir-alerts");
}

static void check_compression(struct conf *c, const struct conf_node *map, const struct sink_conf *s)
{
	static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
	const char *text = s->kafka.compression;
	if (text && find(text, names, 5) == 5)
		conf_error(c, conf_get(map, "compression"), "%s: expected none, gzip, snappy, lz4 or zstd", conf_quote(c, text));
}

static void needs(struct conf *c, const struct conf_node *map, const char *key, bool given, const char *other)
{
	if (conf_get(map, key) && !given)
		conf_error(c, conf_get(map, key), "needs `%s`", other);
}

static void check_tls(struct conf *c, const struct conf_node *map, const struct sink_conf *s)
{
	needs(c, map, "ca_file", s->kafka.tls, "tls: true");
	needs(c, map, "cert_file", s->kafka.tls, "tls: true");
	needs(c, map, "cert_file", s->kafka.key_file, "key_file");
	needs(c, map, "key_file", s->kafka.cert_file, "cert_file");
}

static bool is_all_loopback(const struct model_texts *brokers)
{
	for (size_t i = 0; i < brokers->count; i++) {
		struct addr_host host;
		if (brokers->items[i] && !addr_parse_host(brokers->items[i], &host) && !host.loopback)
			return false;
	}
	return true;
}

/* SCRAM proves the password without showing it; plain is for who may not listen. */
static void check_sasl(struct conf *c, const struct conf_node *map, const struct sink_conf *s)
{
	static const char *const names[] = {"plain", "scram-sha-256", "scram-sha-512"};
	const char *text = s->kafka.mechanism;
	if (text && find(text, names, 3) == 3)
		conf_error(c, conf_get(map, "mechanism"), "%s: expected plain, scram-sha-256 or scram-sha-512", conf_quote(c, text));
	needs(c, map, "mechanism", s->kafka.user, "user");
	needs(c, map, "mechanism", s->kafka.password_file, "password_file");
	needs(c, map, "user", text, "mechanism");
	needs(c, map, "password_file", text, "mechanism");
	if (text && !strcmp(text, "plain") && !s->kafka.tls && !is_all_loopback(&s->kafka.brokers))
		conf_error(c, conf_get(map, "mechanism"), "the password would travel unencrypted; use `tls: true`, or scram-sha-512");
}

void topology_check_kafka(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	check_topic(c, map, s);
	check_alerts_topic(c, map, s);
	check_compression(c, map, s);
	check_tls(c, map, s);
	check_sasl(c, map, s);
}
