/* Results published over ZeroMQ: each node sends the rows and alerts of the shards that it leads, to whoever has subscribed, from a socket that
 * is bound.
 *
 * A message has three parts: the topic (stream and group, for subscriptions), the head (who, in which run, the number of the row) and the
 * row. Nobody acknowledges anything: the places move on when the rows are in the subscribers' queues (cloudd/zmq_publisher.h), also where
 * there are no subscribers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cloudd/alert_json.h"
#include "cloudd/sink.h"
#include "cloudd/zmq_publisher.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topic_name.h"

/* Those who were subscribed before a restart come back, as ZeroMQ does by itself, within a tenth of a second or so. */
#define SETTLE_NS (INT64_C(1000000000))
#define NUMBERS_MAX 4096 /* streams and alerts that are numbered at a time; when there are more another run begins */
#define ROWS_TOPIC TOPIC_NAME_STREAM "/" TOPIC_NAME_GROUP
#define ALERTS_TOPIC "alert " TOPIC_NAME_ALERT "/" TOPIC_NAME_GROUP /* no stream's name has a blank */
_Static_assert(SINK_BATCH_ALERTS <= SINK_BATCH_ROWS, "messages of a batch");

struct sink_zmq {
	struct sink sink;
	struct zmq_publisher *publisher;
	int64_t run_ms;
	struct zmq_publisher_counts before, now; /* of publishers that are no more; with the one that is there */
	struct buf text;                         /* of a batch */
	struct zmq_message *messages;            /* SINK_BATCH_ROWS */
	size_t number_count;
	struct number {
		uint64_t hash; /* of a stream's name, or an alert's */
		uint64_t sent;
	} numbers[NUMBERS_MAX];
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_zmq_left_behind_total", "times that a subscriber did not read, and was left behind: it misses rows", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_zmq_refused_total", "connections that were refused", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_zmq_subscribers", "connections that are open", STATS_GAUGE, {"sink"}},
};

/* ---- counts ------------------------------------------------------------------------------------------------------- */

static void look(struct sink_zmq *z)
{
	struct zmq_publisher_counts c = {0};
	if (z->publisher)
		zmq_publisher_counts(z->publisher, &c);
	z->now = c;
	z->now.left_behind += z->before.left_behind;
	z->now.refused += z->before.refused;
}

static void values(const struct sink *s, uint64_t *ret_values)
{
	const struct sink_zmq *z = (const struct sink_zmq *)s;
	ret_values[0] = z->now.left_behind;
	ret_values[1] = z->now.refused;
	ret_values[2] = z->now.subscribers;
}

