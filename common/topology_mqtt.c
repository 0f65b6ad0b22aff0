/* The options of mqtt sources: the broker (which sinks have, too), the topics, and how payloads are read. */
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"
#include "common/json_path.h"
#include "common/topic.h"
#include "common/topology_parts.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])
#define CLIENT_ID_BYTES_MAX 128
#define JSON_NAMES_MAX 64 /* fields, or tags, of one topic */

static const char *const format_names[PAYLOAD_FORMAT_COUNT] = {"line", "json", "number", "collectd"};

/* The index of the text among names, or count, with the problem noted. */
static size_t read_choice(struct conf *c, const struct conf_node *value, const char *const *names, size_t count, const char *what)
{
	const char *text;
	size_t i = 0;
	if (!conf_text(c, value, TAG_BYTES_MAX, &text))
		return count;
	while (i < count && strcmp(text, names[i]))
		i++;
	if (i == count)
		conf_error(c, value, "%s: expected %s", conf_quote(c, text), what);
	return i;
}

/* ---- payloads --------------------------------------------------------------------------------------------------- */

static void read_format(struct conf *c, const struct conf_node *value, void *object)
{
	size_t i = read_choice(c, value, format_names, PAYLOAD_FORMAT_COUNT, "line, json, number or collectd");
	if (i < PAYLOAD_FORMAT_COUNT)
		((struct mqtt_topic_conf *)object)->payload.format = (enum payload_format)i;
}

static bool same_format(const void *a, const void *b)
{
	return ((const struct mqtt_topic_conf *)a)->payload.format == ((const struct mqtt_topic_conf *)b)->payload.format;
}

static void read_unit(struct conf *c, const struct conf_node *value, void *object)
{
	static const char *const names[] = {"s", "ms", "us", "ns"};
	static const int64_t units_ns[] = {NS_PER_SEC, NS_PER_MS, 1000, 1};
	size_t i = read_choice(c, value, names, 4, "s, ms, us or ns");
	if (i < 4)
		((struct mqtt_topic_conf *)object)->payload.unit_ns = units_ns[i];
}

static bool same_unit(const void *a, const void *b)
{
	return ((const struct mqtt_topic_conf *)a)->payload.unit_ns == ((const struct mqtt_topic_conf *)b)->payload.unit_ns;
}

static void check_path(struct conf *c, const struct conf_node *node)
{
	struct json_path path;
	const char *why;
	if (!node || node->type != CONF_SCALAR || !*node->text)
		return;
	if (json_path_parse(node->text, &path, &why))
		conf_error(c, node, "%s is no path into JSON: %s", conf_quote(c, node->text), why);
	else
		json_path_clear(&path);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct model_tag *)a)->key, ((const struct model_tag *)b)->key);
}

/* A map of names to paths. */
static void read_paths(struct conf *c, const struct conf_node *value, struct model_tag **ret_paths, size_t *ret_count)
{
	if (!conf_expect(c, value, CONF_MAP))
		return;
	if (value->count > JSON_NAMES_MAX) {
		conf_error(c, value, "%zu names; at most %d", value->count, JSON_NAMES_MAX);
		return;
	}
	*ret_paths = xcalloc(value->count + 1, sizeof(**ret_paths));
	for (const struct conf_node *v = value->first; v; v = v->next) {
		const char *name, *path;
		if (!conf_text(c, v->key, TAG_BYTES_MAX, &name) || !conf_text(c, v, JSON_PATH_BYTES_MAX, &path))
			continue;
		check_path(c, v);
		(*ret_paths)[(*ret_count)++] = (struct model_tag){xstrdup(name), xstrdup(path)};
	}
	qsort(*ret_paths, *ret_count, sizeof(**ret_paths), compare_names);
}

static void read_fields(struct conf *c, const struct conf_node *value, void *object)
{
	struct payload_conf *p = &((struct mqtt_topic_conf *)object)->payload;
	read_paths(c, value, &p->fields, &p->field_count);
}

static void read_tags(struct conf *c, const struct conf_node *value, void *object)
{
	struct payload_conf *p = &((struct mqtt_topic_conf *)object)->payload;
	read_paths(c, value, &p->tags, &p->tag_count);
}

