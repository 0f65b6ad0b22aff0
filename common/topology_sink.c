/* The options of each type of sink: what topology.yaml may say of it.
 *
 * A type is one line of SINK_TYPES (common/model.h), a struct of its options there, one entry of the table below, and
 * cloudd/sink_NAME.c (docs/sinks.md shows how to add one). */
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/topic_name.h"
#include "common/topology_parts.h"
#include "common/url.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

/* ---- what all have ---------------------------------------------------------------------------------------- */

static void read_note(struct conf *c, const struct conf_node *value, void *object)
{
	(void)c;
	((struct sink_conf *)object)->line = value->parent->line;
}

/* One of two words; true: the second. */
static bool read_choice(struct conf *c, const struct conf_node *value, const char *no, const char *yes)
{
	const char *text;
	if (!conf_text(c, value, TAG_BYTES_MAX, &text))
		return false;
	if (strcmp(text, no) && strcmp(text, yes))
		conf_error(c, value, "%s: expected %s or %s", conf_quote(c, text), no, yes);
	return !strcmp(text, yes);
}

static void read_state(struct conf *c, const struct conf_node *value, void *object)
{
	((struct sink_conf *)object)->only_final = read_choice(c, value, "closed", "final");
}

static bool same_state(const void *a, const void *b)
{
	return ((const struct sink_conf *)a)->only_final == ((const struct sink_conf *)b)->only_final;
}

static void read_streams(struct conf *c, const struct conf_node *list, void *object)
{
	struct sink_conf *s = object;
	const char *name;
	if (!conf_expect(c, list, CONF_LIST))
		return;
	s->lists_streams = true;
	s->streams = xcalloc(list->count + 1, sizeof(*s->streams));
	for (const struct conf_node *v = list->first; v; v = v->next) {
		if (!conf_name(c, v, &name))
			continue;
		if (s->stream_count && sink_takes(s, name))
			conf_error(c, v, "%s is listed twice", conf_quote(c, name));
		else
			s->streams[s->stream_count++] = xstrdup(name);
	}
}

static void clear_streams(void *object)
{
	struct sink_conf *s = object;
	for (size_t i = 0; i < s->stream_count; i++)
		free(s->streams[i]);
	free(s->streams);
	s->streams = NULL;
	s->stream_count = 0;
}

static bool same_streams(const void *a, const void *b)
{
	const struct sink_conf *x = a, *y = b;
	bool same = x->lists_streams == y->lists_streams && x->stream_count == y->stream_count;
	for (size_t i = 0; same && i < x->stream_count; i++)
		same = !strcmp(x->streams[i], y->streams[i]);
	return same;
}

#define SINK_FIELDS \
	{.key = "type", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_note}, \
	{.key = "name", .kind = CONF_KIND_NAME, .required = true, .offset = offsetof(struct sink_conf, name)}, \
	{.key = "state", .kind = CONF_KIND_CUSTOM, .read = read_state, .same = same_state}, \
	{.key = "streams", .kind = CONF_KIND_CUSTOM, .read = read_streams, .clear = clear_streams, .same = same_streams}

/* ---- file ------------------------------------------------------------------------------------------------- */

#define FILE_BYTES_MAX (UINT64_C(1) << 40)
#define FILES_MAX 1000

static void read_format(struct conf *c, const struct conf_node *value, void *object)
{
	((struct sink_conf *)object)->file.csv = read_choice(c, value, "json", "csv");
}

static bool same_format(const void *a, const void *b)
{
	return ((const struct sink_conf *)a)->file.csv == ((const struct sink_conf *)b)->file.csv;
}

