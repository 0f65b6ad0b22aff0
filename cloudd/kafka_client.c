#include "cloudd/kafka_client.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"

#define BACKOFF_MAX_MS "1000" /* between two tries to reach a broker */
#define ERROR_BYTES 512
#define UNKNOWN_MAX_NS (INT64_C(5) * NS_PER_SEC) /* that a topic may be unknown for: one that was just made is, for a while */

struct kafka_client {
	rd_kafka_t *rk;
	struct kafka_outcome outcome;
	char trouble[KAFKA_WHY_BYTES];
	char lines[KAFKA_LINES_MAX][KAFKA_WHY_BYTES];
	size_t first, count;
	unsigned lost;
	pthread_mutex_t mutex; /* of what follows: held by the client's thread, and by the one that ends the library's */
	pthread_cond_t changed;
	unsigned holds;
	bool ended; /* the library's threads have */
};

const char *kafka_client_missing(void)
{
	return NULL;
}

/* ---- what the library says and reports: by its queue, so within kafka_client_wait(), on its thread -------------------- */

/* Somebody else's text as one line. */
static void put_line(char out[KAFKA_WHY_BYTES], const char *text)
{
	snprintf(out, KAFKA_WHY_BYTES, "%.*s", KAFKA_WHY_BYTES - 1, text);
	for (char *p = out; *p; p++) {
		if ((uint8_t)*p < ' ' || *p == 0x7f)
			*p = ' ';
	}
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	struct kafka_client *k = rk ? rd_kafka_opaque(rk) : NULL;
	(void)facility;
	if (!k || level > LOG_WARNING)
		return;
	if (k->count == KAFKA_LINES_MAX)
		k->lost++;
	else
		put_line(k->lines[(k->first + k->count++) % KAFKA_LINES_MAX], text);
}

bool kafka_client_line(struct kafka_client *k, char ret_line[KAFKA_WHY_BYTES], unsigned *ret_lost)
{
	*ret_lost = k->lost;
	k->lost = 0;
	if (!k->count)
		return false;
	snprintf(ret_line, KAFKA_WHY_BYTES, "%s", k->lines[k->first]);
	k->first = (k->first + 1) % KAFKA_LINES_MAX;
	k->count--;
	return true;
}

/* That all brokers are down follows from what is said of one. */
static void on_error(rd_kafka_t *rk, int error, const char *text, void *opaque)
{
	struct kafka_client *k = opaque;
	(void)rk;
	if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !*k->trouble)
		put_line(k->trouble, text);
}