static void clear_paths(struct model_tag **paths, size_t *count)
{
	for (size_t i = 0; i < *count; i++) {
		free((*paths)[i].key);
		free((*paths)[i].value);
	}
	free(*paths);
	*paths = NULL;
	*count = 0;
}

static void clear_fields(void *object)
{
	struct payload_conf *p = &((struct mqtt_topic_conf *)object)->payload;
	clear_paths(&p->fields, &p->field_count);
}

static void clear_tags(void *object)
{
	struct payload_conf *p = &((struct mqtt_topic_conf *)object)->payload;
	clear_paths(&p->tags, &p->tag_count);
}

static bool same_paths(const struct model_tag *a, size_t a_count, const struct model_tag *b, size_t b_count)
{
	bool same = a_count == b_count;
	for (size_t i = 0; same && i < a_count; i++)
		same = !strcmp(a[i].key, b[i].key) && !strcmp(a[i].value, b[i].value);
	return same;
}

static bool same_fields(const void *a, const void *b)
{
	const struct payload_conf *x = &((const struct mqtt_topic_conf *)a)->payload, *y = &((const struct mqtt_topic_conf *)b)->payload;
	return same_paths(x->fields, x->field_count, y->fields, y->field_count);
}

static bool same_tags(const void *a, const void *b)
{
	const struct payload_conf *x = &((const struct mqtt_topic_conf *)a)->payload, *y = &((const struct mqtt_topic_conf *)b)->payload;
	return same_paths(x->tags, x->tag_count, y->tags, y->tag_count);
}

#define PAYLOAD(field) offsetof(struct mqtt_topic_conf, payload.field)
static const struct conf_field json_fields[] = {
	{.key = "readings", .kind = CONF_KIND_TEXT, .offset = PAYLOAD(readings), .max = JSON_PATH_BYTES_MAX},
	{.key = "value", .kind = CONF_KIND_TEXT, .offset = PAYLOAD(value), .max = JSON_PATH_BYTES_MAX},
	{.key = "fields", .kind = CONF_KIND_CUSTOM, .read = read_fields, .clear = clear_fields, .same = same_fields},
	{.key = "tags", .kind = CONF_KIND_CUSTOM, .read = read_tags, .clear = clear_tags, .same = same_tags},
	{.key = "time", .kind = CONF_KIND_TEXT, .offset = PAYLOAD(time), .max = JSON_PATH_BYTES_MAX},
};
static const struct conf_schema json_schema = {sizeof(struct mqtt_topic_conf), FIELDS(json_fields), NULL, NULL, NULL};

static void check_json(struct conf *c, const struct conf_node *map, const struct payload_conf *p)
{
	const struct conf_node *json = conf_get(map, "json");
	if (!json) {
		conf_error(c, map, "format json needs `json: {value: PATH}` or `json: {fields: {NAME: PATH}}`");
		return;
	}
	check_path(c, conf_get(json, "readings"));
	check_path(c, conf_get(json, "value"));
	check_path(c, conf_get(json, "time"));
	if (!conf_get(json, "value") == !conf_get(json, "fields"))
		conf_error(c, json, "one of `value` (a path, for one field) and `fields` (names and their paths) is needed");
	if (conf_get(map, "field") && p->field_count)
		conf_error(c, conf_get(map, "field"), "is for one value; `json.fields` names them already");
}

/* ---- topics ----------------------------------------------------------------------------------------------------- */

static void check_tags(struct conf *c, const struct conf_node *map, const struct topic_filter *f, const struct payload_conf *p)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct topic_level *l = &f->levels[i];
		for (size_t k = 0; k < p->tag_count && l->kind == TOPIC_ANY && l->text; k++)
			if (!strcmp(l->text, p->tags[k].key))
				conf_error(c, conf_get(conf_get(map, "json"), "tags"), "%s is the tag of a level of the filter already",
				    conf_quote(c, l->text));
	}
}

static void check_filter(struct conf *c, const struct conf_node *map, const struct payload_conf *p)
{
	const struct conf_node *node = conf_get(map, "filter");
	struct topic_filter f;
	const char *why;
	if (!node || node->type != CONF_SCALAR || !*node->text)
		return;
	if (topic_filter_parse(node->text, &f, &why)) {
		conf_error(c, node, "%s is no topic filter: %s", conf_quote(c, node->text), why);
		return;
	}
	check_tags(c, map, &f, p);
	topic_filter_clear(&f);
}