static const struct conf_field file_fields[] = {
	SINK_FIELDS,
	{.key = "path", .kind = CONF_KIND_PATH, .required = true, .offset = offsetof(struct sink_conf, file.path)},
	{.key = "format", .kind = CONF_KIND_CUSTOM, .read = read_format, .same = same_format},
	{.key = "max_size", .kind = CONF_KIND_SIZE, .offset = offsetof(struct sink_conf, file.max_bytes), .min = 4096,
	    .max = FILE_BYTES_MAX},
	{.key = "max_age", .kind = CONF_KIND_DURATION, .offset = offsetof(struct sink_conf, file.max_age_ns),
	    .min = NS_PER_SEC, .max = DURATION_MAX_NS},
	{.key = "keep", .kind = CONF_KIND_U32, .offset = offsetof(struct sink_conf, file.keep), .min = 1, .max = FILES_MAX},
};

/* A brace of the path begins {node}, or nothing that is known. */
static void check_path(struct conf *c, const struct conf_node *map, const char *path)
{
	bool fine = true;
	for (const char *p = strpbrk(path, "{}"); p && fine; p = strpbrk(p + 6, "{}"))
		fine = !strncmp(p, "{node}", 6);
	if (!fine)
		conf_error(c, conf_get(map, "path"), "a brace that is not of {node}: that is all that a path can stand for");
}

static void check_file(struct conf *c, const struct conf_node *map, void *object)
{
	const struct sink_conf *s = object;
	if (s->file.path)
		check_path(c, map, s->file.path);
	if (s->file.csv && s->stream_count != 1)
		conf_error(c, map, "csv has the columns of one stream: name it (`streams: [NAME]`), or write json");
}

/* ---- webhook ---------------------------------------------------------------------------------------------- */

