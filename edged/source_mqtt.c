/* Readings that devices publish to an MQTT broker.
 *
 *   broker --PUBLISH--> message: filter -> format -> lines -> io          (the client is held from here on)
 *                       commit: lines, and (packet id, hash) of each message (mqtt_acks.h), in one checkpoint
 *   broker <--PUBACK--- committed: the client is let go, a barrier behind the acknowledgements
 *                       barrier back: the broker has them; their ids are forgotten
 *
 * So a message is acknowledged only once it is durable, and one that the broker sends again because it missed the acknowledgement is known
 * by its id and does not count again: each QoS 1 message counts once, whoever dies and whatever breaks, as long as the broker keeps the
 * session. QoS 2 is asked for as QoS 1, for the library would lose messages (mqtt_client.h), and the ids give the once-only that QoS 2 is for.
 * QoS 0 has no acknowledgement: what came since the last commit is lost in a crash.
 *
 * A connection that ends, or does not come about, is made anew after a while that doubles up to RETRY_MAX_MS, until new messages come through
 * one or it lasts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/line.h"
#include "common/log.h"
#include "common/mqtt_broker.h"
#include "common/topic.h"
#include "edged/mqtt_acks.h"
#include "edged/mqtt_client.h"
#include "edged/payload.h"
#include "edged/source_impl.h"

#define MARK_VERSION 1
#define MARK_PASSING 1 /* flag: what is sent again is passed over */
#define MARK_QOS_0 2   /* flag: what is subscribed was asked for with QoS 0 */
#define MARK_FILTERS_MAX 1024
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 30000
#define STEADY_NS (10 * NS_PER_SEC) /* a connection that lasted this long begins the doubling anew */
#define BARRIER TOPIC_RESERVED "none"
#define REFUSED_TOPIC "unknown_topic"
#define TOPIC_SHOWN_MAX 81
#define TOPIC_TAGS_BYTES_MAX 1024 /* they are put to each line of a message, which may have 100,000 */

struct topic {
	const struct mqtt_topic_conf *conf;
	struct topic_filter filter;
	struct payload_reader *reader; /* NULL: line protocol */
	int request;                   /* its SUBSCRIBE's, on this connection; 0: none */
	bool refused;
};

/* What the broker's session has from us, as far as we know. */
struct filters {
	struct held_filter {
		char *text;
		int leaving; /* the request to unsubscribe that is under way on this connection; 0: none */
	} * list;
	size_t count;
};

struct mqtt {
	struct source base;
	bool started;
	struct topic *topics;
	size_t topic_count;
	struct source_parser parser;
	struct mqtt_client *client; /* NULL: between two connections */
	struct loop_timer *retry;
	uint64_t retry_ms;
	int64_t connected_ns; /* mono */
	char *told;           /* the last failure that was logged since a connection; NULL: none */
	struct mqtt_acks acks;
	struct filters subscribed;
	bool other_qos;       /* the mark's subscriptions are of another QoS than the configuration's */
	bool passing;         /* until something new comes, what is sent again is passed over (skip_to_end) */
	uint64_t given, marked, durable; /* messages of QoS 1 given out; of them in the last mark; in the last commit */
	int barrier;          /* the request that is under way; 0: none */
	uint64_t barrier_seq;
	struct buf series, lines; /* of the message that is being handled */
	struct buf tags;          /* its topic's, as ",KEY=VALUE..." */
	struct bytes topic_now;
	uint64_t connections, failures, messages, again, retained, refused, passed, lost_sessions;
};

static struct mqtt *mqtt_of(struct source *s)
{
	return (struct mqtt *)s;
}

static const struct mqtt_conf *conf_of(const struct mqtt *m)
{
	return &m->base.conf->mqtt;
}

static const char *name_of(const struct mqtt *m)
{
	return m->base.conf->name;
}

/* ---- acknowledging, and when not to -------------------------------------------------------------------------------- */

/* Nothing may leave while a message is given out that no commit holds; nor more acknowledgements than can be kept, before a barrier is
 * back. Its answer may come behind many messages, so they are read: a broker sends only so many without an acknowledgement. */
static void update_client(struct mqtt *m)
{
	if (!m->client)
		return;
	mqtt_client_read(m->client, !m->base.paused);
	mqtt_client_hold(m->client, m->durable != m->given || (m->barrier && mqtt_acks_full(&m->acks)));
}