static void refuse_key(struct conf *c, const struct conf_node *map, const char *key, const char *why)
{
	if (conf_get(map, key))
		conf_error(c, conf_get(map, key), "%s", why);
}

static void check_topic(struct conf *c, const struct conf_node *map, void *object)
{
	struct payload_conf *p = &((struct mqtt_topic_conf *)object)->payload;
	check_filter(c, map, p);
	if (p->format == PAYLOAD_JSON)
		check_json(c, map, p);
	else
		refuse_key(c, map, "json", "is for `format: json`");
	if (p->format == PAYLOAD_LINE) {
		refuse_key(c, map, "measurement", "line protocol has its own measurements");
		refuse_key(c, map, "field", "line protocol has its own fields");
	}
	if (p->format == PAYLOAD_NUMBER || p->format == PAYLOAD_COLLECTD)
		refuse_key(c, map, "time_unit", "is for timestamps of line protocol and JSON");
	if (!p->measurement)
		p->measurement = xstrdup("mqtt");
	if (!p->field)
		p->field = xstrdup("value");
}

static const struct conf_field topic_fields[] = {
	{.key = "filter", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct mqtt_topic_conf, filter),
	    .max = TOPIC_FILTER_BYTES_MAX},
	{.key = "format", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_format, .same = same_format},
	{.key = "measurement", .kind = CONF_KIND_TEXT, .offset = PAYLOAD(measurement), .max = TAG_BYTES_MAX},
	{.key = "field", .kind = CONF_KIND_TEXT, .offset = PAYLOAD(field), .max = TAG_BYTES_MAX},
	{.key = "json", .kind = CONF_KIND_MAP, .schema = &json_schema},
	{.key = "time_unit", .kind = CONF_KIND_CUSTOM, .read = read_unit, .same = same_unit},
};
static const struct conf_schema topic_schema = {sizeof(struct mqtt_topic_conf), FIELDS(topic_fields), NULL, check_topic, NULL};

/* A message that two subscriptions match may come twice. */
static void check_overlap(struct conf *c, const struct conf_node *topics, const struct mqtt_conf *m)
{
	struct topic_filter *filters = xcalloc(m->topic_count + 1, sizeof(*filters));
	const struct conf_node *node = topics->first;
	for (size_t i = 0; i < m->topic_count; i++, node = node->next) {
		const char *why, *text = m->topics[i].filter;
		if (!text || topic_filter_parse(text, &filters[i], &why))
			continue;
		for (size_t k = 0; k < i; k++) {
			if (filters[k].count && topic_filters_overlap(&filters[i], &filters[k])) {
				conf_error(c, conf_get(node, "filter"), "overlaps %s: a broker may send what both match twice",
				    conf_quote(c, m->topics[k].filter));
				break;
			}
		}
	}
	for (size_t i = 0; i < m->topic_count; i++)
		topic_filter_clear(&filters[i]);
	free(filters);
}

/* ---- the broker ------------------------------------------------------------------------------------------------- */

unsigned topology_read_mqtt_version(struct conf *c, const struct conf_node *value, unsigned before)
{
	static const char *const names[] = {"3.1.1", "5"};
	size_t i = read_choice(c, value, names, 2, "3.1.1 or 5");
	return i == 2 ? before : i ? 5 : 3;
}

bool mqtt_broker_parse(const char *text, struct addr_host *ret_host, bool *ret_tls)
{
	bool tls = !strncmp(text, "mqtts://", 8);
	if (!tls && strncmp(text, "mqtt://", 7))
		return false;
	const char *rest = text + (tls ? 8 : 7);
	*ret_tls = tls;
	if (strstr(rest, "//") || addr_parse_host(rest, ret_host) || !ret_host->port)
		return false;
	if (tls && !strncmp(rest, "localhost:", 10)) /* its certificate is one of that name */
		memcpy(ret_host->host, "localhost", sizeof("localhost"));
	return true;
}

