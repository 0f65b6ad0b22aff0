/* Results as records of Kafka: one for each row, whose key is the stream and the group, so that all that is ever said of a group is in one
 * partition, in order; and one for each event of an alert, by the same rules.
 *
 * As many rows as deliver() is given go at once, and all are waited for before further ones. What brokers find too large goes again in halves,
 * down to one row, which, where it is refused by itself, is passed over, counted and told of: the limit of a broker is one of what a record
 * was sent in. Anything else (no broker, no such topic, no right to it, too few replicas) is not about the rows: all come again. So they do where
 * nothing was ever taken: then that limit is not what it should be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_json.h"
#include "cloudd/kafka_client.h"
#include "cloudd/sink.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/secret.h"

#define WAIT_NS (INT64_C(200) * NS_PER_MS)  /* between two looks whether to stop */
#define LINES_NS (INT64_C(60) * NS_PER_SEC) /* in which the library may say ... */
#define LINES_SAID_MAX 5                    /* ... so many lines */
#define CLIENT_ID_BYTES (2 * NAME_MAX_BYTES + 16)
#define STREAM_MARK "{stream}"
#define ALERT_MARK "{alert}"

struct sink_kafka {
	struct sink sink;
	struct kafka_client *client;
	struct buf topic, key, value;
	bool has_taken_rows, has_taken_alerts; /* one, ever */
	int64_t lines_from_ns; /* what the library says: since when it is counted */
	unsigned lines_said, lines_left_out;
	uint64_t bytes, halved;
};

static const struct stats_family families[] = {
	{"weir_cloud_sink_kafka_bytes_total", "bytes of keys and values that brokers have acknowledged, before they are compressed", STATS_COUNTER, {"sink"}},
	{"weir_cloud_sink_kafka_too_large_total", "times that rows were too large for a broker: sent again in smaller pieces", STATS_COUNTER, {"sink"}},
};

static void values(const struct sink *s, uint64_t *ret_values)
{
	const struct sink_kafka *k = (const struct sink_kafka *)s;
	ret_values[0] = k->bytes;
	ret_values[1] = k->halved;
}

/* ---- what the library says ---------------------------------------------------------------------------------------- */

static void say_left_out(struct sink_kafka *k)
{
	char text[64];
	if (k->lines_left_out) {
		snprintf(text, sizeof(text), "librdkafka: %u more lines", k->lines_left_out);
		sink_say(&k->sink, true, text);
	}
	k->lines_left_out = 0;
	k->lines_said = 0;
}

static void say_line(struct sink_kafka *k, const char *line)
{
	if (k->lines_said++ >= LINES_SAID_MAX) {
		k->lines_left_out++;
		return;
	}
	char *text = xasprintf("librdkafka: %s", line);
	sink_say(&k->sink, true, text);
	free(text);
}