/* Behind all acknowledgements that are queued; one at a time. Only where all of them may leave. */
static void send_barrier(struct mqtt *m)
{
	if (!m->client || !mqtt_client_is_connected(m->client) || m->barrier || !m->acks.fresh || m->durable != m->given)
		return;
	int request = mqtt_client_unsubscribe(m->client, BARRIER);
	if (request < 0)
		return;
	m->barrier = request;
	m->barrier_seq = mqtt_acks_barrier(&m->acks);
	mqtt_client_hold(m->client, false); /* it leaves now, with all before it, whatever is to be held from here on */
}

static void on_turn_end(void *arg)
{
	struct mqtt *m = arg;
	if (m->durable != m->given)
		source_want_commit(&m->base);
	send_barrier(m);
	update_client(m);
}

/* ---- one message -------------------------------------------------------------------------------------------------- */

/* As it may stand in a message of the log. */
static const char *topic_shown(const struct mqtt *m, char out[TOPIC_SHOWN_MAX])
{
	size_t n = 0;
	for (; n < m->topic_now.n && n < TOPIC_SHOWN_MAX - 1; n++) {
		uint8_t ch = m->topic_now.p[n];
		out[n] = (char)(ch <= 0x20 || ch == 0x7f || ch == ';' ? '?' : ch);
	}
	out[n] = 0;
	return out;
}

static void on_refused(void *arg, const char *reason, const char *detail)
{
	struct mqtt *m = arg;
	char topic[TOPIC_SHOWN_MAX];
	m->refused++;
	m->base.counters.refused++;
	m->base.io.refuse(m->base.io.arg, reason);
	if (source_may_log(&m->base))
		log_warn("source", "a message, or a reading of it, was refused: %s; source=%s topic=%s reason=%s", detail, name_of(m),
		    topic_shown(m, topic), reason);
}

static void put_topic_tags(struct mqtt *m, const struct topic_tag *tags, size_t count)
{
	buf_clear(&m->tags);
	for (size_t i = 0; i < count; i++) {
		buf_u8(&m->tags, ',');
		line_put_key(&m->tags, bytes_of((const uint8_t *)tags[i].key, strlen(tags[i].key)));
		buf_u8(&m->tags, '=');
		line_put_key(&m->tags, tags[i].value);
	}
}

/* Every line gets the tags of its topic, behind its own. */
static void on_line(void *arg, const struct line *l)
{
	struct mqtt *m = mqtt_of(((struct source_parser *)arg)->source);
	struct line with = *l;
	buf_clear(&m->series);
	buf_put(&m->series, l->series.p, l->series.n);
	buf_put(&m->series, m->tags.data, m->tags.len);
	with.series = bytes_of(m->series.data, m->series.len);
	m->base.counters.lines++;
	m->base.io.line(m->base.io.arg, &with);
}

static void feed_lines(struct mqtt *m, const struct topic *t, struct bytes text)
{
	struct line_parser *p = &m->parser.lines;
	char topic[TOPIC_SHOWN_MAX];
	line_parser_set_precision(p, t->reader || !t->conf->payload.unit_ns ? 1 : t->conf->payload.unit_ns);
	snprintf(m->parser.peer, sizeof(m->parser.peer), "%s", topic_shown(m, topic));
	if (text.n)
		line_parser_feed(p, text.p, text.n);
	line_parser_finish(p);
	line_parser_reset(p);
}

static void read_payload(struct mqtt *m, const struct topic *t, struct bytes payload)
{
	if (payload.n > PAYLOAD_BYTES_MAX) {
		on_refused(m, PAYLOAD_TOO_BIG, "more than 1 MiB");
		return;
	}
	if (!t->reader) {
		feed_lines(m, t, payload);
		return;
	}
	buf_clear(&m->lines);
	payload_read(t->reader, payload, &m->lines, on_refused, m);
	feed_lines(m, t, bytes_of(m->lines.data, m->lines.len));
}

