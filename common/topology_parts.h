/* What the files of topology share among themselves, and nobody else uses. */
#ifndef WEIR_COMMON_TOPOLOGY_PARTS_H
#define WEIR_COMMON_TOPOLOGY_PARTS_H

#include "common/clock.h"
#include "common/conf.h"
#include "common/model.h"

#define DAY_NS (86400 * NS_PER_SEC)
#define DURATION_MAX_NS (36500 * DAY_NS) /* so that sums of two do not overflow */
#define TAG_BYTES_MAX 256                /* of a tag's name or a pattern */

/* The table of one item of `edges` (topology_edge.c), of their `sources` (topology_source.c) and of `streams`
 * (topology_stream.c). */
extern const struct conf_schema topology_edge_schema;
extern const struct conf_schema topology_source_schema;
extern const struct conf_schema topology_stream_schema;
/* Of `sinks` (topology_sink.c). */
extern const struct conf_schema topology_sink_schema;

/* What the type of a source is, as the file says; SOURCE_TYPE_COUNT: nothing that is known. */
enum source_type topology_source_type(const struct conf_node *source);

/* What all tables of sources begin with. */
void topology_read_source_line(struct conf *c, const struct conf_node *value, void *object);
#define TOPOLOGY_SOURCE_FIELDS \
	{.key = "type", .kind = CONF_KIND_CUSTOM, .required = true, .read = topology_read_source_line}, \
	{.key = "name", .kind = CONF_KIND_NAME, .offset = offsetof(struct source_conf, name)}

/* What sources and sinks say of an MQTT broker (topology_mqtt.c); object: the struct that has the struct mqtt_broker_conf, broker: where.
 * The key `version` has a reader in each, which calls the first of these. */
unsigned topology_read_mqtt_version(struct conf *c, const struct conf_node *value, unsigned before);
void topology_check_broker(struct conf *c, const struct conf_node *map, struct mqtt_broker_conf *b);
extern const struct conf_schema topology_mqtt_tls_schema;
#define TOPOLOGY_USER_BYTES_MAX 256
#define TOPOLOGY_BROKER_FIELDS(object, broker, read_version, same_version) \
	{.key = "broker", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(object, broker.address)}, \
	{.key = "version", .kind = CONF_KIND_CUSTOM, .read = (read_version), .same = (same_version)}, \
	{.key = "user", .kind = CONF_KIND_TEXT, .offset = offsetof(object, broker.user), .max = TOPOLOGY_USER_BYTES_MAX}, \
	{.key = "password_file", .kind = CONF_KIND_PATH, .offset = offsetof(object, broker.password_file)}, \
	{.key = "tls", .kind = CONF_KIND_MAP, .offset = offsetof(object, broker), .schema = &topology_mqtt_tls_schema}, \
	{.key = "keepalive", .kind = CONF_KIND_DURATION, .offset = offsetof(object, broker.keepalive_ns), .min = 5 * NS_PER_SEC, \
	    .max = 65535 * NS_PER_SEC}

/* mqtt (topology_mqtt.c). */
#define TOPOLOGY_MQTT_FIELDS 13
extern const struct conf_field topology_mqtt_fields[TOPOLOGY_MQTT_FIELDS];
void topology_check_mqtt(struct conf *c, const struct conf_node *map, void *object);

/* The key `type` of a map chooses its table: the index of what it says among names, or count. */
size_t topology_type(const struct conf_node *map, const char *const *names, size_t count);
/* The same, noting what is wrong: "no WHAT type ..., did you mean". */
size_t topology_select_type(struct conf *c, const struct conf_node *map, const char *what, const char *const *names,
    size_t count);

/* A list of 1 to count_max texts, or one text, which is a list of one. What is wrong is noted, and left out. */
void topology_read_texts(struct conf *c, const struct conf_node *value, size_t count_max, size_t bytes_max,
    struct model_texts *ret);
void topology_clear_texts(struct model_texts *t);

/* `alert` of a stream (topology_alert.c): reads it, then what needs the rest of the stream, then what needs the rest of the file. */
void topology_read_alerts(struct conf *c, const struct conf_node *value, void *object);
void topology_check_alerts(struct conf *c, const struct conf_node *stream, struct stream_conf *s);
void topology_check_alert_sinks(struct conf *c, const struct conf_node *root, const struct topology *t);
/* The node of the stream's first alert; the others follow. NULL: it has none. */
const struct conf_node *topology_alert_node(const struct conf_node *stream);
bool topology_alerts_to(const struct topology *t, const char *sink); /* whether any goes there */

/* What a stream is made of, as topology.yaml writes it: appends nothing for what it leaves out. */
enum stream_part {
	STREAM_FROM,
	STREAM_STEPS,
	STREAM_BY,
	STREAM_WINDOW,
	STREAM_LATENESS,
	STREAM_COMPUTE,
	STREAM_RETAIN,
	STREAM_ROLLUP,
	STREAM_EDGES,
	STREAM_MAX_GROUPS,
	STREAM_ALERT, /* of the stream, whatever its version: no part of a definition that is kept */
	STREAM_PARTS
};
extern const char *const topology_stream_keys[STREAM_PARTS];
void topology_stream_part(const struct topology *t, const struct stream_conf *s, enum stream_part part, struct buf *out);
/* Sets the stream's edges to all of t that are in force. */
void topology_expect_all(const struct topology *t, struct stream_conf *s);

/* kafka (topology_kafka.c): its keys `brokers` and `format`, its defaults, and what its keys must be. */
void topology_read_kafka_brokers(struct conf *c, const struct conf_node *value, void *object);
void topology_clear_kafka_brokers(void *object);
bool topology_same_kafka_brokers(const void *a, const void *b);
void topology_read_kafka_format(struct conf *c, const struct conf_node *value, void *object);
bool topology_same_kafka_format(const void *a, const void *b);
void topology_check_kafka(struct conf *c, const struct conf_node *map, void *object);

/* remote_write (topology_remote_write.c): the key `labels`, what the type's keys must be, and that the names of what it sends differ. */
void topology_read_remote_labels(struct conf *c, const struct conf_node *map, void *object);
void topology_clear_remote_labels(void *object);
bool topology_same_remote_labels(const void *a, const void *b);
#define TOPOLOGY_REMOTE_LABELS_FIELD \
	{.key = "labels", .kind = CONF_KIND_CUSTOM, .read = topology_read_remote_labels, .clear = topology_clear_remote_labels, \
	    .same = topology_same_remote_labels}
void topology_check_remote_write(struct conf *c, const struct conf_node *map, void *object);
void topology_check_remote_names(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s);

/* Where a zmq sink is bound at a node: false, nowhere, or the node's `listen` is no address. */
struct addr_host;
bool topology_sink_address(const struct topology *t, const struct sink_conf *s, size_t cloud, struct addr_host *ret);
/* What of the sinks needs the rest of the file: the streams that they name, what must differ. */
void topology_check_sinks(struct conf *c, const struct conf_node *root, const struct topology *t);

/* What needs more than one place of the file (topology_check.c): names, addresses, folders, expected edges; fills in
 * what follows from it. */
void topology_check(struct conf *c, const struct conf_node *root, struct topology *t);

#endif