static void say_lines(struct sink_kafka *k)
{
	char line[KAFKA_WHY_BYTES];
	unsigned lost;
	int64_t now_ns = clock_mono_ns();
	if (now_ns - k->lines_from_ns >= LINES_NS) {
		say_left_out(k);
		k->lines_from_ns = now_ns;
	}
	for (unsigned i = 0; i < KAFKA_LINES_MAX && kafka_client_line(k->client, line, &lost); i++) {
		k->lines_left_out += lost;
		say_line(k, line);
	}
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static void join_brokers(const struct model_texts *brokers, struct buf *out)
{
	for (size_t i = 0; i < brokers->count; i++)
		buf_printf(out, "%s%s", i ? "," : "", brokers->items[i]);
}

/* NULL path: nothing. Blanks at its end, such as the end of a line, are none of it. */
static int read_secret(const char *path, struct buf *out, char **ret_why)
{
	int rc = path ? secret_read(path, out, ret_why) : 0;
	while (!rc && out->len && out->data[out->len - 1] <= ' ')
		out->len--;
	if (!rc && path && (!out->len || memchr(out->data, 0, out->len))) {
		*ret_why = xasprintf("%s is empty, or no text", path);
		rc = WEIR_EINVAL;
	}
	return rc;
}

static int open_client(struct sink_kafka *k, struct buf *password, struct buf *key, char **ret_why)
{
	const struct sink_conf *c = k->sink.conf;
	char id[CLIENT_ID_BYTES];
	struct buf brokers = {0};
	join_brokers(&c->kafka.brokers, &brokers);
	snprintf(id, sizeof(id), "weir-%s-%s", k->sink.node, c->name);
	int rc = kafka_client_open(&(struct kafka_options){.brokers = buf_cstr(&brokers), .client_id = id, .compression = c->kafka.compression,
	    .timeout_ns = c->kafka.timeout_ns, .tls = c->kafka.tls, .ca_file = c->kafka.ca_file, .cert_file = c->kafka.cert_file,
	    .key_pem = c->kafka.key_file ? buf_cstr(key) : NULL, .mechanism = c->kafka.mechanism, .user = c->kafka.user,
	    .password = c->kafka.password_file ? buf_cstr(password) : NULL}, &k->client, ret_why);
	buf_free(&brokers);
	return rc;
}

static int kafka_open(struct sink *s, char **ret_why)
{
	struct sink_kafka *k = (struct sink_kafka *)s;
	struct buf password = {0}, key = {0};
	int rc = read_secret(s->conf->kafka.password_file, &password, ret_why);
	if (!rc)
		rc = read_secret(s->conf->kafka.key_file, &key, ret_why);
	if (!rc)
		rc = open_client(k, &password, &key, ret_why);
	secret_free(&password);
	secret_free(&key);
	return rc;
}

static void kafka_close(struct sink *s)
{
	struct sink_kafka *k = (struct sink_kafka *)s;
	if (k->client)
		say_lines(k);
	kafka_client_close(k->client);
	k->client = NULL;
	buf_free(&k->topic);
	buf_free(&k->key);
	buf_free(&k->value);
}

/* Reports of brokers that went away, and the library's lines, are to be had also while there are no rows. */
static void kafka_idle(struct sink *s)
{
	struct sink_kafka *k = (struct sink_kafka *)s;
	kafka_client_wait(k->client, 0);
	say_lines(k);
}

/* ---- one row ------------------------------------------------------------------------------------------------------ */

/* topology.yaml was checked: a brace begins one of the two marks. */
static const char *put_topic(struct sink_kafka *k, const char *p, struct bytes stream, struct bytes alert)
{
	const char *mark;
	buf_clear(&k->topic);
	for (; (mark = strchr(p, '{')); p = strchr(mark, '}') + 1) {
		struct bytes name = strncmp(mark, ALERT_MARK, strlen(ALERT_MARK)) ? stream : alert;
		buf_put(&k->topic, p, (size_t)(mark - p));
		buf_put(&k->topic, name.p, name.n);
	}
	buf_put(&k->topic, p, strlen(p));
	return buf_cstr(&k->topic);
}

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

static void put_row(struct sink_kafka *k, const struct sink_row *r)
{
	const bool protobuf = k->sink.conf->kafka.protobuf;
	const char *topic = put_topic(k, k->sink.conf->kafka.topic, text_of(r->stream->name), text_of(""));
	char id[SINK_ROW_ID_BYTES], revision[24];
	sink_row_id(r, id);
	snprintf(revision, sizeof(revision), "%llu", (unsigned long long)r->row.revision);
	const struct kafka_header headers[] = {
	    {"weir-id", text_of(id)},
	    {"weir-revision", text_of(revision)},
	    {"weir-state", text_of(window_state_text(r->row.state))},
	    {"content-type", text_of(protobuf ? "application/x-protobuf" : "application/json")},
	};
	buf_clear(&k->key);
	buf_clear(&k->value);
	sink_row_key(r, &k->key);
	if (protobuf)
		sink_row_protobuf(r, &k->value);
	else
		sink_row_json(r, &k->value);
	kafka_client_put(k->client, &(struct kafka_record){.topic = topic, .key = bytes_of(k->key.data, k->key.len), .value = bytes_of(k->value.data, k->value.len), .headers = headers, .header_count = sizeof(headers) / sizeof(headers[0])});
}

/* A partition has all events of a group, in order. */
static void put_alert(struct sink_kafka *k, const struct alert_event *e)
{
	const char *topic = put_topic(k, k->sink.conf->kafka.alerts_topic, e->def.stream, e->def.name);
	char id[ALERT_ID_BYTES];
	alert_event_id(e, id);
	const struct kafka_header headers[] = {
	    {"weir-id", text_of(id)},
	    {"weir-state", text_of(e->firing ? "firing" : "resolved")},
	    {"weir-kind", text_of("alert")},
	    {"content-type", text_of("application/json")},
	};
	buf_clear(&k->key);
	buf_clear(&k->value);
	alert_event_key_json(e, &k->key);
	alert_event_json(e, &k->value);
	kafka_client_put(k->client, &(struct kafka_record){.topic = topic, .key = bytes_of(k->key.data, k->key.len), .value = bytes_of(k->value.data, k->value.len), .headers = headers, .header_count = sizeof(headers) / sizeof(headers[0])});
}

/* What is delivered: rows, or events of alerts. */
struct load {
	const struct sink_row *rows; /* NULL: alerts */
	const struct alert_event *alerts;
	size_t count;
};

static void put_one(struct sink_kafka *k, const struct load *l, size_t i)
{
	if (l->rows)
		put_row(k, &l->rows[i]);
	else
		put_alert(k, &l->alerts[i]);
}

/* ---- delivering --------------------------------------------------------------------------------------------------- */

static char *failure(struct sink_kafka *k, const struct kafka_outcome *o)
{
	const char *trouble = kafka_client_trouble(k->client);
	return xasprintf("%s%s%s%s%s", o->fatal ? "the producer is at its end: " : "", *o->why ? o->why : "no broker has taken them in time",
	    *trouble ? " (" : "", trouble, *trouble ? ")" : "");
}

/* Until there is an answer to each of them. */
static int send_some(struct sink_kafka *k, const struct load *l, size_t from, size_t count, size_t *ret_too_large, char **ret_why)
{
	const struct kafka_outcome *o;
	int64_t until_ns = clock_mono_ns() + k->sink.conf->kafka.timeout_ns;
	kafka_client_begin(k->client);
	for (size_t i = 0; i < count; i++)
		put_one(k, l, from + i);
	do {
		if (sink_stopping(&k->sink))
			return WEIR_ECLOSED;
		o = kafka_client_wait(k->client, WAIT_NS);
		say_lines(k);
	} while (o->pending && !o->fatal && clock_mono_ns() < until_ns);
	k->bytes += o->bytes;
	*(l->rows ? &k->has_taken_rows : &k->has_taken_alerts) |= o->delivered > 0;
	if (o->pending || o->failed || o->fatal) {
		*ret_why = failure(k, o);
		return WEIR_EIO;
	}
	*ret_too_large = o->too_large;
	return 0;
}

static int deliver_load(struct sink_kafka *k, const struct load *l, uint64_t *ret_rejected, char **ret_why)
{
	size_t done = 0, max = l->count;
	while (done < l->count) {
		size_t left = l->count - done, n = left < max ? left : max, too_large;
		int rc = send_some(k, l, done, n, &too_large, ret_why);
		if (rc)
			return rc;
		if (!too_large || n == 1) {
			*ret_rejected += too_large;
			done += n;
			max = 2 * n;
		} else {
			k->halved++;
			max = n / 2;
		}
	}
	return 0;
}

static int deliver(struct sink *s, const struct load *l, char **ret_why)
{
	struct sink_kafka *k = (struct sink_kafka *)s;
	uint64_t rejected = 0;
	int rc = deliver_load(k, l, &rejected, ret_why);
	if (!rc && rejected && !(l->rows ? k->has_taken_rows : k->has_taken_alerts)) {
		*ret_why = xasprintf("every %s is too large: max.message.bytes of the topic may not be what it should be", l->rows ? "row" : "alert");
		rc = WEIR_EIO;
	}
	if (!rc && rejected)
		(l->rows ? sink_rejected : sink_rejected_alerts)(s, rejected, "too large for a record (max.message.bytes of the topic)");
	return rc;
}

static int kafka_deliver(struct sink *s, const struct sink_batch *b, char **ret_why)
{
	return deliver(s, &(struct load){.rows = b->rows, .count = b->count}, ret_why);
}

static int kafka_alerts(struct sink *s, const struct sink_alerts *b, char **ret_why)
{
	return deliver(s, &(struct load){.alerts = b->events, .count = b->count}, ret_why);
}

const struct sink_ops sink_kafka_ops = {
	.size = sizeof(struct sink_kafka),
	.missing = kafka_client_missing,
	.open = kafka_open,
	.deliver = kafka_deliver,
	.alerts = kafka_alerts,
	.idle = kafka_idle,
	.close = kafka_close,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = values,
};