static void give_out(struct mqtt *m, const struct mqtt_message *message)
{
	struct topic_tag tags[TOPIC_LEVELS_MAX];
	size_t count = 0, i = 0;
	m->topic_now = message->topic;
	while (i < m->topic_count && !topic_filter_match(&m->topics[i].filter, message->topic, tags, &count))
		i++;
	if (i == m->topic_count) {
		on_refused(m, REFUSED_TOPIC, "no filter of this source: left in the broker's session by an earlier configuration?");
		return;
	}
	put_topic_tags(m, tags, count);
	if (m->tags.len > TOPIC_TAGS_BYTES_MAX)
		on_refused(m, PAYLOAD_TOO_BIG, "tags of more than 1 KiB in its topic");
	else
		read_payload(m, &m->topics[i], message->payload);
}

static uint64_t hash_of(const struct mqtt_message *message)
{
	return XXH3_64bits_withSeed(message->payload.p, message->payload.n, XXH3_64bits(message->topic.p, message->topic.n));
}

/* After a readmission, or a spool without its marks: nobody knows whether what is sent again has counted. */
static bool passes_over(struct mqtt *m, const struct mqtt_message *message)
{
	if (!m->passing)
		return false;
	if (message->qos && message->dup != MQTT_DUP_YES)
		m->passing = false;
	return m->passing && message->qos;
}

static void on_message(void *arg, const struct mqtt_message *message)
{
	struct mqtt *m = arg;
	m->messages++;
	m->base.counters.bytes += message->payload.n;
	if (message->qos == 1 && mqtt_acks_take(&m->acks, message->id, hash_of(message), message->dup)) {
		m->again++;
		return;
	}
	if (passes_over(m, message)) {
		m->passed++;
		return;
	}
	if (message->retained && !conf_of(m)->retained) {
		m->retained++;
		return;
	}
	give_out(m, message);
	if (!message->qos)
		return;
	m->given++;
	mqtt_client_hold(m->client, true);
}

/* ---- subscriptions ------------------------------------------------------------------------------------------------ */

static void filters_clear(struct filters *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->list[i].text);
	free(f->list);
	*f = (struct filters){0};
}

static bool filters_have(const struct filters *f, const char *text)
{
	for (size_t i = 0; i < f->count; i++)
		if (!strcmp(f->list[i].text, text))
			return true;
	return false;
}

static void filters_add(struct filters *f, const char *text)
{
	if (filters_have(f, text) || f->count == MARK_FILTERS_MAX)
		return;
	f->list = xrealloc(f->list, (f->count + 1) * sizeof(f->list[0]));
	f->list[f->count++] = (struct held_filter){.text = xstrdup(text)};
}

static void filters_drop(struct filters *f, size_t i)
{
	free(f->list[i].text);
	f->list[i] = f->list[--f->count];
}

static void filters_left(struct filters *f, int request)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->list[i].leaving != request)
			continue;
		filters_drop(f, i);
		return;
	}
}

static bool is_wanted(const struct mqtt *m, const char *text)
{
	for (size_t i = 0; i < m->topic_count; i++)
		if (!strcmp(m->topics[i].filter.subscribe, text))
			return true;
	return false;
}

/* Of another QoS: to be subscribed again, as if nothing were known of them. */
static void forget_wanted(struct mqtt *m)
{
	for (size_t i = m->subscribed.count; i-- > 0;)
		if (is_wanted(m, m->subscribed.list[i].text))
			filters_drop(&m->subscribed, i);
}

/* What an earlier configuration has left in the session goes; what is new comes. */
static void subscribe_all(struct mqtt *m)
{
	for (size_t i = 0; i < m->subscribed.count; i++) {
		struct held_filter *f = &m->subscribed.list[i];
		f->leaving = is_wanted(m, f->text) ? 0 : mqtt_client_unsubscribe(m->client, f->text);
	}
	for (size_t i = 0; i < m->topic_count; i++) {
		struct topic *t = &m->topics[i];
		bool known = filters_have(&m->subscribed, t->filter.subscribe);
		t->request = 0;
		/* With 3.1.1 the broker would send what it keeps each time. */
		if (known && conf_of(m)->retained && conf_of(m)->broker.version == 3)
			continue;
		unsigned qos = conf_of(m)->qos ? 1 : 0;
		t->request = mqtt_client_subscribe(m->client, t->filter.subscribe, qos, conf_of(m)->retained);
	}
}