static bool is_about_size(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || error == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

static void note_failure(struct kafka_outcome *o, const char *topic, rd_kafka_resp_err_t error)
{
	char text[ERROR_BYTES];
	if (is_about_size(error)) {
		o->too_large++;
		return;
	}
	o->failed++;
	snprintf(text, sizeof(text), "topic %s: %s", topic, rd_kafka_err2str(error));
	if (!*o->why)
		put_line(o->why, text);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	struct kafka_client *k = opaque;
	(void)rk;
	k->outcome.pending--;
	if (m->err) {
		note_failure(&k->outcome, m->rkt ? rd_kafka_topic_name(m->rkt) : "?", m->err);
		return;
	}
	k->outcome.delivered++;
	k->outcome.bytes += m->len + m->key_len;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

struct setting {
	const char *name, *value; /* no value: left as it is */
};

static int set_all(rd_kafka_conf_t *conf, const struct setting *all, size_t count, char **ret_why)
{
	char text[ERROR_BYTES];
	for (size_t i = 0; i < count; i++) {
		if (!all[i].value || rd_kafka_conf_set(conf, all[i].name, all[i].value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
			continue;
		*ret_why = xasprintf("librdkafka does not take %s: %s", all[i].name, text);
		return WEIR_EINVAL;
	}
	return 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int set_delivery(rd_kafka_conf_t *conf, const struct kafka_options *o, char **ret_why)
{
	char timeout[32], unknown[32];
	snprintf(timeout, sizeof(timeout), "%lld", (long long)(o->timeout_ns / NS_PER_MS));
	snprintf(unknown, sizeof(unknown), "%lld", (long long)(least(o->timeout_ns / 2, UNKNOWN_MAX_NS) / NS_PER_MS));
	const struct setting all[] = {
	    {"bootstrap.servers", o->brokers},
	    {"client.id", o->client_id},
	    {"enable.idempotence", "true"},
	    {"acks", "all"},
	    {"compression.codec", o->compression},
	    {"partitioner", "murmur2_random"},
	    {"message.timeout.ms", timeout},
	    {"request.timeout.ms", timeout},
	    {"socket.timeout.ms", timeout},
	    {"socket.connection.setup.timeout.ms", timeout},
	    {"topic.metadata.propagation.max.ms", unknown},
	    {"reconnect.backoff.max.ms", BACKOFF_MAX_MS},
	    {"socket.nagle.disable", "true"},
	    {"socket.keepalive.enable", "true"},
	    {"log.connection.close", "false"}, /* brokers end idle connections: nothing is wrong then */
	    {"log.thread.name", "false"},
	    {"log.queue", "true"}, /* no code of ours on the library's threads */
	};
	return set_all(conf, all, sizeof(all) / sizeof(all[0]), ret_why);
}

static const char *mechanism_of(const char *name)
{
	if (!name)
		return NULL;
	return !strcmp(name, "plain") ? "PLAIN" : !strcmp(name, "scram-sha-256") ? "SCRAM-SHA-256" : "SCRAM-SHA-512";
}

static const char *protocol_of(const struct kafka_options *o)
{
	if (o->tls)
		return o->mechanism ? "sasl_ssl" : "ssl";
	return o->mechanism ? "sasl_plaintext" : "plaintext";
}

static int set_security(rd_kafka_conf_t *conf, const struct kafka_options *o, char **ret_why)
{
	const struct setting all[] = {
	    {"security.protocol", protocol_of(o)},
	    {"enable.ssl.certificate.verification", "true"},
	    {"ssl.endpoint.identification.algorithm", "https"},
	    {"ssl.ca.location", o->ca_file},
	    {"ssl.certificate.location", o->cert_file},
	    {"ssl.key.pem", o->key_pem},
	    {"sasl.mechanism", mechanism_of(o->mechanism)},
	    {"sasl.username", o->user},
	    {"sasl.password", o->password},
	};
	return set_all(conf, all, sizeof(all) / sizeof(all[0]), ret_why);
}

/* The library names the setting that it cannot go by, and not the file. */
static char *reason_of(const struct kafka_options *o, const char *text)
{
	if (!o->ca_file && !o->cert_file)
		return xasprintf("librdkafka: %s", text);
	return xasprintf("librdkafka: %s (of %s%s%s)", text, o->ca_file ? o->ca_file : "", o->ca_file && o->cert_file ? ", " : "",
	    o->cert_file ? o->cert_file : "");
}

/* The library takes the conf where it succeeds. */
static int open_library(struct kafka_client *k, const struct kafka_options *o, char **ret_why)
{
	char text[ERROR_BYTES];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set_log_cb(conf, on_log);
	rd_kafka_conf_set_error_cb(conf, on_error);
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	rd_kafka_conf_set_opaque(conf, k);
	int rc = set_delivery(conf, o, ret_why);
	if (!rc)
		rc = set_security(conf, o, ret_why);
	if (!rc) {
		k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
		if (!k->rk) {
			*ret_why = reason_of(o, text);
			rc = WEIR_EINVAL;
		}
	}
	if (rc)
		rd_kafka_conf_destroy(conf);
	else
		rd_kafka_set_log_queue(k->rk, NULL);
	return rc;
}

static void release(struct kafka_client *k)
{
	pthread_mutex_lock(&k->mutex);
	bool last = !--k->holds;
	pthread_mutex_unlock(&k->mutex);
	if (!last)
		return;
	pthread_mutex_destroy(&k->mutex);
	pthread_cond_destroy(&k->changed);
	free(k);
}

int kafka_client_open(const struct kafka_options *o, struct kafka_client **ret_client, char **ret_why)
{
	pthread_condattr_t attr;
	struct kafka_client *k = xcalloc(1, sizeof(*k));
	pthread_mutex_init(&k->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &attr);
	pthread_condattr_destroy(&attr);
	k->holds = 1;
	int rc = open_library(k, o, ret_why);
	if (rc)
		release(k);
	else
		*ret_client = k;
	return rc;
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

static void *end_library(void *arg)
{
	struct kafka_client *k = arg;
	rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_destroy(k->rk);
	pthread_mutex_lock(&k->mutex);
	k->ended = true;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->mutex);
	release(k);
	return NULL;
}

static void wait_ended(struct kafka_client *k)
{
	int64_t until_ns = clock_mono_ns() + KAFKA_CLOSE_NS;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_mutex_lock(&k->mutex);
	while (!k->ended && !pthread_cond_timedwait(&k->changed, &k->mutex, &ts))
		;
	pthread_mutex_unlock(&k->mutex);
}

/* rd_kafka_destroy() waits for the library's threads, one of which may be asking a name server: not this thread, then. */
void kafka_client_close(struct kafka_client *k)
{
	pthread_t thread;
	if (!k)
		return;
	k->holds++;
	if (pthread_create(&thread, NULL, end_library, k)) {
		end_library(k); /* rather late than never */
	} else {
		pthread_detach(thread);
		wait_ended(k);
	}
	release(k);
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

void kafka_client_begin(struct kafka_client *k)
{
	weir_assert(!k->outcome.pending);
	k->outcome = (struct kafka_outcome){0};
	*k->trouble = 0;
}

static void *unconst(const void *p)
{
	return (void *)(uintptr_t)p; /* only read, as it is copied */
}

void kafka_client_put(struct kafka_client *k, const struct kafka_record *r)
{
	rd_kafka_vu_t parts[4 + KAFKA_HEADERS_MAX] = {
	    {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = r->topic},
	    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
	    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {unconst(r->key.p), r->key.n}},
	    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {unconst(r->value.p), r->value.n}},
	};
	weir_assert(r->header_count <= KAFKA_HEADERS_MAX);
	for (size_t i = 0; i < r->header_count; i++) {
		const struct kafka_header *h = &r->headers[i];
		parts[4 + i].vtype = RD_KAFKA_VTYPE_HEADER;
		parts[4 + i].u.header.name = h->name;
		parts[4 + i].u.header.val = h->value.p;
		parts[4 + i].u.header.size = (ssize_t)h->value.n;
	}
	rd_kafka_error_t *error = rd_kafka_produceva(k->rk, parts, 4 + r->header_count);
	if (error)
		note_failure(&k->outcome, r->topic, rd_kafka_error_code(error));
	else
		k->outcome.pending++;
	if (error)
		rd_kafka_error_destroy(error);
}

static void note_fatal(struct kafka_client *k)
{
	char text[ERROR_BYTES];
	if (!rd_kafka_fatal_error(k->rk, text, sizeof(text)))
		return;
	k->outcome.fatal = true;
	put_line(k->outcome.why, text);
}

const struct kafka_outcome *kafka_client_wait(struct kafka_client *k, int64_t wait_ns)
{
	if (k->outcome.pending)
		rd_kafka_flush(k->rk, (int)(wait_ns / NS_PER_MS));
	else
		rd_kafka_poll(k->rk, 0);
	note_fatal(k);
	return &k->outcome;
}

const char *kafka_client_trouble(struct kafka_client *k)
{
	return k->trouble;
}
