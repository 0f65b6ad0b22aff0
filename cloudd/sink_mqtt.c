/* Results published to an MQTT broker: a message for each row, on the topic of its stream and group, and for each event of an alert.
 *
 * A batch is delivered when the broker has acknowledged each of its messages (cloudd/mqtt_publisher.h). The connection has no session: what
 * was not acknowledged is published again, by this node or by the next leader. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_json.h"
#include "cloudd/mqtt_publisher.h"
#include "cloudd/newest.h"
#include "cloudd/sink.h"
#include "common/err.h"
#include "common/mqtt_broker.h"
#include "common/topic_name.h"

struct sink_mqtt {
	struct sink sink;
	struct mqtt_publisher *publisher; /* NULL: there is no connection */
	bool warned;                      /* of a password in plain text */
	uint64_t connections;
	struct buf topic, body;
	struct newest newest;             /* of what is retained; stays when it is closed */
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_mqtt_connections_total", "connections made to the broker", STATS_COUNTER, {"sink"}},
};

static void values(const struct sink *s, uint64_t *ret_values)
{
	ret_values[0] = ((const struct sink_mqtt *)s)->connections;
}

static bool is_stopping(void *arg)
{
	return sink_stopping(arg);
}

/* ---- connecting --------------------------------------------------------------------------------------------------- */

static void warn_of_plain_password(struct sink_mqtt *m)
{
	if (!m->warned && mqtt_broker_exposes_password(&m->sink.conf->mqtt.broker))
		sink_say(&m->sink, true, "the password crosses the network as plain text: use mqtts://");
	m->warned = true;
}

/* One of its own for each node and sink: a broker knows a client by it, and ends the connection of who has the same. */
static char *client_id(const struct sink *s)
{
	return xasprintf("weir-%s-%s-%s", s->cluster, s->node, s->conf->name);
}

static int open_publisher(struct sink_mqtt *m, char **ret_why)
{
	const struct sink_conf *c = m->sink.conf;
	char *id = client_id(&m->sink);
	struct mqtt_broker room = {0};
	struct mqtt_link_conf link = {.client_id = id, .clean = true};
	int rc = mqtt_broker_read(&c->mqtt.broker, &room, &link, ret_why);
	if (!rc)
		rc = mqtt_publisher_open(&(struct mqtt_publisher_options){.link = &link, .qos = c->mqtt.qos, .retains = c->mqtt.retained,
		                             .timeout_ns = c->mqtt.timeout_ns, .arg = &m->sink, .stopping = is_stopping},
		    &m->publisher, ret_why);
	m->connections += !rc;
	mqtt_broker_clear(&room);
	free(id);
	return rc;
}

static void mqtt_close(struct sink *s)
{
	struct sink_mqtt *m = (struct sink_mqtt *)s;
	mqtt_publisher_free(m->publisher);
	m->publisher = NULL;
	buf_free(&m->topic);
	buf_free(&m->body);
}

static void mqtt_idle(struct sink *s)
{
	struct sink_mqtt *m = (struct sink_mqtt *)s;
	if (!m->publisher || mqtt_publisher_idle(m->publisher))
		return;
	mqtt_publisher_free(m->publisher); /* the next batch connects anew */
	m->publisher = NULL;
}

/* ---- delivering --------------------------------------------------------------------------------------------------- */

static int make_topic(struct sink_mqtt *m, const char *own, const char *usual, const struct topic_name *n)
{
	buf_clear(&m->topic);
	return topic_name_put(own ? own : usual, n, &m->topic);
}

static int send_row(struct sink_mqtt *m, const struct sink_row *r, char **ret_why)
{
	const struct sink_conf *c = m->sink.conf;
	const char *stream = r->stream->name;
	struct topic_name n = {.stream = bytes_of(stream, strlen(stream)), .tag_count = r->stream->by_count, .group = r->row.group,
	    .is_part = sink_row_is_part(r), .shard = r->shard};
	int rc = make_topic(m, c->mqtt.topic, SINK_MQTT_TOPIC, &n);
	if (rc)
		return rc;
	buf_clear(&m->body);
	sink_row_json(r, &m->body);
	bool retained = c->mqtt.retained && newest_take(&m->newest, bytes_of(m->topic.data, m->topic.len), r->row.start_ns);
	return mqtt_publisher_send(m->publisher, buf_cstr(&m->topic), bytes_of(m->body.data, m->body.len), retained, ret_why);
}

/* What a broker keeps is the state that the alert is in: events of a group come in their order, also when they come again. */
static int send_alert(struct sink_mqtt *m, const struct alert_event *e, char **ret_why)
{
	const struct sink_conf *c = m->sink.conf;
	struct topic_name n = {.stream = e->def.stream, .alert = e->def.name, .tag_count = e->basis.by_count, .group = e->group,
	    .is_part = alert_event_is_part(e), .shard = e->shard};
	int rc = make_topic(m, c->mqtt.alerts_topic, SINK_MQTT_ALERTS_TOPIC, &n);
	if (rc)
		return rc;
	buf_clear(&m->body);
	alert_event_json(e, &m->body);
	return mqtt_publisher_send(m->publisher, buf_cstr(&m->topic), bytes_of(m->body.data, m->body.len), c->mqtt.retained, ret_why);
}

typedef void rejected_fn(struct sink *s, uint64_t count, const char *why);

static int wait_for_all(struct sink_mqtt *m, rejected_fn *rejected, char **ret_why)
{
	struct mqtt_refusals refusals;
	int rc = mqtt_publisher_wait(m->publisher, &refusals, ret_why);
	if (!rc && refusals.count)
		rejected(&m->sink, refusals.count, refusals.why);
	return rc;
}

static int begin_sending(struct sink_mqtt *m, char **ret_why)
{
	warn_of_plain_password(m);
	return m->publisher ? 0 : open_publisher(m, ret_why);
}

static int mqtt_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	struct sink_mqtt *m = (struct sink_mqtt *)s;
	int rc = begin_sending(m, ret_why);
	for (size_t i = 0; i < b->count && !rc; i++)
		rc = send_row(m, &b->rows[i], ret_why);
	return rc ? rc : wait_for_all(m, sink_rejected, ret_why);
}

static int mqtt_alerts(struct sink *s, const struct sink_alerts *b, char **ret_why)
{
	struct sink_mqtt *m = (struct sink_mqtt *)s;
	int rc = begin_sending(m, ret_why);
	for (size_t i = 0; i < b->count && !rc; i++)
		rc = send_alert(m, &b->events[i], ret_why);
	return rc ? rc : wait_for_all(m, sink_rejected_alerts, ret_why);
}

const struct sink_ops sink_mqtt_ops = {
	.size = sizeof(struct sink_mqtt),
	.deliver = mqtt_deliver,
	.alerts = mqtt_alerts,
	.idle = mqtt_idle,
	.close = mqtt_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