static void on_subscribed(void *arg, int request, int granted)
{
	struct mqtt *m = arg;
	for (size_t i = 0; i < m->topic_count; i++) {
		struct topic *t = &m->topics[i];
		if (t->request != request)
			continue;
		bool refused = granted >= 128;
		if (!refused)
			filters_add(&m->subscribed, t->filter.subscribe);
		if (refused && !t->refused)
			log_error("source", "the broker refuses the subscription: look at its access lists; source=%s filter=%s code=%d", name_of(m),
			    t->filter.subscribe, granted);
		else if (!granted && conf_of(m)->qos)
			log_warn("source", "the broker grants QoS 0 only: what it sends is not acknowledged, and can be lost; source=%s filter=%s",
			    name_of(m), t->filter.subscribe);
		t->refused = refused;
	}
}

static void on_unsubscribed(void *arg, int request)
{
	struct mqtt *m = arg;
	if (request != m->barrier) {
		filters_left(&m->subscribed, request);
		return;
	}
	m->barrier = 0;
	mqtt_acks_proven(&m->acks, m->barrier_seq);
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

static void session_lost(struct mqtt *m)
{
	bool had = m->subscribed.count > 0;
	filters_clear(&m->subscribed);
	m->passing = false;
	if (!had)
		return;
	m->lost_sessions++;
	log_warn("source", "the broker has no session any more: what it received for this edge meanwhile does not come; source=%s broker=%s "
	                   "client_id=%s",
	    name_of(m), conf_of(m)->broker.address, conf_of(m)->client_id);
}

static void on_connected(void *arg, bool session_present)
{
	struct mqtt *m = arg;
	m->connections++;
	m->connected_ns = clock_mono_ns();
	m->barrier = 0;
	mqtt_acks_session(&m->acks, session_present);
	if (!session_present)
		session_lost(m);
	log_info("source", "connected; source=%s broker=%s version=%s session=%s", name_of(m), conf_of(m)->broker.address,
	    conf_of(m)->broker.version == 5 ? "5" : "3.1.1", session_present ? "resumed" : "new");
	free(m->told);
	m->told = NULL;
	subscribe_all(m);
	update_client(m);
}

/* Between half and the whole of it, so that edges that lost their broker together do not come back together. */
static uint64_t jittered(const struct mqtt *m)
{
	int64_t now = clock_mono_ns();
	uint64_t random = XXH3_64bits_withSeed(&now, sizeof(now), (uint64_t)(uintptr_t)m);
	return m->retry_ms / 2 + random % (m->retry_ms / 2);
}

static void retry_later(struct mqtt *m)
{
	bool steady = m->connected_ns && clock_mono_ns() - m->connected_ns >= STEADY_NS;
	m->retry_ms = !m->retry_ms || steady ? RETRY_MIN_MS : m->retry_ms * 2;
	if (m->retry_ms > RETRY_MAX_MS)
		m->retry_ms = RETRY_MAX_MS;
	m->connected_ns = 0;
	loop_timer_start(m->retry, jittered(m), 0);
}

static void failed(struct mqtt *m, const char *why)
{
	m->failures++;
	if (!m->told || strcmp(m->told, why))
		log_warn("source", "no connection to the broker, trying again: %s; source=%s broker=%s", why, name_of(m), conf_of(m)->broker.address);
	free(m->told);
	m->told = xstrdup(why);
	retry_later(m);
}

static void on_closed(void *arg, const char *why)
{
	struct mqtt *m = arg;
	struct mqtt_client *c = m->client;
	m->client = NULL;
	m->barrier = 0;
	failed(m, why);
	mqtt_client_free(c, false);
}

static int make_client(struct mqtt *m, char **ret_why)
{
	struct mqtt_broker room = {0};
	struct mqtt_link_conf conf = {.client_id = conf_of(m)->client_id,
		.session_expiry_s = (uint32_t)(conf_of(m)->session_expiry_ns / NS_PER_SEC)};
	struct mqtt_client_io io = {.arg = m, .connected = on_connected, .message = on_message, .subscribed = on_subscribed,
		.unsubscribed = on_unsubscribed, .turn_end = on_turn_end, .closed = on_closed};
	int rc = mqtt_broker_read(&conf_of(m)->broker, &room, &conf, ret_why);
	if (!rc)
		rc = mqtt_client_new(m->base.loop, &conf, &io, &m->client, ret_why);
	mqtt_broker_clear(&room);
	return rc;
}

static void connect_now(void *arg)
{
	struct mqtt *m = arg;
	char *why = NULL;
	if (make_client(m, &why))
		failed(m, why);
	free(why);
}

/* ---- the source --------------------------------------------------------------------------------------------------- */

static void make_topics(struct mqtt *m)
{
	const struct mqtt_conf *c = conf_of(m);
	m->topics = xcalloc(c->topic_count, sizeof(m->topics[0]));
	for (m->topic_count = 0; m->topic_count < c->topic_count; m->topic_count++) {
		struct topic *t = &m->topics[m->topic_count];
		const char *why;
		t->conf = &c->topics[m->topic_count];
		weir_assert(!topic_filter_parse(t->conf->filter, &t->filter, &why)); /* topology.yaml was checked */
		if (t->conf->payload.format != PAYLOAD_LINE)
			t->reader = payload_reader_new(&t->conf->payload);
	}
}

static void free_topics(struct topic *topics, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		topic_filter_clear(&topics[i].filter);
		payload_reader_free(topics[i].reader);
	}
	free(topics);
}