static void zmq_idle(struct sink *s)
{
	look((struct sink_zmq *)s);
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static void report(void *arg, const char *text)
{
	sink_say(arg, true, text);
}

static bool is_stopping(void *arg)
{
	return sink_stopping(arg);
}

/* The node's own address, with the sink's port. */
static char *address_of(const struct sink *s)
{
	struct addr_host h;
	weir_assert(!addr_parse_host(s->listen, &h)); /* topology.yaml was checked */
	uint32_t port = sink_port(s->conf, s->node);
	return h.kind == ADDR_IPV6 ? xasprintf("tcp://[%s]:%u", h.host, port) : xasprintf("tcp://%s:%u", h.host, port);
}

static void begin_run(struct sink_zmq *z)
{
	z->run_ms = clock_wall_ns() / NS_PER_MS;
	memset(z->numbers, 0, sizeof(z->numbers));
	z->number_count = 0;
}

static int zmq_open(struct sink *s, char **ret_why)
{
	struct sink_zmq *z = (struct sink_zmq *)s;
	char *address = address_of(s);
	int rc = zmq_publisher_open(&(struct zmq_publisher_options){.address = address, .keys_dir = s->keys_dir,
	                                .subscribers = s->conf->zmq.subscribers, .node = s->node, .arg = s, .report = report,
	                                .stopping = is_stopping},
	    &z->publisher, ret_why);
	free(address);
	if (rc)
		return rc;
	z->messages = xcalloc(SINK_BATCH_ROWS, sizeof(*z->messages));
	begin_run(z);
	sink_pause(s, SETTLE_NS);
	return 0;
}

static void zmq_close(struct sink *s)
{
	struct sink_zmq *z = (struct sink_zmq *)s;
	look(z);
	z->before = z->now;
	zmq_publisher_free(z->publisher);
	z->publisher = NULL;
	buf_free(&z->text);
	free(z->messages);
	z->messages = NULL;
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

/* The number in this run, from 1, of the next row of the stream, or event of the alert. */
static uint64_t number_of(struct sink_zmq *z, const struct topic_name *n)
{
	uint64_t hash = n->alert.n ? XXH3_64bits_withSeed(n->alert.p, n->alert.n, 1) : XXH3_64bits(n->stream.p, n->stream.n);
	for (size_t i = 0; i < z->number_count; i++) {
		if (z->numbers[i].hash == hash)
			return ++z->numbers[i].sent;
	}
	if (z->number_count == NUMBERS_MAX)
		begin_run(z);
	z->numbers[z->number_count++] = (struct number){hash, 1};
	return 1;
}

/* Appends the parts before the last one, and where each ends. */
static int put_head(struct sink_zmq *z, const char *template, const struct topic_name *n, size_t ends[ZMQ_PUBLISHER_PARTS])
{
	struct buf *b = &z->text;
	int rc = topic_name_put(template, n, b);
	if (rc)
		return rc;
	buf_u8(b, '/'); /* so that a group is not the beginning of another one */
	ends[0] = b->len;
	uint64_t number = number_of(z, n);
	buf_printf(b, "{\"node\": \"%s\", \"run\": %lld, \"seq\": %llu}", z->sink.node, (long long)z->run_ms, (unsigned long long)number);
	ends[1] = b->len;
	return 0;
}

static int put_row(struct sink_zmq *z, const struct sink_row *r, size_t ends[ZMQ_PUBLISHER_PARTS])
{
	const char *stream = r->stream->name;
	struct topic_name n = {.stream = bytes_of(stream, strlen(stream)), .tag_count = r->stream->by_count, .group = r->row.group,
	    .is_part = sink_row_is_part(r), .shard = r->shard};
	int rc = put_head(z, ROWS_TOPIC, &n, ends);
	if (!rc)
		sink_row_json(r, &z->text);
	ends[2] = z->text.len;
	return rc;
}

static int put_alert(struct sink_zmq *z, const struct alert_event *e, size_t ends[ZMQ_PUBLISHER_PARTS])
{
	struct topic_name n = {.stream = e->def.stream, .alert = e->def.name, .tag_count = e->basis.by_count, .group = e->group,
	    .is_part = alert_event_is_part(e), .shard = e->shard};
	int rc = put_head(z, ALERTS_TOPIC, &n, ends);
	if (!rc)
		alert_event_json(e, &z->text);
	ends[2] = z->text.len;
	return rc;
}

/* The bytes have their place once all are there. */
static void set_parts(struct sink_zmq *z, size_t count, size_t (*ends)[ZMQ_PUBLISHER_PARTS])
{
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		for (size_t part = 0; part < ZMQ_PUBLISHER_PARTS; part++) {
			z->messages[i].parts[part] = bytes_of(z->text.data + at, ends[i][part] - at);
			at = ends[i][part];
		}
	}
}

static int publish(struct sink_zmq *z, size_t count, size_t (*ends)[ZMQ_PUBLISHER_PARTS])
{
	set_parts(z, count, ends);
	int rc = zmq_publisher_send(z->publisher, z->messages, count);
	look(z);
	return rc;
}

static int zmq_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	struct sink_zmq *z = (struct sink_zmq *)s;
	size_t ends[SINK_BATCH_ROWS][ZMQ_PUBLISHER_PARTS];
	(void)ret_why;
	buf_clear(&z->text);
	for (size_t i = 0; i < b->count; i++) {
		int rc = put_row(z, &b->rows[i], ends[i]);
		if (rc)
			return rc;
	}
	return publish(z, b->count, ends);
}

static int zmq_alerts(struct sink *s, const struct sink_alerts *b, char **ret_why)
{
	struct sink_zmq *z = (struct sink_zmq *)s;
	size_t ends[SINK_BATCH_ALERTS][ZMQ_PUBLISHER_PARTS];
	(void)ret_why;
	buf_clear(&z->text);
	for (size_t i = 0; i < b->count; i++) {
		int rc = put_alert(z, &b->events[i], ends[i]);
		if (rc)
			return rc;
	}
	return publish(z, b->count, ends);
}

const struct sink_ops sink_zmq_ops = {
	.size = sizeof(struct sink_zmq),
	.early = true,
	.open = zmq_open,
	.deliver = zmq_deliver,
	.alerts = zmq_alerts,
	.idle = zmq_idle,
	.close = zmq_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