static void check_tls(struct conf *c, const struct conf_node *map, const struct mqtt_broker_conf *b, bool tls)
{
	const struct conf_node *node = conf_get(map, "tls");
	if (node && !tls)
		conf_error(c, node, "is for a broker that is reached by mqtts://");
	if (!b->cert_file != !b->key_file)
		conf_error(c, node, "`cert_file` and `key_file` go together");
}

void topology_check_broker(struct conf *c, const struct conf_node *map, struct mqtt_broker_conf *b)
{
	struct addr_host host;
	bool tls = false;
	if (!conf_get(map, "version"))
		b->version = 5;
	if (!conf_get(map, "keepalive"))
		b->keepalive_ns = 60 * NS_PER_SEC;
	if (b->address && !mqtt_broker_parse(b->address, &host, &tls))
		conf_error(c, conf_get(map, "broker"), "%s: expected mqtt://HOST:PORT or mqtts://HOST:PORT", conf_quote(c, b->address));
	else if (b->address)
		check_tls(c, map, b, tls);
	if (b->password_file && !b->user)
		conf_error(c, conf_get(map, "password_file"), "needs `user`");
}

#define TLS(field) offsetof(struct mqtt_broker_conf, field)
static const struct conf_field tls_fields[] = {
	{.key = "ca_file", .kind = CONF_KIND_PATH, .offset = TLS(ca_file)},
	{.key = "cert_file", .kind = CONF_KIND_PATH, .offset = TLS(cert_file)},
	{.key = "key_file", .kind = CONF_KIND_PATH, .offset = TLS(key_file)},
};
const struct conf_schema topology_mqtt_tls_schema = {sizeof(struct mqtt_broker_conf), FIELDS(tls_fields), NULL, NULL, NULL};

/* ---- the source ------------------------------------------------------------------------------------------------- */

static void read_version(struct conf *c, const struct conf_node *value, void *object)
{
	struct mqtt_broker_conf *b = &((struct source_conf *)object)->mqtt.broker;
	b->version = topology_read_mqtt_version(c, value, b->version);
}

static bool same_version(const void *a, const void *b)
{
	return ((const struct source_conf *)a)->mqtt.broker.version == ((const struct source_conf *)b)->mqtt.broker.version;
}

static void mqtt_defaults(struct mqtt_conf *m, const struct conf_node *map)
{
	if (!conf_get(map, "qos"))
		m->qos = 1;
	if (!conf_get(map, "session_expiry"))
		m->session_expiry_ns = 7 * DAY_NS;
}

void topology_check_mqtt(struct conf *c, const struct conf_node *map, void *object)
{
	struct mqtt_conf *m = &((struct source_conf *)object)->mqtt;
	const struct conf_node *topics = conf_get(map, "topics");
	mqtt_defaults(m, map);
	topology_check_broker(c, map, &m->broker);
	if (conf_get(map, "session_expiry") && m->broker.version == 3)
		conf_error(c, conf_get(map, "session_expiry"), "is of version 5: with 3.1.1 the broker's configuration says how long");
	if (topics && topics->type == CONF_LIST && m->topic_count)
		check_overlap(c, topics, m);
}

#define MQTT(field) offsetof(struct source_conf, mqtt.field)
const struct conf_field topology_mqtt_fields[TOPOLOGY_MQTT_FIELDS] = {
	TOPOLOGY_SOURCE_FIELDS,
	TOPOLOGY_BROKER_FIELDS(struct source_conf, mqtt.broker, read_version, same_version),
	{.key = "qos", .kind = CONF_KIND_U32, .offset = MQTT(qos), .max = 2},
	{.key = "client_id", .kind = CONF_KIND_TEXT, .offset = MQTT(client_id), .max = CLIENT_ID_BYTES_MAX},
	{.key = "session_expiry", .kind = CONF_KIND_DURATION, .offset = MQTT(session_expiry_ns), .min = NS_PER_SEC,
	    .max = DURATION_MAX_NS},
	{.key = "retained", .kind = CONF_KIND_BOOL, .offset = MQTT(retained)},
	{.key = "topics", .kind = CONF_KIND_LIST, .required = true, .offset = MQTT(topics), .count_offset = MQTT(topic_count),
	    .schema = &topic_schema, .min = 1, .max = MQTT_TOPICS_MAX},
};