static void need_acks(struct mqtt *m)
{
	if (!m->acks.slots)
		mqtt_acks_init(&m->acks);
}

static void warn_of_plain_password(const struct mqtt *m)
{
	if (mqtt_broker_exposes_password(&conf_of(m)->broker))
		log_warn("source", "the password crosses the network as plain text: use mqtts://; source=%s broker=%s", name_of(m),
		    conf_of(m)->broker.address);
}

static int mqtt_start(struct source *s, char **ret_why)
{
	(void)ret_why; /* a broker that is not there is waited for */
	struct mqtt *m = mqtt_of(s);
	need_acks(m);
	make_topics(m);
	if (m->other_qos)
		forget_wanted(m);
	source_parser_init(&m->parser, s);
	m->parser.lines.cb.line = on_line;
	m->retry = loop_timer_new(s->loop, connect_now, m);
	m->started = true;
	warn_of_plain_password(m);
	loop_timer_start(m->retry, 0, 0);
	return 0;
}

static void mqtt_pause(struct source *s)
{
	update_client(mqtt_of(s));
}

static void mqtt_mark(struct source *s, struct buf *out)
{
	struct mqtt *m = mqtt_of(s);
	need_acks(m);
	buf_u8(out, MARK_VERSION);
	buf_u8(out, (m->passing ? MARK_PASSING : 0) | (s->conf->mqtt.qos ? 0 : MARK_QOS_0));
	buf_str(out, s->conf->mqtt.client_id);
	buf_varint(out, m->subscribed.count);
	for (size_t i = 0; i < m->subscribed.count; i++)
		buf_str(out, m->subscribed.list[i].text);
	mqtt_acks_put(&m->acks, out);
	m->marked = m->given;
}

static void read_filters(struct rd *r, struct filters *f)
{
	size_t count = (size_t)rd_varint_max(r, MARK_FILTERS_MAX);
	for (size_t i = 0; i < count && !r->err; i++) {
		size_t len;
		const uint8_t *text = rd_bytes(r, TOPIC_FILTER_BYTES_MAX, &len);
		if (text && memchr(text, 0, len))
			r->err = WEIR_ECORRUPT;
		if (r->err)
			return;
		char *copy = xstrndup((const char *)text, len);
		if (filters_have(f, copy))
			r->err = WEIR_ECORRUPT;
		filters_add(f, copy);
		free(copy);
	}
}

/* Of another client_id: another session, of which nothing is known. */
static int mqtt_restore(struct source *s, struct bytes mark)
{
	struct mqtt *m = mqtt_of(s);
	struct rd r = rd_init(mark.p, mark.n);
	size_t id_len;
	need_acks(m);
	if (rd_u8(&r) != MARK_VERSION)
		return r.err ? r.err : WEIR_EVERSION;
	uint8_t flags = rd_u8(&r);
	const uint8_t *id = rd_bytes(&r, TOPIC_FILTER_BYTES_MAX, &id_len);
	bool ours = id && id_len == strlen(s->conf->mqtt.client_id) && !memcmp(id, s->conf->mqtt.client_id, id_len);
	read_filters(&r, &m->subscribed);
	mqtt_acks_read(&m->acks, &r);
	int rc = rd_finish(&r);
	if (!rc && flags & ~(MARK_PASSING | MARK_QOS_0))
		rc = WEIR_ECORRUPT;
	if (rc || !ours) {
		mqtt_acks_clear(&m->acks);
		filters_clear(&m->subscribed);
		return rc;
	}
	m->passing = flags & MARK_PASSING;
	m->other_qos = !(flags & MARK_QOS_0) != (s->conf->mqtt.qos > 0);
	return 0;
}