static const struct conf_field webhook_fields[] = {
	SINK_FIELDS,
	{.key = "url", .kind = CONF_KIND_TEXT, .offset = offsetof(struct sink_conf, webhook.url)},
	{.key = "url_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, webhook.url_file)},
	{.key = "headers_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, webhook.headers_file)},
	{.key = "secret_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, webhook.secret_file)},
	{.key = "ca_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, webhook.ca_file)},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = offsetof(struct sink_conf, webhook.timeout_ns),
	    .min = 100 * NS_PER_MS, .max = 30 * NS_PER_SEC},
	{.key = "batch_rows", .kind = CONF_KIND_U32, .offset = offsetof(struct sink_conf, webhook.batch_rows), .min = 1,
	    .max = SINK_BATCH_ROWS},
	{.key = "batch_size", .kind = CONF_KIND_SIZE, .offset = offsetof(struct sink_conf, webhook.batch_bytes), .min = 4096,
	    .max = 16 * 1024 * 1024},
};

/* Headers are most often who we are: they do not travel where anybody may read them. */
static void check_url(struct conf *c, const struct conf_node *url, const char *text, bool secret)
{
	const char *problem = url_problem(text);
	if (problem)
		conf_error(c, url, "%s: %s", conf_quote(c, text), problem);
	else if (secret && !url_is_private(text))
		conf_error(c, url, "%s: the headers of `headers_file` would travel unencrypted; use https://", conf_quote(c, text));
}

static void check_webhook(struct conf *c, const struct conf_node *map, void *object)
{
	const struct sink_conf *s = object;
	const struct conf_node *url = conf_get(map, "url"), *file = conf_get(map, "url_file");
	if (!url == !file)
		conf_error(c, url ? file : map, url ? "the address is given twice" : "`url` is missing, or `url_file` where the address is a secret");
	if (s->webhook.url)
		check_url(c, url, s->webhook.url, s->webhook.headers_file);
}

/* ---- mqtt ------------------------------------------------------------------------------------------------- */

static void read_version(struct conf *c, const struct conf_node *value, void *object)
{
	struct mqtt_broker_conf *b = &((struct sink_conf *)object)->mqtt.broker;
	b->version = topology_read_mqtt_version(c, value, b->version);
}

static bool same_version(const void *a, const void *b)
{
	return ((const struct sink_conf *)a)->mqtt.broker.version == ((const struct sink_conf *)b)->mqtt.broker.version;
}

static const struct conf_field mqtt_fields[] = {
	SINK_FIELDS,
	TOPOLOGY_BROKER_FIELDS(struct sink_conf, mqtt.broker, read_version, same_version),
	{.key = "topic", .kind = CONF_KIND_TEXT, .offset = offsetof(struct sink_conf, mqtt.topic), .max = TOPIC_NAME_TEMPLATE_MAX},
	{.key = "alerts_topic", .kind = CONF_KIND_TEXT, .offset = offsetof(struct sink_conf, mqtt.alerts_topic), .max = TOPIC_NAME_TEMPLATE_MAX},
	{.key = "qos", .kind = CONF_KIND_U32, .offset = offsetof(struct sink_conf, mqtt.qos), .max = 2},
	{.key = "retained", .kind = CONF_KIND_BOOL, .offset = offsetof(struct sink_conf, mqtt.retained)},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = offsetof(struct sink_conf, mqtt.timeout_ns),
	    .min = 100 * NS_PER_MS, .max = 30 * NS_PER_SEC},
};

/* A receiver knows a row's stream by its topic, and a broker keeps one message of each. */
static void check_topic(struct conf *c, const struct conf_node *map, const struct sink_conf *s)
{
	const struct conf_node *topic = conf_get(map, "topic");
	const char *why;
	if (topic_name_check(s->mqtt.topic, &why))
		conf_error(c, topic, "%s cannot be the topics' template: %s", conf_quote(c, s->mqtt.topic), why);
	else if (s->stream_count != 1 && !strstr(s->mqtt.topic, TOPIC_NAME_STREAM))
		conf_error(c, topic, "rows of several streams would have the same topic: put {stream} into it, or name one (`streams: [NAME]`)");
	else if (s->mqtt.retained && !strstr(s->mqtt.topic, TOPIC_NAME_GROUP))
		conf_error(c, topic, "a broker keeps one message of each topic: put {group} into it, or leave `retained` out");
}

/* An alert is called as its stream where it has no name of its own. */
static bool are_one(const char *topic, const char *alerts)
{
	const size_t stream_len = strlen(TOPIC_NAME_STREAM);
	const char *mark = strstr(alerts, TOPIC_NAME_ALERT);
	if (!mark)
		return !strcmp(topic, alerts);
	size_t before = (size_t)(mark - alerts);
	return !strncmp(topic, alerts, before) && !strncmp(topic + before, TOPIC_NAME_STREAM, stream_len) &&
	    !strcmp(topic + before + stream_len, mark + strlen(TOPIC_NAME_ALERT));
}

static void check_alerts_topic(struct conf *c, const struct conf_node *map, const struct sink_conf *s)
{
	const struct conf_node *topic = conf_get(map, s->mqtt.alerts_topic ? "alerts_topic" : "topic");
	const char *why, *rows = s->mqtt.topic ? s->mqtt.topic : SINK_MQTT_TOPIC;
	const char *text = s->mqtt.alerts_topic ? s->mqtt.alerts_topic : SINK_MQTT_ALERTS_TOPIC;
	if (topic_name_check_alerts(text, &why))
		conf_error(c, topic, "%s cannot be the topics' template: %s", conf_quote(c, text), why);
	else if (s->mqtt.retained && !(strstr(text, TOPIC_NAME_ALERT) && strstr(text, TOPIC_NAME_GROUP)))
		conf_error(c, topic, "a broker keeps one message of each topic: put {alert} and {group} into it, or leave `retained` out");
	else if (are_one(rows, text))
		conf_error(c, topic, "rows (`topic`) and alerts (`alerts_topic`) would have the same topics");
}

static void check_mqtt(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	topology_check_broker(c, map, &s->mqtt.broker);
	if (s->mqtt.topic)
		check_topic(c, map, s);
	if (s->mqtt.topic || s->mqtt.alerts_topic)
		check_alerts_topic(c, map, s);
}

/* ---- kafka ------------------------------------------------------------------------------------------------ */

#define KAFKA(field) offsetof(struct sink_conf, kafka.field)
static const struct conf_field kafka_fields[] = {
	SINK_FIELDS,
	{.key = "brokers", .kind = CONF_KIND_CUSTOM, .required = true, .read = topology_read_kafka_brokers,
	    .clear = topology_clear_kafka_brokers, .same = topology_same_kafka_brokers},
	{.key = "topic", .kind = CONF_KIND_TEXT, .offset = KAFKA(topic), .max = TAG_BYTES_MAX},
	{.key = "alerts_topic", .kind = CONF_KIND_TEXT, .offset = KAFKA(alerts_topic), .max = TAG_BYTES_MAX},
	{.key = "format", .kind = CONF_KIND_CUSTOM, .read = topology_read_kafka_format, .same = topology_same_kafka_format},
	{.key = "compression", .kind = CONF_KIND_TEXT, .offset = KAFKA(compression), .max = TAG_BYTES_MAX},
	{.key = "tls", .kind = CONF_KIND_BOOL, .offset = KAFKA(tls)},
	{.key = "ca_file", .kind = CONF_KIND_PATH, .offset = KAFKA(ca_file)},
	{.key = "cert_file", .kind = CONF_KIND_PATH, .offset = KAFKA(cert_file)},
	{.key = "key_file", .kind = CONF_KIND_PATH, .offset = KAFKA(key_file)},
	{.key = "mechanism", .kind = CONF_KIND_TEXT, .offset = KAFKA(mechanism), .max = TAG_BYTES_MAX},
	{.key = "user", .kind = CONF_KIND_TEXT, .offset = KAFKA(user), .max = TAG_BYTES_MAX},
	{.key = "password_file", .kind = CONF_KIND_PATH, .offset = KAFKA(password_file)},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = KAFKA(timeout_ns), .min = NS_PER_SEC, .max = 30 * NS_PER_SEC},
};

/* ---- remote_write ----------------------------------------------------------------------------------------- */

static const struct conf_field remote_write_fields[] = {
	SINK_FIELDS,
	{.key = "url", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct sink_conf, remote_write.url)},
	{.key = "token_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, remote_write.token_file)},
	{.key = "user", .kind = CONF_KIND_TEXT, .offset = offsetof(struct sink_conf, remote_write.user), .max = TAG_BYTES_MAX},
	{.key = "password_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, remote_write.password_file)},
	{.key = "headers_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, remote_write.headers_file)},
	{.key = "ca_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, remote_write.ca_file)},
	TOPOLOGY_REMOTE_LABELS_FIELD,
	{.key = "histograms", .kind = CONF_KIND_BOOL, .offset = offsetof(struct sink_conf, remote_write.histograms)},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = offsetof(struct sink_conf, remote_write.timeout_ns),
	    .min = 100 * NS_PER_MS, .max = 30 * NS_PER_SEC},
	{.key = "batch_samples", .kind = CONF_KIND_U32, .offset = offsetof(struct sink_conf, remote_write.batch_samples), .min = 1,
	    .max = 100000},
	{.key = "batch_size", .kind = CONF_KIND_SIZE, .offset = offsetof(struct sink_conf, remote_write.batch_bytes), .min = 4096,
	    .max = 16 * 1024 * 1024},
};

/* ---- zmq -------------------------------------------------------------------------------------------------- */

static void read_ports(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	if (!conf_expect(c, map, CONF_MAP))
		return;
	s->zmq.ports = xcalloc(map->count + 1, sizeof(*s->zmq.ports));
	for (const struct conf_node *v = map->first; v; v = v->next) {
		const char *node;
		uint64_t port;
		if (conf_name(c, v->key, &node) && conf_uint(c, v, 1, UINT16_MAX, &port))
			s->zmq.ports[s->zmq.port_count++] = (struct sink_port){xstrdup(node), (uint32_t)port};
	}
}

static void clear_ports(void *object)
{
	struct sink_conf *s = object;
	for (size_t i = 0; i < s->zmq.port_count; i++)
		free(s->zmq.ports[i].node);
	free(s->zmq.ports);
	s->zmq.ports = NULL;
	s->zmq.port_count = 0;
}

static bool same_ports(const void *a, const void *b)
{
	const struct sink_conf *x = a, *y = b;
	bool same = x->zmq.port_count == y->zmq.port_count;
	for (size_t i = 0; same && i < x->zmq.port_count; i++)
		same = sink_port(y, x->zmq.ports[i].node) == x->zmq.ports[i].port;
	return same;
}

static const struct conf_field zmq_fields[] = {
	SINK_FIELDS,
	{.key = "port", .kind = CONF_KIND_U32, .offset = offsetof(struct sink_conf, zmq.port), .min = 1, .max = UINT16_MAX},
	{.key = "ports", .kind = CONF_KIND_CUSTOM, .read = read_ports, .clear = clear_ports, .same = same_ports},
	{.key = "subscribers", .kind = CONF_KIND_PATH, .offset = offsetof(struct sink_conf, zmq.subscribers)},
};

/* ---- the table -------------------------------------------------------------------------------------------- */

/* A table's check is of the type alone: the defaults are everyone's. */
static const struct conf_schema sink_schemas[SINK_TYPE_COUNT] = {
	[SINK_FILE] = {sizeof(struct sink_conf), FIELDS(file_fields), NULL, check_file, NULL},
	[SINK_WEBHOOK] = {sizeof(struct sink_conf), FIELDS(webhook_fields), NULL, check_webhook, NULL},
	[SINK_MQTT] = {sizeof(struct sink_conf), FIELDS(mqtt_fields), NULL, check_mqtt, NULL},
	[SINK_KAFKA] = {sizeof(struct sink_conf), FIELDS(kafka_fields), NULL, topology_check_kafka, NULL},
	[SINK_REMOTE_WRITE] = {sizeof(struct sink_conf), FIELDS(remote_write_fields), NULL, topology_check_remote_write, NULL},
	[SINK_ZMQ] = {sizeof(struct sink_conf), FIELDS(zmq_fields), NULL, NULL, NULL},
};

static const char *const type_names[SINK_TYPE_COUNT] = {
#define SINK_NAME(constant, name) #name,
	SINK_TYPES(SINK_NAME)
#undef SINK_NAME
};

static void sink_defaults(void *object)
{
	struct sink_conf *s = object;
	s->file.max_bytes = 64 * 1024 * 1024;
	s->file.max_age_ns = DAY_NS;
	s->file.keep = 7;
	s->webhook.timeout_ns = 10 * NS_PER_SEC;
	s->webhook.batch_rows = SINK_BATCH_ROWS;
	s->webhook.batch_bytes = 256 * 1024;
	s->mqtt.qos = 1;
	s->mqtt.timeout_ns = 10 * NS_PER_SEC;
	s->kafka.timeout_ns = 10 * NS_PER_SEC;
	s->remote_write.histograms = true;
	s->remote_write.timeout_ns = 30 * NS_PER_SEC;
	s->remote_write.batch_samples = 2000;
	s->remote_write.batch_bytes = 1024 * 1024;
}

const char *sink_type_text(enum sink_type type)
{
	return (size_t)type < SINK_TYPE_COUNT ? type_names[type] : "?";
}

/* The types that can tell of alerts: a row is not all that they can write. */
static const bool tells_alerts[SINK_TYPE_COUNT] = {[SINK_FILE] = true, [SINK_WEBHOOK] = true, [SINK_MQTT] = true, [SINK_KAFKA] = true,
	[SINK_ZMQ] = true};

bool sink_takes_alerts(const struct sink_conf *s)
{
	return (size_t)s->type < SINK_TYPE_COUNT && tells_alerts[s->type] && !(s->type == SINK_FILE && s->file.csv);
}

static const struct conf_schema *select_sink(struct conf *c, const struct conf_node *map)
{
	size_t type = topology_select_type(c, map, "sink", type_names, SINK_TYPE_COUNT);
	return type < SINK_TYPE_COUNT ? &sink_schemas[type] : NULL;
}

static void check_sink(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	s->type = (enum sink_type)topology_type(map, type_names, SINK_TYPE_COUNT);
	if (s->type < SINK_TYPE_COUNT && sink_schemas[s->type].check)
		sink_schemas[s->type].check(c, map, s);
}

const struct conf_schema topology_sink_schema = {sizeof(struct sink_conf), NULL, 0, sink_defaults, check_sink, select_sink};

bool sink_conf_same(const struct sink_conf *a, const struct sink_conf *b)
{
	return a->type == b->type && conf_same(&sink_schemas[a->type], a, b);
}

void sink_conf_clear(struct sink_conf *s)
{
	if (s->type < SINK_TYPE_COUNT)
		conf_clear(&sink_schemas[s->type], s);
}

/* ---- across the file -------------------------------------------------------------------------------------- */

static void refuse_stream(struct conf *c, const struct conf_node *node, const char *name, const struct topology *t)
{
	const char *names[STREAMS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < t->stream_count && i < STREAMS_MAX; i++) {
		if (t->streams[i].name)
			names[n++] = t->streams[i].name;
	}
	const char *meant = conf_error_count(c) < CONF_ERRORS_MAX ? conf_suggest(name, names, n) : NULL;
	if (meant)
		conf_error(c, node, "no stream is called %s; did you mean `%s`?", conf_quote(c, name), meant);
	else
		conf_error(c, node, "no stream is called %s", conf_quote(c, name));
}

static void check_names(struct conf *c, const struct conf_node *map, const struct topology *t)
{
	const struct conf_node *list = conf_get(map, "streams");
	for (const struct conf_node *v = list && list->type == CONF_LIST ? list->first : NULL; v; v = v->next) {
		if (v->type == CONF_SCALAR && name_valid(v->text) && topology_stream(t, v->text) < 0)
			refuse_stream(c, v, v->text, t);
	}
}

static bool same_text(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

/* `streams: []` is for alerts alone. */
static void check_use(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	const struct conf_node *list = conf_get(map, "streams");
	if (list && list->type == CONF_LIST && !list->count && !(s->name && topology_alerts_to(t, s->name)))
		conf_error(c, list, "nothing would be sent: leave it out to send all streams, or name the sink in `to` of an alert");
}

/* Whether `path` is what a file is called when it is rotated: with a dot and a number behind it. */
static bool is_rotated(const char *file, const char *path)
{
	size_t n = file && path ? strlen(file) : 0;
	if (!n || strncmp(file, path, n) || path[n] != '.' || !path[n + 1])
		return false;
	return strspn(path + n + 1, "0123456789") == strlen(path + n + 1);
}

static void check_files(struct conf *c, const struct conf_node *map, const struct sink_conf *s, const struct sink_conf *other)
{
	if (s->type != SINK_FILE || other->type != SINK_FILE)
		return;
	if (same_text(s->file.path, other->file.path))
		conf_error(c, conf_get(map, "path"), "%s is a sink's file already, on line %u", conf_quote(c, s->file.path), other->line);
	if (is_rotated(s->file.path, other->file.path) || is_rotated(other->file.path, s->file.path))
		conf_error(c, conf_get(map, "path"), "%s: one of this and the sink's on line %u is what the other is renamed to when it is rotated",
		    conf_quote(c, s->file.path), other->line);
}

/* What an earlier one has already. */
static void check_differs(struct conf *c, const struct conf_node *map, const struct topology *t, size_t at)
{
	const struct sink_conf *s = &t->sinks[at];
	for (size_t i = 0; i < at; i++) {
		const struct sink_conf *other = &t->sinks[i];
		if (same_text(s->name, other->name))
			conf_error(c, conf_get(map, "name"), "%s is the name of a sink already, on line %u", conf_quote(c, s->name),
			    other->line);
		check_files(c, map, s, other);
	}
}

static void check_subscribers(struct conf *c, const struct conf_node *map, const struct topology *t)
{
	const struct conf_node *node = conf_get(map, "subscribers");
	if (t->keys_dir && !node)
		conf_error(c, map, "`subscribers` is missing: the folder with the .pub of those who may subscribe");
	else if (!t->keys_dir && node)
		conf_error(c, node, "is for a cluster with keys: with `security: none` everybody on this machine may subscribe");
}

static void check_node_names(struct conf *c, const struct conf_node *map, const struct topology *t)
{
	const struct conf_node *ports = conf_get(map, "ports");
	for (const struct conf_node *v = ports && ports->type == CONF_MAP ? ports->first : NULL; v; v = v->next) {
		if (topology_cloud(t, v->key->text) < 0)
			conf_error(c, v->key, "no node of `cloud` is called %s", conf_quote(c, v->key->text));
	}
}

bool topology_sink_address(const struct topology *t, const struct sink_conf *s, size_t cloud, struct addr_host *ret)
{
	const struct cloud_conf *n = &t->clouds[cloud];
	uint32_t port = n->name ? sink_port(s, n->name) : 0;
	if (s->type != SINK_ZMQ || !n->listen || !port || addr_parse_host(n->listen, ret))
		return false;
	ret->port = (uint16_t)port;
	return true;
}

/* Each node has a port of its own, also where several are on one machine. */
static void check_ports(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	struct addr_host a, b;
	for (size_t i = 0; i < t->cloud_count; i++) {
		const char *name = t->clouds[i].name;
		if (name && !sink_port(s, name)) {
			conf_error(c, map, "%s has no port: give `port`, for all nodes, or one for each in `ports`", conf_quote(c, name));
			return;
		}
		for (size_t k = 0; k < i && topology_sink_address(t, s, i, &a); k++) {
			if (!topology_sink_address(t, s, k, &b) || a.port != b.port || strcmp(a.host, b.host))
				continue;
			conf_error(c, map, "%s and %s are both at %s: give each a port of its own (`ports: {NAME: PORT, ...}`)",
			    conf_quote(c, t->clouds[k].name), conf_quote(c, name), a.host);
			return;
		}
	}
}

static void check_zmq(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	if (s->type != SINK_ZMQ)
		return;
	check_subscribers(c, map, t);
	check_node_names(c, map, t);
	check_ports(c, map, t, s);
}

/* Each node writes the rows of the shards that it leads: to a file of its own. */
static void check_nodes(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	if (s->type == SINK_FILE && s->file.path && t->cloud_count > 1 && !strstr(s->file.path, "{node}"))
		conf_error(c, conf_get(map, "path"), "every node writes a file of its own: put {node} into the path");
}

void topology_check_sinks(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	const struct conf_node *list = conf_get(root, "sinks");
	const struct conf_node *map = list && list->type == CONF_LIST ? list->first : NULL;
	for (size_t i = 0; i < t->sink_count && map; i++, map = map->next) {
		if (map->type != CONF_MAP)
			continue;
		check_names(c, map, t);
		check_use(c, map, t, &t->sinks[i]);
		check_differs(c, map, t, i);
		check_nodes(c, map, t, &t->sinks[i]);
		if (t->sinks[i].type == SINK_REMOTE_WRITE)
			topology_check_remote_names(c, map, t, &t->sinks[i]);
		check_zmq(c, map, t, &t->sinks[i]);
	}
}