static void mqtt_committed(struct source *s)
{
	struct mqtt *m = mqtt_of(s);
	if (m->durable != m->marked)
		m->retry_ms = 0; /* messages go through: a link that breaks again and again is worth trying */
	m->durable = m->marked;
	send_barrier(m);
	update_client(m);
}

/* What the broker has sent before without an acknowledgement may have counted; what it has not sent yet has not. The former comes
 * marked as sent again, on a new connection, before the latter. */
static void mqtt_skip_to_end(struct source *s)
{
	struct mqtt *m = mqtt_of(s);
	need_acks(m);
	mqtt_acks_clear(&m->acks);
	m->passing = true;
	m->given = m->marked = m->durable;
	log_warn("source", "messages that the broker has sent before, and sends again, are passed over; source=%s", name_of(m));
	if (!m->client)
		return;
	mqtt_client_free(m->client, false);
	m->client = NULL;
	loop_timer_start(m->retry, RETRY_MIN_MS, 0);
}

/* Texts of the configuration live elsewhere now; what they say is the same. */
static void mqtt_set_conf(struct source *s)
{
	struct mqtt *m = mqtt_of(s);
	struct topic *before = m->topics;
	size_t count = m->topic_count;
	make_topics(m);
	for (size_t i = 0; i < count; i++) {
		m->topics[i].request = before[i].request;
		m->topics[i].refused = before[i].refused;
	}
	free_topics(before, count);
}

static void mqtt_free(struct source *s)
{
	struct mqtt *m = mqtt_of(s);
	if (m->client)
		mqtt_client_free(m->client, true);
	if (m->started) {
		source_parser_free(&m->parser);
		loop_timer_free(m->retry);
	}
	free_topics(m->topics, m->topic_count);
	mqtt_acks_free(&m->acks);
	filters_clear(&m->subscribed);
	free(m->told);
	buf_free(&m->series);
	buf_free(&m->lines);
	buf_free(&m->tags);
}

static const struct stats_family families[] = {
	{"weir_edge_source_mqtt_connected", "1: there is a connection to the broker", STATS_GAUGE, {"source"}},
	{"weir_edge_source_mqtt_connections_total", "Connections made to the broker", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_failures_total", "Connections that ended, or did not come about", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_messages_total", "Messages that came, all of them", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_repeated_total", "Messages that came again, and did not count again", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_retained_total", "Messages from before the subscription, which were not taken", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_passed_total", "Messages passed over after a readmission or a lost spool", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_bad_payloads_total", "Refusals of messages, or readings in them, that are no lines", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_lost_sessions_total", "Times that the broker had forgotten the session", STATS_COUNTER, {"source"}},
	{"weir_edge_source_mqtt_subscriptions", "Topic filters that the broker has granted", STATS_GAUGE, {"source"}},
	{"weir_edge_source_mqtt_refused_subscriptions", "Topic filters that the broker refuses", STATS_GAUGE, {"source"}},
	{"weir_edge_source_mqtt_unproven_messages", "Messages whose acknowledgement the broker may not have", STATS_GAUGE, {"source"}},
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

static void mqtt_values(const struct source *s, uint64_t *ret_values)
{
	const struct mqtt *m = (const struct mqtt *)s;
	uint64_t refused = 0;
	for (size_t i = 0; i < m->topic_count; i++)
		refused += m->topics[i].refused;
	const uint64_t values[FAMILIES] = {m->client && mqtt_client_is_connected(m->client), m->connections, m->failures, m->messages,
		m->again, m->retained, m->passed, m->refused, m->lost_sessions, m->subscribed.count, refused, m->acks.live};
	memcpy(ret_values, values, sizeof(values));
}

const struct source_ops source_mqtt_ops = {
	.size = sizeof(struct mqtt),
	.start = mqtt_start,
	.pause = mqtt_pause,
	.mark = mqtt_mark,
	.restore = mqtt_restore,
	.committed = mqtt_committed,
	.skip_to_end = mqtt_skip_to_end,
	.set_conf = mqtt_set_conf,
	.free = mqtt_free,
	.families = families,
	.family_count = FAMILIES,
	.values = mqtt_values,
};
